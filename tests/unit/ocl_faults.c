/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every OpenCL call that the backend makes fails once, at every place it is made, with each of several errors. A whole
 * life of the backend (find, open, make, run, read, close) then has to end in the right results or in a status with a
 * sentence, must not have run half a batch, must leave no object and no memory behind, and the next life must
 * succeed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/kernels.h>
#include <tenon/ops/softmax.h>
#include <unistd.h>

#include "backends/opencl/ocl.h"
#include "tests/plugins/testhost.h"
#include "tests/tap.h"

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host);

/* ---- the table between the backend and the driver ---- */

enum {
#define COUNT_DO(name, parameters, arguments) AT_##name,
#define COUNT_MAKE(type, name, parameters, arguments) AT_##name,
    OCL_CALLS(COUNT_DO, COUNT_MAKE) AT_COUNT
};
static const char *const call_name[AT_COUNT] = {
#define NAME_DO(name, parameters, arguments) #name,
#define NAME_MAKE(type, name, parameters, arguments) #name,
    OCL_CALLS(NAME_DO, NAME_MAKE)};

static struct ocl_api real;
static unsigned calls[AT_COUNT];
static int fail_call = -1;     /* which call fails, */
static unsigned fail_at;       /* at which time of calling it, from 1, */
static cl_int fail_with;       /* with what */
static int fired;

static int fails(int call)
{
    calls[call]++;
    if (call != fail_call || calls[call] != fail_at)
        return 0;
    fired = 1;
    return 1;
}

