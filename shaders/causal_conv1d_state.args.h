/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` sequences, a batch each where not packed; `span` rows of a state, TN_VW channels of each, an invocation: the
 * rows from..to of n. A sequence without cu has `total` tokens; x is bound at token `base` and has strides xb and xt.
 * cu is in side from word `at` on. options: bits 0 to 1, elements from the addresses of x and state to the first, bit
 * 2: there is a state, bit 3: elements are half a word, bit 4:
 * packed. */
#define GPU_KERNEL causal_conv1d_state
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(x) BUF(side) BUF(state) BUF(next)                                                         \
    U32(count) U32(at) U32(total) U32(base) U32(n) U32(from) U32(to) U32(span) U32(cin) \
    U32(xb) U32(xt) U32(options)
