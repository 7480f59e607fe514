/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append: the shapes and the contents of its cases, and its benchmark rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "kv_append_suite.h"

#define QUICK_CASES 240
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_kv_append_params *params_of(struct conform_case *c)
{
    return (struct tenon_kv_append_params *)(void *)c->params;
}

/* ---- contents ---- */

static double x_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    static const uint32_t special[8] = {0x7f800000, 0xff800000, 0x7fc00000, 0x80000000,
                                        0x00000001, 0x80400000, 0x7f7fffff, 0xff7fffff};
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const int half = c->slot[tensor].tensor.dtype == TENON_F16;
    switch (c->own[0]) {
    case KV_EXACT: return (double)((int64_t)(random % 65) - 32) * 0.125;
    case KV_SPECIAL: return random >> 61 ? normal : (double)conform_bits_float(special[random % 8]);
    case KV_FLAT: return random >> 59 ? 0.7109375 : 0.7119140625; /* neighbours in bf16, or nearly */
    case KV_WIDE: return half ? normal * 1000 : normal * ((const double[]){0x1p70, 0x1p-70, 1, 0x1p-55})[random >> 62];
    default: return normal;
    }
}

static double pos_of(const struct conform_case *c, int64_t b)
{
    static const int32_t outside[8] = {-1, -3, INT32_MAX, INT32_MIN, INT32_MAX - 2, 0, 5, -100};
    const uint64_t key = conform_key(c, 40);
    const int64_t slots = kv_slots(c), tokens = c->slot[TENON_KV_APPEND_K_NEW].tensor.dim[1], room = slots - tokens;
    if (c->own[1] == KV_OUTSIDE && conform_random(key, (uint64_t)b) >> 63)
        return outside[conform_random(key, (uint64_t)b) % 8];
    if (c->own[1] == KV_OUTSIDE)
        return (double)conform_below(key, (uint64_t)b, (uint64_t)slots + 3);
    if (KV_PARAMS(c)->ring)
        return (double)conform_below(key, (uint64_t)b, b % 2 ? 2147480000 : (uint64_t)slots * 3 + 1);
    return room > 0 ? (double)conform_below(key, (uint64_t)b, (uint64_t)room + 1) : 0;
}

static double n_new_of(const struct conform_case *c, int64_t b)
{
    const uint64_t key = conform_key(c, 41), random = conform_random(key, (uint64_t)b);
    const int64_t tokens = c->slot[TENON_KV_APPEND_K_NEW].tensor.dim[1];
    if (c->own[1] == KV_OUTSIDE && random >> 62 == 0)
        return random & 1 ? INT32_MIN + (double)(random >> 40 & 3) : (double)tokens + 1;
    return random >> 62 == 1 ? (double)tokens : (double)conform_below(key, (uint64_t)b, (uint64_t)tokens + 1);
}

/* From the last page down, each once. */
static double page_of(const struct conform_case *c, int64_t i)
{
    const int64_t pages = c->slot[TENON_KV_APPEND_K].tensor.dim[0];
    const uint64_t random = conform_random(conform_key(c, 42), (uint64_t)i);
    if (c->own[1] == KV_OUTSIDE && random >> 62 == 0)
        return ((const double[]){-1, (double)pages, INT32_MIN, INT32_MAX})[random & 3];
    return (double)(pages - 1 - i);
}

static double channel_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    static const double odd[8] = {0, INFINITY, NAN, 0x1p-41, 0x1p-40, 0x1p40, 0x1p41, -0.05};
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const int values = tensor == TENON_KV_APPEND_V_CHANNEL;
    const uint32_t mode = values ? KV_PARAMS(c)->quant_v : KV_PARAMS(c)->quant_k;
    const uint32_t bits = values ? KV_PARAMS(c)->v_bits : KV_PARAMS(c)->k_bits;
    const double uniform = (double)conform_uniform(key, (uint64_t)i);
    if (c->own[0] == KV_SPECIAL && random >> 62 == 0)
        return odd[random % 8];
    if (mode == TENON_KV_APPEND_LUT_CHANNEL)
        return i % 2 ? uniform - 0.5 : 1.5 + uniform;
    return i % 2 ? exp2(bits) * (0.25 + 0.5 * uniform) : (3 + uniform) / exp2(bits);
}

