/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the device process: a run through the backend's own table, with a workspace whose content and surroundings are
 * poisoned, and the checks of memory and of the order of commands that come before any operator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/tenon.h>
#include "device.h"

#define CANARY 256 /* bytes after the workspace; bind_align is at most this on real devices */

struct table_run {
    const struct tenon_backend *backend;
    struct tenon_device *device;
    struct tenon_buffer *buffer[TENON_MAX_TENSORS], *workspace;
    struct tenon_bind bind[TENON_MAX_TENSORS];
    struct tenon_plan *plan;
    struct tenon_queue *queue;
    struct tenon_plan_info info;
    uint64_t prefix[TENON_MAX_TENSORS];
};

static int32_t buffer_make(struct table_run *run, uint64_t size, struct tenon_buffer **buffer)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof(desc), .size = size ? size : 4};
    return run->backend->buffer_create(run->device, &desc, buffer);
}

static int32_t buffer_put(struct table_run *run, struct tenon_buffer *buffer, uint64_t offset, const void *data,
                          uint64_t size)
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

static int32_t buffer_get(struct table_run *run, struct tenon_buffer *buffer, uint64_t offset, void *data,
                          uint64_t size)
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
        status = buffer_make(run, run->prefix[i] + slot->size, &run->buffer[i]);
        if (!status)
            status = buffer_put(run, run->buffer[i], run->prefix[i], arena + slot->first, slot->size);
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

static int32_t workspace_put(struct table_run *run, uint32_t poison)
{
    uint64_t size = run->info.workspace + CANARY;
    unsigned char *bytes;
    if (!run->info.workspace)
        return TENON_OK;
    int32_t status = buffer_make(run, size, &run->workspace);
    bytes = malloc(size);
    if (bytes && !status) {
        for (uint64_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)(poison >> 8 * (i & 3));
        status = buffer_put(run, run->workspace, 0, bytes, size);
    }
    free(bytes);
    return status;
}

static int32_t workspace_check(struct table_run *run, uint32_t poison, struct device_answer *answer)
{
    unsigned char bytes[CANARY];
    if (!run->workspace)
        return TENON_OK;
    int32_t status = buffer_get(run, run->workspace, run->info.workspace, bytes, CANARY);
    for (uint64_t i = 0; !status && i < CANARY; i++) {
        if (bytes[i] == (unsigned char)(poison >> 8 * ((run->info.workspace + i) & 3)))
            continue;
        answer->broken = 1;
        snprintf(answer->text, sizeof(answer->text), "byte %llu after the workspace of %llu bytes was written",
                 (unsigned long long)i, (unsigned long long)run->info.workspace);
        break;
    }
    return status;
}

static int32_t table_go(struct table_run *run, const struct device_ask *ask, unsigned char *arena,
                        struct device_answer *answer)
{
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
        status = workspace_put(run, ask->poison);
    if (!status)
        status = run->backend->queue_create(run->device, 0, &run->queue);
    cmd.plan = run->plan;
    cmd.workspace.buffer = run->workspace;
    if (!status)
        status = run->backend->enqueue(run->queue, cmds, 1, &seq);
    if (!status)
        status = run->backend->queue_wait(run->queue, seq, UINT64_MAX);
    for (uint32_t i = 0; !status && i < ask->n; i++)
        if (run->buffer[i])
            status = buffer_get(run, run->buffer[i], run->prefix[i], arena + ask->slot[i].first, ask->slot[i].size);
    if (!status)
        status = workspace_check(run, ask->poison, answer);
    snprintf(answer->impl, sizeof(answer->impl), "%s", run->info.impl);
    return status;
}

int32_t device_child_run_table(struct tenon_context *context, const struct device_ask *ask, unsigned char *arena,
                               struct device_answer *answer)
{
    uint64_t align = tenon_context_info(context)->bind_align;
    struct table_run run = {.backend = tenon_context_backend(context), .device = tenon_context_device(context)};
    int32_t status = tensors_put(&run, ask, arena, align < 4 ? 4 : align);
    if (!status)
        status = table_go(&run, ask, arena, answer);
    if (status && !answer->text[0])
        snprintf(answer->text, sizeof(answer->text), "%s", tenon_error());
    run.backend->queue_destroy(run.queue);
    run.backend->plan_destroy(run.plan);
    run.backend->buffer_destroy(run.workspace);
    for (uint32_t i = 0; i < ask->n; i++)
        run.backend->buffer_destroy(run.buffer[i]);
    return status;
}

/* ---- memory and order ---- */

const char *const device_memory_names[DEVICE_MEMORY_TESTS] = {
    "what is written is read, at any offset and size",
    "a fill reaches its range and nothing beside it",
    "a copy reaches its range and nothing beside it",
    "a copy sees the write before it, not the one after it",
    "a chain of copies keeps its order",
    "copies within one memory",
    "numbers of a queue: 1, 2, 3; 0 is done; one never given out is INVALID",
    "map sees what was written before, and keeps what was not",
};

