/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "peer.h"

#include <stdio.h>
#include <string.h>
#include <tenon/ops/softmax.h>

const struct tenon_host *tenon__peer_host; /* of the first loader */
#define host tenon__peer_host

struct tenon_device {
    void *own;
};
static struct tenon_device_info info = {
    .struct_size = sizeof info,
    .type = TENON_TYPE_CPU,
    .caps = TENON_CAP_UNIFIED | TENON_CAP_SYNC,
    .max_buffer = SIZE_MAX / 2,
    .bind_align = 4,
    .max_queues = UINT32_MAX,
};
struct tenon_buffer {
    unsigned char *memory;
    uint64_t size;
    int imported, mapped;
};
struct tenon_queue {
    struct tenon_device *device;
    void *own;
    uint64_t seq; /* of the last batch, which is done */
};

static int32_t fail(int32_t status, const char *text)
{
    return host->fail(host, status, text);
}

/* Zeroed, or NULL after the failure was told. */
static void *make(size_t size)
{
    void *memory = host->alloc(host, size, 64);
    if (memory)
        memset(memory, 0, size);
    else
        fail(TENON_E_NOMEM, "out of memory");
    return memory;
}

/* ---- device and memory ---- */

static int32_t device_count(uint32_t *count)
{
    *count = 1;
    return TENON_OK;
}

static int32_t device_info(uint32_t index, struct tenon_device_info *out)
{
    struct tenon_why why;
    if (index)
        return fail(TENON_E_INVALID, "device index: there is only device 0");
    int32_t status = tenon_struct_write(out, &info, sizeof info, &why);
    return status ? fail(status, why.text) : TENON_OK;
}

static int32_t device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **out)
{
    struct tenon_why why;
    if (index)
        return fail(TENON_E_INVALID, "device index: there is only device 0");
    int32_t status = tenon_chain_check(next, &why);
    if (status)
        return fail(status, why.text);
    struct tenon_device *device = make(sizeof *device);
    if (!device)
        return TENON_E_NOMEM;
    status = tenon__peer.device_open(&device->own, &why);
    if (status) {
        host->free(host, device);
        return fail(status, why.text);
    }
    *out = device;
    return TENON_OK;
}

static void device_close(struct tenon_device *device)
{
    if (device)
        tenon__peer.device_close(device->own);
    host->free(host, device);
}

static int32_t buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **out)
{
    struct tenon_why why;
    (void)device;
    int32_t status = tenon_buffer_desc_check(desc, &info, &why);
    if (status)
        return fail(status, why.text);
    struct tenon_buffer *buffer = make(sizeof *buffer);
    if (!buffer)
        return TENON_E_NOMEM;
    buffer->size = desc->size;
    buffer->imported = desc->host_ptr != NULL;
    const size_t room = (size_t)(desc->size + tenon__peer.extra);
    buffer->memory = desc->host_ptr ? desc->host_ptr : host->alloc(host, room, 4096);
    if (!buffer->memory) {
        host->free(host, buffer);
        return fail(TENON_E_NOMEM, "out of memory for a buffer");
    }
    *out = buffer;
    return TENON_OK;
}

static void buffer_destroy(struct tenon_buffer *buffer)
{
    if (buffer && !buffer->imported)
        host->free(host, buffer->memory);
    host->free(host, buffer);
}

static int inside(const struct tenon_bind *bind, uint64_t size)
{
    return bind->buffer && bind->offset <= bind->buffer->size && size <= bind->buffer->size - bind->offset;
}

static int32_t buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode, void **pointer)
{
    const struct tenon_bind range = {buffer, offset};
    if (!mode || mode & ~(TENON_MAP_READ | TENON_MAP_WRITE) || !size || !inside(&range, size) || buffer->mapped)
        return fail(TENON_E_INVALID, "map: READ, WRITE or both, a range inside, one mapping at a time");
    buffer->mapped = 1;
    *pointer = buffer->memory + offset;
    return TENON_OK;
}

