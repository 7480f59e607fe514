/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention on the CPU, a chunk at a time: what its tokens do to each other is a small triangle, what the state
 * does to them and they to it are products of matrices (Yang et al. 2023, 2024). Decays are running products of factors
 * that nothing is divided by, so zeros and strong decays are as good as any. Chunks are short: the state is near, so
 * what a longer one would save is less than what its larger triangle costs. */
#ifndef TENON_LINEAR_ATTENTION_CPU_CHUNK_H
#define TENON_LINEAR_ATTENTION_CPU_CHUNK_H

#include "lib/panel.h"
#include "lib/transpose.h"
#include "ops/linear_attention_cpu_step.h"

#define LIN_LANES (LIN_CHUNK / VF) /* vectors of a row of the triangle */
#define LIN_SUMS  (LIN_LANES < 8 ? 8 / LIN_LANES : 1) /* rows of turned keys side by side: no sum waits for another */

static int lin_finite(const float *x, int64_t n)
{
    vf sum = vf_zero();
    for (int64_t c = 0; c < n; c += VF)
        sum = vf_madd(vf_load(x + c), vf_zero(), sum);
    return !vm_any(vf_isnan(sum));
}

/* The same of rows where they are, all columns; log: of what they are logarithms of. */
static int lin_rows_finite(const struct lin_work *w, uint32_t i, int64_t i0, int64_t n, int log)
{
    const struct tenon_tensor *t = &w->run->plan->tensor[i];
    const int64_t width = w->run->state->v;
    vf sum = vf_zero();
    for (int64_t j = 0; j < n; j++) {
        const int64_t at = lin_at(w, i, lin_row(w, i0 + j), 0);
        for (int64_t c = 0; c < width; c += VF) {
            const vf x = load_x(w->run->ptr[i], at + c, (int)lin_least(VF, width - c), t->dtype);
            sum = vf_madd(log ? lin_exp(x) : x, vf_zero(), sum);
        }
    }
    return !vm_any(vf_isnan(sum));
}

/* Whether a product with a factor 0 may stand for no product. All columns count, those of other blocks too: how a state
 * is cut into blocks must not change how a chunk is taken. */
static int lin_chunk_finite(const struct lin_work *w, int64_t i0, int64_t n)
{
    const struct lin_state *s = w->run->state;
    const uint32_t decay = w->run->p->decay, of = lin_decay_of(w);
    const int64_t a = decay == LIN(KEY) ? n * s->kp : decay == LIN(VALUE) ? n * w->vp : decay == LIN(NONE) ? 0 : n;
    int finite = lin_finite(w->q, n * s->kp) && lin_finite(w->k, n * s->kp) && lin_finite(w->v, n * w->vp);
    for (int64_t i = 0; i < a % VF; i++)
        finite &= w->a[a - 1 - i] * 0.0f == 0.0f;
    for (int64_t i = 0; i < n && w->run->p->update == LIN(DELTA); i++)
        finite &= w->beta[i] * 0.0f == 0.0f;
    finite = finite && lin_finite(w->a, a / VF * VF);
    if (!finite || s->blocks == 1)
        return finite;
    return lin_rows_finite(w, LIN(V), i0, n, 0) &&
           (decay != LIN(VALUE) || lin_rows_finite(w, of, i0, n, w->run->p->decay_form == LIN(LOG)));
}

/* c [m][columns] = or += a b in panels of `most` rows; lower: a is lower triangular, and a panel ends with its rows. */
static void lin_multiply(struct panel_product *p, int64_t m, int64_t columns, int64_t most, int lower)
{
    const float *a = p->a, *factor = p->factor;
    const int64_t k = p->k;
    float *c = p->c;
    for (int64_t i = 0; i < m; i += most) {
        const int64_t rows = lin_least(most, m - i);
        p->a = a + i * p->a_row;
        p->c = c + i * p->c_row;
        p->factor = factor ? factor + i * p->factor_step : NULL;
        p->k = lower ? lin_least(k, i + rows) : k;
        panel_multiply(p, rows, columns);
    }
}

