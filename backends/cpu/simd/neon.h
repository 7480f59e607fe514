/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * simd.h for aarch64. */
#ifndef TENON_SIMD_NEON_H
#define TENON_SIMD_NEON_H

#include <arm_neon.h>

#define VF 4
#define SIMD_REGS 32
typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm; /* all ones or all zeros a lane */

SIMD_FN vf vf_swap(vf a)
{
    return vrev64q_f32(a);
}

SIMD_FN vf vf_zero(void)
{
    return vdupq_n_f32(0.0f);
}

SIMD_FN vi vi_zero(void)
{
    return vdupq_n_s32(0);
}

SIMD_FN vi vi_iota(void)
{
    static const int32_t iota[4] = {0, 1, 2, 3};
    return vld1q_s32(iota);
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
#define SIMD_U_(a) vreinterpretq_u32_s32(a)
#define SIMD_S_(a) vreinterpretq_s32_u32(a)
SIMD_OP1_(vi_bits, vf, vi, vreinterpretq_s32_f32(a))
SIMD_OP1_(vf_bits, vi, vf, vreinterpretq_f32_s32(a))
SIMD_OP1_(vf_set1, float, vf, vdupq_n_f32(a))
SIMD_OP1_(vf_sqrt, vf, vf, vsqrtq_f32(a))
SIMD_OP1_(vf_rint, vf, vf, vrndnq_f32(a))
SIMD_OP2_(vf_add, vf, vf, vaddq_f32(a, b))
SIMD_OP2_(vf_sub, vf, vf, vsubq_f32(a, b))
SIMD_OP2_(vf_mul, vf, vf, vmulq_f32(a, b))
SIMD_OP2_(vf_div, vf, vf, vdivq_f32(a, b))
/* vminq and vmaxq give NaN for NaN: the rule of simd.h needs the compare. */
SIMD_OP2_(vf_min, vf, vf, vbslq_f32(vcltq_f32(a, b), a, b))
SIMD_OP2_(vf_max, vf, vf, vbslq_f32(vcgtq_f32(a, b), a, b))
SIMD_OP2_(vf_lt, vf, vm, vcltq_f32(a, b))
SIMD_OP2_(vf_le, vf, vm, vcleq_f32(a, b))
SIMD_OP2_(vf_gt, vf, vm, vcgtq_f32(a, b))
SIMD_OP2_(vf_ge, vf, vm, vcgeq_f32(a, b))
SIMD_OP2_(vf_nlt, vf, vm, vmvnq_u32(vcltq_f32(a, b)))
SIMD_OP2_(vf_eq, vf, vm, vceqq_f32(a, b))
SIMD_OP2_(vf_unordered, vf, vm, vmvnq_u32(vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b))))

SIMD_OP1_(vm_not, vm, vm, vmvnq_u32(a))
SIMD_OP1_(vm_bits, vm, uint32_t, vaddvq_u32(vandq_u32(a, SIMD_U_(vshlq_s32(vdupq_n_s32(1), vi_iota())))))
SIMD_OP1_(vm_first, int, vm, vcltq_s32(vi_iota(), vdupq_n_s32(a)))
SIMD_OP2_(vm_and, vm, vm, vandq_u32(a, b))
SIMD_OP2_(vm_or, vm, vm, vorrq_u32(a, b))
SIMD_OP2_(vm_andnot, vm, vm, vbicq_u32(a, b))

SIMD_OP1_(vi_set1, int32_t, vi, vdupq_n_s32(a))
SIMD_OP2_(vi_add, vi, vi, vaddq_s32(a, b))
SIMD_OP2_(vi_sub, vi, vi, vsubq_s32(a, b))
SIMD_OP2_(vi_mul, vi, vi, vmulq_s32(a, b))
SIMD_OP2_(vi_mulhi, vi, vi,
          SIMD_S_(vuzp2q_u32(vreinterpretq_u32_u64(vmull_u32(vget_low_u32(SIMD_U_(a)), vget_low_u32(SIMD_U_(b)))),
                             vreinterpretq_u32_u64(vmull_high_u32(SIMD_U_(a), SIMD_U_(b))))))
