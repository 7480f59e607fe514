/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <math.h>
#include <string.h>
#include "moe_dispatch_suite.h"

static struct tenon_moe_dispatch_params *params_of(struct conform_case *c)
{
    return (struct tenon_moe_dispatch_params *)(void *)c->params;
}

/* ---- hostile descriptors: case 0 has every tensor, 4 tokens of 2 slots, 4 experts, 8 rows of 5 columns ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SET(name, statement)                                                                                           \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_moe_dispatch_params *p = params_of(c);                                                            \
        statement;                                                                                                     \
    }

static void drop(struct conform_case *c, uint32_t i)
{
    memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
}
static void spoil_w2(struct conform_case *c)
{
    drop(c, TENON_MOE_DISPATCH_W);
}
static void spoil_prob(struct conform_case *c)
{
    drop(c, TENON_MOE_DISPATCH_W);
    drop(c, TENON_MOE_DISPATCH_W2);
    params_of(c)->drop = TENON_MOE_DISPATCH_PROB;
}
static void spoil_renorm(struct conform_case *c)
{
    drop(c, TENON_MOE_DISPATCH_W);
    drop(c, TENON_MOE_DISPATCH_W2);
    params_of(c)->renorm = 1;
}
static void spoil_xp(struct conform_case *c)
{
    drop(c, TENON_MOE_DISPATCH_X);
}
SET(capacity, p->capacity = -2)
SET(align, p->align = 0)
SET(no_experts, p->experts = 0)
SET(many_experts, p->experts = 65537)
SET(first, p->first = 4)
SET(end, p->end = 5)
SET(empty_range, p->first = 2; p->end = 2)
SET(pad, p->pad_to_capacity = 1)
SET(pad_align, p->pad_to_capacity = 1; p->capacity = 3; p->align = 2)
SET(experts, p->experts = 5)
SET(rows, p->align = 2)
SET(too_many, p->align = INT32_MAX)
SPOIL(counts, TENON_MOE_DISPATCH_COUNTS, TENON_I32, 1, (int64_t[]){5})
SPOIL(offsets, TENON_MOE_DISPATCH_OFFSETS, TENON_I32, 1, (int64_t[]){4})
SPOIL(src, TENON_MOE_DISPATCH_SRC, TENON_I32, 1, (int64_t[]){7})
SPOIL(src_more, TENON_MOE_DISPATCH_SRC, TENON_I32, 1, (int64_t[]){9})
SPOIL(xp_short, TENON_MOE_DISPATCH_XP, TENON_F32, 2, (int64_t[]){7, 5})
SPOIL(xp_narrow, TENON_MOE_DISPATCH_XP, TENON_F32, 2, (int64_t[]){8, 4})
SPOIL(xp_type, TENON_MOE_DISPATCH_XP, TENON_F16, 2, (int64_t[]){8, 5})
SPOIL(pos, TENON_MOE_DISPATCH_POS, TENON_I32, 2, (int64_t[]){2, 4})

const struct conform_hostile tenon__dispatch_suite_hostile[DISPATCH_HOSTILE] = {
    {"a capacity of -2", TENON_E_ARG, spoil_capacity},
    {"an align of 0", TENON_E_ARG, spoil_align},
    {"no experts", TENON_E_ARG, spoil_no_experts},
    {"65537 experts", TENON_E_ARG, spoil_many_experts},
    {"first beyond the experts", TENON_E_ARG, spoil_first},
    {"end beyond the experts", TENON_E_ARG, spoil_end},
    {"an empty range of experts", TENON_E_ARG, spoil_empty_range},
    {"pad_to_capacity without one", TENON_E_ARG, spoil_pad},
    {"a capacity that is no multiple of align", TENON_E_ARG, spoil_pad_align},
    {"lists of other experts", TENON_E_SHAPE, spoil_experts},
    {"rows for another align", TENON_E_SHAPE, spoil_rows},
    {"more than 2^31 rows", TENON_E_SHAPE, spoil_too_many},
    {"w2 without w", TENON_E_ARG, spoil_w2},
    {"prob without w", TENON_E_ARG, spoil_prob},
    {"after_drop without w", TENON_E_ARG, spoil_renorm},
    {"xp without x", TENON_E_ARG, spoil_xp},
    {"counts of another number of experts", TENON_E_SHAPE, spoil_counts},
    {"offsets without the last", TENON_E_SHAPE, spoil_offsets},
    {"src that may be too short", TENON_E_SHAPE, spoil_src},
    {"src of other rows than xp", TENON_E_SHAPE, spoil_src_more},
    {"xp that may be too short", TENON_E_SHAPE, spoil_xp_short},
    {"xp that is narrower than x", TENON_E_SHAPE, spoil_xp_narrow},
    {"xp of f16 from x of f32", TENON_E_DTYPE, spoil_xp_type},
    {"pos turned round", TENON_E_SHAPE, spoil_pos},
};

/* ---- properties: what a pair's row in its expert's segment is, does not depend on anything else ---- */

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    return conform_get(conform_first(&c->slot[i]), c->slot[i].tensor.dtype, index);
}

