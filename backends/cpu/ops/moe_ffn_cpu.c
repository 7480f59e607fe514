/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn on the CPU. How a row is computed depends on how many rows its expert has; its bits do not (lib/product.h).
 */
#include "ops/moe_ffn_cpu_work.h"

static struct ffn_matrix ffn_matrix(const struct cpu_plan *plan, uint32_t w, uint32_t scale, uint32_t bias)
{
    const struct tenon_tensor *t = &plan->tensor[w], *s = &plan->tensor[scale];
    if (t->dtype == TENON_ABSENT)
        return (struct ffn_matrix){.w = w, .scale = scale, .bias = bias};
    const uint32_t lead = t->rank - 2;
    struct ffn_matrix m = {.w = w,
                           .scale = scale,
                           .bias = bias,
                           .n = t->dim[lead],
                           .k = t->dim[lead + 1],
                           .row = t->stride[lead],
                           .expert = lead ? t->stride[0] : 0};
    /* wd's scale has an axis of experts even where wd has not */
    const uint32_t grouped = w == TENON_MOE_FFN_WD ? 3 : lead + 2;
    if (s->dtype)
        m.groups = s->rank == grouped ? s->dim[grouped - 1] : 1;
    return m;
}

static uint64_t ffn_take_bytes(struct cpu_plan *plan, int64_t bytes)
{
    const uint64_t at = plan->workspace;
    plan->workspace += ((uint64_t)bytes + 63) / 64 * 64;
    return at;
}

static void ffn_plan_workspace(struct cpu_plan *plan, struct ffn_state *s)
{
    const int64_t size = sizeof(float), rows = s->rows, active = s->experts < rows ? s->experts : rows;
    /* all there could be (which no integer need hold), but no more than the arena; at least a panel */
    const double panels = (double)(rows / PRODUCT_MR + rows / (DOT_MOST + 1) + 1);
    const double whole =
        (double)rows * (double)(ffn_lanes(s->f) + s->depth) + panels * (double)(ffn_panel(s->d) + ffn_panel(s->f));
    const int64_t least = ffn_room(s, DOT_MOST + PRODUCT_MR, s->f) + DOT_MOST * s->depth;
    s->arena = whole < (double)(FFN_ARENA / sizeof(float)) ? (int64_t)whole : (int64_t)(FFN_ARENA / sizeof(float));
    s->arena = s->arena > least ? s->arena : least;
    const int64_t k = s->d > s->f ? s->d : s->f;
    const int64_t sums = (FFN_ROWS / PRODUCT_MR + 1) * FFN_PANELS * 2 * PRODUCT_MR * PRODUCT_NR;
    plan->workspace = 0;
    s->at_starts = ffn_take_bytes(plan, (s->experts + 1) * (int64_t)sizeof(int32_t));
    s->at_rows = ffn_take_bytes(plan, rows * (int64_t)sizeof(int32_t));
    s->at_records = ffn_take_bytes(plan, active * (int64_t)sizeof(struct ffn_record));
    s->at_arena = ffn_take_bytes(plan, s->arena * size);
    s->worker_bytes = (uint64_t)((FFN_PANELS * ffn_block(k, PRODUCT_NR) + sums) * size + 63) / 64 * 64;
    s->at_workers = ffn_take_bytes(plan, (int64_t)(s->workers * s->worker_bytes));
}

static int32_t ffn_plan(struct cpu_plan *plan)
{
    const struct tenon_moe_ffn_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor;
    struct ffn_state *s = (void *)plan->state;
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    *s = (struct ffn_state){.rows = t[TENON_MOE_FFN_Z].dim[0],
                            .experts = t[TENON_MOE_FFN_OFFSETS].dim[0] - 1,
                            .d = t[TENON_MOE_FFN_X].dim[1],
                            .out = t[TENON_MOE_FFN_Z].dim[1],
                            .act = {p->act, p->alpha, p->threshold},
                            .workers = 1};
    s->g = ffn_matrix(plan, TENON_MOE_FFN_WG, TENON_MOE_FFN_WG_SCALE, TENON_MOE_FFN_BG);
    s->u = ffn_matrix(plan, TENON_MOE_FFN_WU, TENON_MOE_FFN_WU_SCALE, TENON_MOE_FFN_BU);
    s->o = ffn_matrix(plan, TENON_MOE_FFN_WD, TENON_MOE_FFN_WD_SCALE, TENON_MOE_FFN_BD);
    s->f = s->u.n;
    s->weighted = p->weight_at == TENON_MOE_FFN_AT_INPUT;
    s->depth = ffn_lanes(s->d);
    /* Cycles, roughly: below some 10 us a parallel region costs more than it saves. */
    const double weights = (double)s->f * (double)(s->d * (s->g.n ? 2 : 1) + s->out);
    if ((double)s->rows * weights / (2 * VF) > 60000)
        s->workers = plan->env->threads;
    ffn_plan_workspace(plan, s);
    snprintf(plan->impl, sizeof plan->impl, "%s: in place to %d rows an expert, %u workers", CPU_ISA_NAME, DOT_MOST,
             s->workers);
    return TENON_OK;
}

#define FFN_COPY_ALONE 65536 /* floats that are copied sooner than other threads wake up */

static void ffn_step(struct ffn_run *run, const struct ffn_cursor *cursor, int step)
{
    ffn_number(run, step);
    uint32_t n = run->pieces < run->state->workers ? (uint32_t)run->pieces : run->state->workers;
    if (step == FFN_COPY && cursor->copied < FFN_COPY_ALONE)
        n = n > 1 ? 1 : n;
    ffn_parallel(run, n, step == FFN_UP || step == FFN_DOWN ? ffn_product_worker : ffn_pack_worker);
}

static void ffn_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct ffn_state *s = (const void *)plan->state;
    struct ffn_run run = {.plan = plan, .state = s, .ptr = ptr, .workspace = workspace};
    run.starts = (int32_t *)(void *)(run.workspace + s->at_starts);
    run.rows = (int32_t *)(void *)(run.workspace + s->at_rows);
    run.record = (struct ffn_record *)(void *)(run.workspace + s->at_records);
    uint32_t *flags = ptr[TENON_MOE_FFN_FLAGS];
    const uint32_t changed = ffn_list_rows(&run);
    atomic_init(&run.nans, 0);
    if (run.live < s->rows || flags)
        ffn_parallel(&run, (uint32_t)((s->rows + FFN_PREPARED - 1) / FFN_PREPARED), ffn_prepare);
    if (flags) {
        flags[0] = (uint32_t)atomic_load(&run.nans);
        flags[1] = (uint32_t)(s->rows - run.live);
        flags[2] = 0;
        flags[3] = changed;
    }
    if (s->out == 0)
        return;
    struct ffn_cursor cursor = {0};
    while (ffn_next_records(&run, &cursor))
        for (int step = FFN_COPY; step <= FFN_DOWN; step++)
            ffn_step(&run, &cursor, step);
}

const struct cpu_op CPU_OP_TABLE(moe_ffn);
const struct cpu_op CPU_OP_TABLE(moe_ffn) = {
    .op = TENON_OPNUM_moe_ffn,
    .plan = ffn_plan,
    .run = ffn_run,
};
