/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <string.h>

#include <tenon/ops/kv_evict.h>

#include "../contract.h"

CONTRACT_OF(kv_evict); /* snap of 2 sequences, 3 queries of 4 heads of 8, 32 keys of 2 heads; 6 of them kept */

#define Q        t[TENON_KV_EVICT_Q]
#define K        t[TENON_KV_EVICT_K]
#define SCORES   t[TENON_KV_EVICT_SCORES]
#define KV_LEN   t[TENON_KV_EVICT_KV_LEN]
#define KPOS     t[TENON_KV_EVICT_KPOS]
#define QPOS     t[TENON_KV_EVICT_QPOS]
#define LIST     t[TENON_KV_EVICT_LIST]
#define ROWS     t[TENON_KV_EVICT_ROWS]
#define KEEP     t[TENON_KV_EVICT_KEEP]
#define KPOS_OUT t[TENON_KV_EVICT_KPOS_OUT]
#define LEN_OUT  t[TENON_KV_EVICT_KV_LEN_OUT]
#define OUT      t[TENON_KV_EVICT_SCORES_OUT]
#define FLAGS    t[TENON_KV_EVICT_FLAGS]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "q shape (rank 3", c.Q = T(TENON_F32, 6, 4, 8));
    SPOIL(TENON_E_SHAPE, "k shape", c.K = T(TENON_F32, 2, 32, 2, 9));
    SPOIL(TENON_E_SHAPE, "4 heads of queries, 3 of keys", c.K = T(TENON_F32, 2, 32, 3, 8));
    SPOIL(TENON_E_DTYPE, "k type f16: must be q's", c.K = T(TENON_F16, 2, 32, 2, 8));
    SPOIL(TENON_E_SHAPE, "list last axis 5: must be at least 6", c.LIST = T(TENON_I32, 2, 2, 5));
    SPOIL(TENON_E_SHAPE, "list shape", c.LIST = T(TENON_I32, 2, 1, 6));
    SPOIL(TENON_OK, NULL, c.LIST = T(TENON_I32, 2, 2, 9));
    SPOIL(TENON_E_SHAPE, "rows shape", c.ROWS = T(TENON_I32, 2, 2, 6));
    SPOIL(TENON_OK, NULL, c.ROWS = T(TENON_I32, 2, 6, 2));
    SPOIL(TENON_E_SHAPE, "keep shape", c.KEEP = T(TENON_U32, 2, 2, 2));
    SPOIL(TENON_E_SHAPE, "kpos_out shape", c.KPOS_OUT = T(TENON_I32, 2, 2, 7));
    SPOIL(TENON_E_SHAPE, "kv_len_out shape", c.LEN_OUT = T(TENON_I32, 2));
    SPOIL(TENON_E_SHAPE, "scores_out shape", c.OUT = T(TENON_F32, 2, 2, 32));
    SPOIL(TENON_E_SHAPE, "flags shape", c.FLAGS = T(TENON_U32, 3));
    SPOIL(TENON_E_SHAPE, "qpos shape", c.QPOS = T(TENON_I32, 1, 3));
    SPOIL(TENON_OK, NULL, c.KV_LEN = T(TENON_I32, 2); c.KPOS = T(TENON_I32, 2, 32); c.QPOS = T(TENON_I32, 2, 3));
    SPOIL(TENON_OK, NULL, c.KV_LEN = T(TENON_I32, 2, 2); c.KPOS = T(TENON_I32, 2, 2, 32));
    SPOIL(TENON_OK, NULL, c.KV_LEN = T(TENON_I32, 2, 1); c.KPOS = T(TENON_I32, 2, 1, 32));
    SPOIL(TENON_E_SHAPE, "kv_len shape", c.KV_LEN = T(TENON_I32, 2, 3));
    SPOIL(TENON_E_SHAPE, "kpos shape", c.KPOS = T(TENON_I32, 2, 2, 31));
    SPOIL(TENON_OK, NULL, c.K.stride[0] = 2000; c.K.stride[1] = 40; c.K.stride[2] = 9);
    SPOIL(TENON_E_UNSUPPORTED, "list strides", c.LIST.stride[1] = 7; c.LIST.stride[0] = 20);
}

