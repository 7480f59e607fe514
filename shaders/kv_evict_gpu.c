/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of kv_evict: weights of the queries, as many at a time as there is scratch for; scores and their order; the
 * cut of each list; the lists. */
#include "recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/kv_evict.h>

#define LOCAL        64u
#define LIST_SPAN    256u
#define PART_WORDS   4u /* of lib/kv_evict.h, as the next and the options */
#define STATE_WORDS  3u
#define COUNT_WORDS  3u
#define CHUNK_BYTES  (UINT64_C(64) << 20) /* of the exponentials */
#define LAUNCHES_MAX 65536u

enum {
    KE_HAS_LEN = 1, KE_HAS_POS = 2, KE_LEN_HEADS = 4, KE_POS_HEADS = 8, KE_HAS_QPOS = 0x10, KE_SNAP = 0x20,
    KE_MAX = 0x40, KE_ALL = 0x80, KE_GIVEN = 0x100, KE_PRODUCTS = 0x200, KE_HAS_ROWS = 0x400, KE_HAS_KEEP = 0x800,
    KE_HAS_POS_OUT = 0x1000, KE_HAS_LEN_OUT = 0x2000, KE_FLAGS = 0x4000, KE_FIRST = 0x8000, KE_TYPE_SHIFT = 16
};

struct job {
    const struct tenon_kv_evict_params *p;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batch, queries, heads, keys, kv_heads, lists, width, most;
    uint64_t first, span, pieces, some; /* queries that count from `first`, `some` a chunk; pieces of a row's keys */
    uint64_t list_pieces;
    uint32_t options;
    uint64_t e, part, inverse, mass, scores, order, state, counts; /* byte offsets in the scratch */
};

static int has(const struct job *job, uint32_t i)
{
    return job->t[i].dtype != 0;
}

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static void read_job(struct job *job)
{
    static const struct {
        uint32_t tensor, option;
    } there[] = {{TENON_KV_EVICT_KV_LEN, KE_HAS_LEN},       {TENON_KV_EVICT_KPOS, KE_HAS_POS},
                 {TENON_KV_EVICT_QPOS, KE_HAS_QPOS},        {TENON_KV_EVICT_SCORES, KE_GIVEN},
                 {TENON_KV_EVICT_Q, KE_PRODUCTS},           {TENON_KV_EVICT_ROWS, KE_HAS_ROWS},
                 {TENON_KV_EVICT_KEEP, KE_HAS_KEEP},        {TENON_KV_EVICT_KPOS_OUT, KE_HAS_POS_OUT},
                 {TENON_KV_EVICT_KV_LEN_OUT, KE_HAS_LEN_OUT}, {TENON_KV_EVICT_FLAGS, KE_FLAGS}};
    const struct tenon_tensor *t = job->t, *q = &t[TENON_KV_EVICT_Q], *k = &t[TENON_KV_EVICT_K];
    const struct tenon_tensor *given = &t[TENON_KV_EVICT_SCORES], *list = &t[TENON_KV_EVICT_LIST];
    const struct tenon_tensor *len = &t[TENON_KV_EVICT_KV_LEN], *pos = &t[TENON_KV_EVICT_KPOS];
    job->batch = (uint64_t)list->dim[0];
    job->lists = (uint64_t)list->dim[1];
    job->most = (uint64_t)list->dim[2];
    job->queries = q->dtype ? (uint64_t)q->dim[1] : 0;
    job->heads = q->dtype ? (uint64_t)q->dim[2] : 0;
    job->width = q->dtype ? (uint64_t)q->dim[3] : 0;
    job->keys = (uint64_t)(q->dtype ? k->dim[1] : given->dtype ? given->dim[1] : job->p->slots);
    job->kv_heads = q->dtype ? (uint64_t)k->dim[2] : given->dtype ? (uint64_t)given->dim[2] : job->lists;
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++)
        job->options |= has(job, there[i].tensor) && tenon_tensor_count(&t[there[i].tensor]) ? there[i].option : 0;
    job->options |= len->dtype && len->rank == 2 && len->dim[1] > 1 ? KE_LEN_HEADS : 0;
    job->options |= pos->dtype && pos->rank == 3 && pos->dim[1] > 1 ? KE_POS_HEADS : 0;
    job->options |= job->p->score == TENON_KV_EVICT_SNAP ? KE_SNAP : 0;
    job->options |= job->p->pool == TENON_KV_EVICT_MAX ? KE_MAX : 0;
    job->options |= job->p->share == TENON_KV_EVICT_ALL ? KE_ALL : 0;
    job->options |= q->dtype ? tenon__gpu_dtype(q->dtype) << KE_TYPE_SHIFT : 0;
    const uint64_t w = (uint64_t)job->p->w;
    job->first = job->p->score == TENON_KV_EVICT_SNAP && job->queries > w ? job->queries - w : 0;
}

static uint64_t place(uint64_t *total, uint64_t bytes)
{
    const uint64_t at = *total;
    *total += (bytes + 63) & ~UINT64_C(63);
    return at;
}

