/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>
#include <tenon/ops/rope.h>

#include "../contract.h"

CONTRACT_OF(rope); /* 2 by 5 tokens of 3 heads of 8 columns */

#define X     t[TENON_ROPE_X]
#define POS   t[TENON_ROPE_POS]
#define FREQS t[TENON_ROPE_FREQS]
#define TABLE t[TENON_ROPE_TABLE]
#define Y     t[TENON_ROPE_Y]
#define FLAGS t[TENON_ROPE_FLAGS]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "x rank 3: must be 4, [B,T,H,D]", c.X = T(TENON_F32, 10, 3, 8));
    SPOIL(TENON_E_SHAPE, "y shape (rank 4, 120 elements): must be that of x", c.Y = T(TENON_F32, 1, 5, 3, 8));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 2, 5, 24));
    SPOIL(TENON_E_SHAPE, "pos shape (rank 1, 5 elements): must be [2,5] or [1,5]", c.POS = T(TENON_I32, 5));
    SPOIL(TENON_E_SHAPE, "pos shape", c.POS = T(TENON_I32, 2, 4));
    SPOIL(TENON_E_SHAPE, "pos shape", c.POS = T(TENON_I32, 3, 5));
    SPOIL(TENON_OK, NULL, c.POS = T(TENON_I32, 1, 5));
    SPOIL(TENON_E_SHAPE, "freqs shape (rank 1, 3 elements): must be [4]", c.FREQS = T(TENON_F32, 3));
    SPOIL(TENON_OK, NULL, c.FREQS = T(TENON_F32, 4));
    SPOIL(TENON_E_SHAPE, "table shape (rank 2, 80 elements): must be [R,4,2]", c.TABLE = T(TENON_F32, 10, 8));
    SPOIL(TENON_E_SHAPE, "table shape", c.TABLE = T(TENON_F32, 10, 2, 4));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, 10, 4, 2));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, 0, 4, 2));
    SPOIL(TENON_E_SHAPE, "flags shape (rank 1, 3 elements): must be [4]", c.FLAGS = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "below 2^31, 2^16 and 2^16", c.X = c.Y = T(TENON_F32, 2, 5, 65536, 8));
    SPOIL(TENON_E_SHAPE, "below 2^31, 2^16 and 2^16", c.X = c.Y = T(TENON_F32, 2, 5, 3, 65536));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.X = c.Y = T(TENON_F32, 65536, 32768, 3, 8);
          c.POS = T(TENON_I32, 1, 32768));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 0, 5, 3, 8); c.POS = T(TENON_I32, 0, 5));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 2, 0, 3, 8); c.POS = T(TENON_I32, 2, 0));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 2, 5, 0, 8));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 2, 5, 3, 0));
    SPOIL(TENON_OK, NULL, c.FLAGS.dtype = 0);
}

static void test_params(void)
{
    SPOIL(TENON_E_SHAPE, "n_rot 7: must be even and at most 8", params_of(&c)->n_rot = 7);
    SPOIL(TENON_E_SHAPE, "n_rot 10: must be even and at most 8", params_of(&c)->n_rot = 10);
    SPOIL(TENON_E_SHAPE, "n_rot 7", c.X = c.Y = T(TENON_F32, 2, 5, 3, 7));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 2, 5, 3, 7); params_of(&c)->n_rot = 6);
    SPOIL(TENON_OK, NULL, params_of(&c)->n_rot = 2);
    SPOIL(TENON_E_ARG, "n_rot = -2", params_of(&c)->n_rot = -2);
    SPOIL(TENON_E_ARG, "style = 2: must be one of 0=half 1=interleaved", params_of(&c)->style = 2);
    SPOIL(TENON_E_ARG, "base = 0.5", params_of(&c)->base = 0.5f);
    SPOIL(TENON_E_ARG, "base", params_of(&c)->base = NAN);
    SPOIL(TENON_OK, NULL, params_of(&c)->base = 1);
    SPOIL(TENON_E_ARG, "scaling = 0", params_of(&c)->scaling = 0);
    SPOIL(TENON_OK, NULL, params_of(&c)->scaling = 0.25f);
    SPOIL(TENON_E_ARG, "amplitude = -1", params_of(&c)->amplitude = -1);
    SPOIL(TENON_E_ARG, "freqs and table are both given", c.FREQS = T(TENON_F32, 4);
          c.TABLE = T(TENON_F32, 10, 4, 2));
    SPOIL(TENON_E_ARG, "scaling = 2 with freqs: must be 1", c.FREQS = T(TENON_F32, 4); params_of(&c)->scaling = 2);
    SPOIL(TENON_E_ARG, "scaling = 2 with table", c.TABLE = T(TENON_F32, 10, 4, 2); params_of(&c)->scaling = 2);
    SPOIL(TENON_E_INVALID, "params of rope", params_of(&c)->struct_size = 4);
}

static void test_types(void)
{
    SPOIL(TENON_OK, NULL, c.X.dtype = c.Y.dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.X.dtype = c.Y.dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "y type f32: must be f16", c.X.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "x type i8", c.X.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "pos type u32", c.POS.dtype = TENON_U32);
    SPOIL(TENON_E_DTYPE, "freqs type f16", c.FREQS = T(TENON_F16, 4));
    SPOIL(TENON_E_SHAPE, "y is absent", c.Y.dtype = 0);
    SPOIL(TENON_E_SHAPE, "pos is absent", c.POS.dtype = 0);
}

static void test_strides(void)
{
    SPOIL(TENON_OK, NULL, c.X.stride[0] = 8; c.X.stride[1] = 16; c.X.stride[2] = 80);
    SPOIL(TENON_OK, NULL, c.X.stride[0] = 0);
    SPOIL(TENON_OK, NULL, c.Y.stride[0] = 1000; c.Y.stride[1] = 9; c.Y.stride[2] = 50);
    SPOIL(TENON_E_ALIAS, "y stride[1] = 7", c.Y.stride[1] = 7);
    SPOIL(TENON_E_UNSUPPORTED, "pos strides: must be contiguous", c.POS.stride[0] = 6);
    SPOIL(TENON_E_UNSUPPORTED, "table strides: must be contiguous", c.TABLE = T(TENON_F32, 10, 4, 2);
          c.TABLE.stride[0] = 9);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_rope);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.X.dtype = TENON_BF16;
    is_int(op->output(c.params, c.t, TENON_ROPE_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_BF16 && out.rank == 4 && out.dim[1] == 5 && out.dim[3] == 8, "is that of x");
    is_int(op->output(c.params, c.t, TENON_ROPE_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, TENON_ROPE_POS, &out, &why), TENON_E_INVALID, "pos is no output");
    ok(op->in_place(c.params, TENON_ROPE_X, TENON_ROPE_Y), "y may be x");
    ok(!op->in_place(c.params, TENON_ROPE_POS, TENON_ROPE_Y), "y may not be pos");
}

void tenon__rope_contract_test(void)
{
    call_init(&good, TENON_OPNUM_rope);
    good.X = T(TENON_F32, 2, 5, 3, 8);
    good.POS = T(TENON_I32, 2, 5);
    good.Y = T(TENON_F32, 2, 5, 3, 8);
    good.FLAGS = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "rope of 2 by 5 tokens");
    ok(params_of(&good)->base == 10000.0f && params_of(&good)->scaling == 1.0f && params_of(&good)->amplitude == 1.0f,
       "defaults are 10000, 1 and 1");
    test_shapes();
    test_params();
    test_types();
    test_strides();
    test_outputs();
}
