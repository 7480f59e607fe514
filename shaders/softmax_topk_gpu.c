/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of softmax_topk: lists of the best entries of parts of each row, with the sums of those parts; their
 * joining, until a row has one; and its end. Which columns a list has depends on cols, k and the device, never on rows
 * or strides, so that a row has the same bits in every batch and layout. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/softmax_topk.h>

#define SCRATCH_BYTES (UINT64_C(64) << 20) /* what the lists of some rows may take; one row may take more */
#define SCRATCH_MAX   (UINT64_C(1) << 30)
#define LIST_VECTORS  16384u /* that a list reads at most: some devices stop after 65535 rounds of loops */
#define JOIN_ENTRIES  32768u /* that are joined into a list at most, for the same reason */
#define SEG_COLS      65536u
#define HEAD_WORDS    8u
#define LAUNCHES_MAX  65536u

/* Of lib/topk.h and softmax_topk_end.args.h. */
enum { OPT_BIAS = 4, OPT_MASK = 8, OPT_VALID = 16, OPT_ROW_SCALE = 32, OPT_SCALE = 64, OPT_T = 128, OPT_SUMMED = 1024 };
enum { WANT_SHIFT = 4, SLOTS_SHIFT = 16, OUTPUTS = TENON_SOFTMAX_TOPK_N_TENSORS - TENON_SOFTMAX_TOPK_VAL };

struct job {
    const struct tenon_softmax_topk_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows t[TENON_SOFTMAX_TOPK_N_TENSORS];
    uint64_t rows, cols, seg_cols, lists; /* lists of a row */
    uint64_t list_words;
    uint32_t kept, lane_bits, local, options, end_options;
};

static int32_t refuse(const struct job *job, const char *message)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static int has(const struct job *job, uint32_t i)
{
    return job->t[i].slot != GPU_SLOT_NONE;
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *tensors)
{
    for (uint32_t i = 0; i < TENON_SOFTMAX_TOPK_N_TENSORS; i++) {
        const int list = (i >= TENON_SOFTMAX_TOPK_VALID_LEN && i <= TENON_SOFTMAX_TOPK_SINK) ||
                         i >= TENON_SOFTMAX_TOPK_MAX;
        const int ok = list ? tenon__gpu_list(&tensors[i], (int32_t)i, &job->t[i])
                            : tenon__gpu_rows(&tensors[i], (int32_t)i, &job->t[i]);
        if (!ok)
            return refuse(job, "a tensor has leading axes without a common row stride, which is not supported");
    }
    job->rows = job->t[TENON_SOFTMAX_TOPK_X].rows;
    job->cols = job->t[TENON_SOFTMAX_TOPK_X].cols;
    return TENON_OK;
}

static void choose_options(struct job *job)
{
    const struct tenon_softmax_topk_params *p = job->params;
    const int affine = p->scale != 1.0f || has(job, TENON_SOFTMAX_TOPK_BIAS);
    const int tempered = p->inv_temp != 1.0f || has(job, TENON_SOFTMAX_TOPK_ROW_SCALE);
    int summed = has(job, TENON_SOFTMAX_TOPK_VAL) &&
                 (p->norm == TENON_SOFTMAX_TOPK_FULL || p->norm == TENON_SOFTMAX_TOPK_LOG);
    for (uint32_t i = TENON_SOFTMAX_TOPK_LSE; i <= TENON_SOFTMAX_TOPK_ENTROPY; i++)
        summed |= has(job, i);
    job->kept = p->k < 2 && has(job, TENON_SOFTMAX_TOPK_MARGIN) ? 2 : p->k;
    job->options = tenon__gpu_dtype(job->t[TENON_SOFTMAX_TOPK_X].dtype) |
                   (has(job, TENON_SOFTMAX_TOPK_BIAS) ? OPT_BIAS : 0u) |
                   (has(job, TENON_SOFTMAX_TOPK_MASK) ? OPT_MASK : 0u) |
                   (has(job, TENON_SOFTMAX_TOPK_VALID_LEN) ? OPT_VALID : 0u) |
                   (has(job, TENON_SOFTMAX_TOPK_ROW_SCALE) ? OPT_ROW_SCALE : 0u) | (affine ? OPT_SCALE : 0u) |
                   (tempered ? OPT_T : 0u) | p->noise << 8 | (summed ? OPT_SUMMED : 0u) | job->kept << 15 |
                   job->lane_bits << 28;
    job->end_options = p->norm | p->k << SLOTS_SHIFT;
    if (has(job, TENON_SOFTMAX_TOPK_SINK))
        job->end_options |= (job->t[TENON_SOFTMAX_TOPK_SINK].cols == 1 ? 2u : 1u) << 2;
    for (uint32_t i = 0; i < OUTPUTS; i++)
        job->end_options |= has(job, TENON_SOFTMAX_TOPK_VAL + i) ? 1u << (WANT_SHIFT + i) : 0u;
}

