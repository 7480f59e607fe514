/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a linear_attention may do wrong. */
#include <math.h>
#include <string.h>
#include <tenon/ops/linear_attention.h>
#include "faulty.h"

#define L(NAME)                TENON_LINEAR_ATTENTION_##NAME
#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_linear_attention_params, statement)
SPOIL(log_factor, p->decay_form = L(FACTOR))
SPOIL(factor_log, p->decay_form = L(LOG))
SPOIL(always_inclusive, p->read = p->read == L(EXCLUSIVE) ? L(INCLUSIVE) : p->read)
SPOIL(always_exclusive, p->read = p->read == L(INCLUSIVE) && p->direction != L(NONCAUSAL) ? L(EXCLUSIVE) : p->read)
SPOIL(group_exclusive, p->read = p->read == L(GROUP) ? L(EXCLUSIVE) : p->read)
SPOIL(group_more, p->group += 1)
SPOIL(no_reverse, p->direction = p->direction == L(REVERSE) ? L(CAUSAL) : p->direction)
SPOIL(all_causal, p->direction = p->direction == L(NONCAUSAL) ? L(CAUSAL) : p->direction)
SPOIL(sum_max1, p->norm = p->norm == L(SUM) ? L(MAX1) : p->norm)
SPOIL(max1_sum, p->norm = p->norm == L(MAX1) ? L(SUM) : p->norm)
SPOIL(no_eps, p->eps = 0)
SPOIL(no_scale, p->scale = p->scale == 0 ? 1 : p->scale)
SPOIL(always_scale, p->scale = 0)
SPOIL(no_w, p->w_bi = 1)

static void no_decay(struct tenon_tensor *t, void *params)
{
    ((struct tenon_linear_attention_params *)params)->decay = L(NONE);
    t[L(DECAY)].dtype = t[L(DECAY_B)].dtype = 0;
}

static void no_erase(struct tenon_tensor *t, void *params)
{
    ((struct tenon_linear_attention_params *)params)->update = L(ADD);
    t[L(BETA)].dtype = 0;
}

/* Of both sweeps the one. */
static void one_sweep(struct tenon_tensor *t, void *params)
{
    struct tenon_linear_attention_params *p = params;
    p->direction = p->direction == L(BIDIR) ? L(CAUSAL) : p->direction;
    t[L(DECAY_B)].dtype = 0;
}

static void no_norm(struct tenon_tensor *t, void *params)
{
    if (t[L(NORM_STATE)].dtype || t[L(NORM_STATE_OUT)].dtype)
        return;
    ((struct tenon_linear_attention_params *)params)->norm = L(NORM_NONE);
    t[L(QN)].dtype = t[L(KN)].dtype = 0;
}

static void no_states(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[L(STATE)].dtype = t[L(NORM_STATE)].dtype = 0;
}

static void one_sequence(struct tenon_tensor *t, void *params)
{
    (void)params;
    if (!t[L(STATE)].dtype && !t[L(STATE_OUT)].dtype)
        t[L(CU_Q)].dtype = 0;
}

static void no_stride(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[L(Q)].stride[2] = t[L(Q)].dim[3];
    t[L(Q)].stride[1] = t[L(Q)].dim[2] * t[L(Q)].stride[2];
    t[L(Q)].stride[0] = t[L(Q)].dim[1] * t[L(Q)].stride[1];
}

static void share_heads(struct tenon_tensor *t, void *params)
{
    (void)params;
    t[L(K)].stride[2] = 0;
}

/* ---- the recurrence again, in f32, with one thing wrong; causal, without normaliser, all of f32 ---- */

enum {
    HEADS = 1,
    DECAY_LAST = 2,
    ERASE_FIRST = 4,
    READ_DECAYED = 8,
    STATE_TURNED = 16,
    DEAD_ALIVE = 32,
    BETA_OLD = 64,
    NEIGHBOUR = 128,
    KEY_AS_VALUE = 256
};
#define ROOM 8192

