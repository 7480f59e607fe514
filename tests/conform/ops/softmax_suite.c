/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: the shapes of its cases and benchmark rows. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "softmax_suite.h"

#define QUICK_CASES 544
#define FULL_CASES  3600
#define SOAK_CASES  100000

static struct tenon_softmax_params *params_of(struct conform_case *c)
{
    return (struct tenon_softmax_params *)(void *)c->params;
}

/* ---- shapes ---- */

struct softmax_option { /* what besides x goes into the logits */
    float scale, inv_temp;
    int bias; /* 1 as x, 2 [cols], 3 as x with row stride 0 */
    int row_scale;
    int sink; /* 1 [rows], 2 [1] */
};

static const struct softmax_option options[13] = {
    {1, 1, 0, 0, 0}, {1, 0.5f, 0, 0, 0}, {0.125f, 1, 0, 0, 0}, {1, 1, 1, 0, 0}, {2.5f, 1, 2, 0, 0},
    {1, 1, 0, 1, 0}, {1, 1, 0, 0, 1},    {1, 1, 0, 0, 2},      {1, 0, 0, 0, 0}, {-1.7f, 0.737f, 3, 1, 0},
    {1, 2, 1, 0, 1}, {1, 1, 0, 0, 0},    {1, 1, 0, 2, 0},
};

static const int64_t small_cols[23] = {0,  1,  2,  3,  4,   5,   7,   8,   9,    15,   16,  17,
                                       31, 33, 63, 65, 127, 128, 129, 257, 1000, 1025, 4097};
static const int64_t large_cols[16] = {255,  256,  511,  512,  513,  1023,  1024,  2047,
                                       2049, 4095, 4096, 8191, 8193, 16384, 16385, 65537};

/* Of plain cases: past the sizes that backends treat apart, and even, which may be read in pairs. */
static const int64_t plain_cols[16] = {16,  64,   254,  256,  258,  320,  512,  640,
                                       768, 1000, 1024, 1026, 2048, 2500, 4096, 8200};

/* Layout 0 [rows,cols]; 1 with padded rows; 2 [a,b,cols]; 3 that with padded rows; lead and pitch in elements. */
static void set_x_like(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t layout, int64_t rows, int64_t cols,
                       uint64_t hash)
{
    conform_slot_rows(c, i, dtype, layout >= 2, rows, cols, layout & 1 ? 1 + (int64_t)(hash >> 8 & 7) : 0);
    conform_slot_margins(&c->slot[i], hash, hash >> 4);
}

static void set_sides(struct conform_case *c, const struct softmax_option *o, uint32_t masking, int64_t rows,
                      int64_t cols, uint32_t layout, uint64_t hash)
{
    struct tenon_softmax_params *p = params_of(c);
    p->scale = o->scale;
    p->inv_temp = o->inv_temp;
    if (o->bias == 2)
        conform_slot_set(c, TENON_SOFTMAX_BIAS, TENON_F32, 1, &cols);
    else if (o->bias)
        set_x_like(c, TENON_SOFTMAX_BIAS, TENON_F32, layout, rows, cols, hash >> 12);
    if (o->bias == 3) {
        conform_slot_pitch(&c->slot[TENON_SOFTMAX_BIAS], 0);
        conform_slot_room(&c->slot[TENON_SOFTMAX_BIAS], 4, 0);
    }
    if (masking == 1 && hash >> 20 & 1)
        conform_slot_set(c, TENON_SOFTMAX_MASK, TENON_U8, 1, &cols);
    else if (masking == 1)
        set_x_like(c, TENON_SOFTMAX_MASK, TENON_U8, layout ^ 1, rows, cols, hash >> 16);
    if (masking == 2)
        conform_slot_set(c, TENON_SOFTMAX_VALID_LEN, TENON_I32, 1, &rows);
    if (o->row_scale)
        conform_slot_set(c, TENON_SOFTMAX_ROW_SCALE, TENON_F32, 1, &rows);
    c->own[4] = o->row_scale == 2;
    if (o->sink)
        conform_slot_set(c, TENON_SOFTMAX_SINK, TENON_F32, 1, o->sink == 1 ? &rows : &(int64_t){1});
}

