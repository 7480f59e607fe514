/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Plain rows that fit in the registers of a work-group. `options`: lib/softmax.h; strides in elements. */
#define GPU_KERNEL softmax_held
#define GPU_ARGS(BUF, U32, I32, F32) BUF(x) BUF(y) U32(cols) U32(x_stride) U32(y_stride) U32(options)
