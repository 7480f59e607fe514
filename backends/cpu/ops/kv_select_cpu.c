/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_select on the CPU: the plan, and its steps: blocks, scores of the rows, the rule in its scopes, the lists. */
#include <stdio.h>

#include "kv_select_cpu_rule.h"
#include "kv_select_cpu_score.h"

#define TASKS_PER_THREAD 4
#define SMALL_WORK       (1 << 15)

struct step {
    const struct run *run;
    int64_t n;
    uint32_t tasks;
    void (*each)(const struct run *run, int64_t at, struct slot *slot);
};

static struct slot slot_of(const struct run *run, uint32_t task)
{
    const struct select *s = run->s;
    float *at = (float *)(void *)(run->slots + task * s->slot);
    struct slot slot = {.mass = (double *)(void *)at};
    slot.row = at + 2 * s->padded;
    slot.head = slot.row + s->padded;
    slot.prob = slot.head + s->padded;
    slot.query = slot.prob + s->padded;
    slot.products = slot.query + s->width;
    return slot;
}

static void step_task(void *context, uint32_t task)
{
    const struct step *step = context;
    struct slot slot = slot_of(step->run, task);
    const int64_t each = step->n / step->tasks, rest = step->n % step->tasks;
    const int64_t from = each * task + (task < rest ? task : rest), to = from + each + (task < rest);
    for (int64_t at = from; at < to; at++)
        step->each(step->run, at, &slot);
}

static void steps(const struct run *run, int64_t n, void (*each)(const struct run *run, int64_t at, struct slot *slot))
{
    struct step step = {run, n, run->s->tasks, each};
    if (step.tasks == 1)
        step_task(&step, 0);
    else
        run->host->parallel(run->host, step.tasks, step_task, &step);
}

static void block_step(const struct run *run, int64_t at, struct slot *slot)
{
    (void)slot;
    make_block(run, at);
}

static void choose(const struct run *run, int64_t at)
{
    struct scope scope = scope_of(run, at);
    const int64_t rows = run->s->nk ? scope.n / run->s->nk : 0;
    if (run->s->p.norm == TENON_KV_SELECT_NORM_MINMAX)
        minmax(&scope);
    for (int64_t r = 0; r < rows; r++)
        make_keys(run, at * rows + r);
    run->cuts[at] = cut_of(run, &scope);
}

static void scope_step(const struct run *run, int64_t at, struct slot *slot)
{
    (void)slot;
    choose(run, at);
}

static void count_row(const struct run *run, int64_t r)
{
    const struct select *s = run->s;
    const int64_t at = r * s->nk / s->length, first = r * s->nk % s->length;
    const struct scope scope = scope_of(run, at);
    int32_t entries = 0;
    for (int64_t j = 0; j < s->nk; j++)
        entries += is_listed(&scope, &run->cuts[at], first + j);
    run->counts[r].entries = entries;
}

static void count_step(const struct run *run, int64_t at, struct slot *slot)
{
    (void)slot;
    count_row(run, at);
}

static void score_step(const struct run *run, int64_t at, struct slot *slot)
{
    score_row(run, at, slot);
    if (run->s->p.scope != TENON_KV_SELECT_ROW)
        return;
    choose(run, at);
    count_row(run, at);
}

/* Row r, from where row_ptr has it. */
static void list_step(const struct run *run, int64_t r, struct slot *slot)
{
    const struct select *s = run->s;
    const int32_t *row_ptr = run->ptr[TENON_KV_SELECT_ROW_PTR];
    int32_t *col = run->ptr[TENON_KV_SELECT_COL];
    const int64_t at = r * s->nk / s->length, first = r * s->nk % s->length, row = r + r / s->nq;
    const struct scope scope = scope_of(run, at);
    int64_t entry = row_ptr[row];
    (void)slot;
    for (int64_t j = 0; j < s->nk && entry < row_ptr[row + 1]; j++)
        if (is_listed(&scope, &run->cuts[at], first + j))
            col[entry++] = (int32_t)j;
}

