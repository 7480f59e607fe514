/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The slots of `count` rows. of_token: keys of the table, or nuse. cuts: key and index of the least that each expert of
 * EXPERT_CHOICE took, from word cuts_at of the scratch. groups, inner: two levels, `second` of each of slots / second
 * groups; their lists have group_pitch and inner_pitch words. least: what a score must be above, as a key; experts:
 * of DSELECT, whose zsel is of_token, `bits` each, and gamma. */
#define GPU_KERNEL moe_route_select
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(of_token) BUF(table) BUF(work) BUF(cuts) BUF(flags)                                      \
    U32(count) U32(columns) U32(slots) U32(lists) U32(pitch) U32(options) U32(experts)           \
    U32(table_rows) U32(table_stride) U32(second) U32(least) U32(bits) U32(first)                \
    U32(table_words) F32(gamma) F32(gamma_inverse)
