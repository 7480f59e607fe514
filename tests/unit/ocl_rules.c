/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Rules of SPEC.md that the OpenCL backend keeps itself: refusals of commands, numbers and waits, the sticky LOST, and
 * one plan on several threads at once. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>

#include "backends/opencl/ocl.h"
#include "tests/plugins/testhost.h"
#include "tests/tap.h"

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host);

static struct testhost host;
#define said host.failure

enum { ROWS = 5, COLS = 96, BYTES = ROWS * COLS * 4, THREADS = 4, ROUNDS = 30, BATCHES = 3 * OCL_RING };

static const struct tenon_backend *backend;
static struct tenon_device *device;
static struct tenon_plan *plan;
static uint64_t workspace;

static struct tenon_buffer *make_buffer(uint64_t size)
{
    const struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = size};
    struct tenon_buffer *buffer = NULL;
    if (backend->buffer_create(device, &desc, &buffer))
        bail("buffer_create: %s", said);
    return buffer;
}

static void make_plan(void)
{
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS] = {{0}};
    struct tenon_softmax_params params;
    struct tenon_plan_info info = {.struct_size = sizeof info};
    const struct tenon_op_desc desc = {.struct_size = sizeof desc,
                                       .op = TENON_OPNUM_softmax,
                                       .n_tensors = TENON_SOFTMAX_N_TENSORS,
                                       .tensors = tensors,
                                       .params = &params};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    tensors[TENON_SOFTMAX_X] = tenon_tensor_make(TENON_F32, 2, (const int64_t[]){ROWS, COLS});
    tensors[TENON_SOFTMAX_Y] = tensors[TENON_SOFTMAX_X];
    if (backend->plan_create(device, &desc, &plan) || backend->plan_info(plan, &info))
        bail("plan: %s", said);
    workspace = info.workspace;
}

/* A RUN of the plan, to be spoiled. */
static struct tenon_cmd run_of(const struct tenon_bind *args, struct tenon_buffer *work)
{
    return (struct tenon_cmd){.struct_size = sizeof(struct tenon_cmd),
                              .kind = TENON_CMD_RUN,
                              .n_args = TENON_SOFTMAX_N_TENSORS,
                              .args = args,
                              .plan = plan,
                              .workspace = {work, 0}};
}

static int32_t submit(struct tenon_queue *queue, const struct tenon_cmd *cmd, uint64_t *seq)
{
    const struct tenon_cmd *cmds[1] = {cmd};
    return backend->enqueue(queue, cmds, 1, seq);
}

/* ---- refusals ---- */

static void refusals(struct tenon_queue *queue, struct tenon_queue *other, struct tenon_buffer *x,
                     struct tenon_buffer *y, struct tenon_buffer *work)
{
    uint64_t seq = 77;
    struct tenon_bind args[TENON_SOFTMAX_N_TENSORS] = {[TENON_SOFTMAX_X] = {x, 0}, [TENON_SOFTMAX_Y] = {y, 0}};
    struct tenon_cmd cmd = run_of(args, work);
    const struct tenon_cmd *none[1] = {&cmd};

    is_int(backend->enqueue(queue, none, 0, &seq), TENON_E_INVALID, "a batch of nothing: %s", said);
    cmd.n_args--;
    is_int(submit(queue, &cmd, &seq), TENON_E_INVALID, "an argument is missing: %s", said);
    cmd.n_args++;
    args[TENON_SOFTMAX_Y].buffer = NULL;
    is_int(submit(queue, &cmd, &seq), TENON_E_INVALID, "an output without a buffer: %s", said);
    args[TENON_SOFTMAX_Y] = (struct tenon_bind){y, OCL_BIND_ALIGN};
    is_int(submit(queue, &cmd, &seq), TENON_E_INVALID, "an output that does not fit: %s", said);
    args[TENON_SOFTMAX_Y] = (struct tenon_bind){y, 4};
    is_int(submit(queue, &cmd, &seq), TENON_E_INVALID, "an offset that is not aligned: %s", said);
    args[TENON_SOFTMAX_Y] = (struct tenon_bind){y, 0};
    struct tenon_buffer *both = make_buffer(2 * BYTES);
    args[TENON_SOFTMAX_X] = (struct tenon_bind){both, 0};
    args[TENON_SOFTMAX_Y] = (struct tenon_bind){both, COLS * 4};
    is_int(submit(queue, &cmd, &seq), TENON_E_ALIAS, "an output over half of an input: %s", said);

