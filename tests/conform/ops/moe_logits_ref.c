/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits in f64, straight from the formulas of tenon/ops/moe_logits.h, and the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/moe_logits.h>
#include "../conform.h"

#define U        0x1p-24
#define FLOOR    0x1p-126
#define HUGE_SUM 0x1p126 /* partial sums beyond may leave the type in one order and not in another */

struct extents {
    int64_t tokens, experts, width;
};

/* A row of x or w, widened, and what the kinds ask of it alone. */
struct side {
    double *v, *mean, *length; /* length: the norm + eps, or the root of variance + eps; of each row */
    double *squares;           /* sum of x^2, for its size */
};

static struct extents extents_of(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_MOE_LOGITS_X].tensor, *w = &c->slot[TENON_MOE_LOGITS_W].tensor;
    struct extents e = {1, w->dim[0], w->dim[1]};
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        e.tokens *= x->dim[i];
    return e;
}

static const struct tenon_moe_logits_params *params_of(const struct conform_case *c)
{
    return (const void *)c->params;
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static double eps_of(const struct tenon_moe_logits_params *p)
{
    if (p->eps > 0)
        return (double)p->eps;
    return p->kind == TENON_MOE_LOGITS_COSINE ? (double)1e-6f : (double)1e-5f;
}

/* A sum with its lost parts (Neumaier). */
struct sum {
    double value, lost;
};

static void sum_add(struct sum *sum, double value)
{
    double t = sum->value + value;
    if (isfinite(t))
        sum->lost += fabs(sum->value) >= fabs(value) ? sum->value - t + value : value - t + sum->value;
    sum->value = t;
}

static double sum_total(const struct sum *sum)
{
    return isfinite(sum->value) ? sum->value + sum->lost : sum->value;
}

static void measure(const struct tenon_moe_logits_params *p, struct side *side, int64_t row, int64_t width)
{
    const double *v = side->v + row * width;
    struct sum total = {0, 0}, squares = {0, 0}, plain = {0, 0};
    double mean = 0;
    for (int64_t k = 0; k < width && p->kind == TENON_MOE_LOGITS_STD_DOT; k++)
        sum_add(&total, v[k]);
    if (width)
        mean = sum_total(&total) / (double)width;
    for (int64_t k = 0; k < width; k++) {
        sum_add(&squares, (v[k] - mean) * (v[k] - mean));
        sum_add(&plain, v[k] * v[k]);
    }
    side->mean[row] = mean;
    side->squares[row] = sum_total(&plain);
    if (p->kind == TENON_MOE_LOGITS_STD_DOT)
        side->length[row] = sqrt(sum_total(&squares) / (double)(width ? width : 1) + eps_of(p));
    else
        side->length[row] = sqrt(sum_total(&squares)) + eps_of(p);
}

static void side_free(struct side *side)
{
    free(side->v);
    free(side->mean);
    free(side->length);
    free(side->squares);
}

static int side_make(const struct conform_case *c, uint32_t tensor, int64_t rows, int64_t width, struct side *side)
{
    size_t n = sizeof(double) * (size_t)(rows + 1);
    *side = (struct side){malloc(sizeof(double) * (size_t)(rows * width + 1)), malloc(n), malloc(n), malloc(n)};
    if (!side->v || !side->mean || !side->length || !side->squares)
        return 1;
    for (int64_t i = 0; i < rows * width; i++)
        side->v[i] = at(c, tensor, i);
    for (int64_t row = 0; row < rows; row++)
        measure(params_of(c), side, row, width);
    return 0;
}

static double act(uint32_t kind, double z)
{
    switch (kind) {
    case TENON_MOE_LOGITS_ACT_RELU:
        return z > 0 || isnan(z) ? z : 0;
    case TENON_MOE_LOGITS_ACT_SIGMOID:
        return z >= 0 ? 1 / (1 + exp(-z)) : isnan(z) ? z : exp(z) / (1 + exp(z));
    case TENON_MOE_LOGITS_ACT_TANH:
        return tanh(z);
    case TENON_MOE_LOGITS_ACT_GELU:
        return z == -(double)INFINITY ? 0 : 0.5 * z * erfc(-z * 0.70710678118654752440);
    case TENON_MOE_LOGITS_ACT_SILU:
        return z == -(double)INFINITY ? 0 : z >= 0 || isnan(z) ? z / (1 + exp(-z)) : z * (exp(z) / (1 + exp(z)));
    default:
        return z;
    }
}

/* What evaluating it in f32 may cost: some ulps, more where the rounding of its argument is magnified. */
static double act_error(uint32_t kind, double z, double y)
{
    double magnified = kind == TENON_MOE_LOGITS_ACT_GELU ? fmin(2 * z * z, 200) : fmin(2 * fabs(z), 200);
    if (kind == TENON_MOE_LOGITS_ACT_NONE || kind == TENON_MOE_LOGITS_ACT_RELU)
        return 0;
    return U * fabs(y) * (16 + (z < 0 ? magnified : 0)) + FLOOR;
}

/* What a kind makes of a pair of rows, and how far off it may be; infinite where sums may have left the type. */
static double kind_of(const struct conform_case *c, const struct extents *e, const struct side *x, int64_t t,
                      const struct side *w, int64_t expert, double *error)
{
    const struct tenon_moe_logits_params *p = params_of(c);
    const double *a = x->v + t * e->width, *b = w->v + expert * e->width, width = (double)e->width;
    double chain = 0, flushed = 0, value;
    struct sum sum = {0, 0};
    for (int64_t k = 0; k < e->width; k++) {
        double term = p->kind == TENON_MOE_LOGITS_NEG_L2 ? (a[k] - b[k]) * (a[k] - b[k])
                                                         : (a[k] - x->mean[t]) * (b[k] - w->mean[expert]);
        sum_add(&sum, term);
        if (isfinite(term))
            chain += fabs(term);
        if (fabs(a[k]) < FLOOR || fabs(b[k]) < FLOOR)
            flushed += fabs(term);
    }
    value = sum_total(&sum);
    switch (p->kind) {
    case TENON_MOE_LOGITS_COSINE:
        value = (double)p->scale * (value / x->length[t] / w->length[expert]);
        *error = 4e-6 * fabs((double)p->scale);
        break;
    case TENON_MOE_LOGITS_NEG_L2:
        value = -sqrt(value);
        *error = 4e-6 * fabs(value) + 0x1p-63 * sqrt(width);
        break;
    case TENON_MOE_LOGITS_STD_DOT:
        value = e->width ? value / x->length[t] / w->length[expert] / sqrt(width) : 0;
        *error = 1e-5 * sqrt(width);
        break;
    default:
        *error = 4e-7 * sqrt(fmax(1, width / 1024)) * chain + flushed + FLOOR * (width + 1);
    }
    if (!isnan(value) && (chain > HUGE_SUM || (p->kind != TENON_MOE_LOGITS_DOT &&
                                               (x->squares[t] > HUGE_SUM || w->squares[expert] > HUGE_SUM))))
        *error = (double)INFINITY;
    return value;
}

static void expect_element(const struct conform_case *c, const struct extents *e, const struct side *x,
                           const struct side *w, int64_t i, struct conform_want *want)
{
    const struct tenon_moe_logits_params *p = params_of(c);
    double error, z = kind_of(c, e, x, i / e->experts, w, i % e->experts, &error), y, bound = 0;
    if (c->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype) {
        double bias = at(c, TENON_MOE_LOGITS_BIAS, i % e->experts);
        z += bias;
        error += 4e-7 * fabs(bias);
    }
    y = act(p->act, z);
    if (!(error < (double)INFINITY))
        bound = (double)INFINITY;
    else if (isfinite(z))
        bound = fmax(fabs(act(p->act, z + error) - y), fabs(act(p->act, z - error) - y)) + act_error(p->act, z, y) +
                2 * U * fabs(y) + FLOOR;
    want->want[i] = y;
    want->bound[i] = want->exact ? 0 : bound;
}

void tenon__conform_moe_logits_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_moe_logits_params *p = params_of(c);
    struct extents e = extents_of(c);
    struct side x = {0}, w = {0};
    want[TENON_MOE_LOGITS_Z].exact = c->mode == CONFORM_EXACT && p->kind == TENON_MOE_LOGITS_DOT &&
                                     (p->act == TENON_MOE_LOGITS_ACT_NONE || p->act == TENON_MOE_LOGITS_ACT_RELU);
    if (!side_make(c, TENON_MOE_LOGITS_X, e.tokens, e.width, &x) &&
        !side_make(c, TENON_MOE_LOGITS_W, e.experts, e.width, &w))
        for (int64_t i = 0; i < e.tokens * e.experts; i++)
            expect_element(c, &e, &x, &w, i, &want[TENON_MOE_LOGITS_Z]);
    side_free(&x);
    side_free(&w);
}

