/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The product tile: what every operator that is made of matrix products is built from (linear, attention, experts).
 *
 * The order of a sum over K. One order serves both ends, a matrix times one vector (vector lanes along K, the weights
 * read in place) and a matrix times a matrix (vector lanes along N, both sides packed), so that a row has the same bits
 * in both. It depends on K alone:
 *
 * - K is cut into blocks of PRODUCT_BLOCK. In a block, lane l of PRODUCT_LANES sums k = l, l+16, l+32, ... ascending
 *   with vf_madd, starting from +0. A block whose length is no multiple of 16 is filled with 0 * 0.
 * - The lanes of a block are added as a tree of neighbours: ((s0 + s1) + (s2 + s3)) + ... (s14 + s15)).
 * - The sums of the blocks are added one by one, ascending.
 *
 * No more than 64 + 4 + K/1024 additions follow each other, so equal addends drift little, and one large addend meets
 * few roundings. Where vf_madd is fused
 * (AVX2, AVX-512, NEON) all ISAs give the same bits.
 *
 * The product in place (dot.h, columns.h) has the 16 lanes side by side. The tile runs through them one after the
 * other, because the packed panels hold k in this order; a panel of width W and depth kc:
 *
 *     element (i, k), i < W, at [(k % 16) * stride + (k / 16) * W + i]
 *     len = product_len(kc) = ceil(kc / 16), stride = product_stride(len, W)
 *
 * The padding of a lane makes strides that are not powers of two (16 streams written at once would fall into one cache
 * set) and takes what a full vector store writes beyond a width that is no multiple of VF.
 *
 * Who needs no such order (both sides always packed) packs one lane: lanes = 1, len = kc.
 *
 * - A: panels of mr <= PRODUCT_MR rows. product_split() cuts M into panels of nearly equal height; every height has its
 *   own kernel, so no row is computed that is not there.
 * - B: panels of PRODUCT_NR columns, of which the tile computes nv <= PRODUCT_NV vectors. pack.h fills both.
 * - product_tile(): C[mr][nv * VF] = or += A B. C is mostly a small buffer that stays in L1, from which the caller
 *   emits the rows (bias, activation, conversion); A and B stream from L2. */
#ifndef TENON_PRODUCT_H
#define TENON_PRODUCT_H

#include "lib/unroll.h"
#include "simd/simd.h"

#define PRODUCT_LANES 16
#define PRODUCT_TREE  4 /* levels of the tree of lanes */
#define PRODUCT_BLOCK 1024
#define PRODUCT_PAD   16 /* floats a lane; at least VF, keeps the alignment of a vector */

/* MR x NV accumulators, NV vectors of B and one broadcast of A fit the registers; as square as that allows. */
#if SIMD_REGS >= 32 && VF >= 16
#define PRODUCT_MR 14
#define PRODUCT_NV 2
#elif SIMD_REGS >= 32
#define PRODUCT_MR 6
#define PRODUCT_NV 4
#elif VF >= 8
#define PRODUCT_MR 6
#define PRODUCT_NV 2
#else
#define PRODUCT_MR 4 /* without FMA a product needs a register of its own */
#define PRODUCT_NV 2
#endif
#define PRODUCT_NR    (PRODUCT_NV * VF)
#define PRODUCT_AHEAD 24 /* steps of k that both panels are asked for ahead of their use */

/* Elements of a lane for depth kc, floats from lane to lane, floats of a whole panel. */
SIMD_FN int64_t product_len(int64_t kc)
{
    return (kc + PRODUCT_LANES - 1) / PRODUCT_LANES;
}

SIMD_FN int64_t product_stride(int64_t len, int64_t width)
{
    return len * width + PRODUCT_PAD;
}

SIMD_FN int64_t product_panel(int64_t kc, int64_t width)
{
    return PRODUCT_LANES * product_stride(product_len(kc), width);
}

/* m rows in the fewest panels: first row of panel i of product_panels(m); the next panel's first row ends it. */
SIMD_FN int64_t product_panels(int64_t m)
{
    return (m + PRODUCT_MR - 1) / PRODUCT_MR;
}

SIMD_FN int64_t product_split(int64_t m, int64_t i)
{
    const int64_t panels = product_panels(m), height = m / panels, rest = m % panels;
    return i * height + (i < rest ? i : rest);
}

/* The sum of all lanes; they are overwritten. */
SIMD_FN vf product_fold(vf *lane)
{
    UNROLL
    for (int step = 1; step < PRODUCT_LANES; step *= 2) {
        UNROLL
        for (int l = 0; l < PRODUCT_LANES; l += 2 * step)
            lane[l] = vf_add(lane[l], lane[l + step]);
    }
    return lane[0];
}

struct product_tile {
    const float *a, *b;         /* panels */
    int64_t a_stride, b_stride; /* floats from lane to lane */
    int64_t lanes, len;         /* lanes: 1 or PRODUCT_LANES */
    float *c;
    int64_t c_stride;
    int accumulate; /* 0: the sum is stored into C; 1: added to it */
    /* Memory that will be packed after this, or NULL: a step of k asks for it and goes soon_step bytes on. */
    const void *soon;
    int64_t soon_step;
};

