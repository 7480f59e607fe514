/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope: the shapes and the contents of its cases, and its benchmark rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "rope_suite.h"

#define QUICK_CASES 240
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_rope_params *params_of(struct conform_case *c)
{
    return (struct tenon_rope_params *)(void *)c->params;
}

/* ---- contents ---- */

static double x_of(const struct conform_case *c, int64_t i)
{
    const uint64_t key = conform_key(c, 30), random = conform_random(key, (uint64_t)i);
    const float normal = conform_normal(key, (uint64_t)i);
    const int half = c->slot[TENON_ROPE_X].tensor.dtype == TENON_F16;
    switch (c->own[0]) {
    case ROPE_EXACT: return (double)((int64_t)(random % 65) - 32) * 0.125;
    case ROPE_SPECIAL:
        return random >> 60 ? (double)normal
                            : (double)conform_bits_float((const uint32_t[]){0x7f800000, 0xff800000, 0x7fc00000,
                                                                            0x80000000}[random % 4]);
    case ROPE_WIDE: return half ? (double)normal * 100 : (double)normal * (random >> 63 ? 0x1p-60 : 0x1p60);
    case ROPE_TINY: return (double)normal * (half ? 0x1p-22 : random >> 63 ? 0x1p-126 : 0x1p-140);
    default: return (double)normal;
    }
}

static double pos_of(const struct conform_case *c, int64_t i)
{
    static const int32_t ends[8] = {0, 1, -1, INT32_MAX, INT32_MIN, 1 << 20, -(1 << 20), (1 << 20) + 1};
    const uint64_t key = conform_key(c, 31);
    const int64_t rows = c->slot[TENON_ROPE_TABLE].tensor.dtype ? c->slot[TENON_ROPE_TABLE].tensor.dim[0] : 0;
    const int64_t near = rows ? rows : 4096;
    switch (c->own[1]) {
    case ROPE_RISING: return (double)(i % near);
    case ROPE_SMALL: return (double)conform_below(key, (uint64_t)i, (uint64_t)near);
    case ROPE_FAR: return (double)(conform_random(key, (uint64_t)i) >> 44) - (rows ? 3 : 0);
    case ROPE_HUGE: return (double)(int32_t)conform_random(key, (uint64_t)i);
    case ROPE_NEGATIVE: return rows && i % 2 ? (double)(rows - 1) : -1 - (double)(i % 3);
    default: return rows ? (double)(rows - 1 + i % 2) : (double)ends[i % 8];
    }
}

static double freq_of(const struct conform_case *c, int64_t i)
{
    static const uint32_t odd[16] = {0x7fc00000, 0x7f800000, 0xff800000, 0x4b800000, 0x4b7fffff, 0xcb7fffff,
                                     0x00000000, 0x80000000, 0x00000001, 0x007fffff, 0xbf800000, 0x40c90fdb,
                                     0x3fc90fdb, 0x7149f2ca, 0x2f800000, 0x20000000};
    if (c->own[2] == ROPE_ODD_FREQUENCIES)
        return (double)conform_bits_float(odd[(uint64_t)(i + (int64_t)c->number) % 16]);
    return exp(-(double)i / (double)rope_half(c) * 13.0) * (i % 3 ? 1 : 0.125);
}

/* Cosines and sines; with some that no angle has. */
static double table_of(const struct conform_case *c, int64_t i)
{
    const uint64_t key = conform_key(c, 32);
    const double angle = (double)conform_uniform(key, (uint64_t)i / 2) * 6.25;
    if (c->own[0] == ROPE_SPECIAL && conform_random(key, (uint64_t)i) % 31 == 0)
        return (double)conform_bits_float(i % 2 ? 0x7fc00000 : 0xff800000);
    return i % 2 ? sin(angle) : cos(angle);
}

static void rope_fill(const struct conform_case *c, uint32_t tensor)
{
    static double (*const of[])(const struct conform_case *c, int64_t i) = {x_of, pos_of, freq_of, table_of};
    const struct conform_slot *slot = &c->slot[tensor];
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), of[tensor](c, i));
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[ROPE_FILLS] = {"normal", "exact", "special", "wide", "tiny"};
    static const char *const positions[ROPE_POSITIONS] = {"rising", "small", "far", "huge", "negative", "ends"};
    static const char *const angles[ROPE_ANGLES] = {"base", "scaled", "freqs", "odd freqs", "table"};
    const struct tenon_tensor *x = &c->slot[TENON_ROPE_X].tensor;
    snprintf(c->name, sizeof(c->name), "%lldx%lldx%lldx%lld %s %s n_rot %d %s %s %s%s%s", (long long)x->dim[0],
             (long long)x->dim[1], (long long)x->dim[2], (long long)x->dim[3], tenon_dtype_name(x->dtype),
             params_of(c)->style ? "interleaved" : "half", params_of(c)->n_rot, fills[c->own[0]],
             positions[c->own[1]], angles[c->own[2]], params_of(c)->amplitude != 1.0f ? " amplitude" : "",
             c->slot[TENON_ROPE_Y].same_as >= 0 ? " in place" : "");
}

