/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Token t of x [., depth] times rows of w [., depth]; a row is a neuron of `need`, where 0 skips it. Strides in
 * elements; group: entries of a row that share a scale, s_n: scales a row. `options`: sparse_ffn_rows.k. */
#define GPU_KERNEL sparse_ffn_rows
#define GPU_ARGS(BUF, U32, I32, F32)                                 \
    BUF(x) BUF(w) BUF(w_scale) BUF(need) BUF(y)                      \
    U32(depth) U32(x_row) U32(w_row) U32(need_row) U32(y_row)        \
    U32(s_n) U32(group) U32(options)
