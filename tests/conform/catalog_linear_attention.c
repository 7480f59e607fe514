/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published layers of linear attention whose writes add: each against its paper's form, mostly the one in which all
 * tokens weigh on all at once. Their convolutions, norms and gates are other operators'. */
#include <tenon/ops/attention.h>
#include <tenon/ops/rope.h>
#include <tenon/ops/softmax.h>

#include "catalog_linear_attention.h"

/* ---- kernels of features ---- */

static double classical_weight(int i, int j, int h)
{
    double all = 1e-6;
    for (int l = 0; l <= i; l++)
        all += dot(i, l, h);
    return j <= i ? dot(i, j, h) / all : 0;
}

static double classical_all(int i, int j, int h)
{
    double all = 1e-6;
    for (int l = 0; l < T; l++)
        all += dot(i, l, h);
    return dot(i, j, h) / all;
}

/* Features elu(x) + 1, norm SUM, scale 1. */
static void classical(void)
{
    begin(11);
    for (int i = 0; i < NK; i++) {
        q[i] = q[i] > 0 ? q[i] + 1 : expf(q[i]);
        k[i] = k[i] > 0 ? k[i] + 1 : expf(k[i]);
    }
    p.norm = L(SUM);
    p.scale = 1;
    sums(classical_weight);
    gives_want("Linear Transformer: elu + 1, causal");
    p.direction = L(NONCAUSAL);
    sums(classical_all);
    gives_want("Linear Transformer: elu + 1, all tokens");
}

/* ---- one decay a head or a token ---- */

static double head_decay[H];

static double retention(int i, int j, int h)
{
    return j <= i ? dot(i, j, h) * pow(head_decay[h], i - j) / sqrt(K) : 0;
}

/* (Q K^T (.) D) V, D_ij = gamma^(i-j), gamma_h = 1 - 2^(-5-h): HEAD. */
static void retnet(void)
{
    begin(12);
    p.decay = L(HEAD);
    for (int h = 0; h < H; h++) {
        a[h] = 1 - 1 / (float)(32 << h);
        head_decay[h] = (double)a[h];
    }
    SET(DECAY, a, H);
    sums(retention);
    gives_want("RetNet");
}

static double lightning_weight(int i, int j, int h)
{
    return j <= i ? dot(i, j, h) * pow(head_decay[h], i - j) : 0;
}

/* gamma = exp(-slope_h (1 - l / (L - 1) + 1e-5)), slope_h = 2^(-8 (h + 1) / H), LOG; silu on q, k, v; scale 1. */
static void lightning(void)
{
    begin(13);
    silus(q, NK);
    silus(k, NK);
    silus(val, NV);
    p.decay = L(HEAD);
    p.decay_form = L(LOG);
    p.scale = 1;
    for (int h = 0; h < H; h++) {
        a[h] = (float)(-pow(2, -8.0 * (h + 1) / H) * (1 - 3.0 / 23 + 1e-5));
        head_decay[h] = exp((double)a[h]);
    }
    SET(DECAY, a, H);
    sums(lightning_weight);
    gives_want("TransNormer, Lightning-2");
}

static double token_weight(int i, int j, int h)
{
    double gate = 1;
    for (int l = j + 1; l <= i; l++)
        gate *= exp((double)a[l * H + h]);
    return j <= i ? dot(i, j, h) * gate / sqrt(K) : 0;
}

static void simple_gla(void)
{
    begin(14);
    for (int i = 0; i < T * H; i++)
        a[i] = (float)log(sigmoid(3 + (double)a[i]));
    p.decay = L(TOKEN);
    p.decay_form = L(LOG);
    SET(DECAY, a, 1, T, H);
    sums(token_weight);
    gives_want("Simple GLA");
}

