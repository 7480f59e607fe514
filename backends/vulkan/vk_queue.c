/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A queue's numbers are the values of its timeline semaphore. A batch is one command buffer and one submit. */
#include "vk.h"

#include <string.h>

int32_t tenon__vk_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **out)
{
    int32_t status = tenon__vk_alive(device);
    if (status)
        return status;
    if (flags)
        return tenon__vk_fail(TENON_E_UNSUPPORTED, "queue flags 0x%x: must be 0", flags);
    struct tenon_queue *queue = tenon__vk_alloc(sizeof *queue);
    if (!queue)
        return TENON_E_NOMEM;
    queue->device = device;
    queue->index = atomic_fetch_add(&device->next_queue, 1) % device->n_queues;
    VkSemaphoreTypeCreateInfo type = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE,
        .initialValue = 0,
    };
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VkResult result = tenon__vk.CreateSemaphore(device->device, &semaphore, NULL, &queue->timeline);
    if (result < 0) {
        status = tenon__vk_failed(device, result, "vkCreateSemaphore");
        goto free_queue;
    }
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT | VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
        .queueFamilyIndex = device->adapter->family,
    };
    result = tenon__vk.CreateCommandPool(device->device, &pool, NULL, &queue->pool);
    if (result < 0) {
        status = tenon__vk_failed(device, result, "vkCreateCommandPool");
        goto destroy_semaphore;
    }
    *out = queue;
    return TENON_OK;

destroy_semaphore:
    tenon__vk.DestroySemaphore(device->device, queue->timeline, NULL);
free_queue:
    tenon__vk_free(queue);
    return status;
}

static void free_commands(struct vk_commands *list)
{
    while (list) {
        struct vk_commands *next = list->next;
        tenon__vk_free(list);
        list = next;
    }
}

static VkResult wait_for(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    VkSemaphoreWaitInfo wait = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .semaphoreCount = 1,
        .pSemaphores = &queue->timeline,
        .pValues = &seq,
    };
    return tenon__vk.WaitSemaphores(queue->device->device, &wait, timeout_ns);
}

void tenon__vk_queue_destroy(struct tenon_queue *queue)
{
    if (!queue)
        return;
    struct tenon_device *device = queue->device;
    /* The caller has waited; a driver may still be tidying up the last submit when the semaphore is signalled. */
    if (queue->submitted && !device->lost)
        (void)wait_for(queue, queue->submitted, UINT64_MAX);
    free_commands(queue->oldest);
    free_commands(queue->idle);
    tenon__vk.DestroyCommandPool(device->device, queue->pool, NULL);
    tenon__vk.DestroySemaphore(device->device, queue->timeline, NULL);
    tenon__vk_free(queue);
}

int32_t tenon__vk_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    int32_t status = tenon__vk_alive(queue->device);
    if (status)
        return status;
    uint64_t submitted = queue->submitted;
    if (seq > submitted)
        return tenon__vk_fail(TENON_E_INVALID, "wait for number %llu: the last one given out is %llu",
                              (unsigned long long)seq, (unsigned long long)submitted);
    VkResult result = wait_for(queue, seq, timeout_ns);
    if (result == VK_TIMEOUT)
        return tenon__vk_fail(TENON_E_TIMEOUT, "number %llu is not done yet", (unsigned long long)seq);
    return result < 0 ? tenon__vk_failed(queue->device, result, "vkWaitSemaphores") : TENON_OK;
}

/* ---- checks ---- */

static int32_t check_range(const struct tenon_queue *queue, const char *what, const struct tenon_bind *bind,
                           uint64_t size)
{
    if (bind->buffer->device != queue->device)
        return tenon__vk_fail(TENON_E_INVALID, "%s: the buffer is of another device", what);
    if (size > bind->buffer->size || bind->offset > bind->buffer->size - size)
        return tenon__vk_fail(TENON_E_INVALID, "%s: %llu bytes at offset %llu: the buffer has %llu", what,
                              (unsigned long long)size, (unsigned long long)bind->offset,
                              (unsigned long long)bind->buffer->size);
    return TENON_OK;
}

static int32_t check_copy(const struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    int32_t status = check_range(queue, "COPY: target", &cmd->args[0], cmd->size);
    if (!status)
        status = check_range(queue, "COPY: source", &cmd->args[1], cmd->size);
    if (status)
        return status;
    uint64_t to = cmd->args[0].buffer->place + cmd->args[0].offset;
    uint64_t from = cmd->args[1].buffer->place + cmd->args[1].offset;
    if (to < from + cmd->size && from < to + cmd->size)
        return tenon__vk_fail(TENON_E_INVALID, "COPY: source and target overlap");
    return TENON_OK;
}

