/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The scores of kv_select in f64, straight from the formulas of tenon/ops/kv_select.h, and the bound of each. What
 * the rule makes of them is kv_select_ref_choose.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kv_select_suite.h"

#define FLOOR 0x1p-126

/* A score and how far off it may be. */
struct score {
    double value, bound;
};

struct view {
    const struct conform_case *c;
    const struct tenon_kv_select_params *p;
    struct select_sizes z;
    double scale;
};

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

struct select_sizes tenon__select_suite_sizes(const struct conform_case *c)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(c);
    const struct tenon_tensor *q = &c->slot[TENON_KV_SELECT_Q].tensor, *k = &c->slot[TENON_KV_SELECT_K].tensor;
    const struct tenon_tensor *row_ptr = &c->slot[TENON_KV_SELECT_ROW_PTR].tensor;
    struct select_sizes z = {.batch = row_ptr->dim[0], .lists = row_ptr->dim[1], .nq = row_ptr->dim[2] - 1};
    z.queries = q->dtype ? q->dim[1] : p->q_len;
    z.keys = k->dtype ? k->dim[1] : p->k_len;
    z.heads = q->dtype ? q->dim[2] : c->slot[TENON_KV_SELECT_SCORES].tensor.dim[1];
    z.kv_heads = k->dtype ? k->dim[2] : 1;
    z.width = q->dtype ? q->dim[3] : 0;
    z.nk = (z.keys + p->block_k - 1) / p->block_k;
    return z;
}

/* ---- what is visible ---- */

static int64_t keys_there(const struct view *v, int64_t b)
{
    if (!v->c->slot[TENON_KV_SELECT_KV_LEN].tensor.dtype)
        return v->z.keys;
    const double n = at(v->c, TENON_KV_SELECT_KV_LEN, b);
    return n < 0 ? 0 : n > (double)v->z.keys ? v->z.keys : (int64_t)n;
}

static double position(const struct view *v, uint32_t i, int64_t b, int64_t t)
{
    const struct tenon_tensor *pos = &v->c->slot[i].tensor;
    if (pos->dtype)
        return at(v->c, i, (pos->dim[0] > 1 ? b : 0) * pos->dim[1] + t);
    return (double)(i == TENON_KV_SELECT_KPOS ? t : keys_there(v, b) - v->z.queries + t);
}

static int token_visible(const struct view *v, int64_t b, int64_t t, int64_t u)
{
    return u < keys_there(v, b) && (!v->p->causal || position(v, TENON_KV_SELECT_KPOS, b, u) <=
                                                         position(v, TENON_KV_SELECT_QPOS, b, t));
}

static int64_t end_of(int64_t block, uint32_t size, int64_t most)
{
    const int64_t end = (block + 1) * size;
    return end < most ? end : most;
}

/* Some query of the block sees some key of the other. */
static int pair_visible(const struct view *v, int64_t b, int64_t i, int64_t j)
{
    for (int64_t t = i * v->p->block_q; t < end_of(i, v->p->block_q, v->z.queries); t++)
        for (int64_t u = j * v->p->block_k; u < end_of(j, v->p->block_k, keys_there(v, b)); u++)
            if (token_visible(v, b, t, u))
                return 1;
    return 0;
}

/* ---- scores of a head ---- */

static double element(const struct view *v, uint32_t i, int64_t b, int64_t t, int64_t h, int64_t d)
{
    const struct tenon_tensor *x = &v->c->slot[i].tensor;
    return at(v->c, i, ((b * x->dim[1] + t) * x->dim[2] + h) * x->dim[3] + d);
}

/* The pooled element, and the mean magnitude of what was pooled. */
static double pooled(const struct view *v, int keys, int64_t b, int64_t block, int64_t h, int64_t d, double *size)
{
    const uint32_t tensor = keys ? TENON_KV_SELECT_K : TENON_KV_SELECT_Q, pool = keys ? v->p->pool_k : v->p->pool_q;
    const uint32_t each = keys ? v->p->block_k : v->p->block_q;
    const int64_t from = block * each, end = end_of(block, each, keys ? keys_there(v, b) : v->z.queries);
    double sum = 0, best = element(v, tensor, b, from, h, d), magnitude = 0;
    for (int64_t t = from; t < end; t++) {
        const double x = element(v, tensor, b, t, h, d);
        sum += x;
        magnitude += fabs(x);
        if (isnan(x) || (pool == TENON_KV_SELECT_MAX ? x > best : x < best))
            best = isnan(best) ? best : x;
    }
    *size = pool == TENON_KV_SELECT_MEAN ? magnitude / (double)(end - from) : fabs(best);
    if (pool == TENON_KV_SELECT_MAX || pool == TENON_KV_SELECT_MIN)
        return best;
    return sum / (double)(end - from);
}

