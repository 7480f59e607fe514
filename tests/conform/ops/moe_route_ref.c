/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_route in f64: weights and statistics, straight from the formulas of tenon/ops/moe_route.h. The logits and the
 * selection are those of moe_route_ref_select.c. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "moe_route_suite_ref.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below */

/* A number and how far a backend may be off. */
struct about {
    double value, bound;
};

/* Of a softmax over n logits. */
struct base {
    double top, sum;
};

static const double minus_infinity = -(double)INFINITY;

static struct base base_of(const float *z, int64_t n)
{
    struct base b = {minus_infinity, 0};
    for (int64_t i = 0; i < n; i++)
        b.top = (double)z[i] > b.top ? (double)z[i] : b.top;
    for (int64_t i = 0; i < n && isfinite(b.top); i++)
        b.sum += exp((double)z[i] - b.top);
    return b;
}

/* A share of the softmax. Below 2^-126 exp may be 0. */
static struct about share(const struct base *b, float z)
{
    const double d = (double)z - b->top;
    if (!(b->sum > 0) || (double)z == minus_infinity)
        return (struct about){0, 0};
    const double y = exp(d) / b->sum;
    return (struct about){y, y * U * (24 + fabs(d)) + 2 * FLOOR};
}

static struct about sigmoid(float z)
{
    const double e = exp(-fabs((double)z)), y = z >= 0 ? 1 / (1 + e) : e / (1 + e);
    return (struct about){y, y * U * 16 + 2 * FLOOR};
}

static struct about times(struct about a, struct about b)
{
    return (struct about){a.value * b.value, fabs(a.value) * b.bound + fabs(b.value) * a.bound + a.bound * b.bound +
                                                 2 * U * fabs(a.value * b.value) + 2 * FLOOR};
}

/* What is the same for all experts of a token. */
struct row {
    struct base z, clean, group, *inner; /* inner: of the groups of hier */
    double rms;                          /* 1/sqrt(mean r^2 + eps) */
};

static void begin_row(const struct route_ref *r, struct row *row)
{
    const struct tenon_moe_route_params *p = r->p;
    double squares = 0;
    row->z = base_of(r->z, r->columns);
    row->clean = base_of(r->clean, r->columns);
    row->group = base_of(r->group_z, p->hier_g);
    for (int64_t g = 0; g < (int64_t)p->hier_g; g++)
        row->inner[g] = base_of(r->z + g * (r->experts / p->hier_g), r->experts / p->hier_g);
    for (int64_t e = 0; e < r->columns && p->score == TENON_MOE_ROUTE_RELU_RMS; e++)
        squares += r->z[e] > 0 ? (double)r->z[e] * (double)r->z[e] : 0;
    row->rms = 1 / sqrt(squares / (double)r->columns + (double)p->rms_eps);
}

/* The weight of DSELECT: the sum over the slots of their share times the product of the bits. */
static struct about soft_weight(const struct route_ref *r, const struct row *row, int64_t t, int64_t e)
{
    const double gamma = (double)r->p->gamma;
    struct about all = {0, FLOOR};
    for (int64_t slot = 0; slot < r->columns; slot++) {
        const struct about own = share(&row->z, r->z[slot]);
        double product = 1;
        for (int64_t b = 0; b < r->bits; b++) {
            const double x =
                tenon__route_ref_get(r, TENON_MOE_ROUTE_ZSEL, (t * r->columns + slot) * r->bits + b);
            const double u = x / gamma;
            const double step = x <= -gamma / 2 ? 0 : x >= gamma / 2 ? 1 : 0.5 + u * (1.5 - 2 * u * u);
            product *= e >> (r->bits - 1 - b) & 1 ? step : 1 - step;
        }
        all.value += own.value * product;
        /* a step near 0 is off by a few u, whatever its size */
        all.bound += own.bound + own.value * U * (8 + 8 * (double)r->bits);
    }
    return all;
}

