/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in f64, straight from the formulas of tenon/ops/softmax.h, and the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/softmax.h>
#include "../conform.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below */

/* One row on its way through the formulas. */
struct row {
    const struct conform_case *c;
    const struct tenon_softmax_params *p;
    int64_t row, cols;
    double *v; /* logits after scale and bias; masked ones are skipped by valid */
    char *valid;
    double M, M2, R, T, s, own, a, S, extra; /* extra: distance of FIXED_MAX's maximum from the true one, times T */
    int64_t argmax, above;                   /* above: entries above -Inf */
    int nan, sunk;
};

/* Neumaier's compensated sum. */
struct sum {
    double total, lost;
};
static void sum_add(struct sum *sum, double value)
{
    double t = sum->total + value;
    sum->lost += fabs(sum->total) >= fabs(value) ? sum->total - t + value : value - t + sum->total;
    sum->total = t;
}

static double side(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* The value of a tensor that is as x or [cols]. */
static double wide(const struct conform_case *c, uint32_t i, int64_t row, int64_t cols, int64_t col)
{
    return side(c, i, c->slot[i].tensor.rank == 1 && c->slot[TENON_SOFTMAX_X].tensor.rank > 1 ? col : row * cols + col);
}

static int is_valid(const struct row *r, int64_t col)
{
    const struct conform_case *c = r->c;
    if (c->slot[TENON_SOFTMAX_VALID_LEN].tensor.dtype)
        return (double)col < side(c, TENON_SOFTMAX_VALID_LEN, r->row);
    if (c->slot[TENON_SOFTMAX_MASK].tensor.dtype)
        return wide(c, TENON_SOFTMAX_MASK, r->row, r->cols, col) != 0;
    return 1;
}

static void read_row(struct row *r)
{
    const struct conform_slot *x = &r->c->slot[TENON_SOFTMAX_X];
    int bias = r->c->slot[TENON_SOFTMAX_BIAS].tensor.dtype != 0;
    int64_t begin = r->cols ? conform_offset(&x->tensor, r->row * r->cols) : 0;
    for (int64_t j = 0; j < r->cols; j++) {
        double value = conform_get(conform_first(x), x->tensor.dtype, begin + j);
        r->valid[j] = (char)is_valid(r, j);
        if (bias || r->p->scale != 1.0f) /* rounded to f32 once: part of the contract */
            value = (double)fmaf((float)value, r->p->scale,
                                 bias ? (float)wide(r->c, TENON_SOFTMAX_BIAS, r->row, r->cols, j) : 0.0f);
        r->v[j] = value;
    }
}

/* The total order of SPEC.md: NaN below everything, -0 equals +0. */
static int greater(double a, double b)
{
    return isnan(b) ? !isnan(a) : a > b;
}

static void find_maxima(struct row *r)
{
    int64_t best = -1;
    r->M = r->M2 = -(double)INFINITY;
    r->nan = 0;
    r->above = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->valid[j])
            continue;
        if (best < 0 || greater(r->v[j], r->v[best]))
            best = j;
        r->nan |= isnan(r->v[j]) || r->v[j] == (double)INFINITY;
        if (!(r->v[j] > -(double)INFINITY))
            continue;
        r->above++;
        if (r->v[j] > r->M) {
            r->M2 = r->M;
            r->M = r->v[j];
        } else if (r->v[j] > r->M2) {
            r->M2 = r->v[j];
        }
    }
    r->argmax = r->above || r->nan ? best : -1;
}

static double weight(const struct row *r, double v)
{
    return v == -(double)INFINITY ? 0 : exp((v - r->R) * r->T);
}

static void sum_row(struct row *r)
{
    /* s gives S and the weights, about R; own and a give the entropy of the row, which no sink changes, about M: about
     * a sink far above the row they would vanish. */
    struct sum s = {0, 0}, own = {0, 0}, a = {0, 0};
    double sink =
        r->sunk ? side(r->c, TENON_SOFTMAX_SINK, r->c->slot[TENON_SOFTMAX_SINK].tensor.dim[0] == 1 ? 0 : r->row) : 0;
    r->R = r->sunk && sink > r->M ? sink : r->M;
    for (int64_t j = 0; j < r->cols && !r->nan && r->above; j++) {
        if (!r->valid[j] || r->v[j] == -(double)INFINITY)
            continue;
        double d = (r->v[j] - r->M) * r->T, e = exp(d);
        sum_add(&s, weight(r, r->v[j]));
        sum_add(&own, e);
        sum_add(&a, e * d);
    }
    r->s = s.total + s.lost;
    r->own = own.total + own.lost;
    r->a = a.total + a.lost;
    r->S = r->s + (r->sunk ? exp((sink - r->R) * r->T) : 0);
    r->extra =
        r->p->algo == TENON_SOFTMAX_FIXED_MAX ? 2 * fmin(fabs(r->M - (double)r->p->phi) * r->T, (double)r->p->win) : 0;
}

