/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the catalogs of routing rules share: a small router, its run, and what its paper's formula gives. */
#ifndef CONFORM_CATALOG_MOE_ROUTE_H
#define CONFORM_CATALOG_MOE_ROUTE_H

#include <tenon/ops/moe_route.h>

#include "catalog.h"

#define R(name) TENON_MOE_ROUTE_##name

enum { TOKENS = 12, EXPERTS = 8, SLOTS = EXPERTS, N = TOKENS * EXPERTS };

static float logits[N], w[TOKENS * SLOTS];
static int32_t idx[TOKENS * SLOTS], nsel[TOKENS];
static double want[TOKENS * SLOTS];
static int32_t want_idx[TOKENS * SLOTS];
static int64_t tokens, experts;
static struct tenon_moe_route_params p;
static struct tenon_value v[R(N_TENSORS)];

static inline void begin(uint64_t seed, int64_t t, int64_t e, uint32_t k)
{
    catalog_seed(31 + seed);
    tokens = t;
    experts = e;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_route), &p);
    p.k = k;
    for (int i = 0; i < N; i++)
        logits[i] = (float)(2 * catalog_normal());
    memset(v, 0, sizeof v);
    for (int i = 0; i < TOKENS * SLOTS; i++) {
        want_idx[i] = -1;
        want[i] = 0;
    }
}

static inline int runs(const char *name)
{
    const int64_t k = p.k;
    memset(w, 0xff, sizeof w);
    memset(idx, 0x55, sizeof idx);
    v[R(LOGITS)] = tenon_value_host(logits, TENON_F32, 2, (int64_t[]){tokens, experts});
    v[R(IDX)] = tenon_value_host(idx, TENON_I32, 2, (int64_t[]){tokens, k});
    v[R(W)] = tenon_value_host(w, TENON_F32, 2, (int64_t[]){tokens, k});
    v[R(NSEL)] = tenon_value_host(nsel, TENON_I32, 1, (int64_t[]){tokens});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_moe_route, &p, v, R(N_TENSORS)), TENON_OK, "%s: %s runs",
                  catalog_device, name);
}

static inline void gives_want(const char *name)
{
    int wrong = 0;
    if (!runs(name))
        return;
    for (int64_t i = 0; i < tokens * (int64_t)p.k; i++)
        wrong += idx[i] != want_idx[i];
    is_int(wrong, 0, "%s: %s: the experts", catalog_device, name);
    catalog_are(w, want, (int)(tokens * (int64_t)p.k), name);
}

static inline void softmax_of(int64_t t, double *s)
{
    double z[EXPERTS];
    for (int64_t e = 0; e < experts; e++)
        z[e] = (double)logits[t * experts + e] * (double)p.inv_temp;
    catalog_exp_weights(z, s, (int)experts);
}

static inline double sigmoid_of(float z)
{
    return 1 / (1 + exp(-(double)z));
}

/* The k best of the scores; of equals the first, -Inf is none. */
static inline void best_of(const double *score, uint32_t k, int32_t *best)
{
    for (uint32_t j = 0; j < k; j++) {
        best[j] = -1;
        for (int64_t e = 0; e < experts; e++) {
            int taken = score[e] == -(double)INFINITY;
            for (uint32_t i = 0; i < j; i++)
                taken |= best[i] == e;
            if (!taken && (best[j] < 0 || score[e] > score[best[j]]))
                best[j] = (int32_t)e;
        }
    }
}

/* TOPK by `score`, weights of the softmax; sum: they are divided by their sum. */
static inline void want_topk(int sum, double scale)
{
    for (int64_t t = 0; t < tokens; t++) {
        double s[EXPERTS], all = 0;
        int32_t *best = want_idx + t * (int64_t)p.k;
        softmax_of(t, s);
        best_of(s, p.k, best);
        for (uint32_t j = 0; j < p.k; j++)
            all += s[best[j]];
        for (uint32_t j = 0; j < p.k; j++)
            want[t * (int64_t)p.k + j] = s[best[j]] / (sum ? all : 1) * scale;
    }
}

#endif
