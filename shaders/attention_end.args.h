/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` rows of tiles from tile `first` on, TN_VW columns of one an invocation. options: attention_end.k. */
#define GPU_KERNEL attention_end
#define GPU_ARGS(BUF, U32, I32, F32)                                                              \
    BUF(o) BUF(lnz) BUF(flags) BUF(gate) BUF(sink) BUF(side)                                      \
    U32(count) U32(first) U32(o_b) U32(o_t) U32(o_h)                                              \
    U32(gate_b) U32(gate_t) U32(gate_h) U32(gate_v) U32(options) U32(pass)                        \
    F32(norm_eps) F32(pow_alpha) F32(gate_mul)
