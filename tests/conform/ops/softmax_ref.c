/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in f64, straight from the formulas of tenon/ops/softmax.h, and the bound of each element: logits, the
 * exponential kinds and how a row's outcome is put where it belongs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "softmax_suite_ref.h"

#define U     SOFTMAX_U
#define FLOOR SOFTMAX_FLOOR

/* ---- what is read ---- */

static int has(const struct softmax_row *r, uint32_t i)
{
    return r->c->slot[i].tensor.dtype != 0;
}

static double side(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* The value of a tensor that is as x or [cols]. */
static double wide(const struct softmax_row *r, uint32_t i, int64_t col)
{
    const struct conform_slot *slot = r->c->slot;
    return side(r->c, i,
                slot[i].tensor.rank == 1 && slot[TENON_SOFTMAX_X].tensor.rank > 1 ? col : r->row * r->cols + col);
}

static int is_there(const struct softmax_row *r, int64_t col)
{
    if (has(r, TENON_SOFTMAX_MULT) && r->mult[col] == 0)
        return 0;
    if (has(r, TENON_SOFTMAX_VALID_LEN))
        return (double)col < side(r->c, TENON_SOFTMAX_VALID_LEN, r->row);
    if (has(r, TENON_SOFTMAX_MASK))
        return wide(r, TENON_SOFTMAX_MASK, col) != 0;
    return 1;
}

/* The logits are rounded to f32 as the header says, but for generated normals, which a backend has within 1e-6: they
 * are not rounded here, and shift has what may be off. */
static double with_noise(struct softmax_row *r, int64_t col, double value)
{
    const struct tenon_softmax_params *p = r->p;
    const struct conform_noise noise = {p->seed, p->stream, p->sample};
    double normal;
    float added;
    if (p->noise == TENON_SOFTMAX_NOISE_NONE)
        return value;
    if (p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL) {
        normal = (double)p->noise_amp * fabs(conform_noise_normal(&noise, (uint32_t)r->row, (uint32_t)col));
        if (r->there[col] && isfinite(value))
            r->shift = fmax(r->shift, fabs((double)p->noise_amp) * 1e-6 + U * (fabs(normal) + fabs(value + normal)));
        return value + normal;
    }
    added = p->noise == TENON_SOFTMAX_NOISE_GUMBEL ? conform_noise_gumbel(&noise, (uint32_t)r->row, (uint32_t)col)
                                                   : (float)wide(r, TENON_SOFTMAX_NOISE, col);
    added = p->noise_amp * added;
    return (double)((float)value + added);
}

static void read_row(struct softmax_row *r)
{
    const struct conform_slot *x = &r->c->slot[TENON_SOFTMAX_X];
    const int bias = has(r, TENON_SOFTMAX_BIAS), mult = has(r, TENON_SOFTMAX_MULT);
    int64_t begin = r->cols ? conform_offset(&x->tensor, r->row * r->cols) : 0;
    r->shift = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        double value = conform_get(conform_first(x), x->tensor.dtype, begin + j);
        r->mult[j] = mult ? side(r->c, TENON_SOFTMAX_MULT, j) : 1;
        r->there[j] = (char)is_there(r, j);
        if (bias || r->p->scale != 1.0f) /* rounded to f32 once: part of the contract */
            value = (double)fmaf((float)value, r->p->scale, bias ? (float)wide(r, TENON_SOFTMAX_BIAS, j) : 0.0f);
        r->v[j] = with_noise(r, j, value);
    }
}

static void read_scale(struct softmax_row *r)
{
    float T = r->p->inv_temp,
          scale = has(r, TENON_SOFTMAX_ROW_SCALE) ? (float)side(r->c, TENON_SOFTMAX_ROW_SCALE, r->row) : 1.0f;
    r->T0 = (double)(T * scale); /* both are f32, and so is their product */
    r->sunk = has(r, TENON_SOFTMAX_SINK);
    r->sink =
        r->sunk ? side(r->c, TENON_SOFTMAX_SINK, r->c->slot[TENON_SOFTMAX_SINK].tensor.dim[0] == 1 ? 0 : r->row) : 0;
    r->bad = !(scale >= 0) || isinf(scale);
}

/* ---- maxima and sums ---- */

/* The total order of SPEC.md: NaN below everything, -0 equals +0. */
static int greater(double a, double b)
{
    return isnan(b) ? !isnan(a) : a > b;
}

