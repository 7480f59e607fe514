/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a softmax_merge may do wrong. */
#include <math.h>
#include <tenon/ops/softmax_merge.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_softmax_merge_params, statement)

SPOIL(no_temperature, p->inv_temp = 1)
SPOIL(normalised, p->o_normalised ^= 1)

static void last_lost(struct tenon_tensor *t, void *params)
{
    (void)params;
    for (uint32_t i = TENON_SOFTMAX_MERGE_M; i <= TENON_SOFTMAX_MERGE_O; i++)
        t[i].dim[0] -= t[i].dtype && t[i].dim[0] > 1;
}

/* A kernel that goes over parts in fours and forgets the rest. */
static void rest_lost(struct tenon_tensor *t, void *params)
{
    (void)params;
    for (uint32_t i = TENON_SOFTMAX_MERGE_M; i <= TENON_SOFTMAX_MERGE_O; i++)
        t[i].dim[0] -= t[i].dtype && t[i].dim[0] > 4 ? t[i].dim[0] % 4 : 0;
}

/* One row after a run, and what the layer itself makes of the states. */
struct row {
    const struct faulty_run *run;
    int64_t row, rows, parts;
    const float *m, *s;
    double T, R, S; /* of the sound parts */
    int nan, empty; /* any part is */
};

static float *of(const struct row *r, uint32_t i)
{
    return tenon__faulty_element(r->run, i, r->row);
}

static float part_of(const struct row *r, const float *memory, int64_t p)
{
    return memory[p * r->rows + r->row];
}

static int is_empty(const struct row *r, int64_t p)
{
    return part_of(r, r->m, p) == -INFINITY || part_of(r, r->s, p) == 0;
}

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_softmax_merge_params *params = (const void *)run->plan->params;
    const struct tenon_tensor *m = &run->plan->tensor[TENON_SOFTMAX_MERGE_M];
    struct row r = {.run = run, .parts = m->dim[0], .T = (double)params->inv_temp};
    r.m = tenon__faulty_memory(run, TENON_SOFTMAX_MERGE_M);
    r.s = tenon__faulty_memory(run, TENON_SOFTMAX_MERGE_S);
    r.rows = r.parts ? tenon_tensor_count(m) / r.parts : 0;
    for (; r.m && r.s && r.row < r.rows; r.row++) {
        r.R = -(double)INFINITY;
        r.S = r.nan = r.empty = 0;
        for (int64_t p = 0; p < r.parts; p++) {
            const float value = part_of(&r, r.m, p), sum = part_of(&r, r.s, p);
            r.nan |= isnan(value) || value == INFINITY || !(sum >= 0) || isinf(sum);
            r.empty |= is_empty(&r, p);
            if (!is_empty(&r, p) && (double)value > r.R)
                r.R = (double)value;
        }
        for (int64_t p = 0; p < r.parts; p++)
            if (!is_empty(&r, p))
                r.S += (double)part_of(&r, r.s, p) * exp(((double)part_of(&r, r.m, p) - r.R) * r.T);
        spoil(&r);
    }
}

static void set(const struct row *r, uint32_t i, double value)
{
    float *at = of(r, i);
    if (at)
        *at = (float)value;
}

static void set_all(const struct row *r, double value)
{
    for (uint32_t i = TENON_SOFTMAX_MERGE_OUT_M; i <= TENON_SOFTMAX_MERGE_LSE; i++)
        set(r, i, value);
}

/* ---- parts that are empty, states that are none ---- */

/* 0 times the NaN that an empty part may hold. */
FAULTY_EACH_ROW(empty_counts)
{
    static const uint32_t from[3] = {TENON_SOFTMAX_MERGE_A, TENON_SOFTMAX_MERGE_Q, TENON_SOFTMAX_MERGE_S};
    static const uint32_t to[3] = {TENON_SOFTMAX_MERGE_OUT_A, TENON_SOFTMAX_MERGE_OUT_Q, TENON_SOFTMAX_MERGE_OUT_S};
    for (int i = 0; i < 3; i++) {
        const float *memory = tenon__faulty_memory(r->run, from[i]);
        for (int64_t p = 0; memory && p < r->parts; p++)
            if (is_empty(r, p) && isnan(part_of(r, memory, p)))
                set(r, to[i], (double)NAN);
    }
}

