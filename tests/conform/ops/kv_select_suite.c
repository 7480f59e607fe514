/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select: the shapes and the contents of its cases, the row made by hand, and its benchmark rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "kv_select_suite.h"

#define QUICK_CASES 200
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_kv_select_params *params_of(struct conform_case *c)
{
    return (struct tenon_kv_select_params *)(void *)c->params;
}

/* ---- one row of eight blocks by hand: block 7 is forced (last), block 4 is absent ---- */

static const float golden_scores[8] = {0.125f, 0.5f, -1, 0.5f, -INFINITY, 0.25f, 0, 0.0625f};
static const struct golden {
    const char *name;
    uint32_t rule, k, last, counts;
    float tau;
    int32_t n, col[8];
} goldens[] = {
    {"topk 3", TENON_KV_SELECT_TOPK, 3, 0, 0, 0, 3, {1, 3, 5}},
    {"topk 1 of a tie", TENON_KV_SELECT_TOPK, 1, 0, 0, 0, 1, {1}},
    {"topk 3 and the last", TENON_KV_SELECT_TOPK, 3, 1, 0, 0, 4, {1, 3, 5, 7}},
    {"topk 3 with the last", TENON_KV_SELECT_TOPK, 3, 1, 1, 0, 3, {1, 3, 7}},
    {"topk of more than all", TENON_KV_SELECT_TOPK, 9, 0, 0, 0, 7, {0, 1, 2, 3, 5, 6, 7}},
    {"thresh 0.125", TENON_KV_SELECT_THRESH, 1, 0, 0, 0.125f, 3, {1, 3, 5}},
    {"cumul all", TENON_KV_SELECT_CUMUL, 1, 0, 0, 1, 5, {0, 1, 3, 5, 7}},
    {"cumul 1/2", TENON_KV_SELECT_CUMUL, 1, 0, 0, 0.5f, 2, {1, 3}},
    {"cumul 0.3 of a tie", TENON_KV_SELECT_CUMUL, 1, 0, 0, 0.3125f, 1, {1}},
    {"cumul 0.9 and the last", TENON_KV_SELECT_CUMUL, 1, 1, 0, 0.875f, 4, {1, 3, 5, 7}},
    {"stat 2", TENON_KV_SELECT_STAT, 2, 0, 0, 0, 2, {1, 3}},
};
#define GOLDEN COUNT(goldens)

/* ---- contents ---- */

static double value_of(const struct conform_case *c, uint64_t key, int64_t i)
{
    static const float ties[6] = {0.5f, 0.0f, -0.0f, 0.25f, -1, 0.5f};
    static const uint32_t special[10] = {0x7fc00001, 0x7f800000, 0xff800000, 0x00000001, 0x7f7fffff,
                                         0x80000000, 0x00800000, 0xff7fffff, 0x00400000, 0x33800000};
    const uint64_t random = conform_random(key, (uint64_t)i);
    const float normal = conform_normal(key, (uint64_t)i);
    switch (c->own[0]) {
    case SELECT_GOLDEN: return (double)golden_scores[i % 8];
    case SELECT_WHOLE: return (double)(random >> 40) / 0x1p21 - 4 - fmod((double)(random >> 40) / 0x1p21, 1);
    case SELECT_TIES: return (double)ties[(random >> 20) % 6];
    case SELECT_SHARES:
        return ldexp(1 + (double)(random >> 41) * 0x1p-23, -(int)(random % (random >> 20 & 1 ? 70 : 6)));
    case SELECT_BELOW: return -fabs((double)normal) * (double)(random >> 60 > 2);
    case SELECT_SPECIAL: return (double)(random >> 61 ? normal : conform_bits_float(special[(random >> 20) % 10]));
    case SELECT_SAME: return 0.375;
    default: return (double)normal;
    }
}

