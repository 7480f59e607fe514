/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * 24 words of `side` from `first` on; with first == 0 the tables too, of so many values. */
#define GPU_KERNEL attention_setup
#define GPU_ARGS(BUF, U32, I32, F32)                                                                    \
    BUF(k_table) BUF(v_table) BUF(side) U32(first) U32(values)                                          \
    U32(w0) U32(w1) U32(w2) U32(w3) U32(w4) U32(w5) U32(w6) U32(w7) U32(w8) U32(w9) U32(w10) U32(w11)   \
    U32(w12) U32(w13) U32(w14) U32(w15) U32(w16) U32(w17) U32(w18) U32(w19) U32(w20) U32(w21) U32(w22) U32(w23)
