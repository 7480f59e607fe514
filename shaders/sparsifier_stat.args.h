/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has `span` columns of a row, of which there are `pieces`. */
#define GPU_KERNEL sparsifier_stat
#define GPU_ARGS(BUF, U32, I32, F32) \
    BUF(x) BUF(records) U32(cols) U32(x_stride) U32(span) U32(pieces) U32(word)
