/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Groups of gated_norm: their statistics, and what is multiplied by 1 over the root; and gates.
 *
 * Sums go over 16 lanes: of RUN blocks in floats, then into doubles, which are added by halves; tiles of TILE columns
 * ascending from the group's first. The same bits on every ISA. A sum of squares that may have left f32 on its way is
 * made again in doubles. A layer norm sums entries first and, about the mean that this gives, which may be some units
 * of the mean magnitude off, differences and their squares: those say what it is off by. */
#ifndef TENON_GATED_NORM_CPU_H
#define TENON_GATED_NORM_CPU_H

#include <math.h>

#include <tenon/ops/gated_norm.h>

#include "lib/exp.h"
#include "lib/spread.h"

#define RUN 4

/* Of a tile. */
struct norm_tile {
    double sum, squares;
};

/* Of a group so far: about `centre`. */
struct norm_sums {
    double sum, squares;
    double centre;
};

/* y = ((v scale - hi) - lo) factor. scale is 1, or a power of two where factor alone would be subnormal. */
struct norm_turn {
    float scale, hi, lo, factor;
    int plain; /* scale 1, hi and lo 0 */
};

/* Sums of v - hi - lo, where they are wanted, and of its squares, likewise. */
SIMD_FN void norm_lanes(const float *v, int64_t n, const int sums, const int squares, vf hi, vf lo, double *sum,
                        double *square)
{
    vf s[BLOCK_VECTORS], q[BLOCK_VECTORS];
    for (int b = 0; b < BLOCK_VECTORS; b++)
        s[b] = q[b] = vf_zero();
    for (int64_t c = 0; c < n; c += BLOCK)
        BLOCK_EACH(b) {
            const int k = n - c >= BLOCK ? VF : block_count((int)(n - c), b);
            vf x = k == VF ? vf_load(v + c + b * VF) : k ? vf_load_n(v + c + b * VF, k) : vf_zero();
            if (sums && squares) {
                x = vf_sub(vf_sub(x, hi), lo);
                x = k == VF ? x : vf_keep(vm_first(k), x);
            }
            if (sums)
                s[b] = c ? vf_add(s[b], x) : x;
            if (squares)
                q[b] = c ? vf_add(q[b], vf_mul(x, x)) : vf_mul(x, x);
        }
    if (sums)
        block_flush(sum, s);
    if (squares)
        block_flush(square, q);
}

/* Of at most TILE columns. */
SIMD_FN struct norm_tile norm_tile(const float *v, int64_t n, const int sums, const int squares, double centre)
{
    double sum[BLOCK] = {0}, square[BLOCK] = {0};
    const float high = (float)centre;
    const vf hi = vf_set1(high), lo = vf_set1((float)(centre - (double)high));
    int64_t c = 0;
    for (; c + RUN * BLOCK <= n; c += RUN * BLOCK)
        norm_lanes(v + c, RUN * BLOCK, sums, squares, hi, lo, sum, square);
    if (c < n)
        norm_lanes(v + c, n - c, sums, squares, hi, lo, sum, square);
    return (struct norm_tile){sums ? block_sum(sum) : 0.0, squares ? block_sum(square) : 0.0};
}

/* A sum of squares of n floats that is all it should be. */
static inline int norm_is_safe(double squares)
{
    return squares > 0x1p-60 && squares < 0x1p120;
}

static double norm_squares(const float *v, int64_t n)
{
    const double squares = norm_tile(v, n, 0, 1, 0.0).squares;
    int64_t all;
    return norm_is_safe(squares) ? squares : spread_sum(v, n, 0, 0.0, 1, &all);
}

static double norm_sum(const float *v, int64_t n)
{
    int64_t all;
    const double sum = norm_tile(v, n, 1, 0, 0.0).sum;
    return fabs(sum) < (double)INFINITY ? sum : spread_sum(v, n, 0, 0.0, 0, &all);
}

/* pass 0: the sum, of a layer norm alone; 1: the rest. Tiles ascending. */
static void norm_sums_add(struct norm_sums *sums, uint32_t norm, int pass, const float *v, int64_t n)
{
    if (norm != TENON_GATED_NORM_LAYER) {
        sums->squares += pass ? norm_squares(v, n) : 0.0;
        return;
    }
    if (pass == 0) {
        sums->sum += norm_sum(v, n);
        return;
    }
    struct norm_tile tile = norm_tile(v, n, 1, 1, sums->centre);
    if (!norm_is_safe(tile.squares)) {
        int64_t all;
        tile.sum = spread_sum(v, n, 0, sums->centre, 0, &all);
        tile.squares = spread_sum(v, n, 0, sums->centre, 1, &all);
    }
    sums->sum += tile.sum;
    sums->squares += tile.squares;
}

