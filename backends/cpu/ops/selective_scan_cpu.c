/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan on the CPU. Channels are the lanes; a unit of work is some channels of one group of one sequence, over
 * all of its tokens. Its states and rates lie in L1 with the channels next to each other; a few tokens are taken at
 * once, so that rows are read along the channels. A lane's operations are those of its channel alone, in one order. */
#include <stdio.h>

#include <tenon/ops/selective_scan.h>

#include "cpu.h"
#include "lib/silu.h"
#include "lib/element.h"
#include "lib/log.h"
#include "lib/sequences.h"
#include "lib/transpose.h"

#define SCAN(NAME)       TENON_SELECTIVE_SCAN_##NAME
#define ROWS             8                  /* tokens taken at once */
#define WIDTH            256                /* channels of a unit */
#define EACH             (VF == 16 ? 8 : 4) /* exponentials that are made step by step */
#define SMALL_WORK       (1 << 14)
#define TASKS_PER_THREAD 4
#define TINY             0x1p-126f

/* Lives in cpu_plan.state. */
struct scan {
    int64_t batches, tokens, d, n, groups, seqs;
    int64_t u[2], dt[2], z[2], y[2], b[3], c[3]; /* bytes from batch to batch, token to token, group to group */
    int64_t size, width, blocks;                 /* bytes of an element of u; channels of a unit, units of a group */
    uint64_t in_own, own;                        /* bytes into the workspace; of a task */
    float lo, hi;
    uint32_t type, dt_type, a_type, b_type, c_type, d_type, bias_type;
    uint32_t plain, log, softplus, limit, stream, tasks;
};

struct call {
    struct scan g;
    void *const *ptr;
    int32_t *cu; /* NULL: sequences are batches */
    unsigned char *own;
};

/* A unit. a, h: [vector][n][VF]; b, c: [ROWS][n]; skip, bias: a float a channel. */
struct unit {
    const struct call *call;
    int64_t s, batch, start, len, group, from, to;
    float *a, *h, *b, *c, *skip, *bias;
};

/* ---- functions ---- */

/* Of a type that is no constant: one jump, always the same. */
SIMD_FN vf load_any(const void *p, int64_t i, int n, uint32_t dtype)
{
    if (dtype == TENON_F32)
        return load_x(p, i, n, TENON_F32);
    return dtype == TENON_F16 ? load_x(p, i, n, TENON_F16) : load_x(p, i, n, TENON_BF16);
}

/* e^x[i] of any x. */
SIMD_FN void exp_any(vf *x, const int count)
{
    const vf limit = vf_set1(87.0f);
    vf raw[EACH];
    vm large = vf_gt(x[0], limit);
    for (int i = 0; i < count; i++) {
        raw[i] = x[i];
        large = vm_or(large, vf_gt(x[i], limit));
    }
    vf_exp_each(x, count);
    if (!vm_any(large)) /* which decays are not */
        return;
    for (int i = 0; i < count; i++) {
        const vf half = vf_exp(vf_min(vf_mul(raw[i], vf_set1(0.5f)), limit));
        x[i] = vf_select(vf_gt(raw[i], limit), vf_mul(half, half), x[i]);
    }
}

/* log(1 + e^x); what 1 + e^x is rounded by comes back as a term of its own. */
SIMD_FN vf softplus(vf x)
{
    const vf one = vf_set1(1.0f), e = vf_exp(vf_min(x, vf_set1(20.0f))), sum = vf_add(e, one);
    const vf y = vf_add(vf_log(sum), vf_div(vf_sub(e, vf_sub(sum, one)), sum));
    return vf_select(vf_gt(x, vf_set1(20.0f)), x, vf_select(vf_isnan(x), x, y));
}

/* ---- rows of states and rates, channels next to each other ---- */

