/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of attention in code; in words it is tenon/ops/attention.h. */
#include <float.h>

#include <tenon/ops/attention.h>

#include "../contract.h"
#include "../shape.h"

#define ANY INT32_MAX

#define IN(i, name, type, shape, text)  [TENON_ATTENTION_##i] = {name, TENON_IN_OPT, type, shape, text}
#define OUT(i, name, type, shape, text) [TENON_ATTENTION_##i] = {name, TENON_OUT_OPT, type, shape, text}
#define F32                             TENON_T_F32
#define I32                             TENON_T_I32
#define CODES                           (TENON_T_FLOAT | TENON_T_U8)
static const struct tenon_tensor_spec tensors[] = {
    [TENON_ATTENTION_Q] = {"q", TENON_IN, TENON_T_FLOAT, "[B,T,Hq,D]", "queries"},
    [TENON_ATTENTION_K] = {"k", TENON_IN, CODES, "[B,S,Hk,D]; page_table: [pages,Hk,P,D]", "keys, or their codes"},
    [TENON_ATTENTION_V] = {"v", TENON_IN, CODES, "[B,S,Hk,V]; page_table: [pages,Hk,P,V]", "values, or their codes"},
    IN(PAGE_TABLE, "page_table", I32, "[B,max_pages]", "pages of each sequence; -1: absent"),
    IN(CU_Q, "cu_q", I32, "[N+1]", "where the queries of each packed sequence begin"),
    IN(CU_K, "cu_k", I32, "[N+1]", "where its keys begin; absent: cu_q"),
    IN(KV_LEN, "kv_len", I32, "[B or N]", "how many keys a sequence has"),
    IN(KPOS, "kpos", I32, "[B or 1,S]", "position of each key"),
    IN(QPOS, "qpos", I32, "[B or 1,T]", "position of each query"),
    IN(BOUNDS, "bounds", I32, "[B or 1,T,2]", "positions that a query sees: lo <= kpos < hi"),
    IN(KEEP, "keep", TENON_T_U32, "[B or 1,Hk or 1,ceil(S/32)]", "bits of the keys that exist"),
    IN(MASK, "mask", TENON_T_FLOAT, "[B or 1,Hq or 1,T or 1,S]", "added to the scores; -Inf: not visible"),
    IN(SLOPE, "slope", F32, "[Hq]", "factor of the distance (ALiBi)"),
    IN(FCUM, "fcum", F32, "[B,T,Hq]", "sum of the logarithms of forget gates, up to the query"),
    IN(FCUM_K, "fcum_k", F32, "[B,S,Hq]", "the same, up to the key"),
    IN(QTEMP, "qtemp", F32, "[B,T,Hq]", "factor of the scores of a query"),
    IN(VSCALE, "vscale", F32, "[B,S,Hk]", "factor of a value"),
    IN(LOGW, "logw", F32, "[B,S,Hk], or [nnz]", "added to the scores of a key or of a listed block"),
    IN(ROW_PTR, "row_ptr", I32, "[B,Hg,nq+1]", "where the list of each block of queries begins"),
    IN(COL, "col", I32, "[nnz]", "listed blocks of keys, ascending"),
    IN(SINK_LOGIT, "sink", F32, "[Hq]", "logit without a value; absent: 0"),
    IN(GATE, "gate", TENON_T_FLOAT, "[B,T,Hq] or [B,T,Hq,V]", "gate of the output, before its activation"),
    IN(K_QUANT, "k_quant", F32, "as k, [D/g,2]; or [Hk,D,2]", "scale and offset of the codes of k"),
    IN(V_QUANT, "v_quant", F32, "as v, [V/g,2]; or [Hk,V,2]", "scale and offset of the codes of v"),
    IN(K_TABLE, "k_table", F32, "[2^k_bits]", "values of the codes of k (lut)"),
    IN(V_TABLE, "v_table", F32, "[2^v_bits]", "values of the codes of v (lut)"),
    [TENON_ATTENTION_O] = {"o", TENON_OUT, TENON_T_FLOAT, "[B,T,Hq,V]", "weighted sums of values"},
    OUT(LNZ, "lnz", F32, "[B,T,Hq]", "logarithm of the sum of weights"),
    OUT(FLAGS, "flags", TENON_T_U32, "[4]", "rows with NaN, rows without keys, 0, entries out of range"),
};

