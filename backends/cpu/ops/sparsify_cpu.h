/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify on the CPU: what the plan decides once. lib/sparsifier.h has the rules and the sweeps, sparsify_cpu_cut.h
 * the thresholds of rows that are shared out, sparsify_cpu.c the plan and how the work is shared out.
 *
 * Sweeps go in index order, so that ties and compact outputs do; where tiles are shared out, a first sweep counts, and
 * each tile then knows where it begins. */
#ifndef TENON_SPARSIFY_CPU_H
#define TENON_SPARSIFY_CPU_H

#include "cpu.h"
#include "lib/sparsifier.h"
#include "ops/sparsify_op.h"

/* Lives in cpu_plan.state. */
struct sparsify {
    struct sparsifier rule;
    const struct sparsifier_sweeps *sweeps;
    int64_t rows, cols, kmax;
    int64_t x_stride, y_stride, cidx_stride, cval_stride; /* bytes from row to row */
    int64_t tiles, size; /* size: bytes of an element */
    uint64_t scratch;       /* bytes of workspace of a task */
    uint64_t units;         /* bytes of workspace for the units of a group, before the tasks' */
    uint32_t tasks;
    uint8_t split, stream, counted, compact;
};

#endif
