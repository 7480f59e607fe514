/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_UNROLL_H
#define TENON_UNROLL_H

/* Before a loop of constant length over an array of vectors: unrolled whole, the array is registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
