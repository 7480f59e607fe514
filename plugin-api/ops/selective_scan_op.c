/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of selective_scan in code; in words it is tenon/ops/selective_scan.h. */
#include <float.h>

#include <tenon/ops/selective_scan.h>

#include "../contract.h"
#include "../shape.h"

#define I(NAME) TENON_SELECTIVE_SCAN_##NAME
#define N_MAX   65535
static const struct tenon_tensor_spec tensors[] = {
    [I(U)] = {"u", TENON_IN, TENON_T_FLOAT, "[B,T,D]", "inputs"},
    [I(DT)] = {"dt", TENON_IN, TENON_T_FLOAT, "[B,T,D]", "step sizes; PLAIN: decays"},
    [I(A)] = {"a", TENON_IN_OPT, TENON_T_FLOAT, "[D,N]", "decay rates, negative"},
    [I(BM)] = {"b", TENON_IN_OPT, TENON_T_FLOAT, "[B,T,G,N]", "what inputs are to states"},
    [I(CM)] = {"c", TENON_IN_OPT, TENON_T_FLOAT, "[B,T,G,N]", "what states are to outputs"},
    [I(DSKIP)] = {"dskip", TENON_IN_OPT, TENON_T_FLOAT, "[D]", "what inputs are to outputs"},
    [I(DT_BIAS)] = {"dt_bias", TENON_IN_OPT, TENON_T_FLOAT, "[D]", "added to dt"},
    [I(Z)] = {"z", TENON_IN_OPT, TENON_T_FLOAT, "[B,T,D]", "gate"},
    [I(CU_Q)] = {"cu_q", TENON_IN_OPT, TENON_T_I32, "[S+1]", "where packed sequences begin"},
    [I(STATE)] = {"state", TENON_IN_OPT, TENON_T_F32, "[B or S,D,N]", "states before the tokens"},
    [I(Y)] = {"y", TENON_OUT, TENON_T_FLOAT, "[B,T,D]", "outputs"},
    [I(STATE_OUT)] = {"state_out", TENON_OUT_OPT, TENON_T_F32, "[B or S,D,N]", "states after the tokens"},
    [I(FLAGS)] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "0, 0, 0, entries of cu_q that are out of range"},
};

static const char *const modes[] = {"ssm", "plain", NULL}, *const decays[] = {"factor", "log", NULL};

TENON_PARAMS_SIZE(tenon_selective_scan_params, 28);
TENON_PARAMS_AT(tenon_selective_scan_params, struct_size, 0);
TENON_PARAMS_AT(tenon_selective_scan_params, mode, 4);
TENON_PARAMS_AT(tenon_selective_scan_params, decay, 8);
TENON_PARAMS_AT(tenon_selective_scan_params, softplus, 12);
TENON_PARAMS_AT(tenon_selective_scan_params, limit, 16);
TENON_PARAMS_AT(tenon_selective_scan_params, dt_lo, 20);
TENON_PARAMS_AT(tenon_selective_scan_params, dt_hi, 24);

#define AT(field) #field, .offset = offsetof(struct tenon_selective_scan_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(mode), .type = TENON_ATTR_ENUM, .max = I(PLAIN), .names = modes, .text = "which recurrence"},
    {.name = AT(decay), .type = TENON_ATTR_ENUM, .max = I(LOG), .names = decays, .text = "what PLAIN's dt holds"},
    {.name = AT(softplus), .type = TENON_ATTR_U32, .max = 1, .text = "of dt + dt_bias"},
    {.name = AT(limit), .type = TENON_ATTR_U32, .max = 1, .text = "1: dt_lo and dt_hi hold"},
    {.name = AT(dt_lo), .type = TENON_ATTR_F32, .min = -FLT_MAX, .max = FLT_MAX, .text = "least step"},
    {.name = AT(dt_hi),
     .type = TENON_ATTR_F32,
     .def = FLT_MAX,
     .min = -FLT_MAX,
     .max = FLT_MAX,
     .text = "largest step"},
};

struct extents {
    int64_t b, t, d, g, n, seqs;
};

/* SSM needs a, b and c; PLAIN has nothing but u and dt. */
static int32_t check_mode(const struct tenon_selective_scan_params *p, const struct tenon_tensor *t,
                          struct tenon_why *why)
{
    for (uint32_t i = I(A); i <= I(Z); i++) {
        if (p->mode == I(PLAIN) && t[i].dtype)
            return tenon_why_set(why, TENON_E_ARG, "%s with mode = plain: only ssm has it", tensors[i].name);
        if (p->mode == I(SSM) && i <= I(CM) && !t[i].dtype)
            return tenon_why_set(why, TENON_E_ARG, "%s is absent: mode = ssm needs it", tensors[i].name);
    }
    if (p->mode == I(PLAIN) && (p->softplus || p->limit))
        return tenon_why_set(why, TENON_E_ARG, "%s = 1 with mode = plain: must be 0",
                             p->softplus ? "softplus" : "limit");
    if (p->limit && p->dt_lo > p->dt_hi)
        return tenon_why_set(why, TENON_E_ARG, "dt_lo = %g: must be at most dt_hi, %g", (double)p->dt_lo,
                             (double)p->dt_hi);
    return TENON_OK;
}

