/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify on the CPU: the plan, and how its work is shared out. */
#include <stdio.h>

#include "sparsify_cpu_cut.h"

SPARSIFIER_TYPE(f32, TENON_F32)
SPARSIFIER_TYPE(f16, TENON_F16)
SPARSIFIER_TYPE(bf16, TENON_BF16)
static const struct sparsifier_sweeps all_sweeps[] = {
    SPARSIFIER_SWEEPS(f32, TENON_F32), SPARSIFIER_SWEEPS(f16, TENON_F16), SPARSIFIER_SWEEPS(bf16, TENON_BF16)};

static const char *const rule_names[RULES] = {"abs_gt", "abs_ge", "gt", "ge", "relu", "shift", "soft", "cut"};

/* ---- the plan ---- */

static uint64_t round_up(uint64_t n)
{
    return (n + 63) & ~UINT64_C(63);
}

static int64_t stride_of(const struct tenon_tensor *t)
{
    int64_t rows, stride, cols;
    if (t->dtype == TENON_ABSENT || tenon_tensor_rows(t, &rows, &stride, &cols) != TENON_OK)
        return 0;
    return stride * (int64_t)TENON_DTYPE_SIZE(t->dtype);
}

/* How the work is shared out, and the workspace for it: units where tiles are, then the room to select in, of them all
 * or for each task, and then its flags. */
static uint64_t choose_split(struct sparsify *s, const struct cpu_env *env)
{
    const uint64_t tasks = (uint64_t)env->threads * TASKS_PER_THREAD;
    const int small = s->rows == 0 || s->cols == 0 || s->rows <= SMALL_WORK / s->cols;
    s->tiles = s->cols > TILE ? (s->cols + TILE - 1) / TILE : 1;
    s->split = s->rule.batch || (env->threads > 1 && !small && s->tiles > 1 &&
                            (s->cols >= SPLIT_COLS || (uint64_t)s->rows < env->threads));
    const int64_t group = s->rule.batch ? s->rows : 1;
    s->units = s->split ? round_up((uint64_t)group * (uint64_t)s->tiles * sizeof(struct unit)) : 0;
    s->tasks = small || env->threads == 1 ? 1 : (uint32_t)tasks;
    if (!s->split && (uint64_t)s->rows < s->tasks)
        s->tasks = s->rows > 0 ? (uint32_t)s->rows : 1;
    if (s->split)
        return s->units + (s->rule.cut ? select_row_bytes(group * s->cols, s->tasks) : 0);
    s->scratch = 64 + (s->rule.cut ? select_row_bytes(s->cols, 1) : 0);
    return s->tasks * s->scratch;
}

static int32_t sparsify_plan(struct cpu_plan *plan)
{
    struct sparsify *s = (struct sparsify *)(void *)plan->state;
    const struct tenon_tensor *t = plan->tensor, *x = &t[TENON_SPARSIFY_X];
    const struct tenon_tensor *list = &t[t[TENON_SPARSIFY_CIDX].dtype ? TENON_SPARSIFY_CIDX : TENON_SPARSIFY_CVAL];
    int64_t stride;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan has no room");
    int32_t status = tenon_tensor_rows(x, &s->rows, &stride, &s->cols);
    if (status)
        return status;
    s->size = (int64_t)TENON_DTYPE_SIZE(x->dtype);
    s->x_stride = stride_of(x);
    s->y_stride = stride_of(&t[TENON_SPARSIFY_Y]);
    s->cidx_stride = stride_of(&t[TENON_SPARSIFY_CIDX]);
    s->cval_stride = stride_of(&t[TENON_SPARSIFY_CVAL]);
    s->compact = list->dtype != TENON_ABSENT;
    s->kmax = s->compact ? list->dim[list->rank - 1] : 0;
    s->counted = s->compact || t[TENON_SPARSIFY_NNZ].dtype || t[TENON_SPARSIFY_FLAGS].dtype;
    const struct sparsifier_rule rule = tenon__sparsify_rule((const void *)plan->params);
    s->rule = sparsifier_of(&rule, s->cols);
    s->sweeps = all_sweeps;
    while (s->sweeps->dtype != x->dtype)
        s->sweeps++;
    plan->workspace = choose_split(s, plan->env);
    /* Past the cache when the tensors do not fit it anyway: y is not read first and evicts nothing. */
    s->stream = x->dtype == TENON_F32 && tenon_tensor_bytes(&t[TENON_SPARSIFY_Y]) > plan->env->l2 * 4;
    snprintf(plan->impl, sizeof plan->impl, "sparsify_%s_%s %s%s", tenon_dtype_name(x->dtype), CPU_ISA_NAME,
             s->rule.stat ? "stat " : "", rule_names[s->rule.how]);
    return TENON_OK;
}

