/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the softmax kernels share: the logit pipeline, the order of values, the state of a row and how it ends.
 */
#ifndef TN_LIB_SOFTMAX_H
#define TN_LIB_SOFTMAX_H

/* What is asked for, in one word: `opt` wherever it is needed. Every combination as a variant of its own would be
 * hundreds, a second each on some devices; so a launch has the word as an argument (OPTIONS is 0), and only the few
 * combinations that are worth a compilation have it as a constant. The recipe makes the same word. */
TN_SPEC(1, OPTIONS)

#define sm_options(argument) (OPTIONS != 0u ? OPTIONS : (argument))
#define KIND (opt & 1u)               /* 0 EXP, 1 LOG_EXP */
#define ALGO ((opt >> 1) & 7u)        /* TENON_SOFTMAX_*, never AUTO */
#define EMPTY_ROW ((opt >> 4) & 3u)   /* TENON_SOFTMAX_EMPTY_* */
#define DT_X ((opt >> 6) & 3u)
#define DT_Y ((opt >> 8) & 3u)        /* DT_NONE: no y */
#define HAS_BIAS (opt & 0x400u)
#define HAS_MASK (opt & 0x800u)
#define HAS_VALID (opt & 0x1000u)
#define HAS_ROW_SCALE (opt & 0x2000u)
#define SINK ((opt >> 14) & 3u)       /* 0 none, 1 one a row, 2 one for all */
#define HAS_SCALE (opt & 0x10000u)    /* v = fma(x, scale, bias), else x */
#define HAS_T (opt & 0x20000u)        /* T may differ from 1 */
#define STATS ((opt >> 18) & 15u)     /* set of SM_STATS_*; 0: no statistics */
#define TILED ((opt >> 22) & 3u)      /* softmax_row: SM_WHOLE, SM_SUM or SM_WRITE */
#define WANTS_NNZ (opt & 0x10000000u)
#define WANTS_SUMSQ (opt & 0x20000000u)
/* Elements from a buffer's address to the first; in the argument alone. They are 0 for f32, but lavapipe's code for the
 * tiles of plain rows takes twice as long where they are not added. */
#define SM_X_SHIFT ((options >> 24) & 1u)
#define SM_MASK_SHIFT ((options >> 25) & 3u)
#define SM_Y_SHIFT ((options >> 27) & 1u)

#include "num.h"
#include "order.h"
#include "reduce.h"

#define SM_RECOMPUTE 1u
#define SM_RELOAD 2u
#define SM_EXT 3u
#define SM_ONLINE 4u
#define SM_FIXED 5u

#define SM_WHOLE 0u /* a work-group does a whole row */
#define SM_SUM 1u   /* a long row: the sums of its tiles */
#define SM_WRITE 2u /* ... and, after softmax_join, its y */

#define SM_STATS_ANY 1u
#define SM_STATS_ARGMAX 2u
#define SM_STATS_MARGIN 4u
#define SM_STATS_ENTROPY 8u

#define SM_NO_EXPONENT -1073741824.0f
#define SM_BLOCK 32u          /* sequential f32 additions before a flush to a pair */
#define SM_EXT_LIMIT 0x49800000u /* bits of 2^20 */

/* The total order, by its names here. */
#define SM_KEY_NONE TN_ORDER_NONE
#define SM_KEY_NAN TN_ORDER_NAN
#define SM_KEY_NEG_INF TN_ORDER_NEG_INF
#define SM_KEY_INF TN_ORDER_INF
#define SM_KEY_BAD 2147483647 /* in a maximum: a NaN was seen */
#define sm_key tn_order_key

/* The same of values whose NaN are found otherwise, and with the sign of 0. */
#define sm_raw_key(bits) (tn_vas_int(bits) ^ ((tn_vas_int(bits) >> 31) & 0x7fffffff))

/* The value of a key. NaN reads as 0 and so do the infinities: where one of them is the maximum, no difference with it
 * is ever used. */
#define sm_key_bits_(key) ((key) <= SM_KEY_NEG_INF || (key) >= SM_KEY_INF ? 0 : (key) ^ (((key) >> 31) & 0x7fffffff))
#define sm_key_value(key) tn_float(tn_as_uint(sm_key_bits_(key)))
#define sm_vkey_value(key) tn_vfloat(tn_vas_uint(sm_key_bits_(key)))

