/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of kv_append's suite share. */
#ifndef CONFORM_KV_APPEND_SUITE_H
#define CONFORM_KV_APPEND_SUITE_H

#include <tenon/ops/kv_append.h>
#include "../conform.h"

/* What the new rows hold (own[0]). */
enum { KV_NORMAL, KV_EXACT, KV_SPECIAL, KV_FLAT, KV_WIDE, KV_FILLS };
/* Where they go (own[1]): all have a place; decoding, one row each; some have none. */
enum { KV_INSIDE, KV_STEP, KV_OUTSIDE, KV_PLACES };

#define KV_PARAMS(c) ((const struct tenon_kv_append_params *)(const void *)(c)->params)

static inline double kv_element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static inline int64_t kv_page(const struct conform_case *c)
{
    return c->slot[TENON_KV_APPEND_PAGE_TABLE].tensor.dtype ? c->slot[TENON_KV_APPEND_K].tensor.dim[2] : 0;
}

static inline int64_t kv_slots(const struct conform_case *c)
{
    const int64_t page = kv_page(c);
    return page ? c->slot[TENON_KV_APPEND_PAGE_TABLE].tensor.dim[1] * page : c->slot[TENON_KV_APPEND_K].tensor.dim[1];
}

#define KV_HOSTILE    14
#define KV_PROPERTIES 4
extern const struct conform_hostile tenon__kv_append_suite_hostile[KV_HOSTILE];
extern const struct conform_property tenon__kv_append_suite_properties[KV_PROPERTIES];

#endif
