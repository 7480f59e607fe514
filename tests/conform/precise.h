/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the <op>_mpfr.c share: the f64 references are themselves checked against 256-bit arithmetic. Only they
 * include this; they are compiled when libmpfr was there at configure, else precise_none.c is. */
#ifndef CONFORM_PRECISE_H
#define CONFORM_PRECISE_H

#include <mpfr.h>
#include "conform.h"

#define PRECISE_BITS 256
#define PRECISE_U    0x1p-53 /* half the spacing of f64: what one rounding of the reference may lose */

/* One more element was evaluated: want[tensor].want[element] must be within `bound` of `exact`, the f64 reference's own
 * error. Infinities and NaNs must be the same. */
void precise_compare(struct conform_precise *precise, const struct conform_case *c, const struct conform_want *want,
                     uint32_t tensor, int64_t element, mpfr_srcptr exact, double bound);
/* The f32 nearest to x * y + z, rounded once. z may be 0. */
float precise_fma_f32(float x, float y, float z);
/* The i-th of n samples of [0, count): the ends, `must` (when it is one of them), then by the generator. */
int64_t precise_sample(const struct conform_case *c, int64_t i, int64_t n, int64_t count, int64_t must);

#endif