/* No cosine is above 1, no distance below 0. */
int tenon__conform_moe_logits_check(const struct conform_case *c, const struct conform_want *want,
                                    struct tenon_why *why)
{
    const struct tenon_moe_logits_params *p = params_of(c);
    struct extents e = extents_of(c);
    const int distance = p->kind == TENON_MOE_LOGITS_NEG_L2;
    if (p->act != TENON_MOE_LOGITS_ACT_NONE || (p->kind != TENON_MOE_LOGITS_COSINE && !distance))
        return 0;
    for (int64_t i = 0; i < e.tokens * e.experts; i++) {
        double bias =
            c->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype ? at(c, TENON_MOE_LOGITS_BIAS, i % e.experts) : 0;
        double z = at(c, TENON_MOE_LOGITS_Z, i), most = distance ? 0 : fabs((double)p->scale) * (1 + 4e-6);
        if (want[TENON_MOE_LOGITS_Z].bound[i] < (double)INFINITY &&
            (z - bias > most + 1e-6 * fabs(bias) + FLOOR || (!distance && z - bias < -most - 1e-6 * fabs(bias) - FLOOR)))
            return tenon_why_set(why, 1, "element %lld is %.9g with a bias of %.9g: %s", (long long)i, z, bias,
                                 distance ? "a distance is not negative" : "a cosine is within [-1, 1]");
    }
    return 0;
}
