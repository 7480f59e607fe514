/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * From the sums of `tiles` tiles: p_mean and the terms of aux (a word a column, to `terms`), or with end the losses.
 * wants: 1 p_mean, 2 aux, 4 zloss, 8 entropy, 16 l1. counts: of slots, `slots` a token. */
#define GPU_KERNEL moe_route_losses
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(sums) BUF(counts) BUF(terms) BUF(p_mean) BUF(aux) BUF(zloss) BUF(entropy) BUF(l1)        \
    U32(columns) U32(slots) U32(tiles) U32(wants) U32(end)