/* Ascends, denser in the middle. */
static double table_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const int64_t n = c->slot[tensor].tensor.dim[0];
    const double y = 2 * (double)i / (double)(n - 1) - 1;
    return y * (0.25 + 0.75 * y * y);
}

static void append_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        double value = 0;
        switch (tensor) {
        case TENON_KV_APPEND_POS: value = pos_of(c, i); break;
        case TENON_KV_APPEND_N_NEW: value = n_new_of(c, i); break;
        case TENON_KV_APPEND_PAGE_TABLE: value = page_of(c, i); break;
        case TENON_KV_APPEND_K_CHANNEL:
        case TENON_KV_APPEND_V_CHANNEL: value = channel_of(c, tensor, i); break;
        case TENON_KV_APPEND_K_TABLE:
        case TENON_KV_APPEND_V_TABLE: value = table_of(c, tensor, i); break;
        default: value = x_of(c, tensor, i);
        }
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[KV_FILLS] = {"normal", "exact", "special", "flat", "wide"};
    static const char *const places[KV_PLACES] = {"inside", "step", "outside"};
    static const char *const modes[5] = {"", " affine", " affine/channel", " lut", " lut/channel"};
    const struct tenon_tensor *x = &c->slot[TENON_KV_APPEND_K_NEW].tensor;
    const struct tenon_kv_append_params *p = KV_PARAMS(c);
    snprintf(c->name, sizeof(c->name), "%lldx%lldx%lldx%lld+%lld in %lld%s%s %s k%s%u v%s%u %s %s",
             (long long)x->dim[0], (long long)x->dim[1], (long long)x->dim[2], (long long)x->dim[3],
             (long long)c->slot[TENON_KV_APPEND_V_NEW].tensor.dim[3], (long long)kv_slots(c),
             kv_page(c) ? " paged" : "", p->ring ? " ring" : "", tenon_dtype_name(x->dtype), modes[p->quant_k],
             p->k_bits, modes[p->quant_v], p->v_bits, fills[c->own[0]], places[c->own[1]]);
}

/* A new side or a cache. Layout 1: the second axis inside the third; 2: gaps on every axis. */
static void set_four(struct conform_case *c, uint32_t i, uint32_t dtype, const int64_t *dim, uint32_t layout,
                     uint64_t hash)
{
    conform_slot_set(c, i, dtype, 4, dim);
    int64_t *stride = c->slot[i].tensor.stride;
    const int64_t gap = layout == 2 ? (int64_t)(hash & 7) + 1 : 0, row = dim[3] + gap;
    if (layout == 1) {
        stride[1] = row;
        stride[2] = row * dim[1];
        stride[0] = row * dim[1] * dim[2];
    } else if (layout == 2) {
        stride[2] = row;
        stride[1] = row * dim[2] + gap;
        stride[0] = stride[1] * dim[1] + gap;
    }
    conform_slot_margins(&c->slot[i], hash >> 8, hash >> 16);
}

struct shape {
    int64_t batches, tokens, heads, slots, page, cols[2];
    uint32_t type, cache, layout;
};

static void set_side(struct conform_case *c, const struct shape *s, int values, uint64_t hash)
{
    const struct tenon_kv_append_params *p = KV_PARAMS(c);
    const uint32_t mode = values ? p->quant_v : p->quant_k, bits = values ? p->v_bits : p->k_bits;
    const int64_t cols = s->cols[values], group = values ? p->v_group : p->k_group, span = group ? group : cols;
    const int64_t pages = s->batches * (s->page ? s->slots / s->page : 0) + 1, packed = mode ? cols * bits / 8 : cols;
    const int64_t lead[3] = {s->page ? pages : s->batches, s->page ? s->heads : s->slots, s->page ? s->page : s->heads};
    const int token = mode == TENON_KV_APPEND_AFFINE_TOKEN || mode == TENON_KV_APPEND_LUT_TOKEN;
    const uint32_t step = values ? TENON_KV_APPEND_V_NEW - TENON_KV_APPEND_K_NEW : 0;
    set_four(c, TENON_KV_APPEND_K_NEW + step, s->type, (int64_t[]){s->batches, s->tokens, s->heads, cols}, s->layout,
             hash);
    set_four(c, TENON_KV_APPEND_K + step, mode ? TENON_U8 : s->cache, (int64_t[]){lead[0], lead[1], lead[2], packed},
             s->layout == 2 ? 2 : 0, hash >> 24);
    if (token)
        conform_slot_set(c, TENON_KV_APPEND_K_QUANT + step, TENON_F32, 5,
                         (int64_t[]){lead[0], lead[1], lead[2], span ? cols / span : 0, 2});
    else if (mode)
        conform_slot_set(c, TENON_KV_APPEND_K_CHANNEL + step, TENON_F32, 3, (int64_t[]){s->heads, cols, 2});
    if (mode == TENON_KV_APPEND_LUT_TOKEN || mode == TENON_KV_APPEND_LUT_CHANNEL)
        conform_slot_set(c, TENON_KV_APPEND_K_TABLE + step, TENON_F32, 1, (int64_t[]){INT64_C(1) << bits});
}

