/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The `most` best of `columns` keys a row, one after the other, to the row's indices; -1 for none. */
#define GPU_KERNEL moe_route_pick
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(work) U32(count) U32(columns) U32(slots) U32(lists) U32(pitch) U32(most)