/* ---- the ends of rows ---- */

/* What a whole row comes to: r is its last sweep, n all that it keeps. */
static void end_row(const struct run *run, const struct row *r, int64_t row, uint32_t *flags)
{
    const struct sparsify *s = run->s;
    const int64_t held = s->compact && r->n > s->kmax ? s->kmax : r->n;
    flags[0] += r->special;
    flags[1] += r->n == 0;
    flags[2] += s->rule.cut && !s->rule.batch && r->n < s->rule.k;
    flags[3] += s->compact && r->n > s->kmax;
    if (run->ptr[TENON_SPARSIFY_NNZ])
        ((int32_t *)run->ptr[TENON_SPARSIFY_NNZ])[row] = (int32_t)held;
    if (r->cidx)
        memset(r->cidx + held, 0xff, (size_t)(s->kmax - held) * sizeof *r->cidx);
    if (r->cval)
        memset(r->cval + held * s->size, 0, (size_t)((s->kmax - held) * s->size));
}

static uint32_t *task_flags(const struct run *run, uint32_t task)
{
    return (uint32_t *)(void *)(run->workspace + run->s->units + (task + UINT64_C(1)) * run->s->scratch - 64);
}

static void write_flags(const struct run *run, const uint32_t *flags)
{
    if (run->ptr[TENON_SPARSIFY_FLAGS])
        memcpy(run->ptr[TENON_SPARSIFY_FLAGS], flags, 4 * sizeof *flags);
}

/* ---- rows shared out ---- */

static void rows_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct sparsify *s = run->s;
    const uint64_t rows = (uint64_t)s->rows, tasks = s->tasks;
    /* rows < 2^32 and tasks < 2^13: no overflow. */
    const int64_t from = (int64_t)(rows * i / tasks), to = (int64_t)(rows * (i + UINT64_C(1)) / tasks);
    uint32_t *flags = task_flags(run, i);
    memset(flags, 0, 4 * sizeof *flags);
    for (int64_t row = from; row < to; row++) {
        struct row r = row_begin(run);
        bind_row(run, &r, row);
        if (s->rule.cut)
            set_cut(&r, cut_rows(run, &r, row, 1, 1, run->workspace + i * s->scratch));
        if (s->rule.stat)
            theta_row(&s->rule, s->sweeps, &r, s->cols);
        if (s->counted || r.equal > 0) {
            s->sweeps->sweep[s->rule.how](&r, 0, s->cols);
            end_row(run, &r, row, flags);
        } else {
            s->sweeps->map[s->rule.how](&r, 0, s->cols);
        }
    }
    if (s->stream)
        simd_fence();
}

static void run_rows(const struct run *run)
{
    uint32_t flags[4] = {0};
    if (run->s->tasks == 1)
        rows_task((void *)(uintptr_t)run, 0);
    else
        run->host->parallel(run->host, run->s->tasks, rows_task, (void *)(uintptr_t)run);
    for (uint32_t i = 0; i < run->s->tasks; i++)
        for (int f = 0; f < 4; f++)
            flags[f] += task_flags(run, i)[f];
    write_flags(run, flags);
}

