/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of moe_dispatch: a counting sort of the list of pairs. The list is cut in chunks, an invocation each: counts
 * of each expert in each chunk (count), sums over (expert, chunk) (scan, offsets), then each chunk places its pairs in
 * order (place). What BPR and PROB sort by weight goes through the same kernels four times first, with digits of keys
 * for experts. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/moe_dispatch.h>

#define LOCAL        64u
#define DIGITS       256u
#define CHUNK_MIN    64u                   /* entries of a chunk */
#define CHUNKS_MAX   4096u
#define CHUNKS_CPU   64u                   /* where an invocation is a thread's own */
#define HIST_BYTES   (UINT64_C(64) << 20)

/* Of lib/moe_dispatch.h. */
enum {
    MD_CHOICE = 1, MD_ITEMS = 2, MD_TOKENS = 4, MD_DIGIT = 8, MD_MARKED = 16, MD_MARKS = 32, MD_FLAGS = 64,
    MD_SHIFT = 8, MD_SRC = 0x2000, MD_COUNTS = 0x4000, MD_KEPT = 0x8000, MD_OFFSETS = 0x10000, MD_PAD = 0x20000,
    MD_PAIRS = 0x40000, MD_W2 = 0x80000, MD_RENORM = 0x100000, MD_W = 0x200000
};

/* A list to be sorted by bins. */
struct list {
    uint64_t n, bins, chunks, span;
    uint32_t options;
};

struct job {
    const struct tenon_moe_dispatch_params *params;
    const struct tenon_tensor *t;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    uint64_t tokens, k, n, mp, sorted;
    uint32_t experts, first, range, capacity;
    /* byte offsets in the scratch; pos and src are there only when the caller does not want them */
    uint64_t hist, total, start, pos, src, key, perm[2];
    int perm_at; /* where the sorted list is */
};

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

/* pos or src: the caller's, or the scratch's own. */
static void bind_own(const struct job *job, struct gpu_launch *launch, uint32_t i, uint64_t at)
{
    if (has(job, i))
        bind(job, launch, i);
    else
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, at);
}

/* A kernel of one invocation for each of n; NULL: no memory. */
static struct gpu_launch *add(struct job *job, const char *kernel, uint64_t n)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, kernel, LOCAL);
    if (launch != NULL) /* n < 2^31: every grid has room */
        (void)tenon__gpu_groups(job->limits, (n + LOCAL - 1) / LOCAL, launch->groups);
    return launch;
}

/* ---- one counting sort ---- */

static struct list list_of(const struct job *job, uint64_t n, uint64_t bins, uint32_t options)
{
    struct list list = {.n = n, .bins = bins, .options = options};
    uint64_t most = job->limits->vector ? CHUNKS_CPU : CHUNKS_MAX;
    if (most > HIST_BYTES / 4 / bins)
        most = HIST_BYTES / 4 / bins;
    list.span = n / most > CHUNK_MIN ? (n + most - 1) / most : CHUNK_MIN;
    list.chunks = (n + list.span - 1) / list.span;
    return list;
}

static int add_count(struct job *job, const struct list *list)
{
    if (!tenon__gpu_fill(job->recipe, job->limits, GPU_SLOT_SCRATCH, job->hist, list->chunks * list->bins, 0))
        return 0;
    if (list->n) {
        struct gpu_launch *launch = add(job, "moe_dispatch_count", list->chunks);
        if (launch == NULL)
            return 0;
        bind(job, launch, TENON_MOE_DISPATCH_IDX);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->key);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->perm[job->perm_at]);
        bind_own(job, launch, TENON_MOE_DISPATCH_POS, job->pos);
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->hist);
        bind(job, launch, TENON_MOE_DISPATCH_FLAGS);
        gpu_launch_u32(launch, (uint32_t)list->n);
        gpu_launch_u32(launch, (uint32_t)list->span);
        gpu_launch_u32(launch, (uint32_t)list->bins);
        gpu_launch_u32(launch, (uint32_t)job->tokens);
        gpu_launch_u32(launch, (uint32_t)job->k);
        gpu_launch_u32(launch, job->first);
        gpu_launch_u32(launch, job->range);
        gpu_launch_u32(launch, job->experts);
        gpu_launch_u32(launch, list->options);
    }
    struct gpu_launch *launch = add(job, "moe_dispatch_scan", list->bins);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->hist);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->total);
    gpu_launch_u32(launch, (uint32_t)list->chunks);
    gpu_launch_u32(launch, (uint32_t)list->bins);
    return 1;
}

