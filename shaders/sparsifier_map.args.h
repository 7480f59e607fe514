/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has `span` columns of a row, of which there are `pieces`. Strides in elements; threshold: bits of a
 * float, or a key (lib/sparsifier.h); cap is used with SP_CAP. */
#define GPU_KERNEL sparsifier_map
#define GPU_ARGS(BUF, U32, I32, F32)                                       \
    BUF(x) BUF(y) BUF(t_row) BUF(t_col) BUF(wgt) BUF(state)                \
    U32(cols) U32(x_stride) U32(y_stride) U32(span) U32(pieces) U32(word)  \
    U32(threshold) F32(cap)
