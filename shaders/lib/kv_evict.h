/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict: what its kernels share. Needs num.h, order.h and exact.h. */
#ifndef TN_LIB_KV_EVICT_H
#define TN_LIB_KV_EVICT_H

/* `options`: the recipe makes the same. */
#define KE_HAS_LEN (options & 1u)
#define KE_HAS_POS (options & 2u)
#define KE_LEN_HEADS (options & 4u) /* a length for each head, and positions */
#define KE_POS_HEADS (options & 8u)
#define KE_HAS_QPOS (options & 0x10u)
#define KE_SNAP (options & 0x20u)
#define KE_MAX (options & 0x40u)
#define KE_ALL (options & 0x80u)
#define KE_GIVEN (options & 0x100u)
#define KE_PRODUCTS (options & 0x200u)
#define KE_HAS_ROWS (options & 0x400u)
#define KE_HAS_KEEP (options & 0x800u)
#define KE_HAS_POS_OUT (options & 0x1000u)
#define KE_HAS_LEN_OUT (options & 0x2000u)
#define KE_FLAGS (options & 0x4000u)
#define KE_FIRST (options & 0x8000u) /* the first queries of all */
#define KE_TYPE ((options >> 16) & 7u)

#define KE_FORCED 2147483647 /* a key above every number */

/* Words of a piece of a row: the key of its largest score, whether there is a NaN or +Inf, its sum. */
#define KE_PART_WORDS 4u
/* Of a list: the key of the cut, how many equal ones it takes, how many there are. */
#define KE_STATE_WORDS 3u
/* Of a piece of a list: keys that are kept for certain, those at the cut, whether there is a NaN. */
#define KE_COUNT_WORDS 3u

TN_FN uint ke_length(TN_BUF kv_len, uint options, uint b, uint h, uint heads, uint keys)
{
    uint n = keys;
    if (KE_HAS_LEN != 0u)
        n = TN_W(kv_len, KE_LEN_HEADS != 0u ? b * heads + h : b);
    return n >= 0x80000000u ? 0u : min(n, keys);
}

TN_FN int ke_position(TN_BUF kpos, uint options, uint b, uint h, uint heads, uint keys, uint j)
{
    uint p = j;
    if (KE_HAS_POS != 0u)
        p = TN_W(kpos, (KE_POS_HEADS != 0u ? b * heads + h : b) * keys + j);
    return tn_as_int(p);
}

/* The bits of a pool of columns [from, to) around j, of pairs. */
TN_FN uint ke_pool(TN_BUF mass, uint options, uint at, uint from, uint to, uint ks)
{
    tn_pair sum = tn_pair_make(0.0f, 0.0f);
    float best = 0.0f;
    uint nan = 0u;
    for (uint i = from; i < to; i += 1u) {
        uint hi = TN_W(mass, 2u * (at + i));
        nan = nan | tn_is_nan(hi);
        float m = tn_float(tn_is_nan(hi) != 0u ? 0u : hi);
        best = tn_fmax(best, m);
        sum = tn_pair_add(sum, m);
    }
    float mean = sum.hi / tn_real(ks);
    uint bits = tn_bits(KE_MAX != 0u ? best : mean);
    return nan != 0u ? TN_NAN_BITS : bits;
}

#endif
