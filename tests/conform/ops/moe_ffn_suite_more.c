/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn: descriptors that only it knows to be wrong, and properties that tie two of its runs. */
#include <string.h>
#include "moe_ffn_suite.h"

/* ---- hostile descriptors; case 0 is 6 rows, E 3, D 7, F 5, Do 4, glu2, src, rw, biases, flags ---- */

#define SET(c, NAME, type, ...)                                                                                        \
    conform_slot_set(c, TENON_MOE_FFN_##NAME, type, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                \
                     (int64_t[]){__VA_ARGS__})
#define REMOVE(c, NAME) memset(&(c)->slot[TENON_MOE_FFN_##NAME].tensor, 0, sizeof(struct tenon_tensor))
#define SPOIL(name, statement)                                                                                         \
    static void name(struct conform_case *c)                                                                           \
    {                                                                                                                  \
        statement;                                                                                                     \
    }

SPOIL(spoil_d, SET(c, WU, TENON_F32, 3, 5, 8))
SPOIL(spoil_e, SET(c, WU, TENON_F32, 4, 5, 7))
SPOIL(spoil_wg, SET(c, WG, TENON_F32, 3, 6, 7))
SPOIL(spoil_f, SET(c, WD, TENON_F32, 3, 4, 6))
SPOIL(spoil_out, SET(c, Z, TENON_F32, 6, 5))
SPOIL(spoil_rows, SET(c, Z, TENON_F32, 7, 4))
SPOIL(spoil_offsets, SET(c, OFFSETS, TENON_I32, 3))
SPOIL(spoil_rw, SET(c, RW, TENON_F32, 5))
SPOIL(spoil_bu, SET(c, BU, TENON_F32, 3, 4))
SPOIL(spoil_bd, SET(c, BD, TENON_F32, 3, 5))
SPOIL(spoil_flags, SET(c, FLAGS, TENON_U32, 3))
SPOIL(spoil_type, SET(c, WD, TENON_F16, 3, 4, 5))
SPOIL(spoil_scale, SET(c, WU_SCALE, TENON_F32, 3, 5))
SPOIL(spoil_z_type, SET(c, Z, TENON_F16, 6, 4))
SPOIL(spoil_foff, SET(c, FOFF, TENON_I32, 4))
SPOIL(spoil_gate, tenon__ffn_suite_params(c)->glu = TENON_MOE_FFN_GLU1;
      tenon__ffn_suite_params(c)->act = TENON_ACT_RELU)
SPOIL(spoil_no_wg, REMOVE(c, WG); REMOVE(c, BG))
SPOIL(spoil_no_rw, REMOVE(c, RW))

const struct conform_hostile tenon__ffn_suite_hostile[FFN_HOSTILE] = {
    {"wu of another D", TENON_E_SHAPE, spoil_d},
    {"wu of another E", TENON_E_SHAPE, spoil_e},
    {"wg that is not like wu", TENON_E_SHAPE, spoil_wg},
    {"wd of another F", TENON_E_SHAPE, spoil_f},
    {"z of another Do", TENON_E_SHAPE, spoil_out},
    {"z of another Mp", TENON_E_SHAPE, spoil_rows},
    {"offsets of E - 1", TENON_E_SHAPE, spoil_offsets},
    {"rw of another Mp", TENON_E_SHAPE, spoil_rw},
    {"bu of another F", TENON_E_SHAPE, spoil_bu},
    {"bd of another Do", TENON_E_SHAPE, spoil_bd},
    {"three flags", TENON_E_SHAPE, spoil_flags},
    {"wd of another type than wu", TENON_E_DTYPE, spoil_type},
    {"wu_scale without i8", TENON_E_DTYPE, spoil_scale},
    {"z of f16 with x of f32", TENON_E_DTYPE, spoil_z_type},
    {"foff with weights of rank 3", TENON_E_SHAPE, spoil_foff},
    {"glu1 with an act that has no gate", TENON_E_ARG, spoil_gate},
    {"a GLU without wg", TENON_E_ARG, spoil_no_wg},
    {"weight_at without rw", TENON_E_ARG, spoil_no_rw},
};

