/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The work of moe_ffn, found from offsets at run time: the list of rows, in the order of their experts, and records of
 * rows of one expert, as many as the arena takes at a time. Each step over the records (pack x, up, pack h, down) is a
 * fixed list of pieces (record, rows, columns), which the workers take one after the other: so an expert with many rows
 * is many pieces, and no thread waits for another's. */
#ifndef TENON_MOE_FFN_CPU_LIST_H
#define TENON_MOE_FFN_CPU_LIST_H

#include "ops/moe_ffn_cpu.h"

/* The entry after `from`, by the rule of tenon/ops/moe_ffn.h; *changed counts what it changes. */
static int64_t ffn_clamped(const int32_t *offset, int64_t from, int64_t most, uint32_t *changed)
{
    int64_t to = *offset < most ? *offset : most;
    to = to > from ? to : from;
    *changed += to != *offset;
    return to;
}

/* Whether there is anything to compute for a row that has an expert. */
static int ffn_is_live(const struct ffn_run *run, int64_t row, int64_t limit, uint32_t *changed)
{
    const int32_t *src = run->ptr[TENON_MOE_FFN_SRC];
    if (!src || (src[row] >= 0 && src[row] < limit))
        return 1;
    *changed += src[row] != -1;
    return 0;
}

/* Fills starts and rows. Returns how many entries are inconsistent. */
static uint32_t ffn_list_rows(struct ffn_run *run)
{
    const struct tenon_moe_ffn_params *p = (const void *)run->plan->params;
    const struct ffn_state *s = run->state;
    const int32_t *offsets = run->ptr[TENON_MOE_FFN_OFFSETS], *foff = run->ptr[TENON_MOE_FFN_FOFF];
    const int64_t limit = run->plan->tensor[TENON_MOE_FFN_X].dim[0] * (int64_t)p->top_k;
    uint32_t changed = 0;
    int64_t dead = s->rows, row = 0, to = ffn_clamped(offsets, 0, s->rows, &changed);
    run->live = 0;
    for (; row < to; row++)
        run->rows[--dead] = (int32_t)row;
    for (int64_t e = 0; e < s->experts; e++) {
        to = ffn_clamped(offsets + e + 1, row, s->rows, &changed);
        run->starts[e] = (int32_t)run->live;
        for (; row < to; row++) {
            if (ffn_is_live(run, row, limit, &changed))
                run->rows[run->live++] = (int32_t)row;
            else
                run->rows[--dead] = (int32_t)row;
        }
    }
    run->starts[s->experts] = (int32_t)run->live;
    for (; row < s->rows; row++)
        run->rows[--dead] = (int32_t)row;
    for (int64_t e = 0, at = 0; foff && e <= s->experts; e++)
        at = ffn_clamped(foff + e, at, s->f, &changed);
    return changed;
}

/* Where a walk over the experts' rows is. */
struct ffn_cursor {
    int64_t expert, done; /* rows of it that records have had */
    int64_t f0, f1;       /* its hidden units */
    int64_t copied;       /* floats of x, for the records at work */
};

static void ffn_widths(const struct ffn_run *run, struct ffn_cursor *c)
{
    const int32_t *foff = run->ptr[TENON_MOE_FFN_FOFF];
    uint32_t changed = 0;
    if (!foff) {
        c->f1 = run->state->f;
        return;
    }
    c->f0 = c->expert ? c->f1 : ffn_clamped(foff, 0, run->state->f, &changed);
    c->f1 = ffn_clamped(foff + c->expert + 1, c->f0, run->state->f, &changed);
}

/* Whether m rows of x are packed, and whether they are copied (f32, weighted) before they are used. */
static int ffn_packs(int64_t m)
{
    return m > DOT_MOST;
}

static int ffn_copies(const struct ffn_state *s, int64_t m)
{
    return !ffn_packs(m) || s->weighted;
}

