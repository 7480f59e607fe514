/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk in f64, straight from the formulas of tenon/ops/softmax_topk.h, and the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/softmax_topk.h>
#include "../conform.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below */

struct entry {
    double v;
    int64_t col;
};

/* One row on its way through the formulas. */
struct row {
    const struct conform_case *c;
    const struct tenon_softmax_topk_params *p;
    int64_t row, cols;
    double *v;
    char *valid;
    struct entry *best; /* above -Inf, the first k (2 at least) in order; then the NaN */
    int64_t above, n;
    double M, R, T, S, s, a, selected, sink_term;
    int nan, sunk;
};

struct sum {
    double total, lost;
};
static void sum_add(struct sum *sum, double value)
{
    double t = sum->total + value;
    sum->lost += fabs(sum->total) >= fabs(value) ? sum->total - t + value : value - t + sum->total;
    sum->total = t;
}

static int has(const struct row *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

static double side(const struct row *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* The value of a tensor that is as x or [cols]. */
static double wide(const struct row *r, uint32_t i, int64_t col)
{
    const struct conform_slot *slot = r->c->slot;
    const int one = slot[i].tensor.rank == 1 && slot[TENON_SOFTMAX_TOPK_X].tensor.rank > 1;
    return side(r, i, one ? col : r->row * r->cols + col);
}

/* Each step is rounded to f32: part of the contract. */
static float logit(const struct row *r, int64_t col)
{
    const struct tenon_softmax_topk_params *p = r->p;
    const struct conform_noise noise = {p->seed, p->stream, p->sample};
    float v = (float)wide(r, TENON_SOFTMAX_TOPK_X, col), added;
    if (p->scale != 1.0f || has(r, TENON_SOFTMAX_TOPK_BIAS))
        v = fmaf(v, p->scale, has(r, TENON_SOFTMAX_TOPK_BIAS) ? (float)wide(r, TENON_SOFTMAX_TOPK_BIAS, col) : 0.0f);
    if (p->noise == TENON_SOFTMAX_NOISE_NONE)
        return v;
    added = p->noise == TENON_SOFTMAX_NOISE_GUMBEL ? conform_noise_gumbel(&noise, (uint32_t)r->row, (uint32_t)col)
                                                   : (float)wide(r, TENON_SOFTMAX_TOPK_NOISE, col);
    added = p->noise_amp * added;
    return v + added;
}

static int in_order(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->v != y->v)
        return x->v > y->v ? -1 : 1;
    return x->col < y->col ? -1 : x->col > y->col;
}

static void exchange(struct entry *a, struct entry *b)
{
    const struct entry c = *a;
    *a = *b;
    *b = c;
}

/* The first k of n in order, the rest behind them in none (Hoare's quickselect; no two entries are equal). */
static void order_first(struct entry *e, int64_t n, int64_t k)
{
    int64_t from = 0, to = n;
    while (to - from > 64 && k < to) {
        struct entry *first = &e[from], *middle = &e[from + (to - from) / 2], *last = &e[to - 1];
        if (in_order(middle, first) < 0)
            exchange(middle, first);
        if (in_order(last, middle) < 0)
            exchange(last, middle);
        if (in_order(middle, first) < 0)
            exchange(middle, first);
        const struct entry pivot = *middle;
        int64_t i = from, j = to - 1;
        while (i <= j) {
            while (in_order(&e[i], &pivot) < 0)
                i++;
            while (in_order(&e[j], &pivot) > 0)
                j--;
            if (i <= j)
                exchange(&e[i++], &e[j--]);
        }
        /* [from, j] come before [i, to); between them lies at most the pivot */
        if (k <= j)
            to = j + 1;
        else if (k >= i)
            from = i;
        else
            to = from = k;
    }
    k = to > k ? to : k;
    qsort(e, (size_t)(k < n ? k : n), sizeof *e, in_order);
}

static void read_row(struct row *r)
{
    const double inf = (double)INFINITY;
    int64_t nans = 0;
    r->above = 0;
    r->nan = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        r->valid[j] = 1;
        if (has(r, TENON_SOFTMAX_TOPK_VALID_LEN))
            r->valid[j] = (double)j < side(r, TENON_SOFTMAX_TOPK_VALID_LEN, r->row);
        if (has(r, TENON_SOFTMAX_TOPK_MASK))
            r->valid[j] = wide(r, TENON_SOFTMAX_TOPK_MASK, j) != 0;
        r->v[j] = r->valid[j] ? (double)logit(r, j) : -inf;
        r->nan |= isnan(r->v[j]) || r->v[j] == inf;
        if (r->v[j] > -inf)
            r->best[r->above++] = (struct entry){r->v[j], j};
    }
    order_first(r->best, r->above, r->p->k < 2 ? 2 : r->p->k);
    for (int64_t j = 0; j < r->cols; j++)
        if (isnan(r->v[j]))
            r->best[r->above + nans++] = (struct entry){r->v[j], j};
    r->n = r->above + nans;
}

