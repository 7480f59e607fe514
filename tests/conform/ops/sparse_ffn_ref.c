/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn in f64, straight from tenon/ops/sparse_ffn.h, and the bound of each element. A value has an error; at a
 * site, an entry that its error may carry over the threshold has its whole value for an error, because it may be kept
 * or not. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/sparse_ffn.h>
#include "../act_ref.h"
#include "../conform.h"
#include "sparse_ffn_suite.h"

#define U        ACT_REF_U
#define FLOOR    ACT_REF_FLOOR
#define HUGE_SUM 0x1p120

struct extents {
    int64_t tokens, d, f, o, width[3], first[2];
};

/* A value, and how far off a backend may be. */
struct sparse_ref {
    double v, e;
};

/* One of wg, wu, wd (or a factor of a complement), widened: [rows, width]. exact: its sums lose nothing. */
struct matrix {
    double *w;
    int64_t rows, width;
    int exact;
};

static const struct tenon_sparse_ffn_params *params_of(const struct conform_case *c)
{
    return (const void *)c->params;
}

static const struct tenon_tensor *tensor_of(const struct conform_case *c, uint32_t i)
{
    return &c->slot[i].tensor;
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static struct extents extents_of(const struct conform_case *c)
{
    const struct tenon_sparse_ffn_params *p = params_of(c);
    const struct tenon_tensor *x = tensor_of(c, TENON_SPARSE_FFN_X);
    struct extents e = {.tokens = 1, .d = x->dim[x->rank - 1]};
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        e.tokens *= x->dim[i];
    e.f = tensor_of(c, TENON_SPARSE_FFN_WU)->dim[p->trans_u];
    e.o = tensor_of(c, TENON_SPARSE_FFN_WD)->dim[p->trans_d];
    e.width[0] = p->split ? p->split : e.d;
    e.width[1] = p->split ? e.d - p->split : e.d;
    e.width[2] = e.f;
    e.first[1] = p->split;
    return e;
}

static struct matrix matrix_of(const struct conform_case *c, uint32_t tensor, uint32_t trans, uint32_t scale_tensor)
{
    const struct tenon_tensor *t = tensor_of(c, tensor), *scale = scale_tensor ? tensor_of(c, scale_tensor) : NULL;
    struct matrix m = {NULL, t->dim[trans ? 1 : 0], t->dim[trans ? 0 : 1], c->mode == CONFORM_EXACT};
    m.w = malloc(sizeof(double) * (size_t)(m.rows * m.width + 1));
    for (int64_t i = 0; m.w && i < m.rows * m.width; i++) {
        const int64_t row = i / m.width, k = i % m.width;
        m.w[i] = at(c, tensor, trans ? k * m.rows + row : i);
        if (scale && scale->dtype)
            m.w[i] *= at(c, scale_tensor, scale->rank == 2 ? row * scale->dim[1] + k / (m.width / scale->dim[1]) : row);
    }
    return m;
}

/* y[row] = sum of the terms whose factor is not 0. With errors. */
static void multiply(const struct matrix *m, const struct sparse_ref *x, struct sparse_ref *y)
{
    for (int64_t row = 0; row < m->rows; row++) {
        double sum = 0, lost = 0, chain = 0, error = 0, flushed = 0;
        for (int64_t k = 0; k < m->width; k++) {
            const double w = m->w[row * m->width + k], term = x[k].v * w;
            if (x[k].e != 0)
                error += isfinite(w) ? x[k].e * fabs(w) : (double)INFINITY;
            if (x[k].v == 0)
                continue;
            const double t = sum + term;
            if (isfinite(t))
                lost += fabs(sum) >= fabs(term) ? sum - t + term : term - t + sum;
            sum = t;
            if (isfinite(term))
                chain += fabs(term);
            if (fabs(x[k].v) < FLOOR || fabs(w) < FLOOR)
                flushed += fabs(term);
        }
        y[row].v = isfinite(sum) ? sum + lost : sum;
        y[row].e = 4e-7 * sqrt(fmax(1, (double)m->width / 1024)) * chain + error + flushed +
                   (chain > 0 ? FLOOR * (double)(m->width + 1) : 0);
        if (m->exact)
            y[row].e = error;
        if (chain > HUGE_SUM)
            y[row].e = (double)INFINITY;
    }
}

/* ---- sites ---- */

static double value_of(const struct tenon_sparse_ffn_site *s, double x, double theta)
{
    double size;
    switch (s->kind) {
    case TENON_SPARSE_FFN_SHIFT_RELU:
        return s->cap < FLT_MAX ? fmin(x - (double)s->tau, (double)s->cap) : x - (double)s->tau;
    case TENON_SPARSE_FFN_SOFT:
        size = fabs(x) - (double)s->tau;
        size = s->cap < FLT_MAX ? fmin(size, (double)s->cap) : size;
        return x < 0 ? -size : size;
    case TENON_SPARSE_FFN_STAT_TOPK:
        return s->keep || theta == -(double)INFINITY ? x : x - theta;
    default:
        return x;
    }
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The k-th best of n scores, k >= 1; a NaN is below all. */
static double kth(const double *scores, int64_t n, int64_t k)
{
    double *sorted = malloc(sizeof(double) * (size_t)n), result = -(double)INFINITY;
    if (!sorted)
        return result;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(scores[i]))
            sorted[count++] = scores[i];
    qsort(sorted, (size_t)count, sizeof(double), compare_doubles);
    if (k <= count)
        result = sorted[k - 1];
    free(sorted);
    return result;
}

/* Whether an entry is kept, and whether its error leaves that open. */
struct verdict {
    int keep, open;
};

/* Better than i by the total order: a larger score, or the same at a smaller index. */
static int64_t rank_of(const double *score, int64_t n, int64_t i)
{
    int64_t rank = 0;
    for (int64_t k = 0; k < n; k++)
        rank += score[k] > score[i] || (score[k] == score[i] && k < i);
    return rank;
}

static void judge_topk(const struct tenon_sparse_ffn_site *s, const double *score, const double *error, int64_t n,
                       struct verdict *verdict)
{
    double *low = calloc((size_t)n + 1, sizeof(double)), *high = calloc((size_t)n + 1, sizeof(double));
    if (s->k > 0 && low && high) {
        for (int64_t i = 0; i < n; i++)
            low[i] = score[i] - error[i], high[i] = score[i] + error[i];
        const double cut = kth(score, n, s->k), cut_low = kth(low, n, s->k), cut_high = kth(high, n, s->k);
        for (int64_t i = 0; i < n; i++) {
            if (isnan(score[i]))
                continue;
            verdict[i].keep = score[i] > cut || (score[i] == cut && rank_of(score, n, i) < s->k);
            verdict[i].open = !(low[i] > cut_high || high[i] < cut_low) && (error[i] > 0 || cut_low < cut_high);
        }
    }
    free(low);
    free(high);
}

/* mean + std Q, and how far off it may be. */
static double theta_of(const struct tenon_sparse_ffn_site *s, const struct sparse_ref *v, int64_t n, double *error)
{
    double sum = 0, lost = 0, squares = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double t = sum + v[i].v;
        lost += fabs(sum) >= fabs(v[i].v) ? sum - t + v[i].v : v[i].v - t + sum;
        sum = t;
        worst = fmax(worst, v[i].e);
    }
    const double mean = (sum + lost) / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (v[i].v - mean) * (v[i].v - mean);
    const double deviation = sqrt(squares / (double)(n - s->ddof));
    const double q = tenon__sparse_ffn_suite_quantile((double)s->k, (double)n);
    *error = 4 * U * (fabs(mean) + deviation * fabs(q)) + worst * (1 + 2 * fabs(q));
    return mean + deviation * q;
}

