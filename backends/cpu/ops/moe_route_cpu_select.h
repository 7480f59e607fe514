/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route on the CPU: which experts a token gets, by keys. */
#ifndef TENON_MOE_ROUTE_CPU_SELECT_H
#define TENON_MOE_ROUTE_CPU_SELECT_H

#include "moe_route_cpu_score.h"

#define FEW 24 /* are found one after the other */

/* ---- the best of a row of keys ---- */

/* The k best of n keys (a multiple of PAD; consumed) to idx, best first, one look over all for each: how many there
 * are. */
SIMD_FN int64_t best_few(int32_t *key, int64_t n, int64_t k, int32_t *idx)
{
    for (int64_t j = 0; j < k; j++) {
        vi top[PAD / VF];
        int32_t lane[VF], best = KEY_NONE;
        int64_t at = 0;
        for (int b = 0; b < PAD / VF; b++)
            top[b] = vi_load(key + b * VF);
        for (int64_t i = PAD; i < n; i += PAD)
            SIMD_UNROLL for (int b = 0; b < PAD / VF; b++)
                top[b] = vi_max(top[b], vi_load(key + i + b * VF));
        for (int b = 1; b < PAD / VF; b++)
            top[0] = vi_max(top[0], top[b]);
        vi_store(lane, top[0]);
        for (int l = 0; l < VF; l++)
            best = lane[l] > best ? lane[l] : best;
        if (best == KEY_NONE)
            return j;
        uint32_t bits;
        while (!(bits = vm_bits(vi_eq(vi_load(key + at), vi_set1(best)))))
            at += VF;
        const int64_t found = at + __builtin_ctz(bits);
        /* the whole vector, as put_float() does */
        const int lane_at = (int)(found - at);
        const vm own = vm_andnot(vm_first(lane_at + 1), vm_first(lane_at));
        vi_store(key + at, vi_select(own, vi_set1(KEY_NONE), vi_load(key + at)));
        idx[j] = (int32_t)found;
    }
    return k;
}

/* Largest pair first. In place, without recursion or memory of its own. */
static void sort_pairs(uint64_t *pair, int64_t n)
{
    for (int64_t left = n / 2, end = n; end > 1;) {
        uint64_t moving;
        if (left > 0) {
            moving = pair[--left];
        } else {
            moving = pair[--end];
            pair[end] = pair[0];
        }
        int64_t at = left, child;
        while ((child = 2 * at + 1) < end) { /* the least at the root */
            child += child + 1 < end && pair[child + 1] < pair[child];
            if (pair[child] >= moving)
                break;
            pair[at] = pair[child];
            at = child;
        }
        pair[at] = moving;
    }
}

/* The k best of n keys as sorted pairs; room: n keys to work in. How many there are. */
static int64_t best_pairs(const int32_t *key, int64_t n, int64_t k, int32_t *room, uint64_t *pair)
{
    int64_t m = 0;
    memcpy(room, key, (size_t)n * sizeof *key);
    struct select_cut cut = select_keys(room, n, k < n ? k : n);
    for (int64_t i = 0; i < n; i++) {
        const int equal = key[i] == cut.key && cut.equal > 0;
        if (key[i] != KEY_NONE && (key[i] > cut.key || equal))
            pair[m++] = order_pair(key[i], (uint32_t)i);
        cut.equal -= equal;
    }
    sort_pairs(pair, m);
    return m;
}

static int64_t best_of(struct slot *s, int32_t *key, int64_t n, int64_t k, int32_t *idx)
{
    if (k <= FEW && n % PAD == 0)
        return best_few(key, n, k, idx);
    const int64_t m = best_pairs(key, n, k, s->key2, s->pair);
    for (int64_t j = 0; j < m; j++)
        idx[j] = (int32_t)(0xffffffffu - (uint32_t)s->pair[j]);
    return m;
}

/* ---- groups ---- */

