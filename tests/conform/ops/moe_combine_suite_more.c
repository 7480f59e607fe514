/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_combine: its sums bit for bit, descriptors that only it knows to be wrong, and properties that tie two runs. */
#include <math.h>
#include <string.h>
#include "moe_combine_suite.h"

static double element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* ---- the sum in its order, each step an fma rounded once ---- */

static float sum_of(const struct conform_case *c, int64_t token, int64_t col)
{
    const struct tenon_moe_combine_params *p = (const void *)c->params;
    const int64_t k = tenon__combine_suite_k(c), cols = tenon__combine_suite_cols(c);
    float acc = 0;
    for (int64_t j = 0; j < k; j++) {
        const int64_t pos = (int64_t)element(c, TENON_MOE_COMBINE_POS, token * k + j);
        const float w = (float)element(c, TENON_MOE_COMBINE_W, token * k + j);
        if (pos >= 0 && pos < tenon__combine_suite_mp(c) && (w != 0 || !p->skip_zero))
            acc = fmaf(w, (float)element(c, TENON_MOE_COMBINE_ZP, pos * cols + col), acc);
    }
    if (c->slot[TENON_MOE_COMBINE_SHARED].tensor.dtype)
        acc = fmaf(p->shared_scale, (float)element(c, TENON_MOE_COMBINE_SHARED, token * cols + col), acc);
    if (c->slot[TENON_MOE_COMBINE_RESIDUAL].tensor.dtype)
        acc = acc + (float)element(c, TENON_MOE_COMBINE_RESIDUAL, token * cols + col);
    return acc;
}

int tenon__conform_moe_combine_check(const struct conform_case *c, const struct conform_want *want,
                                     struct tenon_why *why)
{
    const struct conform_slot *y = &c->slot[TENON_MOE_COMBINE_Y];
    const uint32_t dtype = y->tensor.dtype;
    const int64_t cols = tenon__combine_suite_cols(c), count = tenon_tensor_count(&y->tensor);
    if (y->same_as >= 0 || !want[TENON_MOE_COMBINE_Y].exact) /* the residual is gone; or beyond what is promised */
        return 0;
    for (int64_t i = 0; i < count; i++) {
        float must = sum_of(c, i / cols, i % cols);
        if (dtype == TENON_F16)
            must = conform_half_to_float(conform_float_to_half(must));
        else if (dtype == TENON_BF16)
            must = conform_bits_float((uint32_t)conform_float_to_bfloat(must) << 16);
        const double got = element(c, TENON_MOE_COMBINE_Y, i);
        if (got != (double)must)
            return tenon_why_set(why, 1, "y[%lld, %lld] is %.9g, the sum in the order of the slots is %.9g",
                                 (long long)(i / cols), (long long)(i % cols), got, (double)must);
    }
    return 0;
}

