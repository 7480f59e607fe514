/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict on the CPU: the scores of a head of keys are a unit of work, then a list is one. Sums of weights are f64. */
#include <stdio.h>

#include <tenon/ops/kv_evict.h>

#include "cpu.h"
#include "lib/dot_one.h"
#include "lib/exact.h"
#include "lib/select.h"

#define SMALL_WORK (1 << 15)
#define FORCED     INT32_MAX /* a key above every number */

/* Lives in cpu_plan.state. */
struct evict {
    struct tenon_kv_evict_params p;
    int64_t batch, queries, heads, slots, kv_heads, lists, width, most;
    int64_t padded, words;
    int64_t q_stride[3], k_stride[3]; /* elements, of batch, token, head */
    int64_t len_heads, pos_heads;     /* 0: one for all heads */
    float scale;
    uint32_t dtype, tasks;
    uint64_t scores, slots_at, slot; /* byte offsets in the workspace */
};

struct run {
    const struct evict *e;
    const struct tenon_host *host;
    void *const *ptr;
    float *scores;
    unsigned char *room;
};

/* Of a task. */
struct slot {
    double *mass, *total;
    float *row, *prob, *query;
    int32_t *keys, *others;
    uint32_t nan, empty;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t length_of(const struct run *run, int64_t b, int64_t h)
{
    const int32_t *len = run->ptr[TENON_KV_EVICT_KV_LEN];
    const int64_t heads = run->e->len_heads;
    const int64_t n = !len ? run->e->slots : heads ? len[b * heads + h] : len[b];
    return n < 0 ? 0 : least(n, run->e->slots);
}

static int64_t key_position(const struct run *run, int64_t b, int64_t h, int64_t j)
{
    const int32_t *pos = run->ptr[TENON_KV_EVICT_KPOS];
    const int64_t heads = run->e->pos_heads;
    return !pos ? j : pos[(heads ? b * heads + h : b) * run->e->slots + j];
}

/* ---- scores ---- */

/* Adds the weights that query t of head hq gives to the n keys of head h. */
static void add_query(const struct run *run, int64_t b, int64_t h, int64_t hq, int64_t t, int64_t n, struct slot *slot)
{
    const struct evict *e = run->e;
    const int32_t *qpos = run->ptr[TENON_KV_EVICT_QPOS];
    const int64_t own = qpos ? qpos[b * e->queries + t] : n - e->queries + t, size = TENON_DTYPE_SIZE(e->dtype);
    const int64_t from = b * e->q_stride[0] + t * e->q_stride[1] + hq * e->q_stride[2];
    const char *k = (const char *)run->ptr[TENON_KV_EVICT_K] + size * (b * e->k_stride[0] + h * e->k_stride[2]);
    const int64_t padded = (n + PAD - 1) / PAD * PAD;
    int nan;
    for (int64_t d = 0; d < e->width; d++)
        slot->query[d] = pack_one(e->dtype, run->ptr[TENON_KV_EVICT_Q], from + d);
    for (int64_t j = 0; j < n; j++)
        slot->row[j] = key_position(run, b, h, j) <= own
                           ? e->scale * dot_one(e->dtype, slot->query, k + size * j * e->k_stride[1], e->width)
                           : MINUS_INF;
    for (int64_t j = n; j < padded; j++)
        slot->row[j] = MINUS_INF;
    const float top = row_top(slot->row, padded, &nan);
    if (nan || top == INFINITY) {
        for (int64_t j = 0; j < n; j++)
            slot->mass[j] += slot->row[j] == MINUS_INF ? 0 : (double)NAN;
    } else if (top != MINUS_INF) {
        const float inverse = inverse_of(exp_sum(slot->row, padded, top, slot->prob));
        for (int64_t j = 0; j < n; j++)
            slot->mass[j] += (double)(slot->prob[j] * inverse);
    }
}

/* Column j of the pool. */
static double pooled(const struct evict *e, const double *mass, int64_t n, int64_t j)
{
    const int64_t half = e->p.ks / 2, from = j > half ? j - half : 0, to = least(n, j + half + 1);
    double sum = 0, best = mass[j];
    for (int64_t i = from; i < to; i++) {
        sum += mass[i];
        best = mass[i] > best || mass[i] != mass[i] ? mass[i] : best;
    }
    return e->p.pool == TENON_KV_EVICT_MEAN || sum != sum ? sum / (double)e->p.ks : best;
}

static void score_head(const struct run *run, int64_t b, int64_t h, struct slot *slot)
{
    const struct evict *e = run->e;
    const int64_t n = length_of(run, b, h), group = e->kv_heads ? e->heads / e->kv_heads : 0;
    const int snap = e->p.score == TENON_KV_EVICT_SNAP;
    const int64_t inside = snap ? (n > e->p.w ? n - e->p.w : 0) : n; /* columns that have a score */
    const int64_t first = snap && e->queries > e->p.w ? e->queries - e->p.w : 0;
    const float *given = run->ptr[TENON_KV_EVICT_SCORES];
    const int products = e->p.score <= TENON_KV_EVICT_ACCUM;
    float *to = run->scores + b * e->slots * e->kv_heads + h;
    for (int64_t j = 0; j < e->slots; j++)
        slot->total[j] = 0;
    for (int64_t g = 0; products && g < group; g++) {
        for (int64_t j = 0; j < n; j++)
            slot->mass[j] = 0;
        for (int64_t t = first; t < e->queries; t++)
            add_query(run, b, h, h * group + g, t, n, slot);
        for (int64_t j = 0; j < inside; j++)
            slot->total[j] += snap ? pooled(e, slot->mass, inside, j) : slot->mass[j];
    }
    for (int64_t j = 0; j < e->slots; j++) {
        const float before = given && j < n ? given[(b * e->slots + j) * e->kv_heads + h] : 0.0f;
        to[j * e->kv_heads] = products ? (float)((double)before + slot->total[j]) : before;
    }
}

/* ---- lists ---- */

/* The score that list l goes by. */
static float score_of(const struct run *run, int64_t b, int64_t l, int64_t j)
{
    const struct evict *e = run->e;
    const float *from = run->scores + (b * e->slots + j) * e->kv_heads;
    if (e->p.share == TENON_KV_EVICT_PER_HEAD)
        return from[l];
    float sum = 0.0f;
    for (int64_t h = 0; h < e->kv_heads; h++)
        sum = normal_or_0(sum + normal_or_0(from[h]));
    return sum;
}

/* Keys: FORCED, KEY_NONE of what is not kept, else the score's. The number that may be chosen. */
static int64_t make_keys(const struct run *run, int64_t b, int64_t l, int64_t n, struct slot *slot)
{
    const struct evict *e = run->e;
    const int64_t window = n > e->p.w ? n - e->p.w : 0;
    const int32_t below = order_key(e->p.threshold);
    int64_t others = 0;
    int nan = 0;
    for (int64_t j = 0; j < n; j++) {
        slot->keys[j] = FORCED;
        if (j < e->p.n_first || j >= window)
            continue;
        const float score = score_of(run, b, l, j);
        nan |= score != score;
        slot->keys[j] = score != score ? KEY_NAN : order_key(score) < below ? KEY_NONE : order_key(score);
        if (slot->keys[j] != KEY_NONE)
            slot->others[others++] = slot->keys[j];
    }
    slot->nan += nan != 0;
    return others;
}

static void put_tail(const struct run *run, int64_t b, int64_t l, int64_t n, int64_t count)
{
    const struct evict *e = run->e;
    const int64_t at = (b * e->lists + l) * e->most;
    int32_t *list = run->ptr[TENON_KV_EVICT_LIST], *rows = run->ptr[TENON_KV_EVICT_ROWS];
    int32_t *kpos = run->ptr[TENON_KV_EVICT_KPOS_OUT], *len = run->ptr[TENON_KV_EVICT_KV_LEN_OUT];
    const int64_t next = n ? key_position(run, b, l, n - 1) + 1 : 0;
    for (int64_t i = count; i < e->most; i++) {
        list[at + i] = -1;
        if (rows)
            rows[(b * e->most + i) * e->lists + l] = -1;
        if (kpos)
            kpos[at + i] = (int32_t)(uint32_t)(uint64_t)(next + i - count);
    }
    if (len)
        len[b * e->lists + l] = (int32_t)count;
}

static void make_list(const struct run *run, int64_t b, int64_t l, struct slot *slot)
{
    const struct evict *e = run->e;
    const int64_t n = length_of(run, b, l), others = make_keys(run, b, l, n, slot), chosen = least(e->p.n, others);
    const int64_t at = (b * e->lists + l) * e->most;
    int32_t *list = run->ptr[TENON_KV_EVICT_LIST], *rows = run->ptr[TENON_KV_EVICT_ROWS];
    int32_t *kpos = run->ptr[TENON_KV_EVICT_KPOS_OUT];
    uint32_t *keep = run->ptr[TENON_KV_EVICT_KEEP];
    const struct select_cut cut = select_keys(slot->others, others, chosen);
    int64_t ties = 0, count = 0;
    for (int64_t j = 0; j < n; j++)
        ties += slot->keys[j] == cut.key && slot->keys[j] != FORCED;
    int64_t skipped = cut.equal >= ties ? 0 : ties - cut.equal; /* earlier ones go first */
    if (keep)
        memset(keep + (b * e->lists + l) * e->words, 0, (size_t)e->words * sizeof *keep);
    for (int64_t j = 0; j < n; j++) {
        const int32_t key = slot->keys[j];
        const int tie = key == cut.key && key != FORCED;
        if (key == KEY_NONE || (key < cut.key && key != FORCED) || (tie && skipped > 0)) {
            skipped -= tie;
            continue;
        }
        list[at + count] = (int32_t)j;
        if (rows)
            rows[(b * e->most + count) * e->lists + l] = (int32_t)((b * e->slots + j) * e->lists + l);
        if (kpos)
            kpos[at + count] = (int32_t)key_position(run, b, l, j);
        if (keep)
            keep[(b * e->lists + l) * e->words + j / 32] |= 1u << j % 32;
        count++;
    }
    slot->empty += count == 0;
    put_tail(run, b, l, n, count);
}

/* ---- the run ---- */

struct step {
    const struct run *run;
    int64_t n, each;
    uint32_t tasks;
    int lists;
};

static struct slot *slot_of(const struct run *run, uint32_t task)
{
    return (struct slot *)(void *)(run->room + task * run->e->slot);
}

static void step_task(void *context, uint32_t task)
{
    const struct step *step = context;
    struct slot *slot = slot_of(step->run, task);
    const int64_t each = step->n / step->tasks, rest = step->n % step->tasks;
    const int64_t from = each * task + (task < rest ? task : rest), to = from + each + (task < rest);
    for (int64_t at = from; at < to; at++) {
        if (step->lists)
            make_list(step->run, at / step->each, at % step->each, slot);
        else
            score_head(step->run, at / step->each, at % step->each, slot);
    }
}

static void steps(const struct run *run, int64_t each, int lists)
{
    struct step step = {run, run->e->batch * each, each, run->e->tasks, lists};
    if (step.n == 0)
        return;
    if (step.tasks == 1)
        step_task(&step, 0);
    else
        run->host->parallel(run->host, step.tasks, step_task, &step);
}

static void evict_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct evict *e = (const struct evict *)(const void *)plan->state;
    const int32_t *len = ptr[TENON_KV_EVICT_KV_LEN];
    unsigned char *room = workspace;
    struct run run = {.e = e, .host = plan->env->host, .ptr = ptr, .room = room + e->slots_at};
    uint32_t flags[4] = {0};
    run.scores = ptr[TENON_KV_EVICT_SCORES_OUT] ? ptr[TENON_KV_EVICT_SCORES_OUT] : (void *)(room + e->scores);
    for (uint32_t i = 0; i < e->tasks; i++) {
        struct slot *slot = slot_of(&run, i);
        slot->mass = (double *)(void *)(slot + 1);
        slot->total = slot->mass + e->padded;
        slot->row = (float *)(void *)(slot->total + e->padded);
        slot->prob = slot->row + e->padded;
        slot->query = slot->prob + e->padded;
        slot->keys = (int32_t *)(void *)(slot->query + e->width);
        slot->others = slot->keys + e->padded;
        slot->nan = slot->empty = 0;
    }
    steps(&run, e->kv_heads, 0);
    steps(&run, e->lists, 1);
    for (uint32_t i = 0; i < e->tasks; i++) {
        flags[0] += slot_of(&run, i)->nan;
        flags[1] += slot_of(&run, i)->empty;
    }
    for (int64_t i = 0; len && e->lists && i < e->batch * (e->len_heads ? e->len_heads : 1); i++)
        flags[3] += len[i] < 0 || len[i] > e->slots;
    if (ptr[TENON_KV_EVICT_FLAGS])
        memcpy(ptr[TENON_KV_EVICT_FLAGS], flags, sizeof flags);
}

