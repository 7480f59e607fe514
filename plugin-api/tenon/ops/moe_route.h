/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route: from the router's logits to the experts of each token and their weights.
 *
 * T tokens, E experts, K = k slots a token. A row is a token. Values in tensors are data and never an error; what is
 * out of range counts in flags[3] and means -1, which is "no expert" everywhere.
 *
 * 1. Logits. z_e = fl(fl(logits_e + g_e) * inv_temp), g_e Gumbel noise (none without `noise`) of tenon/ops/softmax.h
 *    at (row t, column e). Experts with expert_mask == 0 do not exist: whatever they hold, z = -Inf. A token with
 *    token_valid == 0 has idx = -1, w = 0, nsel = 0 and enters no statistic and no flag.
 *    noise_use SECOND_ONLY (GShard): slot 0 by the logits without noise, the others by those with it; z itself has
 *    none. select TOPK without groups, corr_bias and hier only (ARG).
 * 2. Score. SOFTMAX s = exp(z - max z) * (1/S), S = sum exp(z - max z) over the row; SIGMOID 1/(1 + exp(-z)); RELU
 *    max(z, 0); RELU_RMS r / sqrt(mean r^2 + rms_eps) * gain_e, r = max(z, 0), mean over all E (BlockFFN); IDENTITY z;
 *    ONE 1. z = -Inf: 0 (IDENTITY: -Inf).
 * 3. Selection. The key of an expert is c = z, or with corr_bias (0 where not given) or gscore TOPN_SUM
 *    c = fl(s + corr_bias_e); c = -Inf where z = -Inf, and such an expert is absent. Better: larger by the total order
 *    of plugin-api/SPEC.md, equal ones by the smaller index; NaN comes after all numbers but is not absent.
 *    Groups (n_group > 0; DeepSeek): E/n_group neighbours each; gs = max c of the group, or the sum, best first, of its
 *    gscore_n best (an absent expert: -Inf); the topk_group best by gs stay, elsewhere c = -Inf (never 0).
 *      TOPK      the K best c; slot order is rank
 *      THRESH    s > thresh          POSITIVE  s > 0 (RELU_RMS: r > 0, for gain may be negative)      ALL  all
 *      PREFIX    experts 0 .. nuse[t]-1; nuse is clamped to [0,E] (flags[3])
 *                these four: of those with c > -Inf or NaN (PREFIX: of all); slot order is expert id; the first K
 *      TABLE     slot j is table[key[t]][j] (Hash Layers); duplicates stay; a key outside [0,V) or an entry outside
 *                [-1,E) is -1 and counts in flags[3]
 *      RANDOM    Philox word 0 of (row r, column 0) times E, upper 32 bits (THOR); r = t (TOKEN), t / random_len (SEQ),
 *                0 (CALL); K == 1 (SHAPE)
 *      EXPERT_CHOICE  each expert takes the `cap` tokens with the best s_te by the total order, equal ones the smaller
 *                token; tokens that are not valid, and entries with z = -Inf, are never taken. sel[e] has the tokens,
 *                best first, then -1; g[e] their weights, then 0; a token's slots are its experts by id, the first K
 *      DSELECT   logits are [T,R], of R soft slots; zsel[t,r,b] the bits, most significant first, B = ceil(log2 E);
 *                st(x) = 0 for x <= -gamma/2, 1 for x >= gamma/2, else 1/2 + u (3/2 - 2u^2), u = x * (1/gamma);
 *                expert e gets sum_r softmax(z)_r prod_b (bit b of e ? st : 1 - st), and is selected when that is > 0;
 *                slot order is expert id, the first K. For E not a power of two weights need not sum to 1.
 *    hier (hier_g > 0): the hier_k1 best groups by `group_logits` [T,G], and of the E/G experts of each the K/hier_k1
 *    best; weight = softmax over the groups times softmax inside the group; slot order (group rank, rank). SOFTMAX,
 *    TOPK only; inv_temp is of both levels.
 * 4. Weights. norm SOFTMAX_SEL: softmax of the selected z, whatever weight_src is. Else w = s (SCORE), softmax of the
 *    logits without noise and inv_temp (CLEAN_SOFTMAX), or 1 (ONE); norm SUM then divides by (sum over the slots +
 *    norm_eps): 0 where that is below 2^-126 in magnitude. Last w = fl(w * scale). Unused slots: idx = -1, w = 0.
 *    A bias never enters w.
 *
 * NaN rows: an unmasked NaN logit, a NaN of corr_bias or gain at an expert that exists; +Inf where a row reduction
 * needs it finite: score SOFTMAX or RELU_RMS, norm SOFTMAX_SEL, CLEAN_SOFTMAX, norm SUM of RELU or IDENTITY; in DSELECT
 * a NaN in zsel. They count in flags[0]. nan_policy PROPAGATE: selection by the keys as they are (of SOFTMAX and
 * RELU_RMS all s above -Inf are NaN, which no threshold passes), all w of used slots NaN; DROP: idx = -1, w = 0. An
 * empty row (no z above -Inf, not NaN): no expert but for TABLE, RANDOM and PREFIX, whose s is 0; flags[1].
 * TABLE, RANDOM and PREFIX with weights ONE (or score ONE, and no SOFTMAX_SEL) do not look at logits: no row is NaN or
 * empty then.
 * flags u32[4]: [0] NaN rows, [1] empty rows, [2] rows of TOPK with fewer than K experts, and rows of the others with
 * more than K (not those that nan_policy DROP dropped), [3] keys, entries and nuse out of range.
 *
 * nsel: slots with an expert. cnt1[e], cnt_k[e]: how often e is in slot 0, in any slot. Statistics, of the softmax p of
 * z over the n tokens that are valid, not NaN (here any +Inf is NaN) and not empty, all 0 for n == 0: p_mean[e] mean
 * of p_e; aux = E sum_e p_mean_e f_e, f = cnt_k/(n K) (SWITCH) or cnt1/n (GSHARD); zloss mean of lse(z)^2; entropy mean
 * of the entropy; l1 mean of sum_e max(z_e, 0) (ReMoE). Not with DSELECT, hier (ARG).
 *
 * Sources: Switch (Fedus et al. 2021), GShard (Lepikhin et al. 2020), Mixtral (Jiang et al. 2024), DeepSeek-V2, V3
 * (2024), ReMoE (Wang et al. 2024), BlockFFN (2025), Hash Layers (Roller et al. 2021), THOR (Zuo et al. 2021), expert
 * choice (Zhou et al. 2022), DSelect-k (Hazimeh et al. 2021), ST-MoE's z-loss (Zoph et al. 2022).
 *
 * Errors (tenon_op_check): E == 0 with T > 0, K > E with TOPK, EXPERT_CHOICE and hier shapes: SHAPE; n_group, hier_g
 * that do not divide E, topk_group outside [1, n_group], K > topk_group * E/n_group, gscore_n > E/n_group, hier_k1
 * outside [1, G] or not dividing K, tensors and attributes that do not go together: ARG. T == 0: counts and statistics
 * are 0. Any overlap of an output is ALIAS.
 * E <= 65536, T < 2^31. GPUs whose loops end after so many rounds (tenon devices) take E <= 8191 (else UNSUPPORTED).
 *
 * Determinism: idx, nsel, sel, cnt1, cnt_k, flags, and w and g but of RELU_RMS: D1. So that it is, every step is an IEEE
 * operation or an integer one: exp is that of one polynomial with single-rounded fma; S is a sum of integers, e rounded
 * to a multiple of 2^-40, in any order; 1/S, sums and quotients of norm SUM (TwoSum in slot order) and 1/(1+e) are
 * rounded correctly. (An ascending f64 sum, as is often specified, no device without f64 could repeat.) Logits may be
 * subnormal; sums and products below 2^-126 may be 0. p_mean, aux, zloss, entropy, l1 and RELU_RMS: D0. A token's
 * outputs do not depend on other tokens, but for EXPERT_CHOICE; generated noise is a function of its number.
 * Tolerance (u = 2^-24): w, g: w*u*(24 + |z - max z|), twice that for hier, SUM; SIGMOID w*u*16; DSELECT, RELU_RMS
 * 32u of the largest weight that is possible; p_mean u*(24 + |z - max z|) p, in the mean, and 2^-31; zloss 2|lse|*b,
 * b = u*(16 + |M| + |lse|), in the mean; entropy 4e-6*(1 + ln E); l1 16u of it; aux sum of E f times the bounds of p, and 16u.
 */