/* The sum of the n best keys of a group, best first, or the best. */
static float group_score(const int32_t *key, int64_t each, uint32_t n)
{
    int32_t best[TENON_MOE_ROUTE_MAX_GSCORE];
    uint32_t held = 0;
    for (int64_t i = 0; i < each; i++) {
        const int32_t own = ordered(key[i]);
        if (held == n && own <= best[n - 1])
            continue;
        uint32_t at = held < n ? held++ : n - 1;
        for (; at > 0 && best[at - 1] < own; at--)
            best[at] = best[at - 1];
        best[at] = own;
    }
    float sum = best[0] == ORDER_NAN ? NAN : order_value(best[0]);
    for (uint32_t i = 1; i < n; i++)
        sum = sum + (best[i] == ORDER_NAN ? NAN : order_value(best[i]));
    return sum;
}

static void cut_groups(const struct route *r, struct slot *s)
{
    const uint32_t groups = r->p.n_group, n = r->p.gscore == TENON_MOE_ROUTE_GSCORE_MAX ? 1 : r->p.gscore_n;
    const int64_t each = r->experts / groups;
    int32_t score[TENON_MOE_ROUTE_MAX_GROUPS];
    for (uint32_t g = 0; g < groups; g++)
        score[g] = order_key(group_score(s->key + g * each, each, n));
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t before = 0;
        for (uint32_t h = 0; h < groups; h++)
            before += score[h] > score[g] || (score[h] == score[g] && h < g);
        for (int64_t i = 0; before >= r->p.topk_group && i < each; i++)
            s->key[g * each + i] = KEY_NONE;
    }
}

/* ---- rows of numbers, where floats order themselves: -Inf is what is absent, and -0 equals 0 as it should ---- */

#define FIND (VF >= 8 ? 64 : VF) /* are looked through at once: where one stops early the processor guesses wrong */

/* Where the first of n floats (a multiple of PAD) that is `value` lies; it is there. */
SIMD_FN int64_t find_float(const float *c, int64_t n, float value)
{
    for (int64_t at = 0;; at += FIND) {
        const int64_t count = n - at < FIND ? n - at : FIND;
        uint64_t bits = 0;
        for (int64_t i = 0; i < count; i += VF)
            bits |= (uint64_t)vm_bits(vf_eq(vf_load(c + at + i), vf_set1(value))) << i;
        if (bits)
            return at + __builtin_ctzll(bits);
    }
}

/* c[at] = value. The vector it lies in is stored whole: a float stored alone would have to reach the cache before that
 * vector could be loaded. */
SIMD_FN void put_float(float *c, int64_t at, float value)
{
    float *own = c + at / VF * VF;
    const int lane = (int)(at % VF);
    vf_store(own, vf_select(vm_andnot(vm_first(lane + 1), vm_first(lane)), vf_set1(value), vf_load(own)));
}

/* The largest of n floats, a multiple of PAD. */
SIMD_FN float top_float(const float *c, int64_t n)
{
    vf top[PAD / VF];
    for (int b = 0; b < PAD / VF; b++)
        top[b] = vf_load(c + b * VF);
    for (int64_t i = PAD; i < n; i += PAD)
        SIMD_UNROLL for (int b = 0; b < PAD / VF; b++)
            top[b] = vf_max(top[b], vf_load(c + i + b * VF));
    return block_max(top);
}

/* The k best of n floats (a multiple of PAD; consumed) without NaN to idx. */
SIMD_FN int64_t best_floats(float *c, int64_t n, int64_t k, int32_t *idx)
{
    for (int64_t j = 0; j < k; j++) {
        const float best = top_float(c, n);
        if (best == MINUS_INF)
            return j;
        const int64_t at = find_float(c, n, best);
        put_float(c, at, MINUS_INF);
        idx[j] = (int32_t)at;
    }
    return k;
}

/* The same of a row long enough to keep the best of each of its blocks; at most BLOCKS of them. */
#define BLOCKS 64
SIMD_FN int64_t best_blocks(float *c, int64_t n, int64_t k, int32_t *idx)
{
    float top[BLOCKS];
    const int64_t blocks = n / PAD, filled = (blocks + PAD - 1) / PAD * PAD;
    for (int64_t b = 0; b < filled; b++)
        top[b] = b < blocks ? top_float(c + b * PAD, PAD) : MINUS_INF;
    for (int64_t j = 0; j < k; j++) {
        const float best = top_float(top, filled);
        if (best == MINUS_INF)
            return j;
        const int64_t block = find_float(top, filled, best), at = find_float(c + block * PAD, PAD, best);
        put_float(c + block * PAD, at, MINUS_INF);
        put_float(top, block, top_float(c + block * PAD, PAD));
        idx[j] = (int32_t)(block * PAD + at);
    }
    return k;
}

