/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The lists of published sparse attentions, from attributes of kv_select, against what their papers do written out. */
#include <tenon/ops/kv_select.h>

#include "catalog.h"

enum { T = 64, D = 8, H = 2, BLOCK = 8, NK = T / BLOCK };

static float q[T * H * D], k[T * H * D], scores[H * T * T], lnz[T * H];
static int32_t row_ptr[H * (T + 1)], col[H * T * T];
static int want[H][T][T];
static double s[H][T][T];
static struct tenon_kv_select_params p;
static struct tenon_value v[TENON_KV_SELECT_N_TENSORS];

static void begin(void)
{
    catalog_seed(32);
    for (int i = 0; i < T * H * D; i++) {
        q[i] = (float)catalog_normal();
        k[i] = (float)catalog_normal();
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_kv_select), &p);
    p.block_q = p.block_k = BLOCK;
    memset(v, 0, sizeof v);
    memset(want, 0, sizeof want);
    v[TENON_KV_SELECT_Q] = tenon_value_host(q, TENON_F32, 4, (int64_t[]){1, T, H, D});
    v[TENON_KV_SELECT_K] = tenon_value_host(k, TENON_F32, 4, (int64_t[]){1, T, H, D});
}

/* Scores of H heads, nq by nk, instead of q and k. */
static void given(int nq, int nk)
{
    p.score = TENON_KV_SELECT_EXTERNAL;
    p.q_len = (uint32_t)nq * p.block_q;
    p.k_len = (uint32_t)nk * p.block_k;
    memset(v, 0, sizeof v);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < nq; i++)
            for (int j = 0; j < nk; j++)
                scores[(h * nq + i) * nk + j] = (float)s[h][i][j];
    v[TENON_KV_SELECT_SCORES] = tenon_value_host(scores, TENON_F32, 4, (int64_t[]){1, H, nq, nk});
}

static void gives_want(int lists, int nq, int nk, const char *name)
{
    int wrong = 0, entry = 0;
    v[TENON_KV_SELECT_ROW_PTR] = tenon_value_host(row_ptr, TENON_I32, 3, (int64_t[]){1, lists, nq + 1});
    v[TENON_KV_SELECT_COL] = tenon_value_host(col, TENON_I32, 1, (int64_t[]){(int64_t)lists * nq * nk});
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_kv_select, &p, v, TENON_KV_SELECT_N_TENSORS), TENON_OK,
                "%s: %s runs", catalog_device, name))
        return;
    for (int h = 0; h < lists; h++)
        for (int i = 0; i < nq; i++) {
            wrong += row_ptr[h * (nq + 1) + i] != entry;
            for (int j = 0; j < nk; j++)
                if (want[h][i][j])
                    wrong += col[entry++] != j;
            wrong += row_ptr[h * (nq + 1) + i + 1] != entry;
        }
    is_int(wrong, 0, "%s: %s", catalog_device, name);
}

static double element(const float *x, int t, int h, int d)
{
    return (double)x[(t * H + h) * D + d];
}

/* <q_t, mean of block j>, as MoBA has it; by blocks of queries where `each` is not 1. */
static double pooled(int h, int i, int each, int j, int block)
{
    double sum = 0;
    for (int d = 0; d < D; d++) {
        double a = 0, b = 0;
        for (int t = i * each; t < (i + 1) * each; t++)
            a += element(q, t, h, d) / each;
        for (int u = j * block; u < (j + 1) * block; u++)
            b += element(k, u, h, d) / block;
        sum += a * b;
    }
    return sum;
}

static double product(int h, int t, int u)
{
    double sum = 0;
    for (int d = 0; d < D; d++)
        sum += element(q, t, h, d) * element(k, u, h, d);
    return sum;
}

/* The n best of a row, of those below `end`, by repeated maximum. */
static void best(int h, int i, int end, int n)
{
    for (int taken = 0; taken < n; taken++) {
        int at = -1;
        for (int j = 0; j < end; j++)
            if (!want[h][i][j] && (at < 0 || s[h][i][j] > s[h][i][at]))
                at = j;
        if (at >= 0)
            want[h][i][at] = 1;
    }
}

