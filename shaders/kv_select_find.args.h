/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The scopes after the passes DIGIT and TIES of their pieces. */
#define GPU_KERNEL kv_select_find
#define GPU_ARGS(BUF, U32, I32, F32)                                                   \
    BUF(keys) BUF(part) BUF(state)                                                     \
    U32(scopes) U32(pieces) U32(span) U32(length) U32(pass) U32(shift) U32(options)
