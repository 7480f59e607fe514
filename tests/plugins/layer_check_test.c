/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layer "check" in front of a backend that keeps the rules until told otherwise: each breach of the caller is
 * answered and not passed on, each breach of the backend gives INTERNAL, both with a line that names the rule, and
 * correct use gives no line at all (R5 R26 R40 R42 R51 R53 R60 to R67). */
#include <string.h>

#include <tenon/ops.h>
#include <tenon/ops/softmax.h>

#include "../tap.h"
#include "liar.h"
#include "testhost.h"

static struct testhost host, below;
static const struct tenon_backend *b;
static struct tenon_device *device;
static struct tenon_queue *queue, *other;
static struct tenon_plan *plan;
static struct tenon_buffer *x, *y, *space; /* 256 bytes each; space 1024 */

static struct tenon_softmax_params params;
static struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS];
static struct tenon_op_desc desc;
static struct tenon_bind binds[TENON_SOFTMAX_N_TENSORS];

/* The caller's breach: `status`, one ERROR line that names the rule, and nothing reaches the backend. */
#define BREACH(status, rule, call)                                                                                     \
    do {                                                                                                               \
        testhost_clear(&host);                                                                                         \
        int before = liar_calls;                                                                                       \
        is_str(tenon_status_name(call), #status, #call);                                                               \
        has_str(host.log, rule ", the caller of liar: ", "%s: %s", rule, host.failure);                                \
        ok(host.errors == 1 && liar_calls == before, "%s: one line, not passed on", rule);                             \
    } while (0)
/* For calls without a status. */
#define BREACH_VOID(rule, call)                                                                                        \
    do {                                                                                                               \
        testhost_clear(&host);                                                                                         \
        int before = liar_calls;                                                                                       \
        call;                                                                                                          \
        has_str(host.log, rule ", the caller of liar: ", #call ": %s", host.failure);                                  \
        ok(host.errors == 1 && liar_calls == before, "%s: one line, not passed on", rule);                             \
    } while (0)
#define FINE(call)                                                                                                     \
    do {                                                                                                               \
        testhost_clear(&host);                                                                                         \
        is_str(tenon_status_name(call), "OK", #call);                                                                  \
        is_str(host.log, "", "and nothing to say");                                                                    \
    } while (0)
#define LIE(lie, rule, call)                                                                                           \
    do {                                                                                                               \
        testhost_clear(&host);                                                                                         \
        liar_lie = lie;                                                                                                \
        is_str(tenon_status_name(call), "INTERNAL", #lie ": " #call);                                                  \
        liar_lie = TRUTH;                                                                                              \
        has_str(host.log, rule ", the backend liar: ", #lie ": %s", host.failure);                                     \
        is_int(host.errors, 1, "one line");                                                                            \
    } while (0)

static int32_t buffer_of(uint64_t size, struct tenon_buffer **buffer)
{
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .size = size};
    return b->buffer_create(device, &d, buffer);
}

static struct tenon_cmd run_cmd(void)
{
    memset(binds, 0, sizeof binds);
    binds[TENON_SOFTMAX_X].buffer = x;
    binds[TENON_SOFTMAX_Y].buffer = y;
    return (struct tenon_cmd){.struct_size = sizeof(struct tenon_cmd),
                              .kind = TENON_CMD_RUN,
                              .n_args = TENON_SOFTMAX_N_TENSORS,
                              .args = binds,
                              .plan = plan,
                              .workspace = {space, 0}};
}

static int32_t submit(const struct tenon_cmd *cmd)
{
    uint64_t seq;
    return b->enqueue(queue, &cmd, 1, &seq);
}

static void finish(void)
{
    uint64_t seq = 0;
    struct tenon_bind to = {x, 0};
    const struct tenon_cmd fill = {.struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = &to};
    const struct tenon_cmd *cmd = &fill;
    is_int(b->enqueue(queue, &cmd, 1, &seq), TENON_OK, "a last batch, of no bytes");
    is_int(b->queue_wait(queue, seq, UINT64_MAX), TENON_OK, "is waited for");
}

static void set_up(void)
{
    testhost_init(&below);
    testhost_init(&host);
    host.next = liar_entry(&below.base);
    b = testhost_load(&host, "layer-check");
    ok(b == testhost_load(&host, "layer-check"), "the entry is idempotent");
    params.struct_size = sizeof params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    tensors[TENON_SOFTMAX_X] = tensors[TENON_SOFTMAX_Y] = tenon_tensor_make(TENON_F32, 2, (int64_t[]){4, 8});
    desc = (struct tenon_op_desc){.struct_size = sizeof desc,
                                  .op = TENON_OPNUM_softmax,
                                  .n_tensors = TENON_SOFTMAX_N_TENSORS,
                                  .tensors = tensors,
                                  .params = &params};
    uint32_t count;
    FINE(b->device_count(&count));
    BREACH(INVALID, "R31", b->device_open(7, NULL, &device));
    LIE(OPEN_NULL, "R26", b->device_open(0, NULL, &device));
    FINE(b->device_open(0, NULL, &device));
    FINE(b->queue_create(device, 0, &queue));
    FINE(b->queue_create(device, 0, &other));
    FINE(buffer_of(256, &x));
    FINE(buffer_of(256, &y));
    FINE(buffer_of(1024, &space));
    FINE(b->plan_create(device, &desc, NULL));
    FINE(b->plan_create(device, &desc, &plan));
}

static void test_devices(void)
{
    struct tenon_device_info info = {.struct_size = 4};
    struct tenon_device *stranger = (struct tenon_device *)(void *)&info;
    struct tenon_buffer *buffer;
    BREACH(INVALID, "R5", b->device_info(0, &info));
    BREACH(INVALID, "R5", b->device_info(0, NULL));
    BREACH(INVALID, "R31", b->device_count(NULL));
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .size = 8};
    BREACH(INVALID, "R40", b->buffer_create(stranger, &d, &buffer));
    BREACH(INVALID, "R40", b->buffer_create(NULL, &d, &buffer));
    BREACH_VOID("R40", b->device_close(device));
    BREACH_VOID("R40", b->device_close(stranger));
    struct tenon_queue *third;
    BREACH(INVALID, "R60", b->queue_create(device, 0, &third));
}

static void test_buffers(void)
{
    struct tenon_buffer *buffer = NULL;
    struct tenon_buffer_desc d = {.struct_size = sizeof d};
    void *pointer;
    BREACH(INVALID, "R41", b->buffer_create(device, &d, &buffer));
    BREACH(INVALID, "R41", b->buffer_create(device, NULL, &buffer));
    BREACH(INVALID, "R41", b->buffer_create(device, &d, NULL));
    LIE(BUFFER_TWICE, "R40", buffer_of(64, &buffer));
    d.size = UINT64_C(1) << 63;
    is_int(b->buffer_create(device, &d, &buffer), TENON_E_NOMEM, "2^63 bytes are only too much");
    LIE(BUFFER_ANYTHING, "R41", b->buffer_create(device, &d, &buffer));
    LIE(BUFFER_NULL, "R26", buffer_of(64, &buffer));
    BREACH(INVALID, "R42", b->buffer_map(x, 0, 0, TENON_MAP_READ, &pointer));
    BREACH(INVALID, "R42", b->buffer_map(x, 0, 257, TENON_MAP_READ, &pointer));
    BREACH(INVALID, "R42", b->buffer_map(x, UINT64_MAX, 2, TENON_MAP_READ, &pointer));
    BREACH(INVALID, "R42", b->buffer_map(x, 0, 4, 0, &pointer));
    BREACH(INVALID, "R42", b->buffer_map(x, 0, 4, 8, &pointer));
    BREACH(INVALID, "R42", b->buffer_unmap(x));
    FINE(b->buffer_map(x, 4, 252, TENON_MAP_READ | TENON_MAP_WRITE, &pointer));
    BREACH(INVALID, "R42", b->buffer_map(x, 0, 4, TENON_MAP_READ, &pointer));
    struct tenon_cmd cmd = run_cmd();
    BREACH(INVALID, "R42", submit(&cmd));
    FINE(b->buffer_unmap(x));
    LIE(MAP_NULL, "R26", b->buffer_map(x, 0, 4, TENON_MAP_READ, &pointer));
    FINE(submit(&cmd));
    BREACH(INVALID, "R42", b->buffer_map(x, 0, 4, TENON_MAP_READ, &pointer));
    BREACH_VOID("R40", b->buffer_destroy(x));
    BREACH_VOID("R40", b->buffer_destroy(space));
    BREACH_VOID("R40", b->plan_destroy(plan));
    BREACH_VOID("R40", b->queue_destroy(queue));
    finish();
    FINE(buffer_of(64, &buffer));
    b->buffer_destroy(buffer);
    BREACH_VOID("R40", b->buffer_destroy(buffer));
    BREACH(INVALID, "R40", b->buffer_map(buffer, 0, 4, TENON_MAP_READ, &pointer));
    testhost_clear(&host);
    b->buffer_destroy(NULL), b->plan_destroy(NULL), b->queue_destroy(NULL), b->device_close(NULL);
    is_str(host.log, "", "every destroy takes NULL");
}

static void test_plans(void)
{
    struct tenon_plan *got = NULL;
    struct tenon_op_desc bad = desc;
    bad.n_tensors = 3;
    is_int(b->plan_create(device, &bad, NULL), TENON_E_INVALID, "a bad descriptor is the contract's business");
    BREACH(INVALID, "R4", b->plan_create(device, NULL, NULL));
    LIE(PLAN_ANYTHING, "R50", b->plan_create(device, &bad, &got));
    LIE(STATUS_POSITIVE, "R10", b->plan_create(device, &desc, NULL));
    LIE(STATUS_UNKNOWN, "R10", b->plan_create(device, &desc, NULL));
    LIE(PLAN_DENIED, "R51", b->plan_create(device, &desc, &got));
    LIE(PLAN_SET, "R26", b->plan_create(device, &desc, &got));
    LIE(PLAN_NULL, "R26", b->plan_create(device, &desc, &got));
    LIE(INFO_SIZE, "R5", b->plan_create(device, &desc, &got));
    LIE(INFO_ALIGN, "R53", b->plan_create(device, &desc, &got));
    LIE(INFO_IMPL, "R8", b->plan_create(device, &desc, &got));
    ok(got == NULL, "no bad plan was given out");
    struct tenon_plan_info info = {.struct_size = sizeof info};
    FINE(b->plan_info(plan, &info));
    is_str(info.impl, "liar", "plan_info comes through");
    LIE(INFO_GROWS, "R53", b->plan_info(plan, &info));
    LIE(INFO_SIZE, "R5", b->plan_info(plan, &info));
    info.struct_size = 0;
    BREACH(INVALID, "R5", b->plan_info(plan, &info));
    BREACH(INVALID, "R40", b->plan_info((const struct tenon_plan *)(const void *)&info, &info));
}

static void test_run(void)
{
    struct tenon_cmd cmd = run_cmd();
    FINE(submit(&cmd));
    cmd.n_args = 2;
    BREACH(INVALID, "R63", submit(&cmd));
    cmd = run_cmd(), cmd.plan = (struct tenon_plan *)(void *)&cmd;
    BREACH(INVALID, "R63", submit(&cmd));
    cmd = run_cmd(), binds[TENON_SOFTMAX_X].buffer = NULL;
    BREACH(INVALID, "R63", submit(&cmd));
    cmd = run_cmd(), binds[TENON_SOFTMAX_X].offset = 192;
    BREACH(INVALID, "R63", submit(&cmd));
    cmd = run_cmd(), binds[TENON_SOFTMAX_X].offset = 128;
    FINE(submit(&cmd));
    cmd = run_cmd(), binds[TENON_SOFTMAX_X].offset = 4;
    BREACH(INVALID, "R63", submit(&cmd));
    cmd = run_cmd(), binds[TENON_SOFTMAX_Y] = (struct tenon_bind){x, 64};
    BREACH(ALIAS, "R65", submit(&cmd));
    cmd = run_cmd(), binds[TENON_SOFTMAX_Y].buffer = x;
    FINE(submit(&cmd)); /* in place */
    cmd = run_cmd(), cmd.workspace.buffer = NULL;
    BREACH(WORKSPACE, "R64", submit(&cmd));
    cmd = run_cmd(), cmd.workspace.offset = 1024;
    BREACH(WORKSPACE, "R64", submit(&cmd));
    cmd = run_cmd(), cmd.workspace.buffer = x;
    BREACH(WORKSPACE, "R64", submit(&cmd));
    cmd = run_cmd(), cmd.workspace = (struct tenon_bind){x, 192};
    FINE(submit(&cmd));
    /* The same memory twice: two imports of it are one place. */
    static _Alignas(64) char memory[256];
    struct tenon_buffer *one, *two;
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .flags = TENON_BUF_IMPORT, .size = 256, .host_ptr = memory};
    FINE(b->buffer_create(device, &d, &one));
    d.host_ptr = memory + 64, d.size = 192;
    FINE(b->buffer_create(device, &d, &two));
    cmd = run_cmd(), binds[TENON_SOFTMAX_X].buffer = one, binds[TENON_SOFTMAX_Y].buffer = two;
    BREACH(ALIAS, "R65", submit(&cmd));
    finish();
    b->buffer_destroy(one), b->buffer_destroy(two);
}

static void test_transfers(void)
{
    struct tenon_bind args[2] = {{x, 0}, {y, 0}};
    const struct tenon_cmd copy = {
        .struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = 64};
    const struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = args, .size = 64};
    struct tenon_cmd c = copy;
    FINE(submit(&c));
    args[1] = (struct tenon_bind){x, 32};
    BREACH(INVALID, "R66", submit(&c));
    args[1] = (struct tenon_bind){x, 64};
    FINE(submit(&c));
    args[1] = (struct tenon_bind){y, 193};
    BREACH(INVALID, "R66", submit(&c));
    c = fill, c.size = 63;
    BREACH(INVALID, "R66", submit(&c));
    c = fill, c.size = 260;
    BREACH(INVALID, "R66", submit(&c));
    c = fill, c.size = 0;
    FINE(submit(&c));
    c.kind = 99;
    is_int(submit(&c), TENON_E_UNSUPPORTED, "an unknown command is UNSUPPORTED");
    struct tenon_cmd wait = {.struct_size = sizeof wait, .kind = TENON_CMD_WAIT, .queue = queue, .value = 0};
    BREACH(INVALID, "R67", submit(&wait));
    wait.queue = other;
    FINE(submit(&wait));
    wait.value = 1;
    BREACH(INVALID, "R67", submit(&wait));
    finish();
}

static void test_queues(void)
{
    struct tenon_cmd cmd = run_cmd();
    const struct tenon_cmd *cmds[2] = {&cmd, NULL};
    uint64_t seq = 77, next;
    int runs = liar_runs;
    BREACH(INVALID, "R61", b->enqueue(queue, cmds, 0, &seq));
    BREACH(INVALID, "R61", b->enqueue(queue, NULL, 1, &seq));
    BREACH(INVALID, "R66", b->enqueue(queue, cmds, 2, &seq));
    ok(seq == 77 && liar_runs == runs, "all or nothing: the good command of the batch did not run");
    BREACH(INVALID, "R61", b->enqueue(queue, cmds, 1, NULL));
    BREACH(INVALID, "R40", b->enqueue((struct tenon_queue *)(void *)&cmd, cmds, 1, &seq));
    FINE(b->enqueue(queue, cmds, 1, &seq));
    FINE(b->enqueue(queue, cmds, 1, &next));
    ok(next == seq + 1, "numbers rise by one");
    BREACH(INVALID, "R62", b->queue_wait(queue, next + 1, 0));
    FINE(b->queue_wait(queue, 0, 0));
    LIE(WAIT_TIMEOUT, "R62", b->queue_wait(queue, next, UINT64_MAX));
    FINE(b->queue_wait(queue, next, UINT64_MAX));
    LIE(WAIT_TIMEOUT, "R62", b->queue_wait(queue, next, 0)); /* it was done already */
    LIE(SEQ_BACKWARDS, "R61", b->enqueue(queue, cmds, 1, &seq));
    finish();
    struct tenon_queue *none = NULL;
    b->queue_destroy(other);
    LIE(QUEUE_NULL, "R26", b->queue_create(device, 0, &none));
    FINE(b->queue_create(device, 0, &other));
    LIE(SEQ_SET, "R26", b->enqueue(other, cmds, 1, &seq));
}

static void test_end(void)
{
    struct tenon_cmd cmd = run_cmd();
    const struct tenon_cmd *cmds = &cmd;
    uint64_t seq;
    liar_lie = LOST_ONCE;
    is_int(b->enqueue(queue, &cmds, 1, &seq), TENON_E_LOST, "the device is lost");
    LIE(LOST_ONCE, "R68", b->enqueue(queue, &cmds, 1, &seq));
    testhost_clear(&host);
    b->queue_destroy(queue), b->queue_destroy(other);
    b->buffer_destroy(x), b->buffer_destroy(y), b->buffer_destroy(space);
    b->plan_destroy(plan);
    b->device_close(device);
    is_str(host.log, "", "everything is destroyed in order");
    BREACH_VOID("R40", b->device_close(device));
    is_int(below.live, 0, "the backend freed all it had");
    is_int(host.live, 0, "so did the layer");
}

int main(void)
{
    set_up();
    test_devices();
    test_buffers();
    test_plans();
    test_run();
    test_transfers();
    test_queues();
    test_end();
    return tap_done();
}
