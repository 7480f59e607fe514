/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention in f64, token by token as tenon/ops/linear_attention.h writes it, and the bound of each element. An
 * element that is not finite is NaN here, with any bound: which of NaN and Inf it is, is not said, and check() sees to
 * it that it is one of them. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/linear_attention.h>
#include "../conform.h"

#define U        0x1p-24
#define FLOOR    0x1p-125
#define HUGE_SUM 1e37
#define I(NAME)  TENON_LINEAR_ATTENTION_##NAME

/* One state head of one sequence, tokens first .. first + len of batch b, and what is kept while it runs. */
struct head {
    const struct conform_case *c;
    const struct tenon_linear_attention_params *p;
    int64_t K, V, HS, T;
    int64_t n, b, h, first, len;
    double scale, most_k, most_v, most_kn, most_s, most_z;
    int unbound;                  /* errors may grow */
    int exact;                    /* small whole numbers: nothing is rounded, but signs of zeros are not said */
    double *q, *k, *v, *a, *aa, *qn, *kn, *u; /* of a token; aa: as the bound takes it */
    double *s, *sa, *z, *za;      /* states, and those of absolute values */
    double *old, *olda, *zold, *zolda; /* those that a group reads */
    double *value, *off;          /* [len,V] before the last rounding */
    double *x, *xsum, *all;       /* DELTA's X of a sweep, and of all [V]; sums */
    double *divisor;              /* [len] |D| */
};

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* A row of the last axis. */
static void load(const struct conform_case *c, uint32_t i, int64_t row, int64_t width, double *to)
{
    const struct conform_slot *slot = &c->slot[i];
    const int64_t from = conform_offset(&slot->tensor, row * width);
    for (int64_t j = 0; j < width; j++)
        to[j] = conform_get(conform_first(slot), slot->tensor.dtype, from + j);
}

static int given(const struct head *h, uint32_t i)
{
    return h->c->slot[i].tensor.dtype != 0;
}

/* The row of token t (of the sequence) in a tensor [B,T,Hx,..]. */
static int64_t row_of(const struct head *h, uint32_t i, int64_t t)
{
    const int64_t heads = h->c->slot[i].tensor.dim[2];
    return (h->b * h->T + h->first + t) * heads + h->h * heads / h->HS;
}

static double factor(const struct head *h, double x)
{
    return h->p->decay_form == I(LOG) ? exp(x) : x;
}

/* a of token t, as one number a key (VALUE: a value). */
static void load_decay(struct head *h, uint32_t i, int64_t t)
{
    const int64_t wide = h->p->decay == I(VALUE) ? h->V : h->K, row = (h->b * h->T + h->first + t) * h->HS + h->h;
    if (h->p->decay == I(KEY) || h->p->decay == I(VALUE)) {
        load(h->c, i, row, wide, h->a);
        for (int64_t j = 0; j < wide; j++)
            h->a[j] = factor(h, h->a[j]);
    } else {
        const double a = h->p->decay ? factor(h, at(h->c, i, h->p->decay == I(HEAD) ? h->h : row)) : 1;
        for (int64_t j = 0; j < wide; j++)
            h->a[j] = a;
    }
    for (int64_t j = 0; j < wide; j++) {
        h->aa[j] = fabs(h->a[j]);
        h->unbound |= h->aa[j] > 1 && h->p->update == I(DELTA);
    }
}

static void load_token(struct head *h, int second, int64_t t)
{
    const struct conform_case *c = h->c;
    load(c, I(Q), row_of(h, I(Q), t), h->K, h->q);
    load(c, I(K), row_of(h, I(K), t), h->K, h->k);
    load(c, I(V), row_of(h, I(V), t), h->V, h->v);
    if (given(h, I(QN)))
        load(c, I(QN), row_of(h, I(QN), t), h->K, h->qn);
    else
        memcpy(h->qn, h->q, (size_t)h->K * sizeof(double));
    if (given(h, I(KN)))
        load(c, I(KN), row_of(h, I(KN), t), h->K, h->kn);
    else
        memcpy(h->kn, h->k, (size_t)h->K * sizeof(double));
    load_decay(h, second && given(h, I(DECAY_B)) ? I(DECAY_B) : I(DECAY), t);
}

