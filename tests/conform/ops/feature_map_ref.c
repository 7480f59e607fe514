/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * feature_map in f64, straight from the formulas of tenon/ops/feature_map.h, and the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/feature_map.h>
#include "../act_ref.h"

#define F(NAME) TENON_FEATURE_MAP_##NAME
#define U       ACT_REF_U
#define FLOOR   0x1p-125
#define BEYOND  0x1.fep127 /* what may leave f32 */
#define ANY     ((double)INFINITY)

struct row {
    const struct tenon_feature_map_params *p;
    int64_t k, kb;
    const double *x, *b;
    double *y, *e; /* e: what y may be off */
};

static void set(const struct row *r, int64_t i, double y, double e)
{
    r->y[i] = y;
    r->e[i] = !isfinite(y) ? isinf(e) ? ANY : 0 : fabs(y) > BEYOND || isnan(e) ? ANY : e;
}

/* a b, of which a may have been rounded to 0 where b is infinite. */
static void set_product(const struct row *r, int64_t i, double a, double b, double units, int rounded)
{
    const int unclear = rounded && ((isinf(a) && fabs(b) < 0x1p-90) || (isinf(b) && fabs(a) < 0x1p-90));
    set(r, i, a * b, unclear ? ANY : units * U * fabs(a * b) + FLOOR * (1 + fabs(a) + fabs(b)));
}

static double positive(double v)
{
    return v > 0 ? v : isnan(v) ? v : 0;
}

/* ---- kinds that look at nothing but the entry ---- */

static void map_entry(const struct row *r, int64_t i)
{
    const struct act_ref silu = {.kind = TENON_ACT_SILU};
    const double x = r->x[i];
    switch (r->p->kind) {
    case F(RELU): set(r, i, positive(x), FLOOR); break;
    case F(RELU2): set_product(r, i, positive(x), positive(x), 2, 0); break;
    case F(ELU1): set(r, i, x > 0 ? x + 1 : exp(x), 6 * U * (x > 0 ? x + 1 : exp(x)) + FLOOR); break;
    case F(SILU): set(r, i, act_ref(&silu, x), act_ref_error(&silu, x, act_ref(&silu, x)) + FLOOR); break;
    case F(EXP): set(r, i, exp(x), 6 * U * exp(x) + FLOOR); break;
    default: set(r, i, x, FLOOR);
    }
    if (isinf(x)) /* no error there, whatever multiplies an infinite y */
        r->e[i] = 0;
}

/* ---- kinds of the row ---- */

static void softmax(const struct row *r, int64_t n)
{
    const int twice = r->p->kind == F(HEDGEHOG);
    double m = -(double)INFINITY, sum = 0;
    int bad = 0, any = 0;
    for (int64_t i = 0; i < n; i++) {
        const double v = twice ? i < r->k ? 2 * r->x[i] : -2 * r->x[i - r->k] : r->x[i];
        r->y[i] = v;
        m = v > m ? v : m;
        any |= isfinite(v) && fabs(v) > BEYOND;
        bad |= isnan(v) || (isinf(v) && (twice || v > 0));
    }
    for (int64_t i = 0; i < n; i++)
        sum += isinf(r->y[i]) ? 0 : exp(r->y[i] - m);
    for (int64_t i = 0; i < n; i++) {
        const double d = r->y[i] - m, y = bad ? (double)NAN : isinf(r->y[i]) ? 0 : exp(d) / sum;
        set(r, i, y, any ? ANY : isinf(d) || isnan(d) ? 0 : (12 + fabs(d)) * U * y + FLOOR);
    }
}

static void scaled(const struct row *r)
{
    const int l2 = r->p->kind == F(L2);
    const double eps = (double)r->p->eps;
    double sum = 0, size = 0, largest = 0;
    for (int64_t i = 0; i < r->k; i++) {
        sum += l2 ? r->x[i] * r->x[i] : r->x[i];
        size += fabs(r->x[i]);
        largest = fmax(largest, fabs(r->x[i]));
    }
    const double by = l2 ? sqrt(sum + eps) : sum + eps, q = l2 ? 0 : 4 * U * size / fabs(by);
    for (int64_t i = 0; i < r->k; i++) {
        const double y = isfinite(size) ? r->x[i] / by : (double)NAN;
        set(r, i, y, q < 0.5 ? (8 * U + 2 * q) * fabs(y) + FLOOR * (1 + (1 + largest) / fabs(by)) : ANY);
        if (!isfinite(size))
            r->e[i] = 0;
    }
}

static double half(const struct row *r, int64_t i)
{
    return i < r->k ? positive(r->x[i]) : positive(-r->x[i - r->k]);
}

