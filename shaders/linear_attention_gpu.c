/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of linear_attention: the call and the sequences into the scratch, the normalisers' divisors, then the
 * tokens, cut in time so that no invocation goes around its loops more often than a device allows; states go from
 * launch to launch where they will be afterwards, or in the scratch. */
#include "recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <tenon/ops/linear_attention.h>

#include "lib/linear_attention_words.h"
#include "linear_attention_end.args.h"

#define LIN(NAME)    TENON_LINEAR_ATTENTION_##NAME
#define LAUNCHES_MAX 65536u
#define UNITS_MAX    (UINT64_C(1) << 28)
#define HEADS_MAX    32768u /* products of two numbers of heads are indices */
#define SETUP        20u    /* words of a launch */
#define SLACK        64u    /* bytes that vectors may read beyond the last word */

struct job {
    const struct tenon_linear_attention_params *p;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batches, tokens, heads, keys, width, seqs, rows, each;
    uint32_t local, together, vector; /* together: invocations that share a normaliser */
    /* Words of the scratch that side has, then bytes of it: states at work, of groups, and the same of normalisers. */
    uint64_t cu, den, both, bads, side, next, was, z, z_was;
    int packed, norm, group, bidir, noncausal;
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static int given(const struct job *job, uint32_t i)
{
    return job->t[i].dtype != 0;
}

static uint64_t take(uint64_t *end, int wanted, uint64_t n)
{
    const uint64_t at = *end;
    *end += wanted ? n : 0;
    return at;
}

static void read_tensors(struct job *job)
{
    const struct tenon_tensor *q = &job->t[LIN(Q)], *o = &job->t[LIN(O)];
    job->batches = (uint64_t)o->dim[0];
    job->tokens = (uint64_t)o->dim[1];
    job->heads = (uint64_t)o->dim[2];
    job->keys = (uint64_t)q->dim[3];
    job->width = (uint64_t)o->dim[3];
    job->packed = given(job, LIN(CU_Q));
    job->seqs = job->packed ? (uint64_t)job->t[LIN(CU_Q)].dim[0] - 1 : job->batches;
    job->rows = job->batches * job->tokens * job->heads;
    job->vector = job->limits->vector ? job->limits->vector : 1;
    job->each = (job->width + job->vector - 1) / job->vector;
    job->norm = job->p->norm != LIN(NORM_NONE);
    job->group = job->p->read == LIN(GROUP);
    job->bidir = job->p->direction == LIN(BIDIR);
    job->noncausal = job->p->direction == LIN(NONCAUSAL);
    /* one after the other on a CPU: small groups are pieces enough for its threads */
    job->local = job->limits->software ? 8 : 64;
    job->together = job->limits->software && job->vector > 1 ? 1 : job->local;
}

static void plan_scratch(struct job *job)
{
    const uint64_t states = job->seqs * job->heads, size = states * job->keys * job->width * 4;
    uint64_t words = LIN_WORDS, bytes;
    job->cu = take(&words, job->packed, job->seqs + 1);
    job->den = take(&words, job->norm, job->rows);
    job->bads = take(&words, given(job, LIN(FLAGS)), job->rows);
    job->both = take(&words, job->bidir, job->rows * job->width);
    job->side = words;
    bytes = words * 4 + SLACK;
    job->next = take(&bytes, !given(job, LIN(STATE_OUT)), size + SLACK);
    job->was = take(&bytes, job->group, size + SLACK);
    job->z = take(&bytes, job->norm && !given(job, LIN(NORM_STATE_OUT)), states * job->keys * 4);
    job->z_was = take(&bytes, job->norm && job->group, states * job->keys * 4);
    job->recipe->scratch = bytes;
}

static int add_setup(const struct job *job)
{
    static const uint32_t of[] = {LIN(Q), LIN(K), LIN(V), LIN(O), LIN(DECAY), LIN(DECAY_B), LIN(QN), LIN(KN)};
    const struct tenon_linear_attention_params *p = job->p;
    const float scale = p->scale == 0.0f ? (float)(1.0 / sqrt((double)job->keys)) : p->scale;
    uint32_t word[LIN_WORDS] = {[LIN_T] = (uint32_t)job->tokens,
                                [LIN_HS] = (uint32_t)job->heads,
                                [LIN_HQ] = (uint32_t)job->t[LIN(Q)].dim[2],
                                [LIN_HK] = (uint32_t)job->t[LIN(K)].dim[2],
                                [LIN_HV] = (uint32_t)job->t[LIN(V)].dim[2],
                                [LIN_K] = (uint32_t)job->keys,
                                [LIN_V] = (uint32_t)job->width,
                                [LIN_SEQS] = (uint32_t)job->seqs,
                                [LIN_GROUP] = p->group,
                                [LIN_CU] = (uint32_t)job->cu,
                                [LIN_DEN] = (uint32_t)job->den,
                                [LIN_BOTH] = (uint32_t)job->both,
                                [LIN_BADS] = (uint32_t)job->bads};
    memcpy(&word[LIN_SCALE], &scale, 4);
    memcpy(&word[LIN_W_BI], &p->w_bi, 4);
    memcpy(&word[LIN_EPS], &p->eps, 4);
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t axis = 0; axis < 3; axis++)
            word[LIN_AT_Q + 3 * i + axis] = job->t[of[i]].rank == 4 ? (uint32_t)job->t[of[i]].stride[axis] : 0;
    for (uint32_t at = 0; at < LIN_WORDS; at += SETUP) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "linear_attention_setup", job->local);
        if (launch == NULL)
            return 0;
        launch->groups[0] = launch->groups[1] = launch->groups[2] = 1;
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
        gpu_launch_u32(launch, at);
        for (uint32_t i = 0; i < SETUP; i++)
            gpu_launch_u32(launch, word[at + i]);
    }
    return 1;
}

