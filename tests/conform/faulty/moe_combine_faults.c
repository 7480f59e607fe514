/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a moe_combine may do wrong. */
#include <math.h>
#include <tenon/ops/moe_combine.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_moe_combine_params, statement)

SPOIL(no_scale, p->shared_scale = 1)
SPOIL(skips_never, p->skip_zero = 0)
SPOIL(skips_always, p->skip_zero = 1)

/* A kernel that goes over slots in fours and forgets the rest. */
static void rest_lost(struct tenon_tensor *t, void *params)
{
    (void)params;
    for (uint32_t i = TENON_MOE_COMBINE_POS; i <= TENON_MOE_COMBINE_W; i++)
        if (t[i].rank && t[i].dim[t[i].rank - 1] > 4 && t[i].rank == 2 && t[i].dim[0] == 1)
            t[i].dim[1] -= t[i].dim[1] % 4;
}

static void no_stride(struct tenon_tensor *t, void *params)
{
    struct tenon_tensor *zp = &t[TENON_MOE_COMBINE_ZP];
    (void)params;
    if (zp->rank == 2)
        zp->stride[0] = zp->dim[1];
}

/* One token after a run; all its f32 tensors. */
struct token {
    const struct faulty_run *run;
    const int32_t *pos;
    const float *w, *zp, *shared, *residual;
    float *y;
    int64_t k, mp, cols, pitch; /* pitch: of zp */
};

static void each_token(const struct faulty_run *run, void (*spoil)(const struct token *t))
{
    const struct tenon_tensor *t = run->plan->tensor, *zp = &t[TENON_MOE_COMBINE_ZP];
    struct token token = {.run = run, .k = tenon__faulty_columns(&t[TENON_MOE_COMBINE_POS]),
                          .mp = tenon__faulty_rows(zp), .cols = tenon__faulty_columns(zp)};
    const int32_t *pos = tenon__faulty_memory(run, TENON_MOE_COMBINE_POS);
    const float *w = tenon__faulty_memory(run, TENON_MOE_COMBINE_W);
    token.zp = zp->dtype == TENON_F32 ? tenon__faulty_memory(run, TENON_MOE_COMBINE_ZP) : NULL;
    token.pitch = zp->rank == 2 ? zp->stride[0] : 0;
    if (!pos || !w || !token.zp || t[TENON_MOE_COMBINE_Y].dtype != TENON_F32)
        return;
    for (int64_t row = 0; row < tenon__faulty_rows(&t[TENON_MOE_COMBINE_Y]); row++) {
        token.pos = pos + row * token.k;
        token.w = w + row * token.k;
        token.y = tenon__faulty_row(run, TENON_MOE_COMBINE_Y, row);
        const int32_t sides[2] = {TENON_MOE_COMBINE_SHARED, TENON_MOE_COMBINE_RESIDUAL};
        const float **to[2] = {&token.shared, &token.residual};
        for (int i = 0; i < 2; i++)
            *to[i] = t[sides[i]].dtype == TENON_F32 ? tenon__faulty_row(run, (uint32_t)sides[i], row) : NULL;
        if (token.y && token.cols)
            spoil(&token);
    }
}

#define EACH_TOKEN(name)                                                                                               \
    static void name##_token(const struct token *t);                                                                   \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        each_token(run, name##_token);                                                                                 \
    }                                                                                                                  \
    static void name##_token(const struct token *t)

/* What the layer itself makes of the token, in ways that are wrong. */
enum { BACKWARDS = 1, TWICE_ROUNDED = 2, CLAMPED = 4, ABSENT_FIRST = 8, NORMALISED = 16, RESIDUAL_FIRST = 32 };

static float sum_of(const struct token *t, int64_t col, int way)
{
    const struct tenon_moe_combine_params *p = (const void *)t->run->plan->params;
    volatile float product;
    float acc = way & RESIDUAL_FIRST && t->residual ? t->residual[col] : 0, all = 0;
    for (int64_t i = 0; i < t->k; i++) {
        const int64_t j = way & BACKWARDS ? t->k - 1 - i : i;
        int64_t pos = t->pos[j];
        if (way & CLAMPED && pos >= t->mp)
            pos = t->mp - 1;
        if (way & ABSENT_FIRST && pos == -1)
            pos = 0;
        if (pos < 0 || pos >= t->mp || (t->w[j] == 0 && p->skip_zero))
            continue;
        const float z = t->zp[pos * t->pitch + col];
        product = t->w[j] * z;
        acc = way & TWICE_ROUNDED ? acc + product : fmaf(t->w[j], z, acc);
        all += t->w[j];
    }
    if (way & NORMALISED && all != 0)
        acc /= all;
    if (t->shared)
        acc = fmaf(p->shared_scale, t->shared[col], acc);
    return acc + (t->residual && !(way & RESIDUAL_FIRST) ? t->residual[col] : 0);
}

