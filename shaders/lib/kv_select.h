/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the kernels of kv_select share: spans of blocks, sums of 96 bits, and where the scratch of a scope has what.
 * Needs num.h, order.h and exact.h. */
#ifndef TN_LIB_KV_SELECT_H
#define TN_LIB_KV_SELECT_H

/* `options`: the recipe makes the same. */
#define KS_CAUSAL (options & 1u)
#define KS_HAS_LEN (options & 2u)
#define KS_HAS_POS (options & 4u)
#define KS_KEYS (options & 8u)      /* the blocks are those of keys */
#define KS_COUNTS (options & 0x10u) /* what is forced takes part */
#define KS_SELF (options & 0x20u)
#define KS_FIRST (options & 0x40u)
#define KS_FLAGS (options & 0x80u)
#define KS_TOPK (options & 0x100u)
#define KS_MASS (options & 0x200u)  /* sums of e, not the largest */
#define KS_POOL ((options >> 10) & 3u)
#define KS_TYPE ((options >> 12) & 3u)
#define KS_EXTERNAL (options & 0x4000u)
#define KS_STAT (options & 0x8000u)

#define KS_MEAN 0u
#define KS_MAX 1u
#define KS_MIN 2u

#define KS_FORCED 2147483647 /* a key above every number */

/* Passes over a scope: each piece of it, then the scope. */
#define KS_PASS_RANGE 0u  /* keys of its least and its largest finite score */
#define KS_PASS_COUNT 1u  /* candidates; the exponent of the largest */
#define KS_PASS_SUM 2u    /* of the scores, for the mean */
#define KS_PASS_SQUARE 3u
#define KS_PASS_TOTAL 4u  /* of the mass */
#define KS_PASS_DIGIT 5u  /* four bits of the key at which the sum is reached */
#define KS_PASS_TIES 6u   /* the pair */

/* Words of a piece, and of the state of a scope. */
#define KS_PART_WORDS 48u
#define KS_STATE_WORDS 16u
#define KS_LOW 0u    /* keys */
#define KS_HIGH 1u
#define KS_REST 2u   /* candidates that are not forced, that are, and of the statistics */
#define KS_FORCES 3u
#define KS_MEMBERS 4u
#define KS_TOP 5u
#define KS_ODD 6u    /* a NaN or +Inf */
#define KS_MEAN_HI 7u
#define KS_MEAN_LO 8u
#define KS_NEED 9u   /* three words */
#define KS_PREFIX 12u
#define KS_FOUND 13u /* 1: the cut is made */
#define KS_CUT 14u   /* a key, and the last pair of it that is listed, plus 1 */
#define KS_CUT_AT 15u

TN_STRUCT(ks_wide) { uint w0; uint w1; uint w2; };

TN_FN ks_wide ks_make(uint w2, uint w1, uint w0)
{
    ks_wide r;
    r.w0 = w0;
    r.w1 = w1;
    r.w2 = w2;
    return r;
}

TN_FN ks_wide ks_add(ks_wide a, ks_wide b)
{
    uint w0 = a.w0 + b.w0;
    uint c0 = w0 < a.w0 ? 1u : 0u;
    uint half1 = a.w1 + b.w1;
    uint c1 = half1 < a.w1 ? 1u : 0u;
    uint w1 = half1 + c0;
    c1 += w1 < half1 ? 1u : 0u;
    return ks_make(a.w2 + b.w2 + c1, w1, w0);
}

/* a - b >= 0. */
TN_FN ks_wide ks_less(ks_wide a, ks_wide b)
{
    uint b0 = a.w0 < b.w0 ? 1u : 0u;
    uint half1 = a.w1 - b.w1;
    uint b1 = a.w1 < b.w1 ? 1u : 0u;
    b1 += half1 < b0 ? 1u : 0u;
    return ks_make(a.w2 - b.w2 - b1, half1 - b0, a.w0 - b.w0);
}

TN_FN uint ks_below(ks_wide a, ks_wide b)
{
    uint low = a.w0 < b.w0 ? 1u : 0u;
    uint middle = a.w1 < b.w1 ? 1u : 0u;
    uint high = a.w2 < b.w2 ? 1u : 0u;
    uint lower = a.w1 == b.w1 ? low : middle;
    return a.w2 == b.w2 ? lower : high;
}

/* a * n below 2^96. */
TN_FN ks_wide ks_times(ks_wide a, uint n)
{
    ks_wide r = ks_make(a.w2 * n + tn_mulhi(a.w1, n), a.w1 * n, 0u);
    return ks_add(r, ks_make(0u, tn_mulhi(a.w0, n), a.w0 * n));
}

/* a * share / 2^32, rounded up; share 0: a. */
TN_FN ks_wide ks_part(ks_wide a, uint share)
{
    uint rest = a.w0 * share;
    ks_wide r = ks_make(tn_mulhi(a.w2, share), a.w2 * share, tn_mulhi(a.w0, share));
    r = ks_add(r, ks_make(0u, tn_mulhi(a.w1, share), a.w1 * share));
    r = ks_add(r, ks_make(0u, 0u, rest != 0u ? 1u : 0u));
    if (share == 0u)
        r = a;
    return r;
}

