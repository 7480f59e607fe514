/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of softmax in code; in words it is tenon/ops/softmax.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/softmax.h>

#include "../contract.h"

#define COLS_MAX INT32_MAX
#define ROWS_MAX UINT32_MAX

static const struct tenon_tensor_spec tensors[] = {
    [TENON_SOFTMAX_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,cols]", "logits; a row is the last axis"},
    [TENON_SOFTMAX_BIAS] = {"bias", TENON_IN_OPT, TENON_T_F32, "as x, or [cols]", "added to the scaled logits"},
    [TENON_SOFTMAX_MASK] = {"mask", TENON_IN_OPT, TENON_T_U8, "as x, or [cols]", "0: the entry does not exist"},
    [TENON_SOFTMAX_VALID_LEN] = {"valid_len", TENON_IN_OPT, TENON_T_I32, "[rows]", "entries from here on do not exist"},
    [TENON_SOFTMAX_ROW_SCALE] = {"row_scale", TENON_IN_OPT, TENON_T_F32, "[rows]", "inverse temperature of a row"},
    [TENON_SOFTMAX_SINK] = {"sink", TENON_IN_OPT, TENON_T_F32, "[rows] or [1]", "an extra logit without output"},
    [TENON_SOFTMAX_Y] = {"y", TENON_OUT_OPT, TENON_T_FLOAT, "as x", "probabilities (kind exp) or their logarithms"},
    [TENON_SOFTMAX_MAX] = {"max", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest logit after scale and bias"},
    [TENON_SOFTMAX_ARGMAX] = {"argmax", TENON_OUT_OPT, TENON_T_I32, "[rows]", "smallest index of the largest logit"},
    [TENON_SOFTMAX_LSE] = {"lse", TENON_OUT_OPT, TENON_T_F32, "[rows]", "logarithm of the sum of exponentials"},
    [TENON_SOFTMAX_PMAX] = {"pmax", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest probability"},
    [TENON_SOFTMAX_MARGIN] = {"margin", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest minus second probability"},
    [TENON_SOFTMAX_ENTROPY] = {"entropy", TENON_OUT_OPT, TENON_T_F32, "[rows]", "Shannon entropy in nats"},
    [TENON_SOFTMAX_ENERGY] = {"energy", TENON_OUT_OPT, TENON_T_F32, "[rows]", "free energy: -lse/T"},
};

static const char *const kinds[] = {"exp", "log_exp", NULL};
static const char *const algos[] = {
    "auto", "three_pass_recompute", "three_pass_reload", "two_pass_ext", "online", "fixed_max", NULL};
static const char *const empty_rows[] = {"zero", "nan", "uniform", NULL};

TENON_PARAMS_SIZE(tenon_softmax_params, 32);
TENON_PARAMS_AT(tenon_softmax_params, struct_size, 0);
TENON_PARAMS_AT(tenon_softmax_params, kind, 4);
TENON_PARAMS_AT(tenon_softmax_params, algo, 8);
TENON_PARAMS_AT(tenon_softmax_params, empty_row, 12);
TENON_PARAMS_AT(tenon_softmax_params, scale, 16);
TENON_PARAMS_AT(tenon_softmax_params, inv_temp, 20);
TENON_PARAMS_AT(tenon_softmax_params, phi, 24);
TENON_PARAMS_AT(tenon_softmax_params, win, 28);

#define AT(field) #field, .offset = offsetof(struct tenon_softmax_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(kind),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SOFTMAX_LOG_EXP,
     .names = kinds,
     .text = "softmax or its logarithm"},
    {.name = AT(algo),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SOFTMAX_FIXED_MAX,
     .names = algos,
     .text = "same result within tolerance, different traffic"},
    {.name = AT(empty_row),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SOFTMAX_EMPTY_UNIFORM,
     .names = empty_rows,
     .text = "y of a row with nothing above -Inf"},
    {.name = AT(scale),
     .type = TENON_ATTR_F32,
     .def = 1,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "factor on the logits, before the bias"},
    {.name = AT(inv_temp),
     .type = TENON_ATTR_F32,
     .def = 1,
     .min = 0,
     .max = FLT_MAX,
     .text = "inverse temperature; 0 is uniform"},
    {.name = AT(phi),
     .type = TENON_ATTR_F32,
     .def = 0,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "fixed_max only: the maximum that is assumed"},
    {.name = AT(win),
     .type = TENON_ATTR_F32,
     .def = 60,
     .min = FLT_MIN,
     .max = 60,
     .text = "fixed_max only: rows whose maximum is further from phi are redone online"},
};

static int is_per_row(uint32_t i)
{
    return (i >= TENON_SOFTMAX_VALID_LEN && i <= TENON_SOFTMAX_SINK) ||
           (i >= TENON_SOFTMAX_MAX && i < TENON_SOFTMAX_N_TENSORS);
}

static int same_shape(const struct tenon_tensor *a, const struct tenon_tensor *b)
{
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof a->dim[0]) == 0;
}

