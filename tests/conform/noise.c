/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Generated noise as the operators' headers specify it: Philox4x32-10 (Salmon et al. 2011), the exactly specified
 * logarithm and the Gumbel value, bit for bit; the normal in f64. Written from the specification, apart from the
 * backends. */
#include <math.h>
#include "conform.h"

void conform_philox(const uint32_t counter[4], uint64_t key, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t wide0 = UINT64_C(0xD2511F53) * a, wide1 = UINT64_C(0xCD9E8D57) * c;
        a = (uint32_t)(wide1 >> 32) ^ b ^ k0;
        b = (uint32_t)wide1;
        c = (uint32_t)(wide0 >> 32) ^ d ^ k1;
        d = (uint32_t)wide0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

/* 23 bits and a half, so that it is exact and never 0 or 1. */
static float uniform_of(uint32_t word)
{
    return ((float)(word >> 9) + 0.5f) * 0x1p-23f;
}

static void words_at(const struct conform_noise *n, uint32_t row, uint32_t col, uint32_t out[4])
{
    const uint32_t counter[4] = {col >> 2, row, n->sample, n->stream};
    conform_philox(counter, n->seed, out);
}

float conform_noise_uniform(const struct conform_noise *n, uint32_t row, uint32_t col)
{
    uint32_t words[4];
    words_at(n, row, col, words);
    return uniform_of(words[col & 3]);
}

float conform_exact_log(float x)
{
    static const float later[8] = {-0x1.de3c16p-4f, 0x1.e6f06ap-4f, -0x1.fc2208p-4f, 0x1.233768p-3f,
                                   -0x1.555c4ep-3f, 0x1.99a4b6p-3f, -0x1.000006p-2f, 0x1.555548p-2f};
    const int32_t above = (int32_t)(conform_float_bits(x) - 0x3f3504f3u);
    /* The exponent that brings x into [sqrt(1/2), sqrt(2)); division that rounds down, as an arithmetic shift does. */
    const int32_t e = above >= 0 ? above / 0x800000 : -((0x7fffff - above) / 0x800000);
    const float f = conform_bits_float(conform_float_bits(x) - (uint32_t)e * 0x800000u) - 1.0f, k = (float)e;
    float q = 0x1.1457a8p-4f, square = f * f, r;
    for (int i = 0; i < 8; i++)
        q = fmaf(q, f, later[i]);
    r = square * f;
    r = r * q;
    r = fmaf(k, -0x1.05c610p-29f, r);
    r = fmaf(-0.5f, square, r);
    r = r + f;
    return fmaf(k, 0x1.62e430p-1f, r);
}

float conform_noise_gumbel(const struct conform_noise *n, uint32_t row, uint32_t col)
{
    return -conform_exact_log(-conform_exact_log(conform_noise_uniform(n, row, col)));
}

double conform_noise_normal(const struct conform_noise *n, uint32_t row, uint32_t col)
{
    const double turn = 6.283185307179586476925;
    uint32_t words[4], pair = col & 2;
    double radius, angle;
    words_at(n, row, col, words);
    radius = sqrt(-2 * log((double)uniform_of(words[pair])));
    angle = turn * (double)uniform_of(words[pair + 1]);
    return radius * (col & 1 ? sin(angle) : cos(angle));
}
