/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attn_merge: the shapes and the contents of its cases, and its benchmark rows. */
#include <stdio.h>
#include "attn_merge_suite.h"

#define QUICK_CASES 220
#define FULL_CASES  2000
#define SOAK_CASES  100000

static uint32_t kind_of(const struct conform_case *c)
{
    return ((const struct tenon_attn_merge_params *)(const void *)c->params)->kind;
}

/* ---- contents ---- */

/* Whether part p of a row is among the 2^k that count, where sums are to be exact. */
static int counts_exactly(const struct conform_case *c, int64_t part)
{
    int64_t take = 1;
    while (take * 2 <= tenon__attn_merge_suite_parts(c))
        take *= 2;
    return part < take;
}

/* 1: empty, with anything in it; 2 to 3: a normaliser that makes the row NaN. */
static int state_of(const struct conform_case *c, int64_t part, int64_t row)
{
    const int64_t parts = tenon__attn_merge_suite_parts(c);
    const uint64_t random = conform_random(conform_key(c, 90), (uint64_t)(row * parts + part));
    if (kind_of(c) == TENON_ATTN_MERGE_BY_SUM)
        return 0;
    if (c->own[0] == ATTN_MERGE_EMPTY)
        return row % 3 == 0 || random % 2 == 0;
    if (c->own[0] == ATTN_MERGE_BAD && row % 2 == 0 && kind_of(c) == TENON_ATTN_MERGE_BY_LNZ &&
        part == (int64_t)conform_below(conform_key(c, 91), (uint64_t)row, (uint64_t)parts))
        return 2 + (int)(random % 2);
    return c->own[0] == ATTN_MERGE_BAD && random % 4 == 0;
}

static float lnz_value(const struct conform_case *c, int64_t part, int64_t row)
{
    static const float far[6] = {3e38f, -3e38f, 0.0f, -0.0f, 1e-30f, 88.0f};
    const uint64_t key = conform_key(c, TENON_ATTN_MERGE_LNZ_PARTS);
    const uint64_t which = (uint64_t)(part * tenon__attn_merge_suite_rows(c) + row);
    const int state = state_of(c, part, row);
    if (state)
        return conform_bits_float((const uint32_t[]){0xff800000, 0x7fc00000, 0x7f800000}[state - 1]);
    switch (c->own[0]) {
    case ATTN_MERGE_EXACT: return counts_exactly(c, part) ? 3.0f : -1000.0f - (float)row;
    case ATTN_MERGE_WIDE: return which % 3 ? 100.0f * conform_normal(key, which) : far[conform_random(key, which) % 6];
    case ATTN_MERGE_DEEP: return -200.0f * conform_uniform(key, which);
    default: return 6.0f + 2.0f * conform_normal(key, which);
    }
}

static float sink_value(const struct conform_case *c, int64_t head)
{
    const uint64_t key = conform_key(c, TENON_ATTN_MERGE_SINK), which = (uint64_t)head;
    switch (c->own[0]) {
    case ATTN_MERGE_EXACT: return -1000.0f;
    case ATTN_MERGE_WIDE: return head % 4 == 3 ? 3e38f : 100.0f * conform_normal(key, which);
    case ATTN_MERGE_DEEP: return head % 2 ? 100.0f * conform_uniform(key, which) : -INT16_MAX;
    case ATTN_MERGE_BAD:
        return head % 2 ? conform_bits_float((const uint32_t[]){0x7fc00000, 0x7f800000, 0xff800000}[head / 2 % 3])
                        : 5.0f;
    default: return 6.0f + conform_normal(key, which);
    }
}

static double count_value(const struct conform_case *c, int64_t part, int64_t row)
{
    const uint64_t key = conform_key(c, TENON_ATTN_MERGE_COUNTS);
    const uint64_t which = (uint64_t)(part * tenon__attn_merge_suite_rows(c) + row);
    if (state_of(c, part, row))
        return which % 2 ? 0 : which % 4 ? -1 : INT32_MIN;
    switch (c->own[0]) {
    case ATTN_MERGE_EXACT: return counts_exactly(c, part) ? 4 : 0;
    case ATTN_MERGE_WIDE: return INT32_MAX - (int64_t)conform_below(key, which, 1000);
    case ATTN_MERGE_DEEP: return which % 3 ? 1 + (double)conform_below(key, which, 3) : 0x1p30 + (double)which;
    default: return 1 + (double)conform_below(key, which, 1024);
    }
}

static float o_value(const struct conform_case *c, int64_t part, int64_t row, int64_t col)
{
    const uint64_t key = conform_key(c, TENON_ATTN_MERGE_O_PARTS);
    const int64_t v = tenon__attn_merge_suite_v(c);
    const uint64_t which = (uint64_t)((part * tenon__attn_merge_suite_rows(c) + row) * v + col);
    const float normal = conform_normal(key, which);
    if (state_of(c, part, row))
        return conform_bits_float(0x7fc00000);
    if (c->own[0] == ATTN_MERGE_EXACT)
        return (float)((int64_t)conform_below(key, which, 129) - 64) * 0.125f;
    if (c->own[0] == ATTN_MERGE_PAYLOAD && conform_random(key, which) % 7 == 0)
        return conform_bits_float((const uint32_t[]){0x7f800000, 0xff800000, 0x7fc00000, 0xffc00123}[which % 4]);
    /* as large as the type can hold, or as small, by column */
    if (c->own[0] == ATTN_MERGE_DEEP && tenon__attn_merge_suite_parts_of(c)->dtype != TENON_F16 &&
        kind_of(c) == TENON_ATTN_MERGE_BY_LNZ)
        return normal * (which % 2 ? 0x1p125f : 1.0f);
    return normal;
}

