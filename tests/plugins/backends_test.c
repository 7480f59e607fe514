/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every backend of this build against the calling rules, through its table alone: sizes and ranges, descriptors at
 * random against the contract, batches that are all or nothing, each allocation failing in turn, many openings, many
 * threads on one plan (R4 R5 R6 R22 R25 R41 R42 R50 R51 R52 R61 R62 R63 R64 R65). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <tenon/ops.h>
#include <tenon/ops/softmax.h>

#include "../tap.h"
#include "testhost.h"

#define BYTES   4096
#define THREADS 8

static struct testhost host;
static const struct tenon_backend *b;
static const char *id;
static struct tenon_device_info info;
static int gpu; /* slow to open and to plan: fewer rounds */

static struct tenon_softmax_params params;
static struct tenon_tensor tensors[TENON_MAX_TENSORS];
static struct tenon_op_desc desc;

static void describe(void)
{
    memset(tensors, 0, sizeof tensors);
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    tensors[TENON_SOFTMAX_X] = tensors[TENON_SOFTMAX_Y] = tenon_tensor_make(TENON_F32, 2, (int64_t[]){4, 64});
    desc = (struct tenon_op_desc){sizeof desc, TENON_OPNUM_softmax, 0, TENON_SOFTMAX_N_TENSORS, tensors, &params, NULL};
}

static int32_t buffer_of(struct tenon_device *device, uint64_t size, uint32_t flags, void *memory,
                         struct tenon_buffer **buffer)
{
    struct tenon_buffer_desc d = {.struct_size = sizeof d, .flags = flags, .size = size, .host_ptr = memory};
    return b->buffer_create(device, &d, buffer);
}

static void test_device(struct tenon_device **device)
{
    const struct tenon_chain critical = {sizeof critical, TENON_CHAIN_CRITICAL | 3, NULL};
    struct {
        struct tenon_device_info info;
        uint64_t tail[4];
    } longer = {.info.struct_size = sizeof longer, .tail = {1, 2, 3, 4}};
    struct tenon_device_info shorter = {.struct_size = 32, .bind_align = 12345};
    struct tenon_device *none = NULL;
    uint32_t count = 0;
    is_int(b->device_count(&count), TENON_OK, "%s: devices are counted", id);
    is_int(b->device_info(0, &info), TENON_OK, "%s: described", id);
    is_int(b->device_info(0, &longer.info), TENON_OK, "%s: to a longer struct", id);
    ok(longer.info.struct_size == sizeof longer && longer.info.caps == info.caps, "%s: whose size stays", id);
    is_int(b->device_info(0, &shorter), TENON_OK, "%s: to a shorter struct", id);
    ok(shorter.bind_align == 12345 && shorter.max_buffer == info.max_buffer, "%s: which is not overrun", id);
    ok(b->device_info(count, &info) < 0 && b->device_open(count, NULL, &none) < 0, "%s: one device too far", id);
    is_int(b->device_open(0, &critical, &none), TENON_E_UNSUPPORTED, "%s: an opening that must be understood", id);
    ok(!none, "%s: no failure sets its output", id);
    b->device_close(NULL), b->buffer_destroy(NULL), b->plan_destroy(NULL), b->queue_destroy(NULL);
    is_int(b->device_open(0, NULL, device), TENON_OK, "%s: opens", id);
}

