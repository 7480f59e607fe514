/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One vocabulary for every ISA. scalar.h, sse4.h, avx2.h, avx512.h and neon.h implement it; TENON_ISA_<isa> chooses. VF floats a
 * vector: vf, vi (int32), vm (mask). Every function is static inline; the meaning is the same on every ISA, bit for bit:
 *
 *   load(p) store(p,v)            unaligned, VF elements          load_n(p,n) store_n(p,v,n)   first n (0..VF) only; the rest
 *                                                                 reads as 0; never touches memory past p+n
 *   load_f16 load_bf16 load_i8 load_u8_mask ... (_n too)          widen exactly; store_f16 store_bf16 round to nearest even
 *   vf_set1 vf_zero add sub mul div fma(a,b,c)=a*b+c fused (real FMA on every ISA; the scalar and SSE4 ones by fmaf)
 *   min(a,b) max(a,b)             b if either is NaN (the x86 rule): max(x, acc) keeps acc past NaN x
 *   lt le gt ge eq unord(a)       -> vm      and_m or_m andnot_m not_m any_m all_m count_m first_n(n)
 *   select(m,a,b)                 m ? a : b (bitwise)
 *   rint, trunc_i, to_i, to_f, ldexp by exponent bits, vi add sub and or xor shl shr sra cmpgt
 *   reduce_add in one stated order (halves), reduce_max reduce_min, gather
 */
#ifndef TENON_SIMD_H
#define TENON_SIMD_H
/* The owner of this folder fills in this file. */
#endif