static const char *const weights[] = {"exp", "sigmoid", "relu", "relu2", "quad", "linear", "softpick", NULL};
static const char *const norms[] = {"sum", "sink", "none", "count", "pow", NULL};
static const char *const posts[] = {"none", "clip", NULL};
static const char *const quants[] = {"none", "affine_token", "affine_channel", "lut_token", "lut_channel", NULL};
static const char *const gates[] = {"sigmoid", "identity", "silu", NULL};

#define FIELD(i, field) TENON_PARAMS_AT(tenon_attention_params, field, 4 * (i))
TENON_PARAMS_SIZE(tenon_attention_params, 128);
FIELD(0, struct_size);
FIELD(1, weight);
FIELD(2, norm);
FIELD(3, post);
FIELD(4, adapt);
FIELD(5, causal);
FIELD(6, wl);
FIELD(7, wr);
FIELD(8, n_sink);
FIELD(9, ring);
FIELD(10, quant_k);
FIELD(11, quant_v);
FIELD(12, k_bits);
FIELD(13, v_bits);
FIELD(14, block_q);
FIELD(15, block_k);
FIELD(16, gate_act);
FIELD(17, unified);
FIELD(18, fast);
FIELD(19, scale);
FIELD(20, softcap);
FIELD(21, smax);
FIELD(22, norm_eps);
FIELD(23, bias);
FIELD(24, quad_c);
FIELD(25, pow_alpha);
FIELD(26, clip_gamma);
FIELD(27, clip_zeta);
FIELD(28, gate_mul);
FIELD(29, phi);
FIELD(30, phi_lo);
FIELD(31, phi_hi);

#define AT(field) #field, .offset = offsetof(struct tenon_attention_params, field)
#define ENUM(field, count, of, words)                                                                                  \
    {                                                                                                                  \
        .name = AT(field), .type = TENON_ATTR_ENUM, .max = (count)-1, .names = of, .text = (words)                     \
    }
#define WHOLE(field, value, least, most, words)                                                                        \
    {                                                                                                                  \
        .name = AT(field), .type = TENON_ATTR_U32, .def = (value), .min = (least), .max = (most), .text = (words)      \
    }
#define REAL(field, value, least, most, words)                                                                         \
    {                                                                                                                  \
        .name = AT(field), .type = TENON_ATTR_F32, .def = (value), .min = (least), .max = (most), .text = (words)      \
    }