static void dpfp(const struct row *r)
{
    const int64_t n = 2 * r->k;
    for (int64_t j = 1; j <= r->p->nu; j++)
        for (int64_t i = 0; i < n; i++)
            set_product(r, (j - 1) * n + i, half(r, i), half(r, ((i - j) % n + n) % n), 2, 0);
}

static void taylor2(const struct row *r)
{
    const double k = (double)r->k;
    int64_t at = 1 + 2 * r->k;
    set(r, 0, 1, 0);
    for (int64_t i = 0; i < r->k; i++) {
        set_product(r, 1 + i, r->x[i], 1 / sqrt(sqrt(k)), 6, 0);
        set_product(r, 1 + r->k + i, r->x[i] / sqrt(2 * k), r->x[i], 6, 1);
    }
    for (int64_t i = 0; i < r->k; i++)
        for (int64_t j = i + 1; j < r->k; j++)
            set_product(r, at++, r->x[i] / sqrt(k), r->x[j], 6, 1);
}

static void nala(const struct row *r)
{
    const int of_q = r->p->kind == F(NALA_Q);
    double power = (double)r->p->power, s = 0;
    for (int64_t i = 0; i < r->k; i++)
        s += r->x[i] * r->x[i];
    s = sqrt(s);
    if (of_q)
        power *= 0.5 + tanh(s);
    for (int64_t i = 0; i < 2 * r->k; i++) {
        const double h = half(r, i), f = !of_q ? h : s > 0 ? h / s : 0, y = f > 0 ? pow(f, power) : h;
        const double log_size = f > 0 && isfinite(f) ? fabs(log(f)) : 0;
        const double units = of_q ? 16 + 16 * power + 40 * power * log_size
                             : r->p->power == 3.0f ? 8 : 16 + 16 * power * log_size;
        /* entries below 2^-126 may be 0 */
        const double flushed = of_q && s > 0 ? 2 * FLOOR * (1 + power) * sqrt((double)r->k) / s : 0;
        set(r, i, of_q && !isfinite(s) ? (double)NAN : y, units * U * y + FLOOR * (1 + f * f) + flushed);
        if (of_q ? !isfinite(s) : !isfinite(h))
            r->e[i] = 0;
    }
}

static void map_row(const struct row *r)
{
    switch (r->p->kind) {
    case F(SOFTMAX): softmax(r, r->k); break;
    case F(HEDGEHOG): softmax(r, 2 * r->k); break;
    case F(L2):
    case F(SUMNORM): scaled(r); break;
    case F(DPFP): dpfp(r); break;
    case F(TAYLOR2): taylor2(r); break;
    case F(NALA_Q):
    case F(NALA_K): nala(r); break;
    case F(OUTER):
        for (int64_t i = 0; i < r->k * r->kb; i++)
            set_product(r, i, r->x[i / r->kb], r->b[i % r->kb], 2, 0);
        break;
    default:
        for (int64_t i = 0; i < r->k; i++)
            map_entry(r, i);
    }
}

static void read_row(const struct conform_slot *slot, int64_t row, int64_t n, double *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, row * n + i));
}

void tenon__conform_feature_map_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *x = &c->slot[F(X)].tensor, *b = &c->slot[F(B)].tensor, *y = &c->slot[F(Y)].tensor;
    const struct tenon_feature_map_params *p = (const void *)c->params;
    struct row r = {.p = p, .k = x->dim[x->rank - 1]};
    const int64_t width = y->dim[y->rank - 1], count = tenon_tensor_count(y);
    r.kb = b->dtype ? b->dim[b->rank - 1] : r.k;
    double *own = calloc((size_t)(r.k + r.kb + 1), sizeof *own);
    want[F(Y)].exact = c->mode != CONFORM_ADVERSARIAL && (p->kind == F(IDENTITY) || p->kind == F(RELU) ||
                                                          p->kind == F(RELU2) || p->kind == F(DPFP) ||
                                                          p->kind == F(OUTER));
    for (int64_t i = 0; i < count; i += width) {
        read_row(&c->slot[F(X)], i / width, r.k, own);
        if (b->dtype)
            read_row(&c->slot[F(B)], i / width, r.kb, own + r.k);
        r.x = own;
        r.b = b->dtype ? own + r.k : own;
        r.y = want[F(Y)].want + i;
        r.e = want[F(Y)].bound + i;
        map_row(&r);
        for (int64_t j = 0; j < width; j++)
            if (y->dtype != TENON_F32 && isfinite(r.y[j]))
                r.e[j] += conform_ulp(y->dtype, r.y[j]);
    }
    free(own);
}
