/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What softmax refuses, and with it every refusal of the common check, which needs some operator to speak of. */
#include <float.h>
#include <math.h>
#include <string.h>

#include <tenon/ops/softmax.h>

#include "../contract.h"

CONTRACT_OF(softmax); /* x [4,8] -> y */

#define X t[TENON_SOFTMAX_X]
#define Y t[TENON_SOFTMAX_Y]

static void test_descriptor(void)
{
    struct tenon_chain cycle = {sizeof cycle, 1, &cycle};
    struct tenon_chain critical = {sizeof critical, TENON_CHAIN_CRITICAL | 1, NULL};
    struct tenon_chain hint = {sizeof hint, 1, NULL};
    struct tenon_why why;
    is_int(tenon_op_check(NULL, NULL, NULL, 0, &why), TENON_E_INVALID, "no descriptor");
    is_int(tenon_op_check(&good.desc, NULL, NULL, 0, NULL), TENON_OK, "nothing wanted but the answer");
    uint64_t small[1];
    is_int(tenon_op_check(&good.desc, NULL, small, sizeof small, &why), TENON_E_INVALID, "no room for the params");
    SPOIL(TENON_OK, NULL, c.desc.next = &hint);
    SPOIL(TENON_E_UNSUPPORTED, "must be understood", c.desc.next = &critical);
    SPOIL(TENON_E_INVALID, "cycle", c.desc.next = &cycle);
    SPOIL(TENON_E_UNSUPPORTED, "flags 0x1", c.desc.flags = 1);
    SPOIL(TENON_E_UNSUPPORTED, "operator 999", c.desc.op = 999);
    SPOIL(TENON_E_UNSUPPORTED, "operator 0", c.desc.op = 0);
    SPOIL(TENON_E_INVALID, "struct_size 0", c.desc.struct_size = 0);
    SPOIL(TENON_E_INVALID, "struct_size 24", c.desc.struct_size = 24);
    SPOIL(TENON_E_INVALID, "struct_size 1073741824", c.desc.struct_size = 1 << 30);
    SPOIL(TENON_E_INVALID, "n_tensors 21", c.desc.n_tensors--);
    SPOIL(TENON_E_INVALID, "n_tensors 0", c.desc.n_tensors = 0);
    SPOIL(TENON_E_INVALID, "n_tensors 33", c.desc.n_tensors = 33);
    SPOIL(TENON_OK, NULL, c.desc.n_tensors = 30);
    SPOIL(TENON_E_UNSUPPORTED, "tensor 29", c.desc.n_tensors = 30; c.t[29] = c.X);
    SPOIL(TENON_E_INVALID, "tensors is NULL", c.desc.tensors = NULL);
    struct {
        struct tenon_op_desc desc;
        uint64_t tail[2];
    } longer = {.desc = good.desc};
    longer.desc.struct_size = sizeof longer;
    is_int(tenon_op_check(&longer.desc, NULL, NULL, 0, &why), TENON_OK, "a longer descriptor with an unused tail");
    longer.tail[1] = 1;
    is_int(tenon_op_check(&longer.desc, NULL, NULL, 0, &why), TENON_E_UNSUPPORTED, "and with a used one");
}