static int32_t check_wait(const struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    if (cmd->queue->device != queue->device || cmd->queue == queue)
        return tenon__vk_fail(TENON_E_INVALID, "WAIT: must name another queue of the same device");
    uint64_t submitted = cmd->queue->submitted;
    if (cmd->value > submitted) /* nothing would ever end this wait if both share a VkQueue */
        return tenon__vk_fail(TENON_E_INVALID, "WAIT for number %llu: the last one given out is %llu",
                              (unsigned long long)cmd->value, (unsigned long long)submitted);
    return TENON_OK;
}

static int32_t check_cmd(const struct tenon_queue *queue, const struct tenon_cmd *cmd)
{
    struct tenon_why why;
    int32_t status = tenon__vk_because(tenon_cmd_check(cmd, &queue->device->adapter->info, &why), &why);
    if (status)
        return status;
    switch (cmd->kind) {
    case TENON_CMD_RUN:
        if (cmd->plan->device != queue->device)
            return tenon__vk_fail(TENON_E_INVALID, "RUN: must name a plan of the same device");
        return tenon__vk_plan_check_run(cmd->plan, cmd);
    case TENON_CMD_COPY:
        return check_copy(queue, cmd);
    case TENON_CMD_FILL:
        return check_range(queue, "FILL: target", &cmd->args[0], cmd->size);
    default: /* WAIT; the contract knows no other */
        return check_wait(queue, cmd);
    }
}

/* ---- recording ---- */

void tenon__vk_barrier(VkCommandBuffer commands)
{
    const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_READ_BIT |
                         VK_ACCESS_TRANSFER_WRITE_BIT,
    };
    tenon__vk.CmdPipelineBarrier(commands, stages, stages, 0, 1, &barrier, 0, NULL, 0, NULL);
}

/* What the device wrote is seen by the host once the semaphore is signalled. */
static void barrier_to_host(VkCommandBuffer commands)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT | VK_ACCESS_HOST_WRITE_BIT,
    };
    tenon__vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                                 VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &barrier, 0, NULL, 0, NULL);
}

static void record_cmd(const struct tenon_cmd *cmd, VkCommandBuffer commands)
{
    if (cmd->kind == TENON_CMD_WAIT) /* the submit waits */
        return;
    if (cmd->kind != TENON_CMD_RUN && cmd->size == 0)
        return;
    /* The first one orders the batch behind the earlier ones of the same VkQueue. */
    tenon__vk_barrier(commands);
    if (cmd->kind == TENON_CMD_RUN) {
        tenon__vk_plan_record(cmd->plan, cmd, commands);
    } else if (cmd->kind == TENON_CMD_COPY) {
        const VkBufferCopy region = {
            .srcOffset = cmd->args[1].offset, .dstOffset = cmd->args[0].offset, .size = cmd->size};
        tenon__vk.CmdCopyBuffer(commands, cmd->args[1].buffer->buffer, cmd->args[0].buffer->buffer, 1, &region);
    } else {
        tenon__vk.CmdFillBuffer(commands, cmd->args[0].buffer->buffer, cmd->args[0].offset, cmd->size,
                                (uint32_t)cmd->value);
    }
}

/* A command buffer that no submit uses: one that is done, else a new one. */
static int32_t take_commands(struct tenon_queue *queue, struct vk_commands **out)
{
    struct tenon_device *device = queue->device;
    if (queue->oldest) {
        uint64_t done = 0;
        VkResult result = tenon__vk.GetSemaphoreCounterValue(device->device, queue->timeline, &done);
        if (result < 0)
            return tenon__vk_failed(device, result, "vkGetSemaphoreCounterValue");
        while (queue->oldest && queue->oldest->seq <= done) {
            struct vk_commands *commands = queue->oldest;
            queue->oldest = commands->next;
            commands->next = queue->idle;
            queue->idle = commands;
        }
    }
    struct vk_commands *commands = queue->idle;
    if (commands) {
        queue->idle = commands->next;
        commands->next = NULL;
        *out = commands;
        return TENON_OK;
    }
    commands = tenon__vk_alloc(sizeof *commands);
    if (!commands)
        return TENON_E_NOMEM;
    VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = queue->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VkResult result = tenon__vk.AllocateCommandBuffers(device->device, &info, &commands->buffer);
    if (result < 0) {
        tenon__vk_free(commands);
        return tenon__vk_failed(device, result, "vkAllocateCommandBuffers");
    }
    *out = commands;
    return TENON_OK;
}

