/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The total order of plugin-api/SPEC.md as signed integers: NaN < -Inf < finite < +Inf, -0 equals +0; the larger key is
 * the better entry, equal keys go by the smaller index. Needs num.h. */
#ifndef TN_LIB_ORDER_H
#define TN_LIB_ORDER_H

#define TN_ORDER_NONE (-2147483647 - 1) /* below every key */
#define TN_ORDER_NAN (-2147483647)
#define TN_ORDER_NEG_INF (-2139095041)
#define TN_ORDER_INF 2139095040

/* Of the bits of TN_VW values. */
TN_FN tn_vi tn_order_key(tn_vu bits)
{
    tn_vi b = tn_vas_int(bits);
    tn_vi key = b ^ ((b >> 31) & 0x7fffffff);
    key = bits == 0x80000000u ? 0 : key;
    return (bits & 0x7fffffffu) > TN_INF_BITS ? TN_ORDER_NAN : key;
}

#endif
