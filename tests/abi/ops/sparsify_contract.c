/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/sparsify.h>

#include "../contract.h"

CONTRACT_OF(sparsify); /* x [3,8] -> y */

#define X     t[TENON_SPARSIFY_X]
#define T_ROW t[TENON_SPARSIFY_T_ROW]
#define T_COL t[TENON_SPARSIFY_T_COL]
#define WGT   t[TENON_SPARSIFY_WGT]
#define Y     t[TENON_SPARSIFY_Y]
#define NNZ   t[TENON_SPARSIFY_NNZ]
#define CIDX  t[TENON_SPARSIFY_CIDX]
#define CVAL  t[TENON_SPARSIFY_CVAL]
#define FLAGS t[TENON_SPARSIFY_FLAGS]

static void test_tensors(void)
{
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "y shape (rank 2, last axis 7): must be that of x", c.Y = T(TENON_F32, 3, 7));
    SPOIL(TENON_E_DTYPE, "y type f16: must be f32", c.Y.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "x type i8", c.X.dtype = TENON_I8);
    SPOIL(TENON_E_ARG, "no output is asked for", c.Y.dtype = 0);
    SPOIL(TENON_OK, NULL, c.Y.dtype = 0; c.NNZ = T(TENON_I32, 3));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_BF16, 2, 2, 8); c.Y = T(TENON_BF16, 2, 2, 8); c.NNZ = T(TENON_I32, 4));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 2, 2, 8); c.Y = c.X; c.NNZ = T(TENON_I32, 2, 2));
    SPOIL(TENON_E_SHAPE, "nnz shape (rank 1, 4 elements): must be [3]", c.NNZ = T(TENON_I32, 4));
    SPOIL(TENON_OK, NULL, c.CIDX = T(TENON_I32, 3, 100));
    SPOIL(TENON_OK, NULL, c.CIDX = T(TENON_I32, 3, 0); c.CVAL = T(TENON_F32, 3, 0));
    SPOIL(TENON_E_SHAPE, "cval has kmax = 5: must be that of cidx, 4", c.CIDX = T(TENON_I32, 3, 4);
          c.CVAL = T(TENON_F32, 3, 5));
    SPOIL(TENON_E_SHAPE, "cidx shape (rank 2, 2 rows): must be [3,kmax]", c.CIDX = T(TENON_I32, 2, 4));
    SPOIL(TENON_E_DTYPE, "cval type bf16: must be f32", c.CVAL = T(TENON_BF16, 3, 4));
    SPOIL(TENON_E_DTYPE, "cidx type u32", c.CIDX = T(TENON_U32, 3, 4));
    SPOIL(TENON_OK, NULL, c.FLAGS = T(TENON_U32, 4));
    SPOIL(TENON_E_SHAPE, "flags shape (rank 1, 5 elements): must be [4]", c.FLAGS = T(TENON_U32, 5));
    SPOIL(TENON_E_UNSUPPORTED, "x strides", c.X = T(TENON_F32, 2, 2, 8); c.X.stride[0] = 99;
          c.Y = T(TENON_F32, 2, 2, 8));
    SPOIL(TENON_E_SHAPE, "below 2^32 and 2^31", c.X = T(TENON_F32, 1, INT64_C(1) << 31);
          c.Y = T(TENON_F32, 1, INT64_C(1) << 31));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 0, 8); c.Y = T(TENON_F32, 0, 8));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 3, 0); c.Y = T(TENON_F32, 3, 0));
}

static void test_sides(void)
{
    SPOIL(TENON_OK, NULL, c.T_ROW = T(TENON_F32, 3));
    SPOIL(TENON_OK, NULL, c.T_COL = T(TENON_F32, 8));
    SPOIL(TENON_E_SHAPE, "t_row shape", c.T_ROW = T(TENON_F32, 8));
    SPOIL(TENON_E_SHAPE, "t_col shape (rank 1, 3 elements): must be [8]", c.T_COL = T(TENON_F32, 3));
    SPOIL(TENON_E_ARG, "t_row and t_col are both given", c.T_ROW = T(TENON_F32, 3); c.T_COL = T(TENON_F32, 8));
    SPOIL(TENON_E_ARG, "kind relu has no t", PARAMS(c)->kind = TENON_SPARSIFY_RELU; c.T_COL = T(TENON_F32, 8));
    SPOIL(TENON_OK, NULL, c.WGT = T(TENON_F32, 8));
    SPOIL(TENON_E_ARG, "kind abs_ge has no weights", PARAMS(c)->kind = TENON_SPARSIFY_ABS_GE; c.WGT = T(TENON_F32, 8));
    SPOIL(TENON_E_ARG, "kind topk has no weights", PARAMS(c)->kind = TENON_SPARSIFY_TOPK; c.WGT = T(TENON_F32, 8));
    SPOIL(TENON_OK, NULL, PARAMS(c)->kind = TENON_SPARSIFY_TOPK; PARAMS(c)->by = 1; c.WGT = T(TENON_F32, 8));
    SPOIL(TENON_E_SHAPE, "wgt shape", c.WGT = T(TENON_F32, 7));
    SPOIL(TENON_E_DTYPE, "wgt type f16", c.WGT = T(TENON_F16, 8));
}