static int has_output(const struct tenon_softmax_params *p, uint32_t i)
{
    const int sparse = p->kind == TENON_SOFTMAX_SPARSEMAX || p->kind == TENON_SOFTMAX_ENTMAX15;
    if (i == TENON_SOFTMAX_TAU)
        return sparse;
    if (i == TENON_SOFTMAX_BETA)
        return p->adaptive != 0;
    return p->kind <= TENON_SOFTMAX_LOG_EXP || i <= TENON_SOFTMAX_ARGMAX || i > TENON_SOFTMAX_SUMSQ;
}

/* stats: of the others each with a chance of one half; else y alone, as most callers have it. */
static void set_outputs(struct conform_case *c, uint32_t dtype, uint32_t layout, int64_t rows, int64_t cols, int stats,
                        uint64_t hash)
{
    uint32_t x = c->slot[TENON_SOFTMAX_X].tensor.dtype;
    const int64_t four = 4;
    int any = 0;
    for (uint32_t i = TENON_SOFTMAX_MAX; stats && i < TENON_SOFTMAX_N_TENSORS; i++)
        if (hash >> (i + 16) & 1 && has_output(params_of(c), i)) {
            const int whole = i == TENON_SOFTMAX_ARGMAX || i == TENON_SOFTMAX_NNZ, flags = i == TENON_SOFTMAX_FLAGS;
            conform_slot_set(c, i, flags ? TENON_U32 : whole ? TENON_I32 : TENON_F32, 1, flags ? &four : &rows);
            conform_slot_room(&c->slot[i], (hash >> i & 3) * 4, 8);
            any = 1;
        }
    if (any && hash % 8 == 0)
        return; /* statistics alone */
    set_x_like(c, TENON_SOFTMAX_Y, dtype, layout, rows, cols, hash >> 3);
    if (x == dtype && hash % 8 == 1) {
        c->slot[TENON_SOFTMAX_Y] = c->slot[TENON_SOFTMAX_X];
        c->slot[TENON_SOFTMAX_Y].same_as = TENON_SOFTMAX_X;
        c->slot[TENON_SOFTMAX_Y].is_output = 1;
    }
}

struct softmax_special {
    int64_t rows, cols;
    uint32_t algo, fill, dtype, kind;
};
#define SPIKES(algo)                                                                                                   \
    {algo ? 43 : 129, 17000, algo, FILL_SPIKE, TENON_F32, 0},                                                          \
    {                                                                                                                  \
        17, 16385, algo, FILL_SPIKE, TENON_F32, 0                                                                      \
    }
