/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A plan is a recipe whose kernels are compiled and whose scalars are set; a command adds the buffers. */
#include <string.h>

#include "ocl.h"

/* Index of each argument as OpenCL counts: a buffer is two, the memory and a byte offset. */
static uint32_t argument_width(char kind)
{
    return kind == 'b' ? 2 : 1;
}

/* How many work-items a group of this kernel may have. A kernel is compiled for one size (reqd_work_group_size), and a
 * driver that compiled it for that size runs it, whatever CL_KERNEL_WORK_GROUP_SIZE says: Rusticl of Mesa 22.3 gives
 * the subgroup's. */
static cl_int work_group_limit(const struct tenon_device *device, cl_kernel kernel, uint32_t local, size_t *limit)
{
    size_t compiled[3] = {0};
    cl_int error = ocl.clGetKernelWorkGroupInfo(kernel, device->found->id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
                                                sizeof compiled, compiled, NULL);
    if (!error && compiled[0] == local) {
        *limit = local;
        return CL_SUCCESS;
    }
    return error ? error
                 : ocl.clGetKernelWorkGroupInfo(kernel, device->found->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof *limit,
                                                limit, NULL);
}

static int32_t create_kernel(struct tenon_device *device, const struct gpu_launch *launch, cl_kernel *out)
{
    cl_program program;
    cl_int error = CL_SUCCESS;
    size_t wg = 0;
    const char *name = launch->kernel->name;

    int32_t status = ocl_program_get(device, launch, &program);
    if (status)
        return status;
    cl_kernel kernel = ocl.clCreateKernel(program, name, &error);
    if (!kernel)
        return ocl_fail_create("clCreateKernel", error);
    error = work_group_limit(device, kernel, launch->local, &wg);
    if (error) {
        status = ocl_fail_create("clGetKernelWorkGroupInfo", error);
        goto release;
    }
    if (wg < launch->local) {
        status =
            ocl_fail(TENON_E_UNSUPPORTED, "kernel %s: this device runs at most %zu work-items a group, %u are needed",
                     name, wg, launch->local);
        goto release;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < launch->n_args; i++) {
        char kind = launch->kernel->signature[i];
        if (kind != 'b' && (error = ocl.clSetKernelArg(kernel, at, 4, &launch->arg[i].word))) {
            status = ocl_fail_create("clSetKernelArg", error);
            goto release;
        }
        at += argument_width(kind);
    }
    *out = kernel;
    return TENON_OK;
release:
    ocl.clReleaseKernel(kernel);
    return status;
}

/* Everything but the kernels. */
static int32_t prepare(struct tenon_plan *plan, const struct tenon_op_desc *desc)
{
    struct tenon_why why;
    struct tenon_device *device = plan->device;

    int32_t status = tenon_op_check(desc, &plan->contract, plan->params, sizeof plan->params, &why);
    if (status)
        return ocl_fail(status, "%s", why.text);
    const struct gpu_op *op = gpu_op_find(plan->contract->op);
    if (!op)
        return ocl_fail(TENON_E_UNSUPPORTED, "%s is not there on OpenCL", plan->contract->name);
    plan->n_tensors = desc->n_tensors;
    tenon_op_tensors(desc, plan->contract, plan->tensor);
    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        plan->bytes[i] = plan->tensor[i].dtype ? tenon_tensor_bytes(&plan->tensor[i]) : 0;
        if (plan->bytes[i] > device->found->info.max_buffer)
            return ocl_fail(TENON_E_UNSUPPORTED, "%s of %llu bytes: a buffer of this device has at most %llu",
                            plan->contract->tensors[i].name, (unsigned long long)plan->bytes[i],
                            (unsigned long long)device->found->info.max_buffer);
    }
    status = op->recipe(plan->params, plan->tensor, &device->found->limits, &plan->recipe);
    if (status)
        return status;
    status = gpu_recipe_check(&plan->recipe, &device->found->limits);
    if (!status && plan->recipe.scratch > device->found->info.max_buffer)
        status = ocl_fail(TENON_E_UNSUPPORTED, "workspace of %llu bytes: a buffer of this device has at most %llu",
                          (unsigned long long)plan->recipe.scratch, (unsigned long long)device->found->info.max_buffer);
    return status;
}

