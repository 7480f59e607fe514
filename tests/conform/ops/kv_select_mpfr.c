/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select written once more from tenon/ops/kv_select.h, to check kv_select_ref.c and kv_select_ref_choose.c: scores
 * in 256 bits, and whether a pair is listed not by sorting but by what is better than it. The f64 reference may lose
 * some units of 2^-53 of the magnitudes that are added; what follows an exponential is not sampled where norms follow
 * it. */
#include <math.h>
#include <stdlib.h>
#include "../precise.h"
#include "kv_select_suite.h"

#define SAMPLES 12
#define PAIRS   3000 /* of a scope: more are not compared with each other */

struct view {
    const struct conform_case *c;
    const struct tenon_kv_select_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    struct select_sizes z;
    const double *score; /* of check_lists, -Inf where no pair is a candidate */
    mpfr_t x, y, sum, total;
};

static double number(const struct view *v, uint32_t i, int64_t at)
{
    const struct conform_slot *slot = &v->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, at));
}

static double length(const struct view *v, int64_t b)
{
    if (!v->c->slot[TENON_KV_SELECT_KV_LEN].tensor.dtype)
        return (double)v->z.keys;
    return fmax(0, fmin((double)v->z.keys, number(v, TENON_KV_SELECT_KV_LEN, b)));
}

static double place(const struct view *v, int keys, int64_t b, int64_t t)
{
    const uint32_t i = keys ? TENON_KV_SELECT_KPOS : TENON_KV_SELECT_QPOS;
    const struct tenon_tensor *pos = &v->c->slot[i].tensor;
    if (!pos->dtype)
        return keys ? (double)t : length(v, b) - (double)v->z.queries + (double)t;
    return number(v, i, pos->dim[0] > 1 ? b * pos->dim[1] + t : t);
}

static int sees(const struct view *v, int64_t b, int64_t t, int64_t u)
{
    return (double)u < length(v, b) && (!v->p->causal || place(v, 1, b, u) <= place(v, 0, b, t));
}

static int64_t least(int64_t a, double b)
{
    return (double)a < b ? a : (int64_t)b;
}

/* What pooling makes of column d of a block, to y. */
static void pool(struct view *v, int keys, int64_t b, int64_t h, int64_t block, int64_t d, double *size)
{
    const uint32_t i = keys ? TENON_KV_SELECT_K : TENON_KV_SELECT_Q, kind = keys ? v->p->pool_k : v->p->pool_q;
    const int64_t each = keys ? v->p->block_k : v->p->block_q, heads = keys ? v->z.kv_heads : v->z.heads;
    const int64_t tokens = keys ? v->z.keys : v->z.queries;
    const int64_t end = least((block + 1) * each, keys ? length(v, b) : (double)tokens);
    mpfr_set_zero(v->y, 1);
    *size = 0;
    for (int64_t t = block * each; t < end; t++) {
        const double own = number(v, i, ((b * tokens + t) * heads + h) * v->z.width + d);
        *size += fabs(own);
        if (isnan(own))
            mpfr_set_nan(v->y);
        else if (kind == TENON_KV_SELECT_MEAN || kind == TENON_KV_SELECT_POOL_NONE)
            mpfr_add_d(v->y, v->y, own, MPFR_RNDN);
        else if (t == block * each || (kind == TENON_KV_SELECT_MAX ? mpfr_cmp_d(v->y, own) < 0
                                                                  : mpfr_cmp_d(v->y, own) > 0))
            mpfr_set_d(v->y, own, MPFR_RNDN);
    }
    if (kind == TENON_KV_SELECT_MEAN)
        mpfr_div_d(v->y, v->y, (double)(end - block * each), MPFR_RNDN);
}

static void scaled(struct view *v, mpfr_t x)
{
    mpfr_set_d(v->y, (double)v->z.width, MPFR_RNDN);
    mpfr_rec_sqrt(v->y, v->y, MPFR_RNDN);
    if (v->p->scale != 0)
        mpfr_set_flt(v->y, v->p->scale, MPFR_RNDN);
    mpfr_mul(x, x, v->y, MPFR_RNDN);
}

