/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One ISA's tables of all operators, in the order of ops.def. Compiled once an ISA; data alone. */
#include "cpu.h"

#define TENON_OP(number, name) extern const struct cpu_op CPU_OP_TABLE(name);
#include <tenon/ops.def>
#undef TENON_OP

extern const struct cpu_op *const CPU_OP_TABLE(cpu_ops)[];
const struct cpu_op *const CPU_OP_TABLE(cpu_ops)[] = {
#define TENON_OP(number, name) &CPU_OP_TABLE(name),
#include <tenon/ops.def>
#undef TENON_OP
    NULL,
};
