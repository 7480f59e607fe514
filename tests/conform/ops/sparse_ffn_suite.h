/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of sparse_ffn's cases share. */
#ifndef CONFORM_SPARSE_FFN_SUITE_H
#define CONFORM_SPARSE_FFN_SUITE_H

#include <math.h>
#include <tenon/ops/sparse_ffn.h>
#include "../conform.h"

/* How the inputs are filled (own[0]). */
enum {
    SPARSE_EXACT,  /* small integers: every product and sum is exact */
    SPARSE_NORMAL, /* N(0,1), a third of x zero */
    SPARSE_MASKED, /* Inf and NaN where weights only meet zeros */
    SPARSE_SPECIAL, /* special floats here and there in x */
    SPARSE_BENCH    /* anything that is made fast; none is 0 */
};

/* The systems that cases are made of (own[1]). */
enum {
    SYSTEM_RELU,
    SYSTEM_PROSPARSE,
    SYSTEM_LAZY,
    SYSTEM_CATS,
    SYSTEM_CHESS,
    SYSTEM_TEAL,
    SYSTEM_WINA,
    SYSTEM_R_SPARSE,
    SYSTEM_SPARK,
    SYSTEM_SOFT,
    SYSTEM_SMORA,
    SYSTEM_COREINFER,
    SYSTEM_MIXED,
    SYSTEMS
};

static inline struct tenon_sparse_ffn_params *tenon__sparse_ffn_suite_params(struct conform_case *c)
{
    return (struct tenon_sparse_ffn_params *)(void *)c->params;
}

/* The upper tail k/n of the normal distribution, inverted by halving on erfc: about 1e-15, and 0 is exact. */
static inline double tenon__sparse_ffn_suite_quantile(double k, double n)
{
    double low = -40, high = 40;
    for (int i = 0; i < 200 && 2 * k != n; i++) {
        const double middle = (low + high) / 2;
        if (erfc(middle * 0.70710678118654752440) / 2 > k / n)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

void tenon__sparse_ffn_suite_fill(const struct conform_case *c, uint32_t tensor);

#define SPARSE_FFN_HOSTILE    14
#define SPARSE_FFN_BENCHES    31
#define SPARSE_FFN_PROPERTIES 4
extern const struct conform_hostile tenon__sparse_ffn_suite_hostile[SPARSE_FFN_HOSTILE];
extern const struct conform_property tenon__sparse_ffn_suite_properties[SPARSE_FFN_PROPERTIES];
extern const struct conform_bench tenon__sparse_ffn_suite_bench[SPARSE_FFN_BENCHES];
void tenon__sparse_ffn_suite_bench_make(const struct conform_bench *bench, struct conform_case *c);

#endif