static void find_maxima(struct softmax_row *r)
{
    const int elementwise = r->p->kind == TENON_SOFTMAX_SIGMOID || r->p->kind == TENON_SOFTMAX_SCALE;
    int64_t best = -1;
    r->M = r->M2 = -(double)INFINITY;
    r->odd = r->minus = 0;
    r->nan = r->bad;
    r->above = r->n = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->in[j])
            continue;
        r->n++;
        if (best < 0 || greater(r->v[j], r->v[best]))
            best = j;
        r->nan |= !(r->mult[j] >= 0) || isinf(r->mult[j]);
        r->odd |= isnan(r->v[j]) || r->v[j] == (double)INFINITY;
        r->minus |= r->v[j] == -(double)INFINITY;
        if (!(r->v[j] > -(double)INFINITY))
            continue;
        r->above++;
        if (r->v[j] > r->M) {
            r->M2 = r->M;
            r->M = r->v[j];
        } else if (r->v[j] > r->M2) {
            r->M2 = r->v[j];
        }
    }
    r->argmax = r->above || r->odd ? best : -1;
    r->nan |= (r->odd && !elementwise) || (r->minus && r->p->kind == TENON_SOFTMAX_QUAD_NORM);
    r->R = r->sunk && r->sink > r->M ? r->sink : r->M;
}

static double weight(const struct softmax_row *r, double v)
{
    return v == -(double)INFINITY ? 0 : exp((v - r->R) * r->T);
}

/* S and the weights are about R; own and a give the entropy of the row, which no sink changes, about M: about a sink
 * far above the row they would vanish. */
static void sum_row(struct softmax_row *r)
{
    struct softmax_sum s = {0, 0}, own = {0, 0}, a = {0, 0}, q = {0, 0};
    double A = 0, E2 = 0, Aq = 0, last = r->sunk ? exp((r->sink - r->R) * r->T) : 0;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->in[j] || r->v[j] == -(double)INFINITY)
            continue;
        double d = (r->v[j] - r->M) * r->T, e = r->mult[j] * exp(d), w = weight(r, r->v[j]),
               far = (r->v[j] - r->R) * r->T;
        tenon__softmax_ref_add(&s, r->mult[j] * w);
        tenon__softmax_ref_add(&own, e);
        tenon__softmax_ref_add(&a, e * d);
        tenon__softmax_ref_add(&q, r->mult[j] * w * w);
        A += r->mult[j] * w * fabs(far);
        Aq += r->mult[j] * w * w * fabs(far);
        E2 += e * d * d;
    }
    r->S = softmax_total(&s) + last;
    r->own = softmax_total(&own);
    r->a = softmax_total(&a);
    r->q = softmax_total(&q);
    r->A = r->S > 0 ? (A + (r->sunk ? last * fabs((r->sink - r->R) * r->T) : 0)) / r->S : 0;
    r->Aq = r->q > 0 ? Aq / r->q : 0;
    r->E2 = r->own > 0 ? E2 / r->own : 0;
    r->H = log(r->own) - r->a / r->own;
    r->extra =
        r->p->algo == TENON_SOFTMAX_FIXED_MAX ? 2 * fmin(fabs(r->M - (double)r->p->phi) * r->T, (double)r->p->win) : 0;
}

/* ---- adaptive ---- */

static double entropy_bound(const struct softmax_row *r)
{
    return 4e-6 * (1 + log((double)r->cols)) + r->extra * U + r->shift * r->T * (2 * fabs(r->H) + 1) + r->E2 * r->rel;
}

static double polynomial(const struct tenon_softmax_params *p, double H)
{
    return ((((double)p->adaptive_c4 * H + (double)p->adaptive_c3) * H + (double)p->adaptive_c2) * H +
            (double)p->adaptive_c1) *
               H +
           (double)p->adaptive_c0;
}

/* beta and what it may be off by; T and all sums with it. */
static void adapt(struct softmax_row *r)
{
    const double gate = (double)r->p->adaptive_gate, off = entropy_bound(r), H = r->H;
    const double low = polynomial(r->p, H - off), high = polynomial(r->p, H + off);
    double value = polynomial(r->p, H), slope;
    r->beta = H > gate ? fmax(value, 1) : 1;
    slope = fmax(fabs(low - value), fabs(high - value));
    r->beta_bound = value + slope < 1 || H + off < gate ? 0 : slope + 16 * U * fmax(value, 1);
    if (fabs(H - gate) <= off) /* it may be past the gate or not */
        r->beta_bound += fabs(fmax(value, 1) - 1);
    r->rel = r->beta_bound > 0 ? r->beta_bound / r->beta + U : 0;
    r->T = r->T0 * r->beta;
    sum_row(r);
}

/* ---- y and the statistics ---- */

