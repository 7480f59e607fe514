/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Threads on queues of their own, sharing a device and plans: each finds its own results. */
#include "tap.h"
#include "vk_scene.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/softmax.h>

enum { THREADS = 4, ROUNDS = 40, ROWS = 5, COLS = 96, BYTES = ROWS * COLS * 4 };

static const struct tenon_backend *backend;
static struct tenon_device *device;
static struct tenon_plan *plan;
static uint64_t workspace;

struct worker {
    pthread_t thread;
    int number;
    int32_t status;
    long wrong;
};

static int32_t make_plan(struct tenon_plan **out)
{
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS] = {0};
    tensors[TENON_SOFTMAX_X] = tenon_tensor_make(TENON_F32, 2, (const int64_t[]){ROWS, COLS});
    tensors[TENON_SOFTMAX_Y] = tensors[TENON_SOFTMAX_X];
    struct tenon_softmax_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    struct tenon_op_desc desc = {.struct_size = sizeof desc,
                                 .op = TENON_OPNUM_softmax,
                                 .n_tensors = TENON_SOFTMAX_N_TENSORS,
                                 .tensors = tensors,
                                 .params = &params};
    return backend->plan_create(device, &desc, out);
}

static int32_t round_trip(struct worker *worker, struct tenon_queue *queue, struct tenon_buffer *x,
                          struct tenon_buffer *y, struct tenon_buffer *work, int round)
{
    float *values;
    void *pointer;
    /* One column far above the others: all the weight is there, in another place each time. */
    int peak = (worker->number * 17 + round) % COLS;
    int32_t status = backend->buffer_map(x, 0, BYTES, TENON_MAP_WRITE, &pointer);
    if (status)
        return status;
    values = pointer;
    for (int i = 0; i < ROWS * COLS; i++)
        values[i] = i % COLS == peak ? 1000.0f : 0.0f;
    status = backend->buffer_unmap(x);
    if (status)
        return status;
    struct tenon_bind args[TENON_SOFTMAX_N_TENSORS] = {{0}};
    args[TENON_SOFTMAX_X].buffer = x;
    args[TENON_SOFTMAX_Y].buffer = y;
    const struct tenon_cmd run = {.struct_size = sizeof run,
                                  .kind = TENON_CMD_RUN,
                                  .n_args = TENON_SOFTMAX_N_TENSORS,
                                  .args = args,
                                  .plan = plan,
                                  .workspace = {work, 0}};
    const struct tenon_cmd *const cmds[1] = {&run};
    uint64_t seq;
    status = backend->enqueue(queue, cmds, 1, &seq);
    if (!status)
        status = backend->queue_wait(queue, seq, UINT64_MAX);
    if (!status)
        status = backend->buffer_map(y, 0, BYTES, TENON_MAP_READ, &pointer);
    if (status)
        return status;
    values = pointer;
    for (int i = 0; i < ROWS * COLS; i++)
        worker->wrong += !(fabsf(values[i] - (i % COLS == peak)) < 1e-6f);
    return backend->buffer_unmap(y);
}

static void *work_on(void *argument)
{
    struct worker *worker = argument;
    struct tenon_queue *queue = NULL;
    struct tenon_buffer *x = NULL, *y = NULL, *work = NULL;
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = BYTES};
    int32_t status = backend->queue_create(device, 0, &queue);
    if (!status)
        status = backend->buffer_create(device, &desc, &x);
    if (!status)
        status = backend->buffer_create(device, &desc, &y);
    desc.size = workspace;
    if (!status && workspace)
        status = backend->buffer_create(device, &desc, &work);
    for (int round = 0; !status && round < ROUNDS; round++) {
        /* The pipelines' map is shared: the same plan again, made by all at once. */
        struct tenon_plan *again = NULL;
        status = make_plan(&again);
        backend->plan_destroy(again);
        if (!status)
            status = round_trip(worker, queue, x, y, work, round);
    }
    backend->queue_destroy(queue);
    backend->buffer_destroy(work);
    backend->buffer_destroy(y);
    backend->buffer_destroy(x);
    worker->status = status;
    return NULL;
}

int main(void)
{
    uint32_t count = 0;
    if (tenon__vk_api_load())
        return tap_skip_all("no Vulkan loader on this machine");
    backend = tenon_backend_entry_v1(&scene_host);
    is_int(backend->device_count(&count), TENON_OK, "discovery");
    if (!count)
        return tap_skip_all("no Vulkan device on this machine");
    for (int staging = 0; staging < 2; staging++) {
        scene_force_staging(staging);
        struct tenon_plan_info info = {.struct_size = sizeof info};
        if (backend->device_open(0, NULL, &device) || make_plan(&plan) || backend->plan_info(plan, &info))
            bail("%s", scene_error);
        workspace = info.workspace;
        struct worker workers[THREADS];
        for (int i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){.number = i};
            if (pthread_create(&workers[i].thread, NULL, work_on, &workers[i]))
                bail("no thread");
        }
        for (int i = 0; i < THREADS; i++) {
            pthread_join(workers[i].thread, NULL);
            is_int(workers[i].status, TENON_OK, "thread %d%s", i, staging ? " with staging" : "");
            is_int(workers[i].wrong, 0, "thread %d: every value is its own", i);
        }
        backend->plan_destroy(plan);
        backend->device_close(device);
        is_int(scene_live_memory, 0, "no memory leaks");
    }
    return tap_done();
}
