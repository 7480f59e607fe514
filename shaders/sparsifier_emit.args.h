/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One segment an invocation, as sparsifier_count; of the compact outputs' ends `slice` places each. `state` has the
 * states of the rows, their totals, and the counts of the segments. */
#define GPU_KERNEL sparsifier_emit
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(y) BUF(t_row) BUF(t_col) BUF(wgt) BUF(state) BUF(cidx) BUF(cval)        \
    U32(rows) U32(cols) U32(x_stride) U32(y_stride) U32(cidx_stride) U32(cval_stride)  \
    U32(span) U32(pieces) U32(word) U32(threshold) U32(kmax) U32(slice) F32(cap)
