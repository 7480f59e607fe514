/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of moe_route in code; in words it is tenon/ops/moe_route.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/moe_route.h>

#include "../contract.h"
#include "../shape.h"

#define IN(i, name, type, shape, text)  [TENON_MOE_ROUTE_##i] = {name, TENON_IN_OPT, TENON_T_##type, shape, text}
#define OUT(i, name, type, shape, text) [TENON_MOE_ROUTE_##i] = {name, TENON_OUT_OPT, TENON_T_##type, shape, text}
static const struct tenon_tensor_spec tensors[] = {
    [TENON_MOE_ROUTE_LOGITS] = {"logits", TENON_IN, TENON_T_F32, "[T,E]", "of the router; dselect: of slots, [T,R]"},
    IN(CORR_BIAS, "corr_bias", F32, "[E]", "added to the score for the selection alone"),
    IN(GAIN, "gain", F32, "[E]", "factor of relu_rms"),
    IN(TOKEN_VALID, "token_valid", U8, "[T]", "0: the token gets no expert"),
    IN(EXPERT_MASK, "expert_mask", U8, "[E]", "0: the expert does not exist"),
    IN(GROUP_LOGITS, "group_logits", F32, "[T,G]", "of the first of two levels (hier)"),
    IN(KEY, "key", I32, "[T]", "which row of the table (table)"),
    IN(TABLE_IDX, "table_idx", I32, "[V,K]", "experts of a key, -1: none (table)"),
    IN(ZSEL, "zsel", F32, "[T,R,B]", "bits of the slots, before the smooth step (dselect)"),
    IN(NUSE, "nuse", I32, "[T]", "how many experts, from the first (prefix)"),
    OUT(IDX, "idx", I32, "[T,K]", "experts of a token; -1: none"),
    OUT(W, "w", F32, "[T,K]", "their weights"),
    OUT(NSEL, "nsel", I32, "[T]", "how many experts a token has"),
    OUT(SEL, "sel", I32, "[E,cap]", "tokens of an expert, best first; -1: none (expert_choice)"),
    OUT(G, "g", F32, "[E,cap]", "their weights (expert_choice)"),
    OUT(CNT1, "cnt1", I32, "[E]", "how often an expert is in slot 0"),
    OUT(CNT_K, "cnt_k", I32, "[E]", "how often an expert is in any slot"),
    OUT(P_MEAN, "p_mean", F32, "[E]", "mean probability of an expert"),
    OUT(AUX, "aux", F32, "[1]", "load-balancing loss"),
    OUT(ZLOSS, "zloss", F32, "[1]", "mean square of the logarithm of the sum of exponentials"),
    OUT(ENTROPY, "entropy", F32, "[1]", "mean Shannon entropy in nats"),
    OUT(L1, "l1", F32, "[1]", "mean sum of the positive logits"),
    OUT(FLAGS, "flags", U32, "[4]", "rows that are NaN, empty, short or cut; entries out of range"),
};

static const char *const scores[] = {"softmax", "sigmoid", "relu", "relu_rms", "identity", "one", NULL};
static const char *const selects[] = {"topk",  "thresh", "positive", "all",   "expert_choice",
                                      "table", "random", "dselect",  "prefix", NULL};
static const char *const norms[] = {"none", "sum", "softmax_sel", NULL};
static const char *const weights[] = {"score", "clean_softmax", "one", NULL};
static const char *const policies[] = {"propagate", "drop", NULL};
static const char *const noises[] = {"none", "gumbel", NULL};
static const char *const uses[] = {"all", "second_only", NULL};
static const char *const gscores[] = {"max", "topn_sum", NULL};
static const char *const randoms[] = {"token", "seq", "call", NULL};
static const char *const rules[] = {"switch", "gshard", NULL};