/* c*|d| + b*|v| of the tolerance, beyond the constant. */
static double slope_term(const struct softmax_row *r, double v)
{
    double c = r->T == 1 ? 1 : 2, d = fabs((v - r->R) * r->T);
    int piped = r->p->scale != 1.0f || has(r, TENON_SOFTMAX_BIAS) || r->p->noise;
    if (r->p->algo == TENON_SOFTMAX_TWO_PASS_EXT && r->M <= 0x1p20 && r->M >= -0x1p20)
        c = 0; /* rows beyond the guard are redone; bounded by the wider of the two only where M shows it */
    return (c != 0 ? c * d : 0) + (piped ? fabs(v) : 0) + r->extra;
}

/* What uncertain noise and an uncertain beta do to exp((v - R) T) / S, as a share of it: the sum moves by its own mean
 * of |d|, and all d have one sign. */
static double unsure(const struct softmax_row *r, double v)
{
    double d = fabs((v - r->R) * r->T);
    return r->rel > 0 || r->shift > 0 ? expm1(r->rel * fmax(d, r->A) + 2 * r->shift * r->T) : 0;
}

/* A logarithm is an absolute quantity. Beside ln S it is d, its product with T and their difference that round. */
static double log_bound(const struct softmax_row *r, double y)
{
    return U * (8 + (r->T == 1 ? 2 : 3) * fabs(y) + fabs(r->R) + r->extra) + FLOOR;
}

static double empty_value(const struct softmax_row *r)
{
    const uint32_t kind = r->p->kind;
    if (r->sunk || kind == TENON_SOFTMAX_SOFTPICK || kind > TENON_SOFTMAX_ENTMAX15 ||
        r->p->empty_row == TENON_SOFTMAX_EMPTY_ZERO)
        return 0;
    return r->p->empty_row == TENON_SOFTMAX_EMPTY_NAN ? (double)NAN : 1.0 / (double)r->n;
}

static void make_y(struct softmax_row *r)
{
    const int logs = r->p->kind == TENON_SOFTMAX_LOG_EXP, exps = r->p->kind <= TENON_SOFTMAX_LOG_EXP;
    const int own = r->p->kind == TENON_SOFTMAX_SIGMOID || r->p->kind == TENON_SOFTMAX_SCALE;
    const double ln = logs ? log(r->S) : 0, least = logs ? -(double)INFINITY : 0;
    for (int64_t j = 0; j < r->cols; j++) {
        double *y = &r->y[j], *bound = &r->bound[j];
        *bound = 0;
        *y = r->nan && r->in[j] ? (double)NAN : least;
        if (r->nan || !r->in[j] || own)
            continue;
        if (!r->above) {
            *y = logs ? log(empty_value(r)) : empty_value(r);
            *bound = isfinite(*y) ? fabs(*y) * U * 8 : 0;
        } else if (exps && r->v[j] > -(double)INFINITY) {
            double d = (r->v[j] - r->R) * r->T;
            *y = logs ? d - ln : exp(d) / r->S;
            *bound = logs ? log_bound(r, *y) + 2 * r->shift * r->T
                          : *y * (U * (12 + slope_term(r, r->v[j])) + unsure(r, r->v[j])) + FLOOR;
        }
    }
}

static void set(struct softmax_row *r, uint32_t i, double value, double bound)
{
    r->stat[i] = value;
    r->stat_bound[i] = bound;
}

static void set_lse(struct softmax_row *r)
{
    const double inf = (double)INFINITY;
    double lse = r->above ? r->R * r->T + log(r->S) : r->sunk ? r->R * r->T : -inf, bound;
    bound = isinf(lse) ? 0 : log_bound(r, lse) + (fabs(r->R * r->T) + r->A) * r->rel + r->shift * r->T;
    set(r, TENON_SOFTMAX_LSE, lse, bound);
    if (!r->above && !r->sunk)
        set(r, TENON_SOFTMAX_ENERGY, inf, 0);
    else if (r->T == 0)
        set(r, TENON_SOFTMAX_ENERGY, -inf, 0);
    else
        set(r, TENON_SOFTMAX_ENERGY, -lse / r->T, bound / r->T + fabs(lse / r->T) * (2 * U + r->rel));
}

