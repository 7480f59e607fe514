/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention on the CPU: items, their states, and what becomes of what they read. */
#include <math.h>

#include "lib/flush.h"
#include "lib/sequences.h"
#include "ops/linear_attention_cpu_chunk.h"

#define LIN_CACHED    3 / 4 /* of a cache, for a state */
#define LIN_NARROWEST 32    /* columns of a block: for each of them q, k and decays are prepared again */

/* ---- plan ---- */

static uint64_t lin_take(uint64_t *used, int64_t floats)
{
    const uint64_t at = *used;
    *used += ((uint64_t)floats * sizeof(float) + 63) / 64 * 64;
    return at;
}

/* Columns of a block: the state stays in L1 where it is met token by token, in L2 where it is met in chunks. */
static void lin_plan_blocks(const struct cpu_plan *plan, struct lin_state *s)
{
    const struct tenon_linear_attention_params *p = (const void *)plan->params;
    const int near = p->mode == LIN(RECURRENT) && s->t > 1;
    const int64_t cache = (int64_t)(near ? plan->env->l1 : plan->env->l2), row = s->k * (int64_t)sizeof(float);
    const int64_t fit = (cache ? cache : 32768) * LIN_CACHED / row / LIN_NARROWEST * LIN_NARROWEST;
    const double cost = 6.0 * (double)s->b * (double)s->t * (double)s->hs * (double)s->k * (double)s->v;
    if (cost / (2 * VF) > 30000)
        s->workers = plan->env->threads;
    s->columns = lin_least(s->v, lin_most(fit, LIN_NARROWEST));
    while (s->workers > 1 && s->columns >= 2 * LIN_NARROWEST &&
           s->sequences * s->hs * ((s->v + s->columns - 1) / s->columns) < 2 * (int64_t)s->workers)
        s->columns = lin_up(s->columns / 2, LIN_NARROWEST);
    s->blocks = (s->v + s->columns - 1) / s->columns;
    s->vp = lin_up(s->columns, VF);
}

static int32_t lin_plan(struct cpu_plan *plan)
{
    struct lin_state *s = (void *)plan->state;
    const struct tenon_linear_attention_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *o = &t[LIN(O)];
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    *s = (struct lin_state){.b = o->dim[0],
                            .t = o->dim[1],
                            .hs = o->dim[2],
                            .k = t[LIN(Q)].dim[3],
                            .v = o->dim[3],
                            .packed = t[LIN(CU_Q)].dtype != TENON_ABSENT,
                            .workers = 1};
    s->sequences = s->packed ? t[LIN(CU_Q)].dim[0] - 1 : s->b;
    s->kp = lin_up(s->k, VF);
    s->scale = p->scale == 0.0f ? (float)(1.0 / sqrt((double)s->k)) : p->scale;
    s->chunk_from = p->mode == LIN(RECURRENT) || p->read == LIN(GROUP) ? INT64_MAX : p->mode == LIN(CHUNKED) ? 1 : 17;
    lin_plan_blocks(plan, s);
    const int normal = p->norm != LIN(NORM_NONE), group = p->read == LIN(GROUP), wide = s->kp > s->vp;
    const int64_t k = s->kp * LIN_CHUNK, v = s->vp * LIN_CHUNK, square = LIN_CHUNK * LIN_CHUNK;
    uint64_t *bytes = &s->worker_bytes;
    s->in_q = lin_take(bytes, k);
    s->in_k = lin_take(bytes, k);
    s->in_v = lin_take(bytes, v);
    s->in_a = lin_take(bytes, (p->decay == LIN(KEY) ? k : p->decay == LIN(VALUE) ? v : LIN_CHUNK) + VF);
    s->in_qn = lin_take(bytes, t[LIN(QN)].dtype ? k : 0);
    s->in_kn = lin_take(bytes, t[LIN(KN)].dtype ? k : 0);
    s->in_side = lin_take(bytes, 2 * LIN_CHUNK + VF);
    s->in_o = lin_take(bytes, v);
    s->in_u = lin_take(bytes, wide ? s->kp : s->vp);
    s->in_p = lin_take(bytes, lin_most(square, s->kp));
    s->in_g = lin_take(bytes, square);
    s->in_turned = lin_take(bytes, k);
    s->in_s = lin_take(bytes, s->k * s->vp);
    s->in_was = lin_take(bytes, group ? s->k * s->vp : 0);
    s->in_z = lin_take(bytes, normal ? 2 * s->kp : 0);
    s->in_both = lin_take(bytes, p->direction == LIN(BIDIR) ? s->t * s->vp : 0);
    plan->workspace = 0;
    s->at_starts = lin_take(&plan->workspace, s->packed ? s->sequences + 1 : 0);
    s->at_bad = lin_take(&plan->workspace, t[LIN(FLAGS)].dtype ? (s->b * s->t * s->hs + 3) / 4 : 0);
    s->at_norm = lin_take(&plan->workspace, t[LIN(NORM_STATE)].dtype ? s->sequences * s->hs * s->k : 0);
    s->at_workers = plan->workspace;
    plan->workspace += s->workers * s->worker_bytes;
    snprintf(plan->impl, sizeof plan->impl, "%s: %s, %lld columns", CPU_ISA_NAME,
             s->t < s->chunk_from ? "token by token" : "chunks", (long long)s->columns);
    return TENON_OK;
}

