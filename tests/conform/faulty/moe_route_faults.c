/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a moe_route may do wrong. */
#include <math.h>
#include <string.h>
#include <tenon/ops/moe_route.h>
#include "faulty.h"

#define R(name)                TENON_MOE_ROUTE_##name
#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_moe_route_params, statement)

SPOIL(no_norm, p->norm = R(NORM_NONE))
SPOIL(no_scale, p->scale = 1)
SPOIL(no_temperature, p->inv_temp = 1)
SPOIL(sigmoid_softmax, p->score = p->score == R(SIGMOID) && p->select == R(TOPK) ? R(SOFTMAX) : p->score)
SPOIL(no_relu, p->score = p->score == R(RELU) && p->select == R(TABLE) ? R(IDENTITY) : p->score)
SPOIL(thresh_positive, p->select = p->select == R(THRESH) ? R(POSITIVE) : p->select)
SPOIL(positive_all, p->select = p->select == R(POSITIVE) ? R(ALL) : p->select)
SPOIL(all_topk, p->select = p->select == R(ALL) ? R(TOPK) : p->select)
SPOIL(no_noise, p->noise = p->noise_use = 0)
SPOIL(noise_all, p->noise_use = R(NOISE_ALL))
SPOIL(other_stream, p->stream++)
SPOIL(other_sample, p->sample++)
SPOIL(high_seed, p->seed &= 0xffffffffu)
SPOIL(no_groups, p->n_group = p->topk_group = p->gscore = p->gscore_n = 0)
SPOIL(group_max, p->gscore = p->gscore_n = 0)
SPOIL(group_more, p->topk_group += p->topk_group < p->n_group)
SPOIL(random_call, p->random = R(RANDOM_CALL))
SPOIL(random_token, p->random = R(RANDOM_TOKEN))
SPOIL(clean_noisy, p->weight_src = p->weight_src == R(WEIGHT_CLEAN_SOFTMAX) ? R(WEIGHT_SCORE) : p->weight_src)
SPOIL(one_score, p->weight_src = p->weight_src == R(WEIGHT_ONE) ? R(WEIGHT_SCORE) : p->weight_src)
SPOIL(never_drops, p->nan_policy = R(PROPAGATE))
SPOIL(always_drops, p->nan_policy = R(DROP))
SPOIL(narrow_step, p->gamma *= 0.5f)
SPOIL(other_aux, p->aux_rule ^= 1)
SPOIL(no_norm_eps, p->norm_eps = 1)

/* The mean square is forgotten. */
static void no_rms(struct tenon_tensor *t, void *params)
{
    struct tenon_moe_route_params *p = params;
    if (p->score == R(RELU_RMS) && !t[R(GAIN)].dtype)
        p->score = R(RELU);
}

/* ---- memory ---- */

struct row {
    const struct faulty_run *run;
    const struct tenon_moe_route_params *p;
    const float *z;
    int32_t *idx, *nsel;
    float *w;
    int64_t t, k, columns;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_tensor *t = run->plan->tensor;
    struct row r = {.run = run, .p = (const void *)run->plan->params};
    r.k = r.p->k;
    r.columns = tenon__faulty_columns(&t[R(LOGITS)]);
    for (; r.t < tenon__faulty_rows(&t[R(LOGITS)]); r.t++) {
        r.z = tenon__faulty_row(run, R(LOGITS), r.t);
        r.idx = tenon__faulty_row(run, R(IDX), r.t);
        r.w = tenon__faulty_row(run, R(W), r.t);
        r.nsel = tenon__faulty_memory(run, R(NSEL));
        r.nsel = r.nsel ? r.nsel + r.t : NULL;
        spoil(&r);
    }
}

#define EACH_ROW(name)                                                                                                 \
    static void name##_row(const struct row *r);                                                                       \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        each_row(run, name##_row);                                                                                     \
    }                                                                                                                  \
    static void name##_row(const struct row *r)

/* Of equal logits the last one. */
EACH_ROW(ties_late)
{
    if (!r->z || !r->idx || r->p->select != R(TOPK) || r->p->k >= r->columns)
        return;
    const int32_t last = r->idx[r->k - 1];
    for (int64_t e = r->columns - 1; last >= 0 && e > last; e--)
        if (r->z[e] == r->z[last]) {
            r->idx[r->k - 1] = (int32_t)e;
            return;
        }
}

