/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of softmax_merge: the states of the rows, one an invocation, then the columns of out_o. A device whose loops
 * end after so many rounds gets the parts in pieces, each by a launch of its own, with what is known so far in the
 * scratch. */
#include "merge.h"

#include <stdio.h>
#include <tenon/ops/softmax_merge.h>

#define LOCAL 64u

/* Bits of `wanted` of softmax_merge.k, beside those of the outputs in their order. */
enum { WANT_O = 32, NORMALISED = 64, DO_TOP = 128, DO_SUMS = 256, DO_FACTORS = 512 };
enum { CARRY_BYTES = 40 };

struct job {
    const struct tenon_softmax_merge_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows state[4], out[5];
    struct gpu_merge columns; /* where dv is not 0 */
    uint64_t parts, rows, dv;
    uint64_t piece;           /* parts that a loop may go over */
    uint64_t carry;           /* byte offset in the scratch, after the factors */
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
    struct gpu_merge *columns = &job->columns;
    *columns = (struct gpu_merge){.limits = job->limits, .recipe = job->recipe, .parts = job->parts, .rows = job->rows};
    ok &= tenon__gpu_rows(&t[TENON_SOFTMAX_MERGE_O], TENON_SOFTMAX_MERGE_O, &columns->o);
    ok &= tenon__gpu_rows(&t[TENON_SOFTMAX_MERGE_OUT_O], TENON_SOFTMAX_MERGE_OUT_O, &columns->y);
    if (!ok)
        return refuse(job, "o or out_o: leading axes without a common row stride are not supported");
    job->dv = columns->dv = columns->y.slot == GPU_SLOT_NONE ? 0 : columns->y.cols;
    if (job->dv)
        job->wanted |= WANT_O | (job->params->o_normalised ? NORMALISED : 0u);
    if (job->parts * job->rows * 4 > GPU_SPAN || (job->dv && !tenon__gpu_merge_fits(columns)))
        return refuse(job, "m, o or the weights of a row's parts are beyond 2 GiB, which a GPU does not reach");
    return TENON_OK;
}

/* Loops over [begin, end) of the rows' parts, those of `what`; rows from `row` on, of which the scratch has the first
 * `done` before them. */
static int add_loops(struct job *job, uint64_t row, uint64_t done, uint64_t *count, uint32_t what, uint64_t begin,
                     uint64_t end)
{
    const uint64_t n = *count;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_merge", LOCAL);
    if (launch == NULL)
        return 0;
    const uint64_t groups = tenon__gpu_grid(job->limits, (n + LOCAL - 1) / LOCAL, launch->groups);
    *count = groups * LOCAL < n ? groups * LOCAL : n;
    for (uint32_t i = 0; i < 4; i++)
        tenon__gpu_bind(launch, &job->state[i], 0, row);
    for (uint32_t i = 0; i < 5; i++)
        tenon__gpu_bind(launch, &job->out[i], 0, row);
    const int factors = job->dv && job->parts, carries = job->piece < job->parts;
    gpu_launch_buffer(launch, factors ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, done * job->parts * GPU_MERGE_FACTOR_BYTES);
    gpu_launch_buffer(launch, carries ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE,
                      carries ? job->carry + done * CARRY_BYTES : 0);
    gpu_launch_u32(launch, (uint32_t)*count);
    gpu_launch_u32(launch, (uint32_t)job->parts);
    gpu_launch_u32(launch, (uint32_t)job->rows);
    gpu_launch_u32(launch, job->wanted | what);
    gpu_launch_u32(launch, (uint32_t)begin);
    gpu_launch_u32(launch, (uint32_t)end);
    gpu_launch_f32(launch, job->params->inv_temp);
    return 1;
}

static int add_states(struct job *job, uint64_t row, uint64_t n)
{
    static const uint32_t loops[3] = {DO_TOP, DO_SUMS, DO_FACTORS};
    for (uint64_t done = 0, count; done < n; done += count) {
        count = n - done;
        if (job->piece >= job->parts) {
            if (!add_loops(job, row + done, done, &count, DO_TOP | DO_SUMS | DO_FACTORS, 0, job->parts))
                return 0;
            continue;
        }
        for (uint32_t i = 0; i < (job->dv ? 3 : 2); i++)
            for (uint64_t p = 0; p < job->parts; p += job->piece)
                if (!add_loops(job, row + done, done, &count, loops[i], p,
                               job->parts - p < job->piece ? job->parts : p + job->piece))
                    return 0;
    }
    return 1;
}

/* Pieces of the parts: all, where three loops over them fit. */
static void choose_sizes(struct job *job, uint64_t *chunk)
{
    const uint64_t rounds = job->limits->loop_max, column = job->dv ? tenon__gpu_merge_column_bytes(&job->columns) : 0;
    job->piece = !rounds || job->parts <= rounds / 4 ? job->parts : rounds / 4;
    *chunk = job->dv ? tenon__gpu_merge_chunk(&job->columns) : job->rows;
    job->carry = job->dv ? *chunk * job->parts * GPU_MERGE_FACTOR_BYTES : 0;
    job->columns.piece = job->piece;
    job->columns.carry = job->carry;
    job->recipe->scratch = job->carry;
    if (job->piece < job->parts)
        job->recipe->scratch += *chunk * (column > CARRY_BYTES ? column : CARRY_BYTES);
}

static int32_t merge_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                            struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    uint64_t chunk;
    choose_sizes(&job, &chunk);
    snprintf(recipe->impl, sizeof(recipe->impl), "softmax_merge%s", job.dv ? " and merge_columns" : "");
    for (uint64_t row = 0; status == TENON_OK && row < job.rows; row += chunk) {
        const uint64_t n = job.rows - row < chunk ? job.rows - row : chunk;
        if (!add_states(&job, row, n) || (job.dv && !tenon__gpu_merge_columns(&job.columns, row, n)))
            return TENON_E_NOMEM;
    }
    status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__softmax_merge_gpu = {.op = TENON_OPNUM_softmax_merge, .recipe = merge_recipe};