static const struct tenon_attr_spec attrs[] = {
    ENUM(weight, TENON_ATTENTION_WEIGHT_COUNT, weights, "what is made of a score"),
    ENUM(norm, TENON_ATTENTION_NORM_COUNT, norms, "what the weights are divided by"),
    ENUM(post, TENON_ATTENTION_POST_COUNT, posts, "what is done with the divided weights"),
    WHOLE(adapt, 0, 0, 1, "scores are sharpened by their entropy"),
    WHOLE(causal, 0, 0, 1, "keys after the query are not visible"),
    WHOLE(wl, ANY, 0, ANY, "keys before the query that are visible; 2^31 - 1: any"),
    WHOLE(wr, ANY, 0, ANY, "keys after the query that are visible; 2^31 - 1: any"),
    WHOLE(n_sink, 0, 0, ANY, "first positions that a window does not hide, and a ring keeps"),
    WHOLE(ring, 0, 0, 1, "k and v are a ring of the last positions"),
    ENUM(quant_k, TENON_ATTENTION_QUANT_COUNT, quants, "what the codes of k are"),
    ENUM(quant_v, TENON_ATTENTION_QUANT_COUNT, quants, "what the codes of v are"),
    WHOLE(k_bits, 8, 2, 8, "bits of a code of k: 8, 4 or 2"),
    WHOLE(v_bits, 8, 2, 8, "bits of a code of v: 8, 4 or 2"),
    WHOLE(block_q, 64, 1, 65536, "queries of a block of the list"),
    WHOLE(block_k, 64, 1, 65536, "keys of a block of the list"),
    ENUM(gate_act, TENON_ATTENTION_GATE_COUNT, gates, "activation of the gate"),
    WHOLE(unified, 0, 0, 1, "hint: scores are expected within phi + [phi_lo, phi_hi]"),
    WHOLE(fast, 0, 0, 1, "weights may be rounded to 16 bits"),
    REAL(scale, 0, -FLT_MAX, FLT_MAX, "factor of the products; 0: 1 / sqrt(D)"),
    REAL(softcap, 0, 0, FLT_MAX, "bound of the soft cap; 0: none"),
    REAL(smax, FLT_MAX, -FLT_MAX, FLT_MAX, "largest score"),
    REAL(norm_eps, 0, 0, FLT_MAX, "added to the sum of weights"),
    REAL(bias, 0, -FLT_MAX, FLT_MAX, "sigmoid: added to the score"),
    REAL(quad_c, 5, -FLT_MAX, FLT_MAX, "quad: added to the score"),
    REAL(pow_alpha, 1, 0, 1, "pow: exponent of the number of visible keys"),
    REAL(clip_gamma, 0, -1, 0, "clip: lower end of the stretched weights"),
    REAL(clip_zeta, 1, 1, 2, "clip: upper end of the stretched weights"),
    REAL(gate_mul, 1, -FLT_MAX, FLT_MAX, "factor of the gate"),
    REAL(phi, 0, -FLT_MAX, FLT_MAX, "unified: what is subtracted from a score"),
    REAL(phi_lo, -60, -80, 80, "unified: least difference"),
    REAL(phi_hi, 60, -80, 80, "unified: largest difference"),
};

struct extents {
    int64_t b, t, hq, d, s, hk, v, p, n, bk; /* n: sequences, bk: first axis of what is along S */
};

static int given(const struct tenon_tensor *t, uint32_t i)
{
    return t[i].dtype != TENON_ABSENT;
}

static int32_t refuse(struct tenon_why *why, const char *text)
{
    return tenon_why_set(why, TENON_E_ARG, "%s", text);
}

static int32_t disagree(uint32_t i, const struct tenon_tensor *t, struct tenon_why *why, const char *want)
{
    return tenon__shape_refuse(&tensors[i], &t[i], want, why);
}

static int32_t check_shape(const struct tenon_tensor *t, uint32_t i, uint32_t rank, const int64_t *dim, uint32_t ones,
                           struct tenon_why *why)
{
    return tenon__shape_axes(&tensors[i], &t[i], rank, dim, ones, why);
}

static int32_t check_side(const struct tenon_tensor *t, uint32_t i, uint32_t rank, const int64_t *dim, uint32_t ones,
                          struct tenon_why *why)
{
    return tenon__shape_side(&tensors[i], &t[i], rank, dim, ones, why);
}

/* How many numbers the last axis of k or v holds. */
static int64_t width(const struct tenon_tensor *t, uint32_t quant, uint32_t bits)
{
    return quant ? t->dim[3] * 8 / (int64_t)bits : t->dim[3];
}

