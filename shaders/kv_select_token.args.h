/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y [batch,heads,nq,per,nk,pieces]: `per` queries of a block, each `step` tokens, against `piece` keys of a block. q
 * [batch,heads,queries,width] and k are tokens as blocks of one, at_q and at_k their spans. */
#define GPU_KERNEL kv_select_token
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(q) BUF(k) BUF(lnz) BUF(at_q) BUF(at_k) BUF(y)                                  \
    U32(count) U32(heads) U32(group) U32(queries) U32(keys) U32(nq) U32(nk)            \
    U32(block_q) U32(block_k) U32(per) U32(pieces) U32(piece) U32(step) U32(width)     \
    U32(options) F32(scale)
