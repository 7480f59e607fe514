/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the unit tests of the CPU's linear share. */
#ifndef TENON_TEST_LINEAR_CPU_H
#define TENON_TEST_LINEAR_CPU_H

#include <tenon/ops/linear.h>

#include "isa.h"

/* Everything of one call. Zero fields: absent or the default. */
struct test_linear {
    struct tenon_tensor tensor[TENON_LINEAR_N_TENSORS];
    void *ptr[TENON_LINEAR_N_TENSORS];
    struct tenon_linear_params params;
    int order;
    uint32_t threads; /* env.threads */
};

void test_linear_run(const struct isa *isa, const struct test_linear *t);

/* A matrix with this row stride (0: dense). */
struct tenon_tensor test_matrix(uint32_t dtype, int64_t rows, int64_t cols, int64_t stride);

double test_get(const void *p, uint32_t dtype, int64_t i);
void test_set(void *p, uint32_t dtype, int64_t i, double v);

/* splitmix64 */
uint64_t test_random(uint64_t *state);
double test_uniform(uint64_t *state); /* [-1, 1) */

/* act.h's formulas in long double. */
long double test_act(uint32_t act, long double x, long double alpha, long double threshold);

#endif
