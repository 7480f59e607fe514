/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of softmax with all its kinds and options: logits to scratch, steps that find out about them, y. A row that
 * a work-group owns goes through its steps in one launch, or in as few as the device's loops allow; tiles of a longer
 * one record what they found, and a second launch concludes from the records. As everywhere, what is computed depends
 * on cols, types and attributes, never on rows or strides. */
#include "softmax_gpu.h"

#include <math.h>
#include <stdio.h>
#include "../plugin-api/normal.h"

/* Of lib/softmax_work.h. */
enum { PART_WHOLE = 0, PART_TILE = 1, PART_JOIN = 2 };
enum { STATE_WORDS = 40, EXACT_WORD = 37, BINS = 256, RECORD_WORDS = 16, LANES = 16 };
enum { JOIN_LOCAL = 64 };

#define STATE_ROWS (UINT64_C(1) << 18)
#define TILES_MAX UINT64_C(65535) /* of a launch */

struct job {
    const struct tenon_softmax_params *params;
    const struct softmax_tensors *of;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t rows, cols, pitch, tile, tiles;
    uint32_t local;
    uint32_t digits, cuts, steps;
    double quantile; /* STAT_TOPK's Q */
    int exact;       /* its mean needs exact sums */
    uint64_t states, records; /* byte offsets in the scratch */
};

/* Rows that a chunk has, and its launches' grid of work-groups. */
struct chunk {
    uint64_t row, n;
    uint32_t groups[3];
};

static int is_cut(const struct tenon_softmax_params *p)
{
    return p->kind == TENON_SOFTMAX_SPARSEMAX || p->kind == TENON_SOFTMAX_ENTMAX15;
}

static uint32_t bits_of(uint64_t n)
{
    uint32_t bits = 0;
    while (n >> bits)
        bits++;
    return bits;
}

/* Steps of a row, as softmax_steps numbers them. */
static void count_steps(struct job *job)
{
    const struct tenon_softmax_params *p = job->params;
    uint32_t support = 0, kind = 1;
    if (p->support == TENON_SOFTMAX_SUPPORT_TOPK) {
        /* four bytes of the order, and those that an index has */
        job->digits = 4 + (job->cols > 1 ? (bits_of(job->cols - 1) + 7) / 8 : 1);
        support = job->digits + 1;
    } else if (p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK) {
        const double tail = job->cols > p->k ? (double)p->k / (double)job->cols : 0.5;
        support = 3;
        job->quantile = -tenon__normal_quantile(tail);
        job->exact = job->cols > p->k && fabs(job->quantile) < GPU_EXACT_Q;
    }
    if (is_cut(p)) {
        /* From a step of Newton's method to the next, the product of value and slope falls to a quarter at least; it
         * is cols^2 at most (ENTMAX15: cols) and at the end 2^-26. */
        job->cuts = 14 + (p->kind == TENON_SOFTMAX_SPARSEMAX ? bits_of(job->cols) : (bits_of(job->cols) + 1) / 2);
        kind = job->cuts + (job->of->wanted >> (TENON_SOFTMAX_NNZ - TENON_SOFTMAX_MAX) & 1u);
    } else if (p->kind == TENON_SOFTMAX_SIGMOID || p->kind == TENON_SOFTMAX_SCALE) {
        kind = 0;
    } else if (p->adaptive) {
        kind = 2;
    }
    job->steps = 1 + support + kind;
}

/* Depends on cols and the device, never on rows. */
static uint32_t choose_local(const struct job *job)
{
    const struct gpu_limits *limits = job->limits;
    if (limits->vector)
        return 1;
    const uint64_t cols = job->tile;
    uint32_t local = cols <= 1024 ? 64 : cols <= 8192 ? 128 : 256;
    if (limits->software)
        local = limits->subgroup >= 8 || (limits->subgroup == 0 && cols <= 512) ? 8 : 16;
    while (limits->loop_max && job->tile / local + 4096 > limits->loop_max / 2 && 2 * local <= limits->wg_max)
        local *= 2;
    return local <= limits->wg_max ? local : 64;
}

