/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "config.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "linear_cpu.h"

void test_linear_run(const struct isa *isa, const struct test_linear *t)
{
    const struct test_call call = {.op = TENON_OPNUM_linear,
                                   .n_tensors = TENON_LINEAR_N_TENSORS,
                                   .tensor = t->tensor,
                                   .ptr = t->ptr,
                                   .params = &t->params,
                                   .params_size = sizeof t->params,
                                   .order = t->order,
                                   .threads = t->threads};
    test_call(isa, &call);
}

struct tenon_tensor test_matrix(uint32_t dtype, int64_t rows, int64_t cols, int64_t stride)
{
    return (struct tenon_tensor){.dtype = dtype, .rank = 2, .dim = {rows, cols}, .stride = {stride ? stride : cols, 1}};
}

static float half_to_float(uint16_t h)
{
    const int exponent = h >> 10 & 31;
    const double part = h & 1023, sign = h & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return (float)(part != 0 ? NAN : sign * INFINITY);
    return (float)(sign * (exponent ? ldexp(1024 + part, exponent - 25) : ldexp(part, -24)));
}

double test_get(const void *p, uint32_t dtype, int64_t i)
{
    if (dtype == TENON_F16)
        return (double)half_to_float(((const uint16_t *)p)[i]);
    if (dtype == TENON_BF16) {
        const uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
        float v;
        memcpy(&v, &bits, sizeof v);
        return (double)v;
    }
    if (dtype == TENON_I8)
        return ((const int8_t *)p)[i];
    return (double)((const float *)p)[i];
}

/* Truncates to the type: whatever it becomes is what the test reads back. Magnitudes of normal numbers only. */
void test_set(void *p, uint32_t dtype, int64_t i, double v)
{
    const float f = (float)v;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (dtype == TENON_F16) {
        const int exponent = (int)(bits >> 23 & 255) - 112;
        const uint32_t h = exponent <= 0    ? 0
                           : exponent >= 31 ? (isnan(f) ? 0x7e00 : 0x7c00)
                                            : (uint32_t)exponent << 10 | (bits >> 13 & 1023);
        ((uint16_t *)p)[i] = (uint16_t)(bits >> 16 & 0x8000) | (uint16_t)h;
    } else if (dtype == TENON_BF16) {
        ((uint16_t *)p)[i] = (uint16_t)(bits >> 16);
    } else if (dtype == TENON_I8) {
        ((int8_t *)p)[i] = (int8_t)lrint(v * 127);
    } else {
        ((float *)p)[i] = f;
    }
}

uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double test_uniform(uint64_t *state)
{
    return (double)(int64_t)test_random(state) * 0x1p-63;
}

static long double sigmoid(long double x)
{
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}

static long double phi(long double x)
{
    return erfcl(-x * sqrtl(0.5L)) / 2;
}

long double test_act(uint32_t act, long double x, long double alpha, long double threshold)
{
    const long double pi = acosl(-1), root = sqrtl(0.5L);
    const int low = (double)x < -DBL_MAX, plain = low && alpha == 0;
    switch (act) {
    case TENON_ACT_RELU:
        return x < 0 ? 0 : x;
    case TENON_ACT_RELU2:
        return x < 0 ? 0 : x * x;
    case TENON_ACT_SILU:
        return low ? 0 : x * sigmoid(x);
    case TENON_ACT_GELU:
        return low ? 0 : x * erfcl(-x * root) / 2;
    case TENON_ACT_GELU_TANH:
        return low ? 0 : x * sigmoid(2 * 0.7978845608L * (x + 0.044715L * x * x * x));
    case TENON_ACT_GOLU:
        return low ? 0 : x * expl(-expl(-x));
    case TENON_ACT_XSILU:
        return plain ? 0 : x * (sigmoid(x) * (1 + 2 * alpha) - alpha);
    case TENON_ACT_XGELU:
        return plain ? 0 : x * (phi(x) * (1 + 2 * alpha) - alpha);
    case TENON_ACT_XATLU:
        return plain ? -1 / pi : x * ((x < -1 ? atanl(-1 / x) / pi : atanl(x) / pi + 0.5L) * (1 + 2 * alpha) - alpha);
    case TENON_ACT_FATRELU:
        return x <= threshold ? 0 : x;
    default:
        return x;
    }
}
