/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The exponential, exactly specified: only IEEE add, mul and fma, so its bits are the same on every ISA.
 *
 *   exp_parts(x, &n)  m with e^x = m * 2^n, n integral, 0.6972 <= m <= 1.4342 (towards 2^20; 0.707 to 1.4143 while
 *                     |x| is small), 1.0982 ulp at most; for |x| <= 2^20. NaN gives m = NaN; of other arguments
 *                     outside the range nothing can be said.
 *   vf_exp(d)         e^d for d <= 87.6, 0 below -87.33654 (which is 2^-126) and for -Inf, NaN for NaN. `make
 *                     check-exp` tries every float: 1.0613 ulp at most (above 1.05 for five arguments), and of two
 *                     neighbours the larger may have a result one place lower (2874 times).
 *
 * Argument reduction after Cody and Waite; a polynomial of degree 6 fitted for this form. */
#ifndef TENON_LIB_EXP_H
#define TENON_LIB_EXP_H

#include "simd/simd.h"

/* 1.5 * 2^23: adding it rounds to an integer, half to even, and leaves that integer in the low bits. */
#define EXP_MAGIC 0x1.8p+23f

/* The functions named _each take up to EXP_EACH vectors step by step: the steps of one wait for each other, and a
 * processor looks ahead too little to find the next one's by itself. */
#define EXP_EACH 16
#define EXP_STEP(statement)                                                    \
    SIMD_UNROLL_MAYBE for (int i = 0; i < count; i++) statement;

/* `scale` is a power of two that multiplies every coefficient, which only moves exponents: the bits of the rest are
 * the same. x becomes the polynomial. */
SIMD_FN void exp_polynomial(vf *x, const vf *n, const int count, float scale)
{
    vf p[EXP_EACH];
    EXP_STEP(x[i] = vf_fma(n[i], vf_set1(-0x1.62e430p-1f), x[i]))
    EXP_STEP(x[i] = vf_fma(n[i], vf_set1(0x1.05c610p-29f), x[i])) /* ln 2 in two parts */
    EXP_STEP(p[i] = vf_fma(vf_set1(scale * 0x1.6ae6e0p-10f), x[i], vf_set1(scale * 0x1.1267d8p-7f)))
    EXP_STEP(p[i] = vf_fma(p[i], x[i], vf_set1(scale * 0x1.555824p-5f)))
    EXP_STEP(p[i] = vf_fma(p[i], x[i], vf_set1(scale * 0x1.555418p-3f)))
    EXP_STEP(p[i] = vf_fma(p[i], x[i], vf_set1(scale * 0x1.fffffcp-2f)))
    EXP_STEP(p[i] = vf_fma(p[i], x[i], vf_set1(scale)))
    EXP_STEP(x[i] = vf_fma(p[i], x[i], vf_set1(scale)))
}

/* x[i] = m of e^x[i] = m * 2^n[i]. */
SIMD_FN void exp_parts_each(vf *x, vf *n, const int count)
{
    EXP_STEP(n[i] = vf_fma(x[i], vf_set1(0x1.715476p+0f), vf_set1(EXP_MAGIC)))
    EXP_STEP(n[i] = vf_sub(n[i], vf_set1(EXP_MAGIC)))
    exp_polynomial(x, n, count, 1.0f);
}

SIMD_FN vf exp_parts(vf x, vf *n)
{
    exp_parts_each(&x, n, 1);
    return x;
}

/* d[i] = e^d[i]. */
SIMD_FN void vf_exp_each(vf *d, const int count)
{
    /* 128 more than the integer in the low bits: shifted up they are the exponent field of 2^(n+1), and m is halved
     * for it. 127 would give 2^n, but an odd number turns half-to-even into half-to-odd. */
    const float magic = EXP_MAGIC + 128.0f;
    vf z[EXP_EACH], n[EXP_EACH], m[EXP_EACH];
    EXP_STEP(z[i] = vf_fma(d[i], vf_set1(0x1.715476p+0f), vf_set1(magic)))
    EXP_STEP(n[i] = vf_sub(z[i], vf_set1(magic)))
    EXP_STEP(m[i] = d[i])
    exp_polynomial(m, n, count, 0.5f);
    /* A product and not a sum of exponent fields: it keeps NaN. */
    EXP_STEP(d[i] = vf_keep(vf_nlt(d[i], vf_set1(-87.33654f)), vf_mul(m[i], vf_bits(vi_shl(vi_bits(z[i]), 23)))))
#undef EXP_STEP
}

SIMD_FN vf vf_exp(vf d)
{
    vf_exp_each(&d, 1);
    return d;
}

#endif
