/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of sparsify.
 *
 * Where entries are judged one by one and y is all that is asked for, sparsify_map: one read, one write. TOPK first
 * finds the cut of each row, by a work-group of sparsify_select where a row is short, else by rounds of select and
 * sparsify_pick; STAT_TOPK finds theta (sparsify_stat, sparsify_theta;
 * near k = cols/2 with exact sums, row_sum).
 * Compact outputs, counts and ties need the order of the columns: sparsify_count counts segments, sparsify_scan and
 * sparsify_ends add them up, sparsify_emit writes. Ties at a cut are rare: sparsify_map writes the rows without, and
 * the other launches have nothing to do there. */
#include "recipe.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/sparsify.h>

#include "normal.h"

/* Of lib/sparsify.h. */
enum { FROM_BITS, FROM_ROW, FROM_COL, FROM_THETA, FROM_CUT, FROM_BATCH, FROM_KEY };
enum { VALUE_SAME, VALUE_SHIFT, VALUE_SOFT };
enum { STATE_BYTES = 16, TOTAL_BYTES = 16, SEGMENT_BYTES = 12, RECORD_BYTES = 24, BINS_BYTES = 1024, ROUNDS = 4 };

#define WORK_BYTES (UINT64_C(64) << 20) /* rows go in chunks whose scratch is about this */
#define LAUNCHES_MAX 65536u
#define MAP_SPAN 4096u      /* columns of a work-group */
#define WHOLE_SPAN 16384u   /* longer rows are selected from by many work-groups */
#define SEGMENT_MIN 64u     /* columns of an invocation of sparsify_count */
#define SEGMENTS_MAX 4096u  /* of a row, before they grow */
#define SLOTS_MAX 4096u     /* work-groups that count for one cut */
#define LISTS_LOCAL 64u

struct job {
    const struct tenon_sparsify_params *params;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows x, y, cidx, cval;
    struct gpu_rows t_row, t_col, wgt, nnz, flags;
    uint64_t rows, cols, kmax;
    uint32_t word, threshold;
    uint32_t local;      /* of the kernels that share a row's columns */
    uint64_t segments;   /* of a row */
    uint64_t span;       /* columns of one */
    uint64_t map_span, pieces; /* columns of a work-group of sparsify_map, and how many a row has */
    int batch, stat, cut, ordered, exact; /* exact: theta needs exact sums */
    double quantile;                      /* STAT_TOPK's Q */
};

