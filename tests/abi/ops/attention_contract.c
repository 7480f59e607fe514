/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <float.h>
#include <math.h>

#include <tenon/ops/attention.h>

#include "../contract.h"

CONTRACT_OF(attention); /* q [2,3,4,8], k [2,5,2,8], v [2,5,2,6] */

#define IS(NAME) t[TENON_ATTENTION_##NAME]
#define A(NAME)  TENON_ATTENTION_##NAME

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "q shape", c.IS(Q) = T(TENON_F32, 2, 3, 8));
    SPOIL(TENON_E_SHAPE, "k shape [2,5,2,7]: must be [2,5,2,8]", c.IS(K) = T(TENON_F32, 2, 5, 2, 7));
    SPOIL(TENON_E_SHAPE, "k shape", c.IS(K) = T(TENON_F32, 3, 5, 2, 8));
    SPOIL(TENON_E_SHAPE, "v shape", c.IS(V) = T(TENON_F32, 2, 4, 2, 6));
    SPOIL(TENON_E_SHAPE, "o shape", c.IS(O) = T(TENON_F32, 2, 3, 4, 8));
    SPOIL(TENON_E_SHAPE, "Hq = 4, Hk = 3", c.IS(K) = T(TENON_F32, 2, 5, 3, 8); c.IS(V) = T(TENON_F32, 2, 5, 3, 6));
    SPOIL(TENON_E_SHAPE, "D = 0", c.IS(Q) = T(TENON_F32, 2, 3, 4, 0); c.IS(K) = T(TENON_F32, 2, 5, 2, 0));
    SPOIL(TENON_E_SHAPE, "V = 0", c.IS(V) = T(TENON_F32, 2, 5, 2, 0); c.IS(O) = T(TENON_F32, 2, 3, 4, 0));
    SPOIL(TENON_OK, NULL, c.IS(K) = T(TENON_F32, 2, 0, 2, 8); c.IS(V) = T(TENON_F32, 2, 0, 2, 6));
    SPOIL(TENON_OK, NULL, c.IS(Q) = T(TENON_F32, 2, 0, 4, 8); c.IS(O) = T(TENON_F32, 2, 0, 4, 6));
    SPOIL(TENON_OK, NULL, c.IS(Q).stride[1] = 8; c.IS(Q).stride[2] = 24; c.IS(K).stride[0] = 0);
    SPOIL(TENON_OK, NULL, c.IS(LNZ) = T(TENON_F32, 2, 3, 4); c.IS(FLAGS) = T(TENON_U32, 4));
    SPOIL(TENON_E_SHAPE, "lnz shape", c.IS(LNZ) = T(TENON_F32, 2, 3, 2));
    SPOIL(TENON_E_SHAPE, "flags shape", c.IS(FLAGS) = T(TENON_U32, 3));
}

