/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a kv_append may do wrong. */
#include <tenon/ops/kv_append.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_kv_append_params, statement)
SPOIL(no_sink, p->n_sink = 0)

static void no_ring(struct tenon_tensor *t, void *params)
{
    struct tenon_kv_append_params *p = params;
    (void)t;
    p->ring = 0;
    p->n_sink = 0;
}

/* Sources as if they lay one after the other. */
static void no_stride(struct tenon_tensor *t, void *params)
{
    struct tenon_tensor *k = &t[TENON_KV_APPEND_K_NEW];
    (void)params;
    if (k->rank == 4) {
        k->stride[2] = k->dim[3];
        k->stride[1] = k->dim[3] * k->dim[2];
    }
}

/* Pages in the order of slots and then heads. */
static void slots_first(struct tenon_tensor *t, void *params)
{
    struct tenon_tensor *v = &t[TENON_KV_APPEND_V];
    (void)params;
    if (!t[TENON_KV_APPEND_PAGE_TABLE].dtype || v->rank != 4)
        return;
    v->stride[2] = v->dim[3] * v->dim[1];
    v->stride[1] = v->dim[3];
}

/* Half to zero more: the last code a step lower where it is above 0. */
static void each_code(const struct faulty_run *run, uint32_t (*change)(uint32_t byte))
{
    const struct tenon_tensor *k = &run->plan->tensor[TENON_KV_APPEND_K];
    unsigned char *memory = tenon__faulty_memory(run, TENON_KV_APPEND_K);
    for (int64_t row = 0; memory && k->dtype == TENON_U8 && row < tenon__faulty_rows(k); row++)
        for (int64_t col = 0; col < k->dim[3]; col++) {
            const int64_t at = tenon__faulty_at(k, row) + col;
            tenon__faulty_poke(k, memory, at, change(tenon__faulty_peek(k, memory, at)));
        }
}

static uint32_t is_poison(uint32_t byte)
{
    return byte == 0xef || byte == 0xbe || byte == 0xad || byte == 0xde;
}
static uint32_t lower_byte(uint32_t byte)
{
    return is_poison(byte) || byte == 0 ? byte : byte - 1;
}
static uint32_t turned_byte(uint32_t byte)
{
    return is_poison(byte) ? byte : (byte >> 4 | byte << 4) & 0xff;
}
static void one_lower(const struct faulty_run *run)
{
    each_code(run, lower_byte);
}
static void high_first(const struct faulty_run *run)
{
    each_code(run, turned_byte);
}

/* z as a whole number, and what it is read with. */
static void whole_zero(const struct faulty_run *run)
{
    const struct tenon_tensor *quant = &run->plan->tensor[TENON_KV_APPEND_K_QUANT];
    float *memory = tenon__faulty_memory(run, TENON_KV_APPEND_K_QUANT);
    for (int64_t i = 1; memory && quant->dtype && i < tenon__faulty_rows(quant) * 2; i += 2)
        if (memory[i] > 0 && memory[i] < 256)
            memory[i] = (float)(int)(memory[i] + 0.5f);
}

/* A kernel that clears the slot after the last. */
static void beyond(const struct faulty_run *run)
{
    const struct tenon_tensor *v = &run->plan->tensor[TENON_KV_APPEND_V];
    void *memory = tenon__faulty_memory(run, TENON_KV_APPEND_V);
    for (int64_t row = 0; memory && v->dtype == TENON_F32 && v->dim[3] && row < tenon__faulty_rows(v); row++)
        if (tenon__faulty_peek(v, memory, tenon__faulty_at(v, row)) == 0xDEADBEEF)
            tenon__faulty_poke(v, memory, tenon__faulty_at(v, row), 0);
}

/* kpos holds slots. */
static void slots_for_positions(const struct faulty_run *run)
{
    const struct tenon_tensor *kpos = &run->plan->tensor[TENON_KV_APPEND_KPOS];
    uint32_t *memory = tenon__faulty_memory(run, TENON_KV_APPEND_KPOS);
    for (int64_t i = 0; memory && kpos->dtype && i < kpos->dim[0] * kpos->dim[1]; i++)
        if (memory[i] != 0xDEADBEEF)
            memory[i] = (uint32_t)(i % kpos->dim[1]);
}

/* The lengths are those before. */
static void length_before(const struct faulty_run *run)
{
    const struct tenon_tensor *kv_len = &run->plan->tensor[TENON_KV_APPEND_KV_LEN];
    int32_t *memory = tenon__faulty_memory(run, TENON_KV_APPEND_KV_LEN);
    const int32_t *pos = tenon__faulty_memory(run, TENON_KV_APPEND_POS);
    for (int64_t b = 0; memory && pos && kv_len->dtype && b < kv_len->dim[0]; b++)
        memory[b] = pos[b] < 0 ? 0 : pos[b];
}

static void odd_uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_KV_APPEND_FLAGS, 0);
}
static void lost_uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_KV_APPEND_FLAGS, 3);
}

static const struct faulty_fault faults[] = {
    {"no_ring", "slots are not used again", "[", .spoil = no_ring},
    {"no_sink", "a ring keeps no first rows", "[", .spoil = no_sink},
    {"all_rows", "n_new is not looked at", "must be", .drop = TENON_KV_APPEND_N_NEW},
    {"no_stride", "strides of k_new are not looked at", "k", .spoil = no_stride},
    {"slots_first", "pages have slots and then heads", "v", .spoil = slots_first},
    {"one_lower", "codes are a step lower", "k[", .after = one_lower},
    {"high_first", "the highest bits are the first code", "k[", .after = high_first},
    {"whole_zero", "z is rounded", "k_quant[", .after = whole_zero},
    {"beyond", "rows that are not new are cleared", "v[", .after = beyond},
    {"slots_for_positions", "kpos holds slots", "kpos[", .after = slots_for_positions},
    {"length_before", "kv_len is that of before", "kv_len[", .after = length_before},
    {"odd_uncounted", "rows that are not finite are not counted", "flags[", .after = odd_uncounted},
    {"lost_uncounted", "rows without a place are not counted", "flags[", .after = lost_uncounted},
};

const struct faulty_op tenon__faulty_kv_append = {faults, sizeof(faults) / sizeof(faults[0])};
