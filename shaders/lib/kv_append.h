/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append: where a row goes, and the steps of its codes, the bits of which are the CPU's. Needs num.h. */
#ifndef TN_LIB_KV_APPEND_H
#define TN_LIB_KV_APPEND_H

/* `options`: the recipe makes the same. */
#define KV_FROM (options & 7u)
#define KV_TO ((options >> 3) & 7u)
#define KV_MODE ((options >> 6) & 7u)
#define KV_BITS ((options >> 9) & 15u)
#define KV_HAS_N (options & 0x2000u)
#define KV_HAS_FLAGS (options & 0x4000u)
#define KV_RING (options & 0x8000u)
#define KV_FROM_SHIFT ((options >> 16) & 3u)
#define KV_TO_SHIFT ((options >> 18) & 3u)
#define KV_HAS_KPOS (options & 0x100000u)
#define KV_HAS_LEN (options & 0x200000u)

#define KV_AFFINE_TOKEN 1u
#define KV_AFFINE_CHANNEL 2u
#define KV_LUT_TOKEN 3u
#define KV_LUT_CHANNEL 4u

#define KV_ABSENT 0u
#define KV_THERE 1u
#define KV_LATER 2u /* not counted, or a later row has the place */

TN_STRUCT(kv_place) { uint state; uint p; uint slot; uint first; uint second; };

TN_FN uint kv_count(TN_BUF n_new, uint b, uint tokens, uint has)
{
    uint n = tokens;
    if (has != 0u)
        n = TN_W(n_new, b);
    return n >= 0x80000000u ? 0u : min(n, tokens);
}

TN_FN kv_place kv_place_of(TN_BUF pos, TN_BUF n_new, TN_BUF table, uint b, uint t, uint tokens, uint slots, uint page,
                           uint pages, uint n_sink, uint options)
{
    kv_place r;
    uint first = TN_W(pos, b);
    uint n = kv_count(n_new, b, tokens, KV_HAS_N);
    r.p = first + t;
    r.slot = r.p;
    r.first = b;
    r.state = KV_ABSENT;
    bool there = r.p < 0x80000000u;
    if (there && KV_RING != 0u && r.p >= n_sink) {
        uint ring = slots - n_sink;
        r.slot = n_sink + (r.p - n_sink) % ring;
        /* a later row: t + ring < n, within positions */
        bool later = ring < n - min(t, n) && r.p + ring < 0x80000000u;
        r.state = later ? KV_LATER : KV_ABSENT;
    }
    there = there && r.state == KV_ABSENT && r.slot < slots;
    r.second = r.slot;
    if (there && page != 0u) {
        r.first = TN_W(table, b * (slots / page) + r.slot / page);
        r.second = r.slot % page;
        there = r.first < pages;
    }
    r.state = there ? KV_THERE : r.state;
    r.state = t >= n ? KV_LATER : r.state;
    return r;
}

/* The number behind bits of f32 that codes are made of: 0, or 2^-60 to 2^60 in size. */
TN_FN float kv_cleaned(uint bits)
{
    uint size = bits & 0x7fffffffu;
    uint cut = size > 0x5d800000u ? 0x5d800000u : size;
    cut = size >= TN_INF_BITS || size < 0x21800000u ? 0u : cut;
    return tn_float(cut == 0u ? 0u : (bits & 0x80000000u) | cut);
}

TN_FN uint kv_code_affine(float q, float most)
{
    float inside = q > 0.0f ? (q < most ? q : most) : 0.0f;
    return tn_uint(tn_round(inside));
}

TN_FN uint kv_code_nearest(TN_BUF table, uint bits, float y)
{
    uint c = 0u;
    uint step = 1u << (bits - 1u);
    for (uint k = 0u; k < bits; k += 1u) {
        TN_PRECISE float sum = kv_cleaned(TN_W(table, c + step - 1u)) + kv_cleaned(TN_W(table, c + step));
        float middle = sum * 0.5f;
        c += y > middle ? step : 0u;
        step = step >> 1;
    }
    return c;
}

#endif
