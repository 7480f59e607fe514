/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear in f64, straight from the formula of tenon/ops/linear.h, and the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/linear.h>
#include "../act_ref.h"

#define U        ACT_REF_U
#define FLOOR    ACT_REF_FLOOR
#define HUGE_SUM 1.7e38 /* partial sums beyond may overflow in one order of summation and not in another */

struct extents {
    int64_t m, n, k, group; /* group: weights that share a scale */
};

/* What one element's sum is made of. */
struct dot {
    double sum, lost, chain, flushed; /* chain: sum of magnitudes; flushed: what subnormal factors contribute */
};

static struct extents extents_of(const struct conform_case *c)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[TENON_LINEAR_X].tensor, *w = &c->slot[TENON_LINEAR_W].tensor;
    const struct tenon_tensor *scale = &c->slot[TENON_LINEAR_W_SCALE].tensor;
    struct extents e = {1, w->dim[p->trans_w ? 1 : 0], w->dim[p->trans_w ? 0 : 1], 0};
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        e.m *= x->dim[i];
    if (p->trans_x)
        e.m = x->dim[1];
    e.group = scale->dtype && scale->rank == 2 && scale->dim[1] ? e.k / scale->dim[1] : e.k;
    return e;
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static void dot_add(struct dot *dot, double value, int subnormal)
{
    double t = dot->sum + value;
    if (isfinite(t))
        dot->lost += fabs(dot->sum) >= fabs(value) ? dot->sum - t + value : value - t + dot->sum;
    dot->sum = t;
    if (isfinite(value))
        dot->chain += fabs(value);
    if (subnormal)
        dot->flushed += fabs(value);
}

/* Dense copies in f64: x [M,K], w [N,K] with its scale. */
static double *widen_x(const struct conform_case *c, const struct extents *e)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    double *x = malloc(sizeof(*x) * (size_t)(e->m * e->k + 1));
    for (int64_t i = 0; x && i < e->m * e->k; i++)
        x[i] = at(c, TENON_LINEAR_X, p->trans_x ? i % e->k * e->m + i / e->k : i);
    return x;
}

static double *widen_w(const struct conform_case *c, const struct extents *e)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    const struct tenon_tensor *scale = &c->slot[TENON_LINEAR_W_SCALE].tensor;
    double *w = malloc(sizeof(*w) * (size_t)(e->n * e->k + 1));
    for (int64_t i = 0; w && i < e->n * e->k; i++) {
        int64_t n = i / e->k, k = i % e->k;
        w[i] = at(c, TENON_LINEAR_W, p->trans_w ? k * e->n + n : i);
        if (scale->dtype)
            w[i] *= at(c, TENON_LINEAR_W_SCALE, scale->rank == 2 ? n * scale->dim[1] + k / e->group : n);
    }
    return w;
}

static struct act_ref act_of(const struct tenon_linear_params *p)
{
    return (struct act_ref){p->act, (double)p->alpha, (double)p->threshold};
}

static double bound_of(const struct act_ref *p, const struct extents *e, const struct dot *dot, double x, double y)
{
    double error = 4e-7 * sqrt(fmax(1, (double)e->k / 1024)) * dot->chain + dot->flushed + FLOOR * (double)(e->k + 1);
    if (dot->chain > HUGE_SUM)
        return (double)INFINITY;
    if (!isfinite(x) || !isfinite(y)) /* a limit like XATLU's -1/pi is rounded to f32 once */
        return isfinite(y) ? U * fabs(y) : 0;
    return fmax(fabs(act_ref(p, x + error) - y), fabs(act_ref(p, x - error) - y)) + act_ref_error(p, x, y);
}

static void expect_element(const struct conform_case *c, const struct extents *e, const double *x, const double *w,
                           int64_t i, struct conform_want *want)
{
    const struct act_ref p = act_of((const void *)c->params);
    uint32_t dtype = c->slot[TENON_LINEAR_Y].tensor.dtype;
    struct dot dot = {0, 0, 0, 0};
    double pre, y, bound;
    int64_t m = i / e->n, n = i % e->n;
    for (int64_t k = 0; k < e->k; k++) {
        double a = x[m * e->k + k], b = w[n * e->k + k];
        dot_add(&dot, a * b, fabs(a) < FLOOR || fabs(b) < FLOOR);
    }
    if (c->slot[TENON_LINEAR_BIAS].tensor.dtype)
        dot_add(&dot, at(c, TENON_LINEAR_BIAS, n), 0);
    pre = dot.sum + (isfinite(dot.sum) ? dot.lost : 0);
    y = act_ref(&p, pre);
    bound = bound_of(&p, e, &dot, pre, y);
    if (c->slot[TENON_LINEAR_RESIDUAL].tensor.dtype)
        y += at(c, TENON_LINEAR_RESIDUAL, i);
    if (isfinite(y))
        bound += U * fabs(y) + FLOOR + (dtype == TENON_F32 ? 0 : conform_ulp(dtype, y));
    want->want[i] = y;
    want->bound[i] = c->mode == CONFORM_EXACT && dtype == TENON_F32 ? 0 : bound;
}

void tenon__conform_linear_expect(const struct conform_case *c, struct conform_want *want)
{
    struct extents e = extents_of(c);
    double *x = widen_x(c, &e), *w = widen_w(c, &e);
    want[TENON_LINEAR_Y].exact = c->mode == CONFORM_EXACT;
    for (int64_t i = 0; x && w && i < e.m * e.n; i++)
        expect_element(c, &e, x, w, i, &want[TENON_LINEAR_Y]);
    free(w);
    free(x);
}

/* The token-wise norm of the specification's product table, for the plain product. */
int tenon__conform_linear_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct tenon_linear_params *p = (const void *)c->params;
    struct extents e = extents_of(c);
    uint32_t dtype = c->slot[TENON_LINEAR_Y].tensor.dtype;
    double limit = (dtype == TENON_F32 ? 4e-6 : dtype == TENON_F16 ? 1e-3 : 8e-3) * sqrt(fmax(1, (double)e.k / 1024));
    if (p->act != TENON_ACT_IDENTITY || c->mode == CONFORM_ADVERSARIAL || e.n == 0)
        return 0;
    for (int64_t m = 0; m < e.m; m++) {
        double norm = 0, error = 0, chain = 0;
        for (int64_t n = 0; n < e.n; n++) {
            double y = want[TENON_LINEAR_Y].want[m * e.n + n], got = at(c, TENON_LINEAR_Y, m * e.n + n);
            norm += y * y;
            error += (got - y) * (got - y);
            chain += want[TENON_LINEAR_Y].bound[m * e.n + n];
        }
        /* A row that is itself a cancellation is judged by the per-element bound alone. */
        if (sqrt(error) > limit * sqrt(norm) && sqrt(error) > chain)
            return tenon_why_set(why, 1, "row %lld: |error|_2 / |y|_2 = %.3g, at most %.3g", (long long)m,
                                 sqrt(error / norm), limit);
    }
    return 0;
}
