/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the device process: the checks of memory and of the order of commands that come before any operator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device_table.h"

const char *const device_memory_names[DEVICE_MEMORY_TESTS] = {
    "what is written is read, at any offset and size",
    "a fill reaches its range and nothing beside it",
    "a copy reaches its range and nothing beside it",
    "a copy sees the write before it, not the one after it",
    "a chain of copies keeps its order",
    "copies within one memory",
    "numbers of a queue: 1, 2, 3; 0 is done; one never given out is INVALID",
    "map sees what was written before, and keeps what was not",
    "when wait returns, the work is done",
    "when a poll says so, the work is done",
    "a batch runs in its order",
    "a batch with a wrong command does nothing",
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
    struct table_run run = table_begin(t->context);
    struct tenon_cmd cmd = {
        .struct_size = sizeof(cmd), .kind = TENON_CMD_FILL, .n_args = 1, .args = run.bind, .size = 4, .value = 1};
    const struct tenon_cmd *cmds[1] = {&cmd};
    uint64_t seq = 0;
    int32_t status = table_buffer(&run, 64, &run.buffer[0]);
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
    table_finish(&run);
    return status;
}

static int32_t test_map(struct memory_test *t)
{
    struct table_run run = table_begin(t->context);
    int32_t status = table_buffer(&run, WORDS * 4, &run.buffer[0]);
    pattern(t->want, WORDS, 10);
    if (!status)
        status = table_put(&run, run.buffer[0], 0, t->want, WORDS * 4);
    if (!status)
        status = table_put(&run, run.buffer[0], 400, t->want, 40);
    memcpy(t->want + 100, t->want, 40);
    if (!status)
        status = table_get(&run, run.buffer[0], 4, t->got, WORDS * 4 - 4);
    if (!status)
        same(t->answer, "through map", t->got, t->want + 1, WORDS - 1);
    table_finish(&run);
    return status;
}

/* Fills of one large buffer, so that a device has something to do when the host asks whether it is done. */
#define LARGE (16u << 20)
#define FILLS 8

static int32_t wait_done(struct table_run *run, uint64_t seq, int poll)
{
    int32_t status;
    do
        status = run->backend->queue_wait(run->queue, seq, poll ? 0 : UINT64_MAX);
    while (poll && status == TENON_E_TIMEOUT);
    return status;
}

static int32_t large_check(struct memory_test *t, struct table_run *run, uint32_t want)
{
    static const uint64_t places[] = {LARGE - 4, 0, LARGE / 2};
    uint32_t got = 0;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        TRY(table_get(run, run->buffer[0], places[i], &got, 4));
        if (got != want)
            return wrong(t->answer, "after the wait", places[i] / 4, got, want);
    }
    return TENON_OK;
}

static int32_t test_done(struct memory_test *t, int poll)
{
    struct table_run run = table_begin(t->context);
    struct tenon_cmd fill[FILLS];
    const struct tenon_cmd *cmds[FILLS];
    uint64_t seq = 0;
    int32_t status = table_buffer(&run, LARGE, &run.buffer[0]);
    run.bind[0].buffer = run.buffer[0];
    if (!status)
        status = run.backend->queue_create(run.device, 0, &run.queue);
    for (uint32_t round = 0; !status && !t->answer->broken && round < 4; round++) {
        for (uint32_t i = 0; i < FILLS; i++) {
            fill[i] = (struct tenon_cmd){.struct_size = sizeof(fill[i]),
                                         .kind = TENON_CMD_FILL,
                                         .n_args = 1,
                                         .args = run.bind,
                                         .size = LARGE,
                                         .value = 100 * round + i};
            cmds[i] = &fill[i];
        }
        status = run.backend->enqueue(run.queue, cmds, FILLS, &seq);
        if (!status)
            status = wait_done(&run, seq, poll);
        if (!status)
            status = large_check(t, &run, 100 * round + FILLS - 1);
    }
    table_finish(&run);
    return status;
}

static int32_t test_wait(struct memory_test *t)
{
    return test_done(t, 0);
}

static int32_t test_poll(struct memory_test *t)
{
    return test_done(t, 1);
}

