/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The sums of causal_conv1d, channels of y across the lanes. A lane's terms are added one after the other, taps
 * ascending and within them channels, so its bits depend on nothing beside it. */
#ifndef CPU_CAUSAL_CONV1D_SUMS_H
#define CPU_CAUSAL_CONV1D_SUMS_H

#include "causal_conv1d_cpu.h"

#define CONV_FEW 5 /* taps whose weights are registers */

/* Depthwise, any taps: w is [W][padded]. */
SIMD_FN void conv_depth_any(const struct conv_call *call, const struct conv_run *run, int64_t t, const int count,
                            const uint32_t dtype)
{
    const struct conv *g = &call->g;
    const char *row[CONV_W * CONV_ROWS];
    struct conv_rows rows;
    conv_rows_of(call, run, t, count, &rows);
    for (int64_t i = 0; i < g->taps; i++)
        for (int r = 0; r < count; r++)
            row[i * count + r] = conv_row(call, run, t + r - g->back + i * g->dil);
    for (int64_t c = run->from; c < run->to; c += VF) {
        const int n = run->to - c < VF ? (int)(run->to - c) : VF;
        vf sum[CONV_ROWS];
        for (int r = 0; r < count; r++)
            sum[r] = vf_load(call->bias + c);
        for (int64_t i = 0; i < g->taps; i++) {
            const vf w = vf_load(call->w + i * g->padded + c);
            SIMD_UNROLL_MAYBE for (int r = 0; r < count; r++) sum[r] =
                vf_madd(w, load_x(row[i * count + r], c, n, dtype), sum[r]);
        }
        conv_finish(call, &rows, sum, count, c, n, dtype);
    }
}

/* A few taps next to each other, four of them those of Mamba and of linear attention: weights and inputs stay in
 * registers. */
SIMD_FN void conv_depth_few(const struct conv_call *call, const struct conv_run *run, int64_t t, const int count,
                            const int taps, const uint32_t dtype)
{
    const struct conv *g = &call->g;
    const char *row[CONV_ROWS + CONV_FEW];
    struct conv_rows rows;
    conv_rows_of(call, run, t, count, &rows);
    for (int r = 0; r < count + taps - 1; r++)
        row[r] = conv_row(call, run, t + r - g->back);
    for (int64_t c = run->from; c < run->to; c += VF) {
        const int n = run->to - c < VF ? (int)(run->to - c) : VF;
        const vf bias = vf_load(call->bias + c);
        vf sum[CONV_ROWS], w[CONV_FEW], x[CONV_FEW];
        SIMD_UNROLL_MAYBE for (int i = 0; i < taps; i++) w[i] = vf_load(call->w + i * g->padded + c);
        SIMD_UNROLL_MAYBE for (int i = 1; i < taps; i++) x[i] = load_x(row[i - 1], c, n, dtype);
        SIMD_UNROLL_MAYBE for (int r = 0; r < count; r++)
        {
            SIMD_UNROLL_MAYBE for (int i = 1; i < taps; i++) x[i - 1] = x[i];
            x[taps - 1] = load_x(row[r + taps - 1], c, n, dtype);
            sum[r] = bias;
            SIMD_UNROLL_MAYBE for (int i = 0; i < taps; i++) sum[r] = vf_madd(w[i], x[i], sum[r]);
        }
        conv_finish(call, &rows, sum, count, c, n, dtype);
    }
}

#define CONV_DEPTH(taps)                                                                                               \
    SIMD_FN void conv_depth_##taps(const struct conv_call *call, const struct conv_run *run, int64_t t,                \
                                   const int count, const uint32_t dtype)                                              \
    {                                                                                                                  \
        conv_depth_few(call, run, t, count, taps, dtype);                                                              \
    }
CONV_DEPTH(2)
CONV_DEPTH(3)
CONV_DEPTH(4)
CONV_DEPTH(5)

/* The inputs of a group that `count` tokens meet, widened: [W][count][cg]. */
SIMD_FN void conv_widen(const struct conv_call *call, const struct conv_run *run, int64_t t, const int count,
                        const uint32_t dtype)
{
    const struct conv *g = &call->g;
    for (int64_t i = 0; i < g->taps; i++)
        for (int r = 0; r < count; r++) {
            const char *row = conv_row(call, run, t + r - g->back + i * g->dil) + run->group * g->cg * g->size;
            float *to = run->scratch + (i * count + r) * g->cg;
            for (int64_t c = 0; c < g->cg; c += VF) {
                const int n = g->cg - c < VF ? (int)(g->cg - c) : VF;
                vf_store_n(to + c, load_x(row, c, n, dtype), n);
            }
        }
}