static int32_t buffer_unmap(struct tenon_buffer *buffer)
{
    int was = buffer->mapped;
    buffer->mapped = 0;
    return was ? TENON_OK : fail(TENON_E_INVALID, "the buffer is not mapped");
}

/* ---- plans ---- */

static void plan_destroy(struct tenon_plan *plan)
{
    if (plan)
        tenon__peer.plan_close(plan);
    host->free(host, plan);
}

int32_t tenon__peer_no(struct peer_request *request, const char *what)
{
    return tenon_why_set(request->why, TENON_E_UNSUPPORTED, "%s peer: %s", tenon__peer.name, what);
}

int32_t tenon__peer_softmax(struct peer_request *r, struct peer_softmax *softmax)
{
    struct tenon_softmax_params plain, given;
    const struct tenon_tensor *x = &r->tensor[TENON_SOFTMAX_X], *y = &r->tensor[TENON_SOFTMAX_Y];
    for (uint32_t i = 0; i < r->contract->n_tensors; i++)
        if (i != TENON_SOFTMAX_X && r->tensor[i].dtype && i != TENON_SOFTMAX_Y)
            return tenon__peer_no(r, "softmax of x to y alone");
    memcpy(&given, r->params, sizeof given);
    tenon_op_defaults(r->contract, &plain);
    plain.kind = softmax->kind = given.kind;
    if (!y->dtype || memcmp(&plain, &given, sizeof given) != 0)
        return tenon__peer_no(r, "softmax without scale, temperature, a choice of algorithm and other options");
    if (tenon_tensor_rows(x, &softmax->rows, &softmax->x_stride, &softmax->cols) ||
        tenon_tensor_rows(y, &softmax->rows, &softmax->y_stride, &softmax->cols))
        return tenon__peer_no(r, "rows that do not fold");
    if (softmax->rows == 0 || softmax->cols == 0)
        return tenon__peer_no(r, "empty tensors are ours alone");
    r->plan->bytes[TENON_SOFTMAX_X] = tenon_tensor_bytes(x);
    r->plan->bytes[TENON_SOFTMAX_Y] = tenon_tensor_bytes(y);
    return TENON_OK;
}

static int32_t plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **out)
{
    struct tenon_why why;
    struct tenon_plan *plan = make(sizeof *plan);
    if (!plan)
        return TENON_E_NOMEM;
    struct peer_request request = {.device = device->own, .plan = plan, .why = &why};
    int32_t status = tenon_op_check(desc, &request.contract, request.params, sizeof request.params, &why);
    if (!status) {
        tenon_op_tensors(desc, request.contract, request.tensor);
        plan->n_tensors = desc->n_tensors;
        status = tenon__peer.plan(&request);
    }
    if (status)
        fail(status, why.text);
    if (status || !out)
        plan_destroy(plan);
    else
        *out = plan;
    return status;
}

static int32_t plan_info(const struct tenon_plan *plan, struct tenon_plan_info *out)
{
    struct tenon_why why;
    struct tenon_plan_info full = {.struct_size = sizeof full, .workspace = plan->scratch, .workspace_align = 64};
    memcpy(full.impl, plan->impl, sizeof full.impl);
    int32_t status = tenon_struct_write(out, &full, sizeof full, &why);
    return status ? fail(status, why.text) : TENON_OK;
}

/* ---- queues ---- */

static int32_t queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **out)
{
    if (flags)
        return fail(TENON_E_UNSUPPORTED, "queue flags: none are known here");
    struct tenon_queue *queue = make(sizeof *queue);
    if (!queue)
        return TENON_E_NOMEM;
    struct tenon_why why;
    queue->device = device;
    int32_t status = tenon__peer.queue_open ? tenon__peer.queue_open(device->own, &queue->own, &why) : TENON_OK;
    if (status) {
        host->free(host, queue);
        return fail(status, why.text);
    }
    *out = queue;
    return TENON_OK;
}

