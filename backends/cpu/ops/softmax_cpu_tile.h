/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The passes of softmax over one tile. Each is written once, with the type of x and the presence of options (`plain`:
 * scale 1, no bias, no mask, T = 1) as constants, and called for whole blocks and for the rest of a row. */
#ifndef TENON_SOFTMAX_CPU_TILE_H
#define TENON_SOFTMAX_CPU_TILE_H

#include "lib/exp.h"
#include "softmax_cpu.h"

#define AHEAD 4096 /* bytes that are asked for before they are read */
#define NO_EXPONENT -0x1p30f /* of an empty pair */

/* What lies `ahead` bytes behind the STEP columns at c, into L2. The hardware's own guess stops at every page. */
SIMD_FN void ask_for(const void *x, int64_t c, uint32_t dtype, int64_t ahead)
{
    const int64_t size = TENON_DTYPE_SIZE(dtype);
    SIMD_UNROLL
    for (int64_t at = 0; at < STEP * size; at += 64)
        simd_prefetch_far((const char *)x + c * size + at + ahead);
}

/* The logits v of n columns from c on. What does not exist (masked, or past n) reads as -Inf. */
SIMD_FN void load_logits(const struct row *r, int64_t c, int n, uint32_t dtype, int plain, vf *v)
{
    logits_load(&r->in, c, n, dtype, plain, 0, MINUS_INF, v);
}

/* d = (v - reference) * T. */
SIMD_FN vf distance(const struct row *r, vf v, int plain)
{
    if (plain)
        return vf_sub(v, vf_set1(r->reference));
    const vf half = vf_set1(r->half);
    return vf_mul(vf_sub(vf_mul(v, half), vf_mul(vf_set1(r->reference), half)), vf_set1(r->rest));
}

/* d = the distances of the n columns v, e = exp(d), 0 for -Inf whatever T is. */
SIMD_FN void exponentials(const struct row *r, const vf *v, int n, int plain, vf *d, vf *e)
{
    STEP_EACH(b, n)
        e[b] = d[b] = distance(r, v[b], plain);
    vf_exp_each(e, step_vectors(n));
    if (!plain && r->flat)
        STEP_EACH(b, n)
            e[b] = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), vf_zero(), e[b]);
}

/* ---- maximum ---- */

SIMD_FN void max_block(const struct row *r, int64_t c, int n, uint32_t dtype, int plain, vf *m)
{
    vf v[STEP_VECTORS];
    load_logits(r, c, n, dtype, plain, v);
    STEP_EACH(b, n)
        m[b] = vf_max(v[b], m[b]); /* keeps m past NaN */
}

SIMD_FN void tile_max(const struct row *r, int64_t c0, int64_t c1, struct part *part, uint32_t dtype, int plain)
{
    const struct row row = *r; /* a copy that nothing can alias stays in registers */
    vf m[STEP_VECTORS];
    int64_t c = c0;
    r = &row;
    STEP_EACH(b, STEP)
        m[b] = vf_set1(MINUS_INF);
#define CALL(c, n) max_block(r, c, n, dtype, plain, m)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
    for (int b = BLOCK_VECTORS; b < STEP_VECTORS; b++)
        m[b % BLOCK_VECTORS] = vf_max(m[b % BLOCK_VECTORS], m[b]);
    part->m = block_max(m);
    part->m2 = MINUS_INF;
    part->arg = -1;
}

/* The larger of two (largest, second, index), in the total order: equal values, smaller index. */
SIMD_FN void merge_top(struct part *to, float m, float m2, int32_t arg)
{
    if (m > to->m) {
        to->m2 = m2 > to->m ? m2 : to->m;
        to->m = m;
        to->arg = arg;
        return;
    }
    if (m > to->m2)
        to->m2 = m;
    if (m == to->m && (uint32_t)arg < (uint32_t)to->arg)
        to->arg = arg;
}

struct top {
    vf m[BLOCK_VECTORS], m2[BLOCK_VECTORS];
    vi arg[BLOCK_VECTORS];
};

