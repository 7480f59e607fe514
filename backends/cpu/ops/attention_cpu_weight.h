/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: from the products of a row and a tile to its weights, and what the row sums of them. */
#ifndef TENON_ATTENTION_CPU_WEIGHT_H
#define TENON_ATTENTION_CPU_WEIGHT_H

#include "ops/attention_cpu.h"

#define ATT_EACH (ATT_VECTORS < 8 ? ATT_VECTORS : 8) /* exponentials side by side */

/* The lanes of vector v whose bits are set. */
SIMD_FN vm att_lanes(uint64_t bits, int v)
{
    static const int32_t lane[16] = {1,     2,     4,     8,     0x10,   0x20,   0x40,   0x80,
                                     0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x8000};
    const vi bit = vi_load(lane);
    return vi_eq(vi_and(vi_set1((int32_t)(bits >> (v * VF) & 0xffffu)), bit), bit);
}

/* ---- scores ---- */

/* Elements of the mask beside the keys of a tile. */
static void att_mask(const struct att_work *w, const struct att_row *r, uint64_t bits, float *to)
{
    const struct tenon_tensor *t = &w->run->plan->tensor[TENON_ATTENTION_MASK];
    const char *mask = w->run->ptr[TENON_ATTENTION_MASK];
    const struct att_tile *tile = w->tile;
    for (int v = 0; v < ATT_VECTORS; v++) {
        const int64_t key = tile->key[0] + v * VF, rest = t->dim[3] - key;
        if (tile->straight && key >= 0) {
            const int n = rest >= VF ? VF : rest > 0 ? (int)rest : 0;
            vf_store(to + v * VF, load_x(mask, r->mask + (n ? key : 0), n, t->dtype));
            continue;
        }
        for (int u = v * VF; u < (v + 1) * VF; u++)
            to[u] = bits >> u & 1 ? att_lane(load_x(mask, r->mask + tile->key[u], 1, t->dtype)) : 0.0f;
    }
}

/* What a score becomes on its way: x is the product times scale. */
SIMD_FN vf att_pipeline(const struct att_work *w, const struct att_row *r, vf x, int v, const float *mask)
{
    const struct att_run *run = w->run;
    const struct tenon_attention_params *p = run->p;
    const struct att_tile *t = w->tile;
    const int64_t h = r->h - w->h0;
    if (p->softcap > 0)
        x = vf_mul(vf_set1(p->softcap), act_tanh(vf_div(x, vf_set1(p->softcap))));
    if (att_given(run, TENON_ATTENTION_SLOPE)) {
        const vi away = vi_sub(vi_load(t->pos + v * VF), vi_set1((int32_t)(uint32_t)(uint64_t)r->qpos));
        x = vf_madd(vf_set1(r->slope), vf_from_vi(away), x);
    }
    if (att_given(run, TENON_ATTENTION_FCUM))
        x = vf_add(x, vf_sub(vf_set1(r->fcum), vf_load(w->fcum_k + h * ATT_TILE + v * VF)));
    if (mask)
        x = vf_add(x, vf_load(mask + v * VF));
    if (att_given(run, TENON_ATTENTION_LOGW))
        x = vf_add(x, vf_load(t->logw + v * VF));
    x = vf_select(vf_gt(x, vf_set1(p->smax)), vf_set1(p->smax), x);
    return vf_mul(x, vf_set1(r->beta));
}

/* Products become scores; -Inf where the key is not visible. Returns the bits of those that are. */
static uint64_t att_scores(const struct att_work *w, const struct att_row *r, float *x, uint64_t bits)
{
    const vf hidden = vf_set1(-INFINITY), scale = vf_set1(r->scale);
    const int plain = w->run->state->plain != 0;
    float mask[ATT_TILE];
    const float *has = NULL;
    uint64_t seen = 0;
    if (att_given(w->run, TENON_ATTENTION_MASK)) {
        att_mask(w, r, bits, mask);
        has = mask;
    }
    for (int v = 0; v < ATT_VECTORS; v++) {
        vf s = vf_mul(vf_load(x + v * VF), scale);
        if (!plain)
            s = att_pipeline(w, r, s, v, has);
        if (bits != ~UINT64_C(0))
            s = vf_select(att_lanes(bits, v), s, hidden);
        if (has)
            s = vf_select(vf_eq(vf_load(has + v * VF), hidden), hidden, s);
        seen |= (uint64_t)vm_bits(vm_not(vf_eq(s, hidden))) << (v * VF);
        vf_store(x + v * VF, s);
    }
    return seen;
}

/* ---- weights ---- */