/* Layout 1: heads before tokens; 2: gaps on every axis; 3: in place. */
static void set_x(struct conform_case *c, uint32_t dtype, const int64_t *dim, uint32_t layout, uint64_t hash)
{
    conform_slot_set(c, TENON_ROPE_X, dtype, 4, dim);
    conform_slot_set(c, TENON_ROPE_Y, dtype, 4, dim);
    for (uint32_t i = TENON_ROPE_X; i <= TENON_ROPE_Y; i += TENON_ROPE_Y - TENON_ROPE_X) {
        int64_t *stride = c->slot[i].tensor.stride;
        const int64_t gap = layout == 2 ? (int64_t)(hash >> (i * 4) & 7) + 1 : 0, row = dim[3] + gap;
        if (layout == 1) {
            stride[1] = row;
            stride[2] = row * dim[1];
            stride[0] = row * dim[1] * dim[2];
        } else if (layout == 2) {
            stride[2] = row;
            stride[1] = row * dim[2] + gap;
            stride[0] = stride[1] * dim[1] + 3 * gap;
        }
        conform_slot_room(&c->slot[i], (hash >> (40 + i) & 3) * 4 * (layout ? 1 : 4), 8);
    }
    if (layout == 3) {
        c->slot[TENON_ROPE_Y] = c->slot[TENON_ROPE_X];
        c->slot[TENON_ROPE_Y].same_as = TENON_ROPE_X;
        c->slot[TENON_ROPE_Y].is_output = 1;
    }
}

static void set_others(struct conform_case *c, uint64_t hash)
{
    const int64_t *dim = c->slot[TENON_ROPE_X].tensor.dim, half = rope_half(c);
    conform_slot_set(c, TENON_ROPE_POS, TENON_I32, 2, (int64_t[]){hash & 1 ? dim[0] : 1, dim[1]});
    if (c->own[2] == ROPE_FREQUENCIES || c->own[2] == ROPE_ODD_FREQUENCIES)
        conform_slot_set(c, TENON_ROPE_FREQS, TENON_F32, 1, &half);
    if (c->own[2] == ROPE_TABLED)
        conform_slot_set(c, TENON_ROPE_TABLE, TENON_F32, 3, (int64_t[]){1 + (int64_t)(hash >> 1 & 31), half, 2});
    if (c->own[2] == ROPE_SCALED)
        params_of(c)->scaling = (const float[]){0.25f, 8, 3.5f, 1000}[hash >> 6 & 3];
    if (!c->number || hash >> 8 & 1)
        conform_slot_set(c, TENON_ROPE_FLAGS, TENON_U32, 1, (int64_t[]){4});
}

struct rope_special {
    int64_t dim[4];
    uint32_t fill, positions, angles;
    int32_t n_rot;
};
static const struct rope_special first_specials[] = {
    {{2, 3, 2, 8}, ROPE_NORMAL, ROPE_ENDS, ROPE_TABLED, 0}, /* case 0 */
    {{0, 3, 2, 8}, ROPE_NORMAL, ROPE_SMALL, ROPE_BASE, 0}, {{2, 0, 2, 8}, ROPE_NORMAL, ROPE_SMALL, ROPE_BASE, 0},
    {{2, 3, 0, 8}, ROPE_NORMAL, ROPE_FAR, ROPE_TABLED, 0}, {{2, 3, 2, 0}, ROPE_NORMAL, ROPE_FAR, ROPE_TABLED, 0},
    {{1, 2, 700, 6}, ROPE_NORMAL, ROPE_FAR, ROPE_BASE, 4}, {{1, 300, 1, 10}, ROPE_NORMAL, ROPE_RISING, ROPE_BASE, 0},
    {{1, 2, 3, 1030}, ROPE_NORMAL, ROPE_FAR, ROPE_BASE, 1026}, {{1, 64, 8, 128}, ROPE_NORMAL, ROPE_HUGE, ROPE_BASE, 0},
    {{2, 5, 3, 7}, ROPE_NORMAL, ROPE_HUGE, ROPE_SCALED, 2}, {{1, 40, 33, 64}, ROPE_EXACT, ROPE_FAR, ROPE_BASE, 0},
};
static const struct rope_special full_specials[] = {
    {{1, 4096, 4, 128}, ROPE_NORMAL, ROPE_FAR, ROPE_BASE, 0}, {{1, 20000, 1, 16}, ROPE_NORMAL, ROPE_HUGE, ROPE_BASE, 0},
    {{1, 1, 40000, 4}, ROPE_NORMAL, ROPE_FAR, ROPE_BASE, 0}, {{1, 3, 2, 65534}, ROPE_NORMAL, ROPE_HUGE, ROPE_BASE, 0},
};

