/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One row an invocation. */
#define GPU_KERNEL sparsifier_scan
#define GPU_ARGS(BUF, U32, I32, F32) BUF(segments) BUF(totals) U32(rows) U32(pieces)
