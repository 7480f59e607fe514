/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: shapes and attributes of its cases. */
#include <float.h>
#include <stdio.h>
#include "attention_suite.h"

#define QUICK_CASES 256
#define FULL_CASES  2000
#define SOAK_CASES  100000
#define COUNT(a)    (int64_t)(sizeof(a) / sizeof((a)[0]))
#define A(NAME)     TENON_ATTENTION_##NAME

/* What a case is about: its number modulo 16. */
enum {
    DENSE,
    MORE_DENSE,
    CAUSAL,
    ALONE,
    MORE_ALONE,
    PAIR,
    MORE_PAIRS,
    WEIGHT,
    MORE_WEIGHTS,
    PACKED,
    PAGED,
    RING,
    LIST,
    QUANTISED,
    EXACT,
    EDGE
};

/* What can be added to a case. */
enum {
    F_KV_LEN,
    F_KPOS,
    F_QPOS,
    F_BOUNDS,
    F_KEEP,
    F_MASK,
    F_SLOPE,
    F_FCUM,
    F_QTEMP,
    F_VSCALE,
    F_LOGW,
    F_CAUSAL,
    F_WL,
    F_WR,
    F_SINKS,
    F_SOFTCAP,
    F_SMAX,
    F_GATE,
    F_SINK,
    FEATURES
};
#define F(name) (1u << F_##name)

static const uint32_t types[7][2] = {
    /* q, o */
    {TENON_F32, TENON_F32},  {TENON_F16, TENON_F16}, {TENON_BF16, TENON_BF16}, {TENON_F32, TENON_F32},
    {TENON_BF16, TENON_F32}, {TENON_F16, TENON_F32}, {TENON_F32, TENON_F32},
};
static const int64_t widths[11] = {16, 64, 1, 7, 80, 33, 128, 8, 32, 256, 40};
static const int64_t queries[8] = {5, 1, 17, 2, 63, 33, 65, 200};
static const int64_t keys[9] = {64, 17, 1, 130, 63, 65, 5, 200, 96};
static const int64_t heads[7][2] = {{4, 2}, {1, 1}, {2, 1}, {3, 3}, {8, 2}, {6, 1}, {6, 3}};
static const int64_t batches[5] = {1, 2, 1, 3, 1};

struct extents {
    int64_t b, t, s, hq, hk, d, v;
    int64_t n, page; /* sequences of a packed q; rows of a page */
    int64_t nnz, hg;
    int cu_k, packed;
};

static struct tenon_attention_params *params_of(struct conform_case *c)
{
    return tenon__att_suite_params(c);
}

/* ---- tensors ---- */

/* With gaps and margins, as the hash says. */
static void set_tensor(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t rank, const int64_t *dim,
                       uint64_t hash)
{
    struct tenon_tensor *t;
    conform_slot_set(c, i, dtype, rank, dim);
    t = &c->slot[i].tensor;
    if (hash >> 3 & 1)
        conform_slot_pitch(&c->slot[i], dim[rank - 1] + 1 + (int64_t)(hash >> 4 & 7));
    if (rank == 4 && hash >> 9 & 1) { /* the middle axes the other way around: [B,H,T,D] */
        t->stride[1] = t->stride[2];
        t->stride[2] = t->stride[1] * dim[1] + (int64_t)(hash >> 10 & 3);
        t->stride[0] = t->stride[2] * dim[2];
    }
    conform_slot_margins(&c->slot[i], hash, hash >> 7);
}

#define PUT(i, dtype, rank, ...) conform_slot_set(c, A(i), dtype, rank, (int64_t[]){__VA_ARGS__})

