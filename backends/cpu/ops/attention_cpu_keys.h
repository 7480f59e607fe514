/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: which keys there are. Sequences, the keys in the places of a tile, what a row sees of them. */
#ifndef TENON_ATTENTION_CPU_KEYS_H
#define TENON_ATTENTION_CPU_KEYS_H

#include "ops/attention_cpu.h"

/* ---- sequences ---- */

/* Packed: where sequences begin, each at or after the end of the one before and within `most`. The entries changed. */
static uint32_t att_mend(const int32_t *cu, int64_t n, int64_t most, int64_t *to)
{
    uint32_t changed = 0;
    int64_t last = 0;
    for (int64_t i = 0; i <= n; i++) {
        last = att_most(last, att_least(cu[i], most));
        changed += last != cu[i];
        to[i] = last;
    }
    return changed;
}

/* Rows that are in no sequence are two more, without keys. */
static struct att_seq att_sequence(const struct att_run *run, int64_t n)
{
    const struct att_state *s = run->state;
    const int32_t *kv_len = run->ptr[TENON_ATTENTION_KV_LEN];
    struct att_seq q = {.n = n, .b = n, .bk = n, .tn = s->t, .sn = s->s};
    if (s->packed) {
        q.b = 0;
        q.t0 = n < s->sequences ? run->cq[n] : n > s->sequences ? run->cq[s->sequences] : 0;
        q.tn = (n < s->sequences ? run->cq[n + 1] : n > s->sequences ? s->t : run->cq[0]) - q.t0;
        if (n >= s->sequences) {
            q.n = q.bk = q.sn = 0;
            return q;
        }
        if (!s->page) {
            q.bk = 0;
            q.k0 = run->ck[n];
            q.sn = run->ck[n + 1] - q.k0;
        }
    }
    q.len = kv_len ? att_most(kv_len[n], 0) : q.sn;
    if (s->kind != ATT_RING)
        q.len = att_least(q.len, q.sn);
    q.qpos = q.len - q.tn;
    return q;
}

/* Queries of block i of a sequence: they are cut at blocks of the list, too. */
static int64_t att_blocks(const struct att_run *run, int64_t tn)
{
    const struct att_state *s = run->state;
    if (s->kind != ATT_LIST)
        return (tn + s->queries - 1) / s->queries;
    const int64_t whole = run->p->block_q, each = (whole + s->queries - 1) / s->queries;
    return tn / whole * each + (tn % whole + s->queries - 1) / s->queries;
}

static void att_range(const struct att_run *run, int64_t tn, int64_t i, int64_t *i0, int64_t *i1)
{
    const struct att_state *s = run->state;
    *i0 = i * s->queries;
    *i1 = att_least(*i0 + s->queries, tn);
    if (s->kind == ATT_LIST) {
        const int64_t whole = run->p->block_q, each = (whole + s->queries - 1) / s->queries;
        *i0 = i / each * whole + i % each * s->queries;
        *i1 = att_least(att_least(*i0 + s->queries, (i / each + 1) * whole), tn);
    }
}

/* ---- lists ---- */

static int64_t att_clamp(int64_t x, int64_t low, int64_t high)
{
    return att_least(att_most(x, low), high);
}

static void att_open_list(struct att_work *w)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const int32_t *row_ptr = run->ptr[TENON_ATTENTION_ROW_PTR];
    const int64_t g = w->h0 / (s->hq / s->hg), r = (w->seq.b * s->hg + g) * (s->nq + 1) + w->i0 / run->p->block_q;
    w->list = att_clamp(row_ptr[r], 0, s->nnz);
    w->list_end = att_clamp(row_ptr[r + 1], w->list, s->nnz);
}

/* Block of entry e, -1 where it is skipped. Entries are asked for in order. */
static int64_t att_entry(struct att_work *w, int64_t e)
{
    const struct att_state *s = w->run->state;
    const int32_t *col = w->run->ptr[TENON_ATTENTION_COL];
    const int64_t blocks = (s->s + w->run->p->block_k - 1) / w->run->p->block_k;
    for (; w->cursor < e; w->cursor++)
        if (col[w->cursor] >= 0 && col[w->cursor] < blocks)
            w->seen = att_most(w->seen, col[w->cursor]);
    return col[e] >= 0 && col[e] < blocks && col[e] > w->seen ? col[e] : -1;
}

