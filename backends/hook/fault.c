/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layer "fault": fails on purpose, so that a host's paths of failure run without a broken device. Settings (numbers
 * count from 1):
 *
 *     call=N    the Nth call that can fail gives `status` and is not passed on
 *     status=S  the status of `call`, by its name in lower or upper case; NOMEM when not set
 *     lost=N    the Nth enqueue or queue_wait gives LOST, and so does every later call on that device but destroys and
 * close alloc=N   the Nth allocation of the backend gives NULL persistent=1  not the Nth alone but every one from then
 * on (call, alloc)
 */
#include "hook.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct fault {
    uint64_t call, lost, alloc;
    int persistent;
    int32_t status;
    _Atomic uint64_t calls, submissions, allocs;
    struct tenon_host *below; /* the wrapped backend's host table, */
    void *(*real_alloc)(const struct tenon_host *host, size_t size, size_t align); /* and its allocator */
};

/* Allocation has no place for a self: the tables whose allocator was replaced, by slot. */
static struct fault *faults[HOOK_SLOTS];

static int32_t number(const struct hook *hook, const char *key, uint64_t *value)
{
    const char *text = hook->host->config(hook->host, key);
    char *last;
    *value = 0;
    if (!text)
        return TENON_OK;
    *value = strtoull(text, &last, 10);
    if (text[0] < '0' || text[0] > '9' || *last)
        return tenon__hook_fail(hook, TENON_E_ARG, "%s = %s: must be a number, counting from 1", key, text);
    return TENON_OK;
}

static int32_t status_by_name(const struct hook *hook, const char *name, int32_t *status)
{
    for (int32_t s = -1; s >= TENON_STATUS_MIN_; s--)
        if (!strcasecmp(name, tenon_status_name(s))) {
            *status = s;
            return TENON_OK;
        }
    return tenon__hook_fail(hook, TENON_E_ARG, "status = %s: must be the name of a failure, such as NOMEM or LOST",
                            name);
}

static int due(uint64_t wanted, int persistent, _Atomic uint64_t *count)
{
    uint64_t now = atomic_fetch_add(count, 1) + 1;
    return wanted && (now == wanted || (persistent && now > wanted));
}

static void *faulty_alloc(const struct tenon_host *host, size_t size, size_t align)
{
    struct fault *fault = NULL;
    for (uint32_t i = 0; i < HOOK_SLOTS && !fault; i++)
        if (faults[i] && faults[i]->below == host)
            fault = faults[i];
    if (!fault || due(fault->alloc, fault->persistent, &fault->allocs))
        return NULL;
    return fault->real_alloc(host, size, align);
}

/* The backend below got its host table before this layer came; the host lends it for this purpose. */
static int32_t take_alloc(struct hook *hook, struct fault *fault)
{
    const void *below = hook->host->extension(hook->host, "tenon.next-host/1");
    if (!fault->alloc)
        return TENON_OK;
    if (!below)
        return tenon__hook_fail(hook, TENON_E_UNSUPPORTED, "alloc is set, but this host has no tenon.next-host/1");
    uint32_t i = 0;
    while (i < HOOK_SLOTS && faults[i])
        i++;
    if (i == HOOK_SLOTS)
        return tenon__hook_fail(hook, TENON_E_UNSUPPORTED, "more than %d backends", HOOK_SLOTS);
    memcpy(&fault->below, &below, sizeof below);
    fault->real_alloc = fault->below->alloc;
    faults[i] = fault;
    fault->below->alloc = faulty_alloc;
    return TENON_OK;
}

static int32_t start(struct hook *hook)
{
    const struct tenon_host *host = hook->host;
    struct fault *fault = host->alloc(host, sizeof *fault, _Alignof(struct fault));
    if (!fault)
        return host->fail(host, TENON_E_NOMEM, "out of memory for a layer");
    memset(fault, 0, sizeof *fault);
    fault->status = TENON_E_NOMEM;
    uint64_t persistent;
    const char *name = host->config(host, "status");
    int32_t status = number(hook, "call", &fault->call);
    if (!status)
        status = number(hook, "lost", &fault->lost);
    if (!status)
        status = number(hook, "alloc", &fault->alloc);
    if (!status)
        status = number(hook, "persistent", &persistent);
    if (!status && name)
        status = status_by_name(hook, name, &fault->status);
    if (!status) {
        fault->persistent = persistent != 0;
        status = take_alloc(hook, fault);
    }
    if (status)
        host->free(host, fault);
    else
        hook->data = fault;
    return status;
}

