/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, the whole family: what its rows have in common. The logits of a row are computed once and kept,
 * in y where that is f32, else in the workspace; what does not exist is GONE there, a NaN that no input can be, because
 * a NaN that comes in is made quiet and empty. All passes read the logits in blocks of 16 columns. */
#ifndef TENON_SOFTMAX_CPU_LOGITS_H
#define TENON_SOFTMAX_CPU_LOGITS_H

#include "lib/select_row.h"
#include "softmax_cpu_row.h"

#define GONE_BITS 0x7fc0dead

/* Of one row, beside struct row. */
struct family {
    const struct tenon_softmax_params *p;
    float *v;                 /* the logits */
    unsigned char *select;    /* support TOPK: room for lib/select_row.h */
    float *set;               /* SPARSEMAX, ENTMAX15: each tile's entries near the maximum, moved to its front */
    int32_t *counts;          /* how many of a tile they are */
    int32_t cut;              /* support TOPK: keys above it stay, and those equal up to .. */
    int64_t last, last_nan;   /* .. this column; NaNs up to that one */
    int64_t wanted;           /* of those with the key `cut` (or NaNs) the one that column_of asks for */
    float theta;              /* support STAT_TOPK: what is above it stays */
    float before, after;      /* z = v * before * after, by a power of two too small where it might overflow */
    float one, c;             /* STABLEMAX: 1 and its factor; QUAD_NORM: c; SOFTPICK: e^-K (so scaled) */
    float sum;                /* y = term / sum */
    float bias;               /* SIGMOID */
    float factor, shift;      /* SCALE: y = v * before * factor * shift */
    double tau;               /* SPARSEMAX, ENTMAX15, relative to the maximum */
    float value;              /* of a row that is filled */
    float width;              /* CLIP: zeta - gamma */
    int32_t arg;              /* HARD */
    uint8_t high;             /* SOFTPICK: there may be z >= 1 */
};

static float gone(void)
{
    return simd_float(GONE_BITS);
}

SIMD_FN vm is_gone(vf v)
{
    return vi_eq(vi_bits(v), vi_set1(GONE_BITS));
}

/* The logits of n columns from c on; past n GONE. */
SIMD_FN void take(const struct family *f, int64_t c, int n, vf *v)
{
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        v[b] = load_x(f->v, c + b * VF, k, TENON_F32);
        if (n != STEP)
            v[b] = vf_select(vm_first(k), v[b], vf_set1(simd_float(GONE_BITS)));
    }
}

/* ---- the first pass, and what is known of the logits ---- */

struct survey {
    vf m[BLOCK_VECTORS], m2[BLOCK_VECTORS], reach[BLOCK_VECTORS];
    vi arg[BLOCK_VECTORS];
    int32_t n, above, nan, positive, bad;
};

SIMD_FN void survey_block(const struct row *r, int64_t c, int n, struct survey *t)
{
    const vf low = vf_set1(MINUS_INF);
    vf v[STEP_VECTORS];
    take(r->family, c, n, v);
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        const vm there = vm_not(is_gone(v[b])), above = vf_gt(v[b], low), more = vf_gt(v[b], t->m[k]);
        t->n += vm_count(there);
        t->above += vm_count(above);
        t->nan += vm_count(vm_and(there, vf_isnan(v[b])));
        t->positive += vm_count(vf_gt(v[b], vf_zero()));
        t->m2[k] = vf_select(more, t->m[k], vf_max(v[b], t->m2[k]));
        t->arg[k] = vi_select(more, vi_add(vi_iota(), vi_set1((int32_t)c + b * VF)), t->arg[k]);
        t->m[k] = vf_max(v[b], t->m[k]);
        t->reach[k] = vf_max(vf_keep(above, vf_abs(v[b])), t->reach[k]);
        if (r->in.mult) {
            const vf mult = load_x(r->in.mult, c + b * VF, step_count(n, b), TENON_F32);
            const vm fine = vm_and(vf_ge(mult, vf_zero()), vf_lt(mult, vf_set1(INFINITY)));
            t->bad += vm_count(vm_andnot(there, fine));
        }
    }
}

static void survey_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    struct survey t = {.n = 0};
    float m[BLOCK], m2[BLOCK];
    int32_t arg[BLOCK];
    int64_t c = c0;
    (void)s;
    block_set(t.m, MINUS_INF);
    block_set(t.m2, MINUS_INF);
    block_set(t.reach, 0.0f);
    BLOCK_EACH(b)
        t.arg[b] = vi_set1(-1);
