/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * `span` of the `n` words an invocation. */
#define GPU_KERNEL fill_words
#define GPU_ARGS(BUF, U32, I32, F32) BUF(y) U32(n) U32(span) U32(value)
