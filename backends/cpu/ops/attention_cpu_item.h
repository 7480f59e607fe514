/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: an item's way through its keys, and its outputs. */
#ifndef TENON_ATTENTION_CPU_ITEM_H
#define TENON_ATTENTION_CPU_ITEM_H

#include "ops/attention_cpu_few.h"
#include "ops/attention_cpu_keys.h"
#include "ops/attention_cpu_pack.h"
#include "ops/attention_cpu_weight.h"

/* ---- rows ---- */

static void att_open_row(struct att_work *w, int64_t i, int64_t h)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    struct att_row *r = &w->row[(i - w->i0) * w->heads + h - w->h0];
    const int64_t b = w->seq.b, t = w->seq.t0 + i, at = (b * s->t + t) * s->hq + h;
    const float *qtemp = run->ptr[TENON_ATTENTION_QTEMP], *slope = run->ptr[TENON_ATTENTION_SLOPE];
    const float *fcum = run->ptr[TENON_ATTENTION_FCUM];
    const struct tenon_tensor *q = &run->plan->tensor[TENON_ATTENTION_Q], *m = &run->plan->tensor[TENON_ATTENTION_MASK];
    *r = (struct att_row){.t = t,
                          .h = h,
                          .scale = qtemp ? s->scale * qtemp[at] : s->scale,
                          .slope = slope ? slope[h] : 0.0f,
                          .fcum = fcum ? fcum[at] : 0.0f,
                          .beta = 1.0f};
    if (m->dtype)
        r->mask = (m->dim[0] > 1 ? b * m->stride[0] : 0) + (m->dim[1] > 1 ? h * m->stride[1] : 0) +
                  (m->dim[2] > 1 ? t * m->stride[2] : 0);
    att_row_limits(w, r, i);
    att_widen(att_at(run, TENON_ATTENTION_Q, b, t, h), q->dtype, s->d,
              w->q + ((i - w->i0) * w->heads + h - w->h0) * s->dp);
}

/* Item `id`: sequences after each other, in each the last queries (which see most) first. */
static void att_open(struct att_work *w, int64_t id)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const int64_t sequences = s->sequences + (s->packed ? 2 : 0);
    int64_t low = 0, high = sequences;
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (run->starts[middle] <= id)
            low = middle;
        else
            high = middle;
    }
    w->seq = att_sequence(run, low);
    const int64_t per = (s->unit + s->heads - 1) / s->heads, items = (s->runs + s->together - 1) / s->together;
    const int64_t rest = id - run->starts[low];
    att_range(run, w->seq.tn, att_blocks(run, w->seq.tn) - 1 - rest / items, &w->i0, &w->i1);
    const int64_t part = rest % items * s->together;
    w->together = att_least(s->together, s->runs - part);
    w->first = part / per * s->unit + part % per * s->heads;
    w->heads = att_least(s->heads, (part / per + 1) * s->unit - w->first);
    w->rows = (w->i1 - w->i0) * w->heads;
    for (int64_t g = w->together; g-- > 0;) {
        att_turn_to(w, g);
        for (int64_t i = w->i0; i < w->i1; i++)
            for (int64_t h = w->h0; h < w->h0 + w->heads; h++)
                att_open_row(w, i, h);
    }
    if (s->kind == ATT_LIST)
        att_open_list(w);
}

/* ---- a tile ---- */

/* o of a row takes in values that are not all finite: what the row does not see is left out. */
static void att_add_seen(const struct att_work *w, const float *x, uint64_t seen, float *o)
{
    const struct att_state *s = w->run->state;
    for (int u = w->tile->first; u < w->tile->end; u++)
        if (seen >> u & 1)
            for (int64_t c = 0; c < s->vp; c += VF)
                vf_store(o + c, vf_madd(vf_set1(x[u]), vf_load(w->v + u * s->vp + c), vf_load(o + c)));
}

