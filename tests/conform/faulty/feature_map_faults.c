/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a feature_map may do wrong. */
#include <math.h>
#include <tenon/ops/feature_map.h>
#include "faulty.h"

#define F(NAME) TENON_FEATURE_MAP_##NAME
#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_feature_map_params, statement)

SPOIL(no_power, p->power = 2)
SPOIL(no_eps, p->eps = 1e-30f)
SPOIL(relu2_is_relu, p->kind = p->kind == F(RELU2) ? F(RELU) : p->kind)
SPOIL(elu1_is_exp, p->kind = p->kind == F(ELU1) ? F(EXP) : p->kind)
SPOIL(silu_is_relu, p->kind = p->kind == F(SILU) ? F(RELU) : p->kind)
SPOIL(l2_is_sumnorm, p->kind = p->kind == F(L2) ? F(SUMNORM) : p->kind)
SPOIL(softmax_is_exp, p->kind = p->kind == F(SOFTMAX) ? F(EXP) : p->kind)
SPOIL(hedgehog_is_nala, p->kind = p->kind == F(HEDGEHOG) ? F(NALA_K) : p->kind)
SPOIL(nala_q_is_k, p->kind = p->kind == F(NALA_Q) ? F(NALA_K) : p->kind)

/* One row after a run, of f32 x and y. */
struct row {
    const struct tenon_feature_map_params *p;
    const struct tenon_tensor *t;
    const float *x;
    float *y;
    int64_t k, n;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *r))
{
    const struct tenon_tensor *t = run->plan->tensor;
    struct row r = {.p = (const void *)run->plan->params, .t = t, .k = tenon__faulty_columns(&t[F(X)]),
                    .n = tenon__faulty_columns(&t[F(Y)])};
    if (t[F(X)].dtype != TENON_F32 || t[F(Y)].dtype != TENON_F32 || !tenon__faulty_apart(run, F(X), F(Y)) || !r.k)
        return;
    for (int64_t row = 0; row < tenon__faulty_rows(&t[F(X)]); row++) {
        r.x = tenon__faulty_row(run, F(X), row);
        r.y = tenon__faulty_row(run, F(Y), row);
        if (r.x && r.y)
            spoil(&r);
    }
}

/* fla's: the second half of r is -relu(x). */
FAULTY_EACH_ROW(dpfp_negative)
{
    for (int64_t i = r->k; r->p->kind == F(DPFP) && i < r->n; i++)
        r->y[i] = i % (2 * r->k) >= r->k ? -r->y[i] : r->y[i];
}

/* roll(r, -j) */
FAULTY_EACH_ROW(dpfp_other_way)
{
    const int64_t n = 2 * r->k;
    for (int64_t i = 0; r->p->kind == F(DPFP) && i < n; i++) {
        const int64_t other = (i + 1) % n;
        const float a = i < r->k ? fmaxf(r->x[i], 0) : fmaxf(-r->x[i - r->k], 0);
        const float b = other < r->k ? fmaxf(r->x[other], 0) : fmaxf(-r->x[other - r->k], 0);
        r->y[i] = a * b;
    }
}

FAULTY_EACH_ROW(halves_swapped)
{
    for (int64_t i = 0; (r->p->kind == F(HEDGEHOG) || r->p->kind >= F(NALA_Q)) && r->n == 2 * r->k && i < r->k; i++)
        tenon__faulty_swap(&r->y[i], &r->y[r->k + i]);
}

/* exp without the maximum */
FAULTY_EACH_ROW(no_maximum)
{
    float sum = 0;
    for (int64_t i = 0; i < r->k; i++)
        sum += expf(r->x[i]);
    for (int64_t i = 0; r->p->kind == F(SOFTMAX) && i < r->k; i++)
        r->y[i] = expf(r->x[i]) / sum;
}

FAULTY_EACH_ROW(hedgehog_once)
{
    float sum = 0;
    for (int64_t i = 0; i < r->k; i++)
        sum += expf(r->x[i]) + expf(-r->x[i]);
    for (int64_t i = 0; r->p->kind == F(HEDGEHOG) && i < r->k; i++)
        r->y[i] = expf(r->x[i]) / sum;
}

FAULTY_EACH_ROW(taylor_scale)
{
    for (int64_t i = 1 + r->k; r->p->kind == F(TAYLOR2) && i < 1 + 2 * r->k; i++)
        r->y[i] *= 1.41421356f;
}

/* The pairs column by column. */
FAULTY_EACH_ROW(taylor_order)
{
    int64_t at = 1 + 2 * r->k;
    for (int64_t j = 1; r->p->kind == F(TAYLOR2) && j < r->k; j++)
        for (int64_t i = 0; i < j; i++)
            r->y[at++] = r->x[i] * r->x[j] / sqrtf((float)r->k);
}

FAULTY_EACH_ROW(taylor_no_one)
{
    if (r->p->kind == F(TAYLOR2))
        r->y[0] = 0;
}

