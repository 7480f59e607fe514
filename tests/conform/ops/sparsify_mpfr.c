/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify in 512 bits, written from tenon/ops/sparsify.h and not from sparsify_ref.c, which it checks: the rank of an
 * entry by counting those before it, Q by Newton's iteration.
 *
 * What f64 may lose there, with u = 2^-53: nothing where x itself is kept; a difference with tau one rounding; theta
 * the roundings of the mean, of the deviations and of Q, at most 64u(|mean| + std|Q|) together, and x - theta as much
 * and one rounding. Entries that near theta may be kept or not. */
#include <float.h>
#include <math.h>
#include <tenon/ops/sparsify.h>
#include "../precise.h"

#define U      PRECISE_U
#define RND    MPFR_RNDN
#define WORK   4000000 /* entries looked at in all */
#define ROWS   16
#define COLS   40
#define BITS   512 /* sums of floats of every size are exact */

struct checker {
    const struct conform_case *c;
    const struct tenon_sparsify_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t rows, cols;
    mpfr_t v, theta, mean, spread, q, t;
    double loss; /* of theta in f64 */
};

static int has(const struct checker *k, uint32_t i)
{
    return k->c->slot[i].tensor.dtype != 0;
}

static float at(const struct checker *k, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &k->c->slot[i];
    return (float)conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static float score(const struct checker *k, int64_t row, int64_t col)
{
    const float x = at(k, TENON_SPARSIFY_X, row * k->cols + col), size = fabsf(x);
    if (!has(k, TENON_SPARSIFY_WGT))
        return size;
    const float wgt = at(k, TENON_SPARSIFY_WGT, col);
    return isfinite(size) && isfinite(wgt) ? precise_fma_f32(size, wgt, 0) : size * wgt;
}

static float ranked(const struct checker *k, int64_t row, int64_t col)
{
    return k->p->by == TENON_SPARSIFY_BY_ABS ? score(k, row, col) : at(k, TENON_SPARSIFY_X, row * k->cols + col);
}

/* Whether fewer than `places` entries of rows [first, last) come before this one. */
static int wins(const struct checker *k, int64_t row, int64_t col, int64_t first, int64_t last, int64_t places)
{
    const float own = ranked(k, row, col);
    int64_t before = 0;
    if (isnan(own))
        return 0;
    for (int64_t r = first; r < last; r++)
        for (int64_t c = 0; c < k->cols; c++) {
            const float other = ranked(k, r, c);
            before += other > own || (other == own && (r < row || (r == row && c < col)));
        }
    return before < places;
}

/* k->q = Q(1 - k/cols): Newton on erfc(q/sqrt 2)/2 = k/cols. */
static void find_quantile(struct checker *k)
{
    mpfr_t tail, f, slope;
    mpfr_inits2(PRECISE_BITS, tail, f, slope, (mpfr_ptr)0);
    mpfr_set_si(tail, k->p->k, RND);
    mpfr_div_d(tail, tail, (double)k->cols, RND);
    mpfr_set_zero(k->q, 1);
    for (int i = 0; i < 400; i++) {
        mpfr_sqrt_ui(f, 2, RND);
        mpfr_div(f, k->q, f, RND);
        mpfr_erfc(f, f, RND);
        mpfr_div_2ui(f, f, 1, RND);
        mpfr_sub(f, f, tail, RND);
        mpfr_sqr(slope, k->q, RND);
        mpfr_div_2ui(slope, slope, 1, RND);
        mpfr_neg(slope, slope, RND);
        mpfr_exp(slope, slope, RND);
        mpfr_const_pi(k->t, RND);
        mpfr_mul_2ui(k->t, k->t, 1, RND);
        mpfr_sqrt(k->t, k->t, RND);
        mpfr_div(slope, slope, k->t, RND);
        mpfr_div(f, f, slope, RND);
        /* From 0 the steps stay on one side of the root: the tail is convex there. */
        mpfr_add(k->q, k->q, f, RND);
        if (mpfr_zero_p(f) || mpfr_get_exp(f) < -200)
            break;
    }
    mpfr_clears(tail, f, slope, (mpfr_ptr)0);
}

/* 0: the row has no theta. */
static int find_theta(struct checker *k, int64_t row)
{
    mpfr_set_zero(k->mean, 1);
    for (int64_t j = 0; j < k->cols; j++) {
        const float x = at(k, TENON_SPARSIFY_X, row * k->cols + j);
        if (!isfinite(x))
            return 0;
        mpfr_add_d(k->mean, k->mean, (double)x, RND);
    }
    mpfr_div_d(k->mean, k->mean, (double)k->cols, RND);
    mpfr_set_zero(k->spread, 1);
    for (int64_t j = 0; j < k->cols; j++) {
        mpfr_d_sub(k->t, (double)at(k, TENON_SPARSIFY_X, row * k->cols + j), k->mean, RND);
        mpfr_sqr(k->t, k->t, RND);
        mpfr_add(k->spread, k->spread, k->t, RND);
    }
    mpfr_div_d(k->spread, k->spread, (double)k->cols - k->p->ddof, RND);
    mpfr_sqrt(k->spread, k->spread, RND);
    mpfr_mul(k->theta, k->spread, k->q, RND);
    k->loss = 64 * U * (fabs(mpfr_get_d(k->mean, RND)) + fabs(mpfr_get_d(k->theta, RND))) + 0x1p-1000;
    mpfr_add(k->theta, k->theta, k->mean, RND);
    return 1;
}

/* min(size, cap) with the sign of x, size in k->v. */
static void cap_value(struct checker *k, float x)
{
    if (k->p->cap < FLT_MAX && mpfr_cmp_d(k->v, (double)k->p->cap) > 0)
        mpfr_set_d(k->v, (double)k->p->cap, RND);
    if (k->p->kind == TENON_SPARSIFY_SOFT && x < 0)
        mpfr_neg(k->v, k->v, RND);
}

/* The exact value of y in k->v. Returns what f64 may lose; negative: either is right. */
static double evaluate(struct checker *k, int64_t row, int64_t col, int theta)
{
    const float x = at(k, TENON_SPARSIFY_X, row * k->cols + col), tau = k->p->tau;
    const float t = has(k, TENON_SPARSIFY_T_ROW)   ? at(k, TENON_SPARSIFY_T_ROW, row)
                    : has(k, TENON_SPARSIFY_T_COL) ? at(k, TENON_SPARSIFY_T_COL, col)
                                                   : k->p->t;
    int kept = 0;
    double loss = 0;
    mpfr_set_flt(k->v, x, RND);
    switch (k->p->kind) {
    case TENON_SPARSIFY_ABS_GT: kept = score(k, row, col) > t; break;
    case TENON_SPARSIFY_ABS_GE: kept = fabsf(x) >= t; break;
    case TENON_SPARSIFY_GT: kept = x > t; break;
    case TENON_SPARSIFY_GE: kept = x >= t; break;
    case TENON_SPARSIFY_RELU: kept = !(x <= 0); break;
    case TENON_SPARSIFY_TOPK: kept = wins(k, row, col, row, row + 1, k->p->k); break;
    case TENON_SPARSIFY_BATCH_TOPK: kept = wins(k, row, col, 0, k->rows, k->p->k * k->rows); break;
    case TENON_SPARSIFY_SHIFT_RELU:
    case TENON_SPARSIFY_SOFT:
        if (k->p->kind == TENON_SPARSIFY_SOFT)
            mpfr_abs(k->v, k->v, RND);
        kept = mpfr_cmp_d(k->v, (double)tau) > 0 && !isnan(x);
        mpfr_sub_d(k->v, k->v, (double)tau, RND);
        loss = isfinite(x) ? U * fabs(mpfr_get_d(k->v, RND)) : 0;
        cap_value(k, x);
        break;
    default:
        if (k->p->k == 0 || k->p->k == k->cols) {
            kept = k->p->k > 0 && !isnan(x);
        } else if (theta) {
            mpfr_sub(k->t, k->v, k->theta, RND);
            const double over = mpfr_get_d(k->t, RND);
            if (fabs(over) <= k->loss)
                return -1;
            kept = over > 0;
            if (k->p->keep == TENON_SPARSIFY_SHRINK) {
                mpfr_set(k->v, k->t, RND);
                loss = k->loss + U * fabs(over);
            }
        }
    }
    if (!kept)
        mpfr_set_zero(k->v, 1);
    return kept ? loss : 0;
}

int tenon__conform_sparsify_mpfr(const struct conform_case *c, const struct conform_want *want,
                                 struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[TENON_SPARSIFY_X].tensor;
    struct checker k = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise, .rows = 1};
    k.cols = x->dim[x->rank - 1];
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        k.rows *= x->dim[i];
    if (!want[TENON_SPARSIFY_Y].want || k.rows * k.cols == 0)
        return 0;
    const int stat = k.p->kind == TENON_SPARSIFY_STAT_TOPK && k.p->k > 0 && k.p->k < k.cols;
    const int64_t must = precise->tensor == TENON_SPARSIFY_Y ? precise->element : -1;
    const int64_t each = k.p->kind == TENON_SPARSIFY_BATCH_TOPK ? k.rows * k.cols : k.cols; /* looked at for one */
    int64_t n_rows = k.rows < ROWS ? k.rows : ROWS, n_cols = k.cols < COLS ? k.cols : COLS;
    while (n_cols > 2 && n_rows * n_cols * each > WORK)
        n_cols /= 2;
    n_rows = n_rows > 1 && n_rows * n_cols * each > WORK ? 1 : n_rows;
    mpfr_inits2(BITS, k.v, k.theta, k.mean, k.spread, k.q, k.t, (mpfr_ptr)0);
    if (stat)
        find_quantile(&k);
    for (int64_t i = 0; i < n_rows; i++) {
        const int64_t row = precise_sample(c, i, n_rows, k.rows, must < 0 ? -1 : must / k.cols);
        const int theta = stat && find_theta(&k, row);
        for (int64_t j = 0; j < n_cols; j++) {
            const int64_t in_row = must >= 0 && must / k.cols == row ? must % k.cols : -1;
            const int64_t col = precise_sample(c, j, n_cols, k.cols, in_row);
            const double loss = evaluate(&k, row, col, theta);
            if (loss >= 0)
                precise_compare(precise, c, want, TENON_SPARSIFY_Y, row * k.cols + col, k.v, loss);
        }
    }
    mpfr_clears(k.v, k.theta, k.mean, k.spread, k.q, k.t, (mpfr_ptr)0);
    mpfr_free_cache();
    return 0;
}