static void test_params(void)
{
    SPOIL(TENON_E_ARG, "ks = 4: must be odd", PARAMS(c)->ks = 4);
    SPOIL(TENON_E_ARG, "ks = 65", PARAMS(c)->ks = 65);
    SPOIL(TENON_E_ARG, "w = 0: must be at least 1", PARAMS(c)->w = 0);
    SPOIL(TENON_E_ARG, "n = -1", PARAMS(c)->n = -1);
    SPOIL(TENON_E_ARG, "score = 4", PARAMS(c)->score = 4);
    SPOIL(TENON_E_ARG, "slots = 3: needs score recent", PARAMS(c)->slots = 3);
    SPOIL(TENON_E_ARG, "scores: only with score gate, accum", c.SCORES = T(TENON_F32, 2, 32, 2));
    SPOIL(TENON_E_ARG, "q, k: needed", c.Q.dtype = 0);
    SPOIL(TENON_OK, NULL, PARAMS(c)->score = TENON_KV_EVICT_ACCUM; PARAMS(c)->ks = 1;
          c.SCORES = T(TENON_F32, 2, 32, 2));
    SPOIL(TENON_E_ARG, "pool, ks: need score snap", PARAMS(c)->score = TENON_KV_EVICT_ACCUM; PARAMS(c)->ks = 3);
    SPOIL(TENON_E_ARG, "q, k: only with", PARAMS(c)->score = TENON_KV_EVICT_GATE; c.SCORES = T(TENON_F32, 2, 32, 2));
    SPOIL(TENON_E_SHAPE, "list shape", PARAMS(c)->share = TENON_KV_EVICT_ALL);
    SPOIL(TENON_OK, NULL, PARAMS(c)->share = TENON_KV_EVICT_ALL; c.LIST = T(TENON_I32, 2, 1, 6));
    SPOIL(TENON_E_SHAPE, "kv_len shape", PARAMS(c)->share = TENON_KV_EVICT_ALL; c.LIST = T(TENON_I32, 2, 1, 6);
          c.KV_LEN = T(TENON_I32, 2, 2));
    SPOIL(TENON_E_INVALID, "params of kv_evict", PARAMS(c)->struct_size = 4);
}

static void gate(struct call *c)
{
    PARAMS(*c)->score = TENON_KV_EVICT_GATE;
    PARAMS(*c)->ks = 1;
    c->Q.dtype = c->K.dtype = 0;
    memset(&c->Q, 0, sizeof c->Q);
    memset(&c->K, 0, sizeof c->K);
    c->SCORES = T(TENON_F32, 2, 32, 2);
}

static void recent(struct call *c)
{
    gate(c);
    PARAMS(*c)->score = TENON_KV_EVICT_RECENT;
    PARAMS(*c)->slots = 32;
    memset(&c->SCORES, 0, sizeof c->SCORES);
}

static void test_others(void)
{
    SPOIL(TENON_OK, NULL, gate(&c));
    SPOIL(TENON_OK, NULL, recent(&c));
    SPOIL(TENON_E_ARG, "scores: needed with score gate", gate(&c); memset(&c.SCORES, 0, sizeof c.SCORES));
    SPOIL(TENON_E_ARG, "scale: only with q", gate(&c); PARAMS(c)->scale = 2);
    SPOIL(TENON_E_ARG, "qpos: only with q", gate(&c); c.QPOS = T(TENON_I32, 2, 3));
    SPOIL(TENON_E_SHAPE, "keep shape", recent(&c); PARAMS(c)->slots = 64; c.KEEP = T(TENON_U32, 2, 2, 1));
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_kv_evict);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    is_int(op->output(c.params, c.t, TENON_KV_EVICT_LIST, &out, &why), TENON_OK, "shape of list");
    ok(out.dtype == TENON_I32 && out.rank == 3 && out.dim[1] == 2 && out.dim[2] == 6, "is [B,L,what may be kept]");
    is_int(op->output(c.params, c.t, TENON_KV_EVICT_ROWS, &out, &why), TENON_OK, "shape of rows");
    ok(out.rank == 3 && out.dim[1] == 6 && out.dim[2] == 2, "is [B,M,L]");
    is_int(op->output(c.params, c.t, TENON_KV_EVICT_KEEP, &out, &why), TENON_OK, "shape of keep");
    ok(out.dtype == TENON_U32 && out.dim[2] == 1, "has a word for 32 keys");
    is_int(op->output(c.params, c.t, TENON_KV_EVICT_SCORES_OUT, &out, &why), TENON_OK, "shape of scores_out");
    ok(out.dtype == TENON_F32 && out.dim[1] == 32 && out.dim[2] == 2, "is [B,S,Hk]");
    is_int(op->output(c.params, c.t, TENON_KV_EVICT_Q, &out, &why), TENON_E_INVALID, "q is no output");
    recent(&c);
    memset(&c.LIST, 0, sizeof c.LIST);
    is_int(op->output(c.params, c.t, TENON_KV_EVICT_LIST, &out, &why), TENON_E_UNSUPPORTED, "recent: nothing says B");
}

void tenon__kv_evict_contract_test(void)
{
    call_init(&good, TENON_OPNUM_kv_evict);
    good.Q = T(TENON_F32, 2, 3, 4, 8);
    good.K = T(TENON_F32, 2, 32, 2, 8);
    good.LIST = T(TENON_I32, 2, 2, 6);
    PARAMS(good)->n = 3;
    PARAMS(good)->n_first = 1;
    PARAMS(good)->w = 2;
    PARAMS(good)->ks = 3;
    call_is(&good, TENON_OK, NULL, "kv_evict of 32 keys");
    test_shapes();
    test_params();
    test_others();
    test_outputs();
}
