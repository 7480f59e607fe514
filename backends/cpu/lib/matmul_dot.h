/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * matmul with few rows of x: w [N, K] is read in place, once. A part of matmul.h. */
#ifndef TENON_MATMUL_DOT_H
#define TENON_MATMUL_DOT_H


#define MATMUL_DOT_ROWS                                                                                                \
    (VF >= 16 || DOT_M == 1 ? 3 * DOT_M : 2 * DOT_M) /* more rows of x are faster packed (measured) */
#define MATMUL_DOT_GROUPS 4                          /* the most groups of rows of w that are one piece of work */

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

/* DOT_ROWS rows of w from n on (beyond the last it is repeated) and `blocks` blocks of K from k0 on. The sums of x row
 * m and block q go to lanes[q * M + m], as rows `at` and following of the group. n_next, k_next: what is read after
 * this, for the prefetch. */
static void matmul_dot_rows(const struct matmul_run *run, const struct pack_source *w, const float *x, int64_t x_stride,
                            int64_t n, int64_t k0, int64_t blocks, int64_t n_next, int64_t k_next,
                            float (*lanes)[DOT_GROUP * PRODUCT_LANES], int64_t at)
{
    const struct matmul *s = run->plan;
    const uint32_t dtype = s->w_type;
    const int64_t tiles = (s->m + DOT_M - 1) / DOT_M;
    struct dot_block b = {.x_stride = x_stride, .lanes_stride = DOT_GROUP * PRODUCT_LANES};
    int64_t next[DOT_ROWS];
    for (int r = 0; r < DOT_ROWS; r++) {
        const int64_t row = n + r < s->n ? n + r : s->n - 1;
        next[r] = (n_next + r < s->n ? n_next + r : s->n - 1) * s->w_row + k_next;
        b.row[r] = row * s->w_row + k0;
        b.scale[r] = w->scale ? w->scale + row * s->scale_stride : NULL;
    }
    for (int64_t q = 0; q < blocks; q++) {
        b.k0 = k0 + q * PRODUCT_BLOCK;
        b.kc = s->k - b.k0 < PRODUCT_BLOCK ? s->k - b.k0 : PRODUCT_BLOCK;
        for (int r = 0; r < DOT_ROWS; r++)
            b.next[r] = q + 1 < blocks ? b.row[r] + PRODUCT_BLOCK : next[r];
        for (int64_t i = 0; i < tiles; i++) {
            const int64_t m0 = s->m * i / tiles, m1 = s->m * (i + 1) / tiles;
            b.x = x + m0 * x_stride + b.k0;
            b.lanes = lanes[q * s->m + m0] + at * PRODUCT_LANES;
            dot_tile(dtype, (int)(m1 - m0), w, &b);
        }
        for (int r = 0; r < DOT_ROWS; r++)
            b.row[r] += PRODUCT_BLOCK;
    }
}

/* One group of rows of w, from n on, over all of K: as many blocks at a time as there is room for their lanes. */
static void matmul_dot_group(const struct matmul_run *run, const struct pack_source *w, const float *x,
                             int64_t x_stride, int64_t n)
{
    const struct matmul *s = run->plan;
    const int64_t rows = s->n - n < DOT_GROUP ? s->n - n : DOT_GROUP, room = MATMUL_DOT_ROWS / s->m;
    const int64_t all = (s->k + PRODUCT_BLOCK - 1) / PRODUCT_BLOCK;
    float lanes[MATMUL_DOT_ROWS][DOT_GROUP * PRODUCT_LANES] __attribute__((aligned(64)));
    float sum[MATMUL_DOT_ROWS][DOT_GROUP] __attribute__((aligned(64)));
    if (rows < DOT_GROUP)
        memset(lanes, 0, sizeof lanes);
    for (int64_t block = 0; block < all; block += room) {
        const int64_t blocks = all - block < room ? all - block : room, k0 = block * PRODUCT_BLOCK;
        for (int64_t r = 0; r < rows; r += DOT_ROWS) {
            const int last = r + DOT_ROWS >= rows, end = last && block + blocks >= all;
            int64_t n_next = n + r + DOT_ROWS, k_next = k0;
            if (last) {
                n_next = end ? n + DOT_GROUP : n;
                k_next = end ? 0 : k0 + blocks * PRODUCT_BLOCK;
            }
            matmul_dot_rows(run, w, x, x_stride, n + r, k0, blocks, n_next, k_next, lanes, r);
        }
        for (int64_t q = 0; q < blocks; q++)
            for (int64_t m = 0; m < s->m; m++)
                dot_fold(lanes[q * s->m + m], sum[m], block + q > 0);
    }
    for (int64_t m = 0; m < s->m; m++)
        matmul_emit(run, m, n, rows, sum[m]);
}

static void matmul_dot_piece(void *context, uint32_t piece)
{
    const struct matmul_run *run = context;
    const struct matmul *s = run->plan;
    const struct pack_source w = matmul_weights(run);
    const int copied = !matmul_dot_in_place(s);
    const float *x = copied ? (const float *)(const void *)run->workspace : run->x;
    const int64_t x_stride = copied ? s->depth : s->m > 1 ? s->x_row : 0;
    const int64_t n0 = piece * matmul_dot_step(s), n1 = n0 + matmul_dot_step(s);
    for (int64_t n = n0; n < n1 && n < s->n; n += DOT_GROUP)
        matmul_dot_group(run, &w, x, x_stride, n);
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
