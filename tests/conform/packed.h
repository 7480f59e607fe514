/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the suites of operators share whose tokens may be sequences packed into one batch, and whose properties compare
 * the bits of tokens: what cu_q holds, the longest of the sequences, bits. */
#ifndef CONFORM_PACKED_H
#define CONFORM_PACKED_H

#include <string.h>
#include "conform.h"

/* What cu_q holds: lengths of all kinds; also none at the ends; entries that are out of range. */
enum { PACKED_PARTS, PACKED_SHORT, PACKED_WILD, PACKED_KINDS };

/* Entry i of n + 1. */
static inline double packed_begin(const struct conform_case *c, uint64_t kind, int64_t tokens, int64_t n, int64_t i)
{
    switch (kind) {
    case PACKED_PARTS:
        return n ? (double)(tokens * i / n) : 0;
    case PACKED_SHORT:
        return n ? (double)(1 + (tokens > 3 ? tokens - 3 : 0) * (i / 2 * 2) / n) : 0;
    default:
        return (double)conform_below(conform_key(c, 29), (uint64_t)i, (uint64_t)tokens + 9) - 4;
    }
}

static inline uint32_t packed_bits(const struct conform_slot *slot, int64_t i)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    uint32_t bits = 0;
    memcpy(&bits, (const char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, size);
    return bits;
}

static inline void packed_put(const struct conform_slot *slot, int64_t i, uint32_t bits)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    memcpy((char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, &bits, size);
}

/* Tokens first .. first + len of batch b are sequence s. */
struct packed_sequence {
    int64_t s, b, first, len;
};

/* The longest one, or the last of the batches where there is no cu; len below 1: there is none. */
static inline struct packed_sequence packed_longest(const struct conform_slot *cu, int64_t batches, int64_t tokens)
{
    struct packed_sequence q = {batches - 1, batches - 1, 0, cu->tensor.dtype ? 0 : tokens};
    int64_t last = 0;
    for (int64_t i = 0; cu->tensor.dtype && i < cu->tensor.dim[0]; i++) {
        int64_t here = (int64_t)(int32_t)packed_bits(cu, i);
        here = here > tokens ? tokens : here;
        here = here < last ? last : here;
        if (i > 0 && here - last > q.len)
            q = (struct packed_sequence){i - 1, 0, last, here - last};
        last = here;
    }
    return q;
}

#endif
