/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of feature_map in code; in words it is tenon/ops/feature_map.h. */
#include <string.h>

#include <tenon/ops/feature_map.h>

#include "../contract.h"
#include "../shape.h"

#define F(NAME) TENON_FEATURE_MAP_##NAME

static const struct tenon_tensor_spec tensors[] = {
    [F(X)] = {"x", TENON_IN, TENON_T_FLOAT, "[...rows,K]", "queries or keys"},
    [F(B)] = {"b", TENON_IN_OPT, TENON_T_FLOAT, "[...rows,Kb]", "the other factor of outer; absent: x"},
    [F(Y)] = {"y", TENON_OUT, TENON_T_FLOAT, "[...rows,W]", "their features"},
};

#define NAME_(NAME, name) name,
static const char *const kinds[] = {TENON_FEATURE_MAP_LIST(NAME_) NULL};

TENON_PARAMS_SIZE(tenon_feature_map_params, 20);
TENON_PARAMS_AT(tenon_feature_map_params, struct_size, 0);
TENON_PARAMS_AT(tenon_feature_map_params, kind, 4);
TENON_PARAMS_AT(tenon_feature_map_params, nu, 8);
TENON_PARAMS_AT(tenon_feature_map_params, power, 12);
TENON_PARAMS_AT(tenon_feature_map_params, eps, 16);

#define AT(field) #field, .offset = offsetof(struct tenon_feature_map_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(kind),
     .type = TENON_ATTR_ENUM,
     .def = F(ELU1),
     .max = F(COUNT) - 1,
     .names = kinds,
     .text = "which map"},
    {.name = AT(nu), .type = TENON_ATTR_U32, .def = 1, .min = 1, .max = 4, .text = "how far dpfp rolls"},
    {.name = AT(power), .type = TENON_ATTR_F32, .def = 3, .min = 2, .max = 16, .text = "of nala_q and nala_k"},
    {.name = AT(eps), .type = TENON_ATTR_F32, .def = (double)1e-6f, .min = (double)1e-30f, .max = (double)1e30f,
     .text = "added by l2 and sumnorm"},
};

static int64_t width_of(const struct tenon_feature_map_params *p, int64_t k, int64_t kb)
{
    switch (p->kind) {
    case F(HEDGEHOG):
    case F(NALA_Q):
    case F(NALA_K): return 2 * k;
    case F(DPFP): return 2 * k * p->nu;
    case F(TAYLOR2): return 1 + 2 * k + (k > 0 ? k * (k - 1) / 2 : 0);
    case F(OUTER): return k * kb;
    default: return k;
    }
}

/* The last axis of x, and of b or again that of x. */
static void widths(const struct tenon_tensor *t, int64_t *k, int64_t *kb)
{
    *k = t[F(X)].dim[t[F(X)].rank - 1];
    *kb = t[F(B)].dtype ? t[F(B)].dim[t[F(B)].rank - 1] : *k;
}

static int32_t check_rows(uint32_t i, const struct tenon_tensor *t, const struct tenon_tensor *x, struct tenon_why *why)
{
    int64_t rows, cols;
    if (t->rank != x->rank || memcmp(t->dim, x->dim, (x->rank - 1) * sizeof x->dim[0]) != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must have the leading axes of x",
                             tensors[i].name, t->rank, (long long)tenon_tensor_count(t));
    return tenon__shape_x(&tensors[i], t, &rows, &cols, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_feature_map_params *p = params;
    const struct tenon_tensor *x = &t[F(X)], *b = &t[F(B)], *y = &t[F(Y)];
    int64_t rows, k, kb;
    int32_t status = tenon__shape_x(&tensors[F(X)], x, &rows, &k, why);
    if (!status && b->dtype && p->kind != F(OUTER))
        status = tenon_why_set(why, TENON_E_ARG, "b is given: it may be only with kind = outer");
    if (!status && b->dtype)
        status = check_rows(F(B), b, x, why);
    if (!status)
        status = check_rows(F(Y), y, x, why);
    if (status)
        return status;
    widths(t, &k, &kb);
    if (k > UINT16_MAX || kb > UINT16_MAX || width_of(p, k, kb) > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld columns: must be below 2^16, and y's below 2^31",
                             kb > UINT16_MAX ? "b" : "x", (long long)(kb > UINT16_MAX ? kb : k));
    if (y->dim[y->rank - 1] != width_of(p, k, kb))
        return tenon_why_set(why, TENON_E_SHAPE, "y has %lld columns: must be %lld, which %s makes of %lld",
                             (long long)y->dim[y->rank - 1], (long long)width_of(p, k, kb), kinds[p->kind],
                             (long long)k);
    if (y->dtype != x->dtype && y->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s or f32", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(x->dtype));
    return TENON_OK;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[F(X)];
    int64_t dim[TENON_MAX_RANK], k, kb;
    const int32_t status = tenon__output_check(&tenon__feature_map_contract, index, F(Y), x, why);
    if (status)
        return status;
    if (t[F(B)].dtype && (t[F(B)].rank < 1 || t[F(B)].rank > TENON_MAX_RANK))
        return tenon_why_set(why, TENON_E_SHAPE, "b rank %u: must be within [1, %d]", t[F(B)].rank, TENON_MAX_RANK);
    widths(t, &k, &kb);
    if (k > UINT16_MAX || kb > UINT16_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld columns: must be below 2^16", k > UINT16_MAX ? "x" : "b",
                             (long long)(k > UINT16_MAX ? k : kb));
    memcpy(dim, x->dim, sizeof dim);
    dim[x->rank - 1] = width_of(params, k, kb);
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : x->dtype, x->rank, dim);
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    const struct tenon_feature_map_params *p = params;
    return in == F(X) && out == F(Y) && p->kind <= F(SUMNORM);
}

const struct tenon_op_contract tenon__feature_map_contract = {
    .op = TENON_OPNUM_feature_map,
    .name = "feature_map",
    .text = "feature maps of linear attention",
    .source = "Katharopoulos et al. 2020; Schlag et al. 2021; Zhang et al. 2024; Arora et al. 2024; Meng et al. 2025",
    .n_tensors = TENON_FEATURE_MAP_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_feature_map_params),
    .params_first = offsetof(struct tenon_feature_map_params, eps) + sizeof(float),
    .n_tensors_first = TENON_FEATURE_MAP_Y + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
