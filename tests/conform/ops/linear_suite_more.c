/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "linear_suite.h"

/* ---- hostile descriptors ---- */

static void spoil_k(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_W, TENON_F32, 2, (int64_t[]){7, 6});
}
static void spoil_n(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_Y, TENON_F32, 2, (int64_t[]){3, 8});
}
static void spoil_m(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_Y, TENON_F32, 2, (int64_t[]){4, 7});
}
static void spoil_bias(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_BIAS, TENON_F32, 1, (int64_t[]){5});
}
static void spoil_w_rank(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_W, TENON_F32, 1, (int64_t[]){35});
}
static void spoil_trans_rank(struct conform_case *c)
{
    tenon__linear_suite_params(c)->trans_x = 1;
    conform_slot_set(c, TENON_LINEAR_X, TENON_F32, 3, (int64_t[]){1, 5, 3});
}
static void spoil_scale(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_W_SCALE, TENON_F32, 1, (int64_t[]){7});
}
static void spoil_no_scale(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_W, TENON_I8, 2, (int64_t[]){7, 5});
}
static void spoil_group(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_X, TENON_F32, 2, (int64_t[]){3, 64});
    conform_slot_set(c, TENON_LINEAR_W, TENON_I8, 2, (int64_t[]){7, 64});
    conform_slot_set(c, TENON_LINEAR_W_SCALE, TENON_F32, 2, (int64_t[]){7, 4}); /* groups of 16 */
}
static void spoil_y_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_Y, TENON_F16, 2, (int64_t[]){3, 7});
}
static void spoil_residual_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_RESIDUAL, TENON_BF16, 2, (int64_t[]){3, 7});
}
static void spoil_fold(struct conform_case *c)
{
    conform_slot_set(c, TENON_LINEAR_X, TENON_F32, 3, (int64_t[]){3, 2, 5});
    conform_slot_set(c, TENON_LINEAR_Y, TENON_F32, 3, (int64_t[]){3, 2, 7});
    memset(&c->slot[TENON_LINEAR_RESIDUAL].tensor, 0, sizeof(struct tenon_tensor));
    c->slot[TENON_LINEAR_X].tensor.stride[0] = 17;
}

const struct conform_hostile tenon__linear_suite_hostile[LINEAR_HOSTILE] = {
    {"w of another K", TENON_E_SHAPE, spoil_k},
    {"y of another N", TENON_E_SHAPE, spoil_n},
    {"y of another M", TENON_E_SHAPE, spoil_m},
    {"bias of another length", TENON_E_SHAPE, spoil_bias},
    {"w of rank 1", TENON_E_SHAPE, spoil_w_rank},
    {"trans_x with x of rank 3", TENON_E_SHAPE, spoil_trans_rank},
    {"w_scale without i8", TENON_E_DTYPE, spoil_scale},
    {"i8 without w_scale", TENON_E_DTYPE, spoil_no_scale},
    {"groups of 16 weights", TENON_E_SHAPE, spoil_group},
    {"y of f16 with x of f32", TENON_E_DTYPE, spoil_y_type},
    {"residual of bf16 with y of f32", TENON_E_DTYPE, spoil_residual_type},
    {"leading axes that do not fold", TENON_E_UNSUPPORTED, spoil_fold},
};

/* ---- properties ---- */

static void copy_elements(struct conform_slot *to, const struct conform_slot *from, int64_t first, int64_t count)
{
    for (int64_t e = 0; e < count; e++)
        conform_set(conform_first(to), to->tensor.dtype, conform_offset(&to->tensor, e),
                    conform_get(conform_first(from), from->tensor.dtype, conform_offset(&from->tensor, first + e)));
}

static int64_t count_m(const struct conform_case *c)
{
    const struct tenon_tensor *y = &c->slot[TENON_LINEAR_Y].tensor;
    return y->dim[y->rank - 1] ? tenon_tensor_count(y) / y->dim[y->rank - 1] : 0;
}

static int64_t row_of(const struct conform_case *c)
{
    return (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)count_m(c));
}

static void share_inputs(struct conform_case *derived, const struct conform_case *base)
{
    for (uint32_t i = 0; i < base->n; i++) {
        const struct conform_slot *slot = &base->slot[i];
        derived->slot[i].data = NULL;
        derived->slot[i].same_as = -1;
        if (slot->tensor.dtype)
            conform_slot_set(derived, i, slot->tensor.dtype, slot->tensor.rank, slot->tensor.dim);
    }
}

