/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: which entries the support leaves. The others become GONE. */
#ifndef TENON_SOFTMAX_CPU_SUPPORT_H
#define TENON_SOFTMAX_CPU_SUPPORT_H

#include "lib/spread.h"
#include "softmax_cpu_logits.h"

static void logit_keys(const void *context, int64_t row, int64_t c0, int64_t c1, int32_t *keys)
{
    const float *v = context;
    (void)row;
    for (int64_t c = c0; c < c1; c += VF) {
        const int k = c1 - c < VF ? (int)(c1 - c) : VF;
        const vi key = order_keys(load_x(v, c, k, TENON_F32));
        if (k == VF)
            vi_store(keys + (c - c0), key);
        else
            vi_store_n(keys + (c - c0), key, k);
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

/* Those equal to the cut, which may be that of the NaNs. */
SIMD_FN vm is_wanted(const struct family *f, int64_t c, int n)
{
    const vf v = load_x(f->v, c, n, TENON_F32);
    return vm_and(vm_first(n), vm_andnot(vi_eq(order_keys(v), vi_set1(f->cut)), is_gone(v)));
}

static void wanted_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    (void)s;
    part->n = 0;
    for (int64_t c = c0; c < c1; c += VF)
        part->n += vm_count(is_wanted(r->family, c, c1 - c < VF ? (int)(c1 - c) : VF));
}

/* there: the tiles before the one that has it; n: those wanted in them. */
static void merge_wanted(const struct row *r, struct part *to, const struct part *p)
{
    to->bad |= to->n + p->n >= r->family->wanted;
    to->n += to->bad ? 0 : p->n;
    to->there += !to->bad;
}

/* The column of the n-th entry with this key, which there is. */
static int64_t column_of(const struct run *run, const struct row *r, int64_t n, int32_t key)
{
    struct family *f = r->family;
    struct part part;
    part_init(&part);
    f->cut = key;
    f->wanted = n;
    sweep(run, r, wanted_tile, merge_wanted, &part);
    n -= part.n;
    for (int64_t c = part.there * TILE; c < r->cols; c += VF) {
        const int count = r->cols - c < VF ? (int)(r->cols - c) : VF;
        for (uint32_t bits = vm_bits(is_wanted(f, c, count)); bits; bits &= bits - 1)
            if (--n == 0)
                return c + __builtin_ctz(bits);
    }
    return r->cols;
}

/* The k best; -Inf is never among them, and NaNs only where too few are above it. */
static void support_best(const struct run *run, const struct row *r, const struct part *p)
{
    struct family *f = r->family;
    const int64_t k = (int64_t)f->p->k;
    f->last = f->last_nan = -1;
    if (p->n < k && p->nans > 0)
        f->last_nan = p->nans <= k - p->n ? r->cols : column_of(run, r, k - p->n, ORDER_NAN);
    f->cut = ORDER_MINUS_INF;
    if (p->n > k) {
        struct select_row select = {.host = run->host,
                                    .tasks = run->s->select_tasks,
                                    .memory = f->select,
                                    .rows = 1,
                                    .cols = r->cols,
                                    .k = k,
                                    .keys = logit_keys,
                                    .context = f->v};
        const struct select_cut cut = select_row(&select);
        f->last = cut.equal == INT64_MAX ? r->cols : column_of(run, r, cut.equal, cut.key);
        f->cut = cut.key;
    }
    sweep(run, r, best_tile, NULL, NULL);
}

/* ---- the threshold of a normal distribution ---- */

static void spread_part(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    (void)s;
    const struct spread t = spread_tile(r->family->v + c0, c1 - c0, 1);
    part->n = (int64_t)t.n;
    part->s = t.sum;
    part->q = t.squares;
}

/* part->a: the low part of the sum. */
static void merge_spread(const struct row *r, struct part *to, const struct part *p)
{
    struct spread all = {(double)to->n, to->s, to->a, to->q};
    const struct spread one = {(double)p->n, p->s, 0.0, p->q};
    (void)r;
    spread_merge(&all, &one);
    to->n = (int64_t)all.n;
    to->s = all.sum;
    to->a = all.low;
    to->q = all.squares;
}

static void support_above(const struct run *run, const struct row *r, const struct part *p)
{
    struct family *f = r->family;
    struct part part;
    if (p->nans > 0 || p->m == INFINITY) /* no threshold */
        return;
    part_init(&part);
    sweep(run, r, spread_part, merge_spread, &part);
    struct spread spread = {(double)part.n, part.s, part.a, part.q};
    if (spread_cancels(&spread, 0.0, run->s->quantile)) { /* too rare to be shared out */
        struct spread_exact exact = {{0}};
        spread_exact_add(&exact, f->v, r->cols); /* -Inf and GONE are not finite */
        spread.sum = spread_exact_sum(&exact);
        spread.low = 0.0;
    }
    const double theta = p->n > 0 ? spread_theta(&spread, 0.0, run->s->quantile) : 0.0;
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
