/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * feature_map in 256 bits, written from tenon/ops/feature_map.h and not from feature_map_ref.c, which it checks. f64
 * loses some u = 2^-53 of every step, of a sum of n terms n u of their magnitudes, and of a power what its exponent
 * makes of the logarithm. */
#include <math.h>
#include <tenon/ops/feature_map.h>
#include "../act_mpfr.h"

#define RND     MPFR_RNDN
#define SAMPLES 48
#define F(NAME) TENON_FEATURE_MAP_##NAME

struct scene {
    const struct conform_case *c;
    const struct tenon_feature_map_params *p;
    int64_t row, k, kb;
    mpfr_t y, v, w, sum;
    double units; /* of u |y| */
    int special;  /* IEEE's rules are those of f64: the suite's business */
};

static double number(struct scene *s, uint32_t tensor, int64_t col, int64_t width)
{
    const struct conform_slot *slot = &s->c->slot[tensor];
    const double v =
        conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, s->row * width + col));
    s->special |= !isfinite(v);
    return v;
}

/* Entry i of [max(x,0), max(-x,0)]. */
static double half(struct scene *s, int64_t i)
{
    const double v = i < s->k ? number(s, F(X), i, s->k) : -number(s, F(X), i - s->k, s->k);
    return v > 0 ? v : 0;
}

/* y = e^v / sum, of [x] or [2x, -2x]. */
static void softmax(struct scene *s, int64_t at, int64_t n)
{
    const double twice = n == s->k ? 1 : 2;
    double m = -(double)INFINITY, own = 0;
    mpfr_set_zero(s->sum, 1);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) {
            const double v = twice * (i < s->k ? number(s, F(X), i, s->k) : -number(s, F(X), i - s->k, s->k));
            if (pass == 0) {
                m = fmax(m, v);
                continue;
            }
            mpfr_set_d(s->v, v, RND);
            mpfr_sub_d(s->v, s->v, m, RND);
            mpfr_exp(s->w, s->v, RND);
            mpfr_add(s->sum, s->sum, s->w, RND);
            if (i == at) {
                mpfr_set(s->y, s->w, RND);
                own = fabs(mpfr_get_d(s->v, RND));
            }
        }
    mpfr_div(s->y, s->y, s->sum, RND);
    s->units = (double)n + 16 + 2 * own;
}

static void scaled(struct scene *s, int64_t at)
{
    double size = 0;
    mpfr_set_d(s->sum, (double)s->p->eps, RND);
    for (int64_t i = 0; i < s->k; i++) {
        mpfr_set_d(s->v, number(s, F(X), i, s->k), RND);
        size += fabs(mpfr_get_d(s->v, RND));
        if (s->p->kind == F(L2))
            mpfr_sqr(s->v, s->v, RND);
        mpfr_add(s->sum, s->sum, s->v, RND);
    }
    if (s->p->kind == F(L2))
        mpfr_sqrt(s->sum, s->sum, RND);
    mpfr_set_d(s->y, number(s, F(X), at, s->k), RND);
    mpfr_div(s->y, s->y, s->sum, RND);
    s->units = (double)s->k + 16;
    if (s->p->kind == F(SUMNORM)) {
        const double q = s->units * size / fabs(mpfr_get_d(s->sum, RND));
        s->special |= !(q * PRECISE_U < 0.25);
        s->units += 2 * q;
    }
}

/* y = a b, of factors that are f64 numbers. */
static void product(struct scene *s, double a, double b)
{
    mpfr_set_d(s->y, a, RND);
    mpfr_mul_d(s->y, s->y, b, RND);
    s->units = 2;
}

static void taylor2(struct scene *s, int64_t at)
{
    int64_t i = at - 1, j = -1;
    s->units = 12;
    mpfr_set_ui(s->y, 1, RND);
    if (at == 0)
        return;
    mpfr_set_d(s->v, (double)s->k, RND);
    if (at <= s->k) {
        mpfr_sqrt(s->v, s->v, RND);
        mpfr_sqrt(s->v, s->v, RND);
    } else if (at <= 2 * s->k) {
        i = j = at - 1 - s->k;
        mpfr_mul_ui(s->v, s->v, 2, RND);
        mpfr_sqrt(s->v, s->v, RND);
    } else {
        int64_t left = at - 1 - 2 * s->k;
        for (i = 0; left >= s->k - 1 - i; i++)
            left -= s->k - 1 - i;
        j = i + 1 + left;
        mpfr_sqrt(s->v, s->v, RND);
    }
    mpfr_set_d(s->y, number(s, F(X), i, s->k), RND);
    if (j >= 0)
        mpfr_mul_d(s->y, s->y, number(s, F(X), j, s->k), RND);
    mpfr_div(s->y, s->y, s->v, RND);
}

