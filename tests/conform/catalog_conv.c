/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The published layers with short convolutions along the tokens. */
#include <tenon/ops/causal_conv1d.h>
#include <tenon/ops/linear.h>

#include "catalog.h"

enum { T = 23, C = 12, N = T * C };
#define CONV(NAME) TENON_CAUSAL_CONV1D_##NAME

static float x[N], y[N], w[C * C * 40], bias[C], gate[N];
static double want[N];
static struct tenon_causal_conv1d_params p;
static struct tenon_value v[TENON_CAUSAL_CONV1D_N_TENSORS];

static void begin(int64_t cg, int64_t taps)
{
    catalog_seed(71 + (uint64_t)taps);
    for (int i = 0; i < N; i++)
        x[i] = (float)catalog_normal();
    for (int i = 0; i < C * cg * taps; i++)
        w[i] = (float)(catalog_normal() / sqrt((double)(cg * taps)));
    for (int i = 0; i < C; i++)
        bias[i] = (float)catalog_normal();
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_causal_conv1d), &p);
    memset(v, 0, sizeof v);
    v[CONV(X)] = tenon_value_host(x, TENON_F32, 3, (int64_t[]){1, T, C});
    v[CONV(W)] = tenon_value_host(w, TENON_F32, 3, (int64_t[]){C, cg, taps});
    v[CONV(Y)] = tenon_value_host(y, TENON_F32, 3, (int64_t[]){1, T, C});
}

static int run(const char *name)
{
    return is_int(tenon_run(catalog_context, TENON_OPNUM_causal_conv1d, &p, v, TENON_CAUSAL_CONV1D_N_TENSORS), TENON_OK,
                  "%s: %s runs%s%s", catalog_device, name, tenon_error()[0] ? ": " : "", tenon_error());
}

static void gives_want(const char *name)
{
    memset(y, 0xff, sizeof y); /* NaN: what another run left would do as well */
    if (run(name))
        catalog_are(y, want, N, name);
}

/* The filter h[j] on the input j * dil tokens ago, h[j] = w[taps - 1 - j]: a convolution as textbooks write it. */
static double filtered(int t, int o, int cg, int taps, int dil, int past)
{
    double sum = 0;
    for (int j = 0; j < taps; j++)
        for (int c = 0; c < cg; c++) {
            const int from = t - past - j * dil;
            if (from >= 0 && from < T)
                sum += (double)w[(o * cg + c) * taps + taps - 1 - j] * (double)x[from * C + o / cg * cg + c];
        }
    return sum;
}

static double silu(double z)
{
    return z / (1 + exp(-z));
}

/* u = silu(conv4(u) + bias), at once and token by token. */
static void mamba(void)
{
    float state[3 * C] = {0}, whole[N];
    begin(1, 4);
    p.act = CONV(SILU);
    v[CONV(BIAS)] = tenon_value_host(bias, TENON_F32, 1, (int64_t[]){C});
    for (int i = 0; i < N; i++)
        want[i] = silu((double)bias[i % C] + filtered(i / C, i % C, 1, 4, 1, 0));
    gives_want("Mamba: the convolution before the scan");
    memcpy(whole, y, sizeof whole);
    memset(y, 0xff, sizeof y);
    for (int t = 0; t < T; t++) {
        v[CONV(X)] = tenon_value_host(x + t * C, TENON_F32, 3, (int64_t[]){1, 1, C});
        v[CONV(Y)] = tenon_value_host(y + t * C, TENON_F32, 3, (int64_t[]){1, 1, C});
        v[CONV(STATE)] = v[CONV(STATE_OUT)] = tenon_value_host(state, TENON_F32, 3, (int64_t[]){1, 3, C});
        if (tenon_run(catalog_context, TENON_OPNUM_causal_conv1d, &p, v, TENON_CAUSAL_CONV1D_N_TENSORS) != TENON_OK)
            tap_note("%s", tenon_error());
    }
    ok(memcmp(whole, y, sizeof whole) == 0, "%s: Mamba: decoding has the bits of prefill", catalog_device);
}

/* Zoology: y = conv(u) (.) (u W + b) + u. */
static void base_conv(void)
{
    float projection[C * C], offset[C];
    struct tenon_linear_params linear;
    struct tenon_value l[TENON_LINEAR_N_TENSORS] = {0};
    begin(1, 3);
    for (int i = 0; i < C * C; i++)
        projection[i] = (float)(catalog_normal() / sqrt(C));
    for (int i = 0; i < C; i++)
        offset[i] = (float)catalog_normal();
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_linear), &linear);
    l[TENON_LINEAR_X] = tenon_value_host(x, TENON_F32, 2, (int64_t[]){T, C});
    l[TENON_LINEAR_W] = tenon_value_host(projection, TENON_F32, 2, (int64_t[]){C, C});
    l[TENON_LINEAR_BIAS] = tenon_value_host(offset, TENON_F32, 1, (int64_t[]){C});
    l[TENON_LINEAR_Y] = tenon_value_host(gate, TENON_F32, 2, (int64_t[]){T, C});
    if (!is_int(tenon_run(catalog_context, TENON_OPNUM_linear, &linear, l, TENON_LINEAR_N_TENSORS), TENON_OK,
                "%s: BaseConv's projection runs", catalog_device))
        return;
    v[CONV(GATE)] = tenon_value_host(gate, TENON_F32, 3, (int64_t[]){1, T, C});
    v[CONV(RESIDUAL)] = v[CONV(X)];
    for (int i = 0; i < N; i++) {
        double map = (double)offset[i % C];
        for (int k = 0; k < C; k++)
            map += (double)x[i / C * C + k] * (double)projection[i % C * C + k];
        want[i] = filtered(i / C, i % C, 1, 3, 1, 0) * map + (double)x[i];
    }
    gives_want("Zoology: BaseConv");
}

/* MossFormer2's FSMN: memory of 19 tokens on either side, dilated, and the input itself. */
static void fsmn(void)
{
    for (int dil = 1; dil <= 2; dil++) {
        begin(1, 39);
        p.pad = CONV(SAME);
        p.dil = dil;
        v[CONV(RESIDUAL)] = v[CONV(X)];
        for (int i = 0; i < N; i++)
            want[i] = filtered(i / C, i % C, 1, 39, dil, -19 * dil) + (double)x[i];
        gives_want(dil == 1 ? "MossFormer2: FSMN" : "MossFormer2: FSMN, dilated");
    }
}

/* Gated Associative Memory's local path. */
static void gam(void)
{
    begin(1, 3);
    v[CONV(BIAS)] = tenon_value_host(bias, TENON_F32, 1, (int64_t[]){C});
    for (int i = 0; i < N; i++)
        want[i] = (double)bias[i % C] + filtered(i / C, i % C, 1, 3, 1, 0);
    gives_want("GAM: the local path");
}

/* PGN: what a token knows of the R - 1 before it, in groups of channels; not of itself. */
static void pgn(void)
{
    enum { R = 8, CG = 4 };
    begin(CG, R - 1);
    p.offset = 1;
    v[CONV(BIAS)] = tenon_value_host(bias, TENON_F32, 1, (int64_t[]){C});
    for (int i = 0; i < N; i++)
        want[i] = (double)bias[i % C] + filtered(i / C, i % C, CG, R - 1, 1, 1);
    gives_want("PGN: history in groups of channels");
}

static void systems(void)
{
    mamba();
    base_conv();
    fsmn();
    gam();
    pgn();
}

int main(void)
{
    return catalog_devices(systems);
}
