/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <float.h>
#include <math.h>

#include <tenon/ops/sparse_ffn.h>

#include "../contract.h"

CONTRACT_OF(sparse_ffn); /* x [3,64], wg, wu [96,64], wd [5,96] -> y [3,5] */

#define P     PARAMS(c)
#define AT(i) c.t[TENON_SPARSE_FFN_##i]

static void test_shapes(void)
{
    SPOIL(TENON_E_SHAPE, "wu has width = 63: must be 64", AT(WU) = T(TENON_F32, 96, 63));
    SPOIL(TENON_E_SHAPE, "wg has F = 95: must be 96", AT(WG) = T(TENON_F32, 95, 64));
    SPOIL(TENON_E_SHAPE, "wg has width = 32: must be 64", AT(WG) = T(TENON_F32, 96, 32));
    SPOIL(TENON_E_SHAPE, "wd has width = 64: must be 96", AT(WD) = T(TENON_F32, 5, 64));
    SPOIL(TENON_E_SHAPE, "wd rank 1: must be 2", AT(WD) = T(TENON_F32, 96));
    SPOIL(TENON_E_SHAPE, "y shape (rank 2, last axis 6): must be the leading axes of x, then 5",
          AT(Y) = T(TENON_F32, 3, 6));
    SPOIL(TENON_OK, NULL, P->trans_u = 1; AT(WU) = T(TENON_F32, 64, 96));
    SPOIL(TENON_OK, NULL, P->trans_g = 1; AT(WG) = T(TENON_F16, 64, 96));
    SPOIL(TENON_OK, NULL, P->trans_d = 1; AT(WD) = T(TENON_BF16, 96, 5));
    SPOIL(TENON_E_SHAPE, "wu has width = 96", P->trans_u = 1);
    SPOIL(TENON_OK, NULL, AT(WG).dtype = 0);
    SPOIL(TENON_OK, NULL, AT(X) = T(TENON_F32, 64); AT(Y) = T(TENON_F32, 5));
    SPOIL(TENON_OK, NULL, AT(X) = T(TENON_F32, 0, 64); AT(Y) = T(TENON_F32, 0, 5));
    SPOIL(TENON_OK, NULL, AT(EXT) = T(TENON_F32, 3, 96));
    SPOIL(TENON_E_SHAPE, "ext shape", AT(EXT) = T(TENON_F32, 3, 64));
    SPOIL(TENON_E_UNSUPPORTED, "x strides", AT(X) = T(TENON_F32, 2, 3, 64); AT(X).stride[0] = 1000;
          AT(Y) = T(TENON_F32, 2, 3, 5));
}

static void test_split(void)
{
    SPOIL(TENON_E_SHAPE, "split = 64: must be 0 or within [1, 63]", P->split = 64);
    SPOIL(TENON_E_SHAPE, "split = -1", P->split = -1);
    SPOIL(TENON_OK, NULL, P->split = 16; AT(WG) = T(TENON_F32, 96, 16); AT(WU) = T(TENON_F32, 96, 48));
    SPOIL(TENON_E_SHAPE, "wu has width = 64: must be 48", P->split = 16; AT(WG) = T(TENON_F32, 96, 16));
}

static void test_types(void)
{
    SPOIL(TENON_E_SHAPE, "y is absent", AT(Y).dtype = 0);
    SPOIL(TENON_E_DTYPE, "x type i8", AT(X).dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "y type f16: must be f32 or f32", AT(Y).dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "wu of type i8 needs wu_scale", AT(WU).dtype = TENON_I8);
    SPOIL(TENON_OK, NULL, AT(WU).dtype = TENON_I8; AT(WU_SCALE) = T(TENON_F32, 96, 2));
    SPOIL(TENON_OK, NULL, AT(WD).dtype = TENON_I8; AT(WD_SCALE) = T(TENON_F32, 5, 3));
    SPOIL(TENON_E_SHAPE, "a multiple of 32", AT(WU).dtype = TENON_I8; AT(WU_SCALE) = T(TENON_F32, 96, 4));
    SPOIL(TENON_E_DTYPE, "wg_scale is given with wg of type f32", AT(WG_SCALE) = T(TENON_F32, 96));
    SPOIL(TENON_E_ARG, "wg_scale, cu_g and cv_g need wg", AT(WG).dtype = 0; AT(WG_SCALE) = T(TENON_F32, 96));
}

