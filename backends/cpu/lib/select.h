/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Which are the k best of many entries, by the total order (lib/order.h), equal ones by the smaller index: not a sorted
 * list but a cut, from which one more sweep in index order takes exactly k:
 *     taken: key > cut.key, and the first cut.equal of those with key == cut.key.
 *
 * select_keys cuts keys that lie in an array; many keys, in an array or not, by one thread or several, are cut by
 * lib/select_row.h. What it falls back to is here: the radix in SELECT_ROUNDS rounds over tiles, of which each thread
 * counts its own into bins of its own (select_count), the bins are added (integers: the order does not matter),
 * select_narrow finds the digit; after the last round select_end has the cut. */
#ifndef TENON_LIB_SELECT_H
#define TENON_LIB_SELECT_H

#include "order.h"

struct select_cut {
    int32_t key;
    int64_t equal; /* INT64_MAX: all that are equal, so that nobody has to count them */
};

/* The k best of n with 0 <= k <= n where no key need be looked at; 0: they must. */
static inline int select_trivial(int64_t n, int64_t k, struct select_cut *cut)
{
    *cut = k > 0 ? (struct select_cut){INT32_MIN, INT64_MAX} : (struct select_cut){ORDER_ABOVE, 0};
    return k == 0 || k == n;
}

/* ---- keys in an array ---- */

#define SELECT_BINS 2048
#define SELECT_FEW 32
#define SELECT_BYTE 256

/* The k-th best of few, 1 <= k <= n, by counting for each how many are better. */
static inline struct select_cut select_few(const int32_t *keys, int64_t n, int64_t k)
{
    struct select_cut cut = {INT32_MIN, INT64_MAX};
    for (int64_t i = 0; i < n; i += VF) {
        const int count = n - i < VF ? (int)(n - i) : VF;
        const vi key = count == VF ? vi_load(keys + i) : vi_load_n(keys + i, count), need = vi_set1((int32_t)k);
        vi above = vi_zero(), from = vi_zero();
        for (int64_t j = 0; j < n; j++) {
            const vi other = vi_set1(keys[j]);
            above = vi_more(above, vi_gt(other, key));
            from = vi_more(from, vm_not(vi_gt(key, other)));
        }
        const vm found = vm_and(vm_first(count), vm_andnot(vi_gt(need, above), vi_gt(need, from)));
        if (!vm_any(found))
            continue;
        int32_t better[VF], equal[VF];
        const int lane = __builtin_ctz(vm_bits(found));
        vi_store(better, above);
        vi_store(equal, from);
        cut.key = keys[i + lane];
        cut.equal = equal[lane] == k ? INT64_MAX : k - better[lane];
        break;
    }
    return cut;
}

/* How many keys are above the pivot, and how many are not below it. */
static inline void select_sides(const int32_t *keys, int64_t n, int32_t pivot, int64_t *above, int64_t *from)
{
    const vi bar = vi_set1(pivot);
    vi more = vi_zero(), less = vi_zero();
    int32_t lane[2][VF];
    int64_t i = 0, below = 0;
    for (; i + VF <= n; i += VF) {
        const vi key = vi_load(keys + i);
        more = vi_more(more, vi_gt(key, bar));
        less = vi_more(less, vi_gt(bar, key));
    }
    vi_store(lane[0], more);
    vi_store(lane[1], less);
    *above = 0;
    for (int l = 0; l < VF; l++) {
        *above += lane[0][l];
        below += lane[1][l];
    }
    for (; i < n; i++) {
        *above += keys[i] > pivot;
        below += keys[i] < pivot;
    }
    *from = n - below;
}

/* Those above the pivot, or those below it, move to the front. */
static inline void select_keep(int32_t *keys, int64_t n, int32_t pivot, int is_above)
{
    const vi bar = vi_set1(pivot);
    int64_t m = 0, i = 0;
    for (; i + VF <= n; i += VF) {
        const vi key = vi_load(keys + i);
        const vm kept = is_above ? vi_gt(key, bar) : vi_gt(bar, key);
        vi_compress(keys + m, key, kept);
        m += vm_count(kept);
    }
    for (; i < n; i++) {
        const int32_t key = keys[i];
        keys[m] = key;
        m += is_above ? key > pivot : key < pivot;
    }
}

