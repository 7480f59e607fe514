/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of softmax. Short rows: one work-group a row. Long rows, one by one: the sums of tiles, their merging, the
 * writing of tiles. What a launch computes depends on cols, types and the attributes, never on rows or strides, so
 * that a row has the same bits in every batch and layout. */
#include "softmax_gpu.h"

#include <stdio.h>

/* Of lib/softmax.h. */
enum { WHOLE = 0, SUM = 1, WRITE = 2 };
enum { TILE_BYTES = 80, JOIN_LOCAL = 64, STATS_LOCAL = 64 };
enum { STATS_ANY = 1, STATS_ARGMAX = 2, STATS_MARGIN = 4, STATS_ENTROPY = 8, STATE_WORDS = 16, STATE_BYTES = 64 };

#define STATE_ROWS (UINT64_C(1) << 20)

#define PAIRED_COLS_MIN 256u /* shorter rows do not pay for a kernel of their own */

struct job {
    const struct tenon_softmax_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct softmax_tensors of;
    uint64_t rows, cols;
    uint32_t algo, stats, local;
    uint64_t work_rows; /* rows of the f32 scratch of the reload algorithm, 0: none */
};

static int32_t unfoldable(const struct tenon_host *host, const char *name)
{
    char message[160];
    snprintf(message, sizeof(message), "%s: leading axes without a common row stride are not supported", name);
    return host->fail(host, TENON_E_UNSUPPORTED, message);
}

