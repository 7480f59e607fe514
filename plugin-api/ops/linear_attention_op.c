/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of linear_attention in code; in words it is tenon/ops/linear_attention.h. */
#include <float.h>

#include <tenon/ops/linear_attention.h>

#include "../contract.h"
#include "../shape.h"

#define F32 TENON_T_F32
#define ANY TENON_T_FLOAT
static const struct tenon_tensor_spec tensors[] = {
    [TENON_LINEAR_ATTENTION_Q] = {"q", TENON_IN, ANY, "[B,T,Hq,K]", "queries"},
    [TENON_LINEAR_ATTENTION_K] = {"k", TENON_IN, ANY, "[B,T,Hk,K]", "keys"},
    [TENON_LINEAR_ATTENTION_V] = {"v", TENON_IN, ANY, "[B,T,Hv,V]", "values"},
    [TENON_LINEAR_ATTENTION_DECAY] = {"decay", TENON_IN_OPT, ANY, "[HS], [B,T,HS], [B,T,HS,K] or [B,T,HS,V]",
                                      "what a state is multiplied by, or its logarithm"},
    [TENON_LINEAR_ATTENTION_DECAY_B] = {"decay_b", TENON_IN_OPT, ANY, "as decay", "the same of bidir's second sweep"},
    [TENON_LINEAR_ATTENTION_BETA] = {"beta", TENON_IN_OPT, ANY, "[B,T,HS]", "how much a delta rule writes"},
    [TENON_LINEAR_ATTENTION_QN] = {"qn", TENON_IN_OPT, ANY, "[B,T,Hq,K]", "queries of the normaliser; absent: q"},
    [TENON_LINEAR_ATTENTION_KN] = {"kn", TENON_IN_OPT, ANY, "[B,T,Hk,K]", "keys of the normaliser; absent: k"},
    [TENON_LINEAR_ATTENTION_CU_Q] = {"cu_q", TENON_IN_OPT, TENON_T_I32, "[N+1]", "where each packed sequence begins"},
    [TENON_LINEAR_ATTENTION_STATE] = {"state", TENON_IN_OPT, F32, "[B or N,HS,K,V]", "states at the start; absent: 0"},
    [TENON_LINEAR_ATTENTION_NORM_STATE] = {"norm_state", TENON_IN_OPT, F32, "[B or N,HS,K]", "their normalisers"},
    [TENON_LINEAR_ATTENTION_O] = {"o", TENON_OUT, ANY, "[B,T,HS,V]", "what is read"},
    [TENON_LINEAR_ATTENTION_STATE_OUT] = {"state_out", TENON_OUT_OPT, F32, "[B or N,HS,K,V]", "states at the end"},
    [TENON_LINEAR_ATTENTION_NORM_STATE_OUT] = {"norm_state_out", TENON_OUT_OPT, F32, "[B or N,HS,K]",
                                               "their normalisers"},
    [TENON_LINEAR_ATTENTION_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]",
                                      "rows that are not finite, rows in no sequence, 0, entries out of range"},
};

static const char *const decays[] = {"none", "head", "token", "key", "value", NULL};
static const char *const forms[] = {"factor", "log", NULL};
static const char *const updates[] = {"add", "delta", NULL};
static const char *const reads[] = {"inclusive", "exclusive", "group", NULL};
static const char *const directions[] = {"causal", "reverse", "bidir", "noncausal", NULL};
static const char *const norms[] = {"none", "sum", "max1", NULL};
static const char *const modes[] = {"auto", "recurrent", "chunked", NULL};

#define FIELD(i, field) TENON_PARAMS_AT(tenon_linear_attention_params, field, 4 * (i))
TENON_PARAMS_SIZE(tenon_linear_attention_params, 52);
FIELD(0, struct_size);
FIELD(1, decay);
FIELD(2, decay_form);
FIELD(3, update);
FIELD(4, read);
FIELD(5, group);
FIELD(6, direction);
FIELD(7, norm);
FIELD(8, mode);
FIELD(9, chunk);
FIELD(10, scale);
FIELD(11, w_bi);
FIELD(12, eps);