static uint32_t options_of(const struct job *job, uint32_t part)
{
    const struct tenon_softmax_params *p = job->params;
    const struct softmax_tensors *of = job->of;
    const uint32_t sink = of->sink.slot == GPU_SLOT_NONE ? 0 : of->sink.cols == 1 ? 2 : 1;
    const uint32_t has_mult = of->mult.slot != GPU_SLOT_NONE, has_scale = of->row_scale.slot != GPU_SLOT_NONE;
    const uint32_t margin = of->wanted >> (TENON_SOFTMAX_MARGIN - TENON_SOFTMAX_MAX) & 1u;
    return p->kind | p->empty_row << 4 | p->support << 6 | has_mult << 8 | has_scale << 9 | sink << 10 | part << 12 |
           p->post << 14 | (p->adaptive != 0) << 16 | margin << 17 |
           (p->sigmoid_rule == TENON_SOFTMAX_BIAS_FIXED) << 18 | (uint32_t)job->exact << 24;
}

/* One value a row: element `row` of a list, or the only one. */
static void bind_list(struct gpu_launch *launch, const struct gpu_rows *list, uint64_t row)
{
    tenon__gpu_bind(launch, list, 0, list->cols == 1 ? 0 : row);
}

static struct gpu_launch *add(struct job *job, const char *kernel, uint32_t local, const uint32_t groups[3])
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, local);
    for (uint32_t i = 0; launch != NULL && i < 3; i++)
        launch->groups[i] = groups[i];
    return launch;
}

static int add_logits(struct job *job, const struct chunk *at)
{
    const struct tenon_softmax_params *p = job->params;
    const struct softmax_tensors *of = job->of;
    struct gpu_launch *launch = add(job, "softmax_logits", job->local, at->groups);
    if (launch == NULL)
        return 0;
    const uint32_t has_bias = of->bias.slot != GPU_SLOT_NONE;
    const uint64_t mask_row = of->mask.rows == 1 ? 0 : at->row;
    tenon__gpu_bind(launch, &of->x, at->row, 0);
    tenon__gpu_bind(launch, &of->bias, of->bias.rows == 1 ? 0 : at->row, 0);
    tenon__gpu_bind(launch, &of->mask, mask_row, 0);
    bind_list(launch, &of->valid_len, at->row);
    tenon__gpu_bind(launch, &of->noise, of->noise.rows == 1 ? 0 : at->row, 0);
    tenon__gpu_bind(launch, &of->mult, 0, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)job->pitch);
    gpu_launch_u32(launch, tenon__softmax_stride(&of->x, at->n));
    gpu_launch_u32(launch, tenon__softmax_stride(&of->bias, at->n));
    gpu_launch_u32(launch, tenon__softmax_stride(&of->mask, at->n));
    gpu_launch_u32(launch, tenon__softmax_stride(&of->noise, at->n));
    gpu_launch_u32(launch, tenon__gpu_dtype(of->x.dtype) | has_bias << 2 | (of->mask.slot != GPU_SLOT_NONE) << 3 |
                               (of->valid_len.slot != GPU_SLOT_NONE) << 4 | p->noise << 5 |
                               (of->mult.slot != GPU_SLOT_NONE) << 7 | (p->scale != 1.0f || has_bias) << 8 |
                               tenon__gpu_shift(&of->x, at->row, 0) << 9 |
                               tenon__gpu_shift(&of->mask, mask_row, 0) << 10);
    gpu_launch_u32(launch, (uint32_t)job->tile);
    gpu_launch_u32(launch, (uint32_t)job->tiles);
    gpu_launch_u32(launch, (uint32_t)at->row);
    gpu_launch_u32(launch, (uint32_t)p->seed);
    gpu_launch_u32(launch, (uint32_t)(p->seed >> 32));
    gpu_launch_u32(launch, p->stream);
    gpu_launch_u32(launch, p->sample);
    gpu_launch_f32(launch, p->scale);
    gpu_launch_f32(launch, p->noise_amp);
    return 1;
}