static void test_buffers(struct tenon_device *device)
{
    static _Alignas(4096) char memory[2 * 4096];
    struct tenon_buffer *buffer = NULL;
    void *pointer;
    is_int(buffer_of(device, 0, 0, NULL, &buffer), TENON_E_INVALID, "%s: no bytes", id);
    is_int(buffer_of(device, UINT64_C(1) << 63, 0, NULL, &buffer), TENON_E_NOMEM, "%s: 2^63 bytes", id);
    is_int(buffer_of(device, UINT64_MAX, 0, NULL, &buffer), TENON_E_NOMEM, "%s: 2^64-1 bytes", id);
    is_int(buffer_of(device, 64, 0x80, NULL, &buffer), TENON_E_UNSUPPORTED, "%s: an unknown flag", id);
    is_int(buffer_of(device, 64, 0, memory, &buffer), TENON_E_INVALID, "%s: host_ptr without IMPORT", id);
    is_int(b->buffer_create(device, NULL, &buffer), TENON_E_INVALID, "%s: no descriptor", id);
    if (!(info.caps & TENON_CAP_IMPORT))
        is_int(buffer_of(device, 4096, TENON_BUF_IMPORT, memory, &buffer), TENON_E_UNSUPPORTED, "%s: cannot import",
               id);
    else if (info.import_align > 1)
        is_int(buffer_of(device, 4096, TENON_BUF_IMPORT, memory + info.import_align / 2, &buffer), TENON_E_UNSUPPORTED,
               "%s: import of misaligned memory", id);
    ok(!buffer, "%s: no failure sets its output", id);
    if (!is_int(buffer_of(device, 1000, 0, NULL, &buffer), TENON_OK, "%s: 1000 bytes", id))
        return;
    is_int(b->buffer_map(buffer, 0, 0, TENON_MAP_READ, &pointer), TENON_E_INVALID, "%s: map nothing", id);
    is_int(b->buffer_map(buffer, 1, 1000, TENON_MAP_READ, &pointer), TENON_E_INVALID, "%s: map too far", id);
    is_int(b->buffer_map(buffer, UINT64_MAX - 1, 4, TENON_MAP_READ, &pointer), TENON_E_INVALID, "%s: map around", id);
    is_int(b->buffer_map(buffer, 0, 4, 0, &pointer), TENON_E_INVALID, "%s: map without a mode", id);
    ok(b->buffer_map(buffer, 0, 4, 64, &pointer) < 0, "%s: map with an unknown mode", id);
    is_int(b->buffer_unmap(buffer), TENON_E_INVALID, "%s: unmap what is not mapped", id);
    is_int(b->buffer_map(buffer, 996, 4, TENON_MAP_WRITE, &pointer), TENON_OK, "%s: map the end", id);
    memcpy(pointer, "abcd", 4);
    is_int(b->buffer_map(buffer, 0, 4, TENON_MAP_READ, &pointer), TENON_E_INVALID, "%s: map twice", id);
    is_int(b->buffer_unmap(buffer), TENON_OK, "%s: unmap", id);
    is_int(b->buffer_map(buffer, 0, 1000, TENON_MAP_READ, &pointer), TENON_OK, "%s: map all", id);
    ok(!memcmp((char *)pointer + 996, "abcd", 4), "%s: what was written is there", id);
    is_int(b->buffer_unmap(buffer), TENON_OK, "%s: unmap", id);
    b->buffer_destroy(buffer);
}

/* ---- descriptors at random ---- */

