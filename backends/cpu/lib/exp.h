/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The exponential, exactly specified: only IEEE add, mul and fma, so its bits are the same on every ISA.
 *
 *   exp_parts(x, &n)  m with e^x = m * 2^n, n integral, 0.6972 <= m <= 1.4342 (towards 2^20; 0.707 to 1.4143 while
 *                     |x| is small), 1.0141 ulp at most; for |x| <= 2^20. NaN gives m = NaN; of other arguments
 *                     outside the range nothing can be said.
 *   vf_exp(d)         e^d for d <= 87.6, 0 below -87.33654 (which is 2^-126) and for -Inf, NaN for NaN; 0.9865 ulp at
 *                     most, so it is always one of the two floats around e^d.
 *
 * Both are monotone: the larger of two arguments never has the smaller result, of exp_parts never the smaller n nor
 * the smaller m * 2^n. `make check-exp` tries every float. On a device whose fma rounds twice (shaders/lib/elem.h has
 * the same in the dialect of the kernels) the figures are others, and a result may be one place lower.
 *
 * Argument reduction after Cody and Waite; e^t = 1 + (t + t^2 s(t)), s of degree 4: minimax of |t^2 (s - s*)| in units
 * of the result's last place (Remez in 50 digits), then the rounding of its coefficients chosen by a search for the
 * least error over all arguments above 1 with t < -1/4, which are the hard ones, among those that leave |t^2 (s - s*)|
 * below 0.12 * 2^-24 and below 0.7 |t| * 2^-24. */
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

/* x becomes h = e^t - 1 of t = x - n ln 2. What steps back where t steps on is only t^2 s(t), by less than a step of t:
 * the sum h rounds numbers that are in order, and so does all that follows. */
SIMD_FN void exp_less_one(vf *x, const vf *n, const int count)
{
    vf s[EXP_EACH], square[EXP_EACH];
    EXP_STEP(x[i] = vf_fma(n[i], vf_set1(-0x1.62e430p-1f), x[i]))
    EXP_STEP(x[i] = vf_fma(n[i], vf_set1(0x1.05c610p-29f), x[i])) /* ln 2 in two parts */
    EXP_STEP(s[i] = vf_fma(vf_set1(0x1.680ad8p-10f), x[i], vf_set1(0x1.12498cp-7f)))
    EXP_STEP(s[i] = vf_fma(s[i], x[i], vf_set1(0x1.555b8cp-5f)))
    EXP_STEP(s[i] = vf_fma(s[i], x[i], vf_set1(0x1.55547ap-3f)))
    EXP_STEP(s[i] = vf_fma(s[i], x[i], vf_set1(0x1.fffffap-2f)))
    EXP_STEP(square[i] = vf_mul(x[i], x[i]))
    EXP_STEP(x[i] = vf_fma(square[i], s[i], x[i]))
}

/* x[i] = m of e^x[i] = m * 2^n[i]. */
SIMD_FN void exp_parts_each(vf *x, vf *n, const int count)
{
    EXP_STEP(n[i] = vf_fma(x[i], vf_set1(0x1.715476p+0f), vf_set1(EXP_MAGIC)))
    EXP_STEP(n[i] = vf_sub(n[i], vf_set1(EXP_MAGIC)))
    exp_less_one(x, n, count);
    EXP_STEP(x[i] = vf_add(x[i], vf_set1(1.0f)))
}

SIMD_FN vf exp_parts(vf x, vf *n)
{
    exp_parts_each(&x, n, 1);
    return x;
}

/* d[i] = e^d[i]. */
SIMD_FN void vf_exp_each(vf *d, const int count)
{
    /* 127 more than the integer in the low bits: shifted up they are the exponent field of 2^n. That it makes the sum
     * odd is nothing to half-to-even: no product of a float below 2^22 and this constant is a half. */
    const float magic = EXP_MAGIC + 127.0f;
    vf z[EXP_EACH], n[EXP_EACH], h[EXP_EACH];
    EXP_STEP(z[i] = vf_fma(d[i], vf_set1(0x1.715476p+0f), vf_set1(magic)))
    EXP_STEP(n[i] = vf_sub(z[i], vf_set1(magic)))
    EXP_STEP(h[i] = d[i])
    exp_less_one(h, n, count);
    EXP_STEP(z[i] = vf_bits(vi_shl(vi_bits(z[i]), 23)))
    /* (h + 1) 2^n, rounded once like h + 1; it keeps NaN, as a sum of exponent fields would not. */
    EXP_STEP(d[i] = vf_keep(vf_nlt(d[i], vf_set1(-87.33654f)), vf_fma(h[i], z[i], z[i])))
#undef EXP_STEP
}

SIMD_FN vf vf_exp(vf d)
{
    vf_exp_each(&d, 1);
    return d;
}

#endif
