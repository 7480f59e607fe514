/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published attentions around softmax, continued: other weights, biases, quantised and permuted keys. */
#include "catalog_attention.h"

static int visible(const double *s)
{
    int n = 0;
    for (int j = 0; j < T; j++)
        n += isfinite(s[j]);
    return n;
}

/* ---- sigmoid ---- */

static float slope[HQ];

static double with_alibi(int i, int h, int j)
{
    return causal(i, h, j) + (j <= i ? (double)slope[h] * (j - i) : 0);
}

static void sigmoids(const double *s, double *share, int i, int h)
{
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        share[j] = 1 / (1 + exp(-(s[j] - log(T))));
}

static void sigmoid(void)
{
    begin(A(SIGMOID), A(NONE));
    p.bias = -logf(T);
    gives("Sigmoid attention", causal, sigmoids);
    for (int h = 0; h < HQ; h++)
        slope[h] = (float)pow(2, -8.0 * (h + 1) / HQ);
    SET(SLOPE, slope, TENON_F32, HQ);
    gives("FlashSigmoid with ALiBi", with_alibi, sigmoids);
    begin(A(EXP), A(SUM));
    SET(SLOPE, slope, TENON_F32, HQ);
    gives("ALiBi", with_alibi, softmax);
}

/* ---- softpick, MPCViT, MPCFormer, FLASH ---- */

static void picked(const double *s, double *share, int i, int h)
{
    double Z = 0;
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        Z += isfinite(s[j]) ? fabs(exp(s[j]) - 1) : 0;
    for (int j = 0; j < T; j++)
        share[j] = isfinite(s[j]) ? fmax(exp(s[j]) - 1, 0) / Z : 0;
}

static void rectified(const double *s, double *share, int i, int h)
{
    double Z = 1e-5;
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        Z += fmax(s[j], 0);
    for (int j = 0; j < T; j++)
        share[j] = fmax(s[j], 0) / Z;
}

static void scaled(const double *s, double *share, int i, int h)
{
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        share[j] = isfinite(s[j]) ? s[j] / visible(s) : 0;
}

static void squared(const double *s, double *share, int i, int h)
{
    double Z = 0;
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        Z += isfinite(s[j]) ? (s[j] + 5) * (s[j] + 5) : 0;
    for (int j = 0; j < T; j++)
        share[j] = isfinite(s[j]) ? (s[j] + 5) * (s[j] + 5) / Z : 0;
}

/* Groups of four tokens, scale 1/4. */
static double own_group(int i, int h, int j)
{
    return i / 4 == j / 4 ? dot(i, h, j) / 4 : -(double)INFINITY;
}

static void relu_squared(const double *s, double *share, int i, int h)
{
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        share[j] = s[j] > 0 ? s[j] * s[j] : 0;
}

static void without_exp(void)
{
    int32_t bounds[T * 2];
    begin(A(SOFTPICK), A(SUM));
    gives("Softpick", causal, picked);
    begin(A(RELU), A(SUM));
    p.norm_eps = 1e-5f;
    gives("MPCViT: ReLU softmax attention", causal, rectified);
    begin(A(LINEAR), A(COUNT));
    gives("MPCViT: scaling attention", causal, scaled);
    begin(A(QUAD), A(SUM));
    gives("MPCFormer: 2Quad", causal, squared);
    begin(A(RELU2), A(NONE));
    p.causal = 0;
    p.scale = 0.25f;
    for (int i = 0; i < T; i++) {
        bounds[2 * i] = i / 4 * 4;
        bounds[2 * i + 1] = i / 4 * 4 + 4;
    }
    SET(BOUNDS, bounds, TENON_I32, 1, T, 2);
    gives("FLASH, MossFormer2: squared ReLU within groups", own_group, relu_squared);
}

/* ---- the expressiveness of softmax: capped exponentials without their sum ---- */

static double capped(int i, int h, int j)
{
    return fmin(causal(i, h, j), 1.25);
}

static void plain_exp(const double *s, double *share, int i, int h)
{
    (void)i;
    (void)h;
    for (int j = 0; j < T; j++)
        share[j] = exp(s[j]);
}

static void mean_exp(const double *s, double *share, int i, int h)
{
    plain_exp(s, share, i, h);
    for (int j = 0; j < T; j++)
        share[j] /= visible(s);
}

static void expressiveness(void)
{
    begin(A(EXP), A(NONE));
    p.smax = 1.25f;
    gives("On the Expressiveness of Softmax Attention: no denominator", capped, plain_exp);
    begin(A(EXP), A(COUNT));
    p.smax = 1.25f;
    gives("On the Expressiveness of Softmax Attention: divided by length", capped, mean_exp);
}

/* ---- forgetting attention ---- */

static float fcum[T * HQ];

static double forgetting(int i, int h, int j)
{
    return causal(i, h, j) + (j <= i ? (double)fcum[i * HQ + h] - (double)fcum[j * HQ + h] : 0);
}

