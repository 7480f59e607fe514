/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, row by row: the algorithms as sequences of passes over the tiles, what is the same for all of
 * them, and the rows that have no maximum. */
#ifndef TENON_SOFTMAX_CPU_ROW_H
#define TENON_SOFTMAX_CPU_ROW_H

#include "softmax_cpu_stats.h"

/* ---- the algorithms ---- */

static void end_row(const struct run *run, struct row *r, int64_t row, const struct part *p, const float *sink,
                    tile_fn *write)
{
    if (!finish(run, r, row, p, sink))
        nan_row(run, r, row, p);
    else if (r->y)
        sweep(run, r, write, NULL, NULL);
}

/* Nothing is above -Inf: NaN, or empty. */
static void end_bare_row(const struct run *run, struct row *r, int64_t row, const struct part *p, const float *sink)
{
    struct part scan;
    part_init(&scan);
    sweep(run, r, run->s->scan, merge_scan, &scan);
    if (scan.nan >= 0 || (sink && isnan(*sink)))
        nan_row(run, r, row, p);
    else
        empty_row(run, r, row, sink);
}

static void three_pass(const struct run *run, struct row *r, int64_t row, const float *sink, tile_fn *write)
{
    const struct softmax *s = run->s;
    struct part p;
    part_init(&p);
    sweep(run, r, s->max, merge_max, &p);
    if (!(p.m > MINUS_INF)) {
        end_bare_row(run, r, row, &p, sink);
        return;
    }
    r->reference = p.m;
    sweep(run, r, s->sum, merge_sum, &p);
    end_row(run, r, row, &p, sink, r->e ? s->reload : write);
}

static void online(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    const int keep = r->tops != NULL;
    struct part p;
    part_init(&p);
    sweep(run, r, keep ? keep_tile : online_tile, merge_online, &p);
    if (p.m > MINUS_INF)
        end_row(run, r, row, &p, sink, keep ? scale_tile : run->s->write_recompute);
    else
        end_bare_row(run, r, row, &p, sink);
}

/* The statistics, and everything but the sum, come from the tiles while they are in L1. */
static void fixed_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    struct part fixed;
    if (!s->stats) {
        s->fixed(s, r, c0, c1, p);
        return;
    }
    s->fixed(s, r, c0, c1, &fixed);
    online_tile(s, r, c0, c1, p);
    p->fixed = fixed.fixed;
}

static void merge_fixed_all(const struct row *r, struct part *to, const struct part *p)
{
    to->fixed += p->fixed;
    merge_online(r, to, p);
}

static void fixed_max(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    struct part p;
    part_init(&p);
    sweep(run, r, fixed_tile, s->stats ? merge_fixed_all : merge_fixed, &p);
    const double far = ((double)p.m - (double)s->phi) * r->T;
    if (!(fabs(far) <= (double)s->win)) { /* far away, infinite or empty */
        if (p.m > MINUS_INF)
            count_row(run, 3);
        online(run, r, row, sink);
        return;
    }
    if (!s->stats)
        p.s = p.fixed * exp(-far);
    end_row(run, r, row, &p, sink, s->write);
}

static void pairs_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *p)
{
    struct part pairs;
    if (!s->stats) {
        s->pairs(s, r, c0, c1, p);
        return;
    }
    s->pairs(s, r, c0, c1, &pairs);
    online_tile(s, r, c0, c1, p);
    p->pair = pairs.pair;
    p->pair_n = pairs.pair_n;
    p->reach = pairs.reach;
}

static void merge_pairs_all(const struct row *r, struct part *to, const struct part *p)
{
    merge_pairs(r, to, p);
    merge_online(r, to, p);
}

/* e^sink joins the sum, as a pair too. */
static void pair_sink(struct part *p, float sink)
{
    float lane[VF], n[VF];
    vf v[STEP_VECTORS], m[STEP_VECTORS], exponent[STEP_VECTORS];
    STEP_EACH(b, BLOCK)
        v[b] = vf_set1(sink);
    pairs_of(v, BLOCK, m, exponent);
    vf_store(lane, m[0]);
    vf_store(n, exponent[0]);
    merge_pair(&p->pair, &p->pair_n, (double)lane[0], (double)n[0]);
}

static void two_pass(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    const float limit = 0x1p20f;
    struct part p;
    part_init(&p);
    sweep(run, r, pairs_tile, s->stats ? merge_pairs_all : merge_pairs, &p);
    const int bare = p.pair == 0.0; /* nothing is above -Inf */
    const int far = p.reach > limit || (sink && !(fabsf(*sink) <= limit)); /* the pair may be anything */
    if (bare || isnan(p.pair) || far) {
        if (far)
            count_row(run, 3);
        three_pass(run, r, row, sink, s->write_recompute);
        return;
    }
    if (s->stats && !finish(run, r, row, &p, sink)) {
        nan_row(run, r, row, &p);
        return;
    }
    if (sink)
        pair_sink(&p, *sink);
    const double lse = log(p.pair) + p.pair_n * 0x1.62e42fefa39efp-1;
    r->inverse = (float)(1.0 / p.pair);
    r->exponent = (float)p.pair_n;
    r->reference = (float)lse; /* LOG_EXP: y = v - lse, of which the lower half is log_sum */
    r->log_sum = (float)(lse - (double)r->reference);
    if (r->y)
        sweep(run, r, s->write, NULL, NULL);
}

/* ---- rows ---- */

static void split_temperature(struct row *r, double T)
{
    const float t = T < 0x1.fffffep127 ? (float)T : 0x1.fffffep127f;
    r->T = (double)t;
    r->flat = t == 0.0f;
    r->half = t < 1.0f ? 0.5f : 1.0f;
    r->rest = t / r->half;
}

/* T of the row. 0: the row is NaN. */
static int set_temperature(const struct run *run, struct row *r, int64_t row)
{
    const float *row_scale = run->ptr[TENON_SOFTMAX_ROW_SCALE];
    const float scale = row_scale ? row_scale[row] : 1.0f;
    /* an overflow of the product still means "the largest alone" */
    split_temperature(r, (double)(run->s->inv_temp * scale));
    return scale >= 0.0f && scale < INFINITY;
}

static void bad_temperature(const struct run *run, struct row *r, int64_t row)
{
    struct part p;
    part_init(&p);
    if (run->ptr[TENON_SOFTMAX_ARGMAX])
        sweep(run, r, run->s->max, merge_max, &p);
    nan_row(run, r, row, &p);
}

#endif
