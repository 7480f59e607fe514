/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Whether this machine runs an ISA: asked of the compiler, apart from how the CPU backend finds out. */
#ifndef TENON_TEST_ISA_RUNS_H
#define TENON_TEST_ISA_RUNS_H

#include "../../backends/cpu/cpu.h"

static inline int test_isa_runs(int number)
{
    switch (number) {
    case CPU_ISA_SCALAR:
        return 1;
#ifdef __x86_64__
    case CPU_ISA_SSE4:
        return __builtin_cpu_supports("sse4.1") != 0;
    case CPU_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case CPU_ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#ifdef __aarch64__
    case CPU_ISA_NEON:
        return 1;
#endif
    default:
        return 0;
    }
}

#endif