SIMD_FN void top_block(const struct row *r, int64_t c, int n, uint32_t dtype, struct top *t)
{
    vf v[STEP_VECTORS];
    load_logits(r, c, n, dtype, 0, v);
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        const vm above = vf_gt(v[b], t->m[k]);
        t->m2[k] = vf_select(above, t->m[k], vf_max(v[b], t->m2[k]));
        t->arg[k] = vi_select(above, vi_add(vi_iota(), vi_set1((int32_t)c + b * VF)), t->arg[k]);
        t->m[k] = vf_max(v[b], t->m[k]);
    }
}

SIMD_FN void tile_top(const struct row *r, int64_t c0, int64_t c1, struct part *part, uint32_t dtype)
{
    struct top t;
    float m[BLOCK], m2[BLOCK];
    int32_t arg[BLOCK];
    int64_t c = c0;
    block_set(t.m, MINUS_INF);
    block_set(t.m2, MINUS_INF);
    BLOCK_EACH(b)
        t.arg[b] = vi_set1(-1);
#define CALL(c, n) top_block(r, c, n, dtype, &t)
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
}

/* ---- sum of exponentials ---- */

struct moments {
    vf a[BLOCK_VECTORS], q[BLOCK_VECTORS];
    int32_t n;
};

SIMD_FN void sum_block(const struct row *r, int64_t c, int n, uint32_t dtype, int plain, int moments, vf *sum,
                       struct moments *m)
{
    vf v[STEP_VECTORS], d[STEP_VECTORS], e[STEP_VECTORS];
    load_logits(r, c, n, dtype, plain, v);
    /* This pass is busy with arithmetic: memory can bring what comes next. */
    if (n == STEP)
        ask_for(r->in.x, c, dtype, r->ahead);
    exponentials(r, v, n, plain, d, e);
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        sum[k] = vf_add(sum[k], e[b]);
        if (moments) { /* e is 0 where d is cut off, and 0 * -Inf would be NaN */
            m->a[k] = vf_add(m->a[k], vf_mul(e[b], vf_max(d[b], vf_set1(-128.0f))));
            m->q[k] = vf_add(m->q[k], vf_mul(e[b], e[b]));
            m->n += vm_count(vf_gt(v[b], vf_set1(MINUS_INF)));
        }
        if (r->e)
            store_y(r->e, c + b * VF, e[b], step_count(n, b), TENON_F32, 0);
    }
}

SIMD_FN void tile_sum(const struct row *r, int64_t c0, int64_t c1, struct part *part, uint32_t dtype, int plain,
                      int moments)
{
    const struct row row = *r;
    double sums[BLOCK] = {0}, products[BLOCK] = {0}, squares[BLOCK] = {0};
    struct moments m;
    m.n = 0;
    r = &row;
    for (int64_t c = c0, end; c < c1; c = end) {
        vf sum[BLOCK_VECTORS];
        end = c1 - c < BLOCK_RUN * BLOCK ? c1 : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
        block_set(m.a, 0.0f);
        block_set(m.q, 0.0f);
#define CALL(c, n) sum_block(r, c, n, dtype, plain, moments, sum, &m)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, sum);
        if (moments) {
            block_flush(products, m.a);
            block_flush(squares, m.q);
        }
    }
    part->s = block_sum(sums);
    part->a = moments ? block_sum(products) : 0.0;
    part->q = moments ? block_sum(squares) : 0.0;
    part->n = m.n;
}

/* ---- three passes at once ---- */

