/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of rope: the frequencies, then the tokens, cut so that nothing is further than GPU_SPAN from its buffer
 * argument. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/rope.h>

#include "turn.h"

#define LOCAL        64u
#define LAUNCHES_MAX 65536u
#define PADDED       64u   /* frequencies are a multiple of this many */
#define UNITS        8192u /* fewer invocations leave a device idle */
#define HEADS_MIN    4u    /* of an invocation, for the angles to be worth it */
#define HEADS_MAX    1024u
#define UNITS_MAX    (UINT64_C(1) << 28)

struct job {
    const struct tenon_rope_params *params;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batches, tokens, heads, cols, half, padded, size;
    uint64_t each, span, parts; /* pieces of some heads, heads of an invocation, invocations over all heads */
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

/* Bytes that `batches` and `tokens` of it span. */
static uint64_t extent(const struct job *job, uint32_t i, uint64_t batches, uint64_t tokens)
{
    const struct tenon_tensor *t = &job->t[i];
    if (!job->heads || !job->cols)
        return 0;
    return ((batches - 1) * (uint64_t)t->stride[0] + (tokens - 1) * (uint64_t)t->stride[1] +
            (job->heads - 1) * (uint64_t)t->stride[2] + job->cols) * job->size;
}

static int fits(const struct job *job, uint64_t batches, uint64_t tokens)
{
    return extent(job, TENON_ROPE_X, batches, tokens) <= GPU_SPAN &&
           extent(job, TENON_ROPE_Y, batches, tokens) <= GPU_SPAN &&
           batches * tokens * job->parts * job->each <= UNITS_MAX;
}

static void read_shape(struct job *job)
{
    const struct tenon_tensor *x = &job->t[TENON_ROPE_X];
    const uint64_t vector = job->limits->vector ? job->limits->vector : 1;
    job->batches = (uint64_t)x->dim[0];
    job->tokens = (uint64_t)x->dim[1];
    job->heads = (uint64_t)x->dim[2];
    job->cols = (uint64_t)x->dim[3];
    job->size = TENON_DTYPE_SIZE(x->dtype);
    job->half = (job->params->n_rot ? (uint64_t)job->params->n_rot : job->cols) / 2;
    job->padded = (job->half + PADDED - 1) / PADDED * PADDED;
    job->each = (job->half + vector - 1) / vector + (job->cols - 2 * job->half + vector - 1) / vector;
    job->each = job->each ? job->each : 1;
    job->span = job->heads < HEADS_MAX ? job->heads : HEADS_MAX;
    while (job->span > HEADS_MIN && job->batches * job->tokens * job->each * (job->heads / job->span) < UNITS)
        job->span = (job->span + 1) / 2;
    job->span = job->span ? job->span : 1;
    job->parts = job->heads ? (job->heads + job->span - 1) / job->span : 1;
}

static int add_turns(struct job *job)
{
    struct tenon__turn turn;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "rope_turns", LOCAL);
    const int given = job->t[TENON_ROPE_FREQS].dtype != 0;
    if (launch == NULL)
        return 0;
    tenon__turn_make(job->params->base, (int32_t)job->half * 2, job->params->scaling, &turn);
    (void)tenon__gpu_groups(job->limits, job->padded / LOCAL, launch->groups);
    gpu_launch_buffer(launch, given ? TENON_ROPE_FREQS : GPU_SLOT_NONE, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_u32(launch, (uint32_t)job->half);
    gpu_launch_u32(launch, (uint32_t)job->padded);
    gpu_launch_u32(launch, (uint32_t)given);
    for (int i = 0; i < 3; i++)
        gpu_launch_u32(launch, turn.root[i]);
    for (int i = 0; i < 3; i++)
        gpu_launch_u32(launch, turn.unit[i]);
    job->recipe->scratch = job->padded * 8;
    return 1;
}

/* Binds x or y from token (b, t) on; elements left to a multiple of four bytes. */
static uint32_t bind(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t b, uint64_t t)
{
    const struct tenon_tensor *tensor = &job->t[i];
    const uint64_t at = (b * (uint64_t)tensor->stride[0] + t * (uint64_t)tensor->stride[1]) * job->size;
    if (!job->heads || !job->cols) {
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
        return 0;
    }
    gpu_launch_buffer(launch, (int32_t)i, at & ~UINT64_C(3));
    return (uint32_t)(at & 3) / (uint32_t)job->size;
}

static int add_tokens(struct job *job, uint64_t b, uint64_t batches, uint64_t t, uint64_t tokens)
{
    const uint64_t pos_row = job->t[TENON_ROPE_POS].dim[0] == 1 ? 0 : job->tokens;
    const int table = job->t[TENON_ROPE_TABLE].dtype != 0;
    const int counts = job->t[TENON_ROPE_FLAGS].dtype && table && (b == 0 || pos_row);
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "rope", LOCAL);
    uint32_t options = tenon__gpu_dtype(job->t[TENON_ROPE_X].dtype) | (uint32_t)table << 4 | (uint32_t)counts << 5;
    if (launch == NULL)
        return 0;
    if (job->params->style == TENON_ROPE_INTERLEAVED)
        options |= 8;
    (void)tenon__gpu_groups(job->limits, (batches * tokens * job->parts * job->each + LOCAL - 1) / LOCAL,
                            launch->groups);
    options |= bind(job, launch, TENON_ROPE_X, b, t) << 6;
    gpu_launch_buffer(launch, TENON_ROPE_POS, (b * pos_row + t) * 4);
    if (!table)
        gpu_launch_buffer(launch, job->half ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, 0);
    else
        gpu_launch_buffer(launch, tenon_tensor_count(&job->t[TENON_ROPE_TABLE]) ? TENON_ROPE_TABLE : GPU_SLOT_NONE, 0);
    options |= bind(job, launch, TENON_ROPE_Y, b, t) << 7;
    gpu_launch_buffer(launch, counts ? TENON_ROPE_FLAGS : GPU_SLOT_NONE, 0);
    gpu_launch_u32(launch, (uint32_t)(batches * tokens));
    gpu_launch_u32(launch, (uint32_t)tokens);
    gpu_launch_u32(launch, (uint32_t)job->heads);
    gpu_launch_u32(launch, (uint32_t)job->span);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)job->half);
    gpu_launch_u32(launch, (uint32_t)job->padded);
    for (int axis = 0; axis < 3; axis++)
        gpu_launch_u32(launch, (uint32_t)job->t[TENON_ROPE_X].stride[axis]);
    for (int axis = 0; axis < 3; axis++)
        gpu_launch_u32(launch, (uint32_t)job->t[TENON_ROPE_Y].stride[axis]);
    gpu_launch_u32(launch, (uint32_t)pos_row);
    gpu_launch_u32(launch, table ? (uint32_t)job->t[TENON_ROPE_TABLE].dim[0] : 0);
    gpu_launch_u32(launch, options);
    gpu_launch_f32(launch, job->params->amplitude);
    return 1;
}

