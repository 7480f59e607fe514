/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gated_norm: the shapes and the contents of its cases, and its benchmark rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "gated_norm_suite.h"

#define QUICK_CASES 260
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define G(NAME)     TENON_GATED_NORM_##NAME

static struct tenon_gated_norm_params *params_of(struct conform_case *c)
{
    return (struct tenon_gated_norm_params *)(void *)c->params;
}

/* ---- contents ---- */

static double special_of(uint64_t which)
{
    static const uint32_t bits[4] = {0x7f800000, 0xff800000, 0x7fc00000, 0xff800000};
    return (double)conform_bits_float(bits[which % 4]);
}

static double weight_of(const struct conform_case *c, uint64_t random, double normal)
{
    if (c->own[0] == NORM_EXACT)
        return (double)(random % 9) * 0.25 - 1;
    if (c->own[0] == NORM_SPECIAL && random >> 59 == 0)
        return special_of(random);
    return 1 + 0.3 * normal;
}

static double gate_of(const struct conform_case *c, uint64_t random, double normal)
{
    static const double edges[8] = {0, -0.0, 88, -88, -104, 1e-30, -1e-3, 17};
    if (c->own[0] != NORM_GATES)
        return normal * 2;
    return random >> 61 ? normal * (random >> 60 & 1 ? 40 : 0.01) : edges[random % 8];
}

/* x, b and residual. */
static double term_of(const struct conform_case *c, uint64_t random, double normal, int64_t group, int half)
{
    switch (c->own[0]) {
    case NORM_WIDE: return normal * (half ? group % 2 ? 200 : 0.001 : group % 2 ? 0x1p40 : 0x1p-50);
    case NORM_LARGE: return half ? normal * 9000 : ldexp(normal, 20 * (int)(group % 6) + 25 - 3 * (int)(random >> 62));
    case NORM_TINY: return normal * (half ? 0x1p-20 : random >> 63 ? 0x1p-126 : 0x1p-140);
    case NORM_ZERO: return group % 2 ? normal : random >> 63 ? 0.0 : -0.0;
    case NORM_FLAT: return (double)(group % 5 + 1) * 1.25 + (random % 7 == 0 ? group % 3 * 0.001 : 0);
    case NORM_FAR: return 100 + normal;
    default: return normal;
    }
}

static double value_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const int is_gate = tensor == G(GATE) || tensor == G(GATE_B);
    if (tenon__norm_suite_is_weight(tensor))
        return weight_of(c, random, normal);
    if (c->own[0] == NORM_EXACT)
        return (double)((int64_t)(random % 17) - 8) * 0.25;
    if (c->own[0] == NORM_SPECIAL && random >> 58 == 0)
        return special_of(random);
    return is_gate ? gate_of(c, random, normal)
                   : term_of(c, random, normal, i / tenon__norm_suite_group(c),
                             c->slot[tensor].tensor.dtype == TENON_F16);
}

static void norm_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value_of(c, tensor, i));
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[NORM_FILLS] = {"normal", "exact", "special", "wide", "large",
                                                  "tiny",   "zero",  "flat",    "far",  "gates"};
    static const char *const norms[] = {"none", "rms", "layer", "l2"}, *const combines[] = {"", "lerp ", "dual "};
    static const char *const acts[] = {"sigmoid", "silu", "identity"};
    const struct tenon_gated_norm_params *p = params_of(c);
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%lldx%lld by %lld %s>%s %s %s%s%s %s", (long long)tenon__norm_suite_rows(c),
                   (long long)tenon__norm_suite_cols(c), (long long)tenon__norm_suite_group(c),
                   tenon_dtype_name(c->slot[G(X)].tensor.dtype), tenon_dtype_name(c->slot[G(Y)].tensor.dtype),
                   norms[p->norm], combines[p->combine],
                   !c->slot[G(GATE)].tensor.dtype ? "no gate" : acts[p->act],
                   p->order == G(GATE_THEN_NORM) ? " first" : "", fills[c->own[0]]);
    if (p->combine != G(MUL))
        at += snprintf(at, (size_t)(end - at), "%s%s", p->norm_b ? " norm_b" : "", p->act_b ? " tanh" : "");
    if (c->slot[G(RESIDUAL)].tensor.dtype)
        at += snprintf(at, (size_t)(end - at), " +residual");
    snprintf(at, (size_t)(end - at), "%s", c->slot[G(Y)].same_as >= 0 ? " in place" : "");
}

