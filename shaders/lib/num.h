/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Numbers: float pairs, the one exp and the one log, elements of every type. */
#ifndef TN_LIB_NUM_H
#define TN_LIB_NUM_H

#define TN_NAN_BITS 0x7fc00000u
#define TN_INF_BITS 0x7f800000u
#define TN_NEG_INF_BITS 0xff800000u

/* Values of the specialisation constants that say what a tensor holds. */
#define DT_NONE 0u
#define DT_F32 1u
#define DT_F16 2u
#define DT_BF16 3u
#define DT_I8 4u
#define DT_U8 5u

/* ---- float pairs: value = hi + lo, |lo| <= ulp(hi)/2 ---- */

TN_STRUCT(tn_pair) { float hi; float lo; };

TN_FN tn_pair tn_pair_make(float hi, float lo)
{
    tn_pair p;
    p.hi = hi;
    p.lo = lo;
    return p;
}

/* a + b exactly (Knuth). */
TN_FN tn_pair tn_two_sum(float a, float b)
{
    TN_PRECISE float s = a + b;
    TN_PRECISE float bb = s - a;
    TN_PRECISE float aa = s - bb;
    TN_PRECISE float e = (a - aa) + (b - bb);
    return tn_pair_make(s, e);
}

/* a + b exactly when |a| >= |b| (Dekker). */
TN_FN tn_pair tn_fast_two_sum(float a, float b)
{
    TN_PRECISE float s = a + b;
    TN_PRECISE float e = b - (s - a);
    return tn_pair_make(s, e);
}

/* a * b exactly unless it over- or underflows (Veltkamp and Dekker; the halves by clearing bits, so that no large factor
 * overflows). */
TN_FN tn_pair tn_two_prod(float a, float b)
{
    TN_PRECISE float p = a * b;
    TN_PRECISE float ah = tn_float(tn_bits(a) & 0xfffff000u);
    TN_PRECISE float bh = tn_float(tn_bits(b) & 0xfffff000u);
    TN_PRECISE float al = a - ah;
    TN_PRECISE float bl = b - bh;
    TN_PRECISE float e = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    return tn_pair_make(p, e);
}

TN_FN tn_pair tn_pair_add(tn_pair p, float x)
{
    tn_pair s = tn_two_sum(p.hi, x);
    TN_PRECISE float lo = s.lo + p.lo;
    return tn_fast_two_sum(s.hi, lo);
}

TN_FN tn_pair tn_pair_add_pair(tn_pair p, tn_pair q)
{
    tn_pair s = tn_two_sum(p.hi, q.hi);
    TN_PRECISE float lo = s.lo + (p.lo + q.lo);
    return tn_fast_two_sum(s.hi, lo);
}

TN_FN tn_pair tn_pair_mul_pair(tn_pair p, tn_pair q)
{
    tn_pair s = tn_two_prod(p.hi, q.hi);
    TN_PRECISE float lo = s.lo + (p.hi * q.lo + p.lo * q.hi);
    return tn_fast_two_sum(s.hi, lo);
}

/* a*b + c rounded once, also where fma is not fused: the exact sum of three floats is rounded to odd first (Boldo and Melquiond). */
TN_FN float tn_fma_exact(float a, float b, float c)
{
#define TN_FINITE_(x) ((tn_bits(x) & 0x7fffffffu) < TN_INF_BITS)
    tn_pair u = tn_two_prod(a, b);
    tn_pair t = tn_two_sum(c, u.lo);
    tn_pair v = tn_two_sum(u.hi, t.hi);
    tn_pair z = tn_two_sum(t.lo, v.lo);
    uint zb = tn_bits(z.hi);
    /* towards the error, one step in magnitude, when the last bit is even */
    uint grow = ((tn_bits(z.lo) ^ zb) >> 31) == 0u ? 1u : 0xffffffffu;
    zb = ((tn_bits(z.lo) & 0x7fffffffu) != 0u && (zb & 1u) == 0u) ? zb + grow : zb;
    TN_PRECISE float odd = v.hi + tn_float(zb);
    TN_PRECISE float plain = a * b + c;
    float result = TN_FINITE_(v.hi) && TN_FINITE_(v.lo) && TN_FINITE_(u.lo) ? odd : plain;
    return TN_FUSED != 0 ? tn_fma(a, b, c) : result;
#undef TN_FINITE_
}

