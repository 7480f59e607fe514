/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route: the shapes of its cases and benchmark rows. */
#include <stdio.h>
#include <string.h>
#include "moe_route_suite.h"

#define QUICK_CASES 260
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (sizeof(a) / sizeof((a)[0]))
#define R(name)     TENON_MOE_ROUTE_##name

static struct tenon_moe_route_params *params_of(struct conform_case *c)
{
    return tenon__route_suite_params(c);
}

/* ---- shapes ---- */

static void give(struct conform_case *c, uint32_t i, uint32_t dtype, int64_t n)
{
    conform_slot_set(c, i, dtype, 1, &n);
}

/* [rows,cols], some with padded rows and a start of their own. */
static void give_rows(struct conform_case *c, uint32_t i, uint32_t dtype, int64_t rows, int64_t cols, uint64_t hash)
{
    conform_slot_rows(c, i, dtype, 0, rows, cols, hash & 1 ? 1 + (int64_t)(hash >> 8 & 7) : 0);
    conform_slot_margins(&c->slot[i], hash >> 1, hash >> 4);
}

static int64_t bits_of(int64_t n)
{
    int64_t bits = 0;
    while (INT64_C(1) << bits < n)
        bits++;
    return bits;
}

/* What the rule needs, and outputs: bit 0 idx and w, 1 nsel and flags, 2 counts, 3 losses, 4 sel and g. */
static void give_all(struct conform_case *c, int64_t tokens, int64_t columns, uint32_t outputs, uint64_t hash)
{
    const struct tenon_moe_route_params *p = params_of(c);
    const int64_t experts = p->select == R(DSELECT) ? (int64_t)p->experts : columns, k = p->k;
    const int lossy = p->select != R(DSELECT) && !p->hier_g, choice = p->select == R(EXPERT_CHOICE);
    give_rows(c, R(LOGITS), TENON_F32, tokens, columns, hash);
    if (p->hier_g)
        give_rows(c, R(GROUP_LOGITS), TENON_F32, tokens, p->hier_g, hash >> 8);
    if (p->select == R(TABLE)) {
        give(c, R(KEY), TENON_I32, tokens);
        give_rows(c, R(TABLE_IDX), TENON_I32, 37, k, hash >> 16);
    }
    if (p->select == R(PREFIX))
        give(c, R(NUSE), TENON_I32, tokens);
    if (p->select == R(DSELECT) && bits_of(experts) > 0)
        conform_slot_set(c, R(ZSEL), TENON_F32, 3, (int64_t[]){tokens, columns, bits_of(experts)});
    if (outputs & 1) {
        give_rows(c, R(IDX), TENON_I32, tokens, k, hash >> 24);
        give_rows(c, R(W), TENON_F32, tokens, k, hash >> 30);
    }
    if (outputs & 2) {
        give(c, R(NSEL), TENON_I32, tokens);
        give(c, R(FLAGS), TENON_U32, 4);
    }
    if (outputs & 4) {
        give(c, R(CNT1), TENON_I32, experts);
        give(c, R(CNT_K), TENON_I32, experts);
    }
    for (uint32_t i = R(P_MEAN); i <= R(L1) && lossy && outputs & 8; i++)
        give(c, i, TENON_F32, i == R(P_MEAN) ? experts : 1);
    if (choice && outputs & 16) {
        give_rows(c, R(SEL), TENON_I32, experts, p->cap, hash >> 36);
        give_rows(c, R(G), TENON_F32, experts, p->cap, hash >> 42);
    }
}

/* ---- cases that must be there ---- */

