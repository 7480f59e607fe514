/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of kv_evict in code; in words it is tenon/ops/kv_evict.h. */
#include <float.h>
#include <string.h>

#include <tenon/ops/kv_evict.h>

#include "../contract.h"
#include "../shape.h"

static const struct tenon_tensor_spec tensors[] = {
    [TENON_KV_EVICT_Q] = {"q", TENON_IN_OPT, TENON_T_FLOAT, "[B,T,Hq,D]", "queries (snap, accum)"},
    [TENON_KV_EVICT_K] = {"k", TENON_IN_OPT, TENON_T_FLOAT, "[B,S,Hk,D]", "keys (snap, accum)"},
    [TENON_KV_EVICT_SCORES] = {"scores", TENON_IN_OPT, TENON_T_F32, "[B,S,Hk]", "of the keys (gate), so far (accum)"},
    [TENON_KV_EVICT_KV_LEN] = {"kv_len", TENON_IN_OPT, TENON_T_I32, "[B] or [B,1 or Hk]", "how many keys are there"},
    [TENON_KV_EVICT_KPOS] = {"kpos", TENON_IN_OPT, TENON_T_I32, "[B,S] or [B,1 or Hk,S]", "positions of the keys"},
    [TENON_KV_EVICT_QPOS] = {"qpos", TENON_IN_OPT, TENON_T_I32, "[B,T]", "positions of the queries"},
    [TENON_KV_EVICT_LIST] = {"list", TENON_OUT, TENON_T_I32, "[B,L,M]", "kept keys, ascending, then -1"},
    [TENON_KV_EVICT_ROWS] = {"rows", TENON_OUT_OPT, TENON_T_I32, "[B,M,L]", "the same as rows of [B,S,L], to gather"},
    [TENON_KV_EVICT_KEEP] = {"keep", TENON_OUT_OPT, TENON_T_U32, "[B,L,ceil(S/32)]", "the same as bits"},
    [TENON_KV_EVICT_KPOS_OUT] = {"kpos_out", TENON_OUT_OPT, TENON_T_I32, "[B,L,M]",
                                 "their positions, then those that come next"},
    [TENON_KV_EVICT_KV_LEN_OUT] = {"kv_len_out", TENON_OUT_OPT, TENON_T_I32, "[B,L]", "how many are kept"},
    [TENON_KV_EVICT_SCORES_OUT] = {"scores_out", TENON_OUT_OPT, TENON_T_F32, "[B,S,Hk]", "of all keys"},
    [TENON_KV_EVICT_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                              "lists with NaN, empty lists, 0, lengths out of range"},
};

static const char *const scores[] = {"snap", "accum", "gate", "recent", NULL};
static const char *const pools[] = {"mean", "max", NULL};
static const char *const shares[] = {"per_head", "all", NULL};

TENON_PARAMS_SIZE(tenon_kv_evict_params, 44);
TENON_PARAMS_AT(tenon_kv_evict_params, struct_size, 0);
TENON_PARAMS_AT(tenon_kv_evict_params, score, 4);
TENON_PARAMS_AT(tenon_kv_evict_params, pool, 8);
TENON_PARAMS_AT(tenon_kv_evict_params, share, 12);
TENON_PARAMS_AT(tenon_kv_evict_params, ks, 16);
TENON_PARAMS_AT(tenon_kv_evict_params, w, 20);
TENON_PARAMS_AT(tenon_kv_evict_params, n, 24);
TENON_PARAMS_AT(tenon_kv_evict_params, n_first, 28);
TENON_PARAMS_AT(tenon_kv_evict_params, slots, 32);
TENON_PARAMS_AT(tenon_kv_evict_params, scale, 36);
TENON_PARAMS_AT(tenon_kv_evict_params, threshold, 40);