/* ---- hostile descriptors: case 0 has every tensor, 4 tokens of 2 slots, 9 rows of 7 columns ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
SPOIL(w, TENON_MOE_COMBINE_W, TENON_F32, 2, (int64_t[]){4, 3})
SPOIL(w_flat, TENON_MOE_COMBINE_W, TENON_F32, 1, (int64_t[]){8})
SPOIL(pos, TENON_MOE_COMBINE_POS, TENON_I32, 2, (int64_t[]){3, 2})
SPOIL(pos_scalar, TENON_MOE_COMBINE_POS, TENON_I32, 0, NULL)
SPOIL(y_wide, TENON_MOE_COMBINE_Y, TENON_F32, 2, (int64_t[]){4, 8})
SPOIL(y_tokens, TENON_MOE_COMBINE_Y, TENON_F32, 2, (int64_t[]){5, 7})
SPOIL(y_axes, TENON_MOE_COMBINE_Y, TENON_F32, 3, (int64_t[]){2, 2, 7})
SPOIL(shared, TENON_MOE_COMBINE_SHARED, TENON_F32, 1, (int64_t[]){7})
SPOIL(residual, TENON_MOE_COMBINE_RESIDUAL, TENON_F32, 2, (int64_t[]){4, 1})
SPOIL(zp_narrow, TENON_MOE_COMBINE_ZP, TENON_F32, 2, (int64_t[]){9, 6})
SPOIL(zp_scalar, TENON_MOE_COMBINE_ZP, TENON_F32, 0, NULL)
SPOIL(flags, TENON_MOE_COMBINE_FLAGS, TENON_U32, 1, (int64_t[]){3})

static void spoil_rows(struct conform_case *c)
{
    c->slot[TENON_MOE_COMBINE_ZP].tensor.dim[0] = INT64_C(1) << 31;
}
static void spoil_gap(struct conform_case *c)
{
    c->slot[TENON_MOE_COMBINE_POS].tensor.stride[0] += 1;
}
static void spoil_w_gap(struct conform_case *c)
{
    c->slot[TENON_MOE_COMBINE_W].tensor.stride[0] += 1;
}
static void spoil_fold(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_COMBINE_ZP, TENON_F32, 3, (int64_t[]){3, 3, 7});
    c->slot[TENON_MOE_COMBINE_ZP].tensor.stride[0] += 3;
}

const struct conform_hostile tenon__combine_suite_hostile[COMBINE_HOSTILE] = {
    {"w of other slots", TENON_E_SHAPE, spoil_w},
    {"w in one axis", TENON_E_SHAPE, spoil_w_flat},
    {"pos of other tokens", TENON_E_SHAPE, spoil_pos},
    {"pos without an axis", TENON_E_SHAPE, spoil_pos_scalar},
    {"y of another width", TENON_E_SHAPE, spoil_y_wide},
    {"y of other tokens", TENON_E_SHAPE, spoil_y_tokens},
    {"y of other axes", TENON_E_SHAPE, spoil_y_axes},
    {"shared of one token", TENON_E_SHAPE, spoil_shared},
    {"residual of one column", TENON_E_SHAPE, spoil_residual},
    {"zp of another width", TENON_E_SHAPE, spoil_zp_narrow},
    {"zp without an axis", TENON_E_SHAPE, spoil_zp_scalar},
    {"three flags", TENON_E_SHAPE, spoil_flags},
    {"zp of 2^31 rows", TENON_E_SHAPE, spoil_rows},
    {"pos with gaps", TENON_E_UNSUPPORTED, spoil_gap},
    {"w with gaps", TENON_E_UNSUPPORTED, spoil_w_gap},
    {"zp whose axes do not fold", TENON_E_UNSUPPORTED, spoil_fold},
};

/* ---- properties ---- */

/* How the derived case comes from the base: its token t is token[t], its slot j is slot[j] (-1: an empty one with a NaN
 * weight), its columns begin at col, its rows of zp are turned round. */
struct cut {
    int64_t tokens, k, col, cols;
    int64_t token, token_step;
    const int64_t *slot;
    int turned;
};

static int64_t source_of(const struct conform_case *base, uint32_t i, const struct cut *cut, int64_t e)
{
    const int64_t all = tenon__combine_suite_cols(base), row = e / cut->cols, col = cut->col + e % cut->cols;
    if (i == TENON_MOE_COMBINE_ZP)
        return (cut->turned ? tenon__combine_suite_mp(base) - 1 - row : row) * all + col;
    return (cut->token + row * cut->token_step) * all + col;
}

static void put_slots(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int64_t k = tenon__combine_suite_k(base), mp = tenon__combine_suite_mp(base);
    for (int64_t e = 0; e < cut->tokens * cut->k; e++) {
        const int64_t j = cut->slot ? cut->slot[e % cut->k] : e % cut->k;
        const int64_t at = (cut->token + e / cut->k * cut->token_step) * k + j;
        double pos = -1, w = (double)NAN;
        if (j >= 0) {
            pos = element(base, TENON_MOE_COMBINE_POS, at);
            w = element(base, TENON_MOE_COMBINE_W, at);
        }
        if (cut->turned && pos >= 0 && pos < (double)mp)
            pos = (double)(mp - 1) - pos;
        conform_set(conform_first(&derived->slot[TENON_MOE_COMBINE_POS]), TENON_I32, e, pos);
        conform_set(conform_first(&derived->slot[TENON_MOE_COMBINE_W]), TENON_F32, e, w);
    }
}