static void test_tensors(void)
{
    SPOIL(TENON_E_SHAPE, "x is absent", c.X.dtype = 0);
    SPOIL(TENON_E_SHAPE, "x rank 9", c.X.rank = 9);
    SPOIL(TENON_E_SHAPE, "x rank 4294967295", c.X.rank = UINT32_MAX);
    SPOIL(TENON_E_SHAPE, "x rank 0", c.X = tenon_tensor_make(TENON_F32, 0, NULL); c.Y = c.X);
    SPOIL(TENON_E_SHAPE, "x dim[1] = -8", c.X.dim[1] = -8);
    SPOIL(TENON_E_SHAPE, "x dim[0] = -9223372036854775808", c.X.dim[0] = INT64_MIN);
    SPOIL(TENON_E_SHAPE, "x stride[0] = -8", c.X.stride[0] = -8);
    SPOIL(TENON_E_SHAPE, "2^60", c.X.dim[0] = INT64_MAX);
    SPOIL(TENON_E_SHAPE, "2^60", c.X = T(TENON_F32, INT64_C(1) << 31, INT64_C(1) << 31));
    SPOIL(TENON_E_SHAPE, "2^60", c.X = T(TENON_F32, INT64_C(1) << 40, 0, INT64_C(1) << 40));
    SPOIL(TENON_E_SHAPE, "x stride[0] = 9223372036854775807", c.X.stride[0] = INT64_MAX);
    SPOIL(TENON_E_SHAPE, "below 2^32 and 2^31", c.X = c.Y = T(TENON_F32, 1, INT64_C(1) << 31));
    SPOIL(TENON_E_SHAPE, "below 2^32 and 2^31", c.X = c.Y = T(TENON_F32, INT64_C(1) << 32, 1));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 1, INT32_MAX));
    SPOIL(TENON_E_INVALID, "x axis 2", c.X.dim[2] = 1);
    SPOIL(TENON_E_INVALID, "x axis 7", c.X.stride[7] = 1);
    SPOIL(TENON_E_DTYPE, "x type i8", c.X.dtype = TENON_I8);
    SPOIL(TENON_E_DTYPE, "x type 0xffffffff: must be one of f32 f16 bf16", c.X.dtype = UINT32_MAX);
    SPOIL(TENON_E_UNSUPPORTED, "x stride[1] = 2", c.X.stride[1] = 2);
    SPOIL(TENON_E_UNSUPPORTED, "x strides", c.X = c.Y = T(TENON_F32, 2, 2, 8); c.X.stride[0] = 99);
    SPOIL(TENON_E_UNSUPPORTED, "y strides", c.X = c.Y = T(TENON_F32, 2, 2, 8); c.Y.stride[0] = 99);
    SPOIL(TENON_OK, NULL, c.X.stride[0] = 0);
    SPOIL(TENON_E_ALIAS, "y stride[0] = 0", c.Y.stride[0] = 0);
    SPOIL(TENON_E_ALIAS, "y stride[0] = 7", c.Y.stride[0] = 7);
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 0, 8));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 4, 0));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F16, 1, 2, 1, 2, 1, 2, 1, 2));
    SPOIL(TENON_E_ARG, "at least one of y max argmax lse pmax margin entropy energy sum sumsq nnz tau beta flags",
          c.Y.dtype = 0);
}

static void test_params(void)
{
    SPOIL(TENON_E_INVALID, "params of softmax is NULL", c.desc.params = NULL);
    SPOIL(TENON_E_INVALID, "struct_size 0", PARAMS(c)->struct_size = 0);
    SPOIL(TENON_E_INVALID, "struct_size 124", PARAMS(c)->struct_size = 124);
    SPOIL(TENON_E_INVALID, "struct_size 8192", PARAMS(c)->struct_size = 8192);
    SPOIL(TENON_OK, NULL, PARAMS(c)->struct_size = sizeof c.params);
    SPOIL(TENON_E_UNSUPPORTED, "byte 128", PARAMS(c)->struct_size = sizeof c.params; c.params[16] = 1);
    SPOIL(TENON_E_ARG, "kind = 11: must be one of 0=exp 1=log_exp", PARAMS(c)->kind = 11);
    SPOIL(TENON_E_ARG, "5=fixed_max", PARAMS(c)->algo = 6);
    SPOIL(TENON_E_ARG, "empty_row", PARAMS(c)->empty_row = UINT32_MAX);
    SPOIL(TENON_E_ARG, "scale = nan: must be finite", PARAMS(c)->scale = NAN);
    SPOIL(TENON_E_ARG, "scale = -inf: must be finite", PARAMS(c)->scale = -INFINITY);
    SPOIL(TENON_E_ARG, "inv_temp = -1: must be within [0,", PARAMS(c)->inv_temp = -1);
    SPOIL(TENON_OK, NULL, PARAMS(c)->inv_temp = 0);
    SPOIL(TENON_E_ARG, "inv_temp", PARAMS(c)->inv_temp = NAN);
    SPOIL(TENON_E_ARG, "phi", PARAMS(c)->phi = INFINITY);
    SPOIL(TENON_E_ARG, "win = 0", PARAMS(c)->win = 0);
    SPOIL(TENON_E_ARG, "win = 60.5", PARAMS(c)->win = 60.5f);
    SPOIL(TENON_OK, NULL, PARAMS(c)->scale = -FLT_MAX);
    const struct tenon_op_contract *contract;
    struct tenon_softmax_params out;
    is_int(tenon_op_check(&good.desc, &contract, &out, sizeof out, NULL), TENON_OK, "the params come back");
    ok(contract && contract->op == TENON_OPNUM_softmax, "with the contract");
    ok(out.struct_size == sizeof out && out.scale == 1 && out.inv_temp == 1 && out.win == 60 && out.algo == 0,
       "and the defaults are those of the header");
}

