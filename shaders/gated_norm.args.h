/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has one group of `group` columns of one row; the launch begins with unit `first` (row by row,
 * cols / group of them each). y[i] = s N(z) + terms or N(s z + terms); terms are f32, of `cols` a row. weight_more is
 * added to weights. Strides in elements. types: of x, gate, weight, bias, residual, y and sum, three bits each (0:
 * absent), then elements from their buffers' addresses to the first, a bit each, for x, gate, residual, y and sum, from
 * bit 21 on. options: GN_* of lib/gate.h. */
#define GPU_KERNEL gated_norm
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(x) BUF(gate) BUF(weight) BUF(bias) BUF(residual) BUF(terms) BUF(y) BUF(sum)              \
    U32(first) U32(cols) U32(group) U32(x_stride) U32(gate_stride) U32(residual_stride)          \
    U32(y_stride) U32(sum_stride) U32(types) U32(options) F32(eps) F32(weight_more)
