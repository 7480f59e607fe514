/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kpos, kv_len and flags[3] of `rows` rows (b, t), `tokens` (1 for none) a sequence. options: lib/kv_append.h. */
#define GPU_KERNEL kv_append_pos
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(pos) BUF(n_new) BUF(table) BUF(kpos) BUF(kv_len) BUF(flags)                              \
    U32(rows) U32(stride) U32(tokens) U32(slots) U32(page) U32(pages) U32(n_sink) U32(options)
