/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gated_norm: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include <math.h>
#include <string.h>
#include "gated_norm_suite.h"

#define G(NAME) TENON_GATED_NORM_##NAME

static struct tenon_gated_norm_params *params_of(struct conform_case *c)
{
    return (struct tenon_gated_norm_params *)(void *)c->params;
}

static double element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* ---- hostile descriptors: case 0 is dual with norm_b, 4 rows of 2 groups of 3, and has every tensor ---- */

#define SPOIL(name, statement)                                                                                         \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        statement;                                                                                                     \
    }
#define SHAPE(name, i, type, ...)                                                                                      \
    SPOIL(name, conform_slot_set(c, i, type, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                       \
                                 (int64_t[]){__VA_ARGS__}))
SPOIL(x_scalar, conform_slot_set(c, G(X), TENON_F32, 0, NULL))
SPOIL(group, params_of(c)->group = 4)
SPOIL(group_wide, params_of(c)->group = 12)
SHAPE(gate, G(GATE), TENON_F32, 4, 5)
SHAPE(b, G(B), TENON_F32, 6)
SHAPE(residual, G(RESIDUAL), TENON_F32, 3, 6)
SHAPE(y, G(Y), TENON_F32, 24)
SHAPE(y_half, G(Y), TENON_F16, 4, 6)
SHAPE(weight, G(WEIGHT), TENON_F32, 2)
SHAPE(bias, G(BIAS_B), TENON_F32, 1, 6)
SHAPE(importance, G(IMPORTANCE), TENON_F32, 6)
SPOIL(no_gate, c->slot[G(GATE)].tensor.dtype = 0)
SPOIL(no_b, c->slot[G(B)].tensor.dtype = 0)
SPOIL(no_gate_b, c->slot[G(GATE_B)].tensor.dtype = 0)
SPOIL(lerp, params_of(c)->combine = G(LERP))
SPOIL(mul, params_of(c)->combine = G(MUL))
SPOIL(first, params_of(c)->order = G(GATE_THEN_NORM))
SPOIL(no_norm_b, params_of(c)->norm_b = 0)
SPOIL(no_residual, c->slot[G(RESIDUAL)].tensor.dtype = 0)
SPOIL(gaps, c->slot[G(WEIGHT)].tensor.stride[0] = 2)

const struct conform_hostile tenon__norm_suite_hostile[NORM_HOSTILE] = {
    {"x without an axis", TENON_E_SHAPE, spoil_x_scalar},
    {"groups that do not divide the columns", TENON_E_SHAPE, spoil_group},
    {"groups wider than the row", TENON_E_SHAPE, spoil_group_wide},
    {"gate of another width", TENON_E_SHAPE, spoil_gate},
    {"b of one row", TENON_E_SHAPE, spoil_b},
    {"residual of other rows", TENON_E_SHAPE, spoil_residual},
    {"y of other axes", TENON_E_SHAPE, spoil_y},
    {"y of a narrower type", TENON_E_DTYPE, spoil_y_half},
    {"weight of another width", TENON_E_SHAPE, spoil_weight},
    {"bias_b in two axes", TENON_E_SHAPE, spoil_bias},
    {"importance of the columns", TENON_E_SHAPE, spoil_importance},
    {"dual without gate", TENON_E_ARG, spoil_no_gate},
    {"dual without b", TENON_E_ARG, spoil_no_b},
    {"dual without gate_b", TENON_E_ARG, spoil_no_gate_b},
    {"lerp with gate_b", TENON_E_ARG, spoil_lerp},
    {"mul with norm_b", TENON_E_ARG, spoil_mul},
    {"norm_b where gates are first", TENON_E_ARG, spoil_first},
    {"weight_b without norm_b", TENON_E_ARG, spoil_no_norm_b},
    {"sum without residual", TENON_E_ARG, spoil_no_residual},
    {"weight with gaps", TENON_E_UNSUPPORTED, spoil_gaps},
};

/* ---- properties ---- */

/* Row r of the derived case is row from + r step of the base, which has `rows` of `cols`; x and residual are
 * multiplied; residual is in x. */
struct cut {
    int64_t rows, cols, from, step;
    double factor;
    int added;
};

static double source(const struct conform_case *base, uint32_t i, const struct cut *cut, int64_t e)
{
    const int64_t at = (cut->from + e / cut->cols * cut->step) * cut->cols + e % cut->cols;
    double v = element(base, i, at);
    if (i == G(X) && cut->added)
        v = (double)((float)v + (float)element(base, G(RESIDUAL), at));
    return i == G(X) || i == G(RESIDUAL) ? v * cut->factor : v;
}

