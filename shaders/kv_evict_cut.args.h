/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The cut of the `places` best of a list's keys; a work-group has a list. */
#define GPU_KERNEL kv_evict_cut
#define GPU_ARGS(BUF, U32, I32, F32) BUF(order) BUF(state) U32(lists) U32(keys) U32(places)
