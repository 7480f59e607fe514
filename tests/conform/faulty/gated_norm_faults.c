/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a gated_norm may do wrong. */
#include <math.h>
#include <tenon/ops/gated_norm.h>
#include "faulty.h"

#define G(NAME) TENON_GATED_NORM_##NAME
#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_gated_norm_params, statement)

SPOIL(no_eps, p->eps = 1e-30f)
SPOIL(rms_is_l2, p->norm = p->norm == G(RMS) ? G(L2) : p->norm)
SPOIL(l2_is_rms, p->norm = p->norm == G(L2) ? G(RMS) : p->norm)
SPOIL(layer_is_rms, p->norm = p->norm == G(LAYER) ? G(RMS) : p->norm)
SPOIL(silu_is_sigmoid, p->act = p->act == G(SILU) ? G(SIGMOID) : p->act)
SPOIL(sigmoid_is_silu, p->act = p->act == G(SIGMOID) ? G(SILU) : p->act)
SPOIL(other_order, p->order = p->norm_b ? p->order : !p->order)
SPOIL(no_offset, p->weight_offset = 0)
SPOIL(no_tanh, p->act_b = G(PLAIN))
SPOIL(b_not_normalised, p->norm_b = t[G(WEIGHT_B)].dtype || t[G(BIAS_B)].dtype ? p->norm_b : 0)

static int is_weight(uint32_t i)
{
    return i == G(WEIGHT) || i == G(BIAS) || i == G(WEIGHT_B) || i == G(BIAS_B);
}

/* The norm is that of the whole row. */
static void one_group(struct tenon_tensor *t, void *params)
{
    struct tenon_gated_norm_params *p = params;
    int fits = 1;
    for (uint32_t i = 0; i < G(Y); i++)
        fits &= !is_weight(i) || !t[i].dtype || t[i].dim[0] == tenon__faulty_columns(&t[G(X)]);
    p->group = fits ? 0 : p->group;
}

/* One group of a row after a run, of f32 x and y. */
struct row {
    const struct tenon_gated_norm_params *p;
    const struct tenon_tensor *t;
    const float *x;
    float *y, *sum;
    int64_t n;
    int plain; /* y is the norm alone */
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *r))
{
    const struct tenon_tensor *t = run->plan->tensor;
    const struct tenon_gated_norm_params *p = (const void *)run->plan->params;
    const int64_t cols = tenon__faulty_columns(&t[G(X)]);
    struct row r = {.p = p, .t = t, .n = p->group ? p->group : cols};
    if (!cols || t[G(X)].dtype != TENON_F32 || t[G(Y)].dtype != TENON_F32 || !tenon__faulty_apart(run, G(X), G(Y)))
        return;
    r.plain = !t[G(GATE)].dtype && !t[G(WEIGHT)].dtype && !t[G(BIAS)].dtype && !t[G(RESIDUAL)].dtype;
    for (int64_t row = 0; row < tenon__faulty_rows(&t[G(X)]); row++)
        for (int64_t c = 0; c < cols; c += r.n) {
            const float *x = tenon__faulty_row(run, G(X), row);
            float *y = tenon__faulty_row(run, G(Y), row), *sum = NULL;
            if (t[G(SUM)].dtype == TENON_F32)
                sum = tenon__faulty_row(run, G(SUM), row);
            r.x = x + c;
            r.y = y + c;
            r.sum = sum ? sum + c : NULL;
            if (x && y)
                spoil(&r);
        }
}

static double squares_of(const struct row *r, double centre)
{
    double sum = 0;
    for (int64_t i = 0; i < r->n; i++)
        sum += ((double)r->x[i] - centre) * ((double)r->x[i] - centre);
    return sum;
}

/* mean x^2 - mean^2, in f32 */
FAULTY_EACH_ROW(cancelled)
{
    float mean = 0, square = 0;
    for (int64_t i = 0; i < r->n; i++) {
        mean += r->x[i] / (float)r->n;
        square += r->x[i] * r->x[i] / (float)r->n;
    }
    for (int64_t i = 0; r->plain && r->p->norm == G(LAYER) && i < r->n; i++)
        r->y[i] = (r->x[i] - mean) / sqrtf(fmaxf(square - mean * mean, 0) + r->p->eps);
}

/* n - 1 instead of n */
FAULTY_EACH_ROW(unbiased)
{
    for (int64_t i = 0; r->plain && r->p->norm == G(LAYER) && r->n > 1 && i < r->n; i++)
        r->y[i] *= sqrtf((float)(r->n - 1) / (float)r->n);
}

FAULTY_EACH_ROW(eps_outside)
{
    const double root = sqrt(squares_of(r, 0) / (double)r->n);
    for (int64_t i = 0; r->plain && r->p->norm == G(RMS) && i < r->n; i++)
        r->y[i] = (float)((double)r->x[i] / (root + (double)r->p->eps));
}

/* Squares that leave f32. */
FAULTY_EACH_ROW(overflow)
{
    for (int64_t i = 0; r->plain && r->p->norm != G(NONE) && i < r->n; i++)
        if (squares_of(r, 0) > 3.4e38)
            r->y[i] = 0;
}

