/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * matmul with few rows of x and trans_w: w [K, N] is read in place, once, in strips of columns. A part of matmul.h. */
#ifndef TENON_MATMUL_COLUMNS_H
#define TENON_MATMUL_COLUMNS_H

#include "lib/columns.h"

/* Columns of a strip: few enough that the sums stay in L1 and that all workers end together, but whole lines of any
 * type. */
static int64_t matmul_strip(const struct matmul *s)
{
    const int64_t most = COLUMNS_SUMS / s->m / 64 * 64, share = s->n / (4 * (int64_t)s->workers) / 64 * 64;
    return share < 64 ? 64 : share < most ? share : most;
}

static void matmul_columns_piece(void *context, uint32_t piece)
{
    const struct matmul_run *run = context;
    const struct matmul *s = run->plan;
    const struct pack_source w = matmul_weights(run);
    const int copied = !matmul_dot_in_place(s);
    const float *x = copied ? (const float *)(const void *)run->workspace : run->x;
    float lanes[PRODUCT_LANES * COLUMNS_SUMS] __attribute__((aligned(64)));
    float sum[COLUMNS_SUMS] __attribute__((aligned(64))), scale[COLUMNS_SUMS] __attribute__((aligned(64)));
    const int64_t width = matmul_strip(s), first = piece * width;
    struct columns_block b = {.w = &w, .first = first, .width = width, .lanes = lanes, .scale = scale};
    b.columns = s->n - first < width ? s->n - first : width;
    b.x_stride = copied ? s->depth : s->m > 1 ? s->x_row : 0;
    for (b.k0 = 0; b.k0 < s->k; b.k0 += PRODUCT_BLOCK) {
        b.kc = s->k - b.k0 < PRODUCT_BLOCK ? s->k - b.k0 : PRODUCT_BLOCK;
        b.x = x + b.k0;
        columns_block(s->w_type, (int)s->m, &b);
        columns_fold(&b, (int)s->m, sum, b.k0 > 0);
    }
    for (int64_t m = 0; m < s->m; m++)
        matmul_emit(run, m, first, b.columns, sum + m * width);
}

static void matmul_columns_run(struct matmul_run *run)
{
    const struct matmul *s = run->plan;
    const int64_t width = matmul_strip(s);
    if (!matmul_dot_in_place(s))
        matmul_dot_x(run, (float *)(void *)run->workspace);
    matmul_pieces(run, (uint32_t)((s->n + width - 1) / width), matmul_columns_piece);
}

#endif