/* What production kernels did with NaN: expert 0 again and again. */
EACH_ROW(nan_zero)
{
    int nan = 0;
    for (int64_t e = 0; r->z && r->idx && e < r->columns; e++)
        nan |= isnan(r->z[e]);
    for (int64_t j = 0; nan && j < r->k; j++)
        r->idx[j] = r->idx[j] >= 0 ? 0 : -1;
}

EACH_ROW(none_zero)
{
    for (int64_t j = 0; r->idx && j < r->k; j++)
        r->idx[j] = r->idx[j] < 0 ? 0 : r->idx[j];
}

EACH_ROW(none_weighs)
{
    for (int64_t j = 0; r->idx && r->w && j < r->k; j++)
        r->w[j] = r->idx[j] < 0 ? 1 : r->w[j];
}

EACH_ROW(unsorted)
{
    if (!r->idx || r->k < 2 || r->idx[1] < 0)
        return;
    const int32_t first = r->idx[0];
    r->idx[0] = r->idx[1];
    r->idx[1] = first;
}

EACH_ROW(weights_late)
{
    for (int64_t j = r->k - 1; r->w && r->idx && j > 0; j--)
        r->w[j] = r->idx[j] >= 0 ? r->w[j - 1] : r->w[j];
}

EACH_ROW(nsel_k)
{
    if (r->nsel)
        *r->nsel = (int32_t)r->k;
}

EACH_ROW(off_by_much)
{
    for (int64_t j = 0; r->w && j < r->k; j++)
        r->w[j] *= 1.00002f;
}

static void spoil_list(const struct faulty_run *run, uint32_t i, double factor, int32_t more)
{
    const struct tenon_tensor *t = &run->plan->tensor[i];
    void *memory = tenon__faulty_memory(run, i);
    for (int64_t e = 0; memory && e < tenon_tensor_count(t); e++) {
        if (t->dtype == TENON_F32)
            ((float *)memory)[e] = (float)((double)((float *)memory)[e] * factor);
        else
            ((int32_t *)memory)[e] += more;
    }
}

#define LIST(name, tensor, factor, more)                                                                               \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        spoil_list(run, R(tensor), factor, more);                                                                      \
    }
LIST(count1_off, CNT1, 1, 1)
LIST(count_k_off, CNT_K, 1, 1)
LIST(p_off, P_MEAN, 1.0001, 0)
LIST(aux_off, AUX, 1.0001, 0)
LIST(zloss_off, ZLOSS, 1.0001, 0)
LIST(entropy_off, ENTROPY, 1.0001, 0)
LIST(l1_off, L1, 1.0001, 0)
LIST(g_off, G, 1.0001, 0)

/* A buffer that was not zero is added to. */
static void counts_kept(const struct faulty_run *run)
{
    int32_t *counts = tenon__faulty_memory(run, R(CNT_K));
    if (counts)
        counts[0] += 7;
}

/* Tokens of an expert by number, not by score. */
static void sel_ascending(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[R(SEL)];
    for (int64_t e = 0; e < tenon__faulty_rows(t); e++) {
        int32_t *sel = tenon__faulty_row(run, R(SEL), e);
        for (int64_t i = 1; sel && i < tenon__faulty_columns(t); i++)
            for (int64_t j = i; j > 0 && sel[j] >= 0 && sel[j] < sel[j - 1]; j--) {
                const int32_t token = sel[j];
                sel[j] = sel[j - 1];
                sel[j - 1] = token;
            }
    }
}

static void flag_lost(const struct faulty_run *run, int i)
{
    uint32_t *flags = tenon__faulty_memory(run, R(FLAGS));
    if (flags)
        flags[i] = 0;
}

#define FLAG(name, i)                                                                                                  \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        flag_lost(run, i);                                                                                             \
    }
FLAG(flags_nan, 0)
FLAG(flags_empty, 1)
FLAG(flags_short, 2)
FLAG(flags_range, 3)

