/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select on the CPU: norm and keys of a scope, and the cut that its rule makes. TOPK and CUMUL are one search for
 * the key where a sum reaches what is needed, four bits of it a pass; TOPK counts one a pair. */
#ifndef TENON_KV_SELECT_CPU_RULE_H
#define TENON_KV_SELECT_CPU_RULE_H

#include "kv_select_cpu.h"
#include "normal.h"

#define BINS      16
#define DIFFERENT 0x1p-100f /* differences and quotients below are 0 */

/* ---- sums of 128 bits ---- */

struct wide {
    uint64_t high, low;
};

static inline struct wide wide_add(struct wide a, struct wide b)
{
    const uint64_t low = a.low + b.low;
    return (struct wide){a.high + b.high + (low < a.low), low};
}

static inline struct wide wide_less(struct wide a, struct wide b)
{
    return (struct wide){a.high - b.high - (a.low < b.low), a.low - b.low};
}

static inline int wide_below(struct wide a, struct wide b)
{
    return a.high != b.high ? a.high < b.high : a.low < b.low;
}

/* total * tau / 2^32, rounded up; total below 2^93. */
static struct wide wide_share(struct wide total, float tau)
{
    const uint64_t t = tau >= 1 ? UINT64_C(1) << 32 : (uint64_t)((double)tau * 0x1p32);
    const uint64_t factor = t ? t : 1, half = UINT64_C(0xffffffff);
    /* words of 32 bits from the least; factor is at most 2^32 */
    const uint64_t word[4] = {total.low & half, total.low >> 32, total.high & half, total.high >> 32};
    uint64_t carry = 0, out[5];
    if (factor == UINT64_C(1) << 32)
        return total;
    for (int i = 0; i < 4; i++) {
        carry += word[i] * factor;
        out[i] = carry & half;
        carry >>= 32;
    }
    out[4] = carry;
    return wide_add((struct wide){out[4] << 32 | out[3], out[2] << 32 | out[1]}, (struct wide){0, out[0] != 0});
}

/* A score in units of 2^-62 of the power of two above the largest, whose exponent is `top`. */
static inline uint64_t mass_of(float score, int top)
{
    uint32_t bits = simd_bits(score);
    if (!(score > 0))
        return 0;
    bits = bits >= 0x7f800000u ? 0x7f7fffffu : bits;
    const int exponent = bits >> 23 ? (int)(bits >> 23) : 1, shift = 38 - (top - exponent);
    const uint64_t m = bits >> 23 ? (bits & 0x7fffffu) | 0x800000u : bits;
    return shift >= 0 ? m << shift : shift > -24 ? m >> -shift : 0;
}

/* ---- a scope ---- */

struct scope {
    float *score;
    int32_t *key;
    int64_t n;
};

static struct scope scope_of(const struct run *run, int64_t at)
{
    const int64_t n = run->s->length;
    return (struct scope){run->scores + at * n, run->keys + at * n, n};
}

static float ratio(float a, float b)
{
    a = a < DIFFERENT ? 0.0f : a;
    const float q = a / b;
    return q < DIFFERENT ? 0.0f : q;
}