/* Three buffers of 16 bytes and a queue. bind[2 i] is buffer i; bind[2 i + 1] is buffer 0, to copy from. */
static int32_t batch_begin(struct memory_test *t, struct table_run *run)
{
    *run = table_begin(t->context);
    for (uint32_t i = 0; i < 3; i++) {
        TRY(table_buffer(run, 16, &run->buffer[i]));
        run->bind[2 * i].buffer = run->buffer[i];
        run->bind[2 * i + 1].buffer = run->buffer[0];
        TRY(table_put(run, run->buffer[i], 0, (uint32_t[4]){7, 7, 7, 7}, 16));
    }
    return run->backend->queue_create(run->device, 0, &run->queue);
}

static struct tenon_cmd cmd_fill(const struct table_run *run, uint32_t i, uint32_t value)
{
    return (struct tenon_cmd){.struct_size = sizeof(struct tenon_cmd),
                              .kind = TENON_CMD_FILL,
                              .n_args = 1,
                              .args = &run->bind[2 * i],
                              .size = 16,
                              .value = value};
}

static struct tenon_cmd cmd_copy(const struct table_run *run, uint32_t i, uint64_t size)
{
    return (struct tenon_cmd){.struct_size = sizeof(struct tenon_cmd),
                              .kind = TENON_CMD_COPY,
                              .n_args = 2,
                              .args = &run->bind[2 * i],
                              .size = size};
}

static int32_t batch_check(struct memory_test *t, struct table_run *run, const char *what, const uint32_t want[3])
{
    uint32_t got = 0;
    for (uint32_t i = 0; i < 3 && !t->answer->broken; i++) {
        TRY(table_get(run, run->buffer[i], 12, &got, 4));
        if (got != want[i])
            wrong(t->answer, what, i, got, want[i]);
    }
    return TENON_OK;
}

static int32_t batch_order(struct memory_test *t, struct table_run *run)
{
    struct tenon_cmd all[4];
    const struct tenon_cmd *cmds[4] = {&all[0], &all[1], &all[2], &all[3]};
    uint64_t seq = 0;
    TRY(batch_begin(t, run));
    all[0] = cmd_fill(run, 0, 1);
    all[1] = cmd_copy(run, 1, 16);
    all[2] = cmd_fill(run, 0, 2);
    all[3] = cmd_copy(run, 2, 16);
    TRY(run->backend->enqueue(run->queue, cmds, 4, &seq));
    if (seq != 1)
        return wrong(t->answer, "the number of a batch of four", 0, (uint32_t)seq, 1);
    TRY(run->backend->queue_wait(run->queue, seq, UINT64_MAX));
    return batch_check(t, run, "after a batch", (const uint32_t[3]){2, 1, 2});
}

/* R61: the copy leaves its buffers, so the fill before it must not happen and no number is used up. */
static int32_t batch_refused(struct memory_test *t, struct table_run *run)
{
    struct tenon_cmd all[2];
    const struct tenon_cmd *cmds[2] = {&all[0], &all[1]};
    uint64_t seq = 0;
    TRY(batch_begin(t, run));
    all[0] = cmd_fill(run, 0, 8);
    all[1] = cmd_copy(run, 1, 64);
    int32_t status = run->backend->enqueue(run->queue, cmds, 2, &seq);
    if (status != TENON_E_INVALID)
        return wrong(t->answer, "the status of a copy beyond its buffers", 0, (uint32_t)status,
                     (uint32_t)TENON_E_INVALID);
    all[1] = cmd_fill(run, 2, 9);
    TRY(run->backend->enqueue(run->queue, &cmds[1], 1, &seq));
    if (seq != 1)
        return wrong(t->answer, "the number after a refused batch", 0, (uint32_t)seq, 1);
    TRY(run->backend->queue_wait(run->queue, seq, UINT64_MAX));
    return batch_check(t, run, "after a refused batch", (const uint32_t[3]){7, 7, 9});
}

static int32_t test_batch(struct memory_test *t)
{
    struct table_run run;
    int32_t status = batch_order(t, &run);
    table_finish(&run);
    return status;
}

static int32_t test_refused(struct memory_test *t)
{
    struct table_run run;
    int32_t status = batch_refused(t, &run);
    table_finish(&run);
    return status;
}

int32_t device_child_memory(struct tenon_context *context, const struct device_ask *ask, struct device_answer *answer)
{
    static int32_t (*const tests[DEVICE_MEMORY_TESTS])(struct memory_test *) = {
        test_write,   test_fill, test_copy, test_order, test_chain, test_within,
        test_numbers, test_map,  test_wait, test_poll,  test_batch, test_refused,
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
