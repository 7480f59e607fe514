/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn: shapes of its cases, benchmark rows. */
#include <stdio.h>
#include <string.h>
#include "moe_ffn_suite.h"

#define QUICK_CASES 220
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static const uint32_t types[13][3] = {
    /* x, w, z */
    {TENON_F32, TENON_F32, TENON_F32},  {TENON_F16, TENON_F16, TENON_F16}, {TENON_BF16, TENON_BF16, TENON_BF16},
    {TENON_F32, TENON_I8, TENON_F32},   {TENON_F32, TENON_F32, TENON_F32}, {TENON_BF16, TENON_BF16, TENON_F32},
    {TENON_F32, TENON_BF16, TENON_F32}, {TENON_F16, TENON_I8, TENON_F16},  {TENON_F32, TENON_F32, TENON_F32},
    {TENON_BF16, TENON_I8, TENON_BF16}, {TENON_F16, TENON_F16, TENON_F32}, {TENON_F16, TENON_F32, TENON_F32},
    {TENON_F32, TENON_F16, TENON_F32},
};
static const int64_t es[8] = {4, 1, 8, 2, 5, 16, 3, 9};
static const int64_t ds[13] = {16, 1, 7, 32, 33, 64, 17, 48, 5, 96, 31, 128, 65};
static const int64_t fs[11] = {16, 8, 1, 33, 32, 5, 64, 15, 40, 65, 17};
static const int64_t outs[7] = {8, 1, 17, 32, 33, 20, 64};
static const int64_t rowss[9] = {9, 1, 4, 17, 33, 24, 2, 40, 60};
static const int64_t large_rows[4] = {70, 129, 300, 470};

struct extents {
    int64_t rows, e, d, f, out;
    int own, has_src;
};

/* Gaps between rows and margins around, as the hash says. */
static void set_matrix(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t rank, const int64_t *dim,
                       uint64_t hash)
{
    conform_slot_set(c, i, dtype, rank, dim);
    if (hash >> 3 & 1)
        conform_slot_pitch(&c->slot[i], dim[rank - 1] + 1 + (int64_t)(hash >> 4 & 7));
    if (rank == 3 && hash >> 9 & 1)
        c->slot[i].tensor.stride[0] += 3;
    conform_slot_margins(&c->slot[i], hash, hash >> 7);
}

static void set_weights(struct conform_case *c, uint32_t i, uint32_t dtype, const struct extents *e, int64_t n,
                        int64_t k, uint64_t hash)
{
    if (e->own)
        set_matrix(c, i, dtype, 2, (int64_t[]){n, k}, hash);
    else
        set_matrix(c, i, dtype, 3, (int64_t[]){e->e, n, k}, hash);
    if (dtype != TENON_I8)
        return;
    const int down = i == TENON_MOE_FFN_WD, grouped = k > 0 && k % 32 == 0 && hash >> 10 & 1 && !(down && e->own);
    const int64_t groups = k % 64 == 0 && hash >> 11 & 1 ? k / 64 : k / 32;
    const uint32_t scale = i - TENON_MOE_FFN_WG + TENON_MOE_FFN_WG_SCALE;
    if (e->own && !down)
        conform_slot_set(c, scale, TENON_F32, grouped ? 2 : 1, (int64_t[]){n, groups});
    else
        conform_slot_set(c, scale, TENON_F32, grouped ? 3 : 2, (int64_t[]){e->e, n, groups});
}

/* [E,n], with foff [n]. */
static void set_bias(struct conform_case *c, uint32_t i, const struct extents *e, int64_t n)
{
    if (e->own)
        conform_slot_set(c, i, TENON_F32, 1, &n);
    else
        conform_slot_set(c, i, TENON_F32, 2, (int64_t[]){e->e, n});
}