static void judge_stat(const struct tenon_sparse_ffn_site *s, const struct sparse_ref *v, int64_t n, double *theta,
                       double *theta_error, struct verdict *verdict)
{
    int finite = 1;
    *theta = -(double)INFINITY;
    *theta_error = 0;
    for (int64_t i = 0; i < n; i++)
        finite &= isfinite(v[i].v) != 0;
    if (s->k == 0 || (s->k < n && !finite))
        return;
    if (s->k < n)
        *theta = theta_of(s, v, n, theta_error);
    for (int64_t i = 0; i < n; i++) {
        verdict[i].keep = v[i].v > *theta || (s->k == n && !isnan(v[i].v));
        verdict[i].open = s->k < n && !(fabs(v[i].v - *theta) > v[i].e + *theta_error);
    }
}

static void judge_each(const struct conform_case *c, uint32_t site, const double *score, const struct sparse_ref *v,
                       const double *error, int64_t n, struct verdict *verdict)
{
    const struct tenon_sparse_ffn_site *s = tenon_sparse_ffn_site_at(params_of(c), site);
    for (int64_t i = 0; i < n; i++) {
        double t =
            tensor_of(c, TENON_SPARSE_FFN_T_XG + site)->dtype ? at(c, TENON_SPARSE_FFN_T_XG + site, i) : (double)s->t;
        if (s->kind == TENON_SPARSE_FFN_SHIFT_RELU || s->kind == TENON_SPARSE_FFN_SOFT)
            t = (double)s->tau;
        if (s->kind == TENON_SPARSE_FFN_RELU)
            t = 0;
        const int or_equal = s->kind == TENON_SPARSE_FFN_ABS_GE || s->kind == TENON_SPARSE_FFN_GE;
        verdict[i].keep = or_equal ? score[i] >= t : score[i] > t;
        verdict[i].open = error[i] > 0 && !(fabs(score[i] - t) > error[i]) && !isnan(score[i]);
        if (s->kind == TENON_SPARSE_FFN_RELU && isnan(v[i].v))
            verdict[i].keep = 1;
    }
}

