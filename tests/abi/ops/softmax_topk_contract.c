/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/softmax_topk.h>

#include "../contract.h"

CONTRACT_OF(softmax_topk); /* x [4,8], k = 3 -> val, idx */

#define X         t[TENON_SOFTMAX_TOPK_X]
#define BIAS      t[TENON_SOFTMAX_TOPK_BIAS]
#define MASK      t[TENON_SOFTMAX_TOPK_MASK]
#define VALID_LEN t[TENON_SOFTMAX_TOPK_VALID_LEN]
#define SINK      t[TENON_SOFTMAX_TOPK_SINK]
#define NOISE     t[TENON_SOFTMAX_TOPK_NOISE]
#define VAL       t[TENON_SOFTMAX_TOPK_VAL]
#define IDX       t[TENON_SOFTMAX_TOPK_IDX]
#define LSE       t[TENON_SOFTMAX_TOPK_LSE]
#define FLAGS     t[TENON_SOFTMAX_TOPK_FLAGS]

static void test_slots(void)
{
    SPOIL(TENON_E_SHAPE, "val shape (rank 2, last axis 4): must be the leading axes of x, then k = 3",
          c.VAL = T(TENON_F32, 4, 4));
    SPOIL(TENON_E_SHAPE, "idx shape", c.IDX = T(TENON_I32, 12));
    SPOIL(TENON_E_SHAPE, "k = 9: must be within [1, 8], or pad_short = 1", PARAMS(c)->k = 9; c.VAL = T(TENON_F32, 4, 9);
          c.IDX = T(TENON_I32, 4, 9));
    SPOIL(TENON_OK, NULL, PARAMS(c)->k = 9; PARAMS(c)->pad_short = 1; c.VAL = T(TENON_F32, 4, 9);
          c.IDX = T(TENON_I32, 4, 9));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 8); c.VAL = T(TENON_F32, 3); c.IDX = T(TENON_I32, 3));
    SPOIL(TENON_E_ARG, "k = 0: must be within [1, 4096]", PARAMS(c)->k = 0);
    SPOIL(TENON_E_ARG, "k = 4097", PARAMS(c)->k = 4097);
    SPOIL(TENON_OK, NULL, c.IDX.dtype = 0);
    SPOIL(TENON_E_ARG, "no output is asked for", c.IDX.dtype = c.VAL.dtype = 0);
    SPOIL(TENON_OK, NULL, c.IDX.dtype = c.VAL.dtype = 0; c.LSE = T(TENON_F32, 4));
    SPOIL(TENON_E_SHAPE, "flags shape (rank 1, 3 elements): must be [4]", c.FLAGS = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "lse shape (rank 1, 5 elements): must be [4]", c.LSE = T(TENON_F32, 5));
    SPOIL(TENON_E_DTYPE, "val type f16", c.VAL.dtype = TENON_F16);
    SPOIL(TENON_E_UNSUPPORTED, "val strides", c.X = T(TENON_F32, 2, 2, 8); c.IDX.dtype = 0;
          c.VAL = T(TENON_F32, 2, 2, 3); c.VAL.stride[0] = 17);
}

static void test_pipeline(void)
{
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "bias shape", c.BIAS = T(TENON_F32, 9));
    SPOIL(TENON_OK, NULL, c.BIAS = T(TENON_F32, 8); c.MASK = T(TENON_U8, 4, 8));
    SPOIL(TENON_E_ARG, "mask and valid_len are both given", c.MASK = T(TENON_U8, 8); c.VALID_LEN = T(TENON_I32, 4));
    SPOIL(TENON_OK, NULL, c.SINK = T(TENON_F32, 1));
    SPOIL(TENON_E_SHAPE, "sink shape (rank 1, 2 elements): must be [4], or the leading axes of x, or [1]",
          c.SINK = T(TENON_F32, 2));
    SPOIL(TENON_E_ARG, "noise is given: needs noise = input", c.NOISE = T(TENON_F32, 4, 8));
    SPOIL(TENON_E_ARG, "noise = input: needs the tensor noise", PARAMS(c)->noise = TENON_SOFTMAX_NOISE_INPUT);
    SPOIL(TENON_E_ARG, "noise = one_sided_normal: must be none, gumbel or input",
          PARAMS(c)->noise = TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL);
    SPOIL(TENON_OK, NULL, PARAMS(c)->noise = TENON_SOFTMAX_NOISE_GUMBEL; PARAMS(c)->seed = UINT64_MAX);
    SPOIL(TENON_E_ARG, "norm = 4", PARAMS(c)->norm = 4);
    SPOIL(TENON_E_ARG, "inv_temp", PARAMS(c)->inv_temp = -1);
    SPOIL(TENON_E_ARG, "scale", PARAMS(c)->scale = NAN);
    SPOIL(TENON_E_INVALID, "params of softmax_topk", PARAMS(c)->struct_size = 44);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_softmax_topk);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.X = T(TENON_F16, 2, 5, 8);
    c.VAL.dtype = c.IDX.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_TOPK_VAL, &out, &why), TENON_OK, "shape of val");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[1] == 5 && out.dim[2] == 3, "is [...,k]");
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_TOPK_IDX, &out, &why), TENON_OK, "shape of idx");
    ok(out.dtype == TENON_I32 && out.dim[2] == 3, "is [...,k]");
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_TOPK_LSE, &out, &why), TENON_OK, "shape of lse");
    ok(out.dtype == TENON_F32 && out.rank == 2 && out.dim[1] == 5, "is the leading axes of x");
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_TOPK_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, TENON_SOFTMAX_TOPK_X, &out, &why), TENON_E_INVALID, "x is no output");
}

void tenon__softmax_topk_contract_test(void)
{
    call_init(&good, TENON_OPNUM_softmax_topk);
    PARAMS(good)->k = 3;
    good.X = T(TENON_F32, 4, 8);
    good.VAL = T(TENON_F32, 4, 3);
    good.IDX = T(TENON_I32, 4, 3);
    call_is(&good, TENON_OK, NULL, "softmax_topk of a matrix");
    test_slots();
    test_pipeline();
    test_outputs();
}