static void set_tensors(struct conform_case *c, const struct extents *e, const uint32_t *type, uint64_t hash)
{
    const struct tenon_moe_ffn_params *p = tenon__ffn_suite_params(c);
    const int gated = p->glu != TENON_MOE_FFN_GLU_NONE;
    const int64_t tokens = e->has_src ? e->rows / (int64_t)p->top_k + 1 : e->rows, entries = e->e + 1;
    set_matrix(c, TENON_MOE_FFN_X, type[0], 2, (int64_t[]){tokens, e->d}, hash);
    conform_slot_set(c, TENON_MOE_FFN_OFFSETS, TENON_I32, 1, &entries);
    if (e->has_src)
        conform_slot_set(c, TENON_MOE_FFN_SRC, TENON_I32, 1, &e->rows);
    if (e->own)
        conform_slot_set(c, TENON_MOE_FFN_FOFF, TENON_I32, 1, &entries);
    if (gated)
        set_weights(c, TENON_MOE_FFN_WG, type[1], e, e->f, e->d, hash >> 9);
    set_weights(c, TENON_MOE_FFN_WU, type[1], e, e->f, e->d, hash >> 13);
    set_weights(c, TENON_MOE_FFN_WD, type[1], e, e->out, e->f, hash >> 18);
    if (gated && hash >> 40 & 1)
        set_bias(c, TENON_MOE_FFN_BG, e, e->f);
    if (hash >> 41 & 1)
        set_bias(c, TENON_MOE_FFN_BU, e, e->f);
    if (hash >> 42 & 1)
        conform_slot_set(c, TENON_MOE_FFN_BD, TENON_F32, 2, (int64_t[]){e->e, e->out});
    if (p->weight_at)
        conform_slot_set(c, TENON_MOE_FFN_RW, TENON_F32, 1, &e->rows);
    set_matrix(c, TENON_MOE_FFN_Z, type[2], 2, (int64_t[]){e->rows, e->out}, hash >> 30);
    if (hash >> 43 & 1)
        conform_slot_set(c, TENON_MOE_FFN_FLAGS, TENON_U32, 1, (int64_t[]){4});
}

static void name_case(struct conform_case *c, const struct extents *e)
{
    static const char *const fills[] = {"exact", "normal", "ones", "cancel", "special", "scales", "bench"};
    static const char *const routes[] = {"random", "sparse", "one", "skewed", "broken", "even"};
    const struct tenon_moe_ffn_params *p = tenon__ffn_suite_params(c);
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    char *end = c->name + sizeof(c->name), *text = c->name;
    text += snprintf(text, (size_t)(end - text), "%s*%s>%s %lldE%lldD%lldF%lldO%lld %s %s%s",
                     tenon_dtype_name(c->slot[TENON_MOE_FFN_X].tensor.dtype),
                     tenon_dtype_name(c->slot[TENON_MOE_FFN_WU].tensor.dtype),
                     tenon_dtype_name(c->slot[TENON_MOE_FFN_Z].tensor.dtype), (long long)e->rows, (long long)e->e,
                     (long long)e->d, (long long)e->f, (long long)e->out, contract->attrs[0].names[p->glu],
                     contract->attrs[1].names[p->act], p->h_dtype ? " f32 h" : "");
    if (p->weight_at)
        text += snprintf(text, (size_t)(end - text), " %s*rw", contract->attrs[2].names[p->weight_at]);
    for (uint32_t i = TENON_MOE_FFN_BG; i <= TENON_MOE_FFN_BD; i++)
        if (c->slot[i].tensor.dtype)
            text += snprintf(text, (size_t)(end - text), " +%s", contract->tensors[i].name);
    snprintf(text, (size_t)(end - text), "%s%s %s %s", e->has_src ? " src" : "", e->own ? " foff" : "",
             fills[c->own[0]], routes[c->own[1]]);
}

/* Case 0: small and plain, with every tensor that f32 weights have in their one layout. */
static void make_plain(struct conform_case *c)
{
    const struct extents e = {.rows = 6, .e = 3, .d = 7, .f = 5, .out = 4, .has_src = 1};
    struct tenon_moe_ffn_params *p = tenon__ffn_suite_params(c);
    p->glu = TENON_MOE_FFN_GLU2;
    p->act = TENON_ACT_SILU;
    p->weight_at = TENON_MOE_FFN_AT_OUTPUT;
    p->top_k = 2;
    c->own[0] = FFN_FILL_NORMAL;
    c->own[1] = FFN_ROUTE_EVEN;
    c->mode = CONFORM_RANDOM;
    set_tensors(c, &e, types[0], UINT64_C(15) << 40);
    name_case(c, &e);
}

