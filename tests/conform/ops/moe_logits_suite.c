/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits: shapes and data of its cases, benchmark rows. */
#include <stdio.h>
#include "moe_logits_suite.h"

/* How the inputs are filled (own[0]). */
enum {
    FILL_EXACT,   /* small integers: every product and sum is exact */
    FILL_NORMAL,  /* N(0,1) */
    FILL_NEAR,    /* rows of w that nearly are rows of x: distances that cancel */
    FILL_FAR,     /* a large mean in every row, and rows that are constant */
    FILL_SPECIAL, /* special floats, the rest small */
    FILL_SCALES,  /* magnitudes from 2^-20 to 2^20, and rows of zeros */
    FILL_COUNT
};

#define QUICK_CASES 216
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

/* ---- data ---- */

static int64_t width_of(const struct conform_case *c)
{
    return c->slot[TENON_MOE_LOGITS_W].tensor.dim[1];
}

static double x_value(const struct conform_case *c, uint64_t key, int64_t i)
{
    const int64_t row = i / width_of(c);
    uint64_t index = (uint64_t)i, r;
    switch (c->own[0]) {
    case FILL_EXACT:
        return (double)conform_below(key, index, 9) - 4.0;
    case FILL_FAR:
        return row % 4 == 3 ? 100.25 : 100.0 + (double)row + (double)conform_normal(key, index);
    case FILL_SPECIAL:
        r = conform_random(key, index);
        return r % 37 ? (double)conform_normal(key, index)
                      : (double)conform_bits_float(conform_specials[(r >> 32) % CONFORM_SPECIALS]);
    case FILL_SCALES:
        r = conform_random(key, (uint64_t)row);
        return row % 5 == 4 ? 0.0
                            : (double)conform_normal(key, index) *
                                  (double)conform_bits_float((uint32_t)(107 + r % 41) << 23);
    default:
        return (double)conform_normal(key, index);
    }
}

static double w_value(const struct conform_case *c, uint64_t key, int64_t i)
{
    const int64_t width = width_of(c), tokens = tenon_tensor_count(&c->slot[TENON_MOE_LOGITS_X].tensor) / width;
    const int64_t row = i / width;
    switch (c->own[0]) {
    case FILL_EXACT:
        return (double)conform_below(key, (uint64_t)i, 9) - 4.0;
    case FILL_NEAR:
        if (tokens == 0 || row % 3 == 2)
            break;
        return x_value(c, conform_key(c, TENON_MOE_LOGITS_X), row % tokens * width + i % width) +
               (row % 3 ? (double)conform_normal(key, (uint64_t)i) / 256 : 0.0);
    case FILL_FAR:
        return (row % 4 == 3 ? -7.0 : 50.0 - (double)row + (double)conform_normal(key, (uint64_t)i));
    case FILL_SCALES:
        return row % 5 == 3 ? 0.0 : (double)conform_normal(key, (uint64_t)i) / 64;
    default:
        break;
    }
    return (double)conform_normal(key, (uint64_t)i);
}

