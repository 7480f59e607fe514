/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a softmax_topk may do wrong. */
#include <math.h>
#include <tenon/ops/softmax_topk.h>
#include "faulty.h"

#define TILE 1024 /* columns, of the kernel that these faults imagine */

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_softmax_topk_params, statement)

SPOIL(full_selected, p->norm = p->norm == TENON_SOFTMAX_TOPK_FULL ? TENON_SOFTMAX_TOPK_SELECTED : p->norm)
SPOIL(selected_full, p->norm = p->norm == TENON_SOFTMAX_TOPK_SELECTED ? TENON_SOFTMAX_TOPK_FULL : p->norm)
SPOIL(no_temperature, p->inv_temp = 1)
SPOIL(no_scale, p->scale = 1)
SPOIL(no_gumbel, p->noise_amp = p->noise == TENON_SOFTMAX_NOISE_GUMBEL ? 0 : p->noise_amp)
SPOIL(next_seed, p->seed += p->noise == TENON_SOFTMAX_NOISE_GUMBEL)
SPOIL(next_sample, p->sample += p->noise == TENON_SOFTMAX_NOISE_GUMBEL)
SPOIL(no_stream, p->stream = 0)
SPOIL(no_amp, p->noise_amp = 1)
SPOIL(raw_late, p->noise_amp = p->norm == TENON_SOFTMAX_TOPK_RAW ? 0 : p->noise_amp)

/* One row after a run; whatever is not f32 or not there is NULL. */
struct row {
    const struct faulty_run *run;
    const struct tenon_softmax_topk_params *p;
    const float *x;
    float *val;
    int32_t *idx;
    int64_t cols, k;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_tensor *x = &run->plan->tensor[TENON_SOFTMAX_TOPK_X];
    struct row row = {.run = run, .p = (const void *)run->plan->params, .cols = tenon__faulty_columns(x)};
    row.k = row.p->k;
    for (int64_t i = 0; i < tenon__faulty_rows(x); i++) {
        row.x = tenon__faulty_row(run, TENON_SOFTMAX_TOPK_X, i);
        row.val = tenon__faulty_row(run, TENON_SOFTMAX_TOPK_VAL, i);
        row.idx = tenon__faulty_row(run, TENON_SOFTMAX_TOPK_IDX, i);
        spoil(&row);
    }
}

/* ---- the order ---- */

FAULTY_EACH_ROW(ties_reversed)
{
    for (int64_t i = 0; r->idx && r->x && i + 1 < r->k; i++)
        if (r->idx[i] >= 0 && r->idx[i + 1] >= 0 && r->x[r->idx[i]] == r->x[r->idx[i + 1]])
            tenon__faulty_swap(&r->idx[i], &r->idx[i + 1]);
}

/* Of the entries that are as good as the last that is selected, the last one. */
FAULTY_EACH_ROW(cut_late)
{
    int32_t *last = r->idx ? &r->idx[r->k - 1] : NULL;
    for (int64_t j = last && r->x && *last >= 0 ? *last + 1 : r->cols; j < r->cols; j++)
        if (r->x[j] == r->x[*last])
            *last = (int32_t)j;
}

/* As integers: +0 above -0. */
FAULTY_EACH_ROW(zeros_ordered)
{
    for (int64_t n = 0; r->idx && r->x && n < r->k; n++)
        for (int64_t i = 0; i + 1 < r->k; i++) {
            const int32_t a = r->idx[i], b = r->idx[i + 1];
            if (a >= 0 && b >= 0 && r->x[a] == 0 && r->x[b] == 0 && signbit(r->x[a]) && !signbit(r->x[b]))
                tenon__faulty_swap(&r->idx[i], &r->idx[i + 1]);
        }
}

FAULTY_EACH_ROW(unsorted)
{
    if (r->idx && r->k > 1 && r->idx[1] >= 0)
        tenon__faulty_swap(&r->idx[0], &r->idx[1]);
    if (r->val && r->k > 1)
        tenon__faulty_swap(&r->val[0], &r->val[1]);
}

/* val is sorted, and idx is not moved with it. */
FAULTY_EACH_ROW(idx_behind)
{
    if (r->idx && r->k > 2 && r->idx[2] >= 0)
        tenon__faulty_swap(&r->idx[1], &r->idx[2]);
}

