/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One row an invocation. Float pairs: 1/cols, 1/(cols - ddof), Q(1 - k/cols). */
#define GPU_KERNEL sparsify_theta
#define GPU_ARGS(BUF, U32, I32, F32)                                                        \
    BUF(x) BUF(records) BUF(state) U32(rows) U32(x_stride) U32(pieces) U32(word)            \
    F32(mean_hi) F32(mean_lo) F32(free_hi) F32(free_lo) F32(quantile_hi) F32(quantile_lo)
