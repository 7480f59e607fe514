/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Chunks of `span` rows. step 0: sums[chunk], the entries of a chunk, and how many rows have none; 1: sums of the
 * chunks before, in one invocation; 2: row_ptr. */
#define GPU_KERNEL kv_select_prefix
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(counts) BUF(sums) BUF(row_ptr) BUF(flags)                                      \
    U32(rows) U32(nq) U32(span) U32(chunks) U32(nnz) U32(step) U32(options)