/* The derived case: its slot comes from slot source(slot) of the base, -1: it is empty, with a NaN weight; its experts
 * are numbered from the end where turned. */
struct cut {
    int64_t tokens, k;
    int turned;
    int64_t (*source)(const struct conform_case *base, int64_t slot);
};

static int take(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const struct tenon_moe_dispatch_params *p = tenon__dispatch_suite_params(base);
    const int64_t slots[2] = {cut->tokens, cut->k};
    if (!base->slot[TENON_MOE_DISPATCH_POS].tensor.dtype || !base->slot[TENON_MOE_DISPATCH_OFFSETS].tensor.dtype ||
        tenon__dispatch_suite_tokens(base) * tenon__dispatch_suite_k(base) > 5000)
        return 0;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        derived->slot[i].data = NULL;
        if (i != TENON_MOE_DISPATCH_OFFSETS && base->slot[i].tensor.dtype)
            memset(&derived->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    }
    conform_slot_set(derived, TENON_MOE_DISPATCH_OFFSETS, TENON_I32, 1, (int64_t[]){p->experts + 1});
    conform_slot_set(derived, TENON_MOE_DISPATCH_IDX, TENON_I32, 2, slots);
    conform_slot_set(derived, TENON_MOE_DISPATCH_POS, TENON_I32, 2, slots);
    if (base->slot[TENON_MOE_DISPATCH_W].tensor.dtype)
        conform_slot_set(derived, TENON_MOE_DISPATCH_W, TENON_F32, 2, slots);
    if (conform_case_alloc(derived))
        return 0;
    for (int64_t slot = 0; slot < cut->tokens * cut->k; slot++) {
        const int64_t from = cut->source(base, slot);
        double e = from < 0 ? -1 : number(base, TENON_MOE_DISPATCH_IDX, from);
        if (cut->turned && e >= 0 && e < p->experts)
            e = p->experts - 1 - e;
        conform_set(conform_first(&derived->slot[TENON_MOE_DISPATCH_IDX]), TENON_I32, slot, e);
        if (derived->slot[TENON_MOE_DISPATCH_W].tensor.dtype)
            conform_set(conform_first(&derived->slot[TENON_MOE_DISPATCH_W]), TENON_F32, slot,
                        from < 0 ? (double)NAN : number(base, TENON_MOE_DISPATCH_W, from));
    }
    return 1;
}

/* Row in the segment of its expert; -1: it is not there. */
static double rank_of(const struct conform_case *c, int64_t slot)
{
    const double pos = number(c, TENON_MOE_DISPATCH_POS, slot);
    return pos < 0 ? -1
                   : pos - number(c, TENON_MOE_DISPATCH_OFFSETS, (int64_t)number(c, TENON_MOE_DISPATCH_IDX, slot));
}