static void test_sites(void)
{
    SPOIL(TENON_OK, NULL, P->g.kind = TENON_SPARSE_FFN_ABS_GE; AT(T_G) = T(TENON_F32, 96));
    SPOIL(TENON_E_SHAPE, "t_g shape", P->g.kind = TENON_SPARSE_FFN_ABS_GE; AT(T_G) = T(TENON_F32, 64));
    SPOIL(TENON_E_ARG, "t_g is given: site g is none", AT(T_G) = T(TENON_F32, 96));
    SPOIL(TENON_E_ARG, "wgt_h is given: site h is none", AT(WGT_H) = T(TENON_F32, 96));
    SPOIL(TENON_E_SHAPE, "site h: k = 97", P->h.kind = TENON_SPARSE_FFN_TOPK; P->h.k = 97);
    SPOIL(TENON_E_SHAPE, "site xg: k = 65", P->xg.kind = TENON_SPARSE_FFN_TOPK; P->xg.k = 65);
    SPOIL(TENON_E_SHAPE, "site p: k = -1", P->p.kind = TENON_SPARSE_FFN_STAT_TOPK; P->p.k = -1);
    SPOIL(TENON_E_ARG, "site xg is set without wg", P->xg.kind = TENON_SPARSE_FFN_RELU; AT(WG).dtype = 0);
    SPOIL(TENON_E_ARG, "site g: wgt_g is given", P->g.kind = TENON_SPARSE_FFN_GT; AT(WGT_G) = T(TENON_F32, 96));
    SPOIL(TENON_E_ARG, "h_kind = 10", P->h.kind = TENON_SPARSE_FFN_KINDS);
    SPOIL(TENON_E_ARG, "p_tau", P->p.tau = -1);
    SPOIL(TENON_E_ARG, "xu_t", P->xu.t = NAN);
    SPOIL(TENON_E_ARG, "g_cap", P->g.cap = 0);
    SPOIL(TENON_E_INVALID, "params of sparse_ffn", P->struct_size = 100);
}

static void test_complements(void)
{
    SPOIL(TENON_OK, NULL, AT(CU_U) = T(TENON_F32, 96, 4); AT(CV_U) = T(TENON_BF16, 64, 4));
    SPOIL(TENON_E_ARG, "cv_d is given without cu_d", AT(CV_D) = T(TENON_F32, 96, 4));
    SPOIL(TENON_E_SHAPE, "cv_u shape", AT(CU_U) = T(TENON_F32, 96, 4); AT(CV_U) = T(TENON_F32, 64, 5));
    SPOIL(TENON_E_SHAPE, "cu_d shape", AT(CU_D) = T(TENON_F32, 96, 4); AT(CV_D) = T(TENON_F32, 96, 4));
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_sparse_ffn);
    struct tenon_sparse_ffn_params p;
    struct tenon_tensor out;
    struct tenon_why why;
    struct call c;
    tenon_op_defaults(op, &p);
    ok(p.h.kind == TENON_SPARSE_FFN_NONE && p.h.cap == FLT_MAX && p.split == 0, "defaults");
    call_copy(&c, &good);
    AT(X) = T(TENON_F16, 2, 3, 64);
    AT(Y).dtype = 0;
    is_int(op->output(c.params, c.t, TENON_SPARSE_FFN_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && out.dim[1] == 3 && out.dim[2] == 5, "is [...,O] of x's type");
    is_int(op->output(c.params, c.t, TENON_SPARSE_FFN_EXT, &out, &why), TENON_E_INVALID, "ext is no output");
}

void tenon__sparse_ffn_contract_test(void)
{
    call_init(&good, TENON_OPNUM_sparse_ffn);
    good.t[TENON_SPARSE_FFN_X] = T(TENON_F32, 3, 64);
    good.t[TENON_SPARSE_FFN_WG] = T(TENON_F32, 96, 64);
    good.t[TENON_SPARSE_FFN_WU] = T(TENON_F32, 96, 64);
    good.t[TENON_SPARSE_FFN_WD] = T(TENON_F32, 5, 96);
    good.t[TENON_SPARSE_FFN_Y] = T(TENON_F32, 3, 5);
    call_is(&good, TENON_OK, NULL, "sparse_ffn of tokens and three matrices");
    test_shapes();
    test_split();
    test_types();
    test_sites();
    test_complements();
    test_outputs();
}