static struct score score_pooled(const struct view *v, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t hk = h / (v->z.heads / v->z.kv_heads);
    const int means = (v->p->pool_q == TENON_KV_SELECT_MEAN) + (v->p->pool_k == TENON_KV_SELECT_MEAN);
    double sum = 0, chain = 0;
    for (int64_t d = 0; d < v->z.width; d++) {
        double sizes[2];
        sum += pooled(v, 0, b, i, h, d, &sizes[0]) * pooled(v, 1, b, j, hk, d, &sizes[1]);
        chain += sizes[0] * sizes[1];
    }
    return (struct score){v->scale * sum, (1 + means) * 0x1p-21 * fabs(v->scale) * chain + FLOOR};
}

/* scale <q_t, k_u>, and the same of magnitudes. */
static double product(const struct view *v, int64_t b, int64_t h, int64_t t, int64_t u, double *size)
{
    const int64_t hk = h / (v->z.heads / v->z.kv_heads);
    double sum = 0, chain = 0;
    for (int64_t d = 0; d < v->z.width; d++) {
        const double x = element(v, TENON_KV_SELECT_Q, b, t, h, d) * element(v, TENON_KV_SELECT_K, b, u, hk, d);
        sum += x;
        chain += fabs(x);
    }
    *size = fabs(v->scale) * chain;
    return v->scale * sum;
}

static struct score score_tokens(const struct view *v, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int mass = v->p->score == TENON_KV_SELECT_PROB_MASS;
    struct score s = {mass ? 0 : -(double)INFINITY, 0};
    for (int64_t t = i * v->p->block_q; t < end_of(i, v->p->block_q, v->z.queries); t += v->p->stride) {
        const double lnz = mass ? at(v->c, TENON_KV_SELECT_LNZ, (b * v->z.queries + t) * v->z.heads + h) : 0;
        for (int64_t u = j * v->p->block_k; u < end_of(j, v->p->block_k, v->z.keys); u += v->p->stride) {
            double size;
            if (!token_visible(v, b, t, u) || lnz == -(double)INFINITY)
                continue;
            const double x = product(v, b, h, t, u, &size), e = mass ? exp(fmin(x - lnz, 87)) : 0;
            if (mass) {
                s.value += isnan(x) ? x : e;
                s.bound += e * (0x1p-21 * (1 + size + fabs(lnz)) + 0x1p-20);
            } else {
                s.value = isnan(x) || isnan(s.value) ? x + s.value : fmax(s.value, x);
                s.bound = fmax(s.bound, 0x1p-21 * size + FLOOR);
            }
        }
    }
    s.bound += mass ? FLOOR : 0;
    return s;
}

/* The scores of a row; n of them; what is -Inf stays. */
static void softmax(struct score *row, int64_t n)
{
    double top = -(double)INFINITY, sum = 0, error = 0;
    int odd = 0;
    for (int64_t j = 0; j < n; j++) {
        odd |= isnan(row[j].value) || row[j].value == (double)INFINITY;
        top = fmax(top, row[j].value);
        error = fmax(error, row[j].bound);
    }
    for (int64_t j = 0; j < n; j++)
        sum += row[j].value == -(double)INFINITY ? 0 : exp(row[j].value - top);
    for (int64_t j = 0; j < n; j++) {
        if (row[j].value == -(double)INFINITY)
            continue;
        const double p = odd ? (double)NAN : exp(row[j].value - top) / sum;
        row[j] = (struct score){p, p * (2 * error + 0x1p-20 + 0x1p-24 * (top - row[j].value)) + FLOOR};
    }
}

