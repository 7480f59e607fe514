/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify in f64, straight from the rules of tenon/ops/sparsify.h: top-k by halving, thresholds one by one. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/sparsify.h>
#include "../conform.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below */

struct ref {
    const struct conform_case *c;
    const struct tenon_sparsify_params *p;
    int64_t rows, cols;
    char *best;            /* TOPK, BATCH_TOPK: an entry is among the k best */
    double theta, band, Q; /* STAT_TOPK: of this row; how far a backend's theta may be off */
    double *scores;        /* room: of what the k best are chosen from */
};

static double side(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int has(const struct ref *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

/* |x| * wgt, one rounding to f32: the product of two floats is exact in f64. */
static double score_of(const struct ref *r, double x, int64_t col)
{
    return has(r, TENON_SPARSIFY_WGT) ? (double)(float)(fabs(x) * side(r->c, TENON_SPARSIFY_WGT, col)) : fabs(x);
}

/* ---- the k best ---- */

/* The floats in order: -Inf is the least, 0 the zeros. */
static double value_at(int64_t i)
{
    return i < 0 ? -(double)conform_bits_float((uint32_t)-i) : (double)conform_bits_float((uint32_t)i);
}

static int64_t count_from(const struct ref *r, int64_t count, double least)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        n += r->scores[i] >= least;
    return n;
}

/* The k-th best score by halving the interval of floats that it lies in; then the entries above it, and of those equal
 * to it the first. */
static void mark_best(struct ref *r, int64_t first, int64_t count, int64_t k)
{
    int64_t low = -0x7f800000, high = 0x7f800000 + 1; /* at least k from low on, fewer from high on */
    for (int64_t i = 0; i < count; i++) {
        const double x = side(r->c, TENON_SPARSIFY_X, first + i);
        r->scores[i] = r->p->by == TENON_SPARSIFY_BY_ABS ? score_of(r, x, (first + i) % r->cols) : x;
    }
    const int64_t numbers = count_from(r, count, value_at(low));
    k = k < numbers ? k : numbers;
    if (k == 0)
        return;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (count_from(r, count, value_at(middle)) >= k)
            low = middle;
        else
            high = middle;
    }
    int64_t above = 0;
    for (int64_t i = 0; i < count; i++)
        above += r->scores[i] > value_at(low);
    for (int64_t i = 0, equal = k - above; i < count; i++)
        r->best[first + i] = r->scores[i] > value_at(low) || (r->scores[i] == value_at(low) && equal-- > 0);
}

/* ---- theta ---- */

/* Q(1 - k/n) by halving: the tail of x is erfc(x/sqrt 2)/2, which falls. Near 1 that has no digits left: there the
 * other tail is taken. */