static void set_scratch(struct job *job)
{
    const uint64_t heads = job->batch * job->heads, row = heads * job->keys * 4, counted = job->queries - job->first;
    uint64_t total = 0;
    job->span = LIST_SPAN;
    if (job->limits->loop_max) /* rounds of the loops over keys and columns in all */
        while (job->span > 1 && job->span * (job->width + 4) > job->limits->loop_max / 2)
            job->span /= 2;
    job->pieces = (job->keys + job->span - 1) / job->span;
    job->some = row ? CHUNK_BYTES / row : 1;
    job->some = job->some < 1 ? 1 : job->some;
    job->some = job->some > counted ? counted : job->some;
    job->list_pieces = job->keys ? (job->keys + LIST_SPAN - 1) / LIST_SPAN : 1;
    job->e = place(&total, row * job->some);
    job->part = place(&total, heads * job->some * job->pieces * PART_WORDS * 4);
    job->inverse = place(&total, heads * job->some * 4);
    job->mass = place(&total, row * 2);
    job->scores = place(&total, has(job, TENON_KV_EVICT_SCORES_OUT) ? 0 : job->batch * job->keys * job->kv_heads * 4);
    job->order = place(&total, job->batch * job->lists * job->keys * 4);
    job->state = place(&total, job->batch * job->lists * STATE_WORDS * 4);
    job->counts = place(&total, job->batch * job->lists * job->list_pieces * COUNT_WORDS * 4);
    job->recipe->scratch = total;
}

/* A tensor of the caller's, or nothing. Empty tensors are nothing: they are not indexed. */
static void bind(const struct job *job, struct gpu_launch *launch, uint32_t i)
{
    gpu_launch_buffer(launch, has(job, i) && tenon_tensor_count(&job->t[i]) ? (int32_t)i : GPU_SLOT_NONE, 0);
}

static void scratch(struct gpu_launch *launch, uint64_t at)
{
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at);
}

static void words(struct gpu_launch *launch, uint32_t n, const uint64_t *word)
{
    for (uint32_t i = 0; i < n; i++)
        gpu_launch_u32(launch, (uint32_t)word[i]);
}
#define WORDS(launch, ...)                                                                                             \
    words(launch, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), (const uint64_t[]){__VA_ARGS__})

/* A kernel of one invocation for each of n; NULL: no memory. */
static struct gpu_launch *add(struct job *job, const char *kernel, uint64_t n)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, LOCAL);
    if (launch != NULL) /* n < 2^31: every grid has room */
        (void)tenon__gpu_groups(job->limits, (n + LOCAL - 1) / LOCAL, launch->groups);
    return launch;
}

/* ---- weights ---- */

static int add_rows(struct job *job, uint64_t from, uint64_t some)
{
    const struct tenon_tensor *q = &job->t[TENON_KV_EVICT_Q], *k = &job->t[TENON_KV_EVICT_K];
    const uint64_t rows = job->batch * job->heads * some;
    const float scale = job->p->scale != 0 ? job->p->scale : 1.0f / sqrtf((float)job->width);
    struct gpu_launch *launch = add(job, "kv_evict_part", rows * job->pieces);
    if (launch == NULL)
        return 0;
    bind(job, launch, TENON_KV_EVICT_Q);
    bind(job, launch, TENON_KV_EVICT_K);
    bind(job, launch, TENON_KV_EVICT_KPOS);
    bind(job, launch, TENON_KV_EVICT_QPOS);
    bind(job, launch, TENON_KV_EVICT_KV_LEN);
    scratch(launch, job->e);
    scratch(launch, job->part);
    WORDS(launch, some, from, rows, job->heads, job->heads / job->kv_heads, job->keys, job->span, job->queries,
          job->width, (uint64_t)q->stride[0], (uint64_t)q->stride[1], (uint64_t)q->stride[2], (uint64_t)k->stride[0],
          (uint64_t)k->stride[1], (uint64_t)k->stride[2], job->options);
    gpu_launch_f32(launch, scale);
    launch = add(job, "kv_evict_sum", rows * job->pieces);
    if (launch == NULL)
        return 0;
    scratch(launch, job->e);
    scratch(launch, job->part);
    WORDS(launch, rows, job->keys, job->span);
    launch = add(job, "kv_evict_row", rows);
    if (launch == NULL)
        return 0;
    scratch(launch, job->part);
    scratch(launch, job->inverse);
    WORDS(launch, rows, job->pieces);
    return 1;
}

static int add_weights(struct job *job)
{
    uint64_t from = job->first;
    do {
        const uint64_t left = job->queries - from, some = left < job->some ? left : job->some;
        if (job->recipe->n >= LAUNCHES_MAX || (some && !add_rows(job, from, some)))
            return 0;
        const uint64_t count = job->batch * job->heads * job->keys;
        struct gpu_launch *launch = add(job, "kv_evict_mass", count);
        if (launch == NULL)
            return 0;
        scratch(launch, job->e);
        scratch(launch, job->inverse);
        scratch(launch, job->mass);
        WORDS(launch, count, job->keys, some, from == job->first ? KE_FIRST : 0u);
        from += some;
    } while (from < job->queries);
    return 1;
}

