/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of causal_conv1d: weights and sequences into the scratch, the tokens, cut so that nothing is further than
 * GPU_SPAN from its buffer argument, then the states, which may lie where the old ones do. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/causal_conv1d.h>

#include "causal_conv1d.args.h"

#define CONV(NAME)   TENON_CAUSAL_CONV1D_##NAME
#define LOCAL        64u
#define LAUNCHES_MAX 65536u
#define PACK_MAX     (UINT64_C(1) << 24) /* entries that one launch packs */
#define UNITS_MAX    (UINT64_C(1) << 28)
#define HELD_MAX     (UINT64_C(1) << 28) /* bytes of sums that are not whole */
#define STATE_SPAN   8u                  /* rows of an invocation, where it need not have all */
#define STATE_ROWS   32768u              /* of a launch: loops end on some devices */
#define SLACK        64u                 /* bytes that vectors may read beyond the last word */

struct job {
    const struct tenon_causal_conv1d_params *p;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batches, tokens, cin, cout, cg, cog, taps, terms, dil, back, ahead, n, seqs, size, vector;
    uint64_t side; /* words before the sums that are not whole */
    int packed;
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int given(const struct job *job, uint32_t i)
{
    return job->t[i].dtype && tenon_tensor_count(&job->t[i]);
}

static void read_tensors(struct job *job)
{
    const struct tenon_tensor *x = &job->t[CONV(X)], *w = &job->t[CONV(W)], *cu = &job->t[CONV(CU_Q)];
    job->batches = (uint64_t)x->dim[0];
    job->tokens = (uint64_t)x->dim[1];
    job->cin = (uint64_t)x->dim[2];
    job->cout = (uint64_t)w->dim[0];
    job->cg = (uint64_t)w->dim[1];
    job->cog = job->cin ? job->cout / (job->cin / job->cg) : 0;
    job->taps = (uint64_t)w->dim[2];
    job->terms = job->taps * job->cg;
    job->dil = (uint64_t)job->p->dil;
    job->n = (job->taps - 1) * job->dil + job->p->offset;
    job->back = job->p->pad == CONV(SAME) ? job->n / 2 : job->n;
    job->ahead = job->n - job->back;
    job->packed = cu->dtype != 0;
    job->seqs = job->packed ? (uint64_t)cu->dim[0] - 1 : job->batches;
    job->size = TENON_DTYPE_SIZE(x->dtype);
    job->vector = job->limits->vector ? job->limits->vector : 1;
    job->side = (job->terms + 1) * job->cout + (job->packed ? job->seqs + 1 : 0);
}

/* Whether `tokens` of each of `batches` can be one launch. */
static int fits(const struct job *job, uint64_t batches, uint64_t tokens)
{
    static const uint32_t side[] = {CONV(GATE), CONV(RESIDUAL), CONV(Y)};
    const struct tenon_tensor *x = &job->t[CONV(X)];
    const uint64_t pieces = (job->cout + job->vector - 1) / job->vector;
    uint64_t met = tokens + job->back + job->ahead;
    met = met < job->tokens ? met : job->tokens;
    if (batches * tokens * pieces > UNITS_MAX ||
        (job->terms > CONV_TERMS && batches * tokens * job->cout * 4 > HELD_MAX) ||
        ((batches - 1) * (uint64_t)x->stride[0] + met * (uint64_t)x->stride[1] + job->cin) * job->size > GPU_SPAN)
        return 0;
    for (uint32_t i = 0; i < 3; i++) {
        const struct tenon_tensor *t = &job->t[side[i]];
        if (t->dtype &&
            ((batches - 1) * (uint64_t)t->stride[0] + tokens * (uint64_t)t->stride[1] + job->cout) * job->size >
                GPU_SPAN)
            return 0;
    }
    return 1;
}

static int add_pack(const struct job *job)
{
    const struct tenon_tensor *bias = &job->t[CONV(BIAS)];
    for (uint64_t first = 0, n = (job->terms + 1) * job->cout, count; first < n; first += count) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "causal_conv1d_pack", LOCAL);
        if (launch == NULL)
            return 0;
        count = n - first < PACK_MAX ? n - first : PACK_MAX;
        (void)tenon__gpu_groups(job->limits, (count + LOCAL - 1) / LOCAL, launch->groups);
        gpu_launch_buffer(launch, (int32_t)CONV(W), 0);
        gpu_launch_buffer(launch, bias->dtype ? (int32_t)CONV(BIAS) : GPU_SLOT_NONE, 0);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
        gpu_launch_u32(launch, (uint32_t)first);
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, (uint32_t)job->cout);
        gpu_launch_u32(launch, (uint32_t)job->cg);
        gpu_launch_u32(launch, (uint32_t)job->taps);
        gpu_launch_u32(launch, tenon__gpu_dtype(job->t[CONV(W)].dtype) | tenon__gpu_dtype(bias->dtype) << 3);
    }
    return 1;
}

