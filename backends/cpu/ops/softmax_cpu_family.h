/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, the whole family: a row from its logits over support and kind to y and the statistics. The plain
 * EXP and LOG_EXP rows do not come here; they have softmax_cpu_row.h and softmax_cpu_stage.h. */
#ifndef TENON_SOFTMAX_CPU_FAMILY_H
#define TENON_SOFTMAX_CPU_FAMILY_H

#include <float.h>

#include "softmax_cpu_kinds.h"
#include "softmax_cpu_support.h"

static void fill_row(const struct run *run, const struct row *r, float value)
{
    r->family->value = value;
    if (r->y)
        sweep(run, r, fill_tile, NULL, NULL);
}

static int is_elementwise(uint32_t kind)
{
    return kind == TENON_SOFTMAX_SIGMOID || kind == TENON_SOFTMAX_SCALE;
}

/* ---- what is computed once a row ---- */

/* The exponent of the largest |z|, and the powers of two that bring it to about 1. */
static int scale_logits(struct family *f, const struct row *r, double reach, double largest, int always)
{
    int e = 0, first = 0;
    if (largest > 0.0 && (always || largest > 0x1p60)) {
        e = ilogb(largest);
        first = reach > 0.0 ? ilogb(reach) : 0;
        first = first < -126 ? -126 : first > 126 ? 126 : first;
    }
    f->before = ldexpf(1.0f, -first);
    f->after = (float)ldexp(r->T, first - e);
    f->one = (float)ldexp(1.0, -e);
    return e;
}

static double eps_of(const struct tenon_softmax_params *p, uint32_t kind)
{
    if (kind == TENON_SOFTMAX_STABLEMAX)
        return 0.0;
    if (p->eps >= 0.0f)
        return (double)p->eps;
    return kind == TENON_SOFTMAX_SOFTPICK ? (double)1e-6f : (double)1e-5f;
}

/* Scales of the terms; eps in the same. */
static double prepare_share(struct row *r, const struct part *p, uint32_t kind)
{
    struct family *f = r->family;
    const double eps = eps_of(f->p, kind), M = (double)p->m, z = M * r->T, top = M > 0.0 ? z : 0.0;
    if (kind == TENON_SOFTMAX_SOFTPICK) {
        f->c = (float)exp(-top);
        f->high = top >= 0.5;
        return eps;
    }
    if (kind == TENON_SOFTMAX_STABLEMAX) {
        scale_logits(f, r, fabs(M), fabs(z), 0);
        f->c = z < 0.0 ? 1.0f : f->one;
        return 0.0;
    }
    int e;
    if (kind == TENON_SOFTMAX_QUAD_NORM) {
        const double c = fabs((double)f->p->quad_c), largest = (double)p->reach * r->T;
        e = scale_logits(f, r, (double)p->reach, largest > c ? largest : c, 1);
        f->c = (float)ldexp((double)f->p->quad_c, -e);
    } else {
        e = scale_logits(f, r, M > 0.0 ? M : 0.0, top, 1);
    }
    return ldexp(eps, kind == TENON_SOFTMAX_RELU_NORM ? -e : -2 * e);
}

static void prepare_scale(struct family *f, double factor)
{
    int e;
    const double m = frexp(factor, &e); /* below 1: it cannot overflow; powers that raise come last */
    f->before = 1.0f;
    f->factor = (float)m;
    f->after = 1.0f;
    f->shift = 1.0f;
    if (e > 0) {
        f->before = ldexpf(1.0f, e - 1);
        f->factor = (float)(2.0 * m);
    } else if (e < -100) {
        f->after = ldexpf(1.0f, -100);
        f->shift = ldexpf(1.0f, e + 100);
    } else {
        f->after = ldexpf(1.0f, e);
    }
}

/* ---- the kinds ---- */

/* The temperature that the entropy asks for. */
static void adapt(const struct run *run, struct row *r, int64_t row, struct part *p)
{
    const struct tenon_softmax_params *a = r->family->p;
    const double H = log(p->s) - p->a / p->s;
    double beta = 1.0;
    if (H > (double)a->adaptive_gate) {
        beta = (double)a->adaptive_c4 * H + (double)a->adaptive_c3;
        beta = (beta * H + (double)a->adaptive_c2) * H + (double)a->adaptive_c1;
        beta = beta * H + (double)a->adaptive_c0;
        beta = beta > 1.0 ? beta : 1.0;
    }
    put(run, TENON_SOFTMAX_BETA, row, beta);
    if (beta == 1.0)
        return;
    split_temperature(r, r->T * beta);
    p->s = p->a = p->q = 0.0;
    sweep(run, r, exps_tile, merge_exps, p);
}

static int exps_row(const struct run *run, struct row *r, int64_t row, struct part *p, const float *sink)
{
    r->reference = p->m;
    sweep(run, r, exps_tile, merge_exps, p);
    if (r->family->p->adaptive)
        adapt(run, r, row, p);
    return finish(run, r, row, p, sink);
}

