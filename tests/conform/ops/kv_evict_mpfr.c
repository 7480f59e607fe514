/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict in 256 bits, written from tenon/ops/kv_evict.h and not from kv_evict_ref.c, which it checks: scores of some
 * keys. What the lists are is integers. */
#include <math.h>
#include "kv_evict_suite.h"
#include "../precise.h"

#define RND     MPFR_RNDN
#define SAMPLES 8  /* of sums over queries */
#define MANY    96 /* of others */

struct room {
    mpfr_t s, top, all, p, x;
};

static double element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int sees(const struct conform_case *c, int64_t b, int64_t h, int64_t t, int64_t j)
{
    const struct evict_sizes z = tenon__evict_suite_sizes(c);
    const struct tenon_tensor *kpos = &c->slot[TENON_KV_EVICT_KPOS].tensor;
    const int64_t n = tenon__evict_suite_length(c, b, h), each = kpos->dtype && kpos->rank == 3 ? kpos->dim[1] : 1;
    const int64_t row = each > 1 ? b * each + h : b;
    const double key = kpos->dtype ? element(c, TENON_KV_EVICT_KPOS, row * z.keys + j) : (double)j;
    const double own = c->slot[TENON_KV_EVICT_QPOS].tensor.dtype
                           ? element(c, TENON_KV_EVICT_QPOS, b * z.queries + t)
                           : (double)(n - z.queries + t);
    return j < n && key <= own;
}

/* scale <q_t, k_j>; how large its terms are. 0: one of them is not finite. */
static int product(const struct conform_case *c, int64_t b, int64_t hq, int64_t t, int64_t j, struct room *r, mpfr_t s,
                   double *size)
{
    const struct tenon_kv_evict_params *p = tenon__evict_suite_params(c);
    const struct evict_sizes z = tenon__evict_suite_sizes(c);
    const int64_t h = hq / (z.heads / z.kv_heads);
    double sum = 0;
    mpfr_set_zero(s, 1);
    for (int64_t d = 0; d < z.width; d++) {
        const double q = element(c, TENON_KV_EVICT_Q, ((b * z.queries + t) * z.heads + hq) * z.width + d);
        const double k = element(c, TENON_KV_EVICT_K, ((b * z.keys + j) * z.kv_heads + h) * z.width + d);
        if (!isfinite(q) || !isfinite(k))
            return 0;
        mpfr_set_d(r->x, q, RND);
        mpfr_mul_d(r->x, r->x, k, RND);
        mpfr_add(s, s, r->x, RND);
        sum += fabs(q * k);
    }
    if (p->scale != 0) {
        mpfr_mul_d(s, s, (double)p->scale, RND);
        sum *= fabs((double)p->scale);
    } else {
        mpfr_sqrt_ui(r->x, (unsigned long)z.width, RND);
        mpfr_div(s, s, r->x, RND);
        sum /= sqrt((double)z.width);
    }
    *size = fmax(*size, sum);
    return 1;
}

/* p of query t at key j; 0: not finite. */
static int weight(const struct conform_case *c, int64_t b, int64_t hq, int64_t t, int64_t j, struct room *r,
                  double *size)
{
    const struct evict_sizes z = tenon__evict_suite_sizes(c);
    const int64_t h = hq / (z.heads / z.kv_heads);
    mpfr_set_zero(r->p, 1);
    mpfr_set_zero(r->all, 1);
    if (!sees(c, b, h, t, j))
        return 1;
    if (!product(c, b, hq, t, j, r, r->top, size))
        return 0;
    for (int64_t u = 0; u < z.keys; u++) { /* below s_j: 1 / sum e^(s_u - s_j) */
        if (!sees(c, b, h, t, u))
            continue;
        if (!product(c, b, hq, t, u, r, r->s, size))
            return 0;
        mpfr_sub(r->s, r->s, r->top, RND);
        mpfr_exp(r->s, r->s, RND);
        mpfr_add(r->all, r->all, r->s, RND);
    }
    mpfr_ui_div(r->p, 1, r->all, RND);
    return 1;
}

static void check_score(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise,
                        int64_t at, struct room *r)
{
    const struct tenon_kv_evict_params *p = tenon__evict_suite_params(c);
    const struct evict_sizes z = tenon__evict_suite_sizes(c);
    const int64_t b = at / (z.keys * z.kv_heads), j = at / z.kv_heads % z.keys, h = at % z.kv_heads;
    const int64_t n = tenon__evict_suite_length(c, b, h), group = z.heads / z.kv_heads;
    const int products = p->score <= TENON_KV_EVICT_ACCUM;
    double before = 0, size = 0;
    mpfr_t sum;
    if (p->score == TENON_KV_EVICT_SNAP && (p->ks > 1 || j >= n - p->w))
        return; /* pools are the suite's business */
    if (j < n && c->slot[TENON_KV_EVICT_SCORES].tensor.dtype)
        before = element(c, TENON_KV_EVICT_SCORES, at);
    if (!isfinite(before))
        return;
    mpfr_init2(sum, PRECISE_BITS);
    mpfr_set_d(sum, before, RND);
    const int64_t first = p->score == TENON_KV_EVICT_SNAP && z.queries > p->w ? z.queries - p->w : 0;
    int finite = 1;
    for (int64_t g = 0; products && g < group && finite; g++)
        for (int64_t t = first; t < z.queries && finite; t++) {
            finite = weight(c, b, h * group + g, t, j, r, &size);
            mpfr_add(sum, sum, r->p, RND);
        }
    const double all = fabs(mpfr_get_d(sum, RND)) + fabs(before);
    if (finite)
        precise_compare(precise, c, want, TENON_KV_EVICT_SCORES_OUT, at, sum,
                        products ? 0x1p-49 * (1 + size) * all + 0x1p-1000 : 0);
    mpfr_clear(sum);
}

int tenon__conform_kv_evict_mpfr(const struct conform_case *c, const struct conform_want *want,
                                 struct conform_precise *precise)
{
    const int64_t count = want[TENON_KV_EVICT_SCORES_OUT].want ? want[TENON_KV_EVICT_SCORES_OUT].count : 0;
    const int64_t must = precise->tensor == TENON_KV_EVICT_SCORES_OUT ? precise->element : -1;
    const int64_t most = tenon__evict_suite_params(c)->score <= TENON_KV_EVICT_ACCUM ? SAMPLES : MANY;
    struct room r;
    mpfr_inits2(PRECISE_BITS, r.s, r.top, r.all, r.p, r.x, (mpfr_ptr)NULL);
    for (int64_t i = 0; i < (count < most ? count : most); i++)
        check_score(c, want, precise, precise_sample(c, i, most, count, must), &r);
    mpfr_clears(r.s, r.top, r.all, r.p, r.x, (mpfr_ptr)NULL);
    return 0;
}
