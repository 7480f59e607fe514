/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The outputs of `count` rows from their slots. wants: 1 idx, 2 w, 4 nsel, 8 cnt1, 16 cnt_k. groups, inner: the
 * scratch of two levels, of `parts` groups, of which a row has `picked`. */
#define GPU_KERNEL moe_route_weights
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(gain) BUF(work) BUF(groups) BUF(inner) BUF(idx) BUF(w) BUF(nsel) BUF(cnt1) BUF(cnt_k)    \
    U32(count) U32(columns) U32(slots) U32(options) U32(wants) U32(idx_stride) U32(w_stride)     \
    U32(parts) U32(picked) F32(scale) F32(eps)