/* The score of a head to sum; how much it is made of. */
static double pooled_score(struct view *v, int64_t b, int64_t h, int64_t i, int64_t j)
{
    double size = 0;
    mpfr_set_zero(v->sum, 1);
    for (int64_t d = 0; d < v->z.width; d++) {
        double sizes[2];
        pool(v, 0, b, h, i, d, &sizes[0]);
        mpfr_set(v->x, v->y, MPFR_RNDN);
        pool(v, 1, b, h / (v->z.heads / v->z.kv_heads), j, d, &sizes[1]);
        mpfr_mul(v->x, v->x, v->y, MPFR_RNDN);
        mpfr_add(v->sum, v->sum, v->x, MPFR_RNDN);
        size += sizes[0] * sizes[1];
    }
    scaled(v, v->sum);
    return size;
}

static double token_score(struct view *v, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int mass = v->p->score == TENON_KV_SELECT_PROB_MASS;
    const int64_t hk = h / (v->z.heads / v->z.kv_heads);
    double size = 0;
    mpfr_set_inf(v->sum, -1);
    if (mass)
        mpfr_set_zero(v->sum, 1);
    for (int64_t t = i * v->p->block_q; t < least((i + 1) * v->p->block_q, (double)v->z.queries); t += v->p->stride)
        for (int64_t u = j * v->p->block_k; u < least((j + 1) * v->p->block_k, length(v, b)); u += v->p->stride) {
            const double lnz = mass ? number(v, TENON_KV_SELECT_LNZ, (b * v->z.queries + t) * v->z.heads + h) : 0;
            double chain = 0;
            if (!sees(v, b, t, u) || lnz == -(double)INFINITY)
                continue;
            mpfr_set_zero(v->total, 1);
            for (int64_t d = 0; d < v->z.width; d++) {
                const int64_t q = ((b * v->z.queries + t) * v->z.heads + h) * v->z.width + d;
                const int64_t k = ((b * v->z.keys + u) * v->z.kv_heads + hk) * v->z.width + d;
                const double own = number(v, TENON_KV_SELECT_Q, q);
                mpfr_set_d(v->x, number(v, TENON_KV_SELECT_K, k), MPFR_RNDN);
                mpfr_mul_d(v->x, v->x, own, MPFR_RNDN);
                chain += fabs(mpfr_get_d(v->x, MPFR_RNDN));
                mpfr_add(v->total, v->total, v->x, MPFR_RNDN);
            }
            scaled(v, v->total);
            if (mass) {
                mpfr_sub_d(v->total, v->total, lnz, MPFR_RNDN);
                if (mpfr_cmp_d(v->total, 87) > 0)
                    mpfr_set_d(v->total, 87, MPFR_RNDN);
                mpfr_exp(v->total, v->total, MPFR_RNDN);
                size += (2 + chain + fabs(lnz)) * mpfr_get_d(v->total, MPFR_RNDN);
                mpfr_add(v->sum, v->sum, v->total, MPFR_RNDN);
            } else if (mpfr_nan_p(v->sum) || mpfr_nan_p(v->total)) {
                mpfr_set_nan(v->sum);
            } else {
                size = fmax(size, chain);
                mpfr_max(v->sum, v->sum, v->total, MPFR_RNDN);
            }
        }
    return size;
}

