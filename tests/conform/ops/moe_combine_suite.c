/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_combine: the shapes and the contents of its cases, and its benchmark rows. */
#include <stdio.h>
#include <string.h>
#include "moe_combine_suite.h"

#define QUICK_CASES 220
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_moe_combine_params *params_of(struct conform_case *c)
{
    return (struct tenon_moe_combine_params *)(void *)c->params;
}

/* ---- contents ---- */

/* Rows in turn, so that neighbours of a token are far from each other, or what the fill is for. */
static int32_t pos_of(const struct conform_case *c, int64_t i)
{
    const int64_t mp = tenon__combine_suite_mp(c), k = tenon__combine_suite_k(c);
    const uint64_t key = conform_key(c, 30), random = conform_random(key, (uint64_t)i);
    const int32_t any = mp ? (int32_t)conform_below(key, (uint64_t)i, (uint64_t)mp) : -1;
    const int32_t wrong[6] = {-2, INT32_MIN, INT32_MAX, (int32_t)mp, (int32_t)mp + 1, -1000};
    switch (c->own[0]) {
    case COMBINE_ONCE: return (int32_t)((uint64_t)i * UINT64_C(7919) % (uint64_t)mp); /* 7919: prime to mp */
    case COMBINE_DROPPED: return random >> 62 && (i / k) % 3 ? any : -1;
    case COMBINE_WRONG_POS: return random >> 62 == 0 ? wrong[(random >> 20) % 6] : random >> 62 == 1 ? -1 : any;
    default: return random >> 60 ? any : -1;
    }
}

static float special(uint64_t which)
{
    return conform_bits_float((const uint32_t[]){0x7f800000, 0xff800000, 0x7fc00000, 0xffc00123}[which % 4]);
}

static float w_of(const struct conform_case *c, int64_t i)
{
    const uint64_t key = conform_key(c, 31), random = conform_random(key, (uint64_t)i);
    if (c->own[0] == COMBINE_EXACT)
        return (float)(random % 17) * 0.125f - 1;
    if (c->own[0] == COMBINE_ZERO_W && random >> 62)
        return random >> 61 & 1 ? 0.0f : -0.0f;
    if (c->own[0] == COMBINE_SPECIAL && random >> 60 == 0)
        return special(random);
    if (c->own[0] == COMBINE_WIDE)
        return conform_normal(key, (uint64_t)i) * (random >> 63 ? 0x1p-40f : 0x1p20f);
    return conform_uniform(key, (uint64_t)i) + 0x1p-20f;
}

/* zp, shared and residual. */
static float value_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, 32 + tensor), random = conform_random(key, (uint64_t)i);
    const float normal = conform_normal(key, (uint64_t)i);
    switch (c->own[0]) {
    case COMBINE_EXACT: return (float)((int64_t)(random % 33) - 16) * 0.25f;
    case COMBINE_ZERO_W: return random >> 63 && tensor == TENON_MOE_COMBINE_ZP ? special(random) : normal;
    case COMBINE_SPECIAL: return random >> 61 == 0 ? special(random) : normal;
    case COMBINE_WIDE:
        return c->slot[tensor].tensor.dtype == TENON_F16 ? normal * 100 : normal * (random >> 63 ? 0x1p-60f : 0x1p60f);
    default: return normal;
    }
}

static void combine_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        const double value = tensor == TENON_MOE_COMBINE_POS ? (double)pos_of(c, i)
                             : tensor == TENON_MOE_COMBINE_W ? (double)w_of(c, i)
                                                             : (double)value_of(c, tensor, i);
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[COMBINE_FILLS] = {"exact",  "normal", "dropped", "wrong pos",
                                                     "zero w", "wide",   "special",   "each once"};
    const struct tenon_moe_combine_params *p = params_of(c);
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%lldx%lld of %lldx%lld %s>%s %s", (long long)tenon__combine_suite_tokens(c),
                   (long long)tenon__combine_suite_k(c), (long long)tenon__combine_suite_mp(c),
                   (long long)tenon__combine_suite_cols(c),
                   tenon_dtype_name(c->slot[TENON_MOE_COMBINE_ZP].tensor.dtype),
                   tenon_dtype_name(c->slot[TENON_MOE_COMBINE_Y].tensor.dtype), fills[c->own[0]]);
    if (c->slot[TENON_MOE_COMBINE_SHARED].tensor.dtype)
        at += snprintf(at, (size_t)(end - at), " +%.3g shared", (double)p->shared_scale);
    if (c->slot[TENON_MOE_COMBINE_RESIDUAL].tensor.dtype)
        at += snprintf(at, (size_t)(end - at), " +residual");
    if (!p->skip_zero)
        at += snprintf(at, (size_t)(end - at), " no skip");
    snprintf(at, (size_t)(end - at), "%s", c->slot[TENON_MOE_COMBINE_Y].same_as >= 0 ? " in place" : "");
}

