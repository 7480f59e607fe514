/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "moe_route_suite.h"

static struct tenon_moe_route_params *params_of(struct conform_case *c)
{
    return tenon__route_suite_params(c);
}

/* ---- hostile descriptors: case 0 is TOPK of logits f32 [3,8], k = 2, with every output but sel and g ---- */

static void give(struct conform_case *c, uint32_t i, uint32_t dtype, int64_t n)
{
    conform_slot_set(c, i, dtype, 1, &n);
}
static void spoil_k(struct conform_case *c)
{
    params_of(c)->k = 9;
    conform_slot_set(c, TENON_MOE_ROUTE_IDX, TENON_I32, 2, (int64_t[]){3, 9});
    conform_slot_set(c, TENON_MOE_ROUTE_W, TENON_F32, 2, (int64_t[]){3, 9});
}
static void spoil_group(struct conform_case *c)
{
    params_of(c)->n_group = 3;
    params_of(c)->topk_group = 2;
}
static void spoil_topk_group(struct conform_case *c)
{
    params_of(c)->n_group = 4;
    params_of(c)->topk_group = 5;
}
static void spoil_group_k(struct conform_case *c)
{
    params_of(c)->n_group = 8;
    params_of(c)->topk_group = 1;
}
static void spoil_gscore(struct conform_case *c)
{
    params_of(c)->n_group = 4;
    params_of(c)->topk_group = 2;
    params_of(c)->gscore = TENON_MOE_ROUTE_GSCORE_TOPN_SUM;
    params_of(c)->gscore_n = 3;
}
static void spoil_hier(struct conform_case *c)
{
    params_of(c)->hier_g = 4;
    params_of(c)->hier_k1 = 2;
}
static void spoil_bias(struct conform_case *c)
{
    params_of(c)->score = TENON_MOE_ROUTE_RELU_RMS;
    give(c, TENON_MOE_ROUTE_CORR_BIAS, TENON_F32, 8);
}
static void spoil_gain(struct conform_case *c)
{
    give(c, TENON_MOE_ROUTE_GAIN, TENON_F32, 8);
}
static void spoil_table(struct conform_case *c)
{
    params_of(c)->select = TENON_MOE_ROUTE_TABLE;
}
static void spoil_random(struct conform_case *c)
{
    params_of(c)->select = TENON_MOE_ROUTE_RANDOM;
}
static void spoil_sel(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_ROUTE_SEL, TENON_I32, 2, (int64_t[]){8, 0});
}
static void spoil_dselect(struct conform_case *c)
{
    params_of(c)->select = TENON_MOE_ROUTE_DSELECT;
}
static void spoil_losses(struct conform_case *c)
{
    params_of(c)->select = TENON_MOE_ROUTE_DSELECT;
    params_of(c)->experts = 8;
    conform_slot_set(c, TENON_MOE_ROUTE_ZSEL, TENON_F32, 3, (int64_t[]){3, 8, 3});
}
static void spoil_second(struct conform_case *c)
{
    params_of(c)->noise_use = TENON_MOE_ROUTE_NOISE_SECOND_ONLY;
}
static void spoil_w(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_ROUTE_W, TENON_F32, 2, (int64_t[]){3, 3});
}
static void spoil_count(struct conform_case *c)
{
    give(c, TENON_MOE_ROUTE_CNT_K, TENON_I32, 7);
}

const struct conform_hostile tenon__route_suite_hostile[ROUTE_HOSTILE] = {
    {"k above the experts", TENON_E_SHAPE, spoil_k},
    {"n_group that does not divide", TENON_E_ARG, spoil_group},
    {"topk_group above n_group", TENON_E_ARG, spoil_topk_group},
    {"k above what the groups have", TENON_E_ARG, spoil_group_k},
    {"gscore_n above a group", TENON_E_ARG, spoil_gscore},
    {"two levels without group_logits", TENON_E_ARG, spoil_hier},
    {"corr_bias with relu_rms", TENON_E_ARG, spoil_bias},
    {"gain with softmax", TENON_E_ARG, spoil_gain},
    {"a table that is not there", TENON_E_ARG, spoil_table},
    {"two random experts", TENON_E_SHAPE, spoil_random},
    {"sel of topk", TENON_E_ARG, spoil_sel},
    {"dselect without experts", TENON_E_ARG, spoil_dselect},
    {"losses of dselect", TENON_E_ARG, spoil_losses},
    {"second_only without noise", TENON_E_ARG, spoil_second},
    {"w of another k", TENON_E_SHAPE, spoil_w},
    {"cnt_k of other experts", TENON_E_SHAPE, spoil_count},
};

/* ---- properties ---- */

static double element(const struct conform_slot *slot, int64_t index)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int is_token(uint32_t i)
{
    return i == TENON_MOE_ROUTE_LOGITS || i == TENON_MOE_ROUTE_TOKEN_VALID || i == TENON_MOE_ROUTE_GROUP_LOGITS ||
           i == TENON_MOE_ROUTE_KEY || i == TENON_MOE_ROUTE_ZSEL || i == TENON_MOE_ROUTE_NUSE ||
           i == TENON_MOE_ROUTE_IDX || i == TENON_MOE_ROUTE_W || i == TENON_MOE_ROUTE_NSEL;
}

/* Noise, random experts and what experts choose depend on where a token is. */
static int independent(const struct conform_case *c)
{
    const struct tenon_moe_route_params *p = (const void *)c->params;
    return !p->noise && p->select != TENON_MOE_ROUTE_RANDOM && p->select != TENON_MOE_ROUTE_EXPERT_CHOICE;
}

