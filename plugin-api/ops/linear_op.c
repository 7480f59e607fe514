/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of linear in code; in words it is tenon/ops/linear.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/linear.h>

#include "../contract.h"
#include "../shape.h"

#define EXTENT_MAX INT32_MAX
#define GROUP      32 /* weights that share a scale come in multiples of this */

static const struct tenon_tensor_spec tensors[] = {
    [TENON_LINEAR_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,K]; trans_x: [K,M]", "activations"},
    [TENON_LINEAR_W] = {"w", TENON_IN, TENON_T_FLOAT | TENON_T_I8, "[N,K]; trans_w: [K,N]", "weights"},
    [TENON_LINEAR_W_SCALE] = {"w_scale", TENON_IN_OPT, TENON_T_F32, "[N] or [N,K/G]",
                              "scale of i8 weights; G is a multiple of 32"},
    [TENON_LINEAR_BIAS] = {"bias", TENON_IN_OPT, TENON_T_F32, "[N]", "added to the product"},
    [TENON_LINEAR_RESIDUAL] = {"residual", TENON_IN_OPT, TENON_T_FLOAT, "as y", "added after the activation"},
    [TENON_LINEAR_Y] = {"y", TENON_OUT, TENON_T_FLOAT, "[...,N]", "act(x w^T + bias) + residual"},
};

#define ACT_NAME(NAME, name, text) name,
static const char *const acts[] = {TENON_ACT_LIST(ACT_NAME) NULL};

TENON_PARAMS_SIZE(tenon_linear_params, 24);
TENON_PARAMS_AT(tenon_linear_params, struct_size, 0);
TENON_PARAMS_AT(tenon_linear_params, act, 4);
TENON_PARAMS_AT(tenon_linear_params, trans_x, 8);
TENON_PARAMS_AT(tenon_linear_params, trans_w, 12);
TENON_PARAMS_AT(tenon_linear_params, alpha, 16);
TENON_PARAMS_AT(tenon_linear_params, threshold, 20);

#define AT(field) #field, .offset = offsetof(struct tenon_linear_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(act), .type = TENON_ATTR_ENUM, .max = TENON_ACT_COUNT - 1, .names = acts, .text = "activation"},
    {.name = AT(trans_x), .type = TENON_ATTR_U32, .max = 1, .text = "x is [K,M]"},
    {.name = AT(trans_w), .type = TENON_ATTR_U32, .max = 1, .text = "w is [K,N]"},
    {.name = AT(alpha),
     .type = TENON_ATTR_F32,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "range expansion of xsilu, xgelu, xatlu"},
    {.name = AT(threshold), .type = TENON_ATTR_F32, .min = -FLT_MAX, .max = FLT_MAX, .text = "threshold of fatrelu"},
};

struct extents {
    int64_t m, n, k;
};

/* M, N and K from x and w. */
static int32_t find_extents(const struct tenon_linear_params *p, const struct tenon_tensor *x,
                            const struct tenon_tensor *w, struct extents *e, struct tenon_why *why)
{
    int64_t k;
    if (p->trans_x && x->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "x rank %u: must be 2 with trans_x", x->rank);
    int32_t status =
        tenon__shape_matrix(&tensors[TENON_LINEAR_X], x, p->trans_x ? &e->k : &e->m, p->trans_x ? &e->m : &e->k, why);
    if (status)
        return status;
    if (w->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "w rank %u: must be 2", w->rank);
    e->n = w->dim[p->trans_w ? 1 : 0];
    k = w->dim[p->trans_w ? 0 : 1];
    if (k != e->k)
        return tenon_why_set(why, TENON_E_SHAPE, "w has K = %lld: must be that of x, %lld", (long long)k,
                             (long long)e->k);
    if (e->m > EXTENT_MAX || e->n > EXTENT_MAX || e->k > EXTENT_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "M, N, K = %lld, %lld, %lld: must be below 2^31", (long long)e->m,
                             (long long)e->n, (long long)e->k);
    return TENON_OK;
}

