/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attn_merge: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "attn_merge_suite.h"

/* ---- hostile descriptors: case 0 has 3 parts of 5 heads and 7 columns, and every tensor of its kind ---- */

static void drop(struct conform_case *c, uint32_t i)
{
    memset(&c->slot[i].tensor, 0, sizeof(struct tenon_tensor));
}
static void make_kind(struct conform_case *c, uint32_t kind)
{
    tenon__attn_merge_suite_params(c)->kind = kind;
    drop(c, TENON_ATTN_MERGE_LNZ_PARTS);
    drop(c, TENON_ATTN_MERGE_SINK);
    drop(c, TENON_ATTN_MERGE_LNZ);
}
static void spoil_no_lnz(struct conform_case *c)
{
    drop(c, TENON_ATTN_MERGE_LNZ_PARTS);
}
static void spoil_no_counts(struct conform_case *c)
{
    make_kind(c, TENON_ATTN_MERGE_BY_COUNT);
}
static void spoil_sum_lnz(struct conform_case *c)
{
    make_kind(c, TENON_ATTN_MERGE_BY_SUM);
    conform_slot_set(c, TENON_ATTN_MERGE_LNZ_PARTS, TENON_F32, 2, (int64_t[]){3, 5});
}
static void spoil_sum_sink(struct conform_case *c)
{
    make_kind(c, TENON_ATTN_MERGE_BY_SUM);
    conform_slot_set(c, TENON_ATTN_MERGE_SINK, TENON_F32, 1, (int64_t[]){5});
}
static void spoil_counts(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_COUNTS, TENON_I32, 2, (int64_t[]){3, 5});
}
static void spoil_count_lnz(struct conform_case *c)
{
    make_kind(c, TENON_ATTN_MERGE_BY_COUNT);
    conform_slot_set(c, TENON_ATTN_MERGE_COUNTS, TENON_I32, 2, (int64_t[]){3, 5});
    conform_slot_set(c, TENON_ATTN_MERGE_LNZ, TENON_F32, 1, (int64_t[]){5});
}
static void spoil_lnz_parts(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_LNZ_PARTS, TENON_F32, 2, (int64_t[]){3, 4});
}
static void spoil_lnz(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_LNZ, TENON_F32, 2, (int64_t[]){3, 5});
}
static void spoil_sink(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_SINK, TENON_F32, 1, (int64_t[]){7});
}
static void spoil_rows(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_O, TENON_F32, 2, (int64_t[]){4, 7});
}
static void spoil_v(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_O, TENON_F32, 2, (int64_t[]){5, 8});
}
static void spoil_fold(struct conform_case *c)
{
    c->slot[TENON_ATTN_MERGE_O_PARTS].tensor.stride[0] += 3;
}
static void spoil_gap(struct conform_case *c)
{
    c->slot[TENON_ATTN_MERGE_LNZ_PARTS].tensor.stride[0] += 3;
}
static void spoil_sink_gap(struct conform_case *c)
{
    c->slot[TENON_ATTN_MERGE_SINK].tensor.stride[0] = 2;
}
static void spoil_parts(struct conform_case *c)
{
    c->slot[TENON_ATTN_MERGE_O_PARTS].tensor.dim[0] = c->slot[TENON_ATTN_MERGE_LNZ_PARTS].tensor.dim[0] = 4097;
}
static void spoil_heads(struct conform_case *c)
{
    conform_slot_set(c, TENON_ATTN_MERGE_O_PARTS, TENON_F32, 2, (int64_t[]){3, 7});
    conform_slot_set(c, TENON_ATTN_MERGE_LNZ_PARTS, TENON_F32, 1, (int64_t[]){3});
    conform_slot_set(c, TENON_ATTN_MERGE_O, TENON_F32, 1, (int64_t[]){7});
    drop(c, TENON_ATTN_MERGE_LNZ);
}
static void spoil_wide(struct conform_case *c)
{
    struct tenon_tensor *o = &c->slot[TENON_ATTN_MERGE_O_PARTS].tensor, *y = &c->slot[TENON_ATTN_MERGE_O].tensor;
    o->dim[2] = o->stride[1] = y->dim[1] = y->stride[0] = INT64_C(1) << 31;
    o->stride[0] = 5 * o->stride[1];
}

