/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * In the place of the operators' <op>_mpfr.c where there is no libmpfr. */
#include "conform.h"

#define TENON_OP(number, name)                                                                                         \
    int tenon__conform_##name##_mpfr(const struct conform_case *c, const struct conform_want *want,                    \
                                     struct conform_precise *precise)                                                  \
    {                                                                                                                  \
        (void)c;                                                                                                       \
        (void)want;                                                                                                    \
        (void)precise;                                                                                                 \
        return -1;                                                                                                     \
    }
#include <tenon/ops.def>
#undef TENON_OP
