/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention on the CPU: what its parts share. An item is one sequence, one head and some columns of its state,
 * which meet no other columns: the state stays in the caches of one worker, from the first token to the last. Tokens
 * are widened to f32 some at a time, then taken one by one (linear_attention_cpu_step.h) or as products
 * (linear_attention_cpu_chunk.h). */
#ifndef TENON_LINEAR_ATTENTION_CPU_H
#define TENON_LINEAR_ATTENTION_CPU_H

#include <stdatomic.h>
#include <stdio.h>

#include <tenon/ops/linear_attention.h>

#include "cpu.h"
#include "lib/element.h"
#include "lib/exp.h"
#include "lib/pack.h"

#define LIN(name) TENON_LINEAR_ATTENTION_##name
#define LIN_CHUNK 16 /* tokens that are prepared together, and taken together */

/* Lives in cpu_plan.state. */
struct lin_state {
    int64_t b, t, hs, k, v, sequences;
    int64_t kp;                  /* K up to whole vectors */
    int64_t columns, vp, blocks; /* of a block: columns, the same up to whole vectors; blocks of a state */
    int64_t chunk_from;          /* the shortest sequence that is taken in chunks */
    uint32_t packed, workers;
    float scale;
    uint64_t at_starts, at_bad, at_norm, at_workers, worker_bytes;
    uint64_t in_q, in_k, in_v, in_a, in_qn, in_kn, in_side, in_o, in_u, in_p, in_g, in_turned, in_s, in_was, in_z,
        in_both; /* of a worker */
};

struct lin_run {
    const struct cpu_plan *plan;
    const struct lin_state *state;
    const struct tenon_linear_attention_params *p;
    void *const *ptr;
    char *workspace;
    int32_t *starts;         /* packed: where sequences begin */
    unsigned char *bad;      /* or NULL: of each row of o, whether it is not finite */
    const float *norm_state; /* as it was before any of it was written */
    atomic_uint_fast64_t next;
};

/* What a worker has at hand. Rows of q, k, qn and kn are kp wide, those of v, u and o vp. */
struct lin_work {
    const struct lin_run *run;
    float *q, *k, *v, *a, *qn, *kn, *beta, *den, *o, *u, *p, *g, *turned, *s, *was, *z, *z_was, *both;
    /* the item */
    int64_t n, h, first, columns, vp; /* sequence, head, columns of the state; vp: up to whole vectors */
    int64_t b, t0, len;               /* rows of the sequence */
    int reverse, sweep;
};

static inline int64_t lin_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t lin_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t lin_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

static inline int lin_given(const struct lin_run *run, uint32_t i)
{
    return run->plan->tensor[i].dtype != TENON_ABSENT;
}

/* Row of token i of the item's sequence, in the order of the sweep. */
static inline int64_t lin_row(const struct lin_work *w, int64_t i)
{
    return w->t0 + (w->reverse ? w->len - 1 - i : i);
}

/* Element (b, row, head h, column) of a tensor with four axes, whose heads may be fewer. */
static int64_t lin_at(const struct lin_work *w, uint32_t i, int64_t row, int64_t column)
{
    const struct tenon_tensor *t = &w->run->plan->tensor[i];
    const int64_t head = w->h * t->dim[2] / w->run->state->hs;
    return w->b * t->stride[0] + row * t->stride[1] + head * t->stride[2] + column;
}

/* Rows of a tensor with four axes, of consecutive tokens. Rows lie far apart, often a page: nothing but this asks for
 * those of the tokens that are prepared next. */
struct lin_rows {
    const void *from;
    int64_t at, step, width; /* elements: of the first row, from row to row, of a row */
    float *to;
    int64_t to_row;
    float factor;
};

SIMD_FN void lin_widen(const struct lin_rows *r, int64_t n, const uint32_t dtype, const int scaled)
{
    const uintptr_t size = TENON_DTYPE_SIZE(dtype);
    const uintptr_t soon = (uintptr_t)r->from + size * (uintptr_t)(LIN_CHUNK * r->step);
    int64_t at = r->at;
    float *to = r->to;
    for (int64_t i = 0; i < n; i++, at += r->step, to += r->to_row)
        for (int64_t c = 0; c < r->width; c += VF) {
            const vf x = load_x(r->from, at + c, (int)lin_least(VF, r->width - c), dtype);
            simd_prefetch_far((const void *)(soon + size * (uintptr_t)(at + c)));
            vf_store(to + c, scaled ? vf_mul(x, vf_set1(r->factor)) : x);
        }
}