/* An input that was y as well is lost: such cases have no properties. */
static int take(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int64_t mp = tenon__combine_suite_mp(base);
    if (base->slot[TENON_MOE_COMBINE_Y].same_as >= 0 || cut->tokens < 1 || cut->cols < 1)
        return 0;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        const uint32_t dtype = base->slot[i].tensor.dtype;
        derived->slot[i].data = NULL;
        if (!dtype || i == TENON_MOE_COMBINE_FLAGS)
            continue;
        const int slots = i == TENON_MOE_COMBINE_POS || i == TENON_MOE_COMBINE_W;
        conform_slot_set(derived, i, dtype, 2,
                         (int64_t[]){i == TENON_MOE_COMBINE_ZP ? mp : cut->tokens, slots ? cut->k : cut->cols});
    }
    if (conform_case_alloc(derived))
        return 0;
    put_slots(base, derived, cut);
    for (uint32_t i = 0; i <= TENON_MOE_COMBINE_RESIDUAL; i++) {
        struct conform_slot *slot = &derived->slot[i];
        if (!slot->tensor.dtype || i == TENON_MOE_COMBINE_POS || i == TENON_MOE_COMBINE_W)
            continue;
        for (int64_t e = 0; e < tenon_tensor_count(&slot->tensor); e++)
            conform_set(conform_first(slot), slot->tensor.dtype, e, element(base, i, source_of(base, i, cut, e)));
    }
    return 1;
}

static int compare(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                   struct tenon_why *why)
{
    for (int64_t e = 0; e < cut->tokens * cut->cols; e++) {
        const double y = element(derived, TENON_MOE_COMBINE_Y, e);
        const double x = element(base, TENON_MOE_COMBINE_Y, source_of(base, TENON_MOE_COMBINE_Y, cut, e));
        if (x != y && !(isnan(x) && isnan(y)))
            return tenon_why_set(why, 1, "y[%lld, %lld] is %.9g, in the whole %.9g", (long long)(e / cut->cols),
                                 (long long)(e % cut->cols), y, x);
    }
    return 0;
}

static struct cut whole(const struct conform_case *base)
{
    return (struct cut){.tokens = tenon__combine_suite_tokens(base), .k = tenon__combine_suite_k(base),
                        .cols = tenon__combine_suite_cols(base), .token_step = 1};
}

static struct cut cut_token(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.token = cut.tokens / 2;
    cut.tokens = cut.tokens > 1;
    return cut;
}

static struct cut cut_columns(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.col = cut.cols / 3;
    cut.cols = cut.cols > 1 ? cut.cols - cut.col : 0;
    return cut;
}

static struct cut cut_reverse(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.token = cut.tokens - 1;
    cut.token_step = -1;
    return cut;
}

static struct cut cut_turned(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.turned = 1;
    return cut;
}

static struct cut cut_empty(const struct conform_case *base)
{
    static int64_t slot[2 * 17 + 1];
    struct cut cut = whole(base);
    for (int64_t j = 0; j < 2 * 17 + 1; j++)
        slot[j] = j % 2 ? j / 2 : -1;
    cut.slot = slot;
    cut.tokens = cut.k <= 17 ? cut.tokens : 0;
    cut.k = 2 * cut.k + 1;
    return cut;
}

#define PROPERTY(name)                                                                                                 \
    static int derive_##name(const struct conform_case *base, struct conform_case *derived)                            \
    {                                                                                                                  \
        const struct cut cut = cut_##name(base);                                                                       \
        return take(base, derived, &cut);                                                                              \
    }                                                                                                                  \
    static int check_##name(const struct conform_case *base, const struct conform_case *derived,                       \
                            struct tenon_why *why)                                                                     \
    {                                                                                                                  \
        const struct cut cut = cut_##name(base);                                                                       \
        return compare(base, derived, &cut, why);                                                                      \
    }
PROPERTY(token)
PROPERTY(columns)
PROPERTY(reverse)
PROPERTY(turned)
PROPERTY(empty)

const struct conform_property tenon__combine_suite_properties[COMBINE_PROPERTIES] = {
    {"a token alone", derive_token, check_token},
    {"two thirds of the columns", derive_columns, check_columns},
    {"tokens in reverse", derive_reverse, check_reverse},
    {"rows of zp elsewhere", derive_turned, check_turned},
    {"empty slots between the others", derive_empty, check_empty},
};
