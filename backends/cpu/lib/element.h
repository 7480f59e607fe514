/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Vectors of elements of a float type that is a constant where this is inlined; n elements exist, n <= VF. */
#ifndef TENON_LIB_ELEMENT_H
#define TENON_LIB_ELEMENT_H

#include <tenon/backend.h>

#include "simd/simd.h"

SIMD_FN vf load_x(const void *x, int64_t c, int n, uint32_t dtype)
{
    if (dtype == TENON_F32)
        return n == VF ? vf_load((const float *)x + c) : vf_load_n((const float *)x + c, n);
    const uint16_t *h = (const uint16_t *)x + c;
    if (dtype == TENON_F16)
        return n == VF ? vf_load_f16(h) : vf_load_f16_n(h, n);
    return n == VF ? vf_load_bf16(h) : vf_load_bf16_n(h, n);
}

SIMD_FN void store_y(void *y, int64_t c, vf v, int n, uint32_t dtype, int stream)
{
    if (dtype == TENON_F32) {
        float *p = (float *)y + c;
        if (n < VF)
            vf_store_n(p, v, n);
        else if (stream)
            vf_stream(p, v);
        else
            vf_store(p, v);
        return;
    }
    uint16_t *h = (uint16_t *)y + c;
    if (dtype == TENON_F16) {
        if (n < VF)
            vf_store_f16_n(h, v, n);
        else
            vf_store_f16(h, v);
    } else if (n < VF) {
        vf_store_bf16_n(h, v, n);
    } else {
        vf_store_bf16(h, v);
    }
}

#endif
