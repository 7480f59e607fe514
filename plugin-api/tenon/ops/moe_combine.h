/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_combine: what the experts made of a token's copies becomes its output: their weighted sum, with shared experts
 * and the residual.
 *
 * Of token t, in f32, where every step is rounded once:
 *     acc = 0;  for j = 0 .. K-1, where pos[t,j] is a row of zp and (w[t,j] != 0 or not skip_zero):
 *         acc = fma(w[t,j], zp[pos[t,j]], acc)
 *     acc = fma(shared_scale, shared[t], acc);  acc = acc + residual[t];  y[t] = acc, rounded to y's type
 * without shared and residual where they are not given. Weights are not normalised here.
 *
 * pos == -1 is no row: it adds nothing, whatever its weight is. So does any other pos outside [0,Mp), which is counted
 * in flags: data never gives an error code. With skip_zero a weight of 0 (of either sign) adds nothing, whatever its
 * row holds. A token without a slot that adds: shared and residual alone, else 0. K == 0 is allowed. NaN and infinities
 * go through by IEEE's rules; NaN in a row of zp that no token takes is not seen.
 * flags: [0] tokens with a NaN weight on a row of zp; [1] tokens without a slot that adds; [2] 0; [3] entries of pos
 * that are neither -1 nor a row.
 *
 * Errors: shapes: SHAPE; y overlapping an input other than a residual that is the same tensor: ALIAS. pos and w are
 * contiguous; the leading axes of the others fold into one stride each (else UNSUPPORTED). T == 0, Do == 0: success,
 * flags are written. T K < 2^32, Mp < 2^31, Do < 2^31. A GPU takes pos, w and zp of up to 2 GiB; one
 * whose loops end, K < 2^15 (else UNSUPPORTED).
 * Tolerance (u = 2^-24): |err| <= 2u (K + 2) sum |w||z| (shared, residual among the terms), 16-bit y 1 ulp more; floor
 * 2^-126 (1 + sum |w|).
 * Determinism: D1 while every product, sum and term is 0 or within [2^-100, 2^125]; else D0. A row's bits depend on its
 * token's own slots alone. Thread rule: a plan may run on any number of threads at once.
 * Traffic: 1R of the rows that are taken, of shared and of residual, 1W.
 * Source: Shazeer et al., "Outrageously Large Neural Networks" (2017); the gather form of Gale et al., "MegaBlocks"
 * (2022); shared experts: Dai et al., "DeepSeekMoE" (2024).
 */
#ifndef TENON_OPS_MOE_COMBINE_H
#define TENON_OPS_MOE_COMBINE_H

#include <stdint.h>

/* Tensors, in this order. */
enum {
    TENON_MOE_COMBINE_ZP,       /* in   f32 f16 bf16 [Mp,Do] */
    TENON_MOE_COMBINE_POS,      /* in   i32 [...T,K] */
    TENON_MOE_COMBINE_W,        /* in   f32 as pos */
    TENON_MOE_COMBINE_SHARED,   /* in?  f32 f16 bf16 [...T,Do] */
    TENON_MOE_COMBINE_RESIDUAL, /* in?  f32 f16 bf16 [...T,Do] */
    TENON_MOE_COMBINE_Y,        /* out  f32 f16 bf16 [...T,Do]; may be residual itself */
    TENON_MOE_COMBINE_FLAGS,    /* out? u32 [4] */
    TENON_MOE_COMBINE_N_TENSORS
};

struct tenon_moe_combine_params {
    uint32_t struct_size;
    uint32_t skip_zero; /* 1: 0 or 1 */
    float shared_scale; /* 1, finite; of shared alone */
};

#endif
