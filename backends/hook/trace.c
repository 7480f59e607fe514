/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layer "trace": one line a call: function, arguments, what came of it, microseconds. Lines have the level INFO. */
#include "hook.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define LINE 640

struct line {
    char text[LINE];
    size_t used;
    struct timespec begin;
};

static void TENON_PRINTF(2, 3) add(struct line *line, const char *format, ...)
{
    va_list list;
    if (line->used >= sizeof line->text)
        return; /* cut: the end matters less than the rest of the log */
    va_start(list, format);
    int n = vsnprintf(line->text + line->used, sizeof line->text - line->used, format, list);
    va_end(list);
    line->used += n > 0 ? (size_t)n : 0;
}

static void begin(struct line *line)
{
    clock_gettime(CLOCK_MONOTONIC, &line->begin);
}

static void end(const struct hook *hook, struct line *line, const char *result)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double us = 1e6 * (double)(now.tv_sec - line->begin.tv_sec) + 1e-3 * (double)(now.tv_nsec - line->begin.tv_nsec);
    tenon__hook_log(hook, TENON_LOG_INFO, "%s.%s -> %s, %.1f us", hook->next->id, line->text, result, us);
}

static int32_t done(const struct hook *hook, struct line *line, int32_t status)
{
    end(hook, line, tenon_status_name(status));
    return status;
}

static void add_tensor(struct line *line, const char *name, const struct tenon_tensor *t)
{
    add(line, " %s=%s[", name, tenon_dtype_name(t->dtype));
    for (uint32_t i = 0; i < t->rank && i < TENON_MAX_RANK; i++)
        add(line, "%s%" PRId64, i ? "," : "", t->dim[i]);
    add(line, "]");
}

static void add_desc(struct line *line, const struct tenon_op_desc *desc)
{
    if (!desc || desc->struct_size < sizeof *desc) {
        add(line, "a bad descriptor");
        return;
    }
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(desc->op);
    if (!contract) {
        add(line, "operator %" PRIu32, desc->op);
        return;
    }
    add(line, "%s", contract->name);
    for (uint32_t i = 0; desc->tensors && i < desc->n_tensors && i < contract->n_tensors; i++)
        if (desc->tensors[i].dtype)
            add_tensor(line, contract->tensors[i].name, &desc->tensors[i]);
}

static void add_cmd(struct line *line, const struct tenon_cmd *cmd)
{
    switch (cmd ? cmd->kind : 0) {
    case TENON_CMD_RUN:
        add(line, " RUN(%p, %" PRIu32 " args)", (void *)cmd->plan, cmd->n_args);
        break;
    case TENON_CMD_COPY:
        add(line, " COPY(%" PRIu64 " bytes)", cmd->size);
        break;
    case TENON_CMD_FILL:
        add(line, " FILL(%" PRIu64 " bytes, 0x%08" PRIx32 ")", cmd->size, (uint32_t)cmd->value);
        break;
    case TENON_CMD_WAIT:
        add(line, " WAIT(%p, %" PRIu64 ")", (void *)cmd->queue, cmd->value);
        break;
    default:
        add(line, " ?");
    }
}

#define BEGIN(...)                                                                                                     \
    struct line line = {.used = 0};                                                                                    \
    add(&line, __VA_ARGS__);                                                                                           \
    begin(&line)

static int32_t start(struct hook *hook)
{
    tenon__hook_log(hook, TENON_LOG_INFO, "tracing %s", hook->next->id);
    return TENON_OK;
}

static int32_t device_count(struct hook *hook, uint32_t *count)
{
    BEGIN("device_count()");
    int32_t status = hook->next->device_count(count);
    if (!status)
        add(&line, " = %" PRIu32, *count);
    return done(hook, &line, status);
}

static int32_t device_info(struct hook *hook, uint32_t index, struct tenon_device_info *info)
{
    BEGIN("device_info(%" PRIu32 ")", index);
    int32_t status = hook->next->device_info(index, info);
    if (!status && info->struct_size >= sizeof *info)
        add(&line, " = \"%.*s\"", (int)sizeof info->name, info->name);
    return done(hook, &line, status);
}

static int32_t device_open(struct hook *hook, uint32_t index, const struct tenon_chain *next,
                           struct tenon_device **device)
{
    BEGIN("device_open(%" PRIu32 ")", index);
    int32_t status = hook->next->device_open(index, next, device);
    if (!status)
        add(&line, " = %p", (void *)*device);
    return done(hook, &line, status);
}

