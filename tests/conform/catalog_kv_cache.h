/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the catalogs of caches share: some tokens, calls of operators, and attention written out in f64. */
#ifndef CONFORM_CATALOG_KV_CACHE_H
#define CONFORM_CATALOG_KV_CACHE_H

#include <tenon/ops/attention.h>
#include <tenon/ops/gather_rows.h>
#include <tenon/ops/kv_append.h>

#include "catalog.h"

enum { TOKENS = 40, HQ = 4, HK = 2, D = 16, Q_ROW = HQ * D, K_ROW = HK * D };

static float q[TOKENS * Q_ROW], k[TOKENS * K_ROW], val[TOKENS * K_ROW];

static inline void tokens(uint64_t seed)
{
    catalog_seed(seed);
    for (int i = 0; i < TOKENS * Q_ROW; i++)
        q[i] = (float)(1.5 * catalog_normal());
    for (int i = 0; i < TOKENS * K_ROW; i++) {
        k[i] = (float)catalog_normal();
        val[i] = (float)catalog_normal();
    }
}

#define HOST(data, dtype, ...)                                                                                         \
    tenon_value_host(data, dtype, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static inline int calls(uint32_t op, const void *params, struct tenon_value *v, uint32_t n, const char *name)
{
    return is_int(tenon_run(catalog_context, op, params, v, n), TENON_OK, "%s: %s runs%s%s", catalog_device, name,
                  tenon_error()[0] ? ": " : "", tenon_error());
}

static inline void defaults(uint32_t op, void *params)
{
    tenon_op_defaults(tenon_op_contract_by_number(op), params);
}

/* The same bits. */
static inline void same(const void *got, const void *want, size_t size, const char *name)
{
    ok(memcmp(got, want, size) == 0, "%s: %s: the same bits", catalog_device, name);
}

/* y = rows of n numbers of x by their numbers. */
static inline int gathers(const void *x, uint32_t dtype, int64_t rows, int64_t n, int32_t *idx, int64_t count, void *y,
                          const char *name)
{
    struct tenon_gather_rows_params p;
    struct tenon_value v[TENON_GATHER_ROWS_N_TENSORS] = {{.host = NULL}};
    defaults(TENON_OPNUM_gather_rows, &p);
    v[TENON_GATHER_ROWS_TABLE] = HOST((void *)(uintptr_t)x, dtype, rows, n);
    v[TENON_GATHER_ROWS_IDX] = HOST(idx, TENON_I32, count);
    v[TENON_GATHER_ROWS_Y] = HOST(y, dtype, count, n);
    return calls(TENON_OPNUM_gather_rows, &p, v, TENON_GATHER_ROWS_N_TENSORS, name);
}

/* softmax of query t, head h over the keys with seen[j], times what `keys` and `values` [n,HK,D] hold. */
static inline void attends(const float *query, int h, const double *keys, const double *values, const int *seen, int n,
                           double *out)
{
    double s[TOKENS], share[TOKENS];
    const int hk = h / (HQ / HK);
    for (int j = 0; j < n; j++) {
        s[j] = seen[j] ? 0 : -(double)INFINITY;
        for (int d = 0; d < D && seen[j]; d++)
            s[j] += (double)query[h * D + d] * keys[(j * HK + hk) * D + d] / sqrt(D);
    }
    catalog_exp_weights(s, share, n);
    for (int d = 0; d < D; d++) {
        out[h * D + d] = 0;
        for (int j = 0; j < n; j++)
            out[h * D + d] += seen[j] ? share[j] * values[(j * HK + hk) * D + d] : 0;
    }
}

#endif
