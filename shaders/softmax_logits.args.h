/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The logits of rows, or of the tiles of rows: a work-group a tile, `tiles` of `tile` columns a row. `work` has rows of
 * `pitch` words; strides in elements. `options`: lib/softmax_work.h. `first_row` is the number of the first row. */
#define GPU_KERNEL softmax_logits
#define GPU_ARGS(BUF, U32, I32, F32)                                                       \
    BUF(x) BUF(bias) BUF(mask) BUF(valid_len) BUF(noise) BUF(mult) BUF(work)               \
    U32(cols) U32(pitch) U32(x_stride) U32(bias_stride) U32(mask_stride) U32(noise_stride) \
    U32(options) U32(tile) U32(tiles) U32(first_row)                                       \
    U32(seed_lo) U32(seed_hi) U32(noise_stream) U32(noise_sample)                          \
    F32(scale) F32(noise_amp)
