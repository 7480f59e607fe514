/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * causal_conv1d in f64, straight from the formula of tenon/ops/causal_conv1d.h, and the bound of each element. */
#include <math.h>
#include <tenon/ops/causal_conv1d.h>
#include "../act_ref.h"

#define U        ACT_REF_U
#define FLOOR    ACT_REF_FLOOR
#define HUGE_SUM 1.7e38
#define I(NAME)  TENON_CAUSAL_CONV1D_##NAME

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* A sequence: tokens first .. first + len of batch b. */
struct sequence {
    int64_t s, b, first, len;
};

/* Its input of channel ch, t tokens after its first. */
static double input(const struct conform_case *c, const struct sequence *q, int64_t t, int64_t ch)
{
    const struct tenon_tensor *x = &c->slot[I(X)].tensor, *state = &c->slot[I(STATE)].tensor;
    if (t >= 0 && t < q->len)
        return at(c, I(X), (q->b * x->dim[1] + q->first + t) * x->dim[2] + ch);
    if (t < 0 && state->dtype)
        return at(c, I(STATE), ((q->s + 1) * state->dim[1] + t) * x->dim[2] + ch);
    return 0;
}

/* A number and what it may be off by, INFINITY: anything. */
struct sum {
    double value, off;
};

/* Bias and terms. */
static struct sum add_terms(const struct conform_case *c, const struct sequence *q, int64_t t, int64_t o)
{
    const struct tenon_causal_conv1d_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[I(X)].tensor, *w = &c->slot[I(W)].tensor;
    const int64_t cg = w->dim[1], taps = w->dim[2], span = (taps - 1) * p->dil;
    const int64_t first = o / (w->dim[0] / (x->dim[2] / cg)) * cg;
    const int64_t oldest = t - (p->pad == I(SAME) ? span / 2 : span + p->offset);
    struct sum sum = {c->slot[I(BIAS)].tensor.dtype ? at(c, I(BIAS), o) : 0, 0};
    double rounded = 0, flushed = fabs(sum.value) < FLOOR ? fabs(sum.value) : 0;
    int large = 0;
    for (int64_t i = 0; i < taps; i++)
        for (int64_t k = 0; k < cg; k++) {
            const double a = at(c, I(W), (o * cg + k) * taps + i), b = input(c, q, oldest + i * p->dil, first + k);
            sum.value += a * b;
            rounded += fabs(sum.value) + fabs(a * b);
            flushed += fabs(a) < FLOOR || fabs(b) < FLOOR ? fabs(a * b) : 0;
            large |= (isfinite(a) && isfinite(b) && fabs(a * b) > HUGE_SUM) ||
                     (isfinite(sum.value) && fabs(sum.value) > HUGE_SUM);
        }
    sum.off = large ? (double)INFINITY : 1.01 * U * rounded + flushed + FLOOR * (double)(taps * cg + 1);
    return sum;
}

static void activate(struct sum *sum)
{
    const struct act_ref silu = {.kind = TENON_ACT_SILU};
    const double z = sum->value, y = act_ref(&silu, z);
    if (isfinite(z) && isfinite(sum->off))
        sum->off = fmax(fabs(act_ref(&silu, z + sum->off) - y), fabs(act_ref(&silu, z - sum->off) - y)) +
                   act_ref_error(&silu, z, y);
    sum->value = y;
}

static void multiply(struct sum *sum, double gate)
{
    const double y = sum->value * gate;
    if (isinf(sum->off) || (isinf(gate) && fabs(sum->value) <= sum->off + FLOOR)) /* it may be 0 */
        sum->off = (double)INFINITY;
    else if (isfinite(y))
        sum->off = sum->off * fabs(gate) + U * fabs(y) + FLOOR + (fabs(gate) < FLOOR ? fabs(y) : 0);
    if (isfinite(sum->value) && isfinite(gate) && fabs(y) + sum->off > HUGE_SUM)
        sum->off = (double)INFINITY;
    sum->value = y;
}

static void add(struct sum *sum, double more)
{
    const double y = sum->value + more;
    if (isfinite(y))
        sum->off += U * fabs(y) + FLOOR + (fabs(more) < FLOOR ? fabs(more) : 0);
    if (isfinite(sum->value) && isfinite(more) && fabs(y) + sum->off > HUGE_SUM)
        sum->off = (double)INFINITY;
    sum->value = y;
}

static void put(const struct conform_case *c, struct conform_want *y, int64_t index, struct sum sum)
{
    const uint32_t dtype = c->slot[I(Y)].tensor.dtype;
    y->want[index] = isnan(sum.value) ? (double)NAN : sum.value;
    if (!isfinite(sum.value) || isinf(sum.off)) {
        y->bound[index] = isinf(sum.off) ? sum.off : 0;
        return;
    }
    y->bound[index] = y->exact ? 0 : sum.off;
    if (dtype != TENON_F32)
        y->bound[index] += 0.5 * conform_ulp(dtype, fabs(sum.value) + y->bound[index]);
}

static void expect_token(const struct conform_case *c, struct conform_want *y, const struct sequence *q, int64_t t)
{
    const struct tenon_causal_conv1d_params *p = (const void *)c->params;
    const int64_t cout = c->slot[I(W)].tensor.dim[0], tokens = c->slot[I(X)].tensor.dim[1];
    for (int64_t o = 0; o < cout; o++) {
        const int64_t index = (q->b * tokens + q->first + t) * cout + o;
        struct sum sum = add_terms(c, q, t, o);
        if (p->act == I(SILU))
            activate(&sum);
        if (c->slot[I(GATE)].tensor.dtype)
            multiply(&sum, at(c, I(GATE), index));
        if (c->slot[I(RESIDUAL)].tensor.dtype)
            add(&sum, at(c, I(RESIDUAL), index));
        put(c, y, index, sum);
    }
}

static void expect_sequence(const struct conform_case *c, struct conform_want *want, const struct sequence *q)
{
    const struct tenon_tensor *out = &c->slot[I(STATE_OUT)].tensor;
    for (int64_t t = 0; t < q->len; t++)
        expect_token(c, &want[I(Y)], q, t);
    for (int64_t j = 0; out->dtype && j < out->dim[1]; j++)
        for (int64_t k = 0; k < out->dim[2]; k++)
            want[I(STATE_OUT)].want[(q->s * out->dim[1] + j) * out->dim[2] + k] =
                input(c, q, q->len - out->dim[1] + j, k);
}

void tenon__conform_causal_conv1d_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_causal_conv1d_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[I(X)].tensor, *cu = &c->slot[I(CU_Q)].tensor;
    struct sequence q = {0, 0, 0, x->dim[1]};
    double last = 0;
    want[I(Y)].exact = c->mode == CONFORM_EXACT && p->act == I(NONE);
    want[I(STATE_OUT)].exact = want[I(FLAGS)].exact = 1;
    if (!cu->dtype) {
        for (q.b = 0; q.b < x->dim[0]; q.b++) {
            q.s = q.b;
            expect_sequence(c, want, &q);
        }
        return;
    }
    for (int64_t i = 0; i < cu->dim[0]; i++) {
        const double own = at(c, I(CU_Q), i), here = fmax(last, fmin(own, (double)x->dim[1]));
        if (want[I(FLAGS)].want)
            want[I(FLAGS)].want[3] += here != own;
        if (i > 0) {
            q = (struct sequence){i - 1, 0, (int64_t)last, (int64_t)(here - last)};
            expect_sequence(c, want, &q);
        }
        last = here;
    }
}
