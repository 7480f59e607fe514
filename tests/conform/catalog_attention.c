/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published attentions around softmax, each built from the operator's attributes on every device that is there, and
 * compared with its paper's formula written out here in f64: what is seen, sinks, gates, temperatures. */
#include "catalog_attention.h"

static void sdpa(void)
{
    begin(A(EXP), A(SUM));
    gives("SDPA, FlashAttention", causal, softmax);
}

/* ---- windows ---- */

static double window(int i, int h, int j)
{
    return j > i - 4 ? causal(i, h, j) : -(double)INFINITY;
}

static double streaming(int i, int h, int j)
{
    return j < 2 || j > i - 4 ? causal(i, h, j) : -(double)INFINITY;
}

static void windows(void)
{
    begin(A(EXP), A(SUM));
    p.wl = 3; /* four keys, the query's own among them */
    gives("sliding window, grouped queries", window, softmax);
    p.n_sink = 2;
    gives("StreamingLLM: sinks and a window", streaming, softmax);
}

/* Decoding from a ring of two sinks and four slots: the last query, after eleven keys. */
static void ring(void)
{
    enum { SLOTS = 6 };
    float ring_k[SLOTS * HK * D], ring_v[SLOTS * HK * D];
    double want[N];
    int32_t len = T;
    begin(A(EXP), A(SUM));
    for (int position = 0; position < T; position++) {
        const int slot = position < 2 ? position : 2 + (position - 2) % 4;
        memcpy(ring_k + slot * HK * D, k + position * HK * D, sizeof(float) * HK * D);
        memcpy(ring_v + slot * HK * D, val + position * HK * D, sizeof(float) * HK * D);
    }
    p.ring = 1;
    p.n_sink = 2;
    SET(Q, q + (T - 1) * HQ * D, TENON_F32, 1, 1, HQ, D);
    SET(K, ring_k, TENON_F32, 1, SLOTS, HK, D);
    SET(V, ring_v, TENON_F32, 1, SLOTS, HK, D);
    SET(KV_LEN, &len, TENON_I32, 1);
    SET(O, o, TENON_F32, 1, 1, HQ, D);
    if (!run("StreamingLLM: a ring"))
        return;
    sums(want, streaming, softmax);
    catalog_are(o, want + (T - 1) * HQ * D, HQ * D, "StreamingLLM: a ring");
}

/* ---- long rows ---- */

/* One query over 2500 keys: FlashDecoding's splits; FlashDecoding++ with one maximum, whether it holds or not. */
static void decoding(void)
{
    enum { LONG = 2500 };
    static float long_k[LONG * D], long_v[LONG * D];
    double s[LONG], share[LONG], want[D];
    begin(A(EXP), A(SUM));
    for (int i = 0; i < LONG * D; i++) {
        long_k[i] = (float)(2 * catalog_normal());
        long_v[i] = (float)catalog_normal();
    }
    SET(Q, q, TENON_F32, 1, 1, 1, D);
    SET(K, long_k, TENON_F32, 1, LONG, 1, D);
    SET(V, long_v, TENON_F32, 1, LONG, 1, D);
    SET(O, o, TENON_F32, 1, 1, 1, D);
    for (int j = 0; j < LONG; j++) {
        s[j] = 0;
        for (int d = 0; d < D; d++)
            s[j] += (double)q[d] * (double)long_k[j * D + d] / sqrt(D);
    }
    catalog_exp_weights(s, share, LONG);
    for (int d = 0; d < D; d++) {
        want[d] = 0;
        for (int j = 0; j < LONG; j++)
            want[d] += share[j] * (double)long_v[j * D + d];
    }
    if (run("FlashDecoding"))
        catalog_are(o, want, D, "FlashDecoding: splits of keys");
    p.unified = 1;
    if (run("FlashDecoding++"))
        catalog_are(o, want, D, "FlashDecoding++: a unified maximum");
    p.phi = 30;
    p.phi_hi = -29;
    if (run("FlashDecoding++, recomputed"))
        catalog_are(o, want, D, "FlashDecoding++: a row beyond the range");
}

/* ---- sinks and clips ---- */

static float sink[HQ];

static void with_sink(const double *s, double *share, int i, int h)
{
    double Z = exp((double)sink[h]);
    (void)i;
    for (int j = 0; j < T; j++)
        Z += exp(s[j]);
    for (int j = 0; j < T; j++)
        share[j] = exp(s[j]) / Z;
}

/* Bondarenko et al.: clip((zeta - gamma) softmax + gamma, 0, 1). */
static void clipped(const double *s, double *share, int i, int h)
{
    softmax(s, share, i, h);
    for (int j = 0; j < T; j++)
        share[j] = fmin(fmax(1.1 * share[j] - 0.07, 0), 1);
}

