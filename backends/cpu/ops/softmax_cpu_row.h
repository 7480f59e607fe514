/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, row by row: the algorithms as sequences of passes over the tiles, what is the same for all of
 * them, and the rows that have no maximum. */
#ifndef TENON_SOFTMAX_CPU_ROW_H
#define TENON_SOFTMAX_CPU_ROW_H

#include "softmax_cpu_tile.h"

#define TASKS_PER_THREAD 4

/* ---- tiles of a row ---- */

struct run {
    const struct softmax *s;
    const struct tenon_host *host;
    void *const *ptr;
    unsigned char *workspace;
    uint32_t threads;
};

static void part_init(struct part *p)
{
    p->s = p->a = p->pair = p->fixed = 0.0;
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
}

/* Sums relative to different maxima. A part without a maximum holds no sum, or NaN. */
static void merge_online(const struct row *r, struct part *to, const struct part *p)
{
    if (!(p->m > MINUS_INF)) {
        to->s += p->s;
    } else if (!(to->m > MINUS_INF)) {
        to->s += p->s;
        to->a = p->a;
    } else {
        const double delta = -fabs((double)p->m - (double)to->m) * r->T, w = exp(delta);
        if (p->m > to->m) {
            to->a = p->a + w * (to->a + to->s * delta);
            to->s = p->s + w * to->s;
        } else {
            to->a += w * (p->a + p->s * delta);
            to->s += w * p->s;
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
    p->s = p->a = 0.0;
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

/* ---- what is the same for every algorithm ---- */

/* y[from, to): `value` where entries exist, `masked` where not. */
static void fill_y(const struct softmax *s, const struct row *r, int64_t from, int64_t to, int exist, float value)
{
    const float masked = s->kind == TENON_SOFTMAX_LOG_EXP ? MINUS_INF : 0.0f;
    for (int64_t c = from; c < to; c++) {
        const float y = exist && (!r->in.mask || r->in.mask[c]) ? value : masked;
        if (s->y_dtype == TENON_F32)
            ((float *)r->y)[c] = y;
        else
            ((uint16_t *)r->y)[c] = s->y_dtype == TENON_F16 ? simd_to_f16(y) : simd_to_bf16(y);
    }
}

static void put(const struct run *run, uint32_t i, int64_t row, double value)
{
    if (run->ptr[i])
        ((float *)run->ptr[i])[row] = (float)value;
}

static void put_arg(const struct run *run, int64_t row, int32_t arg)
{
    if (run->ptr[TENON_SOFTMAX_ARGMAX])
        ((int32_t *)run->ptr[TENON_SOFTMAX_ARGMAX])[row] = arg;
}

static void nan_row(const struct run *run, const struct row *r, int64_t row, const struct part *p)
{
    int32_t arg = p->arg;
    if (run->ptr[TENON_SOFTMAX_ARGMAX] && arg < 0) {
        struct part scan;
        part_init(&scan);
        sweep(run, r, run->s->scan, merge_scan, &scan);
        if (scan.nan >= 0) /* else the row is empty, and NaN for another reason */
            arg = scan.arg >= 0 ? scan.arg : scan.nan;
    }
    put_arg(run, row, arg);
    for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_N_TENSORS; i++)
        if (i != TENON_SOFTMAX_ARGMAX)
            put(run, i, row, (double)NAN);
    if (r->y)
        fill_y(run->s, r, 0, r->cols, 1, NAN);
}

static float empty_value(const struct softmax *s, const struct row *r)
{
    int64_t exist = r->cols;
    if (s->empty_row == TENON_SOFTMAX_EMPTY_NAN)
        return NAN;
    if (r->in.mask) {
        exist = 0;
        for (int64_t c = 0; c < r->cols; c++)
            exist += r->in.mask[c] != 0;
    }
    if (s->kind == TENON_SOFTMAX_LOG_EXP)
        return (float)-log((double)exist);
    return (float)(1.0 / (double)exist);
}

static void empty_row(const struct run *run, const struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    const int zero = sink || s->empty_row == TENON_SOFTMAX_EMPTY_ZERO;
    double lse = -(double)INFINITY, energy = (double)INFINITY;
    if (sink) {
        lse = r->flat && isinf(*sink) ? (double)*sink : (double)*sink * r->T;
        energy = r->flat ? -(double)INFINITY : -lse / r->T;
    }
    put(run, TENON_SOFTMAX_MAX, row, -(double)INFINITY);
    put(run, TENON_SOFTMAX_LSE, row, lse);
    put(run, TENON_SOFTMAX_ENERGY, row, energy);
    for (uint32_t i = TENON_SOFTMAX_PMAX; i <= TENON_SOFTMAX_ENTROPY; i++)
        put(run, i, row, 0.0);
    put_arg(run, row, -1);
    if (r->y)
        fill_y(s, r, 0, r->cols, !zero, zero ? 0.0f : empty_value(s, r));
}

/* From (m, s, a) of the row, without its sink. */
static void statistics(const struct run *run, const struct row *r, int64_t row, const struct part *p, double R,
                       double S)
{
    const double m = (double)p->m, m2 = (double)p->m2;
    const double pmax = exp((m - R) * r->T) / S, lse = R * r->T + log(S);
    put(run, TENON_SOFTMAX_MAX, row, m);
    put_arg(run, row, p->arg);
    put(run, TENON_SOFTMAX_LSE, row, lse);
    put(run, TENON_SOFTMAX_PMAX, row, pmax);
    put(run, TENON_SOFTMAX_MARGIN, row, p->m2 > MINUS_INF ? pmax - exp((m2 - R) * r->T) / S : pmax);
    if (run->s->moments)
        put(run, TENON_SOFTMAX_ENTROPY, row, log(p->s) - p->a / p->s);
    put(run, TENON_SOFTMAX_ENERGY, row, r->flat ? -(double)INFINITY : -lse / r->T);
}

/* The sink joins; what y needs is put into the row. 0: the row is NaN. */
static int finish(const struct run *run, struct row *r, int64_t row, const struct part *p, const float *sink)
{
    const double m = (double)p->m, R = sink && *sink > p->m ? (double)*sink : m, T = r->T;
    double S = p->s, weight = 1.0;
    if (sink) {
        weight = exp((m - R) * T);
        S = S * weight + (*sink == MINUS_INF ? 0.0 : exp(((double)*sink - R) * T));
    }
    if (!(S < (double)INFINITY)) /* NaN, or an infinite sink */
        return 0;
    r->reference = p->m;
    r->inverse = (float)(weight / S);
    if (run->s->kind == TENON_SOFTMAX_LOG_EXP)
        r->log_sum = (float)(log(S) + (R - m) * T);
    if (run->s->stats)
        statistics(run, r, row, p, R, S);
    return 1;
}

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
    if (bare || isnan(p.pair) || p.reach > limit || (sink && !(fabsf(*sink) <= limit))) {
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

/* T of the row. 0: the row is NaN. */
static int set_temperature(const struct run *run, struct row *r, int64_t row)
{
    const float *row_scale = run->ptr[TENON_SOFTMAX_ROW_SCALE];
    const float scale = row_scale ? row_scale[row] : 1.0f;
    float T = run->s->inv_temp * scale;
    if (!(T < 0x1.fffffep127f)) /* an overflow of the product still means "the largest alone" */
        T = 0x1.fffffep127f;
    r->T = (double)T;
    r->flat = T == 0.0f;
    r->half = T < 1.0f ? 0.5f : 1.0f;
    r->rest = T / r->half;
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

static void run_row(const struct run *run, int64_t row, unsigned char *kept)
{
    const struct softmax *s = run->s;
    void *const *ptr = run->ptr;
    const int32_t *valid_len = ptr[TENON_SOFTMAX_VALID_LEN];
    const float *sink = ptr[TENON_SOFTMAX_SINK];
    struct row r = {.in = {.x = (const char *)ptr[TENON_SOFTMAX_X] + row * s->x_stride,
                           .scale = s->scale,
                           .affine = s->affine},
                    .cols = s->cols,
                    .ahead = s->ahead};
    if (ptr[TENON_SOFTMAX_BIAS])
        r.in.bias = (const float *)(const void *)((const char *)ptr[TENON_SOFTMAX_BIAS] + row * s->bias_stride);
    if (ptr[TENON_SOFTMAX_MASK])
        r.in.mask = (const uint8_t *)ptr[TENON_SOFTMAX_MASK] + row * s->mask_stride;
    if (ptr[TENON_SOFTMAX_Y])
        r.y = (char *)ptr[TENON_SOFTMAX_Y] + row * s->y_stride;
    if (valid_len)
        r.cols = valid_len[row] < 0 ? 0 : valid_len[row] < s->cols ? valid_len[row] : s->cols;
    if (sink)
        sink += s->sink_step ? row : 0;
    r.stream = s->stream && r.y && (uintptr_t)r.y % (sizeof(float) * VF) == 0;
    if (s->keep)
        r.e = s->in_y ? (float *)r.y : (float *)(void *)kept;
    if (s->algo == ONLINE_RELOAD)
        r.tops = (float *)(void *)(kept + s->tops);
    if (!set_temperature(run, &r, row))
        bad_temperature(run, &r, row);
    else if (s->algo == TENON_SOFTMAX_ONLINE || s->algo == ONLINE_RELOAD)
        online(run, &r, row, sink);
    else if (s->algo == TENON_SOFTMAX_FIXED_MAX)
        fixed_max(run, &r, row, sink);
    else if (s->algo == TENON_SOFTMAX_TWO_PASS_EXT)
        two_pass(run, &r, row, sink);
    else
        three_pass(run, &r, row, sink, s->write);
    if (r.y && r.cols < s->cols)
        fill_y(s, &r, r.cols, s->cols, 0, 0.0f);
}

#endif
