/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The pieces of work of moe_ffn. Few rows of an expert: its weights are read in place (lib/dot.h). More: panels of rows
 * are packed, and each piece packs its columns of the weights for itself, which stay in its L2 (lib/product.h). Both
 * sum in the same order. */
#ifndef TENON_MOE_FFN_CPU_WORK_H
#define TENON_MOE_FFN_CPU_WORK_H

#include "ops/moe_ffn_cpu_list.h"

/* pack_rows, once for each type. */
#define FFN_PACK_(type)                                                                                                \
    static void ffn_pack_##type(const struct pack_source *s, int64_t first, const int64_t *row, int64_t rows,          \
                                int64_t width, int64_t k0, int64_t kc, float *to)                                      \
    {                                                                                                                  \
        pack_rows(TENON_##type, s, first, row, rows, width, k0, kc, to);                                               \
    }
FFN_PACK_(F32)
FFN_PACK_(F16)
FFN_PACK_(BF16)
FFN_PACK_(I8)
#undef FFN_PACK_

static void ffn_pack(uint32_t dtype, const struct pack_source *s, int64_t first, const int64_t *row, int64_t rows,
                     int64_t width, int64_t k0, int64_t kc, float *to)
{
    if (dtype == TENON_F16)
        ffn_pack_F16(s, first, row, rows, width, k0, kc, to);
    else if (dtype == TENON_BF16)
        ffn_pack_BF16(s, first, row, rows, width, k0, kc, to);
    else if (dtype == TENON_I8)
        ffn_pack_I8(s, first, row, rows, width, k0, kc, to);
    else
        ffn_pack_F32(s, first, row, rows, width, k0, kc, to);
}

/* ---- rows ---- */

#define FFN_PREPARED 32 /* rows that are prepared in one piece */

static int ffn_has_nan(uint32_t dtype, const void *x, int64_t at, int64_t n)
{
    for (int64_t k = 0; k < n; k += VF)
        if (vm_any(vf_isnan(pack_load_n(dtype, x, at + k, n - k))))
            return 1;
    return 0;
}

/* Rows of the list: those of zeros are written, the others are looked through for NaN if that is asked for. */
static void ffn_prepare(void *context, uint32_t piece)
{
    struct ffn_run *run = context;
    const struct ffn_state *s = run->state;
    const struct tenon_tensor *z = &run->plan->tensor[TENON_MOE_FFN_Z], *x = &run->plan->tensor[TENON_MOE_FFN_X];
    const int64_t first = (int64_t)piece * FFN_PREPARED, size = TENON_DTYPE_SIZE(z->dtype);
    uint32_t nans = 0;
    for (int64_t i = first; i < first + FFN_PREPARED && i < s->rows; i++) {
        const int64_t row = run->rows[i];
        if (i >= run->live)
            memset((char *)run->ptr[TENON_MOE_FFN_Z] + row * z->stride[0] * size, 0, (size_t)(s->out * size));
        else if (run->ptr[TENON_MOE_FFN_FLAGS])
            nans += (uint32_t)ffn_has_nan(x->dtype, run->ptr[TENON_MOE_FFN_X], ffn_x_row(run, row), s->d);
    }
    if (nans)
        atomic_fetch_add_explicit(&run->nans, nans, memory_order_relaxed);
}

/* The rows of a record as f32, weighted, filled with zeros to whole lanes. */
static void ffn_copy_x(const struct ffn_run *run, const struct ffn_record *r)
{
    const struct tenon_moe_ffn_params *p = (const void *)run->plan->params;
    const struct ffn_state *s = run->state;
    const uint32_t dtype = run->plan->tensor[TENON_MOE_FFN_X].dtype;
    const float *rw = p->weight_at == TENON_MOE_FFN_AT_INPUT ? run->ptr[TENON_MOE_FFN_RW] : NULL;
    float *to = ffn_arena(run) + r->x;
    for (int64_t i = 0; i < r->m; i++, to += s->depth) {
        const int64_t row = run->rows[r->first + i], from = ffn_x_row(run, row);
        for (int64_t k = 0; k < s->depth; k += VF) {
            vf v = pack_load_n(dtype, run->ptr[TENON_MOE_FFN_X], from + k, s->d - k);
            if (rw)
                v = vf_mul(v, vf_set1(rw[row]));
            vf_store(to + k, s->d - k >= VF ? v : vf_keep(vm_first(s->d > k ? (int)(s->d - k) : 0), v));
        }
    }
}

/* One panel of the rows of a record, all of K: of x, or of h. */
static void ffn_pack_panel(const struct ffn_run *run, const struct ffn_record *r, int64_t panel)
{
    const struct ffn_state *s = run->state;
    const int64_t first = product_split(r->m, panel), rows = product_split(r->m, panel + 1) - first;
    const int is_x = run->step == FFN_PACK_X, copied = is_x && s->weighted;
    const int64_t k = is_x ? s->d : r->f;
    const uint32_t dtype = is_x && !copied ? run->plan->tensor[TENON_MOE_FFN_X].dtype : TENON_F32;
    struct pack_source from = {.data = run->ptr[TENON_MOE_FFN_X]};
    float *to = ffn_arena(run) + (is_x ? r->x_pack : r->h_pack) + panel * ffn_panel(k);
    int64_t row[PACK_ROWS];
    if (copied)
        from.data = ffn_arena(run) + r->x;
    else if (!is_x)
        from.data = ffn_arena(run) + r->h;
    for (int64_t i = 0; i < rows; i++)
        row[i] = is_x && !copied ? ffn_x_row(run, run->rows[r->first + first + i])
                                 : (first + i) * (is_x ? s->depth : ffn_lanes(r->f));
    pack_repeat(row, rows);
    for (int64_t block = 0; block < ffn_blocks(k); block++)
        ffn_pack(dtype, &from, first, row, rows, rows, block * PRODUCT_BLOCK, ffn_depth(k, block * PRODUCT_BLOCK),
                 to + block * ffn_block(k, PRODUCT_MR));
}

static void ffn_pack_worker(void *context, uint32_t worker)
{
    struct ffn_run *run = context;
    const struct ffn_record *r = run->record;
    (void)worker;
    for (int64_t i; (i = ffn_take(run, &r)) >= 0;)
        if (run->step == FFN_COPY)
            ffn_copy_x(run, r);
        else
            ffn_pack_panel(run, r, i);
}

/* ---- products in place ---- */

static void ffn_dot(const struct ffn_weights *w, const float *x, int64_t x_stride, int64_t m, int64_t n,
                    float (*sum)[DOT_GROUP])
{
    const struct dot_product p = {
        .w = &w->w, .dtype = w->dtype, .n = w->n, .k = w->k, .x = x, .x_stride = x_stride, .m = m};
    dot_group(&p, n, sum);
    ffn_add_bias(w->bias ? w->bias + n : NULL, m, w->n - n < DOT_GROUP ? w->n - n : DOT_GROUP, sum[0], DOT_GROUP);
}

static void ffn_dot_up(const struct ffn_run *run, const struct ffn_record *r, int64_t column)
{
    const struct ffn_state *s = run->state;
    const int gated = run->ptr[TENON_MOE_FFN_WG] != NULL;
    const struct ffn_weights u = ffn_weights(run, &s->u, r);
    struct ffn_weights g = u;
    float sums[2][DOT_MOST][DOT_GROUP] __attribute__((aligned(64)));
    if (gated)
        g = ffn_weights(run, &s->g, r);
    for (int64_t n = column; n < column + FFN_COLUMNS && n < r->f; n += DOT_GROUP) {
        if (gated)
            ffn_dot(&g, ffn_arena(run) + r->x, s->depth, r->m, n, sums[0]);
        ffn_dot(&u, ffn_arena(run) + r->x, s->depth, r->m, n, sums[1]);
        ffn_emit_h(run, r, 0, r->m, n, r->f - n < DOT_GROUP ? r->f - n : DOT_GROUP, gated ? sums[0][0] : NULL,
                   sums[1][0], DOT_GROUP);
    }
}

static void ffn_dot_down(const struct ffn_run *run, const struct ffn_record *r, int64_t column)
{
    const struct ffn_state *s = run->state;
    const struct ffn_weights w = ffn_weights(run, &s->o, r);
    float sums[DOT_MOST][DOT_GROUP] __attribute__((aligned(64)));
    for (int64_t n = column; n < column + FFN_COLUMNS && n < s->out; n += DOT_GROUP) {
        ffn_dot(&w, ffn_arena(run) + r->h, ffn_lanes(r->f), r->m, n, sums);
        ffn_emit_z(run, r, 0, r->m, n, s->out - n < DOT_GROUP ? s->out - n : DOT_GROUP, sums[0], DOT_GROUP);
    }
}

/* ---- packed products ---- */

/* One piece: rows [first, end) of the panels of a record, columns from n0 on of one or two matrices. Its stages are the
 * blocks of K, and in each the matrices: a stage packs its part of the weights and goes over all tiles. */
struct ffn_tiles {
    struct ffn_weights w[2]; /* up: wg, if there is one, and wu */
    int64_t matrices;
    const float *a; /* the panels of the record's rows */
    int64_t panel, end, n0, columns;
    float *b, *c; /* packed weights; the sums of all tiles and matrices that wait for other stages */
};

/* What a stage packs, while the one before it computes: from byte `at` on, about so many. */
struct ffn_soon {
    const char *at;
    int64_t bytes;
};

static struct ffn_soon ffn_stage_soon(const struct ffn_tiles *t, int64_t stage)
{
    const struct ffn_weights *w = &t->w[stage % t->matrices];
    const int64_t size = TENON_DTYPE_SIZE(w->dtype), k0 = stage / t->matrices * PRODUCT_BLOCK;
    return (struct ffn_soon){(const char *)w->w.data + (t->n0 * w->w.row_stride + k0) * size,
                             t->columns * w->w.row_stride * size};
}

static void ffn_pack_weights(const struct ffn_tiles *t, const struct ffn_weights *w, int64_t k0)
{
    float *to = t->b;
    for (int64_t n = t->n0; n < t->n0 + t->columns; n += PRODUCT_NR, to += ffn_block(w->k, PRODUCT_NR)) {
        const int64_t left = t->n0 + t->columns - n, rows = left < PRODUCT_NR ? left : PRODUCT_NR;
        int64_t row[PACK_ROWS];
        for (int64_t j = 0; j < rows; j++)
            row[j] = (n + j) * w->w.row_stride;
        pack_repeat(row, rows);
        ffn_pack(w->dtype, &w->w, n, row, rows, PRODUCT_NR, k0, ffn_depth(w->k, k0), to);
    }
}

/* The sums of a tile over one block join those of the blocks before, in c; those that are whole are left in sum. */
static void ffn_join(float *sum, float *c, int first, int whole)
{
    for (int64_t i = 0; i < PRODUCT_MR * PRODUCT_NR; i += VF) {
        const vf v = first ? vf_load(sum + i) : vf_add(vf_load(c + i), vf_load(sum + i));
        vf_store((whole ? sum : c) + i, v);
    }
}

static void ffn_emit_tile(const struct ffn_run *run, const struct ffn_record *r, const struct ffn_tiles *t, int64_t i,
                          int64_t j, float *g, float *sum)
{
    const int64_t first = product_split(r->m, i), rows = product_split(r->m, i + 1) - first;
    const int64_t n = t->n0 + j * PRODUCT_NR, left = t->columns - j * PRODUCT_NR;
    const int64_t columns = left < PRODUCT_NR ? left : PRODUCT_NR;
    const struct ffn_weights *last = &t->w[t->matrices - 1];
    if (g)
        ffn_add_bias(t->w[0].bias ? t->w[0].bias + n : NULL, rows, columns, g, PRODUCT_NR);
    ffn_add_bias(last->bias ? last->bias + n : NULL, rows, columns, sum, PRODUCT_NR);
    if (run->step == FFN_DOWN)
        ffn_emit_z(run, r, first, rows, n, columns, sum, PRODUCT_NR);
    else
        ffn_emit_h(run, r, first, rows, n, columns, g, sum, PRODUCT_NR);
}

/* All tiles of one stage; the last stage emits them. */
static void ffn_stage(const struct ffn_run *run, const struct ffn_record *r, const struct ffn_tiles *t, int64_t stage,
                      struct ffn_soon soon)
{
    const int64_t matrix = stage % t->matrices, block = stage / t->matrices, k = t->w[0].k;
    const int64_t kc = ffn_depth(k, block * PRODUCT_BLOCK), len = product_len(kc), blocks = ffn_blocks(k);
    const int64_t panels = (t->columns + PRODUCT_NR - 1) / PRODUCT_NR, steps = len * PRODUCT_LANES;
    const int last = block + 1 >= blocks && matrix + 1 == t->matrices;
    const int64_t stride = soon.bytes / ((t->end - t->panel) * panels * (steps ? steps : 1)) + 1;
    float sum[PRODUCT_MR * PRODUCT_NR] __attribute__((aligned(64))) = {0};
    float *c = t->c;
    for (int64_t i = t->panel; i < t->end; i++)
        for (int64_t j = 0; j < panels; j++, c += 2 * PRODUCT_MR * PRODUCT_NR) {
            const int64_t rows = product_split(r->m, i + 1) - product_split(r->m, i);
            const int64_t left = t->columns - j * PRODUCT_NR, columns = left < PRODUCT_NR ? left : PRODUCT_NR;
            const struct product_tile tile = {.a = t->a + i * ffn_panel(k) + block * ffn_block(k, PRODUCT_MR),
                                              .a_stride = product_stride(len, rows),
                                              .b = t->b + j * ffn_block(k, PRODUCT_NR),
                                              .b_stride = product_stride(len, PRODUCT_NR),
                                              .lanes = PRODUCT_LANES,
                                              .len = len,
                                              .c = sum,
                                              .c_stride = PRODUCT_NR,
                                              .soon = soon.at,
                                              .soon_step = stride};
            if (blocks)
                product_tile(&tile, (int)rows, (int)((columns + VF - 1) / VF));
            else
                memset(sum, 0, sizeof sum);
            soon.at = soon.at ? (const char *)((uintptr_t)soon.at + (uintptr_t)(stride * steps)) : NULL;
            if (block > 0 || !last)
                ffn_join(sum, c + matrix * PRODUCT_MR * PRODUCT_NR, block == 0, last);
            if (last)
                ffn_emit_tile(run, r, t, i, j, t->matrices == 2 ? c : NULL, sum);
        }
}

static struct ffn_tiles ffn_tiles(const struct ffn_run *run, const struct ffn_record *r, int64_t piece, float *area)
{
    const struct ffn_state *s = run->state;
    const int up = run->step == FFN_UP, gated = up && run->ptr[TENON_MOE_FFN_WG] != NULL;
    const int64_t slices = (r->m + FFN_ROWS - 1) / FFN_ROWS, slice = piece % slices;
    const int64_t panels = product_panels(r->m), n = up ? r->f : s->out, column = piece / slices * FFN_COLUMNS;
    struct ffn_tiles t = {.matrices = gated ? 2 : 1,
                          .a = ffn_arena(run) + (up ? r->x_pack : r->h_pack),
                          .panel = panels * slice / slices,
                          .end = panels * (slice + 1) / slices,
                          .n0 = column,
                          .columns = n - column < FFN_COLUMNS ? n - column : FFN_COLUMNS,
                          .b = area};
    t.w[0] = ffn_weights(run, gated ? &s->g : up ? &s->u : &s->o, r);
    if (gated)
        t.w[1] = ffn_weights(run, &s->u, r);
    t.c = area + FFN_PANELS * ffn_block(t.w[0].k, PRODUCT_NR);
    return t;
}

static void ffn_packed_piece(const struct ffn_run *run, const struct ffn_record *r, const struct ffn_tiles *t,
                             struct ffn_soon after)
{
    const int64_t blocks = ffn_blocks(t->w[0].k), stages = (blocks ? blocks : 1) * t->matrices;
    for (int64_t stage = 0; stage < stages; stage++) {
        if (blocks)
            ffn_pack_weights(t, &t->w[stage % t->matrices], stage / t->matrices * PRODUCT_BLOCK);
        ffn_stage(run, r, t, stage, stage + 1 < stages ? ffn_stage_soon(t, stage + 1) : after);
    }
}

/* A worker knows its next piece before it does the one at hand, so that weights are on their way while it computes. */
static void ffn_product_worker(void *context, uint32_t worker)
{
    struct ffn_run *run = context;
    const struct ffn_state *s = run->state;
    const struct ffn_record *r = run->record, *next = r;
    float *area = (float *)(void *)(run->workspace + s->at_workers + worker * s->worker_bytes);
    int64_t piece = ffn_take(run, &next), following;
    for (; piece >= 0; piece = following) {
        r = next;
        if (r->packed) {
            const struct ffn_tiles t = ffn_tiles(run, r, piece, area);
            struct ffn_soon soon = {NULL, 0};
            following = ffn_take(run, &next);
            if (following >= 0 && next->packed) {
                const struct ffn_tiles after = ffn_tiles(run, next, following, area);
                soon = ffn_stage_soon(&after, 0);
            }
            ffn_packed_piece(run, r, &t, soon);
            continue;
        }
        if (run->step == FFN_UP)
            ffn_dot_up(run, r, piece * FFN_COLUMNS);
        else
            ffn_dot_down(run, r, piece * FFN_COLUMNS);
        following = ffn_take(run, &next);
    }
}

#endif
