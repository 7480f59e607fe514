/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d on the CPU. The weights are first laid out with channels of y side by side, which are the lanes. A unit
 * of work is some tokens of one batch and some channels of y; it is cut where sequences end. Neighbouring units are
 * neighbours in time, so that the inputs that both meet are still in the caches. When all y are there, the states are
 * written: state_out may be state. */
#include <stdio.h>

#include "causal_conv1d_cpu_sums.h"
#include "lib/sequences.h"

#define SMALL_WORK       (1 << 15) /* products not worth waking threads for */
#define TASKS_PER_THREAD 4
#define ROWS             32   /* tokens of a unit */
#define WIDTH            2048 /* channels of a unit, depthwise */
#define WIDTH_GROUP      (16 * VF)

/* ---- weights ---- */

static float number_at(const void *first, int64_t i, uint32_t dtype)
{
    if (dtype == TENON_F32)
        return ((const float *)first)[i];
    const uint16_t h = ((const uint16_t *)first)[i];
    return dtype == TENON_F16 ? simd_from_f16(h) : simd_from_bf16(h);
}

/* Vector `v` of the channels of y. */
static void pack_vector(const struct conv_call *call, const struct cpu_plan *plan, int64_t v)
{
    const struct conv *g = &call->g;
    const uint32_t w_type = plan->tensor[CONV(W)].dtype, b_type = plan->tensor[CONV(BIAS)].dtype;
    const int64_t first = g->depthwise ? v * VF : v / g->vectors * g->cog + v % g->vectors * VF;
    const int64_t end = g->depthwise ? g->cout : (v / g->vectors + 1) * g->cog, terms = g->taps * g->cg;
    float *w = call->w + (g->depthwise ? v * VF : v * terms * VF);
    const int64_t step = g->depthwise ? g->padded : VF;
    for (int lane = 0; lane < VF; lane++) {
        const int64_t o = first + lane;
        const int there = o < end;
        call->bias[v * VF + lane] = there && call->ptr[CONV(BIAS)] ? number_at(call->ptr[CONV(BIAS)], o, b_type) : 0;
        for (int64_t c = 0; c < g->cg; c++)
            for (int64_t i = 0; i < g->taps; i++)
                w[(i * g->cg + c) * step + lane] =
                    there ? number_at(call->ptr[CONV(W)], (o * g->cg + c) * g->taps + i, w_type) : 0;
    }
}

struct pack {
    const struct conv_call *call;
    const struct cpu_plan *plan;
};

static void share_of(int64_t n, uint32_t tasks, uint32_t i, int64_t *begin, int64_t *end)
{
    const int64_t each = n / tasks, rest = n % tasks;
    *begin = each * i + (i < rest ? i : rest);
    *end = *begin + each + (i < rest);
}

static int64_t vectors_of(const struct conv *g)
{
    return g->depthwise ? g->padded / VF : g->groups * g->vectors;
}

static void pack_task(void *context, uint32_t i)
{
    const struct pack *pack = context;
    int64_t v, end;
    for (share_of(vectors_of(&pack->call->g), pack->call->g.tasks, i, &v, &end); v < end; v++)
        pack_vector(pack->call, pack->plan, v);
}

/* ---- sequences ---- */

/* The sequence of token t, or where it would be: the tokens from t on up to *end have the same one. 0: none. */
static int find_sequence(const struct conv_call *call, int64_t t, struct conv_run *run, int64_t *end)
{
    const struct conv *g = &call->g;
    int64_t low = 0, high = g->seqs + 1; /* the first entry above t is in [low, high] */
    if (!call->cu) {
        run->s = run->batch;
        run->start = 0;
        run->len = g->tokens;
        *end = g->tokens;
        return 1;
    }
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (call->cu[middle] > t)
            high = middle;
        else
            low = middle + 1;
    }
    *end = low <= g->seqs ? call->cu[low] : g->tokens;
    if (low == 0 || low > g->seqs)
        return 0;
    run->s = low - 1;
    run->start = call->cu[low - 1];
    run->len = call->cu[low] - run->start;
    return 1;
}

/* ---- units ---- */

static void clear_rows(const struct conv_call *call, const struct conv_run *run, int64_t t, int64_t end)
{
    const struct conv *g = &call->g;
    for (; t < end; t++)
        memset((char *)call->ptr[CONV(Y)] + run->batch * g->y[0] + t * g->y[1] + run->from * g->size, 0,
               (size_t)((run->to - run->from) * g->size));
}

