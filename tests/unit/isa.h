/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The ISAs that were built and that this machine runs, and one call of an operator through an ISA's table: without a
 * plugin, a plan object or a host library around it. */
#ifndef TENON_TEST_ISA_H
#define TENON_TEST_ISA_H

#include "../../backends/cpu/cpu.h"

struct isa {
    const char *name;
    const struct cpu_op *const *ops; /* ends in NULL */
    int fma;                         /* sums with fused multiply-add: all of these agree bit for bit */
};

/* The i-th ISA that can run here; NULL past the last. */
const struct isa *test_isa(unsigned i);

/* How host->parallel runs: ascending, descending, or on this many threads. */
enum { TEST_ASCENDING = 0, TEST_DESCENDING = -1 };

struct test_call {
    uint32_t op, n_tensors;
    const struct tenon_tensor *tensor;
    void *const *ptr;
    const void *params;
    size_t params_size;
    int order;
    uint32_t threads; /* env.threads; 0: 1 */
};

/* Plans and runs with a workspace of just the right size, filled with NaN. Ends the test when it cannot. */
void test_call(const struct isa *isa, const struct test_call *call);

#endif
