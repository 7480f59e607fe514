/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Blocks of 16 columns, as 16/VF vectors: lane l of a row is always made of the columns l, l + 16, l + 32, ...,
 * whatever the ISA. Reductions written over blocks therefore have the same bits on every ISA.
 *
 * Sums over a row: at most BLOCK_RUN sequential float additions a lane, then the lane goes to a double; the 16
 * doubles of a tile of TILE columns are added by halves, the tiles ascending. */
#ifndef TENON_LIB_BLOCK_H
#define TENON_LIB_BLOCK_H

#include "simd/simd.h"

#define BLOCK 16
#define BLOCK_VECTORS (BLOCK / VF)
#define BLOCK_RUN 32
#define TILE 4096

#define BLOCK_EACH(b) SIMD_UNROLL for (int b = 0; b < BLOCK_VECTORS; b++)

/* What a loop over a row takes at once: a whole number of blocks, and vectors enough to hide the latency of each
 * other's arithmetic. The rest of a row goes block by block. */
#define STEP         (4 * VF > BLOCK ? 4 * VF : BLOCK)
#define STEP_VECTORS (STEP / VF)

/* The vectors of n columns, a constant STEP or at most a BLOCK. */
#define STEP_EACH(v, n) SIMD_UNROLL_MAYBE for (int v = 0; v < step_vectors(n); v++)

/* Calls CALL(c, n) for [from, to): n is the constant STEP while that fits, then a variable, at most BLOCK and never
 * STEP. CALL compiles into one instance for each. */
#define STEP_ALL(c, from, to, CALL)                                            \
    for (; (c) + STEP <= (to); (c) += STEP)                                    \
        CALL((c), STEP);                                                       \
    for (; (c) < (to); (c) += BLOCK)                                           \
        CALL((c), block_rest((to) - (c)));

/* How many of the first n lanes of a block lie in vector b. */
SIMD_FN int block_count(int n, int b)
{
    const int k = n - b * VF;
    return k < 0 ? 0 : k > VF ? VF : k;
}

SIMD_FN int step_vectors(int n)
{
    return n == STEP ? STEP_VECTORS : BLOCK_VECTORS;
}

SIMD_FN int block_rest(int64_t n)
{
    return n < BLOCK ? (int)n : BLOCK;
}

/* The same of n columns, a constant STEP or at most a BLOCK. */
SIMD_FN int step_count(int n, int b)
{
    return n == STEP ? VF : block_count(n, b);
}

SIMD_FN void block_set(vf *v, float value)
{
    BLOCK_EACH(b)
        v[b] = vf_set1(value);
}

SIMD_FN void block_flush(double *acc, const vf *v)
{
    BLOCK_EACH(b)
        vf_accumulate(acc + b * VF, v[b]);
}

/* Lane l with lane l + 8, then 4, 2, 1. */
SIMD_FN double block_sum(double *acc)
{
    for (int half = BLOCK / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            acc[l] += acc[l + half];
    return acc[0];
}

SIMD_FN float block_max(vf *v)
{
    for (int half = BLOCK_VECTORS / 2; half > 0; half /= 2)
        for (int b = 0; b < half; b++)
            v[b] = vf_max(v[b], v[b + half]);
    return vf_reduce_max(v[0]);
}

#endif
