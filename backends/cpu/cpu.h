/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the CPU backend: what an operator's kernels see (backends/cpu/ops), and what the plan and the queue see of
 * them.
 *
 * Each backends/cpu/ops/<op>_cpu*.c is compiled once an ISA with -DTENON_ISA=<isa> and that ISA's flags; everything in
 * it is static but the table CPU_OP_TABLE(<op>), i.e. `const struct cpu_op tenon__softmax_avx2`. cpu_plugin.c collects
 * the tables with ops.def and picks the widest ISA that the machine has (or TENON_CPU_ISA names). */
#ifndef TENON_CPU_H
#define TENON_CPU_H

#include <tenon/backend.h>
#include <tenon/ops.h>

#define CPU_CAT_(a, b, c) a##b##_##c
#define CPU_CAT(a, b, c) CPU_CAT_(a, b, c)
#define CPU_STR_(x) #x
#define CPU_STR(x) CPU_STR_(x)
#define CPU_OP_TABLE(name) CPU_CAT(tenon__, name, TENON_ISA)
#define CPU_ISA_NAME CPU_STR(TENON_ISA)

enum { CPU_ISA_SCALAR, CPU_ISA_SSE4, CPU_ISA_AVX2, CPU_ISA_AVX512, CPU_ISA_NEON, CPU_ISA_COUNT };

/* What a kernel may use of the machine and the host. Immutable after device_open. */
struct cpu_env {
    const struct tenon_host *host;
    uint32_t threads;             /* the width of host->parallel */
    uint64_t l1, l2, l3;          /* bytes of data cache: l1, l2 a core, l3 shared */
};

/* A checked descriptor (tenon_op_check has passed), with everything copied: lives inside the plan. */
struct cpu_plan {
    const struct cpu_op *op;
    const struct cpu_env *env;
    uint32_t n_tensors;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    uint64_t params[32];  /* the operator's params struct, full layout */
    uint64_t workspace;   /* bytes; set by op->plan; constant; at least 64-byte aligned when run */
    char impl[64];        /* set by op->plan */
    uint64_t state[64];   /* the operator's own, computed once by op->plan: kernel pointers, tiles, splits */
};

struct cpu_op {
    uint32_t op;
    /* Chooses kernels and fills workspace, impl and state. UNSUPPORTED after env->host->fail for what cannot run. */
    int32_t (*plan)(struct cpu_plan *plan);
    /* [thread-safe] ptr[i] is tensor i's first element (NULL: absent). Never fails: everything that can was checked.
     * Uses env->host->parallel itself. Results do not depend on the number of threads. */
    void (*run)(const struct cpu_plan *plan, void *const *ptr, void *workspace);
};

#endif
