/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published feed-forward layers that skip: each is the dense layer with what its paper drops written out. */
#include <tenon/ops/sparse_ffn.h>

#include "catalog.h"

enum { T = 3, D = 24, F = 40, O = 10, RANK = 4 };

static float x[T * D], wg[F * D], wu[F * D], wd[O * F], ext[T * F], per_f[F], per_d[D], y[T * O];
static double want[T * O];
static struct tenon_sparse_ffn_params p;
static struct tenon_value v[TENON_SPARSE_FFN_N_TENSORS];

static void fill(float *to, int n, double scale)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)(catalog_normal() * scale);
}

static void set(uint32_t i, float *data, int rows, int cols)
{
    v[i] = rows ? tenon_value_host(data, TENON_F32, 2, (int64_t[]){rows, cols})
                : tenon_value_host(data, TENON_F32, 1, (int64_t[]){cols});
}

static void begin(uint32_t act)
{
    catalog_seed(71);
    fill(x, T * D, 1);
    fill(wg, F * D, 0.3);
    fill(wu, F * D, 0.3);
    fill(wd, O * F, 0.3);
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_sparse_ffn), &p);
    p.act = act;
    memset(v, 0, sizeof v);
    set(TENON_SPARSE_FFN_X, x, T, D);
    set(TENON_SPARSE_FFN_WG, wg, F, D);
    set(TENON_SPARSE_FFN_WU, wu, F, D);
    set(TENON_SPARSE_FFN_WD, wd, O, F);
    set(TENON_SPARSE_FFN_Y, y, T, O);
}

static void gives_want(const char *name)
{
    memset(y, 0xff, sizeof y); /* NaN: what another run left would do as well */
    if (is_int(tenon_run(catalog_context, TENON_OPNUM_sparse_ffn, &p, v, TENON_SPARSE_FFN_N_TENSORS), TENON_OK,
               "%s: %s runs", catalog_device, name))
        catalog_are(y, want, T * O, name);
}

/* ---- dense pieces in f64 ---- */

static void product(const float *w, const double *in, int rows, int width, double *out)
{
    for (int r = 0; r < rows; r++) {
        out[r] = 0;
        for (int k = 0; k < width; k++)
            out[r] += (double)w[r * width + k] * in[k];
    }
}

static void token(int t, double *to)
{
    for (int k = 0; k < D; k++)
        to[k] = (double)x[t * D + k];
}

static double silu(double z)
{
    return z / (1 + exp(-z));
}

static double gelu(double z)
{
    return z * erfc(-z / sqrt(2)) / 2;
}

/* Keeps the k largest of |v| (or v) times weight. */
static void top(double *values, const float *weight, int n, int k, int by_abs)
{
    double kept[F];
    for (int i = 0; i < n; i++) {
        int rank = 0;
        for (int j = 0; j < n; j++) {
            const double a = (by_abs ? fabs(values[i]) : values[i]) * (weight ? (double)weight[i] : 1);
            const double b = (by_abs ? fabs(values[j]) : values[j]) * (weight ? (double)weight[j] : 1);
            rank += b > a || (b == a && j < i);
        }
        kept[i] = rank < k ? values[i] : 0;
    }
    memcpy(values, kept, sizeof kept[0] * (size_t)n);
}

static void above(double *values, int n, double t)
{
    for (int i = 0; i < n; i++)
        values[i] = fabs(values[i]) > t ? values[i] : 0;
}

/* want = wd h of token t. */
static void down(int t, const double *h)
{
    product(wd, h, O, F, want + t * O);
}

/* ---- the systems ---- */

static void relufication(void)
{
    begin(TENON_ACT_RELU);
    v[TENON_SPARSE_FFN_WG] = (struct tenon_value){0};
    for (int t = 0; t < T; t++) {
        double in[D], h[F];
        token(t, in);
        product(wu, in, F, D, h);
        for (int i = 0; i < F; i++)
            h[i] = fmax(h[i], 0);
        down(t, h);
    }
    gives_want("ReLU-fication");
}

static void prosparse(void)
{
    begin(TENON_ACT_FATRELU);
    p.threshold = 0.01f;
    for (int t = 0; t < T; t++) {
        double in[D], g[F], u[F];
        token(t, in);
        product(wg, in, F, D, g);
        product(wu, in, F, D, u);
        for (int i = 0; i < F; i++)
            g[i] = g[i] > 0.01 ? g[i] * u[i] : 0;
        down(t, g);
    }
    gives_want("ProSparse");
}

static void lazy_neuron(void)
{
    begin(TENON_ACT_RELU);
    v[TENON_SPARSE_FFN_WG] = (struct tenon_value){0};
    p.h.kind = TENON_SPARSE_FFN_TOPK;
    p.h.k = 7;
    for (int t = 0; t < T; t++) {
        double in[D], h[F];
        token(t, in);
        product(wu, in, F, D, h);
        for (int i = 0; i < F; i++)
            h[i] = fmax(h[i], 0);
        top(h, NULL, F, 7, 0);
        down(t, h);
    }
    gives_want("Lazy neuron top-k");
}