/* bias and mask: any leading strides, 0 included; a backend that wants one row stride asks tenon_tensor_rows. */
static int32_t check_as_x(const struct tenon_tensor *x, uint32_t i, const struct tenon_tensor *t, int or_cols,
                          struct tenon_why *why)
{
    if (same_shape(x, t) || (or_cols && t->rank == 1 && t->dim[0] == x->dim[x->rank - 1]))
        return TENON_OK;
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, last axis %lld): must be that of x%s", tensors[i].name,
                         t->rank, t->rank ? (long long)t->dim[t->rank - 1] : 0LL, or_cols ? ", or [cols]" : "");
}

static int32_t check_per_row(const struct tenon_tensor *x, int64_t rows, uint32_t i, const struct tenon_tensor *t,
                             struct tenon_why *why)
{
    int fits = t->rank == 1 && (t->dim[0] == rows || (i == TENON_SOFTMAX_SINK && t->dim[0] == 1));
    if (t->rank == x->rank - 1)
        fits |= memcmp(t->dim, x->dim, t->rank * sizeof t->dim[0]) == 0;
    if (!fits)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "%s shape (rank %u, %lld elements): must be [%lld], or the leading axes of x%s",
                             tensors[i].name, t->rank, (long long)tenon_tensor_count(t), (long long)rows,
                             i == TENON_SOFTMAX_SINK ? ", or [1]" : "");
    if (!tenon_tensor_is_contiguous(t))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

static int32_t check_matrix(uint32_t i, const struct tenon_tensor *t, int64_t *rows, int64_t *cols,
                            struct tenon_why *why)
{
    int64_t row_stride;
    int32_t status = tenon_tensor_rows(t, rows, &row_stride, cols);
    if (status == TENON_E_SHAPE)
        return tenon_why_set(why, status, "%s rank 0: must be within [1, %d]", tensors[i].name, TENON_MAX_RANK);
    if (status)
        return tenon_why_set(why, status, "%s strides: the leading axes must fold into rows with one stride",
                             tensors[i].name);
    return TENON_OK;
}

static int32_t check_params(const struct tenon_softmax_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    if (t[TENON_SOFTMAX_MASK].dtype && t[TENON_SOFTMAX_VALID_LEN].dtype)
        return tenon_why_set(why, TENON_E_ARG, "mask and valid_len are both given: at most one may be");
    if (p->algo != TENON_SOFTMAX_TWO_PASS_EXT)
        return TENON_OK;
    if (p->scale != 1.0f)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "scale = %.9g: algo two_pass_ext needs 1", (double)p->scale);
    if (p->inv_temp != 1.0f)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "inv_temp = %.9g: algo two_pass_ext needs 1",
                             (double)p->inv_temp);
    if (t[TENON_SOFTMAX_BIAS].dtype || t[TENON_SOFTMAX_ROW_SCALE].dtype)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s is given: algo two_pass_ext works without",
                             t[TENON_SOFTMAX_BIAS].dtype ? "bias" : "row_scale");
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_X], *y = &t[TENON_SOFTMAX_Y];
    int64_t rows, cols, y_rows, y_cols;
    int32_t status = check_params(params, t, why);
    if (!status)
        status = check_matrix(TENON_SOFTMAX_X, x, &rows, &cols, why);
    if (status)
        return status;
    if (cols > COLS_MAX || rows > ROWS_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "x has %lld rows and %lld cols: must be below 2^32 and 2^31",
                             (long long)rows, (long long)cols);
    for (uint32_t i = 1; !status && i < TENON_SOFTMAX_N_TENSORS; i++) {
        if (!t[i].dtype)
            continue;
        if (is_per_row(i))
            status = check_per_row(x, rows, i, &t[i], why);
        else
            status = check_as_x(x, i, &t[i], i != TENON_SOFTMAX_Y, why);
    }
    if (status || !y->dtype)
        return status;
    if (y->dtype != x->dtype && y->dtype != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s or f32", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(x->dtype));
    return check_matrix(TENON_SOFTMAX_Y, y, &y_rows, &y_cols, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_X];
    (void)params;
    if (index < TENON_SOFTMAX_Y || index >= TENON_SOFTMAX_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of softmax is not an output", index);
    if (!x->dtype || x->rank < 1 || x->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "x rank %u: must be within [1, %d]", x->rank, TENON_MAX_RANK);
    uint32_t wish = t[index].dtype;
    if (index == TENON_SOFTMAX_Y) {
        *out = tenon_tensor_make(wish ? wish : x->dtype, x->rank, x->dim);
        return TENON_OK;
    }
    static const int64_t one[] = {1};
    uint32_t dtype = wish ? wish : index == TENON_SOFTMAX_ARGMAX ? TENON_I32 : TENON_F32;
    *out = x->rank > 1 ? tenon_tensor_make(dtype, x->rank - 1, x->dim) : tenon_tensor_make(dtype, 1, one);
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == TENON_SOFTMAX_X && out == TENON_SOFTMAX_Y;
}

const struct tenon_op_contract tenon__softmax_contract = {
    .op = TENON_OPNUM_softmax,
    .name = "softmax",
    .text = "row softmax with a logit pipeline, five algorithms and row statistics",
    .source = "Dukhan and Ablavatski 2020; Milakov and Gimelshein 2018; Hong et al. 2023; Xiao et al. 2023",
    .n_tensors = TENON_SOFTMAX_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_softmax_params),
    .params_first = offsetof(struct tenon_softmax_params, win) + sizeof(float),
    .n_tensors_first = TENON_SOFTMAX_ENERGY + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
