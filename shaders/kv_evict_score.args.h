/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * scores [batch,keys,heads] from `mass` [batch,heads,group,keys], of pairs, and what was given, and `order`
 * [batch,lists,keys], what the lists go by; an invocation has key j of sequence b, of `count`. below: an order key. */
#define GPU_KERNEL kv_evict_score
#define GPU_ARGS(BUF, U32, I32, F32)                                                      \
    BUF(mass) BUF(given) BUF(kv_len) BUF(scores) BUF(order)                               \
    U32(count) U32(keys) U32(heads) U32(group) U32(lists) U32(ks) U32(window) U32(first)  \
    U32(below) U32(options)