int32_t tenon__softmax_tensors(const struct tenon_host *host, const struct tenon_tensor *tensors,
                               struct softmax_tensors *of)
{
    const struct { int32_t index; const char *name; struct gpu_rows *rows; int list; } table[] = {
        {TENON_SOFTMAX_X, "x", &of->x, 0},
        {TENON_SOFTMAX_BIAS, "bias", &of->bias, 0},
        {TENON_SOFTMAX_MASK, "mask", &of->mask, 0},
        {TENON_SOFTMAX_NOISE, "noise", &of->noise, 0},
        {TENON_SOFTMAX_Y, "y", &of->y, 0},
        {TENON_SOFTMAX_VALID_LEN, "valid_len", &of->valid_len, 1},
        {TENON_SOFTMAX_ROW_SCALE, "row_scale", &of->row_scale, 1},
        {TENON_SOFTMAX_SINK, "sink", &of->sink, 1},
        {TENON_SOFTMAX_MULT, "mult", &of->mult, 1},
        {TENON_SOFTMAX_FLAGS, "flags", &of->flags, 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct tenon_tensor *tensor = &tensors[table[i].index];
        int ok = table[i].list ? tenon__gpu_list(tensor, table[i].index, table[i].rows)
                               : tenon__gpu_rows(tensor, table[i].index, table[i].rows);
        if (!ok)
            return unfoldable(host, table[i].name);
    }
    of->wanted = 0;
    for (int32_t i = 0; i < SOFTMAX_FLAGS_BIT; i++) {
        if (!tenon__gpu_list(&tensors[TENON_SOFTMAX_MAX + i], TENON_SOFTMAX_MAX + i, &of->stat[i]))
            return unfoldable(host, "a statistic");
        of->wanted |= (of->stat[i].slot != GPU_SLOT_NONE) * 1u << i;
    }
    of->wanted |= (of->flags.slot != GPU_SLOT_NONE) * 1u << SOFTMAX_FLAGS_BIT;
    return TENON_OK;
}

uint64_t tenon__softmax_tile(uint64_t cols)
{
    uint64_t tile = WHOLE_COLS;
    while (cols / tile > 8192)
        tile *= 2;
    return tile;
}

/* Depends on cols and the device, never on rows. 0: rows are too long for the device. */
static uint32_t choose_local(const struct gpu_limits *limits, uint64_t cols, uint32_t sweeps)
{
    /* of a longer row, a tile */
    cols = cols > WHOLE_COLS ? tenon__softmax_tile(cols) : cols;
    if (limits->vector) /* an invocation is a vector: it does a row, without a barrier */
        return 1;
    uint32_t local = cols <= 1024 ? 64 : cols <= 8192 ? 128 : 256;
    if (limits->software) /* a subgroup is one vector, which needs no barriers */
        local = limits->subgroup >= 8 || (limits->subgroup == 0 && cols <= 512) ? 8 : 16;
    /* the sweeps in their blocks, and the reductions */
    while (limits->loop_max && (cols / local + 1) * sweeps * 33 / 32 + 2 * local > limits->loop_max) {
        local *= 2;
        if (local > limits->wg_max)
            return 0;
    }
    return local <= limits->wg_max ? local : 64;
}

static uint32_t choose_algo(const struct tenon_softmax_params *params)
{
    /* A row that a work-group owns stays in the cache between sweeps, so the cheapest arithmetic wins. */
    return params->algo == TENON_SOFTMAX_AUTO ? TENON_SOFTMAX_THREE_PASS_RECOMPUTE : params->algo;
}

static uint32_t wants(const struct job *job, uint32_t tensor)
{
    return job->of.wanted >> (tensor - TENON_SOFTMAX_MAX) & 1u;
}

/* The word of lib/softmax.h. */
static uint32_t options_of(const struct job *job, uint32_t tiled)
{
    const struct tenon_softmax_params *params = job->params;
    uint32_t has_bias = job->of.bias.slot != GPU_SLOT_NONE, has_row_scale = job->of.row_scale.slot != GPU_SLOT_NONE;
    uint32_t sink = job->of.sink.slot == GPU_SLOT_NONE ? 0 : job->of.sink.cols == 1 ? 2 : 1;
    uint32_t has_mask = job->of.mask.slot != GPU_SLOT_NONE, has_valid = job->of.valid_len.slot != GPU_SLOT_NONE;
    uint32_t has_scale = params->scale != 1.0f || has_bias, has_t = params->inv_temp != 1.0f || has_row_scale;
    return params->kind | job->algo << 1 | params->empty_row << 4 | tenon__gpu_dtype(job->of.x.dtype) << 6 |
           (job->cols ? tenon__gpu_dtype(job->of.y.dtype) : 0) << 8 | has_bias << 10 | has_mask << 11 | has_valid << 12 |
           has_row_scale << 13 | sink << 14 | has_scale << 16 | has_t << 17 | job->stats << 18 | tiled << 22 |
           wants(job, TENON_SOFTMAX_NNZ) << 28 | wants(job, TENON_SOFTMAX_SUMSQ) << 29;
}

/* Neighbours that an invocation takes at once of an f32 row. */
static uint32_t chunk_of(const struct gpu_limits *limits)
{
    return limits->vector ? 2 * limits->vector : 2;
}

/* Rows of f32, of whole chunks. */
static int in_chunks(const struct job *job)
{
    return job->of.x.dtype == TENON_F32 && job->of.y.dtype == TENON_F32 && job->cols % chunk_of(job->limits) == 0;
}

/* Rows of f32 that all begin at multiples of 8 bytes. */
static uint32_t even(const struct job *job)
{
    return job->rows == 1 || ((job->of.x.stride | job->of.y.stride) & 1) == 0;
}

/* The combinations that get a kernel of their own: the plain ones, which are the fast path. By the attributes alone, as
 * all else. */
static void add_options(const struct job *job, struct gpu_launch *launch, uint32_t options)
{
    const uint32_t free = 1u | 15u << 6 | 3u << 22; /* kind, types, tiles */
    int plain = (options & ~free) == TENON_SOFTMAX_THREE_PASS_RECOMPUTE << 1 && job->of.x.dtype == job->of.y.dtype;
    gpu_launch_spec(launch, plain ? options : 0);
    const uint32_t paired = plain && job->cols > PAIRED_COLS_MIN && in_chunks(job);
    gpu_launch_spec(launch, paired);
    gpu_launch_spec(launch, paired && even(job));
}

uint32_t tenon__softmax_stride(const struct gpu_rows *rows, uint64_t n)
{
    return n > 1 ? (uint32_t)rows->stride : 0;
}

/* Chunks that an invocation of softmax_held has of these rows, a power of two; 0: that kernel is not for them. */
static uint32_t held_chunks(const struct job *job)
{
    const uint32_t plain = TENON_SOFTMAX_THREE_PASS_RECOMPUTE << 1 | 1u << 6 | 1u << 8;
    uint32_t held = job->limits->software ? 16 : 1, most = job->limits->software ? 64 : 8;
    uint64_t wide = (uint64_t)chunk_of(job->limits) * job->local;
    if (options_of(job, WHOLE) != plain || job->cols <= PAIRED_COLS_MIN || !in_chunks(job))
        return 0;
    while (held < most && held * wide < job->cols)
        held *= 2;
    return held * wide < job->cols ? 0 : held;
}

/* A launch of softmax_held; 0: no memory. */
static int add_held(struct job *job, uint32_t held, uint64_t row, uint64_t n, const uint32_t groups[3])
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_held", job->local);
    if (launch == NULL)
        return 0;
    for (uint32_t i = 0; i < 3; i++)
        launch->groups[i] = groups[i];
    gpu_launch_spec(launch, options_of(job, WHOLE));
    gpu_launch_spec(launch, held);
    gpu_launch_spec(launch, (uint64_t)held * chunk_of(job->limits) * job->local == job->cols);
    gpu_launch_spec(launch, even(job));
    tenon__gpu_bind(launch, &job->of.x, row, 0);
    tenon__gpu_bind(launch, &job->of.y, row, 0);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, tenon__softmax_stride(&job->of.x, n));
    gpu_launch_u32(launch, tenon__softmax_stride(&job->of.y, n));
    gpu_launch_u32(launch, options_of(job, WHOLE));
    return 1;
}

