/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y [batch,heads,nq,nk]: products of pooled blocks, or x as it is; -Inf where not visible. `group` heads of the
 * queries have one of the keys. */
#define GPU_KERNEL kv_select_score
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(pooled_k) BUF(span_q) BUF(span_k) BUF(y)                                \
    U32(count) U32(heads) U32(group) U32(nq) U32(nk) U32(width) U32(options) F32(scale)
