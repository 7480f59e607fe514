/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of sparsifiers: what is decided once.
 *
 * Where entries are judged one by one and y is all that is asked for, sparsifier_map: one read, one write. TOPK first
 * finds the cut of each row, by a work-group of sparsifier_select where a row is short, else by rounds of select and
 * sparsifier_pick; STAT_TOPK finds theta (sparsifier_stat, sparsifier_theta; near k = cols/2 with exact sums, row_sum).
 * Compact outputs, counts and ties need the order of the columns: sparsifier_count counts segments, sparsifier_scan and
 * sparsifier_ends add them up, sparsifier_emit writes. Ties at a cut are rare: sparsifier_map writes the rows without,
 * and the other launches have nothing to do there. */
#include "sparsifier.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "normal.h"

/* Of lib/sparsifier.h. */
enum { FROM_BITS, FROM_ROW, FROM_COL, FROM_THETA, FROM_CUT, FROM_BATCH, FROM_KEY };
enum { VALUE_SAME, VALUE_SHIFT, VALUE_SOFT };

#define WORK_BYTES (UINT64_C(64) << 20) /* rows go in chunks whose scratch is about this */
#define LAUNCHES_MAX 65536u
#define MAP_SPAN 4096u      /* columns of a work-group */
#define SEGMENT_MIN 64u     /* columns of an invocation of sparsifier_count */
#define SEGMENTS_MAX 4096u  /* of a row, before they grow */

