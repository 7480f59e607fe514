/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The routing rules whose scores are not a plain product, from the tokens on: moe_logits (or a product in front of
 * moe_route), then moe_route, against both formulas in f64. */
#include <tenon/ops/linear.h>
#include <tenon/ops/moe_logits.h>

#include "catalog_moe_route.h"

enum { WIDTH = 24 };

static float x[TOKENS * WIDTH], gate[EXPERTS * WIDTH], made[N];
static double z[N];

static void draw(float *to, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (float)catalog_normal();
}

/* `made` from moe_logits is z in f64; then the experts and weights that z gives are those of `made`. */
static void routes(const char *name, struct tenon_moe_logits_params *how, int sum, double scale)
{
    struct tenon_value t[TENON_MOE_LOGITS_N_TENSORS];
    memset(t, 0, sizeof t);
    memset(made, 0xff, sizeof made);
    t[TENON_MOE_LOGITS_X] = tenon_value_host(x, TENON_F32, 2, (int64_t[]){TOKENS, WIDTH});
    t[TENON_MOE_LOGITS_W] = tenon_value_host(gate, TENON_F32, 2, (int64_t[]){EXPERTS, WIDTH});
    t[TENON_MOE_LOGITS_Z] = tenon_value_host(made, TENON_F32, 2, (int64_t[]){TOKENS, EXPERTS});
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_moe_logits, how, t, TENON_MOE_LOGITS_N_TENSORS), TENON_OK,
                "%s: %s: its scores run", catalog_device, name))
        return;
    catalog_are(made, z, N, name);
    for (int i = 0; i < N; i++)
        logits[i] = (float)z[i];
    want_topk(sum, scale);
    memcpy(logits, made, sizeof logits);
    gives_want(name);
}

static void start(uint64_t seed, struct tenon_moe_logits_params *how, uint32_t kind)
{
    begin(seed, TOKENS, EXPERTS, 2);
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_moe_logits), how);
    how->kind = kind;
    draw(x, TOKENS * WIDTH);
    draw(gate, EXPERTS * WIDTH);
}

/* Of token t and expert e: the product, and both norms. */
static double product(int t, int e, double *norm_x, double *norm_w)
{
    double dot = 0;
    *norm_x = *norm_w = 0;
    for (int d = 0; d < WIDTH; d++) {
        const double a = (double)x[t * WIDTH + d], b = (double)gate[e * WIDTH + d];
        dot += a * b;
        *norm_x += a * a;
        *norm_w += b * b;
    }
    *norm_x = sqrt(*norm_x);
    *norm_w = sqrt(*norm_w);
    return dot;
}

static void b5_b13(void)
{
    struct tenon_moe_logits_params how;
    double a, b;
    start(35, &how, TENON_MOE_LOGITS_DOT);
    how.act = TENON_MOE_LOGITS_ACT_TANH;
    p.inv_temp = 2;
    for (int i = 0; i < N; i++)
        z[i] = tanh(product(i / EXPERTS, i % EXPERTS, &a, &b));
    routes("B5 activation dense-to-sparse gate", &how, 0, 1);
    start(43, &how, TENON_MOE_LOGITS_COSINE);
    how.scale = 4;
    p.norm = R(NORM_SOFTMAX_SEL);
    for (int i = 0; i < N; i++) {
        const double dot = product(i / EXPERTS, i % EXPERTS, &a, &b);
        z[i] = 4 * dot / ((a + 1e-6) * (b + 1e-6));
    }
    routes("B13 cosine router", &how, 1, 1);
}

static void b11(void)
{
    struct tenon_moe_logits_params how;
    start(41, &how, TENON_MOE_LOGITS_NEG_L2);
    for (int i = 0; i < N; i++) {
        z[i] = 0;
        for (int d = 0; d < WIDTH; d++)
            z[i] += pow((double)x[i / EXPERTS * WIDTH + d] - (double)gate[i % EXPERTS * WIDTH + d], 2);
        z[i] = -sqrt(z[i]);
    }
    routes("B11 Laplace gating", &how, 0, 1);
}