/* ---- tiles ---- */

/* The places that a sequence (or the list) has. */
static int64_t att_places(const struct att_work *w)
{
    return w->run->state->kind == ATT_LIST ? (w->list_end - w->list) * (int64_t)w->run->p->block_k : w->seq.len;
}

/* Key and position of place u; key -1: there is none. */
static void att_place(struct att_work *w, int64_t u, int32_t *key, int32_t *pos)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const int64_t first = run->p->n_sink, room = s->s - first;
    int64_t j = u;
    if (s->kind == ATT_RING) {
        if (u >= first)
            j = u >= w->seq.len - room ? first + (u - first) % room : -1;
    } else if (s->kind == ATT_LIST) {
        const int64_t width = run->p->block_k, block = att_entry(w, w->list + u / width);
        j = block < 0 ? -1 : block * width + u % width;
        j = j < w->seq.len ? j : -1;
    }
    *pos = (int32_t)(s->kind == ATT_RING ? u : j);
    *key = j < 0 ? -1 : (int32_t)(w->seq.k0 + j);
}

SIMD_FN const char *att_at(const struct att_run *run, uint32_t i, int64_t a, int64_t b, int64_t c)
{
    const struct tenon_tensor *t = &run->plan->tensor[i];
    return (const char *)run->ptr[i] +
           (a * t->stride[0] + b * t->stride[1] + c * t->stride[2]) * (int64_t)TENON_DTYPE_SIZE(t->dtype);
}

/* Where the rows of k and v are; 0: on no page. */
static int att_find(struct att_work *w, int u, int64_t hk)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    struct att_tile *t = &w->tile;
    const int kq = run->p->quant_k == TENON_ATTENTION_AFFINE_TOKEN || run->p->quant_k == TENON_ATTENTION_LUT_TOKEN;
    const int vq = run->p->quant_v == TENON_ATTENTION_AFFINE_TOKEN || run->p->quant_v == TENON_ATTENTION_LUT_TOKEN;
    int64_t a = s->packed ? 0 : w->seq.n, b = t->key[u], c = hk;
    if (s->page) {
        const int32_t *table = run->ptr[TENON_ATTENTION_PAGE_TABLE];
        const int64_t page = table[w->seq.n * (s->s / s->page) + t->key[u] / s->page];
        if (page < 0 || page >= run->plan->tensor[TENON_ATTENTION_K].dim[0])
            return 0;
        a = page;
        b = hk;
        c = t->key[u] % s->page;
    }
    t->k[u] = att_at(run, TENON_ATTENTION_K, a, b, c);
    t->v[u] = att_at(run, TENON_ATTENTION_V, a, b, c);
    if (kq)
        t->kq[u] = (const float *)(const void *)att_at(run, TENON_ATTENTION_K_QUANT, a, b, c);
    if (vq)
        t->vq[u] = (const float *)(const void *)att_at(run, TENON_ATTENTION_V_QUANT, a, b, c);
    return 1;
}