SIMD_OP2_(vi_and, vi, vi, vandq_s32(a, b))
SIMD_OP2_(vi_or, vi, vi, vorrq_s32(a, b))
SIMD_OP2_(vi_xor, vi, vi, veorq_s32(a, b))
SIMD_OP2_(vi_min, vi, vi, vminq_s32(a, b))
SIMD_OP2_(vi_max, vi, vi, vmaxq_s32(a, b))
SIMD_OP2_(vi_eq, vi, vm, vceqq_s32(a, b))
SIMD_OP2_(vi_gt, vi, vm, vcgtq_s32(a, b))
SIMD_SHIFT_(vi_shl, vshlq_s32(a, vdupq_n_s32(n)))
SIMD_SHIFT_(vi_shr, SIMD_S_(vshlq_u32(SIMD_U_(a), vdupq_n_s32(-n))))
SIMD_SHIFT_(vi_sra, vshlq_s32(a, vdupq_n_s32(-n)))
SIMD_OP1_(vi_round, vf, vi, vcvtnq_s32_f32(a))
SIMD_OP1_(vi_trunc, vf, vi, vcvtq_s32_f32(a))
SIMD_OP1_(vf_from_vi, vi, vf, vcvtq_f32_s32(a))
#undef SIMD_OP1_
#undef SIMD_OP2_
#undef SIMD_SHIFT_

SIMD_FN vf vf_select(vm m, vf a, vf b)
{
    return vbslq_f32(m, a, b);
}

SIMD_FN vf vf_keep(vm m, vf a)
{
    return vreinterpretq_f32_u32(vandq_u32(m, vreinterpretq_u32_f32(a)));
}

SIMD_FN vi vi_select(vm m, vi a, vi b)
{
    return vbslq_s32(m, a, b);
}

SIMD_FN vf vf_fma(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}

SIMD_FN vf vf_madd(vf a, vf b, vf c)
{
    return vfmaq_f32(c, a, b);
}

/* Loads and stores by way of a small array when not whole: only n elements are touched. */
#define SIMD_MEMORY_(name, type, vector, loaded, stored)                       \
    SIMD_FN vector simd_load_##name##_(const type *p, int n)                   \
    {                                                                          \
        type word[8] = {0};                                                    \
        for (int i = 0; i < n; i++)                                            \
            word[i] = p[i];                                                    \
        return loaded(word);                                                   \
    }                                                                          \
    SIMD_FN void simd_store_##name##_(type *p, vector v, int n)                \
    {                                                                          \
        type word[8];                                                          \
        stored(word, v);                                                       \
        for (int i = 0; i < n; i++)                                            \
            p[i] = word[i];                                                    \
    }
SIMD_MEMORY_(f32, float, float32x4_t, vld1q_f32, vst1q_f32)
SIMD_MEMORY_(s32, int32_t, int32x4_t, vld1q_s32, vst1q_s32)
SIMD_MEMORY_(u16, uint16_t, uint16x4_t, vld1_u16, vst1_u16)
SIMD_MEMORY_(s8, int8_t, int8x8_t, vld1_s8, vst1_s8)
SIMD_MEMORY_(u8, uint8_t, uint8x8_t, vld1_u8, vst1_u8)
#undef SIMD_MEMORY_

SIMD_FN vf vf_load(const float *p)
{
    return vld1q_f32(p);
}

SIMD_FN vf vf_load_n(const float *p, int n)
{
    return simd_load_f32_(p, n);
}

SIMD_FN void vf_store(float *p, vf v)
{
    vst1q_f32(p, v);
}

SIMD_FN void vf_store_n(float *p, vf v, int n)
{
    simd_store_f32_(p, v, n);
}

SIMD_FN vi vi_load(const int32_t *p)
{
    return vld1q_s32(p);
}

SIMD_FN vi vi_load_n(const int32_t *p, int n)
{
    return simd_load_s32_(p, n);
}

SIMD_FN void vi_store(int32_t *p, vi v)
{
    vst1q_s32(p, v);
}

SIMD_FN void vi_store_n(int32_t *p, vi v, int n)
{
    simd_store_s32_(p, v, n);
}

SIMD_FN void vf_stream(float *p, vf v)
{
    vst1q_f32(p, v);
}

