/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Bytes between the host and the device. Devices whose memory the host sees are mapped; the others get their bytes
 * through one pinned buffer and COPY commands, in pieces, so that no size is too large. */
#include "host.h"

#include <string.h>

/* ---- through a mapping ---- */

static int32_t map(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset, uint64_t size,
                   uint32_t mode, void **pointer)
{
    *pointer = NULL;
    tenon__error_clear();
    int32_t status = context->b->buffer_map(buffer, offset, size, mode, pointer);
    if (status)
        return tenon__fail_from(status, context->spec);
    return *pointer ? TENON_OK
                    : tenon__fail(TENON_E_INTERNAL, "%s: buffer_map returned OK and no pointer", context->spec);
}

static int32_t unmap(struct tenon_context *context, struct tenon_buffer *buffer)
{
    tenon__error_clear();
    int32_t status = context->b->buffer_unmap(buffer);
    return status ? tenon__fail_from(status, context->spec) : TENON_OK;
}

int32_t tenon__mapped_write(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset,
                            const void *data, uint64_t size)
{
    void *to;
    int32_t status = map(context, buffer, offset, size, TENON_MAP_WRITE, &to);
    if (status)
        return status;
    memcpy(to, data, (size_t)size);
    return unmap(context, buffer);
}

int32_t tenon__mapped_read(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset, void *data,
                           uint64_t size)
{
    void *from;
    int32_t status = map(context, buffer, offset, size, TENON_MAP_READ, &from);
    if (status)
        return status;
    memcpy(data, from, (size_t)size);
    return unmap(context, buffer);
}

/* ---- through the pinned buffer ---- */

int32_t tenon__stage_get(struct tenon_context *context, uint64_t size)
{
    int32_t status = tenon__context_wait(context, context->stage_seq);
    if (status || size <= context->stage_size)
        return status;
    uint64_t room = 64 << 10;
    while (room < size)
        room *= 2;
    if (room > context->info.max_buffer)
        room = size;
    context->b->buffer_destroy(context->stage);
    context->stage = NULL;
    context->stage_size = 0;
    status = tenon__context_buffer(context, room, TENON_BUF_HOST, NULL, &context->stage);
    if (!status)
        context->stage_size = room;
    return status;
}

static int32_t copy(struct tenon_context *context, struct tenon_buffer *to, uint64_t to_offset,
                    struct tenon_buffer *from, uint64_t from_offset, uint64_t size)
{
    const struct tenon_bind args[2] = {{to, to_offset}, {from, from_offset}};
    const struct tenon_cmd cmd = {
        .struct_size = sizeof cmd, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = size};
    const struct tenon_cmd *const list[] = {&cmd};
    return tenon__context_submit(context, list, 1);
}

/* COPY takes aligned offsets only; anything else goes through a mapping, which takes any. */
static int direct(const struct tenon_context *context, uint64_t offset)
{
    return (context->info.caps & TENON_CAP_UNIFIED) || offset % context->info.bind_align;
}

int32_t tenon__buffer_write(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset,
                            const void *data, uint64_t size)
{
    if (direct(context, offset)) {
        int32_t status = tenon__context_wait(context, context->submitted);
        return status ? status : tenon__mapped_write(context, buffer, offset, data, size);
    }
    for (uint64_t at = 0; at < size;) {
        uint64_t piece = size - at < TENON__STAGE_MAX ? size - at : TENON__STAGE_MAX;
        int32_t status = tenon__stage_get(context, piece);
        if (!status)
            status = tenon__mapped_write(context, context->stage, 0, (const char *)data + at, piece);
        if (!status)
            status = copy(context, buffer, offset + at, context->stage, 0, piece);
        if (status)
            return status;
        context->stage_seq = context->submitted;
        at += piece;
    }
    return TENON_OK;
}

int32_t tenon__buffer_read(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset, void *data,
                           uint64_t size)
{
    if (direct(context, offset)) {
        int32_t status = tenon__context_wait(context, context->submitted);
        return status ? status : tenon__mapped_read(context, buffer, offset, data, size);
    }
    for (uint64_t at = 0; at < size;) {
        uint64_t piece = size - at < TENON__STAGE_MAX ? size - at : TENON__STAGE_MAX;
        int32_t status = tenon__stage_get(context, piece);
        if (!status)
            status = copy(context, context->stage, 0, buffer, offset + at, piece);
        if (!status)
            status = tenon__context_wait(context, context->stage_seq = context->submitted);
        if (!status)
            status = tenon__mapped_read(context, context->stage, 0, (char *)data + at, piece);
        if (status)
            return status;
        at += piece;
    }
    return TENON_OK;
}

/* ---- the application's memory ---- */

int32_t tenon_memory_create(struct tenon_context *context, uint64_t size, struct tenon_memory **memory)
{
    if (!context || !memory)
        return tenon__fail(TENON_E_INVALID, "tenon_memory_create: %s is NULL", context ? "memory" : "context");
    if (!size || size > context->info.max_buffer)
        return tenon__fail(size ? TENON_E_NOMEM : TENON_E_INVALID, "%s: %llu bytes of memory: must be 1 to %llu",
                           context->spec, (unsigned long long)size, (unsigned long long)context->info.max_buffer);
    struct tenon_memory *made = tenon__alloc(sizeof *made);
    if (!made)
        return TENON_E_NOMEM;
    int32_t status = tenon__context_buffer(context, size, 0, NULL, &made->buffer);
    if (status) {
        tenon__free(made);
        return status;
    }
    made->context = context;
    made->size = size;
    made->base = context->next_base;
    context->next_base += size + 4096 - size % 4096;
    made->next = context->memories;
    if (made->next)
        made->next->previous = made;
    context->memories = made;
    *memory = made;
    return TENON_OK;
}

