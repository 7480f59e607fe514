/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * simd.h for x86-64 with AVX2, FMA and F16C. */
#ifndef TENON_SIMD_AVX2_H
#define TENON_SIMD_AVX2_H

#include <immintrin.h>

#define VF 8
#define SIMD_REGS 16
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm; /* all ones or all zeros a lane */

SIMD_FN vf vf_swap(vf a)
{
    return _mm256_permute_ps(a, 0xb1);
}

SIMD_FN vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

SIMD_FN vi vi_zero(void)
{
    return _mm256_setzero_si256();
}

SIMD_FN vi vi_iota(void)
{
    return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
}

#define SIMD_OP1_(name, type, result, expression)                              \
    SIMD_FN result name(type a)                                                \
    {                                                                          \
        return expression;                                                     \
    }
#define SIMD_OP2_(name, type, result, expression)                              \
    SIMD_FN result name(type a, type b)                                        \
    {                                                                          \
        return expression;                                                     \
    }
#define SIMD_SHIFT_(name, expression)                                          \
    SIMD_FN vi name(vi a, int n)                                               \
    {                                                                          \
        return expression;                                                     \
    }
SIMD_OP1_(vi_bits, vf, vi, _mm256_castps_si256(a))
SIMD_OP1_(vf_bits, vi, vf, _mm256_castsi256_ps(a))
SIMD_OP1_(vf_set1, float, vf, _mm256_set1_ps(a))
SIMD_OP1_(vf_sqrt, vf, vf, _mm256_sqrt_ps(a))
SIMD_OP1_(vf_rint, vf, vf, _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
SIMD_OP2_(vf_add, vf, vf, _mm256_add_ps(a, b))
SIMD_OP2_(vf_sub, vf, vf, _mm256_sub_ps(a, b))
SIMD_OP2_(vf_mul, vf, vf, _mm256_mul_ps(a, b))
SIMD_OP2_(vf_div, vf, vf, _mm256_div_ps(a, b))
SIMD_OP2_(vf_min, vf, vf, _mm256_min_ps(a, b))
SIMD_OP2_(vf_max, vf, vf, _mm256_max_ps(a, b))
SIMD_OP2_(vf_lt, vf, vm, _mm256_cmp_ps(a, b, _CMP_LT_OQ))
SIMD_OP2_(vf_le, vf, vm, _mm256_cmp_ps(a, b, _CMP_LE_OQ))
SIMD_OP2_(vf_gt, vf, vm, _mm256_cmp_ps(a, b, _CMP_GT_OQ))
SIMD_OP2_(vf_ge, vf, vm, _mm256_cmp_ps(a, b, _CMP_GE_OQ))
SIMD_OP2_(vf_nlt, vf, vm, _mm256_cmp_ps(a, b, _CMP_NLT_UQ))
SIMD_OP2_(vf_eq, vf, vm, _mm256_cmp_ps(a, b, _CMP_EQ_OQ))
SIMD_OP2_(vf_unordered, vf, vm, _mm256_cmp_ps(a, b, _CMP_UNORD_Q))

SIMD_OP1_(vm_not, vm, vm, _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))))
SIMD_OP1_(vm_bits, vm, uint32_t, (uint32_t)_mm256_movemask_ps(a))
SIMD_OP1_(vm_first, int, vm, _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(a), vi_iota())))
SIMD_OP2_(vm_and, vm, vm, _mm256_and_ps(a, b))
SIMD_OP2_(vm_or, vm, vm, _mm256_or_ps(a, b))
SIMD_OP2_(vm_andnot, vm, vm, _mm256_andnot_ps(b, a))

SIMD_OP1_(vi_set1, int32_t, vi, _mm256_set1_epi32(a))
SIMD_OP2_(vi_add, vi, vi, _mm256_add_epi32(a, b))
SIMD_OP2_(vi_sub, vi, vi, _mm256_sub_epi32(a, b))
SIMD_OP2_(vi_mul, vi, vi, _mm256_mullo_epi32(a, b))
SIMD_OP2_(vi_mulhi, vi, vi,
          _mm256_blend_epi32(_mm256_srli_epi64(_mm256_mul_epu32(a, b), 32),
                             _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32)), 0xaa))
SIMD_OP2_(vi_and, vi, vi, _mm256_and_si256(a, b))
SIMD_OP2_(vi_or, vi, vi, _mm256_or_si256(a, b))
SIMD_OP2_(vi_xor, vi, vi, _mm256_xor_si256(a, b))
SIMD_OP2_(vi_min, vi, vi, _mm256_min_epi32(a, b))
SIMD_OP2_(vi_max, vi, vi, _mm256_max_epi32(a, b))
SIMD_OP2_(vi_eq, vi, vm, _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)))
SIMD_OP2_(vi_gt, vi, vm, _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)))
SIMD_SHIFT_(vi_shl, _mm256_slli_epi32(a, n))
SIMD_SHIFT_(vi_shr, _mm256_srli_epi32(a, n))
SIMD_SHIFT_(vi_sra, _mm256_srai_epi32(a, n))
SIMD_OP1_(vi_round, vf, vi,
          _mm256_cvttps_epi32(_mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)))
SIMD_OP1_(vi_trunc, vf, vi, _mm256_cvttps_epi32(a))
SIMD_OP1_(vf_from_vi, vi, vf, _mm256_cvtepi32_ps(a))
#undef SIMD_OP1_
#undef SIMD_OP2_
#undef SIMD_SHIFT_

SIMD_FN vf vf_select(vm m, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, m);
}

SIMD_FN vf vf_keep(vm m, vf a)
{
    return _mm256_and_ps(m, a);
}

SIMD_FN vi vi_select(vm m, vi a, vi b)
{
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(b), _mm256_castsi256_ps(a), m));
}

