/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A row an invocation; row_words from list to list. end_options: norm, the sink (0 none, 1 one a row, 2 one for all)
 * from bit 2, from bit 4 on which of val, idx, max, lse, pmax, margin, entropy, flags are wanted; k of the outputs
 * from bit 16 on. */
#define GPU_KERNEL softmax_topk_end
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(lists) BUF(row_scale) BUF(sink) BUF(val) BUF(idx)                                        \
    BUF(max_value) BUF(lse) BUF(pmax) BUF(margin) BUF(entropy) BUF(flags)                        \
    U32(count) U32(row_words) U32(val_stride) U32(idx_stride) U32(options) U32(end_options)      \
    F32(inv_temp)
