/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the kernels of moe_route share: where the scratch of some rows has what, and functions whose bits are the CPU's.
 * Needs num.h, order.h and exact.h. */
#ifndef TN_LIB_MOE_ROUTE_H
#define TN_LIB_MOE_ROUTE_H

/* `options`: the recipe makes the same. */
#define MR_SCORE (options & 7u)
#define MR_SELECT ((options >> 3) & 15u)
#define MR_NORM ((options >> 7) & 3u)
#define MR_WEIGHT ((options >> 9) & 3u)
#define MR_DROP (options & 0x800u)
#define MR_NOISE (options & 0x1000u)
#define MR_SECOND (options & 0x2000u)     /* noise for all slots but the first */
#define MR_HAS_MASK (options & 0x4000u)
#define MR_HAS_VALID (options & 0x8000u)
#define MR_HAS_BIAS (options & 0x10000u)
#define MR_HAS_GAIN (options & 0x20000u)
#define MR_BY_SCORE (options & 0x40000u)  /* keys are scores with bias */
#define MR_FINITE (options & 0x80000u)    /* +Inf is NaN */
#define MR_READS (options & 0x100000u)
#define MR_CLEAN (options & 0x200000u)    /* the softmax without noise is needed */
#define MR_SUMS (options & 0x400000u)     /* that of z */
#define MR_LOSSES (options & 0x800000u)
#define MR_LEVELS (options & 0x1000000u)
#define MR_SORTED (options & 0x2000000u)  /* the list is a row's keys in order, with all their indices */
#define MR_SCALED (options & 0x4000000u)
#define MR_SCORES (options & 0x8000000u)  /* of all experts */

#define MR_SOFTMAX 0u
#define MR_SIGMOID 1u
#define MR_RELU 2u
#define MR_RELU_RMS 3u
#define MR_IDENTITY 4u

#define MR_TOPK 0u
#define MR_THRESH 1u
#define MR_POSITIVE 2u
#define MR_ALL 3u
#define MR_CHOICE 4u
#define MR_TABLE 5u
#define MR_RANDOM 6u
#define MR_SOFT 7u
#define MR_PREFIX 8u

/* The scratch of `count` rows of `columns` logits with `slots` slots: z, what goes by noise, s, logits without noise and
 * temperature, states, slots, weights; then lists of `pitch` keys, `lists` of them, and as many of indices. */
#define MR_STATE_WORDS 16u
#define MR_Z(row, e) ((row) * columns + (e))
#define MR_OTHER(row, e) ((count + (row)) * columns + (e))
#define MR_S(row, e) ((2u * count + (row)) * columns + (e))
#define MR_PLAIN(row, e) ((3u * count + (row)) * columns + (e))
#define MR_STATE(row, i) (4u * count * columns + (row) * MR_STATE_WORDS + (i))
#define MR_SLOT(row, j) (count * (4u * columns + MR_STATE_WORDS) + (row) * slots + (j))
#define MR_W(row, j) (count * (4u * columns + MR_STATE_WORDS + slots) + (row) * slots + (j))
#define MR_KEY(list, i) (count * (4u * columns + MR_STATE_WORDS + 2u * slots) + (list) * pitch + (i))
#define MR_INDEX(list, i) (count * (4u * columns + MR_STATE_WORDS + 2u * slots) + (lists + (list)) * pitch + (i))

/* Words of a state. */
#define MR_ROW 0u /* bits: */
#define MR_ROW_BAD 1u
#define MR_ROW_EMPTY 2u
#define MR_ROW_ODD 4u /* a NaN or +Inf among the logits */
#define MR_ROW_VALID 8u
#define MR_ROW_NONE 16u /* no logit above -Inf */
#define MR_TOP 1u
#define MR_INVERSE 2u
#define MR_CLEAN_TOP 3u
#define MR_CLEAN_INVERSE 4u
#define MR_RMS 5u       /* of logits times 2^-MR_RMS_BITS */
#define MR_RMS_BITS 6u
#define MR_BEST 7u      /* the first of the best */
#define MR_SQUARE 8u    /* pairs: lse^2, entropy, sum of the positive */
#define MR_ENTROPY 10u
#define MR_POSITIVES 12u

/* The key in the total order, and the bits of a key in it. */
TN_FN int mr_ordered(int key)
{
    return key == TN_CHOICE_NONE ? TN_ORDER_NEG_INF : (key == TN_CHOICE_NAN ? TN_ORDER_NAN : key);
}

TN_FN uint mr_key_bits(int key)
{
    uint bits = tn_as_uint(key ^ ((key >> 31) & 0x7fffffff));
    return key == TN_ORDER_NAN ? TN_NAN_BITS : bits;
}

TN_FN int mr_order_key(uint bits)
{
    int key = tn_choice_key(bits);
    return mr_ordered(key);
}

TN_FN float mr_sigmoid(uint bits)
{
    float size = tn_float(min(bits & 0x7fffffffu, 0x43000000u)); /* 128 and more: 0 */
    float e = tn_exact_exp(-size, 0.0f);
    TN_PRECISE float below = 1.0f + e;
    bool negative = (bits >> 31) != 0u && bits != 0x80000000u;
    float above = negative ? e : 1.0f;
    float y = tn_exact_div(above > 0.0f ? above : 1.0f, below);
    return above > 0.0f ? y : 0.0f;
}

/* 1/2 + u (3/2 - 2 u^2) between -gamma/2 and gamma/2, of the bits of a number. */
TN_FN float mr_step(uint bits, float gamma, float gamma_inverse)
{
    float x = tn_float((bits & 0x7fffffffu) == TN_INF_BITS ? (bits & 0x80000000u) | 0x7f7fffffu : bits);
    float half_gamma = 0.5f * gamma;
    bool low = x <= -half_gamma;
    bool high = x >= half_gamma;
    TN_PRECISE float u = (low || high ? 0.0f : x) * gamma_inverse;
    TN_PRECISE float square = u * u;
    TN_PRECISE float slope = 1.5f - 2.0f * square;
    TN_PRECISE float rise = u * slope;
    TN_PRECISE float y = 0.5f + rise;
    y = y < 0.0f ? 0.0f : (y > 1.0f ? 1.0f : y);
    return low ? 0.0f : (high ? 1.0f : y);
}

/* A share of two levels: the softmax of the groups, times that inside the group of rank `rank`. */
TN_FN float mr_level_weight(TN_BUF groups, TN_BUF inner, uint row, uint rank, uint group, uint e, uint count, uint parts,
                            uint each, uint picked)
{
    uint state = 4u * count * parts + row * MR_STATE_WORDS;
    float y = tn_exact_exp_bits(TN_W(groups, row * parts + group), tn_float(TN_W(groups, state + MR_TOP)));
    y = tn_exact_mul(y, tn_float(TN_W(groups, state + MR_INVERSE)));
    uint own = row * picked + rank;
    uint own_state = 4u * count * picked * each + own * MR_STATE_WORDS;
    float x = tn_exact_exp_bits(TN_W(inner, own * each + e), tn_float(TN_W(inner, own_state + MR_TOP)));
    x = tn_exact_mul(x, tn_float(TN_W(inner, own_state + MR_INVERSE)));
    return tn_exact_mul(x, y);
}

#endif
