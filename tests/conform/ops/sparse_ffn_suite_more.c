/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "sparse_ffn_suite.h"

/* ---- hostile descriptors; the case they break is x [3,8], wg and wu [6,8], wd [5,6], y [3,5] ---- */

#define HOSTILE(name, statement)                                                                                       \
    static void name(struct conform_case *c)                                                                           \
    {                                                                                                                  \
        struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);                                         \
        (void)p;                                                                                                       \
        statement;                                                                                                     \
    }
#define SET(i, dtype, rank, ...) conform_slot_set(c, TENON_SPARSE_FFN_##i, dtype, rank, (int64_t[]){__VA_ARGS__})

HOSTILE(spoil_wu_width, SET(WU, TENON_F32, 2, 6, 7))
HOSTILE(spoil_wg_f, SET(WG, TENON_F32, 2, 7, 8))
HOSTILE(spoil_wd_width, SET(WD, TENON_F32, 2, 5, 7))
HOSTILE(spoil_wd_rank, SET(WD, TENON_F32, 1, 30))
HOSTILE(spoil_y, SET(Y, TENON_F32, 2, 3, 6))
HOSTILE(spoil_y_type, SET(Y, TENON_BF16, 2, 3, 5))
HOSTILE(spoil_ext, SET(EXT, TENON_F32, 2, 3, 5))
HOSTILE(spoil_split, p->split = 8)
HOSTILE(spoil_k, p->h.kind = TENON_SPARSE_FFN_TOPK; p->h.k = 7)
HOSTILE(spoil_t_g, SET(T_G, TENON_F32, 1, 6))
HOSTILE(spoil_wgt, p->g.kind = TENON_SPARSE_FFN_ABS_GE; SET(WGT_G, TENON_F32, 1, 6))
HOSTILE(spoil_no_scale, SET(WU, TENON_I8, 2, 6, 8))
HOSTILE(spoil_half, SET(CU_D, TENON_F32, 2, 5, 2))
HOSTILE(spoil_rank, SET(CU_D, TENON_F32, 2, 5, 2); SET(CV_D, TENON_F32, 2, 6, 3))

const struct conform_hostile tenon__sparse_ffn_suite_hostile[SPARSE_FFN_HOSTILE] = {
    {"wu of another width", TENON_E_SHAPE, spoil_wu_width},
    {"wg of another F", TENON_E_SHAPE, spoil_wg_f},
    {"wd of another width", TENON_E_SHAPE, spoil_wd_width},
    {"wd of rank 1", TENON_E_SHAPE, spoil_wd_rank},
    {"y of another O", TENON_E_SHAPE, spoil_y},
    {"y of bf16 with x of f32", TENON_E_DTYPE, spoil_y_type},
    {"ext of another F", TENON_E_SHAPE, spoil_ext},
    {"a split that leaves nothing", TENON_E_SHAPE, spoil_split},
    {"k above the width of its site", TENON_E_SHAPE, spoil_k},
    {"thresholds of a site that is none", TENON_E_ARG, spoil_t_g},
    {"weights of a site that has no use of them", TENON_E_ARG, spoil_wgt},
    {"i8 without a scale", TENON_E_DTYPE, spoil_no_scale},
    {"half a complement", TENON_E_ARG, spoil_half},
    {"a complement of two ranks", TENON_E_SHAPE, spoil_rank},
};

/* ---- properties ---- */

static int64_t last_of(const struct conform_slot *slot)
{
    return slot->tensor.dtype ? slot->tensor.dim[slot->tensor.rank - 1] : 0;
}

static int64_t tokens_of(const struct conform_case *c)
{
    const struct conform_slot *x = &c->slot[TENON_SPARSE_FFN_X];
    int64_t n = 1;
    for (uint32_t i = 0; i + 1 < x->tensor.rank; i++)
        n *= x->tensor.dim[i];
    return n;
}

static int is_per_token(uint32_t i)
{
    return i == TENON_SPARSE_FFN_X || i == TENON_SPARSE_FFN_EXT || i == TENON_SPARSE_FFN_Y;
}

/* The same tensors without gaps, with `rows` tokens: the base's from `token` on, again and again. */
static int derive(const struct conform_case *base, struct conform_case *derived, int64_t token, int64_t rows)
{
    const int64_t tokens = tokens_of(base);
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *slot = &base->slot[i];
        derived->slot[i].data = NULL;
        if (slot->tensor.dtype && is_per_token(i))
            conform_slot_set(derived, i, slot->tensor.dtype, 2, (int64_t[]){rows, last_of(slot)});
        else if (slot->tensor.dtype)
            conform_slot_set(derived, i, slot->tensor.dtype, slot->tensor.rank, slot->tensor.dim);
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *from = &base->slot[i];
        struct conform_slot *to = &derived->slot[i];
        const int64_t count = from->tensor.dtype ? tenon_tensor_count(&to->tensor) : 0,
                      all = is_per_token(i) ? tokens * last_of(from) : count;
        if (!from->tensor.dtype || from->is_output)
            continue;
        for (int64_t e = 0; e < count; e++)
            conform_set(
                conform_first(to), to->tensor.dtype, e,
                conform_get(conform_first(from), from->tensor.dtype,
                            conform_offset(&from->tensor, is_per_token(i) ? (token * last_of(from) + e) % all : e)));
    }
    return 1;
}

