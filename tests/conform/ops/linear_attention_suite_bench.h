/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention's benchmark rows, for its suite. */
#ifndef CONFORM_LINEAR_ATTENTION_SUITE_BENCH_H
#define CONFORM_LINEAR_ATTENTION_SUITE_BENCH_H

#include <tenon/ops/linear_attention.h>

#include "../conform.h"

/* own[0] of a row's case: floats as usual, keys of about unit length, decays a little below 1. */
#define LIN_FILL_BENCH 99

#define LIN_BENCHES 21
extern const struct conform_bench tenon__lin_suite_benches[LIN_BENCHES];
void tenon__lin_suite_bench(const struct conform_bench *bench, struct conform_case *c);

#endif