static void read_scale(struct row *r)
{
    const struct conform_slot *slot = &r->c->slot[TENON_SOFTMAX_ROW_SCALE];
    float T = r->p->inv_temp, scale = slot->tensor.dtype ? (float)side(r->c, TENON_SOFTMAX_ROW_SCALE, r->row) : 1.0f;
    r->T = (double)(T * scale); /* both are f32, and so is their product */
    r->sunk = r->c->slot[TENON_SOFTMAX_SINK].tensor.dtype != 0;
    if (!(scale >= 0) || isinf(scale))
        r->nan = 1;
}

/* c*|d| + b*|v| of the tolerance, beyond the constant. */
static double slope_term(const struct row *r, double v)
{
    double c = r->T == 1 ? 1 : 2, d = fabs((v - r->R) * r->T);
    int piped = r->p->scale != 1.0f || r->c->slot[TENON_SOFTMAX_BIAS].tensor.dtype;
    if (r->p->algo == TENON_SOFTMAX_TWO_PASS_EXT && r->M <= 0x1p20 && r->M >= -0x1p20)
        c = 0; /* rows beyond the guard are redone; bounded by the wider of the two only where M shows it */
    return (c != 0 ? c * d : 0) + (piped ? fabs(v) : 0) + r->extra;
}

/* A logarithm is an absolute quantity. Beside ln S it is d, its product with T and their difference that round. */
static double log_bound(const struct row *r, double y)
{
    return U * (8 + (r->T == 1 ? 2 : 3) * fabs(y) + fabs(r->R) + r->extra) + FLOOR;
}

static double empty_value(const struct row *r, int64_t j)
{
    int64_t valid = 0;
    if (r->sunk || r->p->empty_row == TENON_SOFTMAX_EMPTY_ZERO || !r->valid[j])
        return 0;
    if (r->p->empty_row == TENON_SOFTMAX_EMPTY_NAN)
        return (double)NAN;
    for (int64_t i = 0; i < r->cols; i++)
        valid += r->valid[i];
    return 1.0 / (double)valid;
}

static void expect_y(const struct row *r, struct conform_want *want, uint32_t dtype)
{
    double *y = want->want + r->row * r->cols, *bound = want->bound + r->row * r->cols, ln = log(r->S);
    int logs = r->p->kind == TENON_SOFTMAX_LOG_EXP;
    for (int64_t j = 0; j < r->cols; j++) {
        double d = (r->v[j] - r->R) * r->T, rounding = dtype == TENON_F32 ? 0 : 1;
        if (!r->valid[j] || (!r->nan && r->above && r->v[j] == -(double)INFINITY)) {
            y[j] = logs ? -(double)INFINITY : 0;
            bound[j] = 0;
        } else if (r->nan) {
            y[j] = (double)NAN;
        } else if (!r->above) {
            y[j] = empty_value(r, j);
            y[j] = logs ? log(y[j]) : y[j];
            bound[j] = fabs(isinf(y[j]) ? 0 : y[j]) * U * 8;
        } else if (logs) {
            y[j] = d - ln;
            bound[j] = log_bound(r, y[j]);
        } else {
            y[j] = exp(d) / r->S;
            bound[j] = y[j] * U * (12 + slope_term(r, r->v[j])) + FLOOR;
        }
        if (rounding != 0 && isfinite(y[j]) && bound[j] != 0)
            bound[j] += conform_ulp(dtype, y[j]);
    }
}

static void put(struct conform_want *want, uint32_t i, const struct row *r, double value, double bound)
{
    if (!want[i].want)
        return;
    want[i].want[r->row] = value;
    want[i].bound[r->row] = bound;
}

