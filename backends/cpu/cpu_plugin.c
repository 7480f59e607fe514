/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The entry of the CPU backend, and the operators' tables, an ISA each. */
#include "config.h"

#include <stddef.h>

#include "cpu_backend.h"

/* Every object of every ISA defines one table an operator; ops.def says which there are. */
#define DECLARE(isa, name) extern const struct cpu_op tenon__##name##_##isa;
#define TENON_OP(number, name) DECLARE(scalar, name)
#include <tenon/ops.def>
#undef TENON_OP
#define TENON_OP(number, name) &tenon__##name##_scalar,
static const struct cpu_op *const ops_scalar[] = {
#include <tenon/ops.def>
};
#undef TENON_OP

#ifdef TENON_HAVE_X86
#define TENON_OP(number, name) DECLARE(sse4, name) DECLARE(avx2, name) DECLARE(avx512, name)
#include <tenon/ops.def>
#undef TENON_OP
#define TENON_OP(number, name) &tenon__##name##_sse4,
static const struct cpu_op *const ops_sse4[] = {
#include <tenon/ops.def>
};
#undef TENON_OP
#define TENON_OP(number, name) &tenon__##name##_avx2,
static const struct cpu_op *const ops_avx2[] = {
#include <tenon/ops.def>
};
#undef TENON_OP
#define TENON_OP(number, name) &tenon__##name##_avx512,
static const struct cpu_op *const ops_avx512[] = {
#include <tenon/ops.def>
};
#undef TENON_OP
#endif

#ifdef TENON_HAVE_NEON
#define TENON_OP(number, name) DECLARE(neon, name)
#include <tenon/ops.def>
#undef TENON_OP
#define TENON_OP(number, name) &tenon__##name##_neon,
static const struct cpu_op *const ops_neon[] = {
#include <tenon/ops.def>
};
#undef TENON_OP
#endif

static const struct {
    const char *name;
    const struct cpu_op *const *ops; /* NULL: not built for this architecture */
} isas[CPU_ISA_COUNT] = {
    [CPU_ISA_SCALAR] = {"scalar", ops_scalar},
#ifdef TENON_HAVE_X86
    [CPU_ISA_SSE4] = {"sse4", ops_sse4},
    [CPU_ISA_AVX2] = {"avx2", ops_avx2},
    [CPU_ISA_AVX512] = {"avx512", ops_avx512},
#else
    [CPU_ISA_SSE4] = {"sse4", NULL},
    [CPU_ISA_AVX2] = {"avx2", NULL},
    [CPU_ISA_AVX512] = {"avx512", NULL},
#endif
#ifdef TENON_HAVE_NEON
    [CPU_ISA_NEON] = {"neon", ops_neon},
#else
    [CPU_ISA_NEON] = {"neon", NULL},
#endif
};

const struct cpu_op *const *tenon__cpu_ops(int isa, uint32_t *count)
{
    *count = sizeof ops_scalar / sizeof ops_scalar[0];
    return isas[isa].ops;
}

const char *tenon__cpu_isa_name(int isa)
{
    return isas[isa].name;
}

static const struct tenon_host *the_host;

const struct tenon_host *tenon__cpu_host(void)
{
    return the_host;
}

int32_t tenon__cpu_fail(int32_t status, const struct tenon_why *why)
{
    return the_host->fail(the_host, status, why->text);
}

static const struct tenon_backend backend = {
    .struct_size = sizeof backend,
    .abi_minor = TENON_ABI_MINOR,
    .id = "cpu",
    .version = PACKAGE_VERSION,
    .device_count = tenon__cpu_device_count,
    .device_info = tenon__cpu_device_info,
    .device_open = tenon__cpu_device_open,
    .device_close = tenon__cpu_device_close,
    .buffer_create = tenon__cpu_buffer_create,
    .buffer_destroy = tenon__cpu_buffer_destroy,
    .buffer_map = tenon__cpu_buffer_map,
    .buffer_unmap = tenon__cpu_buffer_unmap,
    .plan_create = tenon__cpu_plan_create,
    .plan_info = tenon__cpu_plan_info,
    .plan_destroy = tenon__cpu_plan_destroy,
    .queue_create = tenon__cpu_queue_create,
    .queue_destroy = tenon__cpu_queue_destroy,
    .enqueue = tenon__cpu_enqueue,
    .queue_wait = tenon__cpu_queue_wait,
};

const struct tenon_backend *tenon_backend_entry_v1(const struct tenon_host *host)
{
    if (!the_host)
        the_host = host;
    return &backend;
}
