/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict: the shapes and the contents of its cases, the list made by hand, and its benchmark rows. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "kv_evict_suite.h"

#define QUICK_CASES 240
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_kv_evict_params *params_of(struct conform_case *c)
{
    return (struct tenon_kv_evict_params *)(void *)c->params;
}

/* ---- contents ---- */

static double score_of(const struct conform_case *c, int64_t i)
{
    static const float ties[6] = {0.5f, 0.0f, -0.0f, 0.25f, -1, 0.5f};
    static const uint32_t special[10] = {0x7fc00001, 0x7f800000, 0xff800000, 0x00000001, 0x7f7fffff,
                                         0x80000000, 0x00800000, 0xff7fffff, 0x00400000, 0x33800000};
    const uint64_t key = conform_key(c, 30), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    switch (c->own[0]) {
    case EVICT_TIES: return (double)ties[(random >> 20) % 6];
    case EVICT_SPECIAL: return random >> 61 ? normal : (double)conform_bits_float(special[(random >> 20) % 10]);
    case EVICT_SAME: return 0.375;
    default: return normal;
    }
}

/* Of q and k. */
static double x_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, tensor), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    switch (c->own[0]) {
    case EVICT_STEEP: return 3 * normal;
    case EVICT_TIES: return (double)((int64_t)(random % 5) - 2) * 0.25;
    case EVICT_SPECIAL: return random % 997 ? normal : (double)NAN;
    case EVICT_SAME: return 0.375;
    default: return normal;
    }
}

static double length_of(const struct conform_case *c, int64_t i, int64_t keys)
{
    const uint64_t random = conform_random(conform_key(c, 40), (uint64_t)i);
    if (c->own[1] == EVICT_OUTSIDE && random >> 62)
        return random >> 61 & 1 ? (double)(keys + 1) + (double)(random & 7) : -1 - (double)(random & 7);
    return (double)(random % (uint64_t)(keys + 1));
}

/* Ascending, with gaps. */
static double position_of(const struct conform_case *c, int64_t j)
{
    return (double)(3 * j + (int64_t)(conform_random(conform_key(c, 41), (uint64_t)j) % 3));
}

static double query_position_of(const struct conform_case *c, int64_t i, const struct evict_sizes *z)
{
    const int64_t t = i % z->queries;
    const double last = c->slot[TENON_KV_EVICT_KPOS].tensor.dtype ? 3.0 * (double)z->keys : (double)z->keys;
    return last - (double)z->queries + (double)t - (double)(conform_random(conform_key(c, 42), (uint64_t)i) % 3);
}

static void evict_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const struct evict_sizes z = tenon__evict_suite_sizes(c);
    const int lengths = c->slot[TENON_KV_EVICT_KV_LEN].tensor.dtype != 0;
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        double value = 0;
        switch (tensor) {
        case TENON_KV_EVICT_SCORES: value = score_of(c, i); break;
        case TENON_KV_EVICT_KV_LEN: value = length_of(c, i, z.keys); break;
        case TENON_KV_EVICT_KPOS: value = position_of(c, i % z.keys); break;
        case TENON_KV_EVICT_QPOS: value = query_position_of(c, i, &z); break;
        default: value = x_of(c, tensor, i);
        }
        if (lengths && (tensor == TENON_KV_EVICT_K || tensor == TENON_KV_EVICT_SCORES)) {
            /* what is not there is never used */
            const int64_t width = tensor == TENON_KV_EVICT_K ? z.width : 1, h = i / width % z.kv_heads;
            const int64_t j = i / width / z.kv_heads % z.keys, b = i / width / z.kv_heads / z.keys;
            value = j >= tenon__evict_suite_length(c, b, h) ? (double)NAN : value;
        }
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[EVICT_FILLS] = {"normal", "steep", "ties", "special", "same"};
    static const char *const scores[] = {"snap", "accum", "gate", "recent"};
    const struct tenon_kv_evict_params *p = params_of(c);
    const struct evict_sizes z = tenon__evict_suite_sizes(c);
    snprintf(c->name, sizeof(c->name), "%s%s%s %lldx%lldx%lld(%lld) of %lldx%lld %s w%d n%d+%d ks%u%s%s%s to %lld",
             scores[p->score], p->share ? " all" : "", p->threshold > -FLT_MAX ? " above" : "", (long long)z.batch,
             (long long)z.queries, (long long)z.heads, (long long)z.width, (long long)z.keys, (long long)z.kv_heads,
             fills[c->own[0]], p->w, p->n_first, p->n, p->ks, p->pool ? " max" : "",
             c->slot[TENON_KV_EVICT_KV_LEN].tensor.dtype ? " len" : "",
             c->slot[TENON_KV_EVICT_KPOS].tensor.dtype ? " kpos" : "", (long long)z.most);
}

