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

/* DOT_ROWS rows of w times up to DOT_M rows of x at a time, in registers. */
#if VF >= 16
#define DOT_ROWS              4
#define DOT_M                 6
#define DOT_HEIGHTS_(X, type) X(type, 1) X(type, 2) X(type, 3) X(type, 4) X(type, 5) X(type, 6)
#elif VF >= 8 || SIMD_REGS >= 32
#define DOT_ROWS              2
#define DOT_M                 3
#define DOT_HEIGHTS_(X, type) X(type, 1) X(type, 2) X(type, 3)
#else
#define DOT_ROWS              2
#define DOT_M                 1
#define DOT_HEIGHTS_(X, type) X(type, 1)
#endif
#define DOT_AHEAD 1024 /* bytes of a row of w that are asked for ahead of their use */

/* n of 16 steps of k at once: acc[i][r][v] += x[i][k] * w[r][k]. */
SIMD_FN void dot_step(const uint32_t dtype, const int mt, const void *w, const int64_t *row, int64_t k, int64_t n,
                      const vf *scale, const float *x, int64_t x_stride, vf (*acc)[DOT_ROWS][DOT_VECTORS])
{
    UNROLL
    for (int r = 0; r < DOT_ROWS; r++) {
        UNROLL
        for (int v = 0; v < DOT_VECTORS; v++) {
            const int64_t at = row[r] + k + v * VF;
            vf weight = n >= PRODUCT_LANES ? pack_load(dtype, w, at) : pack_load_n(dtype, w, at, n - v * VF);
            if (dtype == TENON_I8)
                weight = pack_scale(weight, scale[r], n - v * VF);
            UNROLL
            for (int i = 0; i < mt; i++)
                acc[i][r][v] = vf_madd(vf_load(x + i * x_stride + k + v * VF), weight, acc[i][r][v]);
        }
    }
}

/* What dot_tile works on: one block of K of DOT_ROWS rows of w. */
struct dot_block {
    int64_t row[DOT_ROWS];        /* elements of w where the rows have k = 0 of the block */
    int64_t next[DOT_ROWS];       /* what will be read after this, asked for near the end */
    const float *scale[DOT_ROWS]; /* i8: the scales of a row */
    int64_t k0, kc;               /* the block */
    const float *x;               /* at k0, filled with zeros to a whole number of lanes */
    int64_t x_stride;
    float *lanes;         /* [i][r][l], the result */
    int64_t lanes_stride; /* from i to i + 1 */
};

/* lanes[i][r][l] = the sums of x row i < mt, w row r, lane l over the block. */
SIMD_FN void dot_tile_body(const uint32_t dtype, const int mt, const struct pack_source *w, const struct dot_block *b)
{
    const int64_t size = TENON_DTYPE_SIZE(dtype), whole = b->kc & ~(int64_t)(PRODUCT_LANES - 1);
    const int64_t ahead = DOT_AHEAD / size, turn = whole - ahead;
    vf acc[DOT_M][DOT_ROWS][DOT_VECTORS], scale[DOT_ROWS];
    for (int r = 0; r < DOT_ROWS; r++) {
        scale[r] = vf_zero();
        for (int i = 0; i < mt; i++)
            for (int v = 0; v < DOT_VECTORS; v++)
                acc[i][r][v] = vf_zero();
    }
    int64_t k = 0;
    while (k < b->kc) {
        int64_t end = k < turn ? turn : whole;
        if (dtype == TENON_I8) {
            const int64_t group = (b->k0 + k) / w->group, stop = (group + 1) * w->group - b->k0;
            end = stop < end ? stop : end;
            for (int r = 0; r < DOT_ROWS; r++)
                scale[r] = vf_set1(b->scale[r][group]);
        }
        if (k >= whole)
            break;
        uintptr_t soon[DOT_ROWS]; /* a number: it may lie outside of the tensor */
        for (int r = 0; r < DOT_ROWS; r++)
            soon[r] =
                (uintptr_t)w->data + (uintptr_t)(size * (k < turn ? b->row[r] + ahead : b->next[r] + ahead - whole));
        for (; k < end; k += PRODUCT_LANES) {
            for (int r = 0; r < DOT_ROWS; r++)
                simd_prefetch((const void *)(soon[r] + (uintptr_t)(k * size)));
            dot_step(dtype, mt, w->data, b->row, k, PRODUCT_LANES, scale, b->x, b->x_stride, acc);
        }
    }
    if (k < b->kc)
        dot_step(dtype, mt, w->data, b->row, k, b->kc - k, scale, b->x, b->x_stride, acc);
    for (int i = 0; i < mt; i++)
        for (int r = 0; r < DOT_ROWS; r++)
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

/* sum[r] = or += the lanes of each of DOT_GROUP rows. */
SIMD_FN void dot_fold(const float *lanes, float *sum, int accumulate)
{
    for (int r = 0; r < DOT_GROUP; r += VF) {
        vf lane[PRODUCT_LANES];
        for (int q = 0; q < PRODUCT_LANES; q += VF) {
            UNROLL
            for (int i = 0; i < VF; i++)
                lane[q + i] = vf_load(lanes + (r + i) * PRODUCT_LANES + q);
            transpose(lane + q);
        }
        const vf total = product_fold(lane);
        vf_store(sum + r, accumulate ? vf_add(vf_load(sum + r), total) : total);
    }
}

#endif
