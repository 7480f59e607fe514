/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A window on one ISA's simd.h, lib/exp.h and lib/log.h: simd_probe.c is compiled once an ISA, simd_test.c compares
 * them. */
#ifndef TENON_TEST_SIMD_PROBE_H
#define TENON_TEST_SIMD_PROBE_H

#include <stdint.h>

#define PROBE_LANES 16 /* every VF divides it */

/* NUMBER: two NaN are equal, whatever their payload. BITS: equal as integers. INTEGRAL: the argument is an integral
 * number. SMALL: |argument| < 2^31. */
enum { PROBE_NUMBER, PROBE_BITS, PROBE_SMALL, PROBE_INTEGRAL };

struct probe_op {
    const char *name;
    int kind;
    void (*apply)(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out); /* PROBE_LANES each */
};

/* Memory: element size, and functions for n elements (whole: VF) through one vector. */
struct probe_load {
    const char *name;
    int size;
    void (*whole)(const void *p, uint32_t *out);
    void (*part)(const void *p, int n, uint32_t *out);
};

struct probe_store {
    const char *name;
    int size;
    void (*whole)(void *p, const uint32_t *in);
    void (*part)(void *p, const uint32_t *in, int n);
};

struct probe {
    const char *name;
    int lanes;
    const struct probe_op *ops;
    const struct probe_load *loads;
    const struct probe_store *stores; /* each list ends with a NULL name */
    float (*reduce_add)(const float *a);
    float (*reduce_max)(const float *a);
    float (*reduce_min)(const float *a);
    void (*stream)(float *p, const float *a);
};

/* The i-th ISA that this machine can run, scalar first; NULL past the last. */
const struct probe *probe_at(unsigned i);

#endif