/* Products of `rows` rows from `first` on become what multiplies v; what they see, and whether each sees all. */
static int att_weigh_rows(struct att_work *w, int what, int64_t first, int64_t rows, const uint64_t *bits,
                          uint64_t *seen)
{
    const struct att_state *s = w->run->state;
    const uint64_t whole = att_ones(w->tile->end) & ~att_ones(w->tile->first);
    int all = 1;
    for (int64_t i = 0; i < rows; i++) {
        struct att_row *r = &w->row[first + i];
        float *x = w->score + i * ATT_TILE, *o = w->o + (first + i) * s->vp;
        seen[i] = bits[i] ? att_scores(w, r, x, bits[i]) : 0;
        all &= seen[i] == whole;
        const float factor = att_weigh(w, r, what, x, seen[i]);
        if (factor != 1.0f && what != ATT_STATS)
            for (int64_t c = 0; c < s->vp; c += VF)
                vf_store(o + c, vf_mul(vf_load(o + c), vf_set1(factor)));
    }
    return all;
}

/* Rows from `first` on of packed keys. */
static void att_panel(struct att_work *w, int what, int64_t first, int64_t rows, const uint64_t *bits, int *finite)
{
    const struct att_state *s = w->run->state;
    const struct att_tile *t = w->tile;
    uint64_t seen[PANEL_MR];
    const struct panel_product scores = {.a = w->q + first * s->dp,
                                         .a_row = s->dp,
                                         .a_k = 1,
                                         .b = w->k,
                                         .b_row = ATT_TILE,
                                         .k = s->d,
                                         .c = w->score,
                                         .c_row = ATT_TILE,
                                         .zero = 1};
    panel_multiply(&scores, rows, ATT_TILE);
    const int all = att_weigh_rows(w, what, first, rows, bits, seen);
    if (what == ATT_STATS)
        return;
    if (s->in_place && w->rows <= ATT_FEW) {
        att_few_values(w, rows, seen, all);
        return;
    }
    if (!all && *finite < 0)
        *finite = att_finite(w);
    if (!all && !*finite) {
        for (int64_t i = 0; i < rows; i++)
            att_add_seen(w, w->score + i * ATT_TILE, seen[i], w->o + (first + i) * s->vp);
        return;
    }
    const struct panel_product values = {.a = w->score + t->first,
                                         .a_row = ATT_TILE,
                                         .a_k = 1,
                                         .b = w->v + t->first * s->vp,
                                         .b_row = s->vp,
                                         .k = t->end - t->first,
                                         .c = w->o + first * s->vp,
                                         .c_row = s->vp};
    panel_multiply(&values, rows, s->vp);
}

/* What rows see of positions, together. */
struct att_reach {
    int64_t least, most;      /* no row sees below (but the first n_sink), none from here on */
    int64_t all_from, all_to; /* every row sees these */
};

static struct att_reach att_reach(const struct att_work *w)
{
    struct att_reach e = {INT64_MAX, INT64_MIN, INT64_MIN, INT64_MAX};
    for (int64_t i = 0; i < att_all_rows(w); i++) {
        const struct att_row *r = &w->row[i];
        const int64_t from = att_most(r->lo, r->window);
        e.least = att_least(e.least, from);
        e.most = att_most(e.most, r->hi);
        e.all_from = att_most(e.all_from, from);
        e.all_to = att_least(e.all_to, r->hi);
    }
    return e;
}

/* What each row sees of the tile; 0: none sees any. */
static int att_look(const struct att_work *w, const struct att_reach *e, uint64_t *bits)
{
    const struct att_tile *t = w->tile;
    uint64_t any = 0;
    const int everything = t->in_order && t->pos[0] >= e->all_from && t->pos[0] + (int64_t)ATT_TILE <= e->all_to;
    for (int64_t i = 0; i < w->rows; i++) {
        bits[i] = everything ? t->base : att_row_bits(w, &w->row[i]);
        any |= bits[i];
    }
    return any != 0;
}

static void att_run_tile(struct att_work *w, int what, const struct att_reach *e)
{
    const struct att_state *s = w->run->state;
    uint64_t bits[ATT_ROWS];
    int finite = -1;
    if (!att_look(w, e, bits))
        return;
    att_fill_extras(w);
    if (s->whole_k)
        att_fill_pairs(w, ATT_K_PAIRS, w->k_scale, w->k_zero);
    if (s->whole_v)
        att_fill_pairs(w, ATT_V_PAIRS, w->v_scale, w->v_zero);
    att_pack_k(w);
    if (what != ATT_STATS && !(s->in_place && w->rows <= ATT_FEW))
        att_pack_v(w);
    for (int64_t i = 0; i < w->rows; i += PANEL_MR) {
        const int64_t rows = att_least(PANEL_MR, w->rows - i);
        uint64_t any = 0;
        for (int64_t j = 0; j < rows; j++)
            any |= bits[i + j];
        if (any)
            att_panel(w, what, i, rows, bits + i, &finite);
    }
}

