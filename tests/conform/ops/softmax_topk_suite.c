/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk: the shapes of its cases and benchmark rows. */
#include <stdio.h>
#include "softmax_topk_suite.h"

#define QUICK_CASES 211
#define FULL_CASES  2000
#define SOAK_CASES  100000

static struct tenon_softmax_topk_params *params_of(struct conform_case *c)
{
    return tenon__topk_suite_params(c);
}

struct topk_option { /* what besides x goes into the logits */
    float scale, inv_temp;
    int bias; /* 1 as x, 2 [cols] */
    int row_scale, sink;
    uint32_t noise;
};
static const struct topk_option options[11] = {
    {1, 1, 0, 0, 0, 0},       {1, 0.5f, 0, 0, 0, 0}, {2.5f, 1, 2, 0, 0, 0}, {1, 1, 1, 0, 1, 0}, {1, 1, 0, 1, 0, 0},
    {1, 1, 0, 0, 2, 0},       {1, 0, 0, 0, 0, 0},    {1, 1, 0, 0, 0, 1},    {1, 1, 0, 0, 0, 3},
    {-1.7f, 0.737f, 0, 1, 0, 1}, {0.125f, 2, 1, 0, 1, 3},
};

/* Layout 0 [rows,cols]; 1 with padded rows; 2 [a,b,cols]; 3 that with padded rows. */
static void set_wide(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t layout, int64_t rows, int64_t cols,
                     uint64_t hash)
{
    conform_slot_rows(c, i, dtype, layout >= 2, rows, cols, layout & 1 ? 1 + (int64_t)(hash >> 8 & 7) : 0);
    conform_slot_margins(&c->slot[i], hash, hash >> 4);
}

static void set_sides(struct conform_case *c, const struct topk_option *o, uint32_t masking, int64_t rows, int64_t cols,
                      uint32_t layout, uint64_t hash)
{
    struct tenon_softmax_topk_params *p = params_of(c);
    p->scale = o->scale;
    p->inv_temp = o->inv_temp;
    p->noise = o->noise;
    if (o->noise) {
        p->noise_amp = hash >> 40 & 1 ? 1.0f : 0.3f;
        p->seed = o->noise == TENON_SOFTMAX_NOISE_GUMBEL ? hash : 0;
        p->stream = (uint32_t)(hash >> 41 & 3);
        p->sample = (uint32_t)(hash >> 43 & 7);
    }
    if (o->noise == TENON_SOFTMAX_NOISE_INPUT)
        set_wide(c, TENON_SOFTMAX_TOPK_NOISE, TENON_F32, layout, rows, cols, hash >> 8);
    if (o->bias == 2)
        conform_slot_set(c, TENON_SOFTMAX_TOPK_BIAS, TENON_F32, 1, &cols);
    else if (o->bias)
        set_wide(c, TENON_SOFTMAX_TOPK_BIAS, TENON_F32, layout, rows, cols, hash >> 12);
    if (masking == 1 && hash >> 20 & 1)
        conform_slot_set(c, TENON_SOFTMAX_TOPK_MASK, TENON_U8, 1, &cols);
    else if (masking == 1)
        set_wide(c, TENON_SOFTMAX_TOPK_MASK, TENON_U8, layout ^ 1, rows, cols, hash >> 16);
    if (masking == 2)
        conform_slot_set(c, TENON_SOFTMAX_TOPK_VALID_LEN, TENON_I32, 1, &rows);
    if (o->row_scale)
        conform_slot_set(c, TENON_SOFTMAX_TOPK_ROW_SCALE, TENON_F32, 1, &rows);
    if (o->sink)
        conform_slot_set(c, TENON_SOFTMAX_TOPK_SINK, TENON_F32, 1, o->sink == 1 ? &rows : &(int64_t){1});
}

/* which: bit 0 to 7 for val to flags. */
static void set_outputs(struct conform_case *c, uint32_t which, uint32_t layout, int64_t rows, uint64_t hash)
{
    const int64_t k = (int64_t)params_of(c)->k, four = 4;
    for (uint32_t i = TENON_SOFTMAX_TOPK_VAL; i < TENON_SOFTMAX_TOPK_N_TENSORS; i++) {
        if (!(which >> (i - TENON_SOFTMAX_TOPK_VAL) & 1))
            continue;
        if (i <= TENON_SOFTMAX_TOPK_IDX)
            set_wide(c, i, i == TENON_SOFTMAX_TOPK_VAL ? TENON_F32 : TENON_I32, layout, rows, k, hash >> i);
        else if (i == TENON_SOFTMAX_TOPK_FLAGS)
            conform_slot_set(c, i, TENON_U32, 1, &four);
        else
            conform_slot_set(c, i, TENON_F32, 1, &rows);
        if (i > TENON_SOFTMAX_TOPK_IDX)
            conform_slot_room(&c->slot[i], (hash >> i & 3) * 4, 8);
    }
}

