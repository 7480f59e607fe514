/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include <string.h>
#include "rope_suite.h"

/* ---- hostile descriptors: case 0 is 2 x 3 tokens of 2 heads of 8 columns with a table ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SPOIL_PARAM(name, statement)                                                                                   \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_rope_params *p = (struct tenon_rope_params *)(void *)c->params;                                   \
        statement;                                                                                                     \
    }
SPOIL(x, TENON_ROPE_X, TENON_F32, 3, (int64_t[]){6, 2, 8})
SPOIL(y, TENON_ROPE_Y, TENON_F32, 4, (int64_t[]){2, 3, 2, 6})
SPOIL(y_turned, TENON_ROPE_Y, TENON_F32, 4, (int64_t[]){2, 2, 3, 8})
SPOIL(y_type, TENON_ROPE_Y, TENON_F16, 4, (int64_t[]){2, 3, 2, 8})
SPOIL(pos, TENON_ROPE_POS, TENON_I32, 2, (int64_t[]){2, 4})
SPOIL(pos_flat, TENON_ROPE_POS, TENON_I32, 1, (int64_t[]){3})
SPOIL(pos_batches, TENON_ROPE_POS, TENON_I32, 2, (int64_t[]){3, 3})
SPOIL(table, TENON_ROPE_TABLE, TENON_F32, 3, (int64_t[]){9, 8, 2})
SPOIL(table_flat, TENON_ROPE_TABLE, TENON_F32, 2, (int64_t[]){9, 8})
SPOIL(both, TENON_ROPE_FREQS, TENON_F32, 1, (int64_t[]){4})
SPOIL(flags, TENON_ROPE_FLAGS, TENON_U32, 1, (int64_t[]){3})
SPOIL_PARAM(odd, p->n_rot = 7)
SPOIL_PARAM(wide, p->n_rot = 10)
SPOIL_PARAM(scaling, p->scaling = 2)
SPOIL_PARAM(base, p->base = 0)
SPOIL_PARAM(style, p->style = 2)

static void spoil_gap(struct conform_case *c)
{
    conform_slot_set(c, TENON_ROPE_POS, TENON_I32, 2, (int64_t[]){2, 3});
    c->slot[TENON_ROPE_POS].tensor.stride[0] = 4;
}

const struct conform_hostile tenon__rope_suite_hostile[ROPE_HOSTILE] = {
    {"x of three axes", TENON_E_SHAPE, spoil_x},
    {"y of another width", TENON_E_SHAPE, spoil_y},
    {"y with heads before tokens", TENON_E_SHAPE, spoil_y_turned},
    {"y of another type", TENON_E_DTYPE, spoil_y_type},
    {"pos of other tokens", TENON_E_SHAPE, spoil_pos},
    {"pos in one axis", TENON_E_SHAPE, spoil_pos_flat},
    {"pos of other batches", TENON_E_SHAPE, spoil_pos_batches},
    {"a table of other frequencies", TENON_E_SHAPE, spoil_table},
    {"a table in two axes", TENON_E_SHAPE, spoil_table_flat},
    {"freqs and a table", TENON_E_ARG, spoil_both},
    {"three flags", TENON_E_SHAPE, spoil_flags},
    {"an odd n_rot", TENON_E_SHAPE, spoil_odd},
    {"n_rot above D", TENON_E_SHAPE, spoil_wide},
    {"scaling with a table", TENON_E_ARG, spoil_scaling},
    {"a base of 0", TENON_E_ARG, spoil_base},
    {"no such style", TENON_E_ARG, spoil_style},
    {"pos with gaps", TENON_E_UNSUPPORTED, spoil_gap},
};

/* ---- properties ---- */

/* The derived case is batch b, tokens from t on, head h of the base (-1: all), in the other style where `turned`. */
struct cut {
    int64_t b, t, h;
    int turned;
};

static uint32_t bits_at(const struct conform_slot *slot, int64_t i)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    uint32_t bits = 0;
    memcpy(&bits, (const char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, size);
    return bits;
}

