/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: what a row leaves beside y, and the rows that have no maximum. */
#ifndef TENON_SOFTMAX_CPU_STATS_H
#define TENON_SOFTMAX_CPU_STATS_H

#include "softmax_cpu_sweep.h"

/* y[from, to): `value` where entries exist, `masked` where not. */
static void fill_y(const struct softmax *s, const struct row *r, int64_t from, int64_t to, int exist, float value)
{
    const float masked = s->kind == TENON_SOFTMAX_LOG_EXP ? MINUS_INF : 0.0f;
    for (int64_t c = from; c < to; c++) {
        const float y = exist && (!r->in.mask || r->in.mask[c]) ? value : masked;
        if (s->y_dtype == TENON_F32)
            ((float *)r->y)[c] = y;
        else if (s->y_dtype == TENON_U8)
            ((uint8_t *)r->y)[c] = 0; /* only what does not exist comes here */
        else
            ((uint16_t *)r->y)[c] = s->y_dtype == TENON_F16 ? simd_to_f16(y) : simd_to_bf16(y);
    }
}

static void put(const struct run *run, uint32_t i, int64_t row, double value)
{
    if (run->ptr[i])
        ((float *)run->ptr[i])[row] = (float)value;
}

static void put_int(const struct run *run, uint32_t i, int64_t row, int32_t value)
{
    if (run->ptr[i])
        ((int32_t *)run->ptr[i])[row] = value;
}

/* Rows are on many threads; sums of integers do not care. */
static void count_row(const struct run *run, int flag)
{
    uint32_t *flags = run->ptr[TENON_SOFTMAX_FLAGS];
    if (flags)
        __atomic_fetch_add(flags + flag, 1, __ATOMIC_RELAXED);
}

static void nan_statistics(const struct run *run, int64_t row, int32_t arg)
{
    count_row(run, 0);
    put_int(run, TENON_SOFTMAX_ARGMAX, row, arg);
    put_int(run, TENON_SOFTMAX_NNZ, row, 0);
    for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_FLAGS; i++)
        if (i != TENON_SOFTMAX_ARGMAX && i != TENON_SOFTMAX_NNZ)
            put(run, i, row, (double)NAN);
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
    nan_statistics(run, row, arg);
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

static void empty_statistics(const struct run *run, const struct row *r, int64_t row, const float *sink)
{
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
    put(run, TENON_SOFTMAX_SUM, row, sink ? 1.0 : 0.0);
    put(run, TENON_SOFTMAX_SUMSQ, row, 0.0);
    put(run, TENON_SOFTMAX_TAU, row, -(double)INFINITY);
    put(run, TENON_SOFTMAX_BETA, row, 1.0);
    put_int(run, TENON_SOFTMAX_NNZ, row, 0);
    put_int(run, TENON_SOFTMAX_ARGMAX, row, -1);
    count_row(run, 1);
}

static void empty_row(const struct run *run, const struct row *r, int64_t row, const float *sink)
{
    const struct softmax *s = run->s;
    const int zero = sink || s->empty_row == TENON_SOFTMAX_EMPTY_ZERO;
    empty_statistics(run, r, row, sink);
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
    put_int(run, TENON_SOFTMAX_ARGMAX, row, p->arg);
    put_int(run, TENON_SOFTMAX_NNZ, row, (int32_t)p->n);
    put(run, TENON_SOFTMAX_SUM, row, S);
    put(run, TENON_SOFTMAX_SUMSQ, row, p->q * pmax * pmax);
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

#endif
