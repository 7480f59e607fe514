/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: a matrix state a head that each token decays, writes and reads: o = S^T q. Linear and gated linear
 * attention, state spaces with scalar decay, delta rules.
 *
 * 1. Heads. There are HS = max(Hq, Hk, Hv) states a sequence, each of Hq, Hk, Hv divides HS, and state head h takes
 *    head h Hx / HS of a tensor with Hx heads: few k and v, few q and k, or all alike.
 *
 * 2. Formulas, of one state head, tokens t = 0 .. T_n - 1 of its sequence, S [K,V] from `state` (absent: 0):
 *
 *     EXCLUSIVE:  o_t = scale S^T q_t                      before the token's decay and write
 *     GROUP:      o_t = scale S'^T q_t                     S' is S as it was before token floor(t / group) group
 *     S = a_t . S                                          NONE 1; HEAD, TOKEN one number; KEY a_t[k] of row k of S;
 *                                                          VALUE a_t[v] of column v. LOG: a = e^g, g = -Inf is 0
 *     u = v_t                                              ADD
 *     u = beta_t (v_t - S^T k_t)                           DELTA: decayed, then erased, then written
 *     S = S + k_t u^T
 *     INCLUSIVE:  o_t = scale S^T q_t                      scale 0: K^-0.5
 *
 *    norm: z_t = a_t . z + kn_t (z from norm_state, absent: 0; kn absent: k), den_t = scale <qn_t, z> (qn absent: q),
 *    read where S is read. SUM: o = (scale S^T q) / (den + eps), 0 where den + eps is 0. MAX1: over max(|den|, 1), a
 *    NaN stays one.
 *    direction: CAUSAL as above. REVERSE: t = T_n - 1 .. 0. BIDIR: w_bi times the sum of both (so INCLUSIVE counts the
 *    own token twice), the second with decay_b (absent: decay). NONCAUSAL: o_t = scale S^T q_t with S = sum k_j v_j^T,
 *    z = sum kn_j of all tokens.
 *    a is meant to be within [0, 1], g <= 0, beta within [0, 2]; others are computed as written, where CHUNKED may
 *    overflow before RECURRENT does when |a| > 1. a = 0 forgets, exactly, all that is finite. a = 1 is exact.
 *
 * 3. Sequences. There are B; with cu_q N, B is 1, and sequence n has the rows c[n] <= t < c[n+1], c[n] = max(c[n-1],
 *    min(cu_q[n], T)), c[-1] = 0. Rows in no sequence have o = 0. States are one a sequence: a sequence of length 0
 *    leaves state_out = state (absent: 0), bit for bit. T_n is the number of tokens of a sequence.
 *
 * 4. mode. RECURRENT: token by token: any split of a sequence into calls that carry the state, empty ones too, gives
 *    the same bits (GROUP: into multiples of group). CHUNKED: some tokens at once, as matrix products (7.3 and 7.4 of
 *    the sources below): the same within the tolerance for any split, and the same bits where all pieces but the last
 *    are multiples of chunk: chunks begin with their sequence, and their length divides `chunk` (GROUP: ends with
 *    groups; no promise but the tolerance). Decays are products of factors, never differences of sums of
 *    logarithms: exact zeros and strong decays stay finite. It is a wish: what has no faster form, and a chunk with
 *    NaN or Inf in it, is taken token by token. AUTO: either, chosen from T_n, K, V, types and attributes alone.
 *
 * NaN and Inf follow IEEE through the recurrence, token by token: what a token brings in reaches its own row and the
 * later ones of its sequence and head (of BIDIR and NONCAUSAL: all rows), no others. An element that is not finite so
 * is not finite; whether it is NaN or Inf is not said. Neither clears a state that has them: a new sequence does.
 *
 * Degenerate: B, T, HS == 0: success. Results that underflow may be 0: numbers below 2^-126 are flushed or not.
 * flags counts: [0] rows (b,t,h) of o with an element that is not finite before it is rounded to o's type (where
 * nothing overflows, D1); [1] rows (b,t,h) in no sequence; [2] 0; [3] entries of cu_q with c[n] != cu_q[n]. Data never
 * gives an error.
 *
 * Errors: SHAPE where shapes disagree, K or V is 0, one of Hq, Hk, Hv does not divide HS, B != 1 with cu_q; DTYPE; ARG
 * for attributes that contradict: decay without a tensor or the reverse, decay_b without BIDIR, beta without DELTA or
 * the reverse, VALUE or norm with DELTA, norm with VALUE or BIDIR, qn, kn, norm_state, norm_state_out without norm,
 * norm_state without state or (with norm) the reverse, NONCAUSAL with decay, DELTA or another read than INCLUSIVE,
 * GROUP without CAUSAL, states without CAUSAL, chunk that is no multiple of 16. q, k, v, qn, kn, o and decay of KEY and
 * VALUE have free strides, all others are contiguous (else UNSUPPORTED). K, V <= 65536; B*T*HS, N*HS < 2^31. A GPU
 * takes tensors of up to 2 GiB, HS <= 32768 and, where its loops end, K <= 16000 (else UNSUPPORTED). state_out may be
 * state, norm_state_out norm_state.
 * Tolerance (u = 2^-24; u_out = u, 2^-11, 2^-8 for o of f32, f16, bf16), against f64 of the inputs as they are given:
 *   ADD, norm NONE: c u A + 1.01 u_out |o|, A the same recurrence with |q|, |k|, |v|, |a|, |state|, |scale|, |w_bi|;
 *   c = 64 + K/2 + e T_n, e = 1/2 (each of T_n sums rounds, at worst all one way: .375 n), LOG 2 (and every factor is
 *   two places off). state_out: c u A of it.
 *   norm: D = den + eps or max(|den|, 1), AD = |scale| <|qn|, z of absolute values> + eps: c u (A + |o| AD) / |D| +
 *   1.01 u_out |o|; rows with |D| < 4 c u AD are held to nothing.
 *   DELTA, for |a| <= 1 and 0 <= beta |k|^2 <= 2, where errors do not grow (else nothing): c = 64 + K + 4 T_n, X =
 *   max over tokens of (|S[:,v]| + |k| |beta v_v|), euclidean norms, S before the first token among them: c u |scale|
 *   |q| X + 1.01 u_out |o|; BIDIR |w_bi| times the sum of both. state_out: c u X.
 *   Floor, as a number below 2^-126 may become 0 at each step: 2^-125 (1 + K T_n) (1 + |scale| sum |q|) (1 + max|v| +
 *   M), M = T_n max|k| max|v| + max|state|, DELTA X, maxima of the sequence and head; norm: times (1 + |o|) / |D|;
 *   BIDIR: times 1 + 2 |w_bi|; o of f16 and 2^-25. state_out: without the factor of q.
 * Determinism: D0, D2 between backends; a sequence's and a head's bits do not depend on the others in the call. Thread
 * rule: a plan may run on any number of threads at once.
 * Traffic of RECURRENT at T = 1: each element of a state is read once and written once.
 *
 * Systems: Linear Transformer: features elu + 1, SUM, scale 1. RetNet: HEAD 1 - 2^(-5-h). TransNormer, Lightning:
 * HEAD, LOG -2^(-8(h+1)/H) (1 - l/(L-1) + 1e-5), scale 1, SiLU of q, k, v. GLA: KEY, LOG logsigmoid(..) / 16. HGRN2:
 * KEY f, k = 1 - f. Mamba2: TOKEN exp(-exp(A) d), q = C, k = B, v = d u, scale 1. DeltaNet: DELTA, q and k of unit
 * length, beta sigmoid or twice that; Gated DeltaNet: also TOKEN, LOG -exp(A) softplus(..); Kimi delta attention: the
 * same with KEY. GSA: VALUE a, v = 1 - a, scale 1; softmax of o; that as q, k = 1 - a, KEY a, scale 1. ViG: BIDIR,
 * KEY. BDH: EXCLUSIVE, scale 1, q = k turned by rope, one v. NaLaFormer: NONCAUSAL, SUM, q and k turned, qn and kn
 * not. FLASH: NONCAUSAL, scale 1/T, or GROUP, scale 1/group, and attention (RELU2, bounds) within groups added.
 * mLSTM: TOKEN, MAX1, k times its input gate. Convolutions before and norms and gates after are operators of their
 * own.
 *
 * Sources: Katharopoulos et al. 2020 (linear attention); Sun et al. 2023 (HEAD: RetNet); Qin et al. 2024 (Lightning);
 * Yang et al. 2023 (KEY: GLA); Qin et al. 2024 (HGRN2); Dao and Gu 2024 (TOKEN: Mamba2); Yang et al. 2024 (DELTA and
 * its UT form), 2025 (Gated DeltaNet); Kimi Team 2025 (KDA); Zhang et al. 2024 (VALUE: GSA); Liao et al. 2024 (BIDIR:
 * ViG); Kosowski et al. 2025 (EXCLUSIVE: BDH); Hua et al. 2022 (GROUP: FLASH); Meng et al. 2025 (qn, kn: NaLaFormer);
 * Beck et al. 2024 (MAX1: mLSTM).
 */