/* A published rule, or a corner. */
struct special {
    const char *name;
    int64_t tokens, experts;
    uint64_t fill;
    uint32_t outputs, given; /* given: 1 corr_bias, 2 gain, 4 token_valid, 8 expert_mask */
    const char *set;         /* attributes */
};
static const struct special specials[] = {
    {"all outputs", 3, 8, FILL_NORMAL, 15, 0, "k=2"},
    {"golden rows", 3, 4, FILL_GOLDEN, 3, 0, "k=2 norm=softmax_sel"},
    {"golden softmax", 3, 4, FILL_GOLDEN, 15, 0, "k=4"},
    {"golden gumbel", 4, 8, FILL_TIES, 3, 0, "k=8 noise=gumbel"},
    {"switch", 70, 8, FILL_NORMAL, 15, 0, "k=1"},
    {"gshard", 65, 16, FILL_NORMAL, 15, 0, "k=2 aux_rule=gshard"},
    {"gshard second", 65, 16, FILL_NORMAL, 15, 0, "k=2 noise=gumbel noise_use=second_only seed=9 aux_rule=gshard"},
    {"mixtral", 64, 8, FILL_NORMAL, 15, 0, "k=2 norm=softmax_sel"},
    {"deepseek v1", 33, 64, FILL_NORMAL, 15, 0, "k=6 scale=16"},
    {"deepseek v2", 20, 160, FILL_NORMAL, 15, 0, "k=6 n_group=8 topk_group=3 scale=16"},
    {"deepseek v3", 40, 256, FILL_NORMAL, 15, 1,
     "k=8 score=sigmoid n_group=8 topk_group=4 gscore=topn_sum gscore_n=2 norm=sum scale=2.5"},
    {"deepseek v3 ties", 9, 64, FILL_TIES, 3, 1,
     "k=8 score=sigmoid n_group=8 topk_group=4 gscore=topn_sum gscore_n=2 norm=sum scale=2.5"},
    {"sigmoid shared", 30, 32, FILL_WIDE, 15, 0, "k=4 score=sigmoid norm=sum"},
    {"temperature", 30, 16, FILL_NORMAL, 15, 0, "k=16 select=all inv_temp=0.5"},
    {"dts gate", 30, 16, FILL_WIDE, 15, 0, "k=16 select=thresh thresh=0.001 noise=gumbel inv_temp=0.7 seed=3"},
    {"dts clean", 30, 16, FILL_WIDE, 3, 0,
     "k=16 select=thresh thresh=0.001 noise=gumbel inv_temp=0.7 weight_src=clean_softmax"},
    {"remoe", 40, 24, FILL_NORMAL, 15, 0, "k=24 score=relu select=positive"},
    {"blockffn", 40, 40, FILL_NORMAL, 15, 2, "k=40 score=relu_rms select=positive"},
    {"hmoe", 40, 32, FILL_NORMAL, 7, 0, "k=4 hier_g=8 hier_k1=2"},
    {"hmoe all", 12, 32, FILL_EXACT, 7, 8, "k=32 hier_g=8 hier_k1=8 norm=sum"},
    {"gg moe", 20, 16, FILL_NORMAL, 15, 0, "k=16 select=all noise=gumbel sample=4"},
    {"expert choice", 70, 8, FILL_NORMAL, 31, 0, "k=8 select=expert_choice cap=17"},
    {"expert choice ties", 40, 6, FILL_TIES, 31, 4, "k=3 select=expert_choice cap=9"},
    {"expert choice all", 5, 6, FILL_NORMAL, 31, 8, "k=6 select=expert_choice cap=9"},
    {"hash", 40, 12, FILL_NORMAL, 7, 0, "k=3 select=table score=one"},
    {"hash softmax", 40, 12, FILL_NORMAL, 15, 4, "k=2 select=table"},
    {"hash relu", 30, 12, FILL_NORMAL, 15, 0, "k=3 select=table score=relu"},
    {"relu_rms sum", 30, 12, FILL_NORMAL, 15, 0, "k=3 score=relu_rms norm=sum"},
    {"blockffn plain", 30, 24, FILL_NORMAL, 15, 0, "k=24 score=relu_rms select=positive"},
    {"thor", 50, 10, FILL_NORMAL, 7, 0, "k=1 select=random weight_src=one seed=77"},
    {"thor sequences", 50, 10, FILL_NORMAL, 15, 0, "k=1 select=random random=seq random_len=7"},
    {"thor call", 20, 10, FILL_NORMAL, 7, 0, "k=1 select=random random=call stream=3"},
    {"dselect-k", 1, 4, FILL_NORMAL, 7, 0, "k=8 select=dselect experts=8"},
    {"dselect-k five", 9, 3, FILL_NORMAL, 7, 4, "k=5 select=dselect experts=5 gamma=2"},
    {"dselect-k one", 3, 2, FILL_NORMAL, 7, 0, "k=1 select=dselect experts=1"},
    {"phatgoose", 30, 20, FILL_NORMAL, 15, 0, "k=2 norm=sum"},
    {"smora", 30, 64, FILL_NORMAL, 3, 1, "k=8 score=identity"},
    {"smora ones", 30, 64, FILL_NORMAL, 3, 1, "k=8 score=sigmoid weight_src=one"},
    {"moe2 subset", 30, 16, FILL_NORMAL, 15, 8, "k=2 norm=softmax_sel"},
    {"acm", 30, 12, FILL_NORMAL, 7, 0, "k=12 select=prefix score=one"},
    {"acm softmax", 30, 12, FILL_INFINITE, 7, 4, "k=5 select=prefix"},
    {"drop", 24, 10, FILL_INFINITE, 15, 4, "k=3 nan_policy=drop"},
    {"propagate", 24, 10, FILL_INFINITE, 15, 12, "k=3"},
    {"one expert", 6, 1, FILL_INFINITE, 15, 0, "k=1"},
    {"k is E", 9, 33, FILL_TIES, 15, 0, "k=33 norm=sum"},
    {"no tokens", 0, 8, FILL_NORMAL, 15, 0, "k=2"},
    {"no tokens to choose", 0, 8, FILL_NORMAL, 31, 0, "k=2 select=expert_choice cap=3"},
    {"many slots", 3, 300, FILL_WIDE, 15, 0, "k=100 norm=sum"},
    {"many experts", 2, 4100, FILL_NORMAL, 15, 0, "k=40"},
    {"losses of skew", 300, 8, FILL_SKEWED, 15, 4, "k=2"},
    {"clean second", 40, 6, FILL_NORMAL, 3, 0,
     "k=3 noise=gumbel noise_use=second_only weight_src=clean_softmax inv_temp=0.75"},
    {"second of nothing", 24, 10, FILL_INFINITE, 15, 0, "k=3 score=relu noise=gumbel noise_use=second_only"},
    {"relu_rms of the largest", 24, 10, FILL_SPECIAL, 15, 8, "k=2 score=relu_rms"},
    {"prefix of -Inf", 24, 10, FILL_INFINITE, 15, 0, "k=10 select=prefix score=identity norm=sum"},
};
static const struct special full_specials[] = {
    {"65536 experts", 2, 65536, FILL_NORMAL, 15, 0, "k=8"},
    {"65536 slots", 1, 65536, FILL_TIES, 15, 0, "k=65536 norm=softmax_sel"},
    {"many tokens", 5000, 8, FILL_SKEWED, 15, 0, "k=2"},
    {"many to choose from", 3000, 5, FILL_NORMAL, 31, 0, "k=5 select=expert_choice cap=700"},
};

