/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge on the CPU. A unit of work is a stretch of COLS columns of one row; the state of a row is so cheap
 * that each of its units computes it anew, and so the columns of few rows keep all threads busy. Sums are f64, parts
 * ascending, whatever unit or thread does them. */
#include <stdio.h>

#include <tenon/ops/softmax_merge.h>

#include "cpu.h"
#include "lib/pack.h"

#define COLS             512       /* f64 sums of a unit, which stay in L1 */
#define SMALL_WORK       (1 << 15) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4
#define DELTA_MIN        (-172.0)  /* parts further below are skipped */

struct merge;
/* acc[c] = the sum over the parts of o times their factors. */
typedef void sum_fn(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc);

/* Lives in cpu_plan.state. */
struct merge {
    int64_t parts, rows, dv, blocks;
    int64_t o_row, o_part, y_row; /* bytes from row to row, and from part to part */
    int64_t o_size;
    uint64_t slot;                /* bytes of a task: weights and factors of the parts */
    double T;
    sum_fn *sum;
    uint32_t tasks, y_dtype, o_normalised;
};

struct run {
    const struct merge *s;
    void *const *ptr;
    unsigned char *workspace;
};

/* Of one row. */
struct state {
    double s, a, q;
    float m;
    int nan, empty;
};

/* ---- the state of a row ---- */

static const float *list(const struct run *run, uint32_t i, int64_t row)
{
    return run->ptr[i] ? (const float *)run->ptr[i] + row : NULL;
}

static struct state top_of(const struct run *run, int64_t row)
{
    const float *m = list(run, TENON_SOFTMAX_MERGE_M, row), *s = list(run, TENON_SOFTMAX_MERGE_S, row);
    struct state state = {.m = -INFINITY, .empty = 1};
    for (int64_t p = 0; p < run->s->parts; p++) {
        const float mp = m[p * run->s->rows], sp = s[p * run->s->rows];
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
    const int64_t at = p * run->s->rows + row;
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
    const struct merge *g = run->s;
    struct state state = top_of(run, row);
    const float *s = list(run, TENON_SOFTMAX_MERGE_S, row), *a = list(run, TENON_SOFTMAX_MERGE_A, row);
    const float *q = list(run, TENON_SOFTMAX_MERGE_Q, row);
    for (int64_t p = 0; p < g->parts && !state.nan && !state.empty; p++) {
        const double delta = delta_of(run, &state, row, p);
        weight[p] = 0.0;
        if (delta > 0.0)
            continue;
        const double w = exp(delta), sp = (double)s[p * g->rows];
        state.s += w * sp;
        if (a)
            state.a += w * ((double)a[p * g->rows] + sp * delta);
        if (q)
            state.q += w * w * (double)q[p * g->rows];
        weight[p] = g->o_normalised ? w * sp : w;
    }
    return state;
}

/* What o is multiplied by, as two floats: one may be beyond the type where the product with o is not. */
static void set_factors(const struct merge *g, const struct state *state, const double *weight, float (*factor)[2])
{
    for (int64_t p = 0; p < g->parts; p++) {
        int exponent;
        const double mantissa = frexp(weight[p] / state->s, &exponent);
        const int half = exponent / 2;
        factor[p][0] = (float)ldexp(mantissa, half);
        factor[p][1] = (float)ldexp(1.0, exponent - half);
    }
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

/* ---- o ---- */

SIMD_FN void sum_parts(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc,
                       uint32_t dtype)
{
    memset(acc, 0, COLS * sizeof *acc);
    for (int64_t p = 0; p < s->parts; p++) {
        if (factor[p][0] == 0.0f)
            continue;
        const vf first = vf_set1(factor[p][0]), second = vf_set1(factor[p][1]);
        const char *from = o + p * s->o_part;
        int64_t c = 0;
        for (; c + VF <= n; c += VF)
            vf_accumulate(acc + c, vf_mul(vf_mul(pack_load(dtype, from, c), first), second));
        if (c < n)
            vf_accumulate(acc + c, vf_mul(vf_mul(pack_load_n(dtype, from, c, n - c), first), second));
    }
}

static void sum_f32(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc)
{
    sum_parts(s, o, n, factor, acc, TENON_F32);
}

static void sum_f16(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc)
{
    sum_parts(s, o, n, factor, acc, TENON_F16);
}

static void sum_bf16(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc)
{
    sum_parts(s, o, n, factor, acc, TENON_BF16);
}

static void put_columns(const struct run *run, int64_t row, int64_t c0, const struct state *state,
                        const float (*factor)[2])
{
    const struct merge *s = run->s;
    const int64_t n = s->dv - c0 < COLS ? s->dv - c0 : COLS;
    const char *o = (const char *)run->ptr[TENON_SOFTMAX_MERGE_O] + row * s->o_row + c0 * s->o_size;
    char *y = (char *)run->ptr[TENON_SOFTMAX_MERGE_OUT_O] + row * s->y_row;
    double acc[COLS];
    float out[COLS];
    if (state->nan || state->empty)
        for (int64_t c = 0; c < n; c++)
            out[c] = state->nan ? NAN : 0.0f;
    else {
        s->sum(s, o, n, factor, acc);
        for (int64_t c = 0; c < n; c++)
            out[c] = (float)acc[c];
    }
    for (int64_t c = 0; c < n; c += VF)
        pack_store_n(s->y_dtype, y, c0 + c, vf_load_n(out + c, n - c < VF ? (int)(n - c) : VF), n - c);
}

/* ---- the run and the plan ---- */

static void merge_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct merge *s = run->s;
    /* By division first: rows * blocks is below 2^55, and tasks below 2^13 would take it past 2^63. */
    const int64_t units = s->rows * s->blocks, each = units / s->tasks, rest = units % s->tasks;
    const int64_t from = each * i + (i < rest ? i : rest), to = from + each + (i < rest);
    double *weight = (double *)(void *)(run->workspace + i * s->slot);
    float(*factor)[2] = (float(*)[2])(void *)(weight + s->parts);
    struct state state = {.empty = 1};
    int64_t last = -1;
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t row = unit / s->blocks, block = unit % s->blocks;
        if (row != last) {
            state = sum_state(run, row, weight);
            if (!state.nan && !state.empty)
                set_factors(s, &state, weight, factor);
            last = row;
        }
        if (block == 0)
            put_state(run, row, &state);
        if (run->ptr[TENON_SOFTMAX_MERGE_OUT_O] && s->dv > 0)
            put_columns(run, row, block * COLS, &state, (const float(*)[2])factor);
    }
}

