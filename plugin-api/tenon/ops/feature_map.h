/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * feature_map: what linear attention makes of queries and keys. Of each row x of K entries, in f32, W outputs:
 *
 *   kind        W               y
 *   IDENTITY    K               x
 *   RELU        K               max(x, 0)
 *   RELU2       K               max(x, 0)^2
 *   ELU1        K               x + 1 where x > 0, else e^x
 *   SILU        K               x sigmoid(x)
 *   EXP         K               e^x
 *   SOFTMAX     K               e^(x - m) / sum e^(x - m), m = max x
 *   L2          K               x / sqrt(sum x^2 + eps)
 *   SUMNORM     K               x / (sum x + eps)
 *   HEDGEHOG    2K              softmax of [2x, -2x]
 *   DPFP        2K nu           r = [max(x,0), max(-x,0)]; for j = 1 .. nu: r_i r_(i-j), indices modulo 2K
 *   TAYLOR2     1+2K+K(K-1)/2   1; x_i K^(-1/4); x_i^2 / sqrt(2K); x_i x_j / sqrt(K) for i < j, i ascending, then j
 *   NALA_Q      2K              (max(x,0) / s)^e, then (max(-x,0) / s)^e, e = power (0.5 + tanh s), s = sqrt(sum x^2)
 *   NALA_K      2K              max(x,0)^power, then max(-x,0)^power
 *   OUTER       K Kb            x_i b_j at i Kb + j (b absent: x, Kb = K)
 *
 * OUTER of OUTER is the next tensor power: <x (x) x, y (x) y> = <x,y>^2. TAYLOR2 of queries and keys: their product is
 * 1 + <q,k>/sqrt K + <q,k>^2/(2K).
 *
 * NaN entries give NaN, of SOFTMAX, L2, SUMNORM, HEDGEHOG and NALA_Q the whole row; so does an infinity in these, but
 * -Inf of SOFTMAX, which is 0 (a row of nothing else: zeros). A row of zeros is zeros in NALA_Q (where the published
 * code gives NaN) and in L2. Other infinities go by IEEE's rules.
 *
 * Errors: y of another width: SHAPE; b with another kind than OUTER: ARG. Kinds of width K: y may be x. Leading axes
 * fold into one row stride each (else UNSUPPORTED). An axis of 0: success; W of TAYLOR2 is 1 for K = 0. Rows < 2^32,
 * K < 2^16, W < 2^31. A GPU takes rows of up to 2 GiB (else UNSUPPORTED).
 * Tolerance (u = 2^-24): IDENTITY, RELU exact; RELU2, DPFP, OUTER 2u|y|; ELU1, EXP 6u|y|; SILU (16 + min(2|x|,
 * 200))u|y|; TAYLOR2 6u|y|; SOFTMAX, HEDGEHOG (12 + d)u|y|, d the size of the exponent; L2 8u|y|; SUMNORM (8u + 2q)|y|
 * with q = 4u sum|x| / |sum x + eps| < 1/2, else anything; NALA_K (16 + 16 power |ln max|)u|y|, of power 3: 8u|y|;
 * NALA_Q with f = max/s: (16 + 16 e + 40 e |ln f|)u|y| + 2^-124 (1 + e) sqrt(K)/s; a 16-bit type 1 ulp more; floor
 * 2^-125 (1 + what a factor is multiplied by), of L2 and SUMNORM 2^-125 (1 + (1 + max|x|) |y/x|). Where y or a factor
 * leaves f32, anything.
 * Determinism: IDENTITY, RELU, RELU2, DPFP, OUTER D1 while products are 0 or within [2^-100, 2^125]; else D0. Rows are
 * independent bitwise. Thread rule: a plan may run on any number of threads at once.
 * Traffic: 1R+1W.
 * Sources: Katharopoulos et al., "Transformers are RNNs" (2020), ELU1; Schlag et al., "Linear Transformers Are Secretly
 * Fast Weight Programmers" (2021), DPFP and SUMNORM; Zhang et al., "The Hedgehog & the Porcupine" (2024); Arora et al.,
 * "Simple linear attention language models" (2024), TAYLOR2; Meng et al., "NaLaFormer" (2025).
 */
#ifndef TENON_OPS_FEATURE_MAP_H
#define TENON_OPS_FEATURE_MAP_H

#include <stdint.h>

/* X(NAME, lower-case name) */
#define TENON_FEATURE_MAP_LIST(X)                                                                                      \
    X(IDENTITY, "identity")                                                                                            \
    X(RELU, "relu")                                                                                                    \
    X(RELU2, "relu2")                                                                                                  \
    X(ELU1, "elu1")                                                                                                    \
    X(SILU, "silu")                                                                                                    \
    X(EXP, "exp")                                                                                                      \
    X(SOFTMAX, "softmax")                                                                                              \
    X(L2, "l2")                                                                                                        \
    X(SUMNORM, "sumnorm")                                                                                              \
    X(HEDGEHOG, "hedgehog")                                                                                            \
    X(DPFP, "dpfp")                                                                                                    \
    X(TAYLOR2, "taylor2")                                                                                              \
    X(NALA_Q, "nala_q")                                                                                                \
    X(NALA_K, "nala_k")                                                                                                \
    X(OUTER, "outer")

#define TENON_FEATURE_MAP_CONSTANT_(NAME, name) TENON_FEATURE_MAP_##NAME,
enum { TENON_FEATURE_MAP_LIST(TENON_FEATURE_MAP_CONSTANT_) TENON_FEATURE_MAP_COUNT };
#undef TENON_FEATURE_MAP_CONSTANT_

/* Tensors, in this order. */
enum {
    TENON_FEATURE_MAP_X, /* in  f32 f16 bf16 [...rows,K] */
    TENON_FEATURE_MAP_B, /* in? f32 f16 bf16 [...rows,Kb]; OUTER */
    TENON_FEATURE_MAP_Y, /* out x's type or f32 [...rows,W] */
    TENON_FEATURE_MAP_N_TENSORS
};

struct tenon_feature_map_params {
    uint32_t struct_size;
    uint32_t kind; /* ELU1 */
    uint32_t nu;   /* 1; 1 to 4: DPFP */
    float power;   /* 3; within [2, 16]: NALA_Q, NALA_K */
    float eps;     /* 1e-6; within [1e-30, 1e30]: L2, SUMNORM */
};

#endif
