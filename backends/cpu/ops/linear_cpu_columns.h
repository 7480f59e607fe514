/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear with few rows of x and trans_w: w [K, N] is read in place, once, in strips of columns. */
#ifndef TENON_LINEAR_CPU_COLUMNS_H
#define TENON_LINEAR_CPU_COLUMNS_H

#include "lib/columns.h"
#include "ops/linear_cpu_dot.h"

/* Columns of a strip: few enough that the sums stay in L1 and that all workers end together, but whole lines of any
 * type. */
static int64_t linear_strip(const struct linear_state *s)
{
    const int64_t most = COLUMNS_SUMS / s->m / 64 * 64, share = s->n / (4 * (int64_t)s->workers) / 64 * 64;
    return share < 64 ? 64 : share < most ? share : most;
}

static void linear_columns_piece(void *context, uint32_t piece)
{
    const struct linear_run *run = context;
    const struct linear_state *s = run->state;
    const struct pack_source w = linear_weights(run);
    const int copied = !linear_dot_in_place(run->plan, s);
    const float *x = copied ? (const float *)(const void *)run->workspace : run->ptr[TENON_LINEAR_X];
    float lanes[PRODUCT_LANES * COLUMNS_SUMS] __attribute__((aligned(64)));
    float sum[COLUMNS_SUMS] __attribute__((aligned(64))), scale[COLUMNS_SUMS] __attribute__((aligned(64)));
    const int64_t width = linear_strip(s), first = piece * width;
    struct columns_block b = {.w = &w, .first = first, .width = width, .lanes = lanes, .scale = scale};
    b.columns = s->n - first < width ? s->n - first : width;
    b.x_stride = copied ? s->depth : s->m > 1 ? s->x_row : 0;
    for (b.k0 = 0; b.k0 < s->k; b.k0 += PRODUCT_BLOCK) {
        b.kc = s->k - b.k0 < PRODUCT_BLOCK ? s->k - b.k0 : PRODUCT_BLOCK;
        b.x = x + b.k0;
        columns_block(run->plan->tensor[TENON_LINEAR_W].dtype, (int)s->m, &b);
        columns_fold(&b, (int)s->m, sum, b.k0 > 0);
    }
    for (int64_t m = 0; m < s->m; m++)
        linear_emit(run, m, first, b.columns, sum + m * width);
}

static void linear_columns_run(struct linear_run *run)
{
    const struct linear_state *s = run->state;
    const int64_t width = linear_strip(s);
    if (!linear_dot_in_place(run->plan, s))
        linear_dot_x(run, (float *)(void *)run->workspace);
    linear_pieces(run, (uint32_t)((s->n + width - 1) / width), linear_columns_piece);
}

#endif