struct again {
    const struct faulty_run *run;
    const struct tenon_tensor *t;
    const struct tenon_linear_attention_params *p;
    unsigned bugs;
    int64_t K, V, HS, T, n, b, h, first, len;
    float s[ROOM], old[ROOM], right[ROOM], last[ROOM];
};

static const float *row_of(const struct again *g, uint32_t i, int64_t t)
{
    const struct tenon_tensor *x = &g->t[i];
    const int64_t heads = x->dim[2], head = g->bugs & HEADS ? g->h % heads : g->h * heads / g->HS;
    return (const float *)tenon__faulty_memory(g->run, i) + g->b * x->stride[0] + (g->first + t) * x->stride[1] +
           head * x->stride[2];
}

static float factor_of(const struct again *g, int64_t t, int64_t k, int64_t v)
{
    const float *decay = tenon__faulty_memory(g->run, L(DECAY));
    float x = 1;
    switch (g->p->decay) {
    case L(HEAD): x = decay[g->h]; break;
    case L(TOKEN): x = decay[(g->b * g->T + g->first + t) * g->HS + g->h]; break;
    case L(KEY): x = row_of(g, L(DECAY), t)[g->bugs & KEY_AS_VALUE && g->K == g->V ? v : k]; break;
    case L(VALUE): x = row_of(g, L(DECAY), t)[v]; break;
    default: return 1;
    }
    x = g->p->decay_form == L(LOG) ? expf(x) : x;
    return g->bugs & DEAD_ALIVE && x == 0 ? 1 : x;
}

static void decay_state(struct again *g, int64_t t)
{
    for (int64_t i = 0; i < g->K * g->V; i++)
        g->s[i] *= factor_of(g, t, i / g->V, i % g->V);
}

static void write_state(struct again *g, int64_t t)
{
    const float *k = row_of(g, L(K), t), *v = row_of(g, L(V), t), *beta = tenon__faulty_memory(g->run, L(BETA));
    const int64_t at = (g->b * g->T + g->first + t) * g->HS + g->h;
    for (int64_t x = 0; x < g->V; x++) {
        float u = v[x], held = 0;
        for (int64_t i = 0; beta && i < g->K; i++)
            held += (g->bugs & ERASE_FIRST ? g->old : g->s)[i * g->V + x] * k[i];
        if (beta)
            u = g->bugs & BETA_OLD ? u - beta[at] * held : beta[at] * (u - held);
        for (int64_t i = 0; i < g->K; i++)
            g->s[i * g->V + x] += k[i] * u;
    }
}

/* Without a bug what is read is kept; with one, o is changed where that is something else. */
static void read_state(struct again *g, int64_t t)
{
    const struct tenon_tensor *o = &g->t[L(O)];
    float *to = (float *)tenon__faulty_memory(g->run, L(O)) + g->b * o->stride[0] + (g->first + t) * o->stride[1] +
                g->h * o->stride[2];
    const float *q = row_of(g, L(Q), t), scale = g->p->scale == 0 ? 1 / sqrtf((float)g->K) : g->p->scale;
    for (int64_t v = 0; v < g->V; v++) {
        float sum = 0;
        for (int64_t k = 0; k < g->K; k++)
            sum += q[k] * g->s[k * g->V + v];
        if (!g->bugs)
            g->right[t * g->V + v] = sum;
        else if (sum != g->right[t * g->V + v])
            to[v] = scale * sum;
    }
}

