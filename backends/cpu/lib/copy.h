/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Rows of bytes, as they are. `stream`: with stores that go past the caches where that exists, for more than these hold;
 * simd_fence() afterwards. */
#ifndef TENON_LIB_COPY_H
#define TENON_LIB_COPY_H

#include "simd/simd.h"

#define COPY_VECTOR ((int64_t)(VF * sizeof(float)))

/* Bytes up to where a vector may be streamed to, at most n. */
SIMD_FN int64_t copy_lead(const unsigned char *to, int64_t n)
{
    const int64_t lead = (int64_t)(-(uintptr_t)to & (uintptr_t)(COPY_VECTOR - 1));
    return lead < n ? lead : n;
}

SIMD_FN void copy_row(unsigned char *to, const unsigned char *from, int64_t n, int stream)
{
    int64_t i = copy_lead(to, n);
    /* vf_load wants floats, which are not at odd addresses */
    if (!stream || (uintptr_t)(from + i) % sizeof(float)) {
        memcpy(to, from, (size_t)n);
        return;
    }
    memcpy(to, from, (size_t)i);
    for (; i + 4 * COPY_VECTOR <= n; i += 4 * COPY_VECTOR) {
        const float *p = (const float *)(const void *)(from + i);
        const vf a = vf_load(p), b = vf_load(p + VF), c = vf_load(p + 2 * VF), d = vf_load(p + 3 * VF);
        float *q = (float *)(void *)(to + i);
        vf_stream(q, a);
        vf_stream(q + VF, b);
        vf_stream(q + 2 * VF, c);
        vf_stream(q + 3 * VF, d);
    }
    for (; i + COPY_VECTOR <= n; i += COPY_VECTOR)
        vf_stream((float *)(void *)(to + i), vf_load((const float *)(const void *)(from + i)));
    memcpy(to + i, from + i, (size_t)(n - i));
}

SIMD_FN void copy_zeros(unsigned char *to, int64_t n, int stream)
{
    int64_t i = stream ? copy_lead(to, n) : n;
    memset(to, 0, (size_t)i);
    for (; i + COPY_VECTOR <= n; i += COPY_VECTOR)
        vf_stream((float *)(void *)(to + i), vf_zero());
    memset(to + i, 0, (size_t)(n - i));
}

#endif