static void score_head(const struct view *v, int64_t b, int64_t h, int64_t i, struct score *row)
{
    for (int64_t j = 0; j < v->z.nk; j++) {
        if (!pair_visible(v, b, i, j))
            row[j] = (struct score){-(double)INFINITY, 0};
        else if (v->p->score == TENON_KV_SELECT_EXTERNAL)
            row[j] = (struct score){
                at(v->c, TENON_KV_SELECT_SCORES, ((b * v->z.heads + h) * v->z.nq + i) * v->z.nk + j), 0};
        else if (v->p->score <= TENON_KV_SELECT_SOFTMAX_POOLED)
            row[j] = score_pooled(v, b, h, i, j);
        else
            row[j] = score_tokens(v, b, h, i, j);
        if (v->c->own[3])
            row[j].bound = 0;
    }
    if (v->p->score == TENON_KV_SELECT_SOFTMAX_POOLED)
        softmax(row, v->z.nk);
}

/* Sums over heads: where nothing is off they are f32 sums, as the contract has them. */
static void add_head(const struct view *v, struct score *row, const struct score *more)
{
    for (int64_t j = 0; j < v->z.nk; j++) {
        const int exact = row[j].bound == 0 && more[j].bound == 0;
        const float sum = (float)row[j].value + (float)more[j].value;
        const double bound =
            row[j].bound + more[j].bound + 0x1p-22 * (fabs(row[j].value) + fabs(more[j].value)) + FLOOR;
        row[j].value = exact ? (fabsf(sum) < 0x1p-126f ? 0 : (double)sum) : row[j].value + more[j].value;
        row[j].bound = exact || isinf(row[j].value) ? 0 : bound;
    }
}

/* ---- MINMAX ---- */

static void minmax(struct score *s, int64_t n)
{
    double low = (double)INFINITY, high = -(double)INFINITY, error = 0;
    for (int64_t e = 0; e < n; e++)
        if (isfinite(s[e].value)) {
            low = fmin(low, s[e].value);
            high = fmax(high, s[e].value);
            error = fmax(error, s[e].bound);
        }
    const float half = fabs(low) >= 0x1p126 || fabs(high) >= 0x1p126 ? 0.5f : 1;
    for (int64_t e = 0; e < n; e++) {
        if (!isfinite(s[e].value))
            continue;
        if (error == 0) { /* f32, as the contract has its roundings */
            const float span = (float)high * half - (float)low * half;
            const float divisor = (double)span / (double)half <= (double)1e-6f ? 1 : span;
            float x = (float)s[e].value * half - (float)low * half;
            x = x < 0x1p-100f ? 0 : x / divisor;
            s[e].value = x < 0x1p-100f ? 0 : (double)x;
        } else {
            const double span = high - low, divisor = span <= (double)1e-6f ? 1 : span;
            const int near = fabs(span - 1e-6) < 4 * error;
            s[e] = (struct score){(s[e].value - low) / divisor,
                                  near ? (double)INFINITY : 4 * error / divisor + 0x1p-21};
        }
    }
}

static struct score *scores_of(const struct view *v)
{
    const struct select_sizes *z = &v->z;
    const int64_t rows = z->batch * z->lists * z->nq, group = z->heads / (z->lists ? z->lists : 1);
    struct score *all = calloc((size_t)(rows * z->nk) + 1, sizeof(*all));
    struct score *more = calloc((size_t)z->nk + 1, sizeof(*more));
    if (!all || !more)
        abort();
    for (int64_t r = 0; r < rows; r++) {
        const int64_t i = r % z->nq, b = r / z->nq / z->lists, first = r / z->nq % z->lists * group;
        struct score *row = all + r * z->nk;
        score_head(v, b, first, i, row);
        for (int64_t h = first + 1; h < first + group; h++) {
            score_head(v, b, h, i, more);
            add_head(v, row, more);
        }
        if (v->p->norm == TENON_KV_SELECT_NORM_SOFTMAX)
            softmax(row, z->nk);
    }
    free(more);
    const int64_t scopes = v->p->scope == TENON_KV_SELECT_ROW    ? rows
                           : v->p->scope == TENON_KV_SELECT_HEAD ? z->batch * z->lists
                                                                 : 1;
    for (int64_t s = 0; rows && v->p->norm == TENON_KV_SELECT_NORM_MINMAX && s < scopes; s++)
        minmax(all + s * (rows * z->nk / scopes), rows * z->nk / scopes);
    return all;
}

/* ---- what is wanted ---- */

static void set(struct conform_want *want, int64_t index, double value)
{
    if (want->want)
        want->want[index] = value;
}

