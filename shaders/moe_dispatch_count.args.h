/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One chunk of `span` of the `n` entries of the list an invocation; hist has `bins` zeros a chunk. */
#define GPU_KERNEL moe_dispatch_count
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(idx) BUF(key) BUF(perm) BUF(pos) BUF(hist) BUF(flags)                          \
    U32(n) U32(span) U32(bins) U32(tokens) U32(slots) U32(first) U32(range)            \
    U32(experts) U32(options)