/* Rows outside all sequences, or (not outside) those that are not finite. */
static int add_end(const struct job *job, int outside)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "linear_attention_end", job->local);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, (job->rows * (outside ? job->each : 1) + job->local - 1) / job->local,
                            launch->groups);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_buffer(launch, LIN(O), 0);
    gpu_launch_buffer(launch, given(job, LIN(FLAGS)) ? (int32_t)LIN(FLAGS) : GPU_SLOT_NONE, 0);
    gpu_launch_u32(launch, (uint32_t)job->rows);
    gpu_launch_u32(launch, tenon__gpu_dtype(job->t[LIN(O)].dtype) | (outside ? LIN_END_OUTSIDE : 0) |
                               (given(job, LIN(FLAGS)) ? LIN_END_FLAGS : 0));
    return 1;
}

static int add_sequences(const struct job *job)
{
    const struct gpu_sequences cu = {.cu_slot = LIN(CU_Q),
                                     .n = job->seqs,
                                     .limit = (uint32_t)job->tokens,
                                     .at = (uint32_t)job->cu,
                                     .flags_slot = given(job, LIN(FLAGS)) ? (int32_t)LIN(FLAGS) : GPU_SLOT_NONE};
    return tenon__gpu_sequences(job->recipe, &cu) && (!job->rows || add_end(job, 1));
}

/* ---- tokens ---- */

/* All tokens in one order. */
struct sweep {
    uint32_t options;
    int second; /* BIDIR's */
};

static void bind(const struct job *job, struct gpu_launch *launch, uint32_t i)
{
    gpu_launch_buffer(launch, given(job, i) && tenon_tensor_count(&job->t[i]) ? (int32_t)i : GPU_SLOT_NONE, 0);
}

static uint32_t decay_of(const struct job *job, const struct sweep *sweep)
{
    return sweep->second && given(job, LIN(DECAY_B)) ? LIN(DECAY_B) : LIN(DECAY);
}

