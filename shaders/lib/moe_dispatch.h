/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the moe_dispatch kernels share: the list that a counting sort goes over, and bins. `options` is a launch's word;
 * the recipe makes the same. Needs num.h. */
#ifndef TN_LIB_MOE_DISPATCH_H
#define TN_LIB_MOE_DISPATCH_H

#define MD_CHOICE (options & 1u)        /* the list goes by (j, t), else by (t, j) */
#define MD_ITEMS (options & 2u)         /* the list is perm's entries */
#define MD_TOKENS (options & 4u)        /* t is perm[t] */
#define MD_DIGIT ((options & 8u) != 0u) /* bins are digits of the keys, else experts */
#define MD_MARKED (options & 16u)       /* only pairs with a pos count */
#define MD_MARKS (options & 32u)        /* pos becomes 0 or -1 */
#define MD_FLAGS (options & 64u)
#define MD_SHIFT ((options >> 8) & 31u) /* of the digit */
#define MD_SRC (options & 0x2000u)
#define MD_COUNTS (options & 0x4000u)
#define MD_KEPT (options & 0x8000u)
#define MD_OFFSETS (options & 0x10000u)
#define MD_PAD (options & 0x20000u)     /* segments are as long as the capacity */
#define MD_PAIRS (options & 0x40000u)   /* keys are of pairs, else of tokens */
#define MD_W2 (options & 0x80000u)
#define MD_RENORM (options & 0x100000u)
#define MD_W (options & 0x200000u)

#define MD_NO_BIN 0xffffffffu
#define MD_NONE 0xffffffffu

/* Entry p of the list: a token or a pair. */
TN_FN uint md_item(uint options, TN_BUF perm, uint p, uint tokens, uint slots)
{
    uint item = p;
    if (MD_ITEMS != 0u) {
        item = TN_W(perm, p);
    } else if (MD_CHOICE != 0u) {
        uint j = p / tokens;
        uint t = p - j * tokens;
        if (MD_TOKENS != 0u)
            t = TN_W(perm, t);
        item = t * slots + j;
    } else if (MD_TOKENS != 0u) {
        uint t = p / slots;
        item = TN_W(perm, t) * slots + (p - t * slots);
    }
    return item;
}

/* The bin of an item, or MD_NO_BIN. */
TN_FN uint md_bin(uint options, TN_BUF idx, TN_BUF key, TN_BUF pos, uint item, uint first, uint range)
{
    uint bin = MD_NO_BIN;
    if (MD_DIGIT) {
        bin = (TN_W(key, item) >> MD_SHIFT) & 255u;
    } else {
        uint e = TN_W(idx, item);
        if (e - first < range)
            bin = e;
        if (MD_MARKED != 0u && bin != MD_NO_BIN && TN_W(pos, item) == MD_NONE)
            bin = MD_NO_BIN;
    }
    return bin;
}

/* The smaller the better: of the bits of a weight; NaN is last, zeros are alike. */
TN_FN uint md_key(uint bits)
{
    uint b = bits == 0x80000000u ? 0u : bits;
    uint rising = (b & 0x80000000u) != 0u ? ~b : b | 0x80000000u;
    return (b & 0x7fffffffu) > TN_INF_BITS ? 0xffffffffu : ~rising;
}

/* a / b of bits, rounded once like every IEEE quotient, by integers; b is no zero. */
TN_FN uint md_quotient(uint a, uint b)
{
    uint sign = (a ^ b) & 0x80000000u;
    uint sa = a & 0x7fffffffu;
    uint sb = b & 0x7fffffffu;
    /* mantissas of 24 bits and exponents */
    uint na = sa < 0x00800000u ? tn_bits(tn_real(sa)) : sa;
    uint nb = sb < 0x00800000u ? tn_bits(tn_real(sb)) : sb;
    int e = tn_as_int(na >> 23) - tn_as_int(nb >> 23) + 127;
    e = sa < 0x00800000u ? e - 149 : e;
    e = sb < 0x00800000u ? e + 149 : e;
    uint ma = (na & 0x007fffffu) | 0x00800000u;
    uint mb = (nb & 0x007fffffu) | 0x00800000u;
    if (ma < mb) {
        ma = ma << 1;
        e = e - 1;
    }
    /* 25 bits of the quotient, eight at a time, and whether anything is left */
    uint q = ma / mb;
    uint rest = ma - q * mb;
    for (uint step = 0u; step < 3u; step += 1u) {
        uint wide = rest << 8;
        uint digit = wide / mb;
        rest = wide - digit * mb;
        q = (q << 8) | digit;
    }
    int below = 1 - e;
    uint shift = tn_as_uint(1 + min(max(below, 0), 26));
    uint low = q & ((1u << shift) - 1u);
    uint half_way = 1u << (shift - 1u);
    uint mantissa = q >> shift;
    uint up = low > half_way || (low == half_way && (rest != 0u || (mantissa & 1u) != 0u)) ? 1u : 0u;
    uint r = e > 0 ? (tn_as_uint(e) << 23) + (mantissa - 0x00800000u) + up : mantissa + up;
    r = e > 254 ? TN_INF_BITS : r;
    r = sa == 0u ? 0u : r;
    r = sb == TN_INF_BITS ? (sa == TN_INF_BITS ? TN_NAN_BITS : 0u) : (sa == TN_INF_BITS ? TN_INF_BITS : r);
    return sa > TN_INF_BITS || sb > TN_INF_BITS ? TN_NAN_BITS : r | sign;
}

/* How long the segment of expert, or digit, e is, of which there are `total`. */
TN_FN uint md_segment(uint options, uint total, uint e, uint capacity, uint align, uint first, uint range)
{
    uint segment = (min(total, capacity) + align - 1u) / align * align;
    if (MD_PAD != 0u)
        segment = e - first < range ? capacity : 0u;
    return MD_DIGIT ? total : segment;
}

#endif
