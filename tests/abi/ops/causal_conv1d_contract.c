/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <tenon/ops/causal_conv1d.h>

#include "../contract.h"

CONTRACT_OF(causal_conv1d); /* 2 by 5 tokens of 6 channels, 3 taps of each */

#define AT(NAME) t[TENON_CAUSAL_CONV1D_##NAME]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "x rank 2, w rank 3: must be 3", c.AT(X) = T(TENON_F32, 10, 6));
    SPOIL(TENON_E_SHAPE, "x rank 3, w rank 2: must be 3", c.AT(W) = T(TENON_F32, 6, 3));
    SPOIL(TENON_E_SHAPE, "w has W = 0: must be within [1, 64]", c.AT(W) = T(TENON_F32, 6, 1, 0));
    SPOIL(TENON_E_SHAPE, "w has W = 65: must be within [1, 64]", c.AT(W) = T(TENON_F32, 6, 1, 65));
    SPOIL(TENON_E_SHAPE, "w has Cg = 4: Cin, 6, must be a multiple", c.AT(W) = T(TENON_F32, 6, 4, 3));
    SPOIL(TENON_E_SHAPE, "w has Cg = 0", c.AT(W) = T(TENON_F32, 6, 0, 3));
    SPOIL(TENON_E_SHAPE, "w has Cout = 7: must be a multiple of the 6 groups", c.AT(W) = T(TENON_F32, 7, 1, 3));
    SPOIL(TENON_E_SHAPE, "y shape (rank 3, 60 elements): must be [2,5,12]", c.AT(W) = T(TENON_F32, 12, 1, 3);
          c.AT(BIAS).dtype = 0);
    SPOIL(TENON_OK, NULL, c.AT(W) = T(TENON_F32, 6, 3, 3));
    SPOIL(TENON_OK, NULL, c.AT(W) = T(TENON_F32, 6, 6, 3));
    SPOIL(TENON_E_SHAPE, "bias shape (rank 1, 5 elements): must be [6]", c.AT(BIAS) = T(TENON_F32, 5));
    SPOIL(TENON_E_SHAPE, "state shape (rank 3, 36 elements): must be [2,2,6]", c.AT(STATE) = T(TENON_F32, 2, 3, 6));
    SPOIL(TENON_E_SHAPE, "state_out shape", c.AT(STATE_OUT) = T(TENON_F32, 1, 2, 6));
    SPOIL(TENON_E_SHAPE, "gate shape", c.AT(GATE) = T(TENON_F32, 2, 5, 1));
    SPOIL(TENON_E_SHAPE, "residual shape", c.AT(RESIDUAL) = T(TENON_F32, 10, 6));
    SPOIL(TENON_E_SHAPE, "flags shape (rank 1, 3 elements): must be [4]", c.AT(FLAGS) = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.AT(X) = T(TENON_F32, 1, INT64_C(1) << 31, 6));
    SPOIL(TENON_OK, NULL, c.AT(FLAGS).dtype = c.AT(STATE).dtype = c.AT(STATE_OUT).dtype = c.AT(BIAS).dtype = 0);
    SPOIL(TENON_OK, NULL, c.AT(X) = c.AT(Y) = T(TENON_F32, 2, 0, 6));
    SPOIL(TENON_OK, NULL, c.AT(X) = c.AT(Y) = T(TENON_F32, 0, 5, 6);
          c.AT(STATE) = c.AT(STATE_OUT) = T(TENON_F32, 0, 2, 6));
    SPOIL(TENON_OK, NULL, c.AT(X) = T(TENON_F32, 2, 5, 0); c.AT(Y) = T(TENON_F32, 2, 5, 0);
          c.AT(W) = T(TENON_F32, 0, 1, 3); c.AT(BIAS) = T(TENON_F32, 0);
          c.AT(STATE) = c.AT(STATE_OUT) = T(TENON_F32, 2, 2, 0));
}

static void test_sequences(void)
{
    SPOIL(TENON_E_SHAPE, "B = 2 with cu_q: must be 1", c.AT(CU_Q) = T(TENON_I32, 3));
    SPOIL(TENON_E_SHAPE, "cu_q shape (rank 1, 0 elements): must be [N+1]", c.AT(CU_Q) = T(TENON_I32, 0));
    SPOIL(TENON_E_SHAPE, "state shape (rank 3, 24 elements): must be [3,2,6]", c.AT(CU_Q) = T(TENON_I32, 4);
          c.AT(X) = c.AT(Y) = T(TENON_F32, 1, 10, 6));
    SPOIL(TENON_OK, NULL, c.AT(CU_Q) = T(TENON_I32, 4); c.AT(X) = c.AT(Y) = T(TENON_F32, 1, 10, 6);
          c.AT(STATE) = c.AT(STATE_OUT) = T(TENON_F32, 3, 2, 6));
    SPOIL(TENON_E_DTYPE, "cu_q type u32", c.AT(CU_Q) = T(TENON_U32, 3));
}

