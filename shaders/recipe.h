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

#endif
