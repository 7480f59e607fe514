/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: what its cases hold. What no query sees stays poison, which is NaN: masked keys, free slots of caches,
 * tails of pages, slots of a ring that hold nothing, keys of blocks that are not listed, queries that see nothing. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "attention_suite.h"

#define A(NAME) TENON_ATTENTION_##NAME

static int64_t below(uint64_t key, uint64_t i, int64_t n)
{
    return n > 0 ? (int64_t)conform_below(key, i, (uint64_t)n) : 0;
}

/* ---- indices ---- */

static const int32_t wild[4] = {INT_MIN, INT_MAX, -2, INT_MAX - 1};

/* Lengths: 0, all, or between; of a ring often more than there are slots. */
static int32_t kv_len(const struct att *a, uint64_t key, int64_t i)
{
    const uint64_t r = conform_random(key, (uint64_t)i);
    if (a->c->own[1] && r % 4 == 0)
        return a->p->ring ? wild[(r >> 8 & 1) * 2] : wild[r >> 8 & 3];
    if (a->p->ring)
        return (int32_t)((r >> 8) % (uint64_t)(3 * a->s + 1));
    return r % 8 == 0 ? 0 : r % 4 == 1 ? (int32_t)a->s : (int32_t)((r >> 8) % (uint64_t)(a->s + 1));
}

/* Ascending with gaps, or in any order. */
static int32_t kpos(const struct att *a, uint64_t key, int64_t i)
{
    const uint64_t r = conform_random(key, (uint64_t)i);
    const int64_t at = i % (a->s ? a->s : 1);
    return r % 29 == 3 ? wild[r >> 8 & 3]
                       : (int32_t)(key & 1 ? at * 2 - 3 + (int64_t)(r & 1) : below(key, (uint64_t)i, a->s));
}

static int32_t bound_of(const struct att *a, uint64_t key, int64_t i)
{
    const uint64_t r = conform_random(key, (uint64_t)(i / 2));
    const int64_t lo = (int64_t)(r >> 8) % (a->s + 4) - 2, width = (int64_t)(r >> 40) % (a->s + 2);
    if (r % 11 == 0)
        return i % 2 ? INT_MAX : INT_MIN;
    return (int32_t)(i % 2 ? lo + width : lo);
}

static int32_t page_of(const struct att *a, uint64_t key, int64_t i)
{
    const uint64_t r = conform_random(key, (uint64_t)i);
    int64_t step = below(key, 1u << 20, a->pages) | 1;
    if (r % 9 == 4)
        return -1;
    if (a->c->own[1] && r % 5 == 0)
        return r >> 8 & 1 ? (int32_t)a->pages : wild[r >> 9 & 3];
    while (a->pages % step == 0 && step > 1) /* a step through all pages */
        step -= 2;
    return (int32_t)(a->pages ? (i * step + 1) % a->pages : 0);
}

static void fill_offsets(const struct att *a, uint64_t key, int64_t n, int64_t most, int32_t *to)
{
    int64_t at = key % 5 == 0 ? below(key, 1u << 20, 3) : 0;
    for (int64_t i = 0; i <= n; i++) {
        const uint64_t r = conform_random(key, (uint64_t)i);
        to[i] = (int32_t)(at < most ? at : most);
        at += r % 5 == 0 ? 0 : (int64_t)((r >> 8) % (uint64_t)(2 * most / (n + 1) + 2));
        if (a->c->own[1] && (r >> 40) % 4 == 0)
            to[i] = r >> 50 & 1 ? wild[r >> 51 & 3] : (int32_t)(most + 2 - (int64_t)((r >> 52) % 5));
    }
    if (!a->c->own[1] && key % 3)
        to[n] = (int32_t)most;
}

/* Of each row some blocks, at times none, at times all. */
static void fill_list(const struct att *a, uint64_t key, int32_t *row_ptr, int32_t *col)
{
    const int64_t blocks = (a->s + a->p->block_k - 1) / a->p->block_k, rows = a->b * a->hg * a->nq;
    int64_t at = 0;
    for (int64_t row = 0; row < rows; row++) {
        const uint64_t r = conform_random(key, (uint64_t)row);
        const uint64_t part = r % 7 == 0 ? 0 : r % 7 == 1 ? 8 : r % 7;
        const int64_t to = row + row / a->nq;
        row_ptr[to] = (int32_t)at;
        for (int64_t block = 0; block < blocks && at < a->nnz; block++) {
            const uint64_t take = conform_random(key, (uint64_t)(row * blocks + block) + (UINT64_C(1) << 40));
            if (take % 8 >= part)
                continue;
            col[at++] = (int32_t)block;
            if (a->c->own[1] && take >> 8 & 1 && at < a->nnz)
                col[at++] = take >> 9 & 1 ? wild[take >> 10 & 3] : (int32_t)((int64_t)(take >> 12) % (blocks + 2)) - 1;
        }
        row_ptr[to + 1] = (int32_t)at;
    }
    for (; at < a->nnz; at++)
        col[at] = 0;
    for (int64_t row = 0; a->c->own[1] && row < rows; row++)
        if (conform_random(key, (uint64_t)row + (UINT64_C(1) << 41)) % 6 == 0)
            row_ptr[row + row / a->nq + 1] = wild[row & 3];
}

