/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: scores, a weight of each score, a normaliser, and the weighted sum of v, over dense, packed, paged, ring
 * and quantised keys and values.
 *
 * 1. Formulas. For query i of head h (kv head h / (Hq/Hk)) and each visible key j:
 *
 *     s  = scale * <q_i, k_j>                        scale 0: D^-0.5
 *     s *= qtemp[i,h]                                SSA, temperatures of positions
 *     s  = softcap * tanh(s / softcap)               softcap > 0
 *     s += slope[h] * (kpos_j - qpos_i)              ALiBi (Press et al. 2022)
 *     s += fcum[i,h] - fcum_k[j,h]                   forgetting attention (Lin et al. 2025)
 *     s += mask[h,i,j]
 *     s += logw                                      of the key, or of the listed block that it is in
 *     s  = min(s, smax)                              smax FLT_MAX: none; a NaN stays one
 *     w  = EXP e^s; SIGMOID 1/(1 + e^-(s + bias)); RELU max(s,0); RELU2 max(s,0)^2; QUAD (s + quad_c)^2; LINEAR s;
 *          SOFTPICK max(e^s - 1, 0)
 *     Z  = SUM sum w + norm_eps, SOFTPICK: sum |e^s - 1| + norm_eps e^max(0, max s); SINK sum w + e^sink[h] (a sink
 *          has no value row; absent: 0, softmax-off-by-one); NONE 1; COUNT n; POW n^pow_alpha; n visible keys
 *     p  = w / Z (Z == 0: 0); CLIP: min(max((clip_zeta - clip_gamma) p + clip_gamma, 0), 1)
 *     o_i = sum p vscale[j,hk] v_j, times gate_mul * act(gate): SIGMOID, IDENTITY or SILU, [B,T,Hq] or [B,T,Hq,V]
 *
 *    adapt (EXP, SUM): with H = lnZ - sum p s, the entropy, s becomes beta s for the weights, beta = H > 0.5 ?
 *    max(-0.037 H^4 + 0.481 H^3 - 2.3 H^2 + 4.917 H - 1.791, 1) : 1. (The published H has 1e-9 in its logarithm,
 *    against p = 0; there is none here.)
 *    lnz: the logarithm of Z without sink and norm_eps, -Inf for 0: what attn_merge weighs o with.
 *
 * 2. Sequences. There are B of them; with cu_q N, B is 1, and sequence n has the rows cu_q[n] <= t < cu_q[n+1] of q and
 *    o and, unless there is a page_table, the rows cu_k[n] <= j < cu_k[n+1] of k and v (cu_k absent: cu_q, and S == T).
 *    Indices i and j, positions and lengths count from the start of the own sequence; a tensor along T or S is read at
 *    the row of q or k all the same. T_n, S_n: how many rows a sequence has.
 *    page_table: key j is in page page_table[n, j / P], row j % P. S = max_pages * P. A page outside [0, pages) is
 *    absent: its keys are not visible. What is along S is then [B or N, S], in the order of j, not in pages.
 *    ring: a key at position p is in row p < n_sink ? p : n_sink + (p - n_sink) mod (S - n_sink), which is the index of
 *    all that is along S; kv_len counts the positions ever written; those in storage are p < min(n_sink, kv_len) and
 *    the last S - n_sink of the others. kpos_j = p.
 *
 * 3. Visible is key j to query i when all of these hold:
 *      j < kv_len (absent: S_n; clamped to [0, S_n], ring: to >= 0);  bit j of keep (j % 32 of word j / 32) is set;
 *      causal: kpos_j <= qpos_i;  kpos_j >= qpos_i - wl or kpos_j < n_sink;  kpos_j <= qpos_i + wr;
 *      bounds: lo_i <= kpos_j < hi_i;  the mask's element is not -Inf;  s, after min, is not -Inf;
 *      row_ptr: block j / block_k is listed for block i / block_q of head group h / (Hq/Hg).
 *    kpos_j = j and qpos_i = kv_len - T_n + i unless given (it may be negative: causal, such a row sees nothing). wl
 *    counts the keys before the query: a window of w keys with the query's own is wl = w - 1. wl, wr = 2^31 - 1: any.
 *    Limits are compared without overflow; kpos_j - qpos_i in the slope's term is i32, modulo 2^32.
 *    What is not visible is not used, whatever it holds. NaN and Inf in what is visible follow IEEE within the row; a
 *    weight that underflows to 0 is a weight. Finite masks, however low, are values.
 *    List: row r = (b * Hg + g) * (nq+1) + i / block_q, nq = ceil(T / block_q), has the entries row_ptr[r] <= e <
 *    row_ptr[r+1] of col (both clamped to [0, nnz], the second to the first). An entry outside [0, ceil(S / block_k))
 *    or not above all entries before it in its row that are within, is skipped.
 *
 * 4. Order. The keys of a row are in places: place u of a list is key col[row_ptr + u / block_k] * block_k + u %
 *    block_k (skipped entries and what is at or beyond S have places too); without one place u is key u, ring: position
 *    u. Places are cut into tiles of 64, and 16 tiles make a split. EXP and SOFTPICK are online: a running maximum
 *    (SOFTPICK: from 0), sums rescaled a tile, splits started anew and merged in ascending order (Milakov and
 *    Gimelshein 2018; Dao et al. 2022, 2023). The shift of SOFTPICK by the maximum alone, as published, overflows.
 *    CLIP and adapt have two passes. So a row's bits depend on its own query, keys and places alone: prefill and
 *    decode, ring, linear and paged caches give the same bits, and a packed sequence those it has alone.
 *    unified (EXP): a hint (Hong et al. 2023): scores are expected in [phi + phi_lo, phi + phi_hi], where no running
 *    maximum is needed; a row with others is done online. fast: p may be rounded to f16 or bf16 before it meets v.
 *
 * 5. Quantised k and v: codes u8 of k_bits, v_bits = 8, 4, 2 bits, several to a byte, the lowest bits first; the last
 *    axis is D*k_bits/8 (V*v_bits/8) long, whole bytes. With (s, z) = k_quant[...,2]: AFFINE_TOKEN, AFFINE_CHANNEL x =
 *    (c - z) * s; LUT_TOKEN, LUT_CHANNEL x = k_table[c] * s + z (KVQuant; nscale and noff are in the table), each
 *    operation rounded. Shapes: *_TOKEN the leading axes of k, then [D/g,2]; *_CHANNEL [Hk,D,2].
 *
 * Degenerate: a row without visible keys (S == 0; a row of a packed q in no sequence) has o = 0 times the gate, lnz =
 * -Inf, also with a sink. B, T, Hq == 0: success. A NaN in a visible score, or a score of +Inf where weight is EXP or
 * SOFTPICK, makes the row NaN. A sum of weights beyond FLT_MAX is Inf. EXP with NONE, COUNT, POW is e^m times what is
 * online: Inf where that is.
 * flags counts: [0] rows (b,t,h) that hold such a NaN or +Inf; [1] rows without visible keys; [2] 0; [3] entries out of
 * range, each once: of kv_len below 0 or, without ring, beyond S_n; of cu_q and cu_k that c[n] = max(c[n-1], min(cu[n],
 * T or S)), c[-1] = 0, changes; of page_table of pages that hold a j < min(kv_len, S), below -1 or not below pages (-1
 * is absent and not counted); rows of the list of which an end is clamped; entries of the list that are skipped. Data
 * never gives an error.
 *
 * Errors: SHAPE where shapes disagree, D or V is 0, or Hq no multiple of Hk or Hg; DTYPE; ARG for attributes that
 * contradict: SINK or adapt or CLIP without EXP, CLIP without SUM or SINK, adapt without SUM, sink without SINK,
 * norm_eps without SUM or with EXP, lnz with CLIP, adapt, NONE, POW or LINEAR with SUM, one of fcum and fcum_k, cu_k
 * without cu_q or with page_table, row_ptr without col, with cu_q or ring, ring with kpos, with cu_q without page_table
 * or with n_sink >= S, k_quant without quant_k, k_table without LUT, a type of k that is not the quantiser's. Side
 * tensors are contiguous (else UNSUPPORTED), q, k, v, o, mask, gate and the leading axes of k_quant, v_quant have free
 * strides. D, V <= 65536; B*T*Hq, S, T < 2^31. A GPU takes tensors of up to 2 GiB and B*T*Hq < 2^25; one whose loops
 * end, D <= 8000 and a col of fewer than 2^15 entries (else UNSUPPORTED).
 * Tolerance (u = 2^-24; u_out = u, 2^-11, 2^-8 for o of f32, f16, bf16), against f64 of the inputs as they are given,
 * with sigma = max over visible j of |scale qtemp| sum |q||k| plus the magnitudes of all terms that are added:
 *   EXP, SIGMOID: 2^-21 (1 + sigma) sum |w vscale v| / Z + 1.01 u_out |o|.
 *   Others: with E = sum (|w| + sigma |w'|) |vscale v| and EZ = sum (|z| + sigma |w'|) over the terms z of Z (NONE,
 *   COUNT, POW: 0), SOFTPICK with 1 + sigma for sigma (two exponentials round however small s is), 2^-21 (E/Z +
 *   EZ/Z sum |w vscale v| / Z) + 1.01 u_out |o|; rows with Z < 1e-6 sigma sum |w'| are held to nothing but NaN.
 *   fast adds 2^-7 sum |w vscale v| / Z. CLIP: (zeta - gamma) times the first term, and 2u (zeta - gamma) sum |vscale
 *   v|.
 *   adapt: beta sigma for sigma; and a weight may be off by 2 (|beta(H +- h) - beta(H)| + 8u beta) |s_j - sum p s| of
 *   itself besides, h = 4e-6 (1 + ln n) + 2^-21 sigma sum p |s - sum p s|: what H may be off by.
 *   Quantised: |k| is |c - z| |s| (LUT: |table s| + |z|) + 2^-1 |x| in sigma, and |v| likewise.
 *   lnz: 2^-21 (1 + sigma) + 2u |lnz|, others than EXP: 2^-21 EZ / Z + 2u |lnz|. The gate: 8u |o|, after it.
 *   Floor: 2^-126 (o of f16: 2^-25), and 2^-126 sum |vscale v| / Z.
 * Determinism: D0 on one backend, D2 between backends; flags D1 where no score overflows. Thread rule: a plan may run
 * on any number of threads at once.
 *
 * Sources: Vaswani et al. 2017; Dao et al. 2022, 2023; Hong et al. 2023; Kwon et al. 2023 (pages); Xiao et al. 2023
 * (sinks); Ramapuram et al. 2024 (sigmoid); Zuhri et al. 2025 (softpick); Bondarenko et al. 2023 (clip); Velickovic et
 * al. 2024 (adapt); Li et al. 2022 (quad); Zeng et al. 2022 (relu); Hua et al. 2022 (relu2); Hooper et al. 2024 (lut);
 * Qiu et al. 2025 (gates).
 */
