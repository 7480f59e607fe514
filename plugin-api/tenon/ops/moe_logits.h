/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_logits: what a router makes of tokens before it selects, z[t,e] = act(kind(x[t,:], w[e,:]) + bias[e]).
 *
 * x [..., D] (leading axes fold into T), w [E, D], bias [E], z [..., E]. With |v| the Euclidean norm:
 *     DOT      x.w
 *     COSINE   scale x.w / ((|x| + eps) (|w| + eps)); eps is added to each norm, so a zero row gives 0
 *     NEG_L2   -|x - w|, from the sum of (x - w)^2 itself: |x|^2 + |w|^2 - 2 x.w would cancel
 *     STD_DOT  n(x).n(w) / sqrt(D), n(v) = (v - mean) / sqrt(variance + eps), variance over D, without affine parts
 * eps 0 stands for the kind's own: 1e-6 of COSINE, 1e-5 of STD_DOT. TANH and SIGMOID are the plain functions; RELU, GELU
 * and SILU those of tenon/ops/act.h. The activation dense-to-sparse gate is softmax(act(Wx) / tau): moe_route has tau.
 *
 * COSINE and STD_DOT make rows of length 1 (of variance 1) of x and of w first, in the workspace, at every run: it has
 * T*D and E*D floats for that. w may change between runs.
 *
 * D == 0: z = act(bias), 0 without bias. T == 0 or E == 0: success, nothing is written. x and w may have different
 * types. Sums are f32 in an order over D that depends on D alone. NaN and infinities follow IEEE, so a row of x or w
 * with one of them has NaN at COSINE and STD_DOT.
 *
 * Errors: SHAPE when x and w disagree in D, or z in T or E; ARG for 0 < eps < 1e-12; ALIAS for any overlap of z.
 * T, E, D < 2^31. A GPU takes D < 2^22 with COSINE and STD_DOT (else UNSUPPORTED).
 * Tolerance (u = 2^-24, before the activation, whose slope carries it on), while the sums of |x||w|, x^2, w^2 and
 * (x - w)^2 stay below 2^126 (beyond, any value): DOT 4e-7*sqrt(max(1,D/1024))*(sum |x||w| + |bias|); COSINE
 * 4e-6*scale; NEG_L2 4e-6 of it, and 2^-63*sqrt(D) where squares vanish; STD_DOT 1e-5*sqrt(D); then 2u of z.
 * Determinism: D0; DOT is D1 when every product and partial sum is exact (small integers). A token's bits depend
 * neither on other tokens nor on T. Thread rule: a plan may run on any number of threads at once.
 *
 * Sources: COSINE, the cosine router (Chi et al., "On the Representation Collapse of Sparse Mixture of Experts", 2022);
 * NEG_L2, the Laplace gate (Han et al., "FuseMoE", 2024; HMoE); STD_DOT, PHATGOOSE (Muqeeth et al., 2024); act, the
 * activation dense-to-sparse gate (Nguyen et al., 2024).
 */
#ifndef TENON_OPS_MOE_LOGITS_H
#define TENON_OPS_MOE_LOGITS_H

#include <stdint.h>

#define TENON_MOE_LOGITS_KIND_LIST(X) \
    X(DOT, "dot")                     \
    X(COSINE, "cosine")               \
    X(NEG_L2, "neg_l2")               \
    X(STD_DOT, "std_dot")
#define TENON_MOE_LOGITS_ACT_LIST(X) \
    X(NONE, "none")                  \
    X(RELU, "relu")                  \
    X(SIGMOID, "sigmoid")            \
    X(TANH, "tanh")                  \
    X(GELU, "gelu")                  \
    X(SILU, "silu")

#define TENON_MOE_LOGITS_KIND_(NAME, name) TENON_MOE_LOGITS_##NAME,
#define TENON_MOE_LOGITS_ACT_(NAME, name) TENON_MOE_LOGITS_ACT_##NAME,
enum { TENON_MOE_LOGITS_KIND_LIST(TENON_MOE_LOGITS_KIND_) TENON_MOE_LOGITS_KINDS };
enum { TENON_MOE_LOGITS_ACT_LIST(TENON_MOE_LOGITS_ACT_) TENON_MOE_LOGITS_ACTS };
#undef TENON_MOE_LOGITS_KIND_
#undef TENON_MOE_LOGITS_ACT_

/* Tensors, in this order. */
enum {
    TENON_MOE_LOGITS_X,    /* in  f32 f16 bf16 [...,D] */
    TENON_MOE_LOGITS_W,    /* in  f32 f16 bf16 [E,D] */
    TENON_MOE_LOGITS_BIAS, /* in? f32 [E] */
    TENON_MOE_LOGITS_Z,    /* out f32 [...,E] */
    TENON_MOE_LOGITS_N_TENSORS
};

struct tenon_moe_logits_params {
    uint32_t struct_size;
    uint32_t kind; /* TENON_MOE_LOGITS_DOT */
    uint32_t act;  /* TENON_MOE_LOGITS_ACT_NONE */
    float scale;   /* 1, finite: COSINE */
    float eps;     /* 0: the kind's own; else 1e-12 or more: COSINE, STD_DOT */
};

#endif