static void moe_logits_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    int64_t count = tenon_tensor_count(&slot->tensor);
    uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < count; i++) {
        double value = tensor == TENON_MOE_LOGITS_X   ? x_value(c, key, i)
                       : tensor == TENON_MOE_LOGITS_W ? w_value(c, key, i)
                       : c->own[0] == FILL_EXACT      ? (double)conform_below(key, (uint64_t)i, 17) - 8.0
                                                      : (double)conform_normal(key, (uint64_t)i);
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static const uint32_t types[5][2] = {
    {TENON_F32, TENON_F32},   {TENON_F16, TENON_F16}, {TENON_BF16, TENON_F32},
    {TENON_BF16, TENON_BF16}, {TENON_F32, TENON_F16},
};
#define QUICK_TYPES 3 /* kernels are compiled for some pairs of types: the rest is of the full level */
static const int64_t tokens[7] = {1, 2, 3, 7, 17, 25, 50};
static const int64_t experts[11] = {1, 2, 4, 7, 8, 15, 16, 17, 33, 64, 66};
static const int64_t widths[13] = {1, 2, 3, 7, 8, 15, 16, 17, 33, 64, 100, 257, 130};
static const int64_t large_tokens[2] = {97, 128}, large_experts[2] = {160, 256};
static const int64_t large_widths[4] = {1024, 1025, 2304, 4097};

struct extents {
    int64_t tokens, experts, width;
};

/* A matrix with gaps between its rows and margins around it, as the hash says. */
static void set_matrix(struct conform_case *c, uint32_t i, uint32_t dtype, int64_t rows, int64_t cols, int deep,
                       uint64_t hash)
{
    conform_slot_rows(c, i, dtype, deep, rows, cols, hash >> 3 & 1 ? 1 + (int64_t)(hash >> 4 & 7) : 0);
    conform_slot_margins(&c->slot[i], hash, hash >> 7);
}

static void set_tensors(struct conform_case *c, const struct extents *e, const uint32_t *type, uint64_t hash)
{
    const int deep = hash >> 40 & 1;
    set_matrix(c, TENON_MOE_LOGITS_X, type[0], e->tokens, e->width, deep, hash);
    set_matrix(c, TENON_MOE_LOGITS_W, type[1], e->experts, e->width, 0, hash >> 9);
    set_matrix(c, TENON_MOE_LOGITS_Z, TENON_F32, e->tokens, e->experts, deep, hash >> 18);
    if (hash >> 43 & 1)
        conform_slot_set(c, TENON_MOE_LOGITS_BIAS, TENON_F32, 1, &e->experts);
}

static void name_case(struct conform_case *c, const struct extents *e)
{
    static const char *const fills[] = {"exact", "normal", "near", "far", "special", "scales"};
    const struct tenon_moe_logits_params *p = tenon__moe_logits_suite_params(c);
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    snprintf(c->name, sizeof(c->name), "%s %s %s*%s %lldx%lldx%lld scale %g eps %g %s%s", contract->attrs[0].names[p->kind],
             contract->attrs[1].names[p->act], tenon_dtype_name(c->slot[TENON_MOE_LOGITS_X].tensor.dtype),
             tenon_dtype_name(c->slot[TENON_MOE_LOGITS_W].tensor.dtype), (long long)e->tokens, (long long)e->width,
             (long long)e->experts, (double)p->scale, (double)p->eps, fills[c->own[0]],
             c->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype ? " +bias" : "");
}

static void set_params(struct conform_case *c, uint64_t hash)
{
    static const float scales[4] = {1, 10, -2.5f, 0}, epss[4] = {0, 0, 0.5f, 1e-3f};
    struct tenon_moe_logits_params *p = tenon__moe_logits_suite_params(c);
    p->kind = (uint32_t)(c->number % TENON_MOE_LOGITS_KINDS);
    p->act = hash >> 35 & 1 ? TENON_MOE_LOGITS_ACT_NONE : (uint32_t)((hash >> 36) % TENON_MOE_LOGITS_ACTS);
    if (p->kind == TENON_MOE_LOGITS_COSINE)
        p->scale = scales[(hash >> 50) % (hash >> 52 & 3 ? 3 : 4)];
    if (p->kind == TENON_MOE_LOGITS_COSINE || p->kind == TENON_MOE_LOGITS_STD_DOT)
        p->eps = epss[hash >> 53 & 3];
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void moe_logits_make(struct conform_case *c)
{
    uint64_t n = c->number, hash = conform_key(c, 100);
    struct extents e = {tokens[n % 7], experts[n % 11], widths[n % 13]};
    if (n == 0) { /* small and plain, with every tensor */
        e = (struct extents){3, 5, 7};
        c->own[0] = FILL_NORMAL;
        c->mode = CONFORM_RANDOM;
        set_tensors(c, &e, types[0], UINT64_C(1) << 43);
        name_case(c, &e);
        return;
    }
    if (n >= QUICK_CASES && (hash >> 61) == 0)
        e.tokens = large_tokens[hash >> 47 & 1];
    if (n >= QUICK_CASES && (hash >> 58 & 7) == 0)
        e.experts = large_experts[hash >> 48 & 1];
    if ((hash >> 55 & 7) == 0)
        e.width = large_widths[hash >> 45 & 3];
    if (hash % 41 == 0)
        *(n % 3 == 0 ? &e.tokens : n % 3 == 1 ? &e.experts : &e.width) = 0;
    set_params(c, hash);
    c->own[0] = (n / 4 + n) % FILL_COUNT;
    c->mode = c->own[0] == FILL_EXACT ? CONFORM_EXACT : c->own[0] == FILL_NORMAL ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    set_tensors(c, &e, types[n % 5 == QUICK_TYPES && n < QUICK_CASES ? 0 : n % 5], hash);
    name_case(c, &e);
}

/* ---- benchmarks ---- */

#define BENCH(kind, t, d, e, type, size, bytes)                                                                        \
    {                                                                                                                  \
        #kind " " #t "x" #d "x" #e, type, size, {t, d, e}, 1.0 * (t + e) * d * bytes + 4.0 * t * e, 2.0 * t * d * e    \
    }
/* Routers of known models, by their names. */
#define MODEL(name, t, d, e)                                                                                           \
    {                                                                                                                  \
        "dot " name " " #t "x" #d "x" #e, TENON_F32, CONFORM_QUICK, {t, d, e},                                         \
            4.0 * (t + e) * d + 4.0 * t * e, 2.0 * t * d * e                                                           \
    }
static const struct conform_bench benches[] = {
    BENCH(dot, 1, 4096, 256, TENON_F32, CONFORM_QUICK, 4),
    BENCH(dot, 1, 4096, 256, TENON_BF16, CONFORM_FULL, 2),
    BENCH(dot, 512, 4096, 64, TENON_F32, CONFORM_QUICK, 4),
    BENCH(dot, 512, 4096, 64, TENON_BF16, CONFORM_FULL, 2),
    BENCH(dot, 512, 4096, 256, TENON_F32, CONFORM_FULL, 4),
    MODEL("mixtral", 1024, 4096, 8),
    MODEL("qwen3-moe", 1024, 2048, 128),
    MODEL("deepseek-v3", 512, 7168, 256),
    MODEL("deepseek-v3", 1, 7168, 256),
    BENCH(cosine, 1, 4096, 256, TENON_F32, CONFORM_FULL, 4),
    BENCH(cosine, 512, 4096, 64, TENON_F32, CONFORM_FULL, 4),
    BENCH(neg_l2, 1, 4096, 256, TENON_F32, CONFORM_FULL, 4),
    BENCH(neg_l2, 512, 4096, 64, TENON_F32, CONFORM_FULL, 4),
    BENCH(std_dot, 1, 4096, 256, TENON_F32, CONFORM_FULL, 4),
    BENCH(std_dot, 512, 4096, 64, TENON_F32, CONFORM_FULL, 4),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_moe_logits_params *p = tenon__moe_logits_suite_params(c);
    int64_t t = bench->dim[0], d = bench->dim[1], e = bench->dim[2];
    c->own[0] = FILL_NORMAL;
    p->kind = bench->name[0] == 'd'   ? TENON_MOE_LOGITS_DOT
              : bench->name[0] == 'c' ? TENON_MOE_LOGITS_COSINE
              : bench->name[0] == 'n' ? TENON_MOE_LOGITS_NEG_L2
                                      : TENON_MOE_LOGITS_STD_DOT;
    conform_slot_set(c, TENON_MOE_LOGITS_X, bench->dtype, 2, (int64_t[]){t, d});
    conform_slot_set(c, TENON_MOE_LOGITS_W, bench->dtype, 2, (int64_t[]){e, d});
    conform_slot_set(c, TENON_MOE_LOGITS_Z, TENON_F32, 2, (int64_t[]){t, e});
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}

const struct conform_op tenon__conform_moe_logits = {
    .op = TENON_OPNUM_moe_logits,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = moe_logits_make,
    .fill = moe_logits_fill,
    .expect = tenon__conform_moe_logits_expect,
    .check = tenon__conform_moe_logits_check,
    .mpfr = tenon__conform_moe_logits_mpfr,
    .n_hostile = MOE_LOGITS_HOSTILE,
    .hostile = tenon__moe_logits_suite_hostile,
    .n_properties = MOE_LOGITS_PROPERTIES,
    .properties = tenon__moe_logits_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
