/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One row an invocation. `exact`: the words of the state from 1 on have the sum (row_sum_join). A float pair:
 * Q(1 - k/cols). */
#define GPU_KERNEL sparsifier_theta
#define GPU_ARGS(BUF, U32, I32, F32)                                         \
    BUF(records) BUF(state) U32(rows) U32(cols) U32(span) U32(pieces)        \
    U32(ddof) U32(exact) F32(quantile_hi) F32(quantile_lo)
