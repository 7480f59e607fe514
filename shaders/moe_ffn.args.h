/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One of the products of moe_ffn, for experts [e0, e1) of `experts`. Strides in elements, from the bound addresses: x
 * at column `first`, w at expert e0 and column `first`, of which the launch takes `depth`. cols: rows of w an expert,
 * or of all where experts have their own. groups: scales a row of w, each of `group` weights. plan: lib/moe_ffn.h.
 * side: what wg gave, for the product with wu; sums between launches, for that with wd. options: moe_ffn.k. */
#define GPU_KERNEL moe_ffn
#define GPU_ARGS(BUF, U32, I32, F32)                                           \
    BUF(x) BUF(w) BUF(w_scale) BUF(bias) BUF(plan) BUF(rw) BUF(side) BUF(y)    \
    U32(x_row) U32(w_row) U32(w_expert) U32(y_row) U32(cols) U32(depth)        \
    U32(first) U32(groups) U32(group) U32(options) U32(experts) U32(e0) U32(e1) \
    F32(alpha) F32(threshold)