/* How a row is cut into lists. */
static void choose_lists(struct job *job)
{
    const struct gpu_limits *limits = job->limits;
    const uint64_t width = limits->vector ? limits->vector : 1, k = job->params->k;
    const uint32_t most = limits->vector ? 0 : limits->software ? 3 : 6;
    /* A list must have columns enough to be worth its joining. */
    const uint64_t least = limits->software ? 8 * k + 512 : 4 * k;
    while (job->lane_bits < most && job->cols >> (job->lane_bits + 1) >= least)
        job->lane_bits++;
    const uint64_t lanes = UINT64_C(1) << job->lane_bits, reach = lanes * LIST_VECTORS * width;
    job->seg_cols = 16 * k > SEG_COLS ? 131072 : SEG_COLS;
    if (job->seg_cols > reach)
        job->seg_cols = reach;
    job->lists = (job->cols ? (job->cols + job->seg_cols - 1) / job->seg_cols : 1) * lanes;
    job->local = limits->vector ? 1 : limits->software && (limits->subgroup == 0 || limits->subgroup >= 8) ? 8 : 64;
}

/* A launch of `units` invocations a row for at most n rows; how many rows it has. 0: no memory. */
static struct gpu_launch *add(struct job *job, const char *kernel, uint64_t units, uint64_t n, uint64_t *rows)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, job->local);
    if (launch == NULL)
        return NULL;
    const uint64_t fit = UINT64_C(0xffffffff) / units < n ? UINT64_C(0xffffffff) / units : n;
    const uint64_t got = tenon__gpu_grid(job->limits, (fit * units + job->local - 1) / job->local, launch->groups);
    *rows = got * job->local / units < fit ? got * job->local / units : fit;
    return launch;
}

static uint32_t stride_of(const struct gpu_rows *rows)
{
    return rows->rows > 1 ? (uint32_t)rows->stride : 0;
}

/* Row `row` of a tensor that has a row for each of x, or one for all. */
static void bind_rows(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t row)
{
    tenon__gpu_bind(launch, &job->t[i], job->t[i].rows > 1 ? row : 0, 0);
}

static void bind_list(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t row)
{
    tenon__gpu_bind(launch, &job->t[i], 0, job->t[i].cols == 1 && job->rows > 1 ? 0 : row);
}

/* The kernels name a row by its distance from the first of the launch; `row` is that of the first, `done` those of the
 * chunk before it. */
static int add_lists(struct job *job, uint64_t row, uint64_t n)
{
    const struct tenon_softmax_topk_params *p = job->params;
    const uint64_t row_bytes = job->lists * job->list_words * 4;
    for (uint64_t done = 0, rows; done < n; done += rows) {
        struct gpu_launch *launch = add(job, "softmax_topk", job->lists, n - done, &rows);
        if (launch == NULL)
            return 0;
        const uint64_t first = row + done;
        bind_rows(job, launch, TENON_SOFTMAX_TOPK_X, first);
        bind_rows(job, launch, TENON_SOFTMAX_TOPK_BIAS, first);
        bind_rows(job, launch, TENON_SOFTMAX_TOPK_MASK, first);
        bind_rows(job, launch, TENON_SOFTMAX_TOPK_NOISE, first);
        bind_list(job, launch, TENON_SOFTMAX_TOPK_VALID_LEN, first);
        bind_list(job, launch, TENON_SOFTMAX_TOPK_ROW_SCALE, first);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, done * row_bytes);
        gpu_launch_u32(launch, (uint32_t)rows);
        gpu_launch_u32(launch, (uint32_t)job->cols);
        gpu_launch_u32(launch, stride_of(&job->t[TENON_SOFTMAX_TOPK_X]));
        gpu_launch_u32(launch, stride_of(&job->t[TENON_SOFTMAX_TOPK_BIAS]));
        gpu_launch_u32(launch, stride_of(&job->t[TENON_SOFTMAX_TOPK_MASK]));
        gpu_launch_u32(launch, stride_of(&job->t[TENON_SOFTMAX_TOPK_NOISE]));
        const struct gpu_rows *mask = &job->t[TENON_SOFTMAX_TOPK_MASK];
        gpu_launch_u32(launch, job->options | tenon__gpu_shift(&job->t[TENON_SOFTMAX_TOPK_X], first, 0) << 12 |
                                   tenon__gpu_shift(mask, mask->rows > 1 ? first : 0, 0) << 13);
        gpu_launch_u32(launch, (uint32_t)job->seg_cols);
        gpu_launch_u32(launch, (uint32_t)p->seed);
        gpu_launch_u32(launch, (uint32_t)(p->seed >> 32));
        gpu_launch_u32(launch, p->stream);
        gpu_launch_u32(launch, p->sample);
        gpu_launch_u32(launch, (uint32_t)first);
        gpu_launch_f32(launch, p->scale);
        gpu_launch_f32(launch, p->inv_temp);
        gpu_launch_f32(launch, p->noise_amp);
    }
    return 1;
}

