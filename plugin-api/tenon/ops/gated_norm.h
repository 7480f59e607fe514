/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gated_norm: norms of rows or of groups of their columns, and gates before or after them.
 *
 * Of each row of C columns, over each group of G of them (`group`; 0: C), element by element, in f32:
 *     z = x + residual (sum: z, rounded to its type);  a gate s = act(gate), s_b = act(gate_b)
 *     N(v) = (v - mean) / sqrt(mean (v - mean)^2 + eps) LAYER,  v / sqrt(mean v^2 + eps) RMS,
 *            v / sqrt(sum v^2 + eps) L2,  v NONE;  then N (weight + weight_offset) + bias where they are given
 *     n = act_b(b), or with norm_b N_b(act_b(b)), which is N with weight_b and bias_b
 *     order   NORM_THEN_GATE                        GATE_THEN_NORM
 *     MUL     y = N(z) s  (no gate: N(z))           y = N(z s)  (no gate: N(z))
 *     LERP    y = s N(z) + (1 - s) n                y = N(s z + (1 - s) n)
 *     DUAL    y = s N(z) + s_b n                    y = N(s z + s_b n)
 *     importance = the mean of s over the row
 *
 * weight, bias and those of b have C entries, or G, which then serve every group. A group of zeros gives bias with RMS
 * and L2, as does a constant one with LAYER. A group with a NaN or an infinity in what is normalised is NaN throughout;
 * whatever else is not finite goes by IEEE's rules, act(-Inf) of SIGMOID and SILU being 0.
 *
 * Systems: RMS norm (Zhang & Sennrich 2019), SRMS is it without weight; layer norm (Ba et al. 2016); L2 norms of keys
 * and queries: G = D. GLA, DeltaNet, Gated DeltaNet, RetNet: o, gate xWg, RMS, G = V, SILU, NORM_THEN_GATE; Kimi delta
 * attention, TransNormer: SIGMOID; Mamba2: GATE_THEN_NORM with gate z; GSA's RMS(silu(o)): GATE_THEN_NORM, SIGMOID,
 * gate is x; ViG: LERP, SIGMOID, norm_b; PGN: LERP, SIGMOID, NONE, act_b TANH, b = c, x = h; GAM: DUAL, SIGMOID, NONE;
 * GateSkip: SIGMOID, NONE, gate Wx + b, and `sparsify` on importance says which tokens stay; Gemma's weights:
 * weight_offset 1.
 *
 * Errors: G not dividing C: SHAPE; a tensor that the combination needs and lacks, or has and does not use, sum without
 * residual, importance without gate, norm_b with MUL or GATE_THEN_NORM, act_b without b: ARG. y may be x, gate, b,
 * gate_b or residual, sum may be x or residual. Leading axes fold into one row stride each, weights and importance are
 * contiguous (else UNSUPPORTED). An axis of 0: success, importance is NaN where C is 0. Rows < 2^32, C < 2^31. A GPU
 * takes rows of up to 2 GiB; one whose loops end, G (and C for importance) up to what its largest work-group goes over
 * (else UNSUPPORTED).
 * Tolerance, u = 2^-24, |e(v)| what v may be off, M the mean of |v| over the group, r what N multiplies v - mean by:
 *     e(z) = u|z|;  e(s) = (16 + min(2|gate|, 200))u |s| + 2^-126 (1 + |gate|), of IDENTITY 0;  e(1 - s) = e(s) + u;
 *     e(tanh b) = 16u |tanh b|
 *     products: e(a)|b| + |a|e(b) + e(a)e(b) + u|ab|;  sums: e(a) + e(b) + u|a + b|
 *     LAYER: d = v - mean, e(d) = e(v) + mean e(v) + uM + 2u|d|, else d = v;  q = (mean or sum of 2|d|e(d) + e(d)^2 +
 *     6u d^2 + 2^-126) / (the same of d^2, + eps);  e(N) = (1 + q) e(d) r + |N|(q + 5u) where q < 1/2, else anything;
 *     e(importance) = mean e(s) + 5u mean |s|
 * a 16-bit type 1 ulp more; floor 2^-126 of every step, for N 2^-125 (1 + r max|v|), for importance 2^-125 C. Where a
 * number between x and y leaves the range of f32, anything.
 * Determinism: D0; y D1 with NONE, IDENTITY (or no gate) and PLAIN, and sum, while every product and sum is 0 or within
 * [2^-100, 2^125]. Rows are independent bitwise. Thread rule: a plan may run on any number of threads at once.
 * Traffic: 1R of each input, 1W; a group of more than 4096 columns is read twice. A GPU writes and reads the terms of b
 * once more.
 */
#ifndef TENON_OPS_GATED_NORM_H
#define TENON_OPS_GATED_NORM_H

#include <stdint.h>

enum { TENON_GATED_NORM_NONE, TENON_GATED_NORM_RMS, TENON_GATED_NORM_LAYER, TENON_GATED_NORM_L2 };
enum { TENON_GATED_NORM_NORM_THEN_GATE, TENON_GATED_NORM_GATE_THEN_NORM };
enum { TENON_GATED_NORM_SIGMOID, TENON_GATED_NORM_SILU, TENON_GATED_NORM_IDENTITY };
enum { TENON_GATED_NORM_MUL, TENON_GATED_NORM_LERP, TENON_GATED_NORM_DUAL };
enum { TENON_GATED_NORM_PLAIN, TENON_GATED_NORM_TANH }; /* act_b */

/* Tensors, in this order. */
enum {
    TENON_GATED_NORM_X,          /* in   f32 f16 bf16 [...rows,C] */
    TENON_GATED_NORM_GATE,       /* in?  f32 f16 bf16, x's shape */
    TENON_GATED_NORM_WEIGHT,     /* in?  f32 f16 bf16 [C] or [G] */
    TENON_GATED_NORM_BIAS,       /* in?  as weight */
    TENON_GATED_NORM_RESIDUAL,   /* in?  f32 f16 bf16, x's shape */
    TENON_GATED_NORM_B,          /* in?  f32 f16 bf16, x's shape; LERP and DUAL */
    TENON_GATED_NORM_GATE_B,     /* in?  the same; DUAL */
    TENON_GATED_NORM_WEIGHT_B,   /* in?  as weight; norm_b */
    TENON_GATED_NORM_BIAS_B,     /* in?  as weight; norm_b */
    TENON_GATED_NORM_Y,          /* out  x's type or f32, x's shape */
    TENON_GATED_NORM_SUM,        /* out? x's type or f32, x's shape: x + residual */
    TENON_GATED_NORM_IMPORTANCE, /* out? f32 [...rows] */
    TENON_GATED_NORM_N_TENSORS
};

struct tenon_gated_norm_params {
    uint32_t struct_size;
    uint32_t norm;       /* RMS */
    uint32_t order;      /* NORM_THEN_GATE */
    uint32_t act;        /* SILU */
    uint32_t combine;    /* MUL */
    uint32_t norm_b;     /* 0 or 1 */
    uint32_t act_b;      /* PLAIN */
    int32_t group;       /* 0: C */
    float eps;           /* 1e-6; within [1e-30, 1e30] */
    float weight_offset; /* 0; finite */
};

#endif