/* The score of expert e. */
static struct about score(const struct route_ref *r, const struct row *row, int64_t t, int64_t e)
{
    const struct tenon_moe_route_params *p = r->p;
    const double z = p->select == TENON_MOE_ROUTE_DSELECT ? 0 : (double)r->z[e];
    if (p->select == TENON_MOE_ROUTE_DSELECT)
        return soft_weight(r, row, t, e);
    if (p->weight_src == TENON_MOE_ROUTE_WEIGHT_ONE)
        return (struct about){1, 0};
    if (p->weight_src == TENON_MOE_ROUTE_WEIGHT_CLEAN_SOFTMAX)
        return share(&row->clean, r->clean[e]);
    if (p->hier_g) {
        const int64_t g = e / (r->experts / p->hier_g);
        return times(share(&row->group, r->group_z[g]), share(&row->inner[g], r->z[e]));
    }
    switch (p->score) {
    case TENON_MOE_ROUTE_SOFTMAX: return share(&row->z, r->z[e]);
    case TENON_MOE_ROUTE_SIGMOID: return sigmoid(r->z[e]);
    case TENON_MOE_ROUTE_RELU: return (struct about){z > 0 ? z : 0, 0};
    case TENON_MOE_ROUTE_RELU_RMS: {
        const int gains = tenon__route_ref_has(r, TENON_MOE_ROUTE_GAIN);
        const double y = (z > 0 ? z : 0) * row->rms * (gains ? tenon__route_ref_get(r, TENON_MOE_ROUTE_GAIN, e) : 1);
        return (struct about){y, 32 * U * fabs(y) + FLOOR};
    }
    case TENON_MOE_ROUTE_IDENTITY: return (struct about){z, 0};
    default: return (struct about){z == minus_infinity && tenon__route_ref_reads(p) ? 0 : 1, 0};
    }
}

static void norm_sum(const struct route_ref *r, struct about *w)
{
    double sum = 0, loose = 0, size = 0;
    for (int64_t j = 0; j < r->slots; j++) {
        sum += w[j].value;
        size += fabs(w[j].value);
        loose += w[j].bound;
    }
    const double below = sum + (double)r->p->norm_eps;
    loose += 2 * U * (fabs(below) + 0x1p-20 * size) + FLOOR;
    for (int64_t j = 0; j < r->slots; j++) {
        const double y = w[j].value / below;
        if (isinf(below))
            w[j] = (struct about){y, 0};
        else if (fabs(below) < FLOOR)
            w[j] = (struct about){0, fabs(below) + loose < FLOOR ? 0 : (double)INFINITY};
        else /* where the sum cancels below what it is known to, nothing is known */
            w[j] = (struct about){y, loose >= fabs(below) / 2 ? (double)INFINITY
                                     : w[j].bound / fabs(below) + fabs(y) * (loose / fabs(below) * 2 + 4 * U) + FLOOR};
    }
}

static void norm_selected(const struct route_ref *r, struct about *w)
{
    struct base b = {minus_infinity, 0};
    for (int64_t j = 0; j < r->slots; j++)
        if (r->idx[j] >= 0)
            b.top = (double)r->z[r->idx[j]] > b.top ? (double)r->z[r->idx[j]] : b.top;
    for (int64_t j = 0; j < r->slots && isfinite(b.top); j++)
        if (r->idx[j] >= 0)
            b.sum += exp((double)r->z[r->idx[j]] - b.top);
    for (int64_t j = 0; j < r->slots; j++)
        if (r->idx[j] >= 0)
            w[j] = share(&b, r->z[r->idx[j]]);
}

static void make_weights(const struct route_ref *r, const struct row *row, int64_t t, struct about *w)
{
    for (int64_t j = 0; j < r->slots; j++)
        w[j] = r->idx[j] < 0 ? (struct about){0, 0} : score(r, row, t, r->idx[j]);
    if (r->p->norm == TENON_MOE_ROUTE_NORM_SUM)
        norm_sum(r, w);
    else if (r->p->norm == TENON_MOE_ROUTE_NORM_SOFTMAX_SEL)
        norm_selected(r, w);
    for (int64_t j = 0; j < r->slots; j++) {
        if (r->p->scale != 1.0f)
            w[j] = times(w[j], (struct about){(double)r->p->scale, 0});
        if (r->idx[j] < 0)
            w[j] = (struct about){0, 0};
        else if (r->bad)
            w[j] = (struct about){(double)NAN, 0};
    }
}

/* ---- statistics ---- */

struct losses {
    int64_t n;
    double *p, *p_bound; /* sums over the tokens */
    double square, square_bound, entropy, entropy_bound, relu;
};

static void add_losses(const struct route_ref *r, const struct row *row, struct losses *l)
{
    double moment = 0;
    if (!r->valid || r->bad || r->odd || !(row->z.sum > 0))
        return;
    const double lse = row->z.top + log(row->z.sum), loose = U * (16 + fabs(row->z.top) + fabs(lse));
    for (int64_t e = 0; e < r->columns; e++) {
        const struct about y = share(&row->z, r->z[e]);
        l->p[e] += y.value;
        l->p_bound[e] += y.bound;
        if (y.value > 0)
            moment += y.value * ((double)r->z[e] - row->z.top);
        l->relu += r->z[e] > 0 ? (double)r->z[e] : 0;
    }
    l->n++;
    l->square += lse * lse;
    l->square_bound += 2 * fabs(lse) * loose + loose * loose + 4 * U * lse * lse;
    l->entropy += log(row->z.sum) - moment;
    l->entropy_bound += 4e-6 * (1 + log((double)r->columns));
}