#ifndef TENON_OPS_ATTENTION_H
#define TENON_OPS_ATTENTION_H

#include <stdint.h>

enum {
    TENON_ATTENTION_EXP = 0,
    TENON_ATTENTION_SIGMOID = 1,
    TENON_ATTENTION_RELU = 2,
    TENON_ATTENTION_RELU2 = 3,
    TENON_ATTENTION_QUAD = 4,
    TENON_ATTENTION_LINEAR = 5,
    TENON_ATTENTION_SOFTPICK = 6,
    TENON_ATTENTION_WEIGHT_COUNT
};

enum {
    TENON_ATTENTION_SUM = 0,
    TENON_ATTENTION_SINK = 1,
    TENON_ATTENTION_NONE = 2,
    TENON_ATTENTION_COUNT = 3,
    TENON_ATTENTION_POW = 4,
    TENON_ATTENTION_NORM_COUNT
};

enum { TENON_ATTENTION_POST_NONE = 0, TENON_ATTENTION_POST_CLIP = 1, TENON_ATTENTION_POST_COUNT };

enum {
    TENON_ATTENTION_QUANT_NONE = 0,
    TENON_ATTENTION_AFFINE_TOKEN = 1,
    TENON_ATTENTION_AFFINE_CHANNEL = 2,
    TENON_ATTENTION_LUT_TOKEN = 3,
    TENON_ATTENTION_LUT_CHANNEL = 4,
    TENON_ATTENTION_QUANT_COUNT
};