/* Codes of width bits and their pairs. */
static void set_quant(struct conform_case *c, const struct extents *e, int is_v, uint32_t kind, uint32_t bits,
                      uint64_t hash)
{
    const uint32_t x = is_v ? A(V) : A(K), side = is_v ? A(V_QUANT) : A(K_QUANT),
                   table = is_v ? A(V_TABLE) : A(K_TABLE);
    const int64_t wide = is_v ? e->v : e->d, *lead = c->slot[x].tensor.dim, size = INT64_C(1) << bits;
    const int64_t groups = wide % 4 == 0 && hash & 1 ? 4 : wide % 3 == 0 && hash & 2 ? 3 : 1;
    const int64_t codes[4] = {lead[0], lead[1], lead[2], wide * (int64_t)bits / 8};
    const int64_t pairs[5] = {lead[0], lead[1], lead[2], groups, 2}, channel[3] = {e->hk, wide, 2};
    *(is_v ? &params_of(c)->quant_v : &params_of(c)->quant_k) = kind;
    *(is_v ? &params_of(c)->v_bits : &params_of(c)->k_bits) = bits;
    set_tensor(c, x, TENON_U8, 4, codes, hash >> 4);
    if (kind == A(AFFINE_TOKEN) || kind == A(LUT_TOKEN))
        conform_slot_set(c, side, TENON_F32, 5, pairs);
    else
        conform_slot_set(c, side, TENON_F32, 3, channel);
    if (kind >= A(LUT_TOKEN))
        conform_slot_set(c, table, TENON_F32, 1, &size);
}

static void set_main(struct conform_case *c, const struct extents *e, const uint32_t *type, uint64_t hash)
{
    const int64_t row_pages = e->page ? e->s / e->page : 0, pages = row_pages * e->n + 2;
    const int64_t q[4] = {e->b, e->t, e->hq, e->d}, o[4] = {e->b, e->t, e->hq, e->v};
    int64_t k[4] = {e->b, e->s, e->hk, e->d};
    if (e->page) {
        k[0] = pages;
        k[1] = e->hk;
        k[2] = e->page;
        PUT(PAGE_TABLE, TENON_I32, 2, e->n, row_pages);
    }
    set_tensor(c, A(Q), type[0], 4, q, hash);
    set_tensor(c, A(K), type[0], 4, k, hash >> 11);
    k[3] = e->v;
    set_tensor(c, A(V), type[0], 4, k, hash >> 22);
    set_tensor(c, A(O), type[1], 4, o, hash >> 33);
    if (e->packed)
        PUT(CU_Q, TENON_I32, 1, e->n + 1);
    if (e->cu_k)
        PUT(CU_K, TENON_I32, 1, e->n + 1);
    if (e->hg) {
        PUT(ROW_PTR, TENON_I32, 3, e->b, e->hg, (e->t + params_of(c)->block_q - 1) / params_of(c)->block_q + 1);
        PUT(COL, TENON_I32, 1, e->nnz);
    }
}

/* Tensors that features bring, their leading axes at times 1. */
static void set_sides(struct conform_case *c, const struct extents *e, uint32_t features, const uint32_t *type,
                      uint64_t hash)
{
    const int64_t bk = e->packed && !e->page ? 1 : e->n, words = (e->s + 31) / 32;
    const int64_t b1 = hash & 1 ? 1 : e->b, c1 = hash & 2 ? 1 : bk;
    if (features & F(KV_LEN))
        PUT(KV_LEN, TENON_I32, 1, e->n);
    if (features & F(KPOS))
        PUT(KPOS, TENON_I32, 2, c1, e->s);
    if (features & F(QPOS))
        PUT(QPOS, TENON_I32, 2, b1, e->t);
    if (features & F(BOUNDS))
        PUT(BOUNDS, TENON_I32, 3, b1, e->t, 2);
    if (features & F(KEEP))
        PUT(KEEP, TENON_U32, 3, c1, hash & 4 ? 1 : e->hk, words);
    if (features & F(MASK)) {
        static const uint32_t kinds[4] = {TENON_F32, TENON_F16, TENON_BF16, TENON_F32};
        const int64_t mask[4] = {b1, hash & 8 ? 1 : e->hq, hash & 16 ? 1 : e->t, e->s};
        set_tensor(c, A(MASK), c->own[0] == ATT_FILL_LOW ? TENON_F32 : kinds[hash >> 5 & 3], 4, mask,
                   hash >> 7 & ~(UINT64_C(1) << 9));
    }
    if (features & F(SLOPE))
        PUT(SLOPE, TENON_F32, 1, e->hq);
    if (features & F(FCUM)) {
        PUT(FCUM, TENON_F32, 3, e->b, e->t, e->hq);
        PUT(FCUM_K, TENON_F32, 3, bk, e->s, e->hq);
    }
    if (features & F(QTEMP))
        PUT(QTEMP, TENON_F32, 3, e->b, e->t, e->hq);
    if (features & F(VSCALE))
        PUT(VSCALE, TENON_F32, 3, bk, e->s, e->hk);
    if (features & F(LOGW) && e->hg && c->number > 15 && !(hash >> 19 & 3))
        PUT(LOGW, TENON_F32, 3, bk, e->s, e->hk);
    else if (features & F(LOGW) && e->hg)
        PUT(LOGW, TENON_F32, 1, e->nnz);
    else if (features & F(LOGW))
        PUT(LOGW, TENON_F32, 3, bk, e->s, e->hk);
    if (features & F(GATE)) {
        const int64_t gate[4] = {e->b, e->t, e->hq, e->v};
        set_tensor(c, A(GATE), hash >> 20 & 1 ? type[0] : TENON_F32, hash >> 21 & 1 ? 4 : 3, gate, hash >> 22);
    }
    if (features & F(SINK) && hash >> 34 & 3)
        PUT(SINK_LOGIT, TENON_F32, 1, e->hq);
}