FAULTY_EACH_ROW(outer_across)
{
    for (int64_t i = 0; r->p->kind == F(OUTER) && r->n > r->k && i < r->n - 1; i += 2)
        tenon__faulty_swap(&r->y[i], &r->y[i + 1]);
}

FAULTY_EACH_ROW(zero_is_nan)
{
    int some = 0;
    for (int64_t i = 0; i < r->k; i++)
        some |= r->x[i] != 0;
    for (int64_t i = 0; !some && r->p->kind == F(NALA_Q) && i < r->n; i++)
        r->y[i] = NAN;
}

FAULTY_EACH_ROW(overflow)
{
    float sum = 0;
    for (int64_t i = 0; i < r->k; i++)
        sum += r->x[i] * r->x[i];
    for (int64_t i = 0; isinf(sum) && r->p->kind == F(L2) && i < r->k; i++)
        r->y[i] = 0;
}

FAULTY_EACH_ROW(nan_alone)
{
    int bad = 0;
    for (int64_t i = 0; i < r->k; i++)
        bad |= isnan(r->x[i]);
    for (int64_t i = 0; bad && r->p->kind >= F(SOFTMAX) && r->p->kind <= F(SUMNORM) && i < r->k; i++)
        if (!isnan(r->x[i]))
            r->y[i] = 0;
}

FAULTY_EACH_ROW(nan_eaten)
{
    for (int64_t i = 0; r->p->kind == F(RELU) && i < r->k; i++)
        r->y[i] = r->x[i] > 0 ? r->x[i] : 0;
}

FAULTY_EACH_ROW(tail)
{
    for (int64_t i = r->n / 16 * 16; i < r->n; i++)
        tenon__faulty_poke(&r->t[F(Y)], r->y, i, 0xDEADBEEF);
}

FAULTY_EACH_ROW(rough)
{
    for (int64_t i = 0; i < r->n; i++)
        r->y[i] *= 1.0f + 0x1p-17f;
}

/* 16-bit results are cut off, twice over. */
static void down(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[F(Y)];
    void *y = tenon__faulty_memory(run, F(Y));
    for (int64_t row = 0; y && TENON_DTYPE_SIZE(t->dtype) == 2 && row < tenon__faulty_rows(t); row++) {
        const int64_t at = tenon__faulty_at(t, row);
        const uint32_t bits = tenon__faulty_peek(t, y, at);
        tenon__faulty_poke(t, y, at, (bits & 0x7fff) > 2 && (bits & 0x7fff) < 0x7c00 ? bits - 2 : bits);
    }
}

static const struct faulty_fault faults[] = {
    {"no_power", "power is 2", "y[", .spoil = no_power},
    {"no_eps", "eps is not added", "y[", .spoil = no_eps},
    {"relu2_is_relu", "relu2 is not squared", "y[", .spoil = relu2_is_relu},
    {"elu1_is_exp", "elu1 is e^x everywhere", "y[", .spoil = elu1_is_exp},
    {"silu_is_relu", "silu is relu", "y[", .spoil = silu_is_relu},
    {"l2_is_sumnorm", "l2 is over the sum", "y[", .spoil = l2_is_sumnorm},
    {"softmax_is_exp", "softmax is not divided", "y[", .spoil = softmax_is_exp},
    {"hedgehog_is_nala", "hedgehog is another map of that width", "y[", .spoil = hedgehog_is_nala},
    {"nala_q_is_k", "queries are mapped as keys", "y[", .spoil = nala_q_is_k},
    {"dpfp_negative", "the second half of r is -relu(x)", "y[", .after = dpfp_negative},
    {"dpfp_other_way", "r is rolled the other way", "y[", .after = dpfp_other_way},
    {"halves_swapped", "the negative half comes first", "y[", .after = halves_swapped},
    {"no_maximum", "softmax without its maximum", "y[", .after = no_maximum},
    {"hedgehog_once", "hedgehog of x, not of 2x", "y[", .after = hedgehog_once},
    {"taylor_scale", "squares lack 1 / sqrt 2", "y[", .after = taylor_scale},
    {"taylor_order", "pairs column by column", "y[", .after = taylor_order},
    {"taylor_no_one", "the constant is 0", "y[", .after = taylor_no_one},
    {"outer_across", "neighbours change places", "y[", .after = outer_across},
    {"zero_is_nan", "nala_q of a row of zeros is NaN", "y[", .after = zero_is_nan},
    {"overflow", "squares overflow", "y[", .after = overflow},
    {"nan_alone", "a NaN leaves the rest of its row alone", "must be nan", .after = nan_alone},
    {"nan_eaten", "relu of NaN is 0", "must be nan", .after = nan_eaten},
    {"tail", "columns beyond a multiple of 16 are not written", "never written", .after = tail},
    {"rough", "y is 2^-17 off", "y[", .after = rough},
    {"down", "16-bit y is two steps towards zero", "y[", .after = down},
};

const struct faulty_op tenon__faulty_feature_map = {faults, sizeof(faults) / sizeof(faults[0])};
