/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: the row softmax family: a logit pipeline, eleven score kinds, row statistics and a post step.
 *
 * Rows are all axes but the last, which is contiguous; leading axes must fold into one row stride (else UNSUPPORTED).
 *
 * Sources of the algorithms: two-pass with (mantissa, exponent) pairs: Dukhan and Ablavatski (2020); online: Milakov
 * and Gimelshein (2018); fixed maximum: Hong et al. (2023); sinks: Xiao et al. (2023), Miller's softmax-off-by-one;
 * multiplicities: VQ-Logits.
 *
 * 1. Logits. v_j = x_j when scale == 1 and there is no bias, else fma(x_j, scale, bias_j); with noise, noise_amp *
 *    noise_j is rounded and then added. T = inv_temp * row_scale[row], times beta with `adaptive`.
 *    noise: GUMBEL -ln(-ln u) and ONE_SIDED_NORMAL |N(0,1)| from Philox4x32-10 (Salmon et al. 2011) at counter
 *    (col>>2, row, sample, stream), key seed, word col&3, u = (word>>9 + 1/2) * 2^-23; the normal by Box and Muller
 *    from words (0,1), (2,3): R cos(2 pi u_b), R sin(2 pi u_b), R = sqrt(-2 ln u_a). INPUT: the tensor `noise`.
 * 2. Support. Entries outside are as masked in all that follows. TOPK: the k best by the total order of
 *    plugin-api/SPEC.md (-Inf never among them; a NaN only when fewer than k entries are above -Inf). STAT_TOPK: v >
 *    mean + std * Q(1 - k/cols), mean and population std over the unmasked entries above -Inf, Q the normal quantile
 *    (Gemma 3n; Spark); a row with an unmasked NaN or +Inf has no threshold: all its entries. k >= the unmasked
 *    entries: all of them.
 * 3. Kind. M = max of v, R = max(M, sink) or M; d_j = (v_j - R) * T; z_j = v_j * T, -Inf for v_j = -Inf;
 *    S = sum mult_j exp(d_j) + exp((sink - R) * T); n: the unmasked entries.
 *      EXP         y = exp(d) / S
 *      LOG_EXP     y = d - ln S
 *      SOFTPICK    y = max(e^z - 1, 0) / (sum |e^z - 1| + eps e^K), K = max(M T, 0); -Inf adds nothing
 *                  (Zuhri et al. 2025; eps as in their fused kernel)
 *      SPARSEMAX   y = max(z - tau, 0), sum y = 1 (Martins and Astudillo 2016)
 *      ENTMAX15    y = max(z/2 - tau, 0)^2, sum y = 1 (Peters et al. 2019)
 *      SIGMOID     y = 1 / (1 + exp(-(z + b))), b = -ln n or sigmoid_bias (Ramapuram et al. 2024)
 *      RELU_NORM   y = r / (sum r + eps), r = max(z, 0)      RELU2_NORM  the same of r = max(z, 0)^2
 *      QUAD_NORM   y = r / (sum r + eps), r = (z + quad_c)^2 (Li et al. 2022, MPCFormer)
 *      STABLEMAX   y = h / sum h, h = z >= 0 ? z + 1 : 1 / (1 - z) (Prieto et al. 2025)
 *      SCALE       y = z / n
 *    A sum of 0 (eps = 0 and no weight anywhere) gives y = 0.
 * 4. Post. CLIP min(max((zeta - gamma) y + gamma, 0), 1), masked entries stay 0 (Bondarenko et al. 2023); HARD 1 at
 *    argmax, 0 elsewhere (Jang et al. 2017; kind EXP only); QUANT_U8 clamp(rint(y / qscale), 0, 255), y is u8: the
 *    consumer adds a constant for the lost mass (Pandey et al. 2023).
 *
 * adaptive (kind EXP; Velickovic et al. 2024): H = entropy at T; beta = H > adaptive_gate ? max(c4 H^4 + .. + c0, 1) :
 * 1. The published polynomial is below 1 for H < 0.849 and again for H > 5.944: rows as flat as 380 equal logits are
 * not sharpened. M does not change.
 *
 * Statistics, of the row after support and with the final T; those marked e need kind EXP or LOG_EXP (else ARG):
 *   max = M;  argmax = smallest index with v == M;  lse(e) = R*T + ln S;  sum(e) = S;  pmax(e) = exp((M-R)*T)/S;
 *   margin(e) = pmax - the same of the second largest v (pmax with one entry);  entropy(e) = ln s - a/s with s, a the
 *   sums of mult e and mult e d without the sink;  sumsq(e) = sum mult e^2 / S^2;  energy(e) = -lse/T (T == 0: -Inf);
 *   nnz = entries with weight: v > -Inf; for RELU_NORM, RELU2_NORM, SOFTPICK v > 0 and T > 0; for SPARSEMAX, ENTMAX15
 *   those above tau (before the post step);  tau: of SPARSEMAX, ENTMAX15 in units of z, z/2 (others: ARG);
 *   beta: with adaptive only (else ARG).
 * flags[4] counts rows: [0] NaN rows, and rows of SIGMOID or SCALE that hold a NaN or +Inf; [1] empty rows; [2] rows of
 * support TOPK with fewer than k entries above -Inf, whatever else they are; [3] rows that TWO_PASS_EXT or FIXED_MAX
 * redid. A row that counts in [0] does not count in [1].
 *
 * Masked entries (mask == 0, mult == 0, or col >= valid_len, which is clamped to [0, cols]) do not exist; whatever they
 * hold, y is 0 there (LOG_EXP: -Inf). Unmasked -Inf has weight 0 (QUAD_NORM: NaN row; SCALE: y = -Inf). Unmasked NaN or
 * +Inf, a row_scale that is negative, NaN or infinite, a mult that is negative, NaN or infinite: the row and its float
 * statistics are NaN; argmax stays valid (NaN below everything, then +Inf > finite), nnz is 0. In y, SIGMOID and SCALE
 * take NaN and +Inf element by element. Empty row (nothing above -Inf): y by empty_row (UNIFORM over the unmasked) for
 * EXP, LOG_EXP, SPARSEMAX, ENTMAX15, zeros for the others (SIGMOID and SCALE: as their formula says); HARD and CLIP of
 * an empty row are zeros (NAN: NaN); with a sink y = 0, sum = 1 and lse = sink*T; else lse = max = tau = -Inf, argmax =
 * -1, sum = pmax = margin = entropy = sumsq = nnz = 0, energy = +Inf, beta = 1. T == 0 is uniform over the entries
 * above -Inf. NaN through QUANT_U8 is 0: flags[0] tells.
 *
 * Errors: see tenon_op_check; y may be x itself (same type and strides), any other overlap is ALIAS. cols == 0: every
 * row is empty. rows == 0: success, flags are 0. cols < 2^31, rows < 2^32.
 * Tolerance (u = 2^-24): EXP f32 y*u*(12 + c*|d| + b*|v| + f), c = 0 for TWO_PASS_EXT, 1 if T == 1, else 2; b = 1 if
 * scale, bias or noise is used; f = 2*|M - phi|*T for FIXED_MAX, else 0; 16-bit y: 1 ulp of the type more. LOG_EXP,
 * lse: u*(8 + 2|y| + |R| + f), 3|y| unless T == 1: d, its product with T and the difference from ln S each round once.
 * entropy 4e-6*(1+ln cols) + f*u. pmax, margin: pmax*u*(32 + what y has there beyond 12). sum, sumsq: relative u*(32 +
 * f). beta: |polynomial's slope| times the bound of the entropy, and 16u; it enters y, lse and the rest times |d|.
 * SOFTPICK y*u*(20 + 2|d| + 2K), d = z - K. SPARSEMAX, ENTMAX15, tau absolute 2^-21 (and 4u|M T|). SIGMOID y*u*(8 + |z|
 * + |z+b|). RELU_NORM, RELU2_NORM, STABLEMAX, SCALE y*16u. QUAD_NORM 16u * max y. CLIP: (zeta - gamma) times what y
 * has, and 2u*(zeta - gamma). QUANT_U8: 1 where y/qscale is within 1e-3 (and what y has) of a half, else 0.
 * ONE_SIDED_NORMAL: noise within 1e-6, times |noise_amp|, times T, joins every bound. STAT_TOPK: entries within
 * 4u*(|mean| + std*|Q|) of the threshold may be in or out. Floor 2^-126 (f16: 2^-25).
 * Determinism: argmax, HARD, nnz (but of the two *MAX kinds), flags[0..2], TOPK's support and Gumbel noise D1 (same on
 * every backend); everything else D0 (same bits on one backend for any thread count, run and batch). Row independence
 * holds (generated noise is a function of the row's number). Thread rule: a plan may run on any number of threads.
 */
#ifndef TENON_OPS_SOFTMAX_H
#define TENON_OPS_SOFTMAX_H

#include <stdint.h>

enum {
    TENON_SOFTMAX_EXP = 0,
    TENON_SOFTMAX_LOG_EXP = 1,
    TENON_SOFTMAX_SOFTPICK = 2,
    TENON_SOFTMAX_SPARSEMAX = 3,
    TENON_SOFTMAX_ENTMAX15 = 4,
    TENON_SOFTMAX_SIGMOID = 5,
    TENON_SOFTMAX_RELU_NORM = 6,
    TENON_SOFTMAX_RELU2_NORM = 7,
    TENON_SOFTMAX_QUAD_NORM = 8,
    TENON_SOFTMAX_STABLEMAX = 9,
    TENON_SOFTMAX_SCALE = 10
};

/* Same contract, different traffic. AUTO chooses by row length and cache. The others are for kinds EXP and LOG_EXP
 * without noise, support, mult, adaptive and post (else UNSUPPORTED). TWO_PASS_EXT needs scale == 1, inv_temp == 1
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

enum {
    TENON_SOFTMAX_NOISE_NONE = 0,
    TENON_SOFTMAX_NOISE_GUMBEL = 1,
    TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL = 2,
    TENON_SOFTMAX_NOISE_INPUT = 3
};

enum { TENON_SOFTMAX_SUPPORT_ALL = 0, TENON_SOFTMAX_SUPPORT_TOPK = 1, TENON_SOFTMAX_SUPPORT_STAT_TOPK = 2 };

enum { TENON_SOFTMAX_BIAS_AUTO = 0, TENON_SOFTMAX_BIAS_FIXED = 1 };

enum {
    TENON_SOFTMAX_POST_NONE = 0,
    TENON_SOFTMAX_POST_CLIP = 1,
    TENON_SOFTMAX_POST_HARD = 2,
    TENON_SOFTMAX_POST_QUANT_U8 = 3
};

/* Tensors, in this order. */
enum {
    TENON_SOFTMAX_X,         /* in  f32 f16 bf16 [..., cols] */
    TENON_SOFTMAX_BIAS,      /* in? f32 as x, or [cols] */
    TENON_SOFTMAX_MASK,      /* in? u8 as x, or [cols]; 0 = masked. Not together with valid_len (ARG) */
    TENON_SOFTMAX_VALID_LEN, /* in? i32 [rows] (or x's leading axes) */
    TENON_SOFTMAX_ROW_SCALE, /* in? f32 [rows]: inverse temperature a row, >= 0 */
    TENON_SOFTMAX_SINK,      /* in? f32 [rows] or [1]: an extra logit without output; EXP, LOG_EXP (else ARG) */
    TENON_SOFTMAX_NOISE,     /* in? f32 as x, or [cols]; exactly with noise = INPUT (else ARG) */
    TENON_SOFTMAX_MULT,      /* in? f32 [cols] >= 0: how often a column counts in the sum; EXP, LOG_EXP (else ARG) */
    TENON_SOFTMAX_Y,         /* out? x's type or f32, u8 with QUANT_U8, as x; may be absent with a statistic */
    TENON_SOFTMAX_MAX,       /* out? f32 [rows] */
    TENON_SOFTMAX_ARGMAX,    /* out? i32 [rows] */
    TENON_SOFTMAX_LSE,       /* out? f32 [rows] */
    TENON_SOFTMAX_PMAX,      /* out? f32 [rows] */
    TENON_SOFTMAX_MARGIN,    /* out? f32 [rows] */
    TENON_SOFTMAX_ENTROPY,   /* out? f32 [rows] */
    TENON_SOFTMAX_ENERGY,    /* out? f32 [rows] */
    TENON_SOFTMAX_SUM,       /* out? f32 [rows] */
    TENON_SOFTMAX_SUMSQ,     /* out? f32 [rows] */
    TENON_SOFTMAX_NNZ,       /* out? i32 [rows] */
    TENON_SOFTMAX_TAU,       /* out? f32 [rows] */
    TENON_SOFTMAX_BETA,      /* out? f32 [rows] */
    TENON_SOFTMAX_FLAGS,     /* out? u32 [4] */
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
    uint32_t noise;     /* NONE */
    float noise_amp;    /* 1, finite */
    uint64_t seed;      /* 0; generated noise only, as the next two */
    uint32_t stream;    /* 0 */
    uint32_t sample;    /* 0 */
    uint32_t support;   /* ALL */
    uint32_t k;         /* 0; TOPK, STAT_TOPK: >= 1, and 0 without them (else ARG) */
    float eps;          /* -1: 1e-6 for SOFTPICK, 1e-5 for the *_NORM kinds; else >= 0 */
    uint32_t sigmoid_rule; /* AUTO: -ln n */
    float sigmoid_bias; /* 0, finite; not 0 only with rule FIXED (else ARG) */
    float quad_c;       /* 5, finite; QUAD_NORM only */
    uint32_t post;      /* NONE; not with LOG_EXP, HARD with EXP only (else ARG) */
    float zeta;         /* 1, >= 1; CLIP only */
    float gamma;        /* 0, <= 0; CLIP only */
    float qscale;       /* 1/255, > 0; QUANT_U8 only */
    uint32_t adaptive;  /* 0; 1: kind EXP only (else ARG) */
    float adaptive_gate; /* 0.5 */
    float adaptive_c0, adaptive_c1, adaptive_c2, adaptive_c3, adaptive_c4; /* -1.791, 4.917, -2.3, 0.481, -0.037 */
};

#endif
