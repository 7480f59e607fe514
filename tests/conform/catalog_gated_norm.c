/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The norms and gates of published layers, each as its paper or its code writes it. */
#include <tenon/ops/gated_norm.h>

#include "catalog.h"

#define G(NAME) TENON_GATED_NORM_##NAME
enum { ROWS = 5, HEADS = 3, V = 8, COLS = HEADS * V, N = ROWS * COLS };

static float x[N], gate[N], residual[N], b[N], gate_b[N], y[N], sum[N];
static float weight[COLS], bias[COLS], weight_b[COLS], importance[ROWS];
static double want[N];
static struct tenon_gated_norm_params p;
static struct tenon_value v[G(N_TENSORS)];

static void fill(float *to, int n, double mean, double scale)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)(mean + scale * catalog_normal());
}

static void set(uint32_t i, float *data)
{
    v[i] = tenon_value_host(data, TENON_F32, 2, (int64_t[]){ROWS, COLS});
}

static void set_list(uint32_t i, float *data, int n)
{
    v[i] = tenon_value_host(data, TENON_F32, 1, (int64_t[]){n});
}

static void begin(uint32_t norm, uint32_t act)
{
    catalog_seed(91);
    fill(x, N, 0.2, 1.5);
    fill(gate, N, 0, 2);
    fill(residual, N, 0, 1);
    fill(b, N, 0, 1.5);
    fill(gate_b, N, 0, 2);
    fill(weight, COLS, 1, 0.3);
    fill(weight_b, COLS, 1, 0.3);
    fill(bias, COLS, 0, 0.3);
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_gated_norm), &p);
    p.norm = norm;
    p.act = act;
    p.eps = 1e-5f;
    memset(v, 0, sizeof v);
    set(G(X), x);
    set(G(Y), y);
}

static void gives_want(const char *name)
{
    memset(y, 0xff, sizeof y); /* NaN: what another run left would do as well */
    if (is_int(tenon_run(catalog_context, TENON_OPNUM_gated_norm, &p, v, G(N_TENSORS)), TENON_OK, "%s: %s runs%s%s",
               catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error()))
        catalog_are(y, want, N, name);
}

static double sigmoid(double z)
{
    return 1 / (1 + exp(-z));
}

static double silu(double z)
{
    return z * sigmoid(z);
}

/* z / sqrt(mean z^2 + eps) of n entries, in place. */
static void rms(double *z, int n)
{
    double square = 0;
    for (int i = 0; i < n; i++)
        square += z[i] * z[i] / n;
    for (int i = 0; i < n; i++)
        z[i] /= sqrt(square + 1e-5);
}

static void layer(double *z, int n)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++)
        mean += z[i] / n;
    for (int i = 0; i < n; i++)
        square += (z[i] - mean) * (z[i] - mean) / n;
    for (int i = 0; i < n; i++)
        z[i] = (z[i] - mean) / sqrt(square + 1e-5);
}

/* want = of, by groups of n. */
static void norms(const float *of, void (*norm)(double *z, int n), int n)
{
    for (int i = 0; i < N; i++)
        want[i] = (double)of[i];
    for (int i = 0; i < N; i += n)
        norm(want + i, n);
}

/* ---- norms alone ---- */

static void plain_norms(void)
{
    begin(G(RMS), G(SILU));
    set_list(G(WEIGHT), weight, COLS);
    norms(x, rms, COLS);
    for (int i = 0; i < N; i++)
        want[i] *= (double)weight[i % COLS];
    gives_want("RMSNorm");
    p.weight_offset = 1;
    norms(x, rms, COLS);
    for (int i = 0; i < N; i++)
        want[i] *= 1 + (double)weight[i % COLS];
    gives_want("Gemma's RMSNorm, weights about 0");
    begin(G(RMS), G(SILU));
    norms(x, rms, COLS);
    gives_want("SRMS");
    begin(G(LAYER), G(SILU));
    set_list(G(WEIGHT), weight, COLS);
    set_list(G(BIAS), bias, COLS);
    norms(x, layer, COLS);
    for (int i = 0; i < N; i++)
        want[i] = want[i] * (double)weight[i % COLS] + (double)bias[i % COLS];
    gives_want("LayerNorm");
}

/* Keys and queries of DeltaNet; x / sqrt(sum x^2 + eps) of each head. */
static void l2(void)
{
    begin(G(L2), G(SILU));
    p.group = V;
    p.eps = 1e-6f;
    for (int i = 0; i < N; i += V) {
        double square = 1e-6;
        for (int j = i; j < i + V; j++)
            square += (double)x[j] * (double)x[j];
        for (int j = i; j < i + V; j++)
            want[j] = (double)x[j] / sqrt(square);
    }
    gives_want("L2 norm of DeltaNet's keys");
}

static void with_residual(void)
{
    begin(G(RMS), G(SILU));
    set(G(RESIDUAL), residual);
    set(G(SUM), sum);
    set_list(G(WEIGHT), weight, COLS);
    for (int i = 0; i < N; i++)
        want[i] = (double)x[i] + (double)residual[i];
    for (int i = 0; i < N; i += COLS)
        rms(want + i, COLS);
    for (int i = 0; i < N; i++)
        want[i] *= (double)weight[i % COLS];
    gives_want("pre-norm block: residual, then RMSNorm");
    for (int i = 0; i < N; i++)
        want[i] = (double)x[i] + (double)residual[i];
    catalog_are(sum, want, N, "and the residual stream");
}

/* ---- gates ---- */

