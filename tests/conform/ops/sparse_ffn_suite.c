/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn: shapes and settings of its cases. */
#include <float.h>
#include <stdio.h>
#include "sparse_ffn_suite.h"

#define QUICK_CASES 208
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define LARGE_EVERY(n) ((n) < QUICK_CASES ? 47 : 141)
#define LARGE_AT 23

static const char *const systems[SYSTEMS] = {"relu",     "prosparse", "lazy", "cats",  "chess",     "teal", "wina",
                                             "r_sparse", "spark",     "soft", "smora", "coreinfer", "mixed"};

struct extents {
    int64_t tokens, d, f, o;
};

/* ---- settings ---- */

static int has_gate(const struct conform_case *c)
{
    return c->own[1] != SYSTEM_SMORA && (c->own[1] > SYSTEM_LAZY || c->own[3] & 1);
}

static void threshold_at(struct tenon_sparse_ffn_site *s, uint32_t kind, float t)
{
    s->kind = kind;
    s->t = t;
}

static void top_at(struct tenon_sparse_ffn_site *s, uint32_t kind, uint32_t by, int64_t width, uint64_t hash)
{
    s->kind = kind;
    s->by = by;
    s->k = (int32_t)(hash % 11 == 0 ? width : hash % 7 == 0 ? 0 : (int64_t)(hash % (uint64_t)(width / 2 + 1)));
}

/* One site of any kind. */
static void mix(struct tenon_sparse_ffn_site *s, int64_t width, uint64_t hash)
{
    s->kind = (uint32_t)(hash % TENON_SPARSE_FFN_KINDS);
    s->t = (float)(hash >> 8 & 3) * 0.5f;
    s->tau = (float)(hash >> 10 & 3) * 0.25f;
    s->cap = hash >> 12 & 1 ? 1.5f : FLT_MAX;
    if (s->kind >= TENON_SPARSE_FFN_TOPK)
        top_at(s, s->kind, (uint32_t)(hash >> 13 & 1), width, hash >> 14);
    s->keep = (uint32_t)(hash >> 20 & 1);
    s->ddof = width > 2 ? (uint32_t)(hash >> 21 & 1) : 0;
}

static uint32_t act_of(const struct conform_case *c, int exact)
{
    switch (c->own[1]) {
    case SYSTEM_RELU:
    case SYSTEM_LAZY:
        return TENON_ACT_RELU;
    case SYSTEM_SOFT:
    case SYSTEM_SMORA:
        return TENON_ACT_IDENTITY;
    case SYSTEM_MIXED:
        return exact ? TENON_ACT_IDENTITY : (uint32_t)(c->number / SYSTEMS % TENON_ACT_COUNT);
    case SYSTEM_PROSPARSE:
        return exact ? TENON_ACT_RELU : TENON_ACT_FATRELU;
    case SYSTEM_SPARK:
        return exact ? TENON_ACT_RELU : TENON_ACT_GELU;
    default:
        return exact ? TENON_ACT_RELU : TENON_ACT_SILU;
    }
}

/* Sites and settings of any kind. */
static void set_mixed(struct conform_case *c, const struct extents *e, uint64_t hash)
{
    struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    p->alpha = p->act >= TENON_ACT_XSILU && p->act <= TENON_ACT_XATLU ? 0.25f : 0;
    p->threshold = p->act == TENON_ACT_FATRELU ? 0.5f : 0;
    p->split = e->d > 2 && hash >> 5 & 1 ? (int32_t)(1 + (int64_t)(hash >> 6) % (e->d - 1)) : 0;
    if (p->split < 0)
        p->split = 1;
    if (has_gate(c))
        mix(&p->xg, p->split ? p->split : e->d, hash >> 7);
    mix(&p->xu, p->split ? e->d - p->split : e->d, hash >> 17);
    mix(hash & 1 ? &p->p : &p->g, e->f, hash >> 27);
    mix(&p->h, e->f, hash >> 37);
}

