/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route on the CPU: the top k of plain logits, a token a lane. Every lane keeps its own sorted list, into which
 * each expert in turn is inserted: no maximum has to be found across lanes, and no token waits for its own steps. */
#ifndef TENON_MOE_ROUTE_CPU_TILE_H
#define TENON_MOE_ROUTE_CPU_TILE_H

#include "lib/transpose.h"
#include "moe_route_cpu_score.h"

/* The k best of each of VF rows to idx [VF][k], best first, the earlier of equals; -1: there are no more. Rows with NaN
 * or +Inf get something. */
SIMD_FN void pick_rows(const float *x, int64_t stride, int64_t n, const int k, int32_t *idx)
{
    vf best[TILE_K];
    vi at[TILE_K];
    SIMD_UNROLL for (int j = 0; j < k; j++)
    {
        best[j] = vf_set1(MINUS_INF);
        at[j] = vi_set1(-1);
    }
    for (int64_t e = 0; e < n; e += VF) {
        const int count = n - e < VF ? (int)(n - e) : VF;
        float column[VF * VF];
        vf square[VF];
        UNROLL
        for (int i = 0; i < VF; i++)
            square[i] = count == VF ? vf_load(x + i * stride + e) : vf_load_n(x + i * stride + e, count);
        transpose(square);
        UNROLL
        for (int i = 0; i < VF; i++)
            vf_store(column + i * VF, square[i]);
        for (int i = 0; i < count; i++) {
            vf own = vf_load(column + i * VF);
            vi own_at = vi_set1((int32_t)(e + i));
            SIMD_UNROLL for (int j = 0; j < k; j++)
            {
                const vm above = vf_gt(own, best[j]);
                const vf less = vf_select(above, best[j], own);
                const vi less_at = vi_select(above, at[j], own_at);
                best[j] = vf_select(above, own, best[j]);
                at[j] = vi_select(above, own_at, at[j]);
                own = less;
                own_at = less_at;
            }
        }
    }
    SIMD_UNROLL for (int j = 0; j < k; j++)
    {
        int32_t lane[VF];
        vi_store(lane, at[j]);
        for (int i = 0; i < VF; i++)
            idx[i * k + j] = lane[i];
    }
}

#define PICK_ROWS_(k)                                                                                                  \
    static void pick_rows_##k(const float *x, int64_t stride, int64_t n, int32_t *idx)                                 \
    {                                                                                                                  \
        pick_rows(x, stride, n, k, idx);                                                                               \
    }
PICK_ROWS_(1)
PICK_ROWS_(2)
PICK_ROWS_(4)
PICK_ROWS_(6)
PICK_ROWS_(8)
#undef PICK_ROWS_

static int can_pick(uint32_t k)
{
    return VF > 1 && (k == 1 || k == 2 || k == 4 || k == 6 || k == 8);
}

/* Of the tokens from t on, before `end`, as many as fill vectors: their experts to s->picked. How many that are. */
static int64_t pick_tile(const struct run *run, int64_t t, int64_t end, struct slot *s)
{
    static void (*const pick[TILE_K + 1])(const float *, int64_t, int64_t, int32_t *) = {
        [1] = pick_rows_1, [2] = pick_rows_2, [4] = pick_rows_4, [6] = pick_rows_6, [8] = pick_rows_8};
    const struct route *r = run->r;
    const float *x = run->ptr[TENON_MOE_ROUTE_LOGITS];
    int64_t n = 0;
    if (!r->tiled)
        return 0;
    for (; t + n + VF <= end; n += VF)
        pick[r->p.k](x + (t + n) * r->logits_row, r->logits_row, r->columns, s->picked + n * r->p.k);
    return n;
}

#endif
