/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What is kept of `span` keys (a multiple of 32) of a list goes to its place; an invocation has them. */
#define GPU_KERNEL kv_evict_list
#define GPU_ARGS(BUF, U32, I32, F32)                                                               \
    BUF(order) BUF(state) BUF(counts) BUF(kv_len) BUF(kpos) BUF(list_out) BUF(rows) BUF(keep)      \
    BUF(kpos_out) BUF(len_out) BUF(flags)                                                          \
    U32(lists) U32(per) U32(keys) U32(span) U32(pieces) U32(most) U32(options)
