/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <tenon/ops/kv_append.h>

#include "../contract.h"

CONTRACT_OF(kv_append); /* 2 sequences of 3 rows of 2 heads of 16 and 8 columns, 32 slots; k of 4 bits a token */

#define K_NEW   t[TENON_KV_APPEND_K_NEW]
#define V_NEW   t[TENON_KV_APPEND_V_NEW]
#define POS     t[TENON_KV_APPEND_POS]
#define N_NEW   t[TENON_KV_APPEND_N_NEW]
#define PAGES   t[TENON_KV_APPEND_PAGE_TABLE]
#define K_CHAN  t[TENON_KV_APPEND_K_CHANNEL]
#define V_CHAN  t[TENON_KV_APPEND_V_CHANNEL]
#define K_TABLE t[TENON_KV_APPEND_K_TABLE]
#define K       t[TENON_KV_APPEND_K]
#define V       t[TENON_KV_APPEND_V]
#define K_QUANT t[TENON_KV_APPEND_K_QUANT]
#define KPOS    t[TENON_KV_APPEND_KPOS]
#define KV_LEN  t[TENON_KV_APPEND_KV_LEN]
#define FLAGS   t[TENON_KV_APPEND_FLAGS]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "k_new shape (rank 3", c.K_NEW = T(TENON_F32, 6, 2, 16));
    SPOIL(TENON_E_SHAPE, "v_new shape", c.V_NEW = T(TENON_F32, 2, 4, 2, 8));
    SPOIL(TENON_E_SHAPE, "k shape", c.K = T(TENON_U8, 3, 32, 2, 8));
    SPOIL(TENON_E_SHAPE, "k shape", c.K = T(TENON_U8, 2, 32, 2, 16));
    SPOIL(TENON_E_SHAPE, "v shape", c.V = T(TENON_F32, 2, 31, 2, 8));
    SPOIL(TENON_E_SHAPE, "pos shape (rank 1, 3 elements): must be [B]", c.POS = T(TENON_I32, 3));
    SPOIL(TENON_E_SHAPE, "n_new shape", c.N_NEW = T(TENON_I32, 2, 1));
    SPOIL(TENON_E_SHAPE, "k_quant shape", c.K_QUANT = T(TENON_F32, 2, 32, 2, 2, 2));
    SPOIL(TENON_E_SHAPE, "kpos shape", c.KPOS = T(TENON_I32, 2, 33));
    SPOIL(TENON_E_SHAPE, "kv_len shape", c.KV_LEN = T(TENON_I32, 1));
    SPOIL(TENON_E_SHAPE, "flags shape", c.FLAGS = T(TENON_U32, 3));
    SPOIL(TENON_OK, NULL, c.KPOS = T(TENON_I32, 2, 32); c.KV_LEN = T(TENON_I32, 2); c.N_NEW = T(TENON_I32, 2));
    SPOIL(TENON_OK, NULL, c.K.stride[0] = 2000; c.K.stride[1] = 40; c.K.stride[2] = 9);
    SPOIL(TENON_E_UNSUPPORTED, "kpos strides", c.KPOS = T(TENON_I32, 2, 32); c.KPOS.stride[0] = 40);
    SPOIL(TENON_E_SHAPE, "below 2^31 in all", c.K = T(TENON_U8, 2, INT64_C(1) << 30, 2, 8);
          c.V = T(TENON_F32, 2, INT64_C(1) << 30, 2, 8));
}

static void page(struct call *c)
{
    c->PAGES = T(TENON_I32, 2, 3);
    c->K = T(TENON_U8, 7, 2, 16, 8);
    c->V = T(TENON_F32, 7, 2, 16, 8);
    c->K_QUANT = T(TENON_F32, 7, 2, 16, 1, 2);
}

static void test_pages(void)
{
    SPOIL(TENON_OK, NULL, page(&c));
    SPOIL(TENON_OK, NULL, page(&c); c.KPOS = T(TENON_I32, 2, 48));
    SPOIL(TENON_E_SHAPE, "page_table shape", page(&c); c.PAGES = T(TENON_I32, 3, 3));
    SPOIL(TENON_E_SHAPE, "P a multiple of 16", page(&c); c.K = T(TENON_U8, 7, 2, 24, 8));
    SPOIL(TENON_E_SHAPE, "k shape", page(&c); c.K = T(TENON_U8, 7, 3, 16, 8));
}

