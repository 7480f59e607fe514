/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y[i] = FUNCTION(x[i]) for i < count. */
#define GPU_KERNEL every_float
#define GPU_ARGS(BUF, U32, I32, F32) BUF(x) BUF(y) U32(count)
