/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The launch recipes as plain C: on every device, however small, and for every shape, however large, each launch fits
 * the device, addresses its tensors and its scratch and nothing beyond; and the cache on disk believes nobody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/moe_ffn.h>
#include <tenon/ops/softmax.h>
#include <tenon/ops/softmax_merge.h>
#include "../../../shaders/gpu.h"
#include "../../conform/conform.h"
#include "../../tap.h"
#include "gpu_host.h"

#define AXES(x, y, z) {(x), (y), (z)}
static const struct gpu_limits devices[] = {
    {.wg_max = 64, .shared_max = 16384, .groups_max = AXES(65535, 65535, 65535), .buffer_max = UINT64_C(1) << 30},
    {.wg_max = 1024,
     .shared_max = 65536,
     .groups_max = AXES(2147483647, 65535, 65535),
     .buffer_max = UINT64_C(1) << 40,
     .storage16 = 1},
    {.wg_max = 128,
     .shared_max = 16384,
     .groups_max = AXES(65535, 65535, 65535),
     .buffer_max = UINT64_C(1) << 32,
     .software = 1},
    {.wg_max = 1024,
     .shared_max = 32768,
     .groups_max = AXES(65535, 65535, 65535),
     .buffer_max = UINT64_C(1) << 32,
     .subgroup = 8,
     .loop_max = 65535,
     .software = 1},
};

/* What is wrong with the launches, or NULL. */
static const char *fault_of(const struct gpu_recipe *recipe, const struct gpu_limits *limits,
                            const struct tenon_tensor *tensors)
{
    for (uint32_t i = 0; i < recipe->n; i++) {
        const struct gpu_launch *launch = &recipe->launch[i];
        if (launch->local > limits->wg_max)
            return "work-group too large";
        for (uint32_t axis = 0; axis < 3; axis++)
            if (launch->groups[axis] == 0 || launch->groups[axis] > limits->groups_max[axis])
                return "number of groups";
        for (uint32_t k = 0; k < launch->n_args; k++) {
            const struct gpu_arg *arg = &launch->arg[k];
            if (launch->kernel->signature[k] != 'b')
                continue;
            if (arg->slot == GPU_SLOT_SCRATCH && arg->offset >= recipe->scratch)
                return "begins beyond the scratch";
            if (arg->slot >= 0 && arg->slot < GPU_SLOT_SCRATCH && arg->offset != 0 &&
                arg->offset >= tenon_tensor_bytes(&tensors[arg->slot]))
                return "begins beyond a tensor";
        }
    }
    return NULL;
}

static void check_one(const char *name, uint32_t op, const void *params, const struct tenon_tensor *tensors, int must)
{
    for (size_t d = 0; d < sizeof(devices) / sizeof(devices[0]); d++) {
        struct gpu_recipe recipe = {.host = &gpu_host};
        int32_t status = gpu_op_find(op)->recipe(params, tensors, &devices[d], &recipe);
        const char *fault = status == TENON_OK ? fault_of(&recipe, &devices[d], tensors)
                            : status == TENON_E_UNSUPPORTED && !must ? NULL : gpu_host_message;
        if (fault != NULL || must)
            ok(fault == NULL, "%s on device %u: %s", name, (unsigned)d, fault ? fault : "every launch fits");
        gpu_recipe_finish(&recipe);
    }
}

static void conformance_shapes(void)
{
    for (uint32_t i = 0; conform_op_at(i) != NULL; i++) {
        const struct conform_op *op = conform_op_at(i);
        for (uint64_t number = 0; number < 500; number++) {
            struct conform_case c;
            struct tenon_tensor tensors[TENON_MAX_TENSORS];
            conform_case_make(op, 1, number, &c);
            for (uint32_t k = 0; k < TENON_MAX_TENSORS; k++)
                tensors[k] = c.slot[k].tensor;
            check_one(c.name, op->op, c.params, tensors, 0);
        }
        ok(1, "500 cases of operator %u were tried", op->op);
    }
}

static void large_softmax(int64_t rows, int64_t cols, uint32_t dtype, uint32_t algo)
{
    struct tenon_softmax_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    params.algo = algo;
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS] = {{0}};
    char name[96];
    tensors[TENON_SOFTMAX_X] = tensors[TENON_SOFTMAX_Y] = tenon_tensor_make(dtype, 2, (int64_t[]){rows, cols});
    tensors[TENON_SOFTMAX_LSE] = tenon_tensor_make(TENON_F32, 1, (int64_t[]){rows});
    snprintf(name, sizeof(name), "softmax %lldx%lld algo %u", (long long)rows, (long long)cols, algo);
    check_one(name, TENON_OPNUM_softmax, &params, tensors, 1);
}

