/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` steps from the `first` on, of the rows of `work`: a work-group a row, or a tile of `tile` columns (SW_TILE).
 * `state` has SW_STATE_WORDS a row, `record` SW_RECORD_WORDS a tile, or SW_BINS. `digits`: steps of TOPK; `cuts`: of
 * tau. */
#define GPU_KERNEL softmax_steps
#define GPU_ARGS(BUF, U32, I32, F32)                                      \
    BUF(work) BUF(mult) BUF(row_scale) BUF(sink) BUF(state) BUF(record)   \
    U32(cols) U32(options) U32(tile) U32(k) U32(first) U32(count)         \
    U32(digits) U32(cuts)                                                 \
    F32(inv_temp) F32(eps) F32(addend) F32(quantile) F32(quantile_rest) \
    F32(gate) F32(c0) F32(c1) F32(c2) F32(c3) F32(c4)