enum {
    TENON_ATTENTION_GATE_SIGMOID = 0,
    TENON_ATTENTION_GATE_IDENTITY = 1,
    TENON_ATTENTION_GATE_SILU = 2,
    TENON_ATTENTION_GATE_COUNT
};

#define TENON_ATTENTION_ANY 0x7fffffffu /* wl, wr: no window on this side */
#define TENON_ATTENTION_TILE 64         /* places of a tile, and of a split: part of the order of 4. */
#define TENON_ATTENTION_SPLIT 1024
#define TENON_ATTENTION_MAX_WIDTH 65536 /* D, V */

/* Tensors, in this order. Bk: N with cu_q and page_table, 1 with cu_q alone, else B. */
enum {
    TENON_ATTENTION_Q,          /* in  f32 f16 bf16 [B,T,Hq,D] */
    TENON_ATTENTION_K,          /* in  q's type, u8 with quant_k [B,S,Hk,D]; page_table: [pages,Hk,P,D], P % 16 == 0 */
    TENON_ATTENTION_V,          /* in  q's type, u8 with quant_v [B,S,Hk,V]; page_table: [pages,Hk,P,V] */
    TENON_ATTENTION_PAGE_TABLE, /* in? i32 [B or N,max_pages]; -1: absent */
    TENON_ATTENTION_CU_Q,       /* in? i32 [N+1]; B == 1 */
    TENON_ATTENTION_CU_K,       /* in? i32 [N+1] */
    TENON_ATTENTION_KV_LEN,     /* in? i32 [B or N] */
    TENON_ATTENTION_KPOS,       /* in? i32 [Bk or 1,S] */
    TENON_ATTENTION_QPOS,       /* in? i32 [B or 1,T] */
    TENON_ATTENTION_BOUNDS,     /* in? i32 [B or 1,T,2]: lo, hi */
    TENON_ATTENTION_KEEP,       /* in? u32 [Bk or 1,Hk or 1,ceil(S/32)] */
    TENON_ATTENTION_MASK,       /* in? f32 f16 bf16 [B or 1,Hq or 1,T or 1,S] */
    TENON_ATTENTION_SLOPE,      /* in? f32 [Hq] */
    TENON_ATTENTION_FCUM,       /* in? f32 [B,T,Hq] */
    TENON_ATTENTION_FCUM_K,     /* in? f32 [Bk,S,Hq] */
    TENON_ATTENTION_QTEMP,      /* in? f32 [B,T,Hq] */
    TENON_ATTENTION_VSCALE,     /* in? f32 [Bk,S,Hk] */
    TENON_ATTENTION_LOGW,       /* in? f32 [Bk,S,Hk], or [nnz] beside col */
    TENON_ATTENTION_ROW_PTR,    /* in? i32 [B,Hg,nq+1] */
    TENON_ATTENTION_COL,        /* in? i32 [nnz] */
    TENON_ATTENTION_SINK_LOGIT, /* in? f32 [Hq], named sink */
    TENON_ATTENTION_GATE,       /* in? f32 or q's type [B,T,Hq] or [B,T,Hq,V] */
    TENON_ATTENTION_K_QUANT,    /* in? f32 */
    TENON_ATTENTION_V_QUANT,    /* in? f32 */
    TENON_ATTENTION_K_TABLE,    /* in? f32 [2^k_bits] */
    TENON_ATTENTION_V_TABLE,    /* in? f32 [2^v_bits] */
    TENON_ATTENTION_O,          /* out q's type or f32 [B,T,Hq,V] */
    TENON_ATTENTION_LNZ,        /* out? f32 [B,T,Hq] */
    TENON_ATTENTION_FLAGS,      /* out? u32 [4] */
    TENON_ATTENTION_N_TENSORS
};