static int64_t tokens_of(const struct conform_case *c)
{
    return c->slot[TENON_MOE_ROUTE_LOGITS].tensor.dim[0];
}

/* Token t of the new case is the one that is `t * step + first` (mod tokens) of the base; tensors are contiguous. */
static int take(const struct conform_case *base, struct conform_case *derived, int64_t n, int64_t first, int64_t step)
{
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct tenon_tensor *t = &base->slot[i].tensor;
        int64_t dim[TENON_MAX_RANK];
        derived->slot[i].data = NULL;
        if (!t->dtype)
            continue;
        memcpy(dim, t->dim, sizeof(dim));
        dim[0] = is_token(i) ? n : dim[0];
        conform_slot_set(derived, i, t->dtype, t->rank, dim);
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < TENON_MOE_ROUTE_IDX; i++) {
        const struct conform_slot *to = &derived->slot[i];
        const int64_t count = to->tensor.dtype ? tenon_tensor_count(&to->tensor) : 0;
        const int64_t each = is_token(i) && count ? count / n : 0;
        for (int64_t e = 0; e < count; e++) {
            const int64_t from = each ? (e / each * step + first) % tokens_of(base) * each + e % each : e;
            conform_set(conform_first(to), to->tensor.dtype, e, element(&base->slot[i], from));
        }
    }
    return 1;
}

static int64_t one_of(const struct conform_case *c)
{
    return (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)tokens_of(c));
}

static int check(const struct conform_case *base, const struct conform_case *derived, int64_t first, int64_t step,
                 struct tenon_why *why)
{
    for (uint32_t i = TENON_MOE_ROUTE_IDX; i <= TENON_MOE_ROUTE_NSEL; i++) {
        const struct conform_slot *got = &derived->slot[i];
        const int64_t count = got->tensor.dtype ? tenon_tensor_count(&got->tensor) : 0;
        const int64_t each = count ? count / tokens_of(derived) : 1;
        for (int64_t e = 0; e < count; e++) {
            const int64_t from = (e / each * step + first) % tokens_of(base) * each + e % each;
            const double x = element(&base->slot[i], from), y = element(got, e);
            if (x == y || (x != x && y != y))
                continue;
            return tenon_why_set(why, 1, "tensor %s element %lld is %.9g, elsewhere in the batch %.9g",
                                 tenon_op_contract_by_number(base->op->op)->tensors[i].name, (long long)e, y, x);
        }
    }
    return 0;
}

static int derive_alone(const struct conform_case *base, struct conform_case *derived)
{
    return independent(base) && tokens_of(base) >= 2 && take(base, derived, 1, one_of(base), 1);
}

static int check_alone(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check(base, derived, one_of(base), 1, why);
}

/* The tokens in another order: what each gets goes with it, bit by bit. */
static int derive_turned(const struct conform_case *base, struct conform_case *derived)
{
    return independent(base) && tokens_of(base) >= 2 && take(base, derived, tokens_of(base), one_of(base), 1);
}

static void leave_out(struct conform_case *c, uint32_t tensor)
{
    memset(&c->slot[tensor].tensor, 0, sizeof(c->slot[tensor].tensor));
}

/* idx alone: what else is asked for does not decide who is selected. */
static int derive_few(const struct conform_case *base, struct conform_case *derived)
{
    struct conform_case few = *base;
    if (!base->slot[TENON_MOE_ROUTE_IDX].tensor.dtype || tokens_of(base) == 0)
        return 0;
    for (uint32_t i = TENON_MOE_ROUTE_W; i < base->n; i++)
        leave_out(&few, i);
    return take(&few, derived, tokens_of(base), 0, 1);
}

static int check_same(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check(base, derived, 0, 1, why);
}

/* A slot less: the others are what they were. */
static int derive_less(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_moe_route_params *p = (const void *)base->params;
    if (p->select != TENON_MOE_ROUTE_TOPK || p->hier_g || p->norm || p->k < 2 || tokens_of(base) == 0)
        return 0;
    struct conform_case less = *base;
    for (uint32_t i = TENON_MOE_ROUTE_NSEL; i < base->n; i++)
        leave_out(&less, i);
    params_of(&less)->k--;
    for (uint32_t i = TENON_MOE_ROUTE_IDX; i <= TENON_MOE_ROUTE_W; i++)
        if (less.slot[i].tensor.dtype)
            less.slot[i].tensor.dim[1]--;
    return (less.slot[TENON_MOE_ROUTE_IDX].tensor.dtype || less.slot[TENON_MOE_ROUTE_W].tensor.dtype) &&
           take(&less, derived, tokens_of(base), 0, 1);
}

static int check_less(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const int64_t k = ((const struct tenon_moe_route_params *)(const void *)base->params)->k;
    for (uint32_t i = TENON_MOE_ROUTE_IDX; i <= TENON_MOE_ROUTE_W; i++)
        for (int64_t e = 0; derived->slot[i].tensor.dtype && e < tokens_of(base) * (k - 1); e++) {
            const double x = element(&base->slot[i], e / (k - 1) * k + e % (k - 1)), y = element(&derived->slot[i], e);
            if (x != y && !(x != x && y != y))
                return tenon_why_set(why, 1, "slot %lld is %.9g, with one slot more %.9g", (long long)(e % (k - 1)), y,
                                     x);
        }
    return 0;
}

const struct conform_property tenon__route_suite_properties[ROUTE_PROPERTIES] = {
    {"a token alone", derive_alone, check_alone},
    {"the tokens in another order", derive_turned, check_alone},
    {"idx and nothing else", derive_few, check_same},
    {"a slot less", derive_less, check_less},
};
