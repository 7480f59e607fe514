/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of kv_evict's suite share. */
#ifndef CONFORM_KV_EVICT_SUITE_H
#define CONFORM_KV_EVICT_SUITE_H

#include <tenon/ops/kv_evict.h>
#include "../conform.h"

/* What the inputs hold (own[0]). */
enum { EVICT_NORMAL, EVICT_STEEP, EVICT_TIES, EVICT_SPECIAL, EVICT_SAME, EVICT_FILLS };
/* Lengths (own[1]): all there, some, some out of range. Positions (own[2]): as they come, with gaps. */
enum { EVICT_WHOLE, EVICT_PART, EVICT_OUTSIDE };

struct evict_sizes {
    int64_t batch, queries, heads, width, keys, kv_heads, lists, most;
};

static inline const struct tenon_kv_evict_params *tenon__evict_suite_params(const struct conform_case *c)
{
    return (const struct tenon_kv_evict_params *)(const void *)c->params;
}

struct evict_sizes tenon__evict_suite_sizes(const struct conform_case *c);
int64_t tenon__evict_suite_length(const struct conform_case *c, int64_t b, int64_t h);

#define EVICT_HOSTILE    14
#define EVICT_PROPERTIES 4
extern const struct conform_hostile tenon__evict_suite_hostile[EVICT_HOSTILE];
extern const struct conform_property tenon__evict_suite_properties[EVICT_PROPERTIES];

#endif
