/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A row of floats times a row of any type, each element widened where it is read: few products, by whoever has no tile
 * of them (lib/dot.h). */
#ifndef TENON_LIB_DOT_ONE_H
#define TENON_LIB_DOT_ONE_H

#include "lib/pack.h"

SIMD_FN float dot_one_body(const uint32_t dtype, const float *x, const void *y, int64_t n)
{
    vf acc[2] = {vf_zero(), vf_zero()};
    int64_t d = 0;
    for (; d + 2 * VF <= n; d += 2 * VF) {
        acc[0] = vf_madd(vf_load(x + d), pack_load(dtype, y, d), acc[0]);
        acc[1] = vf_madd(vf_load(x + d + VF), pack_load(dtype, y, d + VF), acc[1]);
    }
    for (; d < n; d += VF) {
        const int count = n - d < VF ? (int)(n - d) : VF;
        acc[0] = vf_madd(vf_load_n(x + d, count), pack_load_n(dtype, y, d, n - d), acc[0]);
    }
    return vf_reduce_add(vf_add(acc[0], acc[1]));
}

static __attribute__((unused)) float dot_one(uint32_t dtype, const float *x, const void *y, int64_t n)
{
    if (dtype == TENON_F32)
        return dot_one_body(TENON_F32, x, y, n);
    return dtype == TENON_F16 ? dot_one_body(TENON_F16, x, y, n) : dot_one_body(TENON_BF16, x, y, n);
}

#endif
