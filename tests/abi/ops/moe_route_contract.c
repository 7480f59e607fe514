/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include <tenon/ops/moe_route.h>

#include "../contract.h"

CONTRACT_OF(moe_route); /* logits [3,8] -> idx, w [3,2] */

#define P(call)  params_of(&(call))
#define R(name)  TENON_MOE_ROUTE_##name
#define IN(name) t[TENON_MOE_ROUTE_##name]

static void test_tensors(void)
{
    SPOIL(TENON_E_SHAPE, "logits rank 1: must be 2", c.IN(LOGITS) = T(TENON_F32, 8));
    SPOIL(TENON_E_DTYPE, "logits type f16", c.IN(LOGITS) = T(TENON_F16, 3, 8));
    SPOIL(TENON_E_SHAPE, "idx shape (rank 2, 9 elements): must be [T,K]", c.IN(IDX) = T(TENON_I32, 3, 3));
    SPOIL(TENON_E_SHAPE, "w shape", c.IN(W) = T(TENON_F32, 2, 2));
    SPOIL(TENON_E_DTYPE, "w type bf16", c.IN(W) = T(TENON_BF16, 3, 2));
    SPOIL(TENON_E_ARG, "no output is asked for", c.IN(IDX).dtype = c.IN(W).dtype = 0);
    SPOIL(TENON_OK, NULL, c.IN(IDX).dtype = c.IN(W).dtype = 0; c.IN(NSEL) = T(TENON_I32, 3));
    SPOIL(TENON_OK, NULL, c.IN(CNT1) = T(TENON_I32, 8); c.IN(CNT_K) = T(TENON_I32, 8); c.IN(FLAGS) = T(TENON_U32, 4));
    SPOIL(TENON_OK, NULL, c.IN(P_MEAN) = T(TENON_F32, 8); c.IN(AUX) = c.IN(ZLOSS) = c.IN(ENTROPY) = T(TENON_F32, 1));
    SPOIL(TENON_E_SHAPE, "p_mean shape", c.IN(P_MEAN) = T(TENON_F32, 3));
    SPOIL(TENON_E_SHAPE, "aux shape (rank 1, 8 elements): must be [1]", c.IN(AUX) = T(TENON_F32, 8));
    SPOIL(TENON_E_SHAPE, "flags shape", c.IN(FLAGS) = T(TENON_U32, 3));
    SPOIL(TENON_OK, NULL, c.IN(CORR_BIAS) = T(TENON_F32, 8); c.IN(EXPERT_MASK) = T(TENON_U8, 8));
    SPOIL(TENON_E_SHAPE, "corr_bias shape", c.IN(CORR_BIAS) = T(TENON_F32, 3));
    SPOIL(TENON_E_SHAPE, "token_valid shape", c.IN(TOKEN_VALID) = T(TENON_U8, 8));
    SPOIL(TENON_OK, NULL, c.IN(TOKEN_VALID) = T(TENON_U8, 3));
    SPOIL(TENON_E_SHAPE, "no experts", c.IN(LOGITS) = T(TENON_F32, 3, 0));
    SPOIL(TENON_OK, NULL, c.IN(LOGITS) = T(TENON_F32, 0, 8); c.IN(IDX) = T(TENON_I32, 0, 2);
          c.IN(W) = T(TENON_F32, 0, 2));
    SPOIL(TENON_E_SHAPE, "at most 65536", c.IN(LOGITS) = T(TENON_F32, 3, 65537));
    SPOIL(TENON_OK, NULL, c.IN(LOGITS).stride[0] = 11; c.IN(IDX).stride[0] = 5);
    SPOIL(TENON_OK, NULL, c.IN(LOGITS).stride[0] = 0);
}

