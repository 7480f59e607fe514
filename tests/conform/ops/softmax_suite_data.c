/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: what the inputs of a case hold. */
#include "softmax_suite.h"

static int64_t length_of(const struct conform_case *c, int64_t row)
{
    int64_t cols = tenon__softmax_suite_cols(c);
    uint64_t key = conform_key(c, TENON_SOFTMAX_VALID_LEN);
    switch (c->own[1]) {
    case PATTERN_ALL:
        return row & 1 ? cols : cols + 1000; /* clamped */
    case PATTERN_SOME_EMPTY:
        return row % 3 == 0 ? 0 : row % 3 == 1 ? -5 : cols / 2;
    case PATTERN_ONE:
        return 1;
    case PATTERN_ALTERNATE:
        return row & 1 ? cols - 1 : INT32_MAX;
    default:
        return (int64_t)conform_below(key, (uint64_t)row, (uint64_t)cols + 1);
    }
}

static int mask_of(const struct conform_case *c, int64_t row, int64_t col)
{
    int64_t cols = tenon__softmax_suite_cols(c);
    uint64_t key = conform_key(c, TENON_SOFTMAX_MASK);
    switch (c->own[1]) {
    case PATTERN_ALL:
        return 1;
    case PATTERN_SOME_EMPTY:
        return row % 3 == 0 ? 0 : (int)(conform_random(key, (uint64_t)(row * cols + col)) >> 63);
    case PATTERN_ONE:
        return col == (int64_t)conform_below(key, (uint64_t)row, (uint64_t)cols);
    case PATTERN_ALTERNATE:
        return (col & 1) == 0;
    default:
        return (int)(conform_random(key, (uint64_t)(row * cols + col)) >> 63);
    }
}

/* Halves from 0 to 3.5; own[5]: one column that no multiplicity can have. */
static double mult_of(const struct conform_case *c, int64_t col)
{
    static const uint32_t bad[] = {0xbf800000, 0x7fc00000, 0x7f800000};
    if (c->own[5] && col == tenon__softmax_suite_cols(c) / 2)
        return (double)conform_bits_float(bad[c->number % 3]);
    return 0.5 * (double)conform_below(conform_key(c, TENON_SOFTMAX_MULT), (uint64_t)col, 8);
}

static int valid(const struct conform_case *c, int64_t row, int64_t col)
{
    if (c->slot[TENON_SOFTMAX_MULT].tensor.dtype && mult_of(c, col) == 0)
        return 0;
    if (c->slot[TENON_SOFTMAX_VALID_LEN].tensor.dtype)
        return col < length_of(c, row);
    if (c->slot[TENON_SOFTMAX_MASK].tensor.dtype)
        return mask_of(c, c->slot[TENON_SOFTMAX_MASK].tensor.rank == 1 ? 0 : row, col);
    return 1;
}

static float special_value(uint64_t key, int64_t row, uint64_t index)
{
    uint64_t r = conform_random(key, index);
    float any = conform_bits_float(conform_specials[r % CONFORM_SPECIALS]);
    float finite = conform_bits_float(conform_specials[r % (CONFORM_SPECIALS - 6)]);
    switch (row & 3) {
    case 0:
        return finite;
    case 1:
        return (r >> 32) % 16 ? finite : any;
    case 2: /* moderate, -Inf among them */
        return r >> 63 ? conform_bits_float(0xff800000) : conform_normal(key, index);
    default: /* subnormals only */
        return conform_bits_float(conform_specials[r % 20]);
    }
}

static float infinite_value(const struct conform_case *c, uint64_t key, int64_t row, int64_t col)
{
    const float infinity = conform_bits_float(0x7f800000);
    int64_t cols = tenon__softmax_suite_cols(c), at = (int64_t)conform_below(key, (uint64_t)row, (uint64_t)cols);
    float normal = conform_normal(key, (uint64_t)(row * cols + col + 1000003));
    switch (row % 6) {
    case 0:
        return -infinity;
    case 1:
        return col == at ? 1.5f : -infinity;
    case 2:
        return conform_random(key, (uint64_t)(row * cols + col)) >> 63 ? -infinity : normal;
    case 3:
        return col == at ? infinity : normal;
    case 4:
        return col == at ? conform_bits_float(0x7fc12345) : normal;
    default:
        return col == at ? conform_bits_float(0xffc00001) : col == cols - 1 - at ? infinity : -infinity;
    }
}

/* A zero for the last (odd rows) or first 2^k valid columns, -200 elsewhere. state: {row, first, last} of the zeros. */
static void exact_range(const struct conform_case *c, int64_t row, int64_t *first, int64_t *last)
{
    int64_t n = 0, cols = tenon__softmax_suite_cols(c), take = 1, seen = 0;
    for (int64_t col = 0; col < cols; col++)
        n += valid(c, row, col);
    while (take * 2 <= n)
        take *= 2;
    *first = *last = -1;
    for (int64_t col = 0; col < cols && n > 0; col++) {
        if (!valid(c, row, col))
            continue;
        seen++;
        if (*first < 0 && seen > (row & 1 ? n - take : 0))
            *first = col;
        if (seen <= (row & 1 ? n : take))
            *last = col;
    }
}

