/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layers "fault" and "trace". A program that does the same few steps meets every failure in turn: each is reported
 * as asked for, nothing leaks, and a lost device stays lost until it is opened again (R22 R68). */
#include <string.h>

#include <tenon/ops.h>
#include <tenon/ops/softmax.h>

#include "../tap.h"
#include "liar.h"
#include "testhost.h"

static struct testhost below;

/* Open, make, run, wait, unmake. Stops at the first failure, unmakes all the same. *failed: how often a call failed. */
static int32_t steps(const struct tenon_backend *b, int *failed)
{
    struct tenon_device *device = NULL;
    struct tenon_buffer *buffer = NULL;
    struct tenon_queue *queue = NULL;
    struct tenon_plan *plan = NULL;
    struct tenon_softmax_params params;
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS];
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .size = 64};
    struct tenon_op_desc desc = {sizeof desc, TENON_OPNUM_softmax, 0, TENON_SOFTMAX_N_TENSORS, tensors, &params, NULL};
    struct tenon_plan_info info = {.struct_size = sizeof info};
    uint32_t count;
    uint64_t seq;
    void *pointer;
    memset(tensors, 0, sizeof tensors);
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    tensors[TENON_SOFTMAX_X] = tensors[TENON_SOFTMAX_Y] = tenon_tensor_make(TENON_F32, 1, (int64_t[]){16});
    int32_t status = b->device_count(&count);
    if (!status)
        status = b->device_open(0, NULL, &device);
    if (!status)
        status = b->buffer_create(device, &d, &buffer);
    if (!status)
        status = b->plan_create(device, &desc, &plan);
    if (!status)
        status = b->plan_info(plan, &info);
    if (!status)
        status = b->queue_create(device, 0, &queue);
    struct tenon_bind to = {buffer, 0};
    struct tenon_cmd fill = {.struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = &to, .size = 64};
    const struct tenon_cmd *cmd = &fill;
    for (int i = 0; i < 2 && !status; i++) {
        status = b->enqueue(queue, &cmd, 1, &seq);
        if (!status)
            status = b->queue_wait(queue, seq, UINT64_MAX);
    }
    if (status == TENON_E_LOST) {
        is_int(b->buffer_map(buffer, 0, 4, TENON_MAP_READ, &pointer), TENON_E_LOST, "LOST is sticky: buffer_map");
        is_int(b->enqueue(queue, &cmd, 1, &seq), TENON_E_LOST, "LOST is sticky: enqueue");
        is_int(b->plan_create(device, &desc, NULL), TENON_E_LOST, "LOST is sticky: plan_create");
    }
    if (!status)
        status = b->buffer_map(buffer, 0, 4, TENON_MAP_READ, &pointer);
    if (!status)
        status = b->buffer_unmap(buffer);
    *failed = status != TENON_OK;
    b->queue_destroy(queue), b->plan_destroy(plan), b->buffer_destroy(buffer), b->device_close(device);
    return status;
}

/* A fresh layer with these settings; `slot` is its host. */
static const struct tenon_backend *fresh(struct testhost *slot, struct tenon_backend *wrapped, const char *layer,
                                         const char *const *config)
{
    testhost_init(slot);
    *wrapped = *liar_entry(&below.base); /* another address: another slot of the layer */
    slot->next = wrapped;
    slot->next_host = &below.base;
    slot->config = config;
    return testhost_load(slot, layer);
}

static void test_calls(void)
{
    static struct testhost slot;
    static struct tenon_backend wrapped;
    static char number[2] = "1";
    static const char *const settings[] = {"call", number, "status", "io", NULL};
    const struct tenon_backend *b = fresh(&slot, &wrapped, "layer-fault", settings);
    int failed;
    if (!ok(b != NULL, "the layer starts"))
        return;
    is_int(steps(b, &failed), TENON_E_IO, "call 1 fails as asked for");
    has_str(slot.failure, "failed on purpose", "and says so: %s", slot.failure);
    is_int(steps(b, &failed), TENON_OK, "later calls do not");
    is_int(below.live, 0, "nothing leaks");
    static struct testhost third_slot;
    static struct tenon_backend third_wrapped;
    static const char *const third[] = {"call", "3", "persistent", "1", NULL};
    b = fresh(&third_slot, &third_wrapped, "layer-fault", third);
    is_int(steps(b, &failed), TENON_E_NOMEM, "call 3 fails, NOMEM when no status is set");
    is_int(steps(b, &failed), TENON_E_NOMEM, "and every later one, when persistent");
    is_int(below.live, 0, "nothing leaks");
}

