/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What one work-group makes of offsets and foff. step 0: `list` (offsets) and `most` (rows) to FFN_ENDS; 1: foff and F
 * to FFN_WIDTHS; 2: tiles of `tile` rows of the rows [lo, hi). count: the entries that change go to flags. */
#define GPU_KERNEL moe_ffn_scan
#define GPU_ARGS(BUF, U32, I32, F32)   \
    BUF(list) BUF(plan) BUF(flags)     \
    U32(experts) U32(most) U32(lo) U32(hi) U32(tile) U32(step) U32(count)
