/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * enqueue checks the whole batch, then runs it on the calling thread: when it returns, its number is done. */
#include <stddef.h>
#include <string.h>

#include "cpu_backend.h"

#define CHUNK (UINT64_C(4) << 20) /* bytes of a transfer that are worth waking a thread for */

int32_t tenon__cpu_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    const struct tenon_host *host = device->env.host;
    struct tenon_why why;
    if (flags)
        return tenon__cpu_fail(tenon_why_set(&why, TENON_E_UNSUPPORTED, "queue flags 0x%x: none are known here", flags),
                               &why);
    if (!queue)
        return host->fail(host, TENON_E_INVALID, "queue_create: no place for the queue");
    struct tenon_queue *q = host->alloc(host, sizeof *q, _Alignof(struct tenon_queue));
    if (!q)
        return host->fail(host, TENON_E_NOMEM, "no memory for a queue");
    q->device = device;
    atomic_init(&q->last, 0);
    *queue = q;
    return TENON_OK;
}

void tenon__cpu_queue_destroy(struct tenon_queue *queue)
{
    if (queue)
        queue->device->env.host->free(queue->device->env.host, queue);
}

int32_t tenon__cpu_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    struct tenon_why why;
    (void)timeout_ns; /* whatever was given out is done */
    if (!queue)
        return tenon__cpu_fail(tenon_why_set(&why, TENON_E_INVALID, "queue_wait: no queue"), &why);
    const uint64_t last = atomic_load_explicit(&queue->last, memory_order_acquire);
    if (seq <= last)
        return TENON_OK;
    return tenon__cpu_fail(tenon_why_set(&why, TENON_E_INVALID,
                                         "queue_wait: number %llu was never given out; the last is %llu",
                                         (unsigned long long)seq, (unsigned long long)last),
                           &why);
}

/* Where `bytes` at a bind lie. */
static int32_t locate(const struct tenon_queue *queue, const struct tenon_bind *bind, uint64_t bytes, const char *what,
                      unsigned char **data, struct tenon_why *why)
{
    const struct tenon_buffer *b = bind->buffer;
    if (!b)
        return tenon_why_set(why, TENON_E_INVALID, "%s: no buffer", what);
    if (b->device != queue->device)
        return tenon_why_set(why, TENON_E_INVALID, "%s: the buffer is another device's", what);
    if (bind->offset > b->size || bytes > b->size - bind->offset)
        return tenon_why_set(why, TENON_E_INVALID, "%s: offset %llu + %llu bytes: beyond the buffer's %llu", what,
                             (unsigned long long)bind->offset, (unsigned long long)bytes,
                             (unsigned long long)b->size);
    *data = b->data + bind->offset;
    return TENON_OK;
}

/* The addresses of a RUN; ptr has room for all tensors. */
static int32_t resolve_run(const struct tenon_queue *queue, const struct tenon_cmd *cmd, void **ptr, void **workspace,
                           struct tenon_why *why)
{
    const struct tenon_plan *plan = cmd->plan;
    uint64_t range[TENON_MAX_TENSORS][2];
    unsigned char *data;
    if (plan->device != queue->device)
        return tenon_why_set(why, TENON_E_INVALID, "RUN: the plan is another device's");
    if (cmd->n_args != plan->cpu.n_tensors)
        return tenon_why_set(why, TENON_E_INVALID, "RUN: n_args %u: %s has %u tensors", cmd->n_args,
                             plan->contract->name, plan->cpu.n_tensors);
    for (uint32_t i = 0; i < cmd->n_args; i++) {
        ptr[i] = NULL;
        range[i][0] = range[i][1] = 0;
        if (plan->cpu.tensor[i].dtype == TENON_ABSENT)
            continue;
        const int32_t status =
            locate(queue, &cmd->args[i], plan->bytes[i], plan->contract->tensors[i].name, &data, why);
        if (status)
            return status;
        ptr[i] = data;
        range[i][0] = (uintptr_t)data;
        range[i][1] = range[i][0] + plan->bytes[i];
    }
    *workspace = NULL;
    const uint64_t need = plan->cpu.workspace;
    if (need) {
        if (!cmd->workspace.buffer || locate(queue, &cmd->workspace, need, "RUN: workspace", &data, why))
            return tenon_why_set(why, TENON_E_WORKSPACE, "RUN: workspace: needs %llu bytes inside one buffer",
                                 (unsigned long long)need);
        if ((uintptr_t)data % CPU_ALIGN)
            return tenon_why_set(why, TENON_E_WORKSPACE, "RUN: workspace: must be aligned to %d bytes", CPU_ALIGN);
        for (uint32_t i = 0; i < cmd->n_args; i++)
            if (range[i][0] < range[i][1] && range[i][0] < (uintptr_t)data + need && (uintptr_t)data < range[i][1])
                return tenon_why_set(why, TENON_E_WORKSPACE, "RUN: workspace: overlaps %s",
                                     plan->contract->tensors[i].name);
        *workspace = data;
    }
    return tenon_op_check_alias(plan->contract, plan->cpu.params, plan->cpu.tensor,
                                (const uint64_t(*)[2])range, why);
}

