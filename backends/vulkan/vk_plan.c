/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A plan is a recipe with its pipelines made and its argument blocks filled in, all but the addresses, which come with
 * each RUN. */
#include "vk.h"

#include <stdio.h>
#include <string.h>

/* The argument block as the kernel declares it: addresses of 8 bytes, everything else 4, each at a multiple of its
 * size. */
static int32_t fill_launch(struct vk_launch *to, const struct gpu_launch *from)
{
    memcpy(to->groups, from->groups, sizeof to->groups);
    uint32_t at = 0;
    for (uint32_t i = 0; i < from->n_args; i++) {
        int address = from->kernel->signature[i] == 'b';
        uint32_t size = address ? 8 : 4;
        at = (at + size - 1) & ~(size - 1);
        if (at + size > GPU_ARGS_MAX)
            return tenon__vk_fail(TENON_E_INTERNAL, "kernel %s: more than %d bytes of arguments", from->kernel->name,
                                  GPU_ARGS_MAX);
        if (!address)
            memcpy(to->push + at, &from->arg[i].word, 4);
        else if (from->arg[i].slot != GPU_SLOT_NONE)
            to->patch[to->n_patches++] = (struct vk_patch){from->arg[i].slot, at, from->arg[i].offset};
        at += size;
    }
    to->push_size = at;
    return TENON_OK;
}

static int32_t fill_launches(struct tenon_plan *plan, const struct gpu_recipe *recipe)
{
    plan->workspace = recipe->scratch;
    memcpy(plan->impl, recipe->impl, sizeof plan->impl);
    plan->launch = tenon__vk_alloc((recipe->n ? recipe->n : 1) * sizeof *plan->launch);
    if (!plan->launch)
        return TENON_E_NOMEM;
    for (uint32_t i = 0; i < recipe->n; i++) {
        const struct gpu_launch *from = &recipe->launch[i];
        struct vk_launch *to = &plan->launch[i];
        int32_t status = fill_launch(to, from);
        if (!status)
            status = tenon__vk_pipeline_get(plan->device, from, &to->pipeline);
        if (status)
            return status;
        plan->n_launches++;
    }
    return TENON_OK;
}

/* What a RUN is checked against. */
static int32_t keep_contract(struct tenon_plan *plan, const struct tenon_op_desc *desc, const void *params)
{
    uint32_t n = plan->contract->n_tensors;
    plan->params = tenon__vk_alloc(plan->contract->params_size);
    plan->tensor = tenon__vk_alloc(n * sizeof *plan->tensor);
    plan->bytes = tenon__vk_alloc(n * sizeof *plan->bytes);
    if (!plan->params || !plan->tensor || !plan->bytes)
        return TENON_E_NOMEM;
    memcpy(plan->params, params, plan->contract->params_size);
    tenon_op_tensors(desc, plan->contract, plan->tensor);
    for (uint32_t i = 0; i < n; i++)
        plan->bytes[i] = plan->tensor[i].dtype ? tenon_tensor_bytes(&plan->tensor[i]) : 0;
    plan->n_tensors = n;
    plan->n_args = desc->n_tensors;
    return TENON_OK;
}

int32_t tenon__vk_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **out)
{
    _Alignas(8) unsigned char params[1024];
    const struct tenon_op_contract *contract;
    struct tenon_why why;
    int32_t status = tenon__vk_alive(device);
    if (status)
        return status;
    status = tenon__vk_because(tenon_op_check(desc, &contract, params, sizeof params, &why), &why);
    if (status)
        return status;
    const struct gpu_op *op = gpu_op_find(contract->op);
    if (!op)
        return tenon__vk_fail(TENON_E_UNSUPPORTED, "%s does not run on GPUs yet", contract->name);

    struct gpu_recipe recipe = {.host = tenon__vk_host};
    struct tenon_plan *plan = tenon__vk_alloc(sizeof *plan);
    if (!plan)
        return TENON_E_NOMEM;
    plan->device = device;
    plan->contract = contract;
    status = keep_contract(plan, desc, params);
    if (status)
        goto destroy_plan;
    status = op->recipe(plan->params, plan->tensor, &device->adapter->limits, &recipe);
    if (status)
        goto destroy_plan;
    status = gpu_recipe_check(&recipe, &device->adapter->limits);
    if (!status)
        status = fill_launches(plan, &recipe);
    gpu_recipe_finish(&recipe);
destroy_plan:
    if (!status && out)
        *out = plan;
    else
        tenon__vk_plan_destroy(plan);
    return status;
}

