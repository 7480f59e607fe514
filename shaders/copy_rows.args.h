/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Rows `rows` of y, `cols` units of 1 << (2 - options % 4) bytes wide, cut in `each` pieces of `span` units, one an
 * invocation. Strides in units. An entry of idx over `divisor` (-1 over anything is -1) is the number of a row of a
 * source of `all` rows, of which `there` from `first` on are bound; what is none of `all` is zeros, written by the
 * launch with first == 0, which also counts in flags[3], where options has bit 2, those that are not -1. Units from the
 * buffers' addresses to the first: bits 8 and up for the source, 16 and up for y. */
#define GPU_KERNEL copy_rows
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(from) BUF(idx) BUF(y) BUF(flags)                                                         \
    U32(rows) U32(cols) U32(from_stride) U32(y_stride) U32(each) U32(span)                       \
    U32(all) U32(first) U32(there) U32(divisor) U32(options)
