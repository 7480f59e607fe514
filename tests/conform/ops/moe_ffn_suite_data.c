/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn: what its cases hold. What must not be read stays poison, which is NaN: weights, scales and biases of experts
 * without rows, x and rw of rows of zeros. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include "moe_ffn_suite.h"

/* ---- offsets, foff, src ---- */

static int64_t owned_rows(const struct conform_case *c, int64_t rows)
{
    const uint64_t r = conform_random(conform_key(c, 120), 0);
    return c->own[1] == FFN_ROUTE_EVEN || r & 1 ? rows : rows - (int64_t)((r >> 8) % (uint64_t)(rows / 4 + 1));
}

static int64_t expert_of(const struct conform_case *c, int64_t row, int64_t experts)
{
    const uint64_t key = conform_key(c, 121), random = conform_random(key, (uint64_t)row);
    const int64_t one = (int64_t)(conform_random(key, 1u << 30) % (uint64_t)experts);
    switch (c->own[1]) {
    case FFN_ROUTE_SPARSE:
        return (int64_t)(random >> 32) % (experts / 4 + 1) * 4 % experts;
    case FFN_ROUTE_ONE:
        return one;
    case FFN_ROUTE_SKEWED:
        return random & 1 ? one : (int64_t)(random >> 32) % experts;
    default:
        return (int64_t)(random >> 32) % experts;
    }
}

static void make_offsets(const struct conform_case *c, struct ffn_layout *l)
{
    const int64_t owned = owned_rows(c, l->rows);
    for (int64_t e = 0; e <= l->e; e++)
        l->offsets[e] = (int32_t)(c->own[1] == FFN_ROUTE_EVEN ? l->rows * e / l->e : 0);
    if (c->own[1] == FFN_ROUTE_EVEN)
        return;
    for (int64_t row = 0; row < owned && l->e; row++)
        l->offsets[expert_of(c, row, l->e) + 1]++;
    for (int64_t e = 0; e < l->e; e++)
        l->offsets[e + 1] += l->offsets[e];
    for (int64_t e = 0; e <= l->e && c->own[1] == FFN_ROUTE_BROKEN; e++) {
        const uint64_t r = conform_random(conform_key(c, 122), (uint64_t)e);
        if (r % 4 == 0)
            l->offsets[e] =
                r & 16 ? (r & 32 ? INT_MIN : INT_MAX) : (int32_t)((int64_t)((r >> 8) % (uint64_t)(l->rows + 9)) - 4);
    }
}

/* Widths from 0 to twice the mean. */
static void make_foff(const struct conform_case *c, struct ffn_layout *l)
{
    const int64_t mean = l->e ? l->f / l->e : 0;
    int64_t at = (int64_t)conform_below(conform_key(c, 123), 1u << 20, 3);
    for (int64_t e = 0; e <= l->e; e++) {
        const uint64_t r = conform_random(conform_key(c, 123), (uint64_t)e);
        l->foff[e] = (int32_t)(at < l->f ? at : l->f);
        at += (int64_t)(r % (uint64_t)(2 * mean + 2));
        if (c->own[1] == FFN_ROUTE_BROKEN && (r >> 40) % 4 == 0)
            l->foff[e] = r >> 44 & 1 ? INT_MIN + 1 : (int32_t)(l->f + 3 - (int64_t)((r >> 48) % 8));
    }
}

static void make_src(const struct conform_case *c, struct ffn_layout *l)
{
    const struct tenon_moe_ffn_params *p = (const void *)c->params;
    const uint64_t key = conform_key(c, 124), slots = (uint64_t)l->tokens * p->top_k;
    const int padded = c->own[1] != FFN_ROUTE_EVEN && conform_random(key, 1u << 30) & 1;
    const int32_t wild[4] = {(int32_t)slots, -2, INT_MIN, INT_MAX};
    for (int64_t row = 0; row < l->rows; row++) {
        const uint64_t r = conform_random(key, (uint64_t)row);
        l->src[row] = slots ? (int32_t)((r >> 20) % slots) : -1;
        if (padded && r % 6 == 0)
            l->src[row] = -1;
        if (c->own[1] == FFN_ROUTE_BROKEN && r % 7 == 0)
            l->src[row] = wild[(r >> 8) % 4];
    }
}