static uint32_t mode_of(uint64_t fill)
{
    if (fill == FILL_EXACT || fill == FILL_GOLDEN)
        return CONFORM_EXACT;
    return fill == FILL_NORMAL || fill == FILL_WIDE || fill == FILL_SKEWED ? CONFORM_RANDOM : CONFORM_ADVERSARIAL;
}

static void set_attributes(struct conform_case *c, const char *words)
{
    char one[64];
    while (*words) {
        const size_t n = strcspn(words, " ");
        snprintf(one, sizeof(one), "%.*s", (int)n, words);
        (void)!tenon_op_attr_set(tenon_op_contract_by_number(TENON_OPNUM_moe_route), c->params, one, NULL);
        words += n + strspn(words + n, " ");
    }
}

static void give_sides(struct conform_case *c, int64_t tokens, int64_t experts, uint32_t given)
{
    if (given & 1)
        give(c, R(CORR_BIAS), TENON_F32, experts);
    if (given & 2)
        give(c, R(GAIN), TENON_F32, experts);
    if (given & 4)
        give(c, R(TOKEN_VALID), TENON_U8, tokens);
    if (given & 8)
        give(c, R(EXPERT_MASK), TENON_U8, experts);
}

static void make_special(struct conform_case *c, const struct special *s)
{
    set_attributes(c, s->set);
    c->own[0] = s->fill;
    c->mode = mode_of(s->fill);
    give_all(c, s->tokens, s->experts, s->outputs, 0);
    give_sides(c, s->tokens, s->experts, s->given);
    snprintf(c->name, sizeof(c->name), "%s %lldx%lld %s", s->name, (long long)s->tokens, (long long)s->experts,
             s->set);
}

/* ---- all that can be combined ---- */

static int64_t divisor(int64_t n, uint64_t hash)
{
    int64_t d = 1 + (int64_t)(hash % 8);
    while (n % d)
        d--;
    return d;
}

static void set_choice(struct tenon_moe_route_params *p, int64_t tokens, uint64_t hash)
{
    static const uint32_t scores[3] = {R(SOFTMAX), R(SIGMOID), R(IDENTITY)};
    p->score = scores[hash % 3];
    p->norm = R(NORM_NONE);
    p->weight_src = R(WEIGHT_SCORE);
    p->cap = (uint32_t)(hash >> 8) % (uint32_t)(tokens + 2);
}

