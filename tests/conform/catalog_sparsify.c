/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published systems that make activations sparse. */
#include <tenon/ops/sparsify.h>

#include "catalog.h"

enum { ROWS = 4, COLS = 200, N = ROWS * COLS };

static float x[N], y[N];
static double want[N];
static struct tenon_sparsify_params p;
static struct tenon_value v[TENON_SPARSIFY_N_TENSORS];

static void begin(uint32_t kind)
{
    catalog_seed(29 + kind);
    for (int i = 0; i < N; i++)
        x[i] = (float)catalog_normal();
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_sparsify), &p);
    p.kind = kind;
    memset(v, 0, sizeof v);
    v[TENON_SPARSIFY_X] = tenon_value_host(x, TENON_F32, 2, (int64_t[]){ROWS, COLS});
    v[TENON_SPARSIFY_Y] = tenon_value_host(y, TENON_F32, 2, (int64_t[]){ROWS, COLS});
}

static void gives_want(const char *name)
{
    memset(y, 0xff, sizeof y); /* NaN: what another run left would do as well */
    if (is_int(tenon_run(catalog_context, TENON_OPNUM_sparsify, &p, v, TENON_SPARSIFY_N_TENSORS), TENON_OK,
               "%s: %s runs", catalog_device, name))
        catalog_are(y, want, N, name);
}

/* Spark and Gemma 3n: relu(x - theta), theta = mean + std * Q(1 - k/cols); Q(0.95) = 1.6448536269514715. */
static void a27(void)
{
    begin(TENON_SPARSIFY_STAT_TOPK);
    p.k = COLS / 20;
    for (int r = 0; r < ROWS; r++) {
        double mean = 0, square = 0;
        for (int j = 0; j < COLS; j++)
            mean += (double)x[r * COLS + j] / COLS;
        for (int j = 0; j < COLS; j++)
            square += ((double)x[r * COLS + j] - mean) * ((double)x[r * COLS + j] - mean) / COLS;
        for (int j = 0; j < COLS; j++)
            want[r * COLS + j] = fmax((double)x[r * COLS + j] - mean - sqrt(square) * 1.6448536269514715, 0);
    }
    gives_want("A27 statistical top-k of Spark");
}

static int descending(const void *a, const void *b)
{
    const float s = *(const float *)a, t = *(const float *)b;
    return (s < t) - (s > t);
}

/* In training the k * rows best of the batch stay; at inference what is not below the smallest that stayed. */
static void a28(void)
{
    enum { K = 9 };
    float sorted[N];
    begin(TENON_SPARSIFY_BATCH_TOPK);
    p.k = K;
    memcpy(sorted, x, sizeof sorted);
    qsort(sorted, N, sizeof sorted[0], descending);
    const float least = sorted[K * ROWS - 1];
    for (int i = 0; i < N; i++)
        want[i] = x[i] >= least ? (double)x[i] : 0;
    gives_want("A28 BatchTopK, training");
    p.kind = TENON_SPARSIFY_GE;
    p.k = 0;
    p.t = least;
    gives_want("A28 BatchTopK, inference with the threshold of a batch");
}

/* TEAL, CATS: small activations go; WINA: small ones of abs(x) times the norm of the column that they meet. */
static void thresholds(void)
{
    float norm[COLS];
    begin(TENON_SPARSIFY_ABS_GT);
    p.t = 0.7f;
    for (int i = 0; i < N; i++)
        want[i] = fabsf(x[i]) > 0.7f ? (double)x[i] : 0;
    gives_want("TEAL and CATS");
    for (int j = 0; j < COLS; j++)
        norm[j] = (float)(0.5 + catalog_uniform());
    v[TENON_SPARSIFY_WGT] = tenon_value_host(norm, TENON_F32, 1, (int64_t[]){COLS});
    for (int i = 0; i < N; i++)
        want[i] = fabsf(x[i]) * norm[i % COLS] > 0.7f ? (double)x[i] : 0;
    gives_want("WINA by threshold");
}

static void catalog(void)
{
    a27();
    a28();
    thresholds();
}

int main(void)
{
    return catalog_devices(catalog);
}
