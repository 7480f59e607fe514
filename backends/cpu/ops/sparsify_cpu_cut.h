/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Where the data decide the threshold: the cut of TOPK and BATCH_TOPK, theta of STAT_TOPK. */
#ifndef TENON_SPARSIFY_CPU_CUT_H
#define TENON_SPARSIFY_CPU_CUT_H

#include "sparsify_cpu.h"

#define TASKS_PER_THREAD 4
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
                        .t = s->rule.t,
                        .cap = s->rule.cap,
                        .key = ORDER_NAN,
                        .by_abs = s->rule.by_abs,
                        .stream = s->stream};
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

struct selected {
    const struct run *run;
    const struct row *row;
    int64_t first;
};

static void selected_keys(const void *context, int64_t row, int64_t c0, int64_t c1, int32_t *keys)
{
    const struct selected *of = context;
    struct row r = *of->row;
    bind_row(of->run, &r, of->first + row);
    of->run->s->sweeps->keys(&r, c0, c1, keys);
}

/* Of the k best of each of these rows on the average. */
static struct select_cut cut_rows(const struct run *run, const struct row *r, int64_t first, int64_t rows,
                                  uint32_t tasks, unsigned char *memory)
{
    const struct sparsify *s = run->s;
    const struct selected of = {run, r, first};
    struct select_row select = {.host = run->host,
                                .tasks = tasks,
                                .memory = memory,
                                .rows = rows,
                                .cols = s->cols,
                                .k = s->rule.k * rows,
                                .keys = selected_keys,
                                .context = &of};
    return select_row(&select);
}

/* ---- theta ---- */

static void spread_unit(struct group *g, int64_t u, uint32_t task)
{
    const struct row r = unit_row(g, u);
    int64_t c0, c1;
    (void)task;
    unit_columns(g->run->s, u, &c0, &c1);
    g->unit[u].spread = g->run->s->sweeps->spread(&r, c0, c1);
}

static void theta_group(struct group *g)
{
    struct spread spread = {0};
    struct row r = unit_row(g, 0);
    group_spread(g, spread_unit);
    for (int64_t u = 0; u < g->units; u++)
        spread_merge(&spread, &g->unit[u].spread);
    set_theta(&g->run->s->rule, g->run->s->sweeps, &r, g->run->s->cols, &spread);
    g->row.t = r.t;
}

#endif