#define AT(field) #field, .offset = offsetof(struct tenon_linear_attention_params, field)
#define ENUM(field, count, of, words)                                                                                  \
    {                                                                                                                  \
        .name = AT(field), .type = TENON_ATTR_ENUM, .max = (count)-1, .names = of, .text = (words)                     \
    }
#define NUMBER(field, kind, value, least, most, words)                                                                 \
    {                                                                                                                  \
        .name = AT(field), .type = TENON_ATTR_##kind, .def = (value), .min = (least), .max = (most), .text = (words)   \
    }
static const struct tenon_attr_spec attrs[] = {
    ENUM(decay, TENON_LINEAR_ATTENTION_DECAY_COUNT, decays, "what a token multiplies the state by"),
    ENUM(decay_form, TENON_LINEAR_ATTENTION_FORM_COUNT, forms, "whether decays are factors or logarithms"),
    ENUM(update, TENON_LINEAR_ATTENTION_UPDATE_COUNT, updates, "whether a write erases what its key holds"),
    ENUM(read, TENON_LINEAR_ATTENTION_READ_COUNT, reads, "which state a query reads"),
    NUMBER(group, U32, 1, 1, INT32_MAX, "tokens of a group, which read the state before it"),
    ENUM(direction, TENON_LINEAR_ATTENTION_DIRECTION_COUNT, directions, "the order of the tokens"),
    ENUM(norm, TENON_LINEAR_ATTENTION_NORM_COUNT, norms, "what is read is divided by"),
    ENUM(mode, TENON_LINEAR_ATTENTION_MODE_COUNT, modes, "token by token, or many at once"),
    NUMBER(chunk, U32, 64, 16, 256, "chunked: tokens at once, at most; a multiple of 16"),
    NUMBER(scale, F32, 0, -FLT_MAX, FLT_MAX, "factor of what is read; 0: 1 / sqrt(K)"),
    NUMBER(w_bi, F32, 0.5, -FLT_MAX, FLT_MAX, "bidir: factor of the sum of both sweeps"),
    NUMBER(eps, F32, 1e-6f, 0, FLT_MAX, "sum: added to the divisor"),
};

struct extents {
    int64_t b, t, hq, hk, hv, hs, k, v, n; /* n: sequences */
};

static int given(const struct tenon_tensor *t, uint32_t i)
{
    return t[i].dtype != TENON_ABSENT;
}

static int32_t find_extents(const struct tenon_tensor *t, struct extents *e, struct tenon_why *why)
{
    const struct tenon_tensor *q = &t[TENON_LINEAR_ATTENTION_Q], *k = &t[TENON_LINEAR_ATTENTION_K],
                              *v = &t[TENON_LINEAR_ATTENTION_V], *cu = &t[TENON_LINEAR_ATTENTION_CU_Q];
    if (q->rank != 4)
        return tenon__shape_refuse(&tensors[TENON_LINEAR_ATTENTION_Q], q, "[B,T,Hq,K]", why);
    if (k->rank != 4)
        return tenon__shape_refuse(&tensors[TENON_LINEAR_ATTENTION_K], k, "[B,T,Hk,K]", why);
    if (v->rank != 4)
        return tenon__shape_refuse(&tensors[TENON_LINEAR_ATTENTION_V], v, "[B,T,Hv,V]", why);
    if (cu->dtype && (cu->rank != 1 || cu->dim[0] < 1))
        return tenon__shape_refuse(&tensors[TENON_LINEAR_ATTENTION_CU_Q], cu, "[N+1]", why);
    *e = (struct extents){.b = q->dim[0], .t = q->dim[1], .hq = q->dim[2], .hk = k->dim[2], .hv = v->dim[2]};
    e->k = q->dim[3];
    e->v = v->dim[3];
    e->hs = e->hq > e->hk ? e->hq : e->hk;
    e->hs = e->hs > e->hv ? e->hs : e->hv;
    e->n = cu->dtype ? cu->dim[0] - 1 : e->b;
    return TENON_OK;
}