/* SSD: h = exp(d A) h + d B u^T, y = C h + D u: q = C, k = B of one group for all heads, v = d u, scale 1. */
static void mamba2(void)
{
    float factors[T * H], u[NV];
    double s[H][K][V] = {{{0}}};
    begin(15);
    for (int i = 0; i < NV; i++)
        u[i] = (float)catalog_normal();
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++) {
            const double d = log1p(exp((double)a[t * H + h] - 1)), decay = exp(-exp(0.3 * h) * d);
            factors[t * H + h] = (float)decay;
            for (int c = 0; c < V; c++)
                val[(t * H + h) * V + c] = (float)(0.1 * d * (double)u[(t * H + h) * V + c]);
            for (int c = 0; c < K * V; c++) {
                double *at = &s[h][c / V][c % V];
                *at = (double)factors[t * H + h] * *at +
                      (double)k[t * K + c / V] * (double)val[(t * H + h) * V + c % V];
            }
            for (int c = 0; c < V; c++) {
                double *y = &want[(t * H + h) * V + c];
                *y = 0;
                for (int i = 0; i < K; i++)
                    *y += (double)q[t * K + i] * s[h][i][c];
            }
        }
    p.decay = L(TOKEN);
    p.scale = 1;
    SET(Q, q, 1, T, 1, K);
    SET(K, k, 1, T, 1, K);
    SET(DECAY, factors, 1, T, H);
    gives_want("Mamba2: SSD, one group of B and C for two heads");
}

/* ---- a decay a channel ---- */

static double gla_weight(int i, int j, int h)
{
    double sum = 0;
    for (int c = 0; c < K && j <= i; c++) {
        double g = 0;
        for (int l = j + 1; l <= i; l++)
            g += (double)a[(l * H + h) * K + c];
        sum += (double)qt(i, h)[c] * exp(g) * (double)kt(j, h)[c];
    }
    return sum / sqrt(K);
}

/* g = logsigmoid(..) / 16, KEY, LOG. */
static void gla(void)
{
    begin(16);
    for (int i = 0; i < NK; i++)
        a[i] = (float)(log(sigmoid((double)a[i])) / 16);
    p.decay = L(KEY);
    p.decay_form = L(LOG);
    SET(DECAY, a, 1, T, H, K);
    sums(gla_weight);
    gives_want("GLA");
    for (int i = 0; i < NK; i++)
        a[i] *= 300; /* about 13 a token: e^-G alone would overflow */
    sums(gla_weight);
    gives_want("GLA with strong gates");
}

static double hgrn2_weight(int i, int j, int h)
{
    double sum = 0;
    for (int c = 0; c < K && j <= i; c++) {
        double f = 1 - (double)a[(j * H + h) * K + c];
        for (int l = j + 1; l <= i; l++)
            f *= (double)a[(l * H + h) * K + c];
        sum += (double)qt(i, h)[c] * f;
    }
    return sum / sqrt(K);
}

/* f = lb + (1 - lb) sigmoid(..), k = 1 - f, a = f, q silu. */
static void hgrn2(void)
{
    begin(17);
    silus(q, NK);
    for (int i = 0; i < NK; i++) {
        a[i] = (float)(0.2 + 0.8 * sigmoid((double)a[i]));
        k[i] = 1 - a[i];
    }
    p.decay = L(KEY);
    SET(DECAY, a, 1, T, H, K);
    sums(hgrn2_weight);
    gives_want("HGRN2");
}

static float back[NK];

static double vig_weight(int i, int j, int h)
{
    double sum = 0;
    for (int c = 0; c < K; c++) {
        double f = (double)qt(i, h)[c] * (double)kt(j, h)[c];
        for (int l = j + 1; l <= i; l++)
            f *= (double)a[(l * H + h) * K + c];
        for (int l = i; l < j; l++)
            f *= (double)back[(l * H + h) * K + c];
        sum += f;
    }
    return (i == j ? 1 : 0.5) * sum / sqrt(K); /* the own token twice, half of each */
}

