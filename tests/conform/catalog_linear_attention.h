/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the catalogs of linear attention share: one call over small random tensors, whose settings and tensors the
 * system then sets. */
#ifndef CONFORM_CATALOG_LINEAR_ATTENTION_H
#define CONFORM_CATALOG_LINEAR_ATTENTION_H

#include <tenon/ops/linear_attention.h>

#include "catalog.h"

#define L(NAME) TENON_LINEAR_ATTENTION_##NAME
enum { T = 37, H = 2, K = 6, V = 5, NK = T * H * K, NV = T * H * V, N = NV };

static float q[NK], k[NK], val[NV], a[NK], beta[T * H], o[NV];
static double want[N];
static struct tenon_linear_attention_params p;
static struct tenon_value v[TENON_LINEAR_ATTENTION_N_TENSORS];

static inline void set(uint32_t i, void *data, uint32_t rank, const int64_t *dim)
{
    v[i] = tenon_value_host(data, TENON_F32, rank, dim);
}
#define SET(NAME, data, ...)                                                                                           \
    set(L(NAME), data, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static inline void begin(uint64_t seed)
{
    catalog_seed(seed);
    for (int i = 0; i < NK; i++) {
        q[i] = (float)catalog_normal();
        k[i] = (float)catalog_normal();
        a[i] = (float)catalog_normal();
    }
    for (int i = 0; i < NV; i++)
        val[i] = (float)(0.1 * catalog_normal());
    for (int i = 0; i < T * H; i++)
        beta[i] = (float)catalog_uniform();
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear_attention), &p);
    p.chunk = 16;
    memset(v, 0, sizeof v);
    SET(Q, q, 1, T, H, K);
    SET(K, k, 1, T, H, K);
    SET(V, val, 1, T, H, V);
    SET(O, o, 1, T, H, V);
}

static inline int run(const char *name)
{
    for (int i = 0; i < N; i++)
        o[i] = NAN;
    return is_int(tenon_run(catalog_context, TENON_OPNUM_linear_attention, &p, v, L(N_TENSORS)), TENON_OK,
                  "%s: %s runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

/* Token by token, and in chunks. */
static inline void gives_want(const char *name)
{
    for (p.mode = L(RECURRENT); p.mode <= L(CHUNKED); p.mode++)
        if (run(name))
            catalog_are(o, want, N, name);
}

static inline double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

static inline void silus(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)((double)x[i] * sigmoid((double)x[i]));
}

/* q and k of each head: x / sqrt(sum x^2 + 1e-6). */
static inline void unit(float *x)
{
    for (int i = 0; i < NK; i += K) {
        double ss = 1e-6;
        for (int j = 0; j < K; j++)
            ss += (double)x[i + j] * (double)x[i + j];
        for (int j = 0; j < K; j++)
            x[i + j] = (float)((double)x[i + j] / sqrt(ss));
    }
}

/* Rows of token t and head h. */
static inline const float *qt(int t, int h)
{
    return q + (t * H + h) * K;
}

static inline const float *kt(int t, int h)
{
    return k + (t * H + h) * K;
}

/* How much token j weighs for token i: the form of papers in which everything is seen at once. */
typedef double weight(int i, int j, int h);

static inline void sums(weight *w)
{
    for (int e = 0; e < N; e++) {
        const int i = e / V / H, h = e / V % H;
        want[e] = 0;
        for (int j = 0; j < T; j++)
            want[e] += w(i, j, h) * (double)val[(j * H + h) * V + e % V];
    }
}

static inline double dot(int i, int j, int h)
{
    double sum = 0;
    for (int c = 0; c < K; c++)
        sum += (double)qt(i, h)[c] * (double)kt(j, h)[c];
    return sum;
}

#endif