/* Floats of the arena for m rows of an expert with f hidden units. */
static int64_t ffn_room(const struct ffn_state *s, int64_t m, int64_t f)
{
    return m * ffn_lanes(f) + (ffn_copies(s, m) ? m * s->depth : 0) +
           (ffn_packs(m) ? product_panels(m) * (ffn_panel(s->d) + ffn_panel(f)) : 0);
}

/* As many rows of the cursor's expert as the arena has room for, from float `at` on. */
static int64_t ffn_rows_fit(const struct ffn_state *s, int64_t rows, int64_t f, int64_t at)
{
    const int64_t room = s->arena - at, panel = ffn_room(s, DOT_MOST + PRODUCT_MR, f) + DOT_MOST * s->depth;
    if (ffn_room(s, rows, f) <= room)
        return rows;
    /* the rest of the arena is only used when that takes a good many of them */
    const int64_t fit = room / panel * PRODUCT_MR;
    return at > 0 && fit < FFN_ROWS ? 0 : fit > 0 ? fit : 1;
}

static void ffn_add_record(struct ffn_run *run, struct ffn_cursor *c, int64_t m, int64_t at)
{
    const struct ffn_state *s = run->state;
    struct ffn_record *r = &run->record[run->records++];
    const int64_t f = c->f1 - c->f0, panels = product_panels(m);
    *r = (struct ffn_record){.expert = (int32_t)c->expert,
                             .m = (int32_t)m,
                             .first = run->starts[c->expert] + c->done,
                             .f0 = c->f0,
                             .f = f,
                             .packed = ffn_packs(m),
                             .x = at + m * ffn_lanes(f),
                             .h = at};
    r->x_pack = r->x + (ffn_copies(s, m) ? m * s->depth : 0);
    c->copied += r->x_pack - r->x;
    r->h_pack = r->x_pack + panels * ffn_panel(s->d);
    r->end = at + ffn_room(s, m, f);
}

/* The next records; 0: there are none. */
static int ffn_next_records(struct ffn_run *run, struct ffn_cursor *c)
{
    const struct ffn_state *s = run->state;
    int64_t at = 0;
    run->records = c->copied = 0;
    for (; c->expert < s->experts; c->expert++, c->done = 0) {
        const int64_t rows = run->starts[c->expert + 1] - run->starts[c->expert];
        if (c->done == 0)
            ffn_widths(run, c);
        if (rows == c->done)
            continue;
        const int64_t m = ffn_rows_fit(s, rows - c->done, c->f1 - c->f0, at);
        if (m == 0)
            break;
        ffn_add_record(run, c, m, at);
        at = run->record[run->records - 1].end;
        c->done += m;
        if (c->done < rows)
            break;
    }
    return run->records > 0;
}

/* Pieces of a record in a step. */
static int64_t ffn_pieces(const struct ffn_run *run, const struct ffn_record *r, int step)
{
    const int64_t columns = step == FFN_UP ? r->f : run->state->out;
    if (step == FFN_COPY)
        return ffn_copies(run->state, r->m);
    if (step == FFN_PACK_X || step == FFN_PACK_H)
        return r->packed ? product_panels(r->m) : 0;
    return (columns + FFN_COLUMNS - 1) / FFN_COLUMNS * (r->packed ? (r->m + FFN_ROWS - 1) / FFN_ROWS : 1);
}

/* Numbers the pieces of a step. */
static void ffn_number(struct ffn_run *run, int step)
{
    run->step = step;
    run->pieces = 0;
    for (int64_t i = 0; i < run->records; i++) {
        run->record[i].piece = run->pieces;
        run->pieces += ffn_pieces(run, &run->record[i], step);
    }
    atomic_init(&run->next, 0);
}

/* The next piece: its number within *at, a record that is never before the last one; -1: no more. */
static int64_t ffn_take(struct ffn_run *run, const struct ffn_record **at)
{
    const int64_t piece = (int64_t)atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
    if (piece >= run->pieces)
        return -1;
    while (*at + 1 < run->record + run->records && (*at)[1].piece <= piece)
        ++*at;
    return piece - (*at)->piece;
}

#endif
