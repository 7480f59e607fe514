/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <string.h>

#include <tenon/ops/moe_dispatch.h>

#include "../contract.h"

CONTRACT_OF(moe_dispatch); /* 3 by 5 tokens of 2 slots, 4 experts, 30 rows of 7 columns, every tensor */

#define IDX     t[TENON_MOE_DISPATCH_IDX]
#define W       t[TENON_MOE_DISPATCH_W]
#define X       t[TENON_MOE_DISPATCH_X]
#define COUNTS  t[TENON_MOE_DISPATCH_COUNTS]
#define OFFSETS t[TENON_MOE_DISPATCH_OFFSETS]
#define SRC     t[TENON_MOE_DISPATCH_SRC]
#define POS     t[TENON_MOE_DISPATCH_POS]
#define W2      t[TENON_MOE_DISPATCH_W2]
#define XP      t[TENON_MOE_DISPATCH_XP]
#define FLAGS   t[TENON_MOE_DISPATCH_FLAGS]

static void test_params(void)
{
    SPOIL(TENON_E_ARG, "experts = 0: must be within [1, 65536]", PARAMS(c)->experts = 0);
    SPOIL(TENON_E_ARG, "experts = 65537", PARAMS(c)->experts = 65537);
    SPOIL(TENON_E_ARG, "capacity = -2: must be within [-1, 2147483647]", PARAMS(c)->capacity = -2);
    SPOIL(TENON_OK, NULL, PARAMS(c)->capacity = 0);
    SPOIL(TENON_OK, NULL, PARAMS(c)->capacity = INT32_MAX);
    SPOIL(TENON_E_ARG, "align = 0", PARAMS(c)->align = 0);
    SPOIL(TENON_E_ARG, "order = 2: must be one of 0=token_major 1=choice_major", PARAMS(c)->order = 2);
    SPOIL(TENON_E_ARG, "drop = 3", PARAMS(c)->drop = 3);
    SPOIL(TENON_E_ARG, "renorm = 2", PARAMS(c)->renorm = 2);
    SPOIL(TENON_E_ARG, "first = 4: must be below experts, 4", PARAMS(c)->first = 4);
    SPOIL(TENON_E_ARG, "end = 5: must be 0 or within (first, experts], (0, 4]", PARAMS(c)->end = 5);
    SPOIL(TENON_E_ARG, "end = 2", PARAMS(c)->first = 2; PARAMS(c)->end = 2);
    SPOIL(TENON_OK, NULL, PARAMS(c)->first = 1; PARAMS(c)->end = 4);
    SPOIL(TENON_E_ARG, "pad_to_capacity needs one of at least 0", PARAMS(c)->pad_to_capacity = 1);
    SPOIL(TENON_E_ARG, "capacity = 3: pad_to_capacity needs", PARAMS(c)->pad_to_capacity = 1; PARAMS(c)->capacity = 3;
          PARAMS(c)->align = 2);
    SPOIL(TENON_OK, NULL, PARAMS(c)->pad_to_capacity = 1; PARAMS(c)->capacity = 6; PARAMS(c)->align = 2);
    SPOIL(TENON_E_SHAPE, "src has 30 rows: must be at least 32", PARAMS(c)->pad_to_capacity = 1;
          PARAMS(c)->capacity = 8);
    SPOIL(TENON_E_ARG, "drop is prob and w is not given", PARAMS(c)->drop = TENON_MOE_DISPATCH_PROB; c.W.dtype = 0);
    SPOIL(TENON_E_ARG, "renorm is after_drop and w is not given", PARAMS(c)->renorm = 1; c.W.dtype = 0);
    SPOIL(TENON_E_ARG, "w2 is asked for and w is not given", c.W.dtype = 0);
    SPOIL(TENON_E_ARG, "xp is asked for and x is not given", c.X.dtype = 0);
    SPOIL(TENON_OK, NULL, c.W.dtype = c.W2.dtype = c.X.dtype = c.XP.dtype = 0);
    SPOIL(TENON_E_INVALID, "params of moe_dispatch", PARAMS(c)->struct_size = 36);
}

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "pos shape (rank 2, 30 elements): must be that of idx", c.POS = T(TENON_I32, 15, 2));
    SPOIL(TENON_E_SHAPE, "w shape", c.W = T(TENON_F32, 3, 5, 3));
    SPOIL(TENON_E_SHAPE, "w2 shape", c.W2 = T(TENON_F32, 3, 5));
    SPOIL(TENON_E_SHAPE, "idx rank 0", c.IDX = tenon_tensor_make(TENON_I32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "x shape (rank 3, 105 elements)", c.X = T(TENON_F32, 5, 3, 7));
    SPOIL(TENON_E_SHAPE, "counts shape (rank 1, 5 elements): must be [4]", c.COUNTS = T(TENON_I32, 5));
    SPOIL(TENON_E_SHAPE, "offsets shape (rank 1, 4 elements): must be [5]", c.OFFSETS = T(TENON_I32, 4));
    SPOIL(TENON_E_SHAPE, "flags shape", c.FLAGS = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "src rank 2: must be 1", c.SRC = T(TENON_I32, 30, 1));
    SPOIL(TENON_E_SHAPE, "src has 29 rows: must be at least 30, and below 2^31", c.SRC = T(TENON_I32, 29));
    SPOIL(TENON_E_SHAPE, "src has 30 rows: must be at least 42", PARAMS(c)->align = 4);
    SPOIL(TENON_E_SHAPE, "xp has 31 rows: must have those of src, 30", c.XP = T(TENON_F32, 31, 7));
    SPOIL(TENON_OK, NULL, c.XP = T(TENON_F32, 31, 7); c.SRC = T(TENON_I32, 31));
    SPOIL(TENON_E_SHAPE, "xp is f32 with 6 cols: must be as x, f32 with 7", c.XP = T(TENON_F32, 30, 6));
    SPOIL(TENON_E_DTYPE, "xp is f16", c.XP = T(TENON_F16, 30, 7));
    SPOIL(TENON_OK, NULL, c.X.dtype = c.XP.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "x type i32", c.X.dtype = c.XP.dtype = TENON_I32);
    SPOIL(TENON_E_SHAPE, "2^31 rows and more", PARAMS(c)->align = INT32_MAX);
    SPOIL(TENON_OK, NULL, c.IDX = c.POS = T(TENON_I32, 0, 2); c.W = c.W2 = T(TENON_F32, 0, 2); c.X = T(TENON_F32, 0, 7);
          c.XP = T(TENON_F32, 0, 7); c.SRC = T(TENON_I32, 0));
    SPOIL(TENON_E_UNSUPPORTED, "idx strides: must be contiguous", c.IDX.stride[1] = 3; c.IDX.stride[0] = 15);
    SPOIL(TENON_E_UNSUPPORTED, "pos strides: must be contiguous", c.POS.stride[0] = 12);
    SPOIL(TENON_E_UNSUPPORTED, "x strides", c.X.stride[0] = 100);
    SPOIL(TENON_OK, NULL, c.XP.stride[0] = 9);
}

