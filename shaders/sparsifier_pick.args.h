/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has the `slots` bins of one row, or of all rows. */
#define GPU_KERNEL sparsifier_pick
#define GPU_ARGS(BUF, U32, I32, F32) BUF(state) BUF(bins) U32(slots) U32(places) U32(round)
