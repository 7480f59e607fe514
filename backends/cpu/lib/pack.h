/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Fills the panels of product.h from tensors of any type, widened to f32 exactly; i8 is multiplied by its scale
 * (rounded once, as everywhere in this backend, so that the packed product and the one in place agree bit for bit).
 *
 * Nothing is read outside the elements asked for. The type is a constant where these are called, so that the loops have
 * none of the choices. */
#ifndef TENON_PACK_H
#define TENON_PACK_H

#include <tenon/tensor.h>

#include "lib/product.h"
#include "lib/transpose.h"

struct pack_source {
    const void *data;
    int64_t row_stride; /* of pack_columns: from k to k + 1 */
    const float *scale; /* i8 alone, else NULL: weight (n, k) has scale[n * scale_stride + k / group] */
    int64_t scale_stride, group;
};

SIMD_FN vf pack_load(const uint32_t dtype, const void *p, int64_t i)
{
    if (dtype == TENON_F16)
        return vf_load_f16((const uint16_t *)p + i);
    if (dtype == TENON_BF16)
        return vf_load_bf16((const uint16_t *)p + i);
    if (dtype == TENON_I8)
        return vf_load_i8((const int8_t *)p + i);
    return vf_load((const float *)p + i);
}

/* n may be anything: below 0 is 0, above VF is VF. */
SIMD_FN vf pack_load_n(const uint32_t dtype, const void *p, int64_t i, int64_t n)
{
    if (n <= 0)
        return vf_zero();
    if (n >= VF)
        return pack_load(dtype, p, i);
    if (dtype == TENON_F16)
        return vf_load_f16_n((const uint16_t *)p + i, (int)n);
    if (dtype == TENON_BF16)
        return vf_load_bf16_n((const uint16_t *)p + i, (int)n);
    if (dtype == TENON_I8)
        return vf_load_i8_n((const int8_t *)p + i, (int)n);
    return vf_load_n((const float *)p + i, (int)n);
}

/* One element of f32, f16, bf16. */
SIMD_FN float pack_one(uint32_t dtype, const void *p, int64_t i)
{
    if (dtype == TENON_F16)
        return simd_from_f16(((const uint16_t *)p)[i]);
    if (dtype == TENON_BF16)
        return simd_from_bf16(((const uint16_t *)p)[i]);
    return ((const float *)p)[i];
}

/* f32, f16, bf16, rounded to nearest even; n likewise. */
SIMD_FN void pack_store_n(const uint32_t dtype, void *p, int64_t i, vf v, int64_t n)
{
    const int count = n < 0 ? 0 : n < VF ? (int)n : VF;
    if (dtype == TENON_F16)
        vf_store_f16_n((uint16_t *)p + i, v, count);
    else if (dtype == TENON_BF16)
        vf_store_bf16_n((uint16_t *)p + i, v, count);
    else
        vf_store_n((float *)p + i, v, count);
}

/* The fill stays 0 even when the scale is Inf. */
SIMD_FN vf pack_scale(vf v, vf scale, int64_t n)
{
    const vf scaled = vf_mul(v, scale);
    return n >= VF ? scaled : vf_select(vm_first(n > 0 ? (int)n : 0), scaled, vf_zero());
}

#define PACK_ROWS (PRODUCT_NR > PRODUCT_MR + VF ? PRODUCT_NR : PRODUCT_MR + VF) /* entries of `row` for any panel */

SIMD_FN void pack_repeat(int64_t *row, int64_t rows)
{
    for (int64_t i = rows; i < PACK_ROWS; i++)
        row[i] = row[rows - 1];
}

/* 16 values of k (n of them there) of VF rows, into the 16 lanes of a panel at `to`. */
SIMD_FN void pack_square(const uint32_t dtype, const void *data, const int64_t *row, const float *scale, int64_t k,
                         int64_t n, float *to, int64_t stride)
{
    for (int q = 0; q < PRODUCT_LANES; q += VF) {
        vf square[VF];
        if (n >= PRODUCT_LANES) {
            UNROLL
            for (int i = 0; i < VF; i++)
                square[i] = pack_load(dtype, data, row[i] + k + q);
            /* As many streams as rows are more than the hardware follows. */
            UNROLL
            for (int i = 0; i < VF; i++) {
                const uintptr_t at = (uintptr_t)data + TENON_DTYPE_SIZE(dtype) * (uintptr_t)(row[i] + k + q);
                simd_prefetch((const void *)(at + 256));
            }
        } else {
            for (int i = 0; i < VF; i++)
                square[i] = pack_load_n(dtype, data, row[i] + k + q, n - q);
        }
        if (dtype == TENON_I8) {
            UNROLL
            for (int i = 0; i < VF; i++)
                square[i] = pack_scale(square[i], vf_set1(scale[i]), n - q);
        }
        transpose(square);
        /* A panel is larger than L1: its lines, too, are asked for (to write) ahead. */
        UNROLL
        for (int i = 0; i < VF; i++) {
            __builtin_prefetch((const void *)((uintptr_t)(to + (q + i) * stride) + 640), 1);
            vf_store(to + (q + i) * stride, square[i]);
        }
    }
}

