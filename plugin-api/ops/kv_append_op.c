/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of kv_append in code; in words it is tenon/ops/kv_append.h. */
#include <string.h>

#include <tenon/ops/kv_append.h>

#include "../contract.h"
#include "../shape.h"

#define CACHE (TENON_T_FLOAT | TENON_T_U8)

static const struct tenon_tensor_spec tensors[] = {
    [TENON_KV_APPEND_K_NEW] = {"k_new", TENON_IN, TENON_T_FLOAT, "[B,T,Hk,D]", "new keys"},
    [TENON_KV_APPEND_V_NEW] = {"v_new", TENON_IN, TENON_T_FLOAT, "[B,T,Hk,V]", "new values"},
    [TENON_KV_APPEND_POS] = {"pos", TENON_IN, TENON_T_I32, "[B]", "positions of the first new rows"},
    [TENON_KV_APPEND_N_NEW] = {"n_new", TENON_IN_OPT, TENON_T_I32, "[B]", "how many of the rows count"},
    [TENON_KV_APPEND_PAGE_TABLE] = {"page_table", TENON_IN_OPT, TENON_T_I32, "[B,max_pages]", "pages; -1 is absent"},
    [TENON_KV_APPEND_K_CHANNEL] = {"k_channel", TENON_IN_OPT, TENON_T_F32, "[Hk,D,2]", "(s, z) or (rng, off) of keys"},
    [TENON_KV_APPEND_V_CHANNEL] = {"v_channel", TENON_IN_OPT, TENON_T_F32, "[Hk,V,2]", "those of values"},
    [TENON_KV_APPEND_K_TABLE] = {"k_table", TENON_IN_OPT, TENON_T_F32, "[2^k_bits]", "what codes of keys stand for"},
    [TENON_KV_APPEND_V_TABLE] = {"v_table", TENON_IN_OPT, TENON_T_F32, "[2^v_bits]", "those of values"},
    [TENON_KV_APPEND_K] = {"k", TENON_OUT, CACHE, "[B,S,Hk,D] or [pages,Hk,P,D]", "keys; only new rows are written"},
    [TENON_KV_APPEND_V] = {"v", TENON_OUT, CACHE, "[B,S,Hk,V] or [pages,Hk,P,V]", "values, likewise"},
    [TENON_KV_APPEND_K_QUANT] = {"k_quant", TENON_OUT_OPT, TENON_T_F32, "[...k,D/group,2]", "(s, z) or (rng, off)"},
    [TENON_KV_APPEND_V_QUANT] = {"v_quant", TENON_OUT_OPT, TENON_T_F32, "[...v,V/group,2]", "those of values"},
    [TENON_KV_APPEND_KPOS] = {"kpos", TENON_OUT_OPT, TENON_T_I32, "[B,S]", "positions of slots; only new ones"},
    [TENON_KV_APPEND_KV_LEN] = {"kv_len", TENON_OUT_OPT, TENON_T_I32, "[B]", "positions ever written"},
    [TENON_KV_APPEND_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "not finite, 0, 0, without a place"},
};

static const char *const modes[] = {"none", "affine_token", "affine_channel", "lut_token", "lut_channel", NULL};

TENON_PARAMS_SIZE(tenon_kv_append_params, 36);
TENON_PARAMS_AT(tenon_kv_append_params, struct_size, 0);
TENON_PARAMS_AT(tenon_kv_append_params, quant_k, 4);
TENON_PARAMS_AT(tenon_kv_append_params, quant_v, 8);
TENON_PARAMS_AT(tenon_kv_append_params, k_bits, 12);
TENON_PARAMS_AT(tenon_kv_append_params, v_bits, 16);
TENON_PARAMS_AT(tenon_kv_append_params, k_group, 20);
TENON_PARAMS_AT(tenon_kv_append_params, v_group, 24);
TENON_PARAMS_AT(tenon_kv_append_params, ring, 28);
TENON_PARAMS_AT(tenon_kv_append_params, n_sink, 32);

#define AT(field) #field, .offset = offsetof(struct tenon_kv_append_params, field)
#define MODE(field, words)                                                                                             \
    {.name = AT(field), .type = TENON_ATTR_ENUM, .max = TENON_KV_APPEND_LUT_CHANNEL, .names = modes, .text = words}
