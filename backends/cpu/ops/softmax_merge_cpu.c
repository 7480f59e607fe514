/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge on the CPU: the states of the rows in f64, parts ascending; the columns of o are lib/merge.h's. */
#include <stdio.h>

#include <tenon/ops/softmax_merge.h>

#include "cpu.h"
#include "lib/merge.h"

#define DELTA_MIN (-172.0) /* parts further below are skipped */

/* Lives in cpu_plan.state. */
struct states {
    struct merge merge;
    double T;
    uint32_t o_normalised;
};

struct run {
    const struct states *s;
    void *const *ptr;
};

/* Of one row. */
struct state {
    double s, a, q;
    float m;
    int nan, empty;
};

static const float *list(const struct run *run, uint32_t i, int64_t row)
{
    return run->ptr[i] ? (const float *)run->ptr[i] + row : NULL;
}

static struct state top_of(const struct run *run, int64_t row)
{
    const float *m = list(run, TENON_SOFTMAX_MERGE_M, row), *s = list(run, TENON_SOFTMAX_MERGE_S, row);
    struct state state = {.m = -INFINITY, .empty = 1};
    for (int64_t p = 0; p < run->s->merge.parts; p++) {
        const float mp = m[p * run->s->merge.rows], sp = s[p * run->s->merge.rows];
        if (isnan(mp) || mp == INFINITY || !(sp >= 0.0f && sp < INFINITY))
            state.nan = 1;
        if (sp > 0.0f && mp > state.m) {
            state.m = mp + 0.0f; /* -0 is 0 */
            state.empty = 0;
        }
    }
    return state;
}

/* delta of part p; 1 when it is skipped. */
static double delta_of(const struct run *run, const struct state *state, int64_t row, int64_t p)
{
    const int64_t at = p * run->s->merge.rows + row;
    const float m = ((const float *)run->ptr[TENON_SOFTMAX_MERGE_M])[at];
    const float s = ((const float *)run->ptr[TENON_SOFTMAX_MERGE_S])[at];
    if (s == 0.0f || m == -INFINITY)
        return 1.0;
    const double delta = ((double)m - (double)state->m) * run->s->T;
    return delta < DELTA_MIN ? 1.0 : delta;
}

/* weight[p]: what o of part p counts, before the division by S; 0 where the part is skipped. */
static struct state sum_state(const struct run *run, int64_t row, double *weight)
{
    const struct states *g = run->s;
    struct state state = top_of(run, row);
    const float *s = list(run, TENON_SOFTMAX_MERGE_S, row), *a = list(run, TENON_SOFTMAX_MERGE_A, row);
    const float *q = list(run, TENON_SOFTMAX_MERGE_Q, row);
    for (int64_t p = 0; p < g->merge.parts && !state.nan && !state.empty; p++) {
        const double delta = delta_of(run, &state, row, p);
        weight[p] = 0.0;
        if (delta > 0.0)
            continue;
        const double w = exp(delta), sp = (double)s[p * g->merge.rows];
        state.s += w * sp;
        if (a)
            state.a += w * ((double)a[p * g->merge.rows] + sp * delta);
        if (q)
            state.q += w * w * (double)q[p * g->merge.rows];
        weight[p] = g->o_normalised ? w * sp : w;
    }
    return state;
}

static void put(const struct run *run, uint32_t i, int64_t row, const struct state *state, double value)
{
    if (run->ptr[i])
        ((float *)run->ptr[i])[row] = state->nan ? NAN : (float)value;
}

static void put_state(const struct run *run, int64_t row, const struct state *state)
{
    const double inf = (double)INFINITY;
    put(run, TENON_SOFTMAX_MERGE_OUT_M, row, state, (double)state->m);
    put(run, TENON_SOFTMAX_MERGE_OUT_S, row, state, state->s);
    put(run, TENON_SOFTMAX_MERGE_OUT_A, row, state, state->a);
    put(run, TENON_SOFTMAX_MERGE_OUT_Q, row, state, state->q);
    put(run, TENON_SOFTMAX_MERGE_LSE, row, state,
        state->empty ? -inf : (double)state->m * run->s->T + log(state->s));
}

static int merge_row(const void *own, int64_t row, int first, double *weight, double *S)
{
    const struct run *run = own;
    const struct state state = sum_state(run, row, weight);
    if (first)
        put_state(run, row, &state);
    *S = state.s;
    return state.nan ? MERGE_NAN : state.empty ? MERGE_NONE : MERGE_SOME;
}

static void softmax_merge_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct states *s = (const struct states *)(const void *)plan->state;
    const struct run own = {s, ptr};
    struct merge_run run = {&s->merge, ptr[TENON_SOFTMAX_MERGE_O], ptr[TENON_SOFTMAX_MERGE_OUT_O], workspace, &own,
                            merge_row};
    merge_rows(plan->env, &run);
}

static int32_t softmax_merge_plan(struct cpu_plan *plan)
{
    const struct tenon_softmax_merge_params *p = (const void *)plan->params;
    const struct tenon_tensor *m = &plan->tensor[TENON_SOFTMAX_MERGE_M], *o = &plan->tensor[TENON_SOFTMAX_MERGE_O];
    const struct tenon_tensor *y = &plan->tensor[TENON_SOFTMAX_MERGE_OUT_O];
    struct states *s = (struct states *)(void *)plan->state;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    s->merge.parts = m->dim[0];
    s->merge.rows = 1;
    for (uint32_t i = 1; i < m->rank; i++)
        s->merge.rows *= m->dim[i];
    s->T = (double)p->inv_temp;
    s->o_normalised = p->o_normalised;
    const int32_t status = merge_set(plan, &s->merge, o, y);
    snprintf(plan->impl, sizeof plan->impl, "softmax_merge_%s_%s", y->dtype ? tenon_dtype_name(o->dtype) : "states",
             CPU_ISA_NAME);
    return status;
}

const struct cpu_op CPU_OP_TABLE(softmax_merge) = {
    .op = TENON_OPNUM_softmax_merge,
    .plan = softmax_merge_plan,
    .run = softmax_merge_run,
};
