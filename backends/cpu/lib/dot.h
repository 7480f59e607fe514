/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Few rows of x times w in place: w [N, K] is read once, in its own type, along K, at the speed of memory; nothing is
 * packed. The order of the sums is product.h's. */
#ifndef TENON_DOT_H
#define TENON_DOT_H

#include "lib/pack.h"

#define DOT_GROUP   16                   /* rows of w whose sums are folded together; a multiple of VF */
#define DOT_VECTORS (PRODUCT_LANES / VF) /* vectors that hold the lanes of one sum */

/* DOT_ROWS rows of w times up to DOT_M rows of x at a time, in registers. Of one or two rows of x twice as many rows of
 * w where there are registers: the sum of a row waits for itself. */
#if VF >= 16
#define DOT_ROWS              4
#define DOT_FEW               2
#define DOT_M                 6
#define DOT_HEIGHTS_(X, type) X(type, 1) X(type, 2) X(type, 3) X(type, 4) X(type, 5) X(type, 6)
#elif VF >= 8 || SIMD_REGS >= 32
#define DOT_ROWS              2
#define DOT_FEW               1
#define DOT_M                 3
#define DOT_HEIGHTS_(X, type) X(type, 1) X(type, 2) X(type, 3)
#else
#define DOT_ROWS              2
#define DOT_FEW               0
#define DOT_M                 1
#define DOT_HEIGHTS_(X, type) X(type, 1)
#endif
_Static_assert((DOT_M + 1) / 2 > DOT_FEW, "tiles of one product take as many rows of w");
#define DOT_ROWS_MOST (DOT_FEW ? 2 * DOT_ROWS : DOT_ROWS)
#define DOT_AHEAD     1024 /* bytes of a row of w that are asked for ahead of their use */
#define DOT_MOST      (VF >= 16 || DOT_M == 1 ? 3 * DOT_M : 2 * DOT_M) /* more rows of x are faster packed (measured) */

/* Of w in a tile of mt rows of x. More rows of x than DOT_M are tiles of more than DOT_FEW each, so that all of them
 * take the same. */
SIMD_FN int dot_rows_of(const int mt)
{
    return mt <= DOT_FEW ? DOT_ROWS_MOST : DOT_ROWS;
}

/* n of 16 steps of k at once: acc[i][r][v] += x[i][k] * w[r][k]. */
SIMD_FN void dot_step(const uint32_t dtype, const int mt, const void *w, const int64_t *row, int64_t k, int64_t n,
                      const vf *scale, const float *x, int64_t x_stride, vf (*acc)[DOT_ROWS_MOST][DOT_VECTORS])
{
    UNROLL
    for (int v = 0; v < DOT_VECTORS; v++) {
        vf weight[DOT_ROWS_MOST];
        UNROLL
        for (int r = 0; r < dot_rows_of(mt); r++) {
            const int64_t at = row[r] + k + v * VF;
            weight[r] = n >= PRODUCT_LANES ? pack_load(dtype, w, at) : pack_load_n(dtype, w, at, n - v * VF);
            if (dtype == TENON_I8)
                weight[r] = pack_scale(weight[r], scale[r], n - v * VF);
        }
        UNROLL
        for (int i = 0; i < mt; i++) {
            const vf column = vf_load(x + i * x_stride + k + v * VF);
            UNROLL
            for (int r = 0; r < dot_rows_of(mt); r++)
                acc[i][r][v] = vf_madd(column, weight[r], acc[i][r][v]);
        }
    }
}

/* What dot_tile works on: one block of K of dot_rows_of(mt) rows of w. */
struct dot_block {
    int64_t row[DOT_ROWS_MOST];        /* elements of w where the rows have k = 0 of the block */
    int64_t next[DOT_ROWS_MOST];       /* what will be read after this, asked for near the end */
    const float *scale[DOT_ROWS_MOST]; /* i8: the scales of a row */
    int64_t k0, kc;               /* the block */
    const float *x;               /* at k0, filled with zeros to a whole number of lanes */
    int64_t x_stride;
    float *lanes;         /* [i][r][l], the result */
    int64_t lanes_stride; /* from i to i + 1 */
};

/* Elements that one turn of the loop over k takes: a line of w, where that is not too much code. */
SIMD_FN int64_t dot_stride(const uint32_t dtype)
{
    return VF >= 16 ? 64 / TENON_DTYPE_SIZE(dtype) : PRODUCT_LANES;
}

