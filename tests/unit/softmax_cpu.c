/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _DEFAULT_SOURCE
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "softmax_cpu.h"

extern const struct cpu_op tenon__softmax_scalar, tenon__softmax_sse4, tenon__softmax_avx2, tenon__softmax_avx512,
    tenon__softmax_neon;

const struct isa *test_isa(unsigned i)
{
    static struct isa all[5];
    unsigned n = 0;
    all[n++] = (struct isa){"scalar", &tenon__softmax_scalar};
#if defined(TENON_HAVE_X86)
    if (__builtin_cpu_supports("sse4.1"))
        all[n++] = (struct isa){"sse4", &tenon__softmax_sse4};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[n++] = (struct isa){"avx2", &tenon__softmax_avx2};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        all[n++] = (struct isa){"avx512", &tenon__softmax_avx512};
#elif defined(TENON_HAVE_NEON)
    all[n++] = (struct isa){"neon", &tenon__softmax_neon};
#endif
    return i < n ? &all[i] : NULL;
}

/* order: 0 ascending, -1 descending, n > 0: on n threads. */
struct test_host {
    struct tenon_host host;
    int order;
    char text[240];
};

struct region {
    void (*fn)(void *context, uint32_t i);
    void *context;
    uint32_t n;
    atomic_uint next;
};

static void *region_thread(void *context)
{
    struct region *r = context;
    for (uint32_t i; (i = atomic_fetch_add(&r->next, 1)) < r->n;)
        r->fn(r->context, i);
    return NULL;
}

