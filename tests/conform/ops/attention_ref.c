/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention in f64: every score of a row, then every weight, then every sum, straight from tenon/ops/attention.h, and
 * the bound of each element. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "attention_suite_ref.h"

#define A(NAME) TENON_ATTENTION_##NAME
#define U       0x1p-24
#define SHARE   0x1p-21 /* what a weight may be off by, before its score's error */
#define FLOOR   0x1p-126

/* A visible key of a row. mag: the magnitudes of what its score is made of; own: of those the ones that may round. */
struct term {
    int64_t slot;
    double s, mag, own;
    double w, slope, z; /* weight, how it changes with s, what it adds to Z */
    double off;         /* adapt: what else its weight may be off by, as a share */
};

struct job {
    struct att a;
    struct conform_want *o, *lnz;
    int64_t nans, empties;
    double *q, *k, *v; /* k [s,D], v [s,V] of a sequence and a kv head, times vscale */
    struct att_key *keys;
    struct term *terms;
};

/* A row and what is known of it as a whole. */
struct row {
    const struct att_seq *seq;
    int64_t h, i, index, n; /* index: of the row among B*T*Hq */
    double sigma, top, top_own;
    double Z, sum_z, shift; /* Z; without sink and norm_eps; weights are times e^-shift */
    double EZ;              /* what Z may be off by, over 2^-21 Z */
    double scale;           /* o = scale * sum w v / Z */
    int nan, noise;
};

/* ---- k and v ---- */

static float decoded(const struct att *a, int is_v, int64_t row, int64_t hk, int64_t d, int64_t width)
{
    const uint32_t codes = is_v ? A(V) : A(K), side = is_v ? A(V_QUANT) : A(K_QUANT);
    const uint32_t kind = is_v ? a->p->quant_v : a->p->quant_k, bits = is_v ? a->p->v_bits : a->p->k_bits;
    const struct tenon_tensor *quant = &a->c->slot[side].tensor;
    const int64_t bytes = width * (int64_t)bits / 8;
    const uint32_t byte = (uint32_t)tenon__att_get(a, codes, row * bytes + d * (int64_t)bits / 8);
    const uint32_t code = byte >> d * (int64_t)bits % 8 & ((1u << bits) - 1);
    const int token = kind == A(AFFINE_TOKEN) || kind == A(LUT_TOKEN);
    const int64_t groups = token ? quant->dim[quant->rank - 2] : 1;
    const int64_t at = token ? row * groups + d / (width / groups) : hk * width + d;
    const float s = (float)tenon__att_get(a, side, 2 * at), z = (float)tenon__att_get(a, side, 2 * at + 1);
    float x;
    if (kind == A(AFFINE_TOKEN) || kind == A(AFFINE_CHANNEL)) {
        x = (float)code - z;
        return x * s;
    }
    x = (float)tenon__att_get(a, is_v ? A(V_TABLE) : A(K_TABLE), code) * s;
    return x + z;
}

static void load(struct job *j, const struct att_seq *seq, int64_t hk)
{
    const struct att *a = &j->a;
    for (int64_t local = 0; local < seq->s; local++) {
        const int64_t slot = seq->k0 + local, row = tenon__att_row(a, seq, slot, hk);
        double vscale = 1;
        if (row < 0)
            continue;
        if (tenon__att_has(a, A(VSCALE)))
            vscale = tenon__att_get(a, A(VSCALE), (seq->row * a->s + slot) * a->hk + hk);
        for (int64_t d = 0; d < a->d; d++)
            j->k[local * a->d + d] =
                a->p->quant_k ? (double)decoded(a, 0, row, hk, d, a->d) : tenon__att_get(a, A(K), row * a->d + d);
        for (int64_t d = 0; d < a->v; d++)
            j->v[local * a->v + d] = vscale * (a->p->quant_v ? (double)decoded(a, 1, row, hk, d, a->v)
                                                             : tenon__att_get(a, A(V), row * a->v + d));
    }
}

/* ---- scores ---- */

/* s becomes `to` by a step in which terms of magnitude `size` meet: f32 may round where the sum is no f32. */
static void step(struct term *t, double to, double size)
{
    t->s = to;
    t->mag += size;
    if ((double)(float)to != to)
        t->own += size;
}

static double per_row(const struct job *j, uint32_t tensor, const struct row *r)
{
    return tenon__att_get(&j->a, tensor, r->index);
}

