/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a selective_scan may do wrong. */
#include <float.h>
#include <math.h>
#include <tenon/ops/selective_scan.h>
#include "faulty.h"

#define SCAN(NAME) TENON_SELECTIVE_SCAN_##NAME

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_selective_scan_params, statement)
SPOIL(no_softplus, p->softplus = 0)
SPOIL(always_softplus, p->softplus = p->mode == SCAN(SSM))
SPOIL(no_limit, p->limit = 0)
SPOIL(no_upper, p->dt_hi = FLT_MAX)
SPOIL(no_lower, p->dt_lo = -FLT_MAX)
SPOIL(no_log, p->decay = SCAN(FACTOR))
SPOIL(always_log, p->decay = SCAN(LOG))

static void first_map(struct tenon_tensor *t, uint32_t i)
{
    if (t[i].dtype)
        t[i].stride[2] = 0;
}

/* All groups have the b, or the c, of the first. */
static void one_b(struct tenon_tensor *t, void *params)
{
    (void)params;
    first_map(t, SCAN(BM));
}
static void one_c(struct tenon_tensor *t, void *params)
{
    (void)params;
    first_map(t, SCAN(CM));
}
static void no_stride(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[SCAN(U)].stride[1] = t[SCAN(U)].dim[2];
    t[SCAN(U)].stride[0] = t[SCAN(U)].dim[1] * t[SCAN(U)].dim[2];
}

/* ---- a channel of a sequence that the layer runs itself, all in f32 ---- */

struct row {
    const struct faulty_run *run;
    const struct tenon_tensor *t;
    const struct tenon_selective_scan_params *p;
    const float *u, *dt, *a, *b, *c, *skip, *bias, *z, *state;
    float *y;
    int64_t s, batch, start, len, d, n;
};

/* What goes wrong in run_again. */
enum { EXACT_HOLD, NO_GAIN, ONE_LATE, SKIP_STEP, GATE_RAW, STATE_LOST, NEIGHBOUR, BF16_STATE };

static int64_t at(const struct row *r, uint32_t i, int64_t t)
{
    return r->batch * r->t[i].stride[0] + (r->start + t) * r->t[i].stride[1];
}

static float step_of(const struct row *r, int64_t t)
{
    float s = r->dt[at(r, SCAN(DT), t) + r->d] + (r->bias ? r->bias[r->d] : 0);
    if (r->p->softplus)
        s = s > 20 ? s : log1pf(expf(s));
    if (r->p->limit)
        s = fminf(fmaxf(s, r->p->dt_lo), r->p->dt_hi);
    return s;
}

static float token(const struct row *r, int64_t t, float *h, int wrong)
{
    const float u = r->u[at(r, SCAN(U), t) + r->d];
    const int64_t group = r->d / (r->t[SCAN(U)].dim[2] / r->t[SCAN(BM)].dim[2]);
    const float *b = r->b + at(r, SCAN(BM), t) + group * r->t[SCAN(BM)].stride[2];
    const float *c = r->c + at(r, SCAN(CM), t) + group * r->t[SCAN(CM)].stride[2], s = step_of(r, t);
    float y = 0;
    for (int64_t n = 0; n < r->n; n++) {
        const float rate = r->a[r->d * r->n + n], a = expf(s * rate);
        const float gain = wrong == EXACT_HOLD && rate != 0 ? expm1f(s * rate) / rate : wrong == NO_GAIN ? 1 : s;
        const float before = h[n];
        h[n] = a * h[n] + gain * u * b[n];
        if (wrong == BF16_STATE) {
            union {
                float f;
                uint32_t u;
            } pun = {h[n]};
            pun.u &= 0xffff0000;
            h[n] = pun.f;
        }
        y += c[n] * (wrong == ONE_LATE ? before : h[n]);
    }
    if (r->skip)
        y += r->skip[r->d] * (wrong == SKIP_STEP ? s * u : u);
    if (r->z) {
        const float z = r->z[at(r, SCAN(Z), t) + r->d];
        y *= wrong == GATE_RAW ? 1 / (1 + expf(-z)) : z / (1 + expf(-z));
    }
    return y;
}

static void run_again(const struct row *r, int wrong)
{
    float h[64] = {0};
    for (int64_t n = 0; r->state && wrong != STATE_LOST && n < r->n; n++)
        h[n] = r->state[((wrong == NEIGHBOUR ? 0 : r->s) * r->t[SCAN(U)].dim[2] + r->d) * r->n + n];
    for (int64_t t = 0; t < r->len; t++)
        r->y[at(r, SCAN(Y), t) + r->d] = token(r, t, h, wrong);
}

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_tensor *t = run->plan->tensor, *cu = &t[SCAN(CU_Q)];
    struct row r = {.run = run, .t = t, .p = (const void *)run->plan->params};
    const float **const to[] = {&r.u, &r.dt, &r.a, &r.b, &r.c, &r.skip, &r.bias, &r.z};
    const int32_t *c = tenon__faulty_memory(run, SCAN(CU_Q));
    for (uint32_t i = SCAN(U); i <= SCAN(Z); i++) {
        *to[i] = tenon__faulty_memory(run, i);
        if (t[i].dtype && t[i].dtype != TENON_F32)
            return;
    }
    r.state = tenon__faulty_memory(run, SCAN(STATE));
    r.y = tenon__faulty_memory(run, SCAN(Y));
    r.n = t[SCAN(A)].dtype ? t[SCAN(A)].dim[1] : 1;
    if (!r.u || !r.b || !r.c || !r.y || r.n > 64 ||
        (r.state && t[SCAN(STATE_OUT)].dtype && !tenon__faulty_apart(run, SCAN(STATE), SCAN(STATE_OUT))))
        return;
    for (r.s = 0; r.s < (cu->dtype ? cu->dim[0] - 1 : t[SCAN(U)].dim[0]); r.s++) {
        r.batch = cu->dtype ? 0 : r.s;
        r.start = cu->dtype ? c[r.s] : 0;
        r.len = cu->dtype ? c[r.s + 1] - r.start : t[SCAN(U)].dim[1];
        for (r.d = 0; r.start >= 0 && r.start + r.len <= t[SCAN(U)].dim[1] && r.d < t[SCAN(U)].dim[2]; r.d++)
            spoil(&r);
    }
}