static int compare(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                   struct tenon_why *why)
{
    const struct tenon_moe_dispatch_params *p = tenon__dispatch_suite_params(derived);
    const double end = p->end ? p->end : p->experts;
    for (int64_t slot = 0; slot < cut->tokens * cut->k; slot++) {
        const int64_t from = cut->source(base, slot);
        const double e = number(derived, TENON_MOE_DISPATCH_IDX, slot), got = rank_of(derived, slot);
        const double want = from < 0 || e < p->first || e >= end ? -1 : rank_of(base, from);
        if (got != want)
            return tenon_why_set(why, 1, "slot %lld has row %g of its expert, in the base it is %g", (long long)slot,
                                 got, want);
    }
    return 0;
}

static int64_t same(const struct conform_case *base, int64_t slot)
{
    (void)base;
    return slot;
}
static int64_t empty_slots(const struct conform_case *base, int64_t slot)
{
    const int64_t k = tenon__dispatch_suite_k(base), j = slot % (2 * k + 1);
    return j % 2 ? slot / (2 * k + 1) * k + j / 2 : -1;
}
static int64_t empty_tokens(const struct conform_case *base, int64_t slot)
{
    const int64_t k = tenon__dispatch_suite_k(base), t = slot / k;
    return t % 2 ? t / 2 * k + slot % k : -1;
}

static struct cut whole(const struct conform_case *base)
{
    return (struct cut){tenon__dispatch_suite_tokens(base), tenon__dispatch_suite_k(base), 0, same};
}
static struct cut cut_alone(const struct conform_case *base)
{
    return whole(base);
}
static struct cut cut_slots(const struct conform_case *base)
{
    return (struct cut){tenon__dispatch_suite_tokens(base), 2 * tenon__dispatch_suite_k(base) + 1, 0, empty_slots};
}
static struct cut cut_tokens(const struct conform_case *base)
{
    return (struct cut){2 * tenon__dispatch_suite_tokens(base) + 1, tenon__dispatch_suite_k(base), 0, empty_tokens};
}
/* Where all experts are there. */
static struct cut cut_turned(const struct conform_case *base)
{
    const struct tenon_moe_dispatch_params *p = tenon__dispatch_suite_params(base);
    struct cut cut = whole(base);
    cut.turned = 1;
    cut.tokens = p->first || p->end ? 0 : cut.tokens;
    return cut;
}
static struct cut cut_range(const struct conform_case *base)
{
    const struct tenon_moe_dispatch_params *p = tenon__dispatch_suite_params(base);
    struct cut cut = whole(base);
    cut.tokens = p->experts < 2 || p->end ? 0 : cut.tokens;
    return cut;
}

#define PROPERTY(name, statement)                                                                                      \
    static int derive_##name(const struct conform_case *base, struct conform_case *derived)                            \
    {                                                                                                                  \
        const struct cut cut = cut_##name(base);                                                                       \
        if (cut.tokens * cut.k == 0 || !take(base, derived, &cut))                                                     \
            return 0;                                                                                                  \
        struct tenon_moe_dispatch_params *p = params_of(derived);                                                      \
        (void)p;                                                                                                       \
        statement;                                                                                                     \
        return 1;                                                                                                      \
    }                                                                                                                  \
    static int check_##name(const struct conform_case *base, const struct conform_case *derived,                       \
                            struct tenon_why *why)                                                                     \
    {                                                                                                                  \
        const struct cut cut = cut_##name(base);                                                                       \
        return compare(base, derived, &cut, why);                                                                      \
    }
PROPERTY(alone, p->renorm = 0)
PROPERTY(slots, p->align = p->pad_to_capacity ? p->align : 1)
PROPERTY(tokens, (void)0)
PROPERTY(turned, (void)0)
PROPERTY(range, p->first = p->experts - 1)

const struct conform_property tenon__dispatch_suite_properties[DISPATCH_PROPERTIES] = {
    {"pos and offsets alone", derive_alone, check_alone},
    {"empty slots between the others", derive_slots, check_slots},
    {"empty tokens between the others", derive_tokens, check_tokens},
    {"experts numbered from the end", derive_turned, check_turned},
    {"the last expert alone", derive_range, check_range},
};