static int32_t find_extents(const struct tenon_attention_params *p, const struct tenon_tensor *t, struct extents *e,
                            struct tenon_why *why)
{
    const struct tenon_tensor *q = &t[TENON_ATTENTION_Q], *k = &t[TENON_ATTENTION_K], *v = &t[TENON_ATTENTION_V];
    const struct tenon_tensor *table = &t[TENON_ATTENTION_PAGE_TABLE], *cu = &t[TENON_ATTENTION_CU_Q];
    if (q->rank != 4)
        return disagree(TENON_ATTENTION_Q, t, why, "[B,T,Hq,D]");
    if (k->rank != 4)
        return disagree(TENON_ATTENTION_K, t, why, table->dtype ? "[pages,Hk,P,D]" : "[B,S,Hk,D]");
    if (v->rank != 4)
        return disagree(TENON_ATTENTION_V, t, why, table->dtype ? "[pages,Hk,P,V]" : "[B,S,Hk,V]");
    if (table->dtype && table->rank != 2)
        return disagree(TENON_ATTENTION_PAGE_TABLE, t, why, "[B or N,max_pages]");
    if (cu->dtype && (cu->rank != 1 || cu->dim[0] < 1))
        return disagree(TENON_ATTENTION_CU_Q, t, why, "[N+1]");
    *e = (struct extents){.b = q->dim[0], .t = q->dim[1], .hq = q->dim[2], .d = q->dim[3]};
    e->v = width(v, p->quant_v, p->v_bits);
    e->p = table->dtype ? k->dim[2] : 0;
    if (table->dtype && e->p && table->dim[1] > INT32_MAX / e->p)
        return tenon_why_set(why, TENON_E_SHAPE, "S = %lld pages of %lld: must be below 2^31", (long long)table->dim[1],
                             (long long)e->p);
    e->s = table->dtype ? table->dim[1] * e->p : k->dim[1];
    e->hk = table->dtype ? k->dim[1] : k->dim[2];
    e->n = cu->dtype ? cu->dim[0] - 1 : e->b;
    e->bk = cu->dtype && !table->dtype ? 1 : e->n;
    return TENON_OK;
}

static int32_t check_type(const struct tenon_tensor *t, uint32_t i, uint32_t quant, struct tenon_why *why)
{
    const uint32_t want = quant ? TENON_U8 : t[TENON_ATTENTION_Q].dtype;
    if (t[i].dtype == want)
        return TENON_OK;
    return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be %s, quant_%s = %s", tensors[i].name,
                         tenon_dtype_name(t[i].dtype), tenon_dtype_name(want), tensors[i].name, quants[quant]);
}

static int32_t check_own_type(const struct tenon_tensor *t, uint32_t i, struct tenon_why *why)
{
    const uint32_t own = t[TENON_ATTENTION_Q].dtype;
    if (!given(t, i) || t[i].dtype == own || t[i].dtype == TENON_F32)
        return TENON_OK;
    return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be that of q, %s, or f32", tensors[i].name,
                         tenon_dtype_name(t[i].dtype), tenon_dtype_name(own));
}

