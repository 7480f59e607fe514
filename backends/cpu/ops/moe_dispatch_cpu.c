/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch on the CPU: a stable counting sort. The list of pairs is cut in chunks, a task each: how many pairs of
 * each expert each chunk has; sums over (expert, chunk), which the caller makes; then every chunk knows where its first
 * pair of an expert goes, and places them in order. Nothing depends on where the chunks are cut.
 *
 * PROB goes over the pairs sorted by weight to mark those that are kept, and then over the list. */
#include <stdio.h>

#include "moe_dispatch_cpu_sort.h"

#define SMALL_PAIRS      8192 /* not worth waking threads for */
#define SMALL_BYTES      (1 << 16)
#define TASKS_PER_THREAD 4
#define EPS              0x1p-23f

/* ---- the list ---- */

/* Where a chunk is in the list: numbers of the outer and the inner axis. */
struct cursor {
    int64_t p, outer, inner, length;
};

static struct cursor cursor_at(const struct dispatch *s, int64_t p)
{
    const int64_t length = s->list == LIST_CHOICE ? s->tokens : s->k;
    return (struct cursor){p, length ? p / length : 0, length ? p % length : 0, length};
}

/* The pair at the cursor, which goes on. plain: the list is the pairs as they lie. */
SIMD_FN int64_t next_pair(const struct run *run, struct cursor *at, const int plain)
{
    const struct dispatch *s = run->s;
    if (plain)
        return at->p++;
    if (run->order && run->by_pairs)
        return run->order[at->p++];
    int64_t t = s->list == LIST_CHOICE ? at->inner : at->outer;
    const int64_t j = s->list == LIST_CHOICE ? at->outer : at->inner;
    if (run->order)
        t = run->order[t];
    at->p++;
    if (++at->inner == at->length) {
        at->inner = 0;
        at->outer++;
    }
    return t * s->k + j;
}

static int is_plain(const struct run *run)
{
    return run->s->list == LIST_TOKEN && !run->order;
}

/* Whether slot q is a pair that counts, and of which expert. */
SIMD_FN int is_pair(const struct run *run, int64_t q, int64_t *e)
{
    *e = run->idx[q];
    return *e >= run->s->first && *e < run->s->end && (!run->marked || run->pos[q] >= 0);
}

SIMD_FN void count_chunk(const struct run *run, uint32_t *hist, int64_t from, int64_t to, uint32_t *wrong,
                         const int plain)
{
    struct cursor at = cursor_at(run->s, from);
    while (at.p < to) {
        int64_t e;
        if (is_pair(run, next_pair(run, &at, plain), &e))
            hist[e]++;
        else
            *wrong += e < -1 || e >= run->s->experts;
    }
}

static void count_task(void *context, uint32_t chunk)
{
    struct run *run = context;
    uint32_t *hist = run->hist + chunk * run->bins, wrong = 0;
    int64_t from, to;
    chunk_of(run->s->n, run->s->chunks, chunk, &from, &to);
    memset(hist, 0, (size_t)run->bins * sizeof *hist);
    if (is_plain(run))
        count_chunk(run, hist, from, to, &wrong, 1);
    else
        count_chunk(run, hist, from, to, &wrong, 0);
    run->flags[chunk][3] = wrong;
}

SIMD_FN void place_chunk(struct run *run, uint32_t *hist, int64_t from, int64_t to, const int plain)
{
    const int64_t capacity = run->s->capacity;
    struct cursor at = cursor_at(run->s, from);
    while (at.p < to) {
        const int64_t q = next_pair(run, &at, plain);
        int64_t e;
        if (!is_pair(run, q, &e)) {
            run->pos[q] = -1;
            continue;
        }
        const uint32_t rank = hist[e]++;
        if (rank >= capacity) {
            run->pos[q] = -1;
        } else if (run->marks) {
            run->pos[q] = 0;
        } else {
            const int32_t row = run->start[e] + (int32_t)rank;
            run->pos[q] = row;
            if (run->src)
                run->src[row] = (int32_t)q;
        }
    }
}