/* to[n][VF] = from[channel][n] of `count` channels, the other lanes 0. */
static void spread_in(const void *from, uint32_t dtype, int64_t first, int64_t n, int count, float *to)
{
    for (int64_t i = 0; i < n; i += VF) {
        const int some = n - i < VF ? (int)(n - i) : VF;
        vf square[VF];
        for (int lane = 0; lane < VF; lane++)
            square[lane] = lane < count && from ? load_any(from, (first + lane) * n + i, some, dtype) : vf_zero();
        transpose(square);
        for (int k = 0; k < some; k++)
            vf_store(to + (i + k) * VF, square[k]);
    }
}

static void spread_out(const float *from, int64_t first, int64_t n, int count, float *to)
{
    for (int64_t i = 0; i < n; i += VF) {
        const int some = n - i < VF ? (int)(n - i) : VF;
        vf square[VF];
        for (int k = 0; k < VF; k++)
            square[k] = k < some ? vf_load(from + (i + k) * VF) : vf_zero();
        transpose(square);
        for (int lane = 0; lane < count; lane++)
            vf_store_n(to + (first + lane) * n + i, square[lane], some);
    }
}

/* ---- tokens ---- */

static const char *row_of(const struct unit *w, uint32_t tensor, const int64_t *stride, int64_t t)
{
    return (const char *)w->call->ptr[tensor] + w->batch * stride[0] + (w->start + t) * stride[1];
}

/* b and c of `count` tokens, as floats. */
static void widen(const struct unit *w, int64_t t, int count)
{
    const struct scan *g = &w->call->g;
    for (int r = 0; r < count; r++) {
        const char *b = row_of(w, SCAN(BM), g->b, t + r) + w->group * g->b[2];
        const char *c = row_of(w, SCAN(CM), g->c, t + r) + w->group * g->c[2];
        for (int64_t i = 0; i < g->n; i += VF) {
            const int some = g->n - i < VF ? (int)(g->n - i) : VF;
            vf_store_n(w->b + r * g->n + i, load_any(b, i, some, g->b_type), some);
            vf_store_n(w->c + r * g->n + i, load_any(c, i, some, g->c_type), some);
        }
    }
}

SIMD_FN vf keep_normal(vf h)
{
    return vf_keep(vf_nlt(vf_abs(h), vf_set1(TINY)), h);
}

/* States i .. i + count of one token; their part of y. */
SIMD_FN vf advance(const float *a, float *h, const float *b, const float *c, vf step, vf input, vf y, const int count)
{
    vf e[EACH];
    SIMD_UNROLL_MAYBE for (int i = 0; i < count; i++) e[i] = vf_mul(step, vf_load(a + i * VF));
    exp_any(e, count);
    SIMD_UNROLL_MAYBE for (int i = 0; i < count; i++)
    {
        const vf next = keep_normal(vf_madd(e[i], vf_load(h + i * VF), vf_mul(input, vf_set1(b[i]))));
        vf_store(h + i * VF, next);
        y = vf_madd(vf_set1(c[i]), next, y);
    }
    return y;
}

SIMD_FN vf step_of(const struct unit *w, vf dt, int64_t lane)
{
    const struct scan *g = &w->call->g;
    vf step = vf_add(dt, vf_load(w->bias + lane));
    if (g->softplus)
        step = softplus(step);
    if (g->limit) { /* a NaN stays */
        step = vf_select(vf_lt(step, vf_set1(g->lo)), vf_set1(g->lo), step);
        step = vf_select(vf_gt(step, vf_set1(g->hi)), vf_set1(g->hi), step);
    }
    return step;
}