static void minmax(struct scope *scope)
{
    float low = INFINITY, high = MINUS_INF;
    for (int64_t e = 0; e < scope->n; e++)
        if (fabsf(scope->score[e]) < INFINITY) {
            low = scope->score[e] < low ? scope->score[e] : low;
            high = scope->score[e] > high ? scope->score[e] : high;
        }
    if (low > high)
        return;
    const float half = fabsf(low) >= 0x1p126f || fabsf(high) >= 0x1p126f ? 0.5f : 1.0f;
    const float span = high * half - low * half, divisor = span * (1 / half) <= 1e-6f ? 1.0f : span;
    for (int64_t e = 0; e < scope->n; e++)
        if (fabsf(scope->score[e]) < INFINITY)
            scope->score[e] = ratio(scope->score[e] * half - low * half, divisor);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* Keys of row r from its scores, and what is forced. */
static void make_keys(const struct run *run, int64_t r)
{
    const struct select *s = run->s;
    const int64_t i = r % s->nq, b = r / s->nq / s->lists, wide = (int64_t)s->p.segment * s->p.block_k;
    const struct span *q = &run->span_q[b * s->nq + i], *k = &run->span_k[b * s->nk];
    const float *score = run->scores + r * s->nk;
    int32_t *key = run->keys + r * s->nk;
    int64_t left = s->p.last;
    for (int64_t j = s->nk - 1; j >= 0; j--) {
        const float c = score[j];
        int forced = 0;
        key[j] = c != c ? KEY_NAN : c == MINUS_INF ? KEY_NONE : order_key(c);
        if (!is_visible(run, b, i, j))
            continue;
        forced |= s->p.self && k[j].low <= q->high && k[j].high >= q->low;
        forced |= s->p.first && k[j].low <= 0 && k[j].high >= 0;
        forced |= left-- > 0;
        if (wide)
            forced |= j / s->p.segment >= floor_div(q->low, wide) && j / s->p.segment <= floor_div(q->high, wide);
        key[j] = forced ? KEY_FORCED : key[j];
    }
}

static uint64_t weight_of(const struct run *run, const struct scope *scope, int64_t e, int top)
{
    return run->s->p.rule == TENON_KV_SELECT_TOPK ? 1 : mass_of(scope->score[e], top);
}

/* The pair at which the sum, best first, reaches need, which is above 0 and not above all of it. */
static struct cut search(const struct run *run, const struct scope *scope, int top, struct wide need)
{
    uint32_t prefix = 0;
    for (int shift = 28; shift >= 0; shift -= 4) {
        struct wide sum[BINS] = {{0, 0}};
        const uint32_t mask = shift == 28 ? 0 : 0xffffffffu << (shift + 4);
        int bin = BINS - 1;
        for (int64_t e = 0; e < scope->n; e++) {
            const uint32_t u = (uint32_t)scope->key[e] ^ 0x80000000u;
            if ((u & mask) != prefix || scope->key[e] == KEY_NONE || scope->key[e] == KEY_FORCED)
                continue;
            struct wide *own = &sum[u >> shift & (BINS - 1)];
            *own = wide_add(*own, (struct wide){0, weight_of(run, scope, e, top)});
        }
        for (; bin > 0 && wide_below(sum[bin], need); bin--)
            need = wide_less(need, sum[bin]);
        prefix |= (uint32_t)bin << shift;
    }
    struct cut cut = {(int32_t)(prefix ^ 0x80000000u), -1};
    for (int64_t e = 0; e < scope->n; e++) {
        if (scope->key[e] != cut.key)
            continue;
        const struct wide own = {0, weight_of(run, scope, e, top)};
        cut.at = e;
        if (!wide_below(own, need))
            break;
        need = wide_less(need, own);
    }
    return cut;
}

static struct cut cut_topk(const struct run *run, const struct scope *scope)
{
    int64_t forced = 0, rest = 0, k = run->s->p.k;
    for (int64_t e = 0; e < scope->n; e++) {
        forced += scope->key[e] == KEY_FORCED;
        rest += scope->key[e] != KEY_FORCED && scope->key[e] != KEY_NONE;
    }
    k -= run->s->p.forced_counts ? least(k, forced) : 0;
    if (k == 0)
        return (struct cut){KEY_FORCED, -1};
    if (k >= rest)
        return (struct cut){KEY_NONE, -1};
    return search(run, scope, 0, (struct wide){0, (uint64_t)k});
}

static struct cut cut_cumul(const struct run *run, const struct scope *scope)
{
    const int counts = run->s->p.forced_counts != 0;
    struct wide sum[2] = {{0, 0}, {0, 0}}; /* of the rest, of what is forced */
    int top = 1;
    for (int64_t e = 0; e < scope->n; e++)
        if (scope->score[e] > 0 && (counts || scope->key[e] != KEY_FORCED)) {
            const uint32_t bits = simd_bits(scope->score[e]), most = bits >= 0x7f800000u ? 254 : bits >> 23;
            top = (int)most > top ? (int)most : top;
        }
    for (int64_t e = 0; e < scope->n; e++) {
        const int forced = scope->key[e] == KEY_FORCED;
        if (scope->key[e] != KEY_NONE && (counts || !forced))
            sum[forced] = wide_add(sum[forced], (struct wide){0, mass_of(scope->score[e], top)});
    }
    const struct wide need = wide_share(wide_add(sum[0], sum[1]), run->s->p.tau);
    if (!wide_below(sum[1], need))
        return (struct cut){KEY_FORCED, -1};
    return search(run, scope, top, wide_less(need, sum[1]));
}

static struct cut cut_stat(const struct run *run, const struct scope *scope)
{
    const int counts = run->s->p.forced_counts != 0;
    double sum = 0, square = 0, n = 0;
    for (int64_t e = 0; e < scope->n; e++)
        if (scope->score[e] != MINUS_INF && (counts || scope->key[e] != KEY_FORCED)) {
            sum += (double)scope->score[e];
            n++;
        }
    if (!(fabs(sum) < (double)INFINITY))
        return (struct cut){KEY_FORCED, -1};
    if (n <= (double)run->s->p.k)
        return (struct cut){KEY_NONE, -1};
    const double mean = sum / n;
    for (int64_t e = 0; e < scope->n; e++)
        if (scope->score[e] != MINUS_INF && (counts || scope->key[e] != KEY_FORCED))
            square += ((double)scope->score[e] - mean) * ((double)scope->score[e] - mean);
    const double theta = mean - sqrt(square / n) * tenon__normal_quantile((double)run->s->p.k / n);
    float t = (float)theta;
    t = (double)t > theta ? nextafterf(t, MINUS_INF) : t;
    return (struct cut){order_key(t), -1};
}

static struct cut cut_of(const struct run *run, const struct scope *scope)
{
    switch (run->s->p.rule) {
    case TENON_KV_SELECT_TOPK: return cut_topk(run, scope);
    case TENON_KV_SELECT_THRESH: return (struct cut){order_key(run->s->p.tau), -1};
    case TENON_KV_SELECT_CUMUL: return cut_cumul(run, scope);
    default: return cut_stat(run, scope);
    }
}

/* Whether pair e of a scope is listed. */
static inline int is_listed(const struct scope *scope, const struct cut *cut, int64_t e)
{
    const int32_t key = scope->key[e];
    return key == KEY_FORCED || (key != KEY_NONE && (key > cut->key || (key == cut->key && e <= cut->at)));
}

#endif