/* A chunk of rows, and where its scratch lies. */
struct chunk {
    uint64_t row, rows;
    uint64_t totals, lists, bins; /* byte offsets; the states are at 0, records share with bins */
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int32_t read_tensors(struct job *job, const struct tenon_tensor *tensors)
{
    const struct { int32_t index; const char *text; struct gpu_rows *rows; int list; } table[] = {
        {TENON_SPARSIFY_X, "x: leading axes without a common row stride are not supported", &job->x, 0},
        {TENON_SPARSIFY_T_ROW, "t_row: gaps are not supported", &job->t_row, 1},
        {TENON_SPARSIFY_T_COL, "t_col: gaps are not supported", &job->t_col, 1},
        {TENON_SPARSIFY_WGT, "wgt: gaps are not supported", &job->wgt, 1},
        {TENON_SPARSIFY_Y, "y: leading axes without a common row stride are not supported", &job->y, 0},
        {TENON_SPARSIFY_NNZ, "nnz: gaps are not supported", &job->nnz, 1},
        {TENON_SPARSIFY_CIDX, "cidx: leading axes without a common row stride are not supported", &job->cidx, 0},
        {TENON_SPARSIFY_CVAL, "cval: leading axes without a common row stride are not supported", &job->cval, 0},
        {TENON_SPARSIFY_FLAGS, "flags: gaps are not supported", &job->flags, 1},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct tenon_tensor *tensor = &tensors[table[i].index];
        int ok = table[i].list ? tenon__gpu_list(tensor, table[i].index, table[i].rows)
                               : tenon__gpu_rows(tensor, table[i].index, table[i].rows);
        if (!ok)
            return unsupported(job, table[i].text);
    }
    job->rows = job->x.rows;
    job->cols = job->x.cols;
    job->kmax = job->cidx.slot != GPU_SLOT_NONE ? job->cidx.cols : job->cval.slot != GPU_SLOT_NONE ? job->cval.cols : 0;
    if (job->cols * job->x.size > GPU_SPAN || job->kmax * 4 > GPU_SPAN)
        return unsupported(job, "x: rows and lists of 2^31 bytes and more are not supported");
    return TENON_OK;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static int has(const struct gpu_rows *rows)
{
    return rows->slot != GPU_SLOT_NONE;
}

/* The rule as lib/sparsify.h knows it. */
static void choose_rule(struct job *job)
{
    const struct tenon_sparsify_params *p = job->params;
    const int top = p->kind >= TENON_SPARSIFY_TOPK, trivial = p->k == 0 || (uint64_t)p->k == job->cols;
    const int by_abs = p->kind == TENON_SPARSIFY_ABS_GT || p->kind == TENON_SPARSIFY_ABS_GE ||
                       p->kind == TENON_SPARSIFY_SOFT ||
                       ((p->kind == TENON_SPARSIFY_TOPK || p->kind == TENON_SPARSIFY_BATCH_TOPK) &&
                        p->by == TENON_SPARSIFY_BY_ABS);
    uint32_t value = VALUE_SAME, from = has(&job->t_row) ? FROM_ROW : has(&job->t_col) ? FROM_COL : FROM_BITS;
    job->threshold = bits_of(p->t);
    job->batch = p->kind == TENON_SPARSIFY_BATCH_TOPK;
    job->stat = p->kind == TENON_SPARSIFY_STAT_TOPK && !trivial;
    job->quantile = job->stat ? -tenon__normal_quantile((double)p->k / (double)job->cols) : 0;
    job->exact = job->stat && fabs(job->quantile) < GPU_EXACT_Q;
    job->cut = (p->kind == TENON_SPARSIFY_TOPK && !trivial) || (job->batch && p->k > 0);
    if (p->kind == TENON_SPARSIFY_RELU)
        job->threshold = 0;
    if (p->kind == TENON_SPARSIFY_SHIFT_RELU || p->kind == TENON_SPARSIFY_SOFT) {
        value = p->kind == TENON_SPARSIFY_SOFT ? VALUE_SOFT : VALUE_SHIFT;
        job->threshold = bits_of(p->tau);
    }
    if (job->stat) {
        from = FROM_THETA;
        value = p->keep == TENON_SPARSIFY_KEEP ? VALUE_SAME : VALUE_SHIFT;
    } else if (top && !job->cut) {
        from = FROM_KEY;
        job->threshold = p->k == 0 ? 0x7fffffffu : 0x80000001u; /* none, or all but NaN */
    } else if (job->cut) {
        from = job->batch ? FROM_BATCH : FROM_CUT;
    }
    const uint32_t ge = p->kind == TENON_SPARSIFY_ABS_GE || p->kind == TENON_SPARSIFY_GE;
    const uint32_t cap = !top && value != VALUE_SAME && p->cap < FLT_MAX;
    job->word = tenon__gpu_dtype(job->x.dtype) | (uint32_t)by_abs << 2 | (uint32_t)has(&job->wgt) << 3 | ge << 4 |
                value << 5 | (uint32_t)(p->kind == TENON_SPARSIFY_RELU) << 7 | from << 8 |
                (uint32_t)has(&job->y) << 11 | (uint32_t)has(&job->cidx) << 12 | (uint32_t)has(&job->cval) << 13 |
                (uint32_t)has(&job->nnz) << 18 | (uint32_t)has(&job->flags) << 19 | cap << 20 |
                (uint32_t)(p->kind == TENON_SPARSIFY_TOPK || (top && !job->stat && !job->batch)) << 21;
    job->ordered = has(&job->cidx) || has(&job->cval) || has(&job->nnz) || has(&job->flags);
    if (job->cut && !job->ordered)
        job->word |= 1u << 17; /* ties alone are ordered */
}

static uint64_t pieces_of(uint64_t cols, uint64_t span)
{
    return cols ? (cols + span - 1) / span : 1;
}

static void choose_sizes(struct job *job)
{
    const struct gpu_limits *limits = job->limits;
    const uint64_t longest = job->cols > job->kmax ? job->cols : job->kmax;
    job->local = job->cols <= 1024 ? 64 : 256;
    if (limits->vector) /* an invocation is a vector */
        job->local = 1;
    else if (limits->software) /* a subgroup is one vector, which needs no barriers */
        job->local = limits->subgroup >= 8 ? 8 : 16;
    if (job->local > limits->wg_max)
        job->local = 64;
    job->map_span = MAP_SPAN;
    while (pieces_of(job->cols, job->map_span) > limits->groups_max[0])
        job->map_span *= 2;
    job->pieces = pieces_of(job->cols, job->map_span);
    job->span = SEGMENT_MIN;
    while (longest / job->span > SEGMENTS_MAX && job->span < 16384)
        job->span *= 2;
    while (longest / job->span > 32768)
        job->span *= 2;
    job->segments = (longest + job->span - 1) / job->span;
    job->segments = job->segments ? job->segments : 1;
}

static uint32_t stride_of(const struct gpu_rows *rows, uint64_t n)
{
    return n > 1 ? (uint32_t)rows->stride : 0;
}

/* The word with the shifts of a chunk's first row. */
static uint32_t word_of(const struct job *job, const struct chunk *at)
{
    return job->word | tenon__gpu_shift(&job->x, at->row, 0) << 14 | tenon__gpu_shift(&job->y, at->row, 0) << 15 |
           tenon__gpu_shift(&job->cval, at->row, 0) << 16;
}

/* `n` work-groups, no more than one axis of the grid has; NULL: no memory. */
static struct gpu_launch *add(struct job *job, const char *kernel, uint32_t local, uint64_t n)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, local);
    if (launch != NULL)
        (void)tenon__gpu_grid(job->limits, n, launch->groups);
    return launch;
}