#define CALL(c, n) survey_block(r, c, n, &t)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
    BLOCK_EACH(b) {
        vf_store(m + b * VF, t.m[b]);
        vf_store(m2 + b * VF, t.m2[b]);
        vi_store(arg + b * VF, t.arg[b]);
    }
    part->m = part->m2 = MINUS_INF;
    part->arg = -1;
    for (int l = 0; l < BLOCK; l++)
        merge_top(part, m[l], m2[l], arg[l]);
    part->reach = block_max(t.reach);
    part->n = t.above;
    part->there = t.n;
    part->nans = t.nan;
    part->positive = t.positive;
    part->bad = t.bad;
}

static void merge_survey(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    merge_top(to, p->m, p->m2, p->arg);
    to->reach = p->reach > to->reach ? p->reach : to->reach;
    to->n += p->n;
    to->there += p->there;
    to->nans += p->nans;
    to->positive += p->positive;
    to->bad += p->bad;
}

SIMD_FN void keep_block(const struct row *r, int64_t c, int n, uint32_t dtype)
{
    vf v[STEP_VECTORS];
    logits_load(&r->in, c, n, dtype, 0, 1, simd_float(GONE_BITS), v);
    STEP_EACH(b, n)
        store_y(r->family->v, c + b * VF, v[b], step_count(n, b), TENON_F32, 0);
}

SIMD_FN void keep_logits(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                         uint32_t dtype)
{
    int64_t c = c0;
#define CALL(c, n) keep_block(r, c, n, dtype)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
    if (s->surveyed)
        survey_tile(s, r, c0, c1, part);
    else
        part_init(part);
}

/* Where nothing is above -Inf, the total order has -Inf before NaN. */
static int32_t first_of_rest(const struct row *r)
{
    int32_t nan = -1;
    for (int64_t c = 0; c < r->cols; c++) {
        const float v = r->family->v[c];
        if (v == MINUS_INF)
            return (int32_t)c;
        if (nan < 0 && simd_bits(v) != GONE_BITS)
            nan = (int32_t)c;
    }
    return nan;
}

/* ---- y ---- */

SIMD_FN void put_u8(uint8_t *y, vf v, float scale, int n)
{
    int32_t q[VF];
    const vf level = vf_rint(vf_div(v, vf_set1(scale)));
    vi_store(q, vi_round(vf_min(vf_max(level, vf_zero()), vf_set1(255.0f)))); /* NaN is 0 */
    for (int i = 0; i < n; i++)
        y[i] = (uint8_t)q[i];
}

SIMD_FN vf clip(const struct family *f, vf y)
{
    const vf one = vf_set1(1.0f), z = vf_fma(y, vf_set1(f->width), vf_set1(f->p->gamma));
    const vf low = vf_select(vf_lt(z, vf_zero()), vf_zero(), z); /* NaN stays */
    return vf_select(vf_gt(low, one), one, low);
}

/* y of n columns whose logits are v: 0 (LOG_EXP: -Inf) where those are GONE, the post step, the type. One function for
 * all kinds: it is large. */
static __attribute__((noinline)) void put_y(const struct softmax *s, const struct row *r, int64_t c, int n, const vf *v,
                                            vf *y, int post)
{
    const struct family *f = r->family;
    const float masked = s->kind == TENON_SOFTMAX_LOG_EXP ? MINUS_INF : 0.0f;
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        const int64_t at = c + b * VF;
        if (post && f->p->post == TENON_SOFTMAX_POST_CLIP)
            y[b] = clip(f, y[b]);
        if (post && f->p->post == TENON_SOFTMAX_POST_HARD)
            y[b] = vf_keep(vi_eq(vi_add(vi_iota(), vi_set1((int32_t)at)), vi_set1(f->arg)), vf_set1(1.0f));
        y[b] = vf_select(is_gone(v[b]), vf_set1(masked), y[b]);
        if (s->y_dtype == TENON_F32)
            store_y(r->y, at, y[b], k, TENON_F32, 0);
        else if (s->y_dtype == TENON_F16)
            store_y(r->y, at, y[b], k, TENON_F16, 0);
        else if (s->y_dtype == TENON_BF16)
            store_y(r->y, at, y[b], k, TENON_BF16, 0);
        else
            put_u8((uint8_t *)r->y + at, y[b], f->p->qscale, k);
    }
}

/* A value for all that exists. */
SIMD_FN void fill_block(const struct softmax *s, const struct row *r, int64_t c, int n)
{
    vf v[STEP_VECTORS], y[STEP_VECTORS];
    take(r->family, c, n, v);
    STEP_EACH(b, n)
        y[b] = vf_set1(r->family->value);
    put_y(s, r, c, n, v, y, 0);
}

static void fill_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    int64_t c = c0;
    (void)part;
#define CALL(c, n) fill_block(s, r, c, n)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
}

#endif
