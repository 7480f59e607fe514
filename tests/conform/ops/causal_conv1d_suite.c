/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d: the shapes and the contents of its cases, and its benchmark rows. */
#include <stdio.h>
#include <string.h>
#include "causal_conv1d_suite.h"

#define QUICK_CASES 260
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_causal_conv1d_params *params_of(struct conform_case *c)
{
    return (struct tenon_causal_conv1d_params *)(void *)c->params;
}

/* ---- contents ---- */

static double number_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const float normal = conform_normal(key, (uint64_t)i);
    const int half = c->slot[tensor].tensor.dtype == TENON_F16;
    switch (c->own[0]) {
    case CONV_EXACT:
        return (double)((int64_t)(random % 33) - 16) * 0.125;
    case CONV_SPECIAL:
        return random >> 59 ? (double)normal
                            : (double)conform_bits_float(
                                  (const uint32_t[]){0x7f800000, 0xff800000, 0x7fc00000, 0x80000000}[random % 4]);
    case CONV_WIDE:
        return half ? (double)normal * 100 : (double)normal * (random >> 63 ? 0x1p-40 : 0x1p40);
    case CONV_TINY:
        return tensor == CONV(W) || tensor == CONV(GATE) ? (double)normal
                                                         : (double)normal * (half           ? 0x1p-22
                                                                             : random >> 63 ? 0x1p-124
                                                                                            : 0x1p-133);
    default:
        return (double)normal;
    }
}

static void conv_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const int64_t n = slot->tensor.dim[0] - 1;
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                    tensor == CONV(CU_Q) ? packed_begin(c, c->own[1], c->slot[CONV(X)].tensor.dim[1], n, i)
                                         : number_of(c, tensor, i));
}

/* ---- shapes ---- */

struct shape {
    int64_t b, t, cin, cg, cout, taps, seqs; /* seqs -1: no cu_q */
    int32_t dil;
    uint32_t offset, pad;
};

/* An optional tensor is there. */
enum { HAS_BIAS = 1, HAS_STATE = 2, HAS_GATE = 4, HAS_RESIDUAL = 8, HAS_STATE_OUT = 16, HAS_FLAGS = 32, IN_PLACE = 64 };

static void name_case(struct conform_case *c, const struct shape *s)
{
    static const char *const fills[CONV_FILLS] = {"normal", "exact", "special", "wide", "tiny"};
    static const char *const packed[PACKED_KINDS] = {" parts", " short", " wild"};
    const struct tenon_causal_conv1d_params *p = params_of(c);
    snprintf(c->name, sizeof(c->name), "%lldx%lldx%lld of %lld to %lld w %lld dil %d%s%s%s %s %s%s%s%s%s",
             (long long)s->b, (long long)s->t, (long long)s->cin, (long long)s->cg, (long long)s->cout,
             (long long)s->taps, p->dil, p->offset ? " past" : "", p->pad ? " same" : "", p->act ? " silu" : "",
             tenon_dtype_name(c->slot[CONV(X)].tensor.dtype), fills[c->own[0]], s->seqs >= 0 ? packed[c->own[1]] : "",
             c->slot[CONV(STATE)].tensor.dtype ? " state" : "", c->slot[CONV(GATE)].tensor.dtype ? " gate" : "",
             c->slot[CONV(STATE_OUT)].same_as >= 0 ? " in place" : "");
}

/* [B,T,C] with gaps between tokens and batches. */
static void set_tokens(struct conform_case *c, uint32_t i, uint32_t dtype, const int64_t *dim, uint64_t hash)
{
    const int64_t gap = hash & 1 ? (int64_t)(hash >> 1 & 7) : 0;
    conform_slot_set(c, i, dtype, 3, dim);
    c->slot[i].tensor.stride[1] = dim[2] + gap;
    c->slot[i].tensor.stride[0] = dim[1] * (dim[2] + gap) + (hash & 16 ? gap : 0);
    if (hash & 32) { /* tokens before batches */
        c->slot[i].tensor.stride[0] = dim[2] + gap;
        c->slot[i].tensor.stride[1] = dim[0] * (dim[2] + gap);
    }
    conform_slot_room(&c->slot[i], (hash >> 6 & 3) * 4, 8);
}

