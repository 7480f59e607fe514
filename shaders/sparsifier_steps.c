/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of sparsifiers: those of a chunk of rows. */
#include "sparsifier.h"

#define ROUNDS 4u
#define WHOLE_SPAN 16384u   /* longer rows are selected from by many work-groups */
#define SLOTS_MAX 4096u     /* work-groups that count for one cut */

static uint32_t stride_of(const struct gpu_rows *rows, uint64_t n)
{
    return n > 1 ? (uint32_t)rows->stride : 0;
}

/* The word with the shifts of a chunk's first row. */
static uint32_t word_of(const struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    return job->word | tenon__gpu_shift(&job->x, at->row, 0) << 14 | tenon__gpu_shift(&job->y, at->row, 0) << 15 |
           tenon__gpu_shift(&job->cval, at->row, 0) << 16;
}

/* `n` work-groups, no more than one axis of the grid has; NULL: no memory. */
static struct gpu_launch *add(struct sparsifier_job *job, const char *kernel, uint32_t local, uint64_t n)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, local);
    if (launch != NULL)
        (void)tenon__gpu_grid(job->limits, n, launch->groups);
    return launch;
}

/* At least `n` invocations, for kernels in which those that are too many do nothing. */
static struct gpu_launch *add_lists(struct sparsifier_job *job, const char *kernel, uint64_t n)
{
    const uint64_t groups = (n + SPARSIFIER_LISTS_LOCAL - 1) / SPARSIFIER_LISTS_LOCAL;
    const uint64_t most = job->limits->groups_max[0];
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, SPARSIFIER_LISTS_LOCAL);
    if (launch == NULL)
        return NULL;
    launch->groups[0] = (uint32_t)(groups < most ? groups : most);
    launch->groups[1] = (uint32_t)((groups + launch->groups[0] - 1) / launch->groups[0]);
    launch->groups[2] = 1;
    return launch;
}

static void bind_sides(const struct sparsifier_job *job, const struct sparsifier_chunk *at, struct gpu_launch *launch)
{
    tenon__gpu_bind(launch, &job->t_row, 0, has(&job->t_row) ? at->row : 0);
    tenon__gpu_bind(launch, &job->t_col, 0, 0);
    tenon__gpu_bind(launch, &job->wgt, 0, 0);
}

/* ---- the launches of a chunk; 0: no memory ---- */

static int add_map(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    struct gpu_launch *launch = add(job, "sparsifier_map", job->local, at->rows * job->pieces);
    if (launch == NULL)
        return 0;
    gpu_launch_spec(launch, 0);
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    tenon__gpu_bind(launch, &job->y, at->row, 0);
    bind_sides(job, at, launch);
    gpu_launch_buffer(launch, job->cut || job->stat ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->base);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, stride_of(&job->y, at->rows));
    gpu_launch_u32(launch, (uint32_t)job->map_span);
    gpu_launch_u32(launch, (uint32_t)job->pieces);
    gpu_launch_u32(launch, word_of(job, at));
    gpu_launch_u32(launch, job->threshold);
    gpu_launch_f32(launch, job->rule.cap);
    return 1;
}

struct sparsifier_shares tenon__sparsifier_shares(const struct sparsifier_job *job, uint64_t rows)
{
    struct sparsifier_shares s = {.span = WHOLE_SPAN, .each = 1};
    const uint64_t most = job->limits->vector ? 256 : SLOTS_MAX;
    while (pieces_of(job->cols, s.span) > most)
        s.span *= 2;
    s.pieces = pieces_of(job->cols, s.span);
    while (job->batch && s.pieces * ((rows + s.each - 1) / s.each) > most)
        s.each *= 2;
    s.groups = s.pieces * ((rows + s.each - 1) / s.each);
    s.slots = job->batch ? s.groups : s.pieces;
    return s;
}

static int add_select(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    const struct sparsifier_shares s = tenon__sparsifier_shares(job, at->rows);
    const uint64_t places = (uint64_t)job->rule.k * (job->batch ? job->rows : 1);
    const int whole = s.slots == 1;
    const uint32_t pick = job->limits->vector ? 1 : 64;
    for (uint32_t round = 0; round < (whole ? 1 : ROUNDS); round++) {
        struct gpu_launch *launch = add(job, "sparsifier_select", job->local, s.groups);
        if (launch == NULL)
            return 0;
        tenon__gpu_bind(launch, &job->x, at->row, 0);
        tenon__gpu_bind(launch, &job->wgt, 0, 0);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->base);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->bins);
        gpu_launch_u32(launch, (uint32_t)at->rows);
        gpu_launch_u32(launch, (uint32_t)job->cols);
        gpu_launch_u32(launch, stride_of(&job->x, at->rows));
        gpu_launch_u32(launch, (uint32_t)s.span);
        gpu_launch_u32(launch, (uint32_t)s.pieces);
        gpu_launch_u32(launch, (uint32_t)s.each);
        gpu_launch_u32(launch, word_of(job, at));
        gpu_launch_u32(launch, (uint32_t)places);
        gpu_launch_u32(launch, round);
        gpu_launch_u32(launch, (uint32_t)whole);
        launch = whole ? launch : add(job, "sparsifier_pick", pick, job->batch ? 1 : at->rows);
        if (launch == NULL)
            return 0;
        if (whole)
            continue;
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->base);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->bins);
        gpu_launch_u32(launch, (uint32_t)s.slots);
        gpu_launch_u32(launch, (uint32_t)places);
        gpu_launch_u32(launch, round);
    }
    return 1;
}

