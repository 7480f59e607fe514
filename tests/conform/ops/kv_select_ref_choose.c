/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the rule of kv_select makes of scores: sorted, and taken one by one. Also of the scores that a backend has
 * written, as a list is exactly what the contract makes of these. */
#include <math.h>
#include <stdlib.h>
#include "kv_select_suite.h"

struct pair {
    int64_t at;
    double score, mass;
    int forced, candidate;
};

static int by_rank(const void *left, const void *right)
{
    const struct pair *a = left, *b = right;
    if (a->forced != b->forced)
        return b->forced - a->forced;
    if (isnan(a->score) != isnan(b->score))
        return isnan(a->score) ? 1 : -1;
    if (a->score != b->score && !isnan(a->score))
        return a->score > b->score ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    return conform_get(conform_first(&c->slot[i]), c->slot[i].tensor.dtype, index);
}

/* ---- spans ---- */

struct span {
    double low, high;
};

static double keys_of(const struct conform_case *c, int64_t b, int64_t keys)
{
    if (!c->slot[TENON_KV_SELECT_KV_LEN].tensor.dtype)
        return (double)keys;
    return fmin(fmax(number(c, TENON_KV_SELECT_KV_LEN, b), 0), (double)keys);
}

static struct span span_of(const struct conform_case *c, int of_keys, int64_t b, int64_t block)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(c);
    const struct select_sizes z = tenon__select_suite_sizes(c);
    const uint32_t tensor = of_keys ? TENON_KV_SELECT_KPOS : TENON_KV_SELECT_QPOS;
    const struct tenon_tensor *pos = &c->slot[tensor].tensor;
    const double there = keys_of(c, b, z.keys), end = of_keys ? there : (double)z.queries;
    const int64_t each = of_keys ? p->block_k : p->block_q;
    struct span s = {(double)INFINITY, -(double)INFINITY};
    for (int64_t t = block * each; t < (block + 1) * each && (double)t < end; t++) {
        double own = of_keys ? (double)t : there - (double)z.queries + (double)t;
        if (pos->dtype)
            own = number(c, tensor, (pos->dim[0] > 1 ? b : 0) * pos->dim[1] + t);
        s.low = fmin(s.low, own);
        s.high = fmax(s.high, own);
    }
    return s;
}

/* ---- the rules ---- */

static int takes_part(const struct tenon_kv_select_params *p, const struct pair *e)
{
    return e->candidate && (!e->forced || p->forced_counts);
}

static void choose_topk(const struct tenon_kv_select_params *p, const struct pair *e, int64_t n, unsigned char *listed)
{
    int64_t left = p->k;
    for (int64_t i = 0; i < n; i++) {
        const int part = e[i].forced ? p->forced_counts != 0 : e[i].candidate;
        if (part && left-- > 0)
            listed[e[i].at] = 1;
        left = left < 0 ? 0 : left;
    }
}

/* Sums of whole numbers of up to 62 bits, none of which is rounded. */
static void choose_cumul(const struct tenon_kv_select_params *p, struct pair *e, int64_t n, unsigned char *listed)
{
    struct conform_exact need = {.n = 0};
    double tau = floor((double)p->tau * 0x1p32);
    int power = -1000;
    tau = tau < 1 ? 1 : tau;
    for (int64_t i = 0; i < n; i++)
        if (takes_part(p, &e[i]) && e[i].score > 0) {
            int own;
            frexp(fmin(e[i].score, 0x1.fffffep127), &own);
            power = own > power ? own : power;
        }
    if (power < -125) /* subnormal numbers have the exponent of the least normal ones */
        power = -125;
    for (int64_t i = 0; i < n; i++) {
        e[i].mass = 0;
        if (takes_part(p, &e[i]) && e[i].score > 0)
            e[i].mass = floor(ldexp(fmin(e[i].score, 0x1.fffffep127), 62 - power));
        /* mass has 24 bits and tau 32: in two exact halves; need = tau * total - 2^32 * sum */
        conform_exact_add(&need, e[i].mass * floor(tau * 0x1p-16) * 0x1p16);
        conform_exact_add(&need, e[i].mass * (tau - floor(tau * 0x1p-16) * 0x1p16));
        if (e[i].forced)
            conform_exact_add(&need, -e[i].mass * 0x1p32);
    }
    for (int64_t i = 0; i < n && conform_exact_total(&need) > 0; i++)
        if (!e[i].forced && e[i].mass > 0) {
            listed[e[i].at] = 1;
            conform_exact_add(&need, -e[i].mass * 0x1p32);
        }
}

