/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge: the states of the parts of a split row become the state of the row, and their outputs its output
 * (split-K attention, several devices).
 *
 * Sources: the merge of (maximum, sum): Milakov & Gimelshein, "Online normalizer calculation for softmax" (2018); of
 * outputs: Dao et al., "Flash-Decoding" (2023), Hong et al., "FlashDecoding++" (2023).
 *
 * Part p of a row has R_p = m[p,row], what its sums are relative to, and with T = inv_temp, over its own entries v,
 *     s = sum e^d,  a = sum e^d d,  q = sum e^2d,  o = sum e^d V  (o_normalised: that over s),  d = (v - R_p) T.
 * With R = max R_p, delta_p = (R_p - R) T <= 0 and w_p = e^delta_p, in ascending p:
 *     out_m = R;  out_s = S = sum w s;  out_a = sum w (a + s delta);  out_q = sum w^2 q;
 *     lse = R T + ln S;  out_o = (sum w o) / S  (o_normalised: (sum w s o) / S).
 * softmax's lse of a part is its R T + ln s: (lse, 1) is a state too, at T = 1.
 *
 * A part with m == -Inf or s == 0 is empty: skipped, whatever else it holds. So is a part with delta_p < -172: nothing
 * of it is left in float. A row of empty parts (P == 0) has out_m = lse = -Inf and out_s = out_a = out_q = out_o = 0.
 * An m that is NaN or +Inf, or an s that is NaN, negative or infinite (empty parts too: m == -Inf with s NaN), makes
 * every output of the row NaN. NaN and infinities in a, q, o of other parts go through the sums by IEEE's rules.
 *
 * m, s, a, q are contiguous; the leading axes of o fold into one stride, those of out_o too (else UNSUPPORTED).
 * rows == 0, dv == 0: success. P < 2^31, rows < 2^32, dv < 2^31. A GPU takes m and o of up to 2 GiB and, with o,
 * P < 2^28 (else UNSUPPORTED).
 * Tolerance (u = 2^-24, sums over p): out_m exact; out_s 8u S; out_a 8u sum w(|a| + s|delta|); out_q 8u sum w^2 |q|;
 * lse u*(8 + 2|lse| + |R| T); out_o 8u (sum w |o|)/S (o_normalised: with s), a 16-bit type 1 ulp more. Floor 2^-126
 * (f16: 2^-25), for s in [2^-90, 2^118].
 * Determinism: out_m D1, everything else D0. Rows are independent bitwise, and so are the columns of o. Thread rule: a
 * plan may run on any number of threads at once.
 */
#ifndef TENON_OPS_SOFTMAX_MERGE_H
#define TENON_OPS_SOFTMAX_MERGE_H

#include <stdint.h>

/* Tensors, in this order. */
enum {
    TENON_SOFTMAX_MERGE_M,     /* in  f32 [P,...rows] */
    TENON_SOFTMAX_MERGE_S,     /* in  f32 as m */
    TENON_SOFTMAX_MERGE_A,     /* in? f32 as m */
    TENON_SOFTMAX_MERGE_Q,     /* in? f32 as m */
    TENON_SOFTMAX_MERGE_O,     /* in? f32 f16 bf16 [P,...rows,dv] */
    TENON_SOFTMAX_MERGE_OUT_M, /* out? f32 [...rows] */
    TENON_SOFTMAX_MERGE_OUT_S, /* out? f32 [...rows] */
    TENON_SOFTMAX_MERGE_OUT_A, /* out? f32 [...rows]; needs a (ARG) */
    TENON_SOFTMAX_MERGE_OUT_Q, /* out? f32 [...rows]; needs q (ARG) */
    TENON_SOFTMAX_MERGE_LSE,   /* out? f32 [...rows] */
    TENON_SOFTMAX_MERGE_OUT_O, /* out? o's type or f32 [...rows,dv]; needs o (ARG) */
    TENON_SOFTMAX_MERGE_N_TENSORS
};

struct tenon_softmax_merge_params {
    uint32_t struct_size;
    uint32_t o_normalised; /* 0 or 1 */
    float inv_temp;        /* 1, finite, >= 0; that of the parts */
};

#endif
