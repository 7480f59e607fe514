/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn: the feed-forward networks of a mixture of experts, each on its own segment of rows.
 *
 * Rows offsets[e] <= r < offsets[e+1] of z belong to expert e. With a of row r:
 *
 *     u = wu[e] a + bu[e]      g = wg[e] a + bg[e]
 *     h = NONE: act(u)    GLU1: gate(g) * u    GLU2: act(g) * u        (elementwise)
 *     z = wd[e] h + bd[e]
 *
 * a is row r of x [Mp,D]; or, when src is given, row src[r] / top_k of x [T,D] (src as moe_dispatch writes it,
 * t*top_k + j). gate is the factor of x in act (tenon/ops/act.h): sigmoid for SILU, Phi for GELU, (1 + tanh)/2 for
 * GELU_TANH, exp(-exp(-x)) for GOLU, and the expanded ones for XSILU, XGELU, XATLU. weight_at multiplies by rw[r]:
 * INPUT a, HIDDEN h, OUTPUT z (with its bias). h_dtype STORAGE rounds h, weighted, once to x's type; F32 does not.
 * Weights of type i8 are w * scale, scale [E,N] or [E,N,K/G] of a matrix [E,N,K], G a multiple of 32 that divides K.
 *
 * Experts of different widths: with foff i32 [E+1] the hidden units of all experts lie side by side, wg and wu are
 * [F,D], wd is [Do,F], bg and bu are [F], the scales of wg and wu [F] or [F,D/G], that of wd [E,Do]; expert e has the
 * units foff[e] <= f < foff[e+1]. A low-rank expert is NONE with IDENTITY, F its rank.
 *
 * Data never gives an error. offsets becomes c[e] = max(c[e-1], min(offsets[e], Mp)), c[-1] = 0, so that segments stay
 * within Mp and begin where the one before ends; foff likewise, within F. A row without an expert (below offsets[0], or
 * at or beyond offsets[E]) and a row whose src is -1, or outside [-1, T*top_k), is a row of zeros: nothing is computed
 * for it, its rw is not used, and no bias or act(bias) shows. Weights, scales and biases of an expert that has no other
 * rows are not read. flags[4] counts: [0] rows that are computed whose a (before rw) holds a NaN; [1] rows of zeros;
 * [2] 0; [3] entries of offsets and foff that the rule above changes, and entries of src, of rows that have an expert,
 * that are out of range. Why zeros: act(bias) of padding would be work, and moe_combine never reads it.
 *
 * D == 0: u and g are the biases. F == 0 (or a width of 0): z = bd. Mp == 0 or Do == 0: success, only flags is written.
 * NaN and Inf follow IEEE within a row and stay in it.
 *
 * Errors: SHAPE when D, E, F, Do or Mp disagree; ARG for wg without a GLU or a GLU without wg, GLU1 with an act that
 * has no gate (IDENTITY, RELU, RELU2, FATRELU), rw without weight_at or the reverse; DTYPE for matrices of different
 * types, scales without i8 or i8 without them, z of a type that is neither x's nor f32. Mp, E, D, F, Do, T * top_k <
 * 2^31. Tolerance: sums lose 4e-7*sqrt(max(1,K/1024)) of sum |w||x| + |bias|, carried through act's slope and the
 * second product; a 16-bit h may round the other way where that makes the difference; a 16-bit z one ulp. Token-wise L2
 * as in the product table of the operator specification. Determinism: D0. A row's bits depend on its own inputs and its
 * expert's weights alone: not on other rows, its position, Mp, or how many rows the expert has. Thread rule: a plan may
 * run on any number of threads at once. Source: Shazeer 2020 (gated units), Switch Transformer, Mixtral, DeepSeekMoE;
 * weight_at HIDDEN is BlockFFN's; GLU1 is the first-order form of Huang 2024; experts without padding as in MegaBlocks
 * (Gale et al. 2022).
 */
#ifndef TENON_OPS_MOE_FFN_H
#define TENON_OPS_MOE_FFN_H

#include <stdint.h>
#include <tenon/ops/act.h>

enum {
    TENON_MOE_FFN_X,        /* in  f32 f16 bf16 [Mp,D], with src [T,D] */
    TENON_MOE_FFN_OFFSETS,  /* in  i32 [E+1] */
    TENON_MOE_FFN_SRC,      /* in? i32 [Mp] */
    TENON_MOE_FFN_WG,       /* in? wu's type [E,F,D]; with foff [F,D] */
    TENON_MOE_FFN_WU,       /* in  f32 f16 bf16 i8 [E,F,D]; with foff [F,D] */
    TENON_MOE_FFN_WD,       /* in  wu's type [E,Do,F]; with foff [Do,F] */
    TENON_MOE_FFN_WG_SCALE, /* in? f32 [E,F] or [E,F,D/G]; with foff [F] or [F,D/G] */
    TENON_MOE_FFN_WU_SCALE, /* in? f32, likewise */
    TENON_MOE_FFN_WD_SCALE, /* in? f32 [E,Do] or [E,Do,F/G]; with foff [E,Do] */
    TENON_MOE_FFN_BG,       /* in? f32 [E,F]; with foff [F] */
    TENON_MOE_FFN_BU,       /* in? f32 [E,F]; with foff [F] */
    TENON_MOE_FFN_BD,       /* in? f32 [E,Do] */
    TENON_MOE_FFN_RW,       /* in? f32 [Mp] */
    TENON_MOE_FFN_FOFF,     /* in? i32 [E+1] */
    TENON_MOE_FFN_Z,        /* out x's type or f32 [Mp,Do] */
    TENON_MOE_FFN_FLAGS,    /* out? u32 [4] */
    TENON_MOE_FFN_N_TENSORS
};

enum { TENON_MOE_FFN_GLU_NONE, TENON_MOE_FFN_GLU1, TENON_MOE_FFN_GLU2, TENON_MOE_FFN_GLU_COUNT };
enum {
    TENON_MOE_FFN_AT_NONE,
    TENON_MOE_FFN_AT_INPUT,
    TENON_MOE_FFN_AT_HIDDEN,
    TENON_MOE_FFN_AT_OUTPUT,
    TENON_MOE_FFN_AT_COUNT
};
enum { TENON_MOE_FFN_H_STORAGE, TENON_MOE_FFN_H_F32, TENON_MOE_FFN_H_COUNT };

struct tenon_moe_ffn_params {
    uint32_t struct_size;
    uint32_t glu;       /* TENON_MOE_FFN_GLU_NONE */
    uint32_t act;       /* TENON_ACT_SILU */
    uint32_t weight_at; /* TENON_MOE_FFN_AT_NONE */
    uint32_t h_dtype;   /* TENON_MOE_FFN_H_STORAGE */
    uint32_t top_k;     /* 1; at least 1: slots a token in src */
    float alpha;        /* 0, finite: range expansion of XSILU, XGELU, XATLU */
    float threshold;    /* 0, finite: FATRELU */
};

#endif
