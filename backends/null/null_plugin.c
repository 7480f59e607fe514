/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The template of a backend: memory, transfers and queues are complete, and every operator is checked by its contract
 * and then declined. Copy it, rename null, and give null_plan_create and run() your hardware; README.md has the steps.
 */
#include <string.h>

#include <tenon/backend.h>
#include <tenon/ops.h>

static const struct tenon_host *host; /* of the first loader */

static struct tenon_device {
    struct tenon_device_info info;
} device0 = {{
    .type = TENON_TYPE_ACCEL,
    .caps = TENON_CAP_UNIFIED | TENON_CAP_IMPORT | TENON_CAP_SOFTWARE | TENON_CAP_SYNC,
    .max_buffer = SIZE_MAX / 2,
    .bind_align = 4,
    .import_align = 1,
    .max_queues = UINT32_MAX,
    .name = "null device",
}};
struct tenon_buffer {
    unsigned char *memory;
    uint64_t size;
    int imported, mapped;
};
struct tenon_queue {
    const struct tenon_device *device;
    uint64_t seq; /* of the last batch; it is also done, because enqueue works at once */
};

/* An object of the backend, or NULL after the failure was told. */
static void *make(size_t size)
{
    void *memory = host->alloc(host, size, 64);
    if (!memory)
        host->fail(host, TENON_E_NOMEM, "out of memory");
    return memory;
}

static int32_t null_device_count(uint32_t *count)
{
    *count = 1; /* your hardware is looked for here, not in the entry */
    return TENON_OK;
}

static int32_t null_device_info(uint32_t index, struct tenon_device_info *out)
{
    struct tenon_why why = {"device index: there is only device 0"};
    int32_t status = index ? TENON_E_INVALID : tenon_struct_write(out, &device0.info, sizeof device0.info, &why);
    return status ? host->fail(host, status, why.text) : TENON_OK;
}

static int32_t null_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device)
{
    struct tenon_why why = {"device index: there is only device 0"};
    int32_t status = index ? TENON_E_INVALID : tenon_chain_check(next, &why);
    if (status)
        return host->fail(host, status, why.text);
    *device = &device0;
    return TENON_OK;
}

static void null_device_close(struct tenon_device *device)
{
    (void)device; /* NULL or device0, which needs nothing */
}

static int32_t null_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                                  struct tenon_buffer **buffer)
{
    struct tenon_why why;
    int32_t status = tenon_buffer_desc_check(desc, &device->info, &why);
    if (status)
        return host->fail(host, status, why.text);
    struct tenon_buffer *b = make(sizeof *b);
    if (!b)
        return TENON_E_NOMEM;
    *b = (struct tenon_buffer){.size = desc->size, .imported = desc->host_ptr != NULL};
    b->memory = b->imported ? desc->host_ptr : make((size_t)desc->size);
    if (!b->memory) {
        host->free(host, b);
        return TENON_E_NOMEM;
    }
    *buffer = b;
    return TENON_OK;
}

static void null_buffer_destroy(struct tenon_buffer *buffer)
{
    if (buffer && !buffer->imported)
        host->free(host, buffer->memory);
    host->free(host, buffer);
}

static int inside(const struct tenon_buffer *buffer, uint64_t offset, uint64_t size)
{
    return offset <= buffer->size && size <= buffer->size - offset;
}

static int32_t null_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                               void **pointer)
{
    if (!mode || mode & ~(TENON_MAP_READ | TENON_MAP_WRITE) || !size || !inside(buffer, offset, size) || buffer->mapped)
        return host->fail(host, TENON_E_INVALID, "map: READ, WRITE or both, a range inside, one mapping at a time");
    buffer->mapped = 1;
    *pointer = buffer->memory + offset;
    return TENON_OK;
}

static int32_t null_buffer_unmap(struct tenon_buffer *buffer)
{
    int was = buffer->mapped;
    buffer->mapped = 0;
    return was ? TENON_OK : host->fail(host, TENON_E_INVALID, "the buffer is not mapped");
}