static void put_lists(const struct view *v, const unsigned char *listed, const int *nan, struct conform_want *want)
{
    const int64_t nnz = v->c->slot[TENON_KV_SELECT_COL].tensor.dim[0];
    double *flags = want[TENON_KV_SELECT_FLAGS].want;
    int64_t all = 0, row = 0;
    for (int64_t list = 0; list < v->z.batch * v->z.lists; list++) {
        set(&want[TENON_KV_SELECT_ROW_PTR], list * (v->z.nq + 1), (double)(all < nnz ? all : nnz));
        for (int64_t i = 0; i < v->z.nq; i++, row++) {
            const int64_t before = all;
            for (int64_t j = 0; j < v->z.nk; j++)
                if (listed[row * v->z.nk + j]) {
                    if (all < nnz)
                        set(&want[TENON_KV_SELECT_COL], all, (double)j);
                    all++;
                }
            set(&want[TENON_KV_SELECT_ROW_PTR], list * (v->z.nq + 1) + i + 1, (double)(all < nnz ? all : nnz));
            if (flags) {
                flags[0] += nan[row];
                flags[1] += all == before;
            }
        }
    }
    for (int64_t e = all; e < nnz; e++)
        set(&want[TENON_KV_SELECT_COL], e, -1);
    if (flags)
        flags[2] = all > nnz ? (double)(all - nnz) : 0;
}

static void anything(struct conform_want *want)
{
    want->exact = 0;
    for (int64_t i = 0; want->bound && i < want->count; i++)
        want->bound[i] = (double)INFINITY;
}

void tenon__conform_kv_select_expect(const struct conform_case *c, struct conform_want *want)
{
    struct view v = {c, tenon__select_suite_params(c), tenon__select_suite_sizes(c), 0};
    const int64_t rows = v.z.batch * v.z.lists * v.z.nq, pairs = rows * v.z.nk;
    v.scale = v.p->scale != 0 ? (double)v.p->scale : v.z.width ? 1 / sqrt((double)v.z.width) : 1;
    struct score *s = scores_of(&v);
    float *rounded = calloc((size_t)pairs + 1, sizeof(*rounded));
    int *nan = calloc((size_t)rows + 1, sizeof(*nan)), sure = 1;
    unsigned char *listed = calloc((size_t)pairs + 1, 1);
    if (!rounded || !nan || !listed)
        abort();
    for (int64_t e = 0; e < pairs; e++) {
        rounded[e] = (float)s[e].value;
        nan[e / v.z.nk] |= isnan(s[e].value);
        sure &= isnan(s[e].value) || s[e].bound == 0;
        set(&want[TENON_KV_SELECT_SCORES_OUT], e, s[e].value);
        if (want[TENON_KV_SELECT_SCORES_OUT].bound)
            want[TENON_KV_SELECT_SCORES_OUT].bound[e] = s[e].bound;
    }
    tenon__select_choose(c, rounded, listed);
    for (int64_t e = 0; e < pairs; e++)
        sure &= listed[e] != 2;
    want[TENON_KV_SELECT_SCORES_OUT].exact = sure && v.p->norm != TENON_KV_SELECT_NORM_SOFTMAX;
    for (uint32_t i = TENON_KV_SELECT_ROW_PTR; i <= TENON_KV_SELECT_FLAGS; i++)
        if (i != TENON_KV_SELECT_SCORES_OUT)
            want[i].exact = sure;
    put_lists(&v, listed, nan, want);
    for (int64_t b = 0; want[TENON_KV_SELECT_FLAGS].want && b < v.z.batch; b++)
        if (c->slot[TENON_KV_SELECT_KV_LEN].tensor.dtype) {
            const double n = at(c, TENON_KV_SELECT_KV_LEN, b);
            want[TENON_KV_SELECT_FLAGS].want[3] += n < 0 || n > (double)v.z.keys;
        }
    if (!sure) { /* check() sees what they are of the scores that came */
        anything(&want[TENON_KV_SELECT_ROW_PTR]);
        anything(&want[TENON_KV_SELECT_COL]);
        for (int f = 1; want[TENON_KV_SELECT_FLAGS].bound && f < 3; f++)
            want[TENON_KV_SELECT_FLAGS].bound[f] = (double)INFINITY;
        want[TENON_KV_SELECT_FLAGS].exact = 0;
    }
    free(s);
    free(rounded);
    free(nan);
    free(listed);
}
