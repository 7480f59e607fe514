/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn on the CPU: chunks of tokens go through sites (sparse_ffn_cpu_site.h) and products that skip
 * (sparse_ffn_cpu_product.h). Everything between is floats in the workspace, rows as wide as whole lanes. */
#include <stdio.h>
#include <string.h>

#include "ops/sparse_ffn_cpu_product.h"
#include "ops/sparse_ffn_cpu_site.h"

/* ---- matrices ---- */

static struct matrix matrix_of(const struct cpu_plan *plan, void *const *ptr, uint32_t tensor, uint32_t trans,
                               const struct tenon_tensor *scale)
{
    const struct tenon_tensor *t = &plan->tensor[tensor];
    struct matrix w = {.data = ptr ? ptr[tensor] : NULL, .dtype = t->dtype, .trans = trans, .row = t->stride[0]};
    w.rows = t->dim[trans ? 1 : 0];
    w.width = t->dim[trans ? 0 : 1];
    w.depth = lanes_up(w.width);
    w.group = 1;
    if (scale && scale->dtype) {
        const int64_t groups = scale->rank < 2 || scale->dim[1] < 1 ? 1 : scale->dim[1];
        w.scale = ptr ? ptr[scale - plan->tensor] : NULL;
        w.scale_stride = scale->stride[0];
        w.group = w.width / groups > 0 ? w.width / groups : 1;
    }
    return w;
}

/* wg, wu, wd: i = 0, 1, 2. */
static struct matrix weights_of(const struct cpu_plan *plan, void *const *ptr, uint32_t i)
{
    const struct tenon_sparse_ffn_params *p = params_of(plan);
    const uint32_t trans[3] = {p->trans_g, p->trans_u, p->trans_d};
    return matrix_of(plan, ptr, TENON_SPARSE_FFN_WG + i, trans[i], &plan->tensor[TENON_SPARSE_FFN_WG_SCALE + i]);
}

static int has(const struct cpu_plan *plan, uint32_t tensor)
{
    return plan->tensor[tensor].dtype != TENON_ABSENT;
}

/* ---- what the products see ---- */

static void clear_pads(float *v, int64_t n, int64_t width, int64_t depth)
{
    for (int64_t t = 0; t < n && depth > width; t++)
        memset(v + t * depth + width, 0, (size_t)(depth - width) * sizeof *v);
}

/* What wg (side 0) or wu (1) sees: floats, and in `rest` what the site dropped, where a complement wants it. */
static void see(const struct sparse_run *run, uint32_t side, int complement)
{
    const struct sparse_ffn *s = run->s;
    const struct tenon_tensor *x = &run->plan->tensor[TENON_SPARSE_FFN_X];
    const int64_t width = s->width[side], depth = lanes_up(width), size = TENON_DTYPE_SIZE(x->dtype);
    const char *from = (const char *)run->ptr[TENON_SPARSE_FFN_X] + (run->token * s->x_row + s->first[side]) * size;
    float *to = place(run, s->in), *rest = place(run, s->rest);
    for (int64_t t = 0; t < run->n; t++)
        for (int64_t k = 0; k < depth; k += VF)
            vf_store(to + t * depth + k, pack_load_n(x->dtype, from, t * s->x_row + k, width - k));
    site_inside(run, side, to, width);
    for (int64_t t = 0; complement && t < run->n; t++)
        for (int64_t k = 0; k < depth; k += VF) {
            const vf all = pack_load_n(x->dtype, from, t * s->x_row + k, width - k);
            vf_store(rest + t * depth + k, vf_select(vf_eq(vf_load(to + t * depth + k), vf_zero()), all, vf_zero()));
        }
}

static void multiply(const struct sparse_run *run, const struct matrix *w, const float *x, const float *need, float *y,
                     int64_t y_stride)
{
    const struct sparse_ffn *s = run->s;
    struct product p = {.run = run,
                        .w = w,
                        .x = x,
                        .need = need,
                        .y = y,
                        .n = run->n,
                        .need_stride = s->f_depth,
                        .y_stride = y_stride,
                        .list = (int32_t *)(void *)place(run, s->lists),
                        .count = (int32_t *)(void *)place(run, s->counts)};
    p.list_stride = w->trans ? w->width : w->rows;
    product_run(&p);
}

/* y += U (V^T rest), where it is needed. */
static void complement(const struct sparse_run *run, uint32_t i, const float *rest, const float *need, float *y,
                       int64_t y_stride)
{
    const struct sparse_ffn *s = run->s;
    const uint32_t u = TENON_SPARSE_FFN_CU_G + 2 * i;
    const struct matrix up = matrix_of(run->plan, run->ptr, u, 0, NULL);
    const struct matrix down = matrix_of(run->plan, run->ptr, u + 1, 1, NULL);
    float *low = place(run, s->low), *sum = place(run, s->sum);
    multiply(run, &down, rest, NULL, low, up.depth);
    clear_pads(low, run->n, up.width, up.depth);
    multiply(run, &up, low, NULL, sum, y_stride);
    for (int64_t t = 0; t < run->n; t++)
        for (int64_t r = 0; r < up.rows; r++)
            if (!need || need[t * s->f_depth + r] != 0)
                y[t * y_stride + r] += sum[t * y_stride + r];
}