/* Which of TN_VW entries from column i on exist. */
TN_FN tn_vb sm_there(uint opt, TN_BUF mask, uint mask_begin, uint i, uint n)
{
    tn_vb there = i + tn_viota < n;
    if (HAS_MASK != 0u)
        there = there && tn_vload_bytes(mask, mask_begin + i, mask_begin + n) != 0u;
    return there;
}

/* v_j of TN_VW entries from column i on, as bits. */
TN_FN tn_vu sm_logit(uint opt, TN_BUF x, uint x_begin, TN_BUF bias, uint bias_begin, uint i, uint n, float scale)
{
    tn_vu bits = tn_vload_bits(x, DT_X, x_begin + i, x_begin + n);
    if (HAS_SCALE != 0u) {
        tn_vu b = 0u;
        tn_vf s = scale;
        if (HAS_BIAS != 0u)
            b = tn_vload_bits(bias, DT_F32, bias_begin + i, bias_begin + n);
        bits = tn_vbits(tn_fma_exact(tn_vfloat(bits), s, tn_vfloat(b)));
    }
    return bits;
}

#define sm_plus(a, b) ((a) + (b))

/* (v - r) * T, of scalars or vectors; needs `opt`. Halved, which is exact, so that the difference of two finite values
 * is finite. */
#define sm_delta(v, r, t) (HAS_T != 0u ? (((v) * 0.5f - (r) * 0.5f) * (t)) * 2.0f : (v) - (r))

/* ---- a whole row ---- */

#define SM_NORMAL 0u
#define SM_NAN 1u
#define SM_EMPTY 2u

/* What is known of a row before its values are read. */
TN_STRUCT(sm_row) {
    uint n;      /* entries that are not beyond valid_len */
    float t;     /* T */
    float sink;
    uint mode;   /* SM_NAN when T or the sink alone decide */
};

TN_FN sm_row sm_row_begin(uint opt, uint row, uint cols, TN_BUF valid_len, TN_BUF row_scale, TN_BUF sink, float inv_temp)
{
    sm_row r;
    r.n = cols;
    r.t = inv_temp;
    r.sink = 0.0f;
    r.mode = SM_NORMAL;
    if (HAS_VALID != 0u) {
        uint length = TN_W(valid_len, row);
        r.n = length > 0x7fffffffu ? 0u : min(length, cols);
    }
    if (HAS_ROW_SCALE != 0u) {
        uint bits = TN_W(row_scale, row);
        r.mode = bits >= TN_INF_BITS && bits != 0x80000000u ? SM_NAN : r.mode;
        r.t = inv_temp * tn_float(bits);
        bits = tn_bits(r.t) & 0x7fffffffu;
        r.mode = bits >= TN_INF_BITS ? SM_NAN : r.mode;
        r.t = r.mode == SM_NAN ? 1.0f : r.t;
    }
    if (SINK != 0u) {
        uint bits = TN_W(sink, SINK == 1u ? row : 0u);
        r.sink = tn_float(bits);
        r.mode = bits == TN_INF_BITS || (bits & 0x7fffffffu) > TN_INF_BITS ? SM_NAN : r.mode;
    }
    return r;
}

/* What the sweeps over a row found. */
TN_STRUCT(sm_sums) {
    int key;         /* of the maximum; SM_KEY_BAD after a NaN */
    uint index;
    int best;        /* of the maximum, whatever else there is */
    int second;
    uint present;    /* entries that are not masked; only counted where EMPTY_ROW needs it */
    tn_pair s;       /* sum of exp((v - ref) * T) */
    float ref;
    tn_pair es;      /* the same with ref = maximum, and the sum of exp(d) * d: for the entropy */
    tn_pair ea;
    tn_pair eq;      /* ... of exp(d)^2: for the sum of squares */
    uint above;      /* entries above -Inf, where they are asked for */
    tn_pair a;       /* SM_EXT: sum = a * 2^n */
    float n;
    uint redone;     /* SM_EXT: the row or tile is beyond the range of (a, n); SM_FIXED: its maximum is far from phi */
};

/* What writing a row needs; the first six words are shared by a work-group, and a seventh. */
#define SM_END_WORDS 7u

