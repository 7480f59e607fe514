/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk: what the inputs of a case hold, descriptors that only it knows to be wrong, and properties that tie two
 * of its runs. */
#include <string.h>
#include "softmax_topk_suite.h"

/* ---- contents ---- */

static float infinite_value(const struct conform_case *c, uint64_t key, int64_t row, int64_t col)
{
    const float infinity = conform_bits_float(0x7f800000);
    int64_t cols = tenon__topk_suite_cols(c), at = (int64_t)conform_below(key, (uint64_t)row, (uint64_t)cols);
    uint64_t random = conform_random(key, (uint64_t)(row * cols + col));
    float normal = conform_normal(key, (uint64_t)(row * cols + col + 1000003));
    switch (row % 7) {
    case 0:
        return -infinity;
    case 1:
        return col == at ? 1.5f : -infinity;
    case 2:
        return random >> 63 ? -infinity : normal;
    case 3:
        return col == at ? infinity : normal;
    case 4:
        return col == at ? conform_bits_float(0x7fc12345) : normal;
    case 5: /* both, among entries that cannot be taken: NaN fill the slots */
        return col == at ? infinity : random % 3 ? -infinity : conform_bits_float(0xffc00001);
    default:
        return random % 50 == 0 ? infinity : random % 50 == 1 ? conform_bits_float(0x7f800001) : normal;
    }
}

static float x_value(const struct conform_case *c, uint64_t key, int64_t row, int64_t col)
{
    int64_t cols = tenon__topk_suite_cols(c), take = 1;
    uint64_t which = (uint64_t)(row * cols + col), random = conform_random(key, which);
    switch (c->own[0]) {
    case TOPK_EXACT: /* the last 2^k columns, or the first */
        while (take * 2 <= cols)
            take *= 2;
        return (row & 1 ? col >= cols - take : col < take) ? 0.0f : -200.0f;
    case TOPK_NORMAL:
        return conform_normal(key, which);
    case TOPK_WIDE:
        return 10.0f * conform_normal(key, which);
    case TOPK_DEEP:
        return -80.0f * conform_uniform(key, which);
    case TOPK_OFFSET:
        return 2.0f * conform_uniform(key, which) - 1.0f + conform_bits_float((uint32_t)c->own[2]);
    case TOPK_SPECIAL:
        return conform_bits_float(conform_specials[random % (row & 1 ? CONFORM_SPECIALS : CONFORM_SPECIALS - 6)]);
    case TOPK_INFINITE:
        return infinite_value(c, key, row, col);
    case TOPK_TIES:
        return random >> 63 ? -0.0f * (float)(col & 1) : 0.5f * (float)conform_below(key, which, 5) - 1.5f;
    case TOPK_RISING:
        return (float)col * 1e-4f;
    case TOPK_FALLING:
        return (float)col * -1e-4f;
    case TOPK_NANS:
        return random % 8   ? conform_bits_float(0x7fc00000)
               : random % 3 ? conform_normal(key, which)
                            : -conform_bits_float(0x7f800000);
    default:
        return 3.25f;
    }
}

static double side_value(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    static const uint32_t bad[] = {0xbf800000, 0x7fc00000, 0x7f800000, 0x3f800000};
    const int64_t cols = tenon__topk_suite_cols(c);
    const double inf = (double)conform_bits_float(0x7f800000), nan = (double)conform_bits_float(0x7fc00000);
    uint64_t key = conform_key(c, tensor), random = conform_random(key, (uint64_t)i);
    switch (tensor) {
    case TENON_SOFTMAX_TOPK_BIAS:
        return c->mode == CONFORM_ADVERSARIAL && i % 7 == 6 ? -inf : (double)conform_normal(key, (uint64_t)i);
    case TENON_SOFTMAX_TOPK_MASK: /* any non-zero byte counts; some rows are empty */
        return (i / cols) % 4 == 3 && cols > 8 ? 0 : random >> 62 ? 1 + (double)(i % 255) : 0;
    case TENON_SOFTMAX_TOPK_VALID_LEN:
        return i % 5 == 4   ? -3
               : i % 5 == 3 ? (double)cols + 100
                            : (double)conform_below(key, (uint64_t)i, (uint64_t)cols + 1);
    case TENON_SOFTMAX_TOPK_ROW_SCALE:
        return i % 4 == 3 && c->mode == CONFORM_ADVERSARIAL ? (double)conform_bits_float(bad[i / 4 % 4])
               : i % 5 == 4                                 ? 0.0
                                                            : 0.25 + (double)conform_uniform(key, (uint64_t)i) * 2;
    case TENON_SOFTMAX_TOPK_SINK:
        return c->mode == CONFORM_ADVERSARIAL && i % 6 == 5 ? (i % 4 == 1 ? nan : -inf)
                                                            : (double)conform_normal(key, (uint64_t)i) * 3;
    default: /* noise */
        return (double)conform_normal(key, (uint64_t)i) * 2;
    }
}