static void test_attributes(void)
{
    SPOIL(TENON_E_ARG, "k = 0", P(c)->k = 0);
    SPOIL(TENON_E_SHAPE, "k = 9: must be within [1, 8]", P(c)->k = 9; c.IN(W).dtype = 0;
          c.IN(IDX) = T(TENON_I32, 3, 9));
    SPOIL(TENON_E_ARG, "score = 6", P(c)->score = 6);
    SPOIL(TENON_E_ARG, "select = 9", P(c)->select = 9);
    SPOIL(TENON_E_ARG, "norm = 3", P(c)->norm = 3);
    SPOIL(TENON_E_ARG, "weight_src = 3", P(c)->weight_src = 3);
    SPOIL(TENON_E_ARG, "nan_policy = 2", P(c)->nan_policy = 2);
    SPOIL(TENON_E_ARG, "noise = 2", P(c)->noise = 2);
    SPOIL(TENON_E_ARG, "inv_temp = 0", P(c)->inv_temp = 0);
    SPOIL(TENON_E_ARG, "inv_temp = nan", P(c)->inv_temp = NAN);
    SPOIL(TENON_E_ARG, "scale", P(c)->scale = INFINITY);
    SPOIL(TENON_E_ARG, "norm_eps = -1", P(c)->norm_eps = -1);
    SPOIL(TENON_E_ARG, "rms_eps = 0", P(c)->rms_eps = 0);
    SPOIL(TENON_E_ARG, "gamma = 0", P(c)->gamma = 0);
    SPOIL(TENON_OK, NULL, P(c)->norm = 1; P(c)->norm_eps = 0);
    SPOIL(TENON_E_ARG, "noise_use = second_only", P(c)->noise_use = 1);
    SPOIL(TENON_OK, NULL, P(c)->noise_use = 1; P(c)->noise = 1);
    SPOIL(TENON_E_ARG, "noise = gumbel", P(c)->noise = 1; P(c)->select = R(PREFIX); c.IN(NUSE) = T(TENON_I32, 3));
    SPOIL(TENON_E_INVALID, "params of moe_route", P(c)->struct_size = 116);
}

static void test_groups(void)
{
    SPOIL(TENON_OK, NULL, P(c)->n_group = 4; P(c)->topk_group = 2);
    SPOIL(TENON_E_ARG, "n_group = 3: must divide the 8", P(c)->n_group = 3; P(c)->topk_group = 2);
    SPOIL(TENON_E_ARG, "topk_group = 0", P(c)->n_group = 4);
    SPOIL(TENON_E_ARG, "topk_group = 5", P(c)->n_group = 4; P(c)->topk_group = 5);
    SPOIL(TENON_E_ARG, "k = 2: the chosen groups have 1", P(c)->n_group = 8; P(c)->topk_group = 1);
    SPOIL(TENON_E_ARG, "need n_group", P(c)->topk_group = 1);
    SPOIL(TENON_E_ARG, "gscore_n = 3: must be within [1, 2]", P(c)->n_group = 4; P(c)->topk_group = 2; P(c)->gscore = 1;
          P(c)->gscore_n = 3);
    SPOIL(TENON_OK, NULL, P(c)->n_group = 4; P(c)->topk_group = 2; P(c)->gscore = 1; P(c)->gscore_n = 2);
    SPOIL(TENON_E_ARG, "gscore = topn_sum", P(c)->n_group = 4; P(c)->topk_group = 2; P(c)->gscore = 1;
          P(c)->gscore_n = 2; P(c)->score = R(ONE));
    SPOIL(TENON_E_ARG, "n_group: needs select topk", P(c)->n_group = 4; P(c)->topk_group = 2; P(c)->select = R(ALL));
    SPOIL(TENON_OK, NULL, P(c)->hier_g = 4; P(c)->hier_k1 = 2; c.IN(GROUP_LOGITS) = T(TENON_F32, 3, 4));
    SPOIL(TENON_E_ARG, "both or neither", P(c)->hier_g = 4; P(c)->hier_k1 = 2);
    SPOIL(TENON_E_ARG, "hier_k1 = 3", P(c)->hier_g = 4; P(c)->hier_k1 = 3; c.IN(GROUP_LOGITS) = T(TENON_F32, 3, 4));
    SPOIL(TENON_E_ARG, "hier_g = 3", P(c)->hier_g = 3; P(c)->hier_k1 = 1; c.IN(GROUP_LOGITS) = T(TENON_F32, 3, 3));
    SPOIL(TENON_E_ARG, "not with select dselect and hier_g", P(c)->hier_g = 4; P(c)->hier_k1 = 2;
          c.IN(GROUP_LOGITS) = T(TENON_F32, 3, 4); c.IN(L1) = T(TENON_F32, 1));
}

