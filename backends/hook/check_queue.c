/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layer "check": commands, batches, numbers. */
#include "check.h"

#include <string.h>

#define BAD(status, rule, ...) tenon__check_breach(hook, status, rule, __VA_ARGS__)
#define WIDE(value)            ((unsigned long long)(value))

/* A buffer of this device with `size` bytes at the bind's offset. range: where that is in the address space of
 * overlaps. */
static int32_t check_range(struct hook *hook, const struct hook_object *device, const struct tenon_bind *bind,
                           uint64_t size, int32_t status, const char *rule, const char *what, uint64_t range[2])
{
    struct hook_object *object = bind->buffer ? tenon__hook_find(hook, HOOK_BUFFER, bind->buffer) : NULL;
    if (!object || object->device != device)
        return BAD(status, rule, "%s: %p is not a live buffer of this device", what, (void *)bind->buffer);
    const struct check_buffer *data = object->data;
    const struct check_device *parent = device->data;
    if (bind->offset > data->size || size > data->size - bind->offset)
        return BAD(status, rule, "%s: %llu bytes at %llu of a buffer of %llu", what, WIDE(size), WIDE(bind->offset),
                   WIDE(data->size));
    if (data->mapped && !(parent->info.caps & TENON_CAP_UNIFIED))
        return BAD(TENON_E_INVALID, "R42", "%s: the buffer is mapped", what);
    range[0] = data->base + bind->offset;
    range[1] = range[0] + size;
    return TENON_OK;
}

static int overlap(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] < a[1] && b[0] < b[1] && a[0] < b[1] && b[0] < a[1];
}

static int32_t check_workspace(struct hook *hook, const struct hook_object *device, const struct check_plan *plan,
                               const struct tenon_cmd *cmd, const uint64_t (*range)[2])
{
    uint64_t space[2];
    if (!plan->info.workspace)
        return TENON_OK;
    int32_t status = check_range(hook, device, &cmd->workspace, plan->info.workspace, TENON_E_WORKSPACE, "R64",
                                 "RUN: workspace", space);
    if (status)
        return status;
    if (plan->info.workspace_align && cmd->workspace.offset % plan->info.workspace_align)
        return BAD(TENON_E_WORKSPACE, "R64", "RUN: workspace at %llu: must be a multiple of %u",
                   WIDE(cmd->workspace.offset), plan->info.workspace_align);
    for (uint32_t i = 0; i < plan->n_tensors; i++)
        if (overlap(space, range[i]))
            return BAD(TENON_E_WORKSPACE, "R64", "RUN: workspace overlaps tensor %u", i);
    return TENON_OK;
}

static int32_t check_recording(struct hook *hook, const struct check_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_refs; i++)
        if (!tenon__hook_find(hook, plan->ref[i].kind, plan->ref[i].key))
            return BAD(TENON_E_INVALID, "R40", "RUN of a recording: its %s %p was destroyed",
                       tenon__hook_kind(plan->ref[i].kind), plan->ref[i].key);
    return TENON_OK;
}

static int32_t check_run(struct hook *hook, const struct hook_object *device, const struct tenon_cmd *cmd)
{
    uint64_t range[TENON_MAX_TENSORS][2];
    struct hook_object *object = tenon__hook_find(hook, HOOK_PLAN, cmd->plan);
    if (!object || object->device != device)
        return BAD(TENON_E_INVALID, "R63", "RUN: %p is not a live plan of this device", (void *)cmd->plan);
    const struct check_plan *plan = object->data;
    uint32_t wanted = plan->recorded ? 0 : plan->n_tensors;
    if (cmd->n_args != wanted)
        return BAD(TENON_E_INVALID, "R63", "RUN: n_args %u: must be %u", cmd->n_args, wanted);
    if (plan->recorded)
        return check_recording(hook, plan);
    memset(range, 0, sizeof range);
    for (uint32_t i = 0; plan->contract && i < plan->contract->n_tensors; i++) {
        if (!plan->tensor[i].dtype)
            continue;
        int32_t status = check_range(hook, device, &cmd->args[i], tenon_tensor_bytes(&plan->tensor[i]), TENON_E_INVALID,
                                     "R63", plan->contract->tensors[i].name, range[i]);
        if (status)
            return status;
    }
    struct tenon_why why;
    if (plan->contract &&
        tenon_op_check_alias(plan->contract, plan->params, plan->tensor, (const uint64_t(*)[2])range, &why))
        return BAD(TENON_E_ALIAS, "R65", "RUN: %s", why.text);
    return check_workspace(hook, device, plan, cmd, (const uint64_t(*)[2])range);
}

