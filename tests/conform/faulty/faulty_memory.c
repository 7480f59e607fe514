/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The memory of a run's tensors. */
#include <string.h>
#include "faulty.h"

void *tenon__faulty_memory(const struct faulty_run *run, uint32_t i)
{
    const struct tenon_tensor *t = &run->plan->tensor[i];
    const struct tenon_bind *bind = &run->cmd->args[i];
    void *pointer = NULL;
    uint64_t bytes = i < run->plan->n && t->dtype ? tenon_tensor_bytes(t) : 0;
    if (!bytes || !bind->buffer)
        return NULL;
    if (tenon__faulty_next->buffer_map(bind->buffer, bind->offset, bytes, TENON_MAP_READ | TENON_MAP_WRITE, &pointer))
        return NULL;
    return tenon__faulty_next->buffer_unmap(bind->buffer) ? NULL : pointer;
}

int64_t tenon__faulty_columns(const struct tenon_tensor *t)
{
    return t->rank ? t->dim[t->rank - 1] : 1;
}

int64_t tenon__faulty_rows(const struct tenon_tensor *t)
{
    int64_t rows = t->dtype != 0;
    for (uint32_t axis = 0; axis + 1 < t->rank; axis++)
        rows *= t->dim[axis];
    return rows;
}

int64_t tenon__faulty_at(const struct tenon_tensor *t, int64_t row)
{
    int64_t at = 0;
    for (int axis = (int)t->rank - 2; axis >= 0; axis--) {
        at += row % t->dim[axis] * t->stride[axis];
        row /= t->dim[axis];
    }
    return at;
}

void *tenon__faulty_row(const struct faulty_run *run, uint32_t i, int64_t row)
{
    const struct tenon_tensor *t = &run->plan->tensor[i];
    char *memory = tenon__faulty_memory(run, i);
    if (!memory || TENON_DTYPE_SIZE(t->dtype) != 4 || row >= tenon__faulty_rows(t))
        return NULL;
    return memory + 4 * tenon__faulty_at(t, row);
}

void *tenon__faulty_element(const struct faulty_run *run, uint32_t i, int64_t row)
{
    char *memory = tenon__faulty_memory(run, i);
    return memory ? memory + 4 * row : NULL;
}

void tenon__faulty_turn(const struct faulty_run *run, uint32_t i, int64_t rows, float factor, float more)
{
    float *value = tenon__faulty_memory(run, i);
    for (int64_t row = 0; value && row < rows; row++)
        value[row] = value[row] * factor + more;
}

void tenon__faulty_swap(void *a, void *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    memcpy(a, &y, sizeof(y));
    memcpy(b, &x, sizeof(x));
}

void tenon__faulty_flags_shift(const struct faulty_run *run, uint32_t i)
{
    uint32_t *flags = tenon__faulty_memory(run, i);
    for (int which = 3; flags && which > 0; which--)
        flags[which] = flags[which - 1];
}

void tenon__faulty_flags_clear(const struct faulty_run *run, uint32_t i, int which)
{
    uint32_t *flags = tenon__faulty_memory(run, i);
    if (flags)
        flags[which] = 0;
}

int tenon__faulty_apart(const struct faulty_run *run, uint32_t i, uint32_t j)
{
    const void *a = tenon__faulty_memory(run, i), *b = tenon__faulty_memory(run, j);
    return a && b && a != b;
}

void tenon__faulty_poke(const struct tenon_tensor *t, void *memory, int64_t element, uint32_t bits)
{
    uint32_t size = TENON_DTYPE_SIZE(t->dtype);
    memcpy((char *)memory + element * (int64_t)size, &bits, size);
}

uint32_t tenon__faulty_peek(const struct tenon_tensor *t, const void *memory, int64_t element)
{
    uint32_t size = TENON_DTYPE_SIZE(t->dtype), bits = 0;
    memcpy(&bits, (const char *)memory + element * (int64_t)size, size);
    return bits;
}

void tenon__faulty_in_place(const struct faulty_run *run, uint32_t input, uint32_t output)
{
    const struct tenon_tensor *t = &run->plan->tensor[input];
    const struct tenon_bind *a = &run->cmd->args[input], *b = &run->cmd->args[output];
    char *at = tenon__faulty_memory(run, input);
    const int64_t last = tenon__faulty_columns(t) - 1;
    if (at && a->buffer == b->buffer && a->offset == b->offset && last > 0)
        tenon__faulty_poke(t, at, last, tenon__faulty_peek(t, at, 0) ^ 0x4000);
}
