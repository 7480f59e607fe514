/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gather_rows: rows of a table by their numbers: embeddings, experts, tokens.
 *
 *     y[i, :] = table[floor(idx[i] / divisor), :]
 *
 * bit for bit, NaN payloads included. (divisor: with numbers t K + j of pairs, K gathers the rows of their tokens t.)
 * idx == -1 is no row: zeros. Any other index outside [0, R divisor) gives zeros too, nothing is read for it, and it is
 * counted in flags: data never gives an error code.
 * flags: [3] entries of idx that are neither -1 nor within [0, R divisor); the others are 0.
 *
 * Errors: divisor < 1: ARG; y or flags of another shape: SHAPE; y of another type than table: DTYPE; y overlapping an input: ALIAS.
 * The leading axes of table fold into one stride, those of y too; idx is contiguous (else UNSUPPORTED). R == 0: zeros.
 * n == 0 or D == 0: success, flags are written. R < 2^31, D < 2^31, n < 2^32. A GPU takes idx and rows of up to 2 GiB,
 * tables of any size.
 * Tolerance: exact. Determinism: D1. Rows are independent. Thread rule: a plan may run on any number of threads at once.
 * Traffic: 1R+1W of the rows that are asked for.
 * Source: none; a copy.
 */
#ifndef TENON_OPS_GATHER_ROWS_H
#define TENON_OPS_GATHER_ROWS_H

#include <stdint.h>

/* Tensors, in this order. */
enum {
    TENON_GATHER_ROWS_TABLE, /* in   f32 f16 bf16 i8 u8 i32 u32 [...R,D] */
    TENON_GATHER_ROWS_IDX,   /* in   i32 [...n] */
    TENON_GATHER_ROWS_Y,     /* out  table's type [...n,D] */
    TENON_GATHER_ROWS_FLAGS, /* out? u32 [4] */
    TENON_GATHER_ROWS_N_TENSORS
};

struct tenon_gather_rows_params {
    uint32_t struct_size;
    int32_t divisor; /* 1; at least 1 */
};

#endif