static int32_t check_wait(struct hook *hook, const struct hook_object *device, const struct hook_object *queue,
                          const struct tenon_cmd *cmd)
{
    struct hook_object *other = tenon__hook_find(hook, HOOK_QUEUE, cmd->queue);
    if (!other || other->device != device || other == queue)
        return BAD(TENON_E_INVALID, "R67", "WAIT: %p is not another live queue of this device", (void *)cmd->queue);
    const struct check_queue *data = other->data;
    if (cmd->value > data->last)
        return BAD(TENON_E_INVALID, "R67", "WAIT: number %llu was not given out, the last is %llu", WIDE(cmd->value),
                   WIDE(data->last));
    return TENON_OK;
}

static int32_t check_cmd(struct hook *hook, const struct hook_object *device, const struct hook_object *queue,
                         const struct tenon_cmd *cmd)
{
    uint64_t range[2][2];
    struct tenon_why why;
    int32_t status = tenon_cmd_check(cmd, &((struct check_device *)device->data)->info, &why);
    if (status == TENON_E_UNSUPPORTED)
        return tenon__hook_fail(hook, status, "%s", why.text); /* asking is allowed */
    if (status)
        return BAD(status, cmd && cmd->kind == TENON_CMD_RUN ? "R63" : "R66", "%s", why.text);
    if (cmd->kind == TENON_CMD_RUN)
        return check_run(hook, device, cmd);
    if (cmd->kind == TENON_CMD_WAIT)
        return check_wait(hook, device, queue, cmd);
    for (uint32_t i = 0; !status && i < cmd->n_args; i++)
        status = check_range(hook, device, &cmd->args[i], cmd->size, TENON_E_INVALID, "R66",
                             cmd->kind == TENON_CMD_COPY ? "COPY" : "FILL", range[i]);
    if (!status && cmd->kind == TENON_CMD_COPY && overlap(range[0], range[1]))
        status = BAD(TENON_E_INVALID, "R66", "COPY: the ranges overlap");
    return status;
}

int32_t tenon__check_cmds(struct hook *hook, struct hook_object *device, struct hook_object *queue,
                          const struct tenon_cmd *const *cmds, uint32_t n)
{
    if (!n || !cmds)
        return BAD(TENON_E_INVALID, "R61", "a batch of %u commands: must be at least 1", n);
    for (uint32_t i = 0; i < n; i++) {
        int32_t status = check_cmd(hook, device, queue, cmds[i]);
        if (status)
            return status;
    }
    return TENON_OK;
}

void tenon__check_each_ref(struct hook *hook, const struct tenon_cmd *const *cmds, uint32_t n,
                           void (*fn)(void *context, struct hook *hook, uint32_t kind, const void *key), void *context)
{
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < cmds[i]->n_args; j++)
            if (cmds[i]->args[j].buffer)
                fn(context, hook, HOOK_BUFFER, cmds[i]->args[j].buffer);
        if (cmds[i]->kind != TENON_CMD_RUN)
            continue;
        if (cmds[i]->workspace.buffer)
            fn(context, hook, HOOK_BUFFER, cmds[i]->workspace.buffer);
        fn(context, hook, HOOK_PLAN, cmds[i]->plan);
        struct hook_object *object = tenon__hook_find(hook, HOOK_PLAN, cmds[i]->plan);
        const struct check_plan *plan = object ? object->data : NULL;
        for (uint32_t j = 0; plan && j < plan->n_refs; j++)
            fn(context, hook, plan->ref[j].kind, plan->ref[j].key);
    }
}

