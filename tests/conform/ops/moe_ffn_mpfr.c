/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn in 256 bits, written from tenon/ops/moe_ffn.h and act.h and not from moe_ffn_ref.c, which it checks.
 *
 * What f64 may lose there, with u = 2^-53: each compensated sum 4u(|sum| + sum |x w|), its products being rounded twice
 * with an i8 scale or a weighted x; act carries that on and loses some u itself; the product of the gated unit and the
 * weight one u each; the second sum carries all of it. An h rounded to 16 bits is exact, unless a step lies within. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/moe_ffn.h>
#include "../act_mpfr.h"

#define U       PRECISE_U
#define RND     MPFR_RNDN
#define ROWS    3 /* sampled, and columns of each */
#define COLUMNS 5

struct sample {
    const struct conform_case *c;
    int64_t expert, row, from; /* from: the row of x */
    int64_t f0, f, f_all, d, out;
    double rw;
    mpfr_t *h;
    double *off; /* what f64 may lose of each h */
};

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static const struct tenon_moe_ffn_params *params_of(const struct conform_case *c)
{
    return (const void *)c->params;
}

/* Element k of line `line` of a matrix whose lines are those of all experts, times its scale. */
static void weight(const struct conform_case *c, uint32_t w, uint32_t scale, int64_t line, int64_t k,
                   int64_t scale_line, mpfr_t to)
{
    const struct tenon_tensor *t = &c->slot[w].tensor, *s = &c->slot[scale].tensor;
    const int64_t depth = t->dim[t->rank - 1];
    mpfr_set_d(to, at(c, w, line * depth + k), RND);
    if (!s->dtype)
        return;
    /* the axis of groups, where there is one */
    const uint32_t plain = w == TENON_MOE_FFN_WD ? 2 : t->rank - 1;
    const int64_t groups = s->rank > plain ? s->dim[plain] : 1;
    mpfr_mul_d(to, to, at(c, scale, scale_line * groups + (groups > 1 ? k / (depth / groups) : 0)), RND);
}

/* The sum of line i of wg or wu and the row of x. Returns what f64 may lose. */
static double pre(const struct sample *s, uint32_t w, uint32_t scale, uint32_t bias, int64_t i, mpfr_t to)
{
    const struct conform_case *c = s->c;
    const int64_t line = c->slot[TENON_MOE_FFN_FOFF].tensor.dtype ? s->f0 + i : s->expert * s->f_all + i;
    const int weighted = params_of(c)->weight_at == TENON_MOE_FFN_AT_INPUT;
    double chain = 0;
    mpfr_t term;
    mpfr_init2(term, PRECISE_BITS);
    mpfr_set_zero(to, 1);
    for (int64_t k = 0; k < s->d; k++) {
        weight(c, w, scale, line, k, line, term);
        mpfr_mul_d(term, term, at(c, TENON_MOE_FFN_X, s->from * s->d + k), RND);
        if (weighted)
            mpfr_mul_d(term, term, s->rw, RND);
        mpfr_add(to, to, term, RND);
        chain += fabs(mpfr_get_d(term, RND));
    }
    mpfr_clear(term);
    if (c->slot[bias].tensor.dtype) {
        mpfr_add_d(to, to, at(c, bias, line), RND);
        chain += fabs(at(c, bias, line));
    }
    return 4 * U * (fabs(mpfr_get_d(to, RND)) + chain);
}

/* y = act or gate of x, where x may be `e` off; returns how far y may be. */
static double activate(const struct act_mpfr *p, int gate, mpfr_t y, mpfr_t x, double e)
{
    double worst = 0;
    mpfr_t moved, argument;
    if (gate)
        act_mpfr_gate(p, y, x);
    else
        act_mpfr(p, y, x);
    if (!mpfr_number_p(x) || !mpfr_number_p(y))
        return mpfr_number_p(y) ? 4 * U * fabs(mpfr_get_d(y, RND)) : 0;
    if (!gate)
        return 2 * act_mpfr_carried(p, x, y, e) + act_mpfr_loss(p, mpfr_get_d(x, RND), mpfr_get_d(y, RND));
    mpfr_inits2(PRECISE_BITS, moved, argument, (mpfr_ptr)0);
    for (int sign = -1; sign <= 1; sign += 2) {
        mpfr_set_d(argument, sign * e, RND);
        mpfr_add(argument, argument, x, RND);
        act_mpfr_gate(p, moved, argument);
        mpfr_sub(moved, moved, y, RND);
        worst = fmax(worst, fabs(mpfr_get_d(moved, RND)));
    }
    mpfr_clears(moved, argument, (mpfr_ptr)0);
    if (p->kind >= TENON_ACT_XSILU)
        return 2 * worst + 16 * U * (1 + 2 * fabs(p->alpha));
    return 2 * worst + act_mpfr_loss(p, mpfr_get_d(x, RND), mpfr_get_d(y, RND));
}

