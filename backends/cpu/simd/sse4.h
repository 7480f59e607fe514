/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * simd.h for x86-64 with SSE4.1. */
#ifndef TENON_SIMD_SSE4_H
#define TENON_SIMD_SSE4_H

#include <smmintrin.h>

#define VF 4
#define SIMD_REGS 16
typedef __m128 vf;
typedef __m128i vi;
typedef __m128 vm; /* all ones or all zeros a lane */

SIMD_FN vf vf_swap(vf a)
{
    return _mm_shuffle_ps(a, a, 0xb1);
}

SIMD_FN vf vf_zero(void)
{
    return _mm_setzero_ps();
}

SIMD_FN vi vi_zero(void)
{
    return _mm_setzero_si128();
}

SIMD_FN vi vi_iota(void)
{
    return _mm_setr_epi32(0, 1, 2, 3);
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
SIMD_OP1_(vi_bits, vf, vi, _mm_castps_si128(a))
SIMD_OP1_(vf_bits, vi, vf, _mm_castsi128_ps(a))
SIMD_OP1_(vf_set1, float, vf, _mm_set1_ps(a))
SIMD_OP1_(vf_sqrt, vf, vf, _mm_sqrt_ps(a))
SIMD_OP1_(vf_rint, vf, vf, _mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
SIMD_OP2_(vf_add, vf, vf, _mm_add_ps(a, b))
SIMD_OP2_(vf_sub, vf, vf, _mm_sub_ps(a, b))
SIMD_OP2_(vf_mul, vf, vf, _mm_mul_ps(a, b))
SIMD_OP2_(vf_div, vf, vf, _mm_div_ps(a, b))
SIMD_OP2_(vf_min, vf, vf, _mm_min_ps(a, b))
SIMD_OP2_(vf_max, vf, vf, _mm_max_ps(a, b))
SIMD_OP2_(vf_lt, vf, vm, _mm_cmplt_ps(a, b))
SIMD_OP2_(vf_le, vf, vm, _mm_cmple_ps(a, b))
SIMD_OP2_(vf_gt, vf, vm, _mm_cmplt_ps(b, a))
SIMD_OP2_(vf_ge, vf, vm, _mm_cmple_ps(b, a))
SIMD_OP2_(vf_nlt, vf, vm, _mm_cmpnlt_ps(a, b))
SIMD_OP2_(vf_eq, vf, vm, _mm_cmpeq_ps(a, b))
SIMD_OP2_(vf_unordered, vf, vm, _mm_cmpunord_ps(a, b))

SIMD_OP1_(vm_not, vm, vm, _mm_xor_ps(a, _mm_castsi128_ps(_mm_set1_epi32(-1))))
SIMD_OP1_(vm_bits, vm, uint32_t, (uint32_t)_mm_movemask_ps(a))
SIMD_OP1_(vm_first, int, vm, _mm_castsi128_ps(_mm_cmplt_epi32(vi_iota(), _mm_set1_epi32(a))))
SIMD_OP2_(vm_and, vm, vm, _mm_and_ps(a, b))
SIMD_OP2_(vm_or, vm, vm, _mm_or_ps(a, b))
SIMD_OP2_(vm_andnot, vm, vm, _mm_andnot_ps(b, a))

SIMD_OP1_(vi_set1, int32_t, vi, _mm_set1_epi32(a))
SIMD_OP2_(vi_add, vi, vi, _mm_add_epi32(a, b))
SIMD_OP2_(vi_sub, vi, vi, _mm_sub_epi32(a, b))
SIMD_OP2_(vi_mul, vi, vi, _mm_mullo_epi32(a, b))
SIMD_OP2_(vi_mulhi, vi, vi,
          _mm_blend_epi16(_mm_srli_epi64(_mm_mul_epu32(a, b), 32),
                          _mm_mul_epu32(_mm_srli_epi64(a, 32), _mm_srli_epi64(b, 32)), 0xcc))
SIMD_OP2_(vi_and, vi, vi, _mm_and_si128(a, b))
SIMD_OP2_(vi_or, vi, vi, _mm_or_si128(a, b))
SIMD_OP2_(vi_xor, vi, vi, _mm_xor_si128(a, b))
SIMD_OP2_(vi_min, vi, vi, _mm_min_epi32(a, b))
SIMD_OP2_(vi_max, vi, vi, _mm_max_epi32(a, b))
SIMD_OP2_(vi_eq, vi, vm, _mm_castsi128_ps(_mm_cmpeq_epi32(a, b)))
SIMD_OP2_(vi_gt, vi, vm, _mm_castsi128_ps(_mm_cmpgt_epi32(a, b)))
SIMD_SHIFT_(vi_shl, _mm_slli_epi32(a, n))
SIMD_SHIFT_(vi_shr, _mm_srli_epi32(a, n))
SIMD_SHIFT_(vi_sra, _mm_srai_epi32(a, n))
SIMD_OP1_(vi_round, vf, vi, _mm_cvtps_epi32(_mm_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)))
SIMD_OP1_(vi_trunc, vf, vi, _mm_cvttps_epi32(a))
SIMD_OP1_(vf_from_vi, vi, vf, _mm_cvtepi32_ps(a))
#undef SIMD_OP1_
#undef SIMD_OP2_
#undef SIMD_SHIFT_

SIMD_FN vf vf_select(vm m, vf a, vf b)
{
    return _mm_blendv_ps(b, a, m);
}

SIMD_FN vf vf_keep(vm m, vf a)
{
    return _mm_and_ps(m, a);
}

SIMD_FN vi vi_select(vm m, vi a, vi b)
{
    return _mm_castps_si128(_mm_blendv_ps(_mm_castsi128_ps(b), _mm_castsi128_ps(a), m));
}

/* Two lanes of a*b+c. The product of two floats is exact in double. The sum is rounded to odd (nudged to the odd
 * neighbour on the side of the exact TwoSum error), after which rounding to float is the only rounding that shows. */
SIMD_FN __m128 simd_fma2_(__m128d a, __m128d b, __m128d c)
{
    const __m128d p = _mm_mul_pd(a, b), s = _mm_add_pd(p, c), t = _mm_sub_pd(s, p);
    const __m128d error = _mm_add_pd(_mm_sub_pd(p, _mm_sub_pd(s, t)), _mm_sub_pd(c, t));
    const __m128d zero = _mm_setzero_pd();
    const __m128d inexact = _mm_or_pd(_mm_cmplt_pd(error, zero), _mm_cmplt_pd(zero, error)); /* not for Inf, NaN */
    const __m128i bits = _mm_castpd_si128(s), one = _mm_set1_epi64x(1);
    /* +1 away from zero, -1 (0 - 2 + 1) towards it: only even values move. */
    const __m128i inward = _mm_srli_epi64(_mm_castpd_si128(_mm_xor_pd(error, s)), 63);
    const __m128i step = _mm_sub_epi64(one, _mm_add_epi64(inward, inward));
    const __m128i even = _mm_sub_epi64(_mm_and_si128(bits, one), one); /* all ones if even */
    const __m128i move = _mm_and_si128(_mm_and_si128(step, even), _mm_castpd_si128(inexact));
    return _mm_cvtpd_ps(_mm_castsi128_pd(_mm_add_epi64(bits, move)));
}

/* Forty instructions: a function, or every polynomial of every pass would hold a dozen copies. */
static __attribute__((noinline, unused)) vf vf_fma(vf a, vf b, vf c)
{
    const __m128 low = simd_fma2_(_mm_cvtps_pd(a), _mm_cvtps_pd(b), _mm_cvtps_pd(c));
    const __m128 high = simd_fma2_(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b)),
                                   _mm_cvtps_pd(_mm_movehl_ps(c, c)));
    return _mm_movelh_ps(low, high);
}

