/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The row of x of each of `rows` rows of z, from row lo on; src from there on too; x from its first row (`shift`
 * elements after its address) where has_src, else from row lo. slots: T * top_k. `depth` columns of x are looked
 * through for NaN; count: there are flags. */
#define GPU_KERNEL moe_ffn_rows
#define GPU_ARGS(BUF, U32, I32, F32)                                            \
    BUF(src) BUF(x) BUF(plan) BUF(flags)                                        \
    U32(rows) U32(lo) U32(experts) U32(has_src) U32(slots) U32(top_k)           \
    U32(type) U32(x_row) U32(shift) U32(depth) U32(count)