/* ---- a token ---- */

static void decay(struct head *h)
{
    const int by_value = h->p->decay == I(VALUE);
    for (int64_t k = 0; h->p->decay && k < h->K; k++) {
        double *s = h->s + k * h->V, *sa = h->sa + k * h->V;
        for (int64_t v = 0; v < h->V; v++) {
            s[v] *= by_value ? h->a[v] : h->a[k];
            sa[v] *= by_value ? h->aa[v] : h->aa[k];
        }
        if (h->p->norm) {
            h->z[k] *= h->a[k];
            h->za[k] *= h->aa[k];
        }
    }
}

/* DELTA: what is written; and X before and after. */
static void erase(struct head *h, int64_t t)
{
    const double beta = at(h->c, I(BETA), (h->b * h->T + h->first + t) * h->HS + h->h);
    double kk = 0;
    memset(h->u, 0, (size_t)h->V * sizeof(double));
    for (int64_t k = 0; k < h->K; k++) {
        kk += h->k[k] * h->k[k];
        for (int64_t v = 0; v < h->V; v++)
            h->u[v] += h->s[k * h->V + v] * h->k[k];
    }
    for (int64_t v = 0; v < h->V; v++)
        h->u[v] = beta * (h->v[v] - h->u[v]);
    h->unbound |= beta * kk < 0 || beta * kk > 2;
}

static void widen(struct head *h, double beta)
{
    double kk = 0;
    for (int64_t k = 0; k < h->K; k++)
        kk += h->k[k] * h->k[k];
    memset(h->all, 0, (size_t)h->V * sizeof(double));
    for (int64_t i = 0; i < h->K * h->V; i += h->V)
        for (int64_t v = 0; v < h->V; v++)
            h->all[v] += h->s[i + v] * h->s[i + v];
    for (int64_t v = 0; v < h->V; v++) {
        const double x = sqrt(h->all[v]) + sqrt(kk) * fabs(beta * h->v[v]);
        if (isfinite(x))
            h->x[v] = fmax(h->x[v], x);
    }
}

static void write(struct head *h, int64_t t)
{
    const int delta = h->p->update == I(DELTA);
    if (delta)
        erase(h, t);
    else
        memcpy(h->u, h->v, (size_t)h->V * sizeof(double));
    for (int64_t k = 0; k < h->K; k++) {
        double *s = h->s + k * h->V, *sa = h->sa + k * h->V;
        for (int64_t v = 0; v < h->V; v++) {
            s[v] += h->k[k] * h->u[v];
            sa[v] += fabs(h->k[k] * h->u[v]);
        }
        if (h->p->norm) {
            h->z[k] += h->kn[k];
            h->za[k] += fabs(h->kn[k]);
        }
    }
    if (delta)
        widen(h, at(h->c, I(BETA), (h->b * h->T + h->first + t) * h->HS + h->h));
}

static double coefficient(const struct head *h)
{
    const double e = h->p->decay_form == I(LOG) ? 2 : 0.5, t = (double)h->len, k = (double)h->K;
    return U * (h->p->update == I(DELTA) ? 64 + k + 4 * t : 64 + k / 2 + e * t);
}

static void divide(struct head *h, int64_t t, const double *z, const double *za, double *value, double *off)
{
    double den = 0, ad = 0, c = coefficient(h);
    for (int64_t k = 0; k < h->K; k++) {
        den += h->qn[k] * z[k];
        ad += fabs(h->qn[k]) * za[k];
    }
    den *= h->scale;
    ad = fabs(h->scale) * ad + (double)h->p->eps;
    if (h->p->norm == I(SUM))
        den += (double)h->p->eps;
    else
        den = fabs(den) < 1 ? 1 : fabs(den);
    h->divisor[t] = den == 0 ? 1 : fabs(den);
    for (int64_t v = 0; v < h->V; v++) {
        const double o = den == 0 ? 0 : value[v] / den;
        off[v] = fabs(den) < 4 * c * ad || isinf(den) ? (double)INFINITY
                 : den == 0                           ? 0
                                                      : (off[v] + c * fabs(o) * ad) / fabs(den);
        value[v] = o;
    }
}

