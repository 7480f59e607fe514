/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax on the CPU: the kinds as passes over kept logits. */
#ifndef TENON_SOFTMAX_CPU_KINDS_H
#define TENON_SOFTMAX_CPU_KINDS_H

#include "softmax_cpu_logits.h"

/* ---- EXP, LOG_EXP ---- */

SIMD_FN void take_above(const struct family *f, int64_t c, int n, vf *raw, vf *v)
{
    take(f, c, n, raw);
    STEP_EACH(b, n)
        v[b] = vf_select(is_gone(raw[b]), vf_set1(MINUS_INF), raw[b]);
}

struct exp_sums {
    vf s[BLOCK_VECTORS], a[BLOCK_VECTORS], q[BLOCK_VECTORS];
};

SIMD_FN void exps_block(const struct row *r, int64_t c, int n, struct exp_sums *t)
{
    vf raw[STEP_VECTORS], v[STEP_VECTORS], d[STEP_VECTORS], e[STEP_VECTORS];
    take_above(r->family, c, n, raw, v);
    exponentials(r, v, n, 0, d, e);
    STEP_EACH(b, n) {
        const int k = b % BLOCK_VECTORS;
        const vf far = vf_max(d[b], vf_set1(-128.0f)); /* e is 0 where d is cut off, and 0 * -Inf would be NaN */
        vf weight = e[b];
        if (r->in.mult) {
            const vf mult = load_x(r->in.mult, c + b * VF, step_count(n, b), TENON_F32);
            weight = vf_keep(vf_gt(v[b], vf_set1(MINUS_INF)), vf_mul(e[b], mult));
        }
        t->s[k] = vf_add(t->s[k], weight);
        t->a[k] = vf_add(t->a[k], vf_mul(weight, far));
        t->q[k] = vf_add(t->q[k], vf_mul(weight, e[b]));
    }
}

/* Multiplicities may be as large as floats get: their products are added in double at once. */
static void exps_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    const int64_t run = r->in.mult ? BLOCK : BLOCK_RUN * BLOCK;
    double sums[BLOCK] = {0}, products[BLOCK] = {0}, squares[BLOCK] = {0};
    (void)s;
    for (int64_t c = c0, end; c < c1; c = end) {
        struct exp_sums t;
        end = c1 - c < run ? c1 : c + run;
        block_set(t.s, 0.0f);
        block_set(t.a, 0.0f);
        block_set(t.q, 0.0f);
#define CALL(c, n) exps_block(r, c, n, &t)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, t.s);
        block_flush(products, t.a);
        block_flush(squares, t.q);
    }
    part->s = block_sum(sums);
    part->a = block_sum(products);
    part->q = block_sum(squares);
}

static void merge_exps(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->s += p->s;
    to->a += p->a;
    to->q += p->q;
}

SIMD_FN void exps_y_block(const struct softmax *s, const struct row *r, int64_t c, int n)
{
    vf raw[STEP_VECTORS], v[STEP_VECTORS], d[STEP_VECTORS], y[STEP_VECTORS];
    take_above(r->family, c, n, raw, v);
    exponentials(r, v, n, 0, d, y);
    STEP_EACH(b, n) {
        if (s->kind == TENON_SOFTMAX_EXP)
            y[b] = vf_mul(y[b], vf_set1(r->inverse));
        else
            y[b] = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), v[b], vf_sub(d[b], vf_set1(r->log_sum)));
    }
    put_y(s, r, c, n, raw, y, 1);
}

/* ---- SOFTPICK, *_NORM, STABLEMAX: a term's share of the sum ---- */

/* e^z - 1 for z < 1, by the series where the difference would cancel. */
SIMD_FN void expm1_each(vf *z, const int count)
{
    vf e[EXP_EACH];
    for (int i = 0; i < count; i++)
        e[i] = z[i];
    vf_exp_each(e, count);
    for (int i = 0; i < count; i++) {
        const vf x = z[i];
        vf p = vf_set1(2.7557319e-6f);
        p = vf_fma(p, x, vf_set1(2.4801587e-5f));
        p = vf_fma(p, x, vf_set1(1.9841270e-4f));
        p = vf_fma(p, x, vf_set1(1.3888889e-3f));
        p = vf_fma(p, x, vf_set1(8.3333333e-3f));
        p = vf_fma(p, x, vf_set1(4.1666667e-2f));
        p = vf_fma(p, x, vf_set1(1.6666667e-1f));
        p = vf_fma(p, x, vf_set1(0.5f));
        p = vf_fma(vf_mul(p, x), x, x);
        z[i] = vf_select(vf_lt(vf_abs(x), vf_set1(0.5f)), p, vf_sub(e[i], vf_set1(1.0f)));
    }
}

