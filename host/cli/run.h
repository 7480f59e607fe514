/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside `tenon run`. */
#ifndef TENON_CLI_RUN_H
#define TENON_CLI_RUN_H

#include "cli.h"

#define RUN_PARAMS_MAX 256

struct run {
    const struct tenon_op_contract *op;
    uint64_t params[RUN_PARAMS_MAX / 8];
    const char *file[TENON_MAX_TENSORS];
    uint32_t dtype[TENON_MAX_TENSORS]; /* asked for; 0: the contract's */
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    struct npy array[TENON_MAX_TENSORS];
    char impl[64], device[96];
    double ms;
};

void run_summary(const struct run *run, int json);

#endif