struct tenon_attention_params {
    uint32_t struct_size;
    uint32_t weight;   /* EXP */
    uint32_t norm;     /* SUM */
    uint32_t post;     /* POST_NONE */
    uint32_t adapt;    /* 0; 1 */
    uint32_t causal;   /* 0; 1 */
    uint32_t wl, wr;   /* ANY; <= ANY */
    uint32_t n_sink;   /* 0; < 2^31 */
    uint32_t ring;     /* 0; 1 */
    uint32_t quant_k, quant_v; /* QUANT_NONE */
    uint32_t k_bits, v_bits;   /* 8; 8, 4, 2 */
    uint32_t block_q, block_k; /* 64; within [1, 65536]; with row_ptr */
    uint32_t gate_act; /* GATE_SIGMOID */
    uint32_t unified;  /* 0; 1: EXP only (else ARG) */
    uint32_t fast;     /* 0; 1 */
    float scale;       /* 0: D^-0.5 */
    float softcap;     /* 0: none; >= 0 */
    float smax;        /* FLT_MAX: none */
    float norm_eps;    /* 0; >= 0 */
    float bias;        /* 0; SIGMOID */
    float quad_c;      /* 5; QUAD */
    float pow_alpha;   /* 1; within [0, 1]; POW */
    float clip_gamma;  /* 0; within [-1, 0]; CLIP */
    float clip_zeta;   /* 1; within [1, 2]; CLIP */
    float gate_mul;    /* 1 */
    float phi;         /* 0; unified, as the next two */
    float phi_lo, phi_hi; /* -60, 60; within [-80, 80], phi_lo < phi_hi (else ARG) */
};

#endif
