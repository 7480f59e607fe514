/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select on the CPU: spans and pools of the blocks, and the scores of a row. */
#ifndef TENON_KV_SELECT_CPU_SCORE_H
#define TENON_KV_SELECT_CPU_SCORE_H

#include "kv_select_cpu.h"

/* ---- blocks ---- */

/* Queries or keys, as blocks. */
struct side {
    const void *data;
    const int64_t *stride;
    int64_t tokens, heads, blocks;
    uint32_t block, pool;
    float *pooled;
    struct span *span;
    int64_t (*position)(const struct run *run, int64_t b, int64_t t);
};

static struct side side_of(const struct run *run, int64_t b, int queries)
{
    const struct select *s = run->s;
    if (queries)
        return (struct side){run->ptr[TENON_KV_SELECT_Q], s->q_stride, s->queries, s->heads, s->nq, s->p.block_q,
                             s->p.pool_q, run->pooled_q, run->span_q, query_position};
    return (struct side){run->ptr[TENON_KV_SELECT_K], s->k_stride, length_of(run, b), s->kv_heads, s->nk, s->p.block_k,
                         s->p.pool_k, run->pooled_k, run->span_k, key_position};
}

SIMD_FN void pool_body(const uint32_t dtype, const struct side *side, const void *x, int64_t n, int64_t stride,
                       int64_t width, float *y)
{
    const vf inverse = vf_set1((float)n);
    for (int64_t d = 0; d < width; d += VF) {
        vf acc = pack_load_n(dtype, x, d, width - d);
        for (int64_t t = 1; t < n; t++) {
            const vf v = pack_load_n(dtype, x, t * stride + d, width - d);
            if (side->pool == TENON_KV_SELECT_MAX)
                acc = vf_select(vf_unordered(v, acc), vf_add(v, acc), vf_max(v, acc));
            else if (side->pool == TENON_KV_SELECT_MIN)
                acc = vf_select(vf_unordered(v, acc), vf_add(v, acc), vf_min(v, acc));
            else
                acc = vf_add(acc, v);
        }
        if (side->pool == TENON_KV_SELECT_MEAN)
            acc = vf_div(acc, inverse);
        vf_store_n(y + d, acc, width - d < VF ? (int)(width - d) : VF);
    }
}

static void pool_block(const struct run *run, const struct side *side, int64_t b, int64_t block)
{
    const struct select *s = run->s;
    const int64_t from = block * side->block, n = least(side->tokens - from, side->block);
    const char *x = side->data;
    const int64_t size = TENON_DTYPE_SIZE(s->dtype);
    for (int64_t h = 0; n > 0 && h < side->heads; h++) {
        const void *first = x + size * (b * side->stride[0] + from * side->stride[1] + h * side->stride[2]);
        float *y = side->pooled + ((b * side->heads + h) * side->blocks + block) * s->width;
        if (s->dtype == TENON_F32)
            pool_body(TENON_F32, side, first, n, side->stride[1], s->width, y);
        else if (s->dtype == TENON_F16)
            pool_body(TENON_F16, side, first, n, side->stride[1], s->width, y);
        else
            pool_body(TENON_BF16, side, first, n, side->stride[1], s->width, y);
    }
}

/* Of block `unit` of all, first those of the queries. */
static void make_block(const struct run *run, int64_t unit)
{
    const struct select *s = run->s;
    const int64_t all = s->nq + s->nk, b = unit / all, at = unit % all;
    const struct side side = side_of(run, b, at < s->nq);
    const int64_t block = at < s->nq ? at : at - s->nq, from = block * side.block;
    const int64_t to = least(from + side.block, side.tokens);
    struct span span = {INT32_MAX, INT32_MIN};
    for (int64_t t = from; t < to; t++) {
        const int32_t position = (int32_t)side.position(run, b, t);
        span.low = position < span.low ? position : span.low;
        span.high = position > span.high ? position : span.high;
    }
    side.span[b * side.blocks + block] = span;
    if (s->p.score <= TENON_KV_SELECT_SOFTMAX_POOLED)
        pool_block(run, &side, b, block);
}

/* ---- products ---- */

static float larger(float a, float b)
{
    return a != a || b != b ? a + b : a > b ? a : b;
}

/* ---- the row of a head ---- */

static void score_pooled(const struct run *run, int64_t b, int64_t h, int64_t i, float *row)
{
    const struct select *s = run->s;
    const int64_t hk = h / (s->heads / s->kv_heads);
    const float *x = run->pooled_q + ((b * s->heads + h) * s->nq + i) * s->width;
    const float *y = run->pooled_k + (b * s->kv_heads + hk) * s->nk * s->width;
    for (int64_t j = 0; j < s->nk; j++)
        row[j] = is_visible(run, b, i, j) ? s->scale * dot_one(TENON_F32, x, y + j * s->width, s->width) : MINUS_INF;
}

static double exp_total(const float *x, int64_t n)
{
    double acc[VF] = {0}, sum = 0;
    for (int64_t u = 0; u < n; u += VF)
        vf_accumulate(acc, vf_exp(vf_load(x + u)));
    for (int l = 0; l < VF; l++)
        sum += acc[l];
    return sum;
}