static void read_sides(struct row *r)
{
    float scale = has(r, TENON_SOFTMAX_TOPK_ROW_SCALE) ? (float)side(r, TENON_SOFTMAX_TOPK_ROW_SCALE, r->row) : 1.0f;
    const struct tenon_tensor *sink = &r->c->slot[TENON_SOFTMAX_TOPK_SINK].tensor;
    double value = -(double)INFINITY;
    r->T = (double)(r->p->inv_temp * scale);
    r->nan |= !(scale >= 0) || isinf(scale);
    if (sink->dtype)
        value = side(r, TENON_SOFTMAX_TOPK_SINK, sink->dim[0] == 1 ? 0 : r->row);
    r->nan |= isnan(value) || value == (double)INFINITY;
    r->M = r->above && !r->nan ? r->best[0].v : -(double)INFINITY;
    r->sunk = sink->dtype != 0;
    r->R = value > r->M ? value : r->M;
    r->sink_term = value > -(double)INFINITY && !r->nan ? exp((value - r->R) * r->T) : 0;
}

static double distance(const struct row *r, double v)
{
    return (v - r->R) * r->T;
}

static void sum_row(struct row *r)
{
    struct sum S = {0, 0}, s = {0, 0}, a = {0, 0}, selected = {0, 0};
    sum_add(&S, r->sink_term);
    sum_add(&selected, r->sink_term);
    for (int64_t i = 0; i < r->above && !r->nan; i++) {
        double d = (r->best[i].v - r->M) * r->T, e = exp(distance(r, r->best[i].v));
        sum_add(&s, exp(d));
        sum_add(&a, exp(d) * d);
        sum_add(&S, e);
        if (i < (int64_t)r->p->k)
            sum_add(&selected, e);
    }
    r->S = S.total + S.lost;
    r->s = s.total + s.lost;
    r->a = a.total + a.lost;
    r->selected = selected.total + selected.lost;
}

/* c*|d| + b*|v| of the tolerance, beyond the constant. */
static double slope(const struct row *r, double v)
{
    int piped = r->p->scale != 1.0f || has(r, TENON_SOFTMAX_TOPK_BIAS) || r->p->noise;
    return (r->T == 1 ? 1 : 2) * fabs(distance(r, v)) + (piped ? fabs(v) : 0);
}

static double log_bound(const struct row *r, double y)
{
    return U * (8 + (r->T == 1 ? 2 : 3) * fabs(y) + fabs(r->R)) + FLOOR;
}

static void expect_slots(const struct row *r, struct conform_want *want)
{
    const int64_t k = r->p->k;
    const struct conform_want *val = &want[TENON_SOFTMAX_TOPK_VAL], *idx = &want[TENON_SOFTMAX_TOPK_IDX];
    for (int64_t i = 0; i < k; i++) {
        const int filled = i < r->above && !r->nan;
        double v = filled ? r->best[i].v : 0, y, bound = 0;
        if (idx->want)
            idx->want[r->row * k + i] = i < r->n ? (double)r->best[i].col : -1;
        if (!val->want)
            continue;
        if (r->nan) {
            y = (double)NAN;
        } else if (!filled) {
            y = r->p->norm == TENON_SOFTMAX_TOPK_LOG || r->p->norm == TENON_SOFTMAX_TOPK_RAW ? -(double)INFINITY : 0;
        } else if (r->p->norm == TENON_SOFTMAX_TOPK_RAW) {
            y = v;
        } else if (r->p->norm == TENON_SOFTMAX_TOPK_LOG) {
            y = distance(r, v) - log(r->S);
            bound = log_bound(r, y);
        } else {
            y = exp(distance(r, v)) / (r->p->norm == TENON_SOFTMAX_TOPK_FULL ? r->S : r->selected);
            bound = y * U * (12 + slope(r, v)) + FLOOR;
        }
        val->want[r->row * k + i] = y;
        val->bound[r->row * k + i] = bound;
    }
}

