/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Which are the k best of very many entries: a sample says between which keys the cut almost surely lies (Floyd and
 * Rivest 1975). One sweep counts those above and gathers those in between, which are few, and the cut is chosen from
 * these. When it is not among them, nothing is lost but time: a radix finds it (lib/select.h). What the cut is depends
 * neither on the sample nor on how the work was shared out. */
#ifndef TENON_LIB_SELECT_ROW_H
#define TENON_LIB_SELECT_ROW_H

#include <tenon/backend.h>

#include "block.h"
#include "select.h"

#define SELECT_ROW_COLS (2 * TILE) /* of fewer keys, a sample is no less work */
#define SELECT_SAMPLE 4096 /* at most; keys that one thread cuts in no time */
#define SELECT_SERIAL 32768 /* more than so many gathered keys are worth waking threads for */
#define SELECT_STEP 1024 /* keys that are looked at while they are in L1 */

/* ---- the bracket ---- */

/* The ends of the bracket are counted and not gathered: of ties there may be any number, between them there are few. */
struct select_near {
    int32_t low, high;
    int64_t above, at_high, at_low; /* counted */
    int64_t n;                      /* gathered */
};

/* sample: m of the n keys, which are overwritten; copy: room for m. 1 <= k < n. */
static inline struct select_near select_bracket(int32_t *sample, int32_t *copy, int64_t m, int64_t n, int64_t k)
{
    const double part = (double)k / (double)n, at = part * (double)m;
    const double off = 3.0 * __builtin_sqrt(at * (1.0 - part)) + 2.0;
    const int64_t first = at > off ? (int64_t)(at - off) : 0, last = (int64_t)(at + off) + 1;
    struct select_near near = {.low = ORDER_NAN, .high = ORDER_ABOVE};
    if (first > 0) {
        memcpy(copy, sample, (size_t)m * sizeof *copy);
        near.high = select_keys(copy, m, first).key;
    }
    if (last < m)
        near.low = select_keys(sample, m, last).key;
    return near;
}

/* Counts and gathers n keys; `to` has room for n + VF more and may be `keys` while nothing is gathered. */
static void select_gather_near(struct select_near *s, const int32_t *keys, int64_t n, int32_t *to)
{
    const vi low = vi_set1(s->low), high = vi_set1(s->high);
    vi above = vi_zero(), from_high = vi_zero(), from_low = vi_zero();
    int32_t lane[3][VF];
    int64_t m = s->n, i = 0;
    for (; i + VF <= n; i += VF) {
        const vi key = vi_load(keys + i);
        const vm below_high = vi_gt(high, key), below_low = vi_gt(low, key);
        above = vi_more(above, vi_gt(key, high));
        from_high = vi_more(from_high, below_high);
        from_low = vi_more(from_low, below_low);
        const vm between = vm_and(below_high, vi_gt(key, low));
        vi_compress(to + m, key, between);
        m += vm_count(between);
    }
    vi_store(lane[0], above);
    vi_store(lane[1], from_high);
    vi_store(lane[2], from_low);
    int64_t count[3] = {0};
    for (int l = 0; l < VF; l++)
        for (int j = 0; j < 3; j++)
            count[j] += lane[j][l];
    for (int64_t j = i; j < n; j++) {
        const int32_t key = keys[j];
        count[0] += key > s->high;
        count[1] += key < s->high;
        count[2] += key < s->low;
        if (key > s->low && key < s->high)
            to[m++] = key;
    }
    s->above += count[0];
    s->at_high += n - count[0] - count[1];
    s->at_low += count[1] - count[2] - (m - s->n);
    s->n = m;
}

/* The cut of the k best of all; keys: those gathered. 0: it lies outside of the bracket. */
static inline int select_from_near(const struct select_near *s, int32_t *keys, int64_t k, struct select_cut *cut)
{
    k -= s->above;
    if (k < 1 || k > s->at_high + s->n + s->at_low)
        return 0;
    if (k <= s->at_high) {
        *cut = (struct select_cut){s->high, k == s->at_high ? INT64_MAX : k};
        return 1;
    }
    k -= s->at_high;
    if (k < s->n) {
        *cut = select_keys(keys, s->n, k);
        return 1;
    }
    k -= s->n; /* those between are all taken; what is equal to `low`, as far as it goes */
    *cut = (struct select_cut){s->low, k == s->at_low ? INT64_MAX : k};
    return 1;
}

/* ---- rows of keys, which are computed when they are asked for ---- */

