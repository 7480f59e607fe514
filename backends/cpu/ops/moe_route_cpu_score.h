/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route on the CPU: logits, scores and keys of a token. */
#ifndef TENON_MOE_ROUTE_CPU_SCORE_H
#define TENON_MOE_ROUTE_CPU_SCORE_H

#include "moe_route_cpu.h"

/* ---- logits ---- */

static void fill_noise(const struct route *r, int64_t t, float *noisy)
{
    const struct noise g = {r->p.seed, (uint32_t)t, r->p.sample, r->p.stream, NOISE_GUMBEL};
    float made[STEP];
    for (int64_t c = 0; c < r->columns; c += STEP) {
        noise_step(&g, c, made);
        for (int64_t i = 0; i < STEP && c + i < r->columns; i++)
            noisy[c + i] = made[i];
    }
}

/* z, and what else there is of it, filled up with -Inf. */
static void make_logits(const struct run *run, int64_t t, struct slot *s)
{
    const struct route *r = run->r;
    const float *x = (const float *)run->ptr[TENON_MOE_ROUTE_LOGITS] + t * r->logits_row;
    const uint8_t *mask = run->ptr[TENON_MOE_ROUTE_EXPERT_MASK];
    const float T = r->p.inv_temp;
    memcpy(s->z, x, (size_t)r->columns * sizeof(float));
    for (int64_t e = r->columns; e < r->padded; e++)
        s->z[e] = MINUS_INF;
    if (r->plain)
        return;
    for (int64_t e = 0; mask && e < r->columns; e++)
        s->z[e] = mask[e] ? s->z[e] : MINUS_INF;
    if (r->clean)
        memcpy(s->clean, s->z, (size_t)r->padded * sizeof(float));
    if (r->p.noise)
        fill_noise(r, t, s->noisy);
    for (int64_t e = 0; e < r->padded; e++) {
        const float noisy = r->p.noise && e < r->columns ? s->z[e] + s->noisy[e] : s->z[e];
        s->z[e] = (r->p.noise_use ? s->z[e] : noisy) * T;
        s->noisy[e] = noisy * T;
    }
}

/* ---- scores ---- */

static void set_all(float *s, const float *z, int64_t n, float value)
{
    for (int64_t e = 0; e < n; e++)
        s[e] = z[e] == MINUS_INF ? 0.0f : value;
}

SIMD_FN void sigmoid_each(const float *z, float *s, const int count)
{
    vf v[EACH], e[EACH];
    SIMD_UNROLL_MAYBE for (int b = 0; b < count; b++)
    {
        v[b] = vf_load(z + b * VF);
        e[b] = vf_neg(vf_abs(v[b]));
    }
    vf_exp_each(e, count);
    SIMD_UNROLL_MAYBE for (int b = 0; b < count; b++)
    {
        const vf above = vf_select(vf_lt(v[b], vf_zero()), e[b], vf_set1(1.0f));
        const vf y = vf_div(above, vf_add(vf_set1(1.0f), e[b]));
        vf_store(s + b * VF, vf_select(vf_unordered(v[b], v[b]), v[b], y));
    }
}

/* n is a multiple of PAD. */
static __attribute__((noinline)) void sigmoid_row(const float *z, int64_t n, float *s)
{
    int64_t i = 0;
    for (; i + EACH * VF <= n; i += EACH * VF)
        sigmoid_each(z + i, s + i, EACH);
    for (; i < n; i += VF)
        sigmoid_each(z + i, s + i, 1);
}

/* The softmax of z: exp(z - top) to prob. */
static void make_softmax(const struct route *r, struct slot *s, struct token *k)
{
    k->inverse = k->odd ? NAN : 0.0f;
    if (k->odd || k->top == MINUS_INF) {
        set_all(s->prob, s->z, r->padded, k->inverse);
        return;
    }
    const uint64_t sum = r->stats ? exp_sum_moment(s->z, r->padded, k->top, s->prob, &k->moment)
                                  : exp_sum(s->z, r->padded, k->top, s->prob);
    k->inverse = inverse_of(sum);
    k->sum = (double)sum * 0x1p-40;
}

