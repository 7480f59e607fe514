/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append: descriptors that only it knows to be wrong, and properties that tie two runs. */
#include <math.h>
#include <string.h>
#include "kv_append_suite.h"

/* ---- hostile descriptors: case 0 is 2 x 3 rows of 2 heads of 16 and 8 columns in 16 slots, pages of 16 ---- */

#define SPOIL(name, ...)                                                                                               \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        conform_slot_set(c, __VA_ARGS__);                                                                              \
    }
#define SPOIL_PARAM(name, statement)                                                                                   \
    static void spoil_##name(struct conform_case *c)                                                                   \
    {                                                                                                                  \
        struct tenon_kv_append_params *p = (struct tenon_kv_append_params *)(void *)c->params;                         \
        statement;                                                                                                     \
    }
SPOIL(v_new, TENON_KV_APPEND_V_NEW, TENON_F32, 4, (int64_t[]){2, 4, 2, 8})
SPOIL(k_flat, TENON_KV_APPEND_K_NEW, TENON_F32, 3, (int64_t[]){6, 2, 16})
SPOIL(pages, TENON_KV_APPEND_PAGE_TABLE, TENON_I32, 2, (int64_t[]){3, 2})
SPOIL(page_size, TENON_KV_APPEND_K, TENON_U8, 4, (int64_t[]){5, 2, 24, 8})
SPOIL(unpacked, TENON_KV_APPEND_K, TENON_U8, 4, (int64_t[]){5, 2, 16, 16})
SPOIL(floats, TENON_KV_APPEND_K, TENON_F32, 4, (int64_t[]){5, 2, 16, 8})
SPOIL(quant, TENON_KV_APPEND_K_QUANT, TENON_F32, 5, (int64_t[]){5, 2, 16, 2, 2})
SPOIL(table, TENON_KV_APPEND_K_TABLE, TENON_F32, 1, (int64_t[]){256})
SPOIL(channel, TENON_KV_APPEND_V_CHANNEL, TENON_F32, 3, (int64_t[]){2, 16, 2})
SPOIL(kpos, TENON_KV_APPEND_KPOS, TENON_I32, 2, (int64_t[]){2, 15})
SPOIL(extra, TENON_KV_APPEND_K_CHANNEL, TENON_F32, 3, (int64_t[]){2, 16, 2})
SPOIL_PARAM(bits, p->k_bits = 3)
SPOIL_PARAM(sink, p->n_sink = 1)
SPOIL_PARAM(group, p->k_group = 5)

const struct conform_hostile tenon__kv_append_suite_hostile[KV_HOSTILE] = {
    {"v_new of other rows", TENON_E_SHAPE, spoil_v_new},
    {"k_new of three axes", TENON_E_SHAPE, spoil_k_flat},
    {"pages of other sequences", TENON_E_SHAPE, spoil_pages},
    {"pages of 24", TENON_E_SHAPE, spoil_page_size},
    {"a byte a code of four bits", TENON_E_SHAPE, spoil_unpacked},
    {"floats for codes", TENON_E_DTYPE, spoil_floats},
    {"k_quant of two groups", TENON_E_SHAPE, spoil_quant},
    {"a table of 8 bits for 4", TENON_E_SHAPE, spoil_table},
    {"channels of other columns", TENON_E_SHAPE, spoil_channel},
    {"kpos of other slots", TENON_E_SHAPE, spoil_kpos},
    {"channels of a mode a token", TENON_E_ARG, spoil_extra},
    {"three bits", TENON_E_ARG, spoil_bits},
    {"sinks without a ring", TENON_E_ARG, spoil_sink},
    {"groups that do not divide", TENON_E_SHAPE, spoil_group},
};

/* ---- properties: the outputs are the same ---- */

static uint64_t bits_at(const struct conform_slot *slot, int64_t i)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    uint64_t bits = 0;
    memcpy(&bits, (const char *)conform_first(slot) + conform_offset(&slot->tensor, i) * size, size);
    return bits;
}