struct shape {
    int64_t batch, queries, group, kv_heads, keys, width, more; /* more: entries of the list that nothing needs */
    uint32_t dtype;
};

/* outputs: bits of what is there, from rows on; inputs: 1 kv_len, 2 kpos, 4 qpos, 8 scores, 16 a length for each head,
 * 32 positions. */
static void set_tensors(struct conform_case *c, const struct shape *s, uint32_t outputs, uint32_t inputs, uint64_t hash)
{
    struct tenon_kv_evict_params *p = params_of(c);
    const int products = p->score <= TENON_KV_EVICT_ACCUM, heads = p->share == TENON_KV_EVICT_PER_HEAD;
    const int64_t lists = heads || !s->kv_heads ? s->kv_heads : 1, budget = (int64_t)p->n + p->n_first + p->w;
    const int64_t most = (s->keys < budget ? s->keys : budget) + s->more;
    const int64_t each = heads ? s->kv_heads : 1;
    if (products) {
        conform_slot_set(c, TENON_KV_EVICT_Q, s->dtype, 4,
                         (int64_t[]){s->batch, s->queries, s->group * s->kv_heads, s->width});
        conform_slot_set(c, TENON_KV_EVICT_K, s->dtype, 4, (int64_t[]){s->batch, s->keys, s->kv_heads, s->width});
        conform_slot_pitch(&c->slot[TENON_KV_EVICT_Q], s->width + (int64_t)(hash >> 3 & 1) * 3);
        conform_slot_pitch(&c->slot[TENON_KV_EVICT_K], s->width + (int64_t)(hash >> 4 & 1) * 2);
    }
    if (p->score == TENON_KV_EVICT_RECENT)
        p->slots = (int32_t)s->keys;
    if (p->score == TENON_KV_EVICT_GATE || (p->score == TENON_KV_EVICT_ACCUM && inputs & 8))
        conform_slot_set(c, TENON_KV_EVICT_SCORES, TENON_F32, 3, (int64_t[]){s->batch, s->keys, s->kv_heads});
    if (inputs & 1)
        conform_slot_set(c, TENON_KV_EVICT_KV_LEN, TENON_I32, inputs & 16 ? 2 : 1, (int64_t[]){s->batch, each});
    if (inputs & 2) {
        if (inputs & 32)
            conform_slot_set(c, TENON_KV_EVICT_KPOS, TENON_I32, 3, (int64_t[]){s->batch, each, s->keys});
        else
            conform_slot_set(c, TENON_KV_EVICT_KPOS, TENON_I32, 2, (int64_t[]){s->batch, s->keys});
    }
    if (products && inputs & 4)
        conform_slot_set(c, TENON_KV_EVICT_QPOS, TENON_I32, 2, (int64_t[]){s->batch, s->queries});
    conform_slot_set(c, TENON_KV_EVICT_LIST, TENON_I32, 3, (int64_t[]){s->batch, lists, most});
    if (outputs & 1)
        conform_slot_set(c, TENON_KV_EVICT_ROWS, TENON_I32, 3, (int64_t[]){s->batch, most, lists});
    if (outputs & 2)
        conform_slot_set(c, TENON_KV_EVICT_KEEP, TENON_U32, 3, (int64_t[]){s->batch, lists, (s->keys + 31) / 32});
    if (outputs & 4)
        conform_slot_set(c, TENON_KV_EVICT_KPOS_OUT, TENON_I32, 3, (int64_t[]){s->batch, lists, most});
    if (outputs & 8)
        conform_slot_set(c, TENON_KV_EVICT_KV_LEN_OUT, TENON_I32, 2, (int64_t[]){s->batch, lists});
    if (outputs & 16)
        conform_slot_set(c, TENON_KV_EVICT_SCORES_OUT, TENON_F32, 3, (int64_t[]){s->batch, s->keys, s->kv_heads});
    if (outputs & 32)
        conform_slot_set(c, TENON_KV_EVICT_FLAGS, TENON_U32, 1, (int64_t[]){4});
    for (uint32_t i = 0; i < TENON_KV_EVICT_N_TENSORS; i++)
        if (c->slot[i].tensor.dtype)
            conform_slot_room(&c->slot[i], (hash >> (8 + 2 * i) & 3) * 4, 8);
}

