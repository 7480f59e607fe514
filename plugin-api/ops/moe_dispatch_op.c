/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of moe_dispatch in code; in words it is tenon/ops/moe_dispatch.h. */
#include <string.h>

#include <tenon/ops/moe_dispatch.h>

#include "../contract.h"
#include "../shape.h"

#define X_TYPES     (TENON_T_FLOAT | TENON_T_I8 | TENON_T_U8)
#define EXPERTS_MAX 65536

static const struct tenon_tensor_spec tensors[] = {
    [TENON_MOE_DISPATCH_IDX] = {"idx", TENON_IN, TENON_T_I32, "[...T,K]", "the experts of each token; -1 is none"},
    [TENON_MOE_DISPATCH_W] = {"w", TENON_IN_OPT, TENON_T_F32, "as idx", "their weights"},
    [TENON_MOE_DISPATCH_X] = {"x", TENON_IN_OPT, X_TYPES, "[...T,D]", "the tokens"},
    [TENON_MOE_DISPATCH_COUNTS] = {"counts", TENON_OUT_OPT, TENON_T_I32, "[E]", "pairs of each expert"},
    [TENON_MOE_DISPATCH_KEPT] = {"kept", TENON_OUT_OPT, TENON_T_I32, "[E]", "pairs that its capacity leaves"},
    [TENON_MOE_DISPATCH_OFFSETS] = {"offsets", TENON_OUT_OPT, TENON_T_I32, "[E+1]", "where its rows begin"},
    [TENON_MOE_DISPATCH_SRC] = {"src", TENON_OUT_OPT, TENON_T_I32, "[Mp]", "t K + j of each row; -1 is padding"},
    [TENON_MOE_DISPATCH_POS] = {"pos", TENON_OUT_OPT, TENON_T_I32, "as idx", "row of each pair; -1 where dropped"},
    [TENON_MOE_DISPATCH_W2] = {"w2", TENON_OUT_OPT, TENON_T_F32, "as idx", "weights of what is kept"},
    [TENON_MOE_DISPATCH_XP] = {"xp", TENON_OUT_OPT, X_TYPES, "[Mp,D]", "the tokens, expert by expert"},
    [TENON_MOE_DISPATCH_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                                  "tokens with a NaN weight, without a pair, that lost one; numbers out of range"},
};

static const char *const orders[] = {"token_major", "choice_major", NULL};
static const char *const drops[] = {"position", "prob", "bpr", NULL};
static const char *const renorms[] = {"none", "after_drop", NULL};

TENON_PARAMS_SIZE(tenon_moe_dispatch_params, 40);
TENON_PARAMS_AT(tenon_moe_dispatch_params, struct_size, 0);
TENON_PARAMS_AT(tenon_moe_dispatch_params, experts, 4);
TENON_PARAMS_AT(tenon_moe_dispatch_params, capacity, 8);
TENON_PARAMS_AT(tenon_moe_dispatch_params, order, 12);
TENON_PARAMS_AT(tenon_moe_dispatch_params, drop, 16);
TENON_PARAMS_AT(tenon_moe_dispatch_params, align, 20);
TENON_PARAMS_AT(tenon_moe_dispatch_params, pad_to_capacity, 24);
TENON_PARAMS_AT(tenon_moe_dispatch_params, renorm, 28);
TENON_PARAMS_AT(tenon_moe_dispatch_params, first, 32);
TENON_PARAMS_AT(tenon_moe_dispatch_params, end, 36);

#define AT(field) #field, .offset = offsetof(struct tenon_moe_dispatch_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(experts), .type = TENON_ATTR_I32, .def = 1, .min = 1, .max = EXPERTS_MAX, .text = "how many experts"},
    {.name = AT(capacity),
     .type = TENON_ATTR_I32,
     .def = -1,
     .min = -1,
     .max = INT32_MAX,
     .text = "pairs that an expert keeps; -1 is all"},
    {.name = AT(order),
     .type = TENON_ATTR_ENUM,
     .max = TENON_MOE_DISPATCH_CHOICE_MAJOR,
     .names = orders,
     .text = "first by token, or first by choice"},
    {.name = AT(drop),
     .type = TENON_ATTR_ENUM,
     .max = TENON_MOE_DISPATCH_BPR,
     .names = drops,
     .text = "which pairs are kept: the first, those of largest weight, those of the best tokens"},
    {.name = AT(align),
     .type = TENON_ATTR_I32,
     .def = 1,
     .min = 1,
     .max = INT32_MAX,
     .text = "segments are a multiple of it long"},
    {.name = AT(pad_to_capacity), .type = TENON_ATTR_U32, .max = 1, .text = "segments are as long as the capacity"},
    {.name = AT(renorm),
     .type = TENON_ATTR_ENUM,
     .max = TENON_MOE_DISPATCH_AFTER_DROP,
     .names = renorms,
     .text = "w2 as they are, or over the sum of those that are kept"},
    {.name = AT(first), .type = TENON_ATTR_I32, .max = EXPERTS_MAX, .text = "the first expert that counts"},
    {.name = AT(end), .type = TENON_ATTR_I32, .max = EXPERTS_MAX, .text = "the expert after the last; 0: experts"},
};

