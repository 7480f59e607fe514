/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan in 256 bits, written from tenon/ops/selective_scan.h and not from selective_scan_ref.c, which it
 * checks.
 *
 * What f64 may lose there, with u = 2^-53: log1p and exp two units each, products and sums one, all carried through the
 * recurrence as the decays do; an exponent's loss is a share of the decay. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/selective_scan.h>
#include "../act_mpfr.h"

#define RND     MPFR_RNDN
#define U       PRECISE_U
#define SAMPLES 10
#define WORK    20000 /* exponentials of a case */
#define I(NAME) TENON_SELECTIVE_SCAN_##NAME

static double number(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static const struct tenon_selective_scan_params *params_of(const struct conform_case *c)
{
    return (const void *)c->params;
}

static int64_t states_of(const struct conform_case *c)
{
    return params_of(c)->mode == I(PLAIN) ? 1 : c->slot[I(A)].tensor.dim[1];
}

/* One channel of a sequence whose first token, of those of all batches, is `first`. */
struct walk {
    const struct conform_case *c;
    int64_t s, first, len, d, n;
    mpfr_t *h, step, a, x, y;
    double *loss, step_loss, y_loss;
};

static void begin(struct walk *w)
{
    w->h = malloc(sizeof(*w->h) * (size_t)w->n);
    w->loss = calloc((size_t)w->n, sizeof(*w->loss));
    mpfr_inits2(PRECISE_BITS, w->step, w->a, w->x, w->y, (mpfr_ptr)0);
    for (int64_t n = 0; n < w->n; n++) {
        mpfr_init2(w->h[n], PRECISE_BITS);
        mpfr_set_d(w->h[n], 0, RND);
        if (w->c->slot[I(STATE)].tensor.dtype)
            mpfr_set_d(w->h[n], number(w->c, I(STATE), (w->s * w->c->slot[I(U)].tensor.dim[2] + w->d) * w->n + n), RND);
    }
}

static void finish(struct walk *w)
{
    for (int64_t n = 0; n < w->n; n++)
        mpfr_clear(w->h[n]);
    mpfr_clears(w->step, w->a, w->x, w->y, (mpfr_ptr)0);
    free(w->h);
    free(w->loss);
}

static double size(mpfr_srcptr x)
{
    return fabs(mpfr_get_d(x, RND));
}

static void take_step(struct walk *w, int64_t index)
{
    const struct tenon_selective_scan_params *p = params_of(w->c);
    mpfr_set_d(w->step, number(w->c, I(DT), index), RND);
    w->step_loss = 0;
    if (w->c->slot[I(DT_BIAS)].tensor.dtype) {
        mpfr_add_d(w->step, w->step, number(w->c, I(DT_BIAS), w->d), RND);
        w->step_loss = U * size(w->step);
    }
    if (p->softplus && mpfr_cmp_d(w->step, 20) <= 0) {
        mpfr_exp(w->step, w->step, RND);
        const double slope = fmin(1, size(w->step));
        mpfr_log1p(w->step, w->step, RND);
        w->step_loss = w->step_loss * slope + 6 * U * size(w->step);
    }
    if (p->limit && mpfr_cmp_d(w->step, (double)p->dt_lo) < 0)
        mpfr_set_d(w->step, (double)p->dt_lo, RND);
    if (p->limit && mpfr_cmp_d(w->step, (double)p->dt_hi) > 0)
        mpfr_set_d(w->step, (double)p->dt_hi, RND);
}

/* State n becomes a h + x; both are in w and lose so much. */
static void move(struct walk *w, int64_t n, double a_loss, double x_loss)
{
    const double h = size(w->h[n]), a = size(w->a);
    mpfr_mul(w->h[n], w->h[n], w->a, RND);
    const double product = size(w->h[n]);
    mpfr_add(w->h[n], w->h[n], w->x, RND);
    w->loss[n] = (a + a_loss) * w->loss[n] + h * a_loss + x_loss + U * (product + size(w->h[n])) + 0x1p-1040;
}

static void ssm_token(struct walk *w, int64_t token)
{
    const struct conform_case *c = w->c;
    const int64_t d = c->slot[I(U)].tensor.dim[2], groups = c->slot[I(BM)].tensor.dim[2], index = token * d + w->d;
    const double u = number(c, I(U), index);
    take_step(w, index);
    mpfr_set_zero(w->y, 1);
    w->y_loss = 0;
    for (int64_t n = 0; n < w->n; n++) {
        const int64_t map = (token * groups + w->d * groups / d) * w->n + n;
        const double rate = number(c, I(A), w->d * w->n + n), b = number(c, I(BM), map), by = number(c, I(CM), map);
        mpfr_mul_d(w->a, w->step, rate, RND);
        const double exponent = size(w->a);
        mpfr_exp(w->a, w->a, RND);
        mpfr_mul_d(w->x, w->step, u, RND);
        mpfr_mul_d(w->x, w->x, b, RND);
        move(w, n, size(w->a) * (fabs(rate) * w->step_loss + U * exponent + 2 * U),
             w->step_loss * fabs(u * b) + 2 * U * size(w->x));
        mpfr_mul_d(w->x, w->h[n], by, RND);
        mpfr_add(w->y, w->y, w->x, RND);
        w->y_loss += fabs(by) * w->loss[n] + U * (size(w->x) + size(w->y));
    }
    if (c->slot[I(DSKIP)].tensor.dtype) {
        mpfr_set_d(w->x, number(c, I(DSKIP), w->d), RND);
        mpfr_mul_d(w->x, w->x, u, RND);
        mpfr_add(w->y, w->y, w->x, RND);
        w->y_loss += U * (size(w->x) + size(w->y));
    }
    if (c->slot[I(Z)].tensor.dtype) {
        const struct act_mpfr silu = {.kind = TENON_ACT_SILU};
        const double y = size(w->y);
        mpfr_set_d(w->a, number(c, I(Z), index), RND);
        act_mpfr(&silu, w->x, w->a);
        mpfr_mul(w->y, w->y, w->x, RND);
        w->y_loss = w->y_loss * size(w->x) + y * act_mpfr_loss(&silu, mpfr_get_d(w->a, RND), mpfr_get_d(w->x, RND)) +
                    U * size(w->y);
    }
}

static void plain_token(struct walk *w, int64_t token)
{
    const int64_t index = token * w->c->slot[I(U)].tensor.dim[2] + w->d;
    double loss = 0;
    mpfr_set_d(w->a, number(w->c, I(DT), index), RND);
    if (params_of(w->c)->decay == I(LOG)) {
        mpfr_exp(w->a, w->a, RND);
        loss = 2 * U * size(w->a);
    }
    mpfr_set_d(w->x, number(w->c, I(U), index), RND);
    move(w, 0, loss, 0);
    mpfr_set(w->y, w->h[0], RND);
    w->y_loss = w->loss[0];
}

/* Up to token `last` of the sequence. */
static void go(struct walk *w, int64_t last)
{
    for (int64_t t = 0; t <= last; t++)
        if (params_of(w->c)->mode == I(PLAIN))
            plain_token(w, w->first + t);
        else
            ssm_token(w, w->first + t);
}

/* Sequence s; the one that token t of b is in where s < 0: 0 when there is none. */
static int place(const struct conform_case *c, struct walk *w, int64_t s, int64_t row)
{
    const struct tenon_tensor *cu = &c->slot[I(CU_Q)].tensor;
    const int64_t tokens = c->slot[I(U)].tensor.dim[1];
    int64_t begin_at = 0;
    if (!cu->dtype) {
        w->s = s < 0 ? row / tokens : s;
        w->first = w->s * tokens;
        w->len = tokens;
        return 1;
    }
    for (int64_t i = 0; i < cu->dim[0]; i++) {
        int64_t own = (int64_t)number(c, I(CU_Q), i);
        own = own > tokens ? tokens : own;
        own = own < begin_at ? begin_at : own;
        if (i > 0 && (s < 0 ? row >= begin_at && row < own : i - 1 == s)) {
            w->s = i - 1;
            w->first = begin_at;
            w->len = own - begin_at;
            return 1;
        }
        begin_at = own;
    }
    return 0;
}

/* f64 gives what is near its ends, and infinities, otherwise. */
static void compare(const struct walk *w, const struct conform_want *want, struct conform_precise *precise,
                    uint32_t tensor, int64_t element, mpfr_srcptr exact, double loss)
{
    const double value = mpfr_get_d(exact, RND);
    if (isfinite(value) && isfinite(loss) && fabs(value) < 1e300)
        precise_compare(precise, w->c, want, tensor, element, exact, w->len ? 1.01 * loss + 0x1p-1000 : 0);
}

static void check_y(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise,
                    int64_t element)
{
    const int64_t d = c->slot[I(U)].tensor.dim[2];
    struct walk w = {.c = c, .d = element % d, .n = states_of(c)};
    if (!place(c, &w, -1, element / d)) {
        w.len = 0;
        mpfr_init2(w.y, PRECISE_BITS);
        mpfr_set_zero(w.y, 1);
        compare(&w, want, precise, I(Y), element, w.y, 0);
        mpfr_clear(w.y);
        return;
    }
    begin(&w);
    go(&w, element / d - w.first);
    compare(&w, want, precise, I(Y), element, w.y, w.y_loss);
    finish(&w);
}

static void check_state(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise,
                        int64_t element)
{
    struct walk w = {.c = c, .n = states_of(c)};
    const int64_t d = c->slot[I(U)].tensor.dim[2], n = element % w.n;
    w.d = element / w.n % d;
    (void)place(c, &w, element / w.n / d, 0);
    begin(&w);
    go(&w, w.len - 1);
    compare(&w, want, precise, I(STATE_OUT), element, w.h[n], w.loss[n]);
    finish(&w);
}

int tenon__conform_selective_scan_mpfr(const struct conform_case *c, const struct conform_want *want,
                                       struct conform_precise *precise)
{
    const int64_t count = tenon_tensor_count(&c->slot[I(Y)].tensor);
    const int64_t states = c->slot[I(STATE_OUT)].tensor.dtype ? tenon_tensor_count(&c->slot[I(STATE_OUT)].tensor) : 0;
    const int64_t each = c->slot[I(U)].tensor.dim[1] * states_of(c) + 1, room = WORK / each + 1;
    int64_t most = room < SAMPLES ? room : SAMPLES;
    const int64_t n = count < most ? count : most, m = states < most ? states : most;
    for (int64_t i = 0; i < n; i++)
        check_y(c, want, precise, precise_sample(c, i, n, count, precise->tensor == I(Y) ? precise->element : -1));
    for (int64_t i = 0; i < m; i++)
        check_state(c, want, precise,
                    precise_sample(c, i, m, states, precise->tensor == I(STATE_OUT) ? precise->element : -1));
    mpfr_free_cache();
    return 0;
}