/* One value a row: element `row` of a list, or the only one. */
static void bind_list(struct gpu_launch *launch, const struct gpu_rows *list, uint64_t row)
{
    tenon__gpu_bind(launch, list, 0, list->cols == 1 ? 0 : row);
}

static void add_floats(const struct job *job, struct gpu_launch *launch)
{
    gpu_launch_f32(launch, job->params->scale);
    gpu_launch_f32(launch, job->params->inv_temp);
    gpu_launch_f32(launch, job->params->phi);
    gpu_launch_f32(launch, job->params->win);
}

static int add_rows(struct job *job, uint64_t row, uint64_t n, const uint32_t groups[3])
{
    uint32_t held = held_chunks(job);
    if (held)
        return add_held(job, held, row, n, groups);
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_row", job->local);
    if (launch == NULL)
        return 0;
    for (uint32_t i = 0; i < 3; i++)
        launch->groups[i] = groups[i];
    uint32_t options = options_of(job, WHOLE);
    add_options(job, launch, options);
    tenon__gpu_bind(launch, &job->of.x, row, 0);
    tenon__gpu_bind(launch, &job->of.bias, row, 0);
    tenon__gpu_bind(launch, &job->of.mask, row, 0);
    bind_list(launch, &job->of.valid_len, row);
    bind_list(launch, &job->of.row_scale, row);
    bind_list(launch, &job->of.sink, row);
    tenon__gpu_bind(launch, &job->of.y, row, 0);
    gpu_launch_buffer(launch, job->work_rows ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, 0);
    gpu_launch_buffer(launch, job->stats ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->work_rows * job->cols * 4);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, tenon__softmax_stride(&job->of.x, n));
    gpu_launch_u32(launch, tenon__softmax_stride(&job->of.bias, n));
    gpu_launch_u32(launch, tenon__softmax_stride(&job->of.mask, n));
    gpu_launch_u32(launch, tenon__softmax_stride(&job->of.y, n));
    gpu_launch_u32(launch, options | tenon__gpu_shift(&job->of.x, row, 0) << 24 |
                               tenon__gpu_shift(&job->of.mask, row, 0) << 25 | tenon__gpu_shift(&job->of.y, row, 0) << 27);
    gpu_launch_u32(launch, 0);
    gpu_launch_u32(launch, 0);
    add_floats(job, launch);
    return 1;
}

static int add_stats_launch(struct gpu_recipe *recipe, const struct softmax_tensors *of, const uint32_t groups[3],
                            uint64_t states, uint64_t row, uint32_t count, uint32_t wanted, uint32_t pitch)
{
    struct gpu_launch *launch = gpu_recipe_add(recipe, "softmax_stats", STATS_LOCAL);
    if (launch == NULL)
        return 0;
    for (uint32_t i = 0; i < 3; i++)
        launch->groups[i] = groups[i];
    gpu_launch_buffer(launch, count ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, states);
    for (uint32_t i = 0; i < SOFTMAX_FLAGS_BIT; i++)
        tenon__gpu_bind(launch, &of->stat[i], 0, row);
    tenon__gpu_bind(launch, &of->flags, 0, 0);
    gpu_launch_u32(launch, count);
    gpu_launch_u32(launch, wanted);
    gpu_launch_u32(launch, pitch);
    return 1;
}

int tenon__softmax_clear_flags(struct gpu_recipe *recipe, const struct softmax_tensors *of)
{
    const uint32_t groups[3] = {1, 1, 1};
    return of->flags.slot == GPU_SLOT_NONE ||
           add_stats_launch(recipe, of, groups, 0, 0, 0, 1u << (SOFTMAX_FLAGS_BIT + 1), 0);
}

