/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * As moe_dispatch_count, after the sums: hist has how many of a bin come before the chunk, start where the bin begins.
 * to: src, or the sorted list. */
#define GPU_KERNEL moe_dispatch_place
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(idx) BUF(key) BUF(perm) BUF(pos) BUF(hist) BUF(start) BUF(to)                  \
    U32(n) U32(span) U32(bins) U32(tokens) U32(slots) U32(first) U32(range)            \
    U32(capacity) U32(options)
