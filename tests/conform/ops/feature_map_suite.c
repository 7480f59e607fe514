/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * feature_map: the shapes and the contents of its cases, and its benchmark rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "feature_map_suite.h"

#define QUICK_CASES 300
#define FULL_CASES  2100
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define F(NAME)     TENON_FEATURE_MAP_##NAME

#define NAME_(NAME, name) name,
static const char *const kinds[] = {TENON_FEATURE_MAP_LIST(NAME_)};
#undef NAME_

static struct tenon_feature_map_params *params_of(struct conform_case *c)
{
    return (struct tenon_feature_map_params *)(void *)c->params;
}

/* ---- contents ---- */

static double value_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    static const uint32_t special[4] = {0x7f800000, 0xff800000, 0x7fc00000, 0xff800000};
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const int half = c->slot[tensor].tensor.dtype == TENON_F16;
    const int64_t row = i / tenon__map_suite_last(c, tensor);
    switch (c->own[0]) {
    case MAP_EXACT: return (double)((int64_t)(random % 17) - 8) * 0.25;
    case MAP_SPECIAL: return random >> 59 ? normal : (double)conform_bits_float(special[random % 4]);
    case MAP_WIDE: return normal * (row % 3 == 0 ? 30 : row % 3 == 1 ? 100 : 0.001);
    case MAP_LARGE: return half ? normal * 9000 : ldexp(normal, 20 * (int)(row % 6) + 22 - 3 * (int)(random >> 62));
    case MAP_TINY: return normal * (half ? 0x1p-20 : random >> 63 ? 0x1p-126 : 0x1p-140);
    case MAP_ZERO: return row % 2 ? normal : random >> 63 ? 0.0 : -0.0;
    case MAP_NONE: return row % 2 && random >> 62 ? normal : -(double)INFINITY;
    default: return normal * 1.5;
    }
}

static void map_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value_of(c, tensor, i));
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[MAP_FILLS] = {"normal", "exact", "special", "wide", "large", "tiny", "zero", "none"};
    const struct tenon_feature_map_params *p = params_of(c);
    snprintf(c->name, sizeof(c->name), "%s %lldx%lld%s%lld>%lld %s>%s nu %u power %.3g %s%s", kinds[p->kind],
             (long long)tenon__map_suite_rows(c), (long long)tenon__map_suite_last(c, F(X)),
             c->slot[F(B)].tensor.dtype ? " and " : ",", (long long)tenon__map_suite_last(c, F(B)),
             (long long)tenon__map_suite_last(c, F(Y)), tenon_dtype_name(c->slot[F(X)].tensor.dtype),
             tenon_dtype_name(c->slot[F(Y)].tensor.dtype), p->nu, (double)p->power, fills[c->own[0]],
             c->slot[F(Y)].same_as >= 0 ? " in place" : "");
}

static int64_t width_of(const struct tenon_feature_map_params *p, int64_t k, int64_t kb)
{
    if (p->kind == F(TAYLOR2))
        return 1 + 2 * k + (k ? k * (k - 1) / 2 : 0);
    if (p->kind == F(OUTER))
        return k * kb;
    if (p->kind == F(DPFP))
        return 2 * k * p->nu;
    return p->kind == F(HEDGEHOG) || p->kind == F(NALA_Q) || p->kind == F(NALA_K) ? 2 * k : k;
}

/* Layout 1: rows with gaps; 2: two leading axes; 3: in place. kb 0: without b. */
static void set_tensors(struct conform_case *c, int64_t rows, int64_t k, int64_t kb, uint32_t layout, uint64_t hash)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const int two = layout == 2 && rows % 2 == 0 && rows > 0;
    const int64_t width = width_of(params_of(c), k, kb ? kb : k), cols[3] = {k, kb, width};
    const uint32_t type = c->number && !c->own[1] ? types[hash & 3] : TENON_F32, type_b = types[hash >> 2 & 3];
    for (uint32_t i = F(X); i <= F(Y); i++) {
        const int64_t dim[3] = {two ? rows / 2 : rows, two ? 2 : cols[i], cols[i]};
        if (i == F(B) && !kb)
            continue;
        conform_slot_set(c, i, i == F(X) ? type : i == F(B) ? type_b : hash >> 4 & 1 ? type : TENON_F32, two ? 3 : 2,
                         dim);
        if (layout == 1)
            conform_slot_pitch(&c->slot[i], cols[i] + (int64_t)(hash >> (8 + 3 * i) & 7) + 1);
        conform_slot_room(&c->slot[i], (layout == 1 ? 4 : hash >> (20 + 2 * i) & 3) * 4, 8);
    }
    if (layout == 3 && params_of(c)->kind <= F(SUMNORM) && c->slot[F(Y)].tensor.dtype == type) {
        c->slot[F(Y)] = c->slot[F(X)];
        c->slot[F(Y)].same_as = F(X);
        c->slot[F(Y)].is_output = 1;
    }
}