static void test_masks(void)
{
    SPOIL(TENON_OK, NULL, c.IS(MASK) = T(TENON_BF16, 2, 4, 3, 5));
    SPOIL(TENON_OK, NULL, c.IS(MASK) = T(TENON_F16, 1, 1, 1, 5));
    SPOIL(TENON_E_SHAPE, "mask shape", c.IS(MASK) = T(TENON_F32, 1, 2, 3, 5));
    SPOIL(TENON_E_SHAPE, "mask shape", c.IS(MASK) = T(TENON_F32, 1, 1, 1, 1));
    SPOIL(TENON_OK, NULL, c.IS(KV_LEN) = T(TENON_I32, 2); c.IS(KPOS) = T(TENON_I32, 1, 5);
          c.IS(QPOS) = T(TENON_I32, 2, 3); c.IS(BOUNDS) = T(TENON_I32, 1, 3, 2); c.IS(KEEP) = T(TENON_U32, 1, 2, 1));
    SPOIL(TENON_E_SHAPE, "kv_len shape", c.IS(KV_LEN) = T(TENON_I32, 1));
    SPOIL(TENON_E_SHAPE, "kpos shape", c.IS(KPOS) = T(TENON_I32, 2, 3));
    SPOIL(TENON_E_SHAPE, "qpos shape", c.IS(QPOS) = T(TENON_I32, 2, 5));
    SPOIL(TENON_E_SHAPE, "bounds shape", c.IS(BOUNDS) = T(TENON_I32, 2, 3));
    SPOIL(TENON_E_SHAPE, "keep shape", c.IS(KEEP) = T(TENON_U32, 2, 2, 5));
    SPOIL(TENON_OK, NULL, c.IS(SLOPE) = T(TENON_F32, 4); c.IS(QTEMP) = T(TENON_F32, 2, 3, 4);
          c.IS(VSCALE) = T(TENON_F32, 2, 5, 2); c.IS(LOGW) = T(TENON_F32, 2, 5, 2));
    SPOIL(TENON_E_SHAPE, "slope shape", c.IS(SLOPE) = T(TENON_F32, 2));
    SPOIL(TENON_E_SHAPE, "qtemp shape", c.IS(QTEMP) = T(TENON_F32, 2, 3, 2));
    SPOIL(TENON_E_SHAPE, "vscale shape", c.IS(VSCALE) = T(TENON_F32, 2, 5, 4));
    SPOIL(TENON_E_UNSUPPORTED, "qtemp strides", c.IS(QTEMP) = T(TENON_F32, 2, 3, 4); c.IS(QTEMP).stride[0] = 20);
    SPOIL(TENON_E_ARG, "fcum and fcum_k", c.IS(FCUM) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_OK, NULL, c.IS(FCUM) = T(TENON_F32, 2, 3, 4); c.IS(FCUM_K) = T(TENON_F32, 2, 5, 4));
}

#define PAGED                                                                                                          \
    c.IS(PAGE_TABLE) = T(TENON_I32, 2, 3);                                                                             \
    c.IS(K) = T(TENON_F32, 7, 2, 16, 8);                                                                               \
    c.IS(V) = T(TENON_F32, 7, 2, 16, 6)
#define PACKED                                                                                                         \
    c.IS(Q) = T(TENON_F32, 1, 9, 4, 8);                                                                                \
    c.IS(O) = T(TENON_F32, 1, 9, 4, 6);                                                                                \
    c.IS(CU_Q) = T(TENON_I32, 4);                                                                                      \
    c.IS(K) = T(TENON_F32, 1, 9, 2, 8);                                                                                \
    c.IS(V) = T(TENON_F32, 1, 9, 2, 6)

static void test_caches(void)
{
    SPOIL(TENON_OK, NULL, PAGED; c.IS(KPOS) = T(TENON_I32, 2, 48); c.IS(KEEP) = T(TENON_U32, 2, 1, 2));
    SPOIL(TENON_E_SHAPE, "kpos shape", PAGED; c.IS(KPOS) = T(TENON_I32, 2, 5));
    SPOIL(TENON_E_SHAPE, "page_table shape", PAGED; c.IS(PAGE_TABLE) = T(TENON_I32, 3, 3));
    SPOIL(TENON_E_SHAPE, "multiple of 16", PAGED; c.IS(K) = T(TENON_F32, 7, 2, 24, 8);
          c.IS(V) = T(TENON_F32, 7, 2, 24, 6));
    SPOIL(TENON_E_SHAPE, "v shape", PAGED; c.IS(V) = T(TENON_F32, 8, 2, 16, 6));
    SPOIL(TENON_OK, NULL, PACKED; c.IS(KV_LEN) = T(TENON_I32, 3));
    SPOIL(TENON_E_SHAPE, "B = 2 with cu_q", c.IS(CU_Q) = T(TENON_I32, 4));
    SPOIL(TENON_E_SHAPE, "S = 8, T = 9", PACKED; c.IS(K) = T(TENON_F32, 1, 8, 2, 8);
          c.IS(V) = T(TENON_F32, 1, 8, 2, 6));
    SPOIL(TENON_OK, NULL, PACKED; c.IS(CU_K) = T(TENON_I32, 4); c.IS(K) = T(TENON_F32, 1, 8, 2, 8);
          c.IS(V) = T(TENON_F32, 1, 8, 2, 6));
    SPOIL(TENON_E_SHAPE, "cu_k shape", PACKED; c.IS(CU_K) = T(TENON_I32, 3));
    SPOIL(TENON_E_ARG, "cu_k", c.IS(CU_K) = T(TENON_I32, 3));
    SPOIL(TENON_OK, NULL, PACKED; PAGED; c.IS(PAGE_TABLE) = T(TENON_I32, 3, 2); c.IS(KPOS) = T(TENON_I32, 3, 32));
    SPOIL(TENON_E_ARG, "cu_k", PACKED; PAGED; c.IS(PAGE_TABLE) = T(TENON_I32, 3, 2); c.IS(CU_K) = T(TENON_I32, 4));
    SPOIL(TENON_OK, NULL, PARAMS(c)->ring = 1; PARAMS(c)->n_sink = 4);
    SPOIL(TENON_E_ARG, "n_sink = 5 with ring", PARAMS(c)->ring = 1; PARAMS(c)->n_sink = 5);
    SPOIL(TENON_E_ARG, "ring: not with kpos", PARAMS(c)->ring = 1; c.IS(KPOS) = T(TENON_I32, 2, 5));
    SPOIL(TENON_E_ARG, "ring", PACKED; PARAMS(c)->ring = 1);
}

