/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * How many of `span` keys of a list are kept; an invocation has them. */
#define GPU_KERNEL kv_evict_count
#define GPU_ARGS(BUF, U32, I32, F32) BUF(order) BUF(state) BUF(counts) U32(lists) U32(keys) U32(span) U32(pieces)