/* scores_out where one head's score is what comes out. */
static void check_score(struct view *v, int64_t e)
{
    const int64_t j = e % v->z.nk, i = e / v->z.nk % v->z.nq, list = e / v->z.nk / v->z.nq;
    const int64_t b = list / v->z.lists, h = list % v->z.lists;
    int visible = 0;
    double size = 0;
    for (int64_t t = i * v->p->block_q; t < least((i + 1) * v->p->block_q, (double)v->z.queries); t++)
        for (int64_t u = j * v->p->block_k; u < least((j + 1) * v->p->block_k, (double)v->z.keys); u++)
            visible |= sees(v, b, t, u);
    if (!visible)
        mpfr_set_inf(v->sum, -1);
    else if (v->p->score == TENON_KV_SELECT_EXTERNAL)
        mpfr_set_d(v->sum, number(v, TENON_KV_SELECT_SCORES, ((b * v->z.heads + h) * v->z.nq + i) * v->z.nk + j),
                   MPFR_RNDN);
    else if (v->p->score == TENON_KV_SELECT_POOLED)
        size = pooled_score(v, b, h, i, j);
    else
        size = token_score(v, b, h, i, j);
    precise_compare(v->precise, v->c, v->want, TENON_KV_SELECT_SCORES_OUT, e, v->sum,
                    (double)(2 * v->z.width + 2 * v->p->block_q + v->p->block_k + 40) * PRECISE_U *
                        (size + fabs(mpfr_get_d(v->sum, MPFR_RNDN))));
}

/* ---- lists of scores that are given ---- */

/* What the rule chooses by: of several heads their sum, which is one of f32 by its contract. */
static double score_at(const struct view *v, int64_t e)
{
    const int64_t pairs = v->z.nq * v->z.nk, group = v->z.heads / v->z.lists, first = e / pairs * group;
    float sum = (float)number(v, TENON_KV_SELECT_SCORES, first * pairs + e % pairs);
    for (int64_t h = first + 1; h < first + group; h++) {
        sum += (float)number(v, TENON_KV_SELECT_SCORES, h * pairs + e % pairs);
        if (fabsf(sum) < 0x1p-126f)
            sum = 0;
    }
    return (double)sum;
}

static int seen(const struct view *v, int64_t e)
{
    const int64_t j = e % v->z.nk, i = e / v->z.nk % v->z.nq, b = e / v->z.nk / v->z.nq / v->z.lists;
    for (int64_t t = i * v->p->block_q; t < least((i + 1) * v->p->block_q, (double)v->z.queries); t++)
        for (int64_t u = j * v->p->block_k; u < least((j + 1) * v->p->block_k, (double)v->z.keys); u++)
            if (sees(v, b, t, u))
                return 1;
    return 0;
}

/* Whether pair o of a scope comes before pair e; neither is -Inf. */
static int before(const struct view *v, int64_t o, int64_t e)
{
    const double a = v->score[o], b = v->score[e];
    if (isnan(a) || isnan(b))
        return isnan(a) == isnan(b) ? o < e : isnan(b);
    return a != b ? a > b : o < e;
}

/* Pairs from `from` to `to` that come before e: how many; sum and total: their mass, and that of all. */
static int64_t ahead(struct view *v, int64_t from, int64_t to, int64_t e)
{
    double top = 0;
    int64_t n = 0;
    int power;
    for (int64_t o = from; o < to; o++)
        if (v->score[o] > 0)
            top = fmax(top, fmin(v->score[o], 0x1.fffffep127));
    frexp(fmax(top, 0x1p-126), &power);
    mpfr_set_zero(v->sum, 1);
    mpfr_set_zero(v->total, 1);
    for (int64_t o = from; o < to; o++) {
        if (v->score[o] == -(double)INFINITY)
            continue;
        const int first = o != e && before(v, o, e);
        n += first;
        if (!(v->score[o] > 0))
            continue;
        mpfr_set_d(v->x, fmin(v->score[o], 0x1.fffffep127), MPFR_RNDN);
        mpfr_mul_2si(v->x, v->x, 62 - power, MPFR_RNDN);
        mpfr_floor(v->x, v->x);
        mpfr_add(v->total, v->total, v->x, MPFR_RNDN);
        if (o == e && mpfr_zero_p(v->x) && v->p->rule == TENON_KV_SELECT_CUMUL)
            n = INT64_MAX / 2; /* no mass: never taken */
        if (first)
            mpfr_add(v->sum, v->sum, v->x, MPFR_RNDN);
    }
    return n;
}

