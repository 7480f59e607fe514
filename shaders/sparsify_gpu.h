/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the recipe of sparsify is made of: what the plan decides once (sparsify_gpu.c), and the launches of a chunk of
 * rows (sparsify_gpu_steps.c). */
#ifndef TENON_SPARSIFY_GPU_H
#define TENON_SPARSIFY_GPU_H

#include "recipe.h"

#include <tenon/ops/sparsify.h>

/* Of the scratch. */
enum { SPARSIFY_STATE_BYTES = 16, SPARSIFY_TOTAL_BYTES = 16, SPARSIFY_SEGMENT_BYTES = 12, SPARSIFY_BINS_BYTES = 1024 };
#define SPARSIFY_LISTS_LOCAL 64u

struct sparsify_job {
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
struct sparsify_chunk {
    uint64_t row, rows;
    uint64_t totals, lists, bins; /* byte offsets; the states are at 0, records share with bins */
};

/* How work-groups share out what a cut is chosen from: each has `each` rows of `span` columns. */
struct sparsify_shares {
    uint64_t span, pieces, each, groups, slots; /* slots: groups of one cut */
};

struct sparsify_shares tenon__sparsify_shares(const struct sparsify_job *job, uint64_t rows);

/* The launches of a chunk. 0: no memory. */
int tenon__sparsify_launch(struct sparsify_job *job, const struct sparsify_chunk *at);
/* Counts and flags of a chunk; clear: sets the flags to 0 before the first. 0: no memory. */
int tenon__sparsify_ends(struct sparsify_job *job, const struct sparsify_chunk *at, uint32_t clear);

static inline int has(const struct gpu_rows *rows)
{
    return rows->slot != GPU_SLOT_NONE;
}

static inline uint64_t pieces_of(uint64_t cols, uint64_t span)
{
    return cols ? (cols + span - 1) / span : 1;
}

#endif
