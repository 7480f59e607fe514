/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * matmul as a packed product, a part of matmul.h. For as many rows of x as the workspace takes at a time: (1) all threads pack them; (2)
 * each worker takes some columns of w after the other, packs them for itself (they stay in its L2) and multiplies them
 * with all rows. So w is read and packed once for these rows, nothing but x's panels is shared, and there are two
 * parallel regions. */
#ifndef TENON_MATMUL_PACKED_H
#define TENON_MATMUL_PACKED_H


#define MATMUL_X_BYTES    (32u << 20) /* the most that packed x may take, but for one row */
#define MATMUL_SLICE_ROWS 192         /* w is packed again for every slice of x: not worth it for fewer rows */

static int64_t matmul_depth(const struct matmul *s, int64_t k0)
{
    return s->k - k0 < PRODUCT_BLOCK ? s->k - k0 : PRODUCT_BLOCK;
}

/* Floats from the panel of one block of K to that of the next, and of a panel over all of K. */
static int64_t matmul_block(const struct matmul *s, int64_t width)
{
    return (product_panel(matmul_depth(s, 0), width) + PRODUCT_PAD - 1) / PRODUCT_PAD * PRODUCT_PAD;
}

static int64_t matmul_blocks(const struct matmul *s)
{
    return (s->k + PRODUCT_BLOCK - 1) / PRODUCT_BLOCK;
}

static float *matmul_x_panel(const struct matmul_run *run, int64_t panel, int64_t block)
{
    const struct matmul *s = run->plan;
    return (float *)(void *)run->workspace + (panel * matmul_blocks(s) + block) * matmul_block(s, s->height);
}

/* One panel of x, all of K. */
static void matmul_pack_x(void *context, uint32_t panel)
{
    const struct matmul_run *run = context;
    const struct matmul *s = run->plan;
    const struct pack_source x = {.data = run->x, .row_stride = s->x_row};
    const int64_t first = run->m0 + product_split(run->m1 - run->m0, panel);
    const int64_t rows = run->m0 + product_split(run->m1 - run->m0, (int64_t)panel + 1) - first;
    int64_t row[PACK_ROWS];
    for (int64_t i = 0; i < rows; i++)
        row[i] = s->trans_x ? 0 : matmul_row(run->x_tensor, s->x_row, first + i);
    pack_repeat(row, rows);
    for (int64_t block = 0; block < matmul_blocks(s); block++) {
        const int64_t k0 = block * PRODUCT_BLOCK, kc = matmul_depth(s, k0);
        float *to = matmul_x_panel(run, panel, block);
        if (s->trans_x)
            MATMUL_BY_TYPE(s->x_type, pack_columns, &x, first, rows, rows, k0, kc, to, 0);
        else
            MATMUL_BY_TYPE(s->x_type, pack_rows, &x, first, row, rows, rows, k0, kc, to);
    }
}

/* Panels [panel, panel + panels) of w for one block of K. */
static void matmul_pack_w(const struct matmul_run *run, int64_t panel, int64_t panels, int64_t k0, float *to)
{
    const struct matmul *s = run->plan;
    const uint32_t dtype = s->w_type;
    const struct pack_source w = matmul_weights(run);
    const int64_t n = panel * PRODUCT_NR, kc = matmul_depth(s, k0), size = matmul_block(s, PRODUCT_NR);
    if (s->trans_w) {
        const int64_t rows = s->n - n < panels * PRODUCT_NR ? s->n - n : panels * PRODUCT_NR;
        MATMUL_BY_TYPE(dtype, pack_columns, &w, n, rows, PRODUCT_NR, k0, kc, to, size);
        return;
    }
    for (int64_t i = 0; i < panels; i++) {
        const int64_t first = n + i * PRODUCT_NR, rows = s->n - first < PRODUCT_NR ? s->n - first : PRODUCT_NR;
        int64_t row[PACK_ROWS];
        for (int64_t r = 0; r < rows; r++)
            row[r] = (first + r) * s->w_row;
        pack_repeat(row, rows);
        MATMUL_BY_TYPE(dtype, pack_rows, &w, first, row, rows, PRODUCT_NR, k0, kc, to + i * size);
    }
}

/* What a worker has at hand: panels of w, panels of x. */
struct matmul_piece {
    int64_t w_panel, w_panels, x_panel, x_end;
    const float *b;
    float *c; /* sums of all tiles of the piece, when K has more than one block */
};

/* The lines of y that a tile will write: on their way while it computes. */
static void matmul_ask(const struct matmul_run *run, int64_t m, int64_t rows, int64_t n, int64_t columns)
{
    const uintptr_t size = TENON_DTYPE_SIZE(run->plan->y_type), line = 64;
    for (int64_t r = 0; r < rows; r++) {
        const uintptr_t at =
            (uintptr_t)run->y + size * (uintptr_t)(matmul_row(run->y_tensor, run->plan->y_row, m + r) + n);
        for (uintptr_t i = 0; i < size * (uintptr_t)columns; i += line)
            __builtin_prefetch((const void *)(at + i), 1);
    }
}

/* The sums of a tile over one block join those of the blocks before, in c; those over all blocks are left in sum. */
static void matmul_join(float *sum, float *c, int first, int last)
{
    for (int64_t i = 0; i < PRODUCT_MR * PRODUCT_NR; i += VF) {
        const vf v = first ? vf_load(sum + i) : vf_add(vf_load(c + i), vf_load(sum + i));
        vf_store((last ? sum : c) + i, v);
    }
}

