/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of gated_norm in code; in words it is tenon/ops/gated_norm.h. */
#include <float.h>

#include <tenon/ops/gated_norm.h>

#include "../contract.h"
#include "../shape.h"

#define G(NAME) TENON_GATED_NORM_##NAME

static const struct tenon_tensor_spec tensors[] = {
    [G(X)] = {"x", TENON_IN, TENON_T_FLOAT, "[...rows,C]", "what is normalised and gated"},
    [G(GATE)] = {"gate", TENON_IN_OPT, TENON_T_FLOAT, "as x", "what act makes the gate of x of"},
    [G(WEIGHT)] = {"weight", TENON_IN_OPT, TENON_T_FLOAT, "[C] or [G]", "multiplies what is normalised"},
    [G(BIAS)] = {"bias", TENON_IN_OPT, TENON_T_FLOAT, "[C] or [G]", "added to it"},
    [G(RESIDUAL)] = {"residual", TENON_IN_OPT, TENON_T_FLOAT, "as x", "added to x first"},
    [G(B)] = {"b", TENON_IN_OPT, TENON_T_FLOAT, "as x", "the other term of lerp and dual"},
    [G(GATE_B)] = {"gate_b", TENON_IN_OPT, TENON_T_FLOAT, "as x", "what act makes the gate of b of, with dual"},
    [G(WEIGHT_B)] = {"weight_b", TENON_IN_OPT, TENON_T_FLOAT, "[C] or [G]", "weight of the norm of b"},
    [G(BIAS_B)] = {"bias_b", TENON_IN_OPT, TENON_T_FLOAT, "[C] or [G]", "bias of the norm of b"},
    [G(Y)] = {"y", TENON_OUT, TENON_T_FLOAT, "as x", "the result"},
    [G(SUM)] = {"sum", TENON_OUT_OPT, TENON_T_FLOAT, "as x", "x + residual"},
    [G(IMPORTANCE)] = {"importance", TENON_OUT_OPT, TENON_T_F32, "[...rows]", "mean of the gate over the row"},
};

static const char *const norms[] = {"none", "rms", "layer", "l2", NULL};
static const char *const orders[] = {"norm_then_gate", "gate_then_norm", NULL};
static const char *const acts[] = {"sigmoid", "silu", "identity", NULL};
static const char *const combines[] = {"mul", "lerp", "dual", NULL};
static const char *const acts_b[] = {"plain", "tanh", NULL};

TENON_PARAMS_SIZE(tenon_gated_norm_params, 40);
TENON_PARAMS_AT(tenon_gated_norm_params, struct_size, 0);
TENON_PARAMS_AT(tenon_gated_norm_params, norm, 4);
TENON_PARAMS_AT(tenon_gated_norm_params, order, 8);
TENON_PARAMS_AT(tenon_gated_norm_params, act, 12);
TENON_PARAMS_AT(tenon_gated_norm_params, combine, 16);
TENON_PARAMS_AT(tenon_gated_norm_params, norm_b, 20);
TENON_PARAMS_AT(tenon_gated_norm_params, act_b, 24);
TENON_PARAMS_AT(tenon_gated_norm_params, group, 28);
TENON_PARAMS_AT(tenon_gated_norm_params, eps, 32);
TENON_PARAMS_AT(tenon_gated_norm_params, weight_offset, 36);

#define AT(field) #field, .offset = offsetof(struct tenon_gated_norm_params, field)
#define ENUM(field, last, initial, list, words)                                                                        \
    {.name = AT(field), .type = TENON_ATTR_ENUM, .def = initial, .max = last, .names = list, .text = words}
static const struct tenon_attr_spec attrs[] = {
    ENUM(norm, G(L2), G(RMS), norms, "which norm"),
    ENUM(order, G(GATE_THEN_NORM), G(NORM_THEN_GATE), orders, "which comes first"),
    ENUM(act, G(IDENTITY), G(SILU), acts, "what makes gates of gate and gate_b"),
    ENUM(combine, G(DUAL), G(MUL), combines, "how gates and terms become y"),
    {.name = AT(norm_b), .type = TENON_ATTR_U32, .max = 1, .text = "b is normalised too"},
    ENUM(act_b, G(TANH), G(PLAIN), acts_b, "of b, before its norm"),
    {.name = AT(group), .type = TENON_ATTR_I32, .max = INT32_MAX, .text = "columns of a norm, G; 0 is all, C"},
    {.name = AT(eps), .type = TENON_ATTR_F32, .def = (double)1e-6f, .min = (double)1e-30f, .max = (double)1e30f,
     .text = "added under the root"},
    {.name = AT(weight_offset), .type = TENON_ATTR_F32, .min = -FLT_MAX, .max = FLT_MAX,
     .text = "added to weight and weight_b"},
};

