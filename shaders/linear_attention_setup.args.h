/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Twenty words of `side` from `at` on, in the order of linear_attention.args.h. */
#define GPU_KERNEL linear_attention_setup
#define GPU_ARGS(BUF, U32, I32, F32)                                                                    \
    BUF(side)                                                                                           \
    U32(at) U32(w0) U32(w1) U32(w2) U32(w3) U32(w4) U32(w5) U32(w6) U32(w7) U32(w8) U32(w9) U32(w10)    \
    U32(w11) U32(w12) U32(w13) U32(w14) U32(w15) U32(w16) U32(w17) U32(w18) U32(w19)