void tenon__topk_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const int64_t cols = tenon__topk_suite_cols(c), count = tenon_tensor_count(&slot->tensor);
    const uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < count; i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                    tensor == TENON_SOFTMAX_TOPK_X ? (double)x_value(c, key, i / cols, i % cols)
                                                   : side_value(c, tensor, i));
}

/* ---- hostile descriptors: case 0 is x f32 [3,8], k = 5, with every output ---- */

static void spoil_k(struct conform_case *c)
{
    tenon__topk_suite_params(c)->k = 9;
    conform_slot_set(c, TENON_SOFTMAX_TOPK_VAL, TENON_F32, 2, (int64_t[]){3, 9});
    conform_slot_set(c, TENON_SOFTMAX_TOPK_IDX, TENON_I32, 2, (int64_t[]){3, 9});
}
static void spoil_zero(struct conform_case *c)
{
    tenon__topk_suite_params(c)->k = 0;
}
static void spoil_large(struct conform_case *c)
{
    tenon__topk_suite_params(c)->k = 4097;
    tenon__topk_suite_params(c)->pad_short = 1;
}
static void spoil_val(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_TOPK_VAL, TENON_F32, 2, (int64_t[]){3, 8});
}
static void spoil_idx(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_TOPK_IDX, TENON_I32, 2, (int64_t[]){2, 5});
}
static void spoil_both(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_TOPK_MASK, TENON_U8, 1, (int64_t[]){8});
    conform_slot_set(c, TENON_SOFTMAX_TOPK_VALID_LEN, TENON_I32, 1, (int64_t[]){3});
}
static void spoil_noise(struct conform_case *c)
{
    tenon__topk_suite_params(c)->noise = TENON_SOFTMAX_NOISE_INPUT;
}
static void spoil_both_noises(struct conform_case *c)
{
    tenon__topk_suite_params(c)->noise = TENON_SOFTMAX_NOISE_GUMBEL;
    conform_slot_set(c, TENON_SOFTMAX_TOPK_NOISE, TENON_F32, 2, (int64_t[]){3, 8});
}
static void spoil_normal(struct conform_case *c)
{
    tenon__topk_suite_params(c)->noise = TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL;
}
static void spoil_flags(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_TOPK_FLAGS, TENON_U32, 1, (int64_t[]){3});
}
static void spoil_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_TOPK_VAL, TENON_F16, 2, (int64_t[]){3, 5});
}
static void spoil_cols(struct conform_case *c)
{
    c->slot[TENON_SOFTMAX_TOPK_X].tensor.dim[1] = INT64_C(1) << 31;
}
static void spoil_fold(struct conform_case *c)
{
    for (uint32_t i = TENON_SOFTMAX_TOPK_VAL; i < TENON_SOFTMAX_TOPK_N_TENSORS; i++)
        memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    conform_slot_set(c, TENON_SOFTMAX_TOPK_X, TENON_F32, 3, (int64_t[]){3, 2, 8});
    conform_slot_set(c, TENON_SOFTMAX_TOPK_IDX, TENON_I32, 3, (int64_t[]){3, 2, 5});
    c->slot[TENON_SOFTMAX_TOPK_X].tensor.stride[0] = 19;
}

