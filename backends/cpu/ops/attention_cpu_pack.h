/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention on the CPU: the keys of a tile as [D][64], its values as [64][V], widened to f32. */
#ifndef TENON_ATTENTION_CPU_PACK_H
#define TENON_ATTENTION_CPU_PACK_H

#include "ops/attention_cpu.h"

/* What the codes of k or of v mean, for the heads of an item. */
static const struct att_codes *att_codes(struct att_work *w, int is_v)
{
    const struct att_run *run = w->run;
    const struct att_state *s = run->state;
    const uint32_t i = is_v ? TENON_ATTENTION_V_QUANT : TENON_ATTENTION_K_QUANT;
    const int64_t width = is_v ? s->v : s->d, stride = is_v ? s->vp : s->dp, hk = w->h0 / (s->hq / s->hk);
    struct att_codes *c = &w->codes[is_v];
    if (c->hk == hk)
        return c;
    *c = (struct att_codes){.hk = hk,
                            .quant = is_v ? run->p->quant_v : run->p->quant_k,
                            .bits = is_v ? run->p->v_bits : run->p->k_bits,
                            .table = run->ptr[is_v ? TENON_ATTENTION_V_TABLE : TENON_ATTENTION_K_TABLE],
                            .group = width};
    if (c->quant == TENON_ATTENTION_AFFINE_CHANNEL || c->quant == TENON_ATTENTION_LUT_CHANNEL) {
        const float *pairs = (const float *)run->ptr[i] + hk * width * 2;
        float *channel = is_v ? w->v_channel : w->k_channel;
        for (int64_t d = 0; d < stride; d++) {
            channel[d] = d < width ? pairs[2 * d] : 0.0f;
            channel[stride + d] = d < width ? pairs[2 * d + 1] : 0.0f;
        }
        c->s = channel;
        c->z = channel + stride;
    } else if (c->quant) {
        c->group = width / run->plan->tensor[i].dim[3];
    }
    return c;
}

SIMD_FN vf att_code_bytes(const uint8_t *from, int n)
{
    const vf x = n == VF ? vf_load_i8((const int8_t *)from) : vf_load_i8_n((const int8_t *)from, n);
    return vf_select(vf_lt(x, vf_zero()), vf_add(x, vf_set1(256.0f)), x);
}

/* Codes as floats, or what the table has for them: to[0 .. n). */
static void att_decode(const struct att_codes *c, const uint8_t *from, int64_t n, float *to)
{
    const int lut = c->quant >= TENON_ATTENTION_LUT_TOKEN;
    const int64_t each = 8 / c->bits;
    const unsigned mask = (1u << c->bits) - 1;
    if (c->bits == 8 && !lut) {
        for (int64_t i = 0; i < n; i += VF)
            vf_store(to + i, att_code_bytes(from + i, (int)att_least(VF, n - i)));
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const unsigned code = (unsigned)from[i / each] >> (i % each * c->bits) & mask;
        to[i] = lut ? c->table[code] : (float)code;
    }
}

/* x = (c - z) * s, or table * s + z. */
SIMD_FN vf att_affine(int lut, vf x, vf s, vf z)
{
    return lut ? vf_add(vf_mul(x, s), z) : vf_mul(vf_sub(x, z), s);
}