/* lanes[i][r][l] = the sums of x row i < mt, w row r, lane l over the block. */
SIMD_FN void dot_tile_body(const uint32_t dtype, const int mt, const struct pack_source *w, const struct dot_block *b)
{
    const int64_t size = TENON_DTYPE_SIZE(dtype), whole = b->kc & ~(int64_t)(PRODUCT_LANES - 1);
    const int64_t ahead = DOT_AHEAD / size, turn = whole - ahead, step = dot_stride(dtype);
    int64_t row[DOT_ROWS_MOST];
    vf acc[DOT_M][DOT_ROWS_MOST][DOT_VECTORS], scale[DOT_ROWS_MOST];
    UNROLL
    for (int r = 0; r < dot_rows_of(mt); r++) {
        row[r] = b->row[r];
        scale[r] = vf_zero();
        UNROLL
        for (int i = 0; i < mt; i++) {
            UNROLL
            for (int v = 0; v < DOT_VECTORS; v++)
                acc[i][r][v] = vf_zero();
        }
    }
    int64_t k = 0, group = dtype == TENON_I8 ? b->k0 / w->group : 0;
    while (k < b->kc) {
        int64_t end = k < turn ? turn : whole;
        if (dtype == TENON_I8) {
            const int64_t stop = (group + 1) * w->group - b->k0;
            end = stop < end ? stop : end;
            UNROLL
            for (int r = 0; r < dot_rows_of(mt); r++)
                scale[r] = vf_set1(b->scale[r][group]);
            group += stop == end;
        }
        if (k >= whole)
            break;
        uintptr_t soon[DOT_ROWS_MOST]; /* a number: it may lie outside of the tensor */
        UNROLL
        for (int r = 0; r < dot_rows_of(mt); r++)
            soon[r] =
                (uintptr_t)w->data + (uintptr_t)(size * (k < turn ? b->row[r] + ahead : b->next[r] + ahead - whole));
        for (; k < end; k += step) {
            UNROLL
            for (int r = 0; r < dot_rows_of(mt); r++)
                simd_prefetch((const void *)(soon[r] + (uintptr_t)(k * size)));
            if (k + step > end)
                break;
            UNROLL
            for (int j = 0; j < step; j += PRODUCT_LANES)
                dot_step(dtype, mt, w->data, row, k + j, PRODUCT_LANES, scale, b->x, b->x_stride, acc);
        }
        for (; k < end; k += PRODUCT_LANES)
            dot_step(dtype, mt, w->data, row, k, PRODUCT_LANES, scale, b->x, b->x_stride, acc);
    }
    if (k < b->kc)
        dot_step(dtype, mt, w->data, b->row, k, b->kc - k, scale, b->x, b->x_stride, acc);
    for (int i = 0; i < mt; i++)
        for (int r = 0; r < dot_rows_of(mt); r++)
            for (int v = 0; v < DOT_VECTORS; v++)
                vf_store(b->lanes + i * b->lanes_stride + r * PRODUCT_LANES + v * VF, acc[i][r][v]);
}