static void merge_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const int64_t rows = tenon__attn_merge_suite_rows(c), v = tenon__attn_merge_suite_v(c);
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        double value = 0;
        if (tensor == TENON_ATTN_MERGE_SINK)
            value = (double)sink_value(c, i);
        else if (tensor == TENON_ATTN_MERGE_LNZ_PARTS)
            value = (double)lnz_value(c, i / rows, i % rows);
        else if (tensor == TENON_ATTN_MERGE_COUNTS)
            value = count_value(c, i / rows, i % rows);
        else
            value = (double)o_value(c, i / v / rows, i / v % rows, i % v);
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[ATTN_MERGE_FILLS] = {"exact", "normal", "wide", "deep", "empty", "bad", "payload"};
    static const char *const kinds[] = {"lnz", "sum", "count"};
    snprintf(c->name, sizeof(c->name), "%s %lldx%lldx%lld, %lld heads %s>%s %s%s%s", kinds[kind_of(c)],
             (long long)tenon__attn_merge_suite_parts(c), (long long)tenon__attn_merge_suite_rows(c),
             (long long)tenon__attn_merge_suite_v(c), (long long)tenon__attn_merge_suite_heads(c),
             tenon_dtype_name(tenon__attn_merge_suite_parts_of(c)->dtype),
             tenon_dtype_name(c->slot[TENON_ATTN_MERGE_O].tensor.dtype), fills[c->own[0]],
             c->slot[TENON_ATTN_MERGE_SINK].tensor.dtype ? " sink" : "",
             c->slot[TENON_ATTN_MERGE_LNZ].tensor.dtype ? " lnz" : "");
}

struct merge_shape {
    int64_t parts, tokens, heads, v;
    uint32_t kind, fill;
};

/* Layout 1: padded rows; 2: three leading axes; 3: one, which is the heads, or none. The tensors that the kind has:
 * those of bits 0 (sink) and 1 (lnz) of `hash`. */
static void set_tensors(struct conform_case *c, const struct merge_shape *s, const uint32_t *type, uint32_t layout,
                        uint64_t hash)
{
    const int flat = layout == 3 && s->tokens == 1;
    const int64_t deep[5] = {s->parts, 1, s->tokens, s->heads, s->v};
    const int64_t plain[4] = {s->parts, s->tokens, s->heads, s->v}, one[3] = {s->parts, s->heads, s->v};
    const int64_t none[2] = {s->parts, s->v};
    const int no_rows = flat && s->heads == 1;
    const int64_t *dim = layout == 2 ? deep : no_rows ? none : flat ? one : plain;
    const uint32_t rank = layout == 2 ? 5 : no_rows ? 2 : flat ? 3 : 4;
    const int lnz = s->kind == TENON_ATTN_MERGE_BY_LNZ;
    conform_slot_set(c, TENON_ATTN_MERGE_O_PARTS, type[0], rank, dim);
    conform_slot_set(c, TENON_ATTN_MERGE_O, type[1], rank - 1, dim + 1);
    for (uint32_t i = 0; i < TENON_ATTN_MERGE_N_TENSORS; i += TENON_ATTN_MERGE_O) {
        if (layout == 1)
            conform_slot_pitch(&c->slot[i], s->v + 1 + (int64_t)(hash >> 30 & 7));
        conform_slot_room(&c->slot[i], (hash >> (33 + i) & 7) * TENON_DTYPE_SIZE(type[i > 0]), 8);
    }
    if (lnz)
        conform_slot_set(c, TENON_ATTN_MERGE_LNZ_PARTS, TENON_F32, rank - 1, dim);
    else if (s->kind == TENON_ATTN_MERGE_BY_COUNT)
        conform_slot_set(c, TENON_ATTN_MERGE_COUNTS, TENON_I32, rank - 1, dim);
    if (lnz && !no_rows && hash & 1)
        conform_slot_set(c, TENON_ATTN_MERGE_SINK, TENON_F32, 1, &s->heads);
    if (lnz && hash & 2)
        conform_slot_set(c, TENON_ATTN_MERGE_LNZ, TENON_F32, rank - 2, dim + 1);
    for (uint32_t i = TENON_ATTN_MERGE_LNZ_PARTS; i < TENON_ATTN_MERGE_N_TENSORS; i++)
        if (i != TENON_ATTN_MERGE_O && c->slot[i].tensor.dtype)
            conform_slot_room(&c->slot[i], (hash >> (3 * i) & 3) * 4, 8);
}

