/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The feature maps of published linear attentions, each as its paper or its code writes it. */
#include <tenon/ops/feature_map.h>

#include "catalog.h"

#define F(NAME) TENON_FEATURE_MAP_##NAME
enum { ROWS = 4, K = 9, WIDE = K * K * K };

static float x[ROWS * K], q[ROWS * K], y[ROWS * WIDE], y2[ROWS * WIDE];
static double want[ROWS * WIDE];
static struct tenon_feature_map_params p;

static void begin(uint32_t kind)
{
    catalog_seed(17);
    for (int i = 0; i < ROWS * K; i++) {
        x[i] = (float)(1.5 * catalog_normal());
        q[i] = (float)catalog_normal();
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_feature_map), &p);
    p.kind = kind;
}

/* Features of `from`, of k a row, and of b, of kb a row, into `to`, of `width` a row. */
static int run(const char *name, float *from, int k, float *b, int kb, float *to, int width)
{
    struct tenon_value v[F(N_TENSORS)];
    memset(v, 0, sizeof v);
    memset(to, 0xff, sizeof(float) * (size_t)(ROWS * width));
    v[F(X)] = tenon_value_host(from, TENON_F32, 2, (int64_t[]){ROWS, k});
    if (b)
        v[F(B)] = tenon_value_host(b, TENON_F32, 2, (int64_t[]){ROWS, kb});
    v[F(Y)] = tenon_value_host(to, TENON_F32, 2, (int64_t[]){ROWS, width});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_feature_map, &p, v, F(N_TENSORS)), TENON_OK, "%s: %s runs%s%s",
                  catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

/* The paper's formula of one row. */
typedef void formula(const double *in, double *out);

static void gives(const char *name, uint32_t kind, formula *f, int width)
{
    begin(kind);
    if (!run(name, x, K, NULL, 0, y, width))
        return;
    for (int r = 0; r < ROWS; r++) {
        double in[K];
        for (int i = 0; i < K; i++)
            in[i] = (double)x[r * K + i];
        f(in, want + r * width);
    }
    catalog_are(y, want, ROWS * width, name);
}

static void elu1(const double *in, double *out)
{
    for (int i = 0; i < K; i++)
        out[i] = (in[i] > 0 ? in[i] : exp(in[i]) - 1) + 1;
}

static void silu(const double *in, double *out)
{
    for (int i = 0; i < K; i++)
        out[i] = in[i] / (1 + exp(-in[i]));
}

static void relu(const double *in, double *out)
{
    for (int i = 0; i < K; i++)
        out[i] = fmax(in[i], 0);
}

static void relu2(const double *in, double *out)
{
    for (int i = 0; i < K; i++)
        out[i] = fmax(in[i], 0) * fmax(in[i], 0);
}

static void slots(const double *in, double *out)
{
    catalog_exp_weights(in, out, K);
}

static void l2(const double *in, double *out)
{
    double square = 1e-6;
    for (int i = 0; i < K; i++)
        square += in[i] * in[i];
    for (int i = 0; i < K; i++)
        out[i] = in[i] / sqrt(square);
}

static void hedgehog(const double *in, double *out)
{
    double both[2 * K];
    for (int i = 0; i < K; i++) {
        both[i] = 2 * in[i];
        both[K + i] = -2 * in[i];
    }
    catalog_exp_weights(both, out, 2 * K);
}

/* torch: r = cat([relu(x), relu(-x)]); r * r.roll(j) for j = 1 .. nu */
static void dpfp(const double *in, double *out)
{
    double r[2 * K];
    for (int i = 0; i < K; i++) {
        r[i] = fmax(in[i], 0);
        r[K + i] = fmax(-in[i], 0);
    }
    for (int j = 1; j <= 3; j++)
        for (int i = 0; i < 2 * K; i++)
            out[(j - 1) * 2 * K + i] = r[i] * r[(i - j + 2 * K) % (2 * K)];
}

static void nala_k(const double *in, double *out)
{
    for (int i = 0; i < K; i++) {
        const double cube = in[i] * in[i] * in[i];
        out[i] = fmax(cube, 0);
        out[K + i] = fmax(-cube, 0);
    }
}