static int has_complement(const struct cpu_plan *plan, uint32_t i, uint32_t site)
{
    return has(plan, TENON_SPARSE_FFN_CU_G + 2 * i) && site_of(plan, site)->kind != TENON_SPARSE_FFN_NONE;
}

/* wg or wu (side), with its complement. */
static void project(const struct sparse_run *run, uint32_t side, const float *need, float *y)
{
    const struct matrix w = weights_of(run->plan, run->ptr, side);
    const int low = has_complement(run->plan, side, side);
    see(run, side, low);
    multiply(run, &w, place(run, run->s->in), need, y, run->s->f_depth);
    if (low)
        complement(run, side, place(run, run->s->rest), need, y, run->s->f_depth);
}

/* ---- a chunk ---- */

/* ext of the chunk as rows of F; x times it where both are not 0. */
static void extend(const struct sparse_run *run, float *x, float *ext)
{
    const struct sparse_ffn *s = run->s;
    const float *from = run->ptr[TENON_SPARSE_FFN_EXT];
    for (int64_t t = 0; t < run->n; t++)
        for (int64_t i = 0; i < s->f; i++) {
            const float e = from[(run->token + t) * s->ext_row + i];
            float *v = x ? &x[t * s->f_depth + i] : NULL;
            if (ext)
                ext[t * s->f_depth + i] = e;
            else
                *v = e == 0 || *v == 0 ? 0 : e * *v;
        }
}

static void activate(void *context, uint32_t t)
{
    const struct sparse_run *run = context;
    float *v = place(run, run->s->gate) + t * run->s->f_depth;
    for (int64_t i = run->s->f; i < run->s->f_depth; i++)
        v[i] = 0;
    act_apply(&run->s->act, v, run->s->f);
}

/* h = g u, 0 where g is. */
static void gated(void *context, uint32_t t)
{
    const struct sparse_run *run = context;
    float *g = place(run, run->s->gate) + t * run->s->f_depth, *u = place(run, run->s->up) + t * run->s->f_depth;
    for (int64_t i = 0; i < run->s->f; i += VF) {
        const vf gate = vf_load(g + i);
        vf_store(g + i, vf_select(vf_eq(gate, vf_zero()), vf_zero(), vf_mul(gate, vf_load(u + i))));
    }
}

/* What S_h dropped of h, into `up`, which is free by then. */
static void drop_h(const struct sparse_run *run)
{
    float *h = place(run, run->s->gate), *was = place(run, run->s->up);
    for (int64_t i = 0; i < run->n * run->s->f_depth; i++)
        was[i] = h[i] == 0 ? was[i] : 0;
}

static void store(void *context, uint32_t t)
{
    const struct sparse_run *run = context;
    const struct sparse_ffn *s = run->s;
    const float *from = place(run, s->low_in) + t * s->o_depth;
    for (int64_t i = 0; i < s->o; i += VF)
        pack_store_n(run->plan->tensor[TENON_SPARSE_FFN_Y].dtype, run->ptr[TENON_SPARSE_FFN_Y],
                     (run->token + t) * s->y_row + i, vf_load(from + i), s->o - i);
}

static void chunk_run(const struct sparse_run *run)
{
    const struct cpu_plan *plan = run->plan;
    const struct sparse_ffn *s = run->s;
    const int gate = has(plan, TENON_SPARSE_FFN_WG), ext = has(plan, TENON_SPARSE_FFN_EXT);
    const int early = ext && tenon__sparse_ffn_early(params_of(plan));
    const double work = (double)(run->n * s->f) * 10;
    float *h = place(run, s->gate), *u = place(run, s->up), *y = place(run, s->low_in);
    const struct matrix wd = weights_of(plan, run->ptr, 2);
    if (early)
        extend(run, NULL, u);
    project(run, gate ? 0 : 1, early ? u : NULL, h);
    site_inside(run, TENON_SPARSE_FFN_SITE_P, h, s->f);
    sparse_pieces(run, work, (uint32_t)run->n, activate, (void *)(uintptr_t)run);
    site_inside(run, TENON_SPARSE_FFN_SITE_G, h, s->f);
    if (ext)
        extend(run, h, NULL);
    if (gate) {
        project(run, 1, h, u);
        sparse_pieces(run, work, (uint32_t)run->n, gated, (void *)(uintptr_t)run);
    }
    clear_pads(h, run->n, s->f, s->f_depth);
    const int low = has_complement(plan, 2, TENON_SPARSE_FFN_SITE_H);
    if (low)
        memcpy(u, h, (size_t)(run->n * s->f_depth) * sizeof *u);
    site_inside(run, TENON_SPARSE_FFN_SITE_H, h, s->f);
    if (low)
        drop_h(run);
    multiply(run, &wd, h, NULL, y, s->o_depth);
    if (low)
        complement(run, 2, u, NULL, y, s->o_depth);
    sparse_pieces(run, work, (uint32_t)run->n, store, (void *)(uintptr_t)run);
}

