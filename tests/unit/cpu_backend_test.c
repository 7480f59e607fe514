/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The CPU plugin through its table, without libtenon: choice of the ISA, buffers, batches that are refused as a whole,
 * workspaces, overlaps, allocations that fail, tensors beyond 2^31 elements. */
#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tenon/backend.h>
#include <tenon/ops.h>
#include <tenon/ops/softmax.h>

#include "../tap.h"

enum { N = TENON_SOFTMAX_N_TENSORS, X = TENON_SOFTMAX_X, Y = TENON_SOFTMAX_Y };

/* ---- a host ---- */

static char text[512];
static const char *isa;
static long live, allowed = -1; /* allocations that live; how many more succeed, -1: all */

static void host_log(const struct tenon_host *host, int32_t level, const char *message)
{
    (void)host;
    (void)level;
    tap_note("%s", message);
}

static int32_t host_fail(const struct tenon_host *host, int32_t status, const char *message)
{
    (void)host;
    snprintf(text, sizeof text, "%s", message);
    return status;
}

static void *host_alloc(const struct tenon_host *host, size_t size, size_t align)
{
    void *memory = NULL;
    (void)host;
    if (allowed == 0 || posix_memalign(&memory, align < sizeof memory ? sizeof memory : align, size + !size))
        return NULL;
    allowed -= allowed > 0;
    live++;
    return memory;
}

static void host_free(const struct tenon_host *host, void *memory)
{
    (void)host;
    live -= memory != NULL;
    free(memory);
}

static const char *host_config(const struct tenon_host *host, const char *key)
{
    (void)host;
    return strcmp(key, "isa") == 0 ? isa : strcmp(key, "threads") == 0 ? "1" : NULL;
}

static void host_parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *context, uint32_t i),
                          void *context)
{
    (void)host;
    for (uint32_t i = 0; i < n; i++)
        fn(context, i);
}

static const void *host_extension(const struct tenon_host *host, const char *id)
{
    (void)host;
    (void)id;
    return NULL;
}

static const struct tenon_host the_host = {sizeof the_host, TENON_ABI_MINOR, "test",    host_log,
                                           host_fail,       host_alloc,      host_free, host_config,
                                           host_parallel,   host_extension};
static const struct tenon_backend *b;
static struct tenon_device *device;
static struct tenon_queue *queue;

/* ---- helpers ---- */

static struct tenon_buffer *buffer(uint64_t size, void *import)
{
    const struct tenon_buffer_desc desc = {
        .struct_size = sizeof desc, .flags = import ? TENON_BUF_IMPORT : 0, .size = size, .host_ptr = import};
    struct tenon_buffer *made = NULL;
    return b->buffer_create(device, &desc, &made) ? NULL : made;
}

static struct tenon_plan *plan(int64_t rows, int64_t cols, int64_t stride, uint32_t algo)
{
    struct tenon_tensor t[N] = {
        [X] = {TENON_F32, 2, {rows, cols}, {stride, 1}}, [Y] = {TENON_F32, 2, {rows, cols}, {stride, 1}}};
    struct tenon_softmax_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    params.algo = algo;
    const struct tenon_op_desc desc = {
        .struct_size = sizeof desc, .op = TENON_OPNUM_softmax, .n_tensors = N, .tensors = t, .params = &params};
    struct tenon_plan *made = NULL;
    const int32_t asked = b->plan_create(device, &desc, NULL), status = b->plan_create(device, &desc, &made);
    is_int(asked, status, "plan_create answers the same with and without a plan");
    return status ? NULL : made;
}

static struct tenon_cmd run_of(struct tenon_plan *p, struct tenon_bind *args, struct tenon_bind workspace)
{
    return (struct tenon_cmd){.struct_size = sizeof(struct tenon_cmd),
                              .kind = TENON_CMD_RUN,
                              .n_args = N,
                              .args = args,
                              .plan = p,
                              .workspace = workspace};
}

static int32_t enqueue1(const struct tenon_cmd *cmd, uint64_t *seq)
{
    return b->enqueue(queue, &cmd, 1, seq);
}

/* ---- tests ---- */