static void set_all(struct conform_case *c, const struct shape *s, uint32_t dtype, uint32_t has, uint64_t hash)
{
    static const uint32_t w_types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const uint32_t w_type = hash & 1 ? dtype : w_types[hash >> 1 & 3];
    const int64_t n = (s->taps - 1) * s->dil + s->offset, seqs = s->seqs >= 0 ? s->seqs : s->b;
    const int64_t x[] = {s->b, s->t, s->cin}, y[] = {s->b, s->t, s->cout}, state[] = {seqs, n, s->cin};
    struct tenon_causal_conv1d_params *p = params_of(c);
    p->dil = s->dil;
    p->offset = s->offset;
    p->pad = s->pad;
    set_tokens(c, CONV(X), dtype, x, conform_random(hash, 1));
    conform_slot_set(c, CONV(W), w_type, 3, (int64_t[]){s->cout, s->cg, s->taps});
    if (has & HAS_BIAS)
        conform_slot_set(c, CONV(BIAS), w_type, 1, &s->cout);
    if (s->seqs >= 0)
        conform_slot_set(c, CONV(CU_Q), TENON_I32, 1, (int64_t[]){s->seqs + 1});
    if (has & HAS_STATE && !s->pad)
        conform_slot_set(c, CONV(STATE), dtype, 3, state);
    if (has & HAS_GATE)
        set_tokens(c, CONV(GATE), dtype, y, conform_random(hash, 2));
    if (has & HAS_RESIDUAL)
        set_tokens(c, CONV(RESIDUAL), dtype, y, conform_random(hash, 3));
    set_tokens(c, CONV(Y), dtype, y, conform_random(hash, 4));
    if (has & HAS_STATE_OUT && !s->pad)
        conform_slot_set(c, CONV(STATE_OUT), dtype, 3, state);
    if (has & HAS_FLAGS)
        conform_slot_set(c, CONV(FLAGS), TENON_U32, 1, (int64_t[]){4});
    if ((has & (IN_PLACE | HAS_STATE | HAS_STATE_OUT)) == (IN_PLACE | HAS_STATE | HAS_STATE_OUT) && !s->pad) {
        c->slot[CONV(STATE_OUT)] = c->slot[CONV(STATE)];
        c->slot[CONV(STATE_OUT)].same_as = CONV(STATE);
        c->slot[CONV(STATE_OUT)].is_output = 1;
    }
}

