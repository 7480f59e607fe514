/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Tiles of TILE_Q rows from tile `first` on; axis y: a split, axis z: tiles of columns, for each number of rows that
 * have the same keys. pass: AT_STATS and what follows it. split_first, split_count: of lists. */
#define GPU_KERNEL attention
#define GPU_ARGS(BUF, U32, I32, F32)                                                                     \
    BUF(q) BUF(k) BUF(v) BUF(page_table) BUF(kpos) BUF(keep) BUF(mask) BUF(fcum_k) BUF(vscale) BUF(logw) \
    BUF(col) BUF(k_quant) BUF(v_quant) BUF(side) \
    U32(first) U32(pass) U32(split_first) U32(split_count)
