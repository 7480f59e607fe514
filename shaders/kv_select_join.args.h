/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y [rows,nk] from x [rows,per,nk,pieces]. */
#define GPU_KERNEL kv_select_join
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(span_q) BUF(span_k) BUF(y)                                              \
    U32(count) U32(heads) U32(nq) U32(nk) U32(per) U32(pieces) U32(options)