/* Of outputs what may stay there. */
static void copy_elements(const struct conform_case *base, struct conform_case *derived, uint32_t i)
{
    const struct conform_slot *from = &base->slot[i], *to = &derived->slot[i];
    const uint32_t size = TENON_DTYPE_SIZE(from->tensor.dtype);
    for (int64_t e = 0; e < tenon_tensor_count(&from->tensor); e++)
        memcpy((char *)conform_first(to) + conform_offset(&to->tensor, e) * size,
               (const char *)conform_first(from) + conform_offset(&from->tensor, e) * size, size);
}

static int begin(const struct conform_case *base, struct conform_case *derived)
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
    for (uint32_t i = 0; i < base->n; i++)
        if (base->slot[i].tensor.dtype)
            copy_elements(base, derived, i);
    return 1;
}

static int check_same(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    for (uint32_t i = TENON_KV_APPEND_K; i < TENON_KV_APPEND_N_TENSORS; i++)
        for (int64_t e = 0; base->slot[i].tensor.dtype && e < tenon_tensor_count(&base->slot[i].tensor); e++)
            if (bits_at(&base->slot[i], e) != bits_at(&derived->slot[i], e))
                return tenon_why_set(why, 1, "element %lld of %s has the bits 0x%llx, before 0x%llx", (long long)e,
                                     tenon_op_contract_by_number(TENON_OPNUM_kv_append)->tensors[i].name,
                                     (unsigned long long)bits_at(&derived->slot[i], e),
                                     (unsigned long long)bits_at(&base->slot[i], e));
    return 0;
}

static int derive_ring(const struct conform_case *base, struct conform_case *derived)
{
    if (KV_PARAMS(base)->ring || base->own[1] == KV_OUTSIDE || kv_slots(base) == 0)
        return 0;
    begin(base, derived);
    ((struct tenon_kv_append_params *)(void *)derived->params)->ring = 1;
    return finish(base, derived);
}

static int derive_count(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t batches = base->slot[TENON_KV_APPEND_K_NEW].tensor.dim[0];
    if (base->slot[TENON_KV_APPEND_N_NEW].tensor.dtype)
        return 0;
    begin(base, derived);
    conform_slot_set(derived, TENON_KV_APPEND_N_NEW, TENON_I32, 1, &batches);
    if (!finish(base, derived))
        return 0;
    for (int64_t b = 0; b < batches; b++)
        conform_set(conform_first(&derived->slot[TENON_KV_APPEND_N_NEW]), TENON_I32, b,
                    (double)base->slot[TENON_KV_APPEND_K_NEW].tensor.dim[1]);
    return 1;
}

/* Rows that do not count hold NaN. */
static int derive_beyond(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_tensor *x = &base->slot[TENON_KV_APPEND_K_NEW].tensor;
    if (!base->slot[TENON_KV_APPEND_N_NEW].tensor.dtype || !begin(base, derived) || !finish(base, derived))
        return 0;
    for (uint32_t i = TENON_KV_APPEND_K_NEW; i <= TENON_KV_APPEND_V_NEW; i++) {
        const struct conform_slot *slot = &derived->slot[i];
        const int64_t row = x->dim[2] * slot->tensor.dim[3];
        for (int64_t e = 0; e < tenon_tensor_count(&slot->tensor); e++)
            if (e / row % x->dim[1] >= (int64_t)kv_element(base, TENON_KV_APPEND_N_NEW, e / row / x->dim[1]))
                conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, e), (double)NAN);
    }
    return 1;
}

static int derive_dense(const struct conform_case *base, struct conform_case *derived)
{
    begin(base, derived);
    for (uint32_t i = TENON_KV_APPEND_K_NEW; i <= TENON_KV_APPEND_V_NEW; i++)
        conform_slot_set(derived, i, base->slot[i].tensor.dtype, 4, base->slot[i].tensor.dim);
    return finish(base, derived);
}

const struct conform_property tenon__kv_append_suite_properties[KV_PROPERTIES] = {
    {"a ring that does not turn", derive_ring, check_same},
    {"as many rows as there are", derive_count, check_same},
    {"NaN beyond the rows that count", derive_beyond, check_same},
    {"new rows without gaps", derive_dense, check_same},
};