/* A part without a sum takes part in the maximum. */
FAULTY_EACH_ROW(empty_max)
{
    double top = r->R;
    for (int64_t p = 0; p < r->parts; p++)
        if ((double)part_of(r, r->m, p) > top)
            top = (double)part_of(r, r->m, p);
    if (!r->nan)
        set(r, TENON_SOFTMAX_MERGE_OUT_M, top);
}

/* -Inf - -Inf. */
FAULTY_EACH_ROW(all_empty)
{
    if (!r->nan && r->R == -(double)INFINITY)
        set_all(r, (double)NAN);
}

FAULTY_EACH_ROW(empty_lse)
{
    float *lse = of(r, TENON_SOFTMAX_MERGE_LSE);
    if (lse && *lse == -INFINITY)
        *lse = 0;
}

FAULTY_EACH_ROW(nan_skipped)
{
    if (r->nan && r->R < (double)INFINITY) {
        set(r, TENON_SOFTMAX_MERGE_OUT_M, r->R);
        set(r, TENON_SOFTMAX_MERGE_OUT_S, r->S);
    }
}

FAULTY_EACH_ROW(negative_sum)
{
    for (int64_t p = 0; p < r->parts; p++)
        if (part_of(r, r->s, p) < 0) {
            set(r, TENON_SOFTMAX_MERGE_OUT_S, r->S);
            set(r, TENON_SOFTMAX_MERGE_OUT_M, r->R);
        }
}

/* ---- sums ---- */

/* out_s, out_a and out_q are sums of what the parts have. */
FAULTY_EACH_ROW(unweighted)
{
    double sum = 0;
    for (int64_t p = 0; p < r->parts; p++)
        sum += is_empty(r, p) ? 0 : (double)part_of(r, r->s, p);
    if (!r->nan && r->R > -(double)INFINITY)
        set(r, TENON_SOFTMAX_MERGE_OUT_S, sum);
}

/* out_a = sum w a, as if every part had the maximum of the row; or out_q = sum w q. */
static void sum_plainly(const struct row *r, uint32_t from, uint32_t to)
{
    const float *memory = tenon__faulty_memory(r->run, from);
    double sum = 0;
    for (int64_t p = 0; memory && p < r->parts; p++)
        if (!is_empty(r, p))
            sum += (double)part_of(r, memory, p) * exp(((double)part_of(r, r->m, p) - r->R) * r->T);
    if (memory && !r->nan)
        set(r, to, sum);
}

FAULTY_EACH_ROW(a_plain)
{
    sum_plainly(r, TENON_SOFTMAX_MERGE_A, TENON_SOFTMAX_MERGE_OUT_A);
}

FAULTY_EACH_ROW(q_once)
{
    sum_plainly(r, TENON_SOFTMAX_MERGE_Q, TENON_SOFTMAX_MERGE_OUT_Q);
}

FAULTY_EACH_ROW(lse_cold)
{
    if (!r->nan && r->S > 0)
        set(r, TENON_SOFTMAX_MERGE_LSE, r->R + log(r->S));
}

/* Parts below 2^-12 are dropped. */
FAULTY_EACH_ROW(light_dropped)
{
    double sum = 0;
    for (int64_t p = 0; p < r->parts; p++) {
        const double w = is_empty(r, p) ? 0 : exp(((double)part_of(r, r->m, p) - r->R) * r->T);
        sum += w > 0x1p-12 ? w * (double)part_of(r, r->s, p) : 0;
    }
    if (!r->nan && r->S > 0)
        set(r, TENON_SOFTMAX_MERGE_OUT_S, sum);
}

FAULTY_EACH_ROW(max_of_sums)
{
    float *max = of(r, TENON_SOFTMAX_MERGE_OUT_M);
    if (max && isfinite(*max) && r->S > 0)
        *max = (float)((double)*max + log(r->S));
}

/* ---- o ---- */

