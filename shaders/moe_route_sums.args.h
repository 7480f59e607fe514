/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The states of `count` rows from their logits. more: the bits of a DSELECT row, whose NaN is the row's. eps: of the
 * root mean square. */
#define GPU_KERNEL moe_route_sums
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(mask) BUF(valid_tokens) BUF(bias) BUF(gain) BUF(zsel) BUF(work)                                 \
    U32(count) U32(columns) U32(options) U32(mask_shift) U32(valid_shift) U32(more) F32(eps)
