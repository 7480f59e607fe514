/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_combine in f64, straight from the formulas of tenon/ops/moe_combine.h, and the bound of each element. */
#include <math.h>
#include <tenon/ops/moe_combine.h>
#include "../conform.h"

#define U     0x1p-24
#define FLOOR 0x1p-126 /* flush to zero is allowed below, before a weight multiplies */

static double at(const struct conform_case *c, uint32_t i, int64_t index)
{
    const struct conform_slot *slot = &c->slot[i];
    return conform_get(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, index));
}

/* IEEE's sum of the terms: the infinities and NaN of f64 are those of f32. */
struct sum {
    double total, size, factors;
};

static void add(struct sum *sum, double factor, double value)
{
    sum->total += factor * value;
    sum->size += fabs(factor * value);
    sum->factors += fabs(factor);
}

static struct sum sum_of(const struct conform_case *c, int64_t token, int64_t col, int64_t k, int64_t mp, int64_t cols)
{
    const struct tenon_moe_combine_params *p = (const void *)c->params;
    struct sum sum = {0, 0, 0};
    for (int64_t j = 0; j < k; j++) {
        const double pos = at(c, TENON_MOE_COMBINE_POS, token * k + j), w = at(c, TENON_MOE_COMBINE_W, token * k + j);
        if (pos >= 0 && pos < (double)mp && (w != 0 || !p->skip_zero))
            add(&sum, w, at(c, TENON_MOE_COMBINE_ZP, (int64_t)pos * cols + col));
    }
    if (c->slot[TENON_MOE_COMBINE_SHARED].tensor.dtype)
        add(&sum, (double)p->shared_scale, at(c, TENON_MOE_COMBINE_SHARED, token * cols + col));
    if (c->slot[TENON_MOE_COMBINE_RESIDUAL].tensor.dtype)
        add(&sum, 1, at(c, TENON_MOE_COMBINE_RESIDUAL, token * cols + col));
    return sum;
}

static void count_flags(const struct conform_case *c, int64_t tokens, int64_t k, int64_t mp, double *flags)
{
    const struct tenon_moe_combine_params *p = (const void *)c->params;
    for (int64_t t = 0; t < tokens; t++) {
        int nan = 0, taken = 0;
        for (int64_t j = 0; j < k; j++) {
            const double pos = at(c, TENON_MOE_COMBINE_POS, t * k + j), w = at(c, TENON_MOE_COMBINE_W, t * k + j);
            const int there = pos >= 0 && pos < (double)mp;
            flags[3] += !there && pos != -1;
            nan |= there && isnan(w);
            taken |= there && (w != 0 || !p->skip_zero);
        }
        flags[0] += nan;
        flags[1] += !taken;
    }
}

void tenon__conform_moe_combine_expect(const struct conform_case *c, struct conform_want *want)
{
    const struct tenon_tensor *zp = &c->slot[TENON_MOE_COMBINE_ZP].tensor;
    const struct tenon_tensor *pos = &c->slot[TENON_MOE_COMBINE_POS].tensor;
    const uint32_t dtype = c->slot[TENON_MOE_COMBINE_Y].tensor.dtype;
    const int64_t cols = zp->dim[zp->rank - 1], k = pos->dim[pos->rank - 1];
    struct conform_want *y = &want[TENON_MOE_COMBINE_Y];
    int64_t mp = 1, tokens = 1;
    for (uint32_t axis = 0; axis + 1 < zp->rank; axis++)
        mp *= zp->dim[axis];
    for (uint32_t axis = 0; axis + 1 < pos->rank; axis++)
        tokens *= pos->dim[axis];
    y->exact = c->mode != CONFORM_ADVERSARIAL;
    want[TENON_MOE_COMBINE_FLAGS].exact = 1;
    if (want[TENON_MOE_COMBINE_FLAGS].want)
        count_flags(c, tokens, k, mp, want[TENON_MOE_COMBINE_FLAGS].want);
    for (int64_t i = 0; i < tokens * cols; i++) {
        const struct sum sum = sum_of(c, i / cols, i % cols, k, mp, cols);
        y->want[i] = sum.total;
        y->bound[i] = 2 * U * (double)(k + 2) * sum.size + FLOOR * (1 + sum.factors);
        if (dtype != TENON_F32 && isfinite(sum.total))
            y->bound[i] += conform_ulp(dtype, sum.total);
        if (!isfinite(sum.total))
            y->bound[i] = 0;
    }
}
