/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published routing rules up to DeepSeek-V3, each built from moe_route's attributes, on every device; and the golden
 * vectors of the specification, bit by bit. */
#include "catalog_moe_route.h"

static float balance[1];
static int32_t count[EXPERTS];

static void bits_are(const float *got, const uint32_t *bits, int n, const char *name)
{
    int wrong = 0;
    for (int i = 0; i < n; i++) {
        uint32_t own;
        memcpy(&own, &got[i], sizeof own);
        wrong += own != bits[i];
    }
    if (!is_int(wrong, 0, "%s: %s: the bits", catalog_device, name))
        for (int i = 0; i < n; i++)
            tap_note("%a", (double)got[i]);
}

/* ---- golden vectors ---- */

static void golden(void)
{
    static const float rows[3][4] = {{2, 1, 0, 1}, {0, 0, 0, 0}, {-1, 3, 2.5f, 0}};
    static const int32_t experts_of[6] = {0, 1, 0, 1, 1, 2};
    static const double weights[6] = {0.731058579, 0.268941421, 0.5, 0.5, 0.622459331, 0.377540669};
    static const uint32_t weight_bits[6] = {0x3f3b26a8, 0x3e89b2b1, 0x3f000000, 0x3f000000, 0x3f1f597f, 0x3ec14d03};
    begin(0, 3, 4, 2);
    memcpy(logits, rows, sizeof rows);
    memcpy(want_idx, experts_of, sizeof experts_of);
    memcpy(want, weights, sizeof weights);
    p.norm = R(NORM_SOFTMAX_SEL);
    gives_want("golden TOPK(2) SOFTMAX_SEL");
    bits_are(w, weight_bits, 6, "golden TOPK(2) SOFTMAX_SEL");
}

static void golden_noise(void)
{
    static const uint32_t gumbel[4] = {0x3dadb63f, 0x4003f241, 0x3f973102, 0x3f308fa0};
    begin(0, 1, 4, 4);
    memset(logits, 0, sizeof logits);
    p.score = R(IDENTITY);
    p.select = R(ALL);
    p.noise = R(NOISE_GUMBEL);
    if (runs("golden Gumbel noise"))
        bits_are(w, gumbel, 4, "golden Gumbel noise");
    begin(0, 1, 8, 1);
    p.select = R(RANDOM);
    p.weight_src = R(WEIGHT_ONE);
    if (runs("golden random expert"))
        is_int(idx[0], 3, "%s: the golden random expert of 8", catalog_device);
}

/* ---- the catalog ---- */

static void b1(void)
{
    double aux = 0, f[EXPERTS] = {0}, mean[EXPERTS] = {0};
    begin(1, TOKENS, EXPERTS, 1);
    want_topk(0, 1);
    for (int64_t t = 0; t < tokens; t++) {
        double s[EXPERTS];
        softmax_of(t, s);
        f[want_idx[t]] += 1.0 / TOKENS;
        for (int64_t e = 0; e < experts; e++)
            mean[e] += s[e] / TOKENS;
    }
    for (int64_t e = 0; e < experts; e++)
        aux += EXPERTS * f[e] * mean[e];
    v[R(AUX)] = tenon_value_host(balance, TENON_F32, 1, (int64_t[]){1});
    gives_want("B1 Switch");
    ok(catalog_close((double)balance[0], aux), "%s: B1 Switch: the balancing loss", catalog_device);
}

static void b2(void)
{
    begin(2, TOKENS, EXPERTS, 2);
    p.aux_rule = R(AUX_GSHARD);
    want_topk(0, 1);
    gives_want("B2 GShard top-2");
    p.noise = R(NOISE_GUMBEL);
    p.noise_use = R(NOISE_SECOND_ONLY);
    p.seed = 5;
    if (!runs("B2 GShard, second choice sampled"))
        return;
    int wrong = 0;
    for (int64_t t = 0; t < tokens; t++) {
        double s[EXPERTS];
        softmax_of(t, s);
        wrong += idx[2 * t] != want_idx[2 * t] || idx[2 * t + 1] == idx[2 * t] || idx[2 * t + 1] < 0 ||
                 !catalog_close((double)w[2 * t + 1], s[idx[2 * t + 1] & 7]);
    }
    is_int(wrong, 0, "%s: B2 GShard: the first choice has no noise, weights neither", catalog_device);
}

static void b3(void)
{
    begin(3, TOKENS, EXPERTS, 2);
    want_topk(1, 1);
    p.norm = R(NORM_SOFTMAX_SEL);
    gives_want("B3 Mixtral");
    p.norm = R(NORM_SUM);
    gives_want("B3 top-k, then the sum: the same");
}

static void b4_b5(void)
{
    begin(4, TOKENS, EXPERTS, 3);
    p.scale = 16;
    want_topk(0, 16);
    gives_want("B4 softmax, top-k, no renormalisation");
    begin(5, TOKENS, EXPERTS, 2);
    p.inv_temp = 0.25f;
    want_topk(0, 1);
    gives_want("B5 temperature gate");
}

