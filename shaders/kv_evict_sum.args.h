/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Scores become exponentials, `span` keys of a row an invocation, and their sums go to `part`. */
#define GPU_KERNEL kv_evict_sum
#define GPU_ARGS(BUF, U32, I32, F32) BUF(e) BUF(part) U32(rows) U32(keys) U32(span)