static void added(const struct job *j, const struct row *r, const struct att_key *key, struct term *t)
{
    const struct att *a = &j->a;
    const int64_t hk = r->h / (a->hq / a->hk), at = r->seq->row * a->s + key->slot;
    if (tenon__att_has(a, A(SLOPE))) {
        const int32_t far = (int32_t)(uint32_t)(key->pos - tenon__att_qpos(a, r->seq, r->i));
        const double x = tenon__att_get(a, A(SLOPE), r->h) * (double)far;
        step(t, t->s + x, fabs(x));
    }
    if (tenon__att_has(a, A(FCUM))) {
        const double x = per_row(j, A(FCUM), r), y = tenon__att_get(a, A(FCUM_K), at * a->hq + r->h);
        step(t, t->s + (x - y), fabs(x) + fabs(y));
    }
    if (tenon__att_has(a, A(MASK))) {
        const double x = tenon__att_get(a, A(MASK), tenon__att_mask(a, r->seq, r->h, r->i, key->slot));
        step(t, t->s + x, fabs(x));
    }
    if (tenon__att_has(a, A(LOGW))) {
        const double x =
            tenon__att_get(a, A(LOGW), a->c->slot[A(LOGW)].tensor.rank == 1 ? key->entry : at * a->hk + hk);
        step(t, t->s + x, fabs(x));
    }
}

static void score(const struct job *j, const struct row *r, const struct att_key *key, struct term *t)
{
    const struct att *a = &j->a;
    const struct tenon_attention_params *p = a->p;
    const double scale = p->scale != 0 ? (double)p->scale : 1 / sqrt((double)a->d);
    const double *k = j->k + (key->slot - r->seq->k0) * a->d;
    double dot = 0, size = 0;
    for (int64_t d = 0; d < a->d; d++) {
        dot += j->q[d] * k[d];
        size += fabs(j->q[d] * k[d]);
    }
    *t = (struct term){.slot = key->slot, .s = scale * dot, .mag = fabs(scale) * size, .own = fabs(scale) * size};
    if (tenon__att_has(a, A(QTEMP))) {
        const double temp = per_row(j, A(QTEMP), r);
        t->s *= temp;
        t->mag *= fabs(temp);
        t->own = t->mag;
    }
    if (p->softcap > 0)
        t->s = (double)p->softcap * tanh(t->s / (double)p->softcap);
    added(j, r, key, t);
    if (p->smax < FLT_MAX && t->s > (double)p->smax)
        t->s = (double)p->smax;
}

/* The scores of a row; those that are -Inf are not visible. */
static void score_row(struct job *j, struct row *r)
{
    const struct att *a = &j->a;
    const int64_t n = tenon__att_keys(a, r->seq, r->h, r->i, j->keys);
    const int online = a->p->weight == A(EXP) || a->p->weight == A(SOFTPICK);
    int row_nan = 0;
    r->top = -(double)INFINITY;
    for (int64_t d = 0; d < a->d; d++)
        j->q[d] = tenon__att_get(a, A(Q), r->index * a->d + d);
    for (int64_t x = 0; x < n; x++) {
        struct term *t = &j->terms[r->n];
        if (tenon__att_has(a, A(MASK)) &&
            tenon__att_get(a, A(MASK), tenon__att_mask(a, r->seq, r->h, r->i, j->keys[x].slot)) == -(double)INFINITY)
            continue;
        score(j, r, &j->keys[x], t);
        if (t->s == -(double)INFINITY)
            continue;
        row_nan |= isnan(t->s) || (online && isinf(t->s));
        if (t->s > r->top) {
            r->top = t->s;
            r->top_own = t->own;
        }
        r->sigma = fmax(r->sigma, t->mag);
        r->n++;
    }
    r->nan = row_nan;
}

/* ---- weights ---- */

static void weigh(const struct job *j, const struct row *r, struct term *t)
{
    const struct tenon_attention_params *p = j->a.p;
    const double near = SHARE * (1 + r->sigma), s = t->s;
    switch (p->weight) {
    case A(EXP):
        t->w = t->slope = t->z = exp(s - r->shift);
        return;
    case A(SIGMOID): {
        const double x = s + (double)p->bias;
        t->w = t->z = x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
        t->slope = t->w;
        return;
    }
    case A(RELU):
        t->w = t->z = s > 0 ? s : 0;
        t->slope = s > -near;
        return;
    case A(RELU2):
        t->w = t->z = s > 0 ? s * s : 0;
        t->slope = s > -near ? 2 * fabs(s) + near : 0;
        return;
    case A(QUAD):
        t->w = t->z = (s + (double)p->quad_c) * (s + (double)p->quad_c);
        t->slope = 2 * fabs(s + (double)p->quad_c) + near;
        return;
    case A(LINEAR):
        t->w = t->z = s;
        t->slope = 1;
        return;
    default: { /* SOFTPICK */
        const double x = exp(s - r->shift) - exp(-r->shift);
        t->w = x > 0 ? x : 0;
        t->z = fabs(x);
        /* two exponentials of which f32 rounds each, however small s is: their errors are those of an s of 1 */
        t->slope = exp(s - r->shift) * (1 + 1 / fmax(r->sigma, FLOOR));
    }
    }
}