SIMD_FN vf vf_madd(vf a, vf b, vf c)
{
    return _mm_add_ps(_mm_mul_ps(a, b), c);
}

SIMD_FN vf vf_load(const float *p)
{
    return _mm_loadu_ps(p);
}

SIMD_FN void vf_store(float *p, vf v)
{
    _mm_storeu_ps(p, v);
}

SIMD_FN vi vi_load(const int32_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

SIMD_FN void vi_store(int32_t *p, vi v)
{
    _mm_storeu_si128((__m128i *)p, v);
}

SIMD_FN void vf_stream(float *p, vf v)
{
    _mm_stream_ps(p, v);
}

SIMD_FN void simd_fence(void)
{
    _mm_sfence();
}

SIMD_FN vi vi_load_n(const int32_t *p, int n)
{
    vi v = vi_zero();
    switch (n) {
    case 4:
        return vi_load(p);
    case 3:
        v = _mm_cvtsi32_si128(p[2]);
        v = _mm_slli_si128(v, 8);
        return _mm_or_si128(v, _mm_loadl_epi64((const __m128i *)p));
    case 2:
        return _mm_loadl_epi64((const __m128i *)p);
    case 1:
        return _mm_cvtsi32_si128(p[0]);
    default:
        return v;
    }
}

SIMD_FN void vi_store_n(int32_t *p, vi v, int n)
{
    switch (n) {
    case 4:
        vi_store(p, v);
        break;
    case 3:
        p[2] = _mm_extract_epi32(v, 2);
        _mm_storel_epi64((__m128i *)p, v);
        break;
    case 2:
        _mm_storel_epi64((__m128i *)p, v);
        break;
    case 1:
        p[0] = _mm_cvtsi128_si32(v);
        break;
    default:
        break;
    }
}

SIMD_FN vf vf_load_n(const float *p, int n)
{
    return vf_bits(vi_load_n((const int32_t *)(const void *)p, n));
}

SIMD_FN void vf_store_n(float *p, vf v, int n)
{
    vi_store_n((int32_t *)(void *)p, vi_bits(v), n);
}

/* Bytes of a narrow vector through a word, so that only n elements are touched. */
SIMD_FN __m128i simd_narrow_load_(const void *p, int bytes)
{
    uint64_t word = 0;
    if (bytes == 8)
        memcpy(&word, p, 8);
    else
        for (int i = 0; i < bytes; i++)
            word |= (uint64_t)((const unsigned char *)p)[i] << 8 * i;
    return _mm_cvtsi64_si128((long long)word);
}

SIMD_FN void simd_narrow_store_(void *p, __m128i v, int bytes)
{
    const uint64_t word = (uint64_t)_mm_cvtsi128_si64(v);
    if (bytes == 8)
        memcpy(p, &word, 8);
    else
        for (int i = 0; i < bytes; i++)
            ((unsigned char *)p)[i] = (unsigned char)(word >> 8 * i);
}

SIMD_FN vf simd_widen_bf16_(__m128i h)
{
    return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), h));
}

