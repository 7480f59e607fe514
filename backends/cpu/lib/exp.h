/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The exponential, exactly specified: only IEEE add, mul and fma, so its bits are the same on every ISA.
 *
 *   exp_parts(x, &n)  m with e^x = m * 2^n, n integral, 0.707 <= m <= 1.4143; for |x| <= 2^20. NaN gives m = NaN;
 *                     of other arguments outside the range nothing can be said.
 *   vf_exp(d)         e^d for d <= 87.6, 0 below -87.33654 (which is 2^-126) and for -Inf, NaN for NaN; 1.05 ulp
 *                     at most.
 *
 * Argument reduction after Cody and Waite; a polynomial of degree 6 fitted for this form. */
#ifndef TENON_LIB_EXP_H
#define TENON_LIB_EXP_H

#include "simd/simd.h"

/* 1.5 * 2^23: adding it rounds to an integer, half to even, and leaves that integer in the low bits. */
#define EXP_MAGIC 0x1.8p+23f

/* `scale` is a power of two that multiplies every coefficient, which only moves exponents: the bits of the rest are
 * the same. */
SIMD_FN vf exp_polynomial(vf x, vf n, float scale)
{
    vf t = vf_fma(n, vf_set1(-0x1.62e430p-1f), x);
    t = vf_fma(n, vf_set1(0x1.05c610p-29f), t); /* ln 2 in two parts */
    vf p = vf_set1(scale * 0x1.6ae6e0p-10f);
    p = vf_fma(p, t, vf_set1(scale * 0x1.1267d8p-7f));
    p = vf_fma(p, t, vf_set1(scale * 0x1.555824p-5f));
    p = vf_fma(p, t, vf_set1(scale * 0x1.555418p-3f));
    p = vf_fma(p, t, vf_set1(scale * 0x1.fffffcp-2f));
    p = vf_fma(p, t, vf_set1(scale));
    return vf_fma(p, t, vf_set1(scale));
}

SIMD_FN vf exp_parts(vf x, vf *n)
{
    const vf z = vf_add(vf_mul(x, vf_set1(0x1.715476p+0f)), vf_set1(EXP_MAGIC));
    *n = vf_sub(z, vf_set1(EXP_MAGIC));
    return exp_polynomial(x, *n, 1.0f);
}

SIMD_FN vf vf_exp(vf d)
{
    /* 128 more than the integer in the low bits: shifted up they are the exponent field of 2^(n+1), and m is halved
     * for it. 127 would give 2^n, but an odd number turns half-to-even into half-to-odd. */
    const float magic = EXP_MAGIC + 128.0f;
    const vf z = vf_add(vf_mul(d, vf_set1(0x1.715476p+0f)), vf_set1(magic));
    const vf m = exp_polynomial(d, vf_sub(z, vf_set1(magic)), 0.5f);
    /* A product and not a sum of exponent fields: it keeps NaN. */
    const vf e = vf_mul(m, vf_bits(vi_shl(vi_bits(z), 23)));
    return vf_keep(vf_nlt(d, vf_set1(-87.33654f)), e);
}

#endif
