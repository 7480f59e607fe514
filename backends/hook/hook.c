/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "hook.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct hook hooks[HOOK_SLOTS];

/* ---- one set of functions a slot ---- */

#define CALL(n, name, parameters, ...)                                                                                 \
    static int32_t name##_##n parameters                                                                               \
    {                                                                                                                  \
        return tenon__layer.name(&hooks[n], __VA_ARGS__);                                                              \
    }
#define DESTROY(n, name, type)                                                                                         \
    static void name##_##n(struct type *object)                                                                        \
    {                                                                                                                  \
        tenon__layer.name(&hooks[n], object);                                                                          \
    }
#define SLOT(n)                                                                                                        \
    CALL(n, device_count, (uint32_t * count), count)                                                                   \
    CALL(n, device_info, (uint32_t index, struct tenon_device_info * info), index, info)                               \
    CALL(n, device_open, (uint32_t index, const struct tenon_chain *next, struct tenon_device **device), index, next,  \
         device)                                                                                                       \
    DESTROY(n, device_close, tenon_device)                                                                             \
    CALL(n, buffer_create,                                                                                             \
         (struct tenon_device * device, const struct tenon_buffer_desc *desc, struct tenon_buffer **buffer), device,   \
         desc, buffer)                                                                                                 \
    DESTROY(n, buffer_destroy, tenon_buffer)                                                                           \
    CALL(n, buffer_map, (struct tenon_buffer * buffer, uint64_t offset, uint64_t size, uint32_t mode, void **pointer), \
         buffer, offset, size, mode, pointer)                                                                          \
    CALL(n, buffer_unmap, (struct tenon_buffer * buffer), buffer)                                                      \
    CALL(n, plan_create, (struct tenon_device * device, const struct tenon_op_desc *desc, struct tenon_plan **plan),   \
         device, desc, plan)                                                                                           \
    CALL(n, plan_info, (const struct tenon_plan *plan, struct tenon_plan_info *info), plan, info)                      \
    DESTROY(n, plan_destroy, tenon_plan)                                                                               \
    CALL(n, queue_create, (struct tenon_device * device, uint32_t flags, struct tenon_queue * *queue), device, flags,  \
         queue)                                                                                                        \
    DESTROY(n, queue_destroy, tenon_queue)                                                                             \
    CALL(n, enqueue, (struct tenon_queue * queue, const struct tenon_cmd *const *cmds, uint32_t count, uint64_t *seq), \
         queue, cmds, count, seq)                                                                                      \
    CALL(n, queue_wait, (struct tenon_queue * queue, uint64_t seq, uint64_t timeout_ns), queue, seq, timeout_ns)       \
    CALL(                                                                                                              \
        n, plan_record,                                                                                                \
        (struct tenon_device * device, const struct tenon_cmd *const *cmds, uint32_t count, struct tenon_plan **plan), \
        device, cmds, count, plan)                                                                                     \
    static const void *extension_##n(const char *id)                                                                   \
    {                                                                                                                  \
        return tenon__layer.extension(&hooks[n], id);                                                                  \
    }
#define TABLE(n)                                                                                                       \
    {                                                                                                                  \
        .struct_size = sizeof(struct tenon_backend), .abi_minor = TENON_ABI_MINOR, .device_count = device_count_##n,   \
        .device_info = device_info_##n, .device_open = device_open_##n, .device_close = device_close_##n,              \
        .buffer_create = buffer_create_##n, .buffer_destroy = buffer_destroy_##n, .buffer_map = buffer_map_##n,        \
        .buffer_unmap = buffer_unmap_##n, .plan_create = plan_create_##n, .plan_info = plan_info_##n,                  \
        .plan_destroy = plan_destroy_##n, .queue_create = queue_create_##n, .queue_destroy = queue_destroy_##n,        \
        .enqueue = enqueue_##n, .queue_wait = queue_wait_##n, .plan_record = plan_record_##n,                          \
        .extension = extension_##n,                                                                                    \
    }

SLOT(0)
SLOT(1) SLOT(2) SLOT(3) SLOT(4) SLOT(5) SLOT(6) SLOT(7)

    static struct tenon_backend tables[HOOK_SLOTS] = {TABLE(0), TABLE(1), TABLE(2), TABLE(3),
                                                      TABLE(4), TABLE(5), TABLE(6), TABLE(7)};

