/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <tenon/ops/gather_rows.h>

#include "../contract.h"

CONTRACT_OF(gather_rows); /* 3 by 5 rows of 7 columns from a table of 11 */

#define TABLE t[TENON_GATHER_ROWS_TABLE]
#define IDX   t[TENON_GATHER_ROWS_IDX]
#define Y     t[TENON_GATHER_ROWS_Y]
#define FLAGS t[TENON_GATHER_ROWS_FLAGS]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "y shape (rank 3, 120 elements): must be that of idx and then the last axis of table, 7",
          c.Y = T(TENON_F32, 3, 5, 8));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 15, 7));
    SPOIL(TENON_E_SHAPE, "y shape", c.IDX = T(TENON_I32, 3, 4));
    SPOIL(TENON_E_SHAPE, "idx rank 0", c.IDX = tenon_tensor_make(TENON_I32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "table rank 0", c.TABLE = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "flags shape (rank 1, 3 elements): must be [4]", c.FLAGS = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "table has 2147483648 rows: must be below 2^31", c.TABLE = T(TENON_F32, INT64_C(1) << 31, 7));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, (INT64_C(1) << 31) - 1, 7));
    SPOIL(TENON_E_SHAPE, "below 2^32 and 2^31", c.TABLE = T(TENON_F32, 11, INT64_C(1) << 31);
          c.Y = T(TENON_F32, 3, 5, INT64_C(1) << 31));
    SPOIL(TENON_E_SHAPE, "idx has 4294967296 elements", c.IDX = T(TENON_I32, INT64_C(1) << 32);
          c.Y = T(TENON_F32, INT64_C(1) << 32, 7));
    SPOIL(TENON_OK, NULL, c.IDX = T(TENON_I32, 15); c.Y = T(TENON_F32, 15, 7));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, 2, 3, 7));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, 7));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, 0, 7));
    SPOIL(TENON_OK, NULL, c.TABLE = T(TENON_F32, 11, 0); c.Y = T(TENON_F32, 3, 5, 0));
    SPOIL(TENON_OK, NULL, c.IDX = T(TENON_I32, 0); c.Y = T(TENON_F32, 0, 7));
    SPOIL(TENON_OK, NULL, c.FLAGS.dtype = 0);
}

static void test_strides(void)
{
    SPOIL(TENON_E_UNSUPPORTED, "idx strides: must be contiguous", c.IDX.stride[0] = 6);
    SPOIL(TENON_OK, NULL, c.TABLE.stride[0] = 9);
    SPOIL(TENON_OK, NULL, c.TABLE.stride[0] = 0);
    SPOIL(TENON_OK, NULL, c.Y.stride[0] = 5 * 9; c.Y.stride[1] = 9);
    SPOIL(TENON_E_UNSUPPORTED, "y strides", c.Y.stride[0] = 100);
    SPOIL(TENON_E_UNSUPPORTED, "table strides", c.TABLE = T(TENON_F32, 2, 3, 7); c.TABLE.stride[0] = 100);
}

static void test_types(void)
{
    static const uint32_t types[] = {TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        SPOIL(TENON_OK, NULL, c.TABLE.dtype = c.Y.dtype = types[i]);
    SPOIL(TENON_E_DTYPE, "y type f32: must be f16", c.TABLE.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "y type bf16: must be f16", c.TABLE.dtype = TENON_F16; c.Y.dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "idx type u32", c.IDX.dtype = TENON_U32);
    SPOIL(TENON_E_DTYPE, "flags type i32", c.FLAGS.dtype = TENON_I32);
    SPOIL(TENON_E_ARG, "divisor = 0: must be within [1, 2147483647]", params_of(&c)->divisor = 0);
    SPOIL(TENON_E_ARG, "divisor = -1", params_of(&c)->divisor = -1);
    SPOIL(TENON_OK, NULL, params_of(&c)->divisor = 8);
    SPOIL(TENON_E_INVALID, "params of gather_rows", params_of(&c)->struct_size = 4);
    SPOIL(TENON_E_SHAPE, "y is absent", c.Y.dtype = 0);
    SPOIL(TENON_E_SHAPE, "idx is absent", c.IDX.dtype = 0);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_gather_rows);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.TABLE.dtype = TENON_I8;
    c.Y.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_GATHER_ROWS_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_I8 && out.rank == 3 && out.dim[0] == 3 && out.dim[1] == 5 && out.dim[2] == 7,
       "is that of idx and then D");
    is_int(op->output(c.params, c.t, TENON_GATHER_ROWS_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, TENON_GATHER_ROWS_IDX, &out, &why), TENON_E_INVALID, "idx is no output");
    c.IDX.rank = 8;
    is_int(op->output(c.params, c.t, TENON_GATHER_ROWS_Y, &out, &why), TENON_E_SHAPE, "no axis is left for D");
}

void tenon__gather_rows_contract_test(void)
{
    call_init(&good, TENON_OPNUM_gather_rows);
    good.TABLE = T(TENON_F32, 11, 7);
    good.IDX = T(TENON_I32, 3, 5);
    good.Y = T(TENON_F32, 3, 5, 7);
    good.FLAGS = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "gather_rows of 3 by 5");
    test_shapes();
    test_strides();
    test_types();
    test_outputs();
}