/* acc = one lane of the tile. */
SIMD_FN void product_lane(const struct product_tile *t, const int mr, const int nv, int64_t l,
                          vf (*acc)[PRODUCT_NV])
{
    const float *a = t->a + l * t->a_stride, *b = t->b + l * t->b_stride;
    const uintptr_t step = t->soon ? (uintptr_t)t->soon_step : 0;
    uintptr_t soon = t->soon ? (uintptr_t)t->soon + (uintptr_t)(l * t->len) * step : (uintptr_t)a;
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = vf_zero();
    }
    for (int64_t j = 0; j < t->len; j++, a += mr, b += PRODUCT_NR, soon += step) {
        vf column[PRODUCT_NV];
        simd_prefetch((const void *)soon);
        /* Lanes and panels lie one after the other, so this also crosses pages, where the hardware stops. */
        simd_prefetch((const void *)((uintptr_t)a + PRODUCT_AHEAD * sizeof(float) * (uintptr_t)mr));
        UNROLL
        for (int v = 0; v < nv * VF; v += 16)
            simd_prefetch((const void *)((uintptr_t)(b + v) + PRODUCT_AHEAD * sizeof(float) * PRODUCT_NR));
        UNROLL
        for (int v = 0; v < nv; v++)
            column[v] = vf_load(b + v * VF);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf row = vf_set1(a[i]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] = vf_madd(row, column[v], acc[i][v]);
        }
    }
}

/* acc = from + acc. */
SIMD_FN void product_join(const float *from, int64_t stride, const int mr, const int nv, vf (*acc)[PRODUCT_NV])
{
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = vf_add(vf_load(from + i * stride + v * VF), acc[i][v]);
    }
}

/* The tree of lanes, grown like a binary number: level i holds a sum of 2^i lanes that waits for its neighbour. */
SIMD_FN void product_tile_body(const struct product_tile *t, const int mr, const int nv)
{
    float waiting[PRODUCT_TREE][PRODUCT_MR * PRODUCT_NR] __attribute__((aligned(64)));
    for (int64_t l = 0; l < t->lanes; l++) {
        vf acc[PRODUCT_MR][PRODUCT_NV];
        product_lane(t, mr, nv, l, acc);
        int level = 0;
        for (; l >> level & 1; level++)
            product_join(waiting[level], PRODUCT_NR, mr, nv, acc);
        const int last = l == t->lanes - 1;
        if (last && t->accumulate)
            product_join(t->c, t->c_stride, mr, nv, acc);
        float *to = last ? t->c : waiting[level];
        const int64_t stride = last ? t->c_stride : PRODUCT_NR;
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int v = 0; v < nv; v++)
                vf_store(to + i * stride + v * VF, acc[i][v]);
        }
    }
}

/* A kernel for each height and each number of vectors. */
#define PRODUCT_TILE_(mr, nv)                                                                                          \
    __attribute__((unused)) static void product_tile_##mr##x##nv(const struct product_tile *t)                         \
    {                                                                                                                  \
        product_tile_body(t, mr, nv);                                                                                  \
    }
#if PRODUCT_MR == 14
#define PRODUCT_HEIGHTS_(X, nv)                                                                                        \
    X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv) X(7, nv) X(8, nv) X(9, nv) X(10, nv) X(11, nv) X(12, nv)     \
    X(13, nv) X(14, nv)
#elif PRODUCT_MR == 6
#define PRODUCT_HEIGHTS_(X, nv) X(1, nv) X(2, nv) X(3, nv) X(4, nv) X(5, nv) X(6, nv)
#else
#define PRODUCT_HEIGHTS_(X, nv) X(1, nv) X(2, nv) X(3, nv) X(4, nv)
#endif
PRODUCT_HEIGHTS_(PRODUCT_TILE_, 1)
PRODUCT_HEIGHTS_(PRODUCT_TILE_, 2)
#if PRODUCT_NV == 4
PRODUCT_HEIGHTS_(PRODUCT_TILE_, 3)
PRODUCT_HEIGHTS_(PRODUCT_TILE_, 4)
#endif

/* 1 <= mr <= PRODUCT_MR, 1 <= nv <= PRODUCT_NV. */
SIMD_FN void product_tile(const struct product_tile *t, int mr, int nv)
{
#define PRODUCT_ENTRY_(mr, nv) product_tile_##mr##x##nv,
    static void (*const kernels[PRODUCT_NV][PRODUCT_MR])(const struct product_tile *) = {
        {PRODUCT_HEIGHTS_(PRODUCT_ENTRY_, 1)},
        {PRODUCT_HEIGHTS_(PRODUCT_ENTRY_, 2)},
#if PRODUCT_NV == 4
        {PRODUCT_HEIGHTS_(PRODUCT_ENTRY_, 3)},
        {PRODUCT_HEIGHTS_(PRODUCT_ENTRY_, 4)},
#endif
    };
#undef PRODUCT_ENTRY_
    kernels[nv - 1][mr - 1](t);
}
#undef PRODUCT_TILE_

#endif
