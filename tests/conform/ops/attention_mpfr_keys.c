/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Whether a row of attention sees a key, asked of each key anew, from section 2 and 3 of tenon/ops/attention.h. */
#include "attention_suite_mpfr.h"
#include <limits.h>
#include <math.h>

#define A(NAME) TENON_ATTENTION_##NAME

static int has(const struct mp_row *r, uint32_t tensor)
{
    return r->c->slot[tensor].tensor.dtype != 0;
}

static const int64_t *dims(const struct mp_row *r, uint32_t tensor)
{
    return r->c->slot[tensor].tensor.dim;
}

static int64_t whole(const struct mp_row *r, uint32_t tensor, int64_t index)
{
    return (int64_t)tenon__mp_get(r->c, tensor, index);
}

static int64_t within(int64_t x, int64_t least, int64_t most)
{
    return x < least ? least : x > most ? most : x;
}

void tenon__mp_open(struct mp_row *r, const struct conform_case *c)
{
    *r = (struct mp_row){.c = c, .p = (const void *)c->params};
    r->b = dims(r, A(Q))[0];
    r->t = dims(r, A(Q))[1];
    r->hq = dims(r, A(Q))[2];
    r->d = dims(r, A(Q))[3];
    r->v = dims(r, A(O))[3];
    r->heads_k = dims(r, A(K))[has(r, A(PAGE_TABLE)) ? 1 : 2];
    r->s = has(r, A(PAGE_TABLE)) ? dims(r, A(PAGE_TABLE))[1] * dims(r, A(K))[2] : dims(r, A(K))[1];
}

/* Where sequence n begins by a list of offsets that may not be monotone. */
static int64_t begins(const struct mp_row *r, uint32_t tensor, int64_t n, int64_t most)
{
    int64_t least = 0;
    for (int64_t i = 0; i < n; i++)
        least = within(whole(r, tensor, i), least, most);
    return within(whole(r, tensor, n), least, most);
}

static void find_sequence(struct mp_row *r)
{
    r->seq = r->batch;
    r->first_q = r->first_k = 0;
    r->own_t = r->t;
    r->own_s = r->s;
    if (!has(r, A(CU_Q)))
        return;
    const int64_t n = dims(r, A(CU_Q))[0] - 1;
    r->seq = -1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = begins(r, A(CU_Q), i, r->t), to = begins(r, A(CU_Q), i + 1, r->t);
        if (r->query < from || r->query >= to)
            continue;
        r->seq = i;
        r->first_q = from;
        r->own_t = to - from;
        if (!has(r, A(PAGE_TABLE))) {
            const uint32_t cu = has(r, A(CU_K)) ? A(CU_K) : A(CU_Q);
            r->first_k = begins(r, cu, i, r->s);
            r->own_s = begins(r, cu, i + 1, r->s) - r->first_k;
        }
    }
}

void tenon__mp_row(struct mp_row *r, int64_t row)
{
    r->row = row;
    r->h = row % r->hq;
    r->hk = r->h / (r->hq / r->heads_k);
    r->query = row / r->hq % r->t;
    r->batch = row / r->hq / r->t;
    find_sequence(r);
    if (r->seq < 0)
        return;
    r->len = r->own_s;
    if (has(r, A(KV_LEN)))
        r->len = within(whole(r, A(KV_LEN), r->seq), 0, r->p->ring ? INT64_MAX : r->own_s);
    r->qpos = r->len - r->own_t + r->query - r->first_q;
    if (has(r, A(QPOS)))
        r->qpos = whole(r, A(QPOS), (dims(r, A(QPOS))[0] == 1 ? 0 : r->batch) * r->t + r->query);
}

int64_t tenon__mp_slot(const struct mp_row *r, int64_t j)
{
    return (has(r, A(CU_Q)) && !has(r, A(PAGE_TABLE)) ? 0 : r->seq) * r->s + j;
}

int64_t tenon__mp_kv_row(const struct mp_row *r, int64_t j)
{
    if (!has(r, A(PAGE_TABLE)))
        return ((has(r, A(CU_Q)) ? 0 : r->batch) * r->s + j) * r->heads_k + r->hk;
    const int64_t rows = dims(r, A(K))[2], page = whole(r, A(PAGE_TABLE), r->seq * (r->s / rows) + j / rows);
    return page >= 0 && page < dims(r, A(K))[0] ? (page * r->heads_k + r->hk) * rows + j % rows : -1;
}

