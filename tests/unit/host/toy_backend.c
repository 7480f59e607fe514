/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A backend for the host's tests. Its devices differ in what they can, so that every way through the host is taken, and
 * it is strict: on the devices that are not synchronous a command is done when it is waited for and not earlier, and
 * touching what a command still needs is reported as an error (the tests count error lines). It has no plan_record. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/backend.h>
#include <tenon/ops.h>
#include <tenon/ops/softmax.h>

#ifndef TOY_ID
#define TOY_ID "toy"
#endif

static const struct tenon_host *host;

#define BASE(t, c, at, id)                                                                                             \
    .type = TENON_TYPE_##t, .caps = (c), .mem_total = 1 << 30, .max_buffer = (uint64_t)1 << 33, .bind_align = 64,      \
    .max_queues = 8, .location = at, .uuid = {id}, .name = "Toy " #t, .driver = "toy"
static const struct tenon_device_info devices[] = {
    {BASE(CPU, TENON_CAP_UNIFIED | TENON_CAP_IMPORT | TENON_CAP_SYNC, "", 0x05), .import_align = 1},
    {BASE(GPU, 0, "0000:03:00.0", 0x33)},
    {BASE(GPU, TENON_CAP_SOFTWARE | TENON_CAP_UNIFIED, "", 0x09)},
    {BASE(IGPU, TENON_CAP_UNIFIED, "0000:00:02.0", 0x02)},
    {BASE(ACCEL, TENON_CAP_IMPORT, "0000:04:00.0", 0x44), .import_align = 4096},
    {BASE(GPU, 0, "0000:01:00.0", 0x11)}, /* does not open */
};
#define N_DEVICES (sizeof devices / sizeof devices[0])
#define BROKEN    5

struct tenon_device {
    uint64_t caps;
    int objects;
};
struct tenon_buffer {
    struct tenon_device *device;
    char *bytes;
    uint64_t size;
    uint32_t flags, pending, mapped;
};
struct tenon_plan {
    struct tenon_device *device;
    int64_t rows, cols, x_stride, y_stride;
    uint64_t workspace;
    uint32_t pending, n;
};
struct job {
    struct job *next;
    uint64_t seq, size, value;
    uint32_t kind;
    struct tenon_bind arg[TENON_SOFTMAX_N_TENSORS], workspace;
    struct tenon_plan *plan;
};
struct tenon_queue {
    struct tenon_device *device;
    struct job *first, **last;
    uint64_t given, done;
};

static int32_t fail(int32_t status, const char *text)
{
    return host->fail(host, status, text);
}

static void misuse(const char *text)
{
    host->log(host, TENON_LOG_ERROR, text);
}

static int32_t device_count(uint32_t *count)
{
    *count = N_DEVICES;
    return TENON_OK;
}

static int32_t device_info(uint32_t index, struct tenon_device_info *info)
{
    struct tenon_why why;
    if (index >= N_DEVICES)
        return fail(TENON_E_INVALID, "no such device");
    return tenon_struct_write(info, &devices[index], sizeof devices[index], &why);
}

static int32_t device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device)
{
    (void)next;
    if (index == BROKEN)
        return fail(TENON_E_NODEVICE, "the toy's cable is loose");
    struct tenon_device *made = host->alloc(host, sizeof *made, 0);
    if (!made)
        return fail(TENON_E_NOMEM, "device");
    *made = (struct tenon_device){.caps = devices[index].caps};
    *device = made;
    return TENON_OK;
}

static void device_close(struct tenon_device *device)
{
    if (device && device->objects)
        misuse("device_close: objects are left");
    host->free(host, device);
}

static int32_t buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                             struct tenon_buffer **buffer)
{
    int import = !!(desc->flags & TENON_BUF_IMPORT);
    if (import && !(device->caps & TENON_CAP_IMPORT))
        return fail(TENON_E_UNSUPPORTED, "import");
    struct tenon_buffer *made = host->alloc(host, sizeof *made, 0);
    char *bytes = import ? desc->host_ptr : host->alloc(host, desc->size, 64);
    if (!made || !bytes) {
        host->free(host, made);
        if (!import)
            host->free(host, bytes);
        return fail(TENON_E_NOMEM, "buffer");
    }
    *made = (struct tenon_buffer){.device = device, .bytes = bytes, .size = desc->size, .flags = desc->flags};
    device->objects++;
    *buffer = made;
    return TENON_OK;
}

