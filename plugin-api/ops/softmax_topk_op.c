/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of softmax_topk in code; in words it is tenon/ops/softmax_topk.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/softmax_topk.h>

#include "../contract.h"
#include "../shape.h"

static const struct tenon_tensor_spec tensors[] = {
    [TENON_SOFTMAX_TOPK_X] = {"x", TENON_IN, TENON_T_FLOAT, "[...,cols]", "logits; a row is the last axis"},
    [TENON_SOFTMAX_TOPK_BIAS] = {"bias", TENON_IN_OPT, TENON_T_F32, "as x, or [cols]", "added to the scaled logits"},
    [TENON_SOFTMAX_TOPK_MASK] = {"mask", TENON_IN_OPT, TENON_T_U8, "as x, or [cols]", "0: the entry does not exist"},
    [TENON_SOFTMAX_TOPK_VALID_LEN] = {"valid_len", TENON_IN_OPT, TENON_T_I32, "[rows]",
                                      "entries from here on do not exist"},
    [TENON_SOFTMAX_TOPK_ROW_SCALE] = {"row_scale", TENON_IN_OPT, TENON_T_F32, "[rows]",
                                      "inverse temperature of a row"},
    [TENON_SOFTMAX_TOPK_SINK] = {"sink", TENON_IN_OPT, TENON_T_F32, "[rows] or [1]", "an extra logit without output"},
    [TENON_SOFTMAX_TOPK_NOISE] = {"noise", TENON_IN_OPT, TENON_T_F32, "as x, or [cols]",
                                  "noise of the logits (noise input)"},
    [TENON_SOFTMAX_TOPK_VAL] = {"val", TENON_OUT_OPT, TENON_T_F32, "[...,k]", "what norm makes of the k best logits"},
    [TENON_SOFTMAX_TOPK_IDX] = {"idx", TENON_OUT_OPT, TENON_T_I32, "[...,k]", "their columns, best first; -1: none"},
    [TENON_SOFTMAX_TOPK_MAX] = {"max", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest logit"},
    [TENON_SOFTMAX_TOPK_LSE] = {"lse", TENON_OUT_OPT, TENON_T_F32, "[rows]", "logarithm of the sum of exponentials"},
    [TENON_SOFTMAX_TOPK_PMAX] = {"pmax", TENON_OUT_OPT, TENON_T_F32, "[rows]", "largest probability"},
    [TENON_SOFTMAX_TOPK_MARGIN] = {"margin", TENON_OUT_OPT, TENON_T_F32, "[rows]",
                                   "largest minus second probability"},
    [TENON_SOFTMAX_TOPK_ENTROPY] = {"entropy", TENON_OUT_OPT, TENON_T_F32, "[rows]", "Shannon entropy in nats"},
    [TENON_SOFTMAX_TOPK_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "rows that are NaN, empty, short; 0"},
};

static const char *const norms[] = {"full", "selected", "log", "raw", NULL};
static const char *const noises[] = {"none", "gumbel", "one_sided_normal", "input", NULL};

TENON_PARAMS_SIZE(tenon_softmax_topk_params, 48);
TENON_PARAMS_AT(tenon_softmax_topk_params, struct_size, 0);
TENON_PARAMS_AT(tenon_softmax_topk_params, k, 4);
TENON_PARAMS_AT(tenon_softmax_topk_params, norm, 8);
TENON_PARAMS_AT(tenon_softmax_topk_params, pad_short, 12);
TENON_PARAMS_AT(tenon_softmax_topk_params, scale, 16);
TENON_PARAMS_AT(tenon_softmax_topk_params, inv_temp, 20);
TENON_PARAMS_AT(tenon_softmax_topk_params, noise, 24);
TENON_PARAMS_AT(tenon_softmax_topk_params, noise_amp, 28);
TENON_PARAMS_AT(tenon_softmax_topk_params, seed, 32);
TENON_PARAMS_AT(tenon_softmax_topk_params, stream, 40);
TENON_PARAMS_AT(tenon_softmax_topk_params, sample, 44);

#define AT(field) #field, .offset = offsetof(struct tenon_softmax_topk_params, field)
#define FLOAT(field, value, least, words)                                      \
    {.name = AT(field), .type = TENON_ATTR_F32, .def = (value), .min = (least), .max = FLT_MAX, .text = (words)}
#define WHOLE(field, most, words) {.name = AT(field), .type = TENON_ATTR_U32, .max = (most), .text = (words)}
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(k),
     .type = TENON_ATTR_U32,
     .def = 1,
     .min = 1,
     .max = TENON_SOFTMAX_TOPK_MAX_K,
     .text = "how many entries of each row"},
    {.name = AT(norm),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SOFTMAX_TOPK_RAW,
     .names = norms,
     .text = "what val is: of all columns, of the selected, its logarithm, the logit"},
    WHOLE(pad_short, 1, "1: k may exceed cols"),
    FLOAT(scale, 1, -FLT_MAX, "factor on the logits, before the bias"),
    FLOAT(inv_temp, 1, 0, "inverse temperature; 0 is uniform"),
    {.name = AT(noise),
     .type = TENON_ATTR_ENUM,
     .max = TENON_SOFTMAX_NOISE_INPUT,
     .names = noises,
     .text = "added to the logits"},
    FLOAT(noise_amp, 1, -FLT_MAX, "factor on the noise"),
    {.name = AT(seed), .type = TENON_ATTR_U64, .max = (double)UINT64_MAX, .text = "of generated noise"},
    WHOLE(stream, UINT32_MAX, "of generated noise: which of many independent uses"),
    WHOLE(sample, UINT32_MAX, "of generated noise: which of many draws"),
};

