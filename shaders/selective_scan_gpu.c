/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of selective_scan: the call, the rates and the sequences into the scratch, then the tokens, cut in time so
 * that no invocation goes around its loops more often than a device allows; the states go from launch to launch. */
#include "recipe.h"

#include <stdio.h>
#include <string.h>
#include <tenon/ops/selective_scan.h>

#include "selective_scan.args.h"

#define SCAN(NAME)   TENON_SELECTIVE_SCAN_##NAME
#define LOCAL        64u
#define LAUNCHES_MAX 65536u
#define HELD         16u /* states of a channel that are registers */
#define PACK_MAX     (UINT64_C(1) << 24)
#define UNITS_MAX    (UINT64_C(1) << 28)
#define SLACK        64u /* bytes that vectors may read beyond the last word */

struct job {
    const struct tenon_selective_scan_params *p;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t batches, tokens, d, n, width, seqs, pieces;
    uint64_t cu, held; /* words of the scratch: where sequences begin, where states are between launches */
    int packed, plain;
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static void read_tensors(struct job *job)
{
    const struct tenon_tensor *u = &job->t[SCAN(U)];
    const uint64_t vector = job->limits->vector ? job->limits->vector : 1;
    job->batches = (uint64_t)u->dim[0];
    job->tokens = (uint64_t)u->dim[1];
    job->d = (uint64_t)u->dim[2];
    job->plain = job->p->mode == SCAN(PLAIN);
    job->n = job->plain ? 1 : (uint64_t)job->t[SCAN(A)].dim[1];
    job->width = job->plain ? job->d : job->d / (uint64_t)job->t[SCAN(BM)].dim[2];
    job->packed = job->t[SCAN(CU_Q)].dtype != 0;
    job->seqs = job->packed ? (uint64_t)job->t[SCAN(CU_Q)].dim[0] - 1 : job->batches;
    job->pieces = job->width ? (job->width + vector - 1) / vector * (job->d / job->width) : 0;
    job->cu = SCAN_RATES + (job->plain ? 0 : (job->n + 2) * job->d);
    job->held = job->cu + (job->packed ? job->seqs + 1 : 0);
}

/* ---- the scratch ---- */

static int add_setup(const struct job *job)
{
    static const uint32_t of[] = {SCAN(U), SCAN(DT), SCAN(Z), SCAN(Y), SCAN(BM), SCAN(CM)};
    static const uint32_t at[] = {SCAN_U, SCAN_DT, SCAN_Z, SCAN_Y, SCAN_B, SCAN_C};
    uint32_t word[SCAN_WORDS] = {
        [SCAN_D] = (uint32_t)job->d,           [SCAN_N] = (uint32_t)job->n,   [SCAN_WIDTH] = (uint32_t)job->width,
        [SCAN_TOKENS] = (uint32_t)job->tokens, [SCAN_CU] = (uint32_t)job->cu, [SCAN_SEQS] = (uint32_t)job->seqs};
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "selective_scan_setup", LOCAL);
    if (launch == NULL)
        return 0;
    memcpy(&word[SCAN_LO], &job->p->dt_lo, 4);
    memcpy(&word[SCAN_HI], &job->p->dt_hi, 4);
    for (int i = 0; i < 6; i++)
        for (uint32_t axis = 0; axis < (i < 4 ? 2u : 3u); axis++)
            word[at[i] + axis] = job->t[of[i]].dtype ? (uint32_t)job->t[of[i]].stride[axis] : 0;
    launch->groups[0] = launch->groups[1] = launch->groups[2] = 1;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    for (uint32_t i = 0; i < SCAN_WORDS; i++)
        gpu_launch_u32(launch, word[i]);
    return 1;
}

static int add_pack(const struct job *job)
{
    static const uint32_t of[] = {SCAN(A), SCAN(DSKIP), SCAN(DT_BIAS)};
    for (uint64_t first = 0, n = (job->n + 2) * job->d, count; first < n; first += count) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "selective_scan_pack", LOCAL);
        uint32_t options = 0;
        if (launch == NULL)
            return 0;
        count = n - first < PACK_MAX ? n - first : PACK_MAX;
        (void)tenon__gpu_groups(job->limits, (count + LOCAL - 1) / LOCAL, launch->groups);
        for (int i = 0; i < 3; i++) {
            gpu_launch_buffer(launch, job->t[of[i]].dtype ? (int32_t)of[i] : GPU_SLOT_NONE, 0);
            options |= tenon__gpu_dtype(job->t[of[i]].dtype) << (3 * i);
        }
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
        gpu_launch_u32(launch, (uint32_t)first);
        gpu_launch_u32(launch, (uint32_t)count);
        gpu_launch_u32(launch, SCAN_RATES);
        gpu_launch_u32(launch, (uint32_t)job->d);
        gpu_launch_u32(launch, (uint32_t)job->n);
        gpu_launch_u32(launch, options);
    }
    return 1;
}

