/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in 256 bits: the kinds that are no exponentials, support and the post step. What f64 may lose is said where
 * it is returned. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/softmax.h>
#include "softmax_suite_mpfr.h"

static int is_projection(const struct precise_row *r)
{
    return r->p->kind == TENON_SOFTMAX_SPARSEMAX || r->p->kind == TENON_SOFTMAX_ENTMAX15;
}

/* ---- support ---- */

static int better(const struct precise_row *r, int64_t a, int64_t b)
{
    return r->v[a] > r->v[b] || (r->v[a] == r->v[b] && a < b);
}

/* The k best: a heap of k indices with the worst on top, then NaNs. */
static int keep_best(struct precise_row *r, int64_t k)
{
    int64_t *heap = malloc(sizeof(*heap) * (size_t)(k + 1)), n = 0, worst = -1;
    double next = -(double)INFINITY;
    if (!heap)
        return 1;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j] || !(r->v[j] > -(double)INFINITY))
            continue;
        int64_t at = n, out = -1;
        if (n == k) {
            out = better(r, j, heap[0]) ? heap[0] : j;
            next = fmax(next, r->v[out]);
            if (out == j)
                continue;
            at = 0;
        } else {
            n++;
        }
        heap[at] = j;
        for (int64_t up = (at - 1) / 2; at > 0 && better(r, heap[up], heap[at]); at = up, up = (at - 1) / 2) {
            int64_t hold = heap[up];
            heap[up] = heap[at];
            heap[at] = hold;
        }
        for (int64_t down = 2 * at + 1; down < n; down = 2 * at + 1) {
            down += down + 1 < n && better(r, heap[down], heap[down + 1]);
            if (!better(r, heap[at], heap[down]))
                break;
            int64_t hold = heap[down];
            heap[down] = heap[at];
            heap[at] = hold;
            at = down;
        }
    }
    worst = n == k ? heap[0] : -1;
    int64_t nans = k - n;
    int near = worst >= 0 && r->p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL && next >= r->v[worst] - 1e-4;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j])
            continue;
        if (isnan(r->v[j]))
            r->there[j] = nans-- > 0;
        else
            r->there[j] = r->v[j] > -(double)INFINITY && (worst < 0 || j == worst || better(r, j, worst));
    }
    free(heap);
    return near;
}

/* The threshold in 256 bits but for the quantile. */
static int keep_above(struct precise_row *r)
{
    double n = 0, low = -40, high = 40, threshold, mean, slack;
    int near = 0;
    mpfr_set_zero(r->S, 1);
    mpfr_set_zero(r->q, 1);
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j] || r->v[j] == -(double)INFINITY)
            continue;
        if (!isfinite(r->v[j]))
            return 0;
        mpfr_add_d(r->S, r->S, r->v[j], RND);
        n++;
    }
    if (n > 0)
        mpfr_div_d(r->S, r->S, n, RND);
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j] || r->v[j] == -(double)INFINITY)
            continue;
        mpfr_d_sub(r->t, r->v[j], r->S, RND);
        mpfr_sqr(r->t, r->t, RND);
        mpfr_add(r->q, r->q, r->t, RND);
    }
    if (n > 0)
        mpfr_div_d(r->q, r->q, n, RND);
    mpfr_sqrt(r->q, r->q, RND);
    for (int i = 0; i < 100; i++) { /* the normal distribution's function, inverted by halving */
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2.0)) < 1 - (double)r->p->k / (double)r->cols)
            low = middle;
        else
            high = middle;
    }
    /* Of a half it is 0; times a deviation of 1e30 what halving leaves would be a threshold far from the mean. */
    low = 2.0 * r->p->k == (double)r->cols ? 0 : low;
    slack = low == 0 ? 0 : 1e-15 * mpfr_get_d(r->q, RND);
    mpfr_mul_d(r->t, r->q, low, RND);
    mpfr_add(r->t, r->t, r->S, RND);
    threshold = mpfr_get_d(r->t, RND);
    mean = fabs(mpfr_get_d(r->S, RND)) + mpfr_get_d(r->q, RND) * fabs(low);
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j])
            continue;
        near |= fabs(r->v[j] - threshold) <= 1e-6 * mean + slack + 1e-300;
        near |= r->p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL && fabs(r->v[j] - threshold) <= 1e-4;
        r->there[j] = r->v[j] > threshold;
    }
    return near;
}

