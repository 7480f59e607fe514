/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One operator on values in device memory, in host memory, or both. */
#include "host.h"

#include <string.h>

struct tenon_value tenon_value_host(const void *data, uint32_t dtype, uint32_t rank, const int64_t *dim)
{
    return (struct tenon_value){.tensor = tenon_tensor_make(dtype, rank, dim), .host = (void *)(uintptr_t)data};
}

struct tenon_value tenon_value_memory(struct tenon_memory *memory, uint64_t offset, uint32_t dtype, uint32_t rank,
                                      const int64_t *dim)
{
    return (struct tenon_value){.tensor = tenon_tensor_make(dtype, rank, dim), .memory = memory, .offset = offset};
}

static const char *name_of(const struct tenon__plan *plan, uint32_t i)
{
    return i < plan->contract->n_tensors ? plan->contract->tensors[i].name : "?";
}

static int32_t locate_memory(const struct tenon_context *context, const struct tenon__plan *plan,
                             const struct tenon_value *value, uint32_t i, struct tenon__places *places)
{
    struct tenon_memory *memory = value->memory;
    const char *op = plan->contract->name, *name = name_of(plan, i);
    if (memory->context != context)
        return tenon__fail(TENON_E_INVALID, "%s: %s is in memory of another context", op, name);
    if (value->offset > memory->size || plan->bytes[i] > memory->size - value->offset)
        return tenon__fail(TENON_E_INVALID, "%s: %s needs %llu bytes from byte %llu, its memory has %llu", op, name,
                           (unsigned long long)plan->bytes[i], (unsigned long long)value->offset,
                           (unsigned long long)memory->size);
    if (value->offset & (context->info.bind_align - 1))
        return tenon__fail(TENON_E_INVALID, "%s: %s: offset %llu is not a multiple of %u, the device's bind_align", op,
                           name, (unsigned long long)value->offset, context->info.bind_align);
    places->bind[i] = (struct tenon_bind){memory->buffer, value->offset};
    places->range[i][0] = memory->base + value->offset;
    places->memory[i] = memory;
    return TENON_OK;
}

static int32_t locate(struct tenon_context *context, const struct tenon__plan *plan, const struct tenon_value *values,
                      struct tenon__places *places)
{
    int32_t status = TENON_OK;
    for (uint32_t left = plan->present; left && !status; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        const struct tenon_value *value = &values[i];
        if (value->host && value->memory)
            return tenon__fail(TENON_E_INVALID, "%s: %s is in host memory and in device memory", plan->contract->name,
                               name_of(plan, i));
        if (!plan->bytes[i]) { /* nothing to bind, but a present tensor names a buffer */
            status = tenon__context_empty(context);
            places->bind[i] = (struct tenon_bind){context->empty, 0};
            continue;
        }
        if (value->memory) {
            status = locate_memory(context, plan, value, i, places);
        } else if (value->host) {
            places->host |= 1u << i;
            places->range[i][0] = (uint64_t)(uintptr_t)value->host;
        } else {
            return tenon__fail(TENON_E_INVALID, "%s: %s has neither host nor device memory", plan->contract->name,
                               name_of(plan, i));
        }
        places->range[i][1] = places->range[i][0] + plan->bytes[i];
    }
    return status;
}

/* Almost always nothing overlaps, which a few comparisons show; else the operator's rule decides. */
static int32_t check_alias(const struct tenon__plan *plan, const struct tenon__places *places)
{
    for (uint32_t outs = plan->outputs; outs; outs &= outs - 1) {
        uint32_t o = (uint32_t)__builtin_ctz(outs);
        for (uint32_t left = plan->present & ~(1u << o); left; left &= left - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(left);
            if (places->range[i][0] >= places->range[o][1] || places->range[o][0] >= places->range[i][1])
                continue;
            struct tenon_why why = {""};
            int32_t status = tenon_op_check_alias(plan->contract, plan->params, plan->tensor, places->range, &why);
            return status ? tenon__fail(status, "%s: %s", plan->contract->name, why.text) : TENON_OK;
        }
    }
    return TENON_OK;
}

int32_t tenon__run_submit(struct tenon_context *context, struct tenon__plan *plan, struct tenon__places *places,
                          const struct tenon_cmd *const *before, uint32_t n_before,
                          const struct tenon_cmd *const *after, uint32_t n_after)
{
    const struct tenon_cmd run = {.struct_size = sizeof run,
                                  .kind = TENON_CMD_RUN,
                                  .n_args = plan->n,
                                  .args = places->bind,
                                  .plan = plan->plan,
                                  .workspace = {plan->info.workspace ? context->workspace : NULL, 0}};
    const struct tenon_cmd *list[2 * TENON_MAX_TENSORS + 1];
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_before; i++)
        list[n++] = before[i];
    list[n++] = &run;
    for (uint32_t i = 0; i < n_after; i++)
        list[n++] = after[i];
    int32_t status = tenon__context_submit(context, list, n);
    if (status)
        return status;
    plan->used_seq = context->submitted;
    for (uint32_t left = plan->present & ~places->host; left; left &= left - 1) {
        struct tenon_memory *memory = places->memory[__builtin_ctz(left)];
        if (memory)
            memory->used_seq = context->submitted;
    }
    return TENON_OK;
}

int32_t tenon_run(struct tenon_context *context, uint32_t op, const void *params, const struct tenon_value *values,
                  uint32_t n)
{
    if (!context || !values)
        return tenon__fail(TENON_E_INVALID, "tenon_run: %s is NULL", context ? "values" : "context");
    struct tenon__plan *plan;
    int32_t status = tenon__plan_get(context, op, params, &values->tensor, sizeof *values, n, &plan);
    if (status)
        return status;
    struct tenon__places places;
    places.host = 0;
    memset(places.bind, 0, plan->n * sizeof *places.bind);
    memset(places.range, 0, sizeof places.range);
    memset(places.memory, 0, plan->n * sizeof *places.memory);
    status = locate(context, plan, values, &places);
    if (!status)
        status = check_alias(plan, &places);
    if (!status && plan->info.workspace)
        status = tenon__context_workspace(context, plan->info.workspace);
    if (status)
        return status;
    return places.host ? tenon__run_host(context, plan, values, &places)
                       : tenon__run_submit(context, plan, &places, NULL, 0, NULL, 0);
}