int32_t tenon__vk_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    struct tenon_plan_info all = {.workspace = plan->workspace, .workspace_align = VK_BIND_ALIGN};
    memcpy(all.impl, plan->impl, sizeof all.impl);
    struct tenon_why why;
    return tenon__vk_because(tenon_struct_write(info, &all, sizeof all, &why), &why);
}

void tenon__vk_plan_destroy(struct tenon_plan *plan)
{
    if (!plan)
        return;
    for (uint32_t i = 0; i < plan->n_launches; i++)
        tenon__vk_pipeline_put(plan->device, plan->launch[i].pipeline);
    tenon__vk_free(plan->launch);
    tenon__vk_free(plan->bytes);
    tenon__vk_free(plan->tensor);
    tenon__vk_free(plan->params);
    tenon__vk_free(plan);
}

/* ---- RUN ---- */

static int32_t check_bind(const struct tenon_plan *plan, const char *name, const struct tenon_bind *bind,
                          uint64_t bytes, int32_t wrong)
{
    if (!bind->buffer)
        return tenon__vk_fail(wrong, "%s: no buffer, %llu bytes are needed", name, (unsigned long long)bytes);
    if (bind->buffer->device != plan->device)
        return tenon__vk_fail(TENON_E_INVALID, "%s: the buffer is of another device", name);
    if (bind->offset > bind->buffer->size || bytes > bind->buffer->size - bind->offset)
        return tenon__vk_fail(wrong, "%s: %llu bytes at offset %llu: the buffer has %llu", name,
                              (unsigned long long)bytes, (unsigned long long)bind->offset,
                              (unsigned long long)bind->buffer->size);
    return TENON_OK;
}

int32_t tenon__vk_plan_check_run(const struct tenon_plan *plan, const struct tenon_cmd *cmd)
{
    uint64_t range[TENON_MAX_TENSORS][2] = {{0, 0}};
    if (cmd->n_args != plan->n_args)
        return tenon__vk_fail(TENON_E_INVALID, "%s: %u arguments, the plan has %u tensors", plan->contract->name,
                              cmd->n_args, plan->n_args);
    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        if (!plan->tensor[i].dtype) /* then it may lie beyond n_args, too */
            continue;
        const struct tenon_bind *bind = &cmd->args[i];
        const char *name = plan->contract->tensors[i].name;
        int32_t status = check_bind(plan, name, bind, plan->bytes[i], TENON_E_INVALID);
        if (status)
            return status;
        range[i][0] = bind->buffer->place + bind->offset;
        range[i][1] = range[i][0] + plan->bytes[i];
    }
    struct tenon_why why;
    int32_t status = tenon__vk_because(
        tenon_op_check_alias(plan->contract, plan->params, plan->tensor, (const uint64_t(*)[2])range, &why), &why);
    if (status || !plan->workspace)
        return status;
    status = check_bind(plan, "workspace", &cmd->workspace, plan->workspace, TENON_E_WORKSPACE);
    if (status)
        return status;
    uint64_t begin = cmd->workspace.buffer->place + cmd->workspace.offset;
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (range[i][0] < begin + plan->workspace && begin < range[i][1])
            return tenon__vk_fail(TENON_E_WORKSPACE, "the workspace overlaps %s", plan->contract->tensors[i].name);
    return TENON_OK;
}

void tenon__vk_plan_record(const struct tenon_plan *plan, const struct tenon_cmd *cmd, VkCommandBuffer commands)
{
    for (uint32_t i = 0; i < plan->n_launches; i++) {
        const struct vk_launch *launch = &plan->launch[i];
        unsigned char push[GPU_ARGS_MAX];
        memcpy(push, launch->push, launch->push_size);
        for (uint32_t k = 0; k < launch->n_patches; k++) {
            const struct vk_patch *patch = &launch->patch[k];
            const struct tenon_bind *bind =
                patch->slot == GPU_SLOT_SCRATCH ? &cmd->workspace : &cmd->args[patch->slot];
            uint64_t address = bind->buffer ? bind->buffer->address + bind->offset + patch->offset : 0;
            memcpy(push + patch->at, &address, sizeof address);
        }
        if (i)
            tenon__vk_barrier(commands);
        tenon__vk.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, launch->pipeline->pipeline);
        if (launch->push_size)
            tenon__vk.CmdPushConstants(commands, plan->device->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                       launch->push_size, push);
        tenon__vk.CmdDispatch(commands, launch->groups[0], launch->groups[1], launch->groups[2]);
    }
}