/* Groups, levels, or neither. */
static void set_levels(struct tenon_moe_route_params *p, int64_t experts, uint64_t hash)
{
    const int64_t parts = divisor(experts, hash >> 4), each = experts / parts;
    if (hash % 4 == 1) {
        p->n_group = (uint32_t)parts;
        p->topk_group = 1 + (uint32_t)(hash >> 12) % p->n_group;
        p->k = 1 + (p->k - 1) % (uint32_t)(p->topk_group * each);
        if (hash >> 20 & 1 && p->score != R(RELU_RMS) && p->score != R(ONE)) {
            p->gscore = R(GSCORE_TOPN_SUM);
            p->gscore_n = 1 + (uint32_t)(hash >> 24) % (uint32_t)(each < 8 ? each : 8);
        }
    } else if (hash % 4 == 2) {
        p->hier_g = (uint32_t)parts;
        p->hier_k1 = 1 + (uint32_t)(hash >> 12) % p->hier_g;
        p->k = p->hier_k1 * (1 + (uint32_t)(hash >> 24) % (uint32_t)each);
        p->score = R(SOFTMAX);
        p->weight_src = R(WEIGHT_SCORE);
        p->norm = hash >> 32 & 1;
    }
}

static void set_params(struct conform_case *c, int64_t tokens, int64_t *columns, uint64_t hash)
{
    struct tenon_moe_route_params *p = params_of(c);
    const uint64_t more = conform_random(hash, 5);
    p->select = c->number % 9;
    p->score = hash % 6;
    p->norm = (hash >> 8) % 3;
    p->weight_src = (hash >> 16) % 4 < 2 ? R(WEIGHT_SCORE) : (uint32_t)((hash >> 16) % 4 - 1);
    p->nan_policy = hash >> 24 & 1;
    p->inv_temp = hash >> 25 & 1 ? 1.0f : 0.75f;
    p->scale = hash >> 26 & 1 ? 1.0f : 2.5f;
    p->k = 1 + (uint32_t)(hash >> 32) % (uint32_t)(*columns < 20 ? *columns : 20);
    p->aux_rule = hash >> 40 & 1;
    p->seed = more;
    p->stream = (uint32_t)(more >> 3) & 3;
    p->sample = (uint32_t)(more >> 5) & 3;
    p->thresh = p->score == R(SOFTMAX) ? 0.03125f : 0.5f;
    switch (p->select) {
    case R(TOPK): set_levels(p, *columns, more >> 8); break;
    case R(THRESH): p->score = p->score == R(RELU_RMS) ? R(RELU) : p->score; break;
    case R(EXPERT_CHOICE): set_choice(p, tokens, more >> 8); break;
    case R(RANDOM):
        p->k = 1;
        p->random = (more >> 8) % 3;
        p->random_len = 1 + (uint32_t)(more >> 12) % 9;
        break;
    case R(DSELECT):
        p->experts = (uint32_t)*columns;
        *columns = 1 + (int64_t)(more >> 8) % 5;
        p->score = R(SOFTMAX);
        p->norm = R(NORM_NONE);
        p->weight_src = R(WEIGHT_SCORE);
        p->gamma = more >> 20 & 1 ? 1.0f : 3.0f;
        break;
    default: break;
    }
    const int noisy = (p->select <= R(EXPERT_CHOICE)) && !p->hier_g;
    p->noise = noisy && (more >> 40) % 3 == 0 ? R(NOISE_GUMBEL) : R(NOISE_NONE);
    p->noise_use = p->noise && p->select == R(TOPK) && !p->n_group && more >> 44 & 1;
}

static uint32_t choose_sides(const struct conform_case *c, uint64_t hash)
{
    const struct tenon_moe_route_params *p = (const void *)c->params;
    const int by_key = p->select <= R(ALL), graded = p->score != R(RELU_RMS) && p->score != R(ONE);
    uint32_t given = 0;
    if (by_key && graded && !p->hier_g && !p->noise_use && hash % 3 == 0)
        given |= 1;
    if (p->score == R(RELU_RMS) && hash >> 8 & 1)
        given |= 2;
    if ((hash >> 16) % 3 == 0)
        given |= 4;
    if (p->select <= R(EXPERT_CHOICE) && (hash >> 24) % 3 == 0)
        given |= 8;
    return given;
}

