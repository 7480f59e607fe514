/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * matmul with few rows of x: w [N, K] is read in place, once. A part of matmul.h. */
#ifndef TENON_MATMUL_DOT_H
#define TENON_MATMUL_DOT_H

#define MATMUL_DOT_GROUPS 4 /* the most groups of rows of w that are one piece of work */

/* Rows of w that are one piece: few enough that all workers end together. */
static int64_t matmul_dot_step(const struct matmul *s)
{
    const int64_t groups = s->n / DOT_GROUP / (4 * (int64_t)s->workers);
    return DOT_GROUP * (groups < 1 ? 1 : groups > MATMUL_DOT_GROUPS ? MATMUL_DOT_GROUPS : groups);
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

/* Whether x can be used where it is: f32, one stride, no fill needed. */
static int matmul_dot_in_place(const struct matmul *s)
{
    return s->x_type == TENON_F32 && !s->trans_x && s->depth == s->k && (s->m == 1 || s->x_row != MATMUL_FOLDED);
}

/* One group of rows of w, from n on. */
static void matmul_dot_group(const struct matmul_run *run, const struct dot_product *p, int64_t n)
{
    float sum[DOT_MOST][DOT_GROUP] __attribute__((aligned(64)));
    dot_group(p, n, sum);
    for (int64_t m = 0; m < p->m; m++)
        matmul_emit(run, m, n, p->n - n < DOT_GROUP ? p->n - n : DOT_GROUP, sum[m]);
}

static void matmul_dot_piece(void *context, uint32_t piece)
{
    const struct matmul_run *run = context;
    const struct matmul *s = run->plan;
    const struct pack_source w = matmul_weights(run);
    const int copied = !matmul_dot_in_place(s);
    const struct dot_product p = {.w = &w,
                                  .dtype = s->w_type,
                                  .n = s->n,
                                  .k = s->k,
                                  .x = copied ? (const float *)(const void *)run->workspace : run->x,
                                  .x_stride = copied ? s->depth : s->m > 1 ? s->x_row : 0,
                                  .m = s->m};
    const int64_t n0 = piece * matmul_dot_step(s), n1 = n0 + matmul_dot_step(s);
    for (int64_t n = n0; n < n1 && n < s->n; n += DOT_GROUP)
        matmul_dot_group(run, &p, n);
}

static void matmul_dot_plan(struct matmul *s)
{
    if (!matmul_dot_in_place(s))
        s->workspace = (uint64_t)(s->m * s->depth) * sizeof(float);
}

static void matmul_dot_run(struct matmul_run *run)
{
    const struct matmul *s = run->plan;
    const int64_t step = matmul_dot_step(s);
    if (!matmul_dot_in_place(s))
        matmul_dot_x(run, (float *)(void *)run->workspace);
    matmul_pieces(run, (uint32_t)((s->n + step - 1) / step), matmul_dot_piece);
}

#endif
