/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan: the shapes and the contents of its cases, and its benchmark rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "selective_scan_suite.h"

#define QUICK_CASES 260
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_selective_scan_params *params_of(struct conform_case *c)
{
    return (struct tenon_selective_scan_params *)(void *)c->params;
}

/* ---- contents ---- */

static double special_of(uint64_t random)
{
    return (double)conform_bits_float((const uint32_t[]){0x7f800000, 0xff800000, 0x7fc00000, 0x80000000}[random % 4]);
}

/* Decays of PLAIN. */
static double decay_of(const struct conform_case *c, uint64_t random, double normal)
{
    const int log = ((const struct tenon_selective_scan_params *)(const void *)c->params)->decay == SCAN(LOG);
    const double factor = (double)(random >> 40) * 0x1p-24;
    switch (c->own[0]) {
    case SCAN_EXACT:
        return (double)(random % 3) - 1;
    case SCAN_STRONG:
        return log ? -20 * fabs(normal) : factor * factor * factor * factor;
    case SCAN_ENDS:
        return log ? (random & 1 ? -(double)INFINITY : 0) : (double)(random & 1);
    case SCAN_GROWING:
        return log ? normal : 1.5 * normal;
    default:
        return log ? -fabs(normal) * 0.2 : factor;
    }
}

/* Step sizes of SSM. */
static double step_of(const struct conform_case *c, uint64_t random, double normal)
{
    const int softplus = ((const struct tenon_selective_scan_params *)(const void *)c->params)->softplus != 0;
    switch (c->own[0]) {
    case SCAN_EXACT:
        return (double)(random % 9) * 0.25 - 1;
    case SCAN_STRONG:
        return softplus ? 8 * normal : 4 * fabs(normal);
    case SCAN_ENDS:
        return random % 3 ? fabs(normal) : softplus ? -200 : 0;
    default:
        return softplus ? 2 * normal - 2 : 0.3 * fabs(normal);
    }
}

static double rate_of(const struct conform_case *c, uint64_t random, double normal, int64_t i)
{
    switch (c->own[0]) {
    case SCAN_EXACT:
        return 0;
    case SCAN_STRONG:
        return -20 * fabs(normal);
    case SCAN_ENDS:
        return random & 1 ? -1e30 : 0;
    case SCAN_GROWING:
        return 0.4 * normal;
    default:
        return -1 - (double)(i % 16) + 0.1 * normal;
    }
}

static double number_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const int plain = c->slot[SCAN(BM)].tensor.dtype == 0;
    if (c->own[0] == SCAN_SPECIAL && random >> 58 == 0)
        return special_of(random);
    switch (tensor) {
    case SCAN(DT):
        return plain ? decay_of(c, random, normal) : step_of(c, random, normal);
    case SCAN(A):
        return rate_of(c, random, normal, i);
    default:
        break;
    }
    if (c->own[0] == SCAN_EXACT)
        return (double)((int64_t)(random % 17) - 8) * 0.25;
    if (c->own[0] == SCAN_TINY && (tensor == SCAN(U) || tensor == SCAN(STATE)))
        return normal * (c->slot[tensor].tensor.dtype == TENON_F16 ? 0x1p-22 : random >> 63 ? 0x1p-122 : 0x1p-131);
    if (c->own[0] == SCAN_GROWING && (tensor == SCAN(U) || tensor == SCAN(STATE)))
        return normal * (c->slot[tensor].tensor.dtype == TENON_F16 ? 100 : random >> 63 ? 0x1p40 : 0x1p-40);
    return tensor == SCAN(Z) && random >> 61 == 0 ? 30 * normal : normal;
}

static void scan_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const int64_t n = slot->tensor.dim[0] - 1;
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                    tensor == SCAN(CU_Q) ? packed_begin(c, c->own[1], c->slot[SCAN(U)].tensor.dim[1], n, i)
                                         : number_of(c, tensor, i));
}

/* ---- shapes ---- */

struct shape {
    int64_t b, t, d, n, g, seqs; /* n 0: PLAIN; seqs -1: no cu_q */
};

/* An optional tensor is there. */
enum { HAS_SKIP = 1, HAS_BIAS = 2, HAS_GATE = 4, HAS_STATE = 8, HAS_STATE_OUT = 16, HAS_FLAGS = 32, IN_PLACE = 64 };

