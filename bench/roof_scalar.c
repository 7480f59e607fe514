/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "roof.h"

#include <string.h>

static int usable(void)
{
    return 1;
}

static float fma_chains(uint64_t iterations)
{
    volatile float start = 1.0f;
    float a = start, b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    const float x = start * 0.999999f, y = start * 1e-6f;
    for (uint64_t i = 0; i < iterations; i++) {
        a = a * x + y;
        b = b * x + y;
        c = c * x + y;
        d = d * x + y;
        e = e * x + y;
        f = f * x + y;
        g = g * x + y;
        h = h * x + y;
    }
    return a + b + c + d + e + f + g + h;
}

static void stream(void *to, const void *from, size_t size)
{
    memmove(to, from, size);
}

static uint64_t read(const void *from, size_t size)
{
    const uint64_t *in = from;
    uint64_t sum[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < ROOF_STREAMS * size / 8; i += 4)
        for (size_t j = 0; j < 4; j++)
            sum[j] |= in[i + j];
    return sum[0] | sum[1] | sum[2] | sum[3];
}

const struct roof_isa tenon__roof_scalar = {
    .name = "scalar", .flops = 16, .usable = usable, .fma = fma_chains, .stream = stream, .read = read};
