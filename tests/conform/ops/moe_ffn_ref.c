/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn in f64, straight from the formula of tenon/ops/moe_ffn.h, and the bound of each element. An h that is rounded
 * to 16 bits is rounded here too; what may round the other way adds to the bound, the rest is exactly equal. */
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/moe_ffn.h>
#include "../act_ref.h"

#define U        ACT_REF_U
#define FLOOR    ACT_REF_FLOOR
#define HUGE_SUM 1.7e38 /* partial sums beyond may overflow in one order of summation and not in another */

struct extents {
    int64_t rows, e, d, f, out, k; /* k: slots a token */
    int own, has_src;              /* experts have their own widths; x is gathered */
    uint32_t storage;              /* type to which h is rounded */
};

static struct extents extents_of(const struct conform_case *c)
{
    const struct tenon_moe_ffn_params *p = (const void *)c->params;
    const struct tenon_tensor *x = &c->slot[TENON_MOE_FFN_X].tensor, *wu = &c->slot[TENON_MOE_FFN_WU].tensor;
    return (struct extents){.rows = c->slot[TENON_MOE_FFN_Z].tensor.dim[0],
                            .e = c->slot[TENON_MOE_FFN_OFFSETS].tensor.dim[0] - 1,
                            .d = x->dim[1],
                            .f = wu->dim[wu->rank - 2],
                            .out = c->slot[TENON_MOE_FFN_Z].tensor.dim[1],
                            .k = p->top_k,
                            .own = c->slot[TENON_MOE_FFN_FOFF].tensor.dtype != 0,
                            .has_src = c->slot[TENON_MOE_FFN_SRC].tensor.dtype != 0,
                            .storage = p->h_dtype == TENON_MOE_FFN_H_STORAGE ? x->dtype : TENON_F32};
}

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int has(const struct conform_case *c, uint32_t i)
{
    return c->slot[i].tensor.dtype != 0;
}

/* ---- which row belongs to whom ---- */

/* The entries of offsets or foff as they count; returns how many are not what they say. */
static int64_t clamped(const struct conform_case *c, uint32_t tensor, int64_t n, int64_t most, int64_t *to)
{
    int64_t changed = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t given = (int64_t)at(c, tensor, i), before = i ? to[i - 1] : 0;
        to[i] = given > most ? most : given;
        if (to[i] < before)
            to[i] = before;
        changed += to[i] != given;
    }
    return changed;
}

/* The row of x of a row of z that has an expert; -1: none. */
static int64_t x_row(const struct conform_case *c, const struct extents *e, int64_t row)
{
    if (!e->has_src)
        return row;
    const int64_t src = (int64_t)at(c, TENON_MOE_FFN_SRC, row);
    return src >= 0 && src < c->slot[TENON_MOE_FFN_X].tensor.dim[0] * e->k ? src / e->k : -1;
}

/* ---- one expert ---- */

/* One expert's matrices, widened, with their scales; g NULL without wg. */
struct expert {
    int64_t number, f0, f;
    double *g, *u, *o; /* [f,D], [f,D], [Do,f] */
};

static double *widen(const struct conform_case *c, uint32_t w, uint32_t scale, int64_t number, int64_t row0,
                     int64_t rows, int64_t col0, int64_t cols, int64_t scale_row0)
{
    const struct tenon_tensor *t = &c->slot[w].tensor, *s = &c->slot[scale].tensor;
    const int64_t all = t->dim[t->rank - 1], base = t->rank == 3 ? number * t->dim[1] : 0;
    const int64_t count = s->dtype ? tenon_tensor_count(s) : 0, lines = w == TENON_MOE_FFN_WD && t->rank == 2
                                                                            ? s->dim[0] * s->dim[1]
                                                                        : t->rank == 3 ? t->dim[0] * t->dim[1]
                                                                                       : t->dim[0];
    const int64_t groups = count && lines ? count / lines : 1, group = groups > 1 ? all / groups : all;
    double *to = malloc(sizeof(*to) * (size_t)(rows * cols + 1));
    for (int64_t r = 0; to && r < rows; r++)
        for (int64_t k = 0; k < cols; k++) {
            to[r * cols + k] = at(c, w, (base + row0 + r) * all + col0 + k);
            if (s->dtype)
                to[r * cols + k] *= at(c, scale, (scale_row0 + r) * groups + (groups > 1 ? k / group : 0));
        }
    return to;
}

