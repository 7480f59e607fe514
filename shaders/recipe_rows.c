/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches that several recipes need: rows by their numbers, and filling. */
#include "recipe.h"

#define LOCAL        64u
#define LAUNCHES_MAX 65536u
#define FILL_SPAN    64u   /* words of an invocation */
#define CU_PIECE     16384u /* entries that one launch goes over */
#define SPAN         4u    /* units of an invocation, which on a CPU is a thread of its own */
#define VECTOR_SPAN  1024u

int tenon__gpu_groups(const struct gpu_limits *limits, uint64_t n, uint32_t groups[3])
{
    const uint64_t x = n < limits->groups_max[0] ? n : limits->groups_max[0];
    if ((n + x - 1) / x > limits->groups_max[1])
        return 0;
    groups[0] = (uint32_t)x;
    groups[1] = (uint32_t)((n + x - 1) / x);
    groups[2] = 1;
    return 1;
}

uint32_t tenon__gpu_row_local(const struct gpu_limits *limits, uint64_t cols, uint64_t sweeps)
{
    if (limits->vector) /* an invocation is a vector: it does a row, without a barrier */
        return 1;
    uint32_t local = cols <= 1024 ? 64 : cols <= 8192 ? 128 : 256;
    if (limits->software) /* a subgroup is one vector, which needs no barriers */
        local = limits->subgroup >= 8 || (limits->subgroup == 0 && cols <= 512) ? 8 : 16;
    while (limits->loop_max && (cols / local + 1) * sweeps + 2 * local > limits->loop_max) {
        local *= 2;
        if (local > limits->wg_max)
            return 0;
    }
    return local <= limits->wg_max ? local : 64;
}

int tenon__gpu_fill(struct gpu_recipe *recipe, const struct gpu_limits *limits, int32_t slot, uint64_t at, uint64_t n,
                    uint32_t value)
{
    for (uint64_t done = 0, most = GPU_SPAN / 4; done < n; done += most) {
        const uint64_t count = n - done < most ? n - done : most, units = (count + FILL_SPAN - 1) / FILL_SPAN;
        struct gpu_launch *launch = gpu_recipe_add(recipe, "fill_words", LOCAL);
        if (launch == NULL)
            return 0;
        /* 2^31 bytes are 2^17 groups: two rows of the smallest grid */
        (void)tenon__gpu_groups(limits, (units + LOCAL - 1) / LOCAL, launch->groups);
        gpu_launch_buffer(launch, slot, at + done * 4);
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, FILL_SPAN);
        gpu_launch_u32(launch, value);
    }
    return 1;
}

int tenon__gpu_sequences(struct gpu_recipe *recipe, const struct gpu_sequences *job)
{
    for (uint64_t begin = 0; begin <= job->n; begin += CU_PIECE) {
        struct gpu_launch *launch = gpu_recipe_add(recipe, "sequences", LOCAL);
        if (launch == NULL)
            return 0;
        launch->groups[0] = launch->groups[1] = launch->groups[2] = 1;
        gpu_launch_buffer(launch, job->cu_slot, 0);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
        gpu_launch_buffer(launch, job->flags_slot, 0);
        gpu_launch_u32(launch, (uint32_t)begin);
        gpu_launch_u32(launch, (uint32_t)(job->n + 1 - begin < CU_PIECE ? job->n + 1 : begin + CU_PIECE));
        gpu_launch_u32(launch, job->at);
        gpu_launch_u32(launch, job->limit);
        gpu_launch_u32(launch, job->flags_slot != GPU_SLOT_NONE);
    }
    return 1;
}

