/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Products of sparse_ffn: rows of floats, most of them zeros perhaps, times a matrix. Three ways, whose sums have one
 * order and the same bits (lib/product.h), so that data may choose:
 *
 * - by columns (trans): only the columns of entries that are not 0 are read, a token after the other;
 * - by rows: only the rows of neurons that are needed are read;
 * - dense, lib/matmul.h, where tokens together would read the matrix more than once.
 *
 * The latter two multiply zeros too, which is nothing to a sum but where the weight is not finite: sums that are not
 * finite are made again from the terms that count alone. */
#ifndef TENON_SPARSE_FFN_CPU_PRODUCT_H
#define TENON_SPARSE_FFN_CPU_PRODUCT_H

#include <math.h>

#include "lib/columns.h"
#include "ops/sparse_ffn_cpu.h"

struct product {
    const struct sparse_run *run;
    const struct matrix *w;
    const float *x;    /* [n, depth], zeros from width on */
    const float *need; /* [n, need_stride], 0: the sum is not needed and becomes 0; NULL: all are */
    float *y;          /* [n, y_stride] */
    int64_t n, need_stride, y_stride, strip;
    int32_t *list;  /* [n, list_stride]: columns of w with entries, or rows that are needed */
    int32_t *count; /* [n] */
    int64_t list_stride;
};

static void matmul_emit(const struct matmul_run *run, int64_t t, int64_t n0, int64_t n, float *sum)
{
    const struct product *p = run->context;
    for (int64_t i = 0; i < n; i += VF)
        pack_store_n(TENON_F32, p->y + t * p->y_stride + n0, i, vf_load(sum + i), n - i);
}

static struct pack_source product_weights(const struct matrix *w)
{
    return (struct pack_source){
        .data = w->data, .row_stride = w->row, .scale = w->scale, .scale_stride = w->scale_stride, .group = w->group};
}

static struct matmul product_matmul(const struct matrix *w, int64_t n, int64_t y_stride)
{
    return (struct matmul){.m = n,
                           .n = w->rows,
                           .k = w->width,
                           .x_type = TENON_F32,
                           .w_type = w->dtype,
                           .y_type = TENON_F32,
                           .trans_w = w->trans,
                           .x_row = w->depth,
                           .w_row = w->row,
                           .y_row = y_stride,
                           .scale_stride = w->scale_stride,
                           .group = w->group};
}

/* ---- one sum, from the terms whose factor is not 0 ---- */

static float one_madd(float a, float b, float c)
{
    float v[VF];
    vf_store(v, vf_madd(vf_set1(a), vf_set1(b), vf_set1(c)));
    return v[0];
}

static float one_weight(const struct matrix *w, int64_t row, int64_t k)
{
    const int64_t at = w->trans ? k * w->row + row : row * w->row + k;
    if (w->dtype == TENON_I8)
        return (float)((const int8_t *)w->data)[at] * w->scale[row * w->scale_stride + k / w->group];
    return pack_one(w->dtype, w->data, at);
}

static float one_sum(const struct matrix *w, const float *x, int64_t row)
{
    float sum = 0;
    for (int64_t k0 = 0; k0 < w->width; k0 += PRODUCT_BLOCK) {
        float lane[PRODUCT_LANES] = {0};
        for (int64_t k = k0; k < k0 + PRODUCT_BLOCK && k < w->width; k++)
            if (x[k] != 0)
                lane[k % PRODUCT_LANES] = one_madd(x[k], one_weight(w, row, k), lane[k % PRODUCT_LANES]);
        for (int step = 1; step < PRODUCT_LANES; step *= 2)
            for (int l = 0; l < PRODUCT_LANES; l += 2 * step)
                lane[l] += lane[l + step];
        sum = k0 ? sum + lane[0] : lane[0];
    }
    return sum;
}

/* ---- by columns ---- */

static void columns_piece(void *context, uint32_t piece)
{
    const struct product *p = context;
    const struct matrix *w = p->w;
    const struct pack_source source = product_weights(w);
    const int64_t strips = (w->rows + p->strip - 1) / p->strip, t = piece / strips;
    const int32_t *list = p->list + t * p->list_stride;
    float lanes[PRODUCT_LANES * COLUMNS_SUMS] __attribute__((aligned(64)));
    float sum[COLUMNS_SUMS] __attribute__((aligned(64))), scale[COLUMNS_SUMS] __attribute__((aligned(64)));
    struct columns_block b = {
        .w = &source, .width = p->strip, .first = piece % strips * p->strip, .lanes = lanes, .scale = scale};
    b.columns = w->rows - b.first < p->strip ? w->rows - b.first : p->strip;
    int64_t at = 0;
    for (b.k0 = 0; b.k0 < w->width; b.k0 += PRODUCT_BLOCK) {
        b.kc = w->width - b.k0 < PRODUCT_BLOCK ? w->width - b.k0 : PRODUCT_BLOCK;
        b.x = p->x + t * w->depth + b.k0;
        b.list = list + at;
        b.count = 0;
        while (at < p->count[t] && list[at] < b.k0 + b.kc)
            at++, b.count++;
        columns_listed(w->dtype, &b);
        columns_fold(&b, 1, sum, b.k0 > 0);
    }
    for (int64_t i = 0; i < b.columns; i += VF)
        pack_store_n(TENON_F32, p->y + t * p->y_stride + b.first, i, vf_load(sum + i), b.columns - i);
}

