/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/moe_logits.h>

#include "../contract.h"

CONTRACT_OF(moe_logits); /* x [3,64], w [5,64] -> z [3,5] */

#define X    t[TENON_MOE_LOGITS_X]
#define W    t[TENON_MOE_LOGITS_W]
#define BIAS t[TENON_MOE_LOGITS_BIAS]
#define Z    t[TENON_MOE_LOGITS_Z]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "w has D = 63: must be that of x, 64", c.W = T(TENON_F32, 5, 63));
    SPOIL(TENON_E_SHAPE, "w rank 1: must be 2", c.W = T(TENON_F32, 64));
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "z shape (rank 2, last axis 6): must be the leading axes of x, then E = 5",
          c.Z = T(TENON_F32, 3, 6));
    SPOIL(TENON_E_SHAPE, "z shape", c.Z = T(TENON_F32, 4, 5));
    SPOIL(TENON_E_SHAPE, "z shape", c.Z = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 64); c.Z = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_BF16, 2, 3, 64); c.Z = T(TENON_F32, 2, 3, 5));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 3, 0); c.W = T(TENON_F32, 5, 0));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 0, 64); c.Z = T(TENON_F32, 0, 5));
    SPOIL(TENON_OK, NULL, c.W = T(TENON_F32, 0, 64); c.Z = T(TENON_F32, 3, 0));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.X = T(TENON_F32, 1, INT64_C(1) << 31); c.W = T(TENON_F32, 5, INT64_C(1) << 31);
          c.Z = T(TENON_F32, 1, 5));
    SPOIL(TENON_E_UNSUPPORTED, "x strides", c.X = T(TENON_F32, 2, 3, 64); c.X.stride[0] = 1000;
          c.Z = T(TENON_F32, 2, 3, 5));
    SPOIL(TENON_E_UNSUPPORTED, "z strides", c.X = T(TENON_F32, 2, 3, 64); c.Z = T(TENON_F32, 2, 3, 5);
          c.Z.stride[0] = 99);
    SPOIL(TENON_OK, NULL, c.BIAS = T(TENON_F32, 5));
    SPOIL(TENON_E_SHAPE, "bias shape (rank 1, 4 elements): must be [5]", c.BIAS = T(TENON_F32, 4));
}

static void test_types(void)
{
    SPOIL(TENON_E_SHAPE, "z is absent", c.Z.dtype = 0);
    SPOIL(TENON_E_DTYPE, "x type i8", c.X.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "w type i8", c.W.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "z type f16", c.Z.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "bias type f16", c.BIAS = T(TENON_F16, 5));
    SPOIL(TENON_OK, NULL, c.X.dtype = TENON_BF16; c.W.dtype = TENON_F16);
}

static void test_attributes(void)
{
    SPOIL(TENON_OK, NULL, PARAMS(c)->kind = TENON_MOE_LOGITS_STD_DOT; PARAMS(c)->act = TENON_MOE_LOGITS_ACT_SILU);
    SPOIL(TENON_E_ARG, "kind = 4", PARAMS(c)->kind = TENON_MOE_LOGITS_KINDS);
    SPOIL(TENON_E_ARG, "act = 6", PARAMS(c)->act = TENON_MOE_LOGITS_ACTS);
    SPOIL(TENON_E_ARG, "scale", PARAMS(c)->scale = NAN);
    SPOIL(TENON_E_ARG, "eps", PARAMS(c)->eps = -1);
    SPOIL(TENON_E_ARG, "must be 0 or at least 1e-12", PARAMS(c)->eps = 1e-13f);
    SPOIL(TENON_OK, NULL, PARAMS(c)->eps = 1e-12f);
    SPOIL(TENON_E_INVALID, "params of moe_logits", PARAMS(c)->struct_size = 16);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_moe_logits);
    struct tenon_moe_logits_params p;
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    tenon_op_defaults(op, &p);
    ok(p.kind == TENON_MOE_LOGITS_DOT && p.act == TENON_MOE_LOGITS_ACT_NONE && p.scale == 1 && p.eps == 0, "defaults");
    call_copy(&c, &good);
    c.X = T(TENON_F16, 2, 3, 64);
    c.Z.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_MOE_LOGITS_Z, &out, &why), TENON_OK, "shape of z");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[1] == 3 && out.dim[2] == 5, "is [...,E] of f32");
    is_int(op->output(c.params, c.t, TENON_MOE_LOGITS_BIAS, &out, &why), TENON_E_INVALID, "bias is no output");
    c.W.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_MOE_LOGITS_Z, &out, &why), TENON_E_SHAPE, "without w there is no shape");
}

static void test_alias(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_moe_logits);
    uint64_t range[TENON_MOE_LOGITS_N_TENSORS][2] = {{0}};
    range[TENON_MOE_LOGITS_X][0] = 4000, range[TENON_MOE_LOGITS_X][1] = 4768;
    range[TENON_MOE_LOGITS_Z][0] = 4096, range[TENON_MOE_LOGITS_Z][1] = 4096 + 60;
    is_int(tenon_op_check_alias(op, good.params, good.t, (const uint64_t(*)[2])range, NULL), TENON_E_ALIAS,
           "z inside x");
}

void tenon__moe_logits_contract_test(void)
{
    call_init(&good, TENON_OPNUM_moe_logits);
    good.X = T(TENON_F32, 3, 64);
    good.W = T(TENON_F32, 5, 64);
    good.Z = T(TENON_F32, 3, 5);
    call_is(&good, TENON_OK, NULL, "moe_logits of tokens and experts");
    test_shapes();
    test_types();
    test_attributes();
    test_outputs();
    test_alias();
}