/* turned[k][token] = k; 0 beyond n tokens. */
static void lin_turn(struct lin_work *w, int64_t n)
{
    const struct lin_state *s = w->run->state;
    memset(w->k + n * s->kp, 0, (size_t)((LIN_CHUNK - n) * s->kp) * sizeof *w->k);
    for (int64_t c = 0; c < s->kp; c += VF)
        for (int64_t i = 0; i < LIN_CHUNK; i += VF) {
            vf square[VF];
            UNROLL
            for (int j = 0; j < VF; j++)
                square[j] = vf_load(w->k + (i + j) * s->kp + c);
            transpose(square);
            UNROLL
            for (int j = 0; j < VF; j++)
                vf_store(w->turned + (c + j) * LIN_CHUNK + i, square[j]);
        }
}

/* Lanes j < n of a row of the triangle times `by` (NULL: 1) and factor, 0 beyond. */
SIMD_FN void lin_mask(float *row, const float *by, float factor, int64_t n)
{
    UNROLL
    for (int j = 0; j < LIN_LANES; j++) {
        const int64_t count = n - j * VF;
        vf x = vf_load(row + j * VF);
        if (by)
            x = vf_mul(x, vf_mul(vf_load(by + j * VF), vf_set1(factor)));
        else
            x = vf_mul(x, vf_set1(factor));
        vf_store(row + j * VF, vf_keep(vm_first(count < 0 ? 0 : count > VF ? VF : (int)count), x));
    }
}

/* What a chunk with one decay a token leaves for the products. */
struct lin_chunk {
    const float *read; /* or NULL: of each token, what S^T q is multiplied by */
    const float *held; /* or NULL: DELTA, what S^T k is multiplied by */
    const float *keys; /* decayed to the end of the chunk; element (k, token) at k * keys_k + token * keys_token */
    int64_t keys_k, keys_token;
    const float *end; /* or NULL: what the state is multiplied by, of each row */
    int64_t end_step;
    float pre[LIN_CHUNK], before[LIN_CHUNK], past[LIN_CHUNK], all;
};

/* The triangles p = q k^T and g = k k^T, decayed; NONE, HEAD, TOKEN. */
static void lin_chunk_scalar(struct lin_work *w, int64_t n, struct lin_chunk *c)
{
    const struct lin_state *s = w->run->state;
    const struct tenon_linear_attention_params *p = w->run->p;
    const int decay = p->decay != LIN(NONE), delta = p->update == LIN(DELTA), before = p->read == LIN(EXCLUSIVE);
    float past[LIN_CHUNK] __attribute__((aligned(64))) = {0}, pre = 1.0f;
    struct panel_product triangle = {
        .a = w->q, .a_row = s->kp, .a_k = 1, .b = w->turned, .b_row = LIN_CHUNK, .k = s->k, .c = w->p, .zero = 1};
    triangle.c_row = LIN_CHUNK;
    lin_turn(w, n);
    lin_multiply(&triangle, n, LIN_CHUNK, PANEL_MR, 0);
    if (delta) {
        triangle.a = w->k;
        triangle.c = w->g;
        lin_multiply(&triangle, n, LIN_CHUNK, PANEL_MR, 0);
    }
    for (int64_t i = 0; i < n; i++) {
        float *row = w->p + i * LIN_CHUNK;
        c->before[i] = pre;
        if (before)
            lin_mask(row, past, 1.0f, i);
        if (decay) {
            for (int j = 0; j < LIN_CHUNK; j += VF)
                vf_store(past + j, vf_mul(vf_load(past + j), vf_set1(w->a[i])));
            pre *= w->a[i];
        }
        c->pre[i] = pre;
        if (delta)
            lin_mask(w->g + i * LIN_CHUNK, past, w->beta[i], i);
        past[i] = 1.0f;
        if (!before)
            lin_mask(row, past, 1.0f, i + 1);
    }
    for (int j = 0; j < LIN_CHUNK; j += VF)
        vf_store(c->past + j, vf_load(past + j));
    c->all = pre;
    c->read = !decay ? NULL : before ? c->before : c->pre;
    c->held = decay ? c->pre : NULL;
    c->keys = w->k;
    c->keys_k = 1;
    c->keys_token = s->kp;
    c->end = decay ? &c->all : NULL;
    c->end_step = 0;
}

