/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/linear.h>

#include "../contract.h"

CONTRACT_OF(linear); /* x [3,64], w [5,64] -> y [3,5] */

#define X        t[TENON_LINEAR_X]
#define W        t[TENON_LINEAR_W]
#define W_SCALE  t[TENON_LINEAR_W_SCALE]
#define BIAS     t[TENON_LINEAR_BIAS]
#define RESIDUAL t[TENON_LINEAR_RESIDUAL]
#define Y        t[TENON_LINEAR_Y]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "w has K = 63: must be that of x, 64", c.W = T(TENON_F32, 5, 63));
    SPOIL(TENON_E_SHAPE, "w rank 1", c.W = T(TENON_F32, 64));
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "y shape (rank 2, last axis 6): must be the leading axes of x, then N = 5",
          c.Y = T(TENON_F32, 3, 6));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 4, 5));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 64); c.Y = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_BF16, 2, 3, 64); c.Y = T(TENON_F32, 2, 3, 5));
    SPOIL(TENON_E_SHAPE, "y shape", c.X = T(TENON_F32, 2, 3, 64); c.Y = T(TENON_F32, 6, 5));
    SPOIL(TENON_OK, NULL, PARAMS(c)->trans_x = 1; c.X = T(TENON_F32, 64, 3));
    SPOIL(TENON_E_SHAPE, "must be M", PARAMS(c)->trans_x = 1; c.X = T(TENON_F32, 64, 4));
    SPOIL(TENON_E_SHAPE, "x rank 3", PARAMS(c)->trans_x = 1; c.X = T(TENON_F32, 1, 64, 3));
    SPOIL(TENON_OK, NULL, PARAMS(c)->trans_w = 1; c.W = T(TENON_F16, 64, 5));
    SPOIL(TENON_E_SHAPE, "w has K = 5", PARAMS(c)->trans_w = 1);
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 3, 0); c.W = T(TENON_F32, 5, 0));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 0, 64); c.Y = T(TENON_F32, 0, 5));
    SPOIL(TENON_OK, NULL, c.W = T(TENON_F32, 0, 64); c.Y = T(TENON_F32, 3, 0));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.X = T(TENON_F32, 1, INT64_C(1) << 31); c.W = T(TENON_F32, 5, INT64_C(1) << 31);
          c.Y = T(TENON_F32, 1, 5));
    SPOIL(TENON_E_UNSUPPORTED, "x strides", c.X = T(TENON_F32, 2, 3, 64); c.X.stride[0] = 1000;
          c.Y = T(TENON_F32, 2, 3, 5));
    SPOIL(TENON_E_UNSUPPORTED, "y strides", c.X = T(TENON_F32, 2, 3, 64); c.Y = T(TENON_F32, 2, 3, 5);
          c.Y.stride[0] = 99);
    SPOIL(TENON_OK, NULL, c.BIAS = T(TENON_F32, 5));
    SPOIL(TENON_E_SHAPE, "bias shape", c.BIAS = T(TENON_F32, 1, 5));
    SPOIL(TENON_E_SHAPE, "bias shape (rank 1, 4 elements): must be [5]", c.BIAS = T(TENON_F32, 4));
    SPOIL(TENON_OK, NULL, c.RESIDUAL = T(TENON_F32, 3, 5); c.RESIDUAL.stride[0] = 0);
    SPOIL(TENON_E_SHAPE, "residual shape", c.RESIDUAL = T(TENON_F32, 5));
}