#define AT(field) #field, .offset = offsetof(struct tenon_kv_evict_params, field)
#define ENUM(field, count, of, words)                                                                                  \
    {.name = AT(field), .type = TENON_ATTR_ENUM, .max = TENON_KV_EVICT_##count - 1, .names = of, .text = (words)}
#define COUNT(field, value, words)                                                                                     \
    {.name = AT(field), .type = TENON_ATTR_I32, .def = (value), .max = INT32_MAX, .text = (words)}
#define REAL(field, value, words)                                                                                      \
    {.name = AT(field), .type = TENON_ATTR_F32, .def = (value), .min = -(double)FLT_MAX, .max = (double)FLT_MAX,       \
     .text = (words)}
static const struct tenon_attr_spec attrs[] = {
    ENUM(score, SCORE_COUNT, scores, "what a key is judged by"),
    ENUM(pool, POOL_COUNT, pools, "snap: what neighbours make of a score"),
    ENUM(share, SHARE_COUNT, shares, "a list a head, or one for all"),
    {.name = AT(ks), .type = TENON_ATTR_U32, .def = 1, .min = 1, .max = TENON_KV_EVICT_MAX_POOL,
     .text = "snap: columns of the pool, odd"},
    COUNT(w, 1, "the last keys, which are kept; snap: and queries, which judge"),
    COUNT(n, 0, "how many of the others are kept"),
    COUNT(n_first, 0, "the first keys, which are kept"),
    COUNT(slots, 0, "recent: how many slots there are"),
    REAL(scale, 0, "factor on the products; 0 is D^-0.5"),
    REAL(threshold, -(double)FLT_MAX, "scores below it are not kept"),
};

struct sizes {
    int64_t batch, queries, heads, slots, kv_heads, lists;
};

static int32_t refuse(struct tenon_why *why, const char *text)
{
    return tenon_why_set(why, TENON_E_ARG, "%s", text);
}

static int32_t bad_shape(uint32_t i, const struct tenon_tensor *t, const char *must, struct tenon_why *why)
{
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be %s", tensors[i].name, t->rank,
                         (long long)tenon_tensor_count(t), must);
}