static int32_t check_params(const struct tenon_moe_dispatch_params *p, const struct tenon_tensor *t,
                            struct tenon_why *why)
{
    const int has_w = t[TENON_MOE_DISPATCH_W].dtype != 0;
    if (p->first >= p->experts)
        return tenon_why_set(why, TENON_E_ARG, "first = %d: must be below experts, %d", p->first, p->experts);
    if (p->end && (p->end <= p->first || p->end > p->experts))
        return tenon_why_set(why, TENON_E_ARG, "end = %d: must be 0 or within (first, experts], (%d, %d]", p->end,
                             p->first, p->experts);
    if (p->pad_to_capacity && (p->capacity < 0 || p->capacity % p->align))
        return tenon_why_set(why, TENON_E_ARG,
                             "capacity = %d: pad_to_capacity needs one of at least 0 that is a multiple of align, %d",
                             p->capacity, p->align);
    if (!has_w && p->drop != TENON_MOE_DISPATCH_POSITION)
        return tenon_why_set(why, TENON_E_ARG, "drop is %s and w is not given: it needs it", drops[p->drop]);
    if (!has_w && p->renorm)
        return tenon_why_set(why, TENON_E_ARG, "renorm is after_drop and w is not given: it needs it");
    if (!has_w && t[TENON_MOE_DISPATCH_W2].dtype)
        return tenon_why_set(why, TENON_E_ARG, "w2 is asked for and w is not given: it needs it");
    if (!t[TENON_MOE_DISPATCH_X].dtype && t[TENON_MOE_DISPATCH_XP].dtype)
        return tenon_why_set(why, TENON_E_ARG, "xp is asked for and x is not given: it needs it");
    return TENON_OK;
}

/* w, pos, w2. */
static int32_t check_slots(const struct tenon_tensor *t, struct tenon_why *why)
{
    static const uint32_t slots[] = {TENON_MOE_DISPATCH_IDX, TENON_MOE_DISPATCH_W, TENON_MOE_DISPATCH_POS,
                                     TENON_MOE_DISPATCH_W2};
    const struct tenon_tensor *idx = &t[TENON_MOE_DISPATCH_IDX];
    if (idx->rank < 1)
        return tenon_why_set(why, TENON_E_SHAPE, "idx rank 0: must be within [1, %d]", TENON_MAX_RANK);
    if (tenon_tensor_count(idx) > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "idx has %lld elements: must be below 2^31",
                             (long long)tenon_tensor_count(idx));
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        const struct tenon_tensor *own = &t[slots[i]];
        if (!own->dtype)
            continue;
        if (!tenon__shape_same(idx, own))
            return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be that of idx",
                                 tensors[slots[i]].name, own->rank, (long long)tenon_tensor_count(own));
        if (!tenon_tensor_is_contiguous(own))
            return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[slots[i]].name);
    }
    return TENON_OK;
}

static int64_t tokens_of(const struct tenon_tensor *idx)
{
    int64_t tokens = 1;
    for (uint32_t axis = 0; axis + 1 < idx->rank; axis++)
        tokens *= idx->dim[axis];
    return tokens;
}

/* src and xp: as many rows each as any data need. */
static int32_t check_rows(const struct tenon_moe_dispatch_params *p, const struct tenon_tensor *t,
                          struct tenon_why *why)
{
    const struct tenon_tensor *idx = &t[TENON_MOE_DISPATCH_IDX], *x = &t[TENON_MOE_DISPATCH_X];
    const struct tenon_tensor *src = &t[TENON_MOE_DISPATCH_SRC], *xp = &t[TENON_MOE_DISPATCH_XP];
    const int64_t least = tenon_moe_dispatch_rows(p, tokens_of(idx), idx->dim[idx->rank - 1]);
    int64_t rows[2] = {-1, -1}, cols = 0;
    int32_t status = TENON_OK;
    if (least < 0)
        return tenon_why_set(why, TENON_E_SHAPE, "%lld slots with this capacity and align: 2^31 rows and more",
                             (long long)tenon_tensor_count(idx));
    if (src->dtype && src->rank != 1)
        return tenon_why_set(why, TENON_E_SHAPE, "src rank %u: must be 1", src->rank);
    if (src->dtype)
        rows[0] = src->dim[0];
    if (xp->dtype)
        status = tenon__shape_x(&tensors[TENON_MOE_DISPATCH_XP], xp, &rows[1], &cols, why);
    if (status)
        return status;
    if (xp->dtype && (xp->dtype != x->dtype || cols != x->dim[x->rank - 1]))
        return tenon_why_set(why, xp->dtype != x->dtype ? TENON_E_DTYPE : TENON_E_SHAPE,
                             "xp is %s with %lld cols: must be as x, %s with %lld", tenon_dtype_name(xp->dtype),
                             (long long)cols, tenon_dtype_name(x->dtype), (long long)x->dim[x->rank - 1]);
    for (int i = 0; i < 2; i++)
        if (rows[i] >= 0 && (rows[i] < least || rows[i] > INT32_MAX))
            return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld rows: must be at least %lld, and below 2^31",
                                 i ? "xp" : "src", (long long)rows[i], (long long)least);
    if (rows[0] >= 0 && rows[1] >= 0 && rows[0] != rows[1])
        return tenon_why_set(why, TENON_E_SHAPE, "xp has %lld rows: must have those of src, %lld", (long long)rows[1],
                             (long long)rows[0]);
    return TENON_OK;
}

