/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select: for each block of queries the blocks of keys that are worth attending to, as the lists that attention
 * reads (row_ptr, col).
 *
 * B sequences, T queries, S keys; nq = ceil(T / block_q), nk = ceil(S / block_k); the last blocks may be short. Token
 * level is block 1. With score EXTERNAL there are no q and k, and T = q_len, S = k_len.
 *
 * 1. Visible. Keys j < kv_len (absent: S; clamped to [0, S]) are there; what is beyond is not used, whatever it holds.
 *    kpos_j = j and qpos_t = kv_len - T + t unless given. A query block's span is from its least to its largest qpos, a
 *    key block's from the least to the largest kpos of the keys that are there. Block j is visible to query block i
 *    when a key of it is there and, causal, its least kpos <= the largest qpos of i.
 * 2. Scores, of each head h of the queries (keys' head h / (Hq/Hk)) and each visible pair of blocks (i, j):
 *      POOLED          scale * <pq_i, pk_j>; pq, pk: MEAN, MAX or MIN over the tokens that are there, in f32,
 *                      ascending, or NONE for blocks of 1. scale 0: D^-0.5
 *      SOFTMAX_POOLED  the softmax of that over the row's visible blocks
 *      PROB_MASS       sum of e^min(scale <q_t, k_u> - lnz_t, 87) over the pairs of tokens (t, u) of the two blocks
 *                      that are visible: u there and, causal, kpos_u <= qpos_t. Queries with lnz = -Inf add nothing
 *      MAX_TOKEN       max of scale <q_t, k_u> over these, of tokens whose place in their block is a multiple of
 *                      `stride`, -Inf for none
 *      EXTERNAL        scores[b,h,i,j]
 *    What is not visible has -Inf.
 * 3. share: PER_HEAD the scores of each head, PER_KV_GROUP their sum over H/Hg neighbours (Hg = Hk where there is k),
 *    ALL_HEADS over all (Hg = 1); f32, ascending. H is Hq, or the heads of `scores`.
 * 4. A pair is a candidate when it is visible and its score is not -Inf. norm SOFTMAX: over the candidates of a row;
 *    with a NaN or +Inf among them they all are NaN. MINMAX: x becomes (x - min) / (max - min), over the finite
 *    candidates of the scope (their halves where one is 2^126 and more); where max - min <= 1e-6, x - min; what is not
 *    finite stays what it is. scores_out has the scores after this.
 * 5. Forced are visible pairs, whatever their score: `self`: the spans of the two blocks meet; `first`: position 0 is
 *    in the span of j; `last` n: j is among the last n visible blocks of the row; `segment` n: j / n is from
 *    qlo / (n block_k) to qhi / (n block_k), (qlo, qhi) the span of i (the own segment, where keys were permuted inside
 *    segments of n blocks). Divisions round down.
 * 6. The rule chooses among the candidates of a scope: ROW one query block of a head, HEAD all of a head, ALL
 *    everything. Without forced_counts it sees what is not forced, and forced blocks come on top. With forced_counts
 *    forced pairs come first in the order and take part. Better: the larger score, equal ones by the smaller index
 *    (b, h, i, j); NaN comes after all numbers.
 *      TOPK    the k best
 *      THRESH  score > tau
 *      CUMUL   in order while the sum of those taken is below tau * total; scores <= 0 and NaN have no mass and are
 *              never taken, +Inf is FLT_MAX. Sums are exact integers: a score counts in whole units of 2^-62 of the
 *              power of two above the scope's largest, cut off; tau is a multiple of 2^-32, cut off, at least one. So
 *              tau = 1 takes all that have mass. (An f32 or f64 sum that is compared with tau may never get there:
 *              published kernels select nothing then.)
 *      STAT    score > mean + std * Phi^-1(1 - k/n), n candidates, population std; all for k >= n; none where one is
 *              NaN or +Inf. With forced_counts what is forced is in the statistics.
 * 7. List of row r = (b * Hg + g) * (nq+1) + i: entries row_ptr[r] <= e < row_ptr[r+1] of col, ascending; rows follow
 *    one another in order of (b, g, i), and row_ptr[b,g,0] is where the one before ends. The caller chooses the length
 *    nnz of col: entries that do not fit are not written, row_ptr ends at nnz. tenon_kv_select_nnz gives a length that
 *    suffices for any data. Entries of col past the last are -1.
 *
 * flags u32[4]: [0] rows (b,g,i) with a NaN among their candidates' scores, [1] rows without an entry, before nnz cuts
 * them, [2] entries that did not fit (nnz + this many would have done), [3] entries of kv_len outside [0, S]. Data
 * never gives an error.
 * T, S or B == 0: the lists are empty.
 *
 * Errors: SHAPE where shapes disagree, Hq no multiple of Hk or H of Hg, D outside [1, 65536], B*H*nq*nk, B*T*Hq or
 * B*S*Hk of 2^31 and more; DTYPE (k has q's type); ARG: q or k missing or, with EXTERNAL, given; scores without
 * EXTERNAL or missing with it; lnz exactly with PROB_MASS; q_len, k_len exactly with EXTERNAL; pool NONE with a block
 * above 1; stride without MAX_TOKEN; tau outside (0, 1] with CUMUL; tau with TOPK, STAT; k with THRESH, CUMUL. q and k
 * have free strides but for the last axis; all else is contiguous (else UNSUPPORTED). GPUs whose loops end after so
 * many rounds (tenon devices) take blocks and nk up to a quarter of them, and D up to half (else UNSUPPORTED).
 *
 * Tolerance (u = 2^-24; D0 and D2): POOLED 2^-21 |scale| (sum |pq||pk|, with the means of |q|, |k|) and 2^-21 of it for
 * a mean; SOFTMAX_POOLED and norm SOFTMAX p * (2 b + 2^-20), b the largest bound of the row's scores; MAX_TOKEN 2^-21
 * |scale| max sum |q||k|; PROB_MASS the sum of each term times (2^-21 (1 + |scale| sum |q||k| + |lnz|)), and 2^-20 of
 * it; sums over heads add up, and 2^-22 of the sum of magnitudes; MINMAX 4 b / (max - min or 1) + 2^-21. theta of STAT
 * within 2^-16 (|mean| + std).
 * Determinism: the lists are a function of the scores after norm, and D1 given these but for STAT; from EXTERNAL scores
 * all is D1 (sums, differences, quotients below 2^-100 may be 0; exp and sums of SOFTMAX as in tenon/ops/moe_route.h).
 * Thread rule: a plan may run on any number of threads at once.
 *
 * Recipes; attention then has row_ptr, col, causal and kpos as they are here, and blocks of this size:
 *   MoBA           block_q 1, scale 1, causal, self, forced_counts, TOPK.
 *   VMoBA          q, k, v in the layer's order of tokens (gather_rows), o back; block_q 1, scale 1, self,
 *                  forced_counts, MINMAX, CUMUL; HEAD as in the paper, ROW as in its code.
 *   SeerAttention  gates of blocks, from q and k before rope: POOLED with scale 1 and the D unit vectors as k
 *                  (block_k 1, NONE) has the pooled blocks in scores_out, [B,Hq,nq,D]; MEAN of q, MAX, MIN and MEAN of
 *                  k; linear for each head, its sums by residual; rope by block numbers. Of the gates, blocks of 1:
 *                  SOFTMAX_POOLED, causal, THRESH or TOPK. Decoding: one gate of the queries of a kv head, POOLED,
 *                  TOPK, last 1.
 *   BiFormer       windows as neighbours (gather_rows); ALL_HEADS, TOPK; attention's scale is (Hq D)^-0.5.
 *   AdaSpa         PROB_MASS with lnz of an earlier, dense step; HEAD, TOPK; CUMUL lets budgets of heads differ.
 *   PBS-Attn       a head is a sequence. PROB_MASS of the last block of queries, block_k 1, has masses of keys in
 *                  scores_out; softmax_topk RAW with k = segment sorts them, gather_rows permutes k, v and kpos. Then
 *                  SOFTMAX_POOLED, causal, first, segment, CUMUL.
 *   ProxyAttn      means of heads (linear); MAX_TOKEN, stride; one list for all heads, or for each head EXTERNAL with
 *                  these scores_out and its own k: the length of the list that SOFTMAX_POOLED, CUMUL makes of its last
 *                  block of queries.
 *   top-k          blocks of 1, NONE, causal, TOPK.
 *
 * Sources: MoBA (Lu et al. 2025), VMoBA (Wu et al. 2025), SeerAttention (Gao et al. 2024), BiFormer (Zhu et al. 2023),
 * AdaSpa (Xia et al. 2025), PBS-Attn (2025), ProxyAttn (2025), top-k attention (Gupta et al. 2021).
 */
#ifndef TENON_OPS_KV_SELECT_H
#define TENON_OPS_KV_SELECT_H

#include <stdint.h>

enum {
    TENON_KV_SELECT_POOLED = 0,
    TENON_KV_SELECT_SOFTMAX_POOLED = 1,
    TENON_KV_SELECT_PROB_MASS = 2,
    TENON_KV_SELECT_MAX_TOKEN = 3,
    TENON_KV_SELECT_EXTERNAL = 4,
    TENON_KV_SELECT_SCORE_COUNT
};

enum {
    TENON_KV_SELECT_MEAN = 0,
    TENON_KV_SELECT_MAX = 1,
    TENON_KV_SELECT_MIN = 2,
    TENON_KV_SELECT_POOL_NONE = 3,
    TENON_KV_SELECT_POOL_COUNT
};

enum {
    TENON_KV_SELECT_PER_HEAD = 0,
    TENON_KV_SELECT_PER_KV_GROUP = 1,
    TENON_KV_SELECT_ALL_HEADS = 2,
    TENON_KV_SELECT_SHARE_COUNT
};

enum {
    TENON_KV_SELECT_NORM_NONE = 0,
    TENON_KV_SELECT_NORM_SOFTMAX = 1,
    TENON_KV_SELECT_NORM_MINMAX = 2,
    TENON_KV_SELECT_NORM_COUNT
};

enum {
    TENON_KV_SELECT_TOPK = 0,
    TENON_KV_SELECT_THRESH = 1,
    TENON_KV_SELECT_CUMUL = 2,
    TENON_KV_SELECT_STAT = 3,
    TENON_KV_SELECT_RULE_COUNT
};

enum {
    TENON_KV_SELECT_ROW = 0,
    TENON_KV_SELECT_HEAD = 1,
    TENON_KV_SELECT_ALL = 2,
    TENON_KV_SELECT_SCOPE_COUNT
};

#define TENON_KV_SELECT_MAX_BLOCK 65536
#define TENON_KV_SELECT_MAX_WIDTH 65536 /* D */

/* Tensors, in this order. */
enum {
    TENON_KV_SELECT_Q,          /* in? f32 f16 bf16 [B,T,Hq,D] */
    TENON_KV_SELECT_K,          /* in? q's type [B,S,Hk,D] */
    TENON_KV_SELECT_SCORES,     /* in? f32 [B,H,nq,nk]; EXTERNAL */
    TENON_KV_SELECT_LNZ,        /* in? f32 [B,T,Hq]; PROB_MASS */
    TENON_KV_SELECT_KV_LEN,     /* in? i32 [B] */
    TENON_KV_SELECT_KPOS,       /* in? i32 [B or 1,S] */
    TENON_KV_SELECT_QPOS,       /* in? i32 [B or 1,T] */
    TENON_KV_SELECT_ROW_PTR,    /* out i32 [B,Hg,nq+1] */
    TENON_KV_SELECT_COL,        /* out i32 [nnz] */
    TENON_KV_SELECT_SCORES_OUT, /* out? f32 [B,Hg,nq,nk] */
    TENON_KV_SELECT_FLAGS,      /* out? u32 [4] */
    TENON_KV_SELECT_N_TENSORS
};

struct tenon_kv_select_params {
    uint32_t struct_size;
    uint32_t score;         /* POOLED */
    uint32_t share;         /* PER_HEAD */
    uint32_t norm;          /* NONE */
    uint32_t rule;          /* TOPK */
    uint32_t scope;         /* ROW */
    uint32_t block_q;       /* 64; within [1, 65536], as the next */
    uint32_t block_k;       /* 64 */
    uint32_t pool_q;        /* MEAN; POOLED, SOFTMAX_POOLED, as the next */
    uint32_t pool_k;        /* MEAN */
    uint32_t k;             /* 1, >= 1; TOPK, STAT */
    uint32_t stride;        /* 1, >= 1; MAX_TOKEN */
    uint32_t self;          /* 0; 1, as the next */
    uint32_t first;         /* 0 */
    uint32_t last;          /* 0: none */
    uint32_t segment;       /* 0: none; blocks of a segment */
    uint32_t forced_counts; /* 0; 1 */
    uint32_t causal;        /* 0; 1 */
    uint32_t q_len, k_len;  /* 0; EXTERNAL: T, S */
    float tau;              /* 0; THRESH finite; CUMUL within (0, 1] */
    float scale;            /* 0: D^-0.5 */
};

/* An nnz that no data exceed, for `lists` = B*Hg lists of nq rows over nk blocks; moved: kpos or qpos is given. */
static inline int64_t tenon_kv_select_nnz(const struct tenon_kv_select_params *p, int64_t lists, int64_t nq, int64_t nk,
                                          int moved)
{
    const int64_t bq = p->block_q, bk = p->block_k ? p->block_k : 1, wide = (int64_t)p->segment * bk;
    int64_t forced = p->last, row = nk, rows = lists * nq, all;
    if ((p->self || p->first || p->segment) && moved)
        forced = nk;
    if (p->self)
        forced += (bq - 1 + bk - 1) / bk + 1;
    if (p->segment)
        forced += ((bq - 1 + wide - 1) / wide + 1) * p->segment;
    forced += p->first;
    if (p->rule == TENON_KV_SELECT_TOPK && p->scope == TENON_KV_SELECT_ROW)
        row = !p->forced_counts ? forced + p->k : forced > p->k ? forced : p->k;
    all = rows * (row < nk ? row : nk);
    if (p->rule == TENON_KV_SELECT_TOPK && p->scope != TENON_KV_SELECT_ROW) {
        const int64_t chosen = (p->scope == TENON_KV_SELECT_HEAD ? lists : 1) * (int64_t)p->k;
        const int64_t more = rows * (forced < nk ? forced : nk);
        all = chosen + more < all ? chosen + more : all;
    }
    return all;
}

#endif
