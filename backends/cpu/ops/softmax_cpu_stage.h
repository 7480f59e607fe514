/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU, rows overlapped: plain rows of which the exponentials fit L2. */
#ifndef TENON_SOFTMAX_CPU_STAGE_H
#define TENON_SOFTMAX_CPU_STAGE_H

#include "softmax_cpu_family.h"

/* The exponentials of one row on their way to y. */
struct slot {
    float *e, *tops;
    unsigned char *y; /* NULL: nothing to do */
    float inverse, top;
};

static float slot_factor(const struct slot *slot, int64_t tile)
{
    const float top = slot->tops[tile];
    if (top == slot->top)
        return slot->inverse;
    return top > MINUS_INF ? (float)((double)slot->inverse * exp((double)top - (double)slot->top)) : 0.0f;
}

/* One tile of `row` through the stage, with the tile of the row before it. m: its maximum, then that of the next. */
static void stage_tile(const struct run *run, const struct row *r, int64_t c0, const void *next, int64_t next_cols,
                       const struct slot *now, const struct slot *last, float *m, struct part *p)
{
    const struct softmax *s = run->s;
    const int64_t tile = c0 / TILE, cols = s->cols - c0 < TILE ? s->cols - c0 : TILE;
    const int64_t y_size = (int64_t)TENON_DTYPE_SIZE(s->y_dtype);
    struct stage g = {.x = (const char *)r->in.x + c0 * s->x_size, .reference = *m, .e = now->e + c0, .next = next};
    if (last->y) {
        g.last = last->e + c0;
        g.factor = slot_factor(last, tile);
        g.y = last->y + c0 * y_size;
        g.stream = s->stream && (uintptr_t)last->y % (sizeof(float) * VF) == 0;
    }
    now->tops[tile] = p->m = *m;
    p->a = p->q = 0.0;
    p->n = 0;
    p->m2 = MINUS_INF;
    p->arg = -1;
    s->stage(&g, cols, next_cols);
    p->s = g.s;
    *m = g.m;
    if (p->m > MINUS_INF)
        return;
    /* Nothing above -Inf here: the differences were NaN, or the row has one. */
    struct part scan;
    s->scan(s, r, c0, c0 + cols, &scan);
    p->s = scan.nan >= 0 ? (double)NAN : 0.0;
    memset(now->e + c0, 0, (size_t)cols * sizeof *now->e);
}

/* Rows [from, to), overlapped: while the exponentials of a row are computed, y of the row before it is written and
 * the maximum of the tile after it is found. Each row has the bits that run_row would give it. */
static void run_stages(const struct run *run, int64_t from, int64_t to, unsigned char *kept, float *tops)
{
    const struct softmax *s = run->s;
    const int64_t second = s->slot ? (int64_t)s->slot : (int64_t)(STACK_COLS * sizeof(float));
    struct slot slots[2];
    for (int k = 0; k < 2; k++) {
        unsigned char *own = kept + k * second;
        slots[k] =
            (struct slot){.e = (float *)(void *)own, .tops = s->slot ? (float *)(void *)(own + s->tops) : tops + k};
    }
    struct row r = {.in.x = (const char *)run->ptr[TENON_SOFTMAX_X] + from * s->x_stride, .cols = s->cols, .T = 1.0};
    struct part first;
    s->max(s, &r, 0, s->cols < TILE ? s->cols : TILE, &first);
    float m = first.m;
    for (int64_t row = from; row < to; row++) {
        struct slot *now = &slots[(row - from) % 2], *last = &slots[(row - from + 1) % 2];
        struct part p, tile;
        part_init(&p);
        r.in.x = (const char *)run->ptr[TENON_SOFTMAX_X] + row * s->x_stride;
        for (int64_t c0 = 0; c0 < s->cols; c0 += TILE) {
            const int64_t c1 = c0 + TILE < s->cols ? c0 + TILE : 0;
            const void *next = c1 || row + 1 < to ? (const char *)r.in.x + (c1 ? c1 * s->x_size : s->x_stride) : NULL;
            stage_tile(run, &r, c0, next, s->cols - c1 < TILE ? s->cols - c1 : TILE, now, last, &m, &tile);
            merge_online(&r, &p, &tile);
        }
        now->y = NULL;
        if (p.m > MINUS_INF && finish(run, &r, row, &p, NULL)) {
            now->y = (unsigned char *)run->ptr[TENON_SOFTMAX_Y] + row * s->y_stride;
            now->inverse = r.inverse;
            now->top = p.m;
        } else {
            run_row(run, row, (unsigned char *)now->e);
        }
    }
    const struct slot *last = &slots[(to - from + 1) % 2];
    for (int64_t c0 = 0; last->y && c0 < s->cols; c0 += TILE) {
        r.e = last->e;
        r.y = last->y;
        r.inverse = slot_factor(last, c0 / TILE);
        s->reload(s, &r, c0, s->cols - c0 < TILE ? s->cols : c0 + TILE, NULL);
    }
}

#endif