/* Both as rows of the largest unit that their rows are made of, so that most types go in words. */
static uint32_t in_units(struct gpu_rows *from, struct gpu_rows *y)
{
    const uint64_t all = (from->rows > 1 ? from->stride : 0) * from->size | (y->rows > 1 ? y->stride : 0) * y->size |
                         y->cols * y->size;
    const uint32_t size = all % 4 == 0 ? 4 : all % 2 == 0 ? 2 : 1;
    struct gpu_rows *both[] = {from, y};
    for (int i = 0; i < 2; i++) {
        both[i]->stride = both[i]->stride * both[i]->size / size;
        both[i]->cols = both[i]->cols * both[i]->size / size;
        both[i]->size = size;
    }
    return size;
}

struct part {
    uint64_t row, rows;     /* of y */
    uint64_t first, there;  /* of what is copied from */
    uint64_t each, span;
};

static int add_part(struct gpu_recipe *recipe, const struct gpu_limits *limits, const struct gpu_row_copy *job,
                    const struct part *part)
{
    const uint32_t size = job->y.size, counts = job->flags_slot != GPU_SLOT_NONE;
    struct gpu_launch *launch = gpu_recipe_add(recipe, "copy_rows", LOCAL);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(limits, (part->rows * part->each + LOCAL - 1) / LOCAL, launch->groups);
    if (part->there)
        tenon__gpu_bind(launch, &job->from, part->first, 0);
    else
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
    gpu_launch_buffer(launch, job->idx_slot, job->idx_at + part->row * 4);
    if (job->y.cols)
        tenon__gpu_bind(launch, &job->y, part->row, 0);
    else
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
    gpu_launch_buffer(launch, job->flags_slot, 0);
    gpu_launch_u32(launch, (uint32_t)part->rows);
    gpu_launch_u32(launch, (uint32_t)job->y.cols);
    gpu_launch_u32(launch, (uint32_t)job->from.stride);
    gpu_launch_u32(launch, (uint32_t)job->y.stride);
    gpu_launch_u32(launch, (uint32_t)part->each);
    gpu_launch_u32(launch, (uint32_t)part->span);
    gpu_launch_u32(launch, (uint32_t)job->from.rows);
    gpu_launch_u32(launch, (uint32_t)part->first);
    gpu_launch_u32(launch, (uint32_t)part->there);
    gpu_launch_u32(launch, job->divisor);
    gpu_launch_u32(launch, (size == 4 ? 0u : size == 2 ? 1u : 2u) | counts << 2 |
                               tenon__gpu_shift(&job->from, part->first, 0) << 8 |
                               tenon__gpu_shift(&job->y, part->row, 0) << 16);
    return 1;
}

int32_t tenon__gpu_copy_rows(struct gpu_recipe *recipe, const struct gpu_limits *limits,
                             const struct gpu_row_copy *wanted)
{
    struct gpu_row_copy job = *wanted;
    struct part part = {.row = 0};
    const uint32_t size = in_units(&job.from, &job.y);
    if (job.y.cols * size > GPU_SPAN)
        return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, "rows of 2 GiB are not supported");
    part.span = limits->vector ? VECTOR_SPAN : SPAN;
    part.each = job.y.cols ? (job.y.cols + part.span - 1) / part.span : 1;
    /* Rows of y whose pieces an invocation can count to, and the grid of every device holds. */
    uint64_t most = (UINT64_C(1) << 28) / part.each;
    most = tenon__gpu_rows_fit(&job.y, most ? most : 1);
    const uint64_t fit = job.from.rows ? tenon__gpu_rows_fit(&job.from, job.from.rows) : 0;
    for (; part.row < job.y.rows; part.row += part.rows) {
        part.rows = job.y.rows - part.row < most ? job.y.rows - part.row : most;
        part.first = 0;
        do {
            part.there = job.from.rows - part.first < fit ? job.from.rows - part.first : fit;
            if (recipe->n >= LAUNCHES_MAX)
                return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, "rows need more than 65536 launches");
            if (!add_part(recipe, limits, &job, &part))
                return TENON_E_NOMEM;
            part.first += part.there;
        } while (part.first < job.from.rows);
    }
    return TENON_OK;
}
