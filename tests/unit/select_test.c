/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The total order and the selection of backends/cpu/lib against a sort. */
#include <math.h>
#include <stdlib.h>

#include "lib/select_row.h"

#include "../tap.h"

#define MOST 9000
#define MANY (1 << 20)
#define TASKS 5

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

/* Whether a bracket holds the key of this pair. */
static int keys_between(uint64_t pair, int32_t low, int32_t high)
{
    const int32_t key = (int32_t)((uint32_t)(pair >> 32) ^ 0x80000000u);
    return key >= low && key <= high;
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

/* By a bracket that is a guess, right or wrong. */
static int by_bracket(const int32_t *keys, const uint64_t *sorted, int32_t *room, int64_t n, int64_t k)
{
    struct select_near near = {.low = keys[draw() % (uint32_t)n], .high = keys[draw() % (uint32_t)n]};
    struct select_cut cut;
    if (near.low > near.high) {
        const int32_t low = near.high;
        near.high = near.low;
        near.low = low;
    }
    for (int64_t at = 0; at < n; at += 333)
        select_gather_near(&near, keys + at, n - at < 333 ? n - at : 333, room);
    const int inside = keys_between(sorted[k - 1], near.low, near.high);
    if (select_from_near(&near, room, k, &cut) != inside)
        return 0;
    return !inside || takes(keys, sorted, n, k, cut);
}

/* ---- rows ---- */

/* The tasks in any order, here the last first. */
static void backwards(const struct tenon_host *host, uint32_t n, void (*task)(void *context, uint32_t i), void *context)
{
    (void)host;
    while (n > 0)
        task(context, --n);
}

struct stored {
    const int32_t *keys;
    int64_t cols;
};

static void stored_keys(const void *context, int64_t row, int64_t c0, int64_t c1, int32_t *keys)
{
    const struct stored *s = context;
    memcpy(keys, s->keys + row * s->cols + c0, (size_t)(c1 - c0) * sizeof *keys);
}

static struct select_cut in_row(const int32_t *keys, int64_t rows, int64_t n, int64_t k, uint32_t tasks)
{
    static const struct tenon_host host = {.parallel = backwards};
    const struct stored stored = {keys, n / rows};
    struct select_row s = {.host = &host, .tasks = tasks, .rows = rows, .cols = n / rows, .k = k, .keys = stored_keys,
                           .context = &stored};
    s.memory = aligned_alloc(64, select_row_bytes(n, tasks)); /* exactly what is needed: for the sanitizers */
    const struct select_cut cut = s.memory ? select_row(&s) : (struct select_cut){0, 0};
    free(s.memory);
    return cut;
}

/* Long rows, as they are and ascending, which puts all that is near the cut side by side. */
static void test_many(void)
{
    int32_t *keys = malloc(MANY * sizeof *keys);
    uint64_t *sorted = malloc(MANY * sizeof *sorted);
    for (int kind = 0; keys && sorted && kind < 12; kind++) {
        int wrong = 0;
        const int64_t n = MANY - kind, ks[] = {1, 1000, n / 3, n / 2, n - 3000, n - 1};
        for (int64_t i = 0; i < n; i++) {
            const float rising = kind == 6 ? (float)i : -(float)i;
            keys[i] = order_key(kind == 6 || kind == 7 ? rising : value_of(kind < 6 ? kind : kind % 2));
            if (kind > 7 && i % 3 != kind % 3) /* two thirds are one number, above or below the others */
                keys[i] = order_key(kind > 9 ? 3.0f : -3.0f);
            sorted[i] = order_pair(keys[i], (uint32_t)i);
        }
        qsort(sorted, (size_t)n, sizeof *sorted, by_pair);
        for (size_t j = 0; j < sizeof ks / sizeof ks[0]; j++)
            wrong += !takes(keys, sorted, n, ks[j], in_row(keys, 1, n, ks[j], j % 2 ? 1 : TASKS));
        wrong += !takes(keys, sorted, n, n / 2, in_row(keys, 1, n, n / 2, TASKS));
        is_int(wrong, 0, "long rows are cut right by one task and by several: data %d", kind);
    }
    free(sorted);
    free(keys);
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
    static const int64_t sizes[] = {1, 2, 3, 23, 24, 25, 26, 255, 700, 1023, 1401, 8191, 8192, MOST};
    int32_t *keys = malloc(MOST * sizeof *keys), *room = malloc((MOST + VF) * sizeof *room);
    uint64_t *sorted = malloc(MOST * sizeof *sorted);
    test_order();
    test_many();
    for (int kind = 0; keys && room && sorted && kind < 6; kind++) {
        int array = 0, tiles = 0, near = 0, row = 0;
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
                for (int guess = 0; guess < 9 && k > 0 && k < n; guess++)
                    near += !by_bracket(keys, sorted, room, n, k);
                row += !takes(keys, sorted, n, k, in_row(keys, 1, n, k, 1));
                row += !takes(keys, sorted, n, k, in_row(keys, 1, n, k, TASKS));
                if (n == MOST) /* of rows shorter than a sample's blocks, and of longer ones */
                    for (int64_t cols = 5; cols <= 4500; cols *= cols == 10 ? 45 : cols == 450 ? 10 : 2)
                        row += !takes(keys, sorted, n, k, in_row(keys, n / cols, n, k, TASKS));
            }
        }
        is_int(array, 0, "select_keys takes the k best, equal ones by index: data %d", kind);
        is_int(tiles, 0, "so does the radix over tiles: data %d", kind);
        is_int(near, 0, "so do brackets, wherever they are: data %d", kind);
        is_int(row, 0, "so do rows, in one task or several: data %d", kind);
    }
    free(sorted);
    free(room);
    free(keys);
    return tap_done();
}
