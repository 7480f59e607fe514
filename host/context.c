/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A context: an open device with one queue, and the buffers that its runs share. */
#include "host.h"

#include <stdio.h>
#include <string.h>

int32_t tenon__context_wait(struct tenon_context *context, uint64_t seq)
{
    if (seq <= context->done)
        return TENON_OK;
    tenon__error_clear();
    int32_t status = context->b->queue_wait(context->queue, seq, UINT64_MAX);
    if (status)
        return tenon__fail_from(status, context->spec);
    context->done = seq;
    return TENON_OK;
}

int32_t tenon__context_submit(struct tenon_context *context, const struct tenon_cmd *const *cmds, uint32_t n)
{
    uint64_t seq = 0;
    tenon__error_clear();
    int32_t status = context->b->enqueue(context->queue, cmds, n, &seq);
    if (status)
        return tenon__fail_from(status, context->spec);
    context->submitted = seq;
    if (context->info.caps & TENON_CAP_SYNC)
        context->done = seq;
    return TENON_OK;
}

int32_t tenon__context_buffer(struct tenon_context *context, uint64_t size, uint32_t flags, void *host,
                              struct tenon_buffer **buffer)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .flags = flags, .size = size, .host_ptr = host};
    struct tenon_buffer *made = NULL;
    tenon__error_clear();
    int32_t status = context->b->buffer_create(context->device, &desc, &made);
    if (status)
        return tenon__fail_from(status, context->spec);
    if (!made)
        return tenon__fail(TENON_E_INTERNAL, "%s: buffer_create returned OK and no buffer", context->spec);
    *buffer = made;
    return TENON_OK;
}

/* In-order queue: consecutive runs may use the same workspace. It only grows, by half more than asked for. */
int32_t tenon__context_workspace(struct tenon_context *context, uint64_t size)
{
    if (size <= context->workspace_size)
        return TENON_OK;
    int32_t status = tenon__context_wait(context, context->submitted);
    if (status)
        return status;
    context->b->buffer_destroy(context->workspace);
    context->workspace = NULL;
    context->workspace_size = 0;
    uint64_t room = size + size / 2;
    if (room > context->info.max_buffer || room < size)
        room = size;
    status = tenon__context_buffer(context, room, 0, NULL, &context->workspace);
    if (status && room > size)
        status = tenon__context_buffer(context, room = size, 0, NULL, &context->workspace);
    if (!status)
        context->workspace_size = room;
    return status;
}

int32_t tenon__context_empty(struct tenon_context *context)
{
    return context->empty ? TENON_OK : tenon__context_buffer(context, 256, 0, NULL, &context->empty);
}

static int32_t open_queue(struct tenon_context *context)
{
    tenon__error_clear();
    int32_t status = context->b->queue_create(context->device, 0, &context->queue);
    if (status)
        return tenon__fail_from(status, context->spec);
    return context->queue ? TENON_OK
                          : tenon__fail(TENON_E_INTERNAL, "%s: queue_create returned OK and no queue", context->spec);
}

int32_t tenon_context_open(const char *selector, struct tenon_context **context)
{
    if (!context)
        return tenon__fail(TENON_E_INVALID, "tenon_context_open: context is NULL");
    struct tenon_context *made = tenon__alloc(sizeof *made);
    if (!made)
        return TENON_E_NOMEM;
    uint32_t index = 0;
    int32_t status = tenon__select(selector, &made->plugin, &index, &made->device);
    if (status) {
        tenon__free(made);
        return status;
    }
    made->b = made->plugin->use;
    made->info = made->plugin->devices[index].info;
    made->next_base = (uint64_t)1 << 62; /* above every host address */
    snprintf(made->spec, sizeof made->spec, "%s:%u", made->plugin->id, index);
    status = open_queue(made);
    if (status) {
        tenon_context_close(made);
        return status;
    }
    tenon__log(TENON_LOG_INFO, "using %s: %s (%s)", made->spec, made->info.name, made->info.driver);
    *context = made;
    return TENON_OK;
}

void tenon_context_close(struct tenon_context *context)
{
    if (!context)
        return;
    const struct tenon_backend *b = context->b;
    if (context->queue && tenon__context_wait(context, context->submitted))
        tenon__log(TENON_LOG_WARN, "closing: %s", tenon_error());
    tenon__memories_orphan(context);
    tenon__plans_destroy(context);
    for (uint32_t i = 0; i < TENON__TEMPS_MAX; i++)
        b->buffer_destroy(context->temp[i].buffer);
    b->buffer_destroy(context->stage);
    b->buffer_destroy(context->empty);
    b->buffer_destroy(context->workspace);
    b->queue_destroy(context->queue);
    tenon__lock();
    b->device_close(context->device);
    tenon__unlock();
    tenon__free(context);
}

int32_t tenon_finish(struct tenon_context *context)
{
    if (!context)
        return tenon__fail(TENON_E_INVALID, "tenon_finish: context is NULL");
    return tenon__context_wait(context, context->submitted);
}

const struct tenon_backend *tenon_context_backend(const struct tenon_context *context)
{
    return context ? context->b : NULL;
}

struct tenon_device *tenon_context_device(const struct tenon_context *context)
{
    return context ? context->device : NULL;
}

const struct tenon_device_info *tenon_context_info(const struct tenon_context *context)
{
    return context ? &context->info : NULL;
}

const char *tenon_context_spec(const struct tenon_context *context)
{
    return context ? context->spec : "";
}
