/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention in 256 bits, written from tenon/ops/attention.h and not from attention_ref*.c, which it checks: the scores
 * and sums of a sample of rows. Who sees whom is decided in attention_mpfr_keys.c.
 *
 * What f64 may lose there, with u = 2^-53: a dot product (D + 8)u of its magnitudes, each term that is added 4u of the
 * magnitudes so far; a weight what its score lost times its slope, and 8u; an exponent the roundings of what it is
 * shifted by; sums of n terms (n + 8)u of theirs. */
#include "attention_suite_mpfr.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define A(NAME) TENON_ATTENTION_##NAME
#define U       PRECISE_U
#define RND     MPFR_RNDN
#define TINY    0x1p-1000
#define ROWS    4
#define COLUMNS 4

struct key {
    int64_t j, slot; /* index along S; row of the tensors that have one a key */
    mpfr_t s, w, z;
    double lost, off, slope; /* of s; of w and z; |w'| */
};

struct sample {
    struct mp_row r;
    const struct tenon_attention_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t n;
    struct key *key;
    double top, shift;   /* the largest score; what exponents are shifted by: e^s may be beyond any range */
    mpfr_t Z, sum, t, x; /* Z; without sink and norm_eps */
    double Z_off, sum_off, beta_off;
    int nan;
};

static double num(const struct sample *a, uint32_t tensor, int64_t index)
{
    return tenon__mp_get(a->r.c, tensor, index);
}

static int has(const struct sample *a, uint32_t tensor)
{
    return a->r.c->slot[tensor].tensor.dtype != 0;
}

static double size_of(mpfr_srcptr x)
{
    return fabs(mpfr_get_d(x, RND));
}

/* Element d of k's or v's row; what f32 makes of a code. */
static double element(const struct sample *a, uint32_t tensor, int64_t row, int64_t d, int64_t wide)
{
    const int is_v = tensor == A(V);
    const uint32_t kind = is_v ? a->p->quant_v : a->p->quant_k, bits = is_v ? a->p->v_bits : a->p->k_bits;
    const uint32_t side = is_v ? A(V_QUANT) : A(K_QUANT), each = 8 / bits;
    if (!kind)
        return num(a, tensor, row * wide + d);
    const struct tenon_tensor *t = &a->r.c->slot[side].tensor;
    const uint32_t byte = (uint32_t)num(a, tensor, row * (wide / each) + d / each);
    const uint32_t code = (byte >> (uint32_t)(d % each) * bits) % (1u << bits);
    const int64_t pair = t->rank == 5 ? row * t->dim[3] + d / (wide / t->dim[3]) : a->r.hk * wide + d;
    const float s = (float)num(a, side, 2 * pair), z = (float)num(a, side, 2 * pair + 1);
    mpfr_t f; /* 24 bits: rounded as f32 is */
    mpfr_init2(f, 24);
    if (kind <= A(AFFINE_CHANNEL)) {
        mpfr_set_ui(f, code, RND);
        mpfr_sub_d(f, f, (double)z, RND);
        mpfr_mul_d(f, f, (double)s, RND);
    } else {
        mpfr_set_d(f, num(a, is_v ? A(V_TABLE) : A(K_TABLE), code), RND);
        mpfr_mul_d(f, f, (double)s, RND);
        mpfr_add_d(f, f, (double)z, RND);
    }
    const double x = mpfr_get_d(f, RND);
    mpfr_clear(f);
    return x;
}

/* s += x * y */
static void add_term(struct key *k, mpfr_t t, double x, double y, double *size)
{
    mpfr_set_d(t, x, RND);
    mpfr_mul_d(t, t, y, RND);
    *size += fabs(x * y);
    mpfr_add(k->s, k->s, t, RND);
    k->lost += 4 * U * *size;
}

