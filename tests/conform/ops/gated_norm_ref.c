/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gated_norm in f64, straight from the formulas of tenon/ops/gated_norm.h, and what every step of an f32 evaluation may
 * be off, which is the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/gated_norm.h>
#include "../act_ref.h"

#define G(NAME) TENON_GATED_NORM_##NAME
#define U       ACT_REF_U
#define FLOOR   ACT_REF_FLOOR
#define BEYOND  0x1.fep127 /* what may leave f32 */
#define ANY     ((double)INFINITY)

/* A number and what it may be off. Infinities and NaN are exact. */
struct num {
    double v, e;
};

static struct num make(double v, double e)
{
    const struct num n = {v, !isfinite(v) ? isinf(e) ? ANY : 0 : fabs(v) > BEYOND || isnan(e) ? ANY : e};
    return n;
}

static struct num times(struct num a, struct num b)
{
    const double v = a.v * b.v;
    /* infinity times what may be 0 or of either sign */
    if ((isinf(a.v) && fabs(b.v) <= b.e) || (isinf(b.v) && fabs(a.v) <= a.e))
        return make(v, ANY);
    return make(v, a.e * fabs(b.v) + fabs(a.v) * b.e + a.e * b.e + U * fabs(v) + FLOOR);
}

static struct num plus(struct num a, struct num b)
{
    return make(a.v + b.v, a.e + b.e + U * fabs(a.v + b.v) + FLOOR);
}

/* ---- tensors ---- */

struct at {
    const struct conform_case *c;
    const struct tenon_gated_norm_params *p;
    int64_t row, cols, group;
};

static double raw(const struct at *at, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &at->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int given(const struct at *at, uint32_t i)
{
    return at->c->slot[i].tensor.dtype != 0;
}

static struct num element(const struct at *at, uint32_t i, int64_t col)
{
    return make(raw(at, i, at->row * at->cols + col), FLOOR);
}

static struct num weight(const struct at *at, uint32_t i, int64_t col)
{
    const int64_t n = at->c->slot[i].tensor.dim[0];
    return make(raw(at, i, n == at->cols ? col : col % at->group), FLOOR);
}

static struct num gate(const struct at *at, uint32_t i, int64_t col)
{
    const struct act_ref silu = {.kind = TENON_ACT_SILU};
    const double x = raw(at, i, at->row * at->cols + col);
    if (at->p->act == G(IDENTITY))
        return make(x, FLOOR);
    if (at->p->act == G(SILU)) {
        const double y = act_ref(&silu, x);
        return make(y, act_ref_error(&silu, x, y) + FLOOR * (isfinite(x) ? fabs(x) : 0));
    }
    const double y = act_ref_gate(&silu, x);
    return make(y, act_ref_gate_error(&silu, x, y));
}

/* ---- one group ---- */

static void normalise(const struct at *at, struct num *v, int64_t n)
{
    const int centred = at->p->norm == G(LAYER);
    const double share = at->p->norm == G(L2) ? 1 : 1 / (double)n;
    double mean = 0, size = 0, off = 0, squares = 0, missed = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        mean += v[i].v / (double)n;
        size += fabs(v[i].v) / (double)n;
        off += v[i].e / (double)n;
        largest = fmax(largest, fabs(v[i].v));
    }
    const int bad = !isfinite(size), any = isinf(off);
    for (int64_t i = 0; i < n && centred; i++) {
        v[i].v -= mean;
        v[i].e += off + U * size + 2 * U * fabs(v[i].v);
    }
    for (int64_t i = 0; i < n; i++) {
        const double d = v[i].v, e = v[i].e;
        squares += d * d * share;
        missed += (2 * fabs(d) * e + e * e + 6 * U * d * d + FLOOR) * share;
    }
    const double r = 1 / sqrt(squares + (double)at->p->eps), q = missed / (squares + (double)at->p->eps);
    for (int64_t i = 0; i < n; i++) {
        const double N = v[i].v * r;
        const double own = (1 + q) * v[i].e * r + fabs(N) * (q + 5 * U) + 2 * FLOOR * (1 + r * largest);
        v[i] = make(bad ? (double)NAN : N, any || !(q < 0.5) ? ANY : own);
        if (bad && !any)
            v[i].e = 0;
    }
}

static void affine(const struct at *at, struct num *v, int64_t c, int64_t n, uint32_t w, uint32_t bias)
{
    const struct num offset = {(double)at->p->weight_offset, 0};
    for (int64_t i = 0; i < n; i++) {
        struct num factor = given(at, w) ? weight(at, w, c + i) : (struct num){1, 0};
        if (given(at, w) && offset.v != 0)
            factor = plus(factor, offset);
        if (given(at, w))
            v[i] = times(v[i], factor);
        if (given(at, bias))
            v[i] = plus(v[i], weight(at, bias, c + i));
    }
}

