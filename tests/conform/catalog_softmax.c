/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published systems around softmax, each built from the operator's attributes on every device that is there, and
 * compared with its paper's formula written out here in f64. The numbers are those of the catalog of systems. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>
#include <tenon/tenon.h>

#include "catalog.h"

enum { ROWS = 6, COLS = 37, N = ROWS * COLS };

static float x[N], y[N];
static struct tenon_softmax_params p;
static struct tenon_value v[TENON_SOFTMAX_N_TENSORS];
static const int64_t matrix[] = {ROWS, COLS}, row_list[] = {ROWS}, col_list[] = {COLS}, four[] = {4};

/* ---- a run ---- */

static void begin(uint32_t kind)
{
    catalog_seed(17 + kind);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(2 * catalog_normal());
        y[i] = NAN;
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &p);
    p.kind = kind;
    memset(v, 0, sizeof v);
    v[TENON_SOFTMAX_X] = tenon_value_host(x, TENON_F32, 2, matrix);
    v[TENON_SOFTMAX_Y] = tenon_value_host(y, TENON_F32, 2, matrix);
}

static void per_row(uint32_t i, void *data)
{
    const int whole = i == TENON_SOFTMAX_ARGMAX || i == TENON_SOFTMAX_NNZ || i == TENON_SOFTMAX_VALID_LEN;
    v[i] = tenon_value_host(data, whole ? TENON_I32 : TENON_F32, 1, row_list);
}

