/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Queues. A batch is checked completely before the first OpenCL call, so that a refusal leaves nothing behind. What is
 * left is the driver that runs out of something halfway: if it refuses the first command, nothing has run; if a later
 * one, what was submitted cannot be called back, and the device is declared lost, for then no caller can take half a
 * batch for a result. (A user event that gates the batch and is failed instead would keep the promise better, but PoCL
 * aborts the process on failed user events.) */
#include <string.h>
#include <time.h>

#include "ocl.h"

int32_t ocl_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **out)
{
    cl_int error = CL_SUCCESS;

    if (!device || !out)
        return ocl_fail(TENON_E_INVALID, "device or queue is NULL");
    if (flags)
        return ocl_fail(TENON_E_UNSUPPORTED, "queue flags %#x: none are known", flags);
    int32_t status = ocl_check_lost(device);
    if (status)
        return status;
    struct tenon_queue *queue = ocl_host->alloc(ocl_host, sizeof *queue, _Alignof(struct tenon_queue));
    if (!queue)
        return ocl_fail(TENON_E_NOMEM, "no memory for a queue");
    memset(queue, 0, sizeof *queue);
    queue->device = device;
    if (pthread_mutex_init(&queue->lock, NULL)) {
        ocl_host->free(ocl_host, queue);
        return ocl_fail(TENON_E_NOMEM, "no memory for a lock");
    }
    queue->queue = ocl.clCreateCommandQueue(device->context, device->found->id, 0, &error);
    if (!queue->queue) {
        pthread_mutex_destroy(&queue->lock);
        ocl_host->free(ocl_host, queue);
        return ocl_fail_create("clCreateCommandQueue", error);
    }
    *out = queue;
    return TENON_OK;
}

void ocl_queue_destroy(struct tenon_queue *queue)
{
    if (!queue)
        return;
    /* After a failed wait the device is lost for the caller, who now frees imported memory, but a driver may still be
     * at work. Both calls, for the clFinish of Rusticl does not wait for what was flushed. */
    if (queue->done < queue->last)
        (void)ocl.clWaitForEvents(1, &queue->event[queue->last % OCL_RING]);
    (void)ocl.clFinish(queue->queue);
    for (uint32_t i = 0; i < OCL_RING; i++)
        if (queue->event[i])
            ocl.clReleaseEvent(queue->event[i]);
    ocl.clReleaseCommandQueue(queue->queue);
    pthread_mutex_destroy(&queue->lock);
    ocl_host->free(ocl_host, queue);
}

/* ---- numbers ---- */

/* The event of number seq, retained; *event NULL when it is done. INVALID for a number not given out. */
static int32_t event_of(struct tenon_queue *queue, uint64_t seq, cl_event *event)
{
    int32_t status = TENON_OK;
    *event = NULL;
    pthread_mutex_lock(&queue->lock);
    uint64_t last = queue->last;
    if (seq > last)
        status = TENON_E_INVALID;
    else if (seq > queue->done) {
        cl_event held = queue->event[seq % OCL_RING];
        cl_int error = ocl.clRetainEvent(held);
        if (error)
            status = TENON_E_INTERNAL;
        else
            *event = held;
    }
    pthread_mutex_unlock(&queue->lock);
    if (status == TENON_E_INVALID)
        return ocl_fail(status, "number %llu: the queue has given out %llu", (unsigned long long)seq,
                        (unsigned long long)last);
    return status ? ocl_fail_run(queue->device, "clRetainEvent", CL_INVALID_EVENT) : TENON_OK;
}

/* The queue is in order: with seq, everything before it is done. */
static void mark_done(struct tenon_queue *queue, uint64_t seq)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->done < seq) {
        queue->done++;
        cl_event *event = &queue->event[queue->done % OCL_RING];
        if (*event)
            ocl.clReleaseEvent(*event);
        *event = NULL;
    }
    pthread_mutex_unlock(&queue->lock);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Waits at most timeout_ns for an event. *done says whether it came; OpenCL's error otherwise. */
