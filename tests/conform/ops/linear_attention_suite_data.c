/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: what the tensors of its cases hold. No libm but sqrt, so the same bits everywhere. */
#include <math.h>
#include <string.h>
#include "linear_attention_suite.h"

static const struct tenon_linear_attention_params *params_of(const struct conform_case *c)
{
    return (const struct tenon_linear_attention_params *)(const void *)c->params;
}

/* Two or so elements of some of the tensors. */
static int is_special(const struct conform_case *c, uint32_t tensor, int64_t i, double *x)
{
    static const uint32_t bits[4] = {0x7fc00000, 0x7f800000, 0xff800000, 0x7fc00000};
    const uint64_t count = (uint64_t)tenon_tensor_count(&c->slot[tensor].tensor);
    const uint64_t random = conform_random(conform_key(c, 60 + tensor), (uint64_t)i);
    if (c->own[0] != LIN_SPECIAL || conform_key(c, 59) >> tensor & 1 || (random >> 8) % (count / 2 + 1))
        return 0;
    *x = (double)conform_bits_float(bits[random & 3]);
    return 1;
}

static double number_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, 30 + tensor), random = conform_random(key, (uint64_t)i);
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const int half = c->slot[tensor].tensor.dtype == TENON_F16;
    const int delta = params_of(c)->update == LIN(DELTA);
    double special;
    if (is_special(c, tensor, i, &special))
        return special;
    switch (c->own[0]) {
    case LIN_EXACT: return (double)((int64_t)(random % 5) - 2);
    case LIN_WIDE: return half || (delta && tensor == LIN(K)) ? normal : normal * (random >> 63 ? 0x1p-20 : 0x1p20);
    case LIN_TINY:
        if (delta && tensor == LIN(K))
            return normal;
        return normal * (half                 ? 0x1p-6
                         : tensor == LIN(Q)   ? 0x1p-60
                         : tensor == LIN(K)   ? 0x1p-40
                         : tensor == LIN(V)   ? 0x1p-20
                                              : 0x1p-60);
    default: return normal;
    }
}

/* Positive, as features are, so that normalisers are not rounding noise. */
static double feature_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const double x = number_of(c, tensor, i);
    return conform_key(c, 61) % 4 && !isnan(x) ? fabs(x) : x;
}

/* ---- keys of a delta rule ---- */

static void fill_unit(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const int64_t K = slot->tensor.dim[3], heads = slot->tensor.dim[2], count = tenon_tensor_count(&slot->tensor);
    const uint64_t key = conform_key(c, 30 + tensor);
    for (int64_t row = 0; row < count / K; row++) {
        const int64_t token = row / heads, from = c->own[4] == LIN_TWICE && token % 2 ? row - heads : row;
        const int64_t base = c->own[4] == LIN_NEAR ? row % heads : from;
        const int64_t hot = (int64_t)conform_below(key, (uint64_t)row, (uint64_t)K);
        const double near = c->own[4] == LIN_NEAR ? 0x1p-10 : 0;
        const double length = c->own[4] == LIN_NOTHING && token % 3 == 2 ? 0 : c->own[4] == LIN_LONG ? 1.9 : 0.99;
        double ss = 0, special;
        for (int64_t k = 0; k < K; k++) {
            const double x = (double)conform_normal(key, (uint64_t)(base * K + k));
            ss += x * x;
        }
        for (int64_t k = 0; k < K; k++) {
            double x = (double)conform_normal(key, (uint64_t)(base * K + k)) * (ss > 0 ? length / sqrt(ss) : 0);
            x += near * (double)conform_normal(key + 1, (uint64_t)(row * K + k)) * 0.01;
            if (c->own[0] == LIN_EXACT)
                x = k == hot;
            if (is_special(c, tensor, row * K + k, &special))
                x = special;
            conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, row * K + k), x);
        }
    }
}

static double beta_of(const struct conform_case *c, int64_t i)
{
    const uint64_t key = conform_key(c, 41), random = conform_random(key, (uint64_t)i);
    double special;
    if (is_special(c, LIN(BETA), i, &special))
        return special;
    if (c->own[0] == LIN_EXACT)
        return (double)(random & 1);
    if (random % 8 < 3)
        return (double)(random % 8);
    return 2 * (double)conform_uniform(key, (uint64_t)i);
}

