/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Philox4x32-10 (Salmon et al. 2011) and what is made of its words: noise that is a function of (seed, stream, sample,
 * row, column) alone, whatever the tiles, threads and ISA.
 *
 * Column c of a row has the word c & 3 of the counter (c >> 2, row, sample, stream). u = (word >> 9 + 1/2) * 2^-23 is
 * exact and within [2^-24, 1 - 2^-24]: 24 bits of the word would round to 1, whose Gumbel value is infinite. */
#ifndef TENON_LIB_PHILOX_H
#define TENON_LIB_PHILOX_H

#include "block.h"
#include "log.h"

enum { NOISE_NONE, NOISE_GUMBEL, NOISE_ONE_SIDED_NORMAL };

struct noise {
    uint64_t seed;
    uint32_t row, sample, stream;
    uint32_t kind;
};

/* c: four words of a counter a lane, in place. */
SIMD_FN void philox(vi c[4], uint64_t seed)
{
    const vi m0 = vi_set1((int32_t)0xd2511f53u), m1 = vi_set1((int32_t)0xcd9e8d57u);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const vi high = vi_mulhi(m1, c[2]), low = vi_mul(m1, c[2]);
        const vi high0 = vi_mulhi(m0, c[0]), low0 = vi_mul(m0, c[0]);
        c[0] = vi_xor(vi_xor(high, c[1]), vi_set1((int32_t)k0));
        c[1] = low;
        c[2] = vi_xor(vi_xor(high0, c[3]), vi_set1((int32_t)k1));
        c[3] = low0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}

/* w: word k of the counters of columns c, c + 4, .. c + 4 * (VF - 1); c is a multiple of 4. */
SIMD_FN void noise_words(const struct noise *g, int64_t c, vi w[4])
{
    w[0] = vi_add(vi_set1((int32_t)(c >> 2)), vi_iota());
    w[1] = vi_set1((int32_t)g->row);
    w[2] = vi_set1((int32_t)g->sample);
    w[3] = vi_set1((int32_t)g->stream);
    philox(w, g->seed);
}

SIMD_FN vf noise_uniform(vi word)
{
    return vf_mul(vf_add(vf_from_vi(vi_shr(word, 9)), vf_set1(0.5f)), vf_set1(0x1p-23f));
}

SIMD_FN vf noise_gumbel(vf u)
{
    return vf_neg(vf_log(vf_neg(vf_log(u))));
}

/* |R cos(2 pi b)| and |R sin(2 pi b)|, R = sqrt(-2 ln a): a, b become two one-sided normals (Box and Muller), each
 * within 1e-6. The angle is reduced to an eighth of a turn, which is exact; only the quarter's parity matters to
 * absolute values. Sine and cosine are Taylor polynomials, 2e-9 from the functions there. */
SIMD_FN void noise_normal(vf *a, vf *b)
{
    const vf radius = vf_sqrt(vf_mul(vf_set1(-2.0f), vf_log(*a)));
    const vf quarter = vf_rint(vf_mul(*b, vf_set1(4.0f)));
    const vf f = vf_fma(quarter, vf_set1(-0.25f), *b);
    /* 2 pi in two parts */
    const vf t = vf_fma(f, vf_set1(0x1.921fb6p+2f), vf_mul(f, vf_set1(-0x1.777a5cp-23f))), t2 = vf_mul(t, t);
    vf s = vf_set1(2.7557319e-6f), c = vf_set1(-2.7557319e-7f);
    s = vf_fma(s, t2, vf_set1(-1.9841270e-4f));
    s = vf_fma(s, t2, vf_set1(8.3333333e-3f));
    s = vf_fma(s, t2, vf_set1(-1.6666667e-1f));
    s = vf_fma(vf_mul(s, t2), t, t);
    c = vf_fma(c, t2, vf_set1(2.4801587e-5f));
    c = vf_fma(c, t2, vf_set1(-1.3888889e-3f));
    c = vf_fma(c, t2, vf_set1(4.1666667e-2f));
    c = vf_fma(c, t2, vf_set1(-0.5f));
    c = vf_fma(c, t2, vf_set1(1.0f));
    const vi odd = vi_and(vi_round(quarter), vi_set1(1));
    const vm turned = vi_gt(odd, vi_zero());
    *a = vf_abs(vf_mul(radius, vf_select(turned, s, c)));
    *b = vf_abs(vf_mul(radius, vf_select(turned, c, s)));
}

/* The noise of STEP columns from c on, a multiple of 4, whether they exist or not. Large: not inlined, but static like
 * everything that is compiled for one ISA. */
static __attribute__((noinline, unused)) void noise_step(const struct noise *g, int64_t c, float out[STEP])
{
    for (int at = 0; at < STEP; at += 4 * VF) {
        vi w[4];
        vf v[4];
        float lane[4][VF];
        noise_words(g, c + at, w);
        for (int k = 0; k < 4; k++)
            v[k] = noise_uniform(w[k]);
        if (g->kind == NOISE_GUMBEL) {
            for (int k = 0; k < 4; k++)
                v[k] = noise_gumbel(v[k]);
        } else {
            noise_normal(&v[0], &v[1]);
            noise_normal(&v[2], &v[3]);
        }
        for (int k = 0; k < 4; k++)
            vf_store(lane[k], v[k]);
        for (int l = 0; l < VF; l++)
            for (int k = 0; k < 4; k++)
                out[at + 4 * l + k] = lane[k][l];
    }
}

#endif
