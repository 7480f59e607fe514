/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * y [lists,pairs] from x [lists,group,pairs]. */
#define GPU_KERNEL kv_select_share
#define GPU_ARGS(BUF, U32, I32, F32) BUF(x) BUF(y) U32(count) U32(group) U32(pairs)
