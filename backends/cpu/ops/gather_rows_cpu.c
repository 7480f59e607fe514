/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gather_rows on the CPU. A unit of work is a stretch of one row, so that a few long rows keep all threads busy too. */
#include <stdio.h>

#include <tenon/ops/gather_rows.h>

#include "cpu.h"
#include "lib/copy.h"

#define STRETCH          (INT64_C(1) << 16) /* bytes */
#define SMALL_WORK       (1 << 16)          /* bytes not worth waking threads for */
#define TASKS_PER_THREAD 4
#define AHEAD            4096               /* bytes between a row and the one that is asked for meanwhile */
#define HEAD             512                /* bytes of that one: then the hardware follows */

/* Lives in cpu_plan.state. */
struct gather {
    int64_t rows, n, bytes;  /* of the table; of y; of a row */
    int64_t from_row, to_row; /* bytes from row to row */
    int64_t blocks, ahead;   /* ahead: rows between the two */
    int32_t divisor;
    uint32_t tasks, stream;
};

struct run {
    const struct gather *g;
    const unsigned char *table;
    const int32_t *idx;
    unsigned char *y;
    uint64_t *wrong; /* NULL, or of each task, 64 bytes apart */
};

/* -1 and below stay below 0. */
static int32_t row_of(const struct gather *g, int32_t entry)
{
    return g->divisor == 1 || entry < 0 ? entry : entry / g->divisor;
}

static void gather_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct gather *g = run->g;
    /* By division first: units may be 2^62. */
    const int64_t units = g->n * g->blocks, each = units / g->tasks, rest = units % g->tasks;
    const int64_t from = each * i + (i < rest ? i : rest), to = from + each + (i < rest);
    int64_t row = from / g->blocks, block = from % g->blocks;
    uint64_t wrong = 0;
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t at = block * STRETCH, left = g->bytes - at, bytes = left < STRETCH ? left : STRETCH;
        const int32_t index = row_of(g, run->idx[row]);
        const int32_t next = row + g->ahead < g->n ? row_of(g, run->idx[row + g->ahead]) : -1;
        const int there = index >= 0 && index < g->rows;
        unsigned char *y = run->y + row * g->to_row + at;
        if (next >= 0 && next < g->rows)
            for (int64_t b = 0; b < HEAD && b < g->bytes; b += 64)
                simd_prefetch(run->table + next * g->from_row + b);
        if (bytes > 0 && there)
            copy_row(y, run->table + index * g->from_row + at, bytes, (int)g->stream);
        else if (bytes > 0)
            copy_zeros(y, bytes, (int)g->stream);
        wrong += block == 0 && !there && index != -1;
        if (++block == g->blocks) {
            block = 0;
            row++;
        }
    }
    if (g->stream)
        simd_fence();
    if (run->wrong)
        run->wrong[i * 8] = wrong;
}

static void gather_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct gather *g = (const struct gather *)(const void *)plan->state;
    const struct run run = {g, ptr[TENON_GATHER_ROWS_TABLE], ptr[TENON_GATHER_ROWS_IDX], ptr[TENON_GATHER_ROWS_Y],
                            ptr[TENON_GATHER_ROWS_FLAGS] ? workspace : NULL};
    uint32_t flags[4] = {0};
    if (g->tasks == 1)
        gather_task((void *)(uintptr_t)&run, 0);
    else if (g->tasks)
        plan->env->host->parallel(plan->env->host, g->tasks, gather_task, (void *)(uintptr_t)&run);
    if (!ptr[TENON_GATHER_ROWS_FLAGS])
        return;
    for (uint32_t i = 0; i < g->tasks; i++)
        flags[3] += (uint32_t)run.wrong[i * 8];
    memcpy(ptr[TENON_GATHER_ROWS_FLAGS], flags, sizeof flags);
}

static int32_t gather_plan(struct cpu_plan *plan)
{
    const struct tenon_tensor *table = &plan->tensor[TENON_GATHER_ROWS_TABLE], *y = &plan->tensor[TENON_GATHER_ROWS_Y];
    const int64_t size = (int64_t)TENON_DTYPE_SIZE(table->dtype);
    const struct tenon_gather_rows_params *p = (const void *)plan->params;
    struct gather *g = (struct gather *)(void *)plan->state;
    int64_t cols;
    _Static_assert(sizeof *g <= sizeof plan->state, "the plan's room");
    int32_t status = tenon_tensor_rows(table, &g->rows, &g->from_row, &cols);
    if (!status)
        status = tenon_tensor_rows(y, &g->n, &g->to_row, &cols);
    if (status)
        return status;
    g->divisor = p->divisor;
    g->bytes = cols * size;
    g->ahead = g->bytes > AHEAD / 2 ? 1 : AHEAD / (g->bytes ? g->bytes : 1);
    g->from_row *= size;
    g->to_row *= size;
    g->blocks = g->bytes > STRETCH ? (g->bytes + STRETCH - 1) / STRETCH : 1;
    const int64_t units = g->n * g->blocks, most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    const double work = (double)g->n * (double)(g->bytes + 8);
    g->tasks = work < SMALL_WORK || plan->env->threads == 1 ? units > 0 : (uint32_t)(units < most ? units : most);
    g->stream = tenon_tensor_bytes(y) > plan->env->l2 * 4;
    plan->workspace = plan->tensor[TENON_GATHER_ROWS_FLAGS].dtype ? g->tasks * UINT64_C(64) : 0;
    snprintf(plan->impl, sizeof plan->impl, "gather_rows_%s_%s", tenon_dtype_name(table->dtype), CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(gather_rows) = {
    .op = TENON_OPNUM_gather_rows,
    .plan = gather_plan,
    .run = gather_run,
};