/* A row of codes: to[0 .. n), where there is room for whole vectors. */
static void att_dequantise(const struct att_codes *c, const void *from, const float *pairs, int64_t n, float *to)
{
    const int lut = c->quant >= TENON_ATTENTION_LUT_TOKEN;
    if (c->bits == 8 && !lut && !c->s && c->group == n) {
        const vf s = vf_set1(pairs[0]), z = vf_set1(pairs[1]);
        for (int64_t i = 0; i < n; i += VF) {
            const vf x = att_code_bytes((const uint8_t *)from + i, (int)att_least(VF, n - i));
            vf_store(to + i, att_affine(0, x, s, z));
        }
        return;
    }
    att_decode(c, from, n, to);
    for (int64_t i = 0; i < n && c->s; i += VF)
        vf_store(to + i, att_affine(lut, vf_load(to + i), vf_load(c->s + i), vf_load(c->z + i)));
    for (int64_t g = 0; g * c->group < n && !c->s; g++)
        for (int64_t i = 0; i < c->group; i += VF) {
            const int rest = (int)att_least(VF, c->group - i);
            float *at = to + g * c->group + i;
            const vf y = att_affine(lut, vf_load_n(at, rest), vf_set1(pairs[2 * g]), vf_set1(pairs[2 * g + 1]));
            vf_store_n(at, y, rest);
        }
}

/* Rows of a float type, VF of them, as columns [d][64]. `ahead` bytes on are those of the next tile. */
SIMD_FN void att_turn(const char *const *row, const uint32_t dtype, int64_t d, int64_t ahead, float *to)
{
    for (int64_t c = 0; c < d; c += VF) {
        const int n = (int)att_least(VF, d - c);
        vf square[VF];
        if (n < VF) {
            float lanes[VF * VF];
            for (int u = 0; u < VF; u++)
                square[u] = load_x(row[u], c, n, dtype);
            transpose(square);
            for (int i = 0; i < VF; i++)
                vf_store(lanes + i * VF, square[i]);
            for (int i = 0; i < n; i++)
                vf_store(to + (c + i) * ATT_TILE, vf_load(lanes + i * VF));
            continue;
        }
        UNROLL
        for (int u = 0; u < VF; u++) {
            square[u] = load_x(row[u], c, VF, dtype);
            if (c * (int64_t)TENON_DTYPE_SIZE(dtype) % 64 == 0)
                simd_prefetch_far(
                    (const void *)((uintptr_t)row[u] + (uintptr_t)(c * TENON_DTYPE_SIZE(dtype)) + (uintptr_t)ahead));
        }
        transpose(square);
        UNROLL
        for (int i = 0; i < VF; i++)
            vf_store(to + (c + i) * ATT_TILE, square[i]);
    }
}

#if VF >= 4
/* Rows of affine codes of 8 bits, four of them a lane: they are turned before they are widened, which is a quarter of
 * the work. d is a multiple of 4 VF. */
static void att_turn_bytes(const struct att_codes *c, const char *const *row, const float *const *pair, int64_t d,
                           int64_t ahead, float *to)
{
    float s[VF], z[VF];
    for (int64_t at = 0; at < d; at += 4 * VF) {
        vf square[VF];
        for (int u = 0; u < VF && !c->s; u++) {
            s[u] = pair[u][2 * (at / c->group)];
            z[u] = pair[u][2 * (at / c->group) + 1];
        }
        UNROLL
        for (int u = 0; u < VF; u++) {
            square[u] = vf_load((const float *)(const void *)(row[u] + at));
            simd_prefetch_far((const void *)((uintptr_t)row[u] + (uintptr_t)at + (uintptr_t)ahead));
        }
        transpose(square);
        UNROLL
        for (int i = 0; i < VF; i++) {
            const vi four = vi_bits(square[i]), byte = vi_set1(255);
            const vi code[4] = {vi_and(four, byte), vi_and(vi_shr(four, 8), byte), vi_and(vi_shr(four, 16), byte),
                                vi_shr(four, 24)};
            float *column = to + (at + 4 * i) * ATT_TILE;
            UNROLL
            for (int j = 0; j < 4; j++) {
                const vf scale = c->s ? vf_set1(c->s[at + 4 * i + j]) : vf_load(s);
                const vf zero = c->s ? vf_set1(c->z[at + 4 * i + j]) : vf_load(z);
                vf_store(column + j * ATT_TILE, att_affine(0, vf_from_vi(code[j]), scale, zero));
            }
        }
    }
}
#endif

