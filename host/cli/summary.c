/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What `tenon run` says of its results. */
#include "run.h"

#include <json-c/json.h>
#include <math.h>
#include <string.h>

static double half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 31  ? (fraction ? (double)NAN : (double)INFINITY)
                   : exponent == 0 ? ldexp(fraction, -24)
                                   : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -value : value;
}

static double element(const struct npy *array, uint64_t i)
{
    const char *at = (const char *)array->data + i * TENON_DTYPE_SIZE(array->tensor.dtype);
    uint32_t word = 0;
    uint16_t half;
    float f;
    memcpy(&half, at, TENON_DTYPE_SIZE(array->tensor.dtype) >= 2 ? 2 : 1);
    switch (array->tensor.dtype) {
    case TENON_F32:
        memcpy(&f, at, sizeof f);
        return (double)f;
    case TENON_F16:
        return half_value(half);
    case TENON_BF16:
        word = (uint32_t)half << 16;
        memcpy(&f, &word, sizeof f);
        return (double)f;
    case TENON_I32:
        memcpy(&word, at, 4);
        return (int32_t)word;
    case TENON_U32:
        memcpy(&word, at, 4);
        return word;
    case TENON_I8:
        return *(const int8_t *)at;
    default:
        return *(const uint8_t *)at;
    }
}

struct statistics {
    double min, max, mean;
    uint64_t n, nan, infinite;
};

static struct statistics look_at(const struct npy *array)
{
    struct statistics s = {
        .min = INFINITY, .max = -INFINITY, .n = array->bytes / TENON_DTYPE_SIZE(array->tensor.dtype)};
    double sum = 0;
    for (uint64_t i = 0; i < s.n; i++) {
        double v = element(array, i);
        if (isnan(v)) {
            s.nan++;
            continue;
        }
        s.infinite += (uint64_t)isinf(v);
        s.min = v < s.min ? v : s.min;
        s.max = v > s.max ? v : s.max;
        sum += v;
    }
    s.mean = s.n > s.nan ? sum / (double)(s.n - s.nan) : (double)NAN;
    return s;
}

static void print_output(const struct run *run, uint32_t i)
{
    char shape[160];
    const struct npy *array = &run->array[i];
    struct statistics s = look_at(array);
    printf("%-10s %-4s %s", run->op->tensors[i].name, tenon_dtype_name(array->tensor.dtype),
           cli_shape(&array->tensor, shape, sizeof shape));
    if (s.n > s.nan)
        printf("  min %.6g  max %.6g  mean %.6g", s.min, s.max, s.mean);
    if (s.nan)
        printf("  %llu NaN", (unsigned long long)s.nan);
    if (s.infinite)
        printf("  %llu infinite", (unsigned long long)s.infinite);
    if (run->file[i])
        printf("  -> %s", run->file[i]);
    putchar('\n');
}

static struct json_object *output_json(const struct run *run, uint32_t i)
{
    const struct npy *array = &run->array[i];
    struct statistics s = look_at(array);
    struct json_object *o = json_object_new_object(), *shape = json_object_new_array();
    for (uint32_t k = 0; k < array->tensor.rank; k++)
        json_object_array_add(shape, json_object_new_int64(array->tensor.dim[k]));
    json_object_object_add(o, "name", json_object_new_string(run->op->tensors[i].name));
    json_object_object_add(o, "dtype", json_object_new_string(tenon_dtype_name(array->tensor.dtype)));
    json_object_object_add(o, "shape", shape);
    json_object_object_add(o, "min", cli_json_number(s.min));
    json_object_object_add(o, "max", cli_json_number(s.max));
    json_object_object_add(o, "mean", cli_json_number(s.mean));
    json_object_object_add(o, "nan", json_object_new_uint64(s.nan));
    json_object_object_add(o, "infinite", json_object_new_uint64(s.infinite));
    json_object_object_add(o, "file", run->file[i] ? json_object_new_string(run->file[i]) : NULL);
    return o;
}

void run_summary(const struct run *run, int json)
{
    struct json_object *outputs = json_object_new_array();
    if (!json)
        printf("%s on %s: %s, %.3f ms\n", run->op->name, run->device, run->impl, run->ms);
    for (uint32_t i = 0; i < run->op->n_tensors; i++) {
        if (run->op->tensors[i].role < TENON_OUT || !run->array[i].tensor.dtype)
            continue;
        if (json)
            json_object_array_add(outputs, output_json(run, i));
        else
            print_output(run, i);
    }
    if (!json) {
        json_object_put(outputs);
        return;
    }
    struct json_object *o = json_object_new_object();
    json_object_object_add(o, "op", json_object_new_string(run->op->name));
    json_object_object_add(o, "device", json_object_new_string(run->device));
    json_object_object_add(o, "impl", json_object_new_string(run->impl));
    json_object_object_add(o, "ms", cli_json_number(run->ms));
    json_object_object_add(o, "outputs", outputs);
    cli_json_line(o);
}