/* ---- attributes ---- */

static void set_features(struct conform_case *c, uint32_t features, uint64_t hash)
{
    static const uint32_t windows[4] = {0, 3, 20, 70};
    struct tenon_attention_params *p = params_of(c);
    p->causal = (features & F(CAUSAL)) != 0;
    if (features & (F(WL) | F(SINKS)))
        p->wl = windows[hash & 3];
    if (features & F(WR))
        p->wr = windows[hash >> 2 & 3];
    if (features & F(SINKS))
        p->n_sink = (uint32_t)(hash >> 4 & 3) + 1;
    if (features & F(SOFTCAP))
        p->softcap = hash >> 6 & 1 ? 2 : 30;
    if (features & F(SMAX))
        p->smax = hash >> 7 & 1 ? 0.5f : -0.25f;
    if (features & F(GATE)) {
        p->gate_act = (uint32_t)(hash >> 8) % A(GATE_COUNT);
        p->gate_mul = hash >> 12 & 1 ? 1 : -2;
    }
    if (features & F(SINK) && p->weight == A(EXP) && p->norm == A(SUM))
        p->norm = A(SINK);
}

/* Combination `which` of a weight and a normaliser; those that there are follow one another. */
static void set_weight(struct conform_case *c, uint64_t which, uint64_t hash)
{
    static const uint32_t norms[4] = {A(SUM), A(NONE), A(COUNT), A(POW)};
    struct tenon_attention_params *p = params_of(c);
    which %= 32;
    if (which >= 28) { /* sink; clip twice; adapt */
        p->norm = which == 28 || which == 30 ? A(SINK) : A(SUM);
        p->post = which == 29 || which == 30;
        p->adapt = which == 31;
        p->clip_gamma = which == 29 || hash & 1 ? -0.03f : 0;
        p->clip_zeta = which == 30 || hash & 2 ? 1.1f : 1;
        return;
    }
    p->weight = (uint32_t)(which % 7);
    p->norm = norms[which / 7];
    p->bias = p->weight == A(SIGMOID) ? (hash & 1 ? -3 : 1) : 0;
    p->quad_c = p->weight == A(QUAD) && hash & 2 ? 2 : 5;
    p->pow_alpha = hash & 4 ? 0.5f : 0.8f;
    if (p->norm == A(SUM) && p->weight != A(EXP) && hash & 8)
        p->norm_eps = 1e-2f;
}

/* Whether there can be lnz. */
static int mergeable(const struct tenon_attention_params *p)
{
    return !p->post && !p->adapt && p->norm != A(NONE) && p->norm != A(POW) &&
           !(p->norm == A(SUM) && p->weight == A(LINEAR));
}

/* ---- cases ---- */

