/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/moe_ffn.h>

#include "../contract.h"

CONTRACT_OF(moe_ffn); /* x [6,64], E 3, F 32, Do 5, glu2 */

#define IS(NAME)   t[TENON_MOE_FFN_##NAME]
#define GONE(NAME) c.IS(NAME).dtype = 0

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "x shape", c.IS(X) = T(TENON_F32, 6, 1, 64));
    SPOIL(TENON_E_SHAPE, "offsets shape", c.IS(OFFSETS) = T(TENON_I32, 0));
    SPOIL(TENON_E_SHAPE, "wu shape", c.IS(OFFSETS) = T(TENON_I32, 5));
    SPOIL(TENON_E_SHAPE, "wu shape (rank 3, dim[0] 3, last axis 63): must be [E,F,D] with E of offsets and D of x",
          c.IS(WU) = T(TENON_F32, 3, 32, 63));
    SPOIL(TENON_E_SHAPE, "wg shape", c.IS(WG) = T(TENON_F32, 3, 31, 64));
    SPOIL(TENON_E_SHAPE, "wd shape", c.IS(WD) = T(TENON_F32, 3, 5, 31));
    SPOIL(TENON_E_SHAPE, "wd shape", c.IS(WD) = T(TENON_F32, 4, 5, 32));
    SPOIL(TENON_E_SHAPE, "z shape", c.IS(Z) = T(TENON_F32, 6, 6));
    SPOIL(TENON_E_SHAPE, "z shape", c.IS(Z) = T(TENON_F32, 5, 5));
    SPOIL(TENON_OK, NULL, c.IS(SRC) = T(TENON_I32, 9); c.IS(Z) = T(TENON_F32, 9, 5));
    SPOIL(TENON_E_SHAPE, "z shape", c.IS(SRC) = T(TENON_I32, 9));
    SPOIL(TENON_E_SHAPE, "src shape", c.IS(SRC) = T(TENON_I32, 9, 1));
    SPOIL(TENON_OK, NULL, c.IS(BU) = T(TENON_F32, 3, 32); c.IS(BG) = c.IS(BU); c.IS(BD) = T(TENON_F32, 3, 5));
    SPOIL(TENON_E_SHAPE, "bu shape (rank 1, dim[0] 32, last axis 32): must be [3,32]", c.IS(BU) = T(TENON_F32, 32));
    SPOIL(TENON_E_SHAPE, "bd shape", c.IS(BD) = T(TENON_F32, 3, 32));
    SPOIL(TENON_E_UNSUPPORTED, "bd strides", c.IS(BD) = T(TENON_F32, 3, 5); c.IS(BD).stride[0] = 6);
    SPOIL(TENON_OK, NULL, c.IS(FLAGS) = T(TENON_U32, 4));
    SPOIL(TENON_E_SHAPE, "flags shape", c.IS(FLAGS) = T(TENON_U32, 5));
    SPOIL(TENON_OK, NULL, c.IS(WU).stride[0] = 9999; c.IS(WD).stride[1] = 40; c.IS(WD).stride[0] = 0);
    SPOIL(TENON_OK, NULL, c.IS(X) = T(TENON_F32, 0, 64); c.IS(Z) = T(TENON_F32, 0, 5));
    SPOIL(TENON_OK, NULL, c.IS(WG) = c.IS(WU) = T(TENON_F32, 3, 0, 64); c.IS(WD) = T(TENON_F32, 3, 5, 0));
    SPOIL(TENON_OK, NULL, c.IS(OFFSETS) = T(TENON_I32, 1); c.IS(WG) = c.IS(WU) = T(TENON_F32, 0, 32, 64);
          c.IS(WD) = T(TENON_F32, 0, 5, 32));
    SPOIL(TENON_E_SHAPE, "below 2^31", c.IS(X) = T(TENON_F32, INT64_C(1) << 31, 64);
          c.IS(Z) = T(TENON_F32, INT64_C(1) << 31, 5));
    SPOIL(TENON_E_SHAPE, "T * top_k", c.IS(SRC) = T(TENON_I32, 6); PARAMS(c)->top_k = INT32_MAX);
}