static int32_t check_main(const struct tenon_attention_params *p, const struct tenon_tensor *t, const struct extents *e,
                          struct tenon_why *why)
{
    const int paged = given(t, TENON_ATTENTION_PAGE_TABLE);
    const int64_t *kd = t[TENON_ATTENTION_K].dim, pages = kd[0];
    if (e->d < 1 || e->v < 1 || e->d > TENON_ATTENTION_MAX_WIDTH || e->v > TENON_ATTENTION_MAX_WIDTH)
        return tenon_why_set(why, TENON_E_SHAPE, "D = %lld, V = %lld: must be within [1, %d]", (long long)e->d,
                             (long long)e->v, TENON_ATTENTION_MAX_WIDTH);
    if (p->quant_k && e->d * p->k_bits % 8)
        return tenon_why_set(why, TENON_E_SHAPE, "D = %lld with k_bits = %u: must be whole bytes", (long long)e->d,
                             p->k_bits);
    const int64_t width_k = p->quant_k ? e->d * p->k_bits / 8 : e->d, width_v = t[TENON_ATTENTION_V].dim[3];
    int32_t status =
        check_shape(t, TENON_ATTENTION_K, 4,
                    paged ? (int64_t[]){pages, e->hk, e->p, width_k} : (int64_t[]){e->b, e->s, e->hk, width_k}, 0, why);
    if (!status)
        status = check_shape(t, TENON_ATTENTION_V, 4,
                             paged ? (int64_t[]){pages, e->hk, e->p, width_v} : (int64_t[]){e->b, e->s, e->hk, width_v},
                             0, why);
    if (!status)
        status = check_shape(t, TENON_ATTENTION_O, 4, (int64_t[]){e->b, e->t, e->hq, e->v}, 0, why);
    if (status)
        return status;
    if (paged && (e->p < 16 || e->p % 16))
        return tenon_why_set(why, TENON_E_SHAPE, "k has pages of %lld rows: must be a multiple of 16", (long long)e->p);
    if (e->hk < 1 ? e->hq != 0 : e->hq % e->hk != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "Hq = %lld, Hk = %lld: Hq must be a multiple of Hk", (long long)e->hq,
                             (long long)e->hk);
    if (e->s > INT32_MAX || e->t > INT32_MAX || pages > INT32_MAX || e->n > INT32_MAX ||
        (e->b && e->t && (e->b > INT32_MAX / e->t || (e->hq && e->b * e->t > INT32_MAX / e->hq))))
        return tenon_why_set(why, TENON_E_SHAPE,
                             "B, T, Hq, S = %lld, %lld, %lld, %lld: S and B*T*Hq must be below 2^31", (long long)e->b,
                             (long long)e->t, (long long)e->hq, (long long)e->s);
    return TENON_OK;
}

static int32_t check_weight(const struct tenon_attention_params *p, const struct tenon_tensor *t, struct tenon_why *why)
{
    const int exp = p->weight == TENON_ATTENTION_EXP, sum = p->norm == TENON_ATTENTION_SUM;
    const int sink = p->norm == TENON_ATTENTION_SINK, lnz = given(t, TENON_ATTENTION_LNZ);
    if (sink && !exp)
        return tenon_why_set(why, TENON_E_ARG, "norm = sink with weight %s: must be exp", weights[p->weight]);
    if (p->post && (!exp || !(sum || sink)))
        return tenon_why_set(why, TENON_E_ARG, "post = clip with weight %s, norm %s: must be exp, and sum or sink",
                             weights[p->weight], norms[p->norm]);
    if (p->adapt && (!exp || !sum))
        return tenon_why_set(why, TENON_E_ARG, "adapt with weight %s, norm %s: must be exp and sum", weights[p->weight],
                             norms[p->norm]);
    if (given(t, TENON_ATTENTION_SINK_LOGIT) && !sink)
        return tenon_why_set(why, TENON_E_ARG, "sink is given with norm %s: must be sink", norms[p->norm]);
    if (p->norm_eps > 0 && (!sum || exp))
        return tenon_why_set(why, TENON_E_ARG, "norm_eps = %g with weight %s, norm %s: must be sum, and not exp",
                             (double)p->norm_eps, weights[p->weight], norms[p->norm]);
    if (p->unified && !exp)
        return tenon_why_set(why, TENON_E_ARG, "unified with weight %s: must be exp", weights[p->weight]);
    if (p->unified && !(p->phi_lo < p->phi_hi))
        return tenon_why_set(why, TENON_E_ARG, "phi_lo = %g, phi_hi = %g: must be ascending", (double)p->phi_lo,
                             (double)p->phi_hi);
    if (lnz && (p->post || p->adapt))
        return refuse(why, "lnz with post = clip or adapt: such parts cannot be merged");
    if (lnz && (p->norm == TENON_ATTENTION_NONE || p->norm == TENON_ATTENTION_POW ||
                (sum && p->weight == TENON_ATTENTION_LINEAR)))
        return tenon_why_set(why, TENON_E_ARG, "lnz with weight %s, norm %s: has no logarithm to merge by",
                             weights[p->weight], norms[p->norm]);
    return TENON_OK;
}

