/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "roof.h"

#ifdef ROOF_NEON
#include <arm_neon.h>
#include <string.h>

#define CHAINS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)

static int usable(void)
{
    return 1; /* part of AArch64 */
}

static float fma_neon(uint64_t iterations)
{
    volatile float start = 1.0f;
    const float32x4_t x = vdupq_n_f32(start * 0.999999f), y = vdupq_n_f32(start * 1e-6f);
#define DECLARE(i) float32x4_t a##i = vdupq_n_f32(start);
    CHAINS(DECLARE)
#undef DECLARE
    for (uint64_t i = 0; i < iterations; i++) {
#define STEP(i) a##i = vfmaq_f32(y, a##i, x);
        CHAINS(STEP)
#undef STEP
    }
    float32x4_t sum = vdupq_n_f32(0);
#define ADD(i) sum = vaddq_f32(sum, a##i);
    CHAINS(ADD)
#undef ADD
    return vaddvq_f32(sum);
}

/* AArch64's store pairs without allocation have no intrinsic; its memcpy does what can be done. */
static void stream(void *to, const void *from, size_t size)
{
    memcpy(to, from, size);
}

static uint64_t read(const void *from, size_t size)
{
    const uint8_t *in = from;
    uint8x16_t sum = vdupq_n_u8(0);
    for (size_t i = 0; i < size; i += 64)
        for (size_t s = 0; s < ROOF_STREAMS; s++) {
            const uint8_t *line = in + s * size + i;
            __builtin_prefetch(line + ROOF_AHEAD);
            sum = vorrq_u8(sum, vorrq_u8(vorrq_u8(vld1q_u8(line), vld1q_u8(line + 16)),
                                         vorrq_u8(vld1q_u8(line + 32), vld1q_u8(line + 48))));
        }
    return vmaxvq_u8(sum);
}

const struct roof_isa tenon__roof_neon = {
    .name = "neon", .flops = 16 * 4 * 2, .usable = usable, .fma = fma_neon, .stream = stream, .read = read};

#else
typedef int roof_neon_is_empty;
#endif
