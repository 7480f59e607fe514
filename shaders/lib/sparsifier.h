/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the kernels of sparsifiers share: the rule by which an entry is kept. Every kind is one comparison of keys in the
 * total order, which subnormals and NaN cannot upset, and one of three values. */
#ifndef TN_LIB_SPARSIFIER_H
#define TN_LIB_SPARSIFIER_H

#include "num.h"
#include "order.h"

/* `options`: a launch's word; the recipe makes the same. */
#define SP_DT_X (options & 3u)
#define SP_ABS (options & 4u)          /* the score is |x|, or with SP_WGT |x| * wgt; else x */
#define SP_WGT (options & 8u)
#define SP_GE (options & 16u)          /* the threshold itself is kept */
#define SP_VALUE ((options >> 5) & 3u) /* SP_SAME, SP_SHIFT, SP_SOFT */
#define SP_RELU (options & 128u)       /* NaN is kept */
#define SP_FROM ((options >> 8) & 7u)  /* where the threshold is */
#define SP_HAS_Y (options & 0x800u)
#define SP_HAS_CIDX (options & 0x1000u)
#define SP_HAS_CVAL (options & 0x2000u)
#define SP_X_SHIFT ((options >> 14) & 1u)
#define SP_Y_SHIFT ((options >> 15) & 1u)
#define SP_CVAL_SHIFT ((options >> 16) & 1u)
#define SP_TIES (options & 0x20000u)   /* rows without ties at the cut are sparsifier_map's, the others the rest's */
#define SP_HAS_NNZ (options & 0x40000u)
#define SP_HAS_FLAGS (options & 0x80000u)
#define SP_CAP (options & 0x100000u)
#define SP_SHORT (options & 0x200000u) /* fewer than k entries are a flag */

#define SP_SAME 0u
#define SP_SHIFT 1u
#define SP_SOFT 2u

#define SP_BITS 0u  /* the argument, bits of a float */
#define SP_ROW 1u   /* t_row */
#define SP_COL 2u   /* t_col */
#define SP_THETA 3u /* the state of the row: bits of a float */
#define SP_CUT 4u   /* the state of the row: a cut */
#define SP_BATCH 5u /* the state of row 0: a cut */
#define SP_KEY 6u   /* the argument, a key: above it, all are kept */

/* The state of a row: the cut's key (theta), how many equal to it are kept, how many there are. */
#define SP_STATE_WORDS 4u
/* Of a row: entries above the cut, entries equal to it, whether there is a NaN or +Inf, ties of the rows before. */
#define SP_TOTAL_WORDS 4u
/* Of a segment: entries above the cut and equal to it, of it, then of those before it; and the NaN or +Inf. */
#define SP_SEGMENT_WORDS 3u

#define SP_NOTHING 0x7fffffff /* as a threshold: nothing is above it */

/* The key above which entries are kept, of a float's bits; a NaN keeps nothing. */
TN_FN tn_vi sp_limit(uint options, tn_vu bits)
{
    tn_vi key = tn_order_key(bits);
    key = SP_GE != 0u ? key - 1 : key;
    return (bits & 0x7fffffffu) > TN_INF_BITS ? SP_NOTHING : key;
}

/* The keys of the scores of TN_VW entries from column i on; to: where wgt is read to. */
TN_FN tn_vi sp_keys(uint options, tn_vu bits, TN_BUF wgt, uint i, uint to)
{
    tn_vu score = SP_ABS != 0u ? bits & 0x7fffffffu : bits;
    if (SP_WGT != 0u)
        score = tn_mul_bits(score, tn_vload_bits(wgt, DT_F32, i, to));
    return tn_order_key(score);
}

/* Bits of what is kept. The infinities are no operands. */
TN_FN tn_vu sp_values(uint options, tn_vu bits, float tau, float cap)
{
    tn_vu size = bits & 0x7fffffffu;
    tn_vu sign = SP_VALUE == SP_SOFT ? bits & 0x80000000u : 0u;
    tn_vf v = tn_vfloat(size >= TN_INF_BITS ? 0u : (SP_VALUE == SP_SOFT ? size : bits));
    tn_vf d = v - tau;
    tn_vu kept = size >= TN_INF_BITS ? TN_INF_BITS : tn_vbits(d);
    if (SP_CAP != 0u)
        kept = size >= TN_INF_BITS || d > cap ? tn_bits(cap) : kept;
    return SP_VALUE == SP_SAME ? bits : kept | sign;
}

#endif