static int64_t length_of(const struct conform_case *c, int64_t b, int64_t keys)
{
    const uint64_t random = conform_random(conform_key(c, 40), (uint64_t)b);
    if (c->own[2] == 2 && random >> 62)
        return random >> 61 & 1 ? keys + 1 + (int64_t)(random & 7) : -1 - (int64_t)(random & 7);
    return (int64_t)(random % (uint64_t)(keys + 1));
}

static double position_of(const struct conform_case *c, uint32_t tensor, int64_t i, int64_t n)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(c);
    const int64_t wide = 4 * (int64_t)p->block_k, t = i % n, from = t / wide * wide;
    const int64_t end = from + wide < n ? from + wide : n;
    if (c->own[4] == 1 && tensor == TENON_KV_SELECT_KPOS)
        return (double)(from + (end - 1 - t));
    if (c->own[4] == 1)
        return (double)t;
    return (double)(conform_random(conform_key(c, 41), (uint64_t)i) % (uint64_t)(2 * n)) - 3;
}

static void select_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const struct select_sizes z = tenon__select_suite_sizes(c);
    const uint64_t key = conform_key(c, tensor);
    const int lengths = c->slot[TENON_KV_SELECT_KV_LEN].tensor.dtype != 0;
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        const int64_t last = slot->tensor.rank ? slot->tensor.dim[slot->tensor.rank - 1] : 1;
        double value = value_of(c, key, i);
        if (tensor <= TENON_KV_SELECT_K && c->own[0] == SELECT_SPECIAL) /* infinities would be no candidates */
            value = conform_random(key, (uint64_t)i) % 61 ? (double)conform_normal(key, (uint64_t)i) : (double)NAN;
        if (tensor == TENON_KV_SELECT_KV_LEN)
            value = (double)length_of(c, i, z.keys);
        else if (tensor == TENON_KV_SELECT_KPOS || tensor == TENON_KV_SELECT_QPOS)
            value = position_of(c, tensor, i, last);
        else if (tensor == TENON_KV_SELECT_LNZ)
            value = conform_random(key, (uint64_t)i) % 13 ? 1 + (double)conform_uniform(key, (uint64_t)i)
                                                          : -(double)INFINITY;
        else if (tensor == TENON_KV_SELECT_K && lengths) { /* what is not there is never used */
            const int64_t b = i / (z.keys * z.kv_heads * z.width), u = i / (z.kv_heads * z.width) % z.keys;
            const int64_t n = length_of(c, b, z.keys);
            value = u >= n && n <= z.keys ? (double)NAN : value;
        }
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[SELECT_FILLS] = {"golden", "normal", "whole", "ties", "shares",
                                                    "below", "special", "same"};
    static const char *const scores[] = {"pooled", "softmax_pooled", "prob_mass", "max_token", "external"};
    static const char *const rules[] = {"topk", "thresh", "cumul", "stat"}, *const scopes[] = {"", " head", " all"};
    static const char *const norms[] = {"", " softmax", " minmax"};
    const struct tenon_kv_select_params *p = params_of(c);
    const struct select_sizes z = tenon__select_suite_sizes(c);
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%lldx%lld/%lld %lldx%lld of %ux%u %s %s", (long long)z.batch,
                   (long long)z.heads, (long long)z.lists, (long long)z.queries, (long long)z.keys, p->block_q,
                   p->block_k, scores[p->score], c->own[0] ? fills[c->own[0]] : goldens[c->own[1]].name);
    at += snprintf(at, (size_t)(end - at), "%s %s%s", norms[p->norm], rules[p->rule], scopes[p->scope]);
    if (p->self || p->first || p->last || p->segment)
        at += snprintf(at, (size_t)(end - at), " forced%s", p->forced_counts ? "+" : "");
    snprintf(at, (size_t)(end - at), "%s", p->causal ? " causal" : "");
}

struct shape {
    int64_t batch, heads, group, queries, keys, width;
    uint32_t dtype;
    int shares; /* nnz in quarters of what no data exceed */
};