static void nala_q(const double *in, double *out)
{
    double size = 0;
    for (int i = 0; i < K; i++)
        size += in[i] * in[i];
    size = sqrt(size);
    for (int i = 0; i < K; i++) {
        out[i] = pow(fmax(in[i], 0) / size, 3 * (0.5 + tanh(size)));
        out[K + i] = pow(fmax(-in[i], 0) / size, 3 * (0.5 + tanh(size)));
    }
}

static double dot(const float *a, const float *b, int row, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[row * n + i] * (double)b[row * n + i];
    return sum;
}

/* Based: the product of the features is the second Taylor polynomial of e^(<q,k>/sqrt K). */
static void based(void)
{
    const int width = 1 + 2 * K + K * (K - 1) / 2;
    float got[ROWS];
    begin(F(TAYLOR2));
    if (!run("Based: queries", q, K, NULL, 0, y, width) || !run("Based: keys", x, K, NULL, 0, y2, width))
        return;
    for (int r = 0; r < ROWS; r++) {
        const double s = dot(q, x, r, K) / sqrt(K);
        got[r] = (float)dot(y, y2, r, width);
        want[r] = 1 + s + s * s / 2;
    }
    catalog_are(got, want, ROWS, "Based: 1 + s + s^2/2");
}

/* e^s = sum of s^n / n!, of which <x (x) ... (x) x, q (x) ... (x) q> = s^n is one linear attention each. */
static void tensor_powers(void)
{
    static float third[ROWS * WIDE], third2[ROWS * WIDE];
    float got[ROWS];
    begin(F(OUTER));
    if (!run("x (x) x", x, K, NULL, 0, y, K * K) || !run("q (x) q", q, K, NULL, 0, y2, K * K))
        return;
    for (int r = 0; r < ROWS; r++) {
        got[r] = (float)dot(y, y2, r, K * K);
        want[r] = pow(dot(x, q, r, K), 2);
    }
    catalog_are(got, want, ROWS, "On the Expressiveness of Softmax Attention: the second power");
    if (!run("x (x) x (x) x", y, K * K, x, K, third, WIDE) || !run("q (x) q (x) q", y2, K * K, q, K, third2, WIDE))
        return;
    for (int r = 0; r < ROWS; r++) {
        got[r] = (float)dot(third, third2, r, WIDE);
        want[r] = pow(dot(x, q, r, K), 3);
    }
    catalog_are(got, want, ROWS, "and the third");
}

static void rolled(void)
{
    begin(F(DPFP));
    p.nu = 3;
    if (!run("DPFP, nu = 3", x, K, NULL, 0, y, 6 * K))
        return;
    for (int r = 0; r < ROWS; r++) {
        double in[K];
        for (int i = 0; i < K; i++)
            in[i] = (double)x[r * K + i];
        dpfp(in, want + r * 6 * K);
    }
    catalog_are(y, want, ROWS * 6 * K, "DPFP, nu = 3");
}

/* After ELU1, as the fast weight programmers divide keys and queries. */
static void sum_normalised(void)
{
    begin(F(ELU1));
    if (!run("ELU1", x, K, NULL, 0, y, K))
        return;
    p.kind = F(SUMNORM);
    p.eps = 1e-5f;
    if (!run("SUMNORM", y, K, NULL, 0, y2, K))
        return;
    for (int r = 0; r < ROWS; r++) {
        double sum = 1e-5;
        for (int i = 0; i < K; i++)
            sum += (double)y[r * K + i];
        for (int i = 0; i < K; i++)
            want[r * K + i] = (double)y[r * K + i] / sum;
    }
    catalog_are(y2, want, ROWS * K, "fast weight programmers: features that sum to 1");
}

static void catalog(void)
{
    gives("Transformers are RNNs: elu + 1", F(ELU1), elu1, K);
    gives("TransNormer, Lightning, GSA: silu", F(SILU), silu, K);
    gives("BDH: relu", F(RELU), relu, K);
    gives("FLASH's weights as features: relu^2", F(RELU2), relu2, K);
    gives("GSA's slots: softmax", F(SOFTMAX), slots, K);
    gives("DeltaNet's keys: L2", F(L2), l2, K);
    gives("Hedgehog", F(HEDGEHOG), hedgehog, 2 * K);
    gives("NaLaFormer's keys", F(NALA_K), nala_k, 2 * K);
    gives("NaLaFormer's queries", F(NALA_Q), nala_q, 2 * K);
    rolled();
    based();
    tensor_powers();
    sum_normalised();
}

int main(void)
{
    return catalog_devices(catalog);
}
