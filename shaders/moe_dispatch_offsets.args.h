/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One work-group; `each` bins an invocation. */
#define GPU_KERNEL moe_dispatch_offsets
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(total) BUF(start) BUF(counts) BUF(kept) BUF(offsets)                           \
    U32(bins) U32(each) U32(capacity) U32(align) U32(first) U32(range) U32(options)
