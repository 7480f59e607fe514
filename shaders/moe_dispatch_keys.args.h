/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One token, or with MD_PAIRS one pair, an invocation: `n` of them. */
#define GPU_KERNEL moe_dispatch_keys
#define GPU_ARGS(BUF, U32, I32, F32) BUF(idx) BUF(w) BUF(key) U32(n) U32(slots) U32(experts) U32(options)
