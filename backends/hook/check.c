/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layer "check": tests both sides of the rules of plugin-api/SPEC.md, call by call. Nothing that breaks a rule is
 * passed on. This file: devices, buffers, plans; check_queue.c: commands and queues. */
#include "check.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define UNTOUCHED ((void *)(uintptr_t)0x7e907e90) /* what an output holds before a call */

static _Atomic uint64_t next_number = 1;
/* Where buffers of the device lie in the address space of the overlap check: above all that a process can import. */
static _Atomic uint64_t next_base = UINT64_C(1) << 56;

/* ---- reports ---- */

int32_t tenon__check_breach(struct hook *hook, int32_t status, const char *rule, const char *format, ...)
{
    char text[384];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    tenon__hook_log(hook, TENON_LOG_ERROR, "%s, the caller of %s: %s", rule, hook->next->id, text);
    return tenon__hook_fail(hook, status, "%s: %s", rule, text);
}

int32_t tenon__check_backend_breach(struct hook *hook, const char *rule, const char *format, ...)
{
    char text[384];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    tenon__hook_log(hook, TENON_LOG_ERROR, "%s, the backend %s: %s", rule, hook->next->id, text);
    return tenon__hook_fail(hook, TENON_E_INTERNAL, "%s: the backend %s: %s", rule, hook->next->id, text);
}

int32_t tenon__check_status(struct hook *hook, const char *function, int32_t status)
{
    if (status <= 0 && status >= TENON_STATUS_MIN_)
        return status;
    return tenon__check_backend_breach(hook, "R10", "%s returned %d, which is no status", function, (int)status);
}

/* Unlocks and hands the status on: the end of most calls. */
static int32_t unlock(struct hook *hook, int32_t status)
{
    pthread_mutex_unlock(&hook->lock);
    return status;
}

static struct hook_object *find(struct hook *hook, uint32_t kind, const void *key, const char *function)
{
    struct hook_object *object = key ? tenon__hook_find(hook, kind, key) : NULL;
    if (!object)
        tenon__check_breach(hook, TENON_E_INVALID, "R40", "%s: %p is not a live %s", function, key,
                            tenon__hook_kind(kind));
    return object;
}

struct check_use *tenon__check_uses(struct hook_object *object)
{
    return object->kind == HOOK_BUFFER ? ((struct check_buffer *)object->data)->use
                                       : ((struct check_plan *)object->data)->use;
}

/* The queue that still works on the object, or NULL. */
static const struct check_queue *busy(struct hook *hook, struct hook_object *object)
{
    const struct check_use *use = tenon__check_uses(object);
    for (uint32_t i = 0; i < HOOK_BUCKETS; i++)
        for (struct hook_object *o = hook->bucket[i]; o; o = o->next) {
            const struct check_queue *queue = o->data;
            for (uint32_t j = 0; o->kind == HOOK_QUEUE && j < CHECK_USES; j++)
                if (use[j].queue == queue->number && use[j].seq > queue->done)
                    return queue;
        }
    return NULL;
}

/* ---- devices ---- */

static int32_t device_count(struct hook *hook, uint32_t *count)
{
    if (!count)
        return tenon__check_breach(hook, TENON_E_INVALID, "R31", "device_count: count is NULL");
    return tenon__check_status(hook, "device_count", hook->next->device_count(count));
}

static int32_t device_info(struct hook *hook, uint32_t index, struct tenon_device_info *info)
{
    if (!info || info->struct_size < 8 || info->struct_size > TENON_STRUCT_MAX)
        return tenon__check_breach(hook, TENON_E_INVALID, "R5", "device_info: struct_size %u",
                                   info ? info->struct_size : 0);
    uint32_t size = info->struct_size;
    int32_t status = tenon__check_status(hook, "device_info", hook->next->device_info(index, info));
    if (info->struct_size != size)
        return tenon__check_backend_breach(hook, "R5", "device_info changed struct_size from %u to %u", size,
                                           info->struct_size);
    return status;
}