/* outputs: of counts, kept and offsets those that this list gives. */
static int add_offsets(struct job *job, const struct list *list, uint32_t outputs)
{
    static const uint32_t bits[] = {MD_COUNTS, MD_KEPT, MD_OFFSETS};
    struct gpu_launch *launch = add(job, "moe_dispatch_offsets", 1);
    uint32_t options = list->options | (job->params->pad_to_capacity ? MD_PAD : 0u);
    if (launch == NULL)
        return 0;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->total);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->start);
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t tensor = TENON_MOE_DISPATCH_COUNTS + i;
        if (outputs & bits[i] && has(job, tensor))
            options |= bits[i];
        bind(job, launch, tensor);
    }
    gpu_launch_u32(launch, (uint32_t)list->bins);
    gpu_launch_u32(launch, (uint32_t)((list->bins + LOCAL - 1) / LOCAL));
    gpu_launch_u32(launch, job->capacity);
    gpu_launch_u32(launch, (uint32_t)job->params->align);
    gpu_launch_u32(launch, job->first);
    gpu_launch_u32(launch, job->range);
    gpu_launch_u32(launch, options);
    return 1;
}

static int add_place(struct job *job, const struct list *list)
{
    struct gpu_launch *launch = list->n ? add(job, "moe_dispatch_place", list->chunks) : NULL;
    if (launch == NULL)
        return list->n == 0;
    bind(job, launch, TENON_MOE_DISPATCH_IDX);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->key);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->perm[job->perm_at]);
    bind_own(job, launch, TENON_MOE_DISPATCH_POS, job->pos);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->hist);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->start);
    if (list->options & MD_DIGIT)
        gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->perm[!job->perm_at]);
    else
        bind_own(job, launch, TENON_MOE_DISPATCH_SRC, job->src);
    gpu_launch_u32(launch, (uint32_t)list->n);
    gpu_launch_u32(launch, (uint32_t)list->span);
    gpu_launch_u32(launch, (uint32_t)list->bins);
    gpu_launch_u32(launch, (uint32_t)job->tokens);
    gpu_launch_u32(launch, (uint32_t)job->k);
    gpu_launch_u32(launch, job->first);
    gpu_launch_u32(launch, job->range);
    gpu_launch_u32(launch, job->capacity);
    gpu_launch_u32(launch, list->options);
    return 1;
}

/* ---- the whole ---- */

/* The tokens (BPR) or the pairs (PROB) by weight, the largest first. */
static int add_sort(struct job *job)
{
    const int pairs = job->params->drop == TENON_MOE_DISPATCH_PROB;
    const uint32_t order = pairs && job->params->order == TENON_MOE_DISPATCH_CHOICE_MAJOR ? MD_CHOICE : 0;
    struct gpu_launch *launch = add(job, "moe_dispatch_keys", job->sorted);
    if (launch == NULL)
        return 0;
    bind(job, launch, TENON_MOE_DISPATCH_IDX);
    bind(job, launch, TENON_MOE_DISPATCH_W);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->key);
    gpu_launch_u32(launch, (uint32_t)job->sorted);
    gpu_launch_u32(launch, (uint32_t)job->k);
    gpu_launch_u32(launch, job->experts);
    gpu_launch_u32(launch, pairs ? MD_PAIRS : 0);
    for (uint32_t pass = 0; pass < 4; pass++) {
        const struct list list =
            list_of(job, job->sorted, DIGITS, MD_DIGIT | (pass ? MD_ITEMS : order) | pass * 8 << MD_SHIFT);
        if (!add_count(job, &list) || !add_offsets(job, &list, 0) || !add_place(job, &list))
            return 0;
        job->perm_at = !job->perm_at;
    }
    return 1;
}