/* ---- decays ---- */

static int is_dead(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const struct tenon_tensor *t = &c->slot[tensor].tensor;
    const int64_t T = c->slot[LIN(Q)].tensor.dim[1];
    const int64_t token = t->rank == 1 ? i : i / t->dim[2] / (t->rank == 4 ? t->dim[3] : 1) % (T ? T : 1);
    const uint64_t random = conform_random(conform_key(c, 42), (uint64_t)i);
    switch (c->own[3]) {
    case LIN_FEW: return random % 31 == 0;
    case LIN_RUNS: return token / 5 % 4 == 1;
    case LIN_ENDS: return token == 0 || token == T - 1;
    case LIN_DEAD: return 1;
    default: return 0;
    }
}

static double decay_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    static const int powers[LIN_STRENGTHS] = {0, 0, 1, 5, 20, 0};
    static const double means[LIN_STRENGTHS] = {0.01, 0.1, 1, 5, 20, 0};
    const uint64_t key = conform_key(c, 30 + tensor);
    const double u = (double)conform_uniform(key, (uint64_t)i), mean = means[c->own[2]];
    const int logs = params_of(c)->decay_form == LIN(LOG);
    double a = 1, special;
    if (is_special(c, tensor, i, &special))
        return special;
    if (is_dead(c, tensor, i))
        return logs ? -(double)INFINITY : 0;
    if (c->own[0] == LIN_EXACT)
        return conform_random(key, (uint64_t)i) % 9 == 0 ? (logs ? -(double)INFINITY : 0) : (logs ? 0 : 1);
    if (logs)
        return -2 * mean * u;
    for (int n = 0; n < powers[c->own[2]]; n++)
        a *= u;
    a = powers[c->own[2]] ? a : 1 - 2 * mean * u;
    return conform_random(key, (uint64_t)i) % 64 == 0 ? 1 : a;
}

static double begin_of(const struct conform_case *c, int64_t i)
{
    const int64_t tokens = c->slot[LIN(Q)].tensor.dim[1], n = c->slot[LIN(CU_Q)].tensor.dim[0] - 1;
    switch (c->own[1]) {
    case LIN_PARTS: return n ? (double)(tokens * i / n) : 0;
    case LIN_SHORT: return n ? (double)(1 + (tokens > 3 ? tokens - 3 : 0) * (i / 2 * 2) / n) : 0;
    default: return (double)conform_below(conform_key(c, 31), (uint64_t)i, (uint64_t)tokens + 9) - 4;
    }
}

/* Of rows of the benchmarks: a little below 1. */
static double bench_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    const uint64_t key = conform_key(c, 30 + tensor);
    if (tensor == LIN(DECAY))
        return 1 - 0.05 * (double)conform_uniform(key, (uint64_t)i);
    if (tensor == LIN(BETA))
        return (double)conform_uniform(key, (uint64_t)i);
    return (double)conform_normal(key, (uint64_t)i) *
           (tensor == LIN(K) ? 0.99 / sqrt((double)c->slot[LIN(K)].tensor.dim[3]) : 1);
}

static double element_of(const struct conform_case *c, uint32_t tensor, int64_t i)
{
    if (c->own[0] == LIN_FILL_BENCH)
        return bench_of(c, tensor, i);
    switch (tensor) {
    case LIN(CU_Q): return begin_of(c, i);
    case LIN(BETA): return beta_of(c, i);
    case LIN(DECAY):
    case LIN(DECAY_B): return decay_of(c, tensor, i);
    case LIN(QN):
    case LIN(KN): return feature_of(c, tensor, i);
    case LIN(Q):
    case LIN(K): return params_of(c)->norm ? feature_of(c, tensor, i) : number_of(c, tensor, i);
    case LIN(NORM_STATE): return feature_of(c, tensor, i);
    default: return number_of(c, tensor, i);
    }
}

void tenon__lin_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    if (tensor == LIN(K) && params_of(c)->update == LIN(DELTA) && c->own[0] != LIN_FILL_BENCH) {
        fill_unit(c, tensor);
        return;
    }
    for (int64_t i = 0; i < tenon_tensor_count(&slot->tensor); i++)
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i),
                    element_of(c, tensor, i));
}
