/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: properties that tie two of its runs. */
#include "softmax_suite.h"

static double element(const struct conform_slot *slot, int64_t index)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int per_row(const struct conform_case *c, uint32_t i)
{
    return i != TENON_SOFTMAX_X && i != TENON_SOFTMAX_Y && i != TENON_SOFTMAX_BIAS && i != TENON_SOFTMAX_MASK &&
           i != TENON_SOFTMAX_NOISE && i != TENON_SOFTMAX_MULT && i != TENON_SOFTMAX_FLAGS &&
           !(i == TENON_SOFTMAX_SINK && c->slot[i].tensor.dim[0] == 1);
}

static int64_t row_of(const struct conform_case *c)
{
    return (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)tenon__softmax_suite_rows(c));
}

/* Rows [first, first + rows) of the base, contiguous. */
static int take_rows(const struct conform_case *base, struct conform_case *derived, int64_t first, int64_t rows)
{
    int64_t cols = tenon__softmax_suite_cols(base), all = tenon__softmax_suite_rows(base);
    const struct tenon_softmax_params *p = (const void *)base->params;
    int outputs = 0;
    *derived = *base;
    if (rows != all) { /* generated noise depends on the row's number; flags count all rows */
        if (p->noise == TENON_SOFTMAX_NOISE_GUMBEL || p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL)
            return 0;
        derived->slot[TENON_SOFTMAX_FLAGS].tensor.dtype = 0;
    }
    for (uint32_t i = 0; i < base->n; i++)
        outputs += derived->slot[i].tensor.dtype && derived->slot[i].is_output;
    if (!outputs)
        return 0;
    for (uint32_t i = 0; i < base->n; i++) {
        struct conform_slot *slot = &derived->slot[i];
        slot->data = NULL;
        slot->same_as = -1;
        if (!slot->tensor.dtype)
            continue;
        if (base->slot[i].tensor.rank == 1 && !per_row(base, i) && base->slot[TENON_SOFTMAX_X].tensor.rank > 1)
            conform_slot_set(derived, i, slot->tensor.dtype, 1, slot->tensor.dim);
        else if (per_row(base, i))
            conform_slot_set(derived, i, slot->tensor.dtype, 1, &rows);
        else
            conform_slot_set(derived, i, slot->tensor.dtype, 2, (int64_t[]){rows, cols});
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *from = &base->slot[i];
        struct conform_slot *to = &derived->slot[i];
        int64_t count = from->tensor.dtype && !from->is_output ? tenon_tensor_count(&to->tensor) : 0;
        int64_t begin = tenon_tensor_count(&from->tensor) == count && all != rows ? 0
                        : per_row(base, i)                                        ? first
                                                                                  : first * cols;
        for (int64_t e = 0; e < count; e++)
            conform_set(conform_first(to), to->tensor.dtype, e, element(from, begin + e));
    }
    return 1;
}

/* A row alone, and the first half of the rows. */
static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    int64_t rows = tenon__softmax_suite_rows(base);
    return rows >= 2 && take_rows(base, derived, row_of(base), 1);
}

static int derive_half(const struct conform_case *base, struct conform_case *derived)
{
    int64_t rows = tenon__softmax_suite_rows(base);
    return rows >= 2 && take_rows(base, derived, rows / 2, rows - rows / 2);
}

static int check_rows(const struct conform_case *base, const struct conform_case *derived, int64_t first,
                      struct tenon_why *why)
{
    int64_t cols = tenon__softmax_suite_cols(base);
    for (uint32_t i = TENON_SOFTMAX_Y; i < base->n; i++) {
        int64_t count =
            base->slot[i].tensor.dtype && i != TENON_SOFTMAX_FLAGS ? tenon_tensor_count(&derived->slot[i].tensor) : 0;
        for (int64_t e = 0; e < count; e++) {
            double x = element(&base->slot[i], (i == TENON_SOFTMAX_Y ? first * cols : first) + e),
                   y = element(&derived->slot[i], e);
            if (x == y || (x != x && y != y))
                continue;
            return tenon_why_set(why, 1, "tensor %s element %lld is %.9g, among all rows %.9g",
                                 tenon_op_contract_by_number(base->op->op)->tensors[i].name, (long long)e, y, x);
        }
    }
    return 0;
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_rows(base, derived, row_of(base), why);
}

static int check_half(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_rows(base, derived, tenon__softmax_suite_rows(base) / 2, why);
}

/* Columns in reverse: judged by the reference, which must find each weight at its mirrored place. valid_len has no
 * mirror. */
static int derive_reverse(const struct conform_case *base, struct conform_case *derived)
{
    int64_t cols = tenon__softmax_suite_cols(base), rows = tenon__softmax_suite_rows(base);
    if (cols < 2 || base->slot[TENON_SOFTMAX_VALID_LEN].tensor.dtype || !take_rows(base, derived, 0, rows))
        return 0;
    for (uint32_t i = 0; i < TENON_SOFTMAX_Y; i++) {
        const struct tenon_tensor *t = &derived->slot[i].tensor;
        if (!t->dtype || per_row(base, i) || t->dim[t->rank - 1] != cols)
            continue;
        void *first = conform_first(&derived->slot[i]);
        for (int64_t row = 0; row < tenon_tensor_count(t) / cols; row++)
            for (int64_t j = 0; j < cols / 2; j++) {
                double a = conform_get(first, t->dtype, row * cols + j),
                       b = conform_get(first, t->dtype, (row + 1) * cols - 1 - j);
                conform_set(first, t->dtype, row * cols + j, b);
                conform_set(first, t->dtype, (row + 1) * cols - 1 - j, a);
            }
    }
    return 1;
}

/* Every logit 8 higher: the reference says what that changes (lse) and what not (y). */
static int derive_shift(const struct conform_case *base, struct conform_case *derived)
{
    if (base->slot[TENON_SOFTMAX_X].tensor.dtype != TENON_F32 ||
        !take_rows(base, derived, 0, tenon__softmax_suite_rows(base)))
        return 0;
    float *x = conform_first(&derived->slot[TENON_SOFTMAX_X]);
    for (int64_t e = 0; e < tenon_tensor_count(&derived->slot[TENON_SOFTMAX_X].tensor); e++)
        x[e] += 8;
    derived->mode = CONFORM_ADVERSARIAL;
    return 1;
}

const struct conform_property tenon__softmax_suite_properties[SOFTMAX_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"the second half of the rows", derive_half, check_half},
    {"columns in reverse", derive_reverse, NULL},
    {"all logits 8 higher", derive_shift, NULL},
};
