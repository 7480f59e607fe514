/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch: the shapes and the contents of its cases, the vectors made by hand, and its benchmark rows. */
#include <stdio.h>
#include <string.h>
#include "moe_dispatch_suite.h"

#define QUICK_CASES 220
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))

static struct tenon_moe_dispatch_params *params_of(struct conform_case *c)
{
    return (struct tenon_moe_dispatch_params *)(void *)c->params;
}

/* ---- vectors made by hand: four tokens, two slots, four experts; own[1] says which ---- */

#define GOLDEN 7
static const int32_t golden_idx[8] = {0, 1, 0, 2, 1, 0, 0, -1};
static const float golden_w[8] = {0.6f, 0.4f, 0.5f, 0.5f, 0.7f, 0.3f, 0.9f, 0};
static const struct golden {
    const char *name;
    int32_t capacity, align;
    uint32_t order, drop;
    int32_t offsets[5], n, src[12], pos[8];
} goldens[GOLDEN] = {
    {"dropless", -1, 1, 0, 0, {0, 4, 6, 7, 7}, 7, {0, 2, 5, 6, 1, 4, 3}, {0, 4, 1, 6, 5, 2, 3, -1}},
    {"dropless align 4", -1, 4, 0, 0, {0, 4, 8, 12, 12}, 12, {0, 2, 5, 6, 1, 4, -1, -1, 3, -1, -1, -1},
     {0, 4, 1, 8, 5, 2, 3, -1}},
    {"capacity 2 token", 2, 1, 0, 0, {0, 2, 4, 5, 5}, 5, {0, 2, 1, 4, 3}, {0, 2, 1, 4, 3, -1, -1, -1}},
    {"capacity 2 choice", 2, 1, 1, 0, {0, 2, 4, 5, 5}, 5, {0, 2, 4, 1, 3}, {0, 3, 1, 4, 2, -1, -1, -1}},
    {"capacity 2 prob", 2, 1, 0, 1, {0, 2, 4, 5, 5}, 5, {0, 6, 1, 4, 3}, {0, 2, -1, 4, 3, -1, 1, -1}},
    {"capacity 2 bpr", 2, 1, 0, 2, {0, 2, 4, 5, 5}, 5, {6, 5, 4, 1, 3}, {-1, 3, -1, 4, 2, 1, 0, -1}},
    {"capacity 0", 0, 1, 0, 0, {0, 0, 0, 0, 0}, 0, {0}, {-1, -1, -1, -1, -1, -1, -1, -1}},
};

static int is_list(const struct conform_case *c, uint32_t tensor, const int32_t *want, int64_t n,
                   struct tenon_why *why)
{
    const struct conform_slot *slot = &c->slot[tensor];
    for (int64_t i = 0; slot->tensor.dtype && i < tenon_tensor_count(&slot->tensor); i++) {
        const double must = i < n ? want[i] : -1;
        const double got = conform_get(conform_first(slot), TENON_I32, i);
        if (got != must)
            return tenon_why_set(why, 1, "%s[%lld] is %g, by hand it is %g",
                                 tenon_op_contract_by_number(c->op->op)->tensors[tensor].name, (long long)i, got, must);
    }
    return 0;
}

int tenon__conform_moe_dispatch_check(const struct conform_case *c, const struct conform_want *want,
                                      struct tenon_why *why)
{
    static const int32_t counts[4] = {4, 2, 1, 0};
    const struct golden *g = &goldens[c->own[1] % GOLDEN];
    (void)want;
    if (c->own[0] != DISPATCH_GOLDEN)
        return 0;
    return is_list(c, TENON_MOE_DISPATCH_COUNTS, counts, 4, why) ||
           is_list(c, TENON_MOE_DISPATCH_OFFSETS, g->offsets, 5, why) ||
           is_list(c, TENON_MOE_DISPATCH_SRC, g->src, g->n, why) || is_list(c, TENON_MOE_DISPATCH_POS, g->pos, 8, why);
}

/* ---- contents ---- */

