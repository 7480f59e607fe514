/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A rule by which entries of rows are kept (plugin-api/sparsifier_rule.h) as launches, for every recipe that has one:
 * what is decided once (sparsifier.c), and the launches of a chunk of rows (sparsifier_steps.c). */
#ifndef TENON_GPU_SPARSIFIER_H
#define TENON_GPU_SPARSIFIER_H

#include "recipe.h"
#include "sparsifier_rule.h"

/* Of the scratch. */
enum {
    SPARSIFIER_STATE_BYTES = 16,
    SPARSIFIER_TOTAL_BYTES = 16,
    SPARSIFIER_SEGMENT_BYTES = 12,
    SPARSIFIER_BINS_BYTES = 1024
};
#define SPARSIFIER_LISTS_LOCAL 64u

struct sparsifier_job {
    struct sparsifier_rule rule;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows x, y, cidx, cval;             /* all but x: where they are wanted */
    struct gpu_rows t_row, t_col, wgt, nnz, flags;
    uint64_t base;                                /* byte offset in the scratch, where ours may begin */
    /* own */
    uint64_t rows, cols, kmax;
    uint32_t word, threshold;
    uint32_t local;      /* of the kernels that share a row's columns */
    uint64_t segments;   /* of a row */
    uint64_t span;       /* columns of one */
    uint64_t map_span, pieces; /* columns of a work-group of sparsifier_map, and how many a row has */
    int batch, stat, cut, ordered, exact; /* exact: theta needs exact sums */
    double quantile;                      /* STAT_TOPK's Q */
};

/* Adds the launches, and their scratch. y may be x. */
int32_t tenon__gpu_sparsifier(struct sparsifier_job *job);

/* A chunk of rows, and where its scratch lies. */
struct sparsifier_chunk {
    uint64_t row, rows;
    uint64_t totals, lists, bins; /* byte offsets; the states are at the base, records share with bins */
};

/* How work-groups share out what a cut is chosen from: each has `each` rows of `span` columns. */
struct sparsifier_shares {
    uint64_t span, pieces, each, groups, slots; /* slots: groups of one cut */
};

struct sparsifier_shares tenon__sparsifier_shares(const struct sparsifier_job *job, uint64_t rows);

/* The launches of a chunk. 0: no memory. */
int tenon__sparsifier_launch(struct sparsifier_job *job, const struct sparsifier_chunk *at);
/* Counts and flags of a chunk; clear: sets the flags to 0 before the first. 0: no memory. */
int tenon__sparsifier_ends(struct sparsifier_job *job, const struct sparsifier_chunk *at, uint32_t clear);

static inline int has(const struct gpu_rows *rows)
{
    return rows->slot != GPU_SLOT_NONE;
}

static inline uint64_t pieces_of(uint64_t cols, uint64_t span)
{
    return cols ? (cols + span - 1) / span : 1;
}

#endif
