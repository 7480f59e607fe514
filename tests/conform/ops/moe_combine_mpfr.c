/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_combine in 256 bits, written from tenon/ops/moe_combine.h and not from moe_combine_ref.c, which it checks. f64
 * loses u = 2^-53 of a product and of each partial sum: (n + 1) u of the n terms' magnitudes. */
#include <math.h>
#include <tenon/ops/moe_combine.h>
#include "../precise.h"

#define RND     MPFR_RNDN
#define SAMPLES 48

struct element {
    const struct conform_case *c;
    int64_t token, col, cols;
    mpfr_t sum, term;
    double size, terms;
    int special; /* IEEE's rules are those of f64: the suite's business */
};

static double number(const struct element *e, uint32_t i, int64_t row, int64_t col, int64_t width)
{
    const struct conform_slot *slot = &e->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, row * width) + col);
}

static void add(struct element *e, double factor, double value)
{
    e->special |= !isfinite(factor) || !isfinite(value);
    mpfr_set_d(e->term, factor, RND);
    mpfr_mul_d(e->term, e->term, value, RND);
    mpfr_add(e->sum, e->sum, e->term, RND);
    e->size += fabs(mpfr_get_d(e->term, RND));
    e->terms += 1;
}

static void evaluate(struct element *e)
{
    const struct conform_case *c = e->c;
    const struct tenon_moe_combine_params *p = (const void *)c->params;
    const struct tenon_tensor *pos = &c->slot[TENON_MOE_COMBINE_POS].tensor;
    const int64_t k = pos->dim[pos->rank - 1], all = tenon_tensor_count(&c->slot[TENON_MOE_COMBINE_ZP].tensor);
    mpfr_set_zero(e->sum, 1);
    e->size = e->terms = 0;
    e->special = 0;
    for (int64_t j = 0; j < k; j++) {
        const int64_t row = (int64_t)number(e, TENON_MOE_COMBINE_POS, e->token, j, k);
        const double w = number(e, TENON_MOE_COMBINE_W, e->token, j, k);
        if (row < 0 || row * e->cols >= all || (p->skip_zero && w == 0))
            continue;
        add(e, w, number(e, TENON_MOE_COMBINE_ZP, row, e->col, e->cols));
    }
    if (c->slot[TENON_MOE_COMBINE_SHARED].tensor.dtype)
        add(e, (double)p->shared_scale, number(e, TENON_MOE_COMBINE_SHARED, e->token, e->col, e->cols));
    if (c->slot[TENON_MOE_COMBINE_RESIDUAL].tensor.dtype)
        add(e, 1, number(e, TENON_MOE_COMBINE_RESIDUAL, e->token, e->col, e->cols));
}

int tenon__conform_moe_combine_mpfr(const struct conform_case *c, const struct conform_want *want,
                                    struct conform_precise *precise)
{
    const struct tenon_tensor *y = &c->slot[TENON_MOE_COMBINE_Y].tensor;
    struct element e = {.c = c, .cols = y->dim[y->rank - 1]};
    const int64_t count = tenon_tensor_count(y), n = count < SAMPLES ? count : SAMPLES;
    const int64_t must = precise->tensor == TENON_MOE_COMBINE_Y ? precise->element : -1;
    mpfr_inits2(PRECISE_BITS, e.sum, e.term, (mpfr_ptr)0);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = precise_sample(c, i, n, count, must);
        e.token = at / e.cols;
        e.col = at % e.cols;
        evaluate(&e);
        if (!e.special)
            precise_compare(precise, c, want, TENON_MOE_COMBINE_Y, at, e.sum,
                            (e.terms + 1) * PRECISE_U * e.size + 0x1p-1000);
    }
    mpfr_clears(e.sum, e.term, (mpfr_ptr)0);
    return 0;
}
