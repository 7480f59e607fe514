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

/* Places from `place` on, at most n, whose keys follow each other on a page, or none of which has one. */
struct att_stretch {
    int64_t key, pos, n; /* of the first; key along S without k0, -1: there is none */
    int absent;
};

static struct att_stretch att_stretch(struct att_work *w, int64_t place, int64_t n)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const int64_t first = run->p->n_sink, room = s->s - first;
    struct att_stretch e = {.key = place, .pos = place, .n = n};
    if (s->kind == ATT_RING && place >= first) {
        const int64_t kept = w->seq.len - room, slot = (place - first) % room;
        e.key = place < kept ? -1 : first + slot;
        e.n = att_least(n, place < kept ? kept - place : room - slot);
    } else if (s->kind == ATT_RING) {
        e.n = att_least(n, first - place);
    } else if (s->kind == ATT_LIST) {
        const int64_t width = run->p->block_k, block = att_entry(w, w->list + place / width), at = place % width;
        e.key = e.pos = block < 0 || block * width + at >= w->seq.len ? -1 : block * width + at;
        e.n = att_least(n, width - at);
        if (e.key >= 0)
            e.n = att_least(e.n, w->seq.len - e.key);
    }
    e.absent = e.key < 0;
    if (s->page && !e.absent)
        e.n = att_least(e.n, s->page - e.key % s->page);
    return e;
}

SIMD_FN const char *att_at(const struct att_run *run, uint32_t i, int64_t a, int64_t b, int64_t c)
{
    const struct tenon_tensor *t = &run->plan->tensor[i];
    return (const char *)run->ptr[i] +
           (a * t->stride[0] + b * t->stride[1] + c * t->stride[2]) * (int64_t)TENON_DTYPE_SIZE(t->dtype);
}

static int att_kept(const struct att_work *w, int64_t key, int64_t hk)
{
    const struct tenon_tensor *t = &w->run->plan->tensor[TENON_ATTENTION_KEEP];
    const uint32_t *keep = w->run->ptr[TENON_ATTENTION_KEEP];
    const int64_t row = (t->dim[0] > 1 ? w->seq.bk : 0) * t->dim[1] + (t->dim[1] > 1 ? hk : 0);
    return keep[row * t->dim[2] + key / 32] >> key % 32 & 1;
}

/* Where the rows of k, v and their pairs are: of tensor i, whose leading axes are those of k. */
static void att_open_line(struct att_work *w, int line, uint32_t i)
{
    const struct att_run *run = w->run;
    const struct tenon_tensor *t = &run->plan->tensor[i];
    const int paged = run->state->page != 0;
    const int64_t size = (int64_t)TENON_DTYPE_SIZE(t->dtype);
    struct att_line *to = &w->line[line];
    *to = (struct att_line){.from = (uintptr_t)run->ptr[i],
                            .outer = t->stride[0] * size,
                            .row = t->stride[paged ? 2 : 1] * size,
                            .head = t->stride[paged ? 1 : 2] * size};
    to->bytes = t->dim[3] * (t->rank == 5 ? 2 : 1) * size;
    to->beside = to->head > 0 && to->head <= 2 * to->bytes;
    for (int u = 0; u < ATT_STEP; u++)
        to->step[u] = (uint64_t)u * (uint64_t)to->row;
}

static void att_open_lines(struct att_work *w)
{
    const uint32_t k = w->run->p->quant_k, v = w->run->p->quant_v;
    att_open_line(w, ATT_K_ROWS, TENON_ATTENTION_K);
    att_open_line(w, ATT_V_ROWS, TENON_ATTENTION_V);
    if (k == TENON_ATTENTION_AFFINE_TOKEN || k == TENON_ATTENTION_LUT_TOKEN)
        att_open_line(w, ATT_K_PAIRS, TENON_ATTENTION_K_QUANT);
    if (v == TENON_ATTENTION_AFFINE_TOKEN || v == TENON_ATTENTION_LUT_TOKEN)
        att_open_line(w, ATT_V_PAIRS, TENON_ATTENTION_V_QUANT);
}

SIMD_FN void att_fill_step(uintptr_t *restrict to, const uint64_t *restrict step, uint64_t at)
{
    for (int l = 0; l < ATT_STEP; l++)
        to[l] = (uintptr_t)(at + step[l]);
}

/* Places u .. u + n, whose keys are there from the one in row `row` of sequence or page `outer` on. ATT_STEP at a time:
 * what is written beyond is written again, or not looked at. */
static void att_fill_lines(const struct att_work *w, struct att_tile *t, int u, int n, int64_t outer, int64_t row)
{
    const int64_t hk = w->first / (w->run->state->hq / w->run->state->hk);
    for (int i = 0; i < ATT_LINES; i++) {
        const struct att_line *line = &w->line[i];
        if (!line->from)
            continue;
        uint64_t at = (uint64_t)line->from + (uint64_t)(outer * line->outer + hk * line->head + row * line->row);
        for (int j = 0; j < n; j += ATT_STEP, at += ATT_STEP * (uint64_t)line->row)
            att_fill_step(t->at[i] + u + j, line->step, at);
    }
}