/* Runs of heads meet a tile one after the other: their keys lie side by side. */
static void att_tile(struct att_work *w, int what, const struct att_reach *e)
{
    for (int64_t g = 0; g < w->together; g++) {
        att_turn_to(w, g);
        att_run_tile(w, what, e);
    }
    att_turn_to(w, 0);
}

/* The first place at or after `place` whose tile may hold what some row sees. */
static int64_t att_skip(const struct att_work *w, const struct att_reach *e, int64_t place)
{
    const struct att_state *s = w->run->state;
    const int64_t sinks = w->run->p->n_sink;
    int64_t from = place;
    if (s->kind == ATT_LIST || att_given(w->run, TENON_ATTENTION_KPOS))
        return place;
    if (place >= e->most)
        return INT64_MAX;
    if (place >= sinks) {
        from = att_most(from, e->least);
        if (s->kind == ATT_RING)
            from = att_most(from, w->seq.len - (s->s - sinks));
    }
    return from / ATT_TILE * ATT_TILE;
}

/* ---- splits ---- */

static void att_start_split(struct att_work *w)
{
    for (int64_t i = 0; i < att_all_rows(w); i++)
        att_begin(w, &w->row[i].now);
    memset(w->o, 0, (size_t)(att_all_rows(w) * w->run->state->vp) * sizeof *w->o);
}

static void att_end_split(struct att_work *w)
{
    const int64_t vp = w->run->state->vp;
    for (int64_t i = 0; i < att_all_rows(w); i++)
        att_merge(&w->row[i].all, &w->row[i].now, w->all + i * vp, w->o + i * vp, vp);
}

/* All places from `from` to below `to`, whole splits. What they sum is in `all`. */
static void att_pass(struct att_work *w, int what, int64_t from, int64_t to)
{
    const struct att_reach e = att_reach(w);
    const int64_t vp = w->run->state->vp;
    int64_t split = -1;
    to = att_least(to, att_places(w));
    w->seen = -1;
    w->cursor = w->list;
    for (int64_t i = 0; i < att_all_rows(w); i++)
        att_begin(w, &w->row[i].all);
    memset(w->all, 0, (size_t)(att_all_rows(w) * vp) * sizeof *w->all);
    int64_t place = att_skip(w, &e, from);
    struct att_tile *t = w->tiles, *other = w->tiles + 1;
    if (place < to)
        att_fill_tile(w, t, place);
    while (place < to) {
        const int64_t after = att_skip(w, &e, place + ATT_TILE);
        if (after < to)
            att_fill_tile(w, other, after);
        w->tile = t;
        w->next = after < to && other->base ? other : t;
        if (place / TENON_ATTENTION_SPLIT != split) {
            if (split >= 0)
                att_end_split(w);
            att_start_split(w);
            split = place / TENON_ATTENTION_SPLIT;
        }
        if (t->base)
            att_tile(w, what, &e);
        place = after;
        t = other;
        other = w->tile;
    }
    if (split >= 0)
        att_end_split(w);
}

/* ---- outputs ---- */

/* What o is divided by, after it was multiplied by *factor. */
static float att_divisor(const struct att_work *w, const struct att_row *r, float *factor)
{
    const struct tenon_attention_params *p = w->run->p;
    const float *sink = w->run->ptr[TENON_ATTENTION_SINK_LOGIT];
    const struct att_sums *s = &r->all;
    *factor = 1.0f;
    if (p->norm == TENON_ATTENTION_SUM)
        return s->z + p->norm_eps;
    if (p->norm == TENON_ATTENTION_SINK) {
        const float logit = sink ? sink[r->h] : 0.0f, top = s->m > logit ? s->m : logit;
        *factor = att_exp(s->m - top);
        return s->z * *factor + att_exp(logit - top);
    }
    if (p->weight == TENON_ATTENTION_EXP || p->weight == TENON_ATTENTION_SOFTPICK) {
        /* e^m in two steps: m may be anything */
        const float half = s->m > 160.0f ? 80.0f : s->m * 0.5f;
        *factor = s->m > 160.0f ? INFINITY : att_exp(half) * att_exp(half);
        if (s->z != s->z)
            *factor = s->z;
    }
    if (p->norm == TENON_ATTENTION_NONE)
        return 1.0f;
    if (p->norm == TENON_ATTENTION_COUNT)
        return (float)s->n;
    return (float)pow((double)s->n, (double)p->pow_alpha);
}