TN_STRUCT(sm_end) {
    uint mode;
    uint fill;       /* bits of y where mode is not SM_NORMAL and the entry is not masked */
    float r;         /* R */
    float inverse;   /* 1/S; 1/a for SM_EXT */
    float n;         /* exponent of the sum, SM_EXT only */
    float log_s;     /* ln S */
    float top;       /* exp((M - R) * T) */
    tn_pair s;       /* S */
};

/* A sum against ref, against r. */
TN_FN tn_pair sm_rebase(uint opt, tn_pair s, float ref, float r, float t)
{
    tn_pair d = tn_two_sum(ref, -r);
    if (HAS_T != 0u) {
        tn_pair p = tn_two_prod(d.hi, t);
        d = tn_pair_make(p.hi, p.lo + d.lo * t);
    }
    tn_pair moved = tn_pair_mul_pair(s, tn_exp_pair(d.hi));
    /* of a difference beyond the type the low part is NaN, and nothing is left of s */
    return tn_pair_add(moved, (tn_bits(d.hi) & 0x7fffffffu) < TN_INF_BITS ? moved.hi * d.lo : 0.0f);
}

/* a * 2^n against r, where |n*ln2 - r| < 0.4. */
TN_FN tn_pair sm_ext_sum(tn_pair a, float r, float n)
{
    float factor = n > -1.0e9f ? tn_exp(-tn_exp_rest(r, n)) : 0.0f;
    return tn_pair_mul_pair(a, tn_pair_make(factor, 0.0f));
}

/* Tile records, SM_TILE_WORDS words each. */
#define SM_TILE_WORDS 20u

TN_FN void sm_sums_save(TN_BUF state, uint at, sm_sums sums)
{
    TN_W(state, at) = tn_as_uint(sums.key);
    TN_W(state, at + 1u) = sums.index;
    TN_W(state, at + 2u) = tn_as_uint(sums.best);
    TN_W(state, at + 3u) = tn_as_uint(sums.second);
    TN_W(state, at + 4u) = sums.present;
    TN_W(state, at + 5u) = tn_bits(sums.s.hi);
    TN_W(state, at + 6u) = tn_bits(sums.s.lo);
    TN_W(state, at + 7u) = tn_bits(sums.ref);
    TN_W(state, at + 8u) = tn_bits(sums.es.hi);
    TN_W(state, at + 9u) = tn_bits(sums.es.lo);
    TN_W(state, at + 10u) = tn_bits(sums.ea.hi);
    TN_W(state, at + 11u) = tn_bits(sums.ea.lo);
    TN_W(state, at + 12u) = tn_bits(sums.a.hi);
    TN_W(state, at + 13u) = tn_bits(sums.a.lo);
    TN_W(state, at + 14u) = tn_bits(sums.n);
    TN_W(state, at + 15u) = sums.redone;
    TN_W(state, at + 16u) = tn_bits(sums.eq.hi);
    TN_W(state, at + 17u) = tn_bits(sums.eq.lo);
    TN_W(state, at + 18u) = sums.above;
}

TN_FN sm_sums sm_sums_load(TN_BUF state, uint at)
{
    sm_sums sums;
    sums.key = tn_as_int(TN_W(state, at));
    sums.index = TN_W(state, at + 1u);
    sums.best = tn_as_int(TN_W(state, at + 2u));
    sums.second = tn_as_int(TN_W(state, at + 3u));
    sums.present = TN_W(state, at + 4u);
    sums.s = tn_pair_make(tn_float(TN_W(state, at + 5u)), tn_float(TN_W(state, at + 6u)));
    sums.ref = tn_float(TN_W(state, at + 7u));
    sums.es = tn_pair_make(tn_float(TN_W(state, at + 8u)), tn_float(TN_W(state, at + 9u)));
    sums.ea = tn_pair_make(tn_float(TN_W(state, at + 10u)), tn_float(TN_W(state, at + 11u)));
    sums.a = tn_pair_make(tn_float(TN_W(state, at + 12u)), tn_float(TN_W(state, at + 13u)));
    sums.n = tn_float(TN_W(state, at + 14u));
    sums.redone = TN_W(state, at + 15u);
    sums.eq = tn_pair_make(tn_float(TN_W(state, at + 16u)), tn_float(TN_W(state, at + 17u)));
    sums.above = TN_W(state, at + 18u);
    return sums;
}

