/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify: the shapes of its cases and benchmark rows. */
#include <float.h>
#include <stdio.h>
#include <string.h>
#include "sparsify_suite.h"

#define QUICK_CASES 320
#define FULL_CASES  2400
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_sparsify_params *params_of(struct conform_case *c)
{
    return (struct tenon_sparsify_params *)(void *)c->params;
}

/* ---- shapes ---- */

static const int64_t small_cols[23] = {0,  1,  2,  3,  4,  5,   7,   8,   9,   15,   16,  17,
                                       31, 33, 63, 65, 64, 127, 128, 129, 257, 1000, 4097};
static const int64_t large_cols[16] = {255,  256,  511,  512,  513,  1023,  1024,  2047,
                                       2049, 4095, 4096, 8191, 8193, 16384, 16385, 65537};

/* Layout 0 [rows,cols]; 1 with padded rows; 2 [a,b,cols]; 3 that with padded rows; lead and pitch in elements. */
static void set_rows(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t layout, int64_t rows, int64_t cols,
                     uint64_t hash)
{
    conform_slot_rows(c, i, dtype, layout >= 2, rows, cols, layout & 1 ? 1 + (int64_t)(hash >> 8 & 7) : 0);
    conform_slot_margins(&c->slot[i], hash, hash >> 4);
}

static void set_y(struct conform_case *c, uint32_t dtype, uint32_t layout, int64_t rows, int64_t cols, uint64_t hash)
{
    set_rows(c, TENON_SPARSIFY_Y, dtype, layout, rows, cols, hash >> 3);
    if ((hash >> 40 & 3) == 1) {
        c->slot[TENON_SPARSIFY_Y] = c->slot[TENON_SPARSIFY_X];
        c->slot[TENON_SPARSIFY_Y].same_as = TENON_SPARSIFY_X;
        c->slot[TENON_SPARSIFY_Y].is_output = 1;
    }
}

/* Which outputs: y alone, as most callers have it; all of them; some. */
static void set_outputs(struct conform_case *c, uint32_t dtype, uint32_t layout, int64_t rows, int64_t cols,
                        uint64_t hash)
{
    const struct tenon_sparsify_params *p = params_of(c);
    const int64_t kmaxs[8] = {cols, cols, cols / 2, cols / 8, p->k, 1, 0, cols + 3};
    const int64_t kmax = kmaxs[hash >> 44 & 7] < 0 ? 0 : kmaxs[hash >> 44 & 7];
    const uint32_t what = (uint32_t)(hash >> 48) % 6; /* 0 1 y; 2 3 all; 4 some; 5 all but y */
    const uint32_t some = (uint32_t)(hash >> 52);
    if (what != 5)
        set_y(c, dtype, layout, rows, cols, hash);
    if (what < 2)
        return;
    if (what != 4 || some & 1)
        set_rows(c, TENON_SPARSIFY_CIDX, TENON_I32, layout ^ 1, rows, kmax, hash >> 6);
    if (what != 4 || some & 2)
        set_rows(c, TENON_SPARSIFY_CVAL, dtype, some & 16 ? layout : layout & 2, rows, kmax, hash >> 9);
    if (what != 4 || some & 4) {
        conform_slot_set(c, TENON_SPARSIFY_NNZ, TENON_I32, 1, &rows);
        conform_slot_room(&c->slot[TENON_SPARSIFY_NNZ], (hash & 3) * 4, 8);
    }
    if (what != 4 || some & 8)
        conform_slot_set(c, TENON_SPARSIFY_FLAGS, TENON_U32, 1, (int64_t[]){4});
}

