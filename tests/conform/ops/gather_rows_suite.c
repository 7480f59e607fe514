/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gather_rows: its cases, descriptors that only it knows to be wrong, properties, and its benchmark rows. */
#include <stdio.h>
#include <string.h>
#include <tenon/ops/gather_rows.h>
#include "../conform.h"

#define QUICK_CASES 220
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

/* What idx holds (own[1]). */
enum { IDX_ANY, IDX_NONE_TOO, IDX_WRONG_TOO, IDX_SAME, IDX_RISING, IDX_ENDS, IDX_NEVER, IDX_KINDS };

static int64_t width_of(const struct conform_case *c)
{
    const struct tenon_tensor *t = &c->slot[TENON_GATHER_ROWS_TABLE].tensor;
    return t->dim[t->rank - 1];
}

static struct tenon_gather_rows_params *params_of(struct conform_case *c)
{
    return (struct tenon_gather_rows_params *)(void *)c->params;
}

static int64_t rows_of(const struct conform_case *c)
{
    const struct tenon_tensor *t = &c->slot[TENON_GATHER_ROWS_TABLE].tensor;
    int64_t rows = 1;
    for (uint32_t axis = 0; axis + 1 < t->rank; axis++)
        rows *= t->dim[axis];
    return rows;
}

/* Numbers below this are rows. */
static int64_t numbers_of(const struct conform_case *c)
{
    const struct tenon_gather_rows_params *p = (const void *)c->params;
    const int64_t numbers = rows_of(c) * p->divisor;
    return numbers < INT32_MAX ? numbers : INT32_MAX;
}

/* ---- contents ---- */

static int32_t index_of(const struct conform_case *c, int64_t i)
{
    const int64_t rows = numbers_of(c);
    const uint64_t key = conform_key(c, 3), random = conform_random(key, (uint64_t)i);
    const int32_t any = rows ? (int32_t)conform_below(key, (uint64_t)i, (uint64_t)rows) : -1;
    const int32_t wrong[6] = {-2, INT32_MIN, INT32_MAX, (int32_t)rows, (int32_t)(rows < INT32_MAX ? rows + 1 : rows),
                              INT32_MIN + 1};
    switch (c->own[1]) {
    case IDX_NONE_TOO: return random >> 62 ? any : -1;
    case IDX_WRONG_TOO: return random >> 63 ? any : random >> 60 ? wrong[(random >> 32) % 6] : -1;
    case IDX_SAME: return rows ? (int32_t)(rows / 2) : -1;
    case IDX_RISING: return rows ? (int32_t)(i % rows) : -1;
    case IDX_ENDS: return rows ? (i % 2 ? (int32_t)(rows - 1) : 0) : -1;
    case IDX_NEVER: return -1;
    default: return any;
    }
}

static void set_bits(const struct conform_slot *slot, int64_t i, uint32_t bits)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    memcpy((char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, &bits, size);
}

/* EXACT: small whole numbers; RANDOM: N(0,1), or anything of integers; ADVERSARIAL: any bits, many of them NaN. */
static void gather_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const uint32_t dtype = slot->tensor.dtype;
    const uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        const uint64_t random = conform_random(key, (uint64_t)i);
        const uint32_t special = conform_specials[random % CONFORM_SPECIALS];
        if (tensor == TENON_GATHER_ROWS_IDX)
            set_bits(slot, i, (uint32_t)index_of(c, i));
        else if (c->mode == CONFORM_EXACT)
            conform_set(conform_first(slot), dtype, conform_offset(&slot->tensor, i), (double)(random % 100));
        else if (c->mode == CONFORM_ADVERSARIAL && random >> 63)
            set_bits(slot, i, TENON_DTYPE_SIZE(dtype) == 2 ? special >> 16 : special);
        else if (c->mode == CONFORM_ADVERSARIAL || dtype == TENON_I32 || dtype == TENON_U32)
            set_bits(slot, i, (uint32_t)(random >> 16));
        else
            conform_set(conform_first(slot), dtype, conform_offset(&slot->tensor, i),
                        (double)conform_normal(key, (uint64_t)i));
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const kinds[IDX_KINDS] = {"any",    "with -1",  "with wrong ones", "the same",
                                                 "rising", "the ends", "all -1"};
    snprintf(c->name, sizeof(c->name), "%lld of %lldx%lld %s %s", (long long)tenon_tensor_count(&c->slot[1].tensor),
             (long long)rows_of(c), (long long)width_of(c),
             tenon_dtype_name(c->slot[TENON_GATHER_ROWS_TABLE].tensor.dtype), kinds[c->own[1]]);
    if (params_of(c)->divisor != 1)
        snprintf(c->name + strlen(c->name), sizeof(c->name) - strlen(c->name), " over %d", params_of(c)->divisor);
}