int precise_support(struct precise_row *r)
{
    int64_t n = 0;
    for (int64_t j = 0; j < r->cols; j++)
        n += r->there[j];
    if (r->p->support == TENON_SOFTMAX_SUPPORT_ALL || (int64_t)r->p->k >= n)
        return 0;
    return r->p->support == TENON_SOFTMAX_SUPPORT_TOPK ? keep_best(r, r->p->k) : keep_above(r);
}

/* ---- kinds ---- */

/* to = z; K = max(M T, 0) in r->z. */
static void logit(struct precise_row *r, mpfr_t to, double v)
{
    mpfr_set_d(to, r->M, RND);
    mpfr_mul(r->z, to, r->T, RND);
    if (mpfr_sgn(r->z) < 0)
        mpfr_set_zero(r->z, 1);
    mpfr_set_d(to, v, RND);
    mpfr_mul(to, to, r->T, RND);
}

/* to = what an entry adds to the sum; for SOFTPICK with its sign. */
static void part(struct precise_row *r, mpfr_t to, double v)
{
    logit(r, to, v);
    switch (r->p->kind) {
    case TENON_SOFTMAX_SOFTPICK:
        mpfr_neg(r->t, r->z, RND);
        mpfr_exp(r->t, r->t, RND);
        if (mpfr_cmp_ui(to, 1) < 0) {
            mpfr_expm1(to, to, RND);
            mpfr_mul(to, to, r->t, RND);
        } else { /* e^z itself may be beyond any range */
            mpfr_sub(to, to, r->z, RND);
            mpfr_exp(to, to, RND);
            mpfr_sub(to, to, r->t, RND);
        }
        break;
    case TENON_SOFTMAX_RELU_NORM:
    case TENON_SOFTMAX_RELU2_NORM:
        if (mpfr_sgn(to) < 0)
            mpfr_set_zero(to, 1);
        if (r->p->kind == TENON_SOFTMAX_RELU2_NORM)
            mpfr_sqr(to, to, RND);
        break;
    case TENON_SOFTMAX_QUAD_NORM:
        mpfr_add_d(to, to, (double)r->p->quad_c, RND);
        mpfr_sqr(to, to, RND);
        break;
    default:
        if (mpfr_sgn(to) >= 0) {
            mpfr_add_ui(to, to, 1, RND);
        } else {
            mpfr_ui_sub(to, 1, to, RND);
            mpfr_ui_div(to, 1, to, RND);
        }
    }
}

/* (z + c)^2 of a QUAD_NORM entry moves by this: z and z + c round, and the square doubles them. */
static double quad_loss(struct precise_row *r, double v)
{
    double z, w;
    logit(r, r->t, v);
    z = fabs(mpfr_get_d(r->t, RND));
    w = fabs(mpfr_get_d(r->t, RND) + (double)r->p->quad_c);
    return U * w * (2 * z + 4 * w + 2 * U * z);
}

/* Newton's steps from -1, where the sum is at least 1, never pass the root: it is convex. */
static void solve(struct precise_row *r)
{
    const int squared = r->p->kind == TENON_SOFTMAX_ENTMAX15;
    mpfr_t sum, slope, before;
    mpfr_inits2(PRECISE_BITS, sum, slope, before, (mpfr_ptr)0);
    mpfr_set_si(r->S, -1, RND);
    for (int step = 0; step < 300; step++) {
        mpfr_set(before, r->S, RND);
        mpfr_set_si(sum, -1, RND);
        mpfr_set_zero(slope, 1);
        for (int64_t i = r->above - 1; i >= 0; i--) {
            mpfr_set_d(r->w, r->sorted[i].v, RND);
            mpfr_sub_d(r->w, r->w, r->M, RND);
            mpfr_mul(r->w, r->w, r->T, RND);
            if (squared)
                mpfr_div_ui(r->w, r->w, 2, RND);
            mpfr_sub(r->w, r->w, r->S, RND);
            if (mpfr_sgn(r->w) <= 0)
                break; /* and so are all that follow */
            if (squared) {
                mpfr_add(slope, slope, r->w, RND);
                mpfr_add(slope, slope, r->w, RND);
                mpfr_sqr(r->w, r->w, RND);
            } else {
                mpfr_add_ui(slope, slope, 1, RND);
            }
            mpfr_add(sum, sum, r->w, RND);
        }
        mpfr_div(sum, sum, slope, RND);
        mpfr_add(r->S, r->S, sum, RND);
        mpfr_sub(before, r->S, before, RND);
        if (mpfr_zero_p(before) || mpfr_get_exp(before) < -200)
            break;
    }
    /* Sums of up to n terms of size 1 about the mean; the square root of entmax divides by at least 1/n. */
    r->tau_lost = U * (64 + (squared ? 32 / (mpfr_get_d(slope, RND) / (double)r->above) : 0));
    mpfr_clears(sum, slope, before, (mpfr_ptr)0);
}

