/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk in 256 bits, written from tenon/ops/softmax_topk.h and not from softmax_topk_ref.c, which it checks. The
 * order is checked by counting what is better than an entry.
 *
 * What f64 may lose there, with u = 2^-53: d = (v - R) T rounds twice, so a weight exp(d) is off by u(2|d| + 4) of
 * itself; their compensated sum by the mean of that, and 4u; a quotient and a logarithm round once more. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/softmax_topk.h>
#include "../precise.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define TINY    0x1p-1000 /* f64's own underflow */
#define WEIGHTS 6144      /* columns in all */
#define SLOTS   12

struct row {
    const struct conform_case *c;
    const struct tenon_softmax_topk_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t row, cols, k, above;
    float *v;    /* -Inf where nothing is */
    double R, T, loss, selected_loss; /* of the sums, as shares */
    int nan;
    mpfr_t S, selected, t;
};

static int has(const struct row *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

static float side(const struct row *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return (float)conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static float wide(const struct row *r, uint32_t i, int64_t col)
{
    const struct tenon_tensor *x = &r->c->slot[TENON_SOFTMAX_TOPK_X].tensor, *t = &r->c->slot[i].tensor;
    return side(r, i, t->rank < x->rank ? col : r->row * r->cols + col);
}

static void read_row(struct row *r)
{
    const struct conform_noise noise = {r->p->seed, r->p->stream, r->p->sample};
    const float inf = conform_bits_float(0x7f800000);
    r->above = r->nan = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        float v = wide(r, TENON_SOFTMAX_TOPK_X, j);
        if (has(r, TENON_SOFTMAX_TOPK_BIAS))
            v = precise_fma_f32(v, r->p->scale, wide(r, TENON_SOFTMAX_TOPK_BIAS, j));
        else if (r->p->scale != 1.0f)
            v = v * r->p->scale;
        if (r->p->noise) {
            float drawn = has(r, TENON_SOFTMAX_TOPK_NOISE)
                              ? wide(r, TENON_SOFTMAX_TOPK_NOISE, j)
                              : conform_noise_gumbel(&noise, (uint32_t)r->row, (uint32_t)j);
            drawn *= r->p->noise_amp;
            v += drawn;
        }
        if (has(r, TENON_SOFTMAX_TOPK_VALID_LEN) && !(j < (int64_t)side(r, TENON_SOFTMAX_TOPK_VALID_LEN, r->row)))
            v = -inf;
        if (has(r, TENON_SOFTMAX_TOPK_MASK) && wide(r, TENON_SOFTMAX_TOPK_MASK, j) == 0)
            v = -inf;
        r->v[j] = v;
        r->above += v > -inf;
        r->nan |= v != v || v == inf;
    }
}

/* t = exp((v - R) T); d. */
static double weigh(struct row *r, double v)
{
    mpfr_set_d(r->t, v, RND);
    mpfr_sub_d(r->t, r->t, r->R, RND);
    mpfr_mul_d(r->t, r->t, r->T, RND);
    double d = mpfr_get_d(r->t, RND);
    mpfr_exp(r->t, r->t, RND);
    return d;
}

static void check_exactly(struct row *r, uint32_t tensor, int64_t element, double value)
{
    mpfr_set_d(r->t, value, RND);
    precise_compare(r->precise, r->c, r->want, tensor, element, r->t, 0);
}

/* How many entries come before column `col`. */
static int64_t rank_of(const struct row *r, int64_t col)
{
    const float own = r->v[col];
    int64_t before = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        const float v = r->v[j];
        if (v == -conform_bits_float(0x7f800000) || j == col)
            continue;
        before += own != own ? v == v || j < col : v > own || (v == own && j < col);
    }
    return before;
}

static void sum_row(struct row *r)
{
    double share = 0, selected = 0;
    int64_t j;
    mpfr_set_zero(r->S, 1);
    mpfr_set_zero(r->selected, 1);
    for (j = 0; j < r->cols; j++) {
        if (!(r->v[j] > -conform_bits_float(0x7f800000)))
            continue;
        double d = weigh(r, (double)r->v[j]), part = mpfr_get_d(r->t, RND) * (2 * fabs(d) + 8);
        mpfr_add(r->S, r->S, r->t, RND);
        share += part;
        if (rank_of(r, j) >= r->k)
            continue;
        mpfr_add(r->selected, r->selected, r->t, RND);
        selected += part;
    }
    if (has(r, TENON_SOFTMAX_TOPK_SINK)) {
        double sink = (double)side(r, TENON_SOFTMAX_TOPK_SINK,
                                   r->c->slot[TENON_SOFTMAX_TOPK_SINK].tensor.dim[0] == 1 ? 0 : r->row);
        if (!isinf(sink)) {
            double d = weigh(r, sink), part = mpfr_get_d(r->t, RND) * (2 * fabs(d) + 8);
            mpfr_add(r->S, r->S, r->t, RND);
            mpfr_add(r->selected, r->selected, r->t, RND);
            share += part;
            selected += part;
        }
    }
    r->loss = U * share / mpfr_get_d(r->S, RND);
    r->selected_loss = U * selected / mpfr_get_d(r->selected, RND);
}