static void name_case(struct conform_case *c, const struct shape *s)
{
    static const char *const fills[SCAN_FILLS] = {"normal", "exact", "special", "strong", "ends", "growing", "tiny"};
    static const char *const packed[PACKED_KINDS] = {" parts", " short", " wild"};
    const struct tenon_selective_scan_params *p = params_of(c);
    char kind[48];
    if (s->n)
        snprintf(kind, sizeof kind, "ssm n %lld g %lld", (long long)s->n, (long long)s->g);
    else
        snprintf(kind, sizeof kind, "%s", p->decay ? "plain log" : "plain");
    snprintf(c->name, sizeof(c->name), "%lldx%lldx%lld %s%s%s %s %s%s%s%s%s", (long long)s->b, (long long)s->t,
             (long long)s->d, kind, p->softplus ? " softplus" : "", p->limit ? " limit" : "",
             tenon_dtype_name(c->slot[SCAN(U)].tensor.dtype), fills[c->own[0]], s->seqs >= 0 ? packed[c->own[1]] : "",
             c->slot[SCAN(STATE)].tensor.dtype ? " state" : "", c->slot[SCAN(Z)].tensor.dtype ? " gate" : "",
             c->slot[SCAN(STATE_OUT)].same_as >= 0 ? " in place" : "");
}

/* Gaps between tokens and batches, or tokens before batches; of four axes between groups too. */
static void set_tokens(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t rank, const int64_t *dim,
                       uint64_t hash)
{
    const int64_t gap = hash & 1 ? (int64_t)(hash >> 1 & 7) : 0;
    int64_t *stride = c->slot[i].tensor.stride, row;
    conform_slot_set(c, i, dtype, rank, dim);
    if (rank == 4)
        stride[2] = dim[3] + gap;
    row = (rank == 4 ? dim[2] * stride[2] : dim[2]) + gap;
    stride[1] = row;
    stride[0] = dim[1] * row + (hash & 16 ? gap : 0);
    if (hash & 32) {
        stride[0] = row;
        stride[1] = dim[0] * row;
    }
    conform_slot_room(&c->slot[i], (hash >> 6 & 3) * 4, 8);
}

static void set_states(struct conform_case *c, const struct shape *s, uint32_t has)
{
    const int64_t seqs = s->seqs >= 0 ? s->seqs : s->b, state[] = {seqs, s->d, s->n};
    const uint32_t rank = s->n ? 3 : 2;
    if (has & HAS_STATE)
        conform_slot_set(c, SCAN(STATE), TENON_F32, rank, state);
    if (has & HAS_STATE_OUT)
        conform_slot_set(c, SCAN(STATE_OUT), TENON_F32, rank, state);
    if ((has & (IN_PLACE | HAS_STATE | HAS_STATE_OUT)) == (IN_PLACE | HAS_STATE | HAS_STATE_OUT)) {
        c->slot[SCAN(STATE_OUT)] = c->slot[SCAN(STATE)];
        c->slot[SCAN(STATE_OUT)].same_as = SCAN(STATE);
        c->slot[SCAN(STATE_OUT)].is_output = 1;
    }
}

static void set_all(struct conform_case *c, const struct shape *s, uint32_t dtype, uint32_t has, uint64_t hash)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const uint32_t other = hash & 1 ? dtype : types[hash >> 1 & 3], more = hash & 8 ? TENON_F32 : other;
    const int64_t u[] = {s->b, s->t, s->d}, map[] = {s->b, s->t, s->g, s->n};
    set_tokens(c, SCAN(U), dtype, 3, u, conform_random(hash, 1));
    set_tokens(c, SCAN(DT), other, 3, u, conform_random(hash, 2));
    set_tokens(c, SCAN(Y), dtype, 3, u, conform_random(hash, 3));
    if (s->n) {
        conform_slot_set(c, SCAN(A), more, 2, (int64_t[]){s->d, s->n});
        set_tokens(c, SCAN(BM), more, 4, map, conform_random(hash, 4));
        set_tokens(c, SCAN(CM), other, 4, map, conform_random(hash, 5));
        if (has & HAS_SKIP)
            conform_slot_set(c, SCAN(DSKIP), other, 1, &s->d);
        if (has & HAS_BIAS)
            conform_slot_set(c, SCAN(DT_BIAS), more, 1, &s->d);
        if (has & HAS_GATE)
            set_tokens(c, SCAN(Z), dtype, 3, u, conform_random(hash, 6));
    }
    if (s->seqs >= 0)
        conform_slot_set(c, SCAN(CU_Q), TENON_I32, 1, (int64_t[]){s->seqs + 1});
    if (has & HAS_FLAGS)
        conform_slot_set(c, SCAN(FLAGS), TENON_U32, 1, (int64_t[]){4});
    set_states(c, s, has);
}

