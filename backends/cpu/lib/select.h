/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Which are the k best of many entries, by the total order (lib/order.h), equal ones by the smaller index: not a sorted
 * list but a cut, from which one more sweep in index order takes exactly k:
 *     taken: key > cut.key, and the first cut.equal of those with key == cut.key.
 *
 * select_keys cuts keys that lie in an array. For rows too long for one, or shared out to threads, the radix is done in
 * SELECT_ROUNDS rounds over tiles: each thread counts its tiles into bins of its own (select_count), the bins are added
 * (integers: the order does not matter), select_narrow finds the digit; after the last round select_end has the cut. */
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
#define SELECT_FEW 24
#define SELECT_BYTE 256

/* The k-th best of few, 1 <= k <= n, by counting for each how many are better. */
static inline struct select_cut select_few(const int32_t *keys, int64_t n, int64_t k)
{
    struct select_cut cut = {INT32_MIN, INT64_MAX};
    for (int64_t i = 0; i < n; i++) {
        int64_t above = 0, equal = 0;
        for (int64_t j = 0; j < n; j++) {
            above += keys[j] > keys[i];
            equal += keys[j] == keys[i];
        }
        if (above >= k || above + equal < k)
            continue;
        cut.key = keys[i];
        cut.equal = above + equal == k ? INT64_MAX : k - above;
        break;
    }
    return cut;
}

/* The digits of keys, from the highest: of many keys eleven bits first, which leave few. */
#define SELECT_MANY 2048

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

/* ---- keys near the cut ---- */

/* A sample says between which keys the cut almost surely lies (Floyd and Rivest 1975): one sweep counts those above and
 * gathers those in between, which are few, and the cut is chosen from these. When it is not among them, nothing is lost
 * but time; what the cut is does not depend on the sample. */
#define SELECT_SAMPLE 512
#define SELECT_NEAR_COLS 4096 /* of fewer keys, a sample is no less work */

struct select_near {
    int32_t low, high; /* both included */
    int64_t above, n;  /* counted, gathered */
};

/* SELECT_SAMPLE of the n keys, which are overwritten. 1 <= k < n. */
static inline struct select_near select_bracket(int32_t *sample, int64_t n, int64_t k)
{
    const double part = (double)k / (double)n, at = part * SELECT_SAMPLE;
    const double off = 3.0 * __builtin_sqrt(at * (1.0 - part)) + 2.0;
    const int64_t first = at > off ? (int64_t)(at - off) : 0, last = (int64_t)(at + off) + 1;
    struct select_near near = {INT32_MIN, INT32_MAX, 0, 0};
    int32_t copy[SELECT_SAMPLE];
    memcpy(copy, sample, sizeof copy);
    if (first > 0)
        near.high = select_keys(copy, SELECT_SAMPLE, first).key;
    if (last < SELECT_SAMPLE)
        near.low = select_keys(sample, SELECT_SAMPLE, last).key;
    return near;
}

/* n of the keys, in a vector; the room for them has VF where n is VF. */
SIMD_FN void select_gather_near(struct select_near *near, vi key, int n, int32_t *keys)
{
    const vm there = vm_first(n), above = vi_gt(key, vi_set1(near->high)), below = vi_gt(vi_set1(near->low), key);
    const vm between = vm_and(there, vm_not(vm_or(above, below)));
    near->above += vm_count(n == VF ? above : vm_and(there, above));
    if (n == VF) {
        vi_compress(keys + near->n, key, between);
        near->n += vm_count(between);
        return;
    }
    int32_t lanes[VF];
    vi_store(lanes, key);
    for (uint32_t bits = vm_bits(between); bits; bits &= bits - 1)
        keys[near->n++] = lanes[__builtin_ctz(bits)];
}

/* 0: it is not among those that were gathered. */
static inline int select_from_near(const struct select_near *near, int32_t *keys, int64_t k, struct select_cut *cut)
{
    k -= near->above;
    if (k < 1 || k > near->n)
        return 0;
    if (k == near->n) /* all, and all that are below are worse */
        *cut = (struct select_cut){near->low, INT64_MAX};
    else
        *cut = select_keys(keys, near->n, k);
    return 1;
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