static int32_t buffer_create(struct hook *hook, struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **buffer)
{
    BEGIN("buffer_create(%p, %" PRIu64 " bytes, flags 0x%" PRIx32 ")", (void *)device, desc ? desc->size : 0,
          desc ? desc->flags : 0);
    int32_t status = hook->next->buffer_create(device, desc, buffer);
    if (!status)
        add(&line, " = %p", (void *)*buffer);
    return done(hook, &line, status);
}

static int32_t buffer_map(struct hook *hook, struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                          void **pointer)
{
    BEGIN("buffer_map(%p, %" PRIu64 " + %" PRIu64 ", %s%s)", (void *)buffer, offset, size,
          mode & TENON_MAP_READ ? "r" : "", mode & TENON_MAP_WRITE ? "w" : "");
    return done(hook, &line, hook->next->buffer_map(buffer, offset, size, mode, pointer));
}

static int32_t buffer_unmap(struct hook *hook, struct tenon_buffer *buffer)
{
    BEGIN("buffer_unmap(%p)", (void *)buffer);
    return done(hook, &line, hook->next->buffer_unmap(buffer));
}

static int32_t plan_create(struct hook *hook, struct tenon_device *device, const struct tenon_op_desc *desc,
                           struct tenon_plan **plan)
{
    struct line line = {.used = 0};
    add(&line, "plan_create(%p, ", (void *)device);
    add_desc(&line, desc);
    add(&line, plan ? ")" : ", NULL)");
    begin(&line);
    int32_t status = hook->next->plan_create(device, desc, plan);
    if (!status && plan)
        add(&line, " = %p", (void *)*plan);
    return done(hook, &line, status);
}

static int32_t plan_info(struct hook *hook, const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    BEGIN("plan_info(%p)", (const void *)plan);
    int32_t status = hook->next->plan_info(plan, info);
    if (!status && info->struct_size >= sizeof *info)
        add(&line, " = \"%.*s\", workspace %" PRIu64, (int)sizeof info->impl, info->impl, info->workspace);
    return done(hook, &line, status);
}

static int32_t queue_create(struct hook *hook, struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    BEGIN("queue_create(%p, flags 0x%" PRIx32 ")", (void *)device, flags);
    int32_t status = hook->next->queue_create(device, flags, queue);
    if (!status)
        add(&line, " = %p", (void *)*queue);
    return done(hook, &line, status);
}

static int32_t enqueue(struct hook *hook, struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n,
                       uint64_t *seq)
{
    struct line line = {.used = 0};
    add(&line, "enqueue(%p,", (void *)queue);
    for (uint32_t i = 0; cmds && i < n; i++)
        add_cmd(&line, cmds[i]);
    add(&line, ")");
    begin(&line);
    int32_t status = hook->next->enqueue(queue, cmds, n, seq);
    if (!status)
        add(&line, " = %" PRIu64, *seq);
    return done(hook, &line, status);
}

static int32_t queue_wait(struct hook *hook, struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    BEGIN("queue_wait(%p, %" PRIu64 ", %" PRIu64 " ns)", (void *)queue, seq, timeout_ns);
    return done(hook, &line, hook->next->queue_wait(queue, seq, timeout_ns));
}

static int32_t plan_record(struct hook *hook, struct tenon_device *device, const struct tenon_cmd *const *cmds,
                           uint32_t n, struct tenon_plan **plan)
{
    struct line line = {.used = 0};
    add(&line, "plan_record(%p,", (void *)device);
    for (uint32_t i = 0; cmds && i < n; i++)
        add_cmd(&line, cmds[i]);
    add(&line, ")");
    begin(&line);
    int32_t status = tenon__hook_plan_record(hook, device, cmds, n, plan);
    if (!status)
        add(&line, " = %p", (void *)*plan);
    return done(hook, &line, status);
}

static const void *extension(struct hook *hook, const char *id)
{
    BEGIN("extension(%.64s)", id ? id : "NULL");
    const void *found = tenon__hook_extension(hook, id);
    end(hook, &line, found ? "found" : "NULL");
    return found;
}

#define DESTROY(name, type)                                                                                            \
    static void name(struct hook *hook, struct type *object)                                                           \
    {                                                                                                                  \
        BEGIN(#name "(%p)", (void *)object);                                                                           \
        hook->next->name(object);                                                                                      \
        end(hook, &line, "done");                                                                                      \
    }
DESTROY(device_close, tenon_device)
DESTROY(buffer_destroy, tenon_buffer)
DESTROY(plan_destroy, tenon_plan)
DESTROY(queue_destroy, tenon_queue)

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
    .extension = extension,
};