/* Whether the places have rows. */
static int att_fill_stretch(struct att_work *w, struct att_tile *t, int u, const struct att_stretch *e)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const int32_t key = e->absent ? -1 : (int32_t)(w->seq.k0 + e->key), by = !e->absent;
    const int32_t pos = (int32_t)e->pos, on = e->absent && e->pos < 0 ? 0 : 1;
    for (int64_t j = 0; j < e->n; j += ATT_STEP)
        for (int l = 0; l < ATT_STEP; l++) {
            t->key[u + j + l] = key + ((int32_t)j + l) * by;
            t->pos[u + j + l] = pos + ((int32_t)j + l) * on;
        }
    t->straight &= key == t->key[0] + u;
    t->in_order &= pos == t->pos[0] + u;
    if (e->absent) {
        t->straight = 0;
        t->in_order &= on;
        return 0;
    }
    if (!s->page) {
        att_fill_lines(w, t, u, (int)e->n, s->packed ? 0 : w->seq.n, key);
        return 1;
    }
    const int32_t *table = run->ptr[TENON_ATTENTION_PAGE_TABLE];
    const int64_t page = table[w->seq.n * (s->s / s->page) + key / s->page];
    if (page < 0 || page >= run->plan->tensor[TENON_ATTENTION_K].dim[0])
        return 0;
    att_fill_lines(w, t, u, (int)e->n, page, key % s->page);
    return 1;
}

/* The places that hold nothing get rows that may be read: those of the first key. */
static void att_fill_gaps(struct att_tile *t)
{
    for (uint64_t gaps = ~t->base; gaps; gaps &= gaps - 1)
        for (int i = 0; i < ATT_LINES; i++)
            t->at[i][__builtin_ctzll(gaps)] = t->at[i][t->first];
}

/* The tile whose first place is `place`; base is 0 where it has no keys. */
static void att_fill_tile(struct att_work *w, struct att_tile *t, int64_t place)
{
    const struct att_run *run = w->run;
    const int64_t n = att_least(ATT_TILE, att_places(w) - place), hk = w->first / (run->state->hq / run->state->hk);
    const int32_t *kpos = run->ptr[TENON_ATTENTION_KPOS];
    t->place = place;
    t->base = 0;
    t->straight = t->in_order = 1;
    for (int u = 0; u < n;) {
        const struct att_stretch e = att_stretch(w, place + u, n - u);
        if (att_fill_stretch(w, t, u, &e))
            t->base |= att_ones(u + e.n) & ~att_ones(u);
        u += (int)e.n;
    }
    for (int64_t u = att_most(n, 0); u < ATT_TILE; u++)
        t->key[u] = t->pos[u] = -1;
    if (att_given(run, TENON_ATTENTION_KEEP))
        for (uint64_t left = t->base; left; left &= left - 1)
            if (!att_kept(w, t->key[__builtin_ctzll(left)], hk))
                t->base &= ~(left & -left);
    if (!t->base)
        return;
    if (kpos) {
        kpos += run->plan->tensor[TENON_ATTENTION_KPOS].dim[0] > 1 ? w->seq.bk * run->state->s : 0;
        for (uint64_t left = t->base; left; left &= left - 1)
            t->pos[__builtin_ctzll(left)] = kpos[t->key[__builtin_ctzll(left)]];
        t->in_order = 0;
    }
    t->first = __builtin_ctzll(t->base);
    t->end = ATT_TILE - __builtin_clzll(t->base);
    if (~t->base)
        att_fill_gaps(t);
}

/* What goes with the keys of the run at hand. */
static void att_fill_extras(struct att_work *w)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    struct att_tile *t = w->tile;
    const float *logw = run->ptr[TENON_ATTENTION_LOGW], *vscale = run->ptr[TENON_ATTENTION_VSCALE];
    const float *fcum = run->ptr[TENON_ATTENTION_FCUM_K];
    const int64_t hk = w->h0 / (s->hq / s->hk);
    const int per_block = logw && run->plan->tensor[TENON_ATTENTION_LOGW].rank == 1;
    if (!logw && !vscale && !fcum)
        return;
    for (int u = 0; u < ATT_TILE; u++) {
        const int there = t->base >> u & 1;
        const int64_t at = there ? (w->seq.bk * s->s + t->key[u]) * s->hk + hk : 0;
        t->vscale[u] = there && vscale ? vscale[at] : 0.0f;
        t->logw[u] = !there || !logw ? 0.0f : per_block ? logw[w->list + (t->place + u) / run->p->block_k] : logw[at];
        for (int64_t h = 0; fcum && h < w->heads; h++)
            w->fcum_k[h * ATT_TILE + u] = there ? fcum[(at - hk) / s->hk * s->hq + w->h0 + h] : 0.0f;
    }
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
    const struct att_tile *t = w->tile;
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