static double adapt_beta(double H)
{
    const double x = (((-0.037 * H + 0.481) * H - 2.3) * H + 4.917) * H - 1.791;
    return H > 0.5 && x > 1 ? x : 1;
}

/* Scores times what their entropy makes of them. */
static void adapt(struct job *j, struct row *r)
{
    double Z = 0, mean = 0, H, beta, turn, spread = 0;
    for (int64_t x = 0; x < r->n; x++) {
        const double e = exp(j->terms[x].s - r->top);
        Z += e;
        mean += e * (j->terms[x].s - r->top);
    }
    mean /= Z;
    H = log(Z) - mean;
    beta = adapt_beta(H);
    for (int64_t x = 0; x < r->n; x++)
        spread += exp(j->terms[x].s - r->top) / Z * fabs(j->terms[x].s - r->top - mean);
    const double off = 4e-6 * (1 + log((double)r->n)) + SHARE * r->sigma * spread;
    turn = fmax(fabs(adapt_beta(H + off) - beta), fabs(adapt_beta(H - off) - beta)) + 8 * U * beta;
    for (int64_t x = 0; x < r->n; x++) {
        struct term *t = &j->terms[x];
        t->off = 2 * turn * fabs(t->s - r->top - mean);
        t->s *= beta;
        t->mag *= beta;
        t->own = t->mag;
    }
    r->top *= beta;
    r->top_own *= beta;
    r->sigma *= beta;
}

static double sink_of(const struct job *j, const struct row *r)
{
    return tenon__att_has(&j->a, A(SINK_LOGIT)) ? tenon__att_get(&j->a, A(SINK_LOGIT), r->h) : 0;
}

/* Z and what it may be off by. */
static void normalise(struct job *j, struct row *r)
{
    const struct tenon_attention_params *p = j->a.p;
    double off = 0, slopes = 0;
    r->sum_z = 0;
    r->scale = 1;
    for (int64_t x = 0; x < r->n; x++) {
        struct term *t = &j->terms[x];
        weigh(j, r, t);
        r->sum_z += t->z;
        off += fabs(t->z) + r->sigma * t->slope;
        slopes += t->slope;
    }
    r->Z = r->sum_z;
    if (p->norm == A(SUM)) /* of SOFTPICK Z is times e^-shift already */
        r->Z += (double)p->norm_eps;
    if (p->norm == A(SINK)) {
        const double sink = exp(sink_of(j, r) - r->shift);
        r->Z += sink;
        off += sink * (1 + fabs(sink_of(j, r)) + r->sigma);
    }
    if (p->norm >= A(NONE)) {
        const double n = (double)r->n;
        r->Z = p->norm == A(NONE) ? 1 : p->norm == A(COUNT) ? n : exp((double)p->pow_alpha * log(n));
        r->scale = p->weight == A(EXP) || p->weight == A(SOFTPICK) ? exp(r->shift) : 1;
        off = p->norm == A(POW) ? r->Z : 0;
    }
    r->EZ = r->Z != 0 ? off / fabs(r->Z) : 0;
    r->noise =
        p->norm <= A(SINK) && p->weight != A(EXP) && p->weight != A(SIGMOID) && fabs(r->Z) < 1e-6 * r->sigma * slopes;
}

/* ---- sums ---- */