/* `count` tokens of the channels from c on, n of them. */
SIMD_FN void ssm_vector(const struct unit *w, int64_t t, int count, int64_t c, int n, const uint32_t dtype)
{
    const struct call *call = w->call;
    const struct scan *g = &call->g;
    const int64_t lane = c - w->from;
    float *h = w->h + lane * g->n;
    const float *a = w->a + lane * g->n;
    for (int r = 0; r < count; r++) {
        const vf u = load_x(row_of(w, SCAN(U), g->u, t + r), c, n, dtype);
        const vf dt = load_any(row_of(w, SCAN(DT), g->dt, t + r), c, n, g->dt_type);
        const vf step = step_of(w, dt, lane), input = vf_mul(step, u);
        const float *b = w->b + r * g->n, *from = w->c + r * g->n;
        vf y = vf_zero();
        int64_t i = 0;
        for (; i + EACH <= g->n; i += EACH)
            y = advance(a + i * VF, h + i * VF, b + i, from + i, step, input, y, EACH);
        for (; i < g->n; i++)
            y = advance(a + i * VF, h + i * VF, b + i, from + i, step, input, y, 1);
        if (call->ptr[SCAN(DSKIP)])
            y = vf_madd(vf_load(w->skip + lane), u, y);
        if (call->ptr[SCAN(Z)])
            y = vf_mul(y, silu_short(load_x(row_of(w, SCAN(Z), g->z, t + r), c, n, dtype)));
        store_y((char *)call->ptr[SCAN(Y)] + w->batch * g->y[0] + (w->start + t + r) * g->y[1], c, y, n, dtype,
                (int)g->stream);
    }
}

SIMD_FN void plain_vector(const struct unit *w, int64_t t, int count, int64_t c, int n, const uint32_t dtype)
{
    const struct call *call = w->call;
    const struct scan *g = &call->g;
    vf h = vf_load(w->h + c - w->from);
    for (int r = 0; r < count; r++) {
        vf a = load_any(row_of(w, SCAN(DT), g->dt, t + r), c, n, g->dt_type);
        if (g->log)
            exp_any(&a, 1);
        h = keep_normal(vf_madd(a, h, load_x(row_of(w, SCAN(U), g->u, t + r), c, n, dtype)));
        store_y((char *)call->ptr[SCAN(Y)] + w->batch * g->y[0] + (w->start + t + r) * g->y[1], c, h, n, dtype,
                (int)g->stream);
    }
    vf_store(w->h + c - w->from, h);
}

#define SCAN_ROWS(kind, name, dtype)                                                                                   \
    static void kind##_##name(const struct unit *w, int64_t t, int count)                                              \
    {                                                                                                                  \
        for (int64_t c = w->from; c < w->to; c += VF)                                                                  \
            kind##_vector(w, t, count, c, w->to - c < VF ? (int)(w->to - c) : VF, dtype);                              \
    }
SCAN_ROWS(ssm, f32, TENON_F32)
SCAN_ROWS(ssm, f16, TENON_F16)
SCAN_ROWS(ssm, bf16, TENON_BF16)
SCAN_ROWS(plain, f32, TENON_F32)
SCAN_ROWS(plain, f16, TENON_F16)
SCAN_ROWS(plain, bf16, TENON_BF16)

typedef void rows_fn(const struct unit *w, int64_t t, int count);

static rows_fn *rows_of(const struct scan *g)
{
    static rows_fn *const fns[2][3] = {{ssm_f32, ssm_f16, ssm_bf16}, {plain_f32, plain_f16, plain_bf16}};
    return fns[g->plain][g->type == TENON_F32 ? 0 : g->type == TENON_F16 ? 1 : 2];
}

/* ---- units ---- */

static void load_channels(const struct unit *w, uint32_t tensor, uint32_t dtype, float *to)
{
    const void *from = w->call->ptr[tensor];
    for (int64_t c = w->from; c < w->to; c += VF) {
        const int n = w->to - c < VF ? (int)(w->to - c) : VF;
        vf_store(to + c - w->from, from ? load_any(from, c, n, dtype) : vf_zero());
    }
}

