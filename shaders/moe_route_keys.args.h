/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `lists` lists of `pitch` keys: of the rows, or of EXPERT_CHOICE's experts. */
#define GPU_KERNEL moe_route_keys
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(bias) BUF(work)                                                                          \
    U32(count) U32(columns) U32(slots) U32(lists) U32(pitch) U32(options)