static void test_widths(void)
{
    SPOIL(TENON_E_SHAPE, "foff is given", c.IS(FOFF) = T(TENON_I32, 4));
    SPOIL(TENON_OK, NULL, c.IS(FOFF) = T(TENON_I32, 4); c.IS(WG) = c.IS(WU) = T(TENON_F32, 40, 64);
          c.IS(WD) = T(TENON_F32, 5, 40); c.IS(BU) = T(TENON_F32, 40));
    SPOIL(TENON_E_SHAPE, "foff shape", c.IS(FOFF) = T(TENON_I32, 3); c.IS(WG) = c.IS(WU) = T(TENON_F32, 40, 64);
          c.IS(WD) = T(TENON_F32, 5, 40));
    SPOIL(TENON_E_SHAPE, "bu shape", c.IS(FOFF) = T(TENON_I32, 4); c.IS(WG) = c.IS(WU) = T(TENON_F32, 40, 64);
          c.IS(WD) = T(TENON_F32, 5, 40); c.IS(BU) = T(TENON_F32, 3, 40));
    SPOIL(TENON_OK, NULL, c.IS(FOFF) = T(TENON_I32, 4); c.IS(WG) = c.IS(WU) = T(TENON_I8, 64, 64);
          c.IS(WD) = T(TENON_I8, 5, 64); c.IS(WG_SCALE) = T(TENON_F32, 64, 2); c.IS(WU_SCALE) = T(TENON_F32, 64);
          c.IS(WD_SCALE) = T(TENON_F32, 3, 5));
    SPOIL(TENON_E_SHAPE, "wd_scale", c.IS(FOFF) = T(TENON_I32, 4); c.IS(WG) = c.IS(WU) = T(TENON_I8, 64, 64);
          c.IS(WD) = T(TENON_I8, 5, 64); c.IS(WG_SCALE) = T(TENON_F32, 64, 2); c.IS(WU_SCALE) = T(TENON_F32, 64);
          c.IS(WD_SCALE) = T(TENON_F32, 3, 5, 2));
}

#define I8                                                                                                             \
    c.IS(WG).dtype = c.IS(WU).dtype = c.IS(WD).dtype = TENON_I8;                                                       \
    c.IS(WG_SCALE) = c.IS(WU_SCALE) = T(TENON_F32, 3, 32);                                                             \
    c.IS(WD_SCALE) = T(TENON_F32, 3, 5)

static void test_types(void)
{
    SPOIL(TENON_E_DTYPE, "wd type f16: must be that of wu, f32", c.IS(WD).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "wg type bf16", c.IS(WG).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.IS(WG).dtype = c.IS(WU).dtype = c.IS(WD).dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "z type f16", c.IS(Z).dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.IS(X).dtype = c.IS(Z).dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.IS(X).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "offsets type u32", c.IS(OFFSETS).dtype = TENON_U32);
    SPOIL(TENON_OK, NULL, I8);
    SPOIL(TENON_E_DTYPE, "wu of type i8 needs wu_scale", I8; GONE(WU_SCALE));
    SPOIL(TENON_E_DTYPE, "wg_scale is given with wg of type f32", c.IS(WG_SCALE) = T(TENON_F32, 3, 32));
    SPOIL(TENON_OK, NULL, I8; c.IS(WU_SCALE) = T(TENON_F32, 3, 32, 2); c.IS(WD_SCALE) = T(TENON_F32, 3, 5, 1));
    SPOIL(TENON_E_SHAPE, "wu_scale has 4 groups", I8; c.IS(WU_SCALE) = T(TENON_F32, 3, 32, 4));
    SPOIL(TENON_E_SHAPE, "wd_scale shape", I8; c.IS(WD_SCALE) = T(TENON_F32, 3, 6));
    SPOIL(TENON_E_SHAPE, "wd_scale shape", I8; c.IS(WD_SCALE) = T(TENON_F32, 2, 5, 1));
    SPOIL(TENON_E_DTYPE, "wg_scale is given without wg", PARAMS(c)->glu = 0; I8; GONE(WG));
}

