/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/softmax_merge.h>

#include "../contract.h"

CONTRACT_OF(softmax_merge); /* 3 parts of 5 rows and 7 columns, every tensor */

#define M     t[TENON_SOFTMAX_MERGE_M]
#define S     t[TENON_SOFTMAX_MERGE_S]
#define A     t[TENON_SOFTMAX_MERGE_A]
#define Q     t[TENON_SOFTMAX_MERGE_Q]
#define O     t[TENON_SOFTMAX_MERGE_O]
#define OUT_A t[TENON_SOFTMAX_MERGE_OUT_A]
#define OUT_Q t[TENON_SOFTMAX_MERGE_OUT_Q]
#define LSE   t[TENON_SOFTMAX_MERGE_LSE]
#define OUT_O t[TENON_SOFTMAX_MERGE_OUT_O]

static void without_states(struct call *c)
{
    for (uint32_t i = TENON_SOFTMAX_MERGE_OUT_M; i <= TENON_SOFTMAX_MERGE_LSE; i++)
        c->t[i].dtype = 0;
}

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "s shape (rank 2, 12 elements): must be that of m", c.S = T(TENON_F32, 3, 4));
    SPOIL(TENON_E_SHAPE, "s shape", c.S = T(TENON_F32, 15));
    SPOIL(TENON_E_SHAPE, "m rank 0", c.M = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "o shape (rank 3, 140 elements): must be that of m, and one axis more",
          c.O = T(TENON_F32, 4, 5, 7));
    SPOIL(TENON_E_SHAPE, "lse shape (rank 2, 15 elements): must be that of m without its first axis",
          c.LSE = T(TENON_F32, 3, 5));
    SPOIL(TENON_E_SHAPE, "out_o last axis 8: must be that of o, 7", c.OUT_O = T(TENON_F32, 5, 8));
    SPOIL(TENON_E_UNSUPPORTED, "o strides", c.O.stride[0] = 100);
    SPOIL(TENON_OK, NULL, c.O = T(TENON_F32, 3, 5, 7); c.O.stride[0] = 5 * 9; c.O.stride[1] = 9);
    SPOIL(TENON_E_UNSUPPORTED, "s strides: must be contiguous", c.S.stride[0] = 6);
    SPOIL(TENON_E_SHAPE, "below 2^31 and 2^32", without_states(&c); c.OUT_O.dtype = c.O.dtype = 0;
          c.A.dtype = c.Q.dtype = 0; c.M = c.S = T(TENON_F32, INT64_C(1) << 31, 2); c.LSE = T(TENON_F32, 2));
    SPOIL(TENON_OK, NULL, c.A.dtype = c.Q.dtype = 0; without_states(&c); c.M = c.S = T(TENON_F32, 0, 5);
          c.O = T(TENON_F32, 0, 5, 7));
    SPOIL(TENON_OK, NULL, c.A.dtype = c.Q.dtype = 0; without_states(&c); c.M = c.S = T(TENON_F32, 3);
          c.O = T(TENON_F32, 3, 7); c.OUT_O = T(TENON_F32, 7));
}

static void test_presence(void)
{
    SPOIL(TENON_E_ARG, "out_a is asked for and a is not given", c.A.dtype = 0);
    SPOIL(TENON_E_ARG, "out_q is asked for and q is not given", c.Q.dtype = 0);
    SPOIL(TENON_E_ARG, "out_o is asked for and o is not given", c.O.dtype = 0);
    SPOIL(TENON_E_ARG, "no output is asked for", without_states(&c); c.OUT_O.dtype = 0);
    SPOIL(TENON_OK, NULL, c.OUT_O.dtype = 0);
    SPOIL(TENON_E_SHAPE, "s is absent", c.S.dtype = 0);
}

static void test_types(void)
{
    SPOIL(TENON_E_DTYPE, "m type f16", c.M.dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.O.dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "out_o type f16: must be bf16 or f32", c.O.dtype = TENON_BF16; c.OUT_O.dtype = TENON_F16);
    SPOIL(TENON_E_ARG, "inv_temp = -1", PARAMS(c)->inv_temp = -1);
    SPOIL(TENON_E_ARG, "inv_temp", PARAMS(c)->inv_temp = NAN);
    SPOIL(TENON_E_ARG, "o_normalised = 2: must be within [0, 1]", PARAMS(c)->o_normalised = 2);
    SPOIL(TENON_E_INVALID, "params of softmax_merge", PARAMS(c)->struct_size = 8);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_softmax_merge);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.O.dtype = TENON_F16;
    c.OUT_O.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_MERGE_OUT_O, &out, &why), TENON_OK, "shape of out_o");
    ok(out.dtype == TENON_F16 && out.rank == 2 && out.dim[0] == 5 && out.dim[1] == 7, "is [rows,dv]");
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_MERGE_LSE, &out, &why), TENON_OK, "shape of lse");
    ok(out.dtype == TENON_F32 && out.rank == 1 && out.dim[0] == 5, "is [rows]");
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_MERGE_S, &out, &why), TENON_E_INVALID, "s is no output");
    c.A.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_MERGE_OUT_A, &out, &why), TENON_E_UNSUPPORTED, "no out_a without a");
}

void tenon__softmax_merge_contract_test(void)
{
    call_init(&good, TENON_OPNUM_softmax_merge);
    for (uint32_t i = TENON_SOFTMAX_MERGE_M; i <= TENON_SOFTMAX_MERGE_Q; i++)
        good.t[i] = T(TENON_F32, 3, 5);
    for (uint32_t i = TENON_SOFTMAX_MERGE_OUT_M; i <= TENON_SOFTMAX_MERGE_LSE; i++)
        good.t[i] = T(TENON_F32, 5);
    good.O = T(TENON_F32, 3, 5, 7);
    good.OUT_O = T(TENON_F32, 5, 7);
    call_is(&good, TENON_OK, NULL, "softmax_merge of three parts");
    test_shapes();
    test_presence();
    test_types();
    test_outputs();
}
