/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` entries of a tensor, one an invocation. what: 0 kv_len, 1 page_table, 2 rows of the list. */
#define GPU_KERNEL attention_check
#define GPU_ARGS(BUF, U32, I32, F32)                                                              \
    BUF(kv_len) BUF(page_table) BUF(row_ptr) BUF(col) BUF(side) BUF(flags)                        \
    U32(what) U32(count) U32(keys) U32(max_pages) U32(page_rows) U32(pages) U32(list_rows)        \
    U32(nnz) U32(blocks) U32(cu_at) U32(options)
