/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the experts took: `wide` places each, of which the first `cap` go to sel and g. wants: 1 sel, 2 g. */
#define GPU_KERNEL moe_route_choice
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(work) BUF(cuts) BUF(sel) BUF(g)                                                          \
    U32(count) U32(columns) U32(slots) U32(lists) U32(pitch) U32(options) U32(wants) U32(cap)    \
    U32(sel_stride) U32(g_stride) F32(scale)