static uint64_t random_word(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void spoil(uint64_t *state, struct tenon_op_desc *d, struct tenon_tensor *t, unsigned char *bytes)
{
    static const int64_t extents[] = {0, 1, 2, 64, -1, INT64_MAX, INT64_MIN, INT64_C(1) << 31, INT64_C(1) << 40, 4};
    static const uint32_t dtypes[] = {0, TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, 0xffffffff};
    uint64_t r = random_word(state);
    struct tenon_tensor *one = &t[r >> 8 & 15];
    switch (r & 15) {
    case 0:
        d->op = (uint32_t)(r >> 16) & 7;
        break;
    case 1:
        d->flags = 1u << (r >> 16 & 31);
        break;
    case 2:
        d->n_tensors = (uint32_t)(r >> 16) & 63;
        break;
    case 3:
        d->struct_size = (uint32_t)(r >> 16) & 63;
        break; /* never beyond what there is */
    case 4:
        one->rank = (uint32_t)(r >> 16) & 15;
        break;
    case 5:
        one->dtype = dtypes[r >> 16 & 7];
        break;
    case 6:
    case 7:
        one->dim[r >> 12 & 7] = extents[(r >> 16) % 10];
        break;
    case 8:
    case 9:
        one->stride[r >> 12 & 7] = extents[(r >> 16) % 10];
        break;
    case 10:
        *one = tenon_tensor_make(dtypes[r >> 16 & 7], 1 + (r >> 20 & 1), (int64_t[]){4, 64});
        break;
    case 11:
        *one = tenon_tensor_make(TENON_F32, 1, (int64_t[]){r >> 20 & 1 ? 4 : 64});
        break;
    case 12:
    case 13:
        bytes[4 + (r >> 16) % (sizeof params - 4)] = (unsigned char)(r >> 32);
        break;
    case 14:
        bytes[4 + 4 * ((r >> 16) % 3)] = (unsigned char)(r >> 32 & 7);
        break;
    default:
        bytes[0] = (unsigned char)(r >> 16 & 0x1f);
        break;
    }
}

static void test_descriptors(struct tenon_device *device)
{
    uint64_t state = 20240611;
    int rounds = gpu ? 400 : 20000, wrong = 0, refused = 0, accepted = 0, differs = 0;
    for (int i = 0; i < rounds; i++) {
        /* As large as a spoiled struct_size may say. */
        uint64_t bytes[TENON_STRUCT_MAX / 8] = {0};
        union {
            struct tenon_op_desc desc;
            unsigned char room[TENON_STRUCT_MAX];
        } d = {.room = {0}};
        struct tenon_plan *plan = NULL;
        struct tenon_tensor t[64];
        describe();
        memset(t, 0, sizeof t);
        memcpy(t, tensors, sizeof tensors);
        memcpy(bytes, &params, sizeof params);
        d.desc = desc, d.desc.tensors = t, d.desc.params = bytes;
        for (uint64_t n = 1 + (random_word(&state) & 3); n > 0; n--)
            spoil(&state, &d.desc, t, (unsigned char *)bytes);
        int32_t expect = tenon_op_check(&d.desc, NULL, NULL, 0, NULL);
        int32_t answer = b->plan_create(device, &d.desc, NULL);
        int32_t status = i % 8 ? answer : b->plan_create(device, &d.desc, &plan);
        b->plan_destroy(plan);
        refused += expect != TENON_OK;
        accepted += status == TENON_OK;
        differs += status != answer;
        if (expect ? answer != expect
                   : answer != TENON_OK && answer != TENON_E_UNSUPPORTED && answer != TENON_E_NOMEM) {
            if (!wrong++)
                tap_note("%s: round %d: the contract says %s, the backend %s: %s", id, i, tenon_status_name(expect),
                         tenon_status_name(answer), host.failure);
        }
    }
    ok(refused > rounds / 4 && refused < rounds, "%s: %d of %d descriptors at random are bad", id, refused, rounds);
    is_int(wrong, 0, "%s: each is refused with the status of the contract, the others planned or declined", id);
    is_int(differs, 0, "%s: the answer without a plan is the answer with one (%d accepted)", id, accepted);
}

/* ---- queues ---- */

static int32_t submit(struct tenon_queue *queue, const struct tenon_cmd *one, const struct tenon_cmd *two)
{
    const struct tenon_cmd *cmds[2] = {one, two};
    uint64_t seq = 0;
    int32_t status = b->enqueue(queue, cmds, two ? 2 : 1, &seq);
    return status ? status : b->queue_wait(queue, seq, UINT64_MAX);
}

static uint32_t first_word(struct tenon_buffer *buffer)
{
    void *pointer;
    uint32_t word = 0;
    if (b->buffer_map(buffer, 0, 4, TENON_MAP_READ, &pointer) == TENON_OK) {
        memcpy(&word, pointer, 4);
        b->buffer_unmap(buffer);
    }
    return word;
}

static void test_queue(struct tenon_device *device)
{
    struct tenon_queue *queue = NULL;
    struct tenon_buffer *x = NULL, *y = NULL;
    uint64_t seq = 99;
    is_int(b->queue_create(device, 0x10, &queue), TENON_E_UNSUPPORTED, "%s: a queue with an unknown flag", id);
    is_int(b->queue_create(device, 0, &queue), TENON_OK, "%s: a queue", id);
    is_int(buffer_of(device, BYTES, 0, NULL, &x), TENON_OK, "%s: a buffer", id);
    is_int(buffer_of(device, BYTES, 0, NULL, &y), TENON_OK, "%s: another", id);
    struct tenon_bind args[2] = {{x, 0}, {y, 0}};
    const struct tenon_cmd fill = {.struct_size = sizeof fill,
                                   .kind = TENON_CMD_FILL,
                                   .n_args = 1,
                                   .args = args,
                                   .size = BYTES,
                                   .value = 0x01020304};
    struct tenon_cmd other = fill, far_copy = {.struct_size = sizeof far_copy,
                                               .kind = TENON_CMD_COPY,
                                               .n_args = 2,
                                               .args = args,
                                               .size = BYTES + 4};
    is_int(submit(queue, &fill, NULL), TENON_OK, "%s: FILL", id);
    other.value = 7;
    is_int(submit(queue, &other, &far_copy), TENON_E_INVALID, "%s: a batch whose second command reaches too far", id);
    is_int(first_word(x), 0x01020304, "%s: its first command did not run", id);
    other.size = 6;
    is_int(submit(queue, &other, NULL), TENON_E_INVALID, "%s: FILL of 6 bytes", id);
    other = fill, other.flags = 1;
    is_int(submit(queue, &other, NULL), TENON_E_UNSUPPORTED, "%s: an unknown command flag", id);
    other = fill, other.kind = 77;
    is_int(submit(queue, &other, NULL), TENON_E_UNSUPPORTED, "%s: an unknown command", id);
    other = fill, other.struct_size = 8;
    is_int(submit(queue, &other, NULL), TENON_E_INVALID, "%s: a command of 8 bytes", id);
    const struct tenon_cmd *none = &fill;
    is_int(b->enqueue(queue, &none, 0, &seq), TENON_E_INVALID, "%s: an empty batch", id);
    is_int(seq, 99, "%s: no failure sets seq", id);
    is_int(b->queue_wait(queue, 1000, 0), TENON_E_INVALID, "%s: a number that was not given out", id);
    is_int(b->queue_wait(queue, 0, 0), TENON_OK, "%s: number 0 is done", id);
    b->queue_destroy(queue), b->buffer_destroy(x), b->buffer_destroy(y);
}

/* The way from opening to closing. Failures are handed back, and everything made is unmade. */
static int32_t whole_way(void)
{
    struct tenon_device *device = NULL;
    struct tenon_queue *queue = NULL;
    struct tenon_buffer *buffer = NULL;
    struct tenon_plan *plan = NULL;
    int32_t status = b->device_open(0, NULL, &device);
    if (!status)
        status = b->queue_create(device, 0, &queue);
    if (!status)
        status = buffer_of(device, BYTES, 0, NULL, &buffer);
    if (!status)
        status = b->plan_create(device, &desc, &plan);
    struct tenon_bind to = {buffer, 0};
    const struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = &to, .size = 64};
    if (status == TENON_OK || status == TENON_E_UNSUPPORTED) { /* the template plans nothing */
        int32_t run = submit(queue, &fill, NULL);
        status = run ? run : TENON_OK;
    }
    b->plan_destroy(plan), b->buffer_destroy(buffer), b->queue_destroy(queue), b->device_close(device);
    return status;
}

