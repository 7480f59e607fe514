/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The entry of the CPU backend, and which ISAs it has. */
#include "config.h"

#include <stddef.h>

#include "cpu_backend.h"

#define CPU_ISA(name, number) extern const struct cpu_op *const tenon__cpu_ops_##name[];
#include "cpu_isas.def"
#undef CPU_ISA
static const struct cpu_op *const *const tables[CPU_ISA_COUNT] = {
#define CPU_ISA(name, number) [CPU_ISA_##number] = tenon__cpu_ops_##name,
#include "cpu_isas.def"
#undef CPU_ISA
};

const struct cpu_op *const *tenon__cpu_ops(int isa)
{
    return tables[isa];
}

const char *tenon__cpu_isa_name(int isa)
{
    static const char *const names[CPU_ISA_COUNT] = {"scalar", "sse4", "avx2", "avx512", "neon"};
    return names[isa];
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