/* Where y is also the residual, the residual is gone. */
static void sum_all(const struct token *t, int way)
{
    const struct tenon_tensor *tensor = t->run->plan->tensor;
    if (tensor[TENON_MOE_COMBINE_RESIDUAL].dtype &&
        (!t->residual || !tenon__faulty_apart(t->run, TENON_MOE_COMBINE_RESIDUAL, TENON_MOE_COMBINE_Y)))
        return;
    if (tensor[TENON_MOE_COMBINE_SHARED].dtype && !t->shared)
        return;
    for (int64_t col = 0; col < t->cols; col++)
        t->y[col] = sum_of(t, col, way);
}

#define WAY(name, way)                                                                                                 \
    EACH_TOKEN(name)                                                                                                   \
    {                                                                                                                  \
        sum_all(t, way);                                                                                               \
    }
WAY(backwards, BACKWARDS)
WAY(twice_rounded, TWICE_ROUNDED)
WAY(clamped, CLAMPED)
WAY(absent_first, ABSENT_FIRST)
WAY(normalised, NORMALISED)
WAY(residual_first, RESIDUAL_FIRST)

/* 0 times the NaN of a row that is not taken. */
EACH_TOKEN(zero_times_nan)
{
    for (int64_t j = 0; j < t->k; j++)
        for (int64_t col = 0; t->pos[j] >= 0 && t->pos[j] < t->mp && t->w[j] == 0 && col < t->cols; col++)
            t->y[col] += t->w[j] * t->zp[t->pos[j] * t->pitch + col];
}

EACH_TOKEN(empty_left)
{
    int64_t there = 0;
    for (int64_t j = 0; j < t->k; j++)
        there += t->pos[j] >= 0;
    if (there == 0)
        tenon__faulty_poke(&t->run->plan->tensor[TENON_MOE_COMBINE_Y], t->y, 0, 0xDEADBEEF);
}

EACH_TOKEN(nan_eaten_weight)
{
    for (int64_t j = 0; j < t->k; j++)
        if (isnan(t->w[j]) && t->pos[j] >= 0 && t->pos[j] < t->mp)
            t->y[0] = 0;
}

EACH_TOKEN(tail)
{
    for (int64_t col = t->cols / 16 * 16; col < t->cols; col++)
        tenon__faulty_poke(&t->run->plan->tensor[TENON_MOE_COMBINE_Y], t->y, col, 0xDEADBEEF);
}

/* 16-bit results are cut off, twice over. */
static void down(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_MOE_COMBINE_Y];
    void *y = tenon__faulty_memory(run, TENON_MOE_COMBINE_Y);
    for (int64_t row = 0; y && TENON_DTYPE_SIZE(t->dtype) == 2 && row < tenon__faulty_rows(t); row++) {
        const int64_t at = tenon__faulty_at(t, row);
        const uint32_t bits = tenon__faulty_peek(t, y, at);
        tenon__faulty_poke(t, y, at, (bits & 0x7fff) > 2 && (bits & 0x7fff) < 0x7c00 ? bits - 2 : bits);
    }
}

#define FLAG(name, which)                                                                                              \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        tenon__faulty_flags_clear(run, TENON_MOE_COMBINE_FLAGS, which);                                                \
    }
FLAG(nan_uncounted, 0)
FLAG(empty_uncounted, 1)
FLAG(wrong_uncounted, 3)

static const struct faulty_fault faults[] = {
    {"no_scale", "shared is not scaled", "y[", .spoil = no_scale},
    {"skips_never", "rows of weight 0 are multiplied", "y[", .spoil = skips_never},
    {"skips_always", "rows of weight 0 are skipped though they count", "y[", .spoil = skips_always},
    {"rest_lost", "slots beyond a multiple of four are lost", "y[", .spoil = rest_lost},
    {"no_stride", "the row stride of zp is ignored", "y[", .spoil = no_stride},
    {"backwards", "slots are added from the last to the first", "in the order of the slots", .after = backwards},
    {"twice_rounded", "products are rounded", "in the order of the slots", .after = twice_rounded},
    {"residual_first", "the residual is the first term", "in the order of the slots", .after = residual_first},
    {"clamped", "numbers beyond zp are its last row", "y[", .after = clamped},
    {"absent_first", "-1 is row 0", "y[", .after = absent_first},
    {"normalised", "weights are normalised", "y[", .after = normalised},
    {"zero_times_nan", "0 times NaN is added", "y[", .after = zero_times_nan},
    {"empty_left", "a token without a row is not written", "never written", .after = empty_left},
    {"nan_eaten_weight", "a NaN weight counts nothing", "must be nan", .after = nan_eaten_weight},
    {"tail", "columns beyond a multiple of 16 are not written", "never written", .after = tail},
    {"down", "16-bit y is two steps towards zero", "y[", .after = down},
    {"nan_uncounted", "tokens with a NaN weight are not counted", "flags[", .after = nan_uncounted},
    {"empty_uncounted", "tokens without a row are not counted", "flags[", .after = empty_uncounted},
    {"wrong_uncounted", "numbers out of range are not counted", "flags[", .after = wrong_uncounted},
};

const struct faulty_op tenon__faulty_moe_combine = {faults, sizeof(faults) / sizeof(faults[0])};
