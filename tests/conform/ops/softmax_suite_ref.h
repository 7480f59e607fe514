/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of softmax's f64 reference share: one row on its way through the formulas of tenon/ops/softmax.h. */
#ifndef CONFORM_SOFTMAX_SUITE_REF_H
#define CONFORM_SOFTMAX_SUITE_REF_H

#include <tenon/ops/softmax.h>
#include "../conform.h"

#define SOFTMAX_U     0x1p-24
#define SOFTMAX_FLOOR 0x1p-126 /* flush to zero is allowed below */

/* Neumaier's compensated sum. */
struct softmax_sum {
    double total, lost;
};
void tenon__softmax_ref_add(struct softmax_sum *sum, double value);
static inline double softmax_total(const struct softmax_sum *sum)
{
    return sum->total + sum->lost;
}

/* Of an entry. UNSURE: so near STAT_TOPK's threshold, or with generated normals so near the k-th best, that it may be
 * in or out. */
enum { SOFTMAX_OUT, SOFTMAX_IN, SOFTMAX_UNSURE };

struct softmax_row {
    const struct conform_case *c;
    const struct tenon_softmax_params *p;
    int64_t row, cols;
    double *v, *mult; /* logits; multiplicities, 1 without the tensor */
    char *there;      /* unmasked */
    char *state;      /* SOFTMAX_OUT .. of the support */
    char *in;         /* unmasked and in the support that is being evaluated */
    double *sorted;   /* room for a row */
    double quantile;  /* STAT_TOPK's Q, once per case */

    /* What is read: T without beta; whether a side input spoils the row; by how much generated normals may be off. */
    double T0, sink, shift;
    int sunk, bad;

    /* What is evaluated. n, above: entries in, and of them those above -Inf. nan: y is NaN; odd: it holds a NaN or
     * +Inf. rel: by how much of itself T may be off, through beta. */
    int64_t n, above, argmax;
    int nan, odd, minus;
    double M, M2, T, R, S, own, a, q, rel;
    double A, E2, Aq; /* means by weight of |d|: about R; of d^2 about M; of |d| by the squares */
    double H, beta, beta_bound, tau, tau_bound;
    double extra; /* distance of FIXED_MAX's maximum from the true one, times T */

    /* What comes out, before it is rounded to y's type. */
    double *y, *bound;
    double stat[TENON_SOFTMAX_N_TENSORS], stat_bound[TENON_SOFTMAX_N_TENSORS];
    double flag[4], flag_bound[4];
};

/* y, bound, tau and nnz of kinds beyond the exponential ones. */
void tenon__softmax_ref_kind(struct softmax_row *r);
/* y and bound through the post step. */
void tenon__softmax_ref_post(struct softmax_row *r);
/* The row into the flags. */
void tenon__softmax_ref_count(struct softmax_row *r);
/* state of every entry. */
void tenon__softmax_ref_support(struct softmax_row *r);
/* Q(1 - k/cols). */
double tenon__softmax_ref_quantile(double k, double cols);

#endif