static int32_t unsupported(const struct sparsifier_job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* The rule as lib/sparsifier.h knows it. */
static void choose_rule(struct sparsifier_job *job)
{
    const struct sparsifier_rule *p = &job->rule;
    const int top = p->kind >= SPARSIFIER_TOPK, trivial = p->k == 0 || (uint64_t)p->k == job->cols;
    const int by_abs = p->kind == SPARSIFIER_ABS_GT || p->kind == SPARSIFIER_ABS_GE ||
                       p->kind == SPARSIFIER_SOFT ||
                       ((p->kind == SPARSIFIER_TOPK || p->kind == SPARSIFIER_BATCH_TOPK) &&
                        p->by == SPARSIFIER_BY_ABS);
    uint32_t value = VALUE_SAME, from = has(&job->t_row) ? FROM_ROW : has(&job->t_col) ? FROM_COL : FROM_BITS;
    job->threshold = bits_of(p->t);
    job->batch = p->kind == SPARSIFIER_BATCH_TOPK;
    job->stat = p->kind == SPARSIFIER_STAT_TOPK && !trivial;
    job->quantile = job->stat ? -tenon__normal_quantile((double)p->k / (double)job->cols) : 0;
    job->exact = job->stat && fabs(job->quantile) < GPU_EXACT_Q;
    job->cut = (p->kind == SPARSIFIER_TOPK && !trivial) || (job->batch && p->k > 0);
    if (p->kind == SPARSIFIER_RELU)
        job->threshold = 0;
    if (p->kind == SPARSIFIER_SHIFT_RELU || p->kind == SPARSIFIER_SOFT) {
        value = p->kind == SPARSIFIER_SOFT ? VALUE_SOFT : VALUE_SHIFT;
        job->threshold = bits_of(p->tau);
    }
    if (job->stat) {
        from = FROM_THETA;
        value = p->keep == SPARSIFIER_KEEP ? VALUE_SAME : VALUE_SHIFT;
    } else if (top && !job->cut) {
        from = FROM_KEY;
        job->threshold = p->k == 0 ? 0x7fffffffu : 0x80000001u; /* none, or all but NaN */
    } else if (job->cut) {
        from = job->batch ? FROM_BATCH : FROM_CUT;
    }
    const uint32_t ge = p->kind == SPARSIFIER_ABS_GE || p->kind == SPARSIFIER_GE;
    const uint32_t cap = !top && value != VALUE_SAME && p->cap < FLT_MAX;
    job->word = tenon__gpu_dtype(job->x.dtype) | (uint32_t)by_abs << 2 | (uint32_t)has(&job->wgt) << 3 | ge << 4 |
                value << 5 | (uint32_t)(p->kind == SPARSIFIER_RELU) << 7 | from << 8 |
                (uint32_t)has(&job->y) << 11 | (uint32_t)has(&job->cidx) << 12 | (uint32_t)has(&job->cval) << 13 |
                (uint32_t)has(&job->nnz) << 18 | (uint32_t)has(&job->flags) << 19 | cap << 20 |
                (uint32_t)(p->kind == SPARSIFIER_TOPK || (top && !job->stat && !job->batch)) << 21;
    job->ordered = has(&job->cidx) || has(&job->cval) || has(&job->nnz) || has(&job->flags);
    if (job->cut && !job->ordered)
        job->word |= 1u << 17; /* ties alone are ordered */
}

static void choose_sizes(struct sparsifier_job *job)
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

/* ---- chunks ---- */

/* Rows that lie in the reach of a launch, with scratch that is not too large. */
static uint64_t chunk_rows(const struct sparsifier_job *job)
{
    const struct sparsifier_shares s = tenon__sparsifier_shares(job, 1);
    const uint64_t bytes = SPARSIFIER_STATE_BYTES + SPARSIFIER_TOTAL_BYTES + job->segments * SPARSIFIER_SEGMENT_BYTES +
                           s.pieces * SPARSIFIER_BINS_BYTES;
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

static int32_t add_all(struct sparsifier_job *job)
{
    const uint64_t most = chunk_rows(job);
    const struct sparsifier_chunk start = {.rows = 0};
    if (has(&job->flags) && !tenon__sparsifier_ends(job, &start, 1))
        return TENON_E_NOMEM;
    if (job->batch && most < job->rows)
        return unsupported(job, "x: batch_topk of 2^31 bytes and more is not supported");
    if (job->batch && job->limits->loop_max && job->rows / SPARSIFIER_LISTS_LOCAL * 2 > job->limits->loop_max)
        return unsupported(job, "x: batch_topk has too many rows for this device's loops");
    for (struct sparsifier_chunk at = {.row = 0}; at.row < job->rows; at.row += at.rows) {
        at.rows = job->rows - at.row < most ? job->rows - at.row : most;
        at.totals = job->base + at.rows * SPARSIFIER_STATE_BYTES;
        at.lists = at.totals + at.rows * SPARSIFIER_TOTAL_BYTES;
        at.bins = at.lists + at.rows * job->segments * SPARSIFIER_SEGMENT_BYTES;
        const struct sparsifier_shares s = tenon__sparsifier_shares(job, at.rows);
        uint64_t scratch = at.bins + (job->cut || job->stat ? s.groups * SPARSIFIER_BINS_BYTES : 0);
        if (job->exact && at.bins + tenon__gpu_row_sums_bytes(at.rows, job->cols) > scratch)
            scratch = at.bins + tenon__gpu_row_sums_bytes(at.rows, job->cols);
        if (job->recipe->n > LAUNCHES_MAX)
            return unsupported(job, "x: too many rows for the launches of a plan");
        if (!tenon__sparsifier_launch(job, &at))
            return TENON_E_NOMEM;
        if (job->ordered || job->cut || job->stat)
            job->recipe->scratch = scratch > job->recipe->scratch ? scratch : job->recipe->scratch;
    }
    return TENON_OK;
}

/* Rows without gaps, whose entries are all judged alike, are one row. */
static void join_rows(struct sparsifier_job *job)
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

int32_t tenon__gpu_sparsifier(struct sparsifier_job *job)
{
    job->rows = job->x.rows;
    job->cols = job->x.cols;
    job->kmax = has(&job->cidx) ? job->cidx.cols : has(&job->cval) ? job->cval.cols : 0;
    if (job->cols * job->x.size > GPU_SPAN || job->kmax * 4 > GPU_SPAN)
        return unsupported(job, "x: rows and lists of 2^31 bytes and more are not supported");
    choose_rule(job);
    join_rows(job);
    choose_sizes(job);
    return add_all(job);
}