struct special {
    struct shape s;
    uint32_t has, sequences;
};
#define ALL (HAS_SKIP | HAS_BIAS | HAS_GATE | HAS_STATE | HAS_STATE_OUT | HAS_FLAGS)
static const struct special first_specials[] = {
    {{2, 5, 6, 4, 2, -1}, ALL, 0}, /* case 0 */
    {{1, 9, 6, 4, 2, 3}, ALL, PACKED_WILD},
    {{2, 5, 6, 0, 1, -1}, ALL, 0},
    {{0, 5, 6, 4, 2, -1}, ALL, 0},
    {{2, 0, 6, 4, 2, -1}, ALL, 0},
    {{2, 0, 6, 20, 2, -1}, ALL | IN_PLACE, 0},
    {{2, 0, 6, 0, 1, -1}, ALL, 0},
    {{2, 5, 0, 4, 2, -1}, ALL, 0},
    {{1, 5, 6, 4, 2, 0}, ALL, PACKED_WILD},
    {{1, 0, 6, 4, 2, 2}, ALL, PACKED_WILD},
    {{1, 3, 5, 300, 1, -1}, ALL, 0},
    {{1, 3, 5, 300, 5, -1}, HAS_BIAS, 0}, /* states without a place of their own */
    {{1, 2500, 3, 1, 1, -1}, ALL, 0},
    {{1, 300, 40, 2, 1, 100}, ALL, PACKED_WILD},
    {{1, 6, 600, 16, 1, -1}, ALL | IN_PLACE, 0},
    {{1, 40, 700, 0, 1, -1}, ALL, 0},
    {{1, 12, 5, 3, 5, -1}, HAS_STATE | HAS_STATE_OUT, 0},
};
static const struct special full_specials[] = {
    {{1, 512, 256, 16, 1, -1}, ALL, 0},
    {{8, 1, 1536, 16, 1, -1}, ALL | IN_PLACE, 0},
    {{1, 70000, 2, 0, 1, -1}, HAS_STATE_OUT, 0},
    {{1, 70000, 1, 1, 1, -1}, HAS_BIAS, 0},
    {{1, 9000, 2, 20, 1, -1}, 0, 0},
    {{1, 20000, 3, 0, 1, 3000}, ALL, PACKED_PARTS},
    {{2, 30, 3, 1000, 1, -1}, ALL, 0},
};

static struct shape random_shape(uint64_t hash)
{
    static const int64_t all_t[8] = {1, 2, 3, 5, 9, 17, 40, 70}, all_n[8] = {0, 0, 1, 2, 4, 16, 17, 33};
    static const int64_t all_d[8] = {1, 2, 3, 8, 17, 33, 48, 100};
    struct shape s = {.b = 1 + (int64_t)(hash >> 4) % 3,
                      .t = all_t[hash >> 8 & 7],
                      .d = all_d[hash >> 11 & 7],
                      .n = all_n[hash >> 14 & 7],
                      .g = 1,
                      .seqs = -1};
    if (s.n && hash >> 17 & 1) {
        s.g = 1 + (int64_t)(hash >> 18 & 3);
        s.d = s.g * (1 + s.d / s.g);
    }
    if (s.n && (hash >> 20 & 7) == 0 && s.d < 40)
        s.g = s.d; /* a group each */
    if (s.n > 16 && s.d * s.t > 2000)
        s.t = 9;
    if (hash >> 38 & 1) {
        s.b = 1;
        s.seqs = (int64_t)(hash >> 39 & 7);
    }
    return s;
}

static void set_params(struct conform_case *c, const struct shape *s, uint64_t hash)
{
    struct tenon_selective_scan_params *p = params_of(c);
    p->mode = s->n ? SCAN(SSM) : SCAN(PLAIN);
    if (!s->n) {
        p->decay = c->own[0] != SCAN_EXACT && hash & 1 ? SCAN(LOG) : SCAN(FACTOR);
        return;
    }
    p->softplus = c->own[0] != SCAN_EXACT && hash >> 1 & 1;
    p->limit = (hash >> 2 & 3) == 0;
    if (p->limit) {
        p->dt_lo = hash >> 4 & 1 ? 0.125f : 0;
        p->dt_hi = hash >> 5 & 1 ? 1 : 0.5f;
    }
}

