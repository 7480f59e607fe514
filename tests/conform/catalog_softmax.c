/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published systems around softmax, each built from the operator's attributes on every device that is there, and
 * compared with its paper's formula written out here in f64: exponentials and the other kinds. */
#include "catalog_softmax.h"

/* ---- exponentials ---- */

static void a1_to_a4(void)
{
    static const char *const names[] = {"auto", "A1 three-pass softmax, recompute", "A2 three-pass softmax, reload",
                                        "A3 the two-pass softmax algorithm", "A4 online normalizer calculation"};
    double z[N];
    for (uint32_t algo = 1; algo <= TENON_SOFTMAX_ONLINE; algo++) {
        begin(TENON_SOFTMAX_EXP);
        p.algo = algo;
        logits(z);
        by_rows(softmax, z, names[algo]);
    }
}

static void a6(void)
{
    double z[N], w[N], lse[ROWS], logs[N];
    float got[ROWS];
    begin(TENON_SOFTMAX_LOG_EXP);
    logits(z);
    for (int r = 0; r < ROWS; r++) {
        lse[r] = catalog_exp_weights(z + r * COLS, w, COLS);
        for (int j = 0; j < COLS; j++)
            logs[r * COLS + j] = z[r * COLS + j] - lse[r];
    }
    if (run("A6 log-softmax"))
        catalog_are(y, logs, N, "A6 log-softmax");
    memset(&v[TENON_SOFTMAX_Y], 0, sizeof v[0]);
    per_row(TENON_SOFTMAX_LSE, got);
    if (run("A6 LSE without y"))
        catalog_are(got, lse, ROWS, "A6 LSE without y");
}

static void a7_a8(void)
{
    float scales[ROWS];
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    p.inv_temp = 0.7f;
    p.scale = 0.125f;
    for (int i = 0; i < N; i++)
        z[i] = (double)x[i] * 0.125 * (double)0.7f;
    by_rows(softmax, z, "A7 temperature and attention scale");
    begin(TENON_SOFTMAX_EXP);
    for (int r = 0; r < ROWS; r++) {
        scales[r] = (float)(1 + exp(-exp(0.3)) * log(r + 1.0));
        for (int j = 0; j < COLS; j++)
            z[r * COLS + j] = (double)x[r * COLS + j] * (double)scales[r];
    }
    per_row(TENON_SOFTMAX_ROW_SCALE, scales);
    by_rows(softmax, z, "A8 Selective Attention: a temperature a row");
}

static void adaptive(const double *z, double *w, int n)
{
    double H = 0, beta = 1, sharp[COLS];
    softmax(z, w, n);
    for (int i = 0; i < n; i++)
        H -= w[i] > 0 ? w[i] * log(w[i]) : 0;
    if (H > 0.5)
        beta = fmax(-0.037 * H * H * H * H + 0.481 * H * H * H - 2.3 * H * H + 4.917 * H - 1.791, 1);
    for (int i = 0; i < n; i++)
        sharp[i] = z[i] * beta;
    softmax(sharp, w, n);
}

static void a9(void)
{
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    p.adaptive = 1;
    logits(z);
    double w[N];
    if (!run("A9 adaptive temperature"))
        return;
    for (int r = 0; r < ROWS; r++)
        adaptive(z + r * COLS, w + r * COLS, COLS);
    int wrong = 0; /* the entropy decides, so what is left of it shows */
    for (int i = 0; i < N; i++)
        wrong += !(fabs((double)y[i] - w[i]) <= 1e-6 + 1e-3 * w[i]);
    is_int(wrong, 0, "%s: A9 adaptive temperature", catalog_device);
}

static void top_five(const double *z, double *w, int n)
{
    double kept[COLS];
    for (int i = 0; i < n; i++) {
        int better = 0;
        for (int j = 0; j < n; j++)
            better += z[j] > z[i] || (z[j] == z[i] && j < i);
        kept[i] = better < 5 ? z[i] : -(double)INFINITY;
    }
    softmax(kept, w, n);
}

static void a12(void)
{
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    p.support = TENON_SOFTMAX_SUPPORT_TOPK;
    p.k = 5;
    logits(z);
    by_rows(top_five, z, "A12 Sparse-softmax: the k largest");
}

static void off_by_one(const double *z, double *w, int n)
{
    double s = 1;
    for (int i = 0; i < n; i++)
        s += exp(z[i]);
    for (int i = 0; i < n; i++)
        w[i] = exp(z[i]) / s;
}

