/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The passes of softmax over one tile. Each is written once, with the type of x and the presence of options (`plain`:
 * scale 1, no bias, no mask, T = 1) as constants, and called for whole blocks and for the rest of a row. */
#ifndef TENON_SOFTMAX_CPU_TILE_H
#define TENON_SOFTMAX_CPU_TILE_H

#include "lib/exp.h"
#include "softmax_cpu.h"

#define MINUS_INF (-INFINITY)
#define NO_EXPONENT -0x1p30f /* of an empty pair */

SIMD_FN vf load_x(const void *x, int64_t c, int n, uint32_t dtype)
{
    if (dtype == TENON_F32)
        return n == VF ? vf_load((const float *)x + c) : vf_load_n((const float *)x + c, n);
    const uint16_t *h = (const uint16_t *)x + c;
    if (dtype == TENON_F16)
        return n == VF ? vf_load_f16(h) : vf_load_f16_n(h, n);
    return n == VF ? vf_load_bf16(h) : vf_load_bf16_n(h, n);
}

SIMD_FN void store_y(void *y, int64_t c, vf v, int n, uint32_t dtype, int stream)
{
    if (dtype == TENON_F32) {
        float *p = (float *)y + c;
        if (n < VF)
            vf_store_n(p, v, n);
        else if (stream)
            vf_stream(p, v);
        else
            vf_store(p, v);
        return;
    }
    uint16_t *h = (uint16_t *)y + c;
    if (dtype == TENON_F16) {
        if (n < VF)
            vf_store_f16_n(h, v, n);
        else
            vf_store_f16(h, v);
    } else if (n < VF) {
        vf_store_bf16_n(h, v, n);
    } else {
        vf_store_bf16(h, v);
    }
}

/* The logits v of n columns from c on. What does not exist (masked, or past n) reads as -Inf. */
SIMD_FN void load_logits(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, int plain,
                         vf *v)
{
    BLOCK_EACH(b) {
        const int k = n == BLOCK ? VF : block_count(n, b);
        const int64_t at = c + b * VF;
        v[b] = load_x(r->x, at, k, dtype);
        if (!plain && s->affine) {
            vf bias = vf_zero();
            if (r->bias)
                bias = k == VF ? vf_load(r->bias + at) : vf_load_n(r->bias + at, k);
            v[b] = vf_fma(v[b], vf_set1(s->scale), bias);
        }
        if (!plain && r->mask) {
            const vm m = k == VF ? vm_load_u8(r->mask + at) : vm_load_u8_n(r->mask + at, k);
            v[b] = vf_select(m, v[b], vf_set1(MINUS_INF));
        }
        if (n != BLOCK)
            v[b] = vf_select(vm_first(k), v[b], vf_set1(MINUS_INF));
    }
}

/* d = (v - reference) * T. */
SIMD_FN vf distance(const struct row *r, vf v, int plain)
{
    if (plain)
        return vf_sub(v, vf_set1(r->reference));
    const vf half = vf_set1(r->half);
    return vf_mul(vf_sub(vf_mul(v, half), vf_mul(vf_set1(r->reference), half)), vf_set1(r->rest));
}

/* exp(d), 0 for -Inf whatever T is. */
SIMD_FN vf exponential(const struct row *r, vf v, vf d, int plain)
{
    const vf e = vf_exp(d);
    return !plain && r->flat ? vf_select(vf_eq(v, vf_set1(MINUS_INF)), vf_zero(), e) : e;
}

/* Calls STEP(c, n) for every block of [c0, c1): whole ones with the constant BLOCK. */
#define FOR_BLOCKS(c, from, to, STEP)                                          \
    for (; (c) + BLOCK <= (to); (c) += BLOCK)                                  \
        STEP((c), BLOCK);                                                      \
    if ((c) < (to))                                                            \
        STEP((c), (int)((to) - (c)));

/* ---- maximum ---- */

SIMD_FN void max_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, int plain, vf *m)
{
    vf v[BLOCK_VECTORS];
    load_logits(s, r, c, n, dtype, plain, v);
    BLOCK_EACH(b)
        m[b] = vf_max(v[b], m[b]); /* keeps m past NaN */
}