/* Both directions with gates of their own, half of each: BIDIR. */
static void vig(void)
{
    begin(18);
    for (int i = 0; i < NK; i++) {
        a[i] = (float)pow(sigmoid((double)a[i]), 0.25);
        back[i] = (float)pow(sigmoid(catalog_normal()), 0.25);
    }
    p.decay = L(KEY);
    p.direction = L(BIDIR);
    SET(DECAY, a, 1, T, H, K);
    SET(DECAY_B, back, 1, T, H, K);
    sums(vig_weight);
    gives_want("ViG: both directions");
}

/* ---- two passes with a softmax between: slots ---- */

enum { M = 4, NM = T * H * M };

/* Of slot m: what its keys and its values are, after token i; s = 1 - alpha, so that weights sum to 1. */
static double slot_of(const float *gate, const float *x, int i, int h, int m, int c, int width)
{
    double sum = 0;
    for (int j = 0; j <= i; j++) {
        double f = 1 - (double)gate[(j * H + h) * M + m];
        for (int l = j + 1; l <= i; l++)
            f *= (double)gate[(l * H + h) * M + m];
        sum += f * (double)x[(j * H + h) * width + c];
    }
    return sum;
}

static int slot_softmax(float *x, float *y)
{
    struct tenon_softmax_params soft;
    struct tenon_value t[TENON_SOFTMAX_N_TENSORS] = {0};
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &soft);
    t[TENON_SOFTMAX_X] = tenon_value_host(x, TENON_F32, 2, (int64_t[]){T * H, M});
    t[TENON_SOFTMAX_Y] = tenon_value_host(y, TENON_F32, 2, (int64_t[]){T * H, M});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_softmax, &soft, t, TENON_SOFTMAX_N_TENSORS), TENON_OK,
                  "%s: Gated Slot Attention's softmax runs", catalog_device);
}

/* Pass 1: VALUE decay alpha, k, v = k, 1 - alpha; softmax over slots; pass 2: KEY decay alpha, q, k = p, 1 - alpha. */
static void gsa(void)
{
    float gate[NM], rest[NM], scores[NM], shares[NM];
    begin(19);
    for (int i = 0; i < NM; i++) {
        gate[i] = (float)pow(sigmoid((double)a[i]), 0.125);
        rest[i] = 1 - gate[i];
    }
    for (int i = 0; i < T * H; i++) {
        double z[M], w[M];
        for (int m = 0; m < M; m++) {
            z[m] = 0;
            for (int c = 0; c < K; c++)
                z[m] += (double)q[i * K + c] * slot_of(gate, k, i / H, i % H, m, c, K);
        }
        catalog_exp_weights(z, w, M);
        for (int c = 0; c < V; c++) {
            want[i * V + c] = 0;
            for (int m = 0; m < M; m++)
                want[i * V + c] += w[m] * slot_of(gate, val, i / H, i % H, m, c, V);
        }
    }
    p.scale = 1;
    p.decay = L(VALUE);
    SET(V, rest, 1, T, H, M);
    SET(DECAY, gate, 1, T, H, M);
    SET(O, scores, 1, T, H, M);
    if (!run("Gated Slot Attention: scores of slots") || !slot_softmax(scores, shares))
        return;
    p.decay = L(KEY);
    SET(Q, shares, 1, T, H, M);
    SET(K, rest, 1, T, H, M);
    SET(V, val, 1, T, H, V);
    SET(O, o, 1, T, H, V);
    gives_want("Gated Slot Attention");
}

/* ---- with positions ---- */

static int turn(float *x, float *y, int heads)
{
    int32_t positions[T];
    struct tenon_rope_params rope;
    struct tenon_value t[TENON_ROPE_N_TENSORS] = {0};
    for (int i = 0; i < T; i++)
        positions[i] = i;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_rope), &rope);
    t[TENON_ROPE_X] = tenon_value_host(x, TENON_F32, 4, (int64_t[]){1, T, heads, K});
    t[TENON_ROPE_POS] = tenon_value_host(positions, TENON_I32, 2, (int64_t[]){1, T});
    t[TENON_ROPE_Y] = tenon_value_host(y, TENON_F32, 4, (int64_t[]){1, T, heads, K});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_rope, &rope, t, TENON_ROPE_N_TENSORS), TENON_OK,
                  "%s: rope runs", catalog_device);
}

