/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention on the CPU, token by token. Every element of the state goes through the same operations in the same
 * order wherever it lies, and a sum over the rows of a column is one chain: so neither where a sequence is cut nor how
 * its columns are spread changes a bit. One vector of the state is loaded, decayed, written and read at once. */
#ifndef TENON_LINEAR_ATTENTION_CPU_STEP_H
#define TENON_LINEAR_ATTENTION_CPU_STEP_H

#include "lib/unroll.h"
#include "ops/linear_attention_cpu.h"

#if SIMD_REGS >= 32 || VF >= 8
#define LIN_NV 4 /* vectors of a row at a time: sums enough to hide their latency */
#else
#define LIN_NV 2
#endif
#define LIN_ROWS 8 /* rows of a state in memory that are taken together, so that it is read in its order */

enum { LIN_SAME, LIN_BY_ROW, LIN_BY_COLUMN }; /* decays */
enum { LIN_UNREAD, LIN_AFTER, LIN_BEFORE };

struct lin_step {
    const float *from;
    float *to; /* the state afterwards */
    int64_t from_row, to_row, k0, k1;
    const float *q, *k, *a; /* a: of each row, or of each column */
    int64_t a_step;         /* 0: all rows have one */
    const float *u;
    float *o;
};

SIMD_FN void lin_strip(const struct lin_step *p, const int nv, const int decay, const int read, int64_t c)
{
    vf o[LIN_NV], u[LIN_NV], a[LIN_NV];
    const float *from = p->from + p->k0 * p->from_row + c;
    float *to = p->to + p->k0 * p->to_row + c;
    UNROLL
    for (int v = 0; v < nv; v++) {
        o[v] = p->k0 && read ? vf_load(p->o + c + v * VF) : vf_zero();
        u[v] = vf_load(p->u + c + v * VF);
        a[v] = decay == LIN_BY_COLUMN ? vf_load(p->a + c + v * VF) : vf_zero();
    }
    for (int64_t r = p->k0; r < p->k1; r++, from += p->from_row, to += p->to_row) {
        const vf k = vf_set1(p->k[r]), q = vf_set1(p->q[r]);
        const vf row = decay == LIN_BY_ROW ? vf_set1(p->a[r * p->a_step]) : vf_zero();
        UNROLL
        for (int v = 0; v < nv; v++) {
            vf s = vf_load(from + v * VF);
            if (read == LIN_BEFORE)
                o[v] = vf_madd(q, s, o[v]);
            if (decay != LIN_SAME)
                s = vf_mul(s, decay == LIN_BY_ROW ? row : a[v]);
            s = vf_madd(k, u[v], s);
            vf_store(to + v * VF, s);
            if (read == LIN_AFTER)
                o[v] = vf_madd(q, s, o[v]);
        }
    }
    UNROLL
    for (int v = 0; v < nv && read; v++)
        vf_store(p->o + c + v * VF, o[v]);
}

#define LIN_STEP_(name, decay, read)                                                                                   \
    static __attribute__((noinline)) void name(const struct lin_step *p, int64_t columns)                              \
    {                                                                                                                  \
        int64_t c = 0;                                                                                                 \
        for (; c + LIN_NV * VF <= columns; c += LIN_NV * VF)                                                           \
            lin_strip(p, LIN_NV, decay, read, c);                                                                      \
        for (; c < columns; c += VF)                                                                                   \
            lin_strip(p, 1, decay, read, c);                                                                           \
    }
LIN_STEP_(lin_same, LIN_SAME, LIN_UNREAD)
LIN_STEP_(lin_same_after, LIN_SAME, LIN_AFTER)
LIN_STEP_(lin_same_before, LIN_SAME, LIN_BEFORE)
LIN_STEP_(lin_row_unread, LIN_BY_ROW, LIN_UNREAD)
LIN_STEP_(lin_row_after, LIN_BY_ROW, LIN_AFTER)
LIN_STEP_(lin_row_before, LIN_BY_ROW, LIN_BEFORE)
LIN_STEP_(lin_column, LIN_BY_COLUMN, LIN_UNREAD)
LIN_STEP_(lin_column_after, LIN_BY_COLUMN, LIN_AFTER)
LIN_STEP_(lin_column_before, LIN_BY_COLUMN, LIN_BEFORE)
#undef LIN_STEP_