/* The sum of 64 numbers, in the order of vectors and then of reductions. */
SIMD_FN float att_total(const float *x)
{
    vf sum = vf_load(x);
    for (int v = 1; v < ATT_VECTORS; v++)
        sum = vf_add(sum, vf_load(x + v * VF));
    return vf_reduce_add(sum);
}

/* x = e^(x - low), 0 for -Inf. */
SIMD_FN void att_exps(float *x, float low)
{
    const vf shift = vf_set1(low);
    for (int v = 0; v < ATT_VECTORS; v += ATT_EACH) {
        vf e[ATT_EACH];
        UNROLL
        for (int i = 0; i < ATT_EACH; i++)
            e[i] = vf_sub(vf_load(x + (v + i) * VF), shift);
        vf_exp_each(e, ATT_EACH);
        UNROLL
        for (int i = 0; i < ATT_EACH; i++)
            vf_store(x + (v + i) * VF, e[i]);
    }
}

/* The running maximum with this tile; `factor` brings what was summed before to it. A row with NaN alone has -Inf. */
static float att_raise(struct att_sums *now, const float *x, float *factor)
{
    vf top = vf_set1(-INFINITY);
    for (int v = 0; v < ATT_VECTORS; v++)
        top = vf_max(vf_load(x + v * VF), top);
    const float most = vf_reduce_max(top), before = now->m;
    const float m = most > before ? most : before;
    *factor = m == before ? 1.0f : before == -INFINITY ? 0.0f : att_exp(before - m);
    now->m = m;
    return m == -INFINITY ? 0.0f : m;
}

/* Sum of e^d d of the keys that are seen, d = x - low: for the entropy. */
static float att_moment(const float *x, float low, uint64_t seen)
{
    float terms[ATT_TILE];
    for (int v = 0; v < ATT_VECTORS; v++) {
        const vf d = vf_sub(vf_load(x + v * VF), vf_set1(low));
        vf_store(terms + v * VF, vf_keep(att_lanes(seen, v), vf_mul(vf_exp(d), d)));
    }
    return att_total(terms);
}

static float att_weigh_exp(const struct att_work *w, struct att_row *r, int what, float *x, uint64_t seen)
{
    struct att_sums *now = &r->now;
    const struct tenon_attention_params *p = w->run->p;
    float factor = 1.0f, low = p->phi;
    if (what == ATT_UNIFIED) {
        for (int v = 0; v < ATT_VECTORS; v++) {
            const vf d = vf_sub(vf_load(x + v * VF), vf_set1(low));
            const vm in = vm_and(vf_ge(d, vf_set1(p->phi_lo)), vf_le(d, vf_set1(p->phi_hi)));
            r->outside |= vm_any(vm_andnot(att_lanes(seen, v), in)) != 0;
        }
        now->m = low;
    } else {
        const float before = now->m;
        low = att_raise(now, x, &factor);
        if (p->adapt && what == ATT_STATS) {
            const float a = before == -INFINITY ? 0.0f : now->a + now->z * (before - now->m);
            now->a = a * factor + att_moment(x, low, seen);
        }
    }
    att_exps(x, low);
    now->z = now->z * factor + att_total(x);
    return factor;
}

static float att_weigh_softpick(struct att_row *r, float *x, uint64_t seen)
{
    float factor, terms[ATT_TILE];
    const float low = att_raise(&r->now, x, &factor);
    const vf one = vf_set1(att_exp(-low));
    att_exps(x, low);
    for (int v = 0; v < ATT_VECTORS; v++) {
        const vf e = vf_keep(att_lanes(seen, v), vf_sub(vf_load(x + v * VF), one));
        vf_store(terms + v * VF, vf_abs(e));
        vf_store(x + v * VF, vf_select(vf_lt(e, vf_zero()), vf_zero(), e));
    }
    r->now.z = r->now.z * factor + att_total(terms);
    return factor;
}

/* p of CLIP: it has its divisor from the pass before. */
static void att_weigh_clip(const struct att_work *w, const struct att_row *r, float *x, uint64_t seen)
{
    const struct tenon_attention_params *p = w->run->p;
    const vf gain = vf_set1(p->clip_zeta - p->clip_gamma), low = vf_set1(p->clip_gamma), one = vf_set1(1.0f);
    att_exps(x, r->lnz);
    for (int v = 0; v < ATT_VECTORS; v++) {
        vf y = vf_madd(vf_load(x + v * VF), gain, low);
        y = vf_select(vf_lt(y, vf_zero()), vf_zero(), y);
        y = vf_select(vf_gt(y, one), one, y);
        vf_store(x + v * VF, vf_keep(att_lanes(seen, v), y));
    }
}