/* Tokens i0 .. i0 + n: columns first .. first + width, as floats (times factor, if that is not 1), zeros up to a whole
 * vector. */
static void lin_prepare_rows(const struct lin_work *w, uint32_t i, int64_t i0, int64_t n, int64_t first, int64_t width,
                             float factor, float *to, int64_t to_row)
{
    const struct tenon_tensor *t = &w->run->plan->tensor[i];
    const struct lin_rows r = {.from = w->run->ptr[i],
                               .at = lin_at(w, i, lin_row(w, i0), first),
                               .step = w->reverse ? -t->stride[1] : t->stride[1],
                               .width = width,
                               .to = to,
                               .to_row = to_row,
                               .factor = factor};
    const int scaled = factor != 1.0f;
    if (t->dtype == TENON_F32 && scaled)
        lin_widen(&r, n, TENON_F32, 1);
    else if (t->dtype == TENON_F32)
        lin_widen(&r, n, TENON_F32, 0);
    else if (t->dtype == TENON_F16)
        lin_widen(&r, n, TENON_F16, 1);
    else
        lin_widen(&r, n, TENON_BF16, 1);
}

/* e^x, past what vf_exp takes: what is too large is Inf. */
SIMD_FN vf lin_exp(vf x)
{
    const vf most = vf_set1(87.5f);
    vf e = vf_exp(vf_min(most, x));
    if (vm_any(vf_gt(x, most)))
        e = vf_select(vf_gt(x, most), vf_mul(e, vf_exp(vf_min(most, vf_sub(x, most)))), e);
    return e;
}

/* One number a token and head. */
static void lin_prepare_numbers(const struct lin_work *w, uint32_t i, int64_t i0, int64_t n, float *to)
{
    const struct lin_state *s = w->run->state;
    const uint32_t dtype = w->run->plan->tensor[i].dtype;
    for (int64_t j = 0; j < n; j++)
        to[j] = pack_one(dtype, w->run->ptr[i], (w->b * s->t + lin_row(w, i0 + j)) * s->hs + w->h);
}

/* The decays of a sweep. */
static uint32_t lin_decay_of(const struct lin_work *w)
{
    return w->sweep && lin_given(w->run, LIN(DECAY_B)) ? LIN(DECAY_B) : LIN(DECAY);
}

/* Decays of n tokens: one number each, or a row each. */
static void lin_prepare_decay(const struct lin_work *w, int64_t i0, int64_t n)
{
    const struct lin_run *run = w->run;
    const struct lin_state *s = run->state;
    const uint32_t i = lin_decay_of(w);
    int64_t count = n;
    if (run->p->decay == LIN(KEY)) {
        lin_prepare_rows(w, i, i0, n, 0, s->k, 1.0f, w->a, s->kp);
        count = n * s->kp;
    } else if (run->p->decay == LIN(VALUE)) {
        lin_prepare_rows(w, i, i0, n, w->first, w->columns, 1.0f, w->a, w->vp);
        count = n * w->vp;
    } else if (run->p->decay == LIN(TOKEN)) {
        lin_prepare_numbers(w, i, i0, n, w->a);
    } else {
        for (int64_t j = 0; j < n; j++)
            w->a[j] = pack_one(run->plan->tensor[i].dtype, run->ptr[i], w->h);
    }
    if (run->p->decay_form != LIN(LOG))
        return;
    for (int64_t c = count; c % VF; c++) /* nobody reads what becomes of these */
        w->a[c] = 0.0f;
    for (int64_t c = 0; c < count; c += VF)
        vf_store(w->a + c, lin_exp(vf_load(w->a + c)));
}