static void put(struct conform_want *want, int64_t at, double value, double bound)
{
    if (!want->want)
        return;
    want->want[at] = fabs(value) > (double)FLT_MAX ? copysign((double)INFINITY, value) : value;
    want->bound[at] = bound;
}

/* Squares of large logits may be infinite in f32, and what is made of them. */
static double loose_if_large(double value, double bound)
{
    return fabs(value) > 0x1p100 ? (double)INFINITY : bound;
}

static void put_losses(const struct route_ref *r, const struct losses *l, const double *count1, const double *count_k,
                       struct conform_want *want)
{
    const double n = l->n ? (double)l->n : 1;
    const int gshard = r->p->aux_rule == TENON_MOE_ROUTE_AUX_GSHARD;
    double aux = 0, aux_bound = 0;
    for (int64_t e = 0; e < r->columns; e++) {
        const double f = gshard ? count1[e] / n : count_k[e] / (n * (double)r->slots);
        const double p = l->p[e] / n, bound = l->n ? l->p_bound[e] / n + 0x1p-31 : 0;
        put(&want[TENON_MOE_ROUTE_P_MEAN], e, p, bound);
        aux += (double)r->columns * p * f;
        aux_bound += (double)r->columns * f * bound;
    }
    put(&want[TENON_MOE_ROUTE_AUX], 0, l->n ? aux : 0, l->n ? aux_bound + 16 * U * aux : 0);
    put(&want[TENON_MOE_ROUTE_ZLOSS], 0, l->square / n,
        loose_if_large(l->square / n, l->square_bound / n + FLOOR));
    put(&want[TENON_MOE_ROUTE_ENTROPY], 0, l->entropy / n, l->entropy_bound / n);
    put(&want[TENON_MOE_ROUTE_L1], 0, l->relu / n, loose_if_large(l->relu / n, 16 * U * l->relu / n + FLOOR));
}

/* ---- the whole ---- */

struct work {
    struct row row;
    struct about *w;
    struct losses losses;
    double *count1, *count_k;
};

static int work_init(struct work *work, const struct route_ref *r)
{
    const size_t n = (size_t)(r->experts > r->columns ? r->experts : r->columns) + 1;
    memset(work, 0, sizeof(*work));
    work->row.inner = malloc(((size_t)r->p->hier_g + 1) * sizeof(struct base));
    work->w = malloc(((size_t)r->slots + 1) * sizeof(*work->w));
    work->losses.p = calloc(n, sizeof(double));
    work->losses.p_bound = calloc(n, sizeof(double));
    work->count1 = calloc(n, sizeof(double));
    work->count_k = calloc(n, sizeof(double));
    return !work->row.inner || !work->w || !work->losses.p || !work->losses.p_bound || !work->count1 ||
           !work->count_k;
}

static void work_free(struct work *work)
{
    free(work->row.inner);
    free(work->w);
    free(work->losses.p);
    free(work->losses.p_bound);
    free(work->count1);
    free(work->count_k);
}

static void add_flags(const struct route_ref *r, struct conform_want *flags)
{
    const int dropped = r->bad && r->p->nan_policy == TENON_MOE_ROUTE_DROP;
    if (!flags->want || !r->valid)
        return;
    flags->want[0] += r->bad;
    flags->want[1] += r->empty;
    flags->want[2] += !dropped && r->cut;
    flags->want[3] += (double)r->range;
}

static void expect_token(struct route_ref *r, struct work *work, int64_t t, struct conform_want *want)
{
    tenon__route_ref_score(r, t);
    tenon__route_ref_select(r, t);
    begin_row(r, &work->row);
    make_weights(r, &work->row, t, work->w);
    for (int64_t j = 0; j < r->slots; j++) {
        put(&want[TENON_MOE_ROUTE_IDX], t * r->slots + j, r->idx[j], 0);
        put(&want[TENON_MOE_ROUTE_W], t * r->slots + j, work->w[j].value, work->w[j].bound);
        if (r->idx[j] < 0)
            continue;
        work->count_k[r->idx[j]]++;
        work->count1[r->idx[j]] += j == 0;
    }
    put(&want[TENON_MOE_ROUTE_NSEL], t, (double)r->nsel, 0);
    add_flags(r, &want[TENON_MOE_ROUTE_FLAGS]);
    if (r->p->select != TENON_MOE_ROUTE_DSELECT && !r->p->hier_g)
        add_losses(r, &work->row, &work->losses);
}

