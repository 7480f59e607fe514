/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What choices depend on and must have the same bits on every backend (shaders/lib/exact.h has the same): exponentials
 * and their sums, which are integers, and what is below the normal numbers. */
#ifndef TENON_LIB_EXACT_H
#define TENON_LIB_EXACT_H

#include <float.h>

#include "lib/block.h"
#include "lib/exp.h"
#include "lib/order.h"

#define PAD       16       /* rows are filled up to a multiple with -Inf, which weighs nothing */
#define SUM_RUN   4096     /* multiples of 2^-40 up to 1 that a double adds exactly */
#define EACH      4        /* vectors whose steps do not wait for each other */
#define ROUND_40  0x1p-17f /* adding it rounds what is smaller to a multiple of 2^-40 */
#define MINUS_INF (-INFINITY)
#define KEY_NONE  INT32_MIN       /* of what is absent */
#define KEY_NAN   ORDER_MINUS_INF /* after all numbers, but not absent */

/* Results below the smallest normal number are 0 on every device, with or without subnormals. */
SIMD_FN float normal_or_0(float x)
{
    return fabsf(x) < FLT_MIN ? 0.0f : x;
}

SIMD_FN vf vf_normal_or_0(vf x)
{
    return vf_keep(vf_nlt(vf_abs(x), vf_set1(FLT_MIN)), x);
}

/* The largest of n floats, -Inf for none; *nan: whether there is one. n is a multiple of PAD. */
SIMD_FN float row_top(const float *z, int64_t n, int *nan)
{
    vf top[PAD / VF];
    vm odd = vm_first(0);
    for (int b = 0; b < PAD / VF; b++)
        top[b] = vf_set1(MINUS_INF);
    for (int64_t i = 0; i < n; i += PAD)
        SIMD_UNROLL for (int b = 0; b < PAD / VF; b++)
        {
            const vf v = vf_load(z + i + b * VF);
            odd = vm_or(odd, vf_unordered(v, v));
            top[b] = vf_max(v, top[b]);
        }
    *nan = vm_any(odd);
    return block_max(top);
}

SIMD_FN vf round_40(vf e)
{
    const vf tiny = vf_set1(ROUND_40);
    return vf_select(vf_lt(e, tiny), vf_sub(vf_add(e, tiny), tiny), e);
}

SIMD_FN void exp_step(const float *z, float top, float *e, double *acc, double *moment, const int count)
{
    vf d[EACH], y[EACH];
    SIMD_UNROLL_MAYBE for (int b = 0; b < count; b++)
        y[b] = d[b] = vf_sub(vf_load(z + b * VF), vf_set1(top));
    vf_exp_each(y, count);
    SIMD_UNROLL_MAYBE for (int b = 0; b < count; b++)
    {
        vf_store(e + b * VF, y[b]);
        vf_accumulate(acc, round_40(y[b]));
        if (moment)
            vf_accumulate(moment, vf_keep(vf_gt(y[b], vf_zero()), vf_mul(y[b], d[b])));
    }
}

/* e = exp(z - top), n a multiple of PAD; returns the sum in units of 2^-40, e rounded to it: integers, in any order. */
SIMD_FN uint64_t exp_each(const float *z, int64_t n, float top, float *e, double *moment)
{
    double at[VF] = {0};
    uint64_t sum = 0;
    for (int64_t from = 0; from < n; from += SUM_RUN) {
        const int64_t to = n - from < SUM_RUN ? n : from + SUM_RUN;
        double acc[VF] = {0};
        int64_t i = from;
        for (; i + EACH * VF <= to; i += EACH * VF)
            exp_step(z + i, top, e + i, acc, moment ? at : NULL, EACH);
        for (; i < to; i += VF)
            exp_step(z + i, top, e + i, acc, moment ? at : NULL, 1);
        for (int l = 0; l < VF; l++)
            sum += (uint64_t)(acc[l] * 0x1p40);
    }
    for (int l = 0; moment && l < VF; l++)
        *moment += at[l];
    return sum;
}

static __attribute__((noinline, unused)) uint64_t exp_sum(const float *z, int64_t n, float top, float *e)
{
    return exp_each(z, n, top, e, NULL);
}

static __attribute__((noinline, unused)) uint64_t exp_sum_moment(const float *z, int64_t n, float top, float *e,
                                                                 double *moment)
{
    return exp_each(z, n, top, e, moment);
}

static inline float inverse_of(uint64_t sum)
{
    return 1.0f / ((float)sum * 0x1p-40f);
}

#endif
