/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * z of `count` rows of `columns`; `pieces` vectors a row. gather: row r is, of logits row r / gather, the group that
 * `picked` has in word picked_at + r, of -1 nothing. RANDOM's experts go to the slots. first: the number of row 0. */
#define GPU_KERNEL moe_route_logits
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(logits) BUF(mask) BUF(picked) BUF(work)                                                  \
    U32(count) U32(columns) U32(slots) U32(stride) U32(pieces) U32(gather) U32(picked_at)        \
    U32(options) U32(mask_shift) U32(seed_lo) U32(seed_hi) U32(stream) U32(draw) U32(first)    \
    U32(random_len) F32(inv_temp)