/* outputs: 1 scores_out, 2 flags; hash: gaps and margins. */
static void set_tensors(struct conform_case *c, const struct shape *s, uint32_t outputs, uint64_t hash)
{
    struct tenon_kv_select_params *p = params_of(c);
    const int external = p->score == TENON_KV_SELECT_EXTERNAL;
    const int64_t nq = (s->queries + p->block_q - 1) / p->block_q, nk = (s->keys + p->block_k - 1) / p->block_k;
    const int64_t lists = p->share == TENON_KV_SELECT_PER_HEAD ? s->heads
                          : p->share == TENON_KV_SELECT_ALL_HEADS ? 1 : s->heads / s->group;
    const int64_t least = tenon_kv_select_nnz(p, s->batch * lists, nq, nk, c->own[4] != 0);
    const int64_t nnz = least * s->shares / 4 + (s->shares > 4 ? 3 : 0);
    if (external) {
        p->q_len = (uint32_t)s->queries;
        p->k_len = (uint32_t)s->keys;
        conform_slot_set(c, TENON_KV_SELECT_SCORES, TENON_F32, 4, (int64_t[]){s->batch, s->heads, nq, nk});
    } else {
        conform_slot_set(c, TENON_KV_SELECT_Q, s->dtype, 4, (int64_t[]){s->batch, s->queries, s->heads, s->width});
        conform_slot_set(c, TENON_KV_SELECT_K, s->dtype, 4,
                         (int64_t[]){s->batch, s->keys, s->heads / s->group, s->width});
        conform_slot_pitch(&c->slot[TENON_KV_SELECT_Q], s->width + (int64_t)(hash >> 3 & 1) * 3);
        conform_slot_pitch(&c->slot[TENON_KV_SELECT_K], s->width + (int64_t)(hash >> 4 & 1) * 2);
    }
    if (p->score == TENON_KV_SELECT_PROB_MASS)
        conform_slot_set(c, TENON_KV_SELECT_LNZ, TENON_F32, 3, (int64_t[]){s->batch, s->queries, s->heads});
    if (c->own[2])
        conform_slot_set(c, TENON_KV_SELECT_KV_LEN, TENON_I32, 1, &s->batch);
    if (c->own[4]) {
        conform_slot_set(c, TENON_KV_SELECT_KPOS, TENON_I32, 2, (int64_t[]){hash & 1 ? 1 : s->batch, s->keys});
        conform_slot_set(c, TENON_KV_SELECT_QPOS, TENON_I32, 2, (int64_t[]){hash & 2 ? 1 : s->batch, s->queries});
    }
    conform_slot_set(c, TENON_KV_SELECT_ROW_PTR, TENON_I32, 3, (int64_t[]){s->batch, lists, nq + 1});
    conform_slot_set(c, TENON_KV_SELECT_COL, TENON_I32, 1, &nnz);
    if (outputs & 1)
        conform_slot_set(c, TENON_KV_SELECT_SCORES_OUT, TENON_F32, 4, (int64_t[]){s->batch, lists, nq, nk});
    if (outputs & 2)
        conform_slot_set(c, TENON_KV_SELECT_FLAGS, TENON_U32, 1, (int64_t[]){4});
    for (uint32_t i = 0; i < TENON_KV_SELECT_N_TENSORS; i++)
        if (c->slot[i].tensor.dtype)
            conform_slot_room(&c->slot[i], (hash >> (8 + 2 * i) & 3) * 4, 8);
}

static void make_golden(struct conform_case *c, uint64_t which)
{
    const struct golden *g = &goldens[which];
    struct tenon_kv_select_params *p = params_of(c);
    c->own[1] = which;
    p->score = TENON_KV_SELECT_EXTERNAL;
    p->rule = g->rule;
    p->k = g->k;
    p->last = g->last;
    p->forced_counts = g->counts;
    p->tau = g->tau;
    p->block_q = p->block_k = 1;
    set_tensors(c, &(struct shape){1, 1, 1, 1, 8, 0, TENON_F32, 8}, 3, 0);
}