static void make_large(struct conform_case *c, uint64_t n, uint64_t hash)
{
    static const struct {
        uint32_t score, fill;
        int64_t keys;
        int32_t n, w, n_first;
    } large[6] = {
        {TENON_KV_EVICT_GATE, EVICT_TIES, 3000, 700, 9, 4},  {TENON_KV_EVICT_GATE, EVICT_NORMAL, 4097, 1000, 0, 0},
        {TENON_KV_EVICT_RECENT, EVICT_SAME, 2048, 300, 3, 4}, {TENON_KV_EVICT_SNAP, EVICT_NORMAL, 1500, 128, 4, 1},
        {TENON_KV_EVICT_ACCUM, EVICT_STEEP, 900, 64, 1, 4},  {TENON_KV_EVICT_GATE, EVICT_SPECIAL, 1025, 2000, 1, 0},
    };
    struct tenon_kv_evict_params *p = params_of(c);
    c->own[0] = large[n].fill;
    p->score = large[n].score;
    p->n = large[n].n;
    p->w = large[n].w;
    p->n_first = large[n].n_first;
    if (p->score == TENON_KV_EVICT_SNAP)
        p->ks = 7;
    set_tensors(c, &(struct shape){1, 4, 2, 2, large[n].keys, 16, 0, TENON_F32}, 63, 0, hash);
}

static void make_any(struct conform_case *c, uint64_t n, uint64_t hash)
{
    static const int64_t all_queries[8] = {1, 8, 3, 16, 2, 5, 20, 0}, widths[6] = {8, 1, 16, 33, 64, 7};
    static const int64_t all_keys[8] = {64, 33, 100, 31, 1, 65, 200, 17};
    static const int32_t windows[6] = {1, 4, 8, 2, 30, 1}, counts[8] = {8, 1, 16, 0, 40, 5, 3, 1000};
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    struct tenon_kv_evict_params *p = params_of(c);
    const uint64_t more = conform_random(hash, 2);
    struct shape s = {1 + (int64_t)(hash >> 8 & 1), all_queries[hash >> 10 & 7], 1 + (int64_t)(hash >> 9 & 1),
                      1 + (int64_t)(hash >> 20) % 3, all_keys[hash >> 13 & 7], widths[(hash >> 16) % 6],
                      (int64_t)(hash >> 26) % 3 * 4, types[hash >> 23 & 3]};
    uint32_t inputs = (uint32_t)(more & 63);
    p->score = (uint32_t)n % 4;
    p->share = n / 4 % 2;
    if (p->score == TENON_KV_EVICT_RECENT && p->share == TENON_KV_EVICT_ALL)
        s.kv_heads = 1; /* nothing says how many */
    c->own[0] = hash >> 30 & 1 ? EVICT_NORMAL : (hash >> 31) % EVICT_FILLS;
    c->own[1] = (more >> 8) % 3;
    inputs = c->own[1] == EVICT_WHOLE ? inputs & ~1u : inputs | 1u;
    inputs = inputs & 2 ? inputs | 4 : inputs;
    p->w = windows[(more >> 12) % 6] - (p->score != TENON_KV_EVICT_SNAP && more >> 16 & 1 ? 1 : 0);
    p->n = counts[more >> 20 & 7];
    p->n_first = more >> 24 & 1 ? (int32_t)(more >> 25 & 7) : 0;
    if (p->score == TENON_KV_EVICT_SNAP) {
        p->ks = ((const uint32_t[]){1, 3, 7, 5, 63, 1, 7, 13})[more >> 30 & 7];
        p->pool = more >> 34 & 1;
    }
    if (more >> 36 & 1 && p->score <= TENON_KV_EVICT_ACCUM)
        p->scale = 0.25f;
    if ((more >> 38) % 5 == 0)
        p->threshold = p->score == TENON_KV_EVICT_GATE ? ((const float[]){0, 0.25f, -0.5f, 1})[more >> 42 & 3] : 0.05f;
    set_tensors(c, &s, n == 6 ? 63 : (uint32_t)(hash >> 40) & 63, inputs, more);
}

