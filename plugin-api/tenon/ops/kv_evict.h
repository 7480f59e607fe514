/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict: which tokens of a cache are worth keeping: a score of each, the best of them, and where they move.
 *
 * B sequences, S slots, Hk heads of keys. Of head h of sequence b the first kv_len (absent: S; clamped to [0, S]) are
 * there, in ascending order of position: kpos_j, j unless given. T new queries at qpos_t, kv_len - T + t unless given.
 *
 * 1. Score of key j < kv_len of head h:
 *      SNAP    for each of the Hq/Hk heads of queries of h: m_j = the sum of p_tj over the last w queries (fewer: all),
 *              ascending; over the columns j < kv_len - w (those of the window are left out) the pool of ks columns
 *              around j: MEAN sum / ks, what is outside counting 0; MAX what is outside counting nothing; then the sum
 *              over these heads. 0 in the window.
 *      ACCUM   scores_jh (absent: 0) + the sum of p_tj over all T queries and these heads (H2O)
 *      GATE    scores_jh
 *      RECENT  0
 *    p_tj = e^(s_tj - lnZ_t), s_tj = scale <q_t, k_j>, over the keys with kpos_j <= qpos_t, else 0; scale 0: D^-0.5. A
 *    row t with a NaN or +Inf among its s is NaN where these are not -Inf.
 * 2. A list is that of a head (PER_HEAD, L = Hk), or serves all heads (ALL, L = 1; its score the sum over the
 *    heads, f32, ascending, what is below the normal numbers 0). Kept are the first n_first keys, the last w, and of
 *    the rest the n best whose score is not below `threshold` (-Inf is below any, NaN below none). Better: the larger
 *    score; NaN comes after all numbers; of equal ones the later key. So RECENT keeps n_first and the last n + w, and
 *    where n >= S nothing changes.
 * 3. list[b,l] has the kept keys, ascending, then -1; M is the caller's, at least min(S, n_first + n + w).
 *    kv_len_out[b,l] is how many. keep has a bit for each slot, j % 32 of word j / 32. kpos_out has the positions of
 *    the kept keys, and beyond them those that come after the last key of all, counting on (modulo 2^32; without keys
 *    from 0): of the tokens that will be appended there. scores_out[b,j,h] are the scores of 1., 0 beyond kv_len.
 *    rows[b,i,l] = (b S + list[b,l,i]) L + l, or -1: the numbers of rows of a contiguous tensor [B,S,L,...].
 *
 * What follows needs no round trip through the host:
 *   in place     attention with keep: nothing moves. Pages and rings stay what they are.
 *   compacting   gather_rows by `rows` of k, v, their codes, their (s, z), vscale, scores_out, whatever is a key's,
 *                gives the same of [B,M,L,...], zeros beyond kv_len_out; with ALL a row is that of all heads. Then
 *                attention with kpos_out and kv_len_out. With ALL these are its kpos and kv_len as they are; with
 *                PER_HEAD heads are its sequences: q, k, v, o as [B Hk,T,Hq/Hk,D], which strides do where B = 1 or
 *                heads lie outside tokens. (Where nothing looks at positions and all heads keep as many, heads need
 *                not be sequences.)
 *   decoding     kv_append with pos = kv_len_out, then attention with kpos_out: it has the new tokens' positions.
 *   again        kpos_out, kv_len_out and the compacted scores_out are kpos, kv_len and scores of the next call.
 *
 * flags: [0] lists with a NaN among the scores of what is neither first nor in the window, [1] lists that keep nothing,
 * [2] 0, [3] entries of kv_len outside [0, S]. Data never gives an error.
 * B, Hk, S or T == 0: success.
 *
 * Errors: shapes that disagree, Hq no multiple of Hk, D outside [1, 65536], M too small, lengths or positions of each
 * head with ALL, B S Hk, B M Hk or B T Hq of 2^31 and more: SHAPE; q, k exactly with SNAP and ACCUM, scores exactly
 * with GATE or, if wanted, ACCUM, slots exactly with RECENT, qpos without q, ks, pool without SNAP, ks even, SNAP
 * with w = 0: ARG. q and k have free strides but for the last axis; all else is contiguous (else UNSUPPORTED). GPUs
 * whose loops end after so many rounds (tenon devices) take S, T and M up to an eighth of them, and D up to half (else
 * UNSUPPORTED).
 * Tolerance (u = 2^-24) of scores_out: each p its own 2^-20 (1 + sigma), sigma the largest scale sum |q||k| of its row,
 * and 2^-126; sums 2^-20 of themselves. GATE, RECENT: exact.
 * Determinism: all else is a function of scores_out, and D1 given these; scores_out D0, D2.
 * Thread rule: a plan may run on any number of threads at once.
 *
 * Sources: SnapKV (Li et al. 2024); FastKV (Jo et al. 2025); H2O (Zhang et al. 2023); PrefixKV (Wang et al. 2024);
 * Attention-Gate (Zeng et al. 2024); StreamingLLM (Xiao et al. 2023). SnapKV's pool of the mean counts the zeros
 * outside and gathers in order of score; here the order is that of positions, which attention does not see.
 */
