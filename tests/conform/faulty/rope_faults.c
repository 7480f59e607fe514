/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a rope may do wrong. */
#include <math.h>
#include <tenon/ops/rope.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_rope_params, statement)
SPOIL(other_style, p->style ^= 1)
SPOIL(no_scaling, p->scaling = 1)
SPOIL(no_amplitude, p->amplitude = 1)
SPOIL(fixed_base, p->base = 10000)
SPOIL(base_off, p->base = p->base < 5e29f ? p->base * 1.000001f : p->base)

static void all_columns(struct tenon_tensor *t, void *params)
{
    struct tenon_rope_params *p = params;
    if (!t[TENON_ROPE_FREQS].dtype && !t[TENON_ROPE_TABLE].dtype && t[TENON_ROPE_X].dim[3] % 2 == 0)
        p->n_rot = 0;
}

/* Every sequence has the positions of the first. */
static void first_batch(struct tenon_tensor *t, void *params)
{
    (void)params;
    if (t[TENON_ROPE_POS].dim[0] > 1)
        t[TENON_ROPE_POS].dim[0] = 1;
}

/* x as if its tokens lay one after the other. */
static void no_stride(struct tenon_tensor *t, void *params)
{
    struct tenon_tensor *x = &t[TENON_ROPE_X];
    (void)params;
    x->stride[2] = x->dim[3];
    x->stride[1] = x->dim[3] * x->dim[2];
}

/* A head of y after a run, f32. */
struct row {
    const struct faulty_run *run;
    const struct tenon_rope_params *p;
    const struct tenon_tensor *x, *table;
    const float *from; /* NULL: y is x */
    float *y;
    int64_t half, cols;
    int32_t pos;
    int there;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_tensor *t = run->plan->tensor, *x = &t[TENON_ROPE_X], *y = &t[TENON_ROPE_Y];
    struct row r = {.run = run, .p = (const void *)run->plan->params, .x = x, .table = &t[TENON_ROPE_TABLE]};
    const float *from = tenon__faulty_memory(run, TENON_ROPE_X);
    const int32_t *pos = tenon__faulty_memory(run, TENON_ROPE_POS);
    float *to = tenon__faulty_memory(run, TENON_ROPE_Y);
    r.cols = x->dim[3];
    r.half = (r.p->n_rot ? r.p->n_rot : r.cols) / 2;
    if (x->dtype != TENON_F32 || !from || !to || !pos)
        return;
    for (int64_t i = 0; i < x->dim[0] * x->dim[1] * x->dim[2]; i++) {
        const int64_t h = i % x->dim[2], token = i / x->dim[2], b = token / x->dim[1], s = token % x->dim[1];
        r.from = from == to ? NULL : from + b * x->stride[0] + s * x->stride[1] + h * x->stride[2];
        r.y = to + b * y->stride[0] + s * y->stride[1] + h * y->stride[2];
        r.pos = pos[t[TENON_ROPE_POS].dim[0] == 1 ? s : token];
        r.there = !r.table->dtype || (r.pos >= 0 && r.pos < r.table->dim[0]);
        spoil(&r);
    }
}

/* The head is turned by the layer itself, by angles that are wrong. */
static void turn(const struct row *r, float (*angle)(const struct row *r, int64_t i))
{
    const struct tenon_tensor *t = r->run->plan->tensor;
    if (!r->from || r->table->dtype || t[TENON_ROPE_FREQS].dtype)
        return;
    for (int64_t i = 0; i < r->half; i++) {
        const int64_t u = r->p->style ? 2 * i : i, v = r->p->style ? 2 * i + 1 : i + r->half;
        const float a = angle(r, i), c = r->p->amplitude * cosf(a), s = r->p->amplitude * sinf(a);
        r->y[u] = r->from[u] * c - r->from[v] * s;
        r->y[v] = r->from[v] * c + r->from[u] * s;
    }
}

