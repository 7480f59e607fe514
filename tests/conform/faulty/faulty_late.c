/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Faults of time: a thread does the work a moment after it was submitted, and queue_wait says that it is done at once.
 * Whatever would use freed memory waits for the thread first. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "faulty.h"

#define QUEUES   256
#define CMDS_MAX 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct tenon_queue *queue;
    uint64_t given;
} queues[QUEUES];

/* The work of one enqueue, with copies of all that the caller may drop. */
static struct {
    int there;
    pthread_t thread;
    struct tenon_queue *queue;
    uint32_t n;
    struct tenon_cmd cmd[CMDS_MAX];
    struct tenon_bind bind[CMDS_MAX][32];
} work;

int tenon__faulty_is_late(void)
{
    return tenon__faulty_fault == F_wait_early || tenon__faulty_fault == F_wait_early_run ||
           tenon__faulty_fault == F_poll_early;
}

static void *work_main(void *unused)
{
    const struct tenon_cmd *cmds[CMDS_MAX];
    uint64_t seq;
    (void)unused;
    nanosleep(&(struct timespec){0, 8000000}, NULL);
    for (uint32_t i = 0; i < work.n; i++)
        cmds[i] = &work.cmd[i];
    if (tenon__faulty_next->enqueue(work.queue, cmds, work.n, &seq) == 0)
        (void)!tenon__faulty_next->queue_wait(work.queue, seq, UINT64_MAX);
    return NULL;
}

/* Called with the lock. */
static void work_end(void)
{
    if (work.there)
        pthread_join(work.thread, NULL);
    work.there = 0;
}

static void settle(void)
{
    pthread_mutex_lock(&lock);
    work_end();
    pthread_mutex_unlock(&lock);
}

static uint64_t *given(struct tenon_queue *queue, struct tenon_queue *as)
{
    for (uint32_t i = 0; i < QUEUES; i++) {
        if (queues[i].queue != queue)
            continue;
        queues[i].queue = as;
        return &queues[i].given;
    }
    return NULL;
}

static int32_t late_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    pthread_mutex_lock(&lock);
    work_end();
    uint64_t *number = given(queue, queue);
    int fits = n <= CMDS_MAX && number != NULL;
    for (uint32_t i = 0; i < n && fits; i++)
        fits = cmds[i]->n_args <= 32 && cmds[i]->kind != TENON_CMD_WAIT;
    if (fits) {
        work.queue = queue;
        work.n = n;
        for (uint32_t i = 0; i < n; i++) {
            work.cmd[i] = *cmds[i];
            memcpy(work.bind[i], cmds[i]->args, cmds[i]->n_args * sizeof(struct tenon_bind));
            work.cmd[i].args = work.bind[i];
        }
        fits = work.there = pthread_create(&work.thread, NULL, work_main, NULL) == 0;
    }
    int32_t status = fits ? TENON_OK : tenon__faulty_next->enqueue(queue, cmds, n, seq);
    if (fits)
        *seq = ++*number;
    else if (!status && number)
        *number = *seq;
    pthread_mutex_unlock(&lock);
    return status;
}

static int32_t late_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    pthread_mutex_lock(&lock);
    uint64_t *number = given(queue, queue);
    int known = number && seq <= *number;
    pthread_mutex_unlock(&lock);
    if (known && (tenon__faulty_fault != F_poll_early || timeout_ns == 0))
        return TENON_OK;
    settle();
    return tenon__faulty_next->queue_wait(queue, seq, timeout_ns);
}

static int32_t late_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    int32_t status = tenon__faulty_next->queue_create(device, flags, queue);
    if (status)
        return status;
    pthread_mutex_lock(&lock);
    uint64_t *number = given(NULL, *queue);
    if (number)
        *number = 0;
    pthread_mutex_unlock(&lock);
    return TENON_OK;
}

static void late_queue_destroy(struct tenon_queue *queue)
{
    settle();
    if (queue) {
        pthread_mutex_lock(&lock);
        given(queue, NULL);
        pthread_mutex_unlock(&lock);
    }
    tenon__faulty_next->queue_destroy(queue);
}

static void late_plan_destroy(struct tenon_plan *plan)
{
    settle();
    tenon__faulty_next->plan_destroy(plan);
}

static void late_buffer_destroy(struct tenon_buffer *buffer)
{
    settle();
    tenon__faulty_next->buffer_destroy(buffer);
}

static void late_device_close(struct tenon_device *device)
{
    settle();
    tenon__faulty_next->device_close(device);
}

/* Done when enqueue returns is what this is not. */
static int32_t late_device_info(uint32_t index, struct tenon_device_info *info)
{
    int32_t status = tenon__faulty_next->device_info(index, info);
    if (!status)
        info->caps &= ~(uint64_t)TENON_CAP_SYNC;
    return status;
}

void tenon__faulty_late_table(struct tenon_backend *table)
{
    table->device_info = late_device_info;
    table->device_close = late_device_close;
    table->buffer_destroy = late_buffer_destroy;
    table->plan_create = tenon__faulty_next->plan_create;
    table->plan_info = tenon__faulty_next->plan_info;
    table->plan_destroy = late_plan_destroy;
    table->queue_create = late_queue_create;
    table->queue_destroy = late_queue_destroy;
    table->enqueue = late_enqueue;
    table->queue_wait = late_wait;
}