static void test_attributes(void)
{
    SPOIL(TENON_E_ARG, "kind = 10", PARAMS(c)->kind = 10);
    SPOIL(TENON_E_ARG, "by = 2", PARAMS(c)->by = 2);
    SPOIL(TENON_E_ARG, "keep = 2", PARAMS(c)->keep = 2);
    SPOIL(TENON_E_ARG, "ddof = 2", PARAMS(c)->ddof = 2);
    SPOIL(TENON_E_ARG, "t = nan: must be finite", PARAMS(c)->t = NAN);
    SPOIL(TENON_OK, NULL, PARAMS(c)->t = -1);
    SPOIL(TENON_E_ARG, "tau = -1", PARAMS(c)->tau = -1);
    SPOIL(TENON_E_ARG, "tau", PARAMS(c)->tau = INFINITY);
    SPOIL(TENON_E_ARG, "cap = 0", PARAMS(c)->cap = 0);
    SPOIL(TENON_E_ARG, "cap", PARAMS(c)->cap = NAN);
    SPOIL(TENON_E_SHAPE, "k = 9: must be within [0, cols]", PARAMS(c)->kind = TENON_SPARSIFY_TOPK; PARAMS(c)->k = 9);
    SPOIL(TENON_E_SHAPE, "k = -1", PARAMS(c)->kind = TENON_SPARSIFY_BATCH_TOPK; PARAMS(c)->k = -1);
    SPOIL(TENON_E_SHAPE, "k = 9", PARAMS(c)->kind = TENON_SPARSIFY_STAT_TOPK; PARAMS(c)->k = 9);
    SPOIL(TENON_OK, NULL, PARAMS(c)->kind = TENON_SPARSIFY_STAT_TOPK; PARAMS(c)->k = 8);
    SPOIL(TENON_OK, NULL, PARAMS(c)->k = 9);
    SPOIL(TENON_E_INVALID, "params of sparsify", PARAMS(c)->struct_size = 32);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_sparsify);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.X = T(TENON_F16, 2, 3, 8);
    c.Y.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_SPARSIFY_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[2] == 8, "is x's");
    is_int(op->output(c.params, c.t, TENON_SPARSIFY_NNZ, &out, &why), TENON_OK, "shape of nnz");
    ok(out.dtype == TENON_I32 && out.rank == 2 && out.dim[1] == 3, "is x's leading axes");
    is_int(op->output(c.params, c.t, TENON_SPARSIFY_CVAL, &out, &why), TENON_OK, "shape of cval");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[2] == 8, "has room for all");
    PARAMS(c)->kind = TENON_SPARSIFY_TOPK;
    PARAMS(c)->k = 5;
    is_int(op->output(c.params, c.t, TENON_SPARSIFY_CIDX, &out, &why), TENON_OK, "shape of cidx");
    ok(out.dtype == TENON_I32 && out.rank == 3 && out.dim[2] == 5, "of topk has room for k");
    is_int(op->output(c.params, c.t, TENON_SPARSIFY_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, TENON_SPARSIFY_WGT, &out, &why), TENON_E_INVALID, "wgt is no output");
}

static void test_alias(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_sparsify);
    uint64_t range[TENON_SPARSIFY_N_TENSORS][2] = {{0}};
    struct call c;
    call_copy(&c, &good);
    range[TENON_SPARSIFY_X][0] = range[TENON_SPARSIFY_Y][0] = 4096;
    range[TENON_SPARSIFY_X][1] = range[TENON_SPARSIFY_Y][1] = 4096 + 96;
    is_int(tenon_op_check_alias(op, c.params, c.t, (const uint64_t(*)[2])range, NULL), TENON_OK, "y is x");
    c.CVAL = T(TENON_F32, 3, 8);
    range[TENON_SPARSIFY_CVAL][0] = 4096, range[TENON_SPARSIFY_CVAL][1] = 4096 + 96;
    is_int(tenon_op_check_alias(op, c.params, c.t, (const uint64_t(*)[2])range, NULL), TENON_E_ALIAS, "cval is x");
}

void tenon__sparsify_contract_test(void)
{
    call_init(&good, TENON_OPNUM_sparsify);
    good.X = T(TENON_F32, 3, 8);
    good.Y = T(TENON_F32, 3, 8);
    call_is(&good, TENON_OK, NULL, "sparsify of a matrix");
    test_tensors();
    test_sides();
    test_attributes();
    test_outputs();
    test_alias();
}