/* Both exponentials are taken about K = max(M T, 0): nothing overflows. Not inlined: it is large. */
static __attribute__((noinline)) void softpick_terms(const struct row *r, const vf *v, int n, vf *t)
{
    const struct family *f = r->family;
    const vf T = vf_set1((float)r->T), one = vf_set1(1.0f);
    vf d[STEP_VECTORS], e[STEP_VECTORS] = {vf_zero()}; /* gcc does not see that the loops are of one length */
    STEP_EACH(b, n)
        t[b] = vf_min(vf_mul(v[b], T), one);
    expm1_each(t, step_vectors(n));
    STEP_EACH(b, n)
        t[b] = vf_mul(t[b], vf_set1(f->c));
    if (!f->high)
        return;
    exponentials(r, v, n, 0, d, e);
    STEP_EACH(b, n)
        t[b] = vf_select(vf_lt(vf_mul(v[b], T), one), t[b], vf_sub(e[b], vf_set1(f->c)));
}

/* The terms of n logits; 0 for what is GONE or -Inf. */
SIMD_FN void terms(const struct row *r, uint32_t kind, const vf *v, int n, vf *t)
{
    const struct family *f = r->family;
    const vf zero = vf_zero(), one = vf_set1(f->one), c = vf_set1(f->c);
    if (kind == TENON_SOFTMAX_SOFTPICK) {
        softpick_terms(r, v, n, t);
    } else {
        STEP_EACH(b, n) {
            const vf z = vf_mul(vf_mul(v[b], vf_set1(f->before)), vf_set1(f->after));
            if (kind == TENON_SOFTMAX_RELU_NORM)
                t[b] = vf_max(z, zero);
            else if (kind == TENON_SOFTMAX_RELU2_NORM)
                t[b] = vf_mul(vf_max(z, zero), vf_max(z, zero));
            else if (kind == TENON_SOFTMAX_QUAD_NORM)
                t[b] = vf_mul(vf_add(z, c), vf_add(z, c));
            else
                t[b] = vf_select(vf_ge(z, zero), vf_add(z, one), vf_mul(vf_div(c, vf_sub(one, z)), c));
        }
    }
    STEP_EACH(b, n)
        t[b] = vf_keep(vf_gt(v[b], vf_set1(MINUS_INF)), t[b]);
}

SIMD_FN void share_sum_block(const struct row *r, uint32_t kind, int64_t c, int n, vf *sum)
{
    vf v[STEP_VECTORS], t[STEP_VECTORS];
    take(r->family, c, n, v);
    terms(r, kind, v, n, t);
    STEP_EACH(b, n)
        sum[b % BLOCK_VECTORS] = vf_add(sum[b % BLOCK_VECTORS], vf_abs(t[b]));
}

SIMD_FN void share_sum(const struct row *r, uint32_t kind, int64_t c0, int64_t c1, struct part *part)
{
    double sums[BLOCK] = {0};
    for (int64_t c = c0, end; c < c1; c = end) {
        vf sum[BLOCK_VECTORS];
        end = c1 - c < BLOCK_RUN * BLOCK ? c1 : c + BLOCK_RUN * BLOCK;
        block_set(sum, 0.0f);
#define CALL(c, n) share_sum_block(r, kind, c, n, sum)
        STEP_ALL(c, c, end, CALL)
#undef CALL
        block_flush(sums, sum);
    }
    part->s = block_sum(sums);
    part->a = 0.0;
}

SIMD_FN void share_y_block(const struct softmax *s, const struct row *r, uint32_t kind, int64_t c, int n)
{
    vf v[STEP_VECTORS], y[STEP_VECTORS];
    take(r->family, c, n, v);
    terms(r, kind, v, n, y);
    STEP_EACH(b, n)
        y[b] = vf_div(vf_max(y[b], vf_zero()), vf_set1(r->family->sum));
    put_y(s, r, c, n, v, y, 1);
}