static void queue_destroy(struct tenon_queue *queue)
{
    if (queue && tenon__peer.queue_close)
        tenon__peer.queue_close(queue->own);
    host->free(host, queue);
}

static int32_t check(const struct tenon_cmd *cmd)
{
    struct tenon_why why;
    int32_t status = tenon_cmd_check(cmd, &info, &why);
    if (status)
        return fail(status, why.text);
    if (cmd->kind != TENON_CMD_RUN) {
        for (uint32_t i = 0; i < cmd->n_args; i++)
            if (!inside(&cmd->args[i], cmd->size))
                return fail(TENON_E_INVALID, "the range must be inside its buffer");
        return TENON_OK;
    }
    const struct tenon_plan *plan = cmd->plan;
    if (cmd->n_args != plan->n_tensors)
        return fail(TENON_E_INVALID, "RUN: one argument a tensor of the plan");
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (plan->bytes[i] && !inside(&cmd->args[i], plan->bytes[i]))
            return fail(TENON_E_INVALID, "RUN: a tensor must be inside its buffer");
    if (plan->scratch && (!inside(&cmd->workspace, plan->scratch) || cmd->workspace.offset % 64))
        return fail(TENON_E_WORKSPACE, "RUN: the workspace must be inside its buffer");
    return TENON_OK;
}

static int32_t run_plan(struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    const struct tenon_plan *plan = cmd->plan;
    unsigned char *tensor[TENON_MAX_TENSORS] = {NULL}, *scratch = NULL;
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (plan->bytes[i])
            tensor[i] = cmd->args[i].buffer->memory + cmd->args[i].offset;
    if (plan->scratch)
        scratch = cmd->workspace.buffer->memory + cmd->workspace.offset;
    if (tenon__peer.run(plan, queue->device->own, queue->own, tensor, scratch))
        return fail(TENON_E_INTERNAL, "the peer's library failed");
    return TENON_OK;
}

static int32_t run(struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    if (cmd->kind == TENON_CMD_RUN)
        return run_plan(queue, cmd);
    unsigned char *to = cmd->args[0].buffer->memory + cmd->args[0].offset;
    uint32_t word = (uint32_t)cmd->value;
    if (cmd->kind == TENON_CMD_COPY)
        memmove(to, cmd->args[1].buffer->memory + cmd->args[1].offset, (size_t)cmd->size);
    else
        for (uint64_t i = 0; i < cmd->size; i += sizeof word)
            memcpy(to + i, &word, sizeof word);
    return TENON_OK;
}

static int32_t enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    int32_t status = n ? TENON_OK : fail(TENON_E_INVALID, "enqueue of 0 commands: must be at least 1");
    for (uint32_t i = 0; i < n && !status; i++)
        status = check(cmds[i]);
    for (uint32_t i = 0; i < n && !status; i++)
        status = run(queue, cmds[i]);
    if (!status)
        *seq = ++queue->seq;
    return status;
}

static int32_t queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    (void)timeout_ns;
    return seq <= queue->seq ? TENON_OK : fail(TENON_E_INVALID, "wait for a number that was not given out");
}

static struct tenon_backend backend = {
    .struct_size = sizeof backend,
    .abi_minor = TENON_ABI_MINOR,
    .version = "1.0",
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
    .device_close = device_close,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_map = buffer_map,
    .buffer_unmap = buffer_unmap,
    .plan_create = plan_create,
    .plan_info = plan_info,
    .plan_destroy = plan_destroy,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .enqueue = enqueue,
    .queue_wait = queue_wait,
};

TENON_EXPORT const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *given)
{
    if (!host) {
        host = given;
        backend.id = tenon__peer.id;
        info.caps |= tenon__peer.extra ? 0 : TENON_CAP_IMPORT;
        info.import_align = tenon__peer.extra ? 0 : 4;
        snprintf(info.name, sizeof info.name, "%s", tenon__peer.name);
        tenon__peer.driver(info.driver, sizeof info.driver);
    }
    return &backend;
}