static void test_params(void)
{
    SPOIL(TENON_E_ARG, "k_bits = 3: must be 8, 4 or 2", PARAMS(c)->k_bits = 3);
    SPOIL(TENON_E_ARG, "k_bits = 16", PARAMS(c)->k_bits = 16);
    SPOIL(TENON_E_ARG, "quant_k = 5", PARAMS(c)->quant_k = 5);
    SPOIL(TENON_E_ARG, "k_channel is absent: this mode needs it", PARAMS(c)->quant_k = TENON_KV_APPEND_AFFINE_CHANNEL);
    SPOIL(TENON_E_ARG, "k_table is absent: this mode needs it", PARAMS(c)->quant_k = TENON_KV_APPEND_LUT_TOKEN);
    SPOIL(TENON_E_ARG, "k_quant is given: this mode has no use for it", PARAMS(c)->quant_k = TENON_KV_APPEND_NONE);
    SPOIL(TENON_E_DTYPE, "v type f32: must be u8, for codes", PARAMS(c)->quant_v = TENON_KV_APPEND_AFFINE_CHANNEL;
          c.V_CHAN = T(TENON_F32, 2, 8, 2));
    SPOIL(TENON_E_DTYPE, "v type u8: only of codes", c.V = T(TENON_U8, 2, 32, 2, 8));
    SPOIL(TENON_E_SHAPE, "in groups of 5", PARAMS(c)->k_group = 5);
    SPOIL(TENON_E_SHAPE, "whole bytes", PARAMS(c)->k_group = 1; c.K_QUANT = T(TENON_F32, 2, 32, 2, 16, 2));
    SPOIL(TENON_OK, NULL, PARAMS(c)->k_group = 4; c.K_QUANT = T(TENON_F32, 2, 32, 2, 4, 2));
    SPOIL(TENON_E_ARG, "n_sink = 4 without ring", PARAMS(c)->n_sink = 4);
    SPOIL(TENON_OK, NULL, PARAMS(c)->n_sink = 4; PARAMS(c)->ring = 1);
    SPOIL(TENON_E_SHAPE, "n_sink 32: must be below 32", PARAMS(c)->n_sink = 32; PARAMS(c)->ring = 1);
    SPOIL(TENON_E_INVALID, "params of kv_append", PARAMS(c)->struct_size = 4);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_kv_append);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_KPOS, &out, &why), TENON_OK, "shape of kpos");
    ok(out.dtype == TENON_I32 && out.rank == 2 && out.dim[0] == 2 && out.dim[1] == 32, "is [B,S]");
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_KV_LEN, &out, &why), TENON_OK, "shape of kv_len");
    ok(out.dtype == TENON_I32 && out.rank == 1 && out.dim[0] == 2, "is [B]");
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_K_QUANT, &out, &why), TENON_OK, "shape of k_quant");
    ok(out.rank == 5 && out.dim[1] == 32 && out.dim[3] == 1 && out.dim[4] == 2, "is that of k, and its groups");
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_V_QUANT, &out, &why), TENON_E_UNSUPPORTED, "v has no scales");
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_K, &out, &why), TENON_E_UNSUPPORTED, "k is the caller's");
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_POS, &out, &why), TENON_E_INVALID, "pos is no output");
    page(&c);
    is_int(op->output(c.params, c.t, TENON_KV_APPEND_KPOS, &out, &why), TENON_OK, "shape of kpos, paged");
    ok(out.dim[1] == 48, "is that of the page table's slots");
}

void tenon__kv_append_contract_test(void)
{
    call_init(&good, TENON_OPNUM_kv_append);
    good.K_NEW = T(TENON_F32, 2, 3, 2, 16);
    good.V_NEW = T(TENON_F32, 2, 3, 2, 8);
    good.POS = T(TENON_I32, 2);
    good.K = T(TENON_U8, 2, 32, 2, 8);
    good.V = T(TENON_F32, 2, 32, 2, 8);
    good.K_QUANT = T(TENON_F32, 2, 32, 2, 1, 2);
    good.FLAGS = T(TENON_U32, 4);
    PARAMS(good)->quant_k = TENON_KV_APPEND_AFFINE_TOKEN;
    PARAMS(good)->k_bits = 4;
    call_is(&good, TENON_OK, NULL, "kv_append into 32 slots");
    test_shapes();
    test_pages();
    test_params();
    test_outputs();
}
