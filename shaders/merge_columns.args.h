/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW columns of one row an invocation; `count` rows. Strides in elements. options: the type of o, that of y in bits
 * 2 to 3, elements from the buffers' addresses to the first in bits 4 and 5. Parts [begin, end): where a launch does
 * not see them all, `carry` has four words a column between launches. */
#define GPU_KERNEL merge_columns
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(o) BUF(factors) BUF(y) BUF(carry)                                                        \
    U32(count) U32(parts) U32(dv) U32(o_row) U32(o_part) U32(y_row) U32(options)                 \
    U32(begin) U32(end)
