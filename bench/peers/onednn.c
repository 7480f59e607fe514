/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The oneDNN peer: linear as a matmul, softmax. Its threads are OpenMP's, as many as OMP_NUM_THREADS says. */
#include "peer.h"

#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>

#define MAX_ARGS 4

/* Of a plan. */
struct own {
    dnnl_primitive_t primitive;
    uint32_t n_args;
    struct {
        uint32_t tensor; /* index in the operator's list */
        int name;        /* DNNL_ARG_... */
        dnnl_memory_desc_t shape;
    } arg[MAX_ARGS];
    dnnl_memory_desc_t scratch_shape;
};

#define no tenon__peer_no

static dnnl_data_type_t type_of(uint32_t dtype)
{
    return dtype == TENON_F32 ? dnnl_f32 : dtype == TENON_BF16 ? dnnl_bf16 : dnnl_data_type_undef;
}

/* Appends tensor `index` as a matrix of rows x cols with strides in elements. */
static int32_t add(struct peer_request *r, uint32_t index, int name, int64_t rows, int64_t cols, int64_t row_stride,
                   int64_t col_stride)
{
    const dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};
    struct own *own = r->plan->own;
    dnnl_data_type_t type = type_of(r->tensor[index].dtype);
    if (type == dnnl_data_type_undef)
        return no(r, "types are f32 and bf16");
    if (rows == 0 || cols == 0)
        return no(r, "empty tensors are ours alone");
    own->arg[own->n_args].tensor = index;
    own->arg[own->n_args].name = name;
    if (dnnl_memory_desc_init_by_strides(&own->arg[own->n_args].shape, 2, dims, type, strides))
        return no(r, "strides that it does not take");
    r->plan->bytes[index] = tenon_tensor_bytes(&r->tensor[index]);
    own->n_args++;
    return TENON_OK;
}

/* The primitive of an operation descriptor, its scratchpad the caller's. */
static int32_t finish(struct peer_request *r, const void *operation)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t desc = NULL;
    const char *info = NULL;
    struct tenon_plan *plan = r->plan;
    struct own *own = plan->own;
    int32_t status = TENON_OK;

    if (dnnl_primitive_attr_create(&attributes) ||
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user)) {
        status = tenon_why_set(r->why, TENON_E_NOMEM, "oneDNN: no memory");
        goto destroy;
    }
    if (dnnl_primitive_desc_create(&desc, operation, attributes, r->device, NULL)) {
        status = no(r, "no primitive for these shapes and types");
        goto destroy;
    }
    own->scratch_shape = *dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0);
    plan->scratch = dnnl_memory_desc_get_size(&own->scratch_shape);
    if (dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &info) || !info)
        info = "?";
    snprintf(plan->impl, sizeof plan->impl, "oneDNN %s", info);
    if (dnnl_primitive_create(&own->primitive, desc))
        status = tenon_why_set(r->why, TENON_E_INTERNAL, "oneDNN: dnnl_primitive_create failed");
destroy:
    dnnl_primitive_desc_destroy(desc);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

/* ---- linear: a matmul ---- */

static int32_t plan_linear(struct peer_request *r)
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
    const struct own *own = r->plan->own;
    if (dnnl_matmul_desc_init(&operation, &own->arg[0].shape, &own->arg[1].shape,
                              bias->dtype ? &own->arg[3].shape : NULL, &own->arg[2].shape))
        return no(r, "no matmul for these shapes and types");
    return finish(r, &operation);
}

/* ---- softmax ---- */

