/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of kv_append: positions, then keys, then values; one a sequence where a cache is not within GPU_SPAN. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/kv_append.h>

#define LOCAL        64u
#define CHANNELS     32u /* columns of an invocation, where each has its own scale; whole bytes */
#define LAUNCHES_MAX 65536u
#define UNITS_MAX    (UINT64_C(1) << 28)

struct side {
    uint32_t from, to, channel, table, quant, mode, bits;
    uint64_t group;
};

struct job {
    const struct tenon_kv_append_params *params;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batches, tokens, heads, slots, page, pages;
    uint32_t options; /* that all kernels see */
    struct side side[2];
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static void read_job(struct job *job)
{
    const struct tenon_kv_append_params *p = job->params;
    const struct tenon_tensor *t = job->t, *x = &t[TENON_KV_APPEND_K_NEW], *k = &t[TENON_KV_APPEND_K];
    const int paged = t[TENON_KV_APPEND_PAGE_TABLE].dtype != 0;
    job->batches = (uint64_t)x->dim[0];
    job->tokens = (uint64_t)x->dim[1];
    job->heads = (uint64_t)x->dim[2];
    job->page = paged ? (uint64_t)k->dim[2] : 0;
    job->pages = paged ? (uint64_t)k->dim[0] : 0;
    job->slots = paged ? (uint64_t)t[TENON_KV_APPEND_PAGE_TABLE].dim[1] * job->page : (uint64_t)k->dim[1];
    job->options = (t[TENON_KV_APPEND_N_NEW].dtype ? 0x2000u : 0) | (t[TENON_KV_APPEND_FLAGS].dtype ? 0x4000u : 0) |
                   (p->ring ? 0x8000u : 0);
    job->side[0] = (struct side){TENON_KV_APPEND_K_NEW, TENON_KV_APPEND_K, TENON_KV_APPEND_K_CHANNEL,
                                 TENON_KV_APPEND_K_TABLE, TENON_KV_APPEND_K_QUANT, p->quant_k, p->k_bits,
                                 (uint64_t)p->k_group};
    job->side[1] = (struct side){TENON_KV_APPEND_V_NEW, TENON_KV_APPEND_V, TENON_KV_APPEND_V_CHANNEL,
                                 TENON_KV_APPEND_V_TABLE, TENON_KV_APPEND_V_QUANT, p->quant_v, p->v_bits,
                                 (uint64_t)p->v_group};
}

/* A tensor that may be absent or empty, from byte `at` on. */
static void bind(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t at)
{
    const int there = job->t[i].dtype && tenon_tensor_count(&job->t[i]) > 0;
    gpu_launch_buffer(launch, there ? (int32_t)i : GPU_SLOT_NONE, there ? at : 0);
}

static void bind_places(const struct job *job, struct gpu_launch *launch, uint64_t b)
{
    bind(job, launch, TENON_KV_APPEND_POS, b * 4);
    bind(job, launch, TENON_KV_APPEND_N_NEW, b * 4);
    bind(job, launch, TENON_KV_APPEND_PAGE_TABLE, job->page ? b * (job->slots / job->page) * 4 : 0);
}

static int32_t add_positions(struct job *job)
{
    const uint64_t stride = job->tokens ? job->tokens : 1, rows = job->batches * stride;
    uint32_t options = job->options;
    options |= job->t[TENON_KV_APPEND_KPOS].dtype && job->slots ? 0x100000u : 0;
    options |= job->t[TENON_KV_APPEND_KV_LEN].dtype ? 0x200000u : 0;
    if (!rows || !(options & 0x304000u))
        return TENON_OK;
    if (rows > UNITS_MAX || job->batches * job->slots * 4 > GPU_SPAN)
        return unsupported(job, "2^28 rows, or slots of 2 GiB, are not supported");
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "kv_append_pos", LOCAL);
    if (launch == NULL)
        return TENON_E_NOMEM;
    (void)tenon__gpu_groups(job->limits, (rows + LOCAL - 1) / LOCAL, launch->groups);
    bind_places(job, launch, 0);
    bind(job, launch, TENON_KV_APPEND_KPOS, 0);
    bind(job, launch, TENON_KV_APPEND_KV_LEN, 0);
    bind(job, launch, TENON_KV_APPEND_FLAGS, 0);
    gpu_launch_u32(launch, (uint32_t)rows);
    gpu_launch_u32(launch, (uint32_t)stride);
    gpu_launch_u32(launch, (uint32_t)job->tokens);
    gpu_launch_u32(launch, (uint32_t)job->slots);
    gpu_launch_u32(launch, (uint32_t)job->page);
    gpu_launch_u32(launch, (uint32_t)job->pages);
    gpu_launch_u32(launch, (uint32_t)job->params->n_sink);
    gpu_launch_u32(launch, options);
    return TENON_OK;
}

static int by_token(const struct side *s)
{
    return s->mode == TENON_KV_APPEND_AFFINE_TOKEN || s->mode == TENON_KV_APPEND_LUT_TOKEN;
}

/* Byte offset of sequence b of a tensor whose first axis is that of sequences. */
static uint64_t sequence_at(const struct tenon_tensor *t, uint64_t b)
{
    return b * (uint64_t)t->stride[0] * TENON_DTYPE_SIZE(t->dtype);
}