#define BITS(field, words) {.name = AT(field), .type = TENON_ATTR_U32, .def = 8, .min = 2, .max = 8, .text = words}
#define GROUP(field, words) {.name = AT(field), .type = TENON_ATTR_I32, .max = UINT16_MAX, .text = words}
static const struct tenon_attr_spec attrs[] = {
    MODE(quant_k, "how keys are quantised"),
    MODE(quant_v, "how values are quantised"),
    BITS(k_bits, "of a key's code: 8, 4, 2"),
    BITS(v_bits, "of a value's code: 8, 4, 2"),
    GROUP(k_group, "columns that share (s, z); 0 is all"),
    GROUP(v_group, "the same of values"),
    {.name = AT(ring), .type = TENON_ATTR_U32, .max = 1, .text = "slots are used again"},
    {.name = AT(n_sink), .type = TENON_ATTR_I32, .max = INT32_MAX, .text = "first positions that a ring keeps"},
};

/* Of keys, or of values: where their tensors and attributes are. */
struct side {
    uint32_t from, to, channel, table, quant;
    uint32_t mode, bits;
    int32_t group;
};

static struct side side_of(const struct tenon_kv_append_params *p, int values)
{
    if (values)
        return (struct side){TENON_KV_APPEND_V_NEW, TENON_KV_APPEND_V, TENON_KV_APPEND_V_CHANNEL,
                             TENON_KV_APPEND_V_TABLE, TENON_KV_APPEND_V_QUANT, p->quant_v, p->v_bits, p->v_group};
    return (struct side){TENON_KV_APPEND_K_NEW, TENON_KV_APPEND_K, TENON_KV_APPEND_K_CHANNEL, TENON_KV_APPEND_K_TABLE,
                         TENON_KV_APPEND_K_QUANT, p->quant_k, p->k_bits, p->k_group};
}

static int is_token(const struct side *s)
{
    return s->mode == TENON_KV_APPEND_AFFINE_TOKEN || s->mode == TENON_KV_APPEND_LUT_TOKEN;
}

static int32_t check_uses(const struct side *s, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int channel = s->mode == TENON_KV_APPEND_AFFINE_CHANNEL || s->mode == TENON_KV_APPEND_LUT_CHANNEL;
    const int table = s->mode == TENON_KV_APPEND_LUT_TOKEN || s->mode == TENON_KV_APPEND_LUT_CHANNEL;
    const uint32_t which[3] = {s->channel, s->table, s->quant};
    const int use[3] = {channel, table, is_token(s)};
    for (int i = 0; i < 3; i++)
        if ((t[which[i]].dtype != 0) != use[i])
            return tenon_why_set(why, TENON_E_ARG, "%s is %s: %s", tensors[which[i]].name,
                                 use[i] ? "absent" : "given",
                                 use[i] ? "this mode needs it" : "this mode has no use for it");
    if (s->bits != 8 && s->bits != 4 && s->bits != 2)
        return tenon_why_set(why, TENON_E_ARG, "%s = %u: must be 8, 4 or 2",
                             s->from == TENON_KV_APPEND_V_NEW ? "v_bits" : "k_bits", s->bits);
    if (s->mode && t[s->to].dtype != TENON_U8)
        return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be u8, for codes", tensors[s->to].name,
                             tenon_dtype_name(t[s->to].dtype));
    if (!s->mode && t[s->to].dtype == TENON_U8)
        return tenon_why_set(why, TENON_E_DTYPE, "%s type u8: only of codes", tensors[s->to].name);
    return TENON_OK;
}

static int32_t bad_shape(uint32_t i, const struct tenon_tensor *t, const char *must, struct tenon_why *why)
{
    return tenon_why_set(why, TENON_E_SHAPE, "%s shape (rank %u, %lld elements): must be %s", tensors[i].name, t->rank,
                         (long long)tenon_tensor_count(t), must);
}

/* [a,b] or [a,b,c], contiguous. */
static int32_t check_list(uint32_t i, const struct tenon_tensor *t, uint32_t rank, const int64_t *dim, const char *must,
                          struct tenon_why *why)
{
    if (t->rank != rank || memcmp(t->dim, dim, rank * sizeof *dim) != 0)
        return bad_shape(i, t, must, why);
    if (!tenon_tensor_is_contiguous(t))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
    return TENON_OK;
}

