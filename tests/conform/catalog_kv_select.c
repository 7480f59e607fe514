/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Published sparse attentions: their lists, from attributes of kv_select, and attention over these. */
#include <tenon/ops/linear.h>

#include "catalog_kv_select.h"

/* MoBA: blocks' mean keys; the own block has score infinity, later ones minus infinity; the 3 best. */
static void moba(void)
{
    begin(32);
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
    gives(H, 1, BLOCK, 0, "MoBA");
}

/* BiFormer: an image of 8 x 8 in windows of 2 x 4, which become neighbours; means of windows over all channels, the 3
 * best windows of each, no causality; the scale is that of the full width. (The depthwise convolution of v that the
 * layer adds is no attention.) */
static void biformer(void)
{
    int place[T];
    begin(33);
    for (int t = 0; t < T; t++) {
        const int y = t / 8, x = t % 8;
        place[(y / 2 * 2 + x / 4) * 8 + y % 2 * 4 + x % 4] = t;
    }
    reorder(place);
    p.share = KS(ALL_HEADS);
    p.k = 3;
    for (int i = 0; i < NK; i++) {
        for (int j = 0; j < NK; j++)
            s[0][i][j] = pooled(0, i, BLOCK, j, BLOCK) + pooled(1, i, BLOCK, j, BLOCK);
        best(0, i, NK, 3);
    }
    gives(1, BLOCK, BLOCK, 1 / sqrt(H * D), "BiFormer");
}

/* ---- AdaSpa ---- */

static double lnz_was[H][T];

/* Dense attention of an earlier step leaves lnz; since then q and k have moved a little. */
static void earlier_step(void)
{
    struct tenon_value x[TENON_ATTENTION_N_TENSORS];
    double z[T], w[T];
    memset(x, 0, sizeof x);
    memcpy(x, tokens, sizeof tokens);
    x[TENON_ATTENTION_O] = put(NULL, TENON_F32, DIMS(1, T, H, D));
    x[TENON_ATTENTION_LNZ] = v[KS(LNZ)] = put(NULL, TENON_F32, DIMS(1, T, H));
    call(TENON_OPNUM_attention, NULL, x, TENON_ATTENTION_N_TENSORS, "AdaSpa's dense step");
    for (int h = 0; h < H; h++)
        for (int t = 0; t < T; t++) {
            for (int u = 0; u < T; u++)
                z[u] = product(h, t, u) / sqrt(D);
            lnz_was[h][t] = catalog_exp_weights(z, w, T);
        }
    for (int i = 0; i < N; i++) {
        q[i] += (float)(0.125 * catalog_normal());
        k[i] += (float)(0.125 * catalog_normal());
    }
    v[KS(Q)] = tokens[0] = put(q, TENON_F32, DIMS(1, T, H, D));
    v[KS(K)] = tokens[1] = put(k, TENON_F32, DIMS(1, T, H, D));
}

/* AdaSpa: of each head the pairs of blocks with the most probability, with an earlier step's lnz: 20 of them; or, what
 * makes budgets of heads differ, until three quarters of all. */
static void adaspa(int adaptive)
{
    begin(34);
    earlier_step();
    for (int h = 0; h < H; h++) {
        double total = 0, sum = 0;
        memset(s[h], 0, sizeof s[h]);
        for (int t = 0; t < T; t++)
            for (int u = 0; u < T; u++) {
                const double mass = exp(product(h, t, u) / sqrt(D) - lnz_was[h][t]);
                s[h][t / BLOCK][u / BLOCK] += mass;
                total += mass;
            }
        for (int taken = 0; adaptive ? sum < 0.75 * total : taken < 20; taken++) {
            int row = 0;
            for (int i = 1; i < NK; i++)
                if (s[h][i][best_left(h, i, NK)] > s[h][row][best_left(h, row, NK)])
                    row = i;
            const int at = best_left(h, row, NK);
            want[h][row][at] = 1;
            sum += s[h][row][at];
        }
    }
    p.score = KS(PROB_MASS);
    p.scope = KS(HEAD);
    if (adaptive) {
        p.rule = KS(CUMUL);
        p.tau = 0.75f;
    } else {
        p.k = 20;
    }
    gives(H, BLOCK, BLOCK, 0, adaptive ? "AdaSpa, budgets by mass" : "AdaSpa");
}

/* ---- ProxyAttn ---- */

/* The mean of a token's heads: a product with ones / H. */
static struct tenon_value mean_of_heads(const struct tenon_value *x)
{
    float mean[D * H * D];
    struct tenon_value w[TENON_LINEAR_N_TENSORS], y = put(NULL, TENON_F32, DIMS(1, T, 1, D));
    for (int i = 0; i < D * H * D; i++)
        mean[i] = i / (H * D) == i % D ? 1.0f / H : 0;
    memset(w, 0, sizeof w);
    w[TENON_LINEAR_X] = view(x, 0, 2, (int64_t[]){T, H * D}, (int64_t[]){H * D, 1});
    w[TENON_LINEAR_W] = put(mean, TENON_F32, DIMS(D, H * D));
    w[TENON_LINEAR_Y] = view(&y, 0, 2, (int64_t[]){T, D}, (int64_t[]){D, 1});
    call(TENON_OPNUM_linear, NULL, w, TENON_LINEAR_N_TENSORS, "ProxyAttn's mean of heads");
    return y;
}