static void test_isa(void)
{
    static const char *const names[] = {"scalar", "sse4", "avx2", "avx512", "neon"};
    struct tenon_device *d = NULL;
    isa = "pentium";
    is_int(b->device_open(0, NULL, &d), TENON_E_ARG, "an unknown ISA is refused");
    has_str(text, "pentium", "the sentence has what was asked for");
    has_str(text, "scalar", "and what there is");
    char there[sizeof text + 2];
    snprintf(there, sizeof there, "%s ", text);
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        char word[16];
        snprintf(word, sizeof word, " %s ", names[i]);
        isa = names[i];
        const int32_t status = b->device_open(0, NULL, &d);
        is_int(status, strstr(there, word) ? TENON_OK : TENON_E_UNSUPPORTED, "isa %s opens if it is listed", names[i]);
        if (!status)
            b->device_close(d);
    }
    isa = NULL;
    is_int(b->device_open(1, NULL, &d), TENON_E_NODEVICE, "there is no device 1");
}

static void test_buffers(void)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc};
    struct tenon_buffer *made = NULL;
    float memory[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    void *p = NULL;
    is_int(b->buffer_create(device, &desc, &made), TENON_E_INVALID, "a buffer of 0 bytes is refused");
    desc.size = UINT64_MAX;
    is_int(b->buffer_create(device, &desc, &made), TENON_E_NOMEM, "a buffer of 2^64-1 bytes is too much");
    desc = (struct tenon_buffer_desc){
        .struct_size = sizeof desc, .flags = TENON_BUF_IMPORT, .size = 8, .host_ptr = (char *)memory + 1};
    is_int(b->buffer_create(device, &desc, &made), TENON_E_UNSUPPORTED, "a misaligned import is refused");
    struct tenon_buffer *own = buffer(64, NULL), *alias = buffer(sizeof memory, memory);
    ok(own && alias, "a buffer and an import");
    is_int(b->buffer_map(own, 60, 8, TENON_MAP_READ, &p), TENON_E_INVALID, "a mapping beyond the end is refused");
    is_int(b->buffer_map(own, UINT64_MAX, 8, TENON_MAP_READ, &p), TENON_E_INVALID, "so is one that wraps");
    is_int(b->buffer_map(own, 0, 0, TENON_MAP_READ, &p), TENON_E_INVALID, "and an empty one");
    is_int(b->buffer_map(own, 0, 64, 8, &p), TENON_E_UNSUPPORTED, "an unknown mode is refused");
    is_int(b->buffer_unmap(own), TENON_E_INVALID, "unmapping what is not mapped is refused");
    is_int(b->buffer_map(own, 0, 64, TENON_MAP_WRITE, &p), TENON_OK, "a mapping");
    is_int(b->buffer_map(own, 0, 64, TENON_MAP_WRITE, &p), TENON_E_INVALID, "a second one is refused");
    is_int(b->buffer_unmap(own), TENON_OK, "unmapped");
    is_int(b->buffer_map(alias, 4, 8, TENON_MAP_READ, &p), TENON_OK, "a mapping of the import");
    ok(p == memory + 1, "an import is the same memory");
    b->buffer_destroy(own);
    b->buffer_destroy(alias);
    b->buffer_destroy(NULL);
}

