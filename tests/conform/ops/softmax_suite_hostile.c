/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: descriptors that only it knows to be wrong. */
#include <string.h>
#include "softmax_suite.h"

static struct tenon_softmax_params *params_of(struct conform_case *c)
{
    return (struct tenon_softmax_params *)(void *)c->params;
}

/* Case 0 is x f32 [3,5] with every output. */

static void spoil_both(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MASK, TENON_U8, 1, (int64_t[]){5});
    conform_slot_set(c, TENON_SOFTMAX_VALID_LEN, TENON_I32, 1, (int64_t[]){3});
}
static void spoil_ext_scale(struct conform_case *c)
{
    params_of(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT;
    params_of(c)->scale = 2;
}
static void spoil_ext_bias(struct conform_case *c)
{
    params_of(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT;
    conform_slot_set(c, TENON_SOFTMAX_BIAS, TENON_F32, 1, (int64_t[]){5});
}
static void spoil_ext_temp(struct conform_case *c)
{
    params_of(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT;
    params_of(c)->inv_temp = 0.5f;
}
static void spoil_bias(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_BIAS, TENON_F32, 1, (int64_t[]){6});
}
static void spoil_rows(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_ROW_SCALE, TENON_F32, 1, (int64_t[]){4});
}
static void spoil_y(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_Y, TENON_F32, 2, (int64_t[]){3, 6});
}
static void spoil_y_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_Y, TENON_F16, 2, (int64_t[]){3, 5});
}
static void spoil_fold(struct conform_case *c)
{
    for (uint32_t i = TENON_SOFTMAX_MAX; i < TENON_SOFTMAX_N_TENSORS; i++)
        memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    conform_slot_set(c, TENON_SOFTMAX_X, TENON_F32, 3, (int64_t[]){3, 2, 5});
    conform_slot_set(c, TENON_SOFTMAX_Y, TENON_F32, 3, (int64_t[]){3, 2, 5});
    c->slot[TENON_SOFTMAX_X].tensor.stride[0] = 17;
}

/* Case 0 without the statistics of exponentials, as a plain case of another kind. */
static struct tenon_softmax_params *kind_of(struct conform_case *c, uint32_t kind)
{
    struct tenon_softmax_params *p = params_of(c);
    p->kind = kind;
    for (uint32_t i = TENON_SOFTMAX_LSE; i <= TENON_SOFTMAX_SUMSQ; i++)
        memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    return p;
}
static void spoil_lse(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SPARSEMAX);
    conform_slot_set(c, TENON_SOFTMAX_LSE, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_sumsq(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SCALE);
    conform_slot_set(c, TENON_SOFTMAX_SUMSQ, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_sink(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SIGMOID);
    conform_slot_set(c, TENON_SOFTMAX_SINK, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_mult(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SPARSEMAX);
    conform_slot_set(c, TENON_SOFTMAX_MULT, TENON_F32, 1, (int64_t[]){5});
}
static void spoil_mult_shape(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MULT, TENON_F32, 2, (int64_t[]){3, 5});
}
static void spoil_flags_shape(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_FLAGS, TENON_U32, 1, (int64_t[]){3});
}
static void spoil_tau(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_TAU, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_beta(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_BETA, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_noise(struct conform_case *c)
{
    params_of(c)->noise = TENON_SOFTMAX_NOISE_GUMBEL;
    conform_slot_set(c, TENON_SOFTMAX_NOISE, TENON_F32, 2, (int64_t[]){3, 5});
}
static void spoil_no_noise(struct conform_case *c)
{
    params_of(c)->noise = TENON_SOFTMAX_NOISE_INPUT;
}
static void spoil_noise_shape(struct conform_case *c)
{
    params_of(c)->noise = TENON_SOFTMAX_NOISE_INPUT;
    conform_slot_set(c, TENON_SOFTMAX_NOISE, TENON_F32, 1, (int64_t[]){3});
}
static void spoil_no_k(struct conform_case *c)
{
    params_of(c)->support = TENON_SOFTMAX_SUPPORT_TOPK;
}
static void spoil_no_stat_k(struct conform_case *c)
{
    params_of(c)->support = TENON_SOFTMAX_SUPPORT_STAT_TOPK;
}
static void spoil_k(struct conform_case *c)
{
    params_of(c)->k = 2;
}
static void spoil_eps(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SOFTPICK)->eps = -0.5f;
}
static void spoil_sigmoid_bias(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SIGMOID)->sigmoid_bias = 1;
}
static void spoil_adaptive(struct conform_case *c)
{
    params_of(c)->kind = TENON_SOFTMAX_LOG_EXP;
    params_of(c)->adaptive = 1;
}
static void spoil_hard(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_SPARSEMAX)->post = TENON_SOFTMAX_POST_HARD;
}
static void spoil_log_clip(struct conform_case *c)
{
    params_of(c)->kind = TENON_SOFTMAX_LOG_EXP;
    params_of(c)->post = TENON_SOFTMAX_POST_CLIP;
}
static void spoil_log_quant(struct conform_case *c)
{
    params_of(c)->kind = TENON_SOFTMAX_LOG_EXP;
    params_of(c)->post = TENON_SOFTMAX_POST_QUANT_U8;
    conform_slot_set(c, TENON_SOFTMAX_Y, TENON_U8, 2, (int64_t[]){3, 5});
}
static void spoil_quant_type(struct conform_case *c)
{
    params_of(c)->post = TENON_SOFTMAX_POST_QUANT_U8;
}
static void spoil_u8(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_Y, TENON_U8, 2, (int64_t[]){3, 5});
}
static void spoil_algo_kind(struct conform_case *c)
{
    kind_of(c, TENON_SOFTMAX_STABLEMAX)->algo = TENON_SOFTMAX_ONLINE;
}
static void spoil_algo_noise(struct conform_case *c)
{
    params_of(c)->noise = TENON_SOFTMAX_NOISE_GUMBEL;
    params_of(c)->algo = TENON_SOFTMAX_THREE_PASS_RELOAD;
}
static void spoil_algo_support(struct conform_case *c)
{
    params_of(c)->support = TENON_SOFTMAX_SUPPORT_TOPK;
    params_of(c)->k = 2;
    params_of(c)->algo = TENON_SOFTMAX_THREE_PASS_RECOMPUTE;
}
static void spoil_algo_mult(struct conform_case *c)
{
    params_of(c)->algo = TENON_SOFTMAX_FIXED_MAX;
    conform_slot_set(c, TENON_SOFTMAX_MULT, TENON_F32, 1, (int64_t[]){5});
}
static void spoil_algo_adaptive(struct conform_case *c)
{
    params_of(c)->adaptive = 1;
    params_of(c)->algo = TENON_SOFTMAX_ONLINE;
}
static void spoil_algo_post(struct conform_case *c)
{
    params_of(c)->post = TENON_SOFTMAX_POST_CLIP;
    params_of(c)->algo = TENON_SOFTMAX_TWO_PASS_EXT;
}