/* The vector form of simd_from_f16. */
SIMD_FN vf simd_widen_f16_(__m128i h)
{
    const __m128i wide = _mm_cvtepu16_epi32(h), rest = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x7fff)), 13);
    const __m128i sign = _mm_slli_epi32(_mm_and_si128(wide, _mm_set1_epi32(0x8000)), 16);
    const __m128i special = _mm_cmpgt_epi32(rest, _mm_set1_epi32((0x7c00 << 13) - 1));
    const __m128i nan = _mm_cmpgt_epi32(rest, _mm_set1_epi32(0x7c00 << 13));
    const __m128i finite = _mm_castps_si128(_mm_mul_ps(_mm_castsi128_ps(rest), _mm_set1_ps(0x1p112f)));
    const __m128i infinite = _mm_or_si128(_mm_or_si128(rest, _mm_set1_epi32(0x7f800000)),
                                          _mm_and_si128(nan, _mm_set1_epi32(0x400000)));
    return _mm_castsi128_ps(_mm_or_si128(sign, _mm_blendv_epi8(finite, infinite, special)));
}

/* The vector form of simd_to_bf16; lanes in the low 64 bits. */
SIMD_FN __m128i simd_round_bf16_(vf v)
{
    const __m128i b = _mm_castps_si128(v), high = _mm_srli_epi32(b, 16);
    const __m128i up = _mm_add_epi32(_mm_and_si128(high, _mm_set1_epi32(1)), _mm_set1_epi32(0x7fff));
    const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(v, v));
    const __m128i r = _mm_blendv_epi8(_mm_srli_epi32(_mm_add_epi32(b, up), 16),
                                      _mm_or_si128(high, _mm_set1_epi32(0x40)), nan);
    return _mm_packus_epi32(r, r);
}

/* The vector form of simd_to_f16. */
SIMD_FN __m128i simd_round_f16_(vf v)
{
    const __m128i b = _mm_castps_si128(v), a = _mm_and_si128(b, _mm_set1_epi32(0x7fffffff));
    const __m128i sign = _mm_and_si128(_mm_srli_epi32(b, 16), _mm_set1_epi32(0x8000));
    const __m128i nan =
        _mm_or_si128(_mm_set1_epi32(0x7e00), _mm_and_si128(_mm_srli_epi32(a, 13), _mm_set1_epi32(0x3ff)));
    const __m128i small =
        _mm_sub_epi32(_mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(a), _mm_set1_ps(0.5f))), _mm_set1_epi32(0x3f000000));
    const __m128i up = _mm_add_epi32(_mm_and_si128(_mm_srli_epi32(a, 13), _mm_set1_epi32(1)), _mm_set1_epi32(0xfff));
    __m128i r = _mm_srli_epi32(_mm_add_epi32(_mm_sub_epi32(a, _mm_set1_epi32(0x38000000)), up), 13);
    r = _mm_blendv_epi8(r, small, _mm_cmplt_epi32(a, _mm_set1_epi32(0x38800000)));
    r = _mm_blendv_epi8(r, _mm_set1_epi32(0x7c00), _mm_cmpgt_epi32(a, _mm_set1_epi32(0x477fefff)));
    r = _mm_blendv_epi8(r, nan, _mm_cmpgt_epi32(a, _mm_set1_epi32(0x7f800000)));
    r = _mm_or_si128(r, sign);
    return _mm_packus_epi32(r, r);
}