/* ---- exp and log ---- */

TN_FN float tn_exp_poly(float t)
{
    float p = 0.00138436072f;
    p = tn_fma(p, t, 0.00837419555f);
    p = tn_fma(p, t, 0.0416680053f);
    p = tn_fma(p, t, 0.166664302f);
    p = tn_fma(p, t, 0.49999994f);
    p = tn_fma(p, t, 1.0f);
    return tn_fma(p, t, 1.0f);
}

/* x - n*ln2, ln2 in two parts, for |n| < 2^22 and a difference that is small. Without fma every partial product is made exact: n in
 * multiples of 1024 and the rest, the first part of ln2 in 12 and 9 bits; the differences are exact too. */
TN_FN float tn_exp_rest(float x, float n)
{
    float coarse = tn_rint(n * 0.0009765625f) * 1024.0f;
    float fine = n - coarse;
    TN_PRECISE float t = x - coarse * 0.693115234f;
    t = t - fine * 0.693115234f;
    t = t - coarse * 3.19480896e-05f;
    t = t - fine * 3.19480896e-05f;
    t = t + n * 1.90465421e-09f;
    float fused = tn_fma(n, 1.90465421e-09f, tn_fma(n, -0.693147182f, x));
    return TN_FUSED != 0 ? fused : t;
}

/* e^x = m * 2^n with 0.707 <= m <= 1.4143, n integral, for finite |x| <= 2^20: .hi = m, .lo = n. */
TN_FN tn_pair tn_exp_ext(float x)
{
    TN_PRECISE float scaled = x * 1.44269502f;
    float n = tn_rint(scaled);
    return tn_pair_make(tn_exp_poly(tn_exp_rest(x, n)), n);
}

/* t = d - n*ln2 for |n| <= 128. */
TN_FN float tn_exp_reduce(float d, float n)
{
    TN_PRECISE float t = d - n * 0.693115234f;
    t = t - n * 3.19480896e-05f;
    t = t + n * 1.90465421e-09f;
    float fused = tn_fma(n, 1.90465421e-09f, tn_fma(n, -0.693147182f, d));
    return TN_FUSED != 0 ? fused : t;
}

/* e^d for d <= 88.37; 0 below -87.33654 (also for -Inf; NaN gives 0). */
TN_FN float tn_exp(float d)
{
    float c = tn_fmax(d, -87.5f);
    TN_PRECISE float scaled = c * 1.44269502f;
    float n = tn_rint(scaled);
    float m = tn_exp_poly(tn_exp_reduce(c, n));
    float r = tn_float(tn_bits(m) + (tn_as_uint(tn_int(n)) << 23));
    return c < -87.33654f ? 0.0f : r;
}

/* e^d for d <= 0 with twice the digits near 0, for factors that are applied again and again. */
TN_FN tn_pair tn_exp_pair(float d)
{
    float c = tn_fmax(d, -87.5f);
    TN_PRECISE float scaled = c * 1.44269502f;
    float n = tn_rint(scaled);
    float t = tn_exp_reduce(c, n);
    float q = 0.00138436072f;
    q = tn_fma(q, t, 0.00837419555f);
    q = tn_fma(q, t, 0.0416680053f);
    q = tn_fma(q, t, 0.166664302f);
    q = tn_fma(q, t, 0.49999994f);
    tn_pair p = tn_fast_two_sum(1.0f, tn_fma(t * t, q, t));
    float power = tn_float(tn_as_uint(tn_int(n) + 127) << 23);
    bool gone = c < -86.0f; /* the low part would be subnormal */
    return tn_pair_make(gone ? 0.0f : p.hi * power, gone ? 0.0f : p.lo * power);
}