static void test_lists(void)
{
    SPOIL(TENON_OK, NULL, c.IS(ROW_PTR) = T(TENON_I32, 2, 2, 2); c.IS(COL) = T(TENON_I32, 9));
    SPOIL(TENON_OK, NULL, c.IS(ROW_PTR) = T(TENON_I32, 2, 4, 4); c.IS(COL) = T(TENON_I32, 9);
          c.IS(LOGW) = T(TENON_F32, 9); PARAMS(c)->block_q = 1; PARAMS(c)->block_k = 2);
    SPOIL(TENON_E_SHAPE, "row_ptr shape", c.IS(ROW_PTR) = T(TENON_I32, 2, 2, 3); c.IS(COL) = T(TENON_I32, 9));
    SPOIL(TENON_E_SHAPE, "Hg = 3", c.IS(ROW_PTR) = T(TENON_I32, 2, 3, 2); c.IS(COL) = T(TENON_I32, 9));
    SPOIL(TENON_E_SHAPE, "logw shape", c.IS(ROW_PTR) = T(TENON_I32, 2, 2, 2); c.IS(COL) = T(TENON_I32, 9);
          c.IS(LOGW) = T(TENON_F32, 8));
    SPOIL(TENON_E_ARG, "row_ptr and col", c.IS(COL) = T(TENON_I32, 9));
    SPOIL(TENON_E_ARG, "row_ptr: not with", c.IS(ROW_PTR) = T(TENON_I32, 2, 2, 2); c.IS(COL) = T(TENON_I32, 9);
          PARAMS(c)->ring = 1);
    SPOIL(TENON_E_ARG, "block_k = 0", PARAMS(c)->block_k = 0);
    SPOIL(TENON_E_SHAPE, "logw shape", c.IS(LOGW) = T(TENON_F32, 9));
}

#define CODES(kind, bits)                                                                                              \
    PARAMS(c)->quant_k = A(kind);                                                                                      \
    PARAMS(c)->k_bits = bits;                                                                                          \
    c.IS(K) = T(TENON_U8, 2, 5, 2, bits)