SIMD_FN void stage_block(const struct stage *g, int64_t c, int n, int64_t next_cols, uint32_t dtype, uint32_t y_dtype,
                         vf *sum, vf *m)
{
    vf e[STEP_VECTORS];
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        e[b] = load_x(g->x, c + b * VF, k, dtype);
        if (n != STEP)
            e[b] = vf_select(vm_first(k), e[b], vf_set1(MINUS_INF));
        e[b] = vf_sub(e[b], vf_set1(g->reference));
    }
    if (g->next && n == STEP)
        ask_for(g->next, c, dtype, AHEAD);
    if (g->next && n == STEP && c + STEP <= next_cols)
        STEP_EACH(b, n)
            m[b % BLOCK_VECTORS] = vf_max(load_x(g->next, c + b * VF, VF, dtype), m[b % BLOCK_VECTORS]);
    vf_exp_each(e, step_vectors(n));
    STEP_EACH(b, n) {
        sum[b % BLOCK_VECTORS] = vf_add(sum[b % BLOCK_VECTORS], e[b]);
        store_y(g->e, c + b * VF, e[b], step_count(n, b), TENON_F32, 0);
    }
    if (g->last)
        STEP_EACH(b, n) {
            const int k = step_count(n, b);
            const vf last = load_x(g->last, c + b * VF, k, TENON_F32);
            store_y(g->y, c + b * VF, vf_mul(last, vf_set1(g->factor)), k, y_dtype, g->stream);
        }
}

/* The bits of s are those of tile_sum. */
SIMD_FN void tile_stage(struct stage *stage, int64_t cols, int64_t next_cols, uint32_t dtype, uint32_t y_dtype)
{
    const struct stage g = *stage;
    double sums[BLOCK] = {0};
    vf m[BLOCK_VECTORS];
    block_set(m, MINUS_INF);
    for (int64_t c = 0, end; c < cols; c = end) {
        vf sum[BLOCK_VECTORS];
        end = cols - c < BLOCK_RUN * BLOCK ? cols : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
#define CALL(c, n) stage_block(&g, c, n, next_cols, dtype, y_dtype, sum, m)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, sum);
    }
    /* What the loop did not see of the next tile: the rest of a row, or tiles of different length. */
    for (int64_t c = (cols < next_cols ? cols : next_cols) / STEP * STEP; g.next && c < next_cols; c += BLOCK) {
        BLOCK_EACH(b) {
            const int k = block_count(block_rest(next_cols - c), b);
            const vf v = vf_select(vm_first(k), load_x(g.next, c + b * VF, k, dtype), vf_set1(MINUS_INF));
            m[b] = vf_max(v, m[b]);
        }
    }
    stage->s = block_sum(sums);
    stage->m = block_max(m);
}

/* ---- FIXED_MAX ---- */

/* e = exp((v - phi) * T) with the rounding errors of d put back: here d is not small where e is large. */
SIMD_FN void fixed_exponentials(const struct row *r, const vf *v, int n, vf phi, vf *e)
{
    const vf T = vf_set1((float)r->T);
    vf low[STEP_VECTORS];
    STEP_EACH(b, n) {
        const vf diff = vf_sub(v[b], phi), back = vf_sub(diff, v[b]), d = vf_mul(diff, T);
        const vf lost = vf_sub(vf_sub(v[b], vf_sub(diff, back)), vf_add(phi, back));
        low[b] = vf_fma(lost, T, vf_fma(diff, T, vf_neg(d)));
        /* Beyond 88 the row will be redone; only the exponent field must not overflow. NaN passes. */
        e[b] = vf_select(vf_gt(d, vf_set1(88.0f)), vf_set1(88.0f), d);
    }
    vf_exp_each(e, step_vectors(n));
    STEP_EACH(b, n) {
        const vf better = vf_add(e[b], vf_mul(e[b], low[b]));
        e[b] = vf_select(vm_or(vf_eq(e[b], vf_zero()), vf_eq(v[b], vf_set1(MINUS_INF))), vf_zero(), better);
    }
}

SIMD_FN void fixed_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, vf *m, vf *sum)
{
    vf v[STEP_VECTORS], e[STEP_VECTORS];
    load_logits(r, c, n, dtype, 0, v);
    fixed_exponentials(r, v, n, vf_set1(s->phi), e);
    STEP_EACH(b, n) {
        m[b % BLOCK_VECTORS] = vf_max(v[b], m[b % BLOCK_VECTORS]);
        sum[b % BLOCK_VECTORS] = vf_add(sum[b % BLOCK_VECTORS], e[b]);
    }
}