static int32_t check_keys(const struct tenon_attention_params *p, const struct tenon_tensor *t, const struct extents *e,
                          struct tenon_why *why)
{
    const int cu = given(t, TENON_ATTENTION_CU_Q), cu_k = given(t, TENON_ATTENTION_CU_K);
    const int paged = given(t, TENON_ATTENTION_PAGE_TABLE), list = given(t, TENON_ATTENTION_ROW_PTR);
    if (given(t, TENON_ATTENTION_FCUM) != given(t, TENON_ATTENTION_FCUM_K))
        return refuse(why, "fcum and fcum_k: must go together");
    if (cu_k && (!cu || paged))
        return refuse(why, "cu_k: needs cu_q, and no page_table");
    if (cu && e->b != 1)
        return tenon_why_set(why, TENON_E_SHAPE, "B = %lld with cu_q: must be 1", (long long)e->b);
    if (cu && !cu_k && !paged && e->s != e->t)
        return tenon_why_set(why, TENON_E_SHAPE, "S = %lld, T = %lld: must agree with cu_q and no cu_k",
                             (long long)e->s, (long long)e->t);
    if (list != given(t, TENON_ATTENTION_COL))
        return refuse(why, "row_ptr and col: must go together");
    if (list && (cu || p->ring))
        return refuse(why, "row_ptr: not with cu_q or ring");
    if (p->ring && (given(t, TENON_ATTENTION_KPOS) || (cu && !paged)))
        return refuse(why, "ring: not with kpos, and with cu_q it needs page_table");
    if (p->ring && (int64_t)p->n_sink >= e->s)
        return tenon_why_set(why, TENON_E_ARG, "n_sink = %u with ring: must be below S = %lld", p->n_sink,
                             (long long)e->s);
    return TENON_OK;
}

static int32_t check_list(const struct tenon_attention_params *p, const struct tenon_tensor *t, const struct extents *e,
                          struct tenon_why *why)
{
    const struct tenon_tensor *row_ptr = &t[TENON_ATTENTION_ROW_PTR], *logw = &t[TENON_ATTENTION_LOGW];
    const struct tenon_tensor *col = &t[TENON_ATTENTION_COL];
    if (!row_ptr->dtype || (logw->dtype && logw->rank != 1)) {
        int32_t status = check_side(t, TENON_ATTENTION_LOGW, 3, (int64_t[]){e->bk, e->s, e->hk}, 0, why);
        if (status || !row_ptr->dtype)
            return status;
    }
    const int64_t hg = row_ptr->rank == 3 ? row_ptr->dim[1] : 0, nq = (e->t + p->block_q - 1) / p->block_q;
    int32_t status = check_side(t, TENON_ATTENTION_ROW_PTR, 3, (int64_t[]){e->b, hg, nq + 1}, 0, why);
    if (status)
        return status;
    if (hg < 1 ? e->hq != 0 : e->hq % hg != 0)
        return tenon_why_set(why, TENON_E_SHAPE, "row_ptr has Hg = %lld: must divide Hq = %lld", (long long)hg,
                             (long long)e->hq);
    const int64_t nnz = col->rank == 1 ? col->dim[0] : 0;
    if (nnz > INT32_MAX / (int64_t)p->block_k)
        return tenon_why_set(why, TENON_E_SHAPE, "col has %lld blocks of %u: must be below 2^31 keys", (long long)nnz,
                             p->block_k);
    status = check_side(t, TENON_ATTENTION_COL, 1, &nnz, 0, why);
    return status || logw->rank != 1 ? status : check_side(t, TENON_ATTENTION_LOGW, 1, &nnz, 0, why);
}

