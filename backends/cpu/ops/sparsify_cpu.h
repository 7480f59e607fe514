/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify on the CPU: what the plan decides once (struct sparsify), and what is bound to a stretch of a row while it
 * is swept (struct row). sparsify_cpu_sweep.h has the sweeps, sparsify_cpu_cut.h the thresholds that come from the
 * data, sparsify_cpu.c the plan and how the work is shared out.
 *
 * Every kind ends as one of eight rules that judge an entry by itself; TOPK and BATCH_TOPK as RULE_CUT
 * (lib/select_row.h), STAT_TOPK as RULE_GT or RULE_SHIFT with theta for t. Sweeps go in index order, so that ties and
 * compact outputs do; where tiles are shared out, a first sweep counts, and each tile then knows where it begins. */
#ifndef TENON_SPARSIFY_CPU_H
#define TENON_SPARSIFY_CPU_H

#include <tenon/ops/sparsify.h>

#include "cpu.h"
#include "lib/block.h"
#include "lib/element.h"
#include "lib/select_row.h"
#include "lib/spread.h"

/* The first seven are kinds. */
enum {
    RULE_ABS_GT = TENON_SPARSIFY_ABS_GT,
    RULE_ABS_GE = TENON_SPARSIFY_ABS_GE,
    RULE_GT = TENON_SPARSIFY_GT,
    RULE_GE = TENON_SPARSIFY_GE,
    RULE_RELU = TENON_SPARSIFY_RELU,
    RULE_SHIFT = TENON_SPARSIFY_SHIFT_RELU,
    RULE_SOFT = TENON_SPARSIFY_SOFT,
    RULE_CUT,
    RULES
};

struct row;
typedef void sweep_fn(struct row *r, int64_t c0, int64_t c1);

/* Lives in cpu_plan.state. */
struct sparsify {
    sweep_fn *map;    /* y alone, of entries that are judged one by one */
    sweep_fn *sweep;  /* everything, in order */
    void (*keys)(const struct row *r, int64_t c0, int64_t c1, int32_t *keys);
    struct spread (*spread)(const struct row *r, int64_t c0, int64_t c1);
    void (*exact)(const struct row *r, int64_t c0, int64_t c1, struct spread_exact *to);
    int64_t rows, cols, kmax;
    int64_t x_stride, y_stride, cidx_stride, cval_stride; /* bytes from row to row */
    int64_t k, tiles, size; /* size: bytes of an element */
    double quantile;        /* Q(1 - k/cols) */
    uint64_t scratch;       /* bytes of workspace of a task */
    uint64_t units;         /* bytes of workspace for the units of a group, before the tasks' */
    float t, cap;
    uint32_t rule, tasks;
    uint8_t batch, stat, cut, by_abs, ddof, split, stream, counted, compact;
};

/* A stretch of a row on its way through a sweep. */
struct row {
    const void *x;
    void *y;                    /* NULL: not wanted */
    const float *t_col, *wgt;   /* NULL: none */
    int32_t *cidx;              /* NULL: not wanted */
    unsigned char *cval;        /* NULL: not wanted */
    int64_t kmax;               /* 0 without cidx and cval */
    int64_t n;                  /* kept so far, which is the next place in cidx and cval */
    int64_t equal;              /* RULE_CUT: how many equal to the cut are still to be kept */
    int64_t above, ties;        /* out: entries kept but for ties with the cut; those ties */
    float t, cap;               /* threshold; of RULE_SHIFT and RULE_SOFT tau */
    int32_t key;                /* RULE_CUT */
    uint8_t by_abs, stream, special; /* special, out: a NaN or +Inf was seen */
};

#endif