/* 1 / (1 + e^-z): e^-|z| never overflows. */
SIMD_FN void att_sigmoids(float *x, float bias)
{
    const vf one = vf_set1(1.0f), add = vf_set1(bias);
    for (int v = 0; v < ATT_VECTORS; v += ATT_EACH) {
        vf z[ATT_EACH], e[ATT_EACH];
        UNROLL
        for (int i = 0; i < ATT_EACH; i++) {
            z[i] = vf_add(vf_load(x + (v + i) * VF), add);
            e[i] = vf_neg(vf_abs(z[i]));
        }
        vf_exp_each(e, ATT_EACH);
        UNROLL
        for (int i = 0; i < ATT_EACH; i++)
            vf_store(x + (v + i) * VF, vf_div(vf_select(vf_lt(z[i], vf_zero()), e[i], one), vf_add(one, e[i])));
    }
}

/* The other kinds: one vector at a time, no maximum. */
static void att_weigh_plain(const struct att_work *w, struct att_row *r, float *x, uint64_t seen)
{
    const struct tenon_attention_params *p = w->run->p;
    const uint32_t kind = p->weight;
    if (kind == TENON_ATTENTION_SIGMOID)
        att_sigmoids(x, p->bias);
    for (int v = 0; v < ATT_VECTORS; v++) {
        vf s = vf_load(x + v * VF);
        if (kind == TENON_ATTENTION_RELU || kind == TENON_ATTENTION_RELU2)
            s = vf_select(vf_lt(s, vf_zero()), vf_zero(), s);
        else if (kind == TENON_ATTENTION_QUAD)
            s = vf_add(s, vf_set1(p->quad_c));
        if (kind == TENON_ATTENTION_RELU2 || kind == TENON_ATTENTION_QUAD)
            s = vf_mul(s, s);
        vf_store(x + v * VF, vf_keep(att_lanes(seen, v), s));
    }
    r->now.z += att_total(x);
}

SIMD_FN void att_scale(float *x, const float *by, uint64_t seen)
{
    for (int v = 0; v < ATT_VECTORS; v++)
        vf_store(x + v * VF, vf_keep(att_lanes(seen, v), vf_mul(vf_load(x + v * VF), vf_load(by + v * VF))));
}

/* Scores become what multiplies v; the row's sums take them in. Returns what multiplies its output so far. */
static float att_weigh(const struct att_work *w, struct att_row *r, int what, float *x, uint64_t seen)
{
    float factor = 1.0f;
    if (!seen) {
        memset(x, 0, ATT_TILE * sizeof *x);
        return factor;
    }
    r->now.n += (uint32_t)__builtin_popcountll(seen);
    if (what == ATT_CLIP)
        att_weigh_clip(w, r, x, seen);
    else if (w->run->p->weight == TENON_ATTENTION_EXP)
        factor = att_weigh_exp(w, r, what, x, seen);
    else if (w->run->p->weight == TENON_ATTENTION_SOFTPICK)
        factor = att_weigh_softpick(r, x, seen);
    else
        att_weigh_plain(w, r, x, seen);
    if (att_given(w->run, TENON_ATTENTION_VSCALE))
        att_scale(x, w->tile->vscale, seen);
    return factor;
}

/* ---- sums of splits ---- */

static void att_begin(const struct att_work *w, struct att_sums *s)
{
    const int online = w->run->p->weight == TENON_ATTENTION_EXP;
    *s = (struct att_sums){.m = online ? -INFINITY : 0.0f};
}

/* o of a split joins that of the splits before: all = all * x + now * y. */
static void att_join(float *all, const float *now, int64_t n, float x, float y)
{
    for (int64_t i = 0; i < n; i += VF)
        vf_store(all + i, vf_add(vf_mul(vf_load(all + i), vf_set1(x)), vf_mul(vf_load(now + i), vf_set1(y))));
}

static float att_rest(float m, float top)
{
    return m == top ? 1.0f : m == -INFINITY ? 0.0f : att_exp(m - top);
}

/* The sums of a split and its o join those before. */
static void att_merge(struct att_sums *all, const struct att_sums *now, float *all_o, const float *o, int64_t n)
{
    if (!now->n)
        return;
    if (!all->n) {
        *all = *now;
        memcpy(all_o, o, (size_t)n * sizeof *o);
        return;
    }
    const float top = all->m > now->m ? all->m : now->m;
    const float x = att_rest(all->m, top), y = att_rest(now->m, top);
    /* without visible numbers m is -Inf, and a is 0 or NaN already */
    const float left = x == 1.0f || x == 0.0f ? 0.0f : all->z * (all->m - top);
    const float right = y == 1.0f || y == 0.0f ? 0.0f : now->z * (now->m - top);
    all->a = (all->a + left) * x + (now->a + right) * y;
    all->z = all->z * x + now->z * y;
    all->m = top;
    all->n += now->n;
    att_join(all_o, o, n, x, y);
}

#endif