static int32_t check_scale(const struct tenon_tensor *t, const struct extents *e, struct tenon_why *why)
{
    const struct tenon_tensor *w = &t[TENON_LINEAR_W], *scale = &t[TENON_LINEAR_W_SCALE];
    if (w->dtype != TENON_I8)
        return !scale->dtype ? TENON_OK
                             : tenon_why_set(why, TENON_E_DTYPE, "w_scale is given with w of type %s: only i8 has it",
                                             tenon_dtype_name(w->dtype));
    if (!scale->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "w of type i8 needs w_scale");
    if (scale->rank < 1 || scale->rank > 2 || scale->dim[0] != e->n)
        return tenon_why_set(why, TENON_E_SHAPE, "w_scale shape (rank %u, dim[0] %lld): must be [%lld] or [%lld,K/G]",
                             scale->rank, scale->rank ? (long long)scale->dim[0] : 0LL, (long long)e->n,
                             (long long)e->n);
    if (scale->rank == 1)
        return TENON_OK;
    int64_t groups = scale->dim[1];
    if (e->k == 0 ? groups != 0 : groups == 0 || e->k % groups != 0 || e->k / groups % GROUP != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "w_scale dim[1] = %lld: must be K/G of K = %lld, G a multiple of %d",
                             (long long)groups, (long long)e->k, GROUP);
    return TENON_OK;
}

/* y and residual: the leading axes of x (trans_x: M), then N. */
static int32_t check_like_y(const struct tenon_linear_params *p, uint32_t i, const struct tenon_tensor *t,
                            const struct extents *e, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_LINEAR_X], *y = &t[i];
    int64_t rows, cols;
    int fits = y->rank == x->rank && y->dim[y->rank - 1] == e->n;
    if (fits && p->trans_x)
        fits = y->dim[0] == e->m;
    else if (fits)
        fits = memcmp(y->dim, x->dim, (x->rank - 1) * sizeof x->dim[0]) == 0;
    if (!fits)
        return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, last axis %lld): must be %s, then N = %lld",
                             tensors[i].name, y->rank, y->rank ? (long long)y->dim[y->rank - 1] : 0LL,
                             p->trans_x ? "M" : "the leading axes of x", (long long)e->n);
    return tenon__shape_matrix(&tensors[i], y, &rows, &cols, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_linear_params *p = params;
    const struct tenon_tensor *x = &t[TENON_LINEAR_X], *y = &t[TENON_LINEAR_Y], *bias = &t[TENON_LINEAR_BIAS],
                              *residual = &t[TENON_LINEAR_RESIDUAL];
    struct extents e;
    int32_t status = find_extents(p, x, &t[TENON_LINEAR_W], &e, why);
    if (!status)
        status = check_scale(t, &e, why);
    if (status)
        return status;
    if (bias->dtype)
        status = tenon__shape_list(&tensors[TENON_LINEAR_BIAS], bias, e.n, why);
    if (status)
        return status;
    if (y->dtype != x->dtype && y->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s or f32", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(x->dtype));
    status = check_like_y(p, TENON_LINEAR_Y, t, &e, why);
    if (status || !residual->dtype)
        return status;
    if (residual->dtype != y->dtype && residual->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "residual type %s: must be %s or f32",
                             tenon_dtype_name(residual->dtype), tenon_dtype_name(y->dtype));
    return check_like_y(p, TENON_LINEAR_RESIDUAL, t, &e, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_linear_params *p = params;
    const struct tenon_tensor *x = &t[TENON_LINEAR_X], *w = &t[TENON_LINEAR_W];
    struct extents e;
    int64_t dim[TENON_MAX_RANK];
    if (index != TENON_LINEAR_Y)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of linear is not an output", index);
    if (!x->dtype || x->rank > TENON_MAX_RANK || !w->dtype)
        return tenon_why_set(why, TENON_E_SHAPE, "y has no shape without x and w");
    int32_t status = find_extents(p, x, w, &e, why);
    if (status)
        return status;
    memcpy(dim, x->dim, sizeof dim);
    if (p->trans_x)
        dim[0] = e.m;
    dim[x->rank - 1] = e.n;
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : x->dtype, x->rank, dim);
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == TENON_LINEAR_RESIDUAL && out == TENON_LINEAR_Y;
}

const struct tenon_op_contract tenon__linear_contract = {
    .op = TENON_OPNUM_linear,
    .name = "linear",
    .text = "y = act(x w^T + bias) + residual, in f32, f16, bf16 or with i8 weights",
    .source = "matrix product; activations in tenon/ops/act.h",
    .n_tensors = TENON_LINEAR_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_linear_params),
    .params_first = offsetof(struct tenon_linear_params, threshold) + sizeof(float),
    .n_tensors_first = TENON_LINEAR_Y + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
