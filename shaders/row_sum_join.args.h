/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One row an invocation; of row r, the words r * stride + at on of `result`. */
#define GPU_KERNEL row_sum_join
#define GPU_ARGS(BUF, U32, I32, F32) BUF(sums) BUF(result) U32(rows) U32(pieces) U32(stride) U32(at)
