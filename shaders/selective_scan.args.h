/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * TN_VW channels of one of `count` sequences an invocation, for their tokens from `first` on, `steps` at most. u, dt,
 * b, c, z and y are bound at token `base`, h and next (states before and after) at the first sequence. side: what
 * selective_scan_setup and _pack wrote, cu. options: bits of SCAN_. */
#define GPU_KERNEL selective_scan
#define GPU_ARGS(BUF, U32, I32, F32)                                                             \
    BUF(u) BUF(dt) BUF(bm) BUF(cm) BUF(z) BUF(side) BUF(h) BUF(next) BUF(y)                      \
    U32(count) U32(first) U32(steps) U32(base) U32(options)

/* Types, three bits each: of u, dt, b and c. */
#define SCAN_TYPE_DT 3u
#define SCAN_TYPE_B 6u
#define SCAN_TYPE_C 9u
#define SCAN_PLAIN 4096u
#define SCAN_LOG 8192u
#define SCAN_SOFTPLUS 16384u
#define SCAN_LIMIT 32768u
#define SCAN_GATE 65536u
#define SCAN_SKIP 131072u
#define SCAN_STATE 262144u  /* there is a state before */
#define SCAN_NEXT 524288u   /* and one after */
#define SCAN_PACKED 1048576u
/* Elements from the address to the first one, where elements are half a word. */
#define SCAN_SHIFT_U 21u
#define SCAN_SHIFT_DT 22u
#define SCAN_SHIFT_B 23u
#define SCAN_SHIFT_C 24u
#define SCAN_SHIFT_Z 25u
#define SCAN_SHIFT_Y 26u

/* Words of side. */
#define SCAN_D 0u
#define SCAN_N 1u
#define SCAN_WIDTH 2u /* of a group */
#define SCAN_TOKENS 3u
#define SCAN_CU 4u    /* the word where the sequences' beginnings are */
#define SCAN_LO 5u
#define SCAN_HI 6u
/* Strides in elements, of batch and token, of b and c of the group too. */
#define SCAN_U 7u
#define SCAN_DT 9u
#define SCAN_Z 11u
#define SCAN_Y 13u
#define SCAN_B 15u
#define SCAN_C 18u
#define SCAN_SEQS 21u
#define SCAN_WORDS 22u
/* What selective_scan_pack wrote. */
#define SCAN_RATES 32u
