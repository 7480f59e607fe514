/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The cost of the ABI: a tiny operator through a prepared plan and a queue, straight at the host's table of the
 * backend. */
#include "bench.h"

#include <string.h>

#define SAMPLE_S 0.002

struct call {
    const struct tenon_backend *backend;
    struct tenon_device *device;
    struct tenon_queue *queue;
    struct tenon_plan *plan;
    struct tenon_buffer *workspace;
    struct tenon_buffer *buffer[TENON_MAX_TENSORS];
    struct tenon_bind args[TENON_MAX_TENSORS];
    struct tenon_cmd cmd;
    int sync; /* enqueue returns when it is done */
};

static int32_t one(const struct call *call)
{
    const struct tenon_cmd *cmds[1] = {&call->cmd};
    uint64_t seq;
    int32_t status = call->backend->enqueue(call->queue, cmds, 1, &seq);
    if (!status && !call->sync)
        status = call->backend->queue_wait(call->queue, seq, UINT64_MAX);
    return status;
}

static int32_t make_buffer(struct call *call, uint64_t size, struct tenon_buffer **out)
{
    const struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = size};
    return call->backend->buffer_create(call->device, &desc, out);
}

static int32_t prepare(struct call *call, const struct conform_case *c)
{
    struct tenon_tensor tensors[TENON_MAX_TENSORS];
    struct tenon_plan_info info = {.struct_size = sizeof info};
    int32_t status = TENON_OK;

    for (uint32_t i = 0; i < c->n && !status; i++) {
        const struct conform_slot *slot = &c->slot[i];
        void *pointer = NULL;
        tensors[i] = slot->tensor;
        if (!slot->tensor.dtype)
            continue;
        status = make_buffer(call, slot->size, &call->buffer[i]);
        if (!status)
            status = call->backend->buffer_map(call->buffer[i], 0, slot->size, TENON_MAP_WRITE, &pointer);
        if (!status) {
            memcpy(pointer, slot->data, slot->size);
            status = call->backend->buffer_unmap(call->buffer[i]);
        }
        call->args[i] = (struct tenon_bind){call->buffer[i], slot->lead};
    }
    const struct tenon_op_desc desc = {
        .struct_size = sizeof desc, .op = c->op->op, .n_tensors = c->n, .tensors = tensors, .params = c->params};
    if (!status)
        status = call->backend->plan_create(call->device, &desc, &call->plan);
    if (!status)
        status = call->backend->plan_info(call->plan, &info);
    if (!status && info.workspace)
        status = make_buffer(call, info.workspace, &call->workspace);
    if (!status)
        status = call->backend->queue_create(call->device, 0, &call->queue);
    call->cmd = (struct tenon_cmd){.struct_size = sizeof call->cmd,
                                   .kind = TENON_CMD_RUN,
                                   .n_args = c->n,
                                   .args = call->args,
                                   .plan = call->plan,
                                   .workspace = {call->workspace, 0}};
    return status;
}

static void finish(struct call *call)
{
    call->backend->queue_destroy(call->queue);
    call->backend->plan_destroy(call->plan);
    call->backend->buffer_destroy(call->workspace);
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        call->backend->buffer_destroy(call->buffer[i]);
}

int32_t tenon__bench_call_cost(struct tenon_context *context, const struct conform_case *c, uint32_t rounds,
                               double *median, double *min, struct tenon_why *why)
{
    struct call call = {.backend = tenon_context_backend(context),
                        .device = tenon_context_device(context),
                        .sync = (tenon_context_info(context)->caps & TENON_CAP_SYNC) != 0};
    double sample[BENCH_MAX_ROUNDS];
    uint32_t calls = 1;

    int32_t status = prepare(&call, c);
    for (uint32_t i = 0; i < 100 && !status; i++)
        status = one(&call);
    /* As many calls a sample as take long enough to time. */
    for (double spent = 0; !status && spent < SAMPLE_S && calls < 1u << 24; calls *= 2) {
        double start = tenon__now();
        for (uint32_t i = 0; i < calls && !status; i++)
            status = one(&call);
        spent = tenon__now() - start;
    }
    for (uint32_t r = 0; r < rounds && !status; r++) {
        double start = tenon__now();
        for (uint32_t i = 0; i < calls && !status; i++)
            status = one(&call);
        sample[r] = (tenon__now() - start) / calls;
    }
    if (status) {
        (void)tenon_why_set(why, status, "%s", tenon_error());
    } else {
        *median = tenon__bench_median(sample, rounds);
        *min = sample[0];
    }
    finish(&call);
    return status;
}