/* Keys that follow each other in rows of one stride, none left out: n of them. */
static void att_fill_rows(struct att_work *w, int64_t place, int64_t n, int64_t hk)
{
    const struct tenon_tensor *t = w->run->plan->tensor;
    struct att_tile *tile = &w->tile;
    const int64_t k_row = t[TENON_ATTENTION_K].stride[1] * (int64_t)TENON_DTYPE_SIZE(t[TENON_ATTENTION_K].dtype);
    const int64_t v_row = t[TENON_ATTENTION_V].stride[1] * (int64_t)TENON_DTYPE_SIZE(t[TENON_ATTENTION_V].dtype);
    const int64_t kq_row = t[TENON_ATTENTION_K_QUANT].rank == 5 ? t[TENON_ATTENTION_K_QUANT].stride[1] : 0;
    const int64_t vq_row = t[TENON_ATTENTION_V_QUANT].rank == 5 ? t[TENON_ATTENTION_V_QUANT].stride[1] : 0;
    tile->key[0] = tile->pos[0] = (int32_t)place;
    tile->key[0] += (int32_t)w->seq.k0;
    att_find(w, 0, hk);
    for (int u = 1; u < n; u++) {
        tile->key[u] = tile->key[0] + u;
        tile->pos[u] = tile->pos[0] + u;
        tile->k[u] = tile->k[u - 1] + k_row;
        tile->v[u] = tile->v[u - 1] + v_row;
        tile->kq[u] = tile->kq[u - 1] + kq_row;
        tile->vq[u] = tile->vq[u - 1] + vq_row;
    }
    tile->base = att_ones(n);
    tile->first = 0;
    tile->end = (int)n;
    tile->straight = tile->in_order = 1;
    tile->ahead_k = tile->ahead_v = 0;
    if (place + 2 * ATT_TILE <= w->seq.len) {
        tile->ahead_k = ATT_TILE * k_row;
        tile->ahead_v = ATT_TILE * v_row;
    }
}

static int att_kept(const struct att_work *w, int64_t key, int64_t hk)
{
    const struct tenon_tensor *t = &w->run->plan->tensor[TENON_ATTENTION_KEEP];
    const uint32_t *keep = w->run->ptr[TENON_ATTENTION_KEEP];
    const int64_t row = (t->dim[0] > 1 ? w->seq.bk : 0) * t->dim[1] + (t->dim[1] > 1 ? hk : 0);
    return keep[row * t->dim[2] + key / 32] >> key % 32 & 1;
}

static void att_fill_extras(struct att_work *w, int64_t place, int64_t hk)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    struct att_tile *t = &w->tile;
    const float *logw = run->ptr[TENON_ATTENTION_LOGW], *vscale = run->ptr[TENON_ATTENTION_VSCALE];
    const float *fcum = run->ptr[TENON_ATTENTION_FCUM_K];
    const int per_block = logw && run->plan->tensor[TENON_ATTENTION_LOGW].rank == 1;
    for (int u = 0; u < ATT_TILE; u++) {
        const int there = t->base >> u & 1;
        const int64_t at = there ? (w->seq.bk * s->s + t->key[u]) * s->hk + hk : 0;
        t->vscale[u] = there && vscale ? vscale[at] : 0.0f;
        t->logw[u] = !there || !logw ? 0.0f : per_block ? logw[w->list + (place + u) / run->p->block_k] : logw[at];
        for (int64_t h = 0; fcum && h < w->heads; h++)
            w->fcum_k[h * ATT_TILE + u] = there ? fcum[(at - hk) / s->hk * s->hq + w->h0 + h] : 0.0f;
    }
}

/* Keys wherever they are. */
static void att_fill_each(struct att_work *w, int64_t place, int64_t n, int64_t hk)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    struct att_tile *t = &w->tile;
    const int32_t *kpos = run->ptr[TENON_ATTENTION_KPOS];
    const int keep = att_given(run, TENON_ATTENTION_KEEP);
    if (kpos && run->plan->tensor[TENON_ATTENTION_KPOS].dim[0] > 1)
        kpos += w->seq.bk * s->s;
    t->base = 0;
    t->straight = t->in_order = 1;
    t->first = ATT_TILE;
    t->end = 0;
    t->ahead_k = t->ahead_v = 0;
    for (int u = 0; u < ATT_TILE; u++) {
        t->k[u] = t->v[u] = w->zeros;
        t->kq[u] = t->vq[u] = (const float *)(const void *)w->zeros;
        t->key[u] = t->pos[u] = -1;
        if (u >= n)
            continue;
        att_place(w, place + u, &t->key[u], &t->pos[u]);
        if (t->key[u] < 0 || (keep && !att_kept(w, t->key[u], hk)) || !att_find(w, u, hk)) {
            t->straight &= t->key[u] == t->key[0] + u;
            t->in_order &= t->pos[u] == t->pos[0] + u;
            continue;
        }
        if (kpos)
            t->pos[u] = kpos[t->key[u]];
        t->base |= UINT64_C(1) << u;
        t->first = t->first < u ? t->first : u;
        t->end = u + 1;
        t->straight &= t->key[u] == t->key[0] + u;
        t->in_order &= t->pos[u] == t->pos[0] + u;
    }
    t->in_order &= !kpos;
}