static int32_t check_quant(const struct tenon_tensor *t, uint32_t x, uint32_t i, uint32_t table, uint32_t quant,
                           uint32_t bits, int64_t heads, int64_t wide, struct tenon_why *why)
{
    const int lut = quant == TENON_ATTENTION_LUT_TOKEN || quant == TENON_ATTENTION_LUT_CHANNEL;
    const int token = quant == TENON_ATTENTION_AFFINE_TOKEN || quant == TENON_ATTENTION_LUT_TOKEN;
    const struct tenon_tensor *pair = &t[i];
    if (bits != 8 && bits != 4 && bits != 2)
        return tenon_why_set(why, TENON_E_ARG, "%s_bits = %u: must be 8, 4 or 2", tensors[x].name, bits);
    if (given(t, i) != (quant != 0) || given(t, table) != lut)
        return tenon_why_set(why, TENON_E_ARG, "quant_%s = %s %s %s, %s %s: lut has both, affine the first, none none",
                             tensors[x].name, quants[quant], given(t, i) ? "with" : "without", tensors[i].name,
                             given(t, table) ? "with" : "without", tensors[table].name);
    if (!quant)
        return TENON_OK;
    int32_t status = check_side(t, table, 1, (int64_t[]){INT64_C(1) << bits}, 0, why);
    if (status || !token)
        return status ? status : check_side(t, i, 3, (int64_t[]){heads, wide, 2}, 0, why);
    const int64_t groups = pair->rank == 5 ? pair->dim[3] : 0;
    status = check_shape(t, i, 5, (int64_t[]){t[x].dim[0], t[x].dim[1], t[x].dim[2], groups, 2}, 0, why);
    if (!status && (groups < 1 || wide % groups))
        return tenon_why_set(why, TENON_E_SHAPE, "%s has %lld groups: must divide %lld", tensors[i].name,
                             (long long)groups, (long long)wide);
    if (!status && groups > 1 && pair->stride[3] != 2)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s stride[3] = %lld: must be 2", tensors[i].name,
                             (long long)pair->stride[3]);
    return status;
}

