/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of moe_ffn. For as many rows as the scratch takes at a time: the plan of who has which tile, the row of x of
 * each row, the product with wg, that with wu, which makes h, and that with wd. Grids are upper bounds, because who has
 * how many rows is data. */
#include "recipe.h"

#include <stdio.h>
#include <tenon/ops/moe_ffn.h>

#define TILE_N       64u /* of moe_ffn.k */
#define LAUNCHES_MAX 65536u
#define HIDDEN_BYTES (UINT64_C(256) << 20) /* scratch for one of g, h and sums */
/* Depth of a launch on software devices, whose compilers may bound the rounds of a shader's loops; of tiles, hence of
 * 32. */
#ifndef SOFTWARE_DEPTH
#define SOFTWARE_DEPTH UINT64_C(8192)
#endif

enum { STEP_GATE, STEP_UP, STEP_DOWN };

/* A matrix: rows of all experts, or with foff of all together. */
struct matrix {
    int32_t slot, scale, bias;
    uint32_t dtype, size;
    uint64_t n, k;
    uint64_t row, expert; /* strides in elements */
    uint64_t groups;
};

struct job {
    const struct tenon_moe_ffn_params *params;
    const struct tenon_tensor *tensors;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows x, z;
    uint64_t rows, experts, d, f, out, slots;
    int own;
    struct matrix matrix[3]; /* by step */
    uint32_t tile, local, micro_m, micro_n;
    uint64_t cut;                /* rows at a time */
    uint64_t g, h, sums, row_at; /* byte offsets in the scratch; words before the rows' list */
};