#ifndef TENON_OPS_LINEAR_ATTENTION_H
#define TENON_OPS_LINEAR_ATTENTION_H

#include <stdint.h>

enum {
    TENON_LINEAR_ATTENTION_NONE = 0,
    TENON_LINEAR_ATTENTION_HEAD = 1,
    TENON_LINEAR_ATTENTION_TOKEN = 2,
    TENON_LINEAR_ATTENTION_KEY = 3,
    TENON_LINEAR_ATTENTION_VALUE = 4,
    TENON_LINEAR_ATTENTION_DECAY_COUNT
};

enum { TENON_LINEAR_ATTENTION_FACTOR = 0, TENON_LINEAR_ATTENTION_LOG = 1, TENON_LINEAR_ATTENTION_FORM_COUNT };

enum { TENON_LINEAR_ATTENTION_ADD = 0, TENON_LINEAR_ATTENTION_DELTA = 1, TENON_LINEAR_ATTENTION_UPDATE_COUNT };

enum {
    TENON_LINEAR_ATTENTION_INCLUSIVE = 0,
    TENON_LINEAR_ATTENTION_EXCLUSIVE = 1,
    TENON_LINEAR_ATTENTION_GROUP = 2,
    TENON_LINEAR_ATTENTION_READ_COUNT
};