/* The sums of the logits, to the states. */
static int add_sums(struct job *job, const struct chunk *at)
{
    const struct gpu_row_sums sums = {.rows = at->n, .cols = job->cols, .dtype = TENON_F32, .local = job->local,
                                      .slot = GPU_SLOT_SCRATCH, .stride = job->pitch, .sums = job->records,
                                      .result = job->states, .result_stride = STATE_WORDS, .result_at = EXACT_WORD};
    return tenon__gpu_row_sums(job->recipe, job->limits, &sums);
}

static float eps_of(const struct tenon_softmax_params *p)
{
    return p->eps >= 0 ? p->eps : p->kind == TENON_SOFTMAX_SOFTPICK ? 1e-6f : 1e-5f;
}

static int add_part(struct job *job, const struct chunk *at, uint32_t part, uint32_t first, uint32_t count)
{
    const struct tenon_softmax_params *p = job->params;
    const struct softmax_tensors *of = job->of;
    const uint32_t rows[3] = {(uint32_t)at->n, 1, 1};
    const int joins = part == PART_JOIN;
    const uint32_t join_local = job->limits->vector ? 1 : JOIN_LOCAL;
    struct gpu_launch *launch =
        add(job, "softmax_steps", joins ? join_local : job->local, joins ? rows : at->groups);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    tenon__gpu_bind(launch, &of->mult, 0, 0);
    bind_list(launch, &of->row_scale, at->row);
    bind_list(launch, &of->sink, at->row);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->states);
    gpu_launch_buffer(launch, job->tiles > 1 ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->tiles > 1 ? job->records : 0);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, options_of(job, part));
    gpu_launch_u32(launch, (uint32_t)job->tile);
    gpu_launch_u32(launch, p->k);
    gpu_launch_u32(launch, first);
    gpu_launch_u32(launch, count);
    gpu_launch_u32(launch, job->digits);
    gpu_launch_u32(launch, job->cuts);
    gpu_launch_f32(launch, p->inv_temp);
    gpu_launch_f32(launch, eps_of(p));
    gpu_launch_f32(launch, p->kind == TENON_SOFTMAX_QUAD_NORM ? p->quad_c : p->sigmoid_bias);
    gpu_launch_f32(launch, (float)job->quantile);
    gpu_launch_f32(launch, (float)(job->quantile - (double)(float)job->quantile));
    gpu_launch_f32(launch, p->adaptive_gate);
    gpu_launch_f32(launch, p->adaptive_c0);
    gpu_launch_f32(launch, p->adaptive_c1);
    gpu_launch_f32(launch, p->adaptive_c2);
    gpu_launch_f32(launch, p->adaptive_c3);
    gpu_launch_f32(launch, p->adaptive_c4);
    return 1;
}

static int add_steps(struct job *job, const struct chunk *at)
{
    uint32_t most = job->steps;
    if (job->limits->loop_max) {
        /* rounds of a step: the row, the bins, the reductions */
        const uint64_t rounds = job->tile / job->local + 2 * job->local + 512;
        const uint64_t fit = job->limits->loop_max * UINT64_C(3) / 4 / rounds;
        most = fit < 1 ? 1 : fit < most ? (uint32_t)fit : most;
    }
    if (job->tiles > 1) {
        for (uint32_t i = 0; i < job->steps; i++)
            if (!add_part(job, at, PART_TILE, i, 1) || !add_part(job, at, PART_JOIN, i, 1))
                return 0;
        return 1;
    }
    for (uint32_t i = 0; i < job->steps; i += most)
        if (!add_part(job, at, PART_WHOLE, i, job->steps - i < most ? job->steps - i : most))
            return 0;
    return 1;
}

static int add_finish(struct job *job, const struct chunk *at)
{
    const struct tenon_softmax_params *p = job->params;
    const struct softmax_tensors *of = job->of;
    struct gpu_launch *launch = add(job, "softmax_finish", job->local, at->groups);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->states);
    tenon__gpu_bind(launch, &of->y, at->row, 0);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)job->pitch);
    gpu_launch_u32(launch, tenon__softmax_stride(&of->y, at->n));
    gpu_launch_u32(launch, options_of(job, PART_WHOLE) | tenon__gpu_dtype(of->y.dtype) << 19 |
                               tenon__gpu_shift(&of->y, at->row, 0) << 22);
    gpu_launch_u32(launch, (uint32_t)job->tile);
    gpu_launch_u32(launch, (uint32_t)job->tiles);
    gpu_launch_f32(launch, p->zeta);
    gpu_launch_f32(launch, p->gamma);
    gpu_launch_f32(launch, p->qscale);
    return 1;
}

