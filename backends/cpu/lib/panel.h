/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Products of what is in the cache as it is: c[row][column] += sum over k, ascending, of a[row][k] b[k][column], a
 * chain an element. So the bits of a row are the same alone and among others. For short sums; long ones are
 * product.h's. */
#ifndef TENON_PANEL_H
#define TENON_PANEL_H

#include "lib/unroll.h"
#include "simd/simd.h"

#define PANEL_MR 6 /* rows that a vector of b is read for: what a product has in registers */
/* So many vectors side by side fill the registers. */
#if SIMD_REGS >= 32
#define PANEL_NV 4
#else
#define PANEL_NV 2
#endif

struct panel_product {
    const float *a, *b;
    int64_t a_row, a_k, b_row, k; /* element (row, k) of a at row * a_row + k * a_k */
    float *c;
    int64_t c_row;
    int zero;            /* c is taken as 0 */
    const float *factor; /* or NULL: row i of c is first multiplied by factor[i * factor_step] */
    int64_t factor_step;
};

SIMD_FN void panel_block(const struct panel_product *p, const int mr, const int nv, int64_t column)
{
    vf acc[PANEL_MR][PANEL_NV];
    const float *a = p->a, *b = p->b + column;
    float *c = p->c + column;
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = p->zero ? vf_zero() : vf_load(c + i * p->c_row + v * VF);
    }
    if (p->factor) {
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf factor = vf_set1(p->factor[i * p->factor_step]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] = vf_mul(acc[i][v], factor);
        }
    }
    for (int64_t k = 0; k < p->k; k++, a += p->a_k, b += p->b_row) {
        vf line[PANEL_NV];
        UNROLL
        for (int v = 0; v < nv; v++)
            line[v] = vf_load(b + v * VF);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf x = vf_set1(a[i * p->a_row]);
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] = vf_madd(x, line[v], acc[i][v]);
        }
    }
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            vf_store(c + i * p->c_row + v * VF, acc[i][v]);
    }
}

SIMD_FN void panel_columns(const struct panel_product *p, const int mr, int64_t columns)
{
    int64_t column = 0;
    for (; column + PANEL_NV * VF <= columns; column += PANEL_NV * VF)
        panel_block(p, mr, PANEL_NV, column);
    for (; column < columns; column += VF)
        panel_block(p, mr, 1, column);
}

/* rows <= PANEL_MR, columns a multiple of VF. */
static __attribute__((noinline)) void panel_multiply(const struct panel_product *p, int64_t rows, int64_t columns)
{
    switch (rows) {
    case 1:
        panel_columns(p, 1, columns);
        break;
    case 2:
        panel_columns(p, 2, columns);
        break;
    case 3:
        panel_columns(p, 3, columns);
        break;
    case 4:
        panel_columns(p, 4, columns);
        break;
    case 5:
        panel_columns(p, 5, columns);
        break;
    default:
        panel_columns(p, 6, columns);
    }
}

#endif
