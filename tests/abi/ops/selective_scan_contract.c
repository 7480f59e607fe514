/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>
#include <tenon/ops/selective_scan.h>

#include "../contract.h"

CONTRACT_OF(selective_scan); /* 2 by 5 tokens of 6 channels in 2 groups, 4 states of each */

#define AT(NAME) t[TENON_SELECTIVE_SCAN_##NAME]
#define SSM_ONLY                                                                                                       \
    c.AT(A).dtype = c.AT(BM).dtype = c.AT(CM).dtype = c.AT(DSKIP).dtype = c.AT(DT_BIAS).dtype = c.AT(Z).dtype = 0

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "u rank 2: must be 3, [B,T,D]", c.AT(U) = T(TENON_F32, 10, 6));
    SPOIL(TENON_E_SHAPE, "dt shape (rank 3, 10 elements): must be [2,5,6]", c.AT(DT) = T(TENON_F32, 2, 5, 1));
    SPOIL(TENON_E_SHAPE, "a rank 1, b rank 4: must be 2 and 4", c.AT(A) = T(TENON_F32, 6));
    SPOIL(TENON_E_SHAPE, "a rank 2, b rank 3: must be 2 and 4", c.AT(BM) = T(TENON_F32, 2, 5, 4));
    SPOIL(TENON_E_SHAPE, "a shape (rank 2, 20 elements): must be [6,4]", c.AT(A) = T(TENON_F32, 5, 4));
    SPOIL(TENON_E_SHAPE, "a has N = 0: must be within [1, 65535]", c.AT(A) = T(TENON_F32, 6, 0));
    SPOIL(TENON_E_SHAPE, "a has N = 65536", c.AT(A) = T(TENON_F32, 6, 65536));
    SPOIL(TENON_E_SHAPE, "b has G = 4: D, 6, must be a multiple", c.AT(BM) = T(TENON_F32, 2, 5, 4, 4));
    SPOIL(TENON_E_SHAPE, "b has G = 0", c.AT(BM) = T(TENON_F32, 2, 5, 0, 4));
    SPOIL(TENON_E_SHAPE, "b shape (rank 4, 60 elements): must be [2,5,2,4]", c.AT(BM) = T(TENON_F32, 2, 5, 2, 3));
    SPOIL(TENON_E_SHAPE, "c shape", c.AT(CM) = T(TENON_F32, 2, 5, 1, 4));
    SPOIL(TENON_E_SHAPE, "dskip shape (rank 1, 4 elements): must be [6]", c.AT(DSKIP) = T(TENON_F32, 4));
    SPOIL(TENON_E_SHAPE, "dt_bias shape", c.AT(DT_BIAS) = T(TENON_F32, 2, 6));
    SPOIL(TENON_E_SHAPE, "z shape", c.AT(Z) = T(TENON_F32, 2, 5, 3));
    SPOIL(TENON_E_SHAPE, "state shape (rank 3, 48 elements): must be [2,6,4]", c.AT(STATE) = T(TENON_F32, 2, 4, 6));
    SPOIL(TENON_E_SHAPE, "state_out shape", c.AT(STATE_OUT) = T(TENON_F32, 2, 24));
    SPOIL(TENON_E_SHAPE, "y shape", c.AT(Y) = T(TENON_F32, 2, 5, 5));
    SPOIL(TENON_E_SHAPE, "flags shape (rank 1, 3 elements): must be [4]", c.AT(FLAGS) = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.AT(U) = T(TENON_F32, 1, INT64_C(1) << 31, 6));
    SPOIL(TENON_OK, NULL,
          c.AT(DSKIP).dtype = c.AT(DT_BIAS).dtype = c.AT(Z).dtype = c.AT(STATE).dtype = c.AT(STATE_OUT).dtype =
              c.AT(FLAGS).dtype = 0);
    SPOIL(TENON_OK, NULL, c.AT(U) = c.AT(DT) = c.AT(Z) = c.AT(Y) = T(TENON_F32, 2, 0, 6);
          c.AT(BM) = c.AT(CM) = T(TENON_F32, 2, 0, 2, 4));
}

static void test_sequences(void)
{
    SPOIL(TENON_E_SHAPE, "B = 2 with cu_q: must be 1", c.AT(CU_Q) = T(TENON_I32, 3));
    SPOIL(TENON_E_SHAPE, "cu_q shape (rank 1, 0 elements): must be [S+1]", c.AT(CU_Q) = T(TENON_I32, 0));
    SPOIL(TENON_E_SHAPE, "state shape (rank 3, 48 elements): must be [3,6,4]", c.AT(CU_Q) = T(TENON_I32, 4);
          c.AT(U) = c.AT(DT) = c.AT(Z) = c.AT(Y) = T(TENON_F32, 1, 10, 6);
          c.AT(BM) = c.AT(CM) = T(TENON_F32, 1, 10, 2, 4));
    SPOIL(TENON_E_DTYPE, "cu_q type u32", c.AT(CU_Q) = T(TENON_U32, 3));
}

