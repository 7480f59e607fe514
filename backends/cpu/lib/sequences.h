/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Packed sequences: where they begin, ascending and within the tokens that there are. */
#ifndef TENON_LIB_SEQUENCES_H
#define TENON_LIB_SEQUENCES_H

#include <stdint.h>

/* c[s] = max(c[s-1], min(cu[s], tokens)) for s = 0 .. n, c[-1] = 0. How many entries that changes. */
static inline uint32_t sequences_clamp(const int32_t *cu, int64_t n, int64_t tokens, int32_t *c)
{
    int32_t last = 0;
    uint32_t changed = 0;
    for (int64_t s = 0; s <= n; s++) {
        const int32_t own = cu[s] < tokens ? cu[s] : (int32_t)tokens;
        last = own > last ? own : last;
        changed += last != cu[s];
        c[s] = last;
    }
    return changed;
}

#endif
