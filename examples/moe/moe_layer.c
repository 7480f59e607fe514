/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "moe.h"

#include <stdlib.h>
#include <tenon/ops/moe_combine.h>
#include <tenon/ops/moe_dispatch.h>
#include <tenon/ops/moe_ffn.h>
#include <tenon/ops/moe_logits.h>
#include <tenon/ops/moe_route.h>

enum {
    X,
    ROUTER,
    GATE,
    UP,
    DOWN,
    GATE_SCALE,
    UP_SCALE,
    DOWN_SCALE, /* given */
    LOGITS,
    IDX,
    WEIGHT,
    COUNTS,
    KEPT,
    OFFSETS,
    SRC,
    POS,
    EXPERT_Y, /* made */
    Y,
    N_ARRAYS
};

struct moe_layer {
    struct tenon_context *context;
    struct moe_shape shape;
    struct tenon_memory *memory[N_ARRAYS];
    struct tenon_value value[N_ARRAYS];
};

/* The type and shape of each array. */
static void describe(const struct moe_layer *layer, int array, uint32_t *type, uint32_t *rank, int64_t dim[3])
{
    const struct moe_shape *s = &layer->shape;
    const uint32_t x = moe_x_type(s);
    const int64_t t = s->tokens, e = s->experts, k = s->top_k, d = s->width, f = s->hidden;
    const struct {
        uint32_t type, rank;
        int64_t dim[3];
    } table[N_ARRAYS] = {
        [X] = {x, 2, {t, d}},
        [ROUTER] = {x, 2, {e, d}},
        [GATE] = {s->type, 3, {e, f, d}},
        [UP] = {s->type, 3, {e, f, d}},
        [DOWN] = {s->type, 3, {e, d, f}},
        [GATE_SCALE] = {TENON_F32, 3, {e, f, d / moe_group(d)}},
        [UP_SCALE] = {TENON_F32, 3, {e, f, d / moe_group(d)}},
        [DOWN_SCALE] = {TENON_F32, 3, {e, d, f / moe_group(f)}},
        [LOGITS] = {TENON_F32, 2, {t, e}},
        [IDX] = {TENON_I32, 2, {t, k}},
        [WEIGHT] = {TENON_F32, 2, {t, k}},
        [COUNTS] = {TENON_I32, 1, {e}},
        [KEPT] = {TENON_I32, 1, {e}},
        [OFFSETS] = {TENON_I32, 1, {e + 1}},
        [SRC] = {TENON_I32, 1, {t * k}},
        [POS] = {TENON_I32, 2, {t, k}},
        [EXPERT_Y] = {x, 2, {t * k, d}},
        [Y] = {x, 2, {t, d}},
    };
    *type = table[array].type;
    *rank = table[array].rank;
    for (int i = 0; i < 3; i++)
        dim[i] = table[array].dim[i];
}

int32_t moe_layer_create(struct tenon_context *context, const struct moe_data *data, struct moe_layer **out)
{
    struct moe_layer *layer = calloc(1, sizeof *layer);
    const void *const given[N_ARRAYS] = {[ROUTER] = data->router,
                                         [GATE] = data->gate,
                                         [UP] = data->up,
                                         [DOWN] = data->down,
                                         [GATE_SCALE] = data->gate_scale,
                                         [UP_SCALE] = data->up_scale,
                                         [DOWN_SCALE] = data->down_scale};
    if (!layer)
        return TENON_E_NOMEM;
    *layer = (struct moe_layer){.context = context, .shape = data->shape};
    int32_t status = TENON_OK;
    for (int i = 0; i < N_ARRAYS && !status; i++) {
        uint32_t type, rank;
        int64_t dim[3];
        if (i >= GATE_SCALE && i <= DOWN_SCALE && !given[i])
            continue;
        describe(layer, i, &type, &rank, dim);
        uint64_t size = type == TENON_I32 ? 4 : moe_type_size(type);
        for (uint32_t r = 0; r < rank; r++)
            size *= (uint64_t)dim[r];
        status = tenon_memory_create(context, i == X ? size * (uint64_t)data->shape.batches : size, &layer->memory[i]);
        if (!status)
            layer->value[i] = tenon_value_memory(layer->memory[i], 0, type, rank, dim);
        if (!status && given[i])
            status = tenon_memory_write(layer->memory[i], 0, given[i], size);
    }
    if (status) {
        moe_layer_destroy(layer);
        return status;
    }
    *out = layer;
    return TENON_OK;
}

void moe_layer_destroy(struct moe_layer *layer)
{
    for (int i = 0; layer && i < N_ARRAYS; i++)
        tenon_memory_destroy(layer->memory[i]);
    free(layer);
}

static uint64_t batch_size(const struct moe_layer *layer)
{
    return (uint64_t)(layer->shape.tokens * layer->shape.width) * moe_type_size(moe_x_type(&layer->shape));
}

int32_t moe_layer_load(struct moe_layer *layer, int64_t batch, const void *x)
{
    return tenon_memory_write(layer->memory[X], (uint64_t)batch * batch_size(layer), x, batch_size(layer));
}

