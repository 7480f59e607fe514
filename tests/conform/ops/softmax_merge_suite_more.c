/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "softmax_merge_suite.h"

/* ---- hostile descriptors: case 0 has every tensor, 3 parts of 5 rows and 7 columns ---- */

static void drop(struct conform_case *c, uint32_t i)
{
    memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
}
static void spoil_no_a(struct conform_case *c)
{
    drop(c, TENON_SOFTMAX_MERGE_A);
}
static void spoil_no_q(struct conform_case *c)
{
    drop(c, TENON_SOFTMAX_MERGE_Q);
}
static void spoil_no_o(struct conform_case *c)
{
    drop(c, TENON_SOFTMAX_MERGE_O);
}
static void spoil_s(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MERGE_S, TENON_F32, 2, (int64_t[]){3, 4});
}
static void spoil_o(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MERGE_O, TENON_F32, 3, (int64_t[]){4, 5, 7});
}
static void spoil_lse(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MERGE_LSE, TENON_F32, 2, (int64_t[]){3, 5});
}
static void spoil_dv(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MERGE_OUT_O, TENON_F32, 2, (int64_t[]){5, 8});
}
static void spoil_type(struct conform_case *c)
{
    conform_slot_set(c, TENON_SOFTMAX_MERGE_OUT_O, TENON_F16, 2, (int64_t[]){5, 7});
}
static void spoil_fold(struct conform_case *c)
{
    c->slot[TENON_SOFTMAX_MERGE_O].tensor.stride[0] += 3;
}
static void spoil_gap(struct conform_case *c)
{
    c->slot[TENON_SOFTMAX_MERGE_S].tensor.stride[0] += 3;
}
static void spoil_parts(struct conform_case *c)
{
    for (uint32_t i = TENON_SOFTMAX_MERGE_M; i <= TENON_SOFTMAX_MERGE_O; i++)
        c->slot[i].tensor.dim[0] = INT64_C(1) << 31;
}
static void spoil_rank(struct conform_case *c)
{
    for (uint32_t i = TENON_SOFTMAX_MERGE_A; i < TENON_SOFTMAX_MERGE_N_TENSORS; i++)
        if (i != TENON_SOFTMAX_MERGE_OUT_M)
            drop(c, i);
    conform_slot_set(c, TENON_SOFTMAX_MERGE_M, TENON_F32, 8, (int64_t[]){3, 5, 1, 1, 1, 1, 1, 1});
    conform_slot_set(c, TENON_SOFTMAX_MERGE_S, TENON_F32, 8, (int64_t[]){3, 5, 1, 1, 1, 1, 1, 1});
    conform_slot_set(c, TENON_SOFTMAX_MERGE_OUT_M, TENON_F32, 7, (int64_t[]){5, 1, 1, 1, 1, 1, 1});
}
static void spoil_wide(struct conform_case *c)
{
    struct tenon_tensor *o = &c->slot[TENON_SOFTMAX_MERGE_O].tensor;
    drop(c, TENON_SOFTMAX_MERGE_OUT_O);
    o->dim[2] = o->stride[1] = INT64_C(1) << 31;
    o->stride[0] = 5 * o->stride[1];
}

const struct conform_hostile tenon__merge_suite_hostile[MERGE_HOSTILE] = {
    {"out_a without a", TENON_E_ARG, spoil_no_a},
    {"out_q without q", TENON_E_ARG, spoil_no_q},
    {"out_o without o", TENON_E_ARG, spoil_no_o},
    {"s of another number of rows", TENON_E_SHAPE, spoil_s},
    {"o of another number of parts", TENON_E_SHAPE, spoil_o},
    {"lse of every part", TENON_E_SHAPE, spoil_lse},
    {"out_o of another width", TENON_E_SHAPE, spoil_dv},
    {"out_o of f16 with o of f32", TENON_E_DTYPE, spoil_type},
    {"o whose axes do not fold", TENON_E_UNSUPPORTED, spoil_fold},
    {"s with gaps", TENON_E_UNSUPPORTED, spoil_gap},
    {"o of 2^31 columns", TENON_E_SHAPE, spoil_wide},
    {"2^31 parts", TENON_E_SHAPE, spoil_parts},
    {"m without an axis left for o", TENON_E_SHAPE, spoil_rank},
};

/* ---- properties ---- */

static int is_wide(uint32_t i)
{
    return i == TENON_SOFTMAX_MERGE_O || i == TENON_SOFTMAX_MERGE_OUT_O;
}

static double element(const struct conform_slot *slot, int64_t index)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* Parts, rows from `row` on and columns from `col` on, contiguous; part p comes from part from[p], -1: empty. */
struct cut {
    int64_t parts, row, rows, col, dv;
    const int64_t *from;
};