int32_t ocl_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **out)
{
    if (!device || !desc)
        return ocl_fail(TENON_E_INVALID, "device or desc is NULL");
    int32_t status = ocl_check_lost(device);
    if (status)
        return status;
    struct tenon_plan *plan = ocl_host->alloc(ocl_host, sizeof *plan, _Alignof(struct tenon_plan));
    if (!plan)
        return ocl_fail(TENON_E_NOMEM, "no memory for a plan");
    memset(plan, 0, sizeof *plan);
    if (pthread_mutex_init(&plan->lock, NULL)) {
        ocl_host->free(ocl_host, plan);
        return ocl_fail(TENON_E_NOMEM, "no memory for a lock");
    }
    plan->device = device;
    plan->recipe.host = ocl_host;
    status = prepare(plan, desc);
    if (!status && plan->recipe.n) {
        plan->kernel = ocl_host->alloc(ocl_host, plan->recipe.n * sizeof plan->kernel[0], _Alignof(cl_kernel));
        if (plan->kernel)
            memset(plan->kernel, 0, plan->recipe.n * sizeof plan->kernel[0]);
        else
            status = ocl_fail(TENON_E_NOMEM, "no memory for %u kernels", plan->recipe.n);
    }
    for (uint32_t i = 0; i < plan->recipe.n && !status; i++)
        status = create_kernel(device, &plan->recipe.launch[i], &plan->kernel[i]);
    if (status || !out) {
        ocl_plan_destroy(plan);
        return status;
    }
    *out = plan;
    return TENON_OK;
}

int32_t ocl_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    struct tenon_why why;
    if (!plan || !info)
        return ocl_fail(TENON_E_INVALID, "plan or info is NULL");
    struct tenon_plan_info full = {.struct_size = sizeof full,
                                   .workspace = plan->recipe.scratch,
                                   .workspace_align = OCL_BIND_ALIGN};
    memcpy(full.impl, plan->recipe.impl, sizeof full.impl);
    full.impl[sizeof full.impl - 1] = 0;
    int32_t status = tenon_struct_write(info, &full, sizeof full, &why);
    return status ? ocl_fail(status, "%s", why.text) : TENON_OK;
}

void ocl_plan_destroy(struct tenon_plan *plan)
{
    if (!plan)
        return;
    for (uint32_t i = 0; plan->kernel && i < plan->recipe.n; i++)
        if (plan->kernel[i])
            ocl.clReleaseKernel(plan->kernel[i]);
    ocl_host->free(ocl_host, plan->kernel);
    gpu_recipe_finish(&plan->recipe);
    pthread_mutex_destroy(&plan->lock);
    ocl_host->free(ocl_host, plan);
}

int32_t ocl_bind_check(const struct tenon_device *device, const struct tenon_bind *bind, uint64_t size, int32_t status,
                       const char *what)
{
    const struct tenon_buffer *buffer = bind->buffer;
    if (!buffer)
        return ocl_fail(status, "%s has no buffer", what);
    if (buffer->device != device)
        return ocl_fail(TENON_E_INVALID, "the buffer of %s belongs to another device", what);
    if (buffer->mapped)
        return ocl_fail(TENON_E_INVALID, "the buffer of %s is mapped", what);
    if (bind->offset > buffer->size || size > buffer->size - bind->offset)
        return ocl_fail(status, "%s: %llu bytes at %llu do not fit the buffer's %llu", what, (unsigned long long)size,
                        (unsigned long long)bind->offset, (unsigned long long)buffer->size);
    return TENON_OK;
}

