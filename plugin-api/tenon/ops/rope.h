/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope: rotary positions: pairs of a head's columns are turned by angles that grow with the token's position.
 *
 * With n = n_rot (0: D), i = 0 .. n/2 - 1 and p = pos[b,t] (or pos[0,t]):
 *     c = amplitude cos(p f_i), s = amplitude sin(p f_i),   (u, v) = columns (i, i + n/2)  HALF
 *                                                                    or (2i, 2i + 1)       INTERLEAVED
 *     y_u = x_u c - x_v s        y_v = x_v c + x_u s        columns from n on: as they are
 * f_i = base^(-2i/n) / scaling; or freqs[i], radians a position; or c and s are amplitude table[p,i,0] and table[p,i,1].
 *
 * Scalings as they are published, s the factor, n = n_rot, L the length in training:
 *   linear (position interpolation)   scaling = s
 *   NTK-aware                         base' = base s^(n/(n-2)) as base
 *   YaRN                              freqs: with g_i = base^(-2i/n), j(r) = n ln(L / (2 pi r)) / (2 ln base),
 *       ramp_i = clamp((i - floor j(32)) / (ceil j(1) - floor j(32)), 0, 1): f_i = g_i (1 - ramp_i) + g_i / s ramp_i;
 *       amplitude 0.1 ln s + 1 (both of q and k)
 *   Llama 3                           freqs: with w_i = 2 pi / g_i, low 1, high 4: f_i = g_i where w_i < L / high,
 *       g_i / s where w_i > L / low, else (1 - m) g_i / s + m g_i, m = (L / w_i - low) / (high - low)
 *   factors of llama.cpp, LongRoPE    freqs: f_i = g_i / factor_i
 *
 * Range reduction: F_i = f_i / (2 pi) modulo 1 is an integer times 2^-64, p F_i modulo 1 is then exact in integers for
 * every p, and of it the first 32 bits count. base^(-2i/n) / (2 pi scaling) is made in 96 bits, freqs[i] / (2 pi) from
 * its bits. So the angle is within 2^-28 of p f_i for |p| < 2^31, but for what freqs in float itself is off.
 * A cosine or sine of less than 2^-28 may be 0 (which counts where x is infinite: the product is NaN then).
 * cos and sin are polynomials of the angle in its quarter turn, without fma, and so are the rotations: the bits are the
 * same everywhere.
 *
 * Positions may be negative (p and -p turn against each other). With a table, pos == -1 is no row: y is zeros there; any
 * other position outside [0, R) too, and it is counted: data never gives an error code. A frequency that is not finite
 * or is 2^24 and more in size makes its columns NaN. flags: [3] entries of pos outside [-1, R) of the table, else 0.
 *
 * Errors: n_rot odd or above D; table and freqs; scaling != 1 with either: ARG, SHAPE. x and y have any strides of their
 * first three axes; pos, freqs, table are contiguous (else UNSUPPORTED). y may be x. An axis of 0: success. B T < 2^31,
 * H < 2^16, D < 2^16. A GPU takes the heads of one token of a sequence within 2 GiB, and a table of up to 2 GiB.
 * Tolerance (u = 2^-24): 5u amplitude (|x_u| + |x_v|), and |p| f_i 2^-49 of the same for angles made in f64; with a table
 * 3u amplitude (|x_u c| + |x_v s|); half a unit in the last place of a 16-bit type more. Floor 2^-126 (f16: 2^-25).
 * Determinism: D1 where no product is subnormal and none overflows. Rows are independent bitwise, and so are heads. HALF
 * and INTERLEAVED give the same bits of the same pairs. Thread rule: a plan may run on any number of threads at once.
 * Traffic: 1R+1W.
 * Sources: Su et al., "RoFormer" (2021); Chen et al., "Extending Context Window ... via Positional Interpolation" (2023);
 * Peng et al., "YaRN" (2023); Payne & Hanek, "Radian Reduction for Trigonometric Functions" (1983).
 */
#ifndef TENON_OPS_ROPE_H
#define TENON_OPS_ROPE_H

#include <stdint.h>

enum { TENON_ROPE_HALF = 0, TENON_ROPE_INTERLEAVED = 1 };

/* Tensors, in this order. */
enum {
    TENON_ROPE_X,     /* in   f32 f16 bf16 [B,T,H,D] */
    TENON_ROPE_POS,   /* in   i32 [B|1,T] */
    TENON_ROPE_FREQS, /* in?  f32 [n_rot/2] */
    TENON_ROPE_TABLE, /* in?  f32 [R,n_rot/2,2]: cos, sin */
    TENON_ROPE_Y,     /* out  x's type and shape */
    TENON_ROPE_FLAGS, /* out? u32 [4] */
    TENON_ROPE_N_TENSORS
};

struct tenon_rope_params {
    uint32_t struct_size;
    uint32_t style;  /* HALF */
    int32_t n_rot;   /* 0: D; else even, at most D */
    float base;      /* 10000; within [1, 1e30] */
    float scaling;   /* 1; within [0.25, 1e6] */
    float amplitude; /* 1; within [0, 1e6] */
};

#endif
