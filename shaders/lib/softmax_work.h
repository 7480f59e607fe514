/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the general softmax kernels share: softmax_logits makes the logits of a row in scratch, softmax_steps finds out
 * about them, step by step, softmax_finish writes y. Their options are words of arguments, which the recipe makes
 * (softmax_gpu_steps.c). */
#ifndef TN_LIB_SOFTMAX_WORK_H
#define TN_LIB_SOFTMAX_WORK_H

#include "num.h"
#include "order.h"
#include "reduce.h"
#include "spread.h"

/* An entry that does not exist: masked, or outside the support. A logit that is NaN has other bits. */
#define SW_GONE 0xffffffffu

/* Options of softmax_logits. */
#define SL_DT_X (options & 3u)
#define SL_HAS_BIAS (options & 4u)
#define SL_HAS_MASK (options & 8u)
#define SL_HAS_VALID (options & 16u)
#define SL_NOISE ((options >> 5) & 3u) /* TENON_SOFTMAX_NOISE_* */
#define SL_HAS_MULT (options & 0x80u)
#define SL_HAS_SCALE (options & 0x100u)
#define SL_X_SHIFT ((options >> 9) & 1u) /* elements from a buffer's address to the first */
#define SL_MASK_SHIFT ((options >> 10) & 3u)

/* Options of softmax_steps and softmax_finish. */
#define SW_KIND (options & 15u)                /* TENON_SOFTMAX_* */
#define SW_EMPTY_ROW ((options >> 4) & 3u)     /* TENON_SOFTMAX_EMPTY_* */
#define SW_SUPPORT ((options >> 6) & 3u)       /* TENON_SOFTMAX_SUPPORT_* */
#define SW_HAS_MULT (options & 0x100u)
#define SW_HAS_ROW_SCALE (options & 0x200u)
#define SW_SINK ((options >> 10) & 3u)         /* 0 none, 1 one a row, 2 one for all */
#define SW_PART ((options >> 12) & 3u)         /* SW_WHOLE, SW_TILE, SW_JOIN */
#define SW_POST ((options >> 14) & 3u)         /* TENON_SOFTMAX_POST_* */
#define SW_ADAPTIVE (options & 0x10000u)
#define SW_WANT_MARGIN (options & 0x20000u)
#define SW_FIXED_BIAS (options & 0x40000u)
#define SW_DT_Y ((options >> 19) & 7u)         /* softmax_finish */
#define SW_Y_SHIFT ((options >> 22) & 3u)
#define SW_EXACT (options & 0x1000000u)        /* STAT_TOPK: the sum is in the state already */

#define SW_WHOLE 0u /* a work-group does whole rows */
#define SW_TILE 1u  /* a tile of a row: what it found goes to a record */
#define SW_JOIN 2u  /* a row, from the records of its tiles */

#define SW_EXP 0u
#define SW_LOG_EXP 1u
#define SW_SOFTPICK 2u
#define SW_SPARSEMAX 3u
#define SW_ENTMAX15 4u
#define SW_SIGMOID 5u
#define SW_RELU_NORM 6u
#define SW_RELU2_NORM 7u
#define SW_QUAD_NORM 8u
#define SW_STABLEMAX 9u
#define SW_SCALE 10u

/* Steps, in the order in which a row goes through them. */
#define SW_STEP_MAX 0u
#define SW_STEP_DIGIT 1u  /* TOPK: a byte of the key of the k-th best, or of its index */
#define SW_STEP_MEAN 2u   /* STAT_TOPK */
#define SW_STEP_SPREAD 3u
#define SW_STEP_KEEP 4u   /* leaves the support alone, and does what MAX does of it */
#define SW_STEP_SUM 5u
#define SW_STEP_SUM2 6u   /* adaptive: with the final T */
#define SW_STEP_TAU 7u
#define SW_STEP_COUNT 8u

