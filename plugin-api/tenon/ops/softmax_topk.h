/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk: the k largest logits of each row, sorted, with their probabilities; the row is read once.
 *
 * Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), section 4: softmax and top-k
 * fused; the pipeline's are in tenon/ops/softmax.h; selection after noise (Gumbel top-k): Kool et al. (2019).
 *
 * Logits v, T, R and S are those of tenon/ops/softmax.h, section 1 and kind EXP: x, scale, bias, noise, mask or
 * valid_len, row_scale, sink. The entries above -Inf are ordered by the total order of plugin-api/SPEC.md, largest v
 * first, equal ones by the smaller index; the first k of them are the row's slots. T does not move them. Slot i has
 * idx = its column and
 *     FULL      val = exp((v - R) T) / S          probability among all columns and the sink
 *     SELECTED  val = the same with the k selected entries (and the sink) alone in S: softmax of the k logits
 *     LOG       val = (v - R) T - ln S            logarithm of FULL's
 *     RAW       val = v
 * SELECTED and RAW sum nothing over the row. The statistics are softmax's, of the whole row: max, lse, pmax, margin,
 * entropy; margin and pmax are those of FULL.
 *
 * k > cols is SHAPE unless pad_short. A slot without an entry above -Inf has idx = -1 and val = 0 (LOG, RAW: -Inf).
 * An empty row (nothing above -Inf) has such slots only; its statistics are softmax's: max = -Inf, lse = -Inf or
 * sink*T, pmax = margin = entropy = 0. A NaN row (unmasked NaN or +Inf; row_scale negative, NaN or infinite; sink NaN
 * or +Inf) has val and float statistics NaN in all slots, whatever norm is; its idx are still valid: entries above
 * -Inf (+Inf first), then NaN entries by ascending index, then -1. T == 0 is uniform over the entries above -Inf.
 * flags[4] counts rows: [0] NaN rows; [1] empty rows; [2] rows with fewer than k entries above -Inf; [3] 0.
 *
 * noise ONE_SIDED_NORMAL is ARG: its bits differ between backends, and an index must not.
 * Errors: see tenon_op_check. cols == 0 (with pad_short): every row is empty. rows == 0: success, flags are 0.
 * cols < 2^31, rows < 2^32. No output may overlap another tensor.
 * Tolerance (u = 2^-24): FULL, SELECTED val*u*(12 + c|d| + b|v|), c = 1 if T == 1, else 2; b = 1 if scale, bias or
 * noise is used; d = (v - R) T. LOG u*(8 + 2|val| + |R|), 3|val| unless T == 1. RAW exact: one rounding a step of the
 * pipeline. Statistics as softmax's. Floor 2^-126.
 * Determinism: idx, RAW's val, max and flags D1 (same on every backend); other val and statistics D0 (same bits on one
 * backend for any thread count, run and batch). Rows are independent (generated noise is a function of the row's
 * number). Thread rule: a plan may run on any number of threads at once.
 */
#ifndef TENON_OPS_SOFTMAX_TOPK_H
#define TENON_OPS_SOFTMAX_TOPK_H

#include <stdint.h>
#include <tenon/ops/softmax.h> /* TENON_SOFTMAX_NOISE_* */

enum {
    TENON_SOFTMAX_TOPK_FULL = 0,
    TENON_SOFTMAX_TOPK_SELECTED = 1,
    TENON_SOFTMAX_TOPK_LOG = 2,
    TENON_SOFTMAX_TOPK_RAW = 3
};

#define TENON_SOFTMAX_TOPK_MAX_K 4096

/* Tensors, in this order. */
enum {
    TENON_SOFTMAX_TOPK_X,         /* in  f32 f16 bf16 [..., cols] */
    TENON_SOFTMAX_TOPK_BIAS,      /* in? f32 as x, or [cols] */
    TENON_SOFTMAX_TOPK_MASK,      /* in? u8 as x, or [cols]; 0 = masked. Not together with valid_len (ARG) */
    TENON_SOFTMAX_TOPK_VALID_LEN, /* in? i32 [rows] (or x's leading axes) */
    TENON_SOFTMAX_TOPK_ROW_SCALE, /* in? f32 [rows]: inverse temperature a row, >= 0 */
    TENON_SOFTMAX_TOPK_SINK,      /* in? f32 [rows] or [1]: an extra logit without output */
    TENON_SOFTMAX_TOPK_NOISE,     /* in? f32 as x, or [cols]; exactly with noise = INPUT (else ARG) */
    TENON_SOFTMAX_TOPK_VAL,       /* out? f32 [..., k] */
    TENON_SOFTMAX_TOPK_IDX,       /* out? i32 [..., k] */
    TENON_SOFTMAX_TOPK_MAX,       /* out? f32 [rows] */
    TENON_SOFTMAX_TOPK_LSE,       /* out? f32 [rows] */
    TENON_SOFTMAX_TOPK_PMAX,      /* out? f32 [rows] */
    TENON_SOFTMAX_TOPK_MARGIN,    /* out? f32 [rows] */
    TENON_SOFTMAX_TOPK_ENTROPY,   /* out? f32 [rows] */
    TENON_SOFTMAX_TOPK_FLAGS,     /* out? u32 [4] */
    TENON_SOFTMAX_TOPK_N_TENSORS
};

struct tenon_softmax_topk_params {
    uint32_t struct_size;
    uint32_t k;         /* 1, within [1, 4096] */
    uint32_t norm;      /* FULL */
    uint32_t pad_short; /* 0; 1: k may exceed cols */
    float scale;        /* 1, finite */
    float inv_temp;     /* 1, finite, >= 0; 0 = uniform */
    uint32_t noise;     /* NONE; GUMBEL or INPUT */
    float noise_amp;    /* 1, finite */
    uint64_t seed;      /* 0; GUMBEL only, as the next two */
    uint32_t stream;    /* 0 */
    uint32_t sample;    /* 0 */
};

#endif