static int32_t find_extents(const struct tenon_selective_scan_params *p, const struct tenon_tensor *t,
                            struct extents *e, struct tenon_why *why)
{
    const struct tenon_tensor *u = &t[I(U)], *a = &t[I(A)], *b = &t[I(BM)];
    if (u->rank != 3)
        return tenon_why_set(why, TENON_E_SHAPE, "u rank %u: must be 3, [B,T,D]", u->rank);
    *e = (struct extents){u->dim[0], u->dim[1], u->dim[2], 1, 1, u->dim[0]};
    if (e->b > INT32_MAX || e->t > INT32_MAX || e->d > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "B, T, D = %lld, %lld, %lld: must be below 2^31", (long long)e->b,
                             (long long)e->t, (long long)e->d);
    if (p->mode == I(SSM)) {
        if (a->rank != 2 || b->rank != 4)
            return tenon_why_set(why, TENON_E_SHAPE, "a rank %u, b rank %u: must be 2 and 4, [D,N] and [B,T,G,N]",
                                 a->rank, b->rank);
        e->n = a->dim[1];
        e->g = b->dim[2];
        if (e->n < 1 || e->n > N_MAX)
            return tenon_why_set(why, TENON_E_SHAPE, "a has N = %lld: must be within [1, %d]", (long long)e->n, N_MAX);
        if (e->g < 1 || e->d % e->g)
            return tenon_why_set(why, TENON_E_SHAPE, "b has G = %lld: D, %lld, must be a multiple", (long long)e->g,
                                 (long long)e->d);
    }
    return tenon__shape_sequences(&tensors[I(CU_Q)], &t[I(CU_Q)], e->b, &e->seqs, why);
}

static int32_t check_types(const struct tenon_tensor *t, struct tenon_why *why)
{
    for (uint32_t i = I(Z); i <= I(Y); i += I(Y) - I(Z))
        if (t[i].dtype && t[i].dtype != t[I(U)].dtype)
            return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be %s, that of u", tensors[i].name,
                                 tenon_dtype_name(t[i].dtype), tenon_dtype_name(t[I(U)].dtype));
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_selective_scan_params *p = params;
    struct extents e;
    int32_t status = check_mode(p, t, why);
    if (!status)
        status = find_extents(p, t, &e, why);
    if (!status)
        status = check_types(t, why);
    if (status)
        return status;
    const int64_t u[] = {e.b, e.t, e.d}, a[] = {e.d, e.n}, map[] = {e.b, e.t, e.g, e.n};
    const int64_t state[] = {e.seqs, e.d, e.n}, four = 4;
    const uint32_t state_rank = p->mode == I(PLAIN) ? 2 : 3;
    const struct {
        uint32_t i, rank;
        const int64_t *dim;
        int contiguous;
    } all[] = {{I(DT), 3, u, 0},
               {I(A), 2, a, 1},
               {I(BM), 4, map, 0},
               {I(CM), 4, map, 0},
               {I(DSKIP), 1, u + 2, 1},
               {I(DT_BIAS), 1, u + 2, 1},
               {I(Z), 3, u, 0},
               {I(Y), 3, u, 0},
               {I(STATE), state_rank, state, 1},
               {I(FLAGS), 1, &four, 1},
               {I(STATE_OUT), state_rank, state, 1}};
    for (uint32_t k = 0; !status && k < sizeof all / sizeof all[0]; k++)
        status = tenon__shape_dims(&tensors[all[k].i], &t[all[k].i], all[k].rank, all[k].dim, all[k].contiguous, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_selective_scan_params *p = params;
    struct extents e;
    int32_t status = tenon__output_check(&tenon__selective_scan_contract, index, I(Y), &t[I(U)], why);
    if (!status)
        status = find_extents(p, t, &e, why);
    if (status)
        return status;
    if (index == I(FLAGS))
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
    else if (index == I(Y))
        *out = tenon_tensor_make(t[I(U)].dtype, 3, (int64_t[]){e.b, e.t, e.d});
    else
        *out = tenon_tensor_make(TENON_F32, p->mode == I(PLAIN) ? 2 : 3, (int64_t[]){e.seqs, e.d, e.n});
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == I(STATE) && out == I(STATE_OUT);
}

const struct tenon_op_contract tenon__selective_scan_contract = {
    .op = TENON_OPNUM_selective_scan,
    .name = "selective_scan",
    .text = "gated recurrences along the tokens, with a state",
    .source = "Gu & Dao 2023; Qin et al. 2023",
    .n_tensors = TENON_SELECTIVE_SCAN_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_selective_scan_params),
    .params_first = offsetof(struct tenon_selective_scan_params, dt_hi) + sizeof(float),
    .n_tensors_first = TENON_SELECTIVE_SCAN_FLAGS + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