const struct conform_hostile tenon__softmax_suite_hostile[SOFTMAX_HOSTILE] = {
    {"mask and valid_len together", TENON_E_ARG, spoil_both},
    {"two_pass_ext with a scale", TENON_E_UNSUPPORTED, spoil_ext_scale},
    {"two_pass_ext with a bias", TENON_E_UNSUPPORTED, spoil_ext_bias},
    {"two_pass_ext with a temperature", TENON_E_UNSUPPORTED, spoil_ext_temp},
    {"bias of another length", TENON_E_SHAPE, spoil_bias},
    {"row_scale of another number of rows", TENON_E_SHAPE, spoil_rows},
    {"y of another shape", TENON_E_SHAPE, spoil_y},
    {"y of f16 with x of f32", TENON_E_DTYPE, spoil_y_type},
    {"leading axes that do not fold", TENON_E_UNSUPPORTED, spoil_fold},
    {"lse of sparsemax", TENON_E_ARG, spoil_lse},
    {"sumsq of scale", TENON_E_ARG, spoil_sumsq},
    {"a sink with sigmoid", TENON_E_ARG, spoil_sink},
    {"mult with sparsemax", TENON_E_ARG, spoil_mult},
    {"mult as x", TENON_E_SHAPE, spoil_mult_shape},
    {"three flags", TENON_E_SHAPE, spoil_flags_shape},
    {"tau of exp", TENON_E_ARG, spoil_tau},
    {"beta without adaptive", TENON_E_ARG, spoil_beta},
    {"a tensor of noise with generated noise", TENON_E_ARG, spoil_noise},
    {"noise from a tensor that is not there", TENON_E_ARG, spoil_no_noise},
    {"noise of another length", TENON_E_SHAPE, spoil_noise_shape},
    {"topk without k", TENON_E_ARG, spoil_no_k},
    {"stat_topk without k", TENON_E_ARG, spoil_no_stat_k},
    {"k without a support", TENON_E_ARG, spoil_k},
    {"an eps between -1 and 0", TENON_E_ARG, spoil_eps},
    {"a bias of sigmoid that is not fixed", TENON_E_ARG, spoil_sigmoid_bias},
    {"adaptive with log_exp", TENON_E_ARG, spoil_adaptive},
    {"hard with sparsemax", TENON_E_ARG, spoil_hard},
    {"clip with log_exp", TENON_E_ARG, spoil_log_clip},
    {"quant_u8 with log_exp", TENON_E_ARG, spoil_log_quant},
    {"quant_u8 to f32", TENON_E_DTYPE, spoil_quant_type},
    {"u8 without quant_u8", TENON_E_DTYPE, spoil_u8},
    {"online with stablemax", TENON_E_UNSUPPORTED, spoil_algo_kind},
    {"three_pass_reload with noise", TENON_E_UNSUPPORTED, spoil_algo_noise},
    {"three_pass_recompute with topk", TENON_E_UNSUPPORTED, spoil_algo_support},
    {"fixed_max with mult", TENON_E_UNSUPPORTED, spoil_algo_mult},
    {"online with adaptive", TENON_E_UNSUPPORTED, spoil_algo_adaptive},
    {"two_pass_ext with clip", TENON_E_UNSUPPORTED, spoil_algo_post},
};