TN_FN sm_sums sm_sums_empty(float ref)
{
    sm_sums sums;
    tn_pair nothing = tn_pair_make(0.0f, 0.0f);
    sums.key = SM_KEY_NONE;
    sums.index = 0xffffffffu;
    sums.best = SM_KEY_NONE;
    sums.second = SM_KEY_NONE;
    sums.present = 0u;
    sums.s = nothing;
    sums.ref = ref;
    sums.es = nothing;
    sums.ea = nothing;
    sums.eq = nothing;
    sums.above = 0u;
    sums.a = nothing;
    sums.n = SM_NO_EXPONENT;
    sums.redone = 0u;
    return sums;
}

/* Two neighbouring stretches of a row; a is the one of the lower columns. */
TN_FN sm_sums sm_sums_merge(uint opt, sm_sums a, sm_sums b, float t)
{
    sm_sums c;
    c.key = max(a.key, b.key);
    c.best = max(a.best, b.best);
    c.index = b.best > a.best ? b.index : a.index;
    c.second = max(min(a.best, b.best), max(a.second, b.second));
    c.present = a.present + b.present;
    c.above = a.above + b.above;
    bool a_none = a.best <= SM_KEY_NEG_INF;
    bool b_none = b.best <= SM_KEY_NEG_INF;
    float am = sm_key_value(a.best);
    float bm = sm_key_value(b.best);
    float m = a_none ? bm : (b_none ? am : tn_fmax(am, bm));
    /* sums against their references; a stretch without weight has no reference */
    c.ref = a_none ? b.ref : (b_none ? a.ref : tn_fmax(a.ref, b.ref));
    tn_pair nothing = tn_pair_make(0.0f, 0.0f);
    tn_pair as = nothing;
    tn_pair bs = nothing;
    if (!a_none)
        as = sm_rebase(opt, a.s, a.ref, c.ref, t);
    if (!b_none)
        bs = sm_rebase(opt, b.s, b.ref, c.ref, t);
    c.s = tn_pair_add_pair(as, bs);
    c.es = nothing;
    c.ea = nothing;
    if ((STATS & SM_STATS_ENTROPY) != 0u) {
        if (!a_none) {
            tn_pair w = tn_exp_pair(sm_delta(am, m, t));
            tn_pair d = tn_pair_make(sm_delta(am, m, t), 0.0f);
            c.es = tn_pair_mul_pair(a.es, w);
            c.ea = tn_pair_mul_pair(tn_pair_add_pair(a.ea, tn_pair_mul_pair(a.es, d)), w);
        }
        if (!b_none) {
            tn_pair w = tn_exp_pair(sm_delta(bm, m, t));
            tn_pair d = tn_pair_make(sm_delta(bm, m, t), 0.0f);
            c.es = tn_pair_add_pair(c.es, tn_pair_mul_pair(b.es, w));
            c.ea = tn_pair_add_pair(c.ea, tn_pair_mul_pair(tn_pair_add_pair(b.ea, tn_pair_mul_pair(b.es, d)), w));
        }
    }
    c.eq = nothing;
    if (WANTS_SUMSQ != 0u) {
        tn_pair aw = tn_exp_pair(sm_delta(am, m, t));
        tn_pair bw = tn_exp_pair(sm_delta(bm, m, t));
        if (!a_none)
            c.eq = tn_pair_mul_pair(a.eq, tn_pair_mul_pair(aw, aw));
        if (!b_none)
            c.eq = tn_pair_add_pair(c.eq, tn_pair_mul_pair(b.eq, tn_pair_mul_pair(bw, bw)));
    }
    c.n = tn_fmax(a.n, b.n);
    float af = tn_pow2(a.n - c.n);
    float bf = tn_pow2(b.n - c.n);
    c.a = tn_pair_add_pair(tn_pair_make(a.a.hi * af, a.a.lo * af), tn_pair_make(b.a.hi * bf, b.a.lo * bf));
    c.redone = a.redone | b.redone;
    if (ALGO == SM_FIXED) /* the row is redone when its maximum is far */
        c.redone = b.best > a.best ? b.redone : a.redone;
    return c;
}

