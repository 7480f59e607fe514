/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <float.h>
#include <math.h>

#include <tenon/ops/linear_attention.h>

#include "../contract.h"

CONTRACT_OF(linear_attention); /* q [2,5,2,8], k [2,5,4,8], v [2,5,4,6]: four states of 8 by 6 */

#define IS(NAME) t[TENON_LINEAR_ATTENTION_##NAME]
#define A(NAME)  TENON_LINEAR_ATTENTION_##NAME
#define P(field) params_of(&c)->field

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "q shape [2,5,8]: must be [B,T,Hq,K]", c.IS(Q) = T(TENON_F32, 2, 5, 8));
    SPOIL(TENON_E_SHAPE, "k shape [2,5,32]: must be [B,T,Hk,K]", c.IS(K) = T(TENON_F32, 2, 5, 32));
    SPOIL(TENON_E_SHAPE, "v shape [2,5,24]: must be [B,T,Hv,V]", c.IS(V) = T(TENON_F32, 2, 5, 24));
    SPOIL(TENON_E_SHAPE, "k shape [2,5,4,7]: must be [2,5,4,8]", c.IS(K) = T(TENON_F32, 2, 5, 4, 7));
    SPOIL(TENON_E_SHAPE, "v shape", c.IS(V) = T(TENON_F32, 2, 4, 4, 6));
    SPOIL(TENON_E_SHAPE, "o shape", c.IS(O) = T(TENON_F32, 2, 5, 2, 6));
    SPOIL(TENON_E_SHAPE, "o shape", c.IS(O) = T(TENON_F32, 2, 5, 4, 8));
    SPOIL(TENON_E_SHAPE, "Hq = 3, Hk = 4, Hv = 4", c.IS(Q) = T(TENON_F32, 2, 5, 3, 8));
    SPOIL(TENON_E_SHAPE, "Hq = 0", c.IS(Q) = T(TENON_F32, 2, 5, 0, 8));
    SPOIL(TENON_E_SHAPE, "K = 0", c.IS(Q) = T(TENON_F32, 2, 5, 2, 0); c.IS(K) = T(TENON_F32, 2, 5, 4, 0));
    SPOIL(TENON_E_SHAPE, "V = 0", c.IS(V) = T(TENON_F32, 2, 5, 4, 0); c.IS(O) = T(TENON_F32, 2, 5, 4, 0));
    SPOIL(TENON_E_SHAPE, "V = 65537", c.IS(V) = T(TENON_F32, 2, 5, 4, 65537);
          c.IS(O) = T(TENON_F32, 2, 5, 4, 65537));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.IS(Q) = c.IS(K) = T(TENON_F32, 65536, 8192, 4, 8);
          c.IS(V) = c.IS(O) = T(TENON_F32, 65536, 8192, 4, 6));
    SPOIL(TENON_OK, NULL, c.IS(Q) = c.IS(K) = T(TENON_F32, 0, 5, 4, 8); c.IS(V) = c.IS(O) = T(TENON_F32, 0, 5, 4, 6));
    SPOIL(TENON_OK, NULL, c.IS(Q) = c.IS(K) = T(TENON_F32, 2, 0, 4, 8); c.IS(V) = c.IS(O) = T(TENON_F32, 2, 0, 4, 6));
    SPOIL(TENON_OK, NULL, c.IS(Q) = c.IS(K) = T(TENON_F32, 2, 5, 0, 8); c.IS(V) = c.IS(O) = T(TENON_F32, 2, 5, 0, 6));
    SPOIL(TENON_OK, NULL, c.IS(Q).stride[1] = 8; c.IS(Q).stride[2] = 40; c.IS(K).stride[0] = 0);
    SPOIL(TENON_OK, NULL, c.IS(FLAGS) = T(TENON_U32, 4));
    SPOIL(TENON_E_SHAPE, "flags shape [3]: must be [4]", c.IS(FLAGS) = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "o is absent", c.IS(O).dtype = 0);
}

