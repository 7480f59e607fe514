/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published layers of linear attention with delta rules, each against its paper's recurrence; and streaming: all
 * splits of a sequence into calls that carry the state. */
#include "catalog_linear_attention.h"

/* ---- delta rules: S [V,K] and from the right, as their papers have them ---- */

/* decay[t][h][c] of channel c. */
static void delta_rule(const double *decay)
{
    double s[H][V][K] = {{{0}}};
    for (int i = 0; i < T * H; i++) {
        double (*m)[K] = s[i % H];
        const float *key = k + i * K;
        const double b = (double)beta[i];
        for (int y = 0; y < V; y++) {
            double row[K], held = 0;
            for (int x = 0; x < K; x++)
                m[y][x] *= decay[i * K + x];
            for (int x = 0; x < K; x++)
                held += m[y][x] * (double)key[x];
            for (int x = 0; x < K; x++) /* S (I - beta k k^T) + beta v k^T */
                row[x] = m[y][x] - b * held * (double)key[x] + b * (double)val[i * V + y] * (double)key[x];
            memcpy(m[y], row, sizeof row);
            want[i * V + y] = 0;
            for (int x = 0; x < K; x++)
                want[i * V + y] += m[y][x] * (double)q[i * K + x] / sqrt(K);
        }
    }
}

static void begin_delta(uint64_t seed)
{
    begin(seed);
    unit(q);
    unit(k);
    p.update = L(DELTA);
    SET(BETA, beta, 1, T, H);
}

/* beta = sigmoid(..), or twice that: negative eigenvalues; q and k of unit length. */
static void deltanet(void)
{
    double decay[NK];
    begin_delta(31);
    for (int i = 0; i < NK; i++)
        decay[i] = 1;
    delta_rule(decay);
    gives_want("DeltaNet");
    for (int i = 0; i < T * H; i++)
        beta[i] *= 2;
    delta_rule(decay);
    gives_want("DeltaNet with negative eigenvalues");
}

/* g = -exp(A_log) softplus(a + dt_bias): TOKEN, LOG. */
static void gated_deltanet(void)
{
    double decay[NK];
    float g[T * H];
    begin_delta(32);
    for (int i = 0; i < T * H; i++)
        g[i] = (float)(-exp(0.4) * log1p(exp((double)a[i] - 1)));
    for (int i = 0; i < NK; i++)
        decay[i] = exp((double)g[i / K]);
    p.decay = L(TOKEN);
    p.decay_form = L(LOG);
    SET(DECAY, g, 1, T, H);
    delta_rule(decay);
    gives_want("Gated DeltaNet");
}

/* The same of each channel, or -5 sigmoid(exp(A_log) (f + b)): KEY, LOG. */
static void kimi(void)
{
    double decay[NK];
    for (int bounded = 0; bounded < 2; bounded++) {
        begin_delta(33);
        for (int i = 0; i < NK; i++) {
            const double x = (double)a[i];
            a[i] = (float)(bounded ? -5 * sigmoid(exp(0.4) * (x - 2)) : -exp(0.4) * log1p(exp(x - 1)));
            decay[i] = exp((double)a[i]);
        }
        p.decay = L(KEY);
        p.decay_form = L(LOG);
        SET(DECAY, a, 1, T, H, K);
        delta_rule(decay);
        gives_want(bounded ? "Kimi delta attention, bounded gates" : "Kimi delta attention");
    }
}

/* ---- streaming ---- */

static float state[2 * H * K * V], norm_state[2 * H * K], whole[NV], whole_state[H * K * V], whole_norm[H * K];

/* One call on tokens from .. end; the states in place, those of even pieces into other memory. */
static int piece(int from, int end, int n)
{
    const int64_t t = end - from;
    float *s[2] = {state, state + H * K * V}, *z[2] = {norm_state, norm_state + H * K};
    const int in = n / 2 % 2, out = (n + 1) / 2 % 2;
    SET(Q, q + from * H * K, 1, t, H, K);
    SET(K, k + from * H * K, 1, t, H, K);
    SET(V, val + from * H * V, 1, t, H, V);
    SET(O, o + from * H * V, 1, t, H, V);
    SET(STATE, s[in], 1, H, K, V);
    SET(STATE_OUT, s[out], 1, H, K, V);
    if (p.norm) {
        SET(NORM_STATE, z[in], 1, H, K);
        SET(NORM_STATE_OUT, z[out], 1, H, K);
    }
    if (p.decay == L(TOKEN))
        SET(DECAY, a + from * H, 1, t, H);
    else if (p.decay == L(HEAD))
        SET(DECAY, a, H);
    else if (p.decay)
        SET(DECAY, a + from * H * (p.decay == L(KEY) ? K : V), 1, t, H, p.decay == L(KEY) ? K : V);
    if (p.update == L(DELTA))
        SET(BETA, beta + from * H, 1, t, H);
    return tenon_run(catalog_context, TENON_OPNUM_linear_attention, &p, v, L(N_TENSORS)) == TENON_OK ? out : -1;
}

