/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` rows (b,t,h), one an invocation. cu_at: word of side where cu_q begins, cu_k after it; n: sequences of a
 * packed q. options: attention_rows.k. */
#define GPU_KERNEL attention_rows
#define GPU_ARGS(BUF, U32, I32, F32)                                                              \
    BUF(kv_len) BUF(qpos) BUF(bounds) BUF(row_ptr) BUF(qtemp) BUF(fcum) BUF(slope) BUF(side)      \
    U32(count) U32(tokens) U32(heads) U32(keys) U32(n) U32(cu_at) U32(rows_at) U32(heads_at)      \
    U32(list_heads) U32(list_rows) U32(block_q) U32(nnz) U32(wl) U32(wr) U32(options)