SIMD_FN vf vf_load_f16_n(const uint16_t *p, int n)
{
    return simd_widen_f16_(simd_narrow_load_(p, 2 * n));
}

SIMD_FN vf vf_load_f16(const uint16_t *p)
{
    return simd_widen_f16_(_mm_loadl_epi64((const __m128i *)p));
}

SIMD_FN vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return simd_widen_bf16_(simd_narrow_load_(p, 2 * n));
}

SIMD_FN vf vf_load_bf16(const uint16_t *p)
{
    return simd_widen_bf16_(_mm_loadl_epi64((const __m128i *)p));
}

SIMD_FN void vf_store_f16_n(uint16_t *p, vf v, int n)
{
    simd_narrow_store_(p, simd_round_f16_(v), 2 * n);
}

SIMD_FN void vf_store_f16(uint16_t *p, vf v)
{
    _mm_storel_epi64((__m128i *)p, simd_round_f16_(v));
}

SIMD_FN void vf_store_bf16_n(uint16_t *p, vf v, int n)
{
    simd_narrow_store_(p, simd_round_bf16_(v), 2 * n);
}

SIMD_FN void vf_store_bf16(uint16_t *p, vf v)
{
    _mm_storel_epi64((__m128i *)p, simd_round_bf16_(v));
}

SIMD_FN __m128i simd_load4_(const void *p)
{
    int32_t word;
    memcpy(&word, p, 4);
    return _mm_cvtsi32_si128(word);
}

SIMD_FN vf vf_load_i8_n(const int8_t *p, int n)
{
    return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(simd_narrow_load_(p, n)));
}

SIMD_FN vf vf_load_i8(const int8_t *p)
{
    return _mm_cvtepi32_ps(_mm_cvtepi8_epi32(simd_load4_(p)));
}

SIMD_FN vf vf_load_u8_n(const uint8_t *p, int n)
{
    return _mm_cvtepi32_ps(_mm_cvtepu8_epi32(simd_narrow_load_(p, n)));
}

SIMD_FN vf vf_load_u8(const uint8_t *p)
{
    return _mm_cvtepi32_ps(_mm_cvtepu8_epi32(simd_load4_(p)));
}

SIMD_FN vf vf_load_fours(const float *a, const float *b, const float *c, const float *d)
{
    (void)b;
    (void)c;
    (void)d;
    return vf_load(a);
}

SIMD_FN vm vm_load_u8_n(const uint8_t *p, int n)
{
    return _mm_castsi128_ps(_mm_cmpgt_epi32(_mm_cvtepu8_epi32(simd_narrow_load_(p, n)), vi_zero()));
}

SIMD_FN vm vm_load_u8(const uint8_t *p)
{
    return _mm_castsi128_ps(_mm_cmpgt_epi32(_mm_cvtepu8_epi32(simd_load4_(p)), vi_zero()));
}

SIMD_FN vf vf_gather(const float *p, vi i)
{
    return _mm_setr_ps(p[_mm_extract_epi32(i, 0)], p[_mm_extract_epi32(i, 1)], p[_mm_extract_epi32(i, 2)],
                       p[_mm_extract_epi32(i, 3)]);
}

SIMD_FN float vf_reduce_add(vf a)
{
    const vf h = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}

SIMD_FN float vf_reduce_max(vf a)
{
    const vf h = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

SIMD_FN float vf_reduce_min(vf a)
{
    const vf h = _mm_min_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_min_ss(h, _mm_movehdup_ps(h)));
}

SIMD_FN void vf_accumulate(double *acc, vf v)
{
    _mm_storeu_pd(acc, _mm_add_pd(_mm_loadu_pd(acc), _mm_cvtps_pd(v)));
    _mm_storeu_pd(acc + 2, _mm_add_pd(_mm_loadu_pd(acc + 2), _mm_cvtps_pd(_mm_movehl_ps(v, v))));
}

SIMD_FN void vi_compress(int32_t *p, vi v, vm m)
{
    const __m128i front = _mm_load_si128((const __m128i *)(const void *)simd_front[_mm_movemask_ps(m)]);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_shuffle_epi8(v, front));
}

#endif