static void again_head(struct again *g)
{
    const float *state = tenon__faulty_memory(g->run, L(STATE));
    const int64_t kv = g->K * g->V;
    for (int64_t i = 0; i < kv; i++) {
        const int64_t at = g->bugs & STATE_TURNED ? i % g->V * g->K + i / g->V : i;
        g->s[i] = state ? state[(g->n * g->HS + g->h) * kv + at] : g->bugs & NEIGHBOUR && g->n ? g->last[i] : 0;
    }
    for (int64_t t = 0; t < g->len; t++) {
        memcpy(g->old, g->s, (size_t)kv * sizeof(float));
        if (g->p->read == L(EXCLUSIVE) && !(g->bugs & READ_DECAYED))
            read_state(g, t);
        if (!(g->bugs & DECAY_LAST))
            decay_state(g, t);
        if (g->p->read == L(EXCLUSIVE) && g->bugs & READ_DECAYED)
            read_state(g, t);
        write_state(g, t);
        if (g->bugs & DECAY_LAST)
            decay_state(g, t);
        if (g->p->read == L(INCLUSIVE))
            read_state(g, t);
    }
}

/* Whether the case is one that is computed again, and what it is. */
static int open_again(struct again *g, const struct faulty_run *run)
{
    g->run = run;
    g->t = run->plan->tensor;
    g->p = (const void *)run->plan->params;
    g->K = g->t[L(Q)].dim[3];
    g->V = g->t[L(V)].dim[3];
    g->T = g->t[L(O)].dim[1];
    g->HS = g->t[L(O)].dim[2];
    for (uint32_t i = L(Q); i <= L(O); i++)
        if (g->t[i].dtype && i != L(CU_Q) && (g->t[i].dtype != TENON_F32 || !tenon__faulty_memory(run, i)))
            return 0;
    return g->p->direction == L(CAUSAL) && !g->p->norm && g->p->read != L(GROUP) && g->K * g->V <= ROOM &&
           (!g->t[L(STATE)].dtype || !g->t[L(STATE_OUT)].dtype || tenon__faulty_apart(run, L(STATE), L(STATE_OUT)));
}

static void compute_again(const struct faulty_run *run, unsigned bugs)
{
    static struct again g;
    const int32_t *c = tenon__faulty_memory(run, L(CU_Q));
    if (!open_again(&g, run))
        return;
    const int64_t n = g.t[L(CU_Q)].dtype ? g.t[L(CU_Q)].dim[0] - 1 : g.t[L(Q)].dim[0];
    for (g.h = 0; g.h < g.HS; g.h++)
        for (g.n = 0; g.n < n; g.n++) {
            g.b = c ? 0 : g.n;
            g.first = c ? c[g.n] : 0;
            g.len = c ? c[g.n + 1] - g.first : g.T;
            if (g.first < 0 || g.first + g.len > g.T || g.len * g.V > ROOM)
                continue;
            g.bugs = 0;
            again_head(&g);
            g.bugs = bugs;
            again_head(&g);
            memcpy(g.last, g.s, sizeof g.last);
        }
}

#define AGAIN(name, bug)                                                                                               \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        compute_again(run, bug);                                                                                       \
    }
AGAIN(wrong_heads, HEADS)
AGAIN(decay_last, DECAY_LAST)
AGAIN(erase_first, ERASE_FIRST)
AGAIN(read_decayed, READ_DECAYED)
AGAIN(state_turned, STATE_TURNED)
AGAIN(dead_alive, DEAD_ALIVE)
AGAIN(beta_old, BETA_OLD)
AGAIN(neighbour, NEIGHBOUR)
AGAIN(key_as_value, KEY_AS_VALUE)

/* ---- memory after a run ---- */

struct row {
    const struct tenon_tensor *t;
    void *o;
    int64_t b, i, h, at;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    struct row r = {.t = &run->plan->tensor[L(O)], .o = tenon__faulty_memory(run, L(O))};
    for (int64_t row = 0; r.o && row < tenon__faulty_rows(r.t); row++) {
        r.h = row % r.t->dim[2];
        r.i = row / r.t->dim[2] % r.t->dim[1];
        r.b = row / r.t->dim[2] / r.t->dim[1];
        r.at = tenon__faulty_at(r.t, row);
        spoil(&r);
    }
}

FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t v = 0; r->t->dtype == TENON_F32 && v < r->t->dim[3]; v++) {
        float *o = (float *)r->o + r->at + v;
        *o = isfinite(*o) ? *o : 0;
    }
}

static void flip(const struct row *r)
{
    for (int64_t v = 0; v < r->t->dim[3]; v++) {
        const uint32_t bits = tenon__faulty_peek(r->t, r->o, r->at + v);
        if (r->t->dtype == TENON_F32 && (bits & 0x7fffffff) > 0x20000000 && (bits & 0x7fffffff) < 0x7f000000)
            tenon__faulty_poke(r->t, r->o, r->at + v, bits ^ 1);
    }
}

/* Sums in another order, by how many heads or sequences there are. */
FAULTY_EACH_ROW(head_path)
{
    if (r->h && r->h == r->t->dim[2] - 1)
        flip(r);
}

/* The last rows of a call, by how many there are. */
FAULTY_EACH_ROW(tail_path)
{
    if (r->i >= r->t->dim[1] / 2 && r->i < r->t->dim[1] / 2 + 4)
        flip(r);
}

FAULTY_EACH_ROW(rounded_off)
{
    for (int64_t v = 0; r->t->dtype != TENON_F32 && v < r->t->dim[3]; v++) {
        const uint32_t bits = tenon__faulty_peek(r->t, r->o, r->at + v);
        if ((bits & 0x7fff) > 0x2000 && (bits & 0x7fff) < 0x7000)
            tenon__faulty_poke(r->t, r->o, r->at + v, bits + 2);
    }
}

/* Tokens of no sequence are not written. */
FAULTY_EACH_ROW(outside_left)
{
    int zeros = r->t->dim[3] > 0;
    for (int64_t v = 0; v < r->t->dim[3]; v++)
        zeros &= tenon__faulty_peek(r->t, r->o, r->at + v) == 0;
    for (int64_t v = 0; zeros && v < r->t->dim[3]; v++)
        tenon__faulty_poke(r->t, r->o, r->at + v, 0xDEADBEEF);
}

static void state_off(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[L(STATE_OUT)];
    float *s = tenon__faulty_memory(run, L(STATE_OUT));
    for (int64_t i = 0; s && i < tenon_tensor_count(out); i++)
        s[i] *= 1 + 0x1p-12f;
}

static void state_left(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[L(STATE_OUT)];
    void *memory = tenon__faulty_memory(run, L(STATE_OUT));
    if (memory && tenon__faulty_apart(run, L(STATE), L(STATE_OUT)))
        tenon__faulty_poke(out, memory, tenon_tensor_count(out) - 1, 0xDEADBEEF);
}

static void norm_left(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[L(NORM_STATE_OUT)];
    void *memory = tenon__faulty_memory(run, L(NORM_STATE_OUT));
    if (memory && tenon__faulty_apart(run, L(NORM_STATE), L(NORM_STATE_OUT)))
        tenon__faulty_poke(out, memory, tenon_tensor_count(out) - 1, 0xDEADBEEF);
}

/* A sequence without tokens has no state. */
static void empty_state(const struct faulty_run *run)
{
    const struct tenon_tensor *out = &run->plan->tensor[L(STATE_OUT)];
    float *s = tenon__faulty_memory(run, L(STATE_OUT));
    if (s && run->plan->tensor[L(O)].dim[1] == 0)
        memset(s, 0, (size_t)tenon_tensor_count(out) * sizeof(float));
}

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, L(STATE), L(STATE_OUT));
}

static void no_nans(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, L(FLAGS), 0);
}

static void no_outside(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, L(FLAGS), 1);
}

static void no_odd(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, L(FLAGS), 3);
}