static int32_t expert_of(const struct conform_case *c, int64_t i)
{
    const struct tenon_moe_dispatch_params *p = tenon__dispatch_suite_params(c);
    const int64_t k = tenon__dispatch_suite_k(c);
    const uint64_t key = conform_key(c, 30), random = conform_random(key, (uint64_t)i), experts = (uint64_t)p->experts;
    const int32_t any = (int32_t)conform_below(key, (uint64_t)i, experts);
    const int32_t wrong[6] = {-2, INT32_MIN, INT32_MAX, p->experts, p->experts + 1, -1000};
    /* an odd step and a power of two of experts, or as near to it as it comes, give a token distinct ones */
    const int32_t even = (int32_t)((conform_random(key, (uint64_t)(i / k)) + (uint64_t)(i % k)) % experts);
    switch (c->own[0]) {
    case DISPATCH_GOLDEN: return golden_idx[i % 8];
    case DISPATCH_SKEWED: return random >> 63 ? 0 : random >> 60 ? any : -1;
    case DISPATCH_WRONG: return random >> 62 == 0 ? wrong[(random >> 20) % 6] : random >> 62 == 1 ? -1 : any;
    case DISPATCH_SAME: return (int32_t)(conform_random(key, (uint64_t)(i / k)) % experts);
    case DISPATCH_NONE: return -1;
    case DISPATCH_TIES: return random >> 61 ? any : -1;
    default: return even;
    }
}

static float weight_of(const struct conform_case *c, int64_t i)
{
    static const uint32_t special[6] = {0x7fc00000, 0x7f800000, 0xff800000, 0x00800000, 0x80000000, 0xffc00123};
    static const float ties[4] = {0.5f, 0.0f, -0.0f, 0.25f};
    const uint64_t key = conform_key(c, 31), random = conform_random(key, (uint64_t)i);
    if (c->own[0] == DISPATCH_GOLDEN)
        return golden_w[i % 8];
    if (c->own[0] == DISPATCH_TIES)
        return ties[random >> 62];
    if (c->own[0] == DISPATCH_SPECIAL && random >> 62 == 0)
        return conform_bits_float(special[(random >> 20) % 6]);
    if (c->own[0] == DISPATCH_WRONG && random >> 62 == 0)
        return -conform_uniform(key, (uint64_t)i);
    return conform_uniform(key, (uint64_t)i);
}

static void dispatch_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const uint32_t dtype = slot->tensor.dtype;
    const uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++) {
        double value = (double)conform_normal(key, (uint64_t)i);
        if (dtype == TENON_I8 || dtype == TENON_U8)
            value = (double)(conform_random(key, (uint64_t)i) % 120);
        if (tensor == TENON_MOE_DISPATCH_IDX)
            value = expert_of(c, i);
        else if (tensor == TENON_MOE_DISPATCH_W)
            value = (double)weight_of(c, i);
        conform_set(conform_first(slot), dtype, conform_offset(&slot->tensor, i), value);
    }
}

/* ---- shapes ---- */

static void name_case(struct conform_case *c)
{
    static const char *const fills[DISPATCH_FILLS] = {"golden", "even", "skewed", "ties",
                                                      "wrong",  "same", "none",   "special"};
    static const char *const drops[] = {"", " prob", " bpr"};
    const struct tenon_moe_dispatch_params *p = params_of(c);
    char *end = c->name + sizeof(c->name), *at = c->name;
    at += snprintf(at, (size_t)(end - at), "%lldx%lld to %d %s", (long long)tenon__dispatch_suite_tokens(c),
                   (long long)tenon__dispatch_suite_k(c), p->experts, fills[c->own[0]]);
    if (c->own[0] == DISPATCH_GOLDEN)
        at += snprintf(at, (size_t)(end - at), " %s", goldens[c->own[1]].name);
    if (p->capacity >= 0)
        at += snprintf(at, (size_t)(end - at), " C %d%s", p->capacity, p->pad_to_capacity ? " padded" : "");
    at += snprintf(at, (size_t)(end - at), "%s%s%s", drops[p->drop], p->order ? " choice" : "",
                   p->renorm ? " renorm" : "");
    if (p->align != 1)
        at += snprintf(at, (size_t)(end - at), " align %d", p->align);
    if (p->first || p->end)
        at += snprintf(at, (size_t)(end - at), " [%d,%d)", p->first, p->end);
    if (c->slot[TENON_MOE_DISPATCH_XP].tensor.dtype)
        snprintf(at, (size_t)(end - at), " +xp %s", tenon_dtype_name(c->slot[TENON_MOE_DISPATCH_XP].tensor.dtype));
}