static const struct softmax_special first_specials[] = {
    {3, 5, 0, FILL_NORMAL, TENON_F32, 0}, /* case 0: plain, with every output */
    {1, 4, 0, FILL_GOLDEN, TENON_F32, 0},     {3, 4095, 0, FILL_WIDE, TENON_F32, 0},
    {3, 4096, 0, FILL_WIDE, TENON_F32, 0},    {3, 4097, 0, FILL_WIDE, TENON_F16, 0},
    {2, 16385, 0, FILL_RISING, TENON_F32, 0}, {1000, 4, 0, FILL_NORMAL, TENON_F32, 0},
    {700, 17, 4, FILL_TIES, TENON_F16, 0},
};
/* The last of the quick cases, from simple to hard. */
static const struct softmax_special quick_specials[] = {
    {1, 65537, 0, FILL_RISING, TENON_F32, 0},
    {1, 200000, 4, FILL_RISING, TENON_F32, 0},
    {1, 65537, 3, FILL_WIDE, TENON_F32, 0},
    {1, 65537, 0, FILL_EXACT, TENON_F32, 0},
    {1, 131072, 0, FILL_NORMAL, TENON_F32, 0},
    {1, 65538, 0, FILL_WIDE, TENON_F32, 0},
    {2, 4098, 0, FILL_CANCEL, TENON_F32, TENON_SOFTMAX_LOG_EXP},
    {2, 140000, 0, FILL_CANCEL, TENON_F32, TENON_SOFTMAX_LOG_EXP},
    {70000, 1, 0, FILL_NORMAL, TENON_F32, 0},
    SPIKES(0),
    SPIKES(1),
    SPIKES(2),
    SPIKES(3),
    SPIKES(4),
    SPIKES(5),
};
/* Those before them: features that the general ones do not put to the test, each alone. */
static const struct softmax_feature {
    int64_t rows, cols;
    uint32_t kind, post, adaptive, masking, fill, k; /* k: of support TOPK */
} quick_features[] = {
    /* entropies between those where the published polynomial is below 1 */
    {.rows = 9, .cols = 33, .adaptive = 1, .fill = FILL_NORMAL},
    {.rows = 6, .cols = 200, .adaptive = 1, .fill = FILL_WIDE},
    {.rows = 7, .cols = 100, .post = TENON_SOFTMAX_POST_HARD, .fill = FILL_TIES},
    {.rows = 5, .cols = 37, .kind = TENON_SOFTMAX_SCALE, .masking = 1, .fill = FILL_NORMAL},
    /* rows that are shared out, with ties at the cut and without */
    {.rows = 1, .cols = 140001, .k = 70001, .fill = FILL_TIES},
    {.rows = 1, .cols = 300000, .k = 1000, .fill = FILL_NORMAL},
};
static const struct softmax_special full_specials[] = {
    {1, 16777216, 0, FILL_NORMAL, TENON_F32, 0},
    {1, 16777216, 4, FILL_EXACT, TENON_F32, 0},
    {1, 16777216, 3, FILL_WIDE, TENON_F32, 0},
    {70000, 33, 0, FILL_WIDE, TENON_F16, 0},
#define LENGTHS(kind)                                                                                                  \
    {7, 1, 0, FILL_NORMAL, TENON_F32, kind}, {5, 2, 0, FILL_WIDE, TENON_F32, kind},                                    \
        {9, 31, 0, FILL_TIES, TENON_BF16, kind}, {3, 4095, 0, FILL_WIDE, TENON_F16, kind},                             \
        {3, 4096, 0, FILL_NORMAL, TENON_F32, kind}, {3, 4097, 0, FILL_OFFSET, TENON_F32, kind},                        \
        {2, 65537, 0, FILL_NORMAL, TENON_F32, kind}, {1, 131072, 0, FILL_TIES, TENON_F16, kind},                       \
        {1, 200000, 0, FILL_RISING, TENON_F32, kind},                                                                  \
    {                                                                                                                  \
        70000, 3, 0, FILL_NORMAL, TENON_F32, kind                                                                      \
    }
    LENGTHS(TENON_SOFTMAX_SOFTPICK),
    LENGTHS(TENON_SOFTMAX_SPARSEMAX),
    LENGTHS(TENON_SOFTMAX_ENTMAX15),
    LENGTHS(TENON_SOFTMAX_SIGMOID),
    LENGTHS(TENON_SOFTMAX_RELU_NORM),
    LENGTHS(TENON_SOFTMAX_RELU2_NORM),
    LENGTHS(TENON_SOFTMAX_QUAD_NORM),
    LENGTHS(TENON_SOFTMAX_STABLEMAX),
    LENGTHS(TENON_SOFTMAX_SCALE),
};
#define COUNT(a)      (sizeof(a) / sizeof((a)[0]))
#define SPECIALS_FROM (QUICK_CASES - COUNT(quick_specials))
#define FEATURES_FROM (SPECIALS_FROM - COUNT(quick_features))

static TENON_PRINTF(2, 3) void append(struct conform_case *c, const char *format, ...)
{
    const size_t used = strlen(c->name);
    va_list args;
    va_start(args, format);
    vsnprintf(c->name + used, sizeof(c->name) - used, format, args);
    va_end(args);
}

