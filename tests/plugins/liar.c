/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "liar.h"

/* All that the template does well is taken from it. */
const struct tenon_backend *liar_template(const struct tenon_host *host);
#define tenon_backend_entry_v1 liar_template
#include "../../backends/null/null_plugin.c"
#undef tenon_backend_entry_v1

#define GONE ((void *)(uintptr_t)0x1000)

enum lie liar_lie;
int liar_calls, liar_runs;

struct tenon_plan {
    uint64_t workspace;
};

static int32_t liar_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device)
{
    liar_calls++;
    if (liar_lie != OPEN_NULL)
        return null_device_open(index, next, device);
    *device = NULL;
    return TENON_OK;
}

static void liar_device_close(struct tenon_device *device)
{
    liar_calls++;
    null_device_close(device);
}

static int32_t liar_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                                  struct tenon_buffer **buffer)
{
    static struct tenon_buffer *last;
    struct tenon_buffer_desc small = *desc;
    liar_calls++;
    if (liar_lie == BUFFER_NULL || liar_lie == BUFFER_TWICE) {
        *buffer = liar_lie == BUFFER_NULL ? NULL : last;
        return TENON_OK;
    }
    if (liar_lie == BUFFER_ANYTHING)
        small = (struct tenon_buffer_desc){.struct_size = sizeof small, .size = 1};
    int32_t status = null_buffer_create(device, &small, buffer);
    if (!status)
        last = *buffer;
    return status;
}

static void liar_buffer_destroy(struct tenon_buffer *buffer)
{
    liar_calls++;
    null_buffer_destroy(buffer);
}

static int32_t liar_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode,
                               void **pointer)
{
    liar_calls++;
    int32_t status = null_buffer_map(buffer, offset, size, mode, pointer);
    if (liar_lie == MAP_NULL)
        *pointer = NULL;
    return status;
}

static int32_t liar_buffer_unmap(struct tenon_buffer *buffer)
{
    liar_calls++;
    return null_buffer_unmap(buffer);
}

static int32_t liar_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **plan)
{
    struct tenon_why why;
    (void)device;
    liar_calls++;
    if (liar_lie == STATUS_POSITIVE || liar_lie == STATUS_UNKNOWN)
        return liar_lie == STATUS_POSITIVE ? 77 : -99;
    int32_t status = tenon_op_check(desc, NULL, NULL, 0, &why);
    if (plan && (liar_lie == PLAN_DENIED || liar_lie == PLAN_SET))
        status = tenon_why_set(&why, liar_lie == PLAN_DENIED ? TENON_E_UNSUPPORTED : TENON_E_NOMEM, "not now");
    if (plan && liar_lie == PLAN_SET)
        *plan = GONE;
    if (status && liar_lie != PLAN_ANYTHING)
        return host->fail(host, status, why.text);
    if (!plan)
        return TENON_OK;
    *plan = liar_lie == PLAN_NULL ? NULL : make(sizeof **plan);
    if (*plan)
        (*plan)->workspace = 64;
    return *plan || liar_lie == PLAN_NULL ? TENON_OK : TENON_E_NOMEM;
}

static int32_t liar_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *out)
{
    static uint64_t growth;
    struct tenon_plan_info full = {
        .workspace = plan->workspace, .workspace_align = liar_lie == INFO_ALIGN ? 3 : 64, .impl = "liar"};
    struct tenon_why why;
    if (liar_lie == INFO_GROWS)
        full.workspace += ++growth;
    if (liar_lie == INFO_IMPL)
        memset(full.impl, 'x', sizeof full.impl);
    int32_t status = tenon_struct_write(out, &full, sizeof full, &why);
    if (liar_lie == INFO_SIZE)
        out->struct_size++;
    return status;
}

static void liar_plan_destroy(struct tenon_plan *plan)
{
    liar_calls++;
    host->free(host, plan);
}

static int32_t liar_queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    liar_calls++;
    if (liar_lie != QUEUE_NULL)
        return null_queue_create(device, flags, queue);
    *queue = NULL;
    return TENON_OK;
}

static void liar_queue_destroy(struct tenon_queue *queue)
{
    liar_calls++;
    null_queue_destroy(queue);
}

static int32_t liar_enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    static int lost;
    liar_calls++;
    if (liar_lie == SEQ_SET)
        *seq = 5;
    if (liar_lie == SEQ_SET || (liar_lie == LOST_ONCE && !lost++))
        return host->fail(host, TENON_E_LOST, "fell off the bus");
    for (uint32_t i = 0; i < n; i++)
        if (cmds[i]->kind == TENON_CMD_RUN)
            liar_runs++;
        else if (cmds[i]->kind != TENON_CMD_WAIT)
            run(cmds[i]);
    *seq = ++queue->seq;
    if (liar_lie == SEQ_BACKWARDS)
        --*seq;
    return TENON_OK;
}

static int32_t liar_queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    liar_calls++;
    return liar_lie == WAIT_TIMEOUT ? TENON_E_TIMEOUT : null_queue_wait(queue, seq, timeout_ns);
}

const struct tenon_backend *liar_entry(const struct tenon_host *given)
{
    static struct tenon_backend table;
    table = *liar_template(given);
    host = given;
    device0.info.caps = TENON_CAP_IMPORT | TENON_CAP_XQUEUE;
    device0.info.bind_align = device0.info.import_align = 64;
    device0.info.max_buffer = 1 << 20;
    device0.info.max_queues = 2;
    table.id = "liar";
    table.device_open = liar_device_open;
    table.device_close = liar_device_close;
    table.buffer_create = liar_buffer_create;
    table.buffer_destroy = liar_buffer_destroy;
    table.buffer_map = liar_buffer_map;
    table.buffer_unmap = liar_buffer_unmap;
    table.plan_create = liar_plan_create;
    table.plan_info = liar_plan_info;
    table.plan_destroy = liar_plan_destroy;
    table.queue_create = liar_queue_create;
    table.queue_destroy = liar_queue_destroy;
    table.enqueue = liar_enqueue;
    table.queue_wait = liar_queue_wait;
    return &table;
}