struct map_special {
    uint32_t kind;
    int64_t rows, k, kb;
    uint32_t fill;
};
static const struct map_special first_specials[] = {
    {F(OUTER), 4, 3, 5, MAP_NORMAL}, /* case 0: with b */
    {F(ELU1), 0, 7, 0, MAP_NORMAL}, {F(SOFTMAX), 3, 0, 0, MAP_NORMAL}, {F(TAYLOR2), 3, 0, 0, MAP_NORMAL},
    {F(OUTER), 3, 5, 0, MAP_NORMAL}, {F(TAYLOR2), 2, 300, 0, MAP_NORMAL}, {F(DPFP), 3, 1, 0, MAP_EXACT},
    {F(SOFTMAX), 4, 5000, 0, MAP_WIDE}, {F(HEDGEHOG), 2, 3001, 0, MAP_WIDE}, {F(L2), 2, 9000, 0, MAP_LARGE},
    {F(SUMNORM), 700, 3, 0, MAP_ZERO}, {F(SOFTMAX), 6, 20, 0, MAP_NONE}, {F(NALA_Q), 6, 64, 0, MAP_ZERO},
    {F(OUTER), 1, 2, 20000, MAP_NORMAL}, {F(OUTER), 1, 700, 3, MAP_EXACT},
    {F(RELU2), 5, 33, 0, MAP_EXACT}, {F(DPFP), 4, 9, 0, MAP_EXACT}, {F(TAYLOR2), 4, 4, 0, MAP_EXACT},
};
static const struct map_special full_specials[] = {
    {F(TAYLOR2), 1, 1500, 0, MAP_NORMAL}, {F(L2), 1, 65535, 0, MAP_NORMAL}, {F(SOFTMAX), 2, 65535, 0, MAP_WIDE},
    {F(ELU1), 70000, 3, 0, MAP_NORMAL}, {F(DPFP), 2, 20000, 0, MAP_EXACT}, {F(NALA_Q), 1, 40000, 0, MAP_NORMAL},
    {F(OUTER), 1, 3, 65535, MAP_NORMAL}, {F(OUTER), 1, 65535, 3, MAP_NORMAL},
};

static void map_make(struct conform_case *c)
{
    static const int64_t all_rows[6] = {1, 2, 3, 4, 6, 17};
    static const int64_t all_k[14] = {1, 2, 3, 7, 15, 16, 17, 32, 33, 64, 65, 96, 128, 200};
    static const float powers[4] = {3, 3, 2, 4.5f}, epsilons[4] = {1e-6f, 1e-6f, 1e-30f, 0.01f};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct map_special *s = n < COUNT(first_specials) ? &first_specials[n]
                                  : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                      ? &full_specials[n - QUICK_CASES]
                                      : NULL;
    struct tenon_feature_map_params *p = params_of(c);
    p->kind = s ? s->kind : (uint32_t)(n % F(COUNT));
    const int wide = p->kind == F(TAYLOR2) || p->kind == F(OUTER);
    const int64_t k = s ? s->k : all_k[(hash % 14) / (wide ? 2 : 1)];
    const int64_t kb = s ? s->kb : p->kind == F(OUTER) && hash >> 8 & 1 ? all_k[(hash >> 9) % 8] : 0;
    c->own[1] = n < COUNT(first_specials); /* f32 */
    c->own[0] = s ? s->fill : hash >> 20 & 1 ? MAP_NORMAL : (hash >> 21) % MAP_FILLS;
    c->mode = c->own[0] == MAP_NORMAL || c->own[0] == MAP_WIDE ? CONFORM_RANDOM
              : c->own[0] == MAP_EXACT                         ? CONFORM_EXACT
                                                               : CONFORM_ADVERSARIAL;
    p->nu = n ? 1 + (hash >> 30 & 3) : 1;
    p->power = powers[hash >> 32 & 3];
    p->eps = epsilons[hash >> 34 & 3];
    set_tensors(c, s ? s->rows : all_rows[(hash >> 40) % 6], k, kb, n && !s ? hash >> 44 & 3 : 0,
                conform_random(hash, 1));
    name_case(c);
}

/* ---- benchmarks: x is read once, y is written ---- */

#define BENCH(text, type, size, rows, k, width)                                                                        \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {rows, k, width}, 1.0 * (rows) * ((k) + (width)) * (size), 8.0 * (rows) * (width)   \
    }
static const struct conform_bench benches[] = {
    BENCH("elu1 131072 of 128", TENON_F32, 4, 131072, 128, 128),
    BENCH("elu1 bf16 262144 of 128", TENON_BF16, 2, 262144, 128, 128),
    BENCH("softmax 131072 of 128", TENON_F32, 4, 131072, 128, 128),
    BENCH("l2 131072 of 128", TENON_F32, 4, 131072, 128, 128),
    BENCH("hedgehog 131072 of 64", TENON_F32, 4, 131072, 64, 128),
    BENCH("dpfp 131072 of 64", TENON_F32, 4, 131072, 64, 128),
    BENCH("taylor2 131072 of 16", TENON_F32, 4, 131072, 16, 153),
    BENCH("nala_q 131072 of 64", TENON_F32, 4, 131072, 64, 128),
    BENCH("outer 8192 of 32", TENON_F32, 4, 8192, 32, 1024),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const size_t length = strcspn(bench->name, " ");
    for (uint32_t i = 0; i < COUNT(kinds); i++)
        if (strncmp(kinds[i], bench->name, length) == 0 && kinds[i][length] == 0)
            params_of(c)->kind = i;
    c->own[0] = MAP_NORMAL;
    conform_slot_set(c, F(X), bench->dtype, 2, bench->dim);
    conform_slot_set(c, F(Y), bench->dtype, 2,
                     (int64_t[]){bench->dim[0], width_of(params_of(c), bench->dim[1], bench->dim[1])});
    name_case(c);
}

const struct conform_op tenon__conform_feature_map = {
    .op = TENON_OPNUM_feature_map,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = map_make,
    .fill = map_fill,
    .expect = tenon__conform_feature_map_expect,
    .mpfr = tenon__conform_feature_map_mpfr,
    .n_hostile = MAP_HOSTILE,
    .hostile = tenon__map_suite_hostile,
    .n_properties = MAP_PROPERTIES,
    .properties = tenon__map_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
