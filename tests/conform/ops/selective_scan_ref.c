/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * selective_scan in f64, straight from the formulas of tenon/ops/selective_scan.h, and the bound of each element. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/selective_scan.h>
#include "../act_ref.h"

#define U        ACT_REF_U
#define FLOOR    ACT_REF_FLOOR
#define HUGE_SUM 1.7e38
#define I(NAME)  TENON_SELECTIVE_SCAN_##NAME

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int has(const struct conform_case *c, uint32_t i)
{
    return c->slot[i].tensor.dtype != 0;
}

/* A number, and what it may be off by. INFINITY: anything. */
struct num {
    double value, off;
};

/* An input, which may be taken for 0 when it is below the normal range. */
static struct num input(double value)
{
    return (struct num){value, fabs(value) < FLOOR ? fabs(value) : 0};
}

/* A result of finite operands that f32 has no room for may be infinite; then what follows may be anything. */
static struct num settle(struct num r, int finite)
{
    if (finite && (fabs(r.value) + r.off > HUGE_SUM || isnan(r.off)))
        r.off = (double)INFINITY;
    if (!isfinite(r.value) && !isinf(r.off))
        r.off = 0;
    return r;
}

/* Infinite times what may be 0. */
static int is_open(struct num a, struct num b)
{
    return isinf(a.off) || isinf(b.off) ||
           (isinf(a.value) && fabs(b.value) <= b.off + FLOOR && (b.value != 0 || b.off > 0)) ||
           (isinf(b.value) && fabs(a.value) <= a.off + FLOOR && (a.value != 0 || a.off > 0));
}

static struct num times(struct num a, struct num b)
{
    struct num r = {a.value * b.value, 0};
    if (is_open(a, b)) {
        r.off = (double)INFINITY;
        return r;
    }
    if (!isfinite(a.value) || !isfinite(b.value))
        return r;
    r.off = fabs(a.value) * b.off + fabs(b.value) * a.off + a.off * b.off + U * fabs(r.value) + FLOOR;
    return settle(r, 1);
}

/* a b + c, rounded once or twice. */
static struct num times_plus(struct num a, struct num b, struct num c)
{
    const struct num product = times(a, b);
    struct num r = {product.value + c.value, product.off + c.off};
    if (isfinite(r.value))
        r.off += U * fabs(r.value) + FLOOR;
    return settle(r, isfinite(product.value) && isfinite(c.value));
}

static struct num exponential(struct num x, double rounded)
{
    struct num r = {exp(x.value), 0};
    if (isinf(x.off))
        r.off = (double)INFINITY;
    else if (isfinite(x.value))
        r.off = r.value * (expm1(x.off) + rounded) + FLOOR;
    return settle(r, isfinite(x.value));
}

/* ---- one channel ---- */

struct channel {
    const struct conform_case *c;
    int64_t d, group, n;
    struct num *h;
};

static struct num step_of(const struct channel *ch, int64_t token)
{
    const struct conform_case *c = ch->c;
    const struct tenon_selective_scan_params *p = (const void *)c->params;
    struct num s = input(at(c, I(DT), token * c->slot[I(U)].tensor.dim[2] + ch->d));
    if (has(c, I(DT_BIAS))) {
        const struct num bias = input(at(c, I(DT_BIAS), ch->d));
        const struct num sum = {s.value + bias.value, s.off + bias.off};
        const int finite = isfinite(s.value) && isfinite(bias.value);
        s = sum;
        if (isfinite(s.value))
            s.off += U * fabs(s.value);
        s = settle(s, finite);
    }
    if (p->softplus && !isnan(s.value)) {
        const double x = s.value;
        s.value = x > 20 ? x : log1p(exp(x));
        if (isfinite(s.value))
            s.off = s.off * act_ref_sigmoid(x + s.off) + 8 * U * s.value + FLOOR;
    }
    if (p->limit && !isnan(s.value)) {
        if (isinf(s.value))
            s.off = 0;
        s.value = fmin(fmax(s.value, (double)p->dt_lo), (double)p->dt_hi);
    }
    return s;
}