/* ---- lists ---- */

static uint32_t order_key(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (bits << 1 == 0)
        return 0;
    return bits >> 31 ? bits ^ 0x7fffffffu : bits;
}

static int add_scores(struct job *job)
{
    const uint64_t count = job->batch * job->keys;
    struct gpu_launch *launch = add(job, "kv_evict_score", count);
    if (launch == NULL)
        return 0;
    scratch(launch, job->mass);
    bind(job, launch, TENON_KV_EVICT_SCORES);
    bind(job, launch, TENON_KV_EVICT_KV_LEN);
    if (has(job, TENON_KV_EVICT_SCORES_OUT))
        bind(job, launch, TENON_KV_EVICT_SCORES_OUT);
    else
        scratch(launch, job->scores);
    scratch(launch, job->order);
    WORDS(launch, count, job->keys, job->kv_heads, job->heads / job->kv_heads, job->lists, job->p->ks,
          (uint64_t)job->p->w, (uint64_t)job->p->n_first, order_key(job->p->threshold), job->options);
    return 1;
}

static int add_cut(struct job *job)
{
    const struct gpu_limits *limits = job->limits;
    const uint64_t lists = job->batch * job->lists;
    uint32_t local = limits->vector ? 1 : limits->software ? (limits->subgroup >= 8 ? 8 : 16) : 256;
    local = local > limits->wg_max ? LOCAL : local;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "kv_evict_cut", local);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(limits, lists, launch->groups);
    scratch(launch, job->order);
    scratch(launch, job->state);
    WORDS(launch, lists, job->keys, (uint64_t)job->p->n);
    return 1;
}

static int add_lists(struct job *job)
{
    const uint64_t lists = job->batch * job->lists;
    struct gpu_launch *launch = add(job, "kv_evict_count", lists * job->list_pieces);
    if (launch == NULL)
        return 0;
    scratch(launch, job->order);
    scratch(launch, job->state);
    scratch(launch, job->counts);
    WORDS(launch, lists, job->keys, LIST_SPAN, job->list_pieces);
    launch = add(job, "kv_evict_list", lists * job->list_pieces);
    if (launch == NULL)
        return 0;
    scratch(launch, job->order);
    scratch(launch, job->state);
    scratch(launch, job->counts);
    bind(job, launch, TENON_KV_EVICT_KV_LEN);
    bind(job, launch, TENON_KV_EVICT_KPOS);
    for (uint32_t i = TENON_KV_EVICT_LIST; i <= TENON_KV_EVICT_KV_LEN_OUT; i++)
        bind(job, launch, i);
    bind(job, launch, TENON_KV_EVICT_FLAGS);
    WORDS(launch, lists, job->lists, job->keys, LIST_SPAN, job->list_pieces, job->most, job->options);
    return 1;
}

/* ---- the recipe ---- */

static uint64_t extent(const struct tenon_tensor *t)
{
    return t->dtype ? tenon_tensor_bytes(t) : 0;
}

static int32_t check(const struct job *job)
{
    const uint64_t loops = job->limits->loop_max, row = job->batch * job->heads * job->keys * 4;
    for (uint32_t i = 0; i < TENON_KV_EVICT_N_TENSORS; i++)
        if (extent(&job->t[i]) > GPU_SPAN)
            return unsupported(job, "tensors of 2 GiB are not supported");
    if (row * 2 > GPU_SPAN || job->batch * job->keys * job->kv_heads * 4 > GPU_SPAN)
        return unsupported(job, "scores of 2 GiB are not supported");
    if (loops && (job->keys > loops / 8 || job->queries > loops / 8 || job->most > loops / 8 || job->width > loops / 2))
        return unsupported(job, "so many keys, queries or columns are not supported: loops of this device end");
    return TENON_OK;
}

static int32_t evict_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                            struct gpu_recipe *recipe)
{
    static const char *const scores[] = {"snap", "accum", "gate", "recent"};
    struct job job = {.p = params, .t = t, .limits = limits, .recipe = recipe};
    read_job(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "kv_evict_%s", scores[job.p->score]);
    int32_t status = check(&job);
    if (status == TENON_OK) {
        const int some = job.batch && job.lists;
        set_scratch(&job);
        int done = !has(&job, TENON_KV_EVICT_FLAGS) || tenon__gpu_fill(recipe, limits, TENON_KV_EVICT_FLAGS, 0, 4, 0);
        if (done && some && job.keys && job.heads)
            done = add_weights(&job);
        if (done && some && job.keys)
            done = add_scores(&job);
        if (done && some)
            done = add_cut(&job) && add_lists(&job);
        status = done ? gpu_recipe_check(recipe, limits) : TENON_E_NOMEM;
    }
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__kv_evict_gpu = {.op = TENON_OPNUM_kv_evict, .recipe = evict_recipe};