/* All the keys of `rows` rows of cols columns. */
struct select_row {
    const struct tenon_host *host; /* not needed by one task */
    uint32_t tasks;
    unsigned char *memory;         /* select_row_bytes of it, 64-byte aligned */
    int64_t rows, cols, k;         /* 0 <= k <= rows*cols */
    /* Those of the columns [c0, c1) of a row. */
    void (*keys)(const void *context, int64_t row, int64_t c0, int64_t c1, int32_t *keys);
    const void *context;
    /* own */
    int64_t tiles, units, room;    /* room: of a task, in keys */
    struct select_near near;       /* the bracket */
    struct select radix;
    int again;                     /* the keys are those that were gathered */
};

/* A task's findings, and its room behind them all. */
struct select_task {
    struct select_near near;
    int64_t lost; /* the room was too small */
};
#define SELECT_HEAD 64

static inline int64_t select_row_room(int64_t n, uint32_t tasks)
{
    return (n / (4 * (int64_t)tasks) + 2 * TILE + 15) & ~INT64_C(15);
}

/* n = rows*cols. */
static inline uint64_t select_row_bytes(int64_t n, uint32_t tasks)
{
    _Static_assert(sizeof(struct select_task) <= SELECT_HEAD, "the head's room");
    return (uint64_t)tasks * (SELECT_HEAD + (uint64_t)select_row_room(n, tasks) * sizeof(int32_t));
}

static inline struct select_task *select_task_of(const struct select_row *s, uint32_t i)
{
    return (struct select_task *)(void *)(s->memory + (uint64_t)i * SELECT_HEAD);
}

static inline int32_t *select_room_of(const struct select_row *s, uint32_t i)
{
    return (int32_t *)(void *)(s->memory + (uint64_t)s->tasks * SELECT_HEAD) + (int64_t)i * s->room;
}

static inline int64_t select_unit(const struct select_row *s, int64_t unit, int64_t *c0)
{
    *c0 = unit % s->tiles * TILE;
    return s->cols - *c0 < TILE ? s->cols : *c0 + TILE;
}

static void select_spread(struct select_row *s, void (*task)(void *context, uint32_t i))
{
    if (s->tasks == 1)
        task(s, 0);
    else
        s->host->parallel(s->host, s->tasks, task, s);
}

/* Each task has every tasks-th tile: where a row ascends, what is near the cut lies side by side. */
static void select_near_task(void *context, uint32_t i)
{
    const struct select_row *s = context;
    struct select_task *t = select_task_of(s, i);
    int32_t *room = select_room_of(s, i), keys[SELECT_STEP] __attribute__((aligned(64)));
    struct select_near near = s->near;
    if (s->again) {
        near.n = 0;
        select_gather_near(&near, room, t->near.n, room);
        t->near = near;
        return;
    }
    t->lost = 0;
    for (int64_t unit = i; unit < s->units; unit += s->tasks) {
        int64_t c0;
        const int64_t c1 = select_unit(s, unit, &c0);
        if (near.n + TILE + VF > s->room) {
            t->lost = 1;
            break;
        }
        for (int64_t c = c0; c < c1; c += SELECT_STEP) {
            const int64_t end = c1 - c < SELECT_STEP ? c1 : c + SELECT_STEP;
            s->keys(s->context, unit / s->tiles, c, end, keys);
            select_gather_near(&near, keys, end - c, room);
        }
    }
    t->near = near;
}

/* Of what all tasks gathered. 0: a room was too small. */
static inline int select_near_sum(const struct select_row *s, struct select_near *all)
{
    int fine = 1;
    *all = s->near;
    for (uint32_t i = 0; i < s->tasks; i++) {
        const struct select_task *t = select_task_of(s, i);
        all->above += t->near.above;
        all->at_high += t->near.at_high;
        all->at_low += t->near.at_low;
        all->n += t->near.n;
        fine &= !t->lost;
    }
    return fine;
}

/* m of them in blocks, from all over. */
static inline void select_sample(const struct select_row *s, int32_t *sample, int64_t m)
{
    const int64_t n = s->rows * s->cols, blocks = m / BLOCK;
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t at = (int64_t)((double)(n - BLOCK) * (double)i / (double)(blocks - 1)), row = at / s->cols;
        const int64_t c = at % s->cols < s->cols - BLOCK ? at % s->cols : s->cols - BLOCK;
        s->keys(s->context, row, c, c + BLOCK, sample + i * BLOCK);
    }
}

