/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of linear. */
#include "recipe.h"

static int32_t linear_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                             struct gpu_recipe *recipe)
{
    (void)params;
    (void)tensors;
    (void)limits;
    return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, "linear: no kernel for GPUs");
}

const struct gpu_op tenon__linear_gpu = {.op = TENON_OPNUM_linear, .recipe = linear_recipe};