/* ---- SIGMOID, SCALE ---- */

SIMD_FN void sigmoid_block(const struct softmax *s, const struct row *r, int64_t c, int n)
{
    const vf one = vf_set1(1.0f), count = vf_set1(r->family->sum);
    vf v[STEP_VECTORS], w[STEP_VECTORS], e[STEP_VECTORS];
    take(r->family, c, n, v);
    STEP_EACH(b, n) {
        const vf z = vf_mul(v[b], vf_set1((float)r->T));
        w[b] = vf_add(vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), v[b], z), vf_set1(r->family->bias));
        e[b] = vf_neg(vf_abs(w[b]));
    }
    vf_exp_each(e, step_vectors(n));
    STEP_EACH(b, n) {
        const vm high = vf_ge(w[b], vf_zero());
        const vf top = vf_select(high, one, e[b]);
        w[b] = vf_div(top, vf_add(top, vf_mul(count, vf_select(high, e[b], one))));
    }
    put_y(s, r, c, n, v, w, 1);
}

SIMD_FN void scale_block(const struct softmax *s, const struct row *r, int64_t c, int n)
{
    const struct family *f = r->family;
    vf v[STEP_VECTORS], y[STEP_VECTORS];
    take(f, c, n, v);
    STEP_EACH(b, n) {
        const vf large = vf_mul(vf_mul(v[b], vf_set1(f->before)), vf_set1(f->factor));
        y[b] = vf_mul(vf_mul(large, vf_set1(f->after)), vf_set1(f->shift));
        y[b] = vf_select(vf_eq(v[b], vf_set1(MINUS_INF)), v[b], y[b]); /* also where T is 0 */
    }
    put_y(s, r, c, n, v, y, 1);
}

/* ---- SPARSEMAX, ENTMAX15 ---- */

/* Moves the entries that may have weight to the front of the tile's room. */
static void near_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    const struct family *f = r->family;
    const float half = s->kind == TENON_SOFTMAX_ENTMAX15 ? 0.5f : 1.0f;
    int64_t count = 0;
    (void)part;
    for (int64_t c = c0; c < c1; c += VF) {
        const int k = c1 - c < VF ? (int)(c1 - c) : VF;
        const vf v = load_x(f->v, c, k, TENON_F32);
        const vf u = vf_mul(distance(r, v, 0), vf_set1(half));
        const vm near = vm_and(vf_gt(u, vf_set1(-1.0f)), vf_gt(v, vf_set1(MINUS_INF)));
        float lane[VF];
        uint32_t there = vm_bits(vm_and(near, vm_first(k)));
        if (!there)
            continue;
        vf_store(lane, u);
        for (; there; there &= there - 1)
            f->set[c0 + count++] = lane[__builtin_ctz(there)];
    }
    f->counts[c0 / TILE] = (int32_t)count;
}

/* How many of the set are above tau, the sum of what they are above it, and of the squares of that. */
static void excess_tile(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part)
{
    const struct family *f = r->family;
    const float *set = f->set + c0;
    const int64_t n = f->counts[c0 / TILE];
    double sum[4] = {0}, squares[4] = {0};
    int64_t count = 0;
    (void)s;
    (void)c1;
    for (int64_t i = 0; i < n; i++) {
        const double u = (double)set[i] - f->tau, over = u > 0.0 ? u : 0.0;
        count += u > 0.0;
        sum[i % 4] += over;
        squares[i % 4] += over * over;
    }
    part->s = sum[0] + sum[1] + (sum[2] + sum[3]);
    part->q = squares[0] + squares[1] + (squares[2] + squares[3]);
    part->a = 0.0;
    part->n = count;
}

static void merge_excess(const struct row *r, struct part *to, const struct part *p)
{
    (void)r;
    to->s += p->s;
    to->q += p->q;
    to->n += p->n;
}

static void excess(const struct run *run, const struct row *r, struct part *p)
{
    part_init(p);
    sweep(run, r, excess_tile, merge_excess, p);
}

/* Michelot's method: the threshold of all that is above the last one, until nothing falls out. It is Newton's on a
 * convex function that falls: it comes from below, so the count never grows but by rounding, which ends it too. */