static int add_experts(struct job *job)
{
    const uint32_t order = job->params->order == TENON_MOE_DISPATCH_CHOICE_MAJOR ? MD_CHOICE : 0;
    const uint32_t flags = has(job, TENON_MOE_DISPATCH_FLAGS) ? MD_FLAGS : 0;
    const uint32_t src = has(job, TENON_MOE_DISPATCH_SRC) || has(job, TENON_MOE_DISPATCH_XP) ? MD_SRC : 0;
    const int marks = job->sorted && job->params->drop == TENON_MOE_DISPATCH_PROB;
    const uint32_t sorted = job->sorted && !marks ? MD_TOKENS : 0;
    uint32_t outputs = MD_COUNTS | MD_KEPT | MD_OFFSETS;
    struct list list;
    if (marks) {
        list = list_of(job, job->n, job->experts, MD_ITEMS | MD_MARKS | flags);
        if (!add_count(job, &list) || !add_offsets(job, &list, MD_COUNTS) || !add_place(job, &list))
            return 0;
        outputs = MD_KEPT | MD_OFFSETS;
    }
    list = list_of(job, job->n, job->experts, order | sorted | src | (marks ? MD_MARKED : flags));
    return add_count(job, &list) && add_offsets(job, &list, outputs) && add_place(job, &list);
}

static int add_weights(struct job *job)
{
    const uint32_t options = (has(job, TENON_MOE_DISPATCH_FLAGS) ? MD_FLAGS : 0u) |
                             (has(job, TENON_MOE_DISPATCH_W) ? MD_W : 0u) |
                             (has(job, TENON_MOE_DISPATCH_W2) ? MD_W2 : 0u) |
                             (job->params->renorm == TENON_MOE_DISPATCH_AFTER_DROP ? MD_RENORM : 0u);
    if (!(options & (MD_FLAGS | MD_W2)) || !job->tokens)
        return 1;
    struct gpu_launch *launch = add(job, "moe_dispatch_weights", job->tokens);
    if (launch == NULL)
        return 0;
    bind(job, launch, TENON_MOE_DISPATCH_IDX);
    bind(job, launch, TENON_MOE_DISPATCH_W);
    bind_own(job, launch, TENON_MOE_DISPATCH_POS, job->pos);
    bind(job, launch, TENON_MOE_DISPATCH_W2);
    bind(job, launch, TENON_MOE_DISPATCH_FLAGS);
    gpu_launch_u32(launch, (uint32_t)job->tokens);
    gpu_launch_u32(launch, (uint32_t)job->k);
    gpu_launch_u32(launch, job->first);
    gpu_launch_u32(launch, job->range);
    gpu_launch_u32(launch, options);
    return 1;
}

static int32_t add_rows(struct job *job)
{
    struct gpu_row_copy copy = {.idx_slot = TENON_MOE_DISPATCH_SRC, .flags_slot = GPU_SLOT_NONE};
    if (!has(job, TENON_MOE_DISPATCH_XP) || !job->mp)
        return TENON_OK;
    if (!tenon__gpu_rows(&job->t[TENON_MOE_DISPATCH_X], TENON_MOE_DISPATCH_X, &copy.from) ||
        !tenon__gpu_rows(&job->t[TENON_MOE_DISPATCH_XP], TENON_MOE_DISPATCH_XP, &copy.y))
        return unsupported(job, "leading axes without a common row stride are not supported");
    if (!has(job, TENON_MOE_DISPATCH_SRC)) {
        copy.idx_slot = GPU_SLOT_SCRATCH;
        copy.idx_at = job->src;
    }
    copy.divisor = job->k ? (uint32_t)job->k : 1;
    return tenon__gpu_copy_rows(job->recipe, job->limits, &copy);
}

static int32_t add_all(struct job *job)
{
    const int32_t src = has(job, TENON_MOE_DISPATCH_SRC) ? (int32_t)TENON_MOE_DISPATCH_SRC : GPU_SLOT_SCRATCH;
    const int wants_src = has(job, TENON_MOE_DISPATCH_SRC) || has(job, TENON_MOE_DISPATCH_XP);
    if (has(job, TENON_MOE_DISPATCH_FLAGS) &&
        !tenon__gpu_fill(job->recipe, job->limits, TENON_MOE_DISPATCH_FLAGS, 0, 4, 0))
        return TENON_E_NOMEM;
    if (wants_src && !tenon__gpu_fill(job->recipe, job->limits, src, src == GPU_SLOT_SCRATCH ? job->src : 0, job->mp,
                                      0xffffffffu))
        return TENON_E_NOMEM;
    if ((job->sorted && !add_sort(job)) || !add_experts(job) || !add_weights(job))
        return TENON_E_NOMEM;
    return add_rows(job);
}