int tenon__softmax_stats(struct gpu_recipe *recipe, const struct gpu_limits *limits, const struct softmax_tensors *of,
                         uint64_t row, uint64_t n, uint64_t states, uint32_t pitch)
{
    for (uint64_t done = 0; done < n;) {
        uint32_t grid[3];
        uint64_t groups = tenon__gpu_grid(limits, (n - done + STATS_LOCAL - 1) / STATS_LOCAL, grid);
        uint64_t count = groups * STATS_LOCAL < n - done ? groups * STATS_LOCAL : n - done;
        if (!add_stats_launch(recipe, of, grid, states + done * pitch * 4, row + done, (uint32_t)count, of->wanted,
                              pitch))
            return 0;
        done += count;
    }
    return 1;
}

/* Rows that one launch of softmax_row may have. */
static uint64_t chunk_rows(const struct job *job)
{
    uint64_t n = GPU_SPAN / STATE_BYTES;
    n = tenon__gpu_rows_fit(&job->of.x, n);
    n = tenon__gpu_rows_fit(&job->of.bias, n);
    n = tenon__gpu_rows_fit(&job->of.mask, n);
    n = tenon__gpu_rows_fit(&job->of.y, n);
    if (job->stats && n > STATE_ROWS)
        n = STATE_ROWS;
    return job->work_rows && n > job->work_rows ? job->work_rows : n;
}

int32_t tenon__softmax_too_many(const struct gpu_recipe *recipe, const struct gpu_rows *x)
{
    char message[160];
    snprintf(message, sizeof(message), "x [%llu,%llu] needs more than %u launches", (unsigned long long)x->rows,
             (unsigned long long)x->cols, SOFTMAX_LAUNCHES_MAX);
    return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, message);
}

/* ---- long rows ---- */

/* The scratch of a row: f32 values for the reload algorithm, records of the tiles, what writing needs, records of the
 * stretches of softmax_join, statistics. */
struct long_row {
    uint64_t row, tile, tiles;
    uint64_t states, stats; /* byte offsets */
};

static int add_tiles(struct job *job, const struct long_row *at, uint32_t tiled)
{
    /* Columns in parts whose tiles lie within a launch's reach. */
    uint64_t part = GPU_SPAN / 4 / at->tile * at->tile;
    for (uint64_t col = 0; col < job->cols; col += part) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_row", job->local);
        if (launch == NULL)
            return 0;
        uint64_t n = job->cols - col < part ? job->cols - col : part;
        launch->groups[0] = (uint32_t)((n + at->tile - 1) / at->tile);
        uint64_t mask_row = job->of.mask.rows == 1 ? 0 : at->row;
        uint32_t options = options_of(job, tiled);
        add_options(job, launch, options);
        tenon__gpu_bind(launch, &job->of.x, at->row, col);
        tenon__gpu_bind(launch, &job->of.bias, job->of.bias.rows == 1 ? 0 : at->row, col);
        tenon__gpu_bind(launch, &job->of.mask, mask_row, col);
        bind_list(launch, &job->of.valid_len, at->row);
        bind_list(launch, &job->of.row_scale, at->row);
        bind_list(launch, &job->of.sink, at->row);
        tenon__gpu_bind(launch, &job->of.y, at->row, col);
        gpu_launch_buffer(launch, job->work_rows ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->work_rows ? col * 4 : 0);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->states);
        gpu_launch_u32(launch, (uint32_t)job->cols);
        for (int i = 0; i < 4; i++)
            gpu_launch_u32(launch, 0);
        gpu_launch_u32(launch, options | tenon__gpu_shift(&job->of.x, at->row, col) << 24 |
                                   tenon__gpu_shift(&job->of.mask, mask_row, col) << 25 |
                                   tenon__gpu_shift(&job->of.y, at->row, col) << 27);
        gpu_launch_u32(launch, (uint32_t)at->tile);
        gpu_launch_u32(launch, (uint32_t)col);
        add_floats(job, launch);
    }
    return 1;
}

static int add_join(struct job *job, const struct long_row *at, uint32_t tiled)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "softmax_join", JOIN_LOCAL);
    if (launch == NULL)
        return 0;
    gpu_launch_spec(launch, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->states);
    bind_list(launch, &job->of.valid_len, at->row);
    bind_list(launch, &job->of.row_scale, at->row);
    bind_list(launch, &job->of.sink, at->row);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->stats);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)at->tiles);
    gpu_launch_u32(launch, options_of(job, tiled));
    gpu_launch_f32(launch, job->params->inv_temp);
    return 1;
}

