/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One vocabulary for every ISA. scalar.h, sse4.h, avx2.h, avx512.h and neon.h implement it; TENON_ISA (scalar, sse4,
 * ...: one a compilation) chooses. Types: vf = VF floats, vi = VF int32, vm = VF truth values. The meaning is the
 * same on every ISA, bit for bit, so that code which fixes its own order of operations gives the same bits
 * everywhere.
 *
 * Memory. n counts elements, 0 <= n <= VF. The _n forms touch nothing past p + n, and lanes from n on read as 0. No
 * alignment is needed but by vf_stream.
 *   vf_load(p) vf_load_n(p,n) vf_store(p,v) vf_store_n(p,v,n)          float
 *   vf_load_f16 vf_load_bf16 vf_load_i8 vf_load_u8 (_n)           widened exactly (a signalling NaN may become quiet)
 *   vf_store_f16 vf_store_bf16 (_n)                               rounded to nearest even, overflow to Inf
 *   vi_load vi_load_n vi_store vi_store_n                              int32_t
 *   vm_load_u8 vm_load_u8_n                                            true where the byte is not 0
 *   vf_gather(p, i)                                                    p[i] a lane
 *   vf_load_fours(a, b, c, d)   four from each in this order, as far as VF goes; no others are read (VF 1: a[0])
 *   vf_stream(p, v)     store past the caches where that exists; p is aligned to 4*VF bytes. simd_fence() afterwards.
 * Arithmetic.
 *   vf_set1 vf_zero vf_add vf_sub vf_mul vf_div vf_sqrt vf_abs vf_neg (sign bit only)
 *   vf_fma(a,b,c)       a*b+c rounded once, on every ISA (emulated on scalar and SSE4, slow there)
 *   vf_madd(a,b,c)      a*b+c, fused where that is fast: for sums that are judged by a tolerance
 *   vf_min(a,b)         a < b ? a : b. So b if either is NaN: vf_min(x, acc) keeps acc past a NaN x.
 *   vf_max(a,b)         a > b ? a : b, likewise
 *   vf_swap             lane 2i and lane 2i + 1 change places (of one lane: itself)
 *   vf_rint             half to even          vf_pow2(k)   2^k for integral -126 <= k <= 127; 0 for k < -126
 * Truth. Comparisons are false if either side is NaN; vf_nlt(a,b) is "not less than" and true then.
 *   vf_lt vf_le vf_gt vf_ge vf_eq vf_nlt vf_isnan vi_eq vi_gt      vm_and vm_or vm_andnot(a,b)=a and not b, vm_not
 *   vf_unordered(a,b)   either is NaN
 *   vm_first(n)         the lanes below n     vm_bits(m)   bit i is lane i      vm_any vm_all vm_count
 *   vf_select(m,a,b) vi_select(m,a,b)         m ? a : b, bitwise        vf_keep(m,a)   m ? a : 0
 * Integers wrap. Shift counts are 0..31.
 *   vi_set1 vi_zero vi_iota (lane i is i) vi_add vi_sub vi_mul vi_mulhi (the upper half of
 *   the unsigned 64-bit product) vi_and vi_or vi_xor vi_shl vi_shr (logical) vi_sra
 *   vi_max vi_min
 *   vi_round(v)         to int32 by vf_rint; vi_trunc(v) towards zero; both only for |v| < 2^31
 *   vf_from_vi          rounded to nearest    vi_bits(vf) vf_bits(vi)           reinterpret
 *   vi_compress(p, v, m)  the lanes of m, one after the other; p has room for VF, whatever the others become
 * Reductions, lane i with lane i + half, then halves again:
 *   vf_reduce_add vf_reduce_max vf_reduce_min (the NaN rule of vf_max(low, high))
 *   vf_accumulate(acc, v)   acc[i] += (double)lane i, for double acc[VF]
 * SIMD_REGS is the number of vector registers, for the choice of tiles. */
#ifndef TENON_SIMD_H
#define TENON_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* always_inline: an out-of-line copy of an AVX function must never be what the linker keeps for a plain one. */
#define SIMD_FN static inline __attribute__((always_inline, unused))

/* TENON_ISA is a bare word for the names of the tables; as a number it can be tested. */
#define SIMD_IS_scalar 1
#define SIMD_IS_sse4 2
#define SIMD_IS_avx2 3
#define SIMD_IS_avx512 4
#define SIMD_IS_neon 5
#define SIMD_IS_(isa) SIMD_IS_##isa
#define SIMD_IS(isa) SIMD_IS_(isa)
#define SIMD_ISA SIMD_IS(TENON_ISA)

/* Before a loop of constant length over an array of vectors, so that the array lives in registers. Not where there
 * are too few of those, or where an fma is twenty instructions: it would only make code. */
#if SIMD_ISA == 1 || SIMD_ISA == 2
#define SIMD_UNROLL
#elif defined(__clang__)
#define SIMD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SIMD_UNROLL _Pragma("GCC unroll 16")
#endif

/* Where a function serves constant lengths and others. Clang unrolls the former unasked and complains of the latter. */
#ifdef __clang__
#define SIMD_UNROLL_MAYBE
#else
#define SIMD_UNROLL_MAYBE SIMD_UNROLL
#endif

SIMD_FN uint32_t simd_bits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