static void expect_stats(const struct row *r, struct conform_want *want)
{
    double inf = (double)INFINITY, pmax, lse, bound, slope;
    put(want, TENON_SOFTMAX_ARGMAX, r, (double)r->argmax, 0);
    if (r->nan) {
        for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_N_TENSORS; i++)
            if (i != TENON_SOFTMAX_ARGMAX)
                put(want, i, r, (double)NAN, 0);
        return;
    }
    put(want, TENON_SOFTMAX_MAX, r, r->M, fabs(r->M) < FLOOR ? FLOOR : 0);
    lse = r->above ? r->R * r->T + log(r->S) : r->sunk ? r->R * r->T : -inf;
    bound = isinf(lse) ? 0 : log_bound(r, lse);
    put(want, TENON_SOFTMAX_LSE, r, lse, bound);
    if (!r->above && !r->sunk)
        put(want, TENON_SOFTMAX_ENERGY, r, inf, 0);
    else if (r->T == 0)
        put(want, TENON_SOFTMAX_ENERGY, r, -inf, 0);
    else
        put(want, TENON_SOFTMAX_ENERGY, r, -lse / r->T, bound / r->T + 2 * U * fabs(lse / r->T));
    if (!r->above) {
        for (uint32_t i = TENON_SOFTMAX_PMAX; i <= TENON_SOFTMAX_ENTROPY; i++)
            put(want, i, r, 0, 0);
        return;
    }
    pmax = weight(r, r->M) / r->S;
    /* With a sink far above the row the rounding of (M - R)*T shows in pmax as it does in y. */
    slope = 32 + slope_term(r, r->M);
    put(want, TENON_SOFTMAX_PMAX, r, pmax, pmax * U * slope + FLOOR);
    put(want, TENON_SOFTMAX_MARGIN, r, pmax - weight(r, r->M2) / r->S, pmax * U * slope + FLOOR);
    put(want, TENON_SOFTMAX_ENTROPY, r, log(r->own) - r->a / r->own, 4e-6 * (1 + log((double)r->cols)) + r->extra * U);
}

static void mark_exact(const struct conform_case *c, const struct tenon_softmax_params *p, struct conform_want *want)
{
    want[TENON_SOFTMAX_ARGMAX].exact = 1;
    if (c->mode != CONFORM_EXACT)
        return;
    want[TENON_SOFTMAX_MAX].exact = want[TENON_SOFTMAX_PMAX].exact = want[TENON_SOFTMAX_MARGIN].exact = 1;
    want[TENON_SOFTMAX_Y].exact = p->kind == TENON_SOFTMAX_EXP;
}

void tenon__conform_softmax_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_X].tensor;
    struct row r = {.c = c, .p = (const void *)c->params, .cols = x->dim[x->rank - 1]};
    int64_t rows = 1;
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    mark_exact(c, r.p, want);
    r.v = malloc(sizeof(*r.v) * (size_t)(r.cols + 1));
    r.valid = malloc((size_t)r.cols + 1);
    for (r.row = 0; r.v && r.valid && r.row < rows; r.row++) {
        read_row(&r);
        find_maxima(&r);
        read_scale(&r);
        sum_row(&r);
        if (want[TENON_SOFTMAX_Y].want)
            expect_y(&r, &want[TENON_SOFTMAX_Y], c->slot[TENON_SOFTMAX_Y].tensor.dtype);
        expect_stats(&r, want);
    }
    free(r.valid);
    free(r.v);
}

/* Mass: the weights of a row without a sink sum to one. */
int tenon__conform_softmax_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct tenon_softmax_params *p = (const void *)c->params;
    const struct conform_slot *y = &c->slot[TENON_SOFTMAX_Y];
    const struct conform_want *w = &want[TENON_SOFTMAX_Y];
    int64_t cols = y->tensor.dtype ? y->tensor.dim[y->tensor.rank - 1] : 0;
    if (cols == 0 || y->tensor.dtype != TENON_F32 || p->kind != TENON_SOFTMAX_EXP ||
        c->slot[TENON_SOFTMAX_SINK].tensor.dtype)
        return 0;
    for (int64_t row = 0; row < w->count / cols; row++) {
        struct sum got = {0, 0}, should = {0, 0};
        int64_t at = conform_offset(&y->tensor, row * cols);
        for (int64_t j = 0; j < cols; j++) {
            sum_add(&got, conform_get(conform_first(y), TENON_F32, at + j));
            sum_add(&should, w->want[row * cols + j]);
        }
        /* Empty and NaN rows have no mass to check; FIXED_MAX may lose what the specification grants it. */
        if (fabs(should.total + should.lost - 1) < 1e-9 && p->algo != TENON_SOFTMAX_FIXED_MAX &&
            !(fabs(got.total + got.lost - 1) <= 32 * U + (double)cols * FLOOR))
            return tenon_why_set(why, 1, "row %lld: the weights sum to 1%+.3g, at most 32u = %.3g off", (long long)row,
                                 got.total + got.lost - 1, 32 * U);
    }
    return 0;
}
