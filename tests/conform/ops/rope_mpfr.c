/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * rope in 256 bits, written from tenon/ops/rope.h and not from rope_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: a frequency is off by 5u of itself (the power by two), the angle by one
 * rounding more, which its cosine and sine are off by, and by u each; each rotation rounds three times. */
#include <math.h>
#include <tenon/ops/rope.h>
#include "../precise.h"

#define RND     MPFR_RNDN
#define U       PRECISE_U
#define SAMPLES 48

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* cosine and sine of pair i at position p; how far f64 may be off, or NaN where they are not finite. */
static double make_angle(const struct conform_case *c, int64_t p, int64_t i, int64_t half, mpfr_t cosine, mpfr_t sine)
{
    const struct tenon_rope_params *params = (const void *)c->params;
    const double amplitude = (double)params->amplitude;
    double loss = 0;
    if (c->slot[TENON_ROPE_TABLE].tensor.dtype) {
        mpfr_set_d(cosine, number(c, TENON_ROPE_TABLE, (p * half + i) * 2), RND);
        mpfr_set_d(sine, number(c, TENON_ROPE_TABLE, (p * half + i) * 2 + 1), RND);
        loss = U * (fabs(mpfr_get_d(cosine, RND)) + fabs(mpfr_get_d(sine, RND)));
    } else {
        mpfr_t f;
        mpfr_init2(f, PRECISE_BITS);
        if (c->slot[TENON_ROPE_FREQS].tensor.dtype) {
            mpfr_set_d(f, number(c, TENON_ROPE_FREQS, i), RND);
        } else {
            mpfr_set_d(f, (double)params->base, RND);
            mpfr_log(f, f, RND);
            mpfr_mul_si(f, f, -(long)i, RND);
            mpfr_div_si(f, f, (long)half, RND);
            loss = 5 * U;
            mpfr_exp(f, f, RND);
            mpfr_div_d(f, f, (double)params->scaling, RND);
        }
        if (!mpfr_number_p(f) || fabs(mpfr_get_d(f, RND)) >= 0x1p24) {
            mpfr_set_nan(cosine);
            mpfr_set_nan(sine);
        } else {
            mpfr_mul_si(f, f, (long)p, RND);
            loss = (loss + U) * fabs(mpfr_get_d(f, RND)) + 2 * U;
            mpfr_sin_cos(sine, cosine, f, RND);
        }
        mpfr_clear(f);
    }
    mpfr_mul_d(cosine, cosine, amplitude, RND);
    mpfr_mul_d(sine, sine, amplitude, RND);
    return loss * amplitude + 0x1p-1000;
}

/* What column `col` is a pair with, its i, and whether it is the first of the two. */
static int64_t partner(const struct tenon_rope_params *p, int64_t half, int64_t col, int64_t *i, int *first)
{
    if (p->style == TENON_ROPE_INTERLEAVED) {
        *i = col >> 1;
        *first = (col & 1) == 0;
        return col ^ 1;
    }
    *first = col < half;
    *i = *first ? col : col - half;
    return *first ? col + half : col - half;
}

static void check_element(const struct conform_case *c, const struct conform_want *want,
                          struct conform_precise *precise, int64_t element, mpfr_t t[3])
{
    const struct tenon_rope_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[TENON_ROPE_X].tensor, *pos = &c->slot[TENON_ROPE_POS].tensor;
    const int64_t cols = x->dim[3], half = p->n_rot ? p->n_rot / 2 : cols / 2, col = element % cols;
    const int64_t row = element / cols / x->dim[2], entry = pos->dim[0] > 1 ? row : row % x->dim[1];
    const int64_t at = (int64_t)number(c, TENON_ROPE_POS, entry);
    const double own = number(c, TENON_ROPE_X, element);
    int64_t i;
    int first;
    if (c->slot[TENON_ROPE_TABLE].tensor.dtype && (at < 0 || at >= c->slot[TENON_ROPE_TABLE].tensor.dim[0])) {
        mpfr_set_d(t[0], 0, RND);
        precise_compare(precise, c, want, TENON_ROPE_Y, element, t[0], 0);
        return;
    }
    if (col >= 2 * half) {
        mpfr_set_d(t[0], own, RND);
        precise_compare(precise, c, want, TENON_ROPE_Y, element, t[0], 0);
        return;
    }
    const int64_t with = element - col + partner(p, half, col, &i, &first);
    const double other = number(c, TENON_ROPE_X, with);
    const double loss = make_angle(c, at, i, half, t[0], t[1]);
    const double size = (fabs(own) + fabs(other)) * (fabs(mpfr_get_d(t[0], RND)) + fabs(mpfr_get_d(t[1], RND)));
    if (!isfinite(own) || !isfinite(other) || !isfinite(size)) /* IEEE's rules are those of f64 */
        return;
    mpfr_mul_d(t[0], t[0], own, RND);
    mpfr_mul_d(t[1], t[1], other, RND);
    if (first)
        mpfr_sub(t[2], t[0], t[1], RND);
    else
        mpfr_add(t[2], t[0], t[1], RND);
    precise_compare(precise, c, want, TENON_ROPE_Y, element, t[2], loss * (fabs(own) + fabs(other)) + 3 * U * size);
}

int tenon__conform_rope_mpfr(const struct conform_case *c, const struct conform_want *want,
                             struct conform_precise *precise)
{
    const int64_t count = tenon_tensor_count(&c->slot[TENON_ROPE_X].tensor), n = count < SAMPLES ? count : SAMPLES;
    const struct tenon_tensor *pos = &c->slot[TENON_ROPE_POS].tensor, *table = &c->slot[TENON_ROPE_TABLE].tensor;
    const int64_t must = precise->tensor == TENON_ROPE_Y ? precise->element : -1;
    mpfr_t t[3];
    long wrong = 0;
    mpfr_inits2(PRECISE_BITS, t[0], t[1], t[2], (mpfr_ptr)0);
    for (int64_t i = 0; i < n; i++)
        check_element(c, want, precise, precise_sample(c, i, n, count, must), t);
    for (int64_t i = 0; table->dtype && c->slot[TENON_ROPE_X].tensor.dim[0] && i < tenon_tensor_count(pos); i++) {
        const double p = number(c, TENON_ROPE_POS, i);
        wrong += p < -1 || p >= (double)table->dim[0];
    }
    mpfr_set_si(t[0], wrong, RND);
    if (want[TENON_ROPE_FLAGS].want)
        precise_compare(precise, c, want, TENON_ROPE_FLAGS, 3, t[0], 0);
    mpfr_clears(t[0], t[1], t[2], (mpfr_ptr)0);
    mpfr_free_cache();
    return 0;
}