#ifndef TENON_OPS_MOE_ROUTE_H
#define TENON_OPS_MOE_ROUTE_H

#include <stdint.h>

enum {
    TENON_MOE_ROUTE_SOFTMAX = 0,
    TENON_MOE_ROUTE_SIGMOID = 1,
    TENON_MOE_ROUTE_RELU = 2,
    TENON_MOE_ROUTE_RELU_RMS = 3,
    TENON_MOE_ROUTE_IDENTITY = 4,
    TENON_MOE_ROUTE_ONE = 5
};

enum {
    TENON_MOE_ROUTE_TOPK = 0,
    TENON_MOE_ROUTE_THRESH = 1,
    TENON_MOE_ROUTE_POSITIVE = 2,
    TENON_MOE_ROUTE_ALL = 3,
    TENON_MOE_ROUTE_EXPERT_CHOICE = 4,
    TENON_MOE_ROUTE_TABLE = 5,
    TENON_MOE_ROUTE_RANDOM = 6,
    TENON_MOE_ROUTE_DSELECT = 7,
    TENON_MOE_ROUTE_PREFIX = 8
};

enum { TENON_MOE_ROUTE_NORM_NONE = 0, TENON_MOE_ROUTE_NORM_SUM = 1, TENON_MOE_ROUTE_NORM_SOFTMAX_SEL = 2 };
enum { TENON_MOE_ROUTE_WEIGHT_SCORE = 0, TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX = 1, TENON_MOE_ROUTE_WEIGHT_ONE = 2 };
enum { TENON_MOE_ROUTE_PROPAGATE = 0, TENON_MOE_ROUTE_DROP = 1 };
enum { TENON_MOE_ROUTE_NOISE_NONE = 0, TENON_MOE_ROUTE_NOISE_GUMBEL = 1 };
enum { TENON_MOE_ROUTE_NOISE_ALL = 0, TENON_MOE_ROUTE_NOISE_SECOND_ONLY = 1 };
enum { TENON_MOE_ROUTE_GSCORE_MAX = 0, TENON_MOE_ROUTE_GSCORE_TOPN_SUM = 1 };
enum { TENON_MOE_ROUTE_RANDOM_TOKEN = 0, TENON_MOE_ROUTE_RANDOM_SEQ = 1, TENON_MOE_ROUTE_RANDOM_CALL = 2 };
enum { TENON_MOE_ROUTE_AUX_SWITCH = 0, TENON_MOE_ROUTE_AUX_GSHARD = 1 };