/* At least `n` invocations, for kernels in which those that are too many do nothing. */
static struct gpu_launch *add_lists(struct job *job, const char *kernel, uint64_t n)
{
    const uint64_t groups = (n + LISTS_LOCAL - 1) / LISTS_LOCAL, most = job->limits->groups_max[0];
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, LISTS_LOCAL);
    if (launch == NULL)
        return NULL;
    launch->groups[0] = (uint32_t)(groups < most ? groups : most);
    launch->groups[1] = (uint32_t)((groups + launch->groups[0] - 1) / launch->groups[0]);
    launch->groups[2] = 1;
    return launch;
}

static void bind_sides(const struct job *job, const struct chunk *at, struct gpu_launch *launch)
{
    tenon__gpu_bind(launch, &job->t_row, 0, has(&job->t_row) ? at->row : 0);
    tenon__gpu_bind(launch, &job->t_col, 0, 0);
    tenon__gpu_bind(launch, &job->wgt, 0, 0);
}

/* ---- the launches of a chunk; 0: no memory ---- */

static int add_map(struct job *job, const struct chunk *at)
{
    struct gpu_launch *launch = add(job, "sparsify_map", job->local, at->rows * job->pieces);
    if (launch == NULL)
        return 0;
    gpu_launch_spec(launch, 0);
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    tenon__gpu_bind(launch, &job->y, at->row, 0);
    bind_sides(job, at, launch);
    gpu_launch_buffer(launch, job->cut || job->stat ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, 0);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, stride_of(&job->y, at->rows));
    gpu_launch_u32(launch, (uint32_t)job->map_span);
    gpu_launch_u32(launch, (uint32_t)job->pieces);
    gpu_launch_u32(launch, word_of(job, at));
    gpu_launch_u32(launch, job->threshold);
    gpu_launch_f32(launch, job->params->cap);
    return 1;
}

/* How work-groups share out what a cut is chosen from: each has `each` rows of `span` columns. */
struct shares {
    uint64_t span, pieces, each, groups, slots; /* slots: groups of one cut */
};