static int check(const struct conform_case *base, const struct conform_case *derived, int64_t token,
                 struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_SPARSE_FFN_Y], *b = &derived->slot[TENON_SPARSE_FFN_Y];
    const int64_t n = tenon_tensor_count(&b->tensor), all = tenon_tensor_count(&a->tensor);
    for (int64_t i = 0; i < n; i++) {
        double x =
            conform_get(conform_first(a), a->tensor.dtype, conform_offset(&a->tensor, (token * last_of(a) + i) % all));
        double y = conform_get(conform_first(b), b->tensor.dtype, i);
        if (x != y && (x == x || y == y))
            return tenon_why_set(why, 1, "element %lld is %.9g, must be %.9g", (long long)i, y, x);
    }
    return 0;
}

static int64_t token_of(const struct conform_case *c)
{
    return (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)tokens_of(c));
}

/* A token alone has the bits it has among many. */
static int derive_alone(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    return tokens_of(base) > 1 && derive(base, derived, token_of(base), 1);
}

static int check_alone(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check(base, derived, token_of(base), why);
}

/* Many more tokens than before: whatever a product costs now, its bits are the same. */
static int derive_many(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    return tokens_of(base) > 0 && derive(base, derived, 0, 4 * tokens_of(base) + 1);
}

static int check_first(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check(base, derived, 0, why);
}

/* Matrices that lie the other way; where sums are exact their order is nothing. */
static int derive_flip(const struct conform_case *base, struct conform_case *derived)
{
    struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(derived);
    *derived = *base;
    if (base->mode != CONFORM_EXACT || base->slot[TENON_SPARSE_FFN_Y].tensor.dtype != TENON_F32 ||
        p->p.kind == TENON_SPARSE_FFN_STAT_TOPK)
        return 0;
    p->trans_u ^= 1;
    p->trans_d ^= 1;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *slot = &base->slot[i];
        const int turned = i == TENON_SPARSE_FFN_WU || i == TENON_SPARSE_FFN_WD;
        derived->slot[i].data = NULL;
        if (slot->tensor.dtype)
            conform_slot_set(derived, i, slot->tensor.dtype, slot->tensor.rank,
                             turned ? (int64_t[]){slot->tensor.dim[1], slot->tensor.dim[0]} : slot->tensor.dim);
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *from = &base->slot[i];
        const int64_t count = from->tensor.dtype && !from->is_output ? tenon_tensor_count(&from->tensor) : 0;
        const int turned = i == TENON_SPARSE_FFN_WU || i == TENON_SPARSE_FFN_WD;
        for (int64_t e = 0; e < count; e++) {
            const int64_t rows = from->tensor.dim[0], cols = last_of(from);
            conform_set(conform_first(&derived->slot[i]), from->tensor.dtype, turned ? e % cols * rows + e / cols : e,
                        conform_get(conform_first(from), from->tensor.dtype, conform_offset(&from->tensor, e)));
        }
    }
    return 1;
}

/* A site that keeps everything is none. */
static int derive_keep(const struct conform_case *base, struct conform_case *derived)
{
    struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(derived);
    *derived = *base;
    if (base->own[0] == SPARSE_SPECIAL || base->own[0] == SPARSE_MASKED || tokens_of(base) < 1 ||
        p->p.kind != TENON_SPARSE_FFN_NONE || p->g.kind != TENON_SPARSE_FFN_NONE)
        return 0;
    if (!derive(base, derived, 0, tokens_of(base)))
        return 0;
    p->p.kind = TENON_SPARSE_FFN_ABS_GE;
    p->p.t = 0;
    p->g.kind = TENON_SPARSE_FFN_TOPK;
    p->g.by = 1;
    p->g.k = (int32_t)base->slot[TENON_SPARSE_FFN_WD].tensor.dim[p->trans_d ? 0 : 1];
    return 1;
}

const struct conform_property tenon__sparse_ffn_suite_properties[SPARSE_FFN_PROPERTIES] = {
    {"a token alone", derive_alone, check_alone},
    {"many tokens", derive_many, check_first},
    {"w the other way", derive_flip, check_first},
    {"sites that keep everything", derive_keep, check_first},
};