static void choose_params(struct conform_case *c, uint64_t hash)
{
    static const uint32_t exact_acts[4] = {TENON_ACT_IDENTITY, TENON_ACT_RELU, TENON_ACT_RELU2, TENON_ACT_FATRELU};
    static const uint32_t ks[4] = {1, 2, 3, 8};
    struct tenon_moe_ffn_params *p = tenon__ffn_suite_params(c);
    const uint64_t n = c->number;
    p->glu = (uint32_t)(n % 3);
    p->act = c->mode == CONFORM_EXACT ? exact_acts[hash >> 50 & 3] : (uint32_t)(hash >> 50) % TENON_ACT_COUNT;
    if (p->glu == TENON_MOE_FFN_GLU1 && c->mode == CONFORM_EXACT)
        p->glu = TENON_MOE_FFN_GLU2;
    if (p->glu == TENON_MOE_FFN_GLU1 && (p->act < TENON_ACT_SILU || p->act == TENON_ACT_FATRELU))
        p->act = TENON_ACT_SILU + (uint32_t)(hash >> 52) % (TENON_ACT_FATRELU - TENON_ACT_SILU);
    p->weight_at = hash >> 44 & 1 ? (uint32_t)(hash >> 45) % TENON_MOE_FFN_AT_COUNT : 0;
    p->h_dtype = (hash >> 47 & 3) == 0;
    p->top_k = ks[hash >> 56 & 3];
    p->alpha = p->act >= TENON_ACT_XSILU && hash >> 58 & 1 ? 0.25f : 0;
    p->threshold = p->act == TENON_ACT_FATRELU ? 0.5f : 0;
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void choose_extents(struct conform_case *c, uint64_t hash, struct extents *e)
{
    const uint64_t n = c->number, other = conform_key(c, 101);
    *e = (struct extents){rowss[n % 9], es[(n + n / 8) % 8], ds[n % 13], fs[n % 11], outs[n % 7], 0, 0};
    e->own = other % 5 == 0;
    e->has_src = other >> 8 & 1;
    if (c->own[1] == FFN_ROUTE_ONE && other >> 9 & 1)
        e->rows = large_rows[(n < QUICK_CASES ? other >> 11 & 1 : other >> 11 & 3)];
    if (other % 23 == 1) { /* more than one block of K, with few rows and a small other axis */
        *(other >> 20 & 1 ? &e->d : &e->f) = other >> 21 & 1 ? 1025 : 1100;
        *(other >> 20 & 1 ? &e->f : &e->d) = 3;
        e->e = e->e > 4 ? 4 : e->e;
    }
    if (e->rows > 64) {
        e->f = e->f > 33 ? 33 : e->f;
        e->d = e->d > 64 ? 33 : e->d;
    }
    if (e->own)
        e->f *= e->f > 64 ? 1 : 3;
    if (hash % 37 == 0) {
        int64_t *const axes[5] = {&e->rows, &e->e, &e->d, &e->f, &e->out};
        *axes[other >> 30 & 3] = 0;
    }
}

static void ffn_make(struct conform_case *c)
{
    static const uint32_t fills[5] = {FFN_FILL_EXACT, FFN_FILL_NORMAL, FFN_FILL_CANCEL, FFN_FILL_SPECIAL,
                                      FFN_FILL_SCALES};
    static const uint32_t routes[7] = {FFN_ROUTE_RANDOM, FFN_ROUTE_SPARSE, FFN_ROUTE_ONE,   FFN_ROUTE_SKEWED,
                                       FFN_ROUTE_BROKEN, FFN_ROUTE_RANDOM, FFN_ROUTE_SPARSE};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    struct extents e;
    if (n == 0) {
        make_plain(c);
        return;
    }
    c->own[0] = n % 5 == 1 && hash >> 62 == 0 ? FFN_FILL_ONES : fills[n % 5];
    c->own[1] = routes[hash >> 20 & 255 ? (hash >> 20) % 7 : 0];
    c->mode = c->own[0] == FFN_FILL_EXACT                                  ? CONFORM_EXACT
              : c->own[0] == FFN_FILL_NORMAL || c->own[0] == FFN_FILL_ONES ? CONFORM_RANDOM
                                                                           : CONFORM_ADVERSARIAL;
    choose_params(c, hash);
    choose_extents(c, hash, &e);
    set_tensors(c, &e, types[n % 13], hash);
    name_case(c, &e);
}

/* ---- benchmarks ---- */

/* T tokens, each to k of E experts. bytes: the weights of the experts that have rows, once; x; z. */
#define ACTIVE(e, k, t) ((e) < (k) * (t) ? (e) : (k) * (t))
#define BENCH(prefix, suffix, e, k, d, f, t, type, size, w_bytes, x_bytes)                                             \
    {                                                                                                                  \
        prefix "E" #e "k" #k "D" #d "F" #f "T" #t suffix, type, size, {t, d, f},                                       \
            3.0 * ACTIVE(e, k, t) * d *f *w_bytes + 1.0 * t *d *x_bytes + 1.0 * t *k *d *x_bytes, 6.0 * t *k *d *f     \
    }
static const struct conform_bench benches[] = {
    BENCH("", "", 64, 8, 1024, 512, 512, TENON_F32, CONFORM_QUICK, 4, 4),
    BENCH("", "", 64, 8, 1024, 512, 1, TENON_F32, CONFORM_QUICK, 4, 4),
    BENCH("", "", 64, 8, 1024, 512, 1, TENON_BF16, CONFORM_QUICK, 2, 2),
    BENCH("", "", 64, 8, 1024, 512, 1, TENON_I8, CONFORM_QUICK, 1, 4),
    BENCH("", "skew", 64, 8, 1024, 512, 512, TENON_F32, CONFORM_QUICK, 4, 4),
    BENCH("", "", 64, 8, 1024, 512, 8, TENON_F32, CONFORM_FULL, 4, 4),
    BENCH("", "", 64, 8, 1024, 512, 512, TENON_BF16, CONFORM_FULL, 2, 2),
    BENCH("mixtral/4-", "", 8, 2, 1024, 3584, 64, TENON_BF16, CONFORM_QUICK, 2, 2),
    BENCH("deepseekv3/4-", "", 32, 8, 1792, 512, 32, TENON_F32, CONFORM_QUICK, 4, 4),
    BENCH("qwen3moe/4-", "", 32, 8, 2048, 768, 4, TENON_BF16, CONFORM_QUICK, 2, 2),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_moe_ffn_params *p = tenon__ffn_suite_params(c);
    const char *at = strchr(bench->name, 'E');
    int experts = 64, slots = 8;
    if (at == NULL || sscanf(at, "E%dk%d", &experts, &slots) != 2)
        experts = 64, slots = 8;
    const struct extents e = {.rows = bench->dim[0] * slots,
                              .e = experts,
                              .d = bench->dim[1],
                              .f = bench->dim[2],
                              .out = bench->dim[1],
                              .has_src = 1};
    const uint32_t x = bench->dtype == TENON_I8 ? TENON_F32 : bench->dtype, type[3] = {x, bench->dtype, x};
    p->glu = TENON_MOE_FFN_GLU2;
    p->act = TENON_ACT_SILU;
    p->top_k = (uint32_t)slots;
    c->own[0] = FFN_FILL_BENCH;
    c->own[1] = strstr(bench->name, "skew") ? FFN_ROUTE_SKEWED : FFN_ROUTE_EVEN;
    set_tensors(c, &e, type, 0);
    conform_slot_set(c, TENON_MOE_FFN_X, x, 2, (int64_t[]){bench->dim[0], e.d});
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}

const struct conform_op tenon__conform_moe_ffn = {
    .op = TENON_OPNUM_moe_ffn,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = ffn_make,
    .fill = tenon__ffn_suite_fill,
    .expect = tenon__conform_moe_ffn_expect,
    .check = tenon__conform_moe_ffn_check,
    .mpfr = tenon__conform_moe_ffn_mpfr,
    .n_hostile = FFN_HOSTILE,
    .hostile = tenon__ffn_suite_hostile,
    .n_properties = FFN_PROPERTIES,
    .properties = tenon__ffn_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