/* The sequence in pieces that end at ends[0..n-1]; the state that the last one leaves, or -1. */
static int stream(const int *ends, int n, const float *first, const float *first_norm)
{
    int from = 0, last = 0;
    for (int i = 0; i < N; i++)
        o[i] = NAN;
    memcpy(state, first, H * K * V * sizeof(float));
    memcpy(norm_state, first_norm, H * K * sizeof(float));
    for (int i = 0; i < n && last >= 0; i++) {
        last = piece(from, ends[i], i);
        from = ends[i];
    }
    return last;
}

/* Cuts at random tokens, multiples of `step`; the last piece ends with the sequence. */
static int random_cuts(int *ends, int most, int step)
{
    const int n = 1 + (int)(catalog_uniform() * most);
    for (int i = 0; i < n; i++)
        ends[i] = (int)(catalog_uniform() * (T / step + 1)) * step;
    for (int i = 1; i < n; i++) /* in order; equal ones are empty pieces */
        for (int j = i; j > 0 && ends[j - 1] > ends[j]; j--) {
            const int end = ends[j];
            ends[j] = ends[j - 1];
            ends[j - 1] = end;
        }
    ends[n] = T;
    return n + 1;
}

/* 0: other bits or, with `near`, further off than rounding. */
static int is_whole(int last, int near)
{
    const float *s = state + (last > 0 ? H * K * V : 0), *z = norm_state + (last > 0 ? H * K : 0);
    int good = last >= 0;
    if (!near)
        return good && memcmp(o, whole, sizeof whole) == 0 && memcmp(s, whole_state, sizeof whole_state) == 0 &&
               (!p.norm || memcmp(z, whole_norm, sizeof whole_norm) == 0);
    for (int i = 0; i < N; i++)
        good &= catalog_close((double)o[i], (double)whole[i]);
    for (int i = 0; i < H * K * V; i++)
        good &= catalog_close((double)s[i], (double)whole_state[i]);
    return good;
}

/* Splits of one kind of call: `step` 0: any, within rounding; else bit for bit. */
static int splits(uint32_t mode, int step, const float *first, const float *first_norm)
{
    int ends[T + 2], good = 1, last;
    p.mode = mode;
    last = stream((int[]){T}, 1, first, first_norm);
    if (last < 0)
        return 0;
    memcpy(whole, o, sizeof whole);
    memcpy(whole_state, state + last * H * K * V, sizeof whole_state);
    memcpy(whole_norm, norm_state + last * H * K, sizeof whole_norm);
    for (int i = 0; i < 6; i++) {
        const int n = random_cuts(ends, 5, step ? step : 1);
        good &= is_whole(stream(ends, n, first, first_norm), step == 0);
    }
    for (int i = 0; step == 1 && i < T; i++) /* token by token */
        ends[i] = i + 1;
    return good && (step != 1 || is_whole(stream(ends, T, first, first_norm), 0));
}

static void streaming(void)
{
    static const char *const decays[] = {"none", "head", "token", "key", "value"};
    static const char *const reads[] = {"inclusive", "exclusive", "group"};
    static const char *const norms[] = {"none", "sum", "max1"};
    float first[H * K * V], first_norm[H * K];
    int wrong = 0, calls = 0;
    for (uint32_t i = 0; i < 5 * 2 * 3 * 3; i++) {
        const uint32_t decay = i % 5, delta = i / 5 % 2, read = i / 10 % 3, norm = i / 30;
        if ((delta && (norm || decay == L(VALUE))) || (decay == L(VALUE) && norm))
            continue;
        begin(400 + i);
        if (delta)
            unit(k);
        for (int j = 0; j < NK; j++) { /* features and gates */
            q[j] = norm ? fabsf(q[j]) : q[j];
            k[j] = norm ? fabsf(k[j]) : k[j];
            a[j] = a[j] > 1.8f ? 0 : (float)sigmoid(2 + (double)a[j]);
        }
        for (int j = 0; j < H * K * V; j++)
            first[j] = (float)(0.1 * catalog_normal());
        for (int j = 0; j < H * K; j++)
            first_norm[j] = (float)catalog_uniform();
        p.decay = decay;
        p.update = delta;
        p.read = read;
        p.norm = norm;
        p.group = 4;
        const int any = splits(L(RECURRENT), read == L(GROUP) ? 4 : 1, first, first_norm);
        const int chunks = read == L(GROUP) || splits(L(CHUNKED), 16, first, first_norm);
        const int near = read == L(GROUP) || splits(L(CHUNKED), 0, first, first_norm);
        calls++;
        wrong += !any || !chunks || !near;
        if (!any || !chunks || !near)
            tap_note("%s, decay %s, %s, read %s, norm %s: recurrent %s, whole chunks %s, chunks %s %s", catalog_device,
                     decays[decay], delta ? "delta" : "add", reads[read], norms[norm], any ? "same" : "other bits",
                     chunks ? "same" : "other bits", near ? "near" : "off", tenon_error());
    }
    ok(wrong == 0 && calls > 30, "%s: %d kinds of calls stream: any split gives the whole call's bits", catalog_device,
       calls);
}

static void systems(void)
{
    deltanet();
    gated_deltanet();
    kimi();
    streaming();
}

int main(void)
{
    return catalog_devices(systems);
}
