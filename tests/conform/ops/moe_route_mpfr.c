/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route in 256 bits, written from tenon/ops/moe_route.h and not from moe_route_ref.c, which it checks: the weights of
 * what the reference selected (which is a matter of f32 and of order, not of precision), and zloss.
 *
 * What f64 may lose, with u = 2^-53: exp of a difference with |d| its argument (2 + |d|)u, a sum of n positive terms
 * n u, a quotient and a product u each; so 8u(n + 8 + |d|) of the weight for softmax, as much again for two levels and
 * for a sum of K of them. */
#include <math.h>
#include "../precise.h"
#include "moe_route_suite_ref.h"

#define U      PRECISE_U
#define RND    MPFR_RNDN
#define TOKENS 6

struct checker {
    const struct conform_case *c;
    const struct conform_want *want;
    struct conform_precise *precise;
    struct route_ref r;
    mpfr_t a, b, sum, t, w[64];
};

/* x = exp(z[e] - top) / sum over n logits; what it may be off, as a share. */
static double share(struct checker *k, mpfr_ptr x, const float *z, int64_t n, int64_t e)
{
    double top = -(double)INFINITY;
    for (int64_t i = 0; i < n; i++)
        top = (double)z[i] > top ? (double)z[i] : top;
    mpfr_set_zero(k->sum, 1);
    mpfr_set_zero(x, 1);
    if (!isfinite(top) || isinf(z[e]))
        return 0;
    for (int64_t i = 0; i < n; i++) {
        mpfr_set_d(k->t, (double)z[i], RND);
        mpfr_sub_d(k->t, k->t, top, RND);
        mpfr_exp(k->t, k->t, RND);
        mpfr_add(k->sum, k->sum, k->t, RND);
    }
    mpfr_set_d(k->t, (double)z[e], RND);
    mpfr_sub_d(k->t, k->t, top, RND);
    mpfr_exp(k->t, k->t, RND);
    mpfr_div(x, k->t, k->sum, RND);
    return 8 * U * ((double)n + 8 + fabs((double)z[e] - top));
}

/* 1/(1 + exp(-z)) */
static double sigmoid(struct checker *k, mpfr_ptr x, double z)
{
    mpfr_set_d(k->t, -z, RND);
    mpfr_exp(k->t, k->t, RND);
    mpfr_add_ui(k->t, k->t, 1, RND);
    mpfr_ui_div(x, 1, k->t, RND);
    return 8 * U * (8 + fabs(z));
}

static double rms(struct checker *k, mpfr_ptr x, int64_t e)
{
    mpfr_set_zero(k->sum, 1);
    for (int64_t i = 0; i < k->r.columns; i++) {
        mpfr_set_d(k->t, k->r.z[i] > 0 ? (double)k->r.z[i] : 0, RND);
        mpfr_sqr(k->t, k->t, RND);
        mpfr_add(k->sum, k->sum, k->t, RND);
    }
    mpfr_div_d(k->sum, k->sum, (double)k->r.columns, RND);
    mpfr_add_d(k->sum, k->sum, (double)k->r.p->rms_eps, RND);
    mpfr_sqrt(k->sum, k->sum, RND);
    mpfr_set_d(x, k->r.z[e] > 0 ? (double)k->r.z[e] : 0, RND);
    mpfr_div(x, x, k->sum, RND);
    if (tenon__route_ref_has(&k->r, TENON_MOE_ROUTE_GAIN))
        mpfr_mul_d(x, x, tenon__route_ref_get(&k->r, TENON_MOE_ROUTE_GAIN, e), RND);
    return 8 * U * ((double)k->r.columns + 8);
}

/* The score of expert e to x. Negative: not checked here. */
static double score(struct checker *k, mpfr_ptr x, int64_t e)
{
    const struct tenon_moe_route_params *p = k->r.p;
    if (p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX)
        return share(k, x, k->r.clean, k->r.columns, e);
    if (p->weight_src == TENON_MOE_ROUTE_WEIGHT_ONE) {
        mpfr_set_ui(x, 1, RND);
        return 0;
    }
    if (p->hier_g) {
        const int64_t each = k->r.experts / p->hier_g, g = e / each;
        const double one = share(k, x, k->r.group_z, p->hier_g, g);
        const double other = share(k, k->a, k->r.z + g * each, each, e % each);
        mpfr_mul(x, x, k->a, RND);
        return one + other + 2 * U;
    }
    switch (p->score) {
    case TENON_MOE_ROUTE_SOFTMAX: return share(k, x, k->r.z, k->r.columns, e);
    case TENON_MOE_ROUTE_SIGMOID: return sigmoid(k, x, (double)k->r.z[e]);
    case TENON_MOE_ROUTE_RELU_RMS: return rms(k, x, e);
    case TENON_MOE_ROUTE_ONE: return -1;
    default:
        mpfr_set_d(x, p->score == TENON_MOE_ROUTE_RELU && k->r.z[e] < 0 ? 0 : (double)k->r.z[e], RND);
        return 0;
    }
}

