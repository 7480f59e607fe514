/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Strides in elements. `options`: sparse_ffn_map.k. */
#define GPU_KERNEL sparse_ffn_map
#define GPU_ARGS(BUF, U32, I32, F32)                               \
    BUF(a) BUF(b) BUF(to)                                          \
    U32(cols) U32(a_row) U32(b_row) U32(to_row) U32(options)       \
    F32(alpha) F32(threshold)
