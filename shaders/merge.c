/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "merge.h"

#define LOCAL         64u
#define FACTORS_BYTES (UINT64_C(64) << 20) /* of scratch, which is used again for the next rows */
enum { COLUMN_BYTES = 16 };                /* between the launches of a column */

static uint64_t vectors_of(const struct gpu_merge *job)
{
    const uint64_t width = job->limits->vector ? job->limits->vector : 1;
    return (job->dv + width - 1) / width;
}

uint64_t tenon__gpu_merge_column_bytes(const struct gpu_merge *job)
{
    return vectors_of(job) * (job->limits->vector ? job->limits->vector : 1) * COLUMN_BYTES;
}

int tenon__gpu_merge_fits(const struct gpu_merge *job)
{
    return job->parts * GPU_MERGE_FACTOR_BYTES <= GPU_SPAN &&
           (job->parts * job->rows * job->o.stride + job->dv) * job->o.size <= GPU_SPAN;
}

uint64_t tenon__gpu_merge_chunk(const struct gpu_merge *job)
{
    const uint64_t most = job->parts ? FACTORS_BYTES / GPU_MERGE_FACTOR_BYTES / job->parts : job->rows;
    return tenon__gpu_rows_fit(&job->y, most < job->rows ? most ? most : 1 : job->rows);
}

/* Columns of `count` rows, whose grid is `groups`, over [begin, end) of their parts. */
static int add_sums(const struct gpu_merge *job, uint64_t row, uint64_t done, uint64_t count,
                    const uint32_t groups[3], uint64_t begin, uint64_t end)
{
    const int carries = job->piece < job->parts;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "merge_columns", LOCAL);
    if (launch == NULL)
        return 0;
    for (uint32_t i = 0; i < 3; i++)
        launch->groups[i] = groups[i];
    tenon__gpu_bind(launch, &job->o, row, 0);
    gpu_launch_buffer(launch, job->parts ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE,
                      job->parts ? job->factors + done * job->parts * GPU_MERGE_FACTOR_BYTES : 0);
    tenon__gpu_bind(launch, &job->y, row, 0);
    gpu_launch_buffer(launch, carries ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, carries ? job->carry : 0);
    gpu_launch_u32(launch, (uint32_t)count);
    gpu_launch_u32(launch, (uint32_t)job->parts);
    gpu_launch_u32(launch, (uint32_t)job->dv);
    gpu_launch_u32(launch, (uint32_t)job->o.stride);
    gpu_launch_u32(launch, (uint32_t)(job->o.stride * job->rows));
    gpu_launch_u32(launch, (uint32_t)job->y.stride);
    gpu_launch_u32(launch, tenon__gpu_dtype(job->o.dtype) | tenon__gpu_dtype(job->y.dtype) << 2 |
                               tenon__gpu_shift(&job->o, row, 0) << 4 | tenon__gpu_shift(&job->y, row, 0) << 5);
    gpu_launch_u32(launch, (uint32_t)begin);
    gpu_launch_u32(launch, (uint32_t)end);
    return 1;
}

int tenon__gpu_merge_columns(const struct gpu_merge *job, uint64_t row, uint64_t n)
{
    const uint64_t each = vectors_of(job);
    for (uint64_t done = 0, count; done < n; done += count) {
        /* Rows whose columns the largest grid holds, and whose number an invocation can count to. */
        const uint64_t most = UINT64_C(0xffffffff) / each < n - done ? UINT64_C(0xffffffff) / each : n - done;
        uint32_t groups[3];
        const uint64_t got = tenon__gpu_grid(job->limits, (most * each + LOCAL - 1) / LOCAL, groups);
        count = got * LOCAL / each < most ? got * LOCAL / each : most;
        uint64_t p = 0;
        do {
            const uint64_t end = job->parts - p < job->piece ? job->parts : p + job->piece;
            if (!add_sums(job, row + done, done, count, groups, p, end))
                return 0;
            p = end;
        } while (p < job->parts);
    }
    return 1;
}