/* expert[i] for entries of a list of n offsets, each at least the one before and at most `most`. */
static void own(const int32_t *offsets, int64_t n, int64_t most, int32_t *expert)
{
    int64_t at = 0;
    for (int64_t i = 0; i < most; i++)
        expert[i] = -1;
    for (int64_t e = 0; e < n; e++) {
        const int64_t to = offsets[e] > most ? most : offsets[e];
        for (; at < to; at++)
            expert[at] = (int32_t)e - 1;
    }
}

static void find_rows(const struct conform_case *c, struct ffn_layout *l)
{
    const struct tenon_moe_ffn_params *p = (const void *)c->params;
    own(l->offsets, l->e + 1, l->rows, l->expert);
    for (int64_t row = 0; row < l->rows; row++) {
        if (l->has_src && (l->src[row] < 0 || l->src[row] >= l->tokens * (int64_t)p->top_k))
            l->expert[row] = -1;
        if (l->expert[row] >= 0)
            l->active[l->expert[row]] = 1;
    }
    if (l->own)
        own(l->foff, l->e + 1, l->f, l->unit);
}

int tenon__ffn_suite_layout(const struct conform_case *c, struct ffn_layout *l)
{
    const struct tenon_tensor *wu = &c->slot[TENON_MOE_FFN_WU].tensor, *x = &c->slot[TENON_MOE_FFN_X].tensor;
    const struct tenon_tensor *z = &c->slot[TENON_MOE_FFN_Z].tensor;
    *l = (struct ffn_layout){.e = c->slot[TENON_MOE_FFN_OFFSETS].tensor.dim[0] - 1,
                             .rows = z->dim[0],
                             .tokens = x->dim[0],
                             .d = x->dim[1],
                             .f = wu->dim[wu->rank - 2],
                             .out = z->dim[1],
                             .own = c->slot[TENON_MOE_FFN_FOFF].tensor.dtype != 0,
                             .has_src = c->slot[TENON_MOE_FFN_SRC].tensor.dtype != 0};
    const size_t ints = (size_t)(2 * (l->e + 1) + 2 * l->rows + l->f + 1);
    l->offsets = malloc(ints * sizeof(int32_t) + (size_t)l->e + 1);
    if (!l->offsets)
        return 0;
    l->foff = l->offsets + l->e + 1;
    l->src = l->foff + l->e + 1;
    l->expert = l->src + l->rows;
    l->unit = l->expert + l->rows;
    l->active = (unsigned char *)(l->offsets + ints);
    for (int64_t e = 0; e < l->e; e++)
        l->active[e] = 0;
    make_offsets(c, l);
    make_foff(c, l);
    make_src(c, l);
    find_rows(c, l);
    return 1;
}

void tenon__ffn_suite_layout_free(struct ffn_layout *l)
{
    free(l->offsets);
}

/* ---- floats ---- */

/* 2^-round(log2(n) / 2): a sum of n such terms is about 1. */
static double share(int64_t n)
{
    double s = 1;
    for (; n > 2; n /= 4)
        s /= 2;
    return s;
}

static double x_value(const struct conform_case *c, uint64_t key, int64_t d, int64_t i)
{
    const uint64_t index = (uint64_t)i;
    const double normal = (double)conform_normal(key, index);
    uint64_t r;
    switch (c->own[0]) {
    case FFN_FILL_EXACT: /* four of a row */
        r = conform_random(key, index);
        return (i % d + i / d) % (d / 4 + 1) == 0 ? (double)(r % 5) - 2.0 : 0.0;
    case FFN_FILL_ONES:
        return 0.9;
    case FFN_FILL_CANCEL:
        r = conform_random(key, index / 2);
        return (index & 1 ? -1.0 : 1.0) * (1.0 + (double)(r & 255) / 256) + (index & 1 ? 0.0 : 0x1p-7);
    case FFN_FILL_SPECIAL:
        r = conform_random(key, (uint64_t)(i / d) + (UINT64_C(1) << 40));
        return r % 3 == 0 && i % d == (int64_t)(r >> 8) % d
                   ? (double)conform_bits_float(conform_specials[(r >> 40) % CONFORM_SPECIALS])
                   : normal;
    case FFN_FILL_SCALES:
        r = conform_random(key, index);
        return normal * (double)conform_bits_float((uint32_t)(107 + r % 41) << 23);
    default:
        return normal;
    }
}

