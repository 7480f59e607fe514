/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention in 256 bits, written from tenon/ops/linear_attention.h and not from linear_attention_ref.c, which it
 * checks: some columns v of one head of one sequence, all of their tokens, and their part of the states.
 *
 * What f64 may lose there is what the header gives f32, with u = 2^-53 and without what formats round. */
#include <math.h>
#include <stdlib.h>
#include <tenon/ops/linear_attention.h>
#include "../precise.h"

#define RND     MPFR_RNDN
#define U       PRECISE_U
#define COLUMNS 3
#define I(NAME) TENON_LINEAR_ATTENTION_##NAME

/* What one column needs, and all of a head share: a, and z. */
struct run {
    const struct conform_case *c;
    const struct tenon_linear_attention_params *p;
    const struct conform_want *want;
    struct conform_precise *precise;
    int64_t K, V, HS, T, b, n, h, first, end, v;
    double coefficient;
    int skip;                        /* errors may grow */
    mpfr_t *s, *z, *kept, *zkept;    /* [K] */
    double *sa, *za, *kepta, *zkepta;
    mpfr_t *sum;                     /* [T] of the sequence: what was read */
    double *loss;                    /* [T] what f64 may lose of that, DELTA: |scale| |q| */
    double x, xs;
    mpfr_t scale, a, t1, t2;
};