TN_FN sm_end sm_row_end(uint opt, sm_row row, sm_sums sums)
{
    sm_end end;
    bool empty = sums.key <= SM_KEY_NEG_INF;
    bool sunk = SINK != 0u && tn_bits(row.sink) != TN_NEG_INF_BITS;
    float m = sm_key_value(sums.key);
    end.mode = empty ? SM_EMPTY : SM_NORMAL;
    end.mode = sums.key >= SM_KEY_INF || row.mode == SM_NAN ? SM_NAN : end.mode;
    end.r = sunk && (empty || row.sink > m) ? row.sink : m;
    end.n = sums.n;
    float sink_term = sunk ? tn_exp(sm_delta(row.sink, end.r, row.t)) : 0.0f;
    end.top = tn_exp(sm_delta(m, end.r, row.t));
    end.n = ALGO == SM_EXT && sums.redone != 0u ? SM_NO_EXPONENT : end.n;
    if (ALGO == SM_EXT && end.n > -1.0e9f) {
        /* the sink is one more term; then S = a * exp(n*ln2 - R), |n*ln2 - R| < 0.4 */
        tn_pair a = sums.a;
        if (SINK != 0u) {
            float sink = sunk ? row.sink : 0.0f;
            float sink_n = tn_exp_n(sink);
            float sink_m = tn_exp_m(sink, sink_n);
            float top_n = sunk ? tn_fmax(end.n, sink_n) : end.n;
            float shrink = tn_pow2(end.n - top_n);
            a = tn_pair_make(a.hi * shrink, a.lo * shrink);
            a = tn_pair_add(a, sunk ? sink_m * tn_pow2(sink_n - top_n) : 0.0f);
            end.n = top_n;
        }
        end.inverse = tn_pair_inverse(a);
        end.s = sm_ext_sum(a, end.r, end.n);
    } else {
        tn_pair s = sums.s;
        if (ALGO == SM_FIXED || SINK != 0u)
            s = sm_rebase(opt, s, sums.ref, end.r, row.t);
        end.s = tn_pair_add(s, sink_term);
        end.inverse = tn_pair_inverse(end.s);
    }
    end.log_s = tn_pair_log(end.s);
    /* an empty row takes its values from the rule; masked entries are never touched by it */
    float share = 1.0f / tn_real(max(sums.present, 1u));
    uint zero = KIND == 1u ? TN_NEG_INF_BITS : 0u;
    uint fill = zero;
    if (EMPTY_ROW == 1u)
        fill = TN_NAN_BITS;
    if (EMPTY_ROW == 2u)
        fill = tn_bits(KIND == 1u ? -tn_log(tn_real(max(sums.present, 1u))) : share);
    fill = SINK != 0u ? zero : fill;
    end.fill = end.mode == SM_NAN ? TN_NAN_BITS : fill;
    return end;
}

/* y of TN_VW entries, from v. */
TN_FN tn_vu sm_output(uint opt, sm_end end, float t, tn_vu v, tn_vb there)
{
    tn_vu zero = KIND == 1u ? TN_NEG_INF_BITS : 0u;
    tn_vb weighs = there && v != TN_NEG_INF_BITS;
    tn_vf value = tn_vfloat(weighs ? v : tn_bits(end.r));
    tn_vf y;
    if (KIND == 1u) {
        y = sm_delta(value, end.r, t) - end.log_s;
    } else if (ALGO == SM_EXT && end.n > -1.0e9f) {
        tn_vf n = tn_exp_n(value);
        y = (tn_exp_m(value, n) * end.inverse) * tn_pow2(n - end.n);
    } else {
        tn_vf d = sm_delta(value, end.r, t);
        y = tn_exp(d) * end.inverse;
    }
    tn_vu bits = weighs ? tn_vbits(y) : zero;
    if (end.mode != SM_NORMAL)
        bits = there ? end.fill : zero;
    return bits;
}

/* The same from what the reload algorithm kept: exp((v - M) * T), times shift; or (v - M) * T for LOG_EXP, plus
 * shift. */
TN_FN tn_vu sm_reloaded(uint opt, sm_end end, tn_vu kept, float shift, tn_vb there)
{
    tn_vu zero = KIND == 1u ? TN_NEG_INF_BITS : 0u;
    tn_vb weighs = there;
    if (KIND == 1u)
        weighs = there && kept != TN_NEG_INF_BITS;
    tn_vf k = tn_vfloat(weighs ? kept : 0u);
    tn_vf y = KIND == 1u ? k + shift : k * shift;
    tn_vu bits = weighs ? tn_vbits(y) : zero;
    if (end.mode != SM_NORMAL)
        bits = there ? end.fill : zero;
    return bits;
}

#endif