static void test_params(void)
{
    SPOIL(TENON_E_ARG, "act = 2: must be one of 0=none 1=silu", params_of(&c)->act = 2);
    SPOIL(TENON_E_ARG, "pad = 2: must be one of 0=causal 1=same", params_of(&c)->pad = 2);
    SPOIL(TENON_E_ARG, "offset = 2", params_of(&c)->offset = 2);
    SPOIL(TENON_E_ARG, "dil = 0", params_of(&c)->dil = 0);
    SPOIL(TENON_E_ARG, "dil = 65536", params_of(&c)->dil = 65536);
    SPOIL(TENON_E_ARG, "state with pad = same: only causal has a state", params_of(&c)->pad = TENON_CAUSAL_CONV1D_SAME);
    SPOIL(TENON_E_ARG, "state_out with pad = same", params_of(&c)->pad = TENON_CAUSAL_CONV1D_SAME;
          c.AT(STATE).dtype = 0);
    SPOIL(TENON_E_ARG, "offset = 1 with pad = same: must be 0", params_of(&c)->pad = TENON_CAUSAL_CONV1D_SAME;
          params_of(&c)->offset = 1; c.AT(STATE).dtype = c.AT(STATE_OUT).dtype = 0);
    SPOIL(TENON_OK, NULL, params_of(&c)->pad = TENON_CAUSAL_CONV1D_SAME; c.AT(STATE).dtype = c.AT(STATE_OUT).dtype = 0);
    SPOIL(TENON_E_SHAPE, "must be [2,3,6]", params_of(&c)->offset = 1);
    SPOIL(TENON_E_SHAPE, "must be [2,14,6]", params_of(&c)->dil = 7);
    SPOIL(TENON_E_INVALID, "params of causal_conv1d", params_of(&c)->struct_size = 4);
}

static void test_types(void)
{
    SPOIL(TENON_E_DTYPE, "y type f32: must be f16, that of x", c.AT(X).dtype = TENON_F16;
          c.AT(STATE).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "state type f32: must be bf16, that of x", c.AT(X).dtype = c.AT(Y).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.AT(W).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.AT(BIAS).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "w type i8", c.AT(W).dtype = TENON_I8);
    SPOIL(TENON_E_SHAPE, "w is absent", c.AT(W).dtype = 0);
    SPOIL(TENON_E_SHAPE, "y is absent", c.AT(Y).dtype = 0);
}

static void test_strides(void)
{
    SPOIL(TENON_OK, NULL, c.AT(X).stride[0] = 6; c.AT(X).stride[1] = 12);
    SPOIL(TENON_OK, NULL, c.AT(X).stride[0] = 0);
    SPOIL(TENON_OK, NULL, c.AT(Y).stride[0] = 100; c.AT(Y).stride[1] = 9);
    SPOIL(TENON_E_ALIAS, "y stride[1] = 5", c.AT(Y).stride[1] = 5);
    SPOIL(TENON_E_UNSUPPORTED, "w strides: must be contiguous", c.AT(W).stride[0] = 4);
    SPOIL(TENON_E_UNSUPPORTED, "state strides: must be contiguous", c.AT(STATE).stride[0] = 13);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_causal_conv1d);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.AT(W) = T(TENON_F32, 4, 3, 3);
    is_int(op->output(c.params, c.t, TENON_CAUSAL_CONV1D_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[1] == 5 && out.dim[2] == 4, "has the channels of w");
    is_int(op->output(c.params, c.t, TENON_CAUSAL_CONV1D_STATE_OUT, &out, &why), TENON_OK, "shape of state_out");
    ok(out.rank == 3 && out.dim[0] == 2 && out.dim[1] == 2 && out.dim[2] == 6, "is that of a state");
    is_int(op->output(c.params, c.t, TENON_CAUSAL_CONV1D_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, TENON_CAUSAL_CONV1D_W, &out, &why), TENON_E_INVALID, "w is no output");
    ok(op->in_place(c.params, TENON_CAUSAL_CONV1D_STATE, TENON_CAUSAL_CONV1D_STATE_OUT), "state_out may be state");
    ok(!op->in_place(c.params, TENON_CAUSAL_CONV1D_X, TENON_CAUSAL_CONV1D_Y), "y may not be x");
}

void tenon__causal_conv1d_contract_test(void)
{
    call_init(&good, TENON_OPNUM_causal_conv1d);
    good.AT(X) = T(TENON_F32, 2, 5, 6);
    good.AT(W) = T(TENON_F32, 6, 1, 3);
    good.AT(BIAS) = T(TENON_F32, 6);
    good.AT(STATE) = T(TENON_F32, 2, 2, 6);
    good.AT(Y) = T(TENON_F32, 2, 5, 6);
    good.AT(STATE_OUT) = T(TENON_F32, 2, 2, 6);
    good.AT(FLAGS) = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "causal_conv1d of 2 by 5 tokens");
    ok(params_of(&good)->dil == 1 && params_of(&good)->offset == 0, "defaults are 1 and 0");
    test_shapes();
    test_sequences();
    test_params();
    test_types();
    test_strides();
    test_outputs();
}
