/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: c[row][column] += sum over k, ascending, of a[row][k] b[k][column], a chain an element. So the
 * bits of a row are the same alone and among others. */
#ifndef TENON_ATTENTION_CPU_PRODUCT_H
#define TENON_ATTENTION_CPU_PRODUCT_H

#include "ops/attention_cpu.h"

struct att_product {
    const float *a, *b;
    int64_t a_row, b_row, k;
    float *c;
    int64_t c_row;
    int zero; /* c is taken as 0 */
};

SIMD_FN void att_block(const struct att_product *p, const int mr, const int nv, int64_t column)
{
    vf acc[ATT_MR][ATT_NV];
    const float *a = p->a, *b = p->b + column;
    float *c = p->c + column;
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = p->zero ? vf_zero() : vf_load(c + i * p->c_row + v * VF);
    }
    for (int64_t k = 0; k < p->k; k++, b += p->b_row) {
        vf line[ATT_NV];
        UNROLL
        for (int v = 0; v < nv; v++)
            line[v] = vf_load(b + v * VF);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf x = vf_set1(a[i * p->a_row + k]);
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

SIMD_FN void att_columns(const struct att_product *p, const int mr, int64_t columns)
{
    int64_t column = 0;
    for (; column + ATT_NV * VF <= columns; column += ATT_NV * VF)
        att_block(p, mr, ATT_NV, column);
    for (; column < columns; column += VF)
        att_block(p, mr, 1, column);
}

/* rows <= ATT_MR, columns a multiple of VF. */
static __attribute__((noinline)) void att_multiply(const struct att_product *p, int64_t rows, int64_t columns)
{
    switch (rows) {
    case 1:
        att_columns(p, 1, columns);
        break;
    case 2:
        att_columns(p, 2, columns);
        break;
    case 3:
        att_columns(p, 3, columns);
        break;
    case 4:
        att_columns(p, 4, columns);
        break;
    case 5:
        att_columns(p, 5, columns);
        break;
    default:
        att_columns(p, 6, columns);
    }
}

#endif