    struct tenon_cmd copy = {
        .struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = BYTES};
    args[0] = (struct tenon_bind){both, 8};
    args[1] = (struct tenon_bind){both, 0};
    is_int(submit(queue, &copy, &seq), TENON_E_INVALID, "COPY onto itself: %s", said);
    copy.size = 3 * BYTES;
    is_int(submit(queue, &copy, &seq), TENON_E_INVALID, "COPY beyond the end: %s", said);
    copy.size = UINT64_MAX;
    is_int(submit(queue, &copy, &seq), TENON_E_INVALID, "COPY around the address space: %s", said);

    struct tenon_cmd wait = {.struct_size = sizeof wait, .kind = TENON_CMD_WAIT, .queue = queue, .value = 0};
    is_int(submit(queue, &wait, &seq), TENON_E_INVALID, "WAIT for itself: %s", said);
    wait.queue = other;
    wait.value = 1;
    is_int(submit(queue, &wait, &seq), TENON_E_INVALID, "WAIT for a number not given out: %s", said);
    wait.kind = 99;
    is_int(submit(queue, &wait, &seq), TENON_E_UNSUPPORTED, "an unknown command: %s", said);
    is_int(backend->queue_wait(queue, 1, 0), TENON_E_INVALID, "a wait for a number not given out: %s", said);
    is_int(backend->queue_wait(queue, 0, 0), TENON_OK, "number 0 is done");
    is_int(seq, 77, "no number was given out");

    void *pointer;
    is_int(backend->buffer_map(both, BYTES, BYTES + 1, TENON_MAP_READ, &pointer), TENON_E_INVALID, "map: %s", said);
    is_int(backend->buffer_map(both, 0, 4, 0, &pointer), TENON_E_INVALID, "map: %s", said);
    is_int(backend->buffer_unmap(both), TENON_E_INVALID, "unmap: %s", said);
    if (backend->buffer_map(both, 0, 4, TENON_MAP_READ, &pointer))
        bail("map: %s", said);
    is_int(backend->buffer_map(both, 0, 4, TENON_MAP_READ, &pointer), TENON_E_INVALID, "map twice: %s", said);
    copy.size = BYTES;
    args[0] = (struct tenon_bind){y, 0};
    is_int(submit(queue, &copy, &seq), TENON_E_INVALID, "COPY from a mapped buffer: %s", said);
    (void)backend->buffer_unmap(both);
    backend->buffer_destroy(both);
}

/* More batches than the ring of events holds, then every number is done. */
static void many_batches(struct tenon_queue *queue, struct tenon_buffer *y)
{
    const struct tenon_bind to = {y, 0};
    uint64_t seq = 0, first = 0;
    int bad = 0;
    void *pointer;
    for (uint32_t i = 0; i < BATCHES; i++) {
        const struct tenon_cmd fill = {.struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = &to,
                                       .size = 64, .value = i};
        bad |= submit(queue, &fill, &seq) != TENON_OK;
        if (!first)
            first = seq;
        bad |= seq != first + i;
    }
    ok(!bad, "%d batches have numbers one apart", (int)BATCHES);
    is_int(backend->queue_wait(queue, seq, UINT64_MAX), TENON_OK, "the last is done");
    is_int(backend->queue_wait(queue, first, 0), TENON_OK, "so is the first");
    uint32_t word = 0;
    if (!backend->buffer_map(y, 0, 64, TENON_MAP_READ, &pointer)) {
        memcpy(&word, pointer, sizeof word);
        (void)backend->buffer_unmap(y);
    }
    is_int(word, BATCHES - 1, "they ran in order");
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    int number, status;
    long wrong;
};

