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
        c->whole = is_v ? s->whole_v : s->whole_k;
    }
    return c;
}

SIMD_FN vf att_code_bytes(const uint8_t *from, int n)
{
    return n == VF ? vf_load_u8(from) : vf_load_u8_n(from, n);
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
    att_decode(c, from, n, to);
    for (int64_t i = 0; i < n && c->whole; i += VF)
        vf_store(to + i, att_affine(0, vf_load(to + i), vf_set1(pairs[0]), vf_set1(pairs[1])));
    if (c->whole)
        return;
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

/* Asks for its share, before VF keys are packed, of what the next tile reads. Where the heads of a key lie side by side
 * all of them are asked for, row after row: memory that is walked through is what processors fetch ahead themselves. */
static void att_ask(const struct att_work *w, int u)
{
    const int blocks = ATT_TILE / VF, at = (int)w->run_at * blocks + u / VF, all = (int)w->together * blocks;
    for (int i = 0; i < ATT_LINES && w->next != w->tile; i++) {
        const struct att_line *line = &w->line[i];
        if (!line->from)
            continue;
        const int from = line->beside ? ATT_TILE * at / all : u, to = line->beside ? ATT_TILE * (at + 1) / all : u + VF;
        const int64_t bytes = line->bytes + (line->beside ? (w->together - 1) * line->head : 0);
        const uintptr_t past = line->beside ? 0 : (uintptr_t)w->past[i];
        for (int j = from; j < to; j++)
            for (int64_t c = 0; c < bytes; c += 64)
                simd_prefetch_far((const void *)(w->next->at[i][j] + past + (uintptr_t)c));
    }
}

/* Where the rows of k of VF places are. */
SIMD_FN void att_rows_of(const struct att_work *w, int u, const float **row)
{
    for (int i = 0; i < VF; i++)
        row[i] = (const float *)(const void *)att_line_at(w, ATT_K_ROWS, u + i);
}

/* The last n < VF columns. */
static __attribute__((noinline)) void att_pack_rest(const struct att_work *w, uint32_t dtype, int u, int64_t c, int n)
{
    for (int i = 0; i < VF; i++) {
        float lanes[VF];
        vf_store(lanes, load_x(att_line_at(w, ATT_K_ROWS, u + i), c, n, dtype));
        for (int j = 0; j < n; j++)
            w->k[(c + j) * ATT_TILE + u + i] = lanes[j];
    }
}

/* Rows of a float type as columns [d][64]. */
SIMD_FN void att_pack_turned(const struct att_work *w, const uint32_t dtype, int64_t d)
{
    for (int u = 0; u < ATT_TILE; u += VF) {
        const float *row[VF], *wide[VF];
        float lanes[VF * VF] __attribute__((aligned(64)));
        int64_t c = 0;
        att_ask(w, u);
        att_rows_of(w, u, row);
        for (int i = 0; i < VF; i++)
            wide[i] = lanes + i * VF;
        for (; c + VF <= d; c += VF) {
            vf square[VF];
            UNROLL
            for (int i = 0; i < VF; i++) {
                if (dtype != TENON_F32)
                    vf_store(lanes + i * VF, load_x(row[i], c, VF, dtype));
            }
            if (dtype == TENON_F32)
                transpose_load(row, c, square);
            else
                transpose_load(wide, 0, square);
            UNROLL
            for (int i = 0; i < VF; i++)
                vf_store(w->k + (c + i) * ATT_TILE + u, square[i]);
        }
        if (c < d)
            att_pack_rest(w, dtype, u, c, (int)(d - c));
    }
}

#if VF >= 4
#define ATT_BYTES (4 * VF) /* codes of a row that are turned at once */

/* Four columns of codes. */
SIMD_FN void att_widen_bytes(vf codes, vf *to)
{
    const vi four = vi_bits(codes), byte = vi_set1(255);
    to[0] = vf_from_vi(vi_and(four, byte));
    to[1] = vf_from_vi(vi_and(vi_shr(four, 8), byte));
    to[2] = vf_from_vi(vi_and(vi_shr(four, 16), byte));
    to[3] = vf_from_vi(vi_shr(four, 24));
}

/* The pairs of VF keys for codes from c on, where a row has several. */
SIMD_FN void att_pairs(const struct att_work *w, const struct att_codes *codes, int u, int64_t c, vf *s, vf *z)
{
    float lanes[2][VF];
    const int64_t at = 2 * (c / codes->group);
    for (int i = 0; i < VF; i++) {
        const float *pair = att_pair_at(w, ATT_K_PAIRS, u + i) + at;
        lanes[0][i] = pair[0];
        lanes[1][i] = pair[1];
    }
    *s = vf_load(lanes[0]);
    *z = vf_load(lanes[1]);
}

/* Codes of 8 bits, four of them a lane: they are turned before they are widened, which is a quarter of the work. */
SIMD_FN void att_pack_bytes(const struct att_work *w, const struct att_codes *codes, const int whole, int64_t d)
{
    for (int u = 0; u < ATT_TILE; u += VF) {
        const float *row[VF];
        vf square[VF], s = vf_zero(), z = vf_zero();
        att_ask(w, u);
        att_rows_of(w, u, row);
        if (whole) {
            s = vf_load(w->k_scale + u);
            z = vf_load(w->k_zero + u);
        }
        for (int64_t c = 0; c < d; c += ATT_BYTES) {
            if (!whole && !codes->s)
                att_pairs(w, codes, u, c, &s, &z);
            transpose_load(row, c / 4, square);
            for (int i = 0; i < VF; i++) {
                float *to = w->k + (c + 4 * i) * ATT_TILE + u;
                vf x[4];
                att_widen_bytes(square[i], x);
                UNROLL
                for (int j = 0; j < 4; j++) {
                    if (!whole && codes->s) {
                        s = vf_set1(codes->s[c + 4 * i + j]);
                        z = vf_set1(codes->z[c + 4 * i + j]);
                    }
                    vf_store(to + j * ATT_TILE, att_affine(0, x[j], s, z));
                }
            }
        }
    }
}
#endif

/* The pairs (s, z) of the tile's keys, where a row has one. */
static void att_fill_pairs(const struct att_work *w, int line, float *scale, float *zero)
{
    for (int u = 0; u < ATT_TILE; u++) {
        const float *pair = att_pair_at(w, line, u);
        scale[u] = pair[0];
        zero[u] = pair[1];
    }
}

/* Codes: turned as bytes where that goes, else row by row. */
static void att_pack_codes(struct att_work *w)
{
    const struct att_state *s = w->run->state;
    const struct att_codes *c = att_codes(w, 0);
#if VF >= 4
    if (c->bits == 8 && c->quant < TENON_ATTENTION_LUT_TOKEN && s->d % ATT_BYTES == 0 && c->group % ATT_BYTES == 0) {
        if (c->whole)
            att_pack_bytes(w, c, 1, s->d);
        else
            att_pack_bytes(w, c, 0, s->d);
        return;
    }
#endif
    for (int u = 0; u < ATT_TILE; u += VF) {
        att_ask(w, u);
        for (int i = 0; i < VF; i++)
            att_dequantise(c, att_line_at(w, ATT_K_ROWS, u + i), att_pair_at(w, ATT_K_PAIRS, u + i), s->d,
                           w->widened + i * s->dp);
        for (int64_t at = 0; at < s->d; at += VF) {
            vf square[VF];
            float lanes[VF * VF];
            for (int i = 0; i < VF; i++)
                square[i] = vf_load(w->widened + i * s->dp + at);
            transpose(square);
            for (int i = 0; i < VF; i++)
                vf_store(lanes + i * VF, square[i]);
            for (int i = 0; i < (int)att_least(VF, s->d - at); i++)
                vf_store(w->k + (at + i) * ATT_TILE + u, vf_load(lanes + i * VF));
        }
    }
}

static void att_pack_k(struct att_work *w)
{
    const struct att_state *s = w->run->state;
    if (w->run->p->quant_k)
        att_pack_codes(w);
    else if (s->k_type == TENON_F32)
        att_pack_turned(w, TENON_F32, s->d);
    else if (s->k_type == TENON_F16)
        att_pack_turned(w, TENON_F16, s->d);
    else
        att_pack_turned(w, TENON_BF16, s->d);
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
    for (int u = w->tile->first; u < w->tile->end; u++) {
        const char *row = att_line_at(w, ATT_V_ROWS, u);
        float *to = w->v + u * s->vp;
        if (!(w->tile->base >> u & 1)) {
            memset(to, 0, (size_t)s->vp * sizeof *to);
        } else if (c) {
            att_dequantise(c, row, att_pair_at(w, ATT_V_PAIRS, u), s->v, to);
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
    const float *v = w->v + w->tile->first * s->vp, *end = w->v + w->tile->end * s->vp;
    for (; v < end; v += VF)
        if (!vm_all(vf_lt(vf_abs(vf_load(v)), limit)))
            return 0;
    return 1;
}

#endif
