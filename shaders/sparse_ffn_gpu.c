/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Launches of sparse_ffn: sites are sparsifiers of rows in the scratch; products skip what is 0. What lies between
 * them is floats in the scratch, of a chunk of tokens at a time. */
#include <stdio.h>
#include <string.h>

#include "ops/sparse_ffn_op.h"
#include "sparsifier.h"

#define CHUNK_BYTES (UINT64_C(64) << 20) /* of the widest of the rows in the scratch */
#define WIDTH_MAX   (UINT64_C(1) << 22)  /* of what an invocation's loops go over */
#define COLUMNS_LOOP UINT64_C(16384)     /* columns of w that a launch goes over */
#define MAP_LOCAL   64
#define SCRATCH_PAD UINT64_C(256)

enum { COPY, REST, ACTIVATE, TIMES, GATED, ADD, MASK }; /* of sparse_ffn_map.k */

struct weights {
    struct gpu_rows w, scale;
    uint64_t rows, width, group;
    int trans;
};

struct job {
    const struct tenon_sparse_ffn_params *params;
    const struct tenon_tensor *tensors;
    const struct gpu_limits *limits;
    struct gpu_recipe *recipe;
    struct gpu_rows x, ext, y;
    struct weights matrix[3], up[3], down[3]; /* wg, wu, wd; the factors of their complements */
    uint64_t tokens, d, f, o, width[2], first[2];
    uint64_t token, n;           /* the chunk at work */
    struct gpu_rows in, rest, gate, other, low, sum, out; /* in the scratch */
    uint64_t sub;                /* where the scratch of sites begins */
};

