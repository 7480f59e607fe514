/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include "moe_logits_suite.h"

/* ---- hostile descriptors; the case they break is x [3,7], w [5,7], z [3,5] ---- */

static void spoil_d(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_W, TENON_F32, 2, (int64_t[]){5, 6});
}
static void spoil_w_rank(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_W, TENON_F32, 3, (int64_t[]){1, 5, 7});
}
static void spoil_t(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_Z, TENON_F32, 2, (int64_t[]){4, 5});
}
static void spoil_e(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_Z, TENON_F32, 2, (int64_t[]){3, 7});
}
static void spoil_bias(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_BIAS, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_z_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_Z, TENON_F16, 2, (int64_t[]){3, 5});
}
static void spoil_w_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_W, TENON_I8, 2, (int64_t[]){5, 7});
}
static void spoil_eps(struct conform_case *c)
{
    tenon__moe_logits_suite_params(c)->eps = 1e-20f;
}
static void spoil_kind(struct conform_case *c)
{
    tenon__moe_logits_suite_params(c)->kind = TENON_MOE_LOGITS_KINDS;
}
static void spoil_fold(struct conform_case *c)
{
    conform_slot_set(c, TENON_MOE_LOGITS_X, TENON_F32, 3, (int64_t[]){3, 2, 7});
    conform_slot_set(c, TENON_MOE_LOGITS_Z, TENON_F32, 3, (int64_t[]){3, 2, 5});
    c->slot[TENON_MOE_LOGITS_X].tensor.stride[0] = 17;
}

const struct conform_hostile tenon__moe_logits_suite_hostile[MOE_LOGITS_HOSTILE] = {
    {"w of another D", TENON_E_SHAPE, spoil_d},
    {"w of rank 3", TENON_E_SHAPE, spoil_w_rank},
    {"z of another T", TENON_E_SHAPE, spoil_t},
    {"z of another E", TENON_E_SHAPE, spoil_e},
    {"bias of another length", TENON_E_SHAPE, spoil_bias},
    {"z of f16", TENON_E_DTYPE, spoil_z_type},
    {"w of i8", TENON_E_DTYPE, spoil_w_type},
    {"eps of 1e-20", TENON_E_ARG, spoil_eps},
    {"a kind that is none", TENON_E_ARG, spoil_kind},
    {"leading axes that do not fold", TENON_E_UNSUPPORTED, spoil_fold},
};

/* ---- properties ---- */

static int64_t experts_of(const struct conform_case *c)
{
    return c->slot[TENON_MOE_LOGITS_W].tensor.dim[0];
}

static int64_t tokens_of(const struct conform_case *c)
{
    const struct tenon_tensor *z = &c->slot[TENON_MOE_LOGITS_Z].tensor;
    return experts_of(c) ? tenon_tensor_count(z) / experts_of(c) : 0;
}

static void copy_elements(struct conform_slot *to, const struct conform_slot *from, int64_t first)
{
    int64_t count = tenon_tensor_count(&to->tensor);
    for (int64_t e = 0; e < count; e++)
        conform_set(conform_first(to), to->tensor.dtype, conform_offset(&to->tensor, e),
                    conform_get(conform_first(from), from->tensor.dtype, conform_offset(&from->tensor, first + e)));
}

/* The same tensors without gaps, those of x and z with `rows` rows; their memory, not filled. */
static int derive(const struct conform_case *base, struct conform_case *derived, int64_t rows)
{
    int64_t width = base->slot[TENON_MOE_LOGITS_W].tensor.dim[1];
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *slot = &base->slot[i];
        derived->slot[i].data = NULL;
        if (slot->tensor.dtype)
            conform_slot_set(derived, i, slot->tensor.dtype, slot->tensor.rank, slot->tensor.dim);
    }
    conform_slot_set(derived, TENON_MOE_LOGITS_X, base->slot[TENON_MOE_LOGITS_X].tensor.dtype, 2,
                     (int64_t[]){rows, width});
    conform_slot_set(derived, TENON_MOE_LOGITS_Z, TENON_F32, 2, (int64_t[]){rows, experts_of(base)});
    return 0;
}

static int64_t token_of(const struct conform_case *c)
{
    return (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)tokens_of(c));
}

static void copy_inputs(struct conform_case *derived, const struct conform_case *base, int64_t token)
{
    copy_elements(&derived->slot[TENON_MOE_LOGITS_X], &base->slot[TENON_MOE_LOGITS_X],
                  token * base->slot[TENON_MOE_LOGITS_W].tensor.dim[1]);
    copy_elements(&derived->slot[TENON_MOE_LOGITS_W], &base->slot[TENON_MOE_LOGITS_W], 0);
    if (base->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype)
        copy_elements(&derived->slot[TENON_MOE_LOGITS_BIAS], &base->slot[TENON_MOE_LOGITS_BIAS], 0);
}

/* z[i] of the derived case is factor times element first + i * step of the base. */
static int check_same(const struct conform_case *base, const struct conform_case *derived, int64_t first, double factor,
                      struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_MOE_LOGITS_Z], *b = &derived->slot[TENON_MOE_LOGITS_Z];
    int64_t n = tenon_tensor_count(&b->tensor);
    for (int64_t i = 0; i < n; i++) {
        double x = conform_get(conform_first(a), TENON_F32, conform_offset(&a->tensor, first + i)) * factor;
        double y = conform_get(conform_first(b), TENON_F32, i);
        if (x != y && (x == x || y == y))
            return tenon_why_set(why, 1, "element %lld is %.9g, must be %.9g", (long long)i, y, x);
    }
    return 0;
}

