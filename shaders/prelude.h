/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The dialect of the kernels, for OpenCL C 1.2 (TN_OPENCL) and GLSL 4.60 for Vulkan 1.2 (TN_GLSL). This is the only
 * file that knows the two apart; a lint in `make check` keeps it so. A kernel is
 *
 *     #include "<name>.args.h"        GPU_KERNEL and GPU_ARGS, see gpu.h
 *     #include "prelude.h"
 *     TN_SPEC(1, NAME)                specialisation constant 1; 0 is always the work-group size, LOCAL
 *     #include "lib/..."              functions of scalars and buffers; they may use the constants
 *     TN_KERNEL(TN_SHARED(float, sh, LOCAL)) ... TN_END
 *
 * Arguments have the names of the list. A buffer is a pointer to 32-bit words (type TN_BUF, element TN_W(b, i)); it may
 * be passed to functions, shared arrays may not. Structs are declared with TN_STRUCT and returned by value (there are
 * no pointers). Not in the dialect: return in a kernel, casts (T)x, size_t, 64-bit integers, bool in a struct or
 * buffer, % on signed integers, float literals in hexadecimal. Unsigned literals end in u.
 *
 * TN_HOLD is TN_UNROLL but where vectors are wide: there the stack is as good as the registers, which are few.
 *
 * TN_UNROLL before a `for` whose trip count is constant: arrays indexed by such loops are registers. (Some devices end
 * a shader without a word after 65535 rounds of loops in all; recipes bound what an invocation does.)
 *
 * FMA: tn_fma(a,b,c) is one rounding where the device has a fast one and a*b+c with two elsewhere (Vulkan does not
 * promise either). What needs the single rounding calls tn_fma_exact (lib/num.h). Nothing else is ever contracted or
 * reassociated: OpenCL by pragma, GLSL by TN_PRECISE on the variables where it matters.
 * Infinities and NaN are made and recognised as bits, never by comparing floats.
 *
 * Vectors: an invocation works on TN_VW neighbouring elements at once, of the types tn_vf, tn_vi, tn_vu and tn_vb (the
 * result of a comparison), with the operators of the language and tn_select. TN_VW is 1 (plain scalars) but where the
 * device's compiler runs invocations one after the other on a CPU: there explicit vectors give what a GPU has anyhow.
 *
 * TN_GET_LONG(b, i, first, second) and TN_PUT_LONG move words i and i + 1 (i even, b a multiple of 8 bytes) in one
 * access of 64 bits where TN_LONG is 1; some software devices pay for each access, whatever its size.
 *
 * Counts that many invocations add to are integers, so that their order does not matter: TN_ADD_SHARED(array, i, n) adds
 * to a shared array (alone, an invocation just adds), TN_ADD(b, i, n) to a buffer.
 *
 * TN_RUNTIME(#line) keeps a preprocessor line for the device's own compiler (the rest is expanded at build time); a
 * _Pragma in it is TN_PRAGMA_.
 */
#ifndef TN_PRELUDE_H
#define TN_PRELUDE_H

#define TN_NO_SHARED /* a kernel without shared arrays */

#ifdef TN_OPENCL

#pragma OPENCL FP_CONTRACT OFF
TN_RUNTIME(#if defined(FP_FAST_FMAF) || defined(POCL_DEVICE_ADDRESS_BITS))
TN_RUNTIME(#define TN_FUSED 1)
TN_RUNTIME(#else)
TN_RUNTIME(#define TN_FUSED 0)
TN_RUNTIME(#endif)

#define TN_SPEC(id, name) enum { name = TN_SPEC_##id };
#define LOCAL TN_SPEC_0

#define TN_STRUCT(name) typedef struct name name; struct name
#define TN_PRECISE
#define TN_BUF __global uint *
#define TN_W(b, i) ((b)[i])

#define TN_BUF_PARAM_(name) , __global uint *name##_mem, ulong name##_offset
#define TN_U32_PARAM_(name) , uint name
#define TN_I32_PARAM_(name) , int name
#define TN_F32_PARAM_(name) , float name
#define TN_BUF_BODY_(name) \
    __global uint *name = (__global uint *)((__global uchar *)name##_mem + name##_offset);
#define TN_NONE_(name)
#define TN_TAIL_(first, ...) __VA_ARGS__
#define TN_PARAMS_(...) TN_TAIL_(__VA_ARGS__)
#define TN_KERNEL(shared_arrays)                                                               \
    __kernel __attribute__((reqd_work_group_size(LOCAL, 1, 1))) void GPU_KERNEL(               \
        TN_PARAMS_(GPU_ARGS(TN_BUF_PARAM_, TN_U32_PARAM_, TN_I32_PARAM_, TN_F32_PARAM_)))      \
    {                                                                                          \
        GPU_ARGS(TN_BUF_BODY_, TN_NONE_, TN_NONE_, TN_NONE_)                                   \
        shared_arrays
#define TN_END }
#define TN_SHARED(type, name, count) __local type name[count];
#define TN_UNROLL _Pragma("unroll")

#define TN_LID ((uint)get_local_id(0))
#define TN_GROUP_X ((uint)get_group_id(0))
#define TN_GROUP_Y ((uint)get_group_id(1))
#define TN_GROUP_Z ((uint)get_group_id(2))
#define TN_GROUPS_X ((uint)get_num_groups(0))
/* Alone, an invocation waits for nobody; and PoCL cuts a kernel at every barrier, in each path of every branch around
 * it: minutes. */
#define TN_BARRIER if (LOCAL > 1u) barrier(CLK_LOCAL_MEM_FENCE)

#define TN_ADD_SHARED(array, i, n)        \
    {                                     \
        if (LOCAL > 1u)                   \
            atomic_add(&(array)[i], (n)); \
        else                              \
            (array)[i] += (n);            \
    }
#define TN_ADD(b, i, n) atomic_add(&(b)[i], (n))

#define tn_fma(a, b, c) (TN_FUSED ? fma((a), (b), (c)) : (a) * (b) + (c))
#define tn_vfma(a, b, c) (TN_FUSED ? fma((tn_vf)(a), (tn_vf)(b), (tn_vf)(c)) : (a) * (b) + (c))
#define tn_bits(f) as_uint(f)
#define tn_float(u) as_float(u)
#define tn_int(f) convert_int(f)
#define tn_uint(x) convert_uint(x)
#define tn_real(x) convert_float(x)
#define tn_as_int(u) as_int(u)
#define tn_as_uint(i) as_uint(i)
#define tn_floor(f) floor(f)
#define tn_fmax(a, b) fmax((a), (b))
#define tn_fmin(a, b) fmin((a), (b))
#define tn_select(no, yes, condition) ((condition) ? (yes) : (no))
#define tn_mulhi(a, b) mul_hi((a), (b)) /* of uint, the upper 32 bits; vectors too */
/* Integers only: sums of floats would depend on the order. */
#define tn_shared_add(array, i, value) atomic_add(&(array)[i], (value))
#define tn_buffer_add(b, i, value) atomic_add(&(b)[i], (value))

/* Vectors. */
TN_RUNTIME(#ifdef POCL_DEVICE_ADDRESS_BITS)
TN_RUNTIME(#define TN_VW 16u)
TN_RUNTIME(#define TN_WIDE 1)
TN_RUNTIME(#define TN_HOLD)
TN_RUNTIME(#define TN_FN static inline __attribute__((overloadable, always_inline)))
TN_RUNTIME(typedef float16 tn_vf; typedef int16 tn_vi; typedef uint16 tn_vu; typedef int16 tn_vb;)
TN_RUNTIME(#define tn_vbits(f) as_uint16(f))
TN_RUNTIME(#define tn_vfloat(u) as_float16(u))
TN_RUNTIME(#define tn_vint(f) convert_int16(f))
TN_RUNTIME(#define tn_vreal(x) convert_float16(x))
TN_RUNTIME(#define tn_vas_int(u) as_int16(u))
TN_RUNTIME(#define tn_vas_uint(i) as_uint16(i))
TN_RUNTIME(#define tn_vany(b) (any(b) != 0))
TN_RUNTIME(#define tn_viota ((uint16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)))
TN_RUNTIME(#define tn_vget32(b, i) vload16(0, (b) + (i)))
TN_RUNTIME(#define tn_vget16(b, i) convert_uint16(vload16(0, (__global const ushort *)(b) + (i))))
TN_RUNTIME(#define tn_vget8(b, i) convert_uint16(vload16(0, (__global const uchar *)(b) + (i))))
TN_RUNTIME(#define tn_vput32(b, i, v) vstore16((v), 0, (b) + (i)))
TN_RUNTIME(#define tn_vput16(b, i, v) vstore16(convert_ushort16(v), 0, (__global ushort *)(b) + (i)))
TN_RUNTIME(#define tn_vshared_get(s, k) vload16((k), (s)))
TN_RUNTIME(#define tn_vshared_put(s, k, v) vstore16((v), (k), (s)))
TN_RUNTIME(#define TN_VLANES(statement) for (uint tn_lane = 0u; tn_lane < 16u; tn_lane += 1u) { statement })
TN_RUNTIME(#define tn_vat(v, lane) (((__private uint *)&(v))[lane]))
TN_RUNTIME(#else)
TN_RUNTIME(#define TN_VW 1u)
TN_RUNTIME(#define TN_WIDE 0)
TN_RUNTIME(#define TN_HOLD TN_PRAGMA_("unroll"))
TN_RUNTIME(#define TN_FN static inline)
TN_RUNTIME(typedef float tn_vf; typedef int tn_vi; typedef uint tn_vu; typedef int tn_vb;)
TN_RUNTIME(#define tn_vbits(f) as_uint(f))
TN_RUNTIME(#define tn_vfloat(u) as_float(u))
TN_RUNTIME(#define tn_vint(f) convert_int(f))
TN_RUNTIME(#define tn_vreal(x) convert_float(x))
TN_RUNTIME(#define tn_vas_int(u) as_int(u))
TN_RUNTIME(#define tn_vas_uint(i) as_uint(i))
TN_RUNTIME(#define tn_vany(b) ((b) != 0))
TN_RUNTIME(#define tn_viota 0u)
TN_RUNTIME(#define tn_vget32(b, i) ((b)[i]))
TN_RUNTIME(#define tn_vget16(b, i) ((uint)((__global const ushort *)(b))[i]))
TN_RUNTIME(#define tn_vget8(b, i) ((uint)((__global const uchar *)(b))[i]))
TN_RUNTIME(#define tn_vput32(b, i, v) ((b)[i] = (v)))
TN_RUNTIME(#define tn_vput16(b, i, v) (((__global ushort *)(b))[i] = (ushort)(v)))
TN_RUNTIME(#define tn_vshared_get(s, k) ((s)[k]))
TN_RUNTIME(#define tn_vshared_put(s, k, v) ((s)[k] = (v)))
TN_RUNTIME(#define TN_VLANES(statement) { const uint tn_lane = 0u; statement })
TN_RUNTIME(#define tn_vat(v, lane) (v))
TN_RUNTIME(#define tn_vpair tn_pair)
TN_RUNTIME(#endif)
#define TN_WIDE_POSSIBLE 1

/* 8 and 16-bit elements. OpenCL stores bytes and shorts directly on every device. */
#define tn_get8(b, i) ((uint)((__global const uchar *)(b))[i])
#define tn_get16(b, i) ((uint)((__global const ushort *)(b))[i])
#define tn_put16(b, i, u) (((__global ushort *)(b))[i] = (ushort)(u))
#define tn_put8(b, i, u) (((__global uchar *)(b))[i] = (uchar)(u))
#define TN_LONG 0
#define TN_GET_LONG(b, i, first, second)
#define TN_PUT_LONG(b, i, first, second)

#else /* TN_GLSL */

#extension GL_EXT_buffer_reference : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_GOOGLE_include_directive : enable

#ifdef TN_STORAGE16
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#endif
#ifdef TN_INT64
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif
#ifdef TN_INF_NAN
#extension GL_EXT_spirv_intrinsics : require
spirv_execution_mode(capabilities = [4466], 4461, 32); /* SignedZeroInfNanPreserve for 32 bits */
#endif

#define TN_FUSED 0

#define TN_WIDE_POSSIBLE 0
#define TN_VW 1u
#define TN_WIDE 0
#define tn_vpair tn_pair
#define tn_vf float
#define tn_vi int
#define tn_vu uint
#define tn_vb bool
#define tn_vbits(f) floatBitsToUint(f)
#define tn_vfloat(u) uintBitsToFloat(u)
#define tn_vint(f) int(f)
#define tn_vreal(x) float(x)
#define tn_vas_int(u) int(u)
#define tn_vas_uint(i) uint(i)
#define tn_vany(b) (b)
#define tn_viota 0u
#define tn_vget32(b, i) ((b).w[i])
#define tn_vget16(b, i) tn_get16(b, i)
#define tn_vget8(b, i) tn_get8(b, i)
#define tn_vput32(b, i, v) ((b).w[i] = (v))
#define tn_vput16(b, i, v) tn_put16(b, i, v)
#define tn_vshared_get(s, k) ((s)[k])
#define tn_vshared_put(s, k, v) ((s)[k] = (v))
#define TN_VLANES(statement) { const uint tn_lane = 0u; statement }
#define tn_vat(v, lane) (v)

layout(local_size_x_id = 0) in;
#define TN_SPEC(id, name) layout(constant_id = id) const uint name = 1u; /* 1: the size of an array may be one */
#define LOCAL gl_WorkGroupSize.x

#define TN_FN
#define TN_STRUCT(name) struct name
#define TN_PRECISE precise
layout(buffer_reference, std430, buffer_reference_align = 4) buffer tn_words_ { uint w[]; };
#define TN_BUF tn_words_
#define TN_W(b, i) ((b).w[i])

#define TN_BUF_PARAM_(name) tn_words_ name##_arg;
#define TN_U32_PARAM_(name) uint name##_arg;
#define TN_I32_PARAM_(name) int name##_arg;
#define TN_F32_PARAM_(name) float name##_arg;
layout(push_constant, std430) uniform tn_args_ {
    GPU_ARGS(TN_BUF_PARAM_, TN_U32_PARAM_, TN_I32_PARAM_, TN_F32_PARAM_)
};
/* Arguments are read once, before any branch: inside one, software devices gather the same address for each
 * invocation. */
#define TN_BUF_LOCAL_(name) tn_words_ name = name##_arg;
#define TN_U32_LOCAL_(name) uint name = name##_arg;
#define TN_I32_LOCAL_(name) int name = name##_arg;
#define TN_F32_LOCAL_(name) float name = name##_arg;
#define TN_KERNEL(shared_arrays)                                                               \
    shared_arrays void main()                                                                  \
    {                                                                                          \
        GPU_ARGS(TN_BUF_LOCAL_, TN_U32_LOCAL_, TN_I32_LOCAL_, TN_F32_LOCAL_)
#define TN_END }
#define TN_SHARED(type, name, count) shared type name[count];
#define TN_UNROLL [[unroll]]
#define TN_HOLD [[unroll]]

#define TN_LID gl_LocalInvocationIndex
#define TN_GROUP_X gl_WorkGroupID.x
#define TN_GROUP_Y gl_WorkGroupID.y
#define TN_GROUP_Z gl_WorkGroupID.z
#define TN_GROUPS_X gl_NumWorkGroups.x
/* Eight invocations are one subgroup wherever a recipe asks for eight (gpu.h, subgroup). On software devices that is
 * one vector, and a barrier that stops and resumes it would cost everything that was in registers: five times the run
 * time of softmax. */
#define TN_BARRIER if (gl_WorkGroupSize.x > 8u) { barrier(); } else { subgroupBarrier(); }

#define TN_ADD_SHARED(array, i, n) atomicAdd((array)[i], (n));
#define TN_ADD(b, i, n) atomicAdd((b).w[i], (n))

#define tn_fma(a, b, c) fma((a), (b), (c))
#define tn_vfma(a, b, c) fma((a), (b), (c))
#define tn_bits(f) floatBitsToUint(f)
#define tn_float(u) uintBitsToFloat(u)
#define tn_int(f) int(f)
#define tn_uint(x) uint(x)
#define tn_real(x) float(x)
#define tn_as_int(u) int(u)
#define tn_as_uint(i) uint(i)
#define tn_floor(f) floor(f)
#define tn_fmax(a, b) max((a), (b))
#define tn_fmin(a, b) min((a), (b))
#define tn_select(no, yes, condition) ((condition) ? (yes) : (no))
uint tn_mulhi(uint a, uint b)
{
    uint hi;
    uint lo;
    umulExtended(a, b, hi, lo);
    return hi;
}
#define tn_shared_add(array, i, value) atomicAdd((array)[i], (value))
#define tn_buffer_add(b, i, value) atomicAdd((b).w[i], (value))

#ifdef TN_INT64
#define TN_LONG 1
layout(buffer_reference, std430, buffer_reference_align = 8) buffer tn_longs_ { uint64_t w[]; };
#define TN_GET_LONG(b, i, first, second)                       \
    {                                                          \
        uvec2 long_ = unpack32(tn_longs_(b).w[(i) >> 1u]);     \
        first = long_.x;                                       \
        second = long_.y;                                      \
    }
#define TN_PUT_LONG(b, i, first, second) tn_longs_(b).w[(i) >> 1u] = pack64(uvec2(first, second));
#else
#define TN_LONG 0
#define TN_GET_LONG(b, i, first, second)
#define TN_PUT_LONG(b, i, first, second)
#endif

#ifdef TN_STORAGE16
layout(buffer_reference, std430, buffer_reference_align = 2) buffer tn_shorts_ { uint16_t w[]; };
layout(buffer_reference, std430, buffer_reference_align = 1) buffer tn_bytes_ { uint8_t w[]; };
#define tn_get8(b, i) uint(tn_bytes_(b).w[i])
#define tn_get16(b, i) uint(tn_shorts_(b).w[i])
#define tn_put16(b, i, u) (tn_shorts_(b).w[i] = uint16_t(u))
#define tn_put8(b, i, u) (tn_bytes_(b).w[i] = uint8_t(u))
#else
#define tn_get8(b, i) (((b).w[(i) >> 2u] >> (8u * ((i) & 3u))) & 0xffu)
#define tn_get16(b, i) (((b).w[(i) >> 1u] >> (16u * ((i) & 1u))) & 0xffffu)
/* The neighbour's half of the word may be written by another invocation at the same time. */
void tn_put16(tn_words_ b, uint i, uint u)
{
    uint shift = 16u * (i & 1u);
    atomicAnd(b.w[i >> 1u], ~(0xffffu << shift));
    atomicOr(b.w[i >> 1u], u << shift);
}
void tn_put8(tn_words_ b, uint i, uint u)
{
    uint shift = 8u * (i & 3u);
    atomicAnd(b.w[i >> 2u], ~(0xffu << shift));
    atomicOr(b.w[i >> 2u], u << shift);
}
#endif

#endif
#endif