static int32_t unsupported(const struct job *job, const char *text)
{
    return job->recipe->host->fail(job->recipe->host, TENON_E_UNSUPPORTED, text);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- the tensors ---- */

static int read_weights(const struct job *job, uint32_t tensor, int32_t scale, int trans, struct weights *w)
{
    *w = (struct weights){.trans = trans, .group = 1};
    w->scale = (struct gpu_rows){.slot = GPU_SLOT_NONE, .size = 4};
    if (!tenon__gpu_rows(&job->tensors[tensor], (int32_t)tensor, &w->w))
        return 0;
    w->rows = trans ? w->w.cols : w->w.rows;
    w->width = trans ? w->w.rows : w->w.cols;
    if (scale < 0 || job->tensors[scale].dtype == TENON_ABSENT)
        return 1;
    if (!tenon__gpu_rows(&job->tensors[scale], scale, &w->scale))
        return 0;
    if (job->tensors[scale].rank == 1)
        w->scale = (struct gpu_rows){
            .slot = scale, .dtype = TENON_F32, .size = 4, .rows = w->rows, .cols = 1, .stride = 1};
    w->group = larger(w->scale.cols ? w->width / w->scale.cols : w->width, 1);
    return 1;
}

static int32_t read_tensors(struct job *job)
{
    const struct tenon_sparse_ffn_params *p = job->params;
    const int trans[3] = {p->trans_g != 0, p->trans_u != 0, p->trans_d != 0};
    int ok = tenon__gpu_rows(&job->tensors[TENON_SPARSE_FFN_X], TENON_SPARSE_FFN_X, &job->x) &&
             tenon__gpu_rows(&job->tensors[TENON_SPARSE_FFN_EXT], TENON_SPARSE_FFN_EXT, &job->ext) &&
             tenon__gpu_rows(&job->tensors[TENON_SPARSE_FFN_Y], TENON_SPARSE_FFN_Y, &job->y);
    for (uint32_t i = 0; i < 3; i++) {
        ok = ok && read_weights(job, TENON_SPARSE_FFN_WG + i, (int32_t)(TENON_SPARSE_FFN_WG_SCALE + i), trans[i],
                                &job->matrix[i]);
        ok = ok && read_weights(job, TENON_SPARSE_FFN_CU_G + 2 * i, -1, 0, &job->up[i]);
        ok = ok && read_weights(job, TENON_SPARSE_FFN_CU_G + 2 * i + 1, -1, 1, &job->down[i]);
    }
    if (!ok)
        return unsupported(job, "x, ext, y, w: leading axes without a common row stride are not supported");
    job->tokens = job->x.rows;
    job->d = job->x.cols;
    job->f = job->matrix[1].rows;
    job->o = job->matrix[2].rows;
    job->width[0] = p->split ? (uint64_t)p->split : job->d;
    job->width[1] = p->split ? job->d - (uint64_t)p->split : job->d;
    job->first[1] = (uint64_t)p->split;
    if (job->d >= WIDTH_MAX || job->f >= WIDTH_MAX || job->o >= WIDTH_MAX)
        return unsupported(job, "x, w: widths of 2^22 and more are not supported");
    return TENON_OK;
}

/* ---- launches; 0: no memory ---- */

/* Rows of a buffer in the scratch, `width` floats each. */
static struct gpu_rows rows_of(struct gpu_rows buffer, uint64_t n, uint64_t width)
{
    buffer.rows = n;
    buffer.cols = buffer.stride = width;
    return buffer;
}

static uint32_t row_of(const struct gpu_rows *rows, uint64_t n)
{
    return n > 1 ? (uint32_t)rows->stride : 0;
}

/* to = what(a, b), [n, cols]. Rows and columns of a and of `to` from (a_row, a_col) and (to_row, 0) on. */
static int add_map(struct job *job, uint32_t what, const struct gpu_rows *a, uint64_t a_row, uint64_t a_col,
                   const struct gpu_rows *b, uint64_t b_row, const struct gpu_rows *to, uint64_t to_row, uint64_t cols)
{
    if (cols == 0)
        return 1;
    struct gpu_launch *launch = gpu_recipe_add(job->recipe, "sparse_ffn_map", MAP_LOCAL);
    if (launch == NULL)
        return 0;
    launch->groups[0] = (uint32_t)((cols + MAP_LOCAL - 1) / MAP_LOCAL);
    launch->groups[1] = (uint32_t)job->n;
    tenon__gpu_bind(launch, a, a_row, a_col);
    if (b)
        tenon__gpu_bind(launch, b, b_row, 0);
    else
        gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
    tenon__gpu_bind(launch, to, to_row, 0);
    gpu_launch_u32(launch, (uint32_t)cols);
    gpu_launch_u32(launch, row_of(a, job->n));
    gpu_launch_u32(launch, b ? row_of(b, job->n) : 0);
    gpu_launch_u32(launch, row_of(to, job->n));
    gpu_launch_u32(launch, what | tenon__gpu_dtype(a->dtype) << 4 | tenon__gpu_dtype(to->dtype) << 6 |
                               tenon__gpu_shift(a, a_row, a_col) << 8 | tenon__gpu_shift(to, to_row, 0) << 10 |
                               job->params->act << 12);
    gpu_launch_f32(launch, job->params->alpha);
    gpu_launch_f32(launch, job->params->threshold);
    return 1;
}

/* Of the rows v, in place; its scratch follows ours. */
static int32_t add_site(struct job *job, uint32_t i, const struct gpu_rows *v)
{
    const struct tenon_sparse_ffn_site *site = tenon_sparse_ffn_site_at(job->params, i);
    const uint32_t t = TENON_SPARSE_FFN_T_XG + i, wgt = TENON_SPARSE_FFN_WGT_XG + i;
    const struct gpu_rows none = {.slot = GPU_SLOT_NONE};
    if (site->kind == TENON_SPARSE_FFN_NONE)
        return TENON_OK;
    struct sparsifier_job sub = {.rule = tenon__sparse_ffn_rule(site),
                                 .limits = job->limits,
                                 .recipe = job->recipe,
                                 .x = *v,
                                 .y = *v,
                                 .cidx = none,
                                 .cval = none,
                                 .t_row = none,
                                 .nnz = none,
                                 .flags = none,
                                 .base = job->sub};
    if (!tenon__gpu_list(&job->tensors[t], (int32_t)t, &sub.t_col) ||
        !tenon__gpu_list(&job->tensors[wgt], (int32_t)wgt, &sub.wgt))
        return unsupported(job, "t, wgt of a site: gaps are not supported");
    return tenon__gpu_sparsifier(&sub);
}

static uint32_t local_of(const struct gpu_limits *limits, uint64_t width)
{
    if (limits->vector) /* an invocation is a vector */
        return 1;
    if (limits->software && width < 262144)
        return limits->subgroup >= 8 ? 8 : 16;
    return 64;
}

static uint32_t options_of(const struct weights *w, uint32_t flag, uint64_t row, uint64_t col)
{
    return tenon__gpu_dtype(w->w.dtype) | (uint32_t)has(&w->scale) << 3 | flag << 4 |
           tenon__gpu_shift(&w->w, row, col) << 5;
}

/* y = x w^T, a launch for as much of w as one reaches. */
static int add_columns(struct job *job, const struct weights *w, const struct gpu_rows *x, const struct gpu_rows *y)
{
    const uint32_t local = local_of(job->limits, 0), wide = job->limits->vector ? job->limits->vector : 1;
    const uint64_t stride = larger(w->w.stride, 1), reach = GPU_SPAN / w->w.size / stride;
    const uint64_t most = smaller(reach < 1 ? 1 : reach, COLUMNS_LOOP);
    for (uint64_t k = 0, depth = 0; k == 0 || k < w->width; k += depth) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "sparse_ffn_columns", local);
        if (launch == NULL)
            return 0;
        depth = smaller(w->width - k, most);
        launch->groups[0] = (uint32_t)((w->rows + local * wide - 1) / (local * wide));
        launch->groups[1] = (uint32_t)job->n;
        tenon__gpu_bind(launch, x, 0, k);
        tenon__gpu_bind(launch, &w->w, k, 0);
        tenon__gpu_bind(launch, &w->scale, 0, 0);
        tenon__gpu_bind(launch, y, 0, 0);
        const uint32_t words[] = {(uint32_t)w->rows, (uint32_t)depth, (uint32_t)k, row_of(x, job->n),
                                  (uint32_t)w->w.stride, row_of(y, job->n), (uint32_t)w->scale.stride,
                                  (uint32_t)w->group, options_of(w, k > 0, k, 0)};
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            gpu_launch_u32(launch, words[i]);
        if (depth == 0)
            break;
    }
    return 1;
}