static void put_bits(const struct conform_slot *slot, int64_t i, uint32_t bits)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    memcpy((char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, &bits, size);
}

/* The base's number of element i of the derived x. */
static int64_t source_of(const struct conform_case *base, const struct conform_case *derived, const struct cut *cut,
                         int64_t i)
{
    const int64_t *from = base->slot[TENON_ROPE_X].tensor.dim, *to = derived->slot[TENON_ROPE_X].tensor.dim;
    const int64_t half = rope_half(base);
    int64_t col = i % to[3];
    const int64_t h = i / to[3] % to[2], t = i / to[3] / to[2] % to[1], b = i / to[3] / to[2] / to[1];
    if (cut->turned && col < 2 * half) {
        const struct tenon_rope_params *p = (const void *)base->params;
        col = p->style == TENON_ROPE_HALF ? (col % 2) * half + col / 2 : col < half ? 2 * col : 2 * (col - half) + 1;
    }
    return (((cut->b < 0 ? b : cut->b) * from[1] + t + cut->t) * from[2] + (cut->h < 0 ? h : cut->h)) * from[3] + col;
}

static int derive(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const struct conform_slot *x = &base->slot[TENON_ROPE_X], *pos = &base->slot[TENON_ROPE_POS];
    const int64_t *dim = x->tensor.dim, half = rope_half(base);
    const int64_t to[4] = {cut->b < 0 ? dim[0] : 1, dim[1] - cut->t, cut->h < 0 ? dim[2] : 1, dim[3]};
    const uint32_t side = base->slot[TENON_ROPE_FREQS].tensor.dtype ? TENON_ROPE_FREQS : TENON_ROPE_TABLE;
    /* in place, x is gone when the outputs are compared; of NaNs nothing is promised but that they are */
    if (base->slot[TENON_ROPE_Y].same_as >= 0 || base->own[0] == ROPE_SPECIAL ||
        base->own[2] == ROPE_ODD_FREQUENCIES || tenon_tensor_count(&x->tensor) == 0)
        return 0;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++)
        derived->slot[i].data = NULL;
    if (cut->turned)
        ((struct tenon_rope_params *)(void *)derived->params)->style ^= 1;
    conform_slot_set(derived, TENON_ROPE_X, x->tensor.dtype, 4, to);
    conform_slot_set(derived, TENON_ROPE_Y, x->tensor.dtype, 4, to);
    conform_slot_set(derived, TENON_ROPE_POS, TENON_I32, 2, to);
    if (conform_case_alloc(derived))
        return 0;
    for (int64_t i = 0; i < tenon_tensor_count(&derived->slot[TENON_ROPE_X].tensor); i++)
        put_bits(&derived->slot[TENON_ROPE_X], i, bits_at(x, source_of(base, derived, cut, i)));
    for (int64_t i = 0; i < to[0] * to[1]; i++) {
        const int64_t b = cut->b < 0 ? i / to[1] : cut->b, t = cut->t + i % to[1];
        put_bits(&derived->slot[TENON_ROPE_POS], i, bits_at(pos, (pos->tensor.dim[0] == 1 ? 0 : b * dim[1]) + t));
    }
    for (int64_t i = 0; half && i < tenon_tensor_count(&base->slot[side].tensor) && base->slot[side].tensor.dtype; i++)
        put_bits(&derived->slot[side], i, bits_at(&base->slot[side], i));
    return 1;
}

static int check(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why,
                 const struct cut *cut)
{
    for (int64_t i = 0; i < tenon_tensor_count(&derived->slot[TENON_ROPE_Y].tensor); i++) {
        const int64_t source = source_of(base, derived, cut, i);
        const uint32_t got = bits_at(&derived->slot[TENON_ROPE_Y], i), want = bits_at(&base->slot[TENON_ROPE_Y], source);
        if (got != want)
            return tenon_why_set(why, 1, "element %lld of y has the bits 0x%x, in the whole (%lld) 0x%x", (long long)i,
                                 got, (long long)source, want);
    }
    return 0;
}