/* <turned q_i, turned k_j>: turned by the difference of positions. */
static double turned(const float *x, const float *y, int distance)
{
    double sum = 0;
    for (int c = 0; c < K / 2; c++) {
        const double angle = distance * pow(10000, -2.0 * c / K), xu = (double)x[c], xv = (double)x[c + K / 2];
        const double yu = (double)y[c], yv = (double)y[c + K / 2];
        sum += (xu * yu + xv * yv) * cos(angle) + (xu * yv - xv * yu) * sin(angle);
    }
    return sum;
}

/* q = k = relu(..) turned by rope, v one head for all; strictly earlier tokens: EXCLUSIVE; scale 1. */
static void bdh(void)
{
    float x[NK];
    begin(20);
    for (int i = 0; i < NK; i++)
        x[i] = q[i] > 0 ? q[i] : 0;
    for (int e = 0; e < N; e++) {
        const int i = e / V / H, h = e / V % H;
        want[e] = 0;
        for (int j = 0; j < i; j++)
            want[e] += turned(x + (i * H + h) * K, x + (j * H + h) * K, i - j) * (double)val[j * V + e % V];
    }
    if (!turn(x, q, H))
        return;
    p.read = L(EXCLUSIVE);
    p.scale = 1;
    SET(K, q, 1, T, H, K);
    SET(V, val, 1, T, 1, V);
    gives_want("BDH");
}

/* Turned features weigh, features that are not turned divide: NONCAUSAL, SUM with qn and kn, eps N 1e-6. */
static void nalaformer(void)
{
    float qn[NK], kn[NK];
    begin(21);
    for (int i = 0; i < NK; i++) {
        double square = 0;
        for (int c = i / K * K; c < i / K * K + K; c++)
            square += (double)q[c] * (double)q[c];
        const double size = sqrt(square);
        qn[i] = q[i] > 0 ? (float)pow((double)q[i] / size, 3 * (0.5 + tanh(size))) : 0;
        kn[i] = k[i] > 0 ? (float)pow((double)k[i], 3) : 0;
    }
    for (int e = 0; e < N; e++) {
        const int i = e / V / H, h = e / V % H;
        double sum = 0, all = 0;
        for (int j = 0; j < T; j++) {
            sum += turned(qn + (i * H + h) * K, kn + (j * H + h) * K, i - j) * (double)val[(j * H + h) * V + e % V];
            for (int c = 0; c < K; c++)
                all += (double)qn[(i * H + h) * K + c] * (double)kn[(j * H + h) * K + c];
        }
        want[e] = sum / (all + T * 1e-6);
    }
    if (!turn(qn, q, H) || !turn(kn, k, H))
        return;
    p.direction = L(NONCAUSAL);
    p.norm = L(SUM);
    p.scale = 1;
    p.eps = T * 1e-6f;
    SET(QN, qn, 1, T, H, K);
    SET(KN, kn, 1, T, H, K);
    gives_want("NaLaFormer: attention");
}

/* ---- with attention within groups ---- */

enum { G = 8 };
static float near[NV];