static struct shares shares_of(const struct job *job, uint64_t rows)
{
    struct shares s = {.span = WHOLE_SPAN, .each = 1};
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

static int add_select(struct job *job, const struct chunk *at)
{
    const struct shares s = shares_of(job, at->rows);
    const uint64_t places = (uint64_t)job->params->k * (job->batch ? job->rows : 1);
    const int whole = s.slots == 1;
    const uint32_t pick = job->limits->vector ? 1 : 64;
    for (uint32_t round = 0; round < (whole ? 1 : ROUNDS); round++) {
        struct gpu_launch *launch = add(job, "sparsify_select", job->local, s.groups);
        if (launch == NULL)
            return 0;
        tenon__gpu_bind(launch, &job->x, at->row, 0);
        tenon__gpu_bind(launch, &job->wgt, 0, 0);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
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
        launch = whole ? launch : add(job, "sparsify_pick", pick, job->batch ? 1 : at->rows);
        if (launch == NULL)
            return 0;
        if (whole)
            continue;
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
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
static int add_sums(struct job *job, const struct chunk *at)
{
    struct gpu_row_sums sums = {.rows = at->rows, .cols = job->cols, .dtype = job->x.dtype, .local = job->local,
                                .shift = tenon__gpu_shift(&job->x, at->row, 0), .slot = job->x.slot,
                                .stride = stride_of(&job->x, at->rows), .sums = at->bins,
                                .result_stride = STATE_BYTES / 4, .result_at = 1};
    sums.first = at->row * job->x.stride * job->x.size & ~UINT64_C(3);
    return tenon__gpu_row_sums(job->recipe, job->limits, &sums);
}

static int add_theta(struct job *job, const struct chunk *at)
{
    const uint64_t pieces = shares_of(job, at->rows).pieces, span = shares_of(job, at->rows).span;
    if (job->exact && !add_sums(job, at))
        return 0;
    struct gpu_launch *launch = add(job, "sparsify_stat", job->local, at->rows * pieces);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->bins);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, (uint32_t)span);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, word_of(job, at));
    launch = add_lists(job, "sparsify_theta", at->rows);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->bins);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)span);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, job->params->ddof);
    gpu_launch_u32(launch, (uint32_t)job->exact);
    add_pair(launch, job->quantile);
    return 1;
}

static int add_ends(struct job *job, const struct chunk *at, uint32_t clear)
{
    const uint64_t each = job->batch ? (at->rows + LISTS_LOCAL - 1) / LISTS_LOCAL : 1;
    const uint64_t places = (uint64_t)job->params->k * (job->batch ? job->rows : 1);
    struct gpu_launch *launch = add_lists(job, "sparsify_ends", clear || job->batch ? 1 : at->rows);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, clear ? GPU_SLOT_NONE : GPU_SLOT_SCRATCH, 0);
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

static int add_count(struct job *job, const struct chunk *at)
{
    struct gpu_launch *launch = add_lists(job, "sparsify_count", at->rows * job->segments);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    bind_sides(job, at, launch);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->lists);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, stride_of(&job->x, at->rows));
    gpu_launch_u32(launch, (uint32_t)job->span);
    gpu_launch_u32(launch, (uint32_t)job->segments);
    gpu_launch_u32(launch, word_of(job, at));
    gpu_launch_u32(launch, job->threshold);
    launch = add_lists(job, "sparsify_scan", at->rows);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->lists);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at->totals);
    gpu_launch_u32(launch, (uint32_t)at->rows);
    gpu_launch_u32(launch, (uint32_t)job->segments);
    return add_ends(job, at, 0);
}

static int add_emit(struct job *job, const struct chunk *at)
{
    struct gpu_launch *launch = add_lists(job, "sparsify_emit", at->rows * job->segments);
    if (launch == NULL)
        return 0;
    tenon__gpu_bind(launch, &job->x, at->row, 0);
    tenon__gpu_bind(launch, &job->y, at->row, 0);
    bind_sides(job, at, launch);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
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
    gpu_launch_f32(launch, job->params->cap);
    return 1;
}

static int add_chunk(struct job *job, const struct chunk *at)
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