/* Whether the case has tensor i; case 0 is as full as a case can be. */
static int has(const struct conform_case *c, uint32_t i, uint64_t hash)
{
    const struct tenon_gated_norm_params *p = (const void *)c->params;
    const int two = p->combine != G(MUL), some = !c->number || hash >> i & 1;
    if (c->own[1])
        return i == G(X) || i == G(Y);
    switch (i) {
    case G(X):
    case G(Y): return 1;
    case G(GATE): return two || !c->number || hash >> i & 3;
    case G(B): return two;
    case G(GATE_B): return p->combine == G(DUAL);
    case G(WEIGHT_B):
    case G(BIAS_B): return p->norm_b && some;
    case G(SUM): return c->slot[G(RESIDUAL)].tensor.dtype && some;
    case G(IMPORTANCE): return c->slot[G(GATE)].tensor.dtype && (!c->number || (hash >> i & 3) == 0);
    default: return some;
    }
}

/* Layout 1: rows with gaps; 2: two leading axes. */
static void set_tensors(struct conform_case *c, int64_t rows, int64_t cols, uint32_t layout, uint64_t hash)
{
    static const uint32_t types[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
    const int two = layout == 2 && rows % 2 == 0 && rows > 0;
    const int64_t wide[3] = {two ? rows / 2 : rows, two ? 2 : cols, cols};
    const int64_t group = params_of(c)->group ? params_of(c)->group : cols;
    const uint32_t type = c->number && !c->own[1] ? types[hash & 3] : TENON_F32;
    for (uint32_t i = G(X); i < G(IMPORTANCE); i++) {
        const uint32_t own = !c->number || c->own[1] ? TENON_F32 : types[conform_random(hash, i) & 3];
        if (!has(c, i, hash >> 20))
            continue;
        if (tenon__norm_suite_is_weight(i)) {
            conform_slot_set(c, i, own, 1, conform_random(hash, 40 + i) & 1 ? &cols : &group);
            conform_slot_room(&c->slot[i], (hash >> 8 & 3) * 4, 8);
            continue;
        }
        const int is_output = i == G(Y) || i == G(SUM);
        conform_slot_set(c, i, i == G(X) ? type : !is_output ? own : own == TENON_F32 ? TENON_F32 : type, two ? 3 : 2,
                         wide);
        if (layout == 1)
            conform_slot_pitch(&c->slot[i], cols + (int64_t)(conform_random(hash, 20 + i) & 7) + 1);
        conform_slot_room(&c->slot[i], (layout == 1 ? 4 : conform_random(hash, 60 + i) & 3) * 4, 8);
    }
    if (has(c, G(IMPORTANCE), hash >> 20))
        conform_slot_set(c, G(IMPORTANCE), TENON_F32, two ? 2 : 1, wide);
}

/* y in the place of an input, and sum of another, where types are the same. */
static void set_in_place(struct conform_case *c, uint64_t hash)
{
    static const uint32_t inputs[5] = {G(X), G(GATE), G(B), G(GATE_B), G(RESIDUAL)};
    const uint32_t of_y = inputs[hash % 5], of_sum = hash >> 8 & 1 ? G(X) : G(RESIDUAL);
    const uint32_t pairs[2][2] = {{G(Y), of_y}, {G(SUM), of_sum}};
    for (int i = 0; i < 2; i++) {
        struct conform_slot *out = &c->slot[pairs[i][0]], *in = &c->slot[pairs[i][1]];
        if (!out->tensor.dtype || in->tensor.dtype != out->tensor.dtype || (i == 1 && of_y == of_sum))
            continue;
        *out = *in;
        out->same_as = (int32_t)pairs[i][1];
        out->is_output = 1;
    }
}

struct norm_special {
    int64_t rows, groups, group;
    uint32_t fill, norm, plain; /* plain: x and y alone, f32 */
};
static const struct norm_special first_specials[] = {
    {4, 2, 3, NORM_NORMAL, G(RMS), 0}, /* case 0: with every tensor */
    {0, 2, 5, NORM_NORMAL, G(RMS), 0}, {5, 0, 4, NORM_NORMAL, G(LAYER), 0}, {3, 1, 1, NORM_NORMAL, G(L2), 0},
    {2, 1, 9001, NORM_NORMAL, G(RMS), 0}, {2, 1, 4100, NORM_FAR, G(LAYER), 0}, {3, 2, 4097, NORM_LARGE, G(L2), 0},
    {2, 3, 4096, NORM_EXACT, G(NONE), 0}, {3, 40, 128, NORM_GATES, G(RMS), 0}, {1, 70, 64, NORM_FLAT, G(LAYER), 0},
    {600, 1, 3, NORM_ZERO, G(RMS), 0}, {2, 1, 5000, NORM_SPECIAL, G(LAYER), 0}, {2, 2500, 2, NORM_NORMAL, G(L2), 0},
    {3, 2, 40, NORM_NORMAL, G(RMS), 1}, {6, 3, 33, NORM_LARGE, G(RMS), 1}, {6, 3, 65, NORM_LARGE, G(LAYER), 1},
    {3, 6, 64, NORM_SPECIAL, G(RMS), 1}, {3, 6, 64, NORM_SPECIAL, G(LAYER), 1}, {2, 4, 100, NORM_FAR, G(LAYER), 1},
    {2, 4, 100, NORM_TINY, G(L2), 1},
};
static const struct norm_special full_specials[] = {
    {3, 1, 100003, NORM_NORMAL, G(LAYER), 0}, {2, 2, 40000, NORM_FAR, G(RMS), 0}, {70000, 1, 3, NORM_NORMAL, G(L2), 0},
    {1, 1, 300001, NORM_WIDE, G(RMS), 0},
};

static void set_params(struct conform_case *c, const struct norm_special *s, uint64_t hash)
{
    static const float epsilons[8] = {1e-6f, 1e-6f, 1e-5f, 1e-3f, 1, 1e-30f, 1e-12f, 100};
    static const float offsets[4] = {0, 0, 1, -0.25f};
    struct tenon_gated_norm_params *p = params_of(c);
    p->norm = s ? s->norm : hash & 3;
    p->order = c->number && hash >> 2 & 1 ? G(GATE_THEN_NORM) : G(NORM_THEN_GATE);
    p->act = (hash >> 3) % 3;
    p->combine = !c->number ? G(DUAL) : hash >> 6 & 1 ? G(MUL) : hash >> 7 & 1 ? G(LERP) : G(DUAL);
    p->norm_b = p->combine != G(MUL) && p->order == G(NORM_THEN_GATE) && (!c->number || hash >> 8 & 1);
    p->act_b = p->combine != G(MUL) && (hash >> 9 & 3) == 0 ? G(TANH) : G(PLAIN);
    p->eps = c->number ? epsilons[hash >> 11 & 7] : 1e-6f;
    if (c->own[1]) {
        p->combine = G(MUL);
        p->norm_b = 0;
        p->act_b = G(PLAIN);
        p->eps = 0.01f;
    }
    p->weight_offset = c->number ? offsets[hash >> 14 & 3] : 0;
    if (c->own[0] == NORM_EXACT && hash >> 16 & 1) {
        p->norm = G(NONE);
        p->act = G(IDENTITY);
        p->act_b = G(PLAIN);
    }
    /* The square of what is nearly 0 says nothing. */
    if (c->own[0] == NORM_FLAT && p->norm == G(LAYER) && p->eps < 1e-12f)
        p->eps = 1e-6f;
}

static void norm_make(struct conform_case *c)
{
    static const int64_t all_rows[6] = {1, 2, 3, 4, 6, 17}, all_groups[6] = {1, 1, 1, 2, 3, 5};
    static const int64_t all_group[14] = {1, 2, 3, 7, 15, 16, 17, 33, 64, 65, 128, 130, 300, 513};
    const uint64_t n = c->number, hash = conform_key(c, 100);
    const struct norm_special *s = n < COUNT(first_specials) ? &first_specials[n]
                                   : n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials)
                                       ? &full_specials[n - QUICK_CASES]
                                       : NULL;
    const int64_t rows = s ? s->rows : all_rows[hash % 6], group = s ? s->group : all_group[n % 14];
    const int64_t groups = s ? s->groups : all_groups[(hash >> 10) % 6];
    c->own[0] = s ? s->fill : hash >> 20 & 1 ? NORM_NORMAL : (hash >> 21) % NORM_FILLS;
    c->own[1] = s ? s->plain : 0;
    c->mode = c->own[0] == NORM_NORMAL || c->own[0] == NORM_FAR || c->own[0] == NORM_GATES ? CONFORM_RANDOM
              : c->own[0] == NORM_EXACT                                                    ? CONFORM_EXACT
                                                                                           : CONFORM_ADVERSARIAL;
    params_of(c)->group = groups == 1 && hash >> 40 & 1 ? 0 : (int32_t)group;
    set_params(c, s, conform_random(hash, 1));
    set_tensors(c, rows, groups * group, n && !s ? hash >> 41 & 3 : 0,
                conform_random(hash, 2));
    if (n && !c->own[1] && hash >> 43 & 1)
        set_in_place(c, conform_random(hash, 3));
    name_case(c);
}

