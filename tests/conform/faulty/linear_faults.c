/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a linear may do wrong. */
#include <tenon/ops/linear.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_linear_params, statement)

SPOIL(no_act, p->act = TENON_ACT_IDENTITY)
SPOIL(no_alpha, p->alpha = 0)
SPOIL(no_threshold, p->threshold = 0)

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, TENON_LINEAR_RESIDUAL, TENON_LINEAR_Y);
}

static const struct faulty_fault faults[] = {
    {"no_act", "the activation is ignored", "y[", .spoil = no_act},
    {"no_alpha", "alpha is ignored", "y[", .spoil = no_alpha},
    {"no_threshold", "the threshold of fatrelu is ignored", "fatrelu", .spoil = no_threshold},
    {"no_residual", "the residual is ignored", "+residual", .drop = TENON_LINEAR_RESIDUAL},
    {"no_bias", "the bias is ignored", "+bias", .drop = TENON_LINEAR_BIAS},
    {"in_place", "claims in place, and reads the residual after writing y", "in place", .before = in_place},
};

const struct faulty_op tenon__faulty_linear = {faults, sizeof(faults) / sizeof(faults[0])};
