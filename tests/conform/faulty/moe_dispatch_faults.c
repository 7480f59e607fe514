/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a moe_dispatch may do wrong. */
#include <math.h>
#include <tenon/ops/moe_dispatch.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_moe_dispatch_params, statement)

SPOIL(order, p->order ^= 1)
SPOIL(no_prob, p->drop = p->drop == TENON_MOE_DISPATCH_PROB ? TENON_MOE_DISPATCH_POSITION : p->drop)
SPOIL(no_bpr, p->drop = p->drop == TENON_MOE_DISPATCH_BPR ? TENON_MOE_DISPATCH_POSITION : p->drop)
SPOIL(no_align, p->align = 1)
SPOIL(no_pad, p->pad_to_capacity = 0)
SPOIL(no_renorm, p->renorm = 0)
SPOIL(one_less, p->capacity -= p->capacity > 0 && !p->pad_to_capacity)
SPOIL(from_zero, p->first = p->capacity == 0 || p->pad_to_capacity ? p->first : 0)

/* The memory after a run; NULL where a tensor is not there. */
struct view {
    const struct tenon_moe_dispatch_params *p;
    const int32_t *idx;
    const float *w;
    int32_t *counts, *kept, *offsets, *src, *pos;
    float *w2;
    uint32_t *flags;
    int64_t tokens, k, n, mp;
};

static struct view view_of(const struct faulty_run *run)
{
    const struct tenon_tensor *t = run->plan->tensor;
    struct view v = {.p = (const void *)run->plan->params};
    v.idx = tenon__faulty_memory(run, TENON_MOE_DISPATCH_IDX);
    v.w = tenon__faulty_memory(run, TENON_MOE_DISPATCH_W);
    v.counts = tenon__faulty_memory(run, TENON_MOE_DISPATCH_COUNTS);
    v.kept = tenon__faulty_memory(run, TENON_MOE_DISPATCH_KEPT);
    v.offsets = tenon__faulty_memory(run, TENON_MOE_DISPATCH_OFFSETS);
    v.src = tenon__faulty_memory(run, TENON_MOE_DISPATCH_SRC);
    v.pos = tenon__faulty_memory(run, TENON_MOE_DISPATCH_POS);
    v.w2 = tenon__faulty_memory(run, TENON_MOE_DISPATCH_W2);
    v.flags = tenon__faulty_memory(run, TENON_MOE_DISPATCH_FLAGS);
    v.k = tenon__faulty_columns(&t[TENON_MOE_DISPATCH_IDX]);
    v.tokens = v.idx ? tenon__faulty_rows(&t[TENON_MOE_DISPATCH_IDX]) : 0;
    v.n = v.tokens * v.k;
    v.mp = v.src ? t[TENON_MOE_DISPATCH_SRC].dim[0] : 0;
    return v;
}

#define AFTER(name)                                                                                                    \
    static void name##_in(struct view v);                                                                              \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        name##_in(view_of(run));                                                                                       \
    }                                                                                                                  \
    static void name##_in(struct view v)

AFTER(none_counted)
{
    for (int64_t q = 0; v.counts && q < v.n; q++)
        v.counts[0] += v.idx[q] == -1;
}

AFTER(counts_kept)
{
    for (int64_t e = 0; v.counts && v.kept && e < v.p->experts; e++)
        v.counts[e] = v.kept[e];
}

AFTER(kept_all)
{
    for (int64_t e = 0; v.counts && v.kept && e < v.p->experts; e++)
        v.kept[e] = v.counts[e];
}

/* The last two rows of an expert change places: a sort that is not stable. */
AFTER(unstable)
{
    for (int64_t q = 0; v.src && v.pos && q < v.n; q++)
        for (int64_t o = q + 1; o < v.n && o < q + 20; o++)
            if (v.pos[q] >= 0 && v.pos[o] == v.pos[q] + 1 && v.idx[o] == v.idx[q]) {
                v.src[v.pos[q]] = (int32_t)o;
                v.src[v.pos[o]] = (int32_t)q;
                const int32_t swap = v.pos[q];
                v.pos[q] = v.pos[o];
                v.pos[o] = swap;
                return;
            }
}

AFTER(src_token)
{
    for (int64_t row = 0; row < v.mp; row++)
        v.src[row] = v.src[row] < 0 || v.k == 0 ? v.src[row] : (int32_t)(v.src[row] / v.k);
}

AFTER(src_unpadded)
{
    if (v.mp && v.src[v.mp - 1] == -1)
        v.src[v.mp - 1] = (int32_t)0xDEADBEEF;
}

AFTER(no_end)
{
    if (v.offsets)
        v.offsets[v.p->experts] = (int32_t)0xDEADBEEF;
}

AFTER(end_of_all)
{
    if (v.offsets)
        v.offsets[v.p->experts] = (int32_t)v.n;
}

AFTER(zero_keeps)
{
    if (v.pos && v.p->capacity == 0)
        v.pos[0] = 0;
}

AFTER(pos_dropped)
{
    for (int64_t q = 0; v.pos && q < v.n; q++)
        if (v.pos[q] < 0)
            v.pos[q] = 0;
}

AFTER(w2_dropped)
{
    for (int64_t q = 0; v.w2 && v.pos && q < v.n; q++)
        if (v.pos[q] < 0)
            v.w2[q] = v.w[q];
}