FAULTY_EACH_ROW(zero_is_nan)
{
    for (int64_t i = 0; r->p->norm != G(NONE) && i < r->n; i++)
        if (squares_of(r, 0) == 0)
            r->y[i] = NAN;
}

FAULTY_EACH_ROW(nan_alone)
{
    const double all = squares_of(r, 0);
    for (int64_t i = 0; r->p->norm != G(NONE) && i < r->n; i++)
        if (!isfinite(all) && isfinite(r->x[i]))
            r->y[i] = 0;
}

FAULTY_EACH_ROW(tail)
{
    for (int64_t i = r->n / 16 * 16; i < r->n; i++)
        tenon__faulty_poke(&r->t[G(Y)], r->y, i, 0xDEADBEEF);
}

FAULTY_EACH_ROW(beyond_tile)
{
    for (int64_t i = 4096; i < r->n; i++)
        r->y[i] *= 1.0001f;
}

FAULTY_EACH_ROW(sum_is_x)
{
    for (int64_t i = 0; r->sum && r->sum != r->x && i < r->n; i++)
        r->sum[i] = r->x[i];
}

/* The factor is rounded as bf16 is. */
FAULTY_EACH_ROW(rough)
{
    for (int64_t i = 0; r->p->norm != G(NONE) && i < r->n; i++)
        r->y[i] *= 1.0f + 0x1p-18f;
}

static void importance_sum(const struct faulty_run *run)
{
    const struct tenon_tensor *t = run->plan->tensor;
    tenon__faulty_turn(run, G(IMPORTANCE), tenon__faulty_rows(&t[G(X)]), (float)tenon__faulty_columns(&t[G(X)]), 0);
}

static void importance_rough(const struct faulty_run *run)
{
    tenon__faulty_turn(run, G(IMPORTANCE), tenon__faulty_rows(&run->plan->tensor[G(X)]), 1.0f + 0x1p-12f, 0);
}

/* 16-bit results are cut off, twice over. */
static void down(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[G(Y)];
    void *y = tenon__faulty_memory(run, G(Y));
    for (int64_t row = 0; y && TENON_DTYPE_SIZE(t->dtype) == 2 && row < tenon__faulty_rows(t); row++) {
        const int64_t at = tenon__faulty_at(t, row);
        const uint32_t bits = tenon__faulty_peek(t, y, at);
        tenon__faulty_poke(t, y, at, (bits & 0x7fff) > 2 && (bits & 0x7fff) < 0x7c00 ? bits - 2 : bits);
    }
}

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, G(X), G(Y));
}

static const struct faulty_fault faults[] = {
    {"no_eps", "eps is not added", "y[", .spoil = no_eps},
    {"rms_is_l2", "the sum of squares instead of their mean", "y[", .spoil = rms_is_l2},
    {"l2_is_rms", "the mean of squares instead of their sum", "y[", .spoil = l2_is_rms},
    {"layer_is_rms", "the mean is not subtracted", "y[", .spoil = layer_is_rms},
    {"silu_is_sigmoid", "gates are sigmoid(g)", "y[", .spoil = silu_is_sigmoid},
    {"sigmoid_is_silu", "gates are g sigmoid(g)", "y[", .spoil = sigmoid_is_silu},
    {"other_order", "gates and norms in the other order", "y[", .spoil = other_order},
    {"no_offset", "weight_offset is not added", "y[", .spoil = no_offset},
    {"no_tanh", "act_b is left out", "y[", .spoil = no_tanh},
    {"b_not_normalised", "norm_b is not looked at", "y[", .spoil = b_not_normalised},
    {"one_group", "the norm of the row, not of the group", "y[", .spoil = one_group},
    {"no_weight", "weight is not looked at", "y[", .drop = G(WEIGHT)},
    {"no_bias", "bias is not added", "y[", .drop = G(BIAS)},
    {"no_weight_b", "weight_b is not looked at", "y[", .drop = G(WEIGHT_B)},
    {"no_bias_b", "bias_b is not added", "y[", .drop = G(BIAS_B)},
    {"cancelled", "the variance is mean x^2 - mean^2 in f32", "y[", .after = cancelled},
    {"unbiased", "the variance is over n - 1", "y[", .after = unbiased},
    {"eps_outside", "eps is added to the root", "y[", .after = eps_outside},
    {"overflow", "squares overflow", "y[", .after = overflow},
    {"zero_is_nan", "a group of zeros is NaN", "y[", .after = zero_is_nan},
    {"nan_alone", "a NaN leaves the rest of its group alone", "must be nan", .after = nan_alone},
    {"tail", "columns beyond a multiple of 16 are not written", "never written", .after = tail},
    {"beyond_tile", "columns beyond 4096 are 2^-13 off", "y[", .after = beyond_tile},
    {"rough", "y is 2^-18 off", "y[", .after = rough},
    {"down", "16-bit y is two steps towards zero", "y[", .after = down},
    {"in_place", "what is read last was written first", "in place", .before = in_place},
    {"sum_is_x", "sum lacks the residual", "sum[", .after = sum_is_x},
    {"importance_sum", "importance is not divided", "importance[", .after = importance_sum},
    {"importance_rough", "importance is 2^-12 off", "importance[", .after = importance_rough},
};

const struct faulty_op tenon__faulty_gated_norm = {faults, sizeof(faults) / sizeof(faults[0])};
