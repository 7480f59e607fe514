/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d: short convolutions along the tokens, depthwise or in groups, with a state that carries them on.
 *
 *     y[b,t,o] = act(bias[o] + sum_i sum_c w[o,c,i] x[b, t - back + i dil, first(o) + c]) gate[b,t,o] + residual[b,t,o]
 * for taps i = 0 .. W-1 and, within a tap, the channels c = 0 .. Cg-1 of o's group: groups = Cin / Cg, and o is of
 * group o groups / Cout, whose first channel is Cg times that. Cg = 1 and Cout = Cin is depthwise. The sum begins with
 * the bias and takes its terms in that order. act: NONE or SILU, z / (1 + e^-z).
 *   CAUSAL  back = (W-1) dil + offset: tap W-1 meets the token's own input, with offset 1 the one before (PGN)
 *   SAME    back = floor((W-1) dil / 2): the window is around the token (FSMN, LePE); it has no state and no offset
 * The input before the first token is state[b], the last n = (W-1) dil + offset inputs, oldest first; without a state
 * it is 0, and so is what SAME sees beyond the last token. These zeros are multiplied like any input (0 times Inf is
 * NaN). state_out[b] are the last n inputs after the tokens, bit for bit: with T < n some are still those of state. So
 * tokens in one call, and in any split into calls that hand state_out on (pieces without tokens included), give the
 * same bits.
 *
 * Sequences: one of each b; with cu_q N, B is 1 and sequence s has the tokens cu_q[s] <= t < cu_q[s+1], with a state of
 * its own. No sequence sees another's tokens. Tokens of no sequence have y = 0, whatever else there is.
 * flags: [3] entries of cu_q that c[s] = max(c[s-1], min(cu_q[s], T)), c[-1] = 0, changes; the others are 0. Data never
 * gives an error code.
 *
 * NaN and infinities: those of IEEE in the sums that meet them, in no others.
 * Errors: SHAPE where shapes disagree, Cin is no multiple of Cg, Cout none of the groups, W outside 1 .. 64; DTYPE; ARG
 * for SAME with state, state_out or offset. x, y, gate and residual have any strides of their first two axes; the other
 * tensors are contiguous (else UNSUPPORTED). state_out may be state; nothing else may be shared (ALIAS). B, T, Cin,
 * Cout, N below 2^31; B, T, N, Cin or n 0: success. A GPU takes the tokens that one launch of a sequence needs, the
 * weights and the states within 2 GiB each.
 * Tolerance (u = 2^-24), with S_k the partial sums: e = 1.01 u sum_k (|S_k| + |w x|), and what w or x below 2^-126
 * contribute, which may be taken for 0; that as act carries it on, plus u |act| (16 + 2 |z|) for SILU; times |gate|; u
 * of each product and sum that follows, half a unit in the last place of a 16-bit type (f16: or 2^-25). A partial sum
 * beyond 1.7e38 may overflow.
 * Determinism: D0 (any number of threads, any split, alone or packed: the same bits), D2 between backends.
 * Thread rule: a plan may run on any number of threads at once.
 * Traffic: depthwise 1R+1W.
 * Sources: Gu & Dao, "Mamba" (2023): the causal depthwise convolution before the scan; Arora et al., "Zoology" (2023):
 * BaseConv, where gate is a linear map of x and residual is x; Zhang et al., "Deep-FSMN" (2018): SAME.
 */
#ifndef TENON_OPS_CAUSAL_CONV1D_H
#define TENON_OPS_CAUSAL_CONV1D_H

#include <stdint.h>

enum { TENON_CAUSAL_CONV1D_NONE = 0, TENON_CAUSAL_CONV1D_SILU = 1 };
enum { TENON_CAUSAL_CONV1D_CAUSAL = 0, TENON_CAUSAL_CONV1D_SAME = 1 };
#define TENON_CAUSAL_CONV1D_W_MAX 64

/* Tensors, in this order. Bk: N with cu_q, else B. */
enum {
    TENON_CAUSAL_CONV1D_X,         /* in   f32 f16 bf16 [B,T,Cin] */
    TENON_CAUSAL_CONV1D_W,         /* in   f32 f16 bf16 [Cout,Cg,W] */
    TENON_CAUSAL_CONV1D_BIAS,      /* in?  f32 f16 bf16 [Cout] */
    TENON_CAUSAL_CONV1D_CU_Q,      /* in?  i32 [N+1]; B == 1 */
    TENON_CAUSAL_CONV1D_STATE,     /* in?  x's type [Bk,n,Cin] */
    TENON_CAUSAL_CONV1D_GATE,      /* in?  x's type [B,T,Cout] */
    TENON_CAUSAL_CONV1D_RESIDUAL,  /* in?  x's type [B,T,Cout] */
    TENON_CAUSAL_CONV1D_Y,         /* out  x's type [B,T,Cout] */
    TENON_CAUSAL_CONV1D_STATE_OUT, /* out? x's type [Bk,n,Cin] */
    TENON_CAUSAL_CONV1D_FLAGS,     /* out? u32 [4] */
    TENON_CAUSAL_CONV1D_N_TENSORS
};

struct tenon_causal_conv1d_params {
    uint32_t struct_size;
    uint32_t act;    /* NONE */
    uint32_t pad;    /* CAUSAL */
    uint32_t offset; /* 0 or 1 */
    int32_t dil;     /* 1; within [1, 65535] */
};

#endif