/* m of the n that the tasks have gathered. */
static inline void select_sample_again(const struct select_row *s, int32_t *sample, int64_t m, int64_t n)
{
    int64_t before = 0, taken = 0;
    for (uint32_t i = 0; i < s->tasks; i++) {
        const struct select_task *t = select_task_of(s, i);
        const int32_t *keys = select_room_of(s, i);
        for (; taken < m && taken * n / m < before + t->near.n; taken++)
            sample[taken] = keys[taken * n / m - before];
        before += t->near.n;
    }
}

/* What the tasks gathered moves to the front of the first room, which they lie behind. */
static inline int32_t *select_collect(const struct select_row *s)
{
    int32_t *all = select_room_of(s, 0);
    int64_t n = select_task_of(s, 0)->near.n;
    for (uint32_t i = 1; i < s->tasks; i++) {
        const int64_t more = select_task_of(s, i)->near.n;
        memmove(all + n, select_room_of(s, i), (size_t)more * sizeof *all);
        n += more;
    }
    return all;
}

/* 0: the bracket was wrong, or what lies in it too much. */
static inline int select_by_near(struct select_row *s, struct select_cut *cut)
{
    const int64_t n = s->rows * s->cols;
    int64_t m = n >= 256 * SELECT_SAMPLE ? SELECT_SAMPLE : n >= 256 * 512 ? n / 256 : 512;
    int32_t sample[SELECT_SAMPLE], copy[SELECT_SAMPLE];
    struct select_near all;
    m -= m % BLOCK;
    s->again = 0;
    select_sample(s, sample, m);
    s->near = select_bracket(sample, copy, m, n, s->k);
    select_spread(s, select_near_task);
    if (!select_near_sum(s, &all))
        return 0;
    /* Too many for one thread are narrowed down once more. */
    int64_t k = s->k - all.above - all.at_high;
    if (s->tasks > 1 && all.n > SELECT_SERIAL && k >= 1 && k < all.n) {
        select_sample_again(s, sample, SELECT_SAMPLE, all.n);
        s->near = select_bracket(sample, copy, SELECT_SAMPLE, all.n, k);
        s->again = 1;
        select_spread(s, select_near_task);
        select_near_sum(s, &all);
        return select_from_near(&all, select_collect(s), k, cut);
    }
    return select_from_near(&all, select_collect(s), s->k, cut);
}

static void select_radix_task(void *context, uint32_t i)
{
    const struct select_row *s = context;
    uint32_t *bins = (uint32_t *)select_room_of(s, i);
    int32_t keys[SELECT_STEP] __attribute__((aligned(64)));
    memset(bins, 0, SELECT_BINS * sizeof *bins);
    for (int64_t unit = i; unit < s->units; unit += s->tasks) {
        int64_t c0;
        const int64_t c1 = select_unit(s, unit, &c0);
        for (int64_t c = c0; c < c1; c += SELECT_STEP) {
            const int64_t end = c1 - c < SELECT_STEP ? c1 : c + SELECT_STEP;
            s->keys(s->context, unit / s->tiles, c, end, keys);
            select_count(&s->radix, keys, end - c, bins);
        }
    }
}

static inline struct select_cut select_by_radix(struct select_row *s)
{
    s->radix = select_begin(s->k);
    while (s->radix.round < SELECT_ROUNDS) {
        uint64_t bins[SELECT_BINS] = {0};
        select_spread(s, select_radix_task);
        for (uint32_t i = 0; i < s->tasks; i++)
            for (int b = 0; b < SELECT_BINS; b++)
                bins[b] += ((const uint32_t *)select_room_of(s, i))[b];
        select_narrow(&s->radix, bins);
    }
    return select_end(&s->radix);
}

/* The cut of the k best. */
static inline struct select_cut select_row(struct select_row *s)
{
    const int64_t n = s->rows * s->cols;
    struct select_cut cut;
    if (select_trivial(n, s->k, &cut))
        return cut;
    s->tiles = (s->cols + TILE - 1) / TILE;
    s->units = s->rows * s->tiles;
    s->room = select_row_room(n, s->tasks);
    if (n < SELECT_ROW_COLS) {
        int32_t *keys = select_room_of(s, 0);
        for (int64_t row = 0; row < s->rows; row++)
            s->keys(s->context, row, 0, s->cols, keys + row * s->cols);
        return select_keys(keys, n, s->k);
    }
    if (s->cols >= BLOCK && select_by_near(s, &cut))
        return cut;
    return select_by_radix(s);
}

#endif