static struct num joined(const struct at *at, struct num a, struct num b, int64_t col)
{
    if (!given(at, G(GATE)))
        return a;
    const struct num s = gate(at, G(GATE), col), own = times(s, a);
    if (at->p->combine == G(MUL))
        return own;
    const struct num other = at->p->combine == G(DUAL) ? gate(at, G(GATE_B), col) : make(1 - s.v, s.e + U);
    return plus(own, times(other, b));
}

/* Columns c to c + n of the row, a whole group, into z. b: room for as many. */
static void group_of(const struct at *at, int64_t c, int64_t n, struct num *z, struct num *b, struct conform_want *sum)
{
    const int two = at->p->combine != G(MUL), first = at->p->order == G(GATE_THEN_NORM);
    const uint32_t type = at->c->slot[G(SUM)].tensor.dtype;
    for (int64_t i = 0; i < n; i++) {
        const int64_t index = at->row * at->cols + c + i;
        z[i] = element(at, G(X), c + i);
        if (given(at, G(RESIDUAL)))
            z[i] = plus(z[i], element(at, G(RESIDUAL), c + i));
        if (given(at, G(SUM))) {
            sum->want[index] = z[i].v;
            sum->bound[index] = z[i].e + (type != TENON_F32 && isfinite(z[i].v) ? conform_ulp(type, z[i].v) : 0);
        }
        b[i] = two ? element(at, G(B), c + i) : (struct num){0, 0};
        if (two && at->p->act_b == G(TANH))
            b[i] = make(tanh(b[i].v), 16 * U * fabs(tanh(b[i].v)) + b[i].e);
        if (first)
            z[i] = joined(at, z[i], b[i], c + i);
    }
    if (at->p->norm != G(NONE))
        normalise(at, z, n);
    affine(at, z, c, n, G(WEIGHT), G(BIAS));
    if (first)
        return;
    if (at->p->norm_b && at->p->norm != G(NONE))
        normalise(at, b, n);
    if (at->p->norm_b)
        affine(at, b, c, n, G(WEIGHT_B), G(BIAS_B));
    for (int64_t i = 0; i < n; i++)
        z[i] = joined(at, z[i], b[i], c + i);
}

static void importance(const struct at *at, struct conform_want *want)
{
    double sum = 0, off = 0;
    for (int64_t i = 0; i < at->cols; i++) {
        const struct num s = gate(at, G(GATE), i);
        sum += s.v;
        off += s.e + 5 * U * fabs(s.v);
    }
    want->want[at->row] = at->cols ? sum / (double)at->cols : (double)NAN;
    want->bound[at->row] = isfinite(sum) && at->cols ? off / (double)at->cols + 2 * FLOOR * (double)at->cols : 0;
}

void tenon__conform_gated_norm_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_gated_norm_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[G(X)].tensor;
    const uint32_t type = c->slot[G(Y)].tensor.dtype;
    struct at at = {.c = c, .p = p, .cols = x->dim[x->rank - 1]};
    const int64_t count = tenon_tensor_count(x);
    at.group = p->group ? p->group : at.cols;
    struct num *z = calloc((size_t)at.group * 2 + 1, sizeof *z), *b = z + at.group;
    struct conform_want *y = &want[G(Y)];
    int64_t rows = 1;
    for (uint32_t axis = 0; axis + 1 < x->rank; axis++)
        rows *= x->dim[axis];
    y->exact = c->mode != CONFORM_ADVERSARIAL && p->norm == G(NONE) && p->act_b == G(PLAIN) &&
               (p->act == G(IDENTITY) || !given(&at, G(GATE)));
    want[G(SUM)].exact = c->mode != CONFORM_ADVERSARIAL;
    for (int64_t i = 0; i < count; i += at.group) {
        at.row = i / at.cols;
        group_of(&at, i % at.cols, at.group, z, b, &want[G(SUM)]);
        for (int64_t k = 0; k < at.group; k++) {
            y->want[i + k] = z[k].v;
            y->bound[i + k] = z[k].e;
            if (type != TENON_F32 && isfinite(z[k].v))
                y->bound[i + k] += conform_ulp(type, z[k].v);
        }
    }
    for (at.row = 0; given(&at, G(IMPORTANCE)) && at.row < rows; at.row++)
        importance(&at, &want[G(IMPORTANCE)]);
    free(z);
}
