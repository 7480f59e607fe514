/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of gated_norm: importance; then for some rows at a time the terms of b into the scratch, where there are
 * two, and y. Both are one kernel, a work-group a group of columns. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/gated_norm.h>

#define G(NAME)      TENON_GATED_NORM_##NAME
#define LAUNCHES_MAX 65536u
#define SCRATCH_MAX  (UINT64_C(1) << 28)

/* lib/gate.h */
enum { GATE_FIRST = 0x10, REST = 0x20, TANH = 0x40, TERMS = 0x80, WEIGHT_ALL = 0x100, BIAS_ALL = 0x200 };

struct job {
    const struct tenon_gated_norm_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows side[G(N_TENSORS)];
    struct gpu_rows terms; /* in the scratch */
    uint64_t rows, cols, group;
    uint32_t local, act;
};

/* Which tensors a launch takes for x, gate, weight, bias, residual, y and sum; N_TENSORS: none. */
struct half {
    uint32_t x, gate, weight, bias, residual, y, sum;
    uint32_t options;
    int to_terms;
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *t)
{
    for (uint32_t i = 0; i < G(N_TENSORS); i++) {
        const int is_list = i == G(IMPORTANCE) || i == G(WEIGHT) || i == G(BIAS) || i == G(WEIGHT_B) || i == G(BIAS_B);
        const int fits = is_list ? tenon__gpu_list(&t[i], (int32_t)i, &job->side[i])
                                 : tenon__gpu_rows(&t[i], (int32_t)i, &job->side[i]);
        if (!fits)
            return unsupported(job, "leading axes without a common row stride are not supported");
    }
    job->act = job->params->act; /* numbered alike */
    job->rows = job->side[G(X)].rows;
    job->cols = job->side[G(X)].cols;
    job->group = job->params->group ? (uint64_t)job->params->group : job->cols;
    if (job->cols * 4 > GPU_SPAN)
        return unsupported(job, "rows of 2 GiB and more are not supported");
    job->local = tenon__gpu_row_local(job->limits, job->group, 4);
    if (job->local == 0)
        return unsupported(job, "groups of so many columns are not supported");
    job->terms = (struct gpu_rows){.slot = GPU_SLOT_SCRATCH, .dtype = TENON_F32, .size = 4, .rows = job->rows,
                                   .cols = job->cols, .stride = job->cols};
    return TENON_OK;
}

static const struct gpu_rows *side_of(const struct job *job, uint32_t i)
{
    static const struct gpu_rows none = {.slot = GPU_SLOT_NONE, .size = 4};
    return i == G(N_TENSORS) ? &none : &job->side[i];
}

/* Units first..first + count of n rows from `row` on. */
static int add_units(struct job *job, const struct half *half, uint64_t row, uint64_t first, uint64_t *count)
{
    const uint32_t order[7] = {half->x, half->gate, half->weight, half->bias, half->residual, half->y, half->sum};
    const struct gpu_rows *side[7];
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "gated_norm", job->local);
    uint32_t types = 0, bit = 21;
    if (launch == NULL)
        return 0;
    *count = tenon__gpu_grid(job->limits, *count, launch->groups);
    for (int i = 0; i < 7; i++) {
        const int is_list = i == 2 || i == 3;
        side[i] = i == 5 && half->to_terms ? &job->terms : side_of(job, order[i]);
        const uint64_t from = is_list || side[i]->slot == GPU_SLOT_SCRATCH ? 0 : row;
        if (i == 5)
            gpu_launch_buffer(launch, half->options & TERMS ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, 0);
        tenon__gpu_bind(launch, side[i], from, 0);
        types |= tenon__gpu_dtype(side[i]->dtype) << (3 * i);
        if (!is_list)
            types |= tenon__gpu_shift(side[i], from, 0) << bit++;
    }
    gpu_launch_u32(launch, (uint32_t)first);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)job->group);
    for (int i = 0; i < 7; i++)
        if (i != 2 && i != 3)
            gpu_launch_u32(launch, (uint32_t)side[i]->stride);
    gpu_launch_u32(launch, types);
    gpu_launch_u32(launch, half->options | (side[2]->cols == job->cols ? WEIGHT_ALL : 0u) |
                               (side[3]->cols == job->cols ? BIAS_ALL : 0u) | job->act << 2);
    gpu_launch_f32(launch, job->params->eps);
    gpu_launch_f32(launch, job->params->weight_offset);
    return 1;
}