struct select_special {
    uint64_t fill;
    int64_t queries, keys;
    uint32_t block_q, block_k, rule, scope, k;
    float tau;
};
static const struct select_special specials[] = {
    {SELECT_NORMAL, 0, 64, 16, 16, TENON_KV_SELECT_TOPK, TENON_KV_SELECT_ROW, 2, 0},
    {SELECT_NORMAL, 64, 0, 16, 16, TENON_KV_SELECT_TOPK, TENON_KV_SELECT_HEAD, 2, 0},
    {SELECT_NORMAL, 1, 1, 65536, 65536, TENON_KV_SELECT_CUMUL, TENON_KV_SELECT_ALL, 1, 0.75f},
    {SELECT_TIES, 3, 3000, 1, 1, TENON_KV_SELECT_TOPK, TENON_KV_SELECT_ROW, 700, 0},
    {SELECT_SHARES, 3, 3000, 1, 1, TENON_KV_SELECT_CUMUL, TENON_KV_SELECT_ROW, 1, 0.75f},
    {SELECT_SHARES, 3, 3000, 1, 1, TENON_KV_SELECT_CUMUL, TENON_KV_SELECT_ROW, 1, 1},
    {SELECT_NORMAL, 40, 300, 1, 1, TENON_KV_SELECT_TOPK, TENON_KV_SELECT_HEAD, 5000, 0},
    {SELECT_SHARES, 40, 300, 1, 1, TENON_KV_SELECT_CUMUL, TENON_KV_SELECT_ALL, 1, 0.75f},
    {SELECT_SAME, 40, 300, 1, 1, TENON_KV_SELECT_CUMUL, TENON_KV_SELECT_HEAD, 1, 0.75f},
    {SELECT_TIES, 40, 300, 1, 1, TENON_KV_SELECT_TOPK, TENON_KV_SELECT_ALL, 9000, 0},
    {SELECT_NORMAL, 4, 2000, 1, 1, TENON_KV_SELECT_STAT, TENON_KV_SELECT_ROW, 200, 0},
    {SELECT_NORMAL, 300, 7, 1, 1, TENON_KV_SELECT_THRESH, TENON_KV_SELECT_ROW, 1, 0},
};

static void make_special(struct conform_case *c, const struct select_special *s, uint64_t hash)
{
    struct tenon_kv_select_params *p = params_of(c);
    c->own[0] = s->fill;
    p->score = TENON_KV_SELECT_EXTERNAL;
    p->rule = s->rule;
    p->scope = s->scope;
    p->k = s->k;
    p->tau = s->tau;
    p->block_q = s->block_q;
    p->block_k = s->block_k;
    set_tensors(c, &(struct shape){1, 2, 1, s->queries, s->keys, 0, TENON_F32, 4}, 3, hash);
}

static void choose_forced(struct tenon_kv_select_params *p, uint64_t hash)
{
    if (hash % 3 == 0)
        return;
    p->self = hash >> 3 & 1;
    p->first = hash >> 4 & 1;
    p->last = hash >> 5 & 1 ? 1 + (uint32_t)(hash >> 6 & 1) : 0;
    p->segment = hash >> 7 & 1 ? 1 + (uint32_t)(hash >> 8 & 3) : 0;
    p->forced_counts = hash >> 10 & 1;
}

static void choose_rule(struct tenon_kv_select_params *p, uint64_t n, uint64_t hash)
{
    static const uint32_t many[6] = {1, 2, 3, 5, 40, 1000};
    static const float shares[8] = {0.25f, 0.5f, 0.9f, 1, 1, 0.1f, 1e-12f, 0.75f}, levels[4] = {0, 0.25f, -0.5f, 0.01f};
    p->rule = n % 4;
    p->scope = n / 4 % 3;
    p->norm = hash % 3 ? 0 : 1 + (uint32_t)(hash >> 8 & 1);
    if (p->rule == TENON_KV_SELECT_CUMUL)
        p->tau = shares[hash >> 12 & 7];
    else if (p->rule == TENON_KV_SELECT_THRESH)
        p->tau = levels[hash >> 12 & 3];
    else
        p->k = many[(hash >> 12) % 6];
}

