/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/gated_norm.h>

#include "../contract.h"

CONTRACT_OF(gated_norm); /* dual with norm_b, 3 by 5 rows of 4 groups of 6, every tensor */

#define G(NAME)    TENON_GATED_NORM_##NAME
#define X          t[G(X)]
#define GATE       t[G(GATE)]
#define WEIGHT     t[G(WEIGHT)]
#define BIAS       t[G(BIAS)]
#define RESIDUAL   t[G(RESIDUAL)]
#define B          t[G(B)]
#define GATE_B     t[G(GATE_B)]
#define WEIGHT_B   t[G(WEIGHT_B)]
#define BIAS_B     t[G(BIAS_B)]
#define Y          t[G(Y)]
#define SUM        t[G(SUM)]
#define IMPORTANCE t[G(IMPORTANCE)]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "group = 7: must divide the last axis of x, 24", params_of(&c)->group = 7);
    SPOIL(TENON_E_SHAPE, "group = 48", params_of(&c)->group = 48);
    SPOIL(TENON_E_SHAPE, "gate shape", c.GATE = T(TENON_F32, 3, 5, 23));
    SPOIL(TENON_E_SHAPE, "residual shape", c.RESIDUAL = T(TENON_F32, 24));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 15, 24));
    SPOIL(TENON_E_SHAPE, "sum shape", c.SUM = T(TENON_F32, 3, 4, 24));
    SPOIL(TENON_E_SHAPE, "weight shape (rank 1, 5 elements): must be [24] or [6]", c.WEIGHT = T(TENON_F32, 5));
    SPOIL(TENON_E_SHAPE, "bias_b shape (rank 2, 24 elements)", c.BIAS_B = T(TENON_F32, 1, 24));
    SPOIL(TENON_E_SHAPE, "importance shape", c.IMPORTANCE = T(TENON_F32, 24));
    SPOIL(TENON_OK, NULL, c.IMPORTANCE = T(TENON_F32, 15));
    SPOIL(TENON_OK, NULL, c.WEIGHT = c.BIAS = c.WEIGHT_B = c.BIAS_B = T(TENON_F32, 24));
    SPOIL(TENON_OK, NULL, c.X = c.GATE = c.RESIDUAL = c.B = c.GATE_B = c.Y = c.SUM = T(TENON_F32, 3, 0, 24);
          c.IMPORTANCE = T(TENON_F32, 3, 0));
    SPOIL(TENON_OK, NULL, c.X = c.GATE = c.RESIDUAL = c.B = c.GATE_B = c.Y = c.SUM = T(TENON_F32, 3, 5, 0);
          c.WEIGHT = T(TENON_F32, 0));
}

static void test_strides(void)
{
    SPOIL(TENON_E_UNSUPPORTED, "weight stride[0] = 2: must be 1", c.WEIGHT.stride[0] = 2);
    SPOIL(TENON_E_UNSUPPORTED, "gate strides", c.GATE.stride[0] = 1000);
    SPOIL(TENON_E_UNSUPPORTED, "importance strides", c.IMPORTANCE.stride[0] = 6);
    SPOIL(TENON_OK, NULL, c.GATE.stride[0] = c.GATE.stride[1] = 0);
    SPOIL(TENON_OK, NULL, c.X.stride[1] = 30; c.X.stride[0] = 150);
}

static void test_types(void)
{
    SPOIL(TENON_OK, NULL, c.X.dtype = TENON_F16; c.GATE.dtype = TENON_BF16; c.WEIGHT.dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.X.dtype = TENON_BF16; c.Y.dtype = TENON_BF16; c.SUM.dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "y type f16: must be f32 or f32", c.Y.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "sum type f16: must be bf16 or f32", c.X.dtype = TENON_BF16; c.SUM.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "gate type i8", c.GATE.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "importance type f16", c.IMPORTANCE.dtype = TENON_F16);
    SPOIL(TENON_E_SHAPE, "y is absent", c.Y.dtype = 0);
}

