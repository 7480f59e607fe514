/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn on the CPU: what its parts share. Included once an ISA; everything is static. */
#ifndef TENON_MOE_FFN_CPU_H
#define TENON_MOE_FFN_CPU_H

#include <stdatomic.h>
#include <stdio.h>
#include <tenon/ops/moe_ffn.h>

#include "cpu.h"
#include "lib/act.h"
#include "lib/dot.h"

#define FFN_COLUMNS 32                                            /* of a matrix, that are a piece of work */
#define FFN_PANELS  ((FFN_COLUMNS + PRODUCT_NR - 1) / PRODUCT_NR) /* in so many panels */
#define FFN_ROWS    (32 * PRODUCT_MR) /* the most rows of a piece: w is packed again for more */
#define FFN_ARENA   (48u << 20) /* bytes of packed rows and h that are at work at a time, but for what one row needs */

/* One of the three weights: n rows of k an expert. */
struct ffn_matrix {
    uint32_t w, scale, bias; /* tensors */
    int64_t n, k;            /* of all experts, where they have their own widths */
    int64_t row, expert;     /* elements from row to row, from expert to expert */
    int64_t groups;          /* scales a row; 0: no scale */
};

/* Computed once by the plan; lives in cpu_plan.state. */
struct ffn_state {
    int64_t rows, experts, d, f, out;
    struct ffn_matrix g, u, o;
    struct act act;
    uint32_t workers;
    int32_t weighted; /* x is multiplied by rw, hence copied */
    int64_t depth;    /* d, up to whole lanes */
    int64_t arena;    /* floats */
    uint64_t at_starts, at_rows, at_records, at_arena, at_workers, worker_bytes; /* of the workspace */
};

/* Rows of one expert that are at work together. */
struct ffn_record {
    int32_t expert, m;
    int64_t first;                     /* of the list of rows */
    int64_t f0, f;                     /* the expert's hidden units */
    int32_t packed;                    /* else: the weights are read in place */
    int64_t x, h, x_pack, h_pack, end; /* floats of the arena */
    int64_t piece;                     /* the record's first piece in the step at work */
};

struct ffn_run {
    const struct cpu_plan *plan;
    const struct ffn_state *state;
    void *const *ptr;
    char *workspace;
    int32_t *starts, *rows; /* [E+1]: where an expert's rows begin in the list; the list: rows of z */
    int64_t live;           /* rows in the list; the rows of zeros are at its end */
    struct ffn_record *record;
    int64_t records, pieces;
    int step;
    atomic_uint_fast64_t next, nans;
};

enum { FFN_COPY, FFN_PACK_X, FFN_UP, FFN_PACK_H, FFN_DOWN };

static inline float *ffn_arena(const struct ffn_run *run)
{
    return (float *)(void *)(run->workspace + run->state->at_arena);
}

static inline int64_t ffn_lanes(int64_t k)
{
    return (k + PRODUCT_LANES - 1) / PRODUCT_LANES * PRODUCT_LANES;
}

static inline int64_t ffn_blocks(int64_t k)
{
    return (k + PRODUCT_BLOCK - 1) / PRODUCT_BLOCK;
}

static inline int64_t ffn_depth(int64_t k, int64_t k0)
{
    return k - k0 < PRODUCT_BLOCK ? k - k0 : PRODUCT_BLOCK;
}

/* Floats of a panel of one block of K, and of a panel over all of K. */
static inline int64_t ffn_block(int64_t k, int64_t width)
{
    return (product_panel(ffn_depth(k, 0), width) + PRODUCT_PAD - 1) / PRODUCT_PAD * PRODUCT_PAD;
}

static inline int64_t ffn_panel(int64_t k)
{
    return ffn_blocks(k) * ffn_block(k, PRODUCT_MR);
}

/* Row i of a record in x, in elements. Its src is in range. */
static inline int64_t ffn_x_row(const struct ffn_run *run, int64_t row)
{
    const struct tenon_moe_ffn_params *p = (const void *)run->plan->params;
    const int32_t *src = run->ptr[TENON_MOE_FFN_SRC];
    return (src ? src[row] / (int32_t)p->top_k : row) * run->plan->tensor[TENON_MOE_FFN_X].stride[0];
}

/* What a matrix is for one expert. */
struct ffn_weights {
    struct pack_source w;
    uint32_t dtype;
    int64_t n, k;
    const float *bias; /* or NULL */
};