static void test_attributes(void)
{
    SPOIL(TENON_E_ARG, "glu = 3", PARAMS(c)->glu = TENON_MOE_FFN_GLU_COUNT);
    SPOIL(TENON_E_ARG, "glu = none with wg", PARAMS(c)->glu = 0);
    SPOIL(TENON_E_ARG, "glu = glu2 without wg", GONE(WG));
    SPOIL(TENON_OK, NULL, PARAMS(c)->glu = 0; GONE(WG));
    SPOIL(TENON_E_ARG, "bg is given without wg", PARAMS(c)->glu = 0; GONE(WG); c.IS(BG) = T(TENON_F32, 3, 32));
    SPOIL(TENON_E_ARG, "act = 11", PARAMS(c)->act = TENON_ACT_COUNT);
    SPOIL(TENON_OK, NULL, PARAMS(c)->glu = 1; PARAMS(c)->act = TENON_ACT_XATLU);
    SPOIL(TENON_E_ARG, "act = relu with glu1", PARAMS(c)->glu = 1; PARAMS(c)->act = TENON_ACT_RELU);
    SPOIL(TENON_E_ARG, "act = fatrelu with glu1", PARAMS(c)->glu = 1; PARAMS(c)->act = TENON_ACT_FATRELU);
    SPOIL(TENON_E_ARG, "weight_at = hidden without rw", PARAMS(c)->weight_at = TENON_MOE_FFN_AT_HIDDEN);
    SPOIL(TENON_E_ARG, "weight_at = none with rw", c.IS(RW) = T(TENON_F32, 6));
    SPOIL(TENON_OK, NULL, PARAMS(c)->weight_at = TENON_MOE_FFN_AT_INPUT; c.IS(RW) = T(TENON_F32, 6));
    SPOIL(TENON_E_SHAPE, "rw shape", PARAMS(c)->weight_at = 1; c.IS(RW) = T(TENON_F32, 5));
    SPOIL(TENON_E_ARG, "h_dtype = 2", PARAMS(c)->h_dtype = TENON_MOE_FFN_H_COUNT);
    SPOIL(TENON_E_ARG, "top_k = 0: must be within [1, 2147483647]", PARAMS(c)->top_k = 0);
    SPOIL(TENON_E_ARG, "alpha", PARAMS(c)->alpha = NAN);
    SPOIL(TENON_E_ARG, "threshold", PARAMS(c)->threshold = INFINITY);
    SPOIL(TENON_E_INVALID, "params of moe_ffn", PARAMS(c)->struct_size = 28);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_moe_ffn);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.IS(X).dtype = TENON_F16;
    GONE(Z);
    is_int(op->output(c.params, c.t, TENON_MOE_FFN_Z, &out, &why), TENON_OK, "shape of z");
    ok(out.dtype == TENON_F16 && out.rank == 2 && out.dim[0] == 6 && out.dim[1] == 5, "is [Mp,Do] of x's type");
    c.IS(SRC) = T(TENON_I32, 11);
    is_int(op->output(c.params, c.t, TENON_MOE_FFN_Z, &out, &why), TENON_OK, "shape of z with src");
    ok(out.dim[0] == 11 && out.dim[1] == 5, "has the rows of src");
    is_int(op->output(c.params, c.t, TENON_MOE_FFN_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is u32 [4]");
    is_int(op->output(c.params, c.t, TENON_MOE_FFN_RW, &out, &why), TENON_E_INVALID, "rw is no output");
    GONE(WD);
    is_int(op->output(c.params, c.t, TENON_MOE_FFN_Z, &out, &why), TENON_E_SHAPE, "without wd there is no shape");
}

void tenon__moe_ffn_contract_test(void)
{
    call_init(&good, TENON_OPNUM_moe_ffn);
    PARAMS(good)->glu = TENON_MOE_FFN_GLU2;
    good.IS(X) = T(TENON_F32, 6, 64);
    good.IS(OFFSETS) = T(TENON_I32, 4);
    good.IS(WG) = good.IS(WU) = T(TENON_F32, 3, 32, 64);
    good.IS(WD) = T(TENON_F32, 3, 5, 32);
    good.IS(Z) = T(TENON_F32, 6, 5);
    call_is(&good, TENON_OK, NULL, "moe_ffn of three experts");
    test_shapes();
    test_widths();
    test_types();
    test_attributes();
    test_outputs();
}
