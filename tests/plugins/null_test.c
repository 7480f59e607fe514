/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The template backend keeps every rule, so that its copies begin well (R5 R22 R25 R41 R42 R50 R61 R62 R66). */
#include <string.h>

#include <tenon/ops.h>

#include "../tap.h"
#include "testhost.h"

static struct testhost host;
static const struct tenon_backend *b;

static void test_discovery(struct tenon_device **device)
{
    uint32_t count = 0;
    struct tenon_device_info info = {.struct_size = sizeof info};
    const struct tenon_chain critical = {sizeof critical, TENON_CHAIN_CRITICAL | 9, NULL};
    is_str(b->id, "null", "its id is that of the file");
    is_int(b->device_count(&count), TENON_OK, "devices are counted");
    is_int(count, 1, "one");
    is_int(b->device_info(0, &info), TENON_OK, "and described");
    ok(info.struct_size == sizeof info && info.bind_align && info.max_buffer && info.name[0], "in full");
    struct tenon_device_info shorter = {.struct_size = 24, .bind_align = 77};
    is_int(b->device_info(0, &shorter), TENON_OK, "a shorter description");
    ok(shorter.caps == info.caps && shorter.bind_align == 77, "is not written past its end");
    is_int(b->device_info(1, &info), TENON_E_INVALID, "no second device");
    is_int(b->device_open(0, &critical, device), TENON_E_UNSUPPORTED, "what must be understood and is not");
    is_int(b->device_open(0, NULL, device), TENON_OK, "opens");
    b->device_close(NULL), b->buffer_destroy(NULL), b->plan_destroy(NULL), b->queue_destroy(NULL);
    ok(1, "every destroy takes NULL");
}

static void test_memory(struct tenon_device *device)
{
    char mine[16] = "0123456789abcde";
    void *pointer;
    struct tenon_buffer *buffer = NULL, *import = NULL;
    struct tenon_queue *queue = NULL;
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .size = 16};
    is_int(b->buffer_create(device, &d, &buffer), TENON_OK, "a buffer");
    d.flags = TENON_BUF_IMPORT, d.host_ptr = mine;
    is_int(b->buffer_create(device, &d, &import), TENON_OK, "an import");
    is_int(b->buffer_map(buffer, 0, 17, TENON_MAP_READ, &pointer), TENON_E_INVALID, "a range outside");
    is_int(b->buffer_map(buffer, UINT64_MAX, 2, TENON_MAP_READ, &pointer), TENON_E_INVALID, "a range that overflows");
    is_int(b->buffer_map(buffer, 0, 16, 0, &pointer), TENON_E_INVALID, "no mode");
    is_int(b->queue_create(device, 1, &queue), TENON_E_UNSUPPORTED, "a queue with flags");
    is_int(b->queue_create(device, 0, &queue), TENON_OK, "a queue");
    struct tenon_bind args[2] = {{buffer, 0}, {import, 0}};
    struct tenon_cmd copy = {.struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = 16};
    struct tenon_bind middle = {buffer, 4};
    struct tenon_cmd fill = {.struct_size = sizeof fill,
                             .kind = TENON_CMD_FILL,
                             .n_args = 1,
                             .args = &middle,
                             .size = 8,
                             .value = UINT64_C(0xffffffff2e2e2e2e)};
    const struct tenon_cmd *cmds[2] = {&copy, &fill};
    uint64_t seq = 0;
    fill.size = 20;
    is_int(b->enqueue(queue, cmds, 2, &seq), TENON_E_INVALID, "a batch whose second command reaches outside");
    is_int(b->enqueue(queue, cmds, 0, &seq), TENON_E_INVALID, "an empty batch");
    is_int(b->queue_wait(queue, 1, 0), TENON_E_INVALID, "nothing of them ran");
    fill.size = 8;
    is_int(b->enqueue(queue, cmds, 2, &seq), TENON_OK, "a batch");
    is_int(seq, 1, "is number 1");
    is_int(b->queue_wait(queue, seq, UINT64_MAX), TENON_OK, "and gets done");
    is_int(b->buffer_map(buffer, 0, 16, TENON_MAP_READ, &pointer), TENON_OK, "a mapping");
    ok(!memcmp(pointer, "0123........cde", 16), "shows what the commands wrote");
    is_int(b->buffer_map(buffer, 0, 16, TENON_MAP_READ, &pointer), TENON_E_INVALID, "a second mapping");
    is_int(b->buffer_unmap(buffer), TENON_OK, "unmap");
    is_int(b->buffer_unmap(buffer), TENON_E_INVALID, "unmap again");
    b->queue_destroy(queue), b->buffer_destroy(buffer), b->buffer_destroy(import);
}