static uint32_t options_of(const struct job *job, const struct sweep *sweep, uint64_t first)
{
    const struct tenon_tensor *t = job->t;
    uint32_t options = sweep->options | tenon__gpu_dtype(t[LIN(Q)].dtype) |
                       tenon__gpu_dtype(t[decay_of(job, sweep)].dtype) << LIN_TYPE_DECAY |
                       tenon__gpu_dtype(t[LIN(BETA)].dtype) << LIN_TYPE_BETA |
                       tenon__gpu_dtype(t[LIN(O)].dtype) << LIN_TYPE_O | job->p->decay << LIN_DECAY |
                       job->p->read << LIN_READ | job->p->norm << LIN_NORM;
    options |= job->p->decay_form == LIN(LOG) ? LIN_LOG : 0;
    options |= job->p->update == LIN(DELTA) ? LIN_DELTA : 0;
    options |= job->packed ? LIN_PACKED : 0;
    options |= given(job, LIN(FLAGS)) ? LIN_BAD : 0;
    if (first == 0 && sweep->options & LIN_WRITES)
        options |= LIN_START | (given(job, LIN(STATE)) ? LIN_GIVEN : 0);
    return options;
}

/* A state tensor at work: the output, or what the scratch has of it. */
static void bind_state(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t scratch)
{
    const int out = given(job, i);
    gpu_launch_buffer(launch, out ? (int32_t)i : GPU_SLOT_SCRATCH, out ? 0 : scratch);
}

static void bind_group(const struct job *job, struct gpu_launch *launch, uint64_t at)
{
    gpu_launch_buffer(launch, job->group ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->group ? at : 0);
}

static int add_norm(const struct job *job, const struct sweep *sweep, uint64_t first, uint64_t steps)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "linear_attention_norm", job->together);
    const uint32_t qn = given(job, LIN(QN)) ? LIN(QN) : LIN(Q), kn = given(job, LIN(KN)) ? LIN(KN) : LIN(K);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, job->seqs * job->heads, launch->groups);
    bind(job, launch, qn);
    bind(job, launch, kn);
    bind(job, launch, LIN(DECAY));
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    bind(job, launch, LIN(NORM_STATE));
    bind_state(job, launch, LIN(NORM_STATE_OUT), job->z);
    bind_group(job, launch, job->z_was);
    gpu_launch_u32(launch, (uint32_t)first);
    gpu_launch_u32(launch, (uint32_t)steps);
    gpu_launch_u32(launch, qn == LIN(QN) ? LIN_AT_QN : LIN_AT_Q);
    gpu_launch_u32(launch, kn == LIN(KN) ? LIN_AT_KN : LIN_AT_K);
    gpu_launch_u32(launch, LIN_AT_A);
    gpu_launch_u32(launch, options_of(job, sweep, first));
    return 1;
}

static int add_states(const struct job *job, const struct sweep *sweep, uint64_t first, uint64_t steps)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "linear_attention", job->local);
    const uint32_t decay = decay_of(job, sweep);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_groups(job->limits, (job->seqs * job->heads * job->each + job->local - 1) / job->local,
                            launch->groups);
    bind(job, launch, LIN(Q));
    bind(job, launch, LIN(K));
    bind(job, launch, LIN(V));
    bind(job, launch, decay);
    bind(job, launch, LIN(BETA));
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    bind(job, launch, LIN(STATE));
    bind_state(job, launch, LIN(STATE_OUT), job->next);
    bind_group(job, launch, job->was);
    bind(job, launch, LIN(O));
    gpu_launch_u32(launch, (uint32_t)first);
    gpu_launch_u32(launch, (uint32_t)steps);
    gpu_launch_u32(launch, decay == LIN(DECAY_B) ? LIN_AT_B : LIN_AT_A);
    gpu_launch_u32(launch, options_of(job, sweep, first));
    return 1;
}

/* Tokens of one launch whose loops go around `rounds` times a token and `once` times besides; 0: none. */
static uint64_t steps_of(const struct job *job, uint64_t rounds, uint64_t once)
{
    const uint64_t limit = job->limits->loop_max, all = job->tokens ? job->tokens : 1;
    if (!limit || all * rounds + once + 64 <= limit)
        return all;
    return once + rounds + 64 > limit ? 0 : (limit - 64 - once) / rounds;
}

