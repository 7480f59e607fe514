/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparsify: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "sparsify_suite.h"

static struct tenon_sparsify_params *params_of(struct conform_case *c)
{
    return (struct tenon_sparsify_params *)(void *)c->params;
}

/* ---- hostile descriptors: case 0 is abs_gt of x f32 [3,5] with every output, kmax 5 ---- */

static void give(struct conform_case *c, uint32_t i, int64_t n)
{
    conform_slot_set(c, i, TENON_F32, 1, &n);
}
static void spoil_both(struct conform_case *c)
{
    give(c, TENON_SPARSIFY_T_ROW, 3);
    give(c, TENON_SPARSIFY_T_COL, 5);
}
static void spoil_t_kind(struct conform_case *c)
{
    params_of(c)->kind = TENON_SPARSIFY_TOPK;
    give(c, TENON_SPARSIFY_T_ROW, 3);
}
static void spoil_wgt_kind(struct conform_case *c)
{
    params_of(c)->kind = TENON_SPARSIFY_GE;
    give(c, TENON_SPARSIFY_WGT, 5);
}
static void spoil_wgt_value(struct conform_case *c)
{
    params_of(c)->kind = TENON_SPARSIFY_BATCH_TOPK;
    params_of(c)->by = TENON_SPARSIFY_BY_VALUE;
    give(c, TENON_SPARSIFY_WGT, 5);
}
static void spoil_t_row(struct conform_case *c)
{
    give(c, TENON_SPARSIFY_T_ROW, 4);
}
static void spoil_t_col(struct conform_case *c)
{
    give(c, TENON_SPARSIFY_T_COL, 3);
}
static void spoil_wgt(struct conform_case *c)
{
    give(c, TENON_SPARSIFY_WGT, 6);
}
static void spoil_k(struct conform_case *c)
{
    params_of(c)->kind = TENON_SPARSIFY_TOPK;
    params_of(c)->k = 6;
}
static void spoil_k_negative(struct conform_case *c)
{
    params_of(c)->kind = TENON_SPARSIFY_STAT_TOPK;
    params_of(c)->k = -1;
}
static void spoil_y(struct conform_case *c)
{
    conform_slot_set(c, TENON_SPARSIFY_Y, TENON_F32, 2, (int64_t[]){3, 6});
}
static void spoil_y_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_SPARSIFY_Y, TENON_F16, 2, (int64_t[]){3, 5});
}
static void spoil_kmax(struct conform_case *c)
{
    conform_slot_set(c, TENON_SPARSIFY_CVAL, TENON_F32, 2, (int64_t[]){3, 4});
}
static void spoil_list(struct conform_case *c)
{
    conform_slot_set(c, TENON_SPARSIFY_CIDX, TENON_I32, 2, (int64_t[]){4, 5});
}
static void spoil_flags(struct conform_case *c)
{
    conform_slot_set(c, TENON_SPARSIFY_FLAGS, TENON_U32, 1, (int64_t[]){3});
}
static void spoil_fold(struct conform_case *c)
{
    for (uint32_t i = TENON_SPARSIFY_NNZ; i <= TENON_SPARSIFY_FLAGS; i++)
        memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    conform_slot_set(c, TENON_SPARSIFY_X, TENON_F32, 3, (int64_t[]){3, 2, 5});
    conform_slot_set(c, TENON_SPARSIFY_Y, TENON_F32, 3, (int64_t[]){3, 2, 5});
    c->slot[TENON_SPARSIFY_X].tensor.stride[0] = 17;
}
static void spoil_cols(struct conform_case *c)
{
    for (uint32_t i = TENON_SPARSIFY_Y; i < TENON_SPARSIFY_N_TENSORS; i++)
        if (i != TENON_SPARSIFY_NNZ)
            memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
    c->slot[TENON_SPARSIFY_X].tensor.dim[1] = INT64_C(1) << 31;
}
static void spoil_kmax_long(struct conform_case *c)
{
    struct tenon_tensor *cidx = &c->slot[TENON_SPARSIFY_CIDX].tensor;
    memset(&c->slot[TENON_SPARSIFY_CVAL].tensor, 0, sizeof(struct tenon_tensor));
    cidx->dim[1] = cidx->stride[0] = INT64_C(1) << 31;
}
static void spoil_cval_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_SPARSIFY_CVAL, TENON_BF16, 2, (int64_t[]){3, 5});
}

const struct conform_hostile tenon__sparsify_suite_hostile[SPARSIFY_HOSTILE] = {
    {"t_row and t_col together", TENON_E_ARG, spoil_both},
    {"t_row with a kind without t", TENON_E_ARG, spoil_t_kind},
    {"wgt with ge", TENON_E_ARG, spoil_wgt_kind},
    {"wgt with batch_topk by value", TENON_E_ARG, spoil_wgt_value},
    {"t_row of another number of rows", TENON_E_SHAPE, spoil_t_row},
    {"t_col of another length", TENON_E_SHAPE, spoil_t_col},
    {"wgt of another length", TENON_E_SHAPE, spoil_wgt},
    {"k above cols", TENON_E_SHAPE, spoil_k},
    {"k below 0", TENON_E_SHAPE, spoil_k_negative},
    {"y of another shape", TENON_E_SHAPE, spoil_y},
    {"y of f16 with x of f32", TENON_E_DTYPE, spoil_y_type},
    {"another kmax of cval", TENON_E_SHAPE, spoil_kmax},
    {"a list of 2^31 places", TENON_E_SHAPE, spoil_kmax_long},
    {"another number of rows of cidx", TENON_E_SHAPE, spoil_list},
    {"three flags", TENON_E_SHAPE, spoil_flags},
    {"rows of 2^31 columns", TENON_E_SHAPE, spoil_cols},
    {"cval of bf16 with x of f32", TENON_E_DTYPE, spoil_cval_type},
    {"leading axes that do not fold", TENON_E_UNSUPPORTED, spoil_fold},
};