static void add_pair(struct gpu_launch *launch, double value)
{
    const float high = (float)value;
    gpu_launch_f32(launch, high);
    gpu_launch_f32(launch, (float)(value - (double)high));
}

/* To the words of the states that theta does not need itself. */
static int add_sums(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    struct gpu_row_sums sums = {.rows = at->rows, .cols = job->cols, .dtype = job->x.dtype, .local = job->local,
                                .shift = tenon__gpu_shift(&job->x, at->row, 0), .slot = job->x.slot,
                                .stride = stride_of(&job->x, at->rows), .sums = at->bins, .result = job->base,
                                .result_stride = SPARSIFIER_STATE_BYTES / 4, .result_at = 1};
    sums.first = job->x.first + (at->row * job->x.stride * job->x.size & ~UINT64_C(3));
    return tenon__gpu_row_sums(job->recipe, job->limits, &sums);
}

static int add_theta(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    const struct sparsifier_shares s = tenon__sparsifier_shares(job, at->rows);
    const uint64_t pieces = s.pieces, span = s.span;
    if (job->exact && !add_sums(job, at))
        return 0;
    struct gpu_launch *launch = add(job, "sparsifier_stat", job->local, at->rows * pieces);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->bins);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, (uint32_t)span);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, word_of(job, at));
    launch = add_lists(job, "sparsifier_theta", at->rows);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->bins);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->base);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)span);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, job->rule.ddof);
    gpu_launch_u32(launch, (uint32_t)job->exact);
    add_pair(launch, job->quantile);
    return 1;
}

int tenon__sparsifier_ends(struct sparsifier_job *job, const struct sparsifier_chunk *at, uint32_t clear)
{
    const uint64_t each = job->batch ? (at->rows + SPARSIFIER_LISTS_LOCAL - 1) / SPARSIFIER_LISTS_LOCAL : 1;
    const uint64_t places = (uint64_t)job->rule.k * (job->batch ? job->rows : 1);
    struct gpu_launch *launch = add_lists(job, "sparsifier_ends", clear || job->batch ? 1 : at->rows);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, clear ? GPU_SLOT_NONE : GPU_SLOT_SCRATCH, job->base);
    gpu_launch_buffer(launch, clear ? GPU_SLOT_NONE : GPU_SLOT_SCRATCH, at->totals);
    tenon__gpu_bind(launch, &job->nnz, 0, has(&job->nnz) ? at->row : 0);
    tenon__gpu_bind(launch, &job->flags, 0, 0);
    gpu_launch_u32(launch, clear ? 0 : (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)each);
    gpu_launch_u32(launch, clear ? job->word & ~(7u << 8) : word_of(job, at));
    gpu_launch_u32(launch, (uint32_t)places);
    gpu_launch_u32(launch, (uint32_t)job->kmax);
    gpu_launch_u32(launch, clear);
    return 1;
}

static int add_count(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    struct gpu_launch *launch = add_lists(job, "sparsifier_count", at->rows * job->segments);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    bind_sides(job, at, launch);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->base);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->lists);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, (uint32_t)job->span);
    gpu_launch_u32(launch, (uint32_t)job->segments);
    gpu_launch_u32(launch, word_of(job, at));
    gpu_launch_u32(launch, job->threshold);
    launch = add_lists(job, "sparsifier_scan", at->rows);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->lists);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->totals);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->segments);
    return tenon__sparsifier_ends(job, at, 0);
}

static int add_emit(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    struct gpu_launch *launch = add_lists(job, "sparsifier_emit", at->rows * job->segments);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    tenon__gpu_bind(launch, &job->y, at->row, 0);
    bind_sides(job, at, launch);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->base);
    tenon__gpu_bind(launch, &job->cidx, at->row, 0);
    tenon__gpu_bind(launch, &job->cval, at->row, 0);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, stride_of(&job->y, at->rows));
    gpu_launch_u32(launch, stride_of(&job->cidx, at->rows));
    gpu_launch_u32(launch, stride_of(&job->cval, at->rows));
    gpu_launch_u32(launch, (uint32_t)job->span);
    gpu_launch_u32(launch, (uint32_t)job->segments);
    gpu_launch_u32(launch, word_of(job, at));
    gpu_launch_u32(launch, job->threshold);
    gpu_launch_u32(launch, (uint32_t)job->kmax);
    gpu_launch_u32(launch, (uint32_t)((job->kmax + job->segments - 1) / job->segments));
    gpu_launch_f32(launch, job->rule.cap);
    return 1;
}

int tenon__sparsifier_launch(struct sparsifier_job *job, const struct sparsifier_chunk *at)
{
    const int lists = has(&job->y) || has(&job->cidx) || has(&job->cval);
    if (job->cut && !add_select(job, at))
        return 0;
    if (job->stat && !add_theta(job, at))
        return 0;
    if (!job->ordered && !add_map(job, at))
        return 0;
    if (!job->ordered && !job->cut)
        return 1;
    return add_count(job, at) && (!lists || add_emit(job, at));
}
