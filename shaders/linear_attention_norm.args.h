/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A normaliser a work-group: den of the tokens first .. first + steps of its sequence, into side. from, next, was: the
 * sums of keys given, at work and afterwards, at the group's start. qn and kn have the strides at q_at and k_at;
 * options as linear_attention has them. */
#define GPU_KERNEL linear_attention_norm
#define GPU_ARGS(BUF, U32, I32, F32)                                                                  \
    BUF(qn) BUF(kn) BUF(decay) BUF(side) BUF(from) BUF(next) BUF(was)                                 \
    U32(first) U32(steps) U32(q_at) U32(k_at) U32(a_at) U32(options)
