/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * keys [rows,nk] of scores x; rows are nq of each of `lists` of each sequence. `segment` blocks are `wide` positions.
 * */
#define GPU_KERNEL kv_select_keys
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(span_q) BUF(span_k) BUF(keys) BUF(flags)                                \
    U32(rows) U32(lists) U32(nq) U32(nk) U32(last) U32(segment) U32(wide) U32(options)