static void put(struct conform_want *want, uint32_t i, const struct row *r, double value, double bound)
{
    if (!want[i].want)
        return;
    want[i].want[r->row] = r->nan ? (double)NAN : value;
    want[i].bound[r->row] = r->nan || isinf(value) ? 0 : bound;
}

static void expect_stats(const struct row *r, struct conform_want *want)
{
    double pmax = 0, second = 0, bound = 0, lse = -(double)INFINITY, entropy = 0;
    if (r->above) {
        pmax = exp(distance(r, r->M)) / r->S;
        second = r->above > 1 ? exp(distance(r, r->best[1].v)) / r->S : 0;
        bound = pmax * U * (32 + slope(r, r->M)) + FLOOR;
        entropy = log(r->s) - r->a / r->s;
        lse = r->R * r->T + log(r->S);
    } else if (r->sunk) {
        lse = r->R * r->T;
        lse = isnan(lse) ? r->R : lse; /* a sink of -Inf at T == 0 */
    }
    put(want, TENON_SOFTMAX_TOPK_MAX, r, r->M, 0);
    put(want, TENON_SOFTMAX_TOPK_LSE, r, lse, log_bound(r, lse));
    put(want, TENON_SOFTMAX_TOPK_PMAX, r, pmax, bound);
    put(want, TENON_SOFTMAX_TOPK_MARGIN, r, pmax - second, bound);
    put(want, TENON_SOFTMAX_TOPK_ENTROPY, r, entropy, r->above ? 4e-6 * (1 + log((double)r->cols)) : 0);
    if (want[TENON_SOFTMAX_TOPK_FLAGS].want) {
        want[TENON_SOFTMAX_TOPK_FLAGS].want[0] += r->nan;
        want[TENON_SOFTMAX_TOPK_FLAGS].want[1] += !r->nan && r->above == 0;
        want[TENON_SOFTMAX_TOPK_FLAGS].want[2] += r->above < (int64_t)r->p->k;
    }
}

static void mark_exact(const struct conform_case *c, const struct tenon_softmax_topk_params *p,
                       struct conform_want *want)
{
    want[TENON_SOFTMAX_TOPK_IDX].exact = want[TENON_SOFTMAX_TOPK_MAX].exact = want[TENON_SOFTMAX_TOPK_FLAGS].exact = 1;
    want[TENON_SOFTMAX_TOPK_VAL].exact =
        p->norm == TENON_SOFTMAX_TOPK_RAW || (c->mode == CONFORM_EXACT && p->norm == TENON_SOFTMAX_TOPK_FULL);
    want[TENON_SOFTMAX_TOPK_PMAX].exact = want[TENON_SOFTMAX_TOPK_MARGIN].exact = c->mode == CONFORM_EXACT;
}

void tenon__conform_softmax_topk_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_TOPK_X].tensor;
    struct row r = {.c = c, .p = (const void *)c->params, .cols = x->dim[x->rank - 1]};
    int64_t rows = 1;
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    mark_exact(c, r.p, want);
    for (int i = 0; i < 4 && want[TENON_SOFTMAX_TOPK_FLAGS].want; i++)
        want[TENON_SOFTMAX_TOPK_FLAGS].want[i] = want[TENON_SOFTMAX_TOPK_FLAGS].bound[i] = 0;
    r.v = malloc(sizeof(*r.v) * (size_t)(r.cols + 1));
    r.best = malloc(sizeof(*r.best) * (size_t)(r.cols + 1));
    r.valid = malloc((size_t)r.cols + 1);
    for (r.row = 0; r.v && r.best && r.valid && r.row < rows; r.row++) {
        read_row(&r);
        read_sides(&r);
        sum_row(&r);
        expect_slots(&r, want);
        expect_stats(&r, want);
    }
    free(r.valid);
    free(r.best);
    free(r.v);
}