static void large_linear(int64_t m, int64_t n, int64_t k, uint32_t trans)
{
    struct tenon_linear_params params = {.struct_size = sizeof(params), .trans_x = trans, .trans_w = trans};
    struct tenon_tensor tensors[TENON_LINEAR_N_TENSORS] = {{0}};
    char name[96];
    tensors[TENON_LINEAR_X] = tenon_tensor_make(TENON_F32, 2, trans ? (int64_t[]){k, m} : (int64_t[]){m, k});
    tensors[TENON_LINEAR_W] = tenon_tensor_make(TENON_F32, 2, trans ? (int64_t[]){k, n} : (int64_t[]){n, k});
    tensors[TENON_LINEAR_Y] = tenon_tensor_make(TENON_F32, 2, (int64_t[]){m, n});
    snprintf(name, sizeof(name), "linear %lldx%lldx%lld trans %u", (long long)m, (long long)n, (long long)k, trans);
    check_one(name, TENON_OPNUM_linear, &params, tensors, 1);
}

/* Weights beyond 2 GiB are cut by experts, rows by what the scratch takes; one matrix must not span 2 GiB. */
static void large_ffn(int64_t rows, int64_t experts, int64_t d, int64_t f, int must)
{
    struct tenon_moe_ffn_params params;
    struct tenon_tensor tensors[TENON_MOE_FFN_N_TENSORS] = {{0}};
    char name[96];
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_ffn), &params);
    params.glu = TENON_MOE_FFN_GLU2;
    tensors[TENON_MOE_FFN_X] = tensors[TENON_MOE_FFN_Z] = tenon_tensor_make(TENON_BF16, 2, (int64_t[]){rows, d});
    tensors[TENON_MOE_FFN_OFFSETS] = tenon_tensor_make(TENON_I32, 1, (int64_t[]){experts + 1});
    tensors[TENON_MOE_FFN_WG] = tensors[TENON_MOE_FFN_WU] =
        tenon_tensor_make(TENON_BF16, 3, (int64_t[]){experts, f, d});
    tensors[TENON_MOE_FFN_WD] = tenon_tensor_make(TENON_BF16, 3, (int64_t[]){experts, d, f});
    snprintf(name, sizeof(name), "moe_ffn %lld rows, E %lld, D %lld, F %lld", (long long)rows, (long long)experts,
             (long long)d, (long long)f);
    if (must) {
        check_one(name, TENON_OPNUM_moe_ffn, &params, tensors, 1);
        return;
    }
    struct gpu_recipe recipe = {.host = &gpu_host};
    gpu_host_message[0] = 0;
    const int32_t status = gpu_op_find(TENON_OPNUM_moe_ffn)->recipe(&params, tensors, &devices[0], &recipe);
    ok(status == TENON_E_UNSUPPORTED && strstr(gpu_host_message, "2 GiB"), "%s: %s", name, gpu_host_message);
    gpu_recipe_finish(&recipe);
}

/* No number of parts is too large for the loops, but 2 GiB of m or of factors are for the addresses. */
static void many_parts(int64_t parts, int64_t dv, int must)
{
    struct tenon_softmax_merge_params params;
    struct tenon_tensor tensors[TENON_SOFTMAX_MERGE_N_TENSORS] = {{0}};
    struct gpu_recipe recipe = {.host = &gpu_host};
    char name[96];
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax_merge), &params);
    tensors[TENON_SOFTMAX_MERGE_M] = tensors[TENON_SOFTMAX_MERGE_S] =
        tenon_tensor_make(TENON_F32, 2, (int64_t[]){parts, 1});
    tensors[TENON_SOFTMAX_MERGE_LSE] = tenon_tensor_make(TENON_F32, 1, (int64_t[]){1});
    if (dv) {
        tensors[TENON_SOFTMAX_MERGE_O] = tenon_tensor_make(TENON_F16, 3, (int64_t[]){parts, 1, dv});
        tensors[TENON_SOFTMAX_MERGE_OUT_O] = tenon_tensor_make(TENON_F16, 2, (int64_t[]){1, dv});
    }
    snprintf(name, sizeof(name), "softmax_merge of %lld parts, dv %lld", (long long)parts, (long long)dv);
    if (must) {
        check_one(name, TENON_OPNUM_softmax_merge, &params, tensors, 1);
        return;
    }
    gpu_host_message[0] = 0;
    const int32_t status = gpu_op_find(TENON_OPNUM_softmax_merge)->recipe(&params, tensors, &devices[0], &recipe);
    ok(status == TENON_E_UNSUPPORTED && strstr(gpu_host_message, "2 GiB"), "%s: %s", name, gpu_host_message);
    gpu_recipe_finish(&recipe);
}