static void read_shapes(struct evict *e, const struct tenon_tensor *t)
{
    const struct tenon_tensor *q = &t[TENON_KV_EVICT_Q], *k = &t[TENON_KV_EVICT_K], *list = &t[TENON_KV_EVICT_LIST];
    const struct tenon_tensor *given = &t[TENON_KV_EVICT_SCORES], *len = &t[TENON_KV_EVICT_KV_LEN];
    const struct tenon_tensor *pos = &t[TENON_KV_EVICT_KPOS];
    e->batch = list->dim[0];
    e->lists = list->dim[1];
    e->most = list->dim[2];
    e->queries = q->dtype ? q->dim[1] : 0;
    e->heads = q->dtype ? q->dim[2] : 0;
    e->width = q->dtype ? q->dim[3] : 0;
    e->slots = q->dtype ? k->dim[1] : given->dtype ? given->dim[1] : e->p.slots;
    e->kv_heads = q->dtype ? k->dim[2] : given->dtype ? given->dim[2] : e->lists;
    e->dtype = q->dtype ? q->dtype : TENON_F32;
    for (int axis = 0; q->dtype && axis < 3; axis++) {
        e->q_stride[axis] = q->stride[axis];
        e->k_stride[axis] = k->stride[axis];
    }
    e->len_heads = len->dtype && len->rank == 2 && len->dim[1] > 1 ? len->dim[1] : 0;
    e->pos_heads = pos->dtype && pos->rank == 3 && pos->dim[1] > 1 ? pos->dim[1] : 0;
    e->padded = (e->slots + PAD) / PAD * PAD;
    e->words = (e->slots + 31) / 32;
}