/* ---- the plan ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The workspace of products and sites of a chunk of n tokens. */
static uint64_t sub_bytes(const struct cpu_plan *plan, const struct sparse_ffn *s, int64_t n)
{
    struct matrix w[9];
    uint32_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t i = has(plan, TENON_SPARSE_FFN_WG) ? 0 : 1; i < 3; i++) {
        w[count++] = weights_of(plan, NULL, i);
        for (uint32_t k = 0; k < 2 && has(plan, TENON_SPARSE_FFN_CU_G + 2 * i); k++)
            w[count++] = matrix_of(plan, NULL, TENON_SPARSE_FFN_CU_G + 2 * i + k, k, NULL);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct matmul product = product_matmul(&w[i], n, w[i].rows);
        (void)matmul_plan(plan->env, &product);
        bytes = larger(bytes, product.workspace);
    }
    for (uint32_t i = 0; i < TENON_SPARSE_FFN_SITES; i++)
        bytes = larger(bytes, site_tasks(plan, n) * site_bytes(plan, i, i < 2 ? s->width[i] : s->f));
    return bytes;
}

static uint64_t take(uint64_t *at, int64_t elements)
{
    const uint64_t from = *at;
    *at += ((uint64_t)elements * sizeof(float) + 63) / 64 * 64;
    return from;
}

static void places(struct cpu_plan *plan, struct sparse_ffn *s)
{
    const int64_t n = s->chunk, rest = s->tokens % (s->chunk ? s->chunk : 1);
    int64_t widest = s->d > s->f ? s->d : s->f;
    uint64_t at = 0;
    widest = widest > s->rank ? widest : s->rank;
    const int64_t out = s->f_depth > s->o_depth ? s->f_depth : s->o_depth;
    s->in = take(&at, n * s->d_depth);
    s->gate = take(&at, n * s->f_depth);
    s->up = take(&at, n * s->f_depth);
    s->low_in = take(&at, n * s->o_depth);
    s->lists = take(&at, n * widest);
    s->counts = take(&at, n);
    s->rest = s->low = s->sum = at;
    if (s->rank > 0) {
        s->rest = take(&at, n * s->d_depth);
        s->low = take(&at, n * lanes_up(s->rank));
        s->sum = take(&at, n * out);
    }
    s->sub = at;
    plan->workspace = at + larger(sub_bytes(plan, s, n), sub_bytes(plan, s, rest));
}

static int32_t sparse_ffn_plan(struct cpu_plan *plan)
{
    const struct tenon_sparse_ffn_params *p = params_of(plan);
    const struct tenon_tensor *t = plan->tensor, *x = &t[TENON_SPARSE_FFN_X];
    const struct matrix wu = weights_of(plan, NULL, 1), wd = weights_of(plan, NULL, 2);
    struct sparse_ffn *s = (void *)plan->state;
    _Static_assert(sizeof *s <= sizeof plan->state, "the state fits the plan");
    *s = (struct sparse_ffn){.tokens = 1, .act = {p->act, p->alpha, p->threshold}, .f = wu.rows, .o = wd.rows};
    for (uint32_t d = 0; d + 1 < x->rank; d++)
        s->tokens *= x->dim[d];
    s->d = x->dim[x->rank - 1];
    s->width[0] = p->split ? p->split : s->d;
    s->width[1] = p->split ? s->d - p->split : s->d;
    s->first[1] = p->split;
    s->d_depth = lanes_up(s->d);
    s->f_depth = lanes_up(s->f);
    s->o_depth = lanes_up(s->o);
    s->x_row = matmul_row_stride(x);
    s->y_row = matmul_row_stride(&t[TENON_SPARSE_FFN_Y]);
    s->ext_row = has(plan, TENON_SPARSE_FFN_EXT) ? matmul_row_stride(&t[TENON_SPARSE_FFN_EXT]) : 0;
    s->chunk = s->tokens < CHUNK ? s->tokens : CHUNK;
    for (uint32_t i = TENON_SPARSE_FFN_CU_G; i <= TENON_SPARSE_FFN_CV_D; i++)
        if (has(plan, i) && t[i].dim[1] > s->rank)
            s->rank = t[i].dim[1];
    places(plan, s);
    snprintf(plan->impl, sizeof plan->impl, "%s: skips, %u workers", CPU_ISA_NAME, plan->env->threads);
    return TENON_OK;
}

static void sparse_ffn_run(const struct cpu_plan *plan, void *const *ptr, void *workspace)
{
    const struct sparse_ffn *s = (const void *)plan->state;
    struct sparse_run run = {.plan = plan, .s = s, .ptr = ptr, .workspace = workspace};
    for (; run.token < s->tokens; run.token += run.n) {
        run.n = s->tokens - run.token < s->chunk ? s->tokens - run.token : s->chunk;
        chunk_run(&run);
    }
}

const struct cpu_op CPU_OP_TABLE(sparse_ffn);
const struct cpu_op CPU_OP_TABLE(sparse_ffn) = {
    .op = TENON_OPNUM_sparse_ffn,
    .plan = sparse_ffn_plan,
    .run = sparse_ffn_run,
};
