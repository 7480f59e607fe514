/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear: shapes and data of its cases, benchmark rows. */
#include <stdio.h>
#include "linear_suite.h"

/* How the inputs are filled (own[0]). */
enum {
    FILL_EXACT,   /* small integers: every product and sum is exact */
    FILL_NORMAL,  /* N(0,1) */
    FILL_ONES,    /* all equal: sums as large as they get without cancelling */
    FILL_CANCEL,  /* pairs that cancel almost wholly */
    FILL_SPECIAL, /* one special float a row of x, the rest small */
    FILL_SCALES,  /* magnitudes from 2^-20 to 2^20 */
    FILL_COUNT
};

#define QUICK_CASES 280
#define FULL_CASES  2400
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

/* ---- data ---- */

static double x_value(const struct conform_case *c, uint64_t key, int64_t i)
{
    uint64_t index = (uint64_t)i, r;
    switch (c->own[0]) {
    case FILL_EXACT:
        return (double)conform_below(key, index, 9) - 4.0;
    case FILL_ONES:
        return 0.9;
    case FILL_CANCEL:
        r = conform_random(key, index / 2);
        return (index & 1 ? -1.0 : 1.0) * (1.0 + (double)(r & 255) / 256) + (index & 1 ? 0.0 : 0x1p-7);
    case FILL_SPECIAL:
        r = conform_random(key, index);
        return r % 37 ? (double)conform_normal(key, index)
                      : (double)conform_bits_float(conform_specials[(r >> 32) % CONFORM_SPECIALS]);
    case FILL_SCALES:
        r = conform_random(key, index);
        return (double)conform_normal(key, index) * (double)conform_bits_float((uint32_t)(107 + r % 41) << 23);
    default:
        return (double)conform_normal(key, index);
    }
}

static double w_value(const struct conform_case *c, uint64_t key, int64_t i)
{
    uint64_t index = (uint64_t)i;
    if (c->slot[TENON_LINEAR_W].tensor.dtype == TENON_I8)
        return c->own[0] == FILL_EXACT ? (double)conform_below(key, index, 9) - 4.0
                                       : (double)conform_below(key, index, 256) - 128.0;
    switch (c->own[0]) {
    case FILL_EXACT:
        return (double)conform_below(key, index, 9) - 4.0;
    case FILL_ONES:
        return 1.0;
    case FILL_CANCEL:
        return 1.0 + (double)conform_below(key, index / 2, 8) / 8;
    default:
        return (double)conform_normal(key, index);
    }
}

static double side_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t i)
{
    double normal = (double)conform_normal(key, (uint64_t)i);
    if (tensor == TENON_LINEAR_W_SCALE)
        return c->own[0] == FILL_EXACT ? (i & 1 ? 0.5 : 2.0)
                                       : (double)(float)(0.001 + 0.01 * (double)conform_uniform(key, (uint64_t)i));
    return c->own[0] == FILL_EXACT ? (double)conform_below(key, (uint64_t)i, 17) - 8.0 : normal;
}