#define AGAIN(name, wrong)                                                                                             \
    FAULTY_EACH_ROW(name)                                                                                              \
    {                                                                                                                  \
        run_again(r, wrong);                                                                                           \
    }
AGAIN(exact_hold, EXACT_HOLD)
AGAIN(no_gain, NO_GAIN)
AGAIN(one_late, ONE_LATE)
AGAIN(skip_step, SKIP_STEP)
AGAIN(gate_raw, GATE_RAW)
AGAIN(state_lost, STATE_LOST)
AGAIN(state_of_first, NEIGHBOUR)
AGAIN(state_16, BF16_STATE)
FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t t = 0; t < r->len; t++)
        if (isnan(r->y[at(r, SCAN(Y), t) + r->d]))
            r->y[at(r, SCAN(Y), t) + r->d] = 0;
}

/* ---- states ---- */

static void state_turned(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[SCAN(STATE_OUT)];
    float *memory = tenon__faulty_memory(run, SCAN(STATE_OUT));
    if (memory && out->rank == 3 && out->dim[1] > 1 && out->dim[2] > 1)
        tenon__faulty_swap(memory + 1, memory + out->dim[2]);
}

static void state_left(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[SCAN(STATE_OUT)];
    void *memory = tenon__faulty_memory(run, SCAN(STATE_OUT));
    if (memory && tenon__faulty_apart(run, SCAN(STATE), SCAN(STATE_OUT)))
        tenon__faulty_poke(out, memory, tenon_tensor_count(out) - 1, 0xDEADBEEF);
}

/* A call without tokens gives zeros and not the state. */
static void state_cleared(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[SCAN(STATE_OUT)];
    void *memory = tenon__faulty_memory(run, SCAN(STATE_OUT));
    for (int64_t i = 0; memory && run->plan->tensor[SCAN(U)].dim[1] == 0 && i < tenon_tensor_count(out); i++)
        tenon__faulty_poke(out, memory, i, 0);
}

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, SCAN(STATE), SCAN(STATE_OUT));
}

static void uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, SCAN(FLAGS), 3);
}

/* Tokens of no sequence are not written. */
static void outside_left(const struct faulty_run *run)
{
    const struct tenon_tensor *y = &run->plan->tensor[SCAN(Y)], *cu = &run->plan->tensor[SCAN(CU_Q)];
    const int32_t *c = tenon__faulty_memory(run, SCAN(CU_Q));
    void *memory = tenon__faulty_memory(run, SCAN(Y));
    if (c && memory && cu->dim[0] && c[0] > 0)
        tenon__faulty_poke(y, memory, 0, 0xDEADBEEF);
}

static const struct faulty_fault faults[] = {
    {"no_softplus", "there is no softplus", "y[", .spoil = no_softplus},
    {"always_softplus", "there always is one", "y[", .spoil = always_softplus},
    {"no_limit", "steps have no limits", "y[", .spoil = no_limit},
    {"no_upper", "steps have no upper limit", "y[", .spoil = no_upper},
    {"no_lower", "steps have no lower limit", "y[", .spoil = no_lower},
    {"no_log", "decays are always factors", "y[", .spoil = no_log},
    {"always_log", "decays are always logarithms", "y[", .spoil = always_log},
    {"one_b", "all groups have the first b", "y[", .spoil = one_b},
    {"one_c", "all groups have the first c", "y[", .spoil = one_c},
    {"no_stride", "strides of u are not looked at", "y[", .spoil = no_stride},
    {"no_skip", "dskip is not looked at", "y[", .drop = SCAN(DSKIP)},
    {"no_bias", "dt_bias is not looked at", "y[", .drop = SCAN(DT_BIAS)},
    {"no_gate", "z is not looked at", "y[", .drop = SCAN(Z)},
    {"no_state", "the state is not looked at", "[", .drop = SCAN(STATE)},
    {"exact_hold", "inputs are held exactly", "y[", .after = exact_hold},
    {"no_gain", "inputs are not multiplied by the step", "y[", .after = no_gain},
    {"one_late", "outputs are those of the states before", "y[", .after = one_late},
    {"skip_step", "dskip meets the input times the step", "y[", .after = skip_step},
    {"gate_raw", "the gate is a sigmoid", "y[", .after = gate_raw},
    {"state_lost", "all sequences begin with zeros", "y[", .after = state_lost},
    {"state_of_first", "all sequences begin with the first state", "y[", .after = state_of_first},
    {"state_16", "states are kept in 16 bits", "y[", .after = state_16},
    {"nan_lost", "NaNs are 0", "nan within 0", .after = nan_lost},
    {"state_turned", "states are channel after channel within n", "state_out[", .after = state_turned},
    {"state_left", "the last of the new states is not written", "never written", .after = state_left},
    {"state_cleared", "a call without tokens clears the state", "state_out[", .after = state_cleared},
    {"in_place", "in place, a state is read after it was written", "[", .before = in_place},
    {"outside_left", "tokens of no sequence are not written", "never written", .after = outside_left},
    {"uncounted", "entries out of range are not counted", "flags[", .after = uncounted},
};

const struct faulty_op tenon__faulty_selective_scan = {faults, sizeof(faults) / sizeof(faults[0])};