/* Small silu(gate) go. CHESS: by a threshold a neuron, and what equals it stays. */
static void cats_and_chess(void)
{
    begin(TENON_ACT_SILU);
    p.g.kind = TENON_SPARSE_FFN_ABS_GT;
    p.g.t = 0.4f;
    for (int chess = 0; chess < 2; chess++) {
        for (int i = 0; i < F && chess; i++)
            per_f[i] = (float)(0.2 + 0.5 * catalog_uniform());
        if (chess) {
            p.g.kind = TENON_SPARSE_FFN_ABS_GE;
            p.g.t = 0;
            set(TENON_SPARSE_FFN_T_G, per_f, 0, F);
        }
        for (int t = 0; t < T; t++) {
            double in[D], g[F], u[F];
            token(t, in);
            product(wg, in, F, D, g);
            product(wu, in, F, D, u);
            for (int i = 0; i < F; i++) {
                const double threshold = chess ? (double)per_f[i] : 0.4;
                g[i] = fabs(silu(g[i])) >= threshold ? silu(g[i]) * u[i] : 0;
            }
            down(t, g);
        }
        gives_want(chess ? "CHESS" : "CATS");
    }
}

static void teal(void)
{
    begin(TENON_ACT_SILU);
    p.xg.kind = p.xu.kind = p.h.kind = TENON_SPARSE_FFN_ABS_GT;
    p.xg.t = 0.5f, p.xu.t = 0.75f, p.h.t = 0.25f;
    for (int t = 0; t < T; t++) {
        double a[D], b[D], g[F], u[F];
        token(t, a);
        token(t, b);
        above(a, D, 0.5);
        above(b, D, 0.75);
        product(wg, a, F, D, g);
        product(wu, b, F, D, u);
        for (int i = 0; i < F; i++)
            g[i] = silu(g[i]) * u[i];
        above(g, F, 0.25);
        down(t, g);
    }
    gives_want("TEAL");
}

/* The score of an entry of x is its size times the norm of the column of wg that it meets. */
static void wina(void)
{
    begin(TENON_ACT_SILU);
    for (int k = 0; k < D; k++) {
        double square = 0;
        for (int i = 0; i < F; i++)
            square += (double)wg[i * D + k] * (double)wg[i * D + k];
        per_d[k] = (float)sqrt(square);
    }
    set(TENON_SPARSE_FFN_WGT_XG, per_d, 0, D);
    p.xg.kind = p.xu.kind = p.h.kind = TENON_SPARSE_FFN_TOPK;
    p.xg.by = p.xu.by = p.h.by = TENON_SPARSE_FFN_BY_ABS;
    p.xg.k = p.xu.k = 9;
    p.h.k = 15;
    for (int t = 0; t < T; t++) {
        double a[D], b[D], g[F], u[F];
        token(t, a);
        token(t, b);
        top(a, per_d, D, 9, 1);
        top(b, NULL, D, 9, 1);
        product(wg, a, F, D, g);
        product(wu, b, F, D, u);
        for (int i = 0; i < F; i++)
            g[i] = silu(g[i]) * u[i];
        top(g, NULL, F, 15, 1);
        down(t, g);
    }
    gives_want("WINA");
}

/* Small entries of x meet wu in low rank; with U V^T = wu itself nothing is lost. */
static void r_sparse(void)
{
    static float factor_u[F * D], factor_v[D * D];
    begin(TENON_ACT_SILU);
    v[TENON_SPARSE_FFN_WG] = (struct tenon_value){0};
    p.xu.kind = TENON_SPARSE_FFN_ABS_GT;
    p.xu.t = 0.8f;
    fill(factor_u, F * RANK, 0.3);
    fill(factor_v, D * RANK, 0.3);
    set(TENON_SPARSE_FFN_CU_U, factor_u, F, RANK);
    set(TENON_SPARSE_FFN_CV_U, factor_v, D, RANK);
    for (int full = 0; full < 2; full++) {
        if (full) {
            memcpy(factor_u, wu, sizeof wu);
            for (int i = 0; i < D * D; i++)
                factor_v[i] = i / D == i % D ? 1.0f : 0.0f;
            set(TENON_SPARSE_FFN_CU_U, factor_u, F, D);
            set(TENON_SPARSE_FFN_CV_U, factor_v, D, D);
        }
        for (int t = 0; t < T; t++) {
            double a[D], low[RANK] = {0}, h[F], rest[F];
            token(t, a);
            for (int k = 0; k < D && !full; k++)
                for (int r = 0; r < RANK && fabs(a[k]) <= (double)0.8f; r++)
                    low[r] += a[k] * (double)factor_v[k * RANK + r];
            if (!full)
                above(a, D, (double)0.8f);
            product(wu, a, F, D, h);
            if (!full)
                product(factor_u, low, F, RANK, rest);
            for (int i = 0; i < F; i++)
                h[i] = silu(h[i] + (full ? 0 : rest[i]));
            down(t, h);
        }
        gives_want(full ? "R-Sparse at full rank is the dense layer" : "R-Sparse");
    }
}