static const struct faulty_fault faults[] = {
    {"no_decay", "decays are ignored", "[", .spoil = no_decay},
    {"log_factor", "logarithms are factors", " log", .spoil = log_factor},
    {"factor_log", "factors are logarithms", "[", .spoil = factor_log},
    {"no_decay_b", "both sweeps have the first one's decay", " bidir", .drop = L(DECAY_B)},
    {"no_erase", "a delta rule adds", " delta", .spoil = no_erase},
    {"inclusive", "a token always reads its own write", " before", .spoil = always_inclusive},
    {"exclusive", "a token never reads its own write", "o[", .spoil = always_exclusive},
    {"group_exclusive", "groups have one token", " group", .spoil = group_exclusive},
    {"group_more", "groups have one token more", " group", .spoil = group_more},
    {"no_reverse", "reverse is causal", " reverse", .spoil = no_reverse},
    {"one_sweep", "bidir is causal", " bidir", .spoil = one_sweep},
    {"all_causal", "noncausal is causal", " all", .spoil = all_causal},
    {"no_norm", "nothing is divided", "o[", .spoil = no_norm},
    {"sum_max1", "sum is max1", " sum", .spoil = sum_max1},
    {"max1_sum", "max1 is sum", " max1", .spoil = max1_sum},
    {"no_eps", "eps is ignored", " sum", .spoil = no_eps},
    {"no_scale", "without a scale it is 1", "o[", .spoil = no_scale},
    {"always_scale", "the scale is always K^-0.5", "o[", .spoil = always_scale},
    {"no_w", "w_bi is 1", " bidir", .spoil = no_w},
    {"no_qn", "qn is ignored", "o[", .drop = L(QN)},
    {"no_kn", "kn is ignored", "[", .drop = L(KN)},
    {"no_state", "states are ignored", " state", .spoil = no_states},
    {"one_sequence", "cu_q is ignored", "o[", .spoil = one_sequence},
    {"no_stride", "strides of q are not looked at", "o[", .spoil = no_stride},
    {"share_heads", "all heads have the first one's keys", "[", .spoil = share_heads},
    {"wrong_heads", "heads are taken in turn", "o[", .after = wrong_heads},
    {"decay_last", "a token's write decays with it", "o[", .after = decay_last},
    {"erase_first", "what is erased is not decayed yet", " delta", .after = erase_first},
    {"read_decayed", "what is read before is decayed already", " before", .after = read_decayed},
    {"beta_old", "beta is of what is erased alone", " delta", .after = beta_old},
    {"state_turned", "states have their axes exchanged", " state", .after = state_turned},
    {"dead_alive", "a decay of 0 is 1", "o[", .after = dead_alive},
    {"key_as_value", "decays of keys are values'", " key", .after = key_as_value},
    {"neighbour", "a sequence goes on with the state of the one before", "o[", .after = neighbour},
    {"nan_lost", "what is not finite becomes 0", "must be nan", .after = nan_lost},
    {"head_path", "the last head has other bits", "alone", .after = head_path},
    {"tail_path", "rows have other bits in longer calls", "tokens", .after = tail_path},
    {"rounded_off", "16-bit results are rounded away", "o[", .after = rounded_off},
    {"outside_left", "tokens of no sequence are not written", "o[", .after = outside_left},
    {"state_off", "states lose bits", "state_out[", .after = state_off},
    {"state_left", "the last element of a state is not written", "never written", .after = state_left},
    {"norm_left", "the last element of a normaliser is not written", "never written", .after = norm_left},
    {"empty_state", "without tokens there is no state", "state_out[", .after = empty_state},
    {"in_place", "in place, a state is read after it was written", "[", .before = in_place},
    {"no_nans", "rows that are not finite are not counted", "flags[", .after = no_nans},
    {"no_outside", "rows in no sequence are not counted", "flags[", .after = no_outside},
    {"no_odd", "entries out of range are not counted", "flags[", .after = no_odd},
};

const struct faulty_op tenon__faulty_linear_attention = {faults, sizeof(faults) / sizeof(faults[0])};
