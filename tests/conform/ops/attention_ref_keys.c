/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Who sees whom: the rules of visibility of tenon/ops/attention.h, one key after another. */
#include <limits.h>
#include <math.h>
#include "attention_suite_ref.h"

#define A(NAME) TENON_ATTENTION_##NAME

void tenon__att_open(struct att *a, const struct conform_case *c)
{
    const struct conform_slot *s = c->slot;
    *a = (struct att){.c = c, .p = (const void *)c->params};
    a->b = s[A(Q)].tensor.dim[0];
    a->t = s[A(Q)].tensor.dim[1];
    a->hq = s[A(Q)].tensor.dim[2];
    a->d = s[A(Q)].tensor.dim[3];
    a->v = s[A(O)].tensor.dim[3];
    a->n = a->b;
    if (tenon__att_has(a, A(PAGE_TABLE))) {
        a->pages = s[A(K)].tensor.dim[0];
        a->hk = s[A(K)].tensor.dim[1];
        a->page = s[A(K)].tensor.dim[2];
        a->row_pages = tenon__att_dim(a, A(PAGE_TABLE), 1);
        a->s = a->row_pages * a->page;
    } else {
        a->s = s[A(K)].tensor.dim[1];
        a->hk = s[A(K)].tensor.dim[2];
    }
    if (tenon__att_has(a, A(CU_Q))) {
        a->varlen = 1;
        a->n = tenon__att_dim(a, A(CU_Q), 0) - 1;
    }
    if (tenon__att_has(a, A(ROW_PTR))) {
        a->hg = tenon__att_dim(a, A(ROW_PTR), 1);
        a->nq = tenon__att_dim(a, A(ROW_PTR), 2) - 1;
        a->nnz = tenon__att_dim(a, A(COL), 0);
    }
}

/* Entry i of a list of offsets: at least the one before, at most `most`. */
static int64_t clamped(const struct att *a, uint32_t tensor, int64_t i, int64_t most)
{
    int64_t at = 0;
    for (int64_t k = 0; k <= i; k++) {
        const int64_t given = (int64_t)tenon__att_get(a, tensor, k);
        at = given > at ? given : at;
        at = at > most ? most : at;
    }
    return at;
}

struct att_seq tenon__att_seq(const struct att *a, int64_t n)
{
    struct att_seq q = {.n = n, .b = n, .row = n, .t = a->t, .s = a->s};
    if (a->varlen) {
        q.b = 0;
        q.q0 = clamped(a, A(CU_Q), n, a->t);
        q.t = clamped(a, A(CU_Q), n + 1, a->t) - q.q0;
    }
    if (a->varlen && !a->page) {
        const uint32_t cu_k = tenon__att_has(a, A(CU_K)) ? A(CU_K) : A(CU_Q);
        q.row = 0;
        q.k0 = clamped(a, cu_k, n, a->s);
        q.s = clamped(a, cu_k, n + 1, a->s) - q.k0;
    }
    q.len = q.s;
    if (tenon__att_has(a, A(KV_LEN))) {
        const int64_t len = (int64_t)tenon__att_get(a, A(KV_LEN), n);
        q.len = len < 0 ? 0 : len > q.s && !a->p->ring ? q.s : len;
    }
    return q;
}

/* The first index of a tensor that may have one row for all. */
static int64_t lead(const struct att *a, uint32_t tensor, int64_t row)
{
    return tenon__att_dim(a, tensor, 0) > 1 ? row : 0;
}

int64_t tenon__att_qpos(const struct att *a, const struct att_seq *q, int64_t i)
{
    return tenon__att_has(a, A(QPOS)) ? (int64_t)tenon__att_get(a, A(QPOS), lead(a, A(QPOS), q->b) * a->t + q->q0 + i)
                                      : q->len - q->t + i;
}

/* The position of a slot of a sequence; INT64_MIN: nothing is there. */
static int64_t position(const struct att *a, const struct att_seq *q, int64_t slot)
{
    const int64_t sinks = a->p->n_sink, local = slot - q->k0, ring = q->s - sinks;
    if (local >= q->len)
        return INT64_MIN;
    if (a->p->ring)
        return local < sinks ? local : local + (q->len - 1 - local) / ring * ring;
    return tenon__att_has(a, A(KPOS)) ? (int64_t)tenon__att_get(a, A(KPOS), lead(a, A(KPOS), q->row) * a->s + slot)
                                      : local;
}

static int kept(const struct att *a, const struct att_seq *q, int64_t hk, int64_t slot)
{
    if (!tenon__att_has(a, A(KEEP)))
        return 1;
    const int64_t b = lead(a, A(KEEP), q->row), heads = tenon__att_dim(a, A(KEEP), 1);
    const int64_t words = tenon__att_dim(a, A(KEEP), 2);
    const uint32_t word = (uint32_t)tenon__att_get(a, A(KEEP), (b * heads + (heads > 1 ? hk : 0)) * words + slot / 32);
    return word >> slot % 32 & 1;
}

/* Where the entries of a row of the list begin and end; whether one of them is not what row_ptr says. */
static int list_ends(const struct att *a, int64_t row, int64_t *from, int64_t *to)
{
    const int64_t first = (int64_t)tenon__att_get(a, A(ROW_PTR), row + row / a->nq);
    const int64_t end = (int64_t)tenon__att_get(a, A(ROW_PTR), row + row / a->nq + 1);
    *from = first < 0 ? 0 : first > a->nnz ? a->nnz : first;
    *to = end > a->nnz ? a->nnz : end;
    *to = *to < *from ? *from : *to;
    return *from != first || *to != end;
}