/* outputs: a bit for each. layout 1: rows of x and xp with gaps; 2: tokens are two axes. */
static void set_tensors(struct conform_case *c, int64_t tokens, int64_t k, int64_t cols, uint32_t outputs,
                        uint32_t layout, int64_t slack, uint64_t hash)
{
    static const uint32_t types[8] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8,
                                      TENON_U8,  TENON_F32, TENON_F32,  TENON_BF16};
    const struct tenon_moe_dispatch_params *p = params_of(c);
    const int two = layout == 2 && tokens % 2 == 0 && tokens > 0;
    const int64_t slots[3] = {two ? tokens / 2 : tokens, two ? 2 : k, k};
    const int64_t wide[3] = {two ? tokens / 2 : tokens, two ? 2 : cols, cols};
    const int64_t mp = tenon_moe_dispatch_rows(p, tokens, k) + slack;
    const uint32_t type = types[hash & 7], rank = two ? 3 : 2;
    const int needs_w = p->drop || p->renorm || outputs >> TENON_MOE_DISPATCH_W2 & 1;
    const int has_xp = outputs >> TENON_MOE_DISPATCH_XP & 1;
    for (uint32_t i = 0; i < TENON_MOE_DISPATCH_N_TENSORS; i++) {
        const int64_t list = p->experts + (i == TENON_MOE_DISPATCH_OFFSETS);
        if (i >= TENON_MOE_DISPATCH_COUNTS && !(outputs >> i & 1))
            continue;
        switch (i) {
        case TENON_MOE_DISPATCH_W:
            if (needs_w || hash >> 3 & 1)
                conform_slot_set(c, i, TENON_F32, rank, slots);
            break;
        case TENON_MOE_DISPATCH_X:
            if (has_xp)
                conform_slot_set(c, i, type, rank, wide);
            break;
        case TENON_MOE_DISPATCH_IDX:
        case TENON_MOE_DISPATCH_POS: conform_slot_set(c, i, TENON_I32, rank, slots); break;
        case TENON_MOE_DISPATCH_W2: conform_slot_set(c, i, TENON_F32, rank, slots); break;
        case TENON_MOE_DISPATCH_XP: conform_slot_set(c, i, type, 2, (int64_t[]){mp, cols}); break;
        case TENON_MOE_DISPATCH_SRC: conform_slot_set(c, i, TENON_I32, 1, &mp); break;
        case TENON_MOE_DISPATCH_FLAGS: conform_slot_set(c, i, TENON_U32, 1, (int64_t[]){4}); break;
        default: conform_slot_set(c, i, TENON_I32, 1, &list);
        }
        if ((i == TENON_MOE_DISPATCH_X || i == TENON_MOE_DISPATCH_XP) && layout == 1)
            conform_slot_pitch(&c->slot[i], cols + 1 + (int64_t)(hash >> (4 + i) & 7));
        if (c->slot[i].tensor.dtype)
            conform_slot_room(&c->slot[i], (layout == 1 ? 4 : hash >> (20 + i) & 3) * 4, 8);
    }
}

#define ALL_OUTPUTS 0x7f8u /* COUNTS to FLAGS */

struct dispatch_special {
    int64_t tokens, k, cols;
    int32_t experts, capacity, align;
    uint32_t order, drop, fill, outputs;
};
#define NO_XP (ALL_OUTPUTS & ~(1u << TENON_MOE_DISPATCH_XP))
static const struct dispatch_special first_specials[] = {
    {0, 2, 4, 3, -1, 1, 0, 0, DISPATCH_EVEN, ALL_OUTPUTS},      {5, 0, 4, 3, -1, 4, 1, 2, DISPATCH_EVEN, ALL_OUTPUTS},
    {6, 2, 0, 4, 2, 1, 0, 1, DISPATCH_EVEN, ALL_OUTPUTS},       {1, 1, 1, 1, 1, 1, 0, 2, DISPATCH_EVEN, ALL_OUTPUTS},
    {3, 2, 5, 65536, -1, 1, 0, 0, DISPATCH_EVEN, ALL_OUTPUTS},  {7, 4, 3, 65536, 1, 1, 1, 1, DISPATCH_SAME, NO_XP},
    {9, 64, 3, 64, 5, 1, 0, 2, DISPATCH_EVEN, ALL_OUTPUTS},     {2, 300, 3, 300, -1, 8, 1, 0, DISPATCH_EVEN, NO_XP},
    {3000, 4, 3, 64, 190, 1, 1, 0, DISPATCH_SKEWED, NO_XP},     {3000, 4, 3, 64, 150, 1, 1, 1, DISPATCH_TIES, NO_XP},
    {5000, 2, 3, 8, 1000, 1, 1, 2, DISPATCH_TIES, NO_XP},
    {4096, 2, 9, 16, -1, 16, 0, 0, DISPATCH_EVEN, ALL_OUTPUTS},
};
static const struct dispatch_special full_specials[] = {
    {4096, 8, 3, 64, -1, 1, 0, 0, DISPATCH_EVEN, NO_XP},
    {20000, 8, 3, 64, 3000, 32, 1, 1, DISPATCH_SKEWED, NO_XP},
    {30000, 4, 3, 256, 400, 1, 0, 2, DISPATCH_SPECIAL, NO_XP}, {20000, 2, 3, 65536, 1, 1, 0, 1, DISPATCH_EVEN, NO_XP},
    {512, 8, 300, 64, -1, 16, 0, 0, DISPATCH_EVEN, ALL_OUTPUTS},
};