static void name_case(struct conform_case *c, const struct extents *e)
{
    static const char *const fills[ATT_FILLS] = {"normal", "exact", "zero", "wide", "nan", "low", "shift", "bench"};
    const struct tenon_attention_params *p = params_of(c);
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(c->op->op);
    char *end = c->name + sizeof(c->name), *text = c->name;
    text += snprintf(text, (size_t)(end - text), "%s>%s %lldB%lldT%lldS%lld/%lldH%lldD%lldV %s/%s%s%s",
                     tenon_dtype_name(c->slot[A(Q)].tensor.dtype), tenon_dtype_name(c->slot[A(O)].tensor.dtype),
                     (long long)e->b, (long long)e->t, (long long)e->s, (long long)e->hq, (long long)e->hk,
                     (long long)e->d, (long long)e->v, contract->attrs[0].names[p->weight],
                     contract->attrs[1].names[p->norm], p->post ? " clip" : "", p->adapt ? " adapt" : "");
    text += snprintf(text, (size_t)(end - text), "%s%s%s%s%s", p->causal ? " causal" : "", p->wl != A(ANY) ? " wl" : "",
                     p->wr != A(ANY) ? " wr" : "", p->ring ? " ring" : "", p->softcap > 0 ? " cap" : "");
    for (uint32_t i = A(PAGE_TABLE); i <= A(V_QUANT) && text < end; i++)
        if (c->slot[i].tensor.dtype)
            text += snprintf(text, (size_t)(end - text), " %s", contract->tensors[i].name);
    if (text < end)
        snprintf(text, (size_t)(end - text), " %s", fills[c->own[0]]);
}

static void finish(struct conform_case *c, struct extents *e, uint32_t features, const uint32_t *type, uint64_t hash)
{
    set_features(c, features, hash >> 7);
    if (c->own[0] == ATT_FILL_EXACT && params_of(c)->weight == A(EXP) && params_of(c)->causal)
        params_of(c)->wl = 0;
    set_main(c, e, type, hash);
    set_sides(c, e, features, type, conform_key(c, 110));
    if (mergeable(params_of(c)) && hash >> 44 & 1)
        PUT(LNZ, TENON_F32, 3, e->b, e->t, e->hq);
    if (hash >> 45 & 1 || c->own[0] == ATT_FILL_NAN)
        PUT(FLAGS, TENON_U32, 1, 4);
}

/* Within a budget of multiplications. */
static void shrink(struct extents *e, double most)
{
    while ((double)(e->b * e->hq * e->t) * (double)(e->s * (e->d + e->v) + 200) > most) {
        if (e->b > 1)
            e->b = 1;
        else if (e->hq > 4)
            e->hq = e->hk = 2;
        else if (e->d + e->v > 64) {
            e->d = e->d > 32 ? 32 : e->d;
            e->v = e->v > 32 ? 20 : e->v;
        } else if (e->t > 20)
            e->t /= 2;
        else if (e->hq > 1)
            e->hq = e->hk = 1;
        else
            e->t = (e->t + 1) / 2, most *= 2;
    }
}

static void choose_extents(struct conform_case *c, uint64_t hash, struct extents *e)
{
    const uint64_t n = c->number, h = conform_key(c, 101);
    *e = (struct extents){.b = batches[h % 5], .t = queries[(n / 16 + h / 5 % 3) % 8], .s = keys[n % 9]};
    e->hq = heads[(n / 16 + n) % 7][0];
    e->hk = heads[(n / 16 + n) % 7][1];
    e->d = widths[n % 11];
    e->v = hash >> 50 & 1 ? e->d : widths[(n / 11 + hash % 11) % 11];
    shrink(e, c->number < QUICK_CASES ? 6e5 : 2e6);
    e->n = e->b;
}

static uint32_t some_features(uint64_t hash)
{
    return (1u << hash % FEATURES) | (hash >> 20 & 1 ? 1u << (hash >> 8) % FEATURES : 0);
}

/* A packed q; some with pages. */
static void make_packed(struct conform_case *c, struct extents *e, uint64_t h, uint32_t *features)
{
    e->b = 1;
    e->packed = 1;
    e->n = c->number < 16 ? 3 : 1 + (int64_t)(h % 5);
    e->t = e->t < 7 ? 23 : e->t;
    e->cu_k = c->number < 16 || h >> 8 & 1;
    if (c->number >= 16 && (h >> 10 & 3) == 0) {
        e->page = 16;
        e->cu_k = 0;
        e->s = e->s < 16 ? 16 : e->s / 16 * 16;
    } else if (!e->cu_k) {
        e->s = e->t;
    }
    *features |= h >> 12 & 1 ? F(CAUSAL) : 0;
}