static int32_t record(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n,
                      VkCommandBuffer commands)
{
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkResult result = tenon__vk.BeginCommandBuffer(commands, &begin);
    if (result < 0)
        return tenon__vk_failed(queue->device, result, "vkBeginCommandBuffer");
    for (uint32_t i = 0; i < n; i++)
        record_cmd(cmds[i], commands);
    barrier_to_host(commands);
    result = tenon__vk.EndCommandBuffer(commands);
    return result < 0 ? tenon__vk_failed(queue->device, result, "vkEndCommandBuffer") : TENON_OK;
}

/* ---- submitting ---- */

struct waits {
    uint32_t n;
    VkSemaphore *semaphore;
    uint64_t *value;
    VkPipelineStageFlags *stages;
};

/* All WAITs of a batch hold back the whole batch: earlier than asked for, never later. */
static int32_t collect_waits(const struct tenon_cmd *const *cmds, uint32_t n, struct waits *waits, void **memory)
{
    *waits = (struct waits){0};
    *memory = NULL;
    uint32_t room = 0;
    for (uint32_t i = 0; i < n; i++)
        room += cmds[i]->kind == TENON_CMD_WAIT;
    if (!room)
        return TENON_OK;
    *memory = tenon__vk_alloc(room * (sizeof *waits->value + sizeof *waits->semaphore + sizeof *waits->stages));
    if (!*memory)
        return TENON_E_NOMEM;
    waits->value = *memory;
    waits->semaphore = (VkSemaphore *)(waits->value + room);
    waits->stages = (VkPipelineStageFlags *)(waits->semaphore + room);
    for (uint32_t i = 0; i < n; i++) {
        if (cmds[i]->kind != TENON_CMD_WAIT)
            continue;
        waits->semaphore[waits->n] = cmds[i]->queue->timeline;
        waits->value[waits->n] = cmds[i]->value;
        waits->stages[waits->n] = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
        waits->n++;
    }
    return TENON_OK;
}

static int32_t submit(struct tenon_queue *queue, VkCommandBuffer commands, const struct waits *waits, uint64_t seq)
{
    struct tenon_device *device = queue->device;
    VkTimelineSemaphoreSubmitInfo timeline = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = waits->n,
        .pWaitSemaphoreValues = waits->value,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &seq,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &timeline,
        .waitSemaphoreCount = waits->n,
        .pWaitSemaphores = waits->semaphore,
        .pWaitDstStageMask = waits->stages,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &queue->timeline,
    };
    pthread_mutex_lock(&device->queue[queue->index].lock);
    VkResult result = tenon__vk.QueueSubmit(device->queue[queue->index].queue, 1, &info, VK_NULL_HANDLE);
    pthread_mutex_unlock(&device->queue[queue->index].lock);
    return result < 0 ? tenon__vk_failed(device, result, "vkQueueSubmit") : TENON_OK;
}

/* Submitted: free again when the queue has reached `seq`. */
static void remember(struct tenon_queue *queue, struct vk_commands *commands, uint64_t seq)
{
    commands->seq = seq;
    if (queue->oldest)
        queue->newest->next = commands;
    else
        queue->oldest = commands;
    queue->newest = commands;
    queue->submitted = seq;
}

static void give_back(struct tenon_queue *queue, struct vk_commands *commands)
{
    commands->next = queue->idle; /* begin resets it, whatever state it is in */
    queue->idle = commands;
}

int32_t tenon__vk_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    int32_t status = tenon__vk_alive(queue->device);
    if (status)
        return status;
    if (!n || !cmds)
        return tenon__vk_fail(TENON_E_INVALID, "a batch of %u commands: must be at least 1", cmds ? n : 0);
    for (uint32_t i = 0; i < n; i++) {
        status = check_cmd(queue, cmds[i]);
        if (status)
            return status;
    }
    struct waits waits;
    void *waits_memory;
    status = collect_waits(cmds, n, &waits, &waits_memory);
    if (status)
        return status;
    struct vk_commands *commands = NULL;
    status = take_commands(queue, &commands);
    if (status)
        goto free_waits;
    uint64_t number = queue->submitted + 1;
    status = record(queue, cmds, n, commands->buffer);
    if (!status)
        status = submit(queue, commands->buffer, &waits, number);
    if (status) {
        give_back(queue, commands);
        goto free_waits;
    }
    remember(queue, commands, number);
    *seq = number;
free_waits:
    tenon__vk_free(waits_memory);
    return status;
}
