/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One row: `state` has the records of its tiles and room for what writing needs, `stats` gets SM_STATE_WORDS. */
#define GPU_KERNEL softmax_join
#define GPU_ARGS(BUF, U32, I32, F32)                              \
    BUF(state) BUF(valid_len) BUF(row_scale) BUF(sink) BUF(stats) \
    U32(cols) U32(tiles) U32(options)                             \
    F32(inv_temp)
