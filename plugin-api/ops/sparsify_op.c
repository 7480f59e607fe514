/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of sparsify in code; in words it is tenon/ops/sparsify.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/sparsify.h>

#include "../contract.h"
#include "../shape.h"
#include "sparsify_op.h"

#define COLS_MAX INT32_MAX

static const struct tenon_tensor_spec tensors[] = {
    [TENON_SPARSIFY_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,cols]", "activations; a row is the last axis"},
    [TENON_SPARSIFY_T_ROW] = {"t_row", TENON_IN_OPT, TENON_T_F32, "[rows]", "the threshold of a row, instead of t"},
    [TENON_SPARSIFY_T_COL] = {"t_col", TENON_IN_OPT, TENON_T_F32, "[cols]", "the threshold of a column, instead of t"},
    [TENON_SPARSIFY_WGT] = {"wgt", TENON_IN_OPT, TENON_T_F32, "[cols]", "weight of a column in the score |x|*wgt"},
    [TENON_SPARSIFY_Y] = {"y", TENON_OUT_OPT, TENON_T_FLOAT, "as x", "what is kept, zeros elsewhere"},
    [TENON_SPARSIFY_NNZ] = {"nnz", TENON_OUT_OPT, TENON_T_I32, "[rows]", "how many entries of a row are kept"},
    [TENON_SPARSIFY_CIDX] = {"cidx", TENON_OUT_OPT, TENON_T_I32, "[rows,kmax]", "their columns, ascending; then -1"},
    [TENON_SPARSIFY_CVAL] = {"cval", TENON_OUT_OPT, TENON_T_FLOAT, "[rows,kmax]", "their values; then 0"},
    [TENON_SPARSIFY_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                              "rows with NaN or +Inf, empty, short of k, longer than kmax"},
};

static const char *const kinds[] = {"abs_gt",     "abs_ge", "gt",   "ge",         "relu",
                                    "shift_relu", "soft",   "topk", "batch_topk", "stat_topk", NULL};
static const char *const bys[] = {"value", "abs", NULL};
static const char *const keeps[] = {"shrink", "keep", NULL};

TENON_PARAMS_SIZE(tenon_sparsify_params, 36);
TENON_PARAMS_AT(tenon_sparsify_params, struct_size, 0);
TENON_PARAMS_AT(tenon_sparsify_params, kind, 4);
TENON_PARAMS_AT(tenon_sparsify_params, by, 8);
TENON_PARAMS_AT(tenon_sparsify_params, keep, 12);
TENON_PARAMS_AT(tenon_sparsify_params, ddof, 16);
TENON_PARAMS_AT(tenon_sparsify_params, k, 20);
TENON_PARAMS_AT(tenon_sparsify_params, t, 24);
TENON_PARAMS_AT(tenon_sparsify_params, tau, 28);
TENON_PARAMS_AT(tenon_sparsify_params, cap, 32);

#define AT(field) #field, .offset = offsetof(struct tenon_sparsify_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(kind),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SPARSIFY_STAT_TOPK,
     .names = kinds,
     .text = "which entries are kept, and as what"},
    {.name = AT(by),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SPARSIFY_BY_ABS,
     .names = bys,
     .text = "topk, batch_topk: best by x, or by |x|*wgt"},
    {.name = AT(keep),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SPARSIFY_KEEP,
     .names = keeps,
     .text = "stat_topk: x - theta is kept, or x"},
    {.name = AT(ddof), .type = TENON_ATTR_U32, .max = 1, .text = "stat_topk: std is over cols - ddof"},
    {.name = AT(k),
     .type = TENON_ATTR_I32,
     .min = INT32_MIN, /* a k that does not fit x is SHAPE, and so is a negative one */
     .max = INT32_MAX,
     .text = "topk, batch_topk, stat_topk: how many of a row, within [0, cols]"},
    {.name = AT(t),
     .type = TENON_ATTR_F32,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "abs_gt, abs_ge, gt, ge: threshold"},
    {.name = AT(tau), .type = TENON_ATTR_F32, .max = FLT_MAX, .text = "shift_relu, soft: threshold and shift"},
    {.name = AT(cap),
     .type = TENON_ATTR_F32,
     .def = FLT_MAX,
     .min = 0x1p-149,
     .max = FLT_MAX,
     .text = "shift_relu, soft: the largest magnitude; FLT_MAX is none"},
};

static const char *name_of(const struct tenon_tensor *t, uint32_t i)
{
    return t[i].dtype ? tensors[i].name : NULL;
}

static int32_t check_params(const struct tenon_sparsify_params *p, const struct tenon_tensor *t, int64_t cols,
                            struct tenon_why *why)
{
    const struct sparsifier_rule rule = tenon__sparsify_rule(p);
    const char *t_row = name_of(t, TENON_SPARSIFY_T_ROW), *t_col = name_of(t, TENON_SPARSIFY_T_COL);
    if (t_row && t_col)
        return tenon_why_set(why, TENON_E_ARG, "t_row and t_col are both given: at most one may be");
    return tenon__sparsifier_check(&rule, t_row ? t_row : t_col, name_of(t, TENON_SPARSIFY_WGT), cols, why);
}

static int32_t check_y(const struct tenon_tensor *x, const struct tenon_tensor *y, struct tenon_why *why)
{
    int64_t rows, cols;
    if (!y->dtype)
        return TENON_OK;
    if (y->dtype != x->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(x->dtype));
    int32_t status = tenon__shape_as_x(&tensors[TENON_SPARSIFY_Y], y, x, 0, why);
    return status ? status : tenon__shape_matrix(&tensors[TENON_SPARSIFY_Y], y, &rows, &cols, why);
}