/* ---- properties ---- */

static int64_t rows_of(const struct conform_case *c)
{
    return c->slot[TENON_MOE_FFN_Z].tensor.dim[0];
}

/* The same tensors without storage, gaps and margins. */
static void begin(const struct conform_case *base, struct conform_case *derived)
{
    *derived = *base;
    for (uint32_t i = 0; i < base->n; i++) {
        derived->slot[i].data = NULL;
        if (base->slot[i].tensor.dtype)
            conform_slot_set(derived, i, base->slot[i].tensor.dtype, base->slot[i].tensor.rank,
                             base->slot[i].tensor.dim);
    }
}

/* Element `to` of a contiguous tensor becomes element `from` of the base's. */
static void copy(struct conform_case *derived, const struct conform_case *base, uint32_t i, int64_t to, int64_t from)
{
    const struct conform_slot *a = &derived->slot[i], *b = &base->slot[i];
    const int64_t size = TENON_DTYPE_SIZE(b->tensor.dtype);
    memcpy((char *)conform_first(a) + to * size,
           (const char *)conform_first(b) + conform_offset(&b->tensor, from) * size, (size_t)size);
}

/* Every input but those of `skip` (a bit each), element by element in order. */
static void copy_rest(struct conform_case *derived, const struct conform_case *base, uint32_t skip)
{
    for (uint32_t i = 0; i < base->n; i++) {
        if (!base->slot[i].tensor.dtype || base->slot[i].is_output || skip >> i & 1)
            continue;
        for (int64_t e = 0; e < tenon_tensor_count(&derived->slot[i].tensor); e++)
            copy(derived, base, i, e, e);
    }
}

static void copy_row(struct conform_case *derived, const struct conform_case *base, uint32_t i, int64_t to,
                     int64_t from)
{
    const struct tenon_tensor *t = &base->slot[i].tensor;
    const int64_t n = t->rank == 2 ? t->dim[1] : 1;
    for (int64_t k = 0; t->dtype && k < n; k++)
        copy(derived, base, i, to * n + k, from * n + k);
}

static void put(struct conform_case *c, uint32_t i, int64_t at, int64_t value)
{
    conform_set(conform_first(&c->slot[i]), TENON_I32, at, (double)value);
}

static void resize(struct conform_case *c, uint32_t i, int64_t rows)
{
    const struct tenon_tensor t = c->slot[i].tensor;
    if (t.dtype)
        conform_slot_set(c, i, t.dtype, t.rank, (int64_t[]){rows, t.dim[1]});
}

/* Rows [first, first + n) of the base's z are those of the derived one from `at` on, bit by bit. */
static int same_rows(const struct conform_case *base, const struct conform_case *derived, int64_t first, int64_t at,
                     int64_t n, struct tenon_why *why)
{
    const struct conform_slot *a = &base->slot[TENON_MOE_FFN_Z], *b = &derived->slot[TENON_MOE_FFN_Z];
    const int64_t out = a->tensor.dim[1];
    for (int64_t i = 0; i < n * out; i++) {
        const double x = conform_get(conform_first(a), a->tensor.dtype, conform_offset(&a->tensor, first * out + i));
        const double y = conform_get(conform_first(b), b->tensor.dtype, conform_offset(&b->tensor, at * out + i));
        if (x == y || (x != x && y != y))
            continue;
        return tenon_why_set(why, 1, "z[%lld, %lld] is %.9g, in the other run %.9g", (long long)(first + i / out),
                             (long long)(i % out), x, y);
    }
    return 0;
}

/* A row alone has the bits that it has among others: without them, at another position, without src. */
static int64_t row_alone(const struct conform_case *c, struct ffn_layout *l)
{
    if (!tenon__ffn_suite_layout(c, l))
        return -1;
    const int64_t start = l->rows ? (int64_t)conform_below(conform_key(c, 200), 0, (uint64_t)l->rows) : 0;
    for (int64_t i = 0; i < l->rows; i++)
        if (l->expert[(start + i) % l->rows] >= 0)
            return (start + i) % l->rows;
    return -1;
}