struct sparsify_special {
    int64_t rows, cols, k;
    uint32_t kind, fill, dtype;
    uint32_t outputs; /* 1 y, 2 the others */
    int64_t kmax;
};
/* The first cases, by which a beginner's mistakes are named. */
static const struct sparsify_special first_specials[] = {
    {3, 5, 2, TENON_SPARSIFY_ABS_GT, FILL_EXACT, TENON_F32, 3, 5},
    {1, 6, 3, TENON_SPARSIFY_TOPK, FILL_GOLDEN, TENON_F32, 3, 6},
    {2, 6, 2, TENON_SPARSIFY_BATCH_TOPK, FILL_GOLDEN, TENON_F32, 3, 6},
    {1, 6, 2, TENON_SPARSIFY_STAT_TOPK, FILL_GOLDEN, TENON_F32, 3, 6},
    {1, 6, 0, TENON_SPARSIFY_RELU, FILL_GOLDEN, TENON_F32, 1, 0},
    {1, 6, 0, TENON_SPARSIFY_SHIFT_RELU, FILL_GOLDEN, TENON_F32, 1, 0},
    {1, 6, 0, TENON_SPARSIFY_SOFT, FILL_GOLDEN, TENON_F32, 1, 0},
    {700, 17, 4, TENON_SPARSIFY_TOPK, FILL_TIES, TENON_F16, 3, 4},
};
/* The last of the quick cases, from simple to hard: rows beyond every size that backends treat apart. */
static const struct sparsify_special quick_specials[] = {
    {70000, 1, 1, TENON_SPARSIFY_TOPK, FILL_NORMAL, TENON_F32, 1, 0},
    {1, 70001, 0, TENON_SPARSIFY_ABS_GT, FILL_NORMAL, TENON_F32, 1, 0},
    {1, 70001, 0, TENON_SPARSIFY_GT, FILL_NORMAL, TENON_BF16, 3, 9000},
    {1, 70001, 700, TENON_SPARSIFY_TOPK, FILL_NORMAL, TENON_F32, 1, 0},
    {2, 70001, 35000, TENON_SPARSIFY_TOPK, FILL_TIES, TENON_F32, 3, 35000},
    {1, 140000, 100, TENON_SPARSIFY_TOPK, FILL_NEIGHBOURS, TENON_F32, 3, 90},
    {3, 300000, 5000, TENON_SPARSIFY_TOPK, FILL_CONSTANT, TENON_BF16, 3, 5000},
    {2, 100003, 4000, TENON_SPARSIFY_STAT_TOPK, FILL_NORMAL, TENON_F32, 3, 100003},
    {1, 300000, 20000, TENON_SPARSIFY_STAT_TOPK, FILL_OFFSET, TENON_F32, 1, 0},
    {2, 4098, 2049, TENON_SPARSIFY_STAT_TOPK, FILL_CANCEL, TENON_F32, 3, 4098},
    {2, 140000, 70000, TENON_SPARSIFY_STAT_TOPK, FILL_CANCEL, TENON_F32, 3, 140000},
    {3, 66000, 300, TENON_SPARSIFY_BATCH_TOPK, FILL_NORMAL, TENON_F32, 3, 400},
    {500, 300, 7, TENON_SPARSIFY_BATCH_TOPK, FILL_RELU, TENON_F16, 3, 20},
    {3, 66000, 12345, TENON_SPARSIFY_BATCH_TOPK, FILL_TIES, TENON_F32, 3, 66000},
};
static const struct sparsify_special full_specials[] = {
    {1, 16777216, 65536, TENON_SPARSIFY_TOPK, FILL_NORMAL, TENON_F32, 1, 0},
    {1, 16777216, 1000000, TENON_SPARSIFY_TOPK, FILL_TIES, TENON_F32, 3, 1000000},
    {1, 16777216, 500000, TENON_SPARSIFY_STAT_TOPK, FILL_NORMAL, TENON_F32, 1, 0},
    {1, 16777216, 0, TENON_SPARSIFY_SOFT, FILL_NORMAL, TENON_F32, 1, 0},
    {3, 1048577, 1000, TENON_SPARSIFY_BATCH_TOPK, FILL_EXACT, TENON_F16, 3, 2000},
    {70000, 33, 5, TENON_SPARSIFY_TOPK, FILL_NORMAL, TENON_F16, 3, 5},
    {70000, 33, 5, TENON_SPARSIFY_BATCH_TOPK, FILL_NORMAL, TENON_BF16, 3, 12},
};