static const struct faulty_fault faults[] = {
    {"no_norm", "weights are not divided by their sum", "w[", .spoil = no_norm},
    {"no_norm_eps", "norm_eps is 1", "w[", .spoil = no_norm_eps},
    {"no_scale", "scale is 1", "w[", .spoil = no_scale},
    {"no_temperature", "inv_temp is 1", "[", .spoil = no_temperature},
    {"sigmoid_softmax", "sigmoid is softmax", "[", .spoil = sigmoid_softmax},
    {"no_relu", "relu is identity", "w[", .spoil = no_relu},
    {"no_rms", "relu_rms is relu", "w[", .spoil = no_rms},
    {"thresh_positive", "the threshold is 0", "[", .spoil = thresh_positive},
    {"positive_all", "what is not positive is selected", "[", .spoil = positive_all},
    {"all_topk", "the slots of all are by rank", "idx[", .spoil = all_topk},
    {"no_noise", "there is no noise", "[", .spoil = no_noise},
    {"noise_all", "the first slot has noise too", "[", .spoil = noise_all},
    {"other_stream", "stream is one more", "[", .spoil = other_stream},
    {"other_sample", "sample is one more", "[", .spoil = other_sample},
    {"high_seed", "the upper half of the seed is lost", "[", .spoil = high_seed},
    {"no_groups", "groups are ignored", "[", .spoil = no_groups},
    {"group_max", "a group's score is its best expert", "[", .spoil = group_max},
    {"group_more", "one group more is chosen", "[", .spoil = group_more},
    {"random_call", "one random expert for all", "[", .spoil = random_call},
    {"random_token", "a random expert for each token", "[", .spoil = random_token},
    {"clean_noisy", "clean_softmax has noise and temperature", "w[", .spoil = clean_noisy},
    {"one_score", "weight one is the score", "w[", .spoil = one_score},
    {"never_drops", "NaN rows are never dropped", "[", .spoil = never_drops},
    {"always_drops", "NaN rows are always dropped", "[", .spoil = always_drops},
    {"narrow_step", "gamma is half", "[", .spoil = narrow_step},
    {"other_aux", "aux counts the other slots", "aux[", .spoil = other_aux},
    {"no_bias", "corr_bias is ignored", "[", .drop = R(CORR_BIAS)},
    {"no_gain", "gain is ignored", "w[", .drop = R(GAIN)},
    {"no_valid", "token_valid is ignored", "[", .drop = R(TOKEN_VALID)},
    {"no_mask", "expert_mask is ignored", "[", .drop = R(EXPERT_MASK)},
    {"ties_late", "of equal experts the last is selected", "idx[", .after = ties_late},
    {"nan_zero", "rows with NaN have expert 0 in all slots", "idx[", .after = nan_zero},
    {"none_zero", "no expert is expert 0", "idx[", .after = none_zero},
    {"none_weighs", "no expert has weight 1", "w[", .after = none_weighs},
    {"unsorted", "the first two experts are exchanged", "idx[", .after = unsorted},
    {"weights_late", "weights are one slot late", "w[", .after = weights_late},
    {"nsel_k", "nsel is k", "nsel[", .after = nsel_k},
    {"off_by_much", "weights are 2e-5 too large", "w[", .after = off_by_much},
    {"count1_off", "cnt1 is one more", "cnt1[", .after = count1_off},
    {"count_k_off", "cnt_k is one more", "cnt_k[", .after = count_k_off},
    {"counts_kept", "cnt_k is added to what was there", "cnt_k[", .after = counts_kept},
    {"p_off", "p_mean is 1e-4 off", "p_mean[", .after = p_off},
    {"aux_off", "aux is 1e-4 off", "aux[", .after = aux_off},
    {"zloss_off", "zloss is 1e-4 off", "zloss[", .after = zloss_off},
    {"entropy_off", "entropy is 1e-4 off", "entropy[", .after = entropy_off},
    {"l1_off", "l1 is 1e-4 off", "l1[", .after = l1_off},
    {"g_off", "g is 1e-4 off", "g[", .after = g_off},
    {"sel_ascending", "the tokens of an expert are by number", "sel[", .after = sel_ascending},
    {"flags_nan", "NaN rows are not counted", "flags[", .after = flags_nan},
    {"flags_empty", "empty rows are not counted", "flags[", .after = flags_empty},
    {"flags_short", "short rows are not counted", "flags[", .after = flags_short},
    {"flags_range", "entries out of range are not counted", "flags[", .after = flags_range},
};

const struct faulty_op tenon__faulty_moe_route = {faults, sizeof(faults) / sizeof(faults[0])};