static struct ffn_weights ffn_weights(const struct ffn_run *run, const struct ffn_matrix *m, const struct ffn_record *r)
{
    const int own = run->ptr[TENON_MOE_FFN_FOFF] != NULL, down = m == &run->state->o;
    struct ffn_weights s = {.dtype = run->plan->tensor[m->w].dtype, .n = m->n, .k = m->k};
    int64_t at = r->expert * m->expert, row = r->expert * m->n;
    if (own) {
        *(down ? &s.k : &s.n) = r->f;
        at = down ? r->f0 : r->f0 * m->row;
        row = down ? row : r->f0;
    }
    s.w.data = (const char *)run->ptr[m->w] + at * TENON_DTYPE_SIZE(s.dtype);
    s.w.row_stride = m->row;
    s.w.group = m->groups > 0 && m->k / m->groups > 0 ? m->k / m->groups : 1;
    if (s.dtype == TENON_I8) {
        s.w.scale = (const float *)run->ptr[m->scale] + row * m->groups;
        s.w.scale_stride = m->groups;
    }
    s.bias = run->ptr[m->bias] ? (const float *)run->ptr[m->bias] + row : NULL;
    return s;
}

/* ---- what becomes of sums: tiles of `rows` rows of a record from `first` on, `stride` floats apart, and the columns
 * [n0, n0 + n) of them. Sums are overwritten, and may be so up to a whole vector. ---- */

static void ffn_add_bias(const float *bias, int64_t rows, int64_t n, float *sum, int64_t stride)
{
    for (int64_t i = 0; bias && i < n; i += VF) {
        const vf b = pack_load_n(TENON_F32, bias, i, n - i);
        for (int64_t r = 0; r < rows; r++)
            vf_store(sum + r * stride + i, vf_add(vf_load(sum + r * stride + i), b));
    }
}

SIMD_FN vf ffn_rounded(uint32_t dtype, vf v)
{
    uint16_t half[VF];
    if (dtype == TENON_F16) {
        vf_store_f16(half, v);
        return vf_load_f16(half);
    }
    if (dtype == TENON_BF16) {
        vf_store_bf16(half, v);
        return vf_load_bf16(half);
    }
    return v;
}

/* h from the sums of wg (NULL without a GLU) and wu; it is filled with zeros to whole lanes. */
static void ffn_emit_h(const struct ffn_run *run, const struct ffn_record *r, int64_t first, int64_t rows, int64_t n0,
                       int64_t n, float *g, float *u, int64_t stride)
{
    const struct tenon_moe_ffn_params *p = (const void *)run->plan->params;
    const struct ffn_state *s = run->state;
    const uint32_t storage =
        p->h_dtype == TENON_MOE_FFN_H_STORAGE ? run->plan->tensor[TENON_MOE_FFN_X].dtype : TENON_F32;
    const float *rw = p->weight_at == TENON_MOE_FFN_AT_HIDDEN ? run->ptr[TENON_MOE_FFN_RW] : NULL;
    const int64_t depth = ffn_lanes(r->f), end = n0 + n == r->f ? depth - n0 : n;
    if (p->glu == TENON_MOE_FFN_GLU1)
        act_apply_gate(&s->act, g, rows * stride);
    else
        act_apply(&s->act, g ? g : u, rows * stride);
    for (int64_t i = 0; i < rows; i++) {
        const vf weight = vf_set1(rw ? rw[run->rows[r->first + first + i]] : 1.0f);
        float *to = ffn_arena(run) + r->h + (first + i) * depth + n0;
        for (int64_t c = 0; c < end; c += VF) {
            vf v = c < n ? vf_load(u + i * stride + c) : vf_zero();
            if (g && c < n)
                v = vf_mul(vf_load(g + i * stride + c), v);
            if (rw)
                v = vf_mul(v, weight);
            v = ffn_rounded(storage, v);
            vf_store(to + c, n - c >= VF ? v : vf_keep(vm_first(n > c ? (int)(n - c) : 0), v));
        }
    }
}

static void ffn_emit_z(const struct ffn_run *run, const struct ffn_record *r, int64_t first, int64_t rows, int64_t n0,
                       int64_t n, const float *sum, int64_t stride)
{
    const struct tenon_moe_ffn_params *p = (const void *)run->plan->params;
    const struct tenon_tensor *z = &run->plan->tensor[TENON_MOE_FFN_Z];
    const float *rw = p->weight_at == TENON_MOE_FFN_AT_OUTPUT ? run->ptr[TENON_MOE_FFN_RW] : NULL;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t row = run->rows[r->first + first + i], to = row * z->stride[0] + n0;
        const vf weight = vf_set1(rw ? rw[row] : 1.0f);
        for (int64_t c = 0; c < n; c += VF) {
            vf v = vf_load(sum + i * stride + c);
            if (rw)
                v = vf_mul(v, weight);
            pack_store_n(z->dtype, run->ptr[TENON_MOE_FFN_Z], to + c, v, n - c);
        }
    }
}

/* ---- work ---- */

/* fn(run, i) for i < n, in a parallel region if the plan has one. */
static void ffn_parallel(struct ffn_run *run, uint32_t n, void (*fn)(void *run, uint32_t i))
{
    const struct tenon_host *host = run->plan->env->host;
    if (run->state->workers > 1 && n > 1) {
        host->parallel(host, n, fn, run);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        fn(run, i);
}

#endif
