/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Rows of nk keys. writes 0: counts[row]; 1: the entries of col, from where row_ptr has them. */
#define GPU_KERNEL kv_select_list
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(keys) BUF(state) BUF(counts) BUF(row_ptr) BUF(col)                             \
    U32(rows) U32(nq) U32(nk) U32(rows_of) U32(writes)
