/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of causal_conv1d in code; in words it is tenon/ops/causal_conv1d.h. */
#include <tenon/ops/causal_conv1d.h>

#include "../contract.h"
#include "../shape.h"

#define I(NAME) TENON_CAUSAL_CONV1D_##NAME
static const struct tenon_tensor_spec tensors[] = {
    [I(X)] = {"x", TENON_IN, TENON_T_FLOAT, "[B,T,Cin]", "tokens"},
    [I(W)] = {"w", TENON_IN, TENON_T_FLOAT, "[Cout,Cg,W]", "taps; the last one meets the newest input"},
    [I(BIAS)] = {"bias", TENON_IN_OPT, TENON_T_FLOAT, "[Cout]", "where sums begin"},
    [I(CU_Q)] = {"cu_q", TENON_IN_OPT, TENON_T_I32, "[N+1]", "where packed sequences begin"},
    [I(STATE)] = {"state", TENON_IN_OPT, TENON_T_FLOAT, "[B or N,n,Cin]", "the last inputs before the tokens"},
    [I(GATE)] = {"gate", TENON_IN_OPT, TENON_T_FLOAT, "as y", "multiplied after the activation"},
    [I(RESIDUAL)] = {"residual", TENON_IN_OPT, TENON_T_FLOAT, "as y", "added last"},
    [I(Y)] = {"y", TENON_OUT, TENON_T_FLOAT, "[B,T,Cout]", "act(bias + sums) gate + residual"},
    [I(STATE_OUT)] = {"state_out", TENON_OUT_OPT, TENON_T_FLOAT, "[B or N,n,Cin]", "the last inputs after the tokens"},
    [I(FLAGS)] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "0, 0, 0, entries of cu_q that are out of range"},
};

static const char *const acts[] = {"none", "silu", NULL}, *const pads[] = {"causal", "same", NULL};

TENON_PARAMS_SIZE(tenon_causal_conv1d_params, 20);
TENON_PARAMS_AT(tenon_causal_conv1d_params, struct_size, 0);
TENON_PARAMS_AT(tenon_causal_conv1d_params, act, 4);
TENON_PARAMS_AT(tenon_causal_conv1d_params, pad, 8);
TENON_PARAMS_AT(tenon_causal_conv1d_params, offset, 12);
TENON_PARAMS_AT(tenon_causal_conv1d_params, dil, 16);

#define AT(field) #field, .offset = offsetof(struct tenon_causal_conv1d_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(act), .type = TENON_ATTR_ENUM, .max = I(SILU), .names = acts, .text = "activation"},
    {.name = AT(pad), .type = TENON_ATTR_ENUM, .max = I(SAME), .names = pads, .text = "where the window is"},
    {.name = AT(offset), .type = TENON_ATTR_U32, .max = 1, .text = "1: only tokens before the own one"},
    {.name = AT(dil), .type = TENON_ATTR_I32, .def = 1, .min = 1, .max = 65535, .text = "tokens from tap to tap"},
};

struct extents {
    int64_t b, t, cin, cout, cg, taps, seqs, n;
};

static int32_t find_extents(const struct tenon_causal_conv1d_params *p, const struct tenon_tensor *t, struct extents *e,
                            struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[I(X)], *w = &t[I(W)];
    if (x->rank != 3 || w->rank != 3)
        return tenon_why_set(why, TENON_E_SHAPE, "x rank %u, w rank %u: must be 3, [B,T,Cin] and [Cout,Cg,W]", x->rank,
                             w->rank);
    *e = (struct extents){x->dim[0], x->dim[1], x->dim[2], w->dim[0], w->dim[1], w->dim[2], x->dim[0], 0};
    if (e->taps < 1 || e->taps > TENON_CAUSAL_CONV1D_W_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "w has W = %lld: must be within [1, %d]", (long long)e->taps,
                             TENON_CAUSAL_CONV1D_W_MAX);
    if (e->b > INT32_MAX || e->t > INT32_MAX || e->cin > INT32_MAX || e->cout > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "B, T, Cin, Cout = %lld, %lld, %lld, %lld: must be below 2^31",
                             (long long)e->b, (long long)e->t, (long long)e->cin, (long long)e->cout);
    if (e->cg < 1 || e->cin % e->cg)
        return tenon_why_set(why, TENON_E_SHAPE, "w has Cg = %lld: Cin, %lld, must be a multiple", (long long)e->cg,
                             (long long)e->cin);
    const int64_t groups = e->cin / e->cg;
    if (groups ? e->cout % groups : e->cout)
        return tenon_why_set(why, TENON_E_SHAPE, "w has Cout = %lld: must be a multiple of the %lld groups",
                             (long long)e->cout, (long long)groups);
    e->n = (e->taps - 1) * p->dil + p->offset;
    return TENON_OK;
}

