/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Zeros. */
#define GPU_KERNEL moe_route_clear
#define GPU_ARGS(BUF, U32, I32, F32) BUF(words) U32(count)