/* What the selection and the weights need of the whole row. */
static void make_scores(const struct route *r, struct slot *s, struct token *k)
{
    const int64_t n = r->padded;
    if (r->sums || r->stats)
        make_softmax(r, s, k);
    if (!r->all_scores)
        return;
    switch (r->p.score) {
    case TENON_MOE_ROUTE_SOFTMAX:
        for (int64_t i = 0; i < n; i += VF)
            vf_store(s->s + i, vf_normal_or_0(vf_mul(vf_load(s->prob + i), vf_set1(k->odd ? 1.0f : k->inverse))));
        return;
    case TENON_MOE_ROUTE_SIGMOID: sigmoid_row(s->z, n, s->s); return;
    case TENON_MOE_ROUTE_RELU_RMS:
        if (k->odd) {
            set_all(s->s, s->z, n, NAN);
            return;
        } /* else its sign is all that is needed */
        /* fallthrough */
    case TENON_MOE_ROUTE_RELU:
        for (int64_t e = 0; e < n; e++)
            s->s[e] = s->z[e] <= 0.0f ? 0.0f : s->z[e];
        return;
    case TENON_MOE_ROUTE_IDENTITY: memcpy(s->s, s->z, (size_t)n * sizeof(float)); return;
    default: set_all(s->s, s->z, n, 1.0f);
    }
}

/* 1/sqrt(mean r^2 + eps). */
static double rms_of(const struct route *r, const float *z)
{
    double acc[VF] = {0}, sum = 0;
    for (int64_t i = 0; i < r->padded; i += VF) {
        /* squares may be too large or too small for floats */
        float lane[VF];
        vf_store(lane, vf_max(vf_load(z + i), vf_zero()));
        for (int l = 0; l < VF; l++)
            acc[l] += (double)lane[l] * (double)lane[l];
    }
    for (int l = 0; l < VF; l++)
        sum += acc[l];
    return 1.0 / sqrt(sum / (double)r->columns + (double)r->p.rms_eps);
}

/* Whether a bias or gain of an expert that exists is NaN. */
static int bad_side(const struct run *run)
{
    const uint8_t *mask = run->ptr[TENON_MOE_ROUTE_EXPERT_MASK];
    int bad = 0;
    for (uint32_t i = TENON_MOE_ROUTE_CORR_BIAS; i <= TENON_MOE_ROUTE_GAIN; i++) {
        const float *side = run->ptr[i];
        for (int64_t e = 0; side && e < run->r->columns; e++)
            bad |= side[e] != side[e] && (!mask || mask[e]);
    }
    return bad;
}

static void clean_softmax(const struct route *r, struct slot *s, struct token *k)
{
    int nan;
    k->clean_top = row_top(s->clean, r->padded, &nan);
    k->clean_inverse = 0.0f;
    if (!nan && k->clean_top > MINUS_INF && k->clean_top < INFINITY)
        k->clean_inverse = inverse_of(exp_sum(s->clean, r->padded, k->clean_top, s->w));
}

/* ---- keys ---- */

/* z or c as keys. */
SIMD_FN vi candidate_keys(vf c)
{
    const vi b = vi_bits(vf_add(c, vf_zero()));
    vi key = vi_xor(b, vi_and(vi_sra(b, 31), vi_set1(0x7fffffff)));
    key = vi_select(vf_eq(c, vf_set1(MINUS_INF)), vi_set1(KEY_NONE), key);
    return vi_select(vf_unordered(c, c), vi_set1(KEY_NAN), key);
}

static void keys_of(const float *c, int64_t n, int32_t *key)
{
    for (int64_t i = 0; i < n; i += VF)
        vi_store(key + i, candidate_keys(vf_load(c + i)));
}

/* Keys of c = s + corr_bias; of -Inf where z is. */
static void score_keys(const struct run *run, struct slot *s)
{
    const struct route *r = run->r;
    const float *bias = run->ptr[TENON_MOE_ROUTE_CORR_BIAS];
    for (int64_t i = 0; i < r->padded; i += VF) {
        const int64_t left = r->columns - i;
        const int n = left < 0 ? 0 : left < VF ? (int)left : VF;
        const vf add = !bias ? vf_zero() : n == VF ? vf_load(bias + i) : vf_load_n(bias + i, n);
        const vf z = vf_load(s->z + i), c = vf_add(vf_load(s->s + i), add);
        vi_store(s->key + i, candidate_keys(vf_select(vf_eq(z, vf_set1(MINUS_INF)), z, c)));
    }
}

/* A candidate's key as the total order has it, where NaN is below -Inf, and back to a number. */
static int32_t ordered(int32_t key)
{
    return key == KEY_NONE ? ORDER_MINUS_INF : key == KEY_NAN ? ORDER_NAN : key;
}

#endif
