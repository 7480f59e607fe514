/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * inverse[row] = 1 / the sum of its `pieces`, 0 where there is nothing. */
#define GPU_KERNEL kv_evict_row
#define GPU_ARGS(BUF, U32, I32, F32) BUF(part) BUF(inverse) U32(rows) U32(pieces)
