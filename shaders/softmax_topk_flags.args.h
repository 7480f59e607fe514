/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define GPU_KERNEL softmax_topk_flags
#define GPU_ARGS(BUF, U32, I32, F32) BUF(flags) U32(count)
