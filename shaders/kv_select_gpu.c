/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of kv_select: spans of the blocks, scores of pairs for each head, sums over heads, norms, keys; then the
 * rule, which in passes over the pieces of its scopes finds the least pair that is listed; then the lists. */
#include "recipe.h"

#include <math.h>
#include <stdio.h>
#include <tenon/ops/kv_select.h>

#define LOCAL       64u
#define PART_WORDS  48u /* of lib/kv_select.h, as all that follows */
#define STATE_WORDS 16u
#define SPAN_LEAST  256u
#define PIECES_MOST 4096u

/* options */
enum {
    KS_CAUSAL = 1, KS_HAS_LEN = 2, KS_HAS_POS = 4, KS_KEYS = 8, KS_COUNTS = 16, KS_SELF = 32, KS_FIRST = 64,
    KS_FLAGS = 128, KS_TOPK = 256, KS_MASS = 512, KS_POOL_SHIFT = 10, KS_TYPE_SHIFT = 12, KS_EXTERNAL = 0x4000,
    KS_STAT = 0x8000
};
enum { PASS_RANGE, PASS_COUNT, PASS_SUM, PASS_SQUARE, PASS_TOTAL, PASS_DIGIT, PASS_TIES };

/* Rows or pairs cut in pieces, an invocation each. */
struct pieces {
    uint64_t n, span, count;
};

