/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Bit i of `wanted`: the i-th statistic has a tensor. */
#define GPU_KERNEL softmax_stats
#define GPU_ARGS(BUF, U32, I32, F32)                                                     \
    BUF(state) BUF(max_value) BUF(argmax) BUF(lse) BUF(pmax) BUF(margin) BUF(entropy) BUF(energy) \
    U32(rows) U32(wanted)
