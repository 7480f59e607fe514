/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify: thresholds and top-k on activations; dense, compact or both.
 *
 * Rows are all axes but the last, which is contiguous; leading axes must fold into one row stride (else UNSUPPORTED).
 * An entry that is not kept is +0 in y and is absent from the compact outputs. Let s_j = |x_j| * wgt_j, rounded once
 * to f32 (|x_j| without wgt), and t of the entry: t_row[row], t_col[col], or the attribute.
 *   ABS_GT      keeps s > t              as x     TEAL, CATS, WINA, R-Sparse
 *   ABS_GE      keeps |x| >= t           as x     CHESS
 *   GT, GE      keeps x > t, x >= t      as x     FATReLU (ProSparse), JumpReLU, BatchTopK at inference
 *   RELU        keeps x > 0 and NaN      as x     ReLU-fication
 *   SHIFT_RELU  keeps x > tau            as min(x - tau, cap)
 *   SOFT        keeps |x| > tau          as sign(x) * min(|x| - tau, cap)
 *   TOPK        keeps the k best of the row, by x, or by s (by = ABS)           Lazy neuron, WINA
 *   BATCH_TOPK  keeps the k * rows best of the whole tensor, likewise; a row may keep none or all    BatchTopK SAE
 *   STAT_TOPK   keeps x > theta as x - theta (SHRINK) or x (KEEP); theta = mean + std * Q(1 - k/cols), of the row, with
 *               Q the standard normal quantile and std over cols - ddof     Spark, Gemma-3n
 * Best: by the total order of plugin-api/SPEC.md (-0 equals +0), equal ones by the smaller index (of BATCH_TOPK
 * row * cols + col, in 64 bits).
 *
 * NaN: only RELU keeps one. An entry whose score or threshold is NaN (wgt 0 times an infinite x; NaN in t_row or
 * t_col) is not kept; a NaN in t_row therefore keeps nothing of its row. Values in t_row, t_col and wgt are data and
 * never an error; a negative wgt gives a negative score. The infinities are ordinary: -Inf may win a place by value.
 * When fewer than k entries are not NaN, those are kept.
 * STAT_TOPK: a row with a NaN or an infinity has no theta and keeps nothing; the number kept is not k (near it for
 * normal rows, far from it for others). k == cols keeps every entry that is not NaN, as x (theta is -Inf, there is
 * nothing to subtract); k == 0 keeps nothing. Both hold whatever the row holds.
 * cap == FLT_MAX (the default) is no cap: +Inf - tau stays +Inf.
 *
 * Compact outputs: cidx[row] has the columns that are kept, ascending, then -1; cval[row] their values, then +0;
 * nnz[row] how many there are. A row that keeps more than kmax has the first kmax there (nnz is kmax); y is not
 * affected. Without cidx and cval nnz is the number kept.
 * flags[0]: rows with a NaN or +Inf in x; [1]: rows that keep nothing; [2]: rows of TOPK, and of STAT_TOPK with
 * k == cols, with fewer than k entries that can be kept, of BATCH_TOPK 1 when the tensor has fewer than k * rows of
 * them; [3]: rows that keep more than kmax.
 *
 * Errors: NaN in an attribute, tau < 0, cap <= 0: ARG (tenon_op_check); t_row and t_col together, or one of them with
 * a kind without t, wgt elsewhere than ABS_GT and TOPK, BATCH_TOPK by ABS: ARG; k < 0 or k > cols with a top-k kind:
 * SHAPE; y may be x itself (same type and strides), any other overlap is ALIAS. cols == 0: rows are empty. rows == 0:
 * success, flags are zeros. cols < 2^31, rows < 2^32.
 * Determinism: which entries are kept, and with it nnz, cidx and flags, D1; of STAT_TOPK D0: entries within
 * 4u*(|mean| + std*|Q|) of theta may be kept or not (u = 2^-24), also where entries cancel and Q is near 0. Kept values
 * of x are exact, which is D1; differences are rounded once to f32 and, for 16-bit x, once to the type: D1 above
 * 2^-126, below which flush to zero is allowed.
 * Rows are independent bitwise, but of BATCH_TOPK. Thread rule: a plan may run on any number of threads at once.
 * Traffic: thresholds 1R+1W; TOPK 2R+1W where a row lies in cache, else 4R+1W as BATCH_TOPK; STAT_TOPK 2R+1W.
 * Sources: Liu et al., "TEAL" (2024); Lee et al., "CATS" (2024); Chen et al., "WINA" (2025); Song et al., "ProSparse"
 * (2024); Bussmann et al., "BatchTopK Sparse Autoencoders" (2024); You et al., "Spark Transformer" (2025).
 */
#ifndef TENON_OPS_SPARSIFY_H
#define TENON_OPS_SPARSIFY_H

#include <stdint.h>

enum {
    TENON_SPARSIFY_ABS_GT = 0,
    TENON_SPARSIFY_ABS_GE = 1,
    TENON_SPARSIFY_GT = 2,
    TENON_SPARSIFY_GE = 3,
    TENON_SPARSIFY_RELU = 4,
    TENON_SPARSIFY_SHIFT_RELU = 5,
    TENON_SPARSIFY_SOFT = 6,
    TENON_SPARSIFY_TOPK = 7,
    TENON_SPARSIFY_BATCH_TOPK = 8,
    TENON_SPARSIFY_STAT_TOPK = 9
};

enum { TENON_SPARSIFY_BY_VALUE = 0, TENON_SPARSIFY_BY_ABS = 1 };
enum { TENON_SPARSIFY_SHRINK = 0, TENON_SPARSIFY_KEEP = 1 };

/* Tensors, in this order. */
enum {
    TENON_SPARSIFY_X,     /* in   f32 f16 bf16 [..., cols] */
    TENON_SPARSIFY_T_ROW, /* in?  f32 [rows] (or x's leading axes): t of ABS_GT, ABS_GE, GT, GE */
    TENON_SPARSIFY_T_COL, /* in?  f32 [cols]: likewise; not both */
    TENON_SPARSIFY_WGT,   /* in?  f32 [cols], >= 0 */
    TENON_SPARSIFY_Y,     /* out? x's type, as x */
    TENON_SPARSIFY_NNZ,   /* out? i32 [rows] */
    TENON_SPARSIFY_CIDX,  /* out? i32 [rows, kmax] (or x's leading axes, kmax) */
    TENON_SPARSIFY_CVAL,  /* out? x's type, as cidx */
    TENON_SPARSIFY_FLAGS, /* out? u32 [4] */
    TENON_SPARSIFY_N_TENSORS
};

struct tenon_sparsify_params {
    uint32_t struct_size;
    uint32_t kind; /* ABS_GT */
    uint32_t by;   /* VALUE; TOPK and BATCH_TOPK */
    uint32_t keep; /* SHRINK; STAT_TOPK */
    uint32_t ddof; /* 0 or 1; STAT_TOPK */
    int32_t k;     /* 0; TOPK, BATCH_TOPK, STAT_TOPK */
    float t;       /* 0, finite; ABS_GT, ABS_GE, GT, GE */
    float tau;     /* 0, finite, >= 0; SHIFT_RELU, SOFT */
    float cap;     /* FLT_MAX: none; > 0; SHIFT_RELU, SOFT */
};

#endif