static void site(const struct conform_case *c, uint32_t i, struct sparse_ref *v, int64_t n)
{
    const struct tenon_sparse_ffn_site *s = tenon_sparse_ffn_site_at(params_of(c), i);
    const int by_abs = s->kind == TENON_SPARSE_FFN_ABS_GT || s->kind == TENON_SPARSE_FFN_ABS_GE ||
                       s->kind == TENON_SPARSE_FFN_SOFT || (s->kind == TENON_SPARSE_FFN_TOPK && s->by);
    double *score = malloc(sizeof(double) * (size_t)(n + 1)), *error = malloc(sizeof(double) * (size_t)(n + 1));
    struct verdict *verdict = calloc((size_t)(n + 1), sizeof(*verdict));
    double theta = 0, theta_error = 0;
    if (!s->kind || !score || !error || !verdict)
        goto end;
    for (int64_t k = 0; k < n; k++) {
        score[k] = by_abs ? fabs(v[k].v) : v[k].v;
        error[k] = v[k].e;
        if (tensor_of(c, TENON_SPARSE_FFN_WGT_XG + i)->dtype) {
            const double weight = at(c, TENON_SPARSE_FFN_WGT_XG + i, k);
            score[k] = (double)(float)(score[k] * weight);
            error[k] = error[k] > 0 ? error[k] * fabs(weight) + 2 * U * fabs(score[k]) : 0;
        }
    }
    if (s->kind == TENON_SPARSE_FFN_TOPK)
        judge_topk(s, score, error, n, verdict);
    else if (s->kind == TENON_SPARSE_FFN_STAT_TOPK)
        judge_stat(s, v, n, &theta, &theta_error, verdict);
    else
        judge_each(c, i, score, v, error, n, verdict);
    for (int64_t k = 0; k < n; k++) {
        const double kept = value_of(s, v[k].v, theta);
        const int shifted = s->kind == TENON_SPARSE_FFN_SHIFT_RELU || s->kind == TENON_SPARSE_FFN_SOFT ||
                            (s->kind == TENON_SPARSE_FFN_STAT_TOPK && !s->keep);
        const double own = v[k].e + (shifted ? theta_error + U * fabs(kept) + FLOOR : 0);
        v[k].v = verdict[k].keep ? kept : 0;
        v[k].e = verdict[k].open ? fabs(kept) + own : verdict[k].keep ? own : 0;
    }
end:
    free(score);
    free(error);
    free(verdict);
}

/* ---- a token ---- */

struct work {
    const struct conform_case *c;
    struct extents e;
    struct matrix w[3], up[3], down[3];
    struct sparse_ref *in, *rest, *h, *u, *low, *sum, *y;
};

/* y of wg or wu (side) for a token, of neurons that are needed. */
static void project(struct work *w, int64_t token, uint32_t side, const struct sparse_ref *need, struct sparse_ref *y)
{
    const int64_t width = w->e.width[side];
    const int low = w->up[side].w && tenon_sparse_ffn_site_at(params_of(w->c), side)->kind;
    for (int64_t k = 0; k < width; k++)
        w->rest[k] = w->in[k] =
            (struct sparse_ref){at(w->c, TENON_SPARSE_FFN_X, token * w->e.d + w->e.first[side] + k), 0};
    site(w->c, side, w->in, width);
    multiply(&w->w[side], w->in, y);
    if (low) {
        for (int64_t k = 0; k < width; k++)
            if (w->in[k].v != 0)
                w->rest[k] = (struct sparse_ref){0, 0};
        multiply(&w->down[side], w->rest, w->low);
        multiply(&w->up[side], w->low, w->sum);
        for (int64_t i = 0; i < w->e.f; i++) {
            y[i].v += w->sum[i].v;
            y[i].e += w->sum[i].e + U * fabs(y[i].v);
        }
    }
    for (int64_t i = 0; need && i < w->e.f; i++)
        if (need[i].v == 0) /* it may be needed after all: then a neuron is open, and so is what it becomes */
            y[i] = need[i].e > 0 ? (struct sparse_ref){0, fabs(y[i].v) + y[i].e} : (struct sparse_ref){0, 0};
}