struct topk_special {
    int64_t rows, cols;
    uint32_t k, norm, fill, dtype, which;
};
static const struct topk_special first_specials[] = {
    {3, 8, 5, 0, TOPK_NORMAL, TENON_F32, 0xff}, /* case 0: plain, with every output */
    {2, 4096, 64, 0, TOPK_WIDE, TENON_F32, 0xff},     {2, 4097, 64, 2, TOPK_RISING, TENON_F32, 0x83},
    {2, 4095, 1, 0, TOPK_TIES, TENON_F16, 0xff},      {1, 5000, 4096, 0, TOPK_RISING, TENON_F32, 0x3},
    {1, 9000, 4096, 1, TOPK_FALLING, TENON_F32, 0x3}, {1, 65537, 10, 0, TOPK_NORMAL, TENON_F32, 0xff},
    {1, 100000, 1000, 0, TOPK_RISING, TENON_F32, 0x7f}, {300, 3, 1, 0, TOPK_NORMAL, TENON_F32, 0xff},
    {1, 70001, 100, 3, TOPK_CONSTANT, TENON_F32, 0x83}, {0, 9, 3, 0, TOPK_NORMAL, TENON_F32, 0x83},
    {2, 0, 3, 0, TOPK_NORMAL, TENON_F32, 0xff},       {1, 20000, 2000, 0, TOPK_NANS, TENON_F32, 0x83},
    {1, 65536, 64, 0, TOPK_EXACT, TENON_F32, 0x33},
};
/* The last of the quick cases. */
static const struct topk_special quick_specials[] = {
    {14, 9, 6, 3, TOPK_INFINITE, TENON_F32, 0xff}, /* rows of NaN, which raw values must not show */
};
static const struct topk_special full_specials[] = {
    {1, 16777216, 64, 0, TOPK_NORMAL, TENON_F32, 0xff},  {1, 16777216, 4096, 1, TOPK_NORMAL, TENON_F32, 0x3},
    {2, 300000, 4096, 0, TOPK_RISING, TENON_F32, 0x3},   {1, 1000003, 100, 0, TOPK_TIES, TENON_BF16, 0x83},
    {70000, 33, 5, 0, TOPK_WIDE, TENON_F16, 0x83},       {1, 262145, 3000, 2, TOPK_FALLING, TENON_F32, 0x3},
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void name_case(struct conform_case *c)
{
    static const char *const norms[] = {"full", "selected", "log", "raw"};
    static const char *const fills[TOPK_FILLS] = {"exact",    "normal", "wide",   "deep",    "offset",   "special",
                                                  "infinite", "ties",   "rising", "falling", "constant", "nans"};
    const struct tenon_softmax_topk_params *p = params_of(c);
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%s %lldx%lld k %u %s %s",
                   tenon_dtype_name(c->slot[TENON_SOFTMAX_TOPK_X].tensor.dtype), (long long)tenon__topk_suite_rows(c),
                   (long long)tenon__topk_suite_cols(c), p->k, norms[p->norm], fills[c->own[0]]);
    for (uint32_t i = TENON_SOFTMAX_TOPK_BIAS; i <= TENON_SOFTMAX_TOPK_NOISE; i++)
        if (c->slot[i].tensor.dtype)
            at += snprintf(at, (size_t)(end - at), " +%s", tenon_op_contract_by_number(c->op->op)->tensors[i].name);
    snprintf(at, (size_t)(end - at), "%s", p->noise == TENON_SOFTMAX_NOISE_GUMBEL ? " gumbel" : "");
}