static int add_rows(struct job *job, const struct weights *w, const struct gpu_rows *x, const struct gpu_rows *need,
                    uint64_t need_row, const struct gpu_rows *y)
{
    uint64_t n = 0;
    for (uint64_t row = 0; row < w->rows; row += n) {
        struct gpu_launch *launch = gpu_recipe_add(job->recipe, "sparse_ffn_rows", local_of(job->limits, w->width));
        if (launch == NULL)
            return 0;
        n = smaller(tenon__gpu_rows_fit(&w->w, w->rows - row), job->limits->groups_max[0]);
        launch->groups[0] = (uint32_t)n;
        launch->groups[1] = (uint32_t)job->n;
        tenon__gpu_bind(launch, x, 0, 0);
        tenon__gpu_bind(launch, &w->w, row, 0);
        tenon__gpu_bind(launch, &w->scale, row, 0);
        if (need)
            tenon__gpu_bind(launch, need, need_row, row);
        else
            gpu_launch_buffer(launch, GPU_SLOT_NONE, 0);
        tenon__gpu_bind(launch, y, 0, row);
        const uint32_t words[] = {(uint32_t)w->width, row_of(x, job->n), (uint32_t)w->w.stride,
                                  need ? row_of(need, job->n) : 0, row_of(y, job->n), (uint32_t)w->scale.stride,
                                  (uint32_t)w->group, options_of(w, need != NULL, row, 0)};
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            gpu_launch_u32(launch, words[i]);
    }
    return 1;
}

/* need: rows of which from need_row on belong to this chunk; NULL: all sums are needed. */
static int add_product(struct job *job, const struct weights *w, const struct gpu_rows *x, const struct gpu_rows *need,
                       uint64_t need_row, const struct gpu_rows *y)
{
    if (w->rows == 0)
        return 1;
    if (!w->trans)
        return add_rows(job, w, x, need, need_row, y);
    return add_columns(job, w, x, y) &&
           (!need || add_map(job, MASK, y, 0, 0, need, need_row, y, 0, w->rows));
}

/* ---- the steps ---- */

/* y += U (V^T rest), where it is needed. */
static int add_complement(struct job *job, uint32_t i, const struct gpu_rows *rest, const struct gpu_rows *need,
                          uint64_t need_row, const struct gpu_rows *y)
{
    const struct weights *up = &job->up[i], *down = &job->down[i];
    const struct gpu_rows low = rows_of(job->low, job->n, up->width), sum = rows_of(job->sum, job->n, up->rows);
    return add_product(job, down, rest, NULL, 0, &low) && add_product(job, up, &low, need, need_row, &sum) &&
           add_map(job, ADD, y, 0, 0, &sum, 0, y, 0, up->rows);
}

/* wg or wu (side) into y, with its complement. */
static int32_t add_projection(struct job *job, uint32_t side, const struct gpu_rows *need, uint64_t need_row,
                              const struct gpu_rows *y)
{
    const uint64_t width = job->width[side], first = job->first[side];
    const struct gpu_rows in = rows_of(job->in, job->n, width), rest = rows_of(job->rest, job->n, width);
    const int low = has(&job->up[side].w) && tenon_sparse_ffn_site_at(job->params, side)->kind;
    if (!add_map(job, COPY, &job->x, job->token, first, NULL, 0, &in, 0, width))
        return TENON_E_NOMEM;
    const int32_t status = add_site(job, side, &in);
    if (status)
        return status;
    if (low && !add_map(job, REST, &job->x, job->token, first, &in, 0, &rest, 0, width))
        return TENON_E_NOMEM;
    if (!add_product(job, &job->matrix[side], &in, need, need_row, y) ||
        (low && !add_complement(job, side, &rest, need, need_row, y)))
        return TENON_E_NOMEM;
    return TENON_OK;
}