static int expert_open(const struct conform_case *c, const struct extents *e, const int64_t *foff, int64_t number,
                       struct expert *x)
{
    *x = (struct expert){.number = number, .f = e->f};
    if (e->own)
        *x = (struct expert){.number = number, .f0 = foff[number], .f = foff[number + 1] - foff[number]};
    const int64_t lines = e->own ? x->f0 : number * e->f;
    if (has(c, TENON_MOE_FFN_WG))
        x->g = widen(c, TENON_MOE_FFN_WG, TENON_MOE_FFN_WG_SCALE, number, x->f0, x->f, 0, e->d, lines);
    x->u = widen(c, TENON_MOE_FFN_WU, TENON_MOE_FFN_WU_SCALE, number, x->f0, x->f, 0, e->d, lines);
    x->o = widen(c, TENON_MOE_FFN_WD, TENON_MOE_FFN_WD_SCALE, number, 0, e->out, x->f0, x->f, number * e->out);
    return x->u && x->o && (x->g || !has(c, TENON_MOE_FFN_WG));
}

static void expert_close(struct expert *x)
{
    free(x->g);
    free(x->u);
    free(x->o);
}

/* ---- a row ---- */

/* A value, how far an f32 evaluation may be from it, and whether nothing can be said of it. */
struct value {
    double v, off;
    int open;
};

/* A sum of products: its compensated value, and what it is made of. */
struct dot {
    double sum, lost, chain, flushed;
};

static void dot_add(struct dot *dot, double value, int subnormal)
{
    const double t = dot->sum + value;
    if (isfinite(t))
        dot->lost += fabs(dot->sum) >= fabs(value) ? dot->sum - t + value : value - t + dot->sum;
    dot->sum = t;
    if (isfinite(value))
        dot->chain += fabs(value);
    if (subnormal && isfinite(value))
        dot->flushed += fabs(value);
}

static struct value dot_end(const struct dot *dot, int64_t n)
{
    struct value r = {.v = dot->sum + (isfinite(dot->sum) ? dot->lost : 0)};
    r.open = dot->chain > HUGE_SUM;
    r.off = 4e-7 * sqrt(fmax(1, (double)n / 1024)) * dot->chain + dot->flushed + FLOOR * (double)(n + 1);
    return r;
}

static struct value pre(const double *a, const double *w, int64_t n, const double *bias)
{
    struct dot dot = {0, 0, 0, 0};
    for (int64_t k = 0; k < n; k++)
        dot_add(&dot, a[k] * w[k], fabs(a[k]) < FLOOR || fabs(w[k]) < FLOOR);
    if (bias)
        dot_add(&dot, *bias, 0);
    return dot_end(&dot, n);
}

static struct value activated(const struct act_ref *p, struct value x, int gate)
{
    struct value y = {.v = gate ? act_ref_gate(p, x.v) : act_ref(p, x.v), .open = x.open};
    if (!isfinite(x.v) || !isfinite(y.v)) { /* a limit like XATLU's -1/pi is rounded to f32 once */
        y.off = isfinite(y.v) ? U * fabs(y.v) : 0;
        return y;
    }
    const double up = gate ? act_ref_gate(p, x.v + x.off) : act_ref(p, x.v + x.off);
    const double down = gate ? act_ref_gate(p, x.v - x.off) : act_ref(p, x.v - x.off);
    y.off =
        fmax(fabs(up - y.v), fabs(down - y.v)) + (gate ? act_ref_gate_error(p, x.v, y.v) : act_ref_error(p, x.v, y.v));
    return y;
}

/* Rounded once; what is 0 or of unknown sign times infinity is open. */
static struct value times(struct value a, struct value b)
{
    struct value y = {.v = a.v * b.v, .open = a.open || b.open};
    if (isnan(a.v) || isnan(b.v))
        return y;
    if (isinf(a.v) || isinf(b.v))
        y.open |= (isfinite(a.v) && fabs(a.v) <= a.off + FLOOR && (a.v != 0 || a.off > 0)) ||
                  (isfinite(b.v) && fabs(b.v) <= b.off + FLOOR && (b.v != 0 || b.off > 0));
    else
        y.off = fabs(a.v) * b.off + fabs(b.v) * a.off + a.off * b.off + U * fabs(y.v) + FLOOR;
    y.open |= isfinite(y.v) && fabs(y.v) + y.off > HUGE_SUM;
    return y;
}