FAULTY_EACH_ROW(one_less)
{
    const int logs = r->p->norm == TENON_SOFTMAX_TOPK_LOG || r->p->norm == TENON_SOFTMAX_TOPK_RAW;
    if (r->idx)
        r->idx[r->k - 1] = -1;
    if (r->val)
        r->val[r->k - 1] = logs ? -INFINITY : 0;
}

FAULTY_EACH_ROW(twice)
{
    if (r->idx && r->k > 1 && r->idx[1] >= 0)
        r->idx[1] = r->idx[0];
}

/* ---- indices ---- */

FAULTY_EACH_ROW(tile_off)
{
    for (int64_t i = 0; r->idx && i < r->k; i++)
        r->idx[i] -= r->idx[i] >= TILE;
}

FAULTY_EACH_ROW(tile_border)
{
    for (int64_t i = 0; r->idx && i < r->k; i++)
        r->idx[i] -= r->idx[i] > 0 && r->idx[i] % TILE == 0;
}

/* ---- NaN and what is short ---- */

FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t i = 0; r->idx && r->x && i < r->k; i++)
        if (r->idx[i] >= 0 && isnan(r->x[r->idx[i]]))
            r->idx[i] = -1;
}

FAULTY_EACH_ROW(nan_first)
{
    for (int64_t i = r->k - 1; r->idx && r->x && i > 0; i--)
        if (r->idx[i] >= 0 && isnan(r->x[r->idx[i]]))
            tenon__faulty_swap(&r->idx[i - 1], &r->idx[i]);
}

FAULTY_EACH_ROW(nan_raw)
{
    for (int64_t i = 0; r->idx && r->x && r->val && i < r->k; i++)
        if (isnan(r->val[i]) && r->p->norm == TENON_SOFTMAX_TOPK_RAW && r->idx[i] >= 0)
            r->val[i] = r->x[r->idx[i]];
}

FAULTY_EACH_ROW(short_zero)
{
    for (int64_t i = 0; r->idx && i < r->k; i++)
        r->idx[i] = r->idx[i] < 0 ? 0 : r->idx[i];
}

FAULTY_EACH_ROW(short_log)
{
    for (int64_t i = 0; r->val && i < r->k; i++)
        r->val[i] = r->val[i] == -INFINITY ? 0 : r->val[i];
}

/* ---- statistics ---- */

static void turn(const struct faulty_run *run, uint32_t tensor, float factor, float more)
{
    tenon__faulty_turn(run, tensor, tenon__faulty_rows(&run->plan->tensor[TENON_SOFTMAX_TOPK_X]), factor, more);
}

#define TURN(name, tensor, factor, more)                                                                               \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        turn(run, TENON_SOFTMAX_TOPK_##tensor, factor, more);                                                          \
    }
TURN(max_off, MAX, 1 + 0x1p-23f, 0)
TURN(lse_off, LSE, 1, 1e-4f)
TURN(pmax_off, PMAX, 1 + 0x1p-17f, 0)
TURN(margin_off, MARGIN, 1 + 0x1p-17f, 0)
TURN(entropy_off, ENTROPY, 1, 1e-3f)

/* From the selected alone. */
static void pmax_selected(const struct faulty_run *run)
{
    const struct tenon_softmax_topk_params *p = (const void *)run->plan->params;
    if (p->k == 1)
        turn(run, TENON_SOFTMAX_TOPK_PMAX, 0, 1);
}

/* With k = 1 there is no second. */
static void margin_alone(const struct faulty_run *run)
{
    const struct tenon_softmax_topk_params *p = (const void *)run->plan->params;
    const int64_t rows = tenon__faulty_rows(&run->plan->tensor[TENON_SOFTMAX_TOPK_X]);
    float *margin = tenon__faulty_memory(run, TENON_SOFTMAX_TOPK_MARGIN);
    const float *pmax = tenon__faulty_memory(run, TENON_SOFTMAX_TOPK_PMAX);
    for (int64_t row = 0; margin && pmax && p->k == 1 && row < rows; row++)
        margin[row] = pmax[row];
}

static void flags_shifted(const struct faulty_run *run)
{
    tenon__faulty_flags_shift(run, TENON_SOFTMAX_TOPK_FLAGS);
}