static int32_t remember_device(struct hook *hook, uint32_t index, struct tenon_device *device)
{
    struct tenon_device_info info = {.struct_size = sizeof info};
    int32_t status = hook->next->device_info(index, &info);
    if (status)
        return tenon__check_backend_breach(hook, "R31", "device_info of an open device failed");
    if (!info.bind_align || info.bind_align & (info.bind_align - 1))
        return tenon__check_backend_breach(hook, "R32", "bind_align %u is not a power of two", info.bind_align);
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = tenon__hook_find(hook, HOOK_DEVICE, device);
    if (!object)
        object = tenon__hook_add(hook, HOOK_DEVICE, device, NULL, sizeof(struct check_device));
    if (!object)
        return unlock(hook, tenon__hook_fail(hook, TENON_E_NOMEM, "out of memory for a layer"));
    struct check_device *data = object->data;
    data->info = info;
    data->opens++;
    return unlock(hook, TENON_OK);
}

static int32_t device_open(struct hook *hook, uint32_t index, const struct tenon_chain *next,
                           struct tenon_device **device)
{
    uint32_t count = 0;
    if (!device)
        return tenon__check_breach(hook, TENON_E_INVALID, "R31", "device_open: device is NULL");
    int32_t status = hook->next->device_count(&count);
    if (!status && index >= count)
        return tenon__check_breach(hook, TENON_E_INVALID, "R31", "device_open: index %u of %u", index, count);
    struct tenon_device *got = UNTOUCHED;
    status = tenon__check_status(hook, "device_open", hook->next->device_open(index, next, &got));
    if (status && got != (struct tenon_device *)UNTOUCHED)
        return tenon__check_backend_breach(hook, "R26", "device_open failed and set its output");
    if (status)
        return status;
    if (!got || got == (struct tenon_device *)UNTOUCHED)
        return tenon__check_backend_breach(hook, "R26", "device_open returned OK and no device");
    status = remember_device(hook, index, got);
    if (status)
        hook->next->device_close(got);
    else
        *device = got;
    return status;
}

static void device_close(struct hook *hook, struct tenon_device *device)
{
    if (!device) {
        hook->next->device_close(NULL);
        return;
    }
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_DEVICE, device, "device_close");
    struct check_device *data = object ? object->data : NULL;
    if (object && data->opens == 1 && object->children) {
        tenon__check_breach(hook, TENON_E_INVALID, "R40", "device_close: %u objects made from it are alive",
                            object->children);
        object = NULL;
    }
    if (object && --data->opens == 0)
        tenon__hook_remove(hook, object);
    pthread_mutex_unlock(&hook->lock);
    if (object)
        hook->next->device_close(device);
}

/* ---- buffers ---- */

static int32_t buffer_create(struct hook *hook, struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **buffer)
{
    struct tenon_why why;
    pthread_mutex_lock(&hook->lock);
    struct hook_object *parent = find(hook, HOOK_DEVICE, device, "buffer_create");
    struct tenon_device_info info =
        parent ? ((struct check_device *)parent->data)->info : (struct tenon_device_info){0};
    pthread_mutex_unlock(&hook->lock);
    if (!parent)
        return TENON_E_INVALID;
    if (!buffer)
        return tenon__check_breach(hook, TENON_E_INVALID, "R41", "buffer_create: buffer is NULL");
    int32_t expect = tenon_buffer_desc_check(desc, &info, &why);
    if (expect == TENON_E_INVALID)
        return tenon__check_breach(hook, expect, "R41", "buffer_create: %s", why.text);
    struct tenon_buffer *got = UNTOUCHED;
    int32_t status = tenon__check_status(hook, "buffer_create", hook->next->buffer_create(device, desc, &got));
    if (status)
        return got == (struct tenon_buffer *)UNTOUCHED
                   ? status
                   : tenon__check_backend_breach(hook, "R26", "buffer_create failed and set its output");
    if (!got || got == (struct tenon_buffer *)UNTOUCHED)
        return tenon__check_backend_breach(hook, "R26", "buffer_create returned OK and no buffer");
    if (expect) {
        hook->next->buffer_destroy(got);
        return tenon__check_backend_breach(hook, "R41", "buffer_create accepted what the rules refuse: %s", why.text);
    }
    pthread_mutex_lock(&hook->lock);
    int twice = tenon__hook_find(hook, HOOK_BUFFER, got) != NULL;
    struct hook_object *object =
        twice ? NULL : tenon__hook_add(hook, HOOK_BUFFER, got, parent, sizeof(struct check_buffer));
    if (object) {
        struct check_buffer *data = object->data;
        data->size = desc->size;
        data->base = desc->host_ptr ? (uintptr_t)desc->host_ptr : atomic_fetch_add(&next_base, desc->size + 4096);
        *buffer = got;
    }
    pthread_mutex_unlock(&hook->lock);
    if (twice)
        return tenon__check_backend_breach(hook, "R40", "buffer_create gave out a buffer that is alive already");
    if (!object)
        hook->next->buffer_destroy(got);
    return object ? TENON_OK : tenon__hook_fail(hook, TENON_E_NOMEM, "out of memory for a layer");
}