/* The lines of a row of o: on their way while it is computed. */
static void lin_ask(const struct lin_work *w, int64_t row)
{
    const uint32_t dtype = w->run->plan->tensor[LIN(O)].dtype;
    const uintptr_t size = TENON_DTYPE_SIZE(dtype), line = 64;
    const uintptr_t at = (uintptr_t)w->run->ptr[LIN(O)] + size * (uintptr_t)lin_at(w, LIN(O), row, w->first);
    for (uintptr_t i = 0; i < size * (uintptr_t)w->columns; i += line)
        __builtin_prefetch((const void *)(at + i), 1);
}

/* Tokens i0 .. i0 + n of the item, as floats. */
static void lin_prepare(const struct lin_work *w, int64_t i0, int64_t n)
{
    const struct lin_run *run = w->run;
    const struct lin_state *s = run->state;
    lin_prepare_rows(w, LIN(Q), i0, n, 0, s->k, s->scale, w->q, s->kp);
    lin_prepare_rows(w, LIN(K), i0, n, 0, s->k, 1.0f, w->k, s->kp);
    lin_prepare_rows(w, LIN(V), i0, n, w->first, w->columns, 1.0f, w->v, w->vp);
    if (lin_given(run, LIN(QN)))
        lin_prepare_rows(w, LIN(QN), i0, n, 0, s->k, s->scale, w->qn, s->kp);
    if (lin_given(run, LIN(KN)))
        lin_prepare_rows(w, LIN(KN), i0, n, 0, s->k, 1.0f, w->kn, s->kp);
    if (lin_given(run, LIN(BETA)))
        lin_prepare_numbers(w, LIN(BETA), i0, n, w->beta);
    if (run->p->decay != LIN(NONE))
        lin_prepare_decay(w, i0, n);
    for (int64_t i = 0; i < n; i++)
        lin_ask(w, lin_row(w, i0 + i));
}

/* ---- the normaliser ---- */

/* Four sums side by side: one would wait for itself. */
static float lin_dot(const float *x, const float *y, int64_t n)
{
    vf sum[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t c = 0;
    for (; c + 4 * VF <= n; c += 4 * VF)
        for (int j = 0; j < 4; j++)
            sum[j] = vf_madd(vf_load(x + c + j * VF), vf_load(y + c + j * VF), sum[j]);
    for (; c < n; c += VF)
        sum[0] = vf_madd(vf_load(x + c), vf_load(y + c), sum[0]);
    return vf_reduce_add(vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3])));
}

/* z = a . z + kn. */
static void lin_norm_write(struct lin_work *w, int64_t i)
{
    const struct lin_state *s = w->run->state;
    const uint32_t decay = w->run->p->decay;
    const float *kn = (lin_given(w->run, LIN(KN)) ? w->kn : w->k) + i * s->kp;
    for (int64_t c = 0; c < s->kp; c += VF) {
        vf z = vf_load(w->z + c);
        if (decay == LIN(KEY))
            z = vf_mul(z, vf_load(w->a + i * s->kp + c));
        else if (decay != LIN(NONE))
            z = vf_mul(z, vf_set1(w->a[i]));
        vf_store(w->z + c, vf_add(z, vf_load(kn + c)));
    }
}

/* den of n tokens from i0 on; read: the state that a query reads, or of NONCAUSAL that all tokens made. */
static void lin_norm(struct lin_work *w, int64_t i0, int64_t n, int write, int read)
{
    const struct lin_state *s = w->run->state;
    const struct tenon_linear_attention_params *p = w->run->p;
    for (int64_t i = 0; i < n; i++) {
        const float *qn = (lin_given(w->run, LIN(QN)) ? w->qn : w->q) + i * s->kp, *z = w->z;
        if (p->read == LIN(GROUP)) {
            if ((i0 + i) % p->group == 0)
                memcpy(w->z_was, w->z, (size_t)s->kp * sizeof *w->z);
            z = w->z_was;
        }
        if (read && p->read != LIN(INCLUSIVE))
            w->den[i] = lin_dot(qn, z, s->kp);
        if (write)
            lin_norm_write(w, i);
        if (read && p->read == LIN(INCLUSIVE))
            w->den[i] = lin_dot(qn, z, s->kp);
    }
}

#endif