/* Adds to the token's row what it reads. */
static void read(struct head *h, int64_t t)
{
    const int group = h->p->read == I(GROUP), both = h->p->direction == I(BIDIR);
    const double *s = group ? h->old : h->s, *sa = group ? h->olda : h->sa, c = coefficient(h);
    double *value = h->value + t * h->V, *off = h->off + t * h->V;
    memset(h->u, 0, (size_t)h->V * sizeof(double));
    memset(h->all, 0, (size_t)h->V * sizeof(double));
    for (int64_t k = 0; k < h->K; k++, s += h->V, sa += h->V)
        for (int64_t v = 0; v < h->V; v++) {
            h->u[v] += h->q[k] * s[v];
            h->all[v] += fabs(h->q[k]) * sa[v];
        }
    for (int64_t v = 0; v < h->V; v++) {
        value[v] += h->scale * h->u[v] * (both ? (double)h->p->w_bi : 1);
        off[v] += c * fabs(h->scale) * h->all[v] * (both ? fabs((double)h->p->w_bi) : 1);
    }
    h->divisor[t] = 1;
    if (h->p->norm)
        divide(h, t, group ? h->zold : h->z, group ? h->zolda : h->za, value, off);
}

/* ---- a sequence ---- */

static void begin(struct head *h)
{
    const size_t size = (size_t)(h->K * h->V) * sizeof(double), wide = (size_t)h->K * sizeof(double);
    memset(h->s, 0, size);
    memset(h->z, 0, wide);
    memset(h->x, 0, (size_t)h->V * sizeof(double));
    if (given(h, I(STATE)))
        for (int64_t i = 0; i < h->K * h->V; i++)
            h->s[i] = at(h->c, I(STATE), (h->n * h->HS + h->h) * h->K * h->V + i);
    if (given(h, I(NORM_STATE)))
        load(h->c, I(NORM_STATE), h->n * h->HS + h->h, h->K, h->z);
    for (int64_t i = 0; i < h->K * h->V; i++)
        h->sa[i] = fabs(h->s[i]);
    for (int64_t i = 0; i < h->K; i++)
        h->za[i] = fabs(h->z[i]);
    memset(h->k, 0, wide);
    memset(h->v, 0, (size_t)h->V * sizeof(double));
    if (h->p->update == I(DELTA))
        widen(h, 0);
}

static void keep(struct head *h)
{
    const size_t size = (size_t)(h->K * h->V) * sizeof(double), wide = (size_t)h->K * sizeof(double);
    memcpy(h->old, h->s, size);
    memcpy(h->olda, h->sa, size);
    memcpy(h->zold, h->z, wide);
    memcpy(h->zolda, h->za, wide);
}

static void sweep(struct head *h, int second)
{
    const int backwards = h->p->direction == I(REVERSE) || second, all = h->p->direction == I(NONCAUSAL);
    begin(h);
    for (int64_t i = 0; i < h->len; i++) {
        const int64_t t = backwards ? h->len - 1 - i : i;
        load_token(h, second, t);
        if (h->p->read == I(GROUP) && i % h->p->group == 0)
            keep(h);
        if (h->p->read != I(INCLUSIVE))
            read(h, t);
        decay(h);
        write(h, t);
        if (h->p->read == I(INCLUSIVE) && !all)
            read(h, t);
    }
    for (int64_t t = 0; all && t < h->len; t++) {
        load_token(h, 0, t);
        read(h, t);
    }
    for (int64_t v = 0; v < h->V; v++)
        h->xsum[v] += h->x[v];
}

/* ---- bounds ---- */

static void most(double *to, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i]))
            *to = fmax(*to, fabs(x[i]));
}

static void find_most(struct head *h)
{
    h->most_k = h->most_v = h->most_kn = h->most_s = h->most_z = 0;
    begin(h);
    most(&h->most_s, h->s, h->K * h->V);
    most(&h->most_z, h->z, h->K);
    for (int64_t t = 0; t < h->len; t++) {
        load_token(h, 0, t);
        most(&h->most_k, h->k, h->K);
        most(&h->most_kn, h->kn, h->K);
        most(&h->most_v, h->v, h->V);
    }
}

