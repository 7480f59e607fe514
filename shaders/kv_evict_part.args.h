/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Scores of `span` keys for row (b, h, t), queries [first, first + some) of all: `e` has a word for each, -Inf where
 * the key is not seen, `part` KE_PART_WORDS for each piece. Strides in elements, of batch, token and head. */
#define GPU_KERNEL kv_evict_part
#define GPU_ARGS(BUF, U32, I32, F32)                                                                     \
    BUF(q) BUF(k) BUF(kpos) BUF(qpos) BUF(kv_len) BUF(e) BUF(part)                                       \
    U32(some) U32(first) U32(rows) U32(heads) U32(group) U32(keys) U32(span) U32(queries) U32(width)     \
    U32(qb) U32(qt) U32(qh) U32(kb) U32(kt) U32(kh) U32(options) F32(scale)