/* Layout 1: rows with gaps; 2: tokens are two axes. */
static void set_tensors(struct conform_case *c, int64_t tokens, int64_t k, int64_t mp, int64_t cols, uint32_t layout,
                        uint64_t hash)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const int two = layout == 2 && tokens % 2 == 0 && tokens > 0;
    const int64_t slots[3] = {two ? tokens / 2 : tokens, two ? 2 : k, k};
    const int64_t wide[3] = {two ? tokens / 2 : tokens, two ? 2 : cols, cols};
    for (uint32_t i = TENON_MOE_COMBINE_ZP; i <= TENON_MOE_COMBINE_Y; i++) {
        const uint32_t dtype = c->number ? types[hash >> (2 * i) & 3] : TENON_F32;
        if ((i == TENON_MOE_COMBINE_SHARED || i == TENON_MOE_COMBINE_RESIDUAL) && c->number && hash >> (10 + i) & 1)
            continue;
        if (i == TENON_MOE_COMBINE_POS || i == TENON_MOE_COMBINE_W) {
            conform_slot_set(c, i, i == TENON_MOE_COMBINE_W ? TENON_F32 : TENON_I32, two ? 3 : 2, slots);
            conform_slot_room(&c->slot[i], (hash >> 20 & 3) * 4, 8);
            continue;
        }
        if (i == TENON_MOE_COMBINE_ZP)
            conform_slot_set(c, i, dtype, 2, (int64_t[]){mp, cols});
        else
            conform_slot_set(c, i, dtype, two ? 3 : 2, wide);
        if (layout == 1)
            conform_slot_pitch(&c->slot[i], cols + (int64_t)(hash >> (22 + i) & 7) + 1);
        conform_slot_room(&c->slot[i], (layout == 1 ? 4 : hash >> (30 + i) & 3) * 4, 8);
    }
    if (c->slot[TENON_MOE_COMBINE_RESIDUAL].tensor.dtype && c->number && hash >> 40 & 1) {
        c->slot[TENON_MOE_COMBINE_Y] = c->slot[TENON_MOE_COMBINE_RESIDUAL];
        c->slot[TENON_MOE_COMBINE_Y].same_as = TENON_MOE_COMBINE_RESIDUAL;
        c->slot[TENON_MOE_COMBINE_Y].is_output = 1;
    }
    if (!c->number || hash >> 41 & 1)
        conform_slot_set(c, TENON_MOE_COMBINE_FLAGS, TENON_U32, 1, (int64_t[]){4});
}

struct combine_special {
    int64_t tokens, k, mp, cols;
    uint32_t fill;
};
static const struct combine_special first_specials[] = {
    {4, 2, 9, 7, COMBINE_NORMAL}, /* case 0: plain, with every tensor */
    {0, 2, 5, 4, COMBINE_NORMAL}, {5, 0, 3, 6, COMBINE_NORMAL}, {5, 2, 0, 6, COMBINE_WRONG_POS},
    {5, 3, 7, 0, COMBINE_SPECIAL}, {2, 300, 50, 20, COMBINE_NORMAL}, {2, 3, 5, 9001, COMBINE_NORMAL},
    {600, 1, 600, 3, COMBINE_EXACT}, {33, 8, 264, 257, COMBINE_EXACT}, {1, 1, 1, 1, COMBINE_SPECIAL},
};
static const struct combine_special full_specials[] = {
    {70000, 2, 1000, 3, COMBINE_NORMAL}, {1, 30000, 40, 17, COMBINE_EXACT}, {512, 8, 4096, 256, COMBINE_NORMAL},
    {3, 4, 12, 100003, COMBINE_WIDE},
};