static void name_case(struct conform_case *c)
{
    static const char *const algos[] = {"auto", "recompute", "reload", "two_pass_ext", "online", "fixed_max"};
    static const char *const fills[] = {"exact",   "normal",   "wide", "deep",   "offset",   "spike",
                                        "special", "infinite", "ties", "rising", "constant", "golden",
                                        "cancel"};
    static const char *const kinds[] = {"",           "log_exp ",   "softpick ",  "sparsemax ",
                                        "entmax15 ",  "sigmoid ",   "relu_norm ", "relu2_norm ",
                                        "quad_norm ", "stablemax ", "scale "};
    static const char *const noises[] = {"", " gumbel", " normals", ""};
    static const char *const posts[] = {"", " clip", " hard", " quant_u8"};
    const struct tenon_softmax_params *p = params_of(c);
    const struct tenon_tensor *y = &c->slot[TENON_SOFTMAX_Y].tensor;
    append(c, "%s>%s %lldx%lld %s%s %s", tenon_dtype_name(c->slot[TENON_SOFTMAX_X].tensor.dtype),
           y->dtype ? tenon_dtype_name(y->dtype) : "stats", (long long)tenon__softmax_suite_rows(c),
           (long long)tenon__softmax_suite_cols(c), kinds[p->kind], algos[p->algo], fills[c->own[0]]);
    append(c, "%s%s%s", noises[p->noise], posts[p->post], p->adaptive ? " adaptive" : "");
    if (p->support)
        append(c, " %s %u", p->support == TENON_SOFTMAX_SUPPORT_TOPK ? "topk" : "stat_topk", p->k);
    for (uint32_t i = TENON_SOFTMAX_BIAS; i <= TENON_SOFTMAX_MULT; i++)
        if (c->slot[i].tensor.dtype)
            append(c, " +%s", tenon_op_contract_by_number(c->op->op)->tensors[i].name);
    append(c, "%s", c->slot[TENON_SOFTMAX_Y].same_as >= 0 ? " in place" : "");
}

static void make_special(struct conform_case *c, const struct softmax_special *s)
{
    uint64_t hash = conform_key(c, 100);
    params_of(c)->algo = s->algo;
    params_of(c)->kind = s->kind;
    c->own[0] = s->fill;
    c->own[2] = conform_float_bits(1e3f);
    c->mode = s->fill == FILL_EXACT                                                         ? CONFORM_EXACT
              : s->fill == FILL_SPIKE || s->fill == FILL_RISING || s->fill == FILL_CANCEL ? CONFORM_ADVERSARIAL
                                                                                            : CONFORM_RANDOM;
    if (s->fill == FILL_CANCEL) {
        params_of(c)->support = TENON_SOFTMAX_SUPPORT_STAT_TOPK;
        params_of(c)->k = (uint32_t)s->cols / 2;
    }
    set_x_like(c, TENON_SOFTMAX_X, s->dtype, 0, s->rows, s->cols, 0);
    set_outputs(c, s->dtype, 0, s->rows, s->cols, c->number % 2 == 0, c->number ? hash | 2 : UINT64_C(0xffffffff0002));
}