int32_t ocl_plan_check(const struct tenon_plan *plan, const struct tenon_cmd *cmd)
{
    struct tenon_why why;
    uint64_t range[TENON_MAX_TENSORS][2] = {{0}};
    const struct tenon_op_contract *contract = plan->contract;
    int32_t status;

    if (cmd->n_args != plan->n_tensors)
        return ocl_fail(TENON_E_INVALID, "%u arguments: the plan has %u tensors", cmd->n_args, plan->n_tensors);
    for (uint32_t i = 0; i < plan->n_tensors; i++) {
        const struct tenon_bind *bind = &cmd->args[i];
        if (!plan->tensor[i].dtype)
            continue;
        status = ocl_bind_check(plan->device, bind, plan->bytes[i], TENON_E_INVALID, contract->tensors[i].name);
        if (status)
            return status;
        range[i][0] = plan->bytes[i] ? bind->buffer->address + bind->offset : 0;
        range[i][1] = range[i][0] + plan->bytes[i];
    }
    status = tenon_op_check_alias(contract, plan->params, plan->tensor, (const uint64_t(*)[2])range, &why);
    if (status)
        return ocl_fail(status, "%s", why.text);
    if (!plan->recipe.scratch)
        return TENON_OK;
    status = ocl_bind_check(plan->device, &cmd->workspace, plan->recipe.scratch, TENON_E_WORKSPACE, "the workspace");
    if (status)
        return status;
    uint64_t begin = cmd->workspace.buffer->address + cmd->workspace.offset, end = begin + plan->recipe.scratch;
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (begin < range[i][1] && range[i][0] < end)
            return ocl_fail(TENON_E_WORKSPACE, "the workspace overlaps %s", contract->tensors[i].name);
    return TENON_OK;
}

static cl_int set_buffers(const struct tenon_plan *plan, const struct gpu_launch *launch, cl_kernel kernel,
                          const struct tenon_cmd *cmd)
{
    static const struct tenon_bind none;
    cl_int error = CL_SUCCESS;
    uint32_t at = 0;

    for (uint32_t i = 0; i < launch->n_args && !error; i++) {
        const struct gpu_arg *arg = &launch->arg[i];
        char kind = launch->kernel->signature[i];
        if (kind == 'b') {
            const struct tenon_bind *bind = arg->slot == GPU_SLOT_SCRATCH ? &cmd->workspace
                                            : arg->slot >= 0 && plan->tensor[arg->slot].dtype
                                                ? &cmd->args[arg->slot]
                                                : &none;
            cl_mem memory = bind->buffer ? bind->buffer->memory : NULL;
            cl_ulong offset = memory ? bind->offset + arg->offset : 0;
            error = ocl.clSetKernelArg(kernel, at, sizeof memory, &memory);
            if (!error)
                error = ocl.clSetKernelArg(kernel, at + 1, sizeof offset, &offset);
        }
        at += argument_width(kind);
    }
    return error;
}

cl_int ocl_plan_launch(struct tenon_plan *plan, uint32_t i, const struct tenon_cmd *cmd, cl_command_queue queue,
                       cl_event *event, const char **call)
{
    const struct gpu_launch *launch = &plan->recipe.launch[i];
    const size_t local[3] = {launch->local, 1, 1};
    const size_t global[3] = {(size_t)launch->groups[0] * launch->local, launch->groups[1], launch->groups[2]};

    *call = "clSetKernelArg";
    pthread_mutex_lock(&plan->lock);
    cl_int error = set_buffers(plan, launch, plan->kernel[i], cmd);
    if (!error) {
        *call = "clEnqueueNDRangeKernel";
        error = ocl.clEnqueueNDRangeKernel(queue, plan->kernel[i], 3, NULL, global, local, 0, NULL, event);
    }
    pthread_mutex_unlock(&plan->lock);
    return error;
}