/* A score in units of 2^-62 of the power of two above the largest, whose exponent is `top`. */
TN_FN ks_wide ks_mass(uint score, uint top)
{
    bool some = (score >> 31) == 0u && score <= TN_INF_BITS;
    uint bits = some ? min(score, 0x7f7fffffu) : 0u;
    uint exponent = max(bits >> 23, 1u);
    uint m = (bits >> 23) != 0u ? (bits & 0x7fffffu) | 0x800000u : bits;
    uint apart = top > exponent ? top - exponent : 0u;
    uint right = apart > 38u ? apart - 38u : 0u;
    uint left = 38u - min(apart, 38u);
    uint low = left < 32u ? m << left : 0u;
    uint high = left >= 32u ? m << (left - 32u) : 0u;
    if (left > 0u && left < 32u)
        high = m >> (32u - left);
    if (right > 0u)
        low = right < 24u ? m >> right : 0u;
    return ks_make(0u, high, low);
}

TN_FN int ks_length(TN_BUF kv_len, uint options, uint b, uint keys)
{
    int n = tn_as_int(keys);
    if (KS_HAS_LEN != 0u)
        n = max(0, min(tn_as_int(TN_W(kv_len, b)), n));
    return n;
}

TN_FN int ks_position(TN_BUF pos, uint options, uint b, uint t, uint stride, int first)
{
    int p = first + tn_as_int(t);
    if (KS_HAS_POS != 0u)
        p = tn_as_int(TN_W(pos, b * stride + t));
    return p;
}

/* Whether block j is visible to block i of sequence b. */
TN_FN bool ks_visible(TN_BUF span_q, TN_BUF span_k, uint options, uint b, uint i, uint j, uint nq, uint nk)
{
    int low = tn_as_int(TN_W(span_k, 2u * (b * nk + j)));
    int high = tn_as_int(TN_W(span_k, 2u * (b * nk + j) + 1u));
    int own = tn_as_int(TN_W(span_q, 2u * (b * nq + i) + 1u));
    bool there = low <= high;
    return there && (KS_CAUSAL == 0u || low <= own);
}

/* Scores of which the largest has exponent `top`, so small that squares do not overflow: a power of two, and its
 * inverse. */
TN_FN float ks_unit(uint top)
{
    return tn_float(min(294u - top, 253u) << 23);
}

TN_FN float ks_unit_inverse(uint top)
{
    return tn_float((254u - min(294u - top, 253u)) << 23);
}

/* floor(a / n) */
TN_FN int ks_floor(int a, uint n)
{
    uint size = tn_as_uint(a < 0 ? -1 - a : a) / n;
    int whole = tn_as_int(size);
    return a < 0 ? -1 - whole : whole;
}

/* Whether the pair at place e of its scope is listed. */
TN_FN bool ks_listed(int key, TN_BUF state, uint scope, uint e)
{
    int cut = tn_as_int(TN_W(state, scope * KS_STATE_WORDS + KS_CUT));
    uint end = TN_W(state, scope * KS_STATE_WORDS + KS_CUT_AT);
    bool better = key > cut || (key == cut && e < end);
    return key == KS_FORCED || (key != TN_CHOICE_NONE && better);
}

/* a - b and a / b of numbers where a is not below, 0 below 2^-100. */
TN_FN float ks_apart(float a, float b, float half_)
{
    TN_PRECISE float d = a * half_ - b * half_;
    return d < 7.8886090522101181e-31f ? 0.0f : d;
}

TN_FN float ks_ratio(float a, float b)
{
    float q = tn_exact_div(a > 0.0f ? a : b, b);
    q = a > 0.0f ? q : 0.0f;
    return q < 7.8886090522101181e-31f ? 0.0f : q;
}

/* The normal quantile of p <= 0.5: PPND7 of AS 241 (Wichura 1988). */
TN_FN float ks_quantile(float p)
{
    float q = p - 0.5f;
    float r = 0.180625f - q * q;
    float central = q * (((59.109374720f * r + 159.29113202f) * r + 50.434271938f) * r + 3.3871327179f) /
                    (((67.187563600f * r + 78.757757664f) * r + 17.895169469f) * r + 1.0f);
    float t = sqrt(-tn_log(p));
    float s = t - 1.6f;
    float middle = (((0.17023821103f * s + 1.3067284816f) * s + 2.7568153900f) * s + 1.4234372777f) /
                   ((0.12021132975f * s + 0.73700164250f) * s + 1.0f);
    float w = t - 5.0f;
    float far = (((0.017337203997f * w + 0.42868294337f) * w + 3.0812263860f) * w + 6.6579051150f) /
                ((0.012258202635f * w + 0.24197894225f) * w + 1.0f);
    float tail = t <= 5.0f ? middle : far;
    return q > -0.425f ? central : -tail;
}

#endif