static void do_unit(const struct conv_call *call, struct conv_run *run, int64_t t, int64_t end)
{
    const struct conv *g = &call->g;
    while (t < end) {
        int64_t stop;
        const int there = find_sequence(call, t, run, &stop);
        stop = stop < end ? stop : end;
        if (!there)
            clear_rows(call, run, t, stop);
        for (int64_t at = t; there && at < stop; at += CONV_ROWS)
            g->fn(call, run, at - run->start, stop - at < CONV_ROWS ? (int)(stop - at) : CONV_ROWS);
        t = stop;
    }
}

static void conv_task(void *context, uint32_t i)
{
    const struct conv_call *call = context;
    const struct conv *g = &call->g;
    const int64_t pieces = (g->tokens + g->rows - 1) / g->rows, groups = g->depthwise ? 1 : g->groups;
    struct conv_run run = {.scratch = (float *)(void *)(call->own + i * g->own)};
    int64_t unit, end;
    for (share_of(g->batches * groups * g->blocks * pieces, g->tasks, i, &unit, &end); unit < end; unit++) {
        const int64_t t = unit % pieces * g->rows, block = unit / pieces % g->blocks;
        run.group = unit / pieces / g->blocks % groups;
        run.batch = unit / pieces / g->blocks / groups;
        const int64_t first = g->depthwise ? 0 : run.group * g->cog, last = g->depthwise ? g->cout : first + g->cog;
        run.from = first + block * g->width;
        run.to = run.from + g->width < last ? run.from + g->width : last;
        do_unit(call, &run, t, t + g->rows < g->tokens ? t + g->rows : g->tokens);
    }
    if (g->stream)
        simd_fence();
}

/* ---- states ---- */

/* Rows are taken from at or after where they go: ascending, this is right in place too. */
static void state_task(void *context, uint32_t i)
{
    const struct conv_call *call = context;
    const struct conv *g = &call->g;
    const int64_t bytes = g->cin * g->size;
    int64_t s, end;
    for (share_of(g->seqs, g->tasks, i, &s, &end); s < end; s++) {
        struct conv_run run = {.s = s, .batch = call->cu ? 0 : s, .len = g->tokens};
        if (call->cu) {
            run.start = call->cu[s];
            run.len = call->cu[s + 1] - run.start;
        }
        char *to = (char *)call->ptr[CONV(STATE_OUT)] + s * g->n * bytes;
        for (int64_t j = 0; j < g->n; j++) {
            const char *from = conv_row(call, &run, run.len + j - g->n);
            if (from != to + j * bytes)
                memcpy(to + j * bytes, from, (size_t)bytes);
        }
    }
}

/* ---- the run ---- */

static void in_tasks(const struct cpu_plan *plan, uint32_t tasks, void (*task)(void *context, uint32_t i),
                     void *context)
{
    if (tasks == 1)
        task(context, 0);
    else if (tasks)
        plan->env->host->parallel(plan->env->host, tasks, task, context);
}

static void conv_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    unsigned char *room = workspace;
    struct conv_call call = {.g = *(const struct conv *)(const void *)plan->state, .ptr = ptr, .w = workspace};
    struct conv *g = &call.g;
    uint32_t flags[4] = {0};
    call.bias = (float *)(void *)(room + g->in_bias);
    call.zeros = (const char *)room + g->in_zeros;
    call.own = room + g->in_own;
    memset(room + g->in_zeros, 0, (size_t)(g->cin * g->size));
    g->stream = g->stream && (uintptr_t)ptr[CONV(Y)] % (VF * sizeof(float)) == 0;
    if (plan->tensor[CONV(CU_Q)].dtype) {
        call.cu = (int32_t *)(void *)(room + g->in_cu);
        flags[3] = sequences_clamp(ptr[CONV(CU_Q)], g->seqs, g->tokens, call.cu);
    }
    if (g->batches && g->tokens && g->cout) {
        struct pack pack = {&call, plan};
        in_tasks(plan, g->tasks, pack_task, &pack);
        in_tasks(plan, g->tasks, conv_task, &call);
    }
    if (plan->tensor[CONV(STATE_OUT)].dtype && g->n && g->cin)
        in_tasks(plan, g->tasks, state_task, &call);
    if (ptr[CONV(FLAGS)])
        memcpy(ptr[CONV(FLAGS)], flags, sizeof flags);
}