/* The cache of one side: its leading axes are those of k. */
static int32_t check_cache(const struct side *s, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *from = &t[s->from], *to = &t[s->to], *k = &t[TENON_KV_APPEND_K];
    const int64_t heads = from->dim[2], cols = from->dim[3], group = s->group ? s->group : cols;
    const int64_t last = s->mode ? cols * s->bits / 8 : cols;
    if (to->rank != 4 || to->dim[3] != last || memcmp(to->dim, k->dim, 3 * sizeof k->dim[0]) != 0)
        return bad_shape(s->to, to, "[B,S,Hk,] or [pages,Hk,P,] and the columns of the new rows, packed, as the other",
                         why);
    if (s->mode && cols * s->bits % 8)
        return tenon_why_set(why, TENON_E_SHAPE, "%s last axis %lld: codes of %u bits must fill whole bytes",
                             tensors[s->from].name, (long long)cols, s->bits);
    if (is_token(s) && (group && (cols % group || group * s->bits % 8)))
        return tenon_why_set(why, TENON_E_SHAPE,
                             "%s last axis %lld in groups of %lld: they must divide it, and be whole bytes of codes",
                             tensors[s->from].name, (long long)cols, (long long)group);
    int32_t status = TENON_OK;
    if (is_token(s))
        status = check_list(s->quant, &t[s->quant], 5,
                            (int64_t[]){to->dim[0], to->dim[1], to->dim[2], group ? cols / group : 0, 2},
                            "the leading axes of the cache, then [columns/group,2]", why);
    if (!status && t[s->channel].dtype)
        status = check_list(s->channel, &t[s->channel], 3, (int64_t[]){heads, cols, 2}, "[Hk,columns,2]", why);
    if (!status && t[s->table].dtype)
        status = check_list(s->table, &t[s->table], 1, (int64_t[]){INT64_C(1) << s->bits}, "[2^bits]", why);
    return status;
}

static int32_t check_new(const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_tensor *k = &t[TENON_KV_APPEND_K_NEW], *v = &t[TENON_KV_APPEND_V_NEW];
    if (k->rank != 4)
        return bad_shape(TENON_KV_APPEND_K_NEW, k, "[B,T,Hk,D]", why);
    if (v->rank != 4 || memcmp(v->dim, k->dim, 3 * sizeof k->dim[0]) != 0)
        return bad_shape(TENON_KV_APPEND_V_NEW, v, "the first three axes of k_new, then V", why);
    if (k->dim[3] > UINT16_MAX || v->dim[3] > UINT16_MAX || k->dim[0] > INT32_MAX || k->dim[1] > INT32_MAX ||
        k->dim[2] > INT32_MAX || k->dim[0] * k->dim[1] > INT32_MAX || k->dim[0] * k->dim[1] * k->dim[2] > INT32_MAX)
        return bad_shape(TENON_KV_APPEND_K_NEW, k, "of fewer than 2^31 rows of heads of fewer than 2^16 columns", why);
    return TENON_OK;
}

/* S, or the status. */
static int32_t check_places(const struct tenon_kv_append_params *p, const struct tenon_tensor *t, int64_t *slots,
                            struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_KV_APPEND_K_NEW], *k = &t[TENON_KV_APPEND_K];
    const struct tenon_tensor *pages = &t[TENON_KV_APPEND_PAGE_TABLE];
    const int64_t batches = x->dim[0], heads = x->dim[2];
    if (k->rank != 4)
        return bad_shape(TENON_KV_APPEND_K, k, "[B,S,Hk,D] or [pages,Hk,P,D]", why);
    if (!pages->dtype) {
        if (k->dim[0] != batches || k->dim[2] != heads)
            return bad_shape(TENON_KV_APPEND_K, k, "[B,S,Hk,D], B and Hk of k_new", why);
        *slots = k->dim[1];
    } else {
        if (k->dim[1] != heads || k->dim[2] < 16 || k->dim[2] % 16 || k->dim[0] > INT32_MAX)
            return bad_shape(TENON_KV_APPEND_K, k, "[pages,Hk,P,D], P a multiple of 16", why);
        if (pages->rank != 2 || pages->dim[0] != batches)
            return bad_shape(TENON_KV_APPEND_PAGE_TABLE, pages, "[B,max_pages]", why);
        if (!tenon_tensor_is_contiguous(pages))
            return tenon_why_set(why, TENON_E_UNSUPPORTED, "page_table strides: must be contiguous");
        *slots = pages->dim[1] > INT32_MAX || k->dim[2] > INT32_MAX ? INT64_MAX : pages->dim[1] * k->dim[2];
    }
    if (*slots > INT32_MAX || batches * *slots > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE, "%lld sequences of %lld slots: must be below 2^31 in all",
                             (long long)batches, (long long)*slots);
    if (!p->ring && p->n_sink)
        return tenon_why_set(why, TENON_E_ARG, "n_sink = %d without ring: must be 0", p->n_sink);
    if (p->ring && p->n_sink >= *slots)
        return tenon_why_set(why, TENON_E_SHAPE, "n_sink %d: must be below %lld, the slots of a ring", p->n_sink,
                             (long long)*slots);
    return TENON_OK;
}

