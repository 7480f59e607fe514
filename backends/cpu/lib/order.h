/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The total order of plugin-api/SPEC.md as integers: NaN < -Inf < finite < +Inf, and -0 equals +0. A key is a signed
 * 32-bit integer, so that vi_gt and vi_max compare keys; the larger key is the better entry, equal keys go by the
 * smaller index. Widened 16-bit values have keys too. */
#ifndef TENON_LIB_ORDER_H
#define TENON_LIB_ORDER_H

#include "simd/simd.h"

#define ORDER_NAN INT32_MIN          /* of every NaN */
#define ORDER_MINUS_INF (-0x7f800001) /* the least key of a number */
#define ORDER_ABOVE INT32_MAX        /* above every key */

/* v + 0 makes -0 +0 and nothing else. */
SIMD_FN int32_t order_key(float v)
{
    const int32_t b = (int32_t)simd_bits(v + 0.0f);
    return v != v ? ORDER_NAN : b ^ (b >> 31 & 0x7fffffff);
}

SIMD_FN vi order_keys(vf v)
{
    const vi b = vi_bits(vf_add(v, vf_zero()));
    const vi key = vi_xor(b, vi_and(vi_sra(b, 31), vi_set1(0x7fffffff)));
    return vi_select(vf_eq(v, v), key, vi_set1(ORDER_NAN));
}

/* The number of a key; ORDER_NAN gives a NaN. */
SIMD_FN float order_value(int32_t key)
{
    return simd_float((uint32_t)(key ^ (key >> 31 & 0x7fffffff)));
}

/* One unsigned integer for both rules, of which the largest are the best: key first, then the smaller index. */
SIMD_FN uint64_t order_pair(int32_t key, uint32_t index)
{
    return (uint64_t)((uint32_t)key ^ 0x80000000u) << 32 | (0xffffffffu - index);
}

#endif