/* ---- properties ---- */

static double element(const struct conform_slot *slot, int64_t index)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* Elements of tensor i that belong to one row; 0: it belongs to all of them. */
static int64_t of_row(const struct conform_case *c, uint32_t i)
{
    const struct tenon_tensor *t = &c->slot[i].tensor;
    if (i == TENON_SPARSIFY_T_COL || i == TENON_SPARSIFY_WGT || i == TENON_SPARSIFY_FLAGS)
        return 0;
    return i == TENON_SPARSIFY_T_ROW || i == TENON_SPARSIFY_NNZ ? 1 : t->dim[t->rank - 1];
}

static int64_t row_of(const struct conform_case *c)
{
    return (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)tenon__sparsify_suite_rows(c));
}

/* Rows [first, first + rows) of the base, contiguous. */
static int take_rows(const struct conform_case *base, struct conform_case *derived, int64_t first, int64_t rows)
{
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        struct conform_slot *slot = &derived->slot[i];
        const struct tenon_tensor *t = &base->slot[i].tensor;
        slot->data = NULL;
        slot->same_as = -1;
        if (!t->dtype)
            continue;
        if (i == TENON_SPARSIFY_T_ROW || i == TENON_SPARSIFY_NNZ)
            conform_slot_set(derived, i, t->dtype, 1, &rows);
        else if (of_row(base, i) == 0 && t->rank == 1)
            conform_slot_set(derived, i, t->dtype, 1, base->slot[i].tensor.dim);
        else
            conform_slot_set(derived, i, t->dtype, 2, (int64_t[]){rows, t->dim[t->rank - 1]});
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < TENON_SPARSIFY_Y; i++) {
        struct conform_slot *to = &derived->slot[i];
        const int64_t count = to->tensor.dtype ? tenon_tensor_count(&to->tensor) : 0;
        for (int64_t e = 0; e < count; e++)
            conform_set(conform_first(to), to->tensor.dtype, e,
                        element(&base->slot[i], first * of_row(base, i) + e));
    }
    return 1;
}

/* A row alone, and the second half of the rows; the rows of BATCH_TOPK are not independent. */
static int independent(const struct conform_case *c)
{
    const struct tenon_sparsify_params *p = (const void *)c->params;
    return p->kind != TENON_SPARSIFY_BATCH_TOPK && tenon__sparsify_suite_rows(c) >= 2;
}

static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    return independent(base) && take_rows(base, derived, row_of(base), 1);
}

static int derive_half(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t rows = tenon__sparsify_suite_rows(base);
    return independent(base) && take_rows(base, derived, rows / 2, rows - rows / 2);
}

static int check_rows(const struct conform_case *base, const struct conform_case *derived, int64_t first,
                      struct tenon_why *why)
{
    for (uint32_t i = TENON_SPARSIFY_Y; i < base->n; i++) {
        const int64_t each = base->slot[i].tensor.dtype ? of_row(base, i) : 0;
        const int64_t count = each ? tenon_tensor_count(&derived->slot[i].tensor) : 0;
        for (int64_t e = 0; e < count; e++) {
            const double x = element(&base->slot[i], first * each + e), y = element(&derived->slot[i], e);
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
    return check_rows(base, derived, tenon__sparsify_suite_rows(base) / 2, why);
}

/* Columns in reverse: judged by the reference, which must find what is kept at its mirrored place, but for ties. */
static int derive_reverse(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t cols = tenon__sparsify_suite_cols(base);
    if (cols < 2 || !take_rows(base, derived, 0, tenon__sparsify_suite_rows(base)))
        return 0;
    for (uint32_t i = 0; i < TENON_SPARSIFY_Y; i++) {
        const struct tenon_tensor *t = &derived->slot[i].tensor;
        void *first = conform_first(&derived->slot[i]);
        if (!t->dtype || i == TENON_SPARSIFY_T_ROW)
            continue;
        for (int64_t row = 0; row < tenon_tensor_count(t) / cols; row++)
            for (int64_t j = 0; j < cols / 2; j++) {
                const double a = conform_get(first, t->dtype, row * cols + j),
                             b = conform_get(first, t->dtype, (row + 1) * cols - 1 - j);
                conform_set(first, t->dtype, row * cols + j, b);
                conform_set(first, t->dtype, (row + 1) * cols - 1 - j, a);
            }
    }
    return 1;
}

/* The other sign: by |x| the same is kept, by x the rest. */
static int derive_negative(const struct conform_case *base, struct conform_case *derived)
{
    if (!take_rows(base, derived, 0, tenon__sparsify_suite_rows(base)))
        return 0;
    struct conform_slot *x = &derived->slot[TENON_SPARSIFY_X];
    for (int64_t e = 0; e < tenon_tensor_count(&x->tensor); e++)
        conform_set(conform_first(x), x->tensor.dtype, e, -conform_get(conform_first(x), x->tensor.dtype, e));
    return 1;
}

const struct conform_property tenon__sparsify_suite_properties[SPARSIFY_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"the second half of the rows", derive_half, check_half},
    {"columns in reverse", derive_reverse, NULL},
    {"all values negated", derive_negative, NULL},
};