static void cache(void)
{
    char path[512], command[600];
    void *data = NULL;
    size_t size = 0;
    snprintf(gpu_host_cache_dir, sizeof(gpu_host_cache_dir), "/tmp/tenon-cache-%ld", (long)getpid());
    ok(!gpu_cache_load(&gpu_host, "t", "key", 3, &data, &size), "nothing in a cache that is not there");
    gpu_cache_store(&gpu_host, "t", "key", 3, "value", 5);
    if (ok(gpu_cache_load(&gpu_host, "t", "key", 3, &data, &size), "what was stored comes back"))
        ok(size == 5 && memcmp(data, "value", 5) == 0, "whole");
    free(data);
    ok(!gpu_cache_load(&gpu_host, "t", "kez", 3, &data, &size), "not for another key");
    ok(!gpu_cache_load(&gpu_host, "u", "key", 3, &data, &size), "nor for another kind");
    snprintf(command, sizeof(command),
             "for f in %s/*; do printf x | dd of=\"$f\" bs=1 seek=60 conv=notrunc 2>/dev/null; done", gpu_host_cache_dir);
    ok(system(command) == 0 && !gpu_cache_load(&gpu_host, "t", "key", 3, &data, &size), "a damaged file is ignored");
    gpu_cache_store(&gpu_host, "t", "key", 3, "value", 5);
    ok(gpu_cache_load(&gpu_host, "t", "key", 3, &data, &size), "and replaced");
    free(data);
    snprintf(command, sizeof(command), "chmod 666 %s/*", gpu_host_cache_dir);
    ok(system(command) == 0 && !gpu_cache_load(&gpu_host, "t", "key", 3, &data, &size),
       "a file that others may write is ignored");
    ok(chmod(gpu_host_cache_dir, 0777) == 0, "chmod");
    gpu_cache_store(&gpu_host, "t", "key", 3, "value", 5);
    ok(!gpu_cache_load(&gpu_host, "t", "key", 3, &data, &size), "a folder that others may write is not used");
    snprintf(path, sizeof(path), "rm -rf %s", gpu_host_cache_dir);
    ok(system(path) == 0, "tidy");
}

int main(void)
{
    conformance_shapes();
    for (uint32_t algo = TENON_SOFTMAX_AUTO; algo <= TENON_SOFTMAX_FIXED_MAX; algo++)
        large_softmax(1, INT64_C(0x7fffffff), TENON_F16, algo);
    large_softmax(INT64_C(100000000), 1, TENON_F16, TENON_SOFTMAX_AUTO);
    large_softmax(5, 0, TENON_F32, TENON_SOFTMAX_AUTO);
    large_softmax(0, 5, TENON_F32, TENON_SOFTMAX_AUTO);
    large_softmax(3, 65537, TENON_BF16, TENON_SOFTMAX_THREE_PASS_RELOAD);
    many_parts(30000, 3, 1);
    many_parts(INT64_C(1) << 24, 64, 0);
    many_parts((INT64_C(1) << 28) - 8192, 1, 1);
    many_parts((INT64_C(1) << 29) - 16384, 0, 1);
    many_parts(INT64_C(1) << 28, 1, 0);
    many_parts(INT64_C(1) << 29, 0, 0);
    large_linear(1, 4096, 4096, 0);
    large_linear(INT64_C(0x7fffffff), 1, 3, 0);
    large_linear(4, 8000000, 3, 1);
    large_linear(3, 3, 40000000, 0);
    large_linear(784, 10, 60000000, 1);
    large_linear(5, 7, 0, 0);
    large_ffn(8, 256, 7168, 2048, 1);
    large_ffn(1000000, 64, 1024, 512, 1);
    large_ffn(3, 70000, 16, 16, 1);
    large_ffn(0, 4, 16, 16, 1);
    large_ffn(5, 2, 40000, 40000, 0);
    cache();
    return tap_done();
}