/* The normal quantile by bisection. */
static double quantile(double p)
{
    double low = -40, high = 40;
    for (int i = 0; i < 200; i++) {
        const double middle = (low + high) / 2;
        if (0.5 * erfc(-middle * 0.70710678118654752440) < p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

static void choose_stat(const struct tenon_kv_select_params *p, const struct pair *e, int64_t n, unsigned char *listed)
{
    double sum = 0, squares = 0, count = 0;
    for (int64_t i = 0; i < n; i++)
        if (takes_part(p, &e[i])) {
            sum += e[i].score;
            count++;
        }
    if (!isfinite(sum))
        return;
    const double mean = count > 0 ? sum / count : 0;
    for (int64_t i = 0; i < n; i++)
        if (takes_part(p, &e[i]))
            squares += (e[i].score - mean) * (e[i].score - mean);
    const double std = count > 0 ? sqrt(squares / count) : 0;
    const double theta = (double)p->k < count ? mean - std * quantile((double)p->k / count) : 0;
    for (int64_t i = 0; i < n; i++) {
        if (!e[i].candidate || e[i].forced)
            continue;
        if (count <= (double)p->k)
            listed[e[i].at] = 1;
        else if (fabs(e[i].score - theta) <= 0x1p-16 * (fabs(mean) + std) + 0x1p-126)
            listed[e[i].at] = 2;
        else
            listed[e[i].at] = e[i].score > theta;
    }
}

static void choose_scope(const struct tenon_kv_select_params *p, struct pair *e, int64_t n, unsigned char *listed)
{
    qsort(e, (size_t)n, sizeof(*e), by_rank);
    switch (p->rule) {
    case TENON_KV_SELECT_TOPK: choose_topk(p, e, n, listed); break;
    case TENON_KV_SELECT_CUMUL: choose_cumul(p, e, n, listed); break;
    case TENON_KV_SELECT_STAT: choose_stat(p, e, n, listed); break;
    default:
        for (int64_t i = 0; i < n; i++)
            listed[e[i].at] = e[i].candidate && e[i].score > (double)p->tau;
    }
    for (int64_t i = 0; i < n; i++)
        if (e[i].forced)
            listed[e[i].at] = 1;
}

/* ---- a row: what is forced ---- */

static void mark_row(const struct conform_case *c, int64_t b, int64_t i, const struct span *keys, struct pair *e)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(c);
    const struct select_sizes z = tenon__select_suite_sizes(c);
    const struct span q = span_of(c, 0, b, i);
    const double wide = (double)p->segment * (double)p->block_k;
    int64_t seen = 0;
    for (int64_t j = z.nk - 1; j >= 0; j--) {
        const struct span *k = &keys[b * z.nk + j];
        if (!(k->low <= k->high) || (p->causal && k->low > q.high))
            continue;
        seen++;
        e[j].forced |= p->self && k->low <= q.high && q.low <= k->high;
        e[j].forced |= p->first && k->low <= 0 && 0 <= k->high;
        e[j].forced |= seen <= (int64_t)p->last;
        if (p->segment) {
            const double own = floor((double)j / (double)p->segment);
            e[j].forced |= floor(q.low / wide) <= own && own <= floor(q.high / wide);
        }
    }
}

void tenon__select_choose(const struct conform_case *c, const float *score, unsigned char *listed)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(c);
    const struct select_sizes z = tenon__select_suite_sizes(c);
    const int64_t rows = z.batch * z.lists * z.nq, pairs = rows * z.nk;
    const int64_t scope = p->scope == TENON_KV_SELECT_ROW    ? z.nk
                          : p->scope == TENON_KV_SELECT_HEAD ? z.nq * z.nk
                                                             : pairs;
    struct pair *e = calloc((size_t)pairs + 1, sizeof(*e));
    struct span *keys = calloc((size_t)(z.batch * z.nk) + 1, sizeof(*keys));
    if (!e || !keys)
        abort();
    for (int64_t n = 0; n < z.batch * z.nk; n++)
        keys[n] = span_of(c, 1, n / z.nk, n % z.nk);
    for (int64_t n = 0; n < pairs; n++)
        e[n] = (struct pair){n, (double)score[n], 0, 0, score[n] != -INFINITY};
    for (int64_t r = 0; r < rows && z.nk; r++)
        mark_row(c, r / z.nq / z.lists, r % z.nq, keys, e + r * z.nk);
    for (int64_t n = 0; n < pairs; n += scope)
        choose_scope(p, e + n, scope, listed);
    free(e);
    free(keys);
}

/* The lists are what the rule makes of scores_out. */
int tenon__conform_kv_select_check(const struct conform_case *c, const struct conform_want *want,
                                   struct tenon_why *why)
{
    const struct select_sizes z = tenon__select_suite_sizes(c);
    const int64_t rows = z.batch * z.lists * z.nq, pairs = rows * z.nk;
    const int64_t nnz = c->slot[TENON_KV_SELECT_COL].tensor.dim[0];
    const float *score = conform_first(&c->slot[TENON_KV_SELECT_SCORES_OUT]);
    int64_t e = 0, wrong = -1, empty = 0, all = 0;
    int either = 0;
    (void)want;
    if (!c->slot[TENON_KV_SELECT_SCORES_OUT].tensor.dtype || !pairs)
        return 0;
    unsigned char *listed = calloc((size_t)pairs + 1, 1);
    if (!listed)
        abort();
    tenon__select_choose(c, score, listed);
    for (int64_t r = 0; wrong < 0 && r < rows; r++) {
        const int64_t at = r + r / z.nq, before = all;
        if (number(c, TENON_KV_SELECT_ROW_PTR, at) != (double)e)
            wrong = r;
        const double end = number(c, TENON_KV_SELECT_ROW_PTR, at + 1);
        for (int64_t j = 0; wrong < 0 && j < z.nk; j++) {
            const int kind = listed[r * z.nk + j];
            const int there = e < nnz && (double)e < end && number(c, TENON_KV_SELECT_COL, e) == (double)j;
            either |= kind == 2;
            all += kind == 1;
            if (there != (kind != 0) && kind != 2 && !(kind == 1 && e == nnz))
                wrong = r;
            e += there && kind;
        }
        empty += all == before;
        if (wrong < 0 && end != (double)e)
            wrong = r;
    }
    free(listed);
    if (wrong >= 0)
        return tenon_why_set(why, 1, "row_ptr[%lld] and its part of col are not what the rule makes of scores_out",
                             (long long)(wrong + wrong / z.nq));
    if (!c->slot[TENON_KV_SELECT_FLAGS].tensor.dtype || either)
        return 0;
    if (number(c, TENON_KV_SELECT_FLAGS, 1) != (double)empty ||
        number(c, TENON_KV_SELECT_FLAGS, 2) != (double)(all > nnz ? all - nnz : 0))
        return tenon_why_set(why, 1, "flags[1] or flags[2] is not %lld, %lld, what the lists have", (long long)empty,
                             (long long)(all > nnz ? all - nnz : 0));
    return 0;
}