static int add_joins(struct job *job, uint64_t row, uint64_t n)
{
    const uint64_t ways = JOIN_ENTRIES / job->kept + 1, row_bytes = job->lists * job->list_words * 4;
    for (uint64_t step = 1; step < job->lists; step *= ways)
        for (uint64_t done = 0, rows; done < n; done += rows) {
            const uint64_t units = (job->lists + step * ways - 1) / (step * ways);
            struct gpu_launch *launch = add(job, "softmax_topk_join", units, n - done, &rows);
            if (launch == NULL)
                return 0;
            gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, done * row_bytes);
            bind_list(job, launch, TENON_SOFTMAX_TOPK_ROW_SCALE, row + done);
            gpu_launch_u32(launch, (uint32_t)rows);
            gpu_launch_u32(launch, (uint32_t)job->lists);
            gpu_launch_u32(launch, (uint32_t)step);
            gpu_launch_u32(launch, (uint32_t)ways);
            gpu_launch_u32(launch, job->options);
            gpu_launch_f32(launch, job->params->inv_temp);
        }
    return 1;
}

static int add_ends(struct job *job, uint64_t row, uint64_t n)
{
    const uint64_t row_bytes = job->lists * job->list_words * 4;
    for (uint64_t done = 0, rows; done < n; done += rows) {
        struct gpu_launch *launch = add(job, "softmax_topk_end", 1, n - done, &rows);
        if (launch == NULL)
            return 0;
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, done * row_bytes);
        bind_list(job, launch, TENON_SOFTMAX_TOPK_ROW_SCALE, row + done);
        bind_list(job, launch, TENON_SOFTMAX_TOPK_SINK, row + done);
        bind_rows(job, launch, TENON_SOFTMAX_TOPK_VAL, row + done);
        bind_rows(job, launch, TENON_SOFTMAX_TOPK_IDX, row + done);
        for (uint32_t i = TENON_SOFTMAX_TOPK_MAX; i <= TENON_SOFTMAX_TOPK_ENTROPY; i++)
            tenon__gpu_bind(launch, &job->t[i], 0, row + done);
        tenon__gpu_bind(launch, &job->t[TENON_SOFTMAX_TOPK_FLAGS], 0, 0);
        gpu_launch_u32(launch, (uint32_t)rows);
        gpu_launch_u32(launch, (uint32_t)(job->lists * job->list_words));
        gpu_launch_u32(launch, stride_of(&job->t[TENON_SOFTMAX_TOPK_VAL]));
        gpu_launch_u32(launch, stride_of(&job->t[TENON_SOFTMAX_TOPK_IDX]));
        gpu_launch_u32(launch, job->options);
        gpu_launch_u32(launch, job->end_options);
        gpu_launch_f32(launch, job->params->inv_temp);
    }
    return 1;
}

static int add_flags(struct job *job)
{
    uint64_t rows;
    struct gpu_launch *launch = add(job, "softmax_topk_flags", 4, 1, &rows);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->t[TENON_SOFTMAX_TOPK_FLAGS], 0, 0);
    gpu_launch_u32(launch, 4);
    return 1;
}

static int32_t add_all(struct job *job)
{
    const uint64_t row_bytes = job->lists * job->list_words * 4;
    if (job->cols * job->t[TENON_SOFTMAX_TOPK_X].size > GPU_SPAN || job->cols * 4 > UINT64_C(0xfffffff0) ||
        row_bytes > SCRATCH_MAX)
        return refuse(job, "x: rows this long, with this k, are beyond what a GPU launch can address");
    uint64_t chunk = row_bytes < SCRATCH_BYTES ? SCRATCH_BYTES / row_bytes : 1;
    chunk = chunk < job->rows ? chunk : job->rows;
    for (uint32_t i = 0; i <= TENON_SOFTMAX_TOPK_IDX; i++)
        chunk = tenon__gpu_rows_fit(&job->t[i], chunk);
    job->recipe->scratch = chunk * row_bytes;
    for (uint64_t row = 0; row < job->rows; row += chunk) {
        const uint64_t n = job->rows - row < chunk ? job->rows - row : chunk;
        if (job->recipe->n > LAUNCHES_MAX)
            return refuse(job, "x needs more than 65536 launches");
        if (!add_lists(job, row, n) || !add_joins(job, row, n) || !add_ends(job, row, n))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}

static int32_t topk_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                           struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    choose_lists(&job);
    choose_options(&job);
    job.list_words = HEAD_WORDS + 2 * (uint64_t)job.kept;
    snprintf(recipe->impl, sizeof(recipe->impl), "softmax_topk, %llu lists a row", (unsigned long long)job.lists);
    if (has(&job, TENON_SOFTMAX_TOPK_FLAGS) && !add_flags(&job))
        return TENON_E_NOMEM;
    status = job.rows ? add_all(&job) : TENON_OK;
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__softmax_topk_gpu = {.op = TENON_OPNUM_softmax_topk, .recipe = topk_recipe};