/* One path, whether a plan is wanted or only the answer: check, choose a kernel, make the plan. */
static int32_t null_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **plan)
{
    const struct tenon_op_contract *op;
    struct tenon_why why;
    (void)device, (void)plan;
    int32_t status = tenon_op_check(desc, &op, NULL, 0, &why);
    if (!status)
        status = tenon_why_set(&why, TENON_E_UNSUPPORTED, "%s: the template backend has no kernels", op->name);
    return host->fail(host, status, why.text);
}

static int32_t null_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *out)
{
    (void)plan, (void)out;
    return host->fail(host, TENON_E_INVALID, "no plan was ever given out");
}

static void null_plan_destroy(struct tenon_plan *plan)
{
    (void)plan;
}

static int32_t null_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    if (flags)
        return host->fail(host, TENON_E_UNSUPPORTED, "queue flags: none are known here");
    struct tenon_queue *q = make(sizeof *q);
    if (!q)
        return TENON_E_NOMEM;
    *q = (struct tenon_queue){.device = device};
    *queue = q;
    return TENON_OK;
}

static void null_queue_destroy(struct tenon_queue *queue)
{
    host->free(host, queue);
}

static int32_t check(const struct tenon_device *device, const struct tenon_cmd *cmd)
{
    struct tenon_why why;
    int32_t status = tenon_cmd_check(cmd, &device->info, &why);
    if (!status && cmd->kind == TENON_CMD_RUN)
        status = tenon_why_set(&why, TENON_E_INVALID, "RUN: no plan was ever given out");
    for (uint32_t i = 0; !status && i < cmd->n_args; i++)
        if (!inside(cmd->args[i].buffer, cmd->args[i].offset, cmd->size))
            status = tenon_why_set(&why, TENON_E_INVALID, "argument %u: the range must be inside its buffer", i);
    return status ? host->fail(host, status, why.text) : TENON_OK;
}

static void run(const struct tenon_cmd *cmd)
{
    unsigned char *to = cmd->args[0].buffer->memory + cmd->args[0].offset;
    uint32_t word = (uint32_t)cmd->value;
    if (cmd->kind == TENON_CMD_COPY)
        memmove(to, cmd->args[1].buffer->memory + cmd->args[1].offset, (size_t)cmd->size);
    else
        for (uint64_t i = 0; i < cmd->size; i += sizeof word)
            memcpy(to + i, &word, sizeof word);
}

/* All are checked before the first one runs: all or nothing. */
static int32_t null_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    if (!n)
        return host->fail(host, TENON_E_INVALID, "enqueue of 0 commands: must be at least 1");
    for (uint32_t i = 0; i < n; i++) {
        int32_t status = check(queue->device, cmds[i]);
        if (status)
            return status;
    }
    for (uint32_t i = 0; i < n; i++)
        run(cmds[i]);
    *seq = ++queue->seq;
    return TENON_OK;
}

static int32_t null_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    (void)timeout_ns;
    return seq <= queue->seq ? TENON_OK : host->fail(host, TENON_E_INVALID, "wait for a number that was not given out");
}

static const struct tenon_backend backend = {
    .struct_size = sizeof backend,
    .abi_minor = TENON_ABI_MINOR,
    .id = "null",
    .version = "1.0",
    .device_count = null_device_count,
    .device_info = null_device_info,
    .device_open = null_device_open,
    .device_close = null_device_close,
    .buffer_create = null_buffer_create,
    .buffer_destroy = null_buffer_destroy,
    .buffer_map = null_buffer_map,
    .buffer_unmap = null_buffer_unmap,
    .plan_create = null_plan_create,
    .plan_info = null_plan_info,
    .plan_destroy = null_plan_destroy,
    .queue_create = null_queue_create,
    .queue_destroy = null_queue_destroy,
    .enqueue = null_enqueue,
    .queue_wait = null_queue_wait,
};

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *given)
{
    if (!host)
        host = given;
    return &backend;
}