#define SELECT_PIVOTS 16
#define SELECT_TRIES 24 /* as many halves leave nothing; keys that resist are left to the radix */

/* A pivot from a few of the keys, a little beyond the cut, leaves a part of them (Hoare 1961, Floyd and Rivest 1975).
 * 1: the pivot is the cut. Else n of the keys are left, of which the k-th is wanted. */
static inline int select_by_pivots(int32_t *keys, int64_t *n, int64_t *k, struct select_cut *cut)
{
    for (int tries = 0; *n > SELECT_FEW && tries < SELECT_TRIES; tries++) {
        int32_t some[SELECT_PIVOTS];
        int64_t above, from, at = *k * SELECT_PIVOTS / *n;
        for (int i = 0; i < SELECT_PIVOTS; i++)
            some[i] = keys[*n * i / SELECT_PIVOTS];
        at = at < SELECT_PIVOTS / 2 ? at + 2 : at < SELECT_PIVOTS ? at : SELECT_PIVOTS - 1;
        const int32_t pivot = select_few(some, SELECT_PIVOTS, at).key;
        select_sides(keys, *n, pivot, &above, &from);
        if (*k > above && *k <= from) {
            *cut = (struct select_cut){pivot, *k == from ? INT64_MAX : *k - above};
            return 1;
        }
        select_keep(keys, *n, pivot, *k <= above);
        *n = *k <= above ? above : *n - from;
        *k -= *k <= above ? 0 : from;
    }
    return 0;
}

/* The digits of keys, from the highest: of many keys eleven bits first, which leave few. Where there are vectors,
 * pivots do it in half the time. */
#define SELECT_MANY (VF == 1 ? 2048 : INT64_MAX)

static inline uint32_t select_digit(int32_t key, int shift, int bits)
{
    return ((uint32_t)key ^ 0x80000000u) >> shift & ((1u << bits) - 1);
}

/* Of the bins of a digit the one that has the k-th best; k becomes the place in it. */
static inline uint32_t select_bin(const uint32_t *bins, uint32_t count, int64_t *k)
{
    uint32_t digit = count - 1;
    for (; bins[digit] < *k; digit--)
        *k -= bins[digit];
    return digit;
}

/* Keys with this digit move to the front. Returns how many there are. */
static inline int64_t select_gather(int32_t *keys, int64_t n, int shift, int bits, uint32_t digit)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t key = keys[i];
        keys[m] = key;
        m += select_digit(key, shift, bits) == digit;
    }
    return m;
}

/* The first digit of many. */
static inline int64_t select_first(int32_t *keys, int64_t n, int64_t *k)
{
    uint32_t bins[SELECT_BINS] = {0};
    for (int64_t i = 0; i < n; i++)
        bins[select_digit(keys[i], 21, 11)]++;
    const uint32_t digit = select_bin(bins, SELECT_BINS, k);
    const vi turn = vi_set1(INT32_MIN), wanted = vi_set1((int32_t)digit);
    int64_t m = 0;
    for (int64_t i = 0; i < n; i += VF) {
        const int count = n - i < VF ? (int)(n - i) : VF;
        const vi key = count == VF ? vi_load(keys + i) : vi_load_n(keys + i, count);
        const vm same = vm_and(vm_first(count), vi_eq(vi_shr(vi_xor(key, turn), 21), wanted));
        for (uint32_t there = vm_bits(same); there; there &= there - 1)
            keys[m++] = keys[i + __builtin_ctz(there)];
    }
    return m;
}

/* The cut of the k best of n keys, 0 <= k <= n < 2^32. Overwrites keys: those that are still in question after a digit
 * of the radix move to the front. */