/* The sum of the two best of a group of `each`, a multiple of VF, or with one the best. */
SIMD_FN float group_floats(const float *c, int64_t each, int one)
{
    vf first = vf_load(c), second = vf_set1(MINUS_INF);
    for (int64_t i = VF; i < each; i += VF) {
        const vf v = vf_load(c + i);
        second = vf_max(second, vf_min(first, v));
        first = vf_max(first, v);
    }
    const float best = vf_reduce_max(first);
    if (one)
        return best;
    const int lane = __builtin_ctz(vm_bits(vf_eq(first, vf_set1(best))));
    const vm own = vm_andnot(vm_first(lane + 1), vm_first(lane));
    return best + vf_reduce_max(vf_select(own, second, first));
}

/* 0: a score is NaN (of infinite biases), which floats do not order. */
static int cut_group_floats(const struct route *r, float *c)
{
    const uint32_t groups = r->p.n_group;
    const int64_t each = r->experts / groups;
    float score[TENON_MOE_ROUTE_MAX_GROUPS + VF];
    int nan = 0;
    for (uint32_t g = 0; g < groups; g++) {
        score[g] = group_floats(c + g * each, each, r->p.gscore == TENON_MOE_ROUTE_GSCORE_MAX);
        nan |= score[g] != score[g];
    }
    if (nan)
        return 0;
    for (uint32_t g = groups; g < groups + VF; g++)
        score[g] = MINUS_INF;
    for (uint32_t g = 0; g < groups; g++) {
        int before = 0;
        for (uint32_t h = 0; h < groups; h += VF) {
            const vf all = vf_load(score + h), own = vf_set1(score[g]);
            const int earlier = g <= h ? 0 : g - h < VF ? (int)(g - h) : VF;
            before += vm_count(vm_or(vf_gt(all, own), vm_and(vf_eq(all, own), vm_first(earlier))));
        }
        /* as many stores for a group that stays: no branch can foretell which do */
        const vf most = vf_set1(before >= (int)r->p.topk_group ? MINUS_INF : INFINITY);
        for (int64_t i = 0; i < each; i += VF)
            vf_store(c + g * each + i, vf_min(vf_load(c + g * each + i), most));
    }
    return 1;
}

/* TOPK of a row without NaN; -1: this is none for it. */
static int64_t topk_floats(const struct run *run, struct slot *s, const struct token *k)
{
    const struct route *r = run->r;
    const int64_t n = r->padded, each = r->p.n_group ? r->experts / r->p.n_group : VF;
    if (k->bad || k->odd || r->p.k > FEW || r->p.noise_use || each % VF || r->p.gscore_n == 1 ||
        r->p.gscore_n > 2)
        return -1;
    float *c = s->noisy;
    if (r->by_score) {
        const float *bias = run->ptr[TENON_MOE_ROUTE_CORR_BIAS];
        vm nan = vm_first(0);
        for (int64_t i = 0; i < n; i += VF) {
            const int64_t left = r->columns - i;
            const vf add = !bias || left <= 0 ? vf_zero() : load_x(bias, i, left < VF ? (int)left : VF, TENON_F32);
            const vf z = vf_load(s->z + i), sum = vf_add(vf_load(s->s + i), add);
            nan = vm_or(nan, vf_unordered(sum, sum));
            vf_store(c + i, vf_select(vf_eq(z, vf_set1(MINUS_INF)), z, sum));
        }
        if (vm_any(nan))
            return -1;
    } else {
        memcpy(c, s->z, (size_t)n * sizeof *c);
    }
    if (r->p.n_group && !cut_group_floats(r, c))
        return -1;
    return n > 4 * PAD && n <= BLOCKS * PAD && r->p.k > 2 ? best_blocks(c, n, r->p.k, s->idx)
                                                          : best_floats(c, n, r->p.k, s->idx);
}