static void set_sums(struct softmax_row *r)
{
    double top = weight(r, r->M) / r->S, second = weight(r, r->M2) / r->S, bound, sum;
    double moved = 2 * r->shift * r->T;
    /* With a sink far above the row the rounding of (M - R)*T shows in pmax as it does in y. */
    bound = top * (U * (32 + slope_term(r, r->M)) + unsure(r, r->M)) + FLOOR;
    set(r, TENON_SOFTMAX_PMAX, top, bound);
    if (second > 0)
        bound += second * unsure(r, r->M2);
    set(r, TENON_SOFTMAX_MARGIN, top - second, bound);
    set(r, TENON_SOFTMAX_ENTROPY, r->H, entropy_bound(r));
    sum = U * (32 + r->extra);
    set(r, TENON_SOFTMAX_SUM, r->S, r->S * (sum + expm1(r->rel * r->A + moved)) + FLOOR);
    set(r, TENON_SOFTMAX_SUMSQ, r->q / r->S / r->S,
        r->q / r->S / r->S * (sum + expm1(2 * r->rel * fmax(r->A, r->Aq) + 2 * moved)) + FLOOR);
}

static void make_stats(struct softmax_row *r)
{
    const int odd = r->nan || r->odd, exps = r->p->kind <= TENON_SOFTMAX_LOG_EXP;
    set(r, TENON_SOFTMAX_ARGMAX, (double)r->argmax,
        r->shift > 0 && r->above > 1 && r->M2 >= r->M - 2 * r->shift ? (double)INFINITY : 0);
    if (odd) {
        for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_BETA; i++)
            if (i != TENON_SOFTMAX_ARGMAX)
                set(r, i, i == TENON_SOFTMAX_NNZ ? 0 : (double)NAN, 0);
        return;
    }
    set(r, TENON_SOFTMAX_MAX, r->M, (fabs(r->M) < FLOOR ? FLOOR : 0) + (r->above ? r->shift : 0));
    set(r, TENON_SOFTMAX_TAU, r->above ? r->tau : -(double)INFINITY, r->above ? r->tau_bound : 0);
    set(r, TENON_SOFTMAX_BETA, r->above ? r->beta : 1, r->above ? r->beta_bound : 0);
    if (exps || !r->above)
        set(r, TENON_SOFTMAX_NNZ, (double)r->above, 0);
    if (!exps)
        return;
    set_lse(r);
    if (r->above) {
        set_sums(r);
        return;
    }
    for (uint32_t i = TENON_SOFTMAX_PMAX; i <= TENON_SOFTMAX_SUMSQ; i++)
        if (i != TENON_SOFTMAX_ENERGY)
            set(r, i, i == TENON_SOFTMAX_SUM && r->sunk ? 1 : 0, 0);
}

static void evaluate(struct softmax_row *r)
{
    find_maxima(r);
    r->T = r->T0;
    r->rel = r->extra = r->beta_bound = 0;
    r->beta = 1;
    if (!r->nan && r->above && r->p->kind <= TENON_SOFTMAX_LOG_EXP) {
        sum_row(r);
        if (r->p->adaptive)
            adapt(r);
    }
    make_y(r);
    if (!r->nan && r->p->kind > TENON_SOFTMAX_LOG_EXP && (r->above || r->p->kind >= TENON_SOFTMAX_SIGMOID))
        tenon__softmax_ref_kind(r);
    make_stats(r);
    if (r->p->post)
        tenon__softmax_ref_post(r);
}

/* ---- a row with entries that may be in or out ---- */

/* Of the support with them and the one without, all that is monotone in the support is between the two. */
static void join(double *value, double *bound, double other, double other_bound, int monotone)
{
    double middle = (*value + other) / 2;
    if (*value == other || (isnan(*value) && isnan(other))) {
        *bound = fmax(*bound, other_bound);
        return;
    }
    *bound = monotone && isfinite(middle) ? fmax(fabs(*value - middle) + *bound, fabs(other - middle) + other_bound)
                                          : (double)INFINITY;
    *value = middle;
}

static void evaluate_both(struct softmax_row *r)
{
    struct softmax_row with = *r;
    const uint32_t loose = 1u << TENON_SOFTMAX_MARGIN | 1u << TENON_SOFTMAX_SUMSQ | 1u << TENON_SOFTMAX_BETA |
                           (has(r, TENON_SOFTMAX_MULT) ? 1u << TENON_SOFTMAX_ENTROPY : 0);
    const int monotone = !r->p->adaptive;
    double *room = malloc(sizeof(double) * 2 * (size_t)(r->cols + 1));
    if (!room)
        return;
    with.y = room;
    with.bound = room + r->cols + 1;
    for (int64_t j = 0; j < r->cols; j++)
        r->in[j] = r->state[j] != SOFTMAX_OUT;
    evaluate(&with);
    for (int64_t j = 0; j < r->cols; j++)
        r->in[j] = r->state[j] == SOFTMAX_IN;
    evaluate(r);
    for (int64_t j = 0; j < r->cols; j++) {
        join(&r->y[j], &r->bound[j], with.y[j], with.bound[j], monotone && r->above);
        if (r->state[j] == SOFTMAX_UNSURE)
            r->bound[j] = (double)INFINITY;
    }
    for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_BETA; i++)
        join(&r->stat[i], &r->stat_bound[i], with.stat[i], with.stat_bound[i],
             monotone && r->above && !(loose >> i & 1u));
    r->flag_bound[1] += r->above == 0;
    free(room);
}

