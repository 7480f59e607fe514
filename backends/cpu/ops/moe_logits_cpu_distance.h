/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Distances -|x - w|, from sums of (x - w)^2. A piece of work is a slab of tokens and some groups of 16 experts; of a
 * group the rows of w are widened block by block of D into the cache, where all tokens of the slab meet them. The order
 * of a sum is product.h's, whatever the tile: lane k % 16, the tree of lanes, blocks ascending. */
#ifndef TENON_MOE_LOGITS_CPU_DISTANCE_H
#define TENON_MOE_LOGITS_CPU_DISTANCE_H

#include "ops/moe_logits_cpu.h"

#define DISTANCE_SLAB 48 /* tokens: with a block of 1024 of them 192 KB, which stay in L2 */

/* lanes[i][r][l] = the sums of (x - w)^2 of token i < mt, expert r < DOT_ROWS, over kc, a multiple of the lanes. */
SIMD_FN void distance_tile_body(const int mt, const float *x, int64_t x_stride, const float *w, int64_t w_stride,
                                int64_t kc, float *lanes)
{
    vf acc[DOT_M][DOT_ROWS][DOT_VECTORS];
    UNROLL
    for (int i = 0; i < mt; i++) {
        UNROLL
        for (int r = 0; r < DOT_ROWS; r++) {
            UNROLL
            for (int v = 0; v < DOT_VECTORS; v++)
                acc[i][r][v] = vf_zero();
        }
    }
    for (int64_t k = 0; k < kc; k += PRODUCT_LANES) {
        UNROLL
        for (int r = 0; r < DOT_ROWS; r++) {
            UNROLL
            for (int v = 0; v < DOT_VECTORS; v++) {
                const vf weight = vf_load(w + r * w_stride + k + v * VF);
                UNROLL
                for (int i = 0; i < mt; i++) {
                    const vf d = vf_sub(vf_load(x + i * x_stride + k + v * VF), weight);
                    acc[i][r][v] = vf_madd(d, d, acc[i][r][v]);
                }
            }
        }
    }
    UNROLL
    for (int i = 0; i < mt; i++) {
        UNROLL
        for (int r = 0; r < DOT_ROWS; r++) {
            UNROLL
            for (int v = 0; v < DOT_VECTORS; v++)
                vf_store(lanes + i * DOT_GROUP * PRODUCT_LANES + r * PRODUCT_LANES + v * VF, acc[i][r][v]);
        }
    }
}

#define DISTANCE_TILE_(type, mt)                                                                                       \
    static void distance_tile_##mt(const float *x, int64_t x_stride, const float *w, int64_t w_stride, int64_t kc,     \
                                   float *lanes)                                                                       \
    {                                                                                                                  \
        distance_tile_body(mt, x, x_stride, w, w_stride, kc, lanes);                                                   \
    }
DOT_HEIGHTS_(DISTANCE_TILE_, F32)
#undef DISTANCE_TILE_

#define DISTANCE_ENTRY_(type, mt) distance_tile_##mt,
static void (*const distance_tiles[DOT_M])(const float *, int64_t, const float *, int64_t, int64_t,
                                           float *) = {DOT_HEIGHTS_(DISTANCE_ENTRY_, F32)};
#undef DISTANCE_ENTRY_

/* Experts of a group beyond the last are rows of zeros, whose sums nobody emits. */
static void distance_widen(const struct moe_logits_run *run, int64_t e0, int64_t k0, int64_t depth, float *to)
{
    const struct tenon_tensor *w = &run->plan->tensor[TENON_MOE_LOGITS_W];
    const struct matmul *s = &run->state->product;
    for (int64_t r = 0; r < DOT_GROUP; r++)
        for (int64_t k = 0; k < depth; k += VF)
            vf_store(to + r * PRODUCT_BLOCK + k,
                     e0 + r < s->n ? pack_load_n(w->dtype, run->ptr[TENON_MOE_LOGITS_W],
                                                 (e0 + r) * w->stride[0] + k0 + k, s->k - k0 - k)
                                   : vf_zero());
}