static int32_t check_x(const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *idx = &t[TENON_MOE_DISPATCH_IDX], *x = &t[TENON_MOE_DISPATCH_X];
    int64_t rows, cols;
    if (!x->dtype)
        return TENON_OK;
    if (x->rank != idx->rank || memcmp(x->dim, idx->dim, (idx->rank - 1) * sizeof idx->dim[0]) != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "x shape (rank %u, %lld elements): must be that of idx but for D",
                             x->rank, (long long)tenon_tensor_count(x));
    return tenon__shape_x(&tensors[TENON_MOE_DISPATCH_X], x, &rows, &cols, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_moe_dispatch_params *p = params;
    int32_t status = check_params(p, t, why);
    if (!status)
        status = check_slots(t, why);
    if (!status)
        status = check_x(t, why);
    if (!status)
        status = check_rows(p, t, why);
    for (uint32_t i = TENON_MOE_DISPATCH_COUNTS; !status && i <= TENON_MOE_DISPATCH_OFFSETS; i++)
        if (t[i].dtype)
            status = tenon__shape_list(&tensors[i], &t[i], p->experts + (i == TENON_MOE_DISPATCH_OFFSETS), why);
    if (!status && t[TENON_MOE_DISPATCH_FLAGS].dtype)
        status = tenon__shape_list(&tensors[TENON_MOE_DISPATCH_FLAGS], &t[TENON_MOE_DISPATCH_FLAGS], 4, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_moe_dispatch_params *p = params;
    const struct tenon_tensor *idx = &t[TENON_MOE_DISPATCH_IDX], *x = &t[TENON_MOE_DISPATCH_X];
    if (index < TENON_MOE_DISPATCH_COUNTS || index >= TENON_MOE_DISPATCH_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of moe_dispatch is not an output", index);
    if (idx->rank < 1 || idx->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "idx rank %u: must be within [1, %d]", idx->rank, TENON_MAX_RANK);
    if (index == TENON_MOE_DISPATCH_XP && (!x->dtype || x->rank < 1 || x->rank > TENON_MAX_RANK))
        return tenon_why_set(why, x->dtype ? TENON_E_SHAPE : TENON_E_UNSUPPORTED, "xp: needs x, which is not given");
    int64_t slots = 1;
    for (uint32_t axis = 0; axis < idx->rank && slots >= 0; axis++) /* nothing is checked yet */
        slots = idx->dim[axis] < 0 || idx->dim[axis] > INT32_MAX || slots * idx->dim[axis] > INT32_MAX
                    ? -1
                    : slots * idx->dim[axis];
    const int64_t rows = slots < 0 ? -1 : tenon_moe_dispatch_rows(p, slots, 1);
    if (rows < 0)
        return tenon_why_set(why, TENON_E_SHAPE, "%lld slots with this capacity and align: 2^31 rows and more",
                             (long long)slots);
    switch (index) {
    case TENON_MOE_DISPATCH_SRC: *out = tenon_tensor_make(TENON_I32, 1, &rows); break;
    case TENON_MOE_DISPATCH_XP:
        *out = tenon_tensor_make(x->dtype, 2, (int64_t[]){rows, x->dim[x->rank - 1]});
        break;
    case TENON_MOE_DISPATCH_POS: *out = tenon_tensor_make(TENON_I32, idx->rank, idx->dim); break;
    case TENON_MOE_DISPATCH_W2: *out = tenon_tensor_make(TENON_F32, idx->rank, idx->dim); break;
    case TENON_MOE_DISPATCH_FLAGS: *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4}); break;
    default:
        *out = tenon_tensor_make(TENON_I32, 1,
                                 (int64_t[]){(int64_t)p->experts + (index == TENON_MOE_DISPATCH_OFFSETS)});
    }
    return TENON_OK;
}

const struct tenon_op_contract tenon__moe_dispatch_contract = {
    .op = TENON_OPNUM_moe_dispatch,
    .name = "moe_dispatch",
    .text = "from the experts of each token to the tokens of each expert",
    .source = "Lepikhin et al. 2021; Fedus et al. 2022; Riquelme et al. 2021; Gale et al. 2022",
    .n_tensors = TENON_MOE_DISPATCH_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_moe_dispatch_params),
    .params_first = offsetof(struct tenon_moe_dispatch_params, end) + sizeof(int32_t),
    .n_tensors_first = TENON_MOE_DISPATCH_FLAGS + 1,
    .validate = validate,
    .output = output,
};
