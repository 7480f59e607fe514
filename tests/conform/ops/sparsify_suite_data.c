/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify: what the inputs of a case hold. */
#include "sparsify_suite.h"

static float infinite_value(uint64_t key, int64_t row, int64_t col, int64_t cols)
{
    const float infinity = conform_bits_float(0x7f800000);
    int64_t at = (int64_t)conform_below(key, (uint64_t)row, (uint64_t)cols);
    uint64_t index = (uint64_t)(row * cols + col), r = conform_random(key, index + 77);
    float normal = conform_normal(key, index + 1000003);
    switch (row % 6) {
    case 0:
        return conform_bits_float(col & 1 ? 0x7fc12345 : 0xffc00001);
    case 1:
        return col == at ? infinity : normal;
    case 2:
        return col == at ? conform_bits_float(0x7fc12345) : normal;
    case 3:
        return r >> 63 ? -infinity : infinity;
    case 4:
        return r % 3 == 0 ? conform_bits_float(0x7fc00000) : r % 3 == 1 ? -infinity : normal;
    default:
        return normal;
    }
}

static float x_value(const struct conform_case *c, uint64_t key, int64_t row, int64_t col)
{
    const int64_t cols = tenon__sparsify_suite_cols(c);
    const uint64_t index = (uint64_t)(row * cols + col), r = conform_random(key, index);
    const float normal = conform_normal(key, index);
    switch (c->own[0]) {
    case FILL_EXACT:
        return 0.25f * (float)(r >> 20 & 31) - 4.0f + (r >> 10 & 1 ? 0.25f : 0.0f);
    case FILL_NORMAL:
        return normal;
    case FILL_OFFSET:
        return 1000.0f + normal;
    case FILL_HEAVY:
        return normal / (0.001f + conform_uniform(key, index + 5000011));
    case FILL_RELU:
        return normal > 0 ? normal : r & 1 ? -0.0f : 0.0f;
    case FILL_SPECIAL: /* every other row finite */
        return conform_bits_float(conform_specials[r % (row & 1 ? CONFORM_SPECIALS : CONFORM_SPECIALS - 6)]);
    case FILL_INFINITE:
        return infinite_value(key, row, col, cols);
    case FILL_TIES:
        return r >> 63 ? -0.0f * (float)(col & 1) : 0.5f * (float)(r % 5) - 1.5f;
    case FILL_NEIGHBOURS:
        return conform_bits_float((r >> 40 & 1 ? 0xbf800000 : 0x3f800000) - 2 + (uint32_t)(r % 5));
    case FILL_LATE:
        return (float)col * (row & 1 ? -0.001f : 0.001f);
    case FILL_GOLDEN:
        return (const float[]){1, -2, 0.5f, 2, -0.5f, 0}[col % 6];
    case FILL_CANCEL:
        if (col == cols - 1)
            return row & 1 ? -3e-20f : 3e-20f;
        if (col / 2 % 4 == 0 || col >= cols - cols % 2 - 2)
            return 0.0f;
        return (col & 1 ? -0x1p100f : 0x1p100f) * conform_normal(key, (uint64_t)(row * cols + col) / 2);
    default:
        return row & 1 ? -3.25f : 3.25f;
    }
}

/* Thresholds in t_row and t_col, weights in wgt. Some are zero; of adversarial cases some are special. */
static float side_value(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    static const uint32_t odd[] = {0x7fc00000, 0x7f800000, 0xff800000, 0x80000000, 0x00000001, 0x7f7fffff, 0x3f800000};
    const uint64_t key = conform_key(c, tensor), r = conform_random(key, (uint64_t)i);
    if (c->mode == CONFORM_ADVERSARIAL && r % 5 == 0)
        return conform_bits_float(odd[(r >> 8) % (tensor == TENON_SPARSIFY_WGT ? 7 : 6)]);
    if (c->mode == CONFORM_EXACT)
        return 0.25f * (float)(r >> 20 & 7);
    return r % 7 == 0 ? 0.0f : 2.0f * conform_uniform(key, (uint64_t)i + 100000007);
}

void tenon__sparsify_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const struct tenon_tensor *t = &slot->tensor;
    const int64_t cols = tenon__sparsify_suite_cols(c), rows = tenon__sparsify_suite_rows(c);
    void *first = conform_first(slot);
    if (tensor != TENON_SPARSIFY_X) {
        for (int64_t i = 0; i < tenon_tensor_count(t); i++)
            conform_set(first, t->dtype, conform_offset(t, i), (double)side_value(c, tensor, i));
        return;
    }
    const uint64_t key = conform_key(c, TENON_SPARSIFY_X);
    for (int64_t row = 0; row < rows && cols > 0; row++) {
        const int64_t at = conform_offset(t, row * cols);
        for (int64_t col = 0; col < cols; col++)
            conform_set(first, t->dtype, at + col, (double)x_value(c, key, row, col));
    }
}