static cl_int wait_event(cl_event event, uint64_t timeout_ns, int *done, const char **call)
{
    cl_int error, state = CL_QUEUED;
    *done = 0;
    if (timeout_ns == UINT64_MAX) {
        *call = "clWaitForEvents";
        error = ocl.clWaitForEvents(1, &event);
        if (error && error != CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
            return error;
    }
    uint64_t start = timeout_ns ? now_ns() : 0, pause = 20000;
    for (;;) {
        *call = "clGetEventInfo";
        error = ocl.clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
        if (error)
            return error;
        if (state < 0) {
            *call = "a command";
            return state == CL_MEM_OBJECT_ALLOCATION_FAILURE ? CL_OUT_OF_RESOURCES : state; /* half done: LOST */
        }
        if (state == CL_COMPLETE) {
            *done = 1;
            return CL_SUCCESS;
        }
        uint64_t spent = timeout_ns ? now_ns() - start : 0;
        if (spent >= timeout_ns)
            return CL_SUCCESS;
        if (pause > timeout_ns - spent)
            pause = timeout_ns - spent;
        const struct timespec nap = {.tv_nsec = (long)pause};
        nanosleep(&nap, NULL);
        pause = pause < 500000 ? pause * 2 : 1000000;
    }
}

int32_t ocl_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    cl_event event;
    const char *call;
    int done;

    if (!queue)
        return ocl_fail(TENON_E_INVALID, "queue is NULL");
    int32_t status = ocl_check_lost(queue->device);
    if (!status)
        status = event_of(queue, seq, &event);
    if (status || !event)
        return status;
    cl_int error = wait_event(event, timeout_ns, &done, &call);
    ocl.clReleaseEvent(event);
    if (error)
        return ocl_fail_run(queue->device, call, error == CL_OUT_OF_HOST_MEMORY ? CL_OUT_OF_RESOURCES : error);
    if (!done)
        return ocl_fail(TENON_E_TIMEOUT, "number %llu is not done after %llu ns", (unsigned long long)seq,
                        (unsigned long long)timeout_ns);
    mark_done(queue, seq);
    return TENON_OK;
}

/* ---- the check of a batch ---- */

static int32_t check_copy(const struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    int32_t status = ocl_bind_check(queue->device, &cmd->args[0], cmd->size, TENON_E_INVALID, "COPY: the destination");
    if (!status)
        status = ocl_bind_check(queue->device, &cmd->args[1], cmd->size, TENON_E_INVALID, "COPY: the source");
    if (status)
        return status;
    uint64_t to = cmd->args[0].buffer->address + cmd->args[0].offset;
    uint64_t from = cmd->args[1].buffer->address + cmd->args[1].offset;
    if (cmd->size && to < from + cmd->size && from < to + cmd->size)
        return ocl_fail(TENON_E_INVALID, "COPY: source and destination overlap");
    return TENON_OK;
}

static int32_t check_wait(struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    cl_event event;
    if (cmd->queue->device != queue->device)
        return ocl_fail(TENON_E_INVALID, "WAIT: the queue belongs to another device");
    if (cmd->queue == queue)
        return ocl_fail(TENON_E_INVALID, "WAIT: a queue cannot wait for itself");
    int32_t status = event_of(cmd->queue, cmd->value, &event);
    if (!status && event)
        ocl.clReleaseEvent(event);
    return status;
}

/* Adds the OpenCL commands that cmd becomes to *commands. */
static int32_t check_command(struct tenon_queue *queue, const struct tenon_cmd *cmd, uint64_t *commands)
{
    struct tenon_why why;
    int32_t status = tenon_cmd_check(cmd, &queue->device->found->info, &why);
    if (status)
        return ocl_fail(status, "%s", why.text);
    switch (cmd->kind) {
    case TENON_CMD_RUN:
        if (cmd->plan->device != queue->device)
            return ocl_fail(TENON_E_INVALID, "RUN: the plan belongs to another device");
        *commands += cmd->plan->recipe.n;
        return ocl_plan_check(cmd->plan, cmd);
    case TENON_CMD_COPY:
        *commands += cmd->size != 0;
        return check_copy(queue, cmd);
    case TENON_CMD_FILL:
        *commands += cmd->size != 0;
        return ocl_bind_check(queue->device, &cmd->args[0], cmd->size, TENON_E_INVALID, "FILL");
    default:
        *commands += 1;
        return check_wait(queue, cmd);
    }
}

/* ---- submission ---- */

struct batch {
    struct tenon_queue *queue;
    cl_event event;  /* of the last command */
    uint64_t all, left; /* OpenCL commands: all, and those to come */
    const char *call; /* the one that failed */
};

/* Where the next command's event goes: only the last one's is wanted. */
static cl_event *event_place(struct batch *batch)
{
    return batch->left == 1 ? &batch->event : NULL;
}

