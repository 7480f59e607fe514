/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW columns of a row of o an invocation. OUTSIDE: rows of packed tensors in no sequence become 0, and are counted
 * in word 1; else rows that are marked in side are counted in word 0. o: its type, its columns. */
#define GPU_KERNEL linear_attention_end
#define GPU_ARGS(BUF, U32, I32, F32) BUF(side) BUF(o) BUF(flags) U32(rows) U32(options)

#define LIN_END_OUTSIDE 8u
#define LIN_END_FLAGS 16u