static const struct merge_shape first_shapes[] = {
    {3, 1, 5, 7, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_NORMAL}, /* case 0: plain, with every tensor of its kind */
    {0, 2, 2, 9, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_NORMAL},
    {0, 2, 2, 9, TENON_ATTN_MERGE_BY_SUM, ATTN_MERGE_NORMAL},
    {0, 3, 1, 5, TENON_ATTN_MERGE_BY_COUNT, ATTN_MERGE_NORMAL},
    {4, 0, 2, 5, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_NORMAL},
    {4, 3, 2, 0, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_NORMAL},
    {1, 1, 6, 64, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_WIDE},
    {1000, 1, 2, 5, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_DEEP},
    {64, 4, 8, 128, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_EXACT},
    {2, 1, 2, 1500, TENON_ATTN_MERGE_BY_COUNT, ATTN_MERGE_EXACT},
    {4096, 1, 1, 3, TENON_ATTN_MERGE_BY_COUNT, ATTN_MERGE_WIDE},
    {8, 2, 1, 3, TENON_ATTN_MERGE_BY_SUM, ATTN_MERGE_EXACT},
};
static const struct merge_shape full_shapes[] = {
    {4096, 1, 3, 19, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_DEEP},
    {2, 7000, 10, 3, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_WIDE},
    {5, 1, 1, 100000, TENON_ATTN_MERGE_BY_LNZ, ATTN_MERGE_DEEP},
    {3, 70000, 1, 2, TENON_ATTN_MERGE_BY_SUM, ATTN_MERGE_NORMAL},
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void merge_make(struct conform_case *c)
{
    static const uint32_t types[6][2] = {{TENON_F32, TENON_F32},   {TENON_F16, TENON_F16}, {TENON_BF16, TENON_BF16},
                                         {TENON_F32, TENON_BF16}, {TENON_F16, TENON_F32}, {TENON_F32, TENON_F16}};
    static const int64_t all_parts[11] = {1, 2, 3, 4, 5, 8, 16, 17, 33, 64, 100}, all_tokens[4] = {1, 1, 2, 5};
    static const int64_t all_heads[6] = {1, 2, 3, 4, 7, 16}, all_v[12] = {1, 2, 3, 7, 15, 16, 17, 33, 64, 128, 513, 80};
    static const uint32_t kinds[5] = {TENON_ATTN_MERGE_BY_LNZ, TENON_ATTN_MERGE_BY_LNZ, TENON_ATTN_MERGE_BY_LNZ,
                                      TENON_ATTN_MERGE_BY_SUM, TENON_ATTN_MERGE_BY_COUNT};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct merge_shape some = {all_parts[n % 11], all_tokens[hash >> 44 & 3], all_heads[(hash >> 46) % 6],
                                     all_v[n % 12], kinds[(hash >> 50) % 5], (uint32_t)(n % ATTN_MERGE_FILLS)};
    const struct merge_shape *s = n < COUNT(first_shapes) ? &first_shapes[n]
                                  : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_shapes)
                                      ? &full_shapes[n - QUICK_CASES]
                                      : &some;
    c->own[0] = s->fill;
    c->mode = s->fill == ATTN_MERGE_EXACT    ? CONFORM_EXACT
              : s->fill == ATTN_MERGE_NORMAL ? CONFORM_RANDOM
                                             : CONFORM_ADVERSARIAL;
    tenon__attn_merge_suite_params(c)->kind = s->kind;
    set_tensors(c, s, types[s == &some ? (hash >> 53) % 6 : 0], n == 0 ? 3 : (uint32_t)(hash >> 57) & 3,
                n == 0 ? 3 : hash);
    name_case(c);
}

/* ---- benchmarks: the splits of a decoding step; every o is read once ---- */

#define BENCH(parts, rows, v)                                                                                          \
    {                                                                                                                  \
#parts "x" #rows "x" #v, TENON_F32, CONFORM_QUICK, {parts, rows, v },                                                  \
            4.0 * ((double)(parts) * (rows) * ((v) + 1) + (double)(rows) * (v)), 2.0 * (parts) * (rows) * (v)          \
    }
static const struct conform_bench benches[] = {
    BENCH(16, 4096, 128),
    BENCH(64, 32, 128),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const struct merge_shape s = {bench->dim[0], 1, bench->dim[1], bench->dim[2], TENON_ATTN_MERGE_BY_LNZ,
                                  ATTN_MERGE_NORMAL};
    c->own[0] = s.fill;
    set_tensors(c, &s, (const uint32_t[]){bench->dtype, bench->dtype}, 0, 0);
    name_case(c);
}

const struct conform_op tenon__conform_attn_merge = {
    .op = TENON_OPNUM_attn_merge,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = merge_make,
    .fill = merge_fill,
    .expect = tenon__conform_attn_merge_expect,
    .mpfr = tenon__conform_attn_merge_mpfr,
    .n_hostile = ATTN_MERGE_HOSTILE,
    .hostile = tenon__attn_merge_suite_hostile,
    .n_properties = ATTN_MERGE_PROPERTIES,
    .properties = tenon__attn_merge_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