/* Small dyadic numbers over blocks of powers of two that are whole. */
static int is_whole(const struct conform_case *c, const struct shape *s)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(c);
    return c->own[0] == SELECT_WHOLE && !c->own[2] && (p->block_q & (p->block_q - 1)) == 0 &&
           (p->block_k & (p->block_k - 1)) == 0 && s->queries % p->block_q == 0 && s->keys % p->block_k == 0 &&
           (p->score == TENON_KV_SELECT_POOLED || p->score == TENON_KV_SELECT_MAX_TOKEN);
}

static void make_any(struct conform_case *c, uint64_t n, uint64_t hash)
{
    static const int64_t all_queries[8] = {1, 8, 32, 33, 64, 5, 96, 16};
    static const int64_t all_keys[8] = {64, 33, 128, 96, 1, 200, 32, 64};
    static const int64_t widths[6] = {8, 1, 16, 33, 64, 7};
    static const uint32_t blocks[8] = {8, 16, 1, 7, 32, 64, 8, 4};
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    struct tenon_kv_select_params *p = params_of(c);
    const uint64_t more = conform_random(hash, 2);
    struct shape s = {1 + (int64_t)(hash >> 8 & 1), 1 + (int64_t)(hash >> 9 & 1), 1, all_queries[hash >> 10 & 7],
                      all_keys[hash >> 13 & 7], widths[(hash >> 16) % 6], types[hash >> 19 & 3], 4};
    const int external = (hash >> 21) % 8 < 4;
    if (hash >> 24 & 1) {
        s.heads *= 2;
        s.group = 2;
    }
    p->score = external ? TENON_KV_SELECT_EXTERNAL : (uint32_t)(hash >> 26) % 4;
    p->share = (uint32_t)(hash >> 28) % 3;
    p->block_q = blocks[hash >> 31 & 7];
    p->block_k = blocks[hash >> 34 & 7];
    c->own[0] = external           ? 1 + n % (SELECT_FILLS - 1)
                : hash >> 37 & 1   ? SELECT_NORMAL
                : (hash >> 38) & 3 ? SELECT_WHOLE
                                   : SELECT_SPECIAL;
    if (p->score <= TENON_KV_SELECT_SOFTMAX_POOLED) {
        p->pool_q = (uint32_t)(more % 3);
        p->pool_k = (uint32_t)(more >> 4) % 3;
        if (p->block_q == 1 && more >> 8 & 1)
            p->pool_q = TENON_KV_SELECT_POOL_NONE;
    } else if (!external && s.queries * s.keys > 4096) { /* pairs of tokens */
        s.keys = 32;
        s.batch = 1;
    }
    if (p->score == TENON_KV_SELECT_MAX_TOKEN)
        p->stride = 1 + (uint32_t)(more >> 9 & 3);
    p->scale = external || more >> 11 & 1 ? 0 : 0.25f;
    if (c->own[0] == SELECT_WHOLE && !external)
        p->scale = 0.25f;
    p->causal = more >> 12 & 1;
    choose_rule(p, n, more >> 16);
    choose_forced(p, more >> 40);
    c->own[2] = (hash >> 40) % 8 < 5 ? 0 : 1 + (hash >> 44 & 1);
    c->own[4] = (hash >> 46) % 8 < 5 ? 0 : 1 + (hash >> 49 & 1);
    c->own[3] = (uint64_t)is_whole(c, &s);
    s.shares = (hash >> 50) % 8 == 0 ? (int)(hash >> 53 & 3) : (int)(4 + (hash >> 53 & 1));
    const int plain = (external && p->norm != TENON_KV_SELECT_NORM_SOFTMAX) || (c->own[3] && !p->norm);
    set_tensors(c, &s, (plain ? (uint32_t)(hash >> 55 & 1) : 1) | (hash >> 56 & 3 ? 2 : 0), conform_random(hash, 3));
}

