/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Few rows of x times a transposed w in place: w [K, N] is read once, in its own type, along N; nothing is packed. The
 * order of the sums is product.h's: the 16 lanes of each column are 16 rows of sums in L1, and row k of w goes to lane
 * k % 16. */
#ifndef TENON_COLUMNS_H
#define TENON_COLUMNS_H

#include "lib/pack.h"

#define COLUMNS_M     4
#define COLUMNS_SUMS  384 /* columns times rows of x: with the lanes 24 KB, so that the sums stay in L1 beside w */
#define COLUMNS_AHEAD 6   /* rows of w that are asked for ahead of their use */

/* One strip of columns of w and one block of K. */
struct columns_block {
    const struct pack_source *w;
    int64_t first, columns; /* of w; columns <= width */
    int64_t width;          /* a multiple of VF */
    int64_t k0, kc;
    const float *x; /* rows at k0 */
    int64_t x_stride;
    float *lanes; /* [PRODUCT_LANES][mt][width] */
    float *scale; /* i8: room for width */
    const int32_t *list; /* columns_listed(): the rows of w that count, within the block, ascending */
    int64_t count;
};

/* One row of w to one lane of sums; `ahead` is the row that comes some rows later. */
SIMD_FN void columns_row(const uint32_t dtype, const int mt, const struct columns_block *b, int64_t k, int64_t ahead,
                         float *lane)
{
    const int64_t at = (b->k0 + k) * b->w->row_stride + b->first;
    const uintptr_t soon =
        (uintptr_t)b->w->data + TENON_DTYPE_SIZE(dtype) * (uintptr_t)(ahead * b->w->row_stride + b->first);
    vf x[COLUMNS_M];
    UNROLL
    for (int i = 0; i < mt; i++)
        x[i] = vf_set1(b->x[i * b->x_stride + k]);
    for (int64_t c = 0; c < b->columns; c += VF) {
        vf weight = pack_load_n(dtype, b->w->data, at + c, b->columns - c);
        simd_prefetch((const void *)(soon + TENON_DTYPE_SIZE(dtype) * (uintptr_t)c));
        if (dtype == TENON_I8)
            weight = vf_mul(weight, vf_load(b->scale + c));
        UNROLL
        for (int i = 0; i < mt; i++) {
            float *sum = lane + i * b->width + c;
            vf_store(sum, vf_madd(x[i], weight, vf_load(sum)));
        }
    }
}

/* The scales of the group of row k, if that is another one. */
SIMD_FN int64_t columns_scales(const struct columns_block *b, int64_t k, int64_t group)
{
    if (k / b->w->group == group)
        return group;
    group = k / b->w->group;
    for (int64_t c = 0; c < b->width; c++)
        b->scale[c] = c < b->columns ? b->w->scale[(b->first + c) * b->w->scale_stride + group] : 0.0f;
    return group;
}

SIMD_FN void columns_block_body(const uint32_t dtype, const int mt, const struct columns_block *b)
{
    const int64_t size = mt * b->width;
    int64_t group = -1;
    for (int64_t i = 0; i < PRODUCT_LANES * size; i += VF)
        vf_store(b->lanes + i, vf_zero());
    for (int64_t k = 0; k < b->kc; k++) {
        if (dtype == TENON_I8)
            group = columns_scales(b, b->k0 + k, group);
        columns_row(dtype, mt, b, k, b->k0 + k + COLUMNS_AHEAD, b->lanes + k % PRODUCT_LANES * size);
    }
    /* The fill of the last lanes, 0 * 0, which makes +0 of -0. */
    if (b->kc % PRODUCT_LANES != 0)
        for (int64_t i = b->kc % PRODUCT_LANES * size; i < PRODUCT_LANES * size; i += VF)
            vf_store(b->lanes + i, vf_add(vf_load(b->lanes + i), vf_zero()));
}

/* sum[mt][width] = or += the lanes. */
SIMD_FN void columns_fold(const struct columns_block *b, int mt, float *sum, int accumulate)
{
    const int64_t size = mt * b->width;
    for (int64_t i = 0; i < size; i += VF) {
        vf lane[PRODUCT_LANES];
        UNROLL
        for (int l = 0; l < PRODUCT_LANES; l++)
            lane[l] = vf_load(b->lanes + l * size + i);
        const vf total = product_fold(lane);
        vf_store(sum + i, accumulate ? vf_add(vf_load(sum + i), total) : total);
    }
}

/* The same of one row of x, of which only the entries of the list are not 0: nothing else of w is read. */
SIMD_FN void columns_listed_body(const uint32_t dtype, const struct columns_block *b)
{
    int64_t group = -1;
    for (int64_t i = 0; i < PRODUCT_LANES * b->width; i += VF)
        vf_store(b->lanes + i, vf_zero());
    for (int64_t i = 0; i < b->count; i++) {
        const int64_t k = b->list[i] - b->k0;
        if (dtype == TENON_I8)
            group = columns_scales(b, b->k0 + k, group);
        columns_row(dtype, 1, b, k, b->list[i + COLUMNS_AHEAD < b->count ? i + COLUMNS_AHEAD : b->count - 1],
                    b->lanes + k % PRODUCT_LANES * b->width);
    }
}

static __attribute__((unused)) void columns_listed(uint32_t dtype, const struct columns_block *b)
{
    switch (dtype) {
    case TENON_F16:
        columns_listed_body(TENON_F16, b);
        break;
    case TENON_BF16:
        columns_listed_body(TENON_BF16, b);
        break;
    case TENON_I8:
        columns_listed_body(TENON_I8, b);
        break;
    default:
        columns_listed_body(TENON_F32, b);
    }
}

#define COLUMNS_KERNEL_(type, mt)                                                                                      \
    __attribute__((unused)) static void columns_##type##_##mt(const struct columns_block *b)                           \
    {                                                                                                                  \
        columns_block_body(TENON_##type, mt, b);                                                                       \
    }
#define COLUMNS_HEIGHTS_(X, type) X(type, 1) X(type, 2) X(type, 3) X(type, 4)
COLUMNS_HEIGHTS_(COLUMNS_KERNEL_, F32)
COLUMNS_HEIGHTS_(COLUMNS_KERNEL_, F16)
COLUMNS_HEIGHTS_(COLUMNS_KERNEL_, BF16)
COLUMNS_HEIGHTS_(COLUMNS_KERNEL_, I8)
#undef COLUMNS_KERNEL_

/* 1 <= mt <= COLUMNS_M. */
SIMD_FN void columns_block(uint32_t dtype, int mt, const struct columns_block *b)
{
#define COLUMNS_ENTRY_(type, mt) columns_##type##_##mt,
    static void (*const kernels[4][COLUMNS_M])(const struct columns_block *) = {
        {COLUMNS_HEIGHTS_(COLUMNS_ENTRY_, F32)},
        {COLUMNS_HEIGHTS_(COLUMNS_ENTRY_, F16)},
        {COLUMNS_HEIGHTS_(COLUMNS_ENTRY_, BF16)},
        {COLUMNS_HEIGHTS_(COLUMNS_ENTRY_, I8)},
    };
#undef COLUMNS_ENTRY_
    kernels[dtype == TENON_F16 ? 1 : dtype == TENON_BF16 ? 2 : dtype == TENON_I8 ? 3 : 0][mt - 1](b);
}

#endif