static int32_t plan_softmax(struct peer_request *r)
{
    struct peer_softmax s;
    int32_t status = tenon__peer_softmax(r, &s);
    if (!status && s.kind != TENON_SOFTMAX_EXP && s.kind != TENON_SOFTMAX_LOG_EXP)
        status = no(r, "kinds are exp and log_exp");
    if (!status)
        status = add(r, TENON_SOFTMAX_X, DNNL_ARG_SRC, s.rows, s.cols, s.x_stride, 1);
    if (!status)
        status = add(r, TENON_SOFTMAX_Y, DNNL_ARG_DST, s.rows, s.cols, s.y_stride, 1);
    if (status)
        return status;
    const struct own *own = r->plan->own;
    dnnl_softmax_v2_desc_t operation;
    if (dnnl_softmax_v2_forward_desc_init(&operation, dnnl_forward_inference,
                                          s.kind == TENON_SOFTMAX_EXP ? dnnl_softmax_accurate : dnnl_softmax_log,
                                          &own->arg[0].shape, &own->arg[1].shape, 1))
        return no(r, "no softmax for these shapes and types");
    return finish(r, &operation);
}

static int32_t make_plan(struct peer_request *r)
{
    r->plan->own = tenon__peer_host->alloc(tenon__peer_host, sizeof(struct own), 64);
    if (!r->plan->own)
        return tenon_why_set(r->why, TENON_E_NOMEM, "oneDNN: no memory");
    memset(r->plan->own, 0, sizeof(struct own));
    switch (r->contract->op) {
    case TENON_OPNUM_linear:
        return plan_linear(r);
    case TENON_OPNUM_softmax:
        return plan_softmax(r);
    default:
        return no(r, "linear and softmax only");
    }
}

static void plan_close(struct tenon_plan *plan)
{
    struct own *own = plan->own;
    if (own && own->primitive)
        dnnl_primitive_destroy(own->primitive);
    tenon__peer_host->free(tenon__peer_host, own);
}

/* ---- running ---- */

static int run(const struct tenon_plan *plan, void *device, void *queue, unsigned char *const *tensor,
               unsigned char *scratch)
{
    const struct own *own = plan->own;
    dnnl_exec_arg_t args[MAX_ARGS + 1];
    int n = 0;
    dnnl_status_t error = dnnl_success;

    for (uint32_t i = 0; i <= own->n_args && !error; i++) {
        const int last = i == own->n_args; /* the scratchpad */
        if (last && !scratch)
            continue;
        args[n].arg = last ? DNNL_ARG_SCRATCHPAD : own->arg[i].name;
        error = dnnl_memory_create(&args[n].memory, last ? &own->scratch_shape : &own->arg[i].shape, device,
                                   last ? scratch : tensor[own->arg[i].tensor]);
        n += !error;
    }
    if (!error)
        error = dnnl_primitive_execute(own->primitive, queue, n, args);
    if (!error)
        error = dnnl_stream_wait(queue);
    while (n)
        dnnl_memory_destroy(args[--n].memory);
    return error != dnnl_success;
}

/* ---- the library ---- */

static void driver(char *text, size_t room)
{
    const dnnl_version_t *version = dnnl_version();
    snprintf(text, room, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
}

static int32_t device_open(void **own, struct tenon_why *why)
{
    dnnl_engine_t engine;
    if (dnnl_engine_create(&engine, dnnl_cpu, 0))
        return tenon_why_set(why, TENON_E_NODEVICE, "oneDNN has no CPU engine");
    *own = engine;
    return TENON_OK;
}

static void device_close(void *own)
{
    dnnl_engine_destroy(own);
}

static int32_t queue_open(void *device, void **own, struct tenon_why *why)
{
    dnnl_stream_t stream;
    if (dnnl_stream_create(&stream, device, dnnl_stream_default_flags))
        return tenon_why_set(why, TENON_E_NOMEM, "oneDNN has no stream");
    *own = stream;
    return TENON_OK;
}

static void queue_close(void *own)
{
    dnnl_stream_destroy(own);
}

const struct peer tenon__peer = {
    .id = "onednn",
    .name = "oneDNN",
    .driver = driver,
    .device_open = device_open,
    .device_close = device_close,
    .queue_open = queue_open,
    .queue_close = queue_close,
    .plan = make_plan,
    .plan_close = plan_close,
    .run = run,
};
