/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Strides in elements (x_m: from one m to the next); `options`: product.k.
 * A launch covers `depth` of K from `first` on. group: weights that share a scale; s_n: scales a row of w. sums:
 * [rows,cols] between launches. */
#define GPU_KERNEL product
#define GPU_ARGS(BUF, U32, I32, F32)                                    \
    BUF(x) BUF(w) BUF(w_scale) BUF(bias) BUF(residual) BUF(y) BUF(sums) \
    U32(rows) U32(cols) U32(depth)                                      \
    U32(x_m) U32(x_k) U32(w_n) U32(w_k) U32(s_n) U32(group) U32(r_m) U32(y_m) \
    U32(options) U32(first)                                             \
    F32(alpha) F32(threshold)