static int32_t add_half(struct job *job, const struct half *half, uint64_t row, uint64_t rows)
{
    const uint64_t units = rows * (job->cols / job->group);
    for (uint64_t first = 0, n; first < units; first += n) {
        n = units - first;
        if (job->recipe->n >= LAUNCHES_MAX)
            return unsupported(job, "y: more than 65536 launches");
        if (!add_units(job, half, row, first, &n))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}

static int32_t add_all(struct job *job)
{
    const struct tenon_gated_norm_params *p = job->params;
    const int first = p->order == G(GATE_THEN_NORM), two = p->combine != G(MUL);
    const struct half of_b = {
        .x = G(B), .gate = p->combine == G(DUAL) ? G(GATE_B) : G(GATE), .weight = G(WEIGHT_B), .bias = G(BIAS_B),
        .residual = G(N_TENSORS), .y = G(N_TENSORS), .sum = G(N_TENSORS), .to_terms = 1,
        .options = (p->norm_b ? p->norm : 0u) | (p->combine == G(LERP) ? REST : 0u) | (p->act_b ? TANH : 0u)};
    const struct half of_x = {
        .x = G(X), .gate = G(GATE), .weight = G(WEIGHT), .bias = G(BIAS), .residual = G(RESIDUAL), .y = G(Y),
        .sum = G(SUM), .options = p->norm | (first ? GATE_FIRST : 0u) | (two ? TERMS : 0u)};
    static const uint32_t wide[] = {G(X), G(GATE), G(RESIDUAL), G(B), G(GATE_B), G(Y), G(SUM)};
    uint64_t most = (UINT64_C(1) << 31) / (job->cols / job->group), n;
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
        most = tenon__gpu_rows_fit(&job->side[wide[i]], most);
    if (two) {
        const uint64_t fit = SCRATCH_MAX / 4 / job->cols;
        most = most < fit ? most : fit ? fit : 1;
        job->recipe->scratch = (most < job->rows ? most : job->rows) * job->cols * 4;
    }
    for (uint64_t row = 0; row < job->rows; row += n) {
        n = job->rows - row < most ? job->rows - row : most;
        int32_t status = two ? add_half(job, &of_b, row, n) : TENON_OK;
        if (!status)
            status = add_half(job, &of_x, row, n);
        if (status)
            return status;
    }
    return TENON_OK;
}

static int32_t add_importance(struct job *job)
{
    const struct gpu_rows *gate = &job->side[G(GATE)];
    const uint32_t local = tenon__gpu_row_local(job->limits, job->cols, 1);
    float shrink = 1.0f;
    uint64_t most = UINT64_C(1) << 28, n;
    most = tenon__gpu_rows_fit(gate, most);
    if (local == 0)
        return unsupported(job, "importance of so many columns is not supported");
    while ((double)shrink * (double)job->cols > 1)
        shrink *= 0.5f;
    for (uint64_t row = 0, count; row < job->rows; row += n) {
        n = job->rows - row < most ? job->rows - row : most;
        for (uint64_t first = 0; first < n; first += count) {
            struct gpu_launch *launch = gpu_recipe_add(job->recipe, "gated_norm_mean", local);
            if (launch == NULL)
                return TENON_E_NOMEM;
            count = tenon__gpu_grid(job->limits, n - first, launch->groups);
            if (job->cols)
                tenon__gpu_bind(launch, gate, row, 0);
            else
                gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
            tenon__gpu_bind(launch, &job->side[G(IMPORTANCE)], 0, row);
            gpu_launch_u32(launch, (uint32_t)first);
            gpu_launch_u32(launch, (uint32_t)job->cols);
            gpu_launch_u32(launch, (uint32_t)gate->stride);
            gpu_launch_u32(launch, tenon__gpu_dtype(gate->dtype));
            gpu_launch_u32(launch, tenon__gpu_shift(gate, row, 0));
            gpu_launch_u32(launch, job->act << 2);
            gpu_launch_f32(launch, shrink);
        }
    }
    return TENON_OK;
}

static int32_t norm_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                           struct gpu_recipe *recipe)
{
    static const char *const names[] = {"none", "rms", "layer", "l2"};
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, t);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "gated_norm_%s", names[job.params->norm]);
    if (job.rows && t[G(IMPORTANCE)].dtype)
        status = add_importance(&job);
    if (status == TENON_OK && job.rows && job.cols)
        status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__gated_norm_gpu = {.op = TENON_OPNUM_gated_norm, .recipe = norm_recipe};