static void combine_make(struct conform_case *c)
{
    static const int64_t all_tokens[8] = {1, 2, 3, 4, 8, 17, 40, 64};
    static const int64_t all_k[7] = {1, 2, 3, 4, 6, 8, 17};
    static const int64_t all_cols[13] = {1, 2, 3, 7, 15, 16, 17, 33, 64, 65, 130, 300, 513};
    static const float scales[4] = {1, 1, -0.75f, 2.5f};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct combine_special *s = n < COUNT(first_specials) ? &first_specials[n]
                                      : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                          ? &full_specials[n - QUICK_CASES]
                                          : NULL;
    c->own[0] = s ? s->fill : n % COMBINE_ONCE;
    c->mode = c->own[0] == COMBINE_EXACT                                     ? CONFORM_EXACT
              : c->own[0] == COMBINE_NORMAL || c->own[0] == COMBINE_DROPPED ? CONFORM_RANDOM
                                                                             : CONFORM_ADVERSARIAL;
    params_of(c)->shared_scale = n ? scales[hash >> 42 & 3] : 1;
    params_of(c)->skip_zero = n ? (hash >> 44 & 3) != 0 : 1;
    if (s) {
        set_tensors(c, s->tokens, s->k, s->mp, s->cols, 0, hash);
    } else {
        const int64_t tokens = all_tokens[(hash >> 46) % 8], k = all_k[(hash >> 50) % 7];
        const int64_t mp = tokens * k + (int64_t)(hash >> 54 & 3);
        set_tensors(c, tokens, k, mp, all_cols[n % 13], (uint32_t)(hash >> 56) % 3, conform_random(hash, 1));
    }
    name_case(c);
}

/* ---- benchmarks: each row of zp is read once, y is written ---- */

#define BENCH(text, type, size, tokens, k, cols)                                                                       \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {tokens, k, cols},                                                                  \
            (double)(tokens) * (((k) + 1.0) * (cols) * (size) + 8.0 * (k)), 2.0 * (tokens) * (k) * (cols)              \
    }
static const struct conform_bench benches[] = {
    BENCH("4096x8 of 1024", TENON_F32, 4, 4096, 8, 1024),
    BENCH("bf16 4096x8 of 2048", TENON_BF16, 2, 4096, 8, 2048),
    BENCH("mixtral 1024x2 of 4096", TENON_F32, 4, 1024, 2, 4096),
    BENCH("qwen3-moe bf16 1024x8 of 2048", TENON_BF16, 2, 1024, 8, 2048),
    BENCH("deepseek-v3 bf16 512x8 of 7168", TENON_BF16, 2, 512, 8, 7168),
    BENCH("decode 1x8 of 4096", TENON_F32, 4, 1, 8, 4096),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int64_t tokens = bench->dim[0], k = bench->dim[1], cols = bench->dim[2];
    c->own[0] = COMBINE_ONCE;
    conform_slot_set(c, TENON_MOE_COMBINE_ZP, bench->dtype, 2, (int64_t[]){tokens * k, cols});
    conform_slot_set(c, TENON_MOE_COMBINE_POS, TENON_I32, 2, bench->dim);
    conform_slot_set(c, TENON_MOE_COMBINE_W, TENON_F32, 2, bench->dim);
    conform_slot_set(c, TENON_MOE_COMBINE_Y, bench->dtype, 2, (int64_t[]){tokens, cols});
    name_case(c);
}

const struct conform_op tenon__conform_moe_combine = {
    .op = TENON_OPNUM_moe_combine,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = combine_make,
    .fill = combine_fill,
    .expect = tenon__conform_moe_combine_expect,
    .check = tenon__conform_moe_combine_check,
    .mpfr = tenon__conform_moe_combine_mpfr,
    .n_hostile = COMBINE_HOSTILE,
    .hostile = tenon__combine_suite_hostile,
    .n_properties = COMBINE_PROPERTIES,
    .properties = tenon__combine_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