/* ---- by rows ---- */

static void rows_piece(void *context, uint32_t piece)
{
    const struct product *p = context;
    const struct matrix *w = p->w;
    const struct pack_source source = product_weights(w);
    const int64_t groups = (w->rows + DOT_GROUP - 1) / DOT_GROUP, t = piece / groups;
    const int64_t first = piece % groups * DOT_GROUP, left = p->count[t] - first;
    const int32_t *list = p->list + t * p->list_stride + first;
    const int64_t rows = left < DOT_GROUP ? left : DOT_GROUP;
    const float *x = p->x + t * w->depth;
    float lanes[DOT_GROUP * PRODUCT_LANES] __attribute__((aligned(64))) = {0};
    float sum[DOT_GROUP] __attribute__((aligned(64)));
    if (left <= 0)
        return;
    struct dot_block b = {.x_stride = w->depth, .lanes_stride = DOT_GROUP * PRODUCT_LANES};
    for (b.k0 = 0; b.k0 < w->width; b.k0 += PRODUCT_BLOCK) {
        b.kc = w->width - b.k0 < PRODUCT_BLOCK ? w->width - b.k0 : PRODUCT_BLOCK;
        b.x = x + b.k0;
        for (int64_t r = 0; r < rows; r += dot_rows_of(1)) {
            for (int i = 0; i < dot_rows_of(1); i++) {
                const int64_t row = list[r + i < rows ? r + i : rows - 1];
                b.row[i] = row * w->row + b.k0;
                b.next[i] = b.row[i] + PRODUCT_BLOCK;
                b.scale[i] = w->scale ? w->scale + row * w->scale_stride : NULL;
            }
            b.lanes = lanes + r * PRODUCT_LANES;
            dot_tile(w->dtype, 1, &source, &b);
        }
        dot_fold(lanes, sum, b.k0 > 0);
    }
    for (int64_t i = 0; i < rows; i++)
        p->y[t * p->y_stride + list[i]] = isfinite(sum[i]) ? sum[i] : one_sum(w, x, list[i]);
}

/* ---- the choice ---- */

/* What is not 0 of a row, ascending. */
static int32_t nonzeros(const float *v, int64_t n, int32_t *list)
{
    int32_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        list[count] = (int32_t)i;
        count += v[i] != 0;
    }
    return count;
}

static void list_piece(void *context, uint32_t t)
{
    const struct product *p = context;
    const float *v = p->w->trans ? p->x + t * p->w->depth : p->need + t * p->need_stride;
    p->count[t] = nonzeros(v, p->w->trans ? p->w->width : p->w->rows, p->list + t * p->list_stride);
}

static void dense_finish(void *context, uint32_t t)
{
    const struct product *p = context;
    float *y = p->y + t * p->y_stride;
    for (int64_t row = 0; row < p->w->rows; row++)
        if (p->need && p->need[t * p->need_stride + row] == 0)
            y[row] = 0;
        else if (!isfinite(y[row]))
            y[row] = one_sum(p->w, p->x + t * p->w->depth, row);
}

static void clear_rows(const struct product *p)
{
    for (int64_t t = 0; t < p->n; t++)
        for (int64_t i = 0; i < p->w->rows; i++)
            if (!p->need || p->need[t * p->need_stride + i] == 0)
                p->y[t * p->y_stride + i] = 0;
}

static void product_run(struct product *p)
{
    const struct sparse_run *run = p->run;
    const struct matrix *w = p->w;
    const int64_t across = w->trans ? w->rows : w->width, all = w->trans ? w->width : w->rows;
    const uint32_t workers = run->plan->env->threads;
    int64_t listed = 0;
    if (w->width == 0) {
        p->need = NULL;
        clear_rows(p);
        return;
    }
    if (w->trans || p->need) {
        sparse_pieces(run, (double)(p->n * all), (uint32_t)p->n, list_piece, p);
        for (int64_t t = 0; t < p->n; t++)
            listed += p->count[t];
    }
    if ((w->trans || p->need) && (p->n == 1 || listed <= all + all / 2)) {
        const double work = (double)listed * (double)across;
        const int64_t share = w->rows * p->n / (4 * (int64_t)workers) / 64 * 64;
        p->strip = share < 64 ? 64 : share < COLUMNS_SUMS ? share : COLUMNS_SUMS / 64 * 64;
        const int64_t parts = w->trans ? (w->rows + p->strip - 1) / p->strip : (w->rows + DOT_GROUP - 1) / DOT_GROUP;
        sparse_pieces(run, work, (uint32_t)(p->n * parts), w->trans ? columns_piece : rows_piece, p);
        if (p->need)
            clear_rows(p);
        return;
    }
    struct matmul product = product_matmul(w, p->n, p->y_stride);
    (void)matmul_plan(run->plan->env, &product);
    struct matmul_run dense = {.plan = &product,
                               .env = run->plan->env,
                               .x = p->x,
                               .w = w->data,
                               .scale = w->scale,
                               .y = p->y,
                               .context = p,
                               .workspace = run->workspace + run->s->sub};
    matmul(&dense);
    sparse_pieces(run, (double)(p->n * w->rows), (uint32_t)p->n, dense_finish, p);
}

#endif