static void make_list(struct conform_case *c, struct extents *e, uint64_t h, uint32_t *features)
{
    static const uint32_t blocks[6] = {16, 64, 1, 7, 32, 100};
    params_of(c)->block_q = blocks[h % 6] == 100 ? 1 : blocks[h % 6];
    params_of(c)->block_k = blocks[h / 6 % 6];
    e->hg = h >> 8 & 1 ? e->hq : h >> 9 & 1 ? e->hk : 1;
    const int64_t rows = e->b * e->hg * ((e->t + params_of(c)->block_q - 1) / params_of(c)->block_q);
    const int64_t cols = (e->s + params_of(c)->block_k - 1) / params_of(c)->block_k;
    e->nnz = rows * cols * (int64_t)(1 + (h >> 10 & 3)) / 4 + 1;
    *features |= h >> 12 & 1 ? F(CAUSAL) : 0;
    if (h >> 13 & 1 || c->number < 16)
        *features |= F(LOGW);
    if (h >> 15 & 1) {
        e->page = 16;
        e->s = e->s < 16 ? 16 : e->s / 16 * 16;
    }
}

/* Integers whose sums and quotients are exact. */
static void make_exact(struct conform_case *c, struct extents *e, uint64_t h, uint32_t *features)
{
    static const uint32_t weights[5] = {A(RELU), A(EXP), A(LINEAR), A(RELU2), A(QUAD)};
    struct tenon_attention_params *p = params_of(c);
    c->own[0] = ATT_FILL_EXACT;
    c->mode = CONFORM_EXACT;
    p->weight = weights[c->number / 16 % 5];
    p->norm = A(NONE);
    p->scale = 1;
    *features &= ~(F(SLOPE) | F(SOFTCAP) | F(SMAX) | F(SINK) | F(GATE) | F(LOGW));
    if (p->weight != A(EXP))
        return;
    p->norm = A(SUM); /* 64 keys with the same score, or the query's own alone */
    e->s = 64;
    *features &= F(QTEMP) | F(QPOS) | F(FCUM);
    if (h & 1) {
        *features |= F(CAUSAL) | F(WL);
        e->t = e->t > 64 ? 64 : e->t;
    }
}

static void make_edge(struct conform_case *c, struct extents *e, uint64_t h, uint32_t *features)
{
    struct tenon_attention_params *p = params_of(c);
    switch (c->number / 16 % 9) {
    case 0: { /* nothing along one axis */
        int64_t *const axes[4] = {&e->t, &e->s, &e->b, &e->s};
        *axes[h & 3] = 0;
        e->n = e->b;
        return;
    }
    case 1: /* scores moved far away */
    case 5:
        c->own[0] = ATT_FILL_SHIFT;
        p->weight = h & 3 ? A(SOFTPICK) : A(EXP);
        *features = (*features & ~F(SINK)) | F(LOGW);
        return;
    case 2:
        c->own[0] = ATT_FILL_NAN;
        *features |= h & 1 ? F(CAUSAL) : F(MASK);
        return;
    case 3:
        c->own[0] = ATT_FILL_LOW;
        c->own[2] = h & 1;
        *features = F(MASK);
        return;
    case 4: /* splits */
    case 6:
        *e = (struct extents){.b = 1, .t = h & 1 ? 1 : 3, .s = h & 2 ? 1025 : 2500, .hq = 4, .hk = 2, .d = 16, .v = 16};
        e->n = 1;
        *features |= h & 4 ? F(CAUSAL) : 0;
        return;
    case 7:
        c->own[0] = ATT_FILL_WIDE;
        p->unified = h & 1;
        c->own[2] = 4;
        return;
    default: /* a hint that holds, and p in 16 bits */
        p->unified = 1;
        p->fast = h & 1;
    }
}

/* kind of codes, for k, for v or for both; in pages at times. */
static void make_quantised(struct conform_case *c, struct extents *e, uint64_t h)
{
    e->d = e->d < 4 ? 4 : (e->d + 3) / 4 * 4;
    e->v = (e->v + 3) / 4 * 4;
    if (h >> 20 & 1) {
        e->page = 16;
        e->s = e->s < 16 ? 16 : e->s / 16 * 16;
    }
    (void)c;
}

static void set_codes(struct conform_case *c, const struct extents *e, uint64_t h)
{
    static const uint32_t bits[3] = {8, 4, 2};
    const uint64_t k = c->number / 16;
    if (k % 3 != 2)
        set_quant(c, e, 0, 1 + (uint32_t)(k % 4), bits[(k / 4 + k) % 3], h);
    if (k % 3 != 1)
        set_quant(c, e, 1, 1 + (uint32_t)((k + h % 2) % 4), bits[(k / 4 + k + h / 2) % 3], h >> 20);
}

