/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW columns of a state an invocation, for the tokens first .. first + steps of its sequence. side: what
 * linear_attention_setup wrote, where sequences begin, divisors, sums of both sweeps, rows that are not finite. from:
 * the state given; next: the state at work and afterwards; was: that of the group's start. a_at: where decay's strides
 * are. options: bits of lib/linear_attention_words.h. */
#define GPU_KERNEL linear_attention
#define GPU_ARGS(BUF, U32, I32, F32)                                                                  \
    BUF(q) BUF(k) BUF(v) BUF(decay) BUF(beta) BUF(side) BUF(from) BUF(next) BUF(was) BUF(o)           \
    U32(first) U32(steps) U32(a_at) U32(options)