/* Rows that one launch may have. */
static uint64_t chunk_rows(const struct job *job)
{
    const struct softmax_tensors *of = job->of;
    uint64_t n = job->pitch ? SOFTMAX_WORK_BYTES / 4 / job->pitch : STATE_ROWS;
    n = n < 1 ? 1 : n > STATE_ROWS ? STATE_ROWS : n;
    n = tenon__gpu_rows_fit(&of->x, n);
    n = tenon__gpu_rows_fit(&of->bias, n);
    n = tenon__gpu_rows_fit(&of->mask, n);
    n = tenon__gpu_rows_fit(&of->noise, n);
    n = tenon__gpu_rows_fit(&of->y, n);
    if (job->tiles > 1) {
        const uint64_t tiles = TILES_MAX < job->limits->groups_max[0] ? TILES_MAX : job->limits->groups_max[0];
        n = n > tiles / job->tiles ? tiles / job->tiles : n;
    }
    return n > job->rows ? job->rows : n;
}

static int add_chunk(struct job *job, const struct chunk *at)
{
    const int all = job->cols == 0 || (add_logits(job, at) && (!job->exact || add_sums(job, at)));
    if (!all || !add_steps(job, at))
        return 0;
    if (job->cols && job->of->y.slot != GPU_SLOT_NONE && !add_finish(job, at))
        return 0;
    return !job->of->wanted || tenon__softmax_stats(job->recipe, job->limits, job->of, at->row, at->n, job->states,
                                                    STATE_WORDS);
}

int32_t tenon__softmax_steps(const struct tenon_softmax_params *params, const struct softmax_tensors *of,
                             const struct gpu_limits *limits, struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .of = of, .limits = limits, .recipe = recipe};
    job.rows = of->x.rows;
    job.cols = of->x.cols;
    job.pitch = (job.cols + LANES - 1) / LANES * LANES;
    if (job.pitch * 4 > GPU_SPAN) {
        char message[128];
        snprintf(message, sizeof(message), "x: rows of %llu columns are too long for this device with these attributes",
                 (unsigned long long)job.cols);
        return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, message);
    }
    job.tile = job.cols > WHOLE_COLS ? tenon__softmax_tile(job.cols) : job.pitch ? job.pitch : LANES;
    job.tiles = job.cols > WHOLE_COLS ? (job.cols + job.tile - 1) / job.tile : 1;
    job.local = choose_local(&job);
    count_steps(&job);
    const uint64_t most = chunk_rows(&job);
    job.states = most * job.pitch * 4;
    job.records = job.states + most * STATE_WORDS * 4;
    recipe->scratch = job.records;
    if (job.tiles > 1)
        recipe->scratch += most * job.tiles * 4 * (job.digits ? BINS : RECORD_WORDS);
    else if (job.exact)
        recipe->scratch += tenon__gpu_row_sums_bytes(most, job.cols);
    snprintf(recipe->impl, sizeof(recipe->impl), "softmax_steps%s", job.tiles > 1 ? ", rows in tiles" : "");
    for (struct chunk at = {0}; at.row < job.rows; at.row += at.n) {
        at.n = job.rows - at.row < most ? job.rows - at.row : most;
        at.groups[0] = (uint32_t)(at.n * job.tiles);
        at.groups[1] = at.groups[2] = 1;
        if (job.tiles == 1)
            at.n = tenon__gpu_grid(limits, at.n, at.groups);
        if (recipe->n > SOFTMAX_LAUNCHES_MAX)
            return tenon__softmax_too_many(recipe, &of->x);
        if (!add_chunk(&job, &at))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}