/* Channels of a group: w is [group][vector][W][cg][VF], two vectors at once. */
SIMD_FN void conv_group(const struct conv_call *call, const struct conv_run *run, int64_t t, const int count,
                        const uint32_t dtype)
{
    const struct conv *g = &call->g;
    const int64_t first = run->group * g->cog, terms = g->taps * g->cg;
    struct conv_rows rows;
    conv_rows_of(call, run, t, count, &rows);
    conv_widen(call, run, t, count, dtype);
    for (int64_t c = run->from; c < run->to; c += 2 * VF) {
        const int64_t vector = run->group * g->vectors + (c - first) / VF, other = c + VF < run->to;
        const float *w = call->w + vector * terms * VF, *v = other ? w + terms * VF : w,
                    *bias = call->bias + vector * VF;
        vf sum[CONV_ROWS], more[CONV_ROWS];
        for (int r = 0; r < count; r++) {
            sum[r] = vf_load(bias);
            more[r] = vf_load(bias + other * VF);
        }
        for (int64_t i = 0; i < g->taps; i++) {
            const float *x = run->scratch + i * count * g->cg;
            for (int64_t k = 0; k < g->cg; k++, w += VF, v += VF) {
                const vf a = vf_load(w), b = vf_load(v);
                SIMD_UNROLL_MAYBE for (int r = 0; r < count; r++)
                {
                    const vf input = vf_set1(x[r * g->cg + k]);
                    sum[r] = vf_madd(a, input, sum[r]);
                    more[r] = vf_madd(b, input, more[r]);
                }
            }
        }
        for (int part = 0; part <= other; part++) {
            const int64_t at = c + part * VF;
            const int n = run->to - at < VF ? (int)(run->to - at) : VF;
            conv_finish(call, &rows, part ? more : sum, count, at, n, dtype);
        }
    }
}

/* Whole sets of CONV_ROWS tokens with a constant length, the others one by one. */
#define CONV_SUMS(kind, name, dtype)                                                                                   \
    static void kind##_##name(const struct conv_call *call, const struct conv_run *run, int64_t t, int count)          \
    {                                                                                                                  \
        if (count == CONV_ROWS)                                                                                        \
            conv_##kind(call, run, t, CONV_ROWS, dtype);                                                               \
        else                                                                                                           \
            for (int r = 0; r < count; r++)                                                                            \
                conv_##kind(call, run, t + r, 1, dtype);                                                               \
    }
#define CONV_SUMS_EACH(kind)                                                                                           \
    CONV_SUMS(kind, f32, TENON_F32)                                                                                    \
    CONV_SUMS(kind, f16, TENON_F16)                                                                                    \
    CONV_SUMS(kind, bf16, TENON_BF16)
CONV_SUMS_EACH(depth_any)
CONV_SUMS_EACH(depth_2)
CONV_SUMS_EACH(depth_3)
CONV_SUMS_EACH(depth_4)
CONV_SUMS_EACH(depth_5)
CONV_SUMS_EACH(group)

/* Of 2 to CONV_FEW taps. */
static int conv_few(const struct conv *g)
{
    return g->depthwise && g->dil == 1 && g->taps > 1 && g->taps <= CONV_FEW;
}

static conv_fn *conv_fn_of(const struct conv *g)
{
#define CONV_FNS(kind)                                                                                                 \
    {                                                                                                                  \
        kind##_f32, kind##_f16, kind##_bf16                                                                            \
    }
    static conv_fn *const fns[6][3] = {CONV_FNS(depth_any), CONV_FNS(group),   CONV_FNS(depth_2),
                                       CONV_FNS(depth_3),   CONV_FNS(depth_4), CONV_FNS(depth_5)};
    return fns[conv_few(g) ? g->taps : !g->depthwise][g->dtype == TENON_F32 ? 0 : g->dtype == TENON_F16 ? 1 : 2];
}

#endif
