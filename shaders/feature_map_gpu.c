/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of feature_map: a work-group a row, or a piece of one where the features are many. */
#include "recipe.h"

#include <math.h>
#include <stdio.h>
#include <tenon/ops/feature_map.h>

#define F(NAME)      TENON_FEATURE_MAP_##NAME
#define LAUNCHES_MAX 65536u
#define PIECE        16384u /* features of a piece, or those of one entry */

struct job {
    const struct tenon_feature_map_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows x, b, y;
    uint64_t k, kb, span, pieces;
    uint32_t local;
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *t)
{
    if (!tenon__gpu_rows(&t[F(X)], F(X), &job->x) || !tenon__gpu_rows(&t[F(B)], F(B), &job->b) ||
        !tenon__gpu_rows(&t[F(Y)], F(Y), &job->y))
        return unsupported(job, "leading axes without a common row stride are not supported");
    job->k = job->x.cols;
    job->kb = t[F(B)].dtype ? job->b.cols : job->k;
    if (job->y.cols * job->y.size > GPU_SPAN)
        return unsupported(job, "rows of 2 GiB and more are not supported");
    const uint64_t wide = job->kb > 2 * job->k ? job->kb : 2 * job->k;
    job->local = tenon__gpu_row_local(job->limits, wide, 8);
    if (job->local == 0)
        return unsupported(job, "rows of so many columns are not supported");
    job->span = job->k ? job->k : 1;
    if (job->params->kind == F(TAYLOR2) || job->params->kind == F(OUTER)) {
        const uint64_t each = PIECE / (job->kb ? job->kb : 1);
        job->span = each ? each : 1;
    }
    job->pieces = job->k ? (job->k + job->span - 1) / job->span : 1;
    return TENON_OK;
}

static void bind(struct gpu_launch *launch, const struct gpu_rows *rows, uint64_t row)
{
    if (rows->cols)
        tenon__gpu_bind(launch, rows, row, 0);
    else
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
}

/* Units from `first` on of the rows from `row` on. */
static int add_units(struct job *job, uint64_t row, uint64_t first, uint64_t *count)
{
    const struct tenon_feature_map_params *p = job->params;
    const struct gpu_rows *side[3] = {&job->x, &job->b, &job->y};
    const double k = (double)(job->k ? job->k : 1);
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "feature_map", job->local);
    uint32_t types = 0;
    if (launch == NULL)
        return 0;
    *count = tenon__gpu_grid(job->limits, *count, launch->groups);
    for (int i = 0; i < 3; i++) {
        bind(launch, side[i], row);
        types |= tenon__gpu_dtype(side[i]->dtype) << (3 * i) | tenon__gpu_shift(side[i], row, 0) << (9 + i);
    }
    gpu_launch_u32(launch, (uint32_t)first);
    gpu_launch_u32(launch, (uint32_t)job->k);
    gpu_launch_u32(launch, (uint32_t)job->kb);
    for (int i = 0; i < 3; i++)
        gpu_launch_u32(launch, (uint32_t)side[i]->stride);
    gpu_launch_u32(launch, types);
    gpu_launch_u32(launch, p->kind);
    gpu_launch_u32(launch, p->nu);
    gpu_launch_u32(launch, (uint32_t)job->span);
    gpu_launch_u32(launch, (uint32_t)job->pieces);
    gpu_launch_f32(launch, p->power);
    gpu_launch_f32(launch, p->eps);
    gpu_launch_f32(launch, (float)(1 / sqrt(sqrt(k))));
    gpu_launch_f32(launch, (float)(1 / sqrt(2 * k)));
    gpu_launch_f32(launch, (float)(1 / sqrt(k)));
    return 1;
}

static int32_t add_all(struct job *job)
{
    uint64_t most = (UINT64_C(1) << 31) / job->pieces, n;
    most = tenon__gpu_rows_fit(&job->x, most);
    most = tenon__gpu_rows_fit(&job->b, most);
    most = tenon__gpu_rows_fit(&job->y, most);
    for (uint64_t row = 0; row < job->y.rows; row += n) {
        n = job->y.rows - row < most ? job->y.rows - row : most;
        for (uint64_t first = 0, count; first < n * job->pieces; first += count) {
            count = n * job->pieces - first;
            if (job->recipe->n >= LAUNCHES_MAX)
                return unsupported(job, "y: more than 65536 launches");
            if (!add_units(job, row, first, &count))
                return TENON_E_NOMEM;
        }
    }
    return TENON_OK;
}

static int32_t map_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                          struct gpu_recipe *recipe)
{
#define NAME_(NAME, name) name,
    static const char *const names[] = {TENON_FEATURE_MAP_LIST(NAME_)};
#undef NAME_
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, t);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "feature_map_%s", names[job.params->kind]);
    if (job.y.cols)
        status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__feature_map_gpu = {.op = TENON_OPNUM_feature_map, .recipe = map_recipe};