/* What each expert takes, before the tokens know; the weights of a token are looked up again. */
static void expect_choice(struct route_ref *r, struct work *work, struct conform_want *want)
{
    const int64_t cap = r->p->cap, n = r->experts * cap;
    int32_t *tokens = malloc(((size_t)n + 1) * sizeof(*tokens));
    for (int64_t t = 0; t < r->tokens; t++) {
        tenon__route_ref_score(r, t);
        const int none = !r->valid || (r->bad && r->p->nan_policy == TENON_MOE_ROUTE_DROP);
        for (int64_t e = 0; e < r->experts; e++)
            r->dense[t * r->experts + e] = none || r->z[e] == -INFINITY ? -INFINITY : r->s[e];
    }
    for (int64_t e = 0; tokens && e < r->experts; e++)
        tenon__route_ref_choose(r, e, tokens + e * cap);
    for (int64_t i = 0; tokens && i < n; i++) {
        put(&want[TENON_MOE_ROUTE_SEL], i, tokens[i], 0);
        put(&want[TENON_MOE_ROUTE_G], i, 0, 0);
    }
    /* token by token: the scores are those of one row */
    for (int64_t t = 0; tokens && want[TENON_MOE_ROUTE_G].want && t < r->tokens; t++) {
        int scored = 0;
        for (int64_t i = 0; i < n; i++) {
            if (tokens[i] != t)
                continue;
            if (!scored)
                tenon__route_ref_score(r, t);
            if (!scored)
                begin_row(r, &work->row);
            scored = 1;
            struct about w = score(r, &work->row, t, i / cap);
            if (r->p->scale != 1.0f)
                w = times(w, (struct about){(double)r->p->scale, 0});
            put(&want[TENON_MOE_ROUTE_G], i, r->bad ? (double)NAN : w.value, w.bound);
        }
    }
    free(tokens);
}

static void mark_exact(const struct route_ref *r, struct conform_want *want)
{
    const uint32_t d0[] = {TENON_MOE_ROUTE_P_MEAN, TENON_MOE_ROUTE_AUX, TENON_MOE_ROUTE_ZLOSS, TENON_MOE_ROUTE_ENTROPY,
                           TENON_MOE_ROUTE_L1};
    for (uint32_t i = TENON_MOE_ROUTE_IDX; i < TENON_MOE_ROUTE_N_TENSORS; i++)
        want[i].exact = 1;
    for (size_t i = 0; i < sizeof(d0) / sizeof(d0[0]); i++)
        want[d0[i]].exact = 0;
    want[TENON_MOE_ROUTE_W].exact = r->p->score != TENON_MOE_ROUTE_RELU_RMS;
}

static void put_counts(const struct route_ref *r, const struct work *work, struct conform_want *want)
{
    for (int64_t e = 0; e < r->experts; e++) {
        put(&want[TENON_MOE_ROUTE_CNT1], e, work->count1[e], 0);
        put(&want[TENON_MOE_ROUTE_CNT_K], e, work->count_k[e], 0);
    }
}

void tenon__conform_moe_route_expect(const struct conform_case *c, struct conform_want *want)
{
    struct route_ref r;
    struct work work = {.w = NULL};
    if (!tenon__route_ref_init(&r, c) && !work_init(&work, &r)) {
        mark_exact(&r, want);
        if (r.p->select == TENON_MOE_ROUTE_EXPERT_CHOICE)
            expect_choice(&r, &work, want);
        for (int64_t t = 0; t < r.tokens; t++)
            expect_token(&r, &work, t, want);
        put_counts(&r, &work, want);
        put_losses(&r, &work.losses, work.count1, work.count_k, want);
    }
    work_free(&work);
    tenon__route_ref_free(&r);
}

/* Experts of a token are distinct, and none is out of range, whatever the data (tables may repeat). */
int tenon__conform_moe_route_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct tenon_moe_route_params *p = (const void *)c->params;
    const struct conform_slot *idx = &c->slot[TENON_MOE_ROUTE_IDX];
    const struct tenon_tensor *logits = &c->slot[TENON_MOE_ROUTE_LOGITS].tensor;
    const int64_t experts = p->select == TENON_MOE_ROUTE_DSELECT ? (int64_t)p->experts : logits->dim[1];
    (void)want;
    if (!idx->tensor.dtype || p->k > 64)
        return 0;
    for (int64_t t = 0; t < logits->dim[0]; t++)
        for (int64_t j = 0; j < p->k; j++) {
            const double e = conform_get(conform_first(idx), TENON_I32, conform_offset(&idx->tensor, t * p->k + j));
            if (e < -1 || e >= (double)experts)
                return tenon_why_set(why, 1, "token %lld slot %lld: no such expert: %g", (long long)t, (long long)j, e);
            for (int64_t i = 0; i < j && e >= 0 && p->select != TENON_MOE_ROUTE_TABLE; i++)
                if (conform_get(conform_first(idx), TENON_I32, conform_offset(&idx->tensor, t * p->k + i)) == e)
                    return tenon_why_set(why, 1, "token %lld has expert %g twice", (long long)t, e);
        }
    return 0;
}