static void make_general(struct conform_case *c)
{
    static const int64_t experts[16] = {1, 2, 3, 4, 7, 8, 12, 16, 17, 31, 33, 60, 64, 65, 128, 200};
    static const char *const fills[] = {"normal", "exact", "wide", "offset", "special", "infinite", "ties", "skewed"};
    static const char *const selects[] = {"topk",  "thresh", "positive", "all",   "expert_choice",
                                          "table", "random", "dselect",  "prefix"};
    static const char *const scores[] = {"softmax", "sigmoid", "relu", "relu_rms", "identity", "one"};
    const uint64_t hash = conform_key(c, 100), more = conform_random(hash, 1);
    int64_t columns = experts[hash % 16], tokens = more % 17 == 3 ? 65 : more % 23 == 4 ? 0 : 1 + (int64_t)(more % 11);
    set_params(c, tokens, &columns, conform_random(hash, 2));
    struct tenon_moe_route_params *p = params_of(c);
    c->own[0] = (hash >> 8) % FILL_COUNT;
    /* a bias that is added to special floats may give sums below the normal numbers, which may be 0 */
    const uint32_t given = choose_sides(c, conform_random(hash, 3));
    if (c->own[0] == FILL_SPECIAL && (given & 1 || p->norm == R(NORM_SUM) || p->gscore))
        c->own[0] = FILL_INFINITE;
    c->mode = mode_of(c->own[0]);
    const uint32_t outputs = more >> 20 & 1 ? 31 : 1u << ((more >> 24) % 4) | 1u;
    give_all(c, tokens, columns, outputs, conform_random(hash, 4));
    give_sides(c, tokens, columns, given);
    snprintf(c->name, sizeof(c->name), "%s %s %lldx%lld k=%u %s%s%s%s%s%s", selects[p->select], scores[p->score],
             (long long)tokens, (long long)columns, p->k, fills[c->own[0]], p->noise ? " noise" : "",
             p->n_group ? " groups" : "", p->hier_g ? " levels" : "", given & 1 ? " +corr_bias" : "",
             given & 8 ? " +expert_mask" : "");
}

static void route_make(struct conform_case *c)
{
    const uint64_t n = c->number;
    if (n < COUNT(specials))
        make_special(c, &specials[n]);
    else if (n >= QUICK_CASES && n - QUICK_CASES < COUNT(full_specials))
        make_special(c, &full_specials[n - QUICK_CASES]);
    else
        make_general(c);
}

/* ---- benchmarks ---- */

/* The logits are read and idx and w written; of each logit an exp and its sum, or a comparison with the best. */
#define BENCH(what, tokens, experts, k)                                                                                \
    {                                                                                                                  \
        what "-E" #experts "k" #k "T" #tokens, TENON_F32, CONFORM_QUICK, {tokens, experts, k},                         \
            4.0 * tokens *experts + 8.0 * tokens *k, 8.0 * tokens *experts                                             \
    }
static const struct conform_bench benches[] = {
    BENCH("mixtral", 4096, 8, 2),
    BENCH("topk", 4096, 64, 8),
    BENCH("topk", 1, 64, 8),
    BENCH("qwen", 4096, 128, 8),
    BENCH("deepseek", 4096, 256, 8),
    BENCH("deepseek", 1, 256, 8),
    BENCH("choice", 4096, 64, 64),
    BENCH("losses", 4096, 64, 8),
};
/* By the first word of the names above. */
static const struct {
    const char *word, *set;
    uint32_t given, outputs;
} bench_params[] = {
    {"mixtral", "norm=softmax_sel", 0, 1},
    {"topk", "norm=softmax_sel", 0, 1},
    {"qwen", "norm=sum", 0, 1},
    {"deepseek", "score=sigmoid n_group=8 topk_group=4 gscore=topn_sum gscore_n=2 norm=sum scale=2.5", 1, 1},
    {"choice", "select=expert_choice cap=512", 0, 31},
    {"losses", "", 0, 15},
};

static void bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    const size_t length = strcspn(bench->name, "-");
    params_of(c)->k = (uint32_t)bench->dim[2];
    c->own[0] = FILL_NORMAL;
    for (size_t i = 0; i < COUNT(bench_params); i++) {
        if (strlen(bench_params[i].word) != length || strncmp(bench_params[i].word, bench->name, length) != 0)
            continue;
        set_attributes(c, bench_params[i].set);
        give_all(c, bench->dim[0], bench->dim[1], bench_params[i].outputs, 0);
        give_sides(c, bench->dim[0], bench->dim[1], bench_params[i].given);
    }
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}

const struct conform_op tenon__conform_moe_route = {
    .op = TENON_OPNUM_moe_route,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = route_make,
    .fill = tenon__route_suite_fill,
    .expect = tenon__conform_moe_route_expect,
    .check = tenon__conform_moe_route_check,
    .mpfr = tenon__conform_moe_route_mpfr,
    .n_hostile = ROUTE_HOSTILE,
    .hostile = tenon__route_suite_hostile,
    .n_properties = ROUTE_PROPERTIES,
    .properties = tenon__route_suite_properties,
    .n_bench = COUNT(benches),
    .bench = benches,
    .bench_make = bench_make,
};