static void test_own(void)
{
    SPOIL(TENON_OK, NULL, c.t[TENON_SOFTMAX_BIAS] = T(TENON_F32, 8));
    SPOIL(TENON_OK, NULL, c.t[TENON_SOFTMAX_BIAS] = T(TENON_F32, 4, 8); c.t[TENON_SOFTMAX_BIAS].stride[0] = 0);
    SPOIL(TENON_E_SHAPE, "bias shape", c.t[TENON_SOFTMAX_BIAS] = T(TENON_F32, 7));
    SPOIL(TENON_E_SHAPE, "bias shape", c.t[TENON_SOFTMAX_BIAS] = T(TENON_F32, 3, 8));
    SPOIL(TENON_E_DTYPE, "bias type f16", c.t[TENON_SOFTMAX_BIAS] = T(TENON_F16, 8));
    SPOIL(TENON_OK, NULL, c.t[TENON_SOFTMAX_MASK] = T(TENON_U8, 4, 8));
    SPOIL(TENON_E_SHAPE, "mask shape", c.t[TENON_SOFTMAX_MASK] = T(TENON_U8, 8, 4));
    SPOIL(TENON_E_ARG, "mask and valid_len", c.t[TENON_SOFTMAX_MASK] = T(TENON_U8, 8);
          c.t[TENON_SOFTMAX_VALID_LEN] = T(TENON_I32, 4));
    SPOIL(TENON_E_SHAPE, "valid_len shape", c.t[TENON_SOFTMAX_VALID_LEN] = T(TENON_I32, 5));
    SPOIL(TENON_E_SHAPE, "row_scale shape", c.t[TENON_SOFTMAX_ROW_SCALE] = T(TENON_F32, 1));
    SPOIL(TENON_OK, NULL, c.t[TENON_SOFTMAX_SINK] = T(TENON_F32, 1));
    SPOIL(TENON_OK, NULL, c.t[TENON_SOFTMAX_SINK] = T(TENON_F32, 4));
    SPOIL(TENON_E_SHAPE, "or [1]", c.t[TENON_SOFTMAX_SINK] = T(TENON_F32, 2));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 2, 3, 8); c.t[TENON_SOFTMAX_LSE] = T(TENON_F32, 2, 3));
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 2, 3, 8); c.t[TENON_SOFTMAX_LSE] = T(TENON_F32, 6));
    SPOIL(TENON_E_SHAPE, "lse shape", c.X = c.Y = T(TENON_F32, 2, 3, 8); c.t[TENON_SOFTMAX_LSE] = T(TENON_F32, 3, 2));
    SPOIL(TENON_E_UNSUPPORTED, "lse strides", c.X = c.Y = T(TENON_F32, 2, 3, 8);
          c.t[TENON_SOFTMAX_LSE] = T(TENON_F32, 2, 3); c.t[TENON_SOFTMAX_LSE].stride[0] = 4);
    SPOIL(TENON_OK, NULL, c.X = c.Y = T(TENON_F32, 8); c.t[TENON_SOFTMAX_MAX] = tenon_tensor_make(TENON_F32, 0, NULL));
    SPOIL(TENON_E_SHAPE, "y shape", c.Y = T(TENON_F32, 8));
    SPOIL(TENON_E_DTYPE, "y type f16: must be f32 or f32", c.Y.dtype = TENON_F16);
    SPOIL(TENON_OK, NULL, c.X.dtype = TENON_F16);
    SPOIL(TENON_E_DTYPE, "argmax type", c.t[TENON_SOFTMAX_ARGMAX] = T(TENON_U32, 4));
    SPOIL(TENON_OK, NULL, PARAMS(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT);
    SPOIL(TENON_E_UNSUPPORTED, "scale = 2", PARAMS(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT; PARAMS(c)->scale = 2);
    SPOIL(TENON_E_UNSUPPORTED, "inv_temp = 2", PARAMS(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT; PARAMS(c)->inv_temp = 2);
    SPOIL(TENON_E_UNSUPPORTED, "bias is given", PARAMS(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT;
          c.t[TENON_SOFTMAX_BIAS] = T(TENON_F32, 8));
    SPOIL(TENON_E_UNSUPPORTED, "row_scale is given", PARAMS(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT;
          c.t[TENON_SOFTMAX_ROW_SCALE] = T(TENON_F32, 4));
}

#define SIDE(name, ...) c.t[TENON_SOFTMAX_##name] = T(TENON_F32, __VA_ARGS__)
static void test_family(void)
{
    SPOIL(TENON_OK, NULL, PARAMS(c)->kind = TENON_SOFTMAX_SCALE);
    SPOIL(TENON_E_ARG, "lse is given: needs kind exp or log_exp", PARAMS(c)->kind = 2; SIDE(LSE, 4));
    SPOIL(TENON_E_ARG, "sink is given: needs kind exp or log_exp", PARAMS(c)->kind = 5; SIDE(SINK, 4));
    SPOIL(TENON_E_ARG, "mult is given: needs kind exp or log_exp", PARAMS(c)->kind = 3; SIDE(MULT, 8));
    SPOIL(TENON_OK, NULL, PARAMS(c)->kind = TENON_SOFTMAX_LOG_EXP; SIDE(MULT, 8));
    SPOIL(TENON_E_SHAPE, "mult shape (rank 1, 4 elements): must be [8]", SIDE(MULT, 4));
    SPOIL(TENON_E_ARG, "tau is given: needs kind sparsemax or entmax15", SIDE(TAU, 4));
    SPOIL(TENON_OK, NULL, PARAMS(c)->kind = TENON_SOFTMAX_ENTMAX15; SIDE(TAU, 4));
    SPOIL(TENON_E_ARG, "beta is given: needs adaptive = 1", SIDE(BETA, 4));
    SPOIL(TENON_OK, NULL, PARAMS(c)->adaptive = 1; SIDE(BETA, 4));
    SPOIL(TENON_E_ARG, "adaptive = 2", PARAMS(c)->adaptive = 2);
    SPOIL(TENON_E_ARG, "adaptive = 1: needs kind exp, not log_exp", PARAMS(c)->adaptive = 1; PARAMS(c)->kind = 1);
    SPOIL(TENON_E_ARG, "noise is given: needs noise = input", SIDE(NOISE, 4, 8));
    SPOIL(TENON_E_ARG, "noise = input: needs the tensor noise", PARAMS(c)->noise = TENON_SOFTMAX_NOISE_INPUT);
    SPOIL(TENON_OK, NULL, PARAMS(c)->noise = TENON_SOFTMAX_NOISE_INPUT; SIDE(NOISE, 8));
    SPOIL(TENON_E_SHAPE, "noise shape", PARAMS(c)->noise = TENON_SOFTMAX_NOISE_INPUT; SIDE(NOISE, 4, 7));
    SPOIL(TENON_OK, NULL, PARAMS(c)->seed = UINT64_MAX; PARAMS(c)->sample = PARAMS(c)->stream = UINT32_MAX);
    SPOIL(TENON_E_ARG, "k = 0: support topk needs at least 1", PARAMS(c)->support = TENON_SOFTMAX_SUPPORT_TOPK);
    SPOIL(TENON_E_ARG, "k = 3: support all has none", PARAMS(c)->k = 3);
    SPOIL(TENON_OK, NULL, PARAMS(c)->support = TENON_SOFTMAX_SUPPORT_STAT_TOPK; PARAMS(c)->k = INT32_MAX);
    SPOIL(TENON_E_ARG, "k = 2147483648", PARAMS(c)->support = 1; PARAMS(c)->k = UINT32_C(1) << 31);
    SPOIL(TENON_E_ARG, "eps = -0.5: must be at least 0, or -1", PARAMS(c)->eps = -0.5f);
    SPOIL(TENON_OK, NULL, PARAMS(c)->eps = 0);
    SPOIL(TENON_E_ARG, "sigmoid_bias = 2: needs sigmoid_rule = fixed", PARAMS(c)->sigmoid_bias = 2);
    SPOIL(TENON_E_ARG, "zeta = 0.5", PARAMS(c)->zeta = 0.5f);
    SPOIL(TENON_E_ARG, "gamma = 0.5", PARAMS(c)->gamma = 0.5f);
    SPOIL(TENON_E_ARG, "qscale = 0", PARAMS(c)->qscale = 0);
    SPOIL(TENON_E_ARG, "post = hard: needs kind exp, not sparsemax", PARAMS(c)->kind = 3; PARAMS(c)->post = 2);
    SPOIL(TENON_E_ARG, "post = clip: not with kind log_exp", PARAMS(c)->kind = 1; PARAMS(c)->post = 1);
    SPOIL(TENON_E_DTYPE, "y type f32: must be u8 with post = quant_u8", PARAMS(c)->post = TENON_SOFTMAX_POST_QUANT_U8);
    SPOIL(TENON_OK, NULL, PARAMS(c)->post = TENON_SOFTMAX_POST_QUANT_U8; c.Y.dtype = TENON_U8);
    SPOIL(TENON_E_DTYPE, "y type u8: must be f32 or f32", c.Y.dtype = TENON_U8);
    SPOIL(TENON_E_SHAPE, "flags shape", c.t[TENON_SOFTMAX_FLAGS] = T(TENON_U32, 5));
    SPOIL(TENON_OK, NULL, c.t[TENON_SOFTMAX_FLAGS] = T(TENON_U32, 4); c.t[TENON_SOFTMAX_NNZ] = T(TENON_I32, 4));
    SPOIL(TENON_E_UNSUPPORTED, "algo = online with stablemax: must be auto", PARAMS(c)->kind = 9; PARAMS(c)->algo = 4);
    SPOIL(TENON_E_UNSUPPORTED, "algo = online with noise", PARAMS(c)->noise = 1; PARAMS(c)->algo = 4);
    SPOIL(TENON_E_UNSUPPORTED, "with support", PARAMS(c)->support = PARAMS(c)->k = 1; PARAMS(c)->algo = 4);
    SPOIL(TENON_E_UNSUPPORTED, "with mult", SIDE(MULT, 8); PARAMS(c)->algo = 5);
    SPOIL(TENON_E_UNSUPPORTED, "with adaptive", PARAMS(c)->adaptive = 1; PARAMS(c)->algo = 1);
    SPOIL(TENON_E_UNSUPPORTED, "with post", PARAMS(c)->post = 1; PARAMS(c)->algo = 3);
}

static void test_outputs(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_softmax);
    struct tenon_tensor t[TENON_SOFTMAX_N_TENSORS] = {{0}}, out;
    struct tenon_why why;
    t[TENON_SOFTMAX_X] = T(TENON_F16, 2, 3, 8);
    is_int(op->output(good.params, t, TENON_SOFTMAX_Y, &out, &why), TENON_OK, "shape of y");
    ok(out.dtype == TENON_F16 && out.rank == 3 && tenon_tensor_count(&out) == 48, "is that of x");
    t[TENON_SOFTMAX_Y].dtype = TENON_F32;
    is_int(op->output(good.params, t, TENON_SOFTMAX_Y, &out, &why), TENON_OK, "y in another type");
    is_int(out.dtype, TENON_F32, "is given");
    is_int(op->output(good.params, t, TENON_SOFTMAX_ARGMAX, &out, &why), TENON_OK, "shape of argmax");
    ok(out.dtype == TENON_I32 && out.rank == 2 && out.dim[0] == 2 && out.dim[1] == 3, "is that of the rows");
    is_int(op->output(good.params, t, TENON_SOFTMAX_X, &out, &why), TENON_E_INVALID, "x is no output");
    is_int(op->output(good.params, t, 99, &out, &why), TENON_E_INVALID, "nor is tensor 99");
    is_int(op->output(good.params, t, TENON_SOFTMAX_FLAGS, &out, &why), TENON_OK, "shape of flags");
    ok(out.dtype == TENON_U32 && out.rank == 1 && out.dim[0] == 4, "is four words");
    is_int(op->output(good.params, t, TENON_SOFTMAX_TAU, &out, &why), TENON_E_UNSUPPORTED, "exp has no tau");
    t[TENON_SOFTMAX_X] = T(TENON_F32, 8);
    is_int(op->output(good.params, t, TENON_SOFTMAX_LSE, &out, &why), TENON_OK, "one row");
    ok(out.rank == 1 && out.dim[0] == 1 && out.dtype == TENON_F32, "has one element");
    t[TENON_SOFTMAX_X].dtype = 0;
    is_int(op->output(good.params, t, TENON_SOFTMAX_Y, &out, &why), TENON_E_SHAPE, "without x there is no shape");
}

static void test_alias(void)
{
    const struct tenon_op_contract *op = tenon_op_contract_by_number(TENON_OPNUM_softmax);
    struct call c;
    struct tenon_why why;
    uint64_t range[TENON_SOFTMAX_N_TENSORS][2] = {{0}};
    call_copy(&c, &good);
#define IS(status, x0, x1, y0, y1, name)                                                                               \
    do {                                                                                                               \
        range[TENON_SOFTMAX_X][0] = x0, range[TENON_SOFTMAX_X][1] = x1;                                                \
        range[TENON_SOFTMAX_Y][0] = y0, range[TENON_SOFTMAX_Y][1] = y1;                                                \
        is_int(tenon_op_check_alias(op, c.params, c.t, (const uint64_t(*)[2])range, &why), status, name);              \
    } while (0)
    IS(TENON_OK, 1000, 1128, 2000, 2128, "disjoint");
    IS(TENON_OK, 1000, 1128, 1128, 1256, "touching");
    IS(TENON_OK, 1000, 1128, 1000, 1128, "y is x");
    IS(TENON_E_ALIAS, 1000, 1128, 1004, 1132, "y is x shifted");
    has_str(why.text, "y overlaps x: they must be disjoint or the same tensor", "the sentence");
    c.X.stride[0] = 16;
    IS(TENON_E_ALIAS, 1000, 1256, 1000, 1128, "y is x with other strides");
    c.X.stride[0] = 8, c.X.dtype = TENON_F16;
    IS(TENON_E_ALIAS, 1000, 1064, 1000, 1128, "y is x with another type");
    call_copy(&c, &good);
    c.t[TENON_SOFTMAX_LSE] = c.t[TENON_SOFTMAX_MAX] = T(TENON_F32, 4);
    range[TENON_SOFTMAX_LSE][0] = 5000, range[TENON_SOFTMAX_LSE][1] = 5016;
    range[TENON_SOFTMAX_MAX][0] = 5000, range[TENON_SOFTMAX_MAX][1] = 5016;
    IS(TENON_E_ALIAS, 1000, 1128, 2000, 2128, "two outputs in one place");
    range[TENON_SOFTMAX_MAX][0] = 1124, range[TENON_SOFTMAX_MAX][1] = 1140;
    IS(TENON_E_ALIAS, 1000, 1128, 2000, 2128, "a statistic on the last element of x");
    range[TENON_SOFTMAX_MAX][0] = range[TENON_SOFTMAX_MAX][1] = 1100;
    IS(TENON_OK, 1000, 1128, 2000, 2128, "an empty output is nowhere");
#undef IS
}

void tenon__softmax_contract_test(void)
{
    call_init(&good, TENON_OPNUM_softmax);
    good.X = good.Y = T(TENON_F32, 4, 8);
    call_is(&good, TENON_OK, NULL, "softmax of a matrix");
    test_descriptor();
    test_tensors();
    test_params();
    test_own();
    test_family();
    test_outputs();
    test_alias();
}