static void test_allocations(void)
{
    int64_t live = host.live;
    int odd = 0, leaks = 0, n = 1, fired = 1;
    describe();
    for (; fired && n < 1000; n++) {
        host.fail_at = host.allocs + (uint64_t)n;
        int32_t status = whole_way();
        fired = host.allocs >= host.fail_at;
        host.fail_at = 0;
        odd += status != TENON_OK && status != TENON_E_NOMEM;
        leaks += host.live != live;
    }
    ok(!fired, "%s: %d allocations on the way failed, one at a time", id, n - 2);
    is_int(odd, 0, "%s: each gives NOMEM or is borne", id);
    is_int(leaks, 0, "%s: none leaks", id);
}

static void test_cycles(void)
{
    const char *level = getenv("TENON_TEST_LEVEL");
    int rounds = gpu ? 5 : level && !strcmp(level, "full") ? 10000 : 500, failed = 0;
    int64_t live = host.live;
    for (int i = 0; i < rounds; i++)
        failed += whole_way() != TENON_OK;
    is_int(failed, 0, "%s: opened, used and closed %d times", id, rounds);
    is_int(host.live, live, "%s: without a leak", id);
}

/* ---- threads ---- */

struct worker {
    pthread_t thread;
    struct tenon_device *device;
    struct tenon_plan *plan;
    uint64_t workspace;
    int failed;
    float y[256];
};