/* row_ptr and flags. */
static void put_rows(const struct run *run)
{
    const struct select *s = run->s;
    const int32_t *len = run->ptr[TENON_KV_SELECT_KV_LEN];
    int32_t *row_ptr = run->ptr[TENON_KV_SELECT_ROW_PTR];
    uint32_t flags[4] = {0};
    int64_t all = 0;
    for (int64_t list = 0; list < s->batch * s->lists; list++) {
        row_ptr[list * (s->nq + 1)] = (int32_t)least(all, s->nnz);
        for (int64_t i = 0; i < s->nq; i++) {
            const struct count count = s->nk ? run->counts[list * s->nq + i] : (struct count){0, 0};
            all += count.entries;
            flags[0] += count.nan != 0;
            flags[1] += count.entries == 0;
            row_ptr[list * (s->nq + 1) + i + 1] = (int32_t)least(all, s->nnz);
        }
    }
    for (int64_t e = all; e < s->nnz; e++)
        ((int32_t *)run->ptr[TENON_KV_SELECT_COL])[e] = -1;
    flags[2] = all > s->nnz ? (uint32_t)(all - s->nnz) : 0;
    for (int64_t b = 0; len && b < s->batch; b++)
        flags[3] += len[b] < 0 || len[b] > s->keys;
    if (run->ptr[TENON_KV_SELECT_FLAGS])
        memcpy(run->ptr[TENON_KV_SELECT_FLAGS], flags, sizeof flags);
}

static void select_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct select *s = (const struct select *)(const void *)plan->state;
    unsigned char *room = workspace;
    struct run run = {.s = s, .host = plan->env->host, .ptr = ptr};
    if (s->rows && s->nk) {
        run.pooled_q = (float *)(void *)(room + s->pooled_q);
        run.pooled_k = (float *)(void *)(room + s->pooled_k);
        run.span_q = (struct span *)(void *)(room + s->span_q);
        run.span_k = (struct span *)(void *)(room + s->span_k);
        run.scores = ptr[TENON_KV_SELECT_SCORES_OUT] ? ptr[TENON_KV_SELECT_SCORES_OUT] : (void *)(room + s->scores);
        run.keys = (int32_t *)(void *)(room + s->keys_at);
        run.cuts = (struct cut *)(void *)(room + s->cuts);
        run.counts = (struct count *)(void *)(room + s->counts);
        run.slots = room + s->slots;
        steps(&run, s->batch * (s->nq + s->nk), block_step);
        steps(&run, s->rows, score_step);
        if (s->p.scope != TENON_KV_SELECT_ROW) {
            steps(&run, s->scopes, scope_step);
            steps(&run, s->rows, count_step);
        }
    }
    put_rows(&run);
    if (s->rows && s->nk && s->nnz)
        steps(&run, s->rows, list_step);
}

/* ---- the plan ---- */

static uint64_t place(uint64_t *total, int64_t bytes)
{
    const uint64_t at = *total;
    *total += ((uint64_t)bytes + 63) & ~UINT64_C(63);
    return at;
}