/* Of a row: its mean, and one over its deviation. */
static void moments(const float *row, double *mean, double *scale)
{
    double squares = 0;
    *mean = 0;
    for (int d = 0; d < WIDTH; d++)
        *mean += (double)row[d] / WIDTH;
    for (int d = 0; d < WIDTH; d++)
        squares += pow((double)row[d] - *mean, 2) / WIDTH;
    *scale = 1 / sqrt(squares + 1e-5);
}

static void b19(void)
{
    struct tenon_moe_logits_params how;
    start(49, &how, TENON_MOE_LOGITS_STD_DOT);
    p.norm = R(NORM_SUM);
    for (int i = 0; i < N; i++) {
        const float *row = x + i / EXPERTS * WIDTH, *of = gate + i % EXPERTS * WIDTH;
        double mx, sx, mw, sw;
        moments(row, &mx, &sx);
        moments(of, &mw, &sw);
        z[i] = 0;
        for (int d = 0; d < WIDTH; d++)
            z[i] += ((double)row[d] - mx) * sx * ((double)of[d] - mw) * sw / sqrt((double)WIDTH);
    }
    routes("B19 PHATGOOSE, standardised", &how, 1, 1);
}

/* y = mix a, a row-stochastic causal mixture of tokens. */
static int mixes(const float *mix, float *a, float *y, const char *name)
{
    struct tenon_linear_params how;
    struct tenon_value t[TENON_LINEAR_N_TENSORS];
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &how);
    how.trans_w = 1;
    memset(t, 0, sizeof t);
    t[TENON_LINEAR_X] = tenon_value_host((void *)(uintptr_t)mix, TENON_F32, 2, (int64_t[]){TOKENS, TOKENS});
    t[TENON_LINEAR_W] = tenon_value_host(a, TENON_F32, 2, (int64_t[]){TOKENS, EXPERTS});
    t[TENON_LINEAR_Y] = tenon_value_host(y, TENON_F32, 2, (int64_t[]){TOKENS, EXPERTS});
    return is_int(tenon_run(catalog_context, TENON_OPNUM_linear, &how, t, TENON_LINEAR_N_TENSORS), TENON_OK,
                  "%s: %s: the mixture runs", catalog_device, name);
}

/* The scores of a token are a mixture of those of the tokens up to it: logits are mixed, or their softmax. */
static void b17(void)
{
    float mix[TOKENS * TOKENS], raw[N];
    double share[TOKENS];
    for (int of_weights = 0; of_weights < 2; of_weights++) {
        const char *name = of_weights ? "B17 attention-aware, of the weights" : "B17 similarity-aware, of the logits";
        begin(47 + (uint64_t)of_weights, TOKENS, EXPERTS, 2);
        memset(mix, 0, sizeof mix);
        for (int t = 0; t < TOKENS; t++) {
            double of[TOKENS];
            for (int u = 0; u <= t; u++)
                of[u] = catalog_normal();
            catalog_exp_weights(of, share, t + 1);
            for (int u = 0; u <= t; u++)
                mix[t * TOKENS + u] = (float)share[u];
        }
        for (int t = 0; t < TOKENS && of_weights; t++) {
            double s[EXPERTS];
            softmax_of(t, s);
            for (int e = 0; e < EXPERTS; e++)
                logits[t * EXPERTS + e] = (float)s[e];
        }
        memcpy(raw, logits, sizeof raw);
        for (int i = 0; i < N; i++) {
            z[i] = 0;
            for (int u = 0; u < TOKENS; u++)
                z[i] += (double)mix[i / EXPERTS * TOKENS + u] * (double)raw[u * EXPERTS + i % EXPERTS];
            logits[i] = (float)z[i];
        }
        want_topk(0, 1);
        for (int t = 0; t < TOKENS && of_weights; t++)
            for (int j = 0; j < 2; j++)
                want[t * 2 + j] = z[t * EXPERTS + want_idx[t * 2 + j]];
        if (of_weights)
            p.score = R(IDENTITY);
        if (mixes(mix, raw, logits, name))
            gives_want(name);
    }
}

static void catalog(void)
{
    b5_b13();
    b11();
    b17();
    b19();
}

int main(void)
{
    return catalog_devices(catalog);
}