static void test_decay(void)
{
    SPOIL(TENON_E_ARG, "decay is absent: must be given with decay = head", P(decay) = A(HEAD));
    SPOIL(TENON_E_ARG, "decay is given: needs decay = head", c.IS(DECAY) = T(TENON_F32, 4));
    SPOIL(TENON_OK, NULL, P(decay) = A(HEAD); c.IS(DECAY) = T(TENON_F32, 4));
    SPOIL(TENON_OK, NULL, P(decay) = A(TOKEN); c.IS(DECAY) = T(TENON_BF16, 2, 5, 4));
    SPOIL(TENON_OK, NULL, P(decay) = A(KEY); c.IS(DECAY) = T(TENON_F16, 2, 5, 4, 8); c.IS(DECAY).stride[1] = 100);
    SPOIL(TENON_OK, NULL, P(decay) = A(VALUE); P(decay_form) = A(LOG); c.IS(DECAY) = T(TENON_F32, 2, 5, 4, 6));
    SPOIL(TENON_E_SHAPE, "decay shape [2]: must be [4]", P(decay) = A(HEAD); c.IS(DECAY) = T(TENON_F32, 2));
    SPOIL(TENON_E_SHAPE, "decay shape", P(decay) = A(TOKEN); c.IS(DECAY) = T(TENON_F32, 2, 5, 2));
    SPOIL(TENON_E_SHAPE, "decay shape", P(decay) = A(KEY); c.IS(DECAY) = T(TENON_F32, 2, 5, 4, 6));
    SPOIL(TENON_E_SHAPE, "decay shape", P(decay) = A(VALUE); c.IS(DECAY) = T(TENON_F32, 2, 5, 4, 8));
    SPOIL(TENON_E_UNSUPPORTED, "decay strides: must be contiguous", P(decay) = A(TOKEN);
          c.IS(DECAY) = T(TENON_F32, 2, 5, 4); c.IS(DECAY).stride[1] = 5);
    SPOIL(TENON_E_ARG, "decay_b is given: needs direction = bidir", P(decay) = A(HEAD);
          c.IS(DECAY) = c.IS(DECAY_B) = T(TENON_F32, 4));
    SPOIL(TENON_OK, NULL, P(decay) = A(HEAD); P(direction) = A(BIDIR);
          c.IS(DECAY) = c.IS(DECAY_B) = T(TENON_F32, 4));
    SPOIL(TENON_E_ARG, "decay_b is given", P(direction) = A(BIDIR); c.IS(DECAY_B) = T(TENON_F32, 4));
    SPOIL(TENON_E_SHAPE, "decay_b shape", P(decay) = A(TOKEN); P(direction) = A(BIDIR);
          c.IS(DECAY) = T(TENON_F32, 2, 5, 4); c.IS(DECAY_B) = T(TENON_F32, 4));
}

static void test_delta(void)
{
    SPOIL(TENON_OK, NULL, P(update) = A(DELTA); c.IS(BETA) = T(TENON_F32, 2, 5, 4));
    SPOIL(TENON_E_ARG, "beta is absent: must be given with update = delta", P(update) = A(DELTA));
    SPOIL(TENON_E_ARG, "beta is given: needs update = delta", c.IS(BETA) = T(TENON_F32, 2, 5, 4));
    SPOIL(TENON_E_SHAPE, "beta shape", P(update) = A(DELTA); c.IS(BETA) = T(TENON_F32, 2, 5, 2));
    SPOIL(TENON_E_ARG, "decay = value with update = delta", P(update) = A(DELTA); P(decay) = A(VALUE);
          c.IS(BETA) = T(TENON_F32, 2, 5, 4); c.IS(DECAY) = T(TENON_F32, 2, 5, 4, 6));
}

static void test_norm(void)
{
    SPOIL(TENON_OK, NULL, P(norm) = A(SUM));
    SPOIL(TENON_OK, NULL, P(norm) = A(MAX1); c.IS(QN) = T(TENON_F32, 2, 5, 2, 8); c.IS(KN) = T(TENON_F32, 2, 5, 4, 8));
    SPOIL(TENON_E_ARG, "qn is given: needs norm = sum or max1", c.IS(QN) = T(TENON_F32, 2, 5, 2, 8));
    SPOIL(TENON_E_ARG, "kn is given: needs norm = sum or max1", c.IS(KN) = T(TENON_F32, 2, 5, 4, 8));
    SPOIL(TENON_E_SHAPE, "qn shape", P(norm) = A(SUM); c.IS(QN) = T(TENON_F32, 2, 5, 4, 8));
    SPOIL(TENON_E_SHAPE, "kn shape", P(norm) = A(SUM); c.IS(KN) = T(TENON_F32, 2, 5, 2, 8));
    SPOIL(TENON_E_DTYPE, "kn type f16: must be that of q, f32", P(norm) = A(SUM); c.IS(KN) = T(TENON_F16, 2, 5, 4, 8));
    SPOIL(TENON_E_ARG, "norm = sum with decay = none, update = delta", P(norm) = A(SUM); P(update) = A(DELTA);
          c.IS(BETA) = T(TENON_F32, 2, 5, 4));
    SPOIL(TENON_E_ARG, "norm = max1 with decay = value", P(norm) = A(MAX1); P(decay) = A(VALUE);
          c.IS(DECAY) = T(TENON_F32, 2, 5, 4, 6));
    SPOIL(TENON_E_ARG, "direction = bidir", P(norm) = A(SUM); P(direction) = A(BIDIR));
}