static void linear_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    int64_t count = tenon_tensor_count(&slot->tensor);
    uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < count; i++) {
        double value = tensor == TENON_LINEAR_X   ? x_value(c, key, i)
                       : tensor == TENON_LINEAR_W ? w_value(c, key, i)
                                                  : side_value(c, tensor, key, i);
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static const uint32_t types[17][3] = {
    /* x, w, y */
    {TENON_F32, TENON_F32, TENON_F32}, {TENON_F16, TENON_F16, TENON_F16},   {TENON_BF16, TENON_BF16, TENON_BF16},
    {TENON_F32, TENON_I8, TENON_F32},  {TENON_F32, TENON_F16, TENON_F32},   {TENON_F32, TENON_F32, TENON_F32},
    {TENON_F16, TENON_F16, TENON_F32}, {TENON_BF16, TENON_BF16, TENON_F32}, {TENON_F32, TENON_BF16, TENON_F32},
    {TENON_F16, TENON_I8, TENON_F16},  {TENON_BF16, TENON_I8, TENON_BF16},  {TENON_F32, TENON_F32, TENON_F32},
    {TENON_F16, TENON_F32, TENON_F16}, {TENON_BF16, TENON_F32, TENON_F32},  {TENON_F16, TENON_I8, TENON_F32},
    {TENON_F32, TENON_I8, TENON_F32},  {TENON_F16, TENON_BF16, TENON_F16},
};
static const int64_t ms[7] = {1, 2, 3, 5, 17, 33, 8}, large_ms[4] = {1, 64, 65, 127};
static const int64_t ns[13] = {1, 2, 7, 8, 15, 16, 17, 31, 64, 65, 96, 130, 33}, large_ns[4] = {1, 255, 257, 515};
static const int64_t ks[19] = {1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 33, 63, 64, 96, 128, 257, 1000, 5, 512};
static const int64_t large_ks[4] = {1024, 1025, 4097, 2048};

struct extents {
    int64_t m, n, k;
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
    const struct tenon_linear_params *p = tenon__linear_suite_params(c);
    int deep = !p->trans_x && hash >> 40 & 1;
    set_matrix(c, TENON_LINEAR_X, type[0], p->trans_x ? e->k : e->m, p->trans_x ? e->m : e->k, deep, hash);
    set_matrix(c, TENON_LINEAR_W, type[1], p->trans_w ? e->k : e->n, p->trans_w ? e->n : e->k, 0, hash >> 9);
    set_matrix(c, TENON_LINEAR_Y, type[2], e->m, e->n, deep, hash >> 18);
    if (type[1] == TENON_I8 && e->k % 32 == 0 && e->k && hash >> 41 & 1)
        conform_slot_set(c, TENON_LINEAR_W_SCALE, TENON_F32, 2,
                         (int64_t[]){e->n, e->k % 64 || hash >> 42 & 1 ? e->k / 32 : e->k / 64});
    else if (type[1] == TENON_I8)
        conform_slot_set(c, TENON_LINEAR_W_SCALE, TENON_F32, 1, &e->n);
    if (hash >> 43 & 1)
        conform_slot_set(c, TENON_LINEAR_BIAS, TENON_F32, 1, &e->n);
    if (hash >> 44 & 1) {
        set_matrix(c, TENON_LINEAR_RESIDUAL, hash >> 45 & 1 ? TENON_F32 : type[2], e->m, e->n, deep, hash >> 27);
        if (hash >> 46 & 1 && c->slot[TENON_LINEAR_RESIDUAL].tensor.dtype == type[2]) {
            c->slot[TENON_LINEAR_Y] = c->slot[TENON_LINEAR_RESIDUAL];
            c->slot[TENON_LINEAR_Y].same_as = TENON_LINEAR_RESIDUAL;
            c->slot[TENON_LINEAR_Y].is_output = 1;
        }
    }
}

static void name_case(struct conform_case *c, const struct extents *e)
{
    static const char *const fills[] = {"exact", "normal", "ones", "cancel", "special", "scales"};
    const struct tenon_linear_params *p = tenon__linear_suite_params(c);
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    char *end = c->name + sizeof(c->name), *text = c->name;
    text += snprintf(
        text, (size_t)(end - text), "%s*%s>%s %lldx%lldx%lld%s%s %s %s",
        tenon_dtype_name(c->slot[TENON_LINEAR_X].tensor.dtype), tenon_dtype_name(c->slot[TENON_LINEAR_W].tensor.dtype),
        tenon_dtype_name(c->slot[TENON_LINEAR_Y].tensor.dtype), (long long)e->m, (long long)e->k, (long long)e->n,
        p->trans_x ? " trans_x" : "", p->trans_w ? " trans_w" : "", contract->attrs[0].names[p->act], fills[c->own[0]]);
    for (uint32_t i = TENON_LINEAR_BIAS; i <= TENON_LINEAR_RESIDUAL; i++)
        if (c->slot[i].tensor.dtype)
            text += snprintf(text, (size_t)(end - text), " +%s", contract->tensors[i].name);
    snprintf(text, (size_t)(end - text), "%s", c->slot[TENON_LINEAR_Y].same_as >= 0 ? " in place" : "");
}

/* Case 0: small and plain, with every tensor that f32 weights have. */
static void make_plain(struct conform_case *c)
{
    struct extents e = {3, 7, 5};
    c->own[0] = FILL_NORMAL;
    c->mode = CONFORM_RANDOM;
    set_tensors(c, &e, types[0], UINT64_C(3) << 43);
    name_case(c, &e);
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void linear_make(struct conform_case *c)
{
    static const uint32_t exact_acts[4] = {TENON_ACT_IDENTITY, TENON_ACT_RELU, TENON_ACT_RELU2, TENON_ACT_FATRELU};
    static const uint32_t fills[5] = {FILL_EXACT, FILL_NORMAL, FILL_CANCEL, FILL_SPECIAL, FILL_SCALES};
    struct tenon_linear_params *p = tenon__linear_suite_params(c);
    uint64_t n = c->number, hash = conform_key(c, 100);
    struct extents e = {ms[n % 7], ns[n % 13], ks[n % 19]};
    if (n == 0) {
        make_plain(c);
        return;
    }
    if (n >= QUICK_CASES && hash >> 61 == 0)
        e.m = large_ms[hash >> 47 & 3];
    if (n >= QUICK_CASES && (hash >> 58 & 7) == 0)
        e.n = large_ns[hash >> 49 & 3];
    if ((hash >> 55 & 7) == 0)
        e.k = large_ks[hash >> 51 & 3];
    if (hash % 41 == 0)
        *(n % 3 == 0 ? &e.m : n % 3 == 1 ? &e.n : &e.k) = 0;
    c->own[0] = hash >> 53 & 3 ? fills[n % 5] : n % 5 == 1 ? FILL_ONES : fills[n % 5];
    c->mode = c->own[0] == FILL_EXACT                              ? CONFORM_EXACT
              : c->own[0] == FILL_NORMAL || c->own[0] == FILL_ONES ? CONFORM_RANDOM
                                                                   : CONFORM_ADVERSARIAL;
    p->act = c->mode == CONFORM_EXACT ? exact_acts[hash >> 38 & 3] : (uint32_t)(n % TENON_ACT_COUNT);
    p->trans_x = n & 1;
    p->trans_w = n >> 1 & 1;
    p->alpha = p->act >= TENON_ACT_XSILU && hash >> 37 & 1 ? 0.25f : 0;
    p->threshold = p->act == TENON_ACT_FATRELU ? 0.5f : 0;
    set_tensors(c, &e, types[n % 17], hash);
    name_case(c, &e);
}

/* ---- benchmarks ---- */

#define BENCH(m, k, n, type, size, x_bytes, w_bytes, scale_bytes)                                                      \
    {                                                                                                                  \
#m "x" #k "x" #n, type, size,                                                                                  \
            {m, k, n }, 1.0 * m *k *x_bytes + 1.0 * n *k *w_bytes + 1.0 * n *scale_bytes + 1.0 * m *n *x_bytes,        \
             2.0 * m *n *k                                                                                             \
    }
static const struct conform_bench benches[] = {
    BENCH(1024, 1024, 1024, TENON_F32, CONFORM_QUICK, 4, 4, 0),
    BENCH(1024, 1024, 1024, TENON_F16, CONFORM_FULL, 2, 2, 0),
    BENCH(1024, 1024, 1024, TENON_BF16, CONFORM_FULL, 2, 2, 0),
    BENCH(1024, 1024, 1024, TENON_I8, CONFORM_FULL, 4, 1, 4),
    BENCH(1, 4096, 4096, TENON_F32, CONFORM_QUICK, 4, 4, 0),
    BENCH(1, 4096, 4096, TENON_F16, CONFORM_FULL, 2, 2, 0),
    BENCH(1, 4096, 4096, TENON_BF16, CONFORM_FULL, 2, 2, 0),
    BENCH(1, 4096, 4096, TENON_I8, CONFORM_FULL, 4, 1, 4),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    int64_t m = bench->dim[0], k = bench->dim[1], n = bench->dim[2];
    uint32_t type = bench->dtype == TENON_I8 ? TENON_F32 : bench->dtype;
    c->own[0] = FILL_NORMAL;
    conform_slot_set(c, TENON_LINEAR_X, type, 2, (int64_t[]){m, k});
    conform_slot_set(c, TENON_LINEAR_W, bench->dtype, 2, (int64_t[]){n, k});
    if (bench->dtype == TENON_I8)
        conform_slot_set(c, TENON_LINEAR_W_SCALE, TENON_F32, 1, &n);
    conform_slot_set(c, TENON_LINEAR_Y, type, 2, (int64_t[]){m, n});
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}

const struct conform_op tenon__conform_linear = {
    .op = TENON_OPNUM_linear,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = linear_make,
    .fill = linear_fill,
    .expect = tenon__conform_linear_expect,
    .check = tenon__conform_linear_check,
    .mpfr = tenon__conform_linear_mpfr,
    .n_hostile = LINEAR_HOSTILE,
    .hostile = tenon__linear_suite_hostile,
    .n_properties = LINEAR_PROPERTIES,
    .properties = tenon__linear_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