static void make_special(struct conform_case *c, const struct dispatch_special *s, uint64_t hash)
{
    struct tenon_moe_dispatch_params *p = params_of(c);
    c->own[0] = s->fill;
    p->experts = s->experts;
    p->capacity = s->capacity;
    p->align = s->align;
    p->order = s->order;
    p->drop = s->drop;
    p->renorm = s->capacity >= 0;
    set_tensors(c, s->tokens, s->k, s->cols, s->outputs, 0, (int64_t)(hash & 1) * 3, hash);
}

static void make_golden(struct conform_case *c, uint64_t which)
{
    const struct golden *g = &goldens[which];
    struct tenon_moe_dispatch_params *p = params_of(c);
    c->own[0] = DISPATCH_GOLDEN;
    c->own[1] = which;
    p->experts = 4;
    p->capacity = g->capacity;
    p->align = g->align;
    p->order = g->order;
    p->drop = g->drop;
    set_tensors(c, 4, 2, 5, ALL_OUTPUTS, 0, 0, 0);
}

static void make_any(struct conform_case *c, uint64_t n, uint64_t hash)
{
    static const int64_t all_tokens[8] = {1, 2, 3, 4, 8, 17, 50, 130};
    static const int64_t all_k[6] = {1, 2, 3, 4, 8, 2};
    static const int64_t all_cols[6] = {1, 3, 8, 33, 64, 100};
    static const int32_t all_experts[8] = {1, 2, 4, 5, 8, 16, 64, 300};
    static const int32_t aligns[4] = {1, 1, 4, 7};
    struct tenon_moe_dispatch_params *p = params_of(c);
    const int64_t tokens = all_tokens[(hash >> 8) % 8], k = all_k[(hash >> 12) % 6];
    p->experts = all_experts[(hash >> 16) % 8];
    c->own[0] = 1 + n % (DISPATCH_FILLS - 1);
    p->align = aligns[hash >> 20 & 3];
    p->order = hash >> 22 & 1;
    const int32_t capacities[6] = {-1, 0, 1, 2, tenon_moe_capacity_ceil(1.0, tokens, k, p->experts, 1), 1000};
    p->capacity = capacities[(hash >> 24) % 6];
    p->drop = (hash >> 27) % 3;
    p->renorm = hash >> 30 & 1;
    if (p->capacity >= 0 && p->capacity < 1000 && hash >> 31 & 1) {
        p->pad_to_capacity = 1;
        p->capacity = (p->capacity + p->align - 1) / p->align * p->align;
    }
    if (p->experts > 2 && (hash >> 32) % 4 == 0) {
        p->first = p->experts / 3;
        p->end = hash >> 34 & 1 ? 0 : p->experts - p->experts / 4;
    }
    const uint32_t some = (uint32_t)(hash >> 36 & 0xff) << 3 | (hash >> 44 & 1 ? ALL_OUTPUTS : 0);
    set_tensors(c, tokens, k, all_cols[(hash >> 46) % 6], some ? some : 1u << TENON_MOE_DISPATCH_POS,
                (uint32_t)(hash >> 50) % 3, (int64_t)(hash >> 53 & 1) * 5, conform_random(hash, 1));
}

