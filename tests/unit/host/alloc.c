/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every allocation of every public call fails in its turn, once alone and once with all that follow. Then the call says
 * NOMEM, nothing leaks, nothing is written, and the same call works afterwards. */
#include "../../../host/host.h"

#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>

#include "../../tap.h"
#include "toys.h"

#define COLS 24
static float x[2 * COLS], y[2 * COLS];
static struct tenon_context *context;
static struct tenon_memory *memory;

static int32_t run(struct tenon_value in, struct tenon_value out)
{
    struct tenon_value v[TENON_SOFTMAX_N_TENSORS] = {0};
    v[TENON_SOFTMAX_X] = in;
    v[TENON_SOFTMAX_Y] = out;
    return tenon_run(context, TENON_OPNUM_softmax, NULL, v, TENON_SOFTMAX_N_TENSORS);
}

static struct tenon_value host(const float *data)
{
    return tenon_value_host(data, TENON_F32, 2, (int64_t[]){2, COLS});
}

/* ---- the calls; each leaves nothing behind when it succeeds ---- */

static int32_t open_close(void)
{
    struct tenon_context *c;
    int32_t status = tenon_context_open("toy:4", &c);
    if (!status)
        tenon_context_close(c);
    return status;
}

static int32_t report(void)
{
    struct tenon_report *r;
    int32_t status = tenon_report_create(NULL, &r);
    if (!status)
        tenon_report_destroy(r);
    return status;
}

static int32_t create(void)
{
    struct tenon_memory *m;
    int32_t status = tenon_memory_create(context, 4096, &m);
    if (!status)
        tenon_memory_destroy(m);
    return status;
}

static int32_t transfer(void)
{
    int32_t status = tenon_memory_write(memory, 64, x, sizeof x);
    if (!status)
        status = tenon_memory_copy(memory, 1024, memory, 64, sizeof x);
    if (!status)
        status = tenon_memory_copy(memory, 2049, memory, 65, 99); /* by way of the host */
    if (!status)
        status = tenon_memory_fill(memory, 0, 5, 64);
    return status ? status : tenon_memory_read(memory, 1024, y, sizeof x);
}

static int32_t run_host(void)
{
    tenon__plans_destroy(context); /* so that the plan is made again */
    return run(host(x), host(y));
}

static int32_t run_memory(void)
{
    tenon__plans_destroy(context);
    int32_t status = run(tenon_value_memory(memory, 0, TENON_F32, 2, (int64_t[]){2, COLS}),
                         tenon_value_memory(memory, 2048, TENON_F32, 2, (int64_t[]){2, COLS}));
    int32_t waited = tenon_finish(context);
    return status ? status : waited;
}

static int32_t supports(void)
{
    struct tenon_tensor t[TENON_SOFTMAX_N_TENSORS] = {0};
    t[TENON_SOFTMAX_X] = t[TENON_SOFTMAX_Y] = host(x).tensor;
    int32_t status = tenon_supports(context, TENON_OPNUM_softmax, NULL, t, TENON_SOFTMAX_N_TENSORS);
    tenon__plans_destroy(context);
    return status;
}

static int32_t record(void)
{
    const struct tenon_backend *b = tenon_context_backend(context);
    struct tenon_buffer *buffer = NULL;
    struct tenon_queue *queue = NULL;
    struct tenon_plan *plan = NULL;
    const struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = 64};
    int32_t status = b->buffer_create(tenon_context_device(context), &desc, &buffer);
    if (!status)
        status = b->queue_create(tenon_context_device(context), 0, &queue);
    const struct tenon_bind bind = {buffer, 0};
    const struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = &bind, .size = 64};
    const struct tenon_cmd *const cmds[] = {&fill, &fill};
    uint64_t seq;
    if (!status)
        status = b->plan_record(tenon_context_device(context), cmds, 2, &plan);
    const struct tenon_cmd play = {.struct_size = sizeof play, .kind = TENON_CMD_RUN, .plan = plan};
    const struct tenon_cmd *const plays[] = {&play};
    if (!status)
        status = b->enqueue(queue, plays, 1, &seq);
    if (!status)
        status = b->queue_wait(queue, seq, UINT64_MAX);
    b->plan_destroy(plan);
    b->queue_destroy(queue);
    b->buffer_destroy(buffer);
    return status;
}

/* ---- the walk ---- */

static void walk(const char *name, int32_t (*call)(void), int steady, int persistent)
{
    int64_t live = tenon__alloc_live();
    uint64_t n = 1;
    int wrong = 0, silent = 0, leaks = 0;
    for (; n < 10000; n++) {
        tenon__alloc_fail_at(n, persistent);
        int32_t status = call();
        tenon__alloc_fail_at(0, 0);
        if (!status)
            break;
        wrong += status != TENON_E_NOMEM;
        silent += !tenon_error()[0];
        leaks += steady && tenon__alloc_live() > live;
        if (status != TENON_E_NOMEM && wrong < 3)
            tap_note("allocation %d: %d %s", (int)n, status, tenon_error());
    }
    const char *how = persistent ? "from then on" : "once";
    ok(n < 10000, "%s, %s: succeeds in the end", name, how);
    is_int(wrong, 0, "%s, %s: %d failures, all NOMEM", name, how, (int)n - 1);
    is_int(silent, 0, "%s, %s: with a sentence", name, how);
    if (steady) {
        is_int(leaks, 0, "%s, %s: no failure leaks", name, how);
    }
    is_int(call(), TENON_OK, "%s, %s: works again", name, how);
}

static void both(const char *name, int32_t (*call)(void), int steady)
{
    walk(name, call, steady, 0);
    walk(name, call, steady, 1);
}

static void test_untouched(const char *spec)
{
    unsigned char before[sizeof y];
    memset(before, 0x5a, sizeof before);
    int touched = 0;
    for (uint64_t n = 1; n < 10000; n++) {
        memset(y, 0x5a, sizeof y);
        tenon__alloc_fail_at(n, 0);
        int32_t status = run_host();
        tenon__alloc_fail_at(0, 0);
        if (!status)
            break;
        touched += memcmp(y, before, sizeof y) != 0;
    }
    is_int(touched, 0, "%s: a failed run writes nothing", spec);
}

int main(void)
{
    static const char *const specs[] = {"toy:0", "toy:2", "toy:3", "toy:4"};
    toys_path();
    unsetenv("TENON_LAYERS");
    unsetenv("TENON_DEVICE");
    both("the first tenon_context_open", open_close, 0);
    both("the first tenon_report_create", report, 0);
    both("tenon_context_open", open_close, 1);
    both("tenon_report_create", report, 1);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        if (tenon_context_open(specs[i], &context) || tenon_memory_create(context, 4096, &memory) ||
            tenon_memory_fill(memory, 0, 0, 4096))
            bail("%s", tenon_error());
        tap_note("%s", specs[i]);
        both("the first tenon_run", run_host, 0);
        test_untouched(specs[i]);
        both("tenon_run on host memory", run_host, 0);
        both("tenon_run on device memory", run_memory, 0);
        both("tenon_supports", supports, 0);
        both("tenon_memory_create", create, 1);
        both("transfers", transfer, 0);
        both("plan_record", record, 1);
        tenon_memory_destroy(memory);
        tenon_context_close(context);
    }
    both("tenon_context_open at the end", open_close, 1);
    int64_t live = tenon__alloc_live();
    is_int(open_close(), TENON_OK, "open and close");
    is_int(tenon__alloc_live(), live, "leave nothing");
    return tap_done();
}