/* gelu(relu(g - theta)), theta = mean + std * Q(1 - k/F); Q(0.95) = 1.6448536269514715. Spark's gate sees a part. */
static void spark(void)
{
    begin(TENON_ACT_GELU);
    p.p.kind = TENON_SPARSE_FFN_STAT_TOPK;
    p.p.k = F / 20;
    for (int split = 0; split < 2; split++) {
        const int width = split ? 8 : D, first = split ? 8 : 0;
        if (split) {
            p.split = 8;
            set(TENON_SPARSE_FFN_WG, wg, F, 8);
            set(TENON_SPARSE_FFN_WU, wu, F, D - 8);
        }
        for (int t = 0; t < T; t++) {
            double in[D], g[F], u[F], mean = 0, square = 0;
            token(t, in);
            product(wg, in, F, width, g);
            product(wu, in + first, F, D - first, u);
            for (int i = 0; i < F; i++)
                mean += g[i] / F;
            for (int i = 0; i < F; i++)
                square += (g[i] - mean) * (g[i] - mean) / F;
            for (int i = 0; i < F; i++)
                g[i] = gelu(fmax(g[i] - mean - sqrt(square) * 1.6448536269514715, 0)) * u[i];
            down(t, g);
        }
        gives_want(split ? "Spark, the gate on a part of x" : "Gemma 3n");
    }
}

static void soft_threshold(void)
{
    begin(TENON_ACT_IDENTITY);
    v[TENON_SPARSE_FFN_WG] = (struct tenon_value){0};
    p.p.tau = 0.5f;
    for (int clipped = 0; clipped < 2; clipped++)
        for (int soft = 0; soft < 2; soft++) {
            p.p.kind = soft ? TENON_SPARSE_FFN_SOFT : TENON_SPARSE_FFN_SHIFT_RELU;
            if (clipped)
                p.p.cap = 0.75f;
            for (int t = 0; t < T; t++) {
                double in[D], h[F];
                token(t, in);
                product(wu, in, F, D, h);
                for (int i = 0; i < F; i++) {
                    const double size = (soft ? fabs(h[i]) : h[i]) - 0.5, kept = clipped ? fmin(size, 0.75) : size;
                    h[i] = size > 0 ? (soft && h[i] < 0 ? -kept : kept) : 0;
                }
                down(t, h);
            }
            gives_want(soft      ? clipped ? "soft threshold, clipped" : "soft threshold"
                       : clipped ? "shifted ReLU, clipped"
                                 : "shifted ReLU");
        }
}

/* Ranks that a router chose, with its weights: no gate, no activation; F is the rank. */
static void smora(void)
{
    begin(TENON_ACT_IDENTITY);
    v[TENON_SPARSE_FFN_WG] = (struct tenon_value){0};
    for (int i = 0; i < T * F; i++)
        ext[i] = i % 5 ? 0.0f : (float)catalog_uniform();
    set(TENON_SPARSE_FFN_EXT, ext, T, F);
    for (int t = 0; t < T; t++) {
        double in[D], h[F];
        token(t, in);
        product(wu, in, F, D, h);
        for (int i = 0; i < F; i++)
            h[i] *= (double)ext[t * F + i];
        down(t, h);
    }
    gives_want("SMoRA");
}

/* A set of neurons of a sentence (CoreInfer), sub-blocks that a router chose (MoHD): the others are never computed, and
 * may hold anything. */
static void coreinfer(void)
{
    begin(TENON_ACT_SILU);
    for (int i = 0; i < T * F; i++)
        ext[i] = i % F / 8 == 1 || i % F / 8 == 3 ? 1.0f : 0.0f;
    set(TENON_SPARSE_FFN_EXT, ext, T, F);
    for (int i = 0; i < F; i++)
        for (int k = 0; k < D && ext[i] == 0; k++)
            wg[i * D + k] = wu[i * D + k] = NAN;
    for (int t = 0; t < T; t++) {
        double in[D], g[F], u[F];
        token(t, in);
        product(wg, in, F, D, g);
        product(wu, in, F, D, u);
        for (int i = 0; i < F; i++)
            g[i] = ext[i] > 0 ? silu(g[i]) * u[i] : 0;
        down(t, g);
    }
    gives_want("CoreInfer and MoHD by ext");
}

static void catalog(void)
{
    relufication();
    prosparse();
    lazy_neuron();
    cats_and_chess();
    teal();
    wina();
    r_sparse();
    spark();
    soft_threshold();
    smora();
    coreinfer();
}

int main(void)
{
    return catalog_devices(catalog);
}