static struct cut head_of(const struct conform_case *c)
{
    return (struct cut){.b = -1, .h = c->slot[TENON_ROPE_X].tensor.dim[2] / 2};
}
static struct cut token_of(const struct conform_case *c)
{
    const int64_t *dim = c->slot[TENON_ROPE_X].tensor.dim;
    return (struct cut){.b = dim[0] - 1, .t = dim[1] / 2, .h = -1};
}
static struct cut style_of(const struct conform_case *c)
{
    (void)c;
    return (struct cut){.b = -1, .h = -1, .turned = 1};
}

#define PROPERTY(name)                                                                                                 \
    static int derive_##name(const struct conform_case *base, struct conform_case *derived)                            \
    {                                                                                                                  \
        const struct cut cut = name##_of(base);                                                                        \
        return derive(base, derived, &cut);                                                                            \
    }                                                                                                                  \
    static int check_##name(const struct conform_case *base, const struct conform_case *derived,                       \
                            struct tenon_why *why)                                                                     \
    {                                                                                                                  \
        const struct cut cut = name##_of(base);                                                                        \
        return check(base, derived, why, &cut);                                                                        \
    }
PROPERTY(head)
PROPERTY(token)
PROPERTY(style)

/* -p turns (u, -v) to what p turns (u, v) to, with the same sign. */
static const struct cut whole = {.b = -1, .h = -1};

static uint32_t other_sign(const struct conform_case *c, int64_t i)
{
    const struct tenon_rope_params *p = (const void *)c->params;
    const int64_t half = rope_half(c), col = i % c->slot[TENON_ROPE_X].tensor.dim[3];
    const int second = p->style == TENON_ROPE_INTERLEAVED ? col % 2 == 1 && col < 2 * half : col >= half && col < 2 * half;
    return second ? 1u << (8 * TENON_DTYPE_SIZE(c->slot[TENON_ROPE_X].tensor.dtype) - 1) : 0;
}

static int derive_back(const struct conform_case *base, struct conform_case *derived)
{
    if (base->slot[TENON_ROPE_TABLE].tensor.dtype || !derive(base, derived, &whole))
        return 0;
    for (int64_t i = 0; i < tenon_tensor_count(&derived->slot[TENON_ROPE_X].tensor); i++)
        put_bits(&derived->slot[TENON_ROPE_X], i, bits_at(&derived->slot[TENON_ROPE_X], i) ^ other_sign(base, i));
    for (int64_t i = 0; i < tenon_tensor_count(&derived->slot[TENON_ROPE_POS].tensor); i++)
        put_bits(&derived->slot[TENON_ROPE_POS], i, 0u - bits_at(&derived->slot[TENON_ROPE_POS], i));
    return 1;
}

static int check_back(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const int64_t heads = base->slot[TENON_ROPE_X].tensor.dim[2], cols = base->slot[TENON_ROPE_X].tensor.dim[3];
    const uint32_t top = 1u << (8 * TENON_DTYPE_SIZE(base->slot[TENON_ROPE_X].tensor.dtype) - 1);
    for (int64_t i = 0; i < tenon_tensor_count(&derived->slot[TENON_ROPE_Y].tensor); i++) {
        const uint32_t got = bits_at(&derived->slot[TENON_ROPE_Y], i);
        const uint32_t want = bits_at(&base->slot[TENON_ROPE_Y], i) ^ other_sign(base, i);
        if (bits_at(&derived->slot[TENON_ROPE_POS], i / cols / heads) == 0x80000000) /* it has no negative */
            continue;
        if (got != want && ((got | want) & ~top) != 0) /* a zero may have either sign */
            return tenon_why_set(why, 1, "element %lld of y has the bits 0x%x, turned forwards 0x%x", (long long)i, got,
                                 want);
    }
    return 0;
}

const struct conform_property tenon__rope_suite_properties[ROPE_PROPERTIES] = {
    {"one head", derive_head, check_head},
    {"the last batch from the middle on", derive_token, check_token},
    {"the other style", derive_style, check_style},
    {"turned back", derive_back, check_back},
};