void precise_kind_sum(struct precise_row *r)
{
    const uint32_t kind = r->p->kind;
    const float own = kind == TENON_SOFTMAX_SOFTPICK ? 1e-6f : 1e-5f, eps = r->p->eps < 0 ? own : r->p->eps;
    if (kind == TENON_SOFTMAX_SIGMOID || kind == TENON_SOFTMAX_SCALE || !r->above)
        return;
    if (is_projection(r)) {
        solve(r);
        return;
    }
    mpfr_set_flt(r->S, kind == TENON_SOFTMAX_STABLEMAX ? 0 : eps, RND);
    r->size = 0;
    for (int64_t i = 0; i < r->above; i++) {
        part(r, r->w, r->sorted[i].v);
        mpfr_abs(r->w, r->w, RND);
        mpfr_add(r->S, r->S, r->w, RND);
        r->size += kind == TENON_SOFTMAX_QUAD_NORM ? quad_loss(r, r->sorted[i].v) : 0;
    }
}

static double one_by_one(struct precise_row *r, double v)
{
    double z, b;
    if (!isfinite(v)) {
        double T = mpfr_get_d(r->T, RND);
        double value = isnan(v) || (v > 0 && T == 0) ? (double)NAN : v;
        mpfr_set_d(r->y, r->p->kind == TENON_SOFTMAX_SCALE || isnan(value) ? value : value > 0 ? 1 : 0, RND);
        return 0;
    }
    logit(r, r->y, v);
    z = fabs(mpfr_get_d(r->y, RND));
    if (r->p->kind == TENON_SOFTMAX_SCALE) {
        mpfr_div_si(r->y, r->y, r->valid, RND);
        return 4 * U * fabs(mpfr_get_d(r->y, RND));
    }
    mpfr_set_si(r->t, r->valid, RND);
    mpfr_log(r->t, r->t, RND);
    mpfr_neg(r->t, r->t, RND);
    if (r->p->sigmoid_rule == TENON_SOFTMAX_BIAS_FIXED)
        mpfr_set_flt(r->t, r->p->sigmoid_bias, RND);
    b = fabs(mpfr_get_d(r->t, RND));
    mpfr_add(r->y, r->y, r->t, RND);
    mpfr_neg(r->y, r->y, RND);
    mpfr_exp(r->y, r->y, RND);
    mpfr_add_ui(r->y, r->y, 1, RND);
    mpfr_ui_div(r->y, 1, r->y, RND);
    return mpfr_get_d(r->y, RND) * U * (2 * z + 2 * b + (z + b) + 12); /* z, b and their sum round */
}

static double projected(struct precise_row *r, double v)
{
    double t;
    mpfr_set_d(r->y, v, RND);
    mpfr_sub_d(r->y, r->y, r->M, RND);
    mpfr_mul(r->y, r->y, r->T, RND);
    if (r->p->kind == TENON_SOFTMAX_ENTMAX15)
        mpfr_div_ui(r->y, r->y, 2, RND);
    mpfr_sub(r->y, r->y, r->S, RND);
    if (mpfr_sgn(r->y) < 0)
        mpfr_set_zero(r->y, 1);
    if (r->p->kind == TENON_SOFTMAX_SPARSEMAX)
        return r->tau_lost + 8 * U;
    t = mpfr_get_d(r->y, RND);
    mpfr_sqr(r->y, r->y, RND);
    return 2 * (t + r->tau_lost + 8 * U) * (r->tau_lost + 8 * U);
}

