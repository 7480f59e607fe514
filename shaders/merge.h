/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of merge_columns.k: y = the sum over the parts of o times their factors, which the recipe's own kernel has
 * put into the scratch, two floats a part of a row, rows after each other. */
#ifndef TENON_GPU_MERGE_H
#define TENON_GPU_MERGE_H

#include "recipe.h"

#define GPU_MERGE_FACTOR_BYTES 8u

struct gpu_merge {
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows o, y; /* [parts,rows,dv], [rows,dv] */
    uint64_t parts, rows, dv;
    uint64_t piece;   /* parts that a loop may go over; at least 1 */
    uint64_t factors; /* byte offset in the scratch */
    uint64_t carry;   /* the same, where piece < parts: of tenon__gpu_merge_column_bytes a row */
};
/* Whether a launch reaches all of o, and the factors of a row. */
int tenon__gpu_merge_fits(const struct gpu_merge *job);
/* Rows whose factors are in the scratch at a time. */
uint64_t tenon__gpu_merge_chunk(const struct gpu_merge *job);
uint64_t tenon__gpu_merge_column_bytes(const struct gpu_merge *job);
/* Rows [row, row + n) of y, the factors of `row` being the first in the scratch. 0: no memory. */
int tenon__gpu_merge_columns(const struct gpu_merge *job, uint64_t row, uint64_t n);

#endif