SIMD_FN void tile_fixed(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                        uint32_t dtype)
{
    double sums[BLOCK] = {0};
    vf m[BLOCK_VECTORS];
    block_set(m, MINUS_INF);
    for (int64_t c = c0, end; c < c1; c = end) {
        vf sum[BLOCK_VECTORS];
        end = c1 - c < BLOCK_RUN * BLOCK ? c1 : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
#define CALL(c, n) fixed_block(s, r, c, n, dtype, m, sum)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, sum);
    }
    part->m = block_max(m);
    part->fixed = block_sum(sums);
}

/* ---- TWO_PASS_EXT: numbers as pairs m * 2^n ---- */

struct pairs {
    vf m[BLOCK_VECTORS], n[BLOCK_VECTORS], reach[BLOCK_VECTORS];
};

/* The pairs of e^v; -Inf is (0, NO_EXPONENT), because its reduced argument would be NaN. */
SIMD_FN void pairs_of(const vf *v, int n, vf *m, vf *exponent)
{
    STEP_EACH(b, n)
        m[b] = v[b];
    exp_parts_each(m, exponent, step_vectors(n));
    STEP_EACH(b, n) {
        const vm none = vf_eq(v[b], vf_set1(MINUS_INF));
        exponent[b] = vf_select(none, vf_set1(NO_EXPONENT), exponent[b]);
        m[b] = vf_select(none, vf_zero(), m[b]);
    }
}

SIMD_FN void pair_block(const struct row *r, int64_t c, int n, uint32_t dtype, struct pairs *p)
{
    vf v[STEP_VECTORS], m[STEP_VECTORS], exponent[STEP_VECTORS];
    load_logits(r, c, n, dtype, 0, v);
    pairs_of(v, n, m, exponent);
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        const vf top = vf_max(exponent[b], p->n[k]);
        /* Both scales are at most 1: nothing overflows, and what underflows is below 2^-126 of the largest. */
        p->m[k] = vf_fma(m[b], vf_pow2(vf_sub(exponent[b], top)), vf_mul(p->m[k], vf_pow2(vf_sub(p->n[k], top))));
        p->n[k] = top;
        const vf size = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), vf_zero(), vf_abs(v[b]));
        p->reach[k] = vf_max(size, p->reach[k]);
    }
}

/* 2^k for k <= 0. */
SIMD_FN double power_of_two(double k)
{
    if (!(k > -1022.0))
        return 0.0;
    const uint64_t bits = (uint64_t)((int64_t)k + 1023) << 52;
    double p;
    memcpy(&p, &bits, sizeof p);
    return p;
}

SIMD_FN void merge_pair(double *m, double *n, double m2, double n2)
{
    const double top = n2 > *n ? n2 : *n;
    *m = m2 * power_of_two(n2 - top) + *m * power_of_two(*n - top);
    *n = top;
}

SIMD_FN void tile_pairs(const struct row *r, int64_t c0, int64_t c1, struct part *part, uint32_t dtype)
{
    double m[BLOCK], n[BLOCK];
    float lane_m[BLOCK], lane_n[BLOCK];
    struct pairs p;
    block_set(p.reach, 0.0f);
    for (int l = 0; l < BLOCK; l++) {
        m[l] = 0.0;
        n[l] = NO_EXPONENT;
    }
    for (int64_t c = c0, end; c < c1; c = end) {
        end = c1 - c < BLOCK_RUN * BLOCK ? c1 : c + BLOCK_RUN * BLOCK;
        block_set(p.m, 0.0f);
        block_set(p.n, NO_EXPONENT);
#define CALL(c, n) pair_block(r, c, n, dtype, &p)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        BLOCK_EACH(b) {
            vf_store(lane_m + b * VF, p.m[b]);
            vf_store(lane_n + b * VF, p.n[b]);
        }
        for (int l = 0; l < BLOCK; l++)
            merge_pair(&m[l], &n[l], (double)lane_m[l], (double)lane_n[l]);
    }
    part->pair = 0.0;
    part->pair_n = NO_EXPONENT;
    for (int l = 0; l < BLOCK; l++)
        merge_pair(&part->pair, &part->pair_n, m[l], n[l]);
    part->reach = block_max(p.reach);
}