static double w_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t depth, int64_t i)
{
    const uint64_t index = (uint64_t)i;
    const int small = tensor == TENON_MOE_FFN_WD;
    if (c->own[0] == FFN_FILL_EXACT)
        return small ? (double)conform_below(key, index, 3) - 1.0 : (double)conform_below(key, index, 5) - 2.0;
    if (c->slot[tensor].tensor.dtype == TENON_I8)
        return (double)conform_below(key, index, 256) - 128.0;
    if (c->own[0] == FFN_FILL_BENCH)
        return ((double)((uint32_t)i * 2654435761u >> 8) * 0x1p-23 - 1) * share(depth);
    if (c->own[0] == FFN_FILL_CANCEL && !small)
        return (1.0 + (double)conform_below(key, index / 2, 8) / 8) * share(depth);
    return (double)conform_normal(key, index) * share(depth);
}

static double side_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t depth, int64_t i)
{
    const int exact = c->own[0] == FFN_FILL_EXACT;
    if (tensor == TENON_MOE_FFN_RW)
        return exact ? (i % 3 == 0   ? 2.0
                        : i % 3 == 1 ? 1.0
                                     : 0.5)
                     : (double)conform_uniform(key, (uint64_t)i) * (i % 5 == 0 ? -1.5 : 1.5);
    if (tensor >= TENON_MOE_FFN_WG_SCALE && tensor <= TENON_MOE_FFN_WD_SCALE)
        return exact ? (i & 1 ? 0.5 : 1.0)
                     : (double)(0.004f + 0.02f * conform_uniform(key, (uint64_t)i)) * share(depth);
    return exact ? (double)conform_below(key, (uint64_t)i, 9) - 4.0 : (double)conform_normal(key, (uint64_t)i);
}

/* Whether element i of a tensor of weights, scales or biases may be read. */
static int is_read(const struct conform_case *c, const struct ffn_layout *l, uint32_t tensor, int64_t i)
{
    const struct tenon_tensor *t = &c->slot[tensor].tensor;
    const int down = tensor == TENON_MOE_FFN_WD || tensor == TENON_MOE_FFN_WD_SCALE || tensor == TENON_MOE_FFN_BD;
    const int64_t inner = tenon_tensor_count(t) / (t->dim[0] ? t->dim[0] : 1);
    int64_t expert;
    if (!l->own || (down && tensor != TENON_MOE_FFN_WD)) {
        expert = i / inner;
    } else {
        expert = l->unit[down ? i % l->f : i / inner];
    }
    return expert >= 0 && l->active[expert];
}

static void fill_floats(const struct conform_case *c, const struct ffn_layout *l, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    const int64_t count = tenon_tensor_count(&slot->tensor);
    const int64_t depth =
        tensor == TENON_MOE_FFN_WD || tensor == TENON_MOE_FFN_WD_SCALE ? (l->own && l->e ? l->f / l->e : l->f) : l->d;
    const uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < count; i++) {
        double value;
        if (tensor == TENON_MOE_FFN_X) {
            if (!l->has_src && l->expert[i / l->d] < 0)
                continue;
            value = x_value(c, key, l->d, i);
        } else if (tensor == TENON_MOE_FFN_RW) {
            if (l->expert[i] < 0)
                continue;
            value = side_value(c, tensor, key, depth, i);
        } else {
            if (!is_read(c, l, tensor, i))
                continue;
            value = tensor >= TENON_MOE_FFN_WG && tensor <= TENON_MOE_FFN_WD ? w_value(c, tensor, key, depth, i)
                                                                             : side_value(c, tensor, key, depth, i);
        }
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}

void tenon__ffn_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    struct ffn_layout l;
    if (!tenon__ffn_suite_layout(c, &l))
        return;
    const int32_t *ints = tensor == TENON_MOE_FFN_OFFSETS ? l.offsets
                          : tensor == TENON_MOE_FFN_FOFF  ? l.foff
                          : tensor == TENON_MOE_FFN_SRC   ? l.src
                                                          : NULL;
    for (int64_t i = 0; ints && i < slot->tensor.dim[0]; i++)
        conform_set(conform_first(slot), TENON_I32, i, (double)ints[i]);
    if (!ints)
        fill_floats(c, &l, tensor);
    tenon__ffn_suite_layout_free(&l);
}