static void make_feature(struct conform_case *c, const struct softmax_feature *f)
{
    struct tenon_softmax_params *p = params_of(c);
    p->kind = f->kind;
    p->post = f->post;
    p->adaptive = f->adaptive;
    p->k = f->k;
    p->support = f->k ? TENON_SOFTMAX_SUPPORT_TOPK : TENON_SOFTMAX_SUPPORT_ALL;
    c->own[0] = f->fill;
    c->mode = f->fill <= FILL_DEEP ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    set_x_like(c, TENON_SOFTMAX_X, TENON_F32, 0, f->rows, f->cols, 0);
    set_sides(c, &options[0], f->masking, f->rows, f->cols, 0, 0);
    set_outputs(c, TENON_F32, 0, f->rows, f->cols, 1, UINT64_C(0xffffffff0002));
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void make_general(struct conform_case *c)
{
    static const uint32_t algos[7] = {0, 1, 2, 3, 4, 5, 0};
    static const uint32_t types[5][2] = {{TENON_F32, TENON_F32},
                                         {TENON_F16, TENON_F16},
                                         {TENON_BF16, TENON_BF16},
                                         {TENON_F16, TENON_F32},
                                         {TENON_BF16, TENON_F32}};
    static const float offsets[6] = {1e3f, 1e6f, -1e6f, 3e38f, 5e4f, -3e38f};
    struct tenon_softmax_params *p = params_of(c);
    const uint64_t n = c->number / 2;
    uint64_t hash = conform_key(c, 100);
    const struct softmax_option *o = &options[n % 13];
    const uint64_t kind = conform_random(hash, 2) % 4; /* 0: x and y, nothing else; 1: no statistics; else everything */
    const int common = kind == 0 && (hash >> 38 & 3) != 0; /* what callers have most */
    const uint32_t *type = types[common && hash >> 36 & 1 ? 0 : n % 5], layout = n % 4, masking = n % 3;
    int64_t cols = c->number < QUICK_CASES || hash >> 60 ? small_cols[n % 23] : large_cols[hash >> 40 & 15];
    int64_t rows = hash % 64 == 7 ? 0 : 1 + (int64_t)((hash >> 24) % 13);
    if (common)
        cols = plain_cols[hash >> 40 & 15];
    if (rows * cols > 20000)
        rows = 1 + 20000 / cols;
    p->algo = common ? TENON_SOFTMAX_AUTO : algos[n % 7];
    p->kind = hash >> 50 & 1;
    p->empty_row = (uint32_t)(hash >> 52) % 3;
    c->own[0] = n % 11;
    c->own[1] = (hash >> 54) % PATTERN_COUNT;
    c->own[2] = conform_float_bits(offsets[(hash >> 57) % 6]);
    c->own[3] = c->own[0] != FILL_NORMAL;
    c->mode = c->own[0] == FILL_EXACT ? CONFORM_EXACT : c->own[0] <= FILL_DEEP ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    if (p->algo == TENON_SOFTMAX_TWO_PASS_EXT && n % 13 != 6 && n % 13 != 7)
        o = &options[0];
    if (c->own[0] == FILL_EXACT || kind == 0)
        o = &options[0];
    if (p->algo == TENON_SOFTMAX_FIXED_MAX && c->own[0] != FILL_EXACT) {
        p->phi = (const float[]){0, 5, -3, 100}[hash >> 33 & 3];
        p->win = hash >> 35 & 1 ? 60.0f : 10.0f;
    }
    set_x_like(c, TENON_SOFTMAX_X, type[0], layout, rows, cols, hash);
    set_sides(c, o, kind ? masking : 0, rows, cols, layout, hash);
    set_outputs(c, type[1], hash >> 37 & 1 ? layout : layout ^ 1, rows, cols, kind > 1, conform_random(hash, 1));
}

/* ---- the family: kinds, noise, support, mult, adaptive, post ---- */

static void set_attributes(struct conform_case *c, uint64_t hash, int64_t cols)
{
    struct tenon_softmax_params *p = params_of(c);
    const int exps = p->kind <= TENON_SOFTMAX_LOG_EXP;
    const uint32_t ks[8] = {1,
                            2,
                            5,
                            (uint32_t)(cols / 2 + 1),
                            (uint32_t)(cols > 1 ? cols - 1 : 1),
                            (uint32_t)(cols ? cols : 1),
                            (uint32_t)cols + 3,
                            (uint32_t)(cols / 16 + 1)};
    p->noise = (const uint32_t[]){0, 0, 0, 1, 1, 2, 3, 3}[hash & 7];
    p->noise_amp = (const float[]){1, 1, 0.5f, -2}[hash >> 3 & 3];
    if (p->noise == TENON_SOFTMAX_NOISE_GUMBEL || p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL) {
        p->seed = conform_random(hash, 3);
        p->stream = (uint32_t)(hash >> 32 & 0xff);
        p->sample = (uint32_t)(hash >> 40 & 1 ? 0xffffffff : hash >> 41 & 7);
    }
    p->support = (const uint32_t[]){0, 0, 1, 2}[hash >> 5 & 3];
    p->k = p->support ? ks[hash >> 7 & 7] : 0;
    p->eps = (const float[]){-1, -1, 1e-3f, 0}[hash >> 10 & 3];
    if (hash >> 12 & 1 && p->kind == TENON_SOFTMAX_SIGMOID) {
        p->sigmoid_rule = TENON_SOFTMAX_BIAS_FIXED;
        p->sigmoid_bias = (const float[]){0, -3, 1.5f, -17}[hash >> 13 & 3];
    }
    p->quad_c = (const float[]){5, 0, -1, 2.5f}[hash >> 13 & 3];
    p->post = p->kind == TENON_SOFTMAX_LOG_EXP ? 0 : (const uint32_t[]){0, 0, 1, 3, 0, 2, 1, 3}[hash >> 15 & 7];
    if (p->post == TENON_SOFTMAX_POST_HARD && p->kind != TENON_SOFTMAX_EXP)
        p->post = 0;
    p->zeta = hash >> 18 & 1 ? 1.0f : 1.25f;
    p->gamma = (const float[]){0, -0.1f, -0.003f, -1}[hash >> 19 & 3];
    p->qscale = (const float[]){1.0f / 255, 1.0f / 255, 1e-3f, 0.1f}[hash >> 21 & 3];
    p->adaptive = p->kind == TENON_SOFTMAX_EXP && (hash >> 23 & 3) == 0;
    if (p->adaptive && hash >> 25 & 1) {
        p->adaptive_gate = 1;
        p->adaptive_c0 = 1;
        p->adaptive_c1 = 0.25f;
        p->adaptive_c2 = p->adaptive_c3 = p->adaptive_c4 = 0;
    }
    if (exps && (hash >> 26 & 3) == 0)
        conform_slot_set(c, TENON_SOFTMAX_MULT, TENON_F32, 1, &cols);
    c->own[5] = (hash >> 28 & 7) == 0 && p->support == 0;
}

/* Which of the options go with the kind: sinks are for exponentials, and what is not about the maximum must stay within
 * f32 when it is multiplied by T. */
static const struct softmax_option *option_of(const struct conform_case *c, uint64_t hash)
{
    const struct tenon_softmax_params *p = (const void *)c->params;
    const struct softmax_option *o = &options[hash % 13];
    const int huge = c->own[0] == FILL_SPECIAL || c->own[0] == FILL_OFFSET;
    if (c->own[0] == FILL_EXACT || (p->kind > TENON_SOFTMAX_LOG_EXP && (o->sink || huge)))
        return &options[0];
    return o;
}

static void make_family(struct conform_case *c)
{
    static const uint32_t kinds[13] = {2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 0, 0};
    static const int64_t edges[8] = {1, 2, 31, 63, 258, 4095, 4096, 4097};
    static const uint32_t types[5][2] = {{TENON_F32, TENON_F32},
                                         {TENON_F16, TENON_F16},
                                         {TENON_BF16, TENON_BF16},
                                         {TENON_F16, TENON_F32},
                                         {TENON_F32, TENON_F32}};
    static const float offsets[6] = {1e3f, 1e6f, -1e6f, 3e38f, 5e4f, -3e38f};
    struct tenon_softmax_params *p = params_of(c);
    const uint64_t m = c->number / 2, hash = conform_key(c, 101), more = conform_random(hash, 1);
    const uint32_t *type = types[m % 5], layout = (uint32_t)(more >> 4 & 3);
    int64_t cols = (hash & 3) == 0 ? edges[hash >> 2 & 7] : small_cols[hash >> 2 & 63 ? (hash >> 5) % 23 : 0];
    int64_t rows = hash % 64 == 7 ? 0 : 1 + (int64_t)((hash >> 24) % 13);
    if (c->number >= QUICK_CASES && (hash >> 60) == 0)
        cols = large_cols[hash >> 40 & 15];
    if (rows * cols > 12000)
        rows = 1 + 12000 / cols;
    p->kind = kinds[m % 13];
    p->empty_row = (uint32_t)(hash >> 52) % 3;
    c->own[0] = (m / 13 + m) % 11;
    c->own[1] = (hash >> 54) % PATTERN_COUNT;
    c->own[2] = conform_float_bits(offsets[(hash >> 57) % 6]);
    c->own[3] = c->own[0] != FILL_NORMAL;
    c->mode = c->own[0] == FILL_EXACT ? CONFORM_EXACT : c->own[0] <= FILL_DEEP ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    set_attributes(c, more >> 8, cols);
    if (more & 8) { /* one feature alone */
        p->noise = p->adaptive ? 0 : p->noise;
        p->support = p->noise ? 0 : p->support;
        p->k = p->support ? p->k : 0;
    }
    set_x_like(c, TENON_SOFTMAX_X, type[0], layout, rows, cols, hash);
    set_sides(c, option_of(c, more >> 3), more & 1 ? (uint32_t)(more >> 1) % 3 : 0, rows, cols, layout, hash);
    if (p->noise == TENON_SOFTMAX_NOISE_INPUT && more >> 60 & 1)
        conform_slot_set(c, TENON_SOFTMAX_NOISE, TENON_F32, 1, &cols);
    else if (p->noise == TENON_SOFTMAX_NOISE_INPUT)
        set_x_like(c, TENON_SOFTMAX_NOISE, TENON_F32, layout ^ 1, rows, cols, hash >> 20);
    if (c->slot[TENON_SOFTMAX_MASK].tensor.dtype || c->slot[TENON_SOFTMAX_VALID_LEN].tensor.dtype)
        c->own[5] = 0;
    set_outputs(c, p->post == TENON_SOFTMAX_POST_QUANT_U8 ? TENON_U8 : type[1], hash >> 37 & 1 ? layout : layout ^ 1,
                rows, cols, (more >> 58 & 3) != 0, conform_random(hash, 2));
}

static void softmax_make(struct conform_case *c)
{
    uint64_t n = c->number;
    if (n < COUNT(first_specials))
        make_special(c, &first_specials[n]);
    else if (n < QUICK_CASES && n >= SPECIALS_FROM)
        make_special(c, &quick_specials[n - SPECIALS_FROM]);
    else if (n < SPECIALS_FROM && n >= FEATURES_FROM)
        make_feature(c, &quick_features[n - FEATURES_FROM]);
    else if (n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials))
        make_special(c, &full_specials[n - QUICK_CASES]);
    else if (n & 1)
        make_family(c);
    else
        make_general(c);
    name_case(c);
}

