/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#define _DEFAULT_SOURCE
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../tap.h"
#include "softmax_cpu.h"

void test_softmax_run(const struct isa *isa, const struct test_softmax *c)
{
    const struct test_call call = {.op = TENON_OPNUM_softmax,
                                   .n_tensors = N,
                                   .tensor = c->tensor,
                                   .ptr = c->ptr,
                                   .params = &c->params,
                                   .params_size = sizeof c->params,
                                   .order = c->order,
                                   .threads = c->threads};
    test_call(isa, &call);
}

static uint64_t random_state = 7;

static uint32_t random_bits(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static float uniform(float low, float high)
{
    return low + (high - low) * ((float)(random_bits() >> 8) * 0x1p-24f);
}

void test_softmax_give(struct test_softmax *c, int i, uint32_t dtype, int wide)
{
    const int64_t n = i == TENON_SOFTMAX_FLAGS  ? 4
                      : i == TENON_SOFTMAX_MULT ? c->cols
                      : wide                    ? c->rows * c->cols
                                                : c->rows;
    const size_t bytes = (size_t)n * TENON_DTYPE_SIZE(dtype);
    c->tensor[i] = wide ? (struct tenon_tensor){dtype, 2, {c->rows, c->cols}, {c->cols, 1}}
                        : (struct tenon_tensor){dtype, 1, {n}, {1}};
    c->ptr[i] = malloc(bytes + !bytes);
    if (!c->ptr[i])
        bail("out of memory");
    memset(c->ptr[i], 0xa5, bytes);
}

static void set_x(struct test_softmax *c, int64_t i, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (c->tensor[TENON_SOFTMAX_X].dtype == TENON_F32)
        ((float *)c->ptr[TENON_SOFTMAX_X])[i] = v;
    else if (c->tensor[TENON_SOFTMAX_X].dtype == TENON_BF16)
        ((uint16_t *)c->ptr[TENON_SOFTMAX_X])[i] = (uint16_t)(bits >> 16);
    else /* small multiples of 1/8: exact in f16 */
        ((uint16_t *)c->ptr[TENON_SOFTMAX_X])[i] =
            (uint16_t)((bits >> 16 & 0x8000) | (v == 0 ? 0 : ((bits & 0x7fffffff) - (112u << 23)) >> 13));
}

double test_softmax_get(const struct test_softmax *c, int tensor, int64_t i)
{
    const void *p = c->ptr[tensor];
    const uint16_t h = c->tensor[tensor].dtype == TENON_F32 ? 0 : ((const uint16_t *)p)[i];
    const int e = h >> 10 & 31;
    uint32_t bits = (uint32_t)h << 16;
    float f;
    if (c->tensor[tensor].dtype == TENON_F32)
        return (double)((const float *)p)[i];
    memcpy(&f, &bits, sizeof f);
    if (c->tensor[tensor].dtype == TENON_BF16)
        return (double)f;
    const double m =
        e == 31 ? (h & 1023 ? (double)NAN : (double)INFINITY) : ldexp((h & 1023) + (e ? 1024 : 0), (e ? e : 1) - 25);
    return h & 0x8000 ? -m : m;
}

struct test_softmax test_softmax(uint32_t x_dtype, uint32_t y_dtype, int64_t rows, int64_t cols, uint32_t algo,
                                 uint32_t kind, int options)
{
    struct test_softmax c = {.rows = rows,
                             .cols = cols,
                             .params = {.struct_size = sizeof c.params,
                                        .kind = kind,
                                        .algo = algo,
                                        .scale = options & SCALE ? 0.75f : 1.0f,
                                        .inv_temp = options & TEMP ? 1.25f : 1.0f,
                                        .win = 60.0f,
                                        .noise_amp = 1.0f,
                                        .eps = -1.0f,
                                        .quad_c = 5.0f,
                                        .zeta = 1.0f,
                                        .qscale = 1.0f / 255,
                                        .adaptive_gate = 0.5f,
                                        .adaptive_c0 = -1.791f,
                                        .adaptive_c1 = 4.917f,
                                        .adaptive_c2 = -2.3f,
                                        .adaptive_c3 = 0.481f,
                                        .adaptive_c4 = -0.037f}};
    test_softmax_give(&c, TENON_SOFTMAX_X, x_dtype, 1);
    test_softmax_give(&c, TENON_SOFTMAX_Y, y_dtype, 1);
    for (int64_t i = 0; i < rows * cols; i++)
        set_x(&c, i, x_dtype == TENON_F16 ? (float)((int)(random_bits() % 128) - 64) * 0.125f : uniform(-9.0f, 6.0f));
    if (options & BIAS) {
        test_softmax_give(&c, TENON_SOFTMAX_BIAS, TENON_F32, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            ((float *)c.ptr[TENON_SOFTMAX_BIAS])[i] = uniform(-1.0f, 1.0f);
    }
    if (options & MASK) {
        test_softmax_give(&c, TENON_SOFTMAX_MASK, TENON_U8, 1);
        for (int64_t i = 0; i < rows * cols; i++)
            if (!(((uint8_t *)c.ptr[TENON_SOFTMAX_MASK])[i] = (uint8_t)(random_bits() % 3)))
                set_x(&c, i, NAN);
    }
    if (options & VALID) {
        test_softmax_give(&c, TENON_SOFTMAX_VALID_LEN, TENON_I32, 0);
        for (int64_t r = 0; r < rows; r++)
            ((int32_t *)c.ptr[TENON_SOFTMAX_VALID_LEN])[r] = (int32_t)(random_bits() % (uint32_t)(cols + 3)) - 1;
    }
    for (int i = TENON_SOFTMAX_ROW_SCALE; i <= TENON_SOFTMAX_SINK; i++)
        if (options & (i == TENON_SOFTMAX_SINK ? SINK : ROW_SCALE)) {
            test_softmax_give(&c, i, TENON_F32, 0);
            for (int64_t r = 0; r < rows; r++)
                ((float *)c.ptr[i])[r] = uniform(0.1f, 2.0f);
        }
    for (int i = STAT0; i < TENON_SOFTMAX_TAU && options & STATS; i++)
        test_softmax_give(&c, i, i == TENON_SOFTMAX_ARGMAX || i == TENON_SOFTMAX_NNZ ? TENON_I32 : TENON_F32, 0);
    return c;
}

void test_softmax_free(struct test_softmax *c)
{
    for (int i = 0; i < N; i++)
        free(c->ptr[i]);
}
