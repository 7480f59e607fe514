/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What choices depend on: functions whose bits are the CPU's (backends/cpu/lib/exact.h), also where fma is not fused
 * and divisions are not rounded correctly. Needs num.h and order.h. */
#ifndef TN_LIB_EXACT_H
#define TN_LIB_EXACT_H

/* A candidate's key: that of lib/order.h, but a NaN comes after all numbers, and -Inf is none. */
#define TN_CHOICE_NONE TN_ORDER_NONE
#define TN_CHOICE_NAN TN_ORDER_NEG_INF

TN_FN int tn_choice_key(uint bits)
{
    int b = tn_as_int(bits);
    int key = b ^ ((b >> 31) & 0x7fffffff);
    key = bits == 0x80000000u ? 0 : key;
    key = bits == TN_NEG_INF_BITS ? TN_CHOICE_NONE : key;
    return (bits & 0x7fffffffu) > TN_INF_BITS ? TN_CHOICE_NAN : key;
}

TN_FN uint tn_normal_bits(uint bits)
{
    return (bits & 0x7fffffffu) < 0x00800000u ? 0u : bits;
}

/* a * b of finite numbers, below the normal ones 0. */
TN_FN float tn_exact_mul(float a, float b)
{
    TN_PRECISE float p = a * b;
    return tn_float(tn_normal_bits(tn_bits(p)));
}

/* exp(z - top) for finite z <= top: the bits of vf_exp of the CPU. */
TN_FN float tn_exact_exp(float z, float top)
{
    TN_PRECISE float half_apart = z * 0.5f - top * 0.5f;
    TN_PRECISE float apart = z - top;
    float d = half_apart < -50.0f ? -100.0f : apart;
    float c = tn_fmax(d, -87.5f);
    TN_PRECISE float n = tn_fma_exact(c, 1.44269502f, 12582912.0f) - 12582912.0f;
    float t = tn_fma_exact(n, -0.693147182f, c);
    t = tn_fma_exact(n, 1.90465421e-09f, t);
    float s = tn_fma_exact(0.0013734526f, t, 0.008370584f);
    s = tn_fma_exact(s, t, 0.04166963f);
    s = tn_fma_exact(s, t, 0.16666503f);
    s = tn_fma_exact(s, t, 0.4999999f);
    TN_PRECISE float square = t * t;
    TN_PRECISE float m = tn_fma_exact(square, s, t) + 1.0f;
    float r = tn_float(tn_bits(m) + (tn_as_uint(tn_int(n)) << 23));
    return d < -87.33654f ? 0.0f : r;
}

/* The same of bits, 0 for -Inf. */
TN_FN float tn_exact_exp_bits(uint z, float top)
{
    bool some = z != TN_NEG_INF_BITS;
    float e = tn_exact_exp(some ? tn_float(z) : top, top);
    return some ? e : 0.0f;
}

/* a / b rounded once, for positive a and b whose quotient and its last digit times b are normal. */
TN_FN float tn_exact_div(float a, float b)
{
    TN_PRECISE float q = a / b;
    tn_pair p = tn_two_prod(q, b);
    TN_PRECISE float rest = (a - p.hi) - p.lo;
    q = q + rest / b;
    p = tn_two_prod(q, b);
    rest = (a - p.hi) - p.lo;
    uint bits = tn_bits(q);
    float unit = tn_float((bits & 0x7f800000u) - (24u << 23)); /* half the spacing at q */
    TN_PRECISE float up = unit * b;
    float down = (bits & 0x007fffffu) == 0u ? up * 0.5f : up;
    bits = rest > up ? bits + 1u : bits;
    bits = rest < -down ? bits - 1u : bits;
    return tn_float(bits);
}

/* Sums of exp, in any order: whole multiples of 2^-14, and of 2^-40 below that. */
TN_STRUCT(tn_exact_sum) { uint hi; uint lo; };

TN_FN tn_exact_sum tn_exact_add(tn_exact_sum sum, float e)
{
    tn_exact_sum r;
    TN_PRECISE float moved = e + 7.62939453125e-06f;
    TN_PRECISE float rounded = moved - 7.62939453125e-06f;
    float x = (e < 7.62939453125e-06f ? rounded : e) * 16384.0f;
    uint whole = tn_uint(x);
    TN_PRECISE float part = (x - tn_real(whole)) * 67108864.0f;
    uint low = sum.lo + tn_uint(part);
    r.hi = sum.hi + whole + (low >> 26);
    r.lo = low & 0x3ffffffu;
    return r;
}

/* Rounded to the nearest float: the lower parts to odd first. */
TN_FN float tn_exact_total(tn_exact_sum sum)
{
    uint p2 = sum.hi >> 12;
    uint p1 = ((sum.hi & 0xfffu) << 7) | (sum.lo >> 19);
    uint p0 = sum.lo & 0x7ffffu;
    uint low = (p1 << 5) | (p0 >> 14);
    low = (p0 & 0x3fffu) != 0u ? low | 1u : low;
    TN_PRECISE float high = tn_real(p2) * 0.25f;
    TN_PRECISE float all = high + tn_real(low) * 1.490116119384765625e-08f;
    return all;
}

TN_FN uint tn_is_nan(uint bits)
{
    return (bits & 0x7fffffffu) > TN_INF_BITS ? 1u : 0u;
}

#endif
