/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attn_merge on the CPU: the weights of a row's parts in f64, parts ascending; the columns of o are lib/merge.h's. */
#include <stdio.h>

#include <tenon/ops/attn_merge.h>

#include "cpu.h"
#include "lib/merge.h"

#define DELTA_MIN (-172.0) /* parts further below are skipped */

/* Lives in cpu_plan.state. */
struct weights {
    struct merge merge;
    int64_t heads;
    uint32_t kind;
};

struct run {
    const struct weights *w;
    const float *lnz_parts, *sink;
    const int32_t *counts;
    float *lnz;
};

static int sum_all(const struct weights *w, double *weight, double *S)
{
    *S = 1.0;
    for (int64_t p = 0; p < w->merge.parts; p++)
        weight[p] = 1.0;
    return MERGE_SOME;
}

static int by_count(const struct weights *w, const int32_t *counts, double *weight, double *S)
{
    *S = 0.0;
    for (int64_t p = 0; p < w->merge.parts; p++) {
        const int32_t n = counts[p * w->merge.rows];
        weight[p] = n > 0 ? (double)n : 0.0;
        *S += weight[p];
    }
    return *S > 0.0 ? MERGE_SOME : MERGE_NONE;
}

/* The largest; MERGE_NONE where all parts are empty. */
static int top_of(const struct weights *w, const float *l, float *top)
{
    int what = MERGE_NONE;
    *top = -INFINITY;
    for (int64_t p = 0; p < w->merge.parts; p++) {
        const float lp = l[p * w->merge.rows];
        if (isnan(lp) || lp == INFINITY)
            return MERGE_NAN;
        if (lp > *top) {
            *top = lp;
            what = MERGE_SOME;
        }
    }
    return what;
}

/* weight[p] = e^(l_p - top). */
static double weigh(const struct weights *w, const float *l, double top, double *weight)
{
    double sum = 0.0;
    for (int64_t p = 0; p < w->merge.parts; p++) {
        const double delta = (double)l[p * w->merge.rows] - top;
        weight[p] = delta < DELTA_MIN ? 0.0 : exp(delta);
        sum += weight[p];
    }
    return sum;
}

static int by_lnz(const struct run *run, int64_t row, int first, double *weight, double *S)
{
    const struct weights *w = run->w;
    const float *l = run->lnz_parts + row;
    float top;
    const int what = top_of(w, l, &top);
    *S = what == MERGE_SOME ? weigh(w, l, (double)top, weight) : 0.0;
    if (run->lnz && first)
        run->lnz[row] = what == MERGE_NAN ? NAN : what == MERGE_NONE ? -INFINITY : (float)((double)top + log(*S));
    if (what != MERGE_SOME || !run->sink)
        return what;
    const float sink = run->sink[row % w->heads];
    if (isnan(sink) || sink == INFINITY)
        return MERGE_NAN;
    if (sink > top) {
        *S = *S * exp((double)top - (double)sink) + 1.0;
        weigh(w, l, (double)sink, weight);
    } else {
        *S += exp((double)sink - (double)top);
    }
    return what;
}

static int weigh_row(const void *own, int64_t row, int first, double *weight, double *S)
{
    const struct run *run = own;
    switch (run->w->kind) {
    case TENON_ATTN_MERGE_BY_SUM: return sum_all(run->w, weight, S);
    case TENON_ATTN_MERGE_BY_COUNT: return by_count(run->w, run->counts + row, weight, S);
    default: return by_lnz(run, row, first, weight, S);
    }
}

static void attn_merge_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct weights *w = (const struct weights *)(const void *)plan->state;
    const struct run own = {w, ptr[TENON_ATTN_MERGE_LNZ_PARTS], ptr[TENON_ATTN_MERGE_SINK],
                            ptr[TENON_ATTN_MERGE_COUNTS], ptr[TENON_ATTN_MERGE_LNZ]};
    struct merge_run run = {&w->merge, ptr[TENON_ATTN_MERGE_O_PARTS], ptr[TENON_ATTN_MERGE_O], workspace, &own,
                            weigh_row};
    merge_rows(plan->env, &run);
}

static int32_t attn_merge_plan(struct cpu_plan *plan)
{
    const struct tenon_attn_merge_params *p = (const void *)plan->params;
    const struct tenon_tensor *o = &plan->tensor[TENON_ATTN_MERGE_O_PARTS];
    struct weights *w = (struct weights *)(void *)plan->state;
    _Static_assert(sizeof *w <= sizeof plan->state, "the plan's room");
    w->merge.parts = o->dim[0];
    w->merge.rows = 1;
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        w->merge.rows *= o->dim[i];
    w->heads = o->dim[o->rank - 2];
    w->kind = p->kind;
    const int32_t status = merge_set(plan, &w->merge, o, &plan->tensor[TENON_ATTN_MERGE_O]);
    snprintf(plan->impl, sizeof plan->impl, "attn_merge_%s_%s", tenon_dtype_name(o->dtype), CPU_ISA_NAME);
    return status;
}

const struct cpu_op CPU_OP_TABLE(attn_merge) = {
    .op = TENON_OPNUM_attn_merge,
    .plan = attn_merge_plan,
    .run = attn_merge_run,
};