/* The state of a row, in words. First the statistics in the order of the tensors from MAX on, and the flags. */
#define SW_MAX 0u
#define SW_ARGMAX 1u
#define SW_LSE 2u
#define SW_PMAX 3u
#define SW_MARGIN 4u
#define SW_ENTROPY 5u
#define SW_ENERGY 6u
#define SW_SUM 7u
#define SW_SUMSQ 8u
#define SW_NNZ 9u
#define SW_TAU 10u
#define SW_BETA 11u
#define SW_FLAGS 12u     /* bit i: counts in flags[i] */
/* What writing needs. */
#define SW_MODE 13u      /* SW_NORMAL, or y is FILL */
#define SW_FILL 14u
#define SW_R 15u
#define SW_T 16u
#define SW_INVERSE 17u   /* of the sum */
#define SW_LOG_S 18u
#define SW_INDEX 19u     /* HARD */
#define SW_CUT 20u       /* tau against the maximum */
#define SW_V_FACTOR 21u  /* z = (v * V_FACTOR) * T_FACTOR, scaled so that it is within the type */
#define SW_T_FACTOR 22u
#define SW_UNIT 23u      /* STABLEMAX: 1 so scaled; QUAD_NORM: quad_c; SIGMOID: b, or n; SOFTPICK: exp(-K); SCALE: n */
/* What the steps need of each other. */
#define SW_M 24u
#define SW_SECOND 25u    /* key */
#define SW_ALL 26u       /* support is all */
#define SW_ORD 27u       /* TOPK: order and complement of the index of the k-th best, as far as known */
#define SW_CO_INDEX 28u
#define SW_LEFT 29u      /* how many of those that agree so far */
#define SW_DONE 30u      /* digits, tau, SUM2: nothing is left to do */
#define SW_ABOVE 31u
#define SW_MEAN_V 32u    /* STAT_TOPK: of v * V_FACTOR; a float pair with MEAN_REST */
#define SW_THETA 33u
#define SW_SHORT 34u
#define SW_POWER 35u      /* z is scaled by 2^-POWER */
#define SW_MEAN_REST 36u
#define SW_SUM_V 37u      /* STAT_TOPK: the exact sum of v, three words (tn_exact_sum) */
#define SW_STATE_WORDS 40u

#define SW_NORMAL 0u
#define SW_NAN 1u
#define SW_EMPTY 2u

#define SW_RECORD_WORDS 16u
#define SW_BINS 256u

/* (v - r) * T; halved, which is exact, so that the difference of two finite values is finite. */
#define sw_delta(v, r, t) ((((v) * 0.5f - (r) * 0.5f) * (t)) * 2.0f)

/* e^z - 1 for z < 1. */
TN_FN tn_vf sw_expm1(tn_vf z)
{
    tn_vf near = tn_exp_less_one(z);
    tn_vf far = tn_exp(z) - 1.0f;
    return z > -0.3466f && z < 0.3466f ? near : far;
}

/* Of an entry with weight, what is summed and what y is a part of (SOFTPICK: of which the sum takes the magnitude). */
TN_FN tn_vf sw_score(uint kind, tn_vf v, float m, float t, float v_factor, float t_factor, float unit)
{
    tn_vf z = (v * v_factor) * t_factor;
    tn_vf positive = tn_fmax(z, 0.0f);
    tn_vf score = positive;
    if (kind == SW_EXP || kind == SW_LOG_EXP)
        score = tn_exp(sw_delta(v, m, t));
    if (kind == SW_SOFTPICK)
        score = z < 1.0f ? unit * sw_expm1(z) : tn_exp(sw_delta(v, m, t)) - unit;
    if (kind == SW_RELU2_NORM)
        score = positive * positive;
    if (kind == SW_QUAD_NORM)
        score = (z + unit) * (z + unit);
    if (kind == SW_STABLEMAX)
        score = v >= 0.0f ? z + unit : unit / (1.0f - v * t);
    return score;
}

/* Exponent of a magnitude, and one less: x * 2^-e is within [2, 4), and 2^-e is a normal number. */
TN_FN int sw_exponent(float x)
{
    return max(tn_as_int((tn_bits(x) >> 23) & 255u) - 128, -127);
}

#endif