TENON_PARAMS_SIZE(tenon_moe_route_params, 120);
TENON_PARAMS_AT(tenon_moe_route_params, struct_size, 0);
TENON_PARAMS_AT(tenon_moe_route_params, k, 4);
TENON_PARAMS_AT(tenon_moe_route_params, score, 8);
TENON_PARAMS_AT(tenon_moe_route_params, select, 12);
TENON_PARAMS_AT(tenon_moe_route_params, norm, 16);
TENON_PARAMS_AT(tenon_moe_route_params, weight_src, 20);
TENON_PARAMS_AT(tenon_moe_route_params, nan_policy, 24);
TENON_PARAMS_AT(tenon_moe_route_params, noise, 28);
TENON_PARAMS_AT(tenon_moe_route_params, seed, 32);
TENON_PARAMS_AT(tenon_moe_route_params, stream, 40);
TENON_PARAMS_AT(tenon_moe_route_params, sample, 44);
TENON_PARAMS_AT(tenon_moe_route_params, noise_use, 48);
TENON_PARAMS_AT(tenon_moe_route_params, n_group, 52);
TENON_PARAMS_AT(tenon_moe_route_params, topk_group, 56);
TENON_PARAMS_AT(tenon_moe_route_params, gscore, 60);
TENON_PARAMS_AT(tenon_moe_route_params, gscore_n, 64);
TENON_PARAMS_AT(tenon_moe_route_params, hier_g, 68);
TENON_PARAMS_AT(tenon_moe_route_params, hier_k1, 72);
TENON_PARAMS_AT(tenon_moe_route_params, cap, 76);
TENON_PARAMS_AT(tenon_moe_route_params, random, 80);
TENON_PARAMS_AT(tenon_moe_route_params, random_len, 84);
TENON_PARAMS_AT(tenon_moe_route_params, experts, 88);
TENON_PARAMS_AT(tenon_moe_route_params, aux_rule, 92);
TENON_PARAMS_AT(tenon_moe_route_params, inv_temp, 96);
TENON_PARAMS_AT(tenon_moe_route_params, scale, 100);
TENON_PARAMS_AT(tenon_moe_route_params, thresh, 104);
TENON_PARAMS_AT(tenon_moe_route_params, norm_eps, 108);
TENON_PARAMS_AT(tenon_moe_route_params, rms_eps, 112);
TENON_PARAMS_AT(tenon_moe_route_params, gamma, 116);