/* Layout 1: rows of both with gaps; 2: idx, y and table have an axis more. */
static void set_tensors(struct conform_case *c, uint32_t dtype, int64_t rows, int64_t width, int64_t n,
                        uint32_t layout, uint64_t hash)
{
    const int two = layout == 2 && n % 2 == 0 && n > 0, two_rows = layout == 2 && rows % 2 == 0 && rows > 0;
    const uint32_t size = TENON_DTYPE_SIZE(dtype);
    const int64_t table[3] = {2, rows / 2, width}, flat[2] = {rows, width};
    const int64_t y[3] = {two ? n / 2 : n, two ? 2 : width, width};
    conform_slot_set(c, TENON_GATHER_ROWS_TABLE, dtype, two_rows ? 3 : 2, two_rows ? table : flat);
    conform_slot_set(c, TENON_GATHER_ROWS_IDX, TENON_I32, two ? 2 : 1, y);
    conform_slot_set(c, TENON_GATHER_ROWS_Y, dtype, two ? 3 : 2, y);
    if (hash & 1 || c->number == 0)
        conform_slot_set(c, TENON_GATHER_ROWS_FLAGS, TENON_U32, 1, (int64_t[]){4});
    if (layout == 1) {
        conform_slot_pitch(&c->slot[TENON_GATHER_ROWS_TABLE], width + (int64_t)(hash >> 1 & 7));
        conform_slot_pitch(&c->slot[TENON_GATHER_ROWS_Y], width + 1 + (int64_t)(hash >> 4 & 7));
    }
    conform_slot_room(&c->slot[TENON_GATHER_ROWS_TABLE], (hash >> 8 & 3) * 4 * size, 8);
    conform_slot_room(&c->slot[TENON_GATHER_ROWS_IDX], (hash >> 10 & 3) * 4, 8);
    conform_slot_room(&c->slot[TENON_GATHER_ROWS_Y], (layout == 1 ? 4 : hash >> 12 & 3) * 4 * size, 8);
}

struct gather_special {
    int64_t rows, width, n;
    uint32_t kind;
};
static const struct gather_special first_specials[] = {
    {5, 7, 3, IDX_ANY}, /* case 0: plain, with every tensor */
    {0, 9, 4, IDX_WRONG_TOO}, {6, 0, 5, IDX_WRONG_TOO}, {6, 3, 0, IDX_ANY}, {1, 1, 1, IDX_ANY},
    {2, 40000, 3, IDX_ANY},   {3, 1, 5000, IDX_ENDS},   {300, 257, 600, IDX_WRONG_TOO}, {1, 64, 33, IDX_SAME},
};
static const struct gather_special full_specials[] = {
    {70000, 3, 70001, IDX_ANY}, {2, 1000003, 3, IDX_NONE_TOO}, {4096, 512, 4096, IDX_WRONG_TOO},
};