static void fill_ints(const struct att *a, uint32_t tensor, int32_t *to)
{
    const int64_t n = tenon_tensor_count(&a->c->slot[tensor].tensor);
    const uint64_t key = conform_key(a->c, tensor);
    if (tensor == A(CU_Q) || tensor == A(CU_K)) {
        fill_offsets(a, key, n - 1, tensor == A(CU_Q) ? a->t : a->s, to);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        to[i] = tensor == A(KV_LEN)       ? kv_len(a, key, i)
                : tensor == A(KPOS)       ? kpos(a, key, i)
                : tensor == A(QPOS)       ? (int32_t)below(key, (uint64_t)i, 2 * a->s + 5) - 3
                : tensor == A(BOUNDS)     ? bound_of(a, key, i)
                : tensor == A(PAGE_TABLE) ? page_of(a, key, i)
                : conform_random(key, (uint64_t)i) % 6 == 0
                    ? 0 /* keep */
                    : (int32_t)(uint32_t)(conform_random(key, (uint64_t)i) | conform_random(key + 1, (uint64_t)i) >> 9);
}

static int is_index(uint32_t tensor)
{
    return (tensor >= A(PAGE_TABLE) && tensor <= A(KEEP)) || tensor == A(ROW_PTR) || tensor == A(COL);
}

/* A benchmark's: everything is there. */
static void fill_bench(const struct att *a, uint32_t tensor, int32_t *to)
{
    const int64_t blocks = (a->s + a->p->block_k - 1) / a->p->block_k,
                  each = a->hg ? a->nnz / (a->b * a->hg * a->nq) : 0;
    for (int64_t i = 0; i < tenon_tensor_count(&a->c->slot[tensor].tensor); i++)
        to[i] = tensor == A(KV_LEN)    ? (int32_t)(a->p->ring ? a->s + a->s / 2 + 5 : a->s) /* a ring is somewhere */
                : tensor == A(ROW_PTR) ? (int32_t)((i - i / (a->nq + 1)) * each)
                : tensor == A(COL)     ? (int32_t)(i % each * blocks / each)
                                       : (int32_t)i;
}

/* Ints of `tensor` are written to `to`. */
static void write_ints(const struct conform_case *c, uint32_t tensor, int32_t *to)
{
    struct att a;
    tenon__att_open(&a, c);
    if (c->own[0] == ATT_FILL_BENCH) {
        fill_bench(&a, tensor, to);
    } else if (tensor == A(ROW_PTR) || tensor == A(COL)) {
        const int64_t rows = tenon_tensor_count(&c->slot[A(ROW_PTR)].tensor);
        int32_t *both = calloc((size_t)(rows + a.nnz + 1), sizeof(*both));
        if (!both)
            return;
        fill_list(&a, conform_key(c, tensor == A(COL) ? A(ROW_PTR) : tensor), both, both + rows);
        memcpy(to, tensor == A(ROW_PTR) ? both : both + rows,
               sizeof(*to) * (size_t)tenon_tensor_count(&c->slot[tensor].tensor));
        free(both);
    } else {
        fill_ints(&a, tensor, to);
    }
}

/* ---- what is seen ---- */

struct seen {
    unsigned char *key;   /* [Bk,S,Hk] */
    unsigned char *row;   /* rows of k and v, as tenon__att_row numbers them */
    unsigned char *query; /* [B,T,Hq] */
    unsigned char *mask;  /* elements of mask whose key is seen otherwise */
    unsigned char *entry; /* of col */
    unsigned char *key_q; /* [Bk,S,Hq] */
};

/* Whether an element of mask is -Inf. */
static int hidden(const struct conform_case *c, int64_t i)
{
    const uint64_t r = conform_random(conform_key(c, 130), (uint64_t)i);
    return c->own[0] != ATT_FILL_LOW && r % 4 == 0;
}

static void see(const struct att *a, struct seen *s, const struct att_seq *q, int64_t h, int64_t i,
                struct att_key *keys)
{
    const int64_t n = tenon__att_keys(a, q, h, i, keys), hk = h / (a->hq / a->hk);
    const int masked = tenon__att_has(a, A(MASK));
    for (int64_t x = 0; x < n; x++) {
        const int64_t mask = masked ? tenon__att_mask(a, q, h, i, keys[x].slot) : 0;
        if (masked)
            s->mask[mask] = 1;
        if (masked && hidden(a->c, mask))
            continue;
        s->query[(q->b * a->t + q->q0 + i) * a->hq + h] = 1;
        s->key[(q->row * a->s + keys[x].slot) * a->hk + hk] = 1;
        s->key_q[(q->row * a->s + keys[x].slot) * a->hq + h] = 1;
        s->row[tenon__att_row(a, q, keys[x].slot, hk)] = 1;
        if (keys[x].entry >= 0)
            s->entry[keys[x].entry] = 1;
    }
}

static size_t count_of(const struct conform_case *c, uint32_t tensor)
{
    return c->slot[tensor].tensor.dtype ? (size_t)tenon_tensor_count(&c->slot[tensor].tensor) : 0;
}

/* 0: out of memory. free() of s->key frees all of it. */
static int look(const struct conform_case *c, struct seen *s)
{
    struct conform_case indices = *c;
    struct att_key *keys;
    struct att a;
    int good = 1;
    for (uint32_t i = 0; i < c->n; i++) {
        indices.slot[i].data = NULL;
        if (!is_index(i) || !c->slot[i].tensor.dtype)
            continue;
        indices.slot[i].lead = 0;
        indices.slot[i].data = malloc(4 * count_of(c, i) + 1);
        good &= indices.slot[i].data != NULL;
        if (good)
            write_ints(c, i, (int32_t *)(void *)indices.slot[i].data);
    }
    tenon__att_open(&a, &indices);
    const size_t slots = (size_t)((a.varlen && !a.page ? 1 : a.n) * a.s);
    const size_t rows = (size_t)(a.page ? a.pages * a.page * a.hk : a.b * a.s * a.hk);
    const size_t sizes[6] = {slots * (size_t)a.hk,       rows,
                             (size_t)(a.b * a.t * a.hq), count_of(c, A(MASK)),
                             count_of(c, A(COL)),        slots * (size_t)a.hq};
    unsigned char **parts[6] = {&s->key, &s->row, &s->query, &s->mask, &s->entry, &s->key_q};
    s->key = calloc(sizes[0] + sizes[1] + sizes[2] + sizes[3] + sizes[4] + sizes[5] + 1, 1);
    keys = malloc(sizeof(*keys) * (size_t)(a.s + 1));
    good &= s->key && keys;
    for (int i = 1; good && i < 6; i++)
        *parts[i] = *parts[i - 1] + sizes[i - 1];
    for (int64_t n = 0; good && n < a.n; n++) {
        const struct att_seq q = tenon__att_seq(&a, n);
        for (int64_t h = 0; h < a.hq; h++)
            for (int64_t i = 0; i < q.t; i++)
                see(&a, s, &q, h, i, keys);
    }
    free(keys);
    for (uint32_t i = 0; i < c->n; i++)
        free(indices.slot[i].data);
    if (!good)
        free(s->key);
    return good;
}

/* ---- floats ---- */

static double power(int64_t exponent)
{
    double x = 1;
    for (; exponent > 0; exponent--)
        x *= 2;
    for (; exponent < 0; exponent++)
        x /= 2;
    return x;
}

/* q, k, v: element i of rows of `width`. */
static double main_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t i, int64_t width)
{
    const uint64_t r = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const uint32_t weight = ((const struct tenon_attention_params *)(const void *)c->params)->weight;
    switch (c->own[0]) {
    case ATT_FILL_EXACT:
        if (tensor == A(Q) && weight == A(EXP))
            return 0;
        return tensor == A(V) ? (double)(r % 9) - 4 : i % width % (width / 4 + 1) == 0 ? (double)(r % 3) - 1 : 0;
    case ATT_FILL_ZERO:
    case ATT_FILL_LOW:
        return tensor == A(Q) ? 0 : normal;
    case ATT_FILL_NAN: /* one in some rows */
        if (conform_random(key + 7, (uint64_t)(i / width)) % 23 < 2 && i % width == (int64_t)(r >> 20) % width)
            return (double)conform_bits_float(0x7fc00000);
        return normal;
    case ATT_FILL_BENCH:
        return (double)((uint32_t)i * 2654435761u >> 8) * 0x1p-23 - 1;
    default:
        return tensor == A(Q) ? normal * power((int64_t)c->own[2]) : normal;
    }
}

