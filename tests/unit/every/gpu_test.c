/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The kernels' own exp and log for every float, on every device of a GPU backend. The program is the backend's core
 * with another table of kernels, and with another recipe in the place of linear's: y[i] = f(x[i]), f chosen by alpha.
 * Where the device's fma is one rounding the results must be the CPU backend's, bit for bit; elsewhere they are held to
 * looser bounds. With an argument, that function alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/linear.h>

#include "../../../shaders/recipe.h"
#include "../../plugins/testhost.h"
#include "../../tap.h"
#include "every.h"
#include "../simd/simd_probe.h"

/* FUNCTION of every_float.k */
enum { EXP, EXP_M, EXP_N, EXP_ONE, LOG_ONE, FUSED, FUNCTIONS };
#define FUSED_ASKED UINT32_C(0x3f800800) /* the argument whose square tells */

/* Without fma each step of a polynomial rounds twice; every float gives 0.9597, 1.4712 and 1.0256 then. */
static const double unfused_bound[EVERY_FUNCTIONS] = {1.0, 1.5, 1.05};

/* ---- the recipe ---- */

static int32_t recipe_of(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                         struct gpu_recipe *recipe)
{
    const uint32_t function = (uint32_t)((const struct tenon_linear_params *)params)->alpha;
    const uint32_t count = (uint32_t)tensors[TENON_LINEAR_X].dim[0], local = 64;
    const uint32_t each = local * (limits->vector ? limits->vector : 1);
    struct gpu_launch *launch = gpu_recipe_add(recipe, "every_float", local);
    gpu_launch_spec(launch, function);
    gpu_launch_buffer(launch, TENON_LINEAR_X, 0);
    gpu_launch_buffer(launch, TENON_LINEAR_Y, 0);
    gpu_launch_u32(launch, count);
    if (!launch)
        return TENON_E_NOMEM;
    if (tenon__gpu_grid(limits, (count + each - 1) / each, launch->groups) * each < count)
        return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, "too many groups");
    return gpu_recipe_check(recipe, limits);
}

const struct gpu_op tenon__linear_gpu = {.op = TENON_OPNUM_linear, .recipe = recipe_of};

/* ---- a device ---- */

static struct testhost host;
static const struct tenon_backend *backend;
static struct tenon_device *device;
static struct tenon_plan *plan[FUNCTIONS];
static const struct probe *cpu; /* the fastest */

#define BYTES (EVERY_BLOCK * sizeof(uint32_t))

static void must(int32_t status, const char *what)
{
    if (status)
        bail("%s: %s", what, host.failure);
}

/* What a thread has to itself. */
struct lane {
    struct tenon_queue *queue;
    struct tenon_buffer *x, *y, *w;
    uint32_t got[2][EVERY_BLOCK], want[2][EVERY_BLOCK];
};

static struct run {
    enum every_function f;
    int scalar, fused;
    const char *wanted; /* NULL: all */
    struct lane *lane[64];
    _Atomic uint64_t apart;
    _Atomic uint32_t apart_at;
} run;

static struct tenon_buffer *make_buffer(uint64_t size)
{
    const struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = size};
    struct tenon_buffer *buffer = NULL;
    must(backend->buffer_create(device, &desc, &buffer), "buffer_create");
    return buffer;
}

static void make_plans(void)
{
    struct tenon_linear_params params;
    struct tenon_tensor tensor[TENON_LINEAR_N_TENSORS] = {{0}};
    tensor[TENON_LINEAR_X] = tenon_tensor_make(TENON_F32, 2, (const int64_t[]){EVERY_BLOCK, 1});
    tensor[TENON_LINEAR_W] = tenon_tensor_make(TENON_F32, 2, (const int64_t[]){1, 1});
    tensor[TENON_LINEAR_Y] = tensor[TENON_LINEAR_X];
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &params);
    const struct tenon_op_desc desc = {.struct_size = sizeof desc, .op = TENON_OPNUM_linear,
                                       .n_tensors = TENON_LINEAR_N_TENSORS, .tensors = tensor, .params = &params};
    for (int k = 0; k < FUNCTIONS; k++) {
        params.alpha = (float)k;
        must(backend->plan_create(device, &desc, &plan[k]), "plan_create");
    }
}

static void compute(struct lane *lane, int function, uint32_t block, uint32_t *out)
{
    void *pointer;
    uint64_t seq;
    must(backend->buffer_map(lane->x, 0, BYTES, TENON_MAP_WRITE, &pointer), "map");
    for (uint32_t i = 0; i < EVERY_BLOCK; i++)
        ((uint32_t *)pointer)[i] = block * EVERY_BLOCK + i;
    must(backend->buffer_unmap(lane->x), "unmap");
    const struct tenon_bind args[TENON_LINEAR_N_TENSORS] = {
        [TENON_LINEAR_X] = {lane->x, 0}, [TENON_LINEAR_W] = {lane->w, 0}, [TENON_LINEAR_Y] = {lane->y, 0}};
    const struct tenon_cmd cmd = {.struct_size = sizeof cmd, .kind = TENON_CMD_RUN, .n_args = TENON_LINEAR_N_TENSORS,
                                  .args = args, .plan = plan[function]};
    must(backend->enqueue(lane->queue, (const struct tenon_cmd *const[]){&cmd}, 1, &seq), "enqueue");
    must(backend->queue_wait(lane->queue, seq, UINT64_MAX), "wait");
    must(backend->buffer_map(lane->y, 0, BYTES, TENON_MAP_READ, &pointer), "map");
    memcpy(out, pointer, BYTES);
    must(backend->buffer_unmap(lane->y), "unmap");
}