static int32_t check_extents(const struct tenon_tensor *t, const struct extents *e, struct tenon_why *why)
{
    if (e->k < 1 || e->v < 1 || e->k > TENON_LINEAR_ATTENTION_MAX_WIDTH || e->v > TENON_LINEAR_ATTENTION_MAX_WIDTH)
        return tenon_why_set(why, TENON_E_SHAPE, "K = %lld, V = %lld: must be within [1, %d]", (long long)e->k,
                             (long long)e->v, TENON_LINEAR_ATTENTION_MAX_WIDTH);
    if (e->hs && (e->hq < 1 || e->hk < 1 || e->hv < 1 || e->hs % e->hq || e->hs % e->hk || e->hs % e->hv))
        return tenon_why_set(why, TENON_E_SHAPE, "Hq = %lld, Hk = %lld, Hv = %lld: each must divide the greatest",
                             (long long)e->hq, (long long)e->hk, (long long)e->hv);
    if (given(t, TENON_LINEAR_ATTENTION_CU_Q) && e->b != 1)
        return tenon_why_set(why, TENON_E_SHAPE, "B = %lld with cu_q: must be 1", (long long)e->b);
    if (e->t > INT32_MAX || e->n > INT32_MAX || e->hs > INT32_MAX || (e->n && e->hs > INT32_MAX / e->n) ||
        (e->b && e->t && (e->b > INT32_MAX / e->t || (e->hs && e->b * e->t > INT32_MAX / e->hs))))
        return tenon_why_set(why, TENON_E_SHAPE, "B, T, HS = %lld, %lld, %lld: B*T*HS and N*HS must be below 2^31",
                             (long long)e->b, (long long)e->t, (long long)e->hs);
    return TENON_OK;
}

/* a tensor that goes with a setting, and not without */
static int32_t check_goes(const struct tenon_tensor *t, uint32_t i, int needs, int may, const char *with,
                          struct tenon_why *why)
{
    if (needs && !given(t, i))
        return tenon_why_set(why, TENON_E_ARG, "%s is absent: must be given with %s", tensors[i].name, with);
    if (!may && given(t, i))
        return tenon_why_set(why, TENON_E_ARG, "%s is given: needs %s", tensors[i].name, with);
    return TENON_OK;
}

static int32_t check_present(const struct tenon_linear_attention_params *p, const struct tenon_tensor *t,
                             struct tenon_why *why)
{
    const int decay = p->decay != TENON_LINEAR_ATTENTION_NONE, delta = p->update == TENON_LINEAR_ATTENTION_DELTA;
    const int bidir = p->direction == TENON_LINEAR_ATTENTION_BIDIR, norm = p->norm != TENON_LINEAR_ATTENTION_NORM_NONE;
    const int causal = p->direction == TENON_LINEAR_ATTENTION_CAUSAL, state = given(t, TENON_LINEAR_ATTENTION_STATE);
    const struct {
        uint32_t i;
        int needs, may;
        const char *with;
    } goes[] = {
        {TENON_LINEAR_ATTENTION_DECAY, decay, decay, "decay = head, token, key or value"},
        {TENON_LINEAR_ATTENTION_DECAY_B, 0, decay && bidir, "direction = bidir and a decay"},
        {TENON_LINEAR_ATTENTION_BETA, delta, delta, "update = delta"},
        {TENON_LINEAR_ATTENTION_QN, 0, norm, "norm = sum or max1"},
        {TENON_LINEAR_ATTENTION_KN, 0, norm, "norm = sum or max1"},
        {TENON_LINEAR_ATTENTION_STATE, 0, causal, "direction = causal"},
        {TENON_LINEAR_ATTENTION_NORM_STATE, norm && state, norm && state, "norm = sum or max1 and state"},
        {TENON_LINEAR_ATTENTION_STATE_OUT, 0, causal, "direction = causal"},
        {TENON_LINEAR_ATTENTION_NORM_STATE_OUT, 0, norm && causal, "norm = sum or max1 and direction = causal"},
    };
    int32_t status = TENON_OK;
    for (uint32_t i = 0; !status && i < sizeof goes / sizeof goes[0]; i++)
        status = check_goes(t, goes[i].i, goes[i].needs, goes[i].may, goes[i].with, why);
    return status;
}

