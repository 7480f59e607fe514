/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route: scores as the header specifies them bit by bit, and what is selected by them. Which experts a token gets is
 * no matter of tolerance, so this part of the reference is in f32, straight from tenon/ops/moe_route.h: selection is
 * sorting. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "moe_route_suite_ref.h"

static const float minus_infinity = -INFINITY;

int tenon__route_ref_has(const struct route_ref *r, uint32_t tensor)
{
    return r->c->slot[tensor].tensor.dtype != 0;
}

double tenon__route_ref_get(const struct route_ref *r, uint32_t tensor, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[tensor];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static float get(const struct route_ref *r, uint32_t tensor, int64_t index)
{
    return (float)tenon__route_ref_get(r, tensor, index);
}

int tenon__route_ref_init(struct route_ref *r, const struct conform_case *c)
{
    memset(r, 0, sizeof(*r));
    r->c = c;
    r->p = (const void *)c->params;
    r->tokens = c->slot[TENON_MOE_ROUTE_LOGITS].tensor.dim[0];
    r->columns = c->slot[TENON_MOE_ROUTE_LOGITS].tensor.dim[1];
    r->experts = r->p->select == TENON_MOE_ROUTE_DSELECT ? (int64_t)r->p->experts : r->columns;
    r->slots = r->p->k;
    while (INT64_C(1) << r->bits < r->experts)
        r->bits++;
    const int64_t widest = r->experts > r->columns ? r->experts : r->columns;
    const size_t n = (size_t)widest + 1, most = (size_t)(r->tokens > widest ? r->tokens : widest) + 1;
    const size_t all = r->p->select == TENON_MOE_ROUTE_EXPERT_CHOICE ? (size_t)(r->tokens * r->experts) + 1 : 1;
    r->z = malloc(n * sizeof(float));
    r->clean = malloc(n * sizeof(float));
    r->noisy = malloc(n * sizeof(float));
    r->s = malloc(n * sizeof(float));
    r->key = malloc(n * sizeof(float));
    r->group_z = malloc(((size_t)r->p->hier_g + 1) * sizeof(float));
    r->pick = malloc(most * sizeof(*r->pick));
    r->idx = malloc(((size_t)r->slots + 1) * sizeof(*r->idx));
    r->dense = malloc(all * sizeof(float));
    r->taken = calloc(all, 1);
    return !r->z || !r->clean || !r->noisy || !r->s || !r->key || !r->group_z || !r->pick || !r->idx || !r->dense ||
           !r->taken;
}

void tenon__route_ref_free(struct route_ref *r)
{
    free(r->z);
    free(r->clean);
    free(r->noisy);
    free(r->s);
    free(r->key);
    free(r->group_z);
    free(r->pick);
    free(r->idx);
    free(r->dense);
    free(r->taken);
}

/* ---- the functions whose bits are specified ---- */

static float normal_or_0(float x)
{
    return fabsf(x) < 0x1p-126f ? 0.0f : x;
}

/* tenon/ops/moe_route.h's exp: Cody and Waite's reduction, a polynomial of degree 6, every fma rounded once. */
static float exp_f32(float d)
{
    static const float later[4] = {0x1.12498cp-7f, 0x1.555b8cp-5f, 0x1.55547ap-3f, 0x1.fffffap-2f};
    if (d < -87.33654f)
        return 0.0f;
    if (isnan(d))
        return d;
    const float shifted = fmaf(d, 0x1.715476p+0f, 0x1.8p+23f), n = shifted - 0x1.8p+23f;
    float t = fmaf(n, -0x1.62e430p-1f, d), s = 0x1.680ad8p-10f;
    t = fmaf(n, 0x1.05c610p-29f, t);
    for (int i = 0; i < 4; i++)
        s = fmaf(s, t, later[i]);
    const float square = t * t, h = fmaf(square, s, t);
    return ldexpf(h + 1.0f, (int)n);
}

/* exp(z[i] - top) / sum, of those with z above -Inf; all the others 0. */
static void weights_f32(const float *z, int64_t n, float *w)
{
    float top = minus_infinity;
    uint64_t sum = 0; /* in units of 2^-40 */
    int nan = 0;
    for (int64_t i = 0; i < n; i++) {
        nan |= isnan(z[i]) || z[i] == INFINITY;
        top = z[i] > top ? z[i] : top;
    }
    for (int64_t i = 0; i < n; i++) {
        w[i] = z[i] == minus_infinity ? 0.0f : nan ? NAN : exp_f32(z[i] - top);
        if (!nan)
            sum += (uint64_t)rint(ldexp((double)w[i], 40));
    }
    const float inverse = 1.0f / ((float)sum * 0x1p-40f);
    for (int64_t i = 0; i < n && !nan && sum > 0; i++)
        w[i] = normal_or_0(w[i] * inverse);
}

static float sigmoid_f32(float z)
{
    const float e = exp_f32(-fabsf(z)), below = 1.0f + e;
    return isnan(z) ? z : (z >= 0 ? 1.0f : e) / below;
}

/* ---- scores ---- */

/* A +Inf is NaN to what reduces over the row. */
static int needs_finite(const struct tenon_moe_route_params *p)
{
    return p->score == TENON_MOE_ROUTE_SOFTMAX || p->score == TENON_MOE_ROUTE_RELU_RMS ||
           p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL || p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX ||
           (p->norm == TENON_MOE_ROUTE_NORM_SUM &&
            (p->score == TENON_MOE_ROUTE_RELU || p->score == TENON_MOE_ROUTE_IDENTITY));
}

int tenon__route_ref_reads(const struct tenon_moe_route_params *p)
{
    const int by_tensor = p->select == TENON_MOE_ROUTE_TABLE || p->select == TENON_MOE_ROUTE_RANDOM ||
                          p->select == TENON_MOE_ROUTE_PREFIX;
    const int ones = p->weight_src == TENON_MOE_ROUTE_WEIGHT_ONE ||
                     (p->weight_src == TENON_MOE_ROUTE_WEIGHT_SCORE && p->score == TENON_MOE_ROUTE_ONE);
    return !by_tensor || !ones || p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL;
}

static void look(struct route_ref *r, const float *z, int64_t n, int *above)
{
    for (int64_t e = 0; e < n; e++) {
        r->odd |= isnan(z[e]) || z[e] == INFINITY;
        r->bad |= isnan(z[e]) || (z[e] == INFINITY && needs_finite(r->p));
        *above |= isnan(z[e]) || z[e] > minus_infinity;
    }
}

static void make_logits(struct route_ref *r, int64_t t)
{
    const struct tenon_moe_route_params *p = r->p;
    const struct conform_noise noise = {p->seed, p->stream, p->sample};
    for (int64_t e = 0; e < r->columns; e++) {
        const int masked = tenon__route_ref_has(r, TENON_MOE_ROUTE_EXPERT_MASK) &&
                           get(r, TENON_MOE_ROUTE_EXPERT_MASK, e) == 0.0f;
        const float plain = masked ? minus_infinity : get(r, TENON_MOE_ROUTE_LOGITS, t * r->columns + e);
        float v = plain;
        if (p->noise && !masked)
            v = plain + conform_noise_gumbel(&noise, (uint32_t)t, (uint32_t)e);
        r->clean[e] = plain;
        r->noisy[e] = v * p->inv_temp;
        r->z[e] = (p->noise_use ? plain : v) * p->inv_temp;
    }
    for (int64_t g = 0; g < (int64_t)p->hier_g; g++)
        r->group_z[g] = get(r, TENON_MOE_ROUTE_GROUP_LOGITS, t * p->hier_g + g) * p->inv_temp;
}

static void make_scores(struct route_ref *r)
{
    switch (r->p->score) {
    case TENON_MOE_ROUTE_SOFTMAX: weights_f32(r->z, r->columns, r->s); return;
    case TENON_MOE_ROUTE_SIGMOID:
        for (int64_t e = 0; e < r->columns; e++)
            r->s[e] = sigmoid_f32(r->z[e]);
        return;
    case TENON_MOE_ROUTE_RELU:
    case TENON_MOE_ROUTE_RELU_RMS: /* the sign is all that selections need */
        for (int64_t e = 0; e < r->columns; e++)
            r->s[e] = r->odd && r->p->score == TENON_MOE_ROUTE_RELU_RMS && r->z[e] != minus_infinity ? NAN
                      : r->z[e] <= 0                                                                ? 0.0f
                                                                                                    : r->z[e];
        return;
    default:
        for (int64_t e = 0; e < r->columns; e++)
            r->s[e] = r->p->score == TENON_MOE_ROUTE_IDENTITY ? r->z[e] : r->z[e] == minus_infinity ? 0.0f : 1.0f;
    }
}

void tenon__route_ref_score(struct route_ref *r, int64_t t)
{
    int above = 0, above_group = !r->p->hier_g;
    r->valid = !tenon__route_ref_has(r, TENON_MOE_ROUTE_TOKEN_VALID) || get(r, TENON_MOE_ROUTE_TOKEN_VALID, t) != 0.0f;
    r->bad = r->odd = r->cut = 0;
    r->nsel = r->range = 0;
    make_logits(r, t);
    look(r, r->z, r->columns, &above);
    look(r, r->group_z, r->p->hier_g, &above_group);
    const int clean_only = r->p->noise_use || r->p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX;
    if (clean_only) { /* noise is finite, a temperature may make infinities */
        int ignored = 0, odd = r->odd;
        look(r, r->clean, r->columns, &ignored);
        r->odd = odd;
    }
    for (int64_t e = 0; e < r->columns && r->p->select != TENON_MOE_ROUTE_DSELECT; e++) {
        if (tenon__route_ref_has(r, TENON_MOE_ROUTE_EXPERT_MASK) && get(r, TENON_MOE_ROUTE_EXPERT_MASK, e) == 0.0f)
            continue;
        for (uint32_t i = TENON_MOE_ROUTE_CORR_BIAS; i <= TENON_MOE_ROUTE_GAIN; i++)
            r->bad |= tenon__route_ref_has(r, i) && isnan(get(r, i, e));
    }
    const int64_t choices = r->p->select == TENON_MOE_ROUTE_DSELECT ? r->columns * r->bits : 0;
    for (int64_t i = 0; i < choices; i++)
        r->bad |= isnan(get(r, TENON_MOE_ROUTE_ZSEL, t * choices + i));
    r->empty = !r->bad && !(above && above_group);
    if (!tenon__route_ref_reads(r->p))
        r->bad = r->empty = 0;
    make_scores(r);
}

/* ---- keys ---- */

/* -Inf and NaN as they are; qsort's order is that of the header: numbers falling, NaN last, equal ones by index. */
static int by_key(const void *a, const void *b)
{
    const struct route_pick *x = a, *y = b;
    const int nan = isnan(x->key) - isnan(y->key);
    if (nan)
        return nan;
    if (x->key != y->key && !isnan(x->key))
        return x->key > y->key ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static void sort(struct route_ref *r, const float *key, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        r->pick[i] = (struct route_pick){key[i], (int32_t)i};
    qsort(r->pick, (size_t)n, sizeof(*r->pick), by_key);
}

static void make_keys(struct route_ref *r)
{
    const struct tenon_moe_route_params *p = r->p;
    const int biased = tenon__route_ref_has(r, TENON_MOE_ROUTE_CORR_BIAS);
    const int by_score = biased || (p->n_group && p->gscore == TENON_MOE_ROUTE_GSCORE_TOPN_SUM);
    for (int64_t e = 0; e < r->experts; e++) {
        r->key[e] = r->z[e];
        if (by_score && r->z[e] != minus_infinity)
            r->key[e] = r->s[e] + (biased ? get(r, TENON_MOE_ROUTE_CORR_BIAS, e) : 0.0f);
    }
}

/* The keys of groups that are not chosen become -Inf. */
static void cut_groups(struct route_ref *r)
{
    const struct tenon_moe_route_params *p = r->p;
    const int64_t each = r->experts / p->n_group;
    float score[TENON_MOE_ROUTE_MAX_GROUPS];
    char kept[TENON_MOE_ROUTE_MAX_GROUPS] = {0};
    for (int64_t g = 0; g < p->n_group; g++) {
        sort(r, r->key + g * each, each);
        score[g] = r->pick[0].key;
        for (int64_t i = 1; p->gscore == TENON_MOE_ROUTE_GSCORE_TOPN_SUM && i < p->gscore_n; i++)
            score[g] = score[g] + r->pick[i].key;
    }
    sort(r, score, p->n_group);
    for (int64_t i = 0; i < p->topk_group; i++)
        kept[r->pick[i].index] = 1;
    for (int64_t e = 0; e < r->experts; e++)
        if (!kept[e / each])
            r->key[e] = minus_infinity;
}

/* Up to `most` of the n keys to `to`; how many. */
static int64_t take_best(struct route_ref *r, const float *key, int64_t n, int64_t most, int32_t *to)
{
    int64_t count = 0;
    sort(r, key, n);
    for (int64_t i = 0; i < n && count < most; i++)
        if (r->pick[i].key != minus_infinity)
            to[count++] = r->pick[i].index;
    return count;
}

/* ---- selections ---- */

static void select_topk(struct route_ref *r)
{
    int64_t first = 0;
    if (r->p->noise_use) {
        first = take_best(r, r->z, r->experts, 1, r->idx);
        memcpy(r->key, r->noisy, (size_t)r->experts * sizeof(float));
        if (first)
            r->key[r->idx[0]] = minus_infinity;
    } else {
        make_keys(r);
        if (r->p->n_group)
            cut_groups(r);
    }
    first += take_best(r, r->key, r->experts, r->slots - first, r->idx + first);
    r->cut = first < r->slots;
}

static void select_by_id(struct route_ref *r, int64_t t)
{
    const struct tenon_moe_route_params *p = r->p;
    int64_t count = 0, most = r->experts;
    if (p->select == TENON_MOE_ROUTE_PREFIX) {
        const double nuse = tenon__route_ref_get(r, TENON_MOE_ROUTE_NUSE, t);
        r->range = nuse < 0 || nuse > (double)r->experts;
        most = nuse < 0 ? 0 : nuse > (double)r->experts ? r->experts : (int64_t)nuse;
    } else {
        make_keys(r);
    }
    for (int64_t e = 0; e < most; e++) {
        int in = 1;
        if (p->select == TENON_MOE_ROUTE_EXPERT_CHOICE)
            in = r->taken[t * r->experts + e];
        else if (p->select == TENON_MOE_ROUTE_THRESH)
            in = r->key[e] != minus_infinity && r->s[e] > p->thresh;
        else if (p->select == TENON_MOE_ROUTE_POSITIVE)
            in = r->key[e] != minus_infinity && r->s[e] > 0;
        else if (p->select == TENON_MOE_ROUTE_ALL)
            in = r->key[e] != minus_infinity;
        if (in && count < r->slots)
            r->idx[count] = (int32_t)e;
        count += in;
    }
    r->cut = count > r->slots;
}

static void select_table(struct route_ref *r, int64_t t)
{
    const int64_t rows = r->c->slot[TENON_MOE_ROUTE_TABLE_IDX].tensor.dim[0];
    const int64_t key = (int64_t)tenon__route_ref_get(r, TENON_MOE_ROUTE_KEY, t);
    if (key < 0 || key >= rows) {
        r->range = 1;
        return;
    }
    for (int64_t j = 0; j < r->slots; j++) {
        const int64_t e = (int64_t)tenon__route_ref_get(r, TENON_MOE_ROUTE_TABLE_IDX, key * r->slots + j);
        r->range += e < -1 || e >= r->experts;
        r->idx[j] = e < -1 || e >= r->experts ? -1 : (int32_t)e;
    }
}

static void select_random(struct route_ref *r, int64_t t)
{
    const struct tenon_moe_route_params *p = r->p;
    const int64_t row = p->random == TENON_MOE_ROUTE_RANDOM_TOKEN ? t
                        : p->random == TENON_MOE_ROUTE_RANDOM_SEQ ? t / p->random_len
                                                                  : 0;
    const uint32_t counter[4] = {0, (uint32_t)row, p->sample, p->stream};
    uint32_t word[4];
    conform_philox(counter, p->seed, word);
    r->idx[0] = (int32_t)((uint64_t)word[0] * (uint64_t)r->experts >> 32);
}

static void select_levels(struct route_ref *r)
{
    const struct tenon_moe_route_params *p = r->p;
    const int64_t each = r->experts / p->hier_g, second = r->slots / p->hier_k1;
    int32_t *group = malloc(p->hier_k1 * sizeof(*group));
    int64_t count = 0;
    if (!group)
        return;
    const int64_t groups = take_best(r, r->group_z, p->hier_g, p->hier_k1, group);
    for (int64_t i = 0; i < groups; i++) {
        int32_t *to = r->idx + i * second;
        const int64_t n = take_best(r, r->z + group[i] * each, each, second, to);
        for (int64_t j = 0; j < n; j++)
            to[j] += (int32_t)(group[i] * each);
        count += n;
    }
    r->cut = count < r->slots;
    free(group);
}

/* 1/2 + u (3/2 - 2u^2) between -gamma/2 and gamma/2, in f32. */
static float smooth_f32(const struct route_ref *r, float x)
{
    const float half = 0.5f * r->p->gamma, inverse = 1.0f / r->p->gamma, u = x * inverse;
    const float twice = 2.0f * (u * u), slope = 1.5f - twice, rise = u * slope, y = 0.5f + rise;
    if (isnan(x))
        return x;
    return x <= -half ? 0.0f : x >= half ? 1.0f : y < 0 ? 0.0f : y > 1 ? 1.0f : y;
}

static void select_soft(struct route_ref *r, int64_t t)
{
    int64_t count = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        float sum = 0;
        for (int64_t slot = 0; slot < r->columns; slot++) {
            float part = r->s[slot];
            for (int64_t b = 0; b < r->bits; b++) {
                const float step = smooth_f32(
                    r, get(r, TENON_MOE_ROUTE_ZSEL, (t * r->columns + slot) * r->bits + b));
                part = normal_or_0(part * (e >> (r->bits - 1 - b) & 1 ? step : 1.0f - step));
            }
            sum = sum + part;
        }
        if (!(sum > 0) || r->bad)
            continue;
        if (count < r->slots)
            r->idx[count] = (int32_t)e;
        count++;
    }
    r->cut = count > r->slots;
}

void tenon__route_ref_select(struct route_ref *r, int64_t t)
{
    const int drops = r->bad && r->p->nan_policy == TENON_MOE_ROUTE_DROP;
    for (int64_t j = 0; j < r->slots; j++)
        r->idx[j] = -1;
    if (r->valid && !drops)
        switch (r->p->select) {
        case TENON_MOE_ROUTE_TOPK:
            if (r->p->hier_g)
                select_levels(r);
            else
                select_topk(r);
            break;
        case TENON_MOE_ROUTE_TABLE: select_table(r, t); break;
        case TENON_MOE_ROUTE_RANDOM: select_random(r, t); break;
        case TENON_MOE_ROUTE_DSELECT: select_soft(r, t); break;
        default: select_by_id(r, t);
        }
    r->nsel = 0;
    for (int64_t j = 0; j < r->slots; j++)
        r->nsel += r->idx[j] >= 0;
}

void tenon__route_ref_choose(struct route_ref *r, int64_t e, int32_t *tokens)
{
    float *column = malloc(((size_t)r->tokens + 1) * sizeof(*column));
    for (int64_t i = 0; i < r->p->cap; i++)
        tokens[i] = -1;
    for (int64_t t = 0; column && t < r->tokens; t++)
        column[t] = r->dense[t * r->experts + e];
    const int64_t n = column ? take_best(r, column, r->tokens, r->p->cap, tokens) : 0;
    for (int64_t i = 0; i < n; i++)
        r->taken[tokens[i] * r->experts + e] = 1;
    free(column);
}
