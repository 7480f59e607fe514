/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Numbers of the suite: element conversions, spacing, counter-based randoms, the special floats. Written apart from
 * the backends' conversions on purpose: two independent mistakes must not cancel. */
#include <math.h>
#include <string.h>
#include "conform.h"

/* Any binary format below double: exponent bits e, mantissa bits m. Goes through the value, not through bit tricks. */
static double small_to_double(uint32_t bits, int e, int m)
{
    uint32_t mantissa = bits & ((1u << m) - 1), exponent = bits >> m & ((1u << e) - 1);
    int bias = (1 << (e - 1)) - 1;
    double sign = bits >> (e + m) & 1 ? -1.0 : 1.0;
    if (exponent == (1u << e) - 1)
        return mantissa ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp((double)mantissa, 1 - bias - m);
    return sign * ldexp((double)(mantissa | 1u << m), (int)exponent - bias - m);
}

static uint32_t small_from_double(double value, int e, int m)
{
    int bias = (1 << (e - 1)) - 1, exponent;
    uint32_t sign = signbit(value) ? 1u << (e + m) : 0, infinity = ((1u << e) - 1) << m;
    double a = fabs(value), steps;
    if (isnan(value))
        return sign | infinity | 1u << (m - 1);
    if (a == 0 || isinf(a))
        return sign | (a != 0 ? infinity : 0);
    frexp(a, &exponent);
    exponent = exponent - 1 < 1 - bias ? 1 - bias : exponent - 1; /* of the leading bit; subnormals share the least */
    steps = rint(ldexp(a, m - exponent));                         /* to nearest even: the default rounding mode */
    if (ldexp(steps, exponent - m) >= ldexp(1.0, bias + 1))
        return sign | infinity;
    /* Steps of 2^m and more carry into the exponent field by themselves. */
    return sign | (((uint32_t)(exponent + bias - 1) << m) + (uint32_t)steps);
}

float conform_half_to_float(uint16_t half)
{
    return (float)small_to_double(half, 5, 10);
}

uint16_t conform_float_to_half(float value)
{
    return (uint16_t)small_from_double((double)value, 5, 10);
}

uint16_t conform_float_to_bfloat(float value)
{
    return (uint16_t)small_from_double((double)value, 8, 7);
}

double conform_get(const void *first, uint32_t dtype, int64_t element)
{
    const unsigned char *p = (const unsigned char *)first + element * (int64_t)TENON_DTYPE_SIZE(dtype);
    union {
        float f;
        int32_t i;
        uint32_t u;
        int64_t l;
        uint16_t h;
        int8_t c;
    } v;
    memcpy(&v, p, TENON_DTYPE_SIZE(dtype));
    switch (dtype) {
    case TENON_F32:
        return (double)v.f;
    case TENON_F16:
        return small_to_double(v.h, 5, 10);
    case TENON_BF16:
        v.u = (uint32_t)v.h << 16;
        return (double)v.f;
    case TENON_I8:
        return v.c;
    case TENON_I32:
        return v.i;
    case TENON_I64:
        return (double)v.l;
    case TENON_U32:
        return v.u;
    default:
        return *p;
    }
}

void conform_set(void *first, uint32_t dtype, int64_t element, double value)
{
    unsigned char *p = (unsigned char *)first + element * (int64_t)TENON_DTYPE_SIZE(dtype);
    union {
        float f;
        int32_t i;
        uint32_t u;
        int64_t l;
        uint16_t h;
        uint8_t c;
    } v;
    switch (dtype) {
    case TENON_F32:
        v.f = (float)value;
        break;
    case TENON_F16:
        v.h = (uint16_t)small_from_double(value, 5, 10);
        break;
    case TENON_BF16:
        v.h = (uint16_t)small_from_double(value, 8, 7);
        break;
    case TENON_I64:
        v.l = (int64_t)value;
        break;
    case TENON_U32:
        v.u = (uint32_t)value;
        break;
    case TENON_I32:
        v.i = (int32_t)value;
        break;
    default:
        v.c = (uint8_t)(int32_t)value;
    }
    memcpy(p, &v, TENON_DTYPE_SIZE(dtype));
}

