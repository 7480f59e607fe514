/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Where the data decide the threshold: the cut of TOPK and BATCH_TOPK, theta of STAT_TOPK. */
#ifndef TENON_SPARSIFY_CPU_CUT_H
#define TENON_SPARSIFY_CPU_CUT_H

#include "sparsify_cpu.h"

#define TASKS_PER_THREAD 4
#define KEYS_COLS 65536 /* keys of rows up to this length are kept; longer rows are read once a round of the radix */
#define SPLIT_COLS (1 << 18) /* a row this long is shared out by tiles even if there are many */
#define SMALL_WORK (1 << 15) /* elements not worth waking threads for */

/* A tile of a row where tiles are shared out (a whole row when it is no longer than one). */
struct unit {
    struct spread spread;
    int64_t above, ties; /* counted */
    int64_t n, equal;    /* what its sweep begins with */
    uint8_t special;
};

struct run {
    const struct sparsify *s;
    const struct tenon_host *host;
    void *const *ptr;
    unsigned char *workspace;
    uint32_t threads;
};

/* Rows whose units are worked on together: one row, or all of BATCH_TOPK. */
struct group {
    const struct run *run;
    int64_t first, units;
    struct unit *unit;
    struct row row; /* what all of them share */
    struct select select;
    int tasks;
    void (*work)(struct group *g, int64_t unit, uint32_t task);
};

static void group_task(void *context, uint32_t i)
{
    struct group *g = context;
    const int64_t from = g->units * i / g->tasks, to = g->units * (i + INT64_C(1)) / g->tasks;
    for (int64_t u = from; u < to; u++)
        g->work(g, u, i);
    if (g->row.stream)
        simd_fence();
}

/* Does `work` for every unit, in any order. */
static void group_spread(struct group *g, void (*work)(struct group *g, int64_t unit, uint32_t task))
{
    const int64_t most = g->run->s->tasks;
    g->work = work;
    g->tasks = (int)(g->units < most ? g->units : most);
    if (g->tasks <= 1)
        group_task(g, 0);
    else
        g->run->host->parallel(g->run->host, (uint32_t)g->tasks, group_task, g);
}

/* Binds a row; the threshold and the cursor stay as they are. */
static void bind_row(const struct run *run, struct row *r, int64_t row)
{
    const struct sparsify *s = run->s;
    void *const *ptr = run->ptr;
    r->x = (const char *)ptr[TENON_SPARSIFY_X] + row * s->x_stride;
    r->y = ptr[TENON_SPARSIFY_Y] ? (char *)ptr[TENON_SPARSIFY_Y] + row * s->y_stride : NULL;
    r->cidx = NULL;
    r->cval = NULL;
    if (ptr[TENON_SPARSIFY_CIDX])
        r->cidx = (int32_t *)(void *)((char *)ptr[TENON_SPARSIFY_CIDX] + row * s->cidx_stride);
    if (ptr[TENON_SPARSIFY_CVAL])
        r->cval = (unsigned char *)ptr[TENON_SPARSIFY_CVAL] + row * s->cval_stride;
    if (ptr[TENON_SPARSIFY_T_ROW])
        r->t = ((const float *)ptr[TENON_SPARSIFY_T_ROW])[row];
}

static struct row row_begin(const struct run *run)
{
    const struct sparsify *s = run->s;
    return (struct row){.t_col = run->ptr[TENON_SPARSIFY_T_COL],
                        .wgt = run->ptr[TENON_SPARSIFY_WGT],
                        .kmax = s->compact ? s->kmax : 0,
                        .t = s->t,
                        .cap = s->cap,
                        .key = ORDER_NAN,
                        .by_abs = s->by_abs,
                        .stream = s->stream};
}

/* NaN is never kept, not even when there is nothing better. */
static void set_cut(struct row *r, struct select_cut cut)
{
    r->key = cut.key;
    r->equal = cut.key == ORDER_NAN ? 0 : cut.equal;
    if (r->equal == INT64_MAX) { /* all that are equal: then there are no ties to be counted */
        r->key--;
        r->equal = 0;
    }
}

static void unit_columns(const struct sparsify *s, int64_t u, int64_t *c0, int64_t *c1)
{
    *c0 = u % s->tiles * TILE;
    *c1 = s->cols - *c0 < TILE ? s->cols : *c0 + TILE;
}

/* A unit's row, by the group's threshold. */
static struct row unit_row(const struct group *g, int64_t u)
{
    struct row r = g->row;
    bind_row(g->run, &r, g->first + u / g->run->s->tiles);
    return r;
}

/* ---- the cut ---- */

static uint32_t *task_bins(const struct group *g, uint32_t task)
{
    return (uint32_t *)(void *)(g->run->workspace + g->run->s->units + task * g->run->s->scratch);
}

static void count_bins(struct group *g, int64_t u, uint32_t task)
{
    const struct sparsify *s = g->run->s;
    const struct row r = unit_row(g, u);
    int32_t keys[TILE] __attribute__((aligned(64)));
    int64_t c0, c1;
    unit_columns(s, u, &c0, &c1);
    s->keys(&r, c0, c1, keys);
    select_count(&g->select, keys, c1 - c0, task_bins(g, task));
}