/* One group of experts and one slab of tokens. */
static void distance_group(const struct moe_logits_run *run, int64_t e0, int64_t t0, int64_t t1)
{
    const struct matmul *s = &run->state->product;
    float weights[DOT_GROUP * PRODUCT_BLOCK] __attribute__((aligned(64)));
    float lanes[DOT_M * DOT_GROUP * PRODUCT_LANES] __attribute__((aligned(64)));
    float sum[DISTANCE_SLAB][DOT_GROUP] __attribute__((aligned(64)));
    for (int64_t k0 = 0; k0 < s->k; k0 += PRODUCT_BLOCK) {
        const int64_t depth = s->depth - k0 < PRODUCT_BLOCK ? s->depth - k0 : PRODUCT_BLOCK;
        distance_widen(run, e0, k0, depth, weights);
        for (int64_t t = t0; t < t1; t += DOT_M) {
            const int mt = t1 - t < DOT_M ? (int)(t1 - t) : DOT_M;
            for (int r = 0; r < DOT_GROUP; r += DOT_ROWS)
                distance_tiles[mt - 1](run->rows + t * s->depth + k0, s->depth, weights + r * PRODUCT_BLOCK,
                                       PRODUCT_BLOCK, depth, lanes + r * PRODUCT_LANES);
            for (int i = 0; i < mt; i++)
                dot_fold(lanes + i * DOT_GROUP * PRODUCT_LANES, sum[t - t0 + i], k0 > 0);
        }
    }
    const int64_t n = s->n - e0 < DOT_GROUP ? s->n - e0 : DOT_GROUP;
    for (int64_t t = t0; t < t1; t++) {
        float *z = sum[t - t0];
        for (int64_t i = 0; i < DOT_GROUP; i += VF)
            vf_store(z + i, vf_neg(vf_sqrt(vf_load(z + i))));
        moe_logits_emit(run, t, e0, n, z);
    }
}

static void distance_piece(void *context, uint32_t piece)
{
    const struct moe_logits_run *run = context;
    const struct matmul *s = &run->state->product;
    const int64_t slabs = (s->m + DISTANCE_SLAB - 1) / DISTANCE_SLAB;
    const int64_t e0 = piece / slabs * DOT_GROUP, t0 = piece % slabs * DISTANCE_SLAB;
    distance_group(run, e0, t0, s->m - t0 < DISTANCE_SLAB ? s->m : t0 + DISTANCE_SLAB);
}

/* One row of x as floats, filled up to whole lanes. */
static void distance_x(void *context, uint32_t t)
{
    const struct moe_logits_run *run = context;
    const struct matmul *s = &run->state->product;
    const struct tenon_tensor *x = &run->plan->tensor[TENON_MOE_LOGITS_X];
    const int64_t from = matmul_row(x, run->state->x_row, t);
    for (int64_t k = 0; k < s->depth; k += VF)
        vf_store(run->rows + t * s->depth + k,
                 pack_load_n(x->dtype, run->ptr[TENON_MOE_LOGITS_X], from + k, s->k - k));
}

static uint64_t moe_logits_distance_bytes(const struct moe_logits_state *s)
{
    return (uint64_t)(s->product.m * s->product.depth) * sizeof(float);
}

static void moe_logits_distance_run(struct moe_logits_run *run)
{
    const struct matmul *s = &run->state->product;
    const int64_t slabs = (s->m + DISTANCE_SLAB - 1) / DISTANCE_SLAB, groups = (s->n + DOT_GROUP - 1) / DOT_GROUP;
    moe_logits_pieces(run, (uint32_t)s->m, distance_x);
    moe_logits_pieces(run, (uint32_t)(slabs * groups), distance_piece);
}

#endif