SIMD_FN void tile_max(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                      uint32_t dtype, int plain)
{
    const struct row row = *r; /* a copy that nothing can alias stays in registers */
    vf m[4][BLOCK_VECTORS];
    int64_t c = c0;
    r = &row;
    for (int g = 0; g < 4; g++)
        block_set(m[g], MINUS_INF);
    for (; c + 4 * BLOCK <= c1; c += 4 * BLOCK) {
        max_block(s, r, c, BLOCK, dtype, plain, m[0]);
        max_block(s, r, c + BLOCK, BLOCK, dtype, plain, m[1]);
        max_block(s, r, c + 2 * BLOCK, BLOCK, dtype, plain, m[2]);
        max_block(s, r, c + 3 * BLOCK, BLOCK, dtype, plain, m[3]);
    }
    for (; c + BLOCK <= c1; c += BLOCK)
        max_block(s, r, c, BLOCK, dtype, plain, m[0]);
    if (c < c1)
        max_block(s, r, c, (int)(c1 - c), dtype, plain, m[0]);
    BLOCK_EACH(b)
        m[0][b] = vf_max(vf_max(m[0][b], m[1][b]), vf_max(m[2][b], m[3][b]));
    part->m = block_max(m[0]);
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

SIMD_FN void top_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, struct top *t)
{
    vf v[BLOCK_VECTORS];
    load_logits(s, r, c, n, dtype, 0, v);
    BLOCK_EACH(b) {
        const vm above = vf_gt(v[b], t->m[b]);
        t->m2[b] = vf_select(above, t->m[b], vf_max(v[b], t->m2[b]));
        t->arg[b] = vi_select(above, vi_add(vi_iota(), vi_set1((int32_t)c + b * VF)), t->arg[b]);
        t->m[b] = vf_max(v[b], t->m[b]);
    }
}

SIMD_FN void tile_top(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                      uint32_t dtype)
{
    struct top t;
    float m[BLOCK], m2[BLOCK];
    int32_t arg[BLOCK];
    int64_t c = c0;
    block_set(t.m, MINUS_INF);
    block_set(t.m2, MINUS_INF);
    BLOCK_EACH(b)
        t.arg[b] = vi_set1(-1);
#define STEP(c, n) top_block(s, r, c, n, dtype, &t)
    FOR_BLOCKS(c, c0, c1, STEP)
#undef STEP
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

SIMD_FN void sum_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, int plain,
                       int moments, vf *sum, vf *moment)
{
    vf v[BLOCK_VECTORS];
    load_logits(s, r, c, n, dtype, plain, v);
    /* This pass is busy with arithmetic: memory can bring what comes next. */
    if (n == BLOCK)
        simd_prefetch_far((const char *)r->x + c * (int64_t)TENON_DTYPE_SIZE(dtype) + r->ahead);
    BLOCK_EACH(b) {
        const vf d = distance(r, v[b], plain), e = exponential(r, v[b], d, plain);
        sum[b] = vf_add(sum[b], e);
        if (moments) /* e is 0 where d is cut off, and 0 * -Inf would be NaN */
            moment[b] = vf_add(moment[b], vf_mul(e, vf_max(d, vf_set1(-128.0f))));
        if (r->e) {
            if (n == BLOCK)
                vf_store(r->e + c + b * VF, e);
            else
                vf_store_n(r->e + c + b * VF, e, block_count(n, b));
        }
    }
}

SIMD_FN void tile_sum(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                      uint32_t dtype, int plain, int moments)
{
    const struct row row = *r;
    double sums[BLOCK] = {0}, products[BLOCK] = {0};
    r = &row;
    for (int64_t c = c0, end; c < c1; c = end) {
        vf sum[BLOCK_VECTORS], moment[BLOCK_VECTORS];
        end = c1 - c < BLOCK_RUN * BLOCK ? c1 : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
        block_set(moment, 0.0f);
#define STEP(c, n) sum_block(s, r, c, n, dtype, plain, moments, sum, moment)
        FOR_BLOCKS(c, c, end, STEP)
#undef STEP
        block_flush(sums, sum);
        if (moments)
            block_flush(products, moment);
    }
    part->s = block_sum(sums);
    part->a = moments ? block_sum(products) : 0.0;
}

/* ---- three passes at once ---- */

