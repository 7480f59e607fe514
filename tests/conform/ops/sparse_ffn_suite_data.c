/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn: the data of its cases. */
#include <math.h>
#include "sparse_ffn_suite.h"

/* Columns of x that are zero, and neurons whose first weights are: where SPARSE_MASKED has what is not finite. */
static int is_dead_column(int64_t k)
{
    return k % 5 == 2;
}

static int is_dead_neuron(int64_t f)
{
    return f % 7 == 3;
}

static double x_value(const struct conform_case *c, uint64_t key, int64_t i)
{
    const struct tenon_tensor *x = &c->slot[TENON_SPARSE_FFN_X].tensor;
    const int64_t column = i % x->dim[x->rank - 1];
    const uint64_t r = conform_random(key, (uint64_t)i);
    if (c->own[0] == SPARSE_EXACT)
        return (double)(r % 9) - 4.0;
    if (c->own[0] == SPARSE_MASKED && is_dead_column(column))
        return 0.0;
    if (c->own[0] == SPARSE_SPECIAL && r % 61 == 0)
        return (double)conform_bits_float(conform_specials[(r >> 32) % CONFORM_SPECIALS]);
    if (r % 3 == 0)
        return 0.0;
    return (double)conform_normal(key, (uint64_t)i);
}

/* wg, wu, wd: row and column of the matrix, whatever way it lies. */
static double w_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t i)
{
    const struct tenon_sparse_ffn_params *p = (const void *)c->params;
    const uint32_t trans[3] = {p->trans_g, p->trans_u, p->trans_d}, side = tensor - TENON_SPARSE_FFN_WG;
    const struct tenon_tensor *t = &c->slot[tensor].tensor;
    const int64_t row = trans[side] ? i % t->dim[1] : i / t->dim[1];
    int64_t column = trans[side] ? i / t->dim[1] : i % t->dim[1];
    const int first = side == 0 || (side == 1 && !c->slot[TENON_SPARSE_FFN_WG].tensor.dtype);
    const double plain = (double)conform_normal(key, (uint64_t)i) * 0.5;
    if (t->dtype == TENON_I8)
        return c->own[0] == SPARSE_EXACT ? (double)conform_below(key, (uint64_t)i, 5) - 2.0
                                         : (double)conform_below(key, (uint64_t)i, 256) - 128.0;
    if (c->own[0] == SPARSE_EXACT)
        return (double)conform_below(key, (uint64_t)i, 5) - 2.0;
    if (c->own[0] != SPARSE_MASKED)
        return plain;
    if (side == 2)
        return is_dead_neuron(column) ? (double)INFINITY : plain;
    if (side == 1)
        column += p->split;
    if (is_dead_column(column))
        return row % 2 ? (double)INFINITY : (double)NAN;
    if (is_dead_neuron(row))
        return first ? 0.0 : (double)NAN;
    return plain;
}

static double side_value(const struct conform_case *c, uint32_t tensor, uint64_t key, int64_t i)
{
    const double normal = (double)conform_normal(key, (uint64_t)i);
    const int exact = c->own[0] == SPARSE_EXACT;
    if (tensor <= TENON_SPARSE_FFN_WD_SCALE)
        return exact ? (i & 1 ? 1.0 : 2.0) : (double)(float)(0.001 + 0.004 * (double)conform_uniform(key, (uint64_t)i));
    if (tensor == TENON_SPARSE_FFN_EXT) /* most neurons are not routed to */
        return conform_below(key, (uint64_t)i, 5) < 3 ? 0.0 : exact ? 1.0 : normal;
    if (tensor <= TENON_SPARSE_FFN_T_H)
        return exact ? (double)conform_below(key, (uint64_t)i, 4) : fabs(normal);
    if (tensor <= TENON_SPARSE_FFN_WGT_H)
        return exact ? (double)conform_below(key, (uint64_t)i, 3) : fabs(normal);
    return exact ? (double)conform_below(key, (uint64_t)i, 3) - 1.0 : normal * 0.5;
}

static double bench_value(const struct tenon_tensor *t, int64_t i)
{
    const double value = ((double)((uint32_t)(i + 1) * 2654435761u >> 8) + 0.5) * 0x1p-23 - 1;
    return t->dtype == TENON_I8 ? (double)(int)(value * 127) : value * 0.125;
}

void tenon__sparse_ffn_suite_fill(const struct conform_case *c, uint32_t tensor)
{
    const struct conform_slot *slot = &c->slot[tensor];
    int64_t count = tenon_tensor_count(&slot->tensor);
    uint64_t key = conform_key(c, tensor);
    for (int64_t i = 0; i < count; i++) {
        double value = c->own[0] == SPARSE_BENCH     ? bench_value(&slot->tensor, i)
                       : tensor == TENON_SPARSE_FFN_X    ? x_value(c, key, i)
                       : tensor <= TENON_SPARSE_FFN_WD ? w_value(c, tensor, key, i)
                                                       : side_value(c, tensor, key, i);
        conform_set(conform_first(slot), slot->tensor.dtype, conform_offset(&slot->tensor, i), value);
    }
}
