/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * simd.h in plain C: what every other ISA is compared with, and the only one on unknown architectures. */
#ifndef TENON_SIMD_SCALAR_H
#define TENON_SIMD_SCALAR_H

#define VF 1
#define SIMD_REGS 8
typedef float vf;
typedef int32_t vi;
typedef uint32_t vm; /* 0 or 1 */

#define SIMD_LOAD_(name, type, result, convert)                                \
    SIMD_FN result name(const type *p)                                         \
    {                                                                          \
        return convert(*p);                                                    \
    }                                                                          \
    SIMD_FN result name##_n(const type *p, int n)                              \
    {                                                                          \
        return n > 0 ? convert(*p) : 0;                                        \
    }
#define SIMD_STORE_(name, type, argument, convert)                             \
    SIMD_FN void name(type *p, argument v)                                     \
    {                                                                          \
        *p = convert(v);                                                       \
    }                                                                          \
    SIMD_FN void name##_n(type *p, argument v, int n)                          \
    {                                                                          \
        if (n > 0)                                                             \
            *p = convert(v);                                                   \
    }
#define SIMD_NONZERO_(b) ((b) != 0)
SIMD_LOAD_(vf_load, float, vf, )
SIMD_LOAD_(vf_load_f16, uint16_t, vf, simd_from_f16)
SIMD_LOAD_(vf_load_bf16, uint16_t, vf, simd_from_bf16)
SIMD_LOAD_(vf_load_i8, int8_t, vf, (float))
SIMD_LOAD_(vf_load_u8, uint8_t, vf, (float))
SIMD_LOAD_(vi_load, int32_t, vi, )
SIMD_LOAD_(vm_load_u8, uint8_t, vm, SIMD_NONZERO_)
SIMD_STORE_(vf_store, float, vf, )
SIMD_STORE_(vf_store_f16, uint16_t, vf, simd_to_f16)
SIMD_STORE_(vf_store_bf16, uint16_t, vf, simd_to_bf16)
SIMD_STORE_(vi_store, int32_t, vi, )
#undef SIMD_LOAD_
#undef SIMD_STORE_
#undef SIMD_NONZERO_

SIMD_FN vf vf_load_fours(const float *a, const float *b, const float *c, const float *d)
{
    (void)b;
    (void)c;
    (void)d;
    return vf_load(a);
}

SIMD_FN void vf_stream(float *p, vf v)
{
    *p = v;
}

SIMD_FN void simd_fence(void)
{
}

SIMD_FN vf vf_gather(const float *p, vi i)
{
    return p[i];
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
SIMD_OP1_(vf_set1, float, vf, a)
SIMD_OP1_(vf_sqrt, vf, vf, sqrtf(a))
SIMD_OP1_(vf_rint, vf, vf, rintf(a))
SIMD_OP2_(vf_add, vf, vf, a + b)
SIMD_OP2_(vf_sub, vf, vf, a - b)
SIMD_OP2_(vf_mul, vf, vf, a * b)
SIMD_OP2_(vf_div, vf, vf, a / b)
SIMD_OP2_(vf_min, vf, vf, a < b ? a : b)
SIMD_OP2_(vf_max, vf, vf, a > b ? a : b)
SIMD_OP2_(vf_lt, vf, vm, a < b)
SIMD_OP2_(vf_le, vf, vm, a <= b)
SIMD_OP2_(vf_gt, vf, vm, a > b)
SIMD_OP2_(vf_ge, vf, vm, a >= b)
SIMD_OP2_(vf_nlt, vf, vm, !(a < b))
SIMD_OP2_(vf_eq, vf, vm, a == b)
SIMD_OP2_(vf_unordered, vf, vm, (a != a) | (b != b))

SIMD_OP1_(vm_not, vm, vm, !a)
SIMD_OP1_(vm_bits, vm, uint32_t, a)
SIMD_OP1_(vm_first, int, vm, a > 0)
SIMD_OP2_(vm_and, vm, vm, a & b)
SIMD_OP2_(vm_or, vm, vm, a | b)
SIMD_OP2_(vm_andnot, vm, vm, a & !b)

SIMD_OP1_(vi_set1, int32_t, vi, a)
SIMD_OP2_(vi_add, vi, vi, (vi)((uint32_t)a + (uint32_t)b))
SIMD_OP2_(vi_sub, vi, vi, (vi)((uint32_t)a - (uint32_t)b))
SIMD_OP2_(vi_mul, vi, vi, (vi)((uint32_t)a * (uint32_t)b))
SIMD_OP2_(vi_mulhi, vi, vi, (vi)((uint64_t)(uint32_t)a * (uint32_t)b >> 32))
SIMD_OP2_(vi_and, vi, vi, a & b)
SIMD_OP2_(vi_or, vi, vi, a | b)
SIMD_OP2_(vi_xor, vi, vi, a ^ b)
SIMD_OP2_(vi_min, vi, vi, a < b ? a : b)
SIMD_OP2_(vi_max, vi, vi, a > b ? a : b)
SIMD_OP2_(vi_eq, vi, vm, a == b)
SIMD_OP2_(vi_gt, vi, vm, a > b)
SIMD_SHIFT_(vi_shl, (vi)((uint32_t)a << n))
SIMD_SHIFT_(vi_shr, (vi)((uint32_t)a >> n))
SIMD_SHIFT_(vi_sra, a >> n)
SIMD_OP1_(vi_round, vf, vi, (int32_t)rintf(a))
SIMD_OP1_(vi_trunc, vf, vi, (int32_t)a)
SIMD_OP1_(vf_from_vi, vi, vf, (float)a)
SIMD_OP1_(vi_bits, vf, vi, (vi)simd_bits(a))
SIMD_OP1_(vf_bits, vi, vf, simd_float((uint32_t)a))
SIMD_OP1_(vf_reduce_add, vf, float, a)
SIMD_OP1_(vf_reduce_max, vf, float, a)
SIMD_OP1_(vf_reduce_min, vf, float, a)
#undef SIMD_OP1_
#undef SIMD_OP2_
#undef SIMD_SHIFT_

SIMD_FN vf vf_swap(vf a)
{
    return a;
}

SIMD_FN vf vf_zero(void)
{
    return 0.0f;
}

SIMD_FN vi vi_zero(void)
{
    return 0;
}

SIMD_FN vi vi_iota(void)
{
    return 0;
}

SIMD_FN vf vf_fma(vf a, vf b, vf c)
{
    return fmaf(a, b, c);
}

SIMD_FN vf vf_madd(vf a, vf b, vf c)
{
    return a * b + c;
}

SIMD_FN vf vf_select(vm m, vf a, vf b)
{
    return m ? a : b;
}

SIMD_FN vf vf_keep(vm m, vf a)
{
    return m ? a : 0.0f;
}

SIMD_FN vi vi_select(vm m, vi a, vi b)
{
    return m ? a : b;
}

SIMD_FN void vf_accumulate(double *acc, vf v)
{
    *acc += (double)v;
}

#endif