static int take(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    int64_t all_rows = tenon__merge_suite_rows(base), all_dv = tenon__merge_suite_dv(base);
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        int64_t dim[3] = {cut->parts, cut->rows, cut->dv};
        const int out = i >= TENON_SOFTMAX_MERGE_OUT_M;
        derived->slot[i].data = NULL;
        if (base->slot[i].tensor.dtype)
            conform_slot_set(derived, i, base->slot[i].tensor.dtype, 2u - (uint32_t)out + (uint32_t)is_wide(i),
                             dim + out);
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i <= TENON_SOFTMAX_MERGE_O; i++) {
        int64_t dv = is_wide(i) ? cut->dv : 1, col = is_wide(i) ? cut->col : 0, all = is_wide(i) ? all_dv : 1;
        for (int64_t e = 0; base->slot[i].tensor.dtype && e < cut->parts * cut->rows * dv; e++) {
            int64_t part = cut->from ? cut->from[e / dv / cut->rows] : e / dv / cut->rows;
            int64_t row = cut->row + e / dv % cut->rows;
            const double none = i == TENON_SOFTMAX_MERGE_M   ? -(double)conform_bits_float(0x7f800000)
                                : i == TENON_SOFTMAX_MERGE_S ? 0
                                                             : (double)conform_bits_float(0x7fc00000);
            conform_set(conform_first(&derived->slot[i]), base->slot[i].tensor.dtype, e,
                        part < 0 ? none : element(&base->slot[i], (part * all_rows + row) * all + col + e % dv));
        }
    }
    return 1;
}

/* The outputs of the derived case are those of the base from there on, bit for bit. */
static int compare(const struct conform_case *base, const struct conform_case *derived, int64_t row, int64_t col,
                   struct tenon_why *why)
{
    int64_t all = tenon__merge_suite_dv(base), own = tenon__merge_suite_dv(derived);
    for (uint32_t i = TENON_SOFTMAX_MERGE_OUT_M; i < base->n; i++) {
        const struct conform_slot *slot = &derived->slot[i];
        int64_t count = slot->tensor.dtype ? tenon_tensor_count(&slot->tensor) : 0, dv = is_wide(i) ? own : 1;
        for (int64_t e = 0; e < count; e++) {
            int64_t at = is_wide(i) ? (row + e / dv) * all + col + e % dv : row + e;
            double y = element(slot, e), x = element(&base->slot[i], at);
            if (x == y || (x != x && y != y))
                continue;
            return tenon_why_set(why, 1, "%s[%lld] is %.9g, in the whole %.9g",
                                 tenon_op_contract_by_number(base->op->op)->tensors[i].name, (long long)e, y, x);
        }
    }
    return 0;
}

static int64_t row_of(const struct conform_case *base)
{
    return (int64_t)conform_below(conform_key(base, 200), 0, (uint64_t)tenon__merge_suite_rows(base));
}

static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    struct cut cut = {tenon__merge_suite_parts(base), 0, 1, 0, tenon__merge_suite_dv(base), NULL};
    if (tenon__merge_suite_rows(base) < 2)
        return 0;
    cut.row = row_of(base);
    return take(base, derived, &cut);
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return compare(base, derived, row_of(base), 0, why);
}

static int derive_columns(const struct conform_case *base, struct conform_case *derived)
{
    int64_t dv = tenon__merge_suite_dv(base);
    return dv >= 2 && take(base, derived,
                           &(struct cut){tenon__merge_suite_parts(base), 0, tenon__merge_suite_rows(base), dv / 3,
                                         dv - dv / 3, NULL});
}

static int check_columns(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return compare(base, derived, 0, tenon__merge_suite_dv(base) / 3, why);
}

/* Empty parts before, between and after change no bit. */
static int derive_empty(const struct conform_case *base, struct conform_case *derived)
{
    int64_t parts = tenon__merge_suite_parts(base), from[300];
    if (parts > 100 || tenon__merge_suite_rows(base) == 0)
        return 0;
    for (int64_t p = 0; p < 2 * parts + 1; p++)
        from[p] = p % 2 ? p / 2 : -1;
    return take(base, derived,
                &(struct cut){2 * parts + 1, 0, tenon__merge_suite_rows(base), 0, tenon__merge_suite_dv(base), from});
}

static int check_empty(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return compare(base, derived, 0, 0, why);
}

/* Parts in reverse: judged by the reference. */
static int derive_reverse(const struct conform_case *base, struct conform_case *derived)
{
    int64_t parts = tenon__merge_suite_parts(base), from[100];
    if (parts > 100 || parts < 2 || tenon__merge_suite_rows(base) == 0)
        return 0;
    for (int64_t p = 0; p < parts; p++)
        from[p] = parts - 1 - p;
    return take(base, derived,
                &(struct cut){parts, 0, tenon__merge_suite_rows(base), 0, tenon__merge_suite_dv(base), from});
}

const struct conform_property tenon__merge_suite_properties[MERGE_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"two thirds of the columns", derive_columns, check_columns},
    {"empty parts between the others", derive_empty, check_empty},
    {"parts in reverse", derive_reverse, NULL},
};