/* What a launch of a product takes: rows from lo on, experts, a part of K. */
struct part {
    uint64_t lo, rows, e0, e1, k, depth;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int32_t refuse(const struct job *job, const char *name, const char *what)
{
    char message[160];
    snprintf(message, sizeof(message), "%s: %s", name, what);
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static int32_t slot_of(const struct tenon_tensor *tensors, int32_t index)
{
    return tensors[index].dtype == TENON_ABSENT ? GPU_SLOT_NONE : index;
}

static struct matrix read_matrix(const struct tenon_tensor *tensors, int32_t w, int32_t scale, int32_t bias)
{
    const struct tenon_tensor *t = &tensors[w], *s = &tensors[scale];
    struct matrix m = {.slot = slot_of(tensors, w), .scale = slot_of(tensors, scale), .bias = slot_of(tensors, bias)};
    if (m.slot == GPU_SLOT_NONE)
        return m;
    uint32_t lead = t->rank - 2;
    m.dtype = t->dtype;
    m.size = TENON_DTYPE_SIZE(t->dtype);
    m.n = (uint64_t)t->dim[lead];
    m.k = (uint64_t)t->dim[lead + 1];
    m.row = (uint64_t)t->stride[lead];
    m.expert = lead ? (uint64_t)t->stride[0] : 0;
    /* the axis of groups; wd's scale has one of experts even where wd has not */
    uint32_t grouped = w == TENON_MOE_FFN_WD ? 3 : lead + 2;
    m.groups = s->dtype && s->rank == grouped ? (uint64_t)s->dim[grouped - 1] : 1;
    return m;
}

static int32_t read_tensors(struct job *job)
{
    const struct tenon_tensor *t = job->tensors;
    int folds = tenon__gpu_rows(&t[TENON_MOE_FFN_X], TENON_MOE_FFN_X, &job->x) &&
                tenon__gpu_rows(&t[TENON_MOE_FFN_Z], TENON_MOE_FFN_Z, &job->z);
    if (!folds) /* matrices do */
        return refuse(job, "x", "leading axes without a common row stride are not supported");
    job->rows = (uint64_t)t[TENON_MOE_FFN_Z].dim[0];
    job->out = (uint64_t)t[TENON_MOE_FFN_Z].dim[1];
    job->d = (uint64_t)t[TENON_MOE_FFN_X].dim[1];
    job->experts = (uint64_t)t[TENON_MOE_FFN_OFFSETS].dim[0] - 1;
    job->slots = (uint64_t)t[TENON_MOE_FFN_X].dim[0] * job->params->top_k;
    job->own = t[TENON_MOE_FFN_FOFF].dtype != TENON_ABSENT;
    job->matrix[STEP_GATE] = read_matrix(t, TENON_MOE_FFN_WG, TENON_MOE_FFN_WG_SCALE, TENON_MOE_FFN_BG);
    job->matrix[STEP_UP] = read_matrix(t, TENON_MOE_FFN_WU, TENON_MOE_FFN_WU_SCALE, TENON_MOE_FFN_BU);
    job->matrix[STEP_DOWN] = read_matrix(t, TENON_MOE_FFN_WD, TENON_MOE_FFN_WD_SCALE, TENON_MOE_FFN_BD);
    job->f = job->matrix[STEP_UP].n;
    return TENON_OK;
}

/* ---- how the work is cut ---- */

static uint64_t depth_of(const struct job *job, uint64_t k)
{
    return job->limits->software && k > SOFTWARE_DEPTH ? SOFTWARE_DEPTH : k;
}

/* Tiles that rows of all experts can be, at most. */
static uint64_t tiles_of(const struct job *job, uint64_t rows)
{
    return job->tile == 1 ? rows : rows / job->tile + smaller(job->experts + 2, rows);
}

static void choose_tile(struct job *job)
{
    uint64_t active = smaller(job->experts, job->rows);
    job->tile = 16, job->local = 64, job->micro_m = 2, job->micro_n = 8;
    if (job->rows <= active)
        job->tile = job->micro_m = job->micro_n = 1;
}

/* Experts whose matrix a launch reaches. 0: none. */
static uint64_t experts_fit(const struct job *job, const struct matrix *m)
{
    uint64_t room = GPU_SPAN / m->size, inner = m->n && m->k ? (m->n - 1) * m->row + m->k : 0;
    if (inner >= room || m->k >= room)
        return 0;
    if (job->own || m->expert == 0)
        return job->experts;
    return smaller(job->experts, (room - inner - 1) / m->expert + 1);
}

static int32_t choose_cut(struct job *job)
{
    const struct gpu_limits *limits = job->limits;
    uint64_t wide = job->f > job->out ? job->f : job->out;
    if (wide > (uint64_t)limits->groups_max[0] * TILE_N || wide >= GPU_SPAN / 8)
        return refuse(job, "wu", "so many hidden units or columns of z are not supported");
    job->cut = smaller(job->rows, HIDDEN_BYTES / 4 / (wide ? wide : 1));
    job->cut = job->cut ? job->cut : 1;
    while (tiles_of(job, job->cut) > limits->groups_max[1] ||
           tiles_of(job, job->cut) > (uint64_t)limits->groups_max[0] * limits->groups_max[1])
        job->cut /= 2;
    job->cut = smaller(job->cut, tenon__gpu_rows_fit(&job->z, job->cut));
    if (slot_of(job->tensors, TENON_MOE_FFN_SRC) == GPU_SLOT_NONE)
        job->cut = smaller(job->cut, tenon__gpu_rows_fit(&job->x, job->cut));
    else if (tenon__gpu_rows_fit(&job->x, job->x.rows) < job->x.rows)
        return refuse(job, "x", "rows to gather that span 2 GiB are not supported");
    if (job->experts >= GPU_SPAN / 64)
        return refuse(job, "offsets", "so many experts are not supported");
    for (int step = STEP_GATE; step <= STEP_DOWN; step++) {
        const struct matrix *m = &job->matrix[step];
        if (m->slot == GPU_SLOT_NONE)
            continue;
        uint64_t lines = job->own && step != STEP_DOWN ? m->n : job->experts * m->n;
        if (job->experts && experts_fit(job, m) == 0)
            return refuse(job, "wu", "an expert's matrix (with foff: all of them) that spans 2 GiB is not supported");
        if (lines && m->groups >= GPU_SPAN / 4 / lines)
            return refuse(job, "wu_scale", "2 GiB of scales or biases are not supported");
    }
    return TENON_OK;
}

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void choose_scratch(struct job *job)
{
    int gated = job->matrix[STEP_GATE].slot != GPU_SLOT_NONE, parts = depth_of(job, job->f) < job->f;
    job->row_at = 4 * job->experts + 8;
    job->g = aligned((job->row_at + job->cut) * 4);
    job->h = job->g + (gated ? aligned(job->cut * job->f * 4) : 0);
    job->sums = job->h + aligned(job->cut * job->f * 4);
    job->recipe->scratch = job->sums + (parts ? aligned(job->cut * job->out * 4) : 0);
}

/* ---- launches ---- */

static int add_scan(struct job *job, uint32_t step, uint64_t lo, uint64_t hi)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "moe_ffn_scan", 64);
    if (launch == NULL)
        return 0;
    int32_t flags = slot_of(job->tensors, TENON_MOE_FFN_FLAGS);
    launch->groups[0] = launch->groups[1] = 1;
    gpu_launch_buffer(launch, step == 1 ? TENON_MOE_FFN_FOFF : TENON_MOE_FFN_OFFSETS, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_buffer(launch, flags, 0);
    const uint32_t words[] = {(uint32_t)job->experts, (uint32_t)(step == 1 ? job->f : job->rows), (uint32_t)lo,
                              (uint32_t)hi,           job->tile,
                              step,                   flags != GPU_SLOT_NONE};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        gpu_launch_u32(launch, words[i]);
    return 1;
}

static int add_rows(struct job *job, uint64_t lo, uint64_t rows)
{
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "moe_ffn_rows", 64);
    if (launch == NULL)
        return 0;
    int32_t flags = slot_of(job->tensors, TENON_MOE_FFN_FLAGS), src = slot_of(job->tensors, TENON_MOE_FFN_SRC);
    uint64_t first = src == GPU_SLOT_NONE ? lo : 0; /* of x */
    launch->groups[0] = (uint32_t)smaller(rows, job->limits->groups_max[0]);
    launch->groups[1] = (uint32_t)((rows + launch->groups[0] - 1) / launch->groups[0]);
    gpu_launch_buffer(launch, src, src == GPU_SLOT_NONE ? 0 : lo * 4);
    tenon__gpu_bind(launch, &job->x, first, 0);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, 0);
    gpu_launch_buffer(launch, flags, 0);
    const uint32_t words[] = {(uint32_t)rows,
                              (uint32_t)lo,
                              (uint32_t)job->experts,
                              src != GPU_SLOT_NONE,
                              (uint32_t)job->slots,
                              job->params->top_k,
                              tenon__gpu_dtype(job->x.dtype),
                              (uint32_t)job->x.stride,
                              tenon__gpu_shift(&job->x, first, 0),
                              flags == GPU_SLOT_NONE ? 0 : (uint32_t)job->d,
                              flags != GPU_SLOT_NONE};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        gpu_launch_u32(launch, words[i]);
    return 1;
}