/* ---- selections: idx is all -1 before ---- */

static void select_topk(const struct run *run, struct slot *s, struct token *k)
{
    const struct route *r = run->r;
    int64_t n = 0;
    if (k->picked && !k->bad && !k->odd) {
        memcpy(s->idx, k->picked, r->p.k * sizeof *s->idx);
        k->cut = s->idx[r->p.k - 1] < 0;
        return;
    }
    n = topk_floats(run, s, k);
    k->cut = n < r->p.k;
    if (n >= 0)
        return;
    n = 0;
    if (r->by_score)
        score_keys(run, s);
    else
        keys_of(s->z, r->padded, s->key);
    if (r->p.n_group)
        cut_groups(r, s);
    if (r->p.noise_use) {
        n = best_of(s, s->key, r->padded, 1, s->idx);
        keys_of(s->noisy, r->padded, s->key);
        if (n)
            s->key[s->idx[0]] = KEY_NONE;
    }
    n += best_of(s, s->key, r->padded, r->p.k - n, s->idx + n);
    k->cut = n < r->p.k;
}

/* Those of the row that `s` and the keys let through, by id. */
static void select_by_id(const struct run *run, struct slot *s, struct token *k)
{
    const struct route *r = run->r;
    const float least = r->p.select == TENON_MOE_ROUTE_THRESH ? r->p.thresh : 0.0f;
    int64_t n = 0;
    if (r->by_score)
        score_keys(run, s);
    else
        keys_of(s->z, r->padded, s->key);
    for (int64_t i = 0; i < r->padded; i += VF) {
        vm in = vm_not(vi_eq(vi_load(s->key + i), vi_set1(KEY_NONE)));
        if (r->p.select != TENON_MOE_ROUTE_ALL)
            in = vm_and(in, vi_gt(order_keys(vf_load(s->s + i)), vi_set1(order_key(least))));
        for (uint32_t bits = vm_bits(in); bits; bits &= bits - 1) {
            if (n < r->p.k)
                s->idx[n] = (int32_t)(i + __builtin_ctz(bits));
            n++;
        }
    }
    k->cut = n > r->p.k;
}

static void select_prefix(const struct run *run, struct slot *s, int64_t t, struct token *k)
{
    const struct route *r = run->r;
    int64_t n = ((const int32_t *)run->ptr[TENON_MOE_ROUTE_NUSE])[t];
    k->range = n < 0 || n > r->experts;
    n = n < 0 ? 0 : n > r->experts ? r->experts : n;
    k->cut = n > r->p.k;
    for (int64_t j = 0; j < n && j < r->p.k; j++)
        s->idx[j] = (int32_t)j;
}

static void select_table(const struct run *run, struct slot *s, int64_t t, struct token *k)
{
    const struct route *r = run->r;
    const int64_t key = ((const int32_t *)run->ptr[TENON_MOE_ROUTE_KEY])[t];
    const int32_t *table = run->ptr[TENON_MOE_ROUTE_TABLE_IDX];
    k->range = key < 0 || key >= r->table_rows;
    for (int64_t j = 0; !(key < 0 || key >= r->table_rows) && j < r->p.k; j++) {
        const int32_t e = table[key * r->table_row + j];
        k->range += e < -1 || e >= r->experts;
        s->idx[j] = e < -1 || e >= r->experts ? -1 : e;
    }
}

static void select_random(const struct route *r, struct slot *s, int64_t t)
{
    const int64_t row = r->p.random == TENON_MOE_ROUTE_RANDOM_TOKEN ? t
                        : r->p.random == TENON_MOE_ROUTE_RANDOM_SEQ ? t / r->p.random_len
                                                                    : 0;
    const struct noise g = {r->p.seed, (uint32_t)row, r->p.sample, r->p.stream, NOISE_NONE};
    vi w[4];
    int32_t lane[VF];
    noise_words(&g, 0, w);
    vi_store(lane, w[0]);
    s->idx[0] = (int32_t)((uint64_t)(uint32_t)lane[0] * (uint64_t)r->experts >> 32);
}

