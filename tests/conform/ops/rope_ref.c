/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope in f64, straight from the formulas of tenon/ops/rope.h, and the bound of each element. */
#include <math.h>
#include <tenon/ops/rope.h>
#include "../conform.h"

#define U 0x1p-24

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

struct pair {
    const struct conform_case *c;
    const struct tenon_rope_params *p;
    int64_t half, i;
    double pos, cosine, sine, loss; /* loss: what both may be off by */
    int table;
};

static void set_pair(struct pair *r)
{
    const double amplitude = (double)r->p->amplitude;
    double f;
    if (r->table) {
        const int64_t index = ((int64_t)r->pos * r->half + r->i) * 2;
        r->cosine = amplitude * at(r->c, TENON_ROPE_TABLE, index);
        r->sine = amplitude * at(r->c, TENON_ROPE_TABLE, index + 1);
        return;
    }
    if (r->c->slot[TENON_ROPE_FREQS].tensor.dtype) {
        f = at(r->c, TENON_ROPE_FREQS, r->i);
        if (!(fabs(f) < 0x1p24))
            f = (double)NAN;
    } else {
        /* what the exponent is rounded by would be an error of the frequency, times its logarithm */
        const double q = (double)r->i / (double)r->half, lost = fma(-q, (double)r->half, (double)r->i) / (double)r->half;
        f = pow((double)r->p->base, -q) * (1 - lost * log((double)r->p->base)) / (double)r->p->scaling;
    }
    r->cosine = amplitude * cos(r->pos * f);
    r->sine = amplitude * sin(r->pos * f);
    r->loss = fabs(r->pos * f) * 0x1p-49 * amplitude;
}

/* Columns u and v of one head. */
static void put_pair(const struct pair *r, struct conform_want *y, int64_t u, int64_t v)
{
    const uint32_t dtype = r->c->slot[TENON_ROPE_X].tensor.dtype;
    const double a = at(r->c, TENON_ROPE_X, u), b = at(r->c, TENON_ROPE_X, v), amplitude = (double)r->p->amplitude;
    const int64_t column[2] = {u, v};
    y->want[u] = a * r->cosine - b * r->sine;
    y->want[v] = b * r->cosine + a * r->sine;
    const double turned[2] = {fabs(a * r->cosine) + fabs(b * r->sine), fabs(b * r->cosine) + fabs(a * r->sine)};
    for (int k = 0; k < 2; k++) {
        const double want = y->want[column[k]];
        double bound = r->table ? 3 * U * turned[k] : (5 * U * amplitude + r->loss) * (fabs(a) + fabs(b));
        bound += dtype == TENON_F16 ? 0x1p-25 : 0x1p-126;
        if (!isfinite(want)) {
            /* infinite times what may be 0 */
            const int either = (isinf(a) || isinf(b)) && (fabs(r->cosine) <= amplitude * 0x1p-28 + r->loss ||
                                                          fabs(r->sine) <= amplitude * 0x1p-28 + r->loss);
            y->bound[column[k]] = either ? (double)INFINITY : 0;
            continue;
        }
        if (dtype != TENON_F32)
            bound += 0.5 * conform_ulp(dtype, fabs(want) + bound);
        y->bound[column[k]] = bound;
        if (fabs(want) + bound > (dtype == TENON_F16 ? 65504.0 : 3.38e38)) /* or infinite */
            y->bound[column[k]] = (double)INFINITY;
    }
}

/* Whether D1 holds: an operand below this may make a product subnormal. */
static int all_normal(const struct conform_case *c)
{
    const struct tenon_tensor *x = &c->slot[TENON_ROPE_X].tensor;
    for (int64_t i = 0; i < tenon_tensor_count(x); i++) {
        const double value = fabs(at(c, TENON_ROPE_X, i));
        if (value != 0 && !(value > 0x1p-80))
            return 0;
    }
    for (int64_t i = 0; c->slot[TENON_ROPE_TABLE].tensor.dtype && i < tenon_tensor_count(&c->slot[TENON_ROPE_TABLE].tensor); i++) {
        const double value = fabs(at(c, TENON_ROPE_TABLE, i));
        if (value != 0 && !(value > 0x1p-40))
            return 0;
    }
    return 1;
}

void tenon__conform_rope_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_rope_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[TENON_ROPE_X].tensor, *pos = &c->slot[TENON_ROPE_POS].tensor;
    const struct tenon_tensor *table = &c->slot[TENON_ROPE_TABLE].tensor;
    const int64_t tokens = x->dim[1], heads = x->dim[2], cols = x->dim[3];
    const int64_t half = (p->n_rot ? p->n_rot : cols) / 2;
    struct conform_want *y = &want[TENON_ROPE_Y], *flags = &want[TENON_ROPE_FLAGS];
    y->exact = all_normal(c);
    flags->exact = 1;
    for (int64_t row = 0; row < x->dim[0] * tokens; row++) {
        const int64_t entry = pos->dim[0] == 1 ? row % tokens : row;
        struct pair r = {.c = c, .p = p, .half = half, .pos = at(c, TENON_ROPE_POS, entry), .table = table->dtype != 0};
        const int there = !r.table || (r.pos >= 0 && r.pos < (double)table->dim[0]);
        if (!there) {
            if (flags->want && r.pos != -1 && entry == row)
                flags->want[3] += 1;
            continue;
        }
        for (r.i = 0; r.i < half; r.i++) {
            set_pair(&r);
            for (int64_t h = 0; h < heads; h++) {
                const int64_t first = (row * heads + h) * cols;
                const int pairs = p->style == TENON_ROPE_INTERLEAVED;
                put_pair(&r, y, first + (pairs ? 2 * r.i : r.i), first + (pairs ? 2 * r.i + 1 : r.i + half));
            }
        }
        for (int64_t h = 0; h < heads; h++)
            for (int64_t col = 2 * half; col < cols; col++)
                y->want[(row * heads + h) * cols + col] = at(c, TENON_ROPE_X, (row * heads + h) * cols + col);
    }
}
