/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the driver's compiler makes of the kernels: nothing is spilled, and a SIMD holds at least two subgroups to
 * switch between. Run by vk_registers.t for RADV's null devices, which compile without a GPU; works for any driver with
 * VK_KHR_pipeline_executable_properties. */
#include "tap.h"
#include "vk_scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/kernels.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>

#include "../conform/conform.h"

/* Latency is hidden by the other subgroups of a SIMD. Two is what the tiles of a matrix product leave on GCN. */
#define SUBGROUPS_MIN 2
#define CASES 30 /* of each operator */

static const struct tenon_backend *backend;
static struct tenon_device *device;
static struct tenon_plan *plans[1024];
static uint32_t n_plans;

static void plan(uint32_t op, uint32_t n_tensors, const struct tenon_tensor *tensors, const void *params)
{
    struct tenon_op_desc desc = {
        .struct_size = sizeof desc, .op = op, .n_tensors = n_tensors, .tensors = tensors, .params = params};
    if (n_plans == sizeof plans / sizeof plans[0])
        bail("too many plans");
    int32_t status = backend->plan_create(device, &desc, &plans[n_plans]);
    if (status == TENON_E_UNSUPPORTED)
        tap_note("left out: %s", scene_error);
    else if (status)
        bail("%s", scene_error);
    else
        n_plans++;
}

static void plan_softmax(uint32_t dtype, int64_t cols, uint32_t algo, uint32_t kind, int rich)
{
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS] = {0};
    const int64_t dim[2] = {64, cols};
    tensors[TENON_SOFTMAX_X] = tenon_tensor_make(dtype, 2, dim);
    tensors[TENON_SOFTMAX_Y] = tensors[TENON_SOFTMAX_X];
    if (rich) {
        if (algo != TENON_SOFTMAX_TWO_PASS_EXT)
            tensors[TENON_SOFTMAX_BIAS] = tenon_tensor_make(TENON_F32, 2, dim);
        tensors[TENON_SOFTMAX_MASK] = tenon_tensor_make(TENON_U8, 2, dim);
        for (int i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_ENERGY; i++)
            tensors[i] = tenon_tensor_make(i == TENON_SOFTMAX_ARGMAX ? TENON_I32 : TENON_F32, 1, dim);
        tensors[TENON_SOFTMAX_SINK] = tenon_tensor_make(TENON_F32, 1, dim);
    }
    struct tenon_softmax_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    params.algo = algo;
    params.kind = kind;
    plan(TENON_OPNUM_softmax, TENON_SOFTMAX_N_TENSORS, tensors, &params);
}

static void plan_linear(uint32_t x_dtype, uint32_t w_dtype, int64_t m)
{
    struct tenon_tensor tensors[TENON_LINEAR_N_TENSORS] = {0};
    const int64_t n = 512, k = 1024;
    tensors[TENON_LINEAR_X] = tenon_tensor_make(x_dtype, 2, (const int64_t[]){m, k});
    tensors[TENON_LINEAR_W] = tenon_tensor_make(w_dtype, 2, (const int64_t[]){n, k});
    if (w_dtype == TENON_I8)
        tensors[TENON_LINEAR_W_SCALE] = tenon_tensor_make(TENON_F32, 1, &n);
    tensors[TENON_LINEAR_BIAS] = tenon_tensor_make(TENON_F32, 1, &n);
    tensors[TENON_LINEAR_Y] = tenon_tensor_make(x_dtype, 2, (const int64_t[]){m, n});
    struct tenon_linear_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &params);
    plan(TENON_OPNUM_linear, TENON_LINEAR_N_TENSORS, tensors, &params);
}

/* A sample of the suite's cases of every operator, for the kernels that nothing above asks for. */
static void plan_cases(void)
{
    for (uint32_t i = 0; conform_op_at(i); i++) {
        const struct conform_op *op = conform_op_at(i);
        const uint64_t step = op->cases[CONFORM_QUICK] / CASES;
        for (uint64_t n = 0; n < CASES; n++) {
            struct conform_case c;
            struct tenon_tensor tensors[TENON_MAX_TENSORS];
            conform_case_make(op, 1, n * step, &c);
            for (uint32_t k = 0; k < TENON_MAX_TENSORS; k++)
                tensors[k] = c.slot[k].tensor;
            plan(op->op, c.n, tensors, c.params);
        }
    }
}