/* ---- items ---- */

static float *lin_state_at(const struct lin_work *w, uint32_t i)
{
    const struct lin_state *s = w->run->state;
    float *state = w->run->ptr[i];
    return state ? state + (w->n * s->hs + w->h) * s->k * s->v + w->first : NULL;
}

static void lin_open(struct lin_work *w, int64_t item)
{
    const struct lin_run *run = w->run;
    const struct lin_state *s = run->state;
    w->first = item % s->blocks * s->columns;
    w->h = item / s->blocks % s->hs;
    w->n = item / s->blocks / s->hs;
    w->columns = lin_least(s->columns, s->v - w->first);
    w->vp = lin_up(w->columns, VF);
    w->b = s->packed ? 0 : w->n;
    w->t0 = s->packed ? run->starts[w->n] : 0;
    w->len = s->packed ? run->starts[w->n + 1] - w->t0 : s->t;
}

/* The states at the start of a sweep. */
static void lin_load(struct lin_work *w)
{
    const struct lin_state *s = w->run->state;
    const float *state = lin_state_at(w, LIN(STATE)), *z = w->run->norm_state;
    for (int64_t r = 0; r < s->k; r++)
        for (int64_t c = 0; c < w->vp; c += VF)
            vf_store(w->s + r * w->vp + c,
                     state ? vf_load_n(state + r * s->v + c, (int)lin_least(VF, w->columns - c)) : vf_zero());
    if (w->run->p->norm) {
        memset(w->z, 0, (size_t)s->kp * sizeof *w->z);
        if (z)
            memcpy(w->z, z + (w->n * s->hs + w->h) * s->k, (size_t)s->k * sizeof *w->z);
    }
}

static void lin_store(const struct lin_work *w)
{
    const struct lin_state *s = w->run->state;
    float *state = lin_state_at(w, LIN(STATE_OUT));
    for (int64_t r = 0; r < s->k && state; r++)
        memcpy(state + r * s->v, w->s + r * w->vp, (size_t)w->columns * sizeof *state);
}

static void lin_store_norm(const struct lin_work *w)
{
    const struct lin_state *s = w->run->state;
    float *z = w->run->ptr[LIN(NORM_STATE_OUT)];
    if (z && w->first == 0)
        memcpy(z + (w->n * s->hs + w->h) * s->k, w->z, (size_t)s->k * sizeof *z);
}

/* What tokens i0 .. i0 + n read, divided and summed as it shall be, into o. */
static void lin_emit_row(const struct lin_work *w, int64_t row, float *o)
{
    const struct lin_run *run = w->run;
    const struct lin_state *s = run->state;
    const struct tenon_tensor *t = &run->plan->tensor[LIN(O)];
    char *to = (char *)run->ptr[LIN(O)] +
               lin_at(w, LIN(O), row, w->first) * (int64_t)TENON_DTYPE_SIZE(t->dtype);
    for (int64_t c = 0; c < w->vp; c += VF) /* + 0: a sum that is 0 is +0, whatever products of 0 it has */
        vf_store(o + c, vf_add(vf_load(o + c), vf_zero()));
    for (int64_t c = 0; c < w->columns; c += VF)
        store_y(to, c, vf_load(o + c), (int)lin_least(VF, w->columns - c), t->dtype, 0);
    if (run->bad && !lin_finite(o, w->vp)) /* several threads may have columns of the row */
        __atomic_store_n(&run->bad[(w->b * s->t + row) * s->hs + w->h], 1, __ATOMIC_RELAXED);
}

