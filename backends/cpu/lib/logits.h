/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The logits of the softmax operators from what they are made of: v = x, or fma(x, scale, bias), and noise_amp * noise
 * rounded and added; entries that are masked, have multiplicity 0, or lie past the row do not exist. */
#ifndef TENON_LIB_LOGITS_H
#define TENON_LIB_LOGITS_H

#include "block.h"
#include "element.h"
#include "philox.h"

#define MINUS_INF (-INFINITY)

/* Of one row. */
struct logits {
    const void *x;
    const float *bias;   /* NULL: none */
    const uint8_t *mask; /* NULL: none */
    const float *noise;  /* NULL: generated, or none */
    const float *mult;   /* NULL: none */
    float scale, noise_amp;
    uint8_t affine;      /* a scale or a bias */
    struct noise generate;
};

/* v += noise_amp * noise, of n columns from c on. */
SIMD_FN void logits_noise(const struct logits *l, int64_t c, int n, vf *v)
{
    float made[STEP];
    if (!l->noise && l->generate.kind == NOISE_NONE)
        return;
    if (!l->noise)
        noise_step(&l->generate, c, made);
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        const vf noise = l->noise ? load_x(l->noise, c + b * VF, k, TENON_F32) : vf_load(made + b * VF);
        v[b] = vf_add(v[b], vf_mul(vf_set1(l->noise_amp), noise));
    }
}

/* n columns from c on, a multiple of BLOCK, n as in STEP_ALL. What does not exist reads as `gone`. plain: there is no
 * more than x; noisy: there may be noise or multiplicities. */
SIMD_FN void logits_load(const struct logits *l, int64_t c, int n, uint32_t dtype, int plain, int noisy, float gone,
                         vf *v)
{
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        const int64_t at = c + b * VF;
        v[b] = load_x(l->x, at, k, dtype);
        if (!plain && l->affine) {
            vf bias = vf_zero();
            if (l->bias)
                bias = k == VF ? vf_load(l->bias + at) : vf_load_n(l->bias + at, k);
            v[b] = vf_fma(v[b], vf_set1(l->scale), bias);
        }
    }
    if (noisy)
        logits_noise(l, c, n, v);
    STEP_EACH(b, n) {
        const int k = step_count(n, b);
        const int64_t at = c + b * VF;
        if (!plain && l->mask) {
            const vm m = k == VF ? vm_load_u8(l->mask + at) : vm_load_u8_n(l->mask + at, k);
            v[b] = vf_select(m, v[b], vf_set1(gone));
        }
        if (noisy && l->mult) {
            const vf mult = load_x(l->mult, at, k, TENON_F32);
            v[b] = vf_select(vf_eq(mult, vf_zero()), vf_set1(gone), v[b]);
        }
        if (n != STEP)
            v[b] = vf_select(vm_first(k), v[b], vf_set1(gone));
    }
}

#endif