/* What of a tensor's element is no multiple of four bytes, as elements. */
static uint32_t shift_of(uint64_t element, uint32_t size)
{
    return (uint32_t)(element * size & 3) / size;
}

static void bind(struct gpu_launch *launch, int32_t slot, uint64_t byte)
{
    gpu_launch_buffer(launch, slot, slot == GPU_SLOT_NONE ? 0 : byte & ~UINT64_C(3));
}

/* The word of moe_ffn.k. */
static uint32_t options_of(const struct job *job, int step, const struct part *part)
{
    const struct tenon_moe_ffn_params *p = job->params;
    const struct matrix *m = &job->matrix[step];
    int src = slot_of(job->tensors, TENON_MOE_FFN_SRC) != GPU_SLOT_NONE, down = step == STEP_DOWN;
    uint32_t dt_x = down ? 1 : tenon__gpu_dtype(job->x.dtype), dt_y = 1;
    uint32_t weighted = p->weight_at == (down ? TENON_MOE_FFN_AT_OUTPUT : TENON_MOE_FFN_AT_INPUT);
    uint32_t continued = (part->k > 0 ? 1u : 0u) | (part->k + part->depth < m->k ? 2u : 0u);
    uint32_t x_shift = down ? 0 : shift_of((src ? 0 : part->lo) * job->x.stride + part->k, job->x.size);
    if (down)
        dt_y = tenon__gpu_dtype(job->z.dtype);
    else if (step == STEP_UP && p->h_dtype == TENON_MOE_FFN_H_STORAGE)
        dt_y = dt_x;
    return dt_x | tenon__gpu_dtype(m->dtype) << 3 | (uint32_t)(m->scale != GPU_SLOT_NONE) << 6 |
           (uint32_t)(m->bias != GPU_SLOT_NONE) << 7 | (uint32_t)step << 8 | p->glu << 10 | p->act << 12 |
           weighted << 16 | continued << 17 | dt_y << 19 | (uint32_t)(job->own != 0) << 21 | x_shift << 22 |
           shift_of(part->e0 * m->expert + part->k, m->size) << 24 |
           (down ? tenon__gpu_shift(&job->z, part->lo, 0) : 0) << 26 |
           (uint32_t)(p->weight_at == TENON_MOE_FFN_AT_HIDDEN) << 28;
}