static int32_t check_others(const struct tenon_tensor *t, int64_t batches, int64_t slots, struct tenon_why *why)
{
    static const uint32_t lists[] = {TENON_KV_APPEND_POS, TENON_KV_APPEND_N_NEW, TENON_KV_APPEND_KV_LEN};
    int32_t status = TENON_OK;
    for (uint32_t i = 0; !status && i < sizeof lists / sizeof lists[0]; i++)
        if (t[lists[i]].dtype)
            status = check_list(lists[i], &t[lists[i]], 1, &batches, "[B]", why);
    if (!status && t[TENON_KV_APPEND_KPOS].dtype)
        status = check_list(TENON_KV_APPEND_KPOS, &t[TENON_KV_APPEND_KPOS], 2, (int64_t[]){batches, slots}, "[B,S]",
                            why);
    if (!status && t[TENON_KV_APPEND_FLAGS].dtype)
        status = tenon__shape_list(&tensors[TENON_KV_APPEND_FLAGS], &t[TENON_KV_APPEND_FLAGS], 4, why);
    return status;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_kv_append_params *p = params;
    int64_t slots = 0;
    int32_t status = check_new(t, why);
    if (!status)
        status = check_places(p, t, &slots, why);
    for (int values = 0; !status && values < 2; values++) {
        const struct side s = side_of(p, values);
        status = check_uses(&s, t, why);
        if (!status)
            status = check_cache(&s, t, why);
    }
    return status ? status : check_others(t, t[TENON_KV_APPEND_K_NEW].dim[0], slots, why);
}

/* The sizes of a cache are the caller's; what follows from it is known. */
static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_kv_append_params *p = params;
    const struct tenon_tensor *x = &t[TENON_KV_APPEND_K_NEW], *pages = &t[TENON_KV_APPEND_PAGE_TABLE];
    const struct tenon_tensor *k = &t[TENON_KV_APPEND_K];
    int32_t status = tenon__output_check(&tenon__kv_append_contract, index, TENON_KV_APPEND_K, x, why);
    if (status)
        return status;
    if (index == TENON_KV_APPEND_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    if (x->rank != 4)
        return bad_shape(TENON_KV_APPEND_K_NEW, x, "[B,T,Hk,D]", why);
    if (index == TENON_KV_APPEND_KV_LEN) {
        *out = tenon_tensor_make(TENON_I32, 1, x->dim);
        return TENON_OK;
    }
    if (index == TENON_KV_APPEND_K || index == TENON_KV_APPEND_V || k->rank != 4)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s: the caller's cache, of a size that nothing else says",
                             tensors[index].name);
    if (index == TENON_KV_APPEND_KPOS) {
        const int64_t slots = pages->dtype ? (pages->rank == 2 ? pages->dim[1] * k->dim[2] : 0) : k->dim[1];
        *out = tenon_tensor_make(TENON_I32, 2, (int64_t[]){x->dim[0], slots});
        return TENON_OK;
    }
    const struct side s = side_of(p, index == TENON_KV_APPEND_V_QUANT);
    const int64_t cols = t[s.from].rank == 4 ? t[s.from].dim[3] : 0, group = s.group ? s.group : cols;
    if (!is_token(&s))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s: only of modes a token", tensors[index].name);
    *out = tenon_tensor_make(TENON_F32, 5, (int64_t[]){k->dim[0], k->dim[1], k->dim[2], group ? cols / group : 0, 2});
    return TENON_OK;
}

const struct tenon_op_contract tenon__kv_append_contract = {
    .op = TENON_OPNUM_kv_append,
    .name = "kv_append",
    .text = "new keys and values into a cache, contiguous, paged or a ring, quantised or not",
    .source = "Kwon et al. 2023; Xiao et al. 2023; Liu et al. 2024; Hooper et al. 2024",
    .n_tensors = TENON_KV_APPEND_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_kv_append_params),
    .params_first = offsetof(struct tenon_kv_append_params, n_sink) + sizeof(int32_t),
    .n_tensors_first = TENON_KV_APPEND_FLAGS + 1,
    .validate = validate,
    .output = output,
    .kept = 1u << TENON_KV_APPEND_K | 1u << TENON_KV_APPEND_V | 1u << TENON_KV_APPEND_K_QUANT |
            1u << TENON_KV_APPEND_V_QUANT | 1u << TENON_KV_APPEND_KPOS,
};