#define TENON_MOE_ROUTE_MAX_EXPERTS 65536
#define TENON_MOE_ROUTE_MAX_GROUPS  128
#define TENON_MOE_ROUTE_MAX_GSCORE  8

/* Tensors, in this order. */
enum {
    TENON_MOE_ROUTE_LOGITS,       /* in  f32 [T,E]; DSELECT [T,R] */
    TENON_MOE_ROUTE_CORR_BIAS,    /* in? f32 [E]; TOPK, THRESH, POSITIVE, ALL; not with RELU_RMS, ONE (ARG) */
    TENON_MOE_ROUTE_GAIN,         /* in? f32 [E]; RELU_RMS, 1 when not given */
    TENON_MOE_ROUTE_TOKEN_VALID,  /* in? u8 [T] */
    TENON_MOE_ROUTE_EXPERT_MASK,  /* in? u8 [E]; not with TABLE, RANDOM, PREFIX, DSELECT (ARG) */
    TENON_MOE_ROUTE_GROUP_LOGITS, /* in? f32 [T,G]; exactly with hier (ARG) */
    TENON_MOE_ROUTE_KEY,          /* in? i32 [T]; exactly with TABLE (ARG) */
    TENON_MOE_ROUTE_TABLE_IDX,    /* in? i32 [V,K]; exactly with TABLE (ARG) */
    TENON_MOE_ROUTE_ZSEL,         /* in? f32 [T,R,B]; with DSELECT (ARG), may be absent for B = 0 */
    TENON_MOE_ROUTE_NUSE,         /* in? i32 [T]; exactly with PREFIX (ARG) */
    TENON_MOE_ROUTE_IDX,          /* out? i32 [T,K] */
    TENON_MOE_ROUTE_W,            /* out? f32 [T,K] */
    TENON_MOE_ROUTE_NSEL,         /* out? i32 [T] */
    TENON_MOE_ROUTE_SEL,          /* out? i32 [E,cap]; EXPERT_CHOICE (ARG) */
    TENON_MOE_ROUTE_G,            /* out? f32 [E,cap]; EXPERT_CHOICE (ARG) */
    TENON_MOE_ROUTE_CNT1,         /* out? i32 [E] */
    TENON_MOE_ROUTE_CNT_K,        /* out? i32 [E] */
    TENON_MOE_ROUTE_P_MEAN,       /* out? f32 [E] */
    TENON_MOE_ROUTE_AUX,          /* out? f32 [1] */
    TENON_MOE_ROUTE_ZLOSS,        /* out? f32 [1] */
    TENON_MOE_ROUTE_ENTROPY,      /* out? f32 [1] */
    TENON_MOE_ROUTE_L1,           /* out? f32 [1] */
    TENON_MOE_ROUTE_FLAGS,        /* out? u32 [4] */
    TENON_MOE_ROUTE_N_TENSORS
};