static void merge_terms(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->s += p->s;
}

static void share_row(const struct run *run, struct row *r, const struct part *p, tile_fn *sum)
{
    struct family *f = r->family;
    struct part total;
    const double eps = prepare_share(r, p, run->s->kind);
    r->reference = p->m;
    part_init(&total);
    sweep(run, r, sum, merge_terms, &total);
    f->sum = total.s > 0.0 ? (float)(total.s + eps) : 1.0f; /* without any weight all terms are 0 */
}

static void sparse_row(const struct run *run, struct row *r, int64_t row, struct part *p)
{
    struct family *f = r->family;
    const double half = run->s->kind == TENON_SOFTMAX_ENTMAX15 ? 0.5 : 1.0;
    struct part last;
    r->reference = p->m;
    sweep(run, r, near_tile, NULL, NULL);
    f->tau = -1.0;
    if (run->s->kind == TENON_SOFTMAX_SPARSEMAX)
        sparsemax_tau(run, r);
    else
        entmax_tau(run, r);
    excess(run, r, &last);
    p->n = last.n;
    put(run, TENON_SOFTMAX_TAU, row, (double)p->m * r->T * half + f->tau);
}

/* Everything that y needs. 0: the row is NaN. */
static int prepare_row(const struct run *run, struct row *r, int64_t row, struct part *p, const float *sink)
{
    struct family *f = r->family;
    const uint32_t kind = run->s->kind;
    const double n = (double)p->there;
    switch (kind) {
    case TENON_SOFTMAX_EXP:
    case TENON_SOFTMAX_LOG_EXP:
        return exps_row(run, r, row, p, sink);
    case TENON_SOFTMAX_SPARSEMAX:
    case TENON_SOFTMAX_ENTMAX15:
        sparse_row(run, r, row, p);
        return 1;
    case TENON_SOFTMAX_SIGMOID:
        /* e^z / (e^z + n): in f32 a bias of -ln n would cost more than all the rest */
        f->sum = f->p->sigmoid_rule == TENON_SOFTMAX_BIAS_FIXED ? 1.0f : (float)n;
        f->bias = f->p->sigmoid_bias;
        return 1;
    case TENON_SOFTMAX_SCALE:
        prepare_scale(f, r->T / n);
        return 1;
    default:
        if (r->y)
            share_row(run, r, p, run->s->family_sum);
        if (kind != TENON_SOFTMAX_QUAD_NORM && kind != TENON_SOFTMAX_STABLEMAX)
            p->n = r->T > 0.0 ? p->positive : 0;
        return 1;
    }
}

/* ---- rows ---- */

/* Nothing is above -Inf, and there is no NaN. */
static void family_empty_row(const struct run *run, struct row *r, int64_t row, struct part *p, const float *sink)
{
    const struct softmax *s = run->s;
    const uint32_t post = r->family->p->post;
    const int by_rule = s->kind <= TENON_SOFTMAX_LOG_EXP || s->kind == TENON_SOFTMAX_SPARSEMAX ||
                        s->kind == TENON_SOFTMAX_ENTMAX15;
    double value = 0.0;
    empty_statistics(run, r, row, sink);
    if (is_elementwise(s->kind) && p->there > 0) { /* as their formula says */
        prepare_row(run, r, row, p, NULL);
        if (r->y)
            sweep(run, r, s->write, NULL, NULL);
        return;
    }
    if (by_rule && !sink && s->empty_row == TENON_SOFTMAX_EMPTY_NAN)
        value = (double)NAN;
    else if (by_rule && !sink && s->empty_row == TENON_SOFTMAX_EMPTY_UNIFORM && p->there > 0 &&
             post != TENON_SOFTMAX_POST_CLIP && post != TENON_SOFTMAX_POST_HARD)
        value = 1.0 / (double)p->there;
    fill_row(run, r, (float)(s->kind == TENON_SOFTMAX_LOG_EXP ? log(value) : value));
}

static void family_nan_row(const struct run *run, struct row *r, int64_t row, const struct part *p)
{
    const int32_t arg = p->arg < 0 && p->nans > 0 ? first_of_rest(r) : p->arg;
    nan_statistics(run, row, arg);
    fill_row(run, r, NAN);
}

/* SIGMOID and SCALE of a row that holds NaN or +Inf: y all the same. */
static void odd_row(const struct run *run, struct row *r, int64_t row, struct part *p)
{
    nan_statistics(run, row, p->arg < 0 && p->nans > 0 ? first_of_rest(r) : p->arg);
    prepare_row(run, r, row, p, NULL);
    if (r->y)
        sweep(run, r, run->s->write, NULL, NULL);
}