/* o = S^T q of all rows; columns is a multiple of VF. Rows by twos: their sums do not wait for each other. */
SIMD_FN void lin_look_strip(const float *s, int64_t row, int64_t k, const float *q, const int nv, float *o)
{
    vf even[LIN_NV], odd[LIN_NV];
    UNROLL
    for (int v = 0; v < nv; v++)
        even[v] = odd[v] = vf_zero();
    int64_t r = 0;
    for (; r + 2 <= k; r += 2, s += 2 * row) {
        const vf q0 = vf_set1(q[r]), q1 = vf_set1(q[r + 1]);
        UNROLL
        for (int v = 0; v < nv; v++) {
            even[v] = vf_madd(q0, vf_load(s + v * VF), even[v]);
            odd[v] = vf_madd(q1, vf_load(s + row + v * VF), odd[v]);
        }
    }
    UNROLL
    for (int v = 0; v < nv; v++) {
        if (r < k)
            even[v] = vf_madd(vf_set1(q[r]), vf_load(s + v * VF), even[v]);
        vf_store(o + v * VF, vf_add(even[v], odd[v]));
    }
}

static __attribute__((noinline)) void lin_look(const float *s, int64_t row, int64_t k, const float *q, int64_t columns,
                                               float *o)
{
    int64_t c = 0;
    for (; c + LIN_NV * VF <= columns; c += LIN_NV * VF)
        lin_look_strip(s + c, row, k, q, LIN_NV, o + c);
    for (; c < columns; c += VF)
        lin_look_strip(s + c, row, k, q, 1, o + c);
}

/* u = beta (v - S^T (a . k)), in w->u. */
static void lin_delta(struct lin_work *w, int64_t i, const float *from, int64_t from_row)
{
    const struct lin_state *s = w->run->state;
    const uint32_t decay = w->run->p->decay;
    const float *k = w->k + i * s->kp, *v = w->v + i * w->vp;
    const vf beta = vf_set1(w->beta[i]);
    float *decayed = w->p; /* there is room for a row of k */
    for (int64_t c = 0; c < s->kp; c += VF) {
        vf x = vf_load(k + c);
        if (decay == LIN(KEY))
            x = vf_mul(x, vf_load(w->a + i * s->kp + c));
        else if (decay != LIN(NONE))
            x = vf_mul(x, vf_set1(w->a[i]));
        vf_store(decayed + c, x);
    }
    lin_look(from, from_row, s->k, decayed, w->vp, w->u);
    for (int64_t c = 0; c < w->vp; c += VF)
        vf_store(w->u + c, vf_mul(beta, vf_sub(vf_load(v + c), vf_load(w->u + c))));
}

/* Token i of those that are prepared, the i0 + i-th of its sequence: the state goes from `from` to `to`. */
static void lin_token(struct lin_work *w, int64_t i0, int64_t i, const float *from, int64_t from_row, float *to,
                      int64_t to_row)
{
    static void (*const steps[3][3])(const struct lin_step *, int64_t) = {
        {lin_same, lin_same_after, lin_same_before},
        {lin_row_unread, lin_row_after, lin_row_before},
        {lin_column, lin_column_after, lin_column_before}};
    const struct lin_state *s = w->run->state;
    const struct tenon_linear_attention_params *p = w->run->p;
    const int key = p->decay == LIN(KEY), value = p->decay == LIN(VALUE);
    const int decay = p->decay == LIN(NONE) ? LIN_SAME : value ? LIN_BY_COLUMN : LIN_BY_ROW;
    const int read = p->read == LIN(GROUP) ? LIN_UNREAD : p->read == LIN(EXCLUSIVE) ? LIN_BEFORE : LIN_AFTER;
    struct lin_step step = {.from = from,
                            .to = to,
                            .from_row = from_row,
                            .to_row = to_row,
                            .q = w->q + i * s->kp,
                            .k = w->k + i * s->kp,
                            .a = w->a + i * (key ? s->kp : value ? w->vp : 1),
                            .a_step = key,
                            .u = w->v + i * w->vp,
                            .o = w->o + i * w->vp};
    if (p->read == LIN(GROUP)) {
        if ((i0 + i) % p->group == 0)
            memcpy(w->was, from, (size_t)(s->k * w->vp) * sizeof *w->was);
        lin_look(w->was, w->vp, s->k, step.q, w->vp, step.o);
    }
    if (p->update == LIN(DELTA)) {
        lin_delta(w, i, from, from_row);
        step.u = w->u;
    }
    const int64_t rows = w->vp > LIN_NV * VF && from != to ? LIN_ROWS : s->k;
    for (; step.k0 < s->k; step.k0 = step.k1) {
        step.k1 = lin_least(step.k0 + rows, s->k);
        steps[decay][read](&step, w->vp);
    }
}

#endif
