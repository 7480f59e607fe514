/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of moe_logits: a product (product.h), of x and w or of their normalised rows in the scratch. */
#include <math.h>
#include <stdio.h>
#include <tenon/ops/moe_logits.h>

#include "product.h"

#define WIDTH_MAX   (UINT64_C(1) << 22) /* of rows that are normalised: an invocation's loops are no longer */
#define SCRATCH_PAD UINT64_C(256)

/* lib/act.h */
enum { ACT_IDENTITY = 0, ACT_RELU = 1, ACT_SILU = 3, ACT_GELU = 4, ACT_SIGMOID = 11, ACT_TANH = 12 };
static const uint32_t acts[TENON_MOE_LOGITS_ACTS] = {ACT_IDENTITY, ACT_RELU, ACT_SIGMOID,
                                                     ACT_TANH,     ACT_GELU, ACT_SILU};

static int32_t unsupported(struct gpu_recipe *recipe, const char *text)
{
    return recipe->host->fail(recipe->host, TENON_E_UNSUPPORTED, text);
}

static int32_t read_tensors(struct gpu_product *job, const struct tenon_tensor *tensors)
{
    const struct { int32_t index; const char *text; struct gpu_rows *rows; } table[] = {
        {TENON_MOE_LOGITS_X, "x: leading axes without a common row stride are not supported", &job->x},
        {TENON_MOE_LOGITS_W, "w: leading axes without a common row stride are not supported", &job->w},
        {TENON_MOE_LOGITS_BIAS, "bias: gaps are not supported", &job->bias},
        {TENON_MOE_LOGITS_Z, "z: leading axes without a common row stride are not supported", &job->y},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (!tenon__gpu_rows(&tensors[table[i].index], table[i].index, table[i].rows))
            return unsupported(job->recipe, table[i].text);
    job->scale = job->residual = (struct gpu_rows){.slot = GPU_SLOT_NONE, .size = 4};
    job->m = job->x.rows;
    job->n = job->w.rows;
    job->k = job->w.cols;
    job->group = 1;
    return TENON_OK;
}

static uint32_t local_of(const struct gpu_limits *limits, uint64_t cols)
{
    if (limits->vector) /* an invocation is a vector */
        return 1;
    if (limits->software && cols < 65536) /* a subgroup is one vector, which needs no barriers */
        return limits->subgroup >= 8 ? 8 : 16;
    return cols < 65536 || limits->wg_max < 256 ? 64 : 256;
}

/* Launches that write the normalised rows of `from` to the scratch at `first`. */
static int add_rows(struct gpu_product *job, const struct tenon_moe_logits_params *p, const struct gpu_rows *from,
                    float factor, uint64_t first)
{
    const int about_mean = p->kind == TENON_MOE_LOGITS_STD_DOT;
    const float eps = p->eps > 0 ? p->eps : about_mean ? 1e-5f : 1e-6f;
    struct gpu_rows to = {.slot = GPU_SLOT_SCRATCH, .dtype = TENON_F32, .size = 4, .first = first,
                          .rows = from->rows, .cols = from->cols, .stride = from->cols};
    for (uint64_t row = 0, n = 0; row < from->rows; row += n) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "moe_logits_rows", local_of(job->limits, from->cols));
        if (launch == NULL)
            return 0;
        n = tenon__gpu_rows_fit(from, from->rows - row);
        n = tenon__gpu_rows_fit(&to, n);
        n = tenon__gpu_grid(job->limits, n, launch->groups);
        tenon__gpu_bind(launch, from, row, 0);
        tenon__gpu_bind(launch, &to, row, 0);
        gpu_launch_u32(launch, (uint32_t)from->cols);
        gpu_launch_u32(launch, n > 1 ? (uint32_t)from->stride : 0);
        gpu_launch_u32(launch, tenon__gpu_dtype(from->dtype) | tenon__gpu_shift(from, row, 0) << 2 |
                                   (uint32_t)about_mean << 4);
        gpu_launch_f32(launch, eps);
        gpu_launch_f32(launch, about_mean ? (float)(1 / sqrt(sqrt((double)from->cols))) : factor);
    }
    return 1;
}

/* x and w become their normalised rows; COSINE's factor is in those of x. */
static int32_t normalise(struct gpu_product *job, const struct tenon_moe_logits_params *p)
{
    struct gpu_rows *side[2] = {&job->x, &job->w};
    if (job->k >= WIDTH_MAX)
        return unsupported(job->recipe, "x: rows of 2^22 columns and more are not supported with this kind");
    for (int i = 0; i < 2; i++) {
        const uint64_t bytes = (side[i]->rows * side[i]->cols * 4 + SCRATCH_PAD - 1) / SCRATCH_PAD * SCRATCH_PAD;
        if (!add_rows(job, p, side[i], i == 0 ? p->scale : 1.0f, job->sums))
            return TENON_E_NOMEM;
        *side[i] = (struct gpu_rows){.slot = GPU_SLOT_SCRATCH, .dtype = TENON_F32, .size = 4, .first = job->sums,
                                     .rows = side[i]->rows, .cols = side[i]->cols, .stride = side[i]->cols};
        job->sums += bytes;
    }
    job->recipe->scratch = job->sums;
    return TENON_OK;
}

static int32_t moe_logits_recipe(const void *params, const struct tenon_tensor *tensors,
                                 const struct gpu_limits *limits, struct gpu_recipe *recipe)
{
    const struct tenon_moe_logits_params *p = params;
    const int normalised = p->kind == TENON_MOE_LOGITS_COSINE || p->kind == TENON_MOE_LOGITS_STD_DOT;
    struct gpu_product job = {.names = {"x", "w", "z"}, .limits = limits, .recipe = recipe, .act = acts[p->act],
                              .distance = p->kind == TENON_MOE_LOGITS_NEG_L2};
    int32_t status = read_tensors(&job, tensors);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "moe_logits %stile %ux%u",
             normalised ? "normalised, " : job.distance ? "distances, " : "", tenon__gpu_product_height(&job),
             GPU_PRODUCT_COLUMNS);
    if (normalised && job.m && job.n && job.k)
        status = normalise(&job, p);
    if (status == TENON_OK)
        status = tenon__gpu_product(&job);
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__moe_logits_gpu = {.op = TENON_OPNUM_moe_logits, .recipe = moe_logits_recipe};
