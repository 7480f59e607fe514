/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the unit tests of the CPU's softmax share. */
#ifndef TENON_TEST_SOFTMAX_CPU_H
#define TENON_TEST_SOFTMAX_CPU_H

#include <tenon/ops/softmax.h>

#include "isa.h"

enum { N = TENON_SOFTMAX_N_TENSORS, STAT0 = TENON_SOFTMAX_MAX };

/* Everything of one call. order: as in struct test_call. */
struct test_softmax {
    struct tenon_tensor tensor[N];
    void *ptr[N];
    struct tenon_softmax_params params;
    int64_t rows, cols;
    int order;
    uint32_t threads;
};

void test_softmax_run(const struct isa *isa, const struct test_softmax *c);

enum { BIAS = 1, MASK = 2, VALID = 4, SCALE = 8, SINK = 16, STATS = 32, TEMP = 64, ROW_SCALE = 128 };

/* A call with random inputs. */
struct test_softmax test_softmax(uint32_t x_dtype, uint32_t y_dtype, int64_t rows, int64_t cols, uint32_t algo,
                                 uint32_t kind, int options);
/* Memory for tensor i, wide as x or one element a row: exactly as large as needed, so that a sanitizer sees one byte
 * too many; it starts as garbage. */
void test_softmax_give(struct test_softmax *c, int i, uint32_t dtype, int wide);
double test_softmax_get(const struct test_softmax *c, int tensor, int64_t i);
void test_softmax_free(struct test_softmax *c);

#endif
