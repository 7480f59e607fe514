/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU, each ISA without the plugin around it: what long sequences take of a workspace, and rows that
 * come alone, in fours and among many, which take different ways through the kernel. */
#include <float.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/attention.h>

#include "../tap.h"
#include "isa.h"

#define T(NAME) TENON_ATTENTION_##NAME

static int32_t end_test(const struct tenon_host *host, int32_t status, const char *message)
{
    (void)host;
    bail("status %d: %s", status, message);
    return status;
}

static struct tenon_attention_params causal(void)
{
    return (struct tenon_attention_params){.struct_size = sizeof(struct tenon_attention_params),
                                           .causal = 1,
                                           .wl = TENON_ATTENTION_ANY,
                                           .wr = TENON_ATTENTION_ANY,
                                           .k_bits = 8,
                                           .v_bits = 8,
                                           .block_q = 64,
                                           .block_k = 64,
                                           .smax = FLT_MAX,
                                           .clip_zeta = 1,
                                           .gate_mul = 1};
}

static void shapes(struct tenon_tensor *tensor, uint32_t type, int64_t t, int64_t s, int64_t heads, int64_t d)
{
    const uint32_t kv = type == TENON_U8 ? TENON_U8 : type, q = type == TENON_U8 ? TENON_F32 : type;
    tensor[T(Q)] = tenon_tensor_make(q, 4, (int64_t[]){1, t, heads, d});
    tensor[T(K)] = tensor[T(V)] = tenon_tensor_make(kv, 4, (int64_t[]){1, s, heads, d});
    tensor[T(O)] = tenon_tensor_make(TENON_F32, 4, (int64_t[]){1, t, heads, d});
    if (type == TENON_U8)
        tensor[T(K_QUANT)] = tensor[T(V_QUANT)] = tenon_tensor_make(TENON_F32, 5, (int64_t[]){1, s, heads, 1, 2});
}

static uint64_t workspace(const struct isa *isa, int64_t t, int64_t s, uint32_t threads)
{
    const struct tenon_host host = {.struct_size = sizeof host, .fail = end_test};
    const struct cpu_env env = {.host = &host, .threads = threads, .l1 = 32 << 10, .l2 = 2 << 20, .l3 = 32 << 20};
    const struct tenon_attention_params params = causal();
    struct cpu_plan plan = {.env = &env, .n_tensors = T(N_TENSORS)};
    for (uint32_t i = 0; isa->ops[i]; i++)
        if (isa->ops[i]->op == TENON_OPNUM_attention)
            plan.op = isa->ops[i];
    shapes(plan.tensor, TENON_F32, t, s, 8, 64);
    memcpy(plan.params, &params, sizeof params);
    if (!plan.op || plan.op->plan(&plan) != 0)
        bail("%s has no plan", isa->name);
    return plan.workspace;
}

static void check_workspace(const struct isa *isa)
{
    static const uint32_t threads[] = {1, 2, 64};
    for (unsigned i = 0; i < sizeof threads / sizeof *threads; i++) {
        const uint64_t bytes = workspace(isa, 65536, 65536, threads[i]);
        ok(bytes <= UINT64_C(64) << 20, "%s, %u threads: causal T = 65536 takes %llu bytes", isa->name, threads[i],
           (unsigned long long)bytes);
        is_int((int64_t)workspace(isa, 65536, 1 << 24, threads[i]), (int64_t)bytes, "and no more of longer keys");
    }
}

static void *bytes_of(int64_t n, uint32_t type, uint32_t seed)
{
    const uint32_t size = TENON_DTYPE_SIZE(type);
    unsigned char *data = malloc((size_t)(n * size));
    if (!data)
        bail("out of memory");
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        const float x = (float)(int32_t)seed * 0x1p-30f;
        const uint32_t one = type == TENON_F16 ? 0x3400u : 0x3e80u, digits = type == TENON_F16 ? 0x7ffu : 0xffu;
        const uint16_t half = (uint16_t)(one + (seed >> 18 & digits) + (seed >> 16 & 0x8000u));
        const unsigned char byte = (unsigned char)(seed >> 24);
        memcpy(data + i * size, size == 4 ? (const void *)&x : size == 2 ? (const void *)&half : &byte, size);
    }
    return data;
}

/* `all` rows at once, and the last n of them as another call. */
static int same_rows(const struct isa *isa, uint32_t type, int64_t all, int64_t n, int64_t s, int64_t d)
{
    enum { HEADS = 2 };
    struct tenon_tensor tensor[T(N_TENSORS)] = {0};
    void *ptr[T(N_TENSORS)] = {0};
    const struct tenon_attention_params base = causal();
    struct tenon_attention_params params = base;
    if (type == TENON_U8)
        params.quant_k = params.quant_v = TENON_ATTENTION_AFFINE_TOKEN;
    shapes(tensor, type, all, s, HEADS, d);
    const int64_t width = HEADS * d, rows = all * width, tail = (all - n) * width;
    for (uint32_t i = 0; i < T(O); i++)
        if (tensor[i].dtype)
            ptr[i] = bytes_of(i == T(Q) ? rows : i < T(PAGE_TABLE) ? s * width : s * HEADS * 2, tensor[i].dtype, i);
    float *whole = malloc((size_t)rows * sizeof *whole), *some = malloc((size_t)rows * sizeof *some);
    if (!whole || !some)
        bail("out of memory");
    struct test_call call = {.op = TENON_OPNUM_attention,
                             .n_tensors = T(N_TENSORS),
                             .tensor = tensor,
                             .ptr = ptr,
                             .params = &params,
                             .params_size = sizeof params,
                             .order = 2,
                             .threads = 2};
    ptr[T(O)] = whole;
    test_call(isa, &call);
    char *q = ptr[T(Q)];
    shapes(tensor, type, n, s, HEADS, d);
    ptr[T(Q)] = q + tail * (int64_t)TENON_DTYPE_SIZE(tensor[T(Q)].dtype);
    ptr[T(O)] = some;
    test_call(isa, &call);
    const int same = memcmp(whole + tail, some, (size_t)(n * width) * sizeof *some) == 0;
    ptr[T(Q)] = q;
    for (uint32_t i = 0; i < T(O); i++)
        free(ptr[i]);
    free(whole);
    free(some);
    return same;
}

static void check_rows(const struct isa *isa)
{
    static const uint32_t types[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_U8};
    static const int64_t few[] = {1, 2, 3, 4, 5};
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        int same = 1;
        for (unsigned j = 0; j < sizeof few / sizeof *few; j++) {
            same &= same_rows(isa, types[i], 40, few[j], 1100, 64);
            same &= same_rows(isa, types[i], 9, few[j], 130, 40);
        }
        ok(same, "%s, type %u: the last rows have the bits that they have among more", isa->name, types[i]);
    }
}

int main(void)
{
    const struct isa *isa;
    for (unsigned i = 0; (isa = test_isa(i)) != NULL; i++) {
        check_workspace(isa);
        check_rows(isa);
    }
    return tap_done();
}
