/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define GPU_KERNEL kv_select_softmax
#define GPU_ARGS(BUF, U32, I32, F32) BUF(x) U32(rows) U32(nk)
