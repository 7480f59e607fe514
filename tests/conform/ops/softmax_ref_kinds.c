/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in f64: the kinds that are no exponentials, and the post step, with the bounds of tenon/ops/softmax.h. */
#include <math.h>
#include <stdlib.h>
#include "softmax_suite_ref.h"

#define U     SOFTMAX_U
#define FLOOR SOFTMAX_FLOOR

static double logit(const struct softmax_row *r, int64_t j)
{
    return r->v[j] == -(double)INFINITY ? r->v[j] : r->v[j] * r->T;
}

/* ---- sums of a function of the logit ---- */

/* A term of the sum, what of it a change of z by dz may change, and the one that makes y. */
struct term {
    double part, slope, weight;
};

static struct term term_of(const struct softmax_row *r, double z, double dz)
{
    struct term t = {0, 0, 0};
    if (z == -(double)INFINITY)
        return t;
    double K = fmax(r->M * r->T, 0), w, positive = fmax(z, 0);
    switch (r->p->kind) {
    case TENON_SOFTMAX_SOFTPICK:
        w = z < 1 ? exp(-K) * expm1(z) : exp(z - K) - exp(-K);
        /* dz may be beyond what exp takes where z - K is as far below */
        return (struct term){fabs(w), z <= -dz ? 0 : dz < 1 ? exp(z - K) * expm1(dz) : exp(z - K + dz), fmax(w, 0)};
    case TENON_SOFTMAX_RELU_NORM:
        return (struct term){positive, z > -dz ? dz : 0, positive};
    case TENON_SOFTMAX_RELU2_NORM:
        w = positive * positive;
        return (struct term){w, z > -dz ? 2 * positive * dz + dz * dz : 0, w};
    case TENON_SOFTMAX_QUAD_NORM:
        w = z + (double)r->p->quad_c;
        return (struct term){w * w, 2 * fabs(w) * dz + dz * dz, w * w};
    default: /* STABLEMAX: its logarithm has slopes up to 1 */
        w = z >= 0 ? z + 1 : 1 / (1 - z);
        return (struct term){w, w * expm1(dz), w};
    }
}

static double own_bound(const struct softmax_row *r, double z, double y, double top)
{
    double K = fmax(r->M * r->T, 0);
    if (r->p->kind == TENON_SOFTMAX_SOFTPICK)
        return y * U * (20 + 2 * fabs(z - K) + 2 * K);
    return 16 * U * (r->p->kind == TENON_SOFTMAX_QUAD_NORM ? top : y);
}

static void share_kind(struct softmax_row *r)
{
    const uint32_t kind = r->p->kind;
    const double own = kind == TENON_SOFTMAX_SOFTPICK    ? (double)1e-6f
                       : kind == TENON_SOFTMAX_STABLEMAX ? 0
                                                         : (double)1e-5f;
    const double eps = kind == TENON_SOFTMAX_STABLEMAX || r->p->eps < 0 ? own : (double)r->p->eps;
    struct softmax_sum sum = {0, 0};
    double dz = r->shift * r->T, slopes = 0, top = 0, whole;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->in[j])
            continue;
        struct term t = term_of(r, logit(r, j), dz);
        tenon__softmax_ref_add(&sum, t.part);
        slopes += t.slope;
        top = fmax(top, t.weight);
    }
    whole = softmax_total(&sum) + eps;
    if (kind == TENON_SOFTMAX_SOFTPICK)
        slopes += eps * expm1(dz);
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->in[j] || whole == 0)
            continue;
        struct term t = term_of(r, logit(r, j), dz);
        double y = t.weight / whole;
        r->y[j] = y;
        if (t.weight > 0 || t.slope > 0 || kind == TENON_SOFTMAX_QUAD_NORM) /* else exactly 0 */
            r->bound[j] = own_bound(r, logit(r, j), y, top / whole) + FLOOR + FLOOR / whole;
        if (dz > 0)
            r->bound[j] += 1.01 * (t.slope + (y > 0 ? y * slopes : 0)) / whole;
    }
}

/* ---- one by one ---- */

static void elementwise(struct softmax_row *r)
{
    const int fixed = r->p->sigmoid_rule == TENON_SOFTMAX_BIAS_FIXED;
    const double n = (double)r->n, b = fixed ? (double)r->p->sigmoid_bias : -log(n), dz = r->shift * r->T;
    for (int64_t j = 0; j < r->cols; j++) {
        double z = logit(r, j), w = z + b, e;
        if (!r->in[j])
            continue;
        if (r->p->kind == TENON_SOFTMAX_SCALE) {
            r->y[j] = z / n;
            r->bound[j] = isfinite(z) ? fabs(r->y[j]) * 16 * U + FLOOR + dz / n : 0;
            continue;
        }
        e = exp(-fabs(w));
        r->y[j] = isnan(w) ? w : w >= 0 ? 1 / (1 + e) : e / (1 + e);
        r->bound[j] = isfinite(z) ? r->y[j] * (U * (8 + fabs(z) + fabs(w)) + expm1(dz)) + FLOOR : 0;
    }
}

/* ---- projections on the simplex, about the maximum ---- */

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The threshold of the n values in `sorted`, all above -1. SPARSEMAX: of the first k the one with sum (u - tau) = 1;
 * ENTMAX15: with sum (u - tau)^2 = 1. The largest k for which the k-th is above it. */