static int32_t add_all(struct job *job)
{
    if (job->t[TENON_ROPE_FLAGS].dtype &&
        !tenon__gpu_fill(job->recipe, job->limits, TENON_ROPE_FLAGS, 0, 4, 0))
        return TENON_E_NOMEM;
    if (!job->batches || !job->tokens)
        return TENON_OK;
    if (!job->t[TENON_ROPE_TABLE].dtype && job->half && !add_turns(job))
        return TENON_E_NOMEM;
    if (tenon_tensor_bytes(&job->t[TENON_ROPE_TABLE]) > GPU_SPAN)
        return unsupported(job, "table of 2 GiB and more is not supported");
    if (fits(job, job->batches, job->tokens))
        return add_tokens(job, 0, job->batches, 0, job->tokens) ? TENON_OK : TENON_E_NOMEM;
    uint64_t most = job->tokens;
    while (most && !fits(job, 1, most))
        most /= 2;
    if (!most)
        return unsupported(job, "the heads of one token span 2 GiB: not supported");
    for (uint64_t b = 0; b < job->batches; b++)
        for (uint64_t t = 0; t < job->tokens; t += most) {
            if (job->recipe->n >= LAUNCHES_MAX)
                return unsupported(job, "x: more than 65536 launches");
            if (!add_tokens(job, b, 1, t, job->tokens - t < most ? job->tokens - t : most))
                return TENON_E_NOMEM;
        }
    return TENON_OK;
}

static int32_t rope_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                           struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .t = t, .limits = limits, .recipe = recipe};
    read_shape(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "rope");
    int32_t status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__rope_gpu = {.op = TENON_OPNUM_rope, .recipe = rope_recipe};
