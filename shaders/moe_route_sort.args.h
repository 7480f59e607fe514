/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One step of Batcher's bitonic sort of lists of `pitch` keys, a power of two, best first: blocks of `size`, pairs
 * `apart`. */
#define GPU_KERNEL moe_route_sort
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(work) U32(count) U32(columns) U32(slots) U32(lists) U32(pitch) U32(size) U32(apart)