/* relu(q k / g)^2 over the own group, up to the token where causal. */
static int within_groups(int causal)
{
    int32_t bounds[T * 2];
    struct tenon_attention_params att;
    struct tenon_value t[TENON_ATTENTION_N_TENSORS] = {0};
    for (int i = 0; i < T; i++) {
        bounds[2 * i] = i / G * G;
        bounds[2 * i + 1] = causal ? i + 1 : i / G * G + G < T ? i / G * G + G : T;
    }
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_attention), &att);
    att.weight = TENON_ATTENTION_RELU2;
    att.norm = TENON_ATTENTION_NONE;
    att.scale = 1.0f / G;
    t[TENON_ATTENTION_Q] = v[L(Q)];
    t[TENON_ATTENTION_K] = v[L(K)];
    t[TENON_ATTENTION_V] = v[L(V)];
    t[TENON_ATTENTION_BOUNDS] = tenon_value_host(bounds, TENON_I32, 3, (int64_t[]){1, T, 2});
    t[TENON_ATTENTION_O] = tenon_value_host(near, TENON_F32, 4, (int64_t[]){1, T, H, V});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_attention, &att, t, TENON_ATTENTION_N_TENSORS), TENON_OK,
                  "%s: FLASH's attention within groups runs", catalog_device);
}

static double flash_weight(int i, int j, int h)
{
    const double s = dot(i, j, h) / G, square = s > 0 ? s * s : 0;
    return dot(i, j, h) / T + (i / G == j / G ? square : 0);
}

static double flash_causal(int i, int j, int h)
{
    const double s = dot(i, j, h) / G, square = s > 0 ? s * s : 0;
    return (j / G < i / G ? dot(i, j, h) / G : 0) + (i / G == j / G && j <= i ? square : 0);
}

/* NONCAUSAL with v / T, or GROUP with v / g: groups before the own; and the own by attention. */
static void flash(void)
{
    begin(22);
    for (int causal = 0; causal < 2; causal++) {
        const char *name = causal ? "FLASH, causal" : "FLASH, MossFormer2";
        sums(causal ? flash_causal : flash_weight);
        p.direction = causal ? L(CAUSAL) : L(NONCAUSAL);
        p.read = causal ? L(GROUP) : L(INCLUSIVE);
        p.group = G;
        p.scale = causal ? 1.0f / G : 1.0f / T;
        if (!within_groups(causal) || !run(name))
            continue;
        for (int i = 0; i < N; i++)
            o[i] += near[i];
        catalog_are(o, want, N, name);
    }
}

/* ---- xLSTM ---- */

/* C = f C + i v k^T, n = f n + i k, h = C q / max(|n q|, 1): TOKEN, k times its gate, MAX1. */
static void mlstm(void)
{
    float f[T * H];
    double c[H][K][V] = {{{0}}}, n[H][K] = {{0}};
    begin(23);
    for (int i = 0; i < NK; i++)
        k[i] *= (float)exp(0.5 * (double)a[NK - 1 - i / K]);
    for (int i = 0; i < T * H; i++)
        f[i] = (float)sigmoid(2 + (double)a[i]);
    for (int i = 0; i < T * H; i++) {
        double den = 0;
        for (int x = 0; x < K; x++) {
            n[i % H][x] = (double)f[i] * n[i % H][x] + (double)k[i * K + x];
            den += n[i % H][x] * (double)q[i * K + x] / sqrt(K);
        }
        for (int y = 0; y < V; y++) {
            double sum = 0;
            for (int x = 0; x < K; x++) {
                c[i % H][x][y] = (double)f[i] * c[i % H][x][y] + (double)k[i * K + x] * (double)val[i * V + y];
                sum += c[i % H][x][y] * (double)q[i * K + x] / sqrt(K);
            }
            want[i * V + y] = sum / fmax(fabs(den), 1);
        }
    }
    p.decay = L(TOKEN);
    p.norm = L(MAX1);
    SET(DECAY, f, 1, T, H);
    gives_want("xLSTM: mLSTM");
}

static void systems(void)
{
    classical();
    retnet();
    lightning();
    simple_gla();
    mamba2();
    gla();
    hgrn2();
    vig();
    gsa();
    bdh();
    nalaformer();
    flash();
    mlstm();
}

int main(void)
{
    return catalog_devices(systems);
}
