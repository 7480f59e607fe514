/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Faults that are made in a descriptor: a tensor or an attribute that is as if it were not given. */
#include <string.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>
#include "faulty.h"

#define fault tenon__faulty_fault

/* Options of the family that are as if they were not given. */
static void spoil_family(struct tenon_tensor *t, struct tenon_softmax_params *p)
{
    if (fault == F_no_gumbel && p->noise == TENON_SOFTMAX_NOISE_GUMBEL)
        p->noise_amp = 0;
    if (fault == F_no_sample && p->noise == TENON_SOFTMAX_NOISE_GUMBEL)
        p->sample++;
    if (fault == F_no_normals && p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL)
        p->noise_amp = 0;
    if (fault == F_no_noise && t[TENON_SOFTMAX_NOISE].dtype)
        p->noise_amp = 0;
    if ((fault == F_no_topk && p->support == TENON_SOFTMAX_SUPPORT_TOPK) ||
        (fault == F_no_stat_topk && p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK))
        p->support = p->k = 0;
    if (fault == F_no_adaptive && p->adaptive)
        p->adaptive_gate = 1e30f;
    if (fault == F_no_clip && p->post == TENON_SOFTMAX_POST_CLIP)
        p->post = TENON_SOFTMAX_POST_NONE;
    if (fault == F_no_hard && p->post == TENON_SOFTMAX_POST_HARD)
        p->post = TENON_SOFTMAX_POST_NONE;
    if (fault == F_qscale_off)
        p->qscale *= 1.02f;
    if (fault == F_no_eps)
        p->eps = 0;
    if (fault == F_no_sigmoid_bias && p->sigmoid_rule == TENON_SOFTMAX_BIAS_FIXED)
        p->sigmoid_bias = 0;
    if (fault == F_softpick_relu && p->kind == TENON_SOFTMAX_SOFTPICK)
        p->kind = TENON_SOFTMAX_RELU_NORM;
    if (fault == F_entmax_sparsemax && p->kind == TENON_SOFTMAX_ENTMAX15)
        p->kind = TENON_SOFTMAX_SPARSEMAX;
}

void tenon__faulty_softmax(struct tenon_tensor *t, struct tenon_softmax_params *p)
{
    static const int dropped[FAULTS + 1] = {[F_no_mask] = TENON_SOFTMAX_MASK,
                                            [F_no_valid_len] = TENON_SOFTMAX_VALID_LEN,
                                            [F_no_sink] = TENON_SOFTMAX_SINK,
                                            [F_no_row_scale] = TENON_SOFTMAX_ROW_SCALE,
                                            [F_no_bias] = TENON_SOFTMAX_BIAS,
                                            [F_no_mult] = TENON_SOFTMAX_MULT};
    struct tenon_tensor *x = &t[TENON_SOFTMAX_X];
    spoil_family(t, p);
    if (dropped[fault])
        memset(&t[dropped[fault]], 0, sizeof(*t));
    if (fault == F_no_stride && x->rank == 2)
        x->stride[0] = x->dim[1];
    if (fault == F_no_log && p->kind == TENON_SOFTMAX_LOG_EXP)
        p->kind = TENON_SOFTMAX_EXP;
    if (fault == F_no_temperature)
        p->inv_temp = 1;
    if (fault == F_no_scale)
        p->scale = 1;
    if (fault == F_empty_zero)
        p->empty_row = TENON_SOFTMAX_EMPTY_ZERO;
}

void tenon__faulty_linear(struct tenon_tensor *t, struct tenon_linear_params *p)
{
    if (fault == F_no_act)
        p->act = TENON_ACT_IDENTITY;
    if (fault == F_no_alpha)
        p->alpha = 0;
    if (fault == F_no_threshold)
        p->threshold = 0;
    if (fault == F_no_residual)
        memset(&t[TENON_LINEAR_RESIDUAL], 0, sizeof(*t));
    if (fault == F_no_linear_bias)
        memset(&t[TENON_LINEAR_BIAS], 0, sizeof(*t));
}