static int32_t check_types(const struct tenon_tensor *t, struct tenon_why *why)
{
    static const uint32_t as_x[] = {I(STATE), I(GATE), I(RESIDUAL), I(Y), I(STATE_OUT)};
    for (uint32_t i = 0; i < sizeof as_x / sizeof as_x[0]; i++)
        if (t[as_x[i]].dtype && t[as_x[i]].dtype != t[I(X)].dtype)
            return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be %s, that of x", tensors[as_x[i]].name,
                                 tenon_dtype_name(t[as_x[i]].dtype), tenon_dtype_name(t[I(X)].dtype));
    return TENON_OK;
}

static int32_t check_pad(const struct tenon_causal_conv1d_params *p, const struct tenon_tensor *t,
                         struct tenon_why *why)
{
    if (p->pad != I(SAME))
        return TENON_OK;
    if (p->offset)
        return tenon_why_set(why, TENON_E_ARG, "offset = 1 with pad = same: must be 0");
    if (t[I(STATE)].dtype || t[I(STATE_OUT)].dtype)
        return tenon_why_set(why, TENON_E_ARG, "%s with pad = same: only causal has a state",
                             t[I(STATE)].dtype ? "state" : "state_out");
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_causal_conv1d_params *p = params;
    struct extents e;
    int32_t status = find_extents(p, t, &e, why);
    if (!status)
        status = check_types(t, why);
    if (!status)
        status = check_pad(p, t, why);
    if (!status)
        status = tenon__shape_sequences(&tensors[I(CU_Q)], &t[I(CU_Q)], e.b, &e.seqs, why);
    const int64_t w[] = {e.cout, e.cg, e.taps}, y[] = {e.b, e.t, e.cout}, state[] = {e.seqs, e.n, e.cin}, four = 4;
    if (!status)
        status = tenon__shape_dims(&tensors[I(W)], &t[I(W)], 3, w, 1, why);
    if (!status)
        status = tenon__shape_dims(&tensors[I(BIAS)], &t[I(BIAS)], 1, w, 1, why);
    for (uint32_t i = I(GATE); !status && i <= I(Y); i++)
        status = tenon__shape_dims(&tensors[i], &t[i], 3, y, 0, why);
    for (uint32_t i = I(STATE); !status && i <= I(STATE_OUT); i += I(STATE_OUT) - I(STATE))
        status = tenon__shape_dims(&tensors[i], &t[i], 3, state, 1, why);
    return status ? status : tenon__shape_dims(&tensors[I(FLAGS)], &t[I(FLAGS)], 1, &four, 1, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    struct extents e;
    int32_t status = tenon__output_check(&tenon__causal_conv1d_contract, index, I(Y), &t[I(X)], why);
    if (!status)
        status = find_extents(params, t, &e, why);
    if (!status)
        status = tenon__shape_sequences(&tensors[I(CU_Q)], &t[I(CU_Q)], e.b, &e.seqs, why);
    if (status)
        return status;
    if (index == I(FLAGS))
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
    else
        *out = index == I(Y) ? tenon_tensor_make(t[I(X)].dtype, 3, (int64_t[]){e.b, e.t, e.cout})
                             : tenon_tensor_make(t[I(X)].dtype, 3, (int64_t[]){e.seqs, e.n, e.cin});
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == I(STATE) && out == I(STATE_OUT);
}

const struct tenon_op_contract tenon__causal_conv1d_contract = {
    .op = TENON_OPNUM_causal_conv1d,
    .name = "causal_conv1d",
    .text = "short convolutions along the tokens, with a state",
    .source = "Gu & Dao 2023; Arora et al. 2023",
    .n_tensors = TENON_CAUSAL_CONV1D_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_causal_conv1d_params),
    .params_first = offsetof(struct tenon_causal_conv1d_params, dil) + sizeof(int32_t),
    .n_tensors_first = TENON_CAUSAL_CONV1D_FLAGS + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