/* All tiles of a piece for one block of K; the last block emits them. */
static void matmul_tiles(const struct matmul_run *run, const struct matmul_piece *p, int64_t block)
{
    const struct matmul *s = run->plan;
    const int64_t kc = matmul_depth(s, block * PRODUCT_BLOCK), len = product_len(kc), m = run->m1 - run->m0;
    const int last = block == matmul_blocks(s) - 1;
    float sum[PRODUCT_MR * PRODUCT_NR] __attribute__((aligned(64))) = {0};
    float *c = p->c;
    for (int64_t i = p->x_panel; i < p->x_end; i++) {
        const int64_t first = product_split(m, i), rows = product_split(m, i + 1) - first;
        for (int64_t j = 0; j < p->w_panels; j++, c += PRODUCT_MR * PRODUCT_NR) {
            const int64_t n = (p->w_panel + j) * PRODUCT_NR, columns = s->n - n < PRODUCT_NR ? s->n - n : PRODUCT_NR;
            const struct product_tile tile = {.a = matmul_x_panel(run, i, block),
                                              .a_stride = product_stride(len, rows),
                                              .b = p->b + j * matmul_block(s, PRODUCT_NR),
                                              .b_stride = product_stride(len, PRODUCT_NR),
                                              .lanes = PRODUCT_LANES,
                                              .len = len,
                                              .c = sum,
                                              .c_stride = PRODUCT_NR};
            if (last)
                matmul_ask(run, run->m0 + first, rows, n, columns);
            product_tile(&tile, (int)rows, (int)((columns + VF - 1) / VF));
            if (block > 0 || !last)
                matmul_join(sum, c, block == 0, last);
            for (int64_t r = 0; r < rows && last; r++)
                matmul_emit(run, run->m0 + first + r, n, columns, sum + r * PRODUCT_NR);
        }
    }
}

static void matmul_worker(void *context, uint32_t worker)
{
    struct matmul_run *run = context;
    const struct matmul *s = run->plan;
    const int64_t panels = (s->n + PRODUCT_NR - 1) / PRODUCT_NR, x_panels = product_panels(run->m1 - run->m0);
    const int64_t slices = s->slices < x_panels ? s->slices : x_panels;
    const int64_t pieces = (panels + s->columns - 1) / s->columns * slices;
    float *b = (float *)(void *)(run->workspace + s->x_bytes + worker * s->worker_bytes);
    for (;;) {
        const int64_t i = (int64_t)atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (i >= pieces)
            return;
        struct matmul_piece p = {.w_panel = i / slices * s->columns,
                                 .b = b,
                                 .c = b + s->columns * matmul_block(s, PRODUCT_NR),
                                 .x_panel = x_panels * (i % slices) / slices,
                                 .x_end = x_panels * (i % slices + 1) / slices};
        p.w_panels = panels - p.w_panel < s->columns ? panels - p.w_panel : s->columns;
        for (int64_t block = 0; block < matmul_blocks(s); block++) {
            matmul_pack_w(run, p.w_panel, p.w_panels, block * PRODUCT_BLOCK, b);
            matmul_tiles(run, &p, block);
        }
    }
}

static void matmul_packed_plan(const struct cpu_env *env, struct matmul *s)
{
    const int64_t panel = matmul_block(s, PRODUCT_NR) * (int64_t)sizeof(float);
    const int64_t panels = (s->n + PRODUCT_NR - 1) / PRODUCT_NR, blocks = matmul_blocks(s);
    const int64_t row = (s->depth + 2 * PRODUCT_LANES * PRODUCT_PAD) * (int64_t)sizeof(float);
    /* rows a time, in equal parts */
    const int64_t most = MATMUL_X_BYTES / row < 1 ? 1 : MATMUL_X_BYTES / row;
    s->rows = s->m <= most ? s->m : most < PRODUCT_MR ? most : most / PRODUCT_MR * PRODUCT_MR;
    const int64_t x_panels = product_panels(s->rows);
    s->height = (s->rows + x_panels - 1) / x_panels;
    s->x_bytes = (uint64_t)(x_panels * blocks * matmul_block(s, s->height)) * sizeof(float);
    /* columns a time: half of L2, and enough pieces for all workers to end together */
    const int64_t l2 = env->l2 ? (int64_t)env->l2 : 1 << 20, pieces = 4 * (int64_t)s->workers;
    s->columns = l2 / 2 / panel < panels / pieces ? l2 / 2 / panel : panels / pieces;
    s->columns = s->columns < 1 ? 1 : s->columns;
    const int64_t found = (panels + s->columns - 1) / s->columns;
    s->slices = 1;
    while (found * s->slices < pieces && s->rows / (s->slices + 1) >= MATMUL_SLICE_ROWS)
        s->slices++;
    const int64_t slice_panels = (x_panels + s->slices - 1) / s->slices;
    const int64_t sums = blocks > 1 ? slice_panels * s->columns * PRODUCT_MR * PRODUCT_NR * (int64_t)sizeof(float) : 0;
    s->worker_bytes = (uint64_t)(s->columns * panel + sums + 63) / 64 * 64;
    s->workspace = s->x_bytes + s->workers * s->worker_bytes;
}

static void matmul_packed_run(struct matmul_run *run)
{
    const struct matmul *s = run->plan;
    for (run->m0 = 0; run->m0 < s->m; run->m0 = run->m1) {
        run->m1 = run->m0 + s->rows < s->m ? run->m0 + s->rows : s->m;
        const uint32_t panels = (uint32_t)product_panels(run->m1 - run->m0);
        atomic_init(&run->next, 0);
        matmul_pieces(run, panels, matmul_pack_x);
        matmul_pieces(run, s->workers, matmul_worker);
    }
}

#endif
