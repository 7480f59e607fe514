/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the recipes of softmax share. */
#ifndef TENON_SOFTMAX_GPU_H
#define TENON_SOFTMAX_GPU_H

#include "recipe.h"

#include <tenon/ops/softmax.h>

/* Scratch is reused from chunk to chunk of the rows; these keep it small. */
#define SOFTMAX_WORK_BYTES (UINT64_C(64) << 20)
#define SOFTMAX_LAUNCHES_MAX 65536u

/* Longer rows are cut. A bound on the loops of an invocation too: some devices stop after 65535 rounds without a
 * word. */
#ifndef WHOLE_COLS
#define WHOLE_COLS UINT64_C(65536)
#endif

/* The tensors as rows, or as lists of one value a row. */
struct softmax_tensors {
    struct gpu_rows x, bias, mask, noise, y;
    struct gpu_rows valid_len, row_scale, sink, mult, flags;
    struct gpu_rows stat[TENON_SOFTMAX_BETA - TENON_SOFTMAX_MAX + 1];
    uint32_t wanted; /* bit i: stat[i] is there; bit SOFTMAX_FLAGS_BIT: flags */
};
enum { SOFTMAX_FLAGS_BIT = TENON_SOFTMAX_BETA - TENON_SOFTMAX_MAX + 1 };
int32_t tenon__softmax_tensors(const struct tenon_host *host, const struct tenon_tensor *tensors,
                               struct softmax_tensors *of);

/* Columns of a work-group of a long row; there are at most 8192 of them. */
uint64_t tenon__softmax_tile(uint64_t cols);

/* Elements between rows, of n rows. */
uint32_t tenon__softmax_stride(const struct gpu_rows *rows, uint64_t n);

/* Sets the flags to 0. The other two return 0 when there is no memory. */
int tenon__softmax_clear_flags(struct gpu_recipe *recipe, const struct softmax_tensors *of);
/* Statistics and flags of n rows from `row` on, which have `pitch` words each at the byte `states` of the scratch. */
int tenon__softmax_stats(struct gpu_recipe *recipe, const struct gpu_limits *limits, const struct softmax_tensors *of,
                         uint64_t row, uint64_t n, uint64_t states, uint32_t pitch);
int32_t tenon__softmax_too_many(const struct gpu_recipe *recipe, const struct gpu_rows *x);

/* The general path: all kinds and options. */
int32_t tenon__softmax_steps(const struct tenon_softmax_params *params, const struct softmax_tensors *of,
                             const struct gpu_limits *limits, struct gpu_recipe *recipe);

#endif