static int32_t check_params(const struct tenon_linear_attention_params *p, struct tenon_why *why)
{
    const int delta = p->update == TENON_LINEAR_ATTENTION_DELTA, value = p->decay == TENON_LINEAR_ATTENTION_VALUE;
    if (value && delta)
        return tenon_why_set(why, TENON_E_ARG, "decay = value with update = delta: must be none, head, token or key");
    if (p->norm && (delta || value || p->direction == TENON_LINEAR_ATTENTION_BIDIR))
        return tenon_why_set(why, TENON_E_ARG,
                             "norm = %s with decay = %s, update = %s, direction = %s: must not be value, delta, bidir",
                             norms[p->norm], decays[p->decay], updates[p->update], directions[p->direction]);
    if (p->direction == TENON_LINEAR_ATTENTION_NONCAUSAL && (p->decay || delta || p->read))
        return tenon_why_set(why, TENON_E_ARG,
                             "direction = noncausal with decay = %s, update = %s, read = %s: must be none, add and "
                             "inclusive",
                             decays[p->decay], updates[p->update], reads[p->read]);
    if (p->read == TENON_LINEAR_ATTENTION_GROUP && p->direction != TENON_LINEAR_ATTENTION_CAUSAL)
        return tenon_why_set(why, TENON_E_ARG, "read = group with direction = %s: must be causal",
                             directions[p->direction]);
    if (p->chunk % 16)
        return tenon_why_set(why, TENON_E_ARG, "chunk = %u: must be a multiple of 16 within [16, 256]", p->chunk);
    return TENON_OK;
}

static int32_t check_types(const struct tenon_tensor *t, struct tenon_why *why)
{
    static const uint32_t alike[] = {TENON_LINEAR_ATTENTION_K, TENON_LINEAR_ATTENTION_V, TENON_LINEAR_ATTENTION_QN,
                                     TENON_LINEAR_ATTENTION_KN};
    const uint32_t own = t[TENON_LINEAR_ATTENTION_Q].dtype, o = t[TENON_LINEAR_ATTENTION_O].dtype;
    for (uint32_t i = 0; i < sizeof alike / sizeof alike[0]; i++)
        if (given(t, alike[i]) && t[alike[i]].dtype != own)
            return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be that of q, %s", tensors[alike[i]].name,
                                 tenon_dtype_name(t[alike[i]].dtype), tenon_dtype_name(own));
    if (o != own && o != TENON_F32)
        return tenon_why_set(why, TENON_E_DTYPE, "o type %s: must be that of q, %s, or f32", tenon_dtype_name(o),
                             tenon_dtype_name(own));
    return TENON_OK;
}

static int32_t check_decay(const struct tenon_linear_attention_params *p, const struct tenon_tensor *t, uint32_t i,
                           const struct extents *e, struct tenon_why *why)
{
    const int64_t wide = p->decay == TENON_LINEAR_ATTENTION_KEY ? e->k : e->v;
    if (!given(t, i))
        return TENON_OK;
    if (p->decay == TENON_LINEAR_ATTENTION_HEAD)
        return tenon__shape_side(&tensors[i], &t[i], 1, &e->hs, 0, why);
    if (p->decay == TENON_LINEAR_ATTENTION_TOKEN)
        return tenon__shape_side(&tensors[i], &t[i], 3, (int64_t[]){e->b, e->t, e->hs}, 0, why);
    return tenon__shape_axes(&tensors[i], &t[i], 4, (int64_t[]){e->b, e->t, e->hs, wide}, 0, why);
}