static void name_case(struct conform_case *c)
{
    static const char *const kinds[] = {"abs_gt",     "abs_ge", "gt",   "ge",         "relu",
                                        "shift_relu", "soft",   "topk", "batch_topk", "stat_topk"};
    static const char *const fills[] = {"exact",    "normal", "offset",   "heavy",      "relu", "special",
                                        "infinite", "ties",   "constant", "neighbours", "late", "golden",
                                        "cancel"};
    const struct tenon_sparsify_params *p = params_of(c);
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%s %lldx%lld %s%s",
                   tenon_dtype_name(c->slot[TENON_SPARSIFY_X].tensor.dtype), (long long)tenon__sparsify_suite_rows(c),
                   (long long)tenon__sparsify_suite_cols(c), kinds[p->kind],
                   p->by && p->kind >= TENON_SPARSIFY_TOPK ? " abs" : "");
    if (p->kind >= TENON_SPARSIFY_TOPK)
        at += snprintf(at, (size_t)(end - at), "(%d)", p->k);
    if (p->kind == TENON_SPARSIFY_STAT_TOPK && p->keep)
        at += snprintf(at, (size_t)(end - at), " keep");
    at += snprintf(at, (size_t)(end - at), " %s", fills[c->own[0]]);
    for (uint32_t i = TENON_SPARSIFY_T_ROW; i < c->n; i++)
        if (c->slot[i].tensor.dtype && i != TENON_SPARSIFY_Y)
            at += snprintf(at, (size_t)(end - at), " +%s", tenon_op_contract_by_number(c->op->op)->tensors[i].name);
    snprintf(at, (size_t)(end - at), "%s", c->slot[TENON_SPARSIFY_Y].same_as >= 0 ? " in place" : "");
}

static uint32_t mode_of(uint64_t fill)
{
    if (fill == FILL_EXACT || fill == FILL_GOLDEN)
        return CONFORM_EXACT;
    return fill <= FILL_RELU ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
}

static void make_special(struct conform_case *c, const struct sparsify_special *s)
{
    struct tenon_sparsify_params *p = params_of(c);
    p->kind = s->kind;
    p->k = (int32_t)s->k;
    p->t = 0.5f;
    p->tau = 0.5f;
    p->by = c->number & 1;
    c->own[0] = s->fill;
    c->mode = mode_of(s->fill);
    set_rows(c, TENON_SPARSIFY_X, s->dtype, 0, s->rows, s->cols, 0);
    if (s->outputs & 1)
        set_rows(c, TENON_SPARSIFY_Y, s->dtype, 0, s->rows, s->cols, 0);
    if (!(s->outputs & 2))
        return;
    conform_slot_set(c, TENON_SPARSIFY_NNZ, TENON_I32, 1, &s->rows);
    conform_slot_set(c, TENON_SPARSIFY_CIDX, TENON_I32, 2, (int64_t[]){s->rows, s->kmax});
    conform_slot_set(c, TENON_SPARSIFY_CVAL, s->dtype, 2, (int64_t[]){s->rows, s->kmax});
    conform_slot_set(c, TENON_SPARSIFY_FLAGS, TENON_U32, 1, (int64_t[]){4});
}

static void set_params(struct conform_case *c, int64_t cols, uint64_t hash)
{
    static const float ts[8] = {0.0f, 0.5f, 1.0f, -0.25f, 0.75f, 1000.0f, 0.01f, 2.0f};
    struct tenon_sparsify_params *p = params_of(c);
    const int64_t ks[8] = {0, 1, cols / 8, cols / 2, cols - 1, cols, cols / 3, cols / 20};
    const int64_t k = ks[hash & 7];
    p->k = (int32_t)(k < 0 ? 0 : k > cols ? cols : k);
    p->by = hash >> 3 & 1;
    p->keep = hash >> 4 & 1;
    p->ddof = hash >> 5 & 1;
    p->t = ts[hash >> 6 & 7];
    p->tau = p->t < 0 ? -p->t : p->t;
    if (hash >> 9 & 1)
        p->cap = hash >> 10 & 1 ? 1.5f : 0.5f;
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void make_general(struct conform_case *c)
{
    static const uint32_t types[3] = {TENON_F32, TENON_F16, TENON_BF16};
    struct tenon_sparsify_params *p = params_of(c);
    const uint64_t n = c->number, hash = conform_key(c, 100), more = conform_random(hash, 1);
    const uint32_t layout = (uint32_t)(hash >> 16 & 3), dtype = types[n % 7 < 3 ? 0 : n % 3];
    int64_t cols = n < QUICK_CASES || hash >> 60 ? small_cols[n % 23] : large_cols[hash >> 40 & 15];
    int64_t rows = hash % 64 == 7 ? 0 : 1 + (int64_t)((hash >> 24) % 13);
    if (rows * cols > 20000)
        rows = 1 + 20000 / cols;
    p->kind = n % 10;
    set_params(c, cols, conform_random(hash, 2));
    c->own[0] = n % FILL_COUNT;
    c->mode = mode_of(c->own[0]);
    if (c->mode == CONFORM_EXACT && p->tau == 0.01f)
        p->t = p->tau = 0.25f;
    set_rows(c, TENON_SPARSIFY_X, dtype, layout, rows, cols, hash);
    if (p->kind <= TENON_SPARSIFY_GE && more % 3 == 1)
        conform_slot_set(c, TENON_SPARSIFY_T_ROW, TENON_F32, 1, &rows);
    if (p->kind <= TENON_SPARSIFY_GE && more % 3 == 2)
        conform_slot_set(c, TENON_SPARSIFY_T_COL, TENON_F32, 1, &cols);
    const int weighs = p->kind == TENON_SPARSIFY_ABS_GT ||
                       (p->by && (p->kind == TENON_SPARSIFY_TOPK || p->kind == TENON_SPARSIFY_BATCH_TOPK));
    if (weighs && more >> 8 & 1)
        conform_slot_set(c, TENON_SPARSIFY_WGT, TENON_F32, 1, &cols);
    set_outputs(c, dtype, hash >> 37 & 1 ? layout : layout ^ 1, rows, cols, conform_random(hash, 3));
    for (uint32_t i = 0, any = 0; i < c->n; i++) { /* `some` may be none: then y */
        any |= i >= TENON_SPARSIFY_Y && c->slot[i].tensor.dtype;
        if (i + 1 == c->n && !any)
            set_y(c, dtype, layout, rows, cols, hash);
    }
}

static void sparsify_make(struct conform_case *c)
{
    const uint64_t n = c->number;
    if (n < COUNT(first_specials))
        make_special(c, &first_specials[n]);
    else if (n < QUICK_CASES && n >= QUICK_CASES - COUNT(quick_specials))
        make_special(c, &quick_specials[n - (QUICK_CASES - COUNT(quick_specials))]);
    else if (n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials))
        make_special(c, &full_specials[n - QUICK_CASES]);
    else
        make_general(c);
    name_case(c);
}

