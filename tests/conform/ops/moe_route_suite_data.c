/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route: what the inputs of a case hold. */
#include "moe_route_suite.h"

static float infinite_value(uint64_t key, int64_t row, int64_t col, int64_t cols)
{
    const float infinity = conform_bits_float(0x7f800000);
    const int64_t at = (int64_t)conform_below(key, (uint64_t)row, (uint64_t)cols);
    const uint64_t index = (uint64_t)(row * cols + col), r = conform_random(key, index + 77);
    const float normal = conform_normal(key, index + 1000003);
    switch (row % 7) {
    case 0:
        return col == at ? infinity : normal;
    case 1:
        return col == at ? conform_bits_float(0x7fc12345) : normal;
    case 2:
        return -infinity;
    case 3:
        return r % 3 == 0 ? conform_bits_float(0xffc00000) : r % 3 == 1 ? -infinity : normal;
    case 4:
        return col == at ? normal : -infinity;
    case 5:
        return conform_bits_float(col & 1 ? 0x7fc12345 : 0xffc00001);
    default:
        return normal;
    }
}

static float logit(const struct conform_case *c, uint64_t key, int64_t row, int64_t col, int64_t cols)
{
    static const float golden[3][4] = {{2, 1, 0, 1}, {0, 0, 0, 0}, {-1, 3, 2.5f, 0}};
    const uint64_t index = (uint64_t)(row * cols + col), r = conform_random(key, index);
    const float normal = conform_normal(key, index);
    switch (c->own[0]) {
    case FILL_NORMAL:
        return 2.0f * normal;
    case FILL_EXACT:
        return 0.25f * (float)(r >> 20 & 31) - 4.0f;
    case FILL_WIDE:
        return 30.0f * normal;
    case FILL_OFFSET:
        return 1000.0f + normal;
    case FILL_SPECIAL: /* every other row finite */
        return conform_bits_float(conform_specials[r % (row & 1 ? CONFORM_SPECIALS : CONFORM_SPECIALS - 6)]);
    case FILL_INFINITE:
        return infinite_value(key, row, col, cols);
    case FILL_TIES:
        return r >> 63 ? -0.0f * (float)(col & 1) : 0.5f * (float)(r % 4) - 1.0f;
    case FILL_SKEWED:
        return col == cols / 2 ? 9.0f + normal : normal;
    default:
        return golden[row % 3][col % 4];
    }
}

static double list_value(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const struct tenon_moe_route_params *p = (const void *)c->params;
    const int64_t experts = c->slot[TENON_MOE_ROUTE_LOGITS].tensor.dim[1];
    const uint64_t key = conform_key(c, tensor), r = conform_random(key, (uint64_t)i);
    switch (tensor) {
    case TENON_MOE_ROUTE_CORR_BIAS: /* negative ones too: 0 is no score that a forbidden group could have */
        if (c->own[0] == FILL_INFINITE && r % 19 == 0)
            return (double)conform_bits_float(r >> 40 & 1 ? 0xff800000 : 0x7fc00000);
        return (double)(0.125f * (float)(r >> 20 & 15) - 1.5f);
    case TENON_MOE_ROUTE_GAIN:
        if (c->own[0] == FILL_INFINITE && r % 97 == 0)
            return (double)conform_bits_float(0x7fc00000);
        return (double)(2.0f * conform_uniform(key, (uint64_t)i) - 0.5f);
    case TENON_MOE_ROUTE_TOKEN_VALID:
        return r % 4 == 0 ? 0 : (double)(1 + (r >> 20) % 255);
    case TENON_MOE_ROUTE_EXPERT_MASK:
        return (r >> 20) % 4 == 0 ? 0 : (double)(1 + (r >> 30) % 255);
    case TENON_MOE_ROUTE_KEY:
        return (double)((int64_t)(r % 43) - 3);
    case TENON_MOE_ROUTE_TABLE_IDX:
        return (double)((int64_t)((r >> 8) % (uint64_t)(experts + 4)) - 2);
    case TENON_MOE_ROUTE_NUSE:
        return r % 29 == 3 ? (double)INT32_MIN : (double)((int64_t)((r >> 8) % (uint64_t)(experts + 4)) - 2);
    default: /* zsel: some just at the ends of the step, some far outside */
        if (c->own[0] == FILL_INFINITE && r % 41 == 0)
            return (double)conform_bits_float(r >> 40 & 1 ? 0x7fc00000 : 0x7f800000);
        if (r % 5 == 0)
            return (double)(r >> 40 & 1 ? 0.5f * p->gamma : -0.5f * p->gamma);
        return (double)(p->gamma * (conform_uniform(key, (uint64_t)i + 99) * 1.5f - 0.75f));
    }
}

void tenon__route_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const struct tenon_tensor *t = &slot->tensor;
    const int by_row = tensor == TENON_MOE_ROUTE_LOGITS || tensor == TENON_MOE_ROUTE_GROUP_LOGITS;
    const uint64_t key = conform_key(c, tensor);
    const int64_t cols = t->rank > 1 ? t->dim[1] : 1;
    for (int64_t i = 0; i < tenon_tensor_count(t); i++)
        conform_set(conform_first(slot), t->dtype, conform_offset(t, i),
                    by_row ? (double)logit(c, key, i / cols, i % cols, cols) : list_value(c, tensor, i));
}
