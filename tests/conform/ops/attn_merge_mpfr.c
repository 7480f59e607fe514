/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attn_merge in 256 bits, written from tenon/ops/attn_merge.h and not from attn_merge_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: a difference of two normalisers rounds once, so e to it is off by
 * u(|difference| + 2) of itself; the sum of them is off by what they are and u a term, its rescaling to the sink by as
 * much again; a product and the compensated sum add 4u of the terms, the division and the logarithm one rounding each. */
#include <math.h>
#include <tenon/ops/attn_merge.h>
#include "../precise.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define TINY    0x1p-1000 /* f64's own underflow */
#define ROWS    24        /* sampled */
#define COLUMNS 16
#define INF     ((double)INFINITY)

struct row {
    const struct conform_case *c;
    const struct conform_want *want;
    struct conform_precise *precise;
    uint32_t kind;
    int64_t row, rows, parts, v, heads;
    double top, sink; /* -Inf without one */
    double off;       /* of the divisor, as a share */
    int nan, sink_nan, some;
    mpfr_t divisor, w, t, sum;
};

static double number(const struct row *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static double of_part(const struct row *r, int64_t p)
{
    if (r->kind == TENON_ATTN_MERGE_BY_SUM)
        return 1;
    return number(r, r->kind == TENON_ATTN_MERGE_BY_LNZ ? TENON_ATTN_MERGE_LNZ_PARTS : TENON_ATTN_MERGE_COUNTS,
                  p * r->rows + r->row);
}

static int takes_part(const struct row *r, int64_t p)
{
    return r->kind == TENON_ATTN_MERGE_BY_LNZ ? of_part(r, p) > -INF : of_part(r, p) > 0;
}

static void look(struct row *r)
{
    r->nan = r->sink_nan = 0;
    r->some = r->kind == TENON_ATTN_MERGE_BY_SUM;
    r->top = r->sink = -INF;
    for (int64_t p = 0; p < r->parts; p++) {
        const double x = of_part(r, p);
        r->nan |= r->kind == TENON_ATTN_MERGE_BY_LNZ && (isnan(x) || (isinf(x) && x > 0));
        r->some |= takes_part(r, p);
        r->top = r->kind == TENON_ATTN_MERGE_BY_LNZ ? fmax(r->top, x) : 0;
    }
    if (!r->c->slot[TENON_ATTN_MERGE_SINK].tensor.dtype || r->nan || !r->some)
        return;
    r->sink = number(r, TENON_ATTN_MERGE_SINK, r->row % r->heads);
    r->sink_nan = isnan(r->sink) || (isinf(r->sink) && r->sink > 0);
}

/* w = e^(l - base), what f64 may lose of it. */
static double raise(struct row *r, double l, double base)
{
    mpfr_set_d(r->w, l, RND);
    mpfr_sub_d(r->w, r->w, base, RND);
    const double difference = fabs(mpfr_get_d(r->w, RND));
    mpfr_exp(r->w, r->w, RND);
    return mpfr_get_d(r->w, RND) * U * (difference + 8);
}

/* divisor = the sum of what counts, relative to `base`. */
static void add_up(struct row *r, double base, int with_sink)
{
    double loss = 0;
    mpfr_set_zero(r->divisor, 1);
    for (int64_t p = 0; p < r->parts; p++) {
        if (!takes_part(r, p))
            continue;
        if (r->kind == TENON_ATTN_MERGE_BY_LNZ)
            /* in two steps there: to the largest, and from there to the sink */
            loss += raise(r, of_part(r, p), base) * (with_sink ? 3 : 1);
        else
            mpfr_set_d(r->w, of_part(r, p), RND);
        mpfr_add(r->divisor, r->divisor, r->w, RND);
    }
    if (with_sink) {
        loss += raise(r, r->sink, base);
        mpfr_add(r->divisor, r->divisor, r->w, RND);
    }
    r->off = loss / mpfr_get_d(r->divisor, RND) + (double)(r->parts + 4) * U;
}

static void check_lnz(struct row *r)
{
    mpfr_log(r->t, r->divisor, RND);
    const double size = fabs(mpfr_get_d(r->t, RND)) + fabs(r->top);
    mpfr_add_d(r->t, r->t, r->top, RND);
    precise_compare(r->precise, r->c, r->want, TENON_ATTN_MERGE_LNZ, r->row, r->t, r->off + 3 * U * size + TINY);
}

static void check_exactly(struct row *r, uint32_t tensor, int64_t element, double value)
{
    mpfr_set_d(r->t, value, RND);
    precise_compare(r->precise, r->c, r->want, tensor, element, r->t, 0);
}

/* Values that are not finite are the suite's business: IEEE's rules are those of f64. */
static void check_o(struct row *r, double base, int64_t col)
{
    double loss = 0;
    mpfr_set_zero(r->sum, 1);
    for (int64_t p = 0; p < r->parts; p++) {
        const double o = number(r, TENON_ATTN_MERGE_O_PARTS, (p * r->rows + r->row) * r->v + col);
        double slack = 4 * U;
        if (!takes_part(r, p))
            continue;
        if (r->kind == TENON_ATTN_MERGE_BY_LNZ) {
            if (base - of_part(r, p) > 172)
                continue;
            slack += raise(r, of_part(r, p), base) / mpfr_get_d(r->w, RND);
        } else {
            mpfr_set_d(r->w, of_part(r, p), RND);
        }
        if (!isfinite(o))
            return;
        mpfr_mul_d(r->t, r->w, o, RND);
        if (r->kind != TENON_ATTN_MERGE_BY_SUM) {
            mpfr_div(r->t, r->t, r->divisor, RND);
            slack += r->off;
        }
        loss += fabs(mpfr_get_d(r->t, RND)) * slack;
        mpfr_add(r->sum, r->sum, r->t, RND);
    }
    precise_compare(r->precise, r->c, r->want, TENON_ATTN_MERGE_O, r->row * r->v + col, r->sum, loss + TINY);
}

static void check_row(struct row *r)
{
    const int64_t n = r->v < COLUMNS ? r->v : COLUMNS;
    int64_t must = r->precise->element;
    must = r->precise->tensor == TENON_ATTN_MERGE_O && must >= 0 && must / r->v == r->row ? must % r->v : -1;
    look(r);
    const int lnz = r->want[TENON_ATTN_MERGE_LNZ].want != NULL, plain = !r->nan && r->some;
    if (lnz && !plain)
        check_exactly(r, TENON_ATTN_MERGE_LNZ, r->row, r->nan ? (double)NAN : -INF);
    if (lnz && plain) {
        add_up(r, r->top, 0);
        check_lnz(r);
    }
    const double base = r->sink > r->top ? r->sink : r->top;
    if (plain && !r->sink_nan && r->kind != TENON_ATTN_MERGE_BY_SUM)
        add_up(r, base, r->sink > -INF);
    for (int64_t i = 0; i < n; i++) {
        const int64_t col = precise_sample(r->c, i, n, r->v, must);
        if (!plain || r->sink_nan)
            check_exactly(r, TENON_ATTN_MERGE_O, r->row * r->v + col, r->nan || r->sink_nan ? (double)NAN : 0);
        else
            check_o(r, base, col);
    }
}

int tenon__conform_attn_merge_mpfr(const struct conform_case *c, const struct conform_want *want,
                                   struct conform_precise *precise)
{
    const struct tenon_attn_merge_params *params = (const void *)c->params;
    const struct tenon_tensor *o = &c->slot[TENON_ATTN_MERGE_O_PARTS].tensor;
    struct row r = {.c = c, .want = want, .precise = precise, .kind = params->kind, .parts = o->dim[0], .rows = 1};
    int64_t must = precise->element;
    r.v = o->dim[o->rank - 1];
    r.heads = o->rank > 2 ? o->dim[o->rank - 2] : 1;
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        r.rows *= o->dim[i];
    if (precise->tensor == TENON_ATTN_MERGE_O && must >= 0 && r.v)
        must /= r.v;
    const int64_t most = r.parts > 500 ? 2 : ROWS, n = r.rows < most ? r.rows : most;
    mpfr_inits2(PRECISE_BITS, r.divisor, r.w, r.t, r.sum, (mpfr_ptr)0);
    for (int64_t i = 0; i < n; i++) {
        r.row = precise_sample(c, i, n, r.rows, must);
        check_row(&r);
    }
    mpfr_clears(r.divisor, r.w, r.t, r.sum, (mpfr_ptr)0);
    mpfr_free_cache();
    return 0;
}