const struct conform_hostile tenon__topk_suite_hostile[TOPK_HOSTILE] = {
    {"k above cols", TENON_E_SHAPE, spoil_k},
    {"k = 0", TENON_E_ARG, spoil_zero},
    {"k = 4097", TENON_E_ARG, spoil_large},
    {"val of another width", TENON_E_SHAPE, spoil_val},
    {"idx of another number of rows", TENON_E_SHAPE, spoil_idx},
    {"mask and valid_len together", TENON_E_ARG, spoil_both},
    {"noise of an absent tensor", TENON_E_ARG, spoil_noise},
    {"a tensor of noise with generated noise", TENON_E_ARG, spoil_both_noises},
    {"noise with bits of its own", TENON_E_ARG, spoil_normal},
    {"three flags", TENON_E_SHAPE, spoil_flags},
    {"val of f16", TENON_E_DTYPE, spoil_type},
    {"rows of 2^31 columns", TENON_E_SHAPE, spoil_cols},
    {"leading axes that do not fold", TENON_E_UNSUPPORTED, spoil_fold},
};

/* ---- properties ---- */

static double element(const struct conform_slot *slot, int64_t index)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int per_row(const struct conform_case *c, uint32_t i)
{
    return (i >= TENON_SOFTMAX_TOPK_VALID_LEN && i <= TENON_SOFTMAX_TOPK_ROW_SCALE) || i >= TENON_SOFTMAX_TOPK_MAX ||
           (i == TENON_SOFTMAX_TOPK_SINK && c->slot[i].tensor.dim[0] != 1);
}

/* Rows [first, first + rows) of the base, contiguous, without flags. */
static int take_rows(const struct conform_case *base, struct conform_case *derived, int64_t first, int64_t rows)
{
    *derived = *base;
    memset(&derived->slot[TENON_SOFTMAX_TOPK_FLAGS].tensor, 0, sizeof(struct tenon_tensor));
    int outputs = 0;
    for (uint32_t i = 0; i < base->n; i++) {
        struct conform_slot *slot = &derived->slot[i];
        const struct tenon_tensor *t = &base->slot[i].tensor;
        slot->data = NULL;
        if (!slot->tensor.dtype)
            continue;
        outputs |= slot->is_output;
        if (per_row(base, i))
            conform_slot_set(derived, i, t->dtype, 1, &rows);
        else if (t->rank == 1)
            conform_slot_set(derived, i, t->dtype, 1, t->dim);
        else
            conform_slot_set(derived, i, t->dtype, 2, (int64_t[]){rows, t->dim[t->rank - 1]});
    }
    if (!outputs || conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i <= TENON_SOFTMAX_TOPK_NOISE; i++) {
        const struct conform_slot *from = &base->slot[i];
        struct conform_slot *to = &derived->slot[i];
        if (!from->tensor.dtype)
            continue;
        const int64_t width = per_row(base, i) ? 1 : from->tensor.rank == 1 ? 0 : to->tensor.dim[1];
        for (int64_t e = 0; e < tenon_tensor_count(&to->tensor); e++)
            conform_set(conform_first(to), to->tensor.dtype, e, element(from, first * width + e));
    }
    return 1;
}

static int64_t row_of(const struct conform_case *base)
{
    return (int64_t)conform_below(conform_key(base, 200), 0, (uint64_t)tenon__topk_suite_rows(base));
}

/* Generated noise knows the number of its row. */
static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_softmax_topk_params *p = (const void *)base->params;
    return tenon__topk_suite_rows(base) >= 2 && p->noise != TENON_SOFTMAX_NOISE_GUMBEL &&
           take_rows(base, derived, row_of(base), 1);
}

static int derive_second(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_softmax_topk_params *p = (const void *)base->params;
    const int64_t rows = tenon__topk_suite_rows(base);
    return rows >= 2 && p->noise != TENON_SOFTMAX_NOISE_GUMBEL &&
           take_rows(base, derived, rows / 2, rows - rows / 2);
}