/* ---- two levels: w gets the weights as well ---- */

/* The k best of z to idx, their weights to w; prob and key are room. */
static int64_t level(struct slot *s, const float *z, int64_t n, int64_t k, int32_t *idx, float *w)
{
    const int64_t padded = (n + PAD - 1) / PAD * PAD;
    float top = MINUS_INF;
    int odd = 0;
    for (int64_t i = 0; i < n; i++) {
        odd |= z[i] != z[i] || z[i] == INFINITY;
        top = z[i] > top ? z[i] : top;
        s->s[i] = z[i];
    }
    for (int64_t i = n; i < padded; i++)
        s->s[i] = MINUS_INF;
    keys_of(s->s, padded, s->key);
    const int64_t found = best_of(s, s->key, padded, k, idx);
    if (odd || found == 0) {
        for (int64_t j = 0; j < found; j++)
            w[j] = NAN;
        return found;
    }
    const float inverse = inverse_of(exp_sum(s->s, padded, top, s->prob));
    for (int64_t j = 0; j < found; j++)
        w[j] = normal_or_0(s->prob[idx[j]] * inverse);
    return found;
}

/* The chosen groups lie at the end of idx and w: they are used up before they are written over. */
static void select_levels(const struct run *run, struct slot *s, int64_t t, struct token *k)
{
    const struct route *r = run->r;
    const float *x = (const float *)run->ptr[TENON_MOE_ROUTE_GROUP_LOGITS] + t * r->group_row;
    const int64_t groups = r->p.hier_g, k1 = r->p.hier_k1, k2 = r->p.k / k1, each = r->experts / groups;
    int32_t *const group = s->idx + r->p.k;
    float *const share = s->w + r->p.k;
    int64_t n = 0;
    for (int64_t g = 0; g < groups; g++)
        s->clean[g] = x[g] * r->p.inv_temp;
    const int64_t found = level(s, s->clean, groups, k1, group, share);
    for (int64_t i = 0; i < found; i++) {
        int32_t *idx = s->idx + i * k2;
        float *w = s->w + i * k2;
        const int64_t own = level(s, s->z + group[i] * each, each, k2, idx, w);
        for (int64_t j = 0; j < own; j++) {
            idx[j] += (int32_t)(group[i] * each);
            w[j] = normal_or_0(w[j] * share[i]);
        }
        n += own;
    }
    k->cut = n < r->p.k;
}

/* ---- soft slots ---- */

static float smooth_step(float x, float gamma, float inverse)
{
    const float half = 0.5f * gamma, u = x * inverse, twice = 2.0f * (u * u), slope = 1.5f - twice, rise = u * slope;
    const float y = 0.5f + rise;
    return x <= -half ? 0.0f : x >= half ? 1.0f : y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
}

/* Weights of the experts to w, as many as there are slots. prob has the softmax of the slots' logits. */
static void select_soft(const struct run *run, struct slot *s, int64_t t, struct token *k)
{
    const struct route *r = run->r;
    int64_t bits = 0, n = 0;
    while (INT64_C(1) << bits < r->experts)
        bits++;
    const float *x = (const float *)run->ptr[TENON_MOE_ROUTE_ZSEL], inverse = 1.0f / r->p.gamma;
    x = x ? x + t * r->columns * bits : NULL;
    for (int64_t e = 0; !k->bad && e < r->experts; e++) {
        float sum = 0.0f;
        for (int64_t slot = 0; slot < r->columns; slot++) {
            float part = normal_or_0(s->prob[slot] * k->inverse);
            for (int64_t b = 0; b < bits; b++) {
                const float step = smooth_step(x[slot * bits + b], r->p.gamma, inverse);
                part = normal_or_0(part * (e >> (bits - 1 - b) & 1 ? step : 1.0f - step));
            }
            sum = sum + part;
        }
        if (!(sum > 0.0f))
            continue;
        if (n < r->p.k) {
            s->idx[n] = (int32_t)e;
            s->w[n] = sum;
        }
        n++;
    }
    k->cut = n > r->p.k;
}

#endif
