/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * simd.h for x86-64 with AVX-512 F, BW, DQ and VL. */
#ifndef TENON_SIMD_AVX512_H
#define TENON_SIMD_AVX512_H

#include <immintrin.h>

#define VF 16
#define SIMD_REGS 32
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

SIMD_FN vf vf_swap(vf a)
{
    return _mm512_permute_ps(a, 0xb1);
}

SIMD_FN vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

SIMD_FN vi vi_zero(void)
{
    return _mm512_setzero_si512();
}

SIMD_FN vi vi_iota(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
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
/* Vector operators of the compiler: the intrinsics with an immediate do not take a parameter at -O0. */
#define SIMD_SHIFT_(name, lanes, operator)                                     \
    SIMD_FN vi name(vi a, int n)                                               \
    {                                                                          \
        return (vi)((lanes)a operator n);                                      \
    }
SIMD_OP1_(vi_bits, vf, vi, _mm512_castps_si512(a))
SIMD_OP1_(vf_bits, vi, vf, _mm512_castsi512_ps(a))
SIMD_OP1_(vf_set1, float, vf, _mm512_set1_ps(a))
SIMD_OP1_(vf_sqrt, vf, vf, _mm512_sqrt_ps(a))
SIMD_OP1_(vf_rint, vf, vf, _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
SIMD_OP2_(vf_add, vf, vf, _mm512_add_ps(a, b))
SIMD_OP2_(vf_sub, vf, vf, _mm512_sub_ps(a, b))
SIMD_OP2_(vf_mul, vf, vf, _mm512_mul_ps(a, b))
SIMD_OP2_(vf_div, vf, vf, _mm512_div_ps(a, b))
SIMD_OP2_(vf_min, vf, vf, _mm512_min_ps(a, b))
SIMD_OP2_(vf_max, vf, vf, _mm512_max_ps(a, b))
SIMD_OP2_(vf_lt, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ))
SIMD_OP2_(vf_le, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ))
SIMD_OP2_(vf_gt, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ))
SIMD_OP2_(vf_ge, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ))
SIMD_OP2_(vf_nlt, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ))
SIMD_OP2_(vf_eq, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ))
SIMD_OP2_(vf_unordered, vf, vm, _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q))

SIMD_OP1_(vm_not, vm, vm, (vm)~a)
SIMD_OP1_(vm_bits, vm, uint32_t, a)
SIMD_OP1_(vm_first, int, vm, (vm)((1u << a) - 1u))
SIMD_OP2_(vm_and, vm, vm, a & b)
SIMD_OP2_(vm_or, vm, vm, a | b)
SIMD_OP2_(vm_andnot, vm, vm, (vm)(a & ~b))

SIMD_OP1_(vi_set1, int32_t, vi, _mm512_set1_epi32(a))
SIMD_OP2_(vi_add, vi, vi, _mm512_add_epi32(a, b))
SIMD_OP2_(vi_sub, vi, vi, _mm512_sub_epi32(a, b))
SIMD_OP2_(vi_mul, vi, vi, _mm512_mullo_epi32(a, b))
SIMD_OP2_(vi_mulhi, vi, vi,
          _mm512_mask_mov_epi32(_mm512_srli_epi64(_mm512_mul_epu32(a, b), 32), 0xaaaa,
                                _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32))))
SIMD_OP2_(vi_and, vi, vi, _mm512_and_si512(a, b))
SIMD_OP2_(vi_or, vi, vi, _mm512_or_si512(a, b))
SIMD_OP2_(vi_xor, vi, vi, _mm512_xor_si512(a, b))
SIMD_OP2_(vi_min, vi, vi, _mm512_min_epi32(a, b))
SIMD_OP2_(vi_max, vi, vi, _mm512_max_epi32(a, b))
SIMD_OP2_(vi_eq, vi, vm, _mm512_cmpeq_epi32_mask(a, b))
SIMD_OP2_(vi_gt, vi, vm, _mm512_cmpgt_epi32_mask(a, b))
SIMD_SHIFT_(vi_shl, __v16su, <<)
SIMD_SHIFT_(vi_shr, __v16su, >>)
SIMD_SHIFT_(vi_sra, __v16si, >>)
SIMD_OP1_(vi_round, vf, vi, _mm512_cvt_roundps_epi32(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
SIMD_OP1_(vi_trunc, vf, vi, _mm512_cvttps_epi32(a))
SIMD_OP1_(vf_from_vi, vi, vf, _mm512_cvtepi32_ps(a))
#undef SIMD_OP1_
#undef SIMD_OP2_
#undef SIMD_SHIFT_

SIMD_FN vf vf_select(vm m, vf a, vf b)
{
    return _mm512_mask_blend_ps(m, b, a);
}

SIMD_FN vf vf_keep(vm m, vf a)
{
    return _mm512_maskz_mov_ps(m, a);
}

SIMD_FN vi vi_select(vm m, vi a, vi b)
{
    return _mm512_mask_blend_epi32(m, b, a);
}

SIMD_FN vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

SIMD_FN vf vf_madd(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

SIMD_FN vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

SIMD_FN vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(vm_first(n), p);
}

SIMD_FN void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

SIMD_FN void vf_store_n(float *p, vf v, int n)
{
    _mm512_mask_storeu_ps(p, vm_first(n), v);
}

SIMD_FN vi vi_load(const int32_t *p)
{
    return _mm512_loadu_si512(p);
}

SIMD_FN vi vi_load_n(const int32_t *p, int n)
{
    return _mm512_maskz_loadu_epi32(vm_first(n), p);
}

SIMD_FN void vi_store(int32_t *p, vi v)
{
    _mm512_storeu_si512(p, v);
}

SIMD_FN void vi_store_n(int32_t *p, vi v, int n)
{
    _mm512_mask_storeu_epi32(p, vm_first(n), v);
}

#define SIMD_COMPRESS 1
SIMD_FN void vi_compress(int32_t *p, vi v, vm m)
{
    _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(m, v));
}

SIMD_FN void vf_stream(float *p, vf v)
{
    _mm512_stream_ps(p, v);
}

SIMD_FN void simd_fence(void)
{
    _mm_sfence();
}

SIMD_FN vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

SIMD_FN vf vf_load_f16_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(vm_first(n), p));
}

