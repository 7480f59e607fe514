/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: the shapes and the settings of its cases. */
#include <stdio.h>
#include <string.h>
#include "linear_attention_suite.h"

#define QUICK_CASES 260
#define FULL_CASES  2200
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_linear_attention_params *params_of(struct conform_case *c)
{
    return (struct tenon_linear_attention_params *)(void *)c->params;
}

struct shape {
    int64_t b, t, hq, hk, hv, k, v, seqs; /* seqs -1: no cu_q */
};

/* An optional tensor is there; states are in place; a few elements are not finite. */
enum {
    HAS_STATE = 1,
    HAS_STATE_OUT = 2,
    HAS_FLAGS = 4,
    HAS_QN = 8,
    HAS_KN = 16,
    HAS_DECAY_B = 32,
    IN_PLACE = 64,
    ODD = 128
};
#define ALL (HAS_STATE | HAS_STATE_OUT | HAS_FLAGS | HAS_QN | HAS_KN | HAS_DECAY_B)

static void name_case(struct conform_case *c, const struct shape *s)
{
    static const char *const fills[LIN_FILLS] = {"normal", "exact", "special", "wide", "tiny"};
    static const char *const packed[LIN_SEQUENCES] = {" parts", " short", " wild"};
    static const char *const decays[] = {"none", "head", "token", "key", "value"};
    static const char *const reads[] = {"", " before", " group"};
    static const char *const directions[] = {"", " reverse", " bidir", " all"};
    static const char *const norms[] = {"", " sum", " max1"};
    static const char *const modes[] = {"auto", "recurrent", "chunked"};
    const struct tenon_linear_attention_params *p = params_of(c);
    snprintf(c->name, sizeof(c->name), "%lldx%lld h %lld,%lld,%lld %lldx%lld %s%s%s%s%s%s %s %s %s%s%s%s",
             (long long)s->b, (long long)s->t, (long long)s->hq, (long long)s->hk, (long long)s->hv, (long long)s->k,
             (long long)s->v,
             decays[p->decay], p->decay_form ? " log" : "", p->update ? " delta" : "", reads[p->read],
             directions[p->direction], norms[p->norm], modes[p->mode], tenon_dtype_name(c->slot[LIN(Q)].tensor.dtype),
             fills[c->own[0]], s->seqs >= 0 ? packed[c->own[1]] : "", c->slot[LIN(STATE)].tensor.dtype ? " state" : "",
             c->slot[LIN(STATE_OUT)].same_as >= 0 ? " in place" : "");
}

/* Four axes with gaps, and tokens before heads or after them. */
static void set_axes(struct conform_case *c, uint32_t i, uint32_t dtype, const int64_t *dim, uint64_t hash)
{
    struct conform_slot *slot = &c->slot[i];
    const int64_t gap = hash & 1 ? (int64_t)(hash >> 1 & 7) : 0, row = dim[3] + gap;
    conform_slot_set(c, i, dtype, 4, dim);
    slot->tensor.stride[2] = row;
    slot->tensor.stride[1] = dim[2] * row;
    slot->tensor.stride[0] = dim[1] * dim[2] * row + (hash & 16 ? gap : 0);
    if (hash & 32) { /* heads before tokens */
        slot->tensor.stride[1] = row;
        slot->tensor.stride[2] = dim[1] * row;
    }
    conform_slot_room(slot, (hash >> 6 & 3) * 4, 8);
}