struct job {
    const struct tenon_kv_select_params *p;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batch, queries, keys, heads, kv_heads, lists, width, nq, nk, rows, nnz, scopes, length;
    uint64_t per, split, piece; /* queries of a block, pieces of a block's keys, keys of one */
    struct pieces in_scope, of_rows;
    int pooled, tokens;
    uint32_t options;
    float scale;
    /* byte offsets in the scratch */
    uint64_t span_q, span_k, at_q, at_k, own_q, own_k, partial, heads_at, scores, keys_at, part, state, counts, sums;
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int has(const struct job *job, uint32_t i)
{
    return job->t[i].dtype != 0;
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

/* Scores of the rows: the caller's, or the scratch's own. */
static void bind_scores(const struct job *job, struct gpu_launch *launch)
{
    if (has(job, TENON_KV_SELECT_SCORES_OUT))
        bind(job, launch, TENON_KV_SELECT_SCORES_OUT);
    else
        scratch(launch, job->scores);
}

/* Those of each head, which are the rows' where no heads are added up. */
static void bind_heads(const struct job *job, struct gpu_launch *launch)
{
    if (job->heads != job->lists)
        scratch(launch, job->heads_at);
    else
        bind_scores(job, launch);
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

/* ---- blocks ---- */

static int add_span(struct job *job, int of_keys, uint64_t block, uint64_t to, uint32_t flags)
{
    const uint64_t tokens = of_keys ? job->keys : job->queries, blocks = (tokens + block - 1) / block;
    const uint32_t pos = of_keys ? TENON_KV_SELECT_KPOS : TENON_KV_SELECT_QPOS;
    struct gpu_launch *launch = add(job, "kv_select_span", job->batch * blocks);
    if (launch == NULL)
        return 0;
    bind(job, launch, TENON_KV_SELECT_KV_LEN);
    bind(job, launch, pos);
    scratch(launch, to);
    bind(job, launch, TENON_KV_SELECT_FLAGS);
    WORDS(launch, job->batch, tokens, block, blocks, has(job, pos) && job->t[pos].dim[0] > 1 ? tokens : 0, job->keys,
          (job->options & KS_HAS_LEN) | (of_keys ? KS_KEYS : 0u) | (has(job, pos) ? KS_HAS_POS : 0u) | flags);
    return 1;
}

/* Blocks of queries or keys as one vector each. */
static int add_pool(struct job *job, int of_keys, uint64_t block, uint32_t pool, uint64_t to)
{
    const uint32_t from = of_keys ? TENON_KV_SELECT_K : TENON_KV_SELECT_Q;
    const struct tenon_tensor *x = &job->t[from];
    const uint64_t tokens = of_keys ? job->keys : job->queries, heads = of_keys ? job->kv_heads : job->heads;
    const uint64_t blocks = (tokens + block - 1) / block, count = job->batch * heads * blocks * job->width;
    struct gpu_launch *launch = add(job, "kv_select_pool", count);
    if (launch == NULL)
        return 0;
    bind(job, launch, from);
    bind(job, launch, TENON_KV_SELECT_KV_LEN);
    scratch(launch, to);
    WORDS(launch, count, tokens, heads, blocks, block, job->width, (uint64_t)x->stride[0], (uint64_t)x->stride[1],
          (uint64_t)x->stride[2],
          (of_keys ? job->options & KS_HAS_LEN : 0u) | pool << KS_POOL_SHIFT |
              tenon__gpu_dtype(x->dtype) << KS_TYPE_SHIFT);
    return 1;
}

/* ---- scores ---- */

static int add_pairs(struct job *job)
{
    const int external = job->p->score == TENON_KV_SELECT_EXTERNAL;
    const uint64_t count = job->batch * job->heads * job->nq * job->nk;
    if (job->pooled && (!add_pool(job, 0, job->p->block_q, job->p->pool_q, job->own_q) ||
                        !add_pool(job, 1, job->p->block_k, job->p->pool_k, job->own_k)))
        return 0;
    struct gpu_launch *launch = add(job, "kv_select_score", count);
    if (launch == NULL)
        return 0;
    if (external)
        bind(job, launch, TENON_KV_SELECT_SCORES);
    else
        scratch(launch, job->own_q);
    scratch(launch, job->own_k);
    scratch(launch, job->span_q);
    scratch(launch, job->span_k);
    bind_heads(job, launch);
    WORDS(launch, count, job->heads, job->heads / job->kv_heads, job->nq, job->nk, job->width,
          (job->options & KS_CAUSAL) | (external ? KS_EXTERNAL : 0u));
    gpu_launch_f32(launch, job->scale);
    return 1;
}

static int add_tokens(struct job *job)
{
    const uint64_t pairs = job->batch * job->heads * job->nq * job->nk, count = pairs * job->per * job->split;
    if (!add_span(job, 0, 1, job->at_q, 0) || !add_span(job, 1, 1, job->at_k, 0) ||
        !add_pool(job, 0, 1, TENON_KV_SELECT_POOL_NONE, job->own_q) ||
        !add_pool(job, 1, 1, TENON_KV_SELECT_POOL_NONE, job->own_k))
        return 0;
    struct gpu_launch *launch = add(job, "kv_select_token", count);
    if (launch == NULL)
        return 0;
    scratch(launch, job->own_q);
    scratch(launch, job->own_k);
    bind(job, launch, TENON_KV_SELECT_LNZ);
    scratch(launch, job->at_q);
    scratch(launch, job->at_k);
    scratch(launch, job->partial);
    WORDS(launch, count, job->heads, job->heads / job->kv_heads, job->queries, job->keys, job->nq, job->nk,
          job->p->block_q, job->p->block_k, job->per, job->split, job->piece, job->p->stride, job->width,
          job->options & (KS_CAUSAL | KS_MASS));
    gpu_launch_f32(launch, job->scale);
    launch = add(job, "kv_select_join", pairs);
    if (launch == NULL)
        return 0;
    scratch(launch, job->partial);
    scratch(launch, job->span_q);
    scratch(launch, job->span_k);
    bind_heads(job, launch);
    WORDS(launch, pairs, job->heads, job->nq, job->nk, job->per, job->split, job->options & (KS_CAUSAL | KS_MASS));
    return 1;
}

static int add_softmax(struct job *job, int of_heads)
{
    const uint64_t rows = job->batch * (of_heads ? job->heads : job->lists) * job->nq;
    struct gpu_launch *launch = add(job, "kv_select_softmax", rows);
    if (launch == NULL)
        return 0;
    if (of_heads)
        bind_heads(job, launch);
    else
        bind_scores(job, launch);
    WORDS(launch, rows, job->nk);
    return 1;
}

static int add_share(struct job *job)
{
    struct gpu_launch *launch = job->heads != job->lists ? add(job, "kv_select_share", job->rows * job->nk) : NULL;
    if (launch == NULL)
        return job->heads == job->lists;
    scratch(launch, job->heads_at);
    bind_scores(job, launch);
    WORDS(launch, job->rows * job->nk, job->heads / job->lists, job->nq * job->nk);
    return 1;
}

/* ---- the rule ---- */

static int add_pass(struct job *job, uint32_t pass, uint32_t shift)
{
    const struct tenon_kv_select_params *p = job->p;
    const struct pieces *in = &job->in_scope;
    const uint32_t options = job->options & (KS_COUNTS | KS_TOPK | KS_STAT);
    union {
        float f;
        uint32_t u;
    } tau = {p->tau};
    const uint64_t share = p->tau >= 1 ? 0 : (uint64_t)((double)(p->tau > 0 ? p->tau : 0) * 0x1p32);
    struct gpu_launch *launch = add(job, "kv_select_piece", job->scopes * in->count);
    if (launch == NULL)
        return 0;
    bind_scores(job, launch);
    scratch(launch, job->keys_at);
    scratch(launch, job->state);
    scratch(launch, job->part);
    WORDS(launch, job->scopes, in->count, in->span, job->length, pass, shift, options);
    if (pass >= PASS_DIGIT) {
        launch = add(job, "kv_select_find", job->scopes);
        if (launch == NULL)
            return 0;
        scratch(launch, job->keys_at);
        scratch(launch, job->part);
        scratch(launch, job->state);
        WORDS(launch, job->scopes, in->count, in->span, job->length, pass, shift, options);
        return 1;
    }
    launch = add(job, "kv_select_scope", job->scopes);
    if (launch == NULL)
        return 0;
    scratch(launch, job->part);
    scratch(launch, job->state);
    WORDS(launch, job->scopes, in->count, pass, p->rule, p->k, p->tau < 1 && share == 0 ? 1 : share, tau.u, options);
    return 1;
}

static int add_norm(struct job *job)
{
    if (job->p->norm == TENON_KV_SELECT_NORM_SOFTMAX)
        return add_softmax(job, 0);
    if (job->p->norm != TENON_KV_SELECT_NORM_MINMAX)
        return 1;
    if (!add_pass(job, PASS_RANGE, 0))
        return 0;
    struct gpu_launch *launch = add(job, "kv_select_minmax", job->rows * job->nk);
    if (launch == NULL)
        return 0;
    bind_scores(job, launch);
    scratch(launch, job->state);
    WORDS(launch, job->rows * job->nk, job->length);
    return 1;
}

static int add_keys(struct job *job)
{
    const uint64_t wide = (uint64_t)job->p->segment * job->p->block_k;
    struct gpu_launch *launch = add(job, "kv_select_keys", job->rows);
    if (launch == NULL)
        return 0;
    bind_scores(job, launch);
    scratch(launch, job->span_q);
    scratch(launch, job->span_k);
    scratch(launch, job->keys_at);
    bind(job, launch, TENON_KV_SELECT_FLAGS);
    WORDS(launch, job->rows, job->lists, job->nq, job->nk, job->p->last, job->p->segment,
          wide > UINT32_MAX ? UINT32_MAX : wide, job->options & (KS_CAUSAL | KS_SELF | KS_FIRST | KS_FLAGS));
    return 1;
}

static int add_rule(struct job *job)
{
    const uint32_t rule = job->p->rule;
    if (!add_keys(job) || !add_pass(job, PASS_COUNT, 0))
        return 0;
    if (rule == TENON_KV_SELECT_STAT)
        return add_pass(job, PASS_SUM, 0) && add_pass(job, PASS_SQUARE, 0);
    if (rule == TENON_KV_SELECT_THRESH)
        return 1;
    if (rule == TENON_KV_SELECT_CUMUL && !add_pass(job, PASS_TOTAL, 0))
        return 0;
    for (uint32_t shift = 32; shift > 0; shift -= 4)
        if (!add_pass(job, PASS_DIGIT, shift - 4))
            return 0;
    return add_pass(job, PASS_TIES, 0);
}

/* ---- the lists ---- */

static int add_list(struct job *job, uint32_t writes)
{
    struct gpu_launch *launch = add(job, "kv_select_list", job->rows);
    if (launch == NULL)
        return 0;
    scratch(launch, job->keys_at);
    scratch(launch, job->state);
    scratch(launch, job->counts);
    bind(job, launch, TENON_KV_SELECT_ROW_PTR);
    bind(job, launch, TENON_KV_SELECT_COL);
    WORDS(launch, job->rows, job->nq, job->nk, job->rows / job->scopes, writes);
    return 1;
}

static int add_prefix(struct job *job)
{
    for (uint32_t step = 0; step < 3; step++) {
        struct gpu_launch *launch = add(job, "kv_select_prefix", step == 1 ? 1 : job->of_rows.count);
        if (launch == NULL)
            return 0;
        scratch(launch, job->counts);
        scratch(launch, job->sums);
        bind(job, launch, TENON_KV_SELECT_ROW_PTR);
        bind(job, launch, TENON_KV_SELECT_FLAGS);
        WORDS(launch, job->rows, job->nq, job->of_rows.span, job->of_rows.count, job->nnz, step,
              job->options & KS_FLAGS);
    }
    return 1;
}

static int add_all(struct job *job)
{
    if (has(job, TENON_KV_SELECT_FLAGS) && !tenon__gpu_fill(job->recipe, job->limits, TENON_KV_SELECT_FLAGS, 0, 4, 0))
        return 0;
    if (job->nnz && !tenon__gpu_fill(job->recipe, job->limits, TENON_KV_SELECT_COL, 0, job->nnz, 0xffffffffu))
        return 0;
    if (!job->batch || !job->lists)
        return 1;
    if (!job->rows) /* row_ptr has one entry a list; kv_len is counted all the same */
        return tenon__gpu_fill(job->recipe, job->limits, TENON_KV_SELECT_ROW_PTR, 0, job->batch * job->lists, 0) &&
               (!has(job, TENON_KV_SELECT_KV_LEN) || add_span(job, 1, job->keys ? job->keys : 1, job->span_k,
                                                              job->options & KS_FLAGS));
    if (job->nk) {
        if (!add_span(job, 0, job->p->block_q, job->span_q, 0) ||
            !add_span(job, 1, job->p->block_k, job->span_k, job->options & KS_FLAGS) ||
            !(job->tokens ? add_tokens(job) : add_pairs(job)) ||
            (job->p->score == TENON_KV_SELECT_SOFTMAX_POOLED && !add_softmax(job, 1)) || !add_share(job) ||
            !add_norm(job) || !add_rule(job) || !add_list(job, 0))
            return 0;
    } else if (!tenon__gpu_fill(job->recipe, job->limits, GPU_SLOT_SCRATCH, job->counts, job->rows, 0)) {
        return 0;
    }
    return add_prefix(job) && (!job->nk || !job->nnz || add_list(job, 1));
}

/* ---- shapes ---- */

static uint64_t place(uint64_t *total, uint64_t count, uint64_t *most)
{
    const uint64_t at = *total, bytes = (count + 1) * 4;
    *total += (bytes + 255) & ~UINT64_C(255);
    *most = bytes > *most ? bytes : *most;
    return at;
}

static struct pieces pieces_of(const struct job *job, uint64_t n)
{
    const uint64_t most = job->limits->vector ? 64 : PIECES_MOST, least = n / most + 1;
    struct pieces pieces = {n, least > SPAN_LEAST ? least : SPAN_LEAST, 0};
    pieces.count = n ? (n + pieces.span - 1) / pieces.span : 1;
    return pieces;
}

/* Where what is; the largest array is returned. */
static uint64_t choose_scratch(struct job *job)
{
    const uint64_t pairs = job->rows * job->nk, of_heads = job->batch * job->heads * job->nq * job->nk;
    const uint64_t tokens = (uint64_t)job->tokens, one = job->tokens || job->pooled;
    const uint64_t q_blocks = job->tokens ? job->queries : job->nq, k_blocks = job->tokens ? job->keys : job->nk;
    uint64_t total = 0, most = 0;
    job->span_q = place(&total, 2 * job->batch * job->nq, &most);
    job->span_k = place(&total, 2 * job->batch * (job->nk + 1), &most);
    job->at_q = place(&total, tokens * 2 * job->batch * job->queries, &most);
    job->at_k = place(&total, tokens * 2 * job->batch * job->keys, &most);
    job->own_q = place(&total, one * job->batch * job->heads * q_blocks * job->width, &most);
    job->own_k = place(&total, one * job->batch * job->kv_heads * k_blocks * job->width, &most);
    job->partial = place(&total, tokens * of_heads * job->per * job->split, &most);
    job->heads_at = place(&total, job->heads != job->lists ? of_heads : 0, &most);
    job->scores = place(&total, has(job, TENON_KV_SELECT_SCORES_OUT) ? 0 : pairs, &most);
    job->keys_at = place(&total, pairs, &most);
    job->part = place(&total, job->scopes * job->in_scope.count * PART_WORDS, &most);
    job->state = place(&total, job->scopes * STATE_WORDS, &most);
    job->counts = place(&total, job->rows, &most);
    job->sums = place(&total, job->of_rows.count, &most);
    job->recipe->scratch = total;
    return most;
}

static int32_t check_sizes(struct job *job)
{
    const uint64_t rounds = job->limits->loop_max / 4, per = job->per * job->split;
    for (uint32_t i = 0; i < TENON_KV_SELECT_N_TENSORS; i++) {
        const struct tenon_tensor *t = &job->t[i];
        uint64_t elements = 1; /* from the first to the last */
        for (uint32_t axis = 0; has(job, i) && axis < t->rank; axis++) {
            if (t->stride[axis] < 0)
                return unsupported(job, "strides below 0 are not supported");
            elements += t->dim[axis] > 0 ? (uint64_t)(t->dim[axis] - 1) * (uint64_t)t->stride[axis] : 0;
        }
        if (has(job, i) && elements * TENON_DTYPE_SIZE(t->dtype) > GPU_SPAN)
            return unsupported(job, "a tensor of 2^31 bytes and more is not supported");
    }
    if (choose_scratch(job) > GPU_SPAN)
        return unsupported(job, "so many pairs of blocks are not supported");
    const uint64_t own_q = least(job->p->block_q, job->queries), own_k = least(job->p->block_k, job->keys);
    if (rounds && (own_q > rounds || own_k > rounds || job->nk > rounds || per > rounds ||
                   job->width > rounds * 2 || job->in_scope.span > rounds || job->in_scope.count * 16 > rounds * 4 ||
                   job->of_rows.span > rounds || job->of_rows.count > rounds))
        return unsupported(job, "blocks, D or lists of this length are not supported: loops end before");
    return TENON_OK;
}

static void read_shapes(struct job *job)
{
    const struct tenon_kv_select_params *p = job->p;
    const struct tenon_tensor *q = &job->t[TENON_KV_SELECT_Q], *k = &job->t[TENON_KV_SELECT_K];
    const struct tenon_tensor *row_ptr = &job->t[TENON_KV_SELECT_ROW_PTR];
    const int external = p->score == TENON_KV_SELECT_EXTERNAL;
    const uint64_t loop = job->limits->loop_max ? job->limits->loop_max / 2 : 65536;
    job->batch = (uint64_t)row_ptr->dim[0];
    job->lists = (uint64_t)row_ptr->dim[1];
    job->nq = (uint64_t)row_ptr->dim[2] - 1;
    job->heads = external ? (uint64_t)job->t[TENON_KV_SELECT_SCORES].dim[1] : (uint64_t)q->dim[2];
    job->queries = external ? p->q_len : (uint64_t)q->dim[1];
    job->keys = external ? p->k_len : (uint64_t)k->dim[1];
    job->kv_heads = external ? 1 : (uint64_t)k->dim[2];
    job->width = external ? 1 : (uint64_t)q->dim[3];
    job->nk = (job->keys + p->block_k - 1) / p->block_k;
    job->rows = job->batch * job->lists * job->nq;
    job->nnz = (uint64_t)job->t[TENON_KV_SELECT_COL].dim[0];
    job->scopes = p->scope == TENON_KV_SELECT_ROW    ? job->rows
                  : p->scope == TENON_KV_SELECT_HEAD ? job->batch * job->lists
                                                     : 1;
    job->length = job->scopes ? job->rows / job->scopes * job->nk : 0;
    job->in_scope = pieces_of(job, job->length);
    job->of_rows = pieces_of(job, job->rows);
    job->pooled = p->score <= TENON_KV_SELECT_SOFTMAX_POOLED;
    job->tokens = !job->pooled && !external;
    const uint64_t own_q = least(p->block_q, job->queries), own_k = least(p->block_k, job->keys);
    job->per = (own_q + p->stride - 1) / p->stride;
    const uint64_t keys = (own_k + p->stride - 1) / p->stride, fit = loop / (job->width + 1);
    job->piece = fit < 1 || keys < 1 ? 1 : least(fit, keys);
    job->split = (keys + job->piece - 1) / job->piece;
    job->options = (p->causal ? KS_CAUSAL : 0u) | (has(job, TENON_KV_SELECT_KV_LEN) ? KS_HAS_LEN : 0u) |
                   (p->forced_counts ? KS_COUNTS : 0u) | (p->self ? KS_SELF : 0u) | (p->first ? KS_FIRST : 0u) |
                   (has(job, TENON_KV_SELECT_FLAGS) ? KS_FLAGS : 0u) |
                   (p->rule == TENON_KV_SELECT_TOPK ? KS_TOPK : 0u) | (p->rule == TENON_KV_SELECT_STAT ? KS_STAT : 0u) |
                   (p->score == TENON_KV_SELECT_PROB_MASS ? KS_MASS : 0u);
}

static int32_t select_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                             struct gpu_recipe *recipe)
{
    static const char *const rules[] = {"topk", "thresh", "cumul", "stat"};
    static const char *const scores[] = {"pooled", "softmax_pooled", "prob_mass", "max_token", "external"};
    struct job job = {.p = params, .t = t, .limits = limits, .recipe = recipe};
    read_shapes(&job);
    const float width = (float)job.width;
    job.scale = job.p->scale != 0 ? job.p->scale : 1.0f / sqrtf(width);
    int32_t status = check_sizes(&job);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "kv_select %s %s", scores[job.p->score], rules[job.p->rule]);
    status = add_all(&job) ? gpu_recipe_check(recipe, limits) : TENON_E_NOMEM;
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__kv_select_gpu = {.op = TENON_OPNUM_kv_select, .recipe = select_recipe};