static void bind_product(struct gpu_launch *launch, const struct job *job, int step, const struct part *part)
{
    const struct matrix *m = &job->matrix[step];
    uint64_t first = slot_of(job->tensors, TENON_MOE_FFN_SRC) == GPU_SLOT_NONE ? part->lo : 0;
    /* what is not there is not bound, so that no address lies beyond the scratch */
    int sums = depth_of(job, job->f) < job->f, gated = job->matrix[STEP_GATE].slot != GPU_SLOT_NONE;
    int aside = step == STEP_DOWN ? sums : step == STEP_UP && gated;
    if (step == STEP_DOWN)
        bind(launch, job->f ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->h + part->k * 4);
    else
        bind(launch, TENON_MOE_FFN_X, (first * job->x.stride + part->k) * job->x.size);
    bind(launch, m->slot, (part->e0 * m->expert + part->k) * m->size);
    bind(launch, m->scale, 0);
    bind(launch, m->bias, 0);
    bind(launch, GPU_SLOT_SCRATCH, 0);
    bind(launch, slot_of(job->tensors, TENON_MOE_FFN_RW), part->lo * 4);
    bind(launch, aside ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, step == STEP_DOWN ? job->sums : job->g);
    if (step == STEP_DOWN)
        tenon__gpu_bind(launch, &job->z, part->lo, 0);
    else
        bind(launch, GPU_SLOT_SCRATCH, step == STEP_GATE ? job->g : job->h);
}

static int add_product(struct job *job, int step, const struct part *part)
{
    const struct matrix *m = &job->matrix[step];
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "moe_ffn", job->local);
    if (launch == NULL)
        return 0;
    uint32_t options = options_of(job, step, part), loop = options & 0x7f;
    launch->groups[0] = (uint32_t)((m->n + TILE_N - 1) / TILE_N);
    launch->groups[1] = (uint32_t)tiles_of(job, part->rows);
    const uint32_t specs[] = {loop == (1 | 1 << 3) ? loop : 0, job->tile, job->micro_m, job->micro_n};
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        gpu_launch_spec(launch, specs[i]);
    bind_product(launch, job, step, part);
    const uint32_t words[] = {
        (uint32_t)(step == STEP_DOWN ? job->f : job->x.stride), (uint32_t)m->row, (uint32_t)m->expert,
        (uint32_t)(step == STEP_DOWN ? job->z.stride : job->f), (uint32_t)m->n, (uint32_t)part->depth,
        (uint32_t)part->k, (uint32_t)m->groups, (uint32_t)(m->groups && m->k / m->groups ? m->k / m->groups : 1),
        options, (uint32_t)job->experts, (uint32_t)part->e0, (uint32_t)part->e1,
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        gpu_launch_u32(launch, words[i]);
    gpu_launch_f32(launch, job->params->alpha);
    gpu_launch_f32(launch, job->params->threshold);
    return 1;
}

/* One product for rows [lo, lo + rows): all experts, all of K. */
static int32_t add_step(struct job *job, int step, uint64_t lo, uint64_t rows)
{
    const struct matrix *m = &job->matrix[step];
    if (m->slot == GPU_SLOT_NONE || m->n == 0)
        return TENON_OK;
    uint64_t fit = experts_fit(job, m), depth = depth_of(job, m->k);
    struct part part = {.lo = lo, .rows = rows};
    do { /* without experts there are rows of zeros */
        part.e1 = smaller(part.e0 + fit, job->experts);
        part.k = 0;
        do {
            part.depth = smaller(m->k - part.k, depth);
            if (job->recipe->n >= LAUNCHES_MAX)
                return refuse(job, "z", "more than 65536 launches");
            if (!add_product(job, step, &part))
                return TENON_E_NOMEM;
            part.k += part.depth;
        } while (part.k < m->k);
        part.e0 = part.e1;
    } while (part.e0 < job->experts);
    return TENON_OK;
}

static int32_t add_all(struct job *job)
{
    if (!add_scan(job, 0, 0, job->rows) || (job->own && !add_scan(job, 1, 0, job->rows)))
        return TENON_E_NOMEM;
    for (uint64_t lo = 0, rows; lo < job->rows; lo += rows) {
        rows = smaller(job->rows - lo, job->cut);
        if (!add_scan(job, 2, lo, lo + rows) || !add_rows(job, lo, rows))
            return TENON_E_NOMEM;
        for (int step = STEP_GATE; step <= STEP_DOWN; step++) {
            int32_t status = add_step(job, step, lo, rows);
            if (status != TENON_OK)
                return status;
        }
    }
    return TENON_OK;
}

static int32_t moe_ffn_recipe(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                              struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .tensors = tensors, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job);
    if (status != TENON_OK)
        return status;
    choose_tile(&job);
    snprintf(recipe->impl, sizeof(recipe->impl), "moe_ffn tile %ux%u", job.tile, TILE_N);
    if ((job.rows == 0 || job.out == 0) && slot_of(tensors, TENON_MOE_FFN_FLAGS) == GPU_SLOT_NONE)
        return TENON_OK;
    status = choose_cut(&job);
    if (status == TENON_OK) {
        choose_scratch(&job);
        status = add_all(&job);
    }
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__moe_ffn_gpu = {.op = TENON_OPNUM_moe_ffn, .recipe = moe_ffn_recipe};
