/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: which entries the support leaves. The others become GONE. */
#ifndef TENON_SOFTMAX_CPU_SUPPORT_H
#define TENON_SOFTMAX_CPU_SUPPORT_H

#include "softmax_cpu_logits.h"

static void keys_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    const struct family *f = r->family;
    (void)s;
    (void)part;
    for (int64_t c = c0; c < c1; c += VF) {
        const int k = c1 - c < VF ? (int)(c1 - c) : VF;
        const vi keys = order_keys(load_x(f->v, c, k, TENON_F32));
        if (k == VF)
            vi_store(f->keys + c, keys);
        else
            vi_store_n(f->keys + c, keys, k);
    }
}

static void best_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    const struct family *f = r->family;
    (void)s;
    (void)part;
    for (int64_t c = c0; c < c1; c += VF) {
        const int k = c1 - c < VF ? (int)(c1 - c) : VF;
        const vf v = load_x(f->v, c, k, TENON_F32);
        const vi keys = order_keys(v), col = vi_add(vi_iota(), vi_set1((int32_t)c));
        const vm equal = vm_andnot(vi_eq(keys, vi_set1(f->cut)), vi_gt(col, vi_set1((int32_t)f->last)));
        const vm nan = vm_andnot(vf_isnan(v), vi_gt(col, vi_set1((int32_t)f->last_nan)));
        const vm stays = vm_or(vm_or(vi_gt(keys, vi_set1(f->cut)), equal), nan);
        store_y(f->v, c, vf_select(stays, v, vf_set1(gone())), k, TENON_F32, 0);
    }
}

static void above_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    const struct family *f = r->family;
    (void)s;
    (void)part;
    for (int64_t c = c0; c < c1; c += VF) {
        const int k = c1 - c < VF ? (int)(c1 - c) : VF;
        const vf v = load_x(f->v, c, k, TENON_F32);
        store_y(f->v, c, vf_select(vf_gt(v, vf_set1(f->theta)), v, vf_set1(gone())), k, TENON_F32, 0);
    }
}

/* The column of the n-th NaN (or of the n-th entry with this key). */
static int64_t column_of(const struct row *r, int64_t n, int nan, int32_t key)
{
    for (int64_t c = 0; c < r->cols; c++) {
        const float v = r->family->v[c];
        const int it = nan ? v != v && simd_bits(v) != GONE_BITS : order_key(v) == key;
        if (it && --n == 0)
            return c;
    }
    return r->cols;
}

/* The k best; -Inf is never among them, and NaNs only where too few are above it. */
static void support_best(const struct run *run, const struct row *r, const struct part *p)
{
    struct family *f = r->family;
    const int64_t k = (int64_t)f->p->k;
    f->cut = ORDER_MINUS_INF;
    f->last = f->last_nan = -1;
    if (p->n < k && p->nans > 0)
        f->last_nan = p->nans <= k - p->n ? r->cols : column_of(r, k - p->n, 1, 0);
    if (p->n > k) {
        sweep(run, r, keys_tile, NULL, NULL);
        const struct select_cut cut = select_keys(f->keys, r->cols, k);
        f->cut = cut.key;
        f->last = cut.equal == INT64_MAX ? r->cols : column_of(r, cut.equal, 0, cut.key);
    }
    sweep(run, r, best_tile, NULL, NULL);
}

/* ---- the threshold of a normal distribution ---- */

SIMD_FN void spread_of(const struct row *r, int64_t c0, int64_t c1, struct part *part, int squares)
{
    const struct family *f = r->family;
    double sums[BLOCK] = {0};
    for (int64_t c = c0; c < c1; c++) {
        const float v = f->v[c];
        const double d = (double)v - f->mean;
        sums[c % BLOCK] += v > MINUS_INF ? squares ? d * d : d : 0.0;
    }
    part->s = block_sum(sums);
    part->a = 0.0;
}

static void mean_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    (void)s;
    spread_of(r, c0, c1, part, 0);
}

static void square_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    (void)s;
    spread_of(r, c0, c1, part, 1);
}

static void merge_spread(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->s += p->s;
}

static void support_above(const struct run *run, const struct row *r, const struct part *p)
{
    struct family *f = r->family;
    struct part sum, squares;
    const double n = (double)p->n;
    if (p->nans > 0 || p->m == INFINITY) /* no threshold */
        return;
    part_init(&sum);
    part_init(&squares);
    f->mean = 0.0;
    sweep(run, r, mean_tile, merge_spread, &sum);
    f->mean = p->n > 0 ? sum.s / n : 0.0;
    sweep(run, r, square_tile, merge_spread, &squares);
    const double theta = f->mean + (p->n > 0 ? sqrt(squares.s / n) : 0.0) * run->s->quantile;
    /* v > theta, with the largest float that is not above it */
    f->theta = (float)theta;
    if ((double)f->theta > theta)
        f->theta = nextafterf(f->theta, MINUS_INF);
    sweep(run, r, above_tile, NULL, NULL);
}

/* p: of the logits, and again of what is left of them. */
static void support(const struct run *run, const struct row *r, struct part *p)
{
    const struct tenon_softmax_params *params = r->family->p;
    if (params->support == TENON_SOFTMAX_SUPPORT_ALL || (int64_t)params->k >= p->there)
        return;
    if (params->support == TENON_SOFTMAX_SUPPORT_TOPK)
        support_best(run, r, p);
    else
        support_above(run, r, p);
    part_init(p);
    sweep(run, r, survey_tile, merge_survey, p);
}

#endif
