/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Token t of x [., depth] times w [depth, cols], columns `first` and following of the whole width. Strides in elements;
 * group: rows of w that share a scale, s_n: scales a column. `options`: sparse_ffn_columns.k. */
#define GPU_KERNEL sparse_ffn_columns
#define GPU_ARGS(BUF, U32, I32, F32)                               \
    BUF(x) BUF(w) BUF(w_scale) BUF(y)                              \
    U32(cols) U32(depth) U32(first) U32(x_row) U32(w_row) U32(y_row) \
    U32(s_n) U32(group) U32(options)