static void evict_make(struct conform_case *c)
{
    const uint64_t n = c->number, hash = conform_key(c, 100);
    struct tenon_kv_evict_params *p = params_of(c);
    struct shape s = {2, 3, 2, 2, 40, 8, 3, TENON_F32};
    if (n == 0) { /* as many tensors as there can be */
        p->score = TENON_KV_EVICT_ACCUM;
        p->n = 7;
        p->w = 2;
        p->n_first = 1;
        set_tensors(c, &s, 63, 63, 0);
    } else if (n <= 4) { /* nothing to do, in each way */
        int64_t *const axis[4] = {&s.batch, &s.queries, &s.kv_heads, &s.keys};
        p->n = 7;
        *axis[n - 1] = 0;
        set_tensors(c, &s, 63, n == 1 ? 1 : 0, hash);
    } else if (n < 11) {
        make_large(c, n - 5, hash);
    } else {
        make_any(c, n, hash);
    }
    c->mode = c->own[0] == EVICT_NORMAL ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    if (p->score > TENON_KV_EVICT_ACCUM && (c->own[0] == EVICT_TIES || c->own[0] == EVICT_SAME))
        c->mode = CONFORM_EXACT;
    name_case(c);
}

/* ---- benchmarks: keys are read twice where queries judge ---- */

static const struct conform_bench benches[] = {
    {"snap 32x8192", TENON_BF16, CONFORM_QUICK, {32, 8192, 1024}, 8.0 * 8192 * 128 * 2, 2.0 * 32 * 32 * 8192 * 128, },
    {"accum 1x8192", TENON_BF16, CONFORM_QUICK, {1, 8192, 1024}, 8.0 * 8192 * 128 * 2, 2.0 * 32 * 8192 * 128, },
    {"gate 8192", TENON_F32, CONFORM_QUICK, {0, 8192, 1024}, 8.0 * 8192 * 4, 0, },
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_kv_evict_params *p = params_of(c);
    p->score = bench->name[0] == 's'   ? TENON_KV_EVICT_SNAP
               : bench->name[0] == 'a' ? TENON_KV_EVICT_ACCUM
                                       : TENON_KV_EVICT_GATE;
    p->n = (int32_t)bench->dim[2];
    p->w = bench->dim[0] ? (int32_t)bench->dim[0] : 1;
    if (p->score == TENON_KV_EVICT_SNAP)
        p->ks = 7;
    c->own[0] = EVICT_NORMAL;
    set_tensors(c, &(struct shape){1, bench->dim[0], 4, 8, bench->dim[1], 128, 0, bench->dtype}, 1, 0, 0);
    name_case(c);
}

const struct conform_op tenon__conform_kv_evict = {
    .op = TENON_OPNUM_kv_evict,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = evict_make,
    .fill = evict_fill,
    .expect = tenon__conform_kv_evict_expect,
    .check = tenon__conform_kv_evict_check,
    .mpfr = tenon__conform_kv_evict_mpfr,
    .n_hostile = EVICT_HOSTILE,
    .hostile = tenon__evict_suite_hostile,
    .n_properties = EVICT_PROPERTIES,
    .properties = tenon__evict_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
