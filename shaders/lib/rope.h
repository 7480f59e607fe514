/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope: frequencies in turns times 2^64, cosines and sines of their multiples, and rotations, the bits of all of which
 * are the CPU's. Needs num.h and ieee.h. */
#ifndef TN_LIB_ROPE_H
#define TN_LIB_ROPE_H

/* A fraction in 96 bits. */
TN_STRUCT(rope_fraction) { uint w0; uint w1; uint w2; };

TN_STRUCT(rope_sum) { uint lo; uint hi; };

/* a * b + c + d in 64 bits. */
TN_FN rope_sum rope_mul_add(uint a, uint b, uint c, uint d)
{
    rope_sum s;
    uint lo = a * b;
    uint hi = tn_mulhi(a, b);
    uint first = lo + c;
    hi += first < lo ? 1u : 0u;
    s.lo = first + d;
    s.hi = hi + (s.lo < first ? 1u : 0u);
    return s;
}

/* The upper half of the product. */
TN_FN rope_fraction rope_fraction_mul(rope_fraction a, rope_fraction b)
{
    rope_fraction r;
    rope_sum s = rope_mul_add(a.w0, b.w0, 0u, 0u);
    s = rope_mul_add(a.w0, b.w1, s.hi, 0u);
    uint p1 = s.lo;
    s = rope_mul_add(a.w0, b.w2, s.hi, 0u);
    uint p2 = s.lo;
    uint p3 = s.hi;
    s = rope_mul_add(a.w1, b.w0, p1, 0u);
    s = rope_mul_add(a.w1, b.w1, p2, s.hi);
    p2 = s.lo;
    s = rope_mul_add(a.w1, b.w2, p3, s.hi);
    p3 = s.lo;
    uint p4 = s.hi;
    s = rope_mul_add(a.w2, b.w0, p2, 0u);
    s = rope_mul_add(a.w2, b.w1, p3, s.hi);
    r.w0 = s.lo;
    s = rope_mul_add(a.w2, b.w2, p4, s.hi);
    r.w1 = s.lo;
    r.w2 = s.hi;
    return r;
}

#define ROPE_NONE 0xffffffffu /* both words: a frequency whose columns are NaN */

/* The bits of a frequency over 2 pi, modulo 1, times 2^64. */
TN_FN rope_sum rope_turn_of(uint bits)
{
    uint exponent = (bits >> 23) & 0xffu;
    uint mantissa = exponent != 0u ? (bits & 0x7fffffu) | 0x800000u : bits & 0x7fffffu;
    uint shift = 214u - max(exponent, 1u);
    rope_sum s = rope_mul_add(mantissa, 0x7d4d3770u, 0u, 0u); /* 2^128 / (2 pi), the lowest word first */
    uint p0 = s.lo;
    s = rope_mul_add(mantissa, 0x7f09d5f4u, s.hi, 0u);
    uint p1 = s.lo;
    s = rope_mul_add(mantissa, 0x9391054au, s.hi, 0u);
    uint p2 = s.lo;
    s = rope_mul_add(mantissa, 0x28be60dbu, s.hi, 0u);
    uint p3 = s.lo;
    uint p4 = s.hi;
    uint word = shift >> 5;
    uint rest = shift & 31u;
    /* shift is 64 and more where the frequency counts */
    uint q0 = word == 2u ? p2 : (word == 3u ? p3 : (word == 4u ? p4 : 0u));
    uint q1 = word == 2u ? p3 : (word == 3u ? p4 : 0u);
    uint q2 = word == 2u ? p4 : 0u;
    rope_sum t;
    t.lo = rest != 0u ? (q0 >> rest) | (q1 << (32u - rest)) : q0;
    t.hi = rest != 0u ? (q1 >> rest) | (q2 << (32u - rest)) : q1;
    if ((bits & 0x80000000u) != 0u) {
        t.hi = ~t.hi + (t.lo == 0u ? 1u : 0u);
        t.lo = 0u - t.lo;
    }
    t.lo = t.lo == ROPE_NONE && t.hi == ROPE_NONE ? ROPE_NONE - 1u : t.lo;
    t.lo = exponent > 150u ? ROPE_NONE : t.lo;
    t.hi = exponent > 150u ? ROPE_NONE : t.hi;
    return t;
}