#define DOT_TILE_(type, mt)                                                                                            \
    __attribute__((unused)) static void dot_tile_##type##_##mt(const struct pack_source *w, const struct dot_block *b) \
    {                                                                                                                  \
        dot_tile_body(TENON_##type, mt, w, b);                                                                         \
    }
DOT_HEIGHTS_(DOT_TILE_, F32)
DOT_HEIGHTS_(DOT_TILE_, F16)
DOT_HEIGHTS_(DOT_TILE_, BF16)
DOT_HEIGHTS_(DOT_TILE_, I8)
#undef DOT_TILE_

/* 1 <= mt <= DOT_M. */
SIMD_FN void dot_tile(uint32_t dtype, int mt, const struct pack_source *w, const struct dot_block *b)
{
#define DOT_ENTRY_(type, mt) dot_tile_##type##_##mt,
    static void (*const kernels[4][DOT_M])(const struct pack_source *, const struct dot_block *) = {
        {DOT_HEIGHTS_(DOT_ENTRY_, F32)},
        {DOT_HEIGHTS_(DOT_ENTRY_, F16)},
        {DOT_HEIGHTS_(DOT_ENTRY_, BF16)},
        {DOT_HEIGHTS_(DOT_ENTRY_, I8)},
    };
#undef DOT_ENTRY_
    kernels[dtype == TENON_F16 ? 1 : dtype == TENON_BF16 ? 2 : dtype == TENON_I8 ? 3 : 0][mt - 1](w, b);
}

/* sum[r] = or += the lanes of each of DOT_GROUP rows, as a tree: what product_fold() of them is. */
SIMD_FN void dot_fold(const float *lanes, float *sum, int accumulate)
{
    for (int r = 0; r < DOT_GROUP; r += VF) {
        vf part[DOT_VECTORS];
        UNROLL
        for (int q = 0; q < DOT_VECTORS; q++) {
            vf square[VF];
            UNROLL
            for (int i = 0; i < VF; i++)
                square[i] = vf_load(lanes + (r + i) * PRODUCT_LANES + q * VF);
            part[q] = fold_rows(square);
        }
        UNROLL
        for (int step = 1; step < DOT_VECTORS; step *= 2) {
            UNROLL
            for (int q = 0; q < DOT_VECTORS; q += 2 * step)
                part[q] = vf_add(part[q], part[q + step]);
        }
        vf_store(sum + r, accumulate ? vf_add(vf_load(sum + r), part[0]) : part[0]);
    }
}

/* w [n, k] and the rows of x that it is multiplied with. */
struct dot_product {
    const struct pack_source *w;
    uint32_t dtype;
    int64_t n, k;
    const float *x;      /* rows filled with zeros to a whole number of lanes */
    int64_t x_stride, m; /* m <= DOT_MOST */
};

/* As many rows of w as a tile takes, from n on (beyond the last it is repeated), and `blocks` blocks of K from k0 on.
 * The sums of x row m and block q go to lanes[q * M + m], as rows `at` and following of the group. n_next, k_next: what
 * is read after this, for the prefetch. */
static __attribute__((unused)) void dot_rows(const struct dot_product *p, int64_t n, int64_t k0, int64_t blocks,
                                             int64_t n_next, int64_t k_next, float (*lanes)[DOT_GROUP * PRODUCT_LANES],
                                             int64_t at)
{
    const struct pack_source *w = p->w;
    const int64_t tiles = (p->m + DOT_M - 1) / DOT_M, step = dot_rows_of((int)p->m);
    struct dot_block b = {.x_stride = p->x_stride, .lanes_stride = DOT_GROUP * PRODUCT_LANES};
    int64_t next[DOT_ROWS_MOST];
    for (int r = 0; r < step; r++) {
        const int64_t row = n + r < p->n ? n + r : p->n - 1;
        next[r] = (n_next + r < p->n ? n_next + r : p->n - 1) * w->row_stride + k_next;
        b.row[r] = row * w->row_stride + k0;
        b.scale[r] = w->scale ? w->scale + row * w->scale_stride : NULL;
    }
    for (int64_t q = 0; q < blocks; q++) {
        b.k0 = k0 + q * PRODUCT_BLOCK;
        b.kc = p->k - b.k0 < PRODUCT_BLOCK ? p->k - b.k0 : PRODUCT_BLOCK;
        for (int r = 0; r < step; r++)
            b.next[r] = q + 1 < blocks ? b.row[r] + PRODUCT_BLOCK : next[r];
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t m0 = p->m * i / tiles, m1 = p->m * (i + 1) / tiles;
            b.x = p->x + m0 * p->x_stride + b.k0;
            b.lanes = lanes[q * p->m + m0] + at * PRODUCT_LANES;
            dot_tile(p->dtype, (int)(m1 - m0), w, &b);
        }
        for (int r = 0; r < step; r++)
            b.row[r] += PRODUCT_BLOCK;
    }
}

/* sum[m][r] = the products of x row m and w row n + r, over all of K: as many blocks at a time as there is room for
 * their lanes. What lies beyond the last row of w is 0. */
static __attribute__((unused)) void dot_group(const struct dot_product *p, int64_t n, float (*sum)[DOT_GROUP])
{
    const int64_t rows = p->n - n < DOT_GROUP ? p->n - n : DOT_GROUP, room = DOT_MOST / p->m;
    const int64_t all = (p->k + PRODUCT_BLOCK - 1) / PRODUCT_BLOCK, step = dot_rows_of((int)p->m);
    float lanes[DOT_MOST][DOT_GROUP * PRODUCT_LANES] __attribute__((aligned(64)));
    if (rows < DOT_GROUP)
        memset(lanes, 0, sizeof lanes);
    if (all == 0)
        memset(sum, 0, (size_t)p->m * sizeof *sum);
    for (int64_t block = 0; block < all; block += room) {
        const int64_t blocks = all - block < room ? all - block : room, k0 = block * PRODUCT_BLOCK;
        for (int64_t r = 0; r < rows; r += step) {
            const int last = r + step >= rows, end = last && block + blocks >= all;
            int64_t n_next = n + r + step, k_next = k0;
            if (last) {
                n_next = end ? n + DOT_GROUP : n;
                k_next = end ? 0 : k0 + blocks * PRODUCT_BLOCK;
            }
            dot_rows(p, n + r, k0, blocks, n_next, k_next, lanes, r);
        }
        for (int64_t q = 0; q < blocks; q++)
            for (int64_t m = 0; m < p->m; m++)
                dot_fold(lanes[q * p->m + m], sum[m], block + q > 0);
    }
}

#endif