static void test_modes(void)
{
    SPOIL(TENON_E_ARG, "mode = 2: must be one of 0=ssm 1=plain", params_of(&c)->mode = 2);
    SPOIL(TENON_E_ARG, "a with mode = plain: only ssm has it", params_of(&c)->mode = TENON_SELECTIVE_SCAN_PLAIN);
    SPOIL(TENON_E_ARG, "z with mode = plain", params_of(&c)->mode = TENON_SELECTIVE_SCAN_PLAIN; SSM_ONLY;
          c.AT(Z) = T(TENON_F32, 2, 5, 6));
    SPOIL(TENON_E_SHAPE, "state shape (rank 3, 48 elements): must be [2,6]",
          params_of(&c)->mode = TENON_SELECTIVE_SCAN_PLAIN;
          SSM_ONLY);
    SPOIL(TENON_OK, NULL, params_of(&c)->mode = TENON_SELECTIVE_SCAN_PLAIN; SSM_ONLY;
          c.AT(STATE) = c.AT(STATE_OUT) = T(TENON_F32, 2, 6));
    SPOIL(TENON_E_ARG, "softplus = 1 with mode = plain: must be 0", params_of(&c)->mode = TENON_SELECTIVE_SCAN_PLAIN;
          SSM_ONLY; params_of(&c)->softplus = 1);
    SPOIL(TENON_E_ARG, "limit = 1 with mode = plain", params_of(&c)->mode = TENON_SELECTIVE_SCAN_PLAIN; SSM_ONLY;
          params_of(&c)->limit = 1);
    SPOIL(TENON_E_ARG, "a is absent: mode = ssm needs it", c.AT(A).dtype = 0);
    SPOIL(TENON_E_ARG, "b is absent", c.AT(BM).dtype = 0);
    SPOIL(TENON_E_ARG, "c is absent", c.AT(CM).dtype = 0);
    SPOIL(TENON_E_ARG, "decay = 2: must be one of 0=factor 1=log", params_of(&c)->decay = 2);
    SPOIL(TENON_E_ARG, "softplus = 2", params_of(&c)->softplus = 2);
    SPOIL(TENON_E_ARG, "dt_lo = 2: must be at most dt_hi, 1", params_of(&c)->limit = 1; params_of(&c)->dt_lo = 2;
          params_of(&c)->dt_hi = 1);
    SPOIL(TENON_OK, NULL, params_of(&c)->limit = 1; params_of(&c)->dt_lo = params_of(&c)->dt_hi = 1);
    SPOIL(TENON_E_ARG, "dt_hi", params_of(&c)->dt_hi = NAN);
    SPOIL(TENON_E_INVALID, "params of selective_scan", params_of(&c)->struct_size = 4);
}

static void test_types(void)
{
    SPOIL(TENON_E_DTYPE, "z type f32: must be f16, that of u", c.AT(U).dtype = c.AT(Y).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "y type f32: must be bf16, that of u", c.AT(U).dtype = c.AT(Z).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.AT(U).dtype = c.AT(Z).dtype = c.AT(Y).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.AT(DT).dtype = c.AT(A).dtype = TENON_BF16; c.AT(BM).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "state type f16", c.AT(STATE).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "u type i8", c.AT(U).dtype = TENON_I8);
    SPOIL(TENON_E_SHAPE, "dt is absent", c.AT(DT).dtype = 0);
}

static void test_strides(void)
{
    SPOIL(TENON_OK, NULL, c.AT(BM).stride[0] = 100; c.AT(BM).stride[1] = 9; c.AT(BM).stride[2] = 0);
    SPOIL(TENON_OK, NULL, c.AT(Y).stride[0] = 6; c.AT(Y).stride[1] = 12);
    SPOIL(TENON_E_ALIAS, "y stride[1] = 5", c.AT(Y).stride[1] = 5);
    SPOIL(TENON_E_UNSUPPORTED, "a strides: must be contiguous", c.AT(A).stride[0] = 5);
    SPOIL(TENON_E_UNSUPPORTED, "state strides: must be contiguous", c.AT(STATE).stride[0] = 25);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_selective_scan);
    struct tenon_tensor out;
    struct tenon_why why;
    is_int(op->output(good.params, good.t, TENON_SELECTIVE_SCAN_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[1] == 5 && out.dim[2] == 6, "is that of u");
    is_int(op->output(good.params, good.t, TENON_SELECTIVE_SCAN_STATE_OUT, &out, &why), TENON_OK, "shape of state_out");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[0] == 2 && out.dim[2] == 4, "is that of a state");
    is_int(op->output(good.params, good.t, TENON_SELECTIVE_SCAN_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(good.params, good.t, TENON_SELECTIVE_SCAN_A, &out, &why), TENON_E_INVALID, "a is no output");
    ok(op->in_place(good.params, TENON_SELECTIVE_SCAN_STATE, TENON_SELECTIVE_SCAN_STATE_OUT), "state_out may be state");
    ok(!op->in_place(good.params, TENON_SELECTIVE_SCAN_U, TENON_SELECTIVE_SCAN_Y), "y may not be u");
}

void tenon__selective_scan_contract_test(void)
{
    call_init(&good, TENON_OPNUM_selective_scan);
    good.AT(U) = good.AT(DT) = good.AT(Z) = good.AT(Y) = T(TENON_F32, 2, 5, 6);
    good.AT(A) = T(TENON_F32, 6, 4);
    good.AT(BM) = good.AT(CM) = T(TENON_F32, 2, 5, 2, 4);
    good.AT(DSKIP) = good.AT(DT_BIAS) = T(TENON_F32, 6);
    good.AT(STATE) = good.AT(STATE_OUT) = T(TENON_F32, 2, 6, 4);
    good.AT(FLAGS) = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "selective_scan of 2 by 5 tokens");
    ok(params_of(&good)->limit == 0 && params_of(&good)->softplus == 0, "nothing is on by default");
    test_shapes();
    test_sequences();
    test_modes();
    test_types();
    test_strides();
    test_outputs();
}
