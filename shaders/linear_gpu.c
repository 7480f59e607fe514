/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear is a product (product.h). */
#include "product.h"

#include <stdio.h>
#include <tenon/ops/linear.h>

static int32_t refuse(struct gpu_recipe *recipe, const char *name)
{
    char message[160];
    snprintf(message, sizeof(message), "%s: leading axes without a common row stride are not supported", name);
    return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, message);
}

static int32_t read_tensors(struct gpu_product *job, const struct tenon_tensor *tensors)
{
    const struct { int32_t index; const char *name; struct gpu_rows *rows; } table[] = {
        {TENON_LINEAR_X, "x", &job->x},           {TENON_LINEAR_W, "w", &job->w},
        {TENON_LINEAR_W_SCALE, "w_scale", &job->scale}, {TENON_LINEAR_BIAS, "bias", &job->bias},
        {TENON_LINEAR_RESIDUAL, "residual", &job->residual}, {TENON_LINEAR_Y, "y", &job->y},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (!tenon__gpu_rows(&tensors[table[i].index], table[i].index, table[i].rows))
            return refuse(job->recipe, table[i].name);
    job->m = job->trans_x ? job->x.cols : job->x.rows;
    job->k = job->trans_w ? job->w.rows : job->w.cols;
    job->n = job->trans_w ? job->w.cols : job->w.rows;
    /* w_scale [N,K/G] has a row a w row; [N] reads as a row of N */
    if (job->scale.slot != GPU_SLOT_NONE) {
        int grouped = tensors[TENON_LINEAR_W_SCALE].rank == 2;
        if (!grouped)
            job->scale = (struct gpu_rows){
                .slot = job->scale.slot, .dtype = job->scale.dtype, .size = 4, .rows = job->n, .cols = 1, .stride = 1};
        job->group = job->scale.cols ? job->k / job->scale.cols : job->k;
    }
    job->group = job->group ? job->group : 1;
    return TENON_OK;
}

static int32_t linear_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                             struct gpu_recipe *recipe)
{
    const struct tenon_linear_params *p = params;
    struct gpu_product job = {.names = {"x", "w", "y"}, .limits = limits, .recipe = recipe, .act = p->act,
                              .alpha = p->alpha, .threshold = p->threshold,
                              .trans_x = p->trans_x != 0, .trans_w = p->trans_w != 0};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "linear tile %ux%u", tenon__gpu_product_height(&job),
             GPU_PRODUCT_COLUMNS);
    status = tenon__gpu_product(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__linear_gpu = {.op = TENON_OPNUM_linear, .recipe = linear_recipe};
