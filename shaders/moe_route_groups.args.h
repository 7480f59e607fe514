/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Of `groups` groups of `each` keys the `kept` best stay; best: how many keys make a group's score. */
#define GPU_KERNEL moe_route_groups
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(work) U32(count) U32(columns) U32(slots) U32(pitch) U32(groups) U32(each) U32(kept) U32(best)