static void gather_make(struct conform_case *c)
{
    static const uint32_t types[7] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};
    static const int64_t all_rows[8] = {1, 2, 3, 8, 17, 64, 100, 1000};
    static const int64_t all_width[14] = {1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 33, 64, 130, 1025};
    static const int64_t all_n[9] = {1, 2, 3, 4, 6, 16, 17, 50, 130};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct gather_special *s = n < COUNT(first_specials) ? &first_specials[n]
                                     : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                         ? &full_specials[n - QUICK_CASES]
                                         : NULL;
    c->mode = n % 5 == 0 ? CONFORM_EXACT : n % 5 < 3 ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    static const int32_t divisors[8] = {1, 1, 1, 1, 2, 3, 8, INT32_MAX};
    c->own[1] = s ? s->kind : n % IDX_KINDS;
    params_of(c)->divisor = s ? 1 : divisors[(hash >> 60) % 8];
    if (s)
        set_tensors(c, n ? types[n % 7] : TENON_F32, s->rows, s->width, s->n, 0, hash);
    else
        set_tensors(c, types[(hash >> 40) % 7], all_rows[(hash >> 44) % 8], all_width[n % 14], all_n[(hash >> 50) % 9],
                    (uint32_t)(hash >> 55) % 4 % 3, hash);
    name_case(c);
}

/* ---- hostile descriptors: case 0 has every tensor, 3 rows of 7 from a table of 5 ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
SPOIL(width, TENON_GATHER_ROWS_Y, TENON_F32, 2, (int64_t[]){3, 8})
SPOIL(narrow, TENON_GATHER_ROWS_Y, TENON_F32, 2, (int64_t[]){3, 6})
SPOIL(number, TENON_GATHER_ROWS_Y, TENON_F32, 2, (int64_t[]){4, 7})
SPOIL(flat, TENON_GATHER_ROWS_Y, TENON_F32, 1, (int64_t[]){21})
SPOIL(type, TENON_GATHER_ROWS_Y, TENON_F16, 2, (int64_t[]){3, 7})
SPOIL(same_size, TENON_GATHER_ROWS_Y, TENON_I32, 2, (int64_t[]){3, 7})
SPOIL(wide_idx, TENON_GATHER_ROWS_IDX, TENON_I32, 2, (int64_t[]){3, 7})
SPOIL(empty_idx, TENON_GATHER_ROWS_IDX, TENON_I32, 1, (int64_t[]){0})
SPOIL(more_idx, TENON_GATHER_ROWS_IDX, TENON_I32, 8, (int64_t[]){3, 1, 1, 1, 1, 1, 1, 1})
SPOIL(flags_three, TENON_GATHER_ROWS_FLAGS, TENON_U32, 1, (int64_t[]){3})
SPOIL(flags_two_axes, TENON_GATHER_ROWS_FLAGS, TENON_U32, 2, (int64_t[]){1, 4})
SPOIL(flags_five, TENON_GATHER_ROWS_FLAGS, TENON_U32, 1, (int64_t[]){5})
SPOIL(scalar_table, TENON_GATHER_ROWS_TABLE, TENON_F32, 0, NULL)
SPOIL(scalar_idx, TENON_GATHER_ROWS_IDX, TENON_I32, 0, NULL)
SPOIL(turned, TENON_GATHER_ROWS_Y, TENON_F32, 2, (int64_t[]){7, 3})
SPOIL(table_width, TENON_GATHER_ROWS_TABLE, TENON_F32, 2, (int64_t[]){5, 6})

static void spoil_rows(struct conform_case *c)
{
    c->slot[TENON_GATHER_ROWS_TABLE].tensor.dim[0] = INT64_C(1) << 31;
}
static void spoil_divisor(struct conform_case *c)
{
    params_of(c)->divisor = 0;
}
static void spoil_negative(struct conform_case *c)
{
    params_of(c)->divisor = INT32_MIN;
}
static void spoil_fold(struct conform_case *c)
{
    conform_slot_set(c, TENON_GATHER_ROWS_TABLE, TENON_F32, 3, (int64_t[]){2, 5, 7});
    c->slot[TENON_GATHER_ROWS_TABLE].tensor.stride[0] += 3;
}
static void spoil_gap(struct conform_case *c)
{
    conform_slot_set(c, TENON_GATHER_ROWS_IDX, TENON_I32, 2, (int64_t[]){3, 1});
    conform_slot_set(c, TENON_GATHER_ROWS_Y, TENON_F32, 3, (int64_t[]){3, 1, 7});
    c->slot[TENON_GATHER_ROWS_IDX].tensor.stride[0] = 2;
}

static const struct conform_hostile hostile[] = {
    {"y that is too wide", TENON_E_SHAPE, spoil_width},
    {"y that is too narrow", TENON_E_SHAPE, spoil_narrow},
    {"y of another number of rows", TENON_E_SHAPE, spoil_number},
    {"y in one axis", TENON_E_SHAPE, spoil_flat},
    {"y of f16 from a table of f32", TENON_E_DTYPE, spoil_type},
    {"y of i32 from a table of f32", TENON_E_DTYPE, spoil_same_size},
    {"idx of every element", TENON_E_SHAPE, spoil_wide_idx},
    {"idx without an entry", TENON_E_SHAPE, spoil_empty_idx},
    {"idx without an axis left for y", TENON_E_SHAPE, spoil_more_idx},
    {"three flags", TENON_E_SHAPE, spoil_flags_three},
    {"flags of two axes", TENON_E_SHAPE, spoil_flags_two_axes},
    {"five flags", TENON_E_SHAPE, spoil_flags_five},
    {"a table without an axis", TENON_E_SHAPE, spoil_scalar_table},
    {"idx without an axis", TENON_E_SHAPE, spoil_scalar_idx},
    {"y turned round", TENON_E_SHAPE, spoil_turned},
    {"a table of 2^31 rows", TENON_E_SHAPE, spoil_rows},
    {"a table of another width", TENON_E_SHAPE, spoil_table_width},
    {"a table whose axes do not fold", TENON_E_UNSUPPORTED, spoil_fold},
    {"a divisor of 0", TENON_E_ARG, spoil_divisor},
    {"a divisor of -2^31", TENON_E_ARG, spoil_negative},
    {"idx with gaps", TENON_E_UNSUPPORTED, spoil_gap},
};

/* ---- properties ---- */