static void score(struct sample *a, struct key *k)
{
    const struct mp_row *r = &a->r;
    const int64_t at = tenon__mp_kv_row(r, k->j);
    double size = 0;
    mpfr_set_zero(k->s, 1);
    k->lost = 0;
    for (int64_t d = 0; d < r->d; d++) {
        const double q = num(a, A(Q), r->row * r->d + d), x = element(a, A(K), at, d, r->d);
        mpfr_set_d(a->t, q, RND);
        mpfr_mul_d(a->t, a->t, x, RND);
        mpfr_add(k->s, k->s, a->t, RND);
        size += fabs(q * x);
    }
    if (a->p->scale != 0) {
        mpfr_mul_d(k->s, k->s, (double)a->p->scale, RND);
        size *= fabs((double)a->p->scale);
    } else {
        mpfr_sqrt_ui(a->t, (unsigned long)r->d, RND);
        mpfr_div(k->s, k->s, a->t, RND);
        size /= sqrt((double)r->d);
    }
    if (has(a, A(QTEMP))) {
        mpfr_mul_d(k->s, k->s, num(a, A(QTEMP), r->row), RND);
        size *= fabs(num(a, A(QTEMP), r->row));
    }
    k->lost = (double)(r->d + 8) * U * size;
    if (a->p->softcap > 0) {
        mpfr_div_d(k->s, k->s, (double)a->p->softcap, RND);
        mpfr_tanh(k->s, k->s, RND);
        mpfr_mul_d(k->s, k->s, (double)a->p->softcap, RND);
        k->lost += 8 * U * size_of(k->s);
    }
    if (has(a, A(SLOPE)))
        add_term(k, a->t, num(a, A(SLOPE), r->h), (double)(int32_t)(uint32_t)(tenon__mp_kpos(r, k->j) - r->qpos),
                 &size);
    if (has(a, A(FCUM))) {
        add_term(k, a->t, num(a, A(FCUM), r->row), 1, &size);
        add_term(k, a->t, num(a, A(FCUM_K), k->slot * r->hq + r->h), -1, &size);
    }
    if (has(a, A(MASK)))
        add_term(k, a->t, tenon__mp_mask(r, k->j), 1, &size);
    if (has(a, A(LOGW)))
        add_term(k, a->t,
                 num(a, A(LOGW),
                     r->c->slot[A(LOGW)].tensor.rank == 1 ? tenon__mp_entry(r, k->j) : k->slot * r->heads_k + r->hk),
                 1, &size);
    if (a->p->smax < FLT_MAX && mpfr_cmp_d(k->s, (double)a->p->smax) > 0)
        mpfr_set_d(k->s, (double)a->p->smax, RND);
}

/* w, z and what they may be off by. Exponents are shifted by the largest score in f64. */
static void weigh(struct sample *a, struct key *k)
{
    const double s = mpfr_get_d(k->s, RND), shift = fmax(fabs(a->top), 1);
    switch (a->p->weight) {
    case A(EXP):
        mpfr_sub_d(k->w, k->s, a->shift, RND);
        mpfr_exp(k->w, k->w, RND);
        k->off = size_of(k->w) * (k->lost + a->beta_off * (fabs(s) + shift) + 2 * U * (fabs(s) + shift) + 8 * U);
        break;
    case A(SIGMOID):
        mpfr_add_d(k->w, k->s, (double)a->p->bias, RND);
        k->lost += U * (fabs(s) + 2 * fabs((double)a->p->bias));
        mpfr_neg(k->w, k->w, RND);
        mpfr_exp(k->w, k->w, RND);
        mpfr_add_ui(k->w, k->w, 1, RND);
        mpfr_ui_div(k->w, 1, k->w, RND);
        k->off = size_of(k->w) * (k->lost + 16 * U);
        break;
    case A(SOFTPICK):
        mpfr_exp(k->w, k->s, RND);
        k->off = size_of(k->w) * (k->lost + 4 * U * (fabs(s) + shift) + 16 * U) + 16 * U * (1 + shift);
        mpfr_sub_ui(k->w, k->w, 1, RND);
        break;
    default:
        mpfr_set(k->w, k->s, RND);
        if (a->p->weight == A(QUAD))
            mpfr_add_d(k->w, k->w, (double)a->p->quad_c, RND);
        if ((a->p->weight == A(RELU) || a->p->weight == A(RELU2)) && mpfr_sgn(k->w) < 0)
            mpfr_set_zero(k->w, 1);
        k->off = k->lost;
        if (a->p->weight == A(RELU2) || a->p->weight == A(QUAD)) {
            k->off = 2 * size_of(k->w) * (k->lost + 4 * U * size_of(k->w)) + k->lost * k->lost;
            mpfr_sqr(k->w, k->w, RND);
        }
        k->off += 4 * U * size_of(k->w);
    }
    mpfr_set(k->z, k->w, RND);
    if (a->p->weight == A(SOFTPICK)) {
        mpfr_abs(k->z, k->z, RND);
        if (mpfr_sgn(k->w) < 0)
            mpfr_set_zero(k->w, 1);
    }
    k->off += TINY;
}

