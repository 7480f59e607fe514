/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Rows of `pitch` words of `state`. Bit i of `wanted`: the i-th statistic has a tensor, and so have the flags; bit 13:
 * the flags are set to 0 and nothing else is done. */
#define GPU_KERNEL softmax_stats
#define GPU_ARGS(BUF, U32, I32, F32)                                                              \
    BUF(state) BUF(max_value) BUF(argmax) BUF(lse) BUF(pmax) BUF(margin) BUF(entropy) BUF(energy) \
    BUF(sum) BUF(sumsq) BUF(nnz) BUF(tau) BUF(beta) BUF(flags)                                    \
    U32(rows) U32(wanted) U32(pitch)