static struct num ssm_token(const struct channel *ch, int64_t token)
{
    const struct conform_case *c = ch->c;
    const int64_t groups = c->slot[I(BM)].tensor.dim[2], map = (token * groups + ch->group) * ch->n;
    const int64_t index = token * c->slot[I(U)].tensor.dim[2] + ch->d;
    const struct num s = step_of(ch, token), u = input(at(c, I(U), index)), gain = times(s, u);
    struct num y = {0, 0};
    for (int64_t n = 0; n < ch->n; n++) {
        const struct num a = exponential(times(s, input(at(c, I(A), ch->d * ch->n + n))), 6 * U);
        struct num h = times_plus(a, ch->h[n], times(gain, input(at(c, I(BM), map + n))));
        h.off += FLOOR;
        ch->h[n] = h;
        y = times_plus(input(at(c, I(CM), map + n)), h, y);
    }
    if (has(c, I(DSKIP)))
        y = times_plus(input(at(c, I(DSKIP), ch->d)), u, y);
    if (has(c, I(Z))) {
        const struct act_ref silu = {.kind = TENON_ACT_SILU};
        const double z = at(c, I(Z), index);
        struct num gate = {act_ref(&silu, z), 0};
        if (isfinite(gate.value) && isfinite(z))
            gate.off = act_ref_error(&silu, z, gate.value) + (fabs(z) < FLOOR ? fabs(z) : 0);
        y = times(y, gate);
    }
    return y;
}

static struct num plain_token(const struct channel *ch, int64_t token)
{
    const struct tenon_selective_scan_params *p = (const void *)ch->c->params;
    const int64_t index = token * ch->c->slot[I(U)].tensor.dim[2] + ch->d;
    struct num a = input(at(ch->c, I(DT), index));
    if (p->decay == I(LOG))
        a = exponential(a, 6 * U);
    struct num h = times_plus(a, ch->h[0], input(at(ch->c, I(U), index)));
    h.off += FLOOR;
    ch->h[0] = h;
    return h;
}

static void put(const struct conform_case *c, struct conform_want *want, uint32_t tensor, int64_t index, struct num r)
{
    const uint32_t dtype = c->slot[tensor].tensor.dtype;
    double bound = want->exact ? 0 : 1.05 * r.off;
    want->want[index] = isnan(r.value) ? (double)NAN : r.value;
    if (!isfinite(r.value))
        bound = isinf(r.off) ? r.off : 0;
    else if (dtype != TENON_F32 && isfinite(bound))
        bound += 0.5 * conform_ulp(dtype, fabs(r.value) + bound);
    want->bound[index] = bound;
}

/* Tokens first .. first + len, counted over all batches. */
static void expect_sequence(struct channel *ch, struct conform_want *want, int64_t s, int64_t first, int64_t len)
{
    const struct conform_case *c = ch->c;
    const int64_t all = c->slot[I(U)].tensor.dim[2];
    const int64_t groups = has(c, I(BM)) ? c->slot[I(BM)].tensor.dim[2] : 1;
    const int plain = !has(c, I(BM));
    for (ch->d = 0; ch->d < all; ch->d++) {
        const int64_t own = (s * all + ch->d) * ch->n;
        ch->group = ch->d / (all / groups);
        for (int64_t n = 0; n < ch->n; n++)
            ch->h[n] = has(c, I(STATE)) ? input(at(c, I(STATE), own + n)) : (struct num){0, 0};
        for (int64_t t = first; t < first + len; t++)
            put(c, &want[I(Y)], I(Y), t * all + ch->d, plain ? plain_token(ch, t) : ssm_token(ch, t));
        for (int64_t n = 0; n < ch->n && has(c, I(STATE_OUT)); n++) {
            put(c, &want[I(STATE_OUT)], I(STATE_OUT), own + n, ch->h[n]);
            if (!len)
                want[I(STATE_OUT)].bound[own + n] = 0;
        }
    }
}

void tenon__conform_selective_scan_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *u = &c->slot[I(U)].tensor, *cu = &c->slot[I(CU_Q)].tensor;
    struct channel ch = {.c = c, .n = has(c, I(A)) ? c->slot[I(A)].tensor.dim[1] : 1};
    double last = 0;
    ch.h = malloc(sizeof(*ch.h) * (size_t)ch.n);
    want[I(Y)].exact = want[I(STATE_OUT)].exact = c->mode == CONFORM_EXACT;
    want[I(FLAGS)].exact = 1;
    for (int64_t b = 0; ch.h && !cu->dtype && b < u->dim[0]; b++)
        expect_sequence(&ch, want, b, b * u->dim[1], u->dim[1]);
    for (int64_t i = 0; ch.h && cu->dtype && i < cu->dim[0]; i++) {
        const double own = at(c, I(CU_Q), i), here = fmax(last, fmin(own, (double)u->dim[1]));
        if (want[I(FLAGS)].want)
            want[I(FLAGS)].want[3] += here != own;
        if (i > 0)
            expect_sequence(&ch, want, i - 1, (int64_t)last, (int64_t)(here - last));
        last = here;
    }
    free(ch.h);
}
