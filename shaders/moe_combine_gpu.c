/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of moe_combine: some tokens each, so that nothing is further than GPU_SPAN from its buffer argument. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/moe_combine.h>

#define LOCAL        64u
#define LAUNCHES_MAX 65536u

struct job {
    const struct tenon_moe_combine_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows side[TENON_MOE_COMBINE_N_TENSORS]; /* those that have rows of Do */
    uint64_t tokens, k, cols, each;
    int flags;
};

static const uint32_t wide[] = {TENON_MOE_COMBINE_ZP, TENON_MOE_COMBINE_SHARED, TENON_MOE_COMBINE_RESIDUAL,
                                TENON_MOE_COMBINE_Y};
#define WIDE (sizeof(wide) / sizeof(wide[0]))

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *t)
{
    const struct tenon_tensor *pos = &t[TENON_MOE_COMBINE_POS];
    for (size_t i = 0; i < WIDE; i++)
        if (!tenon__gpu_rows(&t[wide[i]], (int32_t)wide[i], &job->side[wide[i]]))
            return unsupported(job, "leading axes without a common row stride are not supported");
    const struct gpu_rows *zp = &job->side[TENON_MOE_COMBINE_ZP];
    job->tokens = job->side[TENON_MOE_COMBINE_Y].rows;
    job->cols = job->side[TENON_MOE_COMBINE_Y].cols;
    job->k = (uint64_t)pos->dim[pos->rank - 1];
    job->flags = t[TENON_MOE_COMBINE_FLAGS].dtype != 0;
    const uint64_t vector = job->limits->vector ? job->limits->vector : 1;
    job->each = job->cols ? (job->cols + vector - 1) / vector : 1;
    if (tenon__gpu_rows_fit(zp, zp->rows) < zp->rows || job->cols * 4 > GPU_SPAN)
        return unsupported(job, "zp of 2 GiB and more is not supported");
    if (job->k * 4 > GPU_SPAN || (job->limits->loop_max && job->k > job->limits->loop_max / 2))
        return unsupported(job, "pos: so many slots of a token are not supported");
    return TENON_OK;
}

static void bind(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t row)
{
    if (job->side[i].slot != GPU_SLOT_NONE && job->cols && job->side[i].rows)
        tenon__gpu_bind(launch, &job->side[i], row, 0);
    else
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
}

static int add_tokens(struct job *job, uint64_t row, uint64_t n)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "moe_combine", LOCAL);
    uint32_t options = job->params->skip_zero << 16 | (uint32_t)job->flags << 17;
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, (n * job->each + LOCAL - 1) / LOCAL, launch->groups);
    bind(job, launch, TENON_MOE_COMBINE_ZP, 0);
    gpu_launch_buffer(launch, job->k ? TENON_MOE_COMBINE_POS : GPU_SLOT_NONE, row * job->k * 4);
    gpu_launch_buffer(launch, job->k ? TENON_MOE_COMBINE_W : GPU_SLOT_NONE, row * job->k * 4);
    bind(job, launch, TENON_MOE_COMBINE_SHARED, row);
    bind(job, launch, TENON_MOE_COMBINE_RESIDUAL, row);
    bind(job, launch, TENON_MOE_COMBINE_Y, row);
    gpu_launch_buffer(launch, job->flags ? TENON_MOE_COMBINE_FLAGS : GPU_SLOT_NONE, 0);
    gpu_launch_u32(launch, (uint32_t)n);
    gpu_launch_u32(launch, (uint32_t)job->k);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)job->side[TENON_MOE_COMBINE_ZP].rows);
    for (size_t i = 0; i < WIDE; i++) {
        const struct gpu_rows *side = &job->side[wide[i]];
        gpu_launch_u32(launch, (uint32_t)side->stride);
        options |= tenon__gpu_dtype(side->dtype) << (3 * i) | tenon__gpu_shift(side, i ? row : 0, 0) << (12 + i);
    }
    gpu_launch_u32(launch, options);
    gpu_launch_f32(launch, job->params->shared_scale);
    return 1;
}

static int32_t add_all(struct job *job)
{
    /* Elements that an invocation can count to, and the grid of every device holds. */
    uint64_t most = (UINT64_C(1) << 28) / job->each, n;
    most = most ? most : 1;
    if (job->k && most > GPU_SPAN / 4 / job->k)
        most = GPU_SPAN / 4 / job->k;
    for (size_t i = 1; i < WIDE; i++)
        most = tenon__gpu_rows_fit(&job->side[wide[i]], most);
    if (job->flags && !tenon__gpu_fill(job->recipe, job->limits, TENON_MOE_COMBINE_FLAGS, 0, 4, 0))
        return TENON_E_NOMEM;
    for (uint64_t row = 0; row < job->tokens; row += n) {
        n = job->tokens - row < most ? job->tokens - row : most;
        if (job->recipe->n >= LAUNCHES_MAX)
            return unsupported(job, "y: more than 65536 launches");
        if (!add_tokens(job, row, n))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}

static int32_t combine_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                              struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, t);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "moe_combine");
    status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__moe_combine_gpu = {.op = TENON_OPNUM_moe_combine, .recipe = combine_recipe};