double precise_kind(struct precise_row *r, int64_t col)
{
    const uint32_t kind = r->p->kind;
    double y, K;
    if (kind == TENON_SOFTMAX_SIGMOID || kind == TENON_SOFTMAX_SCALE)
        return one_by_one(r, r->v[col]);
    if (is_projection(r))
        return projected(r, r->v[col]);
    part(r, r->y, r->v[col]);
    K = mpfr_get_d(r->z, RND);
    if (mpfr_sgn(r->y) < 0 || mpfr_zero_p(r->S))
        mpfr_set_zero(r->y, 1);
    else
        mpfr_div(r->y, r->y, r->S, RND);
    y = mpfr_get_d(r->y, RND);
    if (kind == TENON_SOFTMAX_QUAD_NORM)
        return (quad_loss(r, r->v[col]) + y * r->size) / mpfr_get_d(r->S, RND) + 16 * U * y;
    /* exp of z - K and of -K: their arguments round; expm1 loses no more than its argument. */
    return y * U * (kind == TENON_SOFTMAX_SOFTPICK ? 8 * K + 48 : 24);
}

void precise_kind_stats(struct precise_row *r, int nnz, int tau, int beta)
{
    const uint32_t kind = r->p->kind;
    const int positive =
        kind == TENON_SOFTMAX_SOFTPICK || kind == TENON_SOFTMAX_RELU_NORM || kind == TENON_SOFTMAX_RELU2_NORM;
    double n = (double)r->above;
    if (beta)
        precise_put(r, TENON_SOFTMAX_BETA, r->row, r->beta, r->beta_lost + 2 * U);
    for (int64_t i = 0; i < r->above && positive; i++)
        n -= !(r->sorted[i].v > 0 && mpfr_sgn(r->T) > 0);
    if (nnz && !is_projection(r))
        precise_put_exactly(r, TENON_SOFTMAX_NNZ, r->row, n);
    if (!tau || !is_projection(r))
        return;
    mpfr_set_d(r->y, r->M, RND);
    mpfr_mul(r->y, r->y, r->T, RND);
    if (kind == TENON_SOFTMAX_ENTMAX15)
        mpfr_div_ui(r->y, r->y, 2, RND);
    mpfr_add(r->y, r->y, r->S, RND);
    mpfr_set_d(r->t, r->M, RND);
    mpfr_mul(r->t, r->t, r->T, RND);
    precise_put(r, TENON_SOFTMAX_TAU, r->row, r->y,
                r->tau_lost + U * (4 * fabs(mpfr_get_d(r->t, RND)) + 4 * fabs(mpfr_get_d(r->y, RND))));
}

/* ---- post ---- */

static double clipped(struct precise_row *r, double bound)
{
    const double width = (double)r->p->zeta - (double)r->p->gamma;
    if (mpfr_nan_p(r->y))
        return 0;
    mpfr_mul_d(r->y, r->y, width, RND);
    bound = width * bound + 4 * U * (fabs(mpfr_get_d(r->y, RND)) + fabs((double)r->p->gamma));
    mpfr_add_d(r->y, r->y, (double)r->p->gamma, RND);
    if (mpfr_sgn(r->y) < 0)
        mpfr_set_zero(r->y, 1);
    if (mpfr_cmp_ui(r->y, 1) > 0)
        mpfr_set_ui(r->y, 1, RND);
    return isfinite(bound) ? bound : 0;
}

/* The level; where rounding decides, that of the reference. */
static void quantized(struct precise_row *r, int64_t element)
{
    double steps;
    mpfr_div_d(r->y, r->y, (double)r->p->qscale, RND);
    steps = mpfr_nan_p(r->y) ? 0 : mpfr_get_d(r->y, RND);
    if (fabs(fabs(steps - floor(steps)) - 0.5) < 1e-9 && steps < 256)
        steps = r->want[TENON_SOFTMAX_Y].want[element];
    mpfr_set_d(r->y, fmin(fmax(rint(steps), 0), 255), RND);
}

void precise_post(struct precise_row *r, int64_t col, int64_t element, double bound)
{
    const int empty = !r->nan && !r->odd && !r->above;
    if (r->p->post == TENON_SOFTMAX_POST_QUANT_U8) {
        quantized(r, element);
        bound = 0;
    } else if (r->p->post && empty && !mpfr_nan_p(r->y)) {
        mpfr_set_zero(r->y, 1);
        bound = 0;
    } else if (r->p->post == TENON_SOFTMAX_POST_CLIP && r->there[col]) {
        bound = clipped(r, bound);
    } else if (r->p->post == TENON_SOFTMAX_POST_HARD && !r->nan && r->there[col] && r->above) {
        mpfr_set_si(r->y, col == r->argmax, RND);
        bound = 0;
    }
    precise_put(r, TENON_SOFTMAX_Y, element, r->y, bound);
}