static int32_t run_logits(struct moe_layer *layer)
{
    struct tenon_value v[TENON_MOE_LOGITS_N_TENSORS] = {0};
    v[TENON_MOE_LOGITS_X] = layer->value[X];
    v[TENON_MOE_LOGITS_W] = layer->value[ROUTER];
    v[TENON_MOE_LOGITS_Z] = layer->value[LOGITS];
    return tenon_run(layer->context, TENON_OPNUM_moe_logits, NULL, v, TENON_MOE_LOGITS_N_TENSORS);
}

/* The k largest logits; weights are the softmax over them. */
static int32_t run_route(struct moe_layer *layer)
{
    struct tenon_moe_route_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_route), &params);
    params.k = (uint32_t)layer->shape.top_k;
    params.norm = TENON_MOE_ROUTE_NORM_SOFTMAX_SEL;
    struct tenon_value v[TENON_MOE_ROUTE_N_TENSORS] = {0};
    v[TENON_MOE_ROUTE_LOGITS] = layer->value[LOGITS];
    v[TENON_MOE_ROUTE_IDX] = layer->value[IDX];
    v[TENON_MOE_ROUTE_W] = layer->value[WEIGHT];
    return tenon_run(layer->context, TENON_OPNUM_moe_route, &params, v, TENON_MOE_ROUTE_N_TENSORS);
}

static int32_t run_dispatch(struct moe_layer *layer)
{
    struct tenon_moe_dispatch_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_dispatch), &params);
    params.experts = (int32_t)layer->shape.experts;
    struct tenon_value v[TENON_MOE_DISPATCH_N_TENSORS] = {0};
    v[TENON_MOE_DISPATCH_IDX] = layer->value[IDX];
    v[TENON_MOE_DISPATCH_W] = layer->value[WEIGHT];
    v[TENON_MOE_DISPATCH_COUNTS] = layer->value[COUNTS];
    v[TENON_MOE_DISPATCH_KEPT] = layer->value[KEPT];
    v[TENON_MOE_DISPATCH_OFFSETS] = layer->value[OFFSETS];
    v[TENON_MOE_DISPATCH_SRC] = layer->value[SRC];
    v[TENON_MOE_DISPATCH_POS] = layer->value[POS];
    return tenon_run(layer->context, TENON_OPNUM_moe_dispatch, &params, v, TENON_MOE_DISPATCH_N_TENSORS);
}

/* SwiGLU experts over rows that are gathered through src: no copy of x is made. */
static int32_t run_experts(struct moe_layer *layer)
{
    struct tenon_moe_ffn_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_ffn), &params);
    params.glu = TENON_MOE_FFN_GLU2;
    params.act = TENON_ACT_SILU;
    params.top_k = (uint32_t)layer->shape.top_k;
    struct tenon_value v[TENON_MOE_FFN_N_TENSORS] = {0};
    v[TENON_MOE_FFN_X] = layer->value[X];
    v[TENON_MOE_FFN_SRC] = layer->value[SRC];
    v[TENON_MOE_FFN_OFFSETS] = layer->value[OFFSETS];
    v[TENON_MOE_FFN_WG] = layer->value[GATE];
    v[TENON_MOE_FFN_WU] = layer->value[UP];
    v[TENON_MOE_FFN_WD] = layer->value[DOWN];
    v[TENON_MOE_FFN_WG_SCALE] = layer->value[GATE_SCALE];
    v[TENON_MOE_FFN_WU_SCALE] = layer->value[UP_SCALE];
    v[TENON_MOE_FFN_WD_SCALE] = layer->value[DOWN_SCALE];
    v[TENON_MOE_FFN_Z] = layer->value[EXPERT_Y];
    return tenon_run(layer->context, TENON_OPNUM_moe_ffn, &params, v, TENON_MOE_FFN_N_TENSORS);
}

static int32_t run_combine(struct moe_layer *layer)
{
    struct tenon_value v[TENON_MOE_COMBINE_N_TENSORS] = {0};
    v[TENON_MOE_COMBINE_ZP] = layer->value[EXPERT_Y];
    v[TENON_MOE_COMBINE_POS] = layer->value[POS];
    v[TENON_MOE_COMBINE_W] = layer->value[WEIGHT];
    v[TENON_MOE_COMBINE_Y] = layer->value[Y];
    return tenon_run(layer->context, TENON_OPNUM_moe_combine, NULL, v, TENON_MOE_COMBINE_N_TENSORS);
}

int32_t moe_layer_forward(struct moe_layer *layer, int64_t batch)
{
    layer->value[X].offset = (uint64_t)batch * batch_size(layer);
    int32_t (*const step[])(struct moe_layer *) = {run_logits, run_route, run_dispatch, run_experts, run_combine};
    int32_t status = TENON_OK;
    for (size_t i = 0; i < sizeof step / sizeof step[0] && !status; i++)
        status = step[i](layer);
    return status;
}

int32_t moe_layer_read(struct moe_layer *layer, void *y, int32_t *idx, int32_t *counts)
{
    const struct moe_shape *s = &layer->shape;
    const uint64_t pairs = (uint64_t)(s->tokens * s->top_k);
    int32_t status = TENON_OK;
    if (y)
        status = tenon_memory_read(layer->memory[Y], 0, y, batch_size(layer));
    if (!status && idx)
        status = tenon_memory_read(layer->memory[IDX], 0, idx, pairs * sizeof *idx);
    if (!status && counts)
        status = tenon_memory_read(layer->memory[COUNTS], 0, counts, (uint64_t)s->experts * sizeof *counts);
    return status;
}