/* ---- queues ---- */

static void mark(void *context, struct hook *hook, uint32_t kind, const void *key)
{
    const struct check_queue *queue = context;
    struct hook_object *object = tenon__hook_find(hook, kind, key);
    if (!object)
        return;
    struct check_use *use = tenon__check_uses(object), *oldest = use;
    for (uint32_t i = 0; i < CHECK_USES; i++) {
        if (use[i].queue == queue->number) {
            use[i].seq = queue->last;
            return;
        }
        if (use[i].queue < oldest->queue)
            oldest = &use[i];
    }
    *oldest = (struct check_use){queue->number, queue->last};
}

/* With the lock held, after the backend took the batch. */
static int32_t note_batch(struct hook *hook, struct hook_object *object, const struct tenon_cmd *const *cmds,
                          uint32_t n, uint64_t got)
{
    struct check_queue *queue = object->data;
    const struct check_device *device = object->device->data;
    uint64_t before = queue->last;
    queue->last = got > before ? got : before + 1;
    tenon__check_each_ref(hook, cmds, n, mark, queue);
    if (device->info.caps & TENON_CAP_SYNC)
        queue->done = queue->last;
    if (got != before + 1)
        return tenon__check_backend_breach(hook, "R61", "enqueue gave number %llu after %llu", WIDE(got), WIDE(before));
    return TENON_OK;
}

static int32_t leave(struct hook *hook, struct hook_object *object, int32_t status)
{
    ((struct check_queue *)object->data)->inside = 0;
    pthread_mutex_unlock(&hook->lock);
    return status;
}

int32_t tenon__check_enqueue(struct hook *hook, struct tenon_queue *queue, const struct tenon_cmd *const *cmds,
                             uint32_t n, uint64_t *seq)
{
    const uint64_t untouched = UINT64_C(0x7e907e907e907e90);
    uint64_t got = untouched;
    if (!seq)
        return BAD(TENON_E_INVALID, "R61", "enqueue: seq is NULL");
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = queue ? tenon__hook_find(hook, HOOK_QUEUE, queue) : NULL;
    struct check_queue *data = object ? object->data : NULL;
    int32_t status = TENON_OK;
    if (!object)
        status = BAD(TENON_E_INVALID, "R40", "enqueue: %p is not a live queue", (void *)queue);
    else if (data->inside)
        status = BAD(TENON_E_INVALID, "R60", "enqueue: another thread is inside a call on this queue");
    if (status) {
        pthread_mutex_unlock(&hook->lock);
        return status;
    }
    data->inside = 1;
    status = tenon__check_cmds(hook, object->device, object, cmds, n);
    if (status)
        return leave(hook, object, status);
    int lost = object->device->lost;
    pthread_mutex_unlock(&hook->lock);
    status = tenon__check_status(hook, "enqueue", hook->next->enqueue(queue, cmds, n, &got));
    pthread_mutex_lock(&hook->lock);
    if (status == TENON_E_LOST)
        object->device->lost = 1;
    else if (lost && status == TENON_OK)
        return leave(hook, object, tenon__check_backend_breach(hook, "R68", "enqueue gives OK after LOST"));
    if (status && got != untouched)
        return leave(hook, object, tenon__check_backend_breach(hook, "R26", "enqueue failed and set seq"));
    if (status)
        return leave(hook, object, status);
    status = note_batch(hook, object, cmds, n, got);
    if (!status)
        *seq = got;
    return leave(hook, object, status);
}