/* ---- rows without a maximum ---- */

/* Whether there is a NaN, and which entry that exists is first in the total order when none is above -Inf. Masked
 * entries read as -Inf, so the mask is asked again. Rare: one pass over rows whose maximum is -Inf. */
SIMD_FN void tile_scan(const struct row *r, int64_t c0, int64_t c1, struct part *part, uint32_t dtype)
{
    part->arg = part->nan = -1;
    for (int64_t c = c0; c < c1; c += BLOCK) {
        const int n = c1 - c < BLOCK ? (int)(c1 - c) : BLOCK;
        vf v[STEP_VECTORS];
        uint32_t nans = 0;
        load_logits(r, c, n, dtype, 0, v);
        BLOCK_EACH(b)
            nans |= vm_bits(vf_isnan(v[b])) << b * VF;
        for (int l = 0; l < n; l++) {
            const int32_t at = (int32_t)c + l;
            if (nans >> l & 1)
                part->nan = part->nan < 0 ? at : part->nan;
            else if (part->arg < 0 && (!r->in.mask || r->in.mask[at]))
                part->arg = at;
        }
    }
}

/* ---- y ---- */

enum { WRITE_EXP, WRITE_LOG, WRITE_PAIRS };

SIMD_FN void write_block(const struct row *r, int64_t c, int n, uint32_t dtype, uint32_t y_dtype, int plain, int what)
{
    vf v[STEP_VECTORS], d[STEP_VECTORS], y[STEP_VECTORS];
    if (n == STEP)
        ask_for(r->in.x, c, dtype, AHEAD);
    load_logits(r, c, n, dtype, plain, v);
    if (what == WRITE_PAIRS) {
        pairs_of(v, n, y, d);
        STEP_EACH(b, n)
            y[b] = vf_mul(vf_mul(y[b], vf_set1(r->inverse)), vf_pow2(vf_sub(d[b], vf_set1(r->exponent))));
    } else if (what == WRITE_EXP) {
        exponentials(r, v, n, plain, d, y);
        STEP_EACH(b, n)
            y[b] = vf_mul(y[b], vf_set1(r->inverse));
    } else {
        STEP_EACH(b, n) {
            y[b] = vf_sub(distance(r, v[b], plain), vf_set1(r->log_sum));
            if (!plain && r->flat)
                y[b] = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), v[b], y[b]);
        }
    }
    STEP_EACH(b, n)
        store_y(r->y, c + b * VF, y[b], step_count(n, b), y_dtype, r->stream);
}

SIMD_FN void tile_write(const struct row *r, int64_t c0, int64_t c1, uint32_t dtype, uint32_t y_dtype, int plain,
                        int what)
{
    const struct row row = *r;
    int64_t c = c0;
    r = &row;
#define CALL(c, n) write_block(r, c, n, dtype, y_dtype, plain, what)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
}

SIMD_FN void reload_block(const struct row *r, int64_t c, int n, uint32_t y_dtype)
{
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        const vf e = load_x(r->e, c + b * VF, k, TENON_F32);
        store_y(r->y, c + b * VF, vf_mul(e, vf_set1(r->inverse)), k, y_dtype, r->stream);
    }
}

SIMD_FN void tile_reload(const struct row *r, int64_t c0, int64_t c1, uint32_t y_dtype)
{
    const struct row row = *r;
    int64_t c = c0;
    r = &row;
#define CALL(c, n) reload_block(r, c, n, y_dtype)
    STEP_ALL(c, c0, c1, CALL)
#undef CALL
}

#endif
