/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Numbers: float pairs, the one exp and the one log, elements of every type. */
#ifndef TN_LIB_NUM_H
#define TN_LIB_NUM_H

#define TN_NAN_BITS 0x7fc00000u
#define TN_INF_BITS 0x7f800000u
#define TN_NEG_INF_BITS 0xff800000u

/* Values of the specialisation constants that say what a tensor holds. */
#define DT_NONE 0u
#define DT_F32 1u
#define DT_F16 2u
#define DT_BF16 3u
#define DT_I8 4u
#define DT_U8 5u

TN_STRUCT(tn_pair) { float hi; float lo; };

#define xf float
#define xu uint
#define xb bool
#define x_pair tn_pair
#define x_bits tn_bits
#define x_float tn_float
#define x_int tn_int
#define x_real tn_real
#define x_as_uint tn_as_uint
#define x_fma tn_fma
#define x_max tn_fmax
#include "elem.h"

#if TN_WIDE_POSSIBLE
TN_RUNTIME(#if TN_WIDE)
TN_STRUCT(tn_vpair) { tn_vf hi; tn_vf lo; };
#undef xf
#undef xu
#undef xb
#undef x_pair
#undef x_bits
#undef x_float
#undef x_int
#undef x_real
#undef x_as_uint
#undef x_fma
#define xf tn_vf
#define xu tn_vu
#define xb tn_vb
#define x_pair tn_vpair
#define x_bits tn_vbits
#define x_float tn_vfloat
#define x_int tn_vint
#define x_real tn_vreal
#define x_as_uint tn_vas_uint
#define x_fma tn_vfma
#include "elem.h"
TN_RUNTIME(#endif)
#endif
#undef xf
#undef xu
#undef xb
#undef x_pair

/* x * 2^e, in steps that the type has. */
TN_FN float tn_shifted(float x, int e)
{
    float result = x;
    int left = e;
    for (uint k = 0u; k < 5u; k += 1u) {
        int step = max(min(left, 126), -126);
        result = result * tn_pow2(tn_real(step));
        left -= step;
    }
    return result;
}

/* ln x for normal x > 0. */
TN_FN float tn_log(float x)
{
    int e = tn_as_int(tn_bits(x) - 0x3f3504f3u) >> 23;
    TN_PRECISE float f = tn_float(tn_bits(x) - (tn_as_uint(e) << 23)) - 1.0f;
    float k = tn_real(e);
    float q = 0.067466408f;
    q = tn_fma(q, f, -0.116756521f);
    q = tn_fma(q, f, 0.11888162f);
    q = tn_fma(q, f, -0.124055892f);
    q = tn_fma(q, f, 0.142195523f);
    q = tn_fma(q, f, -0.166679963f);
    q = tn_fma(q, f, 0.200021192f);
    q = tn_fma(q, f, -0.250000089f);
    q = tn_fma(q, f, 0.333333135f);
    float f2 = f * f;
    float r = (f2 * f) * q;
    r = tn_fma(k, -1.90465421e-09f, r);
    r = tn_fma(-0.5f, f2, r);
    r = r + f;
    return tn_fma(k, 0.693147182f, r);
}

/* ln(p) and 1/p of a positive pair, to float accuracy. */
TN_FN float tn_pair_log(tn_pair p)
{
    return tn_log(p.hi) + p.lo / p.hi;
}

TN_FN float tn_pair_inverse(tn_pair p)
{
    float r = 1.0f / p.hi;
    tn_pair q = tn_two_prod(p.hi, r);
    TN_PRECISE float e = ((1.0f - q.hi) - q.lo) - p.lo * r;
    return r + r * e;
}

/* ---- elements ---- */

/* Element i of a float tensor as the bits of an f32. */
TN_FN uint tn_load_bits(TN_BUF b, uint type, uint i)
{
    if (type == DT_F16)
        return tn_half_bits(tn_get16(b, i));
    if (type == DT_BF16)
        return tn_get16(b, i) << 16;
    return TN_W(b, i);
}

TN_FN void tn_store_bits(TN_BUF b, uint type, uint i, uint bits)
{
    if (type == DT_F16)
        tn_put16(b, i, tn_half_from_bits(bits));
    else if (type == DT_BF16)
        tn_put16(b, i, tn_bfloat_from_bits(bits));
    else
        TN_W(b, i) = bits;
}

/* TN_VW elements from i on; those from n on are 0 and are not read. i < n. */
TN_FN tn_vu tn_vload_bits(TN_BUF b, uint type, uint i, uint n)
{
    tn_vu v = 0u;
    if (TN_WIDE == 0 || i + TN_VW <= n) {
        if (type == DT_F32)
            v = tn_vget32(b, i);
        else
            v = tn_vget16(b, i);
    } else {
        TN_VLANES(if (i + tn_lane < n) tn_vat(v, tn_lane) = type == DT_F32 ? TN_W(b, i + tn_lane) : tn_get16(b, i + tn_lane);)
    }
    if (type == DT_F16)
        v = tn_half_bits(v);
    if (type == DT_BF16)
        v = v << 16;
    return v;
}

TN_FN tn_vu tn_vload_bytes(TN_BUF b, uint i, uint n)
{
    tn_vu v = 0u;
    if (TN_WIDE == 0 || i + TN_VW <= n) {
        v = tn_vget8(b, i);
    } else {
        TN_VLANES(if (i + tn_lane < n) tn_vat(v, tn_lane) = tn_get8(b, i + tn_lane);)
    }
    return v;
}

TN_FN void tn_vstore_bits(TN_BUF b, uint type, uint i, uint n, tn_vu bits)
{
    tn_vu v = bits;
    if (type == DT_F16)
        v = tn_half_from_bits(bits);
    if (type == DT_BF16)
        v = tn_bfloat_from_bits(bits);
    if (TN_WIDE == 0 || i + TN_VW <= n) {
        if (type == DT_F32)
            tn_vput32(b, i, v);
        else
            tn_vput16(b, i, v);
    } else {
        TN_VLANES(if (i + tn_lane < n) { if (type == DT_F32) TN_W(b, i + tn_lane) = tn_vat(v, tn_lane); else tn_put16(b, i + tn_lane, tn_vat(v, tn_lane)); })
    }
}

TN_STRUCT(tn_vtwo) { tn_vu lo; tn_vu hi; };

/* The 2 TN_VW words from i on, all of which exist. even: i is, and b is a multiple of 8 bytes. */
TN_FN tn_vtwo tn_vload_two(TN_BUF b, uint i, uint even)
{
    tn_vtwo two;
    if (TN_LONG != 0 && even != 0u) {
        TN_GET_LONG(b, i, two.lo, two.hi)
    } else {
        two.lo = tn_vget32(b, i);
        two.hi = tn_vget32(b, i + TN_VW);
    }
    return two;
}

TN_FN void tn_vstore_two(TN_BUF b, uint i, tn_vu lo, tn_vu hi, uint even)
{
    if (TN_LONG != 0 && even != 0u) {
        TN_PUT_LONG(b, i, lo, hi)
    } else {
        tn_vput32(b, i, lo);
        tn_vput32(b, i + TN_VW, hi);
    }
}

TN_FN float tn_load_i8(TN_BUF b, uint i)
{
    return tn_real(tn_as_int(tn_get8(b, i) << 24) >> 24);
}

#endif
