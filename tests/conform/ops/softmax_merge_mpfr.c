/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_merge in 256 bits, written from tenon/ops/softmax_merge.h and not from softmax_merge_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: delta rounds twice, so a weight is off by u(2|delta| + 3) of itself, its
 * square by twice that; a product and the compensated sum add 4u of the terms. The division by S adds what S is off by,
 * the logarithm the same and one rounding. */
#include <math.h>
#include <tenon/ops/softmax_merge.h>
#include "../precise.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define TINY    0x1p-1000 /* f64's own underflow */
#define ROWS    24        /* sampled */
#define COLUMNS 16

struct row {
    const struct conform_case *c;
    const struct tenon_softmax_merge_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t row, rows, parts, dv;
    double R, T, S_loss; /* of S, as a share */
    int nan, empty;
    mpfr_t S, w, t, sum;
};

static double number(const struct row *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static double of_part(const struct row *r, uint32_t i, int64_t p)
{
    return number(r, i, p * r->rows + r->row);
}

static void find_top(struct row *r)
{
    r->nan = 0;
    r->empty = 1;
    r->R = 0;
    for (int64_t p = 0; p < r->parts; p++) {
        double m = of_part(r, TENON_SOFTMAX_MERGE_M, p), s = of_part(r, TENON_SOFTMAX_MERGE_S, p);
        if (isnan(m) || isnan(s) || s < 0 || isinf(s) || (isinf(m) && m > 0))
            r->nan = 1;
        if (isinf(m) || !(s > 0))
            continue;
        r->R = r->empty || m > r->R ? m : r->R;
        r->empty = 0;
    }
}

/* w = the weight of part p. Whether it counts; delta of it. */
static int weigh(struct row *r, int64_t p, double *delta)
{
    double m = of_part(r, TENON_SOFTMAX_MERGE_M, p), s = of_part(r, TENON_SOFTMAX_MERGE_S, p);
    if (isinf(m) || s == 0)
        return 0;
    mpfr_set_d(r->w, m, RND);
    mpfr_sub_d(r->w, r->w, r->R, RND);
    mpfr_mul_d(r->w, r->w, r->T, RND);
    *delta = mpfr_get_d(r->w, RND);
    if (mpfr_cmp_si(r->w, -172) < 0)
        return 0;
    mpfr_exp(r->w, r->w, RND);
    return 1;
}

static double slack(double delta)
{
    return U * (2 * fabs(delta) + 8);
}

static void check_exactly(struct row *r, uint32_t tensor, int64_t element, double value)
{
    mpfr_set_d(r->t, value, RND);
    precise_compare(r->precise, r->c, r->want, tensor, element, r->t, 0);
}

/* out_s, lse: S stays. */
static void check_sum(struct row *r)
{
    double loss = 0, delta;
    mpfr_set_zero(r->S, 1);
    for (int64_t p = 0; p < r->parts; p++) {
        if (!weigh(r, p, &delta))
            continue;
        mpfr_mul_d(r->t, r->w, of_part(r, TENON_SOFTMAX_MERGE_S, p), RND);
        loss += mpfr_get_d(r->t, RND) * slack(delta);
        mpfr_add(r->S, r->S, r->t, RND);
    }
    r->S_loss = loss / mpfr_get_d(r->S, RND);
    if (r->want[TENON_SOFTMAX_MERGE_OUT_S].want)
        precise_compare(r->precise, r->c, r->want, TENON_SOFTMAX_MERGE_OUT_S, r->row, r->S, loss + TINY);
    if (!r->want[TENON_SOFTMAX_MERGE_LSE].want)
        return;
    mpfr_log(r->t, r->S, RND);
    double size = fabs(mpfr_get_d(r->t, RND)) + fabs(r->R) * r->T;
    mpfr_set_d(r->w, r->R, RND);
    mpfr_mul_d(r->w, r->w, r->T, RND);
    mpfr_add(r->t, r->t, r->w, RND);
    precise_compare(r->precise, r->c, r->want, TENON_SOFTMAX_MERGE_LSE, r->row, r->t, r->S_loss + 3 * U * size + TINY);
}

/* out_a and out_q. Values that are not finite are the suite's business: IEEE's rules are those of f64. */
static void check_moment(struct row *r, uint32_t out, uint32_t in)
{
    double loss = 0, delta;
    mpfr_set_zero(r->sum, 1);
    for (int64_t p = 0; p < r->parts; p++) {
        double value = of_part(r, in, p), own = of_part(r, TENON_SOFTMAX_MERGE_S, p), size = fabs(value);
        if (!weigh(r, p, &delta))
            continue;
        if (!isfinite(value))
            return;
        mpfr_set_d(r->t, value, RND);
        if (out == TENON_SOFTMAX_MERGE_OUT_A) {
            mpfr_t d;
            mpfr_init2(d, PRECISE_BITS);
            mpfr_log(d, r->w, RND); /* delta to 240 bits */
            mpfr_mul_d(d, d, own, RND);
            mpfr_add(r->t, r->t, d, RND);
            mpfr_clear(d);
            size += own * fabs(delta);
        } else {
            mpfr_mul(r->t, r->t, r->w, RND);
        }
        mpfr_mul(r->t, r->t, r->w, RND);
        mpfr_add(r->sum, r->sum, r->t, RND);
        size *= mpfr_get_d(r->w, RND);
        size *= out == TENON_SOFTMAX_MERGE_OUT_Q ? mpfr_get_d(r->w, RND) : 1;
        loss += size * 2 * slack(delta);
    }
    precise_compare(r->precise, r->c, r->want, out, r->row, r->sum, loss + TINY);
}

static void check_o(struct row *r, int64_t col)
{
    double loss = 0, delta;
    mpfr_set_zero(r->sum, 1);
    for (int64_t p = 0; p < r->parts; p++) {
        double o = number(r, TENON_SOFTMAX_MERGE_O, (p * r->rows + r->row) * r->dv + col);
        if (!weigh(r, p, &delta))
            continue;
        if (!isfinite(o))
            return;
        mpfr_mul_d(r->t, r->w, o, RND);
        if (r->p->o_normalised)
            mpfr_mul_d(r->t, r->t, of_part(r, TENON_SOFTMAX_MERGE_S, p), RND);
        mpfr_div(r->t, r->t, r->S, RND);
        loss += fabs(mpfr_get_d(r->t, RND)) * (slack(delta) + r->S_loss);
        mpfr_add(r->sum, r->sum, r->t, RND);
    }
    precise_compare(r->precise, r->c, r->want, TENON_SOFTMAX_MERGE_OUT_O, r->row * r->dv + col, r->sum, loss + TINY);
}

static void check_row(struct row *r)
{
    int64_t n = r->dv < COLUMNS ? r->dv : COLUMNS, must = r->precise->element;
    find_top(r);
    must = r->precise->tensor == TENON_SOFTMAX_MERGE_OUT_O && must >= 0 && must / r->dv == r->row ? must % r->dv : -1;
    if (r->nan || r->empty) {
        const double none[] = {-(double)INFINITY, 0, 0, 0, -(double)INFINITY};
        for (uint32_t i = 0; i < 5; i++)
            if (r->want[TENON_SOFTMAX_MERGE_OUT_M + i].want)
                check_exactly(r, TENON_SOFTMAX_MERGE_OUT_M + i, r->row, r->nan ? (double)NAN : none[i]);
        for (int64_t i = 0; i < n; i++)
            check_exactly(r, TENON_SOFTMAX_MERGE_OUT_O, r->row * r->dv + precise_sample(r->c, i, n, r->dv, must),
                          r->nan ? (double)NAN : 0);
        return;
    }
    if (r->want[TENON_SOFTMAX_MERGE_OUT_M].want)
        check_exactly(r, TENON_SOFTMAX_MERGE_OUT_M, r->row, r->R);
    check_sum(r);
    if (r->want[TENON_SOFTMAX_MERGE_OUT_A].want)
        check_moment(r, TENON_SOFTMAX_MERGE_OUT_A, TENON_SOFTMAX_MERGE_A);
    if (r->want[TENON_SOFTMAX_MERGE_OUT_Q].want)
        check_moment(r, TENON_SOFTMAX_MERGE_OUT_Q, TENON_SOFTMAX_MERGE_Q);
    for (int64_t i = 0; i < n; i++)
        check_o(r, precise_sample(r->c, i, n, r->dv, must));
}

int tenon__conform_softmax_merge_mpfr(const struct conform_case *c, const struct conform_want *want,
                                      struct conform_precise *precise)
{
    const struct tenon_tensor *m = &c->slot[TENON_SOFTMAX_MERGE_M].tensor;
    const struct tenon_tensor *y = &c->slot[TENON_SOFTMAX_MERGE_OUT_O].tensor;
    struct row r = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise, .parts = m->dim[0]};
    int64_t must = precise->element, n;
    r.rows = 1;
    for (uint32_t i = 1; i < m->rank; i++)
        r.rows *= m->dim[i];
    r.dv = y->dtype ? y->dim[y->rank - 1] : 0;
    r.T = (double)r.p->inv_temp;
    if (precise->tensor == TENON_SOFTMAX_MERGE_OUT_O && must >= 0 && r.dv)
        must /= r.dv;
    n = r.parts > 1000 ? 2 : ROWS;
    n = r.rows < n ? r.rows : n;
    mpfr_inits2(PRECISE_BITS, r.S, r.w, r.t, r.sum, (mpfr_ptr)0);
    for (int64_t i = 0; i < n; i++) {
        r.row = precise_sample(c, i, n, r.rows, must);
        check_row(&r);
    }
    mpfr_clears(r.S, r.w, r.t, r.sum, (mpfr_ptr)0);
    mpfr_free_cache();
    return 0;
}
