/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include <stddef.h>

#include "../isa_runs.h"
#include "simd_probe.h"

#define CPU_ISA(name, number) extern const struct probe probe_##name;
#include "../../../backends/cpu/cpu_isas.def"
#undef CPU_ISA

const struct probe *probe_at(unsigned i)
{
    const struct probe *all[CPU_ISA_COUNT];
    unsigned n = 0;
#define CPU_ISA(name, number)                                                                                          \
    if (test_isa_runs(CPU_ISA_##number))                                                                               \
        all[n++] = &probe_##name;
#include "../../../backends/cpu/cpu_isas.def"
#undef CPU_ISA
    return i < n ? all[i] : NULL;
}