static void set_states(struct conform_case *c, const struct shape *s, uint32_t has)
{
    const struct tenon_linear_attention_params *p = params_of(c);
    const int64_t hs = s->hq > s->hk ? (s->hq > s->hv ? s->hq : s->hv) : s->hk > s->hv ? s->hk : s->hv;
    const int64_t dim[4] = {s->seqs >= 0 ? s->seqs : s->b, hs, s->k, s->v};
    for (uint32_t i = 0; i < 2; i++) { /* matrices; normalisers */
        const uint32_t in = i ? LIN(NORM_STATE) : LIN(STATE), out = i ? LIN(NORM_STATE_OUT) : LIN(STATE_OUT);
        if (p->direction != LIN(CAUSAL) || (i && !p->norm))
            continue;
        if (has & HAS_STATE)
            conform_slot_set(c, in, TENON_F32, i ? 3 : 4, dim);
        if (has & HAS_STATE_OUT)
            conform_slot_set(c, out, TENON_F32, i ? 3 : 4, dim);
        if ((has & (IN_PLACE | HAS_STATE | HAS_STATE_OUT)) != (IN_PLACE | HAS_STATE | HAS_STATE_OUT))
            continue;
        c->slot[out] = c->slot[in];
        c->slot[out].same_as = (int32_t)in;
        c->slot[out].is_output = 1;
    }
}

static void set_all(struct conform_case *c, const struct shape *s, uint32_t dtype, uint32_t has, uint64_t hash)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const struct tenon_linear_attention_params *p = params_of(c);
    const uint32_t side = types[hash & 3], out = hash & 4 ? dtype : TENON_F32;
    const int64_t hs = s->hq > s->hk ? (s->hq > s->hv ? s->hq : s->hv) : s->hk > s->hv ? s->hk : s->hv;
    const int64_t wide = p->decay == LIN(KEY) ? s->k : s->v, q[4] = {s->b, s->t, s->hq, s->k};
    const int64_t k[4] = {s->b, s->t, s->hk, s->k}, v[4] = {s->b, s->t, s->hv, s->v}, o[4] = {s->b, s->t, hs, s->v};
    set_axes(c, LIN(Q), dtype, q, conform_random(hash, 1));
    set_axes(c, LIN(K), dtype, k, conform_random(hash, 2));
    set_axes(c, LIN(V), dtype, v, conform_random(hash, 3));
    set_axes(c, LIN(O), out, o, conform_random(hash, 4));
    for (uint32_t i = LIN(DECAY); i <= LIN(DECAY_B); i++) {
        if (!p->decay || (i == LIN(DECAY_B) && (p->direction != LIN(BIDIR) || !(has & HAS_DECAY_B))))
            continue;
        if (p->decay == LIN(HEAD))
            conform_slot_set(c, i, side, 1, &hs);
        else if (p->decay == LIN(TOKEN))
            conform_slot_set(c, i, side, 3, o);
        else
            set_axes(c, i, side, (int64_t[]){s->b, s->t, hs, wide}, conform_random(hash, 1 + i));
    }
    if (p->update == LIN(DELTA))
        conform_slot_set(c, LIN(BETA), types[hash >> 3 & 3], 3, o);
    if (p->norm && has & HAS_QN)
        set_axes(c, LIN(QN), dtype, q, conform_random(hash, 8));
    if (p->norm && has & HAS_KN)
        set_axes(c, LIN(KN), dtype, k, conform_random(hash, 9));
    if (s->seqs >= 0)
        conform_slot_set(c, LIN(CU_Q), TENON_I32, 1, (int64_t[]){s->seqs + 1});
    if (has & HAS_FLAGS)
        conform_slot_set(c, LIN(FLAGS), TENON_U32, 1, (int64_t[]){4});
    set_states(c, s, has);
}

/* ---- cases ---- */

