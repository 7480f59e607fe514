/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` entries of side from `first` on: the weights as floats with channels of y next to each other, [W][Cg][Cout],
 * then the bias. options: the types of w and bias, three bits each; no bias is zeros. */
#define GPU_KERNEL causal_conv1d_pack
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(w) BUF(bias) BUF(side) U32(first) U32(count) U32(cout) U32(cg) U32(taps) U32(options)