enum {
    TENON_LINEAR_ATTENTION_CAUSAL = 0,
    TENON_LINEAR_ATTENTION_REVERSE = 1,
    TENON_LINEAR_ATTENTION_BIDIR = 2,
    TENON_LINEAR_ATTENTION_NONCAUSAL = 3,
    TENON_LINEAR_ATTENTION_DIRECTION_COUNT
};

enum {
    TENON_LINEAR_ATTENTION_NORM_NONE = 0,
    TENON_LINEAR_ATTENTION_SUM = 1,
    TENON_LINEAR_ATTENTION_MAX1 = 2,
    TENON_LINEAR_ATTENTION_NORM_COUNT
};

enum {
    TENON_LINEAR_ATTENTION_AUTO = 0,
    TENON_LINEAR_ATTENTION_RECURRENT = 1,
    TENON_LINEAR_ATTENTION_CHUNKED = 2,
    TENON_LINEAR_ATTENTION_MODE_COUNT
};

#define TENON_LINEAR_ATTENTION_MAX_WIDTH 65536 /* K, V */

/* Tensors, in this order. Bn: N with cu_q, else B. */
enum {
    TENON_LINEAR_ATTENTION_Q,              /* in   f32 f16 bf16 [B,T,Hq,K] */
    TENON_LINEAR_ATTENTION_K,              /* in   q's type [B,T,Hk,K] */
    TENON_LINEAR_ATTENTION_V,              /* in   q's type [B,T,Hv,V] */
    TENON_LINEAR_ATTENTION_DECAY,          /* in?  f32 f16 bf16, HEAD [HS], TOKEN [B,T,HS], KEY [..,K], VALUE [..,V] */
    TENON_LINEAR_ATTENTION_DECAY_B,        /* in?  f32 f16 bf16, as decay: of BIDIR's second sweep */
    TENON_LINEAR_ATTENTION_BETA,           /* in?  f32 f16 bf16 [B,T,HS] */
    TENON_LINEAR_ATTENTION_QN,             /* in?  q's type [B,T,Hq,K] */
    TENON_LINEAR_ATTENTION_KN,             /* in?  q's type [B,T,Hk,K] */
    TENON_LINEAR_ATTENTION_CU_Q,           /* in?  i32 [N+1]; B == 1 */
    TENON_LINEAR_ATTENTION_STATE,          /* in?  f32 [Bn,HS,K,V] */
    TENON_LINEAR_ATTENTION_NORM_STATE,     /* in?  f32 [Bn,HS,K] */
    TENON_LINEAR_ATTENTION_O,              /* out  q's type or f32 [B,T,HS,V] */
    TENON_LINEAR_ATTENTION_STATE_OUT,      /* out? f32 [Bn,HS,K,V] */
    TENON_LINEAR_ATTENTION_NORM_STATE_OUT, /* out? f32 [Bn,HS,K] */
    TENON_LINEAR_ATTENTION_FLAGS,          /* out? u32 [4] */
    TENON_LINEAR_ATTENTION_N_TENSORS
};

struct tenon_linear_attention_params {
    uint32_t struct_size;
    uint32_t decay;      /* NONE */
    uint32_t decay_form; /* FACTOR; of decay_b too */
    uint32_t update;     /* ADD */
    uint32_t read;       /* INCLUSIVE */
    uint32_t group;      /* 1; within [1, 2^31 - 1]; GROUP */
    uint32_t direction;  /* CAUSAL */
    uint32_t norm;       /* NORM_NONE */
    uint32_t mode;       /* AUTO */
    uint32_t chunk;      /* 64; a multiple of 16 within [16, 256] */
    float scale;         /* 0: K^-0.5 */
    float w_bi;          /* 0.5; BIDIR */
    float eps;           /* 1e-6; >= 0; SUM */
};

#endif