static int derive_row(const struct conform_case *base, struct conform_case *derived)
{
    const struct tenon_moe_ffn_params *p = (const void *)base->params;
    struct ffn_layout l;
    const int64_t row = row_alone(base, &l);
    if (row < 0 || l.rows < 2) {
        tenon__ffn_suite_layout_free(&l);
        return 0;
    }
    const int64_t from = l.has_src ? l.src[row] / (int64_t)p->top_k : row, expert = l.expert[row];
    tenon__ffn_suite_layout_free(&l);
    begin(base, derived);
    memset(&derived->slot[TENON_MOE_FFN_SRC].tensor, 0, sizeof(struct tenon_tensor));
    resize(derived, TENON_MOE_FFN_X, 1);
    resize(derived, TENON_MOE_FFN_Z, 1);
    if (base->slot[TENON_MOE_FFN_RW].tensor.dtype)
        SET(derived, RW, TENON_F32, 1);
    if (conform_case_alloc(derived))
        return 0;
    copy_rest(derived, base,
              1u << TENON_MOE_FFN_X | 1u << TENON_MOE_FFN_SRC | 1u << TENON_MOE_FFN_RW | 1u << TENON_MOE_FFN_OFFSETS);
    copy_row(derived, base, TENON_MOE_FFN_X, 0, from);
    copy_row(derived, base, TENON_MOE_FFN_RW, 0, row);
    for (int64_t e = 0; e < derived->slot[TENON_MOE_FFN_OFFSETS].tensor.dim[0]; e++)
        put(derived, TENON_MOE_FFN_OFFSETS, e, e > expert);
    return 1;
}

static int check_row(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct ffn_layout l;
    const int64_t row = row_alone(base, &l);
    tenon__ffn_suite_layout_free(&l);
    return same_rows(base, derived, row, 0, 1, why);
}

/* Rows of an expert in reverse order give the same rows, in reverse order. */
static int64_t reversed(const struct ffn_layout *l, int64_t row)
{
    int64_t begins = 0, ends = 0;
    for (int64_t e = 0; e <= l->e; e++) {
        const int64_t at = l->offsets[e] > l->rows ? l->rows : l->offsets[e];
        ends = at > begins ? at : begins;
        if (row < ends)
            return e == 0 ? row : begins + ends - 1 - row;
        begins = ends;
    }
    return row;
}

static int derive_reverse(const struct conform_case *base, struct conform_case *derived)
{
    const uint32_t rows_tensor = base->slot[TENON_MOE_FFN_SRC].tensor.dtype ? TENON_MOE_FFN_SRC : TENON_MOE_FFN_X;
    struct ffn_layout l;
    if (rows_of(base) < 2 || !tenon__ffn_suite_layout(base, &l))
        return 0;
    begin(base, derived);
    if (conform_case_alloc(derived)) {
        tenon__ffn_suite_layout_free(&l);
        return 0;
    }
    copy_rest(derived, base, 1u << rows_tensor | 1u << TENON_MOE_FFN_RW);
    for (int64_t row = 0; row < l.rows; row++) {
        copy_row(derived, base, rows_tensor, row, reversed(&l, row));
        copy_row(derived, base, TENON_MOE_FFN_RW, row, reversed(&l, row));
    }
    tenon__ffn_suite_layout_free(&l);
    return 1;
}

static int check_reverse(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct ffn_layout l;
    int bad = !tenon__ffn_suite_layout(base, &l);
    for (int64_t row = 0; !bad && row < l.rows; row++)
        bad = same_rows(base, derived, reversed(&l, row), row, 1, why);
    tenon__ffn_suite_layout_free(&l);
    return bad;
}

/* The same rows, gathered from an x in another order. */
static int derive_gather(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t rows = rows_of(base);
    if (base->slot[TENON_MOE_FFN_SRC].tensor.dtype || rows == 0)
        return 0;
    begin(base, derived);
    tenon__ffn_suite_params(derived)->top_k = 2;
    SET(derived, SRC, TENON_I32, rows);
    derived->slot[TENON_MOE_FFN_SRC].same_as = -1;
    if (conform_case_alloc(derived))
        return 0;
    copy_rest(derived, base, 1u << TENON_MOE_FFN_X | 1u << TENON_MOE_FFN_SRC);
    for (int64_t row = 0; row < rows; row++) {
        copy_row(derived, base, TENON_MOE_FFN_X, rows - 1 - row, row);
        put(derived, TENON_MOE_FFN_SRC, row, (rows - 1 - row) * 2 + (row & 1));
    }
    return 1;
}