static double mask_value(const struct conform_case *c, uint64_t key, int64_t i)
{
    const uint64_t r = conform_random(key, (uint64_t)i);
    if (hidden(c, i))
        return -(double)INFINITY;
    if (c->own[0] == ATT_FILL_LOW)
        return c->slot[A(MASK)].tensor.dtype == TENON_F16 ? -60000 : c->own[2] ? -1e9 : -0x1.fep127;
    return c->own[0] == ATT_FILL_EXACT ? 0 : r % 3 ? 0 : (double)conform_normal(key, (uint64_t)i);
}

/* Ones and twos where what is computed is to be exact. */
static double side_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t i)
{
    const struct tenon_attention_params *p = (const void *)c->params;
    const double normal = (double)conform_normal(key, (uint64_t)i), flat = (double)conform_uniform(key, (uint64_t)i);
    const int exact = c->own[0] == ATT_FILL_EXACT;
    switch (tensor) {
    case A(SLOPE):
        return exact ? 0.5 : 0.01 + 0.05 * flat;
    case A(FCUM):
    case A(FCUM_K):
        return exact ? 0 : -4 * flat;
    case A(QTEMP):
        return exact ? 1 : 0.5 + flat;
    case A(VSCALE):
        return exact ? (i % 3 ? 1 : 2) : (i % 7 ? 0.5 + flat : -1.5);
    case A(LOGW):
        if (c->own[0] == ATT_FILL_SHIFT)
            return (conform_key(c, 131) & 1 ? -200 : 80) + flat;
        return exact ? 0 : i % 13 == 5 ? -(double)INFINITY : normal;
    case A(GATE):
        return exact ? (i % 3 ? 1 : 0.5) : 2 * normal;
    case A(SINK_LOGIT):
        return i % 4 == 3 ? 30 * normal : normal;
    case A(K_TABLE):
    case A(V_TABLE):
        return ((double)i + 0.5 + 0.3 * flat) * 2 / (double)tenon_tensor_count(&c->slot[tensor].tensor) - 1;
    default: { /* pairs of the quantisers: scale, offset */
        const uint32_t bits = tensor == A(K_QUANT) ? p->k_bits : p->v_bits;
        const uint32_t kind = tensor == A(K_QUANT) ? p->quant_k : p->quant_v;
        if (kind >= A(LUT_TOKEN))
            return i % 2 ? normal * 0.25 : 0.5 + 2 * flat;
        return i % 2 ? (0.5 + 0.1 * normal) * (double)((1u << bits) - 1) : (1 + 3 * flat) / (double)((1u << bits) - 1);
    }
    }
}