static void test_types(void)
{
    SPOIL(TENON_E_DTYPE, "k type f16: must be f32", c.IS(K).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "v type bf16", c.IS(V).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.IS(Q).dtype = c.IS(K).dtype = c.IS(V).dtype = TENON_BF16);
    SPOIL(TENON_OK, NULL, c.IS(Q).dtype = c.IS(K).dtype = c.IS(V).dtype = c.IS(O).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "o type f16", c.IS(O).dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.IS(GATE) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_OK, NULL, c.IS(GATE) = T(TENON_F32, 2, 3, 4, 6));
    SPOIL(TENON_E_SHAPE, "gate shape", c.IS(GATE) = T(TENON_F32, 2, 3, 4, 8));
    SPOIL(TENON_E_DTYPE, "gate type f16", c.IS(GATE) = T(TENON_F16, 2, 3, 4));
    SPOIL(TENON_E_DTYPE, "k type u8", c.IS(K).dtype = TENON_U8);
    SPOIL(TENON_OK, NULL, CODES(AFFINE_TOKEN, 8); c.IS(K_QUANT) = T(TENON_F32, 2, 5, 2, 4, 2));
    SPOIL(TENON_OK, NULL, CODES(AFFINE_CHANNEL, 4); c.IS(K_QUANT) = T(TENON_F32, 2, 8, 2));
    SPOIL(TENON_OK, NULL, CODES(LUT_TOKEN, 2); c.IS(K_QUANT) = T(TENON_F32, 2, 5, 2, 1, 2);
          c.IS(K_TABLE) = T(TENON_F32, 4));
    SPOIL(TENON_E_ARG, "without k_quant", CODES(AFFINE_TOKEN, 8));
    SPOIL(TENON_E_ARG, "without k_table", CODES(LUT_CHANNEL, 4); c.IS(K_QUANT) = T(TENON_F32, 2, 8, 2));
    SPOIL(TENON_E_ARG, "with k_table", CODES(AFFINE_CHANNEL, 4); c.IS(K_QUANT) = T(TENON_F32, 2, 8, 2);
          c.IS(K_TABLE) = T(TENON_F32, 16));
    SPOIL(TENON_E_SHAPE, "k_table shape", CODES(LUT_CHANNEL, 4); c.IS(K_QUANT) = T(TENON_F32, 2, 8, 2);
          c.IS(K_TABLE) = T(TENON_F32, 8));
    SPOIL(TENON_E_SHAPE, "3 groups", CODES(AFFINE_TOKEN, 8); c.IS(K_QUANT) = T(TENON_F32, 2, 5, 2, 3, 2));
    SPOIL(TENON_E_SHAPE, "k_quant shape", CODES(AFFINE_CHANNEL, 8); c.IS(K_QUANT) = T(TENON_F32, 2, 6, 2));
    SPOIL(TENON_E_SHAPE, "k shape", CODES(AFFINE_CHANNEL, 4); c.IS(K_QUANT) = T(TENON_F32, 2, 8, 2);
          c.IS(K) = T(TENON_U8, 2, 5, 2, 8));
    SPOIL(TENON_E_ARG, "k_bits = 3", CODES(AFFINE_CHANNEL, 3); c.IS(K_QUANT) = T(TENON_F32, 2, 8, 2));
    SPOIL(TENON_E_ARG, "quant_v = none with v_quant", c.IS(V_QUANT) = T(TENON_F32, 2, 6, 2));
    SPOIL(TENON_E_SHAPE, "whole bytes", CODES(AFFINE_CHANNEL, 2); c.IS(Q) = T(TENON_F32, 2, 3, 4, 7);
          c.IS(K_QUANT) = T(TENON_F32, 2, 7, 2));
}

