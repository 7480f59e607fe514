/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of a product: tiles of y. The tile's height follows M (few rows: no invocation computes rows that do not
 * exist), but the order over K does not. */
#include "product.h"

#include <stdio.h>

#define LAUNCHES_MAX 65536u
#define SUMS_BYTES (UINT64_C(256) << 20) /* scratch for sums that several launches make */
/* Depth of a launch on software devices, whose compilers may bound the rounds of a shader's loops; of tiles, hence of
 * 32. */
#ifndef SOFTWARE_DEPTH
#define SOFTWARE_DEPTH UINT64_C(8192)
#endif

/* How a launch is cut: rows of y a work-group, rows and columns an invocation. */
struct tile {
    uint32_t m, micro_m, micro_n, local;
};

static int32_t refuse(const struct gpu_product *job, const char *name, const char *what)
{
    char message[160];
    snprintf(message, sizeof(message), "%s: %s", name, what);
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, message);
}

static struct tile choose_tile(const struct gpu_product *job)
{
    struct tile tile = {.m = 32, .micro_m = 4, .micro_n = 8, .local = 64};
    if (job->m == 1)
        tile = (struct tile){.m = 1, .micro_m = 1, .micro_n = 1, .local = 64};
    else if (job->m <= 4 && !job->distance) /* no fast path: not worth kernels of their own */
        tile = (struct tile){.m = 4, .micro_m = 4, .micro_n = 1, .local = 64};
    else if (job->m <= 16 && !job->distance)
        tile = (struct tile){.m = 16, .micro_m = 2, .micro_n = 8, .local = 64};
    else if (job->limits->software) /* long loops, few invocations */
        tile = (struct tile){.m = 32, .micro_m = 8, .micro_n = 8, .local = 32};
    return tile;
}

/* Steps of `along` that a launch may take in a tensor whose other axis is walked whole, `across` elements beyond the
 * first. */