static double quantile_above(int64_t k, int64_t n)
{
    double low = -40, high = 40;
    if (k >= n - k)
        return k == n - k ? 0 : -quantile_above(n - k, n);
    const double tail = (double)k / (double)n;
    for (int i = 0; i < 200; i++) {
        const double middle = (low + high) / 2;
        if (erfc(middle / sqrt(2.0)) / 2 > tail)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void find_theta(struct ref *r, int64_t row)
{
    struct conform_exact sum = {.n = 0}, squares = {.n = 0};
    r->theta = (double)NAN;
    r->band = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        const double x = side(r->c, TENON_SPARSIFY_X, row * r->cols + j);
        if (!isfinite(x))
            return;
        conform_exact_add(&sum, x);
    }
    const double mean = conform_exact_total(&sum) / (double)r->cols;
    for (int64_t j = 0; j < r->cols; j++) {
        const double d = side(r->c, TENON_SPARSIFY_X, row * r->cols + j) - mean;
        conform_exact_add(&squares, d * d);
    }
    const double std = sqrt(conform_exact_total(&squares) / ((double)r->cols - r->p->ddof));
    r->theta = mean + std * r->Q;
    r->band = 4 * U * (fabs(mean) + std * fabs(r->Q)) + FLOOR;
}

/* ---- entries ---- */

static double threshold_of(const struct ref *r, int64_t row, int64_t col)
{
    if (has(r, TENON_SPARSIFY_T_ROW))
        return side(r->c, TENON_SPARSIFY_T_ROW, row);
    return has(r, TENON_SPARSIFY_T_COL) ? side(r->c, TENON_SPARSIFY_T_COL, col) : (double)r->p->t;
}

static double capped(const struct ref *r, double size)
{
    return r->p->cap < FLT_MAX && size > (double)r->p->cap ? (double)r->p->cap : size;
}

static int is_stat(const struct ref *r)
{
    return r->p->kind == TENON_SPARSIFY_STAT_TOPK && r->p->k > 0 && r->p->k < r->cols;
}

/* Whether the entry is kept, and as what. */
static int judge(const struct ref *r, int64_t row, int64_t col, double x, double *value)
{
    const double tau = (double)r->p->tau;
    *value = x;
    switch (r->p->kind) {
    case TENON_SPARSIFY_ABS_GT: return score_of(r, x, col) > threshold_of(r, row, col);
    case TENON_SPARSIFY_ABS_GE: return fabs(x) >= threshold_of(r, row, col);
    case TENON_SPARSIFY_GT: return x > threshold_of(r, row, col);
    case TENON_SPARSIFY_GE: return x >= threshold_of(r, row, col);
    case TENON_SPARSIFY_RELU: return x > 0 || isnan(x);
    case TENON_SPARSIFY_SHIFT_RELU: *value = capped(r, x - tau); return x > tau;
    case TENON_SPARSIFY_SOFT: *value = copysign(capped(r, fabs(x) - tau), x); return fabs(x) > tau;
    case TENON_SPARSIFY_STAT_TOPK:
        if (!is_stat(r))
            return r->p->k > 0 && !isnan(x);
        *value = r->p->keep == TENON_SPARSIFY_KEEP ? x : x - r->theta;
        return x > r->theta;
    default: return r->best[row * r->cols + col];
    }
}

static int is_exact_kind(const struct ref *r)
{
    return r->p->kind != TENON_SPARSIFY_SHIFT_RELU && r->p->kind != TENON_SPARSIFY_SOFT &&
           (!is_stat(r) || r->p->keep == TENON_SPARSIFY_KEEP);
}

/* Of a kept value: exact, or a difference that is rounded to f32 and then to the type. */
static double bound_of(const struct ref *r, double value)
{
    const uint32_t dtype = r->c->slot[TENON_SPARSIFY_X].tensor.dtype;
    if (is_exact_kind(r) || !isfinite(value))
        return 0;
    const double rounding = U * fabs(value) + FLOOR + (is_stat(r) ? r->band : 0);
    return rounding + (dtype == TENON_F32 ? 0 : conform_ulp(dtype, fabs(value) + rounding) / 2);
}

/* ---- rows ---- */

struct outputs {
    struct conform_want *y, *nnz, *cidx, *cval, *flags;
    int64_t kmax; /* -1: no compact outputs */
};

/* Entries of STAT_TOPK within the band may be kept or not: then nothing is known of what follows in the compact
 * outputs. */
struct tally {
    int64_t kept, loose;
    int special;
};

static void put(struct conform_want *want, int64_t at, double value, double bound)
{
    if (!want->want)
        return;
    want->want[at] = value;
    want->bound[at] = bound;
}

static void expect_entry(const struct ref *r, const struct outputs *out, int64_t row, int64_t col, struct tally *tally)
{
    const double x = side(r->c, TENON_SPARSIFY_X, row * r->cols + col);
    double value;
    const int kept = judge(r, row, col, x, &value);
    const int loose = is_stat(r) && fabs(x - r->theta) <= r->band;
    double bound = kept ? bound_of(r, value) : 0;
    if (loose)
        bound = r->p->keep == TENON_SPARSIFY_KEEP ? fabs(x) : r->band + bound_of(r, x - r->theta);
    put(out->y, row * r->cols + col, kept ? value : 0, bound);
    tally->special |= isnan(x) || x == (double)INFINITY;
    tally->loose += loose;
    if (!kept)
        return;
    if (tally->kept < out->kmax) {
        const double any = tally->loose ? (double)INFINITY : 0;
        put(out->cidx, row * out->kmax + tally->kept, (double)col, any);
        put(out->cval, row * out->kmax + tally->kept, value, any > 0 ? any : bound);
    }
    tally->kept++;
}

static void expect_row(const struct ref *r, const struct outputs *out, int64_t row, struct tally *all)
{
    struct tally tally = {0, 0, 0};
    for (int64_t col = 0; col < r->cols; col++)
        expect_entry(r, out, row, col, &tally);
    const int over = out->kmax >= 0 && tally.kept > out->kmax, loose = tally.loose > 0;
    const int64_t held = over ? out->kmax : tally.kept;
    for (int64_t i = held; i < out->kmax; i++) {
        put(out->cidx, row * out->kmax + i, -1, loose ? (double)INFINITY : 0);
        put(out->cval, row * out->kmax + i, 0, loose ? (double)INFINITY : 0);
    }
    put(out->nnz, row, (double)held, (double)tally.loose);
    all->kept += tally.kept;
    if (!out->flags->want)
        return;
    out->flags->want[0] += tally.special;
    out->flags->want[1] += tally.kept == 0;
    out->flags->want[2] += (r->p->kind == TENON_SPARSIFY_TOPK ||
                            (r->p->kind == TENON_SPARSIFY_STAT_TOPK && !is_stat(r))) && tally.kept < r->p->k;
    out->flags->want[3] += over;
    out->flags->bound[1] += loose;
    out->flags->bound[3] += loose;
}

static void mark_exact(const struct ref *r, struct conform_want *want)
{
    const int judged = !is_stat(r), values = judged && (is_exact_kind(r) || r->c->mode != CONFORM_ADVERSARIAL);
    want[TENON_SPARSIFY_Y].exact = want[TENON_SPARSIFY_CVAL].exact = values;
    want[TENON_SPARSIFY_NNZ].exact = want[TENON_SPARSIFY_CIDX].exact = want[TENON_SPARSIFY_FLAGS].exact = judged;
}

void tenon__conform_sparsify_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *x = &c->slot[TENON_SPARSIFY_X].tensor;
    struct ref r = {.c = c, .p = (const void *)c->params, .rows = 1, .cols = x->dim[x->rank - 1]};
    struct outputs out = {.y = &want[TENON_SPARSIFY_Y], .nnz = &want[TENON_SPARSIFY_NNZ],
                          .cidx = &want[TENON_SPARSIFY_CIDX], .cval = &want[TENON_SPARSIFY_CVAL],
                          .flags = &want[TENON_SPARSIFY_FLAGS], .kmax = -1};
    struct tally all = {0, 0, 0};
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        r.rows *= x->dim[i];
    for (uint32_t i = TENON_SPARSIFY_CIDX; i <= TENON_SPARSIFY_CVAL; i++)
        if (has(&r, i))
            out.kmax = c->slot[i].tensor.dim[c->slot[i].tensor.rank - 1];
    const int batch = r.p->kind == TENON_SPARSIFY_BATCH_TOPK, cut = batch || r.p->kind == TENON_SPARSIFY_TOPK;
    const int64_t count = r.rows * r.cols;
    mark_exact(&r, want);
    r.best = calloc((size_t)count + 1, 1);
    r.scores = malloc(sizeof(*r.scores) * (size_t)((cut ? batch ? count : r.cols : 0) + 1));
    if (is_stat(&r))
        r.Q = quantile_above(r.p->k, r.cols);
    if (r.best && r.scores && batch)
        mark_best(&r, 0, count, r.p->k * r.rows);
    for (int64_t row = 0; r.best && r.scores && row < r.rows; row++) {
        if (cut && !batch)
            mark_best(&r, row * r.cols, r.cols, r.p->k);
        if (is_stat(&r))
            find_theta(&r, row);
        expect_row(&r, &out, row, &all);
    }
    if (batch && out.flags->want)
        out.flags->want[2] = all.kept < r.p->k * r.rows;
    free(r.scores);
    free(r.best);
}