static double rounded(uint32_t dtype, double v)
{
    uint32_t room = 0;
    conform_set(&room, dtype, 0, v);
    return conform_get(&room, dtype, 0);
}

/* To 16 bits: equal, unless a step lies within what it may be off. */
static struct value stored(uint32_t dtype, struct value h)
{
    if (dtype == TENON_F32 || !isfinite(h.v))
        return h;
    const double low = rounded(dtype, h.v - h.off), high = rounded(dtype, h.v + h.off);
    h.v = rounded(dtype, h.v);
    h.open |= isinf(low) != isinf(high) || isinf(low) != isinf(h.v);
    h.off = isinf(h.v) ? 0 : fmax(high - h.v, h.v - low);
    return h;
}

struct job {
    const struct conform_case *c;
    struct extents e;
    struct act_ref act;
    double *a;
    struct value *h;
    struct conform_want *z;
};

/* Unit i of the hidden layer. */
static struct value hidden(const struct job *j, const struct expert *x, int64_t i, double rw)
{
    const struct tenon_moe_ffn_params *p = (const void *)j->c->params;
    const int64_t unit = j->e.own ? x->f0 + i : x->number * j->e.f + i;
    const double bg = has(j->c, TENON_MOE_FFN_BG) ? at(j->c, TENON_MOE_FFN_BG, unit) : 0;
    const double bu = has(j->c, TENON_MOE_FFN_BU) ? at(j->c, TENON_MOE_FFN_BU, unit) : 0;
    struct value h = pre(j->a, x->u + i * j->e.d, j->e.d, &bu);
    if (p->glu == TENON_MOE_FFN_GLU_NONE)
        h = activated(&j->act, h, 0);
    else
        h = times(activated(&j->act, pre(j->a, x->g + i * j->e.d, j->e.d, &bg), p->glu == TENON_MOE_FFN_GLU1), h);
    if (p->weight_at == TENON_MOE_FFN_AT_HIDDEN)
        h = times(h, (struct value){.v = rw});
    return stored(j->e.storage, h);
}

static void expect_z(const struct job *j, const struct expert *x, int64_t row, double rw, int64_t n, int open)
{
    const struct tenon_moe_ffn_params *p = (const void *)j->c->params;
    const uint32_t dtype = j->c->slot[TENON_MOE_FFN_Z].tensor.dtype;
    const double *w = x->o + n * x->f;
    struct dot dot = {0, 0, 0, 0};
    double off = 0;
    for (int64_t k = 0; k < x->f; k++) {
        const double h = j->h[k].v;
        dot_add(&dot, h * w[k], fabs(h) < FLOOR || fabs(w[k]) < FLOOR);
        off += fabs(w[k]) * j->h[k].off;
    }
    if (has(j->c, TENON_MOE_FFN_BD))
        dot_add(&dot, at(j->c, TENON_MOE_FFN_BD, x->number * j->e.out + n), 0);
    struct value z = dot_end(&dot, x->f);
    z.off += off;
    if (p->weight_at == TENON_MOE_FFN_AT_OUTPUT)
        z = times(z, (struct value){.v = rw});
    if (isfinite(z.v))
        z.off += U * fabs(z.v) + FLOOR + (dtype == TENON_F32 ? 0 : conform_ulp(dtype, z.v));
    else
        z.off = 0;
    if (j->c->mode == CONFORM_EXACT && dtype == TENON_F32)
        z.off = 0;
    j->z->want[row * j->e.out + n] = z.v;
    j->z->bound[row * j->e.out + n] = z.open || open ? (double)INFINITY : z.off;
}

