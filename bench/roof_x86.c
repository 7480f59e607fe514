/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "roof.h"

#ifdef ROOF_X86
#include <immintrin.h>

/* Sixteen chains: two units with a latency of four leave no bubble at eight, and some cores have longer ones. */
#define CHAINS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)
#define CHAINS_AVX2(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

static int usable_avx512(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}

__attribute__((target("avx512f"))) static float fma_avx512(uint64_t iterations)
{
    volatile float start = 1.0f;
    const __m512 x = _mm512_set1_ps(start * 0.999999f), y = _mm512_set1_ps(start * 1e-6f);
#define DECLARE(i) __m512 a##i = _mm512_set1_ps(start);
    CHAINS(DECLARE)
#undef DECLARE
    for (uint64_t i = 0; i < iterations; i++) {
#define STEP(i) a##i = _mm512_fmadd_ps(a##i, x, y);
        CHAINS(STEP)
#undef STEP
    }
    __m512 sum = _mm512_setzero_ps();
#define ADD(i) sum = _mm512_add_ps(sum, a##i);
    CHAINS(ADD)
#undef ADD
    return _mm512_reduce_add_ps(sum);
}

__attribute__((target("avx512f"))) static void stream_avx512(void *to, const void *from, size_t size)
{
    const char *in = from;
    char *out = to;
    for (size_t i = 0; i + 64 <= size; i += 64)
        _mm512_stream_ps((float *)(void *)(out + i), _mm512_load_ps(in + i));
    _mm_sfence();
}

__attribute__((target("avx512f"))) static uint64_t read_avx512(const void *from, size_t size)
{
    const char *in = from;
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < size; i += 64)
        for (size_t s = 0; s < ROOF_STREAMS; s++) {
            _mm_prefetch(in + s * size + i + ROOF_AHEAD, _MM_HINT_T0);
            sum = _mm512_or_si512(sum, _mm512_load_si512(in + s * size + i));
        }
    return (uint64_t)_mm512_reduce_or_epi64(sum);
}

const struct roof_isa tenon__roof_avx512 = {.name = "avx512",
                                            .flops = 16 * 16 * 2,
                                            .usable = usable_avx512,
                                            .fma = fma_avx512,
                                            .stream = stream_avx512,
                                            .read = read_avx512};

static int usable_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

__attribute__((target("avx2,fma"))) static float fma_avx2(uint64_t iterations)
{
    volatile float start = 1.0f;
    const __m256 x = _mm256_set1_ps(start * 0.999999f), y = _mm256_set1_ps(start * 1e-6f);
#define DECLARE(i) __m256 a##i = _mm256_set1_ps(start);
    CHAINS_AVX2(DECLARE)
#undef DECLARE
    for (uint64_t i = 0; i < iterations; i++) {
#define STEP(i) a##i = _mm256_fmadd_ps(a##i, x, y);
        CHAINS_AVX2(STEP)
#undef STEP
    }
    __m256 sum = _mm256_setzero_ps();
#define ADD(i) sum = _mm256_add_ps(sum, a##i);
    CHAINS_AVX2(ADD)
#undef ADD
    float lane[8];
    _mm256_storeu_ps(lane, sum);
    return lane[0] + lane[1] + lane[2] + lane[3] + lane[4] + lane[5] + lane[6] + lane[7];
}

__attribute__((target("avx2"))) static void stream_avx2(void *to, const void *from, size_t size)
{
    const char *in = from;
    char *out = to;
    for (size_t i = 0; i + 32 <= size; i += 32)
        _mm256_stream_ps((float *)(void *)(out + i), _mm256_load_ps((const float *)(const void *)(in + i)));
    _mm_sfence();
}

__attribute__((target("avx2"))) static uint64_t read_avx2(const void *from, size_t size)
{
    const char *in = from;
    __m256i sum = _mm256_setzero_si256();
    for (size_t i = 0; i < size; i += 64)
        for (size_t s = 0; s < ROOF_STREAMS; s++) {
            const __m256i *line = (const void *)(in + s * size + i);
            _mm_prefetch(in + s * size + i + ROOF_AHEAD, _MM_HINT_T0);
            sum = _mm256_or_si256(sum, _mm256_or_si256(_mm256_load_si256(line), _mm256_load_si256(line + 1)));
        }
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)(void *)lane, sum);
    return lane[0] | lane[1] | lane[2] | lane[3];
}

const struct roof_isa tenon__roof_avx2 = {.name = "avx2",
                                          .flops = 12 * 8 * 2,
                                          .usable = usable_avx2,
                                          .fma = fma_avx2,
                                          .stream = stream_avx2,
                                          .read = read_avx2};

#else
typedef int roof_x86_is_empty; /* ISO C wants something in a file */
#endif