/* Over the sum of all weights, of the dropped ones too. */
AFTER(sum_of_all)
{
    for (int64_t t = 0; v.w2 && v.p->renorm && t < v.tokens; t++) {
        float sum = 0;
        for (int64_t q = t * v.k; q < (t + 1) * v.k; q++)
            sum += v.w[q];
        for (int64_t q = t * v.k; sum > 0 && q < (t + 1) * v.k; q++)
            v.w2[q] = v.w2[q] == 0 ? 0 : v.w[q] / sum;
    }
}

/* The quotient by way of the inverse: an ulp here and there. */
AFTER(inverse)
{
    for (int64_t t = 0; v.w2 && v.pos && v.p->renorm && t < v.tokens; t++) {
        float sum = 0;
        for (int64_t q = t * v.k; q < (t + 1) * v.k; q++)
            sum += v.pos[q] >= 0 ? v.w[q] : 0;
        for (int64_t q = t * v.k; sum > 0x1p-20f && q < (t + 1) * v.k; q++)
            v.w2[q] = v.pos[q] >= 0 ? v.w[q] * (1 / sum) : 0;
    }
}

/* 0 / 0 where a token has lost everything, or has nothing. */
AFTER(no_eps)
{
    for (int64_t t = 0; v.w2 && v.p->renorm && t < v.tokens; t++) {
        float sum = 0;
        for (int64_t q = t * v.k; q < (t + 1) * v.k; q++)
            sum += fabsf(v.w2[q]);
        for (int64_t q = t * v.k; q < (t + 1) * v.k; q++)
            v.w2[q] = sum == 0 ? NAN : v.w2[q];
    }
}

#define FLAG(name, which)                                                                                              \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        tenon__faulty_flags_clear(run, TENON_MOE_DISPATCH_FLAGS, which);                                               \
    }
FLAG(nan_uncounted, 0)
FLAG(empty_uncounted, 1)
FLAG(lost_uncounted, 2)
FLAG(wrong_uncounted, 3)

static void flags_shifted(const struct faulty_run *run)
{
    tenon__faulty_flags_shift(run, TENON_MOE_DISPATCH_FLAGS);
}

static void xp_unpadded(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_MOE_DISPATCH_XP];
    const struct view v = view_of(run);
    void *xp = tenon__faulty_memory(run, TENON_MOE_DISPATCH_XP);
    for (int64_t row = 0; xp && row < v.mp; row++)
        if (v.src[row] == -1)
            tenon__faulty_poke(t, xp, tenon__faulty_at(t, row), 0xDEADBEEF);
}

static void xp_tail(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_MOE_DISPATCH_XP];
    void *xp = tenon__faulty_memory(run, TENON_MOE_DISPATCH_XP);
    for (int64_t row = 0; xp && row < tenon__faulty_rows(t); row++)
        tenon__faulty_poke(t, xp, tenon__faulty_at(t, row) + tenon__faulty_columns(t) - 1, 0xDEADBEEF);
}

static const struct faulty_fault faults[] = {
    {"order", "the two orders are each other", "[", .spoil = order},
    {"no_prob", "the first pairs are kept, not those of largest weight", "[", .spoil = no_prob},
    {"no_bpr", "tokens are not sorted", "[", .spoil = no_bpr},
    {"no_align", "segments are not rounded up", "offsets[", .spoil = no_align},
    {"no_pad", "segments are not padded to the capacity", "offsets[", .spoil = no_pad},
    {"no_renorm", "weights are not normalised", "w2[", .spoil = no_renorm},
    {"one_less", "the last pair of a capacity is dropped", "[", .spoil = one_less},
    {"zero_keeps", "a capacity of 0 leaves a pair", "pos[", .after = zero_keeps},
    {"from_zero", "experts before the first are there too", "[", .spoil = from_zero},
    {"none_counted", "-1 counts for expert 0", "counts[", .after = none_counted},
    {"counts_kept", "counts are of what is kept", "counts[", .after = counts_kept},
    {"kept_all", "kept are all", "kept[", .after = kept_all},
    {"unstable", "two pairs of an expert change places", "[", .after = unstable},
    {"src_token", "src has tokens, not pairs", "src[", .after = src_token},
    {"src_unpadded", "the last row of padding is not written", "src[", .after = src_unpadded},
    {"no_end", "the last of offsets is not written", "offsets[", .after = no_end},
    {"end_of_all", "the last of offsets is the number of slots", "offsets[", .after = end_of_all},
    {"pos_dropped", "what is dropped has row 0", "pos[", .after = pos_dropped},
    {"w2_dropped", "what is dropped keeps its weight", "w2[", .after = w2_dropped},
    {"sum_of_all", "weights are over the sum of all, dropped ones too", "w2[", .after = sum_of_all},
    {"inverse", "weights are multiplied by the inverse", "w2[", .after = inverse},
    {"no_eps", "tokens without a weight are 0 / 0", "w2[", .after = no_eps},
    {"nan_uncounted", "tokens with a NaN weight are not counted", "flags[", .after = nan_uncounted},
    {"flags_shifted", "each flag counts what the one before does", "flags[", .after = flags_shifted},
    {"empty_uncounted", "tokens without a pair are not counted", "flags[", .after = empty_uncounted},
    {"lost_uncounted", "tokens that lost a pair are not counted", "flags[", .after = lost_uncounted},
    {"wrong_uncounted", "entries out of range are not counted", "flags[", .after = wrong_uncounted},
    {"xp_unpadded", "padding rows of xp are not zeros", "xp[", .after = xp_unpadded},
    {"xp_tail", "the last column of xp is not copied", "xp[", .after = xp_tail},
};

const struct faulty_op tenon__faulty_moe_dispatch = {faults, sizeof(faults) / sizeof(faults[0])};
