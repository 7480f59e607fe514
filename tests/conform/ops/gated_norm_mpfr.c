/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * gated_norm in 256 bits, written from tenon/ops/gated_norm.h and not from gated_norm_ref.c, which it checks. f64 loses
 * some u = 2^-53 of every step: a gate 16, its argument's share more; of n columns a sum n of its terms' magnitudes,
 * which a norm carries on as far as its root depends on them. Doubles say how far. */
#include <math.h>
#include <tenon/ops/gated_norm.h>
#include "../act_mpfr.h"

#define RND     MPFR_RNDN
#define SAMPLES 24
#define G(NAME) TENON_GATED_NORM_##NAME

struct scene {
    const struct conform_case *c;
    const struct tenon_gated_norm_params *p;
    int64_t row, cols, group;
    int special; /* IEEE's rules are those of f64: the suite's business */
};

/* x and how far f64 may be from it. */
struct number {
    mpfr_t x;
    double off;
};

static double size(const struct number *n)
{
    return fabs(mpfr_get_d(n->x, RND));
}

static void read(struct scene *s, uint32_t tensor, int64_t index, struct number *to)
{
    const struct conform_slot *slot = &s->c->slot[tensor];
    const double v = conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
    s->special |= !isfinite(v);
    mpfr_set_d(to->x, v, RND);
    to->off = 0;
}

static void gate(struct scene *s, uint32_t tensor, int64_t col, struct number *to)
{
    struct number argument;
    mpfr_init2(argument.x, PRECISE_BITS);
    read(s, tensor, s->row * s->cols + col, &argument);
    const double magnified = 16 + 2 * fmin(size(&argument), 750);
    if (s->p->act == G(IDENTITY)) {
        mpfr_set(to->x, argument.x, RND);
        to->off = 0;
    } else {
        mpfr_set_ui(to->x, 1, RND);
        act_mpfr_gated(to->x, s->p->act == G(SILU) ? argument.x : to->x, argument.x);
        to->off = PRECISE_U * size(to) * magnified;
    }
    mpfr_clear(argument.x);
}

/* a *= b; a += b */
static void multiply(struct number *a, const struct number *b)
{
    a->off = a->off * size(b) + size(a) * b->off + PRECISE_U * size(a) * size(b);
    mpfr_mul(a->x, a->x, b->x, RND);
}

static void sum(struct number *a, const struct number *b)
{
    mpfr_add(a->x, a->x, b->x, RND);
    a->off += b->off + PRECISE_U * size(a);
}

/* a = s a + (1 - s) b and the like, at column col. */
static void join(struct scene *s, struct number *a, struct number *b, int64_t col)
{
    struct number g, other;
    if (!s->c->slot[G(GATE)].tensor.dtype)
        return;
    mpfr_inits2(PRECISE_BITS, g.x, other.x, (mpfr_ptr)0);
    gate(s, G(GATE), col, &g);
    multiply(a, &g);
    if (s->p->combine == G(LERP)) {
        mpfr_ui_sub(other.x, 1, g.x, RND);
        other.off = g.off + PRECISE_U;
    } else if (s->p->combine == G(DUAL)) {
        gate(s, G(GATE_B), col, &other);
    }
    if (s->p->combine != G(MUL)) {
        multiply(&other, b);
        sum(a, &other);
    }
    mpfr_clears(g.x, other.x, (mpfr_ptr)0);
}

/* z or b at a column, before its norm. */
static void term(struct scene *s, int of_b, int64_t col, struct number *to)
{
    struct number other;
    const int64_t index = s->row * s->cols + col;
    read(s, of_b ? G(B) : G(X), index, to);
    if (of_b && s->p->act_b == G(TANH)) {
        mpfr_tanh(to->x, to->x, RND);
        to->off = 4 * PRECISE_U * size(to);
    }
    if (of_b)
        return;
    mpfr_init2(other.x, PRECISE_BITS);
    if (s->c->slot[G(RESIDUAL)].tensor.dtype) {
        read(s, G(RESIDUAL), index, &other);
        sum(to, &other);
    }
    if (s->p->order == G(GATE_THEN_NORM)) {
        if (s->p->combine != G(MUL))
            term(s, 1, col, &other);
        join(s, to, &other, col);
    }
    mpfr_clear(other.x);
}