static void activate(const struct conform_case *c, struct sparse_ref *v, int64_t n)
{
    const struct tenon_sparse_ffn_params *p = params_of(c);
    const struct act_ref act = {p->act, (double)p->alpha, (double)p->threshold};
    for (int64_t i = 0; i < n; i++) {
        const double x = v[i].v, y = act_ref(&act, x), e = v[i].e;
        v[i].v = y;
        if (isfinite(x) && isfinite(y) && !(e < (double)INFINITY))
            v[i].e = (double)INFINITY;
        else if (isfinite(x) && isfinite(y))
            v[i].e = (e > 0 ? fmax(fabs(act_ref(&act, x + e) - y), fabs(act_ref(&act, x - e) - y)) : 0) +
                     act_ref_error(&act, x, y);
        else if (isfinite(y) && y != 0)
            v[i].e = U * fabs(y);
    }
}

static struct sparse_ref times(const struct conform_case *c, struct sparse_ref a, struct sparse_ref b, int exact_zero_b)
{
    struct sparse_ref r;
    if ((a.v == 0 && a.e == 0) || (exact_zero_b && b.v == 0 && b.e == 0))
        return (struct sparse_ref){0, 0};
    if (a.v == 0 || (exact_zero_b && b.v == 0))
        r.v = 0;
    else
        r.v = a.v * b.v;
    r.e = (a.e > 0 ? a.e * fabs(b.v) : 0) + (b.e > 0 ? b.e * fabs(a.v) + a.e * b.e : 0);
    if (c->mode != CONFORM_EXACT && r.v != 0)
        r.e += U * fabs(r.v) + FLOOR;
    if (isnan(r.e))
        r.e = (double)INFINITY;
    return r;
}

static int chooses(const struct tenon_sparse_ffn_site *s)
{
    return s->kind == TENON_SPARSE_FFN_TOPK || s->kind == TENON_SPARSE_FFN_STAT_TOPK;
}

static void hidden(struct work *w, int64_t token)
{
    const struct conform_case *c = w->c;
    const struct tenon_sparse_ffn_params *p = params_of(c);
    const int gate = w->w[0].w != NULL, has_ext = tensor_of(c, TENON_SPARSE_FFN_EXT)->dtype != 0;
    for (int64_t i = 0; has_ext && i < w->e.f; i++)
        w->u[i] = (struct sparse_ref){at(c, TENON_SPARSE_FFN_EXT, token * w->e.f + i), 0};
    project(w, token, gate ? 0 : 1, has_ext && !chooses(&p->p) && !chooses(&p->g) ? w->u : NULL, w->h);
    site(c, TENON_SPARSE_FFN_SITE_P, w->h, w->e.f);
    activate(c, w->h, w->e.f);
    site(c, TENON_SPARSE_FFN_SITE_G, w->h, w->e.f);
    for (int64_t i = 0; has_ext && i < w->e.f; i++)
        w->h[i] = times(c, w->h[i], w->u[i], 1);
    if (!gate)
        return;
    project(w, token, 1, w->h, w->u);
    for (int64_t i = 0; i < w->e.f; i++)
        w->h[i] = times(c, w->h[i], w->u[i], 0);
}