#define WORDS 5000

static void pattern(uint32_t *words, uint32_t n, uint32_t salt)
{
    for (uint32_t i = 0; i < n; i++)
        words[i] = (uint32_t)conform_random(salt, i);
}

static int32_t wrong(struct device_answer *answer, const char *what, uint64_t at, uint32_t got, uint32_t want)
{
    answer->broken = 1;
    snprintf(answer->text, sizeof(answer->text), "%s: word %llu is 0x%08x, not 0x%08x", what, (unsigned long long)at,
             got, want);
    return TENON_OK;
}

static int32_t same(struct device_answer *answer, const char *what, const uint32_t *got, const uint32_t *want,
                    uint32_t n)
{
    for (uint32_t i = 0; i < n && !answer->broken; i++)
        if (got[i] != want[i])
            wrong(answer, what, i, got[i], want[i]);
    return TENON_OK;
}

struct memory_test {
    struct tenon_context *context;
    struct tenon_memory *a, *b;
    uint32_t *want, *got;
    struct device_answer *answer;
};

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int32_t try_status = (call);                                                                                   \
        if (try_status)                                                                                                \
            return try_status;                                                                                         \
    } while (0)

static int32_t test_write(struct memory_test *t)
{
    static const uint32_t ranges[][2] = {{0, 20000}, {4, 4}, {1, 1}, {3, 7}, {4096, 4096}, {19999, 1}, {1001, 5003}};
    unsigned char *want = (unsigned char *)t->want, bytes[8192];
    pattern(t->want, WORDS, 1);
    TRY(tenon_memory_write(t->a, 0, want, 20000));
    for (size_t i = 1; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        pattern((uint32_t *)(void *)bytes, sizeof(bytes) / 4, (uint32_t)i + 1);
        memcpy(want + ranges[i][0], bytes, ranges[i][1]);
        TRY(tenon_memory_write(t->a, ranges[i][0], bytes, ranges[i][1]));
    }
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        TRY(tenon_memory_read(t->a, ranges[i][0], t->got, ranges[i][1]));
        if (memcmp(t->got, want + ranges[i][0], ranges[i][1]))
            return wrong(t->answer, "read", ranges[i][0], t->got[0], t->want[ranges[i][0] / 4]);
    }
    return TENON_OK;
}

static int32_t test_fill(struct memory_test *t)
{
    pattern(t->want, WORDS, 3);
    TRY(tenon_memory_write(t->a, 0, t->want, WORDS * 4));
    static const uint32_t ranges[][3] = {
        {0, 1, 7}, {17, 100, 0xDEADBEEF}, {1000, 3999, 0}, {WORDS - 1, 1, 0xffffffff}, {50, 0, 1}};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        TRY(tenon_memory_fill(t->a, ranges[i][0] * 4, ranges[i][2], ranges[i][1] * 4));
        for (uint32_t j = 0; j < ranges[i][1]; j++)
            t->want[ranges[i][0] + j] = ranges[i][2];
    }
    TRY(tenon_memory_read(t->a, 0, t->got, WORDS * 4));
    return same(t->answer, "after fill", t->got, t->want, WORDS);
}

static int32_t test_copy(struct memory_test *t)
{
    uint32_t source[WORDS];
    pattern(source, WORDS, 4);
    pattern(t->want, WORDS, 5);
    TRY(tenon_memory_write(t->a, 0, source, WORDS * 4));
    TRY(tenon_memory_write(t->b, 0, t->want, WORDS * 4));
    static const uint32_t ranges[][3] = {{0, 4, 1}, {1000, 40, 1000}, {WORDS - 1, 0, 1}, {2000, 3000, 1999}, {7, 9, 0}};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        TRY(tenon_memory_copy(t->b, ranges[i][0] * 4, t->a, ranges[i][1] * 4, ranges[i][2] * 4));
        memcpy(t->want + ranges[i][0], source + ranges[i][1], ranges[i][2] * 4);
    }
    TRY(tenon_memory_read(t->b, 0, t->got, WORDS * 4));
    return same(t->answer, "after copy", t->got, t->want, WORDS);
}

static int32_t test_order(struct memory_test *t)
{
    uint32_t later[WORDS];
    pattern(t->want, WORDS, 6);
    pattern(later, WORDS, 7);
    TRY(tenon_memory_write(t->a, 0, t->want, WORDS * 4));
    TRY(tenon_memory_copy(t->b, 0, t->a, 0, WORDS * 4));
    TRY(tenon_memory_write(t->a, 0, later, WORDS * 4));
    TRY(tenon_memory_read(t->b, 0, t->got, WORDS * 4));
    same(t->answer, "the copy", t->got, t->want, WORDS);
    TRY(tenon_memory_read(t->a, 0, t->got, WORDS * 4));
    return same(t->answer, "the later write", t->got, later, WORDS);
}