static void select_make(struct conform_case *c)
{
    const uint64_t n = c->number, hash = conform_key(c, 100);
    if (n < GOLDEN)
        make_golden(c, n);
    else if (n < GOLDEN + COUNT(specials))
        make_special(c, &specials[n - GOLDEN], hash);
    else
        make_any(c, n, hash);
    c->mode = c->own[0] == SELECT_GOLDEN || c->own[0] == SELECT_WHOLE ? CONFORM_EXACT
              : c->own[0] == SELECT_NORMAL || c->own[0] == SELECT_SHARES ? CONFORM_RANDOM
                                                                         : CONFORM_ADVERSARIAL;
    name_case(c);
}

/* The list of the golden row, and what the rule makes of scores_out. */
static int select_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct golden *g = &goldens[c->own[1] % GOLDEN];
    const int64_t nnz = c->slot[TENON_KV_SELECT_COL].tensor.dim[0];
    for (int64_t e = 0; c->own[0] == SELECT_GOLDEN && e < 8 && e < nnz; e++) {
        const double got = conform_get(conform_first(&c->slot[TENON_KV_SELECT_COL]), TENON_I32, e);
        const double must = e < g->n ? g->col[e] : -1;
        if (got != must)
            return tenon_why_set(why, 1, "col[%lld] is %g, by hand it is %g", (long long)e, got, must);
    }
    return tenon__conform_kv_select_check(c, want, why);
}

/* ---- benchmarks ---- */

#define ROW(text, level, queries, keys, width, moved, work)                                                            \
    {                                                                                                                  \
        text, TENON_F32, level, {queries, keys, width}, moved, work                                                    \
    }
static const struct conform_bench benches[] = {
    ROW("moba 2048x2048", CONFORM_QUICK, 2048, 2048, 64, 4.0 * 8 * 4096 * 64, 2.0 * 8 * 2048 * 32 * 64),
    ROW("seer external 4096x4096", CONFORM_QUICK, 4096, 4096, 0, 4.0 * 8 * 64 * 64, 0),
    ROW("mass 256x1024", CONFORM_QUICK, 256, 1024, 64, 4.0 * 8 * 1280 * 64, 2.0 * 8 * 256 * 1024 * 64),
    ROW("moba 8192x8192", CONFORM_FULL, 8192, 8192, 64, 4.0 * 8 * 16384 * 64, 2.0 * 8 * 8192 * 128 * 64),
    ROW("blocks 8192x8192", CONFORM_FULL, 8192, 8192, 64, 4.0 * 8 * 16384 * 64, 2.0 * 8 * 128 * 128 * 64),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_kv_select_params *p = params_of(c);
    c->own[0] = SELECT_NORMAL;
    p->score = bench->name[0] == 's'   ? TENON_KV_SELECT_EXTERNAL
               : bench->name[1] == 'a' ? TENON_KV_SELECT_PROB_MASS
                                       : TENON_KV_SELECT_POOLED;
    p->causal = p->self = 1;
    p->forced_counts = 1;
    p->k = bench->name[0] == 'b' ? 13 : 4; /* a tenth */
    p->block_q = bench->name[1] == 'o' ? 1 : 64;
    set_tensors(c, &(struct shape){1, 8, 1, bench->dim[0], bench->dim[1], bench->dim[2], bench->dtype, 4}, 0, 0);
    name_case(c);
}

const struct conform_op tenon__conform_kv_select = {
    .op = TENON_OPNUM_kv_select,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = select_make,
    .fill = select_fill,
    .expect = tenon__conform_kv_select_expect,
    .check = select_check,
    .mpfr = tenon__conform_kv_select_mpfr,
    .n_hostile = SELECT_HOSTILE,
    .hostile = tenon__select_suite_hostile,
    .n_properties = SELECT_PROPERTIES,
    .properties = tenon__select_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