/* A row that has an expert; whether its a holds a NaN. */
static int expect_row(const struct job *j, const struct expert *x, int64_t row, int64_t from)
{
    const struct tenon_moe_ffn_params *p = (const void *)j->c->params;
    const double rw = has(j->c, TENON_MOE_FFN_RW) ? at(j->c, TENON_MOE_FFN_RW, row) : 1;
    int nan = 0, open = 0;
    for (int64_t k = 0; k < j->e.d; k++) {
        j->a[k] = at(j->c, TENON_MOE_FFN_X, from * j->e.d + k);
        nan |= isnan(j->a[k]);
        if (p->weight_at == TENON_MOE_FFN_AT_INPUT)
            j->a[k] *= rw;
        open |= isfinite(j->a[k]) && fabs(j->a[k]) > HUGE_SUM;
    }
    for (int64_t i = 0; i < x->f; i++) {
        j->h[i] = hidden(j, x, i, rw);
        open |= j->h[i].open;
    }
    for (int64_t n = 0; n < j->e.out; n++)
        expect_z(j, x, row, rw, n, open);
    return nan;
}

static void expect_flags(const struct job *j, struct conform_want *flags, const int64_t *counts)
{
    if (!has(j->c, TENON_MOE_FFN_FLAGS))
        return;
    flags->exact = 1;
    for (int i = 0; i < 4; i++)
        flags->want[i] = (double)counts[i];
}

void tenon__conform_moe_ffn_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_moe_ffn_params *p = (const void *)c->params;
    struct job j = {.c = c, .e = extents_of(c), .z = &want[TENON_MOE_FFN_Z]};
    const size_t n = (size_t)j.e.e + 1;
    int64_t *first = malloc(2 * n * sizeof(*first)), *foff = first + n, counts[4] = {0, j.e.rows, 0, 0};
    j.act = (struct act_ref){p->act, (double)p->alpha, (double)p->threshold};
    j.a = malloc(sizeof(*j.a) * (size_t)(j.e.d + 1));
    j.h = malloc(sizeof(*j.h) * (size_t)(j.e.f + 1));
    if (!first || !j.a || !j.h)
        goto out;
    counts[3] = clamped(c, TENON_MOE_FFN_OFFSETS, (int64_t)n, j.e.rows, first);
    if (j.e.own)
        counts[3] += clamped(c, TENON_MOE_FFN_FOFF, (int64_t)n, j.e.f, foff);
    j.z->exact = c->mode == CONFORM_EXACT;
    for (int64_t e = 0; e < j.e.e; e++) {
        struct expert x = {0};
        for (int64_t row = first[e]; row < first[e + 1]; row++) {
            const int64_t from = x_row(c, &j.e, row);
            counts[3] += from < 0 && (int64_t)at(c, TENON_MOE_FFN_SRC, row) != -1;
            if (from < 0 || (!x.u && !expert_open(c, &j.e, foff, e, &x)))
                continue;
            counts[0] += expect_row(&j, &x, row, from);
            counts[1]--;
        }
        expert_close(&x);
    }
    expect_flags(&j, &want[TENON_MOE_FFN_FLAGS], counts);
out:
    free(j.h);
    free(j.a);
    free(first);
}

/* The token-wise norm of the specification's product table, where both products are plain. */
int tenon__conform_moe_ffn_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct extents e = extents_of(c);
    const uint32_t dtype = e.storage == TENON_F32 ? c->slot[TENON_MOE_FFN_Z].tensor.dtype : e.storage;
    const double deep = (double)(e.d > e.f ? e.d : e.f);
    const double limit = (dtype == TENON_F32 ? 4e-6 : dtype == TENON_F16 ? 1e-3 : 8e-3) * sqrt(fmax(1, deep / 1024));
    if (c->mode == CONFORM_ADVERSARIAL)
        return 0;
    for (int64_t m = 0; m < e.rows; m++) {
        double norm = 0, error = 0, bound = 0;
        for (int64_t n = 0; n < e.out; n++) {
            const double z = want[TENON_MOE_FFN_Z].want[m * e.out + n], got = at(c, TENON_MOE_FFN_Z, m * e.out + n);
            norm += z * z;
            error += (got - z) * (got - z);
            bound += want[TENON_MOE_FFN_Z].bound[m * e.out + n];
        }
        /* A row that is itself a cancellation is judged by the per-element bound alone. */
        if (sqrt(error) > limit * sqrt(norm) && sqrt(error) > bound)
            return tenon_why_set(why, 1, "row %lld: |error|_2 / |z|_2 = %.3g, at most %.3g", (long long)m,
                                 sqrt(error / norm), limit);
    }
    return 0;
}
