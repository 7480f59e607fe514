/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d in 256 bits, written from tenon/ops/causal_conv1d.h and not from causal_conv1d_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: u of every product and of every partial sum; SILU carries that on and loses
 * 16u of its own, gate and residual lose u each. */
#include <math.h>
#include <tenon/ops/causal_conv1d.h>
#include "../act_mpfr.h"

#define RND     MPFR_RNDN
#define U       PRECISE_U
#define SAMPLES 48
#define I(NAME) TENON_CAUSAL_CONV1D_##NAME

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* The sequence that token t of batch b is in, as its number, first token and end; -1: none. */
static int64_t sequence_of(const struct conform_case *c, int64_t b, int64_t t, int64_t *first, int64_t *end)
{
    const struct tenon_tensor *cu = &c->slot[I(CU_Q)].tensor;
    const int64_t tokens = c->slot[I(X)].tensor.dim[1];
    *first = 0;
    *end = tokens;
    if (!cu->dtype)
        return b;
    for (int64_t s = -1; s + 1 < cu->dim[0]; s++) {
        int64_t next = (int64_t)number(c, I(CU_Q), s + 1);
        next = next > tokens ? tokens : next;
        next = s >= 0 && next < *end ? *end : next < 0 ? 0 : next;
        *first = s >= 0 ? *end : 0;
        *end = next;
        if (t >= *first && t < *end)
            return s;
    }
    return -1;
}

/* The sum of bias and terms; how far f64 may be off. */
static double sum_up(const struct conform_case *c, int64_t s, int64_t b, int64_t first, int64_t end, int64_t t,
                     int64_t o, mpfr_t sum)
{
    const struct tenon_causal_conv1d_params *p = (const void *)c->params;
    const int64_t *x = c->slot[I(X)].tensor.dim, *w = c->slot[I(W)].tensor.dim, groups = x[2] / w[1];
    double loss = 0;
    mpfr_t term;
    mpfr_init2(term, PRECISE_BITS);
    mpfr_set_d(sum, c->slot[I(BIAS)].tensor.dtype ? number(c, I(BIAS), o) : 0, RND);
    for (int64_t i = 0; i < w[2]; i++) {
        int64_t from = t + i * p->dil; /* the token that tap i meets */
        from -= p->pad == I(CAUSAL) ? (w[2] - 1) * p->dil + p->offset : (w[2] - 1) * p->dil / 2;
        for (int64_t k = 0; k < w[1]; k++) {
            const int64_t channel = o * groups / w[0] * w[1] + k;
            double value = 0;
            if (from >= first && from < end)
                value = number(c, I(X), (b * x[1] + from) * x[2] + channel);
            else if (from < first && c->slot[I(STATE)].tensor.dtype)
                value = number(c, I(STATE),
                               (s * c->slot[I(STATE)].tensor.dim[1] + c->slot[I(STATE)].tensor.dim[1] + from - first) *
                                       x[2] +
                                   channel);
            mpfr_set_d(term, value, RND);
            mpfr_mul_d(term, term, number(c, I(W), (o * w[1] + k) * w[2] + i), RND);
            mpfr_add(sum, sum, term, RND);
            loss += U * (fabs(mpfr_get_d(term, RND)) + fabs(mpfr_get_d(sum, RND)));
        }
    }
    mpfr_clear(term);
    return loss * 1.01;
}

static void check_element(const struct conform_case *c, const struct conform_want *want,
                          struct conform_precise *precise, int64_t element)
{
    const struct tenon_causal_conv1d_params *p = (const void *)c->params;
    const struct act_mpfr silu = {.kind = TENON_ACT_SILU};
    const int64_t cout = c->slot[I(W)].tensor.dim[0], tokens = c->slot[I(X)].tensor.dim[1];
    const int64_t row = element / cout, b = row / tokens, t = row % tokens;
    int64_t first, end;
    const int64_t s = sequence_of(c, b, t, &first, &end);
    double loss = 0;
    mpfr_t sum, y;
    mpfr_inits2(PRECISE_BITS, sum, y, (mpfr_ptr)0);
    mpfr_set_zero(y, 1);
    if (s >= 0) {
        loss = sum_up(c, s, b, first, end, t, element % cout, sum);
        mpfr_set(y, sum, RND);
        if (p->act == I(SILU)) {
            act_mpfr(&silu, y, sum);
            loss = mpfr_number_p(sum) ? 2 * act_mpfr_carried(&silu, sum, y, loss) +
                                            act_mpfr_loss(&silu, mpfr_get_d(sum, RND), mpfr_get_d(y, RND))
                                      : 0;
        }
        if (c->slot[I(GATE)].tensor.dtype) {
            const double gate = number(c, I(GATE), element);
            mpfr_mul_d(y, y, gate, RND);
            loss = loss * fabs(gate) + U * fabs(mpfr_get_d(y, RND)) + 0x1p-1040;
        }
        if (c->slot[I(RESIDUAL)].tensor.dtype) {
            mpfr_add_d(y, y, number(c, I(RESIDUAL), element), RND);
            loss += U * fabs(mpfr_get_d(y, RND));
        }
    }
    /* what is near f64's end, or 0 times Inf there and not here, is IEEE's */
    if (mpfr_number_p(y) || s < 0)
        precise_compare(precise, c, want, I(Y), element, y, loss + (s >= 0 ? 0x1p-1000 : 0));
    mpfr_clears(sum, y, (mpfr_ptr)0);
}

static void check_state(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise,
                        int64_t element)
{
    const struct tenon_tensor *out = &c->slot[I(STATE_OUT)].tensor, *cu = &c->slot[I(CU_Q)].tensor;
    const int64_t n = out->dim[1], cin = out->dim[2], tokens = c->slot[I(X)].tensor.dim[1];
    const int64_t s = element / cin / n, j = element / cin % n, k = element % cin;
    int64_t first = 0, end = tokens, last = 0;
    for (int64_t i = 0; cu->dtype && i <= s + 1; i++) {
        const int64_t own = (int64_t)number(c, I(CU_Q), i);
        first = last;
        end = own < last ? last : own > tokens ? tokens : own;
        last = end;
    }
    const int64_t t = end - n + j;
    double value = 0;
    mpfr_t exact;
    mpfr_init2(exact, PRECISE_BITS);
    if (t >= first)
        value = number(c, I(X), ((cu->dtype ? 0 : s) * tokens + t) * cin + k);
    else if (c->slot[I(STATE)].tensor.dtype)
        value = number(c, I(STATE), (s * n + n + t - first) * cin + k);
    mpfr_set_d(exact, value, RND);
    precise_compare(precise, c, want, I(STATE_OUT), element, exact, 0);
    mpfr_clear(exact);
}

int tenon__conform_causal_conv1d_mpfr(const struct conform_case *c, const struct conform_want *want,
                                      struct conform_precise *precise)
{
    const int64_t count = tenon_tensor_count(&c->slot[I(Y)].tensor), n = count < SAMPLES ? count : SAMPLES;
    const struct tenon_tensor *out = &c->slot[I(STATE_OUT)].tensor;
    const int64_t states = out->dtype ? tenon_tensor_count(out) : 0, m = states < SAMPLES ? states : SAMPLES;
    for (int64_t i = 0; i < n; i++)
        check_element(c, want, precise,
                      precise_sample(c, i, n, count, precise->tensor == I(Y) ? precise->element : -1));
    for (int64_t i = 0; i < m; i++)
        check_state(c, want, precise,
                    precise_sample(c, i, m, states, precise->tensor == I(STATE_OUT) ? precise->element : -1));
    mpfr_free_cache();
    return 0;
}