/* ---- the entry ---- */

static int32_t start(struct hook *hook, const struct tenon_host *host, const struct tenon_backend *next)
{
    *hook = (struct hook){.host = host, .next = next};
    if (pthread_mutex_init(&hook->lock, NULL)) {
        hook->next = NULL;
        return host->fail(host, TENON_E_INTERNAL, "no mutex");
    }
    int32_t status = tenon__layer.start ? tenon__layer.start(hook) : TENON_OK;
    if (status) {
        pthread_mutex_destroy(&hook->lock);
        hook->next = NULL;
    }
    return status;
}

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host)
{
    const struct tenon_backend *next = host->extension(host, "tenon.next/1");
    if (!next) {
        host->fail(host, TENON_E_INVALID, "this is a layer: name it in TENON_LAYERS");
        return NULL;
    }
    for (uint32_t i = 0; i < HOOK_SLOTS; i++) {
        if (hooks[i].next == next)
            return &tables[i];
        if (hooks[i].next)
            continue;
        tables[i].id = next->id;
        tables[i].version = next->version;
        return start(&hooks[i], host, next) ? NULL : &tables[i];
    }
    host->fail(host, TENON_E_UNSUPPORTED, "more backends than a layer can wrap at once (8)");
    return NULL;
}

/* ---- what layers use ---- */

void tenon__hook_log(const struct hook *hook, int32_t level, const char *format, ...)
{
    char text[768];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    hook->host->log(hook->host, level, text);
}

int32_t tenon__hook_fail(const struct hook *hook, int32_t status, const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return hook->host->fail(hook->host, status, text);
}

int32_t tenon__hook_plan_record(const struct hook *hook, struct tenon_device *device,
                                const struct tenon_cmd *const *cmds, uint32_t n, struct tenon_plan **plan)
{
    if (!hook->next->plan_record)
        return tenon__hook_fail(hook, TENON_E_UNSUPPORTED, "%s cannot record", hook->next->id);
    return hook->next->plan_record(device, cmds, n, plan);
}

const void *tenon__hook_extension(struct hook *hook, const char *id)
{
    return hook->next->extension ? hook->next->extension(id) : NULL;
}

static struct hook_object **bucket_of(struct hook *hook, const void *key)
{
    uint64_t bits = (uint64_t)(uintptr_t)key * UINT64_C(0x9e3779b97f4a7c15);
    return &hook->bucket[(bits >> 32) % HOOK_BUCKETS];
}

struct hook_object *tenon__hook_add(struct hook *hook, uint32_t kind, const void *key, struct hook_object *device,
                                    size_t data_size)
{
    struct hook_object *object = hook->host->alloc(hook->host, sizeof *object, _Alignof(struct hook_object));
    void *data = data_size ? hook->host->alloc(hook->host, data_size, 16) : NULL;
    if (!object || (data_size && !data)) {
        hook->host->free(hook->host, object);
        hook->host->free(hook->host, data);
        return NULL;
    }
    struct hook_object **bucket = bucket_of(hook, key);
    *object = (struct hook_object){.next = *bucket, .key = key, .device = device, .kind = kind, .data = data};
    if (data)
        memset(data, 0, data_size);
    if (device)
        device->children++;
    *bucket = object;
    return object;
}

struct hook_object *tenon__hook_find(struct hook *hook, uint32_t kind, const void *key)
{
    struct hook_object *object = *bucket_of(hook, key);
    while (object && (object->key != key || object->kind != kind))
        object = object->next;
    return object;
}

void tenon__hook_remove(struct hook *hook, struct hook_object *object)
{
    struct hook_object **link = bucket_of(hook, object->key);
    while (*link != object)
        link = &(*link)->next;
    *link = object->next;
    if (object->device)
        object->device->children--;
    hook->host->free(hook->host, object->data);
    hook->host->free(hook->host, object);
}

const char *tenon__hook_kind(uint32_t kind)
{
    static const char *const names[] = {"device", "buffer", "plan", "queue"};
    return names[kind];
}