/* Query t against block j: what it adds to the sum, or the largest of its products. */
static double score_query(const struct run *run, int64_t b, int64_t h, int64_t t, int64_t j, struct slot *slot)
{
    const struct select *s = run->s;
    const int mass = s->p.score == TENON_KV_SELECT_PROB_MASS;
    const int64_t hk = h / (s->heads / s->kv_heads), from = j * s->p.block_k, size = TENON_DTYPE_SIZE(s->dtype);
    const int64_t to = least(from + s->p.block_k, length_of(run, b)), own = query_position(run, b, t);
    const char *k = run->ptr[TENON_KV_SELECT_K];
    const float lnz = mass ? ((const float *)run->ptr[TENON_KV_SELECT_LNZ])[(b * s->queries + t) * s->heads + h] : 0;
    float best = MINUS_INF;
    int64_t n = 0;
    for (int64_t u = from; u < to; u += s->p.stride) {
        if (s->p.causal && key_position(run, b, u) > own)
            continue;
        const void *y = k + size * (b * s->k_stride[0] + u * s->k_stride[1] + hk * s->k_stride[2]);
        const float x = s->scale * dot_one(s->dtype, slot->query, y, s->width);
        if (mass)
            slot->products[n++] = x - lnz > 87.0f ? 87.0f : x - lnz;
        else
            best = larger(best, x);
    }
    if (!mass)
        return (double)best;
    for (int64_t u = n; u < n + PAD; u++)
        slot->products[u] = MINUS_INF;
    return exp_total(slot->products, n);
}

static void load_query(const struct run *run, int64_t b, int64_t h, int64_t t, float *query)
{
    const struct select *s = run->s;
    const int64_t at = b * s->q_stride[0] + t * s->q_stride[1] + h * s->q_stride[2];
    for (int64_t d = 0; d < s->width; d++)
        query[d] = pack_one(s->dtype, run->ptr[TENON_KV_SELECT_Q], at + d);
}

static void score_tokens(const struct run *run, int64_t b, int64_t h, int64_t i, struct slot *slot, float *row)
{
    const struct select *s = run->s;
    const int mass = s->p.score == TENON_KV_SELECT_PROB_MASS;
    const int64_t from = i * s->p.block_q, to = least(from + s->p.block_q, s->queries);
    const float *lnz = run->ptr[TENON_KV_SELECT_LNZ];
    for (int64_t j = 0; j < s->nk; j++)
        slot->mass[j] = mass ? 0 : (double)MINUS_INF;
    for (int64_t t = from; t < to; t += s->p.stride) {
        if (mass && lnz[(b * s->queries + t) * s->heads + h] == MINUS_INF)
            continue;
        load_query(run, b, h, t, slot->query);
        for (int64_t j = 0; j < s->nk; j++) {
            if (!is_visible(run, b, i, j))
                continue;
            const double x = score_query(run, b, h, t, j, slot);
            slot->mass[j] = mass ? slot->mass[j] + x : (double)larger((float)slot->mass[j], (float)x);
        }
    }
    for (int64_t j = 0; j < s->nk; j++)
        row[j] = is_visible(run, b, i, j) ? (float)slot->mass[j] : MINUS_INF;
}

/* Over what is not -Inf; row is filled up with -Inf. */
static void softmax_row(const struct select *s, float *row, float *prob)
{
    int nan;
    for (int64_t j = s->nk; j < s->padded; j++)
        row[j] = MINUS_INF;
    const float top = row_top(row, s->padded, &nan);
    if (!nan && top == MINUS_INF)
        return;
    const int odd = nan || top == INFINITY;
    const float inverse = odd ? NAN : inverse_of(exp_sum(row, s->padded, top, prob));
    for (int64_t j = 0; j < s->nk; j++)
        if (row[j] != MINUS_INF)
            row[j] = odd ? NAN : normal_or_0(prob[j] * inverse);
}

static void score_head(const struct run *run, int64_t b, int64_t h, int64_t i, struct slot *slot, float *row)
{
    const struct select *s = run->s;
    const float *given = run->ptr[TENON_KV_SELECT_SCORES];
    switch (s->p.score) {
    case TENON_KV_SELECT_EXTERNAL:
        given += ((b * s->heads + h) * s->nq + i) * s->nk;
        for (int64_t j = 0; j < s->nk; j++)
            row[j] = is_visible(run, b, i, j) ? given[j] : MINUS_INF;
        break;
    case TENON_KV_SELECT_PROB_MASS:
    case TENON_KV_SELECT_MAX_TOKEN: score_tokens(run, b, h, i, slot, row); break;
    default:
        score_pooled(run, b, h, i, row);
        if (s->p.score == TENON_KV_SELECT_SOFTMAX_POOLED)
            softmax_row(s, row, slot->prob);
    }
}

/* Scores of row r of all, up to a norm by row; to run->scores. */
static void score_row(const struct run *run, int64_t r, struct slot *slot)
{
    const struct select *s = run->s;
    const int64_t i = r % s->nq, list = r / s->nq, b = list / s->lists, group = s->heads / s->lists;
    const int64_t first = list % s->lists * group;
    int32_t nan = 0;
    score_head(run, b, first, i, slot, slot->row);
    for (int64_t h = first + 1; h < first + group; h++) {
        score_head(run, b, h, i, slot, slot->head);
        for (int64_t j = 0; j < s->nk; j++)
            slot->row[j] = normal_or_0(slot->row[j] + slot->head[j]);
    }
    if (s->p.norm == TENON_KV_SELECT_NORM_SOFTMAX)
        softmax_row(s, slot->row, slot->prob);
    for (int64_t j = 0; j < s->nk; j++)
        nan |= slot->row[j] != slot->row[j];
    memcpy(run->scores + r * s->nk, slot->row, (size_t)s->nk * sizeof(float));
    run->counts[r].nan = nan;
}

#endif