static int32_t round_trip(struct worker *worker, struct tenon_queue *queue, struct tenon_buffer *const *buffer,
                          int round)
{
    const struct tenon_bind args[TENON_SOFTMAX_N_TENSORS] = {[TENON_SOFTMAX_X] = {buffer[0], 0},
                                                             [TENON_SOFTMAX_Y] = {buffer[1], 0}};
    const struct tenon_cmd cmd = run_of(args, buffer[2]);
    int peak = (worker->number * 17 + round) % COLS;
    void *pointer;
    uint64_t seq;
    /* One column far above the others has all the weight, another one each time. */
    int32_t status = backend->buffer_map(buffer[0], 0, BYTES, TENON_MAP_WRITE, &pointer);
    if (status)
        return status;
    for (int i = 0; i < ROWS * COLS; i++)
        ((float *)pointer)[i] = i % COLS == peak ? 1000.0f : 0.0f;
    status = backend->buffer_unmap(buffer[0]);
    if (!status)
        status = submit(queue, &cmd, &seq);
    while (!status && (status = backend->queue_wait(queue, seq, 500000)) == TENON_E_TIMEOUT)
        status = TENON_OK;
    if (!status)
        status = backend->buffer_map(buffer[1], 0, BYTES, TENON_MAP_READ, &pointer);
    if (status)
        return status;
    for (int i = 0; i < ROWS * COLS; i++)
        worker->wrong += !(fabsf(((float *)pointer)[i] - (i % COLS == peak)) < 1e-6f);
    return backend->buffer_unmap(buffer[1]);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct tenon_buffer *buffer[3] = {make_buffer(BYTES), make_buffer(BYTES), make_buffer(workspace ? workspace : 1)};
    struct tenon_queue *queue = NULL;
    worker->status = backend->queue_create(device, 0, &queue);
    for (int i = 0; i < ROUNDS && !worker->status; i++)
        worker->status = round_trip(worker, queue, buffer, i);
    backend->queue_destroy(queue);
    for (int i = 0; i < 3; i++)
        backend->buffer_destroy(buffer[i]);
    return NULL;
}

static void threads(void)
{
    struct worker worker[THREADS] = {{0}};
    for (int i = 0; i < THREADS; i++) {
        worker[i].number = i;
        if (pthread_create(&worker[i].thread, NULL, work, &worker[i]))
            bail("no thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(worker[i].thread, NULL);
        ok(worker[i].status == 0 && worker[i].wrong == 0, "thread %d has its own results (status %d, %ld wrong)", i,
           worker[i].status, worker[i].wrong);
    }
}

/* ---- loss ---- */

static cl_int lose(cl_uint n, const cl_event *events)
{
    (void)n, (void)events;
    return CL_DEVICE_NOT_AVAILABLE;
}

static void loss(struct tenon_queue *queue, struct tenon_buffer *y)
{
    const struct tenon_bind to = {y, 0};
    const struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = &to, .size = 64};
    const struct ocl_api real = ocl;
    uint64_t seq = 0, none = 0;
    void *pointer;
    struct tenon_queue *new_queue = NULL;

    is_int(submit(queue, &fill, &seq), TENON_OK, "a batch before the loss");
    ocl.clWaitForEvents = lose;
    is_int(backend->queue_wait(queue, seq, UINT64_MAX), TENON_E_LOST, "the wait finds the device lost: %s", said);
    ocl = real;
    is_int(backend->queue_wait(queue, seq, UINT64_MAX), TENON_E_LOST, "it stays lost for a wait");
    is_int(submit(queue, &fill, &none), TENON_E_LOST, "for a batch");
    is_int(backend->buffer_map(y, 0, 4, TENON_MAP_READ, &pointer), TENON_E_LOST, "for a map");
    is_int(backend->queue_create(device, 0, &new_queue), TENON_E_LOST, "and for a new queue");
}

int main(void)
{
    uint32_t count = 0;
    struct tenon_queue *queue = NULL, *other = NULL;

    testhost_init(&host);
    backend = tenon_backend_entry_v1(&host.base);
    if (backend->device_count(&count) || !count)
        return tap_skip_all("no OpenCL device");
    is_int(backend->device_open(count, NULL, &device), TENON_E_INVALID, "device_open: %s", said);
    if (backend->device_open(0, NULL, &device))
        bail("device_open: %s", said);
    make_plan();
    struct tenon_buffer *x = make_buffer(BYTES), *y = make_buffer(BYTES), *w = make_buffer(workspace ? workspace : 1);
    if (backend->queue_create(device, 0, &queue) || backend->queue_create(device, 0, &other))
        bail("queue_create: %s", said);
    is_int(backend->queue_create(device, 1, &other), TENON_E_UNSUPPORTED, "queue_create: %s", said);
    refusals(queue, other, x, y, w);
    many_batches(queue, y);
    threads();
    loss(queue, y);
    backend->queue_destroy(queue);
    backend->queue_destroy(other);
    backend->plan_destroy(plan);
    backend->buffer_destroy(x);
    backend->buffer_destroy(y);
    backend->buffer_destroy(w);
    backend->device_close(device);
    is_int(backend->device_open(0, NULL, &device), TENON_OK, "a lost device opens again");
    backend->device_close(device);
    backend->device_close(NULL);
    backend->queue_destroy(NULL);
    backend->plan_destroy(NULL);
    backend->buffer_destroy(NULL);
    return tap_done();
}
