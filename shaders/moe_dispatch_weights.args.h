/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One token an invocation. */
#define GPU_KERNEL moe_dispatch_weights
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(idx) BUF(w) BUF(pos) BUF(w2) BUF(flags)                                        \
    U32(tokens) U32(slots) U32(first) U32(range) U32(options)