int32_t tenon__check_queue_wait(struct hook *hook, struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = queue ? tenon__hook_find(hook, HOOK_QUEUE, queue) : NULL;
    struct check_queue *data = object ? object->data : NULL;
    int32_t status = TENON_OK;
    if (!object)
        status = BAD(TENON_E_INVALID, "R40", "queue_wait: %p is not a live queue", (void *)queue);
    else if (seq > data->last)
        status = BAD(TENON_E_INVALID, "R62", "queue_wait: number %llu was not given out, the last is %llu", WIDE(seq),
                     WIDE(data->last));
    int known_done = !status && seq <= data->done, lost = !status && object->device->lost;
    pthread_mutex_unlock(&hook->lock);
    if (status)
        return status;
    status = tenon__check_status(hook, "queue_wait", hook->next->queue_wait(queue, seq, timeout_ns));
    if (status == TENON_E_TIMEOUT && timeout_ns == UINT64_MAX)
        return tenon__check_backend_breach(hook, "R62", "queue_wait timed out without a limit");
    if (status == TENON_E_TIMEOUT && known_done)
        return tenon__check_backend_breach(hook, "R62", "queue_wait says that number %llu is not done, which it was",
                                           WIDE(seq));
    pthread_mutex_lock(&hook->lock);
    if (status == TENON_E_LOST)
        object->device->lost = 1;
    else if (status == TENON_OK && lost && !known_done)
        status = tenon__check_backend_breach(hook, "R68", "queue_wait gives OK after LOST");
    if (status != TENON_E_TIMEOUT && seq > data->done)
        data->done = seq; /* whatever came of the work, it is over */
    pthread_mutex_unlock(&hook->lock);
    return status;
}

/* ---- recordings ---- */

/* What a recording plays it has copied, so that may be destroyed (R40); what that one uses is listed by each_ref
 * itself. */
static int is_copied(struct hook *hook, uint32_t kind, const void *key)
{
    struct hook_object *object = kind == HOOK_PLAN ? tenon__hook_find(hook, kind, key) : NULL;
    return object && ((const struct check_plan *)object->data)->recorded;
}

static void count_ref(void *context, struct hook *hook, uint32_t kind, const void *key)
{
    *(uint32_t *)context += !is_copied(hook, kind, key);
}

static void keep_ref(void *context, struct hook *hook, uint32_t kind, const void *key)
{
    struct check_plan *plan = context;
    if (!is_copied(hook, kind, key))
        plan->ref[plan->n_refs++] = (struct check_ref){kind, key};
}

static int32_t remember_recording(struct hook *hook, struct hook_object *device, const struct tenon_cmd *const *cmds,
                                  uint32_t n, const struct tenon_plan *plan)
{
    uint32_t refs = 0;
    tenon__check_each_ref(hook, cmds, n, count_ref, &refs);
    struct hook_object *object =
        tenon__hook_add(hook, HOOK_PLAN, plan, device, sizeof(struct check_plan) + refs * sizeof(struct check_ref));
    if (!object)
        return tenon__hook_fail(hook, TENON_E_NOMEM, "out of memory for a layer");
    struct check_plan *data = object->data;
    data->recorded = 1;
    tenon__check_each_ref(hook, cmds, n, keep_ref, data);
    return TENON_OK;
}

int32_t tenon__check_plan_record(struct hook *hook, struct tenon_device *device, const struct tenon_cmd *const *cmds,
                                 uint32_t n, struct tenon_plan **plan)
{
    struct tenon_plan *got = NULL;
    if (!plan)
        return BAD(TENON_E_INVALID, "R26", "plan_record: plan is NULL");
    pthread_mutex_lock(&hook->lock);
    struct hook_object *object = device ? tenon__hook_find(hook, HOOK_DEVICE, device) : NULL;
    int32_t status = object ? tenon__check_cmds(hook, object, NULL, cmds, n)
                            : BAD(TENON_E_INVALID, "R40", "plan_record: %p is not a live device", (void *)device);
    pthread_mutex_unlock(&hook->lock);
    if (!status)
        status = tenon__check_status(hook, "plan_record", tenon__hook_plan_record(hook, device, cmds, n, &got));
    if (status)
        return status;
    if (!got)
        return tenon__check_backend_breach(hook, "R26", "plan_record returned OK and no plan");
    pthread_mutex_lock(&hook->lock);
    status = remember_recording(hook, object, cmds, n, got);
    pthread_mutex_unlock(&hook->lock);
    if (status)
        hook->next->plan_destroy(got);
    else
        *plan = got;
    return status;
}