/* Between the passes. */
static void norm_sums_centre(struct norm_sums *sums, int64_t n)
{
    sums->centre = sums->sum / (double)n;
    sums->sum = 0.0;
}

static struct norm_turn norm_turn_of(const struct norm_sums *sums, uint32_t norm, int64_t n, double eps)
{
    struct norm_turn turn = {.scale = 1.0f, .plain = norm != TENON_GATED_NORM_LAYER};
    const double off = sums->sum / (double)n, mean = sums->centre + off;
    const double squares = sums->squares - off * sums->sum;
    double factor = 1.0 / sqrt((norm == TENON_GATED_NORM_L2 ? squares : fmax(squares, 0.0) / (double)n) + eps);
    if (!(squares < (double)INFINITY)) { /* a NaN or an infinity in the group */
        turn.factor = NAN;
        return turn;
    }
    if (factor < 0x1p-60) {
        const double scale = ldexp(1.0, ilogb(factor) > -120 ? ilogb(factor) : -120);
        turn.scale = (float)scale;
        turn.plain = 0;
        factor /= scale;
    }
    const double centre = mean * (double)turn.scale;
    turn.hi = (float)centre;
    turn.lo = (float)(centre - (double)turn.hi);
    turn.factor = (float)factor;
    return turn;
}

static struct norm_turn norm_turn_one(uint32_t norm, const float *v, int64_t n, double eps)
{
    struct norm_sums sums = {0.0, 0.0, 0.0};
    if (norm == TENON_GATED_NORM_LAYER) {
        norm_sums_add(&sums, norm, 0, v, n);
        norm_sums_centre(&sums, n);
    }
    norm_sums_add(&sums, norm, 1, v, n);
    return norm_turn_of(&sums, norm, n, eps);
}

SIMD_FN vf norm_turned(const struct norm_turn *turn, vf v)
{
    if (turn->plain)
        return vf_mul(v, vf_set1(turn->factor));
    v = vf_sub(vf_sub(vf_mul(v, vf_set1(turn->scale)), vf_set1(turn->hi)), vf_set1(turn->lo));
    return vf_mul(v, vf_set1(turn->factor));
}

/* ---- gates, in place over v[0 .. n) up to a whole number of vectors ---- */

#define GATES 4 /* vectors at a time, so that they do not wait for each other's steps */

/* sigmoid(x), or x times it. e^-|x| is 0 where that is below 2^-126. */
SIMD_FN void gate_sigmoid(float *v, const int silu, const int count)
{
    vf x[GATES], e[GATES];
    SIMD_UNROLL_MAYBE for (int i = 0; i < count; i++)
    {
        x[i] = vf_load(v + i * VF);
        e[i] = vf_neg(vf_abs(x[i]));
    }
    vf_exp_each(e, count);
    SIMD_UNROLL_MAYBE for (int i = 0; i < count; i++)
    {
        const vf one = vf_set1(1.0f), up = vf_select(vf_lt(x[i], vf_zero()), e[i], one);
        vf s = vf_div(up, vf_add(e[i], one));
        if (silu)
            s = vf_select(vf_eq(x[i], vf_set1(-INFINITY)), vf_zero(), vf_mul(s, x[i]));
        vf_store(v + i * VF, s);
    }
}

static void gate_apply(uint32_t act, float *v, int64_t n)
{
    int64_t i = 0;
    if (act == TENON_GATED_NORM_SILU) {
        for (; i + GATES * VF <= n; i += GATES * VF)
            gate_sigmoid(v + i, 1, GATES);
        for (; i < n; i += VF)
            gate_sigmoid(v + i, 1, 1);
    } else if (act == TENON_GATED_NORM_SIGMOID) {
        for (; i + GATES * VF <= n; i += GATES * VF)
            gate_sigmoid(v + i, 0, GATES);
        for (; i < n; i += VF)
            gate_sigmoid(v + i, 0, 1);
    }
}

#endif
