/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include <stddef.h>

#include "simd_probe.h"

extern const struct probe probe_scalar, probe_sse4, probe_avx2, probe_avx512, probe_neon;

const struct probe *probe_at(unsigned i)
{
    const struct probe *all[5];
    unsigned n = 0;
    all[n++] = &probe_scalar;
#if defined(TENON_HAVE_X86)
    if (__builtin_cpu_supports("sse4.1"))
        all[n++] = &probe_sse4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[n++] = &probe_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        all[n++] = &probe_avx512;
#elif defined(TENON_HAVE_NEON)
    all[n++] = &probe_neon;
#endif
    return i < n ? all[i] : NULL;
}