/* A token alone has the bits it has among many. */
static int derive_alone(const struct conform_case *base, struct conform_case *derived)
{
    if (tokens_of(base) < 2 || derive(base, derived, 1) || conform_case_alloc(derived))
        return 0;
    copy_inputs(derived, base, token_of(base));
    return 1;
}

static int check_alone(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_same(base, derived, token_of(base) * experts_of(base), 1, why);
}

/* Tokens twice, one batch after the other: the same bits, at whatever height of a tile they are now. */
static int derive_many(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t n = tokens_of(base), width = base->slot[TENON_MOE_LOGITS_W].tensor.dim[1];
    if (n < 1 || n > 60 || derive(base, derived, 2 * n) || conform_case_alloc(derived))
        return 0;
    copy_elements(&derived->slot[TENON_MOE_LOGITS_W], &base->slot[TENON_MOE_LOGITS_W], 0);
    if (base->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype)
        copy_elements(&derived->slot[TENON_MOE_LOGITS_BIAS], &base->slot[TENON_MOE_LOGITS_BIAS], 0);
    const struct conform_slot *x = &base->slot[TENON_MOE_LOGITS_X];
    for (int64_t i = 0; i < 2 * n * width; i++)
        conform_set(conform_first(&derived->slot[TENON_MOE_LOGITS_X]), x->tensor.dtype, i,
                    conform_get(conform_first(x), x->tensor.dtype, conform_offset(&x->tensor, i % (n * width))));
    return 1;
}

static int check_many(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_MOE_LOGITS_Z], *b = &derived->slot[TENON_MOE_LOGITS_Z];
    int64_t n = tenon_tensor_count(&a->tensor);
    for (int64_t i = 0; i < 2 * n; i++) {
        double x = conform_get(conform_first(a), TENON_F32, conform_offset(&a->tensor, i % n));
        double y = conform_get(conform_first(b), TENON_F32, i);
        if (x != y && (x == x || y == y))
            return tenon_why_set(why, 1, "element %lld of two batches is %.9g, must be %.9g", (long long)i, y, x);
    }
    return 0;
}

/* Twice the scale, twice a cosine. */
static int derive_double(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_moe_logits_params *p = (const void *)base->params;
    if (p->kind != TENON_MOE_LOGITS_COSINE || p->act > TENON_MOE_LOGITS_ACT_RELU || base->mode != CONFORM_RANDOM ||
        base->slot[TENON_MOE_LOGITS_BIAS].tensor.dtype || derive(base, derived, tokens_of(base)))
        return 0;
    tenon__moe_logits_suite_params(derived)->scale *= 2;
    if (conform_case_alloc(derived))
        return 0;
    copy_inputs(derived, base, 0);
    return 1;
}

static int check_double(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_same(base, derived, 0, 2, why);
}

/* Experts the other way round: their logits go with them, bit for bit. */
static int derive_reversed(const struct conform_case *base, struct conform_case *derived)
{
    const struct conform_slot *w = &base->slot[TENON_MOE_LOGITS_W], *bias = &base->slot[TENON_MOE_LOGITS_BIAS];
    const int64_t n = experts_of(base), width = w->tensor.dim[1];
    if (n < 2 || derive(base, derived, tokens_of(base)) || conform_case_alloc(derived))
        return 0;
    copy_inputs(derived, base, 0);
    for (int64_t i = 0; i < n * width; i++)
        conform_set(conform_first(&derived->slot[TENON_MOE_LOGITS_W]), w->tensor.dtype, i,
                    conform_get(conform_first(w), w->tensor.dtype,
                                conform_offset(&w->tensor, (n - 1 - i / width) * width + i % width)));
    for (int64_t e = 0; bias->tensor.dtype && e < n; e++)
        conform_set(conform_first(&derived->slot[TENON_MOE_LOGITS_BIAS]), TENON_F32, e,
                    conform_get(conform_first(bias), TENON_F32, conform_offset(&bias->tensor, n - 1 - e)));
    return 1;
}

static int check_reversed(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_MOE_LOGITS_Z], *b = &derived->slot[TENON_MOE_LOGITS_Z];
    const int64_t n = experts_of(base), count = tenon_tensor_count(&a->tensor);
    for (int64_t i = 0; i < count; i++) {
        double x = conform_get(conform_first(a), TENON_F32, conform_offset(&a->tensor, i));
        double y = conform_get(conform_first(b), TENON_F32, i / n * n + n - 1 - i % n);
        if (x != y && (x == x || y == y))
            return tenon_why_set(why, 1, "element %lld is %.9g with the experts reversed, was %.9g", (long long)i, y, x);
    }
    return 0;
}

const struct conform_property tenon__moe_logits_suite_properties[MOE_LOGITS_PROPERTIES] = {
    {"a token alone", derive_alone, check_alone},
    {"tokens twice", derive_many, check_many},
    {"experts reversed", derive_reversed, check_reversed},
    {"twice the scale, twice z", derive_double, check_double},
};