static int check_rows(const struct conform_case *base, const struct conform_case *derived, int64_t first,
                      struct tenon_why *why)
{
    const int64_t rows = tenon__topk_suite_rows(derived);
    for (uint32_t i = TENON_SOFTMAX_TOPK_VAL; i < TENON_SOFTMAX_TOPK_FLAGS; i++) {
        const struct conform_slot *slot = &derived->slot[i];
        const int64_t count = slot->tensor.dtype ? tenon_tensor_count(&slot->tensor) : 0;
        for (int64_t e = 0; e < count; e++) {
            double x = element(&base->slot[i], first * (count / rows) + e), y = element(slot, e);
            if (x == y || (x != x && y != y))
                continue;
            return tenon_why_set(why, 1, "%s[%lld] from row %lld on is %.9g, among others %.9g",
                                 tenon_op_contract_by_number(base->op->op)->tensors[i].name, (long long)e,
                                 (long long)first, y, x);
        }
    }
    return 0;
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_rows(base, derived, row_of(base), why);
}

static int check_second(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_rows(base, derived, tenon__topk_suite_rows(base) / 2, why);
}

/* Columns in reverse: judged by the reference, which must find each at its mirrored place. */
static int derive_reverse(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_softmax_topk_params *p = (const void *)base->params;
    int64_t cols = tenon__topk_suite_cols(base), rows = tenon__topk_suite_rows(base);
    if (cols < 2 || rows < 1 || p->noise == TENON_SOFTMAX_NOISE_GUMBEL ||
        base->slot[TENON_SOFTMAX_TOPK_VALID_LEN].tensor.dtype || !take_rows(base, derived, 0, rows))
        return 0;
    for (uint32_t i = 0; i <= TENON_SOFTMAX_TOPK_NOISE; i++) {
        const struct tenon_tensor *t = &derived->slot[i].tensor;
        if (!t->dtype || per_row(base, i) || i == TENON_SOFTMAX_TOPK_SINK)
            continue;
        void *first = conform_first(&derived->slot[i]);
        for (int64_t row = 0; row < tenon_tensor_count(t) / cols; row++)
            for (int64_t j = 0; j < cols / 2; j++) {
                double a = conform_get(first, t->dtype, row * cols + j);
                conform_set(first, t->dtype, row * cols + j, conform_get(first, t->dtype, (row + 1) * cols - 1 - j));
                conform_set(first, t->dtype, (row + 1) * cols - 1 - j, a);
            }
    }
    return 1;
}

/* Half of the slots are the first half of them. */
static int derive_half(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_softmax_topk_params *p = (const void *)base->params;
    int64_t rows = tenon__topk_suite_rows(base), k = p->k;
    if (k < 2 || rows < 1 || p->noise == TENON_SOFTMAX_NOISE_GUMBEL ||
        !base->slot[TENON_SOFTMAX_TOPK_IDX].tensor.dtype || !take_rows(base, derived, 0, rows))
        return 0;
    for (uint32_t i = TENON_SOFTMAX_TOPK_VAL; i < base->n; i++)
        if (i != TENON_SOFTMAX_TOPK_IDX)
            memset(&derived->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    tenon__topk_suite_params(derived)->k = (uint32_t)(k / 2);
    derived->slot[TENON_SOFTMAX_TOPK_IDX].tensor = tenon_tensor_make(TENON_I32, 2, (int64_t[]){rows, k / 2});
    return 1;
}

static int check_half(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const struct conform_slot *all = &base->slot[TENON_SOFTMAX_TOPK_IDX];
    const struct conform_slot *half = &derived->slot[TENON_SOFTMAX_TOPK_IDX];
    const int64_t k = all->tensor.dim[all->tensor.rank - 1], own = half->tensor.dim[1];
    for (int64_t e = 0; e < tenon_tensor_count(&half->tensor); e++)
        if (element(half, e) != element(all, e / own * k + e % own))
            return tenon_why_set(why, 1, "idx[%lld] of row %lld is %.9g with half of k, %.9g with k",
                                 (long long)(e % own), (long long)(e / own), element(half, e),
                                 element(all, e / own * k + e % own));
    return 0;
}

const struct conform_property tenon__topk_suite_properties[TOPK_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"the second half of the rows", derive_second, check_second},
    {"columns in reverse", derive_reverse, NULL},
    {"half of the slots", derive_half, check_half},
};
