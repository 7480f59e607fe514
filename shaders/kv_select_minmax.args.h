/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define GPU_KERNEL kv_select_minmax
#define GPU_ARGS(BUF, U32, I32, F32) BUF(x) BUF(state) U32(count) U32(length)
