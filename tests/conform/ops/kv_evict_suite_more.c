/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_evict: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include <math.h>
#include <string.h>
#include "kv_evict_suite.h"

/* ---- hostile descriptors: case 0 is ACCUM of 2 x 3 queries of 4 heads, 40 keys of 2, 8 wide; M = 13 ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SPOIL_PARAM(name, statement)                                                                                   \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_kv_evict_params *p = (struct tenon_kv_evict_params *)(void *)c->params;                           \
        statement;                                                                                                     \
    }
SPOIL(k_heads, TENON_KV_EVICT_K, TENON_F32, 4, (int64_t[]){2, 40, 3, 8})
SPOIL(k_width, TENON_KV_EVICT_K, TENON_F32, 4, (int64_t[]){2, 40, 2, 9})
SPOIL(k_type, TENON_KV_EVICT_K, TENON_F16, 4, (int64_t[]){2, 40, 2, 8})
SPOIL(given, TENON_KV_EVICT_SCORES, TENON_F32, 3, (int64_t[]){2, 2, 40})
SPOIL(len, TENON_KV_EVICT_KV_LEN, TENON_I32, 2, (int64_t[]){2, 3})
SPOIL(kpos, TENON_KV_EVICT_KPOS, TENON_I32, 2, (int64_t[]){2, 41})
SPOIL(list, TENON_KV_EVICT_LIST, TENON_I32, 3, (int64_t[]){2, 2, 9})
SPOIL(rows, TENON_KV_EVICT_ROWS, TENON_I32, 3, (int64_t[]){2, 2, 13})
SPOIL(keep, TENON_KV_EVICT_KEEP, TENON_U32, 3, (int64_t[]){2, 2, 1})
SPOIL_PARAM(even, p->ks = 4)
SPOIL_PARAM(pool, p->pool = TENON_KV_EVICT_MAX)
SPOIL_PARAM(gate, p->score = TENON_KV_EVICT_GATE)
SPOIL_PARAM(slots, p->slots = 40)
SPOIL_PARAM(all, p->share = TENON_KV_EVICT_ALL)

const struct conform_hostile tenon__evict_suite_hostile[EVICT_HOSTILE] = {
    {"heads that do not divide", TENON_E_SHAPE, spoil_k_heads},
    {"keys of another width", TENON_E_SHAPE, spoil_k_width},
    {"keys of another type", TENON_E_DTYPE, spoil_k_type},
    {"scores by head", TENON_E_SHAPE, spoil_given},
    {"lengths of three heads", TENON_E_SHAPE, spoil_len},
    {"positions of other keys", TENON_E_SHAPE, spoil_kpos},
    {"a list that may be too short", TENON_E_SHAPE, spoil_list},
    {"rows by head", TENON_E_SHAPE, spoil_rows},
    {"too few bits", TENON_E_SHAPE, spoil_keep},
    {"an even pool", TENON_E_ARG, spoil_even},
    {"a pool without snap", TENON_E_ARG, spoil_pool},
    {"queries for a gate", TENON_E_ARG, spoil_gate},
    {"slots with keys", TENON_E_ARG, spoil_slots},
    {"a list for all of lists a head", TENON_E_SHAPE, spoil_all},
};

/* ---- properties ---- */

static double element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static void put(const struct conform_case *c, uint32_t i, int64_t index, double value)
{
    const struct conform_slot *slot = &c->slot[i];
    conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index), value);
}

/* The same case with storage of its own. */
static int derive(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++)
        derived->slot[i].data = NULL;
    return 1;
}

static int finish(const struct conform_case *base, struct conform_case *derived)
{
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < TENON_KV_EVICT_LIST; i++)
        for (int64_t e = 0; base->slot[i].tensor.dtype && e < tenon_tensor_count(&base->slot[i].tensor); e++)
            put(derived, i, e, element(base, i, e));
    return 1;
}

