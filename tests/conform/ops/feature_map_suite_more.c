/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * feature_map: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include <math.h>
#include <string.h>
#include "feature_map_suite.h"

#define F(NAME) TENON_FEATURE_MAP_##NAME

static double element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* ---- hostile descriptors: case 0 is outer of 4 rows of 3 and of 5 ---- */

#define SPOIL(name, statement)                                                                                         \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_feature_map_params *p = (void *)c->params;                                                        \
        (void)p;                                                                                                       \
        statement;                                                                                                     \
    }
#define SHAPE(name, i, type, ...)                                                                                      \
    SPOIL(name, conform_slot_set(c, i, type, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                       \
                                 (int64_t[]){__VA_ARGS__}))
SPOIL(x_scalar, conform_slot_set(c, F(X), TENON_F32, 0, NULL))
SHAPE(y_narrow, F(Y), TENON_F32, 4, 14)
SHAPE(y_rows, F(Y), TENON_F32, 5, 15)
SHAPE(y_axes, F(Y), TENON_F32, 60)
SHAPE(y_half, F(Y), TENON_F16, 4, 15)
SHAPE(b_rows, F(B), TENON_F32, 3, 5)
SHAPE(b_axes, F(B), TENON_F32, 2, 2, 5)
SPOIL(b_unused, p->kind = F(RELU))
SPOIL(taylor, p->kind = F(TAYLOR2); c->slot[F(B)].tensor.dtype = 0)
SHAPE(x_wide, F(X), TENON_F32, 4, 65536)
/* Of another kind, without b: y is [4, width]. */
#define OTHER(name, map, width)                                                                                        \
    SPOIL(name, p->kind = F(map); c->slot[F(B)].tensor.dtype = 0;                                                      \
          conform_slot_set(c, F(Y), TENON_F32, 2, (int64_t[]){4, width}))
OTHER(dpfp, DPFP, 5)
OTHER(hedgehog, HEDGEHOG, 3)
OTHER(nala, NALA_Q, 3)
OTHER(softmax, SOFTMAX, 6)
OTHER(taylor_width, TAYLOR2, 9)
OTHER(outer_alone, OUTER, 15)
SHAPE(b_wider, F(B), TENON_F32, 4, 6)
SHAPE(y_turned, F(Y), TENON_F32, 15, 4)
SHAPE(x_axes, F(X), TENON_F32, 2, 2, 3)
SPOIL(b_scalar, conform_slot_set(c, F(B), TENON_F32, 0, NULL))
SPOIL(y_scalar, conform_slot_set(c, F(Y), TENON_F32, 0, NULL))
SPOIL(fold, conform_slot_set(c, F(X), TENON_F32, 3, (int64_t[]){2, 2, 3});
      conform_slot_set(c, F(B), TENON_F32, 3, (int64_t[]){2, 2, 5});
      conform_slot_set(c, F(Y), TENON_F32, 3, (int64_t[]){2, 2, 15}); c->slot[F(X)].tensor.stride[0] += 1)

const struct conform_hostile tenon__map_suite_hostile[MAP_HOSTILE] = {
    {"x without an axis", TENON_E_SHAPE, spoil_x_scalar},
    {"y of too few columns", TENON_E_SHAPE, spoil_y_narrow},
    {"y of other rows", TENON_E_SHAPE, spoil_y_rows},
    {"y of other axes", TENON_E_SHAPE, spoil_y_axes},
    {"y of a narrower type", TENON_E_DTYPE, spoil_y_half},
    {"b of other rows", TENON_E_SHAPE, spoil_b_rows},
    {"b of other axes", TENON_E_SHAPE, spoil_b_axes},
    {"b without outer", TENON_E_ARG, spoil_b_unused},
    {"y of another kind's width", TENON_E_SHAPE, spoil_taylor},
    {"x of 2^16 columns", TENON_E_SHAPE, spoil_x_wide},
    {"dpfp's y of too few columns", TENON_E_SHAPE, spoil_dpfp},
    {"hedgehog's y of x's width", TENON_E_SHAPE, spoil_hedgehog},
    {"nala's y of x's width", TENON_E_SHAPE, spoil_nala},
    {"softmax's y of twice x's width", TENON_E_SHAPE, spoil_softmax},
    {"taylor2's y of too few columns", TENON_E_SHAPE, spoil_taylor_width},
    {"outer's y for a b that is not there", TENON_E_SHAPE, spoil_outer_alone},
    {"b of more columns than y is for", TENON_E_SHAPE, spoil_b_wider},
    {"y's axes swapped", TENON_E_SHAPE, spoil_y_turned},
    {"x of more axes than b and y", TENON_E_SHAPE, spoil_x_axes},
    {"b without an axis", TENON_E_SHAPE, spoil_b_scalar},
    {"y without an axis", TENON_E_SHAPE, spoil_y_scalar},
    {"x whose axes do not fold", TENON_E_UNSUPPORTED, spoil_fold},
};