static void b6(void)
{
    begin(6, TOKENS, EXPERTS, EXPERTS);
    p.inv_temp = 2;
    p.select = R(THRESH);
    p.thresh = 0.001f;
    for (int64_t t = 0; t < tokens; t++) {
        double s[EXPERTS];
        int64_t at = t * EXPERTS;
        softmax_of(t, s);
        for (int32_t e = 0; e < EXPERTS; e++)
            if (s[e] > 0.001) {
                want_idx[at] = e;
                want[at++] = s[e];
            }
    }
    gives_want("B6 EvoMoE's dense-to-sparse gate");
}

static void b7(void)
{
    begin(7, TOKENS, EXPERTS, 3);
    p.score = R(SIGMOID);
    p.norm = R(NORM_SUM);
    want_topk(0, 1);
    for (int64_t t = 0; t < tokens; t++) {
        double all = 0;
        for (int j = 0; j < 3; j++)
            all += sigmoid_of(logits[t * EXPERTS + want_idx[t * 3 + j]]);
        for (int j = 0; j < 3; j++)
            want[t * 3 + j] = sigmoid_of(logits[t * EXPERTS + want_idx[t * 3 + j]]) / all;
    }
    gives_want("B7 normalised sigmoid");
}

/* Groups of two, the best by the sum of both (V3) or the better (V2). */
static void want_groups(const float *bias, int sum, uint32_t kept)
{
    for (int64_t t = 0; t < tokens; t++) {
        double c[EXPERTS], gs[EXPERTS], all = 0;
        int32_t group[EXPERTS], *best = want_idx + t * (int64_t)p.k;
        for (int e = 0; e < EXPERTS; e++)
            c[e] = bias ? sigmoid_of(logits[t * EXPERTS + e]) + (double)bias[e] : (double)logits[t * EXPERTS + e];
        for (int e = 0; e < EXPERTS; e++)
            gs[e] = e >= 4 ? -(double)INFINITY
                    : sum  ? c[2 * e] + c[2 * e + 1]
                           : fmax(c[2 * e], c[2 * e + 1]);
        best_of(gs, kept, group);
        for (int e = 0; e < EXPERTS; e++) {
            int in = 0;
            for (uint32_t i = 0; i < kept; i++)
                in |= group[i] == e / 2;
            c[e] = in ? c[e] : -(double)INFINITY;
        }
        best_of(c, p.k, best);
        double s[EXPERTS];
        softmax_of(t, s);
        for (int e = 0; bias && e < EXPERTS; e++)
            s[e] = sigmoid_of(logits[t * EXPERTS + e]);
        for (uint32_t j = 0; j < p.k; j++)
            all += s[best[j]];
        for (uint32_t j = 0; j < p.k; j++)
            want[t * (int64_t)p.k + j] = s[best[j]] / (bias ? all : 1) * (double)p.scale;
    }
}

static void b8(void)
{
    static float bias[EXPERTS] = {-0.5f, 0.25f, -1, -0.75f, -0.25f, -0.5f, 0, -1.5f}; /* below 0: 0 is no mask */
    begin(8, TOKENS, EXPERTS, 3);
    p.n_group = 4;
    p.topk_group = 2;
    p.scale = 16;
    want_groups(NULL, 0, 2);
    gives_want("B8 DeepSeek-V2");
    begin(9, TOKENS, EXPERTS, 3);
    p.score = R(SIGMOID);
    p.n_group = 4;
    p.topk_group = 2;
    p.gscore = R(GSCORE_TOPN_SUM);
    p.gscore_n = 2;
    p.norm = R(NORM_SUM);
    p.scale = 2.5f;
    v[R(CORR_BIAS)] = tenon_value_host(bias, TENON_F32, 1, (int64_t[]){EXPERTS});
    want_groups(bias, 1, 2);
    gives_want("B8 DeepSeek-V3");
}

/* NaN logits of padded tokens made kernels return one expert again and again, or none that exists. */
static void nan_rows(void)
{
    int wrong = 0;
    begin(23, TOKENS, EXPERTS, 4);
    for (int t = 0; t < TOKENS; t += 2)
        for (int e = 0; e < EXPERTS; e++)
            logits[t * EXPERTS + e] = t % 4 ? NAN : e % 3 ? NAN : logits[t * EXPERTS + e];
    v[R(CNT_K)] = tenon_value_host(count, TENON_I32, 1, (int64_t[]){EXPERTS});
    if (!runs("NaN logits"))
        return;
    for (int t = 0; t < TOKENS; t++)
        for (int j = 0; j < 4; j++) {
            wrong += idx[t * 4 + j] < 0 || idx[t * 4 + j] >= EXPERTS || (t % 2 == 0) != isnan(w[t * 4 + j]);
            for (int i = 0; i < j; i++)
                wrong += idx[t * 4 + i] == idx[t * 4 + j];
        }
    is_int(wrong, 0, "%s: NaN logits: experts are distinct and exist, weights are NaN", catalog_device);
}

static void catalog(void)
{
    golden();
    golden_noise();
    b1();
    b2();
    b3();
    b4_b5();
    b6();
    b7();
    b8();
    nan_rows();
}

int main(void)
{
    return catalog_devices(catalog);
}
