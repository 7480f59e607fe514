/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of softmax in code; in words it is tenon/ops/softmax.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/softmax.h>

#include "../contract.h"
#include "../shape.h"


static const struct tenon_tensor_spec tensors[] = {
    [TENON_SOFTMAX_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,cols]", "logits; a row is the last axis"},
    [TENON_SOFTMAX_BIAS] = {"bias", TENON_IN_OPT, TENON_T_F32, "as x, or [cols]", "added to the scaled logits"},
    [TENON_SOFTMAX_MASK] = {"mask", TENON_IN_OPT, TENON_T_U8, "as x, or [cols]", "0: the entry does not exist"},
    [TENON_SOFTMAX_VALID_LEN] = {"valid_len", TENON_IN_OPT, TENON_T_I32, "[rows]", "entries from here on do not exist"},
    [TENON_SOFTMAX_ROW_SCALE] = {"row_scale", TENON_IN_OPT, TENON_T_F32, "[rows]", "inverse temperature of a row"},
    [TENON_SOFTMAX_SINK] = {"sink", TENON_IN_OPT, TENON_T_F32, "[rows] or [1]", "an extra logit without output"},
    [TENON_SOFTMAX_NOISE] = {"noise", TENON_IN_OPT, TENON_T_F32, "as x, or [cols]", "added to the logits (input)"},
    [TENON_SOFTMAX_MULT] = {"mult", TENON_IN_OPT, TENON_T_F32, "[cols]", "how often a column counts in the sum"},
    [TENON_SOFTMAX_Y] = {"y", TENON_OUT_OPT, TENON_T_FLOAT | TENON_T_U8, "as x", "weights (kind log_exp: logarithms)"},
    [TENON_SOFTMAX_MAX] = {"max", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest logit after scale, bias and noise"},
    [TENON_SOFTMAX_ARGMAX] = {"argmax", TENON_OUT_OPT, TENON_T_I32, "[rows]", "smallest index of the largest logit"},
    [TENON_SOFTMAX_LSE] = {"lse", TENON_OUT_OPT, TENON_T_F32, "[rows]", "logarithm of the sum of exponentials"},
    [TENON_SOFTMAX_PMAX] = {"pmax", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest probability"},
    [TENON_SOFTMAX_MARGIN] = {"margin", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest minus second probability"},
    [TENON_SOFTMAX_ENTROPY] = {"entropy", TENON_OUT_OPT, TENON_T_F32, "[rows]", "Shannon entropy in nats"},
    [TENON_SOFTMAX_ENERGY] = {"energy", TENON_OUT_OPT, TENON_T_F32, "[rows]", "free energy: -lse/T"},
    [TENON_SOFTMAX_SUM] = {"sum", TENON_OUT_OPT, TENON_T_F32, "[rows]", "sum of exponentials against the largest"},
    [TENON_SOFTMAX_SUMSQ] = {"sumsq", TENON_OUT_OPT, TENON_T_F32, "[rows]", "sum of squared probabilities"},
    [TENON_SOFTMAX_NNZ] = {"nnz", TENON_OUT_OPT, TENON_T_I32, "[rows]", "entries with weight"},
    [TENON_SOFTMAX_TAU] = {"tau", TENON_OUT_OPT, TENON_T_F32, "[rows]", "threshold of sparsemax and entmax15"},
    [TENON_SOFTMAX_BETA] = {"beta", TENON_OUT_OPT, TENON_T_F32, "[rows]", "factor of the adaptive temperature"},
    [TENON_SOFTMAX_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "rows that are NaN, empty, short, redone"},
};

static const char *const kinds[] = {"exp",      "log_exp",   "softpick",   "sparsemax", "entmax15",  "sigmoid",
                                    "relu_norm", "relu2_norm", "quad_norm", "stablemax", "scale", NULL};
static const char *const algos[] = {
    "auto", "three_pass_recompute", "three_pass_reload", "two_pass_ext", "online", "fixed_max", NULL};
static const char *const empty_rows[] = {"zero", "nan", "uniform", NULL};
static const char *const noises[] = {"none", "gumbel", "one_sided_normal", "input", NULL};
static const char *const supports[] = {"all", "topk", "stat_topk", NULL};
static const char *const sigmoid_rules[] = {"auto", "fixed", NULL};
static const char *const posts[] = {"none", "clip", "hard", "quant_u8", NULL};

TENON_PARAMS_SIZE(tenon_softmax_params, 128);
TENON_PARAMS_AT(tenon_softmax_params, struct_size, 0);
TENON_PARAMS_AT(tenon_softmax_params, kind, 4);
TENON_PARAMS_AT(tenon_softmax_params, algo, 8);
TENON_PARAMS_AT(tenon_softmax_params, empty_row, 12);
TENON_PARAMS_AT(tenon_softmax_params, scale, 16);
TENON_PARAMS_AT(tenon_softmax_params, inv_temp, 20);
TENON_PARAMS_AT(tenon_softmax_params, phi, 24);
TENON_PARAMS_AT(tenon_softmax_params, win, 28);
TENON_PARAMS_AT(tenon_softmax_params, noise, 32);
TENON_PARAMS_AT(tenon_softmax_params, noise_amp, 36);
TENON_PARAMS_AT(tenon_softmax_params, seed, 40);
TENON_PARAMS_AT(tenon_softmax_params, stream, 48);
TENON_PARAMS_AT(tenon_softmax_params, sample, 52);
TENON_PARAMS_AT(tenon_softmax_params, support, 56);
TENON_PARAMS_AT(tenon_softmax_params, k, 60);
TENON_PARAMS_AT(tenon_softmax_params, eps, 64);
TENON_PARAMS_AT(tenon_softmax_params, sigmoid_rule, 68);
TENON_PARAMS_AT(tenon_softmax_params, sigmoid_bias, 72);
TENON_PARAMS_AT(tenon_softmax_params, quad_c, 76);
TENON_PARAMS_AT(tenon_softmax_params, post, 80);
TENON_PARAMS_AT(tenon_softmax_params, zeta, 84);
TENON_PARAMS_AT(tenon_softmax_params, gamma, 88);
TENON_PARAMS_AT(tenon_softmax_params, qscale, 92);
TENON_PARAMS_AT(tenon_softmax_params, adaptive, 96);
TENON_PARAMS_AT(tenon_softmax_params, adaptive_gate, 100);
TENON_PARAMS_AT(tenon_softmax_params, adaptive_c0, 104);
TENON_PARAMS_AT(tenon_softmax_params, adaptive_c4, 120);

#define AT(field) #field, .offset = offsetof(struct tenon_softmax_params, field)
#define ENUM(field, values, last, words)                                       \
    {.name = AT(field), .type = TENON_ATTR_ENUM, .max = (last), .names = (values), .text = (words)}
#define FLOAT(field, value, least, most, words)                                \
    {.name = AT(field), .type = TENON_ATTR_F32, .def = (value), .min = (least), .max = (most), .text = (words)}
#define WHOLE(field, most, words) {.name = AT(field), .type = TENON_ATTR_U32, .max = (most), .text = (words)}
static const struct tenon_attr_spec attrs[] = {
    ENUM(kind, kinds, TENON_SOFTMAX_SCALE, "from logits to weights"),
    ENUM(algo, algos, TENON_SOFTMAX_FIXED_MAX, "same result within tolerance, different traffic"),
    ENUM(empty_row, empty_rows, TENON_SOFTMAX_EMPTY_UNIFORM, "y of a row with nothing above -Inf"),
    FLOAT(scale, 1, -FLT_MAX, FLT_MAX, "factor on the logits, before the bias"),
    FLOAT(inv_temp, 1, 0, FLT_MAX, "inverse temperature; 0 is uniform"),
    FLOAT(phi, 0, -FLT_MAX, FLT_MAX, "fixed_max only: the maximum that is assumed"),
    FLOAT(win, 60, FLT_MIN, 60, "fixed_max only: rows whose maximum is further from phi are redone online"),
    ENUM(noise, noises, TENON_SOFTMAX_NOISE_INPUT, "added to the logits"),
    FLOAT(noise_amp, 1, -FLT_MAX, FLT_MAX, "factor on the noise"),
    {.name = AT(seed), .type = TENON_ATTR_U64, .max = (double)UINT64_MAX, .text = "of generated noise"},
    WHOLE(stream, UINT32_MAX, "of generated noise: which of many independent uses"),
    WHOLE(sample, UINT32_MAX, "of generated noise: which of many draws"),
    ENUM(support, supports, TENON_SOFTMAX_SUPPORT_STAT_TOPK, "which entries may have weight"),
    WHOLE(k, INT32_MAX, "support topk, stat_topk: how many entries"),
    FLOAT(eps, -1, -1, FLT_MAX, "joins the sum of softpick and the *_norm kinds; -1: 1e-6 and 1e-5"),
    ENUM(sigmoid_rule, sigmoid_rules, TENON_SOFTMAX_BIAS_FIXED, "sigmoid: bias -ln n, or sigmoid_bias"),
    FLOAT(sigmoid_bias, 0, -FLT_MAX, FLT_MAX, "sigmoid with rule fixed: added to the logits"),
    FLOAT(quad_c, 5, -FLT_MAX, FLT_MAX, "quad_norm only: added before the square"),
    ENUM(post, posts, TENON_SOFTMAX_POST_QUANT_U8, "what becomes of the weights"),
    FLOAT(zeta, 1, 1, FLT_MAX, "clip only: upper end of the stretched range"),
    FLOAT(gamma, 0, -FLT_MAX, 0, "clip only: lower end of the stretched range"),
    FLOAT(qscale, 1.0f / 255, FLT_MIN, FLT_MAX, "quant_u8 only: what a step of y is worth"),
    WHOLE(adaptive, 1, "1: inverse temperature grows with the entropy of the row"),
    FLOAT(adaptive_gate, 0.5, -FLT_MAX, FLT_MAX, "adaptive: entropy above which it grows"),
    FLOAT(adaptive_c0, -1.791f, -FLT_MAX, FLT_MAX, "adaptive: coefficient of 1"),
    FLOAT(adaptive_c1, 4.917f, -FLT_MAX, FLT_MAX, "adaptive: coefficient of the entropy"),
    FLOAT(adaptive_c2, -2.3f, -FLT_MAX, FLT_MAX, "adaptive: coefficient of its square"),
    FLOAT(adaptive_c3, 0.481f, -FLT_MAX, FLT_MAX, "adaptive: coefficient of its cube"),
    FLOAT(adaptive_c4, -0.037f, -FLT_MAX, FLT_MAX, "adaptive: coefficient of its fourth power"),
};

/* The statistics that speak of exponentials. */
#define EXP_STATS                                                              \
    (1u << TENON_SOFTMAX_LSE | 1u << TENON_SOFTMAX_PMAX | 1u << TENON_SOFTMAX_MARGIN | 1u << TENON_SOFTMAX_ENTROPY |   \
     1u << TENON_SOFTMAX_ENERGY | 1u << TENON_SOFTMAX_SUM | 1u << TENON_SOFTMAX_SUMSQ)

static int is_per_row(uint32_t i)
{
    return (i >= TENON_SOFTMAX_VALID_LEN && i <= TENON_SOFTMAX_SINK) ||
           (i >= TENON_SOFTMAX_MAX && i < TENON_SOFTMAX_FLAGS);
}

static int32_t no_tensor(uint32_t i, const char *needs, struct tenon_why *why)
{
    return tenon_why_set(why, TENON_E_ARG, "%s is given: needs %s", tensors[i].name, needs);
}

/* Which tensors a kind has. */
static int32_t check_kind(const struct tenon_softmax_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int exps = p->kind == TENON_SOFTMAX_EXP || p->kind == TENON_SOFTMAX_LOG_EXP;
    const int sparse = p->kind == TENON_SOFTMAX_SPARSEMAX || p->kind == TENON_SOFTMAX_ENTMAX15;
    for (uint32_t i = 0; i < TENON_SOFTMAX_N_TENSORS && !exps; i++)
        if (t[i].dtype && (EXP_STATS >> i & 1u || i == TENON_SOFTMAX_SINK || i == TENON_SOFTMAX_MULT))
            return no_tensor(i, "kind exp or log_exp", why);
    if (t[TENON_SOFTMAX_TAU].dtype && !sparse)
        return no_tensor(TENON_SOFTMAX_TAU, "kind sparsemax or entmax15", why);
    if (t[TENON_SOFTMAX_BETA].dtype && !p->adaptive)
        return no_tensor(TENON_SOFTMAX_BETA, "adaptive = 1", why);
    if (t[TENON_SOFTMAX_NOISE].dtype && p->noise != TENON_SOFTMAX_NOISE_INPUT)
        return no_tensor(TENON_SOFTMAX_NOISE, "noise = input", why);
    if (!t[TENON_SOFTMAX_NOISE].dtype && p->noise == TENON_SOFTMAX_NOISE_INPUT)
        return tenon_why_set(why, TENON_E_ARG, "noise = input: needs the tensor noise");
    if (t[TENON_SOFTMAX_MASK].dtype && t[TENON_SOFTMAX_VALID_LEN].dtype)
        return tenon_why_set(why, TENON_E_ARG, "mask and valid_len are both given: at most one may be");
    return TENON_OK;
}

/* Attributes that contradict each other. */
static int32_t check_attrs(const struct tenon_softmax_params *p, struct tenon_why *why)
{
    if (p->support != TENON_SOFTMAX_SUPPORT_ALL && p->k < 1)
        return tenon_why_set(why, TENON_E_ARG, "k = 0: support %s needs at least 1", supports[p->support]);
    if (p->support == TENON_SOFTMAX_SUPPORT_ALL && p->k)
        return tenon_why_set(why, TENON_E_ARG, "k = %u: support all has none, topk and stat_topk do", p->k);
    if (p->eps < 0 && p->eps != -1.0f)
        return tenon_why_set(why, TENON_E_ARG, "eps = %.9g: must be at least 0, or -1 for the kind's own",
                             (double)p->eps);
    if (p->sigmoid_bias != 0.0f && p->sigmoid_rule != TENON_SOFTMAX_BIAS_FIXED)
        return tenon_why_set(why, TENON_E_ARG, "sigmoid_bias = %.9g: needs sigmoid_rule = fixed",
                             (double)p->sigmoid_bias);
    if (p->adaptive && p->kind != TENON_SOFTMAX_EXP)
        return tenon_why_set(why, TENON_E_ARG, "adaptive = 1: needs kind exp, not %s", kinds[p->kind]);
    if (p->post == TENON_SOFTMAX_POST_HARD && p->kind != TENON_SOFTMAX_EXP)
        return tenon_why_set(why, TENON_E_ARG, "post = hard: needs kind exp, not %s", kinds[p->kind]);
    if (p->post && p->kind == TENON_SOFTMAX_LOG_EXP)
        return tenon_why_set(why, TENON_E_ARG, "post = %s: not with kind log_exp", posts[p->post]);
    return TENON_OK;
}

static int32_t check_algo(const struct tenon_softmax_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const char *with = p->kind > TENON_SOFTMAX_LOG_EXP ? kinds[p->kind]
                       : p->noise                      ? "noise"
                       : p->support                    ? "support"
                       : t[TENON_SOFTMAX_MULT].dtype   ? "mult"
                       : p->adaptive                   ? "adaptive"
                       : p->post                       ? "post"
                                                       : NULL;
    if (p->algo != TENON_SOFTMAX_AUTO && with)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "algo = %s with %s: must be auto", algos[p->algo], with);
    if (p->algo != TENON_SOFTMAX_TWO_PASS_EXT)
        return TENON_OK;
    if (p->scale != 1.0f)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "scale = %.9g: algo two_pass_ext needs 1", (double)p->scale);
    if (p->inv_temp != 1.0f)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "inv_temp = %.9g: algo two_pass_ext needs 1",
                             (double)p->inv_temp);
    if (t[TENON_SOFTMAX_BIAS].dtype || t[TENON_SOFTMAX_ROW_SCALE].dtype)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s is given: algo two_pass_ext works without",
                             t[TENON_SOFTMAX_BIAS].dtype ? "bias" : "row_scale");
    return TENON_OK;
}