static void lin_divide(const struct lin_work *w, float *o, float den)
{
    const struct tenon_linear_attention_params *p = w->run->p;
    const float sum = den + p->eps, size = fabsf(den);
    const vf by = vf_set1(p->norm == LIN(SUM) ? sum : size < 1.0f ? 1.0f : size);
    for (int64_t c = 0; c < w->vp; c += VF)
        vf_store(o + c, p->norm == LIN(SUM) && sum == 0.0f ? vf_zero() : vf_div(vf_load(o + c), by));
}

static void lin_emit(struct lin_work *w, int64_t i0, int64_t n)
{
    const struct tenon_linear_attention_params *p = w->run->p;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = lin_row(w, i0 + i);
        float *o = w->o + i * w->vp, *both = w->both + (row - w->t0) * w->vp;
        if (p->norm)
            lin_divide(w, o, w->den[i]);
        if (p->direction == LIN(BIDIR) && w->sweep == 0) {
            memcpy(both, o, (size_t)w->vp * sizeof *both);
            continue;
        }
        if (p->direction == LIN(BIDIR))
            for (int64_t c = 0; c < w->vp; c += VF)
                vf_store(o + c, vf_mul(vf_set1(p->w_bi), vf_add(vf_load(both + c), vf_load(o + c))));
        lin_emit_row(w, row, o);
    }
}

/* One token, whose state goes from memory to memory. */
static int lin_in_place(struct lin_work *w)
{
    const struct lin_state *s = w->run->state;
    const float *from = lin_state_at(w, LIN(STATE));
    float *to = lin_state_at(w, LIN(STATE_OUT));
    if (w->len != 1 || s->chunk_from == 1 || !from || !to || w->columns != w->vp || w->run->p->read == LIN(GROUP))
        return 0;
    lin_prepare(w, 0, 1);
    if (w->run->p->norm) {
        lin_load(w);
        lin_norm(w, 0, 1, 1, 1);
        lin_store_norm(w);
    }
    lin_token(w, 0, 0, from, s->v, to, s->v);
    lin_emit(w, 0, 1);
    return 1;
}

/* All tokens of a sweep in its order. */
static void lin_sweep(struct lin_work *w)
{
    const struct lin_state *s = w->run->state;
    lin_load(w);
    for (int64_t i0 = 0; i0 < w->len; i0 += LIN_CHUNK) {
        const int64_t n = lin_least(LIN_CHUNK, w->len - i0);
        lin_prepare(w, i0, n);
        if (w->run->p->norm)
            lin_norm(w, i0, n, 1, 1);
        if (w->len < s->chunk_from || !lin_chunk(w, i0, n))
            for (int64_t i = 0; i < n; i++)
                lin_token(w, i0, i, w->s, w->vp, w->s, w->vp);
        lin_emit(w, i0, n);
    }
}

/* One state of all tokens, which all read. */
static void lin_noncausal(struct lin_work *w)
{
    const struct lin_state *s = w->run->state;
    const struct lin_chunk keys = {.keys = w->k, .keys_k = 1, .keys_token = s->kp};
    lin_load(w);
    for (int read = 0; read < 2; read++)
        for (int64_t i0 = 0; i0 < w->len; i0 += LIN_CHUNK) {
            const int64_t n = lin_least(LIN_CHUNK, w->len - i0);
            lin_prepare(w, i0, n);
            if (w->run->p->norm)
                lin_norm(w, i0, n, !read, read);
            if (read) {
                lin_chunk_read(w, n);
                lin_emit(w, i0, n);
            } else {
                lin_chunk_write(w, n, &keys);
            }
        }
}

