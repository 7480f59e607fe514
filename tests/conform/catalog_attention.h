/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the catalogs of attention share: one call of causal attention over small random tensors, whose attributes and
 * tensors the system then sets, and its scores and sums written out in f64. */
#ifndef CONFORM_CATALOG_ATTENTION_H
#define CONFORM_CATALOG_ATTENTION_H

#include <tenon/ops/attention.h>

#include "catalog.h"

#define A(NAME) TENON_ATTENTION_##NAME
enum { T = 11, HQ = 4, HK = 2, D = 8, N = T * HQ * D, NK = T * HK * D };

static float q[N], k[NK], val[NK], o[N];
static struct tenon_attention_params p;
static struct tenon_value v[TENON_ATTENTION_N_TENSORS];

static inline void set(uint32_t i, void *data, uint32_t dtype, uint32_t rank, const int64_t *dim)
{
    v[i] = tenon_value_host(data, dtype, rank, dim);
}
#define SET(NAME, data, dtype, ...)                                                                                    \
    set(A(NAME), data, dtype, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static inline void begin(uint32_t weight, uint32_t norm)
{
    catalog_seed(53 + weight * 7 + norm);
    for (int i = 0; i < N; i++)
        q[i] = (float)(1.5 * catalog_normal());
    for (int i = 0; i < NK; i++) {
        k[i] = (float)catalog_normal();
        val[i] = (float)catalog_normal();
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_attention), &p);
    p.weight = weight;
    p.norm = norm;
    p.causal = 1;
    memset(v, 0, sizeof v);
    SET(Q, q, TENON_F32, 1, T, HQ, D);
    SET(K, k, TENON_F32, 1, T, HK, D);
    SET(V, val, TENON_F32, 1, T, HK, D);
    SET(O, o, TENON_F32, 1, T, HQ, D);
}

static inline int run(const char *name)
{
    for (int i = 0; i < N; i++)
        o[i] = NAN;
    return is_int(tenon_run(catalog_context, TENON_OPNUM_attention, &p, v, TENON_ATTENTION_N_TENSORS), TENON_OK,
                  "%s: %s runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

static inline double dot(int i, int h, int j)
{
    double sum = 0;
    for (int d = 0; d < D; d++)
        sum += (double)q[(i * HQ + h) * D + d] * (double)k[(j * HK + h / (HQ / HK)) * D + d];
    return sum;
}

/* What a system makes of a row: s has T scores, -Inf where nothing is seen; p their shares of v. */
typedef void formula(const double *s, double *share, int i, int h);
typedef double scores(int i, int h, int j);

static inline double causal(int i, int h, int j)
{
    return j <= i ? dot(i, h, j) / sqrt(D) : -(double)INFINITY;
}

static inline void softmax(const double *s, double *share, int i, int h)
{
    (void)i;
    (void)h;
    catalog_exp_weights(s, share, T);
}

static inline void sums(double *want, scores *score, formula *f)
{
    for (int i = 0; i < T; i++)
        for (int h = 0; h < HQ; h++) {
            double s[T], share[T];
            for (int j = 0; j < T; j++)
                s[j] = score(i, h, j);
            f(s, share, i, h);
            for (int d = 0; d < D; d++) {
                double sum = 0;
                for (int j = 0; j < T; j++)
                    sum += share[j] * (double)val[(j * HK + h / (HQ / HK)) * D + d];
                want[(i * HQ + h) * D + d] = sum;
            }
        }
}

/* Runs, and compares with the shares of f of the scores. */
static inline void gives(const char *name, scores *score, formula *f)
{
    double want[N];
    if (!run(name))
        return;
    sums(want, score, f);
    catalog_are(o, want, N, name);
}

#endif