static void dispatch_make(struct conform_case *c)
{
    const uint64_t n = c->number, hash = conform_key(c, 100), full = n - QUICK_CASES;
    if (n < GOLDEN)
        make_golden(c, n);
    else if (n < GOLDEN + COUNT(first_specials))
        make_special(c, &first_specials[n - GOLDEN], hash);
    else if (n >= QUICK_CASES && full < COUNT(full_specials))
        make_special(c, &full_specials[full], hash);
    else
        make_any(c, n, hash);
    c->mode = c->own[0] == DISPATCH_GOLDEN || c->own[0] == DISPATCH_EVEN    ? CONFORM_EXACT
              : c->own[0] == DISPATCH_SKEWED || c->own[0] == DISPATCH_SAME ? CONFORM_RANDOM
                                                                            : CONFORM_ADVERSARIAL;
    name_case(c);
}

/* ---- benchmarks ---- */

/* Without xp: idx twice and src and pos once; with it: x once and xp once. */
#define PLAN(text, tokens, k, experts)                                                                                 \
    {                                                                                                                  \
        text, TENON_I32, CONFORM_QUICK, {tokens, k, experts}, 16.0 * (tokens) * (k), 0                                 \
    }
#define COPY(text, type, size, tokens, k, cols)                                                                        \
    {                                                                                                                  \
        text, type, CONFORM_QUICK, {tokens, k, cols},                                                                  \
            (double)(tokens) * (((k) + 1.0) * (cols) * (size) + 16.0 * (k)), 0                                         \
    }
static const struct conform_bench benches[] = {
    PLAN("plan 4096x8 to 64", 4096, 8, 64),
    PLAN("plan 1024x2 to 8", 1024, 2, 8),
    PLAN("plan 1x8 to 256", 1, 8, 256),
    PLAN("bpr 4096x8 to 64", 4096, 8, 64),
    PLAN("prob 4096x8 to 64", 4096, 8, 64),
    PLAN("plan mixtral 4096x2 to 8", 4096, 2, 8),
    PLAN("plan qwen3-moe 4096x8 to 128", 4096, 8, 128),
    PLAN("plan deepseek-v3 4096x8 to 256", 4096, 8, 256),
    COPY("xp 2048x8 of 1024", TENON_F32, 4, 2048, 8, 1024),
    COPY("xp bf16 2048x8 of 2048", TENON_BF16, 2, 2048, 8, 2048),
    COPY("xp mixtral bf16 2048x2 of 4096", TENON_BF16, 2, 2048, 2, 4096),
    COPY("xp qwen3-moe bf16 1024x8 of 2048", TENON_BF16, 2, 1024, 8, 2048),
    COPY("xp deepseek-v3 bf16 512x8 of 7168", TENON_BF16, 2, 512, 8, 7168),
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_moe_dispatch_params *p = params_of(c);
    const int copies = strncmp(bench->name, "xp", 2) == 0, drops = bench->name[0] == 'b' || bench->name[1] == 'r';
    c->own[0] = DISPATCH_EVEN;
    p->experts = copies ? 64 : (int32_t)bench->dim[2];
    if (drops) {
        p->drop = bench->name[0] == 'b' ? TENON_MOE_DISPATCH_BPR : TENON_MOE_DISPATCH_PROB;
        p->capacity = tenon_moe_capacity_ceil(1.0, bench->dim[0], bench->dim[1], p->experts, 1);
    }
    set_tensors(c, bench->dim[0], bench->dim[1], bench->dim[2],
                1u << TENON_MOE_DISPATCH_SRC | 1u << TENON_MOE_DISPATCH_POS | 1u << TENON_MOE_DISPATCH_OFFSETS |
                    (uint32_t)copies << TENON_MOE_DISPATCH_XP,
                0, 0, bench->dtype == TENON_BF16 ? 2 : 0);
    name_case(c);
}

const struct conform_op tenon__conform_moe_dispatch = {
    .op = TENON_OPNUM_moe_dispatch,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = dispatch_make,
    .fill = dispatch_fill,
    .expect = tenon__conform_moe_dispatch_expect,
    .check = tenon__conform_moe_dispatch_check,
    .mpfr = tenon__conform_moe_dispatch_mpfr,
    .n_hostile = DISPATCH_HOSTILE,
    .hostile = tenon__dispatch_suite_hostile,
    .n_properties = DISPATCH_PROPERTIES,
    .properties = tenon__dispatch_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