static int32_t add_long_rows(struct job *job)
{
    struct long_row at = {.tile = tenon__softmax_tile(job->cols)};
    at.tiles = (job->cols + at.tile - 1) / at.tile;
    job->work_rows =
        job->algo == TENON_SOFTMAX_THREE_PASS_RELOAD && job->of.y.slot != GPU_SLOT_NONE && job->of.y.dtype != TENON_F32;
    at.states = job->work_rows * job->cols * 4;
    at.stats = at.states + (at.tiles + 1 + JOIN_LOCAL) * TILE_BYTES;
    job->recipe->scratch = at.stats + STATE_BYTES;
    for (at.row = 0; at.row < job->rows; at.row++) {
        if (job->recipe->n > SOFTMAX_LAUNCHES_MAX)
            return tenon__softmax_too_many(job->recipe, &job->of.x);
        if (!add_tiles(job, &at, SUM) || !add_join(job, &at, SUM) || !add_join(job, &at, WRITE) ||
            (job->of.y.slot != GPU_SLOT_NONE && !add_tiles(job, &at, WRITE)) ||
            (job->stats && !tenon__softmax_stats(job->recipe, job->limits, &job->of, at.row, 1, at.stats, STATE_WORDS)))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}

static int32_t add_all(struct job *job)
{
    if (job->algo == TENON_SOFTMAX_THREE_PASS_RELOAD && job->of.y.dtype != TENON_F32 && job->of.y.slot != GPU_SLOT_NONE &&
        job->cols) {
        job->work_rows = SOFTMAX_WORK_BYTES / 4 / job->cols;
        job->work_rows = job->work_rows < 1 ? 1 : job->work_rows;
        job->work_rows = job->work_rows > job->rows ? job->rows : job->work_rows;
    }
    uint64_t chunk = chunk_rows(job), states = 0;
    for (uint64_t row = 0; row < job->rows;) {
        uint64_t left = job->rows - row;
        uint32_t groups[3];
        uint64_t n = tenon__gpu_grid(job->limits, left < chunk ? left : chunk, groups);
        if (job->recipe->n > SOFTMAX_LAUNCHES_MAX)
            return tenon__softmax_too_many(job->recipe, &job->of.x);
        if (!add_rows(job, row, n, groups) || (job->stats && !tenon__softmax_stats(job->recipe, job->limits, &job->of, row, n, job->work_rows * job->cols * 4, STATE_WORDS)))
            return TENON_E_NOMEM;
        states = n > states ? n : states;
        row += n;
    }
    job->recipe->scratch = job->work_rows * job->cols * 4 + (job->stats ? states * STATE_BYTES : 0);
    return TENON_OK;
}

/* What the tuned kernels do not have. */
static int is_general(const struct tenon_softmax_params *p, const struct softmax_tensors *of)
{
    return p->kind > TENON_SOFTMAX_LOG_EXP || p->noise || p->support || p->post || p->adaptive ||
           of->mult.slot != GPU_SLOT_NONE;
}

static int32_t add_rows_of_all_lengths(struct job *job)
{
    static const char *const algos[] = {"auto", "three_pass_recompute", "three_pass_reload", "two_pass_ext", "online",
                                        "fixed_max"};
    const struct tenon_host *host = job->recipe->host;
    job->rows = job->of.x.rows;
    job->cols = job->of.x.cols;
    job->stats = (job->of.wanted ? STATS_ANY : 0u) | (job->of.wanted & 2u ? STATS_ARGMAX : 0u) |
                 (job->of.wanted & 16u ? STATS_MARGIN : 0u) | (job->of.wanted & 32u ? STATS_ENTROPY : 0u);
    job->algo = choose_algo(job->params);
    const int again = job->stats & STATS_ENTROPY || wants(job, TENON_SOFTMAX_SUMSQ);
    job->local = choose_local(job->limits, job->cols, job->algo == TENON_SOFTMAX_ONLINE && again ? 4 : 3);
    if (job->local == 0)
        return host->fail(host, TENON_E_UNSUPPORTED, "x: the rows are too long for this device's loops");
    const int tiled = job->cols > WHOLE_COLS;
    const char *kernel = !tiled && held_chunks(job) ? "softmax_held" : "softmax_row";
    snprintf(job->recipe->impl, sizeof(job->recipe->impl), "%s %s%s", kernel, algos[job->algo],
             tiled ? ", rows in tiles" : "");
    return tiled ? add_long_rows(job) : add_all(job);
}

static int32_t softmax_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                              struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = tenon__softmax_tensors(recipe->host, tensors, &job.of);
    if (status == TENON_OK && !tenon__softmax_clear_flags(recipe, &job.of))
        status = TENON_E_NOMEM;
    if (status == TENON_OK)
        status = is_general(params, &job.of) ? tenon__softmax_steps(params, &job.of, limits, recipe)
                                             : add_rows_of_all_lengths(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__softmax_gpu = {.op = TENON_OPNUM_softmax, .recipe = softmax_recipe};