static void check_slot(struct row *r, int64_t i)
{
    const int64_t at = r->row * r->k + i;
    const struct conform_want *idx = &r->want[TENON_SOFTMAX_TOPK_IDX], *val = &r->want[TENON_SOFTMAX_TOPK_VAL];
    int64_t col = -1;
    for (int64_t j = 0; j < r->cols && col < 0; j++)
        if (!(r->v[j] == -conform_bits_float(0x7f800000)) && rank_of(r, j) == i)
            col = j;
    if (idx->want)
        check_exactly(r, TENON_SOFTMAX_TOPK_IDX, at, (double)col);
    if (!val->want)
        return;
    if (r->nan || col < 0 || r->p->norm == TENON_SOFTMAX_TOPK_RAW) {
        const int logs = r->p->norm == TENON_SOFTMAX_TOPK_LOG || r->p->norm == TENON_SOFTMAX_TOPK_RAW;
        check_exactly(r, TENON_SOFTMAX_TOPK_VAL, at,
                      r->nan     ? (double)NAN
                      : col >= 0 ? (double)r->v[col]
                      : logs     ? -(double)conform_bits_float(0x7f800000)
                                 : 0);
        return;
    }
    double d = weigh(r, (double)r->v[col]);
    if (r->p->norm == TENON_SOFTMAX_TOPK_LOG) {
        mpfr_t d_exact; /* the weight itself may be below what mpfr has */
        mpfr_init2(d_exact, PRECISE_BITS);
        mpfr_set_d(d_exact, (double)r->v[col], RND);
        mpfr_sub_d(d_exact, d_exact, r->R, RND);
        mpfr_mul_d(d_exact, d_exact, r->T, RND);
        mpfr_log(r->t, r->S, RND);
        mpfr_sub(r->t, d_exact, r->t, RND);
        mpfr_clear(d_exact);
        precise_compare(r->precise, r->c, r->want, TENON_SOFTMAX_TOPK_VAL, at, r->t,
                        r->loss + U * (3 * fabs(d) + 4 * fabs(mpfr_get_d(r->t, RND)) + 4));
        return;
    }
    const int full = r->p->norm == TENON_SOFTMAX_TOPK_FULL;
    mpfr_div(r->t, r->t, full ? r->S : r->selected, RND);
    precise_compare(r->precise, r->c, r->want, TENON_SOFTMAX_TOPK_VAL, at, r->t,
                    mpfr_get_d(r->t, RND) * ((full ? r->loss : r->selected_loss) + U * (2 * fabs(d) + 8)) + TINY);
}

static void check_row(struct row *r)
{
    const float inf = conform_bits_float(0x7f800000);
    const int64_t n = r->k < SLOTS ? r->k : SLOTS, must = r->precise->element;
    const int slot = r->precise->tensor <= TENON_SOFTMAX_TOPK_IDX && must >= 0 && must / r->k == r->row;
    float scale = has(r, TENON_SOFTMAX_TOPK_ROW_SCALE) ? side(r, TENON_SOFTMAX_TOPK_ROW_SCALE, r->row) : 1.0f;
    float sink = -inf, top = -inf;
    read_row(r);
    if (has(r, TENON_SOFTMAX_TOPK_SINK))
        sink = side(r, TENON_SOFTMAX_TOPK_SINK, r->c->slot[TENON_SOFTMAX_TOPK_SINK].tensor.dim[0] == 1 ? 0 : r->row);
    r->nan |= !(scale >= 0 && scale < inf) || sink != sink || sink == inf;
    r->T = (double)(scale * r->p->inv_temp);
    for (int64_t j = 0; j < r->cols; j++)
        top = r->v[j] > top ? r->v[j] : top;
    r->R = (double)(sink > top ? sink : top);
    if (!r->nan && r->above)
        sum_row(r);
    if (r->want[TENON_SOFTMAX_TOPK_MAX].want)
        check_exactly(r, TENON_SOFTMAX_TOPK_MAX, r->row, r->nan ? (double)NAN : (double)top);
    if (r->want[TENON_SOFTMAX_TOPK_LSE].want && r->above && !r->nan) {
        mpfr_log(r->t, r->S, RND);
        double size = fabs(mpfr_get_d(r->t, RND)) + fabs(r->R * r->T);
        mpfr_t rt;
        mpfr_init2(rt, PRECISE_BITS);
        mpfr_set_d(rt, r->R, RND);
        mpfr_mul_d(rt, rt, r->T, RND);
        mpfr_add(r->t, r->t, rt, RND);
        mpfr_clear(rt);
        precise_compare(r->precise, r->c, r->want, TENON_SOFTMAX_TOPK_LSE, r->row, r->t, r->loss + 4 * U * size + TINY);
    }
    for (int64_t i = 0; i < n; i++)
        check_slot(r, precise_sample(r->c, i, n, r->k, slot ? must % r->k : -1));
}

int tenon__conform_softmax_topk_mpfr(const struct conform_case *c, const struct conform_want *want,
                                     struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_TOPK_X].tensor;
    struct row r = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise};
    int64_t rows = 1, n, must = precise->element;
    r.cols = x->dim[x->rank - 1];
    r.k = r.p->k;
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    if (precise->tensor <= TENON_SOFTMAX_TOPK_IDX && must >= 0)
        must /= r.k;
    if (r.cols > WEIGHTS) /* ranks cost the square */
        return 0;
    n = r.cols * 16 > WEIGHTS ? 1 : 8;
    n = rows < n ? rows : n;
    r.v = malloc(sizeof(*r.v) * (size_t)(r.cols + 1));
    mpfr_inits2(PRECISE_BITS, r.S, r.selected, r.t, (mpfr_ptr)0);
    for (int64_t i = 0; i < n && r.v; i++) {
        r.row = precise_sample(c, i, n, rows, must);
        check_row(&r);
    }
    mpfr_clears(r.S, r.selected, r.t, (mpfr_ptr)0);
    mpfr_free_cache();
    free(r.v);
    return 0;
}