static void test_types(void)
{
    SPOIL(TENON_E_SHAPE, "y is absent", c.Y.dtype = 0);
    SPOIL(TENON_E_DTYPE, "x type i8", c.X.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "w type i32: must be one of f32 f16 bf16 i8", c.W.dtype = TENON_I32);
    SPOIL(TENON_E_DTYPE, "y type f16", c.Y.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "y type bf16: must be f16 or f32", c.X.dtype = TENON_F16; c.Y.dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.X.dtype = c.Y.dtype = TENON_F16; c.RESIDUAL = T(TENON_F32, 3, 5));
    SPOIL(TENON_E_DTYPE, "residual type bf16", c.X.dtype = c.Y.dtype = TENON_F16; c.RESIDUAL = T(TENON_BF16, 3, 5));
    SPOIL(TENON_E_DTYPE, "needs w_scale", c.W.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "w_scale is given with w of type f32", c.W_SCALE = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5, 1));
    SPOIL(TENON_OK, NULL, c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5, 2));
    SPOIL(TENON_E_SHAPE, "a multiple of 32", c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5, 4));
    SPOIL(TENON_E_SHAPE, "w_scale dim[1] = 3", c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5, 3));
    SPOIL(TENON_E_SHAPE, "w_scale dim[1] = 0", c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5, 0));
    SPOIL(TENON_E_SHAPE, "w_scale shape", c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 4));
    SPOIL(TENON_E_SHAPE, "w_scale shape", c.W.dtype = TENON_I8; c.W_SCALE = T(TENON_F32, 5, 2, 1));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 3, 0); c.W = T(TENON_I8, 5, 0); c.W_SCALE = T(TENON_F32, 5, 0));
}

static void test_attributes(void)
{
    SPOIL(TENON_OK, NULL, PARAMS(c)->act = TENON_ACT_FATRELU);
    SPOIL(TENON_E_ARG, "act = 11", PARAMS(c)->act = TENON_ACT_COUNT);
    SPOIL(TENON_E_ARG, "trans_x = 2: must be within [0, 1]", PARAMS(c)->trans_x = 2);
    SPOIL(TENON_E_ARG, "trans_w = 4294967295", PARAMS(c)->trans_w = UINT32_MAX);
    SPOIL(TENON_E_ARG, "alpha", PARAMS(c)->alpha = NAN);
    SPOIL(TENON_E_ARG, "threshold", PARAMS(c)->threshold = INFINITY);
    SPOIL(TENON_E_INVALID, "params of linear", PARAMS(c)->struct_size = 20);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_linear);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.X = T(TENON_F16, 2, 3, 64);
    c.Y.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_LINEAR_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[1] == 3 && out.dim[2] == 5, "is [...,N]");
    PARAMS(c)->trans_x = 1;
    c.X = T(TENON_F32, 64, 7);
    is_int(op->output(c.params, c.t, TENON_LINEAR_Y, &out, &why), TENON_OK, "shape of y with trans_x");
    ok(out.rank == 2 && out.dim[0] == 7 && out.dim[1] == 5, "is [M,N]");
    is_int(op->output(c.params, c.t, TENON_LINEAR_BIAS, &out, &why), TENON_E_INVALID, "bias is no output");
    c.W.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_LINEAR_Y, &out, &why), TENON_E_SHAPE, "without w there is no shape");
}

static void test_alias(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_linear);
    uint64_t range[TENON_LINEAR_N_TENSORS][2] = {{0}};
    struct call c;
    call_copy(&c, &good);
    c.RESIDUAL = c.Y;
    range[TENON_LINEAR_RESIDUAL][0] = range[TENON_LINEAR_Y][0] = 4096;
    range[TENON_LINEAR_RESIDUAL][1] = range[TENON_LINEAR_Y][1] = 4096 + 60;
    is_int(tenon_op_check_alias(op, c.params, c.t, (const uint64_t(*)[2])range, NULL), TENON_OK, "y is the residual");
    range[TENON_LINEAR_X][0] = 4000, range[TENON_LINEAR_X][1] = 4768;
    is_int(tenon_op_check_alias(op, c.params, c.t, (const uint64_t(*)[2])range, NULL), TENON_E_ALIAS, "y inside x");
}

void tenon__linear_contract_test(void)
{
    call_init(&good, TENON_OPNUM_linear);
    good.X = T(TENON_F32, 3, 64);
    good.W = T(TENON_F32, 5, 64);
    good.Y = T(TENON_F32, 3, 5);
    call_is(&good, TENON_OK, NULL, "linear of two matrices");
    test_shapes();
    test_types();
    test_attributes();
    test_outputs();
    test_alias();
}