static void set_system(struct conform_case *c, const struct extents *e, uint64_t hash)
{
    struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    const int exact = c->own[0] == SPARSE_EXACT;
    const float t = exact ? 2.0f : 0.4f;
    p->act = act_of(c, exact);
    switch (c->own[1]) {
    case SYSTEM_PROSPARSE:
        p->threshold = exact ? 0 : 0.01f;
        break;
    case SYSTEM_LAZY:
        top_at(&p->h, TENON_SPARSE_FFN_TOPK, 0, e->f, hash);
        break;
    case SYSTEM_CATS:
        threshold_at(&p->g, TENON_SPARSE_FFN_ABS_GT, t);
        break;
    case SYSTEM_CHESS: /* with thresholds of its own for each neuron */
        threshold_at(&p->g, TENON_SPARSE_FFN_ABS_GE, 0);
        break;
    case SYSTEM_TEAL:
    case SYSTEM_R_SPARSE:
        threshold_at(&p->xg, TENON_SPARSE_FFN_ABS_GT, t);
        threshold_at(&p->xu, TENON_SPARSE_FFN_ABS_GT, t * 1.25f);
        threshold_at(&p->h, TENON_SPARSE_FFN_ABS_GT, t);
        break;
    case SYSTEM_WINA:
        top_at(&p->xg, TENON_SPARSE_FFN_TOPK, 1, e->d, hash);
        top_at(&p->xu, TENON_SPARSE_FFN_TOPK, 1, e->d, hash >> 5);
        top_at(&p->h, TENON_SPARSE_FFN_TOPK, 1, e->f, hash >> 10);
        break;
    case SYSTEM_SPARK:
        p->split = e->d > 1 ? (int32_t)(e->d / 2) : 0;
        top_at(&p->p, TENON_SPARSE_FFN_STAT_TOPK, 0, e->f, hash);
        break;
    case SYSTEM_SOFT:
        p->p.kind = hash & 1 ? TENON_SPARSE_FFN_SOFT : TENON_SPARSE_FFN_SHIFT_RELU;
        p->p.tau = exact ? 3.0f : 0.5f;
        p->p.cap = hash & 2 ? 4.0f : FLT_MAX;
        break;
    case SYSTEM_MIXED:
        set_mixed(c, e, hash);
        break;
    default: /* relu, and what ext chooses */
        break;
    }
}

/* ---- tensors ---- */

/* A matrix with gaps between its rows and margins around it, as the hash says. */
static void set_matrix(struct conform_case *c, uint32_t i, uint32_t dtype, int64_t rows, int64_t cols, int deep,
                       uint64_t hash)
{
    conform_slot_rows(c, i, dtype, deep, rows, cols, hash >> 3 & 1 ? 1 + (int64_t)(hash >> 4 & 7) : 0);
    conform_slot_margins(&c->slot[i], hash, hash >> 7);
}

static void set_weights(struct conform_case *c, uint32_t i, uint32_t dtype, int64_t rows, int64_t width, int trans,
                        uint64_t hash)
{
    const uint32_t scale = TENON_SPARSE_FFN_WG_SCALE + i - TENON_SPARSE_FFN_WG;
    set_matrix(c, i, dtype, trans ? width : rows, trans ? rows : width, 0, hash);
    if (dtype != TENON_I8)
        return;
    if (width % 32 == 0 && width && hash >> 9 & 1)
        conform_slot_set(c, scale, TENON_F32, 2, (int64_t[]){rows, width / 32});
    else
        conform_slot_set(c, scale, TENON_F32, 1, &rows);
}

static void set_lists(struct conform_case *c, const struct extents *e)
{
    const struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    const int64_t dg = p->split ? p->split : e->d, du = p->split ? e->d - p->split : e->d, rank = 1 + e->d / 4;
    if (c->own[1] == SYSTEM_CHESS)
        conform_slot_set(c, TENON_SPARSE_FFN_T_G, TENON_F32, 1, &e->f);
    if (c->own[1] == SYSTEM_WINA || c->own[1] == SYSTEM_R_SPARSE) {
        conform_slot_set(c, TENON_SPARSE_FFN_WGT_XG, TENON_F32, 1, &dg);
        conform_slot_set(c, TENON_SPARSE_FFN_WGT_XU, TENON_F32, 1, &du);
    }
    if (c->own[1] == SYSTEM_R_SPARSE) {
        const int64_t rows[6] = {e->f, dg, e->f, du, e->o, e->f};
        for (uint32_t i = 0; i < 6; i++)
            conform_slot_set(c, TENON_SPARSE_FFN_CU_G + i, c->own[3] & 4 ? TENON_BF16 : TENON_F32, 2,
                             (int64_t[]){rows[i], i < 4 ? rank : 2});
    }
}

static void set_tensors(struct conform_case *c, const struct extents *e, uint32_t x_type, uint32_t w_type,
                        uint64_t hash)
{
    const struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    const int deep = hash >> 40 & 1;
    const int64_t dg = p->split ? p->split : e->d, du = p->split ? e->d - p->split : e->d;
    set_matrix(c, TENON_SPARSE_FFN_X, x_type, e->tokens, e->d, deep, hash);
    if (has_gate(c))
        set_weights(c, TENON_SPARSE_FFN_WG, w_type, e->f, dg, p->trans_g != 0, hash >> 9);
    set_weights(c, TENON_SPARSE_FFN_WU, w_type, e->f, du, p->trans_u != 0, hash >> 13);
    set_weights(c, TENON_SPARSE_FFN_WD, w_type, e->o, e->f, p->trans_d != 0, hash >> 17);
    if (c->own[1] >= SYSTEM_SMORA && (c->own[1] < SYSTEM_MIXED || hash >> 41 & 1))
        set_matrix(c, TENON_SPARSE_FFN_EXT, TENON_F32, e->tokens, e->f, deep, hash >> 21);
    set_lists(c, e);
    set_matrix(c, TENON_SPARSE_FFN_Y, hash >> 42 & 1 ? TENON_F32 : x_type, e->tokens, e->o, deep, hash >> 25);
}