static int32_t resolve_copy(const struct tenon_queue *queue, const struct tenon_cmd *cmd, unsigned char **to,
                            unsigned char **from, struct tenon_why *why)
{
    int32_t status = locate(queue, &cmd->args[0], cmd->size, "COPY: destination", to, why);
    if (!status)
        status = locate(queue, &cmd->args[1], cmd->size, "COPY: source", from, why);
    if (!status && *to < *from + cmd->size && *from < *to + cmd->size)
        status = tenon_why_set(why, TENON_E_INVALID, "COPY: source and destination overlap");
    return status;
}

static int32_t check_wait(const struct tenon_queue *queue, const struct tenon_cmd *cmd, struct tenon_why *why)
{
    if (cmd->queue == queue || cmd->queue->device != queue->device)
        return tenon_why_set(why, TENON_E_INVALID, "WAIT: must name another queue of the same device");
    const uint64_t last = atomic_load_explicit(&cmd->queue->last, memory_order_acquire);
    if (cmd->value > last)
        return tenon_why_set(why, TENON_E_INVALID, "WAIT: number %llu was never given out; the last is %llu",
                             (unsigned long long)cmd->value, (unsigned long long)last);
    return TENON_OK;
}

static int32_t check_command(const struct tenon_queue *queue, const struct tenon_cmd *cmd, struct tenon_why *why)
{
    void *ptr[TENON_MAX_TENSORS], *workspace;
    unsigned char *to, *from;
    const int32_t status = tenon_cmd_check(cmd, &queue->device->info, why);
    if (status)
        return status;
    switch (cmd->kind) {
    case TENON_CMD_RUN:
        return resolve_run(queue, cmd, ptr, &workspace, why);
    case TENON_CMD_COPY:
        return resolve_copy(queue, cmd, &to, &from, why);
    case TENON_CMD_FILL:
        return locate(queue, &cmd->args[0], cmd->size, "FILL", &to, why);
    default:
        return check_wait(queue, cmd, why);
    }
}

struct transfer {
    unsigned char *to;
    const unsigned char *from; /* NULL: fill with value */
    uint64_t size;
    uint32_t value;
};

static void transfer_chunk(void *context, uint32_t i)
{
    const struct transfer *t = context;
    const uint64_t start = i * CHUNK, n = t->size - start < CHUNK ? t->size - start : CHUNK;
    if (t->from) {
        memcpy(t->to + start, t->from + start, (size_t)n);
        return;
    }
    for (uint64_t k = 0; k < n; k += sizeof t->value)
        memcpy(t->to + start + k, &t->value, sizeof t->value);
}

static void run_transfer(const struct tenon_host *host, struct transfer *t)
{
    const uint64_t chunks = (t->size + CHUNK - 1) / CHUNK; /* below 2^32 for any memory there is */
    if (chunks == 1)
        transfer_chunk(t, 0);
    else
        host->parallel(host, (uint32_t)chunks, transfer_chunk, t);
}

/* Only what check_command has accepted. */
static void run_command(const struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    const struct tenon_host *host = queue->device->env.host;
    void *ptr[TENON_MAX_TENSORS], *workspace = NULL;
    struct transfer t = {.size = cmd->size, .value = (uint32_t)cmd->value};
    struct tenon_why why;
    if (cmd->kind == TENON_CMD_RUN) {
        if (!resolve_run(queue, cmd, ptr, &workspace, &why))
            cmd->plan->cpu.op->run(&cmd->plan->cpu, ptr, workspace);
    } else if (cmd->kind == TENON_CMD_COPY && cmd->size) {
        unsigned char *from = NULL;
        if (!resolve_copy(queue, cmd, &t.to, &from, &why)) {
            t.from = from;
            run_transfer(host, &t);
        }
    } else if (cmd->kind == TENON_CMD_FILL && cmd->size) {
        if (!locate(queue, &cmd->args[0], cmd->size, "FILL", &t.to, &why))
            run_transfer(host, &t);
    }
}

int32_t tenon__cpu_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    struct tenon_why why;
    int32_t status = TENON_OK;
    if (!queue || !cmds || !n || !seq)
        status = tenon_why_set(&why, TENON_E_INVALID, "enqueue: needs a queue, commands and a place for the number");
    for (uint32_t i = 0; !status && i < n; i++)
        status = check_command(queue, cmds[i], &why);
    if (status)
        return tenon__cpu_fail(status, &why);
    for (uint32_t i = 0; i < n; i++)
        run_command(queue, cmds[i]);
    *seq = atomic_fetch_add_explicit(&queue->last, 1, memory_order_release) + 1;
    return TENON_OK;
}