/* ---- tiles shared out ---- */

/* Counts what a tile keeps. Ties are not taken: how many of them are is not known yet. */
static void count_unit(struct group *g, int64_t u, uint32_t task)
{
    const struct sparsify *s = g->run->s;
    struct row r = unit_row(g, u);
    int64_t c0, c1;
    (void)task;
    unit_columns(s, u, &c0, &c1);
    r.y = NULL;
    r.kmax = r.equal = 0;
    s->sweeps->sweep[s->rule.how](&r, c0, c1);
    g->unit[u].above = r.above;
    g->unit[u].ties = r.ties;
    g->unit[u].special = r.special;
}

static void map_unit(struct group *g, int64_t u, uint32_t task)
{
    const struct sparsify *s = g->run->s;
    struct row r = unit_row(g, u);
    int64_t c0, c1;
    (void)task;
    unit_columns(s, u, &c0, &c1);
    s->sweeps->map[s->rule.how](&r, c0, c1);
}

static void sweep_unit(struct group *g, int64_t u, uint32_t task)
{
    const struct sparsify *s = g->run->s;
    struct row r = unit_row(g, u);
    int64_t c0, c1;
    (void)task;
    unit_columns(s, u, &c0, &c1);
    r.n = g->unit[u].n;
    r.equal = g->unit[u].equal;
    s->sweeps->sweep[s->rule.how](&r, c0, c1);
}

/* From the counts of the units to where each begins, and to the ends of the rows. */
static void count_group(struct group *g, uint32_t *flags)
{
    const struct sparsify *s = g->run->s;
    struct row r = g->row;
    int64_t kept = 0;
    group_spread(g, count_unit);
    for (int64_t u = 0; u < g->units; u++) {
        struct unit *unit = &g->unit[u];
        if (u % s->tiles == 0)
            r.n = r.special = 0;
        unit->n = r.n;
        unit->equal = r.equal;
        const int64_t taken = unit->ties < r.equal ? unit->ties : r.equal;
        r.equal -= taken;
        r.n += unit->above + taken;
        r.special |= unit->special;
        if (u % s->tiles < s->tiles - 1)
            continue;
        kept += r.n;
        bind_row(g->run, &r, g->first + u / s->tiles);
        end_row(g->run, &r, g->first + u / s->tiles, flags);
    }
    flags[2] += s->rule.batch && kept < s->rule.k * s->rows;
}

static void run_group(struct group *g, uint32_t *flags)
{
    const struct sparsify *s = g->run->s;
    g->row = row_begin(g->run);
    if (s->rule.cut)
        set_cut(&g->row, cut_rows(g->run, &g->row, g->first, g->units / s->tiles, s->tasks,
                                  g->run->workspace + s->units));
    if (s->rule.stat)
        theta_group(g);
    if (s->counted || g->row.equal > 0) {
        count_group(g, flags);
        group_spread(g, sweep_unit);
    } else {
        group_spread(g, map_unit);
    }
}

static void run_groups(const struct run *run)
{
    const struct sparsify *s = run->s;
    uint32_t flags[4] = {0};
    struct group g = {.run = run, .unit = (struct unit *)(void *)run->workspace};
    const int64_t rows = s->rule.batch ? s->rows : 1;
    g.units = rows * s->tiles;
    for (g.first = 0; g.first < s->rows; g.first += rows)
        run_group(&g, flags);
    write_flags(run, flags);
}

static void sparsify_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    static const uint32_t none[4] = {0};
    const struct sparsify *s = (const struct sparsify *)(const void *)plan->state;
    const struct run run = {s, plan->env->host, ptr, workspace, plan->env->threads};
    if (s->rows == 0)
        write_flags(&run, none);
    else if (s->split)
        run_groups(&run);
    else
        run_rows(&run);
}

const struct cpu_op CPU_OP_TABLE(sparsify) = {
    .op = TENON_OPNUM_sparsify,
    .plan = sparsify_plan,
    .run = sparsify_run,
};
