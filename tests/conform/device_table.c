/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the device process: a run through the backend's own table, with a workspace whose content and surroundings are
 * poisoned. */
#include <fenv.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device_table.h"

#define CANARY 256 /* poisoned bytes on each side of the workspace, more where its alignment asks for it */

struct table_run table_begin(struct tenon_context *context)
{
    return (struct table_run){.backend = tenon_context_backend(context), .device = tenon_context_device(context)};
}

void table_finish(struct table_run *run)
{
    run->backend->queue_destroy(run->queue);
    run->backend->plan_destroy(run->plan);
    run->backend->buffer_destroy(run->workspace);
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        run->backend->buffer_destroy(run->buffer[i]);
}

int32_t table_buffer(struct table_run *run, uint64_t size, struct tenon_buffer **buffer)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof(desc), .size = size ? size : 4};
    return run->backend->buffer_create(run->device, &desc, buffer);
}

int32_t table_put(struct table_run *run, struct tenon_buffer *buffer, uint64_t offset, const void *data, uint64_t size)
{
    void *to;
    if (!size)
        return TENON_OK;
    int32_t status = run->backend->buffer_map(buffer, offset, size, TENON_MAP_WRITE, &to);
    if (status)
        return status;
    memcpy(to, data, size);
    return run->backend->buffer_unmap(buffer);
}

int32_t table_get(struct table_run *run, struct tenon_buffer *buffer, uint64_t offset, void *data, uint64_t size)
{
    void *from;
    if (!size)
        return TENON_OK;
    int32_t status = run->backend->buffer_map(buffer, offset, size, TENON_MAP_READ, &from);
    if (status)
        return status;
    memcpy(data, from, size);
    return run->backend->buffer_unmap(buffer);
}

static int32_t tensors_put(struct table_run *run, const struct device_ask *ask, const unsigned char *arena,
                           uint64_t align)
{
    int32_t status = TENON_OK;
    for (uint32_t i = 0; !status && i < ask->n; i++) {
        const struct device_slot *slot = &ask->slot[i];
        if (!slot->tensor.dtype || slot->same_as >= 0)
            continue;
        run->prefix[i] = (slot->before + align - 1) / align * align;
        status = table_buffer(run, run->prefix[i] + slot->size, &run->buffer[i]);
        if (!status)
            status = table_put(run, run->buffer[i], run->prefix[i], arena + slot->first, slot->size);
        run->bind[i] = (struct tenon_bind){run->buffer[i], run->prefix[i]};
    }
    for (uint32_t i = 0; !status && i < ask->n; i++) {
        const struct device_slot *slot = &ask->slot[i];
        if (slot->tensor.dtype && slot->same_as >= 0)
            run->bind[i] = (struct tenon_bind){run->buffer[slot->same_as], run->prefix[slot->same_as] + slot->first -
                                                                               ask->slot[slot->same_as].first};
    }
    return status;
}

static unsigned char poison_byte(uint32_t poison, uint64_t at)
{
    return (unsigned char)(poison >> 8 * (at & 3));
}

static int32_t workspace_put(struct table_run *run, uint32_t poison, uint64_t align)
{
    unsigned char *bytes;
    if (!run->info.workspace)
        return TENON_OK;
    if (run->info.workspace_align > align)
        align = run->info.workspace_align;
    run->before = (CANARY + align - 1) / align * align;
    uint64_t size = run->before + run->info.workspace + CANARY;
    int32_t status = table_buffer(run, size, &run->workspace);
    bytes = malloc(size);
    if (bytes && !status) {
        for (uint64_t i = 0; i < size; i++)
            bytes[i] = poison_byte(poison, i);
        status = table_put(run, run->workspace, 0, bytes, size);
    }
    free(bytes);
    return status;
}

static int32_t workspace_check(struct table_run *run, uint32_t poison, struct device_answer *answer)
{
    unsigned char bytes[CANARY];
    uint64_t size = run->info.workspace;
    for (int after = 0; after < 2 && run->workspace; after++) {
        uint64_t at = after ? run->before + size : run->before - CANARY;
        int32_t status = table_get(run, run->workspace, at, bytes, CANARY);
        if (status)
            return status;
        for (uint64_t i = 0; i < CANARY && !answer->broken; i++) {
            uint64_t byte = after ? i : CANARY - 1 - i; /* the nearest to the workspace first */
            if (bytes[byte] == poison_byte(poison, at + byte))
                continue;
            answer->broken = 1;
            snprintf(answer->text, sizeof(answer->text), "byte %llu %s the workspace of %llu bytes was written",
                     (unsigned long long)i, after ? "after" : "before", (unsigned long long)size);
        }
    }
    return TENON_OK;
}

/* R21. The table is called without the host between, which would put the mode back. */
static void mode_check(int rounding, struct device_answer *answer)
{
    volatile double least = DBL_MIN;
    if (answer->broken || (fegetround() == rounding && least / 2 != 0))
        return;
    answer->broken = 1;
    snprintf(answer->text, sizeof(answer->text), "the backend changed the floating-point mode of the caller's thread");
    fesetround(rounding);
}

static int32_t table_go(struct table_run *run, const struct device_ask *ask, unsigned char *arena, uint64_t align,
                        struct device_answer *answer)
{
    int rounding = fegetround();
    struct tenon_tensor tensors[TENON_MAX_TENSORS];
    struct tenon_op_desc desc = {
        .struct_size = sizeof(desc), .op = ask->op, .n_tensors = ask->n, .tensors = tensors, .params = ask->params};
    struct tenon_cmd cmd = {.struct_size = sizeof(cmd), .kind = TENON_CMD_RUN, .n_args = ask->n, .args = run->bind};
    const struct tenon_cmd *cmds[1] = {&cmd};
    uint64_t seq = 0;
    for (uint32_t i = 0; i < ask->n; i++)
        tensors[i] = ask->slot[i].tensor;
    int32_t status = run->backend->plan_create(run->device, &desc, &run->plan);
    memset(tensors, 0xff, sizeof(tensors)); /* a plan keeps copies of all it needs */
    run->info.struct_size = sizeof(run->info);
    if (!status)
        status = run->backend->plan_info(run->plan, &run->info);
    if (!status)
        status = workspace_put(run, ask->poison, align);
    if (!status)
        status = run->backend->queue_create(run->device, 0, &run->queue);
    cmd.plan = run->plan;
    cmd.workspace = (struct tenon_bind){run->workspace, run->before};
    if (!status)
        status = run->backend->enqueue(run->queue, cmds, 1, &seq);
    if (!status)
        status = run->backend->queue_wait(run->queue, seq, UINT64_MAX);
    for (uint32_t i = 0; !status && i < ask->n; i++)
        if (run->buffer[i])
            status = table_get(run, run->buffer[i], run->prefix[i], arena + ask->slot[i].first, ask->slot[i].size);
    if (!status)
        status = workspace_check(run, ask->poison, answer);
    mode_check(rounding, answer);
    snprintf(answer->impl, sizeof(answer->impl), "%s", run->info.impl);
    return status;
}

int32_t device_child_run_table(struct tenon_context *context, const struct device_ask *ask, unsigned char *arena,
                               struct device_answer *answer)
{
    uint64_t align = tenon_context_info(context)->bind_align;
    struct table_run run = table_begin(context);
    align = align < 4 ? 4 : align;
    int32_t status = tensors_put(&run, ask, arena, align);
    if (!status)
        status = table_go(&run, ask, arena, align, answer);
    if (status && !answer->text[0])
        snprintf(answer->text, sizeof(answer->text), "%s", tenon_error());
    table_finish(&run);
    return status;
}