/* MoBA: the own block has score infinity, later ones minus infinity; the 3 best. */
static void moba(void)
{
    begin();
    p.block_q = 1;
    p.scale = 1;
    p.causal = p.self = p.forced_counts = 1;
    p.k = 3;
    for (int h = 0; h < H; h++)
        for (int t = 0; t < T; t++) {
            for (int j = 0; j < NK; j++)
                s[h][t][j] = pooled(h, t, 1, j, BLOCK);
            s[h][t][t / BLOCK] = 1e30;
            best(h, t, t / BLOCK + 1, 3);
        }
    gives_want(H, T, NK, "MoBA");
}

/* VMoBA: scores between 0 and 1 by their least and largest; pairs in order until their sum is tau of all. */
static void vmoba(uint32_t scope)
{
    begin();
    p.block_q = 1;
    p.scale = 1;
    p.self = p.forced_counts = 1;
    p.norm = TENON_KV_SELECT_NORM_MINMAX;
    p.rule = TENON_KV_SELECT_CUMUL;
    p.tau = 0.25f;
    p.scope = scope;
    const int rows = scope == TENON_KV_SELECT_ROW ? 1 : T;
    for (int h = 0; h < H; h++)
        for (int first = 0; first < T; first += rows) {
            double low = 1e30, high = -1e30, total = 0, sum = 0;
            for (int t = first; t < first + rows; t++)
                for (int j = 0; j < NK; j++) {
                    s[h][t][j] = pooled(h, t, 1, j, BLOCK);
                    low = fmin(low, s[h][t][j]);
                    high = fmax(high, s[h][t][j]);
                }
            for (int t = first; t < first + rows; t++)
                for (int j = 0; j < NK; j++) {
                    total += s[h][t][j] = (s[h][t][j] - low) / (high - low);
                    want[h][t][j] = j == t / BLOCK;
                    sum += want[h][t][j] ? s[h][t][j] : 0;
                }
            while (sum < 0.25 * total) {
                int at = -1, of = -1;
                for (int t = first; t < first + rows; t++)
                    for (int j = 0; j < NK; j++)
                        if (!want[h][t][j] && (at < 0 || s[h][t][j] > s[h][of][at])) {
                            at = j;
                            of = t;
                        }
                want[h][of][at] = 1;
                sum += s[h][of][at];
            }
        }
    gives_want(H, T, NK, scope == TENON_KV_SELECT_ROW ? "VMoBA, per query" : "VMoBA, per head");
}

/* SeerAttention: the gate's softmax over the causal blocks, above a threshold; in decode the last block always. */
static void seer(void)
{
    begin();
    for (int h = 0; h < H; h++)
        for (int i = 0; i < NK; i++) {
            double gate[NK], sum = 0;
            for (int j = 0; j <= i; j++)
                sum += gate[j] = exp(2 * catalog_normal());
            for (int j = 0; j < NK; j++) {
                s[h][i][j] = j <= i ? gate[j] / sum : 0.9;
                want[h][i][j] = j <= i && (float)s[h][i][j] > 0.125f;
            }
        }
    given(NK, NK);
    p.causal = 1;
    p.rule = TENON_KV_SELECT_THRESH;
    p.tau = 0.125f;
    gives_want(H, NK, NK, "SeerAttention, prefill");
    begin();
    for (int h = 0; h < H; h++) {
        for (int j = 0; j < 20; j++)
            s[h][0][j] = catalog_uniform();
        best(h, 0, 19, 4);
        want[h][0][19] = 1;
    }
    p.block_q = 1;
    given(1, 20);
    p.k = 4;
    p.last = 1;
    gives_want(H, 1, 20, "SeerAttention, decode");
}

/* BiFormer: means of windows over all channels, the 3 best windows of each, no causality. */
static void biformer(void)
{
    begin();
    p.share = TENON_KV_SELECT_ALL_HEADS;
    p.k = 3;
    for (int i = 0; i < NK; i++) {
        for (int j = 0; j < NK; j++)
            s[0][i][j] = pooled(0, i, BLOCK, j, BLOCK) + pooled(1, i, BLOCK, j, BLOCK);
        best(0, i, NK, 3);
    }
    gives_want(1, NK, NK, "BiFormer");
}