static void test_selections(void)
{
    SPOIL(TENON_E_ARG, "corr_bias", P(c)->select = R(PREFIX); c.IN(NUSE) = T(TENON_I32, 3);
          c.IN(CORR_BIAS) = T(TENON_F32, 8));
    SPOIL(TENON_E_ARG, "gain", c.IN(GAIN) = T(TENON_F32, 8));
    SPOIL(TENON_OK, NULL, P(c)->score = R(RELU_RMS); c.IN(GAIN) = T(TENON_F32, 8));
    SPOIL(TENON_E_ARG, "select = thresh", P(c)->score = R(RELU_RMS); P(c)->select = R(THRESH));
    SPOIL(TENON_OK, NULL, P(c)->select = R(TABLE); c.IN(KEY) = T(TENON_I32, 3); c.IN(TABLE_IDX) = T(TENON_I32, 99, 2));
    SPOIL(TENON_E_ARG, "exactly with select table", P(c)->select = R(TABLE); c.IN(KEY) = T(TENON_I32, 3));
    SPOIL(TENON_E_ARG, "exactly with select table", c.IN(KEY) = T(TENON_I32, 3));
    SPOIL(TENON_E_SHAPE, "table_idx", P(c)->select = R(TABLE); c.IN(KEY) = T(TENON_I32, 3);
          c.IN(TABLE_IDX) = T(TENON_I32, 99, 3));
    SPOIL(TENON_E_ARG, "exactly with select prefix", P(c)->select = R(PREFIX));
    SPOIL(TENON_E_ARG, "expert_mask", P(c)->select = R(PREFIX); c.IN(NUSE) = T(TENON_I32, 3);
          c.IN(EXPERT_MASK) = T(TENON_U8, 8));
    SPOIL(TENON_E_SHAPE, "select random has 1", P(c)->select = R(RANDOM));
    SPOIL(TENON_E_ARG, "random_len = 0", P(c)->select = R(RANDOM); P(c)->random = R(RANDOM_SEQ));
    SPOIL(TENON_E_ARG, "need select expert_choice", c.IN(SEL) = T(TENON_I32, 8, 0));
    SPOIL(TENON_OK, NULL, P(c)->select = R(EXPERT_CHOICE); P(c)->cap = 5; c.IN(SEL) = T(TENON_I32, 8, 5));
    SPOIL(TENON_E_SHAPE, "sel shape", P(c)->select = R(EXPERT_CHOICE); P(c)->cap = 5; c.IN(SEL) = T(TENON_I32, 8, 4));
    SPOIL(TENON_E_ARG, "select = expert_choice", P(c)->select = R(EXPERT_CHOICE); P(c)->norm = 1);
    SPOIL(TENON_OK, NULL, P(c)->select = R(DSELECT); P(c)->experts = 5; c.IN(ZSEL) = T(TENON_F32, 3, 8, 3));
    SPOIL(TENON_OK, NULL, P(c)->select = R(DSELECT); P(c)->experts = 1; P(c)->k = 1; c.IN(IDX) = T(TENON_I32, 3, 1);
          c.IN(W).dtype = 0);
    SPOIL(TENON_E_SHAPE, "zsel shape", P(c)->select = R(DSELECT); P(c)->experts = 9;
          c.IN(ZSEL) = T(TENON_F32, 3, 8, 3));
    SPOIL(TENON_E_ARG, "experts = 0", P(c)->select = R(DSELECT));
    SPOIL(TENON_E_ARG, "zsel is missing", P(c)->select = R(DSELECT); P(c)->experts = 2);
    SPOIL(TENON_E_ARG, "need select dselect", P(c)->experts = 2);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_moe_route);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.IN(IDX).dtype = 0;
    is_int(op->output(c.params, c.t, R(IDX), &out, &why), TENON_OK, "shape of idx");
    ok(out.dtype == TENON_I32 && out.rank == 2 && out.dim[0] == 3 && out.dim[1] == 2, "is [T,K]");
    is_int(op->output(c.params, c.t, R(P_MEAN), &out, &why), TENON_OK, "shape of p_mean");
    ok(out.dtype == TENON_F32 && out.rank == 1 && out.dim[0] == 8, "is [E]");
    is_int(op->output(c.params, c.t, R(FLAGS), &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is [4]");
    is_int(op->output(c.params, c.t, R(SEL), &out, &why), TENON_E_UNSUPPORTED, "topk has no sel");
    P(c)->select = R(EXPERT_CHOICE);
    P(c)->cap = 6;
    is_int(op->output(c.params, c.t, R(G), &out, &why), TENON_OK, "shape of g");
    ok(out.dtype == TENON_F32 && out.rank == 2 && out.dim[0] == 8 && out.dim[1] == 6, "is [E,cap]");
    is_int(op->output(c.params, c.t, R(NUSE), &out, &why), TENON_E_INVALID, "nuse is no output");
}

void tenon__moe_route_contract_test(void)
{
    call_init(&good, TENON_OPNUM_moe_route);
    params_of(&good)->k = 2;
    good.IN(LOGITS) = T(TENON_F32, 3, 8);
    good.IN(IDX) = T(TENON_I32, 3, 2);
    good.IN(W) = T(TENON_F32, 3, 2);
    call_is(&good, TENON_OK, NULL, "moe_route of a matrix");
    test_tensors();
    test_attributes();
    test_groups();
    test_selections();
    test_outputs();
}