/* The tile whose first place is `place`; base is 0 where it has no keys. */
static void att_fill_tile(struct att_work *w, int64_t place)
{
    const struct att_run *run = w->run;
    const int64_t hk = w->h0 / (run->state->hq / run->state->hk), n = att_least(ATT_TILE, att_places(w) - place);
    if (n == ATT_TILE && run->state->kind == ATT_DENSE && !run->state->page && !att_given(run, TENON_ATTENTION_KEEP) &&
        !att_given(run, TENON_ATTENTION_KPOS))
        att_fill_rows(w, place, n, hk);
    else
        att_fill_each(w, place, n, hk);
    if (w->tile.base && (att_given(run, TENON_ATTENTION_LOGW) || att_given(run, TENON_ATTENTION_VSCALE) ||
                         att_given(run, TENON_ATTENTION_FCUM_K)))
        att_fill_extras(w, place, hk);
}

/* ---- what a row sees ---- */

static void att_row_limits(const struct att_work *w, struct att_row *r, int64_t i)
{
    const struct att_run *run = w->run;
    const struct tenon_attention_params *p = run->p;
    const struct tenon_tensor *qt = &run->plan->tensor[TENON_ATTENTION_QPOS];
    const struct tenon_tensor *bt = &run->plan->tensor[TENON_ATTENTION_BOUNDS];
    const int32_t *qpos = run->ptr[TENON_ATTENTION_QPOS], *bounds = run->ptr[TENON_ATTENTION_BOUNDS];
    const int64_t at = w->seq.t0 + i;
    r->qpos = qpos ? qpos[(qt->dim[0] > 1 ? w->seq.b * qt->dim[1] : 0) + at] : w->seq.qpos + i;
    r->lo = r->window = INT64_MIN;
    r->hi = INT64_MAX;
    if (p->causal)
        r->hi = r->qpos + 1;
    if (p->wr != TENON_ATTENTION_ANY)
        r->hi = att_least(r->hi, r->qpos + (int64_t)p->wr + 1);
    if (p->wl != TENON_ATTENTION_ANY)
        r->window = r->qpos - (int64_t)p->wl;
    if (bounds) {
        const int32_t *pair = bounds + ((bt->dim[0] > 1 ? w->seq.b * bt->dim[1] : 0) + at) * 2;
        r->lo = pair[0];
        r->hi = att_least(r->hi, pair[1]);
    }
}

SIMD_FN uint64_t att_span(int64_t lo, int64_t hi, int64_t from)
{
    /* limits may be far away on either side: clamped before they are subtracted */
    const int64_t a = lo < from ? 0 : lo > from + ATT_TILE ? ATT_TILE : lo - from;
    const int64_t b = hi < from ? 0 : hi > from + ATT_TILE ? ATT_TILE : hi - from;
    return att_ones(b) & ~att_ones(a);
}

/* The places of the tile that row r sees by position. */
static uint64_t att_row_bits(const struct att_work *w, const struct att_row *r)
{
    const struct att_tile *t = &w->tile;
    const int64_t sinks = w->run->p->n_sink;
    uint64_t bits = 0;
    if (t->in_order) {
        bits = att_span(att_most(r->lo, r->window), r->hi, t->pos[0]);
        if (sinks)
            bits |= att_span(r->lo, att_least(r->hi, sinks), t->pos[0]);
        return bits & t->base;
    }
    for (int u = 0; u < ATT_TILE; u++) {
        const int64_t pos = t->pos[u];
        const int seen = (pos >= r->lo) & (pos < r->hi) & ((pos >= r->window) | (pos < sinks));
        bits |= (uint64_t)seen << u;
    }
    return bits & t->base;
}

#endif