static int32_t check_sides(const struct tenon_tensor *t, const struct extents *e, struct tenon_why *why)
{
    const int64_t words = (e->s + 31) / 32;
    const struct {
        uint32_t i, rank, ones;
        int64_t dim[3];
    } sides[] = {
        {TENON_ATTENTION_CU_K, 1, 0, {e->n + 1}},
        {TENON_ATTENTION_CU_Q, 1, 0, {e->n + 1}},
        {TENON_ATTENTION_PAGE_TABLE, 2, 0, {e->n, t[TENON_ATTENTION_PAGE_TABLE].dim[1]}},
        {TENON_ATTENTION_KV_LEN, 1, 0, {e->n}},
        {TENON_ATTENTION_KPOS, 2, 1, {e->bk, e->s}},
        {TENON_ATTENTION_QPOS, 2, 1, {e->b, e->t}},
        {TENON_ATTENTION_BOUNDS, 3, 1, {e->b, e->t, 2}},
        {TENON_ATTENTION_KEEP, 3, 3, {e->bk, e->hk, words}},
        {TENON_ATTENTION_SLOPE, 1, 0, {e->hq}},
        {TENON_ATTENTION_FCUM, 3, 0, {e->b, e->t, e->hq}},
        {TENON_ATTENTION_FCUM_K, 3, 0, {e->bk, e->s, e->hq}},
        {TENON_ATTENTION_QTEMP, 3, 0, {e->b, e->t, e->hq}},
        {TENON_ATTENTION_VSCALE, 3, 0, {e->bk, e->s, e->hk}},
        {TENON_ATTENTION_SINK_LOGIT, 1, 0, {e->hq}},
        {TENON_ATTENTION_LNZ, 3, 0, {e->b, e->t, e->hq}},
        {TENON_ATTENTION_FLAGS, 1, 0, {4}},
    };
    int32_t status = TENON_OK;
    for (uint32_t i = 0; !status && i < sizeof sides / sizeof sides[0]; i++)
        status = check_side(t, sides[i].i, sides[i].rank, sides[i].dim, sides[i].ones, why);
    if (!status && given(t, TENON_ATTENTION_MASK))
        status = check_shape(t, TENON_ATTENTION_MASK, 4, (int64_t[]){e->b, e->hq, e->t, e->s}, 7, why);
    if (!status && given(t, TENON_ATTENTION_GATE))
        status = check_shape(t, TENON_ATTENTION_GATE, t[TENON_ATTENTION_GATE].rank == 3 ? 3 : 4,
                             (int64_t[]){e->b, e->t, e->hq, e->v}, 0, why);
    return status;
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_attention_params *p = params;
    struct extents e;
    int32_t status = find_extents(p, t, &e, why);
    if (!status)
        status = check_weight(p, t, why);
    if (!status)
        status = check_keys(p, t, &e, why);
    if (!status)
        status = check_quant(t, TENON_ATTENTION_K, TENON_ATTENTION_K_QUANT, TENON_ATTENTION_K_TABLE, p->quant_k,
                             p->k_bits, e.hk, e.d, why);
    if (!status)
        status = check_quant(t, TENON_ATTENTION_V, TENON_ATTENTION_V_QUANT, TENON_ATTENTION_V_TABLE, p->quant_v,
                             p->v_bits, e.hk, e.v, why);
    if (!status)
        status = check_type(t, TENON_ATTENTION_K, p->quant_k, why);
    if (!status)
        status = check_type(t, TENON_ATTENTION_V, p->quant_v, why);
    if (!status)
        status = check_own_type(t, TENON_ATTENTION_GATE, why);
    if (!status)
        status = check_own_type(t, TENON_ATTENTION_O, why);
    if (!status)
        status = check_main(p, t, &e, why);
    if (!status)
        status = check_list(p, t, &e, why);
    return status ? status : check_sides(t, &e, why);
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_attention_params *p = params;
    const struct tenon_tensor *q = &t[TENON_ATTENTION_Q];
    struct extents e;
    if (index < TENON_ATTENTION_O || index >= TENON_ATTENTION_N_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "tensor %u of attention is not an output", index);
    if (index == TENON_ATTENTION_FLAGS) {
        *out = tenon_tensor_make(TENON_U32, 1, (int64_t[]){4});
        return TENON_OK;
    }
    if (!q->dtype || !given(t, TENON_ATTENTION_K) || !given(t, TENON_ATTENTION_V))
        return tenon_why_set(why, TENON_E_SHAPE, "%s has no shape without q, k and v", tensors[index].name);
    int32_t status = find_extents(p, t, &e, why);
    if (status)
        return status;
    const int wide = index == TENON_ATTENTION_O;
    const uint32_t wish = t[index].dtype, own = wide ? q->dtype : TENON_F32;
    *out = tenon_tensor_make(wish ? wish : own, wide ? 4 : 3, (int64_t[]){e.b, e.t, e.hq, e.v});
    return TENON_OK;
}

const struct tenon_op_contract tenon__attention_contract = {
    .op = TENON_OPNUM_attention,
    .name = "attention",
    .text = "scores, weights and weighted sums of values, over dense, packed, paged, ring and quantised caches",
    .source = "Vaswani et al. 2017; Dao et al. 2022, 2023; Kwon et al. 2023; Hong et al. 2023; Ramapuram et al. 2024; "
              "Zuhri et al. 2025; Bondarenko et al. 2023; Hooper et al. 2024; Qiu et al. 2025",
    .n_tensors = TENON_ATTENTION_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_attention_params),
    .params_first = offsetof(struct tenon_attention_params, phi_hi) + sizeof(float),
    .n_tensors_first = TENON_ATTENTION_FLAGS + 1,
    .validate = validate,
    .output = output,
};