static int add_rows(struct job *job, const struct side *s, uint64_t b, uint64_t batches)
{
    const struct tenon_tensor *from = &job->t[s->from], *to = &job->t[s->to];
    const uint64_t cols = (uint64_t)from->dim[3], vector = job->limits->vector ? job->limits->vector : 1;
    const uint64_t span = !s->mode ? vector : !by_token(s) ? CHANNELS : s->group ? s->group : cols;
    const uint64_t rows = batches * job->tokens, units = rows * job->heads * ((cols + span - 1) / span);
    const uint64_t at = sequence_at(from, b), goal = job->page ? 0 : sequence_at(to, b);
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, s->mode ? "kv_append_codes" : "kv_append_copy", LOCAL);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, (units + LOCAL - 1) / LOCAL, launch->groups);
    gpu_launch_buffer(launch, (int32_t)s->from, at & ~UINT64_C(3));
    bind_places(job, launch, b);
    gpu_launch_buffer(launch, (int32_t)s->to, goal & ~UINT64_C(3));
    if (s->mode) {
        const struct tenon_tensor *quant = &job->t[s->quant];
        if (by_token(s))
            bind(job, launch, s->quant, job->page ? 0 : sequence_at(quant, b));
        else
            bind(job, launch, s->channel, 0);
        bind(job, launch, s->table, 0);
        bind(job, launch, TENON_KV_APPEND_FLAGS, 0);
    }
    gpu_launch_u32(launch, (uint32_t)rows);
    gpu_launch_u32(launch, (uint32_t)job->tokens);
    gpu_launch_u32(launch, (uint32_t)job->heads);
    gpu_launch_u32(launch, (uint32_t)cols);
    if (s->mode)
        gpu_launch_u32(launch, (uint32_t)span);
    gpu_launch_u32(launch, (uint32_t)job->slots);
    gpu_launch_u32(launch, (uint32_t)job->page);
    gpu_launch_u32(launch, (uint32_t)job->pages);
    for (int axis = 0; axis < 3; axis++)
        gpu_launch_u32(launch, (uint32_t)from->stride[axis]);
    gpu_launch_u32(launch, (uint32_t)to->stride[0]);
    gpu_launch_u32(launch, (uint32_t)to->stride[job->page ? 2 : 1]);
    gpu_launch_u32(launch, (uint32_t)to->stride[job->page ? 1 : 2]);
    gpu_launch_u32(launch, (uint32_t)job->params->n_sink);
    gpu_launch_u32(launch, job->options | tenon__gpu_dtype(from->dtype) | tenon__gpu_dtype(to->dtype) << 3 |
                               s->mode << 6 | s->bits << 9 |
                               (uint32_t)(at & 3) / TENON_DTYPE_SIZE(from->dtype) << 16 |
                               (uint32_t)(goal & 3) / TENON_DTYPE_SIZE(to->dtype) << 18);
    return 1;
}

/* Bytes that n of the first axis span. */
static uint64_t extent(const struct tenon_tensor *t, uint64_t n)
{
    uint64_t elements = (n ? n - 1 : 0) * (uint64_t)t->stride[0] + 1;
    for (uint32_t axis = 1; axis < t->rank; axis++)
        elements += (t->dim[axis] ? (uint64_t)t->dim[axis] - 1 : 0) * (uint64_t)t->stride[axis];
    return elements * TENON_DTYPE_SIZE(t->dtype);
}

static int fits(const struct job *job, const struct side *s, uint64_t batches)
{
    const struct tenon_tensor *to = &job->t[s->to], *quant = &job->t[s->quant];
    const uint64_t all = job->page ? (uint64_t)to->dim[0] : batches;
    return extent(&job->t[s->from], batches) <= GPU_SPAN && extent(to, all) <= GPU_SPAN &&
           (!quant->dtype || extent(quant, all) <= GPU_SPAN) &&
           batches * job->tokens * job->heads * (uint64_t)job->t[s->from].dim[3] <= UNITS_MAX * 4;
}

static int32_t add_side(struct job *job, const struct side *s)
{
    const uint64_t cols = (uint64_t)job->t[s->from].dim[3], group = s->group ? s->group : cols;
    if (!job->batches || !job->tokens || !job->heads || !cols || tenon_tensor_count(&job->t[s->to]) == 0)
        return TENON_OK;
    if (by_token(s) && job->limits->loop_max && group > job->limits->loop_max / 8)
        return unsupported(job, "groups of so many columns are not supported");
    if (fits(job, s, job->batches))
        return add_rows(job, s, 0, job->batches) ? TENON_OK : TENON_E_NOMEM;
    if (!fits(job, s, 1))
        return unsupported(job, "a cache, or new rows of a sequence, of 2 GiB are not supported");
    for (uint64_t b = 0; b < job->batches; b++) {
        if (job->recipe->n >= LAUNCHES_MAX)
            return unsupported(job, "more than 65536 launches");
        if (!add_rows(job, s, b, 1))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}

static int32_t append_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                             struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .t = t, .limits = limits, .recipe = recipe};
    int32_t status = TENON_OK;
    read_job(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "kv_append_%s",
             job.page ? "paged" : job.params->ring ? "ring" : "contiguous");
    if (t[TENON_KV_APPEND_FLAGS].dtype && !tenon__gpu_fill(recipe, limits, TENON_KV_APPEND_FLAGS, 0, 4, 0))
        status = TENON_E_NOMEM;
    if (status == TENON_OK)
        status = add_positions(&job);
    for (int values = 0; values < 2 && status == TENON_OK; values++)
        status = add_side(&job, &job.side[values]);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__kv_append_gpu = {.op = TENON_OPNUM_kv_append, .recipe = append_recipe};