static int32_t add_sweep(const struct job *job, const struct sweep *sweep, int norm)
{
    const uint64_t keys = job->keys, part = (keys + job->together - 1) / job->together;
    const int delta = job->p->update == LIN(DELTA);
    const uint64_t steps = norm ? steps_of(job, part + job->together + 4, part)
                                : steps_of(job, (1 + (uint64_t)delta + (uint64_t)job->group) * (keys + 1) + 4 +
                                                    4 * job->vector, keys + 1);
    if (!steps)
        return unsupported(job, "K: more rows than the loops of this device may go around");
    for (uint64_t first = 0; first == 0 || first < job->tokens; first += steps) {
        if (job->recipe->n >= LAUNCHES_MAX)
            return unsupported(job, "T: more than 65536 launches");
        if (!(norm ? add_norm(job, sweep, first, steps) : add_states(job, sweep, first, steps)))
            return TENON_E_NOMEM;
    }
    return TENON_OK;
}

static int32_t add_tokens(const struct job *job)
{
    struct sweep sweeps[2] = {{LIN_WRITES | LIN_READS, 0}, {LIN_WRITES | LIN_READS | LIN_REVERSE | LIN_JOIN, 1}};
    const int n = job->bidir || job->noncausal ? 2 : 1;
    int32_t status = TENON_OK;
    if (job->bidir)
        sweeps[0].options |= LIN_KEEP;
    else if (job->p->direction == LIN(REVERSE))
        sweeps[0].options |= LIN_REVERSE;
    if (job->noncausal) {
        sweeps[0].options = LIN_WRITES;
        sweeps[1] = (struct sweep){LIN_READS, 0};
    }
    for (int norm = job->norm; norm >= 0; norm--)
        for (int i = 0; !status && i < n; i++)
            status = add_sweep(job, &sweeps[i], norm);
    return status;
}

static int32_t check(const struct job *job)
{
    const uint64_t states = job->seqs * job->heads;
    for (uint32_t i = 0; i < LIN(N_TENSORS); i++)
        if (given(job, i) && tenon_tensor_bytes(&job->t[i]) > GPU_SPAN)
            return unsupported(job, "a tensor of 2 GiB and more is not supported");
    if (job->heads > HEADS_MAX)
        return unsupported(job, "HS beyond 32768 is not supported");
    if (job->side * 4 + SLACK > GPU_SPAN || states * job->each > UNITS_MAX || job->rows * job->each > UNITS_MAX ||
        job->keys * job->width * 4 > GPU_SPAN || states * job->keys * job->width * 4 + SLACK > GPU_SPAN)
        return unsupported(job, "tokens or states beyond 2 GiB are not supported");
    return TENON_OK;
}

static int32_t add_all(struct job *job)
{
    const int flags = given(job, LIN(FLAGS));
    if (flags && !tenon__gpu_fill(job->recipe, job->limits, LIN(FLAGS), 0, 4, 0))
        return TENON_E_NOMEM;
    if (!job->heads || (!job->seqs && !job->rows))
        return TENON_OK;
    plan_scratch(job);
    int32_t status = check(job);
    if (status)
        return status;
    if (!add_setup(job) || (job->packed && !add_sequences(job)))
        return TENON_E_NOMEM;
    if (flags && job->rows &&
        !tenon__gpu_fill(job->recipe, job->limits, GPU_SLOT_SCRATCH, job->bads * 4, job->rows, 0))
        return TENON_E_NOMEM;
    if (job->seqs)
        status = add_tokens(job);
    if (!status && flags && job->rows && !add_end(job, 0))
        status = TENON_E_NOMEM;
    return status;
}

static int32_t lin_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                          struct gpu_recipe *recipe)
{
    struct job job = {.p = params, .t = t, .limits = limits, .recipe = recipe};
    read_tensors(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "token by token");
    int32_t status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__linear_attention_gpu = {.op = TENON_OPNUM_linear_attention, .recipe = lin_recipe};
