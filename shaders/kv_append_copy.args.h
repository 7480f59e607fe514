/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Rows as they are, or of another type: TN_VW columns of a head of row (b, t) an invocation, `rows` rows, `tokens` a
 * sequence. Strides in elements: f of the source by b, t and head, d of the cache by b or page, slot and head.
 * options: lib/kv_append.h. */
#define GPU_KERNEL kv_append_copy
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(from) BUF(pos) BUF(n_new) BUF(table) BUF(to)                                             \
    U32(rows) U32(tokens) U32(heads) U32(cols) U32(slots) U32(page) U32(pages)                   \
    U32(fb) U32(ft) U32(fh) U32(d0) U32(d1) U32(dh) U32(n_sink) U32(options)
