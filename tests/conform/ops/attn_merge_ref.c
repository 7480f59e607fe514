/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attn_merge in f64, straight from the formulas of tenon/ops/attn_merge.h, and the bound of each element. */
#include <math.h>
#include <tenon/ops/attn_merge.h>
#include "../conform.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below */
#define DEEP  172.0    /* parts further below are skipped, give or take what the difference rounds by */
#define INF   ((double)INFINITY)

struct row {
    const struct conform_case *c;
    uint32_t kind;
    int64_t row, rows, parts, heads;
    double top;     /* LNZ: the largest l */
    double base;    /* LNZ: the larger of it and the sink */
    double divisor; /* what the weighted sum is over */
    double sum;     /* LNZ: of e^(l - top) */
    int nan, sink_nan, empty;
};

static double element(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static double own(const struct row *r, uint32_t i, int64_t p)
{
    return element(r->c, i, p * r->rows + r->row);
}

static int is_empty(const struct row *r, int64_t p)
{
    if (r->kind == TENON_ATTN_MERGE_BY_COUNT)
        return own(r, TENON_ATTN_MERGE_COUNTS, p) <= 0;
    return r->kind == TENON_ATTN_MERGE_BY_LNZ && own(r, TENON_ATTN_MERGE_LNZ_PARTS, p) == -INF;
}

static void look_lnz(struct row *r)
{
    r->top = -INF;
    for (int64_t p = 0; p < r->parts; p++) {
        const double l = own(r, TENON_ATTN_MERGE_LNZ_PARTS, p);
        r->nan |= isnan(l) || l == INF;
        if (l > r->top)
            r->top = l;
    }
    r->empty = !r->nan && r->top == -INF;
    r->base = r->top;
    if (r->nan || r->empty)
        return;
    for (int64_t p = 0; p < r->parts; p++)
        if (!is_empty(r, p))
            r->sum += exp(own(r, TENON_ATTN_MERGE_LNZ_PARTS, p) - r->top);
    r->divisor = r->sum;
    if (!r->c->slot[TENON_ATTN_MERGE_SINK].tensor.dtype)
        return;
    const double sink = element(r->c, TENON_ATTN_MERGE_SINK, r->row % r->heads);
    r->sink_nan = isnan(sink) || sink == INF;
    if (r->sink_nan || sink == -INF)
        return;
    r->base = sink > r->top ? sink : r->top;
    r->divisor = r->sum * exp(r->top - r->base) + exp(sink - r->base);
}

static void look(struct row *r)
{
    r->nan = r->sink_nan = r->empty = 0;
    r->divisor = 1;
    r->sum = 0;
    if (r->kind == TENON_ATTN_MERGE_BY_LNZ) {
        look_lnz(r);
    } else if (r->kind == TENON_ATTN_MERGE_BY_COUNT) {
        r->divisor = 0;
        for (int64_t p = 0; p < r->parts; p++)
            r->divisor += is_empty(r, p) ? 0 : own(r, TENON_ATTN_MERGE_COUNTS, p);
        r->empty = r->divisor == 0;
    }
}

/* What part p counts; *below: how far it is under the one that counts most. */
static double weight_of(const struct row *r, int64_t p, double *below)
{
    *below = 0;
    if (r->kind == TENON_ATTN_MERGE_BY_SUM)
        return 1;
    if (r->kind == TENON_ATTN_MERGE_BY_COUNT)
        return own(r, TENON_ATTN_MERGE_COUNTS, p) / r->divisor;
    *below = r->base - own(r, TENON_ATTN_MERGE_LNZ_PARTS, p);
    return exp(-*below) / r->divisor;
}

static void expect_o(const struct row *r, struct conform_want *want, int64_t v, uint32_t dtype)
{
    for (int64_t col = 0; col < v; col++) {
        double total = 0, lost = 0, size = 0, edge = 0, below;
        for (int64_t p = 0; p < r->parts && !r->nan && !r->sink_nan && !r->empty; p++) {
            if (is_empty(r, p))
                continue;
            const double o = element(r->c, TENON_ATTN_MERGE_O_PARTS, (p * r->rows + r->row) * v + col);
            const double term = weight_of(r, p, &below) * o;
            if (fabs(below - DEEP) < 1e-3)
                edge += isfinite(term) ? fabs(term) : INF;
            if (below > DEEP)
                continue;
            const double t = total + term; /* Neumaier's compensated sum */
            lost += fabs(total) >= fabs(term) ? total - t + term : term - t + total;
            total = t;
            size += fabs(term);
        }
        const int64_t at = r->row * v + col;
        const double value = isfinite(total) ? total + lost : total;
        want->want[at] = r->nan || r->sink_nan ? (double)NAN : value;
        want->bound[at] = 8 * U * size + edge + FLOOR;
        if (dtype != TENON_F32 && isfinite(size))
            want->bound[at] += conform_ulp(dtype, value);
        if (!isfinite(want->want[at]))
            want->bound[at] = 0;
    }
}

void tenon__conform_attn_merge_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_attn_merge_params *params = (const void *)c->params;
    const struct tenon_tensor *o = &c->slot[TENON_ATTN_MERGE_O_PARTS].tensor;
    struct row r = {.c = c, .kind = params->kind, .parts = o->dim[0], .rows = 1};
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        r.rows *= o->dim[i];
    r.heads = o->rank > 2 ? o->dim[o->rank - 2] : 1;
    want[TENON_ATTN_MERGE_O].exact = c->mode == CONFORM_EXACT;
    for (r.row = 0; r.row < r.rows; r.row++) {
        look(&r);
        expect_o(&r, &want[TENON_ATTN_MERGE_O], o->dim[o->rank - 1], c->slot[TENON_ATTN_MERGE_O].tensor.dtype);
        struct conform_want *lnz = &want[TENON_ATTN_MERGE_LNZ];
        if (!lnz->want)
            continue;
        const double value = r.empty ? -INF : r.top + log(r.sum);
        lnz->want[r.row] = r.nan ? (double)NAN : value;
        lnz->bound[r.row] = r.nan || r.empty ? 0 : U * (8 + 2 * fabs(value) + fabs(r.top)) + FLOOR;
    }
}
