/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear: y = act(x w^T + bias) + residual.
 *
 * x [..., K] (leading axes fold into M), w [N, K], y [..., N]. trans_x = 1: x is [K, M] (rank 2). trans_w = 1:
 * w is [K, N]. w of type i8 has w_scale f32 [N] or [N, K/G], G a multiple of 32 that divides K: the weight is
 * w * w_scale. Without i8, w_scale must be absent. Sums are f32 in an order over K that depends on K alone: a row's
 * bits depend neither on other rows nor on M or its position. K == 0: y = act(bias) + residual. M == 0 or N == 0:
 * success, nothing is written.
 *
 * Errors: SHAPE when K, N or M disagree or K/G is not whole; DTYPE for w_scale without i8 or i8 without w_scale; ALIAS
 * for any overlap of y, except y == residual of the same type and strides. M, N, K < 2^31.
 * Tolerance: per element 4e-7*sqrt(max(1,K/1024))*C for f32, C = sum |x||w| + |bias| carried through act's slope, and
 * one ulp of a 16-bit y; token-wise L2 as in the product table of the operator specification.
 * Determinism: D0; D1 when every product and partial sum is exact (small integers). Rows are independent bitwise.
 * NaN and Inf follow IEEE; nothing is skipped. Thread rule: a plan may run on any number of threads at once.
 * Source: plain matrix product; activations in tenon/ops/act.h.
 */
#ifndef TENON_OPS_LINEAR_H
#define TENON_OPS_LINEAR_H

#include <stdint.h>
#include <tenon/ops/act.h>

enum {
    TENON_LINEAR_X,        /* in  f32 f16 bf16 */
    TENON_LINEAR_W,        /* in  f32 f16 bf16 i8 */
    TENON_LINEAR_W_SCALE,  /* in? f32 [N] or [N,K/G] */
    TENON_LINEAR_BIAS,     /* in? f32 [N] */
    TENON_LINEAR_RESIDUAL, /* in? y's type or f32, as y */
    TENON_LINEAR_Y,        /* out x's type or f32 */
    TENON_LINEAR_N_TENSORS
};

struct tenon_linear_params {
    uint32_t struct_size;
    uint32_t act;     /* TENON_ACT_IDENTITY */
    uint32_t trans_x; /* 0 or 1 */
    uint32_t trans_w; /* 0 or 1 */
    float alpha;      /* 0, finite: range expansion of XSILU, XGELU, XATLU */
    float threshold;  /* 0, finite: FATRELU */
};

#endif
