/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` rows. A row has stretches of seg_cols columns, a stretch TK_LANES lists: list l of it takes the vectors l,
 * l + TK_LANES, ... options: lib/topk.h. first_row: the number of the first row, for the noise. */
#define GPU_KERNEL softmax_topk
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(x) BUF(bias) BUF(mask) BUF(noise) BUF(valid_len) BUF(row_scale) BUF(lists)               \
    U32(count) U32(cols) U32(x_stride) U32(bias_stride) U32(mask_stride) U32(noise_stride)       \
    U32(options) U32(seg_cols) U32(seed_lo) U32(seed_hi) U32(stream) U32(draw) U32(first_row)  \
    F32(scale) F32(inv_temp) F32(noise_amp)