#ifndef TENON_OPS_KV_EVICT_H
#define TENON_OPS_KV_EVICT_H

#include <stdint.h>

enum {
    TENON_KV_EVICT_SNAP = 0,
    TENON_KV_EVICT_ACCUM = 1,
    TENON_KV_EVICT_GATE = 2,
    TENON_KV_EVICT_RECENT = 3,
    TENON_KV_EVICT_SCORE_COUNT
};

enum { TENON_KV_EVICT_MEAN = 0, TENON_KV_EVICT_MAX = 1, TENON_KV_EVICT_POOL_COUNT };

enum { TENON_KV_EVICT_PER_HEAD = 0, TENON_KV_EVICT_ALL = 1, TENON_KV_EVICT_SHARE_COUNT };

#define TENON_KV_EVICT_MAX_WIDTH 65536 /* D */
#define TENON_KV_EVICT_MAX_POOL 63

/* Tensors, in this order. */
enum {
    TENON_KV_EVICT_Q,          /* in?  f32 f16 bf16 [B,T,Hq,D] */
    TENON_KV_EVICT_K,          /* in?  q's type [B,S,Hk,D] */
    TENON_KV_EVICT_SCORES,     /* in?  f32 [B,S,Hk] */
    TENON_KV_EVICT_KV_LEN,     /* in?  i32 [B] or [B,1 or Hk] */
    TENON_KV_EVICT_KPOS,       /* in?  i32 [B,S] or [B,1 or Hk,S] */
    TENON_KV_EVICT_QPOS,       /* in?  i32 [B,T] */
    TENON_KV_EVICT_LIST,       /* out  i32 [B,L,M] */
    TENON_KV_EVICT_ROWS,       /* out? i32 [B,M,L] */
    TENON_KV_EVICT_KEEP,       /* out? u32 [B,L,ceil(S/32)] */
    TENON_KV_EVICT_KPOS_OUT,   /* out? i32 [B,L,M] */
    TENON_KV_EVICT_KV_LEN_OUT, /* out? i32 [B,L] */
    TENON_KV_EVICT_SCORES_OUT, /* out? f32 [B,S,Hk] */
    TENON_KV_EVICT_FLAGS,      /* out? u32 [4] */
    TENON_KV_EVICT_N_TENSORS
};

struct tenon_kv_evict_params {
    uint32_t struct_size;
    uint32_t score;   /* SNAP */
    uint32_t pool;    /* MEAN; SNAP */
    uint32_t share;   /* PER_HEAD */
    uint32_t ks;      /* 1; odd, up to 63; SNAP */
    int32_t w;        /* 1; >= 0, SNAP: >= 1 */
    int32_t n;        /* 0; >= 0 */
    int32_t n_first;  /* 0; >= 0 */
    int32_t slots;    /* 0; S, exactly with RECENT, where Hk = L */
    float scale;      /* 0: D^-0.5 */
    float threshold;  /* -FLT_MAX */
};

#endif
