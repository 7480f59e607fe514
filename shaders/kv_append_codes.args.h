/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Codes of `span` columns, a group or some channels, of a head of row (b, t) an invocation. Strides as in
 * kv_append_copy. pairs: (s, z) or (rng, off), written by row of the cache, heads and groups, or of channels, read.
 * options: lib/kv_append.h. */
#define GPU_KERNEL kv_append_codes
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(from) BUF(pos) BUF(n_new) BUF(pages_of) BUF(to) BUF(pairs) BUF(table) BUF(flags)         \
    U32(rows) U32(tokens) U32(heads) U32(cols) U32(span) U32(slots) U32(page) U32(pages)         \
    U32(fb) U32(ft) U32(fh) U32(d0) U32(d1) U32(dh) U32(n_sink) U32(options)
