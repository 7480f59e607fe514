/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <math.h>
#include <string.h>
#include "kv_select_suite.h"

static struct tenon_kv_select_params *params_of(struct conform_case *c)
{
    return (struct tenon_kv_select_params *)(void *)c->params;
}

/* ---- hostile descriptors: case 0 has scores of one row of eight blocks of one key, and every output ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SET(name, statement)                                                                                           \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_kv_select_params *p = params_of(c);                                                               \
        statement;                                                                                                     \
    }

static void spoil_no_scores(struct conform_case *c)
{
    memset(&c->slot[TENON_KV_SELECT_SCORES].tensor, 0, sizeof(struct tenon_tensor));
}
SET(block_q, p->block_q = 0)
SET(block_k, p->block_k = 65537)
SET(none, p->k = 0)
SET(tau_topk, p->tau = 0.5f)
SET(tau_zero, p->rule = TENON_KV_SELECT_CUMUL; p->k = 1; p->tau = 0)
SET(tau_more, p->rule = TENON_KV_SELECT_CUMUL; p->k = 1; p->tau = 1.5f)
SET(k_thresh, p->rule = TENON_KV_SELECT_THRESH)
SET(pool, p->pool_q = TENON_KV_SELECT_MAX)
SET(stride, p->stride = 2)
SET(pooled, p->score = TENON_KV_SELECT_POOLED)
SET(scale, p->scale = 0.5f)
SET(nan, p->rule = TENON_KV_SELECT_THRESH; p->k = 1; p->tau = NAN)
SET(k_len, p->k_len = 9)
SET(q_len, p->q_len = 2)
SPOIL(q, TENON_KV_SELECT_Q, TENON_F32, 4, (int64_t[]){1, 1, 1, 4})
SPOIL(lnz, TENON_KV_SELECT_LNZ, TENON_F32, 3, (int64_t[]){1, 1, 1})
SPOIL(row_ptr, TENON_KV_SELECT_ROW_PTR, TENON_I32, 3, (int64_t[]){1, 1, 1})
SPOIL(kpos, TENON_KV_SELECT_KPOS, TENON_I32, 2, (int64_t[]){1, 7})
SPOIL(col, TENON_KV_SELECT_COL, TENON_I32, 2, (int64_t[]){4, 4})

const struct conform_hostile tenon__select_suite_hostile[SELECT_HOSTILE] = {
    {"blocks of no queries", TENON_E_ARG, spoil_block_q},
    {"blocks of 65537 keys", TENON_E_ARG, spoil_block_k},
    {"k of 0", TENON_E_ARG, spoil_none},
    {"tau with topk", TENON_E_ARG, spoil_tau_topk},
    {"cumul without tau", TENON_E_ARG, spoil_tau_zero},
    {"cumul of more than all", TENON_E_ARG, spoil_tau_more},
    {"k with thresh", TENON_E_ARG, spoil_k_thresh},
    {"a pool without blocks", TENON_E_ARG, spoil_pool},
    {"a stride without tokens", TENON_E_ARG, spoil_stride},
    {"scores that are pooled", TENON_E_ARG, spoil_pooled},
    {"a scale of scores that are given", TENON_E_ARG, spoil_scale},
    {"a NaN tau", TENON_E_ARG, spoil_nan},
    {"more keys than scores", TENON_E_SHAPE, spoil_k_len},
    {"more queries than scores", TENON_E_SHAPE, spoil_q_len},
    {"q beside scores", TENON_E_ARG, spoil_q},
    {"lnz without prob_mass", TENON_E_ARG, spoil_lnz},
    {"row_ptr without its end", TENON_E_SHAPE, spoil_row_ptr},
    {"kpos of fewer keys", TENON_E_SHAPE, spoil_kpos},
    {"col of two axes", TENON_E_SHAPE, spoil_col},
    {"external without scores", TENON_E_ARG, spoil_no_scores},
};

/* ---- properties ---- */

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    return conform_get(conform_first(&c->slot[i]), c->slot[i].tensor.dtype, index);
}

/* A copy of the base with storage of its own, from which nothing but outputs may be dropped. */
static int copy_of(const struct conform_case *base, struct conform_case *derived)
{
    return conform_case_clone(base, derived) == 0;
}

static int compare_lists(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    for (uint32_t i = TENON_KV_SELECT_ROW_PTR; i <= TENON_KV_SELECT_COL; i++)
        for (int64_t e = 0; e < tenon_tensor_count(&derived->slot[i].tensor); e++)
            if (number(base, i, e) != number(derived, i, e))
                return tenon_why_set(why, 1, "%s[%lld] is %g, in the base it is %g",
                                     i == TENON_KV_SELECT_COL ? "col" : "row_ptr", (long long)e, number(derived, i, e),
                                     number(base, i, e));
    return 0;
}

