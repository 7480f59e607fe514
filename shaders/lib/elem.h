/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Functions of one element, a template: lib/num.h includes it for scalars and, where vectors are wider, for vectors.
 * The types are xf, xu, xb (float, uint, comparison) and x_pair; a pair's value is hi + lo with |lo| <= ulp(hi)/2. */

TN_FN x_pair tn_pair_make(xf hi, xf lo)
{
    x_pair p;
    p.hi = hi;
    p.lo = lo;
    return p;
}

/* a + b exactly (Knuth). */
TN_FN x_pair tn_two_sum(xf a, xf b)
{
    TN_PRECISE xf s = a + b;
    TN_PRECISE xf bb = s - a;
    TN_PRECISE xf aa = s - bb;
    TN_PRECISE xf e = (a - aa) + (b - bb);
    return tn_pair_make(s, e);
}

/* a + b exactly when |a| >= |b| (Dekker). */
TN_FN x_pair tn_fast_two_sum(xf a, xf b)
{
    TN_PRECISE xf s = a + b;
    TN_PRECISE xf e = b - (s - a);
    return tn_pair_make(s, e);
}

/* a * b exactly unless it over- or underflows (Veltkamp and Dekker; the halves by clearing bits, so that no large
 * factor overflows). */
TN_FN x_pair tn_two_prod(xf a, xf b)
{
    TN_PRECISE xf p = a * b;
    TN_PRECISE xf ah = x_float(x_bits(a) & 0xfffff000u);
    TN_PRECISE xf bh = x_float(x_bits(b) & 0xfffff000u);
    TN_PRECISE xf al = a - ah;
    TN_PRECISE xf bl = b - bh;
    TN_PRECISE xf e = ((ah * bh - p) + ah * bl + al * bh) + al * bl;
    return tn_pair_make(p, e);
}

TN_FN x_pair tn_pair_add(x_pair p, xf x)
{
    x_pair s = tn_two_sum(p.hi, x);
    TN_PRECISE xf lo = s.lo + p.lo;
    return tn_fast_two_sum(s.hi, lo);
}

TN_FN x_pair tn_pair_add_pair(x_pair p, x_pair q)
{
    x_pair s = tn_two_sum(p.hi, q.hi);
    TN_PRECISE xf lo = s.lo + (p.lo + q.lo);
    return tn_fast_two_sum(s.hi, lo);
}

TN_FN x_pair tn_pair_mul_pair(x_pair p, x_pair q)
{
    x_pair s = tn_two_prod(p.hi, q.hi);
    TN_PRECISE xf lo = s.lo + (p.hi * q.lo + p.lo * q.hi);
    return tn_fast_two_sum(s.hi, lo);
}

/* a*b + c rounded once, also where fma is not fused: the exact sum of three floats is rounded to odd first (Boldo and
 * Melquiond). */
TN_FN xf tn_fma_exact(xf a, xf b, xf c)
{
#define TN_FINITE_(x) ((x_bits(x) & 0x7fffffffu) < TN_INF_BITS)
    /* a product near the end of the type, or beyond it, may come back with c: at a quarter, then */
    TN_PRECISE xf product = a * b;
    xb large = (x_bits(product) & 0x7fffffffu) >= 0x7e000000u;
    xf quarter = 0.25f;
    xf four = 4.0f;
    xf one = 1.0f;
    xf shrink = large ? quarter : one;
    xf grown = large ? four : one;
    x_pair u = tn_two_prod(a * shrink, b);
    x_pair t = tn_two_sum(c * shrink, u.lo);
    x_pair v = tn_two_sum(u.hi, t.hi);
    x_pair z = tn_two_sum(t.lo, v.lo);
    xu zb = x_bits(z.hi);
    /* towards the error, one step in magnitude, when the last bit is even */
    xu grow = ((x_bits(z.lo) ^ zb) >> 31) == 0u ? 1u : 0xffffffffu;
    zb = ((x_bits(z.lo) & 0x7fffffffu) != 0u && (zb & 1u) == 0u) ? zb + grow : zb;
    TN_PRECISE xf odd = (v.hi + x_float(zb)) * grown;
    TN_PRECISE xf plain = product + c;
    plain = TN_FINITE_(a) && TN_FINITE_(b) && !TN_FINITE_(c) ? c : plain;
    xf result = TN_FINITE_(v.hi) && TN_FINITE_(v.lo) && TN_FINITE_(u.lo) ? odd : plain;
    return TN_FUSED != 0 ? x_fma(a, b, c) : result;
#undef TN_FINITE_
}