static inline struct select_cut select_keys(int32_t *keys, int64_t n, int64_t k)
{
    struct select_cut cut;
    if (select_trivial(n, k, &cut))
        return cut;
    int shift = 32, bits = 8;
    if (n >= SELECT_MANY) {
        n = select_first(keys, n, &k);
        shift = 21;
        bits = 7;
    }
    if (select_by_pivots(keys, &n, &k, &cut))
        return cut;
    while (n > SELECT_FEW) {
        uint32_t bins[2][SELECT_BYTE] = {{0}}; /* two, so that runs of one digit do not wait for each other */
        int64_t i = 0;
        shift -= bits;
        for (; i + 2 <= n; i += 2) {
            bins[0][select_digit(keys[i], shift, bits)]++;
            bins[1][select_digit(keys[i + 1], shift, bits)]++;
        }
        if (i < n)
            bins[0][select_digit(keys[i], shift, bits)]++;
        for (i = 0; i < SELECT_BYTE; i++)
            bins[0][i] += bins[1][i];
        const uint32_t digit = select_bin(bins[0], 1u << bits, &k);
        if (shift == 0) {
            cut.equal = bins[0][digit] == k ? INT64_MAX : k;
            for (i = 0; select_digit(keys[i], 0, bits) != digit; i++)
                ;
            cut.key = keys[i];
            return cut;
        }
        if (bins[0][digit] < n)
            n = select_gather(keys, n, shift, bits, digit);
    }
    return select_few(keys, n, k);
}

/* ---- keys in tiles ---- */

#define SELECT_ROUNDS 3

struct select {
    uint32_t prefix; /* of the cut's key with the sign turned, as far as it is known */
    int round;
    int64_t need;    /* how many are still to be taken among those with that prefix */
    int64_t equal;   /* how many have it */
};

/* 1 <= k < n; see select_trivial. */
static inline struct select select_begin(int64_t k)
{
    return (struct select){0, 0, k, 0};
}

static inline int select_shift(int round)
{
    return round == 0 ? 21 : round == 1 ? 10 : 0;
}

static inline int select_bits(int round)
{
    return round == SELECT_ROUNDS - 1 ? 10 : 11;
}

/* Adds n keys to the bins of this round, SELECT_BINS of them. */
static inline void select_count(const struct select *s, const int32_t *keys, int64_t n, uint32_t *bins)
{
    const int shift = select_shift(s->round), bits = select_bits(s->round);
    const uint32_t mask = (1u << bits) - 1;
    if (s->round == 0) {
        for (int64_t i = 0; i < n; i++)
            bins[((uint32_t)keys[i] ^ 0x80000000u) >> shift]++;
        return;
    }
    /* Few have the prefix of later rounds: vectors without any are passed over. */
    const vi prefix = vi_set1((int32_t)s->prefix), turn = vi_set1(INT32_MIN);
    int64_t i = 0;
    for (; i + VF <= n; i += VF) {
        const vi high = vi_shr(vi_xor(vi_load(keys + i), turn), shift + bits);
        for (uint32_t there = vm_bits(vi_eq(high, prefix)); there; there &= there - 1)
            bins[((uint32_t)keys[i + __builtin_ctz(there)] ^ 0x80000000u) >> shift & mask]++;
    }
    for (; i < n; i++) {
        const uint32_t key = (uint32_t)keys[i] ^ 0x80000000u;
        if (key >> (shift + bits) == s->prefix)
            bins[key >> shift & mask]++;
    }
}

/* From all the bins of this round to the next. */
static inline void select_narrow(struct select *s, const uint64_t *bins)
{
    uint32_t digit = (1u << select_bits(s->round)) - 1;
    while ((uint64_t)s->need > bins[digit]) {
        s->need -= (int64_t)bins[digit];
        digit--;
    }
    s->equal = (int64_t)bins[digit];
    s->prefix = s->prefix << select_bits(s->round) | digit;
    s->round++;
}

static inline struct select_cut select_end(const struct select *s)
{
    return (struct select_cut){(int32_t)(s->prefix ^ 0x80000000u), s->need == s->equal ? INT64_MAX : s->need};
}

#endif
