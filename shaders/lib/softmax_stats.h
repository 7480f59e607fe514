/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The statistics of a row of softmax, from its sums and how it ended.
 */
#ifndef TN_LIB_SOFTMAX_STATS_H
#define TN_LIB_SOFTMAX_STATS_H

#include "softmax.h"

/* Statistics of a row in scratch: SM_STATE_WORDS words, in the order of the tensors from MAX on; word 12: bit i, counts
 * in flags[i]. */
#define SM_STATE_WORDS 16u
TN_STRUCT(sm_stats) {
    uint max;
    uint argmax;
    uint lse;
    uint pmax;
    uint margin;
    uint entropy;
    uint energy;
    uint sum;
    uint sumsq;
    uint nnz;
    uint flags;
};

TN_FN sm_stats sm_row_stats(uint opt, sm_row row, sm_sums sums, sm_end end)
{
    sm_stats stats;
    bool sunk = SINK != 0u && tn_bits(row.sink) != TN_NEG_INF_BITS;
    float lse = end.r * row.t + end.log_s;
    float pmax = end.top * tn_pair_inverse(end.s);
    float second = 0.0f;
    if ((STATS & SM_STATS_MARGIN) != 0u) {
        second = tn_exp(sm_delta(sm_key_value(sums.second), end.r, row.t)) * tn_pair_inverse(end.s);
        second = sums.second <= SM_KEY_NEG_INF ? 0.0f : second;
    }
    float entropy = 0.0f;
    if ((STATS & SM_STATS_ENTROPY) != 0u)
        entropy = tn_pair_log(sums.es) - (sums.ea.hi + sums.ea.lo) / sums.es.hi;
    stats.max = tn_bits(sm_key_value(sums.key));
    stats.argmax = sums.key <= SM_KEY_NEG_INF ? 0xffffffffu : sums.index;
    stats.lse = tn_bits(lse);
    stats.pmax = tn_bits(pmax);
    stats.margin = tn_bits(pmax - second);
    stats.entropy = tn_bits(entropy);
    stats.sum = tn_bits(end.s.hi);
    stats.sumsq = 0u;
    if (WANTS_SUMSQ != 0u) {
        tn_pair top = tn_pair_make(1.0f, 0.0f);
        if (SINK != 0u) /* its square may not have the rounding of the difference twice */
            top = sm_rebase(opt, top, sm_key_value(sums.key), end.r, row.t);
        float share = top.hi * tn_pair_inverse(end.s);
        stats.sumsq = tn_bits((sums.eq.hi * share) * share);
    }
    stats.nnz = sums.above;
    stats.flags = end.mode | (end.mode == SM_NORMAL && sums.redone != 0u ? 8u : 0u);
    if (end.mode == SM_EMPTY) {
        stats.max = TN_NEG_INF_BITS;
        stats.lse = sunk ? tn_bits(row.sink * row.t) : TN_NEG_INF_BITS;
        stats.pmax = 0u;
        stats.margin = 0u;
        stats.entropy = 0u;
        stats.sum = sunk ? 0x3f800000u : 0u;
        stats.sumsq = 0u;
    }
    /* lse / T, also where lse = R T + ln S is beyond the type */
    float split = end.mode == SM_EMPTY ? row.sink : end.r + end.log_s / row.t;
    stats.energy = tn_bits((stats.lse & 0x7fffffffu) < TN_INF_BITS ? -tn_float(stats.lse) / row.t : -split);
    stats.energy = row.t == 0.0f ? TN_NEG_INF_BITS : stats.energy;
    stats.energy = end.mode == SM_EMPTY && !sunk ? TN_INF_BITS : stats.energy;
    if (end.mode == SM_NAN) {
        stats.max = TN_NAN_BITS;
        stats.lse = TN_NAN_BITS;
        stats.pmax = TN_NAN_BITS;
        stats.margin = TN_NAN_BITS;
        stats.entropy = TN_NAN_BITS;
        stats.energy = TN_NAN_BITS;
        stats.sum = TN_NAN_BITS;
        stats.sumsq = TN_NAN_BITS;
        stats.nnz = 0u;
    }
    return stats;
}

TN_FN void sm_stats_save(TN_BUF state, uint at, sm_stats stats)
{
    TN_W(state, at) = stats.max;
    TN_W(state, at + 1u) = stats.argmax;
    TN_W(state, at + 2u) = stats.lse;
    TN_W(state, at + 3u) = stats.pmax;
    TN_W(state, at + 4u) = stats.margin;
    TN_W(state, at + 5u) = stats.entropy;
    TN_W(state, at + 6u) = stats.energy;
    TN_W(state, at + 7u) = stats.sum;
    TN_W(state, at + 8u) = stats.sumsq;
    TN_W(state, at + 9u) = stats.nnz;
    TN_W(state, at + 12u) = stats.flags;
}

#endif