/* The least number of rows is one that some data need. */
static void test_rows(void)
{
    static const struct {
        int32_t experts, capacity, align, pad, first, end;
        int64_t tokens, k, rows;
    } cases[] = {
        {4, -1, 1, 0, 0, 0, 15, 2, 30},         {4, -1, 4, 0, 0, 0, 15, 2, 42},
        {65536, -1, 16, 0, 0, 0, 1, 8, 128},    {4, 2, 1, 0, 0, 0, 15, 2, 8},
        {4, 3, 4, 0, 0, 0, 15, 2, 16},          {4, 8, 1, 1, 0, 0, 15, 2, 32},
        {4, 8, 4, 1, 1, 3, 15, 2, 16},          {4, 0, 8, 0, 0, 0, 15, 2, 0},
        {8, -1, 1, 0, 0, 0, 0, 2, 0},           {2, INT32_MAX, 1, 0, 0, 0, 15, 2, 30},
        {2, -1, INT32_MAX, 0, 0, 0, 15, 2, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct tenon_moe_dispatch_params p = {.experts = cases[i].experts,
                                                    .capacity = cases[i].capacity,
                                                    .align = cases[i].align,
                                                    .pad_to_capacity = (uint32_t)cases[i].pad,
                                                    .first = cases[i].first,
                                                    .end = cases[i].end};
        is_int(tenon_moe_dispatch_rows(&p, cases[i].tokens, cases[i].k), cases[i].rows, "rows of case %d", (int)i);
    }
    is_int(tenon_moe_capacity_ceil(1.25, 100, 2, 8, 4), 32, "ceil(1.25 * 200 / 8)");
    is_int(tenon_moe_capacity_ceil(1.0, 7, 1, 8, 4), 4, "at least 4");
    is_int(tenon_moe_capacity_floor(1.25, 100, 8), 16, "floor(1.25 * 13)");
    is_int(tenon_moe_capacity_two(100, 8), 26, "2 * 13");
    is_int(tenon_moe_capacity_ceil(1e9, 1 << 20, 8, 1, 4), INT32_MAX, "no more than an int32");
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_moe_dispatch);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    params_of(&c)->align = 4;
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_SRC, &out, &why), TENON_OK, "shape of src");
    ok(out.dtype == TENON_I32 && out.rank == 1 && out.dim[0] == 42, "has the least number of rows");
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_XP, &out, &why), TENON_OK, "shape of xp");
    ok(out.dtype == TENON_F32 && out.rank == 2 && out.dim[0] == 42 && out.dim[1] == 7, "too");
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_OFFSETS, &out, &why), TENON_OK, "shape of offsets");
    ok(out.dtype == TENON_I32 && out.rank == 1 && out.dim[0] == 5, "is [E+1]");
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_KEPT, &out, &why), TENON_OK, "shape of kept");
    ok(out.rank == 1 && out.dim[0] == 4, "is [E]");
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_W2, &out, &why), TENON_OK, "shape of w2");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[2] == 2, "is that of idx");
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_W, &out, &why), TENON_E_INVALID, "w is no output");
    c.X.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_XP, &out, &why), TENON_E_UNSUPPORTED, "no xp without x");
    c.IDX = T(TENON_I32, INT64_MAX, INT64_MAX);
    is_int(op->output(c.params, c.t, TENON_MOE_DISPATCH_SRC, &out, &why), TENON_E_SHAPE, "no product overflows");
}

void tenon__moe_dispatch_contract_test(void)
{
    call_init(&good, TENON_OPNUM_moe_dispatch);
    params_of(&good)->experts = 4;
    good.IDX = good.POS = T(TENON_I32, 3, 5, 2);
    good.W = good.W2 = T(TENON_F32, 3, 5, 2);
    good.X = T(TENON_F32, 3, 5, 7);
    good.XP = T(TENON_F32, 30, 7);
    good.SRC = T(TENON_I32, 30);
    good.COUNTS = good.t[TENON_MOE_DISPATCH_KEPT] = T(TENON_I32, 4);
    good.OFFSETS = T(TENON_I32, 5);
    good.FLAGS = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "moe_dispatch of 3 by 5 tokens");
    test_params();
    test_shapes();
    test_rows();
    test_outputs();
}