TN_STRUCT(rope_angle) { tn_vu c; tn_vu s; };

/* Bits of amplitude times cosine and sine of `size` (negative: minus it) times lo and hi. */
TN_FN rope_angle rope_angle_of(uint size, uint negative, tn_vu lo, tn_vu hi, float amplitude)
{
    tn_vu all = size;
    tn_vu turn = all * hi + tn_mulhi(all, lo);
    tn_vu quarter = (turn + 0x20000000u) >> 30;
    tn_vi rest = tn_vas_int(turn - (quarter << 30));
    /* exact pieces, so that it is the sum that rounds, to nearest */
    TN_PRECISE tn_vf z = tn_vreal(rest >> 7) * 128.0f + tn_vreal(rest & 127);
    z = z * 9.31322574615478515625e-10f;
    TN_PRECISE tn_vf w = z * z;
    TN_PRECISE tn_vf p = w * 0.000160441185f;
    p = (p - 0.00468175414f) * w;
    p = (p + 0.0796926262f) * w;
    p = (p - 0.645964098f) * w;
    p = p - 4.371139e-08f;
    TN_PRECISE tn_vf sine = z * 1.57079637f + z * p;
    TN_PRECISE tn_vf q = w * -2.52020424e-05f;
    q = (q + 0.000919260275f) * w;
    q = (q - 0.0208634808f) * w;
    q = (q + 0.253669508f) * w;
    q = (q - 1.23370055f) * w;
    TN_PRECISE tn_vf cosine = q + 1.0f;
    cosine = cosine * amplitude;
    sine = sine * amplitude;
    tn_vb odd = (quarter & 1u) != 0u;
    tn_vu none = TN_NAN_BITS;
    tn_vu cb = odd ? tn_vbits(sine) : tn_vbits(cosine);
    tn_vu sb = odd ? tn_vbits(cosine) : tn_vbits(sine);
    rope_angle a;
    a.c = cb ^ (((quarter + 1u) << 30) & 0x80000000u);
    a.s = sb ^ (((quarter << 30) & 0x80000000u) ^ (negative << 31));
    tn_vb absent = lo == ROPE_NONE && hi == ROPE_NONE;
    a.c = absent ? none : a.c;
    a.s = absent ? none : a.s;
    return a;
}

TN_FN tn_vb rope_special(tn_vu bits)
{
    return (bits & TN_INF_BITS) == TN_INF_BITS;
}

TN_FN tn_vu rope_scaled(tn_vu bits, float amplitude)
{
    TN_PRECISE tn_vf product = tn_vfloat(bits) * amplitude;
    tn_vu nan = TN_NAN_BITS;
    tn_vu odd = amplitude == 0.0f ? nan : bits;
    return rope_special(bits) ? odd : tn_vbits(product);
}

/* Bits of a * c + b * s, each product rounded. */
TN_FN tn_vu rope_turned(tn_vu a, tn_vu c, tn_vu b, tn_vu s)
{
    TN_PRECISE tn_vf p = tn_vfloat(a) * tn_vfloat(c);
    TN_PRECISE tn_vf q = tn_vfloat(b) * tn_vfloat(s);
    TN_PRECISE tn_vf sum = p + q;
    tn_vu result = tn_vbits(sum);
    tn_vb odd = rope_special(a) || rope_special(b) || rope_special(c) || rope_special(s);
    if (tn_vany(odd)) {
        tn_vu zero = 0u;
        tn_vu exact = tn_madd_bits(a, c, tn_madd_bits(b, s, zero));
        result = odd ? exact : result;
    }
    return result;
}

#endif
