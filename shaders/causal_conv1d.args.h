/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW channels of one token an invocation; `rows` tokens, `tokens` of each batch from token `first` of `total` on. x
 * is bound at token max(first - back, 0); gate, residual and y at `first`. side: what causal_conv1d_pack wrote, then
 * the seqs + 1 entries of cu where CONV_PACKED, then a float for each sum that is not whole: the terms from `term` on,
 * CONV_TERMS at most, are added. Strides in elements, of batch and token. options: bits of CONV_, the type in the
 * lowest three, from bit 16 on the taps. */
#define GPU_KERNEL causal_conv1d
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(x) BUF(side) BUF(state) BUF(gate) BUF(residual) BUF(y)                                   \
    U32(rows) U32(tokens) U32(total) U32(first) U32(cout) U32(cg) U32(cog) U32(dil) U32(back)    \
    U32(xb) U32(xt) U32(yb) U32(yt) U32(gb) U32(gt) U32(rb) U32(rt) U32(seqs) U32(term) U32(options)

#define CONV_TERMS 32768u

#define CONV_SILU 8u
#define CONV_GATE 16u
#define CONV_RESIDUAL 32u
#define CONV_STATE 64u
/* Elements from the address to the first one, where elements are half a word. */
#define CONV_SHIFT_X 7u
#define CONV_SHIFT_GATE 8u
#define CONV_SHIFT_RESIDUAL 9u
#define CONV_SHIFT_Y 10u
#define CONV_SHIFT_STATE 11u
#define CONV_DEPTHWISE 4096u
#define CONV_PACKED 8192u
#define CONV_TAPS 16u
