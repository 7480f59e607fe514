/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: the values of a tile for few rows of queries. v is read once, in place, in its own type. Each
 * sum is the chain of attention_cpu_product.h: the bits of a row are the same here and there. */
#ifndef TENON_ATTENTION_CPU_FEW_H
#define TENON_ATTENTION_CPU_FEW_H

#include "ops/attention_cpu_pack.h"

_Static_assert(ATT_FEW == 4, "rows are four, or two and one");

/* Rows of v, with what multiplies them. */
struct att_few {
    const uintptr_t *row; /* n */
    const float *x;
    int64_t n, x_row;
    const float *scale, *zero; /* codes: of the n rows, or */
    const float *s, *z;        /* of channels */
    float *o;
    int64_t o_row;
    uintptr_t past;
};

/* What is read for codes is marked as TENON_U8. */
SIMD_FN vf att_few_line(const struct att_few *f, const uint32_t dtype, const int channels, int64_t u, int64_t c, int n)
{
    const uintptr_t row = f->row[u] + f->past;
    if (dtype != TENON_U8)
        return load_x((const void *)row, c, n, dtype);
    const vf code = att_code_bytes((const uint8_t *)row + c, n);
    if (channels)
        return att_affine(0, code, vf_load(f->s + c), vf_load(f->z + c));
    return att_affine(0, code, vf_set1(f->scale[u]), vf_set1(f->zero[u]));
}

/* o of m rows, columns c .. c + nv * VF, of which n exist. */
SIMD_FN void att_few_block(const struct att_few *f, const uint32_t dtype, const int channels, const int m, const int nv,
                           int64_t c, int n)
{
    vf acc[ATT_FEW][PANEL_NV];
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = vf_load(f->o + i * f->o_row + c + v * VF);
    }
    for (int64_t u = 0; u < f->n; u++) {
        vf line[PANEL_NV];
        UNROLL
        for (int v = 0; v < nv; v++)
            line[v] = att_few_line(f, dtype, channels, u, c + v * VF, nv == 1 ? n : VF);
        UNROLL
        for (int i = 0; i < m; i++) {
            const vf x = vf_set1(f->x[i * f->x_row + u]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] = vf_madd(x, line[v], acc[i][v]);
        }
    }
    UNROLL
    for (int i = 0; i < m; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            vf_store(f->o + i * f->o_row + c + v * VF, acc[i][v]);
    }
}

SIMD_FN void att_few_columns(const struct att_few *f, const uint32_t dtype, const int channels, const int m, int64_t n)
{
    int64_t c = 0;
    for (; c + PANEL_NV * VF <= n; c += PANEL_NV * VF)
        att_few_block(f, dtype, channels, m, PANEL_NV, c, VF);
    for (; c < n; c += VF)
        att_few_block(f, dtype, channels, m, 1, c, (int)att_least(VF, n - c));
}

SIMD_FN void att_few_values_as(const struct att_few *f, uint32_t dtype, const int m, int64_t n)
{
    switch (dtype) {
    case TENON_F32:
        att_few_columns(f, TENON_F32, 0, m, n);
        break;
    case TENON_F16:
        att_few_columns(f, TENON_F16, 0, m, n);
        break;
    case TENON_BF16:
        att_few_columns(f, TENON_BF16, 0, m, n);
        break;
    default:
        if (f->s)
            att_few_columns(f, TENON_U8, 1, m, n);
        else
            att_few_columns(f, TENON_U8, 0, m, n);
        break;
    }
}

static __attribute__((noinline)) void att_few_multiply(const struct att_few *f, uint32_t dtype, int64_t rows,
                                                       int64_t n)
{
    struct att_few part = *f;
    if (rows == ATT_FEW) {
        att_few_values_as(f, dtype, ATT_FEW, n);
        return;
    }
    if (rows & 2)
        att_few_values_as(f, dtype, 2, n);
    part.x += (rows & 2) * f->x_row;
    part.o += (rows & 2) * f->o_row;
    if (rows & 1)
        att_few_values_as(&part, dtype, 1, n);
}

/* o of `rows` rows takes in the values that they see (all: each sees every key of the tile); what a row does not see it
 * does not read. */
static void att_few_values(struct att_work *w, int64_t rows, const uint64_t *seen, int all)
{
    const struct att_state *s = w->run->state;
    const struct att_tile *t = w->tile;
    struct att_few f = {.row = t->at[ATT_V_ROWS] + t->first,
                        .scale = w->v_scale + t->first,
                        .zero = w->v_zero + t->first,
                        .x = w->score + t->first,
                        .n = t->end - t->first,
                        .x_row = ATT_TILE,
                        .o = w->o,
                        .o_row = s->vp,
                        .past = (uintptr_t)w->past[ATT_V_ROWS]};
    if (s->v_type == TENON_U8) {
        const struct att_codes *codes = att_codes(w, 1);
        f.s = codes->s;
        f.z = codes->z;
    }
    if (all) {
        att_few_multiply(&f, s->v_type, rows, s->v);
        return;
    }
    for (int64_t i = 0; i < rows; i++) {
        uintptr_t row[ATT_TILE];
        float x[ATT_TILE], scale[ATT_TILE], zero[ATT_TILE];
        struct att_few part = f;
        part.n = 0;
        for (uint64_t left = seen[i]; left; left &= left - 1, part.n++) {
            const int u = __builtin_ctzll(left);
            row[part.n] = t->at[ATT_V_ROWS][u];
            scale[part.n] = w->v_scale[u];
            zero[part.n] = w->v_zero[u];
            x[part.n] = w->score[i * ATT_TILE + u];
        }
        part.row = row;
        part.scale = scale;
        part.zero = zero;
        part.x = x;
        part.o = w->o + i * s->vp;
        att_few_multiply(&part, s->v_type, 1, s->v);
    }
}

#endif
