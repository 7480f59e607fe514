/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has `span` columns of a row, at most 65536, of which there are `pieces`; `sums` has TN_SUM_WORDS words a
 * piece, an integer from the lowest word on. `type`: DT_*; `shift`: elements from x to the first. */
#define GPU_KERNEL row_sum
#define GPU_ARGS(BUF, U32, I32, F32) \
    BUF(x) BUF(sums) U32(cols) U32(x_stride) U32(span) U32(pieces) U32(type) U32(shift)