static cl_int submit_wait(struct batch *batch, const struct tenon_cmd *cmd)
{
    cl_event event;
    if (event_of(cmd->queue, cmd->value, &event))
        return CL_INVALID_EVENT;
    batch->call = "clEnqueueBarrierWithWaitList";
    cl_int error = ocl.clEnqueueBarrierWithWaitList(batch->queue->queue, event ? 1 : 0, event ? &event : NULL,
                                                    event_place(batch));
    if (event)
        ocl.clReleaseEvent(event);
    batch->left -= !error;
    return error;
}

static cl_int submit_run(struct batch *batch, const struct tenon_cmd *cmd)
{
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < cmd->plan->recipe.n && !error; i++) {
        error = ocl_plan_launch(cmd->plan, i, cmd, batch->queue->queue, event_place(batch), &batch->call);
        batch->left -= !error;
    }
    return error;
}

static cl_int submit_copy(struct batch *batch, const struct tenon_cmd *cmd)
{
    const struct tenon_bind *to = &cmd->args[0], *from = &cmd->args[1];
    batch->call = "clEnqueueCopyBuffer";
    cl_int error = ocl.clEnqueueCopyBuffer(batch->queue->queue, from->buffer->memory, to->buffer->memory,
                                           (size_t)from->offset, (size_t)to->offset, (size_t)cmd->size, 0, NULL,
                                           event_place(batch));
    batch->left -= !error;
    return error;
}

static cl_int submit_fill(struct batch *batch, const struct tenon_cmd *cmd)
{
    const struct tenon_bind *to = &cmd->args[0];
    const uint32_t word = (uint32_t)cmd->value;
    batch->call = "clEnqueueFillBuffer";
    cl_int error = ocl.clEnqueueFillBuffer(batch->queue->queue, to->buffer->memory, &word, sizeof word,
                                           (size_t)to->offset, (size_t)cmd->size, 0, NULL, event_place(batch));
    batch->left -= !error;
    return error;
}

static cl_int submit_command(struct batch *batch, const struct tenon_cmd *cmd)
{
    switch (cmd->kind) {
    case TENON_CMD_RUN:
        return submit_run(batch, cmd);
    case TENON_CMD_COPY:
        return cmd->size ? submit_copy(batch, cmd) : CL_SUCCESS;
    case TENON_CMD_FILL:
        return cmd->size ? submit_fill(batch, cmd) : CL_SUCCESS;
    default:
        return submit_wait(batch, cmd);
    }
}

static cl_int submit_all(struct batch *batch, const struct tenon_cmd *const *cmds, uint32_t n)
{
    cl_int error = CL_SUCCESS;

    batch->left = batch->all;
    for (uint32_t i = 0; i < n && !error; i++)
        error = submit_command(batch, cmds[i]);
    if (batch->all == 0) { /* nothing to run, but a number to complete */
        batch->call = "clEnqueueMarkerWithWaitList";
        error = ocl.clEnqueueMarkerWithWaitList(batch->queue->queue, 0, NULL, &batch->event);
    }
    return error;
}

/* Room in the ring: the batch OCL_RING numbers ago must be done. */
static int32_t make_room(struct tenon_queue *queue)
{
    if (queue->last < OCL_RING)
        return TENON_OK;
    return ocl_queue_wait(queue, queue->last - OCL_RING + 1, UINT64_MAX);
}

int32_t ocl_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    if (!queue || !cmds || !seq)
        return ocl_fail(TENON_E_INVALID, "queue, cmds or seq is NULL");
    if (!n)
        return ocl_fail(TENON_E_INVALID, "a batch of 0 commands: must be at least 1");
    struct batch batch = {.queue = queue};
    int32_t status = ocl_check_lost(queue->device);
    for (uint32_t i = 0; i < n && !status; i++)
        status = check_command(queue, cmds[i], &batch.all);
    if (!status)
        status = make_room(queue);
    if (status)
        return status;

    cl_int error = submit_all(&batch, cmds, n);
    int submitted = batch.left < batch.all;
    if (!error) {
        batch.call = "clFlush";
        error = ocl.clFlush(queue->queue);
        submitted = 1;
    }
    if (error) {
        if (batch.event)
            ocl.clReleaseEvent(batch.event);
        return ocl_fail_run(queue->device, batch.call, submitted ? CL_OUT_OF_RESOURCES : error);
    }
    pthread_mutex_lock(&queue->lock);
    queue->last++;
    queue->event[queue->last % OCL_RING] = batch.event;
    *seq = queue->last;
    pthread_mutex_unlock(&queue->lock);
    return TENON_OK;
}