static void test_attributes(void)
{
    SPOIL(TENON_E_ARG, "weight = 7", PARAMS(c)->weight = A(WEIGHT_COUNT));
    SPOIL(TENON_E_ARG, "norm = sink with weight sigmoid", PARAMS(c)->weight = A(SIGMOID); PARAMS(c)->norm = A(SINK));
    SPOIL(TENON_OK, NULL, PARAMS(c)->norm = A(SINK); c.IS(SINK_LOGIT) = T(TENON_F32, 4);
          c.IS(LNZ) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_E_ARG, "sink is given with norm sum", c.IS(SINK_LOGIT) = T(TENON_F32, 4));
    SPOIL(TENON_E_ARG, "post = clip with weight relu", PARAMS(c)->weight = A(RELU); PARAMS(c)->post = 1);
    SPOIL(TENON_E_ARG, "post = clip with weight exp, norm none", PARAMS(c)->norm = A(NONE); PARAMS(c)->post = 1);
    SPOIL(TENON_OK, NULL, PARAMS(c)->norm = A(SINK); PARAMS(c)->post = 1);
    SPOIL(TENON_E_ARG, "adapt with weight quad", PARAMS(c)->weight = A(QUAD); PARAMS(c)->adapt = 1);
    SPOIL(TENON_E_ARG, "adapt with weight exp, norm sink", PARAMS(c)->norm = A(SINK); PARAMS(c)->adapt = 1);
    SPOIL(TENON_E_ARG, "lnz with post = clip or adapt", PARAMS(c)->adapt = 1; c.IS(LNZ) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_E_ARG, "lnz with post = clip or adapt", PARAMS(c)->post = 1; c.IS(LNZ) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_E_ARG, "lnz with weight exp, norm none", PARAMS(c)->norm = A(NONE); c.IS(LNZ) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_E_ARG, "lnz with weight linear", PARAMS(c)->weight = A(LINEAR); c.IS(LNZ) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_OK, NULL, PARAMS(c)->norm = A(COUNT); c.IS(LNZ) = T(TENON_F32, 2, 3, 4));
    SPOIL(TENON_E_ARG, "norm_eps", PARAMS(c)->norm_eps = 1e-5f);
    SPOIL(TENON_OK, NULL, PARAMS(c)->weight = A(RELU); PARAMS(c)->norm_eps = 1e-5f);
    SPOIL(TENON_E_ARG, "scale", PARAMS(c)->scale = NAN);
    SPOIL(TENON_OK, NULL, PARAMS(c)->scale = -2);
    SPOIL(TENON_E_ARG, "softcap", PARAMS(c)->softcap = -1);
    SPOIL(TENON_E_ARG, "smax", PARAMS(c)->smax = INFINITY);
    SPOIL(TENON_E_ARG, "wl = 2147483648", PARAMS(c)->wl = 0x80000000u);
    SPOIL(TENON_E_ARG, "clip_gamma", PARAMS(c)->clip_gamma = 0.5f);
    SPOIL(TENON_E_ARG, "clip_zeta", PARAMS(c)->clip_zeta = 0.5f);
    SPOIL(TENON_E_ARG, "pow_alpha", PARAMS(c)->pow_alpha = 1.5f);
    SPOIL(TENON_E_ARG, "unified with weight sigmoid", PARAMS(c)->weight = A(SIGMOID); PARAMS(c)->unified = 1);
    SPOIL(TENON_E_ARG, "phi_lo = 1, phi_hi = 1", PARAMS(c)->unified = 1; PARAMS(c)->phi_lo = PARAMS(c)->phi_hi = 1);
    SPOIL(TENON_E_ARG, "phi_hi", PARAMS(c)->phi_hi = 81);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_attention);
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    call_copy(&c, &good);
    c.IS(O).dtype = 0;
    is_int(op->output(c.params, c.t, A(O), &out, &why), TENON_OK, "shape of o");
    ok(out.dtype == TENON_F32 && out.rank == 4 && out.dim[1] == 3 && out.dim[2] == 4 && out.dim[3] == 6,
       "is [B,T,Hq,V] of q's type");
    is_int(op->output(c.params, c.t, A(LNZ), &out, &why), TENON_OK, "shape of lnz");
    ok(out.dtype == TENON_F32 && out.rank == 3 && out.dim[2] == 4, "is f32 [B,T,Hq]");
    is_int(op->output(c.params, c.t, A(FLAGS), &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is u32 [4]");
    is_int(op->output(c.params, c.t, A(GATE), &out, &why), TENON_E_INVALID, "gate is no output");
    c.IS(V).dtype = 0;
    is_int(op->output(c.params, c.t, A(O), &out, &why), TENON_E_SHAPE, "without v there is no shape");
    call_copy(&c, &good);
    PARAMS(c)->quant_v = A(AFFINE_CHANNEL);
    PARAMS(c)->v_bits = 4;
    c.IS(V) = T(TENON_U8, 2, 5, 2, 3);
    is_int(op->output(c.params, c.t, A(O), &out, &why), TENON_OK, "shape of o with codes");
    ok(out.dim[3] == 6, "has two columns a byte");
}

void tenon__attention_contract_test(void)
{
    call_init(&good, TENON_OPNUM_attention);
    good.IS(Q) = T(TENON_F32, 2, 3, 4, 8);
    good.IS(K) = T(TENON_F32, 2, 5, 2, 8);
    good.IS(V) = T(TENON_F32, 2, 5, 2, 6);
    good.IS(O) = T(TENON_F32, 2, 3, 4, 6);
    call_is(&good, TENON_OK, NULL, "attention of two sequences");
    test_shapes();
    test_masks();
    test_caches();
    test_lists();
    test_types();
    test_attributes();
    test_outputs();
}
