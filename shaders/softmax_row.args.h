/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Whole rows: one work-group a row. TILED: x, bias, mask and y start at column `first` of one row, a work-group has
 * `tile` columns of it, and `state` holds the records of all tiles of the row and, behind them, what writing needs.
 * Strides in elements. `options`: lib/softmax.h. `work` is y's f32 scratch for the reload algorithm, rows of cols;
 * `state` gets SM_STATE_WORDS a row. */
#define GPU_KERNEL softmax_row
#define GPU_ARGS(BUF, U32, I32, F32)                                                               \
    BUF(x) BUF(bias) BUF(mask) BUF(valid_len) BUF(row_scale) BUF(sink) BUF(y) BUF(work) BUF(state) \
    U32(cols) U32(x_stride) U32(bias_stride) U32(mask_stride) U32(y_stride)                        \
    U32(options) U32(tile) U32(first)                                                                                  \
    F32(scale) F32(inv_temp) F32(phi) F32(win)