/* Case 0: small and plain. */
static void make_plain(struct conform_case *c)
{
    struct extents e = {.b = 2, .t = 3, .s = 5, .hq = 4, .hk = 2, .d = 8, .v = 6, .n = 2};
    c->mode = CONFORM_RANDOM;
    finish(c, &e, 0, types[0], UINT64_C(3) << 44);
    name_case(c, &e);
}

static void attention_make(struct conform_case *c)
{
    const uint64_t n = c->number, k = n / 16, hash = conform_key(c, 100), h = conform_key(c, 102);
    const uint32_t about = (uint32_t)(n % 16);
    uint32_t features = about == DENSE || about == MORE_DENSE ? (h % 3 ? 0 : F(GATE)) : some_features(h);
    struct extents e;
    if (n == 0) {
        make_plain(c);
        return;
    }
    choose_extents(c, hash, &e);
    c->mode = about >= PACKED && about != QUANTISED ? CONFORM_ADVERSARIAL : CONFORM_RANDOM;
    c->own[0] = h >> 50 & 7 ? ATT_FILL_NORMAL : ATT_FILL_ZERO;
    if ((h >> 56 & 3) == 0 && (about <= CAUSAL || (about >= PACKED && about <= LIST)))
        c->own[0] = ATT_FILL_NAN;
    c->own[1] = about >= PACKED && about <= LIST && h >> 40 & 1;
    c->own[2] = h >> 53 & 1;
    if (about == CAUSAL)
        features = F(CAUSAL) | (h & 1 ? F(KV_LEN) : 0) | (h & 2 ? F(WL) : 0) | (h & 4 ? F(GATE) : 0);
    else if (about == ALONE || about == MORE_ALONE)
        features = 1u << (k * 2 + (about == MORE_ALONE)) % FEATURES;
    else if (about == PAIR || about == MORE_PAIRS)
        features = 1u << k % FEATURES | 1u << (k + 1 + (k / FEATURES * 2 + (about == MORE_PAIRS)) % 18) % FEATURES;
    else if (about == WEIGHT || about == MORE_WEIGHTS) {
        set_weight(c, k * 2 + (about == MORE_WEIGHTS), h >> 30);
        features &= ~F(SINK);
        c->own[0] = ATT_FILL_NORMAL;
        c->own[2] = 0;
    } else if (about == PACKED)
        make_packed(c, &e, h >> 20, &features);
    else if (about == PAGED) {
        e.page = h >> 20 & 1 ? 16 : 64;
        e.s = e.s < e.page ? e.page : e.s / e.page * e.page;
        features |= h >> 21 & 3 ? F(KV_LEN) : 0;
    } else if (about == RING) {
        params_of(c)->ring = 1;
        params_of(c)->n_sink = e.s > 4 ? (uint32_t)(h >> 20 & 3) : 0;
        features = (features | F(KV_LEN) | (h >> 22 & 1 ? F(CAUSAL) : 0)) & ~(F(KPOS) | F(SINKS));
        features |= h >> 23 & 1 ? F(QPOS) : 0;
    } else if (about == LIST)
        make_list(c, &e, h >> 20, &features);
    else if (about == QUANTISED)
        make_quantised(c, &e, h);
    else if (about == EXACT)
        make_exact(c, &e, h, &features);
    else if (about == EDGE)
        make_edge(c, &e, h >> 20, &features);
    finish(c, &e, features, about == EXACT || c->own[0] == ATT_FILL_LOW ? types[0] : types[(n + k) % 7], hash);
    if (about == QUANTISED)
        set_codes(c, &e, h);
    name_case(c, &e);
}

const struct conform_op tenon__conform_attention = {
    .op = TENON_OPNUM_attention,
    .cases = {QUICK_CASES, FULL_CASES, SOAK_CASES},
    .make = attention_make,
    .fill = tenon__att_suite_fill,
    .expect = tenon__conform_attention_expect,
    .check = tenon__conform_attention_check,
    .mpfr = tenon__conform_attention_mpfr,
    .n_hostile = ATT_HOSTILE,
    .hostile = tenon__att_suite_hostile,
    .n_properties = ATT_PROPERTIES,
    .properties = tenon__att_suite_properties,
    .n_bench = ATT_BENCHES,
    .bench = tenon__att_suite_benches,
    .bench_make = tenon__att_suite_bench,
};
