/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW columns of one token an invocation; `rows` tokens of `slots`. zp has zp_rows. Strides in elements. options: the
 * types of zp, shared, residual and y, three bits each (0: absent), then elements from their buffers' addresses to the
 * first, a bit each from bit 12 on; bit 16: weights of 0 are skipped; bit 17: there are flags. */
#define GPU_KERNEL moe_combine
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(zp) BUF(pos) BUF(w) BUF(shared_out) BUF(residual) BUF(y) BUF(flags)                      \
    U32(rows) U32(slots) U32(cols) U32(zp_rows) U32(zp_stride) U32(shared_stride)                \
    U32(residual_stride) U32(y_stride) U32(options) F32(shared_scale)
