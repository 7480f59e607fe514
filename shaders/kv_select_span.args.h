/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `blocks` of `block` of the `tokens` queries or keys of each of `batch` sequences. */
#define GPU_KERNEL kv_select_span
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(kv_len) BUF(pos) BUF(span) BUF(flags)                                          \
    U32(batch) U32(tokens) U32(block) U32(blocks) U32(stride) U32(keys) U32(options)