static void *work(void *context)
{
    struct worker *w = context;
    struct tenon_queue *queue = NULL;
    struct tenon_buffer *x = NULL, *y = NULL, *space = NULL;
    void *pointer;
    struct tenon_bind binds[TENON_SOFTMAX_N_TENSORS] = {{0}};
    w->failed = b->queue_create(w->device, 0, &queue) || buffer_of(w->device, sizeof w->y, 0, NULL, &x) ||
                buffer_of(w->device, sizeof w->y, 0, NULL, &y) ||
                buffer_of(w->device, w->workspace + 1, 0, NULL, &space) ||
                b->buffer_map(x, 0, sizeof w->y, TENON_MAP_WRITE, &pointer);
    for (int i = 0; i < 256 && !w->failed; i++)
        ((float *)pointer)[i] = (float)(i * 37 % 64) * 0.25f;
    w->failed = w->failed || b->buffer_unmap(x);
    binds[TENON_SOFTMAX_X].buffer = x, binds[TENON_SOFTMAX_Y].buffer = y;
    const struct tenon_cmd run = {.struct_size = sizeof run,
                                  .kind = TENON_CMD_RUN,
                                  .n_args = TENON_SOFTMAX_N_TENSORS,
                                  .args = binds,
                                  .plan = w->plan,
                                  .workspace = {space, 0}};
    for (int i = 0; i < 50 && !w->failed; i++)
        w->failed = submit(queue, &run, NULL);
    w->failed = w->failed || b->buffer_map(y, 0, sizeof w->y, TENON_MAP_READ, &pointer);
    if (!w->failed)
        memcpy(w->y, pointer, sizeof w->y);
    w->failed = w->failed || b->buffer_unmap(y);
    b->queue_destroy(queue), b->buffer_destroy(x), b->buffer_destroy(y), b->buffer_destroy(space);
    return NULL;
}

static void test_threads(struct tenon_device *device)
{
    static struct worker workers[THREADS];
    struct tenon_plan *plan = NULL;
    struct tenon_plan_info plan_info = {.struct_size = sizeof plan_info};
    uint32_t n = info.max_queues < THREADS ? info.max_queues : THREADS;
    int failed = 0, differ = 0;
    float sum = 0;
    describe();
    if (b->plan_create(device, &desc, &plan) == TENON_E_UNSUPPORTED) {
        skip("it has no kernels", "%s: threads", id);
        return;
    }
    is_int(b->plan_info(plan, &plan_info), TENON_OK, "%s: plan %s", id, plan_info.impl);
    memset(tensors, 0xff, sizeof tensors); /* a plan holds copies: what described it may be gone */
    memset(&params, 0xff, sizeof params);
    for (uint32_t i = 0; i < n; i++) {
        workers[i] = (struct worker){.device = device, .plan = plan, .workspace = plan_info.workspace};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            bail("no thread");
    }
    for (uint32_t i = 0; i < n; i++) {
        pthread_join(workers[i].thread, NULL);
        failed += workers[i].failed != 0;
        differ += memcmp(workers[i].y, workers[0].y, sizeof workers[i].y) != 0;
    }
    for (int i = 0; i < 64; i++)
        sum += workers[0].y[i];
    is_int(failed, 0, "%s: %u threads, each with a queue of its own, run one plan", id, n);
    ok(differ == 0 && sum > 0.9999f && sum < 1.0001f, "%s: all with the same bits, and a row sums to %.6f", id,
       (double)sum);
    b->plan_destroy(plan);
}

int main(void)
{
    static const char *const ids[] = {"null", "cpu", "opencl", "vulkan"};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        struct tenon_device *device = NULL;
        uint32_t count = 0;
        id = ids[i];
        if (!testhost_has(id)) {
            skip("not in this build", "%s", id);
            continue;
        }
        testhost_init(&host);
        b = testhost_load(&host, id);
        if (b->device_count(&count) || !count) {
            skip("no device", "%s", id);
            continue;
        }
        info = (struct tenon_device_info){.struct_size = sizeof info};
        gpu = strcmp(id, "null") && strcmp(id, "cpu");
        test_device(&device);
        if (!device)
            continue;
        test_buffers(device);
        test_descriptors(device);
        test_queue(device);
        test_threads(device);
        b->device_close(device);
        test_allocations();
        test_cycles();
    }
    return tap_done();
}