/* GLA, RetNet, DeltaNet, Gated DeltaNet: RMS of each head, one weight for all heads, SiLU of the gate; KDA: sigmoid. */
static void heads_then_gate(void)
{
    for (int kda = 0; kda < 2; kda++) {
        begin(G(RMS), kda ? G(SIGMOID) : G(SILU));
        p.group = V;
        set(G(GATE), gate);
        set_list(G(WEIGHT), weight, V);
        norms(x, rms, V);
        for (int i = 0; i < N; i++)
            want[i] *= (double)weight[i % V] * (kda ? sigmoid((double)gate[i]) : silu((double)gate[i]));
        gives_want(kda ? "Kimi delta attention" : "GLA, RetNet, DeltaNet, Gated DeltaNet");
    }
}

/* The norm over the width, then a sigmoid gate. */
static void transnormer(void)
{
    begin(G(RMS), G(SIGMOID));
    set(G(GATE), gate);
    norms(x, rms, COLS);
    for (int i = 0; i < N; i++)
        want[i] *= sigmoid((double)gate[i]);
    gives_want("TransNormer, Lightning");
}

/* norm_before_gate = 0: the gate first, RMS of each group after. */
static void mamba2(void)
{
    begin(G(RMS), G(SILU));
    p.order = G(GATE_THEN_NORM);
    p.group = V;
    set(G(GATE), gate);
    set_list(G(WEIGHT), weight, COLS);
    for (int i = 0; i < N; i++)
        want[i] = (double)x[i] * silu((double)gate[i]);
    for (int i = 0; i < N; i += V)
        rms(want + i, V);
    for (int i = 0; i < N; i++)
        want[i] *= (double)weight[i % COLS];
    gives_want("Mamba2");
}

/* RMS(silu(o)): the gate is what it gates. */
static void gsa(void)
{
    begin(G(RMS), G(SIGMOID));
    p.order = G(GATE_THEN_NORM);
    set(G(GATE), x);
    for (int i = 0; i < N; i++)
        want[i] = silu((double)x[i]);
    for (int i = 0; i < N; i += COLS)
        rms(want + i, COLS);
    gives_want("Gated Slot Attention");
}

static void nalaformer(void)
{
    begin(G(LAYER), G(SILU));
    set(G(GATE), gate);
    set_list(G(WEIGHT), weight, COLS);
    set_list(G(BIAS), bias, COLS);
    norms(x, layer, COLS);
    for (int i = 0; i < N; i++)
        want[i] = (want[i] * (double)weight[i % COLS] + (double)bias[i % COLS]) * silu((double)gate[i]);
    gives_want("NaLaFormer");
}

/* out = branch (.) sigmoid(Wx + b); a token's importance is the mean over channels. */
static void gateskip(void)
{
    double mean[ROWS] = {0};
    begin(G(NONE), G(SIGMOID));
    set(G(GATE), gate);
    set_list(G(IMPORTANCE), importance, ROWS);
    for (int i = 0; i < N; i++) {
        want[i] = (double)x[i] * sigmoid((double)gate[i]);
        mean[i / COLS] += sigmoid((double)gate[i]) / COLS;
    }
    gives_want("GateSkip");
    catalog_are(importance, mean, ROWS, "GateSkip's importance");
}

/* ---- two terms ---- */

/* sigmoid(g) RMS(o) + (1 - sigmoid(g)) RMS(local) */
static void vig(void)
{
    double local[N];
    begin(G(RMS), G(SIGMOID));
    p.combine = G(LERP);
    p.norm_b = 1;
    p.group = V;
    set(G(GATE), gate);
    set(G(B), b);
    set_list(G(WEIGHT), weight, V);
    set_list(G(WEIGHT_B), weight_b, V);
    norms(b, rms, V);
    memcpy(local, want, sizeof local);
    norms(x, rms, V);
    for (int i = 0; i < N; i++) {
        const double s = sigmoid((double)gate[i]);
        want[i] = s * want[i] * (double)weight[i % V] + (1 - s) * local[i] * (double)weight_b[i % V];
    }
    gives_want("ViG, global and local");
}

/* sigmoid(g) h + (1 - sigmoid(g)) tanh(c) */
static void pgn(void)
{
    begin(G(NONE), G(SIGMOID));
    p.combine = G(LERP);
    p.act_b = G(TANH);
    set(G(GATE), gate);
    set(G(B), b);
    for (int i = 0; i < N; i++) {
        const double s = sigmoid((double)gate[i]);
        want[i] = s * (double)x[i] + (1 - s) * tanh((double)b[i]);
    }
    gives_want("PGN");
}

/* sigmoid(g1) local + sigmoid(g2) global */
static void gam(void)
{
    begin(G(NONE), G(SIGMOID));
    p.combine = G(DUAL);
    set(G(GATE), gate);
    set(G(B), b);
    set(G(GATE_B), gate_b);
    for (int i = 0; i < N; i++)
        want[i] = sigmoid((double)gate[i]) * (double)x[i] + sigmoid((double)gate_b[i]) * (double)b[i];
    gives_want("Gated Associative Memory");
}

/* The attention variants without softmax whose output is normalised by its L2 norm, with an output gate. */
static void expressive(void)
{
    begin(G(L2), G(SIGMOID));
    p.group = V;
    p.eps = 1e-5f;
    set(G(GATE), gate);
    for (int i = 0; i < N; i += V) {
        double square = 1e-5;
        for (int j = i; j < i + V; j++)
            square += (double)x[j] * (double)x[j];
        for (int j = i; j < i + V; j++)
            want[j] = (double)x[j] / sqrt(square) * sigmoid((double)gate[j]);
    }
    gives_want("On the Expressiveness of Softmax Attention: L2 norm and output gate");
}

static void catalog(void)
{
    plain_norms();
    l2();
    with_residual();
    heads_then_gate();
    transnormer();
    mamba2();
    gsa();
    nalaformer();
    gateskip();
    vig();
    pgn();
    gam();
    expressive();
}

int main(void)
{
    return catalog_devices(catalog);
}