static uint64_t place(uint64_t *total, uint64_t words)
{
    const uint64_t at = *total;
    *total += (words * 4 + 63) & ~UINT64_C(63);
    return at;
}

/* Nothing in the scratch is without a word, so that everything begins inside it. */
static void choose_scratch(struct job *job)
{
    const struct list own = list_of(job, job->n, job->experts, 0), digits = list_of(job, job->sorted, DIGITS, 0);
    const uint64_t bins = job->sorted && job->experts < DIGITS ? DIGITS : job->experts;
    const uint64_t hist = own.chunks * own.bins, more = digits.chunks * digits.bins;
    uint64_t total = 0;
    job->hist = place(&total, (hist > more ? hist : more) + 1);
    job->total = place(&total, bins);
    job->start = place(&total, bins);
    job->key = place(&total, job->sorted + 1);
    job->perm[0] = place(&total, job->sorted + 1);
    job->perm[1] = place(&total, job->sorted + 1);
    job->pos = place(&total, has(job, TENON_MOE_DISPATCH_POS) ? 1 : job->n + 1);
    job->src = place(&total, has(job, TENON_MOE_DISPATCH_SRC) || !has(job, TENON_MOE_DISPATCH_XP) ? 1 : job->mp + 1);
    job->recipe->scratch = total;
}

static int32_t read_shapes(struct job *job)
{
    const struct tenon_moe_dispatch_params *p = job->params;
    const struct tenon_tensor *idx = &job->t[TENON_MOE_DISPATCH_IDX];
    const uint64_t rounds = job->limits->loop_max / 2;
    job->k = (uint64_t)idx->dim[idx->rank - 1];
    job->tokens = 1;
    for (uint32_t axis = 0; axis + 1 < idx->rank; axis++)
        job->tokens *= (uint64_t)idx->dim[axis];
    job->n = job->tokens * job->k;
    if (has(job, TENON_MOE_DISPATCH_SRC)) {
        job->mp = (uint64_t)job->t[TENON_MOE_DISPATCH_SRC].dim[0];
    } else if (has(job, TENON_MOE_DISPATCH_XP)) {
        struct gpu_rows xp;
        if (!tenon__gpu_rows(&job->t[TENON_MOE_DISPATCH_XP], 0, &xp))
            return unsupported(job, "xp: leading axes without a common row stride are not supported");
        job->mp = xp.rows;
    }
    job->experts = (uint32_t)p->experts;
    job->first = (uint32_t)p->first;
    job->range = (uint32_t)((p->end ? p->end : p->experts) - p->first);
    job->capacity = p->capacity < 0 ? INT32_MAX : (uint32_t)p->capacity;
    if (p->drop == TENON_MOE_DISPATCH_BPR)
        job->sorted = job->n ? job->tokens : 0;
    else if (p->drop == TENON_MOE_DISPATCH_PROB && job->capacity < job->n) /* else all are kept */
        job->sorted = job->n;
    /* The grid has room for a token an invocation whatever K is. */
    if (job->n * 4 > GPU_SPAN || job->mp * 4 > GPU_SPAN || job->tokens > UINT64_C(1) << 30)
        return unsupported(job, "idx: 2 GiB of slots or rows are not supported");
    if (rounds && (job->k > rounds || list_of(job, job->n, job->experts, 0).span > rounds))
        return unsupported(job, "idx: so many slots are not supported");
    return TENON_OK;
}

static int32_t dispatch_recipe(const void *params, const struct tenon_tensor *t, const struct gpu_limits *limits,
                               struct gpu_recipe *recipe)
{
    static const char *const drops[] = {"position", "prob", "bpr"};
    struct job job = {.params = params, .t = t, .limits = limits, .recipe = recipe};
    int32_t status = read_shapes(&job);
    if (status != TENON_OK)
        return status;
    choose_scratch(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "moe_dispatch %s", drops[job.params->drop]);
    status = add_all(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__moe_dispatch_gpu = {.op = TENON_OPNUM_moe_dispatch, .recipe = dispatch_recipe};
