/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` rows of `pitch`, one an invocation. factors gets two floats for each part of each row. Parts [begin, end):
 * where a launch does not see them all, `carry` has MG_CARRY_WORDS a row between launches. */
#define GPU_KERNEL softmax_merge
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(m) BUF(s) BUF(a) BUF(q)                                                                  \
    BUF(out_m) BUF(out_s) BUF(out_a) BUF(out_q) BUF(lse) BUF(factors) BUF(carry)                 \
    U32(count) U32(parts) U32(pitch) U32(wanted) U32(begin) U32(end)                             \
    F32(inv_temp)