static void scan_make(struct conform_case *c)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct special *own = n < COUNT(first_specials) ? &first_specials[n]
                                : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                    ? &full_specials[n - QUICK_CASES]
                                    : NULL;
    const struct shape s = own ? own->s : random_shape(hash);
    const uint64_t more = conform_random(hash, 1);
    uint32_t has = own ? own->has : (uint32_t)(more >> 16 & 127);
    c->own[0] = own ? SCAN_NORMAL : more & 1 ? SCAN_NORMAL : (more >> 1) % SCAN_FILLS;
    c->own[1] = own ? own->sequences : (more >> 8) % PACKED_KINDS;
    c->mode = c->own[0] == SCAN_NORMAL ? CONFORM_RANDOM : c->own[0] == SCAN_EXACT ? CONFORM_EXACT : CONFORM_ADVERSARIAL;
    if (c->own[0] == SCAN_EXACT)
        has &= ~(uint32_t)HAS_GATE;
    set_params(c, &s, own ? (n ? 2 : 0) : conform_random(hash, 3));
    set_all(c, &s, n ? types[more >> 13 & 3] : TENON_F32, has, n ? conform_random(hash, 2) : 0);
    name_case(c, &s);
}

/* ---- benchmarks: inputs are read once, y is written, states too; an exponential counts as a dozen flops ---- */

#define SSM_BYTES(b, t, d, n) (4.0 * (b) * (4.0 * (t) * (d) + 2.0 * (t) * (n)))
#define STATE_BYTES(b, d, n)  (8.0 * (b) * (d) * (n))
static const struct conform_bench benches[] = {
    {"mamba 4096x1536 of 16",
     TENON_F32,
     CONFORM_QUICK,
     {4096, 1536, 16},
     SSM_BYTES(1, 4096, 1536, 16),
     18.0 * 4096 * 1536 * 16},
    {"bf16 4096x1536 of 16",
     TENON_BF16,
     CONFORM_QUICK,
     {4096, 1536, 16},
     0.5 * SSM_BYTES(1, 4096, 1536, 16),
     18.0 * 4096 * 1536 * 16},
    {"hgrn 4096x2048", TENON_F32, CONFORM_QUICK, {4096, 2048, 0}, 12.0 * 4096 * 2048, 2.0 * 4096 * 2048},
    {"decode 1x1536 of 16",
     TENON_F32,
     CONFORM_QUICK,
     {1, 1536, 16},
     STATE_BYTES(1, 1536, 16) + 4.0 * 1536 * 16,
     18.0 * 1536 * 16},
    {"decode64 1x1536 of 16",
     TENON_F32,
     CONFORM_QUICK,
     {1, 1536, 16},
     STATE_BYTES(64, 1536, 16) + SSM_BYTES(64, 1, 1536, 16),
     64.0 * 18.0 * 1536 * 16},
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int decode = strncmp(bench->name, "decode", 6) == 0;
    const struct shape s = {.b = strncmp(bench->name, "decode64", 8) ? 1 : 64,
                            .t = bench->dim[0],
                            .d = bench->dim[1],
                            .n = bench->dim[2],
                            .g = 1,
                            .seqs = -1};
    c->own[0] = SCAN_NORMAL;
    params_of(c)->mode = s.n ? SCAN(SSM) : SCAN(PLAIN);
    params_of(c)->softplus = s.n != 0;
    set_all(c, &s, bench->dtype, decode ? ALL : HAS_SKIP | HAS_BIAS | HAS_GATE, 0);
    for (uint32_t i = 0; i < c->n; i++) /* without gaps */
        if (c->slot[i].tensor.dtype && c->slot[i].same_as < 0)
            conform_slot_set(c, i,
                             i == SCAN(BM) || i == SCAN(CM) || i == SCAN(DT) ? bench->dtype : c->slot[i].tensor.dtype,
                             c->slot[i].tensor.rank, c->slot[i].tensor.dim);
    name_case(c, &s);
}

const struct conform_op tenon__conform_selective_scan = {
    .op = TENON_OPNUM_selective_scan,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = scan_make,
    .fill = scan_fill,
    .expect = tenon__conform_selective_scan_expect,
    .mpfr = tenon__conform_selective_scan_mpfr,
    .n_hostile = SCAN_HOSTILE,
    .hostile = tenon__selective_scan_suite_hostile,
    .n_properties = SCAN_PROPERTIES,
    .properties = tenon__selective_scan_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