static double rounded(uint32_t dtype, double v)
{
    uint32_t room = 0;
    conform_set(&room, dtype, 0, v);
    return conform_get(&room, dtype, 0);
}

/* h to x's type. */
static double store(const struct conform_case *c, mpfr_t h, double off)
{
    const uint32_t dtype = c->slot[TENON_MOE_FFN_X].tensor.dtype;
    if (params_of(c)->h_dtype == TENON_MOE_FFN_H_F32 || dtype == TENON_F32 || !mpfr_number_p(h))
        return off;
    const double v = mpfr_get_d(h, RND), low = rounded(dtype, v - off), high = rounded(dtype, v + off);
    mpfr_set_d(h, rounded(dtype, v), RND);
    return fmax(high - rounded(dtype, v), rounded(dtype, v) - low);
}

static void hidden(const struct sample *s, int64_t i)
{
    const struct tenon_moe_ffn_params *p = params_of(s->c);
    const struct act_mpfr act = {p->act, (double)p->alpha, (double)p->threshold};
    mpfr_t g, u, *h = &s->h[i];
    mpfr_inits2(PRECISE_BITS, g, u, (mpfr_ptr)0);
    double off = pre(s, TENON_MOE_FFN_WU, TENON_MOE_FFN_WU_SCALE, TENON_MOE_FFN_BU, i, u);
    if (p->glu == TENON_MOE_FFN_GLU_NONE) {
        off = activate(&act, 0, *h, u, off);
    } else {
        mpfr_t y;
        mpfr_init2(y, PRECISE_BITS);
        double other = pre(s, TENON_MOE_FFN_WG, TENON_MOE_FFN_WG_SCALE, TENON_MOE_FFN_BG, i, g);
        other = activate(&act, p->glu == TENON_MOE_FFN_GLU1, y, g, other);
        off = fabs(mpfr_get_d(y, RND)) * off + fabs(mpfr_get_d(u, RND)) * other + off * other;
        mpfr_mul(*h, y, u, RND);
        mpfr_clear(y);
    }
    if (p->weight_at == TENON_MOE_FFN_AT_HIDDEN) {
        mpfr_mul_d(*h, *h, s->rw, RND);
        off *= fabs(s->rw);
    }
    off += 4 * U * fabs(mpfr_get_d(*h, RND)) + 0x1p-1000;
    s->off[i] = store(s->c, *h, off);
    mpfr_clears(g, u, (mpfr_ptr)0);
}

static void check_element(const struct sample *s, const struct conform_want *want, int64_t n,
                          struct conform_precise *precise)
{
    const struct conform_case *c = s->c;
    const int own = c->slot[TENON_MOE_FFN_FOFF].tensor.dtype != 0;
    const int64_t element = s->row * s->out + n, line = own ? n : s->expert * s->out + n;
    double chain = 0, off = 0;
    mpfr_t z, term;
    if (isinf(want[TENON_MOE_FFN_Z].bound[element])) /* f64 has no better idea of it than f32 */
        return;
    mpfr_inits2(PRECISE_BITS, z, term, (mpfr_ptr)0);
    mpfr_set_zero(z, 1);
    for (int64_t k = 0; k < s->f; k++) {
        weight(c, TENON_MOE_FFN_WD, TENON_MOE_FFN_WD_SCALE, line, s->f0 + k, s->expert * s->out + n, term);
        off += s->off[k] > 0 ? fabs(mpfr_get_d(term, RND)) * s->off[k] : 0;
        mpfr_mul(term, term, s->h[k], RND);
        mpfr_add(z, z, term, RND);
        chain += fabs(mpfr_get_d(term, RND));
    }
    if (c->slot[TENON_MOE_FFN_BD].tensor.dtype) {
        mpfr_add_d(z, z, at(c, TENON_MOE_FFN_BD, s->expert * s->out + n), RND);
        chain += fabs(at(c, TENON_MOE_FFN_BD, s->expert * s->out + n));
    }
    off += 4 * U * (fabs(mpfr_get_d(z, RND)) + chain) + 0x1p-1000;
    if (params_of(c)->weight_at == TENON_MOE_FFN_AT_OUTPUT) {
        mpfr_mul_d(z, z, s->rw, RND);
        off = off * fabs(s->rw) + 4 * U * fabs(mpfr_get_d(z, RND));
    }
    precise_compare(precise, c, want, TENON_MOE_FFN_Z, element, z, off);
    mpfr_clears(z, term, (mpfr_ptr)0);
}