/* Binds a tensor from token t of batch b on. What is left to a multiple of four bytes, as elements. */
static uint32_t bind(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t b, uint64_t t)
{
    const struct tenon_tensor *tensor = &job->t[i];
    if (!given(job, i)) {
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
        return 0;
    }
    const uint64_t at = (b * (uint64_t)tensor->stride[0] + t * (uint64_t)tensor->stride[1]) * job->size;
    gpu_launch_buffer(launch, (int32_t)i, at & ~UINT64_C(3));
    return (uint32_t)(at & 3) / (uint32_t)job->size;
}

struct part {
    uint64_t b, batches, t, tokens;
};

static int add_terms(const struct job *job, const struct part *part, uint64_t term)
{
    static const uint32_t of[] = {CONV(X), CONV(Y), CONV(GATE), CONV(RESIDUAL)};
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "causal_conv1d", LOCAL);
    uint32_t options = tenon__gpu_dtype(job->t[CONV(X)].dtype) | (uint32_t)job->taps << CONV_TAPS;
    if (launch == NULL)
        return 0;
    const uint64_t rows = part->batches * part->tokens, pieces = (job->cout + job->vector - 1) / job->vector;
    (void)tenon__gpu_groups(job->limits, (rows * pieces + LOCAL - 1) / LOCAL, launch->groups);
    options |= job->p->act == CONV(SILU) ? CONV_SILU : 0;
    options |= given(job, CONV(GATE)) ? CONV_GATE : 0;
    options |= given(job, CONV(RESIDUAL)) ? CONV_RESIDUAL : 0;
    options |= given(job, CONV(STATE)) ? CONV_STATE : 0;
    options |= job->cg == 1 && job->cog == 1 ? CONV_DEPTHWISE : 0;
    options |= job->packed ? CONV_PACKED : 0;
    options |= bind(job, launch, CONV(X), part->b, part->t > job->back ? part->t - job->back : 0) << CONV_SHIFT_X;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    options |= bind(job, launch, CONV(STATE), part->b, 0) << CONV_SHIFT_STATE;
    options |= bind(job, launch, CONV(GATE), part->b, part->t) << CONV_SHIFT_GATE;
    options |= bind(job, launch, CONV(RESIDUAL), part->b, part->t) << CONV_SHIFT_RESIDUAL;
    options |= bind(job, launch, CONV(Y), part->b, part->t) << CONV_SHIFT_Y;
    gpu_launch_u32(launch, (uint32_t)rows);
    gpu_launch_u32(launch, (uint32_t)part->tokens);
    gpu_launch_u32(launch, (uint32_t)job->tokens);
    gpu_launch_u32(launch, (uint32_t)part->t);
    gpu_launch_u32(launch, (uint32_t)job->cout);
    gpu_launch_u32(launch, (uint32_t)job->cg);
    gpu_launch_u32(launch, (uint32_t)job->cog);
    gpu_launch_u32(launch, (uint32_t)job->dil);
    gpu_launch_u32(launch, (uint32_t)job->back);
    for (uint32_t i = 0; i < 4; i++)
        for (int axis = 0; axis < 2; axis++)
            gpu_launch_u32(launch, given(job, of[i]) ? (uint32_t)job->t[of[i]].stride[axis] : 0);
    gpu_launch_u32(launch, (uint32_t)job->seqs);
    gpu_launch_u32(launch, (uint32_t)term);
    gpu_launch_u32(launch, options);
    return 1;
}

static int add_part(const struct job *job, struct part part)
{
    if (job->terms > CONV_TERMS) {
        const uint64_t held = (job->side + part.batches * part.tokens * job->cout) * 4 + SLACK;
        job->recipe->scratch = held > job->recipe->scratch ? held : job->recipe->scratch;
    }
    for (uint64_t term = 0; term < job->terms; term += CONV_TERMS)
        if (!add_terms(job, &part, term))
            return 0;
    return 1;
}

static int32_t add_tokens(const struct job *job)
{
    uint64_t most = job->tokens;
    if (fits(job, job->batches, job->tokens))
        return add_part(job, (struct part){0, job->batches, 0, job->tokens}) ? TENON_OK : TENON_E_NOMEM;
    while (most && !fits(job, 1, most))
        most /= 2;
    if (!most)
        return unsupported(job, "what one token meets spans 2 GiB: not supported");
    for (uint64_t b = 0; b < job->batches; b++)
        for (uint64_t t = 0; t < job->tokens; t += most) {
            if (job->recipe->n >= LAUNCHES_MAX)
                return unsupported(job, "x: more than 65536 launches");
            if (!add_part(job, (struct part){b, 1, t, job->tokens - t < most ? job->tokens - t : most}))
                return TENON_E_NOMEM;
        }
    return TENON_OK;
}