/* Rows along K: row i starts at element row[i]. `row` has entries up to width rounded up to a whole vector; beyond the
 * last row that is there they repeat it (pack_repeat), and so does the panel: sums that nobody emits. `first` is the
 * number of row 0, for the scales of the `rows` that are there. k from k0 to k0 + kc. Order matters when width is no
 * multiple of VF: what a store writes too much is overwritten by the next step of j. */
SIMD_FN void pack_rows(const uint32_t dtype, const struct pack_source *s, int64_t first, const int64_t *row,
                       int64_t rows, int64_t width, int64_t k0, int64_t kc, float *panel)
{
    const int64_t len = product_len(kc), stride = product_stride(len, width);
    const int64_t step = width % VF == 0 ? 4 : 1; /* a line of 16-bit or i8 is used up while it is in L1 */
    float scale[VF] = {0};
    for (int64_t j0 = 0; j0 < len; j0 += step)
        for (int64_t c = 0; c < width; c += VF) {
            int64_t group = -1;
            for (int64_t j = j0; j < j0 + step && j < len; j++) {
                const int64_t k = k0 + j * PRODUCT_LANES;
                if (dtype == TENON_I8 && k / s->group != group) {
                    group = k / s->group;
                    for (int64_t i = 0; i < VF && c + i < rows; i++)
                        scale[i] = s->scale[(first + c + i) * s->scale_stride + group];
                }
                pack_square(dtype, s->data, row + c, scale, k, kc - j * PRODUCT_LANES, panel + j * width + c, stride);
            }
        }
}

/* n (below 0: none, above VF: VF) floats, `stride` apart; 0 beyond. */
SIMD_FN vf pack_gather(const float *p, int64_t stride, int64_t n)
{
    if (stride == 1)
        return pack_load_n(TENON_F32, p, 0, n);
    float v[VF] = {0};
    for (int64_t i = 0; i < VF && i < n; i++)
        v[i] = p[i * stride];
    return vf_load(v);
}

/* Rows along the panel (the transposed operands): element (i, k) at k * row_stride + first + i. `rows` may fill several
 * panels, panel_size floats apart: they are filled together, because a row of memory is then read in one go. */
SIMD_FN void pack_columns(const uint32_t dtype, const struct pack_source *s, int64_t first, int64_t rows, int64_t width,
                          int64_t k0, int64_t kc, float *panel, int64_t panel_size)
{
    const int64_t len = product_len(kc), stride = product_stride(len, width);
    for (int64_t k = k0; k < k0 + len * PRODUCT_LANES; k++) {
        const int64_t there = k < k0 + kc ? rows : 0, at = k * s->row_stride + first;
        float *to = panel + (k - k0) % PRODUCT_LANES * stride + (k - k0) / PRODUCT_LANES * width;
        const float *scale = s->scale && there ? s->scale + first * s->scale_stride + k / s->group : NULL;
        const uintptr_t soon = (uintptr_t)s->data + TENON_DTYPE_SIZE(dtype) * (uintptr_t)(at + 4 * s->row_stride);
        for (int64_t i = 0; i < rows; i += width, to += panel_size)
            for (int64_t c = 0; c < width; c += VF) {
                vf v = pack_load_n(dtype, s->data, at + i + c, there - i - c);
                simd_prefetch((const void *)(soon + TENON_DTYPE_SIZE(dtype) * (uintptr_t)(i + c)));
                if (dtype == TENON_I8 && scale)
                    v = vf_mul(v, pack_gather(scale + (i + c) * s->scale_stride, s->scale_stride, there - i - c));
                vf_store(to + c, v);
            }
    }
}

#endif
