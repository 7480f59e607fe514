/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge: the shapes and the contents of its cases, and its benchmark rows. */
#include <stdio.h>
#include "softmax_merge_suite.h"

#define QUICK_CASES 220
#define FULL_CASES  2000
#define SOAK_CASES  100000

static struct tenon_softmax_merge_params *params_of(struct conform_case *c)
{
    return (struct tenon_softmax_merge_params *)(void *)c->params;
}

/* ---- contents ---- */

/* A sound state; `which` numbers it. */
static float m_value(const struct conform_case *c, uint64_t key, int64_t part, int64_t row, uint64_t which)
{
    static const float far[6] = {3e38f, -3e38f, 0.0f, -0.0f, 1e-30f, 88.0f};
    switch (c->own[0]) {
    case MERGE_EXACT: { /* the first 2^k parts count */
        int64_t take = 1;
        while (take * 2 <= tenon__merge_suite_parts(c))
            take *= 2;
        return part < take ? 3.0f : -1000.0f - (float)row;
    }
    case MERGE_WIDE:
        return which % 3 ? 100.0f * conform_normal(key, which) : far[conform_random(key, which) % 6];
    case MERGE_DEEP:
        return -200.0f * conform_uniform(key, which);
    case MERGE_FIXED:
        return 7.5f;
    default:
        return 3.0f + conform_normal(key, which);
    }
}

static float s_value(const struct conform_case *c, uint64_t key, uint64_t which)
{
    if (c->own[0] == MERGE_EXACT)
        return 4.0f;
    if (c->own[0] == MERGE_FIXED) { /* 2^-80 to 2^100 */
        uint32_t exponent = 47 + (uint32_t)(conform_random(key, which) % 181);
        return conform_bits_float(exponent << 23 | (uint32_t)(conform_random(key, which) >> 41));
    }
    return 1.0f + 1000.0f * conform_uniform(key, which) * conform_uniform(key, which);
}

/* a, q and o. */
static float payload(const struct conform_case *c, uint64_t key, uint32_t tensor, uint64_t which)
{
    float normal = conform_normal(key, which);
    if (c->own[0] == MERGE_EXACT)
        return (float)((int64_t)conform_below(key, which, 129) - 64) * 0.125f;
    if (c->own[0] == MERGE_PAYLOAD && conform_random(key, which) % 7 == 0)
        return conform_bits_float((const uint32_t[]){0x7f800000, 0xff800000, 0x7fc00000, 0xffc00123}[which % 4]);
    if (tensor == TENON_SOFTMAX_MERGE_Q)
        return normal * normal;
    if (tensor == TENON_SOFTMAX_MERGE_A)
        return -normal * normal;
    /* as large as the type can hold, or as small, by column */
    if (c->own[0] == MERGE_DEEP && c->slot[tensor].tensor.dtype != TENON_F16)
        return normal * (which % 2 ? 0x1p125f : 1.0f);
    return normal;
}

/* 1 when the part is to be ignored, with what it holds; 2 to 6: an m or s that makes the row NaN. */
static int kind_of(const struct conform_case *c, int64_t part, int64_t row)
{
    uint64_t random = conform_random(conform_key(c, 90), (uint64_t)(row * tenon__merge_suite_parts(c) + part));
    if (c->own[0] == MERGE_EMPTY)
        return row % 3 == 0 || random % 2 == 0;
    if (c->own[0] == MERGE_BAD && row % 2 == 0 &&
        part == (int64_t)conform_below(conform_key(c, 91), (uint64_t)row, (uint64_t)tenon__merge_suite_parts(c)))
        return 2 + (int)(random % 6);
    return c->own[0] == MERGE_BAD && random % 4 == 0;
}

static float value_of(const struct conform_case *c, uint32_t tensor, int64_t part, int64_t row, int64_t col)
{
    static const uint32_t bad_m[6] = {0x7fc00000, 0x7f800000, 0x3f800000, 0x3f800000, 0x3f800000, 0xff800000};
    static const uint32_t bad_s[6] = {0x3f800000, 0x3f800000, 0x7fc00001, 0xbf800000, 0x7f800000, 0x7fc00000};
    int64_t rows = tenon__merge_suite_rows(c), dv = tensor == TENON_SOFTMAX_MERGE_O ? tenon__merge_suite_dv(c) : 1;
    uint64_t key = conform_key(c, tensor), which = (uint64_t)((part * rows + row) * dv + col);
    int kind = kind_of(c, part, row);
    /* -Inf with any sum, and any finite m with none */
    int by_m = conform_random(conform_key(c, 92), (uint64_t)(part * rows + row)) >> 63 != 0;
    if (tensor == TENON_SOFTMAX_MERGE_M)
        return kind >= 2 ? conform_bits_float(bad_m[kind - 2])
               : kind    ? conform_bits_float(by_m ? 0xff800000 : 0x7f000000)
                         : m_value(c, key, part, row, which);
    if (tensor == TENON_SOFTMAX_MERGE_S)
        return kind >= 2 ? conform_bits_float(bad_s[kind - 2])
               : kind    ? (by_m ? (float)(part % 3) : 0.0f * (part % 2 ? 1.0f : -1.0f))
                         : s_value(c, key, which);
    if (kind)
        return conform_bits_float(0x7fc00000);
    return payload(c, key, tensor, which);
}