void tenon_memory_destroy(struct tenon_memory *memory)
{
    if (!memory)
        return;
    struct tenon_context *context = memory->context;
    if (context) {
        if (tenon__context_wait(context, memory->used_seq))
            tenon__log(TENON_LOG_WARN, "freeing memory: %s", tenon_error());
        if (memory->previous)
            memory->previous->next = memory->next;
        else
            context->memories = memory->next;
        if (memory->next)
            memory->next->previous = memory->previous;
        context->b->buffer_destroy(memory->buffer);
    }
    tenon__free(memory);
}

/* A context may be closed before its memory: the buffers go with it, the handles stay to be destroyed. */
void tenon__memories_orphan(struct tenon_context *context)
{
    for (struct tenon_memory *m = context->memories; m; m = m->next) {
        context->b->buffer_destroy(m->buffer);
        m->buffer = NULL;
        m->context = NULL;
    }
    context->memories = NULL;
}

static int32_t check_range(const struct tenon_memory *memory, uint64_t offset, uint64_t size, const char *call)
{
    if (!memory || !memory->context)
        return tenon__fail(TENON_E_INVALID, "%s: %s", call, memory ? "the context was closed" : "memory is NULL");
    if (offset > memory->size || size > memory->size - offset)
        return tenon__fail(TENON_E_INVALID, "%s: bytes %llu to %llu of %llu", call, (unsigned long long)offset,
                           (unsigned long long)(offset + size), (unsigned long long)memory->size);
    return TENON_OK;
}

int32_t tenon_memory_write(struct tenon_memory *memory, uint64_t offset, const void *data, uint64_t size)
{
    int32_t status = check_range(memory, offset, size, "tenon_memory_write");
    if (status || !size)
        return status;
    if (!data)
        return tenon__fail(TENON_E_INVALID, "tenon_memory_write: data is NULL");
    status = tenon__buffer_write(memory->context, memory->buffer, offset, data, size);
    memory->used_seq = memory->context->submitted;
    return status;
}

int32_t tenon_memory_read(struct tenon_memory *memory, uint64_t offset, void *data, uint64_t size)
{
    int32_t status = check_range(memory, offset, size, "tenon_memory_read");
    if (status || !size)
        return status;
    if (!data)
        return tenon__fail(TENON_E_INVALID, "tenon_memory_read: data is NULL");
    return tenon__buffer_read(memory->context, memory->buffer, offset, data, size);
}

/* Offsets that COPY does not take: by way of the host, in pieces. */
static int32_t copy_bounced(struct tenon_memory *to, uint64_t to_offset, struct tenon_memory *from,
                            uint64_t from_offset, uint64_t size)
{
    struct tenon_context *context = to->context;
    const uint64_t room = size < ((uint64_t)1 << 20) ? size : (uint64_t)1 << 20;
    char *bounce = tenon__alloc((size_t)room);
    int32_t status = bounce ? tenon__context_wait(context, context->submitted) : TENON_E_NOMEM;
    for (uint64_t at = 0; at < size && !status; at += room) {
        uint64_t piece = size - at < room ? size - at : room;
        status = tenon__mapped_read(context, from->buffer, from_offset + at, bounce, piece);
        if (!status)
            status = tenon__mapped_write(context, to->buffer, to_offset + at, bounce, piece);
    }
    tenon__free(bounce);
    return status;
}

int32_t tenon_memory_copy(struct tenon_memory *to, uint64_t to_offset, struct tenon_memory *from, uint64_t from_offset,
                          uint64_t size)
{
    int32_t status = check_range(to, to_offset, size, "tenon_memory_copy: destination");
    if (!status)
        status = check_range(from, from_offset, size, "tenon_memory_copy: source");
    if (status || !size)
        return status;
    struct tenon_context *context = to->context;
    if (context != from->context)
        return tenon__fail(TENON_E_INVALID, "tenon_memory_copy: the two belong to different contexts");
    if (to == from && to_offset < from_offset + size && from_offset < to_offset + size)
        return tenon__fail(TENON_E_ALIAS, "tenon_memory_copy: source and destination overlap");
    if (to_offset % context->info.bind_align || from_offset % context->info.bind_align)
        return copy_bounced(to, to_offset, from, from_offset, size);
    status = copy(context, to->buffer, to_offset, from->buffer, from_offset, size);
    to->used_seq = from->used_seq = context->submitted;
    return status;
}

int32_t tenon_memory_fill(struct tenon_memory *memory, uint64_t offset, uint32_t word, uint64_t size)
{
    int32_t status = check_range(memory, offset, size, "tenon_memory_fill");
    if (status || !size)
        return status;
    struct tenon_context *context = memory->context;
    if (offset % 4 || size % 4)
        return tenon__fail(TENON_E_INVALID, "tenon_memory_fill: offset %llu and size %llu must be multiples of 4",
                           (unsigned long long)offset, (unsigned long long)size);
    if (offset % context->info.bind_align) {
        uint32_t *to;
        status = tenon__context_wait(context, context->submitted);
        if (!status)
            status = map(context, memory->buffer, offset, size, TENON_MAP_WRITE, (void **)&to);
        if (status)
            return status;
        for (uint64_t i = 0; i < size / 4; i++)
            memcpy(to + i, &word, sizeof word);
        return unmap(context, memory->buffer);
    }
    const struct tenon_bind args[1] = {{memory->buffer, offset}};
    const struct tenon_cmd cmd = {
        .struct_size = sizeof cmd, .kind = TENON_CMD_FILL, .n_args = 1, .args = args, .size = size, .value = word};
    const struct tenon_cmd *const list[] = {&cmd};
    status = tenon__context_submit(context, list, 1);
    memory->used_seq = context->submitted;
    return status;
}
