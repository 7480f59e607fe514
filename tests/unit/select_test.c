/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The total order and the selection of backends/cpu/lib against a sort. */
#include <math.h>
#include <stdlib.h>

#include "lib/select.h"

#include "../tap.h"

#define MOST 5000

static uint32_t state = 1;
static uint32_t draw(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static float value_of(int kind)
{
    static const float special[] = {-INFINITY, INFINITY, NAN, -0.0f, 0.0f, 0x1p-149f, -0x1p-149f, 0x1.fffffep127f};
    switch (kind) {
    case 0: return (float)draw() / 8388608.0f - 1.0f;
    case 1: return (float)(draw() % 5) - 2.0f; /* ties */
    case 2: return special[draw() % 8];
    case 3: return 1.0f + (float)(draw() % 256) * 0x1p-23f; /* the last byte decides */
    case 4: return 2.5f;
    default: return simd_float(draw() << 8 ^ draw());
    }
}

static int by_pair(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Takes by the cut; whether it took exactly the k first of the sorted. */
static int takes(const int32_t *keys, const uint64_t *sorted, int64_t n, int64_t k, struct select_cut cut)
{
    uint64_t last = k ? sorted[k - 1] : UINT64_MAX;
    int64_t taken = 0;
    for (int64_t i = 0; i < n; i++) {
        const int take = keys[i] > cut.key || (keys[i] == cut.key && cut.equal-- > 0);
        if (take != (order_pair(keys[i], (uint32_t)i) >= last && k > 0))
            return 0;
        taken += take;
    }
    return taken == k;
}

static struct select_cut in_tiles(const int32_t *keys, int64_t n, int64_t k)
{
    struct select_cut cut;
    if (select_trivial(n, k, &cut))
        return cut;
    struct select s = select_begin(k);
    while (s.round < SELECT_ROUNDS) {
        uint32_t part[SELECT_BINS];
        uint64_t bins[SELECT_BINS] = {0};
        for (int64_t at = 0; at < n; at += 700) {
            memset(part, 0, sizeof part);
            select_count(&s, keys + at, n - at < 700 ? n - at : 700, part);
            for (int b = 0; b < SELECT_BINS; b++)
                bins[b] += part[b];
        }
        select_narrow(&s, bins);
    }
    return select_end(&s);
}

/* By a sample, and by a bracket that is a guess, right or wrong. */
static int by_bracket(const int32_t *keys, const uint64_t *sorted, int32_t *room, int64_t n, int64_t k, int guess)
{
    int32_t sample[SELECT_SAMPLE];
    for (int i = 0; i < SELECT_SAMPLE; i++)
        sample[i] = keys[(n - 1) * i / (SELECT_SAMPLE - 1)];
    struct select_near near = select_bracket(sample, n, k);
    struct select_cut cut;
    if (guess) {
        near.low = keys[draw() % (uint32_t)n];
        near.high = keys[draw() % (uint32_t)n];
    }
    int64_t i = 0;
    for (; i + VF <= n; i += VF)
        select_gather_near(&near, vi_load(keys + i), VF, room);
    if (i < n)
        select_gather_near(&near, vi_load_n(keys + i, (int)(n - i)), (int)(n - i), room);
    if (!select_from_near(&near, room, k, &cut))
        return guess ? 1 : -1;
    return takes(keys, sorted, n, k, cut);
}

static void test_order(void)
{
    static const float rising[] = {-INFINITY, -0x1.fffffep127f, -1, -0x1p-149f, 0, 0x1p-149f, 1, INFINITY};
    int wrong = order_key(NAN) != ORDER_NAN || order_key(-NAN) != ORDER_NAN || order_key(-0.0f) != order_key(0.0f) ||
                order_key(-INFINITY) != ORDER_MINUS_INF;
    for (int i = 1; i < 8; i++)
        wrong += order_key(rising[i - 1]) >= order_key(rising[i]) || order_value(order_key(rising[i])) != rising[i];
    float lanes[VF];
    int32_t keys[VF];
    for (int i = 0; i < 10000; i++) {
        for (int l = 0; l < VF; l++)
            lanes[l] = value_of(i % 6);
        vi_store(keys, order_keys(vf_load(lanes)));
        for (int l = 0; l < VF; l++)
            wrong += keys[l] != order_key(lanes[l]);
    }
    is_int(wrong, 0, "keys are in the order of the values, NaN below all, both zeros equal");
}

int main(void)
{
    static const int64_t sizes[] = {1, 2, 3, 23, 24, 25, 26, 255, 700, 1401, MOST};
    int32_t *keys = malloc(MOST * sizeof *keys), *room = malloc(MOST * sizeof *room);
    uint64_t *sorted = malloc(MOST * sizeof *sorted);
    test_order();
    for (int kind = 0; keys && room && sorted && kind < 6; kind++) {
        int array = 0, tiles = 0, near = 0, missed = 0;
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            const int64_t n = sizes[s], ks[] = {0, 1, 2, n / 3, n / 2, n - 1, n};
            for (int64_t i = 0; i < n; i++) {
                keys[i] = order_key(value_of(kind));
                sorted[i] = order_pair(keys[i], (uint32_t)i);
            }
            qsort(sorted, (size_t)n, sizeof *sorted, by_pair);
            for (size_t j = 0; j < sizeof ks / sizeof ks[0]; j++) {
                const int64_t k = ks[j] > n ? n : ks[j];
                memcpy(room, keys, (size_t)n * sizeof *keys);
                array += !takes(keys, sorted, n, k, select_keys(room, n, k));
                tiles += !takes(keys, sorted, n, k, in_tiles(keys, n, k));
                for (int guess = 0; guess < 9 && k > 0 && k < n; guess++) {
                    const int took = by_bracket(keys, sorted, room, n, k, guess);
                    near += took == 0;
                    missed += took < 0 && n == MOST;
                }
            }
        }
        is_int(array, 0, "select_keys takes the k best, equal ones by index: data %d", kind);
        is_int(tiles, 0, "so does the radix over tiles: data %d", kind);
        is_int(near, 0, "so do brackets, wherever they are: data %d", kind);
        is_int(missed, 0, "and those of samples hold the cut: data %d", kind);
    }
    free(sorted);
    free(room);
    free(keys);
    return tap_done();
}