/* ---- properties ---- */

/* Row r of the derived case is row from + r step of the base; widened: x is f32; twice: b is x. */
struct cut {
    int64_t rows, from, step;
    int widened, twice;
};

/* An input that was y as well is lost: such cases have no properties. */
static int take(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    if (base->slot[F(Y)].same_as >= 0 || cut->rows < 1 || tenon__map_suite_last(base, F(X)) < 1)
        return 0;
    *derived = *base;
    for (uint32_t i = F(X); i <= F(Y); i++) {
        const uint32_t from = i == F(B) && cut->twice ? F(X) : i, dtype = base->slot[from].tensor.dtype;
        derived->slot[i].data = NULL;
        if (dtype)
            conform_slot_set(derived, i, cut->widened && i != F(Y) ? TENON_F32 : dtype, 2,
                             (int64_t[]){cut->rows, tenon__map_suite_last(base, from)});
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = F(X); i <= F(B); i++) {
        const uint32_t from = i == F(B) && cut->twice ? F(X) : i;
        const int64_t cols = tenon__map_suite_last(base, from);
        struct conform_slot *slot = &derived->slot[i];
        for (int64_t e = 0; slot->tensor.dtype && e < cut->rows * cols; e++)
            conform_set(conform_first(slot), slot->tensor.dtype, e,
                        element(base, from, (cut->from + e / cols * cut->step) * cols + e % cols));
    }
    return 1;
}

static int compare(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                   struct tenon_why *why)
{
    const int64_t cols = tenon__map_suite_last(base, F(Y));
    for (int64_t e = 0; e < cut->rows * cols; e++) {
        const double y = element(derived, F(Y), e);
        const double x = element(base, F(Y), (cut->from + e / cols * cut->step) * cols + e % cols);
        if (x != y && !(isnan(x) && isnan(y)))
            return tenon_why_set(why, 1, "y[%lld, %lld] is %.9g, in the other run %.9g", (long long)(e / cols),
                                 (long long)(e % cols), y, x);
    }
    return 0;
}

static struct cut whole(const struct conform_case *base)
{
    return (struct cut){.rows = tenon__map_suite_rows(base), .step = 1};
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

/* Types of 16 bits are widened exactly. */
static struct cut cut_widened(const struct conform_case *base)
{
    struct cut cut = whole(base);
    cut.widened = 1;
    if (base->slot[F(X)].tensor.dtype == TENON_F32 || base->slot[F(Y)].tensor.dtype != TENON_F32)
        cut.rows = 0;
    return cut;
}

static struct cut cut_twice(const struct conform_case *base)
{
    const struct tenon_feature_map_params *p = (const void *)base->params;
    struct cut cut = whole(base);
    cut.twice = 1;
    if (p->kind != F(OUTER) || base->slot[F(B)].tensor.dtype)
        cut.rows = 0;
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
PROPERTY(row)
PROPERTY(reverse)
PROPERTY(widened)
PROPERTY(twice)

const struct conform_property tenon__map_suite_properties[MAP_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"rows in reverse", derive_reverse, check_reverse},
    {"x in f32", derive_widened, check_widened},
    {"outer with b = x", derive_twice, check_twice},
};