struct settings {
    uint32_t decay, form, update, read, group, direction, norm, mode, chunk;
};
struct special {
    struct shape s;
    struct settings set;
    uint32_t has, sequences;
};
#define CHUNKED   LIN(CHUNKED)
#define RECURRENT LIN(RECURRENT)
#define TOKEN     LIN(TOKEN)
#define KEY       LIN(KEY)
#define DELTA     LIN(DELTA)
static const struct special first_specials[] = {
    {{2, 5, 2, 2, 4, 7, 3, -1}, {TOKEN, 1, 0, 0, 1, 0, LIN(SUM), 0, 64}, ALL, 0}, /* case 0 */
    {{1, 9, 2, 1, 2, 6, 5, 3}, {KEY, 0, DELTA, 0, 1, 0, 0, RECURRENT, 64}, ALL, LIN_WILD},
    {{0, 5, 2, 2, 2, 4, 4, -1}, {TOKEN, 0, 0, 0, 1, 0, 0, 0, 64}, ALL, 0},
    {{2, 0, 2, 2, 2, 4, 4, -1}, {TOKEN, 0, DELTA, 0, 1, 0, 0, CHUNKED, 64}, ALL, 0},
    {{2, 0, 2, 2, 2, 4, 4, -1}, {LIN(NONE), 0, 0, 0, 1, 0, LIN(MAX1), RECURRENT, 64}, ALL | IN_PLACE, 0},
    {{2, 5, 0, 0, 0, 4, 4, -1}, {LIN(HEAD), 0, 0, 0, 1, 0, 0, 0, 64}, ALL, 0},
    {{1, 5, 2, 2, 2, 4, 4, 0}, {LIN(VALUE), 1, 0, 0, 1, 0, 0, 0, 64}, ALL, LIN_WILD},
    {{1, 0, 2, 2, 2, 4, 4, 2}, {KEY, 1, 0, 0, 1, 0, 0, 0, 64}, ALL, LIN_WILD},
    {{3, 1, 2, 2, 4, 64, 64, -1}, {TOKEN, 1, DELTA, 0, 1, 0, 0, 0, 64}, ALL | IN_PLACE, 0},
    {{3, 1, 4, 4, 4, 64, 64, -1}, {KEY, 1, 0, 0, 1, 0, 0, CHUNKED, 64}, ALL | IN_PLACE, 0},
    {{1, 65, 1, 1, 1, 1, 1, -1}, {KEY, 0, 0, 0, 1, 0, 0, CHUNKED, 16}, ALL, 0},
    {{1, 129, 1, 2, 1, 16, 16, -1}, {KEY, 1, DELTA, 0, 1, 0, 0, CHUNKED, 64}, ALL, 0},
    {{1, 200, 1, 1, 2, 64, 80, -1}, {TOKEN, 1, DELTA, 0, 1, 0, 0, CHUNKED, 64}, ALL, 0},
    {{1, 64, 1, 1, 1, 128, 128, -1}, {LIN(NONE), 0, DELTA, 0, 1, 0, 0, CHUNKED, 32}, ALL, 0},
    {{1, 300, 2, 2, 2, 16, 16, 40}, {KEY, 1, 0, 0, 1, 0, 0, 0, 64}, ALL, LIN_WILD},
    {{1, 130, 1, 1, 1, 20, 33, -1}, {LIN(NONE), 0, 0, LIN(GROUP), 48, 0, LIN(SUM), CHUNKED, 64}, ALL, 0},
    {{1, 70, 1, 1, 2, 300, 3, -1}, {LIN(NONE), 0, 0, LIN(EXCLUSIVE), 1, 0, 0, 0, 64}, HAS_FLAGS, 0},
    {{1, 40, 1, 1, 1, 3, 300, -1}, {LIN(VALUE), 0, 0, 0, 1, 0, 0, CHUNKED, 64}, ALL, 0},
    {{2, 66, 1, 1, 1, 16, 16, -1}, {KEY, 1, 0, 0, 1, LIN(BIDIR), 0, CHUNKED, 64}, ALL, 0},
    {{2, 33, 2, 2, 2, 17, 16, -1}, {LIN(NONE), 0, 0, 0, 1, LIN(NONCAUSAL), LIN(SUM), 0, 64}, ALL, 0},
    /* what is not finite in one column must not change how others are summed, by who has them */
    {{1, 65, 1, 1, 1, 16, 160, -1}, {KEY, 0, 0, 0, 1, 0, 0, CHUNKED, 64}, ALL | ODD, 0},
    {{1, 40, 1, 1, 4, 16, 16, 3}, {LIN(HEAD), 1, 0, 0, 1, 0, 0, 0, 64}, ALL, LIN_SHORT},
    {{1, 65, 1, 1, 1, 16, 160, -1}, {TOKEN, 0, DELTA, 0, 1, 0, 0, CHUNKED, 64}, ALL | ODD, 0},
};
static const struct special full_specials[] = {
    {{1, 1000, 1, 1, 1, 64, 64, -1}, {TOKEN, 1, DELTA, 0, 1, 0, 0, CHUNKED, 64}, ALL, 0},
    {{1, 700, 1, 1, 1, 128, 128, -1}, {KEY, 1, 0, 0, 1, 0, 0, CHUNKED, 256}, ALL, 0},
    {{1, 500, 1, 1, 1, 128, 128, -1}, {KEY, 0, DELTA, 0, 1, 0, 0, CHUNKED, 128}, ALL, 0},
    {{1, 40, 1, 1, 1, 1500, 64, -1}, {LIN(NONE), 0, 0, LIN(EXCLUSIVE), 1, 0, 0, 0, 64}, ALL, 0},
    {{2, 3, 2, 2, 2, 256, 256, -1}, {TOKEN, 0, 0, 0, 1, 0, 0, RECURRENT, 64}, ALL | IN_PLACE, 0},
    {{1, 5000, 1, 1, 1, 4, 5, 700}, {TOKEN, 0, 0, 0, 1, 0, LIN(MAX1), 0, 64}, ALL, LIN_PARTS},
    {{1, 3000, 1, 1, 1, 8, 8, -1}, {LIN(HEAD), 0, 0, LIN(GROUP), 256, 0, 0, 0, 64}, ALL, 0},
    {{1, 300, 16, 1, 16, 16, 16, -1}, {LIN(HEAD), 1, 0, 0, 1, LIN(REVERSE), LIN(SUM), 0, 64}, ALL, 0},
};