/* One token's row of a triangle from turned keys, which are decayed to it as they pass: lanes below i by a. `key`: the
 * token itself, for DELTA, or NULL. */
SIMD_FN void lin_pass(const struct lin_work *w, int64_t i, const float *a, const float *q, const float *key,
                      const int before, const int both, float *to_q, float *to_k)
{
    const int64_t kp = w->run->state->kp;
    float *at = w->turned;
    vf sum[LIN_SUMS][LIN_LANES], other[LIN_SUMS][LIN_LANES];
    vm past[LIN_LANES];
    for (int j = 0; j < LIN_LANES; j++)
        past[j] = vm_first(i < j * VF ? 0 : i - j * VF > VF ? VF : (int)(i - j * VF));
    UNROLL
    for (int r = 0; r < LIN_SUMS; r++) {
        UNROLL
        for (int j = 0; j < LIN_LANES; j++)
            sum[r][j] = other[r][j] = vf_zero();
    }
    for (int64_t k = 0; k < kp; k += LIN_SUMS) {
        UNROLL
        for (int r = 0; r < LIN_SUMS; r++, at += LIN_CHUNK) {
            const vf factor = vf_set1(a[k + r]), x = vf_set1(q[k + r]), y = both ? vf_set1(key[k + r]) : vf_zero();
            UNROLL
            for (int j = 0; j < LIN_LANES; j++) {
                const vf old = vf_load(at + j * VF), next = vf_select(past[j], vf_mul(old, factor), old);
                vf_store(at + j * VF, next);
                sum[r][j] = vf_madd(x, before ? old : next, sum[r][j]);
                if (both)
                    other[r][j] = vf_madd(y, next, other[r][j]);
            }
        }
    }
    UNROLL
    for (int half = LIN_SUMS / 2; half > 0; half /= 2) {
        UNROLL
        for (int r = 0; r < half; r++) {
            UNROLL
            for (int j = 0; j < LIN_LANES; j++) {
                sum[r][j] = vf_add(sum[r][j], sum[r + half][j]);
                other[r][j] = vf_add(other[r][j], other[r + half][j]);
            }
        }
    }
    UNROLL
    for (int j = 0; j < LIN_LANES; j++) {
        vf_store(to_q + j * VF, sum[0][j]);
        if (both)
            vf_store(to_k + j * VF, other[0][j]);
    }
}

static void lin_chunk_key_token(const struct lin_work *w, int64_t i, int before, int delta)
{
    const struct lin_state *s = w->run->state;
    const float *a = w->a + i * s->kp, *q = w->q + i * s->kp, *k = w->k + i * s->kp;
    float *p = w->p + i * LIN_CHUNK, *g = w->g + i * LIN_CHUNK;
    if (delta && before)
        lin_pass(w, i, a, q, k, 1, 1, p, g);
    else if (delta)
        lin_pass(w, i, a, q, k, 0, 1, p, g);
    else if (before)
        lin_pass(w, i, a, q, k, 1, 0, p, g);
    else
        lin_pass(w, i, a, q, k, 0, 0, p, g);
}

/* The same; KEY. q and k take in the decays since the start of the chunk. */
static void lin_chunk_key(struct lin_work *w, int64_t n, struct lin_chunk *c)
{
    const struct lin_state *s = w->run->state;
    const struct tenon_linear_attention_params *p = w->run->p;
    const int delta = p->update == LIN(DELTA), before = p->read == LIN(EXCLUSIVE);
    float *pre = w->u; /* there is room for a row of k */
    lin_turn(w, n);
    for (int64_t k = 0; k < s->kp; k += VF)
        vf_store(pre + k, vf_set1(1.0f));
    for (int64_t i = 0; i < n; i++) {
        float *q = w->q + i * s->kp, *key = w->k + i * s->kp;
        lin_chunk_key_token(w, i, before, delta);
        lin_mask(w->p + i * LIN_CHUNK, NULL, 1.0f, before ? i : i + 1);
        if (delta)
            lin_mask(w->g + i * LIN_CHUNK, NULL, w->beta[i], i);
        for (int64_t k = 0; k < s->kp; k += VF) {
            const vf old = vf_load(pre + k), next = vf_mul(old, vf_load(w->a + i * s->kp + k));
            vf_store(q + k, vf_mul(vf_load(q + k), before ? old : next));
            if (delta)
                vf_store(key + k, vf_mul(vf_load(key + k), next));
            vf_store(pre + k, next);
        }
    }
    c->read = c->held = NULL;
    c->keys = w->turned;
    c->keys_k = LIN_CHUNK;
    c->keys_token = 1;
    c->end = pre;
    c->end_step = 1;
}