struct tenon_moe_route_params {
    uint32_t struct_size;
    uint32_t k;          /* 1, >= 1: slots of a token */
    uint32_t score;      /* SOFTMAX */
    uint32_t select;     /* TOPK */
    uint32_t norm;       /* NONE */
    uint32_t weight_src; /* SCORE */
    uint32_t nan_policy; /* PROPAGATE */
    uint32_t noise;      /* NONE; GUMBEL: TOPK, THRESH, POSITIVE, ALL, EXPERT_CHOICE, not hier (else ARG) */
    uint64_t seed;       /* 0; of noise and RANDOM, as the next two */
    uint32_t stream;     /* 0 */
    uint32_t sample;     /* 0 */
    uint32_t noise_use;  /* ALL */
    uint32_t n_group;    /* 0: no groups; TOPK only (else ARG) */
    uint32_t topk_group; /* 0 without groups */
    uint32_t gscore;     /* MAX; TOPN_SUM not with RELU_RMS, ONE (ARG) */
    uint32_t gscore_n;   /* 0; TOPN_SUM: within [1, 8] */
    uint32_t hier_g;     /* 0: no levels */
    uint32_t hier_k1;    /* 0 without levels */
    uint32_t cap;        /* 0; EXPERT_CHOICE: tokens of an expert, may exceed T */
    uint32_t random;     /* TOKEN */
    uint32_t random_len; /* 0; SEQ: >= 1 */
    uint32_t experts;    /* 0; DSELECT: E */
    uint32_t aux_rule;   /* SWITCH */
    float inv_temp;      /* 1, finite, > 0 */
    float scale;         /* 1, finite */
    float thresh;        /* 0, finite; THRESH, not with RELU_RMS (ARG) */
    float norm_eps;      /* 1e-20, >= 0; SUM */
    float rms_eps;       /* 1e-6, > 0; RELU_RMS */
    float gamma;         /* 1, > 0; DSELECT */
};

#endif
