/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of moe_combine in code; in words it is tenon/ops/moe_combine.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/moe_combine.h>

#include "../contract.h"
#include "../shape.h"

static const struct tenon_tensor_spec tensors[] = {
    [TENON_MOE_COMBINE_ZP] = {"zp", TENON_IN, TENON_T_FLOAT, "[Mp,Do]", "what the experts made of their tokens"},
    [TENON_MOE_COMBINE_POS] = {"pos", TENON_IN, TENON_T_I32, "[...T,K]", "rows of zp; -1 is none"},
    [TENON_MOE_COMBINE_W] = {"w", TENON_IN, TENON_T_F32, "as pos", "their weights"},
    [TENON_MOE_COMBINE_SHARED] = {"shared", TENON_IN_OPT, TENON_T_FLOAT, "as y", "output of the shared experts"},
    [TENON_MOE_COMBINE_RESIDUAL] = {"residual", TENON_IN_OPT, TENON_T_FLOAT, "as y", "added as it is"},
    [TENON_MOE_COMBINE_Y] = {"y", TENON_OUT, TENON_T_FLOAT, "[...T,Do]", "the weighted sums"},
    [TENON_MOE_COMBINE_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                                 "tokens with a NaN weight, tokens without a row, 0, numbers out of range"},
};

TENON_PARAMS_SIZE(tenon_moe_combine_params, 12);
TENON_PARAMS_AT(tenon_moe_combine_params, struct_size, 0);
TENON_PARAMS_AT(tenon_moe_combine_params, skip_zero, 4);
TENON_PARAMS_AT(tenon_moe_combine_params, shared_scale, 8);

#define AT(field) #field, .offset = offsetof(struct tenon_moe_combine_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(skip_zero), .type = TENON_ATTR_U32, .def = 1, .max = 1, .text = "rows of weight 0 are not looked at"},
    {.name = AT(shared_scale),
     .type = TENON_ATTR_F32,
     .def = 1,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "what shared is multiplied by"},
};

/* pos and w. */
static int32_t check_slots(const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *pos = &t[TENON_MOE_COMBINE_POS], *w = &t[TENON_MOE_COMBINE_W];
    if (pos->rank < 1)
        return tenon_why_set(why, TENON_E_SHAPE, "pos rank 0: must be within [1, %d]", TENON_MAX_RANK);
    if (tenon_tensor_count(pos) > UINT32_MAX || pos->dim[pos->rank - 1] > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "pos has %lld elements: must be below 2^32, and K below 2^31",
                             (long long)tenon_tensor_count(pos));
    if (!tenon__shape_same(pos, w))
        return tenon_why_set(why, TENON_E_SHAPE, "w shape (rank %u, %lld elements): must be that of pos", w->rank,
                             (long long)tenon_tensor_count(w));
    if (!tenon_tensor_is_contiguous(pos) || !tenon_tensor_is_contiguous(w))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous",
                             tenon_tensor_is_contiguous(pos) ? "w" : "pos");
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *pos = &t[TENON_MOE_COMBINE_POS];
    int64_t mp, cols, rows, own;
    (void)params;
    int32_t status = tenon__shape_x(&tensors[TENON_MOE_COMBINE_ZP], &t[TENON_MOE_COMBINE_ZP], &mp, &cols, why);
    if (!status && mp > INT32_MAX)
        status = tenon_why_set(why, TENON_E_SHAPE, "zp has %lld rows: must be below 2^31", (long long)mp);
    if (!status)
        status = check_slots(t, why);
    for (uint32_t i = TENON_MOE_COMBINE_SHARED; !status && i <= TENON_MOE_COMBINE_Y; i++) {
        if (!t[i].dtype)
            continue;
        if (t[i].rank != pos->rank || memcmp(t[i].dim, pos->dim, (pos->rank - 1) * sizeof pos->dim[0]) != 0 ||
            t[i].dim[pos->rank - 1] != cols)
            status = tenon_why_set(why, TENON_E_SHAPE,
                                   "%s shape (rank %u, %lld elements): must be the leading axes of pos and then the "
                                   "last of zp, %lld",
                                   tensors[i].name, t[i].rank, (long long)tenon_tensor_count(&t[i]), (long long)cols);
        else
            status = tenon__shape_x(&tensors[i], &t[i], &rows, &own, why);
    }
    if (!status && t[TENON_MOE_COMBINE_FLAGS].dtype)
        status = tenon__shape_list(&tensors[TENON_MOE_COMBINE_FLAGS], &t[TENON_MOE_COMBINE_FLAGS], 4, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *zp = &t[TENON_MOE_COMBINE_ZP], *pos = &t[TENON_MOE_COMBINE_POS];
    int64_t dim[TENON_MAX_RANK];
    (void)params;
    if (index != TENON_MOE_COMBINE_Y && index != TENON_MOE_COMBINE_FLAGS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of moe_combine is not an output", index);
    if (index == TENON_MOE_COMBINE_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    if (zp->rank < 1 || zp->rank > TENON_MAX_RANK || pos->rank < 1 || pos->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "%s rank %u: must be within [1, %d]",
                             zp->rank < 1 || zp->rank > TENON_MAX_RANK ? "zp" : "pos",
                             zp->rank < 1 || zp->rank > TENON_MAX_RANK ? zp->rank : pos->rank, TENON_MAX_RANK);
    memcpy(dim, pos->dim, sizeof dim);
    dim[pos->rank - 1] = zp->dim[zp->rank - 1];
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : zp->dtype, pos->rank, dim);
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == TENON_MOE_COMBINE_RESIDUAL && out == TENON_MOE_COMBINE_Y;
}

const struct tenon_op_contract tenon__moe_combine_contract = {
    .op = TENON_OPNUM_moe_combine,
    .name = "moe_combine",
    .text = "weighted sums of the experts' outputs, with shared experts and residual",
    .source = "Shazeer et al. 2017; Gale et al. 2022; Dai et al. 2024",
    .n_tensors = TENON_MOE_COMBINE_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_moe_combine_params),
    .params_first = offsetof(struct tenon_moe_combine_params, shared_scale) + sizeof(float),
    .n_tensors_first = TENON_MOE_COMBINE_FLAGS + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