/* offsets and foff by the header's rule: where entry i really is. */
static int64_t entry(const struct conform_case *c, uint32_t tensor, int64_t i, int64_t most)
{
    int64_t to = 0;
    for (int64_t k = 0; k <= i; k++) {
        const int64_t given = (int64_t)at(c, tensor, k);
        to = given > to ? (given < most ? given : to > most ? to : most) : to;
    }
    return to;
}

/* The expert of a row, and its row of x; 0: it is a row of zeros. */
static int find(struct sample *s, int64_t rows)
{
    const struct conform_case *c = s->c;
    const int64_t experts = c->slot[TENON_MOE_FFN_OFFSETS].tensor.dim[0] - 1, k = params_of(c)->top_k;
    s->from = s->row;
    for (s->expert = 0; s->expert < experts; s->expert++)
        if (s->row >= entry(c, TENON_MOE_FFN_OFFSETS, s->expert, rows) &&
            s->row < entry(c, TENON_MOE_FFN_OFFSETS, s->expert + 1, rows))
            break;
    if (s->expert >= experts)
        return 0;
    if (c->slot[TENON_MOE_FFN_SRC].tensor.dtype) {
        const int64_t src = (int64_t)at(c, TENON_MOE_FFN_SRC, s->row);
        if (src < 0 || src / k >= c->slot[TENON_MOE_FFN_X].tensor.dim[0])
            return 0;
        s->from = src / k;
    }
    s->f = s->f_all;
    if (c->slot[TENON_MOE_FFN_FOFF].tensor.dtype) {
        s->f0 = entry(c, TENON_MOE_FFN_FOFF, s->expert, s->f_all);
        s->f = entry(c, TENON_MOE_FFN_FOFF, s->expert + 1, s->f_all) - s->f0;
    }
    return 1;
}

static void check_row(const struct conform_case *c, const struct conform_want *want, int64_t row, int64_t rows,
                      struct conform_precise *precise)
{
    const struct tenon_tensor *wu = &c->slot[TENON_MOE_FFN_WU].tensor;
    struct sample s = {.c = c, .row = row, .f_all = wu->dim[wu->rank - 2], .d = wu->dim[wu->rank - 1]};
    s.out = c->slot[TENON_MOE_FFN_Z].tensor.dim[1];
    const int64_t columns = s.out < COLUMNS ? s.out : COLUMNS;
    const int64_t must = precise->element / (s.out ? s.out : 1) == row ? precise->element % s.out : -1;
    if (!find(&s, rows)) {
        for (int64_t n = 0; n < s.out; n++) {
            precise->checked++;
            if (want[TENON_MOE_FFN_Z].want[row * s.out + n] != 0) {
                precise->worst = (double)INFINITY;
                tenon_why_set(&precise->why, 1, "z of row %lld, which is one of zeros, is not 0", (long long)row);
            }
        }
        return;
    }
    s.rw = c->slot[TENON_MOE_FFN_RW].tensor.dtype ? at(c, TENON_MOE_FFN_RW, row) : 1;
    s.h = malloc(sizeof(*s.h) * (size_t)(s.f + 1));
    s.off = malloc(sizeof(*s.off) * (size_t)(s.f + 1));
    for (int64_t i = 0; s.h && s.off && i < s.f; i++) {
        mpfr_init2(s.h[i], PRECISE_BITS);
        hidden(&s, i);
    }
    for (int64_t i = 0; s.h && s.off && i < columns; i++)
        check_element(&s, want, precise_sample(c, i, columns, s.out, must), precise);
    for (int64_t i = 0; s.h && s.off && i < s.f; i++)
        mpfr_clear(s.h[i]);
    free(s.off);
    free(s.h);
}

int tenon__conform_moe_ffn_mpfr(const struct conform_case *c, const struct conform_want *want,
                                struct conform_precise *precise)
{
    const int64_t rows = c->slot[TENON_MOE_FFN_Z].tensor.dim[0], out = c->slot[TENON_MOE_FFN_Z].tensor.dim[1];
    const int64_t n = rows < ROWS ? rows : ROWS;
    const int64_t must =
        precise->tensor == TENON_MOE_FFN_Z && precise->element >= 0 && out ? precise->element / out : -1;
    for (int64_t i = 0; i < n; i++)
        check_row(c, want, precise_sample(c, i, n, rows, must), rows, precise);
    mpfr_free_cache();
    return 0;
}