static uint32_t bits_at(const struct conform_slot *slot, int64_t i)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    uint32_t bits = 0;
    memcpy(&bits, (const char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, size);
    return bits;
}

/* The same table; entry i of the derived idx is entry pick(i) of the base's. */
static int derive(const struct conform_case *base, struct conform_case *derived, int64_t n,
                  int64_t (*pick)(const struct conform_case *base, int64_t i))
{
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++)
        derived->slot[i].data = NULL;
    conform_slot_set(derived, TENON_GATHER_ROWS_IDX, TENON_I32, 1, &n);
    conform_slot_set(derived, TENON_GATHER_ROWS_Y, base->slot[TENON_GATHER_ROWS_Y].tensor.dtype, 2,
                     (int64_t[]){n, width_of(base)});
    if (conform_case_alloc(derived))
        return 0;
    memcpy(derived->slot[TENON_GATHER_ROWS_TABLE].data, base->slot[TENON_GATHER_ROWS_TABLE].data,
           base->slot[TENON_GATHER_ROWS_TABLE].size);
    for (int64_t i = 0; i < n; i++)
        set_bits(&derived->slot[TENON_GATHER_ROWS_IDX], i, bits_at(&base->slot[TENON_GATHER_ROWS_IDX], pick(base, i)));
    return 1;
}

static int check(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why,
                 int64_t (*pick)(const struct conform_case *base, int64_t i))
{
    const int64_t width = width_of(base), n = derived->slot[TENON_GATHER_ROWS_IDX].tensor.dim[0];
    for (int64_t e = 0; e < n * width; e++) {
        const uint32_t got = bits_at(&derived->slot[TENON_GATHER_ROWS_Y], e);
        const uint32_t want = bits_at(&base->slot[TENON_GATHER_ROWS_Y], pick(base, e / width) * width + e % width);
        if (got != want)
            return tenon_why_set(why, 1, "y[%lld, %lld] has the bits 0x%x, in the whole 0x%x", (long long)(e / width),
                                 (long long)(e % width), got, want);
    }
    return 0;
}

static int64_t entries(const struct conform_case *c)
{
    return tenon_tensor_count(&c->slot[TENON_GATHER_ROWS_IDX].tensor);
}
static int64_t reverse(const struct conform_case *base, int64_t i)
{
    return entries(base) - 1 - i;
}
static int64_t middle(const struct conform_case *base, int64_t i)
{
    (void)i;
    return entries(base) / 2;
}
static int64_t later(const struct conform_case *base, int64_t i)
{
    return entries(base) / 3 + i;
}

