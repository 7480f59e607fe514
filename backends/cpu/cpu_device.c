/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The one device: what the processor and the system offer, and which ISA is used. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "cpu_backend.h"

#ifdef __x86_64__
/* Which register files the system saves on a context switch. */
static uint64_t saved_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static void find_features(struct cpu_machine *m)
{
    uint32_t a, b, c, d, b7 = 0, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return;
    m->has[CPU_ISA_SSE4] = c >> 19 & 1; /* SSE4.1 */
    if (!(c >> 27 & 1)) /* OSXSAVE */
        return;
    const uint64_t state = saved_state();
    const uint32_t avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
    if ((c & (avx | fma | f16c)) != (avx | fma | f16c) || (state & 6) != 6)
        return;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return;
    m->has[CPU_ISA_AVX2] = b7 >> 5 & 1;
    const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    m->has[CPU_ISA_AVX512] = m->has[CPU_ISA_AVX2] && (b7 & (f | dq | bw | vl)) == (f | dq | bw | vl) &&
                             (state & 0xe6) == 0xe6;
}

static void find_name(struct cpu_machine *m)
{
    uint32_t r[12], top, b, c, d;
    char text[sizeof r + 1];
    if (!__get_cpuid(0x80000000u, &top, &b, &c, &d) || top < 0x80000004u)
        return;
    for (uint32_t i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    memcpy(text, r, sizeof r);
    text[sizeof r] = 0;
    /* Makers pad with spaces on either side. */
    char *start = text + strspn(text, " ");
    size_t n = strlen(start);
    while (n && start[n - 1] == ' ')
        start[--n] = 0;
    if (n)
        snprintf(m->name, sizeof m->name, "%s", start);
}
#else
static void find_features(struct cpu_machine *m)
{
#ifdef __aarch64__
    m->has[CPU_ISA_NEON] = 1; /* part of aarch64 */
#else
    (void)m;
#endif
}

static void find_name(struct cpu_machine *m)
{
    (void)m; /* no portable instruction names the processor; the architecture stands for it */
}
#endif

/* sysconf knows the caches on x86; elsewhere the kernel's files do. */
static uint64_t cache_size(int level, int name, uint64_t otherwise)
{
    const long known = name >= 0 ? sysconf(name) : 0;
    if (known > 0)
        return (uint64_t)known;
    for (int index = 0; index < 8; index++) {
        char path[80], text[32];
        int found = 0, kib = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", index);
        FILE *file = fopen(path, "re");
        if (!file)
            break;
        if (fscanf(file, "%d", &found) != 1)
            found = 0;
        fclose(file);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", index);
        file = found == level ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        const int data = fscanf(file, "%31s", text) == 1 && strcmp(text, "Instruction") != 0;
        fclose(file);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        file = data ? fopen(path, "re") : NULL;
        if (!file)
            continue;
        if (fscanf(file, "%dK", &kib) != 1)
            kib = 0;
        fclose(file);
        if (kib > 0)
            return (uint64_t)kib * 1024;
    }
    return otherwise;
}

void tenon__cpu_machine(struct cpu_machine *m)
{
    struct utsname system;
    memset(m, 0, sizeof *m);
    find_features(m);
    m->has[CPU_ISA_SCALAR] = 1;
    for (int isa = 0; isa < CPU_ISA_COUNT; isa++)
        m->has[isa] = m->has[isa] && tenon__cpu_ops(isa);
    int l1 = -1, l2 = -1, l3 = -1;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    l1 = _SC_LEVEL1_DCACHE_SIZE;
    l2 = _SC_LEVEL2_CACHE_SIZE;
    l3 = _SC_LEVEL3_CACHE_SIZE;
#endif
    m->l1 = cache_size(1, l1, 32u << 10);
    m->l2 = cache_size(2, l2, 512u << 10);
    m->l3 = cache_size(3, l3, 4u << 20);
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    m->memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 32;
    find_name(m);
    if (!m->name[0] && uname(&system) == 0)
        snprintf(m->name, sizeof m->name, "%.32s processor", system.machine);
}

int32_t tenon__cpu_device_count(uint32_t *count)
{
    *count = 1;
    return TENON_OK;
}

static void describe(const struct cpu_machine *m, struct tenon_device_info *info)
{
    memset(info, 0, sizeof *info);
    info->struct_size = sizeof *info;
    info->type = TENON_TYPE_CPU;
    info->caps = TENON_CAP_UNIFIED | TENON_CAP_IMPORT | TENON_CAP_XQUEUE | TENON_CAP_SYNC;
    info->mem_total = m->memory;
    info->max_buffer = m->memory;
    info->bind_align = 4;
    info->import_align = 4;
    info->max_queues = 1024;
    snprintf(info->name, sizeof info->name, "%s", m->name);
    snprintf(info->driver, sizeof info->driver, "tenon %s", PACKAGE_VERSION);
}

static int32_t no_device(uint32_t index)
{
    struct tenon_why why;
    return tenon__cpu_fail(
        tenon_why_set(&why, TENON_E_NODEVICE, "device %u: the CPU backend has device 0 alone", index), &why);
}

int32_t tenon__cpu_device_info(uint32_t index, struct tenon_device_info *info)
{
    struct cpu_machine machine;
    struct tenon_device_info full;
    struct tenon_why why;
    if (index != 0)
        return no_device(index);
    tenon__cpu_machine(&machine);
    describe(&machine, &full);
    const int32_t status = tenon_struct_write(info, &full, sizeof full, &why);
    return status ? tenon__cpu_fail(status, &why) : TENON_OK;
}

/* The widest ISA, or the one that the setting names. */
static int32_t choose_isa(const struct cpu_machine *m, const char *wanted, int *isa, struct tenon_why *why)
{
    char list[64] = "";
    for (int i = 0; i < CPU_ISA_COUNT; i++) {
        if (!m->has[i])
            continue;
        *isa = i;
        if (wanted && strcmp(wanted, tenon__cpu_isa_name(i)) == 0)
            return TENON_OK;
        snprintf(list + strlen(list), sizeof list - strlen(list), " %s", tenon__cpu_isa_name(i));
    }
    if (!wanted || !wanted[0] || strcmp(wanted, "auto") == 0)
        return TENON_OK;
    for (int i = 0; i < CPU_ISA_COUNT; i++)
        if (strcmp(wanted, tenon__cpu_isa_name(i)) == 0)
            return tenon_why_set(why, TENON_E_UNSUPPORTED, "isa %s: this machine cannot run it; it has%s", wanted,
                                 list);
    return tenon_why_set(why, TENON_E_ARG, "isa \"%.32s\": must be auto or one of%s", wanted, list);
}

static uint32_t thread_count(const struct tenon_host *host)
{
    const char *text = host->config(host, "threads");
    const long n = text ? strtol(text, NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 1024 ? 1024 : (uint32_t)n;
}

int32_t tenon__cpu_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device)
{
    const struct tenon_host *host = tenon__cpu_host();
    struct cpu_machine machine;
    struct tenon_why why;
    int isa = CPU_ISA_SCALAR;
    if (index != 0)
        return no_device(index);
    int32_t status = tenon_chain_check(next, &why);
    if (!status && !device)
        status = tenon_why_set(&why, TENON_E_INVALID, "device_open: no place for the device");
    if (!status) {
        tenon__cpu_machine(&machine);
        status = choose_isa(&machine, host->config(host, "isa"), &isa, &why);
    }
    if (status)
        return tenon__cpu_fail(status, &why);
    struct tenon_device *d = host->alloc(host, sizeof *d, _Alignof(struct tenon_device));
    if (!d)
        return host->fail(host, TENON_E_NOMEM, "no memory for a device");
    memset(d, 0, sizeof *d);
    describe(&machine, &d->info);
    d->isa = isa;
    d->env.host = host;
    d->env.threads = thread_count(host);
    d->env.l1 = machine.l1;
    d->env.l2 = machine.l2;
    d->env.l3 = machine.l3;
    *device = d;
    return TENON_OK;
}

void tenon__cpu_device_close(struct tenon_device *device)
{
    if (device)
        device->env.host->free(device->env.host, device);
}
