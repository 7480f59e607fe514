/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn in 256 bits but for the quantile, written from tenon/ops/sparse_ffn.h and sparsify.h and not from
 * sparse_ffn_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: 4u(|sum| + sum |terms|) in a compensated sum, which activations, factors and
 * weights carry on; of an entry that this may carry over the threshold of a site, its whole value. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/sparse_ffn.h>
#include "../act_mpfr.h"
#include "../precise.h"
#include "sparse_ffn_suite.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define SAMPLES 10

/* A value, and what f64 may have lost of it. */
struct value {
    mpfr_t v;
    double e;
};

struct checker {
    const struct conform_case *c;
    const struct tenon_sparse_ffn_params *p;
    int64_t d, f, o, rank, width[2];
    struct value *in, *rest, *h, *u, *low, *sum, *was;
};

static const struct tenon_tensor *tensor_of(const struct conform_case *c, uint32_t i)
{
    return &c->slot[i].tensor;
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static struct value *values(int64_t n)
{
    struct value *v = malloc(sizeof(*v) * (size_t)(n + 1));
    for (int64_t i = 0; v && i <= n; i++) {
        mpfr_init2(v[i].v, PRECISE_BITS);
        mpfr_set_zero(v[i].v, 1);
        v[i].e = 0;
    }
    return v;
}

static void values_free(struct value *v, int64_t n)
{
    for (int64_t i = 0; v && i <= n; i++)
        mpfr_clear(v[i].v);
    free(v);
}

static double size_of(const struct value *v)
{
    return fabs(mpfr_get_d(v->v, RND));
}

static void clear(struct value *v)
{
    mpfr_set_zero(v->v, 1);
    v->e = 0;
}

/* Weight (row, k) of wg, wu, wd (i = 0, 1, 2). */
static void weight(const struct checker *k, uint32_t i, int64_t row, int64_t column, mpfr_t w)
{
    const uint32_t trans[3] = {k->p->trans_g, k->p->trans_u, k->p->trans_d}, tensor = TENON_SPARSE_FFN_WG + i;
    const struct tenon_tensor *t = tensor_of(k->c, tensor);
    const struct tenon_tensor *scale = tensor_of(k->c, TENON_SPARSE_FFN_WG_SCALE + i);
    const int64_t width = t->dim[trans[i] ? 0 : 1];
    mpfr_set_d(w, at(k->c, tensor, trans[i] ? column * t->dim[1] + row : row * t->dim[1] + column), RND);
    if (scale->dtype)
        mpfr_mul_d(w, w,
                   at(k->c, TENON_SPARSE_FFN_WG_SCALE + i,
                      scale->rank == 2 ? row * scale->dim[1] + column * scale->dim[1] / width : row),
                   RND);
}

/* y = the terms whose factor is not 0: row `row` of matrix i (0 to 2), of V^T (3 to 5) or of U (6 to 8). */
static void one_sum(const struct checker *k, uint32_t i, int64_t row, const struct value *x, int64_t width,
                    struct value *y)
{
    const uint32_t v = i >= 3 && i < 6 ? TENON_SPARSE_FFN_CV_G + 2 * (i - 3) : 0;
    double chain = 0, error = 0;
    mpfr_t w;
    mpfr_init2(w, PRECISE_BITS);
    clear(y);
    for (int64_t n = 0; n < width; n++) {
        if (mpfr_zero_p(x[n].v) && x[n].e == 0)
            continue;
        if (i < 3)
            weight(k, i, row, n, w);
        else if (i < 6)
            mpfr_set_d(w, at(k->c, v, n * tensor_of(k->c, v)->dim[1] + row), RND);
        else
            mpfr_set_d(w, at(k->c, TENON_SPARSE_FFN_CU_G + 2 * (i - 6), row * width + n), RND);
        if (x[n].e > 0)
            error += x[n].e * fabs(mpfr_get_d(w, RND));
        if (mpfr_zero_p(x[n].v))
            continue;
        mpfr_mul(w, w, x[n].v, RND);
        mpfr_add(y->v, y->v, w, RND);
        if (mpfr_number_p(w))
            chain += fabs(mpfr_get_d(w, RND));
    }
    mpfr_clear(w);
    y->e = (k->c->mode == CONFORM_EXACT ? 0 : 4 * U * (size_of(y) + chain)) + error;
}

/* ---- sites ---- */

struct score {
    double score, error;
    int64_t index;
};

static int by_score(const void *a, const void *b)
{
    const struct score *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

/* Of entry i: kept (1), not (0); open: f64 may see it otherwise. */
struct fate {
    int keep, open;
};

static void choose(const struct tenon_sparse_ffn_site *s, struct score *score, int64_t n, struct fate *fate)
{
    int64_t count = 0;
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(score[i].score)) {
            worst = fmax(worst, score[i].error);
            score[count++] = score[i];
        }
    qsort(score, (size_t)count, sizeof(*score), by_score);
    for (int64_t i = 0; i < count; i++) {
        fate[score[i].index].keep = i < s->k;
        if (worst > 0 && s->k > 0 && s->k <= count)
            fate[score[i].index].open = !(fabs(score[i].score - score[s->k - 1].score) > 2 * worst);
    }
}

/* theta = mean + std Q; how far f64 may be off. */
static double find_theta(const struct tenon_sparse_ffn_site *s, const struct value *v, int64_t n, mpfr_t theta)
{
    double worst = 0, most = 0;
    mpfr_t mean, d;
    mpfr_inits2(PRECISE_BITS, mean, d, (mpfr_ptr)0);
    mpfr_set_zero(mean, 1);
    mpfr_set_zero(theta, 1);
    for (int64_t i = 0; i < n; i++) {
        mpfr_add(mean, mean, v[i].v, RND);
        worst = fmax(worst, v[i].e);
        most = fmax(most, size_of(&v[i]));
    }
    mpfr_div_si(mean, mean, (long)n, RND);
    for (int64_t i = 0; i < n; i++) {
        mpfr_sub(d, v[i].v, mean, RND);
        mpfr_sqr(d, d, RND);
        mpfr_add(theta, theta, d, RND);
    }
    mpfr_div_si(theta, theta, (long)(n - s->ddof), RND);
    mpfr_sqrt(theta, theta, RND);
    const double q = tenon__sparse_ffn_suite_quantile((double)s->k, (double)n);
    mpfr_mul_d(theta, theta, q, RND);
    mpfr_add(theta, theta, mean, RND);
    mpfr_clears(mean, d, (mpfr_ptr)0);
    return (worst + 64 * U * most) * (2 + 4 * fabs(q));
}

static void keep_as(const struct tenon_sparse_ffn_site *s, mpfr_t v, mpfr_srcptr theta)
{
    const int negative = mpfr_signbit(v) != 0;
    if (s->kind == TENON_SPARSE_FFN_STAT_TOPK && !s->keep && !mpfr_inf_p(theta))
        mpfr_sub(v, v, theta, RND);
    if (s->kind != TENON_SPARSE_FFN_SHIFT_RELU && s->kind != TENON_SPARSE_FFN_SOFT)
        return;
    if (s->kind == TENON_SPARSE_FFN_SOFT)
        mpfr_abs(v, v, RND);
    mpfr_sub_d(v, v, (double)s->tau, RND);
    if (s->cap < FLT_MAX && mpfr_cmp_d(v, (double)s->cap) > 0)
        mpfr_set_d(v, (double)s->cap, RND);
    if (s->kind == TENON_SPARSE_FFN_SOFT && negative)
        mpfr_neg(v, v, RND);
}

static struct score score_of(const struct checker *k, uint32_t i, const struct value *v, int64_t n)
{
    const struct tenon_sparse_ffn_site *s = tenon_sparse_ffn_site_at(k->p, i);
    const int by_abs = s->kind == TENON_SPARSE_FFN_ABS_GT || s->kind == TENON_SPARSE_FFN_ABS_GE ||
                       s->kind == TENON_SPARSE_FFN_SOFT || (s->kind == TENON_SPARSE_FFN_TOPK && s->by);
    struct score score = {mpfr_get_d(v->v, RND), v->e + (v->e > 0 ? 2 * U * size_of(v) : 0), n};
    if (by_abs)
        score.score = fabs(score.score);
    if (tensor_of(k->c, TENON_SPARSE_FFN_WGT_XG + i)->dtype) {
        mpfr_t product;
        const double w = at(k->c, TENON_SPARSE_FFN_WGT_XG + i, n);
        mpfr_init2(product, PRECISE_BITS);
        mpfr_abs(product, v->v, RND);
        mpfr_mul_d(product, product, w, RND);
        score.score = (double)mpfr_get_flt(product, RND);
        if (v->e > 0)
            score.error = v->e * w + 0x1p-23 * score.score;
        mpfr_clear(product);
    }
    return score;
}

static void judge(const struct checker *k, uint32_t i, const struct score *score, const struct value *v,
                  struct fate *fate)
{
    const struct tenon_sparse_ffn_site *s = tenon_sparse_ffn_site_at(k->p, i);
    double t = (double)s->t;
    if (tensor_of(k->c, TENON_SPARSE_FFN_T_XG + i)->dtype)
        t = at(k->c, TENON_SPARSE_FFN_T_XG + i, score->index);
    if (s->kind == TENON_SPARSE_FFN_RELU)
        t = 0;
    if (s->kind == TENON_SPARSE_FFN_SHIFT_RELU || s->kind == TENON_SPARSE_FFN_SOFT)
        t = (double)s->tau;
    fate->keep =
        s->kind == TENON_SPARSE_FFN_ABS_GE || s->kind == TENON_SPARSE_FFN_GE ? score->score >= t : score->score > t;
    fate->keep |= s->kind == TENON_SPARSE_FFN_RELU && mpfr_nan_p(v->v);
    fate->open = score->error > 0 && !(fabs(score->score - t) > score->error);
}

static void site(const struct checker *k, uint32_t i, struct value *v, int64_t n)
{
    const struct tenon_sparse_ffn_site *s = tenon_sparse_ffn_site_at(k->p, i);
    struct score *score = malloc(sizeof(*score) * (size_t)(n + 1));
    struct fate *fate = calloc((size_t)(n + 1), sizeof(*fate));
    double theta_error = 0;
    int finite = 1;
    mpfr_t theta;
    mpfr_init2(theta, PRECISE_BITS);
    mpfr_set_inf(theta, -1);
    for (int64_t m = 0; s->kind && score && fate && m < n; m++) {
        score[m] = score_of(k, i, &v[m], m);
        finite &= mpfr_number_p(v[m].v) != 0;
        if (s->kind < TENON_SPARSE_FFN_TOPK)
            judge(k, i, &score[m], &v[m], &fate[m]);
    }
    if (s->kind == TENON_SPARSE_FFN_STAT_TOPK && s->k > 0 && s->k < n && finite)
        theta_error = find_theta(s, v, n, theta);
    if (s->kind == TENON_SPARSE_FFN_TOPK && score && fate)
        choose(s, score, n, fate);
    for (int64_t m = 0; s->kind && fate && m < n; m++) {
        if (s->kind == TENON_SPARSE_FFN_STAT_TOPK) {
            fate[m].keep = s->k == n ? !mpfr_nan_p(v[m].v) : s->k > 0 && finite && mpfr_cmp(v[m].v, theta) > 0;
            fate[m].open = s->k > 0 && s->k < n && finite &&
                           !(fabs(mpfr_get_d(v[m].v, RND) - mpfr_get_d(theta, RND)) > v[m].e + theta_error);
        }
        keep_as(s, v[m].v, theta);
        const double own = v[m].e + theta_error + (v[m].e + theta_error > 0 || s->tau > 0 ? 4 * U * size_of(&v[m]) : 0);
        const double whole = fate[m].open ? size_of(&v[m]) + own : fate[m].keep ? own : 0;
        if (!fate[m].keep)
            mpfr_set_zero(v[m].v, 1);
        v[m].e = whole;
    }
    mpfr_clear(theta);
    free(score);
    free(fate);
}

/* ---- a token ---- */

static void project(const struct checker *k, int64_t token, uint32_t side, const struct value *need, struct value *y)
{
    const int64_t width = k->width[side], first = side ? k->p->split : 0;
    const int low =
        tensor_of(k->c, TENON_SPARSE_FFN_CU_G + 2 * side)->dtype && tenon_sparse_ffn_site_at(k->p, side)->kind;
    for (int64_t n = 0; n < width; n++) {
        mpfr_set_d(k->in[n].v, at(k->c, TENON_SPARSE_FFN_X, token * k->d + first + n), RND);
        mpfr_set(k->rest[n].v, k->in[n].v, RND);
        k->in[n].e = k->rest[n].e = 0;
    }
    site(k, side, k->in, width);
    for (int64_t n = 0; n < width; n++)
        if (!mpfr_zero_p(k->in[n].v))
            clear(&k->rest[n]);
    for (int64_t r = 0; low && r < k->rank; r++)
        one_sum(k, 3 + side, r, k->rest, width, &k->low[r]);
    for (int64_t i = 0; i < k->f; i++) {
        one_sum(k, side, i, k->in, width, &y[i]);
        if (low) {
            one_sum(k, 6 + side, i, k->low, k->rank, &k->sum[0]);
            mpfr_add(y[i].v, y[i].v, k->sum[0].v, RND);
            y[i].e += k->sum[0].e + (k->c->mode == CONFORM_EXACT ? 0 : 2 * U * size_of(&y[i]));
        }
        if (need && mpfr_zero_p(need[i].v)) {
            const double whole = need[i].e > 0 ? size_of(&y[i]) + y[i].e : 0;
            mpfr_set_zero(y[i].v, 1);
            y[i].e = whole;
        }
    }
}

static void activate(const struct checker *k, struct value *v)
{
    const struct act_mpfr act = {k->p->act, (double)k->p->alpha, (double)k->p->threshold};
    mpfr_t y;
    mpfr_init2(y, PRECISE_BITS);
    for (int64_t i = 0; i < k->f; i++) {
        const double x = mpfr_get_d(v[i].v, RND);
        act_mpfr(&act, y, v[i].v);
        if (mpfr_number_p(v[i].v) && mpfr_number_p(y))
            v[i].e = (v[i].e > 0 ? 2 * act_mpfr_carried(&act, v[i].v, y, v[i].e) : 0) +
                     act_mpfr_loss(&act, x, mpfr_get_d(y, RND));
        else if (mpfr_number_p(y) && !mpfr_zero_p(y))
            v[i].e = 4 * U * fabs(mpfr_get_d(y, RND));
        mpfr_set(v[i].v, y, RND);
    }
    mpfr_clear(y);
}

/* a = a b; 0 where a is, or b where it counts. */
static void times(const struct checker *k, struct value *a, const struct value *b, int b_counts)
{
    const double x = size_of(a), y = size_of(b);
    double e = (a->e > 0 ? a->e * y : 0) + (b->e > 0 ? b->e * x + a->e * b->e : 0);
    if ((mpfr_zero_p(a->v) && a->e == 0) || (b_counts && mpfr_zero_p(b->v) && b->e == 0))
        e = 0;
    if (mpfr_zero_p(a->v) || (b_counts && mpfr_zero_p(b->v)))
        mpfr_set_zero(a->v, 1);
    else
        mpfr_mul(a->v, a->v, b->v, RND);
    a->e = e + (k->c->mode == CONFORM_EXACT ? 0 : 2 * U * size_of(a));
}

static int chooses(const struct tenon_sparse_ffn_site *s)
{
    return s->kind == TENON_SPARSE_FFN_TOPK || s->kind == TENON_SPARSE_FFN_STAT_TOPK;
}

static void hidden(const struct checker *k, int64_t token)
{
    const int gate = tensor_of(k->c, TENON_SPARSE_FFN_WG)->dtype != 0;
    const int ext = tensor_of(k->c, TENON_SPARSE_FFN_EXT)->dtype != 0;
    for (int64_t i = 0; ext && i < k->f; i++) {
        mpfr_set_d(k->u[i].v, at(k->c, TENON_SPARSE_FFN_EXT, token * k->f + i), RND);
        k->u[i].e = 0;
    }
    project(k, token, gate ? 0 : 1, ext && !chooses(&k->p->p) && !chooses(&k->p->g) ? k->u : NULL, k->h);
    site(k, TENON_SPARSE_FFN_SITE_P, k->h, k->f);
    activate(k, k->h);
    site(k, TENON_SPARSE_FFN_SITE_G, k->h, k->f);
    for (int64_t i = 0; ext && i < k->f; i++)
        times(k, &k->h[i], &k->u[i], 1);
    if (gate) {
        project(k, token, 1, k->h, k->u);
        for (int64_t i = 0; i < k->f; i++)
            times(k, &k->h[i], &k->u[i], 0);
    }
    for (int64_t i = 0; i < k->f; i++) {
        mpfr_set(k->was[i].v, k->h[i].v, RND);
        k->was[i].e = k->h[i].e;
    }
    site(k, TENON_SPARSE_FFN_SITE_H, k->h, k->f);
    for (int64_t i = 0; i < k->f; i++) {
        const double open = k->h[i].e;
        if (!mpfr_zero_p(k->h[i].v) && open < size_of(&k->h[i]))
            clear(&k->was[i]);
        else if (open > 0)
            k->was[i].e += size_of(&k->was[i]);
    }
}

static void check_element(const struct checker *k, const struct conform_want *want, int64_t element,
                          struct conform_precise *precise)
{
    struct value y;
    mpfr_init2(y.v, PRECISE_BITS);
    one_sum(k, 2, element % k->o, k->h, k->f, &y);
    if (tensor_of(k->c, TENON_SPARSE_FFN_CU_D)->dtype && k->p->h.kind) {
        const int64_t rank = tensor_of(k->c, TENON_SPARSE_FFN_CU_D)->dim[1];
        for (int64_t r = 0; r < rank; r++)
            one_sum(k, 5, r, k->was, k->f, &k->low[r]);
        one_sum(k, 8, element % k->o, k->low, rank, &k->sum[0]);
        mpfr_add(y.v, y.v, k->sum[0].v, RND);
        y.e += k->sum[0].e;
    }
    y.e += 4 * U * size_of(&y) + 0x1p-1000;
    precise_compare(precise, k->c, want, TENON_SPARSE_FFN_Y, element, y.v, isnan(y.e) ? (double)INFINITY : y.e);
    mpfr_clear(y.v);
}

int tenon__conform_sparse_ffn_mpfr(const struct conform_case *c, const struct conform_want *want,
                                   struct conform_precise *precise)
{
    struct checker k = {.c = c, .p = (const void *)c->params};
    const struct tenon_tensor *x = tensor_of(c, TENON_SPARSE_FFN_X);
    const int64_t count = tenon_tensor_count(tensor_of(c, TENON_SPARSE_FFN_Y)), n = count < SAMPLES ? count : SAMPLES;
    int64_t token = -1, most = 0;
    k.d = x->dim[x->rank - 1];
    k.f = tensor_of(c, TENON_SPARSE_FFN_WU)->dim[k.p->trans_u];
    k.o = tensor_of(c, TENON_SPARSE_FFN_WD)->dim[k.p->trans_d];
    k.width[0] = k.p->split ? k.p->split : k.d;
    k.width[1] = k.p->split ? k.d - k.p->split : k.d;
    for (uint32_t i = 0; i < 3; i++) {
        const struct tenon_tensor *u = tensor_of(c, TENON_SPARSE_FFN_CU_G + 2 * i);
        most = u->dtype && u->dim[1] > most ? u->dim[1] : most;
    }
    if (tensor_of(c, TENON_SPARSE_FFN_CU_U)->dtype)
        k.rank = tensor_of(c, TENON_SPARSE_FFN_CU_U)->dim[1];
    k.in = values(k.d), k.rest = values(k.d), k.h = values(k.f), k.u = values(k.f), k.was = values(k.f);
    k.low = values(most), k.sum = values(1);
    for (int64_t i = 0; i < n; i++) {
        const int64_t element = precise_sample(c, i, n, count, precise->element);
        if (element / k.o != token)
            hidden(&k, element / k.o);
        token = element / k.o;
        check_element(&k, want, element, precise);
    }
    values_free(k.in, k.d), values_free(k.rest, k.d), values_free(k.h, k.f), values_free(k.u, k.f);
    values_free(k.was, k.f), values_free(k.low, most), values_free(k.sum, 1);
    mpfr_free_cache();
    return 0;
}
