/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of kv_select in code; in words it is tenon/ops/kv_select.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/kv_select.h>

#include "../contract.h"
#include "../shape.h"

static const struct tenon_tensor_spec tensors[] = {
    [TENON_KV_SELECT_Q] = {"q", TENON_IN_OPT, TENON_T_FLOAT, "[B,T,Hq,D]", "queries"},
    [TENON_KV_SELECT_K] = {"k", TENON_IN_OPT, TENON_T_FLOAT, "[B,S,Hk,D]", "keys"},
    [TENON_KV_SELECT_SCORES] = {"scores", TENON_IN_OPT, TENON_T_F32, "[B,H,nq,nk]", "of pairs of blocks (external)"},
    [TENON_KV_SELECT_LNZ] = {"lnz", TENON_IN_OPT, TENON_T_F32, "[B,T,Hq]", "logarithms of the normalisers (prob_mass)"},
    [TENON_KV_SELECT_KV_LEN] = {"kv_len", TENON_IN_OPT, TENON_T_I32, "[B]", "how many keys are there"},
    [TENON_KV_SELECT_KPOS] = {"kpos", TENON_IN_OPT, TENON_T_I32, "[B or 1,S]", "positions of the keys"},
    [TENON_KV_SELECT_QPOS] = {"qpos", TENON_IN_OPT, TENON_T_I32, "[B or 1,T]", "positions of the queries"},
    [TENON_KV_SELECT_ROW_PTR] = {"row_ptr", TENON_OUT, TENON_T_I32, "[B,Hg,nq+1]", "where the rows of the lists begin"},
    [TENON_KV_SELECT_COL] = {"col", TENON_OUT, TENON_T_I32, "[nnz]", "the listed blocks, ascending"},
    [TENON_KV_SELECT_SCORES_OUT] = {"scores_out", TENON_OUT_OPT, TENON_T_F32, "[B,Hg,nq,nk]",
                                    "what the rule has seen; -inf is no candidate"},
    [TENON_KV_SELECT_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                               "rows with NaN, empty rows, entries that did not fit, lengths out of range"},
};

static const char *const scores[] = {"pooled", "softmax_pooled", "prob_mass", "max_token", "external", NULL};
static const char *const shares[] = {"per_head", "per_kv_group", "all_heads", NULL};
static const char *const norms[] = {"none", "softmax", "minmax", NULL};
static const char *const rules[] = {"topk", "thresh", "cumul", "stat", NULL};
static const char *const scopes[] = {"row", "head", "all", NULL};
static const char *const pools[] = {"mean", "max", "min", "none", NULL};

TENON_PARAMS_SIZE(tenon_kv_select_params, 88);
TENON_PARAMS_AT(tenon_kv_select_params, struct_size, 0);
TENON_PARAMS_AT(tenon_kv_select_params, score, 4);
TENON_PARAMS_AT(tenon_kv_select_params, share, 8);
TENON_PARAMS_AT(tenon_kv_select_params, norm, 12);
TENON_PARAMS_AT(tenon_kv_select_params, rule, 16);
TENON_PARAMS_AT(tenon_kv_select_params, scope, 20);
TENON_PARAMS_AT(tenon_kv_select_params, block_q, 24);
TENON_PARAMS_AT(tenon_kv_select_params, block_k, 28);
TENON_PARAMS_AT(tenon_kv_select_params, pool_q, 32);
TENON_PARAMS_AT(tenon_kv_select_params, pool_k, 36);
TENON_PARAMS_AT(tenon_kv_select_params, k, 40);
TENON_PARAMS_AT(tenon_kv_select_params, stride, 44);
TENON_PARAMS_AT(tenon_kv_select_params, self, 48);
TENON_PARAMS_AT(tenon_kv_select_params, first, 52);
TENON_PARAMS_AT(tenon_kv_select_params, last, 56);
TENON_PARAMS_AT(tenon_kv_select_params, segment, 60);
TENON_PARAMS_AT(tenon_kv_select_params, forced_counts, 64);
TENON_PARAMS_AT(tenon_kv_select_params, causal, 68);
TENON_PARAMS_AT(tenon_kv_select_params, q_len, 72);
TENON_PARAMS_AT(tenon_kv_select_params, k_len, 76);
TENON_PARAMS_AT(tenon_kv_select_params, tau, 80);
TENON_PARAMS_AT(tenon_kv_select_params, scale, 84);

