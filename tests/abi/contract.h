/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Descriptors that a test spoils one member at a time. Each operator has tests/abi/ops/<op>_contract.c with one
 * function, tenon__<op>_contract_test, which the program calls for every line of ops.def. */
#ifndef TENON_TEST_CONTRACT_H
#define TENON_TEST_CONTRACT_H

#include <tenon/ops.h>

#include "../tap.h"

struct call {
    struct tenon_op_desc desc;
    struct tenon_tensor t[TENON_MAX_TENSORS];
    uint64_t params[32];
};

/* The operator's defaults, every tensor absent. Copies are made with call_copy, because desc points into the struct. */
void call_init(struct call *call, uint32_t op);
void call_copy(struct call *to, const struct call *from);
/* A contiguous tensor from a list of dimensions. */
#define T(dtype, ...)                                                                                                  \
    tenon_tensor_make(dtype, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})
/* The check gives `status`, and its sentence has `part` in it (NULL: it is accepted). */
void call_is(struct call *call, int32_t status, const char *part, const char *name);
/* What a file of one operator has: its parameters in a call, and a good call. */
#define CONTRACT_OF(op)                                                                                                \
    static struct tenon_##op##_params *params_of(struct call *call)                                                    \
    {                                                                                                                  \
        return (void *)call->params;                                                                                   \
    }                                                                                                                  \
    static struct call good
#define PARAMS(call) params_of(&(call))
/* The file's `good` call spoiled by what stands in place of the dots, which names it c. */
#define SPOIL(status, part, ...)                                                                                       \
    do {                                                                                                               \
        struct call c;                                                                                                 \
        call_copy(&c, &good);                                                                                          \
        __VA_ARGS__;                                                                                                   \
        call_is(&c, status, part, #__VA_ARGS__);                                                                       \
    } while (0)

#define TENON_OP(number, name) void tenon__##name##_contract_test(void);
#include <tenon/ops.def>
#undef TENON_OP

#endif