static float x_value(const struct conform_case *c, uint64_t key, int64_t row, int64_t col)
{
    int64_t cols = tenon__softmax_suite_cols(c), rows = tenon__softmax_suite_rows(c), spike;
    uint64_t index = (uint64_t)(row * cols + col);
    switch (c->own[0]) {
    case FILL_NORMAL:
        return conform_normal(key, index);
    case FILL_WIDE:
        return 10.0f * conform_normal(key, index);
    case FILL_DEEP:
        return -80.0f * conform_uniform(key, index);
    case FILL_OFFSET:
        return 2.0f * conform_uniform(key, index) - 1.0f + conform_bits_float((uint32_t)c->own[2]);
    case FILL_SPIKE:
        spike = row == rows - 1 ? cols - 1 : row * cols / rows;
        return col == spike ? (row & 1 ? 80.0f : 100.0f) : 2.0f * conform_uniform(key, index) - 1.0f;
    case FILL_SPECIAL:
        return special_value(key, row, index);
    case FILL_INFINITE:
        return infinite_value(c, key, row, col);
    case FILL_TIES:
        return conform_random(key, index) >> 63 ? -0.0f * (float)(col & 1)
                                                : 0.5f * (float)conform_below(key, index, 5) - 1.5f;
    case FILL_RISING:
        return (float)col * 1e-4f;
    case FILL_CANCEL:
        if (col == cols - 1)
            return row & 1 ? -3e-20f : 3e-20f;
        if (col / 2 % 4 == 0 || col >= cols - cols % 2 - 2)
            return 0.0f;
        return (col & 1 ? -0x1p100f : 0x1p100f) * conform_normal(key, (uint64_t)(row * cols + col) / 2);
    case FILL_GOLDEN:
        return (const float[]){1, 2, -1, 0.5f}[col & 3];
    default:
        return 3.25f;
    }
}

static void fill_rows(const struct conform_case *c, const struct conform_slot *slot)
{
    void *first = conform_first(slot);
    const struct tenon_tensor *t = &slot->tensor;
    int64_t cols = tenon__softmax_suite_cols(c), rows = tenon__softmax_suite_rows(c), begin = 0, end = 0;
    uint64_t key = conform_key(c, TENON_SOFTMAX_X);
    for (int64_t row = 0; row < rows && cols > 0; row++) {
        int64_t at = conform_offset(t, row * cols);
        if (c->own[0] == FILL_EXACT)
            exact_range(c, row, &begin, &end);
        for (int64_t col = 0; col < cols; col++) {
            float value = c->own[0] != FILL_EXACT      ? x_value(c, key, row, col)
                          : begin <= col && col <= end ? 0.0f
                                                       : -200.0f;
            if (c->own[3] && !valid(c, row, col)) /* a masked entry's payload is ignored, whatever it is */
                value = conform_bits_float(conform_specials[88 + (col + row) % 6]);
            conform_set(first, t->dtype, at + col, (double)value);
        }
    }
}

static double side_value(const struct conform_case *c, uint32_t tensor, int64_t i, int64_t cols)
{
    static const uint32_t bad[] = {0xbf800000, 0x7fc00000, 0x7f800000, 0x3f800000};
    uint64_t key = conform_key(c, tensor);
    switch (tensor) {
    case TENON_SOFTMAX_BIAS:
        return c->mode == CONFORM_ADVERSARIAL && i % 7 == 6 ? -(double)conform_bits_float(0x7f800000)
                                                            : (double)conform_normal(key, (uint64_t)i);
    case TENON_SOFTMAX_MASK: /* any non-zero byte counts */
        return mask_of(c, cols ? i / cols : 0, cols ? i % cols : 0) ? 1 + (double)(i % 255) : 0;
    case TENON_SOFTMAX_VALID_LEN:
        return (double)length_of(c, i);
    case TENON_SOFTMAX_ROW_SCALE:
        return c->own[4]    ? (double)conform_bits_float(bad[i % 4])
               : i % 5 == 4 ? 0.0
                            : 0.25 + (double)conform_uniform(key, (uint64_t)i) * 2;
    case TENON_SOFTMAX_NOISE:
        return c->mode == CONFORM_ADVERSARIAL && i % 13 == 12 ? -(double)conform_bits_float(0x7f800000)
                                                              : (double)conform_normal(key, (uint64_t)i);
    case TENON_SOFTMAX_MULT:
        return mult_of(c, i);
    default: /* sink */
        return (double)conform_normal(key, (uint64_t)i) * 3;
    }
}

void tenon__softmax_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    int64_t count = tenon_tensor_count(&slot->tensor), cols = tenon__softmax_suite_cols(c);
    if (tensor == TENON_SOFTMAX_X) {
        fill_rows(c, slot);
        return;
    }
    /* Broadcast rows are written several times: let them all be row 0. */
    int broadcast = slot->tensor.rank >= 2 && slot->tensor.stride[slot->tensor.rank - 2] == 0;
    for (int64_t i = 0; i < count; i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                    side_value(c, tensor, broadcast ? i % cols : i, cols));
}