static void on_cpu(const char *name, uint32_t block, uint32_t *out)
{
    const struct probe_op *op = cpu->ops;
    uint32_t in[PROBE_LANES];
    while (strcmp(op->name, name) != 0)
        op++;
    for (uint32_t i = 0; i < EVERY_BLOCK; i += PROBE_LANES) {
        for (uint32_t l = 0; l < PROBE_LANES; l++)
            in[l] = block * EVERY_BLOCK + i + l;
        op->apply(in, in, in, out + i);
    }
}

static double bound_of(enum every_function f)
{
    return run.fused ? every_bound[f] : unfused_bound[f];
}

static void one_block(void *user, unsigned thread, uint32_t block, struct every_tally *tally)
{
    static const int functions[EVERY_FUNCTIONS] = {EXP, EXP_M, LOG_ONE};
    static const char *const names[EVERY_FUNCTIONS] = {"vf_exp", "exp_m", "vf_log"};
    struct lane *lane = run.lane[thread];
    const int parts = run.f == EVERY_PARTS;
    (void)user;
    compute(lane, run.scalar ? EXP_ONE : functions[run.f], block, lane->got[0]);
    on_cpu(names[run.f], block, lane->want[0]);
    if (parts) {
        compute(lane, EXP_N, block, lane->got[1]);
        on_cpu("exp_n", block, lane->want[1]);
    }
    every_judge(run.f, bound_of(run.f), block, lane->got[0], parts ? lane->got[1] : NULL, 0, tally);
    for (uint32_t i = 0; i < EVERY_BLOCK; i++) {
        const uint32_t bits = block * EVERY_BLOCK + i;
        if (!every_judged(run.f, bits))
            continue;
        if (lane->got[0][i] != lane->want[0][i] || (parts && lane->got[1][i] != lane->want[1][i])) {
            run.apart++;
            run.apart_at = bits;
        }
    }
}

static void test_function(const char *who, enum every_function f, int scalar, unsigned threads)
{
    struct every_tally tally;
    if (run.wanted && strcmp(run.wanted, every_name[f]) != 0)
        return;
    run.f = f;
    run.scalar = scalar;
    run.apart = 0;
    run.apart_at = 0;
    every_block(f, threads, who, one_block, NULL, &tally);
    every_report(f, bound_of(f), who, &tally);
    if (run.fused)
        is_int(run.apart, 0, "%s: %s%s has the bits of the CPU backend (else e.g. at %08x)", who, every_name[f],
               scalar ? " of scalars" : "", (unsigned)run.apart_at);
    else
        tap_note("%s: fma rounds twice; %llu results of %s are not the CPU backend's, e.g. at %08x", who,
                 (unsigned long long)run.apart, every_name[f], (unsigned)run.apart_at);
}

static void test_device(uint32_t index, unsigned threads)
{
    struct tenon_device_info info = {.struct_size = sizeof info};
    char who[200];
    must(backend->device_info(index, &info), "device_info");
    snprintf(who, sizeof who, "%s:%u %s", backend->id, index, info.name);
    must(backend->device_open(index, NULL, &device), "device_open");
    make_plans();
    for (unsigned i = 0; i < threads; i++) {
        struct lane *lane = run.lane[i] = malloc(sizeof *lane);
        if (!lane)
            bail("out of memory");
        lane->x = make_buffer(BYTES);
        lane->y = make_buffer(BYTES);
        lane->w = make_buffer(16);
        must(backend->queue_create(device, 0, &lane->queue), "queue_create");
    }
    compute(run.lane[0], FUSED, FUSED_ASKED / EVERY_BLOCK, run.lane[0]->got[0]);
    run.fused = run.lane[0]->got[0][FUSED_ASKED % EVERY_BLOCK] == 1;
    for (int f = 0; f < EVERY_FUNCTIONS; f++)
        test_function(who, (enum every_function)f, 0, threads);
    if (run.fused) /* scalars are their own code where vectors are wide */
        test_function(who, EVERY_EXP, 1, threads);
    for (unsigned i = 0; i < threads; i++) {
        struct lane *lane = run.lane[i];
        backend->queue_destroy(lane->queue);
        backend->buffer_destroy(lane->x);
        backend->buffer_destroy(lane->y);
        backend->buffer_destroy(lane->w);
        free(lane);
    }
    for (int k = 0; k < FUNCTIONS; k++)
        backend->plan_destroy(plan[k]);
    backend->device_close(device);
}

int main(int argc, char **argv)
{
    uint32_t devices = 0;
    run.wanted = argc > 1 ? argv[1] : NULL;
    testhost_init(&host);
    backend = tenon_backend_entry_v1(&host.base);
    if (!backend || backend->device_count(&devices) || !devices)
        return tap_skip_all("no device");
    for (unsigned i = 0; probe_at(i); i++)
        cpu = probe_at(i);
    const unsigned threads = every_threads() < 2 ? 1 : 2; /* one computes while the other is judged */
    for (uint32_t i = 0; i < devices; i++)
        test_device(i, threads);
    return tap_done();
}