static void buffer_destroy(struct hook *hook, struct tenon_buffer *buffer)
{
    if (!buffer) {
        hook->next->buffer_destroy(NULL);
        return;
    }
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_BUFFER, buffer, "buffer_destroy");
    const struct check_queue *queue = object ? busy(hook, object) : NULL;
    if (queue)
        tenon__check_breach(hook, TENON_E_INVALID, "R40",
                            "buffer_destroy: number %llu of a queue uses it, %llu is done",
                            (unsigned long long)queue->last, (unsigned long long)queue->done);
    if (object && !queue)
        tenon__hook_remove(hook, object);
    pthread_mutex_unlock(&hook->lock);
    if (object && !queue)
        hook->next->buffer_destroy(buffer);
}

static int32_t may_map(struct hook *hook, struct hook_object *object, uint64_t offset, uint64_t size, uint32_t mode)
{
    const struct check_buffer *data = object->data;
    const struct check_device *device = object->device->data;
    if (!mode || mode & ~(TENON_MAP_READ | TENON_MAP_WRITE))
        return tenon__check_breach(hook, TENON_E_INVALID, "R42", "buffer_map: mode 0x%x", mode);
    if (!size || offset > data->size || size > data->size - offset)
        return tenon__check_breach(hook, TENON_E_INVALID, "R42", "buffer_map: %llu bytes at %llu of a buffer of %llu",
                                   (unsigned long long)size, (unsigned long long)offset,
                                   (unsigned long long)data->size);
    if (data->mapped)
        return tenon__check_breach(hook, TENON_E_INVALID, "R42", "buffer_map: the buffer is mapped already");
    if (!(device->info.caps & TENON_CAP_UNIFIED) && busy(hook, object))
        return tenon__check_breach(hook, TENON_E_INVALID, "R42", "buffer_map: a submitted command uses the buffer");
    return TENON_OK;
}

static int32_t buffer_map(struct hook *hook, struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                          void **pointer)
{
    if (!pointer)
        return tenon__check_breach(hook, TENON_E_INVALID, "R42", "buffer_map: pointer is NULL");
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_BUFFER, buffer, "buffer_map");
    int32_t status = object ? may_map(hook, object, offset, size, mode) : TENON_E_INVALID;
    pthread_mutex_unlock(&hook->lock);
    if (status)
        return status;
    void *got = UNTOUCHED;
    status = tenon__check_status(hook, "buffer_map", hook->next->buffer_map(buffer, offset, size, mode, &got));
    if (status)
        return status;
    if (!got || got == UNTOUCHED)
        return tenon__check_backend_breach(hook, "R26", "buffer_map returned OK and no pointer");
    pthread_mutex_lock(&hook->lock);
    ((struct check_buffer *)object->data)->mapped = 1;
    pthread_mutex_unlock(&hook->lock);
    *pointer = got;
    return TENON_OK;
}

static int32_t buffer_unmap(struct hook *hook, struct tenon_buffer *buffer)
{
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_BUFFER, buffer, "buffer_unmap");
    struct check_buffer *data = object ? object->data : NULL;
    if (!object)
        return unlock(hook, TENON_E_INVALID);
    if (!data->mapped)
        return unlock(hook,
                      tenon__check_breach(hook, TENON_E_INVALID, "R42", "buffer_unmap: the buffer is not mapped"));
    data->mapped = 0;
    pthread_mutex_unlock(&hook->lock);
    return tenon__check_status(hook, "buffer_unmap", hook->next->buffer_unmap(buffer));
}

/* ---- plans ---- */