static void sparsemax_tau(const struct run *run, const struct row *r)
{
    struct family *f = r->family;
    for (int64_t last = INT64_MAX;;) {
        struct part p;
        excess(run, r, &p);
        if (p.n >= last || p.n == 0)
            return;
        last = p.n;
        f->tau += (p.s - 1.0) / (double)p.n;
    }
}

/* Newton's method on the norm of the excess, which is convex in tau and falls; then the threshold of the set that is
 * left, in closed form. */
static void entmax_tau(const struct run *run, const struct row *r)
{
    struct family *f = r->family;
    struct part p;
    for (int i = 0; i < 64; i++) {
        excess(run, r, &p);
        const double norm = sqrt(p.q), step = (norm - 1.0) * norm / p.s;
        if (!(step > 1e-12))
            break;
        f->tau += step;
    }
    const double n = (double)p.n, mean = p.s / n, spread = p.q - p.s * mean, rest = (1.0 - spread) / n;
    f->tau += mean - sqrt(rest > 0.0 ? rest : 0.0);
}

SIMD_FN void sparse_block(const struct softmax *s, const struct row *r, int64_t c, int n)
{
    const int squared = s->kind == TENON_SOFTMAX_ENTMAX15;
    const vf tau = vf_set1((float)r->family->tau), half = vf_set1(squared ? 0.5f : 1.0f);
    vf v[STEP_VECTORS], y[STEP_VECTORS];
    take(r->family, c, n, v);
    STEP_EACH(b, n) {
        y[b] = vf_max(vf_sub(vf_mul(distance(r, v[b], 0), half), tau), vf_zero());
        y[b] = vf_keep(vf_gt(v[b], vf_set1(MINUS_INF)), squared ? vf_mul(y[b], y[b]) : y[b]);
    }
    put_y(s, r, c, n, v, y, 1);
}

/* ---- the passes ---- */

#define FAMILY_PASS(name, call)                                                \
    static void name(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part) \
    {                                                                          \
        int64_t c = c0;                                                        \
        (void)part;                                                            \
        STEP_ALL(c, c0, c1, call)                                              \
    }
#define FAMILY_SUM(name, kind)                                                 \
    static void name(const struct softmax *s, const struct row *r, int64_t c0, int64_t c1, struct part *part) \
    {                                                                          \
        (void)s;                                                               \
        share_sum(r, kind, c0, c1, part);                                      \
    }
#define EXPS_Y(c, n)     exps_y_block(s, r, c, n)
#define SIGMOID_Y(c, n)  sigmoid_block(s, r, c, n)
#define SCALE_Y(c, n)    scale_block(s, r, c, n)
#define SPARSE_Y(c, n)   sparse_block(s, r, c, n)
#define SOFTPICK_Y(c, n) share_y_block(s, r, TENON_SOFTMAX_SOFTPICK, c, n)
#define RELU_Y(c, n)     share_y_block(s, r, TENON_SOFTMAX_RELU_NORM, c, n)
#define RELU2_Y(c, n)    share_y_block(s, r, TENON_SOFTMAX_RELU2_NORM, c, n)
#define QUAD_Y(c, n)     share_y_block(s, r, TENON_SOFTMAX_QUAD_NORM, c, n)
#define STABLE_Y(c, n)   share_y_block(s, r, TENON_SOFTMAX_STABLEMAX, c, n)
FAMILY_PASS(exps_y, EXPS_Y)
FAMILY_PASS(sigmoid_y, SIGMOID_Y)
FAMILY_PASS(scale_y, SCALE_Y)
FAMILY_PASS(sparse_y, SPARSE_Y)
FAMILY_PASS(softpick_y, SOFTPICK_Y)
FAMILY_PASS(relu_y, RELU_Y)
FAMILY_PASS(relu2_y, RELU2_Y)
FAMILY_PASS(quad_y, QUAD_Y)
FAMILY_PASS(stable_y, STABLE_Y)
FAMILY_SUM(softpick_sum, TENON_SOFTMAX_SOFTPICK)
FAMILY_SUM(relu_sum, TENON_SOFTMAX_RELU_NORM)
FAMILY_SUM(relu2_sum, TENON_SOFTMAX_RELU2_NORM)
FAMILY_SUM(quad_sum, TENON_SOFTMAX_QUAD_NORM)
FAMILY_SUM(stable_sum, TENON_SOFTMAX_STABLEMAX)

#endif