static void sinks(void)
{
    begin(A(EXP), A(SINK));
    memset(sink, 0, sizeof sink);
    gives("softmax-1", causal, with_sink);
    for (int h = 0; h < HQ; h++)
        sink[h] = (float)catalog_normal();
    SET(SINK_LOGIT, sink, TENON_F32, HQ);
    gives("GPT-OSS: learned sinks", causal, with_sink);
    begin(A(EXP), A(SUM));
    p.post = A(POST_CLIP);
    p.clip_gamma = -0.07f;
    p.clip_zeta = 1.03f;
    gives("Quantizable Transformers: clipped softmax", causal, clipped);
}

/* ---- gates ---- */

static float gate[N];

static void gated(const char *name, int wide, double factor)
{
    double want[N];
    if (!run(name))
        return;
    sums(want, causal, softmax);
    for (int i = 0; i < N; i++)
        want[i] *= factor / (1 + exp(-(double)gate[wide ? i : i / D]));
    catalog_are(o, want, N, name);
}

static void gates(void)
{
    begin(A(EXP), A(SUM));
    for (int i = 0; i < N; i++)
        gate[i] = (float)catalog_normal();
    SET(GATE, gate, TENON_F32, 1, T, HQ, D);
    gated("Gated Attention, elementwise", 1, 1);
    SET(GATE, gate, TENON_F32, 1, T, HQ);
    gated("Gated Attention, headwise", 0, 1);
    p.gate_mul = 4;
    gated("Quantizable Transformers: gates with pi_init = 1/4", 0, 4);
}

/* ---- temperatures ---- */

static float temperature[T * HQ], amplitude[T * HK];

static double tempered(int i, int h, int j)
{
    return causal(i, h, j) * (j <= i ? (double)temperature[i * HQ + h] : 1);
}

static void amplified(const double *s, double *share, int i, int h)
{
    softmax(s, share, i, h);
    for (int j = 0; j < T; j++)
        share[j] *= (double)amplitude[j * HK + h / (HQ / HK)];
}

static void selective(void)
{
    begin(A(EXP), A(SUM));
    for (int i = 0; i < T * HQ; i++) /* tau_q tau_pos */
        temperature[i] = (float)(tanh(catalog_normal()) * (1 + exp(-exp(0.2)) * log(i / HQ + 1.0)));
    for (int i = 0; i < T * HK; i++)
        amplitude[i] = (float)(1 + tanh(catalog_normal()));
    SET(QTEMP, temperature, TENON_F32, 1, T, HQ);
    SET(VSCALE, amplitude, TENON_F32, 1, T, HK);
    gives("Selective Self-Attention", tempered, amplified);
}

/* Velickovic et al.: the entropy sharpens. */
static void sharpened(const double *s, double *share, int i, int h)
{
    double H = 0, beta = 1, sharp[T];
    softmax(s, share, i, h);
    for (int j = 0; j < T; j++)
        H -= share[j] > 0 ? share[j] * log(share[j]) : 0;
    if (H > 0.5)
        beta = fmax(-0.037 * pow(H, 4) + 0.481 * pow(H, 3) - 2.3 * pow(H, 2) + 4.917 * H - 1.791, 1);
    for (int j = 0; j < T; j++)
        sharp[j] = s[j] * beta;
    softmax(sharp, share, i, h);
}

static void not_enough(void)
{
    begin(A(EXP), A(SUM));
    p.adapt = 1;
    gives("softmax is not enough: adaptive temperature", causal, sharpened);
}

/* ---- Hopfield ---- */

/* xi becomes attention(xi, K, K) twice, and then reads V. */
static void hopfield(void)
{
    double state[N], want[N];
    begin(A(EXP), A(SUM));
    p.causal = 0;
    p.scale = 0.3f;
    for (int i = 0; i < N; i++)
        state[i] = (double)q[i];
    for (int step = 0; step < 3; step++) {
        const float *read = step < 2 ? k : val;
        SET(V, step < 2 ? k : val, TENON_F32, 1, T, HK, D);
        if (!run("Hopfield retrieval"))
            return;
        memcpy(q, o, sizeof q);
        for (int row = 0; row < T * HQ; row++) {
            const int hk = row % HQ / (HQ / HK);
            double s[T], share[T];
            for (int j = 0; j < T; j++) {
                s[j] = 0;
                for (int d = 0; d < D; d++)
                    s[j] += (double)p.scale * state[row * D + d] * (double)k[(j * HK + hk) * D + d];
            }
            catalog_exp_weights(s, share, T);
            for (int d = 0; d < D; d++) {
                want[row * D + d] = 0;
                for (int j = 0; j < T; j++)
                    want[row * D + d] += share[j] * (double)read[(j * HK + hk) * D + d];
            }
        }
        memcpy(state, want, sizeof state);
    }
    catalog_are(o, want, N, "Hopfield retrieval: two steps, then the values");
}

static void catalog(void)
{
    sdpa();
    windows();
    ring();
    decoding();
    sinks();
    gates();
    selective();
    not_enough();
    hopfield();
}

int main(void)
{
    return catalog_devices(catalog);
}
