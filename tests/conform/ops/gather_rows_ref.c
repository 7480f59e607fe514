/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gather_rows as tenon/ops/gather_rows.h has it. */
#include <math.h>
#include <string.h>
#include <tenon/ops/gather_rows.h>
#include "../conform.h"

void tenon__conform_gather_rows_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct conform_slot *table = &c->slot[TENON_GATHER_ROWS_TABLE], *idx = &c->slot[TENON_GATHER_ROWS_IDX];
    struct conform_want *y = &want[TENON_GATHER_ROWS_Y], *flags = &want[TENON_GATHER_ROWS_FLAGS];
    const int32_t divisor = ((const struct tenon_gather_rows_params *)(const void *)c->params)->divisor;
    const int64_t cols = table->tensor.dim[table->tensor.rank - 1], n = tenon_tensor_count(&idx->tensor);
    int64_t rows = 1;
    for (uint32_t axis = 0; axis + 1 < table->tensor.rank; axis++)
        rows *= table->tensor.dim[axis];
    y->exact = flags->exact = 1;
    for (int64_t i = 0; i < n; i++) {
        const double entry = conform_get(conform_first(idx), TENON_I32, conform_offset(&idx->tensor, i));
        const double index = floor(entry / divisor);
        const int there = index >= 0 && index < (double)rows;
        for (int64_t col = 0; col < cols; col++)
            y->want[i * cols + col] =
                there ? conform_get(conform_first(table), table->tensor.dtype,
                                    conform_offset(&table->tensor, (int64_t)index * cols + col))
                      : 0;
        if (flags->want && !there && entry != -1)
            flags->want[3] += 1;
    }
}

static uint32_t bits_of(const struct conform_slot *slot, int64_t index)
{
    const uint32_t size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    uint32_t bits = 0;
    memcpy(&bits, (const char *)conform_first(slot) + conform_offset(&slot->tensor, index) * size, size);
    return bits;
}

/* Bit for bit: the sign of a zero and what a NaN carries are of the row. */
int tenon__conform_gather_rows_check(const struct conform_case *c, const struct conform_want *want,
                                     struct tenon_why *why)
{
    const struct conform_slot *table = &c->slot[TENON_GATHER_ROWS_TABLE], *y = &c->slot[TENON_GATHER_ROWS_Y];
    const struct conform_slot *idx = &c->slot[TENON_GATHER_ROWS_IDX];
    const int64_t cols = table->tensor.dim[table->tensor.rank - 1];
    const int64_t rows = cols ? tenon_tensor_count(&table->tensor) / cols : 0;
    const int32_t divisor = ((const struct tenon_gather_rows_params *)(const void *)c->params)->divisor;
    (void)want;
    for (int64_t i = 0; i < tenon_tensor_count(&y->tensor); i++) {
        int32_t index;
        memcpy(&index, (const char *)conform_first(idx) + 4 * conform_offset(&idx->tensor, i / cols), sizeof index);
        index = index < 0 ? -1 : index / divisor;
        const uint32_t must = index >= 0 && index < rows ? bits_of(table, index * cols + i % cols) : 0;
        if (bits_of(y, i) != must)
            return tenon_why_set(why, 1, "y[%lld, %lld] has the bits 0x%x, those of row %d are 0x%x",
                                 (long long)(i / cols), (long long)(i % cols), bits_of(y, i), index, must);
    }
    return 0;
}