static void make_special(struct conform_case *c, const struct topk_special *s)
{
    struct tenon_softmax_topk_params *p = params_of(c);
    p->k = s->k;
    p->norm = s->norm;
    p->pad_short = s->k > s->cols;
    c->own[0] = s->fill;
    set_wide(c, TENON_SOFTMAX_TOPK_X, s->dtype, 0, s->rows, s->cols, 0);
    set_outputs(c, s->which, 0, s->rows, 0);
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void make_general(struct conform_case *c)
{
    static const int64_t small_cols[17] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 257, 1000, 1025, 4097, 0};
    static const int64_t large_cols[8] = {255, 511, 2049, 4095, 4096, 8193, 16385, 40000};
    static const uint32_t all_k[7] = {1, 2, 3, 7, 16, 64, 300};
    static const uint32_t types[3] = {TENON_F32, TENON_F16, TENON_BF16};
    static const float offsets[4] = {1e3f, 1e6f, -1e6f, 3e38f};
    uint64_t n = c->number, hash = conform_key(c, 100);
    struct tenon_softmax_topk_params *p = params_of(c);
    const struct topk_option *o = &options[n % 11];
    int64_t cols = n < QUICK_CASES || hash & 3 ? small_cols[n % 17] : large_cols[hash >> 8 & 7];
    int64_t rows = 1 + (int64_t)((hash >> 24) % 13);
    if (rows * cols > 20000)
        rows = 1 + 20000 / cols;
    p->k = n >= QUICK_CASES && (hash >> 50) % 16 == 3 ? 4096 : all_k[n % 7];
    p->norm = (uint32_t)(hash >> 12) % 4;
    if ((int64_t)p->k > cols && (hash >> 14 & 1) && cols > 0)
        p->k = (uint32_t)cols;
    p->pad_short = (int64_t)p->k > cols || (hash >> 15 & 1);
    c->own[0] = (hash >> 16) % TOPK_FILLS;
    c->own[2] = conform_float_bits(offsets[hash >> 30 & 3]);
    /* scaled, subnormals may be flushed, and then the order is another; a sum of infinities of both signs is NaN */
    if (c->own[0] == TOPK_EXACT || c->own[0] == TOPK_SPECIAL)
        o = &options[hash >> 32 & 1 ? 0 : 4 + (hash >> 33 & 1)];
    if (c->own[0] == TOPK_EXACT)
        o = &options[0];
    set_wide(c, TENON_SOFTMAX_TOPK_X, types[n % 3], n % 4, rows, cols, hash);
    set_sides(c, o, c->own[0] == TOPK_EXACT ? 0 : (uint32_t)(hash >> 34) % 3, rows, cols, n % 4, hash);
    uint32_t which = (uint32_t)(conform_random(hash, 1) & 0xff);
    if (hash >> 60 == 0)
        which = 3; /* what most callers want */
    set_outputs(c, which ? which : 2, hash >> 37 & 1 ? n % 4 : (n % 4) ^ 1, rows, conform_random(hash, 2));
}

static void topk_make(struct conform_case *c)
{
    uint64_t n = c->number;
    if (n < COUNT(first_specials))
        make_special(c, &first_specials[n]);
    else if (n < QUICK_CASES && n >= QUICK_CASES - COUNT(quick_specials))
        make_special(c, &quick_specials[n - (QUICK_CASES - COUNT(quick_specials))]);
    else if (n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials))
        make_special(c, &full_specials[n - QUICK_CASES]);
    else
        make_general(c);
    c->mode = c->own[0] == TOPK_EXACT   ? CONFORM_EXACT
              : c->own[0] <= TOPK_DEEP ? CONFORM_RANDOM
                                       : CONFORM_ADVERSARIAL;
    name_case(c);
}

/* ---- benchmarks: x is read once; 20 operations an element as softmax has, one more comparison ---- */

#define BENCH(rows, cols, k)                                                                                           \
    {                                                                                                                  \
#rows "x" #cols "," #k, TENON_F32, CONFORM_QUICK, {rows, cols, k },                                                    \
            4.0 * (rows) * (cols) + 8.0 * (rows) * (k), 21.0 * (rows) * (cols)                                         \
    }
static const struct conform_bench benches[] = {
    BENCH(64, 131072, 50),
    BENCH(4096, 1024, 8),
    BENCH(1, 16777216, 64),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int64_t out[2] = {bench->dim[0], bench->dim[2]};
    c->own[0] = TOPK_NORMAL;
    params_of(c)->k = (uint32_t)bench->dim[2];
    conform_slot_set(c, TENON_SOFTMAX_TOPK_X, bench->dtype, 2, bench->dim);
    conform_slot_set(c, TENON_SOFTMAX_TOPK_VAL, TENON_F32, 2, out);
    conform_slot_set(c, TENON_SOFTMAX_TOPK_IDX, TENON_I32, 2, out);
    name_case(c);
}

/* The k largest of softmax's y are the probabilities of FULL, and RAW is the least work that finds them. */
static int raw_of_y(struct conform_case *c)
{
    struct tenon_softmax_topk_params *p = params_of(c);
    if (p->norm != TENON_SOFTMAX_TOPK_FULL || p->scale != 1.0f || p->inv_temp != 1.0f || p->noise)
        return 0;
    p->norm = TENON_SOFTMAX_TOPK_RAW;
    return 1;
}
static const struct conform_unfused softmax_first = {"softmax+raw", TENON_OPNUM_softmax, TENON_SOFTMAX_Y, raw_of_y};

const struct conform_op tenon__conform_softmax_topk = {
    .op = TENON_OPNUM_softmax_topk,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = topk_make,
    .fill = tenon__topk_suite_fill,
    .expect = tenon__conform_softmax_topk_expect,
    .mpfr = tenon__conform_softmax_topk_mpfr,
    .n_hostile = TOPK_HOSTILE,
    .hostile = tenon__topk_suite_hostile,
    .n_properties = TOPK_PROPERTIES,
    .properties = tenon__topk_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
    .unfused = &softmax_first,
};
