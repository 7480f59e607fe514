/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: properties that tie two of its runs within rounding: codes and the floats that they stand for, halves of
 * the keys and all of them. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "attention_suite_maps.h"

#define A(NAME)   TENON_ATTENTION_##NAME
#define BIT(name) (1u << TENON_ATTENTION_##name)

/* ---- codes as the floats that they stand for ---- */

static void add_floats(struct maps *m, struct conform_case *d)
{
    struct tenon_attention_params *p = tenon__att_suite_params(d);
    p->quant_k = p->quant_v = 0;
    for (uint32_t i = A(K); i <= A(V); i++) {
        int64_t dim[4];
        memcpy(dim, m->a.c->slot[i].tensor.dim, sizeof(dim));
        dim[3] = i == A(V) ? m->a.v : m->a.d;
        conform_slot_set(d, i, TENON_F32, 4, dim);
    }
}

static double side(const struct conform_case *c, uint32_t tensor, int64_t index)
{
    const struct conform_slot *slot = &c->slot[tensor];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* Number x of row `row` of the codes. */
static float decode(const struct att *a, uint32_t i, int64_t row, int64_t hk, int64_t x, int64_t wide)
{
    const struct conform_case *c = a->c;
    const uint32_t kind = i == A(V) ? a->p->quant_v : a->p->quant_k, bits = i == A(V) ? a->p->v_bits : a->p->k_bits;
    const uint32_t pairs = i - A(K) + A(K_QUANT), each = 8 / bits;
    const uint32_t byte = (uint32_t)side(c, i, row * (wide / each) + x / each);
    const uint32_t code = byte >> x % each * bits & ((1u << bits) - 1);
    const struct tenon_tensor *t = &c->slot[pairs].tensor;
    const int64_t pair = t->rank == 3 ? hk * wide + x : row * t->dim[3] + x * t->dim[3] / wide;
    const float s = (float)side(c, pairs, pair * 2), z = (float)side(c, pairs, pair * 2 + 1);
    volatile float y; /* rounded after each operation */
    if (kind >= A(LUT_TOKEN)) {
        y = (float)side(c, i - A(K) + A(K_TABLE), code) * s;
        return y + z;
    }
    y = (float)code - z;
    return y * s;
}

int tenon__att_derive_floats(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    tenon__att_maps_open(&m, base);
    const uint32_t gone = BIT(K_QUANT) | BIT(V_QUANT) | BIT(K_TABLE) | BIT(V_TABLE);
    int good = (m.a.p->quant_k || m.a.p->quant_v) && base->slot[A(Q)].tensor.dtype == TENON_F32 &&
               tenon__att_build(&m, derived, gone, add_floats);
    for (uint32_t i = A(K); good && i <= A(V); i++) {
        const int64_t wide = i == A(V) ? m.a.v : m.a.d, rows = tenon_tensor_count(&derived->slot[i].tensor) / wide;
        const uint32_t quant = i == A(V) ? m.a.p->quant_v : m.a.p->quant_k;
        for (int64_t e = 0; e < rows * wide; e++) {
            const int64_t row = e / wide, hk = m.a.page ? row / m.a.page % m.a.hk : row % m.a.hk;
            conform_set(conform_first(&derived->slot[i]), TENON_F32, e,
                        quant ? (double)decode(&m.a, i, row, hk, e % wide, wide) : side(base, i, e));
        }
    }
    tenon__att_maps_close(&m);
    return good;
}

/* Within the rounding of o. */
int tenon__att_check_floats(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    const uint32_t dtype = base->slot[A(O)].tensor.dtype;
    for (int64_t e = 0; e < tenon_tensor_count(&base->slot[A(O)].tensor); e++) {
        const double x = side(base, A(O), e), y = side(derived, A(O), e);
        if (isnan(x) || isinf(x) ? isnan(x) == isnan(y) : fabs(x - y) <= conform_ulp(dtype, x))
            continue;
        return tenon_why_set(why, 1, "o[%lld] of codes is %.9g, of what they stand for %.9g", (long long)e, x, y);
    }
    return 0;
}

/* ---- two halves of the keys, merged by lnz ---- */

static void add_bounds(struct maps *m, struct conform_case *d)
{
    conform_slot_set(d, A(BOUNDS), TENON_I32, 3, (int64_t[]){2 * m->a.b, m->a.t, 2});
}

int tenon__att_derive_halves(const struct conform_case *base, struct conform_case *derived)
{
    struct maps m;
    tenon__att_maps_open(&m, base);
    int good = tenon__att_is(base, A(LNZ)) && !m.a.varlen && !tenon__att_is(base, A(BOUNDS)) &&
               !tenon__att_is(base, A(KPOS)) && !m.a.p->ring && (m.a.p->norm == A(SUM) || m.a.p->norm == A(COUNT)) &&
               m.a.p->norm_eps == 0 && m.a.b && !m.a.hg && base->own[0] != ATT_FILL_NAN &&
               base->own[0] != ATT_FILL_EXACT;
    const int axes[3] = {AXIS_B, AXIS_C, AXIS_N};
    for (int i = 0; good && i < 3; i++) {
        good = tenon__att_cut(&m, axes[i], 0, 2 * m.a.b);
        for (int64_t b = 0; good && b < 2 * m.a.b; b++)
            m.from[axes[i]][b] = b % m.a.b;
    }
    good = good && tenon__att_build(&m, derived, 0, add_bounds);
    const int64_t at = tenon__att_pick(base, 205, m.a.s + 1);
    for (int64_t i = 0; good && i < 2 * m.a.b * m.a.t; i++) {
        tenon__att_put(derived, A(BOUNDS), 2 * i, i < m.a.b * m.a.t ? INT_MIN : at);
        tenon__att_put(derived, A(BOUNDS), 2 * i + 1, i < m.a.b * m.a.t ? at : INT_MAX);
    }
    tenon__att_maps_close(&m);
    return good;
}

/* The bounds of a case's o and lnz, as its reference has them; want[O] NULL: out of memory. */
static void bounds_of(const struct conform_case *c, struct conform_want *want)
{
    memset(want, 0, sizeof(*want) * TENON_MAX_TENSORS);
    for (uint32_t i = A(O); i <= A(FLAGS); i++) {
        if (!tenon__att_is(c, i))
            continue;
        want[i].count = tenon_tensor_count(&c->slot[i].tensor);
        want[i].want = calloc((size_t)want[i].count * 2 + 2, sizeof(double));
        want[i].bound = want[i].want ? want[i].want + want[i].count + 1 : NULL;
    }
    if (want[A(O)].want && want[A(LNZ)].want)
        c->op->expect(c, want);
}

int tenon__att_check_halves(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why)
{
    struct conform_want one[TENON_MAX_TENSORS], two[TENON_MAX_TENSORS];
    const int64_t rows = tenon_tensor_count(&base->slot[A(LNZ)].tensor), wide = base->slot[A(O)].tensor.dim[3];
    int bad = 0;
    bounds_of(base, one);
    bounds_of(derived, two);
    for (int64_t row = 0; !bad && two[A(LNZ)].want && one[A(O)].want && row < rows; row++) {
        double a[2], m = -(double)INFINITY, Z = 0, off = 0;
        for (int64_t p = 0; p < 2; p++) {
            a[p] = side(derived, A(LNZ), p * rows + row);
            m = fmax(m, a[p]);
            off += two[A(LNZ)].bound[p * rows + row];
        }
        for (int64_t p = 0; p < 2; p++)
            Z += a[p] = m == -(double)INFINITY ? 0 : exp(a[p] - m);
        for (int64_t d = 0; !bad && d < wide; d++) {
            const int64_t e = row * wide + d;
            double o = 0, bound = one[A(O)].bound[e];
            for (int64_t p = 0; p < 2 && Z > 0; p++) {
                const double part = side(derived, A(O), p * rows * wide + e);
                o += a[p] / Z * part;
                bound += a[p] / Z * (two[A(O)].bound[p * rows * wide + e] + 2 * off * fabs(part));
            }
            bad = isfinite(bound) && !(fabs(o - side(base, A(O), e)) <= bound);
            if (bad)
                tenon_why_set(why, 1, "o[%lld] is %.9g, merged of two halves of the keys %.9g, must be within %.3g",
                              (long long)e, side(base, A(O), e), o, bound);
        }
    }
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++) {
        free(one[i].want);
        free(two[i].want);
    }
    return bad;
}
