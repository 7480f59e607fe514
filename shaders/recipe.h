/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Helpers of the recipes: tensors as the kernels see them, and how work is cut so that it fits a device. */
#ifndef TENON_RECIPE_H
#define TENON_RECIPE_H

#include "gpu.h"

/* A launch addresses fewer bytes than this from each of its buffer arguments, because kernels index with 32 bits. */
#define GPU_SPAN UINT64_C(0x7fff0000)

/* DT_* of lib/num.h. */
uint32_t tenon__gpu_dtype(uint32_t dtype);

/* A tensor as rows of its last axis. rank 0 is one row of one element; a tensor without elements has stride 0. */
struct gpu_rows {
    int32_t slot; /* GPU_SLOT_NONE when absent */
    uint32_t dtype, size;
    uint64_t rows, cols;
    uint64_t stride; /* elements from one row to the next */
    uint64_t first;  /* byte offset of the first element, a multiple of 4: of what lies in the scratch */
};
/* Folds the leading axes; 0 when they have no common stride. */
int tenon__gpu_rows(const struct tenon_tensor *tensor, int32_t slot, struct gpu_rows *rows);
/* Folds all axes of one value a row into cols; 0 when they are not contiguous. */
int tenon__gpu_list(const struct tenon_tensor *tensor, int32_t slot, struct gpu_rows *list);

/* Largest number of rows whose elements lie within GPU_SPAN bytes; at least 1. */
uint64_t tenon__gpu_rows_fit(const struct gpu_rows *rows, uint64_t most);

/* The buffer argument for element (row, col), and what is left to a multiple of four bytes as elements. */
void tenon__gpu_bind(struct gpu_launch *launch, const struct gpu_rows *rows, uint64_t row, uint64_t col);
uint32_t tenon__gpu_shift(const struct gpu_rows *rows, uint64_t row, uint64_t col);

/* The largest grid of at most n groups that fills axes 0 and 1 without a gap; the recipe launches again for what is
 * left. Returns the number of groups. */
uint64_t tenon__gpu_grid(const struct gpu_limits *limits, uint64_t n, uint32_t groups[3]);

/* Sums of the finite entries of rows of floats without any rounding, for means that cancel (lib/spread.h). */
#define GPU_EXACT_Q 0x1p-6 /* below: theta = mean + std * Q needs them */
struct gpu_row_sums {
    uint64_t rows, cols;
    uint32_t dtype, shift, local;          /* of the rows, whose buffer the caller binds; of the work-groups */
    uint64_t stride;                       /* elements from row to row */
    int32_t slot;
    uint64_t first;                        /* byte offset of the first row, a multiple of 4 */
    uint64_t sums, result;                 /* byte offsets in the scratch: room for the pieces; what results */
    uint32_t result_stride, result_at;     /* of row r, three words from r * result_stride + result_at on */
};
uint64_t tenon__gpu_row_sums_bytes(uint64_t rows, uint64_t cols);
/* 0: no memory. */
int tenon__gpu_row_sums(struct gpu_recipe *recipe, const struct gpu_limits *limits, const struct gpu_row_sums *job);

/* ---- rows by their numbers (recipe_rows.c) ---- */

/* At least n work-groups, for kernels in which those that are too many do nothing; 0 when the grid cannot hold them. */
int tenon__gpu_groups(const struct gpu_limits *limits, uint64_t n, uint32_t groups[3]);

/* Invocations of a work-group that goes `sweeps` times over a row (or a group) of cols, by cols and the device alone.
 * 0: too many for the device, whose loops end. */
uint32_t tenon__gpu_row_local(const struct gpu_limits *limits, uint64_t cols, uint64_t sweeps);

/* Words of a tensor or of the scratch, from byte offset `at` on, become `value`. 0: no memory. */
int tenon__gpu_fill(struct gpu_recipe *recipe, const struct gpu_limits *limits, int32_t slot, uint64_t at, uint64_t n,
                    uint32_t value);

/* Where packed sequences begin: words c[s] = max(c[s-1], min(cu[s], limit)) of the scratch, c[-1] = 0. */
struct gpu_sequences {
    int32_t cu_slot;    /* of n + 1 entries */
    int32_t flags_slot; /* GPU_SLOT_NONE, or where entries that change are counted, in word 3 */
    uint64_t n;
    uint32_t at, limit; /* the first word */
};
/* 0: no memory. */
int tenon__gpu_sequences(struct gpu_recipe *recipe, const struct gpu_sequences *job);

/* y[i] = from[idx[i] / divisor], bit for bit, zeros where that is no row. */
struct gpu_row_copy {
    struct gpu_rows from, y;
    int32_t idx_slot;      /* of y.rows entries */
    uint64_t idx_at;       /* their byte offset, a multiple of 4 */
    uint32_t divisor;      /* 1 and more; entries below 0 stay what they are */
    int32_t flags_slot;    /* GPU_SLOT_NONE, or where entries that are neither -1 nor a row are counted, in word 3 */
};
/* OK, NOMEM, or UNSUPPORTED for a row of 2 GiB. */
int32_t tenon__gpu_copy_rows(struct gpu_recipe *recipe, const struct gpu_limits *limits,
                             const struct gpu_row_copy *job);

#endif
