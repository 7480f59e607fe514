/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of softmax's check in 256 bits share. */
#ifndef CONFORM_SOFTMAX_SUITE_MPFR_H
#define CONFORM_SOFTMAX_SUITE_MPFR_H

#include <tenon/ops/softmax.h>
#include "../precise.h"

#define U    PRECISE_U
#define RND  MPFR_RNDN
#define TINY 0x1p-1000 /* f64's own underflow */

struct precise_entry {
    double v, mult;
};

struct precise_row {
    const struct conform_case *c;
    const struct tenon_softmax_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t row, cols, valid, above; /* valid entries; those above -Inf */
    int64_t argmax;
    double *v, *mult;
    struct precise_entry *sorted;
    char *there; /* unmasked and in the support */
    int sunk, nan, odd, unsure;
    double sink, R, M, M2;
    mpfr_t T, S, own, a, q, t, w, y, beta, z;
    double A, Aq, E1, E2;   /* means by weight: of |d| about R, by weight and its square; of |d| and d^2 about M */
    double lost, beta_lost; /* what f64 may lose of T, as a share, and of beta */
    double tau_lost, size;  /* of tau; the sum of a QUAD_NORM row's own losses */
};

void precise_put(const struct precise_row *r, uint32_t tensor, int64_t element, mpfr_srcptr exact, double bound);
void precise_put_exactly(struct precise_row *r, uint32_t tensor, int64_t element, double exact);
/* Takes entries outside the support out of `there`; non-zero when rounding may decide. */
int precise_support(struct precise_row *r);
/* What a kind beyond the exponentials sums up: S (tau of the projections, without M T). */
void precise_kind_sum(struct precise_row *r);
/* y = the weight of an entry; what f64 may lose of it. */
double precise_kind(struct precise_row *r, int64_t col);
void precise_kind_stats(struct precise_row *r, int nnz, int tau, int beta);
/* y through the post step, and compared. */
void precise_post(struct precise_row *r, int64_t col, int64_t element, double bound);

#endif