const struct conform_hostile tenon__attn_merge_suite_hostile[ATTN_MERGE_HOSTILE] = {
    {"kind lnz without lnz_parts", TENON_E_ARG, spoil_no_lnz},
    {"kind count without counts", TENON_E_ARG, spoil_no_counts},
    {"kind sum with lnz_parts", TENON_E_ARG, spoil_sum_lnz},
    {"kind sum with a sink", TENON_E_ARG, spoil_sum_sink},
    {"kind lnz with counts", TENON_E_ARG, spoil_counts},
    {"kind count with lnz", TENON_E_ARG, spoil_count_lnz},
    {"lnz_parts of another number of rows", TENON_E_SHAPE, spoil_lnz_parts},
    {"lnz of every part", TENON_E_SHAPE, spoil_lnz},
    {"a sink of another number of heads", TENON_E_SHAPE, spoil_sink},
    {"a sink without heads", TENON_E_SHAPE, spoil_heads},
    {"o of another number of rows", TENON_E_SHAPE, spoil_rows},
    {"o of another width", TENON_E_SHAPE, spoil_v},
    {"4097 parts", TENON_E_SHAPE, spoil_parts},
    {"2^31 columns", TENON_E_SHAPE, spoil_wide},
    {"o_parts whose axes do not fold", TENON_E_UNSUPPORTED, spoil_fold},
    {"lnz_parts with gaps", TENON_E_UNSUPPORTED, spoil_gap},
    {"a sink with gaps", TENON_E_UNSUPPORTED, spoil_sink_gap},
};

/* ---- properties ---- */

static double element(const struct conform_slot *slot, int64_t index)
{
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* Parts, rows from `row` on (all, or one) and columns from `col` on, contiguous; part p comes from part from[p], -1: an
 * empty one. */
struct cut {
    int64_t parts, row, rows, col, v;
    const int64_t *from;
};

static double taken(const struct conform_case *base, uint32_t i, const struct cut *cut, int64_t e)
{
    const int wide = i == TENON_ATTN_MERGE_O_PARTS;
    const int64_t v = wide ? cut->v : 1, all = wide ? tenon__attn_merge_suite_v(base) : 1;
    const int64_t part = cut->from ? cut->from[e / v / cut->rows] : e / v / cut->rows;
    const int64_t row = cut->row + e / v % cut->rows;
    if (i == TENON_ATTN_MERGE_SINK)
        return element(&base->slot[i], (cut->row + e) % tenon__attn_merge_suite_heads(base));
    if (part < 0)
        return i == TENON_ATTN_MERGE_COUNTS      ? 0
               : i == TENON_ATTN_MERGE_LNZ_PARTS ? -(double)conform_bits_float(0x7f800000)
                                                 : (double)conform_bits_float(0x7fc00000);
    return element(&base->slot[i], (part * tenon__attn_merge_suite_rows(base) + row) * all +
                                       (wide ? cut->col + e % v : 0));
}

static int take(const struct conform_case *base, struct conform_case *derived, const struct cut *cut)
{
    const int64_t heads = cut->rows == 1 ? 1 : tenon__attn_merge_suite_heads(base);
    const int64_t dim[4] = {cut->parts, cut->rows / heads, heads, cut->v};
    if (cut->rows == 0)
        return 0;
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        const int out = i >= TENON_ATTN_MERGE_O, wide = i == TENON_ATTN_MERGE_O_PARTS || i == TENON_ATTN_MERGE_O;
        derived->slot[i].data = NULL;
        if (!base->slot[i].tensor.dtype)
            continue;
        if (i == TENON_ATTN_MERGE_SINK)
            conform_slot_set(derived, i, TENON_F32, 1, &heads);
        else
            conform_slot_set(derived, i, base->slot[i].tensor.dtype, 3u - (uint32_t)out + (uint32_t)wide, dim + out);
    }
    if (conform_case_alloc(derived))
        return 0;
    for (uint32_t i = 0; i < TENON_ATTN_MERGE_O; i++)
        for (int64_t e = 0; base->slot[i].tensor.dtype && e < tenon_tensor_count(&derived->slot[i].tensor); e++)
            conform_set(conform_first(&derived->slot[i]), base->slot[i].tensor.dtype, e, taken(base, i, cut, e));
    return 1;
}