static void set_all(struct conform_case *c, const struct shape *s, uint64_t hash)
{
    const uint64_t all = c->number == 0 ? 15 : c->number > 5 && c->number <= 9 ? 14 : hash >> 60;
    for (int values = 0; values < 2; values++)
        set_side(c, s, values, conform_random(hash, (uint64_t)values));
    conform_slot_set(c, TENON_KV_APPEND_POS, TENON_I32, 1, &s->batches);
    if (s->page)
        conform_slot_set(c, TENON_KV_APPEND_PAGE_TABLE, TENON_I32, 2, (int64_t[]){s->batches, s->slots / s->page});
    if (all & 1)
        conform_slot_set(c, TENON_KV_APPEND_N_NEW, TENON_I32, 1, &s->batches);
    if (all & 2)
        conform_slot_set(c, TENON_KV_APPEND_KPOS, TENON_I32, 2, (int64_t[]){s->batches, s->slots});
    if (all & 4)
        conform_slot_set(c, TENON_KV_APPEND_KV_LEN, TENON_I32, 1, &s->batches);
    if (all & 8)
        conform_slot_set(c, TENON_KV_APPEND_FLAGS, TENON_U32, 1, (int64_t[]){4});
}

/* A mode, its bits and a group that fits. */
static void set_mode(uint64_t hash, int64_t cols, uint32_t *mode, uint32_t *bits, int32_t *group)
{
    *bits = (const uint32_t[]){8, 4, 2, 4}[hash & 3];
    *mode = cols * *bits % 8 ? TENON_KV_APPEND_NONE : (uint32_t)(hash >> 2) % 5;
    *group = 0;
    const int token = *mode == TENON_KV_APPEND_AFFINE_TOKEN || *mode == TENON_KV_APPEND_LUT_TOKEN;
    if (token && cols % 16 == 0 && hash >> 10 & 1)
        *group = hash >> 11 & 1 ? 8 : (int32_t)cols / 2;
}