/* To the nearest integer, half to even, for |x| <= 2^22. */
TN_FN xf tn_round(xf x)
{
    TN_PRECISE xf shifted = x + 12582912.0f;
    TN_PRECISE xf r = shifted - 12582912.0f;
    return r;
}

/* ---- exp and log ---- */

/* e^t - 1 for |t| <= 0.37, less than a unit in the last place off; rounded last, of what rises with t. */
TN_FN xf tn_exp_less_one(xf t)
{
    xf s = 0.0013734526f;
    s = x_fma(s, t, 0.008370584f);
    s = x_fma(s, t, 0.04166963f);
    s = x_fma(s, t, 0.16666503f);
    s = x_fma(s, t, 0.4999999f);
    TN_PRECISE xf square = t * t;
    return x_fma(square, s, t);
}

/* x - n*ln2, ln2 in two parts, for |n| < 2^22 and a difference that is small. Without fma every partial product is made
 * exact: n in multiples of 1024 and the rest, the first part of ln2 in 12 and 9 bits; the differences are exact too. */
TN_FN xf tn_exp_rest(xf x, xf n)
{
    xf coarse = tn_round(n * 0.0009765625f) * 1024.0f;
    xf fine = n - coarse;
    TN_PRECISE xf t = x - coarse * 0.693115234f;
    t = t - fine * 0.693115234f;
    t = t - coarse * 3.19480896e-05f;
    t = t - fine * 3.19480896e-05f;
    t = t + n * 1.90465421e-09f;
    xf fused = x_fma(n, 1.90465421e-09f, x_fma(n, -0.693147182f, x));
    return TN_FUSED != 0 ? fused : t;
}

/* e^x = m * 2^n with 0.697 <= m <= 1.435 (0.667 to 1.498 where fma rounds twice), n integral, for finite |x| <= 2^20.
 * Where there is fma, the sum that rounds to an integer takes the product unrounded, as on CPUs: else a few n would not
 * be theirs. */
TN_FN xf tn_exp_n(xf x)
{
    TN_PRECISE xf scaled = x * 1.44269502f;
    xf fused = x_fma(x, 1.44269502f, 12582912.0f) - 12582912.0f;
    return TN_FUSED != 0 ? fused : tn_round(scaled);
}

TN_FN xf tn_exp_m(xf x, xf n)
{
    return tn_exp_less_one(tn_exp_rest(x, n)) + 1.0f;
}

/* t = d - n*ln2 for |n| <= 128. */
TN_FN xf tn_exp_reduce(xf d, xf n)
{
    TN_PRECISE xf t = d - n * 0.693115234f;
    t = t - n * 3.19480896e-05f;
    t = t + n * 1.90465421e-09f;
    xf fused = x_fma(n, 1.90465421e-09f, x_fma(n, -0.693147182f, d));
    return TN_FUSED != 0 ? fused : t;
}

/* e^d for d <= 88.37; 0 below -87.33654 (also for -Inf; NaN gives 0). */
TN_FN xf tn_exp(xf d)
{
    xf c = x_max(d, -87.5f);
    xf n = tn_exp_n(c);
    xf m = tn_exp_less_one(tn_exp_reduce(c, n)) + 1.0f;
    xf r = x_float(x_bits(m) + (x_as_uint(x_int(n)) << 23));
    return c < -87.33654f ? 0.0f : r;
}

/* e^d for d <= 0 with twice the digits near 0, for factors that are applied again and again. */
TN_FN x_pair tn_exp_pair(xf d)
{
    xf c = x_max(d, -87.5f);
    xf n = tn_exp_n(c);
    xf one = 1.0f;
    x_pair p = tn_fast_two_sum(one, tn_exp_less_one(tn_exp_reduce(c, n)));
    xf power = x_float(x_as_uint(x_int(n) + 127) << 23);
    xf zero = 0.0f;
    xb gone = c < -86.0f; /* the low part would be subnormal */
    return tn_pair_make(gone ? zero : p.hi * power, gone ? zero : p.lo * power);
}

/* 2^k for integral k <= 127; 0 for k <= -127. */
TN_FN xf tn_pow2(xf k)
{
    xf c = x_max(k, -127.0f);
    return x_float(x_as_uint(x_int(c) + 127) << 23);
}

/* ---- of lib/act.h, what gates of whole rows are made with ---- */

/* v m 2^n for integral n <= 0, m about 1: in two steps, so that a large v may meet a 2^n that is no normal number. */
TN_FN xf act_scale(xf v, xf m, xf n)
{
    xf half_n = tn_round(n * 0.5f);
    return ((v * tn_pow2(half_n)) * m) * tn_pow2(n - half_n);
}