static void read_tensors(struct conv *g, const struct cpu_plan *plan)
{
    const struct tenon_causal_conv1d_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *x = &t[CONV(X)], *w = &t[CONV(W)];
    int64_t *const to[] = {g->x, g->gate, g->residual, g->y};
    static const uint32_t of[] = {CONV(X), CONV(GATE), CONV(RESIDUAL), CONV(Y)};
    g->dtype = x->dtype;
    g->size = TENON_DTYPE_SIZE(x->dtype);
    g->batches = x->dim[0];
    g->tokens = x->dim[1];
    g->cin = x->dim[2];
    g->cout = w->dim[0];
    g->cg = w->dim[1];
    g->taps = w->dim[2];
    g->groups = g->cin / g->cg;
    g->cog = g->groups ? g->cout / g->groups : 0;
    g->seqs = t[CONV(CU_Q)].dtype ? t[CONV(CU_Q)].dim[0] - 1 : g->batches;
    g->dil = p->dil;
    g->n = (g->taps - 1) * g->dil + p->offset;
    g->back = p->pad == CONV(SAME) ? (g->taps - 1) * g->dil / 2 : g->n;
    g->silu = p->act == CONV(SILU);
    g->depthwise = g->cg == 1 && g->cog == 1;
    for (int i = 0; i < 4; i++)
        for (int axis = 0; axis < 2; axis++)
            to[i][axis] = t[of[i]].dtype ? t[of[i]].stride[axis] * g->size : 0;
}

static uint64_t line(uint64_t bytes)
{
    return (bytes + 63) & ~UINT64_C(63);
}

static int32_t conv_plan(struct cpu_plan *plan)
{
    struct conv *g = (struct conv *)(void *)plan->state;
    const struct tenon_tensor *y = &plan->tensor[CONV(Y)];
    _Static_assert(sizeof *g <= sizeof plan->state, "the plan's room");
    read_tensors(g, plan);
    const int64_t per_group = g->depthwise ? g->cout : g->cog, groups = g->depthwise ? 1 : g->groups;
    g->padded = (per_group + VF - 1) / VF * VF;
    g->vectors = g->padded / VF;
    g->width = g->depthwise ? WIDTH : WIDTH_GROUP;
    g->rows = g->tokens < ROWS && g->tokens ? g->tokens : ROWS;
    const int64_t most = (int64_t)plan->env->threads * TASKS_PER_THREAD, pieces = (g->tokens + g->rows - 1) / g->rows;
    while (g->width > 4 * VF && g->batches * groups * pieces * (per_group / g->width) < most)
        g->width /= 2;
    g->blocks = (per_group + g->width - 1) / g->width;
    const int64_t units = g->batches * groups * g->blocks * pieces;
    const double work = (double)g->batches * (double)g->tokens * (double)g->cout * (double)(g->cg * g->taps + 16);
    const int alone = work < SMALL_WORK || plan->env->threads == 1;
    g->tasks = alone || units < 2 ? 1 : (uint32_t)(units < most ? units : most);
    g->fn = conv_fn_of(g);
    int64_t odd = 0; /* every row must begin where a vector may be streamed to */
    for (int axis = 0; axis < 2; axis++)
        odd |= y->dim[axis] > 1 ? g->y[axis] : 0;
    g->stream = g->dtype == TENON_F32 && g->depthwise && odd % (VF * (int64_t)sizeof(float)) == 0 &&
                tenon_tensor_bytes(y) > plan->env->l2 * 4;
    const uint64_t lanes = (uint64_t)(groups * g->padded), terms = (uint64_t)(g->taps * g->cg);
    g->in_bias = line(lanes * terms * 4);
    g->in_zeros = g->in_bias + line(lanes * 4);
    g->in_cu = g->in_zeros + line((uint64_t)(g->cin * g->size));
    g->in_own = g->in_cu + line(plan->tensor[CONV(CU_Q)].dtype ? (uint64_t)(g->seqs + 1) * 4 : 0);
    g->own = g->depthwise ? 0 : line(terms * CONV_ROWS * 4);
    plan->workspace = g->in_own + g->own * g->tasks;
    snprintf(plan->impl, sizeof plan->impl, "causal_conv1d_%s_%s_%s",
             !g->depthwise ? "groups"
             : conv_few(g) ? "few"
                           : "depthwise",
             tenon_dtype_name(g->dtype), CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(causal_conv1d) = {
    .op = TENON_OPNUM_causal_conv1d,
    .plan = conv_plan,
    .run = conv_run,
};
