/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_combine on the CPU. A unit of work is a stretch of COLS columns of one token; which rows it takes each of its
 * units finds anew. A few vectors of columns at a time go over all rows, so that a sum never leaves its registers.
 * Meanwhile the same columns of the next token's rows are asked for: a row is too short for the hardware to find out
 * where it goes on. */
#include <stdio.h>

#include <tenon/ops/moe_combine.h>

#include "cpu.h"
#include "lib/element.h"
#include "lib/pack.h"
#include "lib/unroll.h"

#define COLS             4096
#define WIDE             4         /* vectors of a sum */
#define SMALL_WORK       (1 << 14) /* elements not worth waking threads for */
#define TASKS_PER_THREAD 4

struct slot {
    const char *row;
    float w;
};

struct side {
    int64_t row;   /* bytes from row to row */
    uint32_t dtype, size;
};

struct token;
typedef void sum_fn(const struct token *t, int64_t c, int64_t end);

/* Lives in cpu_plan.state. */
struct combine {
    int64_t tokens, k, cols, mp, blocks;
    struct side zp, shared, residual, y;
    uint64_t room; /* bytes of a task: its flags, then slots of two tokens */
    sum_fn *sum;
    float shared_scale;
    uint32_t skip_zero, tasks, stream;
};

struct run {
    const struct combine *s;
    void *const *ptr;
    unsigned char *workspace;
    int stream;
};

struct token {
    const struct combine *s;
    const struct slot *slot, *next; /* next: of the token after it, `nexts` of them */
    const char *shared, *residual;
    char *y;
    int64_t slots, nexts;
    int stream;
};

/* ---- columns ---- */

SIMD_FN void sum_step(const struct token *t, int64_t c, int64_t n, const int vectors, const uint32_t dtype)
{
    const struct combine *s = t->s;
    vf acc[WIDE];
    UNROLL
    for (int v = 0; v < vectors; v++)
        acc[v] = vf_zero();
    for (int64_t j = 0; j < t->slots; j++) {
        const vf w = vf_set1(t->slot[j].w);
        const char *z = t->slot[j].row;
        if (j < t->nexts)
            for (int64_t line = 0; line < vectors * VF * (int64_t)TENON_DTYPE_SIZE(dtype); line += 64)
                simd_prefetch_far(t->next[j].row + c * (int64_t)TENON_DTYPE_SIZE(dtype) + line);
        UNROLL
        for (int v = 0; v < vectors; v++)
            acc[v] = vf_fma(w, vectors > 1 ? pack_load(dtype, z, c + v * VF) : pack_load_n(dtype, z, c, n), acc[v]);
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        const int64_t at = c + v * VF, left = n - v * VF;
        if (t->shared)
            acc[v] = vf_fma(vf_set1(s->shared_scale), pack_load_n(s->shared.dtype, t->shared, at, left), acc[v]);
        if (t->residual)
            acc[v] = vf_add(acc[v], pack_load_n(s->residual.dtype, t->residual, at, left));
        store_y(t->y, at, acc[v], left < VF ? (int)left : VF, s->y.dtype, t->stream);
    }
}

SIMD_FN void sum_columns(const struct token *t, int64_t c, int64_t end, const uint32_t dtype)
{
    for (; c + WIDE * VF <= end; c += WIDE * VF)
        sum_step(t, c, WIDE * VF, WIDE, dtype);
    for (; c < end; c += VF)
        sum_step(t, c, end - c < VF ? end - c : VF, 1, dtype);
}

static void sum_f32(const struct token *t, int64_t c, int64_t end)
{
    sum_columns(t, c, end, TENON_F32);
}

static void sum_f16(const struct token *t, int64_t c, int64_t end)
{
    sum_columns(t, c, end, TENON_F16);
}

static void sum_bf16(const struct token *t, int64_t c, int64_t end)
{
    sum_columns(t, c, end, TENON_BF16);
}

/* ---- tokens ---- */

static const char *row_of(const struct run *run, uint32_t i, const struct side *side, int64_t row)
{
    return run->ptr[i] ? (const char *)run->ptr[i] + row * side->row : NULL;
}

/* The rows that token `row` takes; what there is to count goes to flags, unless that is NULL. */
static struct token read_token(const struct run *run, int64_t row, struct slot *slot, uint32_t *flags)
{
    const struct combine *s = run->s;
    const int32_t *pos = (const int32_t *)run->ptr[TENON_MOE_COMBINE_POS] + row * s->k;
    const float *w = (const float *)run->ptr[TENON_MOE_COMBINE_W] + row * s->k;
    struct token t = {.s = s, .slot = slot};
    uint32_t nan = 0, wrong = 0;
    for (int64_t j = 0; j < s->k; j++) {
        if (pos[j] < 0 || pos[j] >= s->mp) {
            wrong += pos[j] != -1;
            continue;
        }
        nan |= w[j] != w[j];
        if (w[j] == 0.0f && s->skip_zero)
            continue;
        slot[t.slots].row = row_of(run, TENON_MOE_COMBINE_ZP, &s->zp, pos[j]);
        slot[t.slots++].w = w[j];
    }
    if (flags) {
        flags[0] += nan;
        flags[1] += t.slots == 0;
        flags[3] += wrong;
    }
    t.shared = row_of(run, TENON_MOE_COMBINE_SHARED, &s->shared, row);
    t.residual = row_of(run, TENON_MOE_COMBINE_RESIDUAL, &s->residual, row);
    t.y = (char *)(uintptr_t)row_of(run, TENON_MOE_COMBINE_Y, &s->y, row);
    t.stream = run->stream && (uintptr_t)t.y % (VF * sizeof(float)) == 0;
    return t;
}