static void buffer_destroy(struct tenon_buffer *buffer)
{
    if (!buffer)
        return;
    if (buffer->pending || buffer->mapped)
        misuse("buffer_destroy: in use");
    buffer->device->objects--;
    if (!(buffer->flags & TENON_BUF_IMPORT))
        host->free(host, buffer->bytes);
    host->free(host, buffer);
}

static int32_t buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode, void **pointer)
{
    (void)mode;
    if (!size || offset > buffer->size || size > buffer->size - offset)
        return fail(TENON_E_INVALID, "map: outside of the buffer");
    if (buffer->mapped || buffer->pending)
        misuse("buffer_map: in use");
    buffer->mapped = 1;
    *pointer = buffer->bytes + offset;
    return TENON_OK;
}

static int32_t buffer_unmap(struct tenon_buffer *buffer)
{
    if (!buffer->mapped)
        misuse("buffer_unmap: not mapped");
    buffer->mapped = 0;
    return TENON_OK;
}

static int32_t plan_create(struct tenon_device *device, const struct tenon_op_desc *desc, struct tenon_plan **plan)
{
    struct tenon_why why = {""};
    const struct tenon_op_contract *contract;
    uint64_t room[32];
    int32_t status = tenon_op_check(desc, &contract, room, sizeof room, &why);
    if (status)
        return fail(status, why.text);
    const struct tenon_softmax_params *params = (const struct tenon_softmax_params *)room;
    const struct tenon_tensor *t = desc->tensors;
    uint32_t used = 0;
    for (uint32_t i = 0; i < desc->n_tensors; i++)
        used |= (uint32_t)(t[i].dtype != 0) << i;
    if (desc->op != TENON_OPNUM_softmax || used != (1u << TENON_SOFTMAX_X | 1u << TENON_SOFTMAX_Y) ||
        t[TENON_SOFTMAX_X].dtype != TENON_F32 || params->kind != TENON_SOFTMAX_EXP)
        return fail(TENON_E_UNSUPPORTED, "the toy knows softmax of f32 alone");
    struct tenon_plan p = {.device = device, .n = desc->n_tensors};
    int64_t cols;
    if (tenon_tensor_rows(&t[TENON_SOFTMAX_X], &p.rows, &p.x_stride, &p.cols) ||
        tenon_tensor_rows(&t[TENON_SOFTMAX_Y], &p.rows, &p.y_stride, &cols))
        return fail(TENON_E_UNSUPPORTED, "rows without one stride");
    p.workspace = (uint64_t)p.cols * 8;
    if (!plan)
        return TENON_OK;
    struct tenon_plan *made = host->alloc(host, sizeof *made, 0);
    if (!made)
        return fail(TENON_E_NOMEM, "plan");
    *made = p;
    device->objects++;
    *plan = made;
    return TENON_OK;
}

static int32_t plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    struct tenon_why why;
    const struct tenon_plan_info full = {
        .struct_size = sizeof full, .workspace = plan->workspace, .workspace_align = 64, .impl = "toy_softmax"};
    return tenon_struct_write(info, &full, sizeof full, &why);
}

static void plan_destroy(struct tenon_plan *plan)
{
    if (!plan)
        return;
    if (plan->pending)
        misuse("plan_destroy: in use");
    plan->device->objects--;
    host->free(host, plan);
}

static int32_t queue_create(struct tenon_device *device, uint32_t flags, struct tenon_queue **queue)
{
    (void)flags;
    struct tenon_queue *made = host->alloc(host, sizeof *made, 0);
    if (!made)
        return fail(TENON_E_NOMEM, "queue");
    *made = (struct tenon_queue){.device = device};
    made->last = &made->first;
    device->objects++;
    *queue = made;
    return TENON_OK;
}

static void queue_destroy(struct tenon_queue *queue)
{
    if (!queue)
        return;
    if (queue->first)
        misuse("queue_destroy: not waited for");
    queue->device->objects--;
    host->free(host, queue);
}