/* Element d of a row before the gate, and its bound. */
static double sum_row(const struct job *j, const struct row *r, int64_t d, double *bound)
{
    const struct att *a = &j->a;
    const struct tenon_attention_params *p = a->p;
    const int relative = p->weight == A(EXP) || p->weight == A(SIGMOID), plain = p->norm >= A(NONE);
    const double bias = p->weight == A(SIGMOID) ? fabs((double)p->bias) : 0;
    double sum = 0, size = 0, exact = 0, slopes = 0, off = 0, own_z = 0, all = 0;
    for (int64_t x = 0; x < r->n; x++) {
        const struct term *t = &j->terms[x];
        const double v = j->v[(t->slot - r->seq->k0) * a->v + d], own = fmax(t->own, r->top_own);
        sum += t->w * v;
        size += fabs(t->w * v);
        slopes += r->sigma * t->slope * fabs(v);
        exact += (1 + own) * fabs(t->w * v);
        own_z += (1 + own) * t->z;
        off += t->off * fabs(t->w * v);
        all += fabs(v);
    }
    if (r->Z == 0) {
        *bound = r->noise || isnan(sum) ? (double)INFINITY : 0;
        return 0;
    }
    sum *= r->scale / r->Z;
    size *= r->scale / fabs(r->Z);
    if (relative) {
        *bound = SHARE * (1 + r->sigma + bias) * size;
        if (!plain && p->norm == A(SUM) && p->weight == A(EXP))
            *bound = fmin(*bound, SHARE * (exact / r->Z + own_z / r->Z * size));
        else if (p->norm == A(POW))
            *bound += SHARE * r->EZ * size;
    } else {
        *bound = SHARE * (size + slopes * r->scale / fabs(r->Z) + r->EZ * size);
    }
    *bound += off * r->scale / r->Z + FLOOR * (1 + all) * fmax(1, r->scale / fabs(r->Z));
    if (p->fast)
        *bound += 2 * 0x1p-8 * size;
    if (r->noise)
        *bound = (double)INFINITY;
    return sum;
}

static double sum_clipped(const struct job *j, const struct row *r, int64_t d, double *bound)
{
    const struct tenon_attention_params *p = j->a.p;
    const double wide = (double)p->clip_zeta - (double)p->clip_gamma;
    double sum = 0, all = 0;
    *bound = 0;
    for (int64_t x = 0; x < r->n; x++) {
        const struct term *t = &j->terms[x];
        const double v = j->v[(t->slot - r->seq->k0) * j->a.v + d], share = t->w / r->Z;
        const double off = wide * (SHARE * (1 + r->sigma) * share + 2 * U), y = wide * share + (double)p->clip_gamma;
        const double clipped = y < 0 ? 0 : y > 1 ? 1 : y;
        sum += clipped * v;
        *bound += SHARE / 2 * fabs(clipped * v);
        if (y > -off && y < 1 + off)
            *bound += off * fabs(v);
        all += fabs(v);
    }
    *bound += FLOOR * (1 + all);
    if (p->fast)
        *bound += 2 * 0x1p-8 * all;
    return sum;
}

static double gate_of(const struct job *j, const struct row *r, int64_t d)
{
    const struct att *a = &j->a;
    double x, y;
    if (!tenon__att_has(a, A(GATE)))
        return 1;
    x = tenon__att_get(a, A(GATE), a->c->slot[A(GATE)].tensor.rank == 4 ? r->index * a->v + d : r->index);
    y = x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
    return (double)a->p->gate_mul * (a->p->gate_act == A(GATE_SIGMOID) ? y
                                     : a->p->gate_act == A(GATE_SILU)  ? x * y
                                                                       : x);
}

static void put_row(const struct job *j, const struct row *r)
{
    const struct att *a = &j->a;
    const uint32_t dtype = a->c->slot[A(O)].tensor.dtype;
    const double u_out = dtype == TENON_F32 ? U : dtype == TENON_F16 ? 0x1p-11 : 0x1p-8;
    const int gated = tenon__att_has(a, A(GATE));
    for (int64_t d = 0; d < a->v; d++) {
        const double gate = gate_of(j, r, d);
        double bound = 0, o = r->nan                       ? (double)NAN
                              : !r->n                      ? 0
                              : a->p->post == A(POST_CLIP) ? sum_clipped(j, r, d, &bound)
                                                           : sum_row(j, r, d, &bound);
        o *= gate;
        bound = bound * fabs(gate) + (gated ? 8 * U * fabs(o) : 0) + 1.01 * u_out * fabs(o);
        bound += r->n && dtype == TENON_F16 ? 0x1p-25 : gated ? FLOOR : 0;
        j->o->want[r->index * a->v + d] = o;
        j->o->bound[r->index * a->v + d] = isnan(o) || a->c->mode == CONFORM_EXACT ? 0 : bound;
    }
}