/* cidx and cval: rows as x, any kmax, the same of both. */
static int32_t check_compact(const struct tenon_tensor *t, int64_t rows, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SPARSIFY_X];
    int64_t kmax = -1;
    for (uint32_t i = TENON_SPARSIFY_CIDX; i <= TENON_SPARSIFY_CVAL; i++) {
        int64_t own_rows, own_kmax;
        if (!t[i].dtype)
            continue;
        int32_t status = tenon__shape_matrix(&tensors[i], &t[i], &own_rows, &own_kmax, why);
        if (status)
            return status;
        const int as_x = t[i].rank == x->rank && memcmp(t[i].dim, x->dim, (x->rank - 1) * sizeof x->dim[0]) == 0;
        if (!as_x && !(t[i].rank == 2 && t[i].dim[0] == rows))
            return tenon_why_set(why, TENON_E_SHAPE,
                                 "%s shape (rank %u, %lld rows): must be [%lld,kmax], or as x but for kmax",
                                 tensors[i].name, t[i].rank, (long long)own_rows, (long long)rows);
        if (own_kmax > COLS_MAX)
            return tenon_why_set(why, TENON_E_SHAPE, "%s has kmax = %lld: must be below 2^31", tensors[i].name,
                                 (long long)own_kmax);
        if (kmax >= 0 && own_kmax != kmax)
            return tenon_why_set(why, TENON_E_SHAPE, "cval has kmax = %lld: must be that of cidx, %lld",
                                 (long long)own_kmax, (long long)kmax);
        kmax = own_kmax;
    }
    const uint32_t cval = t[TENON_SPARSIFY_CVAL].dtype;
    if (cval && cval != x->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "cval type %s: must be %s", tenon_dtype_name(cval),
                             tenon_dtype_name(x->dtype));
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_sparsify_params *p = params;
    const struct tenon_tensor *x = &t[TENON_SPARSIFY_X];
    int64_t rows, cols;
    int32_t status = tenon__shape_x(&tensors[TENON_SPARSIFY_X], x, &rows, &cols, why);
    if (!status)
        status = check_params(p, t, cols, why);
    for (uint32_t i = TENON_SPARSIFY_T_ROW; !status && i < TENON_SPARSIFY_N_TENSORS; i++)
        if (t[i].dtype && (i == TENON_SPARSIFY_T_ROW || i == TENON_SPARSIFY_NNZ))
            status = tenon__shape_per_row(&tensors[i], &t[i], x, rows, 0, why);
        else if (t[i].dtype && (i == TENON_SPARSIFY_T_COL || i == TENON_SPARSIFY_WGT || i == TENON_SPARSIFY_FLAGS))
            status = tenon__shape_list(&tensors[i], &t[i], i == TENON_SPARSIFY_FLAGS ? 4 : cols, why);
    if (!status)
        status = check_y(x, &t[TENON_SPARSIFY_Y], why);
    return status ? status : check_compact(t, rows, why);
}

/* kmax of cidx and cval that are not given yet: the other's, else k of TOPK, else cols. */
static int64_t kmax_of(const struct tenon_sparsify_params *p, const struct tenon_tensor *t)
{
    for (uint32_t i = TENON_SPARSIFY_CIDX; i <= TENON_SPARSIFY_CVAL; i++)
        if (t[i].dtype && t[i].rank > 0 && t[i].rank <= TENON_MAX_RANK)
            return t[i].dim[t[i].rank - 1];
    if (p->kind == TENON_SPARSIFY_TOPK && p->k >= 0)
        return p->k;
    return t[TENON_SPARSIFY_X].dim[t[TENON_SPARSIFY_X].rank - 1];
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SPARSIFY_X];
    int64_t dim[TENON_MAX_RANK];
    int32_t status = tenon__output_check(&tenon__sparsify_contract, index, TENON_SPARSIFY_Y, x, why);
    if (status)
        return status;
    const uint32_t wish = t[index].dtype;
    memcpy(dim, x->dim, sizeof dim);
    switch (index) {
    case TENON_SPARSIFY_Y:
        *out = tenon_tensor_make(wish ? wish : x->dtype, x->rank, dim);
        break;
    case TENON_SPARSIFY_NNZ:
        *out = tenon__output_per_row(wish ? wish : TENON_I32, x);
        break;
    case TENON_SPARSIFY_FLAGS:
        *out = tenon_tensor_make(wish ? wish : TENON_U32, 1, (int64_t[]){4});
        break;
    default:
        dim[x->rank - 1] = kmax_of(params, t);
        *out = tenon_tensor_make(wish ? wish : index == TENON_SPARSIFY_CIDX ? TENON_I32 : x->dtype, x->rank, dim);
    }
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == TENON_SPARSIFY_X && out == TENON_SPARSIFY_Y;
}

const struct tenon_op_contract tenon__sparsify_contract = {
    .op = TENON_OPNUM_sparsify,
    .name = "sparsify",
    .text = "thresholds and top-k on activations, dense or compact",
    .source = "TEAL 2024; CATS 2024; WINA 2025; ProSparse 2024; BatchTopK 2024; Spark Transformer 2025",
    .n_tensors = TENON_SPARSIFY_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_sparsify_params),
    .params_first = offsetof(struct tenon_sparsify_params, cap) + sizeof(float),
    .n_tensors_first = TENON_SPARSIFY_FLAGS + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