/* ---- benchmarks ---- */

/* One read and one write of each element, and two operations: compare, select. */
#define BENCH(what, rows, cols, size)                                                                                  \
    {                                                                                                                  \
        what " " #rows "x" #cols, TENON_F32, size, {rows, cols, 0}, 8.0 * rows *cols, 2.0 * rows *cols                 \
    }
static const struct conform_bench benches[] = {
    BENCH("abs_gt", 4096, 4096, CONFORM_QUICK),
    BENCH("topk1024", 1024, 8192, CONFORM_QUICK),
    BENCH("topk65536", 1, 16777216, CONFORM_QUICK),
    BENCH("batch_topk64", 1024, 16384, CONFORM_QUICK),
    BENCH("stat_topk1106", 1024, 13824, CONFORM_QUICK),
    {"call-cost", TENON_F32, CONFORM_QUICK, {1, 16, 0}, 8.0 * 16, 2.0 * 16},
};
/* Of the rows above, in their order. */
static const struct {
    uint32_t kind;
    int32_t k;
} bench_params[COUNT(benches)] = {
    {TENON_SPARSIFY_ABS_GT, 0},      {TENON_SPARSIFY_TOPK, 1024},      {TENON_SPARSIFY_TOPK, 65536},
    {TENON_SPARSIFY_BATCH_TOPK, 64}, {TENON_SPARSIFY_STAT_TOPK, 1106}, {TENON_SPARSIFY_ABS_GT, 0},
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const size_t length = strcspn(bench->name, " ");
    size_t i = 0; /* the row of this name, whatever its shape */
    while (strcspn(benches[i].name, " ") != length || strncmp(benches[i].name, bench->name, length) != 0)
        i++;
    params_of(c)->kind = bench_params[i].kind;
    params_of(c)->k = bench_params[i].k;
    params_of(c)->t = 1.0f;
    c->own[0] = FILL_NORMAL;
    conform_slot_set(c, TENON_SPARSIFY_X, bench->dtype, 2, bench->dim);
    conform_slot_set(c, TENON_SPARSIFY_Y, bench->dtype, 2, bench->dim);
    name_case(c);
}

const struct conform_op tenon__conform_sparsify = {
    .op = TENON_OPNUM_sparsify,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = sparsify_make,
    .fill = tenon__sparsify_suite_fill,
    .expect = tenon__conform_sparsify_expect,
    .check = tenon__conform_sparsify_check,
    .mpfr = tenon__conform_sparsify_mpfr,
    .n_hostile = SPARSIFY_HOSTILE,
    .hostile = tenon__sparsify_suite_hostile,
    .n_properties = SPARSIFY_PROPERTIES,
    .properties = tenon__sparsify_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
