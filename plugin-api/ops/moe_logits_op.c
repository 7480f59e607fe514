/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of moe_logits in code; in words it is tenon/ops/moe_logits.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/moe_logits.h>

#include "../contract.h"
#include "../shape.h"

#define EPS_LEAST 1e-12f

static const struct tenon_tensor_spec tensors[] = {
    [TENON_MOE_LOGITS_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,D]", "tokens"},
    [TENON_MOE_LOGITS_W] = {"w", TENON_IN, TENON_T_FLOAT, "[E,D]", "one row an expert"},
    [TENON_MOE_LOGITS_BIAS] = {"bias", TENON_IN_OPT, TENON_T_F32, "[E]", "added before the activation"},
    [TENON_MOE_LOGITS_Z] = {"z", TENON_OUT, TENON_T_F32, "[...,E]", "router logits"},
};

#define NAME(NAME_, name) name,
static const char *const kinds[] = {TENON_MOE_LOGITS_KIND_LIST(NAME) NULL};
static const char *const acts[] = {TENON_MOE_LOGITS_ACT_LIST(NAME) NULL};

TENON_PARAMS_SIZE(tenon_moe_logits_params, 20);
TENON_PARAMS_AT(tenon_moe_logits_params, struct_size, 0);
TENON_PARAMS_AT(tenon_moe_logits_params, kind, 4);
TENON_PARAMS_AT(tenon_moe_logits_params, act, 8);
TENON_PARAMS_AT(tenon_moe_logits_params, scale, 12);
TENON_PARAMS_AT(tenon_moe_logits_params, eps, 16);

#define AT(field) #field, .offset = offsetof(struct tenon_moe_logits_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(kind),
     .type = TENON_ATTR_ENUM,
     .max = TENON_MOE_LOGITS_KINDS - 1,
     .names = kinds,
     .text = "what is made of a token and an expert"},
    {.name = AT(act), .type = TENON_ATTR_ENUM, .max = TENON_MOE_LOGITS_ACTS - 1, .names = acts, .text = "activation"},
    {.name = AT(scale), .type = TENON_ATTR_F32, .def = 1, .min = -FLT_MAX, .max = FLT_MAX, .text = "factor of cosine"},
    {.name = AT(eps),
     .type = TENON_ATTR_F32,
     .max = FLT_MAX,
     .text = "added to norms (cosine) or variances (std_dot); 0: 1e-6 and 1e-5"},
};

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_moe_logits_params *p = params;
    const struct tenon_tensor *x = &t[TENON_MOE_LOGITS_X], *w = &t[TENON_MOE_LOGITS_W], *z = &t[TENON_MOE_LOGITS_Z];
    int64_t tokens, experts, width, d;
    if (p->eps > 0 && p->eps < EPS_LEAST)
        return tenon_why_set(why, TENON_E_ARG, "eps = %.9g: must be 0 or at least 1e-12", (double)p->eps);
    int32_t status = tenon__shape_matrix(&tensors[TENON_MOE_LOGITS_X], x, &tokens, &width, why);
    if (status)
        return status;
    if (w->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "w rank %u: must be 2", w->rank);
    status = tenon__shape_matrix(&tensors[TENON_MOE_LOGITS_W], w, &experts, &d, why);
    if (status)
        return status;
    if (d != width)
        return tenon_why_set(why, TENON_E_SHAPE, "w has D = %lld: must be that of x, %lld", (long long)d,
                             (long long)width);
    if (tokens > INT32_MAX || experts > INT32_MAX || width > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "T, E, D = %lld, %lld, %lld: must be below 2^31", (long long)tokens,
                             (long long)experts, (long long)width);
    if (t[TENON_MOE_LOGITS_BIAS].dtype) {
        status = tenon__shape_list(&tensors[TENON_MOE_LOGITS_BIAS], &t[TENON_MOE_LOGITS_BIAS], experts, why);
        if (status)
            return status;
    }
    if (z->rank != x->rank || z->dim[z->rank - 1] != experts ||
        memcmp(z->dim, x->dim, (x->rank - 1) * sizeof x->dim[0]) != 0)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "z shape (rank %u, last axis %lld): must be the leading axes of x, then E = %lld", z->rank,
                             z->rank ? (long long)z->dim[z->rank - 1] : 0LL, (long long)experts);
    return tenon__shape_matrix(&tensors[TENON_MOE_LOGITS_Z], z, &tokens, &experts, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_MOE_LOGITS_X], *w = &t[TENON_MOE_LOGITS_W];
    int64_t dim[TENON_MAX_RANK];
    (void)params;
    if (index != TENON_MOE_LOGITS_Z)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of moe_logits is not an output", index);
    if (!x->dtype || x->rank == 0 || x->rank > TENON_MAX_RANK || !w->dtype || w->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "z has no shape without x [...,D] and w [E,D]");
    memcpy(dim, x->dim, sizeof dim);
    dim[x->rank - 1] = w->dim[0];
    *out = tenon_tensor_make(TENON_F32, x->rank, dim);
    return TENON_OK;
}

const struct tenon_op_contract tenon__moe_logits_contract = {
    .op = TENON_OPNUM_moe_logits,
    .name = "moe_logits",
    .text = "router logits: products, cosines, distances or standardised products of tokens and experts",
    .source = "matrix product; cosine router; Laplace gate; PHATGOOSE",
    .n_tensors = TENON_MOE_LOGITS_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_moe_logits_params),
    .params_first = offsetof(struct tenon_moe_logits_params, eps) + sizeof(float),
    .n_tensors_first = TENON_MOE_LOGITS_Z + 1,
    .validate = validate,
    .output = output,
};