static double beta_of(double H)
{
    const double y = -1.791 + H * (4.917 + H * (-2.3 + H * (0.481 - 0.037 * H)));
    return H > 0.5 ? fmax(y, 1) : 1;
}

/* Scores times beta of their entropy. */
static void adapt(struct sample *a)
{
    double lost = 0, H, beta;
    mpfr_set_zero(a->Z, 1);
    mpfr_set_zero(a->sum, 1);
    for (int64_t i = 0; i < a->n; i++) {
        struct key *k = &a->key[i];
        mpfr_exp(a->t, k->s, RND);
        mpfr_add(a->Z, a->Z, a->t, RND);
        mpfr_mul(a->t, a->t, k->s, RND);
        mpfr_add(a->sum, a->sum, a->t, RND);
        lost = fmax(lost, k->lost + 4 * U * size_of(k->s));
    }
    mpfr_div(a->sum, a->sum, a->Z, RND);
    mpfr_log(a->t, a->Z, RND);
    mpfr_sub(a->t, a->t, a->sum, RND);
    H = mpfr_get_d(a->t, RND);
    lost = lost * (4 + fabs(a->top)) + (double)(a->n + 8) * U * (4 + 4 * fabs(a->top) + H);
    beta = beta_of(H);
    a->beta_off = 2 * fmax(fabs(beta_of(H + lost) - beta), fabs(beta_of(H - lost) - beta)) + 64 * U;
    /* the polynomial of the exact H */
    if (H > 0.5 && beta > 1) {
        static const double c[4] = {0.481, -2.3, 4.917, -1.791};
        mpfr_set_d(a->x, -0.037, RND);
        for (int i = 0; i < 4; i++) {
            mpfr_mul(a->x, a->x, a->t, RND);
            mpfr_add_d(a->x, a->x, c[i], RND);
        }
    } else {
        mpfr_set_ui(a->x, 1, RND);
    }
    for (int64_t i = 0; i < a->n; i++) {
        mpfr_mul(a->key[i].s, a->key[i].s, a->x, RND);
        a->key[i].lost *= beta;
    }
    a->top *= beta;
}

static void normalise(struct sample *a)
{
    a->shift = a->p->norm <= A(SINK) && fabs(a->top) > 1e6 ? a->top : 0;
    mpfr_set_zero(a->sum, 1);
    a->sum_off = 0;
    for (int64_t i = 0; i < a->n; i++) {
        weigh(a, &a->key[i]);
        mpfr_add(a->sum, a->sum, a->key[i].z, RND);
        a->sum_off += a->key[i].off + (double)(a->n + 8) * U * size_of(a->key[i].z);
    }
    mpfr_set(a->Z, a->sum, RND);
    a->Z_off = a->sum_off;
    if (a->p->norm == A(SUM)) {
        mpfr_set_d(a->t, (double)a->p->norm_eps, RND);
        if (a->p->weight == A(SOFTPICK)) { /* eps e^max(0, max s) */
            mpfr_set_d(a->x, fmax(a->top, 0), RND);
            mpfr_exp(a->x, a->x, RND);
            mpfr_mul(a->t, a->t, a->x, RND);
            a->Z_off += size_of(a->t) * 2 * U * (8 + fabs(a->top));
        }
        mpfr_add(a->Z, a->Z, a->t, RND);
    } else if (a->p->norm == A(SINK)) {
        const double sink = has(a, A(SINK_LOGIT)) ? num(a, A(SINK_LOGIT), a->r.h) : 0;
        mpfr_set_d(a->t, sink, RND);
        mpfr_sub_d(a->t, a->t, a->shift, RND);
        mpfr_exp(a->t, a->t, RND);
        mpfr_add(a->Z, a->Z, a->t, RND);
        a->Z_off += size_of(a->t) * U * (16 + 4 * fabs(sink) + 4 * fabs(a->top)) + a->sum_off * U;
        for (int64_t i = 0; i < a->n; i++)
            a->key[i].off += size_of(a->key[i].w) * 4 * U * fabs(sink);
    } else {
        mpfr_set_si(a->Z, a->p->norm == A(NONE) ? 1 : (long)a->n, RND);
        if (a->p->norm == A(POW)) {
            mpfr_set_d(a->t, (double)a->p->pow_alpha, RND);
            mpfr_pow(a->Z, a->Z, a->t, RND);
        }
        a->Z_off = size_of(a->Z) * 16 * U * (1 + log((double)a->n));
    }
}