static int check_all(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    return same_rows(base, derived, 0, 0, rows_of(base), why);
}

/* Rows without an expert, after the others: a larger Mp. */
static int derive_room(const struct conform_case *base, struct conform_case *derived)
{
    const int64_t rows = rows_of(base), more = rows + 21;
    if (base->own[1] == FFN_ROUTE_BROKEN)
        return 0;
    begin(base, derived);
    resize(derived, TENON_MOE_FFN_Z, more);
    if (base->slot[TENON_MOE_FFN_RW].tensor.dtype)
        SET(derived, RW, TENON_F32, more);
    if (base->slot[TENON_MOE_FFN_SRC].tensor.dtype)
        SET(derived, SRC, TENON_I32, more);
    else
        resize(derived, TENON_MOE_FFN_X, more);
    if (conform_case_alloc(derived))
        return 0;
    copy_rest(derived, base, 1u << TENON_MOE_FFN_X | 1u << TENON_MOE_FFN_SRC | 1u << TENON_MOE_FFN_RW);
    for (int64_t row = 0; row < base->slot[TENON_MOE_FFN_X].tensor.dim[0]; row++)
        copy_row(derived, base, TENON_MOE_FFN_X, row, row);
    for (int64_t row = 0; row < rows; row++) {
        copy_row(derived, base, TENON_MOE_FFN_SRC, row, row);
        copy_row(derived, base, TENON_MOE_FFN_RW, row, row);
    }
    return 1;
}

/* Experts of equal widths, their hidden units side by side. */
static int derive_widths(const struct conform_case *base, struct conform_case *derived)
{
    static const uint32_t lines[6] = {TENON_MOE_FFN_WG,       TENON_MOE_FFN_WU, TENON_MOE_FFN_WG_SCALE,
                                      TENON_MOE_FFN_WU_SCALE, TENON_MOE_FFN_BG, TENON_MOE_FFN_BU};
    const struct tenon_tensor *wd = &base->slot[TENON_MOE_FFN_WD].tensor;
    if (base->slot[TENON_MOE_FFN_FOFF].tensor.dtype || base->slot[TENON_MOE_FFN_WD_SCALE].tensor.rank == 3)
        return 0;
    const int64_t experts = wd->dim[0], out = wd->dim[1], f = wd->dim[2];
    begin(base, derived);
    for (int i = 0; i < 6; i++) {
        const struct tenon_tensor *t = &base->slot[lines[i]].tensor;
        if (t->dtype)
            conform_slot_set(derived, lines[i], t->dtype, t->rank - 1, (int64_t[]){experts * f, t->dim[2]});
    }
    SET(derived, WD, wd->dtype, out, experts * f);
    SET(derived, FOFF, TENON_I32, experts + 1);
    derived->slot[TENON_MOE_FFN_FOFF].same_as = -1;
    if (conform_case_alloc(derived))
        return 0;
    copy_rest(derived, base, 1u << TENON_MOE_FFN_WD | 1u << TENON_MOE_FFN_FOFF);
    for (int64_t i = 0; i < experts * out * f; i++)
        copy(derived, base, TENON_MOE_FFN_WD, i / f % out * experts * f + i / f / out * f + i % f, i);
    for (int64_t e = 0; e <= experts; e++)
        put(derived, TENON_MOE_FFN_FOFF, e, e * f);
    return 1;
}

const struct conform_property tenon__ffn_suite_properties[FFN_PROPERTIES] = {
    {"a row alone", derive_row, check_row},
    {"rows in reverse", derive_reverse, check_reverse},
    {"rows gathered", derive_gather, check_all},
    {"more rows without an expert", derive_room, check_all},
    {"hidden units side by side", derive_widths, check_all},
};