/* In a ring: the last position that was written to the row, by walking back from the newest. */
static int64_t ring_position(const struct mp_row *r, int64_t j)
{
    const int64_t sinks = r->p->n_sink, around = r->s - sinks;
    if (j < sinks)
        return j < r->len ? j : -1;
    for (int64_t p = r->len - 1; p >= sinks && p >= r->len - around; p--)
        if (sinks + (p - sinks) % around == j)
            return p;
    return -1;
}

int64_t tenon__mp_kpos(const struct mp_row *r, int64_t j)
{
    if (r->p->ring)
        return ring_position(r, j);
    if (!has(r, A(KPOS)))
        return j - r->first_k;
    return whole(r, A(KPOS), (dims(r, A(KPOS))[0] == 1 ? 0 : r->seq) * r->s + j);
}

double tenon__mp_mask(const struct mp_row *r, int64_t j)
{
    const int64_t *d = dims(r, A(MASK));
    const int64_t b = d[0] == 1 ? 0 : r->batch, h = d[1] == 1 ? 0 : r->h, t = d[2] == 1 ? 0 : r->query;
    return tenon__mp_get(r->c, A(MASK), ((b * d[1] + h) * d[2] + t) * d[3] + j);
}

int64_t tenon__mp_entry(const struct mp_row *r, int64_t j)
{
    const int64_t *d = dims(r, A(ROW_PTR)), nnz = dims(r, A(COL))[0], wide = r->p->block_k;
    const int64_t at = (r->batch * d[1] + r->h / (r->hq / d[1])) * d[2] + r->query / r->p->block_q;
    const int64_t from = within(whole(r, A(ROW_PTR), at), 0, nnz), to = within(whole(r, A(ROW_PTR), at + 1), from, nnz);
    int64_t highest = -1;
    for (int64_t e = from; e < to; e++) {
        const int64_t col = whole(r, A(COL), e);
        if (col < 0 || col * wide >= r->s)
            continue;
        if (col == j / wide && col > highest)
            return e;
        highest = col > highest ? col : highest;
    }
    return -1;
}

static int in_window(const struct mp_row *r, int64_t kpos)
{
    const struct tenon_attention_params *p = r->p;
    const int64_t before = r->qpos - kpos; /* how far back it is */
    if (p->causal && before < 0)
        return 0;
    if (p->wl < A(ANY) && before > (int64_t)p->wl && !(kpos < (int64_t)p->n_sink))
        return 0;
    return p->wr >= A(ANY) || -before <= (int64_t)p->wr;
}

int tenon__mp_sees(const struct mp_row *r, int64_t j)
{
    if (r->seq < 0 || j < r->first_k || j >= r->first_k + r->own_s || j - r->first_k >= r->len)
        return 0;
    const int64_t kpos = tenon__mp_kpos(r, j);
    if ((r->p->ring && kpos < 0) || !in_window(r, kpos) || tenon__mp_kv_row(r, j) < 0)
        return 0;
    if (has(r, A(BOUNDS))) {
        const int64_t at = ((dims(r, A(BOUNDS))[0] == 1 ? 0 : r->batch) * r->t + r->query) * 2;
        if (kpos < whole(r, A(BOUNDS), at) || kpos >= whole(r, A(BOUNDS), at + 1))
            return 0;
    }
    if (has(r, A(KEEP))) {
        const int64_t *d = dims(r, A(KEEP)), b = d[0] == 1 ? 0 : tenon__mp_slot(r, j) / r->s;
        const uint32_t word = (uint32_t)whole(r, A(KEEP), (b * d[1] + (d[1] == 1 ? 0 : r->hk)) * d[2] + j / 32);
        if (!(word >> (uint32_t)(j % 32) & 1))
            return 0;
    }
    if (has(r, A(MASK)) && tenon__mp_mask(r, j) == -(double)INFINITY)
        return 0;
    return !has(r, A(ROW_PTR)) || tenon__mp_entry(r, j) >= 0;
}