/* Rows [from, to) without a pair. */
static void pad_src(const struct run *run, int64_t from, int64_t to)
{
    if (run->src && from < to)
        memset(run->src + from, 0xff, (size_t)(to - from) * sizeof *run->src);
}

static void pad_xp(const struct run *run, int64_t from, int64_t to)
{
    for (int64_t row = from; row < to; row++)
        copy_zeros(run->xp + row * run->s->xp_row, run->s->bytes, (int)run->s->stream);
}

/* The padding of a share of the experts and of the rows after the last. */
static void pad_share(const struct run *run, const int32_t *kept, uint32_t tasks, uint32_t task,
                      void (*pad)(const struct run *run, int64_t from, int64_t to))
{
    const struct dispatch *s = run->s;
    const int64_t used = run->start[s->experts];
    int64_t from, to;
    chunk_of(s->experts, tasks, task, &from, &to);
    for (int64_t e = from; e < to; e++)
        pad(run, run->start[e] + kept[e], run->start[e + 1]);
    chunk_of(s->mp - used, tasks, task, &from, &to);
    pad(run, used + from, used + to);
}

static const int32_t *kept_of(const struct run *run)
{
    return run->start + run->s->experts + 1;
}

static void place_task(void *context, uint32_t chunk)
{
    struct run *run = context;
    uint32_t *hist = run->hist + chunk * run->bins;
    int64_t from, to;
    chunk_of(run->s->n, run->s->chunks, chunk, &from, &to);
    if (is_plain(run))
        place_chunk(run, hist, from, to, 1);
    else
        place_chunk(run, hist, from, to, 0);
    if (!run->marks)
        pad_share(run, kept_of(run), run->s->chunks, chunk, pad_src);
}

/* ---- what is known of the tokens at the end ---- */

static void weigh_token(const struct run *run, int64_t t, uint32_t *flags)
{
    const struct dispatch *s = run->s;
    uint32_t pairs = 0, lost = 0, nan = 0;
    float sum = 0.0f;
    for (int64_t q = t * s->k; q < (t + 1) * s->k; q++) {
        if (run->idx[q] < s->first || run->idx[q] >= s->end)
            continue;
        pairs++;
        lost |= run->pos[q] < 0;
        if (run->w) {
            nan |= run->w[q] != run->w[q];
            sum += run->pos[q] >= 0 ? run->w[q] : 0.0f;
        }
    }
    flags[0] += nan;
    flags[1] += pairs == 0;
    flags[2] += lost;
    if (!run->w2)
        return;
    const float over = sum > EPS || sum != sum ? sum : EPS;
    for (int64_t q = t * s->k; q < (t + 1) * s->k; q++) {
        const float kept = run->pos[q] >= 0 ? run->w[q] : 0.0f;
        run->w2[q] = s->renorm && run->pos[q] >= 0 ? kept / over : kept;
    }
}

static void weigh_task(void *context, uint32_t chunk)
{
    struct run *run = context;
    int64_t from, to;
    uint32_t flags[3] = {0};
    chunk_of(run->s->tokens, run->s->chunks, chunk, &from, &to);
    for (int64_t t = from; t < to; t++)
        weigh_token(run, t, flags);
    memcpy(run->flags[chunk], flags, sizeof flags);
}

/* A token is read once, into all of its rows. */
static void copy_task(void *context, uint32_t task)
{
    struct run *run = context;
    const struct dispatch *s = run->s;
    int64_t from, to;
    chunk_of(s->tokens, s->copy_tasks, task, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t q = t * s->k; q < (t + 1) * s->k; q++)
            if (run->pos[q] >= 0)
                copy_row(run->xp + run->pos[q] * s->xp_row, run->x + t * s->x_row, s->bytes, (int)s->stream);
    pad_share(run, kept_of(run), s->copy_tasks, task, pad_xp);
    if (s->stream)
        simd_fence();
}

/* ---- the run ---- */