/* Of this shape, and contiguous; absent is fine. */
static int32_t check_list(uint32_t i, const struct tenon_tensor *t, uint32_t rank, const int64_t *dim,
                          struct tenon_why *why)
{
    if (!t[i].dtype)
        return TENON_OK;
    if (t[i].rank != rank || memcmp(t[i].dim, dim, rank * sizeof *dim) != 0)
        return bad_shape(i, &t[i], tensors[i].shape, why);
    if (!tenon_tensor_is_contiguous(&t[i]))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

static int32_t check_given(const struct tenon_kv_evict_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int products = p->score == TENON_KV_EVICT_SNAP || p->score == TENON_KV_EVICT_ACCUM;
    const int scored = t[TENON_KV_EVICT_SCORES].dtype != 0, snap = p->score == TENON_KV_EVICT_SNAP;
    if (products != !!t[TENON_KV_EVICT_Q].dtype || products != !!t[TENON_KV_EVICT_K].dtype)
        return refuse(why, products ? "q, k: needed with score snap and accum" : "q, k: only with score snap, accum");
    if (scored != (p->score == TENON_KV_EVICT_GATE) && !(scored && p->score == TENON_KV_EVICT_ACCUM))
        return refuse(why, scored ? "scores: only with score gate, accum" : "scores: needed with score gate");
    if (!products && t[TENON_KV_EVICT_QPOS].dtype)
        return refuse(why, "qpos: only with q");
    if (!products && p->scale != 0)
        return refuse(why, "scale: only with q");
    if (!snap && (p->pool || p->ks != 1))
        return refuse(why, "pool, ks: need score snap");
    if (p->ks % 2 == 0)
        return tenon_why_set(why, TENON_E_ARG, "ks = %u: must be odd", p->ks);
    if (snap && p->w == 0)
        return refuse(why, "w = 0: must be at least 1 with score snap");
    if (p->score != TENON_KV_EVICT_RECENT && p->slots)
        return tenon_why_set(why, TENON_E_ARG, "slots = %d: needs score recent", p->slots);
    return TENON_OK;
}

/* What q and k, or scores, or slots say; lists of them: 0 where nothing does. */
static int32_t read_sizes(const struct tenon_kv_evict_params *p, const struct tenon_tensor *t, struct sizes *s,
                          struct tenon_why *why)
{
    const struct tenon_tensor *q = &t[TENON_KV_EVICT_Q], *k = &t[TENON_KV_EVICT_K];
    const struct tenon_tensor *given = &t[TENON_KV_EVICT_SCORES], *len = &t[TENON_KV_EVICT_KV_LEN];
    memset(s, 0, sizeof *s);
    if (q->dtype) {
        if (q->rank != 4)
            return bad_shape(TENON_KV_EVICT_Q, q, "[B,T,Hq,D]", why);
        if (k->rank != 4 || k->dim[0] != q->dim[0] || k->dim[3] != q->dim[3])
            return bad_shape(TENON_KV_EVICT_K, k, "[B,S,Hk,D], B and D of q", why);
        *s = (struct sizes){q->dim[0], q->dim[1], q->dim[2], k->dim[1], k->dim[2], 0};
        if (q->dim[3] < 1 || q->dim[3] > TENON_KV_EVICT_MAX_WIDTH)
            return tenon_why_set(why, TENON_E_SHAPE, "D = %lld: must be within [1, 65536]", (long long)q->dim[3]);
        if (s->kv_heads ? s->heads % s->kv_heads != 0 : s->heads != 0)
            return tenon_why_set(why, TENON_E_SHAPE, "%lld heads of queries, %lld of keys: must be a multiple",
                                 (long long)s->heads, (long long)s->kv_heads);
    } else if (given->dtype) {
        if (given->rank != 3)
            return bad_shape(TENON_KV_EVICT_SCORES, given, "[B,S,Hk]", why);
        *s = (struct sizes){given->dim[0], 0, given->dim[2], given->dim[1], given->dim[2], 0};
    } else {
        s->batch = len->dtype && len->rank ? len->dim[0] : -1;
        s->slots = p->slots;
        s->kv_heads = -1;
    }
    s->lists = p->share == TENON_KV_EVICT_ALL && s->kv_heads ? 1 : s->kv_heads;
    return TENON_OK;
}

static int large(int64_t a, int64_t b, int64_t c)
{
    if (a > INT32_MAX || b > INT32_MAX || c > INT32_MAX)
        return a && b && c;
    return a * b > INT32_MAX || a * b * c > INT32_MAX;
}

/* [B,..] of one for all heads or one each. */
static int32_t check_per_head(uint32_t i, const struct tenon_tensor *t, const struct sizes *s, int64_t last,
                              struct tenon_why *why)
{
    const uint32_t own = last >= 0;
    int64_t dim[3] = {s->batch, 1, last};
    if (!t[i].dtype)
        return TENON_OK;
    if (t[i].rank == 1 + own)
        return check_list(i, t, 1 + own, (int64_t[]){s->batch, last}, why);
    if (t[i].rank == 2 + own && t[i].dim[1] != 1)
        dim[1] = s->lists;
    return check_list(i, t, 2 + own, dim, why);
}

static int32_t check_tensors(const struct tenon_kv_evict_params *p, const struct tenon_tensor *t,
                             const struct sizes *s, struct tenon_why *why)
{
    const struct tenon_tensor *list = &t[TENON_KV_EVICT_LIST];
    const int64_t most = list->rank == 3 ? list->dim[2] : 0, budget = (int64_t)p->n + p->n_first + p->w;
    const int64_t keys[3] = {s->batch, s->slots, s->kv_heads}, moved[3] = {s->batch, s->lists, most};
    int32_t status = check_list(TENON_KV_EVICT_LIST, t, 3, moved, why);
    if (!status && most < (s->slots < budget ? s->slots : budget))
        return tenon_why_set(why, TENON_E_SHAPE, "list last axis %lld: must be at least %lld, what may be kept",
                             (long long)most, (long long)(s->slots < budget ? s->slots : budget));
    if (!status && (large(s->batch, s->slots, s->kv_heads) || large(s->batch, most, s->kv_heads) ||
                    large(s->batch, s->queries, s->heads)))
        return tenon_why_set(why, TENON_E_SHAPE, "B S Hk, B M Hk, B T Hq: must be below 2^31");
    if (!status)
        status = check_per_head(TENON_KV_EVICT_KV_LEN, t, s, -1, why);
    if (!status)
        status = check_per_head(TENON_KV_EVICT_KPOS, t, s, s->slots, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_QPOS, t, 2, (int64_t[]){s->batch, s->queries}, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_SCORES, t, 3, keys, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_SCORES_OUT, t, 3, keys, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_ROWS, t, 3, (int64_t[]){s->batch, most, s->lists}, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_KPOS_OUT, t, 3, moved, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_KV_LEN_OUT, t, 2, moved, why);
    if (!status)
        status = check_list(TENON_KV_EVICT_KEEP, t, 3, (int64_t[]){s->batch, s->lists, (s->slots + 31) / 32}, why);
    if (!status && t[TENON_KV_EVICT_FLAGS].dtype)
        status = tenon__shape_list(&tensors[TENON_KV_EVICT_FLAGS], &t[TENON_KV_EVICT_FLAGS], 4, why);
    return status;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_kv_evict_params *p = params;
    const struct tenon_tensor *list = &t[TENON_KV_EVICT_LIST];
    struct sizes s;
    int32_t status = check_given(p, t, why);
    if (!status)
        status = read_sizes(p, t, &s, why);
    if (status)
        return status;
    if (t[TENON_KV_EVICT_Q].dtype && t[TENON_KV_EVICT_Q].dtype != t[TENON_KV_EVICT_K].dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "k type %s: must be q's", tenon_dtype_name(t[TENON_KV_EVICT_K].dtype));
    if (list->rank != 3)
        return bad_shape(TENON_KV_EVICT_LIST, list, "[B,L,M]", why);
    if (p->score == TENON_KV_EVICT_RECENT) {
        s.batch = list->dim[0];
        s.kv_heads = list->dim[1];
        s.lists = p->share == TENON_KV_EVICT_ALL && s.kv_heads ? 1 : s.kv_heads;
    }
    return check_tensors(p, t, &s, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_kv_evict_params *p = params;
    const struct tenon_tensor *list = &t[TENON_KV_EVICT_LIST];
    const int64_t budget = (int64_t)p->n + p->n_first + p->w;
    struct sizes s;
    if (index < TENON_KV_EVICT_LIST || index >= TENON_KV_EVICT_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of kv_evict is no output", index);
    int32_t status = read_sizes(p, t, &s, why);
    if (status)
        return status;
    if (list->dtype && list->rank == 3 && s.lists < 0)
        s = (struct sizes){list->dim[0], 0, list->dim[1], s.slots, list->dim[1], list->dim[1]};
    if (index == TENON_KV_EVICT_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    s.kv_heads = s.kv_heads < 0 && s.lists == 1 ? 1 : s.kv_heads;
    if (s.lists < 0 || s.batch < 0)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s: with score recent nothing says how many",
                             tensors[index].name);
    const int64_t all = s.slots < budget ? s.slots : budget, most = list->rank == 3 ? list->dim[2] : all;
    switch (index) {
    case TENON_KV_EVICT_ROWS: *out = tenon_tensor_make(TENON_I32, 3, (int64_t[]){s.batch, most, s.lists}); break;
    case TENON_KV_EVICT_KEEP:
        *out = tenon_tensor_make(TENON_U32, 3, (int64_t[]){s.batch, s.lists, (s.slots + 31) / 32});
        break;
    case TENON_KV_EVICT_KV_LEN_OUT: *out = tenon_tensor_make(TENON_I32, 2, (int64_t[]){s.batch, s.lists}); break;
    case TENON_KV_EVICT_SCORES_OUT:
        *out = tenon_tensor_make(TENON_F32, 3, (int64_t[]){s.batch, s.slots, s.kv_heads});
        break;
    default: *out = tenon_tensor_make(TENON_I32, 3, (int64_t[]){s.batch, s.lists, most});
    }
    return TENON_OK;
}

const struct tenon_op_contract tenon__kv_evict_contract = {
    .op = TENON_OPNUM_kv_evict,
    .name = "kv_evict",
    .text = "which keys of a cache are kept, by what queries gave them, and where they move",
    .source = "Li et al. 2024; Jo et al. 2025; Zhang et al. 2023; Wang et al. 2024; Zeng et al. 2024",
    .n_tensors = TENON_KV_EVICT_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_kv_evict_params),
    .params_first = offsetof(struct tenon_kv_evict_params, threshold) + sizeof(float),
    .n_tensors_first = TENON_KV_EVICT_FLAGS + 1,
    .validate = validate,
    .output = output,
};