/* The states of batches b .. b + count, or of all sequences. */
static int add_states(const struct job *job, uint64_t b, uint64_t count)
{
    const uint64_t pieces = (job->cin + job->vector - 1) / job->vector;
    const int moves = job->t[CONV(STATE)].dtype != 0;
    const uint64_t base = !job->packed && job->tokens > job->n ? job->tokens - job->n : 0;
    for (uint64_t from = 0, to; from < job->n; from = to) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "causal_conv1d_state", LOCAL);
        if (launch == NULL)
            return 0;
        to = job->n - from < STATE_ROWS ? job->n : from + STATE_ROWS;
        const uint64_t span = moves ? to - from : STATE_SPAN, spans = (to - from + span - 1) / span;
        (void)tenon__gpu_groups(job->limits, (count * spans * pieces + LOCAL - 1) / LOCAL, launch->groups);
        uint32_t options = bind(job, launch, CONV(X), b, base);
        gpu_launch_buffer(launch, job->packed ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, 0);
        (void)bind(job, launch, CONV(STATE), b, 0);
        options |= bind(job, launch, CONV(STATE_OUT), b, 0) << 1;
        options |= moves ? 4u : 0u;
        options |= job->size == 2 ? 8u : 0u;
        options |= job->packed ? 16u : 0u;
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, (uint32_t)(job->side - (job->packed ? job->seqs + 1 : 0)));
        gpu_launch_u32(launch, (uint32_t)job->tokens);
        gpu_launch_u32(launch, (uint32_t)base);
        gpu_launch_u32(launch, (uint32_t)job->n);
        gpu_launch_u32(launch, (uint32_t)from);
        gpu_launch_u32(launch, (uint32_t)to);
        gpu_launch_u32(launch, (uint32_t)span);
        gpu_launch_u32(launch, (uint32_t)job->cin);
        for (int axis = 0; axis < 2; axis++)
            gpu_launch_u32(launch, given(job, CONV(X)) ? (uint32_t)job->t[CONV(X)].stride[axis] : 0);
        gpu_launch_u32(launch, options);
    }
    return 1;
}

static int32_t add_all_states(const struct job *job)
{
    const struct tenon_tensor *x = &job->t[CONV(X)];
    const uint64_t met = job->packed || job->tokens < job->n ? job->tokens : job->n;
    const uint64_t own = (met * (uint64_t)x->stride[1] + job->cin) * job->size;
    const uint64_t all = own + (job->batches ? job->batches - 1 : 0) * (uint64_t)x->stride[0] * job->size;
    if (job->seqs * job->n * job->cin > UNITS_MAX * 16 || (given(job, CONV(X)) && own > GPU_SPAN))
        return unsupported(job, "what goes into a state spans 2 GiB: not supported");
    if (job->packed || !given(job, CONV(X)) || all <= GPU_SPAN)
        return add_states(job, 0, job->seqs) ? TENON_OK : TENON_E_NOMEM;
    if (job->batches > LAUNCHES_MAX)
        return unsupported(job, "x: more than 65536 launches");
    for (uint64_t b = 0; b < job->batches; b++)
        if (!add_states(job, b, 1))
            return TENON_E_NOMEM;
    return TENON_OK;
}

static int32_t add_all(struct job *job)
{
    const int flags = job->t[CONV(FLAGS)].dtype != 0, tokens = job->batches && job->tokens && job->cout;
    if (flags && !tenon__gpu_fill(job->recipe, job->limits, CONV(FLAGS), 0, 4, 0))
        return TENON_E_NOMEM;
    if (job->side * 4 > GPU_SPAN || tenon_tensor_bytes(&job->t[CONV(STATE)]) > GPU_SPAN ||
        tenon_tensor_bytes(&job->t[CONV(STATE_OUT)]) > GPU_SPAN)
        return unsupported(job, "weights or states of 2 GiB and more are not supported");
    const int states = given(job, CONV(STATE_OUT));
    if (job->packed && (tokens || states || flags)) {
        const struct gpu_sequences cu = {.cu_slot = CONV(CU_Q),
                                         .n = job->seqs,
                                         .limit = (uint32_t)job->tokens,
                                         .at = (uint32_t)(job->side - job->seqs - 1),
                                         .flags_slot = flags ? (int32_t)CONV(FLAGS) : GPU_SLOT_NONE};
        job->recipe->scratch = job->side * 4 + SLACK;
        if (!tenon__gpu_sequences(job->recipe, &cu))
            return TENON_E_NOMEM;
    }
    if (tokens) {
        job->recipe->scratch = job->side * 4 + SLACK;
        if (!add_pack(job))
            return TENON_E_NOMEM;
        const int32_t status = add_tokens(job);
        if (status != TENON_OK)
            return status;
    }
    return states ? add_all_states(job) : TENON_OK;
}

static int32_t conv_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                           struct gpu_recipe *recipe)
{
    struct job job = {.p = params, .t = t, .limits = limits, .recipe = recipe};
    read_tensors(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "causal_conv1d");
    int32_t status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__causal_conv1d_gpu = {.op = TENON_OPNUM_causal_conv1d, .recipe = conv_recipe};