static void plan_all(void)
{
    static const uint32_t types[] = {TENON_F32, TENON_F16, TENON_BF16};
    static const uint32_t weights[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8};
    static const int64_t rows[] = {1, 4, 16, 512};
    static const int64_t cols[] = {1000, 4096, 100000};
    for (uint32_t algo = TENON_SOFTMAX_THREE_PASS_RECOMPUTE; algo <= TENON_SOFTMAX_FIXED_MAX; algo++)
        for (uint32_t t = 0; t < 3; t++) {
            plan_softmax(types[t], cols[t], algo, TENON_SOFTMAX_EXP, 0);
            plan_softmax(types[t], cols[2 - t], algo, TENON_SOFTMAX_LOG_EXP, 1);
        }
    for (uint32_t w = 0; w < 4; w++)
        for (uint32_t m = 0; m < 4; m++) {
            plan_linear(TENON_F32, weights[w], rows[m]);
            if (w && weights[w] != TENON_I8)
                plan_linear(weights[w], weights[w], rows[m]);
        }
}

/* The number behind "name": in the statistics; -1: the driver does not say. */
static long statistic(const char *json, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(json, key);
    return found ? strtol(found + strlen(key), NULL, 10) : -1;
}

static void line(void *user, const char *json)
{
    (void)user;
    long vgprs = statistic(json, "Spilled VGPRs"), sgprs = statistic(json, "Spilled SGPRs");
    long subgroups = statistic(json, "Subgroups per SIMD");
    char what[160];
    char name[64], specs[80];
    if (sscanf(json, "{\"kernel\":\"%63[^\"]\",\"specs\":[%79[^]]", name, specs) != 2)
        bail("cannot read %s", json);
    snprintf(what, sizeof what, "%s [%s]", name, specs);
    if (vgprs < 0 && sgprs < 0) {
        skip("the driver has no such statistic", "%s spills nothing", what);
        return;
    }
    tap_note("%s: VGPRs %ld, SGPRs %ld, spilled %ld and %ld, LDS %ld, scratch %ld, subgroups per SIMD %ld, instructions "
             "%ld",
             what, statistic(json, "VGPRs"), statistic(json, "SGPRs"), vgprs, sgprs, statistic(json, "LDS size"),
             statistic(json, "Scratch size"), subgroups, statistic(json, "Instructions"));
    ok(vgprs <= 0 && sgprs <= 0 && statistic(json, "Scratch size") <= 0, "%s spills nothing", what);
    if (subgroups >= 0)
        ok(subgroups >= SUBGROUPS_MIN, "%s: %ld subgroups a SIMD", what, subgroups);
}

int main(void)
{
    uint32_t count = 0;
    scene_compile_only = 1;
    if (tenon__vk_api_load())
        return tap_skip_all("no Vulkan loader on this machine");
    backend = tenon_backend_entry_v1(&scene_host);
    is_int(backend->device_count(&count), TENON_OK, "discovery");
    if (!count)
        return tap_skip_all("no Vulkan device on this machine");
    struct tenon_device_info info = {.struct_size = sizeof info};
    if (backend->device_info(0, &info) || backend->device_open(0, NULL, &device))
        bail("%s", scene_error);
    tap_note("%s, %s", info.name, info.driver);
    plan_all();
    plan_cases();
    const struct tenon_kernels *kernels = backend->extension(TENON_KERNELS_ID);
    is_int(kernels->report(device, line, NULL), TENON_OK, "the report");
    while (n_plans)
        backend->plan_destroy(plans[--n_plans]);
    backend->device_close(device);
    is_int(scene_live_memory, 0, "no memory leaks");
    return tap_done();
}
