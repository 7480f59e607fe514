/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * backends/cpu/lib/philox.h: the known answers of the generator's authors, and the noise made of its words. */
#include <math.h>

#include "lib/philox.h"

#include "../tap.h"

static void test_words(void)
{
    static const struct {
        uint32_t counter[4];
        uint64_t key;
        uint32_t want[4];
    } known[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, ~UINT64_C(0), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         UINT64_C(0x299f31d0a4093822),
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        vi c[4];
        for (int k = 0; k < 4; k++)
            c[k] = (int32_t)known[i].counter[k];
        philox(c, known[i].key);
        int same = 0;
        for (int k = 0; k < 4; k++)
            same += (uint32_t)c[k] == known[i].want[k];
        is_int(same, 4, "philox, known answer %d", i);
    }
}

static void test_gumbel(void)
{
    static const struct {
        struct noise of;
        int64_t col;
        uint32_t want[4];
    } known[] = {
        {{0, 0, 0, 0, NOISE_GUMBEL}, 0, {0x3dadb63f, 0x4003f241, 0x3f973102, 0x3f308fa0}},
        {{UINT64_C(0x0000162e000004d2), 5, 1, 7, NOISE_GUMBEL}, 4, {0x40003ecc, 0x3ff5d37f, 0x3f474742, 0xbe621476}},
    };
    for (int i = 0; i < 2; i++) {
        float g[STEP];
        int same = 0;
        noise_step(&known[i].of, known[i].col, g);
        for (int k = 0; k < 4; k++)
            same += simd_bits(g[k]) == known[i].want[k];
        is_int(same, 4, "Gumbel noise, known answer %d", i);
    }
    ok(noise_gumbel(noise_uniform(-1)) < 16.7f && noise_gumbel(noise_uniform(0)) > -2.82f, "its ends are finite");
}

/* Over many words and the ends of the range. */
static void test_normal(void)
{
    double worst = 0;
    uint32_t state = 1;
    for (int i = 0; i < 300000; i++) {
        const uint32_t w0 = state = state * 1664525u + 1013904223u, w1 = state = state * 1664525u + 1013904223u;
        const int32_t a = i % 7 == 0 ? (int32_t)(w0 & 0x3ff) : (int32_t)w0,
                      b = i % 5 == 0 ? (int32_t)((w1 & 0xe0000000u) + (w1 & 0xfff) - 0x800) : (int32_t)w1;
        vf x = noise_uniform(a), y = noise_uniform(b);
        const double radius = sqrt(-2 * log((double)x)), angle = 6.283185307179586477 * (double)y;
        noise_normal(&x, &y);
        const double e = fabs((double)x - fabs(radius * cos(angle))), f = fabs((double)y - fabs(radius * sin(angle)));
        worst = e > worst ? e : worst;
        worst = f > worst ? f : worst;
    }
    ok(worst < 1e-6, "one-sided normals are within 1e-6 (worst %.2g)", worst);
}

int main(void)
{
    test_words();
    test_gumbel();
    test_normal();
    return tap_done();
}