/* The logarithm of what the weights sum to, without sink and eps. */
static float att_lnz(const struct att_work *w, const struct att_sums *s)
{
    const struct tenon_attention_params *p = w->run->p;
    if (!s->n)
        return -INFINITY;
    if (p->norm == TENON_ATTENTION_COUNT)
        return att_log((float)s->n);
    if (p->weight == TENON_ATTENTION_EXP || p->weight == TENON_ATTENTION_SOFTPICK)
        return s->z == 0.0f ? -INFINITY : s->m + att_log(s->z);
    return att_log(s->z);
}

/* y times gate_mul act(gate); `room` takes a row of V. */
static void att_gate(const struct att_work *w, const struct att_row *r, float *y, float *room)
{
    static const uint32_t kinds[] = {[TENON_ATTENTION_GATE_SIGMOID] = ACT_SIGMOID,
                                     [TENON_ATTENTION_GATE_IDENTITY] = TENON_ACT_IDENTITY,
                                     [TENON_ATTENTION_GATE_SILU] = TENON_ACT_SILU};
    const struct att_state *s = w->run->state;
    const struct tenon_attention_params *p = w->run->p;
    const struct tenon_tensor *t = &w->run->plan->tensor[TENON_ATTENTION_GATE];
    const struct act act = {kinds[p->gate_act], 0.0f, 0.0f};
    const char *gate = att_at(w->run, TENON_ATTENTION_GATE, w->seq.b, r->t, r->h);
    const vf mul = vf_set1(p->gate_mul);
    const int64_t n = t->rank == 4 ? s->v : 1;
    att_widen(gate, t->dtype, n, room);
    act_apply(&act, room, n);
    for (int64_t c = 0; c < s->vp; c += VF) {
        const vf g = t->rank == 4 ? vf_load(room + c) : vf_set1(room[0]);
        vf_store(y + c, vf_mul(vf_load(y + c), vf_mul(g, mul)));
    }
}

static void att_emit(struct att_work *w, int64_t i, int clipped)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const struct att_row *r = &w->row[i];
    const struct tenon_tensor *t = &run->plan->tensor[TENON_ATTENTION_O];
    float *y = w->all + i * s->vp, *lnz = run->ptr[TENON_ATTENTION_LNZ], factor = 1.0f;
    char *to =
        (char *)run->ptr[TENON_ATTENTION_O] +
        (w->seq.b * t->stride[0] + r->t * t->stride[1] + r->h * t->stride[2]) * (int64_t)TENON_DTYPE_SIZE(t->dtype);
    const float divisor = clipped || !r->all.n ? 1.0f : att_divisor(w, r, &factor);
    for (int64_t c = 0; c < s->vp; c += VF) {
        /* + 0: a sum that is 0 is +0, whether or not weights of 0 went in */
        const vf o = vf_add(vf_load(y + c), vf_zero());
        const vf scaled = vf_div(factor == 1.0f ? o : vf_mul(o, vf_set1(factor)), vf_set1(divisor));
        vf_store(y + c, divisor == 0.0f ? vf_zero() : scaled);
    }
    if (att_given(run, TENON_ATTENTION_GATE))
        att_gate(w, r, y, w->v);
    for (int64_t c = 0; c < s->v; c += VF)
        store_y(to, c, vf_load(y + c), (int)att_least(VF, s->v - c), t->dtype, 0);
    if (lnz)
        lnz[(w->seq.b * s->t + r->t) * s->hq + r->h] = att_lnz(w, &r->all);
}

/* `outside`: of the rows for which that holds. */
static void att_emit_all(struct att_work *w, int clipped, uint32_t outside)
{
    unsigned nans = 0, empty = 0;
    for (int64_t i = 0; i < att_all_rows(w); i++) {
        const struct att_sums *s = &w->row[i].all;
        if (w->row[i].outside != outside)
            continue;
        nans += s->n && (clipped ? w->row[i].lnz != w->row[i].lnz : s->z != s->z);
        empty += !s->n;
        att_emit(w, i, clipped);
    }
    atomic_fetch_add_explicit(&w->run->nans, nans, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->run->empty, empty, memory_order_relaxed);
}

