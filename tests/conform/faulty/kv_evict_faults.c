/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a kv_evict may do wrong. */
#include <tenon/ops/kv_evict.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_kv_evict_params, statement)
SPOIL(no_first, p->n_first = 0)
SPOIL(wide_window, p->w += p->score != TENON_KV_EVICT_RECENT && p->w > 1 ? -1 : 0)
SPOIL(no_pool, p->ks = 1)
SPOIL(other_pool, p->pool = p->score == TENON_KV_EVICT_SNAP && p->ks > 1 ? 1 - p->pool : p->pool)
SPOIL(no_scale, p->scale = p->score <= TENON_KV_EVICT_ACCUM ? 1 : 0)
SPOIL(no_threshold, p->threshold = -3e38f)

/* Entry i of a list, or NULL. */
static int32_t *entry(const struct faulty_run *run, int64_t list, int64_t i)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_LIST];
    int32_t *memory = tenon__faulty_memory(run, TENON_KV_EVICT_LIST);
    return memory && i >= 0 && i < t->dim[2] ? memory + list * t->dim[2] + i : NULL;
}

static int64_t lists(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_LIST];
    return t->dim[0] * t->dim[1];
}

static const struct tenon_kv_evict_params *params(const struct faulty_run *run)
{
    return (const struct tenon_kv_evict_params *)(const void *)run->plan->params;
}

/* Of equal keys the earlier one is kept: where all are the same, the first. */
static void earlier_ties(const struct faulty_run *run)
{
    const struct tenon_kv_evict_params *p = params(run);
    for (int64_t l = 0; p->score == TENON_KV_EVICT_RECENT && l < lists(run); l++)
        for (int32_t i = 0; i < p->n; i++) {
            int32_t *e = entry(run, l, p->n_first + i);
            if (e && *e >= 0)
                *e = p->n_first + i;
        }
}

/* In another order than that of positions. */
static void unordered(const struct faulty_run *run)
{
    for (int64_t l = 0; l < lists(run); l++) {
        int32_t *a = entry(run, l, 0), *b = entry(run, l, 1);
        if (a && b && *b >= 0)
            tenon__faulty_swap(a, b);
    }
}

/* Beyond the list is what was there. */
static void tail_zero(const struct faulty_run *run)
{
    for (int64_t l = 0; l < lists(run); l++)
        for (int64_t i = 0; entry(run, l, i); i++)
            if (*entry(run, l, i) == -1)
                *entry(run, l, i) = 0;
}

/* rows count heads before slots. */
static void other_rows(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_ROWS];
    int32_t *rows = tenon__faulty_memory(run, TENON_KV_EVICT_ROWS);
    for (int64_t i = 0; rows && t->dtype && i < t->dim[0] * t->dim[1] * t->dim[2]; i++)
        rows[i] = rows[i] < 0 ? rows[i] : (int32_t)(rows[i] / t->dim[2]);
}

/* The positions do not move with the keys. */
static void still(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_KPOS_OUT];
    int32_t *kpos = tenon__faulty_memory(run, TENON_KV_EVICT_KPOS_OUT);
    for (int64_t i = 0; kpos && t->dtype && i < t->dim[0] * t->dim[1] * t->dim[2]; i++)
        kpos[i] = (int32_t)(i % t->dim[2]);
}

static void bits_turned(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_KEEP];
    uint32_t *keep = tenon__faulty_memory(run, TENON_KV_EVICT_KEEP);
    for (int64_t i = 0; keep && t->dtype && i < t->dim[0] * t->dim[1] * t->dim[2]; i++)
        keep[i] = keep[i] << 31 | keep[i] >> 1;
}

static void length_most(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_KV_LEN_OUT];
    int32_t *len = tenon__faulty_memory(run, TENON_KV_EVICT_KV_LEN_OUT);
    for (int64_t i = 0; len && t->dtype && i < t->dim[0] * t->dim[1]; i++)
        len[i] = (int32_t)run->plan->tensor[TENON_KV_EVICT_LIST].dim[2];
}

static void score_off(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_EVICT_SCORES_OUT];
    if (t->dtype)
        tenon__faulty_turn(run, TENON_KV_EVICT_SCORES_OUT, t->dim[0] * t->dim[1], 1.001f, 0);
}

static void nan_uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_KV_EVICT_FLAGS, 0);
}
static void empty_uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_KV_EVICT_FLAGS, 1);
}
static void length_uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_KV_EVICT_FLAGS, 3);
}

static const struct faulty_fault faults[] = {
    {"no_first", "the first keys are not kept", "list", .spoil = no_first},
    {"short_window", "the window is one less", "list", .spoil = wide_window},
    {"no_pool", "neighbours make nothing of a score", "scores_out[", .spoil = no_pool},
    {"other_pool", "the largest for the mean, the mean for the largest", "scores_out[", .spoil = other_pool},
    {"no_scale", "products are not scaled", "scores_out[", .spoil = no_scale},
    {"no_threshold", "scores below the threshold are kept", "list", .spoil = no_threshold},
    {"no_length", "kv_len is not looked at", "must be", .drop = TENON_KV_EVICT_KV_LEN},
    {"no_qpos", "qpos is not looked at", "scores_out[", .drop = TENON_KV_EVICT_QPOS},
    {"earlier_ties", "of equal keys the earlier is kept", "list", .after = earlier_ties},
    {"unordered", "lists are not in order", "list", .after = unordered},
    {"tail_zero", "what is left of a list is 0", "list", .after = tail_zero},
    {"other_rows", "rows do not count heads", "rows", .after = other_rows},
    {"still", "positions stay where they are", "kpos_out", .after = still},
    {"bits_turned", "bits are one place off", "keep", .after = bits_turned},
    {"length_most", "kv_len_out is M", "kv_len_out", .after = length_most},
    {"score_off", "scores are 0.1 % off", "scores_out[", .after = score_off},
    {"nan_uncounted", "lists with NaN are not counted", "flags[", .after = nan_uncounted},
    {"empty_uncounted", "empty lists are not counted", "flags[", .after = empty_uncounted},
    {"length_uncounted", "lengths out of range are not counted", "flags[", .after = length_uncounted},
};

const struct faulty_op tenon__faulty_kv_evict = {faults, sizeof(faults) / sizeof(faults[0])};