/* ---- where it belongs ---- */

static void do_row(struct softmax_row *r)
{
    int either = 0;
    read_row(r);
    read_scale(r);
    tenon__softmax_ref_support(r);
    for (int64_t j = 0; j < r->cols; j++)
        either |= r->state[j] == SOFTMAX_UNSURE;
    if (either) {
        evaluate_both(r);
    } else {
        memcpy(r->in, r->state, (size_t)r->cols + 1);
        evaluate(r);
    }
    tenon__softmax_ref_count(r);
}

static void put_row(const struct softmax_row *r, struct conform_want *want)
{
    const uint32_t dtype = r->c->slot[TENON_SOFTMAX_Y].tensor.dtype;
    struct conform_want *w = &want[TENON_SOFTMAX_Y];
    for (int64_t j = 0; j < r->cols && w->want; j++) {
        double *bound = &w->bound[r->row * r->cols + j];
        w->want[r->row * r->cols + j] = r->y[j];
        *bound = r->bound[j];
        if ((dtype == TENON_F16 || dtype == TENON_BF16) && isfinite(r->y[j]) && *bound != 0)
            *bound += conform_ulp(dtype, r->y[j]);
    }
    for (uint32_t i = TENON_SOFTMAX_MAX; i <= TENON_SOFTMAX_BETA; i++) {
        if (!want[i].want)
            continue;
        want[i].want[r->row] = r->stat[i];
        want[i].bound[r->row] = r->stat_bound[i];
    }
}

static void mark_exact(const struct softmax_row *r, struct conform_want *want)
{
    const struct tenon_softmax_params *p = r->p;
    const int plain = !p->support && !p->adaptive && !p->noise && !has(r, TENON_SOFTMAX_MULT);
    const int normal =
        p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL || p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK;
    want[TENON_SOFTMAX_ARGMAX].exact = !normal;
    want[TENON_SOFTMAX_NNZ].exact = !normal && p->kind != TENON_SOFTMAX_SPARSEMAX && p->kind != TENON_SOFTMAX_ENTMAX15;
    want[TENON_SOFTMAX_FLAGS].exact = r->flag_bound[1] == 0 && r->flag_bound[3] == 0;
    want[TENON_SOFTMAX_Y].exact = p->post == TENON_SOFTMAX_POST_HARD && !normal;
    if (r->c->mode != CONFORM_EXACT || !plain)
        return;
    want[TENON_SOFTMAX_MAX].exact = want[TENON_SOFTMAX_PMAX].exact = want[TENON_SOFTMAX_MARGIN].exact = 1;
    want[TENON_SOFTMAX_Y].exact |= p->kind == TENON_SOFTMAX_EXP && !p->post;
}

static int get_room(struct softmax_row *r)
{
    const size_t n = (size_t)r->cols + 1;
    r->v = calloc(5 * n, sizeof(double));
    r->there = calloc(3 * n, 1);
    if (!r->v || !r->there)
        return -1;
    r->mult = r->v + n;
    r->sorted = r->mult + n;
    r->y = r->sorted + n;
    r->bound = r->y + n;
    r->state = r->there + n;
    r->in = r->state + n;
    return 0;
}

void tenon__conform_softmax_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *x = &c->slot[TENON_SOFTMAX_X].tensor;
    struct softmax_row *r = calloc(1, sizeof(*r));
    int64_t rows = 1;
    if (!r)
        return;
    r->c = c;
    r->p = (const void *)c->params;
    r->cols = x->dim[x->rank - 1];
    for (uint32_t i = 0; i + 1 < x->rank; i++)
        rows *= x->dim[i];
    if (r->p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK && r->p->k < r->cols)
        r->quantile = tenon__softmax_ref_quantile((double)r->p->k, (double)r->cols);
    if (get_room(r) == 0)
        for (r->row = 0; r->row < rows; r->row++) {
            do_row(r);
            put_row(r, want);
        }
    for (int i = 0; i < 4 && want[TENON_SOFTMAX_FLAGS].want; i++) {
        want[TENON_SOFTMAX_FLAGS].want[i] = r->flag[i];
        want[TENON_SOFTMAX_FLAGS].bound[i] = r->flag_bound[i];
    }
    mark_exact(r, want);
    free(r->there);
    free(r->v);
    free(r);
}