static int check_same(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    for (uint32_t i = TENON_KV_EVICT_LIST; i < TENON_KV_EVICT_N_TENSORS; i++)
        for (int64_t e = 0; derived->slot[i].tensor.dtype && base->slot[i].tensor.dtype &&
                            e < tenon_tensor_count(&base->slot[i].tensor); e++) {
            const double x = element(base, i, e), y = element(derived, i, e);
            if (x != y && !(isnan(x) && isnan(y)))
                return tenon_why_set(why, 1, "%s element %lld is %.10g, before %.10g",
                                     tenon_op_contract_by_number(TENON_OPNUM_kv_evict)->tensors[i].name, (long long)e,
                                     y, x);
        }
    return 0;
}

/* Positions that are given and those that are meant are the same. */
static int derive_positions(const struct conform_case *base, struct conform_case *derived)
{
    const struct evict_sizes z = tenon__evict_suite_sizes(base);
    if (base->slot[TENON_KV_EVICT_KPOS].tensor.dtype || !z.keys || !z.batch || !derive(base, derived))
        return 0;
    conform_slot_set(derived, TENON_KV_EVICT_KPOS, TENON_I32, 2, (int64_t[]){z.batch, z.keys});
    if (!finish(base, derived))
        return 0;
    for (int64_t e = 0; e < z.batch * z.keys; e++)
        put(derived, TENON_KV_EVICT_KPOS, e, (double)(e % z.keys));
    return 1;
}

static int derive_lengths(const struct conform_case *base, struct conform_case *derived)
{
    const struct evict_sizes z = tenon__evict_suite_sizes(base);
    if (base->slot[TENON_KV_EVICT_KV_LEN].tensor.dtype || !z.lists || !derive(base, derived))
        return 0;
    conform_slot_set(derived, TENON_KV_EVICT_KV_LEN, TENON_I32, 2, (int64_t[]){z.batch, z.lists});
    if (!finish(base, derived))
        return 0;
    for (int64_t e = 0; e < z.batch * z.lists; e++)
        put(derived, TENON_KV_EVICT_KV_LEN, e, (double)z.keys);
    return 1;
}

/* Without what nobody asks for. */
static int derive_alone(const struct conform_case *base, struct conform_case *derived)
{
    derive(base, derived);
    for (uint32_t i = TENON_KV_EVICT_LIST + 1; i < TENON_KV_EVICT_N_TENSORS; i++)
        derived->slot[i].tensor.dtype = 0;
    return finish(base, derived);
}

/* Scores that came out are a gate's. */
static int derive_gate(const struct conform_case *base, struct conform_case *derived)
{
    struct tenon_kv_evict_params *p = (struct tenon_kv_evict_params *)(void *)derived->params;
    const struct evict_sizes z = tenon__evict_suite_sizes(base);
    if (tenon__evict_suite_params(base)->score != TENON_KV_EVICT_RECENT || !derive(base, derived))
        return 0;
    p->score = TENON_KV_EVICT_GATE;
    p->slots = 0;
    if (p->share == TENON_KV_EVICT_PER_HEAD || z.kv_heads == 1)
        conform_slot_set(derived, TENON_KV_EVICT_SCORES, TENON_F32, 3, (int64_t[]){z.batch, z.keys, z.kv_heads});
    if (!derived->slot[TENON_KV_EVICT_SCORES].tensor.dtype || !finish(base, derived))
        return 0;
    for (int64_t e = 0; e < z.batch * z.keys * z.kv_heads; e++)
        put(derived, TENON_KV_EVICT_SCORES, e, 0);
    return 1;
}

const struct conform_property tenon__evict_suite_properties[EVICT_PROPERTIES] = {
    {"positions as they come", derive_positions, check_same},
    {"lengths that are all", derive_lengths, check_same},
    {"the list alone", derive_alone, check_same},
    {"recent is a gate of zeros", derive_gate, check_same},
};