static void merge_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct merge *s = (const struct merge *)(const void *)plan->state;
    struct run run = {s, ptr, workspace};
    if (s->rows == 0)
        return;
    if (s->tasks == 1)
        merge_task(&run, 0);
    else
        plan->env->host->parallel(plan->env->host, s->tasks, merge_task, &run);
}

static int32_t merge_plan(struct cpu_plan *plan)
{
    const struct tenon_softmax_merge_params *p = (const void *)plan->params;
    const struct tenon_tensor *m = &plan->tensor[TENON_SOFTMAX_MERGE_M], *o = &plan->tensor[TENON_SOFTMAX_MERGE_O];
    const struct tenon_tensor *y = &plan->tensor[TENON_SOFTMAX_MERGE_OUT_O];
    struct merge *s = (struct merge *)(void *)plan->state;
    int64_t rows, stride, cols;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    s->parts = m->dim[0];
    s->rows = 1;
    for (uint32_t i = 1; i < m->rank; i++)
        s->rows *= m->dim[i];
    s->blocks = 1;
    s->T = (double)p->inv_temp;
    s->o_normalised = p->o_normalised;
    if (y->dtype) {
        int32_t status = tenon_tensor_rows(o, &rows, &stride, &s->dv);
        if (status)
            return status;
        s->o_size = TENON_DTYPE_SIZE(o->dtype);
        s->o_row = stride * s->o_size;
        s->o_part = s->rows * s->o_row;
        status = tenon_tensor_rows(y, &rows, &stride, &cols);
        if (status)
            return status;
        s->y_row = stride * (int64_t)TENON_DTYPE_SIZE(y->dtype);
        s->y_dtype = y->dtype;
        s->sum = o->dtype == TENON_F16 ? sum_f16 : o->dtype == TENON_BF16 ? sum_bf16 : sum_f32;
        s->blocks = s->dv > COLS ? (s->dv + COLS - 1) / COLS : 1;
    }
    const int64_t units = s->rows * s->blocks, most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    const double work = (double)s->parts * (double)s->rows * (double)(s->dv + 8);
    s->tasks = work < SMALL_WORK || plan->env->threads == 1 ? 1 : (uint32_t)(units < most ? units : most);
    s->slot = ((uint64_t)s->parts * (sizeof(double) + 2 * sizeof(float)) + 63) & ~UINT64_C(63);
    plan->workspace = s->rows ? s->slot * s->tasks : 0;
    snprintf(plan->impl, sizeof plan->impl, "softmax_merge_%s_%s", y->dtype ? tenon_dtype_name(o->dtype) : "states",
             CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(softmax_merge) = {
    .op = TENON_OPNUM_softmax_merge,
    .plan = merge_plan,
    .run = merge_run,
};
