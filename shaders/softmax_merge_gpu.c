/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of softmax_merge: the states of the rows, one an invocation, then the columns of out_o. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/softmax_merge.h>

#define LOCAL         64u
#define PARTS_MAX     20000u /* gone over three times; some devices stop after 65535 rounds of an invocation's loops */
#define FACTORS_BYTES (UINT64_C(64) << 20) /* of scratch, which is used again for the next rows */

/* Bits of `wanted` of softmax_merge.k, beside those of the outputs in their order. */
enum { WANT_O = 32, NORMALISED = 64 };

struct job {
    const struct tenon_softmax_merge_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows state[4], out[5], o, y;
    uint64_t parts, rows, dv;
    uint32_t wanted;
};

static int32_t refuse(const struct job *job, const char *message)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *t)
{
    const struct tenon_tensor *m = &t[TENON_SOFTMAX_MERGE_M];
    job->parts = (uint64_t)m->dim[0];
    job->rows = 1;
    for (uint32_t i = 1; i < m->rank; i++)
        job->rows *= (uint64_t)m->dim[i];
    if (job->rows == 0) /* nothing to launch, nor to fold */
        return TENON_OK;
    int ok = 1;
    for (uint32_t i = 0; i < 4; i++)
        ok &= tenon__gpu_list(&t[TENON_SOFTMAX_MERGE_M + i], (int32_t)(TENON_SOFTMAX_MERGE_M + i), &job->state[i]);
    for (uint32_t i = 0; i < 5; i++) {
        const uint32_t at = TENON_SOFTMAX_MERGE_OUT_M + i;
        ok &= tenon__gpu_list(&t[at], (int32_t)at, &job->out[i]);
        job->wanted |= t[at].dtype ? 1u << i : 0u;
    }
    ok &= tenon__gpu_rows(&t[TENON_SOFTMAX_MERGE_O], TENON_SOFTMAX_MERGE_O, &job->o);
    ok &= tenon__gpu_rows(&t[TENON_SOFTMAX_MERGE_OUT_O], TENON_SOFTMAX_MERGE_OUT_O, &job->y);
    if (!ok)
        return refuse(job, "o or out_o: leading axes without a common row stride are not supported");
    job->dv = job->y.slot == GPU_SLOT_NONE ? 0 : job->y.cols;
    if (job->dv)
        job->wanted |= WANT_O | (job->params->o_normalised ? NORMALISED : 0u);
    if (job->parts > PARTS_MAX)
        return refuse(job, "m has more than 20000 parts, which GPUs do not merge");
    if (job->parts * job->rows * 4 > GPU_SPAN ||
        (job->dv && (job->parts * job->rows * job->o.stride + job->dv) * job->o.size > GPU_SPAN))
        return refuse(job, "m or o is larger than 2 GiB: a GPU reaches all parts of a row from one address");
    return TENON_OK;
}

static int add_states(struct job *job, uint64_t row, uint64_t n)
{
    for (uint64_t done = 0; done < n;) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_merge", LOCAL);
        if (launch == NULL)
            return 0;
        const uint64_t groups = tenon__gpu_grid(job->limits, (n - done + LOCAL - 1) / LOCAL, launch->groups);
        const uint64_t count = groups * LOCAL < n - done ? groups * LOCAL : n - done;
        for (uint32_t i = 0; i < 4; i++)
            tenon__gpu_bind(launch, &job->state[i], 0, row + done);
        for (uint32_t i = 0; i < 5; i++)
            tenon__gpu_bind(launch, &job->out[i], 0, row + done);
        gpu_launch_buffer(launch, job->dv && job->parts ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, done * job->parts * 8);
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, (uint32_t)job->parts);
        gpu_launch_u32(launch, (uint32_t)job->rows);
        gpu_launch_u32(launch, job->wanted);
        gpu_launch_f32(launch, job->params->inv_temp);
        done += count;
    }
    return 1;
}

static int add_columns(struct job *job, uint64_t row, uint64_t n)
{
    const uint64_t width = job->limits->vector ? job->limits->vector : 1, each = (job->dv + width - 1) / width;
    for (uint64_t done = 0; done < n;) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_merge_o", LOCAL);
        if (launch == NULL)
            return 0;
        /* Rows whose columns the largest grid holds, and whose number an invocation can count to. */
        uint64_t most = UINT64_C(0xffffffff) / each < n - done ? UINT64_C(0xffffffff) / each : n - done;
        uint64_t groups = (most * each + LOCAL - 1) / LOCAL;
        const uint64_t got = tenon__gpu_grid(job->limits, groups, launch->groups);
        uint64_t count = got * LOCAL / each < most ? got * LOCAL / each : most;
        tenon__gpu_bind(launch, &job->o, row + done, 0);
        gpu_launch_buffer(launch, job->parts ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, done * job->parts * 8);
        tenon__gpu_bind(launch, &job->y, row + done, 0);
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, (uint32_t)job->parts);
        gpu_launch_u32(launch, (uint32_t)job->dv);
        gpu_launch_u32(launch, (uint32_t)job->o.stride);
        gpu_launch_u32(launch, (uint32_t)(job->o.stride * job->rows));
        gpu_launch_u32(launch, (uint32_t)job->y.stride);
        gpu_launch_u32(launch, tenon__gpu_dtype(job->o.dtype) | tenon__gpu_dtype(job->y.dtype) << 2 |
                                   tenon__gpu_shift(&job->o, row + done, 0) << 4 |
                                   tenon__gpu_shift(&job->y, row + done, 0) << 5);
        done += count;
    }
    return 1;
}

static int32_t merge_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                            struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    uint64_t chunk = job.rows;
    if (job.dv) {
        chunk = job.parts ? FACTORS_BYTES / 8 / job.parts : job.rows; /* at least 279 rows */
        chunk = tenon__gpu_rows_fit(&job.y, chunk < job.rows ? chunk : job.rows);
        recipe->scratch = chunk * job.parts * 8;
    }
    snprintf(recipe->impl, sizeof(recipe->impl), "softmax_merge%s", job.dv ? " and softmax_merge_o" : "");
    for (uint64_t row = 0; status == TENON_OK && row < job.rows; row += chunk) {
        const uint64_t n = job.rows - row < chunk ? job.rows - row : chunk;
        if (!add_states(&job, row, n) || (job.dv && !add_columns(&job, row, n)))
            return TENON_E_NOMEM;
    }
    status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__softmax_merge_gpu = {.op = TENON_OPNUM_softmax_merge, .recipe = merge_recipe};