static void test_batches(void)
{
    float from[8] = {1, 2, 3, 4, 5, 6, 7, 8}, to[8] = {0};
    struct tenon_buffer *source = buffer(sizeof from, from), *target = buffer(sizeof to, to);
    struct tenon_bind copy[2] = {{target, 0}, {source, 0}}, beyond[2] = {{target, 8}, {source, 0}},
                      self[2] = {{source, 4}, {source, 0}};
    struct tenon_cmd good = {
        .struct_size = sizeof good, .kind = TENON_CMD_COPY, .n_args = 2, .args = copy, .size = sizeof to};
    struct tenon_cmd bad = good;
    const struct tenon_cmd *batch[] = {&good, &bad};
    uint64_t seq = 77;
    struct tenon_queue *other = NULL;
    bad.args = beyond;
    is_int(b->enqueue(queue, batch, 2, &seq), TENON_E_INVALID, "a batch with a copy beyond a buffer is refused");
    ok(to[0] == 0 && seq == 77, "and nothing of it has run");
    bad.args = self;
    bad.size = 8;
    is_int(b->enqueue(queue, batch, 2, &seq), TENON_E_INVALID, "so is one with an overlapping copy");
    is_int(enqueue1(&good, &seq), TENON_OK, "a copy");
    ok(memcmp(from, to, sizeof to) == 0 && seq == 1, "has run, and has number 1");
    struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = copy, .size = 8, .value = 0x40000000};
    is_int(enqueue1(&fill, &seq), TENON_OK, "a fill");
    ok(to[0] == 2 && to[1] == 2 && to[2] == 3 && seq == 2, "has run, and has number 2");
    fill.size = 6;
    is_int(enqueue1(&fill, &seq), TENON_E_INVALID, "6 bytes cannot be filled with words");
    is_int(b->enqueue(queue, batch, 0, &seq), TENON_E_INVALID, "an empty batch is refused");
    is_int(b->queue_wait(queue, 2, 0), TENON_OK, "number 2 is done");
    is_int(b->queue_wait(queue, 3, 0), TENON_E_INVALID, "number 3 was never given out");
    is_int(b->queue_create(device, 0, &other), TENON_OK, "another queue");
    struct tenon_cmd wait = {.struct_size = sizeof wait, .kind = TENON_CMD_WAIT, .queue = other, .value = 1};
    is_int(enqueue1(&wait, &seq), TENON_E_INVALID, "waiting for a number never given out is refused");
    wait.value = 0;
    is_int(enqueue1(&wait, &seq), TENON_OK, "waiting for one that is done");
    wait.queue = queue;
    is_int(enqueue1(&wait, &seq), TENON_E_INVALID, "a queue does not wait for itself");
    b->queue_destroy(other);
    b->queue_destroy(NULL);
    b->buffer_destroy(source);
    b->buffer_destroy(target);
}

static void test_runs(void)
{
    enum { ROWS = 2, COLS = 8192, BYTES = ROWS * COLS * 4 };
    struct tenon_plan *p = plan(ROWS, COLS, COLS, TENON_SOFTMAX_THREE_PASS_RELOAD);
    struct tenon_plan_info info = {.struct_size = sizeof info};
    struct tenon_buffer *x = buffer(BYTES + 64, NULL), *y = buffer(BYTES, NULL);
    struct tenon_bind args[N] = {[X] = {x, 0}, [Y] = {y, 0}};
    uint64_t seq;
    b->plan_info(p, &info);
    ok(info.workspace > 0, "this plan needs a workspace: %llu bytes", (unsigned long long)info.workspace);
    struct tenon_buffer *space = buffer(info.workspace + 64, NULL);
    void *memory;
    b->buffer_map(x, 0, BYTES, TENON_MAP_WRITE, &memory);
    memset(memory, 0, BYTES);
    struct tenon_cmd cmd = run_of(p, args, (struct tenon_bind){NULL, 0});
    is_int(enqueue1(&cmd, &seq), TENON_E_WORKSPACE, "a run without a workspace is refused");
    cmd.workspace = (struct tenon_bind){space, 128};
    is_int(enqueue1(&cmd, &seq), TENON_E_WORKSPACE, "with one that is too small");
    cmd.workspace = (struct tenon_bind){space, 4};
    is_int(enqueue1(&cmd, &seq), TENON_E_WORKSPACE, "with a misaligned one");
    cmd.workspace = (struct tenon_bind){y, 0};
    is_int(enqueue1(&cmd, &seq), TENON_E_WORKSPACE, "with one that overlaps y");
    cmd.workspace = (struct tenon_bind){space, 64};
    args[Y] = (struct tenon_bind){x, 64};
    is_int(enqueue1(&cmd, &seq), TENON_E_ALIAS, "a run whose y overlaps x is refused");
    args[Y] = (struct tenon_bind){y, 4};
    is_int(enqueue1(&cmd, &seq), TENON_E_INVALID, "or leaves its buffer");
    args[Y] = (struct tenon_bind){y, 0};
    is_int(enqueue1(&cmd, &seq), TENON_OK, "a run");
    args[Y] = (struct tenon_bind){x, 0};
    is_int(enqueue1(&cmd, &seq), TENON_OK, "a run in place");
    float first = ((float *)memory)[0];
    ok(first == 1.0f / COLS, "gives the uniform distribution");
    cmd.n_args = 3;
    is_int(enqueue1(&cmd, &seq), TENON_E_INVALID, "a run with too few arguments is refused");
    b->buffer_destroy(space);
    b->buffer_destroy(x);
    b->buffer_destroy(y);
    b->plan_destroy(p);
    b->plan_destroy(NULL);
}