static void read_shapes(struct select *s, const struct tenon_tensor *t)
{
    const struct tenon_tensor *q = &t[TENON_KV_SELECT_Q], *k = &t[TENON_KV_SELECT_K];
    const struct tenon_tensor *kpos = &t[TENON_KV_SELECT_KPOS], *qpos = &t[TENON_KV_SELECT_QPOS];
    const struct tenon_tensor *row_ptr = &t[TENON_KV_SELECT_ROW_PTR], *given = &t[TENON_KV_SELECT_SCORES];
    const int external = s->p.score == TENON_KV_SELECT_EXTERNAL;
    s->batch = row_ptr->dim[0];
    s->lists = row_ptr->dim[1];
    s->nq = row_ptr->dim[2] - 1;
    s->heads = external ? given->dim[1] : q->dim[2];
    s->queries = external ? s->p.q_len : q->dim[1];
    s->keys = external ? s->p.k_len : k->dim[1];
    s->nk = (s->keys + s->p.block_k - 1) / s->p.block_k;
    s->kv_heads = external ? 1 : k->dim[2];
    s->width = external ? 0 : q->dim[3];
    s->dtype = external ? TENON_F32 : q->dtype;
    for (int axis = 0; !external && axis < 3; axis++) {
        s->q_stride[axis] = q->stride[axis];
        s->k_stride[axis] = k->stride[axis];
    }
    s->kpos_stride = kpos->dtype && kpos->dim[0] > 1 ? s->keys : 0;
    s->qpos_stride = qpos->dtype && qpos->dim[0] > 1 ? s->queries : 0;
    s->nnz = t[TENON_KV_SELECT_COL].dim[0];
    s->rows = s->batch * s->lists * s->nq;
    s->padded = (s->nk + PAD) / PAD * PAD;
}

static int32_t select_plan(struct cpu_plan *plan)
{
    static const char *const rules[] = {"topk", "thresh", "cumul", "stat"};
    static const char *const scores[] = {"pooled", "softmax_pooled", "prob_mass", "max_token", "external"};
    struct select *s = (struct select *)(void *)plan->state;
    uint64_t total = 0;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    memcpy(&s->p, plan->params, sizeof s->p);
    read_shapes(s, plan->tensor);
    s->scale = s->p.scale != 0 ? s->p.scale : s->width ? 1.0f / sqrtf((float)s->width) : 1.0f;
    s->scopes = s->p.scope == TENON_KV_SELECT_ROW    ? s->rows
                : s->p.scope == TENON_KV_SELECT_HEAD ? s->batch * s->lists
                                                     : 1;
    s->length = s->scopes ? s->rows * s->nk / s->scopes : 0;
    const int tokens = s->p.score == TENON_KV_SELECT_PROB_MASS || s->p.score == TENON_KV_SELECT_MAX_TOKEN;
    const int pooled = s->p.score <= TENON_KV_SELECT_SOFTMAX_POOLED;
    const double work = (double)s->rows * (double)s->nk * (double)(s->width + 32) *
                        (tokens ? (double)s->p.block_q * (double)s->p.block_k : 1);
    s->tasks = work < SMALL_WORK || plan->env->threads == 1 ? 1 : plan->env->threads * TASKS_PER_THREAD;
    s->slot = (uint64_t)(5 * s->padded + s->width + (tokens ? s->p.block_k : 0) + 2 * PAD) * 4;
    s->slot = (s->slot + 63) & ~UINT64_C(63);
    s->pooled_q = place(&total, pooled ? s->batch * s->heads * s->nq * s->width * 4 : 0);
    s->pooled_k = place(&total, pooled ? s->batch * s->kv_heads * s->nk * s->width * 4 : 0);
    s->span_q = place(&total, s->batch * s->nq * 8);
    s->span_k = place(&total, s->batch * s->nk * 8);
    s->scores = place(&total, plan->tensor[TENON_KV_SELECT_SCORES_OUT].dtype ? 0 : s->rows * s->nk * 4);
    s->keys_at = place(&total, s->rows * s->nk * 4);
    s->cuts = place(&total, s->scopes * (int64_t)sizeof(struct cut));
    s->counts = place(&total, s->rows * (int64_t)sizeof(struct count));
    s->slots = place(&total, (int64_t)(s->tasks * s->slot));
    plan->workspace = total;
    snprintf(plan->impl, sizeof plan->impl, "kv_select_%s_%s_%s", scores[s->p.score], rules[s->p.rule], CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(kv_select) = {
    .op = TENON_OPNUM_kv_select,
    .plan = select_plan,
    .run = select_run,
};