static void put(struct conform_want *y, int64_t index, double value, double off)
{
    y->want[index] = isfinite(value) ? value : (double)NAN;
    y->bound[index] = isfinite(value) && isfinite(off) && fabs(value) + off < HUGE_SUM ? off : (double)INFINITY;
}

/* What may be lost by numbers that are flushed, in state entries of one column; q: what reads them. */
static double flushed(const struct head *h, int64_t v, double q)
{
    const double t = (double)h->len;
    const double m = h->p->update == I(DELTA) ? h->xsum[v] : t * h->most_k * h->most_v + h->most_s;
    return FLOOR * (1 + (double)h->K * t) * (1 + q) * (1 + h->most_v + m);
}

static void put_row(struct head *h, struct conform_want *want, int64_t t)
{
    static const double halves[] = {0x1p-24, 0x1p-11, 0x1p-8};
    const uint32_t dtype = h->c->slot[I(O)].tensor.dtype;
    const double half = halves[dtype == TENON_F32 ? 0 : dtype == TENON_F16 ? 1 : 2], scale = fabs(h->scale);
    const double w = h->p->direction == I(BIDIR) ? fabs((double)h->p->w_bi) : 1, c = coefficient(h);
    const int64_t row = (h->b * h->T + h->first + t) * h->HS + h->h;
    struct conform_want *flags = &want[I(FLAGS)];
    double sum = 0, qq = 0;
    int lost = 0, open = 0;
    load(h->c, I(Q), row_of(h, I(Q), t), h->K, h->q);
    for (int64_t k = 0; k < h->K; k++) {
        sum += fabs(h->q[k]);
        qq += h->q[k] * h->q[k];
    }
    for (int64_t v = 0; v < h->V; v++) {
        const double o = h->value[t * h->V + v], part = h->p->norm ? (1 + fabs(o)) / h->divisor[t] : 1;
        double off = h->p->update == I(DELTA) ? c * scale * sqrt(qq) * w * h->xsum[v] : h->off[t * h->V + v];
        off += flushed(h, v, scale * sum) * part * (h->p->direction == I(BIDIR) ? 1 + 2 * w : 1);
        if (h->exact || h->unbound)
            off = h->unbound ? (double)INFINITY : 0;
        put(&want[I(O)], row * h->V + v, o, off);
        if (isfinite(o) && isfinite(want[I(O)].bound[row * h->V + v]))
            want[I(O)].bound[row * h->V + v] += (h->exact && dtype == TENON_F32 ? 0 : 1.01 * half * fabs(o)) +
                                                (dtype == TENON_F16 ? 0x1p-25 : 0);
        else
            lost |= !isfinite(o), open |= isfinite(o);
    }
    if (flags->want) {
        flags->want[0] += lost && !h->unbound;
        flags->bound[0] += (!lost && open) || h->unbound;
    }
}

static void put_states(struct head *h, struct conform_want *want)
{
    const double c = coefficient(h), t = (double)h->len;
    const int64_t at_head = h->n * h->HS + h->h;
    for (int64_t i = 0; want[I(STATE_OUT)].want && i < h->K * h->V; i++) {
        const double off = h->unbound ? (double)INFINITY
                           : c * (h->p->update == I(DELTA) ? h->xsum[i % h->V] : h->sa[i]) +
                                 flushed(h, i % h->V, 0);
        put(&want[I(STATE_OUT)], at_head * h->K * h->V + i, h->s[i],
            h->len && !(h->exact && !h->unbound) ? off : 0);
    }
    for (int64_t i = 0; want[I(NORM_STATE_OUT)].want && i < h->K; i++)
        put(&want[I(NORM_STATE_OUT)], at_head * h->K + i, h->z[i],
            h->len ? c * h->za[i] + FLOOR * (1 + t) * (1 + t * h->most_kn + h->most_z) : 0);
}

