/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the contract library: the contracts themselves, one for each line of ops.def. Each is defined in
 * ops/<op>_op.c. */
#ifndef TENON_CONTRACT_H
#define TENON_CONTRACT_H

#include <tenon/ops.h>

#define TENON_OP(number, name) extern const struct tenon_op_contract tenon__##name##_contract;
#include <tenon/ops.def>
#undef TENON_OP

/* The layout of a params struct, frozen at the release of its operator, as the ABI structs are in tests/abi/layout.c.
 */
#define TENON_PARAMS_SIZE(type, size) _Static_assert(sizeof(struct type) == (size), "size of struct " #type)
#define TENON_PARAMS_AT(type, member, offset)                                                                          \
    _Static_assert(offsetof(struct type, member) == (offset), #type "." #member)

#endif