static void lin_item(struct lin_work *w, int64_t item)
{
    const struct tenon_linear_attention_params *p = w->run->p;
    lin_open(w, item);
    w->sweep = 0;
    w->reverse = p->direction == LIN(REVERSE);
    if (lin_in_place(w))
        return;
    if (p->direction == LIN(NONCAUSAL)) {
        lin_noncausal(w);
        return;
    }
    lin_sweep(w);
    if (p->direction == LIN(BIDIR)) {
        w->sweep = w->reverse = 1;
        lin_sweep(w);
    }
    lin_store(w);
    lin_store_norm(w);
}

/* ---- run ---- */

static void lin_worker(void *context, uint32_t worker)
{
    struct lin_run *run = context;
    const struct lin_state *s = run->state;
    const int64_t items = s->sequences * s->hs * s->blocks;
    char *own = run->workspace + s->at_workers + worker * s->worker_bytes;
#define OWN(at) (float *)(void *)(own + s->at)
    struct lin_work w = {.run = run,
                         .q = OWN(in_q),
                         .k = OWN(in_k),
                         .v = OWN(in_v),
                         .a = OWN(in_a),
                         .qn = OWN(in_qn),
                         .kn = OWN(in_kn),
                         .den = OWN(in_side),
                         .o = OWN(in_o),
                         .u = OWN(in_u),
                         .p = OWN(in_p),
                         .g = OWN(in_g),
                         .turned = OWN(in_turned),
                         .s = OWN(in_s),
                         .was = OWN(in_was),
                         .z = OWN(in_z),
                         .both = OWN(in_both)};
#undef OWN
    const uint64_t mode = flush_begin();
    w.beta = w.den + LIN_CHUNK;
    w.z_was = w.z + s->kp;
    for (;;) {
        const int64_t i = (int64_t)atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (i >= items)
            break;
        lin_item(&w, i);
    }
    flush_end(mode);
}

/* Rows of packed tensors that are in no sequence. */
static uint32_t lin_outside(const struct lin_run *run)
{
    const struct lin_state *s = run->state;
    const struct tenon_tensor *t = &run->plan->tensor[LIN(O)];
    const int64_t size = (int64_t)TENON_DTYPE_SIZE(t->dtype);
    uint32_t rows = 0;
    for (int64_t i = 0; i < s->t; i++) {
        if (i == run->starts[0])
            i = run->starts[s->sequences];
        for (int64_t h = 0; h < s->hs && i < s->t; h++, rows++)
            memset((char *)run->ptr[LIN(O)] + (i * t->stride[1] + h * t->stride[2]) * size, 0, (size_t)(s->v * size));
    }
    return rows;
}

static void lin_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct lin_state *s = (const void *)plan->state;
    const struct cpu_env *env = plan->env;
    struct lin_run run = {
        .plan = plan, .state = s, .p = (const void *)plan->params, .ptr = ptr, .workspace = workspace};
    const size_t rows = (size_t)(s->b * s->t * s->hs);
    uint32_t *flags = ptr[LIN(FLAGS)], changed = 0, outside = 0, bad = 0;
    if (s->packed) {
        run.starts = (int32_t *)(void *)(run.workspace + s->at_starts);
        changed = sequences_clamp(ptr[LIN(CU_Q)], s->sequences, s->t, run.starts);
        outside = rows ? lin_outside(&run) : 0;
    }
    if (flags) {
        run.bad = (unsigned char *)run.workspace + s->at_bad;
        memset(run.bad, 0, rows);
    }
    if (ptr[LIN(NORM_STATE)]) {
        float *was = (float *)(void *)(run.workspace + s->at_norm);
        memcpy(was, ptr[LIN(NORM_STATE)], (size_t)(s->sequences * s->hs * s->k) * sizeof *was);
        run.norm_state = was;
    }
    atomic_init(&run.next, 0);
    if (s->workers > 1)
        env->host->parallel(env->host, s->workers, lin_worker, &run);
    else
        lin_worker(&run, 0);
    if (flags) {
        for (size_t i = 0; i < rows; i++)
            bad += run.bad[i];
        flags[0] = bad;
        flags[1] = outside;
        flags[2] = 0;
        flags[3] = changed;
    }
}

const struct cpu_op CPU_OP_TABLE(linear_attention);
const struct cpu_op CPU_OP_TABLE(linear_attention) = {
    .op = TENON_OPNUM_linear_attention,
    .plan = lin_plan,
    .run = lin_run,
};
