/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: passes over the tiles of a row, in order or shared out, and how their parts are merged. */
#ifndef TENON_SOFTMAX_CPU_SWEEP_H
#define TENON_SOFTMAX_CPU_SWEEP_H

#include "softmax_cpu_tile.h"

#define TASKS_PER_THREAD 4

/* ---- tiles of a row ---- */

struct run {
    const struct softmax *s;
    const struct tenon_host *host;
    void *const *ptr;
    const struct tenon_softmax_params *params;
    unsigned char *workspace;
    uint32_t threads;
};

static void part_init(struct part *p)
{
    p->s = p->a = p->q = p->pair = p->fixed = 0.0;
    p->n = p->there = p->nans = p->positive = p->bad = 0;
    p->pair_n = NO_EXPONENT;
    p->m = p->m2 = MINUS_INF;
    p->reach = 0.0f;
    p->arg = p->nan = -1;
}

typedef void merge_fn(const struct row *r, struct part *to, const struct part *p);

static void merge_max(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    merge_top(to, p->m, p->m2, p->arg);
}

static void merge_sum(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->s += p->s;
    to->a += p->a;
    to->q += p->q;
    to->n += p->n;
}

/* Sums relative to different maxima. A part without a maximum holds no sum, or NaN. */
static void merge_online(const struct row *r, struct part *to, const struct part *p)
{
    to->n += p->n;
    if (!(p->m > MINUS_INF)) {
        to->s += p->s;
    } else if (!(to->m > MINUS_INF)) {
        to->s += p->s;
        to->a = p->a;
        to->q = p->q;
    } else {
        const double delta = -fabs((double)p->m - (double)to->m) * r->T, w = exp(delta);
        if (p->m > to->m) {
            to->a = p->a + w * (to->a + to->s * delta);
            to->s = p->s + w * to->s;
            to->q = p->q + w * w * to->q;
        } else {
            to->a += w * (p->a + p->s * delta);
            to->s += w * p->s;
            to->q += w * w * p->q;
        }
    }
    merge_top(to, p->m, p->m2, p->arg);
}

static void merge_pairs(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    merge_pair(&to->pair, &to->pair_n, p->pair, p->pair_n);
    to->reach = p->reach > to->reach ? p->reach : to->reach;
}

static void merge_fixed(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->fixed += p->fixed;
    to->m = p->m > to->m ? p->m : to->m;
}

static void merge_scan(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->arg = to->arg < 0 ? p->arg : to->arg;
    to->nan = to->nan < 0 ? p->nan : to->nan;
}

/* Maximum and sum of one tile, which is in L1 for the second look. */
static void online_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    struct row local = *r;
    s->max(s, r, c0, c1, p);
    p->s = p->a = p->q = 0.0;
    p->n = 0;
    if (p->m > MINUS_INF) {
        local.reference = p->m;
        s->sum(s, &local, c0, c1, p);
        return;
    }
    if (r->e)
        memset(r->e + c0, 0, (size_t)(c1 - c0) * sizeof *r->e);
    struct part scan;
    s->scan(s, r, c0, c1, &scan);
    if (scan.nan >= 0)
        p->s = (double)NAN;
}

static void keep_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    online_tile(s, r, c0, c1, p);
    r->tops[c0 / TILE] = p->m;
}

static void scale_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    const float top = r->tops[c0 / TILE];
    struct row local = *r;
    local.inverse = 0.0f;
    if (top > MINUS_INF)
        local.inverse = (float)((double)r->inverse * exp(((double)top - (double)r->reference) * r->T));
    s->reload(s, &local, c0, c1, p);
}

struct split {
    const struct softmax *s;
    const struct row *r;
    tile_fn *pass;
    struct part *parts; /* NULL: the pass gives none */
    int64_t tiles, each;
};

static void split_task(void *context, uint32_t i)
{
    const struct split *t = context;
    const int64_t from = i * t->each, to = from + t->each < t->tiles ? from + t->each : t->tiles;
    for (int64_t k = from; k < to; k++) {
        struct part unused;
        const int64_t c0 = k * TILE, c1 = t->r->cols - c0 < TILE ? t->r->cols : c0 + TILE;
        t->pass(t->s, t->r, c0, c1, t->parts ? &t->parts[k] : &unused);
    }
    if (t->r->stream)
        simd_fence();
}

/* One pass over all tiles of a row; the parts are merged ascending. */
static void sweep(const struct run *run, const struct row *r, tile_fn *pass, merge_fn *merge, struct part *to)
{
    const struct softmax *s = run->s;
    const int64_t tiles = (r->cols + TILE - 1) / TILE;
    if (s->split && tiles > 1) {
        struct split t = {s, r, pass, merge ? (struct part *)(void *)run->workspace : NULL, tiles, 0};
        const int64_t tasks = (int64_t)run->threads * TASKS_PER_THREAD;
        t.each = (tiles + tasks - 1) / tasks;
        run->host->parallel(run->host, (uint32_t)((tiles + t.each - 1) / t.each), split_task, &t);
        for (int64_t k = 0; merge && k < tiles; k++)
            merge(r, to, &t.parts[k]);
        return;
    }
    for (int64_t c0 = 0; c0 < r->cols; c0 += TILE) {
        struct part part;
        pass(s, r, c0, r->cols - c0 < TILE ? r->cols : c0 + TILE, &part);
        if (merge)
            merge(r, to, &part);
    }
}

#endif