/* (I + g) u = beta (v - held S^T k), by forward substitution in w->v. */
SIMD_FN void lin_solve_strip(const struct lin_work *w, int64_t n, const int nv, int64_t c)
{
    for (int64_t i = 1; i < n; i++) {
        float *to = w->v + i * w->vp + c;
        vf u[LIN_NV];
        UNROLL
        for (int v = 0; v < nv; v++)
            u[v] = vf_load(to + v * VF);
        for (int64_t j = 0; j < i; j++) {
            const vf g = vf_set1(-w->g[i * LIN_CHUNK + j]);
            UNROLL
            for (int v = 0; v < nv; v++)
                u[v] = vf_madd(g, vf_load(w->v + j * w->vp + c + v * VF), u[v]);
        }
        UNROLL
        for (int v = 0; v < nv; v++)
            vf_store(to + v * VF, u[v]);
    }
}

static void lin_solve(struct lin_work *w, int64_t n, const struct lin_chunk *chunk)
{
    const struct lin_state *s = w->run->state;
    struct panel_product held = {.a = w->k, .a_row = s->kp, .a_k = 1, .b = w->s, .b_row = w->vp, .k = s->k, .c = w->o};
    held.c_row = w->vp;
    held.zero = 1;
    int64_t c = 0;
    lin_multiply(&held, n, w->vp, PANEL_MR, 0);
    for (int64_t i = 0; i < n; i++) {
        const vf beta = vf_set1(w->beta[i]), pre = vf_set1(chunk->held ? chunk->held[i] : 1.0f);
        float *v = w->v + i * w->vp;
        const float *o = w->o + i * w->vp;
        for (c = 0; c < w->vp; c += VF)
            vf_store(v + c, vf_mul(beta, vf_sub(vf_load(v + c), vf_mul(pre, vf_load(o + c)))));
    }
    for (c = 0; c + LIN_NV * VF <= w->vp; c += LIN_NV * VF)
        lin_solve_strip(w, n, LIN_NV, c);
    for (; c < w->vp; c += VF)
        lin_solve_strip(w, n, 1, c);
}

/* VALUE: values decay, column by column, and so does what the state gives. */
SIMD_FN void lin_value_strip(struct lin_work *w, int64_t n, const int nv, int64_t c)
{
    const int before = w->run->p->read == LIN(EXCLUSIVE);
    const struct lin_state *s = w->run->state;
    vf pre[LIN_NV];
    UNROLL
    for (int v = 0; v < nv; v++)
        pre[v] = vf_set1(1.0f);
    for (int64_t i = 0; i < n; i++) {
        const float *p = w->p + i * LIN_CHUNK;
        float *to = w->o + i * w->vp + c;
        vf o[LIN_NV], a[LIN_NV];
        UNROLL
        for (int v = 0; v < nv; v++) {
            a[v] = vf_load(w->a + i * w->vp + c + v * VF);
            const vf next = vf_mul(pre[v], a[v]);
            o[v] = vf_mul(before ? pre[v] : next, vf_load(to + v * VF));
            pre[v] = next;
        }
        for (int64_t j = 0; j < i; j++) {
            const vf x = vf_set1(p[j]);
            float *at = w->v + j * w->vp + c;
            UNROLL
            for (int v = 0; v < nv; v++) {
                const vf old = vf_load(at + v * VF), next = vf_mul(old, a[v]);
                vf_store(at + v * VF, next);
                o[v] = vf_madd(x, before ? old : next, o[v]);
            }
        }
        UNROLL
        for (int v = 0; v < nv; v++)
            vf_store(to + v * VF, before ? o[v] : vf_madd(vf_set1(p[i]), vf_load(w->v + i * w->vp + c + v * VF), o[v]));
    }
    for (int64_t r = 0; r < s->k; r++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            vf_store(w->s + r * w->vp + c + v * VF, vf_mul(pre[v], vf_load(w->s + r * w->vp + c + v * VF)));
    }
}