static void combine_task(void *context, uint32_t i)
{
    const struct run *run = context;
    const struct combine *s = run->s;
    /* By division first: units may be near 2^63. */
    const int64_t units = s->tokens * s->blocks, each = units / s->tasks, rest = units % s->tasks;
    const int64_t from = each * i + (i < rest ? i : rest), to = from + each + (i < rest);
    uint32_t *flags = (uint32_t *)(void *)(run->workspace + i * s->room);
    struct slot *slot = (struct slot *)(void *)(run->workspace + i * s->room + 64);
    struct token t = {.s = s}, next = {.s = s};
    const int64_t last = (to - 1) / s->blocks;
    memset(flags, 0, 4 * sizeof *flags);
    if (from < to) /* a token is counted by whom its first columns are */
        next = read_token(run, from / s->blocks, slot, from % s->blocks ? NULL : flags);
    for (int64_t unit = from, row = -1; unit < to; unit++) {
        const int64_t c = unit % s->blocks * COLS;
        if (unit / s->blocks != row) {
            row = unit / s->blocks;
            t = next;
            if (row < last) {
                next = read_token(run, row + 1, slot + (row + 1 - from / s->blocks) % 2 * s->k, flags);
                t.next = next.slot;
                t.nexts = s->blocks == 1 ? next.slots : 0; /* longer rows the hardware follows */
            }
        }
        if (s->cols)
            s->sum(&t, c, s->cols - c < COLS ? s->cols : c + COLS);
    }
    if (run->stream)
        simd_fence();
}

static void combine_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct combine *s = (const struct combine *)(const void *)plan->state;
    struct run run = {s, ptr, workspace, 0};
    uint32_t flags[4] = {0};
    /* What was just read lies in the caches. */
    run.stream = s->stream && ptr[TENON_MOE_COMBINE_Y] != ptr[TENON_MOE_COMBINE_RESIDUAL];
    if (s->tasks == 1)
        combine_task(&run, 0);
    else if (s->tasks)
        plan->env->host->parallel(plan->env->host, s->tasks, combine_task, &run);
    if (!ptr[TENON_MOE_COMBINE_FLAGS])
        return;
    for (uint32_t i = 0; i < s->tasks; i++)
        for (int f = 0; f < 4; f++)
            flags[f] += ((const uint32_t *)(const void *)(run.workspace + i * s->room))[f];
    memcpy(ptr[TENON_MOE_COMBINE_FLAGS], flags, sizeof flags);
}

/* ---- the plan ---- */

static int32_t read_side(const struct tenon_tensor *t, struct side *side, int64_t *rows)
{
    int64_t stride, cols;
    if (!t->dtype)
        return TENON_OK;
    const int32_t status = tenon_tensor_rows(t, rows, &stride, &cols);
    side->dtype = t->dtype;
    side->size = TENON_DTYPE_SIZE(t->dtype);
    side->row = stride * (int64_t)side->size;
    return status;
}

static int32_t combine_plan(struct cpu_plan *plan)
{
    const struct tenon_moe_combine_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *pos = &t[TENON_MOE_COMBINE_POS], *y = &t[TENON_MOE_COMBINE_Y];
    struct combine *s = (struct combine *)(void *)plan->state;
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    int32_t status = read_side(&t[TENON_MOE_COMBINE_ZP], &s->zp, &s->mp);
    if (!status)
        status = read_side(&t[TENON_MOE_COMBINE_SHARED], &s->shared, &s->tokens);
    if (!status)
        status = read_side(&t[TENON_MOE_COMBINE_RESIDUAL], &s->residual, &s->tokens);
    if (!status)
        status = read_side(y, &s->y, &s->tokens);
    if (status)
        return status;
    s->k = pos->dim[pos->rank - 1];
    s->cols = y->dim[y->rank - 1];
    s->skip_zero = p->skip_zero;
    s->shared_scale = p->shared_scale;
    s->sum = s->zp.dtype == TENON_F16 ? sum_f16 : s->zp.dtype == TENON_BF16 ? sum_bf16 : sum_f32;
    s->blocks = s->cols > COLS ? (s->cols + COLS - 1) / COLS : 1;
    const int64_t units = s->tokens * s->blocks, most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    const double work = (double)s->tokens * (double)(s->k + 2) * (double)(s->cols + 8);
    s->tasks = work < SMALL_WORK || plan->env->threads == 1 ? units > 0 : (uint32_t)(units < most ? units : most);
    s->room = (64 + 2 * (uint64_t)s->k * sizeof(struct slot) + 63) & ~UINT64_C(63);
    s->stream = y->dtype == TENON_F32 && tenon_tensor_bytes(y) > plan->env->l2 * 4;
    plan->workspace = s->room * s->tasks;
    snprintf(plan->impl, sizeof plan->impl, "moe_combine_%s_%s", tenon_dtype_name(s->zp.dtype), CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(moe_combine) = {
    .op = TENON_OPNUM_moe_combine,
    .plan = combine_plan,
    .run = combine_run,
};