static void forget(void)
{
    begin(A(EXP), A(SUM));
    for (int i = 0; i < T * HQ; i++) /* sums of log sigmoid */
        fcum[i] = (float)((i >= HQ ? (double)fcum[i - HQ] : 0) - log1p(exp(-catalog_normal() - 1)));
    SET(FCUM, fcum, TENON_F32, 1, T, HQ);
    SET(FCUM_K, fcum, TENON_F32, 1, T, HQ);
    gives("Forgetting attention", forgetting, softmax);
}

/* ---- keys that are gone, in another order, or in codes ---- */

static uint32_t keep[HK];

static double kept(int i, int h, int j)
{
    return keep[h / (HQ / HK)] >> j & 1 ? causal(i, h, j) : -(double)INFINITY;
}

static void eviction(void)
{
    begin(A(EXP), A(SUM));
    for (int h = 0; h < HK; h++)
        keep[h] = 1;
    for (int j = 1; j < T; j++)
        for (int h = 0; h < HK; h++)
            keep[h] |= (uint32_t)(catalog_normal() > 0) << j;
    SET(KEEP, keep, TENON_U32, 1, HK, 1);
    gives("Attention-Gate: keep bits a head", kept, softmax);
}

/* PBS-Attn: keys and values in another order, their positions beside them: the same attention. */
static void permuted(void)
{
    float other_k[NK], other_v[NK];
    int32_t kpos[T];
    begin(A(EXP), A(SUM));
    for (int j = 0; j < T; j++) {
        kpos[j] = j * 7 % T;
        memcpy(other_k + j * HK * D, k + kpos[j] * HK * D, sizeof(float) * HK * D);
        memcpy(other_v + j * HK * D, val + kpos[j] * HK * D, sizeof(float) * HK * D);
    }
    SET(K, other_k, TENON_F32, 1, T, HK, D);
    SET(V, other_v, TENON_F32, 1, T, HK, D);
    SET(KPOS, kpos, TENON_I32, 1, T);
    gives("PBS-Attn: permuted keys", causal, softmax);
}

/* KVQuant: two codes of four bits a byte, from tables that are not uniform; keys a channel, values a token. */
static void kvquant(void)
{
    static const float table[16] = {-1,    -0.7f, -0.52f, -0.4f, -0.28f, -0.18f, -0.1f, -0.02f,
                                    0.05f, 0.12f, 0.2f,   0.3f,  0.43f,  0.56f,  0.74f, 1};
    unsigned char codes[2][NK / 2];
    float by_channel[HK * D * 2], by_token[T * HK * 2];
    begin(A(EXP), A(SUM));
    p.quant_k = A(LUT_CHANNEL);
    p.quant_v = A(LUT_TOKEN);
    p.k_bits = p.v_bits = 4;
    for (int i = 0; i < HK * D * 2; i++)
        by_channel[i] = (float)(i % 2 ? 0.1 * catalog_normal() : 1.5 + catalog_uniform());
    for (int i = 0; i < T * HK * 2; i++)
        by_token[i] = (float)(i % 2 ? 0.1 * catalog_normal() : 1.5 + catalog_uniform());
    memset(codes, 0, sizeof codes);
    for (int i = 0; i < NK; i++)
        for (int which = 0; which < 2; which++) {
            const int code = (int)(16 * catalog_uniform());
            const float *pair = which ? by_token + i / D * 2 : by_channel + i % (HK * D) * 2;
            codes[which][i / 2] |= (unsigned char)(code << i % 2 * 4);
            (which ? val : k)[i] = (float)((double)table[code] * (double)pair[0] + (double)pair[1]);
        }
    SET(K, codes[0], TENON_U8, 1, T, HK, D / 2);
    SET(V, codes[1], TENON_U8, 1, T, HK, D / 2);
    SET(K_QUANT, by_channel, TENON_F32, HK, D, 2);
    SET(V_QUANT, by_token, TENON_F32, 1, T, HK, 1, 2);
    SET(K_TABLE, (void *)(uintptr_t)table, TENON_F32, 16);
    SET(V_TABLE, (void *)(uintptr_t)table, TENON_F32, 16);
    gives("KVQuant: tables of codes", causal, softmax);
}

/* Gated Associative Memory: a bank of vectors that are keys and values at once. */
static double bank(int i, int h, int j)
{
    return dot(i, h, j);
}

static void memory(void)
{
    begin(A(EXP), A(SUM));
    p.causal = 0;
    p.scale = 1;
    memcpy(val, k, sizeof val);
    gives("Gated Associative Memory: reading the bank", bank, softmax);
}

static void catalog(void)
{
    sigmoid();
    without_exp();
    expressiveness();
    forget();
    eviction();
    permuted();
    kvquant();
    memory();
}

int main(void)
{
    return catalog_devices(catalog);
}