static struct shape random_shape(uint64_t hash)
{
    static const int64_t all_t[16] = {1, 2, 3, 15, 16, 17, 31, 33, 40, 48, 50, 63, 64, 65, 70, 90};
    static const int64_t wide[12] = {1, 2, 7, 8, 16, 16, 17, 20, 32, 33, 64, 80};
    struct shape s = {.b = 1 + (int64_t)(hash >> 4) % 2, .t = all_t[hash >> 8 & 15], .seqs = -1};
    const int64_t hs = 1 << (hash >> 12 & 1 ? 0 : hash >> 13 & 3);
    const int64_t few = hs > 2 && hash >> 15 & 1 ? hs / 2 : hash >> 16 & 1 ? 1 : hs;
    s.hq = s.hk = s.hv = hs;
    switch (hash >> 17 & 3) {
    case 0: s.hq = s.hk = few; break;
    case 1: s.hk = s.hv = few; break;
    case 2: s.hk = few; break;
    default: break;
    }
    s.k = wide[(hash >> 20) % 12];
    s.v = wide[(hash >> 24) % 12];
    if (hash >> 28 & 1) {
        s.b = 1;
        s.seqs = (int64_t)(hash >> 29 & 7) + (int64_t)(hash >> 33 & 1);
    }
    while (s.b * s.t * hs * s.k * s.v > 400000 && (s.t > 17 || s.v > 16)) {
        s.t = s.t > 40 ? s.t / 2 + 1 : s.t > 17 && s.v <= 16 ? 17 : s.t;
        s.v = s.v > 16 ? s.v / 2 : s.v;
    }
    return s;
}

static struct settings random_settings(uint64_t hash)
{
    static const uint32_t chunks[4] = {64, 16, 32, 64};
    struct settings set = {
        .decay = (uint32_t)((hash >> 4) % 5), .form = hash >> 8 & 1, .update = (hash >> 9) % 3 == 0,
        .read = hash >> 12 & 1 ? 0 : (uint32_t)((hash >> 13) % 3), .group = 1 + (uint32_t)((hash >> 16) % 40),
        .direction = (hash >> 24) % 3 ? 0 : (uint32_t)(hash >> 26 & 3),
        .norm = (hash >> 28) % 3 ? 0 : 1 + (hash >> 30 & 1), .mode = (hash >> 32) % 5 ? 1 + (hash >> 35 & 1) : 0,
        .chunk = chunks[hash >> 36 & 3]};
    if (set.direction == LIN(NONCAUSAL))
        set.decay = set.update = set.read = 0;
    if (set.read == LIN(GROUP))
        set.direction = LIN(CAUSAL);
    if (set.update && set.decay == LIN(VALUE))
        set.decay = KEY;
    if (set.update || set.decay == LIN(VALUE) || set.direction == LIN(BIDIR))
        set.norm = 0;
    return set;
}