/* The compact outputs and y say the same of a row, whatever its threshold is. */
int tenon__conform_sparsify_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct conform_slot *y = &c->slot[TENON_SPARSIFY_Y], *list = &c->slot[TENON_SPARSIFY_CIDX];
    const struct conform_slot *values = &c->slot[TENON_SPARSIFY_CVAL];
    if (!list->tensor.dtype || tenon_tensor_count(&list->tensor) == 0)
        return 0;
    const struct tenon_tensor *x = &c->slot[TENON_SPARSIFY_X].tensor;
    const int64_t kmax = list->tensor.dim[list->tensor.rank - 1], cols = x->dim[x->rank - 1];
    for (int64_t i = 0; i < want[TENON_SPARSIFY_CIDX].count; i++) {
        const double col = side(c, TENON_SPARSIFY_CIDX, i);
        const double before = i % kmax ? side(c, TENON_SPARSIFY_CIDX, i - 1) : -1;
        if (col >= (double)cols || (col >= 0 ? i % kmax && col <= before : col != -1))
            return tenon_why_set(why, 1, "cidx element %lld is %g after %g", (long long)i, col, before);
        if (col < 0 || !y->tensor.dtype || !values->tensor.dtype)
            continue;
        const double dense = side(c, TENON_SPARSIFY_Y, i / kmax * cols + (int64_t)col),
                     value = side(c, TENON_SPARSIFY_CVAL, i);
        if (dense != value && !(isnan(dense) && isnan(value)))
            return tenon_why_set(why, 1, "cval element %lld is %.9g, and y there %.9g", (long long)i, value, dense);
    }
    return 0;
}