/* Rows 2^30 elements apart, in memory that is only addressed. */
static void test_large(void)
{
    const uint64_t stride = UINT64_C(1) << 30, bytes = (3 * stride + 16) * 4;
    if (sizeof(size_t) < 8) {
        skip("the address space is too small", "offsets beyond 2^31 elements");
        return;
    }
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct tenon_buffer *all = memory == MAP_FAILED ? NULL : buffer(bytes, memory);
    if (!all) {
        skip("no room for a sparse mapping of 12 GiB, or less memory than that", "offsets beyond 2^31 elements");
        return;
    }
    struct tenon_plan *p = plan(4, 16, (int64_t)stride, TENON_SOFTMAX_AUTO);
    struct tenon_bind args[N] = {[X] = {all, 0}, [Y] = {all, 0}};
    float *last = (float *)(void *)memory + 3 * stride;
    uint64_t seq;
    last[5] = 100;
    const struct tenon_cmd cmd = run_of(p, args, (struct tenon_bind){NULL, 0});
    is_int(enqueue1(&cmd, &seq), TENON_OK, "rows at offsets up to 3 * 2^30 elements");
    ok(last[5] == 1.0f && last[4] < 1e-40f && ((float *)(void *)memory)[4] == 0.0625f, "have the right values");
    b->plan_destroy(p);
    b->buffer_destroy(all);
    munmap(memory, bytes);
}

/* Every allocation of a whole life fails once. */
static void test_memory(void)
{
    struct tenon_device *const kept = device;
    int failed = 0, wrong = 0;
    const long before = live;
    for (long n = 0, done = 0; !done && n < 50; n++) {
        struct tenon_queue *q = NULL;
        struct tenon_buffer *x = NULL;
        struct tenon_plan *p = NULL;
        struct tenon_tensor t[N] = {[X] = {TENON_F32, 1, {16}, {1}}, [Y] = {TENON_F32, 1, {16}, {1}}};
        struct tenon_softmax_params params;
        tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
        const struct tenon_op_desc desc = {
            .struct_size = sizeof desc, .op = TENON_OPNUM_softmax, .n_tensors = N, .tensors = t, .params = &params};
        const struct tenon_buffer_desc room = {.struct_size = sizeof room, .size = 64};
        device = NULL;
        allowed = n;
        int32_t status = b->device_open(0, NULL, &device);
        status = status ? status : b->queue_create(device, 0, &q);
        status = status ? status : b->buffer_create(device, &room, &x);
        status = status ? status : b->plan_create(device, &desc, &p);
        allowed = -1;
        done = status == TENON_OK;
        failed += !done;
        wrong += !done && status != TENON_E_NOMEM;
        b->plan_destroy(p);
        b->buffer_destroy(x);
        b->queue_destroy(q);
        b->device_close(device);
        wrong += live != before;
    }
    device = kept;
    ok(failed > 3, "%d allocations were made to fail", failed);
    is_int(wrong, 0, "each gave NOMEM and left nothing behind");
}

int main(void)
{
    const char *build = getenv("top_builddir");
    char path[4096];
    snprintf(path, sizeof path, "%s/backends/cpu/.libs/libtenon-cpu.so", build ? build : ".");
    void *file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!file)
        bail("%s", dlerror());
    tenon_backend_entry entry;
    *(void **)&entry = dlsym(file, "tenon_backend_entry_v1");
    if (!entry)
        bail("%s has no entry", path);
    b = entry(&the_host);
    ok(b && b == entry(&the_host), "the entry gives the same table twice");
    test_isa();
    is_int(b->device_open(0, NULL, &device), TENON_OK, "the device opens");
    is_int(b->queue_create(device, 1, &queue), TENON_E_UNSUPPORTED, "an unknown flag of a queue is refused");
    is_int(b->queue_create(device, 0, &queue), TENON_OK, "a queue");
    test_buffers();
    test_batches();
    test_runs();
    test_large();
    test_memory();
    b->queue_destroy(queue);
    b->device_close(device);
    b->device_close(NULL);
    is_int(live, 0, "nothing is left allocated");
    return tap_done();
}
