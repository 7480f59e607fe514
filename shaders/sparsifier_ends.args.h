/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `each` rows an invocation. places: k, or k * rows of a batch; kmax with cidx or cval. clear: the flags become zeros
 * and nothing else happens. */
#define GPU_KERNEL sparsifier_ends
#define GPU_ARGS(BUF, U32, I32, F32)                                                           \
    BUF(state) BUF(totals) BUF(nnz) BUF(flags)                                                 \
    U32(rows) U32(each) U32(word) U32(places) U32(kmax) U32(clear)