/* ---- items ---- */

static float att_sharpness(float h)
{
    const float y = (((-0.037f * h + 0.481f) * h - 2.3f) * h + 4.917f) * h - 1.791f;
    return h > 0.5f && y > 1.0f ? y : 1.0f;
}

static void att_adapt(struct att_work *w)
{
    att_pass(w, ATT_STATS, 0, INT64_MAX);
    for (int64_t i = 0; i < att_all_rows(w); i++) {
        struct att_row *r = &w->row[i];
        if (r->all.n)
            r->beta = att_sharpness(att_log(r->all.z) - r->all.a / r->all.z);
    }
}

static void att_clip(struct att_work *w)
{
    const float *sink = w->run->ptr[TENON_ATTENTION_SINK_LOGIT];
    const int has = w->run->p->norm == TENON_ATTENTION_SINK;
    att_pass(w, ATT_STATS, 0, INT64_MAX);
    for (int64_t i = 0; i < att_all_rows(w); i++) {
        struct att_row *r = &w->row[i];
        const float logit = !has ? -INFINITY : sink ? sink[r->h] : 0.0f, m = r->all.m, top = m > logit ? m : logit;
        r->lnz = r->all.n ? top + att_log(r->all.z * att_rest(m, top) + (has ? att_rest(logit, top) : 0.0f)) : 0.0f;
    }
    att_pass(w, ATT_CLIP, 0, INT64_MAX);
    att_emit_all(w, 1, 0);
}

static void att_item(struct att_work *w, int64_t id)
{
    const struct tenon_attention_params *p = w->run->p;
    att_open(w, id);
    if (p->adapt)
        att_adapt(w);
    if (p->post) {
        att_clip(w);
        return;
    }
    att_pass(w, p->unified ? ATT_UNIFIED : ATT_SUMS, 0, INT64_MAX);
    att_emit_all(w, 0, 0);
    uint32_t outside = 0;
    for (int64_t i = 0; i < att_all_rows(w); i++)
        outside |= w->row[i].outside;
    if (outside) {
        att_pass(w, ATT_SUMS, 0, INT64_MAX);
        att_emit_all(w, 0, 1);
    }
}

/* ---- items whose splits are spread over workers ---- */

static struct att_sums *att_part(const struct att_work *w, const struct att_row *r, int64_t split, float **o)
{
    const struct att_state *s = w->run->state;
    const int64_t row = (w->seq.b * s->t + r->t) * s->hq + r->h,
                  head = (int64_t)(sizeof(struct att_sums) / sizeof(float));
    float *part = (float *)(void *)(w->run->workspace + s->at_parts) + (row * s->parts + split) * (s->vp + head);
    *o = part + head;
    return (struct att_sums *)(void *)part;
}

static void att_split(struct att_work *w, int64_t unit)
{
    const struct att_state *s = w->run->state;
    const int64_t split = unit % s->parts, vp = s->vp;
    att_open(w, unit / s->parts);
    att_pass(w, ATT_SUMS, split * TENON_ATTENTION_SPLIT, (split + 1) * TENON_ATTENTION_SPLIT);
    for (int64_t i = 0; i < att_all_rows(w); i++) {
        float *o;
        *att_part(w, &w->row[i], split, &o) = w->row[i].all;
        memcpy(o, w->all + i * vp, (size_t)vp * sizeof *o);
    }
}

static void att_gather(struct att_work *w, int64_t id)
{
    const struct att_state *s = w->run->state;
    att_open(w, id);
    memset(w->all, 0, (size_t)(att_all_rows(w) * s->vp) * sizeof *w->all);
    for (int64_t i = 0; i < att_all_rows(w); i++) {
        att_begin(w, &w->row[i].all);
        for (int64_t split = 0; split < s->parts; split++) {
            float *o;
            const struct att_sums *part = att_part(w, &w->row[i], split, &o);
            att_merge(&w->row[i].all, part, w->all + i * s->vp, o, s->vp);
        }
    }
    att_emit_all(w, 0, 0);
}

#endif