/* Codes: turned as bytes where that goes, else row by row. Returns whether `row` is the rows widened. */
static int att_widen_k(struct att_work *w, const char **wide)
{
    const struct att_state *s = w->run->state;
    const struct att_codes *c = att_codes(w, 0);
#if VF >= 4
    if (c->bits == 8 && c->quant < TENON_ATTENTION_LUT_TOKEN && s->d % (4 * VF) == 0 && c->group % (4 * VF) == 0) {
        for (int u = 0; u < ATT_TILE; u += VF)
            att_turn_bytes(c, w->tile.k + u, w->tile.kq + u, s->d, w->tile.ahead_k, w->k + u);
        return 0;
    }
#endif
    for (int u = 0; u < ATT_TILE; u++) {
        float *to = w->widened + u * s->dp;
        wide[u] = (const char *)to;
        if (w->tile.base >> u & 1)
            att_dequantise(c, w->tile.k[u], w->tile.kq[u], s->d, to);
        else
            wide[u] = w->zeros;
    }
    return 1;
}

static void att_pack_k(struct att_work *w)
{
    const struct att_state *s = w->run->state;
    const char *const *row = w->tile.k;
    const char *wide[ATT_TILE];
    uint32_t dtype = s->k_type;
    int64_t ahead = w->tile.ahead_k;
    if (w->run->p->quant_k) {
        if (!att_widen_k(w, wide))
            return;
        row = wide;
        dtype = TENON_F32;
        ahead = 0;
    }
    for (int u = 0; u < ATT_TILE; u += VF) {
        if (dtype == TENON_F32)
            att_turn(row + u, TENON_F32, s->d, ahead, w->k + u);
        else if (dtype == TENON_F16)
            att_turn(row + u, TENON_F16, s->d, ahead, w->k + u);
        else
            att_turn(row + u, TENON_BF16, s->d, ahead, w->k + u);
    }
}

SIMD_FN void att_widen(const char *row, const uint32_t dtype, int64_t n, float *to)
{
    for (int64_t c = 0; c < n; c += VF)
        vf_store(to + c, load_x(row, c, (int)att_least(VF, n - c), dtype));
}

static void att_pack_v(struct att_work *w)
{
    const struct att_state *s = w->run->state;
    const struct att_codes *c = w->run->p->quant_v ? att_codes(w, 1) : NULL;
    const int64_t bytes = c ? s->v * c->bits / 8 : s->v * (int64_t)TENON_DTYPE_SIZE(s->v_type);
    for (int u = w->tile.first; u < w->tile.end; u++) {
        const char *row = w->tile.v[u];
        float *to = w->v + u * s->vp;
        for (int64_t at = 0; at < bytes; at += 64)
            simd_prefetch_far((const void *)((uintptr_t)row + (uintptr_t)at + (uintptr_t)w->tile.ahead_v));
        if (!(w->tile.base >> u & 1)) {
            memset(to, 0, (size_t)s->vp * sizeof *to);
        } else if (c) {
            att_dequantise(c, row, w->tile.vq[u], s->v, to);
            memset(to + s->v, 0, (size_t)(s->vp - s->v) * sizeof *to);
        } else if (s->v_type == TENON_F32) {
            att_widen(row, TENON_F32, s->v, to);
        } else if (s->v_type == TENON_F16) {
            att_widen(row, TENON_F16, s->v, to);
        } else {
            att_widen(row, TENON_BF16, s->v, to);
        }
    }
}

/* Whether the packed values are all finite: what is not may not meet a weight of 0 that stands for "not visible". */
static int att_finite(const struct att_work *w)
{
    const struct att_state *s = w->run->state;
    const vf limit = vf_set1(INFINITY);
    const float *v = w->v + w->tile.first * s->vp, *end = w->v + w->tile.end * s->vp;
    for (; v < end; v += VF)
        if (!vm_all(vf_lt(vf_abs(vf_load(v)), limit)))
            return 0;
    return 1;
}

#endif