static void put_lnz(const struct job *j, const struct row *r)
{
    const struct tenon_attention_params *p = j->a.p;
    const int relative = p->weight == A(EXP) || p->weight == A(SIGMOID);
    double lnz = -(double)INFINITY, bound = 0;
    if (!j->lnz->want)
        return;
    if (r->n && p->norm == A(COUNT))
        lnz = log((double)r->n);
    else if (r->n)
        lnz = (p->weight == A(EXP) || p->weight == A(SOFTPICK) ? r->shift : 0) + log(r->sum_z);
    bound = SHARE * (1 + (relative ? r->sigma : p->norm == A(COUNT) ? 0 : r->EZ)) + 2 * U * fabs(lnz);
    j->lnz->want[r->index] = r->nan ? (double)NAN : lnz;
    j->lnz->bound[r->index] = r->noise && p->norm != A(COUNT) ? (double)INFINITY : isfinite(lnz) ? bound : 0;
}

/* ---- rows ---- */

static void expect_row(struct job *j, const struct att_seq *seq, int64_t h, int64_t i)
{
    const struct att *a = &j->a;
    struct row r = {.seq = seq, .h = h, .i = i, .index = (seq->b * a->t + seq->q0 + i) * a->hq + h};
    score_row(j, &r);
    j->nans += r.nan;
    j->empties += !r.n;
    if (r.n && !r.nan) {
        if (a->p->adapt)
            adapt(j, &r);
        r.shift = a->p->weight == A(SOFTPICK) ? fmax(r.top, 0) : r.top;
        if (a->p->norm == A(SINK))
            r.shift = fmax(r.shift, sink_of(j, &r));
        normalise(j, &r);
    }
    put_row(j, &r);
    put_lnz(j, &r);
}

/* Rows of a packed q that are in no sequence see nothing. */
static void expect_outside(struct job *j, int64_t from, int64_t to)
{
    const struct att_seq none = {.t = j->a.t};
    for (int64_t i = from; i < to; i++)
        for (int64_t h = 0; h < j->a.hq; h++) {
            const struct row r = {.seq = &none, .h = h, .i = i, .index = i * j->a.hq + h};
            j->empties++;
            put_row(j, &r);
            put_lnz(j, &r);
        }
}

static void expect_rows(struct job *j)
{
    const struct att *a = &j->a;
    const int64_t group = a->hk ? a->hq / a->hk : 0;
    int64_t done = 0;
    for (int64_t n = 0; n < a->n; n++) {
        const struct att_seq seq = tenon__att_seq(a, n);
        if (a->varlen && n == 0)
            expect_outside(j, 0, seq.q0);
        done = seq.q0 + seq.t;
        for (int64_t hk = 0; seq.t && hk < a->hk; hk++) {
            load(j, &seq, hk);
            for (int64_t h = hk * group; h < (hk + 1) * group; h++)
                for (int64_t i = 0; i < seq.t; i++)
                    expect_row(j, &seq, h, i);
        }
    }
    if (a->varlen)
        expect_outside(j, done, a->t);
}

void tenon__conform_attention_expect(const struct conform_case *c, struct conform_want *want)
{
    struct job j = {.o = &want[A(O)], .lnz = &want[A(LNZ)]};
    tenon__att_open(&j.a, c);
    j.q = malloc(sizeof(double) * (size_t)(j.a.d + j.a.s * (j.a.d + j.a.v) + 1));
    j.keys = malloc(sizeof(*j.keys) * (size_t)(j.a.s + 1));
    j.terms = malloc(sizeof(*j.terms) * (size_t)(j.a.s + 1));
    if (j.q && j.keys && j.terms) {
        j.k = j.q + j.a.d;
        j.v = j.k + j.a.s * j.a.d;
        memset(j.k, 0, sizeof(double) * (size_t)(j.a.s * (j.a.d + j.a.v)));
        j.o->exact = c->mode == CONFORM_EXACT;
        expect_rows(&j);
    }
    if (want[A(FLAGS)].want) {
        const int64_t counts[4] = {j.nans, j.empties, 0, tenon__att_odd(&j.a)};
        want[A(FLAGS)].exact = 1;
        for (int i = 0; i < 4; i++)
            want[A(FLAGS)].want[i] = (double)counts[i];
    }
    free(j.terms);
    free(j.keys);
    free(j.q);
}

/* Rows whose Z is rounding noise are held to nothing but this. */
int tenon__conform_attention_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct conform_slot *o = &c->slot[A(O)];
    for (int64_t e = 0; e < want[A(O)].count; e++) {
        const double got = conform_get(conform_first(o), o->tensor.dtype, conform_offset(&o->tensor, e));
        if (isinf(want[A(O)].bound[e]) && isfinite(want[A(O)].want[e]) && o->tensor.dtype != TENON_F16 && isnan(got))
            return tenon_why_set(why, 1, "o[%lld] is NaN, though what it is made of is finite", (long long)e);
    }
    return 0;
}