static double number(const struct run *r, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &r->c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

static int has(const struct run *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

/* Element `x` of the row of token t, of a tensor with heads of its own. */
static double part(const struct run *r, uint32_t i, int64_t t, int64_t x)
{
    const int64_t *dim = r->c->slot[i].tensor.dim, group = r->HS / dim[2];
    return number(r, i, ((r->b * r->T + t) * dim[2] + r->h / group) * dim[3] + x);
}

static void get_decay(struct run *r, uint32_t i, int64_t t, int64_t k)
{
    const int64_t at = (r->b * r->T + t) * r->HS + r->h;
    double x = 1;
    switch (r->p->decay) {
    case I(HEAD): x = number(r, i, r->h); break;
    case I(TOKEN): x = number(r, i, at); break;
    case I(KEY): x = number(r, i, at * r->K + k); break;
    case I(VALUE): x = number(r, i, at * r->V + r->v); break;
    default: break;
    }
    mpfr_set_d(r->a, x, RND);
    if (r->p->decay && r->p->decay_form == I(LOG))
        mpfr_exp(r->a, r->a, RND);
}

static void step(struct run *r, uint32_t decay, int64_t t)
{
    const int delta = r->p->update == I(DELTA), one = r->p->decay != I(KEY);
    const uint32_t kn = has(r, I(KN)) ? I(KN) : I(K);
    const double beta = delta ? number(r, I(BETA), (r->b * r->T + t) * r->HS + r->h) : 1;
    double kk = 0, ss = 0;
    mpfr_set_d(r->t2, part(r, I(V), t, r->v), RND);
    for (int64_t k = 0; k < r->K; k++) {
        const double key = part(r, I(K), t, k);
        if (k == 0 || !one)
            get_decay(r, decay, t, k);
        const double a = fabs(mpfr_get_d(r->a, RND));
        r->skip |= delta && a > 1;
        if (r->p->decay) {
            mpfr_mul(r->s[k], r->s[k], r->a, RND);
            mpfr_mul(r->z[k], r->z[k], r->a, RND);
            r->sa[k] *= a;
            r->za[k] *= a;
        }
        kk += key * key;
        if (delta) {
            mpfr_mul_d(r->t1, r->s[k], key, RND);
            mpfr_sub(r->t2, r->t2, r->t1, RND);
        }
        if (r->p->norm) {
            mpfr_add_d(r->z[k], r->z[k], part(r, kn, t, k), RND);
            r->za[k] += fabs(part(r, kn, t, k));
        }
    }
    if (delta)
        mpfr_mul_d(r->t2, r->t2, beta, RND);
    for (int64_t k = 0; k < r->K; k++) {
        mpfr_mul_d(r->t1, r->t2, part(r, I(K), t, k), RND);
        mpfr_add(r->s[k], r->s[k], r->t1, RND);
        r->sa[k] += fabs(mpfr_get_d(r->t1, RND));
        ss += mpfr_get_d(r->s[k], RND) * mpfr_get_d(r->s[k], RND);
    }
    r->skip |= delta && (beta * kk > 2 || beta * kk < 0);
    r->x = fmax(r->x, sqrt(ss) + sqrt(kk) * fabs(beta * part(r, I(V), t, r->v)));
}

/* den of the token in t1; its loss. */
static double divisor(struct run *r, int64_t t, const mpfr_t *z, const double *za)
{
    const uint32_t qn = has(r, I(QN)) ? I(QN) : I(Q);
    double all = 0;
    mpfr_set_zero(r->t2, 1);
    for (int64_t k = 0; k < r->K; k++) {
        mpfr_mul_d(r->t1, z[k], part(r, qn, t, k), RND);
        mpfr_add(r->t2, r->t2, r->t1, RND);
        all += za[k] * fabs(part(r, qn, t, k));
    }
    mpfr_mul(r->t1, r->t2, r->scale, RND);
    if (r->p->norm == I(SUM))
        mpfr_add_d(r->t1, r->t1, (double)r->p->eps, RND);
    else if (mpfr_cmpabs_ui(r->t1, 1) < 0)
        mpfr_set_ui(r->t1, 1, RND);
    else
        mpfr_abs(r->t1, r->t1, RND);
    return r->coefficient * (fabs(mpfr_get_d(r->scale, RND)) * all + (double)r->p->eps);
}

static void read(struct run *r, int64_t t)
{
    const int group = r->p->read == I(GROUP);
    const mpfr_t *s = (const mpfr_t *)(group ? r->kept : r->s);
    const double *sa = group ? r->kepta : r->sa, w = r->p->direction == I(BIDIR) ? (double)r->p->w_bi : 1;
    double *loss = &r->loss[t - r->first], all = 0, qq = 0;
    mpfr_t *sum = &r->sum[t - r->first];
    mpfr_set_zero(r->t2, 1);
    for (int64_t k = 0; k < r->K; k++) {
        const double q = part(r, I(Q), t, k);
        mpfr_mul_d(r->t1, s[k], q, RND);
        mpfr_add(r->t2, r->t2, r->t1, RND);
        all += sa[k] * fabs(q);
        qq += q * q;
    }
    const double scale = fabs(mpfr_get_d(r->scale, RND) * w);
    mpfr_mul(r->t2, r->t2, r->scale, RND);
    mpfr_mul_d(r->t2, r->t2, w, RND);
    mpfr_add(*sum, *sum, r->t2, RND);
    *loss += r->p->update == I(DELTA) ? scale * sqrt(qq) : r->coefficient * scale * all;
    if (!r->p->norm)
        return;
    const double lost = divisor(r, t, (const mpfr_t *)(group ? r->zkept : r->z), group ? r->zkepta : r->za);
    const double den = fabs(mpfr_get_d(r->t1, RND));
    if (mpfr_zero_p(r->t1))
        mpfr_set_zero(*sum, 1);
    else
        mpfr_div(*sum, *sum, r->t1, RND);
    *loss = den < 4 * lost || !isfinite(den) ? (double)INFINITY
            : den == 0                       ? 0
                                             : (*loss + lost * fabs(mpfr_get_d(*sum, RND))) / den;
}

static void start(struct run *r)
{
    double ss = 0;
    for (int64_t k = 0; k < r->K; k++) {
        const int64_t at = (r->n * r->HS + r->h) * r->K + k;
        mpfr_set_d(r->s[k], has(r, I(STATE)) ? number(r, I(STATE), at * r->V + r->v) : 0, RND);
        mpfr_set_d(r->z[k], has(r, I(NORM_STATE)) ? number(r, I(NORM_STATE), at) : 0, RND);
        r->sa[k] = fabs(mpfr_get_d(r->s[k], RND));
        r->za[k] = fabs(mpfr_get_d(r->z[k], RND));
        ss += r->sa[k] * r->sa[k];
    }
    r->x = sqrt(ss);
}

static void go(struct run *r, int backwards, uint32_t decay)
{
    start(r);
    for (int64_t i = 0; i < r->end - r->first; i++) {
        const int64_t t = backwards ? r->end - 1 - i : r->first + i;
        for (int64_t k = 0; r->p->read == I(GROUP) && i % r->p->group == 0 && k < r->K; k++) {
            mpfr_set(r->kept[k], r->s[k], RND);
            mpfr_set(r->zkept[k], r->z[k], RND);
            r->kepta[k] = r->sa[k];
            r->zkepta[k] = r->za[k];
        }
        if (r->p->read != I(INCLUSIVE))
            read(r, t);
        step(r, decay, t);
        if (r->p->read == I(INCLUSIVE) && r->p->direction != I(NONCAUSAL))
            read(r, t);
    }
    for (int64_t t = r->first; r->p->direction == I(NONCAUSAL) && t < r->end; t++)
        read(r, t);
    r->xs += r->x;
}

static void compare(const struct run *r, uint32_t tensor, int64_t element, mpfr_t exact, double loss)
{
    if (!mpfr_number_p(exact))
        mpfr_set_nan(exact);
    if (!isnan(loss) && !isinf(loss))
        precise_compare(r->precise, r->c, r->want, tensor, element, exact, loss + 0x1p-1000);
}

static void check_column(struct run *r)
{
    const int64_t n = r->end - r->first;
    const uint32_t back = has(r, I(DECAY_B)) ? I(DECAY_B) : I(DECAY);
    r->xs = 0;
    r->skip = 0;
    for (int64_t t = 0; t < n; t++) {
        mpfr_set_zero(r->sum[t], 1);
        r->loss[t] = 0;
    }
    if (r->p->direction == I(BIDIR))
        go(r, 1, back);
    go(r, r->p->direction == I(REVERSE), I(DECAY));
    if (r->skip)
        return;
    for (int64_t t = 0; t < n; t++) {
        const double loss = r->p->update == I(DELTA) ? r->coefficient * r->loss[t] * r->xs : r->loss[t];
        compare(r, I(O), ((r->b * r->T + r->first + t) * r->HS + r->h) * r->V + r->v, r->sum[t],
                mpfr_number_p(r->sum[t]) ? loss : 0);
    }
    for (int64_t k = 0; k < r->K; k++) {
        const int64_t at = (r->n * r->HS + r->h) * r->K + k;
        const double loss = r->coefficient * (r->p->update == I(DELTA) ? r->xs : r->sa[k]);
        if (has(r, I(STATE_OUT)))
            compare(r, I(STATE_OUT), at * r->V + r->v, r->s[k], mpfr_number_p(r->s[k]) ? loss : 0);
        if (has(r, I(NORM_STATE_OUT)))
            compare(r, I(NORM_STATE_OUT), at, r->z[k], mpfr_number_p(r->z[k]) ? r->coefficient * r->za[k] : 0);
    }
}

static mpfr_t *make_numbers(int64_t n)
{
    mpfr_t *x = malloc((size_t)(n + 1) * sizeof(*x));
    for (int64_t i = 0; x && i < n; i++)
        mpfr_init2(x[i], PRECISE_BITS);
    return x;
}

static void free_numbers(mpfr_t *x, int64_t n)
{
    for (int64_t i = 0; x && i < n; i++)
        mpfr_clear(x[i]);
    free(x);
}

/* First token and end of sequence n. */
static void find_sequence(struct run *r)
{
    const struct tenon_tensor *cu = &r->c->slot[I(CU_Q)].tensor;
    int64_t last = 0;
    r->b = cu->dtype ? 0 : r->n;
    r->first = 0;
    r->end = r->T;
    for (int64_t i = 0; cu->dtype && i <= r->n + 1; i++) {
        int64_t here = (int64_t)number(r, I(CU_Q), i);
        here = here > r->T ? r->T : here;
        here = here < last ? last : here;
        r->first = last;
        r->end = last = here;
    }
}

/* The sequence, head and column that are looked at: those of the element that must be, or the longest sequence's. */
static int64_t choose(struct run *r, int64_t seqs)
{
    const int64_t must = r->precise->element;
    int64_t best = 0, most = -1;
    r->h = (int64_t)conform_below(conform_key(r->c, 77), 0, (uint64_t)r->HS);
    for (r->n = 0; r->n < seqs; r->n++) {
        find_sequence(r);
        const int64_t row = must / r->V / r->HS - r->b * r->T;
        const int inside = must >= 0 && (r->precise->tensor == I(O) ? row >= r->first && row < r->end
                           : r->precise->tensor == I(STATE_OUT)     ? must / r->V / r->K / r->HS == r->n
                           : r->precise->tensor == I(NORM_STATE_OUT) && must / r->K / r->HS == r->n);
        if (inside || r->end - r->first > most) {
            best = r->n;
            most = inside ? INT64_MAX : r->end - r->first;
        }
    }
    r->n = best;
    find_sequence(r);
    if (most < INT64_MAX)
        return 0;
    r->h = must / (r->precise->tensor == I(O) ? r->V : r->precise->tensor == I(STATE_OUT) ? r->K * r->V : r->K) % r->HS;
    return r->precise->tensor == I(NORM_STATE_OUT) ? 0 : must % r->V;
}

static void check_head(struct run *r, int64_t must)
{
    const double e = r->p->decay_form == I(LOG) ? 2 : 0.5, n = (double)(r->end - r->first), K = (double)r->K;
    r->coefficient = U * (r->p->update == I(DELTA) ? 64 + K + 4 * n : 64 + K / 2 + (e + 2) * n);
    r->s = make_numbers(r->K);
    r->z = make_numbers(r->K);
    r->kept = make_numbers(r->K);
    r->zkept = make_numbers(r->K);
    r->sum = make_numbers(r->end - r->first);
    double *const memory = calloc((size_t)(4 * r->K + r->end - r->first + 1), sizeof(double));
    r->sa = memory;
    r->za = memory + r->K;
    r->kepta = memory + 2 * r->K;
    r->zkepta = memory + 3 * r->K;
    r->loss = memory + 4 * r->K;
    mpfr_inits2(PRECISE_BITS, r->scale, r->a, r->t1, r->t2, (mpfr_ptr)0);
    mpfr_set_d(r->scale, r->p->scale == 0 ? (double)r->K : (double)r->p->scale, RND);
    if (r->p->scale == 0)
        mpfr_rec_sqrt(r->scale, r->scale, RND);
    for (int64_t i = 0; i < COLUMNS && i < r->V; i++) {
        r->v = precise_sample(r->c, i, r->V < COLUMNS ? r->V : COLUMNS, r->V, must);
        check_column(r);
    }
    mpfr_clears(r->scale, r->a, r->t1, r->t2, (mpfr_ptr)0);
    free(memory);
    free_numbers(r->sum, r->end - r->first);
    free_numbers(r->zkept, r->K);
    free_numbers(r->kept, r->K);
    free_numbers(r->z, r->K);
    free_numbers(r->s, r->K);
}

int tenon__conform_linear_attention_mpfr(const struct conform_case *c, const struct conform_want *want,
                                         struct conform_precise *precise)
{
    const struct tenon_tensor *o = &c->slot[I(O)].tensor, *cu = &c->slot[I(CU_Q)].tensor;
    struct run r = {.c = c, .p = (const void *)c->params, .want = want, .precise = precise,
                    .K = c->slot[I(Q)].tensor.dim[3], .V = o->dim[3], .HS = o->dim[2], .T = o->dim[1]};
    const int64_t seqs = cu->dtype ? cu->dim[0] - 1 : o->dim[0];
    if (seqs > 0 && r.HS > 0)
        check_head(&r, choose(&r, seqs));
    mpfr_free_cache();
    return 0;
}
