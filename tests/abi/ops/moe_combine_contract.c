/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/moe_combine.h>

#include "../contract.h"

CONTRACT_OF(moe_combine); /* 3 by 5 tokens of 2 slots, 11 rows of 7 columns, every tensor */

#define ZP       t[TENON_MOE_COMBINE_ZP]
#define POS      t[TENON_MOE_COMBINE_POS]
#define W        t[TENON_MOE_COMBINE_W]
#define SHARED   t[TENON_MOE_COMBINE_SHARED]
#define RESIDUAL t[TENON_MOE_COMBINE_RESIDUAL]
#define Y        t[TENON_MOE_COMBINE_Y]
#define FLAGS    t[TENON_MOE_COMBINE_FLAGS]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "w shape (rank 2, 30 elements): must be that of pos", c.W = T(TENON_F32, 15, 2));
    SPOIL(TENON_E_SHAPE, "w shape", c.W = T(TENON_F32, 3, 5, 3));
    SPOIL(TENON_E_SHAPE, "pos rank 0", c.POS = tenon_tensor_make(TENON_I32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "zp rank 0", c.ZP = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "y shape (rank 3, 120 elements): must be the leading axes of pos and then the last of zp, 7",
          c.Y = T(TENON_F32, 3, 5, 8));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 15, 7));
    SPOIL(TENON_E_SHAPE, "shared shape (rank 3, 84 elements)", c.SHARED = T(TENON_F32, 3, 4, 7));
    SPOIL(TENON_E_SHAPE, "residual shape (rank 1, 7 elements)", c.RESIDUAL = T(TENON_F32, 7));
    SPOIL(TENON_E_SHAPE, "flags shape", c.FLAGS = T(TENON_U32, 5));
    SPOIL(TENON_E_SHAPE, "zp has 2147483648 rows: must be below 2^31", c.ZP = T(TENON_F32, INT64_C(1) << 31, 7));
    SPOIL(TENON_OK, NULL, c.ZP = T(TENON_F32, 0, 7));
    SPOIL(TENON_OK, NULL, c.POS = T(TENON_I32, 3, 5, 0); c.W = T(TENON_F32, 3, 5, 0));
    SPOIL(TENON_OK, NULL, c.POS = T(TENON_I32, 2); c.W = T(TENON_F32, 2);
          c.SHARED = c.RESIDUAL = c.Y = T(TENON_F32, 7));
    SPOIL(TENON_OK, NULL, c.POS = T(TENON_I32, 0, 2); c.W = T(TENON_F32, 0, 2);
          c.SHARED = c.RESIDUAL = c.Y = T(TENON_F32, 0, 7));
    SPOIL(TENON_OK, NULL, c.SHARED.dtype = c.RESIDUAL.dtype = c.FLAGS.dtype = 0);
}

static void test_strides(void)
{
    SPOIL(TENON_E_UNSUPPORTED, "pos strides: must be contiguous", c.POS.stride[1] = 3; c.POS.stride[0] = 15);
    SPOIL(TENON_E_UNSUPPORTED, "w strides: must be contiguous", c.W.stride[1] = 3; c.W.stride[0] = 15);
    SPOIL(TENON_E_UNSUPPORTED, "shared strides", c.SHARED.stride[0] = 100);
    SPOIL(TENON_E_UNSUPPORTED, "y strides", c.Y.stride[0] = 100);
    SPOIL(TENON_OK, NULL, c.ZP.stride[0] = 9);
    SPOIL(TENON_OK, NULL, c.Y.stride[0] = 5 * 9; c.Y.stride[1] = 9);
    SPOIL(TENON_OK, NULL, c.SHARED.stride[0] = c.SHARED.stride[1] = 0);
}

static void test_types(void)
{
    SPOIL(TENON_OK, NULL, c.ZP.dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.ZP.dtype = TENON_F16; c.Y.dtype = TENON_BF16; c.SHARED.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "w type f16", c.W.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "zp type i8", c.ZP.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "pos type u32", c.POS.dtype = TENON_U32);
    SPOIL(TENON_E_ARG, "skip_zero = 2: must be within [0, 1]", params_of(&c)->skip_zero = 2);
    SPOIL(TENON_OK, NULL, params_of(&c)->skip_zero = 0);
    SPOIL(TENON_E_ARG, "shared_scale", params_of(&c)->shared_scale = NAN);
    SPOIL(TENON_OK, NULL, params_of(&c)->shared_scale = -2);
    SPOIL(TENON_E_INVALID, "params of moe_combine", params_of(&c)->struct_size = 8);
    SPOIL(TENON_E_SHAPE, "y is absent", c.Y.dtype = 0);
    SPOIL(TENON_E_SHAPE, "w is absent", c.W.dtype = 0);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_moe_combine);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.ZP.dtype = TENON_F16;
    c.Y.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_MOE_COMBINE_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[0] == 3 && out.dim[1] == 5 && out.dim[2] == 7,
       "is that of the tokens and then Do");
    is_int(op->output(c.params, c.t, TENON_MOE_COMBINE_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, TENON_MOE_COMBINE_W, &out, &why), TENON_E_INVALID, "w is no output");
    ok(op->in_place(c.params, TENON_MOE_COMBINE_RESIDUAL, TENON_MOE_COMBINE_Y) &&
           !op->in_place(c.params, TENON_MOE_COMBINE_SHARED, TENON_MOE_COMBINE_Y) &&
           !op->in_place(c.params, TENON_MOE_COMBINE_ZP, TENON_MOE_COMBINE_Y),
       "y may be the residual and nothing else");
}

void tenon__moe_combine_contract_test(void)
{
    call_init(&good, TENON_OPNUM_moe_combine);
    good.ZP = T(TENON_F32, 11, 7);
    good.POS = T(TENON_I32, 3, 5, 2);
    good.W = T(TENON_F32, 3, 5, 2);
    good.SHARED = good.RESIDUAL = good.Y = T(TENON_F32, 3, 5, 7);
    good.FLAGS = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "moe_combine of 3 by 5 tokens");
    test_shapes();
    test_strides();
    test_types();
    test_outputs();
}
