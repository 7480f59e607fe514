/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has one row, of `cols` gates in the raw. type: DT_*; shift: elements from gate to the first; shrink: a
 * power of two so that no sum leaves the type. */
#define GPU_KERNEL gated_norm_mean
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(gate) BUF(importance) U32(first) U32(cols) U32(gate_stride) U32(type) U32(shift)         \
    U32(options) F32(shrink)
