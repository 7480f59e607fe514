/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn: a feed-forward layer that skips what its activations make zero.
 *
 *     y = wd S_h( ext o S_g(act(S_p(wg S_xg(x)))) o (wu S_xu(x)) )     with wg
 *     y = wd S_h( ext o S_g(act(S_p(wu S_xu(x)))) )                    without (xg and its tensors are then not used)
 *
 * x [..., D] (leading axes fold into T), y [..., O]; wg and wu have F rows, wd has O. trans_g, trans_u, trans_d = 0: a
 * matrix is [rows, width], row after row; 1: [width, rows], column after column. Skipping columns of w (entries of x
 * at S_xg and S_xu, neurons at wd) saves time where they lie together: trans = 1 (TEAL, WINA; trans_d everywhere).
 * Skipping rows (neurons of wu that S_g or ext made zero, CATS) saves time with trans_u = 0. i8 weights have scales:
 * f32 [rows] or [rows, width/G], G a multiple of 32 that divides the width.
 * split = r > 0: wg sees x[0:r] and wu x[r:D]; 0: both see all.
 *
 * Each of the five sites xg, xu, p, g, h is `none` or a rule of sparsify, with that operator's meaning (tenon/ops/
 * sparsify.h: which entries are kept, as what, ties, NaN), row by row: kind, by, keep, ddof, k, t, tau, cap, and the
 * tensors t_<site> (thresholds a column) and wgt_<site> (weights of scores). A site is as wide as what it is applied
 * to: xg and xu as x or its part, the others F. batch_topk is not offered: a token must not depend on others.
 * What is an error there about kind, tensors and k is one here.
 * Sites work on f32: x is widened first, and what a site makes of it is not rounded to its type.
 *
 * Exact zeros. A term of a product whose factor from xg, xu or h is 0, whether a site, the activation, ext or x itself
 * made it so, contributes exactly 0, even where the weight is Inf or NaN; so does a neuron of wu where ext o g is 0:
 * its row is not read, h is 0. ext = 0 skips a neuron of the first matrix too, unless p or g choose among the row
 * (topk, stat_topk), which then see it. Everything else follows IEEE.
 *
 * Complements (R-Sparse): with factors U [rows, r] and V [width, r] of a matrix, w x becomes
 * w S(x) + U (V^T (x - x where S(x) is not 0)): what the site dropped passes in low rank. cu_<m> is U, cv_<m> is V, for
 * m of g, u, d; both or none, any r. trans has no part in them.
 *
 * T == 0, F == 0, O == 0, D == 0 are fine: empty sums are 0.
 * Errors: SHAPE when widths disagree, split outside [1, D - 1], k outside a site's width; ARG as sparsify's, for
 * tensors of a site that is none or has no use of them, and for xg's settings, scale or complement without wg; DTYPE
 * for scales without i8 or i8 without; ALIAS for any overlap of y. T, D, F, O < 2^31.
 *
 * Tolerance: with c(v) = 4e-7*sqrt(max(1,width/1024)) * sum |w||v| of a product, carried on through act, the products
 * with what they meet and the next matrix; an entry within its error of a site's threshold (cut, theta) may be kept or
 * not: its whole value is then an error. 16-bit y: one ulp more. Where sum |w||v| passes 2^120 the sum may overflow on
 * its way: any value is right there, and of whatever it meets.
 * Determinism: D0. A token's bits depend neither on other tokens nor on T. D1 where every sum is exact (small integers)
 * and act is identity or relu.
 * Thread rule: a plan may run on any number of threads at once.
 *
 * Sources: ReLU-fication (Mirzadeh et al., 2023), ProSparse (Song et al., 2024), Lazy neuron (Li et al., 2022), CATS
 * (Lee et al., 2024), CHESS (He et al., 2024), TEAL (Liu et al., 2024), WINA (Chen et al., 2025), R-Sparse (Zhang et
 * al., 2025), Spark Transformer (You et al., 2025), SMoRA (Zhao et al., 2025), CoreInfer (Wang et al., 2024).
 */
#ifndef TENON_OPS_SPARSE_FFN_H
#define TENON_OPS_SPARSE_FFN_H

#include <stdint.h>
#include <tenon/ops/act.h>

/* Kinds of a site: sparsify's but batch_topk, after none. */
#define TENON_SPARSE_FFN_KIND_LIST(X)                                                                                  \
    X(NONE, "none")                                                                                                    \
    X(ABS_GT, "abs_gt")                                                                                                \
    X(ABS_GE, "abs_ge")                                                                                                \
    X(GT, "gt")                                                                                                        \
    X(GE, "ge")                                                                                                        \
    X(RELU, "relu")                                                                                                    \
    X(SHIFT_RELU, "shift_relu")                                                                                        \
    X(SOFT, "soft")                                                                                                    \
    X(TOPK, "topk")                                                                                                    \
    X(STAT_TOPK, "stat_topk")
