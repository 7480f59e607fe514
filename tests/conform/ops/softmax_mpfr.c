/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in 256 bits, written from tenon/ops/softmax.h and not from softmax_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: d = (v - R) T rounds twice, so a weight exp(d) is off by u(2|d| + 4) of
 * itself; their compensated sum S by loss_S = u(2 A + 8) of itself, A the mean of |d| by weight; a quotient and a
 * logarithm round once more. The entropy adds the same for sum e d. Equal logits have equal weights: each distinct one
 * is evaluated once. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/softmax.h>
#include "../precise.h"
#include "softmax_suite_mpfr.h"

#define ROWS    48 /* sampled, fewer when they are long */
#define WEIGHTS 6144
#define COLS    160

static double number(const struct precise_row *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static float side(const struct precise_row *r, uint32_t i, int64_t index)
{
    return (float)number(r, i, index);
}

static int has(const struct precise_row *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

/* A tensor that is as x, or one row for all. */
static float wide(const struct precise_row *r, uint32_t i, int64_t col)
{
    const struct tenon_tensor *x = &r->c->slot[TENON_SOFTMAX_X].tensor, *t = &r->c->slot[i].tensor;
    return side(r, i, t->rank < x->rank ? col : r->row * r->cols + col);
}

static int compare_entries(const void *a, const void *b)
{
    const struct precise_entry *x = a, *y = b;
    return (x->v > y->v) - (x->v < y->v);
}

/* Rounded products and sums as the header orders them; infinities and NaNs go their own way. */
static float pipe(float x, float factor, float more)
{
    if (isfinite(x) && isfinite(factor) && isfinite(more))
        return precise_fma_f32(x, factor, more);
    return fmaf(x, factor, more); /* of a large product and -Inf no NaN comes */
}

static double noisy(const struct precise_row *r, int64_t j, float v)
{
    const struct tenon_softmax_params *p = r->p;
    const struct conform_noise noise = {p->seed, p->stream, p->sample};
    switch (p->noise) {
    case TENON_SOFTMAX_NOISE_GUMBEL:
        return (double)pipe(v, 1, pipe(p->noise_amp, conform_noise_gumbel(&noise, (uint32_t)r->row, (uint32_t)j), 0));
    case TENON_SOFTMAX_NOISE_INPUT:
        return (double)pipe(v, 1, pipe(p->noise_amp, wide(r, TENON_SOFTMAX_NOISE, j), 0));
    case TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL:
        return (double)v + (double)p->noise_amp * fabs(conform_noise_normal(&noise, (uint32_t)r->row, (uint32_t)j));
    default:
        return (double)v;
    }
}

/* The logits, and the finite ones in order. */
static void read_logits(struct precise_row *r)
{
    const int piped = has(r, TENON_SOFTMAX_BIAS) || r->p->scale != 1.0f;
    for (int64_t j = 0; j < r->cols; j++) {
        float v = wide(r, TENON_SOFTMAX_X, j);
        r->mult[j] = has(r, TENON_SOFTMAX_MULT) ? number(r, TENON_SOFTMAX_MULT, j) : 1;
        r->there[j] = r->mult[j] != 0;
        if (has(r, TENON_SOFTMAX_MASK))
            r->there[j] &= wide(r, TENON_SOFTMAX_MASK, j) != 0;
        else if (has(r, TENON_SOFTMAX_VALID_LEN))
            r->there[j] &= (double)j < number(r, TENON_SOFTMAX_VALID_LEN, r->row);
        if (piped)
            v = pipe(v, r->p->scale, has(r, TENON_SOFTMAX_BIAS) ? wide(r, TENON_SOFTMAX_BIAS, j) : 0);
        r->v[j] = noisy(r, j, v);
    }
}

static void read_row(struct precise_row *r)
{
    const uint32_t kind = r->p->kind;
    int odd = 0, minus = 0;
    r->valid = r->above = 0;
    r->nan = 0;
    read_logits(r);
    r->unsure = precise_support(r);
    for (int64_t j = 0; j < r->cols; j++) {
        double v = r->v[j];
        if (!r->there[j])
            continue;
        r->valid++;
        r->nan |= !(r->mult[j] >= 0) || isinf(r->mult[j]);
        minus |= v == -(double)INFINITY;
        if (isnan(v) || v == (double)INFINITY)
            odd = 1;
        else if (v > -(double)INFINITY)
            r->sorted[r->above++] = (struct precise_entry){v, r->mult[j]};
    }
    r->odd = odd;
    r->nan |= (odd && kind != TENON_SOFTMAX_SIGMOID && kind != TENON_SOFTMAX_SCALE) ||
              (minus && kind == TENON_SOFTMAX_QUAD_NORM);
    qsort(r->sorted, (size_t)r->above, sizeof(*r->sorted), compare_entries);
    r->M = r->above ? r->sorted[r->above - 1].v : -(double)INFINITY;
    r->M2 = r->above > 1 ? r->sorted[r->above - 2].v : -(double)INFINITY;
}

/* NaN below everything; of equals the first. */
static void find_argmax(struct precise_row *r)
{
    r->argmax = -1;
    for (int64_t j = 0; j < r->cols && (r->above || r->odd); j++)
        if (r->there[j] && (r->argmax < 0 || r->v[j] > r->v[r->argmax] || (isnan(r->v[r->argmax]) && !isnan(r->v[j]))))
            r->argmax = j;
}

static void read_scale(struct precise_row *r)
{
    float scale = has(r, TENON_SOFTMAX_ROW_SCALE) ? side(r, TENON_SOFTMAX_ROW_SCALE, r->row) : 1;
    int good = scale >= 0 && !isinf(scale);
    r->nan |= !good;
    mpfr_set_flt(r->T, good ? precise_fma_f32(r->p->inv_temp, scale, 0) : 0, RND);
    r->sunk = has(r, TENON_SOFTMAX_SINK);
    if (r->sunk)
        r->sink = (double)side(r, TENON_SOFTMAX_SINK, r->c->slot[TENON_SOFTMAX_SINK].tensor.dim[0] == 1 ? 0 : r->row);
    r->R = r->sunk && r->sink > r->M ? r->sink : r->M;
}

/* to = (v - about) T */
static void distance(const struct precise_row *r, mpfr_t to, double v, double about)
{
    mpfr_set_d(to, v, RND);
    mpfr_sub_d(to, to, about, RND);
    mpfr_mul(to, to, r->T, RND);
}

static double weight(const struct precise_row *r, mpfr_t to, double v, double about)
{
    double d;
    distance(r, to, v, about);
    d = mpfr_get_d(to, RND);
    mpfr_exp(to, to, RND);
    return d;
}

/* n entries of one logit, m of them by multiplicity. */
static void add_entries(struct precise_row *r, double v, double m)
{
    double d = weight(r, r->w, v, r->R), e;
    mpfr_sqr(r->t, r->w, RND);
    mpfr_mul_d(r->t, r->t, m, RND);
    mpfr_add(r->q, r->q, r->t, RND);
    r->Aq += m * exp(2 * d) * fabs(d);
    mpfr_mul_d(r->w, r->w, m, RND);
    mpfr_add(r->S, r->S, r->w, RND);
    r->A += m * exp(d) * fabs(d);
    if (r->R != r->M) {
        d = weight(r, r->w, v, r->M);
        mpfr_mul_d(r->w, r->w, m, RND);
    }
    mpfr_add(r->own, r->own, r->w, RND);
    distance(r, r->t, v, r->M);
    mpfr_mul(r->t, r->t, r->w, RND);
    mpfr_add(r->a, r->a, r->t, RND);
    e = m * exp(d);
    r->E1 += e * fabs(d);
    r->E2 += e * d * d;
}

static void sum_row(struct precise_row *r)
{
    mpfr_set_zero(r->S, 1);
    mpfr_set_zero(r->own, 1);
    mpfr_set_zero(r->a, 1);
    mpfr_set_zero(r->q, 1);
    r->A = r->Aq = r->E1 = r->E2 = 0;
    for (int64_t j = 0, next; j < r->above; j = next) {
        double m = 0;
        for (next = j; next < r->above && r->sorted[next].v == r->sorted[j].v; next++)
            m += r->sorted[next].mult; /* multiples of one half: exact */
        add_entries(r, r->sorted[j].v, m);
    }
    if (r->sunk && r->above) {
        double d = weight(r, r->w, r->sink, r->R);
        mpfr_add(r->S, r->S, r->w, RND);
        r->A += exp(d) * fabs(d);
    }
    r->A /= r->above ? mpfr_get_d(r->S, RND) : 1;
    r->Aq /= mpfr_sgn(r->q) > 0 ? fmax(mpfr_get_d(r->q, RND), TINY) : 1;
    r->E1 /= r->above ? mpfr_get_d(r->own, RND) : 1;
    r->E2 /= r->above ? mpfr_get_d(r->own, RND) : 1;
}

static double loss_s(const struct precise_row *r)
{
    return (2 * U + r->lost) * r->A + 8 * U;
}

void precise_put(const struct precise_row *r, uint32_t tensor, int64_t element, mpfr_srcptr exact, double bound)
{
    if (!isinf(r->want[tensor].bound[element])) /* else anything goes */
        precise_compare(r->precise, r->c, r->want, tensor, element, exact, bound + TINY);
}

/* A value that f64 has exactly. */
void precise_put_exactly(struct precise_row *r, uint32_t tensor, int64_t element, double exact)
{
    mpfr_set_d(r->y, exact, RND);
    if (!isinf(r->want[tensor].bound[element]))
        precise_compare(r->precise, r->c, r->want, tensor, element, r->y, 0);
}

/* y of an empty row, and what it may lose. */
static double put_empty(struct precise_row *r, int64_t col)
{
    const uint32_t kind = r->p->kind;
    const int zero = r->sunk || r->p->empty_row == TENON_SOFTMAX_EMPTY_ZERO || !r->there[col] ||
                     kind == TENON_SOFTMAX_SOFTPICK || kind > TENON_SOFTMAX_ENTMAX15;
    if (!zero && r->p->empty_row == TENON_SOFTMAX_EMPTY_NAN)
        mpfr_set_nan(r->y);
    else
        mpfr_set_ui(r->y, zero ? 0 : 1, RND);
    if (!zero)
        mpfr_div_si(r->y, r->y, r->valid, RND);
    if (kind == TENON_SOFTMAX_LOG_EXP)
        mpfr_log(r->y, r->y, RND);
    return mpfr_number_p(r->y) ? 4 * U * (1 + fabs(mpfr_get_d(r->y, RND))) : 0;
}

static double put_exponential(struct precise_row *r, int64_t col)
{
    double d, y;
    if (r->p->kind == TENON_SOFTMAX_LOG_EXP) {
        mpfr_log(r->t, r->S, RND);
        distance(r, r->y, r->v[col], r->R);
        d = fabs(mpfr_get_d(r->y, RND));
        mpfr_sub(r->y, r->y, r->t, RND);
        y = fabs(mpfr_get_d(r->y, RND));
        return loss_s(r) + U * (2 * d + 2 * fabs(mpfr_get_d(r->t, RND)) + 2 * y);
    }
    d = fabs(weight(r, r->y, r->v[col], r->R));
    mpfr_div(r->y, r->y, r->S, RND);
    y = mpfr_get_d(r->y, RND);
    return y * (loss_s(r) + r->lost * d + U * (2 * d + 8));
}

static void check_y(struct precise_row *r, int64_t col)
{
    const int64_t element = r->row * r->cols + col;
    const uint32_t kind = r->p->kind;
    const int own = kind == TENON_SOFTMAX_SIGMOID || kind == TENON_SOFTMAX_SCALE;
    double bound = 0;
    if (!r->there[col] || (!own && !r->nan && r->above && r->v[col] == -(double)INFINITY))
        mpfr_set_d(r->y, kind == TENON_SOFTMAX_LOG_EXP ? -(double)INFINITY : 0, RND);
    else if (r->nan)
        mpfr_set_nan(r->y);
    else if (!r->above && !own)
        bound = put_empty(r, col);
    else if (kind <= TENON_SOFTMAX_LOG_EXP)
        bound = put_exponential(r, col);
    else
        bound = precise_kind(r, col);
    precise_post(r, col, element, bound);
}

/* lse = R T + ln S in y, and the bound. */
static double put_lse(struct precise_row *r)
{
    double product, ln = 0;
    mpfr_set_d(r->y, r->R, RND);
    mpfr_mul(r->y, r->y, r->T, RND);
    product = fabs(mpfr_get_d(r->y, RND));
    if (r->above) {
        mpfr_log(r->t, r->S, RND);
        mpfr_add(r->y, r->y, r->t, RND);
        ln = loss_s(r) + 2 * U * fabs(mpfr_get_d(r->t, RND));
    } else if (!r->sunk) {
        mpfr_set_inf(r->y, -1);
        return 0;
    }
    return ln + r->lost * product + U * (2 * product + 2 * fabs(mpfr_get_d(r->y, RND)));
}

static void check_lse(struct precise_row *r, int lse, int energy)
{
    double bound = put_lse(r);
    if (lse)
        precise_put(r, TENON_SOFTMAX_LSE, r->row, r->y, bound);
    if (!energy)
        return;
    if (!r->above && !r->sunk) {
        precise_put_exactly(r, TENON_SOFTMAX_ENERGY, r->row, (double)INFINITY);
    } else if (mpfr_zero_p(r->T)) {
        precise_put_exactly(r, TENON_SOFTMAX_ENERGY, r->row, -(double)INFINITY);
    } else {
        mpfr_div(r->y, r->y, r->T, RND);
        mpfr_neg(r->y, r->y, RND);
        precise_put(r, TENON_SOFTMAX_ENERGY, r->row, r->y,
                    bound / mpfr_get_d(r->T, RND) + (2 * U + r->lost) * fabs(mpfr_get_d(r->y, RND)));
    }
}

static void check_entropy(struct precise_row *r)
{
    double ln, loss = (2 * U + r->lost) * r->E1 + 8 * U;
    mpfr_log(r->y, r->own, RND);
    ln = mpfr_get_d(r->y, RND);
    mpfr_div(r->t, r->a, r->own, RND);
    mpfr_sub(r->y, r->y, r->t, RND);
    precise_put(r, TENON_SOFTMAX_ENTROPY, r->row, r->y,
                loss * (1 + r->E1) + r->lost * r->E2 +
                    U * (2 * fabs(ln) + 2 * r->E2 + 10 * r->E1 + 2 * fabs(mpfr_get_d(r->y, RND))));
}

/* pmax, and less of it: margin. */
static void check_tops(struct precise_row *r, int pmax, int margin)
{
    double d = fabs(weight(r, r->w, r->M, r->R)), bound, second = 0;
    mpfr_div(r->w, r->w, r->S, RND);
    bound = mpfr_get_d(r->w, RND) * (loss_s(r) + r->lost * d + U * (2 * d + 8));
    if (pmax)
        precise_put(r, TENON_SOFTMAX_PMAX, r->row, r->w, bound);
    if (!margin)
        return;
    if (r->above > 1) {
        d = fabs(weight(r, r->t, r->M2, r->R));
        mpfr_div(r->t, r->t, r->S, RND);
        second = mpfr_get_d(r->t, RND) * (loss_s(r) + r->lost * d + U * (2 * d + 8));
        mpfr_sub(r->w, r->w, r->t, RND);
    }
    precise_put(r, TENON_SOFTMAX_MARGIN, r->row, r->w, 2 * (bound + second));
}

/* S, and the sum of squares over S^2. */
static void check_sums(struct precise_row *r, int sum, int squares)
{
    if (sum)
        precise_put(r, TENON_SOFTMAX_SUM, r->row, r->S, mpfr_get_d(r->S, RND) * loss_s(r));
    if (!squares)
        return;
    mpfr_sqr(r->t, r->S, RND);
    mpfr_div(r->y, r->q, r->t, RND);
    precise_put(r, TENON_SOFTMAX_SUMSQ, r->row, r->y,
                mpfr_get_d(r->y, RND) * (2 * loss_s(r) + 2 * (2 * U + r->lost) * r->Aq + 16 * U));
}

static void check_stats(struct precise_row *r)
{
    int asked[TENON_SOFTMAX_N_TENSORS];
    const int odd = r->nan || r->odd;
    for (uint32_t i = 0; i < TENON_SOFTMAX_N_TENSORS; i++)
        asked[i] = r->want[i].want != NULL;
    if (asked[TENON_SOFTMAX_ARGMAX])
        precise_put_exactly(r, TENON_SOFTMAX_ARGMAX, r->row, (double)r->argmax);
    for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_BETA; i++) {
        if (!asked[i] || i == TENON_SOFTMAX_ARGMAX)
            continue;
        if (odd)
            precise_put_exactly(r, i, r->row, i == TENON_SOFTMAX_NNZ ? 0 : (double)NAN);
        else if (i == TENON_SOFTMAX_MAX)
            precise_put_exactly(r, i, r->row, r->M);
        else if (!r->above && i != TENON_SOFTMAX_LSE && i != TENON_SOFTMAX_ENERGY)
            precise_put_exactly(r, i, r->row,
                                i == TENON_SOFTMAX_TAU              ? -(double)INFINITY
                                : i == TENON_SOFTMAX_BETA           ? 1
                                : i == TENON_SOFTMAX_SUM && r->sunk ? 1
                                                                    : 0);
    }
    if (odd)
        return;
    if (r->p->kind <= TENON_SOFTMAX_LOG_EXP)
        check_lse(r, asked[TENON_SOFTMAX_LSE], asked[TENON_SOFTMAX_ENERGY]);
    if (!r->above)
        return;
    precise_kind_stats(r, asked[TENON_SOFTMAX_NNZ], asked[TENON_SOFTMAX_TAU], asked[TENON_SOFTMAX_BETA]);
    if (r->p->kind > TENON_SOFTMAX_LOG_EXP)
        return;
    check_tops(r, asked[TENON_SOFTMAX_PMAX], asked[TENON_SOFTMAX_MARGIN]);
    check_sums(r, asked[TENON_SOFTMAX_SUM], asked[TENON_SOFTMAX_SUMSQ]);
    if (asked[TENON_SOFTMAX_ENTROPY])
        check_entropy(r);
}

/* The entropy at T, and with the beta that comes of it everything again. What a beta near its gate is, rounding
 * decides: non-zero. */
static int adapt(struct precise_row *r)
{
    const struct tenon_softmax_params *p = r->p;
    const float c[5] = {p->adaptive_c4, p->adaptive_c3, p->adaptive_c2, p->adaptive_c1, p->adaptive_c0};
    double H, size = 0, slope = 0, lost;
    mpfr_log(r->y, r->own, RND);
    mpfr_div(r->t, r->a, r->own, RND);
    mpfr_sub(r->y, r->y, r->t, RND);
    H = mpfr_get_d(r->y, RND);
    lost = (2 * U * r->E1 + 8 * U) * (1 + r->E1) +
           U * (2 * fabs(log(mpfr_get_d(r->own, RND))) + 2 * r->E2 + 10 * r->E1 + 2 * fabs(H));
    mpfr_set_zero(r->beta, 1);
    for (int i = 0; i < 5; i++) {
        slope = slope * H + mpfr_get_d(r->beta, RND);
        mpfr_mul(r->beta, r->beta, r->y, RND);
        mpfr_add_d(r->beta, r->beta, (double)c[i], RND);
        size = size * fabs(H) + fabs((double)c[i]);
    }
    if (fabs(H - (double)p->adaptive_gate) < 1e-12)
        return 1;
    if (H <= (double)p->adaptive_gate || mpfr_cmp_ui(r->beta, 1) < 0)
        mpfr_set_ui(r->beta, 1, RND);
    r->beta_lost = fabs(slope) * lost + 8 * U * size;
    r->lost = r->beta_lost / mpfr_get_d(r->beta, RND) + U;
    mpfr_mul(r->T, r->T, r->beta, RND);
    sum_row(r);
    return 0;
}

static void check_row(struct precise_row *r)
{
    int64_t n = r->cols < COLS ? r->cols : COLS, must = r->precise->element;
    read_row(r);
    find_argmax(r);
    read_scale(r);
    r->lost = r->beta_lost = 0;
    mpfr_set_ui(r->beta, 1, RND);
    if (r->unsure)
        return; /* which entries are in, rounding decides */
    if (!r->nan && r->p->kind <= TENON_SOFTMAX_LOG_EXP)
        sum_row(r);
    if (!r->nan && r->above && r->p->adaptive && adapt(r))
        return;
    if (!r->nan && r->p->kind > TENON_SOFTMAX_LOG_EXP)
        precise_kind_sum(r);
    check_stats(r);
    must = r->precise->tensor == TENON_SOFTMAX_Y && must >= 0 && must / r->cols == r->row ? must % r->cols : r->argmax;
    for (int64_t i = 0; i < n && r->want[TENON_SOFTMAX_Y].want; i++)
        check_y(r, precise_sample(r->c, i, n, r->cols, must));
}

int tenon__conform_softmax_mpfr(const struct conform_case *c, const struct conform_want *want,
                                struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_X].tensor;
    struct precise_row r = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise};
    int64_t rows = 1, must = precise->element, n;
    r.cols = x->dim[x->rank - 1];
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    must = must < 0 ? -1 : precise->tensor == TENON_SOFTMAX_Y ? must / (r.cols ? r.cols : 1) : must;
    n = r.cols * ROWS > WEIGHTS ? 1 + WEIGHTS / r.cols : ROWS;
    n = rows < n ? rows : n;
    r.v = malloc(sizeof(*r.v) * (size_t)(r.cols + 1));
    r.sorted = malloc(sizeof(*r.sorted) * (size_t)(r.cols + 1));
    r.mult = malloc(sizeof(*r.mult) * (size_t)(r.cols + 1));
    r.there = malloc((size_t)r.cols + 1);
    mpfr_inits2(PRECISE_BITS, r.T, r.S, r.own, r.a, r.q, r.t, r.w, r.y, r.beta, r.z, (mpfr_ptr)0);
    for (int64_t i = 0; i < n && r.v && r.sorted && r.mult && r.there; i++) {
        r.row = precise_sample(c, i, n, rows, must);
        check_row(&r);
    }
    mpfr_clears(r.T, r.S, r.own, r.a, r.q, r.t, r.w, r.y, r.beta, r.z, (mpfr_ptr)0);
    mpfr_free_cache();
    free(r.there);
    free(r.mult);
    free(r.sorted);
    free(r.v);
    return 0;
}
