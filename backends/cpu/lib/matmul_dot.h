/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * matmul with few rows of x: w [N, K] is read in place, once. Or with few rows of w (a router of eight experts, a head
 * of ten classes), where most of a packed tile would be empty: then x is what is read in place. A product does not know
 * its sides, so the bits are the same. A part of matmul.h. */
#ifndef TENON_MATMUL_DOT_H
#define TENON_MATMUL_DOT_H

#define MATMUL_DOT_GROUPS 4 /* the most groups of rows in place that are one piece of work */

/* The rows that are read in place, and the few that meet them. */
static int64_t matmul_dot_long(const struct matmul *s)
{
    return s->path == MATMUL_DOT_X ? s->m : s->n;
}

static int64_t matmul_dot_few(const struct matmul *s)
{
    return s->path == MATMUL_DOT_X ? s->n : s->m;
}

/* Rows in place that are one piece: few enough that all workers end together. */
static int64_t matmul_dot_step(const struct matmul *s)
{
    const int64_t groups = matmul_dot_long(s) / DOT_GROUP / (4 * (int64_t)s->workers);
    return DOT_GROUP * (groups < 1 ? 1 : groups > MATMUL_DOT_GROUPS ? MATMUL_DOT_GROUPS : groups);
}

/* The few rows as f32 rows of `depth` elements, filled with zeros. */
static void matmul_dot_w(const struct matmul_run *run, float *to)
{
    const struct matmul *s = run->plan;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t k = 0; k < s->depth; k += VF)
            vf_store(to + n * s->depth + k, pack_load_n(s->w_type, run->w, n * s->w_row + k, s->k - k));
}

/* x as f32 rows of `depth` elements, filled with zeros. */
static void matmul_dot_x(const struct matmul_run *run, float *to)
{
    const struct matmul *s = run->plan;
    for (int64_t m = 0; m < s->m; m++) {
        float *row = to + m * s->depth;
        if (s->trans_x) {
            for (int64_t k = 0; k < s->depth; k++)
                row[k] = k < s->k ? pack_one(s->x_type, run->x, k * s->x_row + m) : 0.0f;
            continue;
        }
        const int64_t from = matmul_row(run->x_tensor, s->x_row, m);
        for (int64_t k = 0; k < s->depth; k += VF)
            vf_store(row + k, pack_load_n(s->x_type, run->x, from + k, s->k - k));
    }
}

/* Whether the few rows can be used where they are: f32, one stride, no fill needed. */
static int matmul_dot_in_place(const struct matmul *s)
{
    if (s->path == MATMUL_DOT_X)
        return s->w_type == TENON_F32 && s->depth == s->k;
    return s->x_type == TENON_F32 && !s->trans_x && s->depth == s->k && (s->m == 1 || s->x_row != MATMUL_FOLDED);
}

/* One group of rows in place, from n on. */
static void matmul_dot_group(const struct matmul_run *run, const struct dot_product *p, int64_t n)
{
    float sum[DOT_MOST][DOT_GROUP] __attribute__((aligned(64)));
    const int64_t rows = p->n - n < DOT_GROUP ? p->n - n : DOT_GROUP;
    dot_group(p, n, sum);
    if (run->plan->path != MATMUL_DOT_X) {
        for (int64_t m = 0; m < p->m; m++)
            matmul_emit(run, m, n, rows, sum[m]);
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        float row[DOT_MOST + VF] __attribute__((aligned(64)));
        for (int64_t m = 0; m < p->m; m++)
            row[m] = sum[m][r];
        matmul_emit(run, n + r, 0, p->m, row);
    }
}

/* The rows of x as the source of a product in place. */
static struct pack_source matmul_dot_rows_of_x(const struct matmul_run *run)
{
    return (struct pack_source){.data = run->x, .row_stride = run->plan->x_row, .group = 1};
}

static void matmul_dot_piece(void *context, uint32_t piece)
{
    const struct matmul_run *run = context;
    const struct matmul *s = run->plan;
    const int turned = s->path == MATMUL_DOT_X, copied = !matmul_dot_in_place(s);
    const struct pack_source rows = turned ? matmul_dot_rows_of_x(run) : matmul_weights(run);
    const int64_t stride = turned ? s->w_row : s->m > 1 ? s->x_row : 0;
    const struct dot_product p = {.w = &rows,
                                  .dtype = turned ? s->x_type : s->w_type,
                                  .n = matmul_dot_long(s),
                                  .k = s->k,
                                  .x = copied   ? (const float *)(const void *)run->workspace
                                       : turned ? run->w
                                                : run->x,
                                  .x_stride = copied ? s->depth : stride,
                                  .m = matmul_dot_few(s)};
    const int64_t n0 = piece * matmul_dot_step(s), n1 = n0 + matmul_dot_step(s);
    for (int64_t n = n0; n < n1 && n < p.n; n += DOT_GROUP)
        matmul_dot_group(run, &p, n);
}

static void matmul_dot_plan(struct matmul *s)
{
    if (!matmul_dot_in_place(s))
        s->workspace = (uint64_t)(matmul_dot_few(s) * s->depth) * sizeof(float);
}

static void matmul_dot_run(struct matmul_run *run)
{
    const struct matmul *s = run->plan;
    const int64_t step = matmul_dot_step(s);
    if (!matmul_dot_in_place(s))
        (s->path == MATMUL_DOT_X ? matmul_dot_w : matmul_dot_x)(run, (float *)(void *)run->workspace);
    matmul_pieces(run, (uint32_t)((matmul_dot_long(s) + step - 1) / step), matmul_dot_piece);
}

#endif