static int add_sequences(const struct job *job)
{
    const int flags = job->t[SCAN(FLAGS)].dtype != 0;
    const struct gpu_sequences cu = {.cu_slot = SCAN(CU_Q),
                                     .n = job->seqs,
                                     .limit = (uint32_t)job->tokens,
                                     .at = (uint32_t)job->cu,
                                     .flags_slot = flags ? (int32_t)SCAN(FLAGS) : GPU_SLOT_NONE};
    if (!tenon__gpu_sequences(job->recipe, &cu))
        return 0;
    if (!job->tokens || !job->d)
        return 1;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "selective_scan_clear", LOCAL);
    if (launch == NULL)
        return 0;
    const uint64_t vector = job->limits->vector ? job->limits->vector : 1;
    (void)tenon__gpu_groups(job->limits, (job->tokens * ((job->d + vector - 1) / vector) + LOCAL - 1) / LOCAL,
                            launch->groups);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_buffer(launch, SCAN(Y), 0);
    gpu_launch_u32(launch, (uint32_t)job->tokens);
    gpu_launch_u32(launch, (uint32_t)job->d);
    gpu_launch_u32(launch, (uint32_t)job->cu);
    gpu_launch_u32(launch, (uint32_t)job->seqs);
    gpu_launch_u32(launch, (uint32_t)job->t[SCAN(Y)].stride[1]);
    gpu_launch_u32(launch, tenon__gpu_dtype(job->t[SCAN(Y)].dtype));
    return 1;
}

/* ---- tokens ---- */

/* Sequences from s on, tokens first .. first + steps of each; `again`: states are where the launch before left them. */
struct part {
    uint64_t s, count, first, steps;
    int again, last;
};

/* Binds a tensor from token t of batch b on. What is left to a multiple of four bytes, as elements. */
static uint32_t bind(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t b, uint64_t t)
{
    const struct tenon_tensor *tensor = &job->t[i];
    if (!tensor->dtype || !tenon_tensor_count(tensor)) {
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
        return 0;
    }
    const uint64_t size = TENON_DTYPE_SIZE(tensor->dtype);
    const uint64_t at = (b * (uint64_t)tensor->stride[0] + t * (uint64_t)tensor->stride[1]) * size;
    gpu_launch_buffer(launch, (int32_t)i, at & ~UINT64_C(3));
    return (uint32_t)((at & 3) / size);
}

static uint32_t options_of(const struct job *job)
{
    const struct tenon_tensor *t = job->t;
    uint32_t options = tenon__gpu_dtype(t[SCAN(U)].dtype) | tenon__gpu_dtype(t[SCAN(DT)].dtype) << SCAN_TYPE_DT |
                       tenon__gpu_dtype(t[SCAN(BM)].dtype) << SCAN_TYPE_B |
                       tenon__gpu_dtype(t[SCAN(CM)].dtype) << SCAN_TYPE_C;
    options |= job->plain ? SCAN_PLAIN : 0;
    options |= job->p->decay == SCAN(LOG) ? SCAN_LOG : 0;
    options |= job->p->softplus ? SCAN_SOFTPLUS : 0;
    options |= job->p->limit ? SCAN_LIMIT : 0;
    options |= t[SCAN(Z)].dtype ? SCAN_GATE : 0;
    options |= t[SCAN(DSKIP)].dtype ? SCAN_SKIP : 0;
    return options | (job->packed ? SCAN_PACKED : 0);
}

static int add_part(const struct job *job, const struct part *part)
{
    static const uint32_t of[] = {SCAN(U), SCAN(DT), SCAN(BM), SCAN(CM), SCAN(Z)};
    static const uint32_t shift[] = {SCAN_SHIFT_U, SCAN_SHIFT_DT, SCAN_SHIFT_B, SCAN_SHIFT_C, SCAN_SHIFT_Z};
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "selective_scan", LOCAL);
    uint32_t options = options_of(job);
    if (launch == NULL)
        return 0;
    const uint64_t b = job->packed ? 0 : part->s, base = job->packed ? 0 : part->first;
    const uint64_t own = part->s * job->d * job->n * 4;
    const int out = job->t[SCAN(STATE_OUT)].dtype != 0, keeps = out || !part->last || job->n > HELD;
    const int before = part->again || job->t[SCAN(STATE)].dtype;
    (void)tenon__gpu_groups(job->limits, (part->count * job->pieces + LOCAL - 1) / LOCAL, launch->groups);
    for (int i = 0; i < 5; i++)
        options |= bind(job, launch, of[i], b, base) << shift[i];
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    /* states between launches are where those after will be, or in the scratch */
    const int32_t slot = out ? (int32_t)SCAN(STATE_OUT) : GPU_SLOT_SCRATCH;
    const uint64_t at = out ? own : job->held * 4 + own;
    gpu_launch_buffer(launch,
                      part->again ? slot
                      : before    ? (int32_t)SCAN(STATE)
                                  : GPU_SLOT_NONE,
                      part->again ? at
                      : before    ? own
                                  : 0);
    gpu_launch_buffer(launch, keeps ? slot : GPU_SLOT_NONE, keeps ? at : 0);
    options |= bind(job, launch, SCAN(Y), b, base) << SCAN_SHIFT_Y;
    gpu_launch_u32(launch, (uint32_t)part->count);
    gpu_launch_u32(launch, (uint32_t)part->first);
    gpu_launch_u32(launch, (uint32_t)part->steps);
    gpu_launch_u32(launch, (uint32_t)base);
    gpu_launch_u32(launch, options | (before ? SCAN_STATE : 0) | (keeps ? SCAN_NEXT : 0));
    return 1;
}