static void append_make(struct conform_case *c)
{
    static const int64_t all_t[6] = {1, 2, 3, 7, 16, 33}, all_d[10] = {1, 8, 7, 16, 64, 33, 128, 24, 80, 256};
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    struct tenon_kv_append_params *p = params_of(c);
    struct shape s = {.batches = 1 + (int64_t)(hash % 3), .tokens = all_t[(hash >> 4) % 6],
                      .heads = 1 + (int64_t)(hash >> 8) % 3, .page = hash >> 12 & 1 ? 16 << (hash >> 13 & 1) : 0,
                      .cols = {all_d[n % 10], all_d[(hash >> 16) % 10]}, .type = types[hash >> 20 & 3],
                      .cache = types[hash >> 22 & 3], .layout = (uint32_t)(hash >> 24) % 3};
    c->own[0] = hash >> 28 & 1 ? KV_NORMAL : (hash >> 29) % KV_FILLS;
    c->own[1] = (hash >> 33) % KV_PLACES;
    if (c->own[1] == KV_STEP)
        s.tokens = 1;
    set_mode(hash >> 36, s.cols[0], &p->quant_k, &p->k_bits, &p->k_group);
    set_mode(hash >> 48, s.cols[1], &p->quant_v, &p->v_bits, &p->v_group);
    p->ring = n && hash >> 35 & 1;
    if (n == 0) { /* as many tensors as there can be */
        s = (struct shape){2, 3, 2, 32, 16, {16, 8}, TENON_F32, TENON_F32, 0};
        *p = (struct tenon_kv_append_params){.struct_size = p->struct_size, .quant_k = TENON_KV_APPEND_LUT_TOKEN,
                                             .quant_v = TENON_KV_APPEND_LUT_CHANNEL, .k_bits = 4, .v_bits = 8};
        c->own[0] = KV_NORMAL;
        c->own[1] = KV_INSIDE;
    } else if (n <= 5) { /* nothing to do, in each way */
        int64_t *const axis[5] = {&s.batches, &s.tokens, &s.heads, &s.cols[0], &s.cols[1]};
        p->k_group = p->v_group = 0;
        *axis[n - 1] = 0;
    } else if (n <= 9) { /* rows that are not finite meet in a ring: those that are lost are not counted */
        const int channel = n & 1;
        s = (struct shape){2, 16, 2, 0, n > 7 ? 16 : 0, {16, 24}, types[n & 3], TENON_F32, 0};
        *p = (struct tenon_kv_append_params){.struct_size = p->struct_size, .ring = 1, .k_bits = 4, .v_bits = 8};
        p->quant_k = channel ? TENON_KV_APPEND_AFFINE_CHANNEL : TENON_KV_APPEND_LUT_TOKEN;
        p->quant_v = channel ? TENON_KV_APPEND_LUT_CHANNEL : TENON_KV_APPEND_AFFINE_TOKEN;
        s.tokens += s.page;
        c->own[0] = KV_SPECIAL;
        c->own[1] = KV_INSIDE;
    }
    s.slots = s.page ? s.page * (1 + (s.tokens + 5) / s.page) : s.tokens + (int64_t)(hash >> 56 & 15) + 1;
    if (p->ring && (hash >> 60 & 1 || n <= 9))
        s.slots = s.page ? s.page : 5 + (int64_t)(hash >> 61 & 3); /* rows meet */
    p->n_sink = p->ring && (hash >> 63 || n <= 9) ? (int32_t)(s.slots / 3) : 0;
    c->mode = c->own[0] == KV_EXACT ? CONFORM_EXACT : c->own[0] == KV_NORMAL ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
    set_all(c, &s, conform_random(hash, 7));
    name_case(c);
}

/* ---- benchmarks: what is new is read, and written ---- */

#define BENCH(text, type, size, out, batches, tokens, heads)                                                           \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {batches, tokens, heads},                                                           \
            2.0 * (batches) * (tokens) * (heads) * 128 * (size + out), 0                                               \
    }
static const struct conform_bench benches[] = {
    BENCH("plain 1x4096x8", TENON_BF16, 2, 2, 1, 4096, 8),
    BENCH("paged 1x4096x8", TENON_BF16, 2, 2, 1, 4096, 8),
    BENCH("affine 1x4096x8", TENON_BF16, 2, 1, 1, 4096, 8),
    BENCH("decode 64x1x8", TENON_BF16, 2, 2, 64, 1, 8),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int paged = strncmp(bench->name, "paged", 5) == 0;
    const struct shape s = {bench->dim[0], bench->dim[1], bench->dim[2], bench->dim[1] + 64, paged ? 64 : 0,
                            {128, 128}, bench->dtype, bench->dtype, 0};
    if (strncmp(bench->name, "affine", 6) == 0)
        params_of(c)->quant_k = params_of(c)->quant_v = TENON_KV_APPEND_AFFINE_TOKEN;
    c->own[0] = KV_NORMAL;
    c->own[1] = KV_INSIDE;
    set_all(c, &s, 0);
    name_case(c);
}

const struct conform_op tenon__conform_kv_append = {
    .op = TENON_OPNUM_kv_append,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = append_make,
    .fill = append_fill,
    .expect = tenon__conform_kv_append_expect,
    .mpfr = tenon__conform_kv_append_mpfr,
    .n_hostile = KV_HOSTILE,
    .hostile = tenon__kv_append_suite_hostile,
    .n_properties = KV_PROPERTIES,
    .properties = tenon__kv_append_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
