/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in 256 bits, written from tenon/ops/softmax.h and not from softmax_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: d = (v - R) T rounds twice, so a weight exp(d) is off by u(2|d| + 4) of
 * itself; their compensated sum S by loss_S = u(2 A + 8) of itself, A the mean of |d| by weight; a quotient and a
 * logarithm round once more. The entropy adds the same for sum e d. Equal logits have equal weights: each distinct one
 * is evaluated once. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <tenon/ops/softmax.h>
#include "../conform.h"

#if TENON_HAVE_MPFR
#include <math.h>
#include <stdlib.h>
#include "../precise.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define TINY    0x1p-1000 /* f64's own underflow */
#define ROWS    48        /* sampled, fewer when they are long */
#define WEIGHTS 6144
#define COLS    160

struct row {
    const struct conform_case *c;
    const struct tenon_softmax_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t row, cols, valid, above, n; /* valid entries; those above -Inf; distinct ones */
    int64_t argmax;
    float *v, *sorted;
    char *there;
    int sunk, nan;
    float sink, R, M, M2, T;
    mpfr_t S, own, a, t, w, y;
    double A, E1, E2; /* means by weight: of |d| about R; of |d| and d^2 about M */
};

static double number(const struct row *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static float side(const struct row *r, uint32_t i, int64_t index)
{
    return (float)number(r, i, index);
}

static int has(const struct row *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

/* A tensor that is as x, or one row for all. */
static float wide(const struct row *r, uint32_t i, int64_t col)
{
    const struct tenon_tensor *x = &r->c->slot[TENON_SOFTMAX_X].tensor, *t = &r->c->slot[i].tensor;
    return side(r, i, t->rank < x->rank ? col : r->row * r->cols + col);
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The logits, and the finite ones in order. */
static void read_row(struct row *r)
{
    int pipe = has(r, TENON_SOFTMAX_BIAS) || r->p->scale != 1.0f;
    r->valid = r->above = 0;
    r->nan = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        float v = wide(r, TENON_SOFTMAX_X, j);
        r->there[j] = 1;
        if (has(r, TENON_SOFTMAX_MASK))
            r->there[j] = wide(r, TENON_SOFTMAX_MASK, j) != 0;
        else if (has(r, TENON_SOFTMAX_VALID_LEN))
            r->there[j] = (double)j < number(r, TENON_SOFTMAX_VALID_LEN, r->row);
        if (!r->there[j])
            continue;
        if (pipe && !isnan(v) && !isinf(v))
            v = precise_fma_f32(v, r->p->scale, has(r, TENON_SOFTMAX_BIAS) ? wide(r, TENON_SOFTMAX_BIAS, j) : 0);
        else if (pipe)
            v = v * r->p->scale + (has(r, TENON_SOFTMAX_BIAS) ? wide(r, TENON_SOFTMAX_BIAS, j) : 0);
        r->v[j] = v;
        r->valid++;
        if (isnan(v) || v == INFINITY)
            r->nan = 1;
        else if (v > -INFINITY)
            r->sorted[r->above++] = v;
    }
    qsort(r->sorted, (size_t)r->above, sizeof(*r->sorted), compare_floats);
    r->M = r->above ? r->sorted[r->above - 1] : -INFINITY;
    r->M2 = r->above > 1 ? r->sorted[r->above - 2] : -INFINITY;
}

/* NaN below everything; of equals the first. */
static void find_argmax(struct row *r)
{
    r->argmax = -1;
    for (int64_t j = 0; j < r->cols && (r->above || r->nan); j++)
        if (r->there[j] && (r->argmax < 0 || r->v[j] > r->v[r->argmax] || (isnan(r->v[r->argmax]) && !isnan(r->v[j]))))
            r->argmax = j;
}

static void read_scale(struct row *r)
{
    float scale = has(r, TENON_SOFTMAX_ROW_SCALE) ? side(r, TENON_SOFTMAX_ROW_SCALE, r->row) : 1;
    int good = scale >= 0 && !isinf(scale);
    r->nan |= !good;
    r->T = good ? precise_fma_f32(r->p->inv_temp, scale, 0) : 0;
    r->sunk = has(r, TENON_SOFTMAX_SINK);
    if (r->sunk)
        r->sink = side(r, TENON_SOFTMAX_SINK, r->c->slot[TENON_SOFTMAX_SINK].tensor.dim[0] == 1 ? 0 : r->row);
    r->R = r->sunk && r->sink > r->M ? r->sink : r->M;
}

/* to = (v - about) T */
static void distance(const struct row *r, mpfr_t to, float v, float about)
{
    mpfr_set_flt(to, v, RND);
    mpfr_sub_d(to, to, (double)about, RND);
    mpfr_mul_d(to, to, (double)r->T, RND);
}

static double weight(const struct row *r, mpfr_t to, float v, float about)
{
    double d;
    distance(r, to, v, about);
    d = mpfr_get_d(to, RND);
    mpfr_exp(to, to, RND);
    return d;
}

static void sum_row(struct row *r)
{
    mpfr_set_zero(r->S, 1);
    mpfr_set_zero(r->own, 1);
    mpfr_set_zero(r->a, 1);
    r->A = r->E1 = r->E2 = 0;
    for (int64_t j = 0, next; j < r->above; j = next) {
        for (next = j + 1; next < r->above && r->sorted[next] == r->sorted[j]; next++)
            ;
        double d = weight(r, r->w, r->sorted[j], r->R), n = (double)(next - j), e;
        mpfr_mul_si(r->w, r->w, next - j, RND);
        mpfr_add(r->S, r->S, r->w, RND);
        r->A += n * exp(d) * fabs(d);
        if (r->R != r->M) {
            d = weight(r, r->w, r->sorted[j], r->M);
            mpfr_mul_si(r->w, r->w, next - j, RND);
        }
        mpfr_add(r->own, r->own, r->w, RND);
        distance(r, r->t, r->sorted[j], r->M);
        mpfr_mul(r->t, r->t, r->w, RND);
        mpfr_add(r->a, r->a, r->t, RND);
        e = n * exp(d);
        r->E1 += e * fabs(d);
        r->E2 += e * d * d;
    }
    if (r->sunk && r->above) {
        double d = weight(r, r->w, r->sink, r->R);
        mpfr_add(r->S, r->S, r->w, RND);
        r->A += exp(d) * fabs(d);
    }
    r->A /= r->above ? mpfr_get_d(r->S, RND) : 1;
    r->E1 /= r->above ? mpfr_get_d(r->own, RND) : 1;
    r->E2 /= r->above ? mpfr_get_d(r->own, RND) : 1;
}

static double loss_s(const struct row *r)
{
    return U * (2 * r->A + 8);
}

static void compare(const struct row *r, uint32_t tensor, int64_t element, mpfr_srcptr exact, double bound)
{
    precise_compare(r->precise, r->c, r->want, tensor, element, exact, bound + TINY);
}

/* A value that f64 has exactly. */
static void compare_exactly(struct row *r, uint32_t tensor, int64_t element, double exact)
{
    mpfr_set_d(r->y, exact, RND);
    precise_compare(r->precise, r->c, r->want, tensor, element, r->y, 0);
}

static void check_empty(struct row *r, int64_t element, int64_t col)
{
    int zero = r->sunk || r->p->empty_row == TENON_SOFTMAX_EMPTY_ZERO || !r->there[col];
    if (!zero && r->p->empty_row == TENON_SOFTMAX_EMPTY_NAN)
        mpfr_set_nan(r->y);
    else
        mpfr_set_ui(r->y, zero ? 0 : 1, RND);
    if (!zero)
        mpfr_div_si(r->y, r->y, r->valid, RND);
    if (r->p->kind == TENON_SOFTMAX_LOG_EXP)
        mpfr_log(r->y, r->y, RND);
    compare(r, TENON_SOFTMAX_Y, element, r->y, mpfr_number_p(r->y) ? 4 * U * (1 + fabs(mpfr_get_d(r->y, RND))) : 0);
}

static void check_y(struct row *r, int64_t col)
{
    int64_t element = r->row * r->cols + col;
    int logs = r->p->kind == TENON_SOFTMAX_LOG_EXP;
    double d, y;
    if (!r->there[col] || (!r->nan && r->above && r->v[col] == -INFINITY)) {
        compare_exactly(r, TENON_SOFTMAX_Y, element, logs ? -(double)INFINITY : 0);
    } else if (r->nan) {
        compare_exactly(r, TENON_SOFTMAX_Y, element, (double)NAN);
    } else if (!r->above) {
        check_empty(r, element, col);
    } else if (logs) {
        mpfr_log(r->t, r->S, RND);
        distance(r, r->y, r->v[col], r->R);
        d = fabs(mpfr_get_d(r->y, RND));
        mpfr_sub(r->y, r->y, r->t, RND);
        y = fabs(mpfr_get_d(r->y, RND));
        compare(r, TENON_SOFTMAX_Y, element, r->y, loss_s(r) + U * (2 * d + 2 * fabs(mpfr_get_d(r->t, RND)) + 2 * y));
    } else {
        d = fabs(weight(r, r->y, r->v[col], r->R));
        mpfr_div(r->y, r->y, r->S, RND);
        y = mpfr_get_d(r->y, RND);
        compare(r, TENON_SOFTMAX_Y, element, r->y, y * (loss_s(r) + U * (2 * d + 8)));
    }
}

/* lse = R T + ln S in y, and the bound. */
static double put_lse(struct row *r)
{
    double product, ln = 0;
    mpfr_set_flt(r->y, r->R, RND);
    mpfr_mul_d(r->y, r->y, (double)r->T, RND);
    product = fabs(mpfr_get_d(r->y, RND));
    if (r->above) {
        mpfr_log(r->t, r->S, RND);
        mpfr_add(r->y, r->y, r->t, RND);
        ln = loss_s(r) + 2 * U * fabs(mpfr_get_d(r->t, RND));
    } else if (!r->sunk) {
        mpfr_set_inf(r->y, -1);
        return 0;
    }
    return ln + U * (2 * product + 2 * fabs(mpfr_get_d(r->y, RND)));
}

static void check_lse(struct row *r, int lse, int energy)
{
    double bound = put_lse(r);
    if (lse)
        compare(r, TENON_SOFTMAX_LSE, r->row, r->y, bound);
    if (!energy)
        return;
    if (!r->above && !r->sunk) {
        compare_exactly(r, TENON_SOFTMAX_ENERGY, r->row, (double)INFINITY);
    } else if (r->T == 0) {
        compare_exactly(r, TENON_SOFTMAX_ENERGY, r->row, -(double)INFINITY);
    } else {
        mpfr_div_d(r->y, r->y, -(double)r->T, RND);
        compare(r, TENON_SOFTMAX_ENERGY, r->row, r->y, bound / (double)r->T + 2 * U * fabs(mpfr_get_d(r->y, RND)));
    }
}

static void check_entropy(struct row *r)
{
    double ln, loss = U * (2 * r->E1 + 8);
    mpfr_log(r->y, r->own, RND);
    ln = mpfr_get_d(r->y, RND);
    mpfr_div(r->t, r->a, r->own, RND);
    mpfr_sub(r->y, r->y, r->t, RND);
    compare(r, TENON_SOFTMAX_ENTROPY, r->row, r->y,
            loss * (1 + r->E1) + U * (2 * ln + 2 * r->E2 + 10 * r->E1 + 2 * fabs(mpfr_get_d(r->y, RND))));
}

/* pmax, and less of it: margin. */
static void check_tops(struct row *r, int pmax, int margin)
{
    double d = fabs(weight(r, r->w, r->M, r->R)), bound, second = 0;
    mpfr_div(r->w, r->w, r->S, RND);
    bound = mpfr_get_d(r->w, RND) * (loss_s(r) + U * (2 * d + 8));
    if (pmax)
        compare(r, TENON_SOFTMAX_PMAX, r->row, r->w, bound);
    if (!margin)
        return;
    if (r->above > 1) {
        d = fabs(weight(r, r->t, r->M2, r->R));
        mpfr_div(r->t, r->t, r->S, RND);
        second = mpfr_get_d(r->t, RND) * (loss_s(r) + U * (2 * d + 8));
        mpfr_sub(r->w, r->w, r->t, RND);
    }
    compare(r, TENON_SOFTMAX_MARGIN, r->row, r->w, 2 * (bound + second));
}

static void check_stats(struct row *r)
{
    int asked[TENON_SOFTMAX_N_TENSORS];
    for (uint32_t i = 0; i < TENON_SOFTMAX_N_TENSORS; i++)
        asked[i] = r->want[i].want != NULL;
    if (asked[TENON_SOFTMAX_ARGMAX])
        compare_exactly(r, TENON_SOFTMAX_ARGMAX, r->row, (double)r->argmax);
    for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_ENERGY; i++) {
        if (!asked[i] || i == TENON_SOFTMAX_ARGMAX)
            continue;
        if (r->nan)
            compare_exactly(r, i, r->row, (double)NAN);
        else if (i == TENON_SOFTMAX_MAX)
            compare_exactly(r, i, r->row, (double)r->M);
        else if (!r->above && i >= TENON_SOFTMAX_PMAX && i <= TENON_SOFTMAX_ENTROPY)
            compare_exactly(r, i, r->row, 0);
    }
    if (r->nan)
        return;
    check_lse(r, asked[TENON_SOFTMAX_LSE], asked[TENON_SOFTMAX_ENERGY]);
    if (!r->above)
        return;
    check_tops(r, asked[TENON_SOFTMAX_PMAX], asked[TENON_SOFTMAX_MARGIN]);
    if (asked[TENON_SOFTMAX_ENTROPY])
        check_entropy(r);
}

static void check_row(struct row *r)
{
    int64_t n = r->cols < COLS ? r->cols : COLS, must = r->precise->element;
    read_row(r);
    find_argmax(r);
    read_scale(r);
    if (!r->nan)
        sum_row(r);
    check_stats(r);
    must = r->precise->tensor == TENON_SOFTMAX_Y && must >= 0 && must / r->cols == r->row ? must % r->cols : r->argmax;
    for (int64_t i = 0; i < n && r->want[TENON_SOFTMAX_Y].want; i++)
        check_y(r, precise_sample(r->c, i, n, r->cols, must));
}

int tenon__conform_softmax_mpfr(const struct conform_case *c, const struct conform_want *want,
                                struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_X].tensor;
    struct row r = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise};
    int64_t rows = 1, must = precise->element, n;
    if (r.p->kind > TENON_SOFTMAX_LOG_EXP || r.p->noise || r.p->support || r.p->adaptive || r.p->post ||
        c->slot[TENON_SOFTMAX_MULT].tensor.dtype)
        return -1;
    r.cols = x->dim[x->rank - 1];
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    must = must < 0 ? -1 : precise->tensor == TENON_SOFTMAX_Y ? must / (r.cols ? r.cols : 1) : must;
    n = r.cols * ROWS > WEIGHTS ? 1 + WEIGHTS / r.cols : ROWS;
    n = rows < n ? rows : n;
    r.v = malloc(sizeof(*r.v) * (size_t)(r.cols + 1));
    r.sorted = malloc(sizeof(*r.sorted) * (size_t)(r.cols + 1));
    r.there = malloc((size_t)r.cols + 1);
    mpfr_inits2(PRECISE_BITS, r.S, r.own, r.a, r.t, r.w, r.y, (mpfr_ptr)0);
    for (int64_t i = 0; i < n && r.v && r.sorted && r.there; i++) {
        r.row = precise_sample(c, i, n, rows, must);
        check_row(&r);
    }
    mpfr_clears(r.S, r.own, r.a, r.t, r.w, r.y, (mpfr_ptr)0);
    mpfr_free_cache();
    free(r.there);
    free(r.sorted);
    free(r.v);
    return 0;
}

#else
int tenon__conform_softmax_mpfr(const struct conform_case *c, const struct conform_want *want,
                                struct conform_precise *precise)
{
    (void)c;
    (void)want;
    (void)precise;
    return -1;
}
#endif