static void mark(struct job *job, uint32_t by)
{
    for (uint32_t i = 0; i < TENON_SOFTMAX_N_TENSORS; i++)
        if (job->arg[i].buffer)
            job->arg[i].buffer->pending += by;
    if (job->workspace.buffer)
        job->workspace.buffer->pending += by;
    if (job->plan)
        job->plan->pending += by;
}

static char *at(const struct tenon_bind *bind)
{
    if (bind->buffer->mapped)
        misuse("run: a buffer is mapped");
    return bind->buffer->bytes + bind->offset;
}

static void softmax(const struct job *job)
{
    const struct tenon_plan *p = job->plan;
    if (!p->rows || !p->cols)
        return;
    const float *x = (const float *)(void *)at(&job->arg[TENON_SOFTMAX_X]);
    float *y = (float *)(void *)at(&job->arg[TENON_SOFTMAX_Y]);
    double *e = (double *)(void *)at(&job->workspace);
    for (int64_t r = 0; r < p->rows; r++, x += p->x_stride, y += p->y_stride) {
        double sum = 0, top = -INFINITY;
        for (int64_t c = 0; c < p->cols; c++)
            top = x[c] > top ? (double)x[c] : top;
        for (int64_t c = 0; c < p->cols; c++)
            sum += e[c] = exp((double)x[c] - top);
        for (int64_t c = 0; c < p->cols; c++)
            y[c] = (float)(e[c] / sum);
    }
}

static void execute(const struct job *job)
{
    uint32_t word = (uint32_t)job->value;
    if (job->kind == TENON_CMD_RUN)
        softmax(job);
    else if (job->kind == TENON_CMD_COPY)
        memcpy(at(&job->arg[0]), at(&job->arg[1]), job->size);
    else
        for (uint64_t i = 0; i < job->size; i += 4)
            memcpy(at(&job->arg[0]) + i, &word, 4);
}

static void drain(struct tenon_queue *queue, uint64_t seq)
{
    while (queue->first && queue->first->seq <= seq) {
        struct job *job = queue->first;
        queue->first = job->next;
        if (!queue->first)
            queue->last = &queue->first;
        execute(job);
        mark(job, (uint32_t)-1);
        host->free(host, job);
    }
    queue->done = seq > queue->done ? seq : queue->done;
}

static void free_jobs(struct job *job)
{
    while (job) {
        struct job *next = job->next;
        host->free(host, job);
        job = next;
    }
}

static int32_t enqueue(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    struct job *list = NULL, **last = &list;
    struct tenon_why why = {""};
    for (uint32_t i = 0; i < n; i++) {
        int32_t status = tenon_cmd_check(cmds[i], &devices[1], &why);
        struct job *job = status ? NULL : host->alloc(host, sizeof *job, 0);
        if (!job) {
            free_jobs(list);
            return fail(status ? status : TENON_E_NOMEM, status ? why.text : "job");
        }
        *job = (struct job){.seq = queue->given + 1,
                            .size = cmds[i]->size,
                            .value = cmds[i]->value,
                            .kind = cmds[i]->kind,
                            .workspace = cmds[i]->workspace,
                            .plan = cmds[i]->plan};
        memcpy(job->arg, cmds[i]->args, cmds[i]->n_args * sizeof *job->arg);
        *last = job;
        last = &job->next;
    }
    for (struct job *job = list; job; job = job->next)
        mark(job, 1);
    *queue->last = list;
    queue->last = last;
    *seq = ++queue->given;
    if (queue->device->caps & TENON_CAP_SYNC)
        drain(queue, queue->given);
    return TENON_OK;
}

static int32_t queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    if (seq > queue->given)
        return fail(TENON_E_INVALID, "queue_wait: never given out");
    if (seq > queue->done && !timeout_ns)
        return fail(TENON_E_TIMEOUT, "not yet");
    drain(queue, seq);
    return TENON_OK;
}

static const struct tenon_backend table = {
    .struct_size = offsetof(struct tenon_backend, plan_record), /* the shortest that is legal */
    .abi_minor = TENON_ABI_MINOR,
    .id = TOY_ID,
    .version = "1",
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
};

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *given)
{
    if (!host)
        host = given;
    return &table;
}