#define PROPERTY(name, least, n)                                                                                       \
    static int derive_##name(const struct conform_case *base, struct conform_case *derived)                            \
    {                                                                                                                  \
        return entries(base) >= (least) && derive(base, derived, n, name);                                             \
    }                                                                                                                  \
    static int check_##name(const struct conform_case *base, const struct conform_case *derived,                       \
                            struct tenon_why *why)                                                                     \
    {                                                                                                                  \
        return check(base, derived, why, name);                                                                        \
    }
PROPERTY(reverse, 2, entries(base))
PROPERTY(middle, 2, 1)
PROPERTY(later, 3, entries(base) - entries(base) / 3)

/* Rows that are y's and asked for in order are y. */
static int derive_again(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t n = entries(base), width = width_of(base);
    const uint32_t dtype = base->slot[TENON_GATHER_ROWS_TABLE].tensor.dtype;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++)
        derived->slot[i].data = NULL;
    if (n == 0 || n > 5000)
        return 0;
    conform_slot_set(derived, TENON_GATHER_ROWS_TABLE, dtype, 2, (int64_t[]){n, width});
    conform_slot_set(derived, TENON_GATHER_ROWS_IDX, TENON_I32, 1, &n);
    conform_slot_set(derived, TENON_GATHER_ROWS_Y, dtype, 2, (int64_t[]){n, width});
    if (conform_case_alloc(derived))
        return 0;
    conform_case_fill(derived);
    params_of(derived)->divisor = 1;
    for (int64_t i = 0; i < n; i++)
        set_bits(&derived->slot[TENON_GATHER_ROWS_IDX], i, (uint32_t)i);
    return 1;
}

static int check_again(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    (void)base;
    for (int64_t e = 0; e < tenon_tensor_count(&derived->slot[TENON_GATHER_ROWS_Y].tensor); e++)
        if (bits_at(&derived->slot[TENON_GATHER_ROWS_Y], e) != bits_at(&derived->slot[TENON_GATHER_ROWS_TABLE], e))
            return tenon_why_set(why, 1, "element %lld of all rows in order has other bits than the table",
                                 (long long)e);
    return 0;
}

static const struct conform_property properties[] = {
    {"idx in reverse", derive_reverse, check_reverse},
    {"a row alone", derive_middle, check_middle},
    {"two thirds of idx", derive_later, check_later},
    {"all rows in order", derive_again, check_again},
};

/* ---- benchmarks: rows that are asked for are read, each once if all are different, and written ---- */

#define BENCH(text, type, size, rows, width, n)                                                                        \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {rows, width, n}, (double)(n) * (2.0 * (width) * (size) + 4), 0                     \
    }
static const struct conform_bench benches[] = {
    BENCH("16384 of 16384x1024", TENON_F32, 4, 16384, 1024, 16384),
    BENCH("bf16 16384 of 16384x2048", TENON_BF16, 2, 16384, 2048, 16384),
    BENCH("131072 of 131072x64", TENON_F32, 4, 131072, 64, 131072),
    BENCH("64 of 4096x4096", TENON_F32, 4, 4096, 4096, 64),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    c->own[1] = IDX_ANY;
    conform_slot_set(c, TENON_GATHER_ROWS_TABLE, bench->dtype, 2, bench->dim);
    conform_slot_set(c, TENON_GATHER_ROWS_IDX, TENON_I32, 1, bench->dim + 2);
    conform_slot_set(c, TENON_GATHER_ROWS_Y, bench->dtype, 2, (int64_t[]){bench->dim[2], bench->dim[1]});
    name_case(c);
}

const struct conform_op tenon__conform_gather_rows = {
    .op = TENON_OPNUM_gather_rows,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = gather_make,
    .fill = gather_fill,
    .expect = tenon__conform_gather_rows_expect,
    .check = tenon__conform_gather_rows_check,
    .mpfr = tenon__conform_gather_rows_mpfr,
    .n_hostile = COUNT(hostile),
    .hostile = hostile,
    .n_properties = COUNT(properties),
    .properties = properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