static void merge_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    int64_t rows = tenon__merge_suite_rows(c), dv = tensor == TENON_SOFTMAX_MERGE_O ? tenon__merge_suite_dv(c) : 1;
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                    (double)value_of(c, tensor, i / dv / rows, i / dv % rows, i % dv));
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[MERGE_FILLS] = {"exact", "normal", "wide",    "deep",
                                                   "empty", "bad",    "payload", "fixed"};
    const struct tenon_tensor *y = &c->slot[TENON_SOFTMAX_MERGE_OUT_O].tensor;
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%lldx%lld", (long long)tenon__merge_suite_parts(c),
                   (long long)tenon__merge_suite_rows(c));
    if (y->dtype)
        at += snprintf(at, (size_t)(end - at), "x%lld %s>%s%s", (long long)tenon__merge_suite_dv(c),
                       tenon_dtype_name(c->slot[TENON_SOFTMAX_MERGE_O].tensor.dtype), tenon_dtype_name(y->dtype),
                       params_of(c)->o_normalised ? " normalised" : "");
    at += snprintf(at, (size_t)(end - at), " %s", fills[c->own[0]]);
    if (params_of(c)->inv_temp != 1.0f)
        snprintf(at, (size_t)(end - at), " T %.3g", (double)params_of(c)->inv_temp);
}

/* Layout 1: padded rows; 2: rows are two axes. o and out_o with margins. */
static void set_tensors(struct conform_case *c, int64_t parts, int64_t rows, int64_t dv, const uint32_t *type,
                        uint32_t layout, uint64_t hash)
{
    int64_t a = rows % 2 == 0 && rows > 0 && layout == 2 ? 2 : 1, dim[4] = {parts, a, rows / a, dv};
    int64_t flat[3] = {parts, rows, dv};
    const int64_t *in = layout == 2 ? dim : flat;
    const uint32_t rank = layout == 2 ? 3 : 2;
    const int has_o = dv >= 0;
    for (uint32_t i = TENON_SOFTMAX_MERGE_M; i <= TENON_SOFTMAX_MERGE_Q; i++)
        if (i <= TENON_SOFTMAX_MERGE_S || hash >> i & 1) {
            conform_slot_set(c, i, TENON_F32, rank, in);
            conform_slot_room(&c->slot[i], (hash >> (i * 3) & 3) * 4, 8);
        }
    for (uint32_t i = TENON_SOFTMAX_MERGE_OUT_M; i <= TENON_SOFTMAX_MERGE_LSE; i++) {
        const uint32_t needs = i == TENON_SOFTMAX_MERGE_OUT_A   ? TENON_SOFTMAX_MERGE_A
                               : i == TENON_SOFTMAX_MERGE_OUT_Q ? TENON_SOFTMAX_MERGE_Q
                                                                : TENON_SOFTMAX_MERGE_M;
        if (!c->slot[needs].tensor.dtype || (has_o && hash >> (i + 8) & 1))
            continue;
        conform_slot_set(c, i, TENON_F32, rank - 1, in + 1);
        conform_slot_room(&c->slot[i], (hash >> i & 3) * 4, 8);
    }
    for (uint32_t i = TENON_SOFTMAX_MERGE_O; has_o && i <= TENON_SOFTMAX_MERGE_OUT_O; i++) {
        const int out = i == TENON_SOFTMAX_MERGE_OUT_O;
        if (i != TENON_SOFTMAX_MERGE_O && !out)
            continue;
        conform_slot_set(c, i, type[out], rank + !out, in + out);
        if (layout == 1)
            conform_slot_pitch(&c->slot[i], dv + 1 + (int64_t)(hash >> 30 & 7));
        conform_slot_room(&c->slot[i], (hash >> (33 + 3 * out) & 7) * TENON_DTYPE_SIZE(type[out]), 8);
    }
}