double conform_ulp(uint32_t dtype, double value)
{
    int exponent, m = dtype == TENON_F16 ? 10 : dtype == TENON_BF16 ? 7 : 23, least = dtype == TENON_F16 ? -14 : -126;
    frexp(fabs(value), &exponent);
    exponent = value == 0 || exponent - 1 < least ? least : exponent - 1;
    return ldexp(1.0, exponent - m);
}

uint64_t conform_key(const struct conform_case *c, uint64_t stream)
{
    return conform_random(conform_random(c->seed, c->number), stream << 8 | c->op->op);
}

float conform_uniform(uint64_t key, uint64_t counter)
{
    return (float)(conform_random(key, counter) >> 40) * 0x1p-24f;
}

float conform_normal(uint64_t key, uint64_t counter)
{
    uint64_t r = conform_random(key, counter);
    int32_t sum =
        (int32_t)(r & 0xffff) + (int32_t)(r >> 16 & 0xffff) + (int32_t)(r >> 32 & 0xffff) + (int32_t)(r >> 48);
    return (float)(sum - 131070) * 0x1.bb67aep-16f; /* sqrt(3) / 2^16: a uniform of width 1 has variance 1/12 */
}

const uint32_t conform_specials[CONFORM_SPECIALS] = {
    0x00000000, 0x80000000,                                                 /* zeros */
    0x00000001, 0x80000001, 0x00000002, 0x80000002, 0x00000003, 0x80000003, /* subnormals */
    0x000007ff, 0x800007ff, 0x00000800, 0x80000800, 0x00400000, 0x80400000, 0x007ffffe, 0x807ffffe,
    0x007fffff, 0x807fffff, 0x00800000, 0x80800000, 0x00800001, 0x80800001, 0x01000000, 0x81000000, /* least normals */
    0x33800000, 0xb3800000, 0x34000000, 0xb4000000,                                                 /* 2^-24, 2^-23 */
    0x38800000, 0xb8800000, 0x3e800000, 0xbe800000, 0x3effffff, 0xbeffffff, 0x3f000000, 0xbf000000,
    0x3f000001, 0xbf000001, 0x3f317218, 0xbf317218, /* ln 2 */
    0x3f7fffff, 0xbf7fffff, 0x3f800000, 0xbf800000, 0x3f800001, 0xbf800001, 0x3fb504f3, 0xbfb504f3,
    0x40000000, 0xc0000000, 0x40490fdb, 0xc0490fdb,                                                 /* 2, pi */
    0x41200000, 0xc1200000, 0x42aeac50, 0xc2aeac50, 0x42b0c0a5, 0xc2b0c0a5, 0x42b17218, 0xc2b17218, /* ends of exp */
    0x42cff1b5, 0xc2cff1b5, 0x42d00000, 0xc2d00000, 0x477fe000, 0xc77fe000, 0x477ff000, 0xc77ff000, /* ends of f16 */
    0x49800000, 0xc9800000, 0x49800001, 0xc9800001, 0x4b000000, 0xcb000000, 0x4b7fffff, 0xcb7fffff,
    0x4b800000, 0xcb800000, 0x4f000000, 0xcf000000, 0x5f000000, 0xdf000000, 0x7e7fffff, 0xfe7fffff,
    0x7f000000, 0xff000000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, /* infinities */
    0x7fc00000, 0xffc00000, 0x7f800001, 0xffbfffff, /* NaNs: quiet, negative, signalling payloads */
};

void conform_exact_add(struct conform_exact *sum, double value)
{
    int kept = 0;
    for (int i = 0; i < sum->n; i++) {
        const double part = sum->part[i], s = value + part, b = s - value, rest = (value - (s - b)) + (part - b);
        if (rest != 0)
            sum->part[kept++] = rest;
        value = s;
    }
    sum->part[kept] = value;
    sum->n = kept + 1;
}

double conform_exact_total(const struct conform_exact *sum)
{
    double all = 0;
    for (int i = 0; i < sum->n; i++)
        all += sum->part[i];
    return all;
}