struct special {
    struct shape s;
    uint32_t has, fill, sequences;
};
#define ALL (HAS_BIAS | HAS_STATE | HAS_GATE | HAS_RESIDUAL | HAS_STATE_OUT | HAS_FLAGS)
static const struct special first_specials[] = {
    {{2, 5, 6, 1, 6, 3, -1, 1, 0, 0}, ALL, CONV_NORMAL, 0}, /* case 0 */
    {{1, 9, 6, 2, 3, 3, 3, 1, 1, 0}, ALL, CONV_NORMAL, PACKED_WILD},
    {{0, 5, 6, 1, 6, 3, -1, 1, 0, 0}, ALL, CONV_NORMAL, 0},
    {{2, 0, 6, 1, 6, 3, -1, 2, 0, 0}, ALL, CONV_NORMAL, 0},
    {{2, 0, 6, 1, 6, 3, -1, 2, 1, 0}, ALL | IN_PLACE, CONV_NORMAL, 0},
    {{2, 5, 0, 1, 0, 3, -1, 1, 0, 0}, ALL, CONV_NORMAL, 0},
    {{2, 5, 6, 3, 0, 3, -1, 1, 0, 0}, ALL, CONV_NORMAL, 0},
    {{1, 5, 6, 1, 6, 3, 0, 1, 0, 0}, ALL, CONV_NORMAL, PACKED_WILD},
    {{1, 0, 6, 1, 6, 3, 2, 1, 0, 0}, ALL, CONV_NORMAL, PACKED_WILD},
    {{2, 3, 5, 1, 5, 1, -1, 9, 0, 0}, ALL, CONV_NORMAL, 0}, /* a state without rows */
    {{1, 2, 600, 600, 1, 64, -1, 1, 0, 0}, HAS_BIAS, CONV_NORMAL, 0},
    {{1, 2, 700, 700, 17, 47, -1, 1, 0, 0}, ALL, CONV_NORMAL, 0},
    {{1, 70, 2, 1, 2, 3, -1, 65535, 0, 0}, HAS_STATE_OUT, CONV_NORMAL, 0},
    {{1, 700, 3, 1, 3, 3, -1, 300, 0, 0}, ALL | IN_PLACE, CONV_NORMAL, 0},
    {{1, 90, 16, 1, 16, 39, -1, 1, 0, 1}, HAS_RESIDUAL, CONV_NORMAL, 0}, /* FSMN */
    {{1, 700, 33, 1, 33, 4, 300, 1, 0, 0}, ALL, CONV_NORMAL, PACKED_WILD},
    {{1, 40, 2100, 1, 2100, 4, -1, 1, 0, 0}, HAS_BIAS, CONV_NORMAL, 0},
};
static const struct special full_specials[] = {
    {{1, 2048, 512, 1, 512, 4, -1, 1, 0, 0}, ALL, CONV_NORMAL, 0},
    {{3, 1, 4096, 1, 4096, 4, -1, 1, 0, 0}, ALL | IN_PLACE, CONV_NORMAL, 0},
    {{1, 20000, 5, 1, 5, 3, 3000, 2, 1, 0}, ALL, CONV_NORMAL, PACKED_PARTS},
    {{1, 300, 128, 64, 128, 3, -1, 1, 0, 0}, HAS_BIAS, CONV_NORMAL, 0},
    {{1, 40000, 2, 1, 2, 2, -1, 1, 0, 1}, 0, CONV_NORMAL, 0},
    {{1, 50, 1, 1, 70, 64, -1, 700, 1, 0}, ALL, CONV_NORMAL, 0},
};

static struct shape random_shape(uint64_t hash)
{
    static const int64_t all_t[8] = {1, 2, 3, 5, 9, 17, 40, 70}, all_w[8] = {1, 2, 3, 4, 4, 5, 8, 64};
    static const int64_t all_c[12] = {1, 2, 3, 4, 6, 8, 16, 17, 33, 48, 64, 100};
    static const int32_t all_dil[4] = {1, 1, 2, 7};
    struct shape s = {.b = 1 + (int64_t)(hash >> 4) % 3,
                      .t = all_t[hash >> 8 & 7],
                      .taps = all_w[hash >> 11 & 7],
                      .seqs = -1,
                      .dil = all_dil[hash >> 14 & 3],
                      .offset = hash >> 16 & 3 ? 0 : 1,
                      .pad = hash >> 18 & 7 ? TENON_CAUSAL_CONV1D_CAUSAL : TENON_CAUSAL_CONV1D_SAME};
    s.cin = s.cout = all_c[(hash >> 21) % 12];
    s.cg = 1;
    if (hash >> 25 & 1) { /* groups of several */
        const int64_t groups = 1 + (int64_t)(hash >> 26 & 3);
        s.cg = 1 + (int64_t)(hash >> 28) % 9;
        s.cin = groups * s.cg;
        s.cout = groups * (1 + (int64_t)(hash >> 32) % 40);
    }
    if (s.taps == 64 && s.t > 17)
        s.t = 17;
    if (s.pad)
        s.offset = 0;
    if (hash >> 38 & 1) {
        s.b = 1;
        s.seqs = (int64_t)(hash >> 39 & 7);
    }
    return s;
}