/* h of the chunk, in job->gate. */
static int32_t add_hidden(struct job *job, const struct gpu_rows *h, const struct gpu_rows *u)
{
    const struct tenon_sparse_ffn_params *p = job->params;
    const int gate = has(&job->matrix[0].w), early = has(&job->ext) && tenon__sparse_ffn_early(p);
    int32_t status = add_projection(job, gate ? 0 : 1, early ? &job->ext : NULL, job->token, h);
    if (!status)
        status = add_site(job, TENON_SPARSE_FFN_SITE_P, h);
    if (!status && !add_map(job, ACTIVATE, h, 0, 0, NULL, 0, h, 0, job->f))
        status = TENON_E_NOMEM;
    if (!status)
        status = add_site(job, TENON_SPARSE_FFN_SITE_G, h);
    if (!status && has(&job->ext) && !add_map(job, TIMES, h, 0, 0, &job->ext, job->token, h, 0, job->f))
        status = TENON_E_NOMEM;
    if (status || !gate)
        return status;
    status = add_projection(job, 1, h, 0, u);
    if (!status && !add_map(job, GATED, h, 0, 0, u, 0, h, 0, job->f))
        status = TENON_E_NOMEM;
    return status;
}

static int32_t add_chunk(struct job *job)
{
    const struct gpu_rows h = rows_of(job->gate, job->n, job->f), u = rows_of(job->other, job->n, job->f);
    const struct gpu_rows y = rows_of(job->out, job->n, job->o);
    const int low = has(&job->up[2].w) && job->params->h.kind;
    int32_t status = add_hidden(job, &h, &u);
    if (!status && low && !add_map(job, COPY, &h, 0, 0, NULL, 0, &u, 0, job->f))
        status = TENON_E_NOMEM;
    if (!status)
        status = add_site(job, TENON_SPARSE_FFN_SITE_H, &h);
    if (status)
        return status;
    if ((low && !add_map(job, REST, &u, 0, 0, &h, 0, &u, 0, job->f)) ||
        !add_product(job, &job->matrix[2], &h, NULL, 0, &y) ||
        (low && !add_complement(job, 2, &u, NULL, 0, &y)) ||
        !add_map(job, COPY, &y, 0, 0, NULL, 0, &job->y, job->token, job->o))
        return TENON_E_NOMEM;
    return TENON_OK;
}

/* Tokens a chunk, and the places of its rows in the scratch. */
static uint64_t choose_places(struct job *job)
{
    uint64_t rank = 0, widest = larger(larger(job->d, job->f), larger(job->o, 1)), at = 0;
    for (int i = 0; i < 3; i++)
        rank = larger(rank, job->up[i].width);
    widest = larger(widest, rank);
    uint64_t n = smaller(job->tokens, larger(CHUNK_BYTES / 4 / widest, 1));
    n = smaller(n, job->limits->groups_max[1]);
    n = smaller(n, tenon__gpu_rows_fit(&job->x, n));
    n = smaller(n, tenon__gpu_rows_fit(&job->ext, n));
    n = smaller(n, tenon__gpu_rows_fit(&job->y, n));
    const struct { struct gpu_rows *rows; uint64_t width; } table[] = {
        {&job->in, job->d}, {&job->gate, job->f}, {&job->other, job->f}, {&job->out, job->o},
        {&job->rest, rank ? job->d : 0}, {&job->low, rank}, {&job->sum, rank ? larger(job->f, job->o) : 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        *table[i].rows = (struct gpu_rows){.slot = GPU_SLOT_SCRATCH, .dtype = TENON_F32, .size = 4, .first = at};
        at += (n * table[i].width * 4 + SCRATCH_PAD - 1) / SCRATCH_PAD * SCRATCH_PAD;
    }
    job->sub = job->recipe->scratch = larger(at, SCRATCH_PAD);
    return n;
}

static int32_t sparse_ffn_recipe(const void *params, const struct tenon_tensor *tensors,
                                 const struct gpu_limits *limits, struct gpu_recipe *recipe)
{
    struct job job = {.params = params, .tensors = tensors, .limits = limits, .recipe = recipe};
    int32_t status = read_tensors(&job);
    if (status != TENON_OK)
        return status;
    snprintf(recipe->impl, sizeof(recipe->impl), "sparse_ffn skips");
    if (job.tokens == 0 || job.o == 0)
        return TENON_OK;
    const uint64_t most = choose_places(&job);
    for (; status == TENON_OK && job.token < job.tokens; job.token += job.n) {
        job.n = smaller(job.tokens - job.token, most);
        status = add_chunk(&job);
    }
    if (status == TENON_OK)
        status = gpu_recipe_check(recipe, limits);
    if (status != TENON_OK)
        gpu_recipe_finish(recipe);
    return status;
}

const struct gpu_op tenon__sparse_ffn_gpu = {.op = TENON_OPNUM_sparse_ffn, .recipe = sparse_ffn_recipe};