static void do_unit(const struct unit *w)
{
    const struct scan *g = &w->call->g;
    const float *state = w->call->ptr[SCAN(STATE)];
    float *out = w->call->ptr[SCAN(STATE_OUT)];
    rows_fn *rows = rows_of(g);
    const int64_t own = w->s * g->d;
    for (int64_t c = w->from; c < w->to; c += VF) {
        const int n = w->to - c < VF ? (int)(w->to - c) : VF;
        spread_in(state, TENON_F32, own + c, g->n, n, w->h + (c - w->from) * g->n);
        if (!g->plain)
            spread_in(w->call->ptr[SCAN(A)], g->a_type, c, g->n, n, w->a + (c - w->from) * g->n);
    }
    if (!g->plain) {
        load_channels(w, SCAN(DSKIP), g->d_type, w->skip);
        load_channels(w, SCAN(DT_BIAS), g->bias_type, w->bias);
    }
    for (int64_t t = 0; t < w->len; t += ROWS) {
        const int count = w->len - t < ROWS ? (int)(w->len - t) : ROWS;
        if (!g->plain)
            widen(w, t, count);
        rows(w, t, count);
    }
    for (int64_t c = w->from; out && c < w->to; c += VF)
        spread_out(w->h + (c - w->from) * g->n, own + c, g->n, w->to - c < VF ? (int)(w->to - c) : VF, out);
}

static void scan_task(void *context, uint32_t task)
{
    const struct call *call = context;
    const struct scan *g = &call->g;
    const int64_t units = g->seqs * g->groups * g->blocks, each = units / g->tasks, rest = units % g->tasks;
    const int64_t begin = each * task + (task < rest ? task : rest), end = begin + each + (task < rest);
    float *own = (float *)(void *)(call->own + task * g->own);
    const int64_t lanes = (g->width + VF - 1) / VF * VF, per_group = g->groups ? g->d / g->groups : 0;
    struct unit w = {.call = call, .h = own, .a = own + lanes * g->n, .b = own + 2 * lanes * g->n};
    w.c = w.b + ROWS * g->n;
    w.skip = w.c + ROWS * g->n;
    w.bias = w.skip + lanes;
    for (int64_t i = begin; i < end; i++) {
        const int64_t block = i % g->blocks;
        w.group = i / g->blocks % g->groups;
        w.s = i / g->blocks / g->groups;
        w.batch = call->cu ? 0 : w.s;
        w.start = call->cu ? call->cu[w.s] : 0;
        w.len = call->cu ? call->cu[w.s + 1] - w.start : g->tokens;
        w.from = w.group * per_group + block * g->width;
        w.to = w.from + g->width < (w.group + 1) * per_group ? w.from + g->width : (w.group + 1) * per_group;
        do_unit(&w);
    }
    if (g->stream)
        simd_fence();
}

/* ---- the run ---- */

/* y of tokens that are in no sequence. */
static void clear_others(const struct call *call)
{
    const struct scan *g = &call->g;
    for (int64_t t = 0; t < g->tokens; t++) {
        if (t == call->cu[0])
            t = call->cu[g->seqs];
        if (t < g->tokens)
            memset((char *)call->ptr[SCAN(Y)] + t * g->y[1], 0, (size_t)(g->d * g->size));
    }
}

static void scan_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    struct call call = {.g = *(const struct scan *)(const void *)plan->state, .ptr = ptr};
    uint32_t flags[4] = {0};
    call.own = (unsigned char *)workspace + call.g.in_own;
    call.g.stream = call.g.stream && (uintptr_t)ptr[SCAN(Y)] % (VF * sizeof(float)) == 0;
    if (plan->tensor[SCAN(CU_Q)].dtype) {
        call.cu = workspace;
        flags[3] = sequences_clamp(ptr[SCAN(CU_Q)], call.g.seqs, call.g.tokens, call.cu);
        if (call.g.d)
            clear_others(&call);
    }
    if (call.g.tasks == 1)
        scan_task(&call, 0);
    else if (call.g.tasks)
        plan->env->host->parallel(plan->env->host, call.g.tasks, scan_task, &call);
    if (ptr[SCAN(FLAGS)])
        memcpy(ptr[SCAN(FLAGS)], flags, sizeof flags);
}