static int is_listed(struct view *v, int64_t from, int64_t to, int64_t e)
{
    const double own = v->score[e];
    if (v->score[e] == -(double)INFINITY)
        return 0;
    if (v->p->rule == TENON_KV_SELECT_THRESH)
        return own > (double)v->p->tau;
    const int64_t n = ahead(v, from, to, e);
    if (v->p->rule == TENON_KV_SELECT_TOPK)
        return n < v->p->k;
    mpfr_set_flt(v->y, v->p->tau, MPFR_RNDN);
    mpfr_mul_2ui(v->y, v->y, 32, MPFR_RNDN);
    mpfr_floor(v->y, v->y);
    if (mpfr_zero_p(v->y))
        mpfr_set_ui(v->y, 1, MPFR_RNDN);
    mpfr_mul(v->total, v->total, v->y, MPFR_RNDN);
    mpfr_mul_2ui(v->sum, v->sum, 32, MPFR_RNDN);
    return own > 0 && n < INT64_MAX / 2 && mpfr_less_p(v->sum, v->total);
}

/* Where nothing is forced and no heads are added up, the first rows. */
static void check_lists(struct view *v)
{
    const struct tenon_kv_select_params *p = v->p;
    const int64_t pairs = v->z.batch * v->z.lists * v->z.nq * v->z.nk;
    const int64_t scope = p->scope == TENON_KV_SELECT_ROW    ? v->z.nk
                          : p->scope == TENON_KV_SELECT_HEAD ? v->z.nq * v->z.nk
                                                             : pairs;
    int64_t entry = 0;
    if (p->score != TENON_KV_SELECT_EXTERNAL || p->norm || p->self || p->first || p->last || p->segment ||
        p->rule == TENON_KV_SELECT_STAT || scope > PAIRS || !pairs)
        return;
    double *score = calloc((size_t)pairs, sizeof(*score));
    if (!score)
        abort();
    for (int64_t e = 0; e < pairs; e++)
        score[e] = seen(v, e) ? score_at(v, e) : -(double)INFINITY;
    v->score = score;
    for (int64_t e = 0; e < pairs && e < SAMPLES * v->z.nk && e < PAIRS; e++) {
        const int64_t from = e / scope * scope;
        if (!is_listed(v, from, from + scope, e))
            continue;
        if (entry >= v->want[TENON_KV_SELECT_COL].count || !v->want[TENON_KV_SELECT_COL].want)
            break;
        mpfr_set_d(v->x, (double)(e % v->z.nk), MPFR_RNDN);
        precise_compare(v->precise, v->c, v->want, TENON_KV_SELECT_COL, entry++, v->x, 0);
    }
    free(score);
}

int tenon__conform_kv_select_mpfr(const struct conform_case *c, const struct conform_want *want,
                                  struct conform_precise *precise)
{
    struct view v = {.c = c, .p = tenon__select_suite_params(c), .want = want, .precise = precise};
    v.z = tenon__select_suite_sizes(c);
    const int64_t pairs = v.z.batch * v.z.lists * v.z.nq * v.z.nk, n = pairs < SAMPLES ? pairs : SAMPLES;
    const int64_t must = precise->tensor == TENON_KV_SELECT_SCORES_OUT ? precise->element : -1;
    const int plain = !v.p->norm && v.z.heads == v.z.lists && v.p->score != TENON_KV_SELECT_SOFTMAX_POOLED;
    mpfr_inits2(PRECISE_BITS, v.x, v.y, v.sum, v.total, (mpfr_ptr)0);
    for (int64_t i = 0; plain && want[TENON_KV_SELECT_SCORES_OUT].want && i < n; i++)
        check_score(&v, precise_sample(c, i, n, pairs, must));
    check_lists(&v);
    mpfr_clears(v.x, v.y, v.sum, v.total, (mpfr_ptr)0);
    return 0;
}
