/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a causal_conv1d may do wrong. */
#include <math.h>
#include <tenon/ops/causal_conv1d.h>
#include "faulty.h"

#define CONV(NAME) TENON_CAUSAL_CONV1D_##NAME

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_causal_conv1d_params, statement)
SPOIL(no_act, p->act = CONV(NONE))
SPOIL(always_silu, p->act = CONV(SILU))
SPOIL(never_same, p->pad = CONV(CAUSAL))

static int has_states(const struct tenon_tensor *t)
{
    return t[CONV(STATE)].dtype || t[CONV(STATE_OUT)].dtype;
}

static void no_dilation(struct tenon_tensor *t, void *params)
{
    if (!has_states(t)) /* whose shapes would be others */
        ((struct tenon_causal_conv1d_params *)params)->dil = 1;
}

static void no_offset(struct tenon_tensor *t, void *params)
{
    if (!has_states(t))
        ((struct tenon_causal_conv1d_params *)params)->offset = 0;
}

static void no_stride(struct tenon_tensor *t, void *params)
{
    struct tenon_tensor *x = &t[CONV(X)];
    (void)params;
    x->stride[1] = x->dim[2];
    x->stride[0] = x->dim[1] * x->dim[2];
}

/* ---- sums that the layer makes itself, in f32 and without what follows them ---- */

struct row {
    const struct faulty_run *run;
    const struct tenon_tensor *t;
    const struct tenon_causal_conv1d_params *p;
    const float *x, *w, *bias, *state;
    float *y;
    int64_t s, b, start, len, at; /* the sequence, and the token's number in it */
};

static const float *input_of(const struct row *r, int64_t t)
{
    const struct tenon_tensor *x = &r->t[CONV(X)];
    return r->x + r->b * x->stride[0] + (r->start + t) * x->stride[1];
}

/* Source rows of taps: NULL where the input is 0. */
typedef const float *source_fn(const struct row *r, int64_t t, int64_t n);

static const float *right_source(const struct row *r, int64_t t, int64_t n)
{
    if (t >= 0)
        return t < r->len ? input_of(r, t) : NULL;
    return r->state ? r->state + ((r->s + 1) * n + t) * r->t[CONV(X)].dim[2] : NULL;
}

static const float *newest_first(const struct row *r, int64_t t, int64_t n)
{
    return t < 0 && r->state ? r->state + (r->s * n - 1 - t) * r->t[CONV(X)].dim[2] : right_source(r, t, n);
}

static const float *neighbour(const struct row *r, int64_t t, int64_t n)
{
    return t < 0 && t >= -r->start ? input_of(r, t) : right_source(r, t, n);
}

static const float *first_state(const struct row *r, int64_t t, int64_t n)
{
    return t < 0 && r->state ? r->state + (n + t) * r->t[CONV(X)].dim[2] : right_source(r, t, n);
}

static void sum_again(const struct row *r, source_fn *source, int reversed, int no_groups)
{
    const int64_t *w = r->t[CONV(W)].dim, cin = r->t[CONV(X)].dim[2], span = (w[2] - 1) * r->p->dil;
    const int64_t oldest = r->at - (r->p->pad ? span / 2 : span + r->p->offset), n = span + r->p->offset;
    for (int64_t o = 0; o < w[0]; o++) {
        float sum = r->bias ? r->bias[o] : 0;
        for (int64_t i = 0; i < w[2]; i++) {
            const float *from = source(r, oldest + i * r->p->dil, n);
            const int64_t first = no_groups ? 0 : o / (w[0] / (cin / w[1])) * w[1];
            for (int64_t k = 0; from && k < w[1]; k++)
                sum += r->w[(o * w[1] + k) * w[2] + (reversed ? w[2] - 1 - i : i)] * from[first + k];
        }
        r->y[o] = sum;
    }
}

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_tensor *t = run->plan->tensor, *x = &t[CONV(X)], *y = &t[CONV(Y)], *cu = &t[CONV(CU_Q)];
    struct row r = {.run = run,
                    .t = t,
                    .p = (const void *)run->plan->params,
                    .x = tenon__faulty_memory(run, CONV(X)),
                    .w = tenon__faulty_memory(run, CONV(W)),
                    .bias = tenon__faulty_memory(run, CONV(BIAS)),
                    .state = tenon__faulty_memory(run, CONV(STATE))};
    const int32_t *c = tenon__faulty_memory(run, CONV(CU_Q));
    float *to = tenon__faulty_memory(run, CONV(Y));
    if (x->dtype != TENON_F32 || t[CONV(W)].dtype != TENON_F32 || !r.x || !r.w || !to || t[CONV(GATE)].dtype ||
        t[CONV(RESIDUAL)].dtype || r.p->act ||
        (r.state && !tenon__faulty_apart(run, CONV(STATE), CONV(STATE_OUT)) && t[CONV(STATE_OUT)].dtype))
        return;
    const int64_t seqs = cu->dtype ? cu->dim[0] - 1 : x->dim[0];
    for (r.s = 0; r.s < seqs; r.s++) {
        r.b = cu->dtype ? 0 : r.s;
        r.start = cu->dtype ? c[r.s] : 0;
        r.len = cu->dtype ? c[r.s + 1] - r.start : x->dim[1];
        if (r.start < 0 || r.start + r.len > x->dim[1])
            continue;
        for (r.at = 0; r.at < r.len; r.at++) {
            r.y = to + r.b * y->stride[0] + (r.start + r.at) * y->stride[1];
            spoil(&r);
        }
    }
}