static void check_token(struct checker *k, int64_t t)
{
    const struct tenon_moe_route_params *p = k->r.p;
    const int64_t slots = k->r.slots;
    double loss[64], worst = 0;
    tenon__route_ref_score(&k->r, t);
    tenon__route_ref_select(&k->r, t);
    if (!k->r.valid || k->r.bad || k->r.odd)
        return;
    mpfr_set_zero(k->b, 1);
    float z[64];
    for (int64_t j = 0; j < slots; j++)
        z[j] = k->r.idx[j] < 0 ? -INFINITY : k->r.z[k->r.idx[j]];
    for (int64_t j = 0; j < slots; j++) {
        loss[j] = k->r.idx[j] < 0                                   ? 0
                  : p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL ? share(k, k->w[j], z, slots, j)
                                                                    : score(k, k->w[j], k->r.idx[j]);
        if (loss[j] < 0 || (k->r.idx[j] >= 0 && isinf(k->r.z[k->r.idx[j]])))
            return;
        if (k->r.idx[j] < 0)
            continue;
        worst = loss[j] > worst ? loss[j] : worst;
        mpfr_add(k->b, k->b, k->w[j], RND);
    }
    mpfr_add_d(k->b, k->b, (double)p->norm_eps, RND);
    const int sum = p->norm == TENON_MOE_ROUTE_NORM_SUM;
    if (sum && (p->score == TENON_MOE_ROUTE_IDENTITY || p->score == TENON_MOE_ROUTE_RELU_RMS ||
                mpfr_cmp_d(k->b, 0x1p-100) < 0)) /* terms of both signs may cancel */
        return;
    for (int64_t j = 0; j < slots; j++) {
        if (k->r.idx[j] < 0)
            continue;
        if (sum)
            mpfr_div(k->w[j], k->w[j], k->b, RND);
        mpfr_mul_d(k->w[j], k->w[j], (double)p->scale, RND);
        const double all = loss[j] + (sum ? worst + 2 * U * (double)(slots + 2) : 0) + 4 * U;
        precise_compare(k->precise, k->c, k->want, TENON_MOE_ROUTE_W, t * slots + j, k->w[j],
                        all * fabs(mpfr_get_d(k->w[j], RND)) + 0x1p-1000);
    }
}

/* The mean square of ln sum exp over the tokens. */
static void check_zloss(struct checker *k)
{
    int64_t n = 0;
    double loss = 0;
    mpfr_set_zero(k->b, 1);
    for (int64_t t = 0; t < k->r.tokens; t++) {
        tenon__route_ref_score(&k->r, t);
        if (!k->r.valid || k->r.bad || k->r.odd || k->r.empty)
            continue;
        mpfr_set_zero(k->a, 1);
        int some = 0;
        double top = -(double)INFINITY;
        for (int64_t e = 0; e < k->r.columns; e++)
            top = (double)k->r.z[e] > top ? (double)k->r.z[e] : top;
        for (int64_t e = 0; e < k->r.columns && isfinite(top); e++) {
            some = 1;
            mpfr_set_d(k->t, (double)k->r.z[e], RND);
            mpfr_sub_d(k->t, k->t, top, RND);
            mpfr_exp(k->t, k->t, RND);
            mpfr_add(k->a, k->a, k->t, RND);
        }
        if (!some)
            continue;
        mpfr_log(k->a, k->a, RND);
        mpfr_add_d(k->a, k->a, top, RND);
        const double lse = mpfr_get_d(k->a, RND);
        loss += U * (fabs(lse) + 1) * (4 * (double)k->r.columns + 8 * fabs(lse) + 64);
        mpfr_sqr(k->a, k->a, RND);
        mpfr_add(k->b, k->b, k->a, RND);
        n++;
    }
    mpfr_div_d(k->b, k->b, n ? (double)n : 1, RND);
    if (n == 0 || mpfr_cmp_d(k->b, 0x1p127) > 0) /* infinite in f32 */
        return;
    precise_compare(k->precise, k->c, k->want, TENON_MOE_ROUTE_ZLOSS, 0, k->b,
                    loss / (double)n + U * (double)(n + 4) * mpfr_get_d(k->b, RND));
}

int tenon__conform_moe_route_mpfr(const struct conform_case *c, const struct conform_want *want,
                                  struct conform_precise *precise)
{
    struct checker k = {.c = c, .want = want, .precise = precise};
    const int failed = tenon__route_ref_init(&k.r, c);
    const struct tenon_moe_route_params *p = k.r.p;
    const int64_t must = precise->tensor == TENON_MOE_ROUTE_W && precise->element >= 0 ? precise->element / p->k : -1;
    const int64_t n = k.r.tokens < TOKENS ? k.r.tokens : TOKENS;
    mpfr_inits2(PRECISE_BITS, k.a, k.b, k.sum, k.t, (mpfr_ptr)0);
    for (int j = 0; j < 64; j++)
        mpfr_init2(k.w[j], PRECISE_BITS);
    if (!failed && want[TENON_MOE_ROUTE_W].want && p->k <= 64 && p->select != TENON_MOE_ROUTE_DSELECT &&
        p->select != TENON_MOE_ROUTE_EXPERT_CHOICE && k.r.columns <= 4096)
        for (int64_t i = 0; i < n; i++)
            check_token(&k, precise_sample(c, i, n, k.r.tokens, must));
    if (!failed && want[TENON_MOE_ROUTE_ZLOSS].want && k.r.tokens * k.r.columns <= 8192)
        check_zloss(&k);
    for (int j = 0; j < 64; j++)
        mpfr_clear(k.w[j]);
    mpfr_clears(k.a, k.b, k.sum, k.t, (mpfr_ptr)0);
    tenon__route_ref_free(&k.r);
    mpfr_free_cache();
    return 0;
}