struct merge_special {
    int64_t parts, rows, dv; /* dv -1: no o */
    uint32_t fill;
};
static const struct merge_special first_specials[] = {
    {3, 5, 7, MERGE_NORMAL}, /* case 0: plain, with every tensor */
    {0, 4, 9, MERGE_NORMAL}, {0, 3, -1, MERGE_NORMAL}, {4, 0, 5, MERGE_NORMAL},  {4, 3, 0, MERGE_NORMAL},
    {1, 6, 64, MERGE_WIDE},  {1000, 2, 5, MERGE_DEEP}, {64, 32, 128, MERGE_EXACT}, {2, 2, 1500, MERGE_EXACT},
};
static const struct merge_special full_specials[] = {
    {30000, 1, 3, MERGE_NORMAL}, {3, 70000, -1, MERGE_NORMAL}, {2, 70000, 3, MERGE_WIDE}, {5, 1, 100000, MERGE_DEEP},
    {150000, 2, 19, MERGE_WIDE},
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void merge_make(struct conform_case *c)
{
    static const uint32_t types[5][2] = {{TENON_F32, TENON_F32},
                                         {TENON_F16, TENON_F16},
                                         {TENON_BF16, TENON_BF16},
                                         {TENON_F16, TENON_F32},
                                         {TENON_BF16, TENON_F32}};
    static const int64_t all_parts[11] = {1, 2, 3, 4, 5, 8, 16, 17, 33, 64, 100};
    static const int64_t all_rows[7] = {1, 2, 3, 4, 6, 17, 65};
    static const int64_t all_dv[13] = {-1, 1, 2, 3, 7, 15, 16, 17, 33, 64, 128, 513, 1025};
    static const float temps[3] = {0.5f, 2.75f, 0.0f};
    uint64_t n = c->number, hash = conform_key(c, 100);
    struct tenon_softmax_merge_params *p = params_of(c);
    const struct merge_special *s = n < COUNT(first_specials) ? &first_specials[n]
                                    : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                        ? &full_specials[n - QUICK_CASES]
                                        : NULL;
    c->own[0] = s ? s->fill : n % MERGE_FILLS;
    c->mode = c->own[0] == MERGE_EXACT    ? CONFORM_EXACT
              : c->own[0] == MERGE_NORMAL ? CONFORM_RANDOM
                                          : CONFORM_ADVERSARIAL;
    p->o_normalised = n ? hash >> 40 & 1 : 0;
    if (s) {
        set_tensors(c, s->parts, s->rows, s->dv, types[0], 0, n ? hash : 0xf);
    } else {
        p->inv_temp = c->own[0] == MERGE_EXACT || hash >> 41 & 1 ? 1.0f : temps[(hash >> 42) % 3];
        set_tensors(c, all_parts[n % 11], all_rows[(hash >> 44) % 7], all_dv[n % 13], types[n % 5],
                    (uint32_t)(hash >> 50) % 3, conform_random(hash, 1));
    }
    if (c->own[0] == MERGE_FIXED && c->slot[TENON_SOFTMAX_MERGE_OUT_O].tensor.dtype)
        p->o_normalised = 1; /* o over an s of 2^-80 would be beyond the type */
    name_case(c);
}

/* ---- benchmarks: the parts of a decoding step; every o is read once ---- */

#define BENCH(parts, rows, dv)                                                                                         \
    {                                                                                                                  \
#parts "x" #rows "x" #dv, TENON_F32, CONFORM_QUICK, {parts, rows, dv },                                              \
            4.0 * ((double)(parts) * (rows) * ((dv) + 2) + (double)(rows) * (dv)), 2.0 * (parts) * (rows) * (dv)       \
    }
static const struct conform_bench benches[] = {
    BENCH(16, 4096, 128),
    BENCH(64, 32, 128),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    c->own[0] = MERGE_NORMAL;
    conform_slot_set(c, TENON_SOFTMAX_MERGE_M, TENON_F32, 2, bench->dim);
    conform_slot_set(c, TENON_SOFTMAX_MERGE_S, TENON_F32, 2, bench->dim);
    conform_slot_set(c, TENON_SOFTMAX_MERGE_O, bench->dtype, 3, bench->dim);
    conform_slot_set(c, TENON_SOFTMAX_MERGE_OUT_O, bench->dtype, 2, bench->dim + 1);
    name_case(c);
}

const struct conform_op tenon__conform_softmax_merge = {
    .op = TENON_OPNUM_softmax_merge,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = merge_make,
    .fill = merge_fill,
    .expect = tenon__conform_softmax_merge_expect,
    .mpfr = tenon__conform_softmax_merge_mpfr,
    .n_hostile = MERGE_HOSTILE,
    .hostile = tenon__merge_suite_hostile,
    .n_properties = MERGE_PROPERTIES,
    .properties = tenon__merge_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
