/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <tenon/ops/kv_select.h>

#include "../contract.h"

CONTRACT_OF(kv_select); /* 2 sequences, 70 queries and 130 keys in blocks of 64, 4 heads of 2, width 8 */

#define Q       t[TENON_KV_SELECT_Q]
#define K       t[TENON_KV_SELECT_K]
#define GIVEN   t[TENON_KV_SELECT_SCORES]
#define LNZ     t[TENON_KV_SELECT_LNZ]
#define ROW_PTR t[TENON_KV_SELECT_ROW_PTR]
#define COL     t[TENON_KV_SELECT_COL]
#define OUT     t[TENON_KV_SELECT_SCORES_OUT]

static void test_params(void)
{
    SPOIL(TENON_E_ARG, "score = 5: must be one of 0=pooled", PARAMS(c)->score = 5);
    SPOIL(TENON_E_ARG, "block_q = 0: must be within [1, 65536]", PARAMS(c)->block_q = 0);
    SPOIL(TENON_E_ARG, "k = 0", PARAMS(c)->k = 0);
    SPOIL(TENON_E_ARG, "k = 3: needs rule topk or stat", PARAMS(c)->rule = TENON_KV_SELECT_THRESH; PARAMS(c)->k = 3);
    SPOIL(TENON_E_ARG, "tau = 0.5: needs rule thresh or cumul", PARAMS(c)->tau = 0.5f);
    SPOIL(TENON_E_ARG, "tau = 0: must be within (0, 1]", PARAMS(c)->rule = TENON_KV_SELECT_CUMUL; PARAMS(c)->k = 1);
    SPOIL(TENON_OK, NULL, PARAMS(c)->rule = TENON_KV_SELECT_CUMUL; PARAMS(c)->k = 1; PARAMS(c)->tau = 1);
    SPOIL(TENON_E_ARG, "must be 1 where the pool is none", PARAMS(c)->pool_k = TENON_KV_SELECT_POOL_NONE);
    SPOIL(TENON_E_ARG, "stride = 2: needs score max_token", PARAMS(c)->stride = 2);
    SPOIL(TENON_OK, NULL, PARAMS(c)->score = TENON_KV_SELECT_MAX_TOKEN; PARAMS(c)->stride = 2);
    SPOIL(TENON_E_ARG, "lnz: exactly with score prob_mass", PARAMS(c)->score = TENON_KV_SELECT_PROB_MASS);
    SPOIL(TENON_OK, NULL, PARAMS(c)->score = TENON_KV_SELECT_PROB_MASS; c.LNZ = T(TENON_F32, 2, 70, 4));
    SPOIL(TENON_E_ARG, "q_len, k_len: need score external", PARAMS(c)->k_len = 130);
    SPOIL(TENON_E_ARG, "scores: exactly with score external", PARAMS(c)->score = TENON_KV_SELECT_EXTERNAL);
    SPOIL(TENON_E_ARG, "q, k: needed unless score is external", c.K.dtype = 0);
    SPOIL(TENON_E_INVALID, "params of kv_select", PARAMS(c)->struct_size = 84);
}

