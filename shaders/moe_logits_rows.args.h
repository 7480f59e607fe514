/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Row r of x, from element r * x_stride on, becomes row r of `dest`, contiguous floats. `options`: bits 0 and 1 the type,
 * 2 and 3 elements from the buffer's address to the first, bit 4 about the mean. root: a factor of all. */
#define GPU_KERNEL moe_logits_rows
#define GPU_ARGS(BUF, U32, I32, F32) \
    BUF(x) BUF(dest) U32(cols) U32(x_stride) U32(options) F32(eps) F32(root)