/* Half of col: the lists are as long as it lets them. */
static int derive_short(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t nnz = base->slot[TENON_KV_SELECT_COL].tensor.dim[0] / 2;
    if (nnz < 2 || !copy_of(base, derived))
        return 0;
    derived->slot[TENON_KV_SELECT_COL].tensor.dim[0] = nnz;
    return 1;
}
static int check_short(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const double nnz = (double)derived->slot[TENON_KV_SELECT_COL].tensor.dim[0];
    for (int64_t e = 0; (double)e < nnz; e++)
        if (number(base, TENON_KV_SELECT_COL, e) != number(derived, TENON_KV_SELECT_COL, e))
            return tenon_why_set(why, 1, "col[%lld] depends on its length", (long long)e);
    for (int64_t r = 0; r < tenon_tensor_count(&base->slot[TENON_KV_SELECT_ROW_PTR].tensor); r++)
        if (number(derived, TENON_KV_SELECT_ROW_PTR, r) != fmin(nnz, number(base, TENON_KV_SELECT_ROW_PTR, r)))
            return tenon_why_set(why, 1, "row_ptr[%lld] is not cut where col ends", (long long)r);
    return 0;
}

/* Scores times a power of two choose the same. */
static int derive_scaled(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_kv_select_params *p = tenon__select_suite_params(base);
    const struct conform_slot *scores = &base->slot[TENON_KV_SELECT_SCORES];
    const int plain = base->own[0] == SELECT_NORMAL || base->own[0] == SELECT_TIES || base->own[0] == SELECT_SHARES;
    if (!scores->tensor.dtype || !plain || p->norm || p->rule == TENON_KV_SELECT_THRESH ||
        p->rule == TENON_KV_SELECT_STAT || !copy_of(base, derived))
        return 0;
    for (int64_t e = 0; e < tenon_tensor_count(&scores->tensor); e++)
        conform_set(conform_first(&derived->slot[TENON_KV_SELECT_SCORES]), TENON_F32, e,
                    number(base, TENON_KV_SELECT_SCORES, e) * 0x1p-20);
    return 1;
}

/* What is not there holds something else, and positions of what is not there. */
static int derive_beyond(const struct conform_case *base, struct conform_case *derived)
{
    const struct select_sizes z = tenon__select_suite_sizes(base);
    if (base->own[2] != 1 || !base->slot[TENON_KV_SELECT_KPOS].tensor.dtype ||
        base->slot[TENON_KV_SELECT_KPOS].tensor.dim[0] != z.batch || !copy_of(base, derived))
        return 0;
    for (int64_t b = 0; b < z.batch; b++)
        for (int64_t u = (int64_t)number(base, TENON_KV_SELECT_KV_LEN, b); u < z.keys; u++)
            conform_set(conform_first(&derived->slot[TENON_KV_SELECT_KPOS]), TENON_I32, b * z.keys + u, -1e6);
    return 1;
}

/* The first sequence has the lists that it has beside others. */
static int derive_alone(const struct conform_case *base, struct conform_case *derived)
{
    const struct select_sizes z = tenon__select_suite_sizes(base);
    if (z.batch < 2 || tenon__select_suite_params(base)->scope == TENON_KV_SELECT_ALL || !copy_of(base, derived))
        return 0;
    for (uint32_t i = 0; i <= TENON_KV_SELECT_SCORES_OUT; i++)
        if (i != TENON_KV_SELECT_COL && derived->slot[i].tensor.dtype)
            derived->slot[i].tensor.dim[0] = 1;
    return 1;
}
static int check_alone(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const int64_t ends = tenon_tensor_count(&derived->slot[TENON_KV_SELECT_ROW_PTR].tensor);
    const struct conform_slot *scores = &derived->slot[TENON_KV_SELECT_SCORES_OUT];
    for (int64_t r = 0; r < ends; r++)
        if (number(base, TENON_KV_SELECT_ROW_PTR, r) != number(derived, TENON_KV_SELECT_ROW_PTR, r))
            return tenon_why_set(why, 1, "row_ptr[%lld] depends on the other sequence", (long long)r);
    for (int64_t e = 0; ends && (double)e < number(derived, TENON_KV_SELECT_ROW_PTR, ends - 1); e++)
        if (number(base, TENON_KV_SELECT_COL, e) != number(derived, TENON_KV_SELECT_COL, e))
            return tenon_why_set(why, 1, "col[%lld] depends on the other sequence", (long long)e);
    for (int64_t e = 0; scores->tensor.dtype && e < tenon_tensor_count(&scores->tensor); e++) {
        const double own = number(derived, TENON_KV_SELECT_SCORES_OUT, e);
        const double beside = number(base, TENON_KV_SELECT_SCORES_OUT, e);
        if (own != beside && !(isnan(own) && isnan(beside)))
            return tenon_why_set(why, 1, "scores_out[%lld] depends on the other sequence", (long long)e);
    }
    return 0;
}

const struct conform_property tenon__select_suite_properties[SELECT_PROPERTIES] = {
    {"half of col", derive_short, check_short},
    {"scores times 2^-20", derive_scaled, compare_lists},
    {"other positions beyond kv_len", derive_beyond, compare_lists},
    {"the first sequence alone", derive_alone, check_alone},
};
