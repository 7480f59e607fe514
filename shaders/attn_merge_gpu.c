/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of attn_merge: the weights of the rows' parts, one row an invocation, then the columns of o. */
#include "merge.h"

#include <stdio.h>
#include <tenon/ops/attn_merge.h>

#define LOCAL 64u

/* Bits of `options` of attn_merge.k, beside the kind. */
enum { DO_FACTORS = 4, HAS_SINK = 8, WANT_LNZ = 16 };

struct job {
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows lnz_parts, counts, sink, lnz;
    struct gpu_merge columns;
    uint64_t heads;
    uint32_t options;
};

static int32_t refuse(const struct job *job, const char *message)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static int32_t read_tensors(struct job *job, uint32_t kind, const struct tenon_tensor *t)
{
    const struct tenon_tensor *o = &t[TENON_ATTN_MERGE_O_PARTS];
    struct gpu_merge *columns = &job->columns;
    *columns = (struct gpu_merge){.limits = job->limits, .recipe = job->recipe, .rows = 1};
    columns->parts = columns->piece = (uint64_t)o->dim[0];
    columns->dv = (uint64_t)o->dim[o->rank - 1];
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        columns->rows *= (uint64_t)o->dim[i];
    if (columns->rows == 0) /* nothing to launch, nor to fold */
        return TENON_OK;
    job->heads = o->rank > 2 ? (uint64_t)o->dim[o->rank - 2] : 1;
    int ok = tenon__gpu_list(&t[TENON_ATTN_MERGE_LNZ_PARTS], TENON_ATTN_MERGE_LNZ_PARTS, &job->lnz_parts);
    ok &= tenon__gpu_list(&t[TENON_ATTN_MERGE_COUNTS], TENON_ATTN_MERGE_COUNTS, &job->counts);
    ok &= tenon__gpu_list(&t[TENON_ATTN_MERGE_SINK], TENON_ATTN_MERGE_SINK, &job->sink);
    ok &= tenon__gpu_list(&t[TENON_ATTN_MERGE_LNZ], TENON_ATTN_MERGE_LNZ, &job->lnz);
    ok &= tenon__gpu_rows(o, TENON_ATTN_MERGE_O_PARTS, &columns->o);
    ok &= tenon__gpu_rows(&t[TENON_ATTN_MERGE_O], TENON_ATTN_MERGE_O, &columns->y);
    if (!ok)
        return refuse(job, "o_parts or o: leading axes without a common row stride are not supported");
    if ((kind != TENON_ATTN_MERGE_BY_SUM && columns->parts * columns->rows * 4 > GPU_SPAN) ||
        (columns->dv && !tenon__gpu_merge_fits(columns)))
        return refuse(job, "lnz_parts, counts or o_parts are beyond 2 GiB, which a GPU does not reach");
    job->options = kind | (columns->dv ? DO_FACTORS : 0u) | (t[TENON_ATTN_MERGE_SINK].dtype ? HAS_SINK : 0u) |
                   (t[TENON_ATTN_MERGE_LNZ].dtype ? WANT_LNZ : 0u);
    return TENON_OK;
}

static int add_weights(struct job *job, uint64_t row, uint64_t n)
{
    const uint64_t parts = job->columns.parts;
    for (uint64_t done = 0, count; done < n; done += count) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "attn_merge", LOCAL);
        if (launch == NULL)
            return 0;
        const uint64_t groups = tenon__gpu_grid(job->limits, (n - done + LOCAL - 1) / LOCAL, launch->groups);
        count = groups * LOCAL < n - done ? groups * LOCAL : n - done;
        tenon__gpu_bind(launch, &job->lnz_parts, 0, row + done);
        tenon__gpu_bind(launch, &job->counts, 0, row + done);
        tenon__gpu_bind(launch, &job->sink, 0, 0);
        tenon__gpu_bind(launch, &job->lnz, 0, row + done);
        const int factors = job->columns.dv && parts;
        gpu_launch_buffer(launch, factors ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE,
                          factors ? done * parts * GPU_MERGE_FACTOR_BYTES : 0);
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, (uint32_t)parts);
        gpu_launch_u32(launch, (uint32_t)job->columns.rows);
        gpu_launch_u32(launch, (uint32_t)job->heads);
        gpu_launch_u32(launch, (uint32_t)((row + done) % job->heads));
        gpu_launch_u32(launch, job->options);
    }
    return 1;
}

static int32_t attn_merge_recipe(const void *params, const struct tenon_tensor *tensors,
                                 const struct gpu_limits *limits, struct gpu_recipe *recipe)
{
    const struct tenon_attn_merge_params *p = params;
    struct job job = {.limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, p->kind, tensors);
    if (status != TENON_OK)
        return status;
    const struct gpu_merge *columns = &job.columns;
    const uint64_t chunk = columns->dv ? tenon__gpu_merge_chunk(columns) : columns->rows;
    recipe->scratch = columns->dv ? chunk * columns->parts * GPU_MERGE_FACTOR_BYTES : 0;
    snprintf(recipe->impl, sizeof(recipe->impl), "attn_merge%s", columns->dv ? " and merge_columns" : "");
    const int weights = columns->dv || tensors[TENON_ATTN_MERGE_LNZ].dtype;
    for (uint64_t row = 0; row < columns->rows; row += chunk) {
        const uint64_t n = columns->rows - row < chunk ? columns->rows - row : chunk;
        if ((weights && !add_weights(&job, row, n)) || (columns->dv && !tenon__gpu_merge_columns(columns, row, n)))
            return TENON_E_NOMEM;
    }
    status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__attn_merge_gpu = {.op = TENON_OPNUM_attn_merge, .recipe = attn_merge_recipe};
