/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <tenon/ops/attn_merge.h>

#include "../contract.h"

CONTRACT_OF(attn_merge); /* 3 parts of 2 tokens, 5 heads and 7 columns; every tensor of LNZ */

#define O_PARTS   t[TENON_ATTN_MERGE_O_PARTS]
#define LNZ_PARTS t[TENON_ATTN_MERGE_LNZ_PARTS]
#define COUNTS    t[TENON_ATTN_MERGE_COUNTS]
#define SINK      t[TENON_ATTN_MERGE_SINK]
#define O         t[TENON_ATTN_MERGE_O]
#define LNZ       t[TENON_ATTN_MERGE_LNZ]

static void plain(struct call *c, uint32_t kind)
{
    params_of(c)->kind = kind;
    c->LNZ_PARTS.dtype = c->SINK.dtype = c->LNZ.dtype = TENON_ABSENT;
}

static void test_kinds(void)
{
    SPOIL(TENON_OK, NULL, c.SINK.dtype = 0; c.LNZ.dtype = 0);
    SPOIL(TENON_OK, NULL, plain(&c, TENON_ATTN_MERGE_BY_SUM));
    SPOIL(TENON_OK, NULL, plain(&c, TENON_ATTN_MERGE_BY_COUNT); c.COUNTS = T(TENON_I32, 3, 2, 5));
    SPOIL(TENON_E_ARG, "lnz_parts is not given: kind lnz needs it", c.LNZ_PARTS.dtype = 0);
    SPOIL(TENON_E_ARG, "counts is not given: kind count needs it", plain(&c, TENON_ATTN_MERGE_BY_COUNT));
    SPOIL(TENON_E_ARG, "lnz_parts is given and kind is sum: only lnz has it",
          PARAMS(c)->kind = TENON_ATTN_MERGE_BY_SUM);
    SPOIL(TENON_E_ARG, "counts is given and kind is lnz: only count has it", c.COUNTS = T(TENON_I32, 3, 2, 5));
    SPOIL(TENON_E_ARG, "lnz is given and kind is sum", plain(&c, TENON_ATTN_MERGE_BY_SUM); c.LNZ.dtype = TENON_F32);
    SPOIL(TENON_E_ARG, "sink is given and kind is sum", plain(&c, TENON_ATTN_MERGE_BY_SUM); c.SINK.dtype = TENON_F32);
    SPOIL(TENON_E_ARG, "kind", PARAMS(c)->kind = 3);
    SPOIL(TENON_E_INVALID, "params of attn_merge", PARAMS(c)->struct_size = 4);
}

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "o_parts rank 1: must be within [2,", c.O_PARTS = T(TENON_F32, 7));
    SPOIL(TENON_E_SHAPE, "o_parts has 4097 parts: must be within [0, 4096]", c.O_PARTS = T(TENON_F32, 4097, 2, 5, 7));
    SPOIL(TENON_E_SHAPE, "o shape (rank 3, 80 elements): must be that of o_parts without its first axis",
          c.O = T(TENON_F32, 2, 5, 8));
    SPOIL(TENON_E_SHAPE, "lnz_parts shape (rank 2, 30 elements): must be that of o_parts without its last axis",
          c.LNZ_PARTS = T(TENON_F32, 3, 10));
    SPOIL(TENON_E_SHAPE, "lnz shape (rank 1, 10 elements): must be that of o_parts without its first and last axis",
          c.LNZ = T(TENON_F32, 10));
    SPOIL(TENON_E_SHAPE, "sink shape (rank 1, 2 elements): must be [5]", c.SINK = T(TENON_F32, 2));
    SPOIL(TENON_E_SHAPE, "o_parts rank 2: must be at least 3 where sink is given", c.O_PARTS = T(TENON_F32, 3, 7);
          c.LNZ_PARTS = T(TENON_F32, 3); c.O = T(TENON_F32, 7); c.LNZ.dtype = 0);
    SPOIL(TENON_OK, NULL, c.O_PARTS = T(TENON_F32, 3, 7); c.LNZ_PARTS = T(TENON_F32, 3); c.O = T(TENON_F32, 7);
          c.SINK.dtype = c.LNZ.dtype = 0);
    SPOIL(TENON_OK, NULL, c.O_PARTS = T(TENON_F32, 0, 2, 5, 7); c.LNZ_PARTS = T(TENON_F32, 0, 2, 5));
    SPOIL(TENON_E_UNSUPPORTED, "o_parts strides", c.O_PARTS.stride[0] += 4);
    SPOIL(TENON_OK, NULL, c.O_PARTS = T(TENON_F32, 3, 2, 5, 9); c.O_PARTS.dim[3] = 7);
    SPOIL(TENON_E_UNSUPPORTED, "lnz_parts strides: must be contiguous", c.LNZ_PARTS.stride[0] = 11);
    SPOIL(TENON_E_UNSUPPORTED, "sink stride[0] = 2", c.SINK.stride[0] = 2);
}

static void test_types(void)
{
    SPOIL(TENON_OK, NULL, c.O_PARTS.dtype = TENON_F16; c.O.dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.O.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "lnz_parts type f16", c.LNZ_PARTS.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "counts type f32", plain(&c, TENON_ATTN_MERGE_BY_COUNT); c.COUNTS = T(TENON_F32, 3, 2, 5));
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_attn_merge);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.O_PARTS.dtype = TENON_F16;
    c.O.dtype = 0;
    is_int(op->output(c.params, c.t, TENON_ATTN_MERGE_O, &out, &why), TENON_OK, "shape of o");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[0] == 2 && out.dim[2] == 7, "is [T,Hq,V]");
    is_int(op->output(c.params, c.t, TENON_ATTN_MERGE_LNZ, &out, &why), TENON_OK, "shape of lnz");
    ok(out.dtype == TENON_F32 && out.rank == 2 && out.dim[0] == 2 && out.dim[1] == 5, "is [T,Hq]");
    is_int(op->output(c.params, c.t, TENON_ATTN_MERGE_SINK, &out, &why), TENON_E_INVALID, "sink is no output");
    c.O_PARTS = T(TENON_F32, 7);
    is_int(op->output(c.params, c.t, TENON_ATTN_MERGE_O, &out, &why), TENON_E_SHAPE, "no parts, no shape");
}

void tenon__attn_merge_contract_test(void)
{
    call_init(&good, TENON_OPNUM_attn_merge);
    good.O_PARTS = T(TENON_F32, 3, 2, 5, 7);
    good.LNZ_PARTS = T(TENON_F32, 3, 2, 5);
    good.SINK = T(TENON_F32, 5);
    good.O = T(TENON_F32, 2, 5, 7);
    good.LNZ = T(TENON_F32, 2, 5);
    call_is(&good, TENON_OK, NULL, "attn_merge of three parts");
    test_kinds();
    test_shapes();
    test_types();
    test_outputs();
}
