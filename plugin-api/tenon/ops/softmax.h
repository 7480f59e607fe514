/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: row softmax with a logit pipeline, five algorithms and row statistics.
 *
 * Sources: two-pass form with (mantissa, exponent) pairs: Dukhan & Ablavatski, "The Two-Pass Softmax Algorithm" (2020);
 * online form: Milakov & Gimelshein, "Online normalizer calculation for softmax" (2018); fixed maximum:
 * Hong et al., "FlashDecoding++" (2023); sinks: Xiao et al. (2023), Miller's softmax-off-by-one.
 *
 * Rows are all axes but the last, which is contiguous; leading axes must fold into one row stride (else UNSUPPORTED).
 * Let v_j = x_j when scale == 1 and there is no bias, else fma(x_j, scale, bias_j);
 *     T = inv_temp * row_scale[row];  M = max of the valid v;  R = max(M, sink) or M;  d_j = (v_j - R) * T;
 *     S = sum exp(d_j) + exp((sink - R) * T).
 *   EXP      y_j = exp(d_j) / S
 *   LOG_EXP  y_j = d_j - ln S
 *   max = M (of v);  argmax = smallest index with v == M, by the total order of plugin-api/SPEC.md;
 *   lse = R*T + ln S;  pmax = exp((M-R)*T)/S;  margin = pmax - the same of the second largest v (pmax with one entry);
 *   entropy = ln s - a/s with s, a the sums of e and e*d over the row without the sink;
 *   energy = -lse/T (T > 0; T == 0: -Inf).
 *
 * Masked entries (mask == 0, or col >= valid_len, which is clamped to [0, cols]) do not exist; whatever they hold, y is
 * 0 there (LOG_EXP: -Inf). Unmasked -Inf has weight 0. Unmasked NaN or +Inf, or a row_scale that is negative, NaN or
 * infinite: the row and its float statistics are NaN; argmax stays valid (NaN below everything, then +Inf > finite).
 * Empty row (nothing above -Inf): y by empty_row; with a sink y = 0 and lse = sink*T; else lse = max = -Inf,
 * argmax = -1, pmax = margin = entropy = 0, energy = +Inf. T == 0 is uniform over the entries above -Inf.
 *
 * Errors: see tenon_op_check; y may be x itself (same type and strides), any other overlap is ALIAS. cols == 0: every
 * row is empty. rows == 0: success. cols < 2^31, rows < 2^32.
 * Tolerance (u = 2^-24): EXP f32 y*u*(12 + c*|d| + b*|v| + f), c = 0 for TWO_PASS_EXT, 1 if T == 1, else 2; b = 1 if
 * scale or bias is used; f = 2*|M - phi|*T for FIXED_MAX, else 0; 16-bit y: 1 ulp of the type more. LOG_EXP, lse:
 * u*(8 + 2|y| + |R| + f), 3|y| unless T == 1: d, its product with T and the difference from ln S each round once.
 * entropy 4e-6*(1+ln cols) + f*u. pmax, margin: pmax*u*(32 + what y has there beyond 12). Floor 2^-126 (f16: 2^-25).
 * Determinism: argmax D1 (same on every backend); everything else D0 (same bits on one backend for any thread count,
 * run and batch). Row independence holds. Thread rule: a plan may run on any number of threads at once.
 */
#ifndef TENON_OPS_SOFTMAX_H
#define TENON_OPS_SOFTMAX_H

#include <stdint.h>

enum { TENON_SOFTMAX_EXP = 0, TENON_SOFTMAX_LOG_EXP = 1 };

/* Same contract, different traffic. AUTO chooses by row length and cache. TWO_PASS_EXT needs scale == 1, inv_temp == 1
 * and no bias, row_scale (else UNSUPPORTED); rows with |x| > 2^20 are redone with THREE_PASS_RECOMPUTE. FIXED_MAX sums
 * exp(v - phi); a row with |M - phi|*T > win is redone with ONLINE. */
enum {
    TENON_SOFTMAX_AUTO = 0,
    TENON_SOFTMAX_THREE_PASS_RECOMPUTE = 1, /* max; sum exp; write exp/S: 3R+1W */
    TENON_SOFTMAX_THREE_PASS_RELOAD = 2,    /* max; write e and sum; y = e/S in place: 3R+2W */
    TENON_SOFTMAX_TWO_PASS_EXT = 3,         /* accumulate (m,n) pairs; write: 2R+1W */
    TENON_SOFTMAX_ONLINE = 4,               /* (M,s) a tile; write: 2R+1W */
    TENON_SOFTMAX_FIXED_MAX = 5             /* sum exp(v-phi) and max; write: 2R+1W */
};

enum { TENON_SOFTMAX_EMPTY_ZERO = 0, TENON_SOFTMAX_EMPTY_NAN = 1, TENON_SOFTMAX_EMPTY_UNIFORM = 2 };

/* Tensors, in this order. */
enum {
    TENON_SOFTMAX_X,         /* in  f32 f16 bf16 [..., cols] */
    TENON_SOFTMAX_BIAS,      /* in? f32 as x, or [cols] */
    TENON_SOFTMAX_MASK,      /* in? u8 as x, or [cols]; 0 = masked. Not together with valid_len (ARG) */
    TENON_SOFTMAX_VALID_LEN, /* in? i32 [rows] (or x's leading axes) */
    TENON_SOFTMAX_ROW_SCALE, /* in? f32 [rows]: inverse temperature a row, >= 0 */
    TENON_SOFTMAX_SINK,      /* in? f32 [rows] or [1]: an extra logit without output */
    TENON_SOFTMAX_Y,         /* out? x's type or f32, as x; may be absent when a statistic is asked for */
    TENON_SOFTMAX_MAX,       /* out? f32 [rows] */
    TENON_SOFTMAX_ARGMAX,    /* out? i32 [rows] */
    TENON_SOFTMAX_LSE,       /* out? f32 [rows] */
    TENON_SOFTMAX_PMAX,      /* out? f32 [rows] */
    TENON_SOFTMAX_MARGIN,    /* out? f32 [rows] */
    TENON_SOFTMAX_ENTROPY,   /* out? f32 [rows] */
    TENON_SOFTMAX_ENERGY,    /* out? f32 [rows] */
    TENON_SOFTMAX_N_TENSORS
};

struct tenon_softmax_params {
    uint32_t struct_size;
    uint32_t kind;      /* EXP */
    uint32_t algo;      /* AUTO */
    uint32_t empty_row; /* ZERO */
    float scale;        /* 1, finite */
    float inv_temp;     /* 1, finite, >= 0; 0 = uniform */
    float phi;          /* 0, finite; FIXED_MAX only */
    float win;          /* 60, 0 < win <= 60; FIXED_MAX only */
};

#endif
