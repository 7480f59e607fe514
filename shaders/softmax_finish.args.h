/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y of rows, from their logits and their state: a work-group a tile, `tiles` of `tile` columns a row. */
#define GPU_KERNEL softmax_finish
#define GPU_ARGS(BUF, U32, I32, F32)                                      \
    BUF(work) BUF(state) BUF(y_out)                                          \
    U32(cols) U32(pitch) U32(y_stride) U32(options) U32(tile) U32(tiles)  \
    F32(zeta) F32(gamma) F32(qscale)
