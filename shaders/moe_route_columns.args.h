/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Sums over tiles of `tile` of `count` rows: of the probabilities of each column, in units of 2^-16 and 2^-32, two words
 * a column; and of the losses of the rows, seven words after those. A tile has 2 columns + 7 words of `sums`. */
#define GPU_KERNEL moe_route_columns
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(work) BUF(sums) U32(count) U32(columns) U32(tile) U32(tiles) U32(first)