/* x = gate; returns what it may be off by. */
static double gate(struct sample *a, int64_t d)
{
    double g, off;
    mpfr_set_ui(a->x, 1, RND);
    if (!has(a, A(GATE)))
        return 0;
    g = num(a, A(GATE), a->r.c->slot[A(GATE)].tensor.rank == 4 ? a->r.row * a->r.v + d : a->r.row);
    if (a->p->gate_act != A(GATE_IDENTITY)) {
        mpfr_set_d(a->x, -g, RND);
        mpfr_exp(a->x, a->x, RND);
        mpfr_add_ui(a->x, a->x, 1, RND);
        mpfr_ui_div(a->x, 1, a->x, RND);
    }
    if (a->p->gate_act != A(GATE_SIGMOID))
        mpfr_mul_d(a->x, a->x, g, RND);
    mpfr_mul_d(a->x, a->x, (double)a->p->gate_mul, RND);
    off = 16 * U * size_of(a->x);
    return off;
}

static void check_o(struct sample *a, int64_t d)
{
    const int64_t at = a->r.row * a->r.v + d;
    const int clip = a->p->post == A(POST_CLIP);
    double off = 0, gate_off;
    mpfr_t o;
    if (isinf(a->want[A(O)].bound[at])) /* held to nothing */
        return;
    mpfr_init2(o, PRECISE_BITS);
    mpfr_set_zero(o, 1);
    for (int64_t i = 0; i < a->n && mpfr_sgn(a->Z) != 0; i++) {
        struct key *k = &a->key[i];
        double v = element(a, A(V), tenon__mp_kv_row(&a->r, k->j), d, a->r.v), w;
        const double scale = has(a, A(VSCALE)) ? num(a, A(VSCALE), k->slot * a->r.heads_k + a->r.hk) : 1;
        mpfr_div(a->t, k->w, a->Z, RND);
        w = (k->off + size_of(k->w) * a->Z_off / size_of(a->Z)) / size_of(a->Z) + 8 * U * size_of(a->t);
        if (clip) {
            const double wide = (double)a->p->clip_zeta - (double)a->p->clip_gamma;
            mpfr_set_d(a->x, (double)a->p->clip_zeta, RND);
            mpfr_sub_d(a->x, a->x, (double)a->p->clip_gamma, RND);
            mpfr_mul(a->t, a->t, a->x, RND);
            mpfr_add_d(a->t, a->t, (double)a->p->clip_gamma, RND);
            if (mpfr_sgn(a->t) < 0)
                mpfr_set_zero(a->t, 1);
            if (mpfr_cmp_ui(a->t, 1) > 0)
                mpfr_set_ui(a->t, 1, RND);
            w = wide * w + 8 * U;
        }
        mpfr_mul_d(a->t, a->t, scale, RND);
        mpfr_mul_d(a->t, a->t, v, RND);
        mpfr_add(o, o, a->t, RND);
        off += w * fabs(scale * v) + (double)(a->n + 8) * U * size_of(a->t);
    }
    /* without a sum of e^s the shift is multiplied back */
    if (a->p->norm >= A(NONE) && a->n)
        off += off * 4 * fabs(a->top) + 8 * U * (1 + fabs(a->top)) * size_of(o);
    gate_off = gate(a, d);
    off = off * size_of(a->x) + gate_off * size_of(o);
    mpfr_mul(o, o, a->x, RND);
    if (a->nan)
        mpfr_set_nan(o);
    precise_compare(a->precise, a->r.c, a->want, A(O), at, o, off + 4 * U * size_of(o) + TINY);
    mpfr_clear(o);
}