SIMD_FN void vf_store_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

SIMD_FN void vf_store_f16_n(uint16_t *p, vf v, int n)
{
    _mm256_mask_storeu_epi16(p, vm_first(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

SIMD_FN vf vf_load_bf16(const uint16_t *p)
{
    return vf_bits(vi_shl(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

SIMD_FN vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return vf_bits(vi_shl(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(vm_first(n), p)), 16));
}

/* The vector form of simd_to_bf16. */
SIMD_FN __m256i simd_round_bf16_(vf v)
{
    const vi b = vi_bits(v), high = vi_shr(b, 16);
    const vi up = vi_add(vi_and(high, vi_set1(1)), vi_set1(0x7fff));
    const vm nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(vi_select(nan, vi_or(high, vi_set1(0x40)), vi_shr(vi_add(b, up), 16)));
}

SIMD_FN void vf_store_bf16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, simd_round_bf16_(v));
}

SIMD_FN void vf_store_bf16_n(uint16_t *p, vf v, int n)
{
    _mm256_mask_storeu_epi16(p, vm_first(n), simd_round_bf16_(v));
}

SIMD_FN vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

SIMD_FN vf vf_load_i8_n(const int8_t *p, int n)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(vm_first(n), p)));
}

SIMD_FN vf vf_load_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

SIMD_FN vf vf_load_u8_n(const uint8_t *p, int n)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(vm_first(n), p)));
}

SIMD_FN vf vf_load_fours(const float *a, const float *b, const float *c, const float *d)
{
    const vf ab = _mm512_insertf32x4(_mm512_castps128_ps512(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
    return _mm512_insertf32x4(_mm512_insertf32x4(ab, _mm_loadu_ps(c), 2), _mm_loadu_ps(d), 3);
}

SIMD_FN vm vm_load_u8(const uint8_t *p)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return _mm_test_epi8_mask(bytes, bytes);
}

SIMD_FN vm vm_load_u8_n(const uint8_t *p, int n)
{
    const __m128i bytes = _mm_maskz_loadu_epi8(vm_first(n), p);
    return _mm_test_epi8_mask(bytes, bytes);
}

SIMD_FN vf vf_gather(const float *p, vi i)
{
    return _mm512_i32gather_ps(i, p, 4);
}

#define SIMD_REDUCE_(name, step256, step128, step1)                            \
    SIMD_FN float name(vf a)                                                   \
    {                                                                          \
        const __m256 o = step256(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); \
        const __m128 q = step128(_mm256_castps256_ps128(o), _mm256_extractf128_ps(o, 1)); \
        const __m128 h = step128(q, _mm_movehl_ps(q, q));                      \
        return _mm_cvtss_f32(step1(h, _mm_movehdup_ps(h)));                    \
    }
SIMD_REDUCE_(vf_reduce_add, _mm256_add_ps, _mm_add_ps, _mm_add_ss)
SIMD_REDUCE_(vf_reduce_max, _mm256_max_ps, _mm_max_ps, _mm_max_ss)
SIMD_REDUCE_(vf_reduce_min, _mm256_min_ps, _mm_min_ps, _mm_min_ss)
#undef SIMD_REDUCE_

SIMD_FN void vf_accumulate(double *acc, vf v)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v)),
                  high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    _mm512_storeu_pd(acc, _mm512_add_pd(_mm512_loadu_pd(acc), low));
    _mm512_storeu_pd(acc + 8, _mm512_add_pd(_mm512_loadu_pd(acc + 8), high));
}

#endif