static void name_case(struct conform_case *c, const struct extents *e)
{
    static const char *const fills[] = {"exact", "normal", "masked", "special"};
    const struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    snprintf(c->name, sizeof(c->name), "%s %s*%s>%s %lldx%lldx%lldx%lld%s%s%s %s%s%s", systems[c->own[1]],
             tenon_dtype_name(c->slot[TENON_SPARSE_FFN_X].tensor.dtype),
             tenon_dtype_name(c->slot[TENON_SPARSE_FFN_WU].tensor.dtype),
             tenon_dtype_name(c->slot[TENON_SPARSE_FFN_Y].tensor.dtype), (long long)e->tokens, (long long)e->d,
             (long long)e->f, (long long)e->o, p->trans_g ? " trans_g" : "", p->trans_u ? " trans_u" : "",
             p->trans_d ? " trans_d" : "", fills[c->own[0]], c->slot[TENON_SPARSE_FFN_WG].tensor.dtype ? " +wg" : "",
             c->slot[TENON_SPARSE_FFN_EXT].tensor.dtype ? " +ext" : "");
}

/* Coprime moduli: every pair of values of two tables meets within their product of cases. */
static void sparse_ffn_make(struct conform_case *c)
{
    static const int64_t tokens[5] = {1, 2, 5, 1, 11}, ds[7] = {1, 3, 16, 33, 64, 100, 130};
    static const int64_t fs[8] = {1, 5, 16, 40, 64, 96, 130, 257}, os[9] = {1, 7, 16, 33, 70, 128, 3, 20, 48};
    static const uint32_t x_types[3] = {TENON_F32, TENON_F16, TENON_BF16};
    static const uint32_t w_types[4] = {TENON_F32, TENON_I8, TENON_F16, TENON_BF16};
    struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    uint64_t n = c->number, hash = conform_key(c, 100);
    struct extents e = {tokens[n % 5], ds[n % 7], fs[(n / 3) % 8], os[n % 9]};
    if (n == 0) { /* small and plain */
        e = (struct extents){3, 8, 6, 5};
        c->own[0] = SPARSE_NORMAL;
        c->own[1] = SYSTEM_TEAL;
        c->own[3] = 1;
        c->mode = CONFORM_RANDOM;
        set_system(c, &e, 0);
        set_tensors(c, &e, TENON_F32, TENON_F32, UINT64_C(1) << 42);
        name_case(c, &e);
        return;
    }
    if (n % LARGE_EVERY(n) == LARGE_AT) /* more than one block of a sum, more than one strip of columns */
        e = (struct extents){1 + (int64_t)(hash >> 50 & 3), 530, 1040, 420};
    if (hash % 37 == 0)
        *(n % 4 == 0 ? &e.tokens : n % 4 == 1 ? &e.d : n % 4 == 2 ? &e.f : &e.o) = 0;
    c->own[0] = n / SYSTEMS % 4;
    c->own[1] = n % SYSTEMS;
    c->own[3] = hash >> 43;
    c->mode = c->own[0] == SPARSE_EXACT    ? CONFORM_EXACT
              : c->own[0] == SPARSE_NORMAL ? CONFORM_RANDOM
                                           : CONFORM_ADVERSARIAL;
    p->trans_g = hash >> 55 & 1;
    p->trans_u = hash >> 56 & 1;
    p->trans_d = hash >> 57 & 1;
    set_system(c, &e, hash >> 3);
    set_tensors(c, &e, x_types[n % 3], w_types[(n / 2) % 4], hash);
    name_case(c, &e);
}

const struct conform_op tenon__conform_sparse_ffn = {
    .op = TENON_OPNUM_sparse_ffn,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = sparse_ffn_make,
    .fill = tenon__sparse_ffn_suite_fill,
    .expect = tenon__conform_sparse_ffn_expect,
    .check = tenon__conform_sparse_ffn_check,
    .mpfr = tenon__conform_sparse_ffn_mpfr,
    .n_hostile = SPARSE_FFN_HOSTILE,
    .hostile = tenon__sparse_ffn_suite_hostile,
    .n_properties = SPARSE_FFN_PROPERTIES,
    .properties = tenon__sparse_ffn_suite_properties,
    .n_bench = SPARSE_FFN_BENCHES,
    .bench = tenon__sparse_ffn_suite_bench,
    .bench_make = tenon__sparse_ffn_suite_bench_make,
};