#define AT(field) #field, .offset = offsetof(struct tenon_kv_select_params, field)
#define ENUM(field, count, of, words)                                                                                  \
    {.name = AT(field), .type = TENON_ATTR_ENUM, .max = TENON_KV_SELECT_##count - 1, .names = of, .text = (words)}
#define WHOLE(field, value, least, most, words)                                                                        \
    {.name = AT(field), .type = TENON_ATTR_U32, .def = (value), .min = (least), .max = (most), .text = (words)}
#define REAL(field, words)                                                                                             \
    {.name = AT(field), .type = TENON_ATTR_F32, .min = -(double)FLT_MAX, .max = (double)FLT_MAX, .text = (words)}
static const struct tenon_attr_spec attrs[] = {
    ENUM(score, SCORE_COUNT, scores, "what a pair of blocks is judged by"),
    ENUM(share, SHARE_COUNT, shares, "whose lists: each head's, of a group of heads, of all"),
    ENUM(norm, NORM_COUNT, norms, "of the scores, before the rule"),
    ENUM(rule, RULE_COUNT, rules, "which pairs are listed"),
    ENUM(scope, SCOPE_COUNT, scopes, "among what the rule chooses: a row, a head, everything"),
    WHOLE(block_q, 64, 1, TENON_KV_SELECT_MAX_BLOCK, "queries of a block"),
    WHOLE(block_k, 64, 1, TENON_KV_SELECT_MAX_BLOCK, "keys of a block"),
    ENUM(pool_q, POOL_COUNT, pools, "how a block of queries becomes one"),
    ENUM(pool_k, POOL_COUNT, pools, "how a block of keys becomes one"),
    WHOLE(k, 1, 1, INT32_MAX, "topk, stat: how many pairs of a scope"),
    WHOLE(stride, 1, 1, TENON_KV_SELECT_MAX_BLOCK, "max_token: each so many tokens of a block"),
    WHOLE(self, 0, 0, 1, "the block with the query's own positions is listed"),
    WHOLE(first, 0, 0, 1, "the block with position 0 is listed"),
    WHOLE(last, 0, 0, INT32_MAX, "so many of the last visible blocks are listed"),
    WHOLE(segment, 0, 0, INT32_MAX, "the own segment of so many blocks is listed"),
    WHOLE(forced_counts, 0, 0, 1, "what is listed anyhow takes part in the rule"),
    WHOLE(causal, 0, 0, 1, "no keys after the query"),
    WHOLE(q_len, 0, 0, INT32_MAX, "external: how many queries"),
    WHOLE(k_len, 0, 0, INT32_MAX, "external: how many keys"),
    REAL(tau, "thresh: scores above it; cumul: the share of the mass"),
    REAL(scale, "factor on the products; 0 is D^-0.5"),
};

struct sizes {
    int64_t batch, queries, keys, heads, lists, nq, nk;
};

static int32_t refuse(struct tenon_why *why, const char *text)
{
    return tenon_why_set(why, TENON_E_ARG, "%s", text);
}

static int32_t check_attrs(const struct tenon_kv_select_params *p, struct tenon_why *why)
{
    const int pooled = p->score <= TENON_KV_SELECT_SOFTMAX_POOLED;
    const int counts = p->rule == TENON_KV_SELECT_TOPK || p->rule == TENON_KV_SELECT_STAT;
    if (!pooled && (p->pool_q || p->pool_k))
        return refuse(why, "pool_q, pool_k: need score pooled or softmax_pooled");
    if ((p->pool_q == TENON_KV_SELECT_POOL_NONE && p->block_q > 1) ||
        (p->pool_k == TENON_KV_SELECT_POOL_NONE && p->block_k > 1))
        return tenon_why_set(why, TENON_E_ARG, "block_q = %u, block_k = %u: must be 1 where the pool is none",
                             p->block_q, p->block_k);
    if (p->stride > 1 && p->score != TENON_KV_SELECT_MAX_TOKEN)
        return tenon_why_set(why, TENON_E_ARG, "stride = %u: needs score max_token", p->stride);
    if (p->score != TENON_KV_SELECT_EXTERNAL && (p->q_len || p->k_len))
        return refuse(why, "q_len, k_len: need score external");
    if (p->score == TENON_KV_SELECT_EXTERNAL && p->scale != 0)
        return refuse(why, "scale: not with score external");
    if (!counts && p->k > 1)
        return tenon_why_set(why, TENON_E_ARG, "k = %u: needs rule topk or stat", p->k);
    if (counts && p->tau != 0)
        return tenon_why_set(why, TENON_E_ARG, "tau = %g: needs rule thresh or cumul", (double)p->tau);
    if (p->rule == TENON_KV_SELECT_CUMUL && !(p->tau > 0 && p->tau <= 1))
        return tenon_why_set(why, TENON_E_ARG, "tau = %g: must be within (0, 1] with rule cumul", (double)p->tau);
    return TENON_OK;
}

static int32_t check_given(const struct tenon_kv_select_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int external = p->score == TENON_KV_SELECT_EXTERNAL, mass = p->score == TENON_KV_SELECT_PROB_MASS;
    if (!external != !t[TENON_KV_SELECT_SCORES].dtype)
        return refuse(why, "scores: exactly with score external");
    if (external != !t[TENON_KV_SELECT_Q].dtype || external != !t[TENON_KV_SELECT_K].dtype)
        return refuse(why, external ? "q, k: not with score external" : "q, k: needed unless score is external");
    if (!mass != !t[TENON_KV_SELECT_LNZ].dtype)
        return refuse(why, "lnz: exactly with score prob_mass");
    return TENON_OK;
}

static int64_t blocks_of(int64_t n, uint32_t block)
{
    return block ? (n + block - 1) / block : 0; /* output() comes before any check */
}

static int32_t check_ranks(const struct tenon_tensor *t, struct tenon_why *why)
{
    static const uint32_t four[] = {TENON_KV_SELECT_Q, TENON_KV_SELECT_K, TENON_KV_SELECT_SCORES};
    for (size_t i = 0; i < sizeof four / sizeof four[0]; i++)
        if (t[four[i]].dtype && t[four[i]].rank != 4)
            return tenon_why_set(why, TENON_E_SHAPE, "%s rank %u: must be 4", tensors[four[i]].name, t[four[i]].rank);
    if (t[TENON_KV_SELECT_Q].dtype && t[TENON_KV_SELECT_K].dtype &&
        t[TENON_KV_SELECT_Q].dtype != t[TENON_KV_SELECT_K].dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "k is %s: must be as q, %s",
                             tenon_dtype_name(t[TENON_KV_SELECT_K].dtype),
                             tenon_dtype_name(t[TENON_KV_SELECT_Q].dtype));
    return TENON_OK;
}

static int32_t sizes_of(const struct tenon_kv_select_params *p, const struct tenon_tensor *t, struct sizes *s,
                        struct tenon_why *why)
{
    const struct tenon_tensor *q = &t[TENON_KV_SELECT_Q], *k = &t[TENON_KV_SELECT_K];
    const struct tenon_tensor *given = &t[TENON_KV_SELECT_SCORES];
    const int external = p->score == TENON_KV_SELECT_EXTERNAL;
    *s = (struct sizes){external ? given->dim[0] : q->dim[0], external ? p->q_len : q->dim[1],
                        external ? p->k_len : k->dim[1], external ? given->dim[1] : q->dim[2], 1, 0, 0};
    if (!external && (k->dim[0] != s->batch || k->dim[3] != q->dim[3] || k->dim[2] < 1 || s->heads % k->dim[2]))
        return tenon_why_set(why, TENON_E_SHAPE,
                             "k is %lld,%lld,%lld,%lld: must have B = %lld, D = %lld, Hk that divides %lld",
                             (long long)k->dim[0], (long long)k->dim[1], (long long)k->dim[2], (long long)k->dim[3],
                             (long long)s->batch, (long long)q->dim[3], (long long)s->heads);
    if (!external && (q->dim[3] < 1 || q->dim[3] > TENON_KV_SELECT_MAX_WIDTH))
        return tenon_why_set(why, TENON_E_SHAPE, "D is %lld: must be within [1, %d]", (long long)q->dim[3],
                             TENON_KV_SELECT_MAX_WIDTH);
    s->nq = blocks_of(s->queries, p->block_q);
    s->nk = blocks_of(s->keys, p->block_k);
    if (s->heads < 1 && s->batch > 0)
        return tenon_why_set(why, TENON_E_SHAPE, "there are no heads: must be at least 1");
    if (external && (given->dim[2] != s->nq || given->dim[3] != s->nk))
        return tenon_why_set(why, TENON_E_SHAPE, "scores are %lld by %lld: must be %lld by %lld, from q_len, k_len",
                             (long long)given->dim[2], (long long)given->dim[3], (long long)s->nq, (long long)s->nk);
    const double rows = (double)s->batch * (double)s->heads, most = INT32_MAX;
    if (rows * (double)s->nq * (double)s->nk > most || rows * (double)s->queries > most ||
        rows * (double)(s->nq + 1) > most || (double)s->batch * (double)s->keys > most ||
        (!external && (double)s->batch * (double)s->keys * (double)k->dim[2] > most))
        return tenon_why_set(why, TENON_E_SHAPE,
                             "B * H = %.0f, T = %lld, S = %lld: tokens and pairs must be below 2^31",
                             rows, (long long)s->queries, (long long)s->keys);
    if (p->share == TENON_KV_SELECT_PER_HEAD)
        s->lists = s->heads;
    else if (p->share == TENON_KV_SELECT_PER_KV_GROUP)
        s->lists = external ? 0 : k->dim[2];
    return TENON_OK;
}

static int32_t want(const struct tenon_tensor *t, uint32_t i, uint32_t rank, const int64_t *dim, int one,
                    struct tenon_why *why)
{
    const struct tenon_tensor *own = &t[i];
    int fits = own->rank == rank;
    if (!own->dtype)
        return TENON_OK;
    for (uint32_t axis = 0; fits && axis < rank; axis++)
        fits = own->dim[axis] == dim[axis] || (one && axis == 0 && own->dim[0] == 1);
    if (!fits)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "%s shape (rank %u, %lld elements): must be %s, here %lld,%lld,%lld,%lld",
                             tensors[i].name, own->rank, (long long)tenon_tensor_count(own), tensors[i].shape,
                             (long long)dim[0], (long long)(rank > 1 ? dim[1] : 1), (long long)(rank > 2 ? dim[2] : 1),
                             (long long)(rank > 3 ? dim[3] : 1));
    if (!tenon_tensor_is_contiguous(own))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

static int32_t check_shapes(const struct sizes *s, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int64_t scored[4] = {s->batch, s->heads, s->nq, s->nk}, lnz[3] = {s->batch, s->queries, s->heads};
    const int64_t kpos[2] = {s->batch, s->keys}, qpos[2] = {s->batch, s->queries}, flags[1] = {4};
    const int64_t row_ptr[3] = {s->batch, s->lists, s->nq + 1}, out[4] = {s->batch, s->lists, s->nq, s->nk};
    int32_t status = want(t, TENON_KV_SELECT_SCORES, 4, scored, 0, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_LNZ, 3, lnz, 0, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_KV_LEN, 1, &s->batch, 0, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_KPOS, 2, kpos, 1, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_QPOS, 2, qpos, 1, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_ROW_PTR, 3, row_ptr, 0, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_SCORES_OUT, 4, out, 0, why);
    if (!status)
        status = want(t, TENON_KV_SELECT_FLAGS, 1, flags, 0, why);
    return status;
}

/* The sizes of what is given, where that is sound. */
static int32_t given_sizes(const struct tenon_kv_select_params *p, const struct tenon_tensor *t, struct sizes *s,
                           struct tenon_why *why)
{
    int32_t status = check_given(p, t, why);
    if (!status)
        status = check_ranks(t, why);
    return status ? status : sizes_of(p, t, s, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_kv_select_params *p = params;
    const struct tenon_tensor *row_ptr = &t[TENON_KV_SELECT_ROW_PTR], *col = &t[TENON_KV_SELECT_COL];
    struct sizes s;
    int32_t status = check_attrs(p, why);
    if (!status)
        status = given_sizes(p, t, &s, why);
    if (status)
        return status;
    if (!s.lists) { /* external: as many groups as there are lists */
        s.lists = row_ptr->rank == 3 ? row_ptr->dim[1] : 0;
        if (s.lists < 1 || s.heads % s.lists)
            return tenon_why_set(why, TENON_E_SHAPE, "row_ptr has %lld lists: must divide the %lld heads of scores",
                                 (long long)s.lists, (long long)s.heads);
    }
    status = check_shapes(&s, t, why);
    if (status)
        return status;
    if (col->rank != 1 || col->dim[0] > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "col rank %u, %lld entries: must be 1, and below 2^31", col->rank,
                             (long long)tenon_tensor_count(col));
    if (!tenon_tensor_is_contiguous(col))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "col strides: must be contiguous");
    return TENON_OK;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_kv_select_params *p = params;
    const int moved = t[TENON_KV_SELECT_KPOS].dtype || t[TENON_KV_SELECT_QPOS].dtype;
    struct sizes s;
    if (index < TENON_KV_SELECT_ROW_PTR || index >= TENON_KV_SELECT_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of kv_select is not an output", index);
    int32_t status = given_sizes(p, t, &s, why);
    if (status)
        return status;
    const struct tenon_tensor *known = &t[TENON_KV_SELECT_ROW_PTR];
    if (!s.lists) /* external, per_kv_group: what row_ptr has, or one list */
        s.lists = known->dtype && known->rank == 3 && known->dim[1] > 0 ? known->dim[1] : 1;
    const int64_t nnz = tenon_kv_select_nnz(p, s.batch * s.lists, s.nq, s.nk, moved);
    switch (index) {
    case TENON_KV_SELECT_ROW_PTR:
        *out = tenon_tensor_make(TENON_I32, 3, (int64_t[]){s.batch, s.lists, s.nq + 1});
        break;
    case TENON_KV_SELECT_COL: *out = tenon_tensor_make(TENON_I32, 1, &nnz); break;
    case TENON_KV_SELECT_SCORES_OUT:
        *out = tenon_tensor_make(TENON_F32, 4, (int64_t[]){s.batch, s.lists, s.nq, s.nk});
        break;
    default: *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
    }
    return TENON_OK;
}

const struct tenon_op_contract tenon__kv_select_contract = {
    .op = TENON_OPNUM_kv_select,
    .name = "kv_select",
    .text = "the blocks of keys that each block of queries attends to, as lists",
    .source = "MoBA; VMoBA; SeerAttention; BiFormer; AdaSpa; PBS-Attn; ProxyAttn; top-k attention",
    .n_tensors = TENON_KV_SELECT_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_kv_select_params),
    .params_first = sizeof(struct tenon_kv_select_params),
    .n_tensors_first = TENON_KV_SELECT_N_TENSORS,
    .validate = validate,
    .output = output,
};
