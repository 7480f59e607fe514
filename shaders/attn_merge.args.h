/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `count` rows of `pitch`, one an invocation; row 0 is of head `first` of `heads`. factors: two floats for each part of
 * each row, where DO_FACTORS. */
#define GPU_KERNEL attn_merge
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(lnz_parts) BUF(counts) BUF(sink) BUF(lnz) BUF(factors)                                   \
    U32(count) U32(parts) U32(pitch) U32(heads) U32(first) U32(options)