/* ---- chunks ---- */

/* Rows that lie in the reach of a launch, with scratch that is not too large. */
static uint64_t chunk_rows(const struct job *job)
{
    const struct shares s = shares_of(job, 1);
    const uint64_t bytes = STATE_BYTES + TOTAL_BYTES + job->segments * SEGMENT_BYTES + s.pieces * BINS_BYTES;
    uint64_t n = job->ordered || job->cut || job->stat ? WORK_BYTES / bytes : GPU_SPAN;
    n = n ? n : 1;
    /* The work-groups of a chunk lie on one axis of the grid. */
    const uint64_t pieces = s.pieces > job->pieces ? s.pieces : job->pieces;
    n = n < job->limits->groups_max[0] / pieces ? n : job->limits->groups_max[0] / pieces;
    if (job->batch)
        n = job->rows;
    n = tenon__gpu_rows_fit(&job->x, n);
    n = tenon__gpu_rows_fit(&job->y, n);
    n = tenon__gpu_rows_fit(&job->cidx, n);
    return tenon__gpu_rows_fit(&job->cval, n);
}

static int32_t add_all(struct job *job)
{
    const uint64_t most = chunk_rows(job);
    const struct chunk start = {.rows = 0};
    if (has(&job->flags) && !add_ends(job, &start, 1))
        return TENON_E_NOMEM;
    if (job->batch && most < job->rows)
        return unsupported(job, "x: batch_topk of 2^31 bytes and more is not supported");
    if (job->batch && job->limits->loop_max && job->rows / LISTS_LOCAL * 2 > job->limits->loop_max)
        return unsupported(job, "x: batch_topk has too many rows for this device's loops");
    for (struct chunk at = {.row = 0}; at.row < job->rows; at.row += at.rows) {
        at.rows = job->rows - at.row < most ? job->rows - at.row : most;
        at.totals = at.rows * STATE_BYTES;
        at.lists = at.totals + at.rows * TOTAL_BYTES;
        at.bins = at.lists + at.rows * job->segments * SEGMENT_BYTES;
        const struct shares s = shares_of(job, at.rows);
        uint64_t scratch = at.bins + (job->cut || job->stat ? s.groups * BINS_BYTES : 0);
        if (job->exact && at.bins + tenon__gpu_row_sums_bytes(at.rows, job->cols) > scratch)
            scratch = at.bins + tenon__gpu_row_sums_bytes(at.rows, job->cols);
        if (job->recipe->n > LAUNCHES_MAX)
            return unsupported(job, "x: too many rows for the launches of a plan");
        if (!add_chunk(job, &at))
            return TENON_E_NOMEM;
        if (job->ordered || job->cut || job->stat)
            job->recipe->scratch = scratch > job->recipe->scratch ? scratch : job->recipe->scratch;
    }
    return TENON_OK;
}

/* Rows without gaps, whose entries are all judged alike, are one row. */
static void join_rows(struct job *job)
{
    const int alike = !job->ordered && !job->cut && !job->stat && !has(&job->t_row) && !has(&job->t_col) &&
                      !has(&job->wgt);
    const int packed = job->rows <= 1 || (job->x.stride == job->cols && job->y.stride == job->cols);
    if (!alike || !packed || job->rows * job->cols * job->x.size > GPU_SPAN)
        return;
    job->cols *= job->rows;
    job->rows = job->rows ? 1 : 0;
    job->x.rows = job->y.rows = job->rows;
    job->x.cols = job->y.cols = job->cols;
}

static int32_t sparsify_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                               struct gpu_recipe *recipe)
{
    static const char *const kinds[] = {"abs_gt",     "abs_ge", "gt",   "ge",         "relu",
                                        "shift_relu", "soft",   "topk", "batch_topk", "stat_topk"};
    struct job job = {.params = params, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    choose_rule(&job);
    join_rows(&job);
    choose_sizes(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "sparsify %s%s", kinds[job.params->kind],
             job.ordered ? ", in order" : "");
    status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__sparsify_gpu = {.op = TENON_OPNUM_sparsify, .recipe = sparsify_recipe};