int64_t tenon__att_list(const struct att *a, int64_t row, int64_t *entries, int64_t *odd)
{
    const int64_t blocks = (a->s + a->p->block_k - 1) / a->p->block_k;
    int64_t from, to, last = -1, n = 0;
    *odd = list_ends(a, row, &from, &to);
    for (int64_t e = from; e < to; e++) {
        const int64_t col = (int64_t)tenon__att_get(a, A(COL), e);
        if (col <= last || col >= blocks) {
            ++*odd;
            continue;
        }
        last = col;
        if (entries)
            entries[n] = e;
        n++;
    }
    return n;
}

/* The entry of col that lists a block for a query; -1: it is not listed, -2: there is no list. */
static int64_t listed(const struct att *a, const struct att_seq *q, int64_t h, int64_t i, int64_t block)
{
    if (!a->hg)
        return -2;
    const int64_t row = (q->b * a->hg + h / (a->hq / a->hg)) * a->nq + i / a->p->block_q;
    int64_t from, to, last = -1;
    list_ends(a, row, &from, &to);
    for (int64_t e = from; e < to; e++) {
        const int64_t col = (int64_t)tenon__att_get(a, A(COL), e);
        if (col <= last || col * a->p->block_k >= a->s)
            continue;
        last = col;
        if (col == block)
            return e;
    }
    return -1;
}

int64_t tenon__att_row(const struct att *a, const struct att_seq *q, int64_t slot, int64_t hk)
{
    if (!a->page)
        return (q->row * a->s + slot) * a->hk + hk;
    const int64_t page = (int64_t)tenon__att_get(a, A(PAGE_TABLE), q->n * a->row_pages + slot / a->page);
    return page < 0 || page >= a->pages ? -1 : (page * a->hk + hk) * a->page + slot % a->page;
}

int64_t tenon__att_mask(const struct att *a, const struct att_seq *q, int64_t h, int64_t i, int64_t slot)
{
    const int64_t b = lead(a, A(MASK), q->b), heads = tenon__att_dim(a, A(MASK), 1);
    const int64_t rows = tenon__att_dim(a, A(MASK), 2), row = rows > 1 ? q->q0 + i : 0;
    return ((b * heads + (heads > 1 ? h : 0)) * rows + row) * a->s + slot;
}

/* The window and the bounds. */
static int reaches(const struct att *a, const struct att_seq *q, int64_t i, int64_t qpos, int64_t kpos)
{
    const struct tenon_attention_params *p = a->p;
    if (p->causal && kpos > qpos)
        return 0;
    if (p->wl != TENON_ATTENTION_ANY && kpos < qpos - (int64_t)p->wl && kpos >= (int64_t)p->n_sink)
        return 0;
    if (p->wr != TENON_ATTENTION_ANY && kpos > qpos + (int64_t)p->wr)
        return 0;
    if (!tenon__att_has(a, A(BOUNDS)))
        return 1;
    const int64_t at = (lead(a, A(BOUNDS), q->b) * a->t + q->q0 + i) * 2;
    return kpos >= (int64_t)tenon__att_get(a, A(BOUNDS), at) && kpos < (int64_t)tenon__att_get(a, A(BOUNDS), at + 1);
}

int64_t tenon__att_keys(const struct att *a, const struct att_seq *q, int64_t h, int64_t i, struct att_key *to)
{
    const int64_t qpos = tenon__att_qpos(a, q, i), hk = h / (a->hq / a->hk);
    int64_t n = 0, block = -1, entry = -2;
    for (int64_t slot = q->k0; slot < q->k0 + q->s; slot++) {
        const int64_t kpos = position(a, q, slot);
        if (a->hg && slot / a->p->block_k != block) {
            block = slot / a->p->block_k;
            entry = listed(a, q, h, i, block);
        }
        if (entry == -1 || kpos == INT64_MIN || !reaches(a, q, i, qpos, kpos) || !kept(a, q, hk, slot) ||
            tenon__att_row(a, q, slot, hk) < 0)
            continue;
        to[n++] = (struct att_key){slot, kpos, entry};
    }
    return n;
}

/* Entries of cu_q or cu_k that are not what they say. */
static int64_t odd_offsets(const struct att *a, uint32_t tensor, int64_t most)
{
    int64_t odd = 0;
    for (int64_t i = 0; tenon__att_has(a, tensor) && i < tenon__att_dim(a, tensor, 0); i++)
        odd += clamped(a, tensor, i, most) != (int64_t)tenon__att_get(a, tensor, i);
    return odd;
}

int64_t tenon__att_odd(const struct att *a)
{
    int64_t odd = odd_offsets(a, A(CU_Q), a->t) + odd_offsets(a, A(CU_K), a->s), some;
    for (int64_t n = 0; n < a->n; n++) {
        const struct att_seq q = tenon__att_seq(a, n);
        const int64_t given = tenon__att_has(a, A(KV_LEN)) ? (int64_t)tenon__att_get(a, A(KV_LEN), n) : q.len;
        odd += given != q.len;
        for (int64_t i = 0; a->page && i * a->page < q.len && i < a->row_pages; i++) {
            const int64_t page = (int64_t)tenon__att_get(a, A(PAGE_TABLE), n * a->row_pages + i);
            odd += page < -1 || page >= a->pages;
        }
    }
    for (int64_t row = 0; a->hg && row < a->b * a->hg * a->nq; row++) {
        tenon__att_list(a, row, NULL, &some);
        odd += some;
    }
    return odd;
}