static int32_t check_y(const struct tenon_softmax_params *p, const struct tenon_tensor *x,
                       const struct tenon_tensor *y, struct tenon_why *why)
{
    int64_t rows, cols;
    if (p->post == TENON_SOFTMAX_POST_QUANT_U8) {
        if (y->dtype != TENON_U8)
            return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be u8 with post = quant_u8",
                                 tenon_dtype_name(y->dtype));
    } else if (y->dtype != x->dtype && y->dtype != TENON_F32) {
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s or f32", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(x->dtype));
    }
    return tenon__shape_matrix(&tensors[TENON_SOFTMAX_Y], y, &rows, &cols, why);
}

static int32_t check_tensor(const struct tenon_tensor *t, int64_t rows, int64_t cols, uint32_t i, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_X];
    if (!t[i].dtype)
        return TENON_OK;
    if (is_per_row(i))
        return tenon__shape_per_row(&tensors[i], &t[i], x, rows, i == TENON_SOFTMAX_SINK, why);
    if (i == TENON_SOFTMAX_MULT || i == TENON_SOFTMAX_FLAGS)
        return tenon__shape_list(&tensors[i], &t[i], i == TENON_SOFTMAX_MULT ? cols : 4, why);
    return tenon__shape_as_x(&tensors[i], &t[i], x, i != TENON_SOFTMAX_Y, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_X], *y = &t[TENON_SOFTMAX_Y];
    int64_t rows, cols;
    int32_t status = check_attrs(params, why);
    if (!status)
        status = check_kind(params, t, why);
    if (!status)
        status = check_algo(params, t, why);
    if (!status)
        status = tenon__shape_x(&tensors[TENON_SOFTMAX_X], x, &rows, &cols, why);
    for (uint32_t i = 1; !status && i < TENON_SOFTMAX_N_TENSORS; i++)
        status = check_tensor(t, rows, cols, i, why);
    if (status || !y->dtype)
        return status;
    return check_y(params, x, y, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_softmax_params *p = params;
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_X];
    int32_t status = tenon__output_check(&tenon__softmax_contract, index, TENON_SOFTMAX_Y, x, why);
    if (status)
        return status;
    const int sparse = p->kind == TENON_SOFTMAX_SPARSEMAX || p->kind == TENON_SOFTMAX_ENTMAX15;
    if ((p->kind > TENON_SOFTMAX_LOG_EXP && EXP_STATS >> index & 1u) || (index == TENON_SOFTMAX_TAU && !sparse) ||
        (index == TENON_SOFTMAX_BETA && !p->adaptive))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s does not exist for kind %s%s", tensors[index].name,
                             kinds[p->kind], index == TENON_SOFTMAX_BETA ? " without adaptive" : "");
    const uint32_t wish = t[index].dtype;
    if (index == TENON_SOFTMAX_Y) {
        const uint32_t own = p->post == TENON_SOFTMAX_POST_QUANT_U8 ? TENON_U8 : x->dtype;
        *out = tenon_tensor_make(wish ? wish : own, x->rank, x->dim);
        return TENON_OK;
    }
    const int whole = index == TENON_SOFTMAX_ARGMAX || index == TENON_SOFTMAX_NNZ;
    const uint32_t dtype = wish ? wish : index == TENON_SOFTMAX_FLAGS ? TENON_U32 : whole ? TENON_I32 : TENON_F32;
    *out = index == TENON_SOFTMAX_FLAGS ? tenon_tensor_make(dtype, 1, (int64_t[]){4}) : tenon__output_per_row(dtype, x);
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == TENON_SOFTMAX_X && out == TENON_SOFTMAX_Y;
}

const struct tenon_op_contract tenon__softmax_contract = {
    .op = TENON_OPNUM_softmax,
    .name = "softmax",
    .text = "the row softmax family: a logit pipeline, eleven score kinds, row statistics and a post step",
    .source = "Dukhan and Ablavatski 2020; Milakov and Gimelshein 2018; Hong et al. 2023; Xiao et al. 2023; "
              "Martins and Astudillo 2016; Peters et al. 2019; Zuhri et al. 2025; Bondarenko et al. 2023",
    .n_tensors = TENON_SOFTMAX_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_softmax_params),
    .params_first = sizeof(struct tenon_softmax_params),
    .n_tensors_first = TENON_SOFTMAX_N_TENSORS,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
