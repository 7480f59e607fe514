/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of moe_route's counts and statistics, and of what experts choose. */
#include "moe_route_gpu.h"

static int has(const struct job *job, uint32_t i)
{
    return job->t[i].slot != GPU_SLOT_NONE;
}

static uint64_t tiles_of(const struct job *job)
{
    return (job->tokens + TILE - 1) / TILE;
}

static uint64_t round_up(uint64_t n)
{
    return (n + 255) & ~UINT64_C(255);
}

/* What is there for all tokens. */
void tenon__route_fixed(const struct job *job, struct chunk *at)
{
    const uint64_t wide = (job->experts > job->columns ? job->experts : job->columns) * 4 + 4;
    at->flags = 0; /* and as much for the flags of levels, which nobody sees */
    at->count1 = 256;
    at->count_k = at->count1 + round_up(wide);
    at->cuts = at->count_k + round_up(wide);
    at->terms = at->cuts + round_up(2 * wide);
    at->sums = at->terms + round_up(wide);
    at->start = at->sums + (job->losses ? round_up((2 * job->columns + 7) * 4 * tiles_of(job)) : 0);
}

/* The output, or room of our own. */
void tenon__route_bind_counts(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t scratch)
{
    if (has(job, i))
        tenon__gpu_bind(launch, &job->t[i], 0, 0);
    else
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, scratch);
}

int tenon__route_add_clears(struct job *job, const struct chunk *at)
{
    const struct {
        uint32_t tensor;
        uint64_t scratch, count;
    } table[] = {
        {TENON_MOE_ROUTE_FLAGS, at->flags, 4},
        {TENON_MOE_ROUTE_CNT1, at->count1, job->experts},
        {TENON_MOE_ROUTE_CNT_K, at->count_k, job->experts},
    };
    for (uint32_t i = 0; i < 3; i++) {
        if (!has(job, table[i].tensor) && !job->losses)
            continue;
        struct gpu_launch *launch = tenon__route_add(job, "moe_route_clear", table[i].count);
        if (launch == NULL)
            return 0;
        tenon__route_bind_counts(job, launch, table[i].tensor, table[i].scratch);
        gpu_launch_u32(launch, (uint32_t)table[i].count);
    }
    return 1;
}

/* What the experts took, from their sorted lists. */
int tenon__route_add_choice(struct job *job, const struct chunk *at)
{
    const struct region *r = &at->rows;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_choice", r->columns * (job->params->cap + UINT64_C(1)));
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, r->at);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->cuts);
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_SEL], 0, 0);
    tenon__gpu_bind(launch, &job->t[TENON_MOE_ROUTE_G], 0, 0);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)r->slots);
    gpu_launch_u32(launch, (uint32_t)r->lists);
    gpu_launch_u32(launch, (uint32_t)r->pitch);
    gpu_launch_u32(launch, job->options | OPT_SORTED);
    gpu_launch_u32(launch, (has(job, TENON_MOE_ROUTE_SEL) ? 1u : 0u) | (has(job, TENON_MOE_ROUTE_G) ? 2u : 0u));
    gpu_launch_u32(launch, job->params->cap);
    gpu_launch_u32(launch, (uint32_t)job->t[TENON_MOE_ROUTE_SEL].stride);
    gpu_launch_u32(launch, (uint32_t)job->t[TENON_MOE_ROUTE_G].stride);
    gpu_launch_f32(launch, job->params->scale);
    return 1;
}

int tenon__route_add_tiles(struct job *job, const struct chunk *at, uint64_t row)
{
    const struct region *r = &at->rows;
    const uint64_t tiles = (r->count + TILE - 1) / TILE;
    if (!job->losses)
        return 1;
    struct gpu_launch *launch = tenon__route_add(job, "moe_route_columns", tiles * (r->columns + 1));
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, r->at);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->sums);
    gpu_launch_u32(launch, (uint32_t)r->count);
    gpu_launch_u32(launch, (uint32_t)r->columns);
    gpu_launch_u32(launch, (uint32_t)TILE);
    gpu_launch_u32(launch, (uint32_t)tiles);
    gpu_launch_u32(launch, (uint32_t)(row / TILE));
    return 1;
}

int tenon__route_add_ends(struct job *job, const struct chunk *at)
{
    const int gshard = job->params->aux_rule == TENON_MOE_ROUTE_AUX_GSHARD;
    for (uint32_t end = 0; job->losses && end < 2; end++) {
        struct gpu_launch *launch = tenon__route_add(job, "moe_route_losses", end ? 1 : job->columns);
        if (launch == NULL)
            return 0;
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->sums);
        if (gshard)
            tenon__route_bind_counts(job, launch, TENON_MOE_ROUTE_CNT1, at->count1);
        else
            tenon__route_bind_counts(job, launch, TENON_MOE_ROUTE_CNT_K, at->count_k);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->terms);
        for (uint32_t i = TENON_MOE_ROUTE_P_MEAN; i <= TENON_MOE_ROUTE_L1; i++)
            tenon__gpu_bind(launch, &job->t[i], 0, 0);
        gpu_launch_u32(launch, (uint32_t)job->columns);
        gpu_launch_u32(launch, gshard ? 1 : job->params->k);
        gpu_launch_u32(launch, (uint32_t)tiles_of(job));
        gpu_launch_u32(launch, job->losses);
        gpu_launch_u32(launch, end);
    }
    return 1;
}
