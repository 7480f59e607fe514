/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A square of VF x VF floats in registers. transpose(): vector i, lane j becomes vector j, lane i. First small squares
 * (of 4) in each 128-bit part of the vectors, then the parts among each other: every shuffle is one instruction without
 * an index register. fold_rows(): the sum of each row, with half the shuffles. */
#ifndef TENON_TRANSPOSE_H
#define TENON_TRANSPOSE_H

#include "lib/unroll.h"
#include "simd/simd.h"

/* TRANSPOSE_PARTS_(x, y, a, b, c, d): these four of each part; numbers from 4 on are of the second vector. */
#if VF == 4
#define TRANSPOSE_PARTS_(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d)
#elif VF == 8
#define TRANSPOSE_AT_(i, part) ((i) % 4 + (i) / 4 * 8 + 4 * (part))
#define TRANSPOSE_PART_(part, a, b, c, d)                                                                              \
    TRANSPOSE_AT_(a, part), TRANSPOSE_AT_(b, part), TRANSPOSE_AT_(c, part), TRANSPOSE_AT_(d, part)
#define TRANSPOSE_PARTS_(x, y, ...)                                                                                    \
    __builtin_shufflevector(x, y, TRANSPOSE_PART_(0, __VA_ARGS__), TRANSPOSE_PART_(1, __VA_ARGS__))
#elif VF == 16
#define TRANSPOSE_AT_(i, part) ((i) % 4 + (i) / 4 * 16 + 4 * (part))
#define TRANSPOSE_PART_(part, a, b, c, d)                                                                              \
    TRANSPOSE_AT_(a, part), TRANSPOSE_AT_(b, part), TRANSPOSE_AT_(c, part), TRANSPOSE_AT_(d, part)
#define TRANSPOSE_PARTS_(x, y, ...)                                                                                    \
    __builtin_shufflevector(x, y, TRANSPOSE_PART_(0, __VA_ARGS__), TRANSPOSE_PART_(1, __VA_ARGS__),                    \
                            TRANSPOSE_PART_(2, __VA_ARGS__), TRANSPOSE_PART_(3, __VA_ARGS__))
#endif

#if VF >= 4
SIMD_FN void transpose_four(vf *r)
{
    const vf low01 = TRANSPOSE_PARTS_(r[0], r[1], 0, 4, 1, 5), high01 = TRANSPOSE_PARTS_(r[0], r[1], 2, 6, 3, 7);
    const vf low23 = TRANSPOSE_PARTS_(r[2], r[3], 0, 4, 1, 5), high23 = TRANSPOSE_PARTS_(r[2], r[3], 2, 6, 3, 7);
    r[0] = TRANSPOSE_PARTS_(low01, low23, 0, 1, 4, 5);
    r[1] = TRANSPOSE_PARTS_(low01, low23, 2, 3, 6, 7);
    r[2] = TRANSPOSE_PARTS_(high01, high23, 0, 1, 4, 5);
    r[3] = TRANSPOSE_PARTS_(high01, high23, 2, 3, 6, 7);
}
#endif

SIMD_FN void transpose(vf *square)
{
#if VF >= 4
    UNROLL
    for (int i = 0; i < VF; i += 4)
        transpose_four(square + i);
#endif
#if VF == 8
    UNROLL
    for (int i = 0; i < 4; i++) {
        const vf a = square[i], b = square[i + 4];
        square[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
        square[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    }
#elif VF == 16
#define TRANSPOSE_HALVES_(x, y, a, b)                                                                                  \
    __builtin_shufflevector(x, y, 4 * (a), 4 * (a) + 1, 4 * (a) + 2, 4 * (a) + 3, 4 * (b), 4 * (b) + 1, 4 * (b) + 2,   \
                            4 * (b) + 3, 16 + 4 * (a), 17 + 4 * (a), 18 + 4 * (a), 19 + 4 * (a), 16 + 4 * (b),         \
                            17 + 4 * (b), 18 + 4 * (b), 19 + 4 * (b))
    UNROLL
    for (int i = 0; i < 4; i++) {
        const vf low01 = TRANSPOSE_HALVES_(square[i], square[i + 4], 0, 1);
        const vf high01 = TRANSPOSE_HALVES_(square[i], square[i + 4], 2, 3);
        const vf low23 = TRANSPOSE_HALVES_(square[i + 8], square[i + 12], 0, 1);
        const vf high23 = TRANSPOSE_HALVES_(square[i + 8], square[i + 12], 2, 3);
        square[i] = TRANSPOSE_HALVES_(low01, low23, 0, 2);
        square[i + 4] = TRANSPOSE_HALVES_(low01, low23, 1, 3);
        square[i + 8] = TRANSPOSE_HALVES_(high01, high23, 0, 2);
        square[i + 12] = TRANSPOSE_HALVES_(high01, high23, 1, 3);
    }
#endif
    (void)square;
}

/* Floats c .. c + VF of VF rows, turned: vector i has c + i of each. Parts of four are put together at the loads. */
SIMD_FN void transpose_load(const float *const *row, int64_t c, vf *square)
{
#if VF >= 4
    UNROLL
    for (int g = 0; g < VF; g += 4) {
        UNROLL
        for (int r = 0; r < 4; r++)
            square[g + r] = vf_load_fours(row[r] + c + g, row[4 % VF + r] + c + g, row[8 % VF + r] + c + g,
                                          row[12 % VF + r] + c + g);
        transpose_four(square + g);
    }
#else
    square[0] = vf_load(row[0] + c);
#endif
}

/* Lane i: the sum of vector i's lanes, neighbours first, then pairs of them. The square is overwritten. */
SIMD_FN vf fold_rows(vf *square)
{
#if VF >= 4
#define FOLD_PARTS_(x, y) vf_add(TRANSPOSE_PARTS_(x, y, 0, 2, 4, 6), TRANSPOSE_PARTS_(x, y, 1, 3, 5, 7))
    UNROLL
    for (int i = 0; i < VF; i += 2)
        square[i / 2] = FOLD_PARTS_(square[i], square[i + 1]);
    UNROLL
    for (int i = 0; i < VF / 2; i += 2)
        square[i / 2] = FOLD_PARTS_(square[i], square[i + 1]);
#undef FOLD_PARTS_
#endif
#if VF == 8
    square[0] = vf_add(__builtin_shufflevector(square[0], square[1], 0, 1, 2, 3, 8, 9, 10, 11),
                       __builtin_shufflevector(square[0], square[1], 4, 5, 6, 7, 12, 13, 14, 15));
#elif VF == 16
#define FOLD_HALVES_(x, y) vf_add(TRANSPOSE_HALVES_(x, y, 0, 2), TRANSPOSE_HALVES_(x, y, 1, 3))
    square[0] = FOLD_HALVES_(FOLD_HALVES_(square[0], square[1]), FOLD_HALVES_(square[2], square[3]));
#undef FOLD_HALVES_
#undef TRANSPOSE_HALVES_
#endif
    return square[0];
}

#undef TRANSPOSE_PARTS_
#endif