/* to is the term at col, which becomes its norm. */
static void normalise(struct scene *s, int of_b, int64_t col, struct number *to)
{
    const int64_t first = col / s->group * s->group;
    const double n = (double)s->group, share = s->p->norm == G(L2) ? 1 : 1 / n;
    double off = 0, magnitude = 0, wrong = 0;
    struct number v, mean, squares;
    mpfr_inits2(PRECISE_BITS, v.x, mean.x, squares.x, (mpfr_ptr)0);
    mpfr_set_zero(mean.x, 1);
    mpfr_set_zero(squares.x, 1);
    for (int64_t i = 0; i < s->group && s->p->norm == G(LAYER); i++) {
        term(s, of_b, first + i, &v);
        mpfr_add(mean.x, mean.x, v.x, RND);
        magnitude += size(&v) / n;
        off += v.off / n;
    }
    mpfr_div_d(mean.x, mean.x, n, RND);
    if (s->p->norm == G(LAYER))
        off += PRECISE_U * (2 * n + 4) * magnitude;
    for (int64_t i = 0; i < s->group; i++) {
        term(s, of_b, first + i, &v);
        mpfr_sub(v.x, v.x, mean.x, RND);
        const double d = size(&v), e = v.off + off + PRECISE_U * d;
        wrong += (2 * d * e + e * e + PRECISE_U * (2 * n + 8) * d * d) * share;
        mpfr_fma(squares.x, v.x, v.x, squares.x, RND);
    }
    if (s->p->norm != G(L2))
        mpfr_div_d(squares.x, squares.x, n, RND);
    mpfr_add_d(squares.x, squares.x, (double)s->p->eps, RND);
    wrong /= mpfr_get_d(squares.x, RND);
    mpfr_sqrt(squares.x, squares.x, RND);
    mpfr_sub(to->x, to->x, mean.x, RND);
    const double e = to->off + off + PRECISE_U * size(to);
    mpfr_div(to->x, to->x, squares.x, RND);
    to->off = 2 * e / mpfr_get_d(squares.x, RND) + size(to) * (wrong + 4 * PRECISE_U);
    mpfr_clears(v.x, mean.x, squares.x, (mpfr_ptr)0);
}

static void affine(struct scene *s, int64_t col, uint32_t weight, struct number *to)
{
    struct number w;
    mpfr_init2(w.x, PRECISE_BITS);
    for (uint32_t i = weight; i <= weight + 1; i++) {
        const struct tenon_tensor *t = &s->c->slot[i].tensor;
        if (!t->dtype)
            continue;
        read(s, i, t->dim[0] == s->cols ? col : col % s->group, &w);
        if (i == weight) {
            mpfr_add_d(w.x, w.x, (double)s->p->weight_offset, RND);
            w.off = PRECISE_U * size(&w);
            multiply(to, &w);
        } else {
            sum(to, &w);
        }
    }
    mpfr_clear(w.x);
}

static void evaluate(struct scene *s, int64_t col, struct number *y)
{
    struct number b;
    mpfr_init2(b.x, PRECISE_BITS);
    term(s, 0, col, y);
    if (s->p->norm != G(NONE))
        normalise(s, 0, col, y);
    affine(s, col, G(WEIGHT), y);
    if (s->p->order == G(NORM_THEN_GATE)) {
        if (s->p->combine != G(MUL))
            term(s, 1, col, &b);
        if (s->p->norm_b && s->p->norm != G(NONE))
            normalise(s, 1, col, &b);
        if (s->p->norm_b)
            affine(s, col, G(WEIGHT_B), &b);
        join(s, y, &b, col);
    }
    mpfr_clear(b.x);
}

int tenon__conform_gated_norm_mpfr(const struct conform_case *c, const struct conform_want *want,
                                   struct conform_precise *precise)
{
    const struct tenon_tensor *x = &c->slot[G(X)].tensor;
    struct scene s = {.c = c, .p = (const void *)c->params, .cols = x->dim[x->rank - 1]};
    const int64_t count = tenon_tensor_count(x), n = count < SAMPLES ? count : SAMPLES;
    struct number y, g;
    s.group = s.p->group ? s.p->group : s.cols;
    mpfr_inits2(PRECISE_BITS, y.x, g.x, (mpfr_ptr)0);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = precise_sample(c, i, n, count, precise->tensor == G(Y) ? precise->element : -1);
        s.row = at / s.cols;
        s.special = 0;
        evaluate(&s, at % s.cols, &y);
        if (!s.special && isfinite(want[G(Y)].bound[at]))
            precise_compare(precise, c, want, G(Y), at, y.x, y.off + 0x1p-1000);
    }
    for (int64_t row = 0; want[G(IMPORTANCE)].count && count && row < want[G(IMPORTANCE)].count && row < 3; row++) {
        double off = 0;
        s.row = row;
        s.special = 0;
        mpfr_set_zero(y.x, 1);
        for (int64_t col = 0; col < s.cols; col++) {
            gate(&s, G(GATE), col, &g);
            mpfr_add(y.x, y.x, g.x, RND);
            off += g.off + PRECISE_U * (double)(s.cols + 2) * size(&g);
        }
        mpfr_div_d(y.x, y.x, (double)s.cols, RND);
        if (!s.special)
            precise_compare(precise, c, want, G(IMPORTANCE), row, y.x, off / (double)s.cols + 0x1p-1000);
    }
    mpfr_clears(y.x, g.x, (mpfr_ptr)0);
    return 0;
}
