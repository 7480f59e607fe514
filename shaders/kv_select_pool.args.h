/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * x: `tokens` of each of `batch` sequences, `heads` and `width`, with three strides; y [batch,heads,blocks,width]. */
#define GPU_KERNEL kv_select_pool
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(kv_len) BUF(y)                                                          \
    U32(count) U32(tokens) U32(heads) U32(blocks) U32(block) U32(width)                \
    U32(stride_b) U32(stride_t) U32(stride_h) U32(options)
