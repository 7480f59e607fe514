/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One of the `pieces` of `span` pairs of a scope, which has `length`: pass `pass` of lib/kv_select.h. */
#define GPU_KERNEL kv_select_piece
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(x) BUF(keys) BUF(state) BUF(part)                                              \
    U32(scopes) U32(pieces) U32(span) U32(length) U32(pass) U32(shift) U32(options)