/* Element `col` of the row of f32 out_o, as the layer makes it in f64, with the weights of row `other`. */
static void o_of(const struct row *r, int64_t from, int divided)
{
    const struct tenon_tensor *o = &r->run->plan->tensor[TENON_SOFTMAX_MERGE_O];
    const struct tenon_softmax_merge_params *params = (const void *)r->run->plan->params;
    float *out = tenon__faulty_row(r->run, TENON_SOFTMAX_MERGE_OUT_O, r->row);
    if (!out || r->nan || r->empty || o->dtype != TENON_F32)
        return;
    for (int64_t col = from; col < tenon__faulty_columns(o); col++) {
        double sum = 0;
        for (int64_t p = 0; p < r->parts; p++) {
            const float *part = tenon__faulty_row(r->run, TENON_SOFTMAX_MERGE_O, p * r->rows + r->row);
            const double w = exp(((double)part_of(r, r->m, p) - r->R) * r->T);
            sum += (double)part[col] * w * (params->o_normalised ? (double)part_of(r, r->s, p) : 1);
        }
        out[col] = (float)(divided ? sum / r->S : sum);
    }
}

FAULTY_EACH_ROW(o_undivided)
{
    o_of(r, 0, 0);
}

/* Columns past the first tile of 256. */
FAULTY_EACH_ROW(o_tile)
{
    o_of(r, 256, 0);
}

FAULTY_EACH_ROW(o_tail)
{
    const struct tenon_tensor *t = &r->run->plan->tensor[TENON_SOFTMAX_MERGE_OUT_O];
    char *y = tenon__faulty_memory(r->run, TENON_SOFTMAX_MERGE_OUT_O);
    const int64_t cols = tenon__faulty_columns(t);
    for (int64_t j = cols / 8 * 8; y && j < cols; j++)
        tenon__faulty_poke(t, y, tenon__faulty_at(t, r->row) + j, 0xDEADBEEF);
}

/* 16-bit results are cut off, twice over. */
FAULTY_EACH_ROW(o_down)
{
    const struct tenon_tensor *t = &r->run->plan->tensor[TENON_SOFTMAX_MERGE_OUT_O];
    char *y = tenon__faulty_memory(r->run, TENON_SOFTMAX_MERGE_OUT_O);
    for (int64_t j = 0; y && TENON_DTYPE_SIZE(t->dtype) == 2 && j < tenon__faulty_columns(t); j++) {
        const int64_t at = tenon__faulty_at(t, r->row) + j;
        const uint32_t bits = tenon__faulty_peek(t, y, at);
        tenon__faulty_poke(t, y, at, (bits & 0x7fff) > 2 && (bits & 0x7fff) < 0x7c00 ? bits - 2 : bits);
    }
}

static const struct faulty_fault faults[] = {
    {"no_temperature", "weights are not rescaled by T", " T ", .spoil = no_temperature},
    {"normalised", "o_normalised is the other way round", "out_o[", .spoil = normalised},
    {"last_lost", "the last part is lost", "out_", .spoil = last_lost},
    {"rest_lost", "parts beyond a multiple of four are lost", "out_", .spoil = rest_lost},
    {"empty_counts", "what an empty part holds is multiplied by 0", "out_", .after = empty_counts},
    {"empty_max", "a part without a sum has a part in the maximum", "out_m[", .after = empty_max},
    {"all_empty", "a row of empty parts is NaN", "out_", .after = all_empty},
    {"empty_lse", "lse of a row of empty parts is 0", "lse[", .after = empty_lse},
    {"nan_skipped", "a part that is NaN is skipped", "out_", .after = nan_skipped},
    {"negative_sum", "a part whose sum is negative is skipped", "out_", .after = negative_sum},
    {"unweighted", "sums of the parts are added as they are", "out_s[", .after = unweighted},
    {"a_plain", "out_a leaves out s delta", "out_a[", .after = a_plain},
    {"q_once", "out_q has the weight w, not its square", "out_q[", .after = q_once},
    {"lse_cold", "lse is R + ln S, whatever T is", "lse[", .after = lse_cold},
    {"light_dropped", "parts of a weight below 2^-12 are dropped", "out_s[", .after = light_dropped},
    {"max_of_sums", "out_m is lse", "out_m[", .after = max_of_sums},
    {"o_undivided", "out_o is not divided by S", "out_o[", .after = o_undivided},
    {"o_tile", "out_o past column 256 is not divided by S", "out_o[", .after = o_tile},
    {"o_tail", "the columns of out_o beyond a multiple of eight are not written", "never written", .after = o_tail},
    {"o_down", "16-bit out_o is two steps towards zero", "out_o[", .after = o_down},
};

const struct faulty_op tenon__faulty_softmax_merge = {faults, sizeof(faults) / sizeof(faults[0])};