SIMD_FN vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

SIMD_FN vf vf_madd(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

SIMD_FN vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

SIMD_FN void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}

SIMD_FN vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, _mm256_castps_si256(vm_first(n)));
}

SIMD_FN void vf_store_n(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, _mm256_castps_si256(vm_first(n)), v);
}

SIMD_FN vi vi_load(const int32_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

SIMD_FN void vi_store(int32_t *p, vi v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

SIMD_FN vi vi_load_n(const int32_t *p, int n)
{
    return _mm256_maskload_epi32(p, _mm256_castps_si256(vm_first(n)));
}

SIMD_FN void vi_store_n(int32_t *p, vi v, int n)
{
    _mm256_maskstore_epi32(p, _mm256_castps_si256(vm_first(n)), v);
}

SIMD_FN void vf_stream(float *p, vf v)
{
    _mm256_stream_ps(p, v);
}

SIMD_FN void simd_fence(void)
{
    _mm_sfence();
}

/* There are no masked 16-bit moves: n elements by way of the stack. */
SIMD_FN __m128i simd_narrow_load_(const void *p, int bytes)
{
    unsigned char word[16] = {0};
    for (int i = 0; i < bytes; i++)
        word[i] = ((const unsigned char *)p)[i];
    return _mm_loadu_si128((const __m128i *)word);
}

SIMD_FN void simd_narrow_store_(void *p, __m128i v, int bytes)
{
    unsigned char word[16];
    _mm_storeu_si128((__m128i *)word, v);
    for (int i = 0; i < bytes; i++)
        ((unsigned char *)p)[i] = word[i];
}

SIMD_FN vf simd_widen_bf16_(__m128i h)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The vector form of simd_to_bf16. */
SIMD_FN __m128i simd_round_bf16_(vf v)
{
    const __m256i b = _mm256_castps_si256(v), high = _mm256_srli_epi32(b, 16);
    const __m256i up = _mm256_add_epi32(_mm256_and_si256(high, _mm256_set1_epi32(1)), _mm256_set1_epi32(0x7fff));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i r = _mm256_blendv_epi8(_mm256_srli_epi32(_mm256_add_epi32(b, up), 16),
                                         _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}

SIMD_FN vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

SIMD_FN vf vf_load_f16_n(const uint16_t *p, int n)
{
    return _mm256_cvtph_ps(simd_narrow_load_(p, 2 * n));
}

SIMD_FN vf vf_load_bf16(const uint16_t *p)
{
    return simd_widen_bf16_(_mm_loadu_si128((const __m128i *)p));
}

SIMD_FN vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return simd_widen_bf16_(simd_narrow_load_(p, 2 * n));
}

SIMD_FN void vf_store_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

SIMD_FN void vf_store_f16_n(uint16_t *p, vf v, int n)
{
    simd_narrow_store_(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT), 2 * n);
}

SIMD_FN void vf_store_bf16(uint16_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, simd_round_bf16_(v));
}

SIMD_FN void vf_store_bf16_n(uint16_t *p, vf v, int n)
{
    simd_narrow_store_(p, simd_round_bf16_(v), 2 * n);
}

SIMD_FN vf vf_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

SIMD_FN vf vf_load_i8_n(const int8_t *p, int n)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(simd_narrow_load_(p, n)));
}

SIMD_FN vf vf_load_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

SIMD_FN vf vf_load_u8_n(const uint8_t *p, int n)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(simd_narrow_load_(p, n)));
}

SIMD_FN vf vf_load_fours(const float *a, const float *b, const float *c, const float *d)
{
    (void)c;
    (void)d;
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
}

SIMD_FN vm vm_load_u8(const uint8_t *p)
{
    const __m256i wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(wide, vi_zero()));
}

SIMD_FN vm vm_load_u8_n(const uint8_t *p, int n)
{
    const __m256i wide = _mm256_cvtepu8_epi32(simd_narrow_load_(p, n));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(wide, vi_zero()));
}

SIMD_FN vf vf_gather(const float *p, vi i)
{
    return _mm256_i32gather_ps(p, i, 4);
}

#define SIMD_REDUCE_(name, step, step1)                                        \
    SIMD_FN float name(vf a)                                                   \
    {                                                                          \
        const __m128 q = step(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); \
        const __m128 h = step(q, _mm_movehl_ps(q, q));                         \
        return _mm_cvtss_f32(step1(h, _mm_movehdup_ps(h)));                    \
    }
SIMD_REDUCE_(vf_reduce_add, _mm_add_ps, _mm_add_ss)
SIMD_REDUCE_(vf_reduce_max, _mm_max_ps, _mm_max_ss)
SIMD_REDUCE_(vf_reduce_min, _mm_min_ps, _mm_min_ss)
#undef SIMD_REDUCE_

SIMD_FN void vf_accumulate(double *acc, vf v)
{
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    _mm256_storeu_pd(acc, _mm256_add_pd(_mm256_loadu_pd(acc), low));
    _mm256_storeu_pd(acc + 4, _mm256_add_pd(_mm256_loadu_pd(acc + 4), high));
}

SIMD_FN void vi_compress(int32_t *p, vi v, vm m)
{
    const int bits = _mm256_movemask_ps(m), low = bits & 15, high = bits >> 4;
    const __m128i front = _mm_load_si128((const __m128i *)(const void *)simd_front[low]);
    const __m128i behind = _mm_load_si128((const __m128i *)(const void *)simd_front[high]);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_shuffle_epi8(_mm256_castsi256_si128(v), front));
    p += __builtin_popcount((unsigned)low);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_shuffle_epi8(_mm256_extracti128_si256(v, 1), behind));
}

#endif