static void read_tensors(struct scan *g, const struct cpu_plan *plan)
{
    const struct tenon_selective_scan_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor;
    int64_t *const to[] = {g->u, g->dt, g->z, g->y, g->b, g->c};
    static const uint32_t of[] = {SCAN(U), SCAN(DT), SCAN(Z), SCAN(Y), SCAN(BM), SCAN(CM)};
    uint32_t *const types[] = {&g->type, &g->dt_type, &g->a_type, &g->b_type, &g->c_type, &g->d_type, &g->bias_type};
    static const uint32_t typed[] = {SCAN(U), SCAN(DT), SCAN(A), SCAN(BM), SCAN(CM), SCAN(DSKIP), SCAN(DT_BIAS)};
    for (int i = 0; i < 6; i++)
        for (int axis = 0; axis < (i < 4 ? 2 : 3); axis++)
            to[i][axis] = t[of[i]].dtype ? t[of[i]].stride[axis] * TENON_DTYPE_SIZE(t[of[i]].dtype) : 0;
    for (int i = 0; i < 7; i++)
        *types[i] = t[typed[i]].dtype;
    g->size = TENON_DTYPE_SIZE(g->type);
    g->batches = t[SCAN(U)].dim[0];
    g->tokens = t[SCAN(U)].dim[1];
    g->d = t[SCAN(U)].dim[2];
    g->plain = p->mode == SCAN(PLAIN);
    g->n = g->plain ? 1 : t[SCAN(A)].dim[1];
    g->groups = g->plain ? 1 : t[SCAN(BM)].dim[2];
    g->seqs = t[SCAN(CU_Q)].dtype ? t[SCAN(CU_Q)].dim[0] - 1 : g->batches;
    g->log = p->decay == SCAN(LOG);
    g->softplus = p->softplus;
    g->limit = p->limit;
    g->lo = p->dt_lo;
    g->hi = p->dt_hi;
}

static int32_t scan_plan(struct cpu_plan *plan)
{
    struct scan *g = (struct scan *)(void *)plan->state;
    const struct tenon_tensor *y = &plan->tensor[SCAN(Y)];
    _Static_assert(sizeof *g <= sizeof plan->state, "the plan's room");
    read_tensors(g, plan);
    const int64_t per_group = g->d / g->groups, most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    g->width = WIDTH;
    while (g->width > 4 * VF && g->seqs * g->groups * (per_group / g->width) < most)
        g->width /= 2;
    g->blocks = (per_group + g->width - 1) / g->width;
    const int64_t units = g->seqs * g->groups * g->blocks;
    const double work = (double)(g->batches * g->tokens) * (double)g->d * (double)(g->plain ? 1 : 16 * g->n);
    const int alone = work < SMALL_WORK || plan->env->threads == 1;
    g->tasks = alone || units < 2 ? units > 0 : (uint32_t)(units < most ? units : most);
    int64_t odd =
        g->groups > 1 ? per_group * 4 : 0; /* every piece of a row must begin where a vector may be streamed */
    for (int axis = 0; axis < 2; axis++)
        odd |= y->dim[axis] > 1 ? g->y[axis] : 0;
    g->stream =
        g->type == TENON_F32 && odd % (VF * (int64_t)sizeof(float)) == 0 && tenon_tensor_bytes(y) > plan->env->l2 * 4;
    const uint64_t lanes = (uint64_t)((g->width + VF - 1) / VF * VF), n = (uint64_t)g->n;
    g->in_own = plan->tensor[SCAN(CU_Q)].dtype ? ((uint64_t)(g->seqs + 1) * 4 + 63) & ~UINT64_C(63) : 0;
    g->own = (2 * lanes * n + 2 * ROWS * n + 2 * lanes) * 4;
    g->own = (g->own + 63) & ~UINT64_C(63);
    plan->workspace = g->in_own + g->own * g->tasks;
    snprintf(plan->impl, sizeof plan->impl, "selective_scan_%s_%s_%s", g->plain ? "plain" : "ssm",
             tenon_dtype_name(g->type), CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(selective_scan) = {
    .op = TENON_OPNUM_selective_scan,
    .plan = scan_plan,
    .run = scan_run,
};