static void check_lnz(struct sample *a)
{
    double off = 0;
    if (!a->want[A(LNZ)].want || isinf(a->want[A(LNZ)].bound[a->r.row]))
        return;
    mpfr_set_inf(a->t, -1);
    if (a->n && a->p->norm == A(COUNT)) {
        mpfr_set_ui(a->t, (unsigned long)a->n, RND);
        mpfr_log(a->t, a->t, RND);
    } else if (a->n && mpfr_sgn(a->sum) > 0) {
        off = a->sum_off / size_of(a->sum);
        mpfr_log(a->t, a->sum, RND);
        mpfr_add_d(a->t, a->t, a->p->weight == A(EXP) ? a->shift : 0, RND);
    }
    if (a->n && mpfr_number_p(a->t))
        off += 4 * U * (2 + size_of(a->t) + 2 * fabs(a->top)) + TINY;
    if (a->nan)
        mpfr_set_nan(a->t);
    precise_compare(a->precise, a->r.c, a->want, A(LNZ), a->r.row, a->t, off);
}

/* The scores that are not -Inf; NaN and Inf decide the row. */
static void collect(struct sample *a)
{
    const int online = a->p->weight == A(EXP) || a->p->weight == A(SOFTPICK);
    a->n = a->nan = 0;
    a->top = 0;
    a->beta_off = 0;
    for (int64_t j = 0; j < a->r.s; j++) {
        struct key *k = &a->key[a->n];
        if (!tenon__mp_sees(&a->r, j))
            continue;
        k->j = j;
        k->slot = tenon__mp_slot(&a->r, j);
        score(a, k);
        if (mpfr_inf_p(k->s) && mpfr_sgn(k->s) < 0)
            continue;
        a->nan |= mpfr_nan_p(k->s) || (online && mpfr_inf_p(k->s));
        a->top = a->n ? fmax(a->top, mpfr_get_d(k->s, RND)) : mpfr_get_d(k->s, RND);
        a->n++;
    }
}

static void check_row(struct sample *a, int64_t must)
{
    const int64_t columns = a->r.v < COLUMNS ? a->r.v : COLUMNS;
    collect(a);
    if (a->n && !a->nan) {
        if (a->p->adapt)
            adapt(a);
        normalise(a);
    } else {
        mpfr_set_zero(a->Z, 1);
        mpfr_set_zero(a->sum, 1);
    }
    for (int64_t i = 0; i < columns; i++)
        check_o(a, precise_sample(a->r.c, i, columns, a->r.v, must));
    check_lnz(a);
}

int tenon__conform_attention_mpfr(const struct conform_case *c, const struct conform_want *want,
                                  struct conform_precise *precise)
{
    struct sample a = {.p = (const void *)c->params, .want = want, .precise = precise};
    tenon__mp_open(&a.r, c);
    const int64_t rows = a.r.b * a.r.t * a.r.hq, n = rows < ROWS ? rows : ROWS;
    const int64_t must = precise->element < 0        ? -1
                         : precise->tensor == A(O)   ? precise->element / a.r.v
                         : precise->tensor == A(LNZ) ? precise->element
                                                     : -1;
    a.key = calloc((size_t)a.r.s + 1, sizeof(*a.key));
    mpfr_inits2(PRECISE_BITS, a.Z, a.sum, a.t, a.x, (mpfr_ptr)0);
    for (int64_t i = 0; a.key && i <= a.r.s; i++)
        mpfr_inits2(PRECISE_BITS, a.key[i].s, a.key[i].w, a.key[i].z, (mpfr_ptr)0);
    for (int64_t i = 0; a.key && i < n; i++) {
        tenon__mp_row(&a.r, precise_sample(c, i, n, rows, must));
        check_row(&a, a.r.row == must && precise->tensor == A(O) ? precise->element % a.r.v : -1);
    }
    for (int64_t i = 0; a.key && i <= a.r.s; i++)
        mpfr_clears(a.key[i].s, a.key[i].w, a.key[i].z, (mpfr_ptr)0);
    mpfr_clears(a.Z, a.sum, a.t, a.x, (mpfr_ptr)0);
    mpfr_free_cache();
    free(a.key);
    return 0;
}