/* o = S^T q, of the state at the start of the chunk. */
static void lin_chunk_read(struct lin_work *w, int64_t n)
{
    const struct lin_state *s = w->run->state;
    struct panel_product read = {.a = w->q, .a_row = s->kp, .a_k = 1, .b = w->s, .b_row = w->vp, .k = s->k, .c = w->o};
    read.c_row = w->vp;
    read.zero = 1;
    lin_multiply(&read, n, w->vp, PANEL_MR, 0);
}

/* Keys that have one decay a token go on to the end of the chunk. */
static void lin_chunk_decay(struct lin_work *w, int64_t n, const struct lin_chunk *c)
{
    const int64_t kp = w->run->state->kp;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < kp; k += VF)
            vf_store(w->k + i * kp + k, vf_mul(vf_load(w->k + i * kp + k), vf_set1(c->past[i])));
}

/* S = end S + keys v. */
static void lin_chunk_write(struct lin_work *w, int64_t n, const struct lin_chunk *c)
{
    struct panel_product write = {
        .a = c->keys, .a_row = c->keys_k, .a_k = c->keys_token, .b = w->v, .b_row = w->vp, .k = n, .c = w->s};
    write.c_row = w->vp;
    write.factor = c->end;
    write.factor_step = c->end_step;
    lin_multiply(&write, w->run->state->k, w->vp, PANEL_MR, 0);
}

static void lin_chunk_value(struct lin_work *w, int64_t n)
{
    const struct lin_state *s = w->run->state;
    struct lin_chunk keys = {.keys = w->k, .keys_k = 1, .keys_token = s->kp};
    struct panel_product triangle = {
        .a = w->q, .a_row = s->kp, .a_k = 1, .b = w->turned, .b_row = LIN_CHUNK, .k = s->k, .c = w->p, .zero = 1};
    int64_t c = 0;
    triangle.c_row = LIN_CHUNK;
    lin_turn(w, n);
    lin_multiply(&triangle, n, LIN_CHUNK, PANEL_MR, 0);
    lin_chunk_read(w, n);
    for (; c + LIN_NV * VF <= w->vp; c += LIN_NV * VF)
        lin_value_strip(w, n, LIN_NV, c);
    for (; c < w->vp; c += VF)
        lin_value_strip(w, n, 1, c);
    lin_chunk_write(w, n, &keys);
}

/* n prepared tokens, i0 the first of them; 0: they must be taken one by one. */
static int lin_chunk(struct lin_work *w, int64_t i0, int64_t n)
{
    const struct tenon_linear_attention_params *p = w->run->p;
    struct lin_chunk c;
    int64_t rows = PANEL_MR;
    if (!lin_chunk_finite(w, i0, n))
        return 0;
    if (p->decay == LIN(VALUE)) {
        lin_chunk_value(w, n);
        return 1;
    }
    if (p->decay == LIN(KEY))
        lin_chunk_key(w, n, &c);
    else
        lin_chunk_scalar(w, n, &c);
    if (p->update == LIN(DELTA)) {
        lin_solve(w, n, &c);
        if (!lin_finite(w->v, n * w->vp)) /* which no row before may meet, not even times 0 */
            rows = 1;
    }
    lin_chunk_read(w, n);
    struct panel_product near = {
        .a = w->p, .a_row = LIN_CHUNK, .a_k = 1, .b = w->v, .b_row = w->vp, .k = n, .c = w->o, .c_row = w->vp};
    near.factor = c.read;
    near.factor_step = 1;
    lin_multiply(&near, n, w->vp, rows, 1);
    if (c.read)
        lin_chunk_decay(w, n, &c);
    lin_chunk_write(w, n, &c);
    return 1;
}

#endif