static int32_t test_chain(struct memory_test *t)
{
    pattern(t->want, WORDS, 8);
    TRY(tenon_memory_write(t->a, 0, t->want, WORDS * 4));
    for (uint32_t i = 0; i < 60; i++) {
        TRY(tenon_memory_copy(t->b, 0, t->a, 0, WORDS * 4));
        TRY(tenon_memory_fill(t->b, i * 4, i, 4));
        TRY(tenon_memory_copy(t->a, 0, t->b, 0, WORDS * 4));
        t->want[i] = i;
    }
    TRY(tenon_memory_read(t->a, 0, t->got, WORDS * 4));
    return same(t->answer, "after the chain", t->got, t->want, WORDS);
}

static int32_t test_within(struct memory_test *t)
{
    pattern(t->want, WORDS, 9);
    TRY(tenon_memory_write(t->a, 0, t->want, WORDS * 4));
    TRY(tenon_memory_copy(t->a, 4000 * 4, t->a, 100 * 4, 900 * 4));
    TRY(tenon_memory_copy(t->a, 0, t->a, 4000 * 4, 50 * 4));
    memcpy(t->want + 4000, t->want + 100, 900 * 4);
    memcpy(t->want, t->want + 4000, 50 * 4);
    TRY(tenon_memory_read(t->a, 0, t->got, WORDS * 4));
    return same(t->answer, "after copies within", t->got, t->want, WORDS);
}

static int32_t test_numbers(struct memory_test *t)
{
    struct table_run run = {.backend = tenon_context_backend(t->context), .device = tenon_context_device(t->context)};
    struct tenon_cmd cmd = {
        .struct_size = sizeof(cmd), .kind = TENON_CMD_FILL, .n_args = 1, .args = run.bind, .size = 4, .value = 1};
    const struct tenon_cmd *cmds[1] = {&cmd};
    uint64_t seq = 0;
    int32_t status = buffer_make(&run, 64, &run.buffer[0]);
    run.bind[0].buffer = run.buffer[0];
    if (!status)
        status = run.backend->queue_create(run.device, 0, &run.queue);
    for (uint32_t i = 1; !status && i <= 3; i++) {
        status = run.backend->enqueue(run.queue, cmds, 1, &seq);
        if (!status && seq != i)
            wrong(t->answer, "the queue's number", i, (uint32_t)seq, i);
    }
    if (!status)
        status = run.backend->queue_wait(run.queue, 0, 0);
    if (!status && run.backend->queue_wait(run.queue, 4, 0) != TENON_E_INVALID)
        wrong(t->answer, "wait for a number never given out", 4, 0, (uint32_t)TENON_E_INVALID);
    if (!status)
        status = run.backend->queue_wait(run.queue, 3, UINT64_MAX);
    run.backend->queue_destroy(run.queue);
    run.backend->buffer_destroy(run.buffer[0]);
    return status;
}

static int32_t test_map(struct memory_test *t)
{
    struct table_run run = {.backend = tenon_context_backend(t->context), .device = tenon_context_device(t->context)};
    int32_t status = buffer_make(&run, WORDS * 4, &run.buffer[0]);
    pattern(t->want, WORDS, 10);
    if (!status)
        status = buffer_put(&run, run.buffer[0], 0, t->want, WORDS * 4);
    if (!status)
        status = buffer_put(&run, run.buffer[0], 400, t->want, 40);
    memcpy(t->want + 100, t->want, 40);
    if (!status)
        status = buffer_get(&run, run.buffer[0], 4, t->got, WORDS * 4 - 4);
    if (!status)
        same(t->answer, "through map", t->got, t->want + 1, WORDS - 1);
    run.backend->buffer_destroy(run.buffer[0]);
    return status;
}

int32_t device_child_memory(struct tenon_context *context, const struct device_ask *ask, struct device_answer *answer)
{
    static int32_t (*const tests[DEVICE_MEMORY_TESTS])(struct memory_test *) = {
        test_write, test_fill, test_copy, test_order, test_chain, test_within, test_numbers, test_map,
    };
    struct memory_test t = {.context = context, .want = calloc(WORDS, 4), .got = calloc(WORDS, 4), .answer = answer};
    int32_t status = t.want && t.got ? tenon_memory_create(context, WORDS * 4, &t.a) : TENON_E_NOMEM;
    if (!status)
        status = tenon_memory_create(context, WORDS * 4, &t.b);
    if (!status)
        status = tests[ask->test](&t);
    if (status && !answer->text[0])
        snprintf(answer->text, sizeof(answer->text), "%s", tenon_error());
    tenon_memory_destroy(t.a);
    tenon_memory_destroy(t.b);
    free(t.got);
    free(t.want);
    return status;
}
