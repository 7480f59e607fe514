/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A square of VF x VF floats, transposed in registers: vector i, lane j becomes vector j, lane i. log2(VF) rounds of zips
 * (a perfect shuffle each), which is the fewest shuffles for an ISA that can zip in one instruction. */
#ifndef TENON_TRANSPOSE_H
#define TENON_TRANSPOSE_H

#include "simd/simd.h"

#if VF == 4
#define TRANSPOSE_LOW_ 0, 4, 1, 5
#define TRANSPOSE_HIGH_ 2, 6, 3, 7
#elif VF == 8
#define TRANSPOSE_LOW_ 0, 8, 1, 9, 2, 10, 3, 11
#define TRANSPOSE_HIGH_ 4, 12, 5, 13, 6, 14, 7, 15
#elif VF == 16
#define TRANSPOSE_LOW_ 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define TRANSPOSE_HIGH_ 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

#if VF > 1
/* One round: from[i] and from[i + VF/2] zipped into to[2i], to[2i+1]. */
SIMD_FN void transpose_round(const vf *from, vf *to)
{
    for (int i = 0; i < VF / 2; i++) {
        to[2 * i] = __builtin_shufflevector(from[i], from[i + VF / 2], TRANSPOSE_LOW_);
        to[2 * i + 1] = __builtin_shufflevector(from[i], from[i + VF / 2], TRANSPOSE_HIGH_);
    }
}
#endif

SIMD_FN void transpose(vf *square)
{
#if VF > 1
    vf other[VF];
    transpose_round(square, other);
    transpose_round(other, square);
#if VF > 4
    transpose_round(square, other);
#if VF > 8
    transpose_round(other, square);
#else
    for (int i = 0; i < VF; i++)
        square[i] = other[i];
#endif
#endif
#else
    (void)square;
#endif
}

#endif