static int32_t read_info(struct hook *hook, const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    *info = (struct tenon_plan_info){.struct_size = sizeof *info};
    if (hook->next->plan_info(plan, info))
        return tenon__check_backend_breach(hook, "R53", "plan_info of a new plan failed");
    if (info->struct_size != sizeof *info)
        return tenon__check_backend_breach(hook, "R5", "plan_info changed struct_size");
    if (info->workspace_align & (info->workspace_align - 1))
        return tenon__check_backend_breach(hook, "R53", "workspace_align %u is not a power of two",
                                           info->workspace_align);
    if (!memchr(info->impl, 0, sizeof info->impl))
        return tenon__check_backend_breach(hook, "R8", "impl has no NUL");
    return TENON_OK;
}

static int32_t remember_plan(struct hook *hook, struct tenon_device *device, const struct tenon_op_desc *desc,
                             struct tenon_plan *plan)
{
    struct tenon_plan_info info;
    int32_t status = read_info(hook, plan, &info);
    if (status)
        return status;
    pthread_mutex_lock(&hook->lock);
    struct hook_object *parent = tenon__hook_find(hook, HOOK_DEVICE, device);
    if (tenon__hook_find(hook, HOOK_PLAN, plan))
        return unlock(hook,
                      tenon__check_backend_breach(hook, "R40", "plan_create gave out a plan that is alive already"));
    struct hook_object *object = tenon__hook_add(hook, HOOK_PLAN, plan, parent, sizeof(struct check_plan));
    if (!object)
        return unlock(hook, tenon__hook_fail(hook, TENON_E_NOMEM, "out of memory for a layer"));
    struct check_plan *data = object->data;
    data->info = info;
    data->n_tensors = desc->n_tensors;
    /* A vendor's operator is not known here: then only counts are checked. */
    if (tenon_op_check(desc, &data->contract, data->params, sizeof data->params, NULL) == TENON_OK)
        tenon_op_tensors(desc, data->contract, data->tensor);
    return unlock(hook, TENON_OK);
}

static int32_t plan_create(struct hook *hook, struct tenon_device *device, const struct tenon_op_desc *desc,
                           struct tenon_plan **plan)
{
    struct tenon_why why;
    pthread_mutex_lock(&hook->lock);
    struct hook_object *parent = find(hook, HOOK_DEVICE, device, "plan_create");
    if (unlock(hook, parent ? TENON_OK : TENON_E_INVALID))
        return TENON_E_INVALID;
    if (!desc)
        return tenon__check_breach(hook, TENON_E_INVALID, "R4", "plan_create: the descriptor is NULL");
    int vendor = desc->struct_size >= sizeof *desc && desc->op & TENON_OP_VENDOR;
    int32_t expect = vendor ? TENON_OK : tenon_op_check(desc, NULL, NULL, 0, &why);
    int32_t answer = tenon__check_status(hook, "plan_create", hook->next->plan_create(device, desc, NULL));
    if (expect && answer != expect && answer != TENON_E_NOMEM && answer != TENON_E_LOST)
        return tenon__check_backend_breach(hook, "R50", "plan_create says %s, the contract says %s: %s",
                                           tenon_status_name(answer), tenon_status_name(expect), why.text);
    if (!plan)
        return answer;
    struct tenon_plan *got = UNTOUCHED;
    int32_t status = tenon__check_status(hook, "plan_create", hook->next->plan_create(device, desc, &got));
    int wrong = status != answer && status != TENON_E_NOMEM && status != TENON_E_LOST && answer != TENON_E_NOMEM;
    if (wrong)
        tenon__check_backend_breach(hook, "R51", "plan_create says %s without a plan and %s with one",
                                    tenon_status_name(answer), tenon_status_name(status));
    if (status)
        return got == (struct tenon_plan *)UNTOUCHED
                   ? (wrong ? TENON_E_INTERNAL : status)
                   : tenon__check_backend_breach(hook, "R26", "plan_create failed and set its output");
    if (!got || got == (struct tenon_plan *)UNTOUCHED)
        return tenon__check_backend_breach(hook, "R26", "plan_create returned OK and no plan");
    status = wrong ? TENON_E_INTERNAL : remember_plan(hook, device, desc, got);
    if (status)
        hook->next->plan_destroy(got);
    else
        *plan = got;
    return status;
}