static double proxy_product(int t, int u)
{
    double sum = 0;
    for (int d = 0; d < D; d++)
        sum += (element_q(t, 0, d) + element_q(t, 1, d)) / 2 * (element_k(u, 0, d) + element_k(u, 1, d)) / 2;
    return sum;
}

/* As many blocks as the last block of queries needs for 7/8 of its probability among blocks. */
static void budgets(int *budget)
{
    p.score = KS(SOFTMAX_POOLED);
    p.rule = KS(CUMUL);
    p.tau = 0.875f;
    v[KS(Q)] = view(&tokens[0], (T - BLOCK) * H * D, DIMS(1, BLOCK, H, D), (int64_t[]){N, H * D, D, 1});
    for (int h = 0; h < H; h++) {
        double total = 0, sum = 0;
        for (int j = 0; j < NK; j++)
            total += s[h][0][j] = exp(pooled(h, NK - 1, BLOCK, j, BLOCK) / sqrt(D));
        for (budget[h] = 0; sum < 0.875 * total; budget[h]++) {
            const int at = best_left(h, 0, NK);
            want[h][0][at] = 1;
            sum += s[h][0][at];
        }
    }
    lists_are(want, H, 1, NK, "ProxyAttn, budgets");
    memset(want, 0, sizeof want);
}

/* Blocks' scores by the largest product of each second token of the mean heads, for all heads. */
static struct tenon_value proxy_scores(void)
{
    const struct tenon_value scores = put(NULL, TENON_F32, DIMS(1, 1, NK, NK));
    for (int i = 0; i < NK; i++) {
        for (int j = 0; j <= i; j++) {
            s[0][i][j] = -1e30;
            for (int t = i * BLOCK; t < (i + 1) * BLOCK; t += 2)
                for (int u = j * BLOCK; u < (j + 1) * BLOCK && u <= t; u += 2)
                    s[0][i][j] = fmax(s[0][i][j], proxy_product(t, u));
        }
        best(0, i, i + 1, 2);
    }
    p.score = KS(MAX_TOKEN);
    p.stride = 2;
    p.rule = KS(TOPK);
    p.tau = 0;
    p.k = 2;
    v[KS(Q)] = mean_of_heads(&tokens[0]);
    v[KS(K)] = mean_of_heads(&tokens[1]);
    v[KS(SCORES_OUT)] = scores;
    lists_are(want, 1, NK, NK, "ProxyAttn, 2 blocks for all heads");
    attend(0, BLOCK, BLOCK, 0, "ProxyAttn, 2 blocks for all heads");
    outputs_are(1, BLOCK, BLOCK, 0, "ProxyAttn, 2 blocks for all heads");
    memset(want, 0, sizeof want);
    return scores;
}

/* ProxyAttn: all heads have the scores of their mean, each as many blocks as its own last queries need. */
static void proxy(void)
{
    int budget[H];
    begin(35);
    p.causal = 1;
    budgets(budget);
    const struct tenon_value scores = proxy_scores(), all[3] = {tokens[0], tokens[1], tokens[2]};
    memcpy(s[1], s[0], sizeof s[0]);
    memset(v, 0, sizeof v);
    v[KS(SCORES)] = scores;
    p.score = KS(EXTERNAL);
    p.stride = 1;
    p.q_len = p.k_len = T;
    for (int h = 0; h < H; h++) {
        for (int i = 0; i < NK; i++)
            best(h, i, i + 1, budget[h]);
        for (int i = 0; i < 3; i++)
            tokens[i] = view(&all[i], h * D, DIMS(1, T, 1, D), (int64_t[]){N, H * D, D, 1});
        p.k = (uint32_t)budget[h];
        lists_are(want + h, 1, NK, NK, "ProxyAttn, a head");
        attend(h * D, BLOCK, BLOCK, 0, "ProxyAttn, a head");
    }
    outputs_are(0, BLOCK, BLOCK, 0, "ProxyAttn");
}

/* Top-k attention: the 5 best keys of each query. */
static void topk(void)
{
    begin(36);
    for (int h = 0; h < H; h++)
        for (int t = 0; t < T; t++) {
            for (int u = 0; u < T; u++)
                s[h][t][u] = product(h, t, u);
            best(h, t, t + 1, 5);
        }
    p.block_q = p.block_k = 1;
    p.pool_q = p.pool_k = KS(POOL_NONE);
    p.causal = 1;
    p.k = 5;
    gives(H, 1, 1, 0, "top-k attention");
}

static void catalog(void)
{
    moba();
    biformer();
    adaspa(0);
    adaspa(1);
    proxy();
    topk();
    release();
}

int main(void)
{
    return catalog_devices(catalog);
}
