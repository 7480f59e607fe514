/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Random inputs and weights of a layer: uniform, of variance 1 for x and 1/row length for weights, as at the start of
 * training. */
#include "moe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t moe_type_size(uint32_t type)
{
    return type == TENON_F32 ? 4 : type == TENON_I8 ? 1 : 2;
}

uint32_t moe_x_type(const struct moe_shape *shape)
{
    return shape->type == TENON_I8 ? TENON_F32 : shape->type;
}

int64_t moe_group(int64_t row)
{
    return row % MOE_GROUP ? row : MOE_GROUP;
}

double moe_get(const void *array, uint32_t type, int64_t i)
{
    if (type == TENON_F32)
        return (double)((const float *)array)[i];
    if (type == TENON_I8)
        return ((const int8_t *)array)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)array)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static void set(void *array, uint32_t type, int64_t i, float value)
{
    uint32_t bits;
    if (type == TENON_F32) {
        ((float *)array)[i] = value;
        return;
    }
    memcpy(&bits, &value, sizeof bits);
    ((uint16_t *)array)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16); /* bf16, half to even */
}

/* In [-1, 1), uniform. */
static float uniform(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(int32_t)(*state >> 32) * 0x1p-31f;
}

static void *random_array(uint32_t type, int64_t n, float amplitude, uint64_t *state)
{
    void *array = malloc((size_t)n * moe_type_size(type) + 1);
    for (int64_t i = 0; array && i < n; i++)
        set(array, type, i, amplitude * uniform(state));
    return array;
}

/* Rows of `cols` weights; int8 ones get a scale for every group. */
static void *weights(const struct moe_shape *shape, int64_t rows, int64_t cols, float **scale, uint64_t *state)
{
    const float amplitude = sqrtf(3.0f / (float)cols);
    if (shape->type != TENON_I8)
        return random_array(shape->type, rows * cols, amplitude, state);
    const int64_t groups = cols / moe_group(cols);
    int8_t *array = malloc((size_t)(rows * cols) + 1);
    *scale = malloc((size_t)(rows * groups) * sizeof **scale + 1);
    if (!array || !*scale) {
        free(array);
        return NULL;
    }
    for (int64_t i = 0; i < rows * cols; i++)
        array[i] = (int8_t)lrintf(127 * uniform(state));
    for (int64_t i = 0; i < rows * groups; i++)
        (*scale)[i] = amplitude / 127 * (1 + 0.25f * uniform(state));
    return array;
}

/* Every other token looks like expert 0's row of the router, so that it goes there. */
static void skew(struct moe_data *data)
{
    const struct moe_shape *s = &data->shape;
    const uint32_t type = moe_x_type(s);
    for (int64_t t = 0; t < s->batches * s->tokens; t += 2)
        for (int64_t d = 0; d < s->width; d++)
            set(data->x, type, t * s->width + d,
                (float)(moe_get(data->x, type, t * s->width + d) + 8 * moe_get(data->router, type, d)));
}

struct moe_data *moe_data_create(const struct moe_shape *shape, uint64_t seed)
{
    struct moe_data *data = calloc(1, sizeof *data);
    const uint32_t type = moe_x_type(shape);
    const int64_t rows = shape->experts * shape->hidden;
    if (!data)
        return NULL;
    data->shape = *shape;
    data->x = random_array(type, shape->batches * shape->tokens * shape->width, sqrtf(3), &seed);
    data->router = random_array(type, shape->experts * shape->width, sqrtf(3.0f / (float)shape->width), &seed);
    data->gate = weights(shape, rows, shape->width, &data->gate_scale, &seed);
    data->up = weights(shape, rows, shape->width, &data->up_scale, &seed);
    data->down = weights(shape, shape->experts * shape->width, shape->hidden, &data->down_scale, &seed);
    if (!data->x || !data->router || !data->gate || !data->up || !data->down) {
        moe_data_destroy(data);
        return NULL;
    }
    if (shape->skew)
        skew(data);
    return data;
}

void moe_data_destroy(struct moe_data *data)
{
    if (!data)
        return;
    void *all[] = {data->x,    data->router,   data->gate,       data->up,
                   data->down, data->up_scale, data->gate_scale, data->down_scale};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(data);
}

static int save(const char *folder, const char *name, const void *array, uint64_t size)
{
    char path[4096];
    if (!array)
        return 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return -1;
    FILE *file = fopen(path, "wb");
    if (!file)
        return -1;
    const int short_write = fwrite(array, 1, size, file) != size;
    return fclose(file) || short_write ? -1 : 0;
}

int moe_data_save(const struct moe_data *data, const char *folder)
{
    const struct moe_shape *s = &data->shape;
    const uint64_t x = moe_type_size(moe_x_type(s)), w = moe_type_size(s->type);
    const uint64_t n = (uint64_t)s->experts * (uint64_t)s->hidden * (uint64_t)s->width;
    const uint64_t up = n / (uint64_t)moe_group(s->width) * 4, down = n / (uint64_t)moe_group(s->hidden) * 4;
    return save(folder, "x", data->x, (uint64_t)(s->batches * s->tokens * s->width) * x) ||
                   save(folder, "router", data->router, (uint64_t)s->experts * (uint64_t)s->width * x) ||
                   save(folder, "gate", data->gate, n * w) || save(folder, "up", data->up, n * w) ||
                   save(folder, "down", data->down, n * w) || save(folder, "gate_scale", data->gate_scale, up) ||
                   save(folder, "up_scale", data->up_scale, up) || save(folder, "down_scale", data->down_scale, down)
               ? -1
               : 0;
}