static void rope_make(struct conform_case *c)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    static const int64_t all_d[14] = {2, 4, 6, 8, 16, 18, 20, 33, 64, 66, 80, 128, 130, 256};
    static const int64_t all_t[6] = {1, 2, 3, 5, 9, 17}, all_h[6] = {1, 2, 3, 5, 8, 20};
    static const float bases[6] = {10000, 10000, 500000, 1, 1e30f, 33.3f};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct rope_special *s = n < COUNT(first_specials) ? &first_specials[n]
                                   : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                       ? &full_specials[n - QUICK_CASES]
                                       : NULL;
    const int64_t d = all_d[n % 14];
    const int64_t dim[4] = {1 + (int64_t)(hash >> 10) % 3, all_t[(hash >> 14) % 6], all_h[(hash >> 18) % 6], d};
    struct tenon_rope_params *p = params_of(c);
    c->own[0] = s ? s->fill : hash >> 22 & 1 ? ROPE_NORMAL : (hash >> 23) % ROPE_FILLS;
    c->own[1] = s ? s->positions : (hash >> 27) % ROPE_POSITIONS;
    c->own[2] = s ? s->angles : (hash >> 31) % ROPE_ANGLES;
    c->mode = c->own[0] == ROPE_NORMAL ? CONFORM_RANDOM : c->own[0] == ROPE_EXACT ? CONFORM_EXACT : CONFORM_ADVERSARIAL;
    p->style = n && hash >> 35 & 1 ? TENON_ROPE_INTERLEAVED : TENON_ROPE_HALF;
    p->n_rot = s ? s->n_rot : d % 2 ? (int32_t)d - 1 : hash >> 36 & 1 ? 0 : (int32_t)(d / 2 + 1) / 2 * 2;
    p->base = s ? 10000 : bases[(hash >> 37) % 6];
    p->amplitude = n && hash >> 41 & 1 ? (const float[]){1, 0.5f, 1.375f, 0}[hash >> 42 & 3] : 1;
    set_x(c, n ? types[hash >> 44 & 3] : TENON_F32, s ? s->dim : dim, n && !s ? hash >> 46 & 3 : 0,
          conform_random(hash, 1));
    set_others(c, conform_random(hash, 2));
    name_case(c);
}

/* ---- benchmarks: x is read once, y is written ---- */

#define BENCH(text, type, size, tokens, heads, cols)                                                                   \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {tokens, heads, cols}, 2.0 * (tokens) * (heads) * (cols) * (size),                  \
            3.0 * (tokens) * (heads) * (cols)                                                                          \
    }
static const struct conform_bench benches[] = {
    BENCH("2048x32 of 128", TENON_F32, 4, 2048, 32, 128),
    BENCH("interleaved 2048x32 of 128", TENON_F32, 4, 2048, 32, 128),
    BENCH("bf16 4096x32 of 128", TENON_BF16, 2, 4096, 32, 128),
    BENCH("copied 2048x32 of 128", TENON_F32, 4, 2048, 32, 128),
    BENCH("keys 16384x2 of 128", TENON_F32, 4, 16384, 2, 128),
    BENCH("decode 64x32 of 128", TENON_F32, 4, 64, 32, 128),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int64_t dim[4] = {1, bench->dim[0], bench->dim[1], bench->dim[2]};
    c->own[0] = ROPE_NORMAL;
    c->own[1] = ROPE_RISING;
    params_of(c)->style = strncmp(bench->name, "interleaved", 11) == 0;
    set_x(c, bench->dtype, dim, strncmp(bench->name, "copied", 6) ? 3 : 0, 0);
    conform_slot_set(c, TENON_ROPE_POS, TENON_I32, 2, dim);
    name_case(c);
}

const struct conform_op tenon__conform_rope = {
    .op = TENON_OPNUM_rope,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = rope_make,
    .fill = rope_fill,
    .expect = tenon__conform_rope_expect,
    .mpfr = tenon__conform_rope_mpfr,
    .n_hostile = ROPE_HOSTILE,
    .hostile = tenon__rope_suite_hostile,
    .n_properties = ROPE_PROPERTIES,
    .properties = tenon__rope_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