static void run_parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *context, uint32_t i),
                         void *context)
{
    const int order = ((const struct test_host *)(const void *)host)->order;
    struct region r = {fn, context, n, 0};
    pthread_t thread[8];
    int started = 0;
    if (order <= 0) {
        for (uint32_t i = 0; i < n; i++)
            fn(context, order < 0 ? n - 1 - i : i);
        return;
    }
    while (started < order - 1 && started < 8 && pthread_create(&thread[started], NULL, region_thread, &r) == 0)
        started++;
    region_thread(&r);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

static int32_t record_failure(const struct tenon_host *host, int32_t status, const char *message)
{
    struct test_host *h = (struct test_host *)(uintptr_t)(const void *)host;
    size_t n = strlen(message);
    memcpy(h->text, message, n < sizeof h->text ? n + 1 : sizeof h->text);
    return status;
}

void test_softmax_run(const struct isa *isa, const struct test_softmax *c)
{
    struct test_host host = {
        .host = {.struct_size = sizeof host.host, .parallel = run_parallel, .fail = record_failure}, .order = c->order};
    const struct cpu_env env = {
        .host = &host.host, .threads = c->threads ? c->threads : 1, .l1 = 32 << 10, .l2 = 256 << 10, .l3 = 1 << 20};
    struct cpu_plan plan = {.op = isa->op, .env = &env, .n_tensors = N};
    memcpy(plan.tensor, c->tensor, sizeof c->tensor);
    memcpy(plan.params, &c->params, sizeof c->params);
    if (isa->op->plan(&plan) != 0)
        bail("plan: %s", host.text);
    void *workspace = plan.workspace ? aligned_alloc(64, (size_t)((plan.workspace + 63) / 64 * 64)) : NULL;
    if (plan.workspace && !workspace)
        bail("out of memory");
    if (workspace)
        memset(workspace, 0xff, plan.workspace);
    isa->op->run(&plan, c->ptr, workspace);
    free(workspace);
}

static uint64_t random_state = 7;

static uint32_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static float uniform(float low, float high)
{
    return low + (high - low) * ((float)(random_bits() >> 8) * 0x1p-24f);
}

void test_softmax_give(struct test_softmax *c, int i, uint32_t dtype, int wide)
{
    const int64_t n = i == TENON_SOFTMAX_FLAGS  ? 4
                      : i == TENON_SOFTMAX_MULT ? c->cols
                      : wide                    ? c->rows * c->cols
                                                : c->rows;
    const size_t bytes = (size_t)n * TENON_DTYPE_SIZE(dtype);
    c->tensor[i] = wide ? (struct tenon_tensor){dtype, 2, {c->rows, c->cols}, {c->cols, 1}}
                        : (struct tenon_tensor){dtype, 1, {n}, {1}};
    c->ptr[i] = malloc(bytes + !bytes);
    if (!c->ptr[i])
        bail("out of memory");
    memset(c->ptr[i], 0xa5, bytes);
}

static void set_x(struct test_softmax *c, int64_t i, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (c->tensor[TENON_SOFTMAX_X].dtype == TENON_F32)
        ((float *)c->ptr[TENON_SOFTMAX_X])[i] = v;
    else if (c->tensor[TENON_SOFTMAX_X].dtype == TENON_BF16)
        ((uint16_t *)c->ptr[TENON_SOFTMAX_X])[i] = (uint16_t)(bits >> 16);
    else /* small multiples of 1/8: exact in f16 */
        ((uint16_t *)c->ptr[TENON_SOFTMAX_X])[i] =
            (uint16_t)((bits >> 16 & 0x8000) | (v == 0 ? 0 : ((bits & 0x7fffffff) - (112u << 23)) >> 13));
}

double test_softmax_get(const struct test_softmax *c, int tensor, int64_t i)
{
    const void *p = c->ptr[tensor];
    const uint16_t h = c->tensor[tensor].dtype == TENON_F32 ? 0 : ((const uint16_t *)p)[i];
    const int e = h >> 10 & 31;
    uint32_t bits = (uint32_t)h << 16;
    float f;
    if (c->tensor[tensor].dtype == TENON_F32)
        return (double)((const float *)p)[i];
    memcpy(&f, &bits, sizeof f);
    if (c->tensor[tensor].dtype == TENON_BF16)
        return (double)f;
    const double m =
        e == 31 ? (h & 1023 ? (double)NAN : (double)INFINITY) : ldexp((h & 1023) + (e ? 1024 : 0), (e ? e : 1) - 25);
    return h & 0x8000 ? -m : m;
}

struct test_softmax test_softmax(uint32_t x_dtype, uint32_t y_dtype, int64_t rows, int64_t cols, uint32_t algo,
                                 uint32_t kind, int options)
{
    struct test_softmax c = {.rows = rows,
                             .cols = cols,
                             .params = {.struct_size = sizeof c.params,
                                        .kind = kind,
                                        .algo = algo,
                                        .scale = options & SCALE ? 0.75f : 1.0f,
                                        .inv_temp = options & TEMP ? 1.25f : 1.0f,
                                        .win = 60.0f,
                                        .noise_amp = 1.0f,
                                        .eps = -1.0f,
                                        .quad_c = 5.0f,
                                        .zeta = 1.0f,
                                        .qscale = 1.0f / 255,
                                        .adaptive_gate = 0.5f,
                                        .adaptive_c0 = -1.791f,
                                        .adaptive_c1 = 4.917f,
                                        .adaptive_c2 = -2.3f,
                                        .adaptive_c3 = 0.481f,
                                        .adaptive_c4 = -0.037f}};
    test_softmax_give(&c, TENON_SOFTMAX_X, x_dtype, 1);
    test_softmax_give(&c, TENON_SOFTMAX_Y, y_dtype, 1);
    for (int64_t i = 0; i < rows * cols; i++)
        set_x(&c, i, x_dtype == TENON_F16 ? (float)((int)(random_bits() % 128) - 64) * 0.125f : uniform(-9.0f, 6.0f));
    if (options & BIAS) {
        test_softmax_give(&c, TENON_SOFTMAX_BIAS, TENON_F32, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            ((float *)c.ptr[TENON_SOFTMAX_BIAS])[i] = uniform(-1.0f, 1.0f);
    }
    if (options & MASK) {
        test_softmax_give(&c, TENON_SOFTMAX_MASK, TENON_U8, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            if (!(((uint8_t *)c.ptr[TENON_SOFTMAX_MASK])[i] = (uint8_t)(random_bits() % 3)))
                set_x(&c, i, NAN);
    }
    if (options & VALID) {
        test_softmax_give(&c, TENON_SOFTMAX_VALID_LEN, TENON_I32, 0);
        for (int64_t r = 0; r < rows; r++)
            ((int32_t *)c.ptr[TENON_SOFTMAX_VALID_LEN])[r] = (int32_t)(random_bits() % (uint32_t)(cols + 3)) - 1;
    }
    for (int i = TENON_SOFTMAX_ROW_SCALE; i <= TENON_SOFTMAX_SINK; i++)
        if (options & (i == TENON_SOFTMAX_SINK ? SINK : ROW_SCALE)) {
            test_softmax_give(&c, i, TENON_F32, 0);
            for (int64_t r = 0; r < rows; r++)
                ((float *)c.ptr[i])[r] = uniform(0.1f, 2.0f);
        }
    for (int i = STAT0; i < TENON_SOFTMAX_TAU && options & STATS; i++)
        test_softmax_give(&c, i, i == TENON_SOFTMAX_ARGMAX || i == TENON_SOFTMAX_NNZ ? TENON_I32 : TENON_F32, 0);
    return c;
}

void test_softmax_free(struct test_softmax *c)
{
    for (int i = 0; i < N; i++)
        free(c->ptr[i]);
}