static void conv_make(struct conform_case *c)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct special *own = n < COUNT(first_specials) ? &first_specials[n]
                                : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                    ? &full_specials[n - QUICK_CASES]
                                    : NULL;
    const struct shape s = own ? own->s : random_shape(hash);
    const uint64_t more = conform_random(hash, 1);
    c->own[0] = own ? own->fill : more & 1 ? CONV_NORMAL : (more >> 1) % CONV_FILLS;
    c->own[1] = own ? own->sequences : (more >> 8) % PACKED_KINDS;
    c->mode = c->own[0] == CONV_NORMAL ? CONFORM_RANDOM : c->own[0] == CONV_EXACT ? CONFORM_EXACT : CONFORM_ADVERSARIAL;
    params_of(c)->act = n && more >> 12 & 1 ? TENON_CAUSAL_CONV1D_SILU : TENON_CAUSAL_CONV1D_NONE;
    set_all(c, &s, n ? types[more >> 13 & 3] : TENON_F32, own ? own->has : (uint32_t)(more >> 16 & 127),
            n ? conform_random(hash, 2) : 0);
    name_case(c, &s);
}

/* ---- benchmarks: x is read once, y is written, and so are states ---- */

#define BENCH(text, type, size, batches, tokens, cols, cg)                                                             \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {tokens, cols, cg}, 2.0 * (batches) * (tokens) * (cols) * (size),                   \
            8.0 * (cg) * (batches) * (tokens) * (cols)                                                                 \
    }
static const struct conform_bench benches[] = {
    BENCH("4096x2048", TENON_F32, 4, 1, 4096, 2048, 1),
    BENCH("silu 4096x2048", TENON_F32, 4, 1, 4096, 2048, 1),
    BENCH("bf16 4096x2048", TENON_BF16, 2, 1, 4096, 2048, 1),
    BENCH("w5 4096x2048", TENON_F32, 4, 1, 4096, 2048, 1),
    BENCH("groups 1024x512 of 64", TENON_F32, 4, 1, 1024, 512, 64),
    {"decode 64x2048", TENON_F32, CONFORM_QUICK, {1, 2048, 1}, 64.0 * 2048 * 4 * (2 + 6), 64.0 * 2048 * 8},
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int decode = strncmp(bench->name, "decode", 6) == 0;
    const struct shape s = {.b = decode ? 64 : 1,
                            .t = bench->dim[0],
                            .cin = bench->dim[1],
                            .cg = bench->dim[2],
                            .cout = bench->dim[1],
                            .taps = bench->name[0] == 'w' ? 5 : 4,
                            .seqs = -1,
                            .dil = 1};
    c->own[0] = CONV_NORMAL;
    params_of(c)->act = strncmp(bench->name, "silu", 4) == 0;
    set_all(c, &s, bench->dtype, decode ? HAS_BIAS | HAS_STATE | HAS_STATE_OUT : HAS_BIAS, 0);
    for (uint32_t i = CONV(X); i <= CONV(Y); i += CONV(Y) - CONV(X)) /* without gaps */
        conform_slot_set(c, i, bench->dtype, 3, c->slot[i].tensor.dim);
    name_case(c, &s);
}

const struct conform_op tenon__conform_causal_conv1d = {
    .op = TENON_OPNUM_causal_conv1d,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = conv_make,
    .fill = conv_fill,
    .expect = tenon__conform_causal_conv1d_expect,
    .mpfr = tenon__conform_causal_conv1d_mpfr,
    .n_hostile = CONV_HOSTILE,
    .hostile = tenon__causal_conv1d_suite_hostile,
    .n_properties = CONV_PROPERTIES,
    .properties = tenon__causal_conv1d_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