static void put_settings(struct conform_case *c, const struct settings *set, uint64_t hash)
{
    static const float scales[8] = {0, 0, 0, 1, 0.125f, -0.5f, 3, 0};
    struct tenon_linear_attention_params *p = params_of(c);
    p->decay = set->decay;
    p->decay_form = set->form;
    p->update = set->update;
    p->read = set->read;
    p->group = set->group;
    p->direction = set->direction;
    p->norm = set->norm;
    p->mode = set->mode;
    p->chunk = set->chunk;
    p->scale = c->own[0] == LIN_EXACT ? 0.5f : scales[hash & 7];
    p->w_bi = hash & 8 || c->own[0] == LIN_EXACT ? 0.5f : 1.25f;
    p->eps = hash & 16 ? 1e-6f : hash & 32 ? 0 : 0.25f;
}

static void lin_make(struct conform_case *c)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const uint64_t n = c->number, hash = conform_key(c, 100), more = conform_random(hash, 1);
    const struct special *own = n < COUNT(first_specials) ? &first_specials[n]
                                : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                    ? &full_specials[n - QUICK_CASES]
                                    : NULL;
    const struct settings set = own ? own->set : random_settings(conform_random(hash, 3));
    const struct shape s = own ? own->s : random_shape(hash);
    c->own[0] = own ? (own->has & ODD ? LIN_SPECIAL : LIN_NORMAL) : more & 1 ? LIN_NORMAL : (more >> 1) % LIN_FILLS;
    c->own[1] = own ? own->sequences : (more >> 8) % LIN_SEQUENCES;
    c->own[2] = (more >> 12) % LIN_STRENGTHS;
    c->own[3] = more >> 20 & 1 ? LIN_ALIVE : (more >> 21) % LIN_ZEROS;
    c->own[4] = more >> 26 & 1 ? LIN_KEYS : (more >> 27) % LIN_KEY_KINDS;
    if (own) { /* decays that leave something, keys that are held to something */
        c->own[2] = n % 2;
        c->own[3] = n ? LIN_FEW : LIN_ALIVE;
        c->own[4] = LIN_KEYS;
    }
    if (set.norm && c->own[0] == LIN_TINY)
        c->own[0] = LIN_WIDE;
    c->mode = c->own[0] == LIN_EXACT ? CONFORM_EXACT
              : c->own[0] == LIN_NORMAL && c->own[3] != LIN_DEAD && s.seqs < 0
                  ? CONFORM_RANDOM
                  : CONFORM_ADVERSARIAL;
    put_settings(c, &set, n ? conform_random(hash, 4) : 16);
    set_all(c, &s, n ? types[more >> 34 & 3] : TENON_F32, own ? own->has : (uint32_t)(more >> 40 & 127),
            n ? conform_random(hash, 2) : 4);
    name_case(c, &s);
}

const struct conform_op tenon__conform_linear_attention = {
    .op = TENON_OPNUM_linear_attention,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = lin_make,
    .fill = tenon__lin_suite_fill,
    .expect = tenon__conform_linear_attention_expect,
    .check = tenon__conform_linear_attention_check,
    .mpfr = tenon__conform_linear_attention_mpfr,
    .n_hostile = LIN_HOSTILE,
    .hostile = tenon__lin_suite_hostile,
    .n_properties = LIN_PROPERTIES,
    .properties = tenon__lin_suite_properties,
    .n_bench = LIN_BENCHES,
    .bench = tenon__lin_suite_benches,
    .bench_make = tenon__lin_suite_bench,
};
