/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Entries [begin, end) of cu go to side[at + i]; limit: T or S. */
#define GPU_KERNEL sequences
#define GPU_ARGS(BUF, U32, I32, F32) BUF(cu) BUF(side) BUF(flags) U32(begin) U32(end) U32(at) U32(limit) U32(counted)
