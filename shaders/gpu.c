/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What recipes and GPU backends call: the kernel table's look-up, building launches, checking them. */
#include "gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct gpu_kernel *gpu_kernel_find(const char *name)
{
    for (uint32_t i = 0; gpu_kernel_at(i) != NULL; i++)
        if (strcmp(gpu_kernel_at(i)->name, name) == 0)
            return gpu_kernel_at(i);
    return NULL;
}

#define TENON_OP(number, name) extern const struct gpu_op tenon__##name##_gpu;
#include <tenon/ops.def>
#undef TENON_OP

const struct gpu_op *gpu_op_find(uint32_t op)
{
    static const struct gpu_op *const ops[] = {
#define TENON_OP(number, name) &tenon__##name##_gpu,
#include <tenon/ops.def>
#undef TENON_OP
    };
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
        if (ops[i]->op == op)
            return ops[i];
    return NULL;
}

/* A count that no kernel has: the launch fails its check. */
#define BROKEN UINT32_MAX

struct gpu_launch *gpu_recipe_add(struct gpu_recipe *recipe, const char *kernel, uint32_t local)
{
    if (recipe->n == recipe->room) {
        uint32_t room = recipe->room ? recipe->room * 2 : 4;
        struct gpu_launch *more = recipe->host->alloc(recipe->host, room * sizeof(*more), 64);
        if (more == NULL) {
            recipe->host->fail(recipe->host, TENON_E_NOMEM, "out of memory for the launches of a plan");
            return NULL;
        }
        if (recipe->n)
            memcpy(more, recipe->launch, recipe->n * sizeof(*more));
        recipe->host->free(recipe->host, recipe->launch);
        recipe->launch = more;
        recipe->room = room;
    }
    struct gpu_launch *launch = &recipe->launch[recipe->n++];
    memset(launch, 0, sizeof(*launch));
    launch->kernel = gpu_kernel_find(kernel);
    launch->local = local;
    launch->groups[0] = launch->groups[1] = launch->groups[2] = 1;
    launch->spec[0] = local;
    launch->n_specs = 1;
    return launch;
}

static struct gpu_arg *next_arg(struct gpu_launch *launch, char kind)
{
    if (launch == NULL || launch->n_args == BROKEN)
        return NULL;
    if (launch->kernel == NULL || launch->n_args >= strlen(launch->kernel->signature) ||
        launch->n_args >= sizeof(launch->arg) / sizeof(launch->arg[0]) ||
        launch->kernel->signature[launch->n_args] != kind) {
        launch->n_args = BROKEN;
        return NULL;
    }
    return &launch->arg[launch->n_args++];
}

void gpu_launch_buffer(struct gpu_launch *launch, int32_t slot, uint64_t offset)
{
    struct gpu_arg *arg = next_arg(launch, 'b');
    if (arg == NULL)
        return;
    arg->slot = slot;
    arg->offset = offset;
}

void gpu_launch_u32(struct gpu_launch *launch, uint32_t value)
{
    struct gpu_arg *arg = next_arg(launch, 'u');
    if (arg == NULL)
        return;
    arg->slot = GPU_SLOT_NONE;
    arg->word = value;
}

void gpu_launch_f32(struct gpu_launch *launch, float value)
{
    struct gpu_arg *arg = next_arg(launch, 'f');
    if (arg == NULL)
        return;
    arg->slot = GPU_SLOT_NONE;
    memcpy(&arg->word, &value, sizeof(arg->word));
}

void gpu_launch_spec(struct gpu_launch *launch, uint32_t value)
{
    if (launch == NULL)
        return;
    if (launch->n_specs < GPU_SPEC_MAX)
        launch->spec[launch->n_specs++] = value;
    else
        launch->n_specs = BROKEN;
}

static const char *launch_fault(const struct gpu_launch *launch, const struct gpu_limits *limits)
{
    if (launch->kernel == NULL)
        return "does not exist";
    if (launch->n_args != strlen(launch->kernel->signature))
        return "is launched with arguments it does not have";
    if (launch->n_specs > GPU_SPEC_MAX || launch->spec[0] != launch->local)
        return "is launched with wrong specialisation constants";
    if (launch->local == 0 || launch->local > limits->wg_max)
        return "is launched with a work-group size beyond the device's";
    if (launch->local <= 8 && limits->subgroup && limits->subgroup < launch->local)
        return "is launched with a work-group of 8 or less that is more than one subgroup";
    for (uint32_t axis = 0; axis < 3; axis++)
        if (launch->groups[axis] == 0 || launch->groups[axis] > limits->groups_max[axis])
            return "is launched with a number of work-groups beyond the device's";
    for (uint32_t i = 0; i < launch->n_args; i++)
        if (launch->kernel->signature[i] == 'b' && launch->arg[i].offset % 4 != 0)
            return "is launched with an offset that is no multiple of 4";
    return NULL;
}

int32_t gpu_recipe_check(const struct gpu_recipe *recipe, const struct gpu_limits *limits)
{
    for (uint32_t i = 0; i < recipe->n; i++) {
        const char *fault = launch_fault(&recipe->launch[i], limits);
        char message[160];
        if (fault == NULL)
            continue;
        snprintf(message, sizeof(message), "launch %u: kernel %s %s", i,
                 recipe->launch[i].kernel ? recipe->launch[i].kernel->name : "?", fault);
        return recipe->host->fail(recipe->host, TENON_E_INTERNAL, message);
    }
    return TENON_OK;
}

void gpu_recipe_finish(struct gpu_recipe *recipe)
{
    recipe->host->free(recipe->host, recipe->launch);
    recipe->launch = NULL;
    recipe->n = recipe->room = 0;
    recipe->scratch = 0;
}
