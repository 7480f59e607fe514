/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of gather_rows: copy_rows, and before it the flags become zeros. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/gather_rows.h>

static int32_t gather_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                             struct gpu_recipe *recipe)
{
    const struct tenon_gather_rows_params *p = params;
    struct gpu_row_copy job = {.divisor = (uint32_t)p->divisor, .idx_slot = TENON_GATHER_ROWS_IDX, .flags_slot = GPU_SLOT_NONE};
    int32_t status = TENON_OK;
    if (!tenon__gpu_rows(&t[TENON_GATHER_ROWS_TABLE], TENON_GATHER_ROWS_TABLE, &job.from) ||
        !tenon__gpu_rows(&t[TENON_GATHER_ROWS_Y], TENON_GATHER_ROWS_Y, &job.y))
        return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED,
                                  "leading axes without a common row stride are not supported");
    snprintf(recipe->impl, sizeof(recipe->impl), "copy_rows");
    if (t[TENON_GATHER_ROWS_FLAGS].dtype) {
        job.flags_slot = TENON_GATHER_ROWS_FLAGS;
        if (!tenon__gpu_fill(recipe, limits, TENON_GATHER_ROWS_FLAGS, 0, 4, 0))
            status = TENON_E_NOMEM;
    }
    if (status == TENON_OK)
        status = tenon__gpu_copy_rows(recipe, limits, &job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__gather_rows_gpu = {.op = TENON_OPNUM_gather_rows, .recipe = gather_recipe};