static double threshold_of(double *u, int64_t n, int squared)
{
    struct softmax_sum sum = {0, 0}, squares = {0, 0};
    double tau = -1;
    qsort(u, (size_t)n, sizeof(*u), descending);
    for (int64_t i = 0; i < n; i++) {
        double k = (double)(i + 1), mean, spread, next;
        tenon__softmax_ref_add(&sum, u[i]);
        tenon__softmax_ref_add(&squares, u[i] * u[i]);
        mean = softmax_total(&sum) / k;
        spread = softmax_total(&squares) - k * mean * mean;
        next = squared ? mean - sqrt(fmax((1 - spread) / k, 0)) : mean - 1 / k;
        if (next > u[i] || (next == u[i] && i > 0))
            break;
        tau = next;
    }
    return tau;
}

static void projection(struct softmax_row *r)
{
    const int squared = r->p->kind == TENON_SOFTMAX_ENTMAX15;
    const double half = squared ? 0.5 : 1, dz = r->shift * r->T, off = 0x1p-21;
    int64_t n = 0, unsure = 0, above = 0;
    double tau, product = r->M * r->T;
    for (int64_t j = 0; j < r->cols; j++) {
        double u = (r->v[j] - r->M) * r->T * half;
        if (r->in[j] && r->v[j] > -(double)INFINITY && u > -1)
            r->sorted[n++] = u;
    }
    tau = threshold_of(r->sorted, n, squared);
    for (int64_t j = 0; j < r->cols; j++) {
        double u = (r->v[j] - r->M) * r->T * half, t = fmax(u - tau, 0), y = squared ? t * t : t;
        if (!r->in[j] || r->v[j] == -(double)INFINITY)
            continue;
        above += u > tau;
        unsure += fabs(u - tau) <= 2 * off + 2 * dz;
        r->y[j] = y;
        if (u > -1 - 4 * U - 2 * dz) /* else exactly 0 */
            r->bound[j] = off + (squared ? 2 * t * dz + dz * dz : 2 * dz);
    }
    r->tau = product * half + tau;
    r->tau_bound = off + 4 * U * fabs(product) + 2 * dz + FLOOR;
    r->stat[TENON_SOFTMAX_NNZ] = (double)above;
    r->stat_bound[TENON_SOFTMAX_NNZ] = (double)unsure;
}

static void count_weights(struct softmax_row *r)
{
    const uint32_t kind = r->p->kind;
    const int positive =
        kind == TENON_SOFTMAX_SOFTPICK || kind == TENON_SOFTMAX_RELU_NORM || kind == TENON_SOFTMAX_RELU2_NORM;
    double n = 0, unsure = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->in[j])
            continue;
        n += positive ? r->v[j] > 0 && r->T > 0 : r->v[j] > -(double)INFINITY;
        unsure += positive && r->T > 0 && r->shift > 0 && fabs(r->v[j]) <= r->shift;
    }
    r->stat[TENON_SOFTMAX_NNZ] = n;
    r->stat_bound[TENON_SOFTMAX_NNZ] = unsure;
}

void tenon__softmax_ref_kind(struct softmax_row *r)
{
    if (r->p->kind == TENON_SOFTMAX_SPARSEMAX || r->p->kind == TENON_SOFTMAX_ENTMAX15) {
        projection(r);
        return;
    }
    count_weights(r);
    if (r->p->kind == TENON_SOFTMAX_SIGMOID || r->p->kind == TENON_SOFTMAX_SCALE)
        elementwise(r);
    else if (r->above)
        share_kind(r);
}

/* ---- post ---- */

static double clip(double value)
{
    return isnan(value) ? value : fmin(fmax(value, 0), 1);
}

static void clip_y(struct softmax_row *r, int64_t j)
{
    const double width = (double)r->p->zeta - (double)r->p->gamma, gamma = (double)r->p->gamma;
    const double value = width * r->y[j] + gamma, off = width * (r->bound[j] + 2 * U);
    r->y[j] = clip(value);
    r->bound[j] = value + off < 0 || value - off > 1 || !isfinite(value) ? 0 : off;
}

/* Rounding is monotone: what y may be, and a thousandth of a step for the quotient, give the levels there may be. */
static void quantize_y(struct softmax_row *r, int64_t j)
{
    const double scale = (double)r->p->qscale, off = r->bound[j] / scale + 1e-3, quotient = r->y[j] / scale;
    double level = isnan(quotient) ? 0 : fmin(fmax(rint(quotient), 0), 255);
    r->y[j] = level;
    r->bound[j] = 0;
    if (!isfinite(quotient))
        return;
    r->bound[j] =
        fmax(fmin(fmax(rint(quotient + off), 0), 255) - level, level - fmin(fmax(rint(quotient - off), 0), 255));
}

void tenon__softmax_ref_post(struct softmax_row *r)
{
    const uint32_t post = r->p->post;
    const int empty = !r->nan && !r->odd && r->above == 0;
    if (post == TENON_SOFTMAX_POST_NONE)
        return;
    for (int64_t j = 0; j < r->cols; j++) {
        if (post == TENON_SOFTMAX_POST_QUANT_U8) {
            quantize_y(r, j);
        } else if (!r->in[j]) {
            continue;
        } else if (empty) {
            r->y[j] = isnan(r->y[j]) ? r->y[j] : 0;
            r->bound[j] = 0;
        } else if (post == TENON_SOFTMAX_POST_CLIP) {
            clip_y(r, j);
        } else if (!r->nan) { /* HARD; with generated normals those near the largest may be it */
            r->y[j] = j == r->argmax;
            r->bound[j] = r->shift > 0 && r->M2 >= r->M - 2 * r->shift && r->v[j] >= r->M - 2 * r->shift;
        }
    }
}