/* AdaSpa: the blocks with the most probability, 20 a head. */
static void adaspa(void)
{
    begin();
    const double scale = 1 / sqrt((double)D);
    for (int h = 0; h < H; h++) {
        memset(s[h], 0, sizeof s[h]);
        for (int t = 0; t < T; t++) {
            double z[T], w[T];
            for (int u = 0; u < T; u++)
                z[u] = scale * product(h, t, u);
            lnz[t * H + h] = (float)catalog_exp_weights(z, w, T);
            for (int u = 0; u < T; u++)
                s[h][t / BLOCK][u / BLOCK] += w[u];
        }
        for (int taken = 0; taken < 20; taken++) {
            int at = -1;
            for (int e = 0; e < NK * NK; e++)
                if (!want[h][e / NK][e % NK] && (at < 0 || s[h][e / NK][e % NK] > s[h][at / NK][at % NK]))
                    at = e;
            want[h][at / NK][at % NK] = 1;
        }
    }
    p.score = TENON_KV_SELECT_PROB_MASS;
    p.scope = TENON_KV_SELECT_HEAD;
    p.k = 20;
    v[TENON_KV_SELECT_LNZ] = tenon_value_host(lnz, TENON_F32, 3, (int64_t[]){1, T, H});
    gives_want(H, NK, NK, "AdaSpa");
}

/* PBS-Attn: softmax of the means' products over the causal blocks; of those outside the own segment and the first until
 * 0.9 of their mass. */
static void pbs(void)
{
    begin();
    const double scale = 1 / sqrt((double)D);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < NK; i++) {
            double total = 0, sum = 0, rest = 0;
            for (int j = 0; j <= i; j++)
                total += s[h][i][j] = exp(scale * pooled(h, i, BLOCK, j, BLOCK));
            for (int j = 0; j <= i; j++) {
                s[h][i][j] /= total;
                want[h][i][j] = j == 0 || j / 2 == i / 2;
                rest += want[h][i][j] ? 0 : s[h][i][j];
            }
            while (sum < 0.875 * rest) {
                int at = -1;
                for (int j = 0; j <= i; j++)
                    if (!want[h][i][j] && (at < 0 || s[h][i][j] > s[h][i][at]))
                        at = j;
                want[h][i][at] = 1;
                sum += s[h][i][at];
            }
        }
    p.score = TENON_KV_SELECT_SOFTMAX_POOLED;
    p.rule = TENON_KV_SELECT_CUMUL;
    p.tau = 0.875f;
    p.causal = p.first = 1;
    p.segment = 2;
    gives_want(H, NK, NK, "PBS-Attn");
}

/* ProxyAttn: the largest product of each second token of two blocks. */
static void proxy(void)
{
    begin();
    for (int h = 0; h < H; h++)
        for (int i = 0; i < NK; i++) {
            for (int j = 0; j <= i; j++) {
                s[h][i][j] = -1e30;
                for (int t = i * BLOCK; t < (i + 1) * BLOCK; t += 2)
                    for (int u = j * BLOCK; u < (j + 1) * BLOCK; u += 2)
                        if (u <= t)
                            s[h][i][j] = fmax(s[h][i][j], product(h, t, u));
            }
            best(h, i, i + 1, 2);
        }
    p.score = TENON_KV_SELECT_MAX_TOKEN;
    p.stride = 2;
    p.causal = 1;
    p.k = 2;
    gives_want(H, NK, NK, "ProxyAttn");
}

/* Top-k attention: the 5 best keys of each query. */
static void topk(void)
{
    begin();
    for (int h = 0; h < H; h++)
        for (int t = 0; t < T; t++) {
            for (int u = 0; u < T; u++)
                s[h][t][u] = product(h, t, u);
            best(h, t, t + 1, 5);
        }
    p.block_q = p.block_k = 1;
    p.pool_q = p.pool_k = TENON_KV_SELECT_POOL_NONE;
    p.causal = 1;
    p.k = 5;
    gives_want(H, T, T, "top-k attention");
}

static void catalog(void)
{
    moba();
    vmoba(TENON_KV_SELECT_HEAD);
    vmoba(TENON_KV_SELECT_ROW);
    seer();
    biformer();
    adaspa();
    pbs();
    proxy();
    topk();
}

int main(void)
{
    return catalog_devices(catalog);
}
