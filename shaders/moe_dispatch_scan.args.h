/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One bin an invocation. */
#define GPU_KERNEL moe_dispatch_scan
#define GPU_ARGS(BUF, U32, I32, F32) BUF(hist) BUF(total) U32(chunks) U32(bins)