static uint64_t span(const struct gpu_rows *rows, uint64_t along, uint64_t across, uint64_t most)
{
    if (rows->slot == GPU_SLOT_NONE)
        return most;
    uint64_t room = GPU_SPAN / rows->size;
    if (across >= room)
        return 0;
    return along == 0 ? most : (room - across - 1) / along + 1 < most ? (room - across - 1) / along + 1 : most;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

struct part {
    uint64_t m, n, k, rows, cols, depth;
};

/* An operand at (index, k). */
static void bind(struct gpu_launch *launch, const struct gpu_rows *rows, int transposed, uint64_t index, uint64_t k)
{
    tenon__gpu_bind(launch, rows, transposed ? k : index, transposed ? index : k);
}

static uint32_t shift(const struct gpu_rows *rows, int transposed, uint64_t index, uint64_t k)
{
    return tenon__gpu_shift(rows, transposed ? k : index, transposed ? index : k);
}

#define LOOP_OPTIONS 0x1ffu

/* The word of product.k. */
static uint32_t options_of(const struct gpu_product *job, const struct part *part)
{
    uint32_t has_scale = job->scale.slot != GPU_SLOT_NONE, has_bias = job->bias.slot != GPU_SLOT_NONE;
    uint32_t continued = (part->k > 0 ? 1u : 0u) | (part->k + part->depth < job->k ? 2u : 0u);
    return tenon__gpu_dtype(job->x.dtype) | tenon__gpu_dtype(job->w.dtype) << 3 |
           (uint32_t)job->trans_x << 6 | (uint32_t)job->trans_w << 7 | has_scale << 8 |
           tenon__gpu_dtype(job->y.dtype) << 9 | tenon__gpu_dtype(job->residual.dtype) << 11 | has_bias << 13 |
           continued << 14 | job->act << 16 | shift(&job->x, job->trans_x, part->m, part->k) << 24 |
           shift(&job->w, job->trans_w, part->n, part->k) << 26 |
           tenon__gpu_shift(&job->residual, part->m, part->n) << 28 | tenon__gpu_shift(&job->y, part->m, part->n) << 30;
}

/* x [M,K] and w [N,K] of one type, and int8 weights with f32: these have kernels of their own. */
static uint32_t loop_of(uint32_t options)
{
    uint32_t loop = options & LOOP_OPTIONS, dt_x = loop & 7;
    return loop == (dt_x | dt_x << 3) || loop == (1u | 4u << 3 | 0x100u) ? loop : 0;
}

static int add_part(struct gpu_product *job, const struct tile *tile, const struct part *part)
{
    int trans_x = job->trans_x, trans_w = job->trans_w;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "product", tile->local);
    if (launch == NULL)
        return 0;
    launch->groups[0] = (uint32_t)((part->cols + GPU_PRODUCT_COLUMNS - 1) / GPU_PRODUCT_COLUMNS);
    launch->groups[1] = (uint32_t)((part->rows + tile->m - 1) / tile->m);
    uint32_t options = options_of(job, part);
    const uint32_t specs[] = {job->distance ? 0 : loop_of(options), tile->m, tile->micro_m, tile->micro_n,
                              (uint32_t)job->distance};
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
        gpu_launch_spec(launch, specs[i]);
    bind(launch, &job->x, trans_x, part->m, part->k);
    bind(launch, &job->w, trans_w, part->n, part->k);
    tenon__gpu_bind(launch, &job->scale, part->n, 0);
    tenon__gpu_bind(launch, &job->bias, 0, part->n);
    tenon__gpu_bind(launch, &job->residual, part->m, part->n);
    tenon__gpu_bind(launch, &job->y, part->m, part->n);
    gpu_launch_buffer(launch, part->depth < job->k ? GPU_SLOT_SCRATCH : GPU_SLOT_NONE, job->sums);
    const uint32_t words[] = {
        (uint32_t)part->rows, (uint32_t)part->cols, (uint32_t)part->depth,
        trans_x ? 1 : part->rows > 1 ? (uint32_t)job->x.stride : 0, trans_x ? (uint32_t)job->x.stride : 1,
        trans_w ? 1 : part->cols > 1 ? (uint32_t)job->w.stride : 0, trans_w ? (uint32_t)job->w.stride : 1,
        (uint32_t)job->scale.stride, (uint32_t)job->group,
        part->rows > 1 ? (uint32_t)job->residual.stride : 0, part->rows > 1 ? (uint32_t)job->y.stride : 0,
        options, (uint32_t)part->k,
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        gpu_launch_u32(launch, words[i]);
    gpu_launch_f32(launch, job->alpha);
    gpu_launch_f32(launch, job->threshold);
    return 1;
}

/* How much of K a launch takes: all, but where the loops or the reach of a launch end. A multiple of 32, or all. */
static uint64_t choose_depth(const struct gpu_product *job)
{
    uint64_t depth = job->k, reach;
    if (job->limits->software && depth > SOFTWARE_DEPTH)
        depth = SOFTWARE_DEPTH;
    /* Half of the reach for K, the other half is for the other axis. */
    reach = GPU_SPAN / 2 / job->x.size / (job->trans_x && job->x.stride ? job->x.stride : 1);
    depth = smaller(depth, reach < 32 ? 32 : reach);
    reach = GPU_SPAN / 2 / job->w.size / (job->trans_w && job->w.stride ? job->w.stride : 1);
    depth = smaller(depth, reach < 32 ? 32 : reach);
    return depth < job->k ? depth / 32 * 32 : depth;
}

/* Rows and columns of a launch; 0 rows or columns: cannot be. */
static struct part choose_part(const struct gpu_product *job, const struct tile *tile)
{
    const struct gpu_limits *limits = job->limits;
    int trans_x = job->trans_x, trans_w = job->trans_w;
    struct part part = {.depth = choose_depth(job)};
    uint64_t across = part.depth ? part.depth - 1 : 0;
    uint64_t cols = smaller(job->n, (uint64_t)limits->groups_max[0] * GPU_PRODUCT_COLUMNS);
    cols = span(&job->w, trans_w ? 1 : job->w.stride, trans_w ? across * job->w.stride : across, cols);
    if (job->scale.slot != GPU_SLOT_NONE)
        cols = span(&job->scale, job->scale.stride, job->scale.cols, cols);
    part.cols = smaller(cols, GPU_SPAN / 8);
    uint64_t rows = smaller(job->m, (uint64_t)limits->groups_max[1] * tile->m);
    rows = span(&job->x, trans_x ? 1 : job->x.stride, trans_x ? across * job->x.stride : across, rows);
    rows = span(&job->y, job->y.stride, part.cols, rows);
    part.rows = span(&job->residual, job->residual.stride, part.cols, rows);
    if (part.depth < job->k && part.cols) {
        part.cols = smaller(part.cols, SUMS_BYTES / 4);
        uint64_t most = SUMS_BYTES / 4 / part.cols;
        part.rows = smaller(part.rows, most < 1 ? 1 : most);
    }
    return part;
}

int32_t tenon__gpu_product(struct gpu_product *job)
{
    if (job->m == 0 || job->n == 0)
        return TENON_OK;
    struct tile tile = choose_tile(job);
    const struct part most = choose_part(job, &tile);
    if (most.cols == 0)
        return refuse(job, job->names[1], "32 steps along K reach beyond 2 GiB, which is not supported");
    if (most.rows == 0)
        return refuse(job, job->names[0], "32 steps along K reach beyond 2 GiB, which is not supported");
    struct part part;
    for (part.m = 0; part.m < job->m; part.m += part.rows) {
        part.rows = smaller(job->m - part.m, most.rows);
        for (part.n = 0; part.n < job->n; part.n += part.cols) {
            part.cols = smaller(job->n - part.n, most.cols);
            part.k = 0;
            do {
                part.depth = smaller(job->k - part.k, most.depth);
                if (job->recipe->n >= LAUNCHES_MAX)
                    return refuse(job, job->names[2], "more than 65536 launches");
                if (!add_part(job, &tile, &part))
                    return TENON_E_NOMEM;
                part.k += part.depth;
            } while (part.k < job->k);
        }
    }
    if (most.depth < job->k)
        job->recipe->scratch = job->sums + smaller(job->m, most.rows) * smaller(job->n, most.cols) * 4;
    return TENON_OK;
}

uint32_t tenon__gpu_product_height(const struct gpu_product *job)
{
    return choose_tile(job).m;
}