#define TENON_SPARSE_FFN_KIND_(NAME, name) TENON_SPARSE_FFN_##NAME,
enum { TENON_SPARSE_FFN_KIND_LIST(TENON_SPARSE_FFN_KIND_) TENON_SPARSE_FFN_KINDS };
#undef TENON_SPARSE_FFN_KIND_

/* Sites, in the order of their tensors and settings. */
#define TENON_SPARSE_FFN_SITE_LIST(X) X(xg, XG) X(xu, XU) X(p, P) X(g, G) X(h, H)
enum {
    TENON_SPARSE_FFN_SITE_XG,
    TENON_SPARSE_FFN_SITE_XU,
    TENON_SPARSE_FFN_SITE_P,
    TENON_SPARSE_FFN_SITE_G,
    TENON_SPARSE_FFN_SITE_H,
    TENON_SPARSE_FFN_SITES
};

/* Tensors, in this order. */
enum {
    TENON_SPARSE_FFN_X,        /* in   f32 f16 bf16 [...,D] */
    TENON_SPARSE_FFN_WG,       /* in?  f32 f16 bf16 i8 [F,Dg]; trans_g: [Dg,F]; Dg is D, or split */
    TENON_SPARSE_FFN_WU,       /* in   likewise [F,Du]; trans_u: [Du,F]; Du is D, or D - split */
    TENON_SPARSE_FFN_WD,       /* in   likewise [O,F]; trans_d: [F,O] */
    TENON_SPARSE_FFN_WG_SCALE, /* in?  f32 [F] or [F,Dg/G] */
    TENON_SPARSE_FFN_WU_SCALE, /* in?  f32 [F] or [F,Du/G] */
    TENON_SPARSE_FFN_WD_SCALE, /* in?  f32 [O] or [O,F/G] */
    TENON_SPARSE_FFN_EXT,      /* in?  f32 [...,F] */
    TENON_SPARSE_FFN_T_XG,     /* in?  f32 [width of the site], and so on for the sites: */
    TENON_SPARSE_FFN_T_XU,
    TENON_SPARSE_FFN_T_P,
    TENON_SPARSE_FFN_T_G,
    TENON_SPARSE_FFN_T_H,
    TENON_SPARSE_FFN_WGT_XG, /* in?  f32 [width of the site], >= 0 */
    TENON_SPARSE_FFN_WGT_XU,
    TENON_SPARSE_FFN_WGT_P,
    TENON_SPARSE_FFN_WGT_G,
    TENON_SPARSE_FFN_WGT_H,
    TENON_SPARSE_FFN_CU_G, /* in?  f32 f16 bf16 [F,r] */
    TENON_SPARSE_FFN_CV_G, /* in?  f32 f16 bf16 [Dg,r] */
    TENON_SPARSE_FFN_CU_U, /* in?  [F,r] */
    TENON_SPARSE_FFN_CV_U, /* in?  [Du,r] */
    TENON_SPARSE_FFN_CU_D, /* in?  [O,r] */
    TENON_SPARSE_FFN_CV_D, /* in?  [F,r] */
    TENON_SPARSE_FFN_Y,    /* out  x's type or f32 [...,O] */
    TENON_SPARSE_FFN_N_TENSORS
};

enum { TENON_SPARSE_FFN_BY_VALUE, TENON_SPARSE_FFN_BY_ABS };
enum { TENON_SPARSE_FFN_SHRINK, TENON_SPARSE_FFN_KEEP };

/* Each as in tenon/ops/sparsify.h. */
struct tenon_sparse_ffn_site {
    uint32_t kind; /* TENON_SPARSE_FFN_NONE */
    uint32_t by;   /* VALUE; TOPK */
    uint32_t keep; /* SHRINK; STAT_TOPK */
    uint32_t ddof; /* 0 or 1 */
    int32_t k;     /* 0 */
    float t;       /* 0, finite */
    float tau;     /* 0, finite, >= 0 */
    float cap;     /* FLT_MAX: none */
};

struct tenon_sparse_ffn_params {
    uint32_t struct_size;
    uint32_t act;     /* TENON_ACT_IDENTITY */
    uint32_t trans_g; /* 0 or 1 */
    uint32_t trans_u; /* 0 or 1 */
    uint32_t trans_d; /* 0 or 1 */
    int32_t split;    /* 0: none */
    float alpha;      /* 0, finite: XSILU, XGELU, XATLU */
    float threshold;  /* 0, finite: FATRELU */
    struct tenon_sparse_ffn_site xg, xu, p, g, h;
};

/* The settings of site i (TENON_SPARSE_FFN_SITE_...). */
static inline const struct tenon_sparse_ffn_site *tenon_sparse_ffn_site_at(const struct tenon_sparse_ffn_params *p,
                                                                           uint32_t i)
{
    const struct tenon_sparse_ffn_site *const sites[TENON_SPARSE_FFN_SITES] = {&p->xg, &p->xu, &p->p, &p->g, &p->h};
    return sites[i];
}

#endif