static int run(const char *name)
{
    return is_int(tenon_run(catalog_context, TENON_OPNUM_softmax, &p, v, TENON_SOFTMAX_N_TENSORS), TENON_OK,
                  "%s: %s runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

/* The formula of one row, from its n logits to its weights. */
typedef void formula(const double *z, double *w, int n);

static void by_rows(formula *f, const double *z, const char *name)
{
    double w[N];
    if (!run(name))
        return;
    for (int r = 0; r < ROWS; r++)
        f(z + r * COLS, w + r * COLS, COLS);
    catalog_are(y, w, N, name);
}

static void logits(double *z)
{
    for (int i = 0; i < N; i++)
        z[i] = (double)x[i];
}

static void softmax(const double *z, double *w, int n)
{
    catalog_exp_weights(z, w, n);
}

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

/* ---- noise ---- */

/* 4000 draws from ln(1/10, 2/10, 3/10, 4/10): the argmax of the noisy logits has the distribution itself. */
static void a19(void)
{
    enum { DRAWS = 4000 };
    static float pi[DRAWS * 4], soft[DRAWS * 4], hard[DRAWS * 4];
    const int64_t shape[] = {DRAWS, 4};
    double count[4] = {0}, chi = 0;
    int agree = 0, whole = 0;
    begin(TENON_SOFTMAX_EXP);
    for (int i = 0; i < DRAWS * 4; i++)
        pi[i] = logf((float)(i % 4 + 1) / 10);
    p.noise = TENON_SOFTMAX_NOISE_GUMBEL;
    p.seed = 2024;
    p.inv_temp = 2;
    v[TENON_SOFTMAX_X] = tenon_value_host(pi, TENON_F32, 2, shape);
    v[TENON_SOFTMAX_Y] = tenon_value_host(soft, TENON_F32, 2, shape);
    if (!run("A19 Gumbel-softmax, soft"))
        return;
    p.post = TENON_SOFTMAX_POST_HARD;
    v[TENON_SOFTMAX_Y] = tenon_value_host(hard, TENON_F32, 2, shape);
    if (!run("A19 Gumbel-softmax, hard"))
        return;
    for (int r = 0; r < DRAWS; r++) {
        int best = 0, one = 0;
        for (int j = 0; j < 4; j++) {
            best = soft[r * 4 + j] > soft[r * 4 + best] ? j : best;
            one += hard[r * 4 + j] == 1;
            count[j] += (double)hard[r * 4 + j];
        }
        whole += one == 1 && hard[r * 4] + hard[r * 4 + 1] + hard[r * 4 + 2] + hard[r * 4 + 3] == 1;
        agree += hard[r * 4 + best] == 1;
    }
    for (int j = 0; j < 4; j++)
        chi += (count[j] - 400 * (j + 1)) * (count[j] - 400 * (j + 1)) / (400 * (j + 1));
    is_int(whole, DRAWS, "%s: A19 hard draws are one-hot", catalog_device);
    is_int(agree, DRAWS, "%s: A19 and sit where the soft ones are largest", catalog_device);
    ok(chi < 16.3, "%s: A19 as often as the distribution says: chi squared %.2f on 3 degrees", catalog_device, chi);
}

static void a20_a21(void)
{
    float noise[N];
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    for (int i = 0; i < N; i++) {
        noise[i] = (float)catalog_normal();
        z[i] = ((double)x[i] + 0.5 * (double)noise[i]) * 4;
    }
    p.noise = TENON_SOFTMAX_NOISE_INPUT;
    p.noise_amp = 0.5f;
    p.inv_temp = 4;
    v[TENON_SOFTMAX_NOISE] = tenon_value_host(noise, TENON_F32, 2, matrix);
    by_rows(softmax, z, "A20 sparse-noisy softmax: given noise, small temperature");
    begin(TENON_SOFTMAX_EXP);
    memset(noise, 0, sizeof noise);
    logits(z);
    for (int r = 0; r < ROWS; r++) {
        noise[r * COLS + r] = -(float)fabs(catalog_normal());
        z[r * COLS + r] += (double)noise[r * COLS + r];
    }
    p.noise = TENON_SOFTMAX_NOISE_INPUT;
    v[TENON_SOFTMAX_NOISE] = tenon_value_host(noise, TENON_F32, 2, matrix);
    by_rows(softmax, z, "A21 Noisy Softmax: the target logit alone");
}

/* ---- masks, bytes, statistics ---- */

static void a22(void)
{
    unsigned char mask[COLS];
    float bias[COLS];
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    for (int j = 0; j < COLS; j++)
        mask[j] = j % 3 != 1;
    for (int i = 0; i < N; i++)
        z[i] = mask[i % COLS] ? (double)x[i] : -(double)INFINITY;
    v[TENON_SOFTMAX_MASK] = tenon_value_host(mask, TENON_U8, 1, col_list);
    by_rows(softmax, z, "A22 class masking");
    begin(TENON_SOFTMAX_EXP);
    for (int j = 0; j < COLS; j++)
        bias[j] = j % 3 == 1 ? -2.5f : 0;
    for (int i = 0; i < N; i++)
        z[i] = (double)x[i] + (double)bias[i % COLS];
    v[TENON_SOFTMAX_BIAS] = tenon_value_host(bias, TENON_F32, 1, col_list);
    by_rows(softmax, z, "A22 graded class masks: a bias a class");
}

/* Rows flat enough that bytes lose mass, and the constant of the consumer that gives it back. */
static void a23(void)
{
    enum { WIDE = 1024 };
    static float flat[WIDE];
    static unsigned char q[WIDE];
    double z[WIDE], w[WIDE], mass = 0, lost = 0;
    int wrong = 0;
    begin(TENON_SOFTMAX_EXP);
    for (int j = 0; j < WIDE; j++)
        z[j] = (double)(flat[j] = (float)catalog_normal());
    p.post = TENON_SOFTMAX_POST_QUANT_U8;
    v[TENON_SOFTMAX_X] = tenon_value_host(flat, TENON_F32, 2, (int64_t[]){1, WIDE});
    v[TENON_SOFTMAX_Y] = tenon_value_host(q, TENON_U8, 2, (int64_t[]){1, WIDE});
    if (!run("A23 softmax bias correction: bytes"))
        return;
    softmax(z, w, WIDE);
    for (int j = 0; j < WIDE; j++) {
        double step = w[j] * 255;
        wrong += fabs(step - floor(step) - 0.5) > 1e-3 && q[j] != rint(step);
        mass += q[j] / 255.0;
        lost += (w[j] - q[j] / 255.0) / WIDE;
    }
    is_int(wrong, 0, "%s: A23 bytes are the weights in steps of 1/255", catalog_device);
    ok(mass > 0.3 && mass < 0.7, "%s: A23 of which %.0f %% is left", catalog_device, mass * 100);
    double corrected = 0;
    for (int j = 0; j < WIDE; j++)
        corrected += q[j] / 255.0 + lost;
    ok(catalog_close(corrected, 1), "%s: A23 and the correction gives the rest back", catalog_device);
}

static void a24(void)
{
    uint32_t flags[4] = {9, 9, 9, 9};
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    p.algo = TENON_SOFTMAX_FIXED_MAX;
    p.phi = 2;
    p.win = 20;
    for (int j = 0; j < COLS; j++)
        x[2 * COLS + j] += 100;
    v[TENON_SOFTMAX_FLAGS] = tenon_value_host(flags, TENON_U32, 1, four);
    logits(z);
    by_rows(softmax, z, "A24 FlashDecoding++: one maximum for all");
    ok(flags[0] == 0 && flags[1] == 0 && flags[2] == 0 && flags[3] == 1, "%s: A24 the row beyond the window is counted",
       catalog_device);
}

static void a26(void)
{
    float pmax[ROWS], margin[ROWS], entropy[ROWS], energy[ROWS];
    double z[N], w[N], want[4][ROWS];
    int exits = 0;
    begin(TENON_SOFTMAX_EXP);
    p.inv_temp = 0.5f;
    memset(&v[TENON_SOFTMAX_Y], 0, sizeof v[0]);
    per_row(TENON_SOFTMAX_PMAX, pmax);
    per_row(TENON_SOFTMAX_MARGIN, margin);
    per_row(TENON_SOFTMAX_ENTROPY, entropy);
    per_row(TENON_SOFTMAX_ENERGY, energy);
    x[COLS + 3] = 30; /* a row that is sure */
    for (int i = 0; i < N; i++)
        z[i] = (double)x[i] / 2;
    for (int r = 0; r < ROWS; r++) {
        double first = 0, second = 0, H = 0;
        want[3][r] = -2 * catalog_exp_weights(z + r * COLS, w, COLS); /* E = -T ln sum exp(x/T) */
        for (int j = 0; j < COLS; j++) {
            H -= w[j] > 0 ? w[j] * log(w[j]) : 0;
            second = w[j] > first ? first : fmax(second, w[j]);
            first = fmax(first, w[j]);
        }
        want[0][r] = first;
        want[1][r] = first - second;
        want[2][r] = H;
    }
    if (!run("A26 statistics without y"))
        return;
    catalog_are(pmax, want[0], ROWS, "A26 maximum softmax probability");
    catalog_are(margin, want[1], ROWS, "A26 margin query");
    int wrong = 0;
    for (int r = 0; r < ROWS; r++) {
        exits += pmax[r] >= 0.9f;
        wrong += !(fabs((double)entropy[r] - want[2][r]) <= 2e-5);
    }
    is_int(wrong, 0, "%s: A26 entropy query", catalog_device);
    catalog_are(energy, want[3], ROWS, "A26 energy score");
    ok(exits >= 1 && exits < ROWS && pmax[1] >= 0.9f, "%s: A26 exit by PMAX: %d rows leave", catalog_device, exits);
}

static void above_mean(const double *z, double *w, int n)
{
    double mean = 0, square = 0, kept[COLS];
    for (int i = 0; i < n; i++)
        mean += z[i] / n;
    for (int i = 0; i < n; i++)
        square += (z[i] - mean) * (z[i] - mean) / n;
    for (int i = 0; i < n; i++) /* Q(1 - 10/37) */
        kept[i] = z[i] > mean + sqrt(square) * 0.61199579370 ? z[i] : -(double)INFINITY;
    softmax(kept, w, n);
}

static void a27(void)
{
    double z[N];
    begin(TENON_SOFTMAX_EXP);
    p.support = TENON_SOFTMAX_SUPPORT_STAT_TOPK;
    p.k = 10;
    logits(z);
    by_rows(above_mean, z, "A27 statistical top-k of Spark");
}

/* 100 words share 37 codes: the weight of a word is that of its code, and all of them sum to one. */
static void a29(void)
{
    enum { WORDS = 100 };
    int code[WORDS];
    float mult[COLS] = {0}, weights[ROWS * WORDS];
    double all[WORDS], w[ROWS * WORDS];
    begin(TENON_SOFTMAX_EXP);
    for (int i = 0; i < WORDS; i++)
        mult[code[i] = (i * i + 3 * i) % (COLS - 2)]++;
    v[TENON_SOFTMAX_MULT] = tenon_value_host(mult, TENON_F32, 1, col_list);
    if (!run("A29 VQ-Logits"))
        return;
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < WORDS; i++) {
            all[i] = (double)x[r * COLS + code[i]];
            weights[r * WORDS + i] = y[r * COLS + code[i]];
        }
        softmax(all, w + r * WORDS, WORDS);
    }
    catalog_are(weights, w, ROWS * WORDS, "A29 VQ-Logits: mult then gather");
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
    a19();
    a20_a21();
    a22();
    a23();
    a24();
    a26();
    a27();
    a29();
}

int main(void)
{
    return catalog_devices(catalog);
}
