/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * As catalog_softmax.c: systems of noise, masks, bytes, statistics, supports and multiplicities. */
#include "catalog_softmax.h"

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