static void expect_head(struct head *h, struct conform_want *want)
{
    h->unbound = 0;
    memset(h->xsum, 0, (size_t)h->V * sizeof(double));
    memset(h->value, 0, (size_t)(h->len * h->V) * sizeof(double));
    memset(h->off, 0, (size_t)(h->len * h->V) * sizeof(double));
    find_most(h);
    if (h->p->direction == I(BIDIR))
        sweep(h, 1);
    sweep(h, 0);
    for (int64_t t = 0; t < h->len; t++)
        put_row(h, want, t);
    put_states(h, want);
}

static void expect_sequences(struct head *h, struct conform_want *want)
{
    const struct tenon_tensor *cu = &h->c->slot[I(CU_Q)].tensor;
    const int64_t n = cu->dtype ? cu->dim[0] : h->c->slot[I(Q)].tensor.dim[0] + 1;
    double last = 0, inside = 0;
    for (int64_t i = 0; i < n; i++) {
        const double own = cu->dtype ? at(h->c, I(CU_Q), i) : 0;
        const double here = cu->dtype ? fmax(last, fmin(own, (double)h->T)) : i ? (double)h->T : 0;
        if (want[I(FLAGS)].want)
            want[I(FLAGS)].want[3] += cu->dtype && here != own;
        h->n = i - 1;
        h->b = cu->dtype ? 0 : i - 1;
        h->first = cu->dtype ? (int64_t)last : 0;
        h->len = (int64_t)here - h->first;
        inside += i ? (double)h->len : 0;
        for (h->h = 0; i && h->h < h->HS; h->h++)
            expect_head(h, want);
        last = here;
    }
    if (want[I(FLAGS)].want && cu->dtype)
        want[I(FLAGS)].want[1] = ((double)h->T - inside) * (double)h->HS;
}

void tenon__conform_linear_attention_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_linear_attention_params *p = (const void *)c->params;
    const struct tenon_tensor *o = &c->slot[I(O)].tensor;
    struct head h = {.c = c, .p = p, .K = c->slot[I(Q)].tensor.dim[3], .V = o->dim[3], .HS = o->dim[2], .T = o->dim[1]};
    const size_t K = (size_t)h.K, V = (size_t)h.V, most_kv = K > V ? K : V, rows = (size_t)h.T;
    double *const memory = calloc(4 * K * V + 8 * K + 5 * V + 2 * most_kv + 2 * rows * V + rows, sizeof(double));
    double *next = memory;
    const struct {
        double **at;
        size_t n;
    } parts[] = {{&h.s, K * V}, {&h.sa, K * V}, {&h.old, K * V}, {&h.olda, K * V}, {&h.q, K}, {&h.k, K}, {&h.qn, K},
                 {&h.kn, K}, {&h.z, K}, {&h.za, K}, {&h.zold, K}, {&h.zolda, K}, {&h.v, V}, {&h.u, V}, {&h.x, V},
                 {&h.xsum, V}, {&h.all, V}, {&h.a, most_kv}, {&h.aa, most_kv}, {&h.value, rows * V},
                 {&h.off, rows * V}, {&h.divisor, rows}};
    if (!memory)
        return;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].at = next;
        next += parts[i].n;
    }
    h.scale = p->scale == 0 ? 1 / sqrt((double)h.K) : (double)p->scale;
    want[I(FLAGS)].exact = c->mode == CONFORM_EXACT;
    h.exact = c->mode == CONFORM_EXACT && !p->norm;
    expect_sequences(&h, want);
    free(memory);
}

/* What must not be finite is not. */
int tenon__conform_linear_attention_check(const struct conform_case *c, const struct conform_want *want,
                                          struct tenon_why *why)
{
    for (uint32_t i = I(O); i <= I(NORM_STATE_OUT); i++)
        for (int64_t e = 0; e < want[i].count; e++)
            if (isnan(want[i].want[e]) && isfinite(at(c, i, e)))
                return tenon_why_set(why, 1, "element %lld of %s is %.9g, must be nan or inf", (long long)e,
                                     tenon_op_contract_by_number(c->op->op)->tensors[i].name, at(c, i, e));
    return 0;
}