#define AT(field) #field, .offset = offsetof(struct tenon_moe_route_params, field)
#define ENUM(field, most, of, words)                                           \
    {.name = AT(field), .type = TENON_ATTR_ENUM, .max = TENON_MOE_ROUTE_##most, .names = of, .text = (words)}
#define WHOLE(field, value, least, most, words)                                \
    {.name = AT(field), .type = TENON_ATTR_U32, .def = (value), .min = (least), .max = (most), .text = (words)}
#define REAL(field, value, least, words)                                       \
    {.name = AT(field), .type = TENON_ATTR_F32, .def = (value), .min = (least), .max = FLT_MAX, .text = (words)}
static const struct tenon_attr_spec attrs[] = {
    WHOLE(k, 1, 1, INT32_MAX, "slots of a token"),
    ENUM(score, ONE, scores, "what is made of a logit"),
    ENUM(select, PREFIX, selects, "which experts a token gets"),
    ENUM(norm, NORM_SOFTMAX_SEL, norms, "of the weights of a token"),
    ENUM(weight_src, WEIGHT_ONE, weights, "what a weight is"),
    ENUM(nan_policy, DROP, policies, "of a token with NaN: NaN weights, or no expert"),
    ENUM(noise, NOISE_GUMBEL, noises, "added to the logits"),
    {.name = AT(seed), .type = TENON_ATTR_U64, .max = (double)UINT64_MAX, .text = "of noise and random experts"},
    WHOLE(stream, 0, 0, UINT32_MAX, "of noise and random experts: which of many independent uses"),
    WHOLE(sample, 0, 0, UINT32_MAX, "of noise and random experts: which of many draws"),
    ENUM(noise_use, NOISE_SECOND_ONLY, uses, "noise for all slots, or all but the first"),
    WHOLE(n_group, 0, 0, TENON_MOE_ROUTE_MAX_GROUPS, "groups of neighbouring experts, of which some are chosen first"),
    WHOLE(topk_group, 0, 0, TENON_MOE_ROUTE_MAX_GROUPS, "how many groups are chosen"),
    ENUM(gscore, GSCORE_TOPN_SUM, gscores, "what a group is judged by"),
    WHOLE(gscore_n, 0, 0, TENON_MOE_ROUTE_MAX_GSCORE, "topn_sum: of how many of its best"),
    WHOLE(hier_g, 0, 0, TENON_MOE_ROUTE_MAX_EXPERTS, "groups of a router of two levels"),
    WHOLE(hier_k1, 0, 0, TENON_MOE_ROUTE_MAX_EXPERTS, "how many of them a token gets"),
    WHOLE(cap, 0, 0, INT32_MAX, "expert_choice: tokens of an expert"),
    ENUM(random, RANDOM_CALL, randoms, "random: an expert for each token, sequence or call"),
    WHOLE(random_len, 0, 0, INT32_MAX, "random: tokens of a sequence"),
    WHOLE(experts, 0, 0, TENON_MOE_ROUTE_MAX_EXPERTS, "dselect: how many experts there are"),
    ENUM(aux_rule, AUX_GSHARD, rules, "aux counts all slots, or the first"),
    REAL(inv_temp, 1, FLT_MIN, "inverse temperature"),
    REAL(scale, 1, -FLT_MAX, "factor on the weights"),
    REAL(thresh, 0, -FLT_MAX, "thresh: scores above it are selected"),
    REAL(norm_eps, (double)1e-20f, 0, "sum: added to the sum"),
    REAL(rms_eps, (double)1e-6f, FLT_MIN, "relu_rms: added to the mean square"),
    REAL(gamma, 1, FLT_MIN, "dselect: width of the smooth step"),
};

/* ---- attributes against each other ---- */

static int32_t refuse(struct tenon_why *why, const char *text)
{
    return tenon_why_set(why, TENON_E_ARG, "%s", text);
}

static int by_key(uint32_t select)
{
    return select <= TENON_MOE_ROUTE_ALL;
}

static int32_t check_noise(const struct tenon_moe_route_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    if (p->noise && (!(by_key(p->select) || p->select == TENON_MOE_ROUTE_EXPERT_CHOICE) || p->hier_g))
        return refuse(why, "noise = gumbel: needs select topk, thresh, positive, all or expert_choice, without hier_g");
    if (p->noise_use && (!p->noise || p->select != TENON_MOE_ROUTE_TOPK || p->n_group || t[TENON_MOE_ROUTE_CORR_BIAS].dtype))
        return refuse(why, "noise_use = second_only: needs noise gumbel and select topk, without groups and corr_bias");
    return TENON_OK;
}

static int32_t check_groups(const struct tenon_moe_route_params *p, int64_t experts, struct tenon_why *why)
{
    if (!p->n_group)
        return p->topk_group || p->gscore || p->gscore_n ? refuse(why, "topk_group, gscore, gscore_n: need n_group")
                                                         : TENON_OK;
    if (p->select != TENON_MOE_ROUTE_TOPK || p->hier_g)
        return refuse(why, "n_group: needs select topk without hier_g");
    if (experts % p->n_group)
        return tenon_why_set(why, TENON_E_ARG, "n_group = %u: must divide the %lld experts", p->n_group,
                             (long long)experts);
    const int64_t each = experts / p->n_group;
    if (p->topk_group < 1 || p->topk_group > p->n_group)
        return tenon_why_set(why, TENON_E_ARG, "topk_group = %u: must be within [1, n_group = %u]", p->topk_group,
                             p->n_group);
    if (p->k > p->topk_group * each)
        return tenon_why_set(why, TENON_E_ARG, "k = %u: the chosen groups have %lld experts", p->k,
                             (long long)(p->topk_group * each));
    if (p->gscore == TENON_MOE_ROUTE_GSCORE_MAX)
        return p->gscore_n ? refuse(why, "gscore_n: needs gscore topn_sum") : TENON_OK;
    if (p->gscore_n < 1 || p->gscore_n > each)
        return tenon_why_set(why, TENON_E_ARG, "gscore_n = %u: must be within [1, %lld], the experts of a group",
                             p->gscore_n, (long long)each);
    if (p->score == TENON_MOE_ROUTE_RELU_RMS || p->score == TENON_MOE_ROUTE_ONE)
        return refuse(why, "gscore = topn_sum: needs a score but relu_rms and one");
    return TENON_OK;
}

static int32_t check_hier(const struct tenon_moe_route_params *p, const struct tenon_tensor *t, int64_t experts,
                          struct tenon_why *why)
{
    if (!p->hier_g != !t[TENON_MOE_ROUTE_GROUP_LOGITS].dtype)
        return refuse(why, "hier_g and group_logits: both or neither");
    if (!p->hier_g)
        return p->hier_k1 ? refuse(why, "hier_k1: needs hier_g") : TENON_OK;
    if (p->select != TENON_MOE_ROUTE_TOPK || p->score != TENON_MOE_ROUTE_SOFTMAX || p->weight_src ||
        p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL || t[TENON_MOE_ROUTE_CORR_BIAS].dtype)
        return refuse(why, "hier_g: needs score softmax, select topk, weight_src score, norm none or sum, no corr_bias");
    if (experts % p->hier_g)
        return tenon_why_set(why, TENON_E_ARG, "hier_g = %u: must divide the %lld experts", p->hier_g,
                             (long long)experts);
    if (p->hier_k1 < 1 || p->hier_k1 > p->hier_g || p->k % p->hier_k1 || p->k / p->hier_k1 > experts / p->hier_g)
        return tenon_why_set(why, TENON_E_ARG,
                             "hier_k1 = %u: must be within [1, %u], divide k = %u, and leave no more than %lld a group",
                             p->hier_k1, p->hier_g, p->k, (long long)(experts / p->hier_g));
    return TENON_OK;
}

static int32_t check_dselect(const struct tenon_moe_route_params *p, const struct tenon_tensor *t,
                             struct tenon_why *why)
{
    if (p->select != TENON_MOE_ROUTE_DSELECT)
        return p->experts || t[TENON_MOE_ROUTE_ZSEL].dtype ? refuse(why, "experts, zsel: need select dselect")
                                                           : TENON_OK;
    if (p->score != TENON_MOE_ROUTE_SOFTMAX || p->norm || p->weight_src)
        return refuse(why, "select = dselect: needs score softmax, norm none, weight_src score");
    if (p->experts < 1)
        return refuse(why, "experts = 0: select dselect needs at least 1");
    if (p->experts > 1 && !t[TENON_MOE_ROUTE_ZSEL].dtype)
        return refuse(why, "zsel is missing: select dselect needs it");
    return TENON_OK;
}

/* Tensors that need a certain rule. */
static int32_t check_given(const struct tenon_moe_route_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int table = p->select == TENON_MOE_ROUTE_TABLE, choice = p->select == TENON_MOE_ROUTE_EXPERT_CHOICE;
    const int graded = p->score != TENON_MOE_ROUTE_RELU_RMS && p->score != TENON_MOE_ROUTE_ONE;
    const int plain = by_key(p->select) || choice;
    int losses = 0;
    for (uint32_t i = TENON_MOE_ROUTE_P_MEAN; i <= TENON_MOE_ROUTE_L1; i++)
        losses |= t[i].dtype != TENON_ABSENT;
    if (t[TENON_MOE_ROUTE_CORR_BIAS].dtype && !(by_key(p->select) && graded))
        return refuse(why, "corr_bias: needs select topk, thresh, positive or all, and a score but relu_rms and one");
    if (t[TENON_MOE_ROUTE_GAIN].dtype && p->score != TENON_MOE_ROUTE_RELU_RMS)
        return refuse(why, "gain: needs score relu_rms");
    if (t[TENON_MOE_ROUTE_EXPERT_MASK].dtype && !plain)
        return refuse(why, "expert_mask: not with select table, random, dselect and prefix");
    if (table != (t[TENON_MOE_ROUTE_KEY].dtype != 0) || table != (t[TENON_MOE_ROUTE_TABLE_IDX].dtype != 0))
        return refuse(why, "key and table_idx: exactly with select table");
    if ((p->select == TENON_MOE_ROUTE_PREFIX) != (t[TENON_MOE_ROUTE_NUSE].dtype != 0))
        return refuse(why, "nuse: exactly with select prefix");
    if ((t[TENON_MOE_ROUTE_SEL].dtype || t[TENON_MOE_ROUTE_G].dtype) && !choice)
        return refuse(why, "sel, g: need select expert_choice");
    if (choice && (p->norm || p->weight_src || p->score == TENON_MOE_ROUTE_RELU_RMS))
        return refuse(why, "select = expert_choice: needs norm none, weight_src score and a score but relu_rms");
    if (losses && (p->select == TENON_MOE_ROUTE_DSELECT || p->hier_g))
        return refuse(why, "p_mean, aux, zloss, entropy, l1: not with select dselect and hier_g");
    if (p->select == TENON_MOE_ROUTE_THRESH && p->score == TENON_MOE_ROUTE_RELU_RMS)
        return refuse(why, "select = thresh: needs a score but relu_rms");
    if (p->select == TENON_MOE_ROUTE_RANDOM && p->random == TENON_MOE_ROUTE_RANDOM_SEQ && p->random_len < 1)
        return refuse(why, "random_len = 0: random = seq needs at least 1");
    return TENON_OK;
}

/* ---- shapes ---- */

/* ceil(log2 n) */
static int64_t bits_of(int64_t n)
{
    int64_t bits = 0;
    while (INT64_C(1) << bits < n)
        bits++;
    return bits;
}

struct sizes {
    int64_t tokens, columns, experts;
};

/* What a tensor must be; its rank. */
static uint32_t want_shape(const struct tenon_moe_route_params *p, const struct sizes *s, const struct tenon_tensor *t,
                           uint32_t i, int64_t dim[3])
{
    dim[0] = s->tokens;
    dim[1] = p->k;
    switch (i) {
    case TENON_MOE_ROUTE_LOGITS: dim[1] = s->columns; return 2;
    case TENON_MOE_ROUTE_GROUP_LOGITS: dim[1] = p->hier_g; return 2;
    case TENON_MOE_ROUTE_TABLE_IDX: dim[0] = t[i].rank ? t[i].dim[0] : 0; return 2;
    case TENON_MOE_ROUTE_ZSEL: dim[1] = s->columns; dim[2] = bits_of(s->experts); return 3;
    case TENON_MOE_ROUTE_IDX:
    case TENON_MOE_ROUTE_W: return 2;
    case TENON_MOE_ROUTE_SEL:
    case TENON_MOE_ROUTE_G: dim[0] = s->experts; dim[1] = p->cap; return 2;
    case TENON_MOE_ROUTE_TOKEN_VALID:
    case TENON_MOE_ROUTE_KEY:
    case TENON_MOE_ROUTE_NUSE:
    case TENON_MOE_ROUTE_NSEL: return 1;
    case TENON_MOE_ROUTE_AUX:
    case TENON_MOE_ROUTE_ZLOSS:
    case TENON_MOE_ROUTE_ENTROPY:
    case TENON_MOE_ROUTE_L1: dim[0] = 1; return 1;
    case TENON_MOE_ROUTE_FLAGS: dim[0] = 4; return 1;
    default: dim[0] = s->experts; return 1;
    }
}

static int32_t check_shape(const struct tenon_moe_route_params *p, const struct sizes *s, const struct tenon_tensor *t,
                           uint32_t i, struct tenon_why *why)
{
    int64_t dim[3];
    const uint32_t rank = want_shape(p, s, t, i, dim);
    if (t[i].rank == rank && memcmp(t[i].dim, dim, rank * sizeof dim[0]) == 0) {
        if (rank != 2 && !tenon_tensor_is_contiguous(&t[i]))
            return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
        return TENON_OK;
    }
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be %s, here %lld%s%.0lld",
                         tensors[i].name, t[i].rank, (long long)tenon_tensor_count(&t[i]), tensors[i].shape,
                         (long long)dim[0], rank > 1 ? " by " : "", rank > 1 ? (long long)dim[1] : 0LL);
}