static int32_t plan_info(struct hook *hook, const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_PLAN, plan, "plan_info");
    struct tenon_plan_info first = object ? ((struct check_plan *)object->data)->info : (struct tenon_plan_info){0};
    int recorded = object && ((struct check_plan *)object->data)->recorded; /* its info was not read when it was made */
    if (unlock(hook, object ? TENON_OK : TENON_E_INVALID))
        return TENON_E_INVALID;
    if (!info || info->struct_size < 8 || info->struct_size > TENON_STRUCT_MAX)
        return tenon__check_breach(hook, TENON_E_INVALID, "R5", "plan_info: struct_size %u",
                                   info ? info->struct_size : 0);
    uint32_t size = info->struct_size;
    int32_t status = tenon__check_status(hook, "plan_info", hook->next->plan_info(plan, info));
    if (info->struct_size != size)
        return tenon__check_backend_breach(hook, "R5", "plan_info changed struct_size from %u to %u", size,
                                           info->struct_size);
    if (!status && !recorded && size >= sizeof *info &&
        (info->workspace != first.workspace || info->workspace_align != first.workspace_align))
        return tenon__check_backend_breach(hook, "R53", "the workspace of a plan changed from %llu to %llu",
                                           (unsigned long long)first.workspace, (unsigned long long)info->workspace);
    return status;
}

static void plan_destroy(struct hook *hook, struct tenon_plan *plan)
{
    if (!plan) {
        hook->next->plan_destroy(NULL);
        return;
    }
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_PLAN, plan, "plan_destroy");
    const struct check_queue *queue = object ? busy(hook, object) : NULL;
    if (queue)
        tenon__check_breach(hook, TENON_E_INVALID, "R40", "plan_destroy: number %llu of a queue uses it, %llu is done",
                            (unsigned long long)queue->last, (unsigned long long)queue->done);
    if (object && !queue)
        tenon__hook_remove(hook, object);
    pthread_mutex_unlock(&hook->lock);
    if (object && !queue)
        hook->next->plan_destroy(plan);
}

/* ---- queues ---- */

static int32_t queue_create(struct hook *hook, struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    if (!queue)
        return tenon__check_breach(hook, TENON_E_INVALID, "R60", "queue_create: queue is NULL");
    pthread_mutex_lock(&hook->lock);
    struct hook_object *parent = find(hook, HOOK_DEVICE, device, "queue_create");
    struct check_device *data = parent ? parent->data : NULL;
    int full = data && data->queues >= data->info.max_queues;
    if (unlock(hook, parent ? TENON_OK : TENON_E_INVALID))
        return TENON_E_INVALID;
    if (full)
        return tenon__check_breach(hook, TENON_E_INVALID, "R60", "queue_create: the device has %u queues at most",
                                   data->info.max_queues);
    struct tenon_queue *got = UNTOUCHED;
    int32_t status = tenon__check_status(hook, "queue_create", hook->next->queue_create(device, flags, &got));
    if (status)
        return status;
    if (!got || got == (struct tenon_queue *)UNTOUCHED)
        return tenon__check_backend_breach(hook, "R26", "queue_create returned OK and no queue");
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = tenon__hook_add(hook, HOOK_QUEUE, got, parent, sizeof(struct check_queue));
    if (object) {
        ((struct check_queue *)object->data)->number = atomic_fetch_add(&next_number, 1);
        data->queues++;
        *queue = got;
    }
    pthread_mutex_unlock(&hook->lock);
    if (!object)
        hook->next->queue_destroy(got);
    return object ? TENON_OK : tenon__hook_fail(hook, TENON_E_NOMEM, "out of memory for a layer");
}

static void queue_destroy(struct hook *hook, struct tenon_queue *queue)
{
    if (!queue) {
        hook->next->queue_destroy(NULL);
        return;
    }
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = find(hook, HOOK_QUEUE, queue, "queue_destroy");
    const struct check_queue *data = object ? object->data : NULL;
    if (object && data->done < data->last && !object->device->lost) {
        tenon__check_breach(hook, TENON_E_INVALID, "R40", "queue_destroy: number %llu was not waited for, %llu is done",
                            (unsigned long long)data->last, (unsigned long long)data->done);
        object = NULL;
    }
    if (object) {
        ((struct check_device *)object->device->data)->queues--;
        tenon__hook_remove(hook, object);
    }
    pthread_mutex_unlock(&hook->lock);
    if (object)
        hook->next->queue_destroy(queue);
}

const struct hook_calls tenon__layer = {
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
    .enqueue = tenon__check_enqueue,
    .queue_wait = tenon__check_queue_wait,
    .plan_record = tenon__check_plan_record,
    .extension = tenon__hook_extension,
};
