/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge in f64, straight from the formulas of tenon/ops/softmax_merge.h, and the bound of each element. */
#include <math.h>
#include <tenon/ops/softmax_merge.h>
#include "../conform.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below */
#define DEEP  172.0    /* parts further below are skipped, give or take what delta rounds by */

struct row {
    const struct conform_case *c;
    double T, R, S;
    int64_t row, rows, parts;
    int nan, empty;
};

/* Neumaier's compensated sum, and that of the magnitudes. */
struct sum {
    double total, lost, size;
};
static void sum_add(struct sum *sum, double value)
{
    double t = sum->total + value;
    sum->lost += fabs(sum->total) >= fabs(value) ? sum->total - t + value : value - t + sum->total;
    sum->total = t;
    sum->size += fabs(value);
}
static double sum_value(const struct sum *sum)
{
    return isfinite(sum->total) ? sum->total + sum->lost : sum->total;
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static double side(const struct row *r, uint32_t i, int64_t p)
{
    return at(r->c, i, p * r->rows + r->row);
}

static int is_empty(const struct row *r, int64_t p)
{
    return side(r, TENON_SOFTMAX_MERGE_M, p) == -(double)INFINITY || side(r, TENON_SOFTMAX_MERGE_S, p) == 0;
}

static double delta_of(const struct row *r, int64_t p)
{
    return (side(r, TENON_SOFTMAX_MERGE_M, p) - r->R) * r->T;
}

static void find_top(struct row *r)
{
    r->R = -(double)INFINITY;
    r->nan = 0;
    r->empty = 1;
    for (int64_t p = 0; p < r->parts; p++) {
        double m = side(r, TENON_SOFTMAX_MERGE_M, p), s = side(r, TENON_SOFTMAX_MERGE_S, p);
        r->nan |= isnan(m) || m == (double)INFINITY || !(s >= 0) || isinf(s);
        if (is_empty(r, p))
            continue;
        r->empty = 0;
        if (m > r->R)
            r->R = m;
    }
    if (r->R == 0) /* -0 is 0 */
        r->R = 0;
}

/* Adds w * value for part p; `edge` gets what may be missing of it. */
static void add_part(const struct row *r, struct sum *sum, double *edge, int64_t p, double value, double w)
{
    double delta = delta_of(r, p);
    if (fabs(delta + DEEP) < 1e-3)
        *edge += isfinite(value) ? fabs(w * value) : (double)INFINITY;
    if (delta >= -DEEP)
        sum_add(sum, w * value);
}

static void put(struct conform_want *want, int64_t index, const struct row *r, double value, double bound)
{
    if (!want->want)
        return;
    want->want[index] = r->nan ? (double)NAN : value;
    want->bound[index] = r->nan || !isfinite(value) ? 0 : bound;
}

static void expect_state(struct row *r, struct conform_want *want)
{
    struct sum s = {0, 0, 0}, a = {0, 0, 0}, q = {0, 0, 0}, a_size = {0, 0, 0};
    double edge[3] = {0, 0, 0}, lse = -(double)INFINITY;
    for (int64_t p = 0; p < r->parts && !r->nan && !r->empty; p++) {
        if (is_empty(r, p))
            continue;
        double own = side(r, TENON_SOFTMAX_MERGE_S, p), delta = delta_of(r, p), w = exp(delta);
        add_part(r, &s, &edge[0], p, own, w);
        if (want[TENON_SOFTMAX_MERGE_OUT_A].want) {
            double value = side(r, TENON_SOFTMAX_MERGE_A, p);
            add_part(r, &a, &edge[1], p, value + own * delta, w);
            if (delta >= -DEEP)
                sum_add(&a_size, w * (fabs(value) + own * fabs(delta)));
        }
        if (want[TENON_SOFTMAX_MERGE_OUT_Q].want)
            add_part(r, &q, &edge[2], p, side(r, TENON_SOFTMAX_MERGE_Q, p), w * w);
    }
    r->S = sum_value(&s);
    if (!r->empty)
        lse = r->R * r->T + log(r->S);
    put(&want[TENON_SOFTMAX_MERGE_OUT_M], r->row, r, r->R, 0);
    put(&want[TENON_SOFTMAX_MERGE_OUT_S], r->row, r, r->S, 8 * U * r->S + edge[0] + FLOOR);
    put(&want[TENON_SOFTMAX_MERGE_OUT_A], r->row, r, sum_value(&a), 8 * U * a_size.size + edge[1] + FLOOR);
    put(&want[TENON_SOFTMAX_MERGE_OUT_Q], r->row, r, sum_value(&q), 8 * U * q.size + edge[2] + FLOOR);
    put(&want[TENON_SOFTMAX_MERGE_LSE], r->row, r, lse, U * (8 + 2 * fabs(lse) + fabs(r->R) * r->T) + FLOOR);
}

static void expect_o(const struct row *r, struct conform_want *want, int64_t dv, uint32_t dtype)
{
    const struct tenon_softmax_merge_params *params = (const void *)r->c->params;
    for (int64_t col = 0; col < dv; col++) {
        struct sum sum = {0, 0, 0};
        double edge = 0, bound;
        for (int64_t p = 0; p < r->parts && !r->nan && !r->empty; p++) {
            if (is_empty(r, p))
                continue;
            double o = at(r->c, TENON_SOFTMAX_MERGE_O, (p * r->rows + r->row) * dv + col);
            double w = exp(delta_of(r, p)) / r->S;
            add_part(r, &sum, &edge, p, o, params->o_normalised ? w * side(r, TENON_SOFTMAX_MERGE_S, p) : w);
        }
        bound = 8 * U * sum.size + edge + FLOOR;
        if (dtype != TENON_F32 && isfinite(sum.size))
            bound += conform_ulp(dtype, sum_value(&sum));
        put(want, r->row * dv + col, r, sum_value(&sum), bound);
    }
}

void tenon__conform_softmax_merge_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_softmax_merge_params *params = (const void *)c->params;
    const struct tenon_tensor *m = &c->slot[TENON_SOFTMAX_MERGE_M].tensor;
    const struct tenon_tensor *y = &c->slot[TENON_SOFTMAX_MERGE_OUT_O].tensor;
    struct row r = {.c = c, .T = (double)params->inv_temp, .parts = m->dim[0], .rows = 1};
    for (uint32_t i = 1; i < m->rank; i++)
        r.rows *= m->dim[i];
    want[TENON_SOFTMAX_MERGE_OUT_M].exact = 1;
    for (uint32_t i = TENON_SOFTMAX_MERGE_OUT_S; i < TENON_SOFTMAX_MERGE_N_TENSORS; i++)
        want[i].exact = c->mode == CONFORM_EXACT && i != TENON_SOFTMAX_MERGE_LSE;
    for (r.row = 0; r.row < r.rows; r.row++) {
        find_top(&r);
        expect_state(&r, want);
        if (y->dtype)
            expect_o(&r, &want[TENON_SOFTMAX_MERGE_OUT_O], y->dim[y->rank - 1], y->dtype);
    }
}