/* Whether element i of a tensor of floats or codes is ever used. */
static int is_seen(const struct att *a, const struct seen *s, uint32_t tensor, int64_t i)
{
    const struct tenon_tensor *t = &a->c->slot[tensor].tensor;
    switch (tensor) {
    case A(Q):
        return s->query[i / a->d];
    case A(FCUM):
    case A(QTEMP):
        return s->query[i];
    case A(K):
    case A(V):
        return s->row[i / t->dim[3]];
    case A(K_QUANT):
    case A(V_QUANT):
        return t->rank == 3 || s->row[i / (t->dim[3] * 2)];
    case A(MASK):
        return s->mask[i];
    case A(FCUM_K):
        return s->key_q[i];
    case A(LOGW):
        return t->rank == 1 ? s->entry[i] : s->key[i];
    case A(VSCALE):
        return s->key[i];
    default:
        return 1;
    }
}

static double value_of(const struct att *a, uint32_t tensor, uint64_t key, int64_t i)
{
    const struct conform_case *c = a->c;
    if (c->slot[tensor].tensor.dtype == TENON_U8)
        return (double)(conform_random(key, (uint64_t)i) & 255);
    if (tensor <= A(V))
        return main_value(c, tensor, key, i, tensor == A(V) ? a->v : a->d);
    return tensor == A(MASK) ? mask_value(c, key, i) : side_value(c, tensor, key, i);
}

static void fill_floats(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const uint64_t key = conform_key(c, tensor);
    struct seen s = {NULL, NULL, NULL, NULL, NULL, NULL};
    struct att a;
    tenon__att_open(&a, c);
    const int all = c->own[0] == ATT_FILL_BENCH;
    if (!all && !look(c, &s))
        return;
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        if (all || is_seen(&a, &s, tensor, i))
            conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                        value_of(&a, tensor, key, i));
    free(s.key);
}

void tenon__att_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    if (!is_index(tensor)) {
        fill_floats(c, tensor);
        return;
    }
    int32_t *to = malloc(4 * count_of(c, tensor) + 1);
    if (!to)
        return;
    write_ints(c, tensor, to);
    memcpy(conform_first(slot), to, 4 * count_of(c, tensor));
    free(to);
}