static void nala(struct scene *s, int64_t at)
{
    mpfr_set_d(s->w, (double)s->p->power, RND);
    mpfr_set_d(s->y, half(s, at), RND);
    mpfr_set_zero(s->sum, 1);
    for (int64_t i = 0; i < s->k; i++) {
        mpfr_set_d(s->v, number(s, F(X), i, s->k), RND);
        mpfr_fma(s->sum, s->v, s->v, s->sum, RND);
    }
    mpfr_sqrt(s->sum, s->sum, RND);
    s->units = 1;
    if (mpfr_zero_p(s->y))
        return;
    if (s->p->kind == F(NALA_Q)) {
        mpfr_tanh(s->v, s->sum, RND);
        mpfr_add_d(s->v, s->v, 0.5, RND);
        mpfr_mul(s->w, s->w, s->v, RND);
        mpfr_div(s->y, s->y, s->sum, RND);
    }
    mpfr_log(s->v, s->y, RND);
    mpfr_pow(s->y, s->y, s->w, RND);
    s->units = 32 + mpfr_get_d(s->w, RND) * ((double)s->k + 16 + 64 * fabs(mpfr_get_d(s->v, RND)));
}

static void entry(struct scene *s, double x)
{
    mpfr_set_d(s->v, x, RND);
    mpfr_set(s->y, s->v, RND);
    s->units = 8;
    switch (s->p->kind) {
    case F(RELU):
        mpfr_set_d(s->y, x > 0 ? x : 0, RND);
        break;
    case F(RELU2):
        product(s, x > 0 ? x : 0, x > 0 ? x : 0);
        break;
    case F(ELU1):
    case F(EXP):
        if (x > 0 && s->p->kind == F(ELU1))
            mpfr_add_ui(s->y, s->v, 1, RND);
        else
            mpfr_exp(s->y, s->v, RND);
        break;
    case F(SILU):
        act_mpfr_gated(s->y, s->v, s->v);
        s->units = 16;
        break;
    default:
        break;
    }
}

static void evaluate(struct scene *s, int64_t at)
{
    const int64_t n = 2 * s->k;
    switch (s->p->kind) {
    case F(SOFTMAX): softmax(s, at, s->k); break;
    case F(HEDGEHOG): softmax(s, at, n); break;
    case F(L2):
    case F(SUMNORM): scaled(s, at); break;
    case F(DPFP): product(s, half(s, at % n), half(s, (at % n + 4 * n - (at / n + 1)) % n)); break;
    case F(TAYLOR2): taylor2(s, at); break;
    case F(NALA_Q):
    case F(NALA_K): nala(s, at); break;
    case F(OUTER):
        product(s, number(s, F(X), at / s->kb, s->k),
                number(s, s->c->slot[F(B)].tensor.dtype ? F(B) : F(X), at % s->kb, s->kb));
        break;
    default: entry(s, number(s, F(X), at, s->k));
    }
}

int tenon__conform_feature_map_mpfr(const struct conform_case *c, const struct conform_want *want,
                                    struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[F(X)].tensor, *b = &c->slot[F(B)].tensor, *y = &c->slot[F(Y)].tensor;
    struct scene s = {.c = c, .p = (const void *)c->params, .k = x->dim[x->rank - 1]};
    const int64_t count = tenon_tensor_count(y), width = y->dim[y->rank - 1], n = count < SAMPLES ? count : SAMPLES;
    s.kb = b->dtype ? b->dim[b->rank - 1] : s.k;
    mpfr_inits2(PRECISE_BITS, s.y, s.v, s.w, s.sum, (mpfr_ptr)0);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = precise_sample(c, i, n, count, precise->tensor == F(Y) ? precise->element : -1);
        s.row = at / width;
        s.special = 0;
        evaluate(&s, at % width);
        if (!s.special && isfinite(want[F(Y)].bound[at]))
            precise_compare(precise, c, want, F(Y), at, s.y,
                            s.units * PRECISE_U * fabs(mpfr_get_d(s.y, RND)) + 0x1p-1000);
    }
    mpfr_clears(s.y, s.v, s.w, s.sum, (mpfr_ptr)0);
    return 0;
}