static float frequency(const struct row *r, int64_t i)
{
    return powf(r->p->base, -(float)i / (float)r->half) / r->p->scaling;
}
static float float_angle(const struct row *r, int64_t i)
{
    return (float)r->pos * frequency(r, i);
}
static float next_angle(const struct row *r, int64_t i)
{
    return (float)remainder(((double)r->pos + 1) * (double)frequency(r, i), 6.283185307179586);
}
static float unsigned_angle(const struct row *r, int64_t i)
{
    return (float)remainder((double)(uint32_t)r->pos * (double)frequency(r, i), 6.283185307179586);
}
static float wide_angle(const struct row *r, int64_t i)
{
    const double f = pow((double)r->p->base, -2.0 * (double)i / (double)r->cols) / (double)r->p->scaling;
    return (float)remainder((double)r->pos * f, 6.283185307179586);
}

FAULTY_EACH_ROW(angle_f32)
{
    turn(r, float_angle);
}
FAULTY_EACH_ROW(one_late)
{
    turn(r, next_angle);
}
FAULTY_EACH_ROW(pos_unsigned)
{
    if (r->pos < 0)
        turn(r, unsigned_angle);
}
FAULTY_EACH_ROW(by_width)
{
    if (2 * r->half != r->cols)
        turn(r, wide_angle);
}

FAULTY_EACH_ROW(sign)
{
    for (int64_t i = r->half; i < 2 * r->half && r->p->style == TENON_ROPE_HALF; i++)
        r->y[i] = -r->y[i];
}

FAULTY_EACH_ROW(rest_left)
{
    for (int64_t i = 2 * r->half; r->from && i < r->cols; i++)
        tenon__faulty_poke(&r->run->plan->tensor[TENON_ROPE_Y], r->y, i, 0xDEADBEEF);
}

FAULTY_EACH_ROW(absent_kept)
{
    for (int64_t i = 0; r->from && !r->there && i < r->cols; i++)
        r->y[i] = r->from[i];
}

FAULTY_EACH_ROW(nan_lost)
{
    for (int64_t i = 0; i < r->cols; i++)
        if (isnan(r->y[i]))
            r->y[i] = 0;
}

/* What the pair was before its first column was written. */
static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, TENON_ROPE_X, TENON_ROPE_Y);
}

static void uncounted(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_ROPE_FLAGS, 3);
}

static const struct faulty_fault faults[] = {
    {"other_style", "pairs are those of the other style", "y[", .spoil = other_style},
    {"all_columns", "n_rot is not looked at", "y[", .spoil = all_columns},
    {"no_scaling", "positions are not scaled", "y[", .spoil = no_scaling},
    {"no_amplitude", "there is no amplitude", "y[", .spoil = no_amplitude},
    {"fixed_base", "the base is always 10000", "y[", .spoil = fixed_base},
    {"base_off", "the base is 10^-6 off", "y[", .spoil = base_off},
    {"no_freqs", "freqs are not looked at", "y[", .drop = TENON_ROPE_FREQS},
    {"first_batch", "positions are those of the first sequence", "y[", .spoil = first_batch},
    {"no_stride", "strides of x are not looked at", "y[", .spoil = no_stride},
    {"angle_f32", "angles are products in f32", "y[", .after = angle_f32},
    {"one_late", "positions count from one", "y[", .after = one_late},
    {"pos_unsigned", "positions have no sign", "y[", .after = pos_unsigned},
    {"by_width", "frequencies are those of D and not of n_rot", "y[", .after = by_width},
    {"sign", "second columns have the other sign", "y[", .after = sign},
    {"rest_left", "columns that are not turned are not copied", "never written", .after = rest_left},
    {"absent_kept", "rows without a position are as they are", "y[", .after = absent_kept},
    {"nan_lost", "NaNs are 0", "must be nan", .after = nan_lost},
    {"in_place", "in place, a column is read after it was written", "y[", .before = in_place},
    {"uncounted", "positions outside the table are not counted", "flags[", .after = uncounted},
};

const struct faulty_op tenon__faulty_rope = {faults, sizeof(faults) / sizeof(faults[0])};