/* An input that was an output as well is lost: such cases have no properties. */
static int take(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    if (base->slot[G(Y)].same_as >= 0 || base->slot[G(SUM)].same_as >= 0 || cut->rows < 1 || cut->cols < 1)
        return 0;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        derived->slot[i].data = NULL;
        if (!base->slot[i].tensor.dtype || tenon__norm_suite_is_weight(i))
            continue;
        if (cut->added && (i == G(RESIDUAL) || i == G(SUM)))
            derived->slot[i].tensor.dtype = 0;
        else if (i == G(IMPORTANCE))
            conform_slot_set(derived, i, TENON_F32, 1, &cut->rows);
        else
            conform_slot_set(derived, i, i == G(X) && cut->added ? TENON_F32 : base->slot[i].tensor.dtype, 2,
                             (int64_t[]){cut->rows, cut->cols});
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < G(Y); i++) {
        struct conform_slot *slot = &derived->slot[i];
        if (!slot->tensor.dtype)
            continue;
        for (int64_t e = 0; e < tenon_tensor_count(&slot->tensor); e++)
            conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, e),
                        tenon__norm_suite_is_weight(i) ? element(base, i, e) : source(base, i, cut, e));
    }
    return 1;
}

static int compare(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                   struct tenon_why *why)
{
    for (int64_t e = 0; e < cut->rows * cut->cols; e++) {
        const int64_t at = (cut->from + e / cut->cols * cut->step) * cut->cols + e % cut->cols;
        const double y = element(derived, G(Y), e), x = element(base, G(Y), at);
        if (x != y && !(isnan(x) && isnan(y)))
            return tenon_why_set(why, 1, "y[%lld, %lld] is %.9g, in the whole %.9g", (long long)(e / cut->cols),
                                 (long long)(e % cut->cols), y, x);
    }
    for (int64_t r = 0; derived->slot[G(IMPORTANCE)].tensor.dtype && r < cut->rows; r++) {
        const double y = element(derived, G(IMPORTANCE), r);
        const double x = element(base, G(IMPORTANCE), cut->from + r * cut->step);
        if (x != y && !(isnan(x) && isnan(y)))
            return tenon_why_set(why, 1, "importance[%lld] is %.9g, in the whole %.9g", (long long)r, y, x);
    }
    return 0;
}

static struct cut whole(const struct conform_case *base)
{
    return (struct cut){.rows = tenon__norm_suite_rows(base), .cols = tenon__norm_suite_cols(base), .step = 1,
                        .factor = 1};
}

static struct cut cut_row(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.from = cut.rows / 2;
    cut.rows = cut.rows > 1;
    return cut;
}

static struct cut cut_reverse(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.from = cut.rows - 1;
    cut.step = -1;
    return cut;
}

/* Groups are rows of their own: the weights must be those of a group, and importance is of the whole row. */
static struct cut cut_groups(const struct conform_case *base)
{
    struct cut cut = whole(base);
    const int64_t group = tenon__norm_suite_group(base);
    for (uint32_t i = 0; i < base->n; i++)
        if (tenon__norm_suite_is_weight(i) && base->slot[i].tensor.dtype && base->slot[i].tensor.dim[0] != group)
            cut.rows = 0;
    if (base->slot[G(IMPORTANCE)].tensor.dtype || group == cut.cols || group == 0)
        cut.rows = 0;
    cut.rows = group ? cut.rows * (cut.cols / group) : 0;
    cut.cols = group;
    return cut;
}

static struct cut cut_twice(const struct conform_case *base)
{
    const struct tenon_gated_norm_params *p = (const void *)base->params;
    struct cut cut = whole(base);
    cut.factor = 2;
    if (p->norm == G(NONE) || p->norm_b || (p->order == G(GATE_THEN_NORM) && p->combine != G(MUL)) ||
        base->own[0] != NORM_NORMAL || base->slot[G(SUM)].tensor.dtype)
        cut.rows = 0;
    return cut;
}

static struct cut cut_added(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.added = 1;
    if (!base->slot[G(RESIDUAL)].tensor.dtype || base->own[0] == NORM_TINY || base->own[0] == NORM_LARGE)
        cut.rows = 0;
    /* f32 in x makes room for any sum, but y's type is x's or f32 */
    if (base->slot[G(Y)].tensor.dtype != TENON_F32)
        cut.rows = 0;
    return cut;
}

#define PROPERTY(name, statement)                                                                                      \
    static int derive_##name(const struct conform_case *base, struct conform_case *derived)                            \
    {                                                                                                                  \
        const struct cut cut = cut_##name(base);                                                                       \
        if (!take(base, derived, &cut))                                                                                \
            return 0;                                                                                                  \
        statement;                                                                                                     \
        return 1;                                                                                                      \
    }                                                                                                                  \
    static int check_##name(const struct conform_case *base, const struct conform_case *derived,                       \
                            struct tenon_why *why)                                                                     \
    {                                                                                                                  \
        const struct cut cut = cut_##name(base);                                                                       \
        return compare(base, derived, &cut, why);                                                                      \
    }
PROPERTY(row, (void)0)
PROPERTY(reverse, (void)0)
PROPERTY(groups, (void)0)
PROPERTY(twice, params_of(derived)->eps *= 4)
PROPERTY(added, (void)0)

const struct conform_property tenon__norm_suite_properties[NORM_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"rows in reverse", derive_reverse, check_reverse},
    {"groups as rows", derive_groups, check_groups},
    {"twice as large, eps four times", derive_twice, check_twice},
    {"the residual added before", derive_added, check_added},
};
