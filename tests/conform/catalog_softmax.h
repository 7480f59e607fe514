/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the two catalogs of softmax share: a run of a matrix of normal logits, whose attributes and tensors the system
 * then sets. */
#ifndef CONFORM_CATALOG_SOFTMAX_H
#define CONFORM_CATALOG_SOFTMAX_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>
#include <tenon/tenon.h>

#include "catalog.h"

enum { ROWS = 6, COLS = 37, N = ROWS * COLS };

static float x[N], y[N];
static struct tenon_softmax_params p;
static struct tenon_value v[TENON_SOFTMAX_N_TENSORS];
static const int64_t matrix[] = {ROWS, COLS}, row_list[] = {ROWS}, col_list[] = {COLS}, four[] = {4};

static inline void begin(uint32_t kind)
{
    catalog_seed(17 + kind);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(2 * catalog_normal());
        y[i] = NAN;
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &p);
    p.kind = kind;
    memset(v, 0, sizeof v);
    v[TENON_SOFTMAX_X] = tenon_value_host(x, TENON_F32, 2, matrix);
    v[TENON_SOFTMAX_Y] = tenon_value_host(y, TENON_F32, 2, matrix);
}

static inline void per_row(uint32_t i, void *data)
{
    const int whole = i == TENON_SOFTMAX_ARGMAX || i == TENON_SOFTMAX_NNZ || i == TENON_SOFTMAX_VALID_LEN;
    v[i] = tenon_value_host(data, whole ? TENON_I32 : TENON_F32, 1, row_list);
}

static inline int run(const char *name)
{
    return is_int(tenon_run(catalog_context, TENON_OPNUM_softmax, &p, v, TENON_SOFTMAX_N_TENSORS), TENON_OK,
                  "%s: %s runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

/* The formula of one row, from its n logits to its weights. */
typedef void formula(const double *z, double *w, int n);

static inline void by_rows(formula *f, const double *z, const char *name)
{
    double w[N];
    if (!run(name))
        return;
    for (int r = 0; r < ROWS; r++)
        f(z + r * COLS, w + r * COLS, COLS);
    catalog_are(y, w, N, name);
}

static inline void logits(double *z)
{
    for (int i = 0; i < N; i++)
        z[i] = (double)x[i];
}

static inline void softmax(const double *z, double *w, int n)
{
    catalog_exp_weights(z, w, n);
}

#endif