SIMD_FN void stage_block(const struct stage *g, int64_t c, int n, int64_t next_cols, uint32_t dtype, uint32_t y_dtype,
                         vf *sum, vf *m)
{
    BLOCK_EACH(b) {
        const int k = n == BLOCK ? VF : block_count(n, b);
        const int64_t at = c + b * VF;
        vf v = load_x(g->x, at, k, dtype);
        if (n != BLOCK)
            v = vf_select(vm_first(k), v, vf_set1(MINUS_INF));
        const vf e = vf_exp(vf_sub(v, vf_set1(g->reference)));
        sum[b] = vf_add(sum[b], e);
        if (k == VF)
            vf_store(g->e + at, e);
        else
            vf_store_n(g->e + at, e, k);
        if (g->last) {
            const vf last = k == VF ? vf_load(g->last + at) : vf_load_n(g->last + at, k);
            store_y(g->y, at, vf_mul(last, vf_set1(g->factor)), k, y_dtype, g->stream);
        }
        if (g->next && n == BLOCK && c + BLOCK <= next_cols)
            m[b] = vf_max(load_x(g->next, at, VF, dtype), m[b]);
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
#define STEP(c, n) stage_block(&g, c, n, next_cols, dtype, y_dtype, sum, m)
        FOR_BLOCKS(c, c, end, STEP)
#undef STEP
        block_flush(sums, sum);
    }
    /* What the loop did not see of the next tile: the rest of a row, or tiles of different length. */
    for (int64_t c = (cols < next_cols ? cols : next_cols) / BLOCK * BLOCK; g.next && c < next_cols; c += BLOCK) {
        BLOCK_EACH(b) {
            const int k = next_cols - c < BLOCK ? block_count((int)(next_cols - c), b) : VF;
            const vf v = vf_select(vm_first(k), load_x(g.next, c + b * VF, k, dtype), vf_set1(MINUS_INF));
            m[b] = vf_max(v, m[b]);
        }
    }
    stage->s = block_sum(sums);
    stage->m = block_max(m);
}

/* ---- FIXED_MAX ---- */

/* exp((v - phi) * T) with the rounding errors of d put back: here d is not small where e is large. */
SIMD_FN vf fixed_exponential(const struct row *r, vf v, vf phi)
{
    const vf T = vf_set1((float)r->T), diff = vf_sub(v, phi), back = vf_sub(diff, v);
    const vf lost = vf_sub(vf_sub(v, vf_sub(diff, back)), vf_add(phi, back));
    const vf d = vf_mul(diff, T), low = vf_fma(lost, T, vf_fma(diff, T, vf_neg(d)));
    /* Beyond 88 the row will be redone; only the exponent field must not overflow. NaN passes. */
    const vf e = vf_exp(vf_select(vf_gt(d, vf_set1(88.0f)), vf_set1(88.0f), d));
    const vf better = vf_add(e, vf_mul(e, low));
    return vf_select(vm_or(vf_eq(e, vf_zero()), vf_eq(v, vf_set1(MINUS_INF))), vf_zero(), better);
}

SIMD_FN void fixed_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, vf *m, vf *sum)
{
    vf v[BLOCK_VECTORS];
    load_logits(s, r, c, n, dtype, 0, v);
    BLOCK_EACH(b) {
        m[b] = vf_max(v[b], m[b]);
        sum[b] = vf_add(sum[b], fixed_exponential(r, v[b], vf_set1(s->phi)));
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
#define STEP(c, n) fixed_block(s, r, c, n, dtype, m, sum)
        FOR_BLOCKS(c, c, end, STEP)
#undef STEP
        block_flush(sums, sum);
    }
    part->m = block_max(m);
    part->fixed = block_sum(sums);
}

/* ---- TWO_PASS_EXT: numbers as pairs m * 2^n ---- */

struct pairs {
    vf m[BLOCK_VECTORS], n[BLOCK_VECTORS], reach[BLOCK_VECTORS];
};

/* The pair of e^v; -Inf is (0, NO_EXPONENT), because its reduced argument would be NaN. */
SIMD_FN vf pair_of(vf v, vf *n)
{
    const vm none = vf_eq(v, vf_set1(MINUS_INF));
    const vf m = exp_parts(v, n);
    *n = vf_select(none, vf_set1(NO_EXPONENT), *n);
    return vf_select(none, vf_zero(), m);
}