/* Whether `steps` tokens of `count` sequences can be one launch. */
static int fits(const struct job *job, uint64_t count, uint64_t steps)
{
    static const uint32_t of[] = {SCAN(U), SCAN(DT), SCAN(BM), SCAN(CM), SCAN(Z), SCAN(Y)};
    const uint64_t batches = job->packed ? 1 : count, met = job->packed ? job->tokens : steps;
    if (count * job->pieces > UNITS_MAX)
        return 0;
    for (int i = 0; i < 6; i++) {
        const struct tenon_tensor *t = &job->t[of[i]];
        const uint64_t rest = t->rank == 4 ? (uint64_t)t->dim[2] * (uint64_t)t->stride[2] + job->n : job->d;
        if (t->dtype && tenon_tensor_count(t) &&
            ((batches - 1) * (uint64_t)t->stride[0] + met * (uint64_t)t->stride[1] + rest) *
                    TENON_DTYPE_SIZE(t->dtype) >
                GPU_SPAN)
            return 0;
    }
    return 1;
}

static int32_t add_tokens(struct job *job)
{
    /* rounds of the loops of a token, and of those that load states */
    const uint64_t rounds = 2 + (job->n + HELD - 1) / HELD, limit = job->limits->loop_max;
    uint64_t steps = job->tokens ? job->tokens : 1, count = job->seqs;
    if (limit && steps * rounds + job->n > limit - 64)
        steps = job->n + rounds + 64 < limit ? (limit - 64 - job->n) / rounds : 1;
    while (steps > 1 && !fits(job, count, steps))
        steps /= 2;
    if (!fits(job, count, steps)) { /* a batch each */
        count = 1;
        if (job->packed || !fits(job, 1, steps))
            return unsupported(job, "u, dt, b, c, z or y: packed tokens, or one token, beyond 2 GiB are not supported");
    }
    for (uint64_t s = 0; s < job->seqs; s += count)
        for (uint64_t first = 0; first == 0 || first < job->tokens; first += steps) {
            const struct part part = {s, count, first, steps, first > 0, first + steps >= job->tokens};
            if (job->recipe->n >= LAUNCHES_MAX)
                return unsupported(job, "u: more than 65536 launches");
            if (!part.last && !job->t[SCAN(STATE_OUT)].dtype)
                job->recipe->scratch = (job->held + job->seqs * job->d * job->n) * 4 + SLACK;
            if (!add_part(job, &part))
                return TENON_E_NOMEM;
        }
    return TENON_OK;
}

static int32_t add_all(struct job *job)
{
    const int flags = job->t[SCAN(FLAGS)].dtype != 0;
    if (flags && !tenon__gpu_fill(job->recipe, job->limits, SCAN(FLAGS), 0, 4, 0))
        return TENON_E_NOMEM;
    if ((job->held + job->seqs * job->d * job->n) * 4 > GPU_SPAN)
        return unsupported(job, "a or states of 2 GiB and more are not supported");
    if (job->packed && (job->tokens * job->pieces > UNITS_MAX || tenon_tensor_bytes(&job->t[SCAN(Y)]) > GPU_SPAN))
        return unsupported(job, "packed tokens beyond 2 GiB are not supported");
    if (!job->packed && (!job->d || !job->batches))
        return TENON_OK;
    job->recipe->scratch = job->held * 4 + SLACK;
    if (!job->d)
        return add_sequences(job) ? TENON_OK : TENON_E_NOMEM;
    if (job->n > HELD && !job->t[SCAN(STATE_OUT)].dtype)
        job->recipe->scratch = (job->held + job->seqs * job->d * job->n) * 4 + SLACK;
    if (!add_setup(job) || (!job->plain && !add_pack(job)) || (job->packed && !add_sequences(job)))
        return TENON_E_NOMEM;
    return add_tokens(job);
}

static int32_t scan_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                           struct gpu_recipe *recipe)
{
    struct job job = {.p = params, .t = t, .limits = limits, .recipe = recipe};
    read_tensors(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "selective_scan");
    int32_t status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__selective_scan_gpu = {.op = TENON_OPNUM_selective_scan, .recipe = scan_recipe};