FAULTY_EACH_ROW(reversed)
{
    sum_again(r, right_source, 1, 0);
}
FAULTY_EACH_ROW(state_reversed)
{
    sum_again(r, newest_first, 0, 0);
}
FAULTY_EACH_ROW(sees_neighbour)
{
    sum_again(r, neighbour, 0, 0);
}
FAULTY_EACH_ROW(state_of_first)
{
    sum_again(r, first_state, 0, 0);
}
FAULTY_EACH_ROW(one_group)
{
    sum_again(r, right_source, 0, 1);
}
FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t o = 0; o < r->t[CONV(Y)].dim[2]; o++)
        if (isnan(r->y[o]))
            r->y[o] = 0;
}

/* ---- states ---- */

static void state_late(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[CONV(STATE_OUT)];
    void *memory = tenon__faulty_memory(run, CONV(STATE_OUT));
    for (int64_t i = out->dtype ? tenon_tensor_count(out) : 0; memory && i-- > out->dim[2];)
        tenon__faulty_poke(out, memory, i, tenon__faulty_peek(out, memory, i - out->dim[2]));
}

/* With fewer tokens than a state has rows, the first ones are 0. */
static void state_fresh(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[CONV(STATE_OUT)], *x = &run->plan->tensor[CONV(X)];
    void *memory = tenon__faulty_memory(run, CONV(STATE_OUT));
    const int64_t old = out->dtype && memory ? out->dim[1] - x->dim[1] : 0;
    for (int64_t i = 0; i < old * (old > 0 ? out->dim[2] : 0); i++)
        tenon__faulty_poke(out, memory, i, 0);
}

static void state_left(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[CONV(STATE_OUT)];
    void *memory = tenon__faulty_memory(run, CONV(STATE_OUT));
    if (memory && tenon__faulty_apart(run, CONV(STATE), CONV(STATE_OUT)))
        tenon__faulty_poke(out, memory, tenon_tensor_count(out) - 1, 0xDEADBEEF);
}

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, CONV(STATE), CONV(STATE_OUT));
}

static void uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, CONV(FLAGS), 3);
}

/* Tokens of no sequence are not written. */
static void outside_left(const struct faulty_run *run)
{
    const struct tenon_tensor *y = &run->plan->tensor[CONV(Y)], *cu = &run->plan->tensor[CONV(CU_Q)];
    const int32_t *c = tenon__faulty_memory(run, CONV(CU_Q));
    void *memory = tenon__faulty_memory(run, CONV(Y));
    if (c && memory && cu->dim[0] && c[0] > 0)
        tenon__faulty_poke(y, memory, 0, 0xDEADBEEF);
}

static const struct faulty_fault faults[] = {
    {"no_act", "there is no activation", "y[", .spoil = no_act},
    {"always_silu", "there always is one", "y[", .spoil = always_silu},
    {"never_same", "the window is always before the token", "y[", .spoil = never_same},
    {"no_dilation", "taps are next to each other", "y[", .spoil = no_dilation},
    {"no_offset", "the token's own input counts", "y[", .spoil = no_offset},
    {"no_stride", "strides of x are not looked at", "y[", .spoil = no_stride},
    {"no_bias", "the bias is not looked at", "y[", .drop = CONV(BIAS)},
    {"no_state", "the state is not looked at", "[", .drop = CONV(STATE)},
    {"no_gate", "the gate is not looked at", "y[", .drop = CONV(GATE)},
    {"no_residual", "the residual is not looked at", "y[", .drop = CONV(RESIDUAL)},
    {"reversed", "the first tap meets the newest input", "y[", .after = reversed},
    {"state_reversed", "states begin with the newest input", "y[", .after = state_reversed},
    {"state_of_first", "all states are the first one", "y[", .after = state_of_first},
    {"sees_neighbour", "a sequence sees the one before", "y[", .after = sees_neighbour},
    {"one_group", "all groups have the channels of the first", "y[", .after = one_group},
    {"nan_lost", "NaNs are 0", "must be nan", .after = nan_lost},
    {"state_late", "states end one input early", "state_out[", .after = state_late},
    {"state_fresh", "short calls forget the state", "state_out[", .after = state_fresh},
    {"state_left", "the last of the new states is not written", "never written", .after = state_left},
    {"in_place", "in place, a state is read after it was written", "[", .before = in_place},
    {"outside_left", "tokens of no sequence are not written", "never written", .after = outside_left},
    {"uncounted", "entries out of range are not counted", "flags[", .after = uncounted},
};

const struct faulty_op tenon__faulty_causal_conv1d = {faults, sizeof(faults) / sizeof(faults[0])};