/* 2^k for integral k <= 0; 0 for k <= -127. */
TN_FN float tn_pow2(float k)
{
    float c = tn_fmax(k, -127.0f);
    return tn_float(tn_as_uint(tn_int(c) + 127) << 23);
}

/* ln x for normal x > 0. */
TN_FN float tn_log(float x)
{
    int e = tn_as_int(tn_bits(x) - 0x3f3504f3u) >> 23;
    TN_PRECISE float f = tn_float(tn_bits(x) - (tn_as_uint(e) << 23)) - 1.0f;
    float k = tn_real(e);
    float q = 0.067466408f;
    q = tn_fma(q, f, -0.116756521f);
    q = tn_fma(q, f, 0.11888162f);
    q = tn_fma(q, f, -0.124055892f);
    q = tn_fma(q, f, 0.142195523f);
    q = tn_fma(q, f, -0.166679963f);
    q = tn_fma(q, f, 0.200021192f);
    q = tn_fma(q, f, -0.250000089f);
    q = tn_fma(q, f, 0.333333135f);
    float f2 = f * f;
    float r = (f2 * f) * q;
    r = tn_fma(k, -1.90465421e-09f, r);
    r = tn_fma(-0.5f, f2, r);
    r = r + f;
    return tn_fma(k, 0.693147182f, r);
}

/* ln(p) and 1/p of a positive pair, to float accuracy. */
TN_FN float tn_pair_log(tn_pair p)
{
    return tn_log(p.hi) + p.lo / p.hi;
}

TN_FN float tn_pair_inverse(tn_pair p)
{
    float r = 1.0f / p.hi;
    tn_pair q = tn_two_prod(p.hi, r);
    TN_PRECISE float e = ((1.0f - q.hi) - q.lo) - p.lo * r;
    return r + r * e;
}

/* ---- elements ---- */

TN_FN uint tn_half_bits(uint h)
{
    uint sign = (h & 0x8000u) << 16;
    uint a = (h & 0x7fffu) << 13;
    float small = tn_float(a + 0x38800000u) - 6.103515625e-05f; /* subnormal: 2^-14 + a - 2^-14 */
    uint exponent = a & 0x0f800000u;
    uint r = a + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u);
    r = exponent == 0u ? tn_bits(small) : r;
    return r | sign;
}

TN_FN uint tn_half_from_bits(uint b)
{
    uint sign = (b >> 16) & 0x8000u;
    uint a = b & 0x7fffffffu;
    uint normal = (a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13;
    uint small = tn_bits(tn_float(a < 0x38800000u ? a : 0u) + 0.5f) - 0x3f000000u; /* the ulp of 0.5 is half's smallest step */
    uint r = a < 0x38800000u ? small : normal;
    r = a >= 0x477ff000u ? 0x7c00u : r;
    r = a > TN_INF_BITS ? 0x7e00u : r;
    return r | sign;
}

TN_FN uint tn_bfloat_from_bits(uint b)
{
    uint r = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    return (b & 0x7fffffffu) > TN_INF_BITS ? 0x7fc0u | ((b >> 16) & 0x8000u) : r;
}

/* Element i of a float tensor as the bits of an f32. */
TN_FN uint tn_load_bits(TN_BUF b, uint type, uint i)
{
    if (type == DT_F16)
        return tn_half_bits(tn_get16(b, i));
    if (type == DT_BF16)
        return tn_get16(b, i) << 16;
    return TN_W(b, i);
}

TN_FN void tn_store_bits(TN_BUF b, uint type, uint i, uint bits)
{
    if (type == DT_F16)
        tn_put16(b, i, tn_half_from_bits(bits));
    else if (type == DT_BF16)
        tn_put16(b, i, tn_bfloat_from_bits(bits));
    else
        TN_W(b, i) = bits;
}

TN_FN float tn_load_i8(TN_BUF b, uint i)
{
    return tn_real(tn_as_int(tn_get8(b, i) << 24) >> 24);
}

#endif