SIMD_FN float simd_float(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* The 16-bit types of one element, for scalar tails and for ISAs without instructions for them. */
SIMD_FN float simd_from_bf16(uint16_t h)
{
    return simd_float((uint32_t)h << 16);
}

SIMD_FN uint16_t simd_to_bf16(float x)
{
    const uint32_t b = simd_bits(x);
    if ((b & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(b >> 16 | 0x40u);
    return (uint16_t)((b + 0x7fffu + (b >> 16 & 1u)) >> 16);
}

SIMD_FN float simd_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = (uint32_t)(h & 0x7fffu) << 13;
    if (rest >= 0x7c00u << 13) /* Inf, NaN (made quiet, as the instructions do) */
        return simd_float(sign | rest | 0x7f800000u | (rest > 0x7c00u << 13 ? 0x400000u : 0u));
    return simd_float(sign | simd_bits(simd_float(rest) * 0x1p112f)); /* exact; subnormals become normal */
}

SIMD_FN uint16_t simd_to_f16(float x)
{
    const uint32_t b = simd_bits(x), sign = b >> 16 & 0x8000u, a = b & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) /* 65520 and more */
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) /* below 2^-14: the spacing of [0.5, 1) is that of f16's subnormals, so the sum rounds right */
        return (uint16_t)(sign | (simd_bits(simd_float(a) + 0.5f) - 0x3f000000u));
    return (uint16_t)(sign | (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13);
}

#if SIMD_ISA == 2 || SIMD_ISA == 3
/* For each set of four lanes the bytes that bring them to the front. */
#define SIMD_LANE(i) 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3
#define SIMD_LANES(a, b, c, d) {SIMD_LANE(a), SIMD_LANE(b), SIMD_LANE(c), SIMD_LANE(d)}
static const uint8_t simd_front[16][16] __attribute__((aligned(16), unused)) = {
    SIMD_LANES(0, 0, 0, 0), SIMD_LANES(0, 0, 0, 0), SIMD_LANES(1, 0, 0, 0), SIMD_LANES(0, 1, 0, 0),
    SIMD_LANES(2, 0, 0, 0), SIMD_LANES(0, 2, 0, 0), SIMD_LANES(1, 2, 0, 0), SIMD_LANES(0, 1, 2, 0),
    SIMD_LANES(3, 0, 0, 0), SIMD_LANES(0, 3, 0, 0), SIMD_LANES(1, 3, 0, 0), SIMD_LANES(0, 1, 3, 0),
    SIMD_LANES(2, 3, 0, 0), SIMD_LANES(0, 2, 3, 0), SIMD_LANES(1, 2, 3, 0), SIMD_LANES(0, 1, 2, 3),
};
#define SIMD_COMPRESS 1
#endif

#if SIMD_ISA == 1
#include "scalar.h"
#elif SIMD_ISA == 2
#include "sse4.h"
#elif SIMD_ISA == 3
#include "avx2.h"
#elif SIMD_ISA == 4
#include "avx512.h"
#elif SIMD_ISA == 5
#include "neon.h"
#else
#error "TENON_ISA must be scalar, sse4, avx2, avx512 or neon"
#endif

/* What follows from the rest. */
SIMD_FN int vm_any(vm m)
{
    return vm_bits(m) != 0;
}

SIMD_FN int vm_all(vm m)
{
    return vm_bits(m) == (1u << VF) - 1u;
}

SIMD_FN int vm_count(vm m)
{
    const uint32_t bits = vm_bits(m);
    if (VF == 4) /* where there may be no instruction for it */
        return (int)(UINT64_C(0x4332322132212110) >> 4 * bits & 7);
    return VF == 1 ? (int)bits : __builtin_popcount(bits);
}

SIMD_FN vf vf_abs(vf a)
{
    return vf_bits(vi_and(vi_bits(a), vi_set1(0x7fffffff)));
}

SIMD_FN vf vf_neg(vf a)
{
    return vf_bits(vi_xor(vi_bits(a), vi_set1(INT32_MIN)));
}

SIMD_FN vm vf_isnan(vf a)
{
    return vm_not(vf_eq(a, a));
}

SIMD_FN vf vf_pow2(vf k)
{
    const vf p = vf_bits(vi_shl(vi_add(vi_trunc(vf_max(k, vf_set1(-127.0f))), vi_set1(127)), 23));
    return vf_keep(vf_ge(k, vf_set1(-126.0f)), p);
}

/* One more in the lanes of m: a masked addition, or one of what the mask leaves. */
SIMD_FN vi vi_more(vi count, vm m)
{
    if (VF == 16)
        return vi_select(m, vi_add(count, vi_set1(1)), count);
    return vi_add(count, vi_bits(vf_keep(m, vf_bits(vi_set1(1)))));
}

/* Into L1, or only into L2; any address is fine. */
SIMD_FN void simd_prefetch(const void *p)
{
    __builtin_prefetch(p);
}

SIMD_FN void simd_prefetch_far(const void *p)
{
    __builtin_prefetch(p, 0, 2);
}

#ifndef SIMD_COMPRESS
SIMD_FN void vi_compress(int32_t *p, vi v, vm m)
{
    int32_t lanes[VF];
    const uint32_t bits = vm_bits(m);
    vi_store(lanes, v);
    for (int i = 0, n = 0; i < VF; i++) { /* without a branch to mispredict */
        p[n] = lanes[i];
        n += bits >> i & 1;
    }
}
#endif

#endif