/* ---- benchmarks: what is read, x, gate and b, and y ---- */

#define BENCH(text, type, size, tensors, rows, cols, group)                                                            \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {rows, cols, group}, (tensors) * 1.0 * (rows) * (cols) * (size),                    \
            8.0 * (rows) * (cols)                                                                                      \
    }
static const struct conform_bench benches[] = {
    BENCH("rms 8192x4096", TENON_F32, 4, 2, 8192, 4096, 4096),
    BENCH("rms 16384x4096 bf16", TENON_BF16, 2, 2, 16384, 4096, 4096),
    BENCH("layer 8192x4096", TENON_F32, 4, 2, 8192, 4096, 4096),
    BENCH("rms_silu heads 4096x4096 of 128", TENON_F32, 4, 3, 4096, 4096, 128),
    BENCH("rms_silu bf16 8192x4096 of 128", TENON_BF16, 2, 3, 8192, 4096, 128),
    BENCH("silu_rms 4096x4096 of 4096", TENON_F32, 4, 3, 4096, 4096, 4096),
    BENCH("residual_rms 4096x4096", TENON_F32, 4, 4, 4096, 4096, 4096),
    BENCH("lerp 4096x4096 of 64", TENON_F32, 4, 4, 4096, 4096, 64),
    BENCH("rms decode 16x4096", TENON_F32, 4, 2, 16, 4096, 4096),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const int64_t cols = bench->dim[1];
    struct tenon_gated_norm_params *p = params_of(c);
    const int gated = strstr(bench->name, "silu") != NULL, lerp = strncmp(bench->name, "lerp", 4) == 0;
    const int residual = strncmp(bench->name, "residual", 8) == 0;
    c->own[0] = NORM_NORMAL;
    p->norm = strncmp(bench->name, "layer", 5) == 0 ? G(LAYER) : G(RMS);
    p->order = strncmp(bench->name, "silu", 4) == 0 ? G(GATE_THEN_NORM) : G(NORM_THEN_GATE);
    p->combine = lerp ? G(LERP) : G(MUL);
    p->act = lerp ? G(SIGMOID) : G(SILU);
    p->group = (int32_t)bench->dim[2];
    const int there[] = {[G(X)] = 1, [G(GATE)] = gated || lerp, [G(RESIDUAL)] = residual, [G(B)] = lerp, [G(Y)] = 1,
                         [G(SUM)] = residual};
    for (uint32_t i = 0; i < COUNT(there); i++)
        if (there[i])
            conform_slot_set(c, i, bench->dtype, 2, bench->dim);
    conform_slot_set(c, G(WEIGHT), TENON_F32, 1, &cols);
    name_case(c);
}

const struct conform_op tenon__conform_gated_norm = {
    .op = TENON_OPNUM_gated_norm,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = norm_make,
    .fill = norm_fill,
    .expect = tenon__conform_gated_norm_expect,
    .mpfr = tenon__conform_gated_norm_mpfr,
    .n_hostile = NORM_HOSTILE,
    .hostile = tenon__norm_suite_hostile,
    .n_properties = NORM_PROPERTIES,
    .properties = tenon__norm_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