static void test_states(void)
{
    SPOIL(TENON_OK, NULL, c.IS(STATE) = c.IS(STATE_OUT) = T(TENON_F32, 2, 4, 8, 6));
    SPOIL(TENON_E_SHAPE, "state shape [2,4,6,8]: must be [2,4,8,6]", c.IS(STATE) = T(TENON_F32, 2, 4, 6, 8));
    SPOIL(TENON_E_SHAPE, "state_out shape", c.IS(STATE_OUT) = T(TENON_F32, 1, 4, 8, 6));
    SPOIL(TENON_E_DTYPE, "state type f16", c.IS(STATE) = T(TENON_F16, 2, 4, 8, 6));
    SPOIL(TENON_E_UNSUPPORTED, "state strides", c.IS(STATE) = T(TENON_F32, 2, 4, 8, 6); c.IS(STATE).stride[2] = 7);
    SPOIL(TENON_E_ARG, "norm_state is absent: must be given with norm = sum or max1 and state", P(norm) = A(SUM);
          c.IS(STATE) = T(TENON_F32, 2, 4, 8, 6));
    SPOIL(TENON_OK, NULL, P(norm) = A(SUM); c.IS(STATE) = T(TENON_F32, 2, 4, 8, 6);
          c.IS(NORM_STATE) = c.IS(NORM_STATE_OUT) = T(TENON_F32, 2, 4, 8));
    SPOIL(TENON_E_SHAPE, "norm_state shape", P(norm) = A(SUM); c.IS(STATE) = T(TENON_F32, 2, 4, 8, 6);
          c.IS(NORM_STATE) = T(TENON_F32, 2, 4, 6));
    SPOIL(TENON_E_ARG, "norm_state is given", P(norm) = A(SUM); c.IS(NORM_STATE) = T(TENON_F32, 2, 4, 8));
    SPOIL(TENON_E_ARG, "norm_state_out is given", c.IS(NORM_STATE_OUT) = T(TENON_F32, 2, 4, 8));
    SPOIL(TENON_E_ARG, "state is given: needs direction = causal", P(direction) = A(REVERSE);
          c.IS(STATE) = T(TENON_F32, 2, 4, 8, 6));
    SPOIL(TENON_E_ARG, "state_out is given", P(direction) = A(BIDIR); c.IS(STATE_OUT) = T(TENON_F32, 2, 4, 8, 6));
    SPOIL(TENON_E_ARG, "state is given", P(direction) = A(NONCAUSAL); c.IS(STATE) = T(TENON_F32, 2, 4, 8, 6));
    SPOIL(TENON_E_SHAPE, "B = 2 with cu_q: must be 1", c.IS(CU_Q) = T(TENON_I32, 4));
    SPOIL(TENON_E_SHAPE, "cu_q shape [0]: must be [N+1]", c.IS(CU_Q) = T(TENON_I32, 0));
    SPOIL(TENON_E_SHAPE, "cu_q shape", c.IS(CU_Q) = T(TENON_I32, 2, 2));
    SPOIL(TENON_OK, NULL, c.IS(CU_Q) = T(TENON_I32, 4); c.IS(Q) = T(TENON_F32, 1, 9, 2, 8);
          c.IS(K) = T(TENON_F32, 1, 9, 4, 8); c.IS(V) = c.IS(O) = T(TENON_F32, 1, 9, 4, 6);
          c.IS(STATE) = T(TENON_F32, 3, 4, 8, 6));
}