/* The first type in a set of TENON_T_*. */
static uint32_t first_type(uint32_t set)
{
    static const uint32_t types[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};
    size_t i = 0;
    while (i + 1 < sizeof types / sizeof types[0] && !(set & tenon_dtype_bit(types[i])))
        i++;
    return types[i];
}

/* What the contract refuses is refused with its status and sentence; the rest is declined, with and without a plan. */
static void test_plans(struct tenon_device *device)
{
    int formed = 0;
    for (uint32_t i = 0; tenon_op_contract_at(i); i++) {
        const struct tenon_op_contract *op = tenon_op_contract_at(i);
        uint64_t params[32];
        struct tenon_tensor tensors[TENON_MAX_TENSORS];
        struct tenon_plan *plan = NULL;
        struct tenon_why why;
        memset(tensors, 0, sizeof tensors);
        tenon_op_defaults(op, params);
        struct tenon_op_desc d = {sizeof d, op->op, 0, op->n_tensors, tensors, params, NULL};
        int32_t expect = tenon_op_check(&d, NULL, NULL, 0, &why);
        is_int(b->plan_create(device, &d, &plan), expect, "%s without tensors", op->name);
        is_str(host.failure, why.text, "says what the contract says");
        /* Squares are inputs to every operator that works on matrices alone; the contract says what comes out. */
        for (uint32_t j = 0; j < op->n_tensors; j++)
            if (op->tensors[j].role == TENON_IN)
                tensors[j] = tenon_tensor_make(first_type(op->tensors[j].dtypes), 2, (int64_t[]){32, 32});
        for (uint32_t j = 0; j < op->n_tensors; j++) {
            struct tenon_tensor out;
            if (op->tensors[j].role >= TENON_OUT && op->output(params, tensors, j, &out, &why) == TENON_OK)
                tensors[j] = out;
        }
        expect = tenon_op_check(&d, NULL, NULL, 0, &why);
        formed += expect == TENON_OK;
        is_int(b->plan_create(device, &d, &plan), expect ? expect : TENON_E_UNSUPPORTED, "%s of squares: %s", op->name,
               expect ? why.text : "declined");
        is_int(b->plan_create(device, &d, NULL), expect ? expect : TENON_E_UNSUPPORTED, "without a plan too");
        has_str(host.failure, expect ? why.text : op->name, "with the sentence: %s", host.failure);
        ok(!plan, "no plan is given out");
    }
    ok(formed >= 5, "squares are good for %d operators", formed);
}

static void test_out_of_memory(struct tenon_device *device)
{
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .size = 16};
    int64_t live = host.live;
    for (uint64_t n = 1; n < 10; n++) {
        struct tenon_buffer *buffer = NULL;
        struct tenon_queue *queue = NULL;
        host.fail_at = host.allocs + n;
        int32_t status = b->buffer_create(device, &d, &buffer);
        if (!status)
            status = b->queue_create(device, 0, &queue);
        int fired = host.allocs >= host.fail_at;
        host.fail_at = 0;
        is_int(status, fired ? TENON_E_NOMEM : TENON_OK, "allocation %d fails", (int)n);
        b->buffer_destroy(buffer), b->queue_destroy(queue);
        is_int(host.live, live, "nothing leaks");
        if (!fired)
            return;
    }
    ok(0, "the loop ends");
}

int main(void)
{
    struct tenon_device *device = NULL;
    testhost_init(&host);
    b = testhost_load(&host, "null");
    ok(b == testhost_load(&host, "null"), "the entry is idempotent");
    test_discovery(&device);
    test_memory(device);
    test_plans(device);
    test_out_of_memory(device);
    b->device_close(device);
    is_int(host.live, 0, "everything was freed");
    is_int(host.lines, 0, "nothing was logged");
    return tap_done();
}