/* The k best of the group's entries. */
static void cut_group(struct group *g, int64_t k)
{
    const struct sparsify *s = g->run->s;
    struct select_cut cut;
    if (!select_trivial(g->units / s->tiles * s->cols, k, &cut)) {
        g->select = select_begin(k);
        while (g->select.round < SELECT_ROUNDS) {
            uint64_t bins[SELECT_BINS] = {0};
            for (uint32_t i = 0; i < s->tasks; i++)
                memset(task_bins(g, i), 0, SELECT_BINS * sizeof(uint32_t));
            group_spread(g, count_bins);
            for (int i = 0; i < g->tasks; i++)
                for (int b = 0; b < SELECT_BINS; b++)
                    bins[b] += task_bins(g, (uint32_t)i)[b];
            select_narrow(&g->select, bins);
        }
        cut = select_end(&g->select);
    }
    set_cut(&g->row, cut);
}

/* The cut of a row from the keys near it, which a sample in vectors of 16 columns brackets. 0: it was not found. */
static int cut_near(const struct sparsify *s, const struct row *r, int32_t *room, struct select_cut *cut)
{
    int32_t sample[SELECT_SAMPLE] __attribute__((aligned(64)));
    for (int64_t i = 0; i < SELECT_SAMPLE; i += BLOCK) {
        const int64_t c = (s->cols - BLOCK) * i / (SELECT_SAMPLE - BLOCK);
        s->keys(r, c, c + BLOCK, sample + i);
    }
    struct select_near near = select_bracket(sample, s->cols, s->k);
    s->near(r, 0, s->cols, &near, room);
    return select_from_near(&near, room, s->k, cut);
}

/* The same of a row by one thread, which may keep its keys. */
static void cut_row(const struct run *run, struct row *r, int32_t *room)
{
    const struct sparsify *s = run->s;
    struct select_cut cut;
    if (select_trivial(s->cols, s->k, &cut)) {
        set_cut(r, cut);
        return;
    }
    if (s->cols <= KEYS_COLS) {
        if (s->cols < SELECT_NEAR_COLS || !cut_near(s, r, room, &cut)) {
            s->keys(r, 0, s->cols, room);
            cut = select_keys(room, s->cols, s->k);
        }
        set_cut(r, cut);
        return;
    }
    struct select select = select_begin(s->k);
    int32_t keys[TILE] __attribute__((aligned(64)));
    while (select.round < SELECT_ROUNDS) {
        uint64_t bins[SELECT_BINS];
        memset(room, 0, SELECT_BINS * sizeof(uint32_t));
        for (int64_t c0 = 0; c0 < s->cols; c0 += TILE) {
            const int64_t c1 = s->cols - c0 < TILE ? s->cols : c0 + TILE;
            s->keys(r, c0, c1, keys);
            select_count(&select, keys, c1 - c0, (uint32_t *)room);
        }
        for (int b = 0; b < SELECT_BINS; b++)
            bins[b] = ((const uint32_t *)room)[b];
        select_narrow(&select, bins);
    }
    set_cut(r, select_end(&select));
}

/* ---- theta ---- */

/* NaN where an entry is not finite: that keeps nothing. */
static void set_theta(const struct sparsify *s, struct row *r, struct spread *spread)
{
    const double ddof = (double)s->ddof;
    if (spread_cancels(spread, ddof, s->quantile)) { /* too rare to be shared out */
        struct spread_exact exact = {{0}};
        for (int64_t c0 = 0; c0 < s->cols; c0 += TILE)
            s->exact(r, c0, s->cols - c0 < TILE ? s->cols : c0 + TILE, &exact);
        spread->sum = spread_exact_sum(&exact);
        spread->low = 0.0;
    }
    r->t = (float)spread_theta(spread, ddof, s->quantile);
}

static void spread_unit(struct group *g, int64_t u, uint32_t task)
{
    const struct row r = unit_row(g, u);
    int64_t c0, c1;
    (void)task;
    unit_columns(g->run->s, u, &c0, &c1);
    g->unit[u].spread = g->run->s->spread(&r, c0, c1);
}

static void theta_group(struct group *g)
{
    struct spread spread = {0};
    struct row r = unit_row(g, 0);
    group_spread(g, spread_unit);
    for (int64_t u = 0; u < g->units; u++)
        spread_merge(&spread, &g->unit[u].spread);
    set_theta(g->run->s, &r, &spread);
    g->row.t = r.t;
}

static void theta_row(const struct run *run, struct row *r)
{
    const struct sparsify *s = run->s;
    struct spread spread = {0};
    for (int64_t c0 = 0; c0 < s->cols; c0 += TILE) {
        const struct spread part = s->spread(r, c0, s->cols - c0 < TILE ? s->cols : c0 + TILE);
        spread_merge(&spread, &part);
    }
    set_theta(s, r, &spread);
}

#endif