/* A NaN row that is short of k is not counted as short. */
static void flags_either(const struct faulty_run *run)
{
    uint32_t *flags = tenon__faulty_memory(run, TENON_SOFTMAX_TOPK_FLAGS);
    if (flags)
        flags[2] -= flags[0] < flags[2] ? flags[0] : flags[2];
}

static const struct faulty_fault faults[] = {
    {"ties_reversed", "equal entries come last index first", "idx[", .after = ties_reversed},
    {"cut_late", "of entries equal to the last selected the last is taken", "idx[", .after = cut_late},
    {"zeros_ordered", "-0 is below +0", "idx[", .after = zeros_ordered},
    {"unsorted", "the first two slots are exchanged", "[", .after = unsorted},
    {"idx_behind", "indices are not moved with their values", "idx[", .after = idx_behind},
    {"one_less", "k - 1 entries are selected", "[", .after = one_less},
    {"twice", "the best entry is selected twice", "idx[", .after = twice},
    {"tile_off", "indices past the first tile are one less", "idx[", .after = tile_off},
    {"tile_border", "the index of a tile's first column is one less", "idx[", .after = tile_border},
    {"nan_lost", "NaN take no slots", "idx[", .after = nan_lost},
    {"nan_first", "NaN come before numbers", "idx[", .after = nan_first},
    {"nan_raw", "raw values of a NaN row are the logits", "val[", .after = nan_raw},
    {"short_zero", "slots without an entry have index 0", "idx[", .after = short_zero},
    {"short_log", "slots without an entry have value 0, of logarithms too", "val[", .after = short_log},
    {"full_selected", "probabilities are among the selected alone", "full", .spoil = full_selected},
    {"selected_full", "probabilities of the selected are among all", "selected", .spoil = selected_full},
    {"no_temperature", "inv_temp is ignored", "[", .spoil = no_temperature},
    {"no_scale", "scale is ignored", "[", .spoil = no_scale},
    {"no_bias", "bias is ignored", "+bias", .drop = TENON_SOFTMAX_TOPK_BIAS},
    {"no_mask", "mask is ignored", "+mask", .drop = TENON_SOFTMAX_TOPK_MASK},
    {"no_valid_len", "valid_len is ignored", "+valid_len", .drop = TENON_SOFTMAX_TOPK_VALID_LEN},
    {"no_row_scale", "row_scale is ignored", "+row_scale", .drop = TENON_SOFTMAX_TOPK_ROW_SCALE},
    {"no_sink", "sink is ignored", "+sink", .drop = TENON_SOFTMAX_TOPK_SINK},
    {"no_gumbel", "Gumbel noise is ignored", "gumbel", .spoil = no_gumbel},
    {"next_seed", "Gumbel noise is that of the next seed", "gumbel", .spoil = next_seed},
    {"next_sample", "Gumbel noise is that of the next sample", "gumbel", .spoil = next_sample},
    {"no_stream", "the stream of noise is always 0", "gumbel", .spoil = no_stream},
    {"noise_restarts", "the second half of the rows has the noise of the first", "gumbel", .restarts = 1},
    {"no_amp", "noise_amp is ignored", "[", .spoil = no_amp},
    {"raw_late", "raw values are those before noise", "raw", .spoil = raw_late},
    {"max_off", "max is one ulp off", "max[", .after = max_off},
    {"lse_off", "lse is 1e-4 off", "lse[", .after = lse_off},
    {"pmax_off", "pmax is 2^-17 off", "pmax[", .after = pmax_off},
    {"pmax_selected", "pmax of k = 1 is among the selected", "pmax[", .after = pmax_selected},
    {"margin_off", "margin is 2^-17 off", "margin[", .after = margin_off},
    {"margin_alone", "margin of k = 1 knows no second", "margin[", .after = margin_alone},
    {"entropy_off", "entropy is 1e-3 off", "entropy[", .after = entropy_off},
    {"flags_shifted", "flags are one place further", "flags[", .after = flags_shifted},
    {"flags_either", "a NaN row is not counted as short", "flags[", .after = flags_either},
};

const struct faulty_op tenon__faulty_softmax_topk = {faults, sizeof(faults) / sizeof(faults[0])};