static void external(struct call *c)
{
    params_of(c)->score = TENON_KV_SELECT_EXTERNAL;
    params_of(c)->q_len = 70;
    params_of(c)->k_len = 130;
    c->Q.dtype = c->K.dtype = 0;
    c->GIVEN = T(TENON_F32, 2, 4, 2, 3);
}

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "q rank 3: must be 4", c.Q = T(TENON_F32, 2, 70, 32));
    SPOIL(TENON_E_SHAPE, "must have B = 2, D = 8", c.K = T(TENON_F32, 2, 130, 2, 7));
    SPOIL(TENON_E_SHAPE, "Hk that divides 4", c.K = T(TENON_F32, 2, 130, 3, 8));
    SPOIL(TENON_E_DTYPE, "k is f16: must be as q, f32", c.K = T(TENON_F16, 2, 130, 2, 8));
    SPOIL(TENON_E_SHAPE, "row_ptr shape", c.ROW_PTR = T(TENON_I32, 2, 4, 2));
    SPOIL(TENON_E_SHAPE, "row_ptr shape", PARAMS(c)->share = TENON_KV_SELECT_PER_KV_GROUP);
    SPOIL(TENON_OK, NULL, PARAMS(c)->share = TENON_KV_SELECT_PER_KV_GROUP; c.ROW_PTR = T(TENON_I32, 2, 2, 3);
          c.OUT.dtype = 0);
    SPOIL(TENON_OK, NULL, PARAMS(c)->share = TENON_KV_SELECT_ALL_HEADS; c.ROW_PTR = T(TENON_I32, 2, 1, 3);
          c.OUT = T(TENON_F32, 2, 1, 2, 3));
    SPOIL(TENON_E_SHAPE, "scores_out shape", c.OUT = T(TENON_F32, 2, 4, 3, 2));
    SPOIL(TENON_E_SHAPE, "col rank 2", c.COL = T(TENON_I32, 4, 4));
    SPOIL(TENON_OK, NULL, c.COL = T(TENON_I32, 0));
    SPOIL(TENON_E_UNSUPPORTED, "q stride[3] = 2: must be 1 on the last axis", c.Q.stride[3] = 2; c.Q.stride[2] = 16;
          c.Q.stride[1] = 64; c.Q.stride[0] = 4480);
    SPOIL(TENON_OK, NULL, c.K.stride[2] = 9; c.K.stride[1] = 18; c.K.stride[0] = 2340);
    SPOIL(TENON_OK, NULL, external(&c));
    SPOIL(TENON_E_SHAPE, "must be 2 by 3, from q_len, k_len", external(&c); c.GIVEN = T(TENON_F32, 2, 4, 3, 2));
    SPOIL(TENON_OK, NULL, external(&c); PARAMS(c)->share = TENON_KV_SELECT_PER_KV_GROUP;
          c.ROW_PTR = T(TENON_I32, 2, 2, 3); c.OUT.dtype = 0);
    SPOIL(TENON_E_SHAPE, "row_ptr has 3 lists: must divide the 4 heads", external(&c);
          PARAMS(c)->share = TENON_KV_SELECT_PER_KV_GROUP; c.ROW_PTR = T(TENON_I32, 2, 3, 3); c.OUT.dtype = 0);
    SPOIL(TENON_E_SHAPE, "kpos shape", c.t[TENON_KV_SELECT_KPOS] = T(TENON_I32, 3, 130));
    SPOIL(TENON_OK, NULL, c.t[TENON_KV_SELECT_KPOS] = T(TENON_I32, 1, 130));
}

static void test_rows(void)
{
    struct tenon_kv_select_params p = {.block_q = 64, .block_k = 64, .k = 3};
    is_int(tenon_kv_select_nnz(&p, 2, 5, 10, 0), 30, "topk: k a row");
    is_int(tenon_kv_select_nnz(&p, 2, 5, 2, 0), 20, "no more than there are");
    p.last = 2;
    is_int(tenon_kv_select_nnz(&p, 2, 5, 10, 0), 50, "and the last two");
    p.forced_counts = 1;
    is_int(tenon_kv_select_nnz(&p, 2, 5, 10, 0), 30, "which count");
    p.self = 1;
    is_int(tenon_kv_select_nnz(&p, 2, 5, 10, 1), 100, "positions that are moved may be in all blocks");
    p = (struct tenon_kv_select_params){.block_q = 64, .block_k = 64, .k = 7, .scope = TENON_KV_SELECT_HEAD};
    is_int(tenon_kv_select_nnz(&p, 2, 5, 10, 0), 14, "k a head");
    p.rule = TENON_KV_SELECT_CUMUL;
    is_int(tenon_kv_select_nnz(&p, 2, 5, 10, 0), 100, "cumul: all");
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_kv_select);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    is_int(op->output(c.params, c.t, TENON_KV_SELECT_ROW_PTR, &out, &why), TENON_OK, "shape of row_ptr");
    ok(out.dtype == TENON_I32 && out.rank == 3 && out.dim[1] == 4 && out.dim[2] == 3, "is [B,Hg,nq+1]");
    is_int(op->output(c.params, c.t, TENON_KV_SELECT_COL, &out, &why), TENON_OK, "shape of col");
    ok(out.rank == 1 && out.dim[0] == 32, "is what no data exceed");
    is_int(op->output(c.params, c.t, TENON_KV_SELECT_SCORES_OUT, &out, &why), TENON_OK, "shape of scores_out");
    ok(out.dtype == TENON_F32 && out.dim[2] == 2 && out.dim[3] == 3, "is [B,Hg,nq,nk]");
    is_int(op->output(c.params, c.t, TENON_KV_SELECT_Q, &out, &why), TENON_E_INVALID, "q is no output");
}

void tenon__kv_select_contract_test(void)
{
    call_init(&good, TENON_OPNUM_kv_select);
    params_of(&good)->k = 2;
    good.Q = T(TENON_F32, 2, 70, 4, 8);
    good.K = T(TENON_F32, 2, 130, 2, 8);
    good.ROW_PTR = T(TENON_I32, 2, 4, 3);
    good.COL = T(TENON_I32, 32);
    good.OUT = T(TENON_F32, 2, 4, 2, 3);
    good.t[TENON_KV_SELECT_FLAGS] = T(TENON_U32, 4);
    call_is(&good, TENON_OK, NULL, "kv_select of 70 queries and 130 keys");
    test_params();
    test_shapes();
    test_rows();
    test_outputs();
}