SIMD_FN void pair_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype, struct pairs *p)
{
    vf v[BLOCK_VECTORS];
    load_logits(s, r, c, n, dtype, 0, v);
    BLOCK_EACH(b) {
        vf exponent;
        const vf m = pair_of(v[b], &exponent), top = vf_max(exponent, p->n[b]);
        /* Both scales are at most 1: nothing overflows, and what underflows is below 2^-126 of the largest. */
        p->m[b] = vf_fma(m, vf_pow2(vf_sub(exponent, top)), vf_mul(p->m[b], vf_pow2(vf_sub(p->n[b], top))));
        p->n[b] = top;
        const vf size = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), vf_zero(), vf_abs(v[b]));
        p->reach[b] = vf_max(size, p->reach[b]);
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

SIMD_FN void tile_pairs(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                        uint32_t dtype)
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
#define STEP(c, n) pair_block(s, r, c, n, dtype, &p)
        FOR_BLOCKS(c, c, end, STEP)
#undef STEP
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
SIMD_FN void tile_scan(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part,
                       uint32_t dtype)
{
    part->arg = part->nan = -1;
    for (int64_t c = c0; c < c1; c += BLOCK) {
        const int n = c1 - c < BLOCK ? (int)(c1 - c) : BLOCK;
        vf v[BLOCK_VECTORS];
        uint32_t nans = 0;
        load_logits(s, r, c, n, dtype, 0, v);
        BLOCK_EACH(b)
            nans |= vm_bits(vf_isnan(v[b])) << b * VF;
        for (int l = 0; l < n; l++) {
            const int32_t at = (int32_t)c + l;
            if (nans >> l & 1)
                part->nan = part->nan < 0 ? at : part->nan;
            else if (part->arg < 0 && (!r->mask || r->mask[at]))
                part->arg = at;
        }
    }
}

/* ---- y ---- */

enum { WRITE_EXP, WRITE_LOG, WRITE_PAIRS };

SIMD_FN void write_block(const struct softmax *s, const struct row *r, int64_t c, int n, uint32_t dtype,
                         uint32_t y_dtype, int plain, int what)
{
    vf v[BLOCK_VECTORS];
    load_logits(s, r, c, n, dtype, plain, v);
    BLOCK_EACH(b) {
        vf y;
        if (what == WRITE_PAIRS) {
            vf exponent;
            const vf m = pair_of(v[b], &exponent);
            y = vf_mul(vf_mul(m, vf_set1(r->inverse)), vf_pow2(vf_sub(exponent, vf_set1(r->exponent))));
        } else {
            const vf d = distance(r, v[b], plain);
            if (what == WRITE_EXP)
                y = vf_mul(exponential(r, v[b], d, plain), vf_set1(r->inverse));
            else
                y = vf_sub(d, vf_set1(r->log_sum));
            if (what == WRITE_LOG && !plain && r->flat)
                y = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), v[b], y);
        }
        store_y(r->y, c + b * VF, y, n == BLOCK ? VF : block_count(n, b), y_dtype, r->stream);
    }
}

SIMD_FN void tile_write(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, uint32_t dtype,
                        uint32_t y_dtype, int plain, int what)
{
    const struct row row = *r;
    int64_t c = c0;
    r = &row;
#define STEP(c, n) write_block(s, r, c, n, dtype, y_dtype, plain, what)
    FOR_BLOCKS(c, c0, c1, STEP)
#undef STEP
}

SIMD_FN void reload_block(const struct row *r, int64_t c, int n, uint32_t y_dtype)
{
    BLOCK_EACH(b) {
        const int k = n == BLOCK ? VF : block_count(n, b);
        const int64_t at = c + b * VF;
        const vf e = k == VF ? vf_load(r->e + at) : vf_load_n(r->e + at, k);
        store_y(r->y, at, vf_mul(e, vf_set1(r->inverse)), k, y_dtype, r->stream);
    }
}

SIMD_FN void tile_reload(const struct row *r, int64_t c0, int64_t c1, uint32_t y_dtype)
{
    const struct row row = *r;
    int64_t c = c0;
    r = &row;
#define STEP(c, n) reload_block(r, c, n, y_dtype)
    FOR_BLOCKS(c, c0, c1, STEP)
#undef STEP
}

#endif
