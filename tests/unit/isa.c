/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "isa.h"
#include "isa_runs.h"

#define CPU_ISA(name, number) extern const struct cpu_op *const tenon__cpu_ops_##name[];
#include "../../backends/cpu/cpu_isas.def"
#undef CPU_ISA

const struct isa *test_isa(unsigned i)
{
    static struct isa all[CPU_ISA_COUNT];
    unsigned n = 0;
#define CPU_ISA(name, number)                                                                                          \
    if (test_isa_runs(CPU_ISA_##number))                                                                               \
        all[n++] = (struct isa){#name, tenon__cpu_ops_##name, CPU_ISA_##number >= CPU_ISA_AVX2};
#include "../../backends/cpu/cpu_isas.def"
#undef CPU_ISA
    return i < n ? &all[i] : NULL;
}

/* A host that knows the order of its parallel regions. */
struct test_host {
    struct tenon_host host;
    int order;
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
            fn(context, order == TEST_DESCENDING ? n - 1 - i : i);
        return;
    }
    while (started < order - 1 && started < 8 && pthread_create(&thread[started], NULL, region_thread, &r) == 0)
        started++;
    region_thread(&r);
    while (started > 0)
        pthread_join(thread[--started], NULL);
}

static int32_t end_test(const struct tenon_host *host, int32_t status, const char *message)
{
    (void)host;
    bail("status %d: %s", status, message);
    return status;
}

void test_call(const struct isa *isa, const struct test_call *call)
{
    const struct test_host host = {
        .host = {.struct_size = sizeof host.host, .parallel = run_parallel, .fail = end_test}, .order = call->order};
    const struct cpu_env env = {.host = &host.host,
                                .threads = call->threads ? call->threads : 1,
                                .l1 = 32 << 10,
                                .l2 = 256 << 10,
                                .l3 = 1 << 20}; /* small: the paths for what does not fit are taken early */
    struct cpu_plan plan = {.env = &env, .n_tensors = call->n_tensors};
    for (uint32_t i = 0; isa->ops[i]; i++)
        if (isa->ops[i]->op == call->op)
            plan.op = isa->ops[i];
    memcpy(plan.tensor, call->tensor, call->n_tensors * sizeof plan.tensor[0]);
    memcpy(plan.params, call->params, call->params_size);
    if (!plan.op || plan.op->plan(&plan) != 0)
        bail("%s has no plan for this call of operator %u", isa->name, call->op);
    char *block = malloc((size_t)plan.workspace + 64);
    if (!block)
        bail("out of memory");
    char *workspace = block + (64 - (uintptr_t)block % 64) % 64;
    memset(workspace, 0xff, (size_t)plan.workspace);
    plan.op->run(&plan, call->ptr, workspace);
    free(block);
}