/* The outputs of the derived case are those of the base from there on, bit for bit. */
static int compare(const struct conform_case *base, const struct conform_case *derived, int64_t row, int64_t col,
                   struct tenon_why *why)
{
    for (uint32_t i = TENON_ATTN_MERGE_O; i < base->n; i++) {
        const struct conform_slot *slot = &derived->slot[i];
        const int wide = i == TENON_ATTN_MERGE_O;
        const int64_t v = wide ? tenon__attn_merge_suite_v(derived) : 1;
        const int64_t all = wide ? tenon__attn_merge_suite_v(base) : 1;
        const int64_t count = slot->tensor.dtype ? tenon_tensor_count(&slot->tensor) : 0;
        for (int64_t e = 0; e < count; e++) {
            const int64_t at = (row + e / v) * all + (wide ? col + e % v : 0);
            const double y = element(slot, e), x = element(&base->slot[i], at);
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
    return (int64_t)conform_below(conform_key(base, 200), 0, (uint64_t)tenon__attn_merge_suite_rows(base));
}

static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    return tenon__attn_merge_suite_rows(base) >= 2 &&
           take(base, derived,
                &(struct cut){tenon__attn_merge_suite_parts(base), row_of(base), 1, 0, tenon__attn_merge_suite_v(base),
                              NULL});
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return compare(base, derived, row_of(base), 0, why);
}

static int derive_columns(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t v = tenon__attn_merge_suite_v(base);
    return v >= 2 && take(base, derived,
                          &(struct cut){tenon__attn_merge_suite_parts(base), 0, tenon__attn_merge_suite_rows(base),
                                        v / 3, v - v / 3, NULL});
}

static int check_columns(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return compare(base, derived, 0, tenon__attn_merge_suite_v(base) / 3, why);
}

static int check_whole(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return compare(base, derived, 0, 0, why);
}

static int derive_parts(const struct conform_case *base, struct conform_case *derived, int64_t parts,
                        const int64_t *from)
{
    return take(base, derived, &(struct cut){parts, 0, tenon__attn_merge_suite_rows(base), 0,
                                             tenon__attn_merge_suite_v(base), from});
}

/* Empty parts before, between and after change no bit. */
static int derive_empty(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_attn_merge_params *params = (const void *)base->params;
    int64_t parts = tenon__attn_merge_suite_parts(base), from[300];
    if (parts > 100 || params->kind == TENON_ATTN_MERGE_BY_SUM)
        return 0;
    for (int64_t p = 0; p < 2 * parts + 1; p++)
        from[p] = p % 2 ? p / 2 : -1;
    return derive_parts(base, derived, 2 * parts + 1, from);
}

/* Parts in reverse: judged by the reference. */
static int derive_reverse(const struct conform_case *base, struct conform_case *derived)
{
    int64_t parts = tenon__attn_merge_suite_parts(base), from[100];
    if (parts > 100 || parts < 2)
        return 0;
    for (int64_t p = 0; p < parts; p++)
        from[p] = parts - 1 - p;
    return derive_parts(base, derived, parts, from);
}

/* A sink of -Inf changes no bit. */
static int derive_no_sink(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t heads = tenon__attn_merge_suite_heads(base);
    if (!base->slot[TENON_ATTN_MERGE_LNZ_PARTS].tensor.dtype || base->slot[TENON_ATTN_MERGE_SINK].tensor.dtype ||
        tenon__attn_merge_suite_rows(base) % heads ||
        !derive_parts(base, derived, tenon__attn_merge_suite_parts(base), NULL))
        return 0;
    conform_slot_set(derived, TENON_ATTN_MERGE_SINK, TENON_F32, 1,
                     &derived->slot[TENON_ATTN_MERGE_O_PARTS].tensor.dim[2]);
    if (conform_case_alloc(derived))
        return 0;
    for (int64_t h = 0; h < derived->slot[TENON_ATTN_MERGE_SINK].tensor.dim[0]; h++)
        conform_set(conform_first(&derived->slot[TENON_ATTN_MERGE_SINK]), TENON_F32, h,
                    -(double)conform_bits_float(0x7f800000));
    return 1;
}

const struct conform_property tenon__attn_merge_suite_properties[ATTN_MERGE_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"two thirds of the columns", derive_columns, check_columns},
    {"empty parts between the others", derive_empty, check_whole},
    {"parts in reverse", derive_reverse, NULL},
    {"a sink of -Inf", derive_no_sink, check_whole},
};
