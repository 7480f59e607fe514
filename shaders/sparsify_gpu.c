/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of sparsify: its tensors; all else is sparsifier.c. */
#include "sparsifier.h"

#include <stdio.h>

#include "ops/sparsify_op.h"

static int32_t read_tensors(struct sparsifier_job *job, const struct tenon_tensor *tensors)
{
    const struct { int32_t index; const char *text; struct gpu_rows *rows; int list; } table[] = {
        {TENON_SPARSIFY_X, "x: leading axes without a common row stride are not supported", &job->x, 0},
        {TENON_SPARSIFY_T_ROW, "t_row: gaps are not supported", &job->t_row, 1},
        {TENON_SPARSIFY_T_COL, "t_col: gaps are not supported", &job->t_col, 1},
        {TENON_SPARSIFY_WGT, "wgt: gaps are not supported", &job->wgt, 1},
        {TENON_SPARSIFY_Y, "y: leading axes without a common row stride are not supported", &job->y, 0},
        {TENON_SPARSIFY_NNZ, "nnz: gaps are not supported", &job->nnz, 1},
        {TENON_SPARSIFY_CIDX, "cidx: leading axes without a common row stride are not supported", &job->cidx, 0},
        {TENON_SPARSIFY_CVAL, "cval: leading axes without a common row stride are not supported", &job->cval, 0},
        {TENON_SPARSIFY_FLAGS, "flags: gaps are not supported", &job->flags, 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct tenon_tensor *tensor = &tensors[table[i].index];
        int ok = table[i].list ? tenon__gpu_list(tensor, table[i].index, table[i].rows)
                               : tenon__gpu_rows(tensor, table[i].index, table[i].rows);
        if (!ok)
            return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, table[i].text);
    }
    return TENON_OK;
}

static int32_t sparsify_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                               struct gpu_recipe *recipe)
{
    static const char *const kinds[] = {"abs_gt",     "abs_ge", "gt",   "ge",         "relu",
                                        "shift_relu", "soft",   "topk", "batch_topk", "stat_topk"};
    const struct tenon_sparsify_params *p = params;
    struct sparsifier_job job = {.rule = tenon__sparsify_rule(p), .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    status = tenon__gpu_sparsifier(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "sparsify %s%s", kinds[p->kind], job.ordered ? ", in order" : "");
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__sparsify_gpu = {.op = TENON_OPNUM_sparsify, .recipe = sparsify_recipe};