/* What tensors the attributes leave without a use, or need. */
static int32_t check_present(const struct tenon_gated_norm_params *p, const struct tenon_tensor *t,
                             struct tenon_why *why)
{
    const int two = p->combine != G(MUL), dual = p->combine == G(DUAL);
    const struct {
        uint32_t tensor;
        int used, needed;
        const char *where;
    } rules[] = {
        {G(GATE), 1, two, "lerp and dual"},
        {G(B), two, two, "lerp and dual"},
        {G(GATE_B), dual, dual, "dual"},
        {G(WEIGHT_B), p->norm_b != 0, 0, "norm_b"},
        {G(BIAS_B), p->norm_b != 0, 0, "norm_b"},
        {G(SUM), t[G(RESIDUAL)].dtype != 0, 0, "residual"},
        {G(IMPORTANCE), t[G(GATE)].dtype != 0, 0, "gate"},
    };
    if (p->norm_b && (!two || p->order == G(GATE_THEN_NORM)))
        return tenon_why_set(why, TENON_E_ARG, "norm_b with %s: must be 0", two ? "gate_then_norm" : "mul");
    if (p->act_b && !two)
        return tenon_why_set(why, TENON_E_ARG, "act_b = %s with mul: must be plain", acts_b[p->act_b]);
    for (uint32_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].needed && !t[rules[i].tensor].dtype)
            return tenon_why_set(why, TENON_E_ARG, "%s is not given: combine = %s needs it",
                                 tensors[rules[i].tensor].name, combines[p->combine]);
        if (!rules[i].used && t[rules[i].tensor].dtype)
            return tenon_why_set(why, TENON_E_ARG, "%s is given: it may be only with %s", tensors[rules[i].tensor].name,
                                 rules[i].where);
    }
    return TENON_OK;
}

static int32_t check_weight(uint32_t i, const struct tenon_tensor *t, int64_t cols, int64_t group,
                            struct tenon_why *why)
{
    if (t->rank != 1 || (t->dim[0] != cols && t->dim[0] != group))
        return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be [%lld] or [%lld]",
                             tensors[i].name, t->rank, (long long)tenon_tensor_count(t), (long long)cols,
                             (long long)group);
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_gated_norm_params *p = params;
    const struct tenon_tensor *x = &t[G(X)];
    int64_t rows, cols, own, width;
    int32_t status = tenon__shape_x(&tensors[G(X)], x, &rows, &cols, why);
    if (!status)
        status = check_present(p, t, why);
    if (status)
        return status;
    const int64_t group = p->group ? p->group : cols;
    if (group ? cols % group : cols)
        return tenon_why_set(why, TENON_E_SHAPE, "group = %lld: must divide the last axis of x, %lld", (long long)group,
                             (long long)cols);
    for (uint32_t i = G(GATE); !status && i < G(IMPORTANCE); i++) {
        const int is_weight = i == G(WEIGHT) || i == G(BIAS) || i == G(WEIGHT_B) || i == G(BIAS_B);
        if (!t[i].dtype)
            continue;
        if (is_weight) {
            status = check_weight(i, &t[i], cols, group, why);
            continue;
        }
        status = tenon__shape_as_x(&tensors[i], &t[i], x, 0, why);
        if (!status)
            status = tenon__shape_x(&tensors[i], &t[i], &own, &width, why);
        if (!status && (i == G(Y) || i == G(SUM)) && t[i].dtype != x->dtype && t[i].dtype != TENON_F32)
            status = tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be %s or f32", tensors[i].name,
                                   tenon_dtype_name(t[i].dtype), tenon_dtype_name(x->dtype));
    }
    if (!status && t[G(IMPORTANCE)].dtype)
        status = tenon__shape_per_row(&tensors[G(IMPORTANCE)], &t[G(IMPORTANCE)], x, rows, 0, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[G(X)];
    (void)params;
    const int32_t status = tenon__output_check(&tenon__gated_norm_contract, index, G(Y), x, why);
    if (status)
        return status;
    if (index == G(IMPORTANCE))
        *out = tenon__output_per_row(TENON_F32, x);
    else
        *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : x->dtype, x->rank, x->dim);
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    if (out == G(SUM))
        return in == G(X) || in == G(RESIDUAL);
    return out == G(Y) && (in == G(X) || in == G(GATE) || in == G(B) || in == G(GATE_B) || in == G(RESIDUAL));
}

const struct tenon_op_contract tenon__gated_norm_contract = {
    .op = TENON_OPNUM_gated_norm,
    .name = "gated_norm",
    .text = "norms of rows or groups of columns, with gates",
    .source = "Ba et al. 2016; Zhang and Sennrich 2019; Dauphin et al. 2017",
    .n_tensors = TENON_GATED_NORM_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_gated_norm_params),
    .params_first = offsetof(struct tenon_gated_norm_params, weight_offset) + sizeof(float),
    .n_tensors_first = TENON_GATED_NORM_IMPORTANCE + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