#define WRAP_DO(name, parameters, arguments)                                \
    static cl_int CL_API_CALL wrap_##name parameters                        \
    {                                                                       \
        if (!fails(AT_##name))                                              \
            return real.name arguments;                                     \
        if (!strncmp(#name, "clRelease", 9)) /* says no, but does it */     \
            (void)real.name arguments;                                      \
        return fail_with;                                                   \
    }
#define WRAP_MAKE(type, name, parameters, arguments)                        \
    static type CL_API_CALL wrap_##name parameters                          \
    {                                                                       \
        if (!fails(AT_##name))                                              \
            return real.name arguments;                                     \
        *error = fail_with;                                                 \
        return NULL;                                                        \
    }
OCL_CALLS(WRAP_DO, WRAP_MAKE)

static void wrap_table(void)
{
    real = ocl;
#define SET_DO(name, parameters, arguments) ocl.name = wrap_##name;
#define SET_MAKE(type, name, parameters, arguments) ocl.name = wrap_##name;
    OCL_CALLS(SET_DO, SET_MAKE)
}

/* Objects made and not released. A failed release counts as one, since it was asked for. */
static int objects(void)
{
    unsigned made = calls[AT_clCreateContext] + calls[AT_clCreateCommandQueue] + calls[AT_clCreateBuffer] +
                    calls[AT_clCreateProgramWithSource] + calls[AT_clCreateProgramWithBinary] +
                    calls[AT_clCreateKernel];
    unsigned released = calls[AT_clReleaseContext] + calls[AT_clReleaseCommandQueue] + calls[AT_clReleaseMemObject] +
                        calls[AT_clReleaseProgram] + calls[AT_clReleaseKernel];
    int failed_make = fired && (fail_call == AT_clCreateContext || fail_call == AT_clCreateCommandQueue ||
                                fail_call == AT_clCreateBuffer || fail_call == AT_clCreateProgramWithSource ||
                                fail_call == AT_clCreateProgramWithBinary || fail_call == AT_clCreateKernel);
    return (int)(made - released) - failed_make;
}

static struct testhost host; /* counts */
static char cache_dir[] = "/tmp/tenon-ocl-XXXXXX";

/* ---- one life ---- */

enum { ROWS = 4, COLS = 16, BYTES = ROWS * COLS * 4, POISON = 0x7fb0dead };

static const struct tenon_backend *backend;
static float input[ROWS * COLS];

struct life {
    struct tenon_device *device;
    struct tenon_buffer *x, *y, *z, *host, *workspace, *import;
    struct tenon_plan *plan;
    struct tenon_queue *queue, *other;
    uint32_t *memory;   /* behind import */
    int broken_batch;   /* a refused batch has written */
    int wrong;          /* a finished one is wrong */
    unsigned lines;     /* of tenon.kernels */
    uint64_t seq, seq2; /* the last numbers of queue and other */
};

#define TRY(call)          \
    do {                   \
        status = (call);   \
        if (status)        \
            return status; \
    } while (0)

static int32_t make_buffer(struct life *life, uint32_t flags, uint64_t size, void *memory, struct tenon_buffer **out)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .flags = flags, .size = size, .host_ptr = memory};
    return backend->buffer_create(life->device, &desc, out);
}

static int32_t transfer(struct tenon_buffer *buffer, void *data, int write)
{
    void *mapped;
    int32_t status;
    TRY(backend->buffer_map(buffer, 0, BYTES, write ? TENON_MAP_WRITE : TENON_MAP_READ, &mapped));
    memcpy(write ? mapped : data, write ? data : mapped, BYTES);
    return backend->buffer_unmap(buffer);
}

static void count_line(void *user, const char *json)
{
    struct life *life = user;
    life->lines += json[0] == '{' && strstr(json, "\"kernel\":\"") != NULL;
}

static int32_t make_plan(struct life *life)
{
    const int64_t dim[2] = {ROWS, COLS};
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS] = {{0}};
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(TENON_OPNUM_softmax);
    struct tenon_softmax_params params;
    struct tenon_op_desc desc = {.struct_size = sizeof desc,
                                 .op = TENON_OPNUM_softmax,
                                 .n_tensors = TENON_SOFTMAX_N_TENSORS,
                                 .tensors = tensors,
                                 .params = &params};
    tenon_op_defaults(contract, &params);
    tensors[TENON_SOFTMAX_X] = tensors[TENON_SOFTMAX_Y] = tenon_tensor_make(TENON_F32, 2, dim);
    int32_t status;
    desc.flags = 1; /* refused before there is a recipe */
    if (backend->plan_create(life->device, &desc, &life->plan) == TENON_OK)
        return TENON_E_INTERNAL;
    desc.flags = 0;
    TRY(backend->plan_create(life->device, &desc, NULL));
    return backend->plan_create(life->device, &desc, &life->plan);
}

/* x is written; y, z are poisoned. One batch: y = softmax(x), z = y. On the other queue: wait, then host = z. */
static int32_t run(struct life *life)
{
    const struct tenon_bind args[TENON_SOFTMAX_N_TENSORS] = {[TENON_SOFTMAX_X] = {life->x, 0},
                                                             [TENON_SOFTMAX_Y] = {life->y, 0}};
    const struct tenon_bind copy[2] = {{life->z, 0}, {life->y, 0}}, read[2] = {{life->host, 0}, {life->z, 0}};
    const struct tenon_bind fill[2] = {{life->y, 0}, {life->z, 0}};
    const struct tenon_cmd commands[] = {
        {.struct_size = sizeof(struct tenon_cmd),
         .kind = TENON_CMD_FILL,
         .n_args = 1,
         .args = &fill[0],
         .size = BYTES,
         .value = POISON},
        {.struct_size = sizeof(struct tenon_cmd),
         .kind = TENON_CMD_FILL,
         .n_args = 1,
         .args = &fill[1],
         .size = BYTES,
         .value = POISON},
        {.struct_size = sizeof(struct tenon_cmd),
         .kind = TENON_CMD_RUN,
         .n_args = TENON_SOFTMAX_N_TENSORS,
         .args = args,
         .plan = life->plan,
         .workspace = {life->workspace, 0}},
        {.struct_size = sizeof(struct tenon_cmd), .kind = TENON_CMD_COPY, .n_args = 2, .args = copy, .size = BYTES}};
    const struct tenon_cmd *first[2] = {&commands[0], &commands[1]}, *second[2] = {&commands[2], &commands[3]};
    int32_t status;

    TRY(backend->enqueue(life->queue, first, 2, &life->seq));
    TRY(backend->queue_wait(life->queue, life->seq, UINT64_MAX));
    status = backend->enqueue(life->queue, second, 2, &life->seq);
    if (status) {
        /* All or nothing: whatever the driver refused, y and z are as they were. */
        float seen[ROWS * COLS];
        for (int i = 0; i < 2 && status != TENON_E_LOST; i++) {
            uint32_t word;
            if (transfer(i ? life->z : life->y, seen, 0))
                break;
            memcpy(&word, seen, sizeof word);
            life->broken_batch |= word != POISON;
        }
        return status;
    }
    const struct tenon_cmd after[2] = {
        {.struct_size = sizeof(struct tenon_cmd), .kind = TENON_CMD_WAIT, .queue = life->queue, .value = life->seq},
        {.struct_size = sizeof(struct tenon_cmd), .kind = TENON_CMD_COPY, .n_args = 2, .args = read, .size = BYTES}};
    const struct tenon_cmd *third[2] = {&after[0], &after[1]};
    TRY(backend->enqueue(life->other, third, 2, &life->seq2));
    while ((status = backend->queue_wait(life->other, life->seq2, 1000000)) == TENON_E_TIMEOUT)
        continue;
    if (status)
        return status;
    TRY(backend->queue_wait(life->queue, life->seq, 0));
    const struct tenon_cmd nothing = {
        .struct_size = sizeof nothing, .kind = TENON_CMD_FILL, .n_args = 1, .args = &fill[0], .size = 0};
    const struct tenon_cmd *fourth[1] = {&nothing};
    TRY(backend->enqueue(life->queue, fourth, 1, &life->seq));
    return backend->queue_wait(life->queue, life->seq, UINT64_MAX);
}

static void check_result(struct life *life, const float *y)
{
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int c = 0; c < COLS; c++)
            sum += exp((double)input[r * COLS + c]);
        for (int c = 0; c < COLS; c++)
            life->wrong |= !(fabs((double)y[r * COLS + c] - exp((double)input[r * COLS + c]) / sum) < 1e-6);
    }
}

/* Lives end after the device is open. A failed question of the discovery makes another device of it, whose kernels
 * would be compiled anew each time. */
static int brief;

static int32_t live_through(struct life *life)
{
    uint32_t count = 0;
    struct tenon_device_info info = {.struct_size = sizeof info};
    struct tenon_plan_info plan_info = {.struct_size = sizeof plan_info};
    float result[ROWS * COLS];
    int32_t status;

    TRY(backend->device_count(&count));
    if (!count)
        return TENON_E_NODEVICE;
    TRY(backend->device_info(0, &info));
    TRY(backend->device_open(0, NULL, &life->device));
    TRY(make_buffer(life, 0, BYTES, NULL, &life->x));
    if (brief)
        return transfer(life->x, input, 1);
    TRY(make_buffer(life, 0, BYTES, NULL, &life->y));
    TRY(make_buffer(life, 0, BYTES, NULL, &life->z));
    TRY(make_buffer(life, TENON_BUF_HOST, BYTES, NULL, &life->host));
    TRY(make_plan(life));
    TRY(backend->plan_info(life->plan, &plan_info));
    TRY(make_buffer(life, 0, plan_info.workspace + 4, NULL, &life->workspace));
    TRY(backend->queue_create(life->device, 0, &life->queue));
    TRY(backend->queue_create(life->device, 0, &life->other));
    TRY(transfer(life->x, input, 1));
    TRY(run(life));
    TRY(transfer(life->host, result, 0));
    check_result(life, result);
    if (info.caps & TENON_CAP_IMPORT) {
        const struct tenon_bind copy[2] = {{NULL, 0}, {life->z, 0}};
        struct tenon_bind args[2];
        struct tenon_cmd cmd = {
            .struct_size = sizeof cmd, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = BYTES};
        const struct tenon_cmd *cmds[] = {&cmd};
        TRY(make_buffer(life, TENON_BUF_IMPORT, BYTES, life->memory, &life->import));
        memcpy(args, copy, sizeof args);
        args[0].buffer = life->import;
        memset(life->memory, 0, BYTES);
        TRY(backend->enqueue(life->queue, cmds, 1, &life->seq));
        TRY(backend->queue_wait(life->queue, life->seq, UINT64_MAX));
        memcpy(result, life->memory, BYTES);
        check_result(life, result);
    }
    const struct tenon_kernels *kernels = backend->extension(TENON_KERNELS_ID);
    return kernels->report(life->device, count_line, life);
}

static int32_t one_life(struct life *life)
{
    memset(life, 0, sizeof *life);
    memset(calls, 0, sizeof calls);
    fired = 0;
    host.allocs = 0;
    host.failure[0] = 0;
    ocl_find_reset();
    life->memory = aligned_alloc(4096, 4096);
    int32_t status = live_through(life);
    char text[sizeof host.failure];
    memcpy(text, host.failure, sizeof text);
    if (life->queue)
        (void)backend->queue_wait(life->queue, life->seq, UINT64_MAX);
    if (life->other)
        (void)backend->queue_wait(life->other, life->seq2, UINT64_MAX);
    backend->queue_destroy(life->queue);
    backend->queue_destroy(life->other);
    backend->plan_destroy(life->plan);
    backend->buffer_destroy(life->x);
    backend->buffer_destroy(life->y);
    backend->buffer_destroy(life->z);
    backend->buffer_destroy(life->host);
    backend->buffer_destroy(life->workspace);
    backend->buffer_destroy(life->import);
    backend->device_close(life->device);
    free(life->memory);
    memcpy(host.failure, text, sizeof text);
    return status;
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *place)
{
    (void)stat, (void)kind;
    return place->level ? remove(path) : 0;
}

/* Empties the cache of programs. */
static void clear_cache(void)
{
    (void)nftw(cache_dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* One injected failure, one verdict. Returns 0 when there was no such call left. */
static int try_failure(int call, unsigned at, cl_int error, unsigned *bad)
{
    struct life life;
    fail_call = call;
    fail_at = at;
    fail_with = error;
    int32_t status = one_life(&life);
    int hit = fired, left = objects(), good;
    fail_call = -1;
    good = !life.broken_batch && !life.wrong && left == 0 && host.live == 0 &&
           (status == TENON_OK || (status < 0 && status >= TENON_E_INTERNAL &&
                                   (host.failure[0] || status == TENON_E_NODEVICE)));
    if (!good) {
        tap_note("%s, time %u, %s: status %d \"%s\", %d objects and %d allocations left%s%s", call_name[call], at,
                 ocl_error_name(error), status, host.failure, left, (int)host.live,
                 life.broken_batch ? ", half a batch ran" : "", life.wrong ? ", wrong results" : "");
        ++*bad;
        host.live = 0;
    }
    return hit;
}

int main(void)
{
    static const cl_int errors[] = {CL_OUT_OF_HOST_MEMORY, CL_OUT_OF_RESOURCES, CL_INVALID_OPERATION};
    struct life life;
    uint32_t count = 0;

    static const char *const config[] = {"cache_dir", cache_dir, NULL};
    testhost_init(&host);
    host.config = config;
    if (!mkdtemp(cache_dir))
        bail("no temporary directory");
    for (int i = 0; i < ROWS * COLS; i++)
        input[i] = (float)((i * 37) % 64) / 8 - 4;
    backend = tenon_backend_entry_v1(&host.base);
    ok(backend && backend == tenon_backend_entry_v1(&host.base), "the entry is idempotent");
    if (backend->device_count(&count) || count == 0)
        return tap_skip_all("no OpenCL device");
    wrap_table();
    is_int(one_life(&life), TENON_OK, "a life without failures");
    ok(!life.wrong && !life.broken_batch && life.lines > 0 && objects() == 0 && host.live == 0,
       "its results are right, it reports %u kernels and leaves nothing behind (%d, %d)", life.lines, objects(),
       (int)host.live);
    unsigned cold[AT_COUNT], used[AT_COUNT];
    memcpy(cold, calls, sizeof cold);
    is_int(one_life(&life), TENON_OK, "and one with cached programs");
    for (int call = 0; call < AT_COUNT; call++)
        used[call] = cold[call] > calls[call] ? cold[call] : calls[call];

    for (int call = 0; call < AT_COUNT; call++) {
        unsigned bad = 0, n = 0;
        brief = call <= AT_clGetDeviceInfo;
        for (unsigned at = 1; at <= used[call] && at <= 60; at++) {
            for (unsigned e = 0; e < sizeof errors / sizeof errors[0]; e++) {
                if (call == AT_clCreateProgramWithSource || call == AT_clGetProgramInfo)
                    clear_cache();
                n += try_failure(call, at, errors[e], &bad) != 0;
            }
        }
        brief = 0;
        if (call == AT_clGetProgramBuildInfo)
            skip("only asked when a build fails", "%s fails", call_name[call]);
        else if (used[call] == 0 && (call == AT_clCreateProgramWithBinary || call == AT_clGetProgramInfo))
            skip("this driver keeps compiled programs itself", "%s fails", call_name[call]);
        else
            ok(bad == 0 && n > 0, "%s fails: %u cases", call_name[call], n);
    }

    unsigned bad = 0, n = 0;
    int32_t status;
    for (int at = 1;; at++, n++) {
        host.fail_at = (uint64_t)at;
        status = one_life(&life);
        int over = host.allocs < (uint64_t)at;
        host.fail_at = 0;
        if (objects() || host.live || life.wrong || life.broken_batch || (status && status != TENON_E_NOMEM)) {
            tap_note("allocation %d: status %d \"%s\", %d objects, %d allocations left", at, status, host.failure,
                     objects(), (int)host.live);
            bad++;
            host.live = 0;
        }
        if (over)
            break;
    }
    ok(bad == 0 && n > 3, "each of %u allocations fails", n);
    is_int(one_life(&life), TENON_OK, "life goes on");
    clear_cache();
    rmdir(cache_dir);
    return tap_done();
}