static void clipped(const double *z, double *w, int n)
{
    softmax(z, w, n);
    for (int i = 0; i < n; i++)
        w[i] = fmin(fmax((1.03 + 0.02) * w[i] - 0.02, 0), 1);
}

static void a14_a16(void)
{
    float sink = 0;
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    p.post = TENON_SOFTMAX_POST_CLIP;
    p.zeta = 1.03f;
    p.gamma = -0.02f;
    logits(z);
    by_rows(clipped, z, "A14 clipped softmax");
    begin(TENON_SOFTMAX_EXP);
    v[TENON_SOFTMAX_SINK] = tenon_value_host(&sink, TENON_F32, 1, (int64_t[]){1});
    by_rows(off_by_one, (logits(z), z), "A16 softmax-off-by-one: sink 0");
}

/* ---- other kinds ---- */

static void softpick(const double *z, double *w, int n)
{
    double s = 1e-6;
    for (int i = 0; i < n; i++)
        s += fabs(exp(z[i]) - 1);
    for (int i = 0; i < n; i++)
        w[i] = fmax(exp(z[i]) - 1, 0) / s;
}

/* The threshold by halving: what is above it, to the power, sums to one. */
static void projected(const double *z, double *w, int n, double half, int power)
{
    double low = -1e3, high = 1e3;
    for (int step = 0; step < 200; step++) {
        double tau = (low + high) / 2, s = 0;
        for (int i = 0; i < n; i++)
            s += pow(fmax(z[i] * half - tau, 0), power);
        if (s > 1)
            low = tau;
        else
            high = tau;
    }
    for (int i = 0; i < n; i++)
        w[i] = pow(fmax(z[i] * half - low, 0), power);
}
static void sparsemax(const double *z, double *w, int n)
{
    projected(z, w, n, 1, 1);
}
static void entmax15(const double *z, double *w, int n)
{
    projected(z, w, n, 0.5, 2);
}

static void sigmoid(const double *z, double *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = 1 / (1 + exp(-(z[i] - log(n))));
}

static void shares(double *w, int n, double eps)
{
    double s = eps;
    for (int i = 0; i < n; i++)
        s += w[i];
    for (int i = 0; i < n; i++)
        w[i] /= s;
}
static void two_relu(const double *z, double *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = fmax(z[i], 0);
    shares(w, n, 1e-5);
}
static void relu_squared(const double *z, double *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = fmax(z[i], 0) * fmax(z[i], 0);
    shares(w, n, 1e-5);
}
static void two_quad(const double *z, double *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = (z[i] + 5) * (z[i] + 5);
    shares(w, n, 1e-5);
}
static void scaling(const double *z, double *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = z[i] / n;
}
static void stablemax(const double *z, double *w, int n)
{
    for (int i = 0; i < n; i++)
        w[i] = z[i] >= 0 ? z[i] + 1 : 1 / (1 - z[i]);
    shares(w, n, 0);
}

static void kinds(void)
{
    static const struct {
        const char *name;
        uint32_t kind;
        formula *f;
    } all[] = {
        {"A10 sparsemax", TENON_SOFTMAX_SPARSEMAX, sparsemax},
        {"A11 entmax-1.5", TENON_SOFTMAX_ENTMAX15, entmax15},
        {"A13 Softpick", TENON_SOFTMAX_SOFTPICK, softpick},
        {"A15 sigmoid attention", TENON_SOFTMAX_SIGMOID, sigmoid},
        {"A17 2ReLU of MPCViT", TENON_SOFTMAX_RELU_NORM, two_relu},
        {"A17 ReLU squared", TENON_SOFTMAX_RELU2_NORM, relu_squared},
        {"A17 2Quad of MPCFormer", TENON_SOFTMAX_QUAD_NORM, two_quad},
        {"A17 scaling attention", TENON_SOFTMAX_SCALE, scaling},
        {"A18 StableMax", TENON_SOFTMAX_STABLEMAX, stablemax},
    };
    double z[N];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        begin(all[i].kind);
        logits(z);
        by_rows(all[i].f, z, all[i].name);
    }
}

static void catalog(void)
{
    a1_to_a4();
    a6();
    a7_a8();
    a9();
    a12();
    a14_a16();
    kinds();
}

int main(void)
{
    return catalog_devices(catalog);
}