/* ---- benchmarks ---- */

/* One read and one write of each element; 20 operations: subtract, an exp of 17, add, scale. */
#define BENCH(rows, cols, size)                                                                                        \
    {                                                                                                                  \
#rows "x" #cols, TENON_F32, size, {rows, cols, 0 }, 8.0 * rows *cols, 20.0 * rows *cols                        \
    }
static const struct conform_bench benches[] = {
    BENCH(4096, 1024, CONFORM_QUICK),
    BENCH(512, 32768, CONFORM_QUICK),
    BENCH(1, 16777216, CONFORM_QUICK),
    /* So small that the call is all there is to measure; `tenon bench` knows the name. */
    {"call-cost", TENON_F32, CONFORM_QUICK, {1, 16, 0}, 8.0 * 16, 20.0 * 16},
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    c->own[0] = FILL_NORMAL;
    conform_slot_set(c, TENON_SOFTMAX_X, bench->dtype, 2, bench->dim);
    conform_slot_set(c, TENON_SOFTMAX_Y, bench->dtype, 2, bench->dim);
    name_case(c);
}

const struct conform_op tenon__conform_softmax = {
    .op = TENON_OPNUM_softmax,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = softmax_make,
    .fill = tenon__softmax_suite_fill,
    .expect = tenon__conform_softmax_expect,
    .check = tenon__conform_softmax_check,
    .mpfr = tenon__conform_softmax_mpfr,
    .n_hostile = SOFTMAX_HOSTILE,
    .hostile = tenon__softmax_suite_hostile,
    .n_properties = SOFTMAX_PROPERTIES,
    .properties = tenon__softmax_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
    .passes = tenon__softmax_suite_passes,
};