SIMD_FN void simd_fence(void)
{
}

SIMD_FN vf simd_widen_f16_(uint16x4_t h)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

SIMD_FN vf simd_widen_bf16_(uint16x4_t h)
{
    return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}

SIMD_FN uint16x4_t simd_round_f16_(vf v)
{
    return vreinterpret_u16_f16(vcvt_f16_f32(v));
}

/* The vector form of simd_to_bf16. */
SIMD_FN uint16x4_t simd_round_bf16_(vf v)
{
    const uint32x4_t b = vreinterpretq_u32_f32(v), high = vshrq_n_u32(b, 16);
    const uint32x4_t up = vaddq_u32(vandq_u32(high, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));
    return vmovn_u32(vbslq_u32(vceqq_f32(v, v), vshrq_n_u32(vaddq_u32(b, up), 16), quiet));
}

SIMD_FN vf vf_load_f16(const uint16_t *p)
{
    return simd_widen_f16_(vld1_u16(p));
}

SIMD_FN vf vf_load_f16_n(const uint16_t *p, int n)
{
    return simd_widen_f16_(simd_load_u16_(p, n));
}

SIMD_FN vf vf_load_bf16(const uint16_t *p)
{
    return simd_widen_bf16_(vld1_u16(p));
}

SIMD_FN vf vf_load_bf16_n(const uint16_t *p, int n)
{
    return simd_widen_bf16_(simd_load_u16_(p, n));
}

SIMD_FN void vf_store_f16(uint16_t *p, vf v)
{
    vst1_u16(p, simd_round_f16_(v));
}

SIMD_FN void vf_store_f16_n(uint16_t *p, vf v, int n)
{
    simd_store_u16_(p, simd_round_f16_(v), n);
}

SIMD_FN void vf_store_bf16(uint16_t *p, vf v)
{
    vst1_u16(p, simd_round_bf16_(v));
}

SIMD_FN void vf_store_bf16_n(uint16_t *p, vf v, int n)
{
    simd_store_u16_(p, simd_round_bf16_(v), n);
}

SIMD_FN vf vf_load_i8_n(const int8_t *p, int n)
{
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(simd_load_s8_(p, n)))));
}

SIMD_FN vf vf_load_i8(const int8_t *p)
{
    return vf_load_i8_n(p, VF);
}

SIMD_FN vf vf_load_u8_n(const uint8_t *p, int n)
{
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(simd_load_u8_(p, n)))));
}

SIMD_FN vf vf_load_u8(const uint8_t *p)
{
    return vf_load_u8_n(p, VF);
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
    const uint32x4_t wide = vmovl_u16(vget_low_u16(vmovl_u8(simd_load_u8_(p, n))));
    return vtstq_u32(wide, wide);
}

SIMD_FN vm vm_load_u8(const uint8_t *p)
{
    return vm_load_u8_n(p, VF);
}

SIMD_FN vf vf_gather(const float *p, vi i)
{
    const float word[4] = {p[vgetq_lane_s32(i, 0)], p[vgetq_lane_s32(i, 1)], p[vgetq_lane_s32(i, 2)],
                           p[vgetq_lane_s32(i, 3)]};
    return vld1q_f32(word);
}

SIMD_FN float vf_reduce_add(vf a)
{
    const float32x2_t h = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}

SIMD_FN float vf_reduce_max(vf a)
{
    const vf h = vf_max(a, vextq_f32(a, a, 2));
    return vgetq_lane_f32(vf_max(h, vextq_f32(h, h, 1)), 0);
}

SIMD_FN float vf_reduce_min(vf a)
{
    const vf h = vf_min(a, vextq_f32(a, a, 2));
    return vgetq_lane_f32(vf_min(h, vextq_f32(h, h, 1)), 0);
}

SIMD_FN void vf_accumulate(double *acc, vf v)
{
    vst1q_f64(acc, vaddq_f64(vld1q_f64(acc), vcvt_f64_f32(vget_low_f32(v))));
    vst1q_f64(acc + 2, vaddq_f64(vld1q_f64(acc + 2), vcvt_high_f64_f32(v)));
}

#undef SIMD_U_
#undef SIMD_S_
#endif
