/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/feature_map.h>

#include "../contract.h"

CONTRACT_OF(feature_map); /* outer of 3 by 5 rows of 6 and of 4 */

#define F(NAME) TENON_FEATURE_MAP_##NAME
#define X       t[F(X)]
#define B       t[F(B)]
#define Y       t[F(Y)]

/* The width of every kind's features of 6 entries, which is asked for and is accepted. */
static void test_widths(void)
{
    static const int64_t width[F(COUNT)] = {6, 6, 6, 6, 6, 6, 6, 6, 6, 12, 36, 28, 12, 12, 36};
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_feature_map);
    for (uint32_t kind = 0; kind < F(COUNT); kind++) {
        struct tenon_tensor out;
        struct tenon_why why;
        struct call c;
        call_copy(&c, &good);
        c.B.dtype = 0;
        params_of(&c)->kind = kind;
        params_of(&c)->nu = 3;
        is_int(op->output(c.params, c.t, F(Y), &out, &why), TENON_OK, "kind %u: shape of y", kind);
        ok(out.rank == 3 && out.dim[0] == 3 && out.dim[1] == 5 && out.dim[2] == width[kind] && out.dtype == TENON_F32,
           "has %lld columns", (long long)width[kind]);
        c.Y = out;
        call_is(&c, TENON_OK, NULL, "which is accepted");
        c.Y = T(TENON_F32, 3, 5, width[kind] + 1);
        call_is(&c, TENON_E_SHAPE, "y has", "and one more is not");
        ok(op->in_place(c.params, F(X), F(Y)) == (width[kind] == 6), "y may be x where it is as wide");
    }
}

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "y has 25 columns: must be 24, which outer makes of 6", c.Y = T(TENON_F32, 3, 5, 25));
    SPOIL(TENON_E_SHAPE, "y shape (rank 2, 360 elements): must have the leading axes of x", c.Y = T(TENON_F32, 15, 24));
    SPOIL(TENON_E_SHAPE, "b shape", c.B = T(TENON_F32, 3, 4, 4));
    SPOIL(TENON_E_SHAPE, "x has 65536 columns: must be below 2^16", c.X = T(TENON_F32, 3, 5, 65536));
    SPOIL(TENON_E_SHAPE, "b has 65536 columns: must be below 2^16", c.B = T(TENON_F32, 3, 5, 65536));
    SPOIL(TENON_E_SHAPE, "x has 65535 columns", c.X = T(TENON_F32, 3, 5, 65535); c.B = T(TENON_F32, 3, 5, 65535));
    SPOIL(TENON_E_ARG, "b is given: it may be only with kind = outer", params_of(&c)->kind = F(DPFP));
    SPOIL(TENON_E_UNSUPPORTED, "x strides", c.X.stride[0] = 100);
    SPOIL(TENON_E_UNSUPPORTED, "b strides", c.B.stride[0] = 100);
    SPOIL(TENON_E_UNSUPPORTED, "y strides", c.Y.stride[0] = 1000);
    SPOIL(TENON_OK, NULL, c.X.stride[0] = c.X.stride[1] = 0);
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 3, 5, 0); c.Y = T(TENON_F32, 3, 5, 0));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 0, 6); c.B = T(TENON_F32, 0, 4); c.Y = T(TENON_F32, 0, 24));
    SPOIL(TENON_OK, NULL, c.X = T(TENON_F32, 0); c.Y = T(TENON_F32, 1); c.B.dtype = 0;
          params_of(&c)->kind = F(TAYLOR2));
}

static void test_types(void)
{
    SPOIL(TENON_OK, NULL, c.X.dtype = TENON_F16; c.B.dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.X.dtype = TENON_BF16; c.Y.dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "y type bf16: must be f32 or f32", c.Y.dtype = TENON_BF16);
    SPOIL(TENON_E_DTYPE, "x type i8", c.X.dtype = TENON_I8);
    SPOIL(TENON_E_ARG, "kind", params_of(&c)->kind = F(COUNT));
    SPOIL(TENON_E_ARG, "nu", params_of(&c)->nu = 0);
    SPOIL(TENON_E_ARG, "nu", params_of(&c)->nu = 5);
    SPOIL(TENON_E_ARG, "power", params_of(&c)->power = 1);
    SPOIL(TENON_E_ARG, "eps", params_of(&c)->eps = NAN);
    SPOIL(TENON_E_ARG, "eps", params_of(&c)->eps = 0);
    SPOIL(TENON_E_INVALID, "params of feature_map", params_of(&c)->struct_size = 16);
    SPOIL(TENON_E_SHAPE, "y is absent", c.Y.dtype = 0);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_feature_map);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.X.dtype = TENON_F16;
    c.Y.dtype = 0;
    is_int(op->output(c.params, c.t, F(Y), &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[2] == 24, "is x's type");
    is_int(op->output(c.params, c.t, F(B), &out, &why), TENON_E_INVALID, "b is no output");
    c.X = T(TENON_F32, 2, 65536);
    is_int(op->output(c.params, c.t, F(Y), &out, &why), TENON_E_SHAPE, "x is too wide");
}

void tenon__feature_map_contract_test(void)
{
    call_init(&good, TENON_OPNUM_feature_map);
    params_of(&good)->kind = F(OUTER);
    good.X = T(TENON_F32, 3, 5, 6);
    good.B = T(TENON_F32, 3, 5, 4);
    good.Y = T(TENON_F32, 3, 5, 24);
    call_is(&good, TENON_OK, NULL, "feature_map of 3 by 5 rows");
    test_widths();
    test_shapes();
    test_types();
    test_outputs();
}