static void test_attributes(void)
{
    SPOIL(TENON_E_ARG, "norm", params_of(&c)->norm = 4);
    SPOIL(TENON_E_ARG, "act", params_of(&c)->act = 3);
    SPOIL(TENON_E_ARG, "group", params_of(&c)->group = -1);
    SPOIL(TENON_E_ARG, "eps", params_of(&c)->eps = 0);
    SPOIL(TENON_E_ARG, "eps", params_of(&c)->eps = NAN);
    SPOIL(TENON_E_ARG, "weight_offset", params_of(&c)->weight_offset = INFINITY);
    SPOIL(TENON_E_INVALID, "params of gated_norm", params_of(&c)->struct_size = 36);
    SPOIL(TENON_E_ARG, "norm_b with mul: must be 0", params_of(&c)->combine = G(MUL));
    SPOIL(TENON_E_ARG, "norm_b with gate_then_norm: must be 0", params_of(&c)->order = G(GATE_THEN_NORM));
    SPOIL(TENON_E_ARG, "act_b = tanh with mul: must be plain", params_of(&c)->combine = G(MUL);
          params_of(&c)->norm_b = 0; params_of(&c)->act_b = G(TANH));
    SPOIL(TENON_E_ARG, "gate_b is given: it may be only with dual", params_of(&c)->combine = G(LERP));
    SPOIL(TENON_E_ARG, "weight_b is given: it may be only with norm_b", params_of(&c)->norm_b = 0);
    SPOIL(TENON_E_ARG, "gate is not given: combine = dual needs it", c.GATE.dtype = 0);
    SPOIL(TENON_E_ARG, "b is not given: combine = dual needs it", c.B.dtype = 0);
    SPOIL(TENON_E_ARG, "gate_b is not given: combine = dual needs it", c.GATE_B.dtype = 0);
    SPOIL(TENON_E_ARG, "sum is given: it may be only with residual", c.RESIDUAL.dtype = 0);
    SPOIL(TENON_E_ARG, "importance is given: it may be only with gate", params_of(&c)->combine = G(MUL);
          params_of(&c)->norm_b = 0; c.GATE.dtype = c.B.dtype = c.GATE_B.dtype = c.WEIGHT_B.dtype = c.BIAS_B.dtype = 0);
    SPOIL(TENON_E_ARG, "b is given: it may be only with lerp and dual", params_of(&c)->combine = G(MUL);
          params_of(&c)->norm_b = 0; c.GATE_B.dtype = c.WEIGHT_B.dtype = c.BIAS_B.dtype = 0);
    SPOIL(TENON_OK, NULL, params_of(&c)->combine = G(LERP); c.GATE_B.dtype = 0);
    SPOIL(TENON_OK, NULL, params_of(&c)->combine = G(MUL); params_of(&c)->norm_b = 0;
          c.B.dtype = c.GATE_B.dtype = c.WEIGHT_B.dtype = c.BIAS_B.dtype = c.RESIDUAL.dtype = c.SUM.dtype = 0);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_gated_norm);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.X.dtype = TENON_F16;
    c.Y.dtype = c.SUM.dtype = 0;
    is_int(op->output(c.params, c.t, G(Y), &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[0] == 3 && out.dim[1] == 5 && out.dim[2] == 24, "is x's");
    is_int(op->output(c.params, c.t, G(SUM), &out, &why), TENON_OK, "shape of sum");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[2] == 24, "is x's");
    is_int(op->output(c.params, c.t, G(IMPORTANCE), &out, &why), TENON_OK, "shape of importance");
    ok(out.dtype == TENON_F32 && out.rank == 2 && out.dim[0] == 3 && out.dim[1] == 5, "is one a row");
    is_int(op->output(c.params, c.t, G(GATE), &out, &why), TENON_E_INVALID, "gate is no output");
    ok(op->in_place(c.params, G(X), G(Y)) && op->in_place(c.params, G(GATE), G(Y)) &&
           op->in_place(c.params, G(B), G(Y)) && op->in_place(c.params, G(GATE_B), G(Y)) &&
           op->in_place(c.params, G(RESIDUAL), G(Y)) && op->in_place(c.params, G(RESIDUAL), G(SUM)) &&
           op->in_place(c.params, G(X), G(SUM)),
       "y may be what is read with it, sum x or residual");
    ok(!op->in_place(c.params, G(WEIGHT), G(Y)) && !op->in_place(c.params, G(GATE), G(SUM)) &&
           !op->in_place(c.params, G(X), G(IMPORTANCE)),
       "and nothing else");
}

void tenon__gated_norm_contract_test(void)
{
    call_init(&good, TENON_OPNUM_gated_norm);
    params_of(&good)->combine = G(DUAL);
    params_of(&good)->norm_b = 1;
    params_of(&good)->group = 6;
    good.X = good.GATE = good.RESIDUAL = good.B = good.GATE_B = good.Y = good.SUM = T(TENON_F32, 3, 5, 24);
    good.WEIGHT = good.BIAS = good.WEIGHT_B = good.BIAS_B = T(TENON_F32, 6);
    good.IMPORTANCE = T(TENON_F32, 3, 5);
    call_is(&good, TENON_OK, NULL, "gated_norm of 3 by 5 rows");
    test_shapes();
    test_strides();
    test_types();
    test_attributes();
    test_outputs();
}