static struct sizes sizes_of(const struct tenon_moe_route_params *p, const struct tenon_tensor *logits)
{
    const struct sizes s = {logits->dim[0], logits->dim[1],
                            p->select == TENON_MOE_ROUTE_DSELECT ? (int64_t)p->experts : logits->dim[1]};
    return s;
}

static int32_t check_sizes(const struct tenon_moe_route_params *p, const struct sizes *s, struct tenon_why *why)
{
    if (s->tokens > INT32_MAX || s->columns > TENON_MOE_ROUTE_MAX_EXPERTS)
        return tenon_why_set(why, TENON_E_SHAPE, "logits are %lld by %lld: must be below 2^31, and at most %d",
                             (long long)s->tokens, (long long)s->columns, TENON_MOE_ROUTE_MAX_EXPERTS);
    if (s->columns == 0 && s->tokens > 0)
        return tenon_why_set(why, TENON_E_SHAPE, "logits have no experts: must be at least 1");
    if (p->select == TENON_MOE_ROUTE_RANDOM && p->k != 1)
        return tenon_why_set(why, TENON_E_SHAPE, "k = %u: select random has 1", p->k);
    if (p->select != TENON_MOE_ROUTE_TABLE && p->k > s->experts && s->columns > 0)
        return tenon_why_set(why, TENON_E_SHAPE, "k = %u: must be within [1, %lld], the number of experts", p->k,
                             (long long)s->experts);
    return TENON_OK;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_moe_route_params *p = params;
    const struct tenon_tensor *logits = &t[TENON_MOE_ROUTE_LOGITS];
    if (logits->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "logits rank %u: must be 2", logits->rank);
    const struct sizes s = sizes_of(p, logits);
    int32_t status = check_noise(p, t, why);
    if (!status)
        status = check_given(p, t, why);
    if (!status)
        status = check_dselect(p, t, why);
    if (!status)
        status = check_sizes(p, &s, why);
    if (!status)
        status = check_groups(p, s.experts, why);
    if (!status)
        status = check_hier(p, t, s.experts, why);
    for (uint32_t i = 0; !status && i < TENON_MOE_ROUTE_N_TENSORS; i++)
        if (t[i].dtype)
            status = check_shape(p, &s, t, i, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_moe_route_params *p = params;
    const struct tenon_tensor *logits = &t[TENON_MOE_ROUTE_LOGITS];
    int64_t dim[3];
    int32_t status = tenon__output_check(&tenon__moe_route_contract, index, TENON_MOE_ROUTE_IDX, logits, why);
    if (status)
        return status;
    if (logits->rank != 2)
        return tenon_why_set(why, TENON_E_SHAPE, "logits rank %u: must be 2", logits->rank);
    if ((index == TENON_MOE_ROUTE_SEL || index == TENON_MOE_ROUTE_G) && p->select != TENON_MOE_ROUTE_EXPERT_CHOICE)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s: only select expert_choice has it", tensors[index].name);
    const struct sizes s = sizes_of(p, logits);
    const uint32_t rank = want_shape(p, &s, t, index, dim), set = tensors[index].dtypes;
    const uint32_t own = set == TENON_T_F32 ? TENON_F32 : set == TENON_T_U32 ? TENON_U32 : TENON_I32;
    *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : own, rank, dim);
    return TENON_OK;
}

const struct tenon_op_contract tenon__moe_route_contract = {
    .op = TENON_OPNUM_moe_route,
    .name = "moe_route",
    .text = "the experts of each token and their weights, from the router's logits",
    .source = "Switch; GShard; Mixtral; DeepSeek-V3; ReMoE; BlockFFN; expert choice; Hash Layers; THOR; DSelect-k",
    .n_tensors = TENON_MOE_ROUTE_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_moe_route_params),
    .params_first = sizeof(struct tenon_moe_route_params),
    .n_tensors_first = TENON_MOE_ROUTE_N_TENSORS,
    .validate = validate,
    .output = output,
};
