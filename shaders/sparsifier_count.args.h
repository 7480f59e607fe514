/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One segment of `span` columns an invocation; a row has `pieces`. */
#define GPU_KERNEL sparsifier_count
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(t_row) BUF(t_col) BUF(wgt) BUF(state) BUF(segments)                     \
    U32(rows) U32(cols) U32(x_stride) U32(span) U32(pieces) U32(word) U32(threshold)