/* counts are of run->start's room for kept; kept and offsets take their place. */
static void make_offsets(const struct run *run, int32_t *kept)
{
    const struct dispatch *s = run->s;
    int64_t row = 0;
    for (int64_t e = 0; e < s->experts; e++) {
        kept[e] = kept[e] < s->capacity ? kept[e] : (int32_t)s->capacity;
        run->start[e] = (int32_t)row;
        if (s->pad)
            row += e >= s->first && e < s->end ? s->capacity : 0;
        else
            row += s->align == 1 ? kept[e] : (kept[e] + s->align - 1) / s->align * s->align;
    }
    run->start[s->experts] = (int32_t)row;
}

static void put_list(void *to, const int32_t *from, int64_t n)
{
    if (to)
        memcpy(to, from, (size_t)n * sizeof *from);
}

static void sort_experts(struct run *run, void *const *ptr)
{
    const struct dispatch *s = run->s;
    int32_t *kept = run->start + s->experts + 1;
    if (s->sorted)
        sort_weights(run);
    run->bins = s->experts;
    run->marks = run->by_pairs && s->sorted;
    each_chunk(run, s->chunks, count_task);
    scan_chunks(run, kept);
    put_list(ptr[TENON_MOE_DISPATCH_COUNTS], kept, s->experts);
    if (run->marks) {
        each_chunk(run, s->chunks, place_task);
        run->marks = 0;
        run->marked = 1;
        run->order = NULL;
        each_chunk(run, s->chunks, count_task);
        scan_chunks(run, kept);
    }
    make_offsets(run, kept);
    put_list(ptr[TENON_MOE_DISPATCH_KEPT], kept, s->experts);
    put_list(ptr[TENON_MOE_DISPATCH_OFFSETS], run->start, s->experts + 1);
    each_chunk(run, s->chunks, place_task);
}

static void *room(void *workspace, uint64_t at)
{
    return (unsigned char *)workspace + at;
}

static void dispatch_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct dispatch *s = (const struct dispatch *)(const void *)plan->state;
    struct run run = {.s = s, .host = plan->env->host};
    uint32_t flags[4] = {0};
    run.idx = ptr[TENON_MOE_DISPATCH_IDX];
    run.w = ptr[TENON_MOE_DISPATCH_W];
    run.x = ptr[TENON_MOE_DISPATCH_X];
    run.src = ptr[TENON_MOE_DISPATCH_SRC];
    run.pos = ptr[TENON_MOE_DISPATCH_POS] ? ptr[TENON_MOE_DISPATCH_POS] : room(workspace, s->pos);
    run.w2 = ptr[TENON_MOE_DISPATCH_W2];
    run.xp = ptr[TENON_MOE_DISPATCH_XP];
    run.flags = workspace;
    run.hist = room(workspace, s->hist);
    run.start = room(workspace, s->start);
    run.key = room(workspace, s->key);
    run.perm[0] = room(workspace, s->perm[0]);
    run.perm[1] = room(workspace, s->perm[1]);
    run.by_pairs = s->drop == TENON_MOE_DISPATCH_PROB;
    sort_experts(&run, ptr);
    if (run.w2 || ptr[TENON_MOE_DISPATCH_FLAGS])
        each_chunk(&run, s->chunks, weigh_task);
    if (run.xp && s->bytes)
        each_chunk(&run, s->copy_tasks, copy_task);
    for (uint32_t c = 0; c < s->chunks; c++)
        for (int f = 0; f < 4; f++)
            flags[f] += run.flags[c][f];
    if (ptr[TENON_MOE_DISPATCH_FLAGS])
        memcpy(ptr[TENON_MOE_DISPATCH_FLAGS], flags, sizeof flags);
}

/* ---- the plan ---- */

static uint64_t place(uint64_t *total, int64_t words)
{
    const uint64_t at = *total;
    *total += ((uint64_t)words * 4 + 63) & ~UINT64_C(63);
    return at;
}