/* v sigmoid(z + low), |low| below an ulp of z. */
TN_FN xf act_sigmoid(xf v, xf z, xf low)
{
    xf size = tn_fmin(x_float(x_bits(z) & 0x7fffffffu), 1000.0f);
    xf n = tn_exp_n(-size);
    xf e = tn_exp_m(-size, n);
    e = x_fma(e, z < 0.0f ? low : -low, e);
    xf quotient = v / (1.0f + e * tn_pow2(n));
    return z < 0.0f ? act_scale(quotient, e, n) : quotient;
}

/* e^t - 1 and that plus 2, t = 2|x|: near 0 nothing cancels. */
TN_FN xf act_tanh(xf x)
{
    xf size = tn_fmin(x_float(x_bits(x) & 0x7fffffffu), 10.0f) * 2.0f;
    xf n = tn_exp_n(size);
    xf less = tn_exp_less_one(tn_exp_reduce(size, n));
    xf grown = (less + 1.0f) * tn_pow2(n) - 1.0f;
    less = n == 0.0f ? less : grown;
    xf y = less / (less + 2.0f);
    return x < 0.0f ? -y : y;
}

/* ---- types of 16 bits, and products by bits ---- */

TN_FN xu tn_half_bits(xu h)
{
    xu sign = (h & 0x8000u) << 16;
    xu a = (h & 0x7fffu) << 13;
    xf small = x_float(a + 0x38800000u) - 6.103515625e-05f; /* subnormal: 2^-14 + a - 2^-14 */
    xu exponent = a & 0x0f800000u;
    xu r = a + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u);
    r = exponent == 0u ? x_bits(small) : r;
    return r | sign;
}

TN_FN xu tn_half_from_bits(xu b)
{
    xu sign = (b >> 16) & 0x8000u;
    xu a = b & 0x7fffffffu;
    xu normal = (a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13;
    xu small = x_bits(x_float(a < 0x38800000u ? a : 0u) + 0.5f) - 0x3f000000u; /* the ulp of 0.5 is half's smallest step */
    xu r = a < 0x38800000u ? small : normal;
    r = a >= 0x477ff000u ? 0x7c00u : r;
    r = a > TN_INF_BITS ? 0x7e00u : r;
    return r | sign;
}

TN_FN xu tn_bfloat_from_bits(xu b)
{
    xu r = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    return (b & 0x7fffffffu) > TN_INF_BITS ? 0x7fc0u | ((b >> 16) & 0x8000u) : r;
}

/* a * b of the bits of numbers, rounded once like every IEEE product, also where a factor or the product is subnormal
 * and on devices that flush those: the product of the mantissas is exact in two parts. */
TN_FN xu tn_mul_bits(xu a, xu b)
{
    xu sign = (a ^ b) & 0x80000000u;
    xu sa = a & 0x7fffffffu;
    xu sb = b & 0x7fffffffu;
    /* mantissas in [1, 2) and exponents */
    xu na = sa < 0x00800000u ? x_bits(x_real(sa)) : sa;
    xu nb = sb < 0x00800000u ? x_bits(x_real(sb)) : sb;
    x_pair p = tn_two_prod(x_float((na & 0x007fffffu) | 0x3f800000u), x_float((nb & 0x007fffffu) | 0x3f800000u));
    xf e = x_real(na >> 23) + x_real(nb >> 23) - 254.0f;
    e = sa < 0x00800000u ? e - 149.0f : e;
    e = sb < 0x00800000u ? e - 149.0f : e;
    /* normal; 2^128 and more is infinite */
    xu normal = x_bits(p.hi) + (x_as_uint(x_int(x_max(e, -126.0f))) << 23);
    normal = x_real(x_bits(p.hi) >> 23) + e > 254.0f ? TN_INF_BITS : normal;
    /* subnormal: to a whole number of 2^-149, half to even */
    xf unit = tn_pow2(e < -126.0f ? e + 149.0f : e * 0.0f);
    TN_PRECISE xf t = p.hi * unit;
    TN_PRECISE xf low = p.lo * unit;
    xf whole = tn_floor(t);
    TN_PRECISE xf over = (t - whole) - 0.5f;
    xu small = x_as_uint(x_int(whole));
    small = over > -low || (over == -low && (small & 1u) != 0u) ? small + 1u : small;
    xu r = e < -126.0f ? small : normal;
    r = sa == 0u || sb == 0u ? 0u : r;
    r = sa == TN_INF_BITS || sb == TN_INF_BITS ? (sa == 0u || sb == 0u ? TN_NAN_BITS : TN_INF_BITS) : r;
    r = sa > TN_INF_BITS || sb > TN_INF_BITS ? TN_NAN_BITS : r;
    return r | sign;
}
