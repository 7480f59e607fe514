/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published systems that select from a softmax. */
#include <tenon/ops/softmax_topk.h>

#include "catalog.h"

enum { ROWS = 5, COLS = 300, K = 7 };

static float x[ROWS * COLS], val[ROWS * K];
static int32_t idx[ROWS * K];
static struct tenon_softmax_topk_params p;

static int run(const char *name)
{
    struct tenon_value v[TENON_SOFTMAX_TOPK_N_TENSORS];
    memset(v, 0, sizeof v);
    memset(val, 0xff, sizeof val); /* NaN and -1: what another device left would do as well */
    memset(idx, 0xff, sizeof idx);
    v[TENON_SOFTMAX_TOPK_X] = tenon_value_host(x, TENON_F32, 2, (int64_t[]){ROWS, COLS});
    v[TENON_SOFTMAX_TOPK_VAL] = tenon_value_host(val, TENON_F32, 2, (int64_t[]){ROWS, K});
    v[TENON_SOFTMAX_TOPK_IDX] = tenon_value_host(idx, TENON_I32, 2, (int64_t[]){ROWS, K});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_softmax_topk, &p, v, TENON_SOFTMAX_TOPK_N_TENSORS), TENON_OK,
                  "%s: %s runs", catalog_device, name);
}

static void begin(uint32_t norm)
{
    catalog_seed(5 + norm);
    for (int i = 0; i < ROWS * COLS; i++)
        x[i] = (float)(3 * catalog_normal());
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax_topk), &p);
    p.k = K;
    p.norm = norm;
}

/* The K largest of a row by looking at each in turn; of equals the first. */
static void best_of(const float *row, int32_t *best)
{
    for (int k = 0; k < K; k++) {
        best[k] = -1;
        for (int j = 0; j < COLS; j++) {
            int taken = 0;
            for (int before = 0; before < k; before++)
                taken |= best[before] == j;
            if (!taken && (best[k] < 0 || row[j] > row[best[k]]))
                best[k] = j;
        }
    }
}

static void indices_are(const char *name)
{
    int wrong = 0;
    for (int r = 0; r < ROWS; r++) {
        int32_t best[K];
        best_of(x + r * COLS, best);
        wrong += memcmp(best, idx + r * K, sizeof best) != 0;
    }
    is_int(wrong, 0, "%s: %s: the indices", catalog_device, name);
}

static void a5(void)
{
    double z[COLS], w[COLS], want[ROWS * K];
    begin(TENON_SOFTMAX_TOPK_FULL);
    x[11] = x[12] = x[250] = 20; /* ties share, the first comes first */
    if (!run("A5 softmax and top-k fused"))
        return;
    for (int r = 0; r < ROWS; r++) {
        int32_t best[K];
        for (int j = 0; j < COLS; j++)
            z[j] = (double)x[r * COLS + j];
        catalog_exp_weights(z, w, COLS);
        best_of(x + r * COLS, best);
        for (int k = 0; k < K; k++)
            want[r * K + k] = w[best[k]];
    }
    catalog_are(val, want, ROWS * K, "A5 softmax and top-k fused");
    indices_are("A5 softmax and top-k fused");
}

static void a12(void)
{
    double z[K], want[ROWS * K];
    begin(TENON_SOFTMAX_TOPK_SELECTED);
    if (!run("A12 Sparse-softmax of the k largest"))
        return;
    for (int r = 0; r < ROWS; r++) {
        int32_t best[K];
        best_of(x + r * COLS, best);
        for (int k = 0; k < K; k++)
            z[k] = (double)x[r * COLS + best[k]];
        catalog_exp_weights(z, want + r * K, K);
    }
    catalog_are(val, want, ROWS * K, "A12 Sparse-softmax of the k largest");
    indices_are("A12 Sparse-softmax of the k largest");
}

/* Gumbel's trick: the best of logits + noise are draws without replacement; how often the first is each of four. */
static void sampling(void)
{
    enum { DRAWS = 4000 };
    static const float logits[4] = {0, 1, -1, 0.5f};
    double z[4], w[4], chi = 0;
    int count[4] = {0};
    static float many[DRAWS * 4];
    static int32_t drawn[DRAWS];
    struct tenon_value v[TENON_SOFTMAX_TOPK_N_TENSORS];
    begin(TENON_SOFTMAX_TOPK_RAW);
    memset(drawn, 0xff, sizeof drawn);
    p.k = 1;
    p.noise = TENON_SOFTMAX_NOISE_GUMBEL;
    p.seed = 12345;
    for (int i = 0; i < DRAWS * 4; i++)
        many[i] = logits[i % 4];
    memset(v, 0, sizeof v);
    v[TENON_SOFTMAX_TOPK_X] = tenon_value_host(many, TENON_F32, 2, (int64_t[]){DRAWS, 4});
    v[TENON_SOFTMAX_TOPK_IDX] = tenon_value_host(drawn, TENON_I32, 2, (int64_t[]){DRAWS, 1});
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_softmax_topk, &p, v, TENON_SOFTMAX_TOPK_N_TENSORS), TENON_OK,
                "%s: a sampling head runs", catalog_device))
        return;
    for (int j = 0; j < 4; j++)
        z[j] = (double)logits[j];
    catalog_exp_weights(z, w, 4);
    for (int i = 0; i < DRAWS; i++)
        count[drawn[i] & 3]++;
    for (int j = 0; j < 4; j++)
        chi += (count[j] - DRAWS * w[j]) * (count[j] - DRAWS * w[j]) / (DRAWS * w[j]);
    ok(chi < 16.27, "%s: a sampling head draws by the softmax: chi2 %.1f on 3 degrees (1 in 1000 is above 16.3)",
       catalog_device, chi);
}

static void catalog(void)
{
    a5();
    a12();
    sampling();
}

int main(void)
{
    return catalog_devices(catalog);
}
