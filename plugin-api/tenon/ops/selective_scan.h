/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan: gated recurrences along the tokens, channel by channel.
 *
 * SSM (Mamba): for channel d of group g = d G / D, with states h_n, n = 0 .. N-1:
 *     s = dt + dt_bias[d];  softplus: s = s > 20 ? s : log(1 + e^s);  limit: s = clamp(s, dt_lo, dt_hi)
 *     h_n = e^(s A[d,n]) h_n + (s u) B[t,g,n]          y = (sum_n C[t,g,n] h_n + Dskip[d] u) z / (1 + e^-z)
 *     n ascending; Dskip's term and the factor of z where these are given. B is met with s and not with an exact hold.
 * PLAIN (HGRN, any gated vector recurrence): dt holds the decay a and N is 1:
 *     h = a h + u (decay = FACTOR), h = e^a h + u (LOG)          y = h
 *
 * h begins as state[b] (without it: 0) and ends as state_out[b]. A state below 2^-126 in size becomes 0 after each
 * token, so that decays never end in subnormals. a = 0 (or e^a = 0) resets, a = 1 integrates. Tokens in one call, and
 * in any split into calls that hand state_out on (pieces without tokens included: state_out has the bits of state),
 * give the same bits. A positive A or a decay outside [0, 1] is computed as it stands.
 *
 * Sequences: one of each b; with cu_q S, B is 1 and sequence s has the tokens cu_q[s] <= t < cu_q[s+1], with a state of
 * its own. Tokens of no sequence have y = 0. flags: [3] entries of cu_q that c[s] = max(c[s-1], min(cu_q[s], T)),
 * c[-1] = 0, changes; the others are 0. Data never gives an error code.
 *
 * NaN and infinities: those of IEEE in the channel that meets them; e^x is 0 below -87.33654 and Inf from 88.7229 on.
 * (clamp keeps a NaN; z = -Inf has the factor -0.)
 * Errors: SHAPE where shapes disagree, N outside 1 .. 65535, D no multiple of G; DTYPE; ARG for A, B, C, Dskip,
 * dt_bias, z or softplus or limit with PLAIN, for A, B or C that SSM lacks, dt_lo > dt_hi. u, dt, z, y have any strides
 * of their first two axes, B and C of their first three; the other tensors are contiguous (else UNSUPPORTED). state_out
 * may be state; nothing else may be shared (ALIAS). B, T, D, S below 2^31; B, T, S or D 0: success. A GPU takes packed
 * tokens, A and the states within 2 GiB each, and one token of all batches.
 * Tolerance (u = 2^-24), what each operation rounds carried through the recurrence, 1.05 times:
 *     e_s = 8u s + u |dt + dt_bias| s' (s' the derivative of softplus; without it e_s = u |dt + dt_bias|)
 *     e_a = a (e^(|A| e_s + u |sA|) - 1 + 6u)                     PLAIN: 0, LOG: 6u a
 *     e_h <- a e_h + (|h| + e_h) e_a + e_s |u B| + 2u |s u B| + u (|a h| + |h'|)
 *     y: sum_n (|C| e_h + u |C h_n| + u |partial sum|) + u (|Dskip u| + |y|), then as the factor of z carries it on,
 *     which is off by u (16 + 2 |z|) of itself, u |y|, and half a unit in the last place of a 16-bit type (f16: or
 *     2^-25).
 * 2^-126 of each operation more; inputs below 2^-126 may be taken for 0. What comes near 1.7e38 may overflow.
 * Determinism: D0 (any number of threads, any split, alone or packed: the same bits), D2 between backends.
 * Thread rule: a plan may run on any number of threads at once.
 * Sources: Gu & Dao, "Mamba" (2023); Qin et al., "Hierarchically Gated Recurrent Neural Network" (2023).
 */
#ifndef TENON_OPS_SELECTIVE_SCAN_H
#define TENON_OPS_SELECTIVE_SCAN_H

#include <stdint.h>

enum { TENON_SELECTIVE_SCAN_SSM = 0, TENON_SELECTIVE_SCAN_PLAIN = 1 };
enum { TENON_SELECTIVE_SCAN_FACTOR = 0, TENON_SELECTIVE_SCAN_LOG = 1 };

/* Tensors, in this order. Bk: S with cu_q, else B. */
enum {
    TENON_SELECTIVE_SCAN_U,         /* in   f32 f16 bf16 [B,T,D] */
    TENON_SELECTIVE_SCAN_DT,        /* in   f32 f16 bf16 [B,T,D] */
    TENON_SELECTIVE_SCAN_A,         /* in?  f32 f16 bf16 [D,N] */
    TENON_SELECTIVE_SCAN_BM,        /* in?  f32 f16 bf16 [B,T,G,N] */
    TENON_SELECTIVE_SCAN_CM,        /* in?  f32 f16 bf16 [B,T,G,N] */
    TENON_SELECTIVE_SCAN_DSKIP,     /* in?  f32 f16 bf16 [D] */
    TENON_SELECTIVE_SCAN_DT_BIAS,   /* in?  f32 f16 bf16 [D] */
    TENON_SELECTIVE_SCAN_Z,         /* in?  u's type [B,T,D] */
    TENON_SELECTIVE_SCAN_CU_Q,      /* in?  i32 [S+1]; B == 1 */
    TENON_SELECTIVE_SCAN_STATE,     /* in?  f32 [Bk,D,N]; PLAIN: [Bk,D] */
    TENON_SELECTIVE_SCAN_Y,         /* out  u's type [B,T,D] */
    TENON_SELECTIVE_SCAN_STATE_OUT, /* out? f32, as state */
    TENON_SELECTIVE_SCAN_FLAGS,     /* out? u32 [4] */
    TENON_SELECTIVE_SCAN_N_TENSORS
};

struct tenon_selective_scan_params {
    uint32_t struct_size;
    uint32_t mode;     /* SSM */
    uint32_t decay;    /* FACTOR; of PLAIN */
    uint32_t softplus; /* 0 */
    uint32_t limit;    /* 0; 1: dt_lo and dt_hi hold */
    float dt_lo;       /* 0 */
    float dt_hi;       /* FLT_MAX */
};

#endif
