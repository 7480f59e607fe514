/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW channels of one of `count` tokens an invocation. Tokens from word `at` of side on, before word `at + seqs`, are
 * in a sequence. options: the type, bit 3: elements from the address of y to the first. */
#define GPU_KERNEL selective_scan_clear
#define GPU_ARGS(BUF, U32, I32, F32) BUF(side) BUF(y) U32(count) U32(d) U32(at) U32(seqs) U32(yt) U32(options)