static int32_t check_shapes(const struct tenon_linear_attention_params *p, const struct tenon_tensor *t,
                            const struct extents *e, struct tenon_why *why)
{
    const struct {
        uint32_t i, side, rank;
        int64_t dim[4];
    } shapes[] = {
        {TENON_LINEAR_ATTENTION_K, 0, 4, {e->b, e->t, e->hk, e->k}},
        {TENON_LINEAR_ATTENTION_V, 0, 4, {e->b, e->t, e->hv, e->v}},
        {TENON_LINEAR_ATTENTION_QN, 0, 4, {e->b, e->t, e->hq, e->k}},
        {TENON_LINEAR_ATTENTION_KN, 0, 4, {e->b, e->t, e->hk, e->k}},
        {TENON_LINEAR_ATTENTION_O, 0, 4, {e->b, e->t, e->hs, e->v}},
        {TENON_LINEAR_ATTENTION_BETA, 1, 3, {e->b, e->t, e->hs}},
        {TENON_LINEAR_ATTENTION_CU_Q, 1, 1, {e->n + 1}},
        {TENON_LINEAR_ATTENTION_STATE, 1, 4, {e->n, e->hs, e->k, e->v}},
        {TENON_LINEAR_ATTENTION_NORM_STATE, 1, 3, {e->n, e->hs, e->k}},
        {TENON_LINEAR_ATTENTION_STATE_OUT, 1, 4, {e->n, e->hs, e->k, e->v}},
        {TENON_LINEAR_ATTENTION_NORM_STATE_OUT, 1, 3, {e->n, e->hs, e->k}},
        {TENON_LINEAR_ATTENTION_FLAGS, 1, 1, {4}},
    };
    int32_t status = TENON_OK;
    for (uint32_t i = 0; !status && i < sizeof shapes / sizeof shapes[0]; i++) {
        const uint32_t x = shapes[i].i;
        if (shapes[i].side)
            status = tenon__shape_side(&tensors[x], &t[x], shapes[i].rank, shapes[i].dim, 0, why);
        else if (given(t, x))
            status = tenon__shape_axes(&tensors[x], &t[x], shapes[i].rank, shapes[i].dim, 0, why);
    }
    if (!status)
        status = check_decay(p, t, TENON_LINEAR_ATTENTION_DECAY, e, why);
    return status ? status : check_decay(p, t, TENON_LINEAR_ATTENTION_DECAY_B, e, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_linear_attention_params *p = params;
    struct extents e;
    int32_t status = find_extents(t, &e, why);
    if (!status)
        status = check_params(p, why);
    if (!status)
        status = check_present(p, t, why);
    if (!status)
        status = check_types(t, why);
    if (!status)
        status = check_extents(t, &e, why);
    return status ? status : check_shapes(p, t, &e, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *q = &t[TENON_LINEAR_ATTENTION_Q];
    struct extents e;
    (void)params;
    if (index < TENON_LINEAR_ATTENTION_O || index >= TENON_LINEAR_ATTENTION_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of linear_attention is not an output", index);
    if (index == TENON_LINEAR_ATTENTION_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    if (!q->dtype || !given(t, TENON_LINEAR_ATTENTION_K) || !given(t, TENON_LINEAR_ATTENTION_V))
        return tenon_why_set(why, TENON_E_SHAPE, "%s has no shape without q, k and v", tensors[index].name);
    int32_t status = find_extents(t, &e, why);
    if (status)
        return status;
    if (index == TENON_LINEAR_ATTENTION_O)
        *out = tenon_tensor_make(t[index].dtype ? t[index].dtype : q->dtype, 4, (int64_t[]){e.b, e.t, e.hs, e.v});
    else
        *out = tenon_tensor_make(TENON_F32, index == TENON_LINEAR_ATTENTION_STATE_OUT ? 4 : 3,
                                 (int64_t[]){e.n, e.hs, e.k, e.v});
    return TENON_OK;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return (in == TENON_LINEAR_ATTENTION_STATE && out == TENON_LINEAR_ATTENTION_STATE_OUT) ||
           (in == TENON_LINEAR_ATTENTION_NORM_STATE && out == TENON_LINEAR_ATTENTION_NORM_STATE_OUT);
}

const struct tenon_op_contract tenon__linear_attention_contract = {
    .op = TENON_OPNUM_linear_attention,
    .name = "linear_attention",
    .text = "a matrix state a head that tokens decay, write and read, token by token or many at once",
    .source = "Katharopoulos et al. 2020; Sun et al. 2023; Yang et al. 2023, 2024, 2025; Dao and Gu 2024; Qin et al. "
              "2024; Kimi Team 2025; Zhang et al. 2024; Liao et al. 2024; Kosowski et al. 2025; Hua et al. 2022",
    .n_tensors = TENON_LINEAR_ATTENTION_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_linear_attention_params),
    .params_first = offsetof(struct tenon_linear_attention_params, eps) + sizeof(float),
    .n_tensors_first = TENON_LINEAR_ATTENTION_FLAGS + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