static void end_family(const struct run *run, struct row *r, int64_t row, struct part *p)
{
    r->family->arg = p->arg;
    if (run->s->kind > TENON_SOFTMAX_LOG_EXP) {
        put(run, TENON_SOFTMAX_MAX, row, (double)p->m);
        put_int(run, TENON_SOFTMAX_ARGMAX, row, p->arg);
        put_int(run, TENON_SOFTMAX_NNZ, row, (int32_t)p->n);
    }
    if (r->y)
        sweep(run, r, run->s->write, NULL, NULL);
}

static void mask_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    (void)s;
    part->there = 0;
    for (int64_t c = c0; c < c1; c += VF) {
        const int n = c1 - c < VF ? (int)(c1 - c) : VF;
        part->there += vm_count(n == VF ? vm_load_u8(r->in.mask + c) : vm_load_u8_n(r->in.mask + c, n));
    }
}

static void merge_mask(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->there += p->there;
}

/* Logits and y of a tile while it is in L1. */
static void elementwise_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    s->keep_logits(s, r, c0, c1, part);
    s->write(s, r, c0, c1, part);
}

/* SIGMOID and SCALE ask of the row only how many entries there are, which the mask tells: one sweep. */
static void elementwise_row(const struct run *run, struct row *r, int64_t row, const float *sink)
{
    struct part p;
    part_init(&p);
    p.there = r->cols;
    if (r->in.mask) {
        p.there = 0;
        sweep(run, r, mask_tile, merge_mask, &p);
    }
    prepare_row(run, r, row, &p, NULL);
    part_init(&p);
    sweep(run, r, elementwise_tile, merge_survey, &p);
    if (!run->s->surveyed)
        return;
    if (p.nans > 0 || p.m == INFINITY) {
        nan_statistics(run, row, -1); /* who asks for ARGMAX does not come here */
    } else if (p.n == 0) {
        empty_statistics(run, r, row, sink);
    } else {
        put(run, TENON_SOFTMAX_MAX, row, (double)p.m);
        put_int(run, TENON_SOFTMAX_NNZ, row, (int32_t)p.n);
    }
}

static void family_row(const struct run *run, struct row *r, int64_t row, const float *sink, int fine)
{
    const struct softmax *s = run->s;
    if (s->one_sweep && fine && !(sink && isnan(*sink))) {
        elementwise_row(run, r, row, sink);
        return;
    }
    const struct tenon_softmax_params *params = r->family->p;
    struct part p;
    part_init(&p);
    sweep(run, r, s->keep_logits, merge_survey, &p);
    if (params->support == TENON_SOFTMAX_SUPPORT_TOPK && p.n < (int64_t)params->k)
        count_row(run, 2);
    support(run, r, &p);
    const int odd = p.nans > 0 || p.m == INFINITY;
    const int quad = s->kind == TENON_SOFTMAX_QUAD_NORM && p.there > p.n;
    if (!fine || p.bad > 0 || quad || (sink && isnan(*sink)) || (odd && !is_elementwise(s->kind))) {
        family_nan_row(run, r, row, &p);
        return;
    }
    if (odd) {
        odd_row(run, r, row, &p);
        return;
    }
    if (p.n == 0) {
        family_empty_row(run, r, row, &p, sink);
        return;
    }
    if (prepare_row(run, r, row, &p, sink))
        end_family(run, r, row, &p);
    else
        family_nan_row(run, r, row, &p);
}

static void run_family(const struct run *run, struct row *r, int64_t row, const float *sink, unsigned char *kept)
{
    const struct softmax *s = run->s;
    const struct tenon_softmax_params *p = run->params;
    const double width = (double)p->zeta - (double)p->gamma;
    struct family f = {.p = p,
                       .v = s->in_y ? r->y : (float *)(void *)kept,
                       .select = kept + s->keys,
                       .set = (float *)(void *)(kept + s->keys),
                       .counts = (int32_t *)(void *)(kept + s->tops),
                       .width = width < (double)FLT_MAX ? (float)width : FLT_MAX};
    r->family = &f;
    r->in.mult = run->ptr[TENON_SOFTMAX_MULT];
    r->in.noise_amp = p->noise_amp;
    if (p->noise == TENON_SOFTMAX_NOISE_GUMBEL || p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL)
        r->in.generate = (struct noise){
            .seed = p->seed,
            .row = (uint32_t)row,
            .sample = p->sample,
            .stream = p->stream,
            .kind = p->noise == TENON_SOFTMAX_NOISE_GUMBEL ? NOISE_GUMBEL : NOISE_ONE_SIDED_NORMAL};
    family_row(run, r, row, sink, set_temperature(run, r, row));
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
    if (ptr[TENON_SOFTMAX_NOISE])
        r.in.noise = (const float *)(const void *)((const char *)ptr[TENON_SOFTMAX_NOISE] + row * s->noise_stride);
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
    if (s->family)
        run_family(run, &r, row, sink, kept);
    else if (!set_temperature(run, &r, row))
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