static int32_t evict_plan(struct cpu_plan *plan)
{
    static const char *const scores[] = {"snap", "accum", "gate", "recent"};
    struct evict *e = (struct evict *)(void *)plan->state;
    _Static_assert(sizeof *e <= sizeof plan->state, "the plan's room");
    memcpy(&e->p, plan->params, sizeof e->p);
    read_shapes(e, plan->tensor);
    e->scale = e->p.scale != 0 ? e->p.scale : e->width ? 1.0f / sqrtf((float)e->width) : 1.0f;
    const double rows = (double)e->heads * (double)e->queries, keys = (double)e->batch * (double)e->slots;
    const double work = keys * (rows * (double)(e->width + 16) + (double)e->kv_heads * 16);
    const int64_t units = e->batch * e->kv_heads;
    const int few = work < SMALL_WORK || plan->env->threads == 1 || units < 2;
    e->tasks = few ? 1 : (uint32_t)least(units, (int64_t)plan->env->threads * 4);
    e->slot = sizeof(struct slot) + (uint64_t)(e->padded * 32 + e->width * 4);
    e->slot = (e->slot + 63) & ~UINT64_C(63);
    const uint64_t all = plan->tensor[TENON_KV_EVICT_SCORES_OUT].dtype ? 0 : (uint64_t)(units * e->slots) * 4;
    e->scores = 0;
    e->slots_at = (all + 63) & ~UINT64_C(63);
    plan->workspace = e->slots_at + e->tasks * e->slot;
    snprintf(plan->impl, sizeof plan->impl, "kv_evict_%s_%s", scores[e->p.score], CPU_ISA_NAME);
    return TENON_OK;
}

const struct cpu_op CPU_OP_TABLE(kv_evict) = {
    .op = TENON_OPNUM_kv_evict,
    .plan = evict_plan,
    .run = evict_run,
};