static uint64_t choose_room(struct dispatch *s, const struct tenon_tensor *t)
{
    uint64_t total = s->chunks * UINT64_C(64);
    const int64_t bins = s->sorted && s->experts < DIGITS ? DIGITS : s->experts;
    s->hist = place(&total, bins * s->chunks);
    s->start = place(&total, (bins > s->experts ? bins : s->experts) + s->experts + 2);
    s->pos = place(&total, t[TENON_MOE_DISPATCH_POS].dtype ? 0 : s->n);
    s->key = place(&total, s->sorted);
    s->perm[0] = place(&total, s->sorted);
    s->perm[1] = place(&total, s->sorted);
    return total;
}

static int32_t read_rows(struct dispatch *s, const struct tenon_tensor *t)
{
    const struct tenon_tensor *x = &t[TENON_MOE_DISPATCH_X], *xp = &t[TENON_MOE_DISPATCH_XP];
    const int64_t size = (int64_t)TENON_DTYPE_SIZE(x->dtype);
    int64_t rows, cols;
    if (t[TENON_MOE_DISPATCH_SRC].dtype)
        s->mp = t[TENON_MOE_DISPATCH_SRC].dim[0];
    if (!xp->dtype)
        return TENON_OK;
    int32_t status = tenon_tensor_rows(x, &rows, &s->x_row, &cols);
    if (!status)
        status = tenon_tensor_rows(xp, &s->mp, &s->xp_row, &cols);
    s->bytes = cols * size;
    s->x_row *= size;
    s->xp_row *= size;
    return status;
}

static int32_t dispatch_plan(struct cpu_plan *plan)
{
    const struct tenon_moe_dispatch_params *p = (const void *)plan->params;
    const struct tenon_tensor *t = plan->tensor, *idx = &t[TENON_MOE_DISPATCH_IDX];
    struct dispatch *s = (struct dispatch *)(void *)plan->state;
    static const char *const drops[] = {"position", "prob", "bpr"};
    _Static_assert(sizeof *s <= sizeof plan->state, "the plan's room");
    const int32_t status = read_rows(s, t);
    if (status)
        return status;
    s->k = idx->dim[idx->rank - 1];
    s->tokens = 1;
    for (uint32_t axis = 0; axis + 1 < idx->rank; axis++)
        s->tokens *= idx->dim[axis];
    s->n = s->tokens * s->k;
    s->experts = p->experts;
    s->first = p->first;
    s->end = p->end ? p->end : p->experts;
    s->capacity = p->capacity < 0 ? INT32_MAX : p->capacity;
    s->align = p->align;
    s->list = p->order == TENON_MOE_DISPATCH_CHOICE_MAJOR ? LIST_CHOICE : LIST_TOKEN;
    s->drop = p->drop;
    s->pad = p->pad_to_capacity;
    s->renorm = p->renorm == TENON_MOE_DISPATCH_AFTER_DROP;
    if (p->drop == TENON_MOE_DISPATCH_BPR)
        s->sorted = s->n ? s->tokens : 0;
    else if (p->drop == TENON_MOE_DISPATCH_PROB && s->capacity < s->n) /* else all are kept */
        s->sorted = s->n;
    /* A chunk costs its bins. */
    const int64_t least = s->experts > SMALL_PAIRS / 2 ? s->experts : SMALL_PAIRS / 2;
    int64_t chunks = s->n < SMALL_PAIRS ? 1 : s->n / least;
    chunks = chunks < plan->env->threads ? chunks : plan->env->threads;
    s->chunks = chunks < 1 ? 1 : chunks > 64 ? 64 : (uint32_t)chunks;
    const double work = (double)s->mp * (double)s->bytes;
    const int64_t most = (int64_t)plan->env->threads * TASKS_PER_THREAD;
    s->copy_tasks = work < SMALL_BYTES || plan->env->threads == 1 ? 1 : (uint32_t)most;
    s->stream = t[TENON_MOE_DISPATCH_XP].dtype && work > (double)plan->env->l2 * 4;
    plan->workspace = choose_room(s, t);
    snprintf(plan->impl, sizeof plan->impl, "moe_dispatch_%s_%s", drops[p->drop], CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(moe_dispatch) = {
    .op = TENON_OPNUM_moe_dispatch,
    .plan = dispatch_plan,
    .run = dispatch_run,
};