/* Whether this call fails, and how. key and kind: the object that it is made on. */
static int32_t gate(struct hook *hook, uint32_t kind, const void *key, const char *function)
{
    struct fault *fault = hook->data;
    int lost = 0;
    if (key) {
        pthread_mutex_lock(&hook->lock);
        struct hook_object *object = tenon__hook_find(hook, kind, key);
        if (object)
            lost = object->device ? object->device->lost : object->lost;
        pthread_mutex_unlock(&hook->lock);
    }
    if (lost)
        return tenon__hook_fail(hook, TENON_E_LOST, "%s: the device is lost (layer fault)", function);
    if (due(fault->call, fault->persistent, &fault->calls))
        return tenon__hook_fail(hook, fault->status, "%s: failed on purpose (layer fault, call %llu)", function,
                                (unsigned long long)fault->call);
    return TENON_OK;
}

/* The device is lost from now on. In truth it is alive, and the caller may destroy everything as soon as it hears LOST:
 * so all that was submitted is waited for first. */
static void lose(struct hook *hook, struct tenon_queue *queue)
{
    struct hook_object *mine = tenon__hook_find(hook, HOOK_QUEUE, queue);
    if (!mine)
        return;
    mine->device->lost = 1;
    for (uint32_t i = 0; i < HOOK_BUCKETS; i++)
        for (struct hook_object *object = hook->bucket[i]; object; object = object->next)
            if (object->kind == HOOK_QUEUE && object->device == mine->device) {
                void *key;
                memcpy(&key, &object->key, sizeof key);
                (void)hook->next->queue_wait(key, *(uint64_t *)object->data, UINT64_MAX);
            }
}

static int32_t gate_submission(struct hook *hook, struct tenon_queue *queue, const char *function)
{
    struct fault *fault = hook->data;
    int32_t status = gate(hook, HOOK_QUEUE, queue, function);
    if (status || !due(fault->lost, 0, &fault->submissions))
        return status;
    pthread_mutex_lock(&hook->lock);
    lose(hook, queue);
    pthread_mutex_unlock(&hook->lock);
    return tenon__hook_fail(hook, TENON_E_LOST, "%s: the device is lost (layer fault)", function);
}

/* Remembers which device an object belongs to. Without memory the object is only not covered by LOST. */
static void remember(struct hook *hook, uint32_t kind, const void *key, const struct tenon_device *device)
{
    pthread_mutex_lock(&hook->lock);
    struct hook_object *parent = device ? tenon__hook_find(hook, HOOK_DEVICE, device) : NULL;
    struct hook_object *object = tenon__hook_find(hook, kind, key);
    if (object && kind == HOOK_DEVICE)
        object->lost = 0; /* opened again */
    else if (!object && (kind == HOOK_DEVICE || parent))
        tenon__hook_add(hook, kind, key, parent, kind == HOOK_QUEUE ? sizeof(uint64_t) : 0);
    pthread_mutex_unlock(&hook->lock);
}

static void forget(struct hook *hook, uint32_t kind, const void *key)
{
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = key ? tenon__hook_find(hook, kind, key) : NULL;
    if (object && !object->children)
        tenon__hook_remove(hook, object);
    pthread_mutex_unlock(&hook->lock);
}

static int32_t device_count(struct hook *hook, uint32_t *count)
{
    int32_t status = gate(hook, HOOK_DEVICE, NULL, "device_count");
    return status ? status : hook->next->device_count(count);
}

static int32_t device_info(struct hook *hook, uint32_t index, struct tenon_device_info *info)
{
    int32_t status = gate(hook, HOOK_DEVICE, NULL, "device_info");
    return status ? status : hook->next->device_info(index, info);
}