static void test_params(void)
{
    SPOIL(TENON_E_ARG, "decay = 5: must be one of 0=none 1=head", P(decay) = 5);
    SPOIL(TENON_E_ARG, "decay_form = 2", P(decay_form) = 2);
    SPOIL(TENON_E_ARG, "update = 2", P(update) = 2);
    SPOIL(TENON_E_ARG, "read = 3", P(read) = 3);
    SPOIL(TENON_E_ARG, "direction = 4", P(direction) = 4);
    SPOIL(TENON_E_ARG, "norm = 3", P(norm) = 3);
    SPOIL(TENON_E_ARG, "mode = 3", P(mode) = 3);
    SPOIL(TENON_E_ARG, "group = 0", P(group) = 0);
    SPOIL(TENON_E_ARG, "chunk = 24: must be a multiple of 16", P(chunk) = 24);
    SPOIL(TENON_E_ARG, "chunk = 512", P(chunk) = 512);
    SPOIL(TENON_OK, NULL, P(chunk) = 256; P(mode) = A(CHUNKED));
    SPOIL(TENON_E_ARG, "scale", P(scale) = NAN);
    SPOIL(TENON_E_ARG, "w_bi", P(w_bi) = INFINITY);
    SPOIL(TENON_E_ARG, "eps = -1", P(eps) = -1);
    SPOIL(TENON_OK, NULL, P(scale) = -2; P(eps) = 0);
    SPOIL(TENON_OK, NULL, P(read) = A(GROUP); P(group) = 256);
    SPOIL(TENON_E_ARG, "read = group with direction = reverse", P(read) = A(GROUP); P(direction) = A(REVERSE));
    SPOIL(TENON_OK, NULL, P(read) = A(EXCLUSIVE); P(direction) = A(REVERSE));
    SPOIL(TENON_OK, NULL, P(direction) = A(NONCAUSAL));
    SPOIL(TENON_E_ARG, "direction = noncausal with decay = head", P(direction) = A(NONCAUSAL); P(decay) = A(HEAD);
          c.IS(DECAY) = T(TENON_F32, 4));
    SPOIL(TENON_E_ARG, "read = exclusive: must be none, add and inclusive", P(direction) = A(NONCAUSAL);
          P(read) = A(EXCLUSIVE));
    SPOIL(TENON_E_INVALID, "params of linear_attention", P(struct_size) = 4);
}

static void test_types(void)
{
    SPOIL(TENON_OK, NULL, c.IS(Q).dtype = c.IS(K).dtype = c.IS(V).dtype = c.IS(O).dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.IS(Q).dtype = c.IS(K).dtype = c.IS(V).dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "k type f32: must be that of q, f16", c.IS(Q).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "o type f16: must be that of q, f32, or f32", c.IS(O).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "cu_q type u32", c.IS(CU_Q) = T(TENON_U32, 4));
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_linear_attention);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.IS(Q).dtype = TENON_BF16;
    c.IS(O).dtype = 0;
    is_int(op->output(c.params, c.t, A(O), &out, &why), TENON_OK, "shape of o");
    ok(out.dtype == TENON_BF16 && out.rank == 4 && out.dim[2] == 4 && out.dim[3] == 6, "has the states' heads");
    is_int(op->output(c.params, c.t, A(STATE_OUT), &out, &why), TENON_OK, "shape of state_out");
    ok(out.dtype == TENON_F32 && out.rank == 4 && out.dim[1] == 4 && out.dim[2] == 8 && out.dim[3] == 6,
       "is [B,HS,K,V]");
    is_int(op->output(c.params, c.t, A(NORM_STATE_OUT), &out, &why), TENON_OK, "shape of norm_state_out");
    ok(out.rank == 3 && out.dim[2] == 8, "is [B,HS,K]");
    is_int(op->output(c.params, c.t, A(FLAGS), &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, A(STATE), &out, &why), TENON_E_INVALID, "state is no output");
    ok(op->in_place(c.params, A(STATE), A(STATE_OUT)), "state_out may be state");
    ok(op->in_place(c.params, A(NORM_STATE), A(NORM_STATE_OUT)), "norm_state_out may be norm_state");
    ok(!op->in_place(c.params, A(V), A(O)), "o may not be v");
}

void tenon__linear_attention_contract_test(void)
{
    call_init(&good, TENON_OPNUM_linear_attention);
    good.IS(Q) = T(TENON_F32, 2, 5, 2, 8);
    good.IS(K) = T(TENON_F32, 2, 5, 4, 8);
    good.IS(V) = T(TENON_F32, 2, 5, 4, 6);
    good.IS(O) = T(TENON_F32, 2, 5, 4, 6);
    call_is(&good, TENON_OK, NULL, "linear_attention of 2 by 5 tokens");
    ok(params_of(&good)->chunk == 64 && params_of(&good)->w_bi == 0.5f && params_of(&good)->eps == 1e-6f &&
           params_of(&good)->group == 1,
       "defaults are chunks of 64, 0.5, 1e-6 and groups of 1");
    test_shapes();
    test_decay();
    test_delta();
    test_norm();
    test_states();
    test_params();
    test_types();
    test_outputs();
}
