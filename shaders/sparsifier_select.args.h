/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A work-group has `span` columns, of which a row has `pieces`, of `each` rows. whole: that is all there is to choose
 * from, and the group finds the row's cut of the `places` best alone. Else it counts the digits of round `round`, of
 * keys with the prefix so far (of the row, or with SP_BATCH of all rows), into its SP_BINS words of `bins`. */
#define GPU_KERNEL sparsifier_select
#define GPU_ARGS(BUF, U32, I32, F32)                                              \
    BUF(x) BUF(wgt) BUF(state) BUF(bins)                                          \
    U32(rows) U32(cols) U32(x_stride) U32(span) U32(pieces) U32(each) U32(word)   \
    U32(places) U32(round) U32(whole)