/* val and idx: the leading axes of x, then k. */
static int32_t check_slots(const struct tenon_tensor *x, uint32_t k, uint32_t i, const struct tenon_tensor *t,
                           struct tenon_why *why)
{
    int64_t rows, cols;
    if (t->rank != x->rank || memcmp(t->dim, x->dim, (x->rank - 1) * sizeof x->dim[0]) != 0 || t->dim[x->rank - 1] != k)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "%s shape (rank %u, last axis %lld): must be the leading axes of x, then k = %u",
                             tensors[i].name, t->rank, t->rank ? (long long)t->dim[t->rank - 1] : 0LL, k);
    return tenon__shape_matrix(&tensors[i], t, &rows, &cols, why);
}

static int32_t check_tensor(const struct tenon_tensor *t, uint32_t k, int64_t rows, uint32_t i, struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_TOPK_X];
    if (!t[i].dtype || i == TENON_SOFTMAX_TOPK_X)
        return TENON_OK;
    switch (i) {
    case TENON_SOFTMAX_TOPK_BIAS:
    case TENON_SOFTMAX_TOPK_MASK:
    case TENON_SOFTMAX_TOPK_NOISE:
        return tenon__shape_as_x(&tensors[i], &t[i], x, 1, why);
    case TENON_SOFTMAX_TOPK_VAL:
    case TENON_SOFTMAX_TOPK_IDX:
        return check_slots(x, k, i, &t[i], why);
    case TENON_SOFTMAX_TOPK_FLAGS:
        return tenon__shape_list(&tensors[i], &t[i], 4, why);
    default:
        return tenon__shape_per_row(&tensors[i], &t[i], x, rows, i == TENON_SOFTMAX_TOPK_SINK, why);
    }
}

static int32_t check_noise(const struct tenon_softmax_topk_params *p, const struct tenon_tensor *t,
                           struct tenon_why *why)
{
    const int given = t[TENON_SOFTMAX_TOPK_NOISE].dtype != TENON_ABSENT;
    if (p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL)
        return tenon_why_set(why, TENON_E_ARG, "noise = one_sided_normal: must be none, gumbel or input, whose bits "
                                               "are the same on every backend");
    if (given && p->noise != TENON_SOFTMAX_NOISE_INPUT)
        return tenon_why_set(why, TENON_E_ARG, "noise is given: needs noise = input");
    if (!given && p->noise == TENON_SOFTMAX_NOISE_INPUT)
        return tenon_why_set(why, TENON_E_ARG, "noise = input: needs the tensor noise");
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_softmax_topk_params *p = params;
    int64_t rows, cols;
    int32_t status = check_noise(p, t, why);
    if (!status && t[TENON_SOFTMAX_TOPK_MASK].dtype && t[TENON_SOFTMAX_TOPK_VALID_LEN].dtype)
        status = tenon_why_set(why, TENON_E_ARG, "mask and valid_len are both given: at most one may be");
    if (!status)
        status = tenon__shape_x(&tensors[TENON_SOFTMAX_TOPK_X], &t[TENON_SOFTMAX_TOPK_X], &rows, &cols, why);
    if (status)
        return status;
    if (p->k > cols && !p->pad_short)
        return tenon_why_set(why, TENON_E_SHAPE, "k = %u: must be within [1, %lld], or pad_short = 1", p->k,
                             (long long)cols);
    for (uint32_t i = 0; !status && i < TENON_SOFTMAX_TOPK_N_TENSORS; i++)
        status = check_tensor(t, p->k, rows, i, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_softmax_topk_params *p = params;
    const struct tenon_tensor *x = &t[TENON_SOFTMAX_TOPK_X];
    int64_t dim[TENON_MAX_RANK];
    int32_t status = tenon__output_check(&tenon__softmax_topk_contract, index, TENON_SOFTMAX_TOPK_VAL, x, why);
    if (status)
        return status;
    const uint32_t wish = t[index].dtype;
    if (index == TENON_SOFTMAX_TOPK_FLAGS) {
        *out = tenon_tensor_make(wish ? wish : TENON_U32, 1, (int64_t[]){4});
    } else if (index <= TENON_SOFTMAX_TOPK_IDX) {
        memcpy(dim, x->dim, sizeof dim);
        dim[x->rank - 1] = p->k;
        *out = tenon_tensor_make(wish                               ? wish
                                 : index == TENON_SOFTMAX_TOPK_IDX ? TENON_I32
                                                                   : TENON_F32,
                                 x->rank, dim);
    } else {
        *out = tenon__output_per_row(wish ? wish : TENON_F32, x);
    }
    return TENON_OK;
}

const struct tenon_op_contract tenon__softmax_topk_contract = {
    .op = TENON_OPNUM_softmax_topk,
    .name = "softmax_topk",
    .text = "the k largest logits of each row with their probabilities, in one read",
    .source = "Milakov and Gimelshein 2018; Kool et al. 2019",
    .n_tensors = TENON_SOFTMAX_TOPK_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_softmax_topk_params),
    .params_first = offsetof(struct tenon_softmax_topk_params, sample) + sizeof(uint32_t),
    .n_tensors_first = TENON_SOFTMAX_TOPK_FLAGS + 1,
    .validate = validate,
    .output = output,
};
