/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "onednn.h"

#include <stdio.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>

/* A checked operator on its way to a primitive. */
struct request {
    dnnl_engine_t engine;
    const struct tenon_op_contract *contract;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    uint64_t params[32];
    struct tenon_plan *plan;
    struct tenon_why *why;
};

static int32_t no(struct request *r, const char *what)
{
    return tenon_why_set(r->why, TENON_E_UNSUPPORTED, "oneDNN peer: %s", what);
}

static dnnl_data_type_t type_of(uint32_t dtype)
{
    return dtype == TENON_F32 ? dnnl_f32 : dtype == TENON_BF16 ? dnnl_bf16 : dnnl_data_type_undef;
}

/* Appends tensor `index` as a matrix of rows x cols with strides in elements. */
static int32_t add(struct request *r, uint32_t index, int name, int64_t rows, int64_t cols, int64_t row_stride,
                   int64_t col_stride)
{
    const dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};
    struct tenon_plan *plan = r->plan;
    dnnl_data_type_t type = type_of(r->tensor[index].dtype);
    if (type == dnnl_data_type_undef)
        return no(r, "types are f32 and bf16");
    if (rows == 0 || cols == 0)
        return no(r, "empty tensors are ours alone");
    plan->arg[plan->n_args].tensor = index;
    plan->arg[plan->n_args].name = name;
    if (dnnl_memory_desc_init_by_strides(&plan->arg[plan->n_args].shape, 2, dims, type, strides))
        return no(r, "strides that it does not take");
    plan->bytes[index] = tenon_tensor_bytes(&r->tensor[index]);
    plan->n_args++;
    return TENON_OK;
}

/* The primitive of an operation descriptor, its scratchpad the caller's. */
static int32_t finish(struct request *r, const void *operation)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    const char *info = NULL;
    struct tenon_plan *plan = r->plan;
    int32_t status = TENON_OK;

    if (dnnl_primitive_attr_create(&attributes) ||
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user)) {
        status = tenon_why_set(r->why, TENON_E_NOMEM, "oneDNN: no memory");
        goto destroy;
    }
    if (dnnl_primitive_desc_create(&desc, operation, attributes, r->engine, NULL)) {
        status = no(r, "no primitive for these shapes and types");
        goto destroy;
    }
    plan->scratch_shape = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    plan->scratch = dnnl_memory_desc_get_size(&plan->scratch_shape);
    if (dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &info) || !info)
        info = "?";
    snprintf(plan->impl, sizeof plan->impl, "oneDNN %s", info);
    if (dnnl_primitive_create(&plan->primitive, desc))
        status = tenon_why_set(r->why, TENON_E_INTERNAL, "oneDNN: dnnl_primitive_create failed");
destroy:
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

/* ---- linear: a matmul ---- */

static int32_t plan_linear(struct request *r)
{
    const struct tenon_linear_params *params = (const void *)r->params;
    const struct tenon_tensor *w = &r->tensor[TENON_LINEAR_W], *bias = &r->tensor[TENON_LINEAR_BIAS];
    int64_t m, k, n, x_stride, y_stride;

    if (params->act != TENON_ACT_IDENTITY || params->trans_x || r->tensor[TENON_LINEAR_RESIDUAL].dtype ||
        r->tensor[TENON_LINEAR_W_SCALE].dtype)
        return no(r, "linear without activation, trans_x, residual and scales");
    if (tenon_tensor_rows(&r->tensor[TENON_LINEAR_X], &m, &x_stride, &k) ||
        tenon_tensor_rows(&r->tensor[TENON_LINEAR_Y], &m, &y_stride, &n))
        return no(r, "rows that do not fold");
    int32_t status = add(r, TENON_LINEAR_X, DNNL_ARG_SRC, m, k, x_stride, 1);
    if (!status)
        status = params->trans_w ? add(r, TENON_LINEAR_W, DNNL_ARG_WEIGHTS, k, n, w->stride[0], 1)
                                 : add(r, TENON_LINEAR_W, DNNL_ARG_WEIGHTS, k, n, 1, w->stride[0]);
    if (!status)
        status = add(r, TENON_LINEAR_Y, DNNL_ARG_DST, m, n, y_stride, 1);
    if (!status && bias->dtype)
        status = add(r, TENON_LINEAR_BIAS, DNNL_ARG_BIAS, 1, n, n, 1);
    if (status)
        return status;
    dnnl_matmul_desc_t operation;
    const struct tenon_plan *plan = r->plan;
    if (dnnl_matmul_desc_init(&operation, &plan->arg[0].shape, &plan->arg[1].shape,
                              bias->dtype ? &plan->arg[3].shape : NULL, &plan->arg[2].shape))
        return no(r, "no matmul for these shapes and types");
    return finish(r, &operation);
}

/* ---- softmax ---- */

static int32_t plan_softmax(struct request *r)
{
    const struct tenon_softmax_params *params = (const void *)r->params;
    int64_t rows, cols, x_stride, y_stride;

    for (uint32_t i = 0; i < TENON_SOFTMAX_N_TENSORS; i++)
        if (i != TENON_SOFTMAX_X && i != TENON_SOFTMAX_Y && r->tensor[i].dtype)
            return no(r, "softmax of x to y alone");
    if (!r->tensor[TENON_SOFTMAX_Y].dtype || params->algo != TENON_SOFTMAX_AUTO || params->scale != 1 ||
        params->inv_temp != 1 || params->empty_row != TENON_SOFTMAX_EMPTY_ZERO)
        return no(r, "softmax without scale, temperature, a choice of algorithm and empty rows");
    if (tenon_tensor_rows(&r->tensor[TENON_SOFTMAX_X], &rows, &x_stride, &cols) ||
        tenon_tensor_rows(&r->tensor[TENON_SOFTMAX_Y], &rows, &y_stride, &cols))
        return no(r, "rows that do not fold");
    int32_t status = add(r, TENON_SOFTMAX_X, DNNL_ARG_SRC, rows, cols, x_stride, 1);
    if (!status)
        status = add(r, TENON_SOFTMAX_Y, DNNL_ARG_DST, rows, cols, y_stride, 1);
    if (status)
        return status;
    dnnl_softmax_v2_desc_t operation;
    if (dnnl_softmax_v2_forward_desc_init(&operation, dnnl_forward_inference,
                                          params->kind == TENON_SOFTMAX_EXP ? dnnl_softmax_accurate : dnnl_softmax_log,
                                          &r->plan->arg[0].shape, &r->plan->arg[1].shape, 1))
        return no(r, "no softmax for these shapes and types");
    return finish(r, &operation);
}

int32_t tenon__onednn_plan(dnnl_engine_t engine, const struct tenon_op_desc *desc, struct tenon_plan *plan,
                           struct tenon_why *why)
{
    struct request r = {.engine = engine, .plan = plan, .why = why};
    int32_t status = tenon_op_check(desc, &r.contract, r.params, sizeof r.params, why);
    if (status)
        return status;
    tenon_op_tensors(desc, r.contract, r.tensor);
    plan->n_tensors = desc->n_tensors;
    switch (r.contract->op) {
    case TENON_OPNUM_linear:
        return plan_linear(&r);
    case TENON_OPNUM_softmax:
        return plan_softmax(&r);
    default:
        return no(&r, "linear and softmax only");
    }
}