static int32_t device_open(struct hook *hook, uint32_t index, const struct tenon_chain *next,
                           struct tenon_device **device)
{
    int32_t status = gate(hook, HOOK_DEVICE, NULL, "device_open");
    if (!status)
        status = hook->next->device_open(index, next, device);
    if (!status)
        remember(hook, HOOK_DEVICE, *device, NULL);
    return status;
}

static int32_t buffer_create(struct hook *hook, struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **buffer)
{
    int32_t status = gate(hook, HOOK_DEVICE, device, "buffer_create");
    if (!status)
        status = hook->next->buffer_create(device, desc, buffer);
    if (!status)
        remember(hook, HOOK_BUFFER, *buffer, device);
    return status;
}

static int32_t buffer_map(struct hook *hook, struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                          void **pointer)
{
    int32_t status = gate(hook, HOOK_BUFFER, buffer, "buffer_map");
    return status ? status : hook->next->buffer_map(buffer, offset, size, mode, pointer);
}

static int32_t buffer_unmap(struct hook *hook, struct tenon_buffer *buffer)
{
    int32_t status = gate(hook, HOOK_BUFFER, buffer, "buffer_unmap");
    int32_t real = hook->next->buffer_unmap(buffer); /* in any case: a mapping must not outlive its failure */
    return status ? status : real;
}

static int32_t plan_create(struct hook *hook, struct tenon_device *device, const struct tenon_op_desc *desc,
                           struct tenon_plan **plan)
{
    int32_t status = gate(hook, HOOK_DEVICE, device, "plan_create");
    if (!status)
        status = hook->next->plan_create(device, desc, plan);
    if (!status && plan)
        remember(hook, HOOK_PLAN, *plan, device);
    return status;
}

static int32_t plan_info(struct hook *hook, const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    int32_t status = gate(hook, HOOK_PLAN, plan, "plan_info");
    return status ? status : hook->next->plan_info(plan, info);
}

static int32_t queue_create(struct hook *hook, struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    int32_t status = gate(hook, HOOK_DEVICE, device, "queue_create");
    if (!status)
        status = hook->next->queue_create(device, flags, queue);
    if (!status)
        remember(hook, HOOK_QUEUE, *queue, device);
    return status;
}

static int32_t enqueue(struct hook *hook, struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n,
                       uint64_t *seq)
{
    int32_t status = gate_submission(hook, queue, "enqueue");
    if (!status)
        status = hook->next->enqueue(queue, cmds, n, seq);
    if (status)
        return status;
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = tenon__hook_find(hook, HOOK_QUEUE, queue);
    if (object)
        *(uint64_t *)object->data = *seq;
    pthread_mutex_unlock(&hook->lock);
    return TENON_OK;
}

static int32_t queue_wait(struct hook *hook, struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    int32_t status = gate_submission(hook, queue, "queue_wait");
    return status ? status : hook->next->queue_wait(queue, seq, timeout_ns);
}

static int32_t plan_record(struct hook *hook, struct tenon_device *device, const struct tenon_cmd *const *cmds,
                           uint32_t n, struct tenon_plan **plan)
{
    int32_t status = gate(hook, HOOK_DEVICE, device, "plan_record");
    if (!status)
        status = tenon__hook_plan_record(hook, device, cmds, n, plan);
    if (!status)
        remember(hook, HOOK_PLAN, *plan, device);
    return status;
}

#define DESTROY(name, type, kind)                                                                                      \
    static void name(struct hook *hook, struct type *object)                                                           \
    {                                                                                                                  \
        forget(hook, kind, object);                                                                                    \
        hook->next->name(object);                                                                                      \
    }
DESTROY(device_close, tenon_device, HOOK_DEVICE)
DESTROY(buffer_destroy, tenon_buffer, HOOK_BUFFER)
DESTROY(plan_destroy, tenon_plan, HOOK_PLAN)
DESTROY(queue_destroy, tenon_queue, HOOK_QUEUE)

const struct hook_calls tenon__layer = {
    .start = start,
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
    .plan_record = plan_record,
    .extension = tenon__hook_extension,
};