/* One row alone has the bits it has among many. */
static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    struct tenon_linear_params *p = tenon__linear_suite_params(derived);
    int64_t m = count_m(base), row = m ? row_of(base) : 0;
    const struct tenon_tensor *x = &base->slot[TENON_LINEAR_X].tensor;
    *derived = *base;
    if (m < 2)
        return 0;
    share_inputs(derived, base);
    int64_t n = base->slot[TENON_LINEAR_Y].tensor.dim[base->slot[TENON_LINEAR_Y].tensor.rank - 1];
    int64_t k = p->trans_x ? x->dim[0] : x->dim[x->rank - 1];
    conform_slot_set(derived, TENON_LINEAR_X, x->dtype, 2, p->trans_x ? (int64_t[]){k, 1} : (int64_t[]){1, k});
    conform_slot_set(derived, TENON_LINEAR_Y, base->slot[TENON_LINEAR_Y].tensor.dtype, 2, (int64_t[]){1, n});
    if (base->slot[TENON_LINEAR_RESIDUAL].tensor.dtype)
        conform_slot_set(derived, TENON_LINEAR_RESIDUAL, base->slot[TENON_LINEAR_RESIDUAL].tensor.dtype, 2,
                         (int64_t[]){1, n});
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++)
        if (base->slot[i].tensor.dtype && !base->slot[i].is_output && i != TENON_LINEAR_X)
            copy_elements(&derived->slot[i], &base->slot[i], i == TENON_LINEAR_RESIDUAL ? row * n : 0,
                          tenon_tensor_count(&derived->slot[i].tensor));
    for (int64_t i = 0; i < k; i++)
        copy_elements(&(struct conform_slot){.tensor = tenon_tensor_make(x->dtype, 1, (int64_t[]){1}),
                                             .data = (unsigned char *)conform_first(&derived->slot[TENON_LINEAR_X]) +
                                                     i * TENON_DTYPE_SIZE(x->dtype)},
                      &base->slot[TENON_LINEAR_X], p->trans_x ? i * m + row : row * k + i, 1);
    return 1;
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_LINEAR_Y], *b = &derived->slot[TENON_LINEAR_Y];
    int64_t row = row_of(base), n = tenon_tensor_count(&b->tensor);
    for (int64_t i = 0; i < n; i++) {
        double x = conform_get(conform_first(a), a->tensor.dtype, conform_offset(&a->tensor, row * n + i));
        double y = conform_get(conform_first(b), b->tensor.dtype, i);
        if (x == y || (x != x && y != y))
            continue;
        return tenon_why_set(why, 1, "row %lld alone has y[%lld] = %.9g, among others %.9g", (long long)row,
                             (long long)i, y, x);
    }
    return 0;
}

static int derive_flip(const struct conform_case *base, struct conform_case *derived, uint32_t tensor, uint32_t *flag)
{
    const struct tenon_tensor *t = &base->slot[tensor].tensor;
    if (t->rank != 2)
        return 0;
    share_inputs(derived, base);
    *flag = !*flag;
    conform_slot_set(derived, tensor, t->dtype, 2, (int64_t[]){t->dim[1], t->dim[0]});
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++)
        if (base->slot[i].tensor.dtype && !base->slot[i].is_output && i != tensor)
            copy_elements(&derived->slot[i], &base->slot[i], 0, tenon_tensor_count(&derived->slot[i].tensor));
    for (int64_t r = 0; r < t->dim[0]; r++)
        for (int64_t c = 0; c < t->dim[1]; c++)
            conform_set(
                conform_first(&derived->slot[tensor]), t->dtype, c * t->dim[0] + r,
                conform_get(conform_first(&base->slot[tensor]), t->dtype, conform_offset(t, r * t->dim[1] + c)));
    return 1;
}

/* The same product with an operand stored the other way. The reference decides; in an exact case the bits do. */
static int derive_trans_x(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    return base->slot[TENON_LINEAR_Y].tensor.rank == 2 &&
           derive_flip(base, derived, TENON_LINEAR_X, &tenon__linear_suite_params(derived)->trans_x);
}

static int derive_trans_w(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    return derive_flip(base, derived, TENON_LINEAR_W, &tenon__linear_suite_params(derived)->trans_w);
}

/* Twice the x gives exactly twice the y when nothing else is added. */
static int derive_double(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    if (base->mode == CONFORM_ADVERSARIAL || tenon__linear_suite_params(derived)->act > TENON_ACT_RELU ||
        base->slot[TENON_LINEAR_BIAS].tensor.dtype || base->slot[TENON_LINEAR_RESIDUAL].tensor.dtype ||
        base->slot[TENON_LINEAR_Y].tensor.dtype != TENON_F32)
        return 0;
    share_inputs(derived, base);
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < base->n; i++) {
        int64_t count = tenon_tensor_count(&derived->slot[i].tensor);
        if (!base->slot[i].tensor.dtype || base->slot[i].is_output)
            continue;
        copy_elements(&derived->slot[i], &base->slot[i], 0, count);
        for (int64_t e = 0; i == TENON_LINEAR_X && e < count; e++)
            conform_set(conform_first(&derived->slot[i]), base->slot[i].tensor.dtype, e,
                        2 * conform_get(conform_first(&derived->slot[i]), base->slot[i].tensor.dtype, e));
    }
    return 1;
}

static int check_ratio(const struct conform_case *base, const struct conform_case *derived, double ratio,
                       struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_LINEAR_Y], *b = &derived->slot[TENON_LINEAR_Y];
    int64_t n = tenon_tensor_count(&b->tensor);
    for (int64_t i = 0; i < n; i++) {
        double x = conform_get(conform_first(a), a->tensor.dtype, conform_offset(&a->tensor, i));
        double y = conform_get(conform_first(b), b->tensor.dtype, i);
        if (x * ratio == y || (x != x && y != y))
            continue;
        return tenon_why_set(why, 1, "element %lld is %.9g, must be %.9g times %.9g", (long long)i, y, ratio, x);
    }
    return 0;
}

static int check_double(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return check_ratio(base, derived, 2, why);
}

static int check_flip(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return base->mode == CONFORM_EXACT ? check_ratio(base, derived, 1, why) : 0;
}

const struct conform_property tenon__linear_suite_properties[LINEAR_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"x the other way", derive_trans_x, check_flip},
    {"w the other way", derive_trans_w, check_flip},
    {"twice x, twice y", derive_double, check_double},
};