static void expect_token(struct work *w, int64_t token, struct conform_want *want)
{
    const struct conform_case *c = w->c;
    const uint32_t dtype = tensor_of(c, TENON_SPARSE_FFN_Y)->dtype;
    const int low = w->up[2].w && params_of(c)->h.kind;
    hidden(w, token);
    memcpy(w->u, w->h, sizeof(*w->u) * (size_t)w->e.f);
    site(c, TENON_SPARSE_FFN_SITE_H, w->h, w->e.f);
    multiply(&w->w[2], w->h, w->y);
    if (low) {
        for (int64_t i = 0; i < w->e.f; i++)
            if (w->h[i].v != 0 && w->h[i].e < fabs(w->h[i].v))
                w->u[i] = (struct sparse_ref){0, 0};
            else if (w->h[i].v != 0)
                w->u[i] = (struct sparse_ref){0, fabs(w->u[i].v) + w->u[i].e};
            else if (w->h[i].e > 0)
                w->u[i].e += fabs(w->u[i].v);
        multiply(&w->down[2], w->u, w->low);
        multiply(&w->up[2], w->low, w->sum);
    }
    for (int64_t i = 0; i < w->e.o; i++) {
        struct sparse_ref y = w->y[i];
        if (low) {
            y.v += w->sum[i].v;
            y.e += w->sum[i].e + U * fabs(y.v);
        }
        if (isfinite(y.v) && y.e > 0)
            y.e += U * fabs(y.v) + FLOOR;
        if (isfinite(y.v))
            y.e += dtype == TENON_F32 ? 0 : conform_ulp(dtype, y.v);
        else if (y.e < (double)INFINITY)
            y.e = 0;
        want->want[token * w->e.o + i] = y.v;
        want->bound[token * w->e.o + i] = want->exact ? 0 : isnan(y.e) ? (double)INFINITY : y.e;
    }
}

static int is_exact(const struct conform_case *c)
{
    const struct tenon_sparse_ffn_params *p = params_of(c);
    if (c->mode != CONFORM_EXACT || tensor_of(c, TENON_SPARSE_FFN_Y)->dtype != TENON_F32 || p->act > TENON_ACT_RELU)
        return 0;
    for (uint32_t i = 0; i < TENON_SPARSE_FFN_SITES; i++)
        if (tenon_sparse_ffn_site_at(p, i)->kind == TENON_SPARSE_FFN_STAT_TOPK)
            return 0;
    return 1;
}

static struct sparse_ref *room(int64_t n)
{
    return calloc((size_t)(n + 1), sizeof(struct sparse_ref));
}

void tenon__conform_sparse_ffn_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_sparse_ffn_params *p = params_of(c);
    struct work w = {.c = c, .e = extents_of(c)};
    const uint32_t trans[3] = {p->trans_g, p->trans_u, p->trans_d};
    int64_t rank = 0;
    for (uint32_t i = tensor_of(c, TENON_SPARSE_FFN_WG)->dtype ? 0 : 1; i < 3; i++) {
        const uint32_t u = TENON_SPARSE_FFN_CU_G + 2 * i;
        w.w[i] = matrix_of(c, TENON_SPARSE_FFN_WG + i, trans[i], TENON_SPARSE_FFN_WG_SCALE + i);
        if (!tensor_of(c, u)->dtype)
            continue;
        w.up[i] = matrix_of(c, u, 0, 0);
        w.down[i] = matrix_of(c, u + 1, 1, 0);
        rank = w.up[i].width > rank ? w.up[i].width : rank;
    }
    w.in = room(w.e.d), w.rest = room(w.e.d), w.h = room(w.e.f), w.u = room(w.e.f), w.low = room(rank);
    w.sum = room(w.e.f > w.e.o ? w.e.f : w.e.o), w.y = room(w.e.o);
    want[TENON_SPARSE_FFN_Y].exact = is_exact(c);
    for (int64_t t = 0; w.in && w.rest && w.h && w.u && w.low && w.sum && w.y && t < w.e.tokens; t++)
        expect_token(&w, t, &want[TENON_SPARSE_FFN_Y]);
    for (int i = 0; i < 3; i++) {
        free(w.w[i].w);
        free(w.up[i].w);
        free(w.down[i].w);
    }
    free(w.in), free(w.rest), free(w.h), free(w.u), free(w.low), free(w.sum), free(w.y);
}

/* What no skipped weight may do: outputs are as finite as the reference's. Elements have that checked; nothing else
 * holds of all of them together. */
int tenon__conform_sparse_ffn_check(const struct conform_case *c, const struct conform_want *want,
                                    struct tenon_why *why)
{
    const struct extents e = extents_of(c);
    if (tenon_tensor_count(tensor_of(c, TENON_SPARSE_FFN_Y)) != want[TENON_SPARSE_FFN_Y].count ||
        want[TENON_SPARSE_FFN_Y].count != e.tokens * e.o)
        return tenon_why_set(why, 1, "y has %lld elements, must have T*O = %lld",
                             (long long)want[TENON_SPARSE_FFN_Y].count, (long long)(e.tokens * e.o));
    return 0;
}