static void test_settings(void)
{
    static struct testhost slot;
    static struct tenon_backend wrapped;
    static const char *const bad[] = {"call", "often", NULL};
    static const char *const odd[] = {"status", "PERFECT", NULL};
    ok(!fresh(&slot, &wrapped, "layer-fault", bad), "call=often is refused");
    has_str(slot.failure, "call = often", "%s", slot.failure);
    ok(!fresh(&slot, &wrapped, "layer-fault", odd), "status=PERFECT is refused");
    has_str(slot.failure, "PERFECT", "%s", slot.failure);
    is_int(slot.live, 0, "a layer that does not start leaves nothing");
    testhost_init(&slot);
    ok(!testhost_load(&slot, "layer-fault"), "without a next table there is no layer");
    has_str(slot.failure, "TENON_LAYERS", "%s", slot.failure);
}

static void test_lost(void)
{
    static struct testhost slot;
    static struct tenon_backend wrapped;
    static const char *const settings[] = {"lost", "3", NULL}; /* enqueue, wait, enqueue */
    const struct tenon_backend *b = fresh(&slot, &wrapped, "layer-fault", settings);
    int failed;
    if (!ok(b != NULL, "the layer starts"))
        return;
    is_int(steps(b, &failed), TENON_E_LOST, "the third submission or wait loses the device");
    is_int(below.live, 0, "all handles can be destroyed, nothing leaks");
    is_int(steps(b, &failed), TENON_OK, "the device can be opened again");
    is_int(below.live, 0, "nothing leaks");
    is_int(slot.live, 1, "the layer keeps its settings and no objects");
}

static void test_alloc(void)
{
    static struct testhost slot;
    static struct tenon_backend wrapped;
    static char number[] = "2";
    static const char *const settings[] = {"alloc", number, NULL};
    const struct tenon_host own = below.base;
    const struct tenon_backend *b = fresh(&slot, &wrapped, "layer-fault", settings);
    int failed;
    if (!ok(b != NULL, "the layer starts"))
        return;
    is_int(steps(b, &failed), TENON_E_NOMEM, "the backend's second allocation fails");
    is_int(below.live, 0, "nothing leaks");
    is_int(steps(b, &failed), TENON_OK, "the others do not");
    below.base = own;
    static const char *const no_host[] = {"alloc", "1", NULL};
    testhost_init(&slot);
    static struct tenon_backend again;
    again = wrapped;
    slot.next = &again;
    slot.config = no_host;
    ok(!testhost_load(&slot, "layer-fault"), "a host that lends no allocator");
    has_str(slot.failure, "tenon.next-host/1", "%s", slot.failure);
}

static void test_trace(void)
{
    static struct testhost slot;
    static struct tenon_backend wrapped;
    const struct tenon_backend *b = fresh(&slot, &wrapped, "layer-trace", NULL);
    int failed;
    if (!ok(b != NULL, "the layer trace starts"))
        return;
    testhost_clear(&slot);
    is_int(steps(b, &failed), TENON_OK, "the steps, traced");
    is_int(slot.lines, 16, "one line a call");
    is_int(slot.errors, 0, "none is an error");
    has_str(slot.log, "liar.plan_create(", "functions are named");
    has_str(slot.log, "softmax x=f32[16] y=f32[16]", "descriptors are spelt out");
    has_str(slot.log, "FILL(64 bytes, 0x00000000)) = 1 -> OK, ", "commands, numbers and statuses too");
    testhost_clear(&slot);
    is_int(b->plan_create(NULL, NULL, NULL), TENON_E_INVALID, "a bad call comes through");
    has_str(slot.log, "a bad descriptor, NULL) -> INVALID", "and is traced");
}

/* Nine backends, eight slots. */
static void test_slots(void)
{
    static struct testhost slot[10];
    static struct tenon_backend wrapped[10];
    uint32_t n = 0, count = 0;
    const struct tenon_backend *tables[10], *b;
    while (n < 10 && (b = fresh(&slot[n], &wrapped[n], "layer-trace", NULL)))
        tables[n++] = b;
    is_int(n, 7, "with the one above, eight backends are wrapped at once");
    has_str(slot[n].failure, "at once", "and the ninth is told why: %s", slot[n].failure);
    for (uint32_t i = 1; i < n; i++)
        count += tables[i] != tables[i - 1];
    is_int(count, n - 1, "each has a table of its own");
}

int main(void)
{
    testhost_init(&below);
    test_settings();
    test_calls();
    test_lost();
    test_alloc();
    test_trace();
    test_slots();
    return tap_done();
}
